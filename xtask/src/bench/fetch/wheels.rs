//! Many small wheels installed into an environment, cold and warm: pip, uv and rewarm, and pip
//! without a cache of its own behind `rewarm with`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rewarm_testkit::packages::{Artifact, Package, pylock};
use rewarm_testkit::server::{Reply, Seen, Server};

use crate::bench::Bench;
use crate::bench::table::{Table, mebibytes, ratio, time};
use crate::measure::{Cost, Measured};
use crate::steps::Result;

const COUNT: usize = 200;
const EACH: usize = 60_000;

/// Checkouts of one project.
const PROJECTS: [&str; 2] = ["first", "second"];

pub(super) fn run(bench: &Bench) -> Result<Table> {
    println!("{COUNT} small wheels");
    let artifacts: Vec<Artifact> = (0..COUNT).map(package).collect();
    let files: HashMap<String, Arc<[u8]>> = artifacts
        .iter()
        .map(|a| (format!("/files/{}", a.filename), a.bytes.clone().into()))
        .collect();
    let total: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
    let server = Server::start(move |seen| answer(seen, &files));
    let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let setup = Setup { bench, home: home.path(), index: server.url("/simple/") };
    setup.write_files(&artifacts, &server)?;
    let mut table = Table::new(
        &format!("{COUNT} wheels of {} kB installed", EACH / 1000),
        &["command", "wall", "x (wall)", "CPU", "peak memory", "origin requests", "from origin"],
    );
    let mut base = Duration::ZERO;
    for (name, command) in setup.contestants()? {
        let before = (server.sent(), server.seen().len());
        let cost = command.run()?;
        if !cost.success {
            return Err(format!("{name} failed"));
        }
        if base.is_zero() {
            base = cost.wall;
        }
        let (sent, requests) = (server.sent() - before.0, server.seen().len() - before.1);
        table.row(row(name, &cost, base, requests, sent as f64 / total as f64));
    }
    table.note("a new environment each time, with one interpreter; index pages say `max-age=600`, files are immutable");
    Ok(table)
}

fn row(name: &str, cost: &Cost, base: Duration, requests: usize, sent: f64) -> [String; 7] {
    [
        name.to_owned(),
        time(cost.wall),
        ratio(cost.wall, base),
        time(cost.cpu),
        mebibytes(cost.peak),
        requests.to_string(),
        format!("{sent:.2} x"),
    ]
}

fn package(number: usize) -> Artifact {
    let name = format!("small{number:03}");
    let mut state = number as u32 + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let data: Vec<u8> = (0..EACH).map(|_| next()).collect();
    Package::new(&name, "1.0").file(&format!("{name}/data.bin"), data).wheel()
}

fn answer(seen: &Seen, files: &HashMap<String, Arc<[u8]>>) -> Reply {
    if let Some(bytes) = files.get(&seen.path) {
        return Reply::shared(Arc::clone(bytes))
            .header("etag", "\"1\"")
            .header("cache-control", "max-age=365000000, immutable, public")
            .header("content-type", "application/octet-stream");
    }
    let name = seen.path.strip_prefix("/simple/").map(|rest| rest.trim_end_matches('/'));
    let file = name.map(|name| format!("{name}-1.0-py3-none-any.whl"));
    match file.filter(|file| files.contains_key(&format!("/files/{file}"))) {
        Some(file) => Reply::ok(format!("<!doctype html><a href=\"/files/{file}\">{file}</a>"))
            .header("content-type", "text/html")
            .header("etag", "\"page\"")
            .header("cache-control", "max-age=600"),
        None => Reply::status(404, ""),
    }
}

struct Setup<'a> {
    bench: &'a Bench,
    home: &'a Path,
    index: String,
}

impl Setup<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn write_files(&self, artifacts: &[Artifact], server: &Server) -> Result<()> {
        let write = |name: &str, text: &str| {
            std::fs::write(self.path(name), text).map_err(|e| format!("cannot write {name}: {e}"))
        };
        let names: String = artifacts.iter().map(|a| format!("{}==1.0\n", a.name)).collect();
        write("requirements.txt", &names)?;
        let lock = pylock(artifacts, &server.url("/files/"));
        for project in PROJECTS {
            std::fs::create_dir(self.path(project)).map_err(|e| e.to_string())?;
            let pyproject = "[project]\nname = \"p\"\nversion = \"1\"\n";
            write(&format!("{project}/pyproject.toml"), pyproject)?;
            write(&format!("{project}/pylock.toml"), &lock)?;
        }
        Ok(())
    }

    fn contestants(&self) -> Result<Vec<(&'static str, Measured)>> {
        Ok(vec![
            ("`pip install`, cold", self.pip(None, "pip-1")?),
            ("`pip install`, warm", self.pip(None, "pip-2")?),
            ("`rewarm with -- pip install`, cold", self.pip(Some("with"), "with-1")?),
            ("`rewarm with -- pip install`, warm", self.pip(Some("with"), "with-2")?),
            ("`uv pip install`, cold", self.uv("uv-1")?),
            ("`uv pip install`, warm", self.uv("uv-2")?),
            ("`rewarm install`, cold", self.rewarm(PROJECTS[0])?),
            ("`rewarm install`, warm", self.rewarm(PROJECTS[1])?),
        ])
    }

    /// Directly with pip's own cache, or without one behind `rewarm with`.
    fn pip(&self, with: Option<&str>, target: &str) -> Result<Measured> {
        let python: OsString = self.bench.tools.join("bin/python").into();
        let words = ["-m", "pip", "install", "-q", "--no-deps", "--no-compile"];
        let mut args: Vec<OsString> = words.map(Into::into).into();
        args.extend(["--trusted-host".into(), "127.0.0.1".into()]);
        args.extend(["--index-url".into(), self.index.clone().into()]);
        args.extend(["--target".into(), self.path(target).into()]);
        args.extend(["-r".into(), self.path("requirements.txt").into()]);
        let mut measured = match with {
            None => {
                let mut measured = Measured::new(python, args)?;
                measured.command().env("PIP_CACHE_DIR", self.path("pip-cache"));
                measured
            }
            Some(cache) => {
                let mut all: Vec<OsString> = vec!["with".into(), "--".into(), python];
                all.extend(args);
                let mut measured = Measured::new(&self.bench.rewarm, all)?;
                measured.command().env("REWARM_CACHE_DIR", self.path(cache));
                measured.command().env("PIP_NO_CACHE_DIR", "1");
                measured
            }
        };
        measured.command().env("PIP_CONFIG_FILE", "/dev/null").env_remove("PIP_FIND_LINKS");
        Ok(measured)
    }

    fn uv(&self, target: &str) -> Result<Measured> {
        let mut args: Vec<OsString> = ["pip", "install", "-q", "--no-deps"].map(Into::into).into();
        args.extend(["--default-index".into(), self.index.clone().into()]);
        args.extend(["--python".into(), self.bench.tools.join("bin/python").into()]);
        args.extend(["--target".into(), self.path(target).into()]);
        args.extend(["-r".into(), self.path("requirements.txt").into()]);
        let mut measured = Measured::new(self.bench.tools.join("bin/uv"), args)?;
        measured.command().env("UV_CACHE_DIR", self.path("uv-cache"));
        measured.command().env("UV_LINK_MODE", "hardlink");
        Ok(measured)
    }

    /// Into a `.venv` that it makes.
    fn rewarm(&self, project: &str) -> Result<Measured> {
        let mut args: Vec<OsString> = ["install", "-q", "--python"].map(Into::into).into();
        args.push(self.bench.tools.join("bin/python").into());
        let mut measured = Measured::new(&self.bench.rewarm, args)?;
        measured.command().current_dir(self.path(project));
        measured.command().env("REWARM_CACHE_DIR", self.path("rewarm-cache"));
        Ok(measured)
    }
}
