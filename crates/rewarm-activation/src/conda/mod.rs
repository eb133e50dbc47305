//! The activation of a conda prefix, alone or as an environment of a pixi workspace.
//!
//! The steps and their order are pixi's (`docs/guide/run.md` lists them). As many as possible are
//! done here; from the first one on that only a shell can do, the rest is done by one run of bash,
//! whose effect becomes part of the delta. What that run read becomes an input. A prefix without
//! scripts costs no shell at all.

mod assign;
mod effect;
mod mentions;
mod prefix;
mod script;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::builder::Builder;
use crate::clean::clean_env;
use crate::config::ActivationConfig;
use crate::delta::{List, Op, Variables};
use crate::error::ActivateError;
use crate::input::Observed;
use crate::record::Activation;
use crate::template;

pub use prefix::bare_metadata;

/// Everything that decides what the activation of a conda prefix is, besides the caller.
#[derive(Debug, Clone)]
pub struct CondaRequest {
    /// The canonical path of the workspace; of a bare prefix the prefix itself. Scripts run there.
    pub workspace_root: PathBuf,
    /// The name of the environment, `default` if it has none.
    pub environment: String,
    /// Where the environment is: the directory that holds `conda-meta`.
    pub prefix: PathBuf,
    /// Whether only a few variables of the caller are kept.
    pub clean_env: bool,
    /// Scripts of the manifest in order, relative to the workspace. One that is missing is a
    /// warning.
    pub scripts: Vec<PathBuf>,
    /// `[activation.env]` of the manifest in order. A value with `$` is expanded as bash does
    /// between double quotes.
    pub env: Vec<(String, String)>,
    /// What the environment is called (`CONDA_DEFAULT_ENV`, `PIXI_…`), in order, taken literally.
    pub metadata: Vec<(String, OsString)>,
    /// What `[tool.rewarm.activation]` says.
    pub config: ActivationConfig,
    /// What is kept beside the activation for its user: the tasks of the workspace.
    pub tasks: Vec<u8>,
    /// What was looked at so far, before it was used: manifest, lock file, configuration, the marks
    /// of the last installation.
    pub observed: Observed,
}

/// How scripts are run, if there are any.
#[derive(Debug, Clone, Copy)]
pub struct ScriptShell<'a> {
    /// A bash.
    pub bash: &'a Path,
    /// An existing directory in which a private one is made for the run.
    pub temp: &'a Path,
    /// How long all scripts together may take.
    pub time_limit: Duration,
    /// The program that has the entry for runs that are watched. Without it nothing that scripts
    /// do can be proven, so the activation is not kept unless it is declared to be pure.
    pub tracer: Option<&'a Path>,
}

/// An activation that was computed.
#[derive(Debug)]
pub struct Computed {
    /// The activation.
    pub activation: Activation,
    /// What the user should know about it, each a sentence without a period.
    pub warnings: Vec<String>,
}

/// One thing that activation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sources a script.
    Source(PathBuf),
    /// Sets a variable to a text.
    Literal {
        /// Its name.
        name: OsString,
        /// The text.
        value: OsString,
    },
    /// Sets a variable to a text with `$` in it.
    Expand {
        /// Its name.
        name: OsString,
        /// The text, as it would stand between double quotes.
        text: String,
        /// Where it was said, for messages.
        origin: String,
    },
}

/// Computes the activation of a conda prefix for this caller.
pub fn activate_conda(
    request: CondaRequest,
    caller: &Variables,
    shell: &ScriptShell<'_>,
) -> Result<Computed, ActivateError> {
    let cleaned = request.clean_env.then(|| clean_env(caller));
    let caller = cleaned.as_ref().unwrap_or(caller);
    let builder = Builder::new(request.observed.clone(), caller);
    let mut maker = Maker { builder, warnings: Vec::new(), unproven: Vec::new() };
    let steps = maker.steps(&request)?;
    maker.enter(&request, &steps);
    let mut rest = steps.as_slice();
    while let Some((step, after)) = rest.split_first()
        && maker.perform(step)
    {
        rest = after;
    }
    if !rest.is_empty() {
        maker.run(rest, &request, shell)?;
    }
    maker.builder.configured(&request.config, &request.workspace_root)?;
    let scripts = steps.iter().filter_map(|step| match step {
        Step::Source(path) => Some(path.clone().into_os_string()),
        _ => None,
    });
    let Maker { builder: Builder { delta, observed, .. }, warnings, unproven } = maker;
    let activation = Activation {
        delta,
        scripts: scripts.collect(),
        unproven: if request.config.pure { Vec::new() } else { unproven },
        inputs: observed.into_inputs(),
        workspace_root: request.workspace_root,
        environment: request.environment,
        prefix: request.prefix,
        clean_env: request.clean_env,
        tasks: request.tasks,
        volatile: request.config.volatile,
    };
    Ok(Computed { activation, warnings })
}

struct Maker<'a> {
    builder: Builder<'a>,
    warnings: Vec<String>,
    unproven: Vec<String>,
}

impl Maker<'_> {
    /// All steps but the first ones, which `enter` takes, in order.
    fn steps(&mut self, request: &CondaRequest) -> Result<Vec<Step>, ActivateError> {
        let parts = prefix::read(&mut self.builder, &request.prefix, &mut self.warnings)?;
        let mut steps: Vec<Step> = Vec::new();
        for (name, value, origin) in parts.variables {
            steps.push(Step::new(name, value, || origin.display().to_string()));
        }
        for (name, value) in &request.metadata {
            steps.push(Step::Literal { name: name.into(), value: value.clone() });
        }
        steps.extend(parts.scripts.into_iter().map(Step::Source));
        for script in &request.scripts {
            let path = request.workspace_root.join(script);
            if self.builder.read(&path)?.is_some() {
                steps.push(Step::Source(path));
            } else {
                let text = "does not exist and was passed over";
                self.warnings.push(format!("activation script `{}` {text}", path.display()));
            }
        }
        for (name, value) in &request.env {
            let error = |message| ActivateError::Env { name: name.clone(), message };
            if !template::is_name(name.as_ref()) {
                return Err(error("a name consists of letters, digits and `_`"));
            }
            if value.contains('\0') {
                return Err(error("a value cannot hold a NUL byte"));
            }
            let origin = || "the activation variables of the manifest".to_owned();
            steps.push(Step::new(name.into(), value.clone(), origin));
        }
        Ok(steps)
    }

    /// Puts the prefix on `PATH`, counts the level, and keeps what will be overwritten.
    fn enter(&mut self, request: &CondaRequest, steps: &[Step]) {
        let bin = request.prefix.join("bin").into_os_string();
        self.builder.delta.push(Op::Prepend(List::path_like("PATH", [bin])));
        let level = self.builder.caller_value("CONDA_SHLVL".as_ref());
        let level = level.and_then(|level| level.to_str()?.parse::<i32>().ok()).unwrap_or(0);
        let level = level.saturating_add(1);
        self.builder.set("CONDA_SHLVL", level.to_string());
        self.keep(level, "CONDA_PREFIX".as_ref());
        self.builder.set("CONDA_PREFIX", &request.prefix);
        for step in steps {
            if let Step::Literal { name, .. } | Step::Expand { name, .. } = step {
                self.keep(level, name);
            }
        }
    }

    /// Keeps the caller's value of a variable where `conda deactivate` looks for it.
    fn keep(&mut self, level: i32, name: &OsStr) {
        let mut under = OsString::from(format!("CONDA_ENV_SHLVL_{level}_"));
        under.push(name);
        let copy = Op::Copy { name: under, from: name.to_owned() };
        if !self.builder.delta.ops().contains(&copy) {
            self.builder.delta.push(copy);
        }
    }

    /// Does a step without a shell; `false` if that cannot be done.
    fn perform(&mut self, step: &Step) -> bool {
        match step {
            Step::Source(_) => false,
            Step::Literal { name, value } => {
                self.builder.set(name, value);
                true
            }
            Step::Expand { name, text, .. } => match assign::parse(text) {
                Some(parts) => {
                    assign::assign(&mut self.builder, name, &parts);
                    true
                }
                None => false,
            },
        }
    }
}

impl Step {
    fn new(name: OsString, value: String, origin: impl FnOnce() -> String) -> Self {
        if value.contains('$') {
            Self::Expand { name, text: value, origin: origin() }
        } else {
            Self::Literal { name, value: value.into() }
        }
    }

    /// What it is called in a message.
    fn describe(&self) -> String {
        match self {
            Self::Source(path) => format!("activation script `{}`", path.display()),
            Self::Literal { name, .. } => format!("variable `{}`", name.display()),
            Self::Expand { name, origin, .. } => {
                format!("variable `{}` of {origin}", name.display())
            }
        }
    }
}
