//! `rewarm info`: what rewarm sees here, and what it would work with.

use serde_json::json;

use crate::args;
use crate::commands::{print, print_json};
use crate::context::{Context, now};
use crate::environment::{self, Workspace};
use crate::error::{Failure, Outcome};

pub(crate) fn run(context: &Context<'_>) -> Outcome {
    let workspace = Workspace::find(context)?;
    let lock = workspace.project.as_ref().and_then(|project| project.lock.as_ref());
    let lock = lock.map(|lock| lock.path.display().to_string());
    let state = state(context, &workspace)?;
    let index = context.settings.index_url(&workspace.config).map_err(Failure::usage)?;
    let index = rewarm_http::Url::parse(index.as_str()).map_err(Failure::usage)?.to_string();
    let configuration: Vec<String> = workspace
        .config_files
        .iter()
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if context.settings.json {
        return print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "project": workspace.root.to_string_lossy(),
            "lock": lock,
            "environment": workspace.prefix.to_string_lossy(),
            "environment_state": state,
            "configuration": configuration,
            "index": index,
            "cache": context.settings.cache_dir.to_string_lossy(),
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

fn state(context: &Context<'_>, workspace: &Workspace) -> Result<String, Failure> {
    let Some(project) = workspace.project.as_ref().filter(|project| project.lock.is_some()) else {
        let exists = workspace.prefix.join("bin/python").exists();
        return Ok(if exists { "used as it is" } else { "does not exist" }.to_owned());
    };
    let mut options = environment::options(context, workspace, &args::Install::default())?;
    options.as_before = true;
    let status = rewarm_env::check(project, context.store()?, &options, now());
    Ok(match status {
        Ok(rewarm_env::Status::UpToDate(_)) => "matches the lock file".to_owned(),
        Ok(rewarm_env::Status::Needs(preparation)) => {
            format!("to be compared with the lock file: {}", preparation.reason)
        }
        Err(error) => Failure::usage(error).to_string(),
    })
}
