//! `rewarm doctor` and `rewarm lock`.

use std::os::unix::fs::PermissionsExt;

use rewarm_testkit::packages::{Package, pylock};
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};
use rewarm_testkit::tools;

use crate::support::{distributions, origin, project, sandbox};

/// The findings of one kind: level and text, with mends after ` > `.
fn findings(output: &Output, what: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("it is JSON");
    let list = json.as_array().expect("it is a list").iter();
    list.filter(|finding| finding["what"] == what)
        .map(|finding| {
            let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
            let mends = finding["mends"].as_array().expect("a list").iter().map(text);
            let head = format!("{}: {}", text(&finding["level"]), text(&finding["text"]));
            std::iter::once(head).chain(mends).collect::<Vec<_>>().join(" > ")
        })
        .collect()
}

fn doctor(sandbox: &Sandbox, code: i32) -> Output {
    sandbox.run(["doctor", "--json"]).expect_code(code)
}

#[test]
fn a_sound_project_has_nothing_wrong() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, "[project]\nname = 'app'\nversion = '1'\n");
    let before = doctor(&sandbox, 0);
    assert!(findings(&before, "environment")[0].starts_with("note: not made yet > "), "{before}");
    sandbox.run(["install"]).expect_code(0);
    let after = doctor(&sandbox, 0);
    assert_eq!(findings(&after, "environment"), ["ok: matches the lock file"]);
    assert!(findings(&after, "check")[0].starts_with("note: the environment has no mypy"));
    let text = sandbox.run(["doctor"]).expect_code(0).stdout;
    assert!(text.contains("ok     environment   matches the lock file\n"), "{text}");
}

#[test]
fn each_thing_that_is_wrong_is_named_with_its_mend() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, "[project]\nname = 'app'\nversion = '1'\n");
    sandbox.run(["install"]).expect_code(0);
    let python = sandbox.project().join(".venv/bin/python");
    std::fs::remove_file(&python).expect("it was installed");
    std::os::unix::fs::symlink("/nowhere/python3", &python).expect("a link can be made");
    let mut command = sandbox.command(["doctor", "--json"]);
    command.env("SSL_CERT_FILE", "/nowhere/ca.pem").env("HTTPS_PROXY", "http://u:secret@[x");
    let output = sandbox.output(&mut command).expect_code(1);
    let network = findings(&output, "network").join("\n");
    assert!(network.contains("`/nowhere/ca.pem`, which does not exist > unset"), "{network}");
    assert!(network.contains("`HTTPS_PROXY` is no URL"), "{network}");
    assert!(!output.stdout.contains("secret"), "{output}");
    let environment = findings(&output, "environment").join("\n");
    assert!(environment.contains("leads to `/nowhere/python3`, which is gone"), "{environment}");
}

#[test]
fn a_lock_file_that_cannot_be_read_is_wrong() {
    let sandbox = sandbox();
    sandbox.write("pylock.toml", "lock-version = ");
    let output = doctor(&sandbox, 1);
    assert!(output.stdout.contains("pylock.toml"), "{output}");
}

#[test]
fn the_real_uv_locks_through_the_cache() {
    let sandbox = sandbox();
    let wheel = Package::new("hello", "1.0").wheel();
    let page = format!("<a href='/{0}#sha256={1}'>{0}</a>", wheel.filename, wheel.sha256());
    let (name, bytes) = (wheel.filename.clone(), wheel.bytes.clone());
    let origin = Server::start(move |seen| match seen.path.ends_with(&name) {
        true => Reply::ok(bytes.clone()),
        false => Reply::ok(page.clone()).header("content-type", "text/html"),
    });
    let pyproject = "[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.11'\n\
                     dependencies = ['hello']\n";
    sandbox.write("pyproject.toml", pyproject);
    let missing = sandbox.output(sandbox.command(["lock"]).env("PATH", "/nowhere"));
    assert!(missing.expect_code(125).stderr.contains("belongs to uv, which is not installed"));
    let path = format!("{}:/usr/bin:/bin", tools::environment().join("bin").display());
    let lock = || {
        let mut command = sandbox.command(["lock", "--", "--no-cache"]);
        command.env("PATH", &path).env("UV_DEFAULT_INDEX", origin.url("/simple/"));
        sandbox.output(&mut command).expect_code(0)
    };
    let output = lock();
    assert!(output.stderr.contains("running `uv lock --no-cache`"), "{output}");
    let text = std::fs::read_to_string(sandbox.project().join("uv.lock")).expect("it is written");
    assert!(text.contains(&origin.url("/simple/")), "the lock names the real index: {text}");
    assert!(output.stderr.contains("rewarm: "), "{output}");
}

#[test]
fn pixi_is_asked_for_its_own_lock_and_its_status_is_passed_on() {
    let sandbox = sandbox();
    sandbox.write("pixi.toml", "[workspace]\nname = 'a'\nchannels = []\nplatforms = []\n");
    let pixi = "#!/bin/sh\necho \"$PWD: $*, $HTTPS_PROXY\"\nexit 7\n";
    sandbox.write("bin/pixi", pixi);
    let program = sandbox.project().join("bin/pixi");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("it was just written");
    let mut command = sandbox.command(["lock", "--", "--check"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", sandbox.project().join("bin").display()));
    let output = sandbox.output(&mut command).expect_code(7);
    let expected = "[PROJECT]: lock --check, http://rewarm:";
    assert!(output.stdout.starts_with(expected), "{output}");
}

#[test]
fn a_lock_file_without_an_owner_says_how_it_is_written() {
    let sandbox = sandbox();
    sandbox.write("pylock.toml", pylock(&distributions(), "http://127.0.0.1:9/"));
    let output = sandbox.run(["lock"]).expect_code(125);
    assert!(output.stderr.contains("belongs to no tool"), "{output}");
    assert!(output.stderr.contains("hint: write it as it was written"), "{output}");
}
