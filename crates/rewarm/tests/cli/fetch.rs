//! `rewarm fetch`: what ends up where, where it came from, and what is said when it cannot be had.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use rewarm_testkit::server::{Gate, Reply, Server};

use crate::support::{requests, sandbox};

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn hello() -> Server {
    Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=60"))
}

#[test]
fn a_second_fetch_is_a_link_into_the_cache() {
    let (sandbox, server) = (sandbox(), hello());
    let url = server.url("/a.txt");
    let first = sandbox.run(["fetch", &url]).expect_code(0);
    assert!(first.stderr.starts_with("`a.txt`: 5 B, downloaded, "), "{first}");
    let second = sandbox.run(["fetch", &url, "-o", "b.txt"]).expect_code(0);
    assert!(second.stderr.starts_with("`b.txt`: 5 B, from the cache, "), "{second}");
    assert_eq!(requests(&server), 1);
    let read = |name: &str| std::fs::read_to_string(sandbox.project().join(name)).expect("text");
    assert_eq!((read("a.txt"), read("b.txt")), ("hello".to_owned(), "hello".to_owned()));
    let inode = |name: &str| std::fs::metadata(sandbox.project().join(name)).expect("it is").ino();
    // A reflink has an inode of its own, a hard link has not.
    assert!(second.stderr.contains("cloned") || inode("a.txt") == inode("b.txt"), "{second}");
}

#[test]
fn a_reader_that_is_slow_holds_no_download_back() {
    const LENGTH: u64 = 24 << 20;
    let gate = Gate::closed();
    let origin = {
        let gate = gate.clone();
        Server::start(move |_| {
            Reply::generated(LENGTH).header("cache-control", "max-age=60").gate_after(1, &gate)
        })
    };
    let (sandbox, url) = (sandbox(), origin.url("/big"));
    let mut command = sandbox.command(["-q", "fetch", &url, "-o", "-"]);
    let mut reader = command.stdout(Stdio::piped()).spawn().expect("it starts");
    gate.wait_reached();
    gate.open();
    // It shares the download, of which nobody reads a byte at the other end.
    sandbox.run(["-q", "fetch", &url, "-o", "copy"]).expect_code(0);
    assert_eq!(requests(&origin), 1);
    let mut read = Vec::new();
    reader.stdout.take().expect("piped").read_to_end(&mut read).expect("readable");
    assert!(reader.wait().expect("it ends").success());
    assert_eq!(read.len() as u64, LENGTH);
    assert_eq!(std::fs::read(sandbox.project().join("copy")).expect("a file"), read);
}

#[test]
fn an_edit_of_a_linked_file_never_reaches_the_next_fetch() {
    let (sandbox, server) = (sandbox(), hello());
    let url = server.url("/a.txt");
    sandbox.run(["fetch", &url]).expect_code(0);
    sandbox.write("a.txt", "HELLO");
    sandbox.run(["fetch", &url, "-o", "b.txt"]).expect_code(0);
    let text = std::fs::read_to_string(sandbox.project().join("b.txt")).expect("text");
    assert_eq!(text, "hello");
}

#[test]
fn a_known_digest_needs_no_network() {
    let (sandbox, server) = (sandbox(), hello());
    sandbox.run(["fetch", &server.url("/a"), "--hash", HELLO]).expect_code(0);
    drop(server);
    let mirror = "http://127.0.0.1:9/elsewhere";
    let output = sandbox.run(["--offline", "fetch", mirror, "--hash", HELLO, "-o", "-"]);
    assert_eq!(output.expect_code(0).stdout, "hello");
}

#[test]
fn a_wrong_digest_leaves_no_file_and_no_entry() {
    let (sandbox, server) = (sandbox(), hello());
    let wrong = format!("sha256:{}", "0".repeat(64));
    let output = sandbox.run(["fetch", &server.url("/a"), "--hash", &wrong]).expect_code(3);
    assert!(output.stderr.contains("expected sha256:0000"), "{output}");
    assert!(output.stderr.contains("hint: "), "{output}");
    assert!(!sandbox.project().join("a").exists());
    assert_eq!(sandbox.run(["cache", "list", "--kind", "http"]).expect_code(0).stdout, "");
}

#[test]
fn errors_name_the_url_and_the_mend() {
    let (sandbox, server) = (sandbox(), Server::start(|_| Reply::status(404, "no")));
    let url = server.url("/gone");
    let output = sandbox.run(["fetch", &url]).expect_code(3);
    assert!(output.stderr.contains(&format!("`{url}`")), "{output}");
    assert!(output.stderr.contains("404"), "{output}");
    let other = server.url("/other");
    let output = sandbox.run(["--offline", "fetch", &other]).expect_code(3);
    assert!(output.stderr.contains("not in the cache"), "{output}");
    assert!(output.stderr.contains("hint: run once without `--offline`"), "{output}");
    let output = sandbox.run(["fetch", "ftp://example.org/x"]).expect_code(2);
    assert!(output.stderr.contains("`ftp:`"), "{output}");
    let output = sandbox.run(["fetch", &server.url("/")]).expect_code(2);
    assert!(output.stderr.contains("ends in no file name"), "{output}");
}

#[test]
fn four_at_once_reach_the_origin_once_and_all_get_the_bytes() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |_| {
        let reply = Reply::generated(3_000_000).gate_after(1_000, &held);
        reply.header("cache-control", "max-age=60")
    });
    let sandbox = sandbox();
    let url = server.url("/big");
    let children: Vec<_> = (0..4)
        .map(|n| {
            let name = format!("big-{n}");
            let mut command = sandbox.command(["-q", "fetch", &url, "-o", &name]);
            (name, command.spawn().expect("it starts"))
        })
        .collect();
    gate.wait_reached();
    gate.open();
    for (name, mut child) in children {
        assert!(child.wait().expect("it ends").success(), "{name}");
        let size = std::fs::metadata(sandbox.project().join(&name)).expect("it is there").len();
        assert_eq!(size, 3_000_000, "{name}");
    }
    assert_eq!(server.count("/big"), 1);
}

#[test]
fn secrets_of_a_url_are_found_nowhere() {
    let (sandbox, server) = (sandbox(), hello());
    let url = server.url("/a").replace("http://", "http://user:hunter2secret@");
    let output = sandbox.run(["-v", "fetch", &url, "--explain", "--json"]).expect_code(0);
    assert!(!output.stdout.contains("hunter2secret"), "{output}");
    assert!(!output.stderr.contains("hunter2secret"), "{output}");
    for url in
        ["http://user:hunter2secret@no host/a", "ftp://u:hunter2secret@h/", "a?hunter2secret"]
    {
        let output = sandbox.run(["-v", "fetch", url]).expect_code(2);
        assert!(!output.stderr.contains("hunter2secret"), "{output}");
    }
    let found = crate::support::tool(&sandbox, "grep", &["-r", "hunter2secret", "../cache"]);
    assert_eq!(found.code, Some(1), "{found}");
}

#[test]
fn a_device_or_a_pipe_is_written_to_and_never_replaced() {
    let (sandbox, server) = (sandbox(), hello());
    let url = server.url("/a");
    let program = env!("CARGO_BIN_EXE_rewarm");
    let reader = "mkfifo pipe; timeout 20 cat pipe > got 2>&1 &";
    let writer = format!("until test -p pipe; do :; done; '{program}' -q fetch {url} -o pipe");
    let line = format!("{reader} {writer} && test -p pipe && wait");
    sandbox.output(&mut sandbox.shell(&line)).expect_code(0);
    let read = |name: &str| std::fs::read_to_string(sandbox.project().join(name)).expect("text");
    assert_eq!(read("got"), "hello");
    std::os::unix::fs::symlink("/dev/null", sandbox.project().join("null")).expect("a new name");
    sandbox.run(["fetch", &url, "-o", "null"]).expect_code(0);
    assert!(sandbox.project().join("null").is_symlink(), "the link to a device stays");
}

#[test]
fn two_urls_for_one_file_are_refused_before_anything_is_fetched() {
    let (sandbox, server) = (sandbox(), hello());
    let (one, two) = (server.url("/1/same.txt"), server.url("/2/same.txt"));
    let output = sandbox.run(["fetch", &one, &two]).expect_code(2);
    assert!(output.stderr.contains("would both be written to `same.txt`"), "{output}");
    assert_eq!(requests(&server), 0);
    sandbox.run(["fetch", &one, &two, "-o", "-"]).expect_code(0);
}

#[test]
fn standard_output_carries_the_body_or_json_never_both() {
    let (sandbox, server) = (sandbox(), hello());
    let output = sandbox.run(["--json", "fetch", &server.url("/a"), "-o", "-"]).expect_code(2);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("both write to standard output"), "{output}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_named() {
    let (sandbox, server) = (sandbox(), hello());
    let mut command = sandbox.command(["fetch", &server.url("/a"), "-o", "-"]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let output = command.stdout(full).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("cannot write to standard output"), "{stderr}");
}

#[test]
fn files_that_are_in_the_way_are_named() {
    let sandbox = sandbox();
    let server = Server::start(|_| Reply::ok("hello").header("cache-control", "no-store"));
    let url = server.url("/a");
    let mut unspilled = sandbox.command(["fetch", &url]);
    let output = sandbox.output(unspilled.env("TMPDIR", "/nowhere")).expect_code(3);
    assert!(output.stderr.contains("cannot write in `/nowhere`: "), "{output}");
    std::fs::write(sandbox.home().join(".netrc"), "machine h\nlogin a hunter2secret\n")
        .expect("writable");
    let output = sandbox.run(["fetch", &url]).expect_code(2);
    assert!(output.stderr.contains("`[HOME]/.netrc` cannot be read near line "), "{output}");
    assert!(!output.stderr.contains("hunter2secret"), "{output}");
}

#[test]
fn what_is_not_the_file_is_an_error_wherever_it_should_go() {
    let sandbox = sandbox();
    let server = Server::start(|seen| match &*seen.path {
        "/part" => Reply::status(206, "he").header("content-range", "bytes 0-1/5"),
        _ => Reply::status(404, "no such file"),
    });
    for (path, code) in [("/part", "206"), ("/gone", "404")] {
        let url = server.url(path);
        for args in [vec!["-o", "-"], vec!["-o", "-", "--hash", HELLO], vec!["-o", "file"]] {
            let output = sandbox.run(["fetch", &url].iter().chain(&args)).expect_code(3);
            assert_eq!(output.stdout, "");
            assert!(output.stderr.contains(code), "{output}");
        }
        assert!(!sandbox.project().join("file").exists());
    }
}

#[test]
fn names_that_are_no_text_are_no_bug() {
    let (sandbox, server) = (sandbox(), hello());
    let name = |text: &[u8]| std::ffi::OsString::from(std::ffi::OsStr::from_bytes(text));
    let cache = sandbox.project().join(name(b"cache-\xff"));
    let run = |args: &[&std::ffi::OsStr]| {
        sandbox.output(sandbox.command(args).env("REWARM_CACHE_DIR", &cache)).expect_code(0)
    };
    let (url, file) = (server.url("/a"), name(b"file-\xff"));
    run(&["--json".as_ref(), "fetch".as_ref(), url.as_ref(), "-o".as_ref(), &file]);
    let text = std::fs::read_to_string(sandbox.project().join(file)).expect("text");
    assert_eq!(text, "hello");
    for args in [["cache", "dir"], ["cache", "info"], ["cache", "list"], ["info", "-v"]] {
        run(&["--json".as_ref(), args[0].as_ref(), args[1].as_ref()]);
    }
    let mut dir = sandbox.command(["cache", "dir"]);
    let output = dir.env("REWARM_CACHE_DIR", &cache).output().expect("it starts");
    assert_eq!(output.stdout.trim_ascii_end(), cache.as_os_str().as_bytes());
}

#[test]
fn one_url_that_fails_does_not_cost_the_others() {
    let sandbox = sandbox();
    let server = Server::start(|seen| match &*seen.path {
        "/a" | "/d" => Reply::ok("hello"),
        _ => Reply::status(404, "no such file"),
    });
    let urls = ["/a", "/b", "/c", "/d"].map(|path| server.url(path));
    let output = sandbox.run(["--json", "fetch"].into_iter().chain(urls.iter().map(|u| &**u)));
    let output = output.expect_code(3);
    assert_eq!(output.stderr.matches("error: ").count(), 2, "{output}");
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let paths: Vec<_> = value.as_array().expect("a list").iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["a", "d"]);
    assert!(sandbox.project().join("d").exists());
}
