//! The code bases: where they come from, and what is edited in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Checkout;
use crate::bench::Bench;
use crate::steps::{Result, root, run};

/// A source distribution.
pub(super) struct Sources {
    pub(super) name: &'static str,
    url: &'static str,
    sha256: &'static str,
    /// The environment that mypy checks it in.
    requirements: &'static [&'static str],
    /// mypy's arguments beside the project's own configuration.
    arguments: &'static [&'static str],
    /// A module that hardly any other imports, and one in the middle of a large cycle.
    pub(super) leaf: &'static str,
    pub(super) hub: &'static str,
}

const MYPY: &str = "mypy==2.4.1";

pub(super) const BLACK: Sources = Sources {
    name: "black-25.1.0",
    url: "https://files.pythonhosted.org/packages/94/49/26a7b0f3f35da4b5a65f081943b7bcd22d7002f5f0fb8098ec1ff21cb6ef/black-25.1.0.tar.gz",
    sha256: "33496d5cd1222ad73391352b4ae8da15253c5de89b93a80b3e2c8d9a19ec2666",
    requirements: &[
        MYPY,
        "aiohttp==3.11.11",
        "click==8.1.8",
        "colorama==0.4.6",
        "mypy-extensions==1.0.0",
        "packaging==24.2",
        "pathspec==1.0.0",
        "platformdirs==4.3.6",
        "types-colorama==0.4.15.20240311",
    ],
    arguments: &["src/black", "src/blackd", "src/blib2to3"],
    leaf: "src/black/concurrency.py",
    hub: "src/black/nodes.py",
};

pub(super) const SPHINX: Sources = Sources {
    name: "sphinx-8.1.3",
    url: "https://files.pythonhosted.org/packages/6f/6d/be0b61178fe2cdcb67e2a92fc9ebb488e3c51c4f74a36a7824c0adf23425/sphinx-8.1.3.tar.gz",
    sha256: "43c1911eecb0d3e161ad78611bc905d1ad0e523e4ddc202a58a821773dc4c927",
    requirements: &[
        MYPY,
        "sphinx==8.1.3",
        "types-colorama==0.4.15.20240311",
        "types-defusedxml==0.7.0.20240218",
        "types-docutils==0.21.0.20241005",
        "types-Pillow==10.2.0.20240822",
        "types-Pygments==2.18.0.20240506",
        "types-requests==2.32.0.20240914",
        "types-urllib3==1.26.25.14",
        "pytest>=6.0",
    ],
    arguments: &[],
    leaf: "sphinx/ext/githubpages.py",
    hub: "sphinx/util/inspect.py",
};

pub(super) const SQLALCHEMY: Sources = Sources {
    name: "sqlalchemy-2.0.45",
    url: "https://files.pythonhosted.org/packages/be/f9/5e4491e5ccf42f5d9cfc663741d261b3e6e1683ae7812114e7636409fcc6/sqlalchemy-2.0.45.tar.gz",
    sha256: "1632a4bda8d2d25703fdad6363058d882541bdaaee0e5e3ddfa0cd3229efce88",
    requirements: &[
        MYPY,
        "greenlet==3.2.4",
        "types-greenlet==3.2.0.20250915",
        "typing-extensions==4.15.0",
    ],
    arguments: &["lib/sqlalchemy"],
    leaf: "lib/sqlalchemy/ext/indexable.py",
    hub: "lib/sqlalchemy/util/langhelpers.py",
};

impl Sources {
    /// Downloads through rewarm's cache, and unpacks afresh; the environment is kept between runs.
    pub(super) fn prepare(&self, bench: &Bench) -> Result<Checkout> {
        let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        let archive = home.path().join("archive.tar.gz");
        let digest = format!("sha256:{}", self.sha256);
        run(Command::new(&bench.rewarm)
            .args(["fetch", "-q", "--hash", &digest, self.url, "-o"])
            .arg(&archive))?;
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(home.path()))?;
        let dir = home.path().join(self.name);
        let venv = environment(bench, self.name, self.requirements)?;
        Ok(Checkout { home, dir, venv, arguments: self.arguments })
    }
}

/// An environment under `target/bench`, made again when its requirements change.
pub(super) fn environment(bench: &Bench, name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let venv = root().join("target/bench").join(name);
    let stamp = venv.join("requirements.txt");
    let wanted = requirements.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Ok(venv);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(bench.tools.join("bin/uv"))
        .args(["pip", "install", "-q", "--python"])
        .arg(venv.join("bin/python"))
        .args(requirements))?;
    std::fs::write(&stamp, wanted).map_err(|e| e.to_string())?;
    Ok(venv)
}

/// Puts a line with a comment on top: all others move.
pub(super) fn comment(path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    std::fs::write(path, format!("# a comment\n{text}")).map_err(|e| e.to_string())
}

/// Adds a function that nobody calls, another one in each round.
pub(super) fn function(path: &Path, round: usize) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = text + &format!("\n\ndef _added{round}(x: int) -> int:\n    return x\n");
    std::fs::write(path, text).map_err(|e| e.to_string())
}
