//! GitHub workflow commands: one line for each message, which becomes an annotation.
//!
//! Values are escaped as the runner undoes it: `%`, carriage return and line feed everywhere, `:` and
//! `,` in properties too.

use super::{Findings, Severity, whole_text};

/// The messages of all checkers as workflow commands.
pub fn github(findings: &[Findings]) -> Vec<u8> {
    let mut text = String::new();
    for Findings { tool, diagnostics, .. } in findings {
        for diagnostic in diagnostics {
            let command = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "notice",
            };
            let title = match &diagnostic.code {
                Some(code) => format!("{tool}: {code}"),
                None => (*tool).to_owned(),
            };
            let mut properties = Vec::new();
            if let Some(place) = &diagnostic.location {
                properties.push(("file", place.path.clone()));
                let numbers = [
                    ("line", place.line),
                    ("col", place.column),
                    ("endLine", place.end_line),
                    ("endColumn", place.end_column),
                ];
                let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, value?)));
                properties.extend(numbers.map(|(name, value)| (name, value.to_string())));
            }
            properties.push(("title", title));
            let properties: Vec<String> = properties
                .into_iter()
                .map(|(name, value)| format!("{name}={}", escape(&value, true)))
                .collect();
            let message = escape(&whole_text(diagnostic), false);
            text.push_str(&format!("::{command} {}::{message}\n", properties.join(",")));
        }
    }
    text.into_bytes()
}

fn escape(text: &str, is_property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if is_property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}
