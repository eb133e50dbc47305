//! Bodies, interim responses and trailers, in both directions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use rewarm_http::Url;
use rewarm_proxy::{Limits, Mode};
use rewarm_testkit::server::{Gate, Reply, Server};

use crate::common::{Running, before, start};

/// An origin that does for its only connection what `answer` says, and a proxy before it.
pub(crate) fn raw(
    answer: impl FnOnce(BufReader<TcpStream>, TcpStream) + Send + 'static,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port can be had");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the proxy connects");
        answer(BufReader::new(stream.try_clone().expect("it can be shared")), stream);
    });
    start(Mode::Upstream(Url::parse(&url).expect("a URL")), Limits::default())
}

/// The head of a request, with its empty line.
pub(crate) fn read_head(input: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(input.read_line(&mut head).expect("it can be read"), 0, "{head}");
    }
    head
}

#[test]
fn rfc9110_15_2_interim_responses_reach_the_client_before_the_final_one() {
    let gate = Gate::closed();
    let held = gate.clone();
    let proxy = raw(move |mut input, mut output| {
        read_head(&mut input);
        let first = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n";
        output.write_all(first.as_bytes()).expect("it is read");
        held.wait_reached();
        let rest = "HTTP/1.1 102 Processing\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        output.write_all(rest.as_bytes()).expect("it is read");
    });
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let early = connection.answer("GET");
    assert_eq!((early.status, early.header("link"), early.header("x")), (103, Some("</a>"), None));
    gate.open();
    assert_eq!(connection.answer("GET").status, 102);
    assert_eq!(connection.answer("GET").text(), "ok");
}

#[test]
fn a_client_of_http_1_0_gets_no_interim_response() {
    let proxy = raw(|mut input, mut output| {
        read_head(&mut input);
        let all = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        output.write_all(all.as_bytes()).expect("it is read");
    });
    let answer = proxy.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
}

#[test]
fn rfc9110_10_1_1_a_client_that_expects_100_gets_it_when_its_body_is_wanted() {
    let proxy = raw(|mut input, mut output| {
        let head = read_head(&mut input).to_ascii_lowercase();
        assert!(!head.contains("expect:") && head.contains("content-length: 5"), "{head}");
        let mut body = [0; 5];
        input.read_exact(&mut body).expect("the body comes");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", body.escape_ascii());
        output.write_all(answer.as_bytes()).expect("it is read");
    });
    let mut connection = proxy.connect();
    connection
        .send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(connection.answer("POST").status, 100);
    connection.send("abcde");
    assert_eq!(connection.answer("POST").text(), "abcde");
}

#[test]
fn the_body_of_a_request_is_passed_on_while_it_comes() {
    let gate = Gate::closed();
    let held = gate.clone();
    let proxy = raw(move |mut input, mut output| {
        let head = read_head(&mut input).to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let mut first = [0; 8];
        input.read_exact(&mut first).expect("the first chunk comes");
        assert_eq!(&first, b"3\r\nabc\r\n");
        held.open();
        let mut rest = String::new();
        while !rest.ends_with("\r\n\r\n") {
            assert_ne!(input.read_line(&mut rest).expect("it can be read"), 0, "{rest}");
        }
        assert_eq!(rest, "3\r\ndef\r\n0\r\nx-sum: 1\r\n\r\n");
        output.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("it is read");
    });
    let mut connection = proxy.connect();
    connection.send(
        "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    );
    gate.wait_reached();
    connection.send("3\r\ndef\r\n0\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(connection.answer("POST").status, 204);
}

#[test]
fn rfc9110_6_5_trailers_of_the_origin_reach_a_client_that_takes_them() {
    let proxy = raw(|mut input, mut output| {
        read_head(&mut input);
        let answer = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nCache-Control: no-store\r\n\
            Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
        output.write_all(answer.as_bytes()).expect("it is read");
    });
    let answer = proxy.ask("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn a_large_body_is_the_same_on_both_sides() {
    let reply = Reply::generated(3_000_000);
    let origin = Server::start(move |_| reply.clone().header("cache-control", "max-age=60"));
    let proxy = before(&origin);
    let (cold, warm) = (proxy.get("/"), proxy.get("/"));
    let expected = rewarm_testkit::server::Content::Generated(3_000_000).to_vec();
    assert!(cold.body == expected && warm.body == expected);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_response_whose_only_end_is_the_connections_ends_with_an_error_when_it_is_cut() {
    let proxy = raw(|mut input, mut output| {
        read_head(&mut input);
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        output.write_all(answer.as_bytes()).expect("it is read");
    });
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.0\r\n\r\n");
    let mut all = Vec::new();
    let end = connection.input.read_to_end(&mut all);
    assert!(end.is_err(), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn rfc9110_7_6_1_a_transfer_coding_of_the_origin_ends_at_the_proxy() {
    let proxy = raw(|mut input, mut output| {
        read_head(&mut input);
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: abc\r\n\r\nok";
        output.write_all(answer.as_bytes()).expect("it is read");
    });
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.text(), answer.whole), (200, "ok".to_owned(), true));
    assert_eq!(answer.all("transfer-encoding"), ["chunked"]);
}
