//! One connection of a client, from its first byte to its last.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::service::Service;

/// Answers all requests of a connection. It ends when the client or an error ends it, or after the
/// response under way once `stopped` says so.
pub(crate) async fn serve(
    service: Arc<Service>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    // Costs latency where it fails, nothing else.
    let _ = stream.set_nodelay(true);
    let limits = service.limits().clone();
    let handle = service_fn(move |request| Arc::clone(&service).answer(request, peer));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_headers(limits.fields)
        .max_buf_size(limits.head_bytes.max(8192))
        .header_read_timeout(limits.idle_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), handle));
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
