//! What is planned from the lock files of the corpus: packages by name, where they come from, or
//! the message that says why not.

use rattler_conda_types::Subdir;
use rewarm_conda::lock::{PypiLocation, Wanted};

use super::{corpus, host, linux, names, planned, unplanned};

const BASE: [&str; 5] =
    ["_libgcc_mutex 0.1", "libgcc 14.2.0", "libzlib 1.3.1", "python 3.12.7", "tzdata 2024b"];

fn with_base(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = BASE.iter().chain(more).map(|it| (*it).to_owned()).collect();
    all.sort();
    all
}

fn ok(case: &str, environment: &str, host: &rewarm_conda::lock::Host) -> Wanted {
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
