//! The work behind a plan: references are counted, then candidates go one by one.
//!
//! What the rules are stands in `plan`; this is how they are carried through an inventory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::gc::Count;
use crate::gc::plan::{GcPlan, Limits, Reason, Removal, Target};
use crate::inventory::{BlobInfo, Inventory, RecordInfo, SlotInfo, Stray, StrayKind, TreeInfo};
use crate::layout;

/// A record, tree or slot that may have to go.
#[derive(Debug, Clone, Copy)]
enum Candidate<'a> {
    Record(&'a RecordInfo),
    /// With the record that lists it.
    Tree(&'a RecordInfo, &'a TreeInfo),
    Slot(&'a SlotInfo),
    /// By its place among the planner's.
    Partial(usize),
}

/// A cut-off download: a file with its data and one about it.
#[derive(Debug)]
struct Partial<'a> {
    files: Vec<&'a Stray>,
    bytes: u64,
    last_used: SystemTime,
    is_in_use: bool,
}

impl Default for Partial<'_> {
    fn default() -> Self {
        let last_used = SystemTime::UNIX_EPOCH;
        Self { files: Vec::new(), bytes: 0, last_used, is_in_use: false }
    }
}

/// The kept records that refer to one digest.
#[derive(Debug, Default)]
struct References {
    known: usize,
    other: usize,
    last_used: Option<SystemTime>,
}

pub(super) struct Planner<'a> {
    inventory: &'a Inventory,
    leased: &'a HashSet<Digest>,
    limits: &'a Limits,
    now: SystemTime,
    grace: Duration,
    knows_all_references: bool,
    gone_areas: HashSet<&'a str>,
    references: HashMap<Digest, References>,
    blobs: HashMap<Digest, &'a BlobInfo>,
    partials: Vec<Partial<'a>>,
    removals: Vec<Removal>,
    used: u64,
    waiting: Count,
    in_use: Count,
    shared: Count,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
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
            knows_all_references: true,
            gone_areas: HashSet::new(),
            references: HashMap::new(),
            blobs: inventory.blobs.iter().map(|blob| (blob.digest, blob)).collect(),
            partials: Vec::new(),
            removals: Vec::new(),
            used: 0,
            waiting: Count::default(),
            in_use: Count::default(),
            shared: Count::default(),
        }
    }

    pub(super) fn finish(self) -> GcPlan {
        let Self { removals, used, waiting, in_use, shared, .. } = self;
        GcPlan { removals, kept_bytes: used, waiting, in_use, shared }
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
    pub(super) fn drop_other_formats(&mut self) {
        for area in &self.inventory.others {
            if self.is_area_leased(&area.name) {
                self.in_use.add(area.bytes);
            } else if self.age(area.last_used) >= self.limits.other_age {
                self.gone_areas.insert(&area.name);
                self.remove(Target::Area(area.clone()), Reason::OtherFormat);
            }
        }
        self.heed_unreadable_formats();
    }

    /// Whether a lease names a record of another format, or what it refers to.
    fn is_area_leased(&self, name: &str) -> bool {
        let others = self.inventory.records.iter().filter(|record| !record.is_known);
        let mut own =
            others.filter(|record| layout::kind_dir(&record.kind, record.version) == name);
        !self.leased.is_empty() && own.any(|record| self.is_leased(record))
    }

    fn is_leased(&self, record: &RecordInfo) -> bool {
        let mut digests = record.references.iter().chain([&record.key]);
        digests.any(|digest| self.leased.contains(digest))
    }

    /// What the remaining ones refer to is not known.
    pub(super) fn heed_unreadable_formats(&mut self) {
        let mut kept =
            self.inventory.others.iter().filter(|area| !self.gone_areas.contains(&*area.name));
        if kept.any(|area| !area.is_readable) {
            self.grace = self.grace.max(self.limits.other_age);
            self.knows_all_references = false;
        }
    }

    fn is_kept_other(&self, record: &RecordInfo) -> bool {
        !record.is_known
            && !self.gone_areas.contains(&*layout::kind_dir(&record.kind, record.version))
    }

    pub(super) fn count_references(&mut self) {
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

    pub(super) fn drop_strays(&mut self) {
        let mut partials: BTreeMap<String, Partial<'a>> = BTreeMap::new();
        for stray in &self.inventory.strays {
            let age = self.age(stray.modified);
            let (is_over, reason) = match stray.kind {
                StrayKind::Temporary => (true, Reason::Abandoned),
                StrayKind::Lock => (age >= self.limits.grace, Reason::Abandoned),
                StrayKind::Partial => {
                    let name = stray.path.file_name().unwrap_or_default().to_string_lossy();
                    let key = name.split('.').next().unwrap_or_default().to_owned();
                    partials.entry(key).or_default().add(stray);
                    continue;
                }
                StrayKind::Damaged => (true, Reason::Damaged),
            };
            if is_over && !stray.is_in_use {
                self.remove(Target::Stray(stray.clone()), reason);
            }
        }
        for partial in partials.into_values() {
            let is_over = self.age(partial.last_used) >= self.limits.partial_age;
            if is_over && !partial.is_in_use {
                self.remove_partial(&partial, Reason::Abandoned);
            } else {
                self.partials.push(partial);
            }
        }
    }

    fn remove_partial(&mut self, partial: &Partial<'a>, reason: Reason) {
        for stray in &partial.files {
            self.remove(Target::Stray((*stray).clone()), reason);
        }
    }

    fn may_go(&self, digest: &Digest, modified: SystemTime) -> bool {
        !self.leased.contains(digest) && self.age(modified) >= self.grace
    }

    pub(super) fn drop_unreferenced(&mut self) {
        for blob in &self.inventory.blobs {
            match self.references.get(&blob.digest) {
                None if self.may_go(&blob.digest, blob.modified) => {
                    self.remove(Target::Blob(blob.clone()), Reason::Unreferenced);
                }
                Some(References { known: 0, .. }) => {}
                None => {
                    self.waiting.add(blob.bytes);
                    self.used += blob.bytes;
                }
                _ => self.used += blob.bytes,
            }
        }
        for tree in self.inventory.trees.iter().filter(|tree| !tree.is_listed) {
            if self.may_go(&tree.digest, tree.last_used) {
                self.remove(Target::Tree(tree.clone()), Reason::Unreferenced);
            } else {
                self.waiting.add(tree.bytes);
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
        for (index, partial) in self.partials.iter().enumerate() {
            found.push((partial.last_used, Candidate::Partial(index)));
        }
        found.sort_by_key(|(last_used, candidate)| {
            let is_tree = matches!(candidate, Candidate::Tree(..));
            ((*last_used).min(self.now), is_tree, self.name_of(*candidate))
        });
        found
    }

    fn is_pinned(&self, candidate: Candidate<'_>) -> bool {
        match candidate {
            Candidate::Record(record) => self.is_leased(record),
            Candidate::Slot(slot) => self.leased.contains(&slot.key),
            Candidate::Partial(index) => self.partials[index].is_in_use,
            Candidate::Tree(record, tree) => {
                let references = self.references.get(&tree.digest);
                self.is_leased(record) || references.is_some_and(|r| r.other > 0)
            }
        }
    }

    pub(super) fn drop_by_age_and_size(&mut self) {
        let candidates = self.candidates();
        self.used += candidates.iter().map(|(_, candidate)| self.bytes_of(*candidate)).sum::<u64>();
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

    /// Removes the chosen records. What is in use stays.
    pub(super) fn drop_chosen(&mut self, chosen: &[RecordInfo]) {
        let is_chosen: HashSet<_> = chosen.iter().map(RecordInfo::place).collect();
        for (_, candidate) in self.candidates() {
            let (Candidate::Record(record) | Candidate::Tree(record, _)) = candidate else {
                continue;
            };
            if !is_chosen.contains(&record.place()) {
                continue;
            }
            if self.is_pinned(candidate) {
                self.in_use.add(self.bytes_of(candidate));
            } else {
                self.evict(candidate, Reason::Asked);
            }
        }
        let others = self.inventory.records.iter().filter(|record| !record.is_known);
        for record in others.filter(|record| is_chosen.contains(&record.place())) {
            self.evict(Candidate::Record(record), Reason::Asked);
        }
        let digests: HashSet<_> = chosen.iter().flat_map(|record| &record.references).collect();
        for digest in digests {
            let is_shared = self.references.get(digest).is_some_and(References::any);
            if let Some(blob) = self.blobs.get(digest).filter(|_| is_shared) {
                self.shared.add(blob.bytes);
            }
        }
    }

    /// Removes a candidate, and the blobs that nothing refers to without it.
    fn evict(&mut self, candidate: Candidate<'a>, reason: Reason) {
        self.used = self.used.saturating_sub(self.bytes_of(candidate));
        let record = match candidate {
            Candidate::Slot(slot) => {
                return self.remove(Target::Slot(slot.clone()), reason);
            }
            Candidate::Partial(index) => {
                let partial = std::mem::take(&mut self.partials[index]);
                return self.remove_partial(&partial, reason);
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
            *(if record.is_known { &mut references.known } else { &mut references.other }) -= 1;
            let (known, other, last_used) =
                (references.known, references.other, references.last_used);
            let Some(&blob) = self.blobs.get(digest).filter(|_| known == 0) else { continue };
            // Whoever wrote it before a record that refers to it has written that record.
            let is_recorded = self.knows_all_references
                && last_used.is_some_and(|last_used| blob.modified <= last_used);
            if other > 0 {
                self.used = self.used.saturating_sub(blob.bytes);
            } else if self.may_go(digest, blob.modified)
                || is_recorded && !self.leased.contains(digest)
            {
                self.used = self.used.saturating_sub(blob.bytes);
                self.remove(Target::Blob(blob.clone()), reason);
            }
        }
    }

    /// Decides among those of one age.
    fn name_of(&self, candidate: Candidate<'_>) -> String {
        match candidate {
            Candidate::Record(record) | Candidate::Tree(record, _) => record.key.to_string(),
            Candidate::Slot(slot) => slot.key.to_string(),
            Candidate::Partial(index) => self.partials[index].name(),
        }
    }

    fn bytes_of(&self, candidate: Candidate<'_>) -> u64 {
        match candidate {
            Candidate::Record(record) => record.bytes,
            Candidate::Tree(record, tree) => record.bytes + tree.bytes,
            Candidate::Slot(slot) => slot.bytes,
            Candidate::Partial(index) => self.partials[index].bytes,
        }
    }
}

impl<'a> Partial<'a> {
    fn add(&mut self, stray: &'a Stray) {
        let is_first = self.files.is_empty();
        self.last_used = if is_first { stray.modified } else { self.last_used.max(stray.modified) };
        self.files.push(stray);
        self.bytes += stray.bytes;
        self.is_in_use |= stray.is_in_use;
    }

    fn name(&self) -> String {
        self.files.iter().map(|stray| stray.path.display().to_string()).min().unwrap_or_default()
    }
}

impl References {
    fn any(&self) -> bool {
        self.known + self.other > 0
    }
}
