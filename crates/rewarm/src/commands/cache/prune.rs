//! `rewarm cache prune` and `purge`: what is old, too much, left behind, or all of it.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use rewarm_store::Limits;
use serde_json::json;

use super::{age, entry_count, inventory, unreadable};
use crate::args::Prune;
use crate::commands::check::worker;
use crate::commands::{print, print_json};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::formats;
use crate::settings;
use crate::ui::size;

pub(super) fn run(context: &Context<'_>, args: &Prune) -> Outcome {
    let mut limits = context.limits();
    if let Some(text) = &args.max_size {
        limits.max_bytes = Some(settings::size("--max-size", text).map_err(Failure::usage)?);
    }
    if let Some(text) = &args.max_age {
        limits.max_age = Some(settings::age("--max-age", text).map_err(Failure::usage)?);
    }
    if args.old_formats {
        limits.other_age = Duration::ZERO;
    }
    if args.dry_run {
        return plan(context, &limits);
    }
    if args.old_formats && !args.yes && !may_remove_formats(context)? {
        context.ui.note("nothing was removed");
        return Ok(1);
    }
    sweep(context, &limits)
}

/// Says what other versions keep here, and asks whether that may go. A program of such a version
/// that runs now goes on: what is gone is a miss to it, and what it leases stays.
fn may_remove_formats(context: &Context<'_>) -> Result<bool, Failure> {
    let others = inventory(context, context.store_to_read()?)?.others;
    if others.is_empty() {
        return Ok(true);
    }
    let known = formats::known();
    for area in &others {
        let kind = area.name.rsplit_once("-v").map_or(area.name.as_str(), |(kind, _)| kind);
        let known = known.iter().find(|format| format.name == kind);
        let text = known.map_or("of a kind that this version does not know".to_owned(), |format| {
            format!("this version reads {}-v{}", format.name, format.version)
        });
        let unused = age(now().duration_since(area.last_used).unwrap_or_default());
        let (name, bytes) = (&area.name, size(area.bytes));
        context.ui.explain(&format!("{name}: {bytes}, last used {unused} ago; {text}"));
    }
    confirmed("Remove these formats of other versions?")
}

fn plan(context: &Context<'_>, limits: &Limits) -> Outcome {
    let plan = context.store_to_read()?.gc_plan(&formats::known(), limits, now());
    let plan = plan.map_err(|error| unreadable(context, &error))?;
    if context.settings.json {
        let totals = plan.totals();
        let removed = totals.iter().map(|((kind, reason), count)| {
            let (entries, bytes) = (count.entries, count.bytes);
            let reason = reason.to_string();
            json!({ "kind": kind, "reason": reason, "entries": entries, "bytes": bytes })
        });
        let removed: Vec<_> = removed.collect();
        return print_json(&json!({
            "would_remove": removed,
            "kept_bytes": plan.kept_bytes,
            "waiting_bytes": plan.waiting.bytes,
        }));
    }
    let mut text = String::new();
    for ((kind, reason), count) in plan.totals() {
        text += &format!("{kind:<18} {:>8} {:>10}  {reason}\n", count.entries, size(count.bytes));
    }
    text += &format!("{} would stay\n", size(plan.kept_bytes));
    print(text.as_bytes())?;
    tell_what_waits(context, limits, plan.waiting);
    Ok(0)
}

fn sweep(context: &Context<'_>, limits: &Limits) -> Outcome {
    let report = {
        let _spinner = context.ui.spinner("sweeping");
        let swept = context.store_itself()?.sweep(&formats::known(), limits, now());
        swept.map_err(|error| unreadable(context, &error))?
    };
    for (kind, count) in &report.removed {
        context.ui.detail(&format!("removed {} {kind}, {}", count.entries, size(count.bytes)));
    }
    let total = report.total();
    let what = entry_count(total.entries);
    context.ui.note(&format!("removed {what}, {}", size(total.bytes)));
    if report.spared.entries > 0 {
        context.ui.note(&format!("left {} in use", entry_count(report.spared.entries)));
    }
    tell_what_waits(context, limits, report.waiting);
    if context.settings.json {
        let removed = report.removed.iter().map(|(kind, count)| {
            (kind.to_string(), json!({ "entries": count.entries, "bytes": count.bytes }))
        });
        let removed: BTreeMap<_, _> = removed.collect();
        print_json(&json!({
            "removed": removed,
            "in_use": report.spared.entries,
            "waiting_bytes": report.waiting.bytes,
        }))?;
    }
    first_failure(report.failed)
}

/// What has no record yet may be about to get one.
fn tell_what_waits(context: &Context<'_>, limits: &Limits, waiting: rewarm_store::Count) {
    if waiting.entries > 0 {
        let (bytes, grace) = (size(waiting.bytes), age(limits.grace));
        context.ui.note(&format!(
            "{bytes} stay: no entry refers to them, but they were written within the last {grace}, \
             and a command may be about to use them"
        ));
    }
}

/// What could not be removed makes the command fail.
pub(super) fn first_failure(failed: Vec<(PathBuf, std::io::Error)>) -> Outcome {
    match failed.into_iter().next() {
        None => Ok(0),
        Some((path, error)) => {
            let text = format!("cannot remove `{}`: {error}", path.display());
            Err(Failure::world(std::io::Error::new(error.kind(), text)))
        }
    }
}

pub(super) fn purge(context: &Context<'_>, yes: bool) -> Outcome {
    if !yes {
        let question = format!("Remove everything in {}?", context.settings.cache_dir.display());
        if !confirmed(&question)? {
            context.ui.note("nothing was removed");
            return Ok(1);
        }
    }
    worker::end(context, None);
    sweep(context, &Limits::nothing())
}

fn confirmed(question: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on").hint("add `--yes`"));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
