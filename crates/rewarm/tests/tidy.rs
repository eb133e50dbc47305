//! Keeps the rules of `CONTRIBUTING.md` that a program can check: which crate may depend on which,
//! file headers, file sizes, and that nothing is left open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who may depend on whom among our own crates; development dependencies may add the test kit.
const EDGES: [(&str, &[&str]); 11] = [
    (
        "rewarm",
        &[
            "rewarm-activation",
            "rewarm-check",
            "rewarm-conda",
            "rewarm-env",
            "rewarm-http",
            "rewarm-proxy",
            "rewarm-store",
            "rewarm-task",
        ],
    ),
    ("rewarm-activation", &["rewarm-store"]),
    ("rewarm-check", &["rewarm-store"]),
    ("rewarm-conda", &["rewarm-store"]),
    ("rewarm-env", &["rewarm-store"]),
    ("rewarm-http", &["rewarm-store"]),
    ("rewarm-proxy", &["rewarm-http", "rewarm-store"]),
    ("rewarm-store", &[]),
    ("rewarm-task", &["rewarm-activation", "rewarm-store"]),
    ("rewarm-testkit", &[]),
    ("xtask", &["rewarm-testkit"]),
];

/// Only these may be async.
const ASYNC: [&str; 3] = ["rewarm", "rewarm-http", "rewarm-proxy"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn manifests() -> BTreeMap<String, toml::Table> {
    let crates = std::fs::read_dir(root().join("crates")).expect("the workspace is readable");
    let dirs = crates
        .map(|entry| entry.expect("the workspace is readable").path())
        .chain([root().join("xtask")]);
    dirs.map(|dir| {
        let text =
            std::fs::read_to_string(dir.join("Cargo.toml")).expect("the workspace is readable");
        let table: toml::Table = toml::from_str(&text).expect("the workspace is readable");
        (table["package"]["name"].as_str().expect("the workspace is readable").to_owned(), table)
    })
    .collect()
}

fn dependencies(manifest: &toml::Table, section: &str) -> Vec<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn dependencies_point_down() {
    let manifests = manifests();
    assert_eq!(manifests.len(), EDGES.len(), "a crate is missing from the table: {manifests:#?}");
    for (name, allowed) in EDGES {
        let manifest = &manifests[name];
        for dependency in dependencies(manifest, "dependencies") {
            let own = manifests.contains_key(&dependency);
            assert!(!own || allowed.contains(&&*dependency), "{name} depends on {dependency}");
            let is_async = ["tokio", "hyper", "hyper-util"].contains(&&*dependency);
            assert!(!is_async || ASYNC.contains(&name), "{name} is async: {dependency}");
        }
        for dependency in dependencies(manifest, "dev-dependencies") {
            let own = manifests.contains_key(&dependency) && dependency != "rewarm-testkit";
            assert!(!own || allowed.contains(&&*dependency), "{name}'s tests use {dependency}");
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![root().join("crates"), root().join("xtask")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("the workspace is readable") {
            let path = entry.expect("the workspace is readable").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "sources were not found");
    files
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("the workspace is readable");
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(header.len() > 30, "{} does not open with a `//!` header", path.display());
    }
}

#[test]
fn files_stay_small() {
    for path in sources() {
        let lines =
            std::fs::read_to_string(&path).expect("the workspace is readable").lines().count();
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        let limit = if is_test { 1200 } else { 600 };
        assert!(lines <= limit, "{} has {lines} lines, {limit} are allowed", path.display());
    }
}

#[test]
fn nothing_is_left_open() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), "#[allow("];
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("the workspace is readable");
        for mark in marks.iter().filter(|_| !path.ends_with("tests/tidy.rs")) {
            assert!(!text.contains(mark), "{} contains `{mark}`", path.display());
        }
    }
}

#[test]
fn a_bare_cargo_run_runs_rewarm() {
    let text =
        std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace is readable");
    let manifest: toml::Table = toml::from_str(&text).expect("a manifest");
    let default = manifest["workspace"]["default-members"].as_array().expect("a list of members");
    assert_eq!(
        default.as_slice(),
        ["crates/rewarm".into()],
        "the README says `cargo run --release`"
    );
}
