//! A client's own conditions and ranges, answered from the cache: RFC 9110 sections 13 and 14, RFC
//! 9111 section 4.3.2.

use rewarm_testkit::server::{Reply, Server};

use crate::common::{Cache, pass};

const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// An origin with one representation that is fresh for a minute.
fn origin() -> Server {
    Server::start(|_| {
        let reply = Reply::ok("0123456789").header("cache-control", "max-age=60");
        reply.header("etag", "\"1\"").header("last-modified", OLD)
    })
}

fn filled(server: &Server) -> Cache {
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    cache
}

#[test]
fn rfc9110_13_1_2_if_none_match_is_answered_from_the_cache() {
    let server = origin();
    let cache = filled(&server);
    let hit = cache.ask("GET", &server.url("/a"), &["if-none-match: \"0\", W/\"1\""]);
    assert_eq!((hit.status, hit.text(), hit.is_hit()), (304, "", true));
    assert_eq!(hit.field("etag"), Some("\"1\""));
    assert_eq!(hit.field("cache-control"), Some("max-age=60"));
    assert_eq!(hit.field("content-length"), None);
    let other = cache.ask("GET", &server.url("/a"), &["if-none-match: \"0\""]);
    assert_eq!((other.status, other.text(), other.is_hit()), (200, "0123456789", true));
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn rfc9110_13_1_3_if_modified_since_is_answered_from_the_cache() {
    let server = origin();
    let cache = filled(&server);
    let since = format!("if-modified-since: {OLD}");
    let hit = cache.ask("GET", &server.url("/a"), &[&since]);
    assert_eq!((hit.status, hit.is_hit()), (304, true));
    let both = cache.ask("GET", &server.url("/a"), &[&since, "if-none-match: \"0\""]);
    assert_eq!(both.status, 200);
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn rfc9110_9_3_2_a_head_with_a_condition_is_answered_from_the_cache() {
    let server = origin();
    let cache = filled(&server);
    let head = cache.ask("HEAD", &server.url("/a"), &["if-none-match: \"1\""]);
    assert_eq!((head.status, head.is_hit()), (304, true));
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn rfc9111_4_3_2_if_match_and_if_unmodified_since_go_to_the_origin() {
    let server = origin();
    let cache = filled(&server);
    let since = format!("if-unmodified-since: {OLD}");
    for condition in ["if-match: \"1\"", &since] {
        let answer = cache.ask("GET", &server.url("/a"), &[condition]);
        assert_eq!(answer.cache_status, "fwd=bypass; fwd-status=200", "{condition}");
    }
    let seen = server.seen();
    assert_eq!(seen[1].header("if-match"), Some("\"1\""));
    assert_eq!(seen[2].header("if-unmodified-since"), Some(OLD));
}

#[test]
fn rfc9111_4_3_2_a_stale_response_is_validated_before_the_condition_is_evaluated() {
    let server = origin();
    let cache = filled(&server);
    pass(61);
    let answer = cache.ask("GET", &server.url("/a"), &["if-none-match: \"1\""]);
    assert_eq!(answer.status, 304);
    assert_eq!(answer.cache_status, "fwd=stale; fwd-status=304; ttl=60");
    assert!(cache.ask("GET", &server.url("/a"), &[]).is_hit());
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn rfc9111_4_3_2_the_clients_tags_are_offered_with_the_stored_ones() {
    let server = Server::start(|seen| {
        let tag = if seen.nth == 0 { "\"1\"" } else { "\"2\"" };
        Reply::ok(tag).header("cache-control", "max-age=60").header("etag", tag)
    });
    let cache = filled(&server);
    pass(61);
    let answer = cache.ask("GET", &server.url("/a"), &["if-none-match: \"2\""]);
    assert_eq!(answer.status, 304, "the client has the new one");
    assert_eq!(server.seen()[1].header("if-none-match"), Some("\"1\", \"2\""));
    let whole = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((whole.status, whole.text()), (200, "\"2\""));
}

#[test]
fn rfc9111_4_3_2_a_condition_that_misses_is_sent_on_and_a_200_is_stored() {
    let server = origin();
    let cache = Cache::new();
    let has = cache.ask("GET", &server.url("/a"), &["if-none-match: \"1\""]);
    assert_eq!((has.status, has.text()), (304, ""));
    assert_eq!(has.cache_status, "fwd=uri-miss; fwd-status=304");
    let has_not = cache.ask("GET", &server.url("/a"), &["if-none-match: \"0\""]);
    assert_eq!((has_not.status, has_not.text()), (200, "0123456789"));
    assert!(cache.ask("GET", &server.url("/a"), &[]).is_hit());
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn rfc9110_14_ranges_are_answered_from_a_complete_response() {
    let server = origin();
    let cache = filled(&server);
    for (range, bytes, said) in [
        ("range: bytes=0-1", "01", "bytes 0-1/10"),
        ("range: bytes=8-", "89", "bytes 8-9/10"),
        ("range: bytes=-3", "789", "bytes 7-9/10"),
        ("range: bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let part = cache.ask("GET", &server.url("/a"), &[range]);
        assert_eq!((part.status, part.text(), part.is_hit()), (206, bytes, true), "{range}");
        assert_eq!(part.field("content-range"), Some(said));
        assert_eq!(part.field("content-length"), Some(bytes.len().to_string().as_str()));
        assert!(part.field("etag").is_some() && part.field("age").is_some());
    }
    let none = cache.ask("GET", &server.url("/a"), &["range: bytes=10-"]);
    assert_eq!((none.status, none.text(), none.is_hit()), (416, "", true));
    assert_eq!(none.field("content-range"), Some("bytes */10"));
    for ignored in ["range: bytes=0-1,3-4", "range: lines=1-2", "range: bytes=3-1"] {
        let whole = cache.ask("GET", &server.url("/a"), &[ignored]);
        assert_eq!((whole.status, whole.text(), whole.is_hit()), (200, "0123456789", true));
    }
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn rfc9110_13_1_5_if_range_guards_the_range() {
    let server = origin();
    let cache = filled(&server);
    let range = "range: bytes=0-1";
    let date = format!("if-range: {OLD}");
    for (condition, status) in
        [("if-range: \"1\"", 206), ("if-range: \"2\"", 200), ("if-range: W/\"1\"", 200)]
    {
        let answer = cache.ask("GET", &server.url("/a"), &[range, condition]);
        assert_eq!(answer.status, status, "{condition}");
    }
    // The date is no condition where there is a tag, which is the better validator.
    assert_eq!(cache.ask("GET", &server.url("/a"), &[range, &date]).status, 200);
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn rfc9110_14_a_range_of_a_stale_response_is_answered_once_it_is_validated() {
    let server = origin();
    let cache = filled(&server);
    pass(61);
    let part = cache.ask("GET", &server.url("/a"), &["range: bytes=2-3"]);
    assert_eq!((part.status, part.text()), (206, "23"));
    assert_eq!(part.cache_status, "fwd=stale; fwd-status=304; ttl=60");
    assert_eq!(server.seen()[1].header("range"), None);
}

#[test]
fn rfc9110_14_a_range_that_misses_is_passed_on_as_it_is() {
    let server = origin();
    let cache = Cache::new();
    let part = cache.ask("GET", &server.url("/a"), &["range: bytes=1-2", "if-range: \"1\""]);
    assert_eq!((part.status, part.text()), (206, "12"));
    assert_eq!(part.cache_status, "fwd=uri-miss; fwd-status=206; stored");
    assert_eq!(server.seen()[0].header("if-range"), Some("\"1\""));
    let whole = cache.ask("GET", &server.url("/a"), &[]);
    assert_eq!((whole.status, whole.text()), (200, "0123456789"));
}

#[test]
fn rfc9110_13_2_1_conditions_do_not_hide_errors() {
    let server = Server::start(|_| {
        Reply::status(404, "none").header("cache-control", "max-age=60").header("etag", "\"1\"")
    });
    let cache = Cache::new();
    for _ in 0..2 {
        let answer = cache.ask("GET", &server.url("/a"), &["if-none-match: \"1\""]);
        assert_eq!((answer.status, answer.text()), (404, "none"));
    }
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn rfc9211_2_cache_status_tells_hits_and_misses() {
    let server = origin();
    let cache = Cache::new();
    let status =
        |method: &str, fields: &[&str]| cache.ask(method, &server.url("/a"), fields).cache_status;
    assert_eq!(status("GET", &[]), "fwd=uri-miss; fwd-status=200; stored");
    pass(10);
    assert_eq!(status("GET", &[]), "hit; ttl=50");
    assert_eq!(status("GET", &["cache-control: no-cache"]), "fwd=request; fwd-status=304; ttl=60");
    assert_eq!(status("POST", &[]), "fwd=method; fwd-status=200");
    assert_eq!(status("GET", &["cache-control: only-if-cached"]), "");
}

/// Asks for one part, then for another; whether that came from the cache, and what it was.
fn after_part(first: &str, fields: &[&str], next: &str) -> (bool, u16, String) {
    let server = origin();
    let cache = Cache::new();
    assert_eq!(cache.ask("GET", &server.url("/a"), &[first]).status, 206);
    let fields = [&[next][..], fields].concat();
    let answer = cache.ask("GET", &server.url("/a"), &fields);
    if let (206, Some(length)) = (answer.status, answer.field("content-length")) {
        assert_eq!(length, answer.bytes.len().to_string());
    }
    (answer.is_hit(), answer.status, answer.text().to_owned())
}

#[test]
fn rfc9111_3_4_a_stored_part_answers_for_the_bytes_it_holds() {
    let hit = |text: &str| (true, 206, text.to_owned());
    assert_eq!(after_part("range: bytes=5-", &[], "range: bytes=5-"), hit("56789"));
    assert_eq!(after_part("range: bytes=5-", &[], "range: bytes=6-8"), hit("678"));
    assert_eq!(after_part("range: bytes=5-", &[], "range: bytes=6-"), hit("6789"));
    assert_eq!(after_part("range: bytes=5-", &[], "range: bytes=-1"), hit("9"));
    assert_eq!(after_part("range: bytes=2-6", &[], "range: bytes=2-6"), hit("23456"));
    let miss = |text: &str| (false, 206, text.to_owned());
    assert_eq!(after_part("range: bytes=5-", &[], "range: bytes=4-8"), miss("45678"));
    assert_eq!(after_part("range: bytes=2-6", &[], "range: bytes=5-7"), miss("567"));
    assert_eq!(after_part("range: bytes=2-6", &[], "range: bytes=8-"), miss("89"));
    let tag = "if-range: \"1\"";
    assert_eq!(after_part("range: bytes=2-6", &[tag], "range: bytes=3-4"), hit("34"));
}

#[test]
fn rfc9111_3_3_a_stored_part_never_answers_for_the_whole() {
    let server = origin();
    let cache = Cache::new();
    cache.ask("GET", &server.url("/a"), &["range: bytes=0-4"]);
    for expected in ["fwd=uri-miss; fwd-status=200; stored", "hit; ttl=60"] {
        let whole = cache.ask("GET", &server.url("/a"), &[]);
        assert_eq!((whole.status, whole.text()), (200, "0123456789"));
        assert_eq!(whole.cache_status, expected);
    }
    assert_eq!(cache.ask("HEAD", &server.url("/a"), &[]).status, 200);
    assert_eq!(server.seen()[1].header("if-none-match"), None);
    // Now the whole is there.
    assert!(cache.ask("GET", &server.url("/a"), &["range: bytes=7-9"]).is_hit());
}

#[test]
fn rfc9111_3_4_a_stale_or_wrong_part_is_not_used() {
    let server = origin();
    let cache = Cache::new();
    let ask = |fields: &[&str]| cache.ask("GET", &server.url("/a"), fields).is_hit();
    ask(&["range: bytes=0-4"]);
    assert!(!ask(&["range: bytes=0-4", "if-range: \"0\""]));
    assert!(!ask(&["range: bytes=0-4", "cache-control: no-cache"]));
    ask(&["range: bytes=5-6"]);
    pass(61);
    assert!(!ask(&["range: bytes=5-6"]));
    assert!(ask(&["range: bytes=5-6"]));
    cache.ask("POST", &server.url("/a"), &[]);
    assert!(!ask(&["range: bytes=5-6"]));
}

#[test]
fn rfc9110_14_4_a_part_that_is_shorter_than_it_says_answers_nothing_but_the_same_range() {
    let server = Server::start(|_| {
        let reply = Reply::status(206, "01234").header("content-range", "bytes 4-9/10");
        reply.header("cache-control", "max-age=60")
    });
    let cache = Cache::new();
    let ask = |fields: &[&str]| cache.ask("GET", &server.url("/a"), fields);
    ask(&["range: bytes=-5"]);
    let again = ask(&["range: bytes=-5"]);
    assert_eq!((again.text(), again.is_hit()), ("01234", true));
    assert_eq!(again.field("content-range"), Some("bytes 4-9/10"));
    assert!(!ask(&["range: bytes=6-8"]).is_hit());
}
