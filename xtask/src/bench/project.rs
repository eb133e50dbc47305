//! A copy of the quickstart in a directory of its own, with a cache of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Bench;
use crate::steps::{Result, root, run};

/// A project to measure on; removed when dropped.
pub(crate) struct Project {
    home: tempfile::TempDir,
    dir: PathBuf,
}

/// Copies the quickstart.
pub(crate) fn quickstart() -> Result<Project> {
    let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let from = root().join("examples/quickstart");
    let list = ["pyproject.toml", "pylock.toml", "beds.yaml", "mistake.py", "src"];
    let to = home.path().join("quickstart");
    std::fs::create_dir_all(&to).map_err(|e| e.to_string())?;
    run(Command::new("cp").arg("-R").args(list.map(|name| from.join(name))).arg(&to))?;
    Ok(Project { home, dir: to })
}

impl Project {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    /// Runs rewarm once, to fill its cache.
    pub(crate) fn warm(&self, bench: &Bench, args: &[&str]) -> Result<()> {
        let mut command = Command::new(&bench.rewarm);
        command.args(args).current_dir(self.dir()).env("REWARM_CACHE_DIR", self.cache());
        run(command.stdout(Stdio::null()))
    }
}
