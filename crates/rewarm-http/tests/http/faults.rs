//! Downloads that break, and servers that lie about the rest.

use std::sync::Mutex;

use rewarm_http::{ErrorKind, Event, NO_EVENTS, Reuse};
use rewarm_store::Digest;
use rewarm_testkit::server::{Content, Ranges, Reply, Server};

use crate::common::{Cache, get, run};

const SIZE: u64 = 6_000_000;

fn whole() -> Vec<u8> {
    Content::Generated(SIZE).to_vec()
}

fn tagged() -> Reply {
    Reply::generated(SIZE).header("etag", "\"1\"").header("cache-control", "max-age=60")
}

/// The first answer breaks off after `cut` bytes, the others are as `rest` makes them.
fn cut_once(cut: u64, rest: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |seen| if seen.nth == 0 { tagged().cut_after(cut) } else { rest() })
}

#[test]
fn cut_download_is_resumed_in_the_same_call() {
    let server = cut_once(5_000_000, tagged);
    let cache = Cache::new();
    let (bytes, reuse) = cache.get(&server.url("/a")).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(reuse, Reuse::Downloaded);
    let second = &server.seen()[1];
    assert_eq!(second.header("range"), Some("bytes=5000000-"));
    assert_eq!(second.header("if-range"), Some("\"1\""));
}

#[test]
fn cut_download_is_resumed_by_a_later_client() {
    let server = cut_once(5_000_000, tagged);
    let cache = Cache::with(|config| config.retries = 0);
    let error = cache.get(&server.url("/a")).expect_err("cut");
    let expected = ErrorKind::Length { expected: SIZE, actual: 5_000_000 };
    assert_eq!(error.kind, expected, "{error}");
    assert_eq!(cache.files("blobs-v1").len() + cache.files("http-v1").len(), 0);
    let (bytes, reuse) = cache.get(&server.url("/a")).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(reuse, Reuse::Resumed { from: 5_000_000 });
    assert_eq!(cache.files("partial-v1").len(), 0);
}

#[test]
fn open_hands_out_what_was_there_before_the_rest() {
    let server = cut_once(5_000_000, tagged);
    let cache = Cache::with(|config| config.retries = 0);
    cache.get(&server.url("/a")).expect_err("cut");
    assert!(read(&cache, &server.url("/a")).expect("the whole") == whole());
    assert_eq!(server.count("/a"), 2);
}

/// Reads through `open`.
fn read(cache: &Cache, url: &str) -> Result<Vec<u8>, rewarm_http::FetchError> {
    run(async {
        let mut response = cache.client.open(&get(url), NO_EVENTS).await?;
        let mut all = Vec::new();
        while let Some(bytes) = response.body.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    })
}

#[test]
fn damaged_prefix_is_not_resumed() {
    let server = cut_once(5_000_000, tagged);
    let cache = Cache::with(|config| config.retries = 0);
    cache.get(&server.url("/a")).expect_err("cut");
    let files = cache.files("partial-v1");
    let data = files.iter().find(|path| path.extension().is_some_and(|e| e == "data"));
    let file = std::fs::File::options().write(true).open(data.expect("data")).expect("writable");
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", 1_000_000).expect("written");
    let (bytes, reuse) = cache.get(&server.url("/a")).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(reuse, Reuse::Downloaded);
}

#[test]
fn changed_body_is_downloaded_anew_not_joined() {
    let server = Server::start(|seen| {
        if seen.nth == 0 {
            tagged().cut_after(100)
        } else {
            Reply::ok("new").header("etag", "\"2\"")
        }
    });
    let cache = Cache::new();
    assert_eq!(cache.get(&server.url("/a")).expect("the new body").0, b"new");
    let again = Cache::with(|config| config.retries = 0);
    let server = Server::start(|seen| {
        if seen.nth == 0 {
            tagged().cut_after(100)
        } else {
            Reply::ok("new").header("etag", "\"2\"")
        }
    });
    again.get(&server.url("/a")).expect_err("cut");
    let (bytes, reuse) = again.get(&server.url("/a")).expect("the new body");
    assert_eq!((bytes.as_slice(), reuse), (b"new".as_slice(), Reuse::Downloaded));
}

#[test]
fn changed_body_is_an_error_for_who_has_read_a_part_of_the_old() {
    let server = Server::start(|seen| {
        if seen.nth == 0 {
            tagged().cut_after(100)
        } else {
            Reply::ok("x".repeat(200)).header("etag", "\"2\"")
        }
    });
    let error = read(&Cache::new(), &server.url("/a")).expect_err("two versions");
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
}

#[test]
fn lying_ranges_lead_to_a_whole_download() {
    for ranges in [Ranges::WrongStart, Ranges::WrongTotal, Ranges::Refused, Ranges::Ignored] {
        for retries in [0, 2] {
            let server = cut_once(5_000_000, move || tagged().ranges(ranges));
            let cache = Cache::with(|config| config.retries = retries);
            let first = cache.get(&server.url("/a"));
            let (bytes, _) = first.or_else(|_| cache.get(&server.url("/a"))).expect("the whole");
            assert!(bytes == whole(), "{ranges:?} {retries}");
        }
    }
}

#[test]
fn part_of_another_version_is_not_accepted() {
    let server = cut_once(5_000_000, || {
        Reply::generated(SIZE).header("etag", "\"2\"").ranges(Ranges::Unconditional)
    });
    let cache = Cache::with(|config| config.retries = 0);
    cache.get(&server.url("/a")).expect_err("cut");
    let (bytes, reuse) = cache.get(&server.url("/a")).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(reuse, Reuse::Downloaded);
}

#[test]
fn download_without_a_strong_validator_starts_over() {
    let weak = || Reply::generated(SIZE).header("etag", "W/\"1\"");
    let server =
        Server::start(move |seen| if seen.nth == 0 { weak().cut_after(5_000_000) } else { weak() });
    let cache = Cache::new();
    assert!(read(&cache, &server.url("/a")).expect("the whole") == whole());
    assert_eq!(server.seen()[1].header("range"), None);
}

#[test]
fn expected_digest_allows_resuming_without_a_validator() {
    let plain = || Reply::generated(SIZE);
    let server = Server::start(move |seen| match seen.nth {
        0 => plain().cut_after(5_000_000),
        _ => plain(),
    });
    let cache = Cache::with(|config| config.retries = 0);
    let request = get(&server.url("/a")).expecting(Digest::of(whole()));
    cache.send(&request).expect_err("cut");
    let (bytes, reuse) = cache.send(&request).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(reuse, Reuse::Resumed { from: 5_000_000 });
}

#[test]
fn prefix_of_another_version_is_dropped_when_the_digest_tells() {
    let server = Server::start(move |seen| match seen.nth {
        0 => Reply::ok(vec![b'x'; 1000]).cut_after(500),
        _ => Reply::generated(1000),
    });
    let cache = Cache::with(|config| config.retries = 0);
    let body = Content::Generated(1000).to_vec();
    let request = get(&server.url("/a")).expecting(Digest::of(&body));
    cache.send(&request).expect_err("cut");
    assert!(cache.send(&request).expect("the whole").0 == body);
}

#[test]
fn body_shorter_than_announced_leaves_no_entry() {
    let server = Server::start(|_| Reply::ok("short").declare_length(10));
    let cache = Cache::new();
    let error = cache.get(&server.url("/a")).expect_err("short");
    assert_eq!(error.kind, ErrorKind::Length { expected: 10, actual: 5 }, "{error}");
    assert_eq!(error.attempts, 3);
    assert_eq!(cache.files("blobs-v1").len() + cache.files("http-v1").len(), 0);
}

#[test]
fn chunked_body_without_its_end_leaves_no_entry() {
    let server = Server::start(|_| Reply::ok("short").chunked().cut_after(3));
    let cache = Cache::new();
    let error = cache.get(&server.url("/a")).expect_err("no end");
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    assert_eq!(cache.files("blobs-v1").len() + cache.files("http-v1").len(), 0);
}

#[test]
fn rfc9112_8_body_that_only_ends_with_its_connection_is_not_stored() {
    let server = Server::start(|_| Reply::ok("hello").until_close());
    let cache = Cache::new();
    let (bytes, reuse) = cache.get(&server.url("/a")).expect("a body");
    assert_eq!(bytes, b"hello");
    assert!(matches!(reuse, Reuse::NotStored(_)), "{reuse:?}");
    let request = get(&server.url("/a")).expecting(Digest::of("hello"));
    assert_eq!(cache.send(&request).expect("a body").1, Reuse::Downloaded);
}

#[test]
fn chunked_body_is_stored_whole() {
    let server = Server::start(|_| Reply::generated(SIZE).chunked());
    let (bytes, reuse) = Cache::new().get(&server.url("/a")).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(reuse, Reuse::Downloaded);
}

/// Fetches and says how many retries were announced.
fn retries_told(url: &str) -> u32 {
    let cache = Cache::new();
    let told = Mutex::new(0);
    let events = |event: Event<'_>| {
        if matches!(event, Event::Retrying { .. }) {
            *told.lock().expect("not poisoned") += 1;
        }
    };
    run(cache.client.fetch(&get(url), &events)).expect("an answer at last");
    told.into_inner().expect("not poisoned")
}

#[test]
fn transient_statuses_are_retried_and_told() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let server = Server::start(move |seen| match seen.nth {
            0 | 1 => Reply::status(status, "later").header("retry-after", "0"),
            _ => Reply::ok("hello"),
        });
        assert_eq!(retries_told(&server.url("/a")), 2, "{status}");
        assert_eq!(server.count("/a"), 3, "{status}");
    }
}

#[test]
fn connection_closed_without_an_answer_is_retried_and_told() {
    let server = Server::start(|seen| match seen.nth {
        0 => Reply::ok("").hang_up(),
        _ => Reply::ok("hello"),
    });
    assert_eq!(retries_told(&server.url("/a")), 1);
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn other_statuses_are_not_retried() {
    for status in [400, 401, 403, 404, 410, 501] {
        let server = Server::start(move |_| Reply::status(status, "no"));
        let error = Cache::new().get(&server.url("/a")).expect_err("an error");
        assert_eq!(server.count("/a"), 1, "{status}: {error}");
    }
}

#[test]
fn long_pause_that_a_server_asks_for_is_an_answer() {
    let server = Server::start(|_| Reply::status(503, "").header("retry-after", "3600"));
    let error = Cache::new().get(&server.url("/a")).expect_err("unavailable");
    assert_eq!((server.count("/a"), error.attempts), (1, 1));
}

#[test]
fn refused_connection_names_url_kind_and_tries() {
    let error = Cache::new().get("http://127.0.0.1:1/a").expect_err("nobody listens");
    assert_eq!(error.kind, ErrorKind::Connect);
    assert_eq!(
        error.to_string(),
        "cannot fetch `http://127.0.0.1:1/a`: cannot connect (tried 3 times)"
    );
}

#[test]
fn plain_server_behind_https_is_named_as_such() {
    let cache = Cache::with(|config| config.retries = 0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    let error = cache.get(&url).expect_err("no TLS there");
    assert_eq!(error.kind, ErrorKind::Tls, "{error:?}");
    plain.join().expect("no panic").expect("sent");
}

#[test]
fn stalled_body_times_out_and_is_resumed() {
    let gate = rewarm_testkit::server::Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |seen| match seen.nth {
        0 => tagged().gate_after(5_000_000, &held),
        _ => tagged(),
    });
    let cache = Cache::with(|config| config.read_timeout = std::time::Duration::from_millis(200));
    let (bytes, _) = cache.get(&server.url("/a")).expect("the whole");
    assert!(bytes == whole());
    assert_eq!(server.count("/a"), 2);
}
