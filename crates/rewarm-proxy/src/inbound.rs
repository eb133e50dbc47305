//! The body of a request on its way from a client, and what became of it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use rewarm_http::Cause;

use crate::refusal::Refusal;

const BROKEN: u8 = 1;
const LATE: u8 = 2;

/// A body that must not stand still for longer than it may while somebody waits for it.
pub(crate) struct Inbound<B> {
    body: B,
    limit: Duration,
    /// Runs while somebody waits.
    waiting: Option<Pin<Box<Sleep>>>,
    fate: Fate,
}

/// Whether the client's side failed. Cheap to clone; all clones are of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate(Arc<AtomicU8>);

impl Fate {
    /// The answer, if it is the client's failure.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let (status, text) = match self.0.load(Ordering::SeqCst) {
            BROKEN => (StatusCode::BAD_REQUEST, "the body of the request is malformed or cut"),
            LATE => (StatusCode::REQUEST_TIMEOUT, "the body of the request did not come in time"),
            _ => return None,
        };
        Some(Refusal::new(status, text))
    }
}

impl<B> Inbound<B> {
    /// `limit` is for each wait.
    pub(crate) fn new(body: B, limit: Duration, fate: Fate) -> Self {
        Self { body, limit, waiting: None, fate }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Cause>> + Unpin> Body for Inbound<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let limit = this.limit;
            let sleep = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(sleep.as_mut().poll(context));
            this.fate.0.store(LATE, Ordering::SeqCst);
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        };
        this.waiting = None;
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                this.fate.0.store(BROKEN, Ordering::SeqCst);
                io::Error::other(error)
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
