//! The body of a request: bytes at hand, or a stream that comes from elsewhere.
//!
//! A stream is taken from its source once and never kept, so a request with one is never sent a
//! second time.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::error::Cause;

type AnyBody = UnsyncBoxBody<Bytes, Cause>;

/// Counts what happens on the way of a request, so that one that moves is told from one that hangs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<AtomicU64>);

/// A body as it is handed to the connection.
pub(crate) struct WireBody {
    body: AnyBody,
    activity: Activity,
}

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
    body: Arc<Mutex<Option<AnyBody>>>,
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
        B: http_body::Body<Data = Bytes, Error: Into<Cause>> + Send + 'static,
    {
        let length = body.size_hint().exact();
        let body = body.map_err(Into::into).boxed_unsync();
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
    pub(crate) fn take(&self, activity: &Activity) -> Option<WireBody> {
        let body = match self {
            Self::Whole(bytes) => {
                let body = Full::new(bytes.clone());
                Some(body.map_err(|never| match never {}).boxed_unsync())
            }
            Self::Stream(stream) => {
                stream.body.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
        };
        body.map(|body| WireBody { body, activity: activity.clone() })
    }
}

impl Activity {
    /// Something happened.
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something has happened.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.activity.note();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
