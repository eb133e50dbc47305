//! Downloads: one large body, a very large one, many small wheels, and four clients behind a proxy.
//!
//! The origin is a loopback server in this process, which counts what it was asked and what it
//! sent. `REWARM_BENCH_MB` makes the bodies smaller for a quick look.

mod body;
mod clients;
mod daemon;
mod wheels;

use std::time::Duration;

use super::Bench;
use super::table::{Table, mebibytes, ratio, time};
use crate::measure::Cost;
use crate::steps::Result;

pub(crate) fn run(bench: &Bench) -> Result<Vec<Table>> {
    let size = megabytes() * 1_000_000;
    let large = Large { bench, size: 10 * size as u64 };
    Ok(vec![body::run(bench, size)?, large.run()?, wheels::run(bench)?, clients::run(bench, size)?])
}

/// Of the large body; the very large one is ten times as large.
fn megabytes() -> usize {
    let chosen = std::env::var("REWARM_BENCH_MB").ok().and_then(|text| text.parse().ok());
    chosen.unwrap_or(500)
}

/// Memory must not grow with the body.
struct Large<'a> {
    bench: &'a Bench,
    size: u64,
}

impl Large<'_> {
    fn run(&self) -> Result<Table> {
        println!("a body of {} GB", self.size as f64 / 1e9);
        let title = format!("Fetch: a body of {} GB from loopback", self.size as f64 / 1e9);
        let mut table = Table::new(&title, &COLUMNS);
        let mut base = Duration::ZERO;
        for (name, (cost, sent)) in body::plain(self.bench, self.size)? {
            if base.is_zero() {
                base = cost.cpu;
            }
            table.row(row(name, &cost, base, self.size, sent));
        }
        table.note("pip and uv are left out: neither can download a file without installing it");
        Ok(table)
    }
}

const COLUMNS: [&str; 7] =
    ["command", "wall", "CPU", "x (CPU)", "peak memory", "bytes written", "from origin"];

fn row(name: &str, cost: &Cost, base: Duration, size: u64, sent: u64) -> Vec<String> {
    let times = |bytes: u64| format!("{:.2} x", bytes as f64 / size as f64);
    vec![
        name.to_owned(),
        time(cost.wall),
        time(cost.cpu),
        ratio(cost.cpu, base),
        mebibytes(cost.peak),
        times(cost.written),
        times(sent),
    ]
}

/// What several processes cost that ran at the same time.
fn together(costs: &[Cost]) -> Cost {
    Cost {
        wall: costs.iter().map(|cost| cost.wall).max().unwrap_or_default(),
        cpu: costs.iter().map(|cost| cost.cpu).sum(),
        peak: costs.iter().map(|cost| cost.peak).max().unwrap_or_default(),
        written: costs.iter().map(|cost| cost.written).sum(),
        success: costs.iter().all(|cost| cost.success),
    }
}
