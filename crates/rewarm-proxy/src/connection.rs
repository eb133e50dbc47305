//! One connection of a client, from its first byte to its last, and the tunnel that it may become.

use std::io::Cursor;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::forward::Target;
use crate::http2::{self, Interims};
use crate::link::Link;
use crate::service::Service;
use crate::wire::{Stream, Wire};

/// Bytes that the HTTP library may hold per direction; a head has to fit.
const BUFFER: usize = 64 * 1024;

/// How TLS begins (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// What a client of a tunnel is told that does not speak TLS in it.
const NO_TLS: &[u8] = b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\r\nrewarm: only TLS goes through a tunnel here\n";

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) peer: SocketAddr,
    pub(crate) link: Arc<Link>,
    pub(crate) place: Place,
    /// Takes interim responses where the link does not, which is on HTTP/2.
    pub(crate) interims: Option<Interims>,
}

/// Where a request came in.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// At the socket; a tunnel that is granted is left here.
    Door(Arc<Mutex<Option<Tunnel>>>),
    /// In the tunnel to this origin.
    Tunnel(Target),
}

/// A tunnel that begins once the answer to the request for it is out.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) target: Target,
    pub(crate) upgrade: OnUpgrade,
}

impl Asker {
    /// Hands on an interim response of the origin (RFC 9110 section 15.2).
    pub(crate) fn interim(&self, status: StatusCode, headers: HeaderMap) {
        // 100 is our own word to a client that expects it.
        if status == StatusCode::CONTINUE {
            return;
        }
        match &self.interims {
            Some(interims) => interims.tell(status, headers),
            None => self.link.interim(status, &headers),
        }
    }
}

/// Answers all requests of a connection. It ends when the client or an error ends it, or after the
/// response under way once `stopped` says so.
pub(crate) async fn serve(
    service: Arc<Service>,
    stream: TcpStream,
    peer: SocketAddr,
    stopped: watch::Receiver<bool>,
) {
    // Costs latency where it fails, nothing else.
    let _ = stream.set_nodelay(true);
    let granted = Arc::default();
    let place = Place::Door(Arc::clone(&granted));
    let asker = Asker { peer, link: Arc::default(), place, interims: None };
    run(&service, stream, asker, stopped.clone()).await;
    let granted = granted.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Tunnel { target, upgrade }) = granted
        && let Ok(inside) = upgrade.await
        && let Some(stream) = secure(&service, TokioIo::new(inside), &target).await
    {
        let place = Place::Tunnel(target);
        let asker = Asker { peer, link: Arc::default(), place, interims: None };
        run(&service, stream, asker, stopped).await;
    }
}

/// Becomes the server of a host for a client of a tunnel; `None` if the client does not want that.
async fn secure<T: AsyncRead + AsyncWrite + Unpin + Send>(
    service: &Service,
    mut stream: T,
    target: &Target,
) -> Option<TlsStream<impl AsyncRead + AsyncWrite + Unpin + Send + use<T>>> {
    let config = service.certificate(target)?;
    let handshake = async {
        let first = stream.read_u8().await.ok()?;
        if first != HANDSHAKE {
            // It is told if it speaks HTTP, and cannot be told otherwise.
            let _ = stream.write_all(NO_TLS).await;
            let _ = stream.shutdown().await;
            return None;
        }
        let (read, write) = tokio::io::split(stream);
        let whole = tokio::io::join(Cursor::new([first]).chain(read), write);
        TlsAcceptor::from(config).accept(whole).await.ok()
    };
    tokio::time::timeout(service.limits().head_timeout, handshake).await.ok()?
}

async fn run<S: Stream + 'static>(
    service: &Arc<Service>,
    stream: S,
    asker: Asker,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = service.limits();
    let mut wire = Wire::new(stream, Arc::clone(&asker.link), limits);
    let is_http2 = tokio::select! {
        is_http2 = wire.speaks_http2() => is_http2,
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    if is_http2 {
        return http2::serve(service, wire, asker, stopped).await;
    }
    let handle = service_fn(move |request: Request<Incoming>| {
        Arc::clone(service).answer(request, asker.clone())
    });
    let mut builder = Builder::new();
    // The wire limits heads, and all waits.
    builder.max_headers(limits.fields + 1).max_buf_size(BUFFER).header_read_timeout(None);
    let connection = builder.serve_connection(TokioIo::new(wire), handle);
    let mut connection = pin!(connection.with_upgrades());
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // An error here is the client's, who has been told or is gone.
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stopped| *stopped), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for TlsStream<S> {
    /// An end without a word of farewell is an error in TLS already (RFC 8446 section 6.1).
    fn abort(&self) {}
}
