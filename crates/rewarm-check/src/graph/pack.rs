//! Lists of imports by the content of the sources, many in one record.
//!
//! The sources of a project, in order, are cut into runs where a path's digest says so; a run is a
//! record under the contents of its sources. So an edit costs the sources of one run, a file that
//! comes or goes shifts nothing but its own run, and another checkout finds everything. Records are
//! never changed, hence need no lock.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Kind, Store};
use serde::{Deserialize, Serialize};

use super::imports::{self, Imports};

/// The imports of one run of sources, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pack {
    lists: Vec<Imports>,
}

impl Kind for Pack {
    const NAME: &'static str = "imports";
    const VERSION: u16 = 1;
}

/// A source: its path below the root, which may be absolute, and the digest of its content.
pub(super) type Source = (Vec<u8>, Digest);

/// One path in so many ends a run.
const RUN: u8 = 64;
/// Enough for the deepest expression that is short enough to be parsed.
const STACK: usize = 256 << 20;

/// The imports of each source, from the store as far as it has them.
///
/// A source that cannot be read, or is another one by now, is one that nothing can be said of.
pub(super) fn imports(
    store: &Store,
    root: &Path,
    sources: &[Source],
    now: SystemTime,
) -> Vec<Imports> {
    let runs: Vec<&[Source]> = sources
        .chunk_by(|(path, _), _| !Digest::of(path).as_bytes()[0].is_multiple_of(RUN))
        .collect();
    let keys: Vec<Digest> = runs.iter().map(|run| key(run)).collect();
    let mut lists: Vec<Option<Vec<Imports>>> =
        keys.iter().zip(&runs).map(|(key, run)| known(store, key, run.len(), now)).collect();
    let missing: Vec<usize> = (0..runs.len()).filter(|index| lists[*index].is_none()).collect();
    let work = missing.iter().map(|index| (&keys[*index], runs[*index]));
    let parsed = parse_all(store, root, &work.collect::<Vec<_>>());
    for (index, list) in missing.into_iter().zip(parsed) {
        lists[index] = Some(list);
    }
    lists.into_iter().flatten().flatten().collect()
}

fn key(run: &[Source]) -> Digest {
    let mut hasher = Hasher::new(imports::VERSION);
    for (path, digest) in run {
        hasher.field([u8::from(path.ends_with(b".pyi"))]).field(digest.as_bytes());
    }
    hasher.finish()
}

fn known(store: &Store, key: &Digest, length: usize, now: SystemTime) -> Option<Vec<Imports>> {
    let pack = store.read_used::<Pack>(key, now)?;
    (pack.lists.len() == length).then_some(pack.lists)
}

/// Parses runs of sources, as many at once as there are processors, and stores them.
fn parse_all(store: &Store, root: &Path, work: &[(&Digest, &[Source])]) -> Vec<Vec<Imports>> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((key, run)) = work.get(index) else { return done };
            done.push((index, parse(store, root, key, run)));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors.min(work.len()))
            .map(|_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, take))
            .collect();
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| {
            thread.ok().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        };
        threads.into_iter().filter_map(join).flatten().collect::<Vec<_>>()
    });
    // Of threads that could not be started nothing is known, and that is what is said of the rest.
    let rest = work.iter().enumerate().skip(next.into_inner());
    done.extend(rest.map(|(index, (_, run))| (index, vec![Imports::unknown(); run.len()])));
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, lists)| lists).collect()
}

fn parse(store: &Store, root: &Path, key: &Digest, run: &[Source]) -> Vec<Imports> {
    let mut is_whole = true;
    let mut lists = Vec::with_capacity(run.len());
    for (path, digest) in run {
        let source = std::fs::read(crate::listing::join(root, path)).ok();
        let source = source.filter(|source| Digest::of(source) == *digest);
        is_whole &= source.is_some();
        let is_stub = path.ends_with(b".pyi");
        lists.push(source.map_or_else(Imports::unknown, |source| Imports::of(&source, is_stub)));
    }
    let pack = Pack { lists };
    if is_whole {
        // Without the record the next check parses again, that is all.
        let _ = store.write(key, &pack);
    }
    pack.lists
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn later() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
    }

    fn sources(root: &Path, count: usize) -> Vec<Source> {
        let source = |index| {
            let (path, text) = (format!("m{index:03}.py"), format!("import m{}\n", index + 1));
            std::fs::write(root.join(&path), &text).expect("a source");
            (path.into_bytes(), Digest::of(text))
        };
        (0..count).map(source).collect()
    }

    fn packs(store: &Store) -> usize {
        let directory = store.root().join("imports-v1");
        let shards = std::fs::read_dir(directory).expect("records").flatten();
        shards.map(|shard| std::fs::read_dir(shard.path()).expect("shard").count()).sum()
    }

    #[test]
    fn an_edit_costs_one_run_and_what_is_known_is_not_read() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(&directory.path().join("store")).expect("store");
        let mut sources = sources(directory.path(), 300);
        let first = imports(&store, directory.path(), &sources, later());
        assert_eq!(first.len(), 300);
        assert_eq!(first[7].statements[0].module, "m8");
        let before = packs(&store);
        assert!(before > 1, "{before} runs");
        std::fs::write(directory.path().join("m007.py"), "import other\n").expect("an edit");
        sources[7].1 = Digest::of("import other\n");
        let edited = imports(&store, directory.path(), &sources, later());
        assert_eq!(edited[7].statements[0].module, "other");
        assert_eq!((&edited[..7], &edited[8..]), (&first[..7], &first[8..]));
        assert_eq!(packs(&store), before + 1);
        for (path, _) in &sources {
            std::fs::remove_file(crate::listing::join(directory.path(), path)).expect("removed");
        }
        assert_eq!(imports(&store, directory.path(), &sources, later()), edited);
    }

    #[test]
    fn a_source_that_is_another_one_by_now_is_doubtful_and_not_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(&directory.path().join("store")).expect("store");
        let sources = vec![(b"a.py".to_vec(), Digest::of("import b\n"))];
        std::fs::write(directory.path().join("a.py"), "import c\n").expect("a source");
        assert!(imports(&store, directory.path(), &sources, later())[0].is_doubtful);
        std::fs::write(directory.path().join("a.py"), "import b\n").expect("a source");
        assert!(!imports(&store, directory.path(), &sources, later())[0].is_doubtful);
    }
}
