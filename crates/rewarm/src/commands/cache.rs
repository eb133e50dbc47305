//! `rewarm cache`: look at what is kept, and remove some of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use rewarm_store::{Inventory, Limits, RecordInfo, Store, Verdict, VerifyItem};
use serde_json::json;

use crate::args::{Cache, Filter, Prune};
use crate::commands::{print, print_json};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::formats;
use crate::settings;
use crate::ui::size;

pub(crate) fn run(context: &Context, args: &Cache) -> Outcome {
    match args {
        Cache::Dir => dir(context),
        Cache::Info => info(context),
        Cache::List(filter) => list(context, filter),
        Cache::Remove(filter) => remove(context, filter),
        Cache::Prune(args) => prune(context, args),
        Cache::Purge { yes } => purge(context, *yes),
        Cache::Verify => verify(context),
    }
}

fn dir(context: &Context) -> Outcome {
    let path = &context.settings.cache_dir;
    if context.settings.json {
        return print_json(&json!({ "directory": path }));
    }
    print(format!("{}\n", path.display()).as_bytes())
}

fn inventory(context: &Context, store: &Store) -> Result<Inventory, Failure> {
    let found = store.inventory(&formats::known());
    found.map_err(|error| unreadable(context, error))
}

fn unreadable(context: &Context, error: std::io::Error) -> Failure {
    let path = context.settings.cache_dir.display();
    Failure::world(std::io::Error::new(error.kind(), format!("cannot read `{path}`: {error}")))
}

fn info(context: &Context) -> Outcome {
    let found = inventory(context, context.store_to_read()?)?;
    let totals = found.totals();
    if context.settings.json {
        let kinds: BTreeMap<_, _> = totals
            .iter()
            .map(|(kind, total)| {
                let value = json!({
                    "entries": total.entries,
                    "bytes": total.bytes,
                    "referenced_bytes": total.referenced_bytes,
                });
                (kind, value)
            })
            .collect();
        let others: Vec<_> = found
            .others
            .iter()
            .map(|area| json!({ "name": area.name, "files": area.entries, "bytes": area.bytes }))
            .collect();
        return print_json(&json!({
            "directory": context.settings.cache_dir.to_string_lossy(),
            "max_bytes": context.settings.max_size,
            "kinds": kinds,
            "other_formats": others,
        }));
    }
    let mut text = format!("{}\n", context.settings.cache_dir.display());
    let mut bytes = 0;
    for (kind, total) in &totals {
        bytes += total.bytes;
        text += &format!("  {kind:<20} {:>8}  {:>10}\n", total.entries, size(total.bytes));
    }
    for area in &found.others {
        let (name, entries) = (&area.name, area.entries);
        text +=
            &format!("  {name:<20} {entries:>8}  {:>10}  another version's\n", size(area.bytes));
    }
    let bound = size(context.settings.max_size);
    text += &format!("  {:<20} {:>8}  {:>10}  of at most {bound}\n", "all", "", size(bytes));
    print(text.as_bytes())
}

/// The records that a filter means, with what they are about.
fn matching<'f>(
    store: &Store,
    found: &'f Inventory,
    filter: &Filter,
) -> Vec<(&'f RecordInfo, String)> {
    let kinds = found
        .records
        .iter()
        .filter(|record| filter.kind.as_deref().is_none_or(|kind| kind == record.kind));
    let named = kinds.map(|record| (record, formats::describe(store, record)));
    let mut named: Vec<_> = named
        .filter(|(record, name)| {
            let pattern = filter.pattern.as_deref();
            pattern.is_none_or(|p| matches(p, name) || matches(p, &record.key.to_string()))
        })
        .collect();
    named.sort_by(|(a, a_name), (b, b_name)| (&a.kind, a_name).cmp(&(&b.kind, b_name)));
    named
}

/// Whether `text` is what `pattern` says; `*` stands for any text. A pattern without one is looked
/// for anywhere.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text.contains(pattern) };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

fn list(context: &Context, filter: &Filter) -> Outcome {
    let store = context.store_to_read()?;
    let found = inventory(context, store)?;
    let entries = matching(store, &found, filter);
    if context.settings.json {
        let entries: Vec<_> = entries
            .iter()
            .map(|(record, name)| {
                let used = record.last_used.duration_since(SystemTime::UNIX_EPOCH);
                json!({
                    "kind": record.kind,
                    "version": record.version,
                    "key": record.key.to_string(),
                    "name": name,
                    "bytes": record.bytes,
                    "last_used": used.unwrap_or_default().as_secs(),
                    "references": record.references.iter().map(ToString::to_string).collect::<Vec<_>>(),
                })
            })
            .collect();
        return print_json(&json!(entries));
    }
    let sizes: BTreeMap<_, _> = found.blobs.iter().map(|blob| (blob.digest, blob.bytes)).collect();
    let width = entries.iter().map(|(record, _)| record.kind.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (record, name) in entries {
        let content: u64 = record.references.iter().filter_map(|digest| sizes.get(digest)).sum();
        let age = age(now().duration_since(record.last_used).unwrap_or_default());
        let kind = &record.kind;
        text += &format!("{kind:<width$} {:>10} {age:>5}  {name}\n", size(record.bytes + content));
    }
    print(text.as_bytes())
}

fn remove(context: &Context, filter: &Filter) -> Outcome {
    if filter.pattern.is_none() && filter.kind.is_none() {
        return Err(Failure::usage("nothing was named to remove")
            .hint("give a pattern or `--kind`; `rewarm cache purge` removes everything"));
    }
    let store = context.store_itself()?;
    let found = inventory(context, store)?;
    let entries = matching(store, &found, filter);
    for (record, name) in &entries {
        store.remove_listed(record).map_err(|error| unreadable(context, error))?;
        context.ui.detail(&format!("removed {} {name}", record.kind));
    }
    context.ui.note(&format!("removed {}", entry_count(entries.len() as u64)));
    if context.settings.json {
        let removed = entries.iter().map(|(record, name)| {
            json!({ "kind": record.kind, "key": record.key.to_string(), "name": name })
        });
        print_json(&removed.collect())?;
    }
    Ok(u8::from(entries.is_empty()))
}

fn prune(context: &Context, args: &Prune) -> Outcome {
    let mut limits = context.limits();
    if let Some(text) = &args.max_size {
        limits.max_bytes = Some(settings::size("--max-size", text).map_err(Failure::usage)?);
    }
    if let Some(text) = &args.max_age {
        limits.max_age = Some(settings::age("--max-age", text).map_err(Failure::usage)?);
    }
    if args.dry_run {
        let plan = context.store_to_read()?.gc_plan(&formats::known(), &limits, now());
        let plan = plan.map_err(|error| unreadable(context, error))?;
        if context.settings.json {
            let totals = plan.totals();
            let removed = totals.iter().map(|((kind, reason), count)| {
                let (entries, bytes) = (count.entries, count.bytes);
                let reason = reason.to_string();
                json!({ "kind": kind, "reason": reason, "entries": entries, "bytes": bytes })
            });
            let removed: Vec<_> = removed.collect();
            return print_json(&json!({ "would_remove": removed, "kept_bytes": plan.kept_bytes }));
        }
        let mut text = String::new();
        for ((kind, reason), count) in plan.totals() {
            text +=
                &format!("{kind:<16} {:>8} {:>10}  {reason}\n", count.entries, size(count.bytes));
        }
        text += &format!("{} would stay\n", size(plan.kept_bytes));
        return print(text.as_bytes());
    }
    sweep(context, &limits)
}

fn sweep(context: &Context, limits: &Limits) -> Outcome {
    let report = {
        let _spinner = context.ui.spinner("sweeping");
        let swept = context.store_itself()?.sweep(&formats::known(), limits, now());
        swept.map_err(|error| unreadable(context, error))?
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
    if context.settings.json {
        let removed = report.removed.iter().map(|(kind, count)| {
            (kind.to_string(), json!({ "entries": count.entries, "bytes": count.bytes }))
        });
        let removed: BTreeMap<_, _> = removed.collect();
        print_json(&json!({ "removed": removed, "in_use": report.spared.entries }))?;
    }
    match report.failed.into_iter().next() {
        None => Ok(0),
        Some((path, error)) => {
            let text = format!("cannot remove `{}`: {error}", path.display());
            Err(Failure::world(std::io::Error::new(error.kind(), text)))
        }
    }
}

fn purge(context: &Context, yes: bool) -> Outcome {
    if !yes && !confirmed(context)? {
        context.ui.note("nothing was removed");
        return Ok(1);
    }
    sweep(context, &Limits::nothing())
}

fn confirmed(context: &Context) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on").hint("add `--yes`"));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "Remove everything in {}? [y/N] ", context.settings.cache_dir.display())?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn verify(context: &Context) -> Outcome {
    let store = context.store_to_read()?;
    let items =
        store.verify_items(&formats::known()).map_err(|error| unreadable(context, error))?;
    let bar = context.ui.count("verifying", items.len());
    let results: Vec<_> = items
        .par_iter()
        .map(|item| {
            let verdict = store.verify_item(item);
            bar.advance(1);
            (item_text(item), verdict)
        })
        .collect();
    drop(bar);
    let (mut damaged, mut failed) = (BTreeSet::new(), BTreeMap::new());
    for (item, verdict) in results {
        match verdict {
            Ok(Verdict::Sound | Verdict::Gone) => {}
            Ok(Verdict::Damaged) => drop(damaged.insert(item)),
            Err(error) => drop(failed.insert(item, error.to_string())),
        }
    }
    if context.settings.json {
        let (checked, dropped) = (items.len(), &damaged);
        print_json(&json!({ "verified": checked, "dropped": dropped, "failed": failed }))?;
    } else {
        let mut text: String = damaged.iter().map(|item| format!("{item}\n")).collect();
        failed.iter().for_each(|(item, error)| text += &format!("{item}: {error}\n"));
        print(text.as_bytes())?;
    }
    let checked = entry_count(items.len() as u64);
    let mut summary = format!("verified {checked}, dropped {} damaged", damaged.len());
    if !failed.is_empty() {
        summary += &format!(", failed on {}", failed.len());
    }
    context.ui.note(&summary);
    Ok(u8::from(!damaged.is_empty() || !failed.is_empty()))
}

fn item_text(item: &VerifyItem) -> String {
    match item {
        VerifyItem::Blob(blob) => format!("blob sha256:{}", blob.digest),
        VerifyItem::Tree(tree) => format!("tree of sha256:{}", tree.digest),
        VerifyItem::Record(record) => format!("{} record {}", record.kind, record.key),
        VerifyItem::DamagedRecord(stray) => format!("record at `{}`", stray.path.display()),
    }
}

fn entry_count(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_and_plain_text_anywhere() {
        assert!(matches("yaml", "https://x/pyyaml-6.whl"));
        assert!(matches("*yaml*", "https://x/pyyaml-6.whl"));
        assert!(matches("https://*.whl", "https://x/pyyaml-6.whl"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a1b2b3c"));
        assert!(!matches("https://*.gz", "https://x/pyyaml-6.whl"));
        assert!(!matches("a*b*c", "acb"));
    }
}
