//! `rewarm cache`: look at what is kept, and remove some of it. One file per subcommand.
//!
//! What is only looked at needs no cache that can be written; what changes it works on the cache
//! itself, never on a temporary one beside it.

mod filter;
mod import;
mod import_uv;
mod info;
mod list;
mod prune;
mod remove;
mod show;
mod verify;

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rewarm_store::{Inventory, Store};
use serde_json::json;

use crate::args::{Cache, Tool};
use crate::commands::{json_path, print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::formats;

pub(crate) fn run(context: &Context<'_>, args: &Cache) -> Outcome {
    match args {
        Cache::Dir => dir(context),
        Cache::Info => info::run(context),
        Cache::List(args) => list::run(context, args),
        Cache::Show(args) => show::run(context, args),
        Cache::Remove(args) => remove::run(context, args),
        Cache::Prune(args) => prune::run(context, args),
        Cache::Purge { yes } => prune::purge(context, *yes),
        Cache::Verify => verify::run(context),
        Cache::Import(args) => match args.tool {
            Tool::Pip => import::run(context, args),
            Tool::Uv => import_uv::run(context, args),
        },
    }
}

fn dir(context: &Context<'_>) -> Outcome {
    let path = &context.settings.cache_dir;
    if context.settings.json {
        return print_json(&json!({ "directory": json_path(path) }));
    }
    print(&[path.as_os_str().as_bytes(), b"\n"].concat())
}

fn inventory(context: &Context<'_>, store: &Store) -> Result<Inventory, Failure> {
    let found = store.inventory(&formats::known());
    found.map_err(|error| unreadable(context, &error))
}

fn unreadable(context: &Context<'_>, error: &std::io::Error) -> Failure {
    let path = context.settings.cache_dir.display();
    Failure::world(std::io::Error::new(error.kind(), format!("cannot read `{path}`: {error}")))
}

fn entry_count(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// A time span for people, in its largest unit.
fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Whole seconds since the epoch.
fn epoch(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
