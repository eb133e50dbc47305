//! Making a virtual environment match its lock file.
//!
//! This is where the libraries meet: `rewarm-env` says which files are wanted, `rewarm-http`
//! fetches them into the store, `rewarm-env` goes on from there.

use std::path::PathBuf;
use std::time::Instant;

use rewarm_env::{
    CheckError, Event, InstallError, LockError, Names, Options, Plan, Preparation, Report,
    Selection, Status,
};
use rewarm_http::Request;

use crate::args;
use crate::context::{Context, now};
use crate::environment::Workspace;
use crate::error::Failure;
use crate::network;
use crate::ui::size;

/// What was done to the environment.
#[derive(Debug, Default)]
pub(crate) struct Installed {
    /// `None` if nothing had to be done.
    pub(crate) report: Option<Report>,
    /// Files that had to be downloaded, and their bytes.
    pub(crate) downloaded: (usize, u64),
    pub(crate) seconds: f64,
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
    context.or_beside_full_cache(|context| ensure_through(context, workspace, options))
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
