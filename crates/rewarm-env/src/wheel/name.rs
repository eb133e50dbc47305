//! Which names of archive entries are acceptable.
//!
//! Only a plain relative path made of plain components can become a file of a tree; everything
//! else is refused rather than repaired, so that a name means the same here as in `RECORD`.

/// The type bits of a Unix mode, and the two types that an entry may have.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// The name of an acceptable entry; the error completes the sentence "entry `x` …".
pub(super) fn checked(raw: &[u8], mode: Option<u32>) -> Result<&str, &'static str> {
    match mode.map_or(0, |mode| mode & TYPE) {
        0 | REGULAR | DIRECTORY => {}
        0o120_000 => return Err("is a symbolic link"),
        _ => return Err("is neither a file nor a directory"),
    }
    let name = std::str::from_utf8(raw).map_err(|_| "has a name that is not UTF-8")?;
    is_relative(name)?;
    Ok(name)
}

/// Whether a path with `/` between components stays below the directory it is joined to.
pub(super) fn is_relative(name: &str) -> Result<(), &'static str> {
    let path = name.strip_suffix('/').unwrap_or(name);
    if path.is_empty() || name.contains(['\0', '\n', '\r']) {
        return Err("has an unusable name");
    }
    if path.starts_with('/') {
        return Err("has an absolute path");
    }
    let bytes = path.as_bytes();
    if path.contains('\\')
        || (bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':')
    {
        return Err("has a Windows path");
    }
    if path.split('/').any(|part| part == "..") {
        return Err("leads out of the wheel");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return Err("has an unusable name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_names_pass() {
        for name in ["a", "a/b.py", "a/", "..a/b..", "a b/ü.py", "x.data/scripts/y"] {
            assert_eq!(checked(name.as_bytes(), Some(0o100_644)), Ok(name));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "",
            "/",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/..",
            "a//b",
            "./a",
            "a/.",
            "C:/x",
            "C:x",
            "a\\b",
            "a\0b",
        ] {
            assert!(checked(name.as_bytes(), None).is_err(), "{name:?}");
        }
        assert!(checked(b"\xff", None).is_err());
    }

    #[test]
    fn only_files_and_directories_pass() {
        assert!(checked(b"a", Some(0o120_777)).is_err());
        assert!(checked(b"a", Some(0o060_644)).is_err());
        assert!(checked(b"a", Some(0o644)).is_ok());
    }
}
