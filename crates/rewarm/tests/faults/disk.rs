//! File systems that fail: at each write in turn, for lack of room, quota or a sound disk; and a
//! process that is killed in the middle of each write in turn.
//!
//! A library of C (`shim.c`) stands before the calls of the standard library and fails the one whose
//! turn it is. A run without faults says how many there are. Where the cache alone fails, the
//! command must succeed; where the place of the file fails too, it may say so instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rewarm_store::Digest;
use rewarm_testkit::sandbox::Output;
use rewarm_testkit::server::{Reply, Seen};

use crate::harness::{
    Case, Handler, SIZE, Scene, Tally, Way, block_on, fetched, recover, recover_unstored, rounds,
    sound, validated,
};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");

/// Builds the library that makes calls fail, once per version of its source.
fn shim() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = fs::read(SOURCE).expect("a part of the project");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = dir.join(format!("shim-{}.so", Digest::of(source)));
        if !library.exists() {
            let aside =
                tempfile::Builder::new().tempfile_in(dir).expect("writable").into_temp_path();
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&aside).arg(SOURCE);
            let built = compiler.status().expect("the project needs a C compiler anyway");
            assert!(built.success(), "{compiler:?}");
            aside.persist(&library).expect("renamed");
        }
        library
    })
}

/// Has calls about paths below `roots` fail as `told`: variables of the library.
pub(crate) fn preload(command: &mut Command, roots: &[PathBuf], told: &[(&str, String)]) {
    let roots: Vec<&str> = roots.iter().map(|root| root.to_str().expect("text")).collect();
    command.env("LD_PRELOAD", shim()).env("FAULT_ROOTS", roots.join(":"));
    command.envs(told.iter().map(|(name, value)| (name, value)));
}

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It fails, the later ones do not.
    Once,
    /// It and all later ones fail.
    On,
    /// The same, but a write does half of its work first.
    Torn,
    /// The process is killed in it.
    Kill,
}

const MODES: [Mode; 4] = [Mode::Once, Mode::On, Mode::Torn, Mode::Kill];

/// Error numbers and what users see of them.
const ERRORS: [(i32, &str); 3] =
    [(28, "No space left on device"), (5, "Input/output error"), (122, "Disk quota exceeded")];

/// Where calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Cache,
    /// The cache, the place of the file, and that of bodies which cannot be stored.
    Everywhere,
    /// The place of bodies which cannot be stored.
    Temporary,
}

impl Where {
    fn roots(self, scene: &Scene) -> Vec<PathBuf> {
        match self {
            Self::Cache => vec![scene.sandbox.cache()],
            Self::Temporary => vec![scene.tmp()],
            Self::Everywhere => vec![scene.sandbox.cache(), scene.tmp(), scene.sandbox.project()],
        }
    }
}

/// What is in the cache before the command, and what the command is about.
struct Scenario {
    name: &'static str,
    good: Handler,
    hashed: bool,
    prepare: fn(&Scene),
}

fn cold() -> Scenario {
    Scenario { name: "cold", good: Arc::new(|_| sound()), hashed: false, prepare: |_| {} }
}

fn by_digest() -> Scenario {
    Scenario { name: "by digest", hashed: true, ..cold() }
}

fn warm() -> Scenario {
    let prepare = |scene: &Scene| scene.store_both(false);
    Scenario { name: "warm", prepare, ..cold() }
}

fn stale() -> Scenario {
    let good: Handler = Arc::new(|_: &Seen| validated());
    let prepare = |scene: &Scene| scene.store_both(false);
    Scenario { name: "stale", good, prepare, ..cold() }
}

fn unstorable() -> Scenario {
    let good: Handler =
        Arc::new(|_: &Seen| Reply::generated(SIZE).header("cache-control", "no-store"));
    Scenario { name: "unstorable", good, ..cold() }
}

fn broken_off() -> Scenario {
    let good: Handler = Arc::new(|seen: &Seen| match seen.nth {
        0 => sound().cut_after(100_000),
        _ => sound(),
    });
    let prepare = |scene: &Scene| {
        let client = scene.client(|_| {});
        block_on(fetched(&client, &scene.request(false), Way::Keep)).expect_err("cut");
    };
    Scenario { name: "broken off", good, prepare, ..cold() }
}

impl Scenario {
    fn case(&self, name: &str, way: Way) -> Case {
        let good = Arc::clone(&self.good);
        Case { hashed: self.hashed, ..Case::new(format!("{} {name}", self.name), way, good) }
    }

    fn scene(&self, name: &str) -> Scene {
        let scene = Scene::new(name, Arc::clone(&self.good), Arc::clone(&self.good));
        (self.prepare)(&scene);
        scene
    }

    /// Runs the command under the library, which is told these variables; also gives the calls that
    /// were counted.
    fn command(&self, scene: &Scene, place: Where, told: &[(&str, String)]) -> (Output, usize) {
        let log = scene.sandbox.home().join("calls");
        let roots = place.roots(scene);
        let mut command = scene.fetching("file", self.hashed);
        preload(&mut command, &roots, told);
        command.env("FAULT_LOG", &log);
        let output = scene.sandbox.output(&mut command);
        let calls = fs::read_to_string(&log).unwrap_or_default().lines().count();
        (output, calls)
    }

    /// How many calls a run without faults makes.
    fn calls(&self, place: Where) -> usize {
        let scene = self.scene(self.name);
        let (output, calls) = self.command(&scene, place, &[]);
        let output = output.expect_code(0);
        assert!(calls > 0, "{} {place:?}: no call to fail: {output}", self.name);
        calls
    }

    /// One run in which the call number `at` meets its fate.
    fn run(&self, place: Where, mode: Mode, at: usize, tally: &mut Tally) {
        let (number, text) = ERRORS[at % ERRORS.len()];
        let name = format!("{place:?} {mode:?} at {at}: {text}");
        let case = self.case(&name, Way::Keep);
        tally.attempt(&case.name, || {
            let scene = self.scene(&case.name);
            let mode_name = format!("{mode:?}").to_lowercase();
            let told = [
                ("FAULT_AT", at.to_string()),
                ("FAULT_MODE", mode_name),
                ("FAULT_ERRNO", number.to_string()),
            ];
            let (output, _) = self.command(&scene, place, &told);
            let target = scene.sandbox.project().join("file");
            let outcome = match output.code {
                None if mode == Mode::Kill => Err("killed".to_owned()),
                Some(0) => {
                    let bytes = fs::read(&target).expect("a success leaves the file");
                    assert!(bytes == scene.body, "{} wrong bytes", bytes.len());
                    Ok(())
                }
                Some(3) if place != Where::Cache && !target.exists() => {
                    let stderr = &output.stderr;
                    let names_path = ["[CACHE]", "[HOME]", "[PROJECT]", "`file`"];
                    assert!(names_path.iter().any(|path| stderr.contains(path)), "{output}");
                    assert!(stderr.contains(text), "{output}");
                    Err(output.stderr)
                }
                _ => panic!("{output}"),
            };
            let again = scene.command(self.hashed).expect("the disk works again");
            assert!(again == scene.body, "after the fault: {} wrong bytes", again.len());
            if self.name == "unstorable" {
                recover_unstored(&scene, &case);
            } else {
                recover(&scene, &case);
            }
            outcome
        });
    }

    /// All calls, or in a short run every `step`th.
    fn run_all(&self, place: Where, step: usize) -> Tally {
        let mut tally = Tally::default();
        let step = if rounds(0) > 0 { 1 } else { step };
        let calls = self.calls(place);
        for (offset, mode) in MODES.into_iter().enumerate() {
            for at in (1 + offset % step..=calls).step_by(step) {
                self.run(place, mode, at, &mut tally);
            }
        }
        tally.report(&format!("{} with a disk that fails, {place:?}", self.name));
        tally
    }
}

#[test]
fn cache_that_cannot_be_written_costs_no_download() {
    let tally = cold().run_all(Where::Cache, 2);
    assert!(tally.right() > tally.errors(), "only those that were killed have no file");
}

#[test]
fn cache_that_cannot_be_written_costs_no_hit() {
    warm().run_all(Where::Cache, 1);
    stale().run_all(Where::Cache, 2);
    by_digest().run_all(Where::Cache, 4);
}

#[test]
fn cache_that_cannot_be_written_costs_no_resumption() {
    broken_off().run_all(Where::Cache, 3);
}

#[test]
fn file_that_cannot_be_written_is_named_with_the_cause() {
    let tally = cold().run_all(Where::Everywhere, 3);
    assert!(tally.right() > 0 && tally.errors() > 0);
    let tally = warm().run_all(Where::Everywhere, 2);
    assert!(tally.errors() > 0);
}

#[test]
fn temporary_directory_that_is_full_is_named_with_the_cause() {
    let tally = unstorable().run_all(Where::Temporary, 2);
    assert!(tally.errors() > 0);
}
