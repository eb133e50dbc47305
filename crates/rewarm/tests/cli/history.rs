//! What went wrong in the caches of other tools, and must not here: one test for each, named after
//! what a user saw.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::server::{Reply, Server};

use crate::support::{sandbox, tool};

/// An origin whose bodies differ by path, all of one length, fresh for long.
fn origin() -> Server {
    Server::start(|seen| {
        Reply::ok(seen.path.repeat(1000))
            .header("cache-control", "max-age=6000")
            .header("etag", "\"tag\"")
    })
}

fn blobs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let found = tool(sandbox, "find", &["../cache/blobs-v1", "-type", "f"]).stdout;
    found.lines().map(|line| sandbox.project().join(line)).collect()
}

/// The one blob that holds this text.
fn blob_of(sandbox: &Sandbox, text: &str) -> PathBuf {
    let holds =
        |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(text.as_bytes()));
    blobs(sandbox).into_iter().find(holds).expect("it was fetched")
}

/// Fetches a path, which must give the right bytes, and says how often the origin was asked for it.
fn fetch(sandbox: &Sandbox, server: &Server, path: &str) -> usize {
    let output = sandbox.run(["-q", "fetch", &server.url(path), "-o", "-"]).expect_code(0);
    assert_eq!(output.stdout, path.repeat(1000));
    server.count(path)
}

#[test]
fn entry_whose_body_is_missing_is_a_miss_and_no_crash() {
    let (sandbox, server) = (sandbox(), origin());
    fetch(&sandbox, &server, "/a");
    fs::remove_file(blob_of(&sandbox, "/a")).expect("it is there");
    let shown = sandbox.run(["cache", "show", &server.url("/a")]).expect_code(0);
    assert!(
        shown.stdout.contains("now: downloaded: its body is no longer in the cache"),
        "{shown}"
    );
    assert_eq!(fetch(&sandbox, &server, "/a"), 2);
    assert_eq!(fetch(&sandbox, &server, "/a"), 2, "and then a hit again");
}

#[test]
fn corrupt_entry_is_mended_by_the_request_that_finds_it() {
    let (sandbox, server) = (sandbox(), origin());
    fetch(&sandbox, &server, "/a");
    let blob = blob_of(&sandbox, "/a");
    for damage in ["flipped", "truncated", "emptied", "lengthened"] {
        let before = server.count("/a");
        let mut bytes = fs::read(&blob).expect("readable");
        match damage {
            "flipped" => bytes[17] ^= 1,
            "truncated" => bytes.truncate(100),
            "emptied" => bytes.clear(),
            _ => bytes.push(b'x'),
        }
        fs::write(&blob, bytes).expect("writable");
        assert_eq!(fetch(&sandbox, &server, "/a"), before + 1, "{damage}");
        assert_eq!(fetch(&sandbox, &server, "/a"), before + 1, "{damage}");
    }
}

#[test]
fn body_of_another_url_is_not_served() {
    let (sandbox, server) = (sandbox(), origin());
    fetch(&sandbox, &server, "/a");
    fetch(&sandbox, &server, "/b");
    let (a, b) = (blob_of(&sandbox, "/a"), blob_of(&sandbox, "/b"));
    let aside = sandbox.home().join("aside");
    fs::rename(&a, &aside).expect("it is there");
    fs::rename(&b, &a).expect("it is there");
    fs::rename(&aside, &b).expect("it is there");
    fetch(&sandbox, &server, "/a");
    fetch(&sandbox, &server, "/b");
}

#[test]
fn damaged_record_is_a_miss_and_mended() {
    let (sandbox, server) = (sandbox(), origin());
    fetch(&sandbox, &server, "/a");
    let find = tool(&sandbox, "find", &["../cache/http-v1", "-type", "f"]).stdout;
    let record = sandbox.project().join(find.trim());
    for garbage in [&b""[..], b"cc=4,garbage", &[0; 500]] {
        let before = server.count("/a");
        fs::write(&record, garbage).expect("writable");
        assert_eq!(fetch(&sandbox, &server, "/a"), before + 1);
        assert_eq!(fetch(&sandbox, &server, "/a"), before + 1);
    }
}

#[test]
fn download_with_the_wrong_hash_is_not_in_the_cache_afterwards() {
    let (sandbox, server) = (sandbox(), origin());
    let hash = format!("sha256:{}", "0".repeat(64));
    sandbox.run(["fetch", &server.url("/a"), "--hash", &hash]).expect_code(3);
    assert_eq!(sandbox.run(["cache", "list"]).expect_code(0).stdout, "");
    assert!(blobs(&sandbox).is_empty());
}

#[test]
fn purge_reaches_downloads_and_leaves_no_empty_directories() {
    let (sandbox, server) = (sandbox(), origin());
    for path in ["/a", "/b", "/c"] {
        fetch(&sandbox, &server, path);
    }
    sandbox.run(["cache", "purge", "--yes"]).expect_code(0);
    let left =
        tool(&sandbox, "find", &["../cache", "-mindepth", "2", "-type", "d", "-empty"]).stdout;
    assert_eq!(left, "");
    fetch(&sandbox, &server, "/a");
}

#[test]
fn broken_download_that_was_carried_on_is_in_the_cache() {
    let sandbox = sandbox();
    let body = "0123456789".repeat(100_000);
    let server = Server::start(move |seen| {
        let whole = Reply::ok(body.clone())
            .header("cache-control", "max-age=6000")
            .header("etag", "\"tag\"");
        if seen.header("range").is_some() { whole } else { whole.cut_after(600_000) }
    });
    let url = server.url("/file");
    let first = sandbox.run(["fetch", &url]).expect_code(0);
    assert!(first.stderr.contains("file"), "{first}");
    let count = server.seen().len();
    sandbox.run(["--offline", "fetch", &url]).expect_code(0);
    sandbox.run(["fetch", &url]).expect_code(0);
    assert_eq!(server.seen().len(), count);
}

#[test]
fn cache_that_a_group_shares_can_be_read_by_the_group() {
    let (sandbox, server) = (sandbox(), origin());
    fs::create_dir(sandbox.cache()).expect("a directory can be made");
    let bits = fs::Permissions::from_mode(0o770);
    fs::set_permissions(sandbox.cache(), bits).expect("it is ours");
    fetch(&sandbox, &server, "/a");
    let mode = fs::metadata(blob_of(&sandbox, "/a")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let private = self::sandbox();
    fetch(&private, &server, "/a");
    let mode = fs::metadata(blob_of(&private, "/a")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn entries_are_found_however_the_url_is_written() {
    let (sandbox, server) = (sandbox(), origin());
    fetch(&sandbox, &server, "/a");
    let same = server.url("/a#fragment").replace("http://", "HTTP://");
    let output = sandbox.run(["-q", "fetch", &same, "-o", "-"]).expect_code(0);
    assert_eq!((output.stdout, server.count("/a")), ("/a".repeat(1000), 1));
}
