//! What can go wrong with a fetch.
//!
//! One error type for all calls: the URL, how often it was tried, a kind that the caller can match
//! on to give advice, and the cause.

use http::StatusCode;
use rewarm_store::Digest;

use crate::url::Url;

/// A fetch that failed. Nothing wrong is left in the store.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch `{url}`: {kind}{}", tries(*attempts))]
pub struct FetchError {
    /// What was asked for, after redirects.
    pub url: Url,
    /// Requests sent for it.
    pub attempts: u32,
    /// What happened.
    pub kind: ErrorKind,
    /// The cause, where there is one below.
    pub source: Option<Cause>,
}

/// An error of another library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What happened, coarsely enough to be matched on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The host name has no address.
    #[error("the host name cannot be resolved")]
    Dns,
    /// Nothing listens, or the network is down.
    #[error("cannot connect")]
    Connect,
    /// No secure connection: certificate or protocol.
    #[error("cannot establish a secure connection")]
    Tls,
    /// No answer, or no more bytes, in time.
    #[error("timed out")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke")]
    Broken,
    /// The origin answered with an error.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The body is not the one that was expected.
    #[error("expected sha256:{expected}, got sha256:{actual}")]
    Digest {
        /// What the caller asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The body was shorter or longer than announced.
    #[error("expected {expected} bytes, got {actual}")]
    Length {
        /// Announced bytes.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// A redirect that is not followed.
    #[error("{0}")]
    Redirect(String),
    /// The network may not be used, and the cache has no answer.
    #[error("not in the cache, and the network may not be used")]
    Offline,
    /// The body could be stored neither in the cache nor beside it.
    #[error("cannot store the body")]
    Store,
    /// A setting cannot be used.
    #[error("{0}")]
    Config(String),
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() }
}

impl FetchError {
    /// An error without a cause below.
    pub(crate) fn new(url: &Url, attempts: u32, kind: ErrorKind) -> Self {
        Self { url: url.clone(), attempts, kind, source: None }
    }

    /// An error with its cause.
    pub(crate) fn caused(
        url: &Url,
        attempts: u32,
        kind: ErrorKind,
        cause: impl Into<Cause>,
    ) -> Self {
        Self { url: url.clone(), attempts, kind, source: Some(cause.into()) }
    }
}
