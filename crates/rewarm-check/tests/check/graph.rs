//! The import graph: every dependency that mypy finds is in it, and a file whose answer changes is
//! among those that are chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use rewarm_check::{Change, How, ImportGraph, Selection};
use serde_json::Value;

use crate::support::{Bench, must, now, venv};

fn graph(bench: &Bench) -> ImportGraph {
    let graph = ImportGraph::of(&bench.store, &bench.request(), now(), &|_| {});
    graph.expect("a graph").expect("mypy has nothing against the arguments")
}

/// What mypy says in `bench`, by file, with its own cache in `cache`.
fn messages(bench: &Bench, cache: &Path) -> BTreeMap<String, Vec<String>> {
    let mut command = Command::new(bench.venv.join("bin/mypy"));
    command.args(["--no-error-summary", "--no-sqlite-cache", "--no-fixed-format-cache"]);
    command.arg("--cache-dir").arg(cache).args(&bench.arguments);
    command.current_dir(&bench.cwd).env_clear();
    command.envs(bench.variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().expect("mypy starts");
    assert!(output.status.code() < Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // This is said once in a run, wherever it fits first.
    let is_once = |line: &&str| line.contains(": note: See https://");
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !is_once(line)) {
        let file = line.split(':').next().expect("a path").to_owned();
        found.entry(file).or_default().push(line.to_owned());
    }
    found
}

/// Modules by name, with path and direct dependencies, as mypy wrote them down.
fn modules(directory: &Path, found: &mut BTreeMap<String, (PathBuf, Vec<String>)>) {
    for entry in std::fs::read_dir(directory).expect("mypy's cache") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            modules(&path, found);
        } else if path.to_string_lossy().ends_with(".meta.json") {
            let text = std::fs::read_to_string(path).expect("an entry");
            let meta: Value = serde_json::from_str(&text).expect("JSON");
            let texts = |name: &str| meta[name].as_array().expect("a list").clone();
            // What is seen through others' types, without an import, has this priority.
            const INDIRECT: u64 = 30;
            let direct = texts("dependencies").into_iter().zip(texts("dep_prios"));
            let direct = direct.filter(|(_, priority)| priority.as_u64() != Some(INDIRECT));
            let name = |value: &Value| value.as_str().expect("a name").to_owned();
            let dependencies = direct.map(|(module, _)| name(&module)).collect();
            found.insert(name(&meta["id"]), (name(&meta["path"]).into(), dependencies));
        }
    }
}

/// Compares the graph with what mypy wrote down. Gives the number of edges of each.
#[track_caller]
fn is_superset(bench: &Bench) -> (usize, usize) {
    let cache = tempfile::tempdir().expect("cache");
    messages(bench, cache.path());
    let mut known = BTreeMap::new();
    modules(cache.path(), &mut known);
    let (graph, mut theirs, mut ours) = (graph(bench), 0, 0);
    for (module, (path, dependencies)) in &known {
        let path = bench.cwd.join(path);
        if !path.starts_with(&bench.project) || path.is_dir() {
            continue;
        }
        let imports = graph.imports_of(&path);
        ours += imports.len();
        for dependency in dependencies {
            let target = bench.cwd.join(&known[dependency].0);
            if target.starts_with(&bench.project) && !target.is_dir() {
                theirs += 1;
                assert!(imports.contains(&&*target), "{module} depends on {dependency}");
            }
        }
    }
    assert!(theirs > 0, "mypy found dependencies");
    (theirs, ours)
}

#[test]
fn every_dependency_of_mypys_is_in_the_graph_of_a_project_of_all_sorts() {
    let mut bench = Bench::new();
    bench.write("mypy.ini", "[mypy]\nfiles = src, tests, tools\nmypy_path = typings:src:tests\nexplicit_package_bases = True\n");
    bench.write("src/pkg/__init__.py", "from pkg.a import one as one\n");
    bench.write("src/pkg/a.py", "from . import b\nfrom .sub import *\ndef one() -> int: ...\n");
    bench.write("src/pkg/b.py", "import pkg.sub.deep as d\nfrom . import a\n");
    bench.write("src/pkg/b.pyi", "from .sub import deep as deep\n");
    bench.write("src/pkg/sub/__init__.py", "from .deep import x as x\n__all__ = ['x']\n");
    bench.write("src/pkg/sub/deep.py", "def f() -> None:\n    from .. import a\nx = 1\n");
    bench.write("src/space/left.py", "import space.right\nimport untyped\n");
    bench.write("src/space/right.py", "if False:\n    from space import left\nimport top\n");
    bench.write("src/top.py", "try:\n    import json\nexcept ImportError:\n    import pkg\n");
    bench.write("typings/untyped/__init__.pyi", "from untyped import more as more\n");
    bench.write("typings/untyped/more.pyi", "import pkg.a\n");
    bench.write("tests/conftest.py", "import helper, pkg.sub\n");
    bench.write(
        "tests/helper.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import conftest\n",
    );
    bench
        .write("tools/run.py", "class C:\n    def m(self) -> None:\n        import pkg.sub.deep\n");
    bench.arguments = Vec::new();
    let (theirs, ours) = is_superset(&bench);
    assert!(ours <= 2 * theirs, "{ours} edges instead of {theirs}");
    // The same, seen from a directory below and by paths.
    bench.cwd = bench.project.join("src");
    bench.arguments = vec!["pkg".into(), "space".into(), "--explicit-package-bases".into()];
    is_superset(&bench);
}

#[test]
fn every_dependency_of_mypys_is_in_the_graph_of_a_real_package() {
    let mut bench = Bench::new();
    let pip = rewarm_testkit::tools::site_packages(venv()).join("pip");
    std::fs::create_dir_all(bench.project.join("src/pip")).expect("directory");
    for name in ["__init__.py", "__main__.py", "_internal"] {
        must(Command::new("cp").arg("-r").arg(pip.join(name)).arg(bench.project.join("src/pip")));
    }
    bench.arguments = ["src", "--ignore-missing-imports"].map(Into::into).to_vec();
    let (theirs, ours) = is_superset(&bench);
    assert!(ours <= theirs * 11 / 10, "{ours} edges instead of {theirs}");
}

/// A project in which `low` is used by `mid`, that by `high`; `side` stands alone.
fn layers() -> Bench {
    let bench = Bench::new();
    bench.write("pyproject.toml", "[tool.mypy]\nfiles = ['pkg', 'other']\nexclude = 'left_out'\n");
    bench.write("pkg/__init__.py", "");
    bench.write("pkg/low.py", "def one() -> int: ...\n");
    bench.write("pkg/mid.py", "from pkg import low\n\ndef two() -> int:\n    return low.one()\n");
    bench.write("pkg/high.py", "from .mid import two\n\nx: int = two()\n");
    bench.write("pkg/side.py", "import pkg.absent\nimport stubbed\ny: int = stubbed.value\n");
    bench.write("other/stubbed.py", "value: int = 1\n");
    bench.write("left_out/extra.py", "import pkg.low\n");
    bench
}

fn change(bench: &Bench, path: &str, how: How) -> Change {
    Change { path: bench.project.join(path), how }
}

/// The files that are chosen after one change, or why all of them are.
fn chosen(bench: &Bench, changes: &[(&str, How)]) -> Result<Vec<String>, String> {
    let changes: Vec<_> = changes.iter().map(|(path, how)| change(bench, path, *how)).collect();
    match graph(bench).select(&changes) {
        Selection::All { because } => Err(because),
        Selection::Files { targets, of, .. } => {
            assert!(targets.len() <= of);
            Ok(targets.iter().map(|path| path.to_string_lossy().into_owned()).collect())
        }
    }
}

fn layered() -> Bench {
    let mut bench = layers();
    bench.arguments = Vec::new();
    bench
}

#[test]
fn a_change_means_what_depends_on_it_in_any_number_of_steps() {
    let bench = layered();
    for (path, expected) in [
        ("pkg/low.py", &["pkg/low.py", "pkg/mid.py", "pkg/high.py"][..]),
        ("pkg/mid.py", &["pkg/mid.py", "pkg/high.py"]),
        ("pkg/high.py", &["pkg/high.py"]),
        ("other/stubbed.py", &["pkg/side.py", "other/stubbed.py"]),
        // Nobody checks these.
        ("left_out/extra.py", &[]),
        ("README.md", &[]),
    ] {
        let mut found = chosen(&bench, &[(path, How::Edited)]).expect("files");
        found.sort();
        let expected: BTreeSet<_> = expected.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(found, Vec::from_iter(expected), "{path}");
    }
    assert_eq!(chosen(&bench, &[]), Ok(Vec::new()));
}

#[test]
fn what_imports_do_not_show_means_everything() {
    let bench = layered();
    bench.write(
        "plug.py",
        "import helper\nfrom mypy.plugin import Plugin\ndef plugin(v: str): return Plugin\n",
    );
    bench.write("helper.py", "");
    bench.write("mypy.ini", "[mypy]\nfiles = pkg\nplugins = plug.py\n");
    for path in [
        "pyproject.toml",
        "uv.lock",
        "requirements-dev.txt",
        "pkg/py.typed",
        "plug.py",
        "helper.py",
    ] {
        let because = chosen(&bench, &[(path, How::Edited)]).expect_err(path);
        assert!(because.contains(path), "{because}");
    }
    chosen(&bench, &[("x-stubs/__init__.pyi", How::Came)]).expect_err("a stub package");
    assert_eq!(chosen(&bench, &[("pkg/high.py", How::Edited)]), Ok(vec!["pkg/high.py".to_owned()]));
    bench.write("plug.py", "from mypy.plugin import Plugin\nclass P(Plugin):\n    def get_additional_deps(self, file): return []\ndef plugin(v): return P\n");
    let because = chosen(&bench, &[("pkg/high.py", How::Edited)]).expect_err("a plugin");
    assert!(because.contains("plug.P") && because.contains("adds dependencies"), "{because}");
}

/// One change to the files of [`layers`].
type Step = (&'static str, &'static [(&'static str, Option<&'static str>)]);

const STEPS: [Step; 9] = [
    ("an interface", &[("pkg/low.py", Some("def one() -> str: ...\n"))]),
    ("a module that was missing", &[("pkg/absent.py", Some("z: int = ''\n"))]),
    ("a module that goes", &[("pkg/mid.py", None)]),
    ("a stub beside a module", &[("other/stubbed.pyi", Some("value: str\n"))]),
    (
        "a module that shadows another",
        &[("pkg/stubbed.py", Some("")), ("stubbed.py", Some("value: str\n"))],
    ),
    (
        "a module that moves",
        &[
            ("other/stubbed.py", None),
            ("other/rest.py", Some("")),
            ("pkg/stubbed.py", Some("value: int = 1\n")),
        ],
    ),
    (
        "a package in place of a module",
        &[("pkg/low.py", None), ("pkg/low/__init__.py", Some("def one() -> str: ...\n"))],
    ),
    (
        "a package that comes",
        &[("pkg/absent/__init__.py", Some("")), ("pkg/absent/deep.py", Some(""))],
    ),
    ("packages around files", &[("pkg/__init__.py", None)]),
];

#[test]
fn a_file_whose_messages_change_is_always_chosen() {
    // No cache: mypy takes a file for unchanged that has its size of a moment ago.
    let none = Path::new("/dev/null");
    let before = messages(&layered(), none);
    for (step, writes) in STEPS {
        let bench = layered();
        let mut changes = Vec::new();
        for (path, text) in writes {
            let how = match (text, bench.project.join(path).exists()) {
                (None, _) => How::Went,
                (Some(_), true) => How::Edited,
                (Some(_), false) => How::Came,
            };
            match text {
                Some(text) => bench.write(path, text),
                None => bench.remove(path),
            }
            changes.push((*path, how));
        }
        let Ok(chosen) = chosen(&bench, &changes) else { continue };
        let after = messages(&bench, none);
        for file in before.keys().chain(after.keys()) {
            let is_same = before.get(file) == after.get(file) || !bench.project.join(file).exists();
            assert!(is_same || chosen.contains(file), "{step}: {file} of {chosen:?}");
        }
    }
}

#[test]
fn a_file_that_does_not_parse_depends_on_everything() {
    let bench = layered();
    bench.write("pkg/broken.py", "def f(:\n");
    let found = chosen(&bench, &[("other/stubbed.py", How::Edited)]).expect("files");
    assert!(found.contains(&"pkg/broken.py".to_owned()), "{found:?}");
    assert_eq!(chosen(&bench, &[]), Ok(Vec::new()));
}

#[test]
fn a_graph_is_read_again_where_names_or_sources_changed() {
    let mut bench = layered();
    assert_eq!(graph(&bench).sources().count(), 6);
    bench.write("pkg/new.py", "import pkg.high\n");
    assert_eq!(graph(&bench).sources().count(), 7);
    let found = chosen(&bench, &[("pkg/high.py", How::Edited)]);
    assert_eq!(found.map(|found| found.len()), Ok(2));
    bench.write("pkg/new.py", "import pkg.low\n");
    let found = chosen(&bench, &[("pkg/high.py", How::Edited)]);
    assert_eq!(found.map(|found| found.len()), Ok(1));
    bench.write("pyproject.toml", "[tool.mypy]\nfiles = ['other']\n");
    assert_eq!(graph(&bench).sources().count(), 1);
    bench.arguments = vec!["--no-such-option".into()];
    let none = ImportGraph::of(&bench.store, &bench.request(), now(), &|_| {});
    assert!(none.expect("an answer").is_none(), "mypy has something against it");
}
