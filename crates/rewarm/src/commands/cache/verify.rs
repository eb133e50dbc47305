//! `rewarm cache verify`: reads everything and drops what is damaged.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use rewarm_store::{Verdict, VerifyItem};
use serde_json::json;

use super::{entry_count, unreadable};
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::error::Outcome;
use crate::formats;

pub(super) fn run(context: &Context<'_>) -> Outcome {
    let store = context.store_to_read()?;
    let items =
        store.verify_items(&formats::known()).map_err(|error| unreadable(context, &error))?;
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
