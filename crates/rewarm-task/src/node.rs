//! One command of a graph: a task with its arguments put in, checked, ready to be executed.
//!
//! A command without shell syntax is an argument list and is executed as it is. Of the others, a
//! rewarm task is handed to `/bin/sh -c`, which makes it an argument list as well, and a pixi task
//! becomes a script for pixi's shell. Pure: nothing is run here.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rewarm_activation::Variables;
use rewarm_activation::template::{self, Escapes};
use serde::{Deserialize, Serialize};

use crate::definition::{CommandText, Dialect, TaskDefinition};
use crate::error::{At, TaskError};
use crate::template::{Facts, Filler};
use crate::words;

/// The arguments of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Arguments {
    /// Those that the task declares, by name, in order; `None` if it declares none.
    pub named: Option<Vec<(String, String)>>,
    /// Those that are appended to the command.
    pub extra: Vec<OsString>,
}

/// What is executed for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Nothing but the dependencies.
    None,
    /// A program and its arguments.
    Argv(Vec<OsString>),
    /// A text for pixi's shell, which sets the task's variables itself.
    Script(String),
}

/// One command, and all that decides what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The task it belongs to.
    pub task: String,
    /// The environment it runs in.
    pub environment: String,
    /// What it was given.
    pub arguments: Arguments,
    /// What is executed.
    pub command: Command,
    /// Variables on top of the activation, in order, not yet expanded.
    pub env: Vec<(String, String)>,
    /// The working directory, relative to the workspace.
    pub cwd: PathBuf,
    /// Patterns of the files it reads.
    pub inputs: Option<Vec<String>>,
    /// Patterns of the files it makes.
    pub outputs: Option<Vec<String>>,
    /// Whether it runs without the caller's variables.
    pub clean_env: bool,
    /// The commands that have to succeed before it, by their place in the graph.
    pub dependencies: Vec<usize>,
}

/// One process to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The program, to be looked for in the activated `PATH`, and its arguments.
    pub argv: Vec<OsString>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Variables on top of the activation, in order, not yet expanded.
    pub(crate) env: Vec<(String, String)>,
}

impl Step {
    /// The environment of the process: the activated one with the task's variables and `INIT_CWD`,
    /// the directory that the caller was in.
    pub fn environment(&self, mut activated: Variables, init_cwd: &Path) -> Variables {
        activated.insert("INIT_CWD".into(), init_cwd.into());
        for (name, value) in &self.env {
            let parts = template::parse(value.as_bytes(), Escapes::Dollar)
                .expect("values were checked when the step was made");
            let value = template::expand(&parts, &mut |name| activated.get(name).cloned());
            activated.insert(name.into(), value);
        }
        activated
    }
}

impl Node {
    /// What it takes to run it; `None` if it is only its dependencies. `shell` is put before a
    /// script for pixi's shell, and so names a program that executes such a script.
    pub fn step(&self, root: &Path, shell: &[OsString]) -> Option<Step> {
        let (argv, env) = match &self.command {
            Command::None => return None,
            Command::Argv(argv) => (argv.clone(), self.env.clone()),
            Command::Script(text) => {
                let script = format!("{}{text}", exports(&self.env));
                ([shell, &[script.into()]].concat(), Vec::new())
            }
        };
        Some(Step { argv, cwd: root.join(&self.cwd), env })
    }

    /// The command in one line, for people to read.
    pub fn command_line(&self) -> String {
        match &self.command {
            Command::None => String::new(),
            Command::Script(text) => text.clone(),
            Command::Argv(argv) => {
                let words = argv.iter().map(|word| shown(&word.to_string_lossy()));
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

fn shown(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        words::literal(word)
    }
}

/// A task's variables as statements of pixi's shell, which expands them.
fn exports(env: &[(String, String)]) -> String {
    env.iter()
        .map(|(name, value)| format!("export \"{name}={}\";\n", value.replace('"', "\\\"")))
        .collect()
}

/// Puts the arguments of a task in and checks what comes of it.
pub(crate) fn make(
    at: &At,
    definition: &TaskDefinition,
    environment: &str,
    arguments: Arguments,
    facts: &Facts,
) -> Result<Node, TaskError> {
    check_name(at)?;
    let filler = Filler::new(at, arguments.named.as_deref(), environment, facts);
    let env = variables(at, definition, &filler)?;
    let command = command(at, definition, &filler, &arguments, &env)?;
    let fill_patterns = |what, patterns: &Option<Vec<String>>| match patterns {
        Some(patterns) => filler.fill_all(what, patterns).map(Some),
        None => Ok(None),
    };
    let cwd = definition.cwd.clone().unwrap_or_default();
    Ok(Node {
        task: at.task.clone(),
        environment: environment.to_owned(),
        inputs: fill_patterns("`inputs`", &definition.inputs)?,
        outputs: fill_patterns("`outputs`", &definition.outputs)?,
        arguments,
        command,
        env,
        cwd,
        clean_env: definition.clean_env,
        dependencies: Vec::new(),
    })
}

fn check_name(at: &At) -> Result<(), TaskError> {
    let name = &at.task;
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '=';
    if name.is_empty() || name.starts_with('-') || name.contains(forbidden) {
        return Err(TaskError::Name(at.clone()));
    }
    Ok(())
}

fn variables(
    at: &At,
    definition: &TaskDefinition,
    filler: &Filler<'_>,
) -> Result<Vec<(String, String)>, TaskError> {
    let mut env = Vec::with_capacity(definition.env.len());
    for (name, value) in &definition.env {
        let what = format!("variable `{name}`");
        let error = |message| TaskError::Value { at: at.clone(), what: what.clone(), message };
        if !template::is_name(name.as_ref()) {
            return Err(error("a name consists of letters, digits and `_`"));
        }
        let value = filler.fill(&what, value)?;
        if value.contains('\0') {
            return Err(error("a value cannot hold a NUL byte"));
        }
        if definition.dialect == Dialect::Rewarm {
            template::parse(value.as_bytes(), Escapes::Dollar).map_err(error)?;
        }
        env.push((name.clone(), value));
    }
    Ok(env)
}

fn command(
    at: &At,
    definition: &TaskDefinition,
    filler: &Filler<'_>,
    arguments: &Arguments,
    env: &[(String, String)],
) -> Result<Command, TaskError> {
    let Some(text) = &definition.command else {
        if definition.depends_on.is_empty() {
            return Err(TaskError::Empty(at.clone()));
        }
        return match arguments.extra.is_empty() {
            true => Ok(Command::None),
            false => Err(TaskError::NoCommand(at.clone())),
        };
    };
    let (line, argv) = match (text, definition.dialect) {
        (CommandText::Line(line), _) => (filler.fill("`cmd`", line)?, None),
        (CommandText::Argv(argv), Dialect::Rewarm) => {
            (String::new(), Some(filler.fill_all("`cmd`", argv)?))
        }
        (CommandText::Argv(argv), Dialect::Pixi) => {
            (words::join(&filler.fill_all("`cmd`", argv)?), None)
        }
    };
    let is_plain = definition.dialect == Dialect::Rewarm || env.iter().all(|(_, v)| is_plain(v));
    let argv = argv.or_else(|| words::split(&line, definition.dialect).filter(|_| is_plain));
    let is_empty = match &argv {
        Some(argv) => argv.first().is_none_or(String::is_empty),
        None => line.trim().is_empty(),
    };
    if is_empty {
        return Err(TaskError::Empty(at.clone()));
    }
    let texts = argv.iter().flatten().chain([&line]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        let what = "command".to_owned();
        return Err(TaskError::Value { at: at.clone(), what, message: "it holds a NUL byte" });
    }
    let extra = &arguments.extra;
    if let Some(argv) = argv {
        return Ok(Command::Argv(
            argv.into_iter().map(OsString::from).chain(extra.clone()).collect(),
        ));
    }
    match definition.dialect {
        Dialect::Rewarm => Ok(Command::Argv(posix_shell(&line, &at.task, extra))),
        Dialect::Pixi => script(at, &line, extra).map(Command::Script),
    }
}

/// Whether pixi's shell and ours put the same into a value between double quotes.
fn is_plain(value: &str) -> bool {
    let names = value.split('$').skip(1);
    !value.contains(['\\', '`', '{', '(', '"'])
        && names.into_iter().all(|rest| template::name_length(rest.as_bytes()) > 0)
}

fn posix_shell(text: &str, name: &str, extra: &[OsString]) -> Vec<OsString> {
    let text = if extra.is_empty() { text.to_owned() } else { format!("{text} \"$@\"") };
    let mut argv: Vec<OsString> = vec!["/bin/sh".into(), "-c".into(), text.into(), name.into()];
    argv.extend_from_slice(extra);
    argv
}

fn script(at: &At, line: &str, extra: &[OsString]) -> Result<String, TaskError> {
    let mut script = line.trim().to_owned();
    for argument in extra {
        let text = OsStr::to_str(argument).ok_or_else(|| TaskError::Arguments {
            at: at.clone(),
            message: "an argument is not UTF-8, and its shell takes nothing else".to_owned(),
        })?;
        script.push(' ');
        script += &words::literal(text);
    }
    Ok(script)
}
