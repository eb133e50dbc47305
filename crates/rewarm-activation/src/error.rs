//! Why an activation could not be computed, for every kind of environment.
//!
//! Each names the file, script or variable. What cannot be *kept* is no error: see `SaveError`.

use std::io;
use std::path::PathBuf;

/// An activation that could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// A file that decides over it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of a `.env` file is not understood.
    #[error("`{}` line {line}: {message}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A variable in the configuration is not understood.
    #[error("variable `{name}` of the activation: {message}")]
    Env {
        /// The variable.
        name: String,
        /// What is wrong with its name or value.
        message: &'static str,
    },
    /// A file that should be JSON is not what conda writes.
    #[error("`{}` is not understood: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No shell could be started for the scripts.
    #[error("cannot run the activation scripts with `{}`", bash.display())]
    Shell {
        /// The shell.
        bash: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A step ended the shell, so that nothing after it was done.
    #[error("{step} ended the shell with {status}; a script has to `return` instead{output}")]
    Ended {
        /// Which step.
        step: String,
        /// How the shell ended.
        status: String,
        /// What it said last, after a colon and a line break.
        output: String,
    },
    /// A step took too long.
    #[error("{step} was still running after {seconds} s")]
    Hangs {
        /// Which step.
        step: String,
        /// The limit.
        seconds: u64,
    },
    /// The environment was there but could not be handed over.
    #[error("the activated environment cannot be read, {status}{output}")]
    Dump {
        /// How the shell ended.
        status: String,
        /// What it said last, after a colon and a line break.
        output: String,
    },
}
