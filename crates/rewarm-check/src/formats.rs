//! The formats of record that this crate keeps, and what to call their entries.

use rewarm_store::{Format, RecordInfo, Store};

use crate::entries::{Build, Variants};
use crate::interpreter::Interpreter;
use crate::replay::{Answers, Trace};
use crate::witness::Stored;

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 6] {
    [
        Format::of::<Answers>(),
        Format::of::<Trace>(),
        Format::of::<Interpreter>(),
        Format::of::<Stored>(),
        Format::of::<Variants>(),
        Format::of::<Build>(),
    ]
}

/// What a record is about: the last line of a kept answer. `None` if it is not an answer or cannot
/// be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    if record.kind != Format::of::<Answers>().name {
        return None;
    }
    let answers: Answers = store.read(&record.key)?;
    let text = String::from_utf8_lossy(&answers.answers.first()?.stdout).into_owned();
    text.lines().next_back().map(str::to_owned)
}
