//! What is to leave a store: a pure function of its inventory, the leases, the limits and `now`.
//!
//! A record is of use as long as it is young enough and there is room; the least recently used
//! goes first. A blob or tree lives while a kept record refers to it or a lease names it. An entry
//! from the future counts as used just now, so a clock that jumped back removes nothing by age.
//! Records of formats that are not known are left alone, and what only they refer to is not counted
//! against the size bound: two installed versions each have their own budget and do not fight.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::gc::Count;
use crate::inventory::{
    AreaInfo, BlobInfo, Inventory, RecordInfo, SlotInfo, Stray, StrayKind, TreeInfo,
};
use crate::layout;

/// How much a store may hold, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all known records, blobs, trees and slots may have together.
    pub max_bytes: Option<u64>,
    /// Records and slots that were not used for so long go.
    pub max_age: Option<Duration>,
    /// A blob or tree that nothing refers to stays so long after it was written: its record may
    /// be about to be.
    pub grace: Duration,
    /// Cut-off downloads that were not written to for so long go.
    pub partial_age: Duration,
    /// Areas of other formats in which nothing was used for so long go.
    pub other_age: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Limits {
    /// 20 GiB, any age; an hour of grace, 7 days for cut-off downloads, 30 for other formats.
    fn default() -> Self {
        Self {
            max_bytes: Some(20 << 30),
            max_age: None,
            grace: Duration::from_secs(60 * 60),
            partial_age: 7 * DAY,
            other_age: 30 * DAY,
        }
    }
}

impl Limits {
    /// Nothing stays but what is in use.
    pub fn nothing() -> Self {
        let none = Duration::ZERO;
        let bytes = Some(0);
        Self { max_bytes: bytes, max_age: None, grace: none, partial_age: none, other_age: none }
    }
}

/// What is to be removed, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// In the order in which they are to go.
    pub removals: Vec<Removal>,
    /// Bytes of known records, blobs, trees and slots that stay.
    pub kept_bytes: u64,
}

/// One thing to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// What.
    pub target: Target,
    /// Why.
    pub reason: Reason,
}

/// What can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A record.
    Record(RecordInfo),
    /// A blob.
    Blob(BlobInfo),
    /// A tree with the record that lists it.
    Tree(TreeInfo),
    /// A slot.
    Slot(SlotInfo),
    /// What is no entry.
    Stray(Stray),
    /// All of an area of another format.
    Area(AreaInfo),
}

/// Why something is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It cannot be read.
    Damaged,
    /// Its writer is gone.
    Abandoned,
    /// It is of a format that nobody uses any more.
    OtherFormat,
    /// It was not used for too long.
    Unused,
    /// Nothing refers to it.
    Unreferenced,
    /// There is no room.
    OverSize,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Abandoned => "left behind",
            Self::OtherFormat => "of a format no longer in use",
            Self::Unused => "not used for too long",
            Self::Unreferenced => "not referred to",
            Self::OverSize => "over the size bound",
        })
    }
}

impl Target {
    /// The kind, as in [`Inventory::totals`](crate::Inventory::totals).
    pub fn label(&self) -> String {
        let text = match self {
            Self::Record(record) => return layout::kind_dir(&record.kind, record.version),
            Self::Area(area) => return area.name.clone(),
            Self::Blob(_) => "blobs",
            Self::Tree(_) => "trees",
            Self::Slot(_) => "slots",
            Self::Stray(stray) => match stray.kind {
                StrayKind::Temporary => "temporary files",
                StrayKind::Lock => "locks",
                StrayKind::Partial => "partial downloads",
                StrayKind::Damaged => "damaged records",
            },
        };
        text.to_owned()
    }

    /// How much room it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Record(record) => record.bytes,
            Self::Blob(blob) => blob.bytes,
            Self::Tree(tree) => tree.bytes,
            Self::Slot(slot) => slot.bytes,
            Self::Stray(stray) => stray.bytes,
            Self::Area(area) => area.bytes,
        }
    }
}

impl GcPlan {
    /// Decides. `leased` are the digests that living processes use.
    pub fn new(
        inventory: &Inventory,
        leased: &HashSet<Digest>,
        limits: &Limits,
        now: SystemTime,
    ) -> Self {
        let mut planner = Planner::new(inventory, leased, limits, now);
        planner.drop_other_formats();
        planner.count_references();
        planner.drop_strays();
        planner.drop_unreferenced();
        planner.drop_by_age_and_size();
        GcPlan { removals: planner.removals, kept_bytes: planner.used }
    }

    /// What goes, by kind and reason.
    pub fn totals(&self) -> BTreeMap<(String, Reason), Count> {
        let mut totals: BTreeMap<_, Count> = BTreeMap::new();
        for removal in &self.removals {
            let key = (removal.target.label(), removal.reason);
            totals.entry(key).or_default().add(removal.target.bytes());
        }
        totals
    }
}

impl fmt::Display for GcPlan {
    /// One line for each kind and reason, and one for what stays.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, reason), count) in self.totals() {
            writeln!(f, "{kind}: {count} {reason}")?;
        }
        write!(f, "kept: {} bytes", self.kept_bytes)
    }
}

/// A record, tree or slot that may have to go.
#[derive(Debug, Clone, Copy)]
enum Candidate<'a> {
    Record(&'a RecordInfo),
    /// With the record that lists it.
    Tree(&'a RecordInfo, &'a TreeInfo),
    Slot(&'a SlotInfo),
}

/// The kept records that refer to one digest.
#[derive(Debug, Default)]
struct References {
    known: usize,
    other: usize,
    last_used: Option<SystemTime>,
}

struct Planner<'a> {
    inventory: &'a Inventory,
    leased: &'a HashSet<Digest>,
    limits: &'a Limits,
    now: SystemTime,
    grace: Duration,
    gone_areas: HashSet<&'a str>,
    references: HashMap<Digest, References>,
    blobs: HashMap<Digest, &'a BlobInfo>,
    removals: Vec<Removal>,
    used: u64,
}

impl<'a> Planner<'a> {
    fn new(
        inventory: &'a Inventory,
        leased: &'a HashSet<Digest>,
        limits: &'a Limits,
        now: SystemTime,
    ) -> Self {
        Self {
            inventory,
            leased,
            limits,
            now,
            grace: limits.grace,
            gone_areas: HashSet::new(),
            references: HashMap::new(),
            blobs: inventory.blobs.iter().map(|blob| (blob.digest, blob)).collect(),
            removals: Vec::new(),
            used: 0,
        }
    }

    /// What lies in the future has no age.
    fn age(&self, time: SystemTime) -> Duration {
        self.now.duration_since(time).unwrap_or_default()
    }

    fn remove(&mut self, target: Target, reason: Reason) {
        self.removals.push(Removal { target, reason });
    }

    /// Where references cannot be read, whatever nothing else refers to gets the grace of the
    /// format that may.
    fn drop_other_formats(&mut self) {
        for area in &self.inventory.others {
            if self.age(area.last_used) >= self.limits.other_age {
                self.gone_areas.insert(&area.name);
                self.remove(Target::Area(area.clone()), Reason::OtherFormat);
            } else if !area.is_readable {
                self.grace = self.grace.max(self.limits.other_age);
            }
        }
    }

    fn is_kept_other(&self, record: &RecordInfo) -> bool {
        !record.is_known
            && !self.gone_areas.contains(&*layout::kind_dir(&record.kind, record.version))
    }

    fn count_references(&mut self) {
        for record in &self.inventory.records {
            let is_other = self.is_kept_other(record);
            if !record.is_known && !is_other {
                continue;
            }
            for digest in &record.references {
                let references = self.references.entry(*digest).or_default();
                *(if is_other { &mut references.other } else { &mut references.known }) += 1;
                references.last_used = references.last_used.max(Some(record.last_used));
            }
        }
    }

    fn drop_strays(&mut self) {
        for stray in &self.inventory.strays {
            let age = self.age(stray.modified);
            let (is_over, reason) = match stray.kind {
                StrayKind::Temporary => (true, Reason::Abandoned),
                StrayKind::Lock => (age >= self.limits.grace, Reason::Abandoned),
                StrayKind::Partial => (age >= self.limits.partial_age, Reason::Abandoned),
                StrayKind::Damaged => (true, Reason::Damaged),
            };
            if is_over && !stray.is_in_use {
                self.remove(Target::Stray(stray.clone()), reason);
            }
        }
    }

    fn may_go(&self, digest: &Digest, modified: SystemTime) -> bool {
        !self.leased.contains(digest) && self.age(modified) >= self.grace
    }

    fn drop_unreferenced(&mut self) {
        for blob in &self.inventory.blobs {
            match self.references.get(&blob.digest) {
                None if self.may_go(&blob.digest, blob.modified) => {
                    self.remove(Target::Blob(blob.clone()), Reason::Unreferenced);
                }
                Some(References { known: 0, .. }) => {}
                _ => self.used += blob.bytes,
            }
        }
        for tree in self.inventory.trees.iter().filter(|tree| !tree.is_listed) {
            if self.may_go(&tree.digest, tree.last_used) {
                self.remove(Target::Tree(tree.clone()), Reason::Unreferenced);
            } else {
                self.used += tree.bytes;
            }
        }
    }

    /// Least recently used first. A tree is used when what refers to it is, and goes after that.
    fn candidates(&self) -> Vec<(SystemTime, Candidate<'a>)> {
        let trees = self.inventory.trees.iter().filter(|tree| tree.is_listed);
        let trees: HashMap<Digest, &TreeInfo> = trees.map(|tree| (tree.digest, tree)).collect();
        let mut found = Vec::new();
        for record in self.inventory.records.iter().filter(|record| record.is_known) {
            let is_tree = record.kind == "tree";
            match trees.get(&record.key).filter(|_| is_tree) {
                Some(tree) => {
                    let referred = self.references.get(&record.key).and_then(|r| r.last_used);
                    let own = record.last_used.max(tree.last_used);
                    let last_used = referred.unwrap_or(own).max(own);
                    found.push((last_used, Candidate::Tree(record, tree)));
                }
                None => found.push((record.last_used, Candidate::Record(record))),
            }
        }
        for slot in &self.inventory.slots {
            found.push((slot.last_used, Candidate::Slot(slot)));
        }
        found.sort_by_key(|(last_used, candidate)| {
            let is_tree = matches!(candidate, Candidate::Tree(..));
            ((*last_used).min(self.now), is_tree, candidate.key())
        });
        found
    }

    fn is_pinned(&self, candidate: Candidate<'_>) -> bool {
        let is_leased = |record: &RecordInfo| {
            let mut digests = record.references.iter().chain([&record.key]);
            digests.any(|digest| self.leased.contains(digest))
        };
        match candidate {
            Candidate::Record(record) => is_leased(record),
            Candidate::Slot(slot) => self.leased.contains(&slot.key),
            Candidate::Tree(record, tree) => {
                let references = self.references.get(&tree.digest);
                is_leased(record) || references.is_some_and(|r| r.other > 0)
            }
        }
    }

    fn drop_by_age_and_size(&mut self) {
        let candidates = self.candidates();
        self.used += candidates.iter().map(|(_, candidate)| candidate.bytes()).sum::<u64>();
        for (last_used, candidate) in candidates {
            let is_old = self.limits.max_age.is_some_and(|max| self.age(last_used) >= max);
            let is_over = self.limits.max_bytes.is_some_and(|max| self.used > max);
            if self.is_pinned(candidate) {
                continue;
            }
            if is_old {
                self.evict(candidate, Reason::Unused);
            } else if is_over {
                self.evict(candidate, Reason::OverSize);
            }
        }
    }

    /// Removes a candidate, and the blobs that nothing refers to without it.
    fn evict(&mut self, candidate: Candidate<'a>, reason: Reason) {
        self.used -= candidate.bytes();
        let record = match candidate {
            Candidate::Slot(slot) => {
                return self.remove(Target::Slot(slot.clone()), reason);
            }
            Candidate::Record(record) => {
                self.remove(Target::Record(record.clone()), reason);
                record
            }
            Candidate::Tree(record, tree) => {
                self.remove(Target::Tree(tree.clone()), reason);
                record
            }
        };
        for digest in &record.references {
            let references = self.references.get_mut(digest).expect("counted before");
            references.known -= 1;
            let (known, other) = (references.known, references.other);
            let Some(&blob) = self.blobs.get(digest).filter(|_| known == 0) else { continue };
            if other > 0 {
                self.used -= blob.bytes;
            } else if self.may_go(digest, blob.modified) {
                self.used -= blob.bytes;
                self.remove(Target::Blob(blob.clone()), reason);
            }
        }
    }
}

impl Candidate<'_> {
    fn key(&self) -> Digest {
        match self {
            Self::Record(record) | Self::Tree(record, _) => record.key,
            Self::Slot(slot) => slot.key,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Record(record) => record.bytes,
            Self::Tree(record, tree) => record.bytes + tree.bytes,
            Self::Slot(slot) => slot.bytes,
        }
    }
}
