//! What rewarm says about answers: a line each, `--explain`, `--stats`, `--json`, and the headings and
//! the last line where several partitions were checked.

use std::path::{Path, PathBuf};

use rewarm_check::{Report, Reuse};
use serde_json::{Value, json};

use crate::args::Check;
use crate::commands::check::output::Outputs;
use crate::commands::check::partition::Variant;
use crate::commands::check::tool::Tool;
use crate::commands::check::{Answer, Prepared, explain};
use crate::context::Context;
use crate::error::Failure;

/// A project, and what became of it.
pub(super) struct Answered {
    /// The way to it from the working directory.
    pub(super) way: PathBuf,
    /// What was said while it was prepared.
    pub(super) said: Vec<String>,
    /// `None` if it could not be.
    pub(super) prepared: Option<Prepared>,
    pub(super) answers: Result<Vec<Answer>, Failure>,
}

/// A partition, and what became of it.
pub(super) struct Section<'a> {
    project: &'a Answered,
    variant: Variant,
    answers: Result<Vec<&'a Answer>, &'a Failure>,
    /// Whether it is the first of its project.
    is_first: bool,
}

impl<'a> Section<'a> {
    /// The partitions of a project; a failure is one, whatever it would have been otherwise.
    pub(super) fn of(project: &'a Answered) -> Vec<Self> {
        let (all, prepared) = match (&project.answers, &project.prepared) {
            (Ok(answers), Some(prepared)) => (answers, prepared),
            (answers, _) => {
                let answers = answers.as_ref().map(|answers| answers.iter().collect());
                return vec![Self {
                    project,
                    variant: Variant::default(),
                    answers,
                    is_first: true,
                }];
            }
        };
        let variants = prepared.variants.iter().enumerate().map(|(index, variant)| {
            let answers = all.iter().filter(|answer| answer.variant == *variant).collect();
            let variant = variant.clone();
            Self { project, variant, answers: Ok(answers), is_first: index == 0 }
        });
        variants.collect()
    }

    pub(super) fn answers(&self) -> &[&'a Answer] {
        self.answers.as_deref().unwrap_or_default()
    }

    /// Prints everything about it, on both streams.
    pub(super) fn tell(
        &self,
        context: &Context<'_>,
        args: &Check,
        outputs: &Outputs,
    ) -> Result<(), Failure> {
        let name = name(&self.project.way, &self.variant);
        let heading = format!("in {name}:");
        match self.answers {
            Ok(_) => context.ui.note(&heading),
            // Whoever wants errors only has to know whose they are.
            Err(_) => context.ui.explain(&heading),
        }
        if self.is_first {
            self.project.said.iter().for_each(|line| context.ui.explain(line));
        }
        match &self.answers {
            Err(failure) => context.ui.failure(failure),
            Ok(answers) => {
                if !context.settings.json {
                    outputs.print(answers)?;
                }
                tell_of(context, args, answers, Some(&name));
            }
        }
        if let Some(prepared) = &self.project.prepared
            && self.is_first
        {
            tell_of_activation(context, args, prepared);
        }
        Ok(())
    }

    /// The exit code that it asks for.
    pub(super) fn verdict(&self) -> u8 {
        match &self.answers {
            Ok(answers) => verdict(answers.iter().copied()),
            Err(failure) => failure.kind.code(),
        }
    }
}

/// A partition's name.
pub(super) fn name(way: &Path, variant: &Variant) -> String {
    let project = way.display();
    if variant.is_plain() { format!("{project}") } else { format!("{project}, {variant}") }
}

/// The worst of all.
pub(super) fn verdict<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> u8 {
    let codes = answers.into_iter().map(|answer| answer.tool.verdict(answer.report.exit_code));
    codes.max().unwrap_or(0)
}

/// Says what was done and reused, and whatever else was asked for.
pub(super) fn tell(context: &Context<'_>, args: &Check, prepared: &Prepared, answers: &[Answer]) {
    tell_of(context, args, &answers.iter().collect::<Vec<_>>(), None);
    tell_of_activation(context, args, prepared);
}

/// The same for the answers of one partition, which has a name if there are others.
fn tell_of(context: &Context<'_>, args: &Check, answers: &[&Answer], partition: Option<&str>) {
    let prefix = partition.map(|name| format!("{name}: ")).unwrap_or_default();
    for answer in answers {
        context.ui.note(&summary(answer));
        if args.explain {
            let name = if answers.len() > 1 { answer.tool.name() } else { "check" };
            explain::explain(context, answer, &format!("{prefix}{name}"));
        }
        if args.stats {
            context.ui.explain(&format!("{prefix}{}", explain::stats(answer)));
        }
    }
}

fn tell_of_activation(context: &Context<'_>, args: &Check, prepared: &Prepared) {
    if let Some(reason) = prepared.activated.miss.as_ref().filter(|_| args.explain) {
        context.ui.explain(&format!("activation: computed anew, because {reason}"));
    }
}

/// The last line, after several partitions.
pub(super) fn total(sections: &[Section<'_>], seconds: f64) -> String {
    let count = |matches: &dyn Fn(&Section<'_>) -> bool| {
        sections.iter().filter(|section| matches(section)).count()
    };
    let is_replayed = |answer: &&Answer| answer.report.reuse == Reuse::Replayed;
    let replayed =
        count(&|section| section.answers.is_ok() && section.answers().iter().all(is_replayed));
    let failed = count(&|section| section.verdict() > 1);
    let erroneous = count(&|section| section.verdict() == 1);
    let mut parts = vec![format!("{replayed} replayed")];
    if erroneous > 0 {
        parts.push(format!("{erroneous} with errors"));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    let (count, parts) = (sections.len(), parts.join(", "));
    format!("checked {count} partitions: {parts} ({})", time(seconds))
}

/// What was done, and what was reused.
fn summary(Answer { tool, report, seconds, .. }: &Answer) -> String {
    let (name, seconds) = (tool.name(), *seconds);
    match &report.reuse {
        Reuse::Replayed => {
            format!("replayed: nothing changed, {name} was not run ({})", time(seconds))
        }
        Reuse::Ran { seeded, modules_rechecked, unstored, .. } => {
            let how = match (seeded, modules_rechecked) {
                (false, None) if *tool != Tool::Mypy => "everything checked".to_owned(),
                (_, Some(1)) => "1 module checked again".to_owned(),
                (true, Some(count)) => format!("{count} modules checked again"),
                (false, Some(count)) => format!("{count} modules checked"),
                (true, None) => "started from its last results".to_owned(),
                (false, None) => "started from nothing".to_owned(),
            };
            let kept = match unstored {
                None => String::new(),
                Some(reason) => format!("; not kept, because {reason}"),
            };
            format!("{name} ran: {how} ({}){kept}", time(seconds))
        }
    }
}

pub(super) fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// One tool's answer as an object, those of several as a list.
pub(super) fn as_json(answers: &[Answer]) -> Value {
    match answers {
        [one] => object(&one.report),
        several => {
            let objects = several.iter().map(|answer| {
                let mut object = object(&answer.report);
                object["tool"] = answer.tool.name().into();
                object
            });
            objects.collect()
        }
    }
}

/// The answers of partitions as one list.
pub(super) fn list_as_json(sections: &[Section<'_>]) -> Value {
    let placed = |section: &Section<'_>, mut object: Value| {
        object["project"] = section.project.way.to_string_lossy().into();
        object["python_version"] = section.variant.python_version.clone().into();
        object["platform"] = section.variant.platform.clone().into();
        object
    };
    let objects = sections.iter().flat_map(|section| match &section.answers {
        Ok(answers) => answers
            .iter()
            .map(|answer| {
                let mut object = placed(section, object(&answer.report));
                object["tool"] = answer.tool.name().into();
                object["environment"] = answer.environment.to_string_lossy().into();
                object
            })
            .collect(),
        Err(failure) => {
            let code = section.verdict();
            vec![placed(section, json!({ "exit_code": code, "error": failure.to_string() }))]
        }
    });
    objects.collect()
}

fn object(report: &Report) -> Value {
    let (replayed, rechecked, unstored) = match &report.reuse {
        Reuse::Replayed => (true, None, None),
        Reuse::Ran { modules_rechecked, unstored, .. } => {
            (false, *modules_rechecked, unstored.clone())
        }
    };
    let (modules, carried) = explain::as_json(&report.reuse);
    json!({
        "exit_code": report.exit_code,
        "stdout": String::from_utf8_lossy(&report.stdout),
        "stderr": String::from_utf8_lossy(&report.stderr),
        "replayed": replayed,
        "modules_rechecked": rechecked,
        "modules": modules,
        "carried_over": carried,
        "not_kept_because": unstored,
        "differs": report.differs,
        "files": report.files,
    })
}
