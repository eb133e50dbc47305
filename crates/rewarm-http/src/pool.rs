//! Connections to origins: made when they are needed, kept for a while after.
//!
//! On HTTP/1.1 a connection is one request's at a time, on HTTP/2 it is everybody's. Which of them an
//! origin speaks is known when the first connection to it is there: until then everybody makes one,
//! and takes whatever is there first; from then on an HTTP/2 origin gets one connection, and who comes
//! while it is being made waits for it. What happens on a connection is told in `wire`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong, client as http2};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::ClientConfig;
use crate::connect::{ConnectError, Connector, Link};
use crate::error::ErrorKind;
use crate::framing::{HEAD_FIELDS, HEAD_SIZE};
use crate::upload::{Activity, WireBody};

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// How many of them for one origin.
pub(crate) const IDLE_CONNECTIONS: usize = 16;

/// Bytes that are read from a connection at once, if it brings so many.
const READ_BUFFER: usize = 256 * 1024;

/// Bytes of one HTTP/2 body that may be under way: what a distance of 50 ms needs for 80 MB/s.
const STREAM_WINDOW: u32 = 4 << 20;

/// Bytes of all bodies of an HTTP/2 connection that may be under way; bounds the memory for them.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// All connections. Cheap to clone; all clones are one pool.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Parts>);

struct Parts {
    connector: Connector,
    config: ClientConfig,
    hosts: Mutex<Hosts>,
}

/// What requests to have in common that may use the same connections.
type Key = (Scheme, Authority);

#[derive(Default)]
struct Hosts {
    by_key: HashMap<Key, Host>,
    /// Closes what nobody needs any more.
    reaper: Option<JoinHandle<()>>,
}

/// The connections to one origin.
#[derive(Default)]
struct Host {
    /// Those that nobody uses, since when, the latest last.
    idle: Vec<(Instant, Http1)>,
    /// The one for everybody, and when somebody asked for it last.
    shared: Option<(Instant, Http2)>,
    waiting: Vec<oneshot::Sender<Handed>>,
    /// Whether a connection is being made that is enough for all who wait.
    is_connecting: bool,
    speaks_http2: bool,
}

/// A connection, or why there is none.
type Handed = Result<Connection, ConnectError>;

/// What a request is sent on.
pub(crate) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// A connection for one request at a time.
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<WireBody>,
    /// Requests name their whole target (RFC 9112 section 3.2.2).
    pub(crate) to_proxy: bool,
    /// Whether it was there before the request at hand.
    is_kept: bool,
    key: Key,
}

/// A connection for many at once. All clones are one connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    pub(crate) sender: http2::SendRequest<Bytes>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Moves on when bytes come.
    heard: Activity,
    /// Whether it has brought an answer.
    has_answered: AtomicBool,
    /// Whether it is not to be used again.
    is_over: AtomicBool,
    /// Requests whose answers are not over.
    uses: AtomicUsize,
}

/// A request under way on an HTTP/2 connection; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Use(Arc<State>);

/// What is to happen for somebody who needs a connection.
enum Next {
    Use(Connection),
    /// Make one, unless one is handed over first.
    Connect(oneshot::Receiver<Handed>),
    /// Wait for the one that is made for all, which is to begin if there is a turn.
    Wait(Option<Turn>, oneshot::Receiver<Handed>),
}

/// The right to make the one connection to an origin.
struct Turn {
    pool: Pool,
    key: Key,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Connection {
    /// Whether it was there before, so that it may be closed by now.
    pub(crate) fn is_kept(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_kept,
            Self::Http2(connection) => connection.state.has_answered.load(Ordering::Relaxed),
        }
    }

    /// Notes what the connection has brought until now.
    pub(crate) fn watch(&self) -> Watched {
        Watched(match self {
            Self::Http1(_) => None,
            Self::Http2(connection) => Some((connection.clone(), connection.state.heard.count())),
        })
    }
}

/// A connection on which somebody begins to wait.
pub(crate) struct Watched(Option<(Http2, u64)>);

impl Watched {
    /// The wait was in vain. A connection that brought nothing in all that time, to anybody, is not
    /// used again.
    pub(crate) fn give_up(&self) {
        if let Some((connection, before)) = &self.0
            && connection.state.heard.count() == *before
        {
            connection.retire();
        }
    }
}

impl Http2 {
    /// A request begins.
    pub(crate) fn begin(&self) -> Use {
        self.state.uses.fetch_add(1, Ordering::SeqCst);
        Use(Arc::clone(&self.state))
    }

    /// An answer came.
    pub(crate) fn note_answer(&self) {
        self.state.has_answered.store(true, Ordering::Relaxed);
    }

    /// No further request goes out on it.
    pub(crate) fn retire(&self) {
        self.state.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.state.is_over.load(Ordering::SeqCst)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.uses.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut hosts = self.pool.hosts();
        let Some(host) = hosts.by_key.get_mut(&self.key) else { return };
        host.is_connecting = false;
        // Who waits finds that nobody is at it, and begins again.
        host.waiting.clear();
    }
}

impl Host {
    /// A connection that may be used now.
    fn take(&mut self, now: Instant) -> Option<Connection> {
        self.expire(now);
        if let Some((since, shared)) = &mut self.shared {
            *since = now;
            return Some(Connection::Http2(shared.clone()));
        }
        self.idle.pop().map(|(_, connection)| Connection::Http1(connection))
    }

    /// Drops what is closed or was idle for too long; says whether anything is left.
    fn expire(&mut self, now: Instant) -> bool {
        let is_young = |since: Instant| now.duration_since(since) < IDLE;
        self.idle.retain(|(since, connection)| is_young(*since) && connection.sender.is_ready());
        self.shared.take_if(|(since, connection)| !is_young(*since) || connection.is_over());
        self.waiting.retain(|waiting| !waiting.is_closed());
        let is_needed = self.is_connecting || !self.waiting.is_empty();
        is_needed || self.shared.is_some() || !self.idle.is_empty()
    }

    /// Hands a connection to the first who waits for one.
    fn hand_over(&mut self, mut connection: Http1, now: Instant) {
        while !self.waiting.is_empty() {
            match self.waiting.remove(0).send(Ok(Connection::Http1(connection))) {
                Err(Ok(Connection::Http1(back))) => connection = back,
                _ => return,
            }
        }
        if self.idle.len() < IDLE_CONNECTIONS {
            self.idle.push((now, connection));
        }
    }

    /// Gives the connection for everybody to everybody.
    fn share(&mut self, connection: &Http2, now: Instant) {
        self.speaks_http2 = true;
        self.idle.clear();
        for waiting in self.waiting.drain(..) {
            // Who does not wait any more needs none.
            let _ = waiting.send(Ok(Connection::Http2(connection.clone())));
        }
        self.shared = Some((now, connection.clone()));
    }
}

impl Pool {
    /// Makes no connection. Fails if the settings of proxies cannot be used; the error is a sentence
    /// for the user.
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, String> {
        let connector = Connector::new(config)?;
        let (config, hosts) = (config.clone(), Mutex::default());
        Ok(Self(Arc::new(Parts { connector, config, hosts })))
    }

    /// Whether requests for this target are handed to a proxy as they are; with the credentials for
    /// it.
    pub(crate) fn forward_proxy(&self, target: &Uri) -> Option<Option<HeaderValue>> {
        self.0.connector.forward_proxy(target)
    }

    /// A connection for a request to `target`.
    pub(crate) async fn connection(&self, target: &Uri) -> Result<Connection, ConnectError> {
        let (Some(scheme), Some(authority)) = (target.scheme(), target.authority()) else {
            let text = "the URL names no host".to_owned();
            return Err(ConnectError::new(ErrorKind::Config(text.clone()), text));
        };
        let key = (scheme.clone(), authority.clone());
        loop {
            match self.next(&key) {
                Next::Use(connection) => return Ok(connection),
                Next::Connect(handed) => return self.race(&key, handed).await,
                Next::Wait(turn, handed) => {
                    if let Some(turn) = turn {
                        // Not our own task: whoever waits may give up.
                        tokio::spawn(turn.connect());
                    }
                    // Where nothing is handed over, nobody is at it any more.
                    if let Ok(handed) = handed.await {
                        return handed;
                    }
                }
            }
        }
    }

    /// Takes back a connection on which an answer is over.
    pub(crate) fn release(&self, mut connection: Http1) {
        connection.is_kept = true;
        let now = Instant::now();
        let mut hosts = self.hosts();
        hosts.by_key.entry(connection.key.clone()).or_default().hand_over(connection, now);
        self.reap_later(&mut hosts);
    }

    fn next(&self, key: &Key) -> Next {
        let mut hosts = self.hosts();
        self.reap_later(&mut hosts);
        let host = hosts.by_key.entry(key.clone()).or_default();
        host.speaks_http2 |= self.is_prior(key);
        if let Some(connection) = host.take(Instant::now()) {
            return Next::Use(connection);
        }
        let (sender, handed) = oneshot::channel();
        host.waiting.push(sender);
        if !host.speaks_http2 {
            return Next::Connect(handed);
        }
        let is_first = !std::mem::replace(&mut host.is_connecting, true);
        let turn = is_first.then(|| Turn { pool: self.clone(), key: key.clone() });
        Next::Wait(turn, handed)
    }

    /// Makes a connection, unless another comes free before it is there. It is not made in vain then:
    /// it will be idle.
    async fn race(
        &self,
        key: &Key,
        handed: oneshot::Receiver<Handed>,
    ) -> Result<Connection, ConnectError> {
        let (pool, key) = (self.clone(), key.clone());
        let mut connecting = Box::pin(async move { pool.connect(&key).await });
        tokio::select! {
            biased;
            Ok(Ok(connection)) = handed => {
                if let Connection::Http1(_) = connection {
                    let pool = self.clone();
                    tokio::spawn(async move {
                        if let Ok(Connection::Http1(connection)) = connecting.await {
                            pool.release(connection);
                        }
                    });
                }
                Ok(connection)
            }
            made = &mut connecting => made,
        }
    }

    /// Makes a connection. One that is for everybody is shared; if there is one already, that one.
    async fn connect(&self, key: &Key) -> Result<Connection, ConnectError> {
        let (scheme, authority) = key.clone();
        let target = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        let link = self.0.connector.link(target.expect("all parts are there")).await?;
        let fail = |error: hyper::Error| {
            let text = "the connection cannot be used";
            ConnectError::caused(ErrorKind::Connect, text, error)
        };
        if !link.speaks_http2 && !self.is_prior(key) {
            let to_proxy = link.to_proxy;
            let mut builder = http1::Builder::new();
            builder.max_buf_size(READ_BUFFER).max_headers(HEAD_FIELDS);
            let made = builder.handshake(TokioIo::new(link)).await;
            let (mut sender, connection) = made.map_err(fail)?;
            // How it ends is told to whoever uses it.
            tokio::spawn(async move { drop(connection.await) });
            sender.ready().await.map_err(fail)?;
            let key = key.clone();
            if let Some(host) = self.hosts().by_key.get_mut(&key) {
                host.speaks_http2 = false;
            }
            return Ok(Connection::Http1(Http1 { sender, to_proxy, is_kept: false, key }));
        }
        let mut connection = self.speak_http2(link).await?;
        let mut hosts = self.hosts();
        let host = hosts.by_key.entry(key.clone()).or_default();
        match &host.shared {
            Some((_, shared)) if !shared.is_over() => connection = shared.clone(),
            _ => host.share(&connection, Instant::now()),
        }
        self.reap_later(&mut hosts);
        Ok(Connection::Http2(connection))
    }

    async fn speak_http2(&self, link: Link) -> Result<Http2, ConnectError> {
        let mut builder = http2::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_SIZE as u32);
        let state = Arc::new(State { heard: link.heard.clone(), ..State::default() });
        let (sender, mut connection) = builder.handshake(link).await.map_err(|error| {
            let text = "the connection cannot be used";
            ConnectError::caused(ErrorKind::Connect, text, error)
        })?;
        let pings = connection.ping_pong().expect("nobody has taken it before");
        let shared = Http2 { sender, state: Arc::clone(&state) };
        let patience = self.0.config.read_timeout;
        tokio::spawn(async move {
            let end = End(Arc::clone(&state));
            tokio::select! {
                // How it ends is told to whoever uses it.
                _ = connection => {}
                () = silence(&state, pings, patience) => {}
            }
            drop(end);
        });
        Ok(shared)
    }

    /// Whether HTTP/2 is spoken to this origin without asking.
    fn is_prior(&self, (scheme, authority): &Key) -> bool {
        if !self.0.config.http2_prior_knowledge || *scheme != Scheme::HTTP {
            return false;
        }
        let target = Uri::builder().scheme(scheme.clone()).authority(authority.clone());
        let target = target.path_and_query("/").build().expect("all parts are there");
        self.forward_proxy(&target).is_none()
    }

    /// Sees to it that idle connections end.
    fn reap_later(&self, hosts: &mut Hosts) {
        if hosts.reaper.as_ref().is_none_or(JoinHandle::is_finished) {
            hosts.reaper = Some(tokio::spawn(reap(Arc::downgrade(&self.0))));
        }
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    async fn connect(self) {
        match self.pool.connect(&self.key).await {
            // It is shared already.
            Ok(Connection::Http2(_)) => {}
            // So the origin does not speak HTTP/2 any more.
            Ok(Connection::Http1(connection)) => self.pool.release(connection),
            Err(error) => {
                let mut hosts = self.pool.hosts();
                let host = hosts.by_key.get_mut(&self.key);
                for waiting in host.into_iter().flat_map(|host| host.waiting.drain(..)) {
                    // Who does not wait any more needs no reason.
                    let _ = waiting.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Marks a connection as over when the task that drives it ends, however that comes.
struct End(Arc<State>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// Ends when a connection is in use, nothing has come on it for twice the patience, and a ping was not
/// answered in the second half of that (RFC 9113 section 6.7).
async fn silence(state: &State, mut pings: PingPong, patience: Duration) {
    loop {
        let before = state.heard.count();
        tokio::time::sleep(patience).await;
        if state.heard.count() != before || state.uses.load(Ordering::SeqCst) == 0 {
            continue;
        }
        // If one is under way already, that one's answer will do.
        let _ = pings.send_ping(Ping::opaque());
        let pong = std::future::poll_fn(|context| pings.poll_pong(context));
        let is_answered = matches!(tokio::time::timeout(patience, pong).await, Ok(Ok(_)));
        if !is_answered && state.heard.count() == before {
            return;
        }
    }
}

/// Drops idle connections, until there are none or the pool is gone.
async fn reap(pool: Weak<Parts>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(parts) = pool.upgrade() else { return };
        let mut hosts = parts.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        hosts.by_key.retain(|_, host| host.expire(now));
        if hosts.by_key.is_empty() {
            hosts.reaper = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to nobody, and what keeps it open.
    async fn idle() -> (Http1, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let made = http1::Builder::new().handshake(TokioIo::new(ours)).await;
        let (mut sender, connection) = made.expect("a connection");
        tokio::spawn(async move { drop(connection.await) });
        sender.ready().await.expect("it is open");
        let key = (Scheme::HTTP, Authority::from_static("h"));
        (Http1 { sender, to_proxy: false, is_kept: true, key }, theirs)
    }

    fn run(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work);
    }

    #[test]
    fn idle_connections_are_kept_for_a_minute_and_no_longer() {
        run(async {
            let (mut host, now) = (Host::default(), Instant::now());
            let (connection, _other) = idle().await;
            host.hand_over(connection, now);
            assert!(host.expire(now + IDLE - Duration::from_secs(1)));
            assert!(host.take(now + IDLE).is_none());
            assert!(!host.expire(now + IDLE));
        });
    }

    #[test]
    fn no_more_connections_are_idle_than_allowed_and_the_latest_is_used_first() {
        run(async {
            let (mut host, now, mut others) = (Host::default(), Instant::now(), Vec::new());
            for second in 0..=IDLE_CONNECTIONS as u64 {
                let (connection, other) = idle().await;
                others.push(other);
                host.hand_over(connection, now + Duration::from_secs(second));
            }
            assert_eq!(host.idle.len(), IDLE_CONNECTIONS);
            let before = host.idle.last().map(|(since, _)| *since);
            assert_eq!(before, Some(now + Duration::from_secs(IDLE_CONNECTIONS as u64 - 1)));
            assert!(host.take(now).is_some());
            assert!(host.idle.iter().all(|(since, _)| Some(*since) < before));
        });
    }

    #[test]
    fn connection_that_the_other_side_closed_is_not_used() {
        run(async {
            let (mut host, now) = (Host::default(), Instant::now());
            let (connection, other) = idle().await;
            host.hand_over(connection, now);
            drop(other);
            while host.idle.iter().any(|(_, connection)| connection.sender.is_ready()) {
                tokio::task::yield_now().await;
            }
            assert!(host.take(now).is_none());
        });
    }

    #[test]
    fn connection_that_comes_free_is_for_the_first_who_still_waits() {
        run(async {
            let (mut host, now) = (Host::default(), Instant::now());
            let mut receivers: Vec<_> = (0..3)
                .map(|_| oneshot::channel())
                .map(|(sender, receiver)| {
                    host.waiting.push(sender);
                    receiver
                })
                .collect();
            drop(receivers.remove(0));
            let (connection, _other) = idle().await;
            host.hand_over(connection, now);
            assert!(matches!(receivers[0].try_recv(), Ok(Ok(Connection::Http1(_)))));
            assert!(receivers[1].try_recv().is_err() && host.idle.is_empty());
        });
    }
}
