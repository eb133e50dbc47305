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
use rewarm_http::{ErrorKind, FetchError, Reuse, Url};

use crate::config::{Served, Watch};
use crate::link::Active;
use crate::packages::{Observer, Rewrite};

/// A body under way, as the cache or an origin answers.
pub(crate) struct Flow {
    pub(crate) body: rewarm_http::Body<'static>,
    /// What is changed on the way.
    pub(crate) rewrite: Option<Rewrite>,
    /// What reads along.
    pub(crate) observer: Option<Observer>,
    /// Bytes to come, where that is known and announced.
    pub(crate) left: Option<u64>,
}

/// What a step brought, and what goes on if anything does.
type Step = (Result<Option<Frame<Bytes>>, FetchError>, Reuse, Option<Flow>);

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
    account: Account,
}

/// What is told of a request when its response is over.
pub(crate) struct Account {
    pub(crate) served: Served,
    pub(crate) watch: Watch,
    /// The connection counts it as under way until then.
    pub(crate) active: Active,
    /// Whether the end of the connection is the only end that the response has.
    pub(crate) ends_with_connection: bool,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.watch.tell(&self.served);
    }
}

impl Flow {
    /// The next bytes for the client. Of a changed body they are some, or it has ended.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let mut changed = Vec::new();
        while let Some(rewrite) = &mut self.rewrite {
            let bytes = self.body.next().await?;
            let rewritten = match &bytes {
                Some(bytes) => rewrite.feed(bytes, &mut changed),
                None => rewrite.finish(&mut changed),
            };
            rewritten.map_err(|error| broken(rewrite.page(), error))?;
            if bytes.is_none() {
                self.rewrite = None;
            }
            if !changed.is_empty() {
                return Ok(Some(changed.into()));
            }
        }
        let bytes = self.body.next().await?;
        if let (Some(observer), Some(bytes)) = (&mut self.observer, &bytes) {
            observer.feed(bytes);
        }
        Ok(bytes)
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
        let next = match next {
            Ok(Some(bytes)) => Ok(Some(Frame::data(bytes))),
            Ok(None) => Ok(self.body.trailers().map(Frame::trailers)),
            Err(error) => Err(error),
        };
        let reuse = self.body.reuse().clone();
        (next, reuse, goes_on.then_some(self))
    }
}

/// A body that cannot be changed on the way.
fn broken(url: &Url, error: std::io::Error) -> FetchError {
    let (kind, source) = (ErrorKind::Broken, Some(error.into()));
    FetchError { url: url.clone(), attempts: 0, kind, source }
}

impl Outgoing {
    /// A text of our own.
    pub(crate) fn text(text: String, account: Account) -> Self {
        let source = if text.is_empty() { Source::Done } else { Source::Text(text.into()) };
        Self { source, account }
    }

    /// What the cache or an origin answers.
    pub(crate) fn body(flow: Flow, account: Account) -> Self {
        Self { source: Source::Flow(Box::pin(flow.step())), account }
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
                Ok(Some(Frame::data(bytes)))
            }
            Source::Flow(step) => {
                let (next, reuse, flow) = ready!(step.as_mut().poll(context));
                this.account.served.reuse = Some(reuse);
                this.source = match flow {
                    Some(flow) => Source::Flow(Box::pin(flow.step())),
                    None => Source::Done,
                };
                next
            }
        };
        Poll::Ready(match next {
            Ok(frame) => {
                let data = frame.as_ref().and_then(Frame::data_ref);
                this.account.served.bytes += data.map_or(0, |bytes| bytes.len() as u64);
                this.account.served.complete = matches!(this.source, Source::Done);
                frame.map(Ok)
            }
            Err(error) => {
                if this.account.ends_with_connection {
                    this.account.active.abort();
                }
                Some(Err(error))
            }
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
