//! A warm install of an environment: everything is in the cache, `.venv` is not there.

use super::table::{Table, mebibytes, ratio, time};
use super::{Bench, project};
use crate::measure::{Cost, Measured};
use crate::steps::Result;

const ROUNDS: usize = 7;

pub(crate) fn run(bench: &Bench) -> Result<Vec<Table>> {
    let project = project::quickstart()?;
    let venv = project.dir().join(".venv");
    let uv = bench.tools.join("bin/uv");
    let uv_cache = project.cache().with_file_name("uv-cache");
    let rewarm_once = || {
        let mut measured = Measured::new(&bench.rewarm, ["install", "-q"])?;
        measured.command().current_dir(project.dir()).env("REWARM_CACHE_DIR", project.cache());
        measured.run()
    };
    let uv_once = |args: &[&str]| {
        let mut measured = Measured::new(&uv, args)?;
        measured.command().current_dir(project.dir()).env("UV_CACHE_DIR", &uv_cache);
        measured.command().env("VIRTUAL_ENV", &venv);
        measured.run()
    };
    let clear = || match std::fs::remove_dir_all(&venv) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    };
    let mut rows: Vec<(&str, Vec<Cost>)> =
        vec![("`uv venv` and `uv pip sync`", Vec::new()), ("`rewarm install`", Vec::new())];
    for round in 0..=ROUNDS {
        clear()?;
        let created = uv_once(&["venv", "-q"])?;
        let synced = uv_once(&["pip", "sync", "-q", "--preview", "pylock.toml"])?;
        clear()?;
        let ours = rewarm_once()?;
        // The first round fills the caches.
        if round > 0 {
            let both = Cost {
                wall: created.wall + synced.wall,
                cpu: created.cpu + synced.cpu,
                peak: created.peak.max(synced.peak),
                ..synced
            };
            rows[0].1.push(both);
            rows[1].1.push(ours);
        }
    }
    let mut table = Table::new(
        "Warm install of the quickstart's environment",
        &["command", "wall (best)", "x", "CPU (best)", "peak memory"],
    );
    let best = |costs: &[Cost], of: fn(&Cost) -> std::time::Duration| {
        costs.iter().map(of).min().unwrap_or_default()
    };
    let base = best(&rows[0].1, |cost| cost.wall);
    for (name, costs) in &rows {
        if costs.iter().any(|cost| !cost.success) {
            return Err(format!("{name} failed"));
        }
        let wall = best(costs, |cost| cost.wall);
        let peak = costs.iter().map(|cost| cost.peak).max().unwrap_or_default();
        let cpu = time(best(costs, |cost| cost.cpu));
        table.row([(*name).to_owned(), time(wall), ratio(wall, base), cpu, mebibytes(peak)]);
    }
    table.note(format!("best of {ROUNDS} rounds in turns, hard links from each tool's cache"));
    Ok(vec![table])
}
