//! The scripts of an environment that name its directory: `activate` and its kin, and the
//! launchers of installed packages.
//!
//! Activation scripts are the interpreter's own, filled in by its own code when it was asked (see
//! `interpreter.py`); here the placeholders are replaced by the real values, quoted where that
//! code would have quoted them. Files are replaced by rename, because a launcher may be a hard link
//! to a file of the store.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rewarm_store::publish_file;

use super::VenvError;
use crate::interpreter::Interpreter;

/// Writes the activation scripts.
pub(super) fn write_activation(
    root: &Path,
    interpreter: &Interpreter,
    prompt: &str,
) -> Result<(), VenvError> {
    let directory = root.to_string_lossy();
    let executable = super::python(root);
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let values = [
        ("directory", directory.as_ref()),
        ("prompt", prompt),
        ("name", name.as_ref()),
        ("executable", &executable.to_string_lossy()),
    ];
    for (file, template) in &interpreter.activation {
        let path = root.join("bin").join(file);
        let text = fill(file, template, &values);
        publish_file(&path, text.as_bytes(), 0o666).map_err(VenvError::io(&path))?;
    }
    Ok(())
}

/// Replaces `@rewarm KEY@`, which the interpreter put in single quotes if it quotes.
fn fill(file: &str, template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    let quote = if file.ends_with(".ps1") { quote_powershell } else { quote_posix };
    for (key, value) in values {
        let placeholder = format!("@rewarm {key}@");
        let decorated = (format!("'({placeholder}) '"), quote(&format!("({value}) ")));
        let quoted = (format!("'{placeholder}'"), quote(value));
        let bare = (placeholder, escape_in_double_quotes(file, value));
        for (from, to) in [decorated, quoted, bare] {
            text = text.replace(&from, &to);
        }
    }
    text
}

fn quote_posix(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\"'\"'"))
}

fn quote_powershell(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Older interpreters put the bare value between double quotes of the template.
fn escape_in_double_quotes(file: &str, value: &str) -> String {
    let special: &[char] = match file {
        "activate" => &['\\', '"', '$', '`'],
        "activate.fish" => &['\\', '"', '$'],
        _ => &[],
    };
    value.chars().fold(String::new(), |mut text, letter| {
        if special.contains(&letter) {
            text.push('\\');
        }
        text.push(letter);
        text
    })
}

/// The directory that `bin/activate` names as the environment's, if it names one.
pub(super) fn activated_root(root: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(root.join("bin/activate")).ok()?;
    let mut values = text.lines().filter_map(|line| {
        let line = line.trim();
        let value = line.strip_prefix("export ").unwrap_or(line).strip_prefix("VIRTUAL_ENV=")?;
        let value = value.trim_matches(['"', '\'']);
        value.starts_with('/').then(|| PathBuf::from(value.replace("'\"'\"'", "'")))
    });
    values.next()
}

/// Rewrites the scripts in `bin` that name the directory `from`.
pub(super) fn relocate(root: &Path, from: &Path) -> Result<(), VenvError> {
    let bin = root.join("bin");
    for entry in fs::read_dir(&bin).map_err(VenvError::io(&bin))? {
        let path = entry.map_err(VenvError::io(&bin))?.path();
        let metadata = fs::symlink_metadata(&path).map_err(VenvError::io(&path))?;
        if !metadata.is_file() {
            continue;
        }
        let is_activation = path.file_name().is_some_and(|name| {
            name.to_string_lossy().to_ascii_lowercase().starts_with("activate")
        });
        if !is_activation && !is_script(&path) {
            continue;
        }
        let content = fs::read(&path).map_err(VenvError::io(&path))?;
        // Only the head of a launcher is its own; what follows is the package's.
        let head = if is_activation { content.len() } else { content.len().min(1024) };
        let moved =
            replace(&content[..head], from.as_os_str().as_bytes(), root.as_os_str().as_bytes());
        if moved != content[..head] {
            let text = [moved.as_slice(), &content[head..]].concat();
            let mode = metadata.permissions().mode() & 0o777;
            publish_file(&path, &text, mode).map_err(VenvError::io(&path))?;
        }
    }
    Ok(())
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start == b"#!"
}

/// Replaces a path where it stands whole: not as the beginning of a longer name.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        let after = &rest[at + from.len()..];
        let ends = after.first().is_none_or(|next| b"/\"' \n;:)".contains(next));
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(if ends { to } else { from });
        rest = after;
    }
    result.extend_from_slice(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_the_interpreter_quotes() {
        let values = [("directory", "/it's here"), ("prompt", "a $b")];
        let new = "VIRTUAL_ENV='@rewarm directory@'\nPS1='(@rewarm prompt@) '\"${PS1:-}\"";
        let text = fill("activate", new, &values);
        assert_eq!(text, "VIRTUAL_ENV='/it'\"'\"'s here'\nPS1='(a $b) '\"${PS1:-}\"");
        let old = "VIRTUAL_ENV=\"@rewarm directory@\"\nPS1=\"(@rewarm prompt@) ${PS1:-}\"";
        let text = fill("activate", old, &values);
        assert_eq!(text, "VIRTUAL_ENV=\"/it's here\"\nPS1=\"(a \\$b) ${PS1:-}\"");
        assert_eq!(fill("Activate.ps1", "'@rewarm directory@'", &values), "'/it''s here'");
    }

    #[test]
    fn only_whole_paths_are_replaced() {
        let text = replace(b"#!/a/.venv/bin/python /a/.venv2/x '/a/.venv'", b"/a/.venv", b"/new");
        assert_eq!(text, b"#!/new/bin/python /a/.venv2/x '/new'");
    }
}
