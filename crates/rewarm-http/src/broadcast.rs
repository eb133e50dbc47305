//! Downloads of this client, told to its other calls while they grow.
//!
//! Who leads a download announces it under the key of its flight, and says how far it is; who
//! follows is woken by that, and reads the very file that is written, so it needs no look into the
//! file system. Other processes see the file only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rewarm_store::{Digest, PartialView};
use tokio::sync::watch;

use crate::flight::FlightHead;

/// How far a download is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// What is written; another one when the download starts over.
    pub(crate) view: Arc<PartialView<FlightHead>>,
    /// Bytes in it.
    pub(crate) size: u64,
    /// The last try that failed.
    pub(crate) retry: Option<Retry>,
}

/// A try that failed; the next comes after the delay.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    pub(crate) attempt: u32,
    pub(crate) delay: Duration,
    pub(crate) reason: String,
}

pub(crate) type Listener = watch::Receiver<Progress>;
type Sender = watch::Sender<Progress>;

/// All downloads of a client that are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broadcasts(Arc<Mutex<HashMap<Digest, Weak<Sender>>>>);

/// A download being told; its end is that of this value.
#[derive(Debug)]
pub(crate) struct Broadcast {
    all: Broadcasts,
    key: Digest,
    sender: Arc<Sender>,
}

impl Broadcasts {
    fn map(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Sender>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a download.
    pub(crate) fn announce(&self, key: Digest, progress: Progress) -> Broadcast {
        let sender = Arc::new(watch::Sender::new(progress));
        self.map().insert(key, Arc::downgrade(&sender));
        Broadcast { all: self.clone(), key, sender }
    }

    /// The download under a key, if this client leads it.
    pub(crate) fn listen(&self, key: &Digest) -> Option<Listener> {
        let sender = self.map().get(key)?.upgrade()?;
        Some(sender.subscribe())
    }
}

impl Broadcast {
    pub(crate) fn listen(&self) -> Listener {
        self.sender.subscribe()
    }

    /// For one who wants to know whether anybody listens.
    pub(crate) fn sender(&self) -> Arc<Sender> {
        Arc::clone(&self.sender)
    }

    pub(crate) fn advance(&self, size: u64) {
        self.sender.send_modify(|progress| progress.size = size);
    }

    pub(crate) fn start_over(&self, view: PartialView<FlightHead>) {
        self.sender.send_modify(|progress| {
            (progress.view, progress.size) = (Arc::new(view), 0);
        });
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        let mut map = self.all.map();
        let is_ours = |known: &Weak<Sender>| known.as_ptr() == Arc::as_ptr(&self.sender);
        if map.get(&self.key).is_some_and(is_ours) {
            map.remove(&self.key);
        }
    }
}
