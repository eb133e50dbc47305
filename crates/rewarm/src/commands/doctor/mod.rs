//! `rewarm doctor`: looks for what is wrong or slower than it could be, and says what mends it.
//!
//! Each check looks at one thing and gives its findings as values; nothing is changed, and a check
//! that fails is a finding too. Exits with 1 if anything is wrong, with 0 if all of it works.

mod cache;
mod network;
mod project;
mod workers;

use serde_json::json;

use crate::commands::{print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// As it should be.
    Fine,
    /// It works, but not as well as it could.
    Slow,
    /// It does not work.
    Wrong,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Slow => "note",
            Self::Wrong => "wrong",
        }
    }
}

/// What a check found.
#[derive(Debug)]
struct Finding {
    level: Level,
    /// What was looked at, in one or two words.
    what: &'static str,
    /// What is the case.
    text: String,
    /// Commands or settings that mend it, a line each.
    mends: Vec<String>,
}

impl Finding {
    fn fine(what: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fine, what, text: text.into(), mends: Vec::new() }
    }

    fn slow(what: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Slow, what, text: text.into(), mends: vec![mend.into()] }
    }

    fn wrong(what: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Wrong, what, text: text.into(), mends: vec![mend.into()] }
    }

    fn failure(what: &'static str, failure: &Failure) -> Self {
        let (text, mends) = (failure.chain().join(": "), failure.hints().to_vec());
        Self { level: Level::Wrong, what, text, mends }
    }
}

pub(crate) fn run(context: &Context<'_>) -> Outcome {
    let mut findings = cache::check(context);
    findings.extend(network::check(context));
    findings.extend(project::check(context));
    findings.extend(workers::check(context));
    let is_wrong = findings.iter().any(|finding| finding.level == Level::Wrong);
    if context.settings.json {
        print_json(&json!(findings.iter().map(as_json).collect::<Vec<_>>()))?;
    } else {
        print(as_text(&findings).as_bytes())?;
    }
    Ok(u8::from(is_wrong))
}

fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { level, what, text: is, mends } = finding;
        text += &format!("{:<5}  {what:<12}  {is}\n", level.word());
        for mend in mends {
            text += &format!("{:<21}> {mend}\n", "");
        }
    }
    text
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "level": finding.level.word(),
        "what": finding.what,
        "text": finding.text,
        "mends": finding.mends,
    })
}
