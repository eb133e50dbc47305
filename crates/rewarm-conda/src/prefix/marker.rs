//! The files that pixi keeps in a prefix, written so that it takes the prefix for its own.
//!
//! `conda-meta/.pixi-environment-fingerprint` is the lock of the prefix and says how far its
//! installation came: 16 bytes, changed in place, so that a reader without the lock sees the old or the
//! new ones. `conda-meta/pixi` says what the prefix was made from.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rattler_conda_types::RepoDataRecord;
use rewarm_store::publish_file;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// The content while packages are being changed, or after that was cut short.
const UNDER_WAY: &[u8; 16] = b"pixi:installing!";

/// The release of pixi whose files these are.
pub const PIXI_VERSION: &str = "0.77.0";

/// What `conda-meta/pixi` says; unknown fields of an existing file are lost when it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The absolute path of the manifest.
    pub manifest_path: PathBuf,
    /// The name of the environment.
    pub environment_name: String,
    /// [`PIXI_VERSION`], or that of the pixi that wrote the file.
    pub pixi_version: String,
    /// What pixi compares with the lock file before it trusts the prefix without a look at it.
    pub environment_lock_file_hash: String,
    /// The platform that was installed for, with its virtual packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_platform: Option<serde_json::Value>,
    /// The least that a machine must offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_supported_platform: Option<serde_json::Value>,
}

impl Marker {
    /// Reads the marker of a prefix; one that cannot be understood is as good as none.
    pub fn read(prefix: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(prefix)).ok()?).ok()
    }

    /// Writes the marker, unless one is there that says the same, whoever wrote it. The last step of
    /// an installation: from then on pixi believes that the prefix matches the lock file.
    pub fn write(&self, prefix: &Path) -> io::Result<()> {
        if Self::read(prefix).is_some_and(|present| present.says(self)) {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        publish_file(&path(prefix), text.as_bytes(), 0o666)
    }

    /// Removes the marker of a prefix that is about to be changed.
    pub(super) fn remove(prefix: &Path) -> io::Result<()> {
        super::link::remove_file(&path(prefix))
    }

    /// Whether it says all that the other one does; which release wrote it does not count.
    fn says(&self, other: &Self) -> bool {
        let same =
            |a: &Option<serde_json::Value>, b: &Option<serde_json::Value>| b.is_none() || a == b;
        (&self.manifest_path, &self.environment_name, &self.environment_lock_file_hash)
            == (&other.manifest_path, &other.environment_name, &other.environment_lock_file_hash)
            && same(&self.resolved_platform, &other.resolved_platform)
            && same(&self.minimum_supported_platform, &other.minimum_supported_platform)
    }
}

fn path(prefix: &Path) -> PathBuf {
    prefix.join("conda-meta/pixi")
}

/// Where the fingerprint of a prefix is.
pub(super) fn fingerprint_path(prefix: &Path) -> PathBuf {
    prefix.join("conda-meta/.pixi-environment-fingerprint")
}

/// The fingerprint of a set of packages: xxh3 over their names and digests, in the order of the
/// names, in 16 hexadecimal digits.
pub(super) fn fingerprint<'a>(packages: impl IntoIterator<Item = &'a RepoDataRecord>) -> [u8; 16] {
    let mut all: Vec<(&str, Option<&[u8]>)> = packages
        .into_iter()
        .map(|package| &package.package_record)
        .map(|record| (record.name.as_normalized(), record.sha256.as_ref().map(|d| d.as_slice())))
        .collect();
    all.sort_unstable();
    let mut hasher = Xxh3::new();
    for (name, sha256) in all {
        name.hash(&mut hasher);
        match sha256 {
            Some(digest) => digest.hash(&mut hasher),
            None => 0_u8.hash(&mut hasher),
        }
    }
    let text = format!("{:016x}", hasher.finish());
    text.as_bytes().try_into().expect("16 digits were written")
}

/// How far the last installation into a prefix came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was ever installed by pixi or rewarm.
    None,
    /// An installation was cut short, or is under way.
    Unfinished,
    /// One was finished, and left this fingerprint.
    Finished([u8; 16]),
}

impl Progress {
    /// Reads it without the lock.
    pub fn of(prefix: &Path) -> Self {
        let bytes = fs::read(fingerprint_path(prefix)).unwrap_or_default();
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        match <[u8; 16]>::try_from(bytes) {
            Ok(found) if found.iter().all(u8::is_ascii_hexdigit) => Self::Finished(found),
            _ if bytes.len() < 16 => Self::None,
            _ => Self::Unfinished,
        }
    }
}

/// Only its holder changes the prefix, be it rewarm or pixi.
#[derive(Debug)]
pub(super) struct PrefixLock {
    file: File,
    /// What the holder before this one left.
    pub(super) found: Progress,
}

impl PrefixLock {
    /// Waits for the lock; makes the prefix's directory if need be.
    pub(super) fn acquire(prefix: &Path) -> io::Result<Self> {
        let path = fingerprint_path(prefix);
        loop {
            fs::create_dir_all(prefix.join("conda-meta"))?;
            let mut options = OpenOptions::new();
            let open = options.create(true).truncate(false).read(true).write(true).open(&path);
            let file = match open {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            match flock(&file, FlockOperation::LockExclusive) {
                // Somebody may have removed the prefix, and the lock with it, meanwhile.
                Ok(()) if is_at(&file, &path) => {
                    let mut bytes = [0; 17];
                    let count = file.read_at(&mut bytes, 0)?;
                    return Ok(Self { found: Progress::parse(&bytes[..count]), file });
                }
                Ok(()) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes that the prefix is about to be changed.
    pub(super) fn begin(&self) -> io::Result<()> {
        self.file.write_all_at(UNDER_WAY, 0)
    }

    /// Notes that the prefix is as it should be.
    pub(super) fn finish(&self, fingerprint: &[u8; 16]) -> io::Result<()> {
        if self.file.metadata()?.len() > 16 {
            self.file.set_len(16)?;
        }
        self.file.write_all_at(fingerprint, 0)
    }
}

impl Drop for PrefixLock {
    fn drop(&mut self) {
        // A child that was forked meanwhile shares the open file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixteen_digits_say_that_an_installation_was_finished() {
        assert_eq!(Progress::parse(b""), Progress::None);
        assert_eq!(Progress::parse(UNDER_WAY), Progress::Unfinished);
        assert_eq!(Progress::parse(b"0123456789abcdef\n"), Progress::Unfinished);
        assert_eq!(Progress::parse(b"0123456789abcdef"), Progress::Finished(*b"0123456789abcdef"));
    }

    #[test]
    fn a_lock_tells_what_the_one_before_left() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let lock = PrefixLock::acquire(dir.path())?;
        assert_eq!(lock.found, Progress::None);
        lock.begin()?;
        drop(lock);
        let lock = PrefixLock::acquire(dir.path())?;
        assert_eq!(lock.found, Progress::Unfinished);
        lock.finish(b"0123456789abcdef")?;
        drop(lock);
        assert_eq!(Progress::of(dir.path()), Progress::Finished(*b"0123456789abcdef"));
        Ok(())
    }
}
