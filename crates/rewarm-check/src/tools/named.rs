//! Paths that arguments, variables and configuration files name.
//!
//! They can lie anywhere: further search paths, another typeshed, a baseline. No option is
//! understood here: whatever could be a path and is one counts. What is no path today is looked for
//! again by every later lookup.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::places::absolute;

/// The value of a variable.
pub(crate) type Values<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Files and directories that an argument could mean.
pub(crate) fn of_argument(argument: &OsStr, cwd: &Path) -> Vec<PathBuf> {
    let bytes = argument.as_bytes();
    let value = bytes.iter().position(|byte| *byte == b'=').map(|at| &bytes[at + 1..]);
    // `-cFILE`, and the parts of a list.
    let short = (bytes.len() > 2 && bytes[0] == b'-' && bytes[1] != b'-').then(|| &bytes[2..]);
    let mut found = Vec::new();
    for text in [Some(bytes), value, short].into_iter().flatten() {
        for part in text.split(|byte| b":,\"'[] ".contains(byte)).chain([text]) {
            if !part.is_empty() {
                found.push(absolute(cwd, Path::new(OsStr::from_bytes(part))));
            }
        }
    }
    present(found)
}

/// Files and directories that the text of a configuration file could mean.
pub(crate) fn of_text(text: &str, bases: &[&Path], values: Values<'_>) -> Vec<PathBuf> {
    let ends = |c: char| c.is_whitespace() || "\"',;=[](){}:".contains(c);
    let mut found = Vec::new();
    for token in text.split(ends).filter(|token| !token.is_empty()) {
        let token = expand(token, values);
        for base in bases {
            found.push(absolute(base, Path::new(&token)));
        }
    }
    present(found)
}

fn present(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    paths.retain(|path| path.exists());
    paths
}

/// `~`, `$NAME` and `${NAME}` replaced where they have a value.
fn expand(token: &str, values: Values<'_>) -> String {
    let mut text = token.to_owned();
    if let Some(rest) = token.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with('/'))
        && let Some(home) = values("HOME")
    {
        text = home + rest;
    }
    for name in variables(&text.clone()) {
        if let Some(value) = values(&name) {
            text = text.replace(&format!("${{{name}}}"), &value);
            text = text.replace(&format!("${name}"), &value);
        }
    }
    text
}

/// The variables that a text refers to.
pub(crate) fn variables(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split('$').skip(1) {
        let part = part.strip_prefix('{').unwrap_or(part);
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &part[..end.unwrap_or(part.len())];
        if !name.is_empty() && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The part of a configuration file that is about one of `tables`: in a `pyproject.toml` or
/// `setup.cfg` their sections, of git's configuration what names ignore files, elsewhere everything.
/// A file that speaks of a table in some other form counts as a whole.
pub(crate) fn relevant(path: &Path, text: &str, tables: &[&str]) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if matches!(&*name, ".gitconfig" | "gitconfig") || path.ends_with("git/config") {
        let names = |line: &&str| line.to_ascii_lowercase().contains("excludesfile");
        return text.lines().filter(names).collect();
    }
    if !matches!(&*name, "pyproject.toml" | "setup.cfg") {
        return text.to_owned();
    }
    let (mut relevant, mut inside, mut is_tool) = (String::new(), false, false);
    for line in text.lines() {
        // Lines of an array can look alike; indented ones inside a section are taken for that.
        let start = if inside { line } else { line.trim_start() };
        if let Some(header) = start.strip_prefix('[').filter(|rest| !rest.contains(',')) {
            let header: String = header.chars().filter(|c| !" \t[\"'".contains(*c)).collect();
            let header = header.split(']').next().unwrap_or_default();
            let mut parts = header.split(['.', '-']);
            let mut first = parts.next();
            is_tool = header == "tool";
            if first == Some("tool") {
                first = parts.next();
            }
            inside = first.is_some_and(|name| tables.contains(&name));
        } else if !inside {
            // `ty = { … }` below `[tool]`, or `tool.ty.x = …` at the top.
            let key = line.trim_start();
            let dotted = key.starts_with("tool.") || key.starts_with("tool =");
            if dotted || is_tool && !key.is_empty() {
                return text.to_owned();
            }
        }
        if inside {
            relevant.push_str(line);
            relevant.push('\n');
        }
    }
    relevant
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn existing_paths_of_a_text_are_found() {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("directory");
        std::fs::write(dir.path().join("base.json"), "").expect("file");
        let cwd = dir.path().join("a");
        let text = "paths = ['b', \"../base.json\", '$ROOT/a', 'none']";
        let values = |name: &str| (name == "ROOT").then(|| dir.path().display().to_string());
        let found = of_text(text, &[&cwd], &values);
        assert_eq!(found, [cwd.clone(), cwd.join("b"), dir.path().join("base.json")]);
        assert!(of_text("none", &[&cwd], &nothing).is_empty());
        for argument in ["b", "--path=b", "-pb", "x:b"] {
            assert_eq!(of_argument(OsStr::new(argument), &cwd), [cwd.join("b")], "{argument}");
        }
    }

    #[test]
    fn only_the_checkers_own_tables_count() {
        let text = "[project]\nreadme = 'r'\n[tool.ty.src]\na = 1\n[tool.ruff]\nb = 2\n\
                    [[tool.ty.overrides]]\nc = 3\n";
        let found = relevant("pyproject.toml".as_ref(), text, &["ty"]);
        assert_eq!(found, "[tool.ty.src]\na = 1\n[[tool.ty.overrides]]\nc = 3\n");
        let found = relevant("setup.cfg".as_ref(), "[mypy-x.*]\na\n[other]\nb", &["mypy"]);
        assert_eq!(found, "[mypy-x.*]\na\n");
        let git = "[user]\nname = /x\n[core]\nexcludesFile = /y\n";
        assert_eq!(relevant("/h/.gitconfig".as_ref(), git, &["ty"]), "excludesFile = /y");
        for whole in ["[tool]\nty = { x = 1 }\n", "tool.ty.x = 1\n"] {
            assert_eq!(relevant("pyproject.toml".as_ref(), whole, &["ty"]), whole);
        }
        assert_eq!(relevant("ty.toml".as_ref(), "a", &["ty"]), "a");
    }
}
