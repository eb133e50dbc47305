//! TLS: whom the client trusts, what it says when it does not, and HTTP/2.

use std::fs;

use rewarm_http::{ClientConfig, ErrorKind, FetchError, NO_EVENTS};

use crate::certificates::Authority;
use crate::common::{Cache, get, run};
use crate::modern::Modern;
use crate::raw::{Listening, ok};

const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

fn secure_url(server: &Listening) -> String {
    server.url("/a").replace("http://", "https://")
}

/// A client that trusts the authority, by a file.
pub(crate) fn trusting(authority: &Authority, change: impl FnOnce(&mut ClientConfig)) -> Cache {
    Cache::with(|config| {
        let path = config.spill_dir.join("authority.pem");
        fs::write(&path, &authority.pem).expect("writable");
        config.cert_file = Some(path);
        config.retries = 0;
        change(config);
    })
}

/// The error and all its causes.
pub(crate) fn told(error: &FetchError) -> String {
    let first: &dyn std::error::Error = error;
    let chain = std::iter::successors(Some(first), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn authority_in_a_file_is_trusted() {
    let authority = Authority::new();
    let server = Listening::https(authority.server(&NAMES, &[]), |_| ok("hello"));
    let cache = trusting(&authority, |_| {});
    assert_eq!(cache.text(&secure_url(&server)).0, "hello");
}

#[test]
fn authority_in_a_directory_is_trusted() {
    let authority = Authority::new();
    let server = Listening::https(authority.server(&NAMES, &[]), |_| ok("hello"));
    let cache = Cache::with(|config| {
        let dir = config.spill_dir.join("authorities");
        fs::create_dir(&dir).expect("writable");
        fs::write(dir.join("ours.0"), &authority.pem).expect("writable");
        fs::write(dir.join("README"), "no certificate").expect("writable");
        config.cert_dir = Some(dir);
    });
    assert_eq!(cache.text(&secure_url(&server)).0, "hello");
}

#[test]
fn unknown_authority_is_refused_and_named_as_such() {
    let server = Listening::https(Authority::new().server(&NAMES, &[]), |_| ok("hello"));
    let cache = trusting(&Authority::new(), |config| config.retries = 2);
    let error = cache.get(&secure_url(&server)).expect_err("nobody vouches for it");
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Tls, 1), "{error}");
    let text = told(&error);
    assert!(text.contains("the certificate of `127.0.0.1` was issued by nobody"), "{text}");
    assert_eq!(cache.files("http-v1").len(), 0);
}

#[test]
fn certificate_of_another_host_is_refused() {
    let authority = Authority::new();
    let server = Listening::https(authority.server(&["example.org"], &[]), |_| ok("hello"));
    let error = trusting(&authority, |_| {}).get(&secure_url(&server)).expect_err("another host");
    assert_eq!(error.kind, ErrorKind::Tls, "{error}");
    let text = told(&error);
    assert!(text.contains("the certificate of `127.0.0.1` is for another host"), "{text}");
}

#[test]
fn expired_certificate_is_refused() {
    let authority = Authority::new();
    let server = Listening::https(authority.expired(&NAMES), |_| ok("hello"));
    let error = trusting(&authority, |_| {}).get(&secure_url(&server)).expect_err("run out");
    assert_eq!(error.kind, ErrorKind::Tls, "{error}");
    assert!(told(&error).contains("has expired"), "{}", told(&error));
}

#[test]
fn unreadable_certificates_are_a_setting_that_only_https_needs() {
    let server = Listening::http(|_| ok("hello"));
    let cache = Cache::with(|config| config.cert_file = Some("/nowhere/ca.pem".into()));
    assert_eq!(cache.text(&server.url("/a")).0, "hello");
    let error = cache.get("https://127.0.0.1:1/").expect_err("nobody listens");
    assert_eq!(error.kind, ErrorKind::Connect, "{error}");
    let error = cache.get(&secure_url(&server)).expect_err("no certificates");
    let ErrorKind::Config(text) = &error.kind else { panic!("{error:?}") };
    assert!(text.contains("`/nowhere/ca.pem`"), "{text}");
    assert_eq!(error.attempts, 1);
}

#[test]
fn http2_is_chosen_where_the_server_offers_it() {
    let authority = Authority::new();
    let both = Modern::start(Some(authority.server(&NAMES, &["h2", "http/1.1"])));
    let cache = trusting(&authority, |_| {});
    assert_eq!(cache.text(&both.url("/version")).0, "HTTP/2.0");
    let old = Modern::start(Some(authority.server(&NAMES, &["http/1.1"])));
    assert_eq!(cache.text(&old.url("/version")).0, "HTTP/1.1");
}

#[test]
fn cold_requests_to_a_server_that_may_speak_either_all_come_through() {
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"]] {
        let authority = Authority::new();
        let server = Modern::start(Some(authority.server(&NAMES, protocols)));
        let cache = trusting(&authority, |_| {});
        run(async {
            let mut all = tokio::task::JoinSet::new();
            for nth in 0..20 {
                let request = get(&server.url(&format!("/large/{}", 1000 + nth)));
                let client = cache.client.clone();
                all.spawn(async move { client.fetch(&request, NO_EVENTS).await });
            }
            for result in all.join_all().await {
                result.expect("an answer");
            }
        });
        assert_eq!(cache.files("http-v1").len(), 20, "{protocols:?}");
    }
}

#[test]
fn http2_without_tls_only_by_prior_knowledge() {
    let server = Modern::start(None);
    assert_eq!(Cache::new().text(&server.url("/version")).0, "HTTP/1.1");
    let cache = Cache::with(|config| config.http2_prior_knowledge = true);
    assert_eq!(cache.text(&server.url("/version")).0, "HTTP/2.0");
}
