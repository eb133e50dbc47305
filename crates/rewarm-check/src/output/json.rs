//! rewarm's own JSON: an object with a list of checkers, each with its messages.

use serde_json::{Value, json};

use super::{Findings, Severity};

/// The form of the object; fields may be added without a new number.
const VERSION: u32 = 1;

/// The messages of all checkers as one JSON object and a line end.
pub fn json(findings: &[Findings]) -> Vec<u8> {
    let tools: Vec<Value> = findings
        .iter()
        .map(|found| {
            let mut object = json!({
                "tool": found.tool,
                "exit_code": found.exit_code,
                "replayed": found.replayed,
                "errors": found.count(Severity::Error),
                "warnings": found.count(Severity::Warning),
                "diagnostics": found.diagnostics,
            });
            if let Some(partition) = &found.partition {
                object["partition"] = partition.as_str().into();
            }
            object
        })
        .collect();
    super::sarif::text(&json!({ "version": VERSION, "tools": tools }))
}
