//! What a caller asks for, what it gets, and what it is told meanwhile.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use rewarm_store::{Blob, Digest};

use crate::upload::RequestBody;
use crate::url::Url;

/// Called with status and fields of each interim answer (1xx but 101) of the origin, in order,
/// before the final one is there (RFC 9110 section 15.2). Must be quick.
pub type Interim = Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

/// A request. Only what stands here is sent, plus `User-Agent`, `Accept-Encoding` and credentials
/// from the configuration.
#[derive(Clone)]
pub struct Request {
    /// What to fetch.
    pub url: Url,
    /// GET unless said otherwise.
    pub method: Method,
    /// Fields to send.
    pub headers: HeaderMap,
    /// Body to send. A request with one is passed on: no cached response answers it.
    pub body: RequestBody,
    /// Is told of interim answers.
    pub interim: Option<Interim>,
    /// The body that must come. A blob of this digest is the answer, wherever it came from.
    pub expected: Option<Digest>,
    /// Whether redirects are followed.
    pub follow: bool,
}

impl fmt::Debug for Request {
    /// Fields are named without their values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// GET, with redirects followed.
    pub fn get(url: Url) -> Self {
        Self {
            url,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: RequestBody::default(),
            interim: None,
            expected: None,
            follow: true,
        }
    }

    /// Requires the body to have this digest.
    #[must_use]
    pub fn expecting(mut self, digest: Digest) -> Self {
        self.expected = Some(digest);
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

/// How much of a fetch was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reuse {
    /// From the store, without asking anybody.
    Fresh,
    /// From the store although stale: allowed, or the origin could not be asked.
    Stale,
    /// From the store, after the origin said that it is still right.
    Revalidated,
    /// Downloaded whole.
    Downloaded,
    /// Downloaded from this byte on; what stood before was there already.
    Resumed {
        /// Bytes that were not downloaded again.
        from: u64,
    },
    /// Downloaded by somebody else at the same time.
    Followed,
    /// Downloaded, but not kept, for this reason.
    NotStored(String),
}

/// Where a fetched body is.
#[derive(Debug)]
pub enum Content {
    /// In the store.
    Stored(Blob),
    /// In a file without a name, because it could or must not be stored. Positioned at its start.
    Spilled {
        /// The bytes.
        file: File,
        /// What they are.
        blob: Blob,
    },
}

impl Content {
    /// Digest and size, wherever the bytes are.
    pub fn blob(&self) -> Blob {
        match self {
            Self::Stored(blob) | Self::Spilled { blob, .. } => *blob,
        }
    }
}

/// A fetch that succeeded.
#[derive(Debug)]
pub struct Fetched {
    /// The final URL.
    pub url: Url,
    /// A success.
    pub status: StatusCode,
    /// Fields of the response.
    pub headers: HeaderMap,
    /// The verified body.
    pub content: Content,
    /// What was saved.
    pub reuse: Reuse,
    /// Why it was a hit or a miss, for people.
    pub explanation: String,
}

/// What a caller may want to show while it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes are on their way, from this process or another.
    Progress {
        /// Of what.
        url: &'a Url,
        /// Bytes that are here.
        position: u64,
        /// Bytes in all, if the origin said.
        total: Option<u64>,
    },
    /// Another process or task downloads the same; its bytes are used.
    Following {
        /// What.
        url: &'a Url,
    },
    /// A try failed, the next comes after a pause.
    Retrying {
        /// What.
        url: &'a Url,
        /// Requests sent so far.
        attempt: u32,
        /// Until the next.
        delay: Duration,
        /// What went wrong.
        reason: String,
    },
}

/// Takes events; must be quick.
pub type Events<'e> = &'e (dyn Fn(Event<'_>) + Sync);

/// For callers that show nothing.
pub const NO_EVENTS: Events<'static> = &|_| {};
