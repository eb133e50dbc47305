//! Random histories of a project, each step compared with a cold mypy.
//!
//! A seed gives a project and a list of steps: edits of every sort, branches, options and
//! configuration, installed packages, variables, directories, a damaged store, a killed run. The
//! short form has fixed seeds. `REWARM_TORTURE_SECONDS` makes it go on with new seeds for that long,
//! from `REWARM_TORTURE_SEED` on; a history that fails is made shorter as long as it fails, and
//! printed with its seed, which gives the same history again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rewarm_check::Reuse;
use rewarm_store::Store;

use crate::sources::{PATHS, Random, edited, module};
use crate::support::{Bench, files, venv, write};
use crate::together::killed_after;

/// One thing that happens. What it writes is part of it, so that it can be done again without the
/// steps before.
#[derive(Debug, Clone)]
enum Step {
    /// Files of the project get these texts; without one they are removed.
    Files(&'static str, Vec<(String, Option<String>)>),
    /// The same for installed packages.
    Site(Vec<(String, Option<String>)>),
    /// The same text is written anew.
    Touch(String),
    /// A symbolic link.
    Link(String, String),
    /// Targets, below the project, and options.
    Arguments(Vec<String>, Vec<String>),
    /// A variable; `{project}` in it is the project's directory.
    Variable(&'static str, Option<String>),
    /// The working directory, below the project.
    Directory(&'static str),
    /// The project is copied, and the copy is worked on from now on.
    Checkout,
    /// Everything that is stored is gone.
    Forget,
    /// One byte in the store is another one: in which file, and where in that.
    Flip(usize, usize),
    /// A check is killed after so many milliseconds, or only its mypy.
    Kill(u64, bool),
}

impl Step {
    fn files(&self) -> &[(String, Option<String>)] {
        if let Self::Files(_, changes) = self { changes } else { &[] }
    }

    fn show(&self) {
        match self {
            Self::Files(what, changes) => {
                println!("--- {what}");
                for (path, text) in changes {
                    println!("{path}:\n{}", text.as_deref().unwrap_or("(removed)"));
                }
            }
            other => println!("--- {other:?}"),
        }
    }
}

/// A project and all that a history does to it.
struct World {
    bench: Bench,
    /// The files as they are.
    files: BTreeMap<String, String>,
    targets: Vec<String>,
    options: Vec<String>,
    directory: &'static str,
    checkouts: usize,
    store: PathBuf,
}

type Files = BTreeMap<String, String>;

impl World {
    fn new(files: &Files, targets: &[&str]) -> Self {
        let mut bench = Bench::new();
        let parts = [("third/__init__.py", "value: int = 1\ndef use(x: int) -> int: ...\n")];
        bench.install("third", "1.0", &parts);
        // Otherwise a plugin's bytecode would be mistaken for that of another text.
        bench.set("PYTHONDONTWRITEBYTECODE", "1");
        let store = bench.base().join("store");
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let (files_now, options, directory) = <_>::default();
        let mut world =
            Self { bench, files: files_now, targets, options, directory, checkouts: 0, store };
        world.write_all(files.iter().map(|(path, text)| (path, Some(text))));
        world.tell_arguments();
        world
    }

    fn write_all<'a>(&mut self, changes: impl Iterator<Item = (&'a String, Option<&'a String>)>) {
        for (path, text) in changes {
            put(&self.bench.project, path, text);
            match text {
                Some(text) => {
                    // A module in the place of a package's directory, or the other way round.
                    self.files.retain(|other, _| !is_below(other, path) && !is_below(path, other));
                    self.files.insert(path.clone(), text.clone());
                }
                None => self.files.retain(|other, _| other != path && !is_below(other, path)),
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Files(_, changes) => {
                self.write_all(changes.iter().map(|(path, text)| (path, text.as_ref())));
            }
            Step::Site(changes) => {
                let site = self.bench.site();
                changes.iter().for_each(|(path, text)| put(&site, path, text.as_ref()));
            }
            Step::Touch(path) => {
                let path = self.bench.project.join(path);
                if let Ok(text) = fs::read_to_string(&path) {
                    write(&path, &text);
                }
            }
            Step::Link(path, target) => {
                put(&self.bench.project, path, None);
                let path = self.bench.project.join(path);
                fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
                std::os::unix::fs::symlink(target, path).expect("link");
            }
            Step::Arguments(targets, options) => {
                (self.targets, self.options) = (targets.clone(), options.clone());
            }
            Step::Variable(name, value) => match value {
                Some(value) => {
                    let project = self.bench.project.to_str().expect("text").to_owned();
                    self.bench.set(name, value.replace("{project}", &project));
                }
                None => self.bench.unset(name),
            },
            Step::Directory(directory) => self.directory = directory,
            Step::Checkout => {
                self.checkouts += 1;
                self.bench.moved(&format!("checkout{}", self.checkouts));
            }
            Step::Forget => {
                fs::remove_dir_all(&self.store).expect("store");
                self.bench.store = Store::open(&self.store).expect("store");
            }
            Step::Flip(file, byte) => flip(&self.store, *file, *byte),
            Step::Kill(..) => {}
        }
        self.tell_arguments();
        if let Step::Kill(milliseconds, only_mypy) = step {
            killed_after(&self.bench, Duration::from_millis(*milliseconds), *only_mypy);
        }
    }

    /// Targets are named from the working directory, if that is there.
    fn tell_arguments(&mut self) {
        let cwd = self.bench.project.join(self.directory);
        let up = if cwd.is_dir() && !self.directory.is_empty() { "../" } else { "" };
        self.bench.cwd = if up.is_empty() { self.bench.project.clone() } else { cwd };
        let targets = self.targets.iter().map(|target| match target.strip_prefix("-p ") {
            Some(name) => format!("-p{name}"),
            None => format!("{up}{target}"),
        });
        self.bench.arguments = targets.chain(self.options.clone()).map(Into::into).collect();
    }

    /// How rewarm's answer differs from that of a cold mypy, if it does.
    fn difference(&self) -> Option<String> {
        let report = match self.bench.try_check() {
            Ok(report) => report,
            Err(error) => return Some(format!("no answer: {error}")),
        };
        let plain = self.bench.plain();
        let found = crate::support::answer(&report);
        if found != plain {
            let (reuse, differs) = (report.reuse, report.differs);
            return Some(format!(
                "{reuse:?} {differs:?}\nrewarm: {}\nmypy: {}",
                shown(&found),
                shown(&plain)
            ));
        }
        let again = self.bench.check();
        let stored = !matches!(report.reuse, Reuse::Ran { unstored: Some(_), .. });
        if crate::support::answer(&again) != plain || stored && again.reuse != Reuse::Replayed {
            return Some(format!("the second time: {again:?}\nmypy: {}", shown(&plain)));
        }
        None
    }
}

fn shown((stdout, stderr, code): &(String, String, i32)) -> String {
    format!("exit code {code}\n{stdout}{stderr}")
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Writes a file or removes it, whatever is in its place.
fn put(root: &Path, path: &str, text: Option<&String>) {
    let mut place = root.to_owned();
    for part in Path::new(path) {
        place.push(part);
        let is_last = place == root.join(path);
        let found = fs::symlink_metadata(&place);
        let is_directory = found.as_ref().is_ok_and(fs::Metadata::is_dir);
        if found.is_ok() && (is_last || !is_directory) {
            let removed =
                if is_directory { fs::remove_dir_all(&place) } else { fs::remove_file(&place) };
            removed.expect("removed");
        }
    }
    if let Some(text) = text {
        write(&root.join(path), text);
    }
}

/// Changes one byte of one file of the store, and leaves the file's times as they are.
fn flip(store: &Path, file: usize, byte: usize) {
    let mut files = files(store);
    files.retain(|path| fs::metadata(path).expect("entry").len() > 0);
    let Some(path) = files.get(file % files.len().max(1)) else { return };
    let times = fs::metadata(path).and_then(|found| found.modified()).expect("entry");
    let mut bytes = fs::read(path).expect("entry");
    let at = byte % bytes.len();
    bytes[at] ^= 1 << (byte % 8);
    fs::write(path, bytes).expect("entry");
    let file = fs::File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(times)).expect("times");
}

/// Draws steps for a project.
struct Author {
    random: Random,
    files: Files,
    /// Texts of before, and whole trees of before.
    versions: Vec<(String, String)>,
    branches: Vec<Files>,
    targets: Vec<&'static str>,
    options: Vec<String>,
    is_generated: bool,
}

const OPTIONS: [&str; 24] = [
    "--warn-unused-ignores",
    "--warn-redundant-casts",
    "--warn-return-any",
    "--warn-unreachable",
    "--pretty",
    "--show-column-numbers",
    "--show-error-end",
    "--show-error-context",
    "--show-absolute-path",
    "--show-error-code-links",
    "--hide-error-codes",
    "--no-error-summary",
    "--no-strict-optional",
    "--strict",
    "--follow-imports=silent",
    "--follow-imports=error",
    "--follow-imports=skip",
    "--ignore-missing-imports",
    "--namespace-packages",
    "--explicit-package-bases",
    "--no-site-packages",
    "--no-silence-site-packages",
    "--enable-error-code=deprecated",
    "--output=json",
];

const SETTINGS: [&str; 17] = [
    "warn_redundant_casts = True",
    "show_absolute_path = True",
    "deprecated_calls_exclude = pkg.a",
    "enable_error_code = deprecated, truthy-bool",
    "report_deprecated_as_note = True",
    "disallow_untyped_defs = True",
    "allow_empty_bodies = True",
    "ignore_missing_imports = True",
    "mypy_path = stubs",
    "mypy_path = $MYPY_CONFIG_FILE_DIR/stubs:space",
    "disable_error_code = attr-defined",
    "reveal_verbose_types = True",
    "show_error_context = True",
    "many_errors_threshold = 3",
    "local_partial_types = True",
    "plugins = plugin.py",
    "exclude = sub",
];

const SECTIONS: [&str; 4] = [
    "[mypy-pkg.a]\nignore_errors = True",
    "[mypy-third.*]\nfollow_imports = skip",
    "[mypy-pkg.sub.*]\ndisallow_any_expr = True",
    "[mypy-nowhere]\nignore_missing_imports = True",
];

const PLUGIN: &str = "\
import os, sys
from mypy.plugin import Plugin
sys.path.insert(0, os.path.dirname(__file__))
import helper

class P(Plugin):
    def get_function_hook(self, fullname):
        if fullname.endswith('.use'):
            return lambda context: context.api.named_generic_type(helper.NAME, [])

def plugin(version):
    return P
";

impl Author {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut files = Files::new();
        for path in &PATHS[..8] {
            let is_empty = path.ends_with("__init__.py") && random.chance(70);
            let text = if is_empty { String::new() } else { module(&mut random) };
            files.insert((*path).to_owned(), text);
        }
        let (versions, branches) = <_>::default();
        let (targets, options) = (vec!["pkg", "main.py"], Vec::new());
        Self { random, files, versions, branches, targets, options, is_generated: true }
    }

    /// A package that is installed with the test's tools.
    fn real(seed: u64, name: &'static str) -> Self {
        let root = rewarm_testkit::tools::site_packages(venv()).join("pip/_vendor");
        let mut files = Files::new();
        let mut below = vec![root.join(name)];
        while let Some(directory) = below.pop() {
            for entry in fs::read_dir(directory).expect("a real package") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    below.push(path);
                } else if path.extension().is_some_and(|end| end == "py") {
                    let relative = path.strip_prefix(&root).expect("below").to_str().expect("text");
                    files.insert(relative.to_owned(), fs::read_to_string(&path).expect("source"));
                }
            }
        }
        let (versions, branches) = <_>::default();
        let (random, targets, options) = (Random::new(seed), vec![name], Vec::new());
        Self { random, files, versions, branches, targets, options, is_generated: false }
    }

    fn path(&mut self) -> String {
        let index = self.random.below(self.files.len());
        self.files.keys().nth(index).expect("one of the files").clone()
    }

    fn files(&mut self, what: &'static str, changes: Vec<(String, Option<String>)>) -> Step {
        for (path, text) in &changes {
            match text {
                Some(text) => {
                    self.files.retain(|other, _| !is_below(other, path) && !is_below(path, other));
                    self.files.insert(path.clone(), text.clone());
                    self.versions.push((path.clone(), text.clone()));
                }
                None => {
                    self.files.remove(path);
                }
            }
        }
        Step::Files(what, changes)
    }

    fn edit(&mut self) -> Step {
        let path = self.path();
        let (what, text) = edited(&self.files[&path].clone(), &mut self.random);
        self.files(what, vec![(path, Some(text))])
    }

    fn step(&mut self) -> Step {
        match self.random.below(100) {
            0..42 => self.edit(),
            42..60 => self.shape(),
            60..64 => self.options(),
            64..68 => self.choose(),
            68..75 => self.configuration(),
            75..83 => self.environment(),
            83..87 => {
                let (name, values): (_, &[&str]) = match self.random.below(4) {
                    0 => ("FORCE_COLOR", &["1", "0"]),
                    1 => ("COLUMNS", &["40", "200"]),
                    2 => ("TERM", &["dumb", "xterm-256color"]),
                    _ => ("MYPYPATH", &["{project}/stubs", "stubs", "{project}/space:stubs"]),
                };
                let value = self.random.one_of(values).to_owned();
                Step::Variable(name, self.random.chance(65).then_some(value))
            }
            87..90 => Step::Directory(self.random.one_of(&["", "", "pkg", "stubs", "space"])),
            90..92 => Step::Checkout,
            92..93 => Step::Forget,
            93..96 => Step::Flip(self.random.below(1 << 20), self.random.below(1 << 20)),
            _ => {
                let time = 100 + self.random.below(2500);
                Step::Kill(u64::try_from(time).expect("small"), self.random.chance(30))
            }
        }
    }

    /// Files come, go, move, and come back.
    fn shape(&mut self) -> Step {
        let path = self.path();
        match self.random.below(10) {
            0 if self.is_generated => {
                let path = self.random.one_of(&PATHS).to_owned();
                let text = module(&mut self.random);
                self.files("another text", vec![(path, Some(text))])
            }
            0 | 1 => self.files("delete", vec![(path, None)]),
            2 => {
                let target = match self.is_generated {
                    true => self.random.one_of(&PATHS).to_owned(),
                    false => self.path().replace(".py", "_too.py"),
                };
                let text = self.files[&path].clone();
                self.files("move", vec![(path, None), (target, Some(text))])
            }
            3 if !self.versions.is_empty() => {
                let index = self.random.below(self.versions.len());
                let (path, text) = self.versions[index].clone();
                self.files("revert", vec![(path, Some(text))])
            }
            4 => Step::Touch(path),
            5 => {
                let stub = path.replace(".py", ".pyi").replace(".pyii", ".pyi");
                let text = "value: bytes\ndef use(x: object) -> bytes: ...\n";
                let text = self.random.chance(60).then(|| text.to_owned());
                self.files("stub", vec![(stub, text)])
            }
            6 => {
                let marker = self.random.one_of(&[
                    "pkg/__init__.py",
                    "pkg/sub/__init__.py",
                    "space/__init__.py",
                    "pkg/py.typed",
                    "__init__.py",
                    "stubs/third/__init__.pyi",
                    "stubs/nowhere.pyi",
                    "pkg/sub/__init__.pyi",
                ]);
                let text = self.random.chance(50).then(String::new);
                self.files("marker", vec![(marker.to_owned(), text)])
            }
            7 => {
                let links = [
                    ("pkg/link.py", "a.py"),
                    ("linked", "pkg/sub"),
                    ("pkg/sub/back", ".."),
                    ("nowhere.py", "pkg/c.py"),
                    ("pkg/h.py", "nothing.py"),
                ];
                let (path, target) = links[self.random.below(links.len())];
                Step::Link(path.to_owned(), target.to_owned())
            }
            _ => self.switch(),
        }
    }

    /// Leaves a branch for one of before, or begins one.
    fn switch(&mut self) -> Step {
        let known = self.branches.len();
        let index = self.random.below(known + 1);
        let files = self.files.clone();
        if index == known {
            self.branches.push(files);
            return self.edit();
        }
        let other = std::mem::replace(&mut self.branches[index], files.clone());
        let gone = files.keys().filter(|path| !other.contains_key(*path));
        let gone: Vec<_> = gone.map(|path| (path.clone(), None)).collect();
        let come = other.iter().filter(|(path, text)| files.get(*path) != Some(text));
        let come = come.map(|(path, text)| (path.clone(), Some(text.clone())));
        let changes = gone.into_iter().chain(come).collect();
        self.files("switch to another branch", changes)
    }

    fn options(&mut self) -> Step {
        let mut targets: Vec<_> = self.targets.iter().map(|t| (*t).to_owned()).collect();
        if self.is_generated && self.random.chance(50) {
            let all: [&[&str]; 7] = [
                &["main.py", "pkg"],
                &["."],
                &["pkg/a.py"],
                &["pkg/sub", "pkg/a.py"],
                &["-p pkg", "-p space"],
                &["main.py", "space"],
                &["pkg/c.py", "pkg/b.py", "main.py"],
            ];
            let chosen = all[self.random.below(all.len())];
            targets = chosen.iter().map(|target| (*target).to_owned()).collect();
        }
        let mut options = Vec::new();
        if self.random.chance(20) {
            options.push("--show-error-context".to_owned());
        }
        while self.random.chance(55) {
            options.push(self.random.one_of(&OPTIONS).to_owned());
        }
        self.options.clone_from(&options);
        Step::Arguments(targets, options)
    }

    /// Some of the files, in any order, with the options of before.
    fn choose(&mut self) -> Step {
        let mut targets = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let path = self.path();
            let directory =
                path.rsplit_once('/').map_or(".", |(directory, _)| directory).to_owned();
            let target = if self.random.chance(30) { directory } else { path };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Step::Arguments(targets, self.options.clone())
    }

    fn configuration(&mut self) -> Step {
        let name = self.random.one_of(&["mypy.ini", ".mypy.ini", "setup.cfg", "pyproject.toml"]);
        let mut texts = BTreeMap::new();
        while self.random.chance(70) {
            let setting = self.random.one_of(&SETTINGS);
            texts.insert(setting.split(' ').next().expect("a name"), setting.to_owned());
        }
        let mut changes = Vec::new();
        if texts.contains_key("plugins") {
            let names = ["builtins.int", "builtins.str", "builtins.bytes"];
            let helper = format!("NAME = '{}'\n", self.random.one_of(&names));
            changes.push(("plugin.py".to_owned(), Some(PLUGIN.to_owned())));
            changes.push(("helper.py".to_owned(), Some(helper)));
        }
        let settings: Vec<_> = texts.into_values().collect();
        let text = match name {
            "pyproject.toml" => {
                let quoted = settings.iter().map(|setting| {
                    let (name, value) = setting.split_once(" = ").expect("a setting");
                    match value {
                        "True" => format!("{name} = true"),
                        "3" => setting.clone(),
                        _ => format!("{name} = '{value}'"),
                    }
                });
                format!("[tool.mypy]\n{}\n", quoted.collect::<Vec<_>>().join("\n"))
            }
            _ => {
                let section = self.random.one_of(&SECTIONS);
                let section = if self.random.chance(40) { section } else { "" };
                format!("[mypy]\n{}\n{section}\n", settings.join("\n"))
            }
        };
        changes.push((name.to_owned(), self.random.chance(75).then_some(text)));
        Step::Files("configuration", changes)
    }

    fn environment(&mut self) -> Step {
        let path = self.random.one_of(&[
            "third/__init__.py",
            "third/__init__.py",
            "third/__init__.pyi",
            "third/extra.py",
            "third/py.typed",
            "third-stubs/__init__.pyi",
            "yaml-stubs/__init__.pyi",
            "nowhere.py",
            "nowhere/py.typed",
            "types_requests-1.dist-info/RECORD",
        ]);
        let text = self.random.one_of(&[
            "value: int\n",
            "value: str\ndef use(x: int = ...) -> str: ...\nclass C: ...\n",
            "from .extra import *\n",
            "import pkg.a\nvalue = pkg.a.value\n",
            "",
        ]);
        Step::Site(vec![(path.to_owned(), self.random.chance(70).then(|| text.to_owned()))])
    }
}

/// Goes through a history. `Err` says after how many steps which difference showed; with
/// `compared` only what comes after so many steps is compared.
fn go(
    files: &Files,
    targets: &[&str],
    steps: &[Step],
    compared: usize,
) -> Result<(), (usize, String)> {
    let mut world = World::new(files, targets);
    let began = Instant::now();
    for index in 0..=steps.len() {
        if index > 0 {
            world.apply(&steps[index - 1]);
        }
        if compared == 0 {
            println!("{} s, step {index} of {}", began.elapsed().as_secs(), steps.len());
        }
        if index < compared {
            let _ = world.bench.try_check();
        } else if let Some(difference) = world.difference() {
            return Err((index, difference));
        }
    }
    Ok(())
}

/// Leaves out whatever is not needed for the last step to fail.
fn shortened(files: &Files, targets: &[&str], mut steps: Vec<Step>) -> Vec<Step> {
    let began = Instant::now();
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at + size < steps.len() && began.elapsed() < Duration::from_secs(240) {
            let mut fewer = steps.clone();
            fewer.drain(at..at + size);
            match go(files, targets, &fewer, fewer.len()) {
                Err(_) => steps = fewer,
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    steps
}

/// Draws a history and goes through it.
#[track_caller]
fn history(mut author: Author, seed: u64, length: usize) {
    let (files, targets) = (author.files.clone(), author.targets.clone());
    let mut steps: Vec<_> = (0..length).map(|_| author.step()).collect();
    let Err((index, difference)) = go(&files, &targets, &steps, 0) else { return };
    steps.truncate(index);
    println!("seed {seed} differs after {index} steps; leaving out what is not needed");
    let steps = if index == 0 { steps } else { shortened(&files, &targets, steps) };
    let touched: Vec<_> = steps.iter().flat_map(Step::files).map(|(path, _)| path).collect();
    println!("the project was checked as {targets:?}");
    for (path, text) in &files {
        if author.is_generated || touched.contains(&path) {
            println!("--- {path}\n{text}");
        }
    }
    steps.iter().for_each(Step::show);
    let last = go(&files, &targets, &steps, steps.len());
    let last = last.err().map_or(difference, |(_, difference)| difference);
    panic!("seed {seed}, {} steps: {last}", steps.len());
}

/// A variable of the test.
#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by variable")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn check_equals_a_cold_run_after_every_step_of_a_random_history() {
    let Some(seconds) = number("REWARM_TORTURE_SECONDS") else {
        let seed = number("REWARM_TORTURE_SEED").unwrap_or(1);
        return history(Author::new(seed), seed, crate::support::rounds(10));
    };
    let began = Instant::now();
    let mut seed = number("REWARM_TORTURE_SEED").unwrap_or(1);
    while began.elapsed() < Duration::from_secs(seconds) {
        println!("seed {seed}");
        let author = match seed % 4 {
            3 => Author::real(seed, if seed % 8 == 3 { "packaging" } else { "rich" }),
            _ => Author::new(seed),
        };
        history(author, seed, 25);
        seed += 1;
    }
}

#[test]
fn check_equals_a_cold_run_after_every_edit_of_a_real_package() {
    let seed = number("REWARM_TORTURE_SEED").unwrap_or(1);
    history(Author::real(seed, "packaging"), seed, crate::support::rounds(4).min(25));
}
