//! Random histories of edits, each step compared with a cold mypy.
//!
//! `REWARM_TORTURE_ROUNDS` sets the number of steps; the seed is fixed, so a failure repeats. A step
//! may edit a body, an interface or a comment, add, delete, rename, move, revert or touch a file,
//! switch branches, toggle an option, reorder the arguments, or change an installed package.

use std::collections::BTreeMap;

use crate::support::{Bench, rounds};

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

const PATHS: [&str; 8] = [
    "pkg/a.py",
    "pkg/b.py",
    "pkg/c.py",
    "pkg/sub/d.py",
    "pkg/sub/e.py",
    "pkg/f.pyi",
    "pkg/a.pyi",
    "main.py",
];

const IMPORTS: [&str; 10] = [
    "import pkg.a as first",
    "import pkg.b as first",
    "from pkg import c as first",
    "from pkg.sub import d as first",
    "from pkg.sub.e import *",
    "import third as first",
    "import nowhere",
    "import yaml",
    "import requests, pkg.b as first  # type: ignore",
    "import nowhere.sub  # type: ignore[import-not-found]",
];

const BODIES: [&str; 14] = [
    "value: int = ''",
    "value: str = ''  # type: ignore",
    "def use(x: int,\n        # between\n        y: str = '') -> int:\n    return (first.value +\n            x)",
    "def use(x):\n    return first.use(1, z=2)",
    "reveal_type(first)",
    "text: int = f'''{1}\n# mypy: strict\n'''",
    "class C:\n    @property\n    def m(self) -> int:\n        return ''",
    "class D(first.C):\n    def m(self) -> bytes: ...",
    "def local():\n    class Inner:\n        x: int = ''\n    return Inner()\nmade = local()",
    "def twice() -> None: ...\ndef twice() -> int: ...",
    "import dataclasses\n@dataclasses.dataclass\nclass Data:\n    x: int = ''",
    "unused = 1  # type: ignore[misc]",
    "Alias = list[int]\nitems: Alias = ['']",
    "# mypy: disable-error-code=attr-defined",
];

const COMMENTS: [&str; 4] = ["# a comment", "", "    # indented", "#type"];

/// A project and all that a history does to it.
struct History {
    bench: Bench,
    random: Random,
    /// The files as they are.
    files: BTreeMap<String, String>,
    /// Versions of before, and whole trees of before.
    versions: Vec<(String, String)>,
    branches: Vec<BTreeMap<String, String>>,
}

impl History {
    fn new() -> Self {
        let bench = Bench::sample();
        for path in ["pkg/a.py", "pkg/b.py", "pkg/c.py", "pkg/d.py"] {
            bench.remove(path);
        }
        bench.write("pkg/sub/__init__.py", "");
        let random = Random(0x9e37_79b9_7f4a_7c15);
        let (files, versions, branches) = <_>::default();
        let mut history = Self { bench, random, files, versions, branches };
        history.bench.arguments = vec!["pkg".into(), "main.py".into()];
        for path in PATHS {
            let text = history.module();
            history.put(path, text);
        }
        history
    }

    /// A module that imports others, right or wrong in several ways.
    fn module(&mut self) -> String {
        let mut lines = Vec::new();
        for _ in 0..=self.random.below(3) {
            lines.push(self.random.one_of(&IMPORTS));
        }
        for _ in 0..=self.random.below(3) {
            lines.push(self.random.one_of(&BODIES));
        }
        format!("{}\n", lines.join("\n"))
    }

    fn put(&mut self, path: &str, text: String) {
        self.bench.write(path, &text);
        self.versions.push((path.to_owned(), text.clone()));
        self.files.insert(path.to_owned(), text);
    }

    fn delete(&mut self, path: &str) {
        if path != "main.py" && self.files.remove(path).is_some() {
            self.bench.remove(path);
        }
    }

    /// One step: what was done, for the message of a failure.
    fn step(&mut self) -> String {
        let path = self.random.one_of(&PATHS);
        let text = self.files.get(path).cloned().unwrap_or_default();
        match self.random.below(15) {
            0..4 => {
                let text = self.with_comments(&text);
                self.put(path, text.clone());
                format!("comment {path}:\n{text}")
            }
            4..6 => {
                let text = format!("{text}{}\n", self.random.one_of(&BODIES));
                self.put(path, text.clone());
                format!("edit {path}:\n{text}")
            }
            6 => {
                let text = self.module();
                self.put(path, text.clone());
                format!("rewrite {path}:\n{text}")
            }
            7 => {
                self.delete(path);
                format!("delete {path}")
            }
            8 => {
                let target = self.random.one_of(&PATHS);
                self.delete(path);
                self.put(target, text);
                format!("move {path} to {target}")
            }
            9 => {
                let index = self.random.below(self.versions.len());
                let (path, text) = self.versions[index].clone();
                self.put(&path, text);
                format!("revert {path}")
            }
            10 => {
                self.bench.write(path, &text);
                self.files.insert(path.to_owned(), text);
                format!("touch {path}")
            }
            11 => self.switch(),
            12 => self.option(),
            13 => {
                self.bench.arguments.swap(0, 1);
                "reorder the arguments".to_owned()
            }
            _ => {
                let texts = ["value: int\n", "value: str\ndef use() -> int: ...\nclass C: ...\n"];
                let text = self.random.one_of(&texts);
                crate::support::write(&self.bench.site().join("third/__init__.py"), text);
                format!("third party: {text:?}")
            }
        }
    }

    /// Comments and blank lines put in and taken out between lines.
    fn with_comments(&mut self, text: &str) -> String {
        let mut lines = Vec::new();
        for line in text.lines() {
            if self.random.below(4) == 0 {
                lines.push(self.random.one_of(&COMMENTS));
            }
            if !COMMENTS.contains(&line) || self.random.below(2) == 0 {
                lines.push(line);
            }
        }
        format!("{}\n", lines.join("\n"))
    }

    /// Leaves a branch for one of before, or begins one.
    fn switch(&mut self) -> String {
        let known = self.branches.len();
        let index = self.random.below(known + 1);
        let files = self.files.clone();
        if index == known || known > 3 {
            self.branches.push(files);
            return "begin a branch".to_owned();
        }
        let other = std::mem::replace(&mut self.branches[index], files);
        for path in PATHS {
            match other.get(path) {
                Some(text) => self.put(path, text.clone()),
                None => self.delete(path),
            }
        }
        format!("switch to branch {index}")
    }

    fn option(&mut self) -> String {
        self.bench.arguments.truncate(2);
        let options = [
            "--warn-unused-ignores",
            "--pretty",
            "--show-column-numbers",
            "--show-error-context",
            "--no-strict-optional",
            "--follow-imports=silent",
        ];
        if self.random.below(3) > 0 {
            self.bench.arguments.push(self.random.one_of(&options).into());
        }
        format!("options {:?}", &self.bench.arguments[2..])
    }
}

#[test]
fn check_equals_a_cold_run_after_every_step_of_a_random_history() {
    let mut history = History::new();
    let mut log = Vec::new();
    for round in 0..rounds(12) {
        log.push(format!("{round}: {}", history.step()));
        let report = history.bench.check();
        let (stdout, stderr, code) = history.bench.plain();
        let told = format!("{:?} after {}", report.reuse, log.join("\n"));
        assert_eq!(String::from_utf8_lossy(&report.stdout), stdout, "{told}");
        assert_eq!(String::from_utf8_lossy(&report.stderr), stderr, "{told}");
        assert_eq!(report.exit_code, code, "{told}");
    }
}
