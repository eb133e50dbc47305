//! The listening socket: accepts connections up to a bound, and lets them end in peace.
//!
//! Each connection is a task that holds one permit. When the proxy is told to stop, the socket is
//! closed, every connection finishes the responses under way, and what has not ended after the
//! grace is cut. Dropping [`Proxy::serve`] cuts everything at once.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{Mode, ProxyConfig};
use crate::connection;
use crate::service::Service;

/// Before accepting again when the system has no descriptors left.
const BREATH: Duration = Duration::from_millis(50);

/// A socket that is bound; connections wait in its backlog until [`serve`](Proxy::serve).
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
}

/// A proxy that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The address is taken, is none of this machine, or the port needs more rights.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl Proxy {
    /// Takes the address.
    pub fn bind(config: ProxyConfig, mode: Mode) -> Result<Self, ProxyError> {
        let wanted = config.listen;
        let listen = || {
            let listener = TcpListener::bind(wanted)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let fail = |source| ProxyError::Listen { address: wanted, source };
        let (listener, address) = listen().map_err(fail)?;
        let service = Arc::new(Service::new(config, mode));
        Ok(Self { listener, address, service })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is over, then finishes what is under way. Must be called within a
    /// tokio runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ProxyError> {
        let fail = |source| ProxyError::Listen { address: self.address, source };
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(fail)?;
        let limits = self.service.limits().clone();
        let permits = Arc::new(Semaphore::new(limits.connections));
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                let permit = permit.expect("the semaphore is never closed");
                (listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accepted => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (service, stopped) = (Arc::clone(&self.service), stopped.clone());
                    connections.spawn(async move {
                        connection::serve(service, stream, peer, stopped).await;
                        drop(permit);
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
        drop(listener);
        // Nobody listens if there is no connection.
        let _ = stop.send(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limits.grace, ended).await;
        Ok(())
    }
}

/// A client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
