//! `rewarm install` and `rewarm clean` in a pixi workspace.

use std::path::Path;

use rewarm_conda::manifest::Workspace;
use rewarm_conda::prefix::{self, Target};
use serde_json::json;

use super::{
    Asked, DEFAULT, Place, distributions, ensure, environments, packages, places, prepare,
};
use crate::args;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};

/// Makes one or all environments match the lock file.
pub(crate) fn install(context: &Context<'_>, args: &args::Install, manifest: &Path) -> Outcome {
    refuse_foreign(args)?;
    let asked =
        Asked { reinstall: args.reinstall, revalidate: args.revalidate, locked: args.locked };
    let names = if args.all {
        environments(context, manifest)?
    } else {
        vec![args.environment.clone().unwrap_or_else(|| DEFAULT.to_owned())]
    };
    if args.dry_run {
        return dry_run(context, manifest, &names, asked);
    }
    let mut all = Vec::with_capacity(names.len());
    for name in &names {
        let installed = ensure(context, manifest, name, asked)?;
        let summary = installed.summary();
        let summary = summary.as_deref().unwrap_or(UP_TO_DATE);
        match args.all {
            true => context.ui.note(&format!("{name}: {summary}")),
            false => context.ui.note(summary),
        }
        all.push(installed.as_json());
    }
    context.sweep_in_passing();
    match (context.settings.json, args.all, all.pop()) {
        (false, ..) | (_, _, None) => Ok(0),
        (true, false, Some(one)) => print_json(&one),
        (true, true, Some(last)) => {
            all.push(last);
            print_json(&json!({ "environments": all }))
        }
    }
}

const UP_TO_DATE: &str = "nothing to do: the environment matches the lock file";

/// What a pixi workspace says itself.
fn refuse_foreign(args: &args::Install) -> Result<(), Failure> {
    let given = [
        ("--extra", !args.selection.extra.is_empty()),
        ("--group", !args.selection.group.is_empty()),
        ("--python", args.python.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            let text = format!("`{flag}` means nothing in a pixi workspace");
            Err(Failure::usage(text).hint("name one of its environments with `--environment`"))
        }
        None => Ok(()),
    }
}

fn dry_run(context: &Context<'_>, manifest: &Path, names: &[String], asked: Asked) -> Outcome {
    let (mut text, mut downloads) = (String::new(), 0);
    for name in names {
        let place = places::place(context, manifest, name)?;
        let prepared = prepare(context, &place, asked)?;
        let target = Target {
            prefix: place.prefix.clone(),
            packages: prepared.wanted.conda.iter().map(|one| one.record.clone()).collect(),
            platform: prepared.wanted.platform.subdir,
        };
        let plan = prefix::check(target, super::options(asked)).map_err(packages::check_failure)?;
        let mut lines = plan.install.to_string();
        downloads += plan.downloads(context.store()?).len();
        let (more, files) = distributions::shown(context, &place, &prepared.wanted, asked)?;
        lines += &more;
        downloads += files;
        if names.len() > 1 && !lines.is_empty() {
            text += &format!("{name}:\n");
        }
        text += &lines;
    }
    if text.is_empty() {
        context.ui.note(UP_TO_DATE);
        return Ok(0);
    }
    context.ui.note(&format!("{downloads} files would be downloaded"));
    print(text.as_bytes())
}

/// Removes the prefix of an environment.
pub(crate) fn clean(context: &Context<'_>, manifest: &Path, environment: &str) -> Outcome {
    let Place { prefix, .. } = places::place(context, manifest, environment)?;
    let shown = prefix.display().to_string();
    if !prefix.is_dir() {
        let workspace = Workspace::read(manifest).map_err(Failure::usage)?;
        if !workspace.has_environment(environment) {
            return Err(Failure::usage(workspace.no_environment(environment)));
        }
        context.ui.note(&format!("there is no environment at `{shown}`"));
        return Ok(0);
    }
    prefix::remove(&prefix).map_err(Failure::world)?;
    context.ui.note(&format!("removed `{shown}`; what rewarm put there is in the cache"));
    Ok(0)
}
