//! What a client may take of the proxy: connections, time, and patience at the end.

use std::io::Write;
use std::time::Duration;

use rewarm_http::Url;
use rewarm_proxy::{Limits, Mode};
use rewarm_testkit::server::{Gate, Reply, Server};

use crate::common::{Running, before, start};

/// So short that a test can wait for it; what is claimed is that it ends at all.
const SHORT: Duration = Duration::from_millis(50);

fn limited(origin: &Server, limits: Limits) -> Running {
    start(Mode::Upstream(Url::parse(&origin.url("/")).expect("a URL")), limits)
}

fn hello() -> Server {
    Server::start(|_| Reply::ok("hello"))
}

#[test]
fn a_head_that_never_ends_is_timed_out() {
    let origin = hello();
    let proxy = limited(&origin, Limits { head_timeout: SHORT, ..Limits::default() });
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.1\r\nHost: h");
    assert_eq!(connection.answer("GET").status, 408);
    assert!(connection.is_closed());
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = hello();
    let proxy = limited(&origin, Limits { idle_timeout: SHORT, ..Limits::default() });
    assert!(proxy.connect().is_closed());
    // On a busy machine the time may be over before the request is there.
    let mut used = loop {
        let mut connection = proxy.connect();
        let sent = connection.stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        if sent.is_ok() && !connection.is_closed() {
            break connection;
        }
    };
    assert_eq!(used.answer("GET").text(), "hello");
    assert!(used.is_closed());
}

#[test]
fn a_body_that_stands_still_is_timed_out() {
    let origin = hello();
    let proxy = limited(&origin, Limits { body_timeout: SHORT, ..Limits::default() });
    let mut connection = proxy.connect();
    connection.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(connection.answer("POST").status, 408);
    assert!(connection.is_closed());
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let origin = Server::start(|_| Reply::generated(100_000_000));
    let proxy = limited(&origin, Limits { write_timeout: SHORT, ..Limits::default() });
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let served = proxy.served.recv().expect("it is told");
    assert!(!served.complete && served.bytes < 100_000_000);
    assert!(!connection.answer("GET").whole);
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |seen| match &*seen.path {
        "/held" => Reply::ok("held").gate(&held),
        _ => Reply::ok("free"),
    });
    let proxy = limited(&origin, Limits { connections: 1, ..Limits::default() });
    let mut first = proxy.connect();
    first.send("GET /held HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    gate.wait_reached();
    let mut second = proxy.connect();
    second.send("GET /free HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(origin.count("/free"), 0);
    gate.open();
    assert_eq!(first.answer("GET").text(), "held");
    drop(first);
    assert_eq!(second.answer("GET").text(), "free");
}

#[test]
fn stopping_finishes_what_is_under_way() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |_| Reply::generated(200_000).gate_after(1_000, &held));
    let mut proxy = before(&origin);
    let mut idle = proxy.connect();
    idle.send("GET http://h/ HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(idle.answer("GET").status, 400);
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    gate.wait_reached();
    proxy.stop();
    gate.open();
    let answer = connection.answer("GET");
    assert!(answer.whole && answer.body.len() == 200_000, "{} bytes", answer.body.len());
    assert!(connection.is_closed());
    proxy.join();
}

#[test]
fn stopping_cuts_what_outlives_the_grace() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |_| Reply::generated(200_000).gate_after(1_000, &held));
    let mut proxy = limited(&origin, Limits { grace: SHORT, ..Limits::default() });
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    gate.wait_reached();
    proxy.stop();
    proxy.join();
    assert!(!connection.answer("GET").whole);
    gate.open();
}

#[test]
fn idle_connections_end_when_the_proxy_stops() {
    let origin = hello();
    let mut proxy = before(&origin);
    let mut used = proxy.connect();
    used.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(used.answer("GET").text(), "hello");
    let mut unused = proxy.connect();
    proxy.stop();
    assert!(used.is_closed() && unused.is_closed());
    proxy.join();
}
