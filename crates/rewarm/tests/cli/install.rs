//! `rewarm install`: environments that are made, kept, repaired, and what is refused.

use rewarm_testkit::packages::{Fault, Package, pylock};

use crate::support::{distributions, origin, project, requests, run_mounted, sandbox, tool};

const PYPROJECT: &str = "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.9\"\n";

#[test]
fn installs_once_and_then_has_nothing_to_do() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    let first = sandbox.run(["install"]).expect_code(0);
    assert!(first.stderr.starts_with("installed 2 packages; downloaded "), "{first}");
    assert_eq!(requests(&origin), 2);
    let second = sandbox.run(["install"]).expect_code(0);
    assert_eq!(second.stderr, "nothing to do: the environment matches the lock file\n");
    let hello = tool(&sandbox, ".venv/bin/hello", &[]).expect_code(0);
    assert_eq!(hello.stdout, "hello world\n");
}

#[test]
fn a_comparison_that_finds_nothing_to_do_says_so() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    sandbox.run(["install"]).expect_code(0);
    let output = sandbox.run(["run", "--revalidate", "true"]).expect_code(0);
    assert!(output.stderr.starts_with("nothing to install, kept 2 in "), "{output}");
}

#[test]
fn a_deleted_environment_comes_back_without_the_network() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    sandbox.run(["install"]).expect_code(0);
    std::fs::remove_dir_all(sandbox.project().join(".venv")).expect("it was just made");
    drop(origin);
    let again = sandbox.run(["--offline", "install"]).expect_code(0);
    assert!(again.stderr.starts_with("installed 2 packages; nothing downloaded in "), "{again}");
    tool(&sandbox, ".venv/bin/python", &["-c", "import hello, plain"]).expect_code(0);
}

#[test]
fn all_that_is_missing_is_named_at_once_where_the_network_may_not_be_used() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    for command in [&["install"][..], &["run", "true"], &["check"]] {
        let output = sandbox.run([&["--offline"], command].concat());
        let code = if command[0] == "run" { 125 } else { 3 };
        let stderr = output.expect_code(code).stderr;
        let said = "2 files are not in the cache, and the network may not be used:";
        assert!(stderr.contains(said), "{command:?}: {stderr}");
        for artifact in distributions() {
            assert!(stderr.contains(&origin.url(&format!("/{}", artifact.filename))), "{stderr}");
        }
        assert!(stderr.contains("hint: run once without `--offline`"), "{stderr}");
    }
    assert_eq!(requests(&origin), 0);
    sandbox
        .run(["-q", "fetch", &origin.url(&format!("/{}", distributions()[0].filename))])
        .expect_code(0);
    let one = sandbox.run(["--offline", "install"]).expect_code(3);
    assert!(one.stderr.contains(&distributions()[1].filename), "{one}");
    assert!(!one.stderr.contains(&distributions()[0].filename), "{one}");
    let both = [&origin.url("/x"), &origin.url("/y")];
    let fetch = sandbox.run(["--offline", "fetch", both[0], both[1]]).expect_code(3);
    assert!(both.iter().all(|url| fetch.stderr.contains(*url)), "{fetch}");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    let shown = sandbox.run(["install", "--dry-run"]).expect_code(0);
    assert_eq!(shown.stdout, "+ hello 1.0\n+ plain 2.0\n");
    assert!(!sandbox.project().join(".venv").exists());
    assert_eq!(requests(&origin), 0);
}

#[test]
fn json_says_what_was_done() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    let output = sandbox.run(["install", "--json", "-q"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&value["installed"], &value["downloaded_files"]), (&2.into(), &2.into()));
}

#[test]
fn a_malformed_lock_file_is_named_with_its_line() {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", PYPROJECT);
    sandbox.write("pylock.toml", "lock-version = \"1.0\"\ncreated-by = \"x\"\npackages = 7\n");
    let output = sandbox.run(["install"]).expect_code(2);
    assert!(output.stderr.contains("[PROJECT]/pylock.toml"), "{output}");
    assert!(output.stderr.contains("line 3") || output.stderr.contains(":3"), "{output}");
    assert!(!sandbox.project().join(".venv").exists(), "{output}");
}

#[test]
fn a_file_with_the_wrong_digest_is_refused_and_forgotten() {
    let sandbox = sandbox();
    let good = distributions();
    let mut other = good.clone();
    other[0].bytes = Package::new("hello", "1.0").file("hello/evil.py", "").wheel().bytes;
    let origin = origin(&other);
    project(&sandbox, &origin, PYPROJECT);
    let output = sandbox.run(["install"]).expect_code(3);
    assert!(output.stderr.contains("hello-1.0-py3-none-any.whl"), "{output}");
    assert!(output.stderr.contains(&good[0].sha256()), "{output}");
    assert!(!sandbox.project().join(".venv/bin/hello").exists());
    let verified = sandbox.run(["cache", "verify"]).expect_code(0);
    assert_eq!(verified.stdout, "");
}

#[test]
fn a_wheel_that_escapes_its_target_installs_nothing() {
    for fault in [Fault::Traversal, Fault::Absolute, Fault::Symlink, Fault::Truncated] {
        let sandbox = sandbox();
        let broken = vec![Package::new("broken", "1.0").broken_wheel(fault)];
        let origin = origin(&broken);
        sandbox.write("pyproject.toml", PYPROJECT);
        sandbox.write("pylock.toml", pylock(&broken, &origin.url("/")));
        let output = sandbox.run(["install"]).expect_code(3);
        assert!(output.stderr.contains("broken-1.0-py3-none-any.whl"), "{fault:?}: {output}");
        let site = sandbox.project().join(".venv/lib");
        let found = tool(&sandbox, "find", &[&site.to_string_lossy(), "-name", "broken*"]);
        assert_eq!(found.stdout, "", "{fault:?}");
    }
}

#[test]
fn two_installs_at_once_make_one_environment() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    let mut children: Vec<_> =
        (0..4).map(|_| sandbox.command(["install", "-q"]).spawn().expect("it starts")).collect();
    for child in &mut children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(requests(&origin), 2);
    tool(&sandbox, ".venv/bin/hello", &[]).expect_code(0);
}

#[test]
fn a_killed_install_is_repaired_by_the_next() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    for round in 0..12_u64 {
        let mut child = sandbox.command(["install", "-q"]).spawn().expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(round * 15));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    sandbox.run(["install", "-q"]).expect_code(0);
    tool(&sandbox, ".venv/bin/hello", &[]).expect_code(0);
    tool(&sandbox, ".venv/bin/python", &["-c", "import hello.cli, plain"]).expect_code(0);
}

#[test]
fn an_unwritable_cache_costs_speed_not_the_command() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    std::fs::write(sandbox.cache(), "a file, where a directory should be").expect("writable");
    let output = sandbox.run(["install"]).expect_code(0);
    assert!(output.stderr.contains("warning: "), "{output}");
    assert!(output.stderr.contains("[CACHE]"), "{output}");
    tool(&sandbox, ".venv/bin/hello", &[]).expect_code(0);
}

#[test]
fn what_was_installed_besides_stays_when_a_command_is_run() {
    let sandbox = sandbox();
    let extra = Package::new("extra", "1.0").wheel();
    let all = [distributions(), vec![extra]].concat();
    let origin = origin(&all);
    sandbox.write("pyproject.toml", PYPROJECT);
    let lock = pylock(&all, &origin.url("/"));
    let lock = lock.replacen("created-by", "extras = [\"more\"]\ncreated-by", 1);
    let marked = "name = \"extra\"\nmarker = \"'more' in extras\"";
    sandbox.write("pylock.toml", lock.replacen("name = \"extra\"", marked, 1));
    let import = ["run", "python", "-c", "import extra"];
    assert_ne!(sandbox.run(import).code, Some(0));
    sandbox.run(["install", "--extra", "more"]).expect_code(0);
    sandbox.run(import).expect_code(0);
    sandbox.write("pyproject.toml", format!("{PYPROJECT}description = \"changed\"\n"));
    sandbox.run(import).expect_code(0);
    sandbox.run(["install"]).expect_code(0);
    assert_ne!(sandbox.run(import).code, Some(0));
}

#[test]
fn a_full_cache_costs_speed_not_the_command() {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    let mount =
        r#"mount -t tmpfs -o size=64k tmpfs "$0" && head -c 65536 /dev/zero > "$0/ballast""#;
    let mount = format!("({mount}; true)");
    let Some(output) = run_mounted(&sandbox, &mount, "install") else { return };
    let output = output.expect_code(0);
    assert!(output.stderr.contains("nothing will be kept for the next time"), "{output}");
    assert!(output.stderr.contains("installed 2 packages"), "{output}");
    assert_eq!(tool(&sandbox, ".venv/bin/hello", &[]).expect_code(0).stdout, "hello world\n");
}
