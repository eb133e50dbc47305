//! `rewarm with`: real clients, unchanged, whose downloads go through the cache.

use std::path::Path;
use std::process::Command;

use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::Server;

use crate::packages::{files, index, run};
use crate::support::sandbox;

const REWARM: &str = env!("CARGO_BIN_EXE_rewarm");

/// A line for `sh` that runs with the tools of the test environment, `rewarm` being the binary.
fn with(sandbox: &Sandbox, line: &str) -> Output {
    run(sandbox, &line.replace("rewarm ", &format!("'{REWARM}' ")))
}

fn credited(index: &Server) -> String {
    index.url("/simple/").replace("http://", "http://bob:s3cr3t@")
}

#[test]
fn pip_and_uv_download_once_with_their_own_settings() {
    let (sandbox, index) = (sandbox(), index());
    let simple = credited(&index);
    for turn in 0..2 {
        let pip = format!(
            "PIP_INDEX_URL={simple} rewarm with -- python -m pip install --no-cache-dir \
             --disable-pip-version-check --target pip-{turn} hello plain"
        );
        let output = with(&sandbox, &pip).expect_code(0);
        let expected = if turn == 0 { ", 0 from the cache, " } else { "4 from the cache, nothing" };
        assert!(output.stderr.contains(expected), "{output}");
        let uv = format!(
            "UV_DEFAULT_INDEX={simple} rewarm with uv pip install --no-cache --target uv-{turn} \
             hello plain"
        );
        let output = with(&sandbox, &uv).expect_code(0);
        assert!(!output.stderr.contains("s3cr3t"), "{output}");
        assert!(sandbox.project().join(format!("pip-{turn}/hello/cli.py")).is_file());
        assert!(sandbox.project().join(format!("uv-{turn}/hello/cli.py")).is_file());
    }
    assert_eq!(files(&index), 2, "{:#?}", index.seen());
}

#[test]
fn a_lock_names_the_real_index_and_stays_as_it_is() {
    let (sandbox, index) = (sandbox(), index());
    let project = "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n\
        dependencies = [\"hello\", \"plain\"]\n[tool.uv]\npackage = false\n";
    sandbox.write("pyproject.toml", project);
    let uv = |command: &str| {
        let line = format!(
            "UV_DEFAULT_INDEX={} rewarm with -- uv {command} --no-cache --python \"$(command -v python)\"",
            credited(&index)
        );
        with(&sandbox, &line).expect_code(0)
    };
    uv("lock");
    let lock = || std::fs::read_to_string(sandbox.project().join("uv.lock")).expect("a lock");
    let locked = lock();
    assert!(locked.contains(&index.url("/files/hello-1.0-")), "{locked}");
    let asked = [0, 1].map(|_| {
        let output = uv("sync");
        assert_eq!(lock(), locked, "{output}");
        assert!(sandbox.project().join(".venv/bin/hello").is_file(), "{output}");
        std::fs::remove_dir_all(sandbox.project().join(".venv")).expect("it was just made");
        index.seen().len()
    });
    assert_eq!(asked[0], asked[1], "{:#?}", index.seen());
}

#[test]
fn pypi_is_reached_through_a_tunnel_and_named_in_the_lock() {
    let sandbox = sandbox();
    let project = "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n\
        dependencies = [\"six==1.17.0\"]\n[tool.uv]\npackage = false\n";
    sandbox.write("pyproject.toml", project);
    let python = "--no-cache --python \"$(command -v python)\"";
    let output = with(&sandbox, &format!("rewarm with -- uv lock {python}")).expect_code(0);
    assert!(output.stderr.contains("rewarm: "), "{output}");
    let lock = || std::fs::read_to_string(sandbox.project().join("uv.lock")).expect("a lock");
    let locked = lock();
    assert!(locked.contains("https://files.pythonhosted.org/packages/"), "{locked}");
    assert!(!locked.contains("127.0.0.1"), "{locked}");
    let output = with(&sandbox, &format!("rewarm with -- uv sync {python}")).expect_code(0);
    assert!(output.stderr.contains("rewarm: 1 file, "), "{output}");
    assert_eq!(lock(), locked);
    let pip = "rewarm with -- python -m pip download --no-cache-dir --no-deps --dest d \
        --disable-pip-version-check six==1.17.0";
    let output = with(&sandbox, pip).expect_code(0);
    assert!(output.stderr.contains("rewarm: "), "{output}");
    assert!(sandbox.project().join("d/six-1.17.0-py2.py3-none-any.whl").is_file(), "{output}");
}

#[test]
fn npm_installs_what_its_lock_names() {
    if Command::new("npm").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no npm here");
        return;
    }
    let sandbox = sandbox();
    let package = r#"{"name":"x","version":"1.0.0","dependencies":{"ms":"2.1.3"}}"#;
    sandbox.write("package.json", package);
    let npm = |index: &str, command: &str| {
        let line = format!("rewarm with {index} -- npm {command} --cache ./c --no-audit --no-fund");
        let output = with(&sandbox, &line).expect_code(0);
        std::fs::remove_dir_all(sandbox.project().join("c")).expect("npm made its cache");
        assert!(output.stderr.contains("rewarm: "), "{output}");
        assert!(sandbox.project().join("node_modules/ms/package.json").is_file(), "{output}");
    };
    npm("", "install");
    let lock = || std::fs::read_to_string(sandbox.project().join("package-lock.json"));
    let locked = lock().expect("a lock");
    assert!(locked.contains("https://registry.npmjs.org/ms/-/ms-2.1.3.tgz"), "{locked}");
    npm("", "ci");
    npm("--index", "ci");
    assert_eq!(lock().expect("a lock"), locked);
}

#[test]
fn index_settings_keep_their_credentials_here() {
    let (sandbox, index) = (sandbox(), index());
    let line = format!(
        "PIP_INDEX_URL={simple} UV_DEFAULT_INDEX={simple} PIP_EXTRA_INDEX_URL={simple} \
         rewarm with --index -- sh -c 'env; uv pip install --no-cache --target u hello; \
         python -m pip install --no-cache-dir --disable-pip-version-check --target p hello'",
        simple = credited(&index)
    );
    let output = with(&sandbox, &line).expect_code(0);
    assert!(!output.stdout.contains("s3cr3t") && !output.stderr.contains("s3cr3t"), "{output}");
    for dir in ["u", "p"] {
        assert!(sandbox.project().join(dir).join("hello/cli.py").is_file(), "{output}");
    }
    let seen = index.seen();
    let downloads =
        seen.iter().filter(|seen| seen.method == "GET" && seen.path.contains("/files/"));
    assert_eq!(downloads.count(), 1, "{seen:#?}");
}

#[test]
fn the_command_ends_as_it_would_alone() {
    let sandbox = sandbox();
    let code = |args: &[&str]| sandbox.run([&["-q", "with", "--"], args].concat());
    assert_eq!(code(&["sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]).code, Some(137));
    assert_eq!(code(&["sh", "-c", "cat; echo out; echo err >&2"]).expect_code(0).stdout, "out\n");
    let missing = code(&["no-such-program"]).expect_code(127);
    assert!(missing.stderr.contains("cannot run `no-such-program`"), "{missing}");
    assert_eq!(code(&["/"]).code, Some(126));
    let nothing = sandbox.run(["with"]).expect_code(125);
    assert!(nothing.stderr.contains("hint: "), "{nothing}");
}

#[test]
fn signals_are_the_commands_business() {
    let sandbox = sandbox();
    // What the terminal sends comes to both; this process only waits.
    let output = sandbox.run(["with", "sh", "-c", "kill -INT $PPID; kill -QUIT $PPID; exit 4"]);
    let _ = output.expect_code(4);
    let handed_on = "trap 'exit 9' TERM; kill -TERM $PPID; while :; do :; done";
    let _ = sandbox.run(["with", "sh", "-c", handed_on]).expect_code(9);
    // What was ignored stays so, for the command as well.
    let line = "trap '' HUP; exec \"$0\" with sh -c 'kill -HUP $$; exit 5'";
    let mut shell = sandbox.shell(line);
    let _ = sandbox.output(shell.arg(REWARM)).expect_code(5);
}

#[test]
fn the_command_is_told_whom_to_trust_and_nothing_is_left_behind() {
    let sandbox = sandbox();
    let temp = sandbox.home().join("temp");
    std::fs::create_dir(&temp).expect("a directory can be made");
    sandbox.write("own.pem", "-----BEGIN CERTIFICATE-----\nOWN\n-----END CERTIFICATE-----\n");
    let line = "stat -c %a \"$SSL_CERT_FILE\" \"$(dirname \"$SSL_CERT_FILE\")\"; \
        grep OWN \"$PIP_CERT\"; echo \"<$NO_PROXY>\"; echo \"$HTTPS_PROXY\"";
    let mut command = sandbox.command(["with", "--", "sh", "-c", line]);
    let own = sandbox.project().join("own.pem");
    command.env("TMPDIR", &temp).env("PIP_CERT", own).env("NO_PROXY", "example.org");
    let output = sandbox.output(&mut command).expect_code(0);
    assert!(output.stdout.starts_with("600\n700\nOWN\n"), "{output}");
    assert!(output.stdout.contains("\n<>\nhttp://rewarm:"), "{output}");
    let is_empty = |dir: &Path| std::fs::read_dir(dir).expect("it is there").next().is_none();
    assert!(is_empty(&temp));
}

#[test]
fn what_a_killed_run_left_behind_is_removed_by_the_next() {
    let sandbox = sandbox();
    let temp = sandbox.home().join("temp");
    std::fs::create_dir(&temp).expect("a directory can be made");
    let run = |line: &str| {
        let mut command = sandbox.command(["with", "--", "sh", "-c", line]);
        sandbox.output(command.env("TMPDIR", &temp))
    };
    let count = || std::fs::read_dir(&temp).expect("it is there").count();
    assert_eq!(run("kill -KILL $PPID").code, None);
    assert_eq!(count(), 1);
    let nested = format!("'{REWARM}' with -- true && test -r \"$SSL_CERT_FILE\"");
    let _ = run(&nested).expect_code(0);
    assert_eq!(count(), 0);
}

#[test]
fn offline_serves_what_was_downloaded_before() {
    let (sandbox, index) = (sandbox(), index());
    let line = |flag: &str, dir: &str| {
        format!(
            "PIP_INDEX_URL={} rewarm {flag} with -- python -m pip install --no-cache-dir \
             --disable-pip-version-check --target {dir} plain",
            credited(&index)
        )
    };
    let _ = with(&sandbox, &line("", "a")).expect_code(0);
    let asked = index.seen().len();
    let _ = with(&sandbox, &line("--offline", "b")).expect_code(0);
    assert_eq!(index.seen().len(), asked);
}
