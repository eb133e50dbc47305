//! The environment with the real pip, uv and mypy that tests compare with.
//!
//! It is made once from hash-pinned wheels under `target/tools`, and made again when the list of
//! them changes. `REWARM_TEST_VENV` names another one, with a mypy of some other version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/tools.txt");
const CONDA_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/conda-client.txt");
const XONSH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/xonsh.txt");
const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target");

/// The canonical path of the environment, which is made if need be.
///
/// # Panics
///
/// If it cannot be made: without it, tests would pass that tested nothing.
pub fn environment() -> PathBuf {
    let given = std::env::var_os("REWARM_TEST_VENV").map(PathBuf::from);
    let dir = given.unwrap_or_else(|| make(Path::new(TARGET)));
    fs::canonicalize(&dir).unwrap_or_else(|error| panic!("`{}`: {error}", dir.display()))
}

/// Processes that start at once make it once.
fn make(target: &Path) -> PathBuf {
    let dir = target.join("tools");
    fs::create_dir_all(target).expect("the target directory can be made");
    let lock = fs::File::create(target.join("tools.lock")).expect("a lock file can be made");
    lock.lock().expect("the lock can be waited for");
    let stamp = dir.join("tools.txt");
    let wanted = fs::read(LIST).expect("the list of tools is part of the project");
    if fs::read(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return dir;
    }
    println!("installing pip, uv and mypy into `target/tools`");
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
    must(
        Command::new(dir.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--only-binary", ":all:", "--require-hashes", "--requirement", LIST]),
    );
    fs::write(&stamp, wanted).expect("the mark of completion can be written");
    dir
}

/// An environment with a checker that `rewarm check --tool` installs, from the same hash-pinned list;
/// made once under `target/checkers`, and again when the list changes.
///
/// # Panics
///
/// If it cannot be made.
pub fn checker(name: &str) -> PathBuf {
    pinned(name, &Path::new(PINS).join(format!("{name}.txt")))
}

/// An environment with a library that is a client of conda channels; made once under
/// `target/checkers`.
///
/// # Panics
///
/// If it cannot be made.
pub fn conda_client() -> PathBuf {
    pinned("conda-client", Path::new(CONDA_CLIENT))
}

/// An environment with the xonsh shell; made once under `target/checkers`.
///
/// # Panics
///
/// If it cannot be made.
pub fn xonsh() -> PathBuf {
    pinned("xonsh", Path::new(XONSH))
}

/// An environment under `target/checkers` with what a hash-pinned list names.
fn pinned(name: &str, list: &Path) -> PathBuf {
    let parent = Path::new(TARGET).join("checkers");
    fs::create_dir_all(&parent).expect("the target directory can be made");
    let lock = fs::File::create(parent.join(format!("{name}.lock")));
    let lock = lock.expect("a lock file can be made");
    lock.lock().expect("the lock can be waited for");
    let dir = parent.join(name);
    let wanted = fs::read(list).expect("the lists of tools are part of the project");
    let stamp = dir.join("made-from.txt");
    if !fs::read(&stamp).is_ok_and(|made_from| made_from == wanted) {
        println!("installing {name} into `target/checkers`");
        must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
        must(
            Command::new(dir.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
                .arg(list),
        );
        fs::write(&stamp, wanted).expect("the mark of completion can be written");
    }
    // A child that another thread forks meanwhile shares the open file.
    lock.unlock().expect("a lock can be let go");
    fs::canonicalize(&dir).expect("it is there")
}

/// Where an environment keeps its packages.
///
/// # Panics
///
/// If it has no such directory.
pub fn site_packages(environment: &Path) -> PathBuf {
    let versions = fs::read_dir(environment.join("lib")).expect("an environment has a library");
    let sites = versions.flatten().map(|version| version.path().join("site-packages"));
    sites.into_iter().find(|site| site.is_dir()).expect("an environment has packages")
}

const PINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rewarm/src/commands/check/pins");

/// A directory with the last pip that kept bodies within their heads, to be put on `PYTHONPATH`; made
/// once under `target/old-pip`.
///
/// # Panics
///
/// If it cannot be made.
pub fn old_pip() -> PathBuf {
    let dir = Path::new(TARGET).join("old-pip");
    let python = environment().join("bin/python");
    let lock = fs::File::create(Path::new(TARGET).join("old-pip.lock"));
    let lock = lock.expect("a lock file can be made");
    lock.lock().expect("the lock can be waited for");
    if !dir.join("made").exists() {
        println!("installing an old pip into `target/old-pip`");
        let list = Path::new(TARGET).join("old-pip.txt");
        fs::write(&list, OLD_PIP).expect("a list can be written");
        must(
            Command::new(python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--upgrade", "--require-hashes", "--requirement"])
                .arg(list)
                .arg("--target")
                .arg(&dir),
        );
        fs::write(dir.join("made"), "").expect("the mark of completion can be written");
    }
    // A child that another thread forks meanwhile shares the open file.
    lock.unlock().expect("a lock can be let go");
    fs::canonicalize(&dir).unwrap_or_else(|error| panic!("`{}`: {error}", dir.display()))
}

const OLD_PIP: &str = "pip==23.2.1 \
    --hash=sha256:7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be\n";

fn must(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
