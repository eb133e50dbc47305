//! `rewarm clean`: removes the environment, or only what is remembered of its activation.

use rewarm_activation::{self as activation, Scope};
use rewarm_env::STATE_FILE;

use crate::args::Clean;
use crate::commands::check::worker;
use crate::context::Context;
use crate::environment::Workspace;
use crate::error::{Failure, Outcome};
use crate::pixi;

pub(crate) fn run(context: &Context<'_>, args: &Clean) -> Outcome {
    let workspace = Workspace::find_with(context, args.environment.as_deref())?;
    let place = workspace.place.as_ref();
    let environment = place.map_or(pixi::DEFAULT, |place| &place.environment);
    // A prefix without a workspace is one by itself.
    let is_bare = place.is_some_and(|place| place.is_conda);
    let workspace_root = if is_bare { &workspace.prefix } else { &workspace.root };
    for clean_env in [false, true] {
        let scope = Scope { workspace_root, environment, clean_env };
        activation::forget(context.store()?, &scope)?;
    }
    if args.activation {
        context.ui.note("forgot the activation");
        return Ok(0);
    }
    match place {
        Some(place) => {
            worker::end(context, Some(&place.prefix));
            pixi::clean(context, place)
        }
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
    worker::end(context, Some(&own));
    std::fs::remove_dir_all(&own).map_err(|error| {
        let text = format!("cannot remove `{shown}`: {error}");
        Failure::world(std::io::Error::new(error.kind(), text))
    })?;
    context.ui.note(&format!("removed `{shown}`; everything in it is in the cache"));
    Ok(0)
}
