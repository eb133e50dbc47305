//! `rewarm info`: what rewarm sees here, and what it would work with.

use serde_json::json;

use crate::args;
use crate::commands::{json_path, print, print_json};
use crate::context::{Context, now};
use crate::environment::{State, Workspace};
use crate::error::{Failure, Outcome};
use crate::{pixi, venv};

pub(crate) fn run(context: &Context<'_>) -> Outcome {
    let workspace = Workspace::find(context)?;
    let lock = match &workspace.place {
        Some(_) => Some(workspace.root.join(rewarm_conda::lock::LOCK_FILE)),
        None => {
            workspace.project.as_ref().and_then(|it| it.lock.as_ref()).map(|it| it.path.clone())
        }
    };
    let lock = lock.filter(|path| path.exists()).map(|path| path.display().to_string());
    let state = match state(context, &workspace) {
        Ok(state) => state.to_string(),
        Err(failure) => failure.to_string(),
    };
    let index = context.settings.index_url(&workspace.config).map_err(Failure::usage)?;
    let index = rewarm_http::Url::parse(index.as_str()).map_err(Failure::usage)?.to_string();
    let manifest = workspace.place.iter().map(|place| &place.manifest);
    let manifest = manifest.filter(|path| !workspace.config_files.contains(path));
    let configuration: Vec<String> = manifest
        .chain(&workspace.config_files)
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if context.settings.json {
        return print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "project": json_path(&workspace.root),
            "lock": lock,
            "environment": json_path(&workspace.prefix),
            "environment_state": state,
            "configuration": configuration,
            "index": index,
            "cache": json_path(&context.settings.cache_dir),
            "offline": context.settings.offline,
        }));
    }
    let lock = lock.unwrap_or_else(|| "none".to_owned());
    let rows = [
        ("rewarm", env!("CARGO_PKG_VERSION").to_owned()),
        ("project", workspace.root.display().to_string()),
        ("lock file", lock),
        ("environment", workspace.prefix.display().to_string()),
        ("", state),
        ("configuration", configuration.join(", ")),
        ("index", index),
        ("cache", context.settings.cache_dir.display().to_string()),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        text += format!("{name:<14} {value}").trim_end();
        text.push('\n');
    }
    print(text.as_bytes())
}

/// Compares the environment with the lock file, and changes neither.
pub(crate) fn state(context: &Context<'_>, workspace: &Workspace) -> Result<State, Failure> {
    if let Some(place) = &workspace.place {
        return Ok(pixi::state(context, place));
    }
    let Some(project) = workspace.project.as_ref().filter(|project| project.lock.is_some()) else {
        let exists = workspace.prefix.join("bin/python").exists();
        return Ok(if exists { State::AsItIs } else { State::Missing });
    };
    let mut options = venv::options(context, workspace, &args::Install::default())?;
    options.as_before = true;
    let status = rewarm_env::check(project, context.store_to_read()?, &options, now());
    Ok(match status.map_err(Failure::usage)? {
        rewarm_env::Status::UpToDate(_) => State::Matches,
        rewarm_env::Status::Needs(_) if !workspace.prefix.exists() => State::NotMade,
        rewarm_env::Status::Needs(preparation) => State::Differs(preparation.reason.to_string()),
    })
}
