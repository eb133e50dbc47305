//! Property tests of the parsers of manifests and lock files: arbitrary text put together from their
//! words, and every file of the corpus with something in it changed. The claims are in `claims`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{claims, corpus};

/// The files of the corpus that a target is about.
fn files(target: &str) -> Vec<Vec<u8>> {
    let fits = |name: &str| match target {
        "manifest" => name.ends_with(".toml"),
        "lock" => name == "pixi.lock" || name == "conda-lock.yml",
        _ => name.starts_with("environment.") || name.starts_with("conda-linux-64"),
    };
    let mut found = BTreeSet::new();
    for case in fs::read_dir(corpus("")).expect("the corpus") {
        for file in fs::read_dir(case.expect("readable").path()).expect("a case") {
            let file = file.expect("readable");
            if fits(&file.file_name().to_string_lossy()) {
                found.insert(file.path());
            }
        }
    }
    found.iter().map(|path| fs::read(path).expect("readable")).collect()
}

fn claim(target: &str, bytes: &[u8]) {
    match target {
        "manifest" => claims::manifest(bytes),
        "lock" => claims::lock(bytes),
        _ => claims::explicit(bytes),
    }
}

/// Starts fuzzing: the corpus holds, and is written below the directory `REWARM_FUZZ_SEEDS`, a
/// directory for each target, if that is set.
#[test]
fn what_fuzzing_starts_from_holds() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the task that fuzzes says where it wants them"
    )]
    let dir = std::env::var_os("REWARM_FUZZ_SEEDS").map(PathBuf::from);
    for target in ["manifest", "lock", "explicit"] {
        let files = files(target);
        assert!(files.len() >= 4, "{target}");
        for (number, bytes) in files.iter().enumerate() {
            claim(target, bytes);
            if let Some(dir) = &dir {
                fs::create_dir_all(dir.join(target)).expect("writable");
                fs::write(dir.join(target).join(number.to_string()), bytes).expect("writable");
            }
        }
    }
}

const TOML: &[&str] = &[
    "[workspace]\n",
    "channels = []\n",
    "platforms = [\"linux-64\"]\n",
    "[dependencies]\n",
    "[feature.a.dependencies]\n",
    "[environments]\n",
    "[target.linux-64.activation.env]\n",
    "[tasks]\n",
    "[tool.pixi.workspace]\n",
    "[project]\n",
    "a = \"*\"\n",
    "a = [\"a\"]\n",
    "a = { features = [\"a\"] }\n",
    "b = { path = \".\" }\n",
    "python = \">=3\"\n",
    "version = ",
    "dependencies = [\"idna>=3\"]\n",
    "detached-environments = true\n",
    "name = \"x\"\n",
    "\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    "\n",
    "#",
    "1979-05-27",
    "0x_1",
    "é",
];

const LOCK: &[&str] = &[
    "version: 6\n",
    "version: 7\n",
    "version: 5\n",
    "version: 1\n",
    "environments:\n",
    "  default:\n",
    "    channels:\n    - url: conda-forge\n",
    "    packages:\n",
    "      linux-64:\n",
    "      - conda: https://example.org/linux-64/a-1-0.conda\n",
    "      - pypi: ./a\n",
    "packages:\n",
    "packages: []\n",
    "- conda: https://example.org/linux-64/a-1-0.conda\n",
    "- pypi: ./a\n",
    "  name: a\n",
    "  version: '1'\n",
    "  md5: d41d8cd98f00b204e9800998ecf8427e\n",
    "  depends:\n  - b >=1\n",
    "  editable: true\n",
    "platforms:\n- name: linux-64\n",
    "metadata:\n  channels: []\n  platforms: []\n",
    "package: []\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "? ",
    "- ",
    "{",
    "}",
    "\t",
    "\n",
    "|",
];

const EXPLICIT: &[&str] = &[
    "@EXPLICIT\n",
    "# platform: linux-64\n",
    "https://example.org/c/linux-64/a-1-0.conda#d41d8cd98f00b204e9800998ecf8427e\n",
    "https://example.org/c/noarch/b-1-0.tar.bz2#",
    "file:///c/linux-64/",
    "a-1-0.conda",
    "%2e%2e%2fa-1-0.conda",
    "d41d8cd98f00b204e9800998ecf8427e\n",
    "# pip idna @ https://example.org/idna-3-py3-none-any.whl --hash=sha256:",
    "name: x\n",
    "dependencies:\n",
    "  - python\n",
    "  - pip:\n    - idna\n",
    "variables:\n  A: b\n",
    "\n",
    "-",
    "/",
    "#",
];

/// Text put together from words and arbitrary bytes.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let noise = vec(any::<u8>(), 0..4);
    vec(prop_oneof![8 => word, 1 => noise], 0..32).prop_map(|parts| parts.concat())
}

/// A file of the corpus with up to four changes: bytes replaced, cut out, or put in.
fn mutated(target: &'static str, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let new = prop_oneof![2 => word, 1 => vec(any::<u8>(), 0..3)];
    let change = (any::<prop::sample::Index>(), 0_usize..40, new);
    (proptest::sample::select(files(target)), vec(change, 1..5)).prop_map(|(mut bytes, changes)| {
        for (at, cut, new) in changes {
            let start = at.index(bytes.len() + 1);
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, new);
        }
        bytes
    })
}

/// The same bytes in each run: new ones are for the fuzz targets to find.
fn settings() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x5eed);
    ProptestConfig { cases: 256, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn manifests_are_refused_with_a_place_or_answer(bytes in text(TOML)) {
        claims::manifest(&bytes);
    }

    #[test]
    fn changed_manifests_are_refused_with_a_place_or_answer(bytes in mutated("manifest", TOML)) {
        claims::manifest(&bytes);
    }

    #[test]
    fn lock_files_are_refused_or_sound(bytes in text(LOCK)) {
        claims::lock(&bytes);
    }

    #[test]
    fn changed_lock_files_are_refused_or_sound(bytes in mutated("lock", LOCK)) {
        claims::lock(&bytes);
    }

    #[test]
    fn lists_of_urls_are_refused_or_sound(bytes in text(EXPLICIT)) {
        claims::explicit(&bytes);
    }

    #[test]
    fn changed_lists_of_urls_are_refused_or_sound(bytes in mutated("explicit", EXPLICIT)) {
        claims::explicit(&bytes);
    }
}
