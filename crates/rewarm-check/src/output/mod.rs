//! What checkers said, for programs: JSON, GitHub workflow commands, SARIF and JUnit XML.
//!
//! [`diagnostics`] reads a checker's text as it was printed, so that a replayed answer and a fresh one
//! give the same, and no checker runs twice. Whatever cannot be read as a message is not lost: if
//! errors were reported and none was understood, the whole text becomes one message without a place.

mod github;
mod json;
mod junit;
mod parse;
mod sarif;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use github::github;
pub use json::json;
pub use junit::junit;
pub use parse::diagnostics;
pub use sarif::sarif;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Only told, for example by `reveal_type`.
    Note,
    /// Does not fail the check.
    Warning,
    /// Fails the check.
    Error,
}

/// A place in a file; lines and columns count from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// Relative to the repository with `/`, or absolute if it lies elsewhere.
    pub path: String,
    /// The line; `None` if the message is about the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column, if the checker tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_line: Option<u32>,
    /// The last column, if the checker tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_column: Option<u32>,
}

/// Something that belongs to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where, if not at the place of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// What.
    pub message: String,
}

/// One message of a checker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Where; `None` if it is about the run.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// How bad it is.
    pub severity: Severity,
    /// The checker's name for this sort of message, for example `arg-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What.
    pub message: String,
    /// What belongs to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// One checker's answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The checker's name.
    pub tool: &'static str,
    /// Which part was checked, for example a project, if there are others in the same report.
    pub partition: Option<String>,
    /// Its own exit code.
    pub exit_code: i32,
    /// Whether the answer is an earlier one.
    pub replayed: bool,
    /// Its messages in the order in which they were printed.
    pub diagnostics: Vec<Diagnostic>,
}

impl Findings {
    fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == severity).count()
    }
}

/// Where printed paths start and where told ones shall.
#[derive(Debug, Clone)]
pub struct Bases {
    /// The working directory of the checker.
    pub cwd: PathBuf,
    /// The root of the repository.
    pub repository: PathBuf,
}

impl Bases {
    /// A printed path, from the repository's root.
    fn told(&self, printed: &str) -> String {
        let path = crate::places::absolute(&self.cwd, Path::new(printed));
        let told = path.strip_prefix(&self.repository).unwrap_or(&path);
        told.to_string_lossy().into_owned()
    }
}

/// The message with what belongs to it, one line each.
fn whole_text(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    for note in &diagnostic.notes {
        text.push('\n');
        if let Some(location) = &note.location {
            text.push_str(&location.path);
            if let Some(line) = location.line {
                text.push_str(&format!(":{line}"));
            }
            text.push_str(": ");
        }
        text.push_str(&note.message);
    }
    text
}
