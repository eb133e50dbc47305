//! Requests on the wire: one client made when it is first needed, retries, and errors by kind.
//!
//! Neither caching nor redirects are known here. Making the client reads the system's certificates
//! and takes some 60 ms, so a hit in the cache never comes here.

use std::error::Error;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;

use crate::config::{ClientConfig, Clock, Proxies};
use crate::error::{ErrorKind, FetchError};
use crate::request::{Event, Events, Request};
use crate::url::Url;

/// A pause that a server asks for beyond this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
    body: reqwest::Body,
    delimited: bool,
    length: Option<u64>,
    trailers: Option<HeaderMap>,
}

/// Requests sent for one fetch, and those that may still be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts {
    pub(crate) made: u32,
    left: u32,
}

impl Attempts {
    pub(crate) fn new(retries: u32) -> Self {
        Self { made: 0, left: retries }
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
    client: Mutex<Option<reqwest::Client>>,
}

impl NetBody {
    fn new(response: reqwest::Response) -> Self {
        let field = |name| response.headers().get(name);
        let chunked = field(http::header::TRANSFER_ENCODING).is_some();
        let length = field(http::header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let delimited = response.version() > http::Version::HTTP_11 || chunked || length.is_some();
        let body = http::Response::<reqwest::Body>::from(response).into_body();
        Self { body, delimited, length, trailers: None }
    }

    /// The next bytes; `None` at an end that agrees with the framing.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            match frame.map_err(|error| Failure::of(error.without_url()))?.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        Ok(None)
    }

    /// What came after the bytes; once.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Whether a connection that breaks can be told from the end of the body (RFC 9112 section 8).
    pub(crate) fn is_delimited(&self) -> bool {
        self.delimited
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
    pub(crate) source: reqwest::Error,
}

impl Failure {
    fn of(error: reqwest::Error) -> Self {
        let mut chain = std::iter::successors(error.source(), |error| (*error).source());
        let is_tls = chain.any(|cause| cause.downcast_ref().is_some_and(is_invalid_data));
        let kind = if error.is_timeout() {
            ErrorKind::Timeout
        } else if error.is_dns() {
            ErrorKind::Dns
        } else if error.is_connect() && is_tls {
            ErrorKind::Tls
        } else if error.is_connect() {
            ErrorKind::Connect
        } else {
            ErrorKind::Broken
        };
        Self { kind, source: error }
    }

    /// Whether another try may end better.
    fn is_transient(&self) -> bool {
        self.kind != ErrorKind::Tls && !self.source.is_builder()
    }

    pub(crate) fn at(self, url: &Url, attempts: u32) -> FetchError {
        FetchError::caused(url, attempts, self.kind, self.source)
    }
}

/// What the TLS layer reports, however often it was wrapped: `source` skips an error that is wrapped
/// directly.
fn is_invalid_data(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    error.kind() == io::ErrorKind::InvalidData || inner.is_some_and(is_invalid_data)
}

impl Transport {
    pub(crate) fn new(config: ClientConfig, clock: Clock) -> Self {
        Self { config, clock, client: Mutex::new(None) }
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
        let client = self.client(url)?;
        // RFC 9110 section 9.2.2: only idempotent requests are sent again unasked.
        let repeatable = method.is_idempotent() && !body.is_stream();
        loop {
            attempts.made += 1;
            let result = self.send_once(&client, &outgoing).await;
            let (asked, reason) = match &result {
                Ok(answer) if is_worth_retrying(answer.status) => {
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

    async fn send_once(
        &self,
        client: &reqwest::Client,
        outgoing: &Outgoing<'_>,
    ) -> Result<Answer, Failure> {
        let fail = |error: reqwest::Error| Failure::of(error.without_url());
        let Request { url, method, body, .. } = outgoing.request;
        let mut request = client.request(method.clone(), url.as_wire());
        request = request.headers(outgoing.headers.clone());
        if let (false, Some(body)) = (body.is_empty(), body.take()) {
            request = request.body(reqwest::Body::wrap(body));
        }
        let request_time = self.clock.now();
        let response = request.send().await.map_err(fail)?;
        let response_time = self.clock.now();
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, request_time, response_time, body: NetBody::new(response) })
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client, FetchError> {
        let mut slot = self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = build(&self.config)
            .map_err(|error| FetchError::new(url, 0, ErrorKind::Config(error)))?;
        *slot = Some(client.clone());
        Ok(client)
    }
}

fn build(config: &ClientConfig) -> Result<reqwest::Client, String> {
    let text = |error: reqwest::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("the HTTP client cannot be set up: {}{cause}", error.without_url())
    };
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        // Bytes are stored as they come, whatever features other crates switch on.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(config.connect_timeout)
        .read_timeout(config.read_timeout);
    let certificates = certificates(config)?;
    if !certificates.is_empty() {
        builder = builder.tls_certs_only(certificates);
    }
    match &config.proxies {
        Proxies::Environment => {}
        Proxies::None => builder = builder.no_proxy(),
        Proxies::Given { http, https, all, no_proxy } => {
            builder = builder.no_proxy();
            let except = no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            let given = [
                http.as_ref().map(reqwest::Proxy::http::<&String>),
                https.as_ref().map(reqwest::Proxy::https::<&String>),
                all.as_ref().map(reqwest::Proxy::all::<&String>),
            ];
            for proxy in given.into_iter().flatten() {
                // The URL of a proxy may hold a password: the message does not repeat it.
                let proxy = proxy.map_err(|_| "the URL of a proxy cannot be read".to_owned())?;
                builder = builder.proxy(proxy.no_proxy(except.clone()));
            }
        }
    }
    builder.build().map_err(text)
}

/// The certificates to trust instead of the system's.
fn certificates(config: &ClientConfig) -> Result<Vec<reqwest::Certificate>, String> {
    let mut found = Vec::new();
    if let Some(path) = &config.cert_file {
        let bytes = std::fs::read(path)
            .map_err(|error| format!("certificates in `{}`: {error}", path.display()))?;
        let parsed = reqwest::Certificate::from_pem_bundle(&bytes)
            .map_err(|_| format!("no PEM certificates in `{}`", path.display()))?;
        found.extend(parsed);
    }
    if let Some(dir) = &config.cert_dir {
        let entries = std::fs::read_dir(dir)
            .map_err(|error| format!("certificates in `{}`: {error}", dir.display()))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            // Such directories hold other files, too.
            let parsed =
                std::fs::read(path).ok().map(|b| reqwest::Certificate::from_pem_bundle(&b));
            found.extend(parsed.and_then(Result::ok).into_iter().flatten());
        }
    }
    Ok(found)
}

fn is_worth_retrying(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// RFC 9110 section 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().map(Duration::from_secs).ok();
    let until = || httpdate::parse_http_date(text).ok()?.duration_since(now).ok();
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
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
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
