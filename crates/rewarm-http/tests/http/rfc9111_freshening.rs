//! RFC 9111 sections 4.3.4 and 4.3.5 end to end: what a 304 and the answer to a HEAD do to what is
//! stored.

use rewarm_testkit::server::{Reply, Seen, Server};

use crate::common::{Cache, lines, pass, with_lines};

const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

/// An origin that answers the first GET with these fields and the next request with others, of the
/// same body.
fn origin(first: &[(&str, &str)], next: &[(&str, &str)]) -> Server {
    let (first, next) = (lines(first), lines(next));
    Server::start(move |seen: &Seen| {
        with_lines(Reply::ok("body"), if seen.nth == 0 { &first } else { &next })
    })
}

#[test]
fn rfc9111_3_2_a_304_updates_fields_and_keeps_those_it_omits() {
    let server = origin(
        &[("cache-control", "max-age=10"), ("etag", "\"1\""), ("x-a", "1"), ("x-b", "1")],
        &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("x-a", "2"), ("x-c", "2")],
    );
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    for hit in [false, true] {
        let answer = cache.ask("GET", &server.url("/a"), &[]);
        assert_eq!((answer.text(), answer.is_hit()), ("body", hit));
        let fields = ["x-a", "x-b", "x-c", "cache-control"].map(|name| answer.field(name));
        assert_eq!(fields, [Some("2"), Some("1"), Some("2"), Some("max-age=60")]);
    }
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn rfc9111_5_2_2_5_a_304_that_says_no_store_is_used_once() {
    let server = origin(
        &[("cache-control", "max-age=10"), ("etag", "\"1\"")],
        &[("cache-control", "no-store"), ("etag", "\"1\"")],
    );
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    let answer = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((answer.text(), answer.cache_status.starts_with("fwd=stale")), ("body", true));
    let after = cache.ask("GET", &server.url("/a"), &[]);
    assert!(after.cache_status.starts_with("fwd=uri-miss"), "{}", after.cache_status);
}

#[test]
fn rfc9111_4_3_1_a_response_without_a_tag_is_validated_by_its_date() {
    let lines = &[("cache-control", "max-age=10"), ("last-modified", OLD)];
    let server = origin(lines, lines);
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    let answer = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!(answer.cache_status, "fwd=stale; fwd-status=304; ttl=10");
    assert_eq!(server.seen()[1].header("if-modified-since"), Some(OLD));
}

#[test]
fn rfc9111_4_3_1_the_fields_of_a_validation_are_those_of_the_request() {
    let lines = &[("cache-control", "max-age=10"), ("etag", "\"1\""), ("vary", "abc")];
    let server = origin(lines, lines);
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &["abc: 123"]);
    pass(20);
    cache.ask("GET", &server.url("/a"), &["abc: 123"]);
    let second = &server.seen()[1];
    assert_eq!(
        (second.header("abc"), second.header("if-none-match")),
        (Some("123"), Some("\"1\""))
    );
}

/// After a GET and, when it is stale, a HEAD with these fields: whether a GET is a hit, and how the
/// origin was asked otherwise.
fn after_head(first: &[(&str, &str)], head: &[(&str, &str)]) -> String {
    let server = origin(first, head);
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    let answer = cache.ask("HEAD", &server.url("/a"), &[]);
    assert!(answer.cache_status.starts_with("fwd="), "{}", answer.cache_status);
    assert_eq!(answer.text(), "");
    cache.ask("GET", &server.url("/a"), &["cache-control: only-if-cached, max-stale"]).cache_status
}

#[test]
fn rfc9111_4_3_5_a_head_with_the_same_validator_renews() {
    for same in [("etag", "\"1\""), ("last-modified", OLD)] {
        let first = [("cache-control", "max-age=10"), same];
        let head = [("cache-control", "max-age=60"), same];
        assert_eq!(after_head(&first, &head), "hit; ttl=60", "{same:?}");
    }
}

#[test]
fn rfc9111_4_3_5_a_head_that_contradicts_drops_what_is_stored() {
    let first = &[("cache-control", "max-age=10"), ("etag", "\"1\""), ("last-modified", OLD)];
    assert_eq!(after_head(first, &[("cache-control", "max-age=60"), ("etag", "\"2\"")]), "");
    assert_eq!(after_head(first, &[("last-modified", NEW), ("etag", "\"1\"")]), "");
}

#[test]
fn rfc9111_4_3_5_a_head_without_validators_proves_nothing() {
    let first = &[("cache-control", "max-age=10"), ("etag", "\"1\"")];
    assert_eq!(after_head(first, &[("cache-control", "max-age=60")]), "hit; ttl=-10");
}

#[test]
fn rfc9111_4_3_5_only_a_200_to_a_head_counts() {
    let server = Server::start(|seen| match seen.nth {
        0 => Reply::ok("body").header("cache-control", "max-age=10").header("etag", "\"1\""),
        _ => Reply::status(410, "").header("etag", "\"2\""),
    });
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    assert_eq!(cache.ask("HEAD", &server.url("/a"), &[]).status, 410);
    let stored = ["cache-control: only-if-cached, max-stale"];
    assert_eq!(cache.ask("GET", &server.url("/a"), &stored).text(), "body");
}

#[test]
fn rfc9111_4_3_5_a_head_with_another_length_drops_what_is_stored() {
    let server = Server::start(|seen| {
        let reply = Reply::ok(if seen.nth == 0 { "body" } else { "longer body" });
        reply.header("cache-control", "max-age=10").header("etag", "\"1\"")
    });
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    cache.ask("HEAD", &server.url("/a"), &[]);
    let stored = ["cache-control: only-if-cached, max-stale"];
    assert_eq!(cache.ask("GET", &server.url("/a"), &stored).status, 504);
}

#[test]
fn rfc9111_5_2_2_4_fields_named_by_no_cache_are_used_once_validated() {
    let lines =
        &[("cache-control", "max-age=10, no-cache=\"x-a\""), ("etag", "\"1\""), ("x-a", "1")];
    let server = origin(lines, lines);
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!(cache.ask("GET", &server.url("/a"), &[]).field("x-a"), None);
    pass(20);
    let validated = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!(validated.cache_status, "fwd=stale; fwd-status=304; ttl=10");
    assert_eq!(validated.field("x-a"), Some("1"));
}

#[test]
fn rfc9110_6_6_1_a_stored_response_without_a_date_gets_the_one_at_which_it_came() {
    let server = origin(&[("cache-control", "max-age=60")], &[]);
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    let came = httpdate::fmt_http_date(crate::common::now());
    pass(20);
    let hit = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((hit.field("date"), hit.field("age")), (Some(came.as_str()), Some("20")));
}

#[test]
fn rfc5861_3_a_head_that_is_served_stale_has_the_get_renewed() {
    let server = Server::start(|seen| {
        let control = "max-age=10, stale-while-revalidate=100";
        Reply::ok(seen.nth.to_string()).header("cache-control", control)
    });
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    pass(20);
    assert!(cache.ask("HEAD", &server.url("/a"), &[]).is_hit());
    let renewed = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((renewed.text(), renewed.is_hit()), ("1", true));
    assert_eq!(server.seen()[1].method, "GET");
}
