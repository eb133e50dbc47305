//! A download read while it grows: one that this client leads, or another process.
//!
//! The reader is woken by the leader where that is in this process, else it looks every few
//! milliseconds. When the leader finished, its record says what the whole should be, and what was
//! handed out is compared with that. When the leader is gone without having finished, whoever gets
//! the flight first goes on from what is there; the others follow the new leader. A leader that stands
//! still for too long is left alone, but not by the reader for whom it goes on.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use rewarm_store::{Digest, Flight, Hasher, PartialView};

use crate::body::{State, Step};
use crate::broadcast::Listener;
use crate::call::{Asked, Call, Purpose};
use crate::driving::{self, Ended, Outcome};
use crate::error::{ErrorKind, FetchError};
use crate::flight::{FlightHead, Nap, Sight, look};
use crate::leading::Leading;
use crate::record::{Record, StoredBody, Variant};
use crate::request::Event;
use crate::resume::if_range;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// A download that goes on elsewhere.
pub(crate) struct Following {
    sight: Sight,
    /// Bytes read of this download.
    read: u64,
    /// Their hash, if another process wrote them.
    hasher: Option<Hasher>,
    /// Bytes that the caller has.
    yielded: u64,
    /// What the caller has of an earlier download, to be compared with this one.
    check: Option<(u64, Digest)>,
    /// Set for the reader for whom the download goes on.
    outcome: Option<Outcome>,
    trailers: Option<HeaderMap>,
    /// The last retry that the caller was told of.
    told: u32,
    nap: Nap,
}

impl Following {
    pub(crate) fn new(sight: Sight) -> Self {
        let hasher = sight.listener.is_none().then(Hasher::raw);
        Self {
            sight,
            read: 0,
            hasher,
            yielded: 0,
            check: None,
            outcome: None,
            trailers: None,
            told: 0,
            nap: Nap::new(),
        }
    }

    /// For the reader for whom a download goes on.
    pub(crate) fn led(listener: Listener, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..Self::new(Sight::of(listener)) }
    }

    /// For a caller that has so many bytes of this digest already.
    pub(crate) fn after(mut self, yielded: u64, digest: Digest) -> Self {
        self.yielded = yielded;
        self.check = (yielded > 0).then_some((yielded, digest));
        self
    }

    pub(crate) fn head(&self) -> &FlightHead {
        self.sight.head()
    }

    /// What came after the bytes; once.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    pub(crate) async fn step(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        if let Some(listener) = self.sight.listener.clone()
            && !Arc::ptr_eq(&listener.borrow().view, &self.sight.view)
        {
            self.switch_to(call, Sight::of(listener))?;
        }
        if self.sight.listener.is_none()
            && let Some(outcome) = self.outcome.take()
        {
            // Without an outcome the task was stopped: the runtime is going down.
            let ended = outcome.take().ok_or_else(|| call.error(ErrorKind::Broken))?;
            return self.conclude(call, ended);
        }
        match call.purpose {
            Purpose::Read => {
                if let Some(step) = self.read_on(call)? {
                    self.nap.reset();
                    return Ok(step);
                }
            }
            Purpose::Keep => self.look_on(call)?,
        }
        if self.sight.listener.is_some() {
            return self.listen(call).await;
        }
        if !self.is_current(call)? {
            if let Some(step) = self.ended(call)? {
                return Ok(step);
            }
            if let Some(next) = look(&call.client, &call.flight_key) {
                self.switch_to(call, next)?;
                return Ok(Step::Again);
            }
        }
        // A cache that cannot be written any more costs the sharing, not the bytes.
        let Ok(flight) = call.client.store().try_flight(&call.flight_key) else {
            return self.take_over(call, None).await;
        };
        if let Some(flight) = flight {
            // The leader may have finished just before it let go.
            if !self.is_current(call)?
                && let Some(step) = self.ended(call)?
            {
                return Ok(step);
            }
            return self.take_over(call, Some(flight)).await;
        }
        if self.nap.wait().await > call.client.config().patience {
            return self.go_alone(call).await;
        }
        Ok(Step::Again)
    }

    /// Waits for word from the leader in this process; all has been read that it told of.
    async fn listen(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        let Some(listener) = &mut self.sight.listener else { return Ok(Step::Again) };
        let changed = listener.changed();
        let changed = if self.outcome.is_some() {
            Ok(changed.await)
        } else {
            tokio::time::timeout(call.client.config().patience, changed).await
        };
        match changed {
            Ok(Ok(())) => {}
            // It has ended; what it told before counts.
            Ok(Err(_)) if listener.borrow().size > self.read => {}
            Ok(Err(_)) => self.sight.listener = None,
            Err(_) => return self.go_alone(call).await,
        }
        let retry = self.sight.listener.as_ref().and_then(|l| l.borrow().retry.clone());
        if let Some(retry) = retry.filter(|retry| retry.attempt > self.told) {
            self.told = retry.attempt;
            let url = &call.request.url;
            let (attempt, delay, reason) = (retry.attempt, retry.delay, retry.reason);
            (call.events)(Event::Retrying { url, attempt, delay, reason });
        }
        Ok(Step::Again)
    }

    /// Reads what came since, for a caller that wants the bytes.
    fn read_on(&mut self, call: &Call<'_>) -> Result<Option<Step>, FetchError> {
        // What a leader in this process has not told of may not be right yet.
        let told = self.sight.listener.as_ref().map(|listener| listener.borrow().size);
        let room = told.map_or(CHUNK as u64, |told| told.saturating_sub(self.read));
        let room = usize::try_from(room).unwrap_or(CHUNK).min(CHUNK);
        if room == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; room];
        let count = self.sight.view.read_at(&mut buffer, self.read);
        let count = count.map_err(|e| call.store_error(e))?;
        if count == 0 {
            return Ok(None);
        }
        buffer.truncate(count);
        let before = self.read;
        self.read += count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer);
        }
        if let Some((at, expected)) = self.check.filter(|(at, _)| *at <= self.read) {
            if digest_of(&self.sight.view, at).map_err(|e| call.store_error(e))? != expected {
                return Err(call.changed());
            }
            self.check = None;
        }
        call.progress(self.read, self.head().length);
        if self.read <= self.yielded {
            return Ok(Some(Step::Again));
        }
        let skip = usize::try_from(self.yielded.saturating_sub(before)).expect("within the chunk");
        self.yielded = self.read;
        Ok(Some(Step::Bytes(Bytes::from(buffer).slice(skip..))))
    }

    /// Only looks how far the leader is.
    fn look_on(&mut self, call: &Call<'_>) -> Result<(), FetchError> {
        let length = self.sight.view.len().map_err(|error| call.store_error(error))?;
        if length > self.read {
            self.read = length;
            self.nap.go_on();
            call.progress(length, self.head().length);
        }
        Ok(())
    }

    fn is_current(&self, call: &Call<'_>) -> Result<bool, FetchError> {
        let current = self.sight.view.is_current(call.client.store(), &call.flight_key);
        current.map_err(|error| call.store_error(error))
    }

    /// The download that went on for this reader has ended.
    fn conclude(&mut self, call: &Call<'_>, ended: Ended) -> Result<Step, FetchError> {
        match ended {
            Ended::Failed(error) => Err(error),
            Ended::Stored(body, trailers) => {
                self.trailers = trailers;
                self.compare(call, body)
            }
            Ended::Unstored(leading) => {
                let goes_on = self.check.is_none() && self.read == leading.stored();
                let leading = if goes_on { Some(leading) } else { leading.beyond(self.has(call)?) };
                let leading = leading.ok_or_else(|| call.changed())?;
                Ok(Step::Become(State::Leading(leading)))
            }
        }
    }

    /// The data has left its place: whether the leader's record is there, and agrees.
    fn ended(&mut self, call: &Call<'_>) -> Result<Option<Step>, FetchError> {
        let Some(body) = self.landed(call) else { return Ok(None) };
        if let Some(expected) = call.expected(self.head().variant.status())
            && expected != body.digest
        {
            return Err(call.error(ErrorKind::Digest { expected, actual: body.digest }));
        }
        if call.purpose == Purpose::Keep {
            return Ok(Some(Step::End(Some(body))));
        }
        let length = self.sight.view.len().map_err(|error| call.store_error(error))?;
        if self.read < length {
            return Ok(Some(Step::Again));
        }
        self.compare(call, body).map(Some)
    }

    /// The end, if what was read is this body.
    fn compare(&self, call: &Call<'_>, body: StoredBody) -> Result<Step, FetchError> {
        let same = || match &self.hasher {
            Some(hasher) => Ok(hasher.clone().finish() == body.digest),
            // What was read here was written here; it is right if nobody touched it since.
            None => {
                let now = self.sight.view.witness()?;
                let untouched = body.witness.is_some_and(|witness| witness.same_content(&now));
                Ok(untouched || digest_of(&self.sight.view, self.read)? == body.digest)
            }
        };
        let is_whole = self.read == body.size && self.check.is_none();
        match is_whole && same().map_err(|error: io::Error| call.store_error(error))? {
            true => Ok(Step::End(Some(body))),
            false => Err(call.changed()),
        }
    }

    /// What the leader's download became: the response that came at the same time, or, if another
    /// leader finished the same representation, a later one with its strong validator.
    fn landed(&self, call: &Call<'_>) -> Option<StoredBody> {
        let head = self.head();
        let (sent, came) = (head.variant.request_time, head.variant.response_time);
        let record = call.client.store().read::<Record>(&call.key)?;
        let find = |is_it: &dyn Fn(&Variant) -> bool| {
            record.variants.iter().find(|variant| is_it(variant)).map(|variant| variant.body)
        };
        let expected = call.expected(head.variant.status());
        let validator = head.if_range();
        find(&|v| !v.is_part() && v.came_at(sent, came)).or_else(|| {
            find(&|v| {
                let same = validator.is_some() && if_range(&v.headers()) == validator;
                let later = v.response_time >= came && v.matches(&call.headers);
                expected == Some(v.body.digest) || same && later
            })
        })
    }

    /// What the caller has, as the next download must reproduce it.
    fn has(&self, call: &Call<'_>) -> Result<(u64, Digest), FetchError> {
        match (self.check, &self.hasher) {
            (Some(check), _) => Ok(check),
            (None, Some(hasher)) => Ok((self.yielded, hasher.clone().finish())),
            (None, None) => {
                let digest = digest_of(&self.sight.view, self.yielded);
                Ok((self.yielded, digest.map_err(|error| call.store_error(error))?))
            }
        }
    }

    /// The download has started anew, here or elsewhere.
    fn switch_to(&mut self, call: &Call<'_>, next: Sight) -> Result<(), FetchError> {
        let (yielded, digest) = match call.purpose {
            Purpose::Read => self.has(call)?,
            Purpose::Keep => (0, Digest::of([])),
        };
        let (outcome, told) = (self.outcome.take(), self.told);
        *self = Self { outcome, told, ..Self::new(next).after(yielded, digest) };
        Ok(())
    }

    async fn go_alone(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        let alone = call.client.flight_of_its_own(&call.flight_key);
        self.take_over(call, alone).await
    }

    /// Goes on in place of the leader.
    async fn take_over(
        &mut self,
        call: &mut Call<'_>,
        flight: Option<Flight>,
    ) -> Result<Step, FetchError> {
        let status = self.head().variant.status();
        call.attempts.for_statuses = true;
        let leading: Leading = match call.ask(flight, &HeaderMap::new()).await? {
            Asked::Rest(leading) => *leading,
            Asked::Whole(answer, _) if answer.status != status => {
                return Err(call.error(ErrorKind::Status(answer.status)));
            }
            Asked::Whole(answer, flight) => call.begin(*answer, flight),
        };
        if call.purpose == Purpose::Keep {
            return Ok(Step::Become(driving::drive(call, Box::new(leading))));
        }
        let (yielded, digest) = self.has(call)?;
        Ok(Step::Become(match driving::drive(call, Box::new(leading)) {
            State::Following(next) => State::Following(Box::new(next.after(yielded, digest))),
            State::Leading(next) => State::Leading(Box::new(next.after(yielded, digest))),
            other => other,
        }))
    }
}

/// The digest of the first bytes of a download.
fn digest_of(view: &PartialView<FlightHead>, length: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::raw();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < length {
        let room = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
        match view.read_at(&mut buffer[..room], offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
    Ok(hasher.finish())
}
