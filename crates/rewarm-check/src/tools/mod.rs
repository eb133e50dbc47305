//! Checkers other than mypy: ty, pyright, pyrefly and zuban, replayed as whole runs.
//!
//! They are native programs that cannot be observed while they run, so the key of an answer covers
//! all that they could read: the checker's own files, the interpreter, every source, marker,
//! configuration and ignore file of the project, of the directories of installed packages and of
//! the standard library, configuration above the project and of the user, and paths that arguments
//! or configuration name. The child is given only those variables that are part of the key, so that
//! no other one can matter. Seen with `strace`, beside sources and `py.typed`:
//!
//! - ty 0.0.105 reads `ty.toml`, `pyproject.toml` and ignore files in every directory up to the
//!   root, `.git/info/exclude`, git's configuration for `core.excludesFile`, `~/.config/ty/ty.toml`,
//!   `pyvenv.cfg` and the names below `lib` of the environment and of its base. It also checks
//!   hidden directories, `__pycache__` and notebooks.
//! - zuban 0.10.2 reads mypy's configuration files in the working directory, `pyvenv.cfg`, modules
//!   in `/usr/lib/python3.N` (even if that is not the environment's base), in the environment's `src`
//!   directory, and its typeshed, which lies in its own package.
//! - pyrefly 1.4.1 reads `pyrefly.toml`, `.pyrefly.toml` and `pyproject.toml` upwards, ignore files,
//!   and starts the environment's interpreter, which tells it `sys.path` and each `direct_url.json`.
//! - pyright 1.1.414 reads `pyrightconfig.json` and `pyproject.toml` upwards, starts the first `python`
//!   on `PATH` for `sys.path`, and is itself a script for node.
//!
//! Answers that name a directory of this machine (all of pyright's do) are replayed in that one only.

mod key;
mod named;
mod replay;
mod walk;

use std::path::{Path, PathBuf};

pub(crate) use replay::Told;
pub use replay::check_with;
pub(crate) use replay::state;

/// A checker that is run as a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checker {
    /// Astral's ty.
    Ty,
    /// Microsoft's pyright, on node.
    Pyright,
    /// Meta's pyrefly.
    Pyrefly,
    /// zuban, in the mode of its `check` command.
    Zuban,
}

/// A checker as it is installed.
#[derive(Debug, Clone)]
pub struct Program {
    /// Which one it is.
    pub checker: Checker,
    /// Its executable or script.
    pub executable: PathBuf,
    /// The environment that it is installed in, if that is not the project's.
    pub home: Option<PathBuf>,
}

impl Checker {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ty, Self::Pyright, Self::Pyrefly, Self::Zuban];

    /// The name of its distribution and of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ty => "ty",
            Self::Pyright => "pyright",
            Self::Pyrefly => "pyrefly",
            Self::Zuban => "zuban",
        }
    }

    /// rewarm's exit code for one of the checker's: 0 clean, 1 errors found, 2 anything else.
    pub fn verdict(exit_code: i32) -> u8 {
        u8::try_from(exit_code).map_or(2, |code| code.min(2))
    }

    /// What comes before the arguments.
    fn subcommand(self) -> &'static [&'static str] {
        if self == Self::Pyright { &[] } else { &["check"] }
    }

    /// Names of the files that decide where its project is.
    fn configuration(self) -> &'static [&'static str] {
        match self {
            Self::Ty => &["ty.toml", "pyproject.toml"],
            Self::Pyright => &["pyrightconfig.json", "pyproject.toml"],
            Self::Pyrefly => &["pyrefly.toml", ".pyrefly.toml", "pyproject.toml"],
            Self::Zuban => &[],
        }
    }

    /// The tables of `pyproject.toml`, and sections of other files, that it reads.
    fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Ty => &["ty"],
            Self::Pyright => &["pyright"],
            // It takes over the settings of others where it has none.
            Self::Pyrefly => &["pyrefly", "mypy", "pyright"],
            Self::Zuban => &["zuban", "mypy"],
        }
    }

    /// Whether it reads a file among those that configure checkers.
    fn reads(self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match &*name {
            "ty.toml" => self == Self::Ty,
            "pyrightconfig.json" => matches!(self, Self::Pyright | Self::Pyrefly),
            "pyrefly.toml" | ".pyrefly.toml" => self == Self::Pyrefly,
            "mypy.ini" | ".mypy.ini" | "setup.cfg" => matches!(self, Self::Zuban | Self::Pyrefly),
            "config" if path.ends_with("mypy/config") => self == Self::Zuban,
            "pyproject.toml" | ".gitconfig" | "gitconfig" | "config" => true,
            _ => false,
        }
    }

    /// Options with which a run is more than its answer, or reads what the key does not know.
    fn effects(self) -> &'static [&'static str] {
        match self {
            Self::Ty => &["--fix", "--add-ignore", "--update-baseline", "--watch", "-W"],
            Self::Pyright => &["--watch", "-w", "--createstub", "--stats", "--verifytypes", "-"],
            Self::Pyrefly => &[
                "-o",
                "--output",
                "--watch",
                "--debug-info",
                "--dependency-graph",
                "--report-binding-memory",
                "--report-trace",
                "--report-timings",
                "--report-glean",
                "--report-pysa",
                "--report-cinderx",
                "--report-demand-tree",
                "--update-baseline",
                "--suppress-errors",
                "--remove-unused-ignores",
            ],
            Self::Zuban => &[],
        }
    }

    /// Why a run with these arguments and variables is not to be replayed.
    fn effect(self, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Option<String> {
        for argument in arguments {
            let text = argument.as_ref().to_string_lossy();
            if text == "--" {
                break;
            }
            let name = text.split('=').next().unwrap_or(&text);
            // A value may follow a short option at once.
            let means = |option: &&&str| {
                name == **option
                    || option.len() == 2 && !name.starts_with("--") && name.starts_with(**option)
            };
            if let Some(option) = self.effects().iter().find(means) {
                return Some(format!("`{option}` does more than give an answer"));
            }
        }
        None
    }
}

impl std::str::FromStr for Checker {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|checker| checker.name() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_with_effects_are_recognised() {
        for (checker, argument) in [
            (Checker::Ty, "--fix"),
            (Checker::Ty, "-W"),
            (Checker::Pyright, "--createstub=a"),
            (Checker::Pyright, "-"),
            (Checker::Pyrefly, "-ojson:x"),
            (Checker::Pyrefly, "--report-trace=x"),
        ] {
            assert!(checker.effect(&["a.py", argument]).is_some(), "{argument}");
            assert_eq!(checker.effect(&["--", argument]), None, "{argument}");
        }
        assert_eq!(Checker::Ty.effect(&["--output-format", "concise"]), None);
        assert_eq!(Checker::Pyrefly.effect(&["--output-format=json"]), None);
    }

    #[test]
    fn only_two_codes_are_answers() {
        let codes = [(0, 0), (1, 1), (2, 2), (4, 2), (101, 2), (139, 2), (-1, 2)];
        for (own, verdict) in codes {
            assert_eq!(Checker::verdict(own), verdict);
        }
    }
}
