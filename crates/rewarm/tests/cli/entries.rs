//! `rewarm cache list --http`, `show` and `remove`: single entries, seen and taken out.

use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::server::{Reply, Server};

use crate::support::{sandbox, tool};

/// An origin whose bodies are as long as the number in their path says; `/stale` paths expire at
/// once, and the answer to a request with credentials says so.
fn origin() -> Server {
    Server::start(|seen| {
        let digits: String = seen.path.chars().filter(char::is_ascii_digit).collect();
        let body = seen.path.as_bytes()[1..].repeat(digits.parse().unwrap_or(1));
        let age = if seen.path.starts_with("/stale") { 0 } else { 600 };
        Reply::ok(body)
            .header("cache-control", &format!("max-age={age}"))
            .header("etag", "\"tag\"")
            .header("set-cookie", "session=planted-secret")
    })
}

fn fetched(sandbox: &Sandbox, server: &Server, paths: &[&str]) {
    for path in paths {
        sandbox.run(["-q", "fetch", &server.url(path)]).expect_code(0);
    }
}

fn blobs(sandbox: &Sandbox) -> usize {
    tool(sandbox, "find", &["../cache/blobs-v1", "-type", "f"]).stdout.lines().count()
}

#[test]
fn downloads_are_listed_with_age_size_and_freshness_in_the_order_asked_for() {
    let (sandbox, server) = (sandbox(), origin());
    fetched(&sandbox, &server, &["/a2000", "/stale3000", "/b1000"]);
    let urls = |args: &[&str]| -> Vec<String> {
        let args = [&["cache", "list", "--http"], args].concat();
        let text = sandbox.run(args).expect_code(0).stdout;
        text.lines().map(|line| line.rsplit('/').next().expect("a URL").to_owned()).collect()
    };
    assert_eq!(urls(&[]), ["a2000", "b1000", "stale3000"]);
    assert_eq!(urls(&["--sort", "size"]), ["stale3000", "a2000", "b1000"]);
    assert_eq!(urls(&["--sort", "url", "b1"]), ["b1000"]);
    assert_eq!(urls(&["--sort", "age"]).len(), 3);
    let text = sandbox.run(["cache", "list", "--http"]).expect_code(0).stdout;
    let states: Vec<_> = text.lines().filter_map(|l| l.split_whitespace().nth(3)).collect();
    assert_eq!(states, ["fresh", "fresh", "stale"], "{text}");
    let json = sandbox.run(["cache", "list", "--http", "stale", "--json"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&value[0]["state"], &value[0]["content_bytes"]), (&"stale".into(), &27_000.into()));
    sandbox.run(["cache", "list", "--http", "--kind", "http"]).expect_code(2);
}

#[test]
fn show_tells_what_is_stored_and_what_a_request_would_be_given() {
    let (sandbox, server) = (sandbox(), origin());
    fetched(&sandbox, &server, &["/a1", "/stale1"]);
    let shown = sandbox.run(["cache", "show", &server.url("/a1")]).expect_code(0);
    let text = &shown.stdout;
    assert!(text.starts_with(&server.url("/a1")), "{shown}");
    for part in ["  * 200, 2 B, sha256:", "etag           \"tag\"", "(max-age)", "fresh"] {
        assert!(text.contains(part), "`{part}` is missing: {shown}");
    }
    assert!(text.contains("\n  now: served from the cache without asking: fresh: "), "{shown}");
    let count = server.seen().len();
    let stale = sandbox.run(["cache", "show", &server.url("/stale1")]).expect_code(0).stdout;
    assert!(stale.contains("now: the origin is asked whether it is still right: stale"), "{stale}");
    let no_cache = ["cache", "show", "-H", "Cache-Control: no-cache", &server.url("/a1")];
    let judged = sandbox.run(no_cache).expect_code(0).stdout;
    assert!(judged.contains("still right: the request says no-cache"), "{judged}");
    assert_eq!(server.seen().len(), count, "nobody is asked");
    for bad in ["secret", "na me: secret", "name: se\ncret"] {
        let output = sandbox.run(["cache", "show", "-H", bad, &server.url("/a1")]).expect_code(2);
        assert!(!output.stderr.contains("cret"), "{output}");
    }
}

#[test]
fn every_identity_of_a_url_is_shown_and_none_of_its_credentials() {
    let (sandbox, server) = (sandbox(), origin());
    fetched(&sandbox, &server, &["/a1"]);
    let address = server.url("/a1").replace("http://", "");
    sandbox.run(["-q", "fetch", &format!("http://me:planted-secret@{address}")]).expect_code(0);
    let plain = sandbox.run(["cache", "show", &server.url("/a1")]).expect_code(0);
    let text = &plain.stdout;
    assert_eq!(text.matches("for requests without credentials").count(), 1, "{plain}");
    let own = sandbox
        .run(["cache", "show", &format!("http://me:planted-secret@{address}")])
        .expect_code(0);
    assert!(own.stdout.contains("now: served from the cache"), "{own}");
    let list = sandbox.run(["cache", "list", "--http", "--json"]).expect_code(0);
    let as_json = sandbox.run(["cache", "show", "--json", &server.url("/a1")]).expect_code(0);
    for output in [&plain, &own, &list, &as_json] {
        assert!(!output.to_string().contains("planted-secret"), "{output}");
        assert!(!output.to_string().contains("bWU6cGxhbnRlZC1zZWNyZXQ"), "{output}");
    }
}

#[test]
fn url_that_is_not_stored_is_answered_with_the_nearest_ones() {
    let (sandbox, server) = (sandbox(), origin());
    fetched(&sandbox, &server, &["/simple/numpy", "/simple/pandas"]);
    let output = sandbox.run(["cache", "show", &server.url("/simple/nunpy")]).expect_code(1);
    assert_eq!(output.stdout, "");
    let lines: Vec<_> = output.stderr.lines().collect();
    assert!(lines[0].contains("is not in the cache; nearest to it are"), "{output}");
    assert_eq!(lines[1].trim(), server.url("/simple/numpy"));
    let removed = sandbox.run(["cache", "remove", &server.url("/simple/nunpy")]).expect_code(1);
    assert!(removed.stderr.contains("/simple/numpy"), "{removed}");
}

#[test]
fn removing_a_url_removes_no_longer_one_and_frees_its_space_at_once() {
    let (sandbox, server) = (sandbox(), origin());
    fetched(&sandbox, &server, &["/a1000", "/a1000/more"]);
    let before = blobs(&sandbox);
    let url = server.url("/a1000");
    let plan = sandbox.run(["cache", "remove", "--dry-run", &url]).expect_code(0);
    assert_eq!(plan.stdout.lines().count(), 1, "{plan}");
    assert!(plan.stderr.contains("would remove 1 entry, freeing "), "{plan}");
    assert_eq!(blobs(&sandbox), before, "a dry run removes nothing");
    let removed = sandbox.run(["cache", "remove", &url]).expect_code(0);
    assert!(removed.stderr.contains("removed 1 entry, freed 5."), "{removed}");
    assert_eq!(blobs(&sandbox), before - 1);
    let list = sandbox.run(["cache", "list", "--http"]).expect_code(0).stdout;
    assert!(list.trim_end().ends_with("/a1000/more") && list.lines().count() == 1, "{list}");
}

#[test]
fn body_that_another_url_uses_stays_and_that_is_said() {
    let sandbox = sandbox();
    let server = Server::start(|_| Reply::ok("same").header("cache-control", "max-age=60"));
    fetched(&sandbox, &server, &["/one", "/two"]);
    let removed = sandbox.run(["cache", "remove", "/one"]).expect_code(0);
    assert!(removed.stderr.contains("4 B stay: other entries use them as well"), "{removed}");
    assert_eq!(blobs(&sandbox), 1);
    sandbox.run(["--offline", "fetch", &server.url("/two"), "-o", "-"]).expect_code(0);
}
