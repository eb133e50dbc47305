//! One download for all who ask at once: tasks, clients, processes, and the death of any of them.
//!
//! Processes are this test binary again, told by the environment to run one worker.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rewarm_http::{NO_EVENTS, Reuse};
use rewarm_store::Digest;
use rewarm_testkit::server::{Content, Gate, Reply, Server};

use crate::common::{Cache, get, pass, run};

pub(crate) const SIZE: u64 = 20_000_000;
const DIR: &str = "REWARM_TEST_WORKER_DIR";
const URL: &str = "REWARM_TEST_WORKER_URL";
const MODE: &str = "REWARM_TEST_WORKER_MODE";

/// Not a claim but the body of the worker processes; does nothing in an ordinary run.
#[test]
fn worker() {
    let variable = |name: &str| read_variable(name);
    let (Some(dir), Some(url)) = (variable(DIR), variable(URL)) else { return };
    let dir = Path::new(&dir);
    let config = crate::common::config(dir);
    let clock = rewarm_http::Clock::new(crate::common::now);
    let client = rewarm_http::Client::new(crate::common::store(dir), config, clock);
    let keep = variable(MODE).as_deref() == Some("keep");
    let digest = run(async {
        if keep {
            let fetched = client.fetch(&get(&url), NO_EVENTS).await.expect("a body");
            return fetched.content.blob().digest;
        }
        let mut response = client.open(&get(&url), NO_EVENTS).await.expect("a response");
        let mut hasher = rewarm_store::Hasher::raw();
        let mut first = true;
        while let Some(bytes) = response.body.next().await.expect("bytes") {
            if std::mem::take(&mut first) {
                println!("\nfirst");
            }
            hasher.update(&bytes);
        }
        hasher.finish()
    });
    println!("\ndigest {digest}");
}

#[expect(clippy::disallowed_methods, reason = "how a worker process is told what to do")]
fn read_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(crate) struct Worker {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Worker {
    pub(crate) fn start(dir: &Path, url: &str, mode: &str) -> Self {
        let exe = std::env::current_exe().expect("this binary");
        Self::start_by(Command::new(exe), (dir, url, mode))
    }

    /// A worker that cannot write files of more than some megabytes.
    pub(crate) fn start_cramped(dir: &Path, url: &str, mode: &str) -> Self {
        let mut command = Command::new("sh");
        // The signal would end the process; ignored, the write fails.
        command.args(["-c", r#"trap '' XFSZ; ulimit -f 8192; exec "$0" "$@""#]);
        command.arg(std::env::current_exe().expect("this binary"));
        Self::start_by(command, (dir, url, mode))
    }

    fn start_by(mut command: Command, (dir, url, mode): (&Path, &str, &str)) -> Self {
        command.args(["flights::worker", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(DIR, dir).env(URL, url).env(MODE, mode);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output }
    }

    /// Waits until the worker has its first bytes.
    pub(crate) fn wait_first(&mut self) {
        let mut line = String::new();
        while line.trim() != "first" {
            line.clear();
            let count = self.output.read_line(&mut line).expect("readable");
            assert!(count > 0, "the worker ended early");
        }
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Waits for the end; the digest of what the worker got.
    pub(crate) fn digest(mut self) -> Digest {
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("readable");
        let mut errors = String::new();
        let stderr = self.child.stderr.take().expect("piped");
        BufReader::new(stderr).read_to_string(&mut errors).expect("readable");
        let status = self.child.wait().expect("reaped");
        assert!(status.success(), "{errors}");
        let line = text.lines().find_map(|line| line.strip_prefix("digest "));
        line.expect("a digest").trim().parse().expect("a digest")
    }
}

pub(crate) fn body() -> Reply {
    Reply::generated(SIZE).header("etag", "\"1\"").header("cache-control", "max-age=600")
}

/// An origin of which every answer stops after so many bytes until the gate is open.
pub(crate) fn holding(gate: &Gate, bytes: u64) -> Server {
    let held = gate.clone();
    Server::start(move |_| body().gate_after(bytes, &held))
}

/// An origin of which only the first answer does.
pub(crate) fn holding_first(gate: &Gate, bytes: u64) -> Server {
    let held = gate.clone();
    Server::start(move |seen| match seen.nth {
        0 => body().gate_after(bytes, &held),
        _ => body(),
    })
}

pub(crate) fn right() -> Digest {
    Content::Generated(SIZE).sha256().parse().expect("a digest")
}

#[test]
fn four_processes_reach_the_origin_once() {
    for mode in ["keep", "read"] {
        let gate = Gate::closed();
        let held = gate.clone();
        let server = Server::start(move |_| body().gate(&held));
        let cache = Cache::new();
        let start = || Worker::start(cache.dir.path(), &server.url("/a"), mode);
        let workers: Vec<_> = (0..4).map(|_| start()).collect();
        gate.wait_reached();
        gate.open();
        for worker in workers {
            assert_eq!(worker.digest(), right(), "{mode}");
        }
        assert_eq!(server.count("/a"), 1, "{mode}");
        assert_eq!(cache.files("partial-v1").len(), 0);
    }
}

#[test]
fn followers_get_bytes_while_the_leader_still_downloads() {
    let gate = Gate::closed();
    let server = holding(&gate, 1_000_000);
    let cache = Cache::new();
    let mut leader = Worker::start(cache.dir.path(), &server.url("/a"), "read");
    leader.wait_first();
    let mut follower = Worker::start(cache.dir.path(), &server.url("/a"), "read");
    follower.wait_first();
    gate.open();
    assert_eq!((leader.digest(), follower.digest()), (right(), right()));
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn follower_in_the_same_process_gets_bytes_while_the_leader_still_downloads() {
    let gate = Gate::closed();
    let server = holding(&gate, 1_000_000);
    let cache = Cache::new();
    let other = cache.again(|_| {});
    run(async {
        let request = get(&server.url("/a"));
        let mut leader = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        leader.body.next().await.expect("no error").expect("bytes");
        let mut follower = other.open(&request, NO_EVENTS).await.expect("a response");
        assert_eq!(*follower.body.reuse(), Reuse::Followed);
        follower.body.next().await.expect("no error").expect("bytes");
        gate.open();
        // Both advance in turn, as tasks of one runtime do.
        let (a, b) = tokio::join!(drain(&mut leader.body), drain(&mut follower.body));
        assert_eq!(a, b);
    });
    assert_eq!(server.count("/a"), 1);
}

async fn drain(body: &mut rewarm_http::Body<'_>) -> Option<()> {
    while body.next().await.expect("no error").is_some() {}
    Some(())
}

/// Waits until so many bytes of a download are on disk.
fn wait_for_data(cache: &Cache, bytes: u64) {
    let length = |path: &std::path::PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    while cache.files("partial-v1").iter().map(length).max().unwrap_or(0) < bytes {
        std::thread::yield_now();
    }
}

#[test]
fn follower_goes_on_when_the_leader_is_killed() {
    for mode in ["read", "keep"] {
        let gate = Gate::closed();
        let server = holding_first(&gate, 10_000_000);
        let cache = Cache::new();
        let mut leader = Worker::start(cache.dir.path(), &server.url("/a"), "read");
        leader.wait_first();
        wait_for_data(&cache, 10_000_000);
        let mut follower = Worker::start(cache.dir.path(), &server.url("/a"), mode);
        if mode == "read" {
            follower.wait_first();
        }
        leader.kill();
        assert_eq!(follower.digest(), right(), "{mode}");
        let seen = server.seen();
        assert_eq!(seen.len(), 2, "{mode}");
        let range = seen[1].header("range").expect("the rest only");
        let from: u64 = range["bytes=".len()..range.len() - 1].parse().expect("a number");
        assert!((4_000_000..=10_000_000).contains(&from), "{from}");
    }
}

#[test]
fn follower_goes_on_when_the_leader_loses_interest() {
    let gate = Gate::closed();
    let server = holding_first(&gate, 10_000_000);
    let cache = Cache::new();
    let other = cache.again(|_| {});
    run(async {
        let request = get(&server.url("/a"));
        let mut leader = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        let mut length = 0;
        while length < 5_000_000 {
            length += leader.body.next().await.expect("no error").expect("bytes").len();
        }
        let mut follower = other.open(&request, NO_EVENTS).await.expect("a response");
        let first = follower.body.next().await.expect("no error").expect("bytes");
        let mut hasher = rewarm_store::Hasher::raw();
        hasher.update(&first);
        drop(leader);
        while let Some(bytes) = follower.body.next().await.expect("no error") {
            hasher.update(&bytes);
        }
        assert_eq!(hasher.finish(), right());
    });
    assert!(server.seen()[1].header("range").is_some());
}

#[test]
fn processes_that_find_an_old_leftover_share_its_rest() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |seen| match seen.nth {
        0 => body().cut_after(9_000_000),
        _ => body().gate(&held),
    });
    let cache = Cache::with(|config| config.retries = 0);
    cache.get(&server.url("/a")).expect_err("cut");
    pass(1_000_000);
    let later = [cache.again(|_| {}), cache.again(|_| {}), cache.again(|_| {})];
    run(async {
        let request = get(&server.url("/a"));
        let fetch = |index: usize| later[index].fetch(&request, NO_EVENTS);
        let open = async {
            while server.count("/a") < 2 {
                tokio::task::yield_now().await;
            }
            gate.open();
        };
        let (a, b, c, ()) = tokio::join!(fetch(0), fetch(1), fetch(2), open);
        for fetched in [a, b, c] {
            assert_eq!(fetched.expect("a body").content.blob().digest, right());
        }
    });
    assert_eq!(server.count("/a"), 2);
    assert_eq!(cache.get(&server.url("/a")).expect("a hit").1, Reuse::Fresh);
}

#[test]
fn killed_processes_never_harm_those_who_are_left() {
    let rounds: u64 =
        read_variable("REWARM_TORTURE_ROUNDS").and_then(|n| n.parse().ok()).unwrap_or(6);
    let server = Server::start(|_| body());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        let cache = Cache::new();
        let start = |index: usize| {
            let mode = if index.is_multiple_of(2) { "read" } else { "keep" };
            Worker::start(cache.dir.path(), &server.url(&format!("/{round}")), mode)
        };
        let mut workers: Vec<_> = (0..4).map(start).collect();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Not a synchronisation: the moment of death is meant to be anywhere.
            std::thread::sleep(Duration::from_millis(state % 40));
            let victim = usize::try_from(state % workers.len() as u64).expect("small");
            workers.swap_remove(victim).kill();
        }
        for worker in workers {
            assert_eq!(worker.digest(), right());
        }
        let last = Worker::start(cache.dir.path(), &server.url(&format!("/{round}")), "read");
        assert_eq!(last.digest(), right());
    }
}

#[test]
fn unstorable_responses_are_fetched_by_each() {
    let server = Server::start(|_| Reply::ok("x").header("cache-control", "no-store"));
    let cache = Cache::new();
    let start = || Worker::start(cache.dir.path(), &server.url("/a"), "keep");
    let workers: Vec<_> = (0..3).map(|_| start()).collect();
    for worker in workers {
        assert_eq!(worker.digest(), Digest::of("x"));
    }
    assert_eq!(server.count("/a"), 3);
}

#[test]
fn nobody_waits_for_a_response_that_will_be_of_no_use_to_others() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |seen| {
        let reply = Reply::ok("x").header("cache-control", "no-store");
        if seen.nth == 0 { reply } else { reply.gate(&held) }
    });
    let cache = Cache::with(|config| config.patience = Duration::from_secs(3600));
    let url = server.url("/a");
    cache.text(&url);
    run(async {
        let request = get(&url);
        let ask = || async { cache.client.open(&request, NO_EVENTS).await.expect("a response") };
        // All three reach the origin while none of them is answered.
        let all = async {
            while server.count("/a") < 4 {
                tokio::task::yield_now().await;
            }
            gate.open();
        };
        let together = async { tokio::join!(ask(), ask(), ask(), all) };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, together).await.expect("nobody waits for another");
    });
    assert_eq!(server.count("/a"), 4);
}

#[test]
fn response_that_may_not_be_shared_is_fetched_by_each() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |_| {
        let reply = Reply::generated(SIZE).header("cache-control", "no-cache");
        reply.header("etag", "\"1\"").gate_after(1_000_000, &held)
    });
    let cache = Cache::new();
    let other = cache.again(|_| {});
    run(async {
        let request = get(&server.url("/a"));
        let mut first = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        first.body.next().await.expect("no error").expect("bytes");
        let mut second = other.open(&request, NO_EVENTS).await.expect("a response");
        assert_eq!(*second.body.reuse(), Reuse::Downloaded);
        gate.open();
        tokio::join!(drain(&mut first.body), drain(&mut second.body));
    });
    assert_eq!(server.count("/a"), 2);
}

/// Two clients that differ in `User-Agent` ask at once; how often the origin is asked.
fn asked_by_different_agents(vary: &'static str) -> usize {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |_| body().header("vary", vary).gate_after(1_000_000, &held));
    let cache = Cache::new();
    let other = cache.again(|config| config.user_agent = "other/1".into());
    run(async {
        let request = get(&server.url("/a"));
        let mut leader = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        leader.body.next().await.expect("no error").expect("bytes");
        let mut follower = other.open(&request, NO_EVENTS).await.expect("a response");
        gate.open();
        tokio::join!(drain(&mut leader.body), drain(&mut follower.body));
    });
    server.count("/a")
}

#[test]
fn clients_that_differ_only_in_user_agent_share_a_download() {
    assert_eq!(asked_by_different_agents("accept"), 1);
}

#[test]
fn clients_that_differ_in_what_the_response_varies_by_do_not_share() {
    assert_eq!(asked_by_different_agents("user-agent"), 2);
}

#[test]
fn leader_that_stands_still_is_not_waited_for() {
    let gate = Gate::closed();
    let server = holding_first(&gate, 1_000_000);
    let cache = Cache::new();
    let impatient = cache.again(|config| config.patience = Duration::from_millis(50));
    run(async {
        let request = get(&server.url("/a"));
        let mut leader = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        leader.body.next().await.expect("no error").expect("bytes");
        let mut other = impatient.open(&request, NO_EVENTS).await.expect("a response");
        let mut hasher = rewarm_store::Hasher::raw();
        while let Some(bytes) = other.body.next().await.expect("no error") {
            hasher.update(&bytes);
        }
        assert_eq!(hasher.finish(), right());
        gate.open();
    });
    assert_eq!(server.count("/a"), 2);
}
