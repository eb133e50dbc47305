//! One request on one connection: what goes out, and what comes back.
//!
//! HTTP/1.1 is left to hyper. HTTP/2 is spoken through the layer below it, because hyper shows no
//! interim answers there. A failure says what is known of the request's fate, and leaves to others
//! what to make of that; waiting has no limit here, but for a body that nobody takes.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use crate::error::Cause;
use crate::framing::{self, Coding};
use crate::pool::{Connection, Http1, Http2, Pool, Use};
use crate::request::Interim;
use crate::streams;
use crate::upload::{Activity, WireBody};

/// Interim answers to one request that are told to the caller, and count as a sign of life. An origin
/// that sends more of them is waited for no longer than a silent one.
const INTERIM_ANSWERS: u32 = 64;

/// What came back: the head, and the body as it arrives.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Announced bytes.
    pub(crate) length: Option<u64>,
    /// Whether a connection that breaks can be told from the end of the body (RFC 9112 section 8).
    pub(crate) is_delimited: bool,
}

/// Where the bytes of an answer come from.
#[derive(Debug)]
pub(crate) enum Body {
    Http1(Incoming),
    Http2(Box<Stream>),
}

/// The answer's side of an HTTP/2 stream. Dropping it before its end resets the stream.
#[derive(Debug)]
pub(crate) struct Stream {
    data: RecvStream,
    /// Announced bytes that have not come.
    left: Option<u64>,
    is_over: bool,
    upload: Upload,
    _use: Use,
}

/// The request's side of an HTTP/2 stream.
#[derive(Debug)]
struct Upload {
    task: Option<AbortHandle>,
    /// Whether all of the body was sent.
    is_whole: Arc<AtomicBool>,
}

/// A request that got no answer.
pub(crate) struct Lost {
    pub(crate) cause: Cause,
    pub(crate) fate: Fate,
}

/// What became of a request that got no answer.
pub(crate) enum Fate {
    /// It never left.
    Unsent(Box<Request<WireBody>>),
    /// The server has not looked at it (RFC 9113 section 8.7).
    Refused,
    /// The connection was closed.
    Closed,
    Unknown,
}

/// Who is told of interim answers, and that something moved.
pub(crate) struct Told {
    interim: Option<Interim>,
    activity: Activity,
    left: AtomicU32,
}

impl Told {
    pub(crate) fn new(interim: Option<Interim>, activity: Activity) -> Arc<Self> {
        Arc::new(Self { interim, activity, left: AtomicU32::new(INTERIM_ANSWERS) })
    }

    /// Tells of an interim answer; `false` if there were too many.
    fn tell(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let spend = |left: u32| left.checked_sub(1);
        let is_spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_err();
        if !is_spent {
            self.activity.note();
            if let Some(interim) = &self.interim {
                interim(status, headers);
            }
        }
        !is_spent
    }
}

impl Lost {
    fn new(cause: impl Into<Cause>, fate: Fate) -> Self {
        Self { cause: cause.into(), fate }
    }

    fn of(error: h2::Error) -> Self {
        let is_refused = error.is_reset() && error.is_remote();
        let fate = match error.reason() {
            Some(Reason::REFUSED_STREAM) if is_refused => Fate::Refused,
            // Of a connection that goes away it is not known which requests were looked at: when it
            // is closed at last, those that were end like those that were not.
            _ if error.is_io() || error.is_go_away() && error.is_remote() => Fate::Closed,
            _ => Fate::Unknown,
        };
        Self::new(error, fate)
    }
}

/// Sends a request and waits for the head of its answer. A body that the server does not take is
/// waited with for up to `patience` at a time.
pub(crate) async fn ask(
    pool: &Pool,
    connection: Connection,
    request: Request<WireBody>,
    told: &Arc<Told>,
    patience: Duration,
) -> Result<Received, Lost> {
    match connection {
        Connection::Http1(connection) => ask_http1(pool, connection, request, told).await,
        Connection::Http2(connection) => ask_http2(connection, request, told, patience).await,
    }
}

async fn ask_http1(
    pool: &Pool,
    mut connection: Http1,
    mut request: Request<WireBody>,
    told: &Arc<Told>,
) -> Result<Received, Lost> {
    let target = request.uri().clone();
    let method = request.method().clone();
    let host = host(&target).ok_or_else(|| Lost::new("the URL names no host", Fate::Unknown))?;
    request.headers_mut().insert(HOST, host);
    if !connection.to_proxy {
        let path = target.path_and_query().filter(|path| path.as_str() != "/");
        *request.uri_mut() = path.cloned().map_or_else(Uri::default, Uri::from);
    }
    let ours = Arc::clone(told);
    hyper::ext::on_informational(&mut request, move |response| {
        ours.tell(response.status(), response.headers());
    });
    let response = connection.sender.try_send_request(request).await.map_err(|mut error| {
        let unsent = error.take_message().map(|mut request| {
            *request.uri_mut() = target;
            Fate::Unsent(Box::new(request))
        });
        let error = error.into_error();
        let fate = unsent.unwrap_or(if is_closed(&error) { Fate::Closed } else { Fate::Unknown });
        Lost::new(error, fate)
    })?;
    // A connection that is refused is not taken back.
    let (status, headers) = (response.status(), response.headers().clone());
    let coding = framing::check(status, &headers, &method);
    let coding = coding.map_err(|reason| Lost::new(reason, Fate::Unknown))?;
    release(pool, connection);
    let body = response.into_body();
    let length = match framing::has_no_body(status, &method) {
        true => Some(0),
        false => body.size_hint().exact(),
    };
    let is_delimited = coding == Coding::Chunked || length.is_some();
    Ok(Received { status, headers, body: Body::Http1(body), length, is_delimited })
}

/// Gives a connection back once the answer on it is over.
fn release(pool: &Pool, mut connection: Http1) {
    if connection.sender.is_ready() {
        return pool.release(connection);
    }
    let pool = pool.clone();
    tokio::spawn(async move {
        if connection.sender.ready().await.is_ok() {
            pool.release(connection);
        }
    });
}

async fn ask_http2(
    connection: Http2,
    request: Request<WireBody>,
    told: &Told,
    patience: Duration,
) -> Result<Received, Lost> {
    let under_way = connection.begin();
    let method = request.method().clone();
    let unsent = |error: h2::Error, request| {
        connection.retire();
        Err(Lost::new(error, Fate::Unsent(Box::new(request))))
    };
    let mut sender = match connection.sender.clone().ready().await {
        Ok(sender) => sender,
        Err(error) => return unsent(error, request),
    };
    let (parts, body) = request.into_parts();
    let mut head = Request::from_parts(parts.clone(), ());
    streams::strip(head.headers_mut());
    head.headers_mut().remove(HOST);
    let is_usual = [Method::GET, Method::HEAD, Method::DELETE].contains(&method);
    if let Some(length) = body.size_hint().exact().filter(|&length| length > 0 || !is_usual) {
        head.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    let is_end = body.is_end_stream();
    let (mut response, stream) = match sender.send_request(head, is_end) {
        Ok(sent) => sent,
        Err(error) if error.is_io() || error.is_go_away() => {
            return unsent(error, Request::from_parts(parts, body));
        }
        Err(error) => return Err(Lost::of(error)),
    };
    drop(sender);
    let is_whole = Arc::new(AtomicBool::new(is_end));
    let task = (!is_end).then(|| {
        let is_whole = Arc::clone(&is_whole);
        let sending = async move {
            // How it ends otherwise shows in the answer.
            if let Ok(true) = streams::send(body, stream, patience).await {
                is_whole.store(true, Ordering::SeqCst);
            }
        };
        tokio::spawn(sending).abort_handle()
    });
    let upload = Upload { task, is_whole };
    while let Some(interim) = poll_fn(|context| response.poll_informational(context)).await {
        let interim = interim.map_err(Lost::of)?;
        if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
            let reason = "the server changes to another protocol, which HTTP/2 does not know";
            return Err(Lost::new(reason, Fate::Unknown));
        }
        if !told.tell(interim.status(), interim.headers()) {
            // The others are passed over.
            break;
        }
    }
    let response = response.await.map_err(Lost::of)?;
    connection.note_answer();
    received(response, &method, (upload, under_way)).map_err(|reason| {
        connection.retire();
        Lost::new(reason, Fate::Unknown)
    })
}

/// The answer that came in an HTTP/2 stream, if it is one.
fn received(
    response: Response<RecvStream>,
    method: &Method,
    (upload, under_way): (Upload, Use),
) -> Result<Received, &'static str> {
    let (parts, data) = response.into_parts();
    let (status, headers) = (parts.status, parts.headers);
    framing::check(status, &headers, method)?;
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) {
        return Err("the answer has several lengths");
    }
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let is_bare = framing::has_no_body(status, method) || data.is_end_stream();
    let length = if is_bare { Some(0) } else { length };
    // Once the whole answer is there, a server may put an end to a request that still goes on. That
    // looks like an answer which breaks off, unless its length is known.
    let is_delimited = upload.is_whole() || length.is_some();
    let stream = Stream { data, left: length, is_over: false, upload, _use: under_way };
    let body = Body::Http2(Box::new(stream));
    Ok(Received { status, headers, body, length, is_delimited })
}

/// RFC 9110 section 7.2: without the port that goes without saying.
fn host(target: &Uri) -> Option<HeaderValue> {
    let usual = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = target.host()?;
    let text = match target.port_u16().filter(|&port| port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::try_from(text).ok()
}

/// Whether the connection was closed before an answer came.
fn is_closed(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return true;
    }
    use std::io::ErrorKind as E;
    let first = std::error::Error::source(error);
    let mut chain = std::iter::successors(first, |error| error.source());
    chain.any(|cause| {
        let kind = cause.downcast_ref().map(std::io::Error::kind);
        matches!(kind, Some(E::ConnectionReset | E::BrokenPipe | E::ConnectionAborted))
    })
}

impl Upload {
    fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::SeqCst)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Body {
    /// The next data or trailers; `None` at an end that agrees with the framing.
    pub(crate) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Cause>> {
        match self {
            Self::Http1(body) => body.frame().await.map(|frame| frame.map_err(Into::into)),
            Self::Http2(stream) => stream.frame().await.map(|frame| frame.map_err(Into::into)),
        }
    }
}

impl Stream {
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, h2::Error>> {
        let next = match self.next().await {
            Err(error) if self.is_early_end(&error) => Ok(None),
            next => next,
        };
        if let Ok(None) = next {
            self.is_over = true;
            // The request may go on where the answer is over.
            self.upload.task = None;
        }
        next.transpose()
    }

    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, h2::Error> {
        if self.is_over {
            return Ok(None);
        }
        if let Some(bytes) = self.data.data().await {
            let bytes = bytes?;
            self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
            // The server may send as much again.
            self.data.flow_control().release_capacity(bytes.len())?;
            return Ok(Some(Frame::data(bytes)));
        }
        let trailers = self.data.trailers().await?;
        self.is_over = trailers.is_some();
        Ok(trailers.map(Frame::trailers))
    }

    /// RFC 9113 section 8.1: a server that has answered in full may stop a request that goes on, and
    /// its answer counts.
    fn is_early_end(&self, error: &h2::Error) -> bool {
        let is_peaceful = error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        is_peaceful && self.left.map_or(!self.upload.is_whole(), |left| left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_a_sign_of_life_until_there_are_too_many() {
        let activity = Activity::default();
        let told = Told::new(None, activity.clone());
        let headers = HeaderMap::new();
        for nth in 1..=u64::from(INTERIM_ANSWERS) {
            assert!(told.tell(StatusCode::PROCESSING, &headers));
            assert_eq!(activity.count(), nth);
        }
        assert!(!told.tell(StatusCode::PROCESSING, &headers));
        assert_eq!(activity.count(), u64::from(INTERIM_ANSWERS));
    }

    #[test]
    fn rfc9110_7_2_a_host_is_named_with_its_port_unless_that_goes_without_saying() {
        let of = |text: &'static str| host(&Uri::from_static(text)).expect("a host");
        assert_eq!(of("http://h.org/a"), "h.org");
        assert_eq!(of("http://h.org:80/a"), "h.org");
        assert_eq!(of("https://h.org:443/a"), "h.org");
        assert_eq!(of("http://h.org:443/a"), "h.org:443");
        assert_eq!(of("https://[::1]:8443/a"), "[::1]:8443");
    }
}
