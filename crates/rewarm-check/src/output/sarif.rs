//! SARIF 2.1.0 (OASIS): one run for each checker and partition.
//!
//! Paths below the repository are given relative to `%SRCROOT%` (section 3.4.4), others as absolute
//! `file:` URIs. Columns count characters, as the checkers do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Diagnostic, Findings, Location, Severity};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The messages of all checkers as a SARIF log and a line end.
pub fn sarif(findings: &[Findings]) -> Vec<u8> {
    let runs: Vec<Value> = findings.iter().map(run).collect();
    text(&json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": runs }))
}

/// A value as text.
pub(super) fn text(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}

fn run(findings: &Findings) -> Value {
    let mut rules = BTreeMap::new();
    for code in findings.diagnostics.iter().filter_map(|found| found.code.as_ref()) {
        rules.entry(code.as_str()).or_insert(0);
    }
    for (index, position) in rules.values_mut().enumerate() {
        *position = index;
    }
    let results: Vec<Value> =
        findings.diagnostics.iter().map(|found| result(found, &rules)).collect();
    let descriptors: Vec<Value> = rules.keys().map(|code| json!({ "id": code })).collect();
    let mut run = json!({
        "tool": { "driver": {
            "name": findings.tool,
            "informationUri": home(findings.tool),
            "rules": descriptors,
        } },
        "columnKind": "unicodeCodePoints",
        // The run went well if it came to an answer, whatever that is (3.20.14).
        "invocations": [{
            "executionSuccessful": (0..2).contains(&findings.exit_code),
            "exitCode": findings.exit_code,
        }],
        "results": results,
    });
    if let Some(partition) = &findings.partition {
        // The last component would be the name of this one run (3.17.3).
        run["automationDetails"] = json!({ "id": format!("{}/{partition}/", findings.tool) });
    }
    run
}

fn home(tool: &str) -> &'static str {
    match tool {
        "ty" => "https://docs.astral.sh/ty/",
        "pyright" => "https://microsoft.github.io/pyright/",
        "pyrefly" => "https://pyrefly.org/",
        "zuban" => "https://docs.zubanls.com/",
        _ => "https://mypy.readthedocs.io/",
    }
}

fn result(found: &Diagnostic, rules: &BTreeMap<&str, usize>) -> Value {
    let level = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    // What has no place of its own is part of the message.
    let mut message = found.message.clone();
    let placed = |note: &&super::Note| note.location.is_some();
    for note in found.notes.iter().filter(|note| !placed(note)) {
        message.push('\n');
        message.push_str(&note.message);
    }
    let mut result = json!({ "level": level, "message": { "text": message } });
    if let Some(code) = &found.code {
        result["ruleId"] = code.as_str().into();
        result["ruleIndex"] = rules[code.as_str()].into();
    }
    if let Some(location) = &found.location {
        result["locations"] = json!([{ "physicalLocation": physical(location) }]);
    }
    let related: Vec<Value> = found
        .notes
        .iter()
        .filter_map(|note| Some((note.location.as_ref()?, &note.message)))
        .map(|(place, message)| {
            json!({ "physicalLocation": physical(place), "message": { "text": message } })
        })
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    result
}

fn physical(location: &Location) -> Value {
    let uri = encoded(&location.path);
    let artifact = if location.path.starts_with('/') {
        json!({ "uri": format!("file://{uri}") })
    } else {
        json!({ "uri": uri, "uriBaseId": "%SRCROOT%" })
    };
    let mut physical = json!({ "artifactLocation": artifact });
    // A region without a line is none (3.30.5).
    if let Some(line) = location.line {
        let mut region = json!({ "startLine": line });
        let more = [
            ("startColumn", location.column),
            ("endLine", location.end_line),
            // SARIF's is the one after the last (3.30.8).
            ("endColumn", location.end_column.map(|column| column + 1)),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                region[name] = value.into();
            }
        }
        physical["region"] = region;
    }
    physical
}

/// A path as part of a URI (RFC 3986): what is not unreserved is escaped.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
