//! What is to leave a store: a pure function of its inventory, the leases, the limits and `now`.
//!
//! A record is of use as long as it is young enough and there is room; the least recently used
//! goes first. A blob or tree lives while a kept record refers to it or a lease names it. An entry
//! from the future counts as used just now, so a clock that jumped back removes nothing by age.
//! Cut-off downloads are within the size bound, by the time they were last written to. What nothing
//! refers to, and what was written after all that refers to it, stays for a while: whoever wrote it
//! may be about to write a record.
//! Records of formats that are not known are left alone, and what only they refer to is not counted
//! against the size bound: two installed versions each have their own budget and do not fight.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::gc::Count;
use crate::gc::planner::Planner;
use crate::inventory::{
    AreaInfo, BlobInfo, Inventory, RecordInfo, SlotInfo, Stray, StrayKind, TreeInfo,
};
use crate::layout;

/// How much a store may hold, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all known records, blobs, trees, slots and cut-off downloads may have together.
    pub max_bytes: Option<u64>,
    /// Records and slots that were not used for so long go.
    pub max_age: Option<Duration>,
    /// A blob or tree that was written after all that refers to it, or that nothing refers to,
    /// stays so long after that: its record may be about to be written.
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
    /// Bytes of known records, blobs, trees, slots and cut-off downloads that stay.
    pub kept_bytes: u64,
    /// Blobs and trees without a record that stay because they were written a moment ago.
    pub waiting: Count,
    /// Records that were to go and stay because they are in use.
    pub in_use: Count,
    /// Blobs that stay because other entries refer to them as well.
    pub shared: Count,
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
    /// The user said so.
    Asked,
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
            Self::Asked => "asked for",
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

    /// The blobs that it needs as long as it is there.
    pub(crate) fn references(&self) -> &[Digest] {
        match self {
            Self::Record(record) => &record.references,
            Self::Tree(tree) => std::slice::from_ref(&tree.digest),
            _ => &[],
        }
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
        planner.finish()
    }

    /// Decides about the removal of some records, with the blobs that nothing else refers to.
    pub fn removing(
        inventory: &Inventory,
        leased: &HashSet<Digest>,
        chosen: &[RecordInfo],
        limits: &Limits,
        now: SystemTime,
    ) -> Self {
        let mut planner = Planner::new(inventory, leased, limits, now);
        planner.heed_unreadable_formats();
        planner.count_references();
        planner.drop_chosen(chosen);
        planner.finish()
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
