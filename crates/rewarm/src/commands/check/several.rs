//! Several partitions: preparing the projects, asking about all at once, and telling the answers of one
//! after the other.
//!
//! A project that cannot be entered or answered does not keep the others from their answers.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::args::Check;
use crate::commands::check::Answer;
use crate::commands::check::at_once::ask_all;
use crate::commands::check::output::Outputs;
use crate::commands::check::partition::{self, Group};
use crate::commands::check::prepare::{Prepared, prepare, prepare_other};
use crate::commands::check::told::{self, Answered, Section};
use crate::commands::print_json;
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::interrupt::Interrupt;

/// A project to ask about.
pub(super) struct Project {
    /// The way to it from the working directory.
    way: PathBuf,
    prepared: Result<Prepared, Failure>,
    /// What was said while it was prepared.
    said: Vec<String>,
}

impl Project {
    /// The one in the working directory.
    pub(super) fn here(prepared: Prepared) -> Self {
        Self { way: ".".into(), prepared: Ok(prepared), said: Vec::new() }
    }
}

/// Prepares one project after the other. What is said meanwhile is told with its answer.
pub(super) fn prepare_all(
    context: &Context<'_>,
    args: &Check,
    here: &Path,
    groups: Vec<Group>,
) -> Vec<Project> {
    let prepare = |Group { directory, paths }| {
        let way = partition::way(here, directory.as_deref().unwrap_or(here));
        let args = Check { paths, ..args.clone() };
        context.ui.hold();
        let prepared = match directory {
            None => prepare(context, &args),
            Some(directory) => {
                context.in_directory(directory).and_then(|inner| prepare_other(&inner, &args, here))
            }
        };
        Project { way, prepared, said: context.ui.release() }
    };
    groups.into_iter().map(prepare).collect()
}

/// Asks, and tells the answers in the order of the projects.
pub(super) fn answer(
    context: &Context<'_>,
    args: &Check,
    (outputs, started): (&Outputs, Instant),
    projects: Vec<Project>,
) -> Outcome {
    let prepared: Vec<&Prepared> =
        projects.iter().filter_map(|project| project.prepared.as_ref().ok()).collect();
    let mut asked = ask_all(context, &prepared, started, &Interrupt::watch()?)?.into_iter();
    let answered = projects.into_iter().map(|Project { way, prepared, said }| match prepared {
        Err(failure) => Answered { way, said, prepared: None, answers: Err(failure) },
        Ok(prepared) => {
            let mut answers = asked.next().expect("every prepared project was asked about");
            for answer in answers.iter_mut().flatten() {
                answer.partition = Some(told::name(&way, &answer.variant));
            }
            Answered { way, said, prepared: Some(prepared), answers }
        }
    });
    let answered: Vec<Answered> = answered.collect();
    let sections: Vec<Section<'_>> = answered.iter().flat_map(Section::of).collect();
    if context.settings.json {
        print_json(&told::list_as_json(&sections))?;
    } else {
        let answers: Vec<&Answer> = sections.iter().flat_map(Section::answers).copied().collect();
        outputs.write_whole(&answers)?;
    }
    for section in &sections {
        section.tell(context, args, outputs)?;
    }
    if sections.len() > 1 {
        context.ui.note(&told::total(&sections, started.elapsed().as_secs_f64()));
    }
    context.sweep_in_passing();
    Ok(sections.iter().map(Section::verdict).max().unwrap_or(0))
}
