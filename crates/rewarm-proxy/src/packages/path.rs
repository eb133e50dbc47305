//! Paths of requests and links: what may stand in them, and what they mean.
//!
//! A path is taken apart only after it was found sound: no segment that climbs, also not under a
//! percent-encoding, no backslash, no control character. What is refused here reaches no origin.

use percent_encoding::percent_decode_str;

/// Whether a path, percent-encoded as in a URL, holds nothing that somebody could read in another way:
/// printable ASCII, sound percent-encodings, no `.` or `..`, no backslash and no control character
/// in either form.
pub(super) fn is_sound(path: &str) -> bool {
    let printable = |byte: u8| byte.is_ascii_graphic() && !b"\\#?\"<>".contains(&byte);
    path.bytes().all(printable) && path.split('/').all(is_sound_segment)
}

fn is_sound_segment(segment: &str) -> bool {
    let encoded = segment.split('%').skip(1);
    let digits = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    let decoded: Vec<u8> = percent_decode_str(segment).collect();
    encoded.into_iter().all(digits)
        && !decoded.iter().any(|&byte| byte < b' ' || byte == 0x7f || byte == b'\\')
        // An encoded slash is part of a name, but not everybody reads it so.
        && !decoded.split(|&byte| byte == b'/').any(|part| part == b"." || part == b"..")
}

/// The last segment.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whether a file name is that of something to install, or of what belongs to it: never a page.
pub(super) fn is_distribution(name: &str) -> bool {
    let name = name.strip_suffix(".asc").unwrap_or(name);
    name.ends_with(".metadata") || is_archive(name)
}

/// Whether a file name is that of something to install itself.
pub(super) fn is_archive(name: &str) -> bool {
    const ENDINGS: [&str; 8] =
        [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".egg", ".exe"];
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The one spelling of an npm package's path, which clients write in several: `@scope%2fname`.
/// Other paths are as they were.
pub(super) fn npm_spelling(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8().unwrap_or_default();
    let scoped = decoded.strip_prefix('@').and_then(|rest| rest.split_once('/'));
    let name_safe = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-~".contains(&b))
    };
    match scoped {
        Some((scope, name)) if name_safe(scope) && name_safe(name) && name != "-" => {
            format!("@{scope}%2f{name}")
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_are_unsound_however_written() {
        for path in [
            "a/../b",
            "..",
            "a/.",
            "%2e%2e/a",
            "a/%2E%2e",
            ".%2e/x",
            "a/..%2fb",
            "a%2f..%2fb",
            "a/..%5cb",
            "a\\b",
            "a%5cb",
            "a%00b",
            "a%0ab",
            "a%7f",
            "a%",
            "a%2",
            "a%zz",
            "a b",
            "a#b",
            "ä",
        ] {
            assert!(!is_sound(path), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_are_sound() {
        for path in [
            "",
            "/",
            "simple/foo/",
            "a//b",
            "packages/ab/..c/x-1.0%2Bcpu.whl",
            "@s%2fname",
            "...",
            "foo!1.0",
            "%252e%252e",
            "a%20b",
        ] {
            assert!(is_sound(path), "{path}");
        }
    }

    #[test]
    fn scoped_packages_have_one_spelling() {
        for path in ["@s/n", "@s%2fn", "@s%2Fn", "%40s%2fn", "%40s/n"] {
            assert_eq!(npm_spelling(path), "@s%2fn");
        }
        for path in ["n", "@s/n/-/n-1.tgz", "-/v1/search", "@s", "@s/-"] {
            assert_eq!(npm_spelling(path), path);
        }
    }

    #[test]
    fn distributions_are_told_by_their_names() {
        for name in ["a-1-py3-none-any.whl", "a-1.tar.gz", "a-1.whl.metadata", "a-1.whl.asc"] {
            assert!(is_distribution(name), "{name}");
        }
        for name in ["", "zope.interface", "index.html", "foo"] {
            assert!(!is_distribution(name), "{name}");
        }
    }
}
