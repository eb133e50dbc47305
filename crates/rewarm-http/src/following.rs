//! Somebody else's download, read while it grows.
//!
//! The data is looked at every few milliseconds. When the leader finished, its record says what the
//! whole should be, and what was handed out is compared with that. When the leader is gone without
//! having finished, whoever gets the flight first goes on from what is there; the others follow the
//! new leader. A leader that stands still for too long is left alone.

use bytes::Bytes;
use http::header::HeaderMap;
use rewarm_store::{Digest, Flight, Hasher, PartialView};

use crate::body::{State, Step};
use crate::call::{Asked, Call, Purpose};
use crate::error::{ErrorKind, FetchError};
use crate::flight::{FlightHead, Nap, view};
use crate::record::{Record, StoredBody, Variant};
use crate::resume::if_range;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Somebody else's download.
pub(crate) struct Following {
    view: PartialView<FlightHead>,
    /// Bytes read of this download, and their hash.
    read: u64,
    hasher: Hasher,
    /// Bytes that the caller has.
    yielded: u64,
    /// What the caller has of an earlier download, to be compared with this one.
    check: Option<(u64, Digest)>,
    nap: Nap,
}

impl Following {
    pub(crate) fn new(view: PartialView<FlightHead>) -> Self {
        let hasher = Hasher::raw();
        Self { view, read: 0, hasher, yielded: 0, check: None, nap: Nap::new() }
    }

    pub(crate) fn head(&self) -> &FlightHead {
        &self.view.head
    }

    pub(crate) async fn step(&mut self, call: &mut Call<'_>) -> Result<Step, FetchError> {
        match call.purpose {
            Purpose::Read => {
                if let Some(step) = self.read_on(call)? {
                    self.nap.reset();
                    return Ok(step);
                }
            }
            Purpose::Keep => self.look_on(call)?,
        }
        if !self.is_current(call)? {
            if let Some(step) = self.ended(call)? {
                return Ok(step);
            }
            if let Some(next) = view(call.client.store(), &call.flight_key) {
                self.switch_to(next);
                return Ok(Step::Again);
            }
        }
        let flight = call.client.store().try_flight(&call.flight_key);
        if let Some(flight) = flight.map_err(|error| call.store_error(error))? {
            // The leader may have finished just before it let go.
            if !self.is_current(call)?
                && let Some(step) = self.ended(call)?
            {
                return Ok(step);
            }
            return self.take_over(call, Some(flight)).await;
        }
        if self.nap.wait().await > call.client.config().patience {
            let alone = call.client.flight_of_its_own(&call.flight_key);
            return self.take_over(call, alone).await;
        }
        Ok(Step::Again)
    }

    /// Reads what came since, for a caller that wants the bytes.
    fn read_on(&mut self, call: &Call<'_>) -> Result<Option<Step>, FetchError> {
        let mut buffer = vec![0; CHUNK];
        let count = self.view.read_at(&mut buffer, self.read).map_err(|e| call.store_error(e))?;
        if count == 0 {
            return Ok(None);
        }
        buffer.truncate(count);
        let before = self.read;
        self.read += count as u64;
        match self.check {
            Some((at, expected)) if at <= self.read => {
                let split = usize::try_from(at - before).expect("within the chunk");
                self.hasher.update(&buffer[..split]);
                if self.hasher.clone().finish() != expected {
                    return Err(call.changed());
                }
                self.check = None;
                self.hasher.update(&buffer[split..]);
            }
            _ => self.hasher.update(&buffer),
        }
        call.progress(self.read, self.view.head.length);
        if self.read <= self.yielded {
            return Ok(Some(Step::Again));
        }
        let skip = usize::try_from(self.yielded.saturating_sub(before)).expect("within the chunk");
        self.yielded = self.read;
        Ok(Some(Step::Bytes(Bytes::from(buffer).slice(skip..))))
    }

    /// Only looks how far the leader is.
    fn look_on(&mut self, call: &Call<'_>) -> Result<(), FetchError> {
        let length = self.view.len().map_err(|error| call.store_error(error))?;
        if length > self.read {
            self.read = length;
            self.nap.go_on();
            call.progress(length, self.view.head.length);
        }
        Ok(())
    }

    fn is_current(&self, call: &Call<'_>) -> Result<bool, FetchError> {
        let current = self.view.is_current(call.client.store(), &call.flight_key);
        current.map_err(|error| call.store_error(error))
    }

    /// The data has left its place: whether the leader's record is there, and agrees.
    fn ended(&mut self, call: &Call<'_>) -> Result<Option<Step>, FetchError> {
        let Some(body) = self.landed(call) else { return Ok(None) };
        if let Some(expected) = call.expected(self.view.head.variant.status())
            && expected != body.digest
        {
            return Err(call.error(ErrorKind::Digest { expected, actual: body.digest }));
        }
        if call.purpose == Purpose::Keep {
            return Ok(Some(Step::End(Some(body))));
        }
        let length = self.view.len().map_err(|error| call.store_error(error))?;
        if self.read < length {
            return Ok(Some(Step::Again));
        }
        let same = self.read == body.size && self.hasher.clone().finish() == body.digest;
        if same && self.check.is_none() {
            Ok(Some(Step::End(Some(body))))
        } else {
            Err(call.changed())
        }
    }

    /// What the leader's download became: the response that came at the same time, or, if another
    /// leader finished the same representation, a later one with its strong validator.
    fn landed(&self, call: &Call<'_>) -> Option<StoredBody> {
        let head = &self.view.head;
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
    fn has(&self) -> (u64, Digest) {
        self.check.unwrap_or_else(|| (self.yielded, self.hasher.clone().finish()))
    }

    /// Another leader has started anew.
    fn switch_to(&mut self, next: PartialView<FlightHead>) {
        let (yielded, digest) = self.has();
        *self = Self::new(next);
        self.yielded = yielded;
        self.check = (yielded > 0).then_some((yielded, digest));
    }

    /// Goes on in place of the leader.
    async fn take_over(
        &mut self,
        call: &mut Call<'_>,
        flight: Option<Flight>,
    ) -> Result<Step, FetchError> {
        let (yielded, digest) = self.has();
        let status = self.view.head.variant.status();
        let leading = match call.ask(flight, &HeaderMap::new()).await? {
            Asked::Rest(leading) => *leading,
            Asked::Whole(answer, _) if answer.status != status => {
                return Err(call.error(ErrorKind::Status(answer.status)));
            }
            Asked::Whole(answer, flight) => call.begin(*answer, flight),
        };
        let leading = match call.purpose {
            Purpose::Read => leading.after(yielded, digest),
            Purpose::Keep => leading,
        };
        Ok(Step::Become(State::Leading(Box::new(leading))))
    }
}
