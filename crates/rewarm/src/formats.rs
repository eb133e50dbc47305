//! The kinds of record that this version keeps, and what to call their entries.
//!
//! Kinds live in the crates that understand them; here they are listed for the commands that look
//! after the whole cache.

use rewarm_store::{Format, RecordInfo, Store};

use crate::commands::packages;

/// Every format that this version reads.
pub(crate) fn known() -> Vec<Format> {
    [
        rewarm_store::formats().as_slice(),
        rewarm_http::formats().as_slice(),
        rewarm_env::formats().as_slice(),
        rewarm_activation::formats().as_slice(),
        rewarm_check::formats().as_slice(),
        rewarm_task::formats().as_slice(),
        packages::formats().as_slice(),
    ]
    .concat()
}

/// What a record is about, in words; its key where nothing better is known.
pub(crate) fn describe(store: &Store, record: &RecordInfo) -> String {
    let named = match record.is_known {
        true => rewarm_store::describe(store, record)
            .or_else(|| rewarm_http::describe(store, record))
            .or_else(|| rewarm_env::describe(store, record))
            .or_else(|| rewarm_activation::describe(store, record))
            .or_else(|| rewarm_check::describe(store, record))
            .or_else(|| rewarm_task::describe(store, record))
            .or_else(|| packages::describe(&record.kind)),
        false => None,
    };
    named.unwrap_or_else(|| record.key.to_string())
}
