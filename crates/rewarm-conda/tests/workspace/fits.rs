//! When a lock file fits its manifest: every sound case of the corpus does, and each change of one
//! of the two files that matters is told with what it concerns.

use std::fs;
use std::path::Path;

use rewarm_conda::lock::{Fit, LockFile, check, check_environment};
use rewarm_conda::manifest::Workspace;

use super::{corpus, lock, workspace};

fn read(case: &str, file: &str) -> String {
    fs::read_to_string(corpus(case).join(file)).expect("it is there")
}

/// Checks a case with one file changed: what was there, and what is there now.
fn changed(case: &str, file: &str, from: &str, to: &str) -> Fit {
    let manifest = rewarm_conda::manifest::find(&corpus(case)).expect("a manifest");
    let name = manifest.file_name().and_then(|it| it.to_str()).expect("a name");
    let mut texts = [read(case, name), read(case, "pixi.lock")];
    let index = usize::from(file == "pixi.lock");
    assert!(texts[index].contains(from), "{case} has `{from}`");
    texts[index] = texts[index].replace(from, to);
    let workspace = Workspace::parse(&manifest, &texts[0]).expect("a sound manifest");
    let path = corpus(case).join("pixi.lock");
    let lock = LockFile::read(&path, &texts[1]).expect("a sound lock file");
    check(&workspace, &lock)
}

fn outdated(case: &str, file: &str, from: &str, to: &str) -> String {
    match changed(case, file, from, to) {
        Fit::Outdated { reason } => reason,
        Fit::Satisfied => panic!("`{from}` -> `{to}` in {file} of {case} makes no difference"),
    }
}

const MANIFEST: &str = "pixi.toml";
const LOCK: &str = "pixi.lock";

#[test]
fn every_sound_lock_file_fits_its_manifest() {
    let mut seen = 0;
    for entry in fs::read_dir(corpus("")).expect("the corpus") {
        let case = entry.expect("readable").file_name().into_string().expect("a plain name");
        let Ok(lock) = LockFile::load(&corpus(&case).join(LOCK)) else { continue };
        assert_eq!(check(&workspace(&case), &lock), Fit::Satisfied, "{case}");
        seen += 1;
    }
    assert!(seen >= 24, "only {seen}");
}

/// Case, what is replaced, what by, and the reason.
const CHANGED: [(&str, &str, &str, &str); 24] = [
    (
        "simple",
        "python = \">=3.12,<3.13\"",
        "python = \">=3.13\"",
        "the manifest asks for `python >=3.13`, and `python 3.12.7 hc5c86c4_0_cpython` is in it{at}",
    ),
    ("simple", "python = \">=3.12", "ruby = \"*\"\npython = \">=3.12", "`ruby` is not in it{at}"),
    ("simple", "idna = \">=3\"", "", "`idna` is in it, and nothing asks for it{at}"),
    (
        "simple",
        "idna = \">=3\"",
        "idna = \">=4\"",
        "the manifest asks for `idna >=4`, and `idna 3.10` is in it{at}",
    ),
    (
        "simple",
        "idna = \">=3\"",
        "idna = \"*\"\nrequests = \"*\"",
        "the manifest asks for `requests`, which is not in it{at}",
    ),
    (
        "simple",
        "idna = \">=3\"",
        "idna = { path = \"idna\" }",
        "the manifest asks for `idna` at `idna`, and `https://files.pythonhosted.org/packages/de/30/d2f3e9e48193e55188b7fece1776250f00f27d96c279c7e6afbf35b461e1/idna-3.10-py3-none-any.whl` is in it{at}",
    ),
    (
        "simple",
        "[\"conda-forge\"]",
        "[\"conda-forge\", \"bioconda\"]",
        "the environment `default` was locked with the channels https://conda.anaconda.org/conda-forge/, and the manifest has https://conda.anaconda.org/conda-forge/, https://conda.anaconda.org/bioconda/",
    ),
    (
        "simple",
        "[\"linux-64\"]",
        "[\"linux-64\", \"osx-64\"]",
        "it has no packages of the environment `default` for `osx-64`",
    ),
    (
        "noarch",
        ", \"win-64\"",
        "",
        "it has the environment `default` for `win-64`, which the manifest has not",
    ),
    (
        "simple",
        "[tasks]",
        "[pypi-options]\nextra-index-urls = [\"https://example.org/simple\"]\n[tasks]",
        "the environment `default` was locked with the indexes `https://pypi.org/simple`, and the manifest has `https://example.org/simple`, `https://pypi.org/simple`",
    ),
    ("simple", "[tasks]", "[environments]\nmore = []\n[tasks]", "it has no environment `more`"),
    (
        "inline",
        "[environments.docs.dependencies]\nfonts = \"*\"\n\n[environments.docs.tasks]\nbuild = \"make docs\"\n\n[environments.docs]\nno-default-feature = true\n",
        "",
        "it has an environment `docs`, which the manifest has not",
    ),
    (
        "simple",
        "name = \"simple\"",
        "channel-priority = \"disabled\"",
        "the environment `default` was locked with `channel-priority = \"strict\"`, and the manifest has `disabled`",
    ),
    (
        "simple",
        "name = \"simple\"",
        "solve-strategy = \"lowest\"",
        "the environment `default` was locked with `solve-strategy = \"highest\"`, and the manifest has `lowest`",
    ),
    (
        "kinds",
        "libuv = \"<2\"",
        "libuv = \"<1\"",
        "the manifest asks for `libuv <1`, and `libuv 1.49.2 h1_0` is in it{at}",
    ),
    (
        "kinds",
        "zlib = \"1.3.*\"",
        "",
        "the manifest asks for `zlib ==1.2`, and `zlib 1.3.1 h4_0` is in it{at}",
    ),
    (
        "file-channel",
        "channel = \"file:///srv/channel\" }",
        "channel = \"other\" }",
        "the manifest asks for `thing` of the channel `other`, and `/srv/channel/linux-64/thing-1.2-0.conda` is in it{at}",
    ),
    (
        "url",
        "direct-1.0-py3",
        "direct-1.1-py3",
        "the manifest asks for `direct` at `https://example.org/direct-1.1-py3-none-any.whl`, and `https://example.org/direct-1.0-py3-none-any.whl` is in it{at}",
    ),
    (
        "url",
        "archived-1.0",
        "archived-2.0",
        "the manifest asks for `archived` at `https://example.org/linux-64/archived-2.0-0.conda`, and `https://example.org/linux-64/archived-1.0-0.conda` is in it{at}",
    ),
    (
        "editable",
        "libs/ours",
        "libs/theirs",
        "the manifest asks for `ours` at `libs/theirs`, and `./libs/ours` is in it{at}",
    ),
    (
        "conda-path",
        "packages/local",
        "local",
        "the manifest asks for `local` at `local-1.0-0.conda`, and `packages/local-1.0-0.conda` is in it{at}",
    ),
    (
        "git",
        "https://example.org/fromgit.git",
        "https://example.org/other.git",
        "the manifest asks for `fromgit` at `https://example.org/other.git`, and `git+https://example.org/fromgit.git?rev=abc123#abc1230000000000000000000000000000000000` is in it{at}",
    ),
    (
        "mixed",
        "extras = [\"fast\"]",
        "extras = []",
        "`speedups` is in it, and nothing asks for it{at}",
    ),
    (
        "mixed",
        "sys_platform == 'win32'",
        "sys_platform == 'linux'",
        "the manifest asks for `colorama`, which is not in it{at}",
    ),
];

#[test]
fn a_changed_manifest_makes_the_lock_file_outdated() {
    for (case, from, to, reason) in CHANGED {
        let reason = reason.replace("{at}", ", in the environment `default` for `linux-64`");
        assert_eq!(outdated(case, MANIFEST, from, to), reason, "`{from}` -> `{to}` in {case}");
    }
    assert_eq!(
        outdated("custom-platforms-v7", "pyproject.toml", "cuda = \"12.0\"", "cuda = \"12.4\""),
        "the platform `gpu` has changed"
    );
}

/// Case, what is replaced, what by, and the reason.
const TORN: [(&str, &str, &str, &str); 6] = [
    (
        "simple",
        "libzlib >=1.3.1,<2.0a0",
        "libzlib >=1.4",
        "`python` depends on `libzlib >=1.4`, and `libzlib 1.3.1 hb9d3cd8_2` is in it{at}",
    ),
    ("simple", "- tzdata\n", "- other\n", "`python` depends on `other`, which is not in it{at}"),
    (
        "simple",
        "requires_python: '>=3.6'",
        "requires_python: '>=3.13'",
        "`idna` is for Python >=3.13, and Python 3.12.7 is in it{at}",
    ),
    (
        "mixed",
        "numpy>=1.20",
        "numpy>=2",
        "`scipy-like` asks for `numpy >=2`, and `numpy 1.26.4` is in it{at}",
    ),
    (
        "mixed",
        "speedups>=0.3 ; extra == 'fast'",
        "speedups>=0.4 ; extra == 'fast'",
        "`scipy-like` asks for `speedups >=0.4`, and `speedups 0.3.1` is in it{at}",
    ),
    (
        "mixed",
        "pkg:pypi/torch",
        "pkg:pypi/lamp",
        "`scipy-like` asks for `torch >=2`, which is not in it{at}",
    ),
];

#[test]
fn a_lock_file_that_does_not_hold_together_is_outdated() {
    for (case, from, to, reason) in TORN {
        let reason = reason.replace("{at}", ", in the environment `default` for `linux-64`");
        assert_eq!(outdated(case, LOCK, from, to), reason, "`{from}` -> `{to}` in {case}");
    }
}

#[test]
fn what_does_not_decide_packages_changes_nothing() {
    let cases = [
        (
            "simple",
            "[tasks]\nstart = \"python -m idna\"",
            "[tasks]\nother = \"x\"\n[activation.env]\nA = \"b\"",
        ),
        ("simple", "version = \"0.1.0\"", "version = \"0.2.0\"\ndescription = \"x\""),
        ("simple", "python = \">=3.12,<3.13\"", "python = \"3.12.*\""),
        (
            "simple",
            "idna = \">=3\"",
            "idna = { version = \"==3.10\", index = \"https://pypi.org/simple\" }",
        ),
        ("simple", "[\"conda-forge\"]", "[\"https://conda.anaconda.org/conda-forge\"]"),
        ("simple", "idna = \">=3\"", "IDNA = \"*\""),
        ("kinds", "absent = \"1\"", "absent = \"2\""),
        ("mixed", "pytorch = \">=2.4\"", "pytorch = { version = \">=2.4\", build = \"cpu*\" }"),
        (
            "mixed",
            "env-markers = \"sys_platform == 'win32'\"",
            "env-markers = \"python_version < '3'\"",
        ),
        ("url", "direct-1.0-py3-none-any.whl", "direct-1.0-py3-none-any.whl#sha256=12"),
    ];
    for (case, from, to) in cases {
        assert_eq!(
            changed(case, MANIFEST, from, to),
            Fit::Satisfied,
            "`{from}` -> `{to}` in {case}"
        );
    }
}

#[test]
fn one_environment_can_be_checked_alone() {
    let text = read("environments", MANIFEST).replace("ruff = \"*\"", "ruff = \">=99\"");
    let path = corpus("environments").join(MANIFEST);
    let workspace = Workspace::parse(Path::new(&path), &text).expect("a sound manifest");
    let lock = lock("environments");
    assert_eq!(check_environment(&workspace, &lock, "test"), Fit::Satisfied);
    let error = check_environment(&workspace, &lock, "lint").require(&lock).expect_err("outdated");
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is outdated: the manifest asks for `ruff >=99`, and `ruff 0.6.9 h0_0` is in it, in \
             the environment `lint` for `linux-64`; run `pixi lock`",
            lock.path().display()
        )
    );
}
