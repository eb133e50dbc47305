//! Evidence that a file or a directory is as it was: stat data first, content where that moved.
//!
//! An [`Evidence`] that still holds by stat data alone costs one system call. One whose stat data
//! moved, or was too young when it was taken to prove anything, is compared by digest, so a file
//! that was only touched still counts as unchanged.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Witness};
use serde::{Deserialize, Serialize};

/// What was seen at one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    witness: Option<Witness>,
    settled: bool,
    digest: Option<Digest>,
}

/// How a path compares with what was seen there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The stat data proves it unchanged.
    Same,
    /// The content is the same; this evidence will prove it more cheaply next time.
    Refreshed(Evidence),
    /// It is not as it was.
    Changed,
}

impl Evidence {
    /// Looks at a file (its content), a directory (the names in it) or nothing.
    pub(crate) fn take(path: &Path, now: SystemTime) -> io::Result<Self> {
        let Some(witness) = Witness::of(path)? else {
            return Ok(Self { witness: None, settled: true, digest: None });
        };
        let settled = witness.is_settled(now);
        Ok(Self { witness: Some(witness), settled, digest: Some(digest_of(path)?) })
    }

    /// Looks at a file whose content was read a moment ago. If it has changed since, what comes
    /// out will not compare as unchanged.
    pub(crate) fn of_content(path: &Path, read: Digest, now: SystemTime) -> io::Result<Self> {
        let taken = Self::take(path, now)?;
        let unchanged = taken.digest == Some(read);
        Ok(Self { settled: taken.settled && unchanged, digest: Some(read), ..taken })
    }

    /// Compares with what is at `path` now. What cannot be read has changed.
    pub(crate) fn compare(&self, path: &Path, now: SystemTime) -> Comparison {
        let Ok(witness) = Witness::of(path) else { return Comparison::Changed };
        match (&self.witness, &witness) {
            (None, None) => return Comparison::Same,
            (Some(before), Some(after)) if self.settled && before == after => {
                return Comparison::Same;
            }
            (Some(_), Some(_)) => {}
            _ => return Comparison::Changed,
        }
        match Self::take(path, now) {
            Ok(fresh) if fresh.digest == self.digest && fresh == *self => Comparison::Same,
            Ok(fresh) if fresh.digest == self.digest => Comparison::Refreshed(fresh),
            _ => Comparison::Changed,
        }
    }
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(Digest::of(fs::read(path)?));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name());
    }
    names.sort_unstable();
    let mut hasher = Hasher::new("directory listing, 1");
    hasher.list(names.iter().map(|name| name.as_bytes()));
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn later() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 34)
    }

    #[test]
    fn a_touched_file_is_unchanged_and_an_edited_one_is_not() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        fs::write(&path, "one")?;
        let evidence = Evidence::take(&path, later())?;
        assert_eq!(evidence.compare(&path, later()), Comparison::Same);
        fs::File::options().write(true).open(&path)?.set_modified(SystemTime::UNIX_EPOCH)?;
        assert!(matches!(evidence.compare(&path, later()), Comparison::Refreshed(_)));
        fs::write(&path, "two")?;
        assert_eq!(evidence.compare(&path, later()), Comparison::Changed);
        fs::remove_file(&path)?;
        assert_eq!(evidence.compare(&path, later()), Comparison::Changed);
        Ok(())
    }

    #[test]
    fn young_stat_data_proves_nothing() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        fs::write(&path, "one")?;
        let taken = Evidence::take(&path, SystemTime::UNIX_EPOCH)?;
        assert!(!taken.settled);
        assert!(matches!(taken.compare(&path, later()), Comparison::Refreshed(_)));
        Ok(())
    }

    #[test]
    fn a_new_name_in_a_directory_is_a_change() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let evidence = Evidence::take(dir.path(), later())?;
        fs::write(dir.path().join("new"), "")?;
        assert_eq!(evidence.compare(dir.path(), later()), Comparison::Changed);
        fs::remove_file(dir.path().join("new"))?;
        assert!(matches!(evidence.compare(dir.path(), later()), Comparison::Refreshed(_)));
        Ok(())
    }
}
