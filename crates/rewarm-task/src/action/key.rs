//! The key of an action: everything that decides what a command does, part by part.
//!
//! Parts have labels, so that a miss can name the first that differs. Nothing in a key names a
//! machine, a user, a time, or a path outside the workspace, unless the task itself does. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rewarm_activation::Variables;
use rewarm_activation::template::name_length;
use rewarm_store::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::node::{Command, Node};

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// What it is, in words.
    pub(crate) label: String,
    /// Of what it was.
    pub(crate) digest: Digest,
}

fn part(label: impl Into<String>, fill: impl FnOnce(&mut Hasher)) -> Part {
    let mut hasher = Hasher::new("part of a task");
    fill(&mut hasher);
    Part { label: label.into(), digest: hasher.finish() }
}

/// What surrounds a command and decides what it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) packages: &'a Digest,
    pub(crate) platform: &'a str,
    pub(crate) variables: &'a Variables,
}

/// The parts besides the input files.
pub(crate) fn parts(node: &Node, around: Surroundings<'_>) -> Vec<Part> {
    let mut parts = vec![
        part("the command", |hasher| match &node.command {
            Command::None => {
                hasher.field("none");
            }
            Command::Argv(argv) => {
                hasher.field("words").list(argv.iter().map(|word| word.as_bytes()));
            }
            Command::Script(text) => {
                hasher.field("script").field(text);
            }
        }),
        part("the arguments", |hasher| {
            let named = node.arguments.named.iter().flatten();
            hasher.list(named.flat_map(|(name, value)| [name, value]));
            hasher.list(node.arguments.extra.iter().map(|word| word.as_bytes()));
        }),
        part("the working directory", |hasher| {
            hasher.field(node.cwd.as_os_str().as_bytes());
        }),
        part("whether the environment is clean", |hasher| {
            hasher.field([u8::from(node.clean_env)]);
        }),
        part("the platform", |hasher| {
            hasher.field(around.platform);
        }),
        part("the environment", |hasher| {
            hasher.field(around.packages.as_bytes());
        }),
        part("the patterns", |hasher| {
            for patterns in [&node.inputs, &node.outputs] {
                hasher.field([u8::from(patterns.is_some())]).list(patterns.iter().flatten());
            }
        }),
    ];
    for (name, value) in &node.env {
        parts.push(part(format!("variable `{name}`"), |hasher| {
            hasher.field(value);
            for used in names_in(value) {
                let value = around.variables.get(OsStr::new(used));
                hasher.field(used).optional(value.map(|value| value.as_bytes()));
            }
        }));
    }
    parts
}

/// Whether a value is made by running something, which nobody can foretell.
pub(crate) fn runs_something(value: &str) -> bool {
    value.contains("$(") || value.contains('`')
}

/// The variables that a value may use.
fn names_in(value: &str) -> impl Iterator<Item = &str> {
    value.split('$').skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches('{');
        let length = name_length(rest.as_bytes());
        (length > 0).then(|| &rest[..length])
    })
}

/// An input file.
pub(crate) fn file_part(path: &OsStr, is_executable: bool, content: &Digest) -> Part {
    part(format!("`{}`", path.display()), |hasher| {
        hasher.field(path.as_bytes()).field([u8::from(is_executable)]).field(content.as_bytes());
    })
}

/// The key that these parts make.
pub(crate) fn digest(parts: &[Part]) -> Digest {
    let mut hasher = Hasher::new("task 1");
    for part in parts {
        hasher.field(&part.label).field(part.digest.as_bytes());
    }
    hasher.finish()
}

/// The first part that differs, in words; `None` if none does.
pub(crate) fn difference(then: &[Part], now: &[Part]) -> Option<String> {
    for part in now {
        match then.iter().find(|old| old.label == part.label) {
            None => return Some(format!("{} is new", part.label)),
            Some(old) if old.digest != part.digest => {
                return Some(format!("{} changed", part.label));
            }
            Some(_) => {}
        }
    }
    let gone = then.iter().find(|old| now.iter().all(|part| part.label != old.label));
    gone.map(|part| format!("{} is gone", part.label))
}
