//! JUnit XML: a suite for each checker and partition, in it a failed test for each file with errors.
//!
//! A checker without errors has one test that passed, so that a report is never empty.

use std::collections::BTreeMap;

use super::{Diagnostic, Findings, Severity, whole_text};

/// The messages of all checkers as a JUnit report.
pub fn junit(findings: &[Findings]) -> Vec<u8> {
    let suites: Vec<(String, [usize; 3])> = findings.iter().map(suite).collect();
    let sum = |index: usize| suites.iter().map(|(_, counts)| counts[index]).sum::<usize>();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!(
        "<testsuites name=\"rewarm check\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
        sum(0),
        sum(1),
        sum(2)
    ));
    suites.iter().for_each(|(suite, _)| text.push_str(suite));
    text.push_str("</testsuites>\n");
    text.into_bytes()
}

/// A suite, with the number of its tests, failures and errors.
fn suite(findings: &Findings) -> (String, [usize; 3]) {
    let mut files: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    let mut lost = Vec::new();
    for found in findings.diagnostics.iter().filter(|found| found.severity == Severity::Error) {
        match &found.location {
            Some(location) => files.entry(&location.path).or_default().push(found),
            None => lost.push(found),
        }
    }
    let tool = escape(findings.tool);
    let mut cases = String::new();
    for (path, found) in &files {
        let path = escape(path);
        cases.push_str(&format!("    <testcase classname=\"{tool}\" name=\"{path}\">\n"));
        let first = escape(&found[0].message);
        let kind = escape(found[0].code.as_deref().unwrap_or("error"));
        let lines: Vec<String> = found.iter().map(|found| line(found)).collect();
        let body = escape(&lines.join("\n"));
        cases.push_str(&format!(
            "      <failure type=\"{kind}\" message=\"{first}\">{body}</failure>\n    </testcase>\n"
        ));
    }
    for found in &lost {
        let body = escape(&whole_text(found));
        cases.push_str(&format!(
            "    <testcase classname=\"{tool}\" name=\"{tool}\">\n      \
             <error type=\"exit code {}\">{body}</error>\n    </testcase>\n",
            findings.exit_code
        ));
    }
    if cases.is_empty() {
        cases = format!("    <testcase classname=\"{tool}\" name=\"{tool}\"/>\n");
    }
    let counts = [(files.len() + lost.len()).max(1), files.len(), lost.len()];
    let [tests, failures, errors] = counts;
    let name = match &findings.partition {
        Some(partition) => format!("{tool}: {}", escape(partition)),
        None => tool,
    };
    let head = format!(
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">\n"
    );
    (format!("{head}{cases}  </testsuite>\n"), counts)
}

fn line(found: &Diagnostic) -> String {
    let place = found.location.as_ref().and_then(|location| location.line);
    let place = place.map(|line| format!("{line}: ")).unwrap_or_default();
    let code = found.code.as_ref().map(|code| format!("  [{code}]")).unwrap_or_default();
    let (first, rest) = (&found.message, whole_text(found)[found.message.len()..].to_owned());
    format!("{place}{first}{code}{rest}")
}

/// Text for an attribute or between tags; what XML 1.0 cannot hold at all (section 2.2) becomes the
/// replacement character.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // A parser would make a space of them in an attribute.
            '\n' | '\t' | '\r' => escaped.push_str(&format!("&#{};", u32::from(c))),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
