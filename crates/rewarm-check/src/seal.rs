//! A seal over a cache directory of mypy, so that a damaged one is never believed.
//!
//! mypy checks its files against sources and dependencies, not against themselves: a flipped byte
//! can change an answer. The seal is one file in the directory that lists every other with its
//! digest. It is checked when a run gets its copy, and made anew before the copy is published.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rewarm_store::Digest;

const NAME: &str = "seal.rewarm";

/// What a file was when it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    inode: u64,
    modified: (i64, i64),
    digest: Digest,
}

/// The files of a directory whose seal was whole, by their paths in it.
#[derive(Debug, Default)]
pub(crate) struct Seal(BTreeMap<OsString, Checked>);

impl Seal {
    /// Checks a directory. If it is not exactly as it was sealed, it is emptied.
    pub(crate) fn check(directory: &Path) -> io::Result<Self> {
        let known = Self::default().look(directory)?;
        if fs::read(directory.join(NAME)).is_ok_and(|bytes| bytes == known.text()) {
            return Ok(known);
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(Self::default())
    }

    /// Seals the directory as it is now. Files that were not replaced since the check are not read
    /// again.
    pub(crate) fn renew(&self, directory: &Path) -> io::Result<()> {
        let text = self.look(directory)?.text();
        let path = directory.join(NAME);
        // The file may be shared with the directory it was copied from.
        let _ = fs::remove_file(&path);
        fs::write(path, text)
    }

    /// The files below a directory; `self` knows some of them already.
    fn look(&self, directory: &Path) -> io::Result<Self> {
        let mut found = BTreeMap::new();
        let mut below = vec![OsString::new()];
        while let Some(relative) = below.pop() {
            for entry in fs::read_dir(directory.join(&relative))? {
                let entry = entry?;
                let mut path = relative.clone();
                if !path.is_empty() {
                    path.push("/");
                }
                path.push(entry.file_name());
                if entry.file_type()?.is_dir() {
                    below.push(path);
                } else if path != NAME {
                    let file = self.one(&entry, &path)?;
                    found.insert(path, file);
                }
            }
        }
        Ok(Self(found))
    }

    fn one(&self, entry: &fs::DirEntry, path: &OsString) -> io::Result<Checked> {
        if let Some(known) = self.0.get(path)
            && known.is(&entry.metadata()?)
        {
            return Ok(*known);
        }
        let file = fs::File::open(entry.path())?;
        let found = file.metadata()?;
        let (inode, modified) = (found.ino(), (found.mtime(), found.mtime_nsec()));
        Ok(Checked { inode, modified, digest: Digest::of_reader(file)? })
    }

    /// One line for each file: digest, length of the path, path.
    fn text(&self) -> Vec<u8> {
        let mut text = b"seal 2\n".to_vec();
        for (path, checked) in &self.0 {
            text.extend(format!("{} {} ", checked.digest, path.len()).as_bytes());
            text.extend(path.as_bytes());
            text.push(b'\n');
        }
        text
    }
}

impl Checked {
    /// Whether a file is still the one that was checked.
    fn is(&self, found: &Metadata) -> bool {
        (self.inode, self.modified) == (found.ino(), (found.mtime(), found.mtime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sealed directory with two files.
    fn sealed() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("directory");
        fs::create_dir(directory.path().join("sub")).expect("directory");
        for name in ["a", "sub/b"] {
            fs::write(directory.path().join(name), name).expect("file");
        }
        Seal::default().renew(directory.path()).expect("seal");
        directory
    }

    #[test]
    fn whole_directory_is_kept() {
        let directory = sealed();
        let seal = Seal::check(directory.path()).expect("readable");
        assert_eq!(seal.0.len(), 2);
        fs::write(directory.path().join("c"), "c").expect("file");
        seal.renew(directory.path()).expect("seal");
        assert_eq!(Seal::check(directory.path()).expect("readable").0.len(), 3);
    }

    #[test]
    fn changed_added_or_missing_file_empties_the_directory() {
        let spoil: [fn(&Path); 4] = [
            |dir| fs::write(dir.join("sub/b"), "sub/c").expect("file"),
            |dir| fs::write(dir.join("sub/more"), "").expect("file"),
            |dir| fs::remove_file(dir.join("a")).expect("file"),
            |dir| fs::remove_file(dir.join(NAME)).expect("file"),
        ];
        for spoil in spoil {
            let directory = sealed();
            spoil(directory.path());
            assert!(Seal::check(directory.path()).expect("readable").0.is_empty());
            assert_eq!(fs::read_dir(directory.path()).expect("directory").count(), 0);
        }
    }
}
