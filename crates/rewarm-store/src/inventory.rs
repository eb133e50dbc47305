//! What is in a store: every entry with its size, last use and references.
//!
//! Read for `rewarm cache` and for the sweeper, without locks and without changing anything, so
//! it is a picture of a store that others may be changing. Which kinds of record are known is
//! for the caller to say; areas of other kinds and versions are listed as a whole, and where their
//! envelopes can be read, what their records refer to is known too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::fs::{is_absence, is_lock_free};
use crate::layout;
use crate::lock::Lock;
use crate::record::{Envelope, Format};
use crate::store::{Store, read_file};
use crate::tree::Manifest;

/// The picture of a store.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Sound records, also of formats that are not known.
    pub records: Vec<RecordInfo>,
    /// Blobs.
    pub blobs: Vec<BlobInfo>,
    /// Directories of trees.
    pub trees: Vec<TreeInfo>,
    /// Slots.
    pub slots: Vec<SlotInfo>,
    /// Areas of formats that are not known.
    pub others: Vec<AreaInfo>,
    /// What is no entry: temporary files, locks, leases, cut-off downloads, damaged records.
    pub strays: Vec<Stray>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordInfo {
    /// Name of its kind.
    pub kind: String,
    /// Format version of its kind.
    pub version: u16,
    /// Its key.
    pub key: Digest,
    /// Size of the file.
    pub bytes: u64,
    /// When it was last of use, to within a day.
    pub last_used: SystemTime,
    /// The blobs and trees that live as long as it does.
    pub references: Vec<Digest>,
    /// Whether the caller knows this format.
    pub is_known: bool,
}

/// One blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Size.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// The directory of one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeInfo {
    /// The blob it was unpacked from.
    pub digest: Digest,
    /// Of all its files.
    pub bytes: u64,
    /// When it was unpacked, or last found whole.
    pub last_used: SystemTime,
    /// Whether a record lists its files. One without is a miss, and will be replaced or swept.
    pub is_listed: bool,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: Digest,
    /// Of all its files.
    pub bytes: u64,
    /// When a run was last seeded from it or published to it.
    pub last_used: SystemTime,
}

/// An area of a format that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaInfo {
    /// Name of the directory, for example `http-v2`.
    pub name: String,
    /// Files.
    pub entries: u64,
    /// Of all its files.
    pub bytes: u64,
    /// The youngest modification time in it.
    pub last_used: SystemTime,
    /// Whether every file in it could be read as a record, so that its references are known.
    pub is_readable: bool,
}

/// What a file or directory is that is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StrayKind {
    /// Of a writer that has not published, or was killed.
    Temporary,
    /// A file that exists to be locked.
    Lock,
    /// Part of a download.
    Partial,
    /// A record that is damaged or stands in the wrong place.
    Damaged,
}

/// A file or directory that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// What it is.
    pub kind: StrayKind,
    /// Below the root of the store.
    pub path: PathBuf,
    /// Of all its files.
    pub bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Whether somebody was seen to be at work on it. Only temporary files and partial downloads
    /// are asked.
    pub is_in_use: bool,
}

/// How much there is of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindTotal {
    /// Records, or objects.
    pub entries: u64,
    /// Of the records or objects themselves.
    pub bytes: u64,
    /// Of the distinct blobs and trees they refer to; other kinds may refer to the same.
    pub referenced_bytes: u64,
}

impl RecordInfo {
    /// What no other record has in common with it: kind, version and key.
    pub(crate) fn place(&self) -> (&str, u16, Digest) {
        (&self.kind, self.version, self.key)
    }
}

impl Inventory {
    /// Entries and bytes by kind: each format of record (`http-v1`), `blobs`, `trees`, `slots`.
    pub fn totals(&self) -> BTreeMap<String, KindTotal> {
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        let blobs = self.blobs.iter().map(|blob| (blob.digest, blob.bytes));
        let trees = self.trees.iter().map(|tree| (tree.digest, tree.bytes));
        for (digest, bytes) in blobs.clone().chain(trees.clone()) {
            *sizes.entry(digest).or_default() += bytes;
        }
        let mut totals: BTreeMap<String, KindTotal> = BTreeMap::new();
        let mut add = |name: &str, bytes: u64, referenced: u64| {
            let total = totals.entry(name.to_owned()).or_default();
            total.entries += 1;
            total.bytes += bytes;
            total.referenced_bytes += referenced;
        };
        let mut seen: HashSet<(&str, u16, Digest)> = HashSet::new();
        for record in &self.records {
            let name = layout::kind_dir(&record.kind, record.version);
            let fresh = record.references.iter().filter(|reference| {
                seen.insert((record.kind.as_str(), record.version, **reference))
            });
            add(&name, record.bytes, fresh.filter_map(|digest| sizes.get(digest)).sum());
        }
        blobs.for_each(|(_, bytes)| add("blobs", bytes, 0));
        trees.for_each(|(_, bytes)| add("trees", bytes, 0));
        self.slots.iter().for_each(|slot| add("slots", slot.bytes, 0));
        totals
    }
}

impl Store {
    /// Looks through the whole store. `known` are the formats the caller can read.
    ///
    /// What vanishes meanwhile is left out. Entries of a store below are not included.
    pub fn inventory(&self, known: &[Format]) -> io::Result<Inventory> {
        let mut found = Inventory::default();
        let mut tree_sizes = HashMap::new();
        let is_known = |name: &str, version: u16| {
            let mut formats = known.iter().copied().chain([Format::of::<Manifest>()]);
            formats.any(|format| (format.name, format.version) == (name, version))
        };
        for entry in list(self.root())? {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            match (name, layout::parse_area(name)) {
                (layout::BLOBS, _) => self.list_blobs(&mut found)?,
                (layout::TREES | layout::SLOTS | layout::PARTIAL, _) => {}
                (_, Some((kind, version))) => {
                    let area = Area { name, kind, version, is_known: is_known(kind, version) };
                    self.list_records(&area, &mut found, &mut tree_sizes)?;
                }
                (_, None) => {}
            }
        }
        self.list_trees(&mut found, &tree_sizes)?;
        self.list_slots(&mut found)?;
        self.list_strays(&mut found)?;
        Ok(found)
    }

    /// Drops the record that an inventory listed, whatever its kind.
    pub fn remove_listed(&self, record: &RecordInfo) -> io::Result<()> {
        self.remove_record(&layout::kind_dir(&record.kind, record.version), &record.key)
    }

    fn list_blobs(&self, found: &mut Inventory) -> io::Result<()> {
        for (digest, entry) in sharded(&self.root().join(layout::BLOBS))? {
            if let Some((metadata, modified)) = stat(&entry) {
                found.blobs.push(BlobInfo { digest, bytes: metadata.len(), modified });
            }
        }
        Ok(())
    }

    fn list_records(
        &self,
        area: &Area<'_>,
        found: &mut Inventory,
        tree_sizes: &mut HashMap<Digest, u64>,
    ) -> io::Result<()> {
        let dir = self.root().join(area.name);
        let mut is_readable = true;
        for (key, entry) in sharded(&dir)? {
            let Some((metadata, modified)) = stat(&entry) else { continue };
            let path = entry.path();
            // An empty file hides a record of the store below.
            if metadata.len() == 0 && self.has_lower() {
                continue;
            }
            // What is no file is no record, whatever it leads to.
            let bytes = if metadata.is_file() { self.read_record(&path) } else { Some(Vec::new()) };
            let Some(bytes) = bytes else {
                is_readable = false;
                continue;
            };
            match Envelope::parse(&bytes).filter(|envelope| area.holds(envelope, &key)) {
                Some(envelope) => {
                    if let Some(size) = Manifest::size(&envelope) {
                        tree_sizes.insert(key, size);
                    }
                    found.records.push(RecordInfo {
                        kind: area.kind.to_owned(),
                        version: area.version,
                        key,
                        bytes: metadata.len(),
                        last_used: modified,
                        references: envelope.references,
                        is_known: area.is_known,
                    });
                }
                None if area.is_known => found.strays.push(Stray {
                    kind: StrayKind::Damaged,
                    path: relative(&path, self.root()),
                    bytes: metadata.len(),
                    modified,
                    is_in_use: false,
                }),
                None => is_readable = false,
            }
        }
        if !area.is_known && is_area(&dir) {
            let Extent { entries, bytes, newest } = extent(&dir);
            let name = area.name.to_owned();
            let last_used = newest.unwrap_or(SystemTime::UNIX_EPOCH);
            found.others.push(AreaInfo { name, entries, bytes, last_used, is_readable });
        }
        Ok(())
    }

    /// The bytes of what may be a record; large files that are none are not read.
    fn read_record(&self, path: &Path) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        let mut file = File::open(path).ok()?;
        let count = file.read(&mut head).ok()?;
        if !Envelope::may_start_with(&head[..count]) {
            return Some(Vec::new());
        }
        read_file(path, self.is_shared()).map(|found| found.bytes)
    }

    fn list_trees(&self, found: &mut Inventory, sizes: &HashMap<Digest, u64>) -> io::Result<()> {
        for (digest, entry) in sharded(&self.root().join(layout::TREES))? {
            let Some((_, last_used)) = stat(&entry) else { continue };
            let listed = sizes.get(&digest);
            let bytes = listed.copied().unwrap_or_else(|| extent(&entry.path()).bytes);
            found.trees.push(TreeInfo { digest, bytes, last_used, is_listed: listed.is_some() });
        }
        Ok(())
    }

    fn list_slots(&self, found: &mut Inventory) -> io::Result<()> {
        for kind in list(&self.root().join(layout::SLOTS))? {
            let Ok(name) = kind.file_name().into_string() else { continue };
            for (key, entry) in sharded(&kind.path())? {
                let Some((_, last_used)) = stat(&entry) else { continue };
                let bytes = extent(&entry.path()).bytes;
                found.slots.push(SlotInfo { kind: name.clone(), key, bytes, last_used });
            }
        }
        Ok(())
    }

    fn list_strays(&self, found: &mut Inventory) -> io::Result<()> {
        let root = self.root();
        let mut add = |kind, entry: &DirEntry, is_in_use| {
            if let Some((metadata, modified)) = stat(entry) {
                let path = entry.path();
                let bytes = if metadata.is_dir() { extent(&path).bytes } else { metadata.len() };
                let path = relative(&path, root);
                found.strays.push(Stray { kind, path, bytes, modified, is_in_use });
            }
        };
        let has_name = |entry: &DirEntry, is_ours: fn(&str) -> bool| {
            entry.file_name().to_str().is_some_and(is_ours)
        };
        let temporary = list(&root.join(layout::TMP))?;
        for entry in temporary.iter().filter(|entry| has_name(entry, layout::is_temporary)) {
            add(StrayKind::Temporary, entry, !self.is_dead(entry));
        }
        let locks = list(&root.join(layout::LOCKS))?;
        for entry in locks.iter().filter(|entry| has_name(entry, layout::is_lock)) {
            add(StrayKind::Lock, entry, false);
        }
        let partial = list(&root.join(layout::PARTIAL))?;
        for entry in partial.iter().filter(|entry| has_name(entry, layout::is_partial)) {
            add(StrayKind::Partial, entry, self.is_under_way(entry));
        }
        Ok(())
    }

    /// Whether somebody holds the lock of a partial download.
    fn is_under_way(&self, entry: &DirEntry) -> bool {
        let name = entry.file_name();
        let key = name.to_str().and_then(|name| name.split('.').next()?.parse().ok());
        let free = key.map(|key| Lock::is_free(&self.lock_path(layout::PARTIAL_LOCK, &key)));
        !matches!(free, Some(Ok(true)))
    }

    /// Whether the writer of a temporary file or directory no longer lives.
    pub(crate) fn is_dead(&self, entry: &DirEntry) -> bool {
        let name = entry.file_name();
        let source = name.to_str().and_then(|name| name.strip_prefix("tree-")?.parse().ok());
        let is_free = match source {
            Some(source) => Lock::is_free(&self.lock_path("tree", &source)),
            None => File::open(entry.path()).and_then(|file| is_lock_free(&file)),
        };
        is_free.unwrap_or(false)
    }
}

/// A directory of records.
struct Area<'a> {
    name: &'a str,
    kind: &'a str,
    version: u16,
    is_known: bool,
}

impl Area<'_> {
    fn holds(&self, envelope: &Envelope<'_>, key: &Digest) -> bool {
        (envelope.kind, envelope.version, envelope.key) == (self.kind, self.version, *key)
    }
}

/// The entries of a directory; none if it is not there.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(error) if is_absence(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What stands at its place in a directory with two digits of fan-out.
pub(crate) fn sharded(dir: &Path) -> io::Result<Vec<(Digest, DirEntry)>> {
    let mut found = Vec::new();
    for shard in list(dir)? {
        let prefix = shard.file_name();
        for entry in list(&shard.path())? {
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) else {
                continue;
            };
            let text = digest.to_string();
            if name == *text && prefix == text[..2] {
                found.push((digest, entry));
            }
        }
    }
    Ok(found)
}

/// Whether a directory holds nothing but what some version of this program puts into an area: a
/// store may share its root with directories of other people that happen to have such a name.
fn is_area(dir: &Path) -> bool {
    let is_shard = |entry: &DirEntry, name: &str| {
        let is_hex = name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_entry = |_: &DirEntry, name: &str| name.parse::<Digest>().is_ok();
        is_hex && (is_empty(&entry.path()) || holds_only(&entry.path(), &is_entry))
    };
    let is_slots = |entry: &DirEntry| holds_only(&entry.path(), &is_shard);
    let is_ours = |entry: &DirEntry, name: &str| {
        layout::is_partial(name) || is_shard(entry, name) || is_slots(entry)
    };
    holds_only(dir, &is_ours)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// Whether `dir` is a directory with something in it, all of which passes.
fn holds_only(dir: &Path, passes: &dyn Fn(&DirEntry, &str) -> bool) -> bool {
    let passes =
        |entry: &DirEntry| entry.file_name().to_str().is_some_and(|name| passes(entry, name));
    let is_dir = fs::symlink_metadata(dir).is_ok_and(|metadata| metadata.is_dir());
    let entries = if is_dir { list(dir).unwrap_or_default() } else { Vec::new() };
    !entries.is_empty() && entries.iter().all(passes)
}

fn stat(entry: &DirEntry) -> Option<(Metadata, SystemTime)> {
    let metadata = entry.metadata().ok()?;
    let modified = metadata.modified().ok()?;
    Some((metadata, modified))
}

fn relative(path: &Path, root: &Path) -> PathBuf {
    path.strip_prefix(root).expect("listed below the root").to_owned()
}

/// The files below a directory.
#[derive(Debug, Default)]
struct Extent {
    entries: u64,
    bytes: u64,
    newest: Option<SystemTime>,
}

fn extent(dir: &Path) -> Extent {
    let mut total = Extent::default();
    for entry in list(dir).unwrap_or_default() {
        let Some((metadata, modified)) = stat(&entry) else { continue };
        total.newest = total.newest.max(Some(modified));
        if metadata.is_dir() {
            let inner = extent(&entry.path());
            total.entries += inner.entries;
            total.bytes += inner.bytes;
            total.newest = total.newest.max(inner.newest);
        } else {
            total.entries += 1;
            total.bytes += metadata.len();
        }
    }
    total
}
