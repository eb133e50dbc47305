//! Several processes on one store, some of them killed at any moment.
//!
//! A worker is this test binary, started again for the one test `worker` with its part in the
//! environment. `REWARM_TORTURE_ROUNDS` says how many writers are killed; the default is short.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rewarm_store::{Digest, Format, Limits, Store};

use crate::support::{
    Note, assignment, leftovers, note, now, put, store, variable, walk, worker as worker_command,
};

const SEED: &str = "REWARM_TEST_SEED";
const ROUNDS: &str = "REWARM_TORTURE_ROUNDS";

/// Keys that all workers share; few, so that they meet.
const KEYS: u64 = 4;
const FILES: u64 = 8;

/// A small generator of numbers (xorshift64); what matters is that workers differ.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Starts a worker and waits until it says that it is at work.
fn start(part: &str, root: &Path, seed: u64) -> Child {
    let mut child = worker_command(&[], "processes::worker", part, root)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a worker");
    let mut lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("at work"))), "{part} started");
    child
}

fn finish(mut child: Child) {
    let mut stderr = String::new();
    let pipe = child.stderr.as_mut().expect("piped");
    pipe.read_to_string(&mut stderr).expect("text");
    let mut stdout = String::new();
    child.stdout.as_mut().expect("piped").read_to_string(&mut stdout).expect("text");
    let status = child.wait().expect("a worker");
    assert!(status.success(), "{stdout}{stderr}");
}

#[test]
#[ignore = "a worker of the other tests, not a test"]
fn worker() {
    let Some((part, root)) = assignment() else { return };
    let seed: u64 = variable(SEED).and_then(|seed| seed.parse().ok()).expect("a seed");
    let store = Store::open(&root).expect("a store");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    println!("at work");
    std::io::stdout().flush().expect("a pipe");
    match part.as_str() {
        "write" => loop {
            write_something(&store, &mut random);
        },
        "lease" => (0..60).for_each(|_| use_under_lease(&store, &mut random)),
        "refer" => (0..60).for_each(|round| refer_under_lease(&store, &mut random, seed, round)),
        "count" => (0..50).for_each(|_| count_under_lock(&store)),
        "sweep" => loop {
            let known = [Format::of::<Note>()];
            let limits = Limits { max_bytes: Some(40_000), ..Limits::nothing() };
            store.sweep(&known, &limits, now()).expect("a sweep");
        },
        other => panic!("no part `{other}`"),
    }
}

/// The bytes of one generation of one key: up to 60 000, so that a blob takes several writes.
fn content(key: u64, generation: u64) -> Vec<u8> {
    let line = format!("{key} {generation}\n");
    line.repeat(usize::try_from(generation % 10_000).expect("small") + 1).into_bytes()
}

fn key(number: u64) -> Digest {
    Digest::of(number.to_le_bytes())
}

fn write_something(store: &Store, random: &mut Random) {
    let number = random.below(KEYS);
    match random.below(4) {
        0 => {
            let generation = random.below(10_000);
            let bytes = content(number, generation);
            let mut writer = store.blob_writer().expect("room");
            for chunk in bytes.chunks(8000) {
                writer.write_all(chunk).expect("room");
            }
            let blob = writer.commit(None).expect("room").digest;
            let text = format!("{number} {generation}");
            store.write(&key(number), &note(&text, &[blob])).expect("room");
        }
        1 => write_tree(store, number, random.below(8) == 0),
        2 => {
            let slot = store.slot("test", &key(number));
            let private = slot.private(|_| false).expect("room");
            fs::remove_dir_all(private.path().join("deep")).ok();
            fs::create_dir(private.path().join("deep")).expect("room");
            let generation = random.below(1000).to_string();
            for file in 0..FILES {
                let path = private.path().join(format!("deep/{file}"));
                fs::write(path, &generation).expect("room");
            }
            private.publish().expect("room");
        }
        _ => {
            let lease = store.lease([key(number)]).expect("room");
            check(store);
            drop(lease);
        }
    }
}

fn write_tree(store: &Store, number: u64, damage: bool) {
    let text = |file: u64| format!("{number} {file}\n").repeat(100);
    let writer = match store.tree_writer(&key(number)).expect("room") {
        Ok(writer) => writer,
        Err(tree) => {
            if damage {
                fs::write(tree.path.join("0"), "edited").ok();
            }
            return;
        }
    };
    let mut files = Vec::new();
    for file in 0..FILES {
        fs::write(writer.path().join(file.to_string()), text(file)).expect("room");
        files.push((file.to_string(), Digest::of(text(file))));
    }
    writer.commit(files).expect("room");
}

/// What any reader may expect at any moment, unless somebody sweeps.
fn check(store: &Store) {
    for number in 0..KEYS {
        if let Some(Note { text, blobs }) = store.read::<Note>(&key(number)) {
            let (of, generation) = text.split_once(' ').expect("two numbers");
            assert_eq!(of, number.to_string());
            let expected = content(number, generation.parse().expect("a number"));
            let mut bytes = Vec::new();
            let reader = store.open_blob(&blobs[0]).expect("readable");
            let mut reader = reader.expect("a blob is there before the record that refers to it");
            reader.read_to_end(&mut bytes).expect("a whole blob");
            assert!(bytes == expected, "the blob of `{text}`");
        }
        if let Some(tree) = store.tree(&key(number)) {
            assert_eq!(tree.files.len() as u64, FILES);
        }
        let private = store.slot("test", &key(number)).private(|_| false).expect("room");
        let texts = (0..FILES).map(|f| fs::read(private.path().join(format!("deep/{f}"))).ok());
        let texts: Vec<_> = texts.collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    }
}

#[test]
fn killed_writers_leave_nothing_torn_and_a_sweep_no_litter() {
    let (_dir, store) = store();
    let rounds = variable(ROUNDS).and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    let mut random = Random(0x5EED);
    for round in 0..rounds {
        let mut workers =
            [start("write", store.root(), 2 * round), start("write", store.root(), 2 * round + 1)];
        for worker in &mut workers {
            std::thread::sleep(Duration::from_micros(random.below(8000)));
            worker.kill().expect("a running worker");
            let status = worker.wait().expect("a killed worker");
            assert_eq!(status.signal(), Some(9), "it found nothing wrong by itself");
            check(&store);
        }
    }
    let limits = Limits { max_bytes: None, ..Limits::nothing() };
    let report = store.sweep(&[Format::of::<Note>()], &limits, now()).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert!(leftovers(&store).is_empty(), "{:?}", leftovers(&store));
    assert!(walk(&store.root().join("leases")).is_empty());
    let locks = walk(&store.root().join("locks"));
    let locks: Vec<_> = locks.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(locks, ["gate", "sweep"]);
    check(&store);
}

/// Whatever is found, or put, under a lease stays until the lease ends.
fn use_under_lease(store: &Store, random: &mut Random) {
    let bytes = content(random.below(KEYS), random.below(3));
    let blob = Digest::of(&bytes);
    let lease = store.lease([blob]).expect("room");
    if store.blob_path(&blob).is_none() {
        put(store, &bytes);
    }
    for _ in 0..20 {
        assert!(store.verify_blob(&blob).expect("readable"), "a leased blob was swept");
    }
    drop(lease);
}

/// A record written under a lease has its blob, also when the lease ended during a sweep.
fn refer_under_lease(store: &Store, random: &mut Random, seed: u64, round: u64) {
    let bytes = content(random.below(KEYS), random.below(3));
    let blob = Digest::of(&bytes);
    let key = Digest::of(format!("{seed} {}", round % 4));
    let lease = store.lease([blob]).expect("room");
    if store.blob_path(&blob).is_none() {
        put(store, &bytes);
    }
    store.write(&key, &note("mine", &[blob])).expect("room");
    drop(lease);
    for _ in 0..20 {
        assert!(store.blob_path(&blob).is_some(), "a blob in use was swept");
    }
    if random.below(2) == 0 {
        store.remove::<Note>(&key).expect("removable");
    }
}

fn sweep_beside(part: &str, limits: &Limits) {
    let (_dir, store) = store();
    let mut workers: Vec<_> = (0..3).map(|seed| start(part, store.root(), seed)).collect();
    let mut removed = 0;
    let mut is_over = false;
    while !is_over {
        is_over = workers.iter_mut().all(|w| w.try_wait().expect("a worker").is_some());
        let report = store.sweep(&[Format::of::<Note>()], limits, now()).expect("a sweep");
        assert!(report.failed.is_empty(), "{report:?}");
        removed += report.total().entries;
    }
    workers.into_iter().for_each(finish);
    assert!(removed > 0, "nothing was swept: this test shows nothing");
    store.sweep(&[Format::of::<Note>()], limits, now()).expect("a sweep");
    assert!(leftovers(&store).is_empty());
    assert!(walk(&store.root().join("leases")).is_empty());
}

#[test]
fn sweeping_all_that_is_not_in_use_loses_nothing_leased() {
    sweep_beside("lease", &Limits::nothing());
}

#[test]
fn sweeping_what_nothing_refers_to_loses_nothing_referred_to() {
    sweep_beside("refer", &Limits { max_bytes: None, ..Limits::nothing() });
}

#[test]
fn killed_sweepers_and_writers_leave_a_store_that_heals() {
    let (_dir, store) = store();
    let mut random = Random(0xC0FFEE);
    for round in 0..15 {
        let mut workers =
            [start("sweep", store.root(), round), start("write", store.root(), round)];
        // A writer's check may find a swept blob missing, and end by itself.
        for worker in &mut workers {
            std::thread::sleep(Duration::from_micros(random.below(8000)));
            worker.kill().expect("a worker");
            worker.wait().expect("a worker");
        }
    }
    store.sweep(&[Format::of::<Note>()], &Limits::nothing(), now()).unwrap();
    assert!(leftovers(&store).is_empty());
    for number in 0..KEYS {
        write_tree(&store, number, false);
        assert!(store.tree(&key(number)).is_some());
    }
}

fn count_under_lock(store: &Store) {
    let _lock = store.lock("count", &key(0)).expect("a lock");
    let path = store.root().join("count");
    let count: u64 = fs::read_to_string(&path).map_or(0, |text| text.parse().expect("a number"));
    fs::write(path, (count + 1).to_string()).expect("room");
}

#[test]
fn lock_excludes_processes_also_while_its_file_is_swept() {
    let (_dir, store) = store();
    let mut workers: Vec<_> = (0..3).map(|seed| start("count", store.root(), seed)).collect();
    while workers.iter_mut().any(|worker| worker.try_wait().expect("a worker").is_none()) {
        store.sweep(&[], &Limits::nothing(), now()).unwrap();
    }
    workers.into_iter().for_each(finish);
    assert_eq!(fs::read_to_string(store.root().join("count")).unwrap(), "150");
}
