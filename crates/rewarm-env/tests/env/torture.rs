//! Several processes at one environment, and processes that die at it.
//!
//! The test binary runs itself again as the other process. `REWARM_TORTURE_ROUNDS` sets how often
//! an installation is killed; the default keeps the test short.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rewarm_env::{Options, Outdated, Project, Status, check};
use rewarm_store::Store;
use rewarm_testkit::packages::{Artifact, Package};

use crate::support::{Fixture, Result, later, options};

const PROJECT: &str = "REWARM_TEST_PROJECT";
const SEARCH_PATH: &str = "REWARM_TEST_PATH";
const READY: &str = "ready to install";
const ROUNDS: &str = "REWARM_TORTURE_ROUNDS";

#[expect(clippy::disallowed_methods, reason = "how the test binary tells itself what to be")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Not a test of its own: installs the project that the variable names.
#[test]
fn worker() -> Result {
    let Some(root) = variable(PROJECT).map(PathBuf::from) else { return Ok(()) };
    let options = Options {
        path: variable(SEARCH_PATH).map(PathBuf::from).into_iter().collect(),
        revalidate: true,
        ..Options::default()
    };
    println!("\n{READY}");
    install(&root, &options)
}

fn install(root: &Path, options: &Options) -> Result {
    let store = Store::open(&root.parent().ok_or("no parent")?.join("store"))?;
    let project = Project::find(root).ok_or("no project")?;
    if let Status::Needs(preparation) = check(&project, &store, options, later())? {
        preparation.plan(&[])?.execute(&store, &|_| {})?;
    }
    Ok(())
}

/// Starts another process that installs, and waits until it is about to.
fn spawn(root: &Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "torture::worker", "--nocapture"]);
    command.env(PROJECT, root).env(SEARCH_PATH, &options().path[0]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = child.stdout.take().ok_or("no pipe")?;
    let mut lines = BufReader::new(output).lines();
    while lines.next().ok_or("the worker ended early")?? != READY {}
    // Keep the pipe open: the worker's harness prints its result to it.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(child)
}

/// Many small packages, so that there are many points at which to die.
fn packages(numbers: std::ops::Range<usize>, version: &str) -> Vec<Artifact> {
    let package = |number: usize| {
        let name = format!("p{number}");
        let script = format!("tool{number}");
        (0..8)
            .fold(Package::new(&name, version), |package, file| {
                package.file(&format!("{name}/m{file}.py"), format!("X = '{name} {version}'\n"))
            })
            .file(&format!("{name}/v{version}.py"), "")
            .console_script(&script, &format!("{name}:main"))
            .data(&format!("data/share/{name}/{version}"), "data\n")
            .wheel()
    };
    numbers.map(package).collect()
}

/// Every file and directory of the environment that belongs to packages.
fn listing(venv: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![venv.join("lib"), venv.join("bin"), venv.join("share")];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry?.path();
            found.insert(path.strip_prefix(venv)?.display().to_string());
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path);
            }
        }
    }
    // An empty directory of data that is gone does no harm.
    found.retain(|path| !(path.starts_with("share/") && venv.join(path).is_dir()));
    Ok(found)
}

fn fresh_listing(artifacts: &[Artifact]) -> Result<BTreeSet<String>> {
    let fixture = Fixture::new()?;
    fixture.lock(artifacts)?;
    fixture.install()?;
    listing(&fixture.venv())
}

#[test]
fn a_killed_installation_is_repaired_by_the_next() -> Result {
    let rounds = variable(ROUNDS).and_then(|text| text.parse().ok()).unwrap_or(8_u32);
    let locks = [packages(0..12, "1"), packages(4..16, "2")];
    let expected = [fresh_listing(&locks[0])?, fresh_listing(&locks[1])?];
    let fixture = Fixture::new()?;
    fixture.lock(&locks[0])?;
    let options = Options { revalidate: true, ..options() };
    install(&fixture.root(), &options)?;
    fixture.lock(&locks[1])?;
    install(&fixture.root(), &options)?;
    fixture.lock(&locks[0])?;
    let started = Instant::now();
    install(&fixture.root(), &options)?;
    let whole = started.elapsed();
    let mut unfinished = 0;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        // Two installations die, of different locks, then one is left to end.
        for index in [round % 2, 1 - round % 2] {
            fixture.lock(&locks[usize::try_from(index)?])?;
            if round % 3 == 2 && fixture.venv().exists() {
                fs::remove_dir_all(fixture.venv())?;
            }
            let mut child = spawn(&fixture.root())?;
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(
                whole.mul_f64(f64::from(u32::try_from(seed >> 33)?) / f64::from(1_u32 << 31)),
            );
            child.kill()?;
            child.wait()?;
            let state =
                check(&fixture.project()?, &fixture.store, &crate::support::options(), later())?;
            unfinished += u32::from(is_unfinished(&state));
        }
        let index = usize::try_from(round / 2 % 2)?;
        fixture.lock(&locks[index])?;
        install(&fixture.root(), &options)?;
        let found = listing(&fixture.venv())?;
        let differences: Vec<_> = found.symmetric_difference(&expected[index]).collect();
        assert!(differences.is_empty(), "round {round}: {differences:?}");
        assert!(fixture.is_up_to_date()?);
    }
    println!("{unfinished} of {} installations died half-way", 2 * rounds);
    Ok(())
}

fn is_unfinished(status: &Status) -> bool {
    matches!(status, Status::Needs(preparation) if preparation.reason == Outdated::Unfinished)
}

#[test]
fn processes_that_install_at_once_take_turns() -> Result {
    let lock = packages(0..6, "1");
    let expected = fresh_listing(&lock)?;
    let fixture = Fixture::new()?;
    fixture.lock(&lock)?;
    let children: Vec<_> = (0..4).map(|_| spawn(&fixture.root())).collect::<Result<_>>()?;
    for mut child in children {
        assert!(child.wait()?.success());
    }
    let found = listing(&fixture.venv())?;
    let differences: Vec<_> = found.symmetric_difference(&expected).collect();
    assert!(differences.is_empty(), "{differences:?}");
    assert!(fixture.is_up_to_date()?);
    Ok(())
}
