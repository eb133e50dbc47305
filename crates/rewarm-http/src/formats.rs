//! The formats of record that this crate keeps, and what to call their entries.

use rewarm_store::{Format, Kind, RecordInfo, Store};

use crate::import::Imported;
use crate::record::Record;

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 2] {
    [Format::of::<Record>(), Format::of::<Imported>()]
}

/// The URL that a record is about, or the name of an imported file. `None` if it is of another kind
/// or cannot be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    if record.kind == Record::NAME {
        return Some(store.read::<Record>(&record.key)?.url);
    }
    if record.kind != Imported::NAME {
        return None;
    }
    let Imported { tool, name, digest } = store.read(&record.key)?;
    Some(format!("{} from {tool}'s cache", name.unwrap_or_else(|| format!("sha256:{digest}"))))
}
