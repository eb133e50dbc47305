//! The body of a response on its way to a client.
//!
//! One chunk is in hand at a time; the next is asked for when the client took it. The last one of a
//! known length is handed out only when the body was found complete and right. An error cuts the
//! connection, so that the client sees a truncated response and never a short one. However a body
//! ends, the watch is told.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rewarm_http::{FetchError, Reuse};

use crate::config::{Served, Watch};
use crate::packages::Rewrite;

/// A body under way.
struct Flow {
    body: rewarm_http::Body<'static>,
    /// What is changed on the way.
    rewrite: Option<Rewrite>,
    /// Bytes to come, where that is known.
    left: Option<u64>,
}

/// What a step brought, and what goes on if anything does.
type Step = (Result<Option<Bytes>, FetchError>, Reuse, Option<Flow>);

/// Where the bytes come from.
enum Source {
    /// There are no more.
    Done,
    /// From here.
    Text(Bytes),
    /// From the cache or an origin.
    Flow(Pin<Box<dyn Future<Output = Step> + Send>>),
}

/// The body of a response.
pub(crate) struct Outgoing {
    source: Source,
    served: Served,
    watch: Watch,
}

impl Flow {
    /// The next bytes for the client. Of a changed body they are some, or it has ended.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let mut changed = Vec::new();
        while let Some(rewrite) = &mut self.rewrite {
            match self.body.next().await? {
                Some(bytes) => rewrite.feed(&bytes, &mut changed),
                None => {
                    rewrite.finish(&mut changed);
                    self.rewrite = None;
                }
            }
            if !changed.is_empty() {
                return Ok(Some(changed.into()));
            }
        }
        self.body.next().await
    }

    async fn step(mut self) -> Step {
        let mut next = self.next().await;
        let mut goes_on = matches!(next, Ok(Some(_)));
        if let (Ok(Some(bytes)), Some(left)) = (&next, &mut self.left) {
            *left = left.saturating_sub(bytes.len() as u64);
            if *left == 0 {
                // Whoever writes a body of known length asks for no more: this is the time to see
                // that it ends here, and to let it be stored.
                goes_on = false;
                if let Err(error) = self.body.next().await {
                    next = Err(error);
                }
            }
        }
        let reuse = self.body.reuse().clone();
        (next, reuse, goes_on.then_some(self))
    }
}

impl Outgoing {
    /// A text of our own.
    pub(crate) fn text(text: String, served: Served, watch: Watch) -> Self {
        let source = if text.is_empty() { Source::Done } else { Source::Text(text.into()) };
        Self { source, served, watch }
    }

    /// What the cache or an origin answers, changed if it is to be; `length` is what the response
    /// announces.
    pub(crate) fn body(
        (body, rewrite): (rewarm_http::Body<'static>, Option<Rewrite>),
        length: Option<u64>,
        served: Served,
        watch: Watch,
    ) -> Self {
        let flow = Flow { body, rewrite, left: length };
        Self { source: Source::Flow(Box::pin(flow.step())), served, watch }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = &mut *self;
        let next = match &mut this.source {
            Source::Done => Ok(None),
            Source::Text(bytes) => {
                let bytes = std::mem::take(bytes);
                this.source = Source::Done;
                Ok(Some(bytes))
            }
            Source::Flow(step) => {
                let (next, reuse, flow) = ready!(step.as_mut().poll(context));
                this.served.reuse = Some(reuse);
                this.source = match flow {
                    Some(flow) => Source::Flow(Box::pin(flow.step())),
                    None => Source::Done,
                };
                next
            }
        };
        let is_over = matches!(this.source, Source::Done);
        Poll::Ready(match next {
            Ok(Some(bytes)) => {
                this.served.bytes += bytes.len() as u64;
                this.served.complete = is_over;
                Some(Ok(Frame::data(bytes)))
            }
            Ok(None) => {
                this.served.complete = true;
                None
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Text(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Flow(_) => SizeHint::default(),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.watch.tell(&self.served);
    }
}
