//! A large download, cold and warm, and four clients at once: rewarm, curl, pip and uv.
//!
//! The origin is a loopback server in this process. pip and uv only install packages, so the body
//! is a wheel whose size lies in one stored member, and they are asked to install it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rewarm_testkit::packages::Package;
use rewarm_testkit::server::{Reply, Seen, Server};

use super::Bench;
use super::table::{Table, mebibytes, ratio, time};
use crate::measure::{Cost, Measured};
use crate::steps::Result;

const SIZE: usize = 500_000_000;
const PATH: &str = "/files/ballast-1.0-py3-none-any.whl";

pub(crate) fn run(bench: &Bench) -> Result<Table> {
    println!("making a wheel of {} MB", SIZE / 1_000_000);
    let artifact = Package::new("ballast", "1.0").file("ballast/data.bin", noise()).wheel();
    let digest = artifact.sha256();
    let wheel: Arc<[u8]> = artifact.bytes.into();
    let size = wheel.len();
    let server = Server::start(move |seen| answer(seen, &wheel));
    let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let setup = Setup { bench, home: home.path(), url: server.url(PATH), digest };
    let mut table = Table::new(
        &format!("Fetch: a body of {} MB from loopback", size / 1_000_000),
        &["command", "wall", "CPU", "x (CPU)", "peak memory", "bytes written", "from origin"],
    );
    let mut base = Duration::ZERO;
    for (name, command) in setup.contestants() {
        let before = server.count(PATH);
        let cost = command.run()?;
        if !cost.success {
            return Err(format!("{name} failed"));
        }
        if base.is_zero() {
            base = cost.cpu;
        }
        let requests = server.count(PATH) - before;
        table.row(row(name, &cost, base, size, requests));
    }
    let before = server.count(PATH);
    let started: Vec<_> = (0..4).map(|n| setup.at_once(n).spawn()).collect::<Result<_>>()?;
    let costs: Vec<Cost> = started.into_iter().map(|one| one.finish()).collect::<Result<_>>()?;
    let all = Cost {
        wall: costs.iter().map(|cost| cost.wall).max().unwrap_or_default(),
        cpu: costs.iter().map(|cost| cost.cpu).sum(),
        peak: costs.iter().map(|cost| cost.peak).max().unwrap_or_default(),
        written: costs.iter().map(|cost| cost.written).sum(),
        success: costs.iter().all(|cost| cost.success),
    };
    if !all.success {
        return Err("one of four clients failed".to_owned());
    }
    let requests = server.count(PATH) - before;
    table.row(row("4 x `rewarm fetch` at once, cold", &all, base, size, requests));
    table.note("bytes written as multiples of the body, requests as the origin counted them; memory is the largest of any one process");
    Ok(table)
}

fn row(name: &str, cost: &Cost, base: Duration, size: usize, requests: usize) -> Vec<String> {
    vec![
        name.to_owned(),
        time(cost.wall),
        time(cost.cpu),
        ratio(cost.cpu, base),
        mebibytes(cost.peak),
        format!("{:.2} x", cost.written as f64 / size as f64),
        requests.to_string(),
    ]
}

/// What cannot be compressed (xorshift64).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
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
        return Reply::shared(Arc::clone(wheel))
            .header("etag", "\"ballast-1\"")
            .header("cache-control", "max-age=600")
            .header("content-type", "application/octet-stream");
    }
    if seen.path.trim_end_matches('/') == "/simple/ballast" {
        let page = format!("<!doctype html><a href=\"{PATH}\">ballast-1.0-py3-none-any.whl</a>");
        return Reply::ok(page).header("content-type", "text/html");
    }
    Reply::status(404, "")
}

struct Setup<'a> {
    bench: &'a Bench,
    home: &'a Path,
    url: String,
    digest: String,
}

impl Setup<'_> {
    fn contestants(&self) -> Vec<(&'static str, Measured)> {
        let list: [(&'static str, Result<Measured>); 7] = [
            ("`curl -o` and `sha256sum`", self.curl()),
            ("`rewarm fetch --hash`, cold", self.rewarm("rewarm", "cold.whl", true)),
            ("`rewarm fetch`, warm", self.rewarm("rewarm", "warm.whl", false)),
            ("`pip install`, cold", self.pip("pip-1")),
            ("`pip install`, warm", self.pip("pip-2")),
            ("`uv pip install`, cold", self.uv("uv-1")),
            ("`uv pip install`, warm", self.uv("uv-2")),
        ];
        list.into_iter().filter_map(|(name, made)| Some((name, made.ok()?))).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn curl(&self) -> Result<Measured> {
        let script = r#"curl -sSf -o "$1" "$2" && sha256sum "$1""#;
        let file: OsString = self.path("curl.whl").into();
        Measured::new(
            "sh",
            ["-c".into(), script.into(), "sh".into(), file, self.url.clone().into()],
        )
    }

    fn rewarm(&self, cache: &str, file: &str, hash: bool) -> Result<Measured> {
        let mut args: Vec<OsString> =
            vec!["fetch".into(), "-o".into(), self.path(file).into(), self.url.clone().into()];
        if hash {
            args.extend(["--hash".into(), format!("sha256:{}", self.digest).into()]);
        }
        let mut measured = Measured::new(&self.bench.rewarm, args)?;
        measured.command().env("REWARM_CACHE_DIR", self.path(cache));
        Ok(measured)
    }

    fn at_once(&self, number: usize) -> Measured {
        let made = self.rewarm("at-once", &format!("at-once-{number}.whl"), true);
        made.expect("the same command was made before")
    }

    fn pip(&self, target: &str) -> Result<Measured> {
        let index = self.url.replace(PATH, "/simple/");
        let mut args: Vec<OsString> = vec!["-m".into(), "pip".into(), "install".into()];
        args.extend(
            ["-q", "--no-deps", "--no-compile", "--trusted-host", "127.0.0.1"].map(Into::into),
        );
        args.extend(["--index-url".into(), index.into(), "--target".into()]);
        args.extend([self.path(target).into(), "ballast".into()]);
        let mut measured = Measured::new(self.bench.tools.join("bin/python"), args)?;
        measured.command().env("PIP_CACHE_DIR", self.path("pip-cache"));
        measured.command().env("PIP_CONFIG_FILE", "/dev/null").env_remove("PIP_FIND_LINKS");
        Ok(measured)
    }

    fn uv(&self, target: &str) -> Result<Measured> {
        let index = self.url.replace(PATH, "/simple/");
        let mut args: Vec<OsString> = vec!["pip".into(), "install".into(), "-q".into()];
        args.extend(["--no-deps".into(), "--default-index".into(), index.into()]);
        args.extend(["--target".into(), self.path(target).into(), "ballast".into()]);
        let mut measured = Measured::new(self.bench.tools.join("bin/uv"), args)?;
        measured
            .command()
            .env("UV_CACHE_DIR", self.path("uv-cache"))
            .env("UV_LINK_MODE", "hardlink");
        Ok(measured)
    }
}
