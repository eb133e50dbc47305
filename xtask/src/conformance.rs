//! The public suite of HTTP cache checks, against `rewarm proxy --upstream`.
//!
//! The suite brings origin and client; rewarm stands between them. Its published version is pinned; a
//! checkout of another can be named. A few of its expectations cannot be met or are older than RFC 9111:
//! they are listed here, each with the reason, and counted apart where they fail.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::steps::{Result, root, run};

/// The suite as npm knows it.
const SUITE: (&str, &str) = ("http-cache-tests", "0.4.5");

const AGE: &str = "RFC 9111 5.1: an invalid `Age` is ignored, and of several the first counts";
const CLOSED: &str = "wants an answer with a field of an origin that has hung up";

/// Required checks that are not, and why.
const EXCEPTED: [(&str, &str); 14] = [
    ("age-parse-nonnumeric", AGE),
    ("age-parse-negative", AGE),
    ("age-parse-float", AGE),
    ("age-parse-prefix-twoline", AGE),
    ("age-parse-dup-0", AGE),
    ("age-parse-dup-0-twoline", AGE),
    ("age-parse-dup-old", AGE),
    ("age-parse-parameter", AGE),
    ("age-parse-numeric-parameter", AGE),
    ("stale-close-must-revalidate", CLOSED),
    ("stale-close-proxy-revalidate", CLOSED),
    ("stale-close-no-cache", CLOSED),
    ("stale-close-s-maxage=2", CLOSED),
    ("304-etag-update-response-Content-MD5", "RFC 9111 3.2: a 304 updates it"),
];

/// What node prints about the checks: an array of objects.
const CHECKS: &str = "import suites from './tests/index.mjs'
const checks = suites.flatMap(suite => suite.tests).filter(check => !check.browser_only)
console.log(JSON.stringify(checks.map(({ id, name, kind, depends_on }) =>
  ({ id, name, kind: kind ?? 'required', needs: depends_on ?? [] }))))";

/// A process that ends with the task.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One check of the suite.
struct Check {
    name: String,
    kind: String,
    needs: Vec<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Passed,
    Failed,
    /// What it is about could not be brought about.
    Setup,
    /// A check that it builds on did not pass.
    Needs,
    /// Not asked of this kind of cache, or excepted.
    Excepted,
}

/// Runs the suite; an error if a required check fails. `--shared` is for the shared cache, `--suite`
/// for a checkout of the suite, with what it depends on installed.
pub(crate) fn main(args: &[&str]) -> Result<()> {
    let (shared, args) = match args {
        ["--shared", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let checkout = match args {
        [] => None,
        ["--suite", dir] => Some(PathBuf::from(dir)),
        _ => return Err("usage: cargo xtask conformance [--shared] [--suite DIR]".to_owned()),
    };
    for program in ["node", "npm"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("SKIPPED: the HTTP cache checks need `{program}`, which is not installed");
            return Ok(());
        }
    }
    let suite = checkout.map_or_else(install, Ok)?;
    let rewarm = build()?;
    let checks = checks(&suite)?;
    let results = results(&suite, &rewarm, shared)?;
    report(&checks, &results, shared)
}

/// Installs the suite below `target/`; the directory it is in.
fn install() -> Result<PathBuf> {
    let (name, version) = SUITE;
    let dir = root().join("target").join("conformance");
    let suite = dir.join("node_modules").join(name);
    if suite.join("cli.mjs").is_file() {
        return Ok(suite);
    }
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    let quiet = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    let mut npm = Command::new("npm");
    run(npm
        .current_dir(&dir)
        .args(quiet)
        .arg("--prefix")
        .arg(&dir)
        .arg(format!("{name}@{version}")))?;
    Ok(suite)
}

fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo.current_dir(root()).args(["build", "--locked", "-p", "rewarm"]))?;
    Ok(root().join("target/debug/rewarm"))
}

/// Where a script of the suite is; later versions have the engine apart from the checks.
fn script(suite: &Path, name: &str) -> PathBuf {
    let apart = suite.join("test-engine");
    if apart.is_dir() { apart.join(name) } else { suite.join(name) }
}

/// A script of the suite.
fn node(suite: &Path) -> Command {
    let mut node = Command::new("node");
    node.current_dir(suite).arg("--no-warnings");
    node
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{command:?} printed no text"))
}

/// All checks by name.
fn checks(suite: &Path) -> Result<BTreeMap<String, Check>> {
    let text = output(node(suite).args(["--input-type=module", "--eval", CHECKS]))?;
    let list: Vec<Value> = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let check = |check: &Value| {
        let needs = check["needs"].as_array().into_iter().flatten().map(text).collect();
        (
            text(&check["id"]),
            Check { name: text(&check["name"]), kind: text(&check["kind"]), needs },
        )
    };
    Ok(list.iter().map(check).collect())
}

/// What the suite says of each check, with rewarm between its client and its origin.
fn results(suite: &Path, rewarm: &Path, shared: bool) -> Result<HashMap<String, Value>> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut origin = node(suite);
    origin.arg(script(suite, "server/server.mjs")).env("npm_config_protocol", "http");
    origin.env("npm_config_port", "0").env("npm_config_pidfile", scratch.path().join("pid"));
    let (_origin, line) = start(&mut origin)?;
    let port = line.trim_end_matches('/').rsplit(':').next().unwrap_or_default().to_owned();
    let mut proxy = Command::new(rewarm);
    proxy.arg("--json").arg("--cache-dir").arg(scratch.path().join("cache"));
    proxy.args(["proxy", "--listen", "127.0.0.1:0", "--upstream"]);
    proxy.arg(format!("http://127.0.0.1:{port}")).args(shared.then_some("--shared"));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        proxy.env_remove(name);
    }
    let (_proxy, line) = start(proxy.env("HOME", scratch.path()))?;
    let told: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
    let base = format!("http://{}", told["address"].as_str().unwrap_or_default());
    println!("asking {base}, which stands before port {port}");
    let mut client = node(suite);
    client.arg(script(suite, "cli.mjs")).env("npm_config_base", base);
    let text = output(client.env("npm_config_id", "").env("npm_package_config_id", ""))?;
    serde_json::from_str(&text).map_err(|error| format!("{error} in what the suite printed"))
}

/// Starts a server that says in its first line where it listens.
fn start(command: &mut Command) -> Result<(Server, String)> {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let stdout = child.stdout.take().expect("it is piped");
    let server = Server(child);
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next().and_then(std::result::Result::ok);
    let line = line.ok_or_else(|| format!("{command:?} did not start"))?;
    // A full pipe would hold the server back.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((server, line))
}

/// What a check's result is worth, the checks that it builds on considered.
fn judge(
    id: &str,
    checks: &BTreeMap<String, Check>,
    results: &HashMap<String, Value>,
    shared: bool,
) -> Verdict {
    let Some(check) = checks.get(id) else { return Verdict::Needs };
    let name = check.name.to_ascii_lowercase();
    let is_for_others = match shared {
        true => name.contains("private http cache"),
        false => name.contains("shared"),
    };
    if is_for_others {
        return Verdict::Excepted;
    }
    let passed = results.get(id) == Some(&Value::Bool(true));
    if !passed && EXCEPTED.iter().any(|(excepted, _)| *excepted == id) {
        return Verdict::Excepted;
    }
    if check.needs.iter().any(|other| judge(other, checks, results, shared) != Verdict::Passed) {
        return Verdict::Needs;
    }
    match results.get(id) {
        _ if passed => Verdict::Passed,
        Some(Value::Array(parts)) if parts.first().is_some_and(|kind| kind == "Setup") => {
            Verdict::Setup
        }
        _ => Verdict::Failed,
    }
}

fn report(
    checks: &BTreeMap<String, Check>,
    results: &HashMap<String, Value>,
    shared: bool,
) -> Result<()> {
    let mut counts: BTreeMap<(&str, Verdict), usize> = BTreeMap::new();
    for (id, check) in checks {
        let verdict = judge(id, checks, results, shared);
        *counts.entry((&check.kind, verdict)).or_default() += 1;
        if check.kind != "check" && verdict != Verdict::Passed {
            let said = results.get(id).and_then(|result| result.get(1)).and_then(Value::as_str);
            let why = EXCEPTED.iter().find(|(excepted, _)| excepted == id).map(|(_, why)| *why);
            let of_others = "for the other kind of cache only";
            let text = match verdict {
                Verdict::Excepted => why.unwrap_or(of_others),
                _ => said.unwrap_or_default(),
            };
            println!("{:8} {:8} {id}: {text}", check.kind, format!("{verdict:?}").to_lowercase());
        }
    }
    let count = |kind, verdict| counts.get(&(kind, verdict)).copied().unwrap_or_default();
    for (kind, name) in [("required", "required"), ("optimal", "optional")] {
        let total: usize =
            counts.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum();
        let passed = count(kind, Verdict::Passed);
        let excepted = count(kind, Verdict::Excepted);
        println!("{name}: {passed} of {} passed; {excepted} excepted", total - excepted);
    }
    match count("required", Verdict::Failed) {
        0 => Ok(()),
        failed => Err(format!("{failed} required checks failed")),
    }
}
