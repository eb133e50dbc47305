//! Which projects there are: upwards from a path, and below a directory.
//!
//! A project is a directory with a configuration of mypy (or of `rewarm check`), or with an
//! environment of its own or what one is made from. Nothing is entered or installed here. Below a
//! directory, hidden ones, `node_modules`, `__pycache__`, `site-packages` and environments are left out, links
//! are not followed, and what git is told to ignore does not count.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::commands::check::partition::Named;
use crate::environment::unreadable;
use crate::error::Failure;

/// The nearest project from a canonical directory upwards.
pub(super) fn nearest(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|dir| Marks::of(dir).any()).map(Path::to_owned)
}

/// The nearest directory above a project that has an environment which the project may share: one of
/// the same repository or, where there is none, of the working directory `here`.
pub(super) fn lender(project: &Path, here: &Path) -> Option<PathBuf> {
    let repository = project.ancestors().find(|dir| is_repository(dir));
    let top = repository.or_else(|| project.starts_with(here).then_some(here))?;
    let above = project.ancestors().skip(1).take_while(|dir| dir.starts_with(top));
    above.filter(|dir| Marks::of(dir).environment).map(Path::to_owned).next()
}

/// Where a path lies that was given in `cwd`. What is not there lies where it would be.
pub(super) fn locate(cwd: &Path, given: &OsStr) -> Named {
    let unknown = Named { given: given.to_owned(), project: None };
    // An option or a list of arguments in a file.
    if [b'-', b'@'].iter().any(|mark| given.as_bytes().starts_with(&[*mark])) {
        return unknown;
    }
    let path = cwd.join(given);
    let (mut directory, mut below) = (path.as_path(), PathBuf::new());
    // The name of a link to a file is its own, that of a link to a directory means nothing to mypy.
    while !directory.is_dir() {
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return unknown;
        };
        below =
            if below.as_os_str().is_empty() { name.into() } else { Path::new(name).join(below) };
        directory = parent;
    }
    let Ok(directory) = directory.canonicalize() else { return unknown };
    let project = nearest(&directory).map(|project| {
        let within = directory.strip_prefix(&project).unwrap_or(Path::new(""));
        let path = match below.as_os_str().is_empty() {
            true => within.to_owned(),
            false => within.join(&below),
        };
        (project, path)
    });
    Named { given: given.to_owned(), project }
}

/// All projects at and below a canonical directory, sorted. Those with nothing but an environment count
/// only if there is a source.
pub(super) fn below(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    walk(root, &mut found).map_err(|error| unreadable(root, error))?;
    found.sort();
    Ok(without_ignored(root, found))
}

/// Takes in what is at and below a directory, and says whether there is a source.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<bool> {
    const SKIPPED: [&str; 3] = ["node_modules", "__pycache__", "site-packages"];
    let mut has_source = false;
    let mut inner = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let (entry, name) = entry.map(|entry| (entry.file_type(), entry.file_name()))?;
        let Ok(kind) = entry else { continue };
        let is_hidden = name.as_bytes().starts_with(b".");
        if kind.is_dir() && !is_hidden && !SKIPPED.iter().any(|skipped| name == *skipped) {
            inner.push(directory.join(name));
        } else if !kind.is_dir() && !is_hidden {
            let extension = Path::new(&name).extension();
            has_source |=
                extension.is_some_and(|extension| extension == "py" || extension == "pyi");
        }
    }
    for directory in inner {
        let is_environment = ["pyvenv.cfg", "conda-meta"].map(|name| directory.join(name));
        if !is_environment.iter().any(|mark| mark.exists()) {
            // Who may not look there has nothing to check there.
            has_source |= walk(&directory, found).unwrap_or_default();
        }
    }
    let marks = Marks::of(directory);
    if marks.configuration || marks.environment && has_source {
        found.push(directory.to_owned());
    }
    Ok(has_source)
}

/// What makes a directory a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// What checkers are told.
    configuration: bool,
    /// An environment, or what it is made from.
    environment: bool,
}

impl Marks {
    fn of(directory: &Path) -> Self {
        let has = |name: &str| directory.join(name).exists();
        let project = tool_tables(&directory.join("pyproject.toml"));
        Self {
            configuration: has("mypy.ini")
                || has(".mypy.ini")
                || has("rewarm.toml")
                || project.checks
                || names_mypy(&directory.join("setup.cfg")),
            environment: ["uv.lock", "pylock.toml", "pixi.toml", ".venv/pyvenv.cfg"]
                .into_iter()
                .any(has)
                || project.pixi,
        }
    }

    fn any(self) -> bool {
        self.configuration || self.environment
    }
}

/// Whether `setup.cfg` has a section for mypy.
fn names_mypy(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == b"[mypy]")
}

/// What a `pyproject.toml` has settings for.
#[derive(Debug, Clone, Copy, Default)]
struct ToolTables {
    checks: bool,
    pixi: bool,
}

fn tool_tables(path: &Path) -> ToolTables {
    let Ok(text) = std::fs::read_to_string(path) else { return ToolTables::default() };
    // Most have neither, and need not be parsed.
    if !["mypy", "rewarm", "pixi"].iter().any(|name| text.contains(name)) {
        return ToolTables::default();
    }
    let Ok(document) = text.parse::<toml::Table>() else {
        // Whoever enters it is told what is wrong, and where.
        return ToolTables { checks: text.contains("[tool.mypy"), pixi: false };
    };
    let Some(tool) = document.get("tool") else { return ToolTables::default() };
    let has = |name: &str| tool.get(name).is_some();
    let checks = has("mypy") || tool.get("rewarm").is_some_and(|own| own.get("check").is_some());
    ToolTables { checks, pixi: has("pixi") }
}

fn is_repository(directory: &Path) -> bool {
    [".git", ".hg", ".jj"].iter().any(|name| directory.join(name).exists())
}

/// Leaves out what git is told to ignore, in whichever repository it lies. Where git cannot say, nothing
/// is ignored.
fn without_ignored(root: &Path, found: Vec<PathBuf>) -> Vec<PathBuf> {
    // A repository within another one says what is below it; the outer one, whether it counts at all.
    let mut questions: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for project in &found {
        let mut path = project.as_path();
        while path != root && path.starts_with(root) {
            let Some(above) = path.ancestors().skip(1).find(|dir| dir.join(".git").exists()) else {
                break;
            };
            let asked = questions.entry(above).or_default();
            if !asked.contains(&path) {
                asked.push(path);
            }
            path = above;
        }
    }
    let ignored = questions.iter().flat_map(|(repository, paths)| ignored(repository, paths));
    let ignored: Vec<PathBuf> = ignored.collect();
    let counts = |project: &PathBuf| !ignored.iter().any(|above| project.starts_with(above));
    found.iter().filter(|project| counts(project)).cloned().collect()
}

/// Which of the paths git ignores.
fn ignored(repository: &Path, paths: &[&Path]) -> Vec<PathBuf> {
    let mut question = Vec::new();
    for path in paths {
        question.extend_from_slice(path.as_os_str().as_bytes());
        question.push(0);
    }
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["check-ignore", "-z", "--stdin"]);
    command.env("GIT_OPTIONAL_LOCKS", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut git) = command.spawn() else { return Vec::new() };
    let stdin = git.stdin.take();
    let answer = std::thread::scope(|scope| {
        scope.spawn(move || {
            // One that ends early has nothing to say either.
            stdin.map(|mut stdin| stdin.write_all(&question))
        });
        git.wait_with_output()
    });
    let Ok(answer) = answer else { return Vec::new() };
    let names = answer.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsString::from(OsStr::from_bytes(name)))).collect()
}
