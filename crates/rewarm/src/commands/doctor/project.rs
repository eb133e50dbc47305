//! The project: its configuration, lock file, environment and activation.

use crate::commands::doctor::Finding;
use crate::commands::info;
use crate::context::Context;
use crate::environment::{self, State, Wish, Workspace};
use crate::error::Failure;

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let workspace = match Workspace::find(context) {
        Ok(workspace) => workspace,
        Err(failure) => return vec![Finding::failure("project", &failure)],
    };
    let mut findings = vec![Finding::fine("project", workspace.root.display().to_string())];
    if let Err(error) = context.settings.index_url(&workspace.config) {
        findings.push(Finding::failure("index", &Failure::usage(error)));
    }
    findings.push(environment(context, &workspace));
    findings.extend(interpreter(&workspace));
    findings.extend(checker(&workspace));
    findings.extend(activation(context, &workspace));
    findings
}

fn environment(context: &Context<'_>, workspace: &Workspace) -> Finding {
    const WHAT: &str = "environment";
    match info::state(context, workspace) {
        Err(failure) => Finding::failure(WHAT, &failure),
        Ok(State::NoLock) => {
            Finding::wrong(WHAT, "there is no `pixi.lock`", "`rewarm lock` has pixi write it")
        }
        Ok(State::Matches) => Finding::fine(WHAT, "matches the lock file"),
        Ok(State::NotMade) => {
            let mend = "`rewarm install`, or any `rewarm run`, makes it";
            Finding::slow(WHAT, "not made yet", mend)
        }
        Ok(State::AsItIs) => Finding::fine(WHAT, "used as it is: there is no lock file"),
        Ok(State::Missing) => {
            let mend = "make a lock file with `rewarm lock`, or an environment with `python3 -m venv .venv`";
            Finding::wrong(WHAT, "there is none, and no lock file to make one from", mend)
        }
        Ok(State::Differs(reason)) => Finding::slow(
            WHAT,
            format!("to be compared with the lock file: {reason}"),
            "`rewarm install`",
        ),
    }
}

/// Why an activation cannot be kept. That takes a run of the scripts, if there are any.
fn activation(context: &Context<'_>, workspace: &Workspace) -> Vec<Finding> {
    const WHAT: &str = "activation";
    if !workspace.prefix.exists() {
        return Vec::new();
    }
    let activation = match environment::enter_as_it_is(context, Wish::default()) {
        Ok(entered) => entered.activated.activation,
        Err(failure) => return vec![Finding::failure(WHAT, &failure)],
    };
    if activation.volatile {
        let mend = "remove `volatile` from `[tool.rewarm.activation]` if that is no longer so";
        return vec![Finding::slow(WHAT, "declared to be volatile, so made anew each time", mend)];
    }
    if activation.unproven.is_empty() {
        let text = format!("kept, and made from {} things", activation.inputs().len());
        return vec![Finding::fine(WHAT, text)];
    }
    let mend = "if nothing comes of that, say `pure = true` in `[tool.rewarm.activation]`";
    let reasons = activation.unproven.iter();
    reasons.map(|reason| Finding::slow(WHAT, format!("not kept: {reason}"), mend)).collect()
}

/// An interpreter that was upgraded or removed takes its environments along.
fn interpreter(workspace: &Workspace) -> Option<Finding> {
    let python = workspace.prefix.join("bin/python");
    let is_dangling = python.is_symlink() && !python.exists();
    is_dangling.then(|| {
        let target = std::fs::read_link(&python).unwrap_or_default();
        let text = format!("`{}` leads to `{}`, which is gone", python.display(), target.display());
        Finding::wrong(
            "environment",
            text,
            "`rewarm install` makes it anew where there is a lock file",
        )
    })
}

fn checker(workspace: &Workspace) -> Option<Finding> {
    if !workspace.prefix.join("bin/python").exists() {
        return None;
    }
    let has_mypy =
        environment::site_packages(&workspace.prefix).iter().any(|dir| dir.join("mypy").is_dir());
    Some(match has_mypy {
        true => Finding::fine("check", "the environment has mypy"),
        false => Finding::slow(
            "check",
            "the environment has no mypy, so `rewarm check` cannot work",
            "add `mypy` to the project's development dependencies and lock again",
        ),
    })
}
