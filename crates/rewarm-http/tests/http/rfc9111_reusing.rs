//! RFC 9111 sections 4 and 5 end to end: which stored response answers which request.

use rewarm_http::ErrorKind;
use rewarm_testkit::server::{Reply, Server};

use crate::common::{Cache, pass};

/// Whether a response that varies by a field, given to one value, answers another.
fn matches(field: &str, stored: &[&str], asked: &[&str]) -> bool {
    let vary = field.to_owned();
    let server = Server::start(move |_| {
        Reply::ok("x").header("cache-control", "max-age=60").header("vary", &vary)
    });
    let cache = Cache::new();
    let lines = |values: &[&str]| -> Vec<String> {
        values.iter().map(|value| format!("{field}: {value}")).collect()
    };
    let ask = |values: &[&str]| {
        let lines = lines(values);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        cache.ask("GET", &server.url("/a"), &lines).is_hit()
    };
    assert!(!ask(stored));
    ask(asked)
}

#[test]
fn rfc9111_4_1_a_response_is_for_the_fields_it_varies_by() {
    assert!(matches("foo", &["1"], &["1"]));
    assert!(!matches("foo", &["1"], &["2"]));
    assert!(!matches("foo", &["1"], &[]));
    assert!(!matches("foo", &[], &["1"]));
    assert!(matches("foo", &[], &[]));
}

#[test]
fn rfc9111_4_1_fields_are_normalised_where_their_syntax_allows() {
    assert!(matches("foo", &["1, 2"], &["1", "2"]));
    assert!(matches("foo", &["1,2"], &["1,  2"]));
    assert!(!matches("foo", &["1, 2"], &["2, 1"]));
    assert!(matches("accept-language", &["en, de"], &["De , eN"]));
    assert!(!matches("accept-language", &["en, de"], &["fr;q=0.5, de;q=1.0"]));
    assert!(matches("accept-encoding", &["gzip, br"], &["br,gzip"]));
}

#[test]
fn rfc9111_4_1_many_variants_are_kept() {
    let server = Server::start(|seen| {
        let reply = Reply::ok(seen.header("foo").unwrap_or("none"));
        reply.header("cache-control", "max-age=60").header("vary", "foo")
    });
    let cache = Cache::new();
    for expected in [false, true] {
        for value in 0..20 {
            let answer = cache.ask("GET", &server.url("/a"), &[&format!("foo: {value}")]);
            assert_eq!((answer.text(), answer.is_hit()), (value.to_string().as_str(), expected));
        }
    }
}

#[test]
fn responses_given_without_cookies_answer_those_who_have_some() {
    let server = Server::start(|seen| {
        let reply = Reply::ok(seen.header("cookie").unwrap_or("none"));
        let reply = reply.header("cache-control", "max-age=60");
        if seen.path == "/vary" { reply.header("vary", "cookie") } else { reply }
    });
    let cache = Cache::new();
    let ask = |path: &str, fields: &[&str]| cache.ask("GET", &server.url(path), fields);
    ask("/a", &[]);
    assert_eq!(ask("/a", &["cookie: me"]).text(), "none");
    assert!(ask("/a", &["cookie: me"]).is_hit());
    assert!(!ask("/a", &["cookie: me", "authorization: x"]).is_hit());
    // What was given to cookies is for those cookies only.
    assert_eq!(ask("/b", &["cookie: me"]).text(), "me");
    assert_eq!(ask("/b", &[]).text(), "none");
    assert_eq!(ask("/b", &["cookie: me"]).text(), "me");
    assert_eq!(ask("/b", &["cookie: you"]).text(), "none");
    ask("/vary", &[]);
    assert_eq!(ask("/vary", &["cookie: me"]).text(), "me");
}

#[test]
fn rfc9111_5_1_age_grows_with_the_time_in_the_cache() {
    let server = Server::start(|_| {
        Reply::ok("x").header("cache-control", "max-age=600").header("age", "30")
    });
    let cache = Cache::new();
    assert_eq!(cache.ask("GET", &server.url("/a"), &[]).field("age"), Some("30"));
    pass(12);
    assert_eq!(cache.ask("GET", &server.url("/a"), &[]).field("age"), Some("42"));
}

#[test]
fn rfc9111_5_2_1_7_only_if_cached_is_answered_from_the_cache_or_with_504() {
    let server = Server::start(|_| Reply::ok("x").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    let only = ["cache-control: only-if-cached"];
    for (method, fields) in [("GET", vec![]), ("HEAD", vec![]), ("GET", vec!["if-match: \"1\""])] {
        let fields = [&only[..], &fields[..]].concat();
        assert_eq!(cache.ask(method, &server.url("/a"), &fields).status, 504, "{fields:?}");
    }
    assert_eq!(server.count("/a"), 0);
    cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!(cache.ask("GET", &server.url("/a"), &only).status, 200);
}

#[test]
fn rfc9111_5_4_pragma_is_heard_where_cache_control_is_absent() {
    let server = Server::start(|_| Reply::ok("x").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    assert!(!cache.ask("GET", &server.url("/a"), &["pragma: no-cache"]).is_hit());
    let both = ["pragma: no-cache", "cache-control: max-stale"];
    assert!(cache.ask("GET", &server.url("/a"), &both).is_hit());
    // In a response it means nothing.
    let server = Server::start(|_| {
        Reply::ok("x").header("cache-control", "max-age=60").header("pragma", "no-cache")
    });
    cache.ask("GET", &server.url("/a"), &[]);
    assert!(cache.ask("GET", &server.url("/a"), &[]).is_hit());
}

#[test]
fn rfc9111_5_5_warnings_do_not_come_from_the_store() {
    let server = Server::start(|_| {
        Reply::ok("x").header("cache-control", "max-age=60").header("warning", "110 - stale")
    });
    let cache = Cache::new();
    for said in [Some("110 - stale"), None] {
        assert_eq!(cache.ask("GET", &server.url("/a"), &[]).field("warning"), said);
    }
}

#[test]
fn rfc9111_4_2_4_what_forbids_stale_use_is_obeyed_when_the_origin_is_gone() {
    for (control, may) in [
        ("max-age=10", true),
        ("max-age=10, must-revalidate", false),
        ("max-age=10, no-cache", false),
        ("max-age=10, proxy-revalidate", true),
        ("max-age=10, s-maxage=10", true),
    ] {
        let server = Server::start(move |seen| match seen.nth {
            0 => Reply::ok("x").header("cache-control", control),
            _ => Reply::ok("").hang_up(),
        });
        let cache = Cache::with(|config| config.retries = 0);
        cache.ask("GET", &server.url("/a"), &[]);
        pass(20);
        match cache.get(&server.url("/a")) {
            Ok((bytes, _)) => assert!(may && bytes == b"x", "{control}"),
            Err(error) => assert!(!may && error.kind == ErrorKind::Broken, "{control}: {error}"),
        }
    }
}

#[test]
fn rfc5861_3_nothing_stale_is_served_after_the_window() {
    let server = Server::start(|seen| {
        let control = "max-age=10, stale-while-revalidate=10";
        Reply::ok(seen.nth.to_string()).header("cache-control", control)
    });
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(15);
    let stale = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((stale.text(), stale.cache_status.as_str()), ("0", "hit; ttl=-5"));
    pass(25);
    assert_eq!(cache.ask("GET", &server.url("/a"), &[]).text(), "2");
}

#[test]
fn rfc9111_4_4_a_successful_unsafe_method_invalidates_and_a_failed_one_does_not() {
    let server = Server::start(|seen| {
        let status = if seen.header("fail").is_some() { 500 } else { 200 };
        let reply = Reply::status(status, "x").header("cache-control", "max-age=60");
        match seen.method.as_str() {
            "GET" => reply,
            _ => reply.header("location", "/l").header("content-location", "/cl"),
        }
    });
    let cache = Cache::with(|config| config.retries = 0);
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        let paths = ["/a", "/l", "/cl"].map(|path| server.url(path));
        let hits = || paths.iter().filter(|url| cache.ask("GET", url, &[]).is_hit()).count();
        hits();
        assert_eq!(hits(), 3);
        cache.ask(method, &paths[0], &["fail: 1"]);
        assert_eq!(hits(), 3, "{method}");
        cache.ask(method, &paths[0], &[]);
        assert_eq!(hits(), 0, "{method}");
    }
    for method in ["OPTIONS", "TRACE"] {
        cache.ask(method, &server.url("/a"), &[]);
        assert!(cache.ask("GET", &server.url("/a"), &[]).is_hit(), "{method}");
    }
}
