//! A project in a directory of its own, with a cache of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Bench;
use crate::steps::{Result, root, run};

/// What a login sets; without it bash looks the user up, which costs whoever starts it.
pub(crate) const LOGIN_SHELL: &str = "/bin/bash";

/// A project to measure on; removed when dropped.
pub(crate) struct Project {
    home: tempfile::TempDir,
    dir: PathBuf,
}

/// A directory without anything in it.
pub(crate) fn empty() -> Result<Project> {
    let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let dir = home.path().join("project");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    Ok(Project { home, dir })
}

/// A copy of the quickstart.
pub(crate) fn quickstart() -> Result<Project> {
    let project = empty()?;
    let from = root().join("examples/quickstart");
    let list = ["pyproject.toml", "pylock.toml", "beds.yaml", "mistake.py", "src"];
    run(Command::new("cp").arg("-R").args(list.map(|name| from.join(name))).arg(&project.dir))?;
    Ok(project)
}

impl Project {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is removed with it, and not part of it.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    /// rewarm in this project and with its cache.
    pub(crate) fn rewarm(&self, bench: &Bench, args: &[&str]) -> Command {
        let mut command = Command::new(&bench.rewarm);
        command.args(args).current_dir(self.dir()).env("REWARM_CACHE_DIR", self.cache());
        command.env("SHELL", LOGIN_SHELL);
        command
    }

    /// Runs rewarm once, to fill its cache.
    pub(crate) fn warm(&self, bench: &Bench, args: &[&str]) -> Result<()> {
        run(self.rewarm(bench, args).stdout(Stdio::null()))
    }
}
