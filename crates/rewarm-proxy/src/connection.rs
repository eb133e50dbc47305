//! One connection of a client, from its first byte to its last, and the tunnel that it may become.

use std::io::Cursor;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::forward::Target;
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
    let asker = Asker { peer, link: Arc::default(), place };
    run(&service, stream, asker, stopped.clone()).await;
    let granted = granted.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Tunnel { target, upgrade }) = granted
        && let Ok(inside) = upgrade.await
        && let Some(stream) = secure(&service, TokioIo::new(inside), &target).await
    {
        let asker = Asker { peer, link: Arc::default(), place: Place::Tunnel(target) };
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
    let wire = Wire::new(stream, Arc::clone(&asker.link), limits);
    let handle = service_fn(move |request| Arc::clone(service).answer(request, asker.clone()));
    let mut builder = Builder::new(TokioExecutor::new());
    // The wire limits heads, and all waits.
    builder.http1().max_headers(limits.fields + 1).max_buf_size(BUFFER).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_send_buf_size(BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(wire), handle));
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
