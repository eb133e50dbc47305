//! An origin that speaks HTTP/2 as well as HTTP/1.1: with TLS as it is negotiated, without as it is
//! spoken to.
//!
//! `/version` tells the protocol, `/trailers` ends in a field, `/upload` tells what was sent, and
//! `/large/N` is N bytes. The same server can be a proxy behind TLS that opens tunnels.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A running origin.
pub(crate) struct Modern {
    address: SocketAddr,
    is_secure: bool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Modern {
    pub(crate) fn start(settings: Option<Arc<rustls::ServerConfig>>) -> Self {
        let is_secure = settings.is_some();
        Self::run(is_secure, |listener| accept(listener, settings))
    }

    /// A proxy for `CONNECT`, itself behind TLS.
    pub(crate) fn tunnel(settings: Arc<rustls::ServerConfig>) -> Self {
        Self::run(true, |listener| accept_tunnels(listener, settings))
    }

    pub(crate) fn run<F: Future<Output = ()>>(
        is_secure: bool,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, is_secure, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }
}

impl Drop for Modern {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, settings: Option<Arc<rustls::ServerConfig>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let settings = settings.clone();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A connection that breaks is the client's business.
            let Some(settings) = settings else {
                let served = builder.serve_connection(TokioIo::new(stream), service_fn(answer));
                return drop(served.await);
            };
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(settings).accept(stream).await {
                drop(builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
            }
        });
    }
}

async fn accept_tunnels(listener: TcpListener, settings: Arc<rustls::ServerConfig>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A connection that breaks is the client's business.
        tokio::spawn(tunnel(stream, Arc::clone(&settings)));
    }
}

async fn tunnel(stream: TcpStream, settings: Arc<rustls::ServerConfig>) -> io::Result<()> {
    let mut stream = tokio_rustls::TlsAcceptor::from(settings).accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let mut onward = TcpStream::connect(target.unwrap_or_default()).await?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut stream, &mut onward).await.map(drop)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = match path.strip_prefix("/large/") {
        Some(size) => whole(vec![b'x'; size.parse().unwrap_or_default()]),
        None if path == "/version" => whole(format!("{:?}", request.version())),
        None if path == "/trailers" => with_trailers(),
        None => whole(upload(request).await),
    };
    Ok(Response::builder().header("cache-control", "max-age=60").body(body).expect("a response"))
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

fn with_trailers() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    Full::new(Bytes::from_static(b"hello")).with_trailers(async { Some(Ok(trailers)) }).boxed()
}

/// What was sent, with its announced length and its trailers.
async fn upload(request: Request<Incoming>) -> String {
    let announced = request.headers().get("content-length").cloned();
    let mut body = request.into_body();
    let (mut count, mut sum) = (0, None);
    while let Some(Ok(frame)) = body.frame().await {
        let frame: Frame<Bytes> = frame;
        match frame.into_data() {
            Ok(bytes) => count += bytes.len(),
            Err(frame) => sum = frame.into_trailers().ok().and_then(|t| t.get("x-sum").cloned()),
        }
    }
    format!("{announced:?} {count} {sum:?}")
}
