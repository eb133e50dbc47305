//! Connections: directly, or through the proxies that the configuration names.
//!
//! A connector gives one byte stream per call: TCP to the first address that answers (RFC
//! 8305), a tunnel if a proxy is in between, TLS if the target is `https`. All of it together has
//! the connect time-out. When it is a proxy that fails, the error names it, without its password.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tower_service::Service;

use crate::config::{ClientConfig, Proxies};
use crate::error::{Cause, ErrorKind};
use crate::tls::{self, Tls};
use crate::upload::Activity;

/// Between probes of a connection on which nothing moves, so that a peer that vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

type Work<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Parts>);

struct Parts {
    config: ClientConfig,
    dialer: HttpConnector<Resolver>,
    matcher: Option<Matcher>,
    tls: OnceCell<Tls>,
}

/// A connection that was not made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(crate) struct ConnectError {
    pub(crate) kind: ErrorKind,
    text: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// A byte stream in both directions.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type BoxStream = Box<dyn Stream>;

/// A connection, and what is known of it.
pub(crate) struct Link {
    stream: BoxStream,
    /// Requests name their whole target (RFC 9112 section 3.2.2).
    pub(crate) to_proxy: bool,
    /// TLS has settled on it.
    pub(crate) speaks_http2: bool,
    /// Moves on when bytes come.
    pub(crate) heard: Activity,
}

impl ConnectError {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        text: impl Into<String>,
        source: impl Into<Cause>,
    ) -> Self {
        Self { kind, text: text.into(), source: Some(Arc::from(source.into())) }
    }
}

impl Connector {
    /// Fails if the settings of proxies cannot be used; the error is a sentence for the user.
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, String> {
        let matcher = matcher(&config.proxies)?;
        let mut dialer = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        dialer.enforce_http(false);
        dialer.set_nodelay(true);
        dialer.set_keepalive(Some(KEEP_ALIVE));
        dialer.set_connect_timeout(Some(config.connect_timeout));
        let (config, tls) = (config.clone(), OnceCell::new());
        Ok(Self(Arc::new(Parts { config, dialer, matcher, tls })))
    }

    /// Whether requests for this target are handed to a proxy as they are; with the credentials for
    /// it.
    pub(crate) fn forward_proxy(&self, target: &Uri) -> Option<Option<HeaderValue>> {
        let proxy = self.proxy_for(target).filter(|_| target.scheme() == Some(&Scheme::HTTP))?;
        let is_http = matches!(proxy.uri().scheme_str(), Some("http" | "https"));
        is_http.then(|| proxy.basic_auth().cloned())
    }

    fn proxy_for(&self, target: &Uri) -> Option<Intercept> {
        self.0.matcher.as_ref()?.intercept(target)
    }

    /// A connection for requests to a target, within the time there is for it.
    pub(crate) async fn link(&self, target: Uri) -> Result<Link, ConnectError> {
        let limit = self.0.config.connect_timeout;
        let proxy = self.proxy_for(&target).map(|proxy| shown(proxy.uri()));
        let link = tokio::time::timeout(limit, self.connect(target)).await;
        link.unwrap_or_else(|_| {
            let through = proxy.map(|proxy| format!(" through the proxy `{proxy}`"));
            let through = through.unwrap_or_default();
            let text = format!("no connection{through} within {limit:?}");
            Err(ConnectError::new(ErrorKind::Timeout, text))
        })
    }

    async fn connect(&self, target: Uri) -> Result<Link, ConnectError> {
        let is_secure = target.scheme() == Some(&Scheme::HTTPS);
        let Some(proxy) = self.proxy_for(&target) else {
            let stream = self.dial(target.clone()).await?;
            return if is_secure {
                self.secure(stream, &target).await
            } else {
                Ok(Link::plain(Box::new(stream), false))
            };
        };
        let name = shown(proxy.uri());
        let stream = self.reach(&proxy).await.map_err(|error| {
            let text = format!("the proxy `{name}` cannot be reached");
            ConnectError::caused(error.kind.clone(), text, error)
        })?;
        let is_http = matches!(proxy.uri().scheme_str(), Some("http" | "https"));
        if is_http && !is_secure {
            return Ok(Link::plain(stream, true));
        }
        let tunnel = if is_http {
            tunnel(&proxy, stream, target.clone()).await
        } else {
            socks(&proxy, stream, target.clone()).await
        };
        let stream = tunnel.map_err(|error| {
            let text = format!("the proxy `{name}` gives no connection to the server");
            ConnectError::caused(ErrorKind::Connect, text, error)
        })?;
        if is_secure { self.secure(stream, &target).await } else { Ok(Link::plain(stream, false)) }
    }

    /// TCP to a host.
    async fn dial(&self, target: Uri) -> Result<TcpStream, ConnectError> {
        let result = self.0.dialer.clone().call(target).await;
        result.map(TokioIo::into_inner).map_err(|error| {
            let cause = root(&error);
            let kind = match cause.downcast_ref().map(io::Error::kind) {
                _ if cause.is::<Unresolved>() => ErrorKind::Dns,
                Some(io::ErrorKind::TimedOut) => ErrorKind::Timeout,
                _ => ErrorKind::Connect,
            };
            ConnectError::new(kind, cause.to_string())
        })
    }

    /// The stream on which a proxy listens.
    async fn reach(&self, proxy: &Intercept) -> Result<BoxStream, ConnectError> {
        let (uri, host) = (proxy.uri(), proxy.uri().host().unwrap_or_default());
        let is_socks = uri.scheme_str().is_some_and(|scheme| scheme.starts_with("socks"));
        let uri = match uri.port() {
            // The port of RFC 1928.
            None if is_socks => at(uri, &format!("{host}:1080")).unwrap_or_else(|| uri.clone()),
            _ => uri.clone(),
        };
        let stream = self.dial(uri.clone()).await?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Box::new(stream));
        }
        let settings = self.tls().await?.proxy;
        Ok(Box::new(handshake(settings, stream, &uri).await?))
    }

    async fn secure(
        &self,
        stream: impl Stream + 'static,
        target: &Uri,
    ) -> Result<Link, ConnectError> {
        let settings = self.tls().await?.origin;
        let stream = handshake(settings, stream, target).await?;
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Link { speaks_http2, ..Link::plain(Box::new(stream), false) })
    }

    async fn tls(&self) -> Result<Tls, ConnectError> {
        let read = || async {
            let config = self.0.config.clone();
            let settings = tokio::task::spawn_blocking(move || tls::settings(&config)).await;
            settings.unwrap_or_else(|error| Err(error.to_string()))
        };
        let fail = |text: String| ConnectError::new(ErrorKind::Config(text.clone()), text);
        self.0.tls.get_or_try_init(read).await.cloned().map_err(fail)
    }
}

async fn handshake<S: Stream>(
    settings: Arc<rustls::ClientConfig>,
    stream: S,
    target: &Uri,
) -> Result<tokio_rustls::client::TlsStream<S>, ConnectError> {
    let host = target.host().unwrap_or_default();
    let Some(name) = tls::server_name(host) else {
        return Err(ConnectError::new(ErrorKind::Tls, format!("`{host}` is no name for TLS")));
    };
    let result = tokio_rustls::TlsConnector::from(settings).connect(name, stream).await;
    result.map_err(|error| match tls::refusal(&error) {
        None => ConnectError::caused(ErrorKind::Connect, "the TLS handshake broke off", error),
        Some(refusal) => match tls::explain(host, refusal) {
            Some(text) => ConnectError::caused(ErrorKind::Tls, text, refusal.clone()),
            None => ConnectError::new(ErrorKind::Tls, refusal.to_string()),
        },
    })
}

/// Has an HTTP proxy connect to the target (RFC 9110 section 9.3.6).
async fn tunnel(proxy: &Intercept, stream: BoxStream, target: Uri) -> Result<BoxStream, Cause> {
    let mut tunnel = Tunnel::new(proxy.uri().clone(), Dialled::new(stream));
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    Ok(tunnel.call(target).await?.into_inner())
}

/// Has a SOCKS proxy connect to the target. `socks5` and `socks4` look its name up here, `socks5h`
/// and `socks4a` leave that to the proxy.
async fn socks(proxy: &Intercept, stream: BoxStream, target: Uri) -> Result<BoxStream, Cause> {
    let scheme = proxy.uri().scheme_str().unwrap_or_default();
    let target = with_port(&target).ok_or("the URL has no host")?;
    let target = match scheme {
        "socks4" | "socks5" => resolved(&target, scheme == "socks4").await?,
        _ => target,
    };
    let dialled = Dialled::new(stream);
    let stream = if scheme.starts_with("socks4") {
        SocksV4::new(proxy.uri().clone(), dialled).call(target).await?
    } else {
        let mut socks = SocksV5::new(proxy.uri().clone(), dialled);
        if let Some((name, password)) = proxy.raw_auth() {
            socks = socks.with_auth(name.to_owned(), password.to_owned());
        }
        socks.call(target).await?
    };
    Ok(stream.into_inner())
}

async fn resolved(target: &Uri, only_v4: bool) -> Result<Uri, Cause> {
    let authority = target.authority().ok_or("the URL has no host")?.as_str();
    let mut addresses = tokio::net::lookup_host(authority).await?;
    let address = addresses.find(|address| address.is_ipv4() || !only_v4);
    let address = address.ok_or("the host has no address that the proxy could use")?;
    at(target, &address.to_string()).ok_or_else(|| "the address cannot be named".into())
}

/// The same URL with its port in plain sight.
fn with_port(target: &Uri) -> Option<Uri> {
    let standard = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    match target.port() {
        Some(_) => Some(target.clone()),
        None => at(target, &format!("{}:{standard}", target.host()?)),
    }
}

/// The same URL at another authority.
fn at(uri: &Uri, authority: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// A proxy's URL for messages: the matcher has taken the credentials out.
fn shown(proxy: &Uri) -> String {
    let authority = proxy.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", proxy.scheme_str().unwrap_or("http"))
}

fn matcher(proxies: &Proxies) -> Result<Option<Matcher>, String> {
    let (http, https, all, no_proxy) = match proxies {
        Proxies::None => return Ok(None),
        Proxies::Environment => return Ok(Some(Matcher::from_system())),
        Proxies::Given { http, https, all, no_proxy } => (http, https, all, no_proxy),
    };
    let given = |proxy: &Option<String>| proxy.clone().unwrap_or_default();
    for proxy in [http, https, all].into_iter().flatten().filter(|proxy| !proxy.is_empty()) {
        let alone = Matcher::builder().all(proxy.clone()).build();
        if alone.intercept(&Uri::from_static("http://host.invalid/")).is_none() {
            // The URL of a proxy may hold a password: the message does not repeat it.
            return Err("the URL of a proxy cannot be read".to_owned());
        }
    }
    let matcher = Matcher::builder().http(given(http)).https(given(https)).all(given(all));
    Ok(Some(matcher.no(given(no_proxy)).build()))
}

/// The error below all others.
fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

impl Link {
    fn plain(stream: BoxStream, to_proxy: bool) -> Self {
        Self { stream, to_proxy, speaks_http2: false, heard: Activity::default() }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.note();
        }
        read
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unresolved(io::Error);

/// The system's resolver, its errors told from others.
#[derive(Clone)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = Unresolved;
    type Future = Work<GaiAddrs, Unresolved>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let addresses = self.0.call(name);
        Box::pin(async { addresses.await.map_err(Unresolved) })
    }
}

/// A stream that is there already, for those who want to have it made.
struct Dialled(Option<TokioIo<BoxStream>>);

impl Dialled {
    fn new(stream: BoxStream) -> Self {
        Self(Some(TokioIo::new(stream)))
    }
}

impl Service<Uri> for Dialled {
    type Response = TokioIo<BoxStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
