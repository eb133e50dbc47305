//! The local table of stat data that stands in for content.
//!
//! One record per project and machine maps a path to the witness and the digest it had when it was
//! last read. A path whose witness is unchanged, and was settled when it was taken, is not read
//! again; that makes a lookup cost one `stat` per input. Losing the table costs reads, nothing else.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Kind, Store, Witness};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::places::Place;

/// What is known about one path.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    witness: Witness,
    digest: Digest,
}

/// The table as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    entries: Vec<(Place, Known)>,
}

impl Kind for Stored {
    const NAME: &'static str = "witness";
    const VERSION: u16 = 1;
}

/// Entries that no recent check asked for are dropped once there are this many more of them than
/// of the others.
const SLACK: usize = 20_000;

/// The table while a check works with it.
#[derive(Debug)]
pub(crate) struct Table {
    key: Digest,
    now: SystemTime,
    entries: HashMap<Place, Known>,
    used: Vec<Place>,
    changed: bool,
}

impl Table {
    /// Reads the table of the project at `root`, a canonical path.
    pub(crate) fn load(store: &Store, root: &Path, now: SystemTime) -> Self {
        Self::load_for(store, "", root, now)
    }

    /// The same, for runs that look at other files than mypy's.
    pub(crate) fn load_for(store: &Store, purpose: &str, root: &Path, now: SystemTime) -> Self {
        let mut key = Hasher::new("check witness 1");
        key.field(root.as_os_str().as_encoded_bytes());
        if !purpose.is_empty() {
            key.field(purpose);
        }
        let key = key.finish();
        let entries = store.read::<Stored>(&key).map(|stored| stored.entries).unwrap_or_default();
        let entries = entries.into_iter().collect();
        Self { key, now, entries, used: Vec::new(), changed: false }
    }

    /// The digest of what `read` makes of a path, from the table if the path's `witness`, taken
    /// just now, is the one of then.
    pub(crate) fn digest(
        &mut self,
        place: Place,
        witness: Witness,
        read: impl FnOnce() -> io::Result<Digest>,
    ) -> io::Result<Digest> {
        if let Some(known) = self.entries.get(&place)
            && known.witness == witness
        {
            let digest = known.digest;
            self.used.push(place);
            return Ok(digest);
        }
        let digest = read()?;
        self.changed |= self.entries.remove(&place).is_some();
        if witness.is_settled(self.now) {
            self.used.push(place.clone());
            self.entries.insert(place, Known { witness, digest });
            self.changed = true;
        }
        Ok(digest)
    }

    /// The digest of a file's content.
    pub(crate) fn file(
        &mut self,
        place: Place,
        witness: Witness,
        path: &Path,
    ) -> io::Result<Digest> {
        self.digest(place, witness, || content(path))
    }

    /// Writes the table back if something was learnt. `Err` says why it could not be.
    pub(crate) fn save(mut self, store: &Store) -> Result<(), rewarm_store::RecordError> {
        if !self.changed {
            return Ok(());
        }
        if self.entries.len() > self.used.len() + SLACK {
            let used: std::collections::HashSet<_> = self.used.drain(..).collect();
            self.entries.retain(|place, _| used.contains(place));
        }
        let mut entries: Vec<_> = self.entries.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        store.write(&self.key, &Stored { entries })
    }
}

/// The plain digest of a file.
pub(crate) fn content(path: &Path) -> io::Result<Digest> {
    Ok(Digest::of(fs::read(path)?))
}

/// A witness from stat data at hand.
pub(crate) fn of_stat(stat: &Stat) -> Witness {
    let nanos = |seconds: i64, nanos: i128| i128::from(seconds) * 1_000_000_000 + nanos;
    Witness {
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: nanos(stat.st_mtime, i128::from(stat.st_mtime_nsec)),
        ctime: nanos(stat.st_ctime, i128::from(stat.st_ctime_nsec)),
        inode: stat.st_ino,
    }
}

/// Whether a path cannot have changed since `start`, going by its times.
///
/// Times lag behind the clock by a tick of the kernel; a file system that keeps whole units only
/// is given the distance that settles a witness.
pub(crate) fn is_older(witness: &Witness, start: SystemTime) -> bool {
    const TICK: i128 = 10_000_000;
    let coarse = |time: i128| time % 1_000_000 == 0;
    if coarse(witness.mtime) || coarse(witness.ctime) {
        return witness.is_settled(start);
    }
    let start = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    i128::try_from(start).is_ok_and(|start| witness.ctime < start - TICK)
}
