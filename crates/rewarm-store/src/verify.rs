//! Verifying everything: each blob, record and tree against its name, to the last byte.
//!
//! The store gives a list of items and checks one at a time, so that a caller can spread them over
//! threads and show progress. What is damaged is dropped in passing, unless another process
//! replaced it meanwhile. Slots are not verified: what is in them is the business of their tool.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::dirs::remove_dir;
use crate::fs::{is_absence, is_named};
use crate::gc::Count;
use crate::inventory::{BlobInfo, RecordInfo, Stray, StrayKind, TreeInfo, list};
use crate::layout;
use crate::record::{Envelope, Format};
use crate::store::{Store, read_file, undroppable};
use crate::tree::{Manifest, TreeFile, hash};

/// Something that can be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyItem {
    /// Against its digest.
    Blob(BlobInfo),
    /// Every file against its digest, and no file besides.
    Tree(TreeInfo),
    /// Against its checksum, and its kind, version and key against its place.
    Record(RecordInfo),
    /// A record that was found damaged when the items were listed.
    DamagedRecord(Stray),
}

/// What verifying an item said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is what its name says.
    Sound,
    /// It was not, and was dropped.
    Damaged,
    /// It is not there any more.
    Gone,
}

/// What verifying a store found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// What was right.
    pub sound: Count,
    /// What was dropped.
    pub damaged: Vec<VerifyItem>,
    /// What could not be read.
    pub failed: Vec<(VerifyItem, io::Error)>,
}

impl VerifyItem {
    /// How much there is to read.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Blob(blob) => blob.bytes,
            Self::Tree(tree) => tree.bytes,
            Self::Record(record) => record.bytes,
            Self::DamagedRecord(stray) => stray.bytes,
        }
    }
}

impl VerifyReport {
    /// Takes the result for one item.
    pub fn add(&mut self, item: VerifyItem, result: io::Result<Verdict>) {
        match result {
            Ok(Verdict::Sound) => self.sound.add(item.bytes()),
            Ok(Verdict::Damaged) => self.damaged.push(item),
            Ok(Verdict::Gone) => {}
            Err(error) => self.failed.push((item, error)),
        }
    }
}

impl Store {
    /// All that can be verified, largest first, so that threads which share the list end together.
    /// `known` are the formats the caller can read; records of other formats are left out.
    pub fn verify_items(&self, known: &[Format]) -> io::Result<Vec<VerifyItem>> {
        let inventory = self.inventory(known)?;
        let trees = inventory.trees.into_iter().filter(|tree| tree.is_listed);
        let records = inventory.records.into_iter().filter(|record| record.is_known);
        let strays = inventory.strays.into_iter();
        let damaged = strays.filter(|stray| stray.kind == StrayKind::Damaged);
        let mut items: Vec<_> = inventory.blobs.into_iter().map(VerifyItem::Blob).collect();
        items.extend(trees.map(VerifyItem::Tree));
        items.extend(records.map(VerifyItem::Record));
        items.extend(damaged.map(VerifyItem::DamagedRecord));
        items.sort_by_key(|item| std::cmp::Reverse(item.bytes()));
        Ok(items)
    }

    /// Reads one item to its end and drops it if it is damaged. Fails if it cannot be read; then
    /// it stays.
    pub fn verify_item(&self, item: &VerifyItem) -> io::Result<Verdict> {
        match item {
            VerifyItem::Blob(blob) => {
                let path = layout::sharded(self.root(), layout::BLOBS, &blob.digest);
                match File::open(&path) {
                    Err(error) if is_absence(&error) => return Ok(Verdict::Gone),
                    other => other?,
                };
                let is_sound = self.verify_blob(&blob.digest)?;
                Ok(if is_sound { Verdict::Sound } else { Verdict::Damaged })
            }
            VerifyItem::Record(record) => {
                self.verify_record(&record.kind, record.version, &record.key)
            }
            VerifyItem::DamagedRecord(stray) => {
                let mut parts = stray.path.iter().filter_map(|part| part.to_str());
                let area = parts.next().and_then(layout::parse_area);
                let key = parts.next_back().and_then(|name| name.parse().ok());
                match (area, key) {
                    (Some((kind, version)), Some(key)) => self.verify_record(kind, version, &key),
                    _ => Ok(Verdict::Gone),
                }
            }
            VerifyItem::Tree(tree) => self.verify_tree(&tree.digest),
        }
    }

    fn verify_record(&self, kind: &str, version: u16, key: &Digest) -> io::Result<Verdict> {
        let area = layout::kind_dir(kind, version);
        let path = layout::sharded(self.root(), &area, key);
        let Some(record) = read_file(&path, self.is_shared()) else {
            return Ok(Verdict::Gone);
        };
        let place = (kind, version, *key);
        match Envelope::parse(&record.bytes) {
            Some(found) if (found.kind, found.version, found.key) == place => Ok(Verdict::Sound),
            // What another process put there meanwhile is not what was read.
            _ if !is_named(&record.file, &path)? => Ok(Verdict::Gone),
            _ => self.remove_record(&area, key).map(|()| Verdict::Damaged).map_err(undroppable),
        }
    }

    fn verify_tree(&self, source: &Digest) -> io::Result<Verdict> {
        match self.rehash_tree(source)? {
            Verdict::Damaged => {}
            verdict => return Ok(verdict),
        }
        // Whoever holds the lock is about to replace the tree. Once it is ours, nobody is: look
        // again at what is there now.
        let lock = self.try_lock("tree", source).map_err(undroppable)?;
        let Some(_lock) = lock else { return Ok(Verdict::Gone) };
        let verdict = self.rehash_tree(source)?;
        if verdict == Verdict::Damaged
            && let Some(dir) = self.detach_tree(source)?
        {
            remove_dir(&dir)?;
        }
        Ok(verdict)
    }

    fn rehash_tree(&self, source: &Digest) -> io::Result<Verdict> {
        let Some((root, _, manifest)) = self.read_at::<Manifest>(source) else {
            return Ok(Verdict::Gone);
        };
        if root != self.root() {
            return Ok(Verdict::Gone);
        }
        let path = layout::sharded(root, layout::TREES, source);
        let mut present = HashMap::new();
        match files_below(&path, Path::new(""), &mut present) {
            Err(error) if is_absence(&error) => return Ok(Verdict::Damaged),
            other => other?,
        }
        for file in &manifest.files {
            match present.remove(Path::new(&file.path)) {
                Some(mode) if is_sound(&path, file, mode)? => {}
                _ => return Ok(Verdict::Damaged),
            }
        }
        Ok(if present.is_empty() { Verdict::Sound } else { Verdict::Damaged })
    }
}

/// The path below the tree and the mode of every file; directories are not listed.
fn files_below(root: &Path, below: &Path, found: &mut HashMap<PathBuf, u32>) -> io::Result<()> {
    root.metadata()?;
    for entry in list(&root.join(below))? {
        let path = below.join(entry.file_name());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            files_below(root, &path, found)?;
        } else {
            found.insert(path, metadata.mode());
        }
    }
    Ok(())
}

fn is_sound(tree: &Path, file: &TreeFile, mode: u32) -> io::Result<bool> {
    if file.mode & !mode != 0 {
        return Ok(false);
    }
    match hash(&tree.join(&file.path)) {
        Ok(digest) => Ok(digest == file.digest),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
