//! What must not happen: secrets on disk or in text, stale answers that were forbidden, downgrades,
//! and bodies lost because they could not be stored.

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE};
use rewarm_http::{Client, Clock, ErrorKind, Event, NO_EVENTS, NetrcFile, Request, Reuse, Url};
use rewarm_store::Store;
use rewarm_testkit::server::{Reply, Server};

use crate::common::{Cache, bytes_of, config, files_below, get, now, pass, run};

const SECRET: &str = "hunter2-s3cr3t";

fn holds_secret(bytes: &[u8]) -> bool {
    let encoded = b"Ym9iOmh1bnRlcjItczNjcjN0"; // bob:hunter2-s3cr3t
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
        || bytes.windows(encoded.len()).any(|window| window == encoded)
}

#[test]
fn credentials_are_sent_but_written_nowhere() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/fails" => Reply::status(403, ""),
        "/cut" => Reply::generated(1000).header("etag", "\"1\"").cut_after(500),
        _ => Reply::ok("x").header("cache-control", "max-age=60").header("vary", "authorization"),
    });
    let cache = Cache::with(|config| {
        config.retries = 1;
        let text = format!("machine 127.0.0.1 login bob password {SECRET}");
        config.netrc = Some(NetrcFile { path: "netrc".into(), text });
    });
    let told = Mutex::new(String::new());
    let events = |event: Event<'_>| {
        told.lock().expect("not poisoned").push_str(&format!("{event:?}"));
    };
    let with_user = server.url("/user").replace("http://", &format!("http://bob:{SECRET}@"));
    let urls = [
        server.url("/netrc"),
        with_user,
        server.url("/fails"),
        server.url("/cut"),
        server.url(&format!("/query?token={SECRET}")),
    ];
    for url in &urls {
        for header in [None, Some(AUTHORIZATION), Some(COOKIE)] {
            let mut request = get(url);
            if let Some(name) = header {
                request = request.header(name, HeaderValue::from_static(SECRET));
            }
            assert!(!holds_secret(format!("{request:?}").as_bytes()));
            let text = match run(cache.client.fetch(&request, &events)) {
                Ok(fetched) => format!("{:?} {}", fetched.url, fetched.explanation),
                Err(error) => {
                    let source = std::error::Error::source(&error).map(|e| format!("{e} {e:?}"));
                    format!("{error} {error:?} {source:?}")
                }
            };
            assert!(!holds_secret(text.as_bytes()), "{text}");
        }
    }
    assert!(
        server
            .seen()
            .iter()
            .any(|seen| { seen.header("authorization") == Some("Basic Ym9iOmh1bnRlcjItczNjcjN0") })
    );
    assert!(!holds_secret(told.lock().expect("not poisoned").as_bytes()));
    assert!(!holds_secret(format!("{:?}", cache.client).as_bytes()));
    let files = files_below(cache.dir.path());
    assert!(files.len() > 10);
    for path in files {
        let name = path.to_string_lossy().into_owned();
        assert!(!holds_secret(&std::fs::read(&path).expect("readable")), "{name}");
        assert!(!holds_secret(name.as_bytes()), "{name}");
    }
}

#[test]
fn responses_to_credentials_are_kept_apart() {
    let server = Server::start(|seen| {
        let whose = seen.header("authorization").unwrap_or("nobody").to_owned();
        Reply::ok(whose).header("cache-control", "max-age=60")
    });
    let cache = Cache::new();
    let url = server.url("/a");
    let of = |who: &'static str| get(&url).header(AUTHORIZATION, HeaderValue::from_static(who));
    for _ in 0..2 {
        assert_eq!(cache.send(&of("alice")).expect("a response").0, b"alice");
        assert_eq!(cache.send(&of("bob")).expect("a response").0, b"bob");
        assert_eq!(cache.send(&get(&url)).expect("a response").0, b"nobody");
    }
    assert_eq!(server.count("/a"), 3);
}

#[test]
fn redirects_are_followed_and_each_hop_is_cached_in_its_own_right() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/moved" => Reply::status(301, "gone").header("location", "/b"),
        "/kept" => Reply::status(301, "gone")
            .header("location", "/b")
            .header("cache-control", "max-age=60"),
        "/found" => Reply::status(302, "there").header("location", "b"),
        _ => Reply::ok("hello").header("cache-control", "max-age=60"),
    });
    let cache = Cache::new();
    for path in ["/moved", "/kept", "/found", "/moved", "/kept", "/found"] {
        assert_eq!(cache.text(&server.url(path)).0, "hello", "{path}");
    }
    assert_eq!(server.count("/b"), 1);
    assert_eq!(server.count("/kept"), 1);
    assert_eq!((server.count("/moved"), server.count("/found")), (2, 2));
}

#[test]
fn credentials_stay_with_their_origin() {
    let other = Server::start(|_| Reply::ok("there"));
    let target = other.url("/b");
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/away" => Reply::status(302, "").header("location", &target),
        "/near" => Reply::status(302, "").header("location", "/c"),
        _ => Reply::ok("here"),
    });
    let cache = Cache::new();
    let send = |path: &str| {
        let request = get(&server.url(path)).header(AUTHORIZATION, HeaderValue::from_static("x"));
        let request = request.header(COOKIE, HeaderValue::from_static("y"));
        cache.send(&request).expect("a response")
    };
    send("/away");
    send("/near");
    let seen = other.seen();
    assert_eq!((seen[0].header("authorization"), seen[0].header("cookie")), (None, None));
    let near = server.seen().pop().expect("the last");
    assert_eq!((near.path.as_str(), near.header("authorization")), ("/c", Some("x")));
}

#[test]
fn endless_redirects_and_foreign_schemes_are_errors() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/loop" => Reply::status(302, "").header("location", "/loop"),
        _ => Reply::status(302, "").header("location", "file:///etc/passwd"),
    });
    for path in ["/loop", "/file"] {
        let error = Cache::new().get(&server.url(path)).expect_err("no end");
        assert!(matches!(error.kind, ErrorKind::Redirect(_)), "{error}");
    }
}

#[test]
fn offline_serves_whatever_is_stored_and_names_what_is_not() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/secret" => Reply::ok("x").header("cache-control", "no-store"),
        _ => Reply::ok("hello").header("cache-control", "max-age=1, must-revalidate"),
    });
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    cache.text(&server.url("/secret"));
    pass(1_000_000);
    let offline = cache.again(|config| config.offline = true);
    let fetched = run(offline.fetch(&get(&server.url("/a")), NO_EVENTS)).expect("stored");
    assert_eq!(fetched.reuse, Reuse::Stale);
    assert_eq!(bytes_of(&cache.store(), fetched), b"hello");
    for path in ["/secret", "/other"] {
        let error = run(offline.fetch(&get(&server.url(path)), NO_EVENTS)).expect_err("absent");
        assert_eq!(error.kind, ErrorKind::Offline);
        assert!(error.to_string().contains(path), "{error}");
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn unstorable_body_is_handed_over_without_a_trace() {
    let server = Server::start(|_| Reply::generated(300_000).header("cache-control", "no-store"));
    let cache = Cache::new();
    for _ in 0..2 {
        let (bytes, reuse) = cache.get(&server.url("/a")).expect("the body");
        assert_eq!(bytes.len(), 300_000);
        assert_eq!(reuse, Reuse::NotStored("the response says no-store".into()));
    }
    assert_eq!(server.count("/a"), 2);
    for area in ["blobs-v1", "http-v1", "partial-v1"] {
        assert_eq!(cache.files(area).len(), 0, "{area}");
    }
    let spilled: Vec<_> = files_below(cache.dir.path())
        .into_iter()
        .filter(|path| !path.starts_with(cache.root()))
        .collect();
    assert_eq!(spilled, Vec::<std::path::PathBuf>::new());
}

#[test]
fn store_that_cannot_be_written_costs_speed_not_the_body() {
    let server = Server::start(|_| Reply::generated(300_000).header("cache-control", "max-age=9"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("cache");
    Store::open(&root).expect("a new store");
    // A file where directories are needed stops every user, also one whom permissions do not.
    for area in ["partial-v1", "locks", "tmp"] {
        let path = root.join(area);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::write(&path, "").expect("writable");
    }
    let store = Store::for_lookup(&root);
    let client = Client::new(store.clone(), config(dir.path()), Clock::new(now));
    let fetched = run(client.fetch(&get(&server.url("/a")), NO_EVENTS)).expect("the body");
    assert!(matches!(&fetched.reuse, Reuse::NotStored(why) if why.contains("cannot be written")));
    assert_eq!(bytes_of(&store, fetched).len(), 300_000);
}

#[test]
fn body_whose_blob_cannot_be_published_is_handed_over() {
    let server = Server::start(|_| Reply::generated(300_000).header("cache-control", "max-age=9"));
    let cache = Cache::new();
    let store = cache.store();
    std::fs::write(cache.root().join("blobs-v1"), "in the way").expect("writable");
    let fetched = run(cache.client.fetch(&get(&server.url("/a")), NO_EVENTS)).expect("the body");
    assert!(matches!(fetched.reuse, Reuse::NotStored(_)), "{:?}", fetched.reuse);
    assert_eq!(bytes_of(&store, fetched).len(), 300_000);
    assert_eq!(cache.files("partial-v1").len(), 0);
}

#[test]
fn disk_that_fills_up_on_the_way_costs_speed_not_the_body() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("small");
    std::fs::create_dir(&root).expect("writable");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&root)
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a file system of limited size cannot be mounted here");
        return;
    }
    let server = Server::start(|_| {
        Reply::generated(6_000_000).header("cache-control", "max-age=9").header("etag", "\"1\"")
    });
    let store = Store::open(&root.join("cache")).expect("a new store");
    let client = Client::new(store.clone(), config(dir.path()), Clock::new(now));
    let fetched = run(client.fetch(&get(&server.url("/a")), NO_EVENTS));
    let read = run(async {
        let mut response = client.open(&get(&server.url("/a")), NO_EVENTS).await?;
        let mut count = 0;
        while let Some(bytes) = response.body.next().await? {
            count += bytes.len();
        }
        Ok::<_, rewarm_http::FetchError>(count)
    });
    let left = files_below(&root.join("cache").join("partial-v1"));
    let unmounted = std::process::Command::new("umount").arg(&root).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    let fetched = fetched.expect("the body");
    assert!(matches!(&fetched.reuse, Reuse::NotStored(why) if why.contains("cannot be written")));
    let body = rewarm_testkit::server::Content::Generated(6_000_000).to_vec();
    assert!(bytes_of(&store, fetched) == body);
    assert_eq!(read.expect("the body"), body.len());
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[test]
fn unsafe_method_invalidates_what_was_stored() {
    let server = Server::start(|seen| {
        Reply::ok(format!("{} {}", seen.method, seen.nth)).header("cache-control", "max-age=60")
    });
    let cache = Cache::new();
    assert_eq!(cache.text(&server.url("/a")).0, "GET 0");
    let mut post = get(&server.url("/a"));
    post.method = http::Method::POST;
    post.body = "data".into();
    assert_eq!(cache.send(&post).expect("an answer").0, b"POST 1");
    assert_eq!(cache.text(&server.url("/a")).0, "GET 2");
}

#[test]
fn head_is_answered_from_a_stored_get() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    let mut head: Request = get(&server.url("/a"));
    head.method = http::Method::HEAD;
    let ask = || {
        run(async {
            let mut response = cache.client.open(&head, NO_EVENTS).await.expect("a response");
            let end = response.body.next().await.expect("no error");
            (response.headers["content-length"].clone(), end)
        })
    };
    assert_eq!(ask(), (HeaderValue::from_static("5"), None));
    cache.text(&server.url("/a"));
    assert_eq!(ask(), (HeaderValue::from_static("5"), None));
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn only_if_cached_is_504_when_nothing_will_do() {
    let control = HeaderValue::from_static("only-if-cached");
    let request = get("http://127.0.0.1:1/a").header(http::header::CACHE_CONTROL, control);
    let error = Cache::new().send(&request).expect_err("not cached");
    assert_eq!(error.kind, ErrorKind::Status(http::StatusCode::GATEWAY_TIMEOUT));
}

#[test]
fn stale_while_revalidate_serves_at_once_and_renews_behind() {
    let server = Server::start(|seen| {
        Reply::ok(format!("{}", seen.nth))
            .header("cache-control", "max-age=10, stale-while-revalidate=100")
            .header("etag", &format!("\"{}\"", seen.nth))
    });
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    pass(20);
    // `text` waits for what goes on in the background.
    assert_eq!(cache.text(&server.url("/a")), ("0".into(), Reuse::Stale));
    assert_eq!(cache.text(&server.url("/a")), ("1".into(), Reuse::Fresh));
    assert_eq!(server.count("/a"), 2);
}

#[test]
fn stale_response_outlives_a_broken_origin_where_allowed() {
    let server = Server::start(|seen| {
        let ok = |control| Reply::ok("x").header("cache-control", control);
        match (seen.nth, seen.path.as_str()) {
            (0, "/strict") => ok("max-age=1, must-revalidate, stale-if-error=60"),
            (0, "/tagged") => ok("max-age=1, stale-if-error=60").header("etag", "\"1\""),
            (0, _) => ok("max-age=1, stale-if-error=60"),
            (_, "/down") => Reply::ok("").hang_up(),
            _ => Reply::status(503, ""),
        }
    });
    let cache = Cache::new();
    for path in ["/strict", "/down", "/busy", "/tagged"] {
        cache.text(&server.url(path));
    }
    pass(30);
    for path in ["/down", "/busy", "/tagged"] {
        assert_eq!(cache.text(&server.url(path)), ("x".into(), Reuse::Stale), "{path}");
    }
    cache.get(&server.url("/strict")).expect_err("must-revalidate");
}

#[test]
fn a_304_that_fits_nothing_stored_leads_to_a_whole_download() {
    let server = Server::start(|seen| match seen.nth {
        0 => Reply::ok("old").header("cache-control", "max-age=1").header("etag", "\"1\""),
        1 => Reply::status(304, "").header("etag", "\"other\""),
        _ => Reply::ok("new").header("cache-control", "max-age=1").header("etag", "\"2\""),
    });
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    pass(5);
    assert_eq!(cache.text(&server.url("/a")), ("new".into(), Reuse::Downloaded));
    assert_eq!(server.seen()[2].header("if-none-match"), None);
}

#[test]
fn variants_live_side_by_side() {
    let server = Server::start(|seen| {
        Reply::ok(seen.header("accept").unwrap_or("none").to_owned())
            .header("cache-control", "max-age=60")
            .header("vary", "Accept")
    });
    let cache = Cache::new();
    for _ in 0..2 {
        for accept in ["text/html", "application/json"] {
            let value = HeaderValue::from_static(accept);
            let request = get(&server.url("/a")).header(http::header::ACCEPT, value);
            assert_eq!(cache.send(&request).expect("a response").0, accept.as_bytes());
        }
    }
    assert_eq!(server.count("/a"), 2);
    assert_eq!(cache.files("http-v1").len(), 1);
}

#[test]
fn stored_files_are_private() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.text(&server.url("/a"));
    for area in ["blobs-v1", "http-v1"] {
        for path in cache.files(area) {
            let mode = std::fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }
}

#[test]
fn urls_are_compared_in_canonical_form() {
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"));
    let cache = Cache::new();
    cache.text(&server.url("/a#x"));
    assert_eq!(cache.text(&server.url("/b/../a#y")).1, Reuse::Fresh);
    assert!(Url::parse("http://h").is_ok_and(|url| url.as_wire() == "http://h/"));
}
