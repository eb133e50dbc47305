//! Broken wheels: each is refused with the wheel and the entry named, and leaves nothing.

use std::io::Write;
use std::path::Path;

use rewarm_env::{UnpackError, unpack};
use rewarm_store::{Digest, Store};
use rewarm_testkit::packages::{Fault, Package};

use crate::support::{Fixture, Result};

fn stored(store: &Store, bytes: &[u8]) -> Result<Digest> {
    let mut writer = store.blob_writer()?;
    writer.write_all(bytes)?;
    Ok(writer.commit(None)?.digest)
}

/// The files below a directory, but for locks.
fn litter(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(litter(&path)?);
        }
        found.push(path.display().to_string());
    }
    Ok(found)
}

#[test]
fn a_broken_wheel_is_refused_and_leaves_nothing() -> Result {
    let cases = [
        (Fault::Traversal, "entry `../../escaped.py` leads out of the wheel"),
        (Fault::Absolute, "entry `/tmp/escaped.py` has an absolute path"),
        (Fault::Drive, "entry `C:\\\\escaped.py` has a Windows path"),
        (Fault::Symlink, "entry `link.py` is a symbolic link"),
        (Fault::Nul, "entry `nul\\0.py` has an unusable name"),
        (Fault::Duplicate, "two entries have one name"),
        (Fault::Truncated, "is no complete zip file"),
        (Fault::RecordHash, "entry `bad/__init__.py` does not have the digest that `RECORD` gives"),
        (
            Fault::RecordUnlisted,
            "entry `bad/__init__.py` is not listed in `bad-1.dist-info/RECORD`",
        ),
        (
            Fault::RecordEscape,
            "entry `../../../../../../etc/passwd` of `bad-1.dist-info/RECORD` leads out",
        ),
        (Fault::NoRecord, "`bad-1.dist-info/RECORD` is missing"),
        (Fault::Crc, "entry `bad/__init__.py` is damaged"),
        (Fault::Size, "entry `bad/__init__.py` "),
    ];
    for (fault, expected) in cases {
        let fixture = Fixture::new()?;
        let wheel = Package::new("bad", "1").broken_wheel(fault);
        let digest = stored(&fixture.store, &wheel.bytes)?;
        let error = match unpack(&fixture.store, &digest, &wheel.filename) {
            Ok(_) => return Err(format!("{fault:?} was unpacked").into()),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected) && error.contains(&wheel.filename), "{fault:?}: {error}");
        assert_eq!(litter(&fixture.store.root().join("tmp"))?, Vec::<String>::new(), "{fault:?}");
        assert_eq!(litter(&fixture.store.root().join("trees-v1"))?, Vec::<String>::new());
        assert!(!fixture.path("escaped.py").exists());
    }
    Ok(())
}

#[test]
fn a_damaged_blob_is_dropped_and_asks_for_another_download() -> Result {
    let fixture = Fixture::new()?;
    let wheel = Package::new("good", "1").wheel();
    let digest = stored(&fixture.store, &wheel.bytes)?;
    let path = fixture.store.blob_path(&digest).ok_or("no blob")?;
    // A byte between the entries' data and the directory: nothing but the blob's own digest sees it.
    let mut bytes = wheel.bytes.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes)?;
    let result = unpack(&fixture.store, &digest, &wheel.filename);
    assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{result:?}");
    assert_eq!(fixture.store.blob_path(&digest), None);
    let result = unpack(&fixture.store, &digest, &wheel.filename);
    assert!(matches!(result, Err(UnpackError::Missing { .. })));
    Ok(())
}

#[test]
fn a_local_file_that_is_not_the_locked_one_is_refused() -> Result {
    let fixture = Fixture::new()?;
    let wheel = Package::new("good", "1").wheel();
    fixture.lock(std::slice::from_ref(&wheel))?;
    std::fs::write(fixture.path("files").join(&wheel.filename), b"something else")?;
    let error = fixture.install().map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.contains("cannot take")), "it was installed");
    assert!(!fixture.venv().exists());
    Ok(())
}

#[test]
fn permissions_follow_the_umask_and_keep_the_executable_bit() -> Result {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new()?;
    let wheel = Package::new("good", "1").file_with_mode("good/run", "#!/bin/sh\n", 0o755).wheel();
    let digest = stored(&fixture.store, &wheel.bytes)?;
    let tree = unpack(&fixture.store, &digest, &wheel.filename)?;
    let mode = |name: &str| -> Result<u32> {
        Ok(std::fs::metadata(tree.path.join(name))?.permissions().mode() & 0o777)
    };
    let reference = fixture.path("reference");
    std::fs::write(&reference, "")?;
    let usual = std::fs::metadata(&reference)?.permissions().mode() & 0o777;
    assert_eq!(mode("good/__init__.py")?, usual);
    assert_eq!(mode("good/run")?, usual | (usual >> 2 & 0o111));
    Ok(())
}

#[test]
fn a_sha512_in_the_lock_file_is_enforced() -> Result {
    let fixture = Fixture::new()?;
    let wheel = Package::new("good", "1").wheel();
    let path = wheel.write_to(&fixture.root())?;
    let output = crate::support::run(std::process::Command::new("sha512sum").arg(&path))?;
    let digest = output.split(' ').next().unwrap_or_default().to_owned();
    let lock = |digest: &str| {
        fixture.write(
            "pylock.toml",
            format!(
                "lock-version = \"1.0\"\ncreated-by = \"test\"\n[[packages]]\nname = \"good\"\n\
                 wheels = [{{ path = \"{}\", hashes = {{ sha512 = \"{digest}\" }} }}]\n",
                wheel.filename
            ),
        )
    };
    lock(&"0".repeat(128))?;
    let error = fixture.install().map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.contains("does not have any of the digests")));
    lock(&digest)?;
    assert_eq!(fixture.install()?.0.installed, 1);
    Ok(())
}
