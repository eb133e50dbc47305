//! How many runs of a checker may go on at once, by the memory that they need and that there is.
//!
//! What there is, is the least of what the machine has to spare and what each control group leaves that
//! this process is in: in a container the machine's own figure means nothing.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// What a checker needs for itself, the standard library and a few packages.
const BASE: u64 = 256 << 20;
/// What it needs for each source. mypy was measured at 0.16 MB for a module, installed ones included.
const FOR_EACH: u64 = 256 << 10;

/// Memory that runs share.
#[derive(Debug)]
pub(super) struct Memory {
    /// Bytes before the first run; `None` if nobody knows.
    available: Option<u64>,
    taken: Mutex<Taken>,
    freed: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    bytes: u64,
    runs: usize,
}

/// Given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    of: &'a Memory,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(available: Option<u64>) -> Self {
        Self { available, taken: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits until there is room.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &mut Taken| !fits(self.available, *taken, bytes);
        let taken = self.freed.wait_while(taken, is_full);
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.bytes = taken.bytes.saturating_add(bytes);
        taken.runs += 1;
        Share { of: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
        taken.runs -= 1;
        self.of.freed.notify_all();
    }
}

/// Whether another run may begin.
fn fits(available: Option<u64>, taken: Taken, bytes: u64) -> bool {
    let sum = taken.bytes.saturating_add(bytes);
    taken.runs == 0 || available.is_none_or(|available| sum <= available)
}

/// The peak of a run, in bytes.
pub(super) fn estimate(files: usize) -> u64 {
    BASE.saturating_add(FOR_EACH.saturating_mul(files as u64))
}

/// Bytes that can be had without taking them from others, if the system below `root` says so.
pub(super) fn available(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(&root.join("proc/meminfo")).and_then(|text| of_meminfo(&text));
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = root.join("sys/fs/cgroup");
    let left = groups.lines().filter_map(|line| {
        // Hierarchy, controllers, path; version 2 has one hierarchy, without a number and a name.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (mount, names) = match controllers {
            "" => (mounts.clone(), UNIFIED),
            names if names.split(',').any(|name| name == "memory") => {
                (mounts.join("memory"), LEGACY)
            }
            _ => return None,
        };
        // A container sees its own group as the root of all, whatever path is named here.
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        groups.filter_map(|group| left_in(&mount.join(group), names)).min()
    });
    left.chain(machine).min()
}

/// Files of a control group: the limit in bytes, what is used of it, and the field of `memory.stat` with
/// what of that can be had back at once.
type Names = [&'static str; 3];

const UNIFIED: Names = ["memory.max", "memory.current", "inactive_file"];
const LEGACY: Names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];

fn left_in(group: &Path, [limit, used, idle]: Names) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    // Without a limit this is `max`, or more than any machine has.
    let limit: u64 = read(limit)?.trim().parse().ok()?;
    let used: u64 = read(used)?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(idle.unwrap_or(0))))
}

fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_always_fits_and_others_within_the_memory() {
        let taken = |bytes, runs| Taken { bytes, runs };
        assert!(fits(Some(100), taken(0, 0), 500));
        assert!(fits(Some(100), taken(60, 1), 40));
        assert!(!fits(Some(100), taken(60, 1), 41));
        assert!(fits(None, taken(60, 1), u64::MAX));
    }

    #[test]
    fn memory_comes_back_when_a_run_ends() {
        let memory = Memory::new(Some(100));
        let first = memory.take(80);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| drop(memory.take(80)));
            drop(first);
            second.join().expect("there is room now");
        });
        assert_eq!(memory.taken.lock().expect("whole").runs, 0);
    }

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("directory");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            std::fs::write(path, text).expect("file");
        }
        root
    }

    #[test]
    fn memory_is_that_of_the_machine_where_no_group_has_less() {
        let meminfo = ("proc/meminfo", "MemTotal:  8000000 kB\nMemAvailable:  2000 kB\n");
        let mut files = vec![meminfo];
        assert_eq!(available(system(&files).path()), Some(2_048_000));
        files.push(("proc/self/cgroup", "0::/a/b\n"));
        files.push(("sys/fs/cgroup/a/b/memory.max", "max\n"));
        files.push(("sys/fs/cgroup/a/b/memory.current", "10\n"));
        assert_eq!(available(system(&files).path()), Some(2_048_000));
        files.push(("sys/fs/cgroup/a/memory.max", "1000\n"));
        files.push(("sys/fs/cgroup/a/memory.current", "700\n"));
        assert_eq!(available(system(&files).path()), Some(300));
        files.push(("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 200\nx 1\n"));
        assert_eq!(available(system(&files).path()), Some(500));
        assert_eq!(available(system(&files[1..]).path()), Some(500));
    }

    #[test]
    fn memory_of_a_container_is_what_its_group_leaves() {
        let files = [
            ("proc/meminfo", "MemAvailable: many kB\n"),
            ("proc/self/cgroup", "4:cpu,memory:/docker/1234\n3:cpuset:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 1500\n"),
        ];
        assert_eq!(available(system(&files).path()), Some(500));
        assert_eq!(available(system(&files[..1]).path()), None);
    }
}
