//! Answers of the proxy itself: a status, and a line of text for people.

use std::error::Error;

use http::header::{ALLOW, CONTENT_TYPE, MAX_FORWARDS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use rewarm_http::{ErrorKind, FetchError};

/// The methods that are passed on, besides those that nobody here knows.
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An answer of the proxy itself.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, fields: Vec::new(), text: text.into() }
    }

    /// What the origin's failure looks like from here (RFC 9110 sections 15.6.3 and 15.6.5). URLs
    /// in its text hide their secrets.
    pub(crate) fn of(error: &FetchError) -> Self {
        let status = match error.kind {
            ErrorKind::Timeout | ErrorKind::Offline => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Store | ErrorKind::Config(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        };
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        Self::new(status, text)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// The answer, its text made a body by `body`.
    pub(crate) fn response<B>(self, body: impl FnOnce(String) -> B) -> Response<B> {
        let is_empty = self.text.is_empty();
        let text = if is_empty { self.text } else { format!("rewarm: {}\n", self.text) };
        let mut response = Response::new(body(text));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.fields);
        if !is_empty {
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
        }
        response
    }
}

/// Answers what is for the proxy itself: tunnels there are none, and a TRACE would show a client
/// what was added for the origin alone (RFC 9110 sections 9.3.6 to 9.3.8). Counts `Max-Forwards`
/// down (section 7.6.2).
pub(crate) fn refuse_method(head: &mut Parts) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "no tunnels through this proxy"));
    }
    if head.method == Method::TRACE {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "requests are not traced");
        return Err(refusal.header(ALLOW, ALLOWED));
    }
    if head.method != Method::OPTIONS {
        return Ok(());
    }
    let here = || Err(Refusal::new(StatusCode::OK, "").header(ALLOW, ALLOWED));
    if head.uri.path() == "*" {
        return here();
    }
    let left = head.headers.get(MAX_FORWARDS).and_then(|value| value.to_str().ok()?.parse().ok());
    match left {
        Some(0_u32) => here(),
        Some(left) => {
            head.headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(())
        }
        None => Ok(()),
    }
}
