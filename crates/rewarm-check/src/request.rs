//! What goes into a check and what comes out of it.
//!
//! Paths in a [`Request`] are absolute or relative to the process's working directory; the library
//! resolves them once. A [`Report`] is complete: printing it and exiting with its code is all that
//! a command has to do.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::worker::WorkerOptions;

/// One check to be answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory that moves with a checkout; sources below it are listed in the key.
    pub project_root: PathBuf,
    /// The directory in which mypy runs.
    pub cwd: PathBuf,
    /// Options and targets as they would be given to `mypy`.
    pub arguments: Vec<OsString>,
    /// What is checked where neither the arguments nor the configuration name anything, for
    /// example `.`; with `None` that is mypy's usage error.
    pub default_target: Option<OsString>,
    /// The environment's interpreter, for example `.venv/bin/python`.
    pub python: PathBuf,
    /// The complete environment of the child.
    pub variables: Vec<(OsString, OsString)>,
    /// Runs mypy even if the answer is known; the new answer is stored all the same.
    pub force: bool,
    /// Names of further inputs below the project, as globs: what a plugin reads unseen.
    pub extra_inputs: Vec<String>,
    /// Whether mypy may be run by a worker; with `None` each run is a fresh process.
    pub worker: Option<WorkerOptions>,
}

/// The answer, and how it was come by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What mypy wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What mypy wrote to its standard error.
    pub stderr: Vec<u8>,
    /// mypy's exit code: 0 clean, 1 errors found, 2 usage or crash, 128 + n for signal n.
    pub exit_code: i32,
    /// Whether mypy ran.
    pub reuse: Reuse,
    /// The inputs that differ from the last run with these arguments, by name; the first ones
    /// only. Empty on a replay.
    pub differs: Vec<String>,
    /// Source files below the project, as listed in the key.
    pub files: usize,
    /// Where the time went.
    pub timing: Timing,
}

/// How much of earlier work was of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reuse {
    /// The whole answer; mypy did not run.
    Replayed,
    /// mypy ran.
    Ran {
        /// Whether it started from the results of an earlier run.
        seeded: bool,
        /// Modules that mypy checked again; `None` if it does not tell.
        modules_rechecked: Option<usize>,
        /// The first thousand of them by name; empty if it started from nothing or does not tell.
        modules: Vec<Module>,
        /// Modules whose edits were such that their results still hold, by name.
        carried: Vec<String>,
        /// Why the answer was not stored; `None` if it was.
        unstored: Option<String>,
    },
}

/// A module that mypy checked again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    /// Its full name, for example `package.module`.
    pub name: String,
    /// Why; `None` if that is not known.
    pub because: Option<Because>,
}

/// Why mypy checked a module again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// There was no result for it.
    New,
    /// Its source changed.
    Source,
    /// The options that hold for it changed.
    Options,
    /// Its imports find other modules than before.
    Imports,
    /// The interface of this module, on which it depends, changed.
    Interface(String),
}

/// How long each part of a check took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Finding out what there is and whether the answer is known.
    pub lookup: Duration,
    /// mypy itself.
    pub run: Duration,
}

/// What happens while a check is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The answer is not known; mypy starts now.
    Running {
        /// Source files below the project.
        files: usize,
    },
    /// mypy is further than it was.
    Progress {
        /// Modules that it has checked so far.
        modules: u64,
        /// How many it will be; `None` if that depends on what comes of those before.
        of: Option<u64>,
    },
    /// mypy runs in a process group of its own, which nobody else ends: whoever ends this process
    /// early has to end that group.
    Started {
        /// The group's id.
        group: u32,
    },
    /// This mypy keeps no results for single modules that can be used: whole answers are replayed, and
    /// every other run begins from nothing.
    Whole {
        /// The name in mypy that was looked for and is not there.
        lacks: String,
    },
    /// Something in the store could not be written. The answer is right all the same.
    Uncached {
        /// What was tried, and why it failed.
        reason: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A directory or file of the request is not there or not readable.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The interpreter cannot be started.
    #[error("cannot run the interpreter `{}`", path.display())]
    Interpreter {
        /// The interpreter.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The interpreter ran and did not say what it is.
    #[error("the interpreter `{}` does not describe itself: {output}", path.display())]
    Identity {
        /// The interpreter.
        path: PathBuf,
        /// What it said instead.
        output: String,
    },
    /// The environment has no mypy.
    #[error("no mypy in the environment `{}`: add `mypy` to the lock file and install", environment.display())]
    NoMypy {
        /// The environment's directory.
        environment: PathBuf,
    },
    /// The environment's mypy cannot be run as rewarm runs it.
    #[error(
        "mypy {version} in the environment `{}` is too old: 0.910 or a later one is needed",
        environment.display()
    )]
    OldMypy {
        /// Its version.
        version: String,
        /// The environment's directory.
        environment: PathBuf,
    },
    /// A glob among the extra inputs is malformed.
    #[error("`{glob}` is not a valid glob")]
    Glob {
        /// The text.
        glob: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// A checker cannot be started.
    #[error("cannot run `{}`", path.display())]
    Program {
        /// The checker.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No directory could be made for mypy's output.
    #[error("cannot make a temporary directory in `{}`", path.display())]
    Scratch {
        /// Where it was tried.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
