//! The ordinary course: download, hit, validate, hash, progress, damage.

use std::sync::Mutex;

use rewarm_http::{ErrorKind, Event, Reuse};
use rewarm_store::Digest;
use rewarm_testkit::server::{Reply, Server};

use crate::common::{Cache, get, pass, run};

#[test]
fn second_fetch_of_a_fresh_response_asks_nobody() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Downloaded));
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Fresh));
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn stale_response_is_validated_and_renewed() {
    let server = Server::start(|_| {
        Reply::ok("hello").header("cache-control", "max-age=60").header("etag", "\"1\"")
    });
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    pass(61);
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Revalidated));
    assert_eq!(server.seen()[1].header("if-none-match"), Some("\"1\""));
    assert_eq!(cache.text(&server.url("/a")).1, Reuse::Fresh);
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn changed_response_replaces_the_stale_one() {
    let server = Server::start(|seen| {
        let reply = Reply::ok(format!("version {}", seen.nth));
        reply.header("cache-control", "max-age=60").header("etag", &format!("\"{}\"", seen.nth))
    });
    let cache = Cache::new();
    assert_eq!(cache.text(&server.url("/a")).0, "version 0");
    pass(61);
    assert_eq!(cache.text(&server.url("/a")), ("version 1".into(), Reuse::Downloaded));
    assert_eq!(cache.text(&server.url("/a")), ("version 1".into(), Reuse::Fresh));
}

#[test]
fn expected_digest_is_a_hit_without_a_record_and_without_a_network() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "no-cache"));
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    let request = get("http://127.0.0.1:1/elsewhere").expecting(Digest::of("hello"));
    let (bytes, reuse) = cache.send(&request).expect("a hit");
    assert_eq!((bytes.as_slice(), reuse), (b"hello".as_slice(), Reuse::Fresh));
    let offline = cache.again(|config| config.offline = true);
    let fetched = run(offline.fetch(&request, rewarm_http::NO_EVENTS)).expect("a hit");
    assert_eq!(fetched.content.blob().digest, Digest::of("hello"));
}

#[test]
fn wrong_digest_is_an_error_and_leaves_no_entry() {
    let server = Server::start(|_| Reply::ok("jello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    let request = get(&server.url("/a")).expecting(Digest::of("hello"));
    let error = cache.send(&request).expect_err("another body");
    assert!(matches!(error.kind, ErrorKind::Digest { .. }), "{error}");
    for area in ["blobs-v1", "http-v1", "partial-v1", "tmp"] {
        assert_eq!(cache.files(area), Vec::<std::path::PathBuf>::new(), "{area}");
    }
}

#[test]
fn stored_response_of_another_digest_is_not_used_for_an_expected_one() {
    let server = Server::start(|seen| {
        Reply::ok(if seen.nth == 0 { "old" } else { "new" }).header("cache-control", "max-age=60")
    });
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    let request = get(&server.url("/a")).expecting(Digest::of("new"));
    let (bytes, reuse) = cache.send(&request).expect("the new body");
    assert_eq!((bytes.as_slice(), reuse), (b"new".as_slice(), Reuse::Downloaded));
}

#[test]
fn damaged_body_heals_within_the_same_call() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    for path in cache.files("blobs-v1") {
        std::fs::write(path, "jello").expect("writable");
    }
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Downloaded));
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Fresh));
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn damaged_record_and_missing_body_heal_within_the_same_call() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    for path in cache.files("http-v1") {
        std::fs::write(path, "garbage").expect("writable");
    }
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Downloaded));
    for path in cache.files("blobs-v1") {
        std::fs::remove_file(path).expect("writable");
    }
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Downloaded));
    assert_eq!(server.count("/a"), 3);
}

#[test]
fn touched_body_is_hashed_again_and_still_a_hit() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    for path in cache.files("blobs-v1") {
        let file = std::fs::File::options().write(true).open(path).expect("writable");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("settable");
    }
    assert_eq!(cache.text(&server.url("/a")), ("hello".into(), Reuse::Fresh));
}

#[test]
fn progress_ends_with_all_bytes() {
    let server = Server::start(|_| Reply::generated(3_000_000));
    let cache = Cache::new();
    let seen = Mutex::new(Vec::new());
    let events = |event: Event<'_>| {
        if let Event::Progress { position, total, .. } = event {
            seen.lock().expect("not poisoned").push((position, total));
        }
    };
    run(cache.client.fetch(&get(&server.url("/a")), &events)).expect("a response");
    let seen = seen.into_inner().expect("not poisoned");
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(seen.last(), Some(&(3_000_000, Some(3_000_000))));
}

#[test]
fn open_streams_the_first_bytes_before_the_last_are_sent() {
    let gate = rewarm_testkit::server::Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |_| Reply::generated(100_000).gate_after(10, &held));
    let cache = Cache::new();
    run(async {
        let request = get(&server.url("/a"));
        let mut response =
            cache.client.open(&request, rewarm_http::NO_EVENTS).await.expect("a response");
        let first = response.body.next().await.expect("bytes").expect("not the end");
        assert!(first.len() <= 10);
        gate.open();
        let mut all = first.to_vec();
        while let Some(bytes) = response.body.next().await.expect("bytes") {
            all.extend_from_slice(&bytes);
        }
        assert_eq!(all, rewarm_testkit::server::Content::Generated(100_000).to_vec());
        assert_eq!(*response.body.reuse(), Reuse::Downloaded);
    });
}

#[test]
fn error_statuses_are_errors_of_fetch_and_answers_of_open() {
    let server = Server::start(|_| Reply::status(404, "nothing here"));
    let cache = Cache::new();
    let error = cache.get(&server.url("/a")).expect_err("404");
    assert_eq!(error.kind, ErrorKind::Status(http::StatusCode::NOT_FOUND));
    assert_eq!(server.count("/a"), 1);
    run(async {
        let request = get(&server.url("/a"));
        let response = cache.client.open(&request, rewarm_http::NO_EVENTS).await;
        assert_eq!(response.expect("an answer").status, 404);
    });
}

#[test]
fn statuses_are_retried_for_fetch_and_handed_over_by_open() {
    let server = Server::start(|seen| match seen.nth {
        0 => Reply::status(503, "busy"),
        _ => Reply::ok("hello"),
    });
    let cache = Cache::new();
    assert_eq!(cache.ask("GET", &server.url("/a"), &[]).status, 503);
    assert_eq!(server.count("/a"), 1);
    assert_eq!(cache.text(&server.url("/b")).0, "hello");
    assert_eq!(server.count("/b"), 2);
}
