//! Why a lock file cannot be used, each with what to do about it.

use std::io;
use std::path::PathBuf;

/// Why what a lock file wants cannot be said, or not be had on this machine.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no such file.
    #[error("there is no `{}`; make it with `pixi lock`", path.display())]
    Missing {
        /// The lock file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no lock file, or one of a newer format.
    #[error("`{}`{line} cannot be used as a lock file: {message}", path.display())]
    Malformed {
        /// The lock file.
        path: PathBuf,
        /// Empty, or ` line N` where `message` does not tell.
        line: String,
        /// What is wrong, and what to do.
        message: String,
        /// The whole of it.
        #[source]
        source: Option<Box<rattler_lock::ParseCondaLockError>>,
    },
    /// An environment is not in it.
    #[error("`{}` has no environment `{environment}`, only {known}; run `pixi lock`", path.display())]
    NoEnvironment {
        /// The lock file.
        path: PathBuf,
        /// What was asked for.
        environment: String,
        /// Those that it has.
        known: String,
    },
    /// An environment is not locked for a platform.
    #[error(
        "`{}` has the environment `{environment}` for {known}, not for `{platform}`; add it to \
         `platforms` in the manifest and run `pixi lock`",
        path.display()
    )]
    NoPlatform {
        /// The lock file.
        path: PathBuf,
        /// The environment.
        environment: String,
        /// What was asked for.
        platform: String,
        /// Those that it has.
        known: String,
    },
    /// An environment is for no platform of this machine.
    #[error(
        "the environment `{environment}` is for {known}, and this machine is `{machine}`; add that to \
         `platforms` in the manifest and run `pixi lock`"
    )]
    Machine {
        /// The environment.
        environment: String,
        /// The platforms that it is for.
        known: String,
        /// The subdirectory of the machine.
        machine: String,
    },
    /// A package needs something of the machine that it does not have.
    #[error(
        "{who} needs `{needs}`, and this machine has {has}; if it has it all the same, set \
         `{variable}` to its version"
    )]
    VirtualPackage {
        /// The package or platform that needs it.
        who: String,
        /// What it needs.
        needs: String,
        /// What there is.
        has: String,
        /// The variable that overrides what is detected.
        variable: String,
    },
    /// A package of a kind that rewarm does not install.
    #[error("`{package}` is {what}, which rewarm does not install; {mend}")]
    Unsupported {
        /// The package.
        package: String,
        /// What it is.
        what: String,
        /// What to do instead.
        mend: String,
    },
    /// A package that cannot be what it says.
    #[error("`{}`: `{package}` {problem}; write it anew with `{again}`", path.display())]
    Package {
        /// The lock file.
        path: PathBuf,
        /// The package.
        package: String,
        /// What is wrong with it.
        problem: String,
        /// What writes such a file.
        again: &'static str,
    },
    /// What the machine is cannot be found out.
    #[error(
        "cannot find out the virtual packages of this machine; check the variables `CONDA_OVERRIDE_…`"
    )]
    Detect(#[source] Box<rattler_virtual_packages::DetectVirtualPackageError>),
    /// The lock file was not made from this manifest.
    #[error("`{}` is outdated: {reason}; run `pixi lock`", path.display())]
    Outdated {
        /// The lock file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

/// Names in quotes with commas.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|it| format!("`{it}`")).collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
