//! The body of a request: bytes at hand, or a stream that comes from elsewhere.
//!
//! A stream is taken from its source once and never kept, so a request with one is never sent a
//! second time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};

use crate::error::Cause;

/// A body as it is handed to the connection.
pub(crate) type WireBody = BoxBody<Bytes, Cause>;

/// The body of a request.
#[derive(Debug, Clone)]
pub enum RequestBody {
    /// Bytes; sent again when the request is.
    Whole(Bytes),
    /// Data and trailers as they come.
    Stream(BodyStream),
}

/// A body that can be taken once. Cloning shares it.
#[derive(Clone)]
pub struct BodyStream {
    body: Arc<Mutex<Option<WireBody>>>,
    length: Option<u64>,
}

impl Default for RequestBody {
    /// No bytes.
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<B: Into<Bytes>> From<B> for RequestBody {
    fn from(bytes: B) -> Self {
        Self::Whole(bytes.into())
    }
}

impl RequestBody {
    /// A body whose frames come from `body`. Its length is announced if `body` knows it (the exact
    /// [size hint](http_body::SizeHint::exact)); otherwise it is sent in chunks.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<Cause>> + Send + Sync + 'static,
    {
        let length = body.size_hint().exact();
        let body = body.map_err(Into::into).boxed();
        Self::Stream(BodyStream { body: Arc::new(Mutex::new(Some(body))), length })
    }

    /// Whether there is certainly nothing to send.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    /// Whether the body can be sent once only.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The body for the wire; `None` if it was a stream and is gone.
    pub(crate) fn take(&self) -> Option<WireBody> {
        match self {
            Self::Whole(bytes) => {
                Some(Full::new(bytes.clone()).map_err(|never| match never {}).boxed())
            }
            Self::Stream(stream) => {
                stream.body.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
        }
    }
}

impl BodyStream {
    /// Bytes in all, if known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream").field("length", &self.length).finish_non_exhaustive()
    }
}
