//! `rewarm check`: a checker's answer, replayed where nothing that it depends on has changed.
//!
//! Standard output and the exit code are the checker's own; what rewarm has to say about it is one
//! line on standard error for each checker. Several checkers run at once, and answer in the order in
//! which they were named. Paths in other projects, `--all`, Python versions and platforms make several
//! *partitions* (see `partition`): each is answered as if it had been asked alone, in its directory.

mod at_once;
mod changed;
mod explain;
mod limit;
mod memory;
mod output;
mod partition;
mod prepare;
mod program;
mod projects;
mod several;
mod told;
mod tool;
mod watch;
pub(super) mod worker;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rewarm_check::Report;

use crate::args::Check;
use crate::commands::check::at_once::{ask, failure};
use crate::commands::check::output::Outputs;
use crate::commands::check::partition::{Group, Variant};
use crate::commands::check::prepare::{Prepared, Question, prepare};
use crate::commands::check::told::{tell, time, verdict};
use crate::commands::check::tool::Tool;
use crate::commands::print_json;
use crate::context::Context;
use crate::environment;
use crate::error::{Failure, Outcome};
use crate::interrupt::Interrupt;

/// What one checker said.
struct Answer {
    tool: Tool,
    variant: Variant,
    /// What it is about, if there are others.
    partition: Option<String>,
    report: Report,
    /// The root of the project.
    project: PathBuf,
    /// Where the checker ran.
    cwd: PathBuf,
    /// The environment's prefix.
    environment: PathBuf,
    seconds: f64,
}

pub(crate) fn run(context: &Context<'_>, args: &Check) -> Outcome {
    let started = Instant::now();
    let outputs = Outputs::parse(&args.output, &context.settings.caller.cwd)?;
    let here = environment::canonical_start(context)?;
    let groups = groups(&here, args)?;
    let is_here = matches!(groups.as_slice(), [Group { directory: None, .. }]);
    if args.watch {
        return if is_here { watch::run(context, args) } else { Err(unwatchable()) };
    }
    if !is_here {
        let projects = several::prepare_all(context, args, &here, groups);
        return several::answer(context, args, (&outputs, started), projects);
    }
    let prepared = prepare(context, args)?;
    if prepared.variants.len() > 1 {
        let project = several::Project::here(prepared);
        return several::answer(context, args, (&outputs, started), vec![project]);
    }
    let answers = ask(context, &prepared, started, &Interrupt::watch()?)?;
    if context.settings.json {
        print_json(&told::as_json(&answers))?;
    } else {
        outputs.write(&answers)?;
    }
    tell(context, args, &prepared, &answers);
    context.sweep_in_passing();
    Ok(verdict(&answers))
}

fn unwatchable() -> Failure {
    Failure::usage("`--watch` is for one project, and others are to check")
        .hint("name the project: `rewarm -C DIR check --watch`")
}

/// Where to check what.
fn groups(here: &Path, args: &Check) -> Result<Vec<Group>, Failure> {
    if args.all {
        let found = projects::below(here)?;
        if found.is_empty() {
            let text = format!("there is no project at or below `{}`", here.display());
            return Err(Failure::usage(text)
                .hint("leave out `--all` to check the working directory as it is"));
        }
        return Ok(partition::all(here, found));
    }
    if args.paths.is_empty() {
        return Ok(partition::groups(None, &[]));
    }
    let named: Vec<_> = args.paths.iter().map(|path| projects::locate(here, path)).collect();
    Ok(partition::groups(projects::nearest(here).as_deref(), &named))
}
