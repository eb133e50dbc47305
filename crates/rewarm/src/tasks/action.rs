//! Tasks that name their inputs or outputs: looking them up, and keeping what they made.
//!
//! `rewarm-task` does both; here it is decided when. Looking up reads files and may wait for
//! another process that runs the same, so it is done on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rewarm_activation::{Activation, Input};
use rewarm_store::{Digest, Hasher, Lock};
use rewarm_task::{Action, ActionError, Entry, Lookup, Place, Stream, without_paths};

use crate::context::now;

/// What came of looking an action up.
pub(super) enum Looked {
    /// It need not run; its outputs are in place.
    Replayed { entry: Entry, warnings: Vec<String>, restored: usize },
    /// It has to run.
    Run(Box<Prepared>),
    /// Nobody wants to know any more.
    GivenUp,
}

/// An action that is to be run and kept.
pub(super) struct Prepared {
    action: Action,
    pub(super) lookup: Lookup,
    // Held until what it made is kept: whoever waits for it then finds that.
    _lock: Option<Lock>,
}

/// More than this of what a command writes is not kept.
const LONGEST_LOG: usize = 64 * 1024 * 1024;

/// How often a lock that another process holds is tried again.
const PATIENCE: Duration = Duration::from_millis(20);

/// Looks an action up; waits while another process runs the same, until `given_up` is set.
pub(super) fn look_up(
    action: Action,
    place: &Place,
    force: bool,
    given_up: &Arc<AtomicBool>,
) -> Result<Looked, ActionError> {
    let mut lock = None;
    loop {
        let mut lookup = action.look_up(now())?;
        match lookup.entry.take() {
            Some(entry) if !force => {
                let restored = entry.restore(place, now())?;
                // Not being able to write costs speed only.
                let _ = action.remember(&lookup);
                return Ok(Looked::Replayed { entry, warnings: lookup.warnings, restored });
            }
            Some(_) => "it was to be run in any case".clone_into(&mut lookup.reason),
            None => {}
        }
        if lock.is_some() {
            return Ok(Looked::Run(Box::new(Prepared { action, lookup, _lock: lock })));
        }
        loop {
            match action.try_lock(&lookup) {
                Ok(Some(own)) => {
                    lock = Some(own);
                    break;
                }
                // Without locks two may run at once, as they would without a cache.
                Err(_) => {
                    let prepared = Prepared { action, lookup, _lock: None };
                    return Ok(Looked::Run(Box::new(prepared)));
                }
                Ok(None) if given_up.load(Ordering::SeqCst) => return Ok(Looked::GivenUp),
                Ok(None) => std::thread::sleep(PATIENCE),
            }
        }
        // What was under way when the lock was taken may be there now, so it is looked up again.
    }
}

impl Prepared {
    /// Keeps what the command made and wrote. Says why not, if it is not kept.
    pub(super) fn keep(self, log: Log) -> Option<String> {
        if log.is_too_long {
            return Some(format!("it wrote more than {} MiB", LONGEST_LOG >> 20));
        }
        match self.action.publish(self.lookup, &log.pieces, now()) {
            Ok(reason) => reason,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                Some(format!("{error}{}", cause.unwrap_or_default()))
            }
        }
    }
}

/// What a command writes, on the way to the screen.
#[derive(Debug, Default)]
pub(super) struct Log {
    pieces: Vec<(Stream, Vec<u8>)>,
    length: usize,
    is_too_long: bool,
}

impl Log {
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        self.length += bytes.len();
        if self.length > LONGEST_LOG {
            self.is_too_long = true;
            self.pieces.clear();
            return;
        }
        match self.pieces.last_mut() {
            Some((last, own)) if *last == stream => own.extend_from_slice(bytes),
            _ => self.pieces.push((stream, bytes.to_vec())),
        }
    }
}

/// Of what is installed in an environment and of what the environment sets, wherever it is.
pub(crate) fn packages(activation: &Activation) -> Digest {
    let prefix = &activation.prefix;
    let mut hasher = Hasher::new("environment of a task");
    let delta = format!("{:?}", activation.delta);
    hasher.field(without_paths(&delta, &[prefix, &activation.workspace_root]));
    let mut seen: Vec<(String, Option<Digest>)> = Vec::new();
    for input in activation.inputs() {
        let (path, digest, is_wanted) = match input {
            Input::Directory { path, seen } => (path, seen.digest(), true),
            Input::File { path, seen } => (path, seen.digest(), path.ends_with("bin/python")),
            _ => continue,
        };
        if let Ok(relative) = path.strip_prefix(prefix)
            && is_wanted
        {
            seen.push((relative.to_string_lossy().into_owned(), digest));
        }
    }
    seen.sort();
    for (path, digest) in seen {
        hasher.field(path).optional(digest.map(|digest| *digest.as_bytes()));
    }
    hasher.finish()
}
