//! `rewarm cache` and `rewarm clean`.

use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::server::{Reply, Server};

use crate::support::sandbox;

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
    let (sandbox, _server) = filled();
    assert_eq!(sandbox.run(["cache", "dir"]).expect_code(0).stdout, "[CACHE]\n");
    let info = sandbox.run(["cache", "info", "--json"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
    assert_eq!(value["kinds"]["http-v1"]["entries"], 2);
    assert_eq!(value["kinds"]["blobs"]["bytes"], 800);
    let text = sandbox.run(["cache", "info"]).expect_code(0).stdout;
    assert!(text.contains("blobs"), "{text}");
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
