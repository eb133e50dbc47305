//! `rewarm cache remove`: entries by name, with all that only they refer to.

use std::collections::BTreeMap;

use rewarm_http::inspect;
use rewarm_store::{Count, RecordInfo, Store};
use serde_json::json;

use super::filter::{Named, matching};
use super::{entry_count, inventory, unreadable};
use crate::args::Remove;
use crate::commands::{print, print_json};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::formats;
use crate::ui::size;

pub(super) fn run(context: &Context<'_>, args: &Remove) -> Outcome {
    if args.filter.is_empty() {
        return Err(Failure::usage("nothing was named to remove")
            .hint("give a pattern, a URL or `--kind`; `rewarm cache purge` removes everything"));
    }
    let store = if args.dry_run { context.store_to_read()? } else { context.store_itself()? };
    let found = inventory(context, store)?;
    let named = matching(store, &found, &args.filter);
    if named.is_empty() {
        return nothing(context, store, args);
    }
    let chosen: Vec<RecordInfo> = named.iter().map(|named| named.record.clone()).collect();
    if args.dry_run {
        plan(context, store, &named, &chosen)
    } else {
        remove(context, store, &named, &chosen)
    }
}

fn nothing(context: &Context<'_>, store: &Store, args: &Remove) -> Outcome {
    let pattern = args.filter.pattern.as_deref().unwrap_or_default();
    let mut text = "nothing matches, so nothing was removed".to_owned();
    if pattern.contains("://") {
        let entries = inspect::entries(store, &inventory(context, store)?);
        let known = entries.iter().map(|entry| entry.record.url.as_str());
        for url in inspect::nearest(pattern, known, 3) {
            text += &format!("\n  near to it is {url}");
        }
    }
    context.ui.note(&text);
    if context.settings.json {
        print_json(&json!({ "matched": [], "removed": {}, "freed_bytes": 0 }))?;
    }
    Ok(1)
}

fn names(named: &[Named<'_>]) -> serde_json::Value {
    let name = |named: &Named<'_>| {
        let Named { record, name, .. } = named;
        json!({ "kind": record.kind, "key": record.key.to_string(), "name": name })
    };
    named.iter().map(name).collect()
}

fn plan(
    context: &Context<'_>,
    store: &Store,
    named: &[Named<'_>],
    chosen: &[RecordInfo],
) -> Outcome {
    let plan = store.removal_plan(&formats::known(), chosen, now());
    let plan = plan.map_err(|error| unreadable(context, &error))?;
    let mut by_kind: BTreeMap<String, Count> = BTreeMap::new();
    for ((kind, _), count) in plan.totals() {
        by_kind.insert(kind, count);
    }
    let freed = by_kind.values().map(|count| count.bytes).sum();
    if context.settings.json {
        return print_json(&json!({
            "matched": names(named),
            "would_remove": counts(&by_kind),
            "would_free_bytes": freed,
            "shared_bytes": plan.shared.bytes,
            "in_use": plan.in_use.entries,
        }));
    }
    let mut text = String::new();
    for Named { record, name, bytes } in named {
        text += &format!("{} {:>10}  {name}\n", record.kind, size(*bytes));
    }
    print(text.as_bytes())?;
    context.ui.note(&format!(
        "would remove {}, freeing {}",
        entry_count(by_kind.iter().filter(is_entry).map(|(_, count)| count.entries).sum()),
        size(freed)
    ));
    tell_what_stays(context, plan.shared, plan.in_use);
    Ok(0)
}

fn remove(
    context: &Context<'_>,
    store: &Store,
    named: &[Named<'_>],
    chosen: &[RecordInfo],
) -> Outcome {
    let report = store.remove_entries(&formats::known(), chosen, now());
    let report = report.map_err(|error| unreadable(context, &error))?;
    let total = report.total();
    for Named { record, name, .. } in named {
        context.ui.detail(&format!("matched {} {name}", record.kind));
    }
    context.ui.note(&format!(
        "removed {}, freed {}",
        entry_count(report.removed.iter().filter(is_entry).map(|(_, count)| count.entries).sum()),
        size(total.bytes)
    ));
    tell_what_stays(context, report.shared, report.spared);
    if context.settings.json {
        print_json(&json!({
            "matched": names(named),
            "removed": counts(&report.removed),
            "freed_bytes": total.bytes,
            "shared_bytes": report.shared.bytes,
            "in_use": report.spared.entries,
        }))?;
    }
    super::prune::first_failure(report.failed)
}

/// Whether a count is of entries, and not of what they refer to.
fn is_entry((kind, _): &(&String, &Count)) -> bool {
    *kind != "blobs"
}

fn counts(by_kind: &BTreeMap<String, Count>) -> serde_json::Value {
    by_kind
        .iter()
        .map(|(kind, count)| {
            (kind.clone(), json!({ "entries": count.entries, "bytes": count.bytes }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn tell_what_stays(context: &Context<'_>, shared: Count, in_use: Count) {
    if shared.entries > 0 {
        context.ui.note(&format!("{} stay: other entries use them as well", size(shared.bytes)));
    }
    if in_use.entries > 0 {
        context.ui.note(&format!("left {} in use", entry_count(in_use.entries)));
    }
}
