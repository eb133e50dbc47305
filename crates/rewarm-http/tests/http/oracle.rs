//! The policy against another implementation of the same standard, on random responses.
//!
//! Both are asked whether a response may be stored and whether it is fresh. Inputs on which the
//! other is known to differ are not made: directive names in upper case, overflowing or malformed
//! numbers, repeated fields, dates of the obsolete forms, statuses that it does not know,
//! `must-understand`, the `stale-*` extensions, `immutable`, and `Vary`.

use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::option;
use proptest::prelude::*;
use rewarm_http::policy::Role;
use rewarm_http::policy::decide::{Decision, Ground, RequestHead, decide};
use rewarm_http::policy::storing::storable;

use crate::policy::{at, fields, record, response};

fn control() -> impl Strategy<Value = (Option<u64>, Vec<&'static str>)> {
    let flags = proptest::sample::subsequence(
        vec!["no-store", "no-cache", "must-revalidate", "public", "private"],
        0..3,
    );
    (option::of(0_u64..200), option::weighted(0.3, flags))
        .prop_map(|(age, flags)| (age, flags.unwrap_or_default()))
}

/// Fields of a response, and a second near the end of the lifetime that one of them gives.
fn response_lines() -> impl Strategy<Value = (Vec<String>, u64)> {
    let date = |seconds: u64| httpdate::fmt_http_date(at(seconds));
    let times = (option::of(0_u64..50), option::of(0_u64..200), option::of(0_u64..2_000));
    (control(), times, 0_u64..6).prop_map(move |((max_age, flags), times, around)| {
        let (age, expires, modified) = times;
        let mut control: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        control.extend(max_age.map(|age| format!("max-age={age}")));
        let mut lines = vec![format!("date: {}", date(0))];
        if !control.is_empty() {
            lines.push(format!("cache-control: {}", control.join(", ")));
        }
        lines.extend(age.map(|age| format!("age: {age}")));
        lines.extend(expires.map(|seconds| format!("expires: {}", date(seconds))));
        lines.extend(modified.map(|before| {
            let then = at(0) - Duration::from_secs(before);
            format!("last-modified: {}", httpdate::fmt_http_date(then))
        }));
        let lifetime = max_age.or(expires).or(modified.map(|m| m / 10)).unwrap_or_default();
        let second = (lifetime + around).saturating_sub(age.unwrap_or_default() + 3);
        (lines, second)
    })
}

fn request_lines() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        3 => Just(None),
        1 => (1_u64..200).prop_map(|age| Some(format!("max-age={age}"))),
        1 => (0_u64..200).prop_map(|age| Some(format!("min-fresh={age}"))),
        1 => Just(Some("no-cache".to_owned())),
    ];
    line.prop_map(|line| line.map(|line| format!("cache-control: {line}")).into_iter().collect())
}

fn asks(request: &Request<()>) -> RequestHead<'_> {
    RequestHead { method: &Method::GET, headers: request.headers(), role: Role::Private }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn storing_and_freshness_agree_with_another_implementation(
        (lines, second) in response_lines(),
        asked in request_lines(),
        status in prop::sample::select(vec![200_u16, 203, 204, 300, 301, 404, 410, 501]),
    ) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let build = |headers: &http::HeaderMap| {
            let mut request = Request::get("http://h/").body(()).expect("a request");
            *request.headers_mut() = headers.clone();
            request
        };
        let first = build(&fields(&[]));
        let again = build(&fields(&asked));
        let mut reply = Response::new(());
        *reply.status_mut() = StatusCode::from_u16(status).expect("a status");
        *reply.headers_mut() = fields(&lines);
        let options = CacheOptions { shared: false, ..CacheOptions::default() };
        let came: SystemTime = at(0);
        let theirs = CachePolicy::new_options(&first, &reply, came, options);

        let ours = storable(asks(&first), reply.status(), reply.headers());
        prop_assert_eq!(ours.is_ok(), theirs.is_storable());
        if ours.is_err() {
            return Ok(());
        }
        let stored = record(vec![response(&[], status, &lines)]);
        let decision = decide(asks(&again), Some(&stored), at(second));
        let fresh = matches!(decision, Decision::Serve { ground: Ground::Fresh, .. });
        let their_fresh =
            theirs.before_request(&again, at(second)).satisfies_without_revalidation();
        prop_assert_eq!(fresh, their_fresh, "{:?}", decision);
    }
}
