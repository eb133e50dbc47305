//! `rewarm cache verify`: reads everything and drops what is damaged.
//!
//! Items are spread over all cores. What is damaged is named by what it is of: its URL, if it was
//! downloaded, so that one can tell what will be downloaded again.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rewarm_store::{Digest, Store, Verdict, VerifyItem};
use serde_json::json;

use super::{entry_count, inventory, unreadable};
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::formats;

/// What was found wrong, with the reason if it could not be dropped, and what it is of.
struct Finding {
    item: String,
    names: Vec<String>,
    error: Option<String>,
}

pub(super) fn run(context: &Context<'_>) -> Outcome {
    let store = context.store_to_read()?;
    let items =
        store.verify_items(&formats::known()).map_err(|error| unreadable(context, &error))?;
    let bar = context.ui.bytes("verifying", Some(items.iter().map(VerifyItem::bytes).sum()));
    let results: Vec<_> = items
        .par_iter()
        .map(|item| {
            let verdict = store.verify_item(item);
            bar.advance(item.bytes());
            (item, verdict)
        })
        .collect();
    drop(bar);
    let bad = results.into_iter().filter_map(|(item, verdict)| match verdict {
        Ok(Verdict::Sound | Verdict::Gone) => None,
        Ok(Verdict::Damaged) => Some((item, None)),
        Err(error) => Some((item, Some(error.to_string()))),
    });
    let mut findings = name_all(context, store, bad.collect())?;
    findings.sort_by(|a, b| a.item.cmp(&b.item));
    let failed = findings.iter().filter(|finding| finding.error.is_some()).count();
    let dropped = findings.len() - failed;
    if context.settings.json {
        print_json(&describe(items.len(), &findings))?;
    } else {
        print(findings.iter().map(line).collect::<String>().as_bytes())?;
    }
    let checked = entry_count(items.len() as u64);
    let mut summary = format!("verified {checked}, dropped {dropped} damaged");
    if failed > 0 {
        summary += &format!(", failed on {failed}");
    }
    context.ui.note(&summary);
    Ok(u8::from(!findings.is_empty()))
}

/// The records that refer to what is damaged are still there, and say what it was.
fn name_all(
    context: &Context<'_>,
    store: &Store,
    bad: Vec<(&VerifyItem, Option<String>)>,
) -> Result<Vec<Finding>, Failure> {
    let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    if !bad.is_empty() {
        let found = inventory(context, store)?;
        for record in &found.records {
            let name = formats::describe(store, record);
            if name == record.key.to_string() {
                continue;
            }
            for digest in record.references.iter().chain([&record.key]) {
                names.entry(*digest).or_default().push(name.clone());
            }
        }
    }
    let finding = |(item, error): (&VerifyItem, Option<String>)| {
        let (text, key) = match item {
            VerifyItem::Blob(blob) => (format!("blob sha256:{}", blob.digest), Some(blob.digest)),
            VerifyItem::Tree(tree) => {
                (format!("tree of sha256:{}", tree.digest), Some(tree.digest))
            }
            VerifyItem::Record(record) => {
                (format!("{} record {}", record.kind, record.key), Some(record.key))
            }
            VerifyItem::DamagedRecord(stray) => {
                (format!("record at `{}`", stray.path.display()), None)
            }
        };
        let mut names = key.and_then(|key| names.get(&key).cloned()).unwrap_or_default();
        names.sort();
        names.dedup();
        Finding { item: text, names, error }
    };
    Ok(bad.into_iter().map(finding).collect())
}

fn line(finding: &Finding) -> String {
    let Finding { item, names, error } = finding;
    let of = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{item}{of}{error}\n")
}

fn describe(checked: usize, findings: &[Finding]) -> serde_json::Value {
    let (failed, dropped): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| finding.error.is_some());
    let dropped = dropped.iter().map(|f| json!({ "item": f.item, "names": f.names }));
    let failed =
        failed.iter().map(|f| json!({ "item": f.item, "names": f.names, "error": f.error }));
    json!({
        "verified": checked,
        "dropped": dropped.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
    })
}
