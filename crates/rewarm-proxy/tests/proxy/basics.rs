//! A reverse proxy: what is passed on, what is kept, and what it adds.

use rewarm_testkit::server::{Reply, Server};

use crate::common::before;

fn fresh(body: &str) -> Reply {
    Reply::ok(body).header("cache-control", "max-age=600")
}

#[test]
fn a_second_request_is_answered_from_the_cache() {
    let origin = Server::start(|_| fresh("hello"));
    let proxy = before(&origin);
    let (first, second) = (proxy.get("/a?b=c"), proxy.get("/a?b=c"));
    assert_eq!((first.status, first.text()), (200, "hello".to_owned()));
    assert_eq!(first.body, second.body);
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(second.header("content-length"), Some("5"));
    assert_eq!(second.header("cache-status").map(|text| text.contains("hit")), Some(true));
    assert!(second.header("age").is_some() && second.header("date").is_some(), "{second:?}");
}

#[test]
fn rfc9110_7_6_3_both_sides_see_the_proxy_in_via() {
    let origin = Server::start(|_| fresh("x").header("via", "1.0 fred"));
    let proxy = before(&origin);
    let answer = proxy.get("/");
    assert_eq!(answer.all("via").join(", "), "1.0 fred, 1.1 rewarm");
    let seen = &origin.seen()[0];
    assert!(seen.header("via").is_some_and(|via| via.starts_with("1.1 rewarm-")), "{seen:?}");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("h"));
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;host=\"h\";proto=http"));
}

#[test]
fn a_request_that_comes_round_again_is_refused() {
    let origin = Server::start(|_| fresh("x"));
    let proxy = before(&origin);
    proxy.get("/");
    let via = origin.seen()[0].header("via").expect("it was added").to_owned();
    let answer = proxy.ask(&format!("GET /b HTTP/1.1\r\nHost: h\r\nVia: 1.1 a, {via}\r\n\r\n"));
    assert_eq!(answer.status, 508);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn rfc9110_7_6_1_fields_of_one_connection_go_no_further() {
    let origin = Server::start(|_| {
        fresh("x").header("connection", "x-hop").header("x-hop", "1").header("x-end", "1")
    });
    let proxy = before(&origin);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\
        X-Yours: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\n\r\n";
    let answer = proxy.ask(request);
    assert_eq!((answer.header("x-hop"), answer.header("x-end")), (None, Some("1")));
    let seen = &origin.seen()[0];
    assert_eq!(seen.header("x-yours"), Some("1"));
    for name in ["x-mine", "keep-alive", "proxy-authorization"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("host"), Some(origin.address().to_string().as_str()));
}

#[test]
fn methods_are_passed_on_with_their_bodies() {
    let origin = Server::start(|seen| {
        Reply::ok(format!("{} {:?}", seen.method, seen.header("content-length")))
    });
    let proxy = before(&origin);
    for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
        let request = format!("{method} /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(proxy.ask(&request).text(), format!("{method} Some(\"3\")"));
    }
    let options = proxy.ask("OPTIONS /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(options.text().starts_with("OPTIONS"), "{options:?}");
    for refused in ["TRACE / HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let answer = proxy.ask(&format!("{refused}\r\nHost: h\r\n\r\n"));
        assert!(answer.header("allow").is_some(), "{answer:?}");
    }
    let tunnel = proxy.ask("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n");
    assert_eq!(tunnel.status, 501);
    assert_eq!(origin.seen().len(), 6);
}

#[test]
fn rfc9110_9_3_2_head_is_answered_from_a_stored_get() {
    let origin = Server::start(|_| fresh("hello"));
    let proxy = before(&origin);
    proxy.get("/a");
    let mut connection = proxy.connect();
    connection.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = connection.answer("HEAD");
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    assert_eq!(connection.answer("GET").text(), "hello");
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_body_that_the_origin_cuts_never_looks_whole() {
    for reply in [Reply::generated(300_000), Reply::generated(300_000).chunked()] {
        let origin = Server::start(move |_| reply.clone().cut_after(100_000));
        let proxy = before(&origin);
        let answer = proxy.get("/");
        assert!(!answer.whole, "{} bytes look whole", answer.body.len());
        let served = proxy.served.recv().expect("it is told");
        assert!(!served.complete);
    }
}

#[test]
fn an_origin_that_is_not_there_is_a_bad_gateway_without_secrets() {
    let origin = Server::start(|_| Reply::ok("x"));
    let url = origin.url("/?token=hunter2");
    drop(origin);
    let url = rewarm_http::Url::parse(&url).expect("a URL");
    let mode = rewarm_proxy::Mode::Upstream(url);
    let proxy = crate::common::start(mode, rewarm_proxy::Limits::default());
    let answer = proxy.get("/x?password=hunter3");
    assert_eq!(answer.status, 502);
    let text = answer.text();
    assert!(text.contains("cannot connect") && text.contains("127.0.0.1"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}
