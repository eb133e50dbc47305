//! The course of every case, and its claims.
//!
//! A cache is prepared, the fault happens, and one request meets it: it gets the right bytes or a
//! clear error. A request after the fault gets the right bytes, and once the cache was swept there
//! is nothing in it but entries and what the inventory explains. The body can then be stored: of a
//! request and one more only the first brings a body. A wrong byte, a panic, an unexplained file or
//! a URL that can no longer be stored fails the test, naming the case.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rewarm_http::{
    Client, ClientConfig, Clock, Content, FetchError, NO_EVENTS, Proxies, Request, Url,
};
use rewarm_store::{Digest, Limits, Store};
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Seen, Server};

use crate::proxied::through_proxy;

/// A certificate to trust instead of the system's, whose many cost each new client some 60 ms. No
/// origin here speaks TLS.
pub(crate) const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/ca.pem");

/// What an origin answers.
pub(crate) type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// Something done to a scene.
pub(crate) type Act = Box<dyn Fn(&Scene) + Send + Sync>;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `Client::fetch`: the whole body, in the store or beside it.
    Keep,
    /// `Client::open`: the body as it comes.
    Read,
    /// `rewarm fetch`.
    Command,
    /// A client of `rewarm proxy --upstream`.
    Proxy,
}

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) way: Way,
    /// Whether the digest of the body is demanded.
    pub(crate) hashed: bool,
    /// What the origin answers before the fault and after it.
    pub(crate) good: Handler,
    /// What the origin answers while the fault lasts.
    pub(crate) faulty: Handler,
    pub(crate) prepare: Act,
    pub(crate) fault: Act,
    /// Bodies that are as right, because no client could know better.
    pub(crate) as_right: Vec<Vec<u8>>,
    /// How often a failed request is repeated while the fault lasts.
    pub(crate) retries: u32,
    /// How long the client waits for bytes while the fault lasts.
    pub(crate) patience: Duration,
}

impl Case {
    /// A case in which nothing happens: `good` is an origin's answer with the right body.
    pub(crate) fn new(name: impl Into<String>, way: Way, good: Handler) -> Self {
        Self {
            name: name.into(),
            way,
            hashed: false,
            faulty: Arc::clone(&good),
            good,
            prepare: Box::new(|_| {}),
            fault: Box::new(|_| {}),
            as_right: Vec::new(),
            retries: 0,
            patience: Duration::from_secs(20),
        }
    }
}

/// How cases of one class ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    right: usize,
    errors: usize,
    failures: Vec<String>,
    offered: usize,
}

impl Tally {
    pub(crate) fn right(&self) -> usize {
        self.right
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(()) => self.right += 1,
            Err(_) => self.errors += 1,
        }
    }

    /// Whether the next case is one in `every`: the same ones each time, and all of them when torture
    /// is asked for.
    pub(crate) fn is_turn(&mut self, every: usize) -> bool {
        self.offered += 1;
        rounds(0) > 0 || self.offered % every == 1
    }

    /// Runs one case; a panic is noted as its failure.
    pub(crate) fn attempt(&mut self, name: &str, case: impl FnOnce() -> Outcome) {
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(outcome) => self.add(&outcome),
            Err(_) => self.failures.push(name.to_owned()),
        }
    }

    /// Says how many there were; a class without cases is a mistake.
    #[track_caller]
    pub(crate) fn report(&self, class: &str) {
        let Self { right, errors, failures, .. } = self;
        let cases = right + errors;
        println!("faults: {class}: {cases} cases, {right} right bytes, {errors} clear errors");
        assert!(failures.is_empty(), "{} failed: {failures:#?}", failures.len());
        assert!(cases > 0, "no case of {class}");
    }
}

/// The right bytes, or an error that says what failed.
pub(crate) type Outcome = Result<(), String>;

/// A cache, an origin and somebody who asks.
pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Server,
    pub(crate) body: Vec<u8>,
    name: String,
    is_faulty: Arc<AtomicBool>,
}

/// The body of a scene, as its origin has it.
pub(crate) const SIZE: u64 = 150_000;

/// The answer of a sound origin: a cacheable body with a strong validator.
pub(crate) fn sound() -> Reply {
    Reply::generated(SIZE).header("etag", "\"1\"").header("cache-control", "max-age=600")
}

/// The same, to be validated each time.
pub(crate) fn validated() -> Reply {
    Reply::generated(SIZE).header("etag", "\"1\"").header("cache-control", "no-cache")
}

/// The body of the file beside that of the scene.
pub(crate) fn other_body() -> Vec<u8> {
    "other ".repeat(30_000).into_bytes()
}

thread_local! {
    /// Seconds that this thread's clock is ahead, or behind.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// The clock of this thread's clients.
pub(crate) fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "tests look at the clock as the binary does")]
    let now = SystemTime::now();
    let ahead = AHEAD.get();
    let step = Duration::from_secs(ahead.unsigned_abs());
    if ahead < 0 { now - step } else { now + step }
}

/// Sets this thread's clock so many seconds ahead.
pub(crate) fn set_clock(ahead: i64) {
    AHEAD.set(ahead);
}

/// How often something is tried that is drawn: `short`, unless torture is asked for.
#[expect(clippy::disallowed_methods, reason = "how long the torture lasts is said from outside")]
pub(crate) fn rounds(short: u64) -> u64 {
    let rounds = std::env::var("REWARM_TORTURE_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(short)
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % limit
    }
}

impl Scene {
    /// A scene with an empty cache.
    pub(crate) fn new(name: &str, good: Handler, faulty: Handler) -> Self {
        let is_faulty = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_faulty);
        let server = Server::start(move |seen| {
            if seen.path == "/other" {
                return Reply::ok(other_body()).header("etag", "\"other\"");
            }
            if flag.load(Ordering::SeqCst) { faulty(seen) } else { good(seen) }
        });
        let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_rewarm"));
        fs::create_dir(sandbox.home().join("tmp")).expect("a new directory");
        let body = rewarm_testkit::server::Content::Generated(SIZE).to_vec();
        Self { sandbox, server, body, name: name.to_owned(), is_faulty }
    }

    /// Whether the origin answers as it does while the fault lasts.
    pub(crate) fn set_faulty(&self, is_faulty: bool) {
        self.is_faulty.store(is_faulty, Ordering::SeqCst);
    }

    /// Where bodies go that cannot be stored.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.sandbox.home().join("tmp")
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("/file")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.sandbox.cache()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// A client on the cache, as a process of its own would have it, and its store.
    pub(crate) fn client(&self, change: impl FnOnce(&mut ClientConfig)) -> (Client, Store) {
        let mut config = ClientConfig {
            retries: 0,
            retry_delay: Duration::from_millis(1),
            proxies: Proxies::None,
            cert_file: Some(CERTIFICATE.into()),
            ..ClientConfig::new(self.tmp())
        };
        change(&mut config);
        let store = self.store();
        (Client::new(store.clone(), config, Clock::new(now)), store)
    }

    pub(crate) fn request(&self, hashed: bool) -> Request {
        let request = Request::get(Url::parse(&self.url()).expect("a URL"));
        if hashed { request.expecting(Digest::of(&self.body)) } else { request }
    }

    /// Asks in the given way; panics unless right bytes came or a clear error.
    pub(crate) fn ask(&self, case: &Case) -> Outcome {
        let is_right = |bytes: &[u8]| {
            bytes == self.body || !case.hashed && case.as_right.iter().any(|other| other == bytes)
        };
        let client = || {
            self.client(|config| {
                config.retries = case.retries;
                config.read_timeout = case.patience;
                config.connect_timeout = case.patience;
                config.patience = case.patience;
            })
        };
        let bytes = match case.way {
            Way::Proxy => block_on(through_proxy(client().0, &self.server.url("")))?,
            Way::Keep | Way::Read => {
                let client = client();
                let got = block_on(fetched(&client, &self.request(case.hashed), case.way));
                got.map_err(|error| self.clear(&error))?
            }
            Way::Command => self.command(case.hashed)?,
        };
        assert!(is_right(&bytes), "{}: {} wrong bytes", self.name, bytes.len());
        Ok(())
    }

    /// Stores the file, and another one beside it.
    pub(crate) fn store_both(&self, hashed: bool) {
        let client = self.client(|_| {});
        for request in [self.request(hashed), self.other()] {
            block_on(fetched(&client, &request, Way::Keep)).expect("a sound origin");
        }
    }

    /// A request for the other file.
    pub(crate) fn other(&self) -> Request {
        Request::get(Url::parse(&self.server.url("/other")).expect("a URL"))
    }

    /// Asks for the other file, if there was one.
    fn ask_other(&self) {
        if self.server.count("/other") > 0 {
            let bytes = block_on(fetched(&self.client(|_| {}), &self.other(), Way::Keep));
            let bytes = bytes.unwrap_or_else(|error| panic!("{}: the other: {error}", self.name));
            assert!(bytes == other_body(), "{}: the other file is wrong", self.name);
        }
    }

    /// An error of the library is clear when it names the URL and a cause.
    fn clear(&self, error: &FetchError) -> String {
        let text = error.to_string();
        assert!(text.contains(&self.url()), "{}: {text}", self.name);
        text
    }

    /// Runs `rewarm fetch` as a user would.
    pub(crate) fn command(&self, hashed: bool) -> Result<Vec<u8>, String> {
        let _ = fs::remove_file(self.sandbox.project().join("file"));
        let output = self.sandbox.output(&mut self.fetching("file", hashed));
        self.judge(&output)
    }

    /// The command that fetches the file to a place in the project.
    pub(crate) fn fetching(&self, target: &str, hashed: bool) -> Command {
        let mut command = self.sandbox.command(["fetch", &self.url(), "-o", target]);
        if hashed {
            command.args(["--hash", &format!("sha256:{}", Digest::of(&self.body))]);
        }
        command.env("TMPDIR", self.tmp()).env("SSL_CERT_FILE", CERTIFICATE);
        command
    }

    /// What came of a command that fetched to `file`: its bytes or its message.
    pub(crate) fn judge(&self, output: &Output) -> Result<Vec<u8>, String> {
        let target = self.sandbox.project().join("file");
        match output.code {
            Some(0) => Ok(fs::read(&target).expect("a success leaves the file")),
            Some(3) if output.stderr.contains("error: ") => {
                assert!(!target.exists(), "{}: a failure leaves no file", self.name);
                Err(output.stderr.clone())
            }
            _ => panic!("{}: {output}", self.name),
        }
    }
}

/// Runs on a single-threaded runtime, as the binary does.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// The bytes of a body, whole; `store` is the client's.
pub(crate) async fn fetched(
    (client, store): &(Client, Store),
    request: &Request,
    way: Way,
) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    if way == Way::Read {
        let mut response = client.open(request, NO_EVENTS).await?;
        response.expect_whole()?;
        while let Some(piece) = response.body.next().await? {
            bytes.extend_from_slice(&piece);
        }
    } else {
        let got = client.fetch(request, NO_EVENTS).await?;
        match got.content {
            Content::Stored(blob) => {
                let path = store.blob_path(&blob.digest).expect("a stored body is there");
                bytes = fs::read(path).expect("a stored body is readable");
            }
            Content::Spilled { mut file, .. } => {
                std::io::Read::read_to_end(&mut file, &mut bytes).expect("readable");
            }
        }
    }
    client.finish().await;
    Ok(bytes)
}

/// Runs the case if it is one in `every`.
pub(crate) fn run_some(every: usize, case: &Case, tally: &mut Tally) {
    if tally.is_turn(every) {
        run(case, tally);
    }
}

/// Runs a case to its end. One that fails does not keep the others from being run.
pub(crate) fn run(case: &Case, tally: &mut Tally) {
    tally.attempt(&case.name, || {
        let scene = Scene::new(&case.name, Arc::clone(&case.good), Arc::clone(&case.faulty));
        (case.prepare)(&scene);
        scene.set_faulty(true);
        (case.fault)(&scene);
        let outcome = scene.ask(case);
        scene.set_faulty(false);
        recover(&scene, case);
        outcome
    });
}

/// What must hold once the fault is over, of a body that may not be stored, too.
pub(crate) fn recover_unstored(scene: &Scene, case: &Case) {
    let again = scene.ask(&after(case));
    again.unwrap_or_else(|error| panic!("{}: after the fault: {error}", case.name));
    scene.ask_other();
    sweep(scene);
    assert_no_litter(scene);
}

/// What must hold once the fault is over.
pub(crate) fn recover(scene: &Scene, case: &Case) {
    recover_unstored(scene, case);
    let patient = after(case);
    let again = scene.ask(&patient);
    again.unwrap_or_else(|error| panic!("{}: after the sweep: {error}", case.name));
    let before = scene.server.seen().len();
    scene.ask(&patient).unwrap_or_else(|error| panic!("{}: stored: {error}", case.name));
    let seen = scene.server.seen();
    let is_stored = seen[before..].iter().all(|seen| seen.header("if-none-match").is_some());
    assert!(is_stored, "{}: the body cannot be stored any more", case.name);
}

/// The same case without its fault.
fn after(case: &Case) -> Case {
    Case { hashed: case.hashed, ..Case::new(&case.name, case.way, Arc::clone(&case.good)) }
}

/// Sweeps with every age passed.
fn sweep(scene: &Scene) {
    let none = Duration::ZERO;
    let limits = Limits { grace: none, partial_age: none, ..Limits::default() };
    let day = Duration::from_secs(24 * 60 * 60);
    let report = scene.store().sweep(&rewarm_http::formats(), &limits, now() + day);
    let report = report.unwrap_or_else(|error| panic!("{}: sweep: {error}", scene.name));
    assert!(report.failed.is_empty(), "{}: {report:?}", scene.name);
}

/// Compares what is in the cache with what the inventory explains, and looks at the directories
/// around it.
pub(crate) fn assert_no_litter(scene: &Scene) {
    let (store, root) = (scene.store(), scene.sandbox.cache());
    let inventory = store.inventory(&rewarm_http::formats()).expect("readable");
    let mut explained: BTreeSet<PathBuf> = ["CACHEDIR.TAG", "swept", "locks/gate", "locks/sweep"]
        .into_iter()
        .map(|name| root.join(name))
        .collect();
    let mut referenced = BTreeSet::new();
    for record in inventory.records.iter().filter(|record| record.is_known) {
        let key = record.key.to_string();
        let area = format!("{}-v{}", record.kind, record.version);
        explained.insert(root.join(area).join(&key[..2]).join(&key));
        referenced.extend(record.references.iter().map(ToString::to_string));
    }
    for blob in &inventory.blobs {
        assert!(referenced.contains(&blob.digest.to_string()), "{}: {blob:?}", scene.name);
        assert!(store.verify_blob(&blob.digest).expect("readable"), "{}: {blob:?}", scene.name);
        explained.extend(store.blob_path(&blob.digest));
    }
    let litter: Vec<PathBuf> =
        files_below(&root).into_iter().filter(|path| !explained.contains(path)).collect();
    assert!(litter.is_empty(), "{}: {litter:?}", scene.name);
    let spilled = files_below(&scene.tmp());
    assert!(spilled.is_empty(), "{}: {spilled:?}", scene.name);
    let outside = files_below(&scene.sandbox.project());
    let is_target = |path: &PathBuf| path.to_string_lossy().ends_with("file");
    assert!(outside.iter().all(is_target), "{}: {outside:?}", scene.name);
}

/// Everything below a directory that is no directory; nothing is followed.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found.sort();
    found
}
