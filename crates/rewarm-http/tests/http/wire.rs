//! HTTP as it is on the wire: interim answers, trailers, uploads, kept connections, limits, and
//! answers that two readers would read in two ways.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::{Body, Frame};
use http_body_util::Full;
use rewarm_http::{ErrorKind, NO_EVENTS, Request, RequestBody, Reuse};
use rewarm_store::Digest;

use crate::common::{Cache, get, run};
use crate::modern::Modern;
use crate::raw::{Listening, ok, say};

/// A body of unknown length.
struct Drip(VecDeque<Frame<Bytes>>);

impl Drip {
    fn new(pieces: &[&'static str]) -> Self {
        let frame = |piece: &&'static str| Frame::data(Bytes::from_static(piece.as_bytes()));
        Self(pieces.iter().map(frame).collect())
    }

    fn with_trailer(mut self, name: &'static str, value: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, HeaderValue::from_static(value));
        self.0.push_back(Frame::trailers(trailers));
        self
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn put(url: &str, body: RequestBody) -> Request {
    Request { method: Method::PUT, body, ..get(url) }
}

/// The whole body as text, and what came after it.
fn read(cache: &Cache, request: &Request) -> (String, Option<HeaderMap>) {
    run(async {
        let mut response = cache.client.open(request, NO_EVENTS).await.expect("a response");
        let mut bytes = Vec::new();
        while let Some(more) = response.body.next().await.expect("bytes") {
            bytes.extend_from_slice(&more);
        }
        (String::from_utf8(bytes).expect("text"), response.body.trailers())
    })
}

#[test]
fn rfc9110_15_2_interim_answers_are_told_in_order() {
    let server = Listening::http(|_| {
        say("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
             HTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&told);
    let interim = move |status: http::StatusCode, headers: &HeaderMap| {
        let link = headers.get("link").cloned();
        ours.lock().expect("not poisoned").push((status.as_u16(), link));
    };
    let request = Request { interim: Some(Arc::new(interim)), ..get(&server.url("/a")) };
    assert_eq!(read(&Cache::new(), &request).0, "hi");
    let link = HeaderValue::from_static("</a.css>");
    assert_eq!(*told.lock().expect("not poisoned"), [(103, Some(link)), (102, None)]);
}

#[test]
fn endless_interim_answers_hold_a_call_no_longer_than_silence() {
    let server = Listening::repeating(b"HTTP/1.1 102 Processing\r\n\r\n");
    let told = Arc::new(Mutex::new(0));
    let ours = Arc::clone(&told);
    let interim =
        move |_: http::StatusCode, _: &HeaderMap| *ours.lock().expect("not poisoned") += 1;
    let cache = Cache::with(|config| {
        config.retries = 0;
        config.read_timeout = Duration::from_millis(100);
    });
    let request = Request { interim: Some(Arc::new(interim)), ..get(&server.url("/a")) };
    assert_eq!(cache.send(&request).expect_err("no answer").kind, ErrorKind::Timeout);
    assert!((1..=64).contains(&*told.lock().expect("not poisoned")));
    assert_eq!(cache.get(&server.url("/b")).expect_err("no answer").kind, ErrorKind::Timeout);
}

#[test]
fn rfc9110_15_2_2_change_of_protocol_that_nobody_asked_for_is_refused() {
    let server = Listening::http(|_| {
        say("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
    });
    let error = Cache::with(|config| config.retries = 0).get(&server.url("/a"));
    assert_eq!(error.expect_err("101").kind, ErrorKind::Broken);
}

#[test]
fn rfc9110_6_5_trailers_follow_the_body() {
    let server = Listening::http(|_| {
        say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n")
    });
    let sum = |(text, trailers): (String, Option<HeaderMap>)| {
        (text, trailers.and_then(|trailers| trailers.get("x-sum").cloned()))
    };
    let expected = Some(HeaderValue::from_static("42"));
    let (text, found) = sum(read(&Cache::new(), &get(&server.url("/a"))));
    assert_eq!((text.as_str(), &found), ("hi", &expected));
    let server = Modern::start(None);
    let cache = Cache::with(|config| config.http2_prior_knowledge = true);
    let (text, found) = sum(read(&cache, &get(&server.url("/trailers"))));
    assert_eq!((text.as_str(), &found), ("hello", &expected));
}

#[test]
fn upload_of_known_length_is_announced() {
    let server = Listening::http(|_| ok("done"));
    let body = RequestBody::stream(Full::new(Bytes::from_static(b"hello")));
    let request = put(&server.url("/a"), body).header(
        HeaderName::from_static("content-length"),
        // What counts is the body.
        HeaderValue::from_static("999"),
    );
    assert_eq!(read(&Cache::new(), &request).0, "done");
    let heard = &server.heard()[0];
    assert_eq!((heard.field("content-length"), heard.body.as_str()), (Some("5"), "hello"));
    assert_eq!(heard.field("transfer-encoding"), None);
}

#[test]
fn upload_of_unknown_length_goes_in_chunks_with_its_trailers() {
    let server = Listening::http(|_| ok("done"));
    let body = Drip::new(&["hel", "lo"]).with_trailer("x-sum", "42");
    let request = put(&server.url("/a"), RequestBody::stream(body))
        .header(HeaderName::from_static("trailer"), HeaderValue::from_static("x-sum"));
    assert_eq!(read(&Cache::new(), &request).0, "done");
    let heard = &server.heard()[0];
    assert_eq!(heard.field("transfer-encoding"), Some("chunked"));
    assert_eq!(heard.field("content-length"), None);
    assert_eq!(heard.body, "hellox-sum: 42\r\n");
}

#[test]
fn upload_over_http2_keeps_length_and_trailers() {
    let server = Modern::start(None);
    let cache = Cache::with(|config| config.http2_prior_knowledge = true);
    let whole = put(&server.url("/upload"), RequestBody::from("hello"));
    assert_eq!(read(&cache, &whole).0, "Some(\"5\") 5 None");
    let body = RequestBody::stream(Drip::new(&["hel", "lo"]).with_trailer("x-sum", "42"));
    let streamed = put(&server.url("/upload"), body);
    assert_eq!(read(&cache, &streamed).0, "None 5 Some(\"42\")");
}

#[test]
fn request_without_a_body_announces_none() {
    let server = Listening::http(|_| ok("done"));
    read(&Cache::new(), &get(&server.url("/a")));
    let heard = &server.heard()[0];
    assert_eq!((heard.field("content-length"), heard.field("transfer-encoding")), (None, None));
}

#[test]
fn streamed_upload_is_sent_once() {
    let server =
        Listening::http(|_| say("HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n"));
    let cache = Cache::new();
    let request = put(&server.url("/a"), RequestBody::stream(Drip::new(&["hello"])));
    run(async {
        let response = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        assert_eq!(response.status, 503);
        drop(response);
        let again = cache.client.open(&request, NO_EVENTS).await.err().expect("no body is left");
        assert_eq!(again.kind, ErrorKind::Broken, "{again}");
    });
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn request_with_a_body_is_not_answered_from_the_cache() {
    let server = Listening::http(|heard| ok(&heard.body));
    let cache = Cache::new();
    let request = |body: &'static str| Request { body: body.into(), ..get(&server.url("/a")) };
    assert_eq!(read(&cache, &request("one")).0, "one");
    assert_eq!(read(&cache, &request("two")).0, "two");
}

/// Answers the first request on each connection and hangs up on the next.
fn closing_when_reused() -> Listening {
    let seen = Mutex::new(Vec::new());
    Listening::http(move |heard| {
        let mut seen = seen.lock().expect("not poisoned");
        if heard.line().starts_with("POST") || seen.contains(&heard.connection) {
            return say("").then_close();
        }
        seen.push(heard.connection);
        ok("hi")
    })
}

/// Sends a request after another one, so that the connection has time to be kept.
fn one_after_another(server: &Listening, second: &Request) -> Result<(), ErrorKind> {
    let cache = Cache::with(|config| config.retries = 0);
    run(async {
        cache.client.fetch(&get(&server.url("/first")), NO_EVENTS).await.expect("an answer");
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        cache.client.fetch(second, NO_EVENTS).await.map(drop).map_err(|error| error.kind)
    })
}

#[test]
fn rfc9112_9_3_1_kept_connection_found_closed_is_no_failure() {
    let server = closing_when_reused();
    assert_eq!(one_after_another(&server, &get(&server.url("/second"))), Ok(()));
}

#[test]
fn rfc9110_9_2_2_unsafe_request_is_not_repeated_on_another_connection() {
    let server = closing_when_reused();
    let post = Request { method: Method::POST, body: "x".into(), ..get(&server.url("/second")) };
    assert_eq!(one_after_another(&server, &post), Err(ErrorKind::Broken));
    let posts = server.heard().iter().filter(|heard| heard.line().starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[test]
fn rfc9112_11_2_ambiguous_answers_are_refused_and_not_stored() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let shapes = [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "content-length: 2\r\ncontent-length: 3\r\n\r\nhi!".to_owned(),
        "content-length: 2, 3\r\n\r\nhi!".to_owned(),
        "content-length: +2\r\n\r\nhi".to_owned(),
        "content-length: -2\r\n\r\nhi".to_owned(),
        "content-length: 0x2\r\n\r\nhi".to_owned(),
        "content-length: 99999999999999999999\r\n\r\nhi".to_owned(),
        "content-length : 2\r\n\r\nhi".to_owned(),
        "transfer-encoding: gzip\r\n\r\nhi".to_owned(),
        "transfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: abc\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        "transfer-encoding: abc\r\ntransfer-encoding: def\r\n\r\nhi".to_owned(),
        "transfer-encoding: abc, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked, abc\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: abc;q=1\r\n\r\nhi".to_owned(),
        "transfer-encoding: \"abc\"\r\n\r\nhi".to_owned(),
        "transfer-encoding: \r\n\r\nhi".to_owned(),
        "x-folded: a\r\n b\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        "x-nul: a\0b\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        "x-return: a\rcontent-length: 5\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        format!("{chunked}zz\r\nhi\r\n0\r\n\r\n"),
        format!("{chunked}0x2\r\nhi\r\n0\r\n\r\n"),
        format!("{chunked}-2\r\nhi\r\n0\r\n\r\n"),
        format!("{chunked}2 2\r\nhi\r\n0\r\n\r\n"),
        format!("{chunked}10000000000000002\r\nhi\r\n0\r\n\r\n"),
        format!("{chunked}2\r\nhi!\r\n0\r\n\r\n"),
        format!("{chunked}2\r\nhi0\r\n\r\n"),
        format!("{chunked}\r\nhi\r\n0\r\n\r\n"),
    ];
    for shape in shapes {
        let answer = format!("{head}{shape}");
        let server = Listening::http(move |_| say(answer.clone()).then_close());
        let cache = Cache::with(|config| config.retries = 0);
        let result = cache.get(&server.url("/a"));
        let kind = result.map_err(|error| error.kind);
        assert_eq!(kind, Err(ErrorKind::Broken), "{shape:?}");
        assert_eq!(cache.files("blobs-v1").len() + cache.files("http-v1").len(), 0, "{shape:?}");
    }
}

#[test]
fn rfc9112_6_3_body_of_a_coding_that_nobody_knows_is_what_comes_until_the_end() {
    for coding in ["abc", "ABC", "identity"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: keep-alive\r\n\
             transfer-encoding: {coding}\r\n\r\n2\r\nhi\r\n"
        );
        let server = Listening::http(move |_| say(answer.clone()).then_close());
        let cache = Cache::new();
        let (bytes, reuse) = cache.get(&server.url("/a")).expect("a body");
        assert_eq!(bytes, b"2\r\nhi\r\n", "{coding}");
        assert!(matches!(reuse, Reuse::NotStored(_)), "{coding}: {reuse:?}");
        assert_eq!(cache.files("blobs-v1").len() + cache.files("http-v1").len(), 0, "{coding}");
        let request = get(&server.url("/a")).expecting(Digest::of("2\r\nhi\r\n"));
        assert_eq!(cache.send(&request).expect("a body").1, Reuse::Downloaded, "{coding}");
        assert_eq!(cache.send(&request).expect("a body").1, Reuse::Fresh, "{coding}");
        let connections: Vec<_> = server.heard().iter().map(|heard| heard.connection).collect();
        assert_eq!(connections, [0, 1], "{coding}");
    }
}

#[test]
fn body_of_an_unknown_coding_on_a_connection_that_stays_open_is_not_waited_for() {
    let server = Listening::http(|_| say("HTTP/1.1 200 OK\r\ntransfer-encoding: abc\r\n\r\nhi"));
    let cache = Cache::with(|config| {
        config.retries = 0;
        config.read_timeout = Duration::from_millis(200);
    });
    let result = cache.get(&server.url("/a"));
    assert_eq!(result.map_err(|error| error.kind), Err(ErrorKind::Timeout));
}

#[test]
fn connection_of_an_ambiguous_answer_is_not_used_again() {
    let server = Listening::http(|heard| {
        if heard.line().contains("/first") {
            return say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\
                        transfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        }
        ok("hi")
    });
    let cache = Cache::with(|config| config.retries = 0);
    run(async {
        let first = cache.client.fetch(&get(&server.url("/first")), NO_EVENTS).await;
        assert_eq!(first.map(drop).map_err(|e| e.kind), Err(ErrorKind::Broken));
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        cache.client.fetch(&get(&server.url("/second")), NO_EVENTS).await.expect("an answer");
    });
    assert_eq!(server.heard().iter().map(|heard| heard.connection).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let with = |fields: usize, length: usize| {
        let value = "x".repeat(length);
        let fields: String = (0..fields).map(|n| format!("x-{n}: {value}\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nhi");
        let server = Listening::http(move |_| say(answer.clone()));
        let cache = Cache::with(|config| config.retries = 0);
        cache.get(&server.url("/a")).map(|(bytes, _)| bytes).map_err(|error| error.kind)
    };
    assert_eq!(with(200, 10), Ok(b"hi".to_vec()));
    assert_eq!(with(1, 50_000), Ok(b"hi".to_vec()));
    assert_eq!(with(300, 10), Err(ErrorKind::Broken));
    assert_eq!(with(1, 100_000), Err(ErrorKind::Broken));
}

#[test]
fn answer_that_does_not_come_times_out() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Listening::http(move |_| {
        let _ = gate.lock().expect("not poisoned").recv();
        say("").then_close()
    });
    let cache = Cache::with(|config| {
        config.retries = 0;
        config.read_timeout = Duration::from_millis(100);
    });
    let error = cache.get(&server.url("/a")).expect_err("silence");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    drop(open);
}

#[test]
fn connection_whose_handshake_stalls_times_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let cache = Cache::with(|config| {
        config.retries = 0;
        config.connect_timeout = Duration::from_millis(100);
    });
    let error = cache.get(&url).expect_err("silence");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
}

#[test]
fn large_body_over_http2_arrives_whole() {
    let server = Modern::start(None);
    let cache = Cache::with(|config| config.http2_prior_knowledge = true);
    let (bytes, _) = cache.get(&server.url("/large/30000000")).expect("the body");
    assert!(bytes.len() == 30_000_000 && bytes.iter().all(|&byte| byte == b'x'));
}
