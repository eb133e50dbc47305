//! What a client may send: strict framing, and what is refused.

use rewarm_testkit::server::{Reply, Server};

use crate::common::before;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn echo() -> Server {
    Server::start(|seen| Reply::ok(format!("{} {}", seen.method, seen.path)))
}

#[test]
fn a_shape_with_two_meanings_is_refused_and_reaches_no_origin() {
    let shapes = [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h\r\nHost: h\r\n\r\n",
    ];
    let origin = echo();
    let proxy = before(&origin);
    for shape in shapes {
        let mut connection = proxy.connect();
        connection.send(shape);
        let answer = connection.answer("GET");
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{shape:?}");
        assert!(connection.is_closed(), "{shape:?}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn what_was_asked_before_a_refused_request_is_answered_first() {
    let origin = echo();
    let proxy = before(&origin);
    let mut connection = proxy.connect();
    connection.send(format!("{GET}{GET}GET / HTTP/1.1\r\nHost : h\r\n\r\n{GET}"));
    assert_eq!(connection.answer("GET").text(), "GET /");
    assert_eq!(connection.answer("GET").text(), "GET /");
    assert_eq!(connection.answer("GET").status, 400);
    assert!(connection.is_closed());
}

#[test]
fn a_chunk_that_lies_ends_the_request() {
    for chunks in ["5\r\nabcdef\r\n0\r\n\r\n", "zz\r\n", "5;\r\x01\n", "0\r\nHost: x\r\n\r\n"] {
        let origin = echo();
        let proxy = before(&origin);
        let mut connection = proxy.connect();
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        connection.send(format!("{head}{chunks}{GET}"));
        assert_eq!(connection.answer("POST").status, 400, "{chunks:?}");
        assert!(connection.is_closed(), "{chunks:?}");
    }
}

#[test]
fn heads_have_bounds() {
    let origin = echo();
    let proxy = before(&origin);
    let many = "X: y\r\n".repeat(128);
    let answer = proxy.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"));
    assert_eq!(answer.status, 431);
    let long = "y".repeat(40_000);
    let answer = proxy.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"));
    assert_eq!(answer.status, 431);
    assert_eq!(proxy.ask(&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n")).status, 431);
    let (most, fits) = ("X: y\r\n".repeat(127), "y".repeat(30_000));
    assert_eq!(proxy.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\n{most}\r\n")).status, 200);
    let answer = proxy.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {fits}\r\n\r\n"));
    assert_eq!(answer.status, 200);
}

#[test]
fn many_requests_share_a_connection_and_come_back_in_order() {
    let origin = echo();
    let proxy = before(&origin);
    let mut connection = proxy.connect();
    let requests: String =
        (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    connection.send(requests);
    for n in 0..50 {
        assert_eq!(connection.answer("GET").text(), format!("GET /{n}"));
    }
    connection.send("GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(connection.answer("GET").text(), "GET /last");
    assert!(connection.is_closed());
}

#[test]
fn other_versions_are_refused() {
    let origin = echo();
    let proxy = before(&origin);
    assert_eq!(proxy.ask("GET / HTTP/3.0\r\nHost: h\r\n\r\n").status, 505);
    assert_eq!(proxy.ask("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").status, 505);
    assert_eq!(proxy.ask("GET / HTTP/1.0\r\n\r\n").text(), "GET /");
}
