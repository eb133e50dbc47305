//! Projects of conda: environment files with lists of URLs or a lock of conda-lock.

use std::fs;
use std::path::Path;

use rattler_conda_types::Subdir;
use rewarm_conda::lock::{Fit, Wanted};
use rewarm_conda::source::{CondaEnvironment, find, parse_explicit};

use super::{corpus, host, linux, names};

fn wanted(case: &str) -> Wanted {
    let files = find(&corpus(case), &linux()).expect("a project");
    files.wanted(&linux()).unwrap_or_else(|error| panic!("{case}: {error}"))
}

#[test]
fn a_list_of_urls_is_planned_with_the_digest_of_each() {
    let wanted = wanted("conda-explicit");
    assert_eq!(wanted.environment, "analysis", "as the environment file calls it");
    let expected = ["idna 3.10 (pypi)", "old 1.0", "python 3.12.7", "tzdata 2024b"];
    assert_eq!(names(&wanted), expected);
    let digests: Vec<_> = wanted
        .conda
        .iter()
        .map(|it| &it.record.package_record)
        .map(|it| (it.subdir.as_str(), it.sha256.is_some(), it.md5.is_some()))
        .collect();
    let linux = "linux-64";
    assert_eq!(digests, [(linux, true, false), ("noarch", true, false), (linux, false, true)]);
    let python = &wanted.conda[0].record;
    assert_eq!(python.url.fragment(), None);
    assert_eq!(python.package_record.build.to_string(), "hc5c86c4_0_cpython");
    assert_eq!(python.channel.as_deref(), Some("https://conda.anaconda.org/conda-forge/"));
    assert!(wanted.pypi[0].sha256.is_some() && wanted.pypi[0].is_wheel());
}

#[test]
fn a_lock_of_conda_lock_is_planned() {
    let wanted = wanted("conda-lock");
    assert_eq!(names(&wanted), ["idna 3.10 (pypi)", "python 3.12.7", "tzdata 2024b"]);
    let mac = host(Subdir::OsxArm64, &[]);
    let files = find(&corpus("conda-lock"), &mac).expect("a project");
    let error = files.wanted(&mac).expect_err("not for that").to_string();
    let path = corpus("conda-lock").join("conda-lock.yml");
    let message = format!(
        "`{}` is for `linux-64`, and this machine is `osx-arm64`; lock it for that with `conda-lock \
         -p osx-arm64`",
        path.display()
    );
    assert_eq!(error, message);
}

#[test]
fn an_environment_file_alone_is_refused_with_the_ways_to_lock_it() {
    let files = find(&corpus("conda-unlocked"), &linux()).expect("a project");
    assert_eq!(files.lock, None);
    let dir = corpus("conda-unlocked");
    assert_eq!(
        files.wanted(&linux()).expect_err("nothing is locked").to_string(),
        format!(
            "`{0}/environment.yaml` does not say which packages; lock it with `conda-lock -k \
             explicit -p linux-64`, or in an environment made from it with `conda list --explicit \
             --sha256 > {0}/conda-linux-64.lock`, or make it a workspace with `pixi init --import`",
            dir.display()
        )
    );
    assert_eq!(find(&corpus("simple"), &linux()), None);
}

#[test]
fn the_lock_of_the_machine_comes_before_others() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name);
    let found = || find(dir.path(), &linux()).and_then(|it| it.lock);
    let order = ["conda-lock.yml", "explicit.txt", "explicit-linux-64.txt", "conda-linux-64.lock"];
    fs::write(path("conda-osx-64.lock"), "").expect("writable");
    assert_eq!(found(), None);
    for name in order {
        fs::write(path(name), "").expect("writable");
        assert_eq!(found(), Some(path(name)));
    }
}

#[test]
fn an_environment_file_says_name_channels_packages_and_variables() {
    let files = find(&corpus("conda-explicit"), &linux()).expect("a project");
    let environment = files.environment().expect("sound").expect("it is there");
    assert_eq!(environment.name.as_deref(), Some("analysis"));
    assert_eq!(environment.channels, ["conda-forge"]);
    assert_eq!(environment.conda.len(), 2);
    assert_eq!(environment.pip, ["idna>=3"]);
    assert_eq!(environment.variables, [("MODE".to_owned(), "fast".to_owned())]);
    let wrong = CondaEnvironment::parse(Path::new("/p/environment.yml"), "dependencies: 3\n");
    let error = wrong.expect_err("no list").to_string();
    assert!(error.starts_with("`/p/environment.yml` is no environment file of conda: "), "{error}");
}

#[test]
fn a_lock_has_to_have_what_the_environment_file_asks_for() {
    let wanted = wanted("conda-explicit");
    let fit = |text: &str| {
        let path = Path::new("/p/environment.yml");
        CondaEnvironment::parse(path, text).expect("sound").fits(&wanted)
    };
    let outdated = |reason: &str| Fit::Outdated { reason: reason.to_owned() };
    assert_eq!(fit("dependencies: [python, old =1]\n"), Fit::Satisfied);
    assert_eq!(fit("dependencies: [ruby]\n"), outdated("`ruby` is not in it"));
    assert_eq!(
        fit("dependencies: ['python <3']\n"),
        outdated("`python <3` is asked for, and `python 3.12.7 hc5c86c4_0_cpython` is in it")
    );
    assert_eq!(
        fit("dependencies: [{ pip: [requests] }]\n"),
        outdated("`requests` (of `pip`) is not in it")
    );
    assert_eq!(
        fit("dependencies: [{ pip: ['idna<3', '-e .'] }]\n"),
        outdated("`idna<3` is asked for, and `idna 3.10` is in it")
    );
}

#[test]
fn wrong_lines_of_a_list_are_named() {
    let refused = |text: &str| {
        let error = parse_explicit(Path::new("/p/explicit.txt"), text, &linux());
        error.expect_err("a wrong line").to_string()
    };
    let digest = "0".repeat(64);
    let url = "https://example.org/c/linux-64/a-1-0.conda";
    let cases = [
        (
            String::new(),
            "line 1: there is no line `@EXPLICIT`; write the list with `conda list --explicit --sha256`",
        ),
        (
            format!("{url}#{digest}\n"),
            "line 1: expected the line `@EXPLICIT` before the first package; write the list with `conda list --explicit --sha256`",
        ),
        (
            format!("@EXPLICIT\n\n{url}\n"),
            "line 3: the URL has no digest behind `#`; write the list with `conda list --explicit --sha256`",
        ),
        (
            format!("@EXPLICIT\n{url}#{digest}\n{url}#{digest}\n"),
            "line 3: `a` is listed twice; keep one",
        ),
        (
            "@EXPLICIT\npython=3.12\n".to_owned(),
            "line 2: `python=3.12` is no URL: relative URL without a base",
        ),
        (
            "@EXPLICIT\nhttps://example.org/index.html\n".to_owned(),
            "line 2: `https://example.org/index.html` does not end in the name of a conda package",
        ),
        (
            "# platform: osx-64\n@EXPLICIT\n".to_owned(),
            "line 1: the list is for `osx-64`, and this machine is `linux-64`",
        ),
        ("# platform: amiga\n@EXPLICIT\n".to_owned(), "line 1: `amiga` is no conda platform"),
        (
            "@EXPLICIT\n# pip idna @ https://example.org/idna-3.whl\n".to_owned(),
            "line 2: `idna @ https://example.org/idna-3.whl` is not `NAME @ URL --hash=sha256:DIGEST`",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refused(&text), format!("`/p/explicit.txt` {message}"));
    }
    let other = format!("@EXPLICIT\nhttps://example.org/c/win-64/a-1-0.conda#{digest}\n");
    let message = "`/p/explicit.txt`: `a` is for `win-64`, in an environment for `linux-64`; write it anew with `conda list --explicit --sha256`";
    assert_eq!(refused(&other), message);
}
