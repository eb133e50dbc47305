//! A directory with scripts, and runs of them in a real bash.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rewarm_activation::observe::{
    Limits, Names, Observation, ObserveError, Run, SeenFile, Unprovable, observe,
};
use rewarm_activation::{Variables, variables};

/// Scripts, and the caller's variables.
pub(crate) struct Place {
    _dir: tempfile::TempDir,
    /// Its canonical path.
    pub(crate) root: PathBuf,
    /// The caller's variables.
    pub(crate) environment: Variables,
    /// What a run may use up.
    pub(crate) limits: Limits,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let root = dir.path().canonicalize().expect("it exists");
        let home = root.join("home");
        fs::create_dir(&home).expect("a directory can be made");
        let environment =
            variables([("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), home.into())]);
        let limits = Limits { time: Duration::from_secs(120), output: 1 << 20 };
        Self { _dir: dir, root, environment, limits }
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        let parent = path.parent().expect("it lies in the directory");
        fs::create_dir_all(parent).expect("a directory can be made");
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Runs a text, with `ROOT` set to the directory.
    pub(crate) fn try_run(&self, text: &str) -> Result<Observation, ObserveError> {
        let script = self.write("own/script", text);
        self.run_script(&script)
    }

    pub(crate) fn run_script(&self, script: &Path) -> Result<Observation, ObserveError> {
        let mut environment = self.environment.clone();
        environment.insert("ROOT".into(), self.root.clone().into());
        let cwd = self.root.join("home");
        observe(&Run {
            program: Path::new("/bin/bash"),
            script,
            environment: &environment,
            cwd: &cwd,
            limits: self.limits,
            tracer: Some(Path::new(env!("CARGO_BIN_EXE_rewarm-observe"))),
            text: &fs::read(script).expect("the script can be read"),
            own: &[&self.root.join("own")],
        })
    }

    pub(crate) fn run(&self, text: &str) -> Observation {
        let observation = self.try_run(text).expect("the run is observed");
        assert!(observation.complete, "this system does not let processes be traced");
        observation
    }

    /// What was seen of a file in the directory.
    pub(crate) fn seen<'a>(&self, of: &'a Observation, name: &str) -> Option<&'a SeenFile> {
        let path = self.root.join(name);
        of.files.iter().find(|file| file.path == path)
    }
}

/// What was printed.
pub(crate) fn printed(of: &Observation) -> String {
    String::from_utf8_lossy(&of.stdout).into_owned()
}

/// Whether nothing is in the way of a proof.
pub(crate) fn assert_provable(of: &Observation) {
    assert!(of.unprovable.is_empty(), "{:?}", of.unprovable);
}

/// Whether something of this kind is in the way.
pub(crate) fn assert_unprovable(of: &Observation, is: impl Fn(&Unprovable) -> bool) {
    assert!(of.unprovable.iter().any(is), "{of:#?}");
}

/// Whether a variable is among the inputs by name.
pub(crate) fn names(of: &Observation, name: &str) -> bool {
    match &of.variables {
        Names::Named(names) => names.contains(std::ffi::OsStr::new(name)),
        Names::All { why } => panic!("all variables count: {why}"),
    }
}
