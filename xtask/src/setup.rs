//! What the tests need beyond Rust, Python and a C compiler.
//!
//! A virtual environment with hash-pinned pip, uv and mypy under `target/tools`; and on CI, where a
//! skipped test would go unnoticed, also the shells.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{Result, run};

/// Shells that the shell hooks are tested with, as Debian names them.
const SHELLS: [&str; 2] = ["zsh", "fish"];

/// Installs the tools and returns their environment.
pub(crate) fn tools() -> PathBuf {
    rewarm_testkit::tools::environment()
}

/// Installs missing shells where that is possible unasked: on CI, as root, with Debian's tools.
pub(crate) fn shells() -> Result<()> {
    let missing: Vec<&str> = SHELLS.into_iter().filter(|shell| !is_on_path(shell)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if std::env::var_os("CI").is_none() || !is_on_path("apt-get") {
        println!("not installed, their tests will be skipped: {}", missing.join(", "));
        return Ok(());
    }
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    run(Command::new("apt-get")
        .args(["-qq", "--yes", "--no-install-recommends", "install"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_file(&dir.join(program)))
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}
