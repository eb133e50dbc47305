//! What is planned from the lock files of the corpus: packages by name, where they come from, or
//! the message that says why not.

use rattler_conda_types::Subdir;
use rewarm_conda::lock::{Fit, Host, LockFile, PypiLocation, Wanted, check, plan};

use super::{corpus, host, linux, names, planned, unplanned};

const BASE: [&str; 5] =
    ["_libgcc_mutex 0.1", "libgcc 14.2.0", "libzlib 1.3.1", "python 3.12.7", "tzdata 2024b"];

fn with_base(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = BASE.iter().chain(more).map(|it| (*it).to_owned()).collect();
    all.sort();
    all
}

fn ok(case: &str, environment: &str, host: &Host) -> Wanted {
    planned(case, environment, host).unwrap_or_else(|error| panic!("{case}: {error}"))
}

#[test]
fn conda_and_pypi_packages_of_one_environment_are_planned() {
    let wanted = ok("simple", "default", &linux());
    assert_eq!(names(&wanted), with_base(&["idna 3.10 (pypi)"]));
    assert_eq!(wanted.channels, ["https://conda.anaconda.org/conda-forge/"]);
    assert_eq!(wanted.pypi_indexes[0].as_str(), "https://pypi.org/simple");
    let python = wanted.conda.iter().map(|it| &it.record);
    let python = python.clone().find(|it| it.package_record.name.as_normalized() == "python");
    let python = python.expect("it is planned");
    assert_eq!(python.package_record.build.to_string(), "hc5c86c4_0_cpython");
    assert_eq!(python.package_record.subdir, "linux-64");
    assert_eq!(python.identifier.to_string(), "python-3.12.7-hc5c86c4_0_cpython.conda");
    assert!(python.package_record.sha256.is_some() && python.package_record.md5.is_some());
    assert_eq!(python.package_record.size, Some(1234));
    let idna = &wanted.pypi[0];
    assert!(idna.is_wheel() && idna.sha256.is_some());
    assert_eq!(idna.requires_python.as_deref(), Some(">=3.6"));
    assert!(matches!(&idna.location, PypiLocation::Url(url) if url.path().ends_with(".whl")));
}

#[test]
fn each_environment_and_platform_has_its_own_packages() {
    let test = ok("environments", "test", &linux());
    assert_eq!(names(&test), with_base(&["pytest 8.3.3", "tomli 2.0.2"]));
    let lint = ok("environments", "lint", &linux());
    assert_eq!(names(&lint), ["ruff 0.6.9"]);
    assert_eq!(lint.channels[0], "https://conda.anaconda.org/lint-channel/");
    let mac = ok("environments", "default", &host(Subdir::OsxArm64, &[]));
    assert_eq!(names(&mac), ["libzlib 1.3.1", "python 3.12.7", "tzdata 2024b"]);
    assert!(mac.conda.iter().all(|it| !it.location.contains("linux-64")));
    let windows = ok("environments", "default", &host(Subdir::WinArm64, &[]));
    assert_eq!(windows.platform.subdir, Subdir::Win64, "which such a machine runs too");
    assert_eq!(
        unplanned("environments", "docs", &linux()),
        format!(
            "{} defines no environment `docs`; it has `default`, `test`, `lint`",
            corpus("environments").join("pixi.toml").display()
        )
    );
}

#[test]
fn the_first_platform_that_the_machine_can_use_is_planned() {
    let cuda = ok("custom-platforms-v7", "default", &host(Subdir::Linux64, &["__cuda=12.4"]));
    assert_eq!(cuda.platform.name, "gpu");
    let more = ["cuda-version 12.6", "custom unknown (pypi)", "idna 3.10 (pypi)"];
    assert_eq!(names(&cuda), with_base(&more));
    let plain = ok("custom-platforms-v7", "default", &host(Subdir::Linux64, &["__glibc=2.36"]));
    assert_eq!(plain.platform.name, "cpu");
    assert_eq!(names(&plain), with_base(&["custom unknown (pypi)", "idna 3.10 (pypi)"]));
    let here = PypiLocation::Directory { path: corpus("custom-platforms-v7"), editable: true };
    let custom = plain.pypi.iter().find(|it| it.name == "custom").expect("it is planned");
    assert_eq!(custom.location, here, "the manifest says so");
    assert_eq!(
        unplanned("custom-platforms-v7", "default", &linux()),
        "the platform `gpu` needs `__cuda >=12.0`, and this machine has no `__cuda`; if it has it \
         all the same, set `CONDA_OVERRIDE_CUDA` to its version"
    );
}

/// A machine that offers more than what is assumed.
fn rich() -> Host {
    host(Subdir::Linux64, &["__cuda=12.4", "__glibc=2.40"])
}

#[test]
fn lock_files_of_all_shapes_are_planned_exactly() {
    let base: Vec<&str> = BASE.to_vec();
    let cases: [(&str, &str, &[&str], &[&str]); 24] = [
        ("bz2-md5", "default", &[], &["old 1.0"]),
        ("conda-path", "default", &[], &["local 1.0"]),
        ("cuda", "default", &[], &["cuda-thing 12.4.0"]),
        (
            "editable",
            "default",
            &base,
            &["idna 3.10 (pypi)", "ours unknown (pypi)", "plain unknown (pypi)"],
        ),
        ("empty", "default", &[], &[]),
        ("file-channel", "default", &[], &["thing 1.2"]),
        ("groups", "default", &base, &["idna 3.10 (pypi)"]),
        (
            "groups",
            "test",
            &base,
            &[
                "idna 3.10 (pypi)",
                "iniconfig 2.0.0 (pypi)",
                "pluggy 1.5.0 (pypi)",
                "pytest 8.3.3 (pypi)",
            ],
        ),
        ("groups", "cli", &base, &["click 8.1.7 (pypi)", "idna 3.10 (pypi)"]),
        ("inline", "default", &[], &["modern 1.0.0"]),
        ("inline", "docs", &[], &["fonts 1"]),
        ("kinds", "default", &[], &["cmake 3.30.5", "fonts 1", "libuv 1.49.2", "zlib 1.3.1"]),
        (
            "mixed",
            "default",
            &base,
            &["numpy 1.26.4", "pytorch 2.4.1", "scipy-like 1.4.0 (pypi)", "speedups 0.3.1 (pypi)"],
        ),
        ("new-glibc", "default", &[], &["modern 1.0.0"]),
        ("noarch", "default", &[], &["fonts 1"]),
        ("path-files", "default", &base, &["sdist-here 2.0 (pypi)", "wheel-here 1.0 (pypi)"]),
        ("requirements-7", "default", &[], &["fonts 1"]),
        ("requirements-7", "gpu", &[], &["fonts 1"]),
        ("sdist", "default", &base, &["source-only 1.0.1 (pypi)"]),
        ("url", "default", &base, &["archived 1.0", "direct 1.0 (pypi)", "older 2.0 (pypi)"]),
        (
            "version-4",
            "default",
            &[],
            &["idna 3.4 (pypi)", "ours unknown (pypi)", "python 3.11.6", "zlib 1.2.13"],
        ),
        (
            "version-5",
            "default",
            &[],
            &["idna 3.4 (pypi)", "ours unknown (pypi)", "python 3.11.6", "zlib 1.2.13"],
        ),
        ("version-7", "default", &base, &[]),
        ("version-7", "test", &base, &["idna 3.10 (pypi)"]),
    ];
    for (case, environment, base, more) in cases {
        let mut expected: Vec<&str> = base.iter().chain(more).copied().collect();
        expected.sort_unstable();
        assert_eq!(names(&ok(case, environment, &rich())), expected, "{case} {environment}");
    }
}

#[test]
fn what_cannot_be_had_is_named_with_what_to_do() {
    let path = |case: &str| corpus(case).join("pixi.lock").display().to_string();
    let cases: [(&str, &str); 9] = [
        (
            "cuda",
            "the platform `linux-64-cuda-12` needs `__cuda >=12`, and this machine has no `__cuda`; \
             if it has it all the same, set `CONDA_OVERRIDE_CUDA` to its version",
        ),
        (
            "new-glibc",
            "`modern` needs `__glibc >=2.39,<3.0.a0`, and this machine has `__glibc` 2.28; if it has \
             it all the same, set `CONDA_OVERRIDE_GLIBC` to its version",
        ),
        (
            "git",
            "`fromgit` is a git checkout \
             (`git+https://example.org/fromgit.git?rev=abc123#abc1230000000000000000000000000000000000`), \
             which rewarm does not install; run `pixi install`, or depend on a release or a `path`",
        ),
        (
            "source-6",
            "`built` is a conda package to be built from `built`, which rewarm does not install; run \
             `pixi install`, which builds it, or depend on a built package",
        ),
        (
            "source-7",
            "`built` is a conda package to be built from git, \
             `git+https://example.org/built.git#8ac4de1c7e2f3a4b5c6d7e8f901234567890abcd`, which \
             rewarm does not install; run `pixi install`, which builds it, or depend on a built \
             package",
        ),
        (
            "other-platform",
            "the environment `default` is for `osx-64`, and this machine is `linux-64`; add that to \
             `platforms` in the manifest and run `pixi lock`",
        ),
        ("bad-hash", "`{}`: `old` has neither a sha256 nor an md5; write it anew with `pixi lock`"),
        (
            "bad-name",
            "`{}`: `old` has `../../../etc/old` in its name, version or build; write it anew with `pixi lock`",
        ),
        (
            "bad-subdir",
            "`{}`: `old` is for `win-64`, in an environment for `linux-64`; write it anew with `pixi lock`",
        ),
    ];
    for (case, message) in cases {
        assert_eq!(unplanned(case, "default", &linux()), message.replace("{}", &path(case)));
    }
    assert_eq!(
        unplanned("bad-scheme", "default", &linux()),
        format!(
            "`{}`: `old` is behind `s3:`, which rewarm does not fetch from; write it anew with `pixi lock`",
            path("bad-scheme")
        )
    );
}

#[test]
fn files_that_are_no_lock_files_say_what_is_wrong_with_them() {
    let cases = [
        (
            "bad-merge",
            " line 10 cannot be used as a lock file: it has the marks of a merge; take one side and run `pixi lock`",
        ),
        (
            "bad-yaml",
            " cannot be used as a lock file: did not find expected node content at line 4 column 1, while parsing a flow node; write it anew with `pixi lock`",
        ),
        (
            "bad-missing",
            " cannot be used as a lock file: environment default and platform linux-64 refers to a package that does not exist: https://conda.anaconda.org/conda-forge/linux-64/old-1.0-0.conda; write it anew with `pixi lock`",
        ),
        (
            "version-1000",
            " cannot be used as a lock file: found newer lockfile format version 1000, but only up to including version 7 is supported; a newer rewarm may read it, or an older pixi write it",
        ),
        ("none", ""),
    ];
    for (case, message) in cases {
        let path = corpus(case).join("pixi.lock");
        let error = LockFile::load(&path).expect_err(case).to_string();
        let expected = match case {
            "none" => format!("there is no `{}`; make it with `pixi lock`", path.display()),
            _ => format!("`{}`{message}", path.display()),
        };
        assert_eq!(error, expected);
    }
    let path = corpus("bad-platform").join("pixi.lock");
    let error = LockFile::load(&path).expect_err("no platform").to_string();
    assert!(error.contains("'amiga-68k' is not a known subdir"), "{error}");
}

#[test]
fn places_of_packages_are_seen_from_the_lock_file() {
    let of = |case: &str, name: &str| {
        let wanted = ok(case, "default", &rich());
        let found = wanted.pypi.into_iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("{case} has no {name}"))
    };
    let directory = |path: &str, case: &str, editable| PypiLocation::Directory {
        path: corpus(case).join(path),
        editable,
    };
    assert_eq!(of("editable", "ours").location, directory("libs/ours", "editable", true));
    assert_eq!(of("editable", "plain").location, directory("libs/plain", "editable", false));
    assert_eq!(of("editable", "ours").locked_location, "./libs/ours");
    assert_eq!(of("editable", "ours").requires_dist, ["idna>=3"]);
    for version in ["version-4", "version-5"] {
        assert_eq!(of(version, "ours").location, directory("", version, true));
    }
    let wheel = of("path-files", "wheel-here");
    let path = corpus("path-files").join("wheels/wheel_here-1.0-py3-none-any.whl");
    assert_eq!(wheel.location, PypiLocation::File(path));
    assert!(wheel.is_wheel() && wheel.sha256.is_some());
    assert!(!of("path-files", "sdist-here").is_wheel());
    assert!(!of("sdist", "source-only").is_wheel());
    let url = |text: &str| PypiLocation::Url(text.parse().expect("a URL"));
    assert_eq!(of("url", "older").location, url("https://example.org/older-2.0.zip"));
    let local = ok("conda-path", "default", &linux()).conda.remove(0);
    let path = corpus("conda-path").join("packages/local-1.0-0.conda");
    assert_eq!(local.record.url.to_file_path(), Ok(path));
    assert_eq!(local.location, "packages/local-1.0-0.conda");
    let thing = ok("file-channel", "default", &linux()).conda.remove(0);
    assert_eq!(thing.record.url.as_str(), "file:///srv/channel/linux-64/thing-1.2-0.conda");
    assert_eq!(thing.record.channel.as_deref(), Some("file:///srv/channel/"));
}

#[test]
fn a_lock_file_tells_its_version_environments_and_platforms() {
    let lock = super::lock("requirements-7");
    assert_eq!((lock.version(), lock.environments()), (7, vec!["default", "gpu"]));
    let platforms = lock.platforms("gpu").expect("it has that");
    let names: Vec<&str> = platforms.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["linux-64-cuda-12-0-glibc-2-31", "osx-arm64"]);
    let asked: Vec<String> =
        platforms[0].virtual_packages.iter().map(ToString::to_string).collect();
    assert_eq!(asked, ["__cuda=12.0=0", "__glibc=2.31=0"], "without what is assumed anyway");
    assert_eq!(super::lock("version-4").version(), 4);
    let error = lock.platforms("docs").expect_err("it has not").to_string();
    assert!(
        error.ends_with("has no environment `docs`, only `default`, `gpu`; run `pixi lock`"),
        "{error}"
    );
    let error = lock.wanted("gpu", &super::plain(Subdir::Win64)).expect_err("it has not");
    let message = "for `linux-64-cuda-12-0-glibc-2-31`, `osx-arm64`, not for `win-64`; add it to \
                   `platforms` in the manifest and run `pixi lock`";
    assert!(error.to_string().ends_with(message), "{error}");
}

#[test]
fn overrides_decide_what_a_machine_offers() {
    let overrides = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let offered = |host: &Host, name: &str| {
        let found = host.virtual_packages.iter().find(|it| it.name.as_normalized() == name);
        found.map(|it| it.version.to_string())
    };
    let given = overrides(&[("CONDA_OVERRIDE_CUDA", "11.8"), ("CONDA_OVERRIDE_GLIBC", "")]);
    let host = Host::detect(&given).expect("sound overrides");
    assert_eq!(offered(&host, "__cuda").as_deref(), Some("11.8"));
    assert_eq!(offered(&host, "__glibc"), None);
    let wrong = overrides(&[("CONDA_OVERRIDE_CUDA", "twelve!")]);
    let error = Host::detect(&wrong).expect_err("no version").to_string();
    assert_eq!(
        error,
        "cannot find out the virtual packages of this machine; check the variables \
         `CONDA_OVERRIDE_…`"
    );
}

#[test]
fn what_the_test_kit_writes_is_planned() {
    use rewarm_testkit::conda::{CondaPackage, Format, PixiLock, pixi_toml};
    let archives = [
        CondaPackage::new("tool", "1.5")
            .platform("linux-64")
            .depends("data >=1")
            .archive(Format::Conda),
        CondaPackage::new("data", "2").archive(Format::TarBz2),
    ];
    for channel in ["file:///srv/channel/", "http://127.0.0.1:8080/channel/"] {
        let conda = &archives;
        let text = PixiLock {
            channel,
            platform: "linux-64",
            environments: &["default"],
            conda,
            pypi: &[],
            wheels: "",
        }
        .text();
        let lock = LockFile::read("/w/pixi.lock".as_ref(), &text).expect("a sound lock file");
        let text = pixi_toml("kit", channel, "linux-64", &archives);
        let workspace = super::parsed(&text);
        assert_eq!(check(&workspace, &lock), Fit::Satisfied);
        let host = Host::assumed(Subdir::Linux64);
        let wanted = plan(&workspace, &lock, "default", &host).expect("a plan");
        assert_eq!(names(&wanted), ["data 2", "tool 1.5"]);
        for (package, archive) in wanted.conda.iter().zip([&archives[0], &archives[1]]) {
            assert_eq!(package.record.url.as_str(), format!("{channel}{}", archive.path()));
        }
    }
}
