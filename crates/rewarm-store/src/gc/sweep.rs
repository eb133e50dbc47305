//! Carries a plan out while other processes read, write and take leases.
//!
//! Entries go in small batches under the exclusive gate, after all leases were read again, and only
//! if they are still what the plan saw: something that was used, rewritten or leased meanwhile
//! stays. Directories are only renamed under the gate and removed after it. One sweeper works at a
//! time; a sweeper that is killed leaves a smaller store and litter that the next one removes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::dirs::remove_dir;
use crate::fs::{clear_place, is_absence};
use crate::gc::{GcPlan, Limits, Removal, Target};
use crate::handout::remove_if_dead;
use crate::inventory::{RecordInfo, Stray, StrayKind, sharded};
use crate::layout;
use crate::lock::Lock;
use crate::record::Format;
use crate::store::Store;
use crate::tree::Manifest;

/// A number of things and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub entries: u64,
    /// How large together.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.entries, self.bytes)
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// By kind, as in the plan.
    pub removed: BTreeMap<String, Count>,
    /// What was to go and stayed, because it was in use or had changed.
    pub spared: Count,
    /// Blobs and trees without a record that stay because they were written a moment ago.
    pub waiting: Count,
    /// Blobs of removed records that stay because other entries refer to them as well.
    pub shared: Count,
    /// What could not be removed.
    pub failed: Vec<(PathBuf, io::Error)>,
}

impl SweepReport {
    /// All that was removed.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        for count in self.removed.values() {
            total.entries += count.entries;
            total.bytes += count.bytes;
        }
        total
    }

    fn note(&mut self, removal: &Removal, path: &Path, result: io::Result<bool>) {
        let bytes = removal.target.bytes();
        match result {
            Ok(true) => self.removed.entry(removal.target.label()).or_default().add(bytes),
            Ok(false) => self.spared.add(bytes),
            Err(error) if is_absence(&error) => self.spared.add(bytes),
            Err(error) => self.failed.push((path.to_owned(), error)),
        }
    }
}

/// A store is swept in passing at most so often.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Entries that are removed under one hold of the gate.
const BATCH: usize = 64;

/// What a sweeper does when somebody holds a lock it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Wait,
    GiveUp,
}

impl Store {
    /// What a sweep would do now. Changes nothing.
    pub fn gc_plan(
        &self,
        known: &[Format],
        limits: &Limits,
        now: SystemTime,
    ) -> io::Result<GcPlan> {
        // Leases first: one that is taken later is seen when the entry is to go.
        let leased = self.leased()?;
        Ok(GcPlan::new(&self.inventory(known)?, &leased, limits, now))
    }

    /// Removes what the limits do not allow, and what was left behind. `known` are the formats that
    /// the caller can read. Waits for another sweeper to finish.
    pub fn sweep(
        &self,
        known: &[Format],
        limits: &Limits,
        now: SystemTime,
    ) -> io::Result<SweepReport> {
        let _sweeping = Lock::exclusive(&layout::sweep_lock(self.root()), self.modes())?;
        self.collect_leases()?;
        let plan = self.gc_plan(known, limits, now)?;
        let report = self.execute(&plan, Patience::Wait)?;
        self.collect_leases()?;
        Ok(report)
    }

    /// What removing these records would do now, with the blobs and trees that nothing else refers
    /// to. Changes nothing.
    pub fn removal_plan(
        &self,
        known: &[Format],
        chosen: &[RecordInfo],
        now: SystemTime,
    ) -> io::Result<GcPlan> {
        let leased = self.leased()?;
        let limits = Limits::default();
        Ok(GcPlan::removing(&self.inventory(known)?, &leased, chosen, &limits, now))
    }

    /// Removes these records, and at once the blobs and trees that nothing else refers to. What
    /// is in use, or changed since it was listed, stays. Waits for a sweeper to finish.
    pub fn remove_entries(
        &self,
        known: &[Format],
        chosen: &[RecordInfo],
        now: SystemTime,
    ) -> io::Result<SweepReport> {
        let _sweeping = Lock::exclusive(&layout::sweep_lock(self.root()), self.modes())?;
        self.collect_leases()?;
        let plan = self.removal_plan(known, chosen, now)?;
        let report = self.execute(&plan, Patience::Wait)?;
        self.collect_leases()?;
        Ok(report)
    }

    /// Sweeps if that was not done for a day and nobody else is at it. Otherwise costs one `stat`;
    /// never waits, never fails.
    pub fn sweep_in_passing(
        &self,
        known: &[Format],
        limits: &Limits,
        now: SystemTime,
    ) -> Option<SweepReport> {
        if !self.is_due(now) {
            return None;
        }
        let lock = layout::sweep_lock(self.root());
        let _sweeping = Lock::try_exclusive(&lock, self.modes()).ok()??;
        if !self.is_due(now) {
            return None;
        }
        // Noted before the work: one that is killed every time must not cost every command.
        let stamp = self.root().join(layout::SWEPT);
        let is_first = !stamp.exists();
        let options = File::options().write(true).create(true).truncate(false).open(&stamp);
        options.and_then(|file| file.set_modified(now)).ok()?;
        if is_first {
            return None;
        }
        self.collect_leases().ok()?;
        let plan = self.gc_plan(known, limits, now).ok()?;
        let report = self.execute(&plan, Patience::GiveUp).ok()?;
        self.collect_leases().ok()?;
        Some(report)
    }

    /// A stamp from the future says nothing about the last sweep.
    fn is_due(&self, now: SystemTime) -> bool {
        let stamp = fs::metadata(self.root().join(layout::SWEPT));
        let modified = stamp.and_then(|metadata| metadata.modified());
        !modified.is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age < INTERVAL))
    }

    fn execute(&self, plan: &GcPlan, patience: Patience) -> io::Result<SweepReport> {
        let GcPlan { waiting, shared, in_use, .. } = *plan;
        let mut report = SweepReport { waiting, shared, spared: in_use, ..SweepReport::default() };
        // What records that stayed after all refer to.
        let mut needed: HashSet<Digest> = HashSet::new();
        let (strays, entries): (Vec<_>, Vec<_>) =
            plan.removals.iter().partition(|removal| matches!(removal.target, Target::Stray(_)));
        for batch in entries.chunks(BATCH) {
            let path = layout::gate(self.root());
            let gate = match patience {
                Patience::Wait => Some(Lock::exclusive(&path, self.modes())?),
                Patience::GiveUp => Lock::try_exclusive(&path, self.modes())?,
            };
            let Some(gate) = gate else { break };
            let leased = self.leased()?;
            let mut detached = Vec::new();
            for removal in batch {
                let path = self.path_of(&removal.target);
                let result = match &removal.target {
                    Target::Blob(blob) if needed.contains(&blob.digest) => Ok(false),
                    _ => self.remove_entry(removal, &path, &leased, &mut detached),
                };
                if !matches!(result, Ok(true)) {
                    needed.extend(removal.target.references());
                }
                report.note(removal, &path, result);
            }
            drop(gate);
            for dir in detached {
                if let Err(error) = remove_dir(&dir) {
                    report.failed.push((dir, error));
                }
            }
        }
        for removal in strays {
            if let Target::Stray(stray) = &removal.target {
                let path = self.root().join(&stray.path);
                report.note(removal, &path, self.remove_stray(stray, &path));
            }
        }
        self.remove_empty_dirs(plan);
        Ok(report)
    }

    /// Removes the directories that a plan may have emptied. Who is about to write into one makes it
    /// again.
    fn remove_empty_dirs(&self, plan: &GcPlan) {
        let mut dirs: Vec<PathBuf> = Vec::new();
        for removal in &plan.removals {
            let mut paths = vec![self.path_of(&removal.target)];
            if let Target::Tree(tree) = &removal.target {
                paths.push(self.record_path::<Manifest>(&tree.digest));
            }
            for path in paths {
                let above = path.ancestors().skip(1).take_while(|dir| *dir != self.root());
                dirs.extend(above.map(Path::to_owned));
            }
        }
        // Those below others first.
        dirs.sort_unstable_by(|a, b| b.cmp(a));
        dirs.dedup();
        let kept = [layout::TMP, layout::LOCKS, layout::LEASES, layout::PARTIAL];
        let kept = kept.map(|name| self.root().join(name));
        for dir in dirs.iter().filter(|dir| !kept.contains(dir)) {
            // One that is not empty is refused.
            let _ = fs::remove_dir(dir);
        }
    }

    fn path_of(&self, target: &Target) -> PathBuf {
        let root = self.root();
        match target {
            Target::Record(record) => {
                layout::sharded(root, &layout::kind_dir(&record.kind, record.version), &record.key)
            }
            Target::Blob(blob) => layout::sharded(root, layout::BLOBS, &blob.digest),
            Target::Tree(tree) => layout::sharded(root, layout::TREES, &tree.digest),
            Target::Slot(slot) => layout::slot(root, &slot.kind, &slot.key),
            Target::Stray(stray) => root.join(&stray.path),
            Target::Area(area) => root.join(&area.name),
        }
    }

    /// Under the gate. Says whether the entry went.
    fn remove_entry(
        &self,
        removal: &Removal,
        path: &Path,
        leased: &HashSet<Digest>,
        detached: &mut Vec<PathBuf>,
    ) -> io::Result<bool> {
        let is_as_planned =
            |time: SystemTime| Ok::<_, io::Error>(fs::symlink_metadata(path)?.modified()? == time);
        match &removal.target {
            Target::Record(record) => {
                let mut digests = record.references.iter().chain([&record.key]);
                let is_leased = digests.any(|digest| leased.contains(digest));
                if is_leased || !is_as_planned(record.last_used)? {
                    return Ok(false);
                }
                self.remove_listed(record).map(|()| true)
            }
            Target::Blob(blob) => {
                if leased.contains(&blob.digest) || !is_as_planned(blob.modified)? {
                    return Ok(false);
                }
                clear_place(path).map(|()| true)
            }
            Target::Tree(tree) => {
                if leased.contains(&tree.digest) || !is_as_planned(tree.last_used)? {
                    return Ok(false);
                }
                let lock = self.lock_path("tree", &tree.digest);
                self.locked(&lock, || {
                    detached.extend(self.detach_tree(&tree.digest)?);
                    Ok(())
                })
            }
            Target::Slot(slot) => {
                if leased.contains(&slot.key) || !is_as_planned(slot.last_used)? {
                    return Ok(false);
                }
                let lock = self.lock_path(&format!("slot-{}", slot.kind), &slot.key);
                self.locked(&lock, || {
                    detached.extend(self.detach_dir(path)?);
                    Ok(())
                })
            }
            Target::Area(_) => {
                // Another version may be at work with what its leases name.
                if !leased.is_empty() && sharded(path)?.iter().any(|(key, _)| leased.contains(key))
                {
                    return Ok(false);
                }
                detached.extend(self.detach_dir(path)?);
                Ok(true)
            }
            Target::Stray(_) => Ok(false),
        }
    }

    /// Does something under a lock if that is free, and removes the lock's file.
    fn locked(&self, path: &Path, work: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        let Some(lock) = Lock::try_exclusive(path, self.modes())? else { return Ok(false) };
        work()?;
        lock.discard(path).map(|()| true)
    }

    fn remove_stray(&self, stray: &Stray, path: &Path) -> io::Result<bool> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match stray.kind {
            StrayKind::Lock => Lock::remove_if_free(path),
            StrayKind::Temporary => {
                let source = name.strip_prefix("tree-").and_then(|name| name.parse().ok());
                match source {
                    Some(source) => {
                        self.locked(&self.lock_path("tree", &source), || remove_dir(path))
                    }
                    None => remove_if_dead(path),
                }
            }
            StrayKind::Partial => {
                let key = name.split('.').next().and_then(|name| name.parse().ok());
                let work = || clear_place(path);
                let modified = fs::symlink_metadata(path)?.modified()?;
                match key {
                    Some(key) if modified == stray.modified => {
                        self.locked(&self.lock_path(layout::PARTIAL_LOCK, &key), work)
                    }
                    _ => Ok(false),
                }
            }
            StrayKind::Damaged => {
                if fs::symlink_metadata(path)?.modified()? != stray.modified {
                    return Ok(false);
                }
                let area = stray.path.iter().next().and_then(|area| area.to_str());
                let key = name.parse().ok();
                let (Some(area), Some(key)) = (area, key) else { return Ok(false) };
                self.remove_record(area, &key).map(|()| true)
            }
        }
    }
}
