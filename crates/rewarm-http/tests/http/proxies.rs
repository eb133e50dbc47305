//! Proxies between the client and the origin, each kind, and what is said when one fails.

use rewarm_http::{ClientConfig, ErrorKind, Proxies};

use crate::certificates::Authority;
use crate::common::Cache;
use crate::modern::Modern;
use crate::raw::{Listening, ok};
use crate::secure::{told, trusting};

fn proxies(all: String) -> Proxies {
    Proxies::Given { http: None, https: None, all: Some(all), no_proxy: None }
}

fn through(all: String) -> impl FnOnce(&mut ClientConfig) {
    move |config| {
        config.proxies = proxies(all);
        config.retries = 0;
    }
}

/// `scheme://user@address` of a proxy.
fn at(scheme: &str, user: &str, proxy: &Listening) -> String {
    format!("{scheme}://{user}{}", proxy.address)
}

/// An origin behind TLS, and the authority to trust.
fn secure_origin() -> (Listening, Authority) {
    let authority = Authority::new();
    let server = Listening::https(authority.server(&["127.0.0.1", "localhost"], &[]), |_| ok("hi"));
    (server, authority)
}

#[test]
fn rfc9112_3_2_2_proxy_for_http_gets_the_whole_target_and_its_credentials() {
    let proxy = Listening::http(|_| ok("hi"));
    let cache = Cache::with(through(at("http", "us%20er:p%40ss@", &proxy)));
    assert_eq!(cache.text("http://origin.invalid/a?b").0, "hi");
    let heard = &proxy.heard()[0];
    assert_eq!(heard.line(), "GET http://origin.invalid/a?b HTTP/1.1");
    assert_eq!(heard.field("host"), Some("origin.invalid"));
    assert_eq!(heard.field("proxy-authorization"), Some("Basic dXMgZXI6cEBzcw=="));
}

#[test]
fn rfc9110_9_3_6_proxy_for_https_opens_a_tunnel_and_sees_no_more() {
    let (server, authority) = secure_origin();
    let proxy = Listening::tunnel(None);
    let cache = trusting(&authority, through(at("http", "user:secret@", &proxy)));
    let port = server.address.port();
    assert_eq!(cache.text(&format!("https://localhost:{port}/a")).0, "hi");
    let heard = &proxy.heard()[0];
    assert_eq!(heard.line(), format!("CONNECT localhost:{port} HTTP/1.1"));
    assert_eq!(heard.field("proxy-authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    let at_origin = &server.heard()[0];
    assert_eq!(at_origin.line(), "GET /a HTTP/1.1");
    assert_eq!(at_origin.field("proxy-authorization"), None);
}

#[test]
fn proxy_behind_tls_is_spoken_to_securely() {
    let authority = Authority::new();
    let proxy = Listening::https(authority.server(&["127.0.0.1"], &["http/1.1"]), |_| ok("hi"));
    let cache = trusting(&authority, through(at("https", "", &proxy)));
    assert_eq!(cache.text("http://origin.invalid/a").0, "hi");
    assert_eq!(proxy.heard()[0].line(), "GET http://origin.invalid/a HTTP/1.1");
}

#[test]
fn proxy_behind_tls_opens_tunnels_for_tls() {
    let (server, authority) = secure_origin();
    let proxy = Modern::tunnel(authority.server(&["127.0.0.1"], &[]));
    let cache = trusting(&authority, through(proxy.url("")));
    let url = server.url("/a").replace("http://", "https://");
    assert_eq!(cache.text(&url).0, "hi");
    assert_eq!(server.heard()[0].line(), "GET /a HTTP/1.1");
}

#[test]
fn socks_proxy_looks_names_up_only_if_told_so() {
    let server = Listening::http(|_| ok("hi"));
    let port = server.address.port();
    for (scheme, named) in [("socks5h", "localhost"), ("socks5", "127.0.0.1")] {
        let proxy = Listening::socks5(None);
        let cache = Cache::with(through(at(scheme, "", &proxy)));
        // Only an address in digits is sure to be of the family that the test's proxy speaks.
        let host = if scheme == "socks5h" { "localhost" } else { "127.0.0.1" };
        assert_eq!(cache.text(&format!("http://{host}:{port}/a")).0, "hi", "{scheme}");
        assert_eq!(proxy.heard()[0].head, format!("{named}:{port}"));
        assert_eq!(server.heard()[0].line(), "GET /a HTTP/1.1");
    }
}

#[test]
fn rfc1929_socks_proxy_gets_its_credentials() {
    let (server, authority) = secure_origin();
    let proxy = Listening::socks5(Some(("user", "secret")));
    let url = server.url("/a").replace("http://", "https://");
    let cache = trusting(&authority, through(at("socks5", "user:secret@", &proxy)));
    assert_eq!(cache.text(&url).0, "hi");
    let wrong = trusting(&authority, through(at("socks5", "user:hunter2@", &proxy)));
    let error = wrong.get(&url).expect_err("the proxy refuses");
    assert_eq!(error.kind, ErrorKind::Connect, "{error}");
    let text = format!("{} {error:?}", told(&error));
    assert!(text.contains(&format!("the proxy `socks5://{}`", proxy.address)), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn hosts_that_need_no_proxy_are_reached_directly() {
    let server = Listening::http(|_| ok("hi"));
    let proxy = Listening::http(|_| ok("from the proxy"));
    let cache = Cache::with(|config| {
        config.proxies = Proxies::Given {
            http: Some(at("http", "", &proxy)),
            https: None,
            all: None,
            no_proxy: Some("example.org, 127.0.0.0/8".to_owned()),
        };
    });
    assert_eq!(cache.text(&server.url("/a")).0, "hi");
    assert_eq!(server.heard()[0].line(), "GET /a HTTP/1.1");
    assert_eq!(cache.text("http://origin.invalid/a").0, "from the proxy");
}

#[test]
fn proxy_that_cannot_be_reached_is_named_without_its_password() {
    let gone = Listening::http(|_| ok("")).address;
    let cache = Cache::with(through(format!("http://user:hunter2@{gone}")));
    for url in ["http://origin.invalid/a", "https://origin.invalid/a"] {
        let error = cache.get(url).expect_err("nobody listens");
        assert_eq!(error.kind, ErrorKind::Connect, "{error}");
        let text = format!("{} {error:?}", told(&error));
        assert!(text.contains(&format!("the proxy `http://{gone}` cannot be reached")), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
    }
}

#[test]
fn proxy_that_refuses_the_tunnel_is_named() {
    for (refusal, why) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "authorization required"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "unsuccessful"),
    ] {
        let proxy = Listening::tunnel(Some(refusal));
        let cache = Cache::with(through(at("http", "user:hunter2@", &proxy)));
        let error = cache.get("https://origin.invalid/a").expect_err("no tunnel");
        assert_eq!(error.kind, ErrorKind::Connect, "{error}");
        let text = format!("{} {error:?}", told(&error));
        assert!(text.contains(&at("http", "", &proxy)) && text.contains(why), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn proxy_url_that_cannot_be_read_is_a_setting_and_not_repeated() {
    for proxy in ["ftp://user:hunter2@proxy", "http://user:hunter2@", "::hunter2"] {
        let error = Cache::with(through(proxy.to_owned())).get("http://127.0.0.1:1/");
        let error = error.expect_err("no such proxy");
        assert!(matches!(error.kind, ErrorKind::Config(_)), "{proxy}: {error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
