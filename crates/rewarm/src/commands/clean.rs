//! `rewarm clean`: removes the environment, or only what is remembered of its activation.

use rewarm_activation::{self as activation, Scope};
use rewarm_env::STATE_FILE;

use crate::args::Clean;
use crate::context::Context;
use crate::environment::Workspace;
use crate::error::{Failure, Outcome};
use crate::pixi;

pub(crate) fn run(context: &Context<'_>, args: &Clean) -> Outcome {
    let workspace = Workspace::find(context)?;
    let manifest = pixi::manifest_in(&workspace.root);
    let environment = args.environment.as_deref().unwrap_or(pixi::DEFAULT);
    if manifest.is_none() && args.environment.is_some() {
        let shown = workspace.root.display();
        let text =
            format!("`{shown}` is no pixi workspace: it has one environment, without a name");
        return Err(Failure::usage(text).hint("leave out `--environment`"));
    }
    for clean_env in [false, true] {
        let scope = Scope { workspace_root: &workspace.root, environment, clean_env };
        activation::forget(context.store()?, &scope)?;
    }
    if args.activation {
        context.ui.note("forgot the activation");
        return Ok(0);
    }
    match manifest {
        Some(manifest) => pixi::clean(context, &manifest, environment),
        None => remove_environment(context, &workspace),
    }
}

/// Only a `.venv` of this project goes, and one that rewarm had no hand in only when it is named.
fn remove_environment(context: &Context<'_>, workspace: &Workspace) -> Outcome {
    let own = workspace.root.join(".venv");
    let shown = own.display().to_string();
    if !own.join("pyvenv.cfg").exists() {
        context.ui.note(&format!("there is no environment at `{shown}`"));
        return Ok(0);
    }
    if !own.join(STATE_FILE).exists() {
        return Err(Failure::usage(format!("`{shown}` was not made by rewarm"))
            .hint("remove that directory yourself if nobody needs it"));
    }
    std::fs::remove_dir_all(&own).map_err(|error| {
        let text = format!("cannot remove `{shown}`: {error}");
        Failure::world(std::io::Error::new(error.kind(), text))
    })?;
    context.ui.note(&format!("removed `{shown}`; everything in it is in the cache"));
    Ok(0)
}
