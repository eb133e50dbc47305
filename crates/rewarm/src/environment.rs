//! The workspace and its environment: finding them, installing, activating.
//!
//! This is where the libraries meet: `rewarm-env` says which files are wanted, `rewarm-http`
//! fetches them into the store, `rewarm-env` goes on from there.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rewarm_activation::{
    self as activation, Activation, ActivationRequest, Observed, Scope, Variables,
};
use rewarm_env::{
    CheckError, Event, InstallError, LockError, Names, Options, Plan, Preparation, Project, Report,
    STATE_FILE, Selection, Status,
};
use rewarm_http::Request;
use rewarm_task::TaskTable;

use crate::args;
use crate::config::{self, File};
use crate::context::{Context, now};
use crate::error::Failure;
use crate::network;
use crate::ui::size;

/// A project or bare directory, and where its environment is or will be.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The canonical root.
    pub(crate) root: PathBuf,
    /// The project, unless this is a bare directory.
    pub(crate) project: Option<Project>,
    /// The manifest, if it is a pixi workspace.
    pixi: Option<PathBuf>,
    pub(crate) config: File,
    /// Every file the configuration could have come from.
    pub(crate) config_files: Vec<PathBuf>,
    /// The environment.
    pub(crate) prefix: PathBuf,
    /// What was looked at on the way, before it was used.
    observed: Observed,
}

/// What was done to the environment.
#[derive(Debug, Default)]
pub(crate) struct Installed {
    /// `None` if nothing had to be done.
    pub(crate) report: Option<Report>,
    /// Files that had to be downloaded, and their bytes.
    pub(crate) downloaded: (usize, u64),
    pub(crate) seconds: f64,
}

impl Workspace {
    /// Looks from the starting directory upwards.
    pub(crate) fn find(context: &Context<'_>) -> Result<Self, Failure> {
        let start = &context.settings.start;
        let start = start.canonicalize().map_err(|error| {
            let text = format!("cannot use `{}`: {error}", start.display());
            Failure::usage(std::io::Error::new(error.kind(), text))
        })?;
        let project = Project::find(&start);
        let root = project.as_ref().map_or(start, |project| project.root.clone());
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
        let prefix = prefix(context, project.as_ref(), &root);
        let pixi = Some(root.join("pixi.toml")).filter(|path| path.is_file());
        Ok(Self { root, project, pixi, config, config_files, prefix, observed })
    }

    /// A directory with a lock file and nothing else: an environment is to be made there for a tool.
    pub(crate) fn of_lock(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            project: Some(Project::at(root)),
            pixi: None,
            config: File::default(),
            config_files: Vec::new(),
            prefix: root.join(".venv"),
            observed: Observed::new(now()),
        }
    }

    /// The manifest, if this is a pixi workspace.
    pub(crate) fn pixi_manifest(&self) -> Option<&Path> {
        self.pixi.as_deref()
    }

    fn has_lock(&self) -> bool {
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

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let text = format!("cannot read `{}`: {error}", path.display());
    Failure::world(std::io::Error::new(error.kind(), text))
}

/// What the command line and the configuration ask for.
pub(crate) fn options(
    context: &Context<'_>,
    workspace: &Workspace,
    args: &args::Install,
) -> Result<Options, Failure> {
    let bad = |what: &str, name: &str| Failure::usage(format!("`{name}` cannot name {what}"));
    let extras = workspace.config.extras.iter().chain(&args.selection.extra);
    let extras = extras.map(|name| name.parse().map_err(|_| bad("an extra", name)));
    let parse_group = |name: &String| name.parse().map_err(|_| bad("a dependency group", name));
    let groups = args.selection.group.iter().map(parse_group).collect::<Result<_, _>>()?;
    let configured = workspace.config.groups.as_ref();
    let default_groups = configured
        .map(|groups| groups.iter().map(parse_group).collect::<Result<_, _>>())
        .transpose()?;
    let selection = Selection {
        extras: Names::Some(extras.collect::<Result<_, _>>()?),
        groups: Names::Some(groups),
        default_groups: default_groups.map(Names::Some),
        no_default_groups: false,
    };
    let path = context.settings.caller.get("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(path).collect();
    let configured = workspace.config.python.as_ref().or(context.settings.user.python.as_ref());
    let python = args.python.as_ref().or(configured);
    // A bare name or version is looked for on `PATH`.
    let python = python.map(|python| match python.contains('/') {
        true => context.settings.caller.cwd.join(python),
        false => PathBuf::from(python),
    });
    Ok(Options {
        environment: Some(workspace.prefix.clone()),
        selection,
        python,
        path,
        exact: args.exact,
        ..Options::default()
    })
}

/// Makes the environment match the lock file, if there is one; costs a few `stat` calls if it does.
///
/// A cache that is full costs speed, not the command: the work is done once more beside it.
pub(crate) fn ensure(
    context: &Context<'_>,
    workspace: &Workspace,
    options: &Options,
) -> Result<Installed, Failure> {
    match ensure_through(context, workspace, options) {
        Err(failure) if failure.is_out_of_space() => match context.beside_full_cache(&failure)? {
            Some(other) => ensure_through(&other, workspace, options),
            None => Err(failure),
        },
        result => result,
    }
}

fn ensure_through(
    context: &Context<'_>,
    workspace: &Workspace,
    options: &Options,
) -> Result<Installed, Failure> {
    let started = Instant::now();
    let Some(project) = workspace.project.as_ref().filter(|_| workspace.has_lock()) else {
        return no_lock(workspace).map(|()| Installed::default());
    };
    let store = context.store()?;
    let status = rewarm_env::check(project, store, options, now()).map_err(check_failure)?;
    let Status::Needs(preparation) = status else { return Ok(Installed::default()) };
    context.ui.detail(&format!("the environment is to be compared: {}", preparation.reason));
    for other in &preparation.other_locks {
        let path = other.path.display();
        context.ui.detail(&format!("`{path}` does not count beside the lock file in use"));
    }
    let mut plan = plan(context, workspace, *preparation)?;
    let mut installed = Installed::default();
    let mut is_second = false;
    let report = loop {
        let fetched = download(context, &mut plan)?;
        installed.downloaded.0 += fetched.0;
        installed.downloaded.1 += fetched.1;
        match execute(context, &plan) {
            Ok(report) => break report,
            // A blob was damaged and dropped: fetch it again, once.
            Err(error) if error.wants_download() && !is_second => {
                context.ui.warn(&format!("{error}; fetching it again"));
                is_second = true;
            }
            Err(error) => return Err(install_failure(error)),
        }
    };
    installed.seconds = started.elapsed().as_secs_f64();
    installed.report = Some(report);
    Ok(installed)
}

/// Without a lock file an environment is used as it is.
fn no_lock(workspace: &Workspace) -> Result<(), Failure> {
    if workspace.prefix.join("bin/python").exists() {
        return Ok(());
    }
    let text =
        format!("there is no environment and no lock file in `{}`", workspace.root.display());
    let mut above = workspace.root.ancestors().skip(1);
    if let Some(dir) = above.find(|dir| dir.join(".venv/pyvenv.cfg").exists()) {
        // Which directories belong to that one nobody has said.
        let shown = dir.display();
        return Err(Failure::usage(text).hint(format!(
            "`{shown}` has one: say `-C {shown}`, or put a `rewarm.toml` there, which may be empty"
        )));
    }
    Err(Failure::usage(text)
        .hint("make a lock file: `uv lock`, or `uv pip compile --format pylock.toml -o pylock.toml …`")
        .hint("or make an environment: `python3 -m venv .venv`; rewarm uses it as it is"))
}

pub(crate) fn plan(
    context: &Context<'_>,
    workspace: &Workspace,
    preparation: Preparation,
) -> Result<Plan, Failure> {
    let queries = preparation.queries().map_err(check_failure)?;
    let default = context.settings.index_url(&workspace.config).map_err(Failure::usage)?;
    let bases = if preparation.indexes().is_empty() {
        vec![default]
    } else {
        let parse = |text: &String| url::Url::parse(text).map_err(Failure::usage);
        preparation.indexes().iter().map(parse).collect::<Result<_, _>>()?
    };
    let mut pages = Vec::new();
    for base in bases {
        let wanted: Vec<_> =
            queries.iter().map(|project| (project, page_url(&base, project.as_ref()))).collect();
        let requests: Result<Vec<Request>, Failure> =
            wanted.iter().map(|(_, url)| page_request(url)).collect();
        let fetched = network::fetch_all(context, "Reading the index", None, requests?)?;
        for ((project, url), fetched) in wanted.iter().zip(fetched) {
            let bytes = network::read(context, &fetched)?;
            let page = rewarm_env::index::parse(project, url, &bytes).map_err(Failure::world)?;
            pages.push(page);
        }
    }
    preparation.plan(&pages).map_err(check_failure)
}

fn page_url(base: &url::Url, project: &str) -> url::Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(project).push("");
    }
    url
}

/// An index page in its JSON form (PEP 691).
fn page_request(url: &url::Url) -> Result<Request, Failure> {
    let url = rewarm_http::Url::parse(url.as_str()).map_err(Failure::usage)?;
    let json = http::HeaderValue::from_static("application/vnd.pypi.simple.v1+json");
    Ok(Request::get(url).header(http::header::ACCEPT, json))
}

/// Brings what the plan lacks into the store. Says how many files and bytes came.
fn download(context: &Context<'_>, plan: &mut Plan) -> Result<(usize, u64), Failure> {
    let store = context.store()?;
    let files: Vec<rewarm_env::RemoteFile> = plan.downloads(store).into_iter().cloned().collect();
    let mut requests = Vec::with_capacity(files.len());
    for file in &files {
        let rewarm_env::Location::Url(url) = &file.location else { continue };
        let url = rewarm_http::Url::parse(url.as_str()).map_err(Failure::usage)?;
        let mut request = Request::get(url);
        request.expected = file.sha256();
        requests.push(request);
    }
    let total = files.iter().map(|file| file.size).sum::<Option<u64>>();
    let label = match files.as_slice() {
        [file] => format!("Downloading {}", file.filename),
        files => format!("Downloading {} files", files.len()),
    };
    let fetched = network::fetch_all(context, &label, total, requests)?;
    let mut bytes = 0;
    for (file, fetched) in files.iter().zip(&fetched) {
        let blob = network::into_store(context, fetched)?;
        bytes += blob.size;
        plan.supply(store, file, &blob.digest).map_err(install_failure)?;
    }
    Ok((files.len(), bytes))
}

fn execute(context: &Context<'_>, plan: &Plan) -> Result<Report, InstallError> {
    let total = plan.install.to_install().count();
    let bar = context.ui.count("Installing", total);
    let store = context.store().expect("the store was opened to make the plan");
    plan.execute(store, &|event| match event {
        Event::Installed(name) => {
            bar.advance(1);
            context.ui.detail(&format!("installed {name}"));
        }
        Event::Building(name) => context.ui.note(&format!("building {name}")),
        Event::Removed(name) => context.ui.detail(&format!("removed {name}")),
        Event::Created(path) => context.ui.detail(&format!("created `{}`", path.display())),
        Event::Repaired(path, why) => {
            context.ui.note(&format!("repaired `{}`: {why}", path.display()));
        }
        Event::Recreated(path, why) => {
            context.ui.warn(&format!("made `{}` anew: {why}", path.display()));
        }
        Event::Prepared(_) => {}
    })
}

fn check_failure(error: CheckError) -> Failure {
    match error {
        CheckError::Io { .. } => Failure::world(error),
        CheckError::Lock(LockError::Read { .. }) => Failure::world(error),
        other => Failure::usage(other),
    }
}

fn install_failure(error: InstallError) -> Failure {
    Failure::world(error).hint_at_space()
}

impl Installed {
    /// One line on what was done and what was reused; `None` if nothing had to be done.
    pub(crate) fn summary(&self) -> Option<String> {
        let report = self.report.as_ref()?;
        let (files, bytes) = self.downloaded;
        let mut parts = vec![match report.installed {
            0 => "nothing to install".to_owned(),
            count => format!("installed {}", packages(count)),
        }];
        if report.removed > 0 {
            parts.push(format!("removed {}", report.removed));
        }
        if report.kept > 0 {
            parts.push(format!("kept {}", report.kept));
        }
        let cached = report.installed.saturating_sub(files);
        let origin = match (files, cached) {
            (0, 0) => String::new(),
            (0, _) => "; nothing downloaded".to_owned(),
            (_, 0) => format!("; downloaded {}", size(bytes)),
            (_, cached) => format!("; downloaded {}, {cached} from the cache", size(bytes)),
        };
        Some(format!("{}{origin} in {:.2} s", parts.join(", "), self.seconds))
    }
}

fn packages(count: usize) -> String {
    if count == 1 { "1 package".to_owned() } else { format!("{count} packages") }
}

/// How the caller wants to be in the environment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
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
pub(crate) fn activate(
    context: &Context<'_>,
    workspace: &Workspace,
    options: &Options,
    wish: Wish,
) -> Result<Activated, Failure> {
    let caller = caller_variables(context);
    let store = context.store()?;
    let scope = Scope {
        workspace_root: &workspace.root,
        environment: "default",
        clean_env: wish.clean_env,
    };
    let miss = if wish.force {
        "it was to be computed anew".to_owned()
    } else {
        match activation::lookup(store, &scope, &caller, now()) {
            Ok(hit) if hit.activation.prefix == workspace.prefix => {
                if hit.renewed {
                    keep(context, &hit.activation);
                }
                return Ok(Activated { activation: hit.activation, miss: None });
            }
            Ok(_) => "the environment is another one".to_owned(),
            Err(miss) => miss.to_string(),
        }
    };
    let tasks = TaskTable::new(workspace.config.tasks.clone()).map_err(Failure::usage)?;
    let observed = workspace.observe()?;
    let request = ActivationRequest {
        clean_env: wish.clean_env,
        config: workspace.config.activation.clone(),
        tasks: postcard::to_allocvec(&tasks).expect("tasks are strings"),
        ..ActivationRequest::new(workspace.root.clone(), workspace.prefix.clone(), observed)
    };
    let activation = activation::activate(request, &caller).map_err(Failure::usage)?;
    if is_current(context, workspace, options)? {
        keep(context, &activation);
    }
    Ok(Activated { activation, miss: Some(miss) })
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

fn keep(context: &Context<'_>, activation: &Activation) {
    if let Ok(store) = context.store()
        && let Err(error) = activation::save(store, activation)
    {
        context.ui.detail(&format!("the activation was not kept: {error}"));
    }
}

/// Finds the workspace, brings its environment up to date, and activates it.
pub(crate) fn enter(
    context: &Context<'_>,
    wish: Wish,
    revalidate: bool,
) -> Result<(Workspace, Installed, Activated), Failure> {
    let workspace = Workspace::find(context)?;
    let mut options = options(context, &workspace, &args::Install::default())?;
    options.as_before = true;
    options.revalidate = revalidate;
    let installed = ensure(context, &workspace, &options)?;
    let activated = activate(context, &workspace, &options, wish)?;
    Ok((workspace, installed, activated))
}

/// The environment of a child, as a list.
pub(crate) fn child_variables(
    context: &Context<'_>,
    activation: &Activation,
) -> Vec<(OsString, OsString)> {
    activation.environment_for(&caller_variables(context)).into_iter().collect()
}
