//! Downloads under way, and downloads that were broken off.
//!
//! A partial download is two files under one key: the data as far as it came, and a small head that
//! says what the data is of. Whoever holds the lock `flight-<key>` (a [`Flight`]) may write; anybody
//! may look on while the data grows ([`Store::partial_view`]). The head is replaced now and then by
//! one that carries the digest of a longer prefix, so that a prefix which was torn by a crash or
//! damaged on disk is never built upon. What the head says is the caller's business.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::blob::{Blob, CommitError};
use crate::digest::{Digest, Hasher};
use crate::fs::{Witness, clear_place, create_dirs, is_absence, rename_over};
use crate::layout;
use crate::lock::Lock;
use crate::record::{self, Kind};
use crate::store::Store;

/// The bytes of a download.
const DATA: &str = "data";
/// Says what the bytes are of, while somebody writes them.
const HEAD: &str = "head";
/// The head that an earlier flight left.
const KEPT: &str = "kept";

/// Bytes between two digests of a prefix.
const CHECKPOINT: u64 = 4 << 20;

/// A published blob gets a modification time this far in the past, so that every later write to it
/// changes the time, however coarse the file system's clock is.
pub(crate) const BACKDATE: Duration = Duration::from_secs(4);

/// What the head file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    /// Of the data file this head belongs to.
    inode: u64,
    /// Length of the prefix that `digest` was taken of.
    length: u64,
    digest: Digest,
    /// The caller's part, a record of its own.
    payload: Vec<u8>,
}

impl Kind for Head {
    const NAME: &'static str = "partial";
    const VERSION: u16 = 1;
}

/// The right to write one partial download; ends when dropped.
#[derive(Debug)]
pub struct Flight {
    store: Store,
    key: Digest,
    // Held for what its drop does.
    _lock: Lock,
}

/// A broken-off download that a [`Flight`] found.
#[derive(Debug)]
pub struct Leftover<K> {
    /// What the data is of.
    pub head: K,
    inner: Head,
    data: File,
}

/// Takes the bytes of one download. Dropping it keeps what came for a later [`Flight`].
#[derive(Debug)]
pub struct PartialWriter {
    flight: Option<Flight>,
    head: Head,
    data: Arc<File>,
    hasher: crate::blob::Sha,
    size: u64,
}

/// A download that became a blob. The flight is still held, so that a record can be written before
/// anybody else starts.
#[derive(Debug)]
pub struct Landed {
    /// What was published.
    pub blob: Blob,
    /// Stat data of the published file; settled by construction.
    pub witness: Witness,
    /// Still held.
    pub flight: Flight,
}

/// A download that did not become a blob.
#[derive(Debug)]
pub struct Uncommitted {
    /// Why not.
    pub error: CommitError,
    /// What came, if it is right and only could not be published.
    pub data: Option<Box<PartialWriter>>,
}

/// Somebody else's download, seen while it grows.
#[derive(Debug)]
pub struct PartialView<K> {
    /// What the data is of.
    pub head: K,
    data: Arc<File>,
}

impl Store {
    /// Takes the right to download under `key`; `None` while somebody else has it.
    pub fn try_flight(&self, key: &Digest) -> io::Result<Option<Flight>> {
        let Some(lock) = self.try_lock(layout::PARTIAL_LOCK, key)? else { return Ok(None) };
        // What an earlier flight left is not to be looked on at until it grows again.
        match fs::rename(self.partial_path(key, HEAD), self.partial_path(key, KEPT)) {
            Err(error) if !is_absence(&error) => Err(error),
            _ => Ok(Some(Flight { store: self.clone(), key: *key, _lock: lock })),
        }
    }

    /// Looks at the download under `key`; `None` if there is none, or none that got as far as data.
    pub fn partial_view<K: Kind>(&self, key: &Digest) -> io::Result<Option<PartialView<K>>> {
        Ok(self.open_partial(key, HEAD)?.and_then(|(inner, data)| {
            let head = record::decode(key, &inner.payload)?;
            Some(PartialView { head, data: Arc::new(data) })
        }))
    }

    fn open_partial(&self, key: &Digest, head: &str) -> io::Result<Option<(Head, File)>> {
        let open = || {
            let bytes = fs::read(self.partial_path(key, head))?;
            let data = OpenOptions::new().read(true).open(self.partial_path(key, DATA))?;
            Ok((bytes, data))
        };
        let (bytes, data) = match open() {
            Err(error) if is_absence(&error) => return Ok(None),
            other => other?,
        };
        let inode = data.metadata()?.ino();
        let head = record::decode::<Head>(key, &bytes).filter(|head| head.inode == inode);
        Ok(head.map(|head| (head, data)))
    }

    fn partial_path(&self, key: &Digest, part: &str) -> PathBuf {
        self.root().join(layout::PARTIAL).join(format!("{key}.{part}"))
    }
}

impl<K> PartialView<K> {
    /// Bytes that are there by now.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.data.metadata()?.len())
    }

    /// Whether nothing is there yet.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset`; 0 bytes at the present end. Unverified: compare the digest of all bytes
    /// with that of the blob they became.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.data.read_at(buffer, offset)
    }

    /// Stat data, to be compared with that of the blob it became.
    pub fn witness(&self) -> io::Result<Witness> {
        Ok(Witness::of_metadata(&self.data.metadata()?))
    }

    /// Whether the data still stands under `key`: it does not once it was published or given up.
    pub fn is_current(&self, store: &Store, key: &Digest) -> io::Result<bool> {
        let here = Witness::of(&store.partial_path(key, DATA))?;
        Ok(here.is_some_and(|here| Some(here.inode) == self.data.metadata().ok().map(|m| m.ino())))
    }
}

impl Flight {
    /// What an earlier flight left, if its head can be read. The data is not verified yet.
    pub fn leftover<K: Kind>(&self) -> io::Result<Option<Leftover<K>>> {
        let Some((inner, _)) = self.store.open_partial(&self.key, KEPT)? else { return Ok(None) };
        let path = self.store.partial_path(&self.key, DATA);
        let data = OpenOptions::new().read(true).write(true).open(path)?;
        let head = record::decode(&self.key, &inner.payload);
        Ok(head.map(|head| Leftover { head, inner, data }))
    }

    /// Drops what an earlier flight left.
    pub fn discard(&self) -> io::Result<()> {
        for part in [HEAD, KEPT, DATA] {
            clear_place(&self.store.partial_path(&self.key, part))?;
        }
        Ok(())
    }

    /// Starts at the first byte, in a new file: who looks on at an older one is not disturbed.
    pub fn start<K: Kind>(self, head: &K) -> io::Result<PartialWriter> {
        self.discard()?;
        let path = self.store.partial_path(&self.key, DATA);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(self.store.modes().file);
        let data = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_dirs(&self.store.root().join(layout::PARTIAL), self.store.modes())?;
                options.open(&path)?
            }
            other => other?,
        };
        self.store.modes().apply_to_file(&data)?;
        let head = Head {
            inode: data.metadata()?.ino(),
            length: 0,
            digest: Digest::of([]),
            payload: record::encode(&self.key, head)?,
        };
        let hasher = crate::blob::Sha(Hasher::raw());
        let data = Arc::new(data);
        let writer = PartialWriter { flight: Some(self), head, data, hasher, size: 0 };
        writer.write_head()?;
        Ok(writer)
    }

    /// Goes on where `leftover` ends, under a new head; `hasher` is what [`Leftover::verify`] gave.
    pub fn resume<K: Kind>(
        self,
        leftover: Leftover<K>,
        hasher: Hasher,
        head: &K,
    ) -> io::Result<PartialWriter> {
        let Leftover { inner, data, .. } = leftover;
        data.set_len(inner.length)?;
        let head = Head { payload: record::encode(&self.key, head)?, ..inner };
        let (size, hasher, data) = (head.length, crate::blob::Sha(hasher), Arc::new(data));
        let kept = self.store.partial_path(&self.key, KEPT);
        let writer = PartialWriter { flight: Some(self), head, data, hasher, size };
        writer.write_head()?;
        let _ = fs::remove_file(kept);
        Ok(writer)
    }
}

impl<K> Leftover<K> {
    /// Bytes that can be built upon if [`verify`](Self::verify) finds them sound.
    pub fn len(&self) -> u64 {
        self.inner.length
    }

    /// Whether there is nothing to build upon.
    pub fn is_empty(&self) -> bool {
        self.inner.length == 0
    }

    /// Reads the prefix and compares its digest; the state of the hasher after it, or `None` if it
    /// is damaged. Takes as long as hashing takes.
    pub fn verify(&self) -> io::Result<Option<Hasher>> {
        let mut hasher = Hasher::raw();
        let mut buffer = vec![0; 128 * 1024];
        let mut offset = 0;
        while offset < self.inner.length {
            let rest = usize::try_from(self.inner.length - offset).unwrap_or(usize::MAX);
            let room = rest.min(buffer.len());
            match self.data.read_at(&mut buffer[..room], offset)? {
                0 => return Ok(None),
                count => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
            }
        }
        let sound = hasher.clone().finish() == self.inner.digest;
        Ok(sound.then_some(hasher))
    }
}

impl PartialWriter {
    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Under which the download goes on; `None` once it was published or given up.
    pub fn key(&self) -> Option<&Digest> {
        self.flight.as_ref().map(|flight| &flight.key)
    }

    /// Looks on at this download, without a way through the file system.
    pub fn view<K>(&self, head: K) -> PartialView<K> {
        PartialView { head, data: Arc::clone(&self.data) }
    }

    /// The digest of the bytes taken so far.
    pub fn digest(&self) -> Digest {
        self.hasher.0.clone().finish()
    }

    /// The state of the hasher after the bytes taken so far.
    pub fn hasher(&self) -> Hasher {
        self.hasher.0.clone()
    }

    /// Reads back what was taken.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let room = rest.min(buffer.len());
        self.data.read_at(&mut buffer[..room], offset)
    }

    /// Appends. After an error nothing of `bytes` counts as taken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all_at(bytes, self.size)?;
        self.hasher.0.update(bytes);
        self.size += bytes.len() as u64;
        if self.size - self.head.length >= CHECKPOINT {
            // Costs a part of a later resume, not this download.
            let _ = self.checkpoint();
        }
        Ok(())
    }

    /// Publishes the data as a blob, if it is the one that was `expected`; otherwise drops it.
    ///
    /// A blob that is there already is replaced: the bytes at hand are known to be right.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<Landed, Uncommitted> {
        let digest = self.digest();
        let flight = self.flight.take().expect("a writer holds its flight until it is consumed");
        if let Some(&expected) = expected.filter(|expected| **expected != digest) {
            let _ = flight.discard();
            let error = CommitError::WrongDigest { expected, actual: digest };
            return Err(Uncommitted { error, data: None });
        }
        let path = layout::sharded(flight.store.root(), layout::BLOBS, &digest);
        let publish = || {
            let modified = self.data.metadata()?.modified()?;
            self.data.set_modified(modified - BACKDATE)?;
            rename_over(
                &flight.store.partial_path(&flight.key, DATA),
                &path,
                flight.store.modes(),
            )?;
            flight.discard()?;
            Ok(Witness::of_metadata(&self.data.metadata()?))
        };
        match publish() {
            Ok(witness) => Ok(Landed { blob: Blob { digest, size: self.size }, witness, flight }),
            Err(source) => {
                self.flight = Some(flight);
                Err(Uncommitted {
                    error: CommitError::Io { path, source },
                    data: Some(Box::new(self)),
                })
            }
        }
    }

    /// Drops what was taken; gives the flight back.
    pub fn discard(mut self) -> Flight {
        let flight = self.flight.take().expect("a writer holds its flight until it is consumed");
        let _ = flight.discard();
        flight
    }

    fn checkpoint(&mut self) -> io::Result<()> {
        let head = Head { length: self.size, digest: self.digest(), ..self.head.clone() };
        let before = std::mem::replace(&mut self.head, head);
        let result = self.write_head();
        if result.is_err() {
            self.head = before;
        }
        result
    }

    fn write_head(&self) -> io::Result<()> {
        let Some(flight) = &self.flight else { return Ok(()) };
        let bytes = record::encode(&flight.key, &self.head)?;
        let mut temp = crate::fs::TempFile::create(&flight.store.tmp_dir(), flight.store.modes())?;
        temp.file.write_all(&bytes)?;
        let path = flight.store.partial_path(&flight.key, HEAD);
        temp.publish_entry(&path, flight.store.modes())
    }
}

impl Drop for PartialWriter {
    fn drop(&mut self) {
        if self.flight.is_none() {
            return;
        }
        if self.size == 0 || self.checkpoint().is_err() && self.head.length == 0 {
            let flight = self.flight.take();
            let _ = flight.map(|flight| flight.discard());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note(String);

    impl Kind for Note {
        const NAME: &'static str = "note";
        const VERSION: u16 = 1;
    }

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).expect("a new store");
        (dir, store)
    }

    fn flight(store: &Store, key: &Digest) -> Flight {
        store.try_flight(key).expect("a lock file").expect("nobody else flies")
    }

    #[test]
    fn a_paused_download_is_resumed_to_the_same_blob() -> Outcome {
        let (_dir, store) = store();
        let key = Digest::of("url");
        let mut writer = flight(&store, &key).start(&Note("etag".into()))?;
        writer.write(b"hello ")?;
        drop(writer);

        let flight = flight(&store, &key);
        let leftover = flight.leftover::<Note>()?.expect("a head was left");
        assert_eq!((leftover.head.0.as_str(), leftover.len()), ("etag", 6));
        let hasher = leftover.verify()?.expect("the prefix is sound");
        let mut writer = flight.resume(leftover, hasher, &Note("etag".into()))?;
        writer.write(b"world")?;
        let landed = writer.commit(Some(&Digest::of("hello world"))).map_err(|u| u.error)?;
        assert_eq!(landed.blob.size, 11);
        assert!(store.verify_blob(&landed.blob.digest)?);
        assert_eq!(fs::read_dir(store.root().join(layout::PARTIAL))?.count(), 0);
        Ok(())
    }

    #[test]
    fn a_damaged_prefix_is_not_built_upon() -> Outcome {
        let (_dir, store) = store();
        let key = Digest::of("url");
        let mut writer = flight(&store, &key).start(&Note(String::new()))?;
        writer.write(b"hello ")?;
        drop(writer);
        fs::write(store.partial_path(&key, DATA), b"jello ")?;
        let flight = flight(&store, &key);
        // A rewritten file may keep its inode, so it is the digest that has to notice.
        if let Some(leftover) = flight.leftover::<Note>()? {
            assert!(leftover.verify()?.is_none());
        }
        Ok(())
    }

    #[test]
    fn a_wrong_digest_leaves_nothing() -> Outcome {
        let (_dir, store) = store();
        let key = Digest::of("url");
        let mut writer = flight(&store, &key).start(&Note(String::new()))?;
        writer.write(b"hello")?;
        let result = writer.commit(Some(&Digest::of("other")));
        let error = result.err().map(|uncommitted| uncommitted.error);
        assert!(matches!(error, Some(CommitError::WrongDigest { .. })));
        assert!(store.blob_path(&Digest::of("hello")).is_none());
        assert!(flight(&store, &key).leftover::<Note>()?.is_none());
        Ok(())
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_does_not_stop_the_download() -> Outcome {
        let (_dir, store) = store();
        let key = Digest::of("url");
        let mut writer = flight(&store, &key).start(&Note(String::new()))?;
        let tmp = store.root().join(layout::TMP);
        fs::remove_dir_all(&tmp)?;
        fs::write(&tmp, "in the way")?;
        let bytes = vec![7; usize::try_from(CHECKPOINT)?];
        writer.write(&bytes)?;
        writer.write(b"end")?;
        let landed = writer.commit(None).map_err(|uncommitted| uncommitted.error)?;
        assert_eq!(landed.blob.digest, Digest::of([bytes.as_slice(), b"end"].concat()));
        Ok(())
    }

    #[test]
    fn one_flight_at_a_time_and_others_look_on() -> Outcome {
        let (_dir, store) = store();
        let key = Digest::of("url");
        let mut writer = flight(&store, &key).start(&Note("n".into()))?;
        assert!(store.try_flight(&key)?.is_none());
        writer.write(b"abc")?;
        let view = store.partial_view::<Note>(&key)?.expect("there is data");
        let mut buffer = [0; 8];
        assert_eq!((view.head.0.as_str(), view.read_at(&mut buffer, 1)?), ("n", 2));
        assert!(view.is_current(&store, &key)?);
        let landed = writer.commit(None).map_err(|uncommitted| uncommitted.error)?;
        assert!(!view.is_current(&store, &key)?);
        assert!(store.try_flight(&key)?.is_none());
        drop(landed);
        assert!(store.try_flight(&key)?.is_some());
        Ok(())
    }
}
