//! HTTP/2 without TLS, as clients with prior knowledge speak it (RFC 9113 section 3.3).

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rewarm_testkit::server::{Content, Reply, Server};

use crate::common::{Running, before};

/// Does something with an HTTP/2 connection to the proxy.
fn spoken<T>(proxy: &Running, talk: impl AsyncFnOnce(SendRequest<Full<Bytes>>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address).await.expect("it listens");
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let told = talk(sender).await;
        connection.abort();
        told
    })
}

fn request(method: &str, path: &str, body: &'static str) -> http::Request<Full<Bytes>> {
    let request = http::Request::builder().method(method).uri(format!("http://h{path}"));
    request.body(Full::from(body)).expect("a request")
}

#[test]
fn many_requests_share_a_connection() {
    let origin = Server::start(|seen| {
        Reply::ok(format!("{} {}", seen.method, seen.path)).header("cache-control", "max-age=60")
    });
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        for path in ["/a", "/b", "/a"] {
            let response = sender.send_request(request("GET", path, "")).await.expect("a response");
            assert_eq!(response.headers()["via"], "2 rewarm");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(body, format!("GET {path}"));
        }
        let response = sender.send_request(request("POST", "/c", "abc")).await.expect("a response");
        assert_eq!(response.status(), 200);
    });
    assert_eq!(origin.seen().len(), 3);
    assert_eq!(origin.seen()[0].header("x-forwarded-host"), Some("h"));
}

#[test]
fn a_body_that_the_origin_cuts_is_reset() {
    let origin = Server::start(|_| Reply::generated(300_000).cut_after(100_000));
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        let response = sender.send_request(request("GET", "/", "")).await.expect("a response");
        assert!(response.into_body().collect().await.is_err());
    });
}

#[test]
fn a_large_body_comes_whole() {
    let origin = Server::start(|_| Reply::generated(3_000_000));
    let proxy = before(&origin);
    spoken(&proxy, async |mut sender| {
        let response = sender.send_request(request("GET", "/", "")).await.expect("a response");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(body == Content::Generated(3_000_000).to_vec());
    });
}
