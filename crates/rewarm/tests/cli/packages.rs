//! `rewarm proxy` with package mode, as pip, uv and npm use it: against an index of our own, where
//! requests are counted, and against the public places.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rewarm_testkit::packages::Artifact;
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};
use rewarm_testkit::tools;

use crate::support::{distributions, sandbox};

/// A proxy of the binary, ended when dropped.
struct Proxy {
    child: Child,
    url: String,
}

impl Proxy {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut command = sandbox.command(["--json", "-q", "proxy", "--listen", "127.0.0.1:0"]);
        let mut child =
            command.args(args).stdout(Stdio::piped()).spawn().expect("the binary can be run");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("the proxy says where it is");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let url = line["url"].as_str().expect("a URL").to_owned();
        Self { child, url }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An index with two packages, of which files lie elsewhere on the host; behind a password.
pub(crate) fn index() -> Server {
    let artifacts = distributions();
    Server::start(move |seen| {
        if seen.header("authorization") != Some("Basic Ym9iOnMzY3IzdA==") {
            return Reply::status(401, "who are you?");
        }
        let file = |artifact: &&Artifact| seen.path == format!("/files/{}", artifact.filename);
        if let Some(artifact) = artifacts.iter().find(file) {
            let reply = Reply::ok(artifact.bytes.clone());
            return reply.header("cache-control", "max-age=31536000, immutable");
        }
        let name = seen.path.strip_prefix("/simple/").and_then(|path| path.strip_suffix('/'));
        let Some(artifact) = artifacts.iter().find(|artifact| Some(&*artifact.name) == name) else {
            return Reply::status(404, "no such project");
        };
        let (filename, sha256) = (&artifact.filename, artifact.sha256());
        let is_json = seen.header("accept").is_some_and(|accept| accept.contains("+json"));
        let (kind, page) = match is_json {
            true => (
                "application/vnd.pypi.simple.v1+json",
                format!(
                    r#"{{"meta":{{"api-version":"1.0"}},"name":"{}","files":[{{"filename":"{filename}","url":"../../files/{filename}","hashes":{{"sha256":"{sha256}"}}}}]}}"#,
                    artifact.name
                ),
            ),
            false => (
                "text/html",
                format!("<a href=\"/files/{filename}#sha256={sha256}\">{filename}</a>"),
            ),
        };
        Reply::ok(page).header("content-type", kind).header("cache-control", "max-age=600")
    })
}

pub(crate) fn files(index: &Server) -> usize {
    index.seen().iter().filter(|seen| seen.path.starts_with("/files/")).count()
}

fn flag(index: &Server) -> String {
    format!("--index=corp={}", index.url("/simple/").replace("http://", "http://bob:s3cr3t@"))
}

/// Runs a tool of the test environment with the sandbox around it.
pub(crate) fn run(sandbox: &Sandbox, line: &str) -> Output {
    let tools = tools::environment().join("bin");
    sandbox.output(&mut sandbox.shell(&format!("PATH='{}':$PATH; {line}", tools.display())))
}

#[test]
fn pip_and_uv_share_files_and_ask_the_index_once() {
    let (sandbox, index) = (sandbox(), index());
    let proxy = Proxy::start(&sandbox, &[&flag(&index)]);
    let simple = format!("{}corp/simple/", proxy.url);
    for turn in 0..2 {
        let pip = format!(
            "python -m pip install --disable-pip-version-check --no-cache-dir --target pip-{turn} \
             --index-url {simple} hello plain"
        );
        let _ = run(&sandbox, &pip).expect_code(0);
        let uv = format!(
            "uv pip install --no-cache --target uv-{turn} --default-index {simple} hello plain"
        );
        let _ = run(&sandbox, &uv).expect_code(0);
        assert!(sandbox.project().join(format!("pip-{turn}/hello/cli.py")).is_file());
        assert!(sandbox.project().join(format!("uv-{turn}/hello/cli.py")).is_file());
    }
    assert_eq!(files(&index), 2, "{:#?}", index.seen());
}

#[test]
fn links_hold_when_the_proxy_starts_again() {
    let (sandbox, index) = (sandbox(), index());
    let ask = |url: &str| sandbox.run(["--cache-dir", "other", "-q", "fetch", url, "-o", "-"]);
    let page = {
        let proxy = Proxy::start(&sandbox, &[&flag(&index)]);
        ask(&format!("{}corp/simple/hello/", proxy.url)).expect_code(0).stdout
    };
    let link = page.split(['"', '#']).nth(1).expect("a link").replace("../../", "corp/");
    let proxy = Proxy::start(&sandbox, &[&flag(&index)]);
    let file = ask(&format!("{}{link}", proxy.url)).expect_code(0);
    assert!(file.stdout.starts_with("PK"), "{file}");
    // Without the credentials of its upstream nobody would have got it.
    assert_eq!(files(&index), 1);
    let secrets = Command::new("grep")
        .args(["-r", "-l", "s3cr3t"])
        .arg(sandbox.cache())
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&secrets.stdout), "");
}

#[test]
fn upstreams_come_from_the_configuration() {
    let (sandbox, index) = (sandbox(), index());
    let url = index.url("/simple/").replace("http://", "http://bob:s3cr3t@");
    sandbox.write(
        "rewarm.toml",
        format!("[proxy]\nupstreams.corp = {{ kind = \"index\", url = \"{url}\" }}\n"),
    );
    let proxy = Proxy::start(&sandbox, &[]);
    let url = format!("{}corp/simple/hello/", proxy.url);
    let page = sandbox.run(["fetch", &url, "-o", "-"]).expect_code(0);
    assert!(page.stdout.contains("../../-files/"), "{page}");
}

#[test]
fn an_upstream_without_a_name_or_with_a_bad_url_is_a_usage_error() {
    let sandbox = sandbox();
    for (flag, says) in [
        ("--index=https://h/", "NAME=URL"),
        ("--npm=a/b=https://h/", "`a/b` is no name"),
        ("--conda=a=ftp://bob:s3cr3t@h/", "upstream `a`"),
    ] {
        let output = sandbox.run(["proxy", flag]).expect_code(2);
        assert!(output.stderr.contains(says), "{output}");
        assert!(!output.stderr.contains("s3cr3t"), "{output}");
    }
}

#[test]
fn pip_and_uv_install_from_pypi_through_the_proxy() {
    let sandbox = sandbox();
    let proxy = Proxy::start(&sandbox, &[]);
    let simple = format!("{}pypi/simple/", proxy.url);
    let pip = format!(
        "python -m pip install --disable-pip-version-check --no-cache-dir --target pip \
         --index-url {simple} iniconfig==2.1.0"
    );
    let _ = run(&sandbox, &pip).expect_code(0);
    let uv =
        format!("uv pip install --no-cache --target uv --default-index {simple} iniconfig==2.1.0");
    let _ = run(&sandbox, &uv).expect_code(0);
    for dir in ["pip", "uv"] {
        assert!(sandbox.project().join(dir).join("iniconfig/__init__.py").is_file());
    }
}

#[test]
fn npm_installs_through_the_proxy_and_locks_the_real_registry() {
    let sandbox = sandbox();
    let proxy = Proxy::start(&sandbox, &[]);
    sandbox.write(
        "package.json",
        r#"{"name":"a","version":"1.0.0","dependencies":{"is-odd":"3.0.1","@types/ms":"2.1.0"}}"#,
    );
    let npm = |args: &str| {
        let registry = format!("npm_config_registry={}npm/", proxy.url);
        let quiet = "npm_config_update_notifier=false npm_config_audit=false";
        run(&sandbox, &format!("{registry} {quiet} npm_config_cache=npm-cache npm {args}"))
    };
    let _ = npm("install").expect_code(0);
    let lock = std::fs::read_to_string(sandbox.project().join("package-lock.json"))
        .expect("npm writes a lock file");
    assert!(!lock.contains(&proxy.url) && !lock.contains("127.0.0.1"), "{lock}");
    for resolved in [
        "https://registry.npmjs.org/is-odd/-/is-odd-3.0.1.tgz",
        "https://registry.npmjs.org/@types/ms/-/ms-2.1.0.tgz",
    ] {
        assert!(lock.contains(resolved), "{lock}");
    }
    std::fs::remove_dir_all(sandbox.project().join("npm-cache")).expect("npm has made it");
    let _ = npm("ci").expect_code(0);
    assert!(sandbox.project().join("node_modules/is-odd/index.js").is_file());
    let _ = npm("pack is-odd@3.0.1").expect_code(0);
    let listed = sandbox.run(["cache", "list"]).expect_code(0);
    for tarball in ["/is-odd/-/is-odd-3.0.1.tgz", "/@types/ms/-/ms-2.1.0.tgz"] {
        assert!(listed.stdout.contains(tarball), "{listed}");
    }
}
