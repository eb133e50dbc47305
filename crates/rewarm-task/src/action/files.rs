//! The files that patterns match, as pixi finds them.
//!
//! Patterns are those of `.gitignore`, relative to the workspace, the last one that matches
//! counting; `!` excludes. A name without wildcards is that file, or all below that directory.
//! What is hidden is found only by a pattern that says so. Directories that no pattern can reach are
//! not looked into.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use ignore::Match;
use ignore::overrides::{Override, OverrideBuilder};

/// Patterns that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("`{0}` leads out of the workspace")]
    Outside(String),
    #[error("`{pattern}` is no pattern")]
    Syntax { pattern: String, source: ignore::Error },
}

/// Compiled patterns.
#[derive(Debug)]
pub(crate) struct Patterns {
    root: PathBuf,
    all: Override,
    /// Those that mention something hidden, and those that exclude.
    hidden: Override,
    /// Names of hidden directories that a pattern mentions.
    hidden_names: Vec<String>,
    /// Where to look: directories or files, none below another.
    bases: Vec<PathBuf>,
}

/// Files, by their paths relative to the workspace; empty directories among outputs.
pub(crate) type Files = BTreeMap<PathBuf, Metadata>;

const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

impl Patterns {
    /// Compiles patterns for a workspace.
    pub(crate) fn new(root: &Path, patterns: &[String]) -> Result<Self, PatternError> {
        let mut all = OverrideBuilder::new(root);
        let mut hidden = OverrideBuilder::new(root);
        let (mut hidden_names, mut bases) = (Vec::new(), Vec::new());
        for pattern in patterns {
            let (negation, body) = match pattern.strip_prefix('!') {
                Some(body) => ("!", body),
                None => ("", pattern.as_str()),
            };
            let body = body.strip_prefix("./").unwrap_or(body);
            let is_inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if body.is_empty() || !Path::new(body).components().all(is_inside) {
                return Err(PatternError::Outside(pattern.clone()));
            }
            let glob = format!("{negation}{}", anchored(root, body));
            let syntax = |source| PatternError::Syntax { pattern: pattern.clone(), source };
            all.add(&glob).map_err(syntax)?;
            let names = body.split('/').filter(|name| name.starts_with('.')).map(str::to_owned);
            let names: Vec<String> = names.collect();
            if !negation.is_empty() || !names.is_empty() {
                hidden.add(&glob).map_err(syntax)?;
            }
            if negation.is_empty() {
                hidden_names.extend(names);
                bases.push(root.join(base(body)));
            }
        }
        let build = |builder: OverrideBuilder| {
            builder
                .build()
                .map_err(|source| PatternError::Syntax { pattern: patterns.join("`, `"), source })
        };
        bases.sort();
        bases.dedup_by(|below, above| below.starts_with(above));
        let (all, hidden) = (build(all)?, build(hidden)?);
        Ok(Self { root: root.to_owned(), all, hidden, hidden_names, bases })
    }

    /// The files that are there now, links followed.
    pub(crate) fn inputs(&self) -> io::Result<Files> {
        self.find(true)
    }

    /// The files, links and empty directories that are there now.
    pub(crate) fn outputs(&self) -> io::Result<Files> {
        self.find(false)
    }

    fn find(&self, follow: bool) -> io::Result<Files> {
        let mut files = Files::new();
        for base in &self.bases {
            self.visit(base, follow, &mut Vec::new(), &mut files)?;
        }
        Ok(files)
    }

    /// `above` are the directories that lead here, so that no link leads in a circle.
    fn visit(
        &self,
        path: &Path,
        follow: bool,
        above: &mut Vec<(u64, u64)>,
        files: &mut Files,
    ) -> io::Result<()> {
        let metadata = match (follow, fs::symlink_metadata(path)) {
            (true, Ok(link)) if link.is_symlink() => fs::metadata(path).or(Ok(link)),
            (_, other) => other,
        };
        let metadata = match metadata {
            Err(error) if is_absence(&error) => return Ok(()),
            other => other?,
        };
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        let verdict = self.verdict(relative, metadata.is_dir());
        if !metadata.is_dir() {
            if verdict.is_whitelist() {
                files.insert(relative.to_owned(), metadata);
            }
            return Ok(());
        }
        let id = (metadata.dev(), metadata.ino());
        if verdict.is_ignore() || above.contains(&id) {
            return Ok(());
        }
        let mut names = match fs::read_dir(path) {
            Err(error) if is_absence(&error) => return Ok(()),
            entries => {
                entries?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?
            }
        };
        names.sort();
        if names.is_empty() && !follow && (verdict.is_whitelist() || self.is_base(path)) {
            files.insert(relative.to_owned(), metadata);
        }
        above.push(id);
        for name in names {
            self.visit(&path.join(name), follow, above, files)?;
        }
        above.pop();
        Ok(())
    }

    fn is_base(&self, path: &Path) -> bool {
        path != self.root && self.bases.iter().any(|base| base == path)
    }

    fn verdict(&self, relative: &Path, is_dir: bool) -> Match<()> {
        if relative.as_os_str().is_empty() {
            return Match::None;
        }
        let parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
        let hidden: Vec<_> = parts.filter(|name| name.starts_with('.')).collect();
        if hidden.is_empty() {
            return self.all.matched(relative, is_dir).map(drop);
        }
        let is_mentioned =
            |name: &str| self.hidden_names.iter().any(|own| own == name || own.contains(WILDCARDS));
        if !hidden.iter().all(|name| is_mentioned(name)) {
            return Match::Ignore(());
        }
        self.hidden.matched(relative, is_dir).map(drop)
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The pattern as `.gitignore` would have it.
fn anchored(root: &Path, body: &str) -> String {
    let is_literal = !body.contains(WILDCARDS);
    if let Some(dir) = body.strip_suffix('/') {
        format!("/{dir}/**")
    } else if is_literal && root.join(body).is_dir() {
        format!("/{body}/**")
    } else if is_literal {
        format!("/{body}")
    } else {
        body.to_owned()
    }
}

/// The part of a pattern that has no wildcards, as a directory or file to start from.
fn base(body: &str) -> &str {
    match body.find(WILDCARDS) {
        None => body.trim_end_matches('/'),
        Some(first) => body[..first].rfind('/').map_or("", |slash| &body[..slash]),
    }
}
