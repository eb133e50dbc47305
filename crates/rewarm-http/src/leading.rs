//! A body on its way from the origin: stored, hashed and handed on chunk by chunk.
//!
//! A connection that breaks is made again and the rest asked for; if only the whole can be had, what
//! the caller has read already is skipped, and its digest compared, so that no caller ever gets a
//! mixture of two versions. A store that cannot be written ends the storing, not the body. Memory
//! is that of one chunk.

use std::io;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use rewarm_store::{CommitError, Digest, Hasher, PartialWriter};

use crate::body::Step;
use crate::call::{Call, Purpose};
use crate::error::{ErrorKind, FetchError};
use crate::flight::FlightHead;
use crate::ledger;
use crate::record::{StoredBody, Variant};
use crate::request::Reuse;
use crate::resume::is_the_rest;
use crate::transport::{Answer, Failure, NetBody};

/// Bytes read back from the store at once.
const READ_BACK: usize = 64 * 1024;

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
    /// Bytes that the caller has.
    yielded: u64,
    /// What the caller has, to be compared when the sink has as much.
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
    pub(crate) fn new(head: FlightHead, sink: Sink, network: NetBody, purpose: Purpose) -> Self {
        let resumed = sink.size();
        let yielded = if purpose == Purpose::Keep { resumed } else { 0 };
        Self {
            head,
            sink,
            network,
            yielded,
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

    pub(crate) async fn step(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        if self.check.is_some_and(|(at, _)| at <= self.sink.size()) {
            self.check_prefix(call)?;
        }
        if self.yielded < self.sink.size() {
            return self.read_back(call);
        }
        match self.network.chunk().await {
            Ok(Some(bytes)) => self.take(call, bytes),
            Ok(None) => self.land(call),
            Err(failure) => self.restart(call, failure).await,
        }
    }

    /// Hands out what was stored before this download went on.
    fn read_back(&mut self, call: &Call<'_>) -> Result<Step, FetchError> {
        let Sink::Partial(writer) = &self.sink else { return Err(call.changed()) };
        let mut buffer = vec![0; READ_BACK];
        let count = writer.read_at(&mut buffer, self.yielded).map_err(|e| call.store_error(e))?;
        if count == 0 {
            return Err(call.store_error(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.truncate(count);
        self.yielded += count as u64;
        Ok(Step::Bytes(buffer.into()))
    }

    /// Compares what the caller has with the beginning of what was stored before.
    fn check_prefix(&mut self, call: &Call<'_>) -> Result<(), FetchError> {
        let Some((length, expected)) = self.check.take() else { return Ok(()) };
        let Sink::Partial(writer) = &self.sink else { return Err(call.changed()) };
        let mut hasher = Hasher::raw();
        let mut buffer = vec![0; READ_BACK];
        let mut offset = 0;
        while offset < length {
            let room = usize::try_from(length - offset).unwrap_or(usize::MAX).min(READ_BACK);
            let count = writer.read_at(&mut buffer[..room], offset);
            match count.map_err(|error| call.store_error(error))? {
                0 => return Err(call.changed()),
                count => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
            }
        }
        if hasher.finish() == expected { Ok(()) } else { Err(call.changed()) }
    }

    /// Stores a chunk and hands on what the caller does not have yet.
    fn take(&mut self, call: &Call<'_>, bytes: Bytes) -> Result<Step, FetchError> {
        let before = self.sink.size();
        let was_stored = self.is_stored();
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
        if was_stored && !self.is_stored() && call.purpose == Purpose::Read {
            // Nobody will ask for it; others may start anew.
            drop(self.salvage().map(PartialWriter::discard));
        }
        let after = self.sink.size();
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
        *self = anew;
        Ok(Step::Again)
    }
}
