//! `rewarm install` and `rewarm clean` in a pixi workspace.

use rewarm_conda::manifest::Workspace;
use rewarm_conda::prefix::{self, Target};
use serde_json::json;

use super::{Asked, Place, distributions, ensure, environments, packages, places, prepare};
use crate::args;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};

/// Makes one or all environments match the lock file.
pub(crate) fn install(context: &Context<'_>, args: &args::Install, place: &Place) -> Outcome {
    refuse_foreign(args, place)?;
    let asked =
        Asked { reinstall: args.reinstall, revalidate: args.revalidate, locked: args.locked };
    let places = if args.all && !place.is_conda {
        let names = environments(context, &place.manifest)?.into_iter();
        let place = |name: String| places::place(context, &place.manifest, &name);
        names.map(place).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![place.clone()]
    };
    if args.dry_run {
        return dry_run(context, &places, asked);
    }
    let mut all = Vec::with_capacity(places.len());
    for place in &places {
        let name = &place.environment;
        let installed = ensure(context, place, asked)?;
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
fn refuse_foreign(args: &args::Install, place: &Place) -> Result<(), Failure> {
    let given = [
        ("--environment", args.environment.is_some() && place.is_conda),
        ("--extra", !args.selection.extra.is_empty()),
        ("--group", !args.selection.group.is_empty()),
        ("--python", args.python.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            let shown = place.manifest.display();
            let text = format!("`{flag}` means nothing for `{shown}`");
            Err(Failure::usage(text).hint(match place.is_conda {
                true => "there is one environment, without a name: leave it out",
                false => "name one of its environments with `--environment`",
            }))
        }
        None => Ok(()),
    }
}

fn dry_run(context: &Context<'_>, places: &[Place], asked: Asked) -> Outcome {
    let (mut text, mut downloads) = (String::new(), 0);
    for place in places {
        let name = &place.environment;
        let prepared = prepare(context, place, asked)?;
        let target = Target {
            prefix: place.prefix.clone(),
            packages: prepared.wanted.conda.iter().map(|one| one.record.clone()).collect(),
            platform: prepared.wanted.platform.subdir,
        };
        let plan = prefix::check(target, super::options(asked)).map_err(packages::check_failure)?;
        let mut lines = plan.install.to_string();
        downloads += plan.downloads(context.store()?).len();
        let (more, files) = distributions::shown(context, place, &prepared.wanted, asked)?;
        lines += &more;
        downloads += files;
        if places.len() > 1 && !lines.is_empty() {
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
pub(crate) fn clean(context: &Context<'_>, place: &Place) -> Outcome {
    let Place { prefix, manifest, environment, is_conda } = place;
    let shown = prefix.display().to_string();
    if !prefix.is_dir() {
        let workspace = (!is_conda).then(|| Workspace::read(manifest)).transpose();
        let workspace = workspace.map_err(Failure::usage)?;
        if let Some(workspace) = workspace.filter(|it| !it.has_environment(environment)) {
            return Err(Failure::usage(workspace.no_environment(environment)));
        }
        context.ui.note(&format!("there is no environment at `{shown}`"));
        return Ok(0);
    }
    prefix::remove(prefix).map_err(Failure::world)?;
    context.ui.note(&format!("removed `{shown}`; what rewarm put there is in the cache"));
    Ok(0)
}
