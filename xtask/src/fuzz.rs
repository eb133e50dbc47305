//! `cargo xtask fuzz [TARGET] [--seconds N]`: builds the targets in `fuzz/` and runs them one after the
//! other.
//!
//! libFuzzer comes with the crate `libfuzzer-sys`, and the coverage it needs from flags that the
//! stable compiler takes. What was learnt stays in `fuzz/corpus`; an input that fails is left in
//! `fuzz/artifacts`, and `cargo xtask fuzz TARGET FILE` runs it again.

use std::path::Path;
use std::process::Command;

use crate::steps::{Result, cargo, root, run};

/// The targets, in the order in which they run.
const TARGETS: [&str; 10] = [
    "record",
    "cache_control",
    "dates",
    "ranges",
    "url",
    "guard",
    "pages",
    "manifest",
    "lock",
    "explicit",
];

/// The tests that write what fuzzing starts from: package, and file of tests.
const SEEDS: [(&str, &str); 2] = [("rewarm", "parsers"), ("rewarm-conda", "workspace")];

/// Seconds for each target.
const SECONDS: u64 = 60;

/// Edge coverage with counters, and comparisons, as libFuzzer reads them.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Runs the named target or all of them; with a file, that input alone.
pub(crate) fn main(words: &[&str]) -> Result<()> {
    let (names, seconds) = match words {
        [names @ .., "--seconds", seconds] => {
            let parsed = seconds.parse::<u64>();
            (names, parsed.map_err(|_| format!("`{seconds}` is no number of seconds"))?)
        }
        names => (names, SECONDS),
    };
    let unknown = |name: &str| format!("no target `{name}`; there are {}", TARGETS.join(", "));
    let (targets, input) = match *names {
        [] => (TARGETS.to_vec(), None),
        [name] if TARGETS.contains(&name) => (vec![name], None),
        [name, input] if TARGETS.contains(&name) => (vec![name], Some(input)),
        [name, ..] => return Err(unknown(name)),
    };
    let host = build()?;
    let built = root().join("target/fuzz").join(host).join("release");
    let seeds = root().join("target/fuzz/seeds");
    for (package, tests) in SEEDS {
        let mut command = cargo(&["test", "--quiet", "--locked", "-p", package, "--test", tests]);
        run(command.arg("fuzzing").env("REWARM_FUZZ_SEEDS", &seeds))?;
    }
    for target in targets {
        println!("== fuzz {target}");
        let mut command = Command::new(built.join(target));
        match input {
            Some(input) => command.arg(input),
            None => fuzz(&mut command, target, &seeds, seconds)?,
        };
        run(&mut command)?;
    }
    Ok(())
}

fn fuzz<'a>(
    command: &'a mut Command,
    target: &str,
    seeds: &Path,
    seconds: u64,
) -> Result<&'a mut Command> {
    let [corpus, artifacts] =
        ["corpus", "artifacts"].map(|name| root().join("fuzz").join(name).join(target));
    for dir in [&corpus, &artifacts] {
        std::fs::create_dir_all(dir).map_err(|e| format!("`{}`: {e}", dir.display()))?;
    }
    command.arg(corpus).arg(seeds.join(target));
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    Ok(command.args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]))
}

/// Builds all targets, and says for which machine.
fn build() -> Result<String> {
    let version = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&version.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("`rustc -vV` names no host")?.to_owned();
    // What is fuzzed is what is shipped: the same versions, and the fuzzer besides.
    let lock = root().join("fuzz/Cargo.lock");
    std::fs::copy(root().join("Cargo.lock"), &lock)
        .map_err(|e| format!("`{}`: {e}", lock.display()))?;
    // With a target named, build scripts and macros are built without the flags.
    let mut command = cargo(&["build", "--release", "--bins", "--target", &host]);
    command.current_dir(root().join("fuzz"));
    command.env("CARGO_TARGET_DIR", root().join("target/fuzz"));
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    run(&mut command)?;
    Ok(host)
}
