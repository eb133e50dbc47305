//! Where an answer came from: `--explain`, `--stats`, and the modules of `--json`.
//!
//! A line says whether the answer was replayed and which inputs differ; the lines after it name the
//! modules that mypy checked again, each with the reason, and those that it did not have to.

use rewarm_check::{Because, Module, Report, Reuse};
use serde_json::{Value, json};

use crate::commands::check::Answer;
use crate::commands::check::told::time;
use crate::commands::check::tool::Tool;
use crate::context::Context;

/// How many modules of each sort are named.
const NAMED: usize = 10;

/// Tells the lines of `--explain` about the answer that goes by `name`.
pub(super) fn explain(context: &Context<'_>, answer: &Answer, name: &str) {
    for line in lines(answer.tool, &answer.report) {
        context.ui.explain(&format!("{name}: {line}"));
    }
}

fn lines(tool: Tool, report: &Report) -> Vec<String> {
    let Reuse::Ran { seeded, modules_rechecked, modules, carried, .. } = &report.reuse else {
        return vec!["hit; no input has changed".to_owned()];
    };
    let mut lines = vec![match report.differs.as_slice() {
        [] => "miss; nothing was stored for these arguments".to_owned(),
        differs => format!("miss; differs: {}", differs.join(", ")),
    }];
    if !seeded {
        if tool == Tool::Mypy && modules_rechecked.is_some() {
            lines.push("every module was checked: mypy started from nothing".to_owned());
        }
        return lines;
    }
    lines.extend(modules.iter().take(NAMED).map(line));
    // mypy may have checked more than are known by name.
    let checked = modules_rechecked.unwrap_or_default().max(modules.len());
    match checked - modules.len().min(NAMED) {
        0 => {}
        more if modules.is_empty() => lines.push(format!("{} checked again", count(more))),
        more => lines.push(format!("and {more} more")),
    }
    let over = |name: &String| format!("{name} was carried over: its edit means nothing to mypy");
    lines.extend(carried.iter().take(NAMED).map(over));
    if carried.len() > NAMED {
        lines.push(format!("and {} more", carried.len() - NAMED));
    }
    lines
}

fn count(modules: usize) -> String {
    if modules == 1 { "1 module was".to_owned() } else { format!("{modules} modules were") }
}

fn line(Module { name, because }: &Module) -> String {
    match because {
        None => format!("{name} was checked again"),
        Some(Because::New) => format!("{name} was checked: there was no result for it"),
        Some(Because::Source) => format!("{name} was checked again: its source changed"),
        Some(Because::Options) => format!("{name} was checked again: its options changed"),
        Some(Because::Imports) => format!("{name} was checked again: its imports find others"),
        Some(Because::Interface(other)) => {
            format!("{name} was checked again: the interface of {other} changed")
        }
    }
}

/// The modules that were checked again, and those that were carried over, as lists.
pub(super) fn as_json(reuse: &Reuse) -> (Value, Value) {
    let Reuse::Ran { modules, carried, .. } = reuse else { return (json!([]), json!([])) };
    let object = |Module { name, because }: &Module| {
        let (because, of) = match because {
            None => (None, None),
            Some(Because::New) => (Some("new"), None),
            Some(Because::Source) => (Some("source"), None),
            Some(Because::Options) => (Some("options"), None),
            Some(Because::Imports) => (Some("imports"), None),
            Some(Because::Interface(other)) => (Some("interface"), Some(other)),
        };
        match of {
            None => json!({"name": name, "because": because}),
            Some(of) => json!({"name": name, "because": because, "of": of}),
        }
    };
    (modules.iter().map(object).collect(), json!(carried))
}

/// Files, reuse, and the time of each part.
pub(super) fn stats(Answer { tool, report, seconds, .. }: &Answer) -> String {
    let reuse = match &report.reuse {
        Reuse::Replayed => "whole answer".to_owned(),
        Reuse::Ran { modules_rechecked: Some(count), seeded: true, modules, carried, .. } => {
            let edited =
                |module: &&Module| matches!(module.because, Some(Because::New | Because::Source));
            let edited = modules.iter().filter(edited).count();
            let over = carried.len();
            format!("all but {count} modules ({edited} edited or new), carried over {over}")
        }
        Reuse::Ran { .. } => "nothing".to_owned(),
    };
    let (lookup, run) = (report.timing.lookup.as_secs_f64(), report.timing.run.as_secs_f64());
    format!(
        "{}: source files {}, reused {reuse}, lookup {}, run {}, rest {}",
        tool.name(),
        report.files,
        time(lookup),
        time(run),
        time((seconds - lookup - run).max(0.0)),
    )
}
