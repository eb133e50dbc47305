//! Being in an environment of a pixi workspace: from the store, or by one run of its scripts.
//!
//! Whatever decides over the result is looked at before it is read: the manifest, the lock file
//! and pixi's configuration, besides what the prefix says. Which platform is meant may depend on
//! the machine; then what is known of that is an input too.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rewarm_activation::observe::HostFact;
use rewarm_activation::{
    self as activation, ActivateError, Activation, Computed, CondaRequest, Observed, Scope,
    ScriptShell,
};
use rewarm_conda::lock::{Host, LOCK_FILE, OVERRIDES};
use rewarm_conda::manifest::{Platform, Workspace as Manifest};
use rewarm_task::TaskTable;

use crate::context::{Context, now};
use crate::environment::{self, Activated, Wish, Workspace};
use crate::error::Failure;
use crate::pixi::{Place, places};
use crate::tasks;

/// How long the scripts of an environment may take, all together.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// The activation of an environment, from the store if it still holds.
///
/// `is_current` tells, once it is computed, whether the environment is still the one that the lock
/// file wants; otherwise it holds this once only.
pub(crate) fn activate(
    context: &Context<'_>,
    workspace: &Workspace,
    target: &Place,
    wish: Wish<'_>,
    is_current: impl FnOnce() -> bool,
) -> Result<Activated, Failure> {
    let scope = Scope {
        workspace_root: &workspace.root,
        environment: &target.environment,
        clean_env: wish.clean_env,
    };
    let miss = match environment::stored(context, &scope, &target.prefix, wish)? {
        Ok(activated) => return Ok(activated),
        Err(miss) => miss,
    };
    let activation = compute(context, request(context, workspace, target, wish)?)?;
    if is_current() {
        environment::keep(context, &activation);
    }
    Ok(Activated { activation, miss: Some(miss) })
}

/// The activation of a prefix that belongs to no workspace, as `conda activate` has it.
pub(crate) fn activate_bare(
    context: &Context<'_>,
    prefix: &Path,
    wish: Wish<'_>,
) -> Result<Activated, Failure> {
    let scope =
        Scope { workspace_root: prefix, environment: super::DEFAULT, clean_env: wish.clean_env };
    let miss = match environment::stored(context, &scope, prefix, wish)? {
        Ok(activated) => return Ok(activated),
        Err(miss) => miss,
    };
    let request = CondaRequest {
        workspace_root: prefix.to_owned(),
        environment: super::DEFAULT.to_owned(),
        prefix: prefix.to_owned(),
        clean_env: wish.clean_env,
        scripts: Vec::new(),
        env: Vec::new(),
        metadata: activation::bare_metadata(prefix),
        config: activation::ActivationConfig::default(),
        tasks: Vec::new(),
        observed: Observed::new(now()),
    };
    let activation = compute(context, request)?;
    environment::keep(context, &activation);
    Ok(Activated { activation, miss: Some(miss) })
}

/// Runs what has to be run, and says what the user should know.
fn compute(context: &Context<'_>, request: CondaRequest) -> Result<Activation, Failure> {
    let caller = environment::caller_variables(context);
    let temp = context.settings.caller.get("TMPDIR").map_or("/tmp".into(), PathBuf::from);
    let tracer = std::env::current_exe().ok();
    let bash = bash(context);
    let shell =
        ScriptShell { bash: &bash, temp: &temp, time_limit: TIME_LIMIT, tracer: tracer.as_deref() };
    let computed = activation::activate_conda(request, &caller, &shell).map_err(failure)?;
    let Computed { activation, warnings } = computed;
    for warning in &warnings {
        context.ui.warn(warning);
    }
    for reason in &activation.unproven {
        context.ui.detail(&format!("the activation is not kept: {reason}"));
    }
    Ok(activation)
}

/// Looks at everything, then reads it.
fn request(
    context: &Context<'_>,
    workspace: &Workspace,
    target: &Place,
    wish: Wish<'_>,
) -> Result<CondaRequest, Failure> {
    let mut observed = workspace.observed.clone();
    let mut paths = vec![target.manifest.clone(), workspace.root.join(LOCK_FILE)];
    paths.extend(places::configuration_files(context, &workspace.root));
    for path in paths {
        observed.path(&path).map_err(|error| environment::unreadable(&path, error))?;
    }
    for name in ["PIXI_HOME"].into_iter().chain(OVERRIDES.iter().map(|(_, variable)| *variable)) {
        let value = context.settings.caller.variables.get(OsStr::new(name));
        observed.variable(name.as_ref(), value.map(OsString::as_os_str));
    }
    let manifest = Manifest::read(&target.manifest).map_err(Failure::usage)?;
    if !manifest.has_environment(&target.environment) {
        return Err(Failure::usage(manifest.no_environment(&target.environment)));
    }
    let platform = platform(context, &manifest, &target.environment, &mut observed)?;
    let said = manifest.activation(&target.environment, &platform);
    let tasks = tasks::of_workspace(workspace)?;
    Ok(CondaRequest {
        workspace_root: workspace.root.clone(),
        environment: target.environment.clone(),
        prefix: target.prefix.clone(),
        clean_env: wish.clean_env,
        scripts: said.scripts.into_iter().map(PathBuf::from).collect(),
        env: said.env,
        metadata: metadata(&manifest, &target.environment),
        config: workspace.config.activation.clone(),
        tasks: TaskTable::bytes(&tasks, &target.environment),
        observed,
    })
}

/// The platform of the workspace that this machine is.
fn platform(
    context: &Context<'_>,
    manifest: &Manifest,
    environment: &str,
    observed: &mut Observed,
) -> Result<Platform, Failure> {
    let caller = &context.settings.caller;
    let given = |name: &str| {
        let value = caller.variables.get(OsStr::new(name))?.to_str()?;
        Some((name.to_owned(), value.to_owned()))
    };
    let overrides: BTreeMap<String, String> =
        OVERRIDES.iter().filter_map(|(_, variable)| given(variable)).collect();
    let host = Host::detect(&overrides).map_err(Failure::usage)?;
    let platforms = manifest.environment_platforms(environment);
    if platforms.iter().any(|platform| !platform.is_plain()) {
        // Which one it is depends on the kernel, the C library and drivers, whose libraries the
        // loader's table lists.
        observed.fact(HostFact::System.name(), HostFact::System.value(Path::new("/")));
        let table = Path::new("/etc/ld.so.cache");
        observed.path(table).map_err(|error| environment::unreadable(table, error))?;
    }
    host.choose(&platforms, environment).cloned().map_err(Failure::usage)
}

/// What pixi calls a workspace and its environment.
fn metadata(manifest: &Manifest, environment: &str) -> Vec<(String, OsString)> {
    let name = manifest.display_name();
    let full = match environment {
        super::DEFAULT => name.clone(),
        environment => format!("{name}:{environment}"),
    };
    let version = manifest.version.clone().unwrap_or_else(|| "NO_VERSION_SPECIFIED".to_owned());
    let platforms = manifest.environment_platforms(environment);
    let platforms: Vec<String> = platforms.into_iter().map(|platform| platform.name).collect();
    let pairs: [(&str, OsString); 9] = [
        ("PIXI_PROJECT_ROOT", manifest.root.clone().into()),
        ("PIXI_PROJECT_NAME", name.into()),
        ("PIXI_PROJECT_MANIFEST", manifest.manifest.clone().into()),
        ("PIXI_PROJECT_VERSION", version.into()),
        ("PIXI_IN_SHELL", "1".into()),
        ("CONDA_DEFAULT_ENV", full.clone().into()),
        ("PIXI_ENVIRONMENT_NAME", environment.into()),
        ("PIXI_ENVIRONMENT_PLATFORMS", platforms.join(",").into()),
        ("PIXI_PROMPT", format!("({full}) ").into()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A bash. The system's own comes first, so that another `PATH` does not change the result.
fn bash(context: &Context<'_>) -> PathBuf {
    let known = ["/bin", "/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join("bash"));
    let found = known.into_iter().find(|file| file.is_file());
    let found = found.or_else(|| context.settings.caller.program("bash"));
    found.unwrap_or_else(|| PathBuf::from("/bin/bash"))
}

fn failure(error: ActivateError) -> Failure {
    match error {
        ActivateError::Shell { .. } => Failure::world(error)
            .hint("activation scripts need a bash; install one, or look at the cause"),
        ActivateError::Ended { .. } | ActivateError::Hangs { .. } => Failure::usage(error)
            .hint("repair the script, or take it out of `[activation] scripts`"),
        error => Failure::usage(error),
    }
}
