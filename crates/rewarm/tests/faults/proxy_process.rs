//! `rewarm proxy` as a process of its own: disks that fail under it, and its death in the middle of any
//! write, with clients waiting.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;

use rewarm_testkit::server::Seen;
use rustix::process::{Pid, Signal, kill_process};

use crate::disk::preload;
use crate::harness::{
    CERTIFICATE, Case, Draw, Handler, Scene, Tally, Way, block_on, recover, rounds, sound,
};
use crate::proxied::ask;

/// A proxy in front of a scene's origin; told to end when dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// `None` if it died before it could say where it listens.
    fn start(scene: &Scene, told: &[(&str, String)]) -> Option<Self> {
        let upstream = scene.server.url("");
        let args = ["--json", "proxy", "--listen", "127.0.0.1:0", "--upstream", &upstream];
        let mut command = scene.sandbox.command(args);
        command.env("TMPDIR", scene.tmp()).env("SSL_CERT_FILE", CERTIFICATE);
        preload(&mut command, &[scene.sandbox.cache()], told);
        command.env("FAULT_LOG", scene.sandbox.home().join("calls"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        let told: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let Some(told) = told else {
            child.wait().expect("it ended");
            return None;
        };
        let address = told["address"].as_str().expect("an address").parse().expect("an address");
        Some(Self { child, address })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn handler() -> Handler {
    Arc::new(|_: &Seen| sound())
}

/// Calls that writes to the cache take until the body was served, and stored.
fn calls() -> u64 {
    let scene = Scene::new("counting", handler(), handler());
    let running = Running::start(&scene, &[]).expect("it starts");
    let bytes = block_on(ask(running.address)).expect("a sound origin");
    assert!(bytes == scene.body);
    drop(running);
    let log = fs::read_to_string(scene.sandbox.home().join("calls")).expect("calls were counted");
    log.lines().count() as u64
}

/// Two clients ask while call number `at` meets its fate.
fn run(mode: &str, at: u64, tally: &mut Tally) {
    let name = format!("proxy, {mode} at {at}");
    tally.attempt(&name, || {
        let case = Case::new(&name, Way::Proxy, handler());
        let scene = Scene::new(&name, handler(), handler());
        let told = [
            ("FAULT_AT", at.to_string()),
            ("FAULT_MODE", mode.to_owned()),
            ("FAULT_ERRNO", ["28", "5", "122"][usize::try_from(at % 3).expect("small")].to_owned()),
        ];
        let mut outcome = Ok(());
        if let Some(running) = Running::start(&scene, &told) {
            let both = block_on(async { tokio::join!(ask(running.address), ask(running.address)) });
            for answer in [both.0, both.1] {
                match answer {
                    Ok(bytes) => assert!(bytes == scene.body, "{} wrong bytes", bytes.len()),
                    Err(text) => outcome = Err(text),
                }
            }
        } else {
            outcome = Err("killed before it listened".to_owned());
        }
        assert!(outcome.is_ok() || mode == "kill", "{outcome:?}");
        let again = Running::start(&scene, &[]).expect("it starts");
        let bytes = block_on(ask(again.address)).expect("the disk works again");
        assert!(bytes == scene.body, "after the fault: {} wrong bytes", bytes.len());
        drop(again);
        recover(&scene, &case);
        outcome
    });
}

#[test]
fn proxy_that_dies_in_any_write_leaves_a_cache_in_order() {
    let mut tally = Tally::default();
    let step = if rounds(0) > 0 { 1 } else { 2 };
    for at in (1..=calls()).step_by(step) {
        run("kill", at, &mut tally);
    }
    tally.report("proxies that die in a write");
    assert!(tally.errors() > 0);
}

#[test]
fn proxy_whose_cache_cannot_be_written_serves_all_the_same() {
    let mut tally = Tally::default();
    let step = if rounds(0) > 0 { 1 } else { 5 };
    for (offset, mode) in ["once", "on", "torn"].into_iter().enumerate() {
        for at in (1 + offset as u64..=calls()).step_by(step) {
            run(mode, at, &mut tally);
        }
    }
    tally.report("proxies with a disk that fails");
    assert_eq!(tally.errors(), 0, "the origin is sound");
}

#[test]
fn proxy_killed_at_any_moment_leaves_a_cache_in_order() {
    let mut tally = Tally::default();
    for seed in 1..=rounds(4) {
        let name = format!("proxy, killed, seed {seed}");
        tally.attempt(&name, || {
            let mut draw = Draw::new(seed);
            let case = Case::new(&name, Way::Proxy, handler());
            let scene = Scene::new(&name, handler(), handler());
            let mut running = Running::start(&scene, &[]).expect("it starts");
            let address = running.address;
            let answers = std::thread::scope(|scope| {
                let asking: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| block_on(ask(address)))).collect();
                // Not a synchronisation: the moment of death is meant to be anywhere.
                std::thread::sleep(std::time::Duration::from_micros(draw.below(30_000)));
                running.child.kill().expect("killed");
                asking
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"))
                    .collect::<Vec<_>>()
            });
            drop(running);
            let mut outcome = Ok(());
            for answer in answers {
                match answer {
                    Ok(bytes) => assert!(bytes == scene.body, "{} wrong bytes", bytes.len()),
                    Err(text) => outcome = Err(text),
                }
            }
            recover(&scene, &case);
            outcome
        });
    }
    tally.report("proxies killed at any moment");
}
