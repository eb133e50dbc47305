//! The way from a project to an environment that matches its lock file.
//!
//! [`check`] answers from the state file if it can. Otherwise it gives a [`Preparation`]; index
//! pages turn that into a [`Plan`] (no page is needed when the lock names files); the caller gets
//! the plan's downloads into the store, and [`Plan::execute`] does the rest. This crate knows no
//! network.

mod execute;
mod prefix;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, LinkMode, Store};
use uv_normalize::PackageName;
use uv_platform_tags::Tags;

use crate::evidence::Evidence;
use crate::index::{IndexError, IndexPage};
use crate::install::{InstallError, verify_hashes};
use crate::interpreter::{Interpreter, InterpreterError, Search};
use crate::lock::{
    Location, Lock, LockError, LockFile, Names, RemoteFile, Selection, Source, Target, Wanted,
};
use crate::plan::{InstallPlan, Known};
use crate::present::{Installed, scan};
use crate::project::Project;
use crate::state::{Asked, Outdated, State};
use crate::venv::{self, Condition, VenvError};

pub use prefix::plan_into;

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The environment's directory; `.venv` beside the manifest if absent.
    pub environment: Option<PathBuf>,
    /// Extras and groups.
    pub selection: Selection,
    /// An interpreter that the user named: a path, a program on `PATH`, or a version.
    pub python: Option<PathBuf>,
    /// The directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// Whether distributions that the lock does not name are removed, whoever installed them.
    pub exact: bool,
    /// Whether everything is installed again.
    pub reinstall: bool,
    /// Whether the environment is compared with the lock file even if it seems up to date.
    pub revalidate: bool,
    /// Whether what the last installation was asked for counts as well: its extras, groups and
    /// interpreter. For commands that bring an environment up to date in passing.
    pub as_before: bool,
    /// How files get into the environment.
    pub link_mode: LinkMode,
    /// The name to leave in `INSTALLER` instead of rewarm's, for a tool that is to take what is
    /// installed for its own; what it installed then counts as rewarm's.
    pub installer: Option<String>,
}

/// An environment that matches its lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its directory.
    pub root: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
}

/// Whether there is something to do.
#[derive(Debug)]
pub enum Status {
    /// No.
    UpToDate(Environment),
    /// Perhaps: the environment has to be compared with the lock file.
    Needs(Box<Preparation>),
}

/// Why there can be no plan.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The project has no lock file.
    #[error("`{}` has no lock file: `pylock.toml`, `uv.lock` or a pinned `requirements.txt`", root.display())]
    NoLock {
        /// The project's directory.
        root: PathBuf,
    },
    /// A lock file or manifest cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no interpreter to use.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// There is something else in the environment's place.
    #[error(transparent)]
    Environment(#[from] VenvError),
    /// An index has no file that fits.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A wheel is for another interpreter or platform.
    #[error("wheel `{wheel}` does not run with Python {python}")]
    Unfit {
        /// The wheel's file name.
        wheel: String,
        /// The interpreter.
        python: String,
    },
    /// The environment cannot be read.
    #[error("cannot read the environment at `{}`", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What is known before the index was asked.
#[derive(Debug)]
pub struct Preparation {
    /// Why the environment is not known to be up to date.
    pub reason: Outdated,
    /// The lock files that are there and do not count.
    pub other_locks: Vec<LockFile>,
    context: Context,
    wanted: Vec<Wanted>,
    lock: Lock,
}

/// What stays the same from the check to the end.
#[derive(Debug)]
struct Context {
    root: PathBuf,
    request: Digest,
    inputs: Vec<(PathBuf, Evidence)>,
    interpreter: Interpreter,
    tags: Tags,
    mend: Mend,
    prompt: String,
    options: Options,
    checked: SystemTime,
}

/// What has to be done before packages are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mend {
    Nothing,
    Create,
    Relocate(PathBuf),
    Relink,
    Recreate(String),
}

/// What has to be done.
#[derive(Debug)]
pub struct Plan {
    /// The changes, as they follow from what is there now.
    pub install: InstallPlan,
    context: Context,
    wanted: Vec<Wanted>,
    supplied: BTreeMap<String, Digest>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The environment.
    pub environment: Environment,
    /// Packages that were installed.
    pub installed: usize,
    /// Distributions that were removed without a successor.
    pub removed: usize,
    /// Packages that were as they should be.
    pub kept: usize,
}

/// Whether the environment of a project matches its lock file: a few `stat` calls if it does.
pub fn check(
    project: &Project,
    store: &Store,
    options: &Options,
    now: SystemTime,
) -> Result<Status, CheckError> {
    let root = options.environment.clone().unwrap_or_else(|| project.default_environment());
    let state = State::read(&root);
    let before = state.as_ref().filter(|_| options.as_before);
    let options =
        &before.map_or_else(|| options.clone(), |state| with_asked(options, &state.asked));
    let request = request_digest(project, options);
    let reason = match state {
        Some(state) if !options.revalidate && !options.reinstall => {
            match state.check(&root, &request, now) {
                Ok(()) => {
                    let python = venv::python(&root);
                    return Ok(Status::UpToDate(Environment { root, python }));
                }
                Err(reason) => reason,
            }
        }
        Some(_) => Outdated::Asked,
        None => Outdated::Unknown,
    };
    prepare(project, store, options, (root, request, reason), now)
        .map(|preparation| Status::Needs(Box::new(preparation)))
}

fn prepare(
    project: &Project,
    store: &Store,
    options: &Options,
    (root, request, reason): (PathBuf, Digest, Outdated),
    now: SystemTime,
) -> Result<Preparation, CheckError> {
    let no_lock = || CheckError::NoLock { root: project.root.clone() };
    let lock = Lock::read(project.lock.as_ref().ok_or_else(no_lock)?)?;
    let mut inputs = lock_evidence(&lock, now)?;
    let manifest = project.root.join("pyproject.toml");
    let evidence = Evidence::take(&manifest, now)
        .map_err(|source| LockError::Read { path: manifest.clone(), source })?;
    inputs.push((manifest, evidence));
    let metadata = project.metadata()?;
    let requires = lock.requires_python().cloned().or(metadata.requires_python);
    let search = Search {
        explicit: options.python.clone(),
        path: options.path.clone(),
        requires_python: requires,
    };
    let (interpreter, mend) = choose_interpreter(&root, &search, store, now)?;
    let (markers, tags) = (interpreter.marker_environment()?, interpreter.tags()?);
    let mut selection = options.selection.clone();
    selection.default_groups = selection.default_groups.or(metadata.default_groups);
    let target = Target { markers: &markers, tags: &tags, selection: &selection };
    let mut wanted = lock.select(target)?;
    for package in &mut wanted {
        if let Source::Directory { path, editable: false, build_files } = &mut package.source {
            *build_files = Some(build_files_digest(path));
        }
    }
    let name = metadata.name.map(|name| name.to_string());
    let directory = || project.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prompt = name.unwrap_or_else(directory);
    let options = options.clone();
    let context =
        Context { root, request, inputs, interpreter, tags, mend, prompt, options, checked: now };
    let other_locks = project.other_locks.clone();
    Ok(Preparation { reason, other_locks, context, wanted, lock })
}

/// The evidence of the lock's files, as far as it belongs to what was read.
fn lock_evidence(lock: &Lock, now: SystemTime) -> Result<Vec<(PathBuf, Evidence)>, LockError> {
    let take = |(path, read): &(PathBuf, Digest)| {
        let evidence = Evidence::of_content(path, *read, now)
            .map_err(|source| LockError::Read { path: path.clone(), source })?;
        Ok((path.clone(), evidence))
    };
    lock.files().iter().map(take).collect()
}

/// What was asked for, as far as it is not the content of a file.
fn request_digest(project: &Project, options: &Options) -> Digest {
    fn names<T: ToString>(hasher: &mut Hasher, names: &Names<T>) {
        match names {
            Names::All => hasher.field("all"),
            Names::Some(names) => hasher.field("some").list(names.iter().map(ToString::to_string)),
        };
    }
    let mut hasher = Hasher::new("environment request, 1");
    let lock = project.lock.as_ref().and_then(|lock| lock.path.file_name());
    hasher.optional(lock.map(|name| name.to_string_lossy().into_owned()));
    names(&mut hasher, &options.selection.extras);
    names(&mut hasher, &options.selection.groups);
    match &options.selection.default_groups {
        Some(groups) => names(&mut hasher, groups),
        None => drop(hasher.field("default")),
    }
    hasher.field([u8::from(options.selection.no_default_groups), u8::from(options.exact)]);
    hasher.optional(options.python.as_ref().map(|path| path.to_string_lossy().into_owned()));
    hasher.finish()
}

/// These options, and what was asked for before.
fn with_asked(options: &Options, asked: &Asked) -> Options {
    let mut options = options.clone();
    options.selection.extras.add(asked.extras.as_deref());
    options.selection.groups.add(asked.groups.as_deref());
    options.exact |= asked.exact;
    options.python = options.python.or_else(|| asked.python.clone());
    options
}

/// What later commands go by.
fn asked(options: &Options) -> Asked {
    Asked {
        extras: options.selection.extras.to_strings(),
        groups: options.selection.groups.to_strings(),
        exact: options.exact,
        python: options.python.clone(),
    }
}

/// The interpreter of the environment that is there, or a new one, and what to mend.
fn choose_interpreter(
    root: &Path,
    search: &Search,
    store: &Store,
    now: SystemTime,
) -> Result<(Interpreter, Mend), CheckError> {
    let condition = venv::inspect(root)?;
    match &condition {
        Condition::Absent => return Ok((Interpreter::find(search, store, now)?, Mend::Create)),
        Condition::NoInterpreter => {
            let found = Interpreter::find(search, store, now)?;
            let version = (found.version[0], found.version[1]);
            let same = venv::configured_version(root) == Some(version);
            if same {
                return Ok((found, Mend::Relink));
            }
            let reason = "its interpreter is gone".to_owned();
            return recreate(root, found, reason, search);
        }
        Condition::Sound | Condition::Moved { .. } => {}
    }
    let present = Interpreter::at(&venv::python(root), store, now)?;
    let fits = present.satisfies(search.requires_python.as_ref())
        && match &search.explicit {
            Some(_) => {
                let named = Interpreter::find(search, store, now)?;
                (named.version, named.base_prefix) == (present.version, present.base_prefix.clone())
            }
            None => true,
        };
    if !fits {
        let found = Interpreter::find(search, store, now)?;
        let reason = format!("it has Python {}", present.full_version());
        return recreate(root, found, reason, search);
    }
    let mend = match condition {
        Condition::Moved { from } => Mend::Relocate(from),
        _ => Mend::Nothing,
    };
    Ok((present, mend))
}

/// An environment that rewarm made is made anew; anybody else's is not touched.
fn recreate(
    root: &Path,
    interpreter: Interpreter,
    reason: String,
    search: &Search,
) -> Result<(Interpreter, Mend), CheckError> {
    if root.join(crate::state::STATE_FILE).exists() {
        return Ok((interpreter, Mend::Recreate(reason)));
    }
    let found = venv::configured_version(root).map_or_else(
        || "of unknown version".to_owned(),
        |(major, minor)| format!("{major}.{minor}"),
    );
    let wanted = search.requires_python.as_ref();
    let wanted =
        wanted.map_or_else(String::new, |wanted| format!(" `requires-python = \"{wanted}\"`"));
    Err(VenvError::Unsuitable { path: root.to_owned(), found, wanted }.into())
}

/// The files of a directory that say how it is built.
fn build_files_digest(path: &Path) -> Digest {
    let mut hasher = Hasher::new("build files, 1");
    for name in ["pyproject.toml", "setup.py", "setup.cfg"] {
        hasher.optional(std::fs::read(path.join(name)).ok());
    }
    hasher.finish()
}

impl Preparation {
    /// The projects whose index pages are needed.
    pub fn queries(&self) -> Result<Vec<PackageName>, CheckError> {
        let plan = self.context.plan(&self.wanted)?;
        let unresolved = |wanted: &&Wanted| matches!(wanted.source, Source::Index { .. });
        Ok(plan.to_install().filter(unresolved).map(|wanted| wanted.name.clone()).collect())
    }

    /// The indexes that the lock file names itself.
    pub fn indexes(&self) -> &[String] {
        self.lock.indexes()
    }

    /// The plan, given the index pages of the [queried](Self::queries) projects.
    pub fn plan(mut self, pages: &[IndexPage]) -> Result<Plan, CheckError> {
        let python = self.context.interpreter.version.map(u64::from);
        let needed: BTreeSet<PackageName> = self.queries()?.into_iter().collect();
        for wanted in self.wanted.iter_mut().filter(|wanted| needed.contains(&wanted.name)) {
            crate::index::resolve(wanted, pages, python, &self.context.tags)?;
        }
        let install = self.context.plan(&self.wanted)?;
        let (context, wanted) = (self.context, self.wanted);
        Ok(Plan { install, context, wanted, supplied: BTreeMap::new() })
    }
}

impl Context {
    fn site_packages(&self) -> Vec<PathBuf> {
        let layout = venv::layout(&self.root, &self.interpreter);
        let mut directories = vec![layout.scheme.purelib, layout.scheme.platlib];
        directories.dedup();
        directories
    }

    fn present(&self) -> Result<Vec<Installed>, CheckError> {
        if matches!(self.mend, Mend::Create | Mend::Recreate(_)) {
            return Ok(Vec::new());
        }
        scan(&self.site_packages())
            .map_err(|source| CheckError::Io { path: self.root.clone(), source })
    }

    fn known(&self, state: Option<&State>) -> Known {
        Known {
            packages: state.map(|state| state.packages.clone()).unwrap_or_default(),
            pending: state.map(|state| state.pending.keys().cloned().collect()).unwrap_or_default(),
            moved: matches!(self.mend, Mend::Relocate(_)),
            reinstall_all: self.options.reinstall,
            installer: self.options.installer.clone(),
        }
    }

    fn plan(&self, wanted: &[Wanted]) -> Result<InstallPlan, CheckError> {
        let known = self.known(State::read(&self.root).as_ref());
        Ok(InstallPlan::new(wanted, &self.present()?, &known, self.options.exact))
    }
}

impl Plan {
    /// The environment's directory.
    pub fn root(&self) -> &Path {
        &self.context.root
    }

    /// The interpreter that the environment has or gets.
    pub fn interpreter(&self) -> &Interpreter {
        &self.context.interpreter
    }

    /// Whether the environment and all its packages are as they should be. Carrying out such a plan
    /// still has a use: it notes what was found, so that the next check is cheap.
    pub fn is_empty(&self) -> bool {
        self.install.is_empty() && self.context.mend == Mend::Nothing
    }

    /// The files behind URLs that the store does not have. One whose [sha256](RemoteFile::sha256)
    /// the lock names is found under that digest; any other has to be [supplied](Self::supply).
    pub fn downloads(&self, store: &Store) -> Vec<&RemoteFile> {
        let missing = |file: &&RemoteFile| match self.digest_of(file) {
            // A tree may be here without its wheel: from a tool that keeps no wheels.
            Some(digest) => {
                store.blob_path(&digest).is_none()
                    && (!file.filename.ends_with(".whl") || store.tree(&digest).is_none())
            }
            None => true,
        };
        let files = self.install.to_install().filter_map(|wanted| wanted.source.file());
        files.filter(|file| matches!(file.location, Location::Url(_))).filter(missing).collect()
    }

    /// Tells which blob a download became, and checks it against the lock file's digests.
    pub fn supply(
        &mut self,
        store: &Store,
        file: &RemoteFile,
        blob: &Digest,
    ) -> Result<(), InstallError> {
        verify_hashes(store, file, blob)?;
        self.supplied.insert(file.filename.clone(), *blob);
        Ok(())
    }

    fn digest_of(&self, file: &RemoteFile) -> Option<Digest> {
        file.sha256().or_else(|| self.supplied.get(&file.filename).copied())
    }
}
