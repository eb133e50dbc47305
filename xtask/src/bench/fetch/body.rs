//! A large download, cold and warm, and four clients at once: rewarm, curl, pip and uv.
//!
//! pip and uv only install packages, so the body is a wheel whose size lies in one stored member,
//! and they are asked to install it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use rewarm_testkit::packages::Package;
use rewarm_testkit::server::{Reply, Seen, Server};

use super::{COLUMNS, row, together};
use crate::bench::Bench;
use crate::bench::chart::Chart;
use crate::bench::table::Table;
use crate::measure::{Cost, Measured};
use crate::steps::Result;

const PATH: &str = "/files/ballast-1.0-py3-none-any.whl";

/// What one contestant cost, and how many bytes the origin sent for it.
type Outcome = (Cost, u64);

pub(super) fn run(bench: &Bench, size: usize) -> Result<Table> {
    println!("making a wheel of {} MB", size / 1_000_000);
    let artifact = Package::new("ballast", "1.0").file("ballast/data.bin", noise(size)).wheel();
    let digest = artifact.sha256();
    let wheel: Arc<[u8]> = artifact.bytes.into();
    let size = wheel.len() as u64;
    let server = Server::start(move |seen| answer(seen, &wheel));
    let setup = Setup::new(bench, &server, digest)?;
    let mut outcomes = Vec::new();
    for (name, command) in setup.contestants()? {
        outcomes.push((name, setup.one(name, command)?));
    }
    for (name, command) in FOUR {
        outcomes.push((name, setup.four(name, command)?));
    }
    let mut table =
        Table::new(&format!("Fetch: a body of {} MB from loopback", size / 1_000_000), &COLUMNS);
    let base = outcomes[0].1.0.cpu;
    for (name, (cost, sent)) in &outcomes {
        table.row(row(name, cost, base, size, *sent));
    }
    table.note(
        "bytes written and sent as multiples of the body; memory is the largest of any one process",
    );
    table.chart(chart(&outcomes, size));
    Ok(table)
}

/// curl and rewarm on a body that is no package.
pub(super) fn plain(bench: &Bench, size: u64) -> Result<Vec<(&'static str, Outcome)>> {
    let server = Server::start(move |_| cacheable(Reply::generated(size)));
    let setup =
        Setup::new(bench, &server, rewarm_testkit::server::Content::Generated(size).sha256())?;
    let curl = ("`curl -o` and `sha256sum`", setup.one("curl", setup.curl()?)?);
    drop(std::fs::remove_file(setup.path("curl.whl")));
    let cold = setup.one("rewarm", setup.rewarm("rewarm", "cold.whl", true)?)?;
    let warm = setup.one("rewarm", setup.rewarm("rewarm", "warm.whl", false)?)?;
    Ok(vec![curl, ("`rewarm fetch --hash`, cold", cold), ("`rewarm fetch`, warm", warm)])
}

type Numbered = fn(&Setup<'_>, usize) -> Result<Measured>;

/// Four of one kind at once, on one cold cache.
const FOUR: [(&str, Numbered); 3] = [
    ("4 x `rewarm fetch` at once, cold", |setup, n| {
        setup.rewarm("at-once", &format!("at-once-{n}.whl"), true)
    }),
    ("4 x `uv pip install` at once, cold", |setup, n| setup.uv("uv-four", &format!("uv-four-{n}"))),
    ("4 x `pip install` at once, cold", |setup, n| setup.pip("pip-four", &format!("pip-four-{n}"))),
];

fn chart(outcomes: &[(&'static str, Outcome)], size: u64) -> Chart {
    let bars = |of: &dyn Fn(&Outcome) -> f64| {
        outcomes.iter().map(|(name, outcome)| (name.replace('`', ""), of(outcome))).collect()
    };
    Chart::new("fetch", &format!("A body of {} MB from loopback", size / 1_000_000))
        .panel("CPU, s", bars(&|(cost, _)| cost.cpu.as_secs_f64()))
        .panel("peak memory, MiB", bars(&|(cost, _)| cost.peak as f64 / f64::from(1 << 20)))
        .panel("bytes written, x body", bars(&|(cost, _)| cost.written as f64 / size as f64))
        .panel("bytes from the origin, x body", bars(&|(_, sent)| *sent as f64 / size as f64))
}

/// What cannot be compressed (xorshift64).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// The file, and a simple index (PEP 503) that lists it.
fn answer(seen: &Seen, wheel: &Arc<[u8]>) -> Reply {
    if seen.path == PATH {
        return cacheable(Reply::shared(Arc::clone(wheel)));
    }
    if seen.path.trim_end_matches('/') == "/simple/ballast" {
        let page = format!("<!doctype html><a href=\"{PATH}\">ballast-1.0-py3-none-any.whl</a>");
        return Reply::ok(page).header("content-type", "text/html");
    }
    Reply::status(404, "")
}

fn cacheable(reply: Reply) -> Reply {
    reply
        .header("etag", "\"ballast-1\"")
        .header("cache-control", "max-age=600")
        .header("content-type", "application/octet-stream")
}

struct Setup<'a> {
    bench: &'a Bench,
    server: &'a Server,
    home: tempfile::TempDir,
    digest: String,
}

impl<'a> Setup<'a> {
    fn new(bench: &'a Bench, server: &'a Server, digest: String) -> Result<Self> {
        let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        Ok(Self { bench, server, home, digest })
    }

    fn contestants(&self) -> Result<[(&'static str, Measured); 7]> {
        Ok([
            ("`curl -o` and `sha256sum`", self.curl()?),
            ("`rewarm fetch --hash`, cold", self.rewarm("rewarm", "cold.whl", true)?),
            ("`rewarm fetch`, warm", self.rewarm("rewarm", "warm.whl", false)?),
            ("`pip install`, cold", self.pip("pip", "pip-1")?),
            ("`pip install`, warm", self.pip("pip", "pip-2")?),
            ("`uv pip install`, cold", self.uv("uv", "uv-1")?),
            ("`uv pip install`, warm", self.uv("uv", "uv-2")?),
        ])
    }

    fn one(&self, name: &str, command: Measured) -> Result<Outcome> {
        let before = self.server.sent();
        self.judge(name, command.run()?, before)
    }

    fn four(&self, name: &str, command: Numbered) -> Result<Outcome> {
        let before = self.server.sent();
        let commands: Vec<_> = (0..4).map(|n| command(self, n)).collect::<Result<_>>()?;
        let started: Vec<_> = commands.into_iter().map(Measured::spawn).collect::<Result<_>>()?;
        let costs: Vec<_> = started.into_iter().map(|one| one.finish()).collect::<Result<_>>()?;
        self.judge(name, together(&costs), before)
    }

    fn judge(&self, name: &str, cost: Cost, before: u64) -> Result<Outcome> {
        if cost.success {
            Ok((cost, self.server.sent() - before))
        } else {
            Err(format!("{name} failed"))
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn url(&self) -> String {
        self.server.url(PATH)
    }

    fn curl(&self) -> Result<Measured> {
        let script = r#"curl -sSf -o "$1" "$2" && sha256sum "$1""#;
        let file: OsString = self.path("curl.whl").into();
        Measured::new("sh", ["-c".into(), script.into(), "sh".into(), file, self.url().into()])
    }

    fn rewarm(&self, cache: &str, file: &str, hash: bool) -> Result<Measured> {
        let mut args: Vec<OsString> =
            vec!["fetch".into(), "-o".into(), self.path(file).into(), self.url().into()];
        if hash {
            args.extend(["--hash".into(), format!("sha256:{}", self.digest).into()]);
        }
        let mut measured = Measured::new(&self.bench.rewarm, args)?;
        measured.command().env("REWARM_CACHE_DIR", self.path(cache));
        Ok(measured)
    }

    fn pip(&self, cache: &str, target: &str) -> Result<Measured> {
        let index = self.url().replace(PATH, "/simple/");
        let mut args: Vec<OsString> = vec!["-m".into(), "pip".into(), "install".into()];
        args.extend(
            ["-q", "--no-deps", "--no-compile", "--trusted-host", "127.0.0.1"].map(Into::into),
        );
        args.extend(["--index-url".into(), index.into(), "--target".into()]);
        args.extend([self.path(target).into(), "ballast".into()]);
        let mut measured = Measured::new(self.bench.tools.join("bin/python"), args)?;
        measured.command().env("PIP_CACHE_DIR", self.path(&format!("{cache}-cache")));
        measured.command().env("PIP_CONFIG_FILE", "/dev/null").env_remove("PIP_FIND_LINKS");
        Ok(measured)
    }

    fn uv(&self, cache: &str, target: &str) -> Result<Measured> {
        let index = self.url().replace(PATH, "/simple/");
        let mut args: Vec<OsString> = vec!["pip".into(), "install".into(), "-q".into()];
        args.extend(["--no-deps".into(), "--default-index".into(), index.into()]);
        args.extend(["--target".into(), self.path(target).into(), "ballast".into()]);
        let mut measured = Measured::new(self.bench.tools.join("bin/uv"), args)?;
        measured
            .command()
            .env("UV_CACHE_DIR", self.path(&format!("{cache}-cache")))
            .env("UV_LINK_MODE", "hardlink");
        Ok(measured)
    }
}
