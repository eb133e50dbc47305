//! `rewarm cache list`: the entries, one line each.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rewarm_http::inspect::{self, Standing};
use rewarm_store::{Digest, Inventory, Store};
use serde_json::json;

use super::filter::{HTTP, Named, matching};
use super::{age, epoch, inventory};
use crate::args::{List, Sort};
use crate::commands::{print, print_json};
use crate::context::{Context, now};
use crate::error::Outcome;
use crate::ui::size;

/// An entry, and how fresh it is if it is about a URL.
struct Line<'f> {
    named: Named<'f>,
    http: Option<Summary>,
    age: Duration,
}

/// The responses of one record together.
#[derive(Clone)]
struct Summary {
    status: u16,
    age: Duration,
    is_fresh: bool,
    responses: usize,
}

pub(super) fn run(context: &Context<'_>, args: &List) -> Outcome {
    let store = context.store_to_read()?;
    let found = inventory(context, store)?;
    let now = now();
    let summaries = summaries(store, &found, now);
    let named = matching(store, &found, &args.filter);
    let mut lines: Vec<_> = named
        .into_iter()
        .map(|named| {
            let is_http = named.record.kind == HTTP;
            let http = summaries.get(&named.record.key).filter(|_| is_http);
            let unused = now.duration_since(named.record.last_used).unwrap_or_default();
            let age = http.map_or(unused, |summary| summary.age);
            Line { age, http: http.cloned(), named }
        })
        .collect();
    match args.sort {
        None => {}
        Some(Sort::Size) => lines.sort_by_key(|line| Reverse(line.named.bytes)),
        Some(Sort::Age) => lines.sort_by_key(|line| Reverse(line.age)),
        Some(Sort::Url) => lines.sort_by(|a, b| a.named.name.cmp(&b.named.name)),
    }
    if context.settings.json {
        return print_json(&lines.iter().map(describe).collect());
    }
    let is_http = args.filter.kind() == Some(HTTP);
    let width = lines.iter().map(|line| line.named.record.kind.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Line { named, http, age: since } in &lines {
        let (since, size, name) = (age(*since), size(named.bytes), &named.name);
        text += &match http {
            Some(http) if is_http => {
                let state = if http.is_fresh { "fresh" } else { "stale" };
                format!("{since:>5} {size:>10} {state}  {name}\n")
            }
            _ => format!("{:<width$} {size:>10} {since:>5}  {name}\n", named.record.kind),
        };
    }
    print(text.as_bytes())
}

fn summaries(store: &Store, found: &Inventory, now: SystemTime) -> HashMap<Digest, Summary> {
    let entries = inspect::entries(store, found).into_iter();
    entries
        .filter_map(|entry| {
            let standings = entry.standings(store, now);
            let youngest = standings.iter().min_by_key(|standing| standing.age)?;
            let summary = Summary {
                status: youngest.status,
                age: youngest.age,
                is_fresh: standings.iter().any(Standing::is_fresh),
                responses: standings.len(),
            };
            Some((entry.info.key, summary))
        })
        .collect()
}

fn describe(line: &Line<'_>) -> serde_json::Value {
    let Named { record, name, bytes } = &line.named;
    let mut value = json!({
        "kind": record.kind,
        "version": record.version,
        "key": record.key.to_string(),
        "name": name,
        "bytes": record.bytes,
        "content_bytes": bytes - record.bytes,
        "last_used": epoch(record.last_used),
        "references": record.references.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let Some(http) = &line.http {
        value["state"] = if http.is_fresh { "fresh" } else { "stale" }.into();
        value["age"] = http.age.as_secs().into();
        value["status"] = http.status.into();
        value["responses"] = http.responses.into();
    }
    value
}
