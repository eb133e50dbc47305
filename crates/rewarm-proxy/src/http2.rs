//! HTTP/2 with one client: its streams, each a request that the service answers.
//!
//! The HTTP library cannot send interim responses on HTTP/2, so the layer below it is used directly.
//! A stream is a task that ends with its connection, and with it the request: nobody is asked for
//! what nobody reads. Of a response at most one chunk and one buffer are in memory; a client that
//! makes no room for more is given up after the time that any client has to take the next bytes.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, DATE, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use rewarm_http::streams::{self, BUFFER};

use crate::connection::Asker;
use crate::service::Service;

/// Bytes that a client may send before they are read: of one body, and of all of a connection.
const WINDOW: u32 = 1 << 20;

/// Streams at once on a connection.
const STREAMS: u32 = 200;

/// More interim responses than this to one request, or more bytes of them, are not passed on.
const INTERIMS: (usize, usize) = (16, BUFFER);

/// Takes the interim responses to one request. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Interims(UnboundedSender<(StatusCode, HeaderMap)>);

impl Interims {
    /// The final response must come later.
    pub(crate) fn tell(&self, status: StatusCode, headers: HeaderMap) {
        // When nobody listens, the final response was there, or the client is gone.
        let _ = self.0.send((status, headers));
    }
}

/// The body of a request.
struct Content {
    stream: RecvStream,
    /// Announced bytes that have not come.
    left: Option<u64>,
    is_read: bool,
    /// Told to go on when the body is first wanted (RFC 9110 section 10.1.1).
    waiting: Option<Interims>,
}

/// Answers all requests of a connection, as long as its client or `stopped` wants.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Arc<Service>,
    stream: S,
    asker: Asker,
    mut stopped: watch::Receiver<bool>,
) {
    let fields = u32::try_from(service.limits().head_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(fields)
        .max_send_buffer_size(BUFFER);
    // Errors of a connection are the client's, who has been told or is gone.
    let Ok(connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut connection: Connection<S, Bytes> = connection;
    let mut exchanges = JoinSet::new();
    let mut is_stopping = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                exchanges.spawn(exchange(Arc::clone(service), asker.clone(), request, respond));
            }
            Some(_) = exchanges.join_next() => {}
            _ = stopped.wait_for(|stopped| *stopped), if !is_stopping => {
                is_stopping = true;
                connection.graceful_shutdown();
            }
        }
    }
}

/// One request and its response. Dropping what is sent with, before its end, resets the stream.
async fn exchange(
    service: Arc<Service>,
    asker: Asker,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (told, mut interims) = unbounded_channel();
    let asker = Asker { interims: Some(Interims(told)), ..asker };
    let method = request.method().clone();
    let request = read(request, &asker);
    let mut left = INTERIMS;
    let response = {
        let mut answer = pin!(Arc::clone(&service).answer(request, asker));
        loop {
            tokio::select! {
                biased;
                _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return,
                Some(interim) = interims.recv() => pass_on(&mut respond, interim, &mut left),
                answer = &mut answer => break match answer { Ok(response) => response },
            }
        }
    };
    drain(&mut interims, |interim| pass_on(&mut respond, interim, &mut left));
    let (mut head, body) = response.into_parts();
    streams::strip(&mut head.headers);
    let date = HeaderValue::try_from(httpdate::fmt_http_date(service.now()));
    head.headers.entry(DATE).or_insert(date.expect("a date is text"));
    let length = body.size_hint().exact().filter(|_| !body.is_end_stream());
    if let Some(length) = length {
        head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    let is_bare = method == Method::HEAD || body.is_end_stream();
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), is_bare) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    if !is_bare {
        let limit = service.limits().write_timeout;
        // Whoever resets a stream knows.
        let _ = streams::send(body, stream, limit).await;
    }
}

/// A request as the service takes it.
fn read(request: Request<RecvStream>, asker: &Asker) -> Request<Content> {
    let length = request.headers().get(CONTENT_LENGTH);
    let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let expected = request.headers().get(EXPECT).map(HeaderValue::as_bytes);
    let waits = expected.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let waiting = asker.interims.clone().filter(|_| waits);
    request.map(|stream| Content { stream, left, is_read: false, waiting })
}

/// All that waits in a channel.
fn drain<T>(from: &mut UnboundedReceiver<T>, mut take: impl FnMut(T)) {
    while let Ok(item) = from.try_recv() {
        take(item);
    }
}

/// Sends an interim response, as long as there are few.
fn pass_on(
    respond: &mut SendResponse<Bytes>,
    (status, mut headers): (StatusCode, HeaderMap),
    (count, bytes): &mut (usize, usize),
) {
    streams::strip(&mut headers);
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let (Some(fewer), Some(less)) = (count.checked_sub(1), bytes.checked_sub(size)) else { return };
    (*count, *bytes) = (fewer, less);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // It is a courtesy; of a stream that is over the caller hears elsewhere.
    let _ = respond.send_informational(response);
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(interims) = this.waiting.take() {
            interims.tell(StatusCode::CONTINUE, HeaderMap::new());
        }
        if !this.is_read {
            if let Some(bytes) = ready!(this.stream.poll_data(context)) {
                let bytes = bytes.map_err(io::Error::other)?;
                let count = bytes.len();
                this.left = this.left.map(|left| left.saturating_sub(count as u64));
                // The client may send as much again.
                let released = this.stream.flow_control().release_capacity(count);
                released.map_err(io::Error::other)?;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            this.is_read = true;
        }
        let trailers = ready!(this.stream.poll_trailers(context)).map_err(io::Error::other)?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
