//! Python environments: what a lock file wants, what is installed, and how to activate it.
//!
//! The crate knows no network. [`check`] says whether an environment matches its lock file;
//! if not, its [`Preparation`] becomes a [`Plan`], whose downloads the caller brings into the
//! store, and [`Plan::execute`] makes the environment match.

pub mod activation;
mod build;
mod environment;
mod evidence;
mod formats;
pub mod index;
mod install;
mod interpreter;
mod lock;
mod plan;
mod present;
mod project;
mod state;
mod uninstall;
mod venv;
mod wheel;

pub use build::BuildError;
pub use environment::{CheckError, Environment, Options, Plan, Preparation, Report, Status, check};
pub use formats::{describe, formats};
pub use install::{Event, InstallError, LinkMode};
pub use interpreter::{Interpreter, InterpreterError, Search};
pub use lock::{
    Hash, HashAlgorithm, Location, Lock, LockError, LockFile, LockFormat, Names, RemoteFile,
    Selection, Source, Target, Wanted,
};
pub use plan::{INSTALLER, InstallPlan, Known, Reason, source_identity};
pub use present::{Installed, InstalledFrom, scan};
pub use project::{LOCK_FILES, Project, ProjectMetadata, project_root};
pub use state::{Outdated, PackageState, STATE_FILE};
pub use venv::{Condition, VenvError, inspect};
pub use wheel::{UnpackError, unpack};
