//! The policy, one claim per requirement, named by the section that it comes from.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rewarm_http::Url;
use rewarm_http::policy::Role;
use rewarm_http::policy::decide::{
    Decision, Failure, Ground, RequestHead, conditions, decide, may_serve_on_error, may_share,
    select_for_update,
};
use rewarm_http::policy::storing::{
    Unstorable, end_to_end, invalidated, merge_not_modified, reusable_fields, storable,
};
use rewarm_http::record::{Record, Variant, vary_names, vary_of};

pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

fn on(seconds: u64) -> String {
    httpdate::fmt_http_date(at(seconds))
}

/// Fields from lines such as `etag: "1"`.
pub(crate) fn fields(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field line");
        let name: HeaderName = name.parse().expect("a field name");
        headers.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    headers
}

/// A response that came at second 0 for a request with these fields.
pub(crate) fn response(request: &[&str], status: u16, response: &[&str]) -> Variant {
    let headers = fields(response);
    let status = StatusCode::from_u16(status).expect("a status");
    let vary = vary_of(vary_names(&headers).unwrap_or_default(), &fields(request));
    Variant { vary, ..Variant::bare(status, &headers, at(0), at(0)) }
}

pub(crate) fn record(variants: Vec<Variant>) -> Record {
    Record { url: "http://h/".into(), variants }
}

/// Decides about a GET at a second, with one stored 200.
fn get(request: &[&str], stored: &[&str], second: u64) -> Decision {
    let record = record(vec![response(&[], 200, stored)]);
    let headers = fields(request);
    decide(
        RequestHead { method: &Method::GET, headers: &headers, role: Role::Private },
        Some(&record),
        at(second),
    )
}

fn ground(request: &[&str], stored: &[&str], second: u64) -> Option<Ground> {
    match get(request, stored, second) {
        Decision::Serve { ground, .. } => Some(ground),
        _ => None,
    }
}

fn is_fresh(request: &[&str], stored: &[&str], second: u64) -> bool {
    ground(request, stored, second) == Some(Ground::Fresh)
}

#[test]
fn rfc9111_4_2_fresh_while_the_age_is_less_than_the_lifetime() {
    assert!(is_fresh(&[], &["cache-control: max-age=10"], 9));
    assert!(!is_fresh(&[], &["cache-control: max-age=10"], 10));
    assert!(!is_fresh(&[], &["cache-control: max-age=10", "age: 5"], 5));
}

#[test]
fn rfc9111_4_2_a_response_without_expiration_is_stale_at_once() {
    assert!(matches!(get(&[], &["etag: \"1\""], 0), Decision::Validate { .. }));
    assert!(matches!(get(&[], &[], 0), Decision::Fetch { .. }));
}

#[test]
fn rfc9111_5_2_1_1_request_max_age_limits_the_age() {
    let stored = ["cache-control: max-age=100"];
    assert!(is_fresh(&["cache-control: max-age=5"], &stored, 5));
    assert!(!is_fresh(&["cache-control: max-age=5"], &stored, 6));
    assert!(!is_fresh(&["cache-control: max-age=0"], &stored, 0));
}

#[test]
fn rfc8246_immutable_is_not_asked_about_while_fresh() {
    let stored = ["cache-control: max-age=100, immutable"];
    assert!(is_fresh(&["cache-control: max-age=0"], &stored, 50));
    assert!(!is_fresh(&["cache-control: no-cache"], &stored, 50));
    assert!(!is_fresh(&[], &stored, 100));
}

#[test]
fn rfc9111_5_2_1_2_max_stale_accepts_stale_within_its_limit() {
    let stored = ["cache-control: max-age=10"];
    let allowed = Some(Ground::MaxStale);
    assert_eq!(ground(&["cache-control: max-stale"], &stored, 10_000), allowed);
    assert_eq!(ground(&["cache-control: max-stale=5"], &stored, 15), allowed);
    assert_eq!(ground(&["cache-control: max-stale=5"], &stored, 16), None);
    for forbidden in ["must-revalidate", "no-cache"] {
        let control = format!("cache-control: max-age=10, {forbidden}");
        assert_eq!(ground(&["cache-control: max-stale"], &[&control], 20), None, "{forbidden}");
    }
}

#[test]
fn rfc9111_5_2_1_3_min_fresh_wants_time_left() {
    let stored = ["cache-control: max-age=10"];
    assert!(is_fresh(&["cache-control: min-fresh=4"], &stored, 6));
    assert!(!is_fresh(&["cache-control: min-fresh=4"], &stored, 7));
}

#[test]
fn rfc9111_5_2_1_4_request_no_cache_validates() {
    let stored = ["cache-control: max-age=10", "etag: \"1\""];
    for request in ["cache-control: no-cache", "pragma: no-cache"] {
        assert!(matches!(get(&[request], &stored, 0), Decision::Validate { .. }), "{request}");
    }
}

#[test]
fn rfc9111_5_2_1_7_only_if_cached_never_asks() {
    let only = ["cache-control: only-if-cached"];
    assert!(is_fresh(&only, &["cache-control: max-age=10"], 5));
    assert!(matches!(get(&only, &["etag: \"1\""], 5), Decision::Refuse { .. }));
    let headers = fields(&only);
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    assert!(matches!(decide(head, None, at(0)), Decision::Refuse { .. }));
}

#[test]
fn rfc9111_5_2_2_4_response_no_cache_is_always_validated() {
    let stored = ["cache-control: max-age=10, no-cache", "etag: \"1\""];
    assert!(matches!(get(&[], &stored, 0), Decision::Validate { .. }));
}

#[test]
fn rfc9111_5_2_2_4_fields_named_by_no_cache_are_not_reused() {
    let stored = ["cache-control: max-age=10, no-cache=\"x-a, X-B\"", "x-a: 1", "x-b: 2", "x-c: 3"];
    assert!(is_fresh(&[], &stored, 5));
    let headers = reusable_fields(Role::Private, &response(&[], 200, &stored));
    assert_eq!(headers.get("x-a"), None);
    assert_eq!(headers.get("x-b"), None);
    assert_eq!(headers.get("x-c"), Some(&HeaderValue::from_static("3")));
}

#[test]
fn rfc5861_3_stale_while_revalidate_serves_and_renews_within_its_window() {
    let stored = ["cache-control: max-age=10, stale-while-revalidate=5"];
    assert_eq!(ground(&[], &stored, 15), Some(Ground::WhileRevalidate));
    assert_eq!(ground(&[], &stored, 16), None);
    let strict = ["cache-control: max-age=10, stale-while-revalidate=5, must-revalidate"];
    assert_eq!(ground(&[], &strict, 12), None);
    assert_eq!(ground(&["cache-control: max-age=5"], &stored, 12), None);
}

fn on_error(request: &[&str], stored: &[&str], failure: Failure, second: u64) -> bool {
    let headers = fields(request);
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    may_serve_on_error(head, &response(&[], 200, stored), failure, at(second))
}

#[test]
fn rfc5861_4_stale_if_error_serves_within_its_window() {
    let stored = ["cache-control: max-age=10, stale-if-error=5"];
    assert!(on_error(&[], &stored, Failure::ServerError, 15));
    assert!(!on_error(&[], &stored, Failure::ServerError, 16));
    let plain = ["cache-control: max-age=10"];
    assert!(!on_error(&[], &plain, Failure::ServerError, 11));
    assert!(on_error(&["cache-control: stale-if-error=5"], &plain, Failure::ServerError, 15));
}

#[test]
fn rfc9111_4_2_4_disconnected_serves_stale_unless_forbidden() {
    assert!(on_error(&[], &["cache-control: max-age=10"], Failure::Disconnected, 1000));
    for control in ["must-revalidate", "no-cache", "must-revalidate, stale-if-error=9999"] {
        let stored = format!("cache-control: max-age=10, {control}");
        assert!(!on_error(&[], &[&stored], Failure::Disconnected, 11), "{control}");
    }
}

#[test]
fn rfc9111_4_1_the_variant_of_the_request_is_selected() {
    let html = response(&["accept: html"], 200, &["vary: accept", "cache-control: max-age=9"]);
    let json = response(&["accept: json"], 200, &["vary: accept", "cache-control: max-age=9"]);
    let record = record(vec![html, json]);
    for (accept, expected) in [("accept: html", 0), ("accept: json", 1)] {
        let headers = fields(&[accept]);
        let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
        match decide(head, Some(&record), at(1)) {
            Decision::Serve { variant, .. } => assert_eq!(variant, expected),
            other => panic!("{other:?}"),
        }
    }
    let headers = fields(&["accept: xml"]);
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    assert!(
        matches!(decide(head, Some(&record), at(1)), Decision::Fetch { why, .. } if why.contains("accept"))
    );
}

#[test]
fn rfc9111_4_1_the_most_recent_of_several_matches_is_selected() {
    let mut old = response(&[], 200, &["cache-control: max-age=99"]);
    old.response_time = at(0);
    let mut new = response(&[], 200, &["cache-control: max-age=99"]);
    (new.request_time, new.response_time) = (at(5), at(5));
    let record = record(vec![new, old]);
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    assert!(matches!(decide(head, Some(&record), at(6)), Decision::Serve { variant: 0, .. }));
}

#[test]
fn rfc9111_4_3_1_all_entity_tags_are_offered_and_the_date_of_the_selected() {
    let html = response(&["accept: html"], 200, &["vary: accept", "etag: \"h\""]);
    let json =
        response(&["accept: json"], 200, &["vary: accept", "etag: W/\"j\"", "last-modified: x"]);
    let record = record(vec![html, json]);
    let headers = fields(&["accept: json"]);
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    let Decision::Validate { variants, .. } = decide(head, Some(&record), at(1)) else {
        panic!("nothing here is fresh");
    };
    assert_eq!(variants, [1, 0]);
    let conditions = conditions(&record, &variants, &headers);
    assert_eq!(conditions["if-none-match"], "W/\"j\", \"h\"");
    assert_eq!(conditions["if-modified-since"], "x");
}

#[test]
fn rfc9111_4_3_1_other_variants_are_asked_about_when_none_is_selected() {
    let html =
        response(&["accept: html"], 200, &["vary: accept", "etag: \"h\"", "last-modified: x"]);
    let record = record(vec![html]);
    let headers = fields(&["accept: json"]);
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    let Decision::Validate { variants, .. } = decide(head, Some(&record), at(1)) else {
        panic!("there is a tag to ask about");
    };
    let conditions = conditions(&record, &variants, &headers);
    assert_eq!(conditions["if-none-match"], "\"h\"");
    assert!(!conditions.contains_key("if-modified-since"));
}

#[test]
fn rfc9111_4_3_4_a_304_updates_what_its_validator_names() {
    let tagged = |tag: &str| response(&[], 200, &[&format!("etag: {tag}")]);
    let stored =
        record(vec![tagged("\"a\""), tagged("W/\"b\""), response(&[], 200, &["last-modified: x"])]);
    let all = [0, 1, 2];
    let select = |lines: &[&str]| select_for_update(&stored, &all, &fields(lines));
    assert_eq!(select(&["etag: \"a\""]), Some(0));
    assert_eq!(select(&["etag: W/\"a\""]), Some(0));
    assert_eq!(select(&["etag: W/\"b\""]), Some(1));
    assert_eq!(select(&["last-modified: x"]), Some(2));
    assert_eq!(select(&["etag: \"c\""]), None);
    assert_eq!(select(&[]), None);
    assert_eq!(select_for_update(&stored, &[0], &fields(&[])), Some(0));
    assert_eq!(select_for_update(&stored, &[0], &fields(&["etag: \"c\""])), None);
}

#[test]
fn rfc9111_3_2_a_304_replaces_fields_but_not_those_about_the_bytes() {
    let mut variant = response(
        &[],
        200,
        &["x-a: 1", "x-a: 2", "x-b: 1", "content-length: 5", "content-encoding: br", "age: 9"],
    );
    let update = fields(&[
        "x-a: 3",
        "x-new: 4",
        "content-length: 0",
        "content-encoding: gzip",
        "content-range: bytes 0-1/2",
        "connection: x-hop",
        "x-hop: 1",
    ]);
    merge_not_modified(&mut variant, &update, at(7), at(8));
    let headers = variant.headers();
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["3"]);
    assert_eq!(headers["x-b"], "1");
    assert_eq!(headers["x-new"], "4");
    assert_eq!(headers["content-length"], "5");
    assert_eq!(headers["content-encoding"], "br");
    for absent in ["content-range", "connection", "x-hop", "age"] {
        assert!(!headers.contains_key(absent), "{absent}");
    }
    assert!(variant.came_at(at(7), at(8)));
}

#[test]
fn rfc9111_3_2_a_304_without_a_date_still_renews() {
    let date = format!("date: {}", on(0));
    let record = |variant: Variant| record(vec![variant]);
    let mut variant = response(&[], 200, &["cache-control: max-age=10", &date]);
    merge_not_modified(&mut variant, &fields(&["etag: \"1\""]), at(50), at(50));
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    let decision = decide(head, Some(&record(variant)), at(55));
    assert!(matches!(decision, Decision::Serve { ground: Ground::Fresh, .. }), "{decision:?}");
}

fn stores(request: &[&str], status: u16, lines: &[&str]) -> Result<(), Unstorable> {
    let status = StatusCode::from_u16(status).expect("a status");
    let headers = fields(request);
    let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
    storable(head, status, &fields(lines))
}

#[test]
fn rfc9111_3_what_may_be_stored() {
    assert_eq!(stores(&[], 200, &[]), Ok(()));
    assert_eq!(stores(&["authorization: x"], 200, &[]), Ok(()));
    assert_eq!(stores(&[], 200, &["cache-control: private"]), Ok(()));
    assert_eq!(stores(&[], 404, &[]), Ok(()));
    assert_eq!(stores(&[], 302, &["cache-control: max-age=1"]), Ok(()));
    assert_eq!(stores(&[], 599, &["cache-control: max-age=1"]), Ok(()));
    assert_eq!(stores(&[], 599, &["expires: 0"]), Ok(()));
}

#[test]
fn rfc9111_3_what_must_not_be_stored() {
    let no_store = &["cache-control: no-store"];
    assert_eq!(stores(no_store, 200, &[]), Err(Unstorable::RequestNoStore));
    assert_eq!(stores(&[], 200, no_store), Err(Unstorable::NoStore));
    assert_eq!(stores(&[], 302, &[]), Err(Unstorable::NotExplicit(302)));
    assert_eq!(stores(&[], 206, &["cache-control: max-age=1"]), Err(Unstorable::Status(206)));
    assert_eq!(stores(&[], 304, &["cache-control: max-age=1"]), Err(Unstorable::Status(304)));
    assert_eq!(stores(&[], 200, &["vary: *"]), Err(Unstorable::VaryStar));
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::POST, headers: &headers, role: Role::Private };
    let post = storable(head, StatusCode::OK, &headers);
    assert_eq!(post, Err(Unstorable::Method));
}

#[test]
fn rfc9111_5_2_2_3_must_understand_overrides_no_store_for_known_statuses() {
    let control = &["cache-control: must-understand, no-store, max-age=9"];
    assert_eq!(stores(&[], 200, control), Ok(()));
    assert_eq!(stores(&[], 599, control), Err(Unstorable::Status(599)));
    let understand = &["cache-control: must-understand, max-age=9"];
    assert_eq!(stores(&[], 599, understand), Err(Unstorable::Status(599)));
}

#[test]
fn redirects_to_urls_with_secrets_are_not_stored() {
    for secret in ["http://u:p@h/", "/x?token=abc", "https://h/?X-Amz-Signature=a", "/t/tk-1/c/"] {
        let location = format!("location: {secret}");
        assert_eq!(stores(&[], 301, &[&location]), Err(Unstorable::Secret), "{secret}");
    }
    assert_eq!(stores(&[], 301, &["location: /plain?q=1"]), Ok(()));
}

#[test]
fn rfc9111_3_1_hop_by_hop_fields_are_not_stored() {
    let kept = end_to_end(&fields(&[
        "connection: x-a, Keep-Alive",
        "x-a: 1",
        "keep-alive: 1",
        "transfer-encoding: chunked",
        "proxy-authenticate: x",
        "upgrade: h2c",
        "x-b: 1",
        "x-b: 2",
    ]));
    assert_eq!(kept, fields(&["x-b: 1", "x-b: 2"]));
}

#[test]
fn rfc9111_4_3_5_a_stored_get_answers_a_head() {
    let record = record(vec![response(&[], 200, &["cache-control: max-age=10"])]);
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::HEAD, headers: &headers, role: Role::Private };
    assert!(matches!(decide(head, Some(&record), at(5)), Decision::Serve { .. }));
    assert!(matches!(decide(head, Some(&record), at(15)), Decision::Fetch { .. }));
}

#[test]
fn rfc9111_4_4_unsafe_methods_invalidate_their_target_and_what_it_points_to() {
    let target = Url::parse("http://h/a/b").expect("a URL");
    let after = |method: Method, status: u16, lines: &[&str]| {
        let status = StatusCode::from_u16(status).expect("a status");
        let urls = invalidated(&method, &target, status, &fields(lines));
        urls.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let pointing = ["location: c", "content-location: http://other/x"];
    assert_eq!(after(Method::POST, 201, &pointing), ["http://h/a/b", "http://h/a/c"]);
    assert_eq!(after(Method::DELETE, 303, &[]), ["http://h/a/b"]);
    assert_eq!(after(Method::PUT, 500, &pointing), Vec::<String>::new());
    assert_eq!(after(Method::GET, 200, &pointing), Vec::<String>::new());
    let unknown = Method::from_bytes(b"FROB").expect("a method");
    assert_eq!(after(unknown, 200, &[]), ["http://h/a/b"]);
}

#[test]
fn rfc9111_4_requests_under_way_are_shared_only_where_the_response_may_be_reused() {
    let share = |request: &[&str], stored: &[&str], asked: u64| {
        let headers = fields(request);
        let head = RequestHead { method: &Method::GET, headers: &headers, role: Role::Private };
        may_share(head, &response(&[], 200, stored), at(asked))
    };
    assert!(share(&[], &["cache-control: max-age=10"], 5));
    assert!(!share(&[], &["cache-control: max-age=10"], 15));
    assert!(share(&[], &["etag: \"1\""], 100));
    assert!(!share(&[], &["cache-control: no-cache"], 0));
    assert!(!share(&[], &["cache-control: max-age=0"], 0));
    assert!(!share(&["cache-control: no-cache"], &["cache-control: max-age=10"], 0));
}
