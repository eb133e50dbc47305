//! `rewarm cache info`: how much there is, by kind and format, by origin, and beside the entries.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rewarm_http::inspect;
use rewarm_store::{Count, Digest, Inventory, Store, StrayKind};
use serde_json::json;

use super::{age, epoch, inventory};
use crate::commands::{json_path, print, print_json};
use crate::context::{Context, now};
use crate::error::Outcome;
use crate::ui::size;

/// So many origins are shown; JSON has all.
const ORIGINS: usize = 20;

/// What is stored of one origin.
#[derive(Default)]
struct Origin {
    urls: BTreeSet<String>,
    responses: usize,
    bodies: BTreeSet<Digest>,
    bytes: u64,
}

pub(super) fn run(context: &Context<'_>) -> Outcome {
    let store = context.store_to_read()?;
    let found = inventory(context, store)?;
    let (partial, origins) = (partial_downloads(&found), origins(store, &found));
    if context.settings.json {
        return print_json(&describe(context, &found, partial, &origins));
    }
    let mut text = format!("{}\n", context.settings.cache_dir.display());
    for (kind, total) in &found.totals() {
        text += &row(kind, &total.entries.to_string(), total.bytes, "");
    }
    if partial.entries > 0 {
        text += &row(
            "partial downloads",
            &partial.entries.to_string(),
            partial.bytes,
            "to be carried on",
        );
    }
    let bound = format!("of at most {}", size(context.settings.max_size));
    text += &row("all", "", bytes(&found, partial), &bound);
    for area in &found.others {
        let unused = age(now().duration_since(area.last_used).unwrap_or_default());
        let note = format!("another version's, not used for {unused}");
        text += &row(&area.name, &area.entries.to_string(), area.bytes, &note);
    }
    let mut ranked: Vec<_> = origins.iter().collect();
    ranked.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then(a.0.cmp(b.0)));
    if !ranked.is_empty() {
        text += "downloaded from\n";
    }
    for (name, origin) in ranked.iter().take(ORIGINS) {
        text += &row(name, &origin.urls.len().to_string(), origin.bytes, "");
    }
    if ranked.len() > ORIGINS {
        text += &format!("  and {} more origins\n", ranked.len() - ORIGINS);
    }
    print(text.as_bytes())
}

fn row(name: &str, entries: &str, bytes: u64, note: &str) -> String {
    let line = format!("  {name:<20} {entries:>8}  {:>10}  {note}", size(bytes));
    format!("{}\n", line.trim_end())
}

/// Of all that the bound is about.
fn bytes(found: &Inventory, partial: Count) -> u64 {
    partial.bytes + found.totals().values().map(|total| total.bytes).sum::<u64>()
}

/// What cut-off downloads left: each has a file with its data and one about it.
fn partial_downloads(found: &Inventory) -> Count {
    let mut count = Count::default();
    for stray in found.strays.iter().filter(|stray| stray.kind == StrayKind::Partial) {
        count.entries += u64::from(stray.path.extension().is_some_and(|end| end == "data"));
        count.bytes += stray.bytes;
    }
    count
}

fn origins(store: &Store, found: &Inventory) -> BTreeMap<String, Origin> {
    let sizes: HashMap<_, _> = found.blobs.iter().map(|blob| (blob.digest, blob.bytes)).collect();
    let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
    for entry in inspect::entries(store, found) {
        let origin = origins.entry(inspect::origin(&entry.record)).or_default();
        origin.responses += entry.record.variants.len();
        for variant in &entry.record.variants {
            if origin.bodies.insert(variant.body.digest) {
                origin.bytes += sizes.get(&variant.body.digest).copied().unwrap_or_default();
            }
        }
        origin.urls.insert(entry.record.url);
    }
    origins
}

fn describe(
    context: &Context<'_>,
    found: &Inventory,
    partial: Count,
    origins: &BTreeMap<String, Origin>,
) -> serde_json::Value {
    let totals = found.totals();
    let kinds = totals.iter().map(|(kind, total)| {
        let value = json!({
            "entries": total.entries,
            "bytes": total.bytes,
            "referenced_bytes": total.referenced_bytes,
        });
        (kind, value)
    });
    let origins = origins.iter().map(|(name, origin)| {
        let (urls, responses) = (origin.urls.len(), origin.responses);
        (name, json!({ "urls": urls, "responses": responses, "bytes": origin.bytes }))
    });
    let others = found.others.iter().map(|area| {
        let (name, files, last_used) = (&area.name, area.entries, epoch(area.last_used));
        json!({ "name": name, "files": files, "bytes": area.bytes, "last_used": last_used })
    });
    json!({
        "directory": json_path(&context.settings.cache_dir),
        "bytes": bytes(found, partial),
        "max_bytes": context.settings.max_size,
        "kinds": kinds.collect::<BTreeMap<_, _>>(),
        "origins": origins.collect::<BTreeMap<_, _>>(),
        "partial_downloads": { "entries": partial.entries, "bytes": partial.bytes },
        "other_formats": others.collect::<Vec<_>>(),
    })
}
