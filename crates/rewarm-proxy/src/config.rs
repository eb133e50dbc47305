//! Settings of a proxy, as plain values, and what it tells of each request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use rewarm_http::{Client, Reuse, Url};

use crate::access::Token;
use crate::forward::Forward;
use crate::packages::Packages;

/// Settings of a [`Proxy`](crate::Proxy).
#[derive(Clone)]
pub struct ProxyConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Answers the requests.
    pub client: Client,
    /// What clients may take of this process.
    pub limits: Limits,
    /// What clients have to know, unless anybody may ask. A forward proxy has its own.
    pub token: Option<Token>,
    /// Is told of every request once it is answered.
    pub watch: Watch,
}

/// What clients may take, and how long they are waited for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more wait until one ends.
    pub connections: usize,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// Fields of the head of a request.
    pub fields: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// For a request to begin on a connection.
    pub idle_timeout: Duration,
    /// For the next bytes of a request's body.
    pub body_timeout: Duration,
    /// For a client to take the next bytes of a response.
    pub write_timeout: Duration,
    /// For what is under way when the proxy is told to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head_bytes: 32 * 1024,
            fields: 128,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        }
    }
}

/// What requests are about.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Everything is at this origin: paths are appended to the URL's.
    Upstream(Url),
    /// Indexes, channels and registries of packages, each under its name.
    Packages(Packages),
    /// Every origin, as the request itself says.
    Forward(Forward),
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Served {
    /// Of the request.
    pub method: Method,
    /// What was asked for, where it was understood.
    pub url: Option<Url>,
    /// Of the response.
    pub status: StatusCode,
    /// What was saved; `None` if neither the cache nor an origin was asked.
    pub reuse: Option<Reuse>,
    /// Bytes of the body that the client took.
    pub bytes: u64,
    /// Whether the client got the whole response.
    pub complete: bool,
}

impl Served {
    /// Nothing is known of the response yet.
    pub(crate) fn of(method: Method) -> Self {
        let status = StatusCode::OK;
        Self { method, url: None, status, reuse: None, bytes: 0, complete: false }
    }
}

/// Takes what is told; must be quick.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn(&Served) + Send + Sync>);

impl Watch {
    /// Calls `watch` for each request.
    pub fn new(watch: impl Fn(&Served) + Send + Sync + 'static) -> Self {
        Self(Arc::new(watch))
    }

    /// For those who do not want to know.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn tell(&self, served: &Served) {
        (self.0)(served);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConfig")
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
