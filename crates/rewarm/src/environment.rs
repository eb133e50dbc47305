//! The workspace and its environment: finding them, and being in them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use rewarm_activation::{
    self as activation, Activation, ActivationRequest, Observed, Scope, Variables,
};
use rewarm_env::{Options, Project, STATE_FILE, Status};
use rewarm_task::TaskTable;

use crate::args;
use crate::config::{self, File};
use crate::context::{Context, now};
use crate::error::Failure;
use crate::tasks;
use crate::venv;
use crate::{hot, pixi};

/// A project or bare directory, and where its environment is or will be.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The canonical root.
    pub(crate) root: PathBuf,
    /// The project, unless this is a bare directory.
    pub(crate) project: Option<Project>,
    /// The environment that is meant, if it is a pixi workspace.
    pub(crate) place: Option<pixi::Place>,
    pub(crate) config: File,
    /// Every file the configuration could have come from.
    pub(crate) config_files: Vec<PathBuf>,
    /// The environment.
    pub(crate) prefix: PathBuf,
    /// What was looked at on the way, before it was used.
    pub(crate) observed: Observed,
}

impl Workspace {
    /// Looks from the starting directory upwards, for the environment that the caller is in or else
    /// the default one.
    pub(crate) fn find(context: &Context<'_>) -> Result<Self, Failure> {
        Self::find_with(context, None)
    }

    /// The same, for a certain environment.
    pub(crate) fn find_with(
        context: &Context<'_>,
        environment: Option<&str>,
    ) -> Result<Self, Failure> {
        let start = start(context)?;
        let project = Project::find(&start);
        let root = match (&project, pixi::conda_root(&start)) {
            (Some(project), _) => project.root.clone(),
            (None, Some(root)) => root.to_owned(),
            (None, None) => start,
        };
        Self::at(context, root, project, environment)
    }

    /// The same where the search for a project begins in a directory that may have an environment of
    /// its own without being the root of a project: that environment comes first.
    pub(crate) fn find_own(
        context: &Context<'_>,
        environment: Option<&str>,
    ) -> Result<Self, Failure> {
        let start = canonical_start(context)?;
        let is_root = rewarm_env::project_root(&start) == Some(start.as_path());
        if !is_root && start.join(".venv/pyvenv.cfg").exists() {
            return Self::at(context, start, None, environment);
        }
        Self::find_with(context, environment)
    }

    fn at(
        context: &Context<'_>,
        root: PathBuf,
        project: Option<Project>,
        environment: Option<&str>,
    ) -> Result<Self, Failure> {
        // What is looked at before it is read cannot be newer than what was made of it.
        let mut observed = Observed::new(now());
        let mut config_files = config::project_files(&root);
        config_files.extend(context.settings.caller.config_file());
        for path in &config_files {
            observed.path(path).map_err(|error| unreadable(path, error))?;
        }
        for name in ["HOME", "XDG_CONFIG_HOME", "VIRTUAL_ENV", "CONDA_PREFIX"] {
            let value = context.settings.caller.variables.get(OsStr::new(name));
            observed.variable(name.as_ref(), value.map(OsString::as_os_str));
        }
        let config = config::of_project(&root).map_err(Failure::usage)?;
        for unknown in &config.unknown {
            context.ui.warn(unknown);
        }
        let prefix = root.join(".venv");
        let found = Self { root, project, place: None, config, config_files, prefix, observed };
        found.in_environment(context, environment)
    }

    /// Whether there is an environment, or something that one is made from.
    pub(crate) fn has_environment(&self) -> bool {
        self.place.is_some() || self.has_lock() || self.prefix.join("bin/python").exists()
    }

    /// The same workspace, with a certain one of its environments.
    pub(crate) fn in_environment(
        mut self,
        context: &Context<'_>,
        environment: Option<&str>,
    ) -> Result<Self, Failure> {
        self.place = match pixi::manifest_in(&self.root) {
            Some(manifest) => {
                let in_use = hot::environment_in_use(&context.settings.caller, &self.root);
                let environment = environment.or(in_use).unwrap_or(pixi::DEFAULT);
                Some(pixi::place(context, &manifest, environment)?)
            }
            None => {
                refuse_environment(&self.root, environment)?;
                let is_python = self.has_lock() || self.root.join(".venv/pyvenv.cfg").exists();
                if is_python { None } else { pixi::conda_place(context, &self.root)? }
            }
        };
        self.prefix = match &self.place {
            Some(place) => place.prefix.clone(),
            None => prefix(context, self.project.as_ref(), &self.root),
        };
        Ok(self)
    }

    /// A directory with a lock file and nothing else: an environment is to be made there for a tool.
    pub(crate) fn of_lock(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            project: Some(Project::at(root)),
            place: None,
            config: File::default(),
            config_files: Vec::new(),
            prefix: root.join(".venv"),
            observed: Observed::new(now()),
        }
    }

    /// The manifest, if this is a pixi workspace.
    pub(crate) fn pixi_manifest(&self) -> Option<&Path> {
        self.place.as_ref().filter(|place| !place.is_conda).map(|place| &*place.manifest)
    }

    pub(crate) fn has_lock(&self) -> bool {
        self.project.as_ref().is_some_and(|project| project.lock.is_some())
    }

    /// What the environment is made from and what it looks like, as inputs of its activation.
    fn observe(&self) -> Result<Observed, Failure> {
        let mut observed = self.observed.clone();
        let mut paths: Vec<PathBuf> = ["pyvenv.cfg", STATE_FILE, "bin/python", "lib"]
            .map(|name| self.prefix.join(name))
            .into();
        if let Some(project) = &self.project {
            let candidates = rewarm_env::LOCK_FILES.iter().map(|(name, _)| project.root.join(name));
            let used = project.lock.as_ref().map(|lock| &lock.path);
            // Those after the one that counts do not count, whatever becomes of them.
            let count = candidates.clone().position(|path| Some(&path) == used);
            paths.extend(candidates.take(count.map_or(usize::MAX, |index| index + 1)));
        }
        paths.extend(site_packages(&self.prefix));
        for path in paths {
            observed.path(&path).map_err(|error| unreadable(&path, error))?;
        }
        Ok(observed)
    }
}

/// The directory to start in, without links.
pub(crate) fn canonical_start(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let start = &context.settings.start;
    start.canonicalize().map_err(|error| {
        let text = format!("cannot use `{}`: {error}", start.display());
        Failure::usage(std::io::Error::new(error.kind(), text))
    })
}

/// Where the search begins. In a shell of `pixi` or `rewarm` that has left the workspace, there is the
/// workspace's root, unless a project is here.
fn start(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let start = canonical_start(context)?;
    let caller = &context.settings.caller;
    if Project::find(&start).is_some() || !caller.is_on("PIXI_IN_SHELL") {
        return Ok(start);
    }
    let entered = caller.get("PIXI_PROJECT_MANIFEST").map(Path::new).and_then(Path::parent);
    let entered = entered.and_then(|root| root.canonicalize().ok());
    Ok(entered.filter(|root| pixi::manifest_in(root).is_some()).unwrap_or(start))
}

fn refuse_environment(root: &Path, environment: Option<&str>) -> Result<(), Failure> {
    let Some(name) = environment else { return Ok(()) };
    let text =
        format!("`{}` is no pixi workspace, so it has no environment `{name}`", root.display());
    Err(Failure::usage(text).hint("leave out `--environment`"))
}

/// The environment: `.venv`, else the one the caller is in, else where `.venv` would be.
fn prefix(context: &Context<'_>, project: Option<&Project>, root: &Path) -> PathBuf {
    let own = root.join(".venv");
    let is_locked = project.is_some_and(|project| project.lock.is_some());
    if is_locked || own.join("bin/python").exists() {
        return own;
    }
    let caller = &context.settings.caller;
    let active = caller.get("VIRTUAL_ENV").or_else(|| caller.get("CONDA_PREFIX"));
    active.map_or(own, PathBuf::from)
}

pub(crate) fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else { return Vec::new() };
    let dirs = entries.flatten().map(|entry| entry.path().join("site-packages"));
    dirs.filter(|dir| dir.is_dir()).collect()
}

pub(crate) fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let text = format!("cannot read `{}`: {error}", path.display());
    Failure::world(std::io::Error::new(error.kind(), text))
}

/// How the environment stands to the lock file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is a lock file, and it matches.
    Matches,
    /// There is a lock file, and something is different; says what.
    Differs(String),
    /// There is a lock file, and no environment yet.
    NotMade,
    /// It is a pixi workspace without a lock file.
    NoLock,
    /// There is no lock file.
    AsItIs,
    /// There is neither.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matches => f.write_str("matches the lock file"),
            Self::Differs(reason) => write!(f, "to be compared with the lock file: {reason}"),
            Self::NotMade => f.write_str("not made yet"),
            Self::NoLock => f.write_str("there is no `pixi.lock`"),
            Self::AsItIs => f.write_str("used as it is"),
            Self::Missing => f.write_str("does not exist"),
        }
    }
}

/// How the caller wants to be in the environment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// The environment of a pixi workspace; `None` for the one that the caller is in, or the default.
    pub(crate) environment: Option<&'a str>,
    pub(crate) clean_env: bool,
    /// Compute the activation even if one is stored.
    pub(crate) force: bool,
}

/// An activation, and where it came from.
#[derive(Debug)]
pub(crate) struct Activated {
    pub(crate) activation: Activation,
    /// Why it had to be computed; `None` if it came from the store.
    pub(crate) miss: Option<String>,
}

/// The caller's variables, as the activation takes them.
pub(crate) fn caller_variables(context: &Context<'_>) -> Variables {
    let caller = &context.settings.caller.variables;
    activation::variables(caller.iter().map(|(name, value)| (name.clone(), value.clone())))
}

/// The activation of the environment, from the store if it still holds.
///
/// A store that cannot be written costs speed only.
fn activate(
    context: &Context<'_>,
    workspace: &Workspace,
    options: &Options,
    wish: Wish<'_>,
) -> Result<Activated, Failure> {
    let scope = Scope {
        workspace_root: &workspace.root,
        environment: "default",
        clean_env: wish.clean_env,
    };
    let miss = match stored(context, &scope, &workspace.prefix, wish)? {
        Ok(activated) => return Ok(activated),
        Err(miss) => miss,
    };
    let observed = workspace.observe()?;
    let request = ActivationRequest {
        clean_env: wish.clean_env,
        config: workspace.config.activation.clone(),
        tasks: TaskTable::bytes(&tasks::of_workspace(workspace)?, "default"),
        ..ActivationRequest::new(workspace.root.clone(), workspace.prefix.clone(), observed)
    };
    let caller = caller_variables(context);
    let activation = activation::activate(request, &caller).map_err(Failure::usage)?;
    if is_current(context, workspace, options)? {
        keep(context, &activation);
    }
    Ok(Activated { activation, miss: Some(miss) })
}

/// What the store has, or why the activation has to be computed.
pub(crate) fn stored(
    context: &Context<'_>,
    scope: &Scope<'_>,
    prefix: &Path,
    wish: Wish<'_>,
) -> Result<Result<Activated, String>, Failure> {
    if wish.force {
        return Ok(Err("it was to be computed anew".to_owned()));
    }
    let caller = caller_variables(context);
    Ok(match activation::lookup(context.store()?, scope, &caller, now()) {
        Ok(hit) if hit.activation.prefix == prefix => {
            if hit.renewed {
                keep(context, &hit.activation);
            }
            Ok(Activated { activation: hit.activation, miss: None })
        }
        Ok(_) => Err("the environment is another one".to_owned()),
        Err(miss) => Err(miss.to_string()),
    })
}

/// Whether the environment, which was just observed, is the one that the lock file wants: somebody
/// may have changed either since it was installed, and then the activation holds this once only.
fn is_current(
    context: &Context<'_>,
    workspace: &Workspace,
    options: &Options,
) -> Result<bool, Failure> {
    let Some(project) = workspace.project.as_ref().filter(|_| workspace.has_lock()) else {
        return Ok(true);
    };
    let options = Options { revalidate: false, ..options.clone() };
    let status = rewarm_env::check(project, context.store()?, &options, now());
    Ok(matches!(status, Ok(Status::UpToDate(_))))
}

pub(crate) fn keep(context: &Context<'_>, activation: &Activation) {
    if let Ok(store) = context.store()
        && let Err(error) = activation::save(store, activation)
    {
        context.ui.detail(&format!("the activation was not kept: {error}"));
    }
}

/// Being in an environment.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) workspace: Workspace,
    pub(crate) activated: Activated,
    /// What was installed before; `None` if nothing had to be.
    pub(crate) summary: Option<String>,
}

/// Finds the workspace, brings its environment up to date, and activates it.
pub(crate) fn enter(
    context: &Context<'_>,
    wish: Wish<'_>,
    revalidate: bool,
) -> Result<Entered, Failure> {
    let workspace = Workspace::find_with(context, wish.environment)?;
    enter_found(context, workspace, wish, revalidate)
}

/// The same for a workspace in which the environment was chosen already.
pub(crate) fn enter_found(
    context: &Context<'_>,
    workspace: Workspace,
    wish: Wish<'_>,
    revalidate: bool,
) -> Result<Entered, Failure> {
    let summary = match &workspace.place {
        Some(place) if pixi::is_without_lock(place) => None,
        Some(place) => {
            let asked = pixi::Asked { revalidate, ..pixi::Asked::default() };
            pixi::ensure(context, place, asked)?.summary()
        }
        None => {
            let mut options = venv::options(context, &workspace, &args::Install::default())?;
            options.as_before = true;
            options.revalidate = revalidate;
            venv::ensure(context, &workspace, &options)?.summary()
        }
    };
    let activated = activated(context, &workspace, wish)?;
    Ok(Entered { workspace, activated, summary })
}

/// Finds the workspace and activates its environment as it is.
pub(crate) fn enter_as_it_is(context: &Context<'_>, wish: Wish<'_>) -> Result<Entered, Failure> {
    let workspace = Workspace::find_with(context, wish.environment)?;
    enter_found_as_it_is(context, workspace, wish)
}

/// The same for a workspace in which the environment was chosen already.
pub(crate) fn enter_found_as_it_is(
    context: &Context<'_>,
    workspace: Workspace,
    wish: Wish<'_>,
) -> Result<Entered, Failure> {
    let activated = activated(context, &workspace, wish)?;
    Ok(Entered { workspace, activated, summary: None })
}

fn activated(
    context: &Context<'_>,
    workspace: &Workspace,
    wish: Wish<'_>,
) -> Result<Activated, Failure> {
    if let Some(place) = workspace.place.as_ref().filter(|place| !place.is_conda) {
        return pixi::activate(context, workspace, place, wish, || {
            pixi::is_current(context, place)
        });
    }
    if workspace.prefix.join("conda-meta").is_dir() && !workspace.has_lock() {
        return pixi::activate_bare(context, &workspace.prefix, wish);
    }
    let mut options = venv::options(context, workspace, &args::Install::default())?;
    options.as_before = true;
    activate(context, workspace, &options, wish)
}

/// Activates a conda prefix, whatever workspace there is.
pub(crate) fn enter_prefix(
    context: &Context<'_>,
    prefix: &Path,
    wish: Wish<'_>,
) -> Result<Activated, Failure> {
    let given = context.settings.caller.cwd.join(prefix);
    let prefix = given.canonicalize().map_err(|error| unreadable(&given, error))?;
    if !prefix.join("conda-meta").is_dir() {
        let text = format!("`{}` is no conda prefix: it has no `conda-meta`", prefix.display());
        return Err(Failure::usage(text).hint("name the directory that `conda create -p` made"));
    }
    pixi::activate_bare(context, &prefix, wish)
}

/// The environment of a child, as a list.
pub(crate) fn child_variables(
    context: &Context<'_>,
    activation: &Activation,
) -> Vec<(OsString, OsString)> {
    activation.environment_for(&caller_variables(context)).into_iter().collect()
}
