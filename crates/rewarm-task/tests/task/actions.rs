//! Actions: what makes a hit, what makes a miss, and what comes back.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rewarm_activation::Variables;
use rewarm_store::{Digest, Limits, Store};
use rewarm_task::{Action, ActionError, Lookup, Node, Place, Stream};

use crate::support::{graph, pixi};

const TASK: &str = r#"
    [default.t]
    cmd = "make {{ what }}"
    args = [{ arg = "what", default = "all" }]
    env = { FLAGS = "-O2 $EXTRA" }
    inputs = ["src/**/*.c", "!src/skip.c", "config"]
    outputs = ["out/**", "link"]
    "#;

struct World {
    _dir: tempfile::TempDir,
    place: Place,
    node: Node,
}

fn node(text: &str, arguments: &[&str]) -> Node {
    graph(&pixi(text), "t", arguments).expect("it can be run").root().clone()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("it is there").join("work");
        for (path, text) in [("src/a.c", "a"), ("src/sub/b.c", "b"), ("config", "c")] {
            write(&root.join(path), text);
        }
        let place = Place {
            root,
            store: Store::open(&dir.path().join("store")).expect("a store"),
            platform: "linux-64".into(),
            packages: Digest::of("packages"),
            variables: Variables::from([
                ("EXTRA".into(), "-g".into()),
                ("OTHER".into(), "1".into()),
            ]),
        };
        Self { _dir: dir, place, node: node(TASK, &[]) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.root.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    fn action(&self) -> Action {
        let action = Action::new(&self.node, self.place.clone()).expect("patterns are right");
        action.expect("it is an action").expect("it can be kept")
    }

    fn look_up(&self) -> Lookup {
        self.action().look_up(later()).expect("all can be read")
    }

    /// Looks up, makes its outputs, and keeps them.
    fn run(&self) {
        let lookup = self.look_up();
        self.write("out/a.o", "object");
        self.write("out/bin/run", "program");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path("out/bin/run"), mode).expect("it is ours");
        fs::create_dir_all(self.path("out/empty")).expect("it can be made");
        let _ = fs::remove_file(self.path("link"));
        symlink("out/a.o", self.path("link")).expect("it can be made");
        let not_kept = self.action().publish(lookup, &log(), later()).expect("it can be kept");
        assert_eq!(not_kept, None);
    }

    fn is_hit(&self) -> bool {
        self.look_up().entry.is_some()
    }

    #[track_caller]
    fn expect_miss(&self, reason: &str) {
        let lookup = self.look_up();
        assert!(lookup.entry.is_none(), "{reason}");
        assert_eq!(lookup.reason, reason);
    }

    fn restore(&self) -> usize {
        let entry = self.look_up().entry.expect("it is kept");
        assert_eq!(entry.log, log());
        entry.restore(&self.place, later()).expect("it can be restored")
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it lies somewhere")).expect("it can be made");
    fs::write(path, text).expect("it can be written");
}

/// When all that was written has settled.
fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)
}

fn log() -> Vec<(Stream, Vec<u8>)> {
    vec![
        (Stream::Stdout, b"one\n".to_vec()),
        (Stream::Stderr, b"two\xff\n".to_vec()),
        (Stream::Stdout, b"three".to_vec()),
    ]
}

#[test]
fn nothing_changed_is_a_hit() {
    let world = World::new();
    world.expect_miss("it has not run here before");
    world.run();
    assert!(world.is_hit());
    assert_eq!(world.restore(), 0);
}

#[test]
fn every_input_of_the_key_is_missed() {
    let mut world = World::new();
    world.run();

    world.write("src/a.c", "A");
    world.expect_miss("`src/a.c` changed");
    world.write("src/a.c", "a");
    world.write("src/new.c", "");
    world.expect_miss("`src/new.c` is new");
    fs::remove_file(world.path("src/new.c")).expect("it was there");
    fs::remove_file(world.path("src/sub/b.c")).expect("it was there");
    world.expect_miss("`src/sub/b.c` is gone");
    world.write("src/sub/b.c", "b");
    let executable = |bits| {
        fs::set_permissions(world.path("config"), fs::Permissions::from_mode(bits)).expect("ours");
    };
    executable(0o755);
    world.expect_miss("`config` changed");
    executable(0o644);
    assert!(world.is_hit());

    let place = world.place.clone();
    world.place.packages = Digest::of("other");
    world.expect_miss("the environment changed");
    world.place.packages = place.packages;
    world.place.platform = "osx-arm64".into();
    world.expect_miss("the platform changed");
    world.place.platform.clone_from(&place.platform);
    world.place.variables.insert("EXTRA".into(), "-g0".into());
    world.expect_miss("variable `FLAGS` changed");
    world.place.variables.remove(std::ffi::OsStr::new("EXTRA"));
    world.expect_miss("variable `FLAGS` changed");
    world.place.variables = place.variables;
    assert!(world.is_hit());

    for (text, reason) in [
        (TASK.replace("make", "cmake"), "the command changed"),
        (TASK.replace("-O2", "-O3"), "variable `FLAGS` changed"),
        (TASK.replace("[default.t]", "[default.t]\ncwd = 'src'"), "the working directory changed"),
        (
            TASK.replace("[default.t]", "[default.t]\nclean-env = true"),
            "whether the environment is clean changed",
        ),
        (TASK.replace("\"link\"", "\"link\", \"more\""), "the patterns changed"),
        (TASK.replace("FLAGS", "FLAG"), "variable `FLAG` is new"),
    ] {
        world.node = node(&text, &[]);
        world.expect_miss(reason);
    }
    // Its own last run is another one.
    world.node = node(TASK, &["some"]);
    world.expect_miss("it has not run here before");
    world.node = node(TASK, &["all"]);
    assert!(world.is_hit());
    world.node = node(TASK, &["--", "all"]);
    assert!(!world.is_hit());
}

#[test]
fn all_else_is_no_input() {
    let mut world = World::new();
    world.run();
    let touched =
        fs::File::options().append(true).open(world.path("src/a.c")).expect("it is there");
    touched.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
    world.write("src/skip.c", "x");
    world.write("src/a.h", "x");
    world.write("src/.hidden/c.c", "x");
    world.write("unrelated", "x");
    world.place.variables.insert("OTHER".into(), "2".into());
    assert!(world.is_hit());
    // Another checkout of the same content finds it as well.
    let other = World::new();
    world.place.root.clone_from(&other.place.root);
    assert!(world.is_hit());
    assert_eq!(world.restore(), 4);
    assert_eq!(other.read("out/a.o"), "object");
}

#[test]
fn outputs_come_back_as_they_were() {
    let world = World::new();
    world.run();
    fs::remove_dir_all(world.path("out")).expect("it was there");
    fs::remove_file(world.path("link")).expect("it was there");
    assert_eq!(world.restore(), 4);
    assert_eq!(world.read("out/a.o"), "object");
    assert_eq!(world.read("link"), "object");
    assert_eq!(fs::metadata(world.path("out/bin/run")).expect("it is back").mode() & 0o777, 0o755);
    assert!(world.path("out/empty").is_dir());
    assert_eq!(world.restore(), 0);

    world.write("out/a.o", "edited");
    fs::set_permissions(world.path("out/bin/run"), fs::Permissions::from_mode(0o600))
        .expect("ours");
    fs::remove_file(world.path("link")).expect("it was there");
    world.write("link", "a file");
    assert_eq!(world.restore(), 3);
    assert_eq!(world.read("out/a.o"), "object");
    assert_eq!(fs::read_link(world.path("link")).expect("a link"), Path::new("out/a.o"));
}

#[test]
fn an_edited_output_does_not_reach_the_store() {
    let world = World::new();
    world.run();
    for _ in 0..2 {
        let mut file = fs::File::options().append(true).open(world.path("out/a.o")).expect("there");
        std::io::Write::write_all(&mut file, b" and more").expect("it is ours");
        drop(file);
        assert_eq!(world.restore(), 1);
        assert_eq!(world.read("out/a.o"), "object");
    }
}

#[test]
fn a_damaged_entry_is_a_miss_and_healed() {
    let world = World::new();
    world.run();
    let blob = world.place.store.blob_path(&Digest::of("object")).expect("it is kept");
    fs::write(&blob, "flipped").expect("it can be written");
    // As long as the output is there, nobody needs the blob.
    assert_eq!(world.restore(), 0);
    fs::remove_dir_all(world.path("out")).expect("it was there");
    world.expect_miss("what it made is no longer whole in the store");
    assert!(!world.path("out").exists());
    world.run();
    fs::remove_dir_all(world.path("out")).expect("it was there");
    assert_eq!(world.restore(), 3);
    assert_eq!(world.read("out/a.o"), "object");
}

#[test]
fn what_changes_its_own_inputs_is_not_kept() {
    let world = World::new();
    let lookup = world.look_up();
    world.write("out/a.o", "object");
    world.write("src/a.c", "formatted");
    let not_kept = world.action().publish(lookup, &log(), later()).expect("all can be read");
    assert_eq!(not_kept.as_deref(), Some("`src/a.c` changed while it ran"));
    assert!(!world.is_hit());
}

#[test]
fn patterns_that_match_nothing_keep_nothing() {
    let mut world = World::new();
    world.node.inputs = Some(vec!["none/*".into()]);
    let lookup = world.look_up();
    assert_eq!(lookup.warnings, ["task `t`: no file matches `inputs`; nothing is kept of it"]);
    world.write("out/a.o", "object");
    world.action().publish(lookup, &log(), later()).expect("nothing is done");
    assert!(!world.is_hit());

    let mut world = World::new();
    world.node.outputs = Some(vec!["none/*".into()]);
    let not_kept =
        world.action().publish(world.look_up(), &log(), later()).expect("nothing is done");
    assert_eq!(not_kept.as_deref(), Some("no file matches `outputs`"));
    assert!(!world.is_hit());
}

#[test]
fn patterns_that_leave_the_workspace_are_refused() {
    let mut world = World::new();
    for pattern in ["../x", "/etc/passwd", "a/../../x", "", "!../x"] {
        world.node.outputs = Some(vec![pattern.into()]);
        let error = Action::new(&world.node, world.place.clone()).expect_err(pattern);
        assert!(matches!(error, ActionError::Pattern { .. }), "{error}");
    }
    world.node.outputs = Some(vec!["a[".into()]);
    let error = Action::new(&world.node, world.place.clone()).expect_err("no pattern").to_string();
    assert!(error.starts_with("task `t`: `outputs`: `a[` is no pattern"), "{error}");
}

#[test]
fn a_link_does_not_lead_outputs_out_of_the_workspace() {
    let world = World::new();
    world.run();
    let outside = world.place.root.parent().expect("it lies somewhere").join("outside");
    fs::create_dir(&outside).expect("it can be made");
    fs::remove_dir_all(world.path("out")).expect("it was there");
    symlink(&outside, world.path("out")).expect("it can be made");
    let entry = world.look_up().entry.expect("it is kept");
    let error = entry.restore(&world.place, later()).expect_err("it leads outside");
    assert!(matches!(error, ActionError::Outside { .. }), "{error}");
    assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 0);
}

#[test]
fn what_a_task_runs_for_a_variable_cannot_be_foretold() {
    let mut world = World::new();
    world.node.env = vec![("NOW".into(), "$(date)".into())];
    let action = Action::new(&world.node, world.place.clone()).expect("patterns are right");
    let reason = action.expect("it is an action").expect_err("it runs each time");
    assert_eq!(reason, "variable `NOW` is made by running something");
}

#[test]
fn literal_names_stand_for_files_and_directories() {
    let mut world = World::new();
    world.write("other/config", "x");
    world.write(".env", "x");
    world.write(".deep/x", "x");
    for (patterns, changed, is_input) in [
        (&["config"][..], "config", true),
        (&["config"], "other/config", false),
        (&["src"], "src/sub/b.c", true),
        (&["src/"], "src/sub/b.c", true),
        (&["*.c"], "src/sub/b.c", true),
        (&["src/*.c"], "src/sub/b.c", false),
        (&["**"], ".env", false),
        (&[".env", "**"], ".env", true),
        (&[".env", "**"], ".deep/x", false),
        (&[".deep/**"], ".deep/x", true),
        (&["src/**", "!src/sub/**"], "src/sub/b.c", false),
    ] {
        world.node.inputs = Some(patterns.iter().map(|&pattern| pattern.to_owned()).collect());
        world.write(changed, "before");
        world.run();
        assert!(world.is_hit(), "{patterns:?}");
        world.write(changed, "after");
        assert_eq!(!world.is_hit(), is_input, "{patterns:?} {changed}");
    }
}

#[test]
fn links_that_lead_in_a_circle_are_no_trap() {
    let mut world = World::new();
    symlink(".", world.path("src/up")).expect("it can be made");
    symlink("nowhere", world.path("src/dangling.c")).expect("it can be made");
    world.node.inputs = Some(vec!["src/**".into()]);
    world.run();
    assert!(world.is_hit());
    fs::remove_file(world.path("src/dangling.c")).expect("it was there");
    symlink("elsewhere", world.path("src/dangling.c")).expect("it can be made");
    world.expect_miss("`src/dangling.c` changed");
}

#[test]
fn a_sweep_that_takes_outputs_makes_a_miss() {
    let world = World::new();
    world.run();
    let limits = Limits { max_bytes: Some(0), ..Limits::default() };
    world.place.store.sweep(&rewarm_task::formats(), &limits, later()).expect("it can be swept");
    fs::remove_dir_all(world.path("out")).expect("it was there");
    assert!(!world.is_hit());
}

#[test]
fn a_store_that_cannot_be_written_still_serves() {
    let world = World::new();
    world.run();
    fs::remove_dir_all(world.path("out")).expect("it was there");
    let mut other = world.place.clone();
    let upper = world.place.root.parent().expect("it lies somewhere").join("upper");
    other.store = Store::over(&upper, world.place.store.root()).expect("a store over it");
    let action =
        Action::new(&world.node, other.clone()).expect("right").expect("one").expect("one");
    let entry = action.look_up(later()).expect("all can be read").entry.expect("it is kept");
    assert_eq!(entry.restore(&other, later()).expect("it can be restored"), 3);
}
