//! A proxy in this process, and clients that write bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use rewarm_http::{Client, ClientConfig, Clock, Proxies, Url};
use rewarm_proxy::{Limits, Mode, Proxy, ProxyConfig, Served, Watch};
use rewarm_store::Store;
use rewarm_testkit::server::Server;
use tokio::sync::oneshot;

/// Waits of tests end after this; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy with a cache of its own, stopped when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    pub(crate) served: std::sync::mpsc::Receiver<Served>,
    _dir: tempfile::TempDir,
}

/// The clock of the tests.
#[expect(clippy::disallowed_methods, reason = "tests are an edge as well")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// A proxy in front of an origin.
pub(crate) fn before(origin: &Server) -> Running {
    start(Mode::Upstream(Url::parse(&origin.url("/")).expect("a URL")), Limits::default())
}

pub(crate) fn start(mode: Mode, limits: Limits) -> Running {
    let spills = std::env::temp_dir();
    let config = ClientConfig { proxies: Proxies::None, retries: 0, ..ClientConfig::new(spills) };
    start_with(mode, limits, config)
}

pub(crate) fn start_with(mode: Mode, limits: Limits, config: ClientConfig) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let store = Store::open(&dir.path().join("cache")).expect("a store can be made");
    let (told, served) = std::sync::mpsc::channel();
    let config = ProxyConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        client: Client::new(store, config, Clock::new(now)),
        limits,
        token: None,
        watch: Watch::new(move |served| drop(told.send(served.clone()))),
    };
    let proxy = Proxy::bind(config, mode).expect("a free port can be had");
    let address = proxy.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let served = runtime.block_on(proxy.serve(async { drop(stopped.await) }));
        served.expect("the listener works");
    });
    Running { address, stop: Some(stop), thread: Some(thread), served, _dir: dir }
}

impl Running {
    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Connection { input: BufReader::new(stream.try_clone().expect("it can be shared")), stream }
    }

    /// The answer to a request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Message {
        let mut connection = self.connect();
        connection.send(request);
        connection.answer(request.split(' ').next().unwrap_or_default())
    }

    pub(crate) fn get(&self, path: &str) -> Message {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub(crate) fn join(&mut self) {
        let thread = self.thread.take().expect("it is joined once");
        thread.join().expect("the proxy does not panic");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy panicked");
        }
    }
}

/// A client's side of a connection.
pub(crate) struct Connection {
    pub(crate) input: BufReader<TcpStream>,
    pub(crate) stream: TcpStream,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether it ended as its framing demands.
    pub(crate) whole: bool,
}

impl Message {
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy takes what it is sent");
    }

    /// Reads a response to a request of this method, interim ones as well.
    pub(crate) fn answer(&mut self, method: &str) -> Message {
        let status = self.status_line().expect("a status line");
        let headers = self.fields().expect("fields");
        let mut message =
            Message { status, headers, body: Vec::new(), trailers: Vec::new(), whole: true };
        if method != "HEAD" && status >= 200 && ![204, 304].contains(&status) {
            let read = self.body(&mut message);
            message.whole = read.is_ok();
        }
        message
    }

    fn status_line(&mut self) -> io::Result<u16> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        let bad = || io::Error::other(format!("no status line: `{line}`"));
        let rest = line.strip_prefix("HTTP/1.").ok_or_else(bad)?;
        rest.get(2..5).and_then(|code| code.parse().ok()).ok_or_else(bad)
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').expect("a field has a colon");
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                self.input.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
                if size == 0 {
                    message.trailers = self.fields()?;
                    return Ok(());
                }
                self.bytes(size, &mut message.body)?;
                self.bytes(2, &mut Vec::new())?;
            }
        }
        match message.header("content-length").map(|text| text.parse().expect("a length")) {
            Some(length) => self.bytes(length, &mut message.body),
            None => self.input.read_to_end(&mut message.body).map(drop),
        }
    }

    fn bytes(&mut self, count: u64, into: &mut Vec<u8>) -> io::Result<()> {
        match self.input.by_ref().take(count).read_to_end(into)? as u64 {
            read if read == count => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether the proxy has closed its side, with nothing left to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.input.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
