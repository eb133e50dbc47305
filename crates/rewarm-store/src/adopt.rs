//! Taking over files that somebody else keeps, as blobs.
//!
//! The file is cloned where the file system can do that, else copied; it is never hard-linked. A link
//! would share the inode: its owner could change it in place, and handing the blob out would change
//! the permission bits of the owner's file. The owner's file is only read.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::blob::{Blob, CommitError};
use crate::digest::{Digest, Hasher};
use crate::fs::{TempFile, Witness};
use crate::handout::{LinkKind, reflink};
use crate::layout;
use crate::partial::BACKDATE;
use crate::store::Store;

/// A file from outside that is now a blob as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// What was published.
    pub blob: Blob,
    /// Stat data of the published file; settled by construction.
    pub witness: Witness,
    /// A reflink or a copy.
    pub how: LinkKind,
}

impl Store {
    /// Takes a part of an open file as a blob, if it is the one that was `expected`. The file must
    /// have that part: one that ends early is an error of kind `UnexpectedEof`.
    pub fn adopt(
        &self,
        source: &File,
        part: Range<u64>,
        expected: Option<&Digest>,
    ) -> Result<Adopted, CommitError> {
        let io_error = |source| CommitError::Io { path: self.tmp_dir(), source };
        let take = || {
            let mut temp = TempFile::create(&self.tmp_dir(), self.modes())?;
            let is_whole = part.start == 0 && source.metadata()?.len() == part.end;
            let (how, digest) = if is_whole && reflink(source, &temp.file).is_ok() {
                // What was cloned is what counts, whatever happens to the source meanwhile.
                (LinkKind::Reflink, read_part(&temp.file, part.clone(), |_| Ok(()))?)
            } else {
                let write = |bytes: &[u8]| temp.file.write_all(bytes);
                (LinkKind::Copy, read_part(source, part.clone(), write)?)
            };
            let modified = temp.file.metadata()?.modified()?;
            temp.file.set_modified(modified - BACKDATE)?;
            let witness = Witness::of_metadata(&temp.file.metadata()?);
            Ok((temp, witness, how, digest))
        };
        let (temp, witness, how, digest) = take().map_err(io_error)?;
        if let Some(&expected) = expected.filter(|expected| **expected != digest) {
            return Err(CommitError::WrongDigest { expected, actual: digest });
        }
        let path = layout::sharded(self.root(), layout::BLOBS, &digest);
        match temp.publish(&path, self.modes()) {
            Ok(()) => {
                let blob = Blob { digest, size: part.end - part.start };
                Ok(Adopted { blob, witness, how })
            }
            Err(source) => Err(CommitError::Io { path, source }),
        }
    }
}

/// The digest of a part of a file, without taking it.
pub fn digest_of_part(file: &File, part: Range<u64>) -> io::Result<Digest> {
    read_part(file, part, |_| Ok(()))
}

fn read_part(
    file: &File,
    part: Range<u64>,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Digest> {
    let mut hasher = Hasher::raw();
    let mut buffer = vec![0; 128 * 1024];
    let mut position = part.start;
    while position < part.end {
        let room = usize::try_from(part.end - position).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..room], position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                each(&buffer[..count])?;
                position += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}
