//! What the themes share: a store in a temporary directory, a client without proxies, a clock that
//! a test can move, and a runtime.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rewarm_http::{
    Client, ClientConfig, Clock, Content, FetchError, Fetched, NO_EVENTS, Proxies, Request, Reuse,
    Url,
};
use rewarm_store::{Digest, Store};
use rewarm_testkit::server::Reply;

/// A cache and the means to use it.
pub(crate) struct Cache {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) client: Client,
}

/// Seconds that the tests' clock is ahead, per thread: tests do not move each other's.
static AHEAD: Mutex<Vec<(std::thread::ThreadId, u64)>> = Mutex::new(Vec::new());
static BASE: AtomicU64 = AtomicU64::new(1_700_000_000);

fn ahead() -> u64 {
    let me = std::thread::current().id();
    let all = AHEAD.lock().expect("not poisoned");
    all.iter().find(|(id, _)| *id == me).map_or(0, |(_, seconds)| *seconds)
}

/// The clock of this test's thread; stands still unless it is moved.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BASE.load(Ordering::Relaxed) + ahead())
}

/// Moves this thread's clock.
pub(crate) fn pass(seconds: u64) {
    let me = std::thread::current().id();
    let mut all = AHEAD.lock().expect("not poisoned");
    match all.iter_mut().find(|(id, _)| *id == me) {
        Some((_, ahead)) => *ahead += seconds,
        None => all.push((me, seconds)),
    }
}

/// Settings for tests: quick retries, no proxies.
pub(crate) fn config(dir: &Path) -> ClientConfig {
    ClientConfig {
        retries: 2,
        retry_delay: Duration::from_millis(1),
        patience: Duration::from_secs(60),
        proxies: Proxies::None,
        ..ClientConfig::new(dir.to_owned())
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = config(dir.path());
        change(&mut config);
        let client = Client::new(store(dir.path()), config, Clock::new(now));
        Self { dir, client }
    }

    /// Another client on the same store, as another process would have it.
    pub(crate) fn again(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = config(self.dir.path());
        change(&mut config);
        Client::new(store(self.dir.path()), config, Clock::new(now))
    }

    pub(crate) fn store(&self) -> Store {
        store(self.dir.path())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Fetches and gives the bytes and what was saved.
    pub(crate) fn get(&self, url: &str) -> Result<(Vec<u8>, Reuse), FetchError> {
        self.send(&get(url))
    }

    pub(crate) fn send(&self, request: &Request) -> Result<(Vec<u8>, Reuse), FetchError> {
        run(async {
            let fetched = self.client.fetch(request, NO_EVENTS).await?;
            let reuse = fetched.reuse.clone();
            let bytes = bytes_of(&self.store(), fetched);
            self.client.finish().await;
            Ok((bytes, reuse))
        })
    }

    /// Fetches bytes that are text.
    pub(crate) fn text(&self, url: &str) -> (String, Reuse) {
        let (bytes, reuse) = self.get(url).expect("a response");
        (String::from_utf8(bytes).expect("text"), reuse)
    }

    /// Paths below an area of the store, `blobs-v1` for example.
    pub(crate) fn files(&self, area: &str) -> Vec<PathBuf> {
        files_below(&self.root().join(area))
    }
}

pub(crate) fn store(dir: &Path) -> Store {
    Store::open(&dir.join("cache")).expect("a writable directory")
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

pub(crate) fn bytes_of(store: &Store, fetched: Fetched) -> Vec<u8> {
    let blob = fetched.content.blob();
    let bytes = match fetched.content {
        Content::Stored(blob) => {
            std::fs::read(store.blob_path(&blob.digest).expect("it is there")).expect("readable")
        }
        Content::Spilled { mut file, .. } => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).expect("readable");
            bytes
        }
    };
    assert_eq!((blob.size, blob.digest), (bytes.len() as u64, Digest::of(&bytes)));
    bytes
}

pub(crate) fn get(url: &str) -> Request {
    Request::get(Url::parse(url).expect("a URL"))
}

/// Runs on a single-threaded runtime, as the binary does.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// An answer of `open`, read to its end.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) cache_status: String,
}

impl Answered {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("text")
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status.starts_with("hit")
    }
}

impl Cache {
    /// Sends a request with such fields, `etag: "1"` for example, and reads the answer to its end, and
    /// waits for what goes on in the background.
    pub(crate) fn ask(&self, method: &str, url: &str, fields: &[&str]) -> Answered {
        let mut request = get(url);
        request.method = method.parse().expect("a method");
        request.follow = false;
        for field in fields {
            let (name, value) = field.split_once(": ").expect("a field");
            let name: http::HeaderName = name.parse().expect("a name");
            request = request.header(name, value.parse().expect("a value"));
        }
        run(async {
            let mut response = self.client.open(&request, NO_EVENTS).await.expect("an answer");
            let mut bytes = Vec::new();
            while let Some(more) = response.body.next().await.expect("no error") {
                bytes.extend_from_slice(&more);
            }
            self.client.finish().await;
            let cache_status = response.cache_status.to_string();
            let (status, headers) = (response.status.as_u16(), response.headers);
            Answered { status, headers, bytes, cache_status }
        })
    }
}

/// Field lines that a handler can own.
pub(crate) type Lines = Vec<(String, String)>;

pub(crate) fn lines(lines: &[(&str, &str)]) -> Lines {
    lines.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A reply with these fields.
pub(crate) fn with_lines(reply: Reply, lines: &Lines) -> Reply {
    lines.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
}
