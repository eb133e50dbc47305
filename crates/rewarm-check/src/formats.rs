//! The formats of record that this crate keeps, and what to call their entries.

use rewarm_store::{Format, RecordInfo, Store};

use crate::entries::{Batch, Build, Variants};
use crate::graph::{Pack, Targets};
use crate::interpreter::Interpreter;
use crate::replay::{Answers, Trace};
use crate::tools::Told;
use crate::witness::Stored;

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 10] {
    [
        Format::of::<Answers>(),
        Format::of::<Trace>(),
        Format::of::<Interpreter>(),
        Format::of::<Stored>(),
        Format::of::<Variants>(),
        Format::of::<Batch>(),
        Format::of::<Build>(),
        Format::of::<Told>(),
        Format::of::<Pack>(),
        Format::of::<Targets>(),
    ]
}

/// What a record is about: the last line of a kept answer. `None` if it is not an answer or cannot
/// be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    let stdout = if record.kind == Format::of::<Answers>().name {
        let answers: Answers = store.read(&record.key)?;
        answers.answers.into_iter().next()?.stdout
    } else if record.kind == Format::of::<Told>().name {
        store.read::<Told>(&record.key)?.stdout
    } else {
        return None;
    };
    String::from_utf8_lossy(&stdout).lines().next_back().map(str::to_owned)
}
