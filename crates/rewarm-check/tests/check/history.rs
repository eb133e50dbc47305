//! Random histories of edits, each step compared with a cold mypy.
//!
//! `REWARM_TORTURE_ROUNDS` sets the number of steps; the seed is fixed, so a failure repeats.

use crate::support::Bench;

/// A small generator (xorshift64*), so that histories are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(value).expect("31 bits") % limit
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

const MODULES: [&str; 6] = ["a", "b", "c", "sub/d", "sub/e", "f"];

/// A module that imports two others, right or wrong in several ways.
fn module(random: &mut Random) -> String {
    let imports = ["pkg.a", "pkg.b", "pkg.c", "pkg.sub.d", "pkg.sub.e", "third", "nowhere"];
    let (first, second) = (random.one_of(&imports), random.one_of(&imports));
    let kind = random.one_of(&["int", "str", "list[int]"]);
    let value = random.one_of(&["1", "''", "[1]", "None"]);
    let comment = random.one_of(&["", "# a comment\n", "\n\n"]);
    let ignore = random.one_of(&["", "", "  # type: ignore", "  # type: ignore[import-not-found]"]);
    let used = random.one_of(&["first.value", "second.value", "first.nothing", "1"]);
    format!(
        "{comment}import {first} as first\nimport {second} as second{ignore}\n\n\
         value: {kind} = {value}\n\ndef use() -> {kind}:\n    return {used}\n"
    )
}

/// One step: what was done, for the message of a failure.
fn step(bench: &mut Bench, random: &mut Random, saved: &mut Vec<(String, String)>) -> String {
    let name = random.one_of(&MODULES);
    let path = format!("pkg/{name}.py");
    let present = bench.project.join(&path).exists();
    match random.below(10) {
        0 if present => {
            bench.remove(&path);
            format!("delete {path}")
        }
        1 => {
            let stub = format!("{path}i");
            if bench.project.join(&stub).exists() {
                bench.remove(&stub);
                return format!("delete {stub}");
            }
            bench.write(&stub, &module(random));
            format!("write {stub}")
        }
        2 if !saved.is_empty() => {
            let (path, text) = saved[random.below(saved.len())].clone();
            bench.write(&path, &text);
            format!("revert {path}")
        }
        3 => {
            let options = ["--strict", "--warn-unused-ignores", "--pretty", "--check-untyped-defs"];
            let option = random.one_of(&options);
            bench.arguments.truncate(1);
            bench.arguments.push(option.into());
            format!("option {option}")
        }
        4 => {
            bench.arguments.truncate(1);
            "no option".into()
        }
        5 => {
            let text = random.one_of(&["value: int\n", "value: str\ndef f() -> int: ...\n"]);
            crate::support::write(&bench.site().join("third/__init__.py"), text);
            format!("third party: {text:?}")
        }
        _ => {
            let text = module(random);
            bench.write(&path, &text);
            saved.push((path.clone(), text.clone()));
            format!("write {path}:\n{text}")
        }
    }
}

#[test]
fn every_step_of_a_random_history_equals_a_cold_run() {
    #[expect(clippy::disallowed_methods, reason = "a longer run is asked for by variable")]
    let rounds = std::env::var("REWARM_TORTURE_ROUNDS").ok();
    let rounds = rounds.map_or(15, |text| text.parse().expect("a number of rounds"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut bench = Bench::sample();
    bench.write("pkg/sub/__init__.py", "");
    let mut saved = Vec::new();
    let mut log = Vec::new();
    for round in 0..rounds {
        log.push(format!("{round}: {}", step(&mut bench, &mut random, &mut saved)));
        let report = bench.check();
        let (stdout, stderr, code) = bench.plain();
        let text = String::from_utf8_lossy(&report.stdout);
        assert_eq!(text, stdout, "after {}", log.join("\n"));
        assert_eq!(String::from_utf8_lossy(&report.stderr), stderr, "after {}", log.join("\n"));
        assert_eq!(report.exit_code, code, "after {}", log.join("\n"));
    }
}
