//! Requests on the wire: retries, time-outs, and errors by kind.
//!
//! Neither caching nor redirects are known here. What is no sound HTTP, or is refused by `framing`,
//! is a broken connection, and that connection is not used again.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::config::{ClientConfig, Clock};
use crate::connect::ConnectError;
use crate::error::{Cause, ErrorKind, FetchError};
use crate::policy::date::parse_date;
use crate::pool::{IDLE_CONNECTIONS, Pool};
use crate::request::{Event, Events, Request};
use crate::upload::{Activity, WireBody};
use crate::url::Url;
use crate::wire::{self, Body, Fate, Lost, Received, Told};

/// A pause that a server asks for beyond this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So often a request that finds a kept connection closed before anything was sent gets another one.
const CHANCES: usize = 2 * IDLE_CONNECTIONS;

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
    body: Body,
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

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Transport {
    config: ClientConfig,
    clock: Clock,
    /// Made when it is first needed.
    pool: Mutex<Option<Pool>>,
}

impl NetBody {
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
    fn of(error: ConnectError) -> Self {
        match error.kind {
            ErrorKind::Config(_) => Self { kind: error.kind, source: None },
            _ => Self { kind: error.kind.clone(), source: Some(error.into()) },
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
        Self { config, clock, pool: Mutex::default() }
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
        let pool = self.pool().map_err(|e| FetchError::new(url, 0, ErrorKind::Config(e)))?;
        // RFC 9110 section 9.2.2: only idempotent requests are sent again unasked.
        let repeatable = method.is_idempotent() && !body.is_stream();
        loop {
            attempts.made += 1;
            let result = self.send_once(&pool, &outgoing).await;
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

    /// Sends a request; a second time, if all that happened is that a connection which had been kept
    /// open turned out to be closed (RFC 9112 section 9.3.1), or that a server which has not looked at
    /// the request says so (RFC 9113 section 8.7).
    async fn send_once(&self, pool: &Pool, outgoing: &Outgoing<'_>) -> Result<Answer, Failure> {
        let Request { method, body, .. } = outgoing.request;
        match self.exchange(pool, outgoing).await {
            Err((_, again)) if again.allows(method) && !body.is_stream() => {
                self.exchange(pool, outgoing).await.map_err(|(failure, _)| failure)
            }
            result => result.map_err(|(failure, _)| failure),
        }
    }

    /// One request, one answer. A request that never left goes out on another connection. A failure
    /// says whether it may be sent again.
    async fn exchange(
        &self,
        pool: &Pool,
        outgoing: &Outgoing<'_>,
    ) -> Result<Answer, (Failure, Again)> {
        let activity = Activity::default();
        let fail = |failure| (failure, Again::Never);
        let mut request = prepare(outgoing, &activity).map_err(fail)?;
        if let Some(Some(credentials)) = pool.forward_proxy(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials);
        }
        let told = Told::new(outgoing.request.interim.clone(), activity.clone());
        let patience = self.config.read_timeout;
        let request_time = self.clock.now();
        let mut chances = CHANCES;
        loop {
            // The time-out for this is not ours.
            let connection = pool.connection(request.uri()).await;
            let connection = connection.map_err(|error| fail(Failure::of(error)))?;
            let (is_kept, watched) = (connection.is_kept(), connection.watch());
            let asked = wire::ask(pool, connection, request, &told, patience);
            let received = patiently(asked, &activity, patience).await.map_err(|failure| {
                watched.give_up();
                fail(failure)
            })?;
            let (cause, again) = match received {
                Ok(received) => return Ok(self.answer(received, request_time)),
                Err(Lost { fate: Fate::Unsent(unsent), .. }) if is_kept && chances > 0 => {
                    (request, chances) = (*unsent, chances - 1);
                    continue;
                }
                Err(Lost { cause, fate: Fate::Closed }) if is_kept => (cause, Again::Idempotent),
                Err(Lost { cause, fate: Fate::Refused }) => (cause, Again::Any),
                Err(Lost { cause, .. }) => (cause, Again::Never),
            };
            return Err((Failure::broken(cause), again));
        }
    }

    fn answer(&self, received: Received, request_time: SystemTime) -> Answer {
        let Received { status, headers, body, length, is_delimited } = received;
        let (trailers, patience) = (None, self.config.read_timeout);
        let body = NetBody { body, is_delimited, length, trailers, patience };
        Answer { status, headers, request_time, response_time: self.clock.now(), body }
    }

    fn pool(&self) -> Result<Pool, String> {
        let mut slot = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*slot {
            return Ok(pool.clone());
        }
        Ok(slot.insert(Pool::new(&self.config)?).clone())
    }
}

/// Which requests may be sent again after a failure, as if nothing had happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    Idempotent,
    Any,
}

impl Again {
    fn allows(self, method: &Method) -> bool {
        self == Self::Any || self == Self::Idempotent && method.is_idempotent()
    }
}

/// Waits for something as long as the request moves.
async fn patiently<T>(
    work: impl Future<Output = T>,
    activity: &Activity,
    patience: Duration,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    loop {
        let before = activity.count();
        match tokio::time::timeout(patience, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_) if activity.count() != before => {}
            Err(_) => return Err(Failure::silence(patience)),
        }
    }
}

/// A request for the wire. Framing is made from the body, whatever the caller's fields say.
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
