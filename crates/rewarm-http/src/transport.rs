//! Requests on the wire: retries, time-outs, and errors by kind.
//!
//! Neither caching nor redirects are known here. What is no sound HTTP, or is refused by `framing`,
//! is a broken connection, and that connection is not used again.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Extensions, HeaderMap, Method, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{self, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::{ClientConfig, Clock};
use crate::connect::{Answered, ConnectError, Connector};
use crate::error::{Cause, ErrorKind, FetchError};
use crate::framing::{self, Coding, HEAD_FIELDS, HEAD_SIZE};
use crate::policy::date::parse_date;
use crate::request::{Event, Events, Interim, Request};
use crate::upload::{Activity, WireBody};
use crate::url::Url;

/// A pause that a server asks for beyond this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// How many of them for one host.
const IDLE_CONNECTIONS: usize = 16;

/// Bytes that are read from a connection at once, if it brings so many.
const READ_BUFFER: usize = 256 * 1024;

/// Interim answers to one request that are told to the caller, and count as a sign of life. An origin
/// that sends more of them is waited for no longer than a silent one.
const INTERIM_ANSWERS: u32 = 64;

/// Bytes of one HTTP/2 body that may be under way: what a distance of 50 ms needs for 80 MB/s.
const STREAM_WINDOW: u32 = 4 << 20;

/// Bytes of all bodies of an HTTP/2 connection that may be under way; bounds the memory for them.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What goes out: a request, with all fields to be sent.
#[derive(Clone)]
pub(crate) struct Outgoing<'a> {
    pub(crate) request: &'a Request,
    pub(crate) headers: HeaderMap,
}

/// What came back: the head, and the body as it arrives.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) request_time: SystemTime,
    pub(crate) response_time: SystemTime,
    pub(crate) body: NetBody,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct NetBody {
    body: Incoming,
    is_delimited: bool,
    length: Option<u64>,
    trailers: Option<HeaderMap>,
    patience: Duration,
}

/// Requests sent for one fetch, and those that may still be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts {
    pub(crate) made: u32,
    left: u32,
    /// Whether a status such as 503 is worth another try, because nobody else would make it.
    pub(crate) for_statuses: bool,
}

impl Attempts {
    pub(crate) fn new(retries: u32, for_statuses: bool) -> Self {
        Self { made: 0, left: retries, for_statuses }
    }

    /// Progress was made: what failed before does not count any more.
    pub(crate) fn refill(&mut self, retries: u32) {
        self.left = retries;
    }
}

type HyperClient = legacy::Client<Connector, WireBody>;

/// The connections, made when they are first needed.
#[derive(Clone)]
struct Wire {
    connector: Connector,
    /// HTTP/1.1, and HTTP/2 where TLS negotiates it.
    ordinary: HyperClient,
    /// HTTP/2 only.
    prior: HyperClient,
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Transport {
    config: ClientConfig,
    clock: Clock,
    wire: Mutex<Option<Wire>>,
}

impl NetBody {
    fn new(
        response: http::Response<Incoming>,
        (method, coding): (&Method, Coding),
        patience: Duration,
    ) -> Self {
        let is_bare = framing::has_no_body(response.status(), method);
        let is_framed = response.version() > Version::HTTP_11 || coding == Coding::Chunked;
        let body = response.into_body();
        let length = if is_bare { Some(0) } else { body.size_hint().exact() };
        let is_delimited = is_framed || length.is_some();
        Self { body, is_delimited, length, trailers: None, patience }
    }

    /// The next bytes; `None` at an end that agrees with the framing.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let next = tokio::time::timeout(self.patience, self.body.frame()).await;
            let frame = match next.map_err(|_| Failure::silence(self.patience))? {
                None => return Ok(None),
                Some(frame) => frame.map_err(Failure::broken)?,
            };
            match frame.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }

    /// What came after the bytes; once.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Whether a connection that breaks can be told from the end of the body (RFC 9112 section 8).
    pub(crate) fn is_delimited(&self) -> bool {
        self.is_delimited
    }

    /// Announced bytes.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A failed try, not yet tied to a URL.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) source: Option<Cause>,
}

impl Failure {
    fn of(error: legacy::Error) -> Self {
        match std::error::Error::source(&error).and_then(|cause| cause.downcast_ref()) {
            Some(ConnectError { kind: kind @ ErrorKind::Config(_), .. }) => {
                Self { kind: kind.clone(), source: None }
            }
            Some(error) => Self { kind: error.kind.clone(), source: Some(error.clone().into()) },
            None => Self::broken(error),
        }
    }

    fn broken(cause: impl Into<Cause>) -> Self {
        Self { kind: ErrorKind::Broken, source: Some(cause.into()) }
    }

    fn silence(patience: Duration) -> Self {
        let cause = format!("nothing came for {patience:?}");
        Self { kind: ErrorKind::Timeout, source: Some(cause.into()) }
    }

    /// Whether another try may end better.
    fn is_transient(&self) -> bool {
        !matches!(self.kind, ErrorKind::Tls | ErrorKind::Config(_))
    }

    pub(crate) fn at(self, url: &Url, attempts: u32) -> FetchError {
        FetchError { url: url.clone(), attempts, kind: self.kind, source: self.source }
    }
}

impl Transport {
    pub(crate) fn new(config: ClientConfig, clock: Clock) -> Self {
        Self { config, clock, wire: Mutex::default() }
    }

    /// Sends a request, again and again while that is worth it. A status that is worth retrying is
    /// an answer all the same once there are no tries left.
    pub(crate) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        attempts: &mut Attempts,
        events: Events<'_>,
    ) -> Result<Answer, FetchError> {
        let Request { url, method, body, .. } = outgoing.request;
        let wire = self.wire().map_err(|e| FetchError::new(url, 0, ErrorKind::Config(e)))?;
        // RFC 9110 section 9.2.2: only idempotent requests are sent again unasked.
        let repeatable = method.is_idempotent() && !body.is_stream();
        loop {
            attempts.made += 1;
            let result = self.send_once(&wire, &outgoing).await;
            let (asked, reason) = match &result {
                Ok(answer) if attempts.for_statuses && is_worth_retrying(answer.status) => {
                    let asked = retry_after(&answer.headers, self.clock.now());
                    (asked, format!("the server answered {}", answer.status))
                }
                Err(failure) if failure.is_transient() => (None, failure.kind.to_string()),
                _ => (Some(Duration::MAX), String::new()),
            };
            let over = !repeatable || attempts.left == 0;
            if over || asked.is_some_and(|pause| pause > LONGEST_PAUSE) {
                return result.map_err(|failure| failure.at(url, attempts.made));
            }
            self.pause(url, attempts, asked.unwrap_or_default(), (reason, events)).await;
        }
    }

    /// Spends one try and waits before the next, at least as long as `asked`.
    pub(crate) async fn pause(
        &self,
        url: &Url,
        attempts: &mut Attempts,
        asked: Duration,
        (reason, events): (String, Events<'_>),
    ) -> bool {
        if attempts.left == 0 {
            return false;
        }
        attempts.left -= 1;
        let nth = self.config.retries.saturating_sub(attempts.left).saturating_sub(1);
        let delay = asked.max(jittered(self.config.retry_delay * 2_u32.saturating_pow(nth)));
        events(Event::Retrying { url, attempt: attempts.made, delay, reason });
        tokio::time::sleep(delay).await;
        true
    }

    /// Sends a request; a second time, if all that happened is that a connection which had been
    /// kept open turned out to be closed (RFC 9112 section 9.3.1).
    async fn send_once(&self, wire: &Wire, outgoing: &Outgoing<'_>) -> Result<Answer, Failure> {
        let Request { method, body, .. } = outgoing.request;
        match self.exchange(wire, outgoing).await {
            Err((_, true)) if method.is_idempotent() && !body.is_stream() => {
                self.exchange(wire, outgoing).await.map_err(|(failure, _)| failure)
            }
            result => result.map_err(|(failure, _)| failure),
        }
    }

    /// One request, one answer. A failure says whether it is that of a stale connection.
    async fn exchange(
        &self,
        wire: &Wire,
        outgoing: &Outgoing<'_>,
    ) -> Result<Answer, (Failure, bool)> {
        let activity = Activity::default();
        let fail = |failure| (failure, false);
        let mut request = prepare(outgoing, &activity).map_err(fail)?;
        if let Some(interim) = outgoing.request.interim.clone() {
            pass_on(&mut request, interim, activity.clone());
        }
        let connection = capture_connection(&mut request);
        let request_time = self.clock.now();
        let sent = wire.send(request, self.config.http2_prior_knowledge);
        let response = self.head(sent, &connection, &activity).await?;
        let response_time = self.clock.now();
        let answered = answered(&connection);
        answered.iter().for_each(Answered::note);
        let (status, headers) = (response.status(), response.headers().clone());
        let method = &outgoing.request.method;
        let coding = framing::check(status, &headers, method).map_err(|reason| {
            connection.connection_metadata().iter().for_each(|connected| connected.poison());
            fail(Failure::broken(reason))
        })?;
        let body = NetBody::new(response, (method, coding), self.config.read_timeout);
        Ok(Answer { status, headers, request_time, response_time, body })
    }

    /// Waits for the head of the answer, as long as the request moves; a connection that is being
    /// made has a time-out of its own.
    async fn head(
        &self,
        mut response: ResponseFuture,
        connection: &CaptureConnection,
        activity: &Activity,
    ) -> Result<http::Response<Incoming>, (Failure, bool)> {
        let patience = self.config.read_timeout;
        let state = || (activity.count(), connection.connection_metadata().is_some());
        loop {
            let before = state();
            match tokio::time::timeout(patience, &mut response).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    let was_used = answered(connection).is_some_and(|it| it.is_noted());
                    let is_stale = was_used && is_closed(&error);
                    return Err((Failure::of(error), is_stale));
                }
                Err(_) if before != state() || !before.1 => {}
                Err(_) => return Err((Failure::silence(patience), false)),
            }
        }
    }

    fn wire(&self) -> Result<Wire, String> {
        let mut slot = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wire) = &*slot {
            return Ok(wire.clone());
        }
        Ok(slot.insert(Wire::new(&self.config)?).clone())
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    fn new(config: &ClientConfig) -> Result<Self, String> {
        let connector = Connector::new(config)?;
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(READ_BUFFER)
            .http1_max_headers(HEAD_FIELDS)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(HEAD_SIZE as u32)
            .http2_keep_alive_interval(config.read_timeout)
            .http2_keep_alive_timeout(config.read_timeout);
        let ordinary = builder.build(connector.clone());
        let prior = builder.http2_only(true).build(connector.clone());
        Ok(Self { connector, ordinary, prior })
    }

    fn send(&self, mut request: http::Request<WireBody>, prior_knowledge: bool) -> ResponseFuture {
        let is_plain = request.uri().scheme() == Some(&http::uri::Scheme::HTTP);
        match self.connector.forward_proxy(request.uri()) {
            Some(Some(credentials)) => {
                request.headers_mut().insert(PROXY_AUTHORIZATION, credentials);
                self.ordinary.request(request)
            }
            None if is_plain && prior_knowledge => self.prior.request(request),
            _ => self.ordinary.request(request),
        }
    }
}

/// A request as hyper takes it. Framing is made from the body, whatever the caller's fields say.
fn prepare(
    outgoing: &Outgoing<'_>,
    activity: &Activity,
) -> Result<http::Request<WireBody>, Failure> {
    let Request { url, method, body, .. } = outgoing.request;
    let uri: Uri = url.as_wire().parse().map_err(|error| {
        let text = format!("this URL cannot be sent: {error}");
        Failure { kind: ErrorKind::Config(text), source: None }
    })?;
    let gone = "the body of the request was sent before, and it comes only once";
    let body = body.take(activity).ok_or_else(|| Failure::broken(gone))?;
    let mut request = http::Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = outgoing.headers.clone();
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, TE, UPGRADE, PROXY_AUTHORIZATION] {
        request.headers_mut().remove(name);
    }
    Ok(request)
}

/// Has interim answers told to the caller.
fn pass_on(request: &mut http::Request<WireBody>, interim: Interim, activity: Activity) {
    let left = AtomicU32::new(INTERIM_ANSWERS);
    hyper::ext::on_informational(request, move |response| {
        let spend = |left: u32| left.checked_sub(1);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() {
            activity.note();
            interim(response.status(), response.headers());
        }
    });
}

/// The mark of the connection that a request went out on.
fn answered(connection: &CaptureConnection) -> Option<Answered> {
    let mut extras = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.remove()
}

/// Whether the connection was closed before an answer came.
fn is_closed(error: &legacy::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    let mut chain = std::iter::successors(Some(first), |error| error.source());
    chain.any(|cause| {
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        }
        use std::io::ErrorKind as E;
        let kind = cause.downcast_ref().map(std::io::Error::kind);
        matches!(kind, Some(E::ConnectionReset | E::BrokenPipe | E::ConnectionAborted))
    })
}

fn is_worth_retrying(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// RFC 9110 section 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().map(Duration::from_secs).ok();
    let until = || parse_date(text.as_bytes())?.duration_since(now).ok();
    seconds.or_else(until)
}

/// Between half and one and a half of `delay`, so that many clients do not come back at once.
fn jittered(delay: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish() % 1024;
    delay.mul_f64(0.5 + random as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_10_2_3_retry_after_is_seconds_or_a_date() {
        let now = parse_date(b"Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, http::HeaderValue::from_static(text));
            retry_after(&headers, now)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:27 GMT"), None);
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn jitter_stays_around_the_delay() {
        for _ in 0..100 {
            let delay = jittered(Duration::from_millis(100)).as_millis();
            assert!((50..150).contains(&delay), "{delay}");
        }
    }
}
