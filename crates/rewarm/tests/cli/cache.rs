//! `rewarm cache` and `rewarm clean`.

use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};

use crate::support::{run_mounted, sandbox};

fn filled() -> (Sandbox, Server) {
    let sandbox = sandbox();
    let server = Server::start(|seen| {
        Reply::ok(seen.path.repeat(100)).header("cache-control", "max-age=60")
    });
    for name in ["/one", "/two"] {
        sandbox.run(["-q", "fetch", &server.url(name)]).expect_code(0);
    }
    (sandbox, server)
}

#[test]
fn dir_and_info_say_where_and_how_much() {
    let (sandbox, server) = filled();
    assert_eq!(sandbox.run(["cache", "dir"]).expect_code(0).stdout, "[CACHE]\n");
    let info = sandbox.run(["cache", "info", "--json"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
    assert_eq!(value["kinds"]["http-v1"]["entries"], 2);
    assert_eq!(value["kinds"]["blobs"]["bytes"], 800);
    let origin = &value["origins"][server.url("").trim_end_matches('/')];
    assert_eq!((&origin["urls"], &origin["bytes"]), (&2.into(), &800.into()), "{value}");
    assert!(value["bytes"].as_u64() > Some(800), "{value}");
    let text = sandbox.run(["cache", "info"]).expect_code(0).stdout;
    assert!(text.contains("blobs") && text.contains("downloaded from\n  http://127"), "{text}");
}

#[test]
fn entries_are_listed_and_removed_by_pattern() {
    let (sandbox, server) = filled();
    let list = sandbox.run(["cache", "list", "*/one"]).expect_code(0).stdout;
    assert!(list.starts_with("http ") && list.trim_end().ends_with(&server.url("/one")), "{list}");
    assert_eq!(list.lines().count(), 1);
    sandbox.run(["cache", "remove", "*/one"]).expect_code(0);
    let list = sandbox.run(["cache", "list"]).expect_code(0).stdout;
    assert!(list.contains("/two") && !list.contains("/one"), "{list}");
    sandbox.run(["cache", "remove", "*/one"]).expect_code(1);
    let refused = sandbox.run(["cache", "remove"]).expect_code(2);
    assert!(refused.stderr.contains("rewarm cache purge"), "{refused}");
}

#[test]
fn verify_drops_what_is_damaged_and_says_so() {
    let (sandbox, server) = filled();
    let clean = sandbox.run(["cache", "verify"]).expect_code(0);
    assert!(clean.stderr.ends_with("dropped 0 damaged\n"), "{clean}");
    let blobs = crate::support::tool(&sandbox, "find", &["../cache/blobs-v1", "-type", "f"]).stdout;
    let blob = sandbox.project().join(blobs.lines().next().expect("a blob"));
    let mut bytes = std::fs::read(&blob).expect("readable");
    bytes[3] ^= 1;
    std::fs::write(&blob, bytes).expect("writable");
    let found = sandbox.run(["cache", "verify"]).expect_code(1);
    assert_eq!(found.stdout.lines().count(), 1, "{found}");
    assert!(found.stdout.starts_with("blob sha256:"), "{found}");
    assert!(found.stdout.contains(&server.url("/")), "it says what is damaged: {found}");
    sandbox.run(["cache", "verify"]).expect_code(0);
    for name in ["/one", "/two"] {
        let output = sandbox.run(["fetch", &server.url(name), "-o", "-"]).expect_code(0);
        assert_eq!(output.stdout, name.repeat(100));
    }
}

#[test]
fn prune_keeps_within_the_size_and_shows_its_plan_first() {
    let (sandbox, _server) = filled();
    let plan = sandbox.run(["cache", "prune", "--dry-run", "--max-size", "0"]).expect_code(0);
    assert!(plan.stdout.contains("over the size bound"), "{plan}");
    let list = sandbox.run(["cache", "list"]).expect_code(0).stdout;
    assert_eq!(list.lines().count(), 2, "a dry run removes nothing: {list}");
    sandbox.run(["cache", "prune", "--max-size", "0"]).expect_code(0);
    assert_eq!(sandbox.run(["cache", "list"]).expect_code(0).stdout, "");
    let left = crate::support::tool(&sandbox, "find", &["../cache/blobs-v1", "-type", "f"]).stdout;
    assert_eq!(left, "", "what was fetched a moment ago goes as well");
}

#[test]
fn purge_asks_and_then_leaves_nothing() {
    let (sandbox, _server) = filled();
    let refused = sandbox.run(["cache", "purge"]).expect_code(2);
    assert!(refused.stderr.contains("hint: add `--yes`"), "{refused}");
    sandbox.run(["cache", "purge", "--yes"]).expect_code(0);
    let left = crate::support::tool(&sandbox, "find", &["../cache/blobs-v1", "-type", "f"]).stdout;
    assert_eq!(left, "");
}

#[test]
fn clean_removes_only_what_rewarm_made() {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", "[project]\nname = \"app\"\nversion = \"1\"\n");
    std::fs::create_dir(sandbox.project().join(".venv")).expect("it can be made");
    sandbox.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    let refused = sandbox.run(["clean"]).expect_code(2);
    assert!(refused.stderr.contains("was not made by rewarm"), "{refused}");
    assert!(sandbox.project().join(".venv/pyvenv.cfg").exists());
}

/// Runs a command while the cache is on a file system that is read-only.
fn run_read_only(sandbox: &Sandbox, args: &str) -> Option<Output> {
    let mount = r#"mount --bind "$0" "$0" && mount -o remount,ro,bind "$0""#;
    run_mounted(sandbox, mount, args)
}

#[test]
fn a_read_only_cache_is_shown_and_verified_as_it_is() {
    let (sandbox, _server) = filled();
    let Some(info) = run_read_only(&sandbox, "cache info --json") else { return };
    let value: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
    assert_eq!(value["kinds"]["http-v1"]["entries"], 2, "{info}");
    let list = run_read_only(&sandbox, "cache list").expect("as before").expect_code(0);
    assert_eq!(list.stdout.lines().count(), 2, "{list}");
    run_read_only(&sandbox, "cache verify").expect("as before").expect_code(0);
    let blobs = crate::support::tool(&sandbox, "find", &["../cache/blobs-v1", "-type", "f"]).stdout;
    let blob = sandbox.project().join(blobs.lines().next().expect("a blob"));
    std::fs::write(&blob, "damage").expect("writable");
    let found = run_read_only(&sandbox, "cache verify").expect("as before").expect_code(1);
    assert!(found.stdout.contains("damaged, and cannot be dropped: "), "{found}");
    assert!(found.stderr.ends_with("dropped 0 damaged, failed on 1\n"), "{found}");
}

#[test]
fn removing_from_a_cache_that_cannot_be_written_is_an_error_that_says_why() {
    let (sandbox, server) = filled();
    for args in ["cache purge --yes", "cache prune", "cache remove one"] {
        let Some(output) = run_read_only(&sandbox, args) else { return };
        let output = output.expect_code(3);
        assert!(output.stderr.contains("error: cannot use cache directory `[CACHE]`"), "{output}");
        assert!(output.stderr.contains("Read-only file system"), "{output}");
        assert!(output.stderr.contains("hint: "), "{output}");
    }
    let url = server.url("/one");
    let fetched = run_read_only(&sandbox, &format!("fetch {url} -o -")).expect("as before");
    assert!(fetched.stderr.contains("Read-only file system"), "{fetched}");
    assert_eq!(fetched.expect_code(0).stdout, "/one".repeat(100));
}

#[test]
fn every_cache_command_has_its_results_as_json() {
    let (sandbox, server) = filled();
    let json = |args: &[&str], code: i32| -> serde_json::Value {
        let output = sandbox.run(args.iter().chain(&["--json"])).expect_code(code);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
    };
    assert_eq!(json(&["cache", "dir"], 0)["directory"], "[CACHE]");
    assert_eq!(json(&["cache", "list"], 0).as_array().map(Vec::len), Some(2));
    let plan = json(&["cache", "prune", "--dry-run", "--max-size", "0"], 0);
    assert!(plan["kept_bytes"].is_number(), "{plan}");
    assert!(!plan["would_remove"].as_array().expect("a list").is_empty(), "{plan}");
    let planned = json(&["cache", "remove", "--dry-run", "one"], 0);
    let removed = json(&["cache", "remove", "one"], 0);
    assert_eq!(removed["matched"][0]["name"], server.url("/one"));
    assert_eq!(planned["would_free_bytes"], removed["freed_bytes"]);
    assert_eq!(removed["removed"]["blobs"], serde_json::json!({ "entries": 1, "bytes": 400 }));
    let verified = json(&["cache", "verify"], 0);
    assert_eq!(verified["dropped"], serde_json::json!([]), "{verified}");
    let two = server.url("/two");
    assert_eq!(json(&["cache", "show", &two], 0)["entries"][0]["responses"][0]["status"], 200);
    assert_eq!(json(&["cache", "show", &server.url("/none")], 1)["nearest"][0], two);
    assert_eq!(json(&["cache", "purge", "--yes"], 0)["removed"]["blobs"]["entries"], 1);
    let none = json(&["cache", "remove", "one"], 1);
    assert_eq!(none["matched"], serde_json::json!([]), "{none}");
}

#[test]
fn what_cut_off_downloads_left_is_counted() {
    let sandbox = sandbox();
    let server = Server::start(|_| Reply::generated(300_000).cut_after(200_000));
    sandbox.run(["-q", "fetch", &server.url("/big")]).expect_code(3);
    let text = sandbox.run(["cache", "info"]).expect_code(0).stdout;
    assert!(text.contains("partial downloads"), "{text}");
    let info = sandbox.run(["cache", "info", "--json"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
    assert_eq!(value["partial_downloads"]["entries"], 1, "{info}");
    assert!(value["partial_downloads"]["bytes"].as_u64() >= Some(200_000), "{info}");
}

#[test]
fn formats_of_other_versions_go_when_asked_for_and_confirmed() {
    let (sandbox, _server) = filled();
    let digest = "ab".repeat(32);
    for area in ["http-v9", "thing-v1"] {
        let dir = sandbox.cache().join(area).join("ab");
        std::fs::create_dir_all(&dir).expect("a directory can be made");
        std::fs::write(dir.join(&digest), "of another version").expect("writable");
    }
    let holds = |area: &str| sandbox.cache().join(area).exists();
    sandbox.run(["cache", "prune"]).expect_code(0);
    assert!(holds("http-v9") && holds("thing-v1"), "they were used a moment ago");
    let refused = sandbox.run(["cache", "prune", "--old-formats"]).expect_code(2);
    assert!(refused.stderr.contains("http-v9: 18 B, last used "), "{refused}");
    assert!(refused.stderr.contains("this version reads http-v1"), "{refused}");
    assert!(refused.stderr.contains("a kind that this version does not know"), "{refused}");
    assert!(refused.stderr.contains("hint: add `--yes`"), "{refused}");
    let plan = sandbox.run(["cache", "prune", "--old-formats", "--dry-run"]).expect_code(0);
    assert!(plan.stdout.contains("of a format no longer in use"), "{plan}");
    assert!(holds("http-v9") && holds("thing-v1"));
    sandbox.run(["cache", "prune", "--old-formats", "--yes"]).expect_code(0);
    assert!(!holds("http-v9") && !holds("thing-v1") && holds("http-v1"));
    let list = sandbox.run(["cache", "list", "--http"]).expect_code(0);
    assert_eq!(list.stdout.lines().count(), 2, "this version's entries stay: {list}");
    sandbox.run(["cache", "prune", "--old-formats"]).expect_code(0);
}

#[test]
fn cut_off_downloads_are_within_the_size_bound() {
    let sandbox = sandbox();
    let server = Server::start(|_| Reply::generated(300_000).cut_after(200_000));
    sandbox.run(["-q", "fetch", &server.url("/big")]).expect_code(3);
    let plan = sandbox.run(["cache", "prune", "--max-size", "100KiB", "--dry-run"]).expect_code(0);
    assert!(plan.stdout.contains("partial downloads"), "{plan}");
    sandbox.run(["cache", "prune", "--max-size", "100KiB"]).expect_code(0);
    let info = sandbox.run(["cache", "info", "--json"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
    assert_eq!(value["partial_downloads"]["entries"], 0, "{info}");
}
