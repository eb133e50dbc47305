//! The tasks as they are kept beside an activation: just enough to execute a plain one.
//!
//! Most runs are of a task that is one program with its arguments. Such a task is kept ready to be
//! executed; of any other only the name is, so that it is not taken for a program. Reading is
//! cheap: names are compared where they lie, and only the task that is asked for is decoded.
//!
//! The form is the four bytes `RWT1`, then in postcard a list of name and bytes; the bytes are
//! empty or hold a task. What an activation with another form says is that nothing is known.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::definition::{CommandText, Dialect};
use crate::graph::{Graph, Request};
use crate::node::{Command, Node, Step};
use crate::tasks::{Task, Tasks};
use crate::template::Facts;

const FORM: &[u8; 4] = b"RWT1";

/// What is known of the tasks of an environment.
#[derive(Debug)]
pub struct TaskTable<'a> {
    entries: Vec<(&'a str, &'a [u8])>,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No task; it may be a program.
    NoTask,
    /// A task that is executed by one process.
    Direct(Step),
    /// It takes the tasks as they are written to tell.
    Unknown,
}

/// A task that is executed by one process.
#[derive(Debug, Serialize, Deserialize)]
struct DirectTask {
    argv: Vec<String>,
    cwd: String,
    env: Vec<(String, String)>,
    /// How arguments are appended.
    appends: Appends,
}

#[derive(Debug, Serialize, Deserialize)]
enum Appends {
    /// As they are.
    All,
    /// As they are, but for a leading `--`.
    AfterDashes,
    /// To a text for `/bin/sh -c`, the third of the words.
    ToShell,
}

impl TaskTable<'_> {
    /// The bytes to be kept beside the activation of an environment.
    pub fn bytes(tasks: &Tasks, environment: &str) -> Vec<u8> {
        let names: BTreeSet<&str> =
            tasks.environments().flat_map(|(_, tasks)| tasks.keys().map(String::as_str)).collect();
        let entries: Vec<(&str, Vec<u8>)> = names
            .into_iter()
            .map(|name| match direct(tasks, environment, name) {
                Some(task) => (name, postcard::to_allocvec(&task).expect("a task is strings")),
                None => (name, Vec::new()),
            })
            .collect();
        postcard::to_extend(&entries, FORM.to_vec()).expect("a table is strings")
    }

    /// What a name means by these bytes, where a workspace is at `root`. No bytes are no tasks.
    pub fn find(bytes: &[u8], name: &OsStr, arguments: &[OsString], root: &Path) -> Found {
        if bytes.is_empty() {
            return Found::NoTask;
        }
        match TaskTable::read(bytes) {
            Some(table) => table.look_up(name, arguments, root),
            None => Found::Unknown,
        }
    }
}

impl<'a> TaskTable<'a> {
    /// Reads what [`bytes`](Self::bytes) has written; `None` if this is nothing of that kind.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let entries = postcard::from_bytes(bytes.strip_prefix(FORM)?).ok()?;
        Some(Self { entries })
    }

    fn look_up(&self, name: &OsStr, arguments: &[OsString], root: &Path) -> Found {
        let Some((_, bytes)) = self.entries.iter().find(|(own, _)| name == *own) else {
            return Found::NoTask;
        };
        let Ok(task) = postcard::from_bytes::<DirectTask>(bytes) else { return Found::Unknown };
        let mut argv: Vec<OsString> = task.argv.into_iter().map(OsString::from).collect();
        let arguments = match (task.appends, arguments) {
            (Appends::AfterDashes, [dashes, rest @ ..]) if dashes == "--" => rest,
            (Appends::ToShell, [_, ..]) => {
                if let Some(text) = argv.get_mut(2) {
                    text.push(" \"$@\"");
                }
                arguments
            }
            _ => arguments,
        };
        argv.extend_from_slice(arguments);
        Found::Direct(Step { argv, cwd: root.join(task.cwd), env: task.env })
    }
}

/// A task as one process, if it means the same for everybody who is in that environment.
fn direct(tasks: &Tasks, environment: &str, name: &str) -> Option<DirectTask> {
    let (found, task) = tasks.find(name, None, None).ok()??;
    let definition = task.definition.as_ref().ok()?;
    let is_here = found == environment && tasks.get(environment, name) == Some(task);
    let is_alone = definition.depends_on.is_empty() && definition.args.is_none();
    let is_action = definition.inputs.is_some() || definition.outputs.is_some();
    if !is_here || !is_alone || is_action || definition.clean_env {
        return None;
    }
    let node = plain_node(tasks, environment, name)?;
    let Command::Argv(argv) = node.command else { return None };
    let argv = argv.into_iter().map(|word| word.into_string().ok()).collect::<Option<_>>()?;
    let cwd = node.cwd.into_os_string().into_string().ok()?;
    Some(DirectTask { argv, cwd, env: node.env, appends: appends(task)? })
}

fn plain_node(tasks: &Tasks, environment: &str, task: &str) -> Option<Node> {
    let environment = Some(environment);
    let request = Request { task, arguments: &[], environment, alone: true };
    // A task without declared arguments is no template, so that nothing of these is in it.
    let graph = Graph::new(tasks, &request, &Facts::default())?.ok()?;
    Some(graph.root().clone())
}

fn appends(task: &Task) -> Option<Appends> {
    let definition = task.definition.as_ref().ok()?;
    Some(match (definition.dialect, definition.command.as_ref()?) {
        (Dialect::Pixi, _) => Appends::AfterDashes,
        (Dialect::Rewarm, CommandText::Argv(_)) => Appends::All,
        (Dialect::Rewarm, CommandText::Line(line)) => {
            match crate::words::split(line, Dialect::Rewarm) {
                Some(_) => Appends::All,
                None => Appends::ToShell,
            }
        }
    })
}
