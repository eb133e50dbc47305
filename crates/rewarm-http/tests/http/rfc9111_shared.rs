//! What RFC 9111 and RFC 9213 say of a cache that serves several users.

use rewarm_testkit::server::{Reply, Seen, Server};

use crate::common::{Cache, lines, pass, with_lines};

fn shared() -> Cache {
    Cache::with(|config| config.shared = true)
}

/// An origin that answers with these fields and says who asked.
fn origin(fields: &[(&str, &str)]) -> Server {
    let fields = lines(fields);
    Server::start(move |seen: &Seen| {
        let who = seen.header("authorization").or(seen.header("cookie")).unwrap_or("nobody");
        with_lines(Reply::ok(who), &fields)
    })
}

/// Whether the second of two requests after `seconds` is a hit.
fn reused(cache: &Cache, fields: &[(&str, &str)], seconds: u64) -> bool {
    let server = origin(fields);
    cache.ask("GET", &server.url("/a"), &[]);
    pass(seconds);
    cache.ask("GET", &server.url("/a"), &[]).is_hit()
}

#[test]
fn rfc9111_5_2_2_10_s_maxage_counts_only_when_shared() {
    let fields = &[("cache-control", "s-maxage=60, max-age=10")];
    assert!(reused(&shared(), fields, 50));
    assert!(!reused(&Cache::new(), fields, 50));
}

#[test]
fn rfc9111_5_2_2_7_private_responses_are_not_stored_when_shared() {
    let fields = &[("cache-control", "private, max-age=60")];
    assert!(!reused(&shared(), fields, 0));
    assert!(reused(&Cache::new(), fields, 0));
}

#[test]
fn rfc9111_5_2_2_7_fields_named_by_private_are_not_stored_when_shared() {
    let fields =
        &[("cache-control", "private=\"x-a, X-B\", max-age=60"), ("x-a", "1"), ("x-c", "2")];
    let server = origin(fields);
    for (cache, kept) in [(shared(), None), (Cache::new(), Some("1"))] {
        assert_eq!(cache.ask("GET", &server.url("/a"), &[]).field("x-a"), Some("1"));
        let hit = cache.ask("GET", &server.url("/a"), &[]);
        assert!(hit.is_hit());
        assert_eq!(hit.field("x-a"), kept);
        assert_eq!(hit.field("x-c"), Some("2"));
    }
}

#[test]
fn rfc9111_3_5_responses_to_credentials_are_shared_only_where_they_say_so() {
    let cache = shared();
    for (control, may) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
    ] {
        let server = Server::start(move |seen| {
            let who = seen.header("authorization").unwrap_or("nobody").to_owned();
            Reply::ok(who).header("cache-control", control)
        });
        let url = server.url("/a");
        assert_eq!(cache.ask("GET", &url, &["authorization: alice"]).text(), "alice");
        let bob = cache.ask("GET", &url, &["authorization: bob"]);
        assert_eq!(bob.is_hit(), may, "{control}");
        assert_eq!(bob.text(), if may { "alice" } else { "bob" }, "{control}");
    }
}

#[test]
fn rfc9111_3_5_answers_to_nobody_are_for_everybody_when_shared() {
    let server = origin(&[("cache-control", "max-age=60")]);
    let cache = shared();
    cache.ask("GET", &server.url("/a"), &[]);
    assert!(cache.ask("GET", &server.url("/a"), &["authorization: bob"]).is_hit());
    let own = cache.ask("GET", &server.url("/b"), &["cookie: bob"]);
    assert_eq!((own.text(), own.is_hit()), ("bob", false));
    assert_eq!(cache.ask("GET", &server.url("/b"), &[]).text(), "nobody");
}

#[test]
fn rfc9111_5_2_2_8_proxy_revalidate_forbids_stale_use_only_when_shared() {
    for control in ["max-age=10, proxy-revalidate", "s-maxage=10, max-age=10"] {
        let server = Server::start(move |seen| match seen.nth {
            0 => Reply::ok("x").header("cache-control", control),
            _ => Reply::ok("").hang_up(),
        });
        let (strict, lax) = (shared(), Cache::new());
        strict.ask("GET", &server.url("/a"), &[]);
        lax.ask("GET", &server.url("/b"), &[]);
        pass(20);
        strict.get(&server.url("/a")).expect_err("no stale use");
        assert_eq!(lax.ask("GET", &server.url("/b"), &[]).text(), "x", "{control}");
    }
}

#[test]
fn rfc9213_2_2_a_targeted_field_stands_in_place_of_the_others_when_shared() {
    let long =
        &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store"), ("expires", "0")];
    assert!(reused(&shared(), long, 50));
    assert!(!reused(&Cache::new(), long, 0));
    let short = &[("cdn-cache-control", "max-age=5"), ("cache-control", "max-age=60")];
    assert!(!reused(&shared(), short, 10));
    assert!(reused(&Cache::new(), short, 10));
    let none = &[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")];
    assert!(!reused(&shared(), none, 0));
}

#[test]
fn rfc9213_2_2_a_targeted_field_that_cannot_be_parsed_is_not_there() {
    let broken = &[("cdn-cache-control", "max-age=60, &&&"), ("cache-control", "no-store")];
    assert!(!reused(&shared(), broken, 0));
    let mistyped = &[("cdn-cache-control", "max-age=\"1\""), ("cache-control", "max-age=60")];
    assert!(reused(&shared(), mistyped, 10));
}

#[test]
fn entries_of_a_private_cache_are_not_those_of_a_shared_one() {
    let server = origin(&[("cache-control", "max-age=60, private")]);
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &[]);
    let shared = crate::common::Cache {
        client: cache.again(|config| config.shared = true),
        dir: tempfile::tempdir().expect("a temporary directory"),
    };
    assert!(!shared.ask("GET", &server.url("/a"), &[]).is_hit());
    assert_eq!(server.count("/a"), 2);
}
