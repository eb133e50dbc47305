//! The formats of record that this crate keeps, and what to call their entries.

use rewarm_store::{Format, RecordInfo, Store};

use crate::build::BuiltWheel;
use crate::interpreter::InterpreterRecord;

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 2] {
    [Format::of::<BuiltWheel>(), Format::of::<InterpreterRecord>()]
}

/// What a record is about: a wheel, an interpreter. `None` if it is not of this crate
/// or cannot be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    let key = &record.key;
    let format = formats().into_iter().find(|format| format.name == record.kind)?;
    if format == Format::of::<BuiltWheel>() {
        return Some(store.read::<BuiltWheel>(key)?.filename);
    }
    Some(store.read::<InterpreterRecord>(key)?.binary.display().to_string())
}
