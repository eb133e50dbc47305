//! A project with a lock file, a store, and the interpreter to install with.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rewarm_env::{Environment, Event, Options, Plan, Preparation, Project, Report, Status, check};
use rewarm_store::Store;
use rewarm_testkit::packages::{Artifact, pylock};
use tempfile::TempDir;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A moment at which everything that a test wrote has long been written.
pub(crate) fn later() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1 << 34)
}

/// A project directory and a store in one temporary directory.
pub(crate) struct Fixture {
    dir: TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("project"))?;
        std::fs::create_dir(dir.path().join("files"))?;
        let store = Store::open(&dir.path().join("store"))?;
        Ok(Self { dir, store })
    }

    /// The project's directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result {
        Ok(std::fs::write(self.root().join(name), text)?)
    }

    /// Writes the files, and a `pylock.toml` that names them.
    pub(crate) fn lock(&self, artifacts: &[Artifact]) -> Result {
        let files = self.path("files");
        for artifact in artifacts {
            artifact.write_to(&files)?;
        }
        self.write("pylock.toml", pylock(artifacts, &format!("file://{}/", files.display())))
    }

    pub(crate) fn project(&self) -> Result<Project> {
        Ok(Project::find(&self.root()).ok_or("no project")?)
    }

    pub(crate) fn status(&self, options: &Options) -> Result<Status> {
        Ok(check(&self.project()?, &self.store, options, later())?)
    }

    pub(crate) fn preparation(&self, options: &Options) -> Result<Box<Preparation>> {
        match self.status(options)? {
            Status::Needs(preparation) => Ok(preparation),
            Status::UpToDate(_) => Err("the environment is up to date".into()),
        }
    }

    pub(crate) fn plan(&self, options: &Options) -> Result<Plan> {
        Ok(self.preparation(options)?.plan(&[])?)
    }

    /// Brings the environment up to date, whether or not it seems to be.
    pub(crate) fn install(&self) -> Result<(Report, Vec<Event>)> {
        self.install_with(&Options { revalidate: true, ..options() })
    }

    pub(crate) fn install_with(&self, options: &Options) -> Result<(Report, Vec<Event>)> {
        let events = Mutex::new(Vec::new());
        let on_event = |event| events.lock().expect("no panic while it is held").push(event);
        let report = self.plan(options)?.execute(&self.store, &on_event)?;
        let events = events.into_inner()?;
        Ok((report, events))
    }

    pub(crate) fn is_up_to_date(&self) -> Result<bool> {
        Ok(matches!(self.status(&options())?, Status::UpToDate(_)))
    }

    /// The environment's directory.
    pub(crate) fn venv(&self) -> PathBuf {
        self.root().join(".venv")
    }

    pub(crate) fn site_packages(&self) -> Result<PathBuf> {
        site_packages(&self.venv())
    }
}

/// The package directory of an environment.
pub(crate) fn site_packages(venv: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(venv.join("lib"))? {
        let path = entry?.path().join("site-packages");
        if path.is_dir() {
            return Ok(path);
        }
    }
    Err("no package directory".into())
}

/// Options with one directory as `PATH`: that of the interpreter behind `python3`.
pub(crate) fn options() -> Options {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let code = "import os, sys; print(os.path.dirname(sys._base_executable))";
        let output = run(Command::new("python3").args(["-I", "-c", code]));
        PathBuf::from(output.expect("the tests need a Python interpreter").trim())
    });
    Options { path: vec![directory.clone()], ..Options::default() }
}

/// Runs Python code in an environment.
pub(crate) fn python(environment: &Environment, code: &str) -> Result<String> {
    run(Command::new(&environment.python).args(["-I", "-c", code]))
}

/// Runs a program and gives its output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output: Output = command.output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {stderr}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
