//! Pixi workspaces: making an environment match `pixi.lock`, and being in it.
//!
//! This is where the libraries meet: `rewarm-conda` says which packages are wanted, `rewarm-http`
//! fetches them into the store, `rewarm-conda` puts them into the prefix, and `rewarm-env` the wheels
//! that are wanted besides. Only when all is there is pixi told, and the prefix noted as up to date.

mod activate;
mod command;
mod conda;
mod distributions;
mod packages;
mod places;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rewarm_conda::lock::{
    self, Host, LOCK_FILE, LockError, LockFile, OVERRIDES, PlanError, Wanted,
};
use rewarm_conda::manifest::{self, Workspace};
use rewarm_conda::prefix::{self, Depth, LinkMode, Marker, Outdated, PIXI_VERSION, Target};
use rewarm_store::{Digest, Hasher};

use crate::context::{Context, now};
use crate::environment::State;
use crate::error::Failure;

pub(crate) use activate::{activate, activate_bare};
pub(crate) use command::{clean, install};
pub(crate) use conda::{place as conda_place, root as conda_root};
pub(crate) use places::place;
pub(crate) use report::{Done, Installed};

/// The environment that is meant where none is named.
pub(crate) const DEFAULT: &str = manifest::DEFAULT;

/// How an environment is brought up to date.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Install every package again.
    pub(crate) reinstall: bool,
    /// Compare every file with its digest, whatever seems up to date.
    pub(crate) revalidate: bool,
    /// Refuse a lock file that does not fit the manifest.
    pub(crate) locked: bool,
}

/// An environment of a workspace, and where everything about it is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The manifest of pixi, or of conda if it `is_conda`; absolute.
    pub(crate) manifest: PathBuf,
    /// The environment's name.
    pub(crate) environment: String,
    /// Its prefix.
    pub(crate) prefix: PathBuf,
    /// Whether it is the one environment of a conda project: of an `environment.yml` or a list of
    /// packages.
    pub(crate) is_conda: bool,
}

impl Place {
    /// The directory of the manifest.
    pub(crate) fn root(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new("/"))
    }
}

/// The manifest in a directory that is the root of a pixi workspace.
pub(crate) fn manifest_in(root: &Path) -> Option<PathBuf> {
    manifest::find(root).filter(|found| found.parent() == Some(root))
}

/// What belongs into an environment, as manifest and lock file say it.
pub(crate) struct Prepared {
    wanted: Wanted,
    /// What pixi is told; conda keeps nothing of that kind.
    marker: Option<Marker>,
    /// Variables that are set in the environment itself.
    variables: Vec<(String, String)>,
    /// What was read, and the digest of what was in it.
    inputs: Vec<(PathBuf, Digest)>,
    /// Whether the lock file fits the manifest.
    is_fit: bool,
}

/// Makes an environment match the lock file; costs a few `stat` calls if it does.
///
/// A cache that is full costs speed, not the command: the work is done once more beside it.
pub(crate) fn ensure(
    context: &Context<'_>,
    place: &Place,
    asked: Asked,
) -> Result<Installed, Failure> {
    context.or_beside_full_cache(|context| ensure_through(context, place, asked))
}

fn ensure_through(
    context: &Context<'_>,
    place: &Place,
    asked: Asked,
) -> Result<Installed, Failure> {
    let started = Instant::now();
    let request = request(context, place);
    let (mut installed, mut asked) = (Installed::new(place), asked);
    match prefix::is_current(&place.prefix, &request, now()) {
        Ok(()) if !asked.reinstall && !asked.revalidate => return Ok(installed),
        Ok(()) => {}
        Err(Outdated::Unknown) if !place.prefix.exists() => {}
        Err(reason) => {
            context.ui.detail(&format!("the environment is to be compared: {reason}"));
        }
    }
    if places::is_moved(place, &request) && !asked.reinstall {
        let shown = place.prefix.display();
        context.ui.note(&format!("`{shown}` was made for another directory: made anew"));
        asked.reinstall = true;
    }
    let checked = now();
    let prepared = prepare(context, place, asked)?;
    let target = Target {
        prefix: place.prefix.clone(),
        packages: prepared.wanted.conda.iter().map(|package| package.record.clone()).collect(),
        platform: prepared.wanted.platform.subdir,
    };
    let plan = prefix::check(target, options(asked)).map_err(packages::check_failure)?;
    places::mark_directory(place)?;
    if plan.moves_python() {
        distributions::remove_all(context, place)?;
    }
    let wheels = distributions::wheels(&prepared.wanted)?;
    let mut done = packages::bring(context, plan, &wheels, &mut installed)?;
    done.add(distributions::bring(context, place, wheels, asked, &mut installed)?);
    conclude(place, &prepared, &request, checked).or_else(|failure| match done.is_nothing() {
        // The next check costs what this one did.
        true => Ok(()),
        false => Err(failure),
    })?;
    installed.seconds = started.elapsed().as_secs_f64();
    installed.done = Some(done);
    Ok(installed)
}

/// Tells pixi and the next command that all is there.
fn conclude(
    place: &Place,
    prepared: &Prepared,
    request: &Digest,
    checked: std::time::SystemTime,
) -> Result<(), Failure> {
    let note = || {
        if let Some(marker) = &prepared.marker {
            marker.write(&place.prefix)?;
        }
        conda::keep_variables(&place.prefix, &prepared.variables)?;
        // What does not fit is to be told each time.
        if prepared.is_fit {
            prefix::note(&place.prefix, request, &prepared.inputs, checked)?;
        }
        Ok(())
    };
    note().map_err(|error: std::io::Error| {
        let text = format!("cannot write `{}`: {error}", place.prefix.display());
        Failure::world(std::io::Error::new(error.kind(), text))
    })
}

fn options(asked: Asked) -> prefix::Options {
    let depth = if asked.revalidate { Depth::Content } else { Depth::Presence };
    prefix::Options { reinstall: asked.reinstall, depth, link_mode: LinkMode::Auto }
}

/// Whether an environment is there and no lock file says what belongs into it.
pub(crate) fn is_without_lock(place: &Place) -> bool {
    let root = place.root();
    !place.is_conda && place.prefix.join("conda-meta").is_dir() && !root.join(LOCK_FILE).exists()
}

/// Whether an environment is known to match the lock file, by a few `stat` calls.
pub(crate) fn is_current(context: &Context<'_>, place: &Place) -> bool {
    is_without_lock(place)
        || prefix::is_current(&place.prefix, &request(context, place), now()).is_ok()
}

/// How an environment stands to the lock file; changes nothing.
pub(crate) fn state(context: &Context<'_>, place: &Place) -> State {
    let root = place.root();
    match prefix::is_current(&place.prefix, &request(context, place), now()) {
        Ok(()) => State::Matches,
        Err(_) if !place.is_conda && !root.join(LOCK_FILE).exists() => State::NoLock,
        Err(_) if !place.prefix.exists() => State::NotMade,
        Err(reason) => State::Differs(reason.to_string()),
    }
}

/// What was asked for, as far as it is not the content of a file.
fn request(context: &Context<'_>, place: &Place) -> Digest {
    let mut hasher = Hasher::new("pixi environment, 1");
    hasher.field(place.manifest.as_os_str().as_encoded_bytes()).field(&place.environment);
    for (_, variable) in OVERRIDES {
        let value = context.settings.caller.variables.get(std::ffi::OsStr::new(variable));
        hasher.optional(value.map(|value| value.as_encoded_bytes()));
    }
    hasher.finish()
}

/// Reads the manifest and the lock file.
pub(crate) fn prepare(
    context: &Context<'_>,
    place: &Place,
    asked: Asked,
) -> Result<Prepared, Failure> {
    if place.is_conda {
        return conda::prepare(context, place);
    }
    let (workspace, manifest) = read_manifest(&place.manifest)?;
    for warning in &workspace.warnings {
        context.ui.warn(&warning.to_string());
    }
    if !workspace.has_environment(&place.environment) {
        return Err(Failure::usage(workspace.no_environment(&place.environment)));
    }
    let path = workspace.root.join(LOCK_FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::usage(LockError::Missing { path: path.clone() }).hint("run `rewarm lock`")
        }
        _ => Failure::world(LockError::Read { path: path.clone(), source }),
    })?;
    let file = LockFile::read(&path, &text).map_err(Failure::usage)?;
    let fit = lock::check_environment(&workspace, &file, &place.environment);
    let fit = fit.require(&file);
    let is_fit = fit.is_ok();
    match fit {
        Err(error) if asked.locked => return Err(Failure::usage(error)),
        Err(error) => context.ui.warn(&format!("{error}; what is locked is installed")),
        Ok(()) => {}
    }
    let host = host(context)?;
    let wanted = lock::plan(&workspace, &file, &place.environment, &host).map_err(plan_failure)?;
    let marker = Some(Marker {
        manifest_path: place.manifest.clone(),
        environment_name: place.environment.clone(),
        pixi_version: PIXI_VERSION.to_owned(),
        environment_lock_file_hash: prefix::locked_hash(&wanted),
        resolved_platform: None,
        minimum_supported_platform: None,
    });
    let inputs = vec![(place.manifest.clone(), manifest), (path, Digest::of(&text))];
    Ok(Prepared { wanted, marker, variables: Vec::new(), inputs, is_fit })
}

/// The names of the environments of a workspace that this machine can have.
pub(crate) fn environments(context: &Context<'_>, manifest: &Path) -> Result<Vec<String>, Failure> {
    let (workspace, _) = read_manifest(manifest)?;
    let host = host(context)?;
    let mut names = Vec::new();
    for name in workspace.environments() {
        match host.choose(&workspace.environment_platforms(name), name) {
            Ok(_) => names.push(name.to_owned()),
            Err(error) => context.ui.note(&format!("passed over `{name}`: {error}")),
        }
    }
    Ok(names)
}

fn read_manifest(path: &Path) -> Result<(Workspace, Digest), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let text = format!("cannot read `{}`: {error}", path.display());
        Failure::world(std::io::Error::new(error.kind(), text))
    })?;
    let workspace = Workspace::parse(path, &text).map_err(Failure::usage)?;
    Ok((workspace, Digest::of(&text)))
}

fn host(context: &Context<'_>) -> Result<Host, Failure> {
    let caller = &context.settings.caller;
    let given = |name: &str| {
        let value = caller.variables.get(std::ffi::OsStr::new(name))?.to_str()?;
        Some((name.to_owned(), value.to_owned()))
    };
    let overrides: BTreeMap<String, String> =
        OVERRIDES.iter().filter_map(|(_, variable)| given(variable)).collect();
    Host::detect(&overrides).map_err(Failure::usage)
}

fn plan_failure(error: PlanError) -> Failure {
    match error {
        PlanError::Lock(LockError::Read { .. }) => Failure::world(error),
        other => Failure::usage(other),
    }
}
