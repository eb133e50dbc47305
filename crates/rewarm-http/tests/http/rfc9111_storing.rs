//! RFC 9111 section 3 end to end: what is stored and what is not.

use rewarm_testkit::server::{Reply, Server};

use crate::common::{Cache, lines, with_lines};

/// Whether the answer of this status and fields to one GET answers the next.
fn reused(status: u16, fields: &[(&str, &str)]) -> bool {
    let fields = lines(fields);
    let server = Server::start(move |_| {
        with_lines(Reply::status(status, if status == 204 { "" } else { "x" }), &fields)
    });
    let cache = Cache::with(|config| config.retries = 0);
    let first = cache.ask("GET", &server.url("/a"), &[]);
    let second = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((first.status, second.status), (status, status));
    assert_eq!(first.bytes, second.bytes);
    second.is_hit()
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[test]
fn rfc9111_3_any_final_status_with_explicit_freshness_is_reused() {
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 503, 599] {
        assert!(reused(status, FRESH), "{status}");
    }
}

#[test]
fn rfc9111_4_2_2_only_some_statuses_get_a_heuristic_lifetime() {
    let old: &[(&str, &str)] = &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert!(reused(status, old), "{status}");
    }
    for status in [201, 299, 302, 303, 307, 400, 403, 499, 502, 504, 599] {
        assert!(!reused(status, old), "{status}");
    }
    let public: &[(&str, &str)] = &[old[0], ("cache-control", "public")];
    assert!(reused(599, public));
}

#[test]
fn rfc9111_5_2_2_5_no_store_is_not_stored() {
    for control in ["no-store", "no-store, max-age=60", "max-age=60, No-Store", "no-store=x"] {
        assert!(!reused(200, &[("cache-control", control)]), "{control}");
    }
}

#[test]
fn rfc9111_5_2_2_3_must_understand_needs_a_known_status() {
    let lines = &[("cache-control", "max-age=60, must-understand, no-store")];
    assert!(reused(200, lines));
    assert!(!reused(599, &[("cache-control", "max-age=60, must-understand")]));
}

#[test]
fn rfc9111_4_1_what_varies_by_everything_is_not_reused() {
    assert!(!reused(200, &[FRESH[0], ("vary", "*")]));
    assert!(!reused(200, &[FRESH[0], ("vary", "accept, *")]));
}

#[test]
fn rfc9111_5_2_1_5_the_request_may_forbid_storing() {
    let server = Server::start(|_| Reply::ok("x").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &["cache-control: no-store"]);
    assert!(!cache.ask("GET", &server.url("/a"), &[]).is_hit());
}

#[test]
fn rfc9111_3_1_hop_by_hop_fields_neither_come_from_the_store_nor_pass() {
    let server = Server::start(|_| {
        let reply = Reply::ok("x").header("cache-control", "max-age=60").header("x-b", "2");
        reply.header("connection", "x-a").header("x-a", "1").header("proxy-authenticate", "x")
    });
    let cache = Cache::new();
    for method in ["POST", "GET", "GET"] {
        let answer = cache.ask(method, &server.url("/a"), &[]);
        assert_eq!(answer.field("x-b"), Some("2"), "{method}");
        for absent in ["x-a", "connection", "proxy-authenticate"] {
            assert_eq!(answer.field(absent), None, "{method} {absent}");
        }
    }
}

#[test]
fn rfc9110_9_3_3_a_post_that_says_so_answers_a_later_get() {
    let server = Server::start(|seen| {
        let reply = Reply::ok(seen.method.clone()).header("cache-control", "max-age=60");
        match seen.path.as_str() {
            "/same" => reply.header("content-location", "/same"),
            "/other" => reply.header("content-location", "/elsewhere"),
            _ => reply,
        }
    });
    let cache = Cache::new();
    for (path, expected) in [("/same", "POST"), ("/other", "GET"), ("/none", "GET")] {
        cache.ask("POST", &server.url(path), &[]);
        assert_eq!(cache.ask("GET", &server.url(path), &[]).text(), expected, "{path}");
    }
    // It never answers a POST.
    assert!(!cache.ask("POST", &server.url("/same"), &[]).is_hit());
}
