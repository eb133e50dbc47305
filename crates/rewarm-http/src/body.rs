//! A response, and its body as it becomes available.
//!
//! Where the bytes come from (the store, the origin, another process) may change while they are
//! read; what the caller sees is one sequence, which ends with an error if it was not complete and
//! right. Dropping a body ends its download, unless others read it, too; what came is kept.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use rewarm_store::PartialWriter;

use crate::cache_status::CacheStatus;
use crate::call::Call;
use crate::driving::drive;
use crate::error::{ErrorKind, FetchError};
use crate::following::Following;
use crate::leading::Leading;
use crate::record::StoredBody;
use crate::request::Reuse;
use crate::url::Url;

/// Bytes read from the store at once.
const CHUNK: usize = 64 * 1024;

/// A response whose head is here.
pub struct Response<'e> {
    /// The URL it is of, after redirects.
    pub url: Url,
    /// The status.
    pub status: StatusCode,
    /// End-to-end fields; with an `Age` if the response comes from the store.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body<'e>,
    /// Why it was a hit or a miss, for people.
    pub explanation: String,
    /// Whether it was a hit or a miss, for programs (RFC 9211).
    pub cache_status: CacheStatus,
}

impl Response<'_> {
    /// Fails unless the body is, whole, what was asked for: with an error's page, and with a part
    /// of it that nobody asked for.
    pub fn expect_whole(&self) -> Result<(), FetchError> {
        let is_part = self.status == StatusCode::PARTIAL_CONTENT;
        if self.status.is_success() && !is_part {
            return Ok(());
        }
        Err(self.body.error(ErrorKind::Status(self.status)))
    }
}

/// A body; call [`next`](Body::next) until it gives `None`.
pub struct Body<'e> {
    call: Call<'e>,
    state: State,
    reuse: Reuse,
    length: Option<u64>,
    trailers: Option<HeaderMap>,
    salvage: Option<PartialWriter>,
}

/// Where the bytes come from.
pub(crate) enum State {
    /// There are no more.
    Done(Option<StoredBody>),
    /// An error was reported; there will be no bytes.
    Failed,
    /// From the store, from one byte to another.
    Stored { body: StoredBody, file: Option<File>, position: u64, end: u64 },
    /// From the origin.
    Leading(Box<Leading>),
    /// From the store, where somebody else puts them.
    Following(Box<Following>),
}

/// What one step brought.
pub(crate) enum Step {
    /// Bytes for the caller.
    Bytes(Bytes),
    /// Nothing yet.
    Again,
    /// The bytes come from elsewhere now.
    Become(State),
    /// All is there; in the store, if so.
    End(Option<StoredBody>),
}

impl<'e> Body<'e> {
    pub(crate) fn new(mut call: Call<'e>, state: State, reuse: Reuse) -> Self {
        let length = match &state {
            State::Done(body) => Some(body.map_or(0, |body| body.size)),
            State::Stored { position, end, .. } => Some(end - position),
            State::Leading(leading) => leading.length(),
            State::Following(following) => following.head().length,
            State::Failed => None,
        };
        // The final answer is there: what may be asked for from now on is only more of it.
        call.request.interim = None;
        let state = match state {
            State::Leading(leading) => drive(&call, leading),
            other => other,
        };
        Self { call, state, reuse, length, trailers: None, salvage: None }
    }

    /// The next bytes; `None` at the end, once the body was found complete and right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let step = match &mut self.state {
                State::Done(_) => return Ok(None),
                State::Failed => return Err(self.call.error(ErrorKind::Broken)),
                State::Stored { .. } => self.read_stored(),
                State::Leading(leading) => leading.step(&mut self.call).await,
                State::Following(following) => following.step(&mut self.call).await,
            };
            let trailers = match &mut self.state {
                State::Leading(leading) => leading.trailers(),
                State::Following(following) => following.trailers(),
                _ => None,
            };
            self.trailers = trailers.or(self.trailers.take());
            let goes_on = matches!(step, Ok(Step::Bytes(_) | Step::Again | Step::End(None)));
            if let (State::Leading(leading), true) = (&mut self.state, goes_on) {
                self.reuse = leading.reuse();
                self.salvage = leading.salvage().or(self.salvage.take());
            }
            match step {
                Ok(Step::Bytes(bytes)) => return Ok(Some(bytes)),
                Ok(Step::Again) => {}
                Ok(Step::Become(state)) => self.state = state,
                Ok(Step::End(body)) => self.state = State::Done(body),
                Err(error) => {
                    self.state = State::Failed;
                    return Err(error);
                }
            }
        }
    }

    /// Bytes in all, if known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The fields that came after the bytes (RFC 9110 section 6.5); to be asked for once, after the
    /// end. Trailers are not stored: a body from the store has none.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// What was saved; final once the body has ended.
    pub fn reuse(&self) -> &Reuse {
        &self.reuse
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> FetchError {
        self.call.error(kind)
    }

    pub(crate) fn store_error(&self, source: std::io::Error) -> FetchError {
        self.call.store_error(source)
    }

    /// The body in the store, once it is there.
    pub(crate) fn stored(&self) -> Option<StoredBody> {
        match &self.state {
            State::Done(body) => *body,
            _ => None,
        }
    }

    /// Whether the bytes that come are going to the store, or are there.
    pub(crate) fn is_stored(&self) -> bool {
        match &self.state {
            State::Leading(leading) => leading.is_stored(),
            State::Done(body) => body.is_some(),
            State::Stored { .. } | State::Following(_) => true,
            State::Failed => false,
        }
    }

    /// What went into the store before storing ended.
    pub(crate) fn salvage(&mut self) -> Option<PartialWriter> {
        self.salvage.take()
    }

    /// Reads a short body to its end, so that it is stored and its connection can be used again.
    pub(crate) async fn drain(&mut self, limit: u64) {
        let mut left = limit;
        while let Ok(Some(bytes)) = self.next().await {
            left = left.saturating_sub(bytes.len() as u64);
            if left == 0 {
                return;
            }
        }
    }

    fn read_stored(&mut self) -> Result<Step, FetchError> {
        let State::Stored { body, file, position, end } = &mut self.state else {
            return Ok(Step::Again);
        };
        let call = &self.call;
        let open = match file {
            Some(open) => open,
            None => {
                let path = call.client.store().blob_path(&body.digest);
                let path = path.ok_or_else(|| std::io::ErrorKind::NotFound.into());
                let mut open =
                    path.and_then(File::open).map_err(|error| call.store_error(error))?;
                open.seek(SeekFrom::Start(*position)).map_err(|error| call.store_error(error))?;
                file.insert(open)
            }
        };
        let left = usize::try_from(*end - *position).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(CHUNK)];
        let count = open.read(&mut buffer).map_err(|error| call.store_error(error))?;
        *position += count as u64;
        match count {
            0 if *position == *end => Ok(Step::End(Some(*body))),
            0 => Err(call.error(ErrorKind::Length { expected: body.size, actual: *position })),
            count => {
                buffer.truncate(count);
                Ok(Step::Bytes(buffer.into()))
            }
        }
    }
}
