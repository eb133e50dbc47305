//! A body on its way from the origin: stored, hashed and handed on chunk by chunk.
//!
//! A connection that breaks is made again and the rest asked for; if only the whole can be had, what
//! the caller has read already is skipped, and its digest compared, so that no caller ever gets a
//! mixture of two versions. A store that cannot be written ends the storing, not the body. Who wants
//! the bytes of what is stored reads them there, see `following`. Memory is that of one chunk.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use rewarm_store::{CommitError, Digest, Hasher, PartialWriter};
use tokio::sync::watch;

use crate::body::Step;
use crate::broadcast::{Broadcast, Listener, Progress};
use crate::call::{Call, Purpose};
use crate::client::Client;
use crate::error::{ErrorKind, FetchError};
use crate::flight::FlightHead;
use crate::ledger;
use crate::record::{StoredBody, Variant};
use crate::request::Reuse;
use crate::resume::is_the_rest;
use crate::transport::{Answer, Failure, NetBody};

/// So many bytes count as progress after which earlier failures are forgotten.
const PROGRESS: u64 = 1 << 20;

/// Where the bytes go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Into the store.
    Partial(PartialWriter),
    /// Nowhere; they are only counted and hashed.
    None { hasher: Hashing, size: u64, reason: String, salvage: Option<PartialWriter> },
}

/// A hasher that need not show its state in debug output.
pub(crate) struct Hashing(Hasher);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

impl Sink {
    pub(crate) fn none(reason: String) -> Self {
        Self::None { hasher: Hashing(Hasher::raw()), size: 0, reason, salvage: None }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Partial(writer) => writer.size(),
            Self::None { size, .. } => *size,
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Partial(writer) => writer.digest(),
            Self::None { hasher, .. } => hasher.0.clone().finish(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Self::Partial(writer) = self {
            let (hasher, size) = (writer.hasher(), writer.size());
            let Err(error) = writer.write(bytes) else { return };
            let reason = format!("the cache cannot be written: {error}");
            let failed = Self::None { hasher: Hashing(hasher), size, reason, salvage: None };
            if let (Self::Partial(writer), Self::None { salvage, .. }) =
                (std::mem::replace(self, failed), &mut *self)
            {
                *salvage = Some(writer);
            }
        }
        if let Self::None { hasher, size, .. } = self {
            hasher.0.update(bytes);
            *size += bytes.len() as u64;
        }
    }
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Leading {
    head: FlightHead,
    sink: Sink,
    network: NetBody,
    /// Tells others in this process how far it is, while it is stored.
    broadcast: Option<Broadcast>,
    /// What the caller gets next, from before this download was handed to it: bytes or the end.
    pending: Option<Option<Bytes>>,
    /// Bytes that the caller has or does not want.
    yielded: u64,
    /// What the caller has, to be compared when as much has come.
    check: Option<(u64, Digest)>,
    /// Bytes that were there before anything was downloaded.
    resumed: u64,
    /// Bytes at the last retry.
    last_failure: u64,
    /// Whether the origin's ranges proved unusable.
    no_ranges: bool,
    /// Whether the request must not be repeated.
    once: bool,
}

impl Leading {
    pub(crate) fn new(head: FlightHead, sink: Sink, network: NetBody) -> Self {
        let resumed = sink.size();
        Self {
            head,
            sink,
            network,
            broadcast: None,
            pending: None,
            yielded: resumed,
            check: None,
            resumed,
            last_failure: 0,
            no_ranges: false,
            once: false,
        }
    }

    /// For requests that ask for a part or have an effect: they are not sent again.
    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Goes on for a caller that has so many bytes of this digest already.
    pub(crate) fn after(mut self, yielded: u64, digest: Digest) -> Self {
        self.yielded = yielded;
        self.check = (yielded > 0).then_some((yielded, digest));
        self
    }

    pub(crate) fn variant(&self) -> &Variant {
        &self.head.variant
    }

    /// What was saved, as far as is known.
    pub(crate) fn reuse(&self) -> Reuse {
        match &self.sink {
            Sink::None { reason, .. } => Reuse::NotStored(reason.clone()),
            Sink::Partial(_) if self.resumed > 0 => Reuse::Resumed { from: self.resumed },
            Sink::Partial(_) => Reuse::Downloaded,
        }
    }

    /// Whether the bytes go into the store.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.sink, Sink::Partial(_))
    }

    /// Bytes that the origin announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.head.length.or_else(|| self.network.length())
    }

    /// What came after the bytes.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.network.trailers()
    }

    /// What went into the store before storing ended.
    pub(crate) fn salvage(&mut self) -> Option<PartialWriter> {
        match &mut self.sink {
            Sink::None { salvage, .. } => salvage.take(),
            Sink::Partial(_) => None,
        }
    }

    /// Tells others in this process of it from now on, if it is being stored.
    pub(crate) fn announce(&mut self, client: &Client) -> Option<Listener> {
        let Sink::Partial(writer) = &self.sink else { return None };
        let view = Arc::new(writer.view(self.head.clone()));
        let progress = Progress { view, size: writer.size(), retry: None };
        let broadcast = client.broadcasts().announce(*writer.key()?, progress);
        let listener = broadcast.listen();
        self.broadcast = Some(broadcast);
        Some(listener)
    }

    /// Where others are told.
    pub(crate) fn sender(&self) -> Option<Arc<watch::Sender<Progress>>> {
        self.broadcast.as_ref().map(Broadcast::sender)
    }

    /// Bytes that are still to come, if the origin said.
    pub(crate) fn missing(&self) -> Option<u64> {
        self.head.length.map(|length| length.saturating_sub(self.sink.size()))
    }

    /// Prepares a download that is not stored any more for one who has read what was. `step` is for
    /// that reader.
    pub(crate) fn hand_over(&mut self, step: Step) {
        self.broadcast = None;
        drop(self.salvage().map(PartialWriter::discard));
        self.pending = match step {
            Step::Bytes(bytes) => Some(Some(bytes)),
            Step::End(_) => Some(None),
            Step::Again | Step::Become(_) => None,
        };
    }

    /// Bytes that are in the store, or were when storing ended.
    pub(crate) fn stored(&self) -> u64 {
        let pending = self.pending.iter().flatten().map(|bytes| bytes.len() as u64);
        self.sink.size() - pending.sum::<u64>()
    }

    /// Goes on for a reader who has more than what was stored; `None` if it has a part of what is
    /// pending, which cannot be compared.
    pub(crate) fn beyond(
        mut self: Box<Self>,
        (yielded, digest): (u64, Digest),
    ) -> Option<Box<Self>> {
        self.pending = None;
        (yielded > self.sink.size()).then(|| Box::new(self.after(yielded, digest)))
    }

    pub(crate) async fn step(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        match self.pending.take() {
            Some(Some(bytes)) => return Ok(Step::Bytes(bytes)),
            Some(None) => return Ok(Step::End(None)),
            None => {}
        }
        match self.network.chunk().await {
            Ok(Some(bytes)) => self.take(call, bytes),
            Ok(None) => self.land(call),
            Err(failure) => self.restart(call, failure).await,
        }
    }

    /// Stores a chunk and hands on what the caller does not have yet.
    fn take(&mut self, call: &Call<'_>, bytes: Bytes) -> Result<Step, FetchError> {
        let before = self.sink.size();
        match self.check {
            Some((at, expected)) if at <= before + bytes.len() as u64 => {
                let split = usize::try_from(at - before).expect("within the chunk");
                self.sink.take(&bytes[..split]);
                if self.sink.digest() != expected {
                    return Err(call.changed());
                }
                self.check = None;
                self.sink.take(&bytes[split..]);
            }
            _ => self.sink.take(&bytes),
        }
        let after = self.sink.size();
        match &self.broadcast {
            Some(broadcast) if self.is_stored() => broadcast.advance(after),
            _ => self.broadcast = None,
        }
        call.progress(after, self.head.length);
        if after <= self.yielded {
            return Ok(Step::Again);
        }
        let skip = usize::try_from(self.yielded.saturating_sub(before)).expect("within the chunk");
        self.yielded = after;
        Ok(Step::Bytes(bytes.slice(skip..)))
    }

    /// The origin says that this was all.
    fn land(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        let actual = self.sink.size();
        if let Some(expected) = self.head.length.filter(|&length| length != actual) {
            self.drop_data();
            return Err(call.error(ErrorKind::Length { expected, actual }));
        }
        if self.check.is_some() || self.yielded > actual {
            return Err(call.changed());
        }
        let expected = call.expected(self.head.variant.status());
        let wrong =
            |expected: Digest, actual: Digest| call.error(ErrorKind::Digest { expected, actual });
        let sink = std::mem::replace(&mut self.sink, Sink::none(String::new()));
        let Sink::Partial(writer) = sink else {
            let digest = sink.digest();
            self.sink = sink;
            return match expected.filter(|&expected| expected != digest) {
                Some(expected) => Err(wrong(expected, digest)),
                None => Ok(Step::End(None)),
            };
        };
        let landed = match writer.commit(expected.as_ref()) {
            Ok(landed) => landed,
            Err(uncommitted) => match uncommitted.error {
                CommitError::WrongDigest { expected, actual } => {
                    return Err(wrong(expected, actual));
                }
                CommitError::Io { source, .. } => {
                    let salvage = uncommitted.data.map(|data| *data);
                    let hasher = salvage.as_ref().map_or_else(Hasher::raw, PartialWriter::hasher);
                    let reason = format!("the cache cannot be written: {source}");
                    let hasher = Hashing(hasher);
                    self.sink = Sink::None { hasher, size: actual, reason, salvage };
                    return Ok(Step::End(None));
                }
            },
        };
        let witness = Some(landed.witness);
        let body = StoredBody { digest: landed.blob.digest, size: landed.blob.size, witness };
        let variant = Variant { body, ..self.head.variant.clone() };
        let store = call.client.store();
        ledger::insert(store, &call.key, &call.request.url, variant, &call.headers);
        // Only now may others look: `landed` holds the flight until here.
        drop(landed);
        self.broadcast = None;
        Ok(Step::End(Some(body)))
    }

    fn drop_data(&mut self) {
        let sink = std::mem::replace(&mut self.sink, Sink::none(String::new()));
        if let Sink::Partial(writer) = sink {
            drop(writer.discard());
        }
    }

    /// The connection broke: asks again, for the rest if that is safe.
    async fn restart(&mut self, call: &mut Call<'_>, failure: Failure) -> Result<Step, FetchError> {
        let size = self.sink.size();
        if size >= self.last_failure + PROGRESS {
            let retries = call.client.config().retries;
            call.attempts.refill(retries);
        }
        self.last_failure = size;
        call.attempts.for_statuses = true;
        let client = call.client.clone();
        let told = (failure.kind.to_string(), call.events);
        let url = &call.request.url;
        let zero = std::time::Duration::ZERO;
        if self.once || !client.transport().pause(url, &mut call.attempts, zero, told).await {
            return Err(self.gave_up(call, failure));
        }
        let range = call.rest_of(&self.head, size).filter(|_| !self.no_ranges);
        let answer = call.send(&range.clone().unwrap_or_default()).await?;
        let fits = || is_the_rest(&answer.headers, size, self.head.length, &self.head.headers());
        match answer.status {
            StatusCode::PARTIAL_CONTENT if range.is_some() && fits() => {
                self.network = answer.body;
                Ok(Step::Again)
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() => {
                self.no_ranges = true;
                let answer = call.send(&HeaderMap::new()).await?;
                self.start_over(call, answer)
            }
            _ => self.start_over(call, answer),
        }
    }

    fn gave_up(&self, call: &Call<'_>, failure: Failure) -> FetchError {
        let (url, made) = (&call.request.url, call.attempts.made);
        let actual = self.sink.size();
        match self.head.length.filter(|&expected| expected != actual) {
            Some(expected) if failure.kind == ErrorKind::Broken => {
                let kind = ErrorKind::Length { expected, actual };
                Failure { kind, ..failure }.at(url, made)
            }
            _ => failure.at(url, made),
        }
    }

    /// Takes the whole body anew, without handing out twice what the caller has.
    fn start_over(&mut self, call: &Call<'_>, answer: Answer) -> Result<Step, FetchError> {
        if answer.status != self.head.variant.status() {
            return Err(call.error(ErrorKind::Status(answer.status)));
        }
        let keeping = call.purpose == Purpose::Keep && self.is_stored();
        let has = match self.check {
            Some(check) => check,
            None if keeping => (0, Digest::of([])),
            None => (self.yielded, self.sink.digest()),
        };
        let sink = std::mem::replace(&mut self.sink, Sink::none(String::new()));
        let no_ranges = self.no_ranges;
        let last_failure = self.last_failure;
        let mut anew = match sink {
            Sink::Partial(writer) => call.begin(answer, Some(writer.discard())),
            Sink::None { reason, salvage, .. } => {
                let mut anew = call.begin(answer, None);
                if let Sink::None { reason: new, salvage: kept, .. } = &mut anew.sink {
                    (*new, *kept) = (reason, salvage);
                }
                anew
            }
        };
        anew = anew.after(has.0, has.1);
        (anew.no_ranges, anew.last_failure) = (no_ranges, last_failure);
        if let (Some(broadcast), Sink::Partial(writer)) = (self.broadcast.take(), &anew.sink) {
            broadcast.start_over(writer.view(anew.head.clone()));
            anew.broadcast = Some(broadcast);
        }
        *self = anew;
        Ok(Step::Again)
    }
}
