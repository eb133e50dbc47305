//! The formats of record that this crate keeps, and what to call their entries.

use rewarm_store::{Format, RecordInfo, Store};

use crate::record::Record;

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 1] {
    [Format::of::<Record>()]
}

/// The URL that a record is about. `None` if it is of another kind or cannot be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    if record.kind != formats()[0].name {
        return None;
    }
    Some(store.read::<Record>(&record.key)?.url)
}
