//! One download for all who ask at once: what its head says, whether it can be resumed, and how
//! long to wait for somebody else's.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use rewarm_store::{Digest, Kind, PartialView};
use serde::{Deserialize, Serialize};

use crate::broadcast::Listener;
use crate::client::Client;
use crate::record::Variant;
use crate::resume::if_range;

/// What a download under way says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlightHead {
    /// The response; its body is not known yet.
    pub(crate) variant: Variant,
    /// Bytes in all, if the origin said.
    pub(crate) length: Option<u64>,
}

impl Kind for FlightHead {
    const NAME: &'static str = "http-flight";
    const VERSION: u16 = 1;
}

impl FlightHead {
    pub(crate) fn headers(&self) -> HeaderMap {
        self.variant.headers()
    }

    pub(crate) fn if_range(&self) -> Option<HeaderValue> {
        if_range(&self.headers())
    }
}

/// Somebody else's download.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) view: Arc<PartialView<FlightHead>>,
    /// Tells how far it is, if it goes on in this process.
    pub(crate) listener: Option<Listener>,
}

impl Sight {
    pub(crate) fn head(&self) -> &FlightHead {
        &self.view.head
    }

    pub(crate) fn of(listener: Listener) -> Self {
        let view = Arc::clone(&listener.borrow().view);
        Self { view, listener: Some(listener) }
    }
}

/// The download under `key`, if there is one to look on at.
pub(crate) fn look(client: &Client, key: &Digest) -> Option<Sight> {
    if let Some(listener) = client.broadcasts().listen(key) {
        return Some(Sight::of(listener));
    }
    let view = client.store().partial_view(key).ok().flatten()?;
    Some(Sight { view: Arc::new(view), listener: None })
}

/// Pauses that grow while nothing happens.
#[derive(Debug)]
pub(crate) struct Nap {
    next: Duration,
    slept: Duration,
}

impl Nap {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(25);

    pub(crate) fn new() -> Self {
        Self { next: Self::SHORTEST, slept: Duration::ZERO }
    }

    /// Waits; says for how long nothing has happened.
    pub(crate) async fn wait(&mut self) -> Duration {
        tokio::time::sleep(self.next).await;
        self.slept += self.next;
        self.next = (self.next * 3 / 2).min(Self::LONGEST);
        self.slept
    }

    /// Something happened, but nobody is in a hurry.
    pub(crate) fn go_on(&mut self) {
        self.slept = Duration::ZERO;
    }

    /// Something happened, and more is wanted soon.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}
