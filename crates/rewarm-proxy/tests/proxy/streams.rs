//! Streams of HTTP/2 as a client sees them frame by frame: interim responses, room, resets, ends.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response};
use rewarm_http::{ClientConfig, Proxies, Url};
use rewarm_proxy::{Limits, Mode};
use rewarm_testkit::server::{Gate, Reply, Server};

use crate::bodies::{raw, read_head};
use crate::common::{Running, before, start, start_with};

/// So short that a test can wait for it; what is claimed is that it ends at all.
const SHORT: Duration = Duration::from_millis(50);

/// Bytes of the bodies that are never read to their end.
const HUGE: u64 = 100_000_000;

/// Does something with an HTTP/2 connection to the proxy.
fn spoken<T>(proxy: &Running, talk: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address).await.expect("it listens");
        // So that a stream which is not read leaves room for others.
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_connection_window_size(1 << 20).handshake(stream);
        let (sender, connection) = handshake.await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let told = talk(sender).await;
        connection.abort();
        told
    })
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://h{path}")).body(()).expect("a request")
}

/// Sends a request without a body.
async fn ask(sender: &mut SendRequest<Bytes>, request: Request<()>) -> ResponseFuture {
    let ready = sender.clone().ready().await.expect("the connection is usable");
    *sender = ready;
    sender.send_request(request, true).expect("a stream").0
}

/// The next interim response.
async fn interim(response: &mut ResponseFuture) -> Option<Response<()>> {
    let interim = poll_fn(|context| response.poll_informational(context)).await;
    interim.map(|interim| interim.expect("no error"))
}

/// The whole of a body; an error if it is reset.
async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(more) = body.data().await {
        let more = more?;
        body.flow_control().release_capacity(more.len())?;
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

async fn whole(response: ResponseFuture) -> (http::response::Parts, Vec<u8>, Option<HeaderMap>) {
    let (head, mut body) = response.await.expect("a response").into_parts();
    let bytes = read(&mut body).await.expect("a body");
    (head, bytes, body.trailers().await.expect("an end"))
}

fn limited(origin: &Server, limits: Limits) -> Running {
    start(Mode::Upstream(Url::parse(&origin.url("/")).expect("a URL")), limits)
}

#[test]
fn rfc9113_8_1_interim_responses_reach_the_client_before_the_final_one() {
    let gate = Gate::closed();
    let held = gate.clone();
    let proxy = raw(move |mut input, mut output| {
        read_head(&mut input);
        let first = "HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\nUpgrade: y\r\n\r\n";
        output.write_all(first.as_bytes()).expect("it is read");
        held.wait_reached();
        let rest = "HTTP/1.1 102 Processing\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        output.write_all(rest.as_bytes()).expect("it is read");
    });
    spoken(&proxy, async |mut sender| {
        let mut response = ask(&mut sender, get("/")).await;
        let early = interim(&mut response).await.expect("an interim response");
        assert_eq!(early.status().as_u16(), 103);
        assert_eq!(early.headers()["link"], "</a>");
        assert_eq!(early.headers().len(), 1);
        gate.open();
        assert_eq!(interim(&mut response).await.map(|it| it.status().as_u16()), Some(102));
        assert!(interim(&mut response).await.is_none());
        assert_eq!(whole(response).await.1, b"ok");
    });
}

/// An origin of HTTP/2 only, that sends so many interim responses, and the final one once the gate is
/// open; and a proxy before it.
fn behind_http2(interims: usize, gate: &Gate) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port can be had");
    listener.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let gate = gate.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let (stream, _) = listener.accept().await.expect("the proxy connects");
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((_, respond))) = connection.accept().await {
                tokio::spawn(answer(respond, interims, gate.clone()));
            }
        });
    });
    let spills = std::env::temp_dir();
    let config = ClientConfig {
        proxies: Proxies::None,
        retries: 0,
        http2_prior_knowledge: true,
        ..ClientConfig::new(spills)
    };
    start_with(Mode::Upstream(Url::parse(&url).expect("a URL")), Limits::default(), config)
}

async fn answer(mut respond: h2::server::SendResponse<Bytes>, interims: usize, gate: Gate) {
    for _ in 0..interims {
        let early = Response::builder().status(103).header("link", "</a>").body(());
        respond.send_informational(early.expect("a response")).expect("the stream is open");
    }
    let opened = tokio::task::spawn_blocking(move || gate.wait_reached());
    opened.await.expect("no panic");
    let response = Response::builder().header("content-length", "2").body(());
    let stream = respond.send_response(response.expect("a response"), false);
    let sent = stream.and_then(|mut it| it.send_data(Bytes::from_static(b"ok"), true));
    sent.expect("the stream is open");
}

#[test]
fn interim_responses_of_http2_reach_clients_of_http2_before_the_final_one() {
    let gate = Gate::closed();
    let proxy = behind_http2(1, &gate);
    spoken(&proxy, async |mut sender| {
        let mut response = ask(&mut sender, get("/")).await;
        let early = interim(&mut response).await.expect("an interim response");
        assert_eq!(early.status().as_u16(), 103);
        assert_eq!(early.headers()["link"], "</a>");
        gate.open();
        assert!(interim(&mut response).await.is_none());
        assert_eq!(whole(response).await.1, b"ok");
    });
}

#[test]
fn interim_responses_of_http2_reach_clients_of_http1_before_the_final_one() {
    let gate = Gate::closed();
    let proxy = behind_http2(1, &gate);
    let mut connection = proxy.connect();
    connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let early = connection.answer("GET");
    assert_eq!((early.status, early.header("link")), (103, Some("</a>")));
    gate.open();
    assert_eq!(connection.answer("GET").text(), "ok");
}

#[test]
fn a_thousand_interim_responses_of_http2_are_not_passed_on() {
    let gate = Gate::closed();
    gate.open();
    let proxy = behind_http2(1000, &gate);
    spoken(&proxy, async |mut sender| {
        let mut response = ask(&mut sender, get("/")).await;
        let mut count = 0;
        while interim(&mut response).await.is_some() {
            count += 1;
        }
        assert_eq!(count, 16);
        assert_eq!(whole(response).await.1, b"ok");
    });
}

#[test]
fn more_interim_responses_than_anybody_needs_are_not_passed_on() {
    let proxy = raw(|mut input, mut output| {
        read_head(&mut input);
        let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
        output.write_all(many.as_bytes()).expect("it is read");
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        output.write_all(last.as_bytes()).expect("it is read");
    });
    spoken(&proxy, async |mut sender| {
        let mut response = ask(&mut sender, get("/")).await;
        let mut count = 0;
        while interim(&mut response).await.is_some() {
            count += 1;
        }
        assert_eq!(count, 16);
        assert_eq!(whole(response).await.1, b"ok");
    });
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
    spoken(&proxy, async |sender| {
        let request = Request::post("http://h/").header("expect", "100-continue");
        let request = request.header("content-length", "5").body(()).expect("a request");
        let mut sender = sender.ready().await.expect("the connection is usable");
        let (mut response, mut body) = sender.send_request(request, false).expect("a stream");
        assert_eq!(interim(&mut response).await.map(|it| it.status().as_u16()), Some(100));
        body.send_data(Bytes::from_static(b"abcde"), true).expect("there is room");
        assert_eq!(whole(response).await.1, b"abcde");
    });
}

#[test]
fn trailers_go_through_in_both_directions() {
    let proxy = raw(|mut input, mut output| {
        let head = read_head(&mut input).to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let mut body = String::new();
        while !body.ends_with("x-sum: 1\r\n\r\n") {
            let mut byte = [0];
            input.read_exact(&mut byte).expect("the body comes");
            body.push(byte[0].into());
        }
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\nX-Sum: 2\r\n\r\n";
        output.write_all(answer.as_bytes()).expect("it is read");
    });
    spoken(&proxy, async |sender| {
        let request = Request::post("http://h/").header("trailer", "x-sum").body(());
        let mut sender = sender.ready().await.expect("the connection is usable");
        let (response, mut body) =
            sender.send_request(request.expect("a request"), false).expect("a stream");
        body.send_data(Bytes::from_static(b"abc"), false).expect("there is room");
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            http::HeaderValue::from_static("1"),
        )]);
        body.send_trailers(trailers).expect("the stream is open");
        let (_, bytes, trailers) = whole(response).await;
        assert_eq!(
            (bytes, &trailers.expect("trailers")["x-sum"]),
            (b"abc".to_vec(), &"2".parse().expect("a value"))
        );
    });
}

#[test]
fn rfc9113_8_1_1_what_has_no_body_ends_with_its_head() {
    let origin = Server::start(|seen| match &*seen.path {
        "/none" => Reply::status(204, ""),
        _ => Reply::ok("hello").header("etag", "\"a\"").header("cache-control", "max-age=60"),
    });
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        let head = |path| Request::head(format!("http://h{path}")).body(()).expect("a request");
        let (none, bytes, _) = whole(ask(&mut sender, get("/none")).await).await;
        assert_eq!((none.status.as_u16(), bytes.len()), (204, 0));
        let (full, bytes, _) = whole(ask(&mut sender, get("/a")).await).await;
        assert_eq!((full.status.as_u16(), bytes), (200, b"hello".to_vec()));
        let (full, bytes, _) = whole(ask(&mut sender, head("/a")).await).await;
        assert_eq!(
            (&full.headers["content-length"], bytes.len()),
            (&"5".parse().expect("a value"), 0)
        );
        let mut same = get("/a");
        same.headers_mut().insert("if-none-match", "\"a\"".parse().expect("a value"));
        let (same, bytes, _) = whole(ask(&mut sender, same).await).await;
        assert_eq!((same.status.as_u16(), bytes.len()), (304, 0));
        let mut trace = get("/a");
        *trace.method_mut() = Method::TRACE;
        let (refused, bytes, _) = whole(ask(&mut sender, trace).await).await;
        assert_eq!((refused.status.as_u16(), bytes.is_empty()), (405, false));
    });
}

#[test]
fn rfc9113_8_2_2_no_field_of_a_connection_goes_out_and_every_response_is_dated() {
    let proxy = raw(|mut input, mut output| {
        read_head(&mut input);
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, close\r\nX: 1\r\n\
            Keep-Alive: y\r\nProxy-Connection: z\r\nUpgrade: z\r\n\r\nok";
        output.write_all(answer.as_bytes()).expect("it is read");
    });
    spoken(&proxy, async |mut sender| {
        let (head, bytes, _) = whole(ask(&mut sender, get("/")).await).await;
        assert_eq!(bytes, b"ok");
        for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "x"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
        assert_eq!(head.headers.get_all("date").iter().count(), 1);
        let tunnel = Request::connect("h:443").body(()).expect("a request");
        let (head, ..) = whole(ask(&mut sender, tunnel).await).await;
        assert_eq!(head.status.as_u16(), 501);
        assert_eq!(head.headers.get_all("date").iter().count(), 1);
    });
}

#[test]
fn rfc9113_5_2_a_client_that_reads_nothing_holds_neither_memory_nor_the_connection() {
    let origin = Server::start(|seen| match &*seen.path {
        "/huge" => Reply::generated(HUGE),
        _ => Reply::ok("small"),
    });
    let proxy = limited(&origin, Limits { write_timeout: SHORT, ..Limits::default() });
    spoken(&proxy, async |mut sender| {
        let response = ask(&mut sender, get("/huge")).await;
        let mut body = response.await.expect("a response").into_body();
        let reset = loop {
            // What is read makes no room before it is released.
            match body.data().await.expect("no end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(reset.reason(), Some(Reason::CANCEL));
        drop(body);
        assert_eq!(whole(ask(&mut sender, get("/small")).await).await.1, b"small");
    });
    let served = proxy.served.recv().expect("it is told");
    assert!(!served.complete && served.bytes < HUGE / 50, "{} bytes", served.bytes);
}

#[test]
fn a_stream_that_its_client_resets_is_let_go_of() {
    let origin = Server::start(|seen| match &*seen.path {
        "/huge" => Reply::generated(HUGE),
        _ => Reply::ok("small"),
    });
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        let ready = sender.clone().ready().await.expect("the connection is usable");
        sender = ready;
        let (response, mut stream) = sender.send_request(get("/huge"), true).expect("a stream");
        let body = response.await.expect("a response").into_body();
        stream.send_reset(Reason::CANCEL);
        drop(body);
        assert_eq!(whole(ask(&mut sender, get("/small")).await).await.1, b"small");
    });
    let all: Vec<_> = (0..2).map(|_| proxy.served.recv().expect("it is told")).collect();
    assert_eq!(all.iter().filter(|served| served.complete).count(), 1);
}

#[test]
fn a_request_whose_client_leaves_before_the_answer_is_let_go_of() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |_| Reply::ok("late").gate(&held));
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        let response = ask(&mut sender, get("/")).await;
        tokio::select! {
            _ = response => panic!("nobody answered"),
            () = async {
                while !gate.is_reached() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    });
    assert!(!proxy.served.recv().expect("it is told").complete);
    gate.open();
}

#[test]
fn rfc9113_6_8_stopping_finishes_the_streams_under_way() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |_| Reply::generated(200_000).gate_after(1_000, &held));
    let mut proxy = before(&origin);
    let address = proxy.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let response = ask(&mut sender, get("/")).await.await.expect("a response");
        proxy.stop();
        gate.open();
        let bytes = read(&mut response.into_body()).await.expect("a body");
        assert_eq!(bytes.len(), 200_000);
        // The proxy ends the connection, although the client would go on.
        connection.await.expect("no panic").expect("a connection that ends in peace");
    });
    proxy.join();
}

#[test]
fn many_streams_at_once_are_answered_while_one_stands_still() {
    let origin = Server::start(|seen| match &*seen.path {
        "/huge" => Reply::generated(HUGE),
        path => Reply::ok(path.repeat(1000)).header("cache-control", "max-age=60"),
    });
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        let stalled = ask(&mut sender, get("/huge")).await.await.expect("a response");
        let mut all = tokio::task::JoinSet::new();
        for nth in 0..150 {
            let path = format!("/{}", nth % 50);
            let response = ask(&mut sender, get(&path)).await;
            all.spawn(async move { (path, whole(response).await.1) });
        }
        for (path, bytes) in all.join_all().await {
            assert!(bytes == path.repeat(1000).into_bytes(), "{path}");
        }
        drop(stalled);
    });
    assert!(origin.seen().len() <= 51);
}
