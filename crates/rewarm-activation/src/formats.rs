//! The format of record that this crate keeps, and what to call its entries.

use rewarm_store::{Format, RecordInfo, Store};

use crate::record::ActivationRecord;

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 1] {
    [Format::of::<ActivationRecord>()]
}

/// What a record is about: a workspace. `None` if it is not of this crate or cannot be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    if Format::of::<ActivationRecord>().name != record.kind {
        return None;
    }
    let activation = store.read::<ActivationRecord>(&record.key)?.activations.into_iter().next()?;
    let clean = if activation.clean_env { " (clean)" } else { "" };
    Some(format!("{}{clean}", activation.workspace_root.display()))
}
