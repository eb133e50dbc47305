//! The formats of record that the store itself keeps, and what to call their entries.

use crate::inventory::RecordInfo;
use crate::record::Format;
use crate::store::Store;
use crate::tree::Manifest;

/// Every format of record that the store itself reads and writes.
pub fn formats() -> [Format; 1] {
    [Format::of::<Manifest>()]
}

/// What a tree's record is about: the distribution that was unpacked. `None` if the record is of
/// another kind or cannot be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    if record.kind != formats()[0].name {
        return None;
    }
    let manifest: Manifest = store.read(&record.key)?;
    let mut tops = manifest.files.iter().filter_map(|file| file.path.split('/').next());
    tops.find_map(|top| top.strip_suffix(".dist-info")).map(str::to_owned)
}
