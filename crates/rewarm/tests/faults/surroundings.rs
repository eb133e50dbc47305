//! What is around a request fails: the cache vanishes or may not be written, the clock jumps, there is
//! no room, other processes do the same and die.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

use rewarm_http::{Event, NO_EVENTS};
use rewarm_testkit::sandbox::Output;
use rewarm_testkit::server::{Gate, Reply, Seen};

use crate::harness::{
    Case, Draw, Handler, SIZE, Scene, Tally, Way, block_on, recover, rounds, set_clock, sound,
    validated,
};

/// What is removed while a request is under way.
const VANISHING: [&str; 6] = ["", "partial-v1", "tmp", "locks", "blobs-v1", "http-v1"];

#[test]
fn cache_deleted_under_a_request_costs_no_bytes() {
    let mut tally = Tally::default();
    for way in [Way::Keep, Way::Read, Way::Command, Way::Proxy] {
        for what in VANISHING {
            for at in [None, Some(0), Some(1), Some(70_000), Some(SIZE - 1)] {
                let name = format!("`{what}` deleted at {at:?} {way:?}");
                if tally.is_turn(2) {
                    tally.attempt(&name, || deleted(&name, way, what, at));
                }
            }
        }
    }
    tally.report("caches deleted under a request");
    assert_eq!(tally.errors(), 0, "the origin is sound, so every request can be answered");
}

fn deleted(name: &str, way: Way, what: &str, at: Option<u64>) -> Result<(), String> {
    let gate = Gate::closed();
    let held = gate.clone();
    let gated: Handler = Arc::new(move |_: &Seen| match at {
        Some(bytes) => sound().gate_after(bytes, &held),
        None => sound().gate(&held),
    });
    let case = Case::new(name, way, Arc::new(|_: &Seen| sound()));
    let scene = Scene::new(name, Arc::clone(&case.good), gated);
    scene.store_both(false);
    fs::remove_dir_all(scene.sandbox.cache().join("http-v1")).expect("it was there");
    scene.set_faulty(true);
    let outcome = std::thread::scope(|scope| {
        let asking = scope.spawn(|| scene.ask(&case));
        gate.wait_reached();
        let _ = fs::remove_dir_all(scene.sandbox.cache().join(what));
        gate.open();
        asking.join().expect("right bytes or a clear error")
    });
    scene.set_faulty(false);
    recover(&scene, &case);
    outcome
}

const YEAR: i64 = 366 * 24 * 60 * 60;

#[test]
fn clock_that_steps_between_requests_changes_no_byte() {
    let mut tally = Tally::default();
    for good in [sound as fn() -> Reply, validated] {
        for way in [Way::Keep, Way::Read] {
            let name = format!("clock steps {way:?}");
            tally.attempt(&name, || {
                let case = Case::new(&name, way, Arc::new(move |_: &Seen| good()));
                let scene = Scene::new(&name, Arc::clone(&case.good), Arc::clone(&case.good));
                for ahead in [0, YEAR, -YEAR, 20 * YEAR, -20 * YEAR, 1, -1, 0] {
                    set_clock(ahead);
                    scene.ask(&case).expect("the origin is sound");
                    recover(&scene, &case);
                }
                Ok(())
            });
        }
    }
    set_clock(0);
    tally.report("clocks that step between requests");
    assert_eq!(tally.errors(), 0);
}

#[test]
fn clock_that_steps_during_a_download_changes_no_byte() {
    let mut tally = Tally::default();
    for ahead in [YEAR, -YEAR, 40 * YEAR, -40 * YEAR] {
        let name = format!("clock steps by {ahead} s during a download");
        tally.attempt(&name, || {
            set_clock(0);
            let case = Case::new(&name, Way::Keep, Arc::new(|_: &Seen| sound()));
            let scene = Scene::new(&name, Arc::clone(&case.good), Arc::clone(&case.good));
            let (client, _store) = scene.client(|_| {});
            let step = |event: Event<'_>| {
                if matches!(event, Event::Progress { .. }) {
                    set_clock(ahead);
                }
            };
            block_on(client.fetch(&scene.request(false), &step)).expect("the origin is sound");
            scene.ask(&case).expect("the origin is sound");
            recover(&scene, &case);
            Ok(())
        });
    }
    set_clock(0);
    tally.report("clocks that step during a download");
}

/// What this user may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    /// Write any directory of the cache.
    Everything,
    /// Write the directories of this area.
    Area(&'static str),
    /// Read the files of this area.
    Files(&'static str),
    /// Read or enter the cache at all.
    Entering,
}

const DENIALS: [Denial; 11] = [
    Denial::Everything,
    Denial::Area("blobs-v1"),
    Denial::Area("http-v1"),
    Denial::Area("locks"),
    Denial::Area("tmp"),
    Denial::Area("partial-v1"),
    Denial::Files("blobs-v1"),
    Denial::Files("http-v1"),
    Denial::Files("locks"),
    Denial::Files("partial-v1"),
    Denial::Entering,
];

fn nobody() -> (Option<u32>, Option<u32>) {
    (Some(65_534), Some(65_534))
}

/// Everything below `path`, itself first.
fn all_below(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        for entry in fs::read_dir(path).expect("readable").flatten() {
            found.extend(all_below(&entry.path()));
        }
    }
    found
}

impl Denial {
    /// Takes permissions away, or gives them back.
    fn set(self, cache: &Path, is_denied: bool) {
        let (below, files, bits) = match self {
            Self::Everything => (cache.to_owned(), false, 0o500),
            Self::Entering => return set_mode(cache, if is_denied { 0 } else { 0o700 }),
            Self::Area(area) => (cache.join(area), false, 0o500),
            Self::Files(area) => (cache.join(area), true, 0),
        };
        if below.exists() {
            for path in all_below(&below) {
                match path.is_dir() {
                    true if !files => set_mode(&path, if is_denied { bits } else { 0o700 }),
                    false if files => set_mode(&path, if is_denied { bits } else { 0o600 }),
                    _ => {}
                }
            }
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("an owner may do that");
}

/// Runs the command as a user who is not root; `None` where that cannot be had.
fn as_nobody(scene: &Scene, command: &Command) -> Option<Output> {
    let top = scene.sandbox.home().parent().expect("below the sandbox").to_owned();
    let is_root = rustix::process::geteuid().is_root();
    let give = |(user, group): (Option<u32>, Option<u32>)| {
        let mut paths = all_below(&top).into_iter().filter(|_| is_root);
        paths.try_for_each(|path| std::os::unix::fs::lchown(path, user, group))
    };
    let setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let mut words = setpriv.iter().map(std::ffi::OsStr::new).filter(|_| is_root);
    let program = words.next().unwrap_or(command.get_program());
    let mut around = Command::new(program);
    around.args(words);
    if is_root {
        around.arg(command.get_program());
    }
    around.args(command.get_args()).current_dir(scene.sandbox.project()).env_clear();
    around.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // In some containers there is no user but root.
    if let Err(error) = give(nobody()) {
        eprintln!("SKIPPED: nothing can be given to another user: {error}");
        give((Some(0), Some(0))).expect("root may take it back");
        return None;
    }
    let output = scene.sandbox.output(&mut around);
    give((Some(0), Some(0))).expect("root may take it back");
    if is_root && output.stderr.contains("setpriv: failed to execute") {
        eprintln!("SKIPPED: another user cannot run this binary: {output}");
        return None;
    }
    Some(output)
}

#[test]
fn cache_that_this_user_may_not_write_costs_no_bytes() {
    let mut tally = Tally::default();
    let mut skipped = 0;
    for denial in DENIALS {
        for (stand, is_stored, hashed) in [
            ("absent", false, false),
            ("stored", true, false),
            ("stored, by digest", true, true),
            ("damaged", true, false),
            ("damaged, by digest", true, true),
        ] {
            let name = format!("{denial:?}, {stand}");
            tally.attempt(&name, || {
                let case = Case::new(&name, Way::Keep, Arc::new(|_: &Seen| sound()));
                let case = Case { hashed, ..case };
                let scene = Scene::new(&name, Arc::clone(&case.good), Arc::clone(&case.good));
                match is_stored {
                    true => scene.store_both(hashed),
                    // Of what is there, only the other file is known.
                    false => {
                        let other = scene.other();
                        let client = scene.client(|_| {});
                        block_on(client.0.fetch(&other, NO_EVENTS)).expect("a sound origin");
                    }
                }
                let cache = scene.sandbox.cache();
                if stand.starts_with("damaged") {
                    let blobs = crate::harness::files_below(&cache.join("blobs-v1"));
                    blobs.iter().for_each(|blob| fs::write(blob, "damaged").expect("writable"));
                }
                denial.set(&cache, true);
                let output = as_nobody(&scene, &scene.fetching("file", hashed));
                denial.set(&cache, false);
                match output {
                    Some(output) => {
                        let bytes = scene.judge(&output).expect("the file could be written");
                        assert!(bytes == scene.body, "{} wrong bytes", bytes.len());
                    }
                    None => skipped += 1,
                }
                recover(&scene, &case);
                Ok(())
            });
        }
    }
    tally.report("caches that may not be written");
    println!("faults: {skipped} of them skipped");
    assert_eq!(tally.errors(), 0, "the place of the file could be written");
}

/// Starts a command in which some write, drawn anew for each, fails or is the last.
fn start_unlucky(scene: &Scene, draw: &mut Draw, number: usize) -> Child {
    let target = format!("{number}-file");
    let mut command = scene.fetching(&target, false);
    let mode = ["once", "on", "torn", "kill"][usize::try_from(draw.below(4)).expect("small")];
    let error = ["28", "5", "122"][usize::try_from(draw.below(3)).expect("small")];
    let told = [
        ("FAULT_AT", (1 + draw.below(60)).to_string()),
        ("FAULT_MODE", mode.to_owned()),
        ("FAULT_ERRNO", error.to_owned()),
    ];
    crate::disk::preload(&mut command, &[scene.sandbox.cache()], &told);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    command.spawn().expect("it starts")
}

#[test]
#[cfg(target_os = "linux")]
fn processes_at_once_with_disks_that_fail_get_their_bytes() {
    let mut tally = Tally::default();
    for seed in 1..=rounds(6) {
        let together = if seed % 3 == 0 { 8 } else { 2 };
        let mut draw = Draw::new(seed);
        let name = format!("{together} at once, seed {seed}");
        let good: Handler = match seed % 2 {
            0 => Arc::new(|_: &Seen| sound()),
            _ => Arc::new(|seen: &Seen| match seen.nth {
                0 => sound().cut_after(99_000),
                _ => sound(),
            }),
        };
        tally.attempt(&name, || {
            let case = Case::new(&name, Way::Keep, good);
            let scene = Scene::new(&name, Arc::clone(&case.good), Arc::clone(&case.good));
            let children: Vec<Child> =
                (0..together).map(|number| start_unlucky(&scene, &mut draw, number)).collect();
            for (number, child) in children.into_iter().enumerate() {
                let output = child.wait_with_output().expect("it ends");
                let target = scene.sandbox.project().join(format!("{number}-file"));
                match output.status.code() {
                    None => {}
                    Some(0) => assert!(fs::read(target).expect("readable") == scene.body),
                    _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
                }
            }
            let again = scene.command(false).expect("the disk works again");
            assert!(again == scene.body, "after the fault: {} wrong bytes", again.len());
            recover(&scene, &case);
            Ok(())
        });
    }
    tally.report("processes at once with disks that fail");
}

/// Runs `line` of `sh` in which `$1` is a tiny file system; `None` where it cannot be mounted.
fn on_tiny_disk(scene: &Scene, place: &Path, options: &str) -> Option<Output> {
    fs::create_dir_all(place).expect("a free name");
    let command = scene.fetching("file", false);
    let script = format!(
        "mount -t tmpfs -o mode=700,{options} rewarm \"$1\" || exit 77; shift; exec \"$@\""
    );
    let mut around = Command::new("unshare");
    around.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        around.arg("--map-root-user");
    }
    around.args(["sh", "-c", &script, "sh"]).arg(place).arg(command.get_program());
    around.args(command.get_args()).current_dir(scene.sandbox.project()).env_clear();
    around.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = scene.sandbox.output(&mut around);
    let is_mounted = output.code != Some(77) && !output.stderr.contains("unshare");
    if !is_mounted {
        eprintln!("SKIPPED: no file system can be mounted here: {output}");
    }
    is_mounted.then_some(output)
}

#[test]
#[cfg(target_os = "linux")]
fn disk_without_room_for_the_cache_costs_no_bytes() {
    let mut tally = Tally::default();
    let rooms = ["size=4k", "size=64k", "size=148k", "size=152k", "size=160k", "size=1m"];
    let inodes = ["nr_inodes=2", "nr_inodes=5", "nr_inodes=8", "nr_inodes=12", "nr_inodes=16"];
    for options in rooms.into_iter().chain(inodes) {
        for is_storable in [true, false] {
            let name = format!("{options}, storable {is_storable}");
            tally.attempt(&name, || {
                let control = if is_storable { "max-age=600" } else { "no-store" };
                let good: Handler = Arc::new(move |_: &Seen| {
                    Reply::generated(SIZE).header("cache-control", control)
                });
                let scene = Scene::new(&name, Arc::clone(&good), good);
                // Where it may not be stored, it goes through the temporary directory.
                let place = if is_storable { scene.sandbox.cache() } else { scene.tmp() };
                let Some(output) = on_tiny_disk(&scene, &place, options) else { return Ok(()) };
                match scene.judge(&output) {
                    Ok(bytes) => assert!(bytes == scene.body, "{} wrong bytes", bytes.len()),
                    Err(text) => {
                        assert!(!is_storable, "{text}");
                        assert!(text.contains("No space left on device"), "{text}");
                        return Err(text);
                    }
                }
                Ok(())
            });
        }
    }
    tally.report("disks without room");
}
