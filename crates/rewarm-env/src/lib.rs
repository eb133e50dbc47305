//! Python environments: what a lock file wants, what is installed.
//!
//! The crate knows no network. [`check`] says whether an environment matches its lock file;
//! if not, its [`Preparation`] becomes a [`Plan`], whose downloads the caller brings into the
//! store, and [`Plan::execute`] makes the environment match.
//!
//! ```no_run
//! use std::path::Path;
//! use rewarm_env::{Options, Project, RemoteFile, Status, check, index};
//! # use rewarm_store::{Digest, Store};
//! # type Error = Box<dyn std::error::Error>;
//! # fn fetch(store: &Store, file: &RemoteFile) -> Result<Digest, Error> { Err("".into()) }
//! # fn fetch_page(name: &str, accept: &str) -> Result<(url::Url, Vec<u8>), Error> { Err("".into()) }
//! # fn run(store: Store, path: Vec<std::path::PathBuf>, now: std::time::SystemTime) -> Result<(), Error> {
//! let project = Project::find(Path::new("/home/me/demo/src")).ok_or("no project here")?;
//! let options = Options { path, ..Options::default() };
//! let preparation = match check(&project, &store, &options, now)? {
//!     Status::UpToDate(_) => return Ok(()),
//!     Status::Needs(preparation) => preparation,
//! };
//! let mut pages = Vec::new();
//! for name in preparation.queries()? {
//!     let (url, bytes) = fetch_page(name.as_str(), index::ACCEPT)?;
//!     pages.push(index::parse(&name, &url, &bytes)?);
//! }
//! let mut plan = preparation.plan(&pages)?;
//! let report = loop {
//!     let files: Vec<RemoteFile> = plan.downloads(&store).into_iter().cloned().collect();
//!     for file in &files {
//!         let blob = fetch(&store, file)?;
//!         plan.supply(&store, file, &blob)?;
//!     }
//!     match plan.execute(&store, &|event| eprintln!("{event:?}")) {
//!         Err(error) if error.wants_download() => continue,
//!         other => break other?,
//!     }
//! };
//! println!("{} installed, {} kept", report.installed, report.kept);
//! # Ok(())
//! # }
//! ```

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
pub use environment::{
    CheckError, Environment, Options, Plan, Preparation, Report, Status, check, plan_into,
};
pub use formats::{describe, formats};
pub use install::{Event, InstallError};
pub use interpreter::{Interpreter, InterpreterError, Search};
pub use lock::{
    Hash, HashAlgorithm, Location, Lock, LockError, LockFile, LockFormat, Names, RemoteFile,
    Selection, Source, Target, Wanted,
};
pub use plan::{INSTALLER, InstallPlan, Known, Reason, source_identity};
pub use present::{Installed, InstalledFrom, scan};
pub use project::{LOCK_FILES, Project, ProjectMetadata, project_root};
pub use rewarm_store::LinkMode;
pub use state::{Outdated, PackageState, STATE_FILE};
pub use venv::{Condition, VenvError, inspect};
pub use wheel::{UnpackError, adopt_unpacked, unpack};
