//! Where the answers go, and in which form: `--output FORMAT[=FILE]`.
//!
//! The text is the checkers' own, as printed. Reports to files come beside what is on standard
//! output; forms that are one document (JSON, SARIF, JUnit) have standard output to themselves. A
//! report is written beside its file and renamed, so that no half of one is ever seen.

use std::io::Write;
use std::path::{Path, PathBuf};

use rewarm_check::output::{self, Bases, Findings};

use crate::commands::check::Answer;
use crate::error::Failure;

/// A form of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As printed by the checkers.
    Text,
    /// rewarm's own.
    Json,
    /// Workflow commands.
    Github,
    /// SARIF 2.1.0.
    Sarif,
    /// JUnit XML.
    Junit,
}

impl Format {
    /// Whether it is one document, however many answers there are.
    fn is_whole(&self) -> bool {
        !matches!(self, Self::Text | Self::Github)
    }
}

const FORMATS: [(&str, Format); 5] = [
    ("text", Format::Text),
    ("json", Format::Json),
    ("github", Format::Github),
    ("sarif", Format::Sarif),
    ("junit", Format::Junit),
];

/// What goes where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outputs {
    stdout: Vec<Format>,
    files: Vec<(Format, PathBuf)>,
}

impl Outputs {
    /// Reads `--output`; files are relative to `cwd`.
    pub(super) fn parse(values: &[String], cwd: &Path) -> Result<Self, Failure> {
        let mut outputs = Self::default();
        for value in values {
            let (name, file) = match value.split_once('=') {
                Some((name, file)) => (name, Some(file)),
                None => (value.as_str(), None),
            };
            let known = FORMATS.iter().find(|(known, _)| *known == name);
            let Some((_, format)) = known else {
                let names = FORMATS.map(|(name, _)| name).join("`, `");
                return Err(Failure::usage(format!("`--output` does not know the form `{name}`"))
                    .hint(format!("it can be `{names}`")));
            };
            match file {
                Some("") => {
                    return Err(Failure::usage(format!("`--output {name}=` names no file"))
                        .hint(format!("`--output {name}` alone writes to standard output")));
                }
                Some(file) => outputs.files.push((*format, cwd.join(file))),
                None if outputs.stdout.contains(format) => {}
                None => outputs.stdout.push(*format),
            }
        }
        if outputs.stdout.is_empty() {
            outputs.stdout.push(Format::Text);
        }
        match outputs.stdout.iter().find(|format| format.is_whole()) {
            Some(whole) if outputs.stdout.len() > 1 => {
                let (name, _) = FORMATS[*whole as usize];
                Err(Failure::usage(format!(
                    "`{name}` cannot share standard output with another form"
                ))
                .hint(format!("name a file: `--output {name}=FILE`")))
            }
            _ => Ok(outputs),
        }
    }

    /// Writes everything.
    pub(super) fn write(&self, answers: &[Answer]) -> Result<(), Failure> {
        let answers: Vec<&Answer> = answers.iter().collect();
        self.write_whole(&answers)?;
        self.print(&answers)
    }

    /// Writes what is one document for all answers: files, and standard output in such a form.
    pub(super) fn write_whole(&self, answers: &[&Answer]) -> Result<(), Failure> {
        let is_whole = self.stdout.iter().any(Format::is_whole);
        let is_needed = !self.files.is_empty() || is_whole;
        let findings = if is_needed { findings(answers) } else { Vec::new() };
        for (format, path) in &self.files {
            let bytes = rendered(*format, answers, &findings);
            replace(path, &bytes).map_err(|error| {
                let text = format!("cannot write `{}`: {error}", path.display());
                Failure::world(std::io::Error::new(error.kind(), text))
            })?;
        }
        self.to_stdout(Format::is_whole, answers, &findings)
    }

    /// Prints what can be printed for one answer after the other, and what the checkers complained of.
    pub(super) fn print(&self, answers: &[&Answer]) -> Result<(), Failure> {
        let is_needed = self.stdout.contains(&Format::Github);
        let findings = if is_needed { findings(answers) } else { Vec::new() };
        self.to_stdout(|format| !format.is_whole(), answers, &findings)?;
        let mut stderr = std::io::stderr().lock();
        for answer in answers {
            stderr.write_all(&answer.report.stderr)?;
        }
        Ok(())
    }

    fn to_stdout(
        &self,
        is_meant: impl Fn(&Format) -> bool,
        answers: &[&Answer],
        findings: &[Findings],
    ) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        for format in self.stdout.iter().filter(|format| is_meant(format)) {
            stdout.write_all(&rendered(*format, answers, findings))?;
        }
        Ok(stdout.flush()?)
    }
}

fn rendered(format: Format, answers: &[&Answer], findings: &[Findings]) -> Vec<u8> {
    match format {
        Format::Text => {
            answers.iter().flat_map(|answer| answer.report.stdout.iter().copied()).collect()
        }
        Format::Json => output::json(findings),
        Format::Github => output::github(findings),
        Format::Sarif => output::sarif(findings),
        Format::Junit => output::junit(findings),
    }
}

/// The answers, read. Paths are told from the root of the repository, or of the project where there
/// is none.
pub(super) fn findings(answers: &[&Answer]) -> Vec<Findings> {
    let is_root = |dir: &&Path| [".git", ".hg", ".jj"].iter().any(|name| dir.join(name).exists());
    answers
        .iter()
        .map(|Answer { tool, partition, report, project, cwd, .. }| {
            let cwd = cwd.canonicalize().unwrap_or_else(|_| cwd.clone());
            let repository = cwd.ancestors().find(is_root).unwrap_or(project).to_owned();
            let bases = Bases { cwd, repository };
            let streams = (report.stdout.as_slice(), report.stderr.as_slice());
            let exit_code = report.exit_code;
            Findings {
                tool: tool.name(),
                partition: partition.clone(),
                exit_code,
                replayed: report.reuse == rewarm_check::Reuse::Replayed,
                diagnostics: output::diagnostics(tool.name(), streams, exit_code, &bases),
            }
        })
        .collect()
}

/// Puts a file in place of another, or of none.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let parent = path.parent().unwrap_or(Path::new("/"));
    // The process's mask applies, as to any file that a user has written.
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(parent)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Outputs, Failure> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        Outputs::parse(&values, Path::new("/w"))
    }

    #[test]
    fn files_come_beside_standard_output() {
        let outputs = parse(&["sarif=a/b.sarif", "junit=/c.xml"]).expect("outputs");
        assert_eq!(outputs.stdout, [Format::Text]);
        let files =
            [(Format::Sarif, "/w/a/b.sarif".into()), (Format::Junit, PathBuf::from("/c.xml"))];
        assert_eq!(outputs.files, files);
        let both = parse(&["text", "github", "text"]).expect("outputs");
        assert_eq!(both.stdout, [Format::Text, Format::Github]);
    }

    #[test]
    fn misuse_names_the_mend() {
        for (values, mend) in [
            (&["xml"][..], "`text`, `json`, `github`, `sarif`, `junit`"),
            (&["sarif="], "`--output sarif` alone"),
            (&["text", "sarif"], "`--output sarif=FILE`"),
            (&["json", "github"], "`--output json=FILE`"),
        ] {
            let failure = parse(values).expect_err("misuse");
            assert!(failure.hints().iter().any(|hint| hint.contains(mend)), "{values:?}");
        }
    }
}
