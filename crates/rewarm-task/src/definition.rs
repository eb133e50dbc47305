//! A task as it is written in a manifest: every form, in both dialects.
//!
//! pixi's tables and rewarm's own share one type, [`TaskDefinition`]. They differ in two points: a
//! list of strings is a list of dependencies to pixi and a command with its arguments to rewarm,
//! and the shell of a pixi task is pixi's, that of a rewarm task `/bin/sh`. Keys that nobody knows
//! are kept by name, to be warned of; a value of the wrong type is an error that says what was
//! expected. Whether the parts fit together is checked elsewhere.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

/// Whose rules a task is written by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `[tool.rewarm.tasks]`.
    #[default]
    Rewarm,
    /// `[tasks]` of a pixi manifest.
    Pixi,
}

/// A task as it is written: a string, a list, or a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskDefinition {
    /// Whose rules it is written by.
    pub dialect: Dialect,
    /// What it runs; a task may consist of its dependencies only.
    pub command: Option<CommandText>,
    /// The working directory, relative to the workspace; the workspace itself if it is not given.
    pub cwd: Option<PathBuf>,
    /// Variables on top of the activation, in order. Values may use `$NAME`.
    pub env: Vec<(String, String)>,
    /// What it is for, in one line.
    pub description: Option<String>,
    /// Tasks to run before it, in order.
    pub depends_on: Vec<Dependency>,
    /// The arguments it takes by name; `None` if any are appended to its command.
    pub args: Option<Vec<Argument>>,
    /// Patterns of the files it reads.
    pub inputs: Option<Vec<String>>,
    /// Patterns of the files it makes.
    pub outputs: Option<Vec<String>>,
    /// Whether it runs without the caller's variables.
    pub clean_env: bool,
    /// The environment it runs in unless another is asked for.
    pub default_environment: Option<String>,
    /// Keys that this version does not know, to be warned of.
    pub unknown: Vec<String>,
}

/// A command as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandText {
    /// One string, with or without shell syntax.
    Line(String),
    /// The program and its arguments.
    Argv(Vec<String>),
}

/// A task that another one needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub task: String,
    /// What it is given; may hold templates of the task that needs it.
    pub args: Vec<GivenArgument>,
    /// The environment it runs in; found as for any task if it is not given.
    pub environment: Option<String>,
}

/// An argument as a dependency gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenArgument {
    /// By position.
    Positional(String),
    /// By name.
    Named(String, String),
}

/// An argument that a task takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its name, as templates use it.
    pub name: String,
    /// What it is if it is not given; it has to be given if there is none.
    pub default: Option<String>,
    /// What it may be; anything if this is empty.
    pub choices: Vec<String>,
}

/// A part of a definition that has the wrong type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: expected {expected}, found {found}")]
pub struct FormError {
    /// Which part, for example `cmd` or `the task`.
    pub place: String,
    /// What it may be.
    pub expected: &'static str,
    /// What it is.
    pub found: String,
}

fn wrong(place: &str, expected: &'static str, value: &Value) -> FormError {
    let found = match value {
        Value::String(text) => format!("the string `{text}`"),
        other => format!("{} `{other}`", article(other.type_str())),
    };
    FormError { place: format!("`{place}`"), expected, found }
}

fn article(kind: &str) -> String {
    let is_vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if is_vowel { "an" } else { "a" })
}

impl TaskDefinition {
    /// Reads one value of a table of tasks.
    pub fn from_toml(value: &Value, dialect: Dialect) -> Result<Self, FormError> {
        let definition = match value {
            Value::String(line) => {
                Self { command: Some(CommandText::Line(line.clone())), ..Self::default() }
            }
            Value::Array(items) if is_command(items, dialect) => {
                let argv = strings("the task", value)?;
                Self { command: Some(CommandText::Argv(argv)), ..Self::default() }
            }
            Value::Array(items) => {
                Self { depends_on: dependencies("the task", items)?, ..Self::default() }
            }
            Value::Table(table) => Self::from_table(table)?,
            other => {
                let expected =
                    "a command as a string or a list, or a table with `cmd` or `depends-on`";
                return Err(wrong("the task", expected, other));
            }
        };
        Ok(Self { dialect, ..definition })
    }

    fn from_table(table: &Table) -> Result<Self, FormError> {
        let mut task = Self::default();
        for (key, value) in table {
            match key.as_str() {
                "cmd" => task.command = Some(command(value)?),
                "cwd" => task.cwd = Some(string(key, value)?.into()),
                "env" => task.env = variables(value)?,
                "description" => task.description = Some(string(key, value)?),
                // The underscore is how pixi once wrote it.
                "depends-on" | "depends_on" => {
                    task.depends_on = match value {
                        Value::Array(items) => dependencies(key, items)?,
                        other => vec![dependency(key, other)?],
                    };
                }
                "args" => task.args = Some(arguments(value)?),
                "inputs" => task.inputs = Some(strings(key, value)?),
                "outputs" => task.outputs = Some(strings(key, value)?),
                "clean-env" => {
                    let expected = "true or false";
                    task.clean_env = value.as_bool().ok_or_else(|| wrong(key, expected, value))?;
                }
                "default-environment" => task.default_environment = Some(string(key, value)?),
                _ => task.unknown.push(key.clone()),
            }
        }
        Ok(task)
    }
}

/// For a table of tasks in a configuration file of rewarm's own.
impl<'de> Deserialize<'de> for TaskDefinition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Self::from_toml(&value, Dialect::Rewarm).map_err(D::Error::custom)
    }
}

/// Whether a task that is a list is a command, rather than a list of dependencies.
fn is_command(items: &[Value], dialect: Dialect) -> bool {
    dialect == Dialect::Rewarm && !items.iter().any(Value::is_table)
}

fn string(place: &str, value: &Value) -> Result<String, FormError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(place, "a string", value))
}

fn strings(place: &str, value: &Value) -> Result<Vec<String>, FormError> {
    let items = value.as_array().ok_or_else(|| wrong(place, "a list of strings", value))?;
    items.iter().map(|item| string(place, item)).collect()
}

fn command(value: &Value) -> Result<CommandText, FormError> {
    match value {
        Value::String(line) => Ok(CommandText::Line(line.clone())),
        Value::Array(_) => Ok(CommandText::Argv(strings("cmd", value)?)),
        other => Err(wrong("cmd", "a string or a list of strings", other)),
    }
}

fn variables(value: &Value) -> Result<Vec<(String, String)>, FormError> {
    let table = value.as_table().ok_or_else(|| wrong("env", "a table of strings", value))?;
    table.iter().map(|(name, value)| Ok((name.clone(), string(name, value)?))).collect()
}

fn dependencies(place: &str, items: &[Value]) -> Result<Vec<Dependency>, FormError> {
    items.iter().map(|item| dependency(place, item)).collect()
}

fn dependency(place: &str, value: &Value) -> Result<Dependency, FormError> {
    let expected = "the name of a task, or a table with `task`";
    match value {
        Value::String(task) => Ok(Dependency { task: task.clone(), ..Dependency::default() }),
        Value::Table(table) => {
            let task = table.get("task").ok_or_else(|| wrong(place, expected, value))?;
            let args = match table.get("args") {
                None => Vec::new(),
                Some(Value::Array(items)) => items.iter().map(given).collect::<Result<_, _>>()?,
                Some(other) => return Err(wrong("args", "a list", other)),
            };
            let environment = table.get("environment").map(|name| string("environment", name));
            Ok(Dependency {
                task: string("task", task)?,
                args,
                environment: environment.transpose()?,
            })
        }
        other => Err(wrong(place, expected, other)),
    }
}

fn given(value: &Value) -> Result<GivenArgument, FormError> {
    let expected = "a string, or a table of one name and its value";
    match value {
        Value::String(text) => Ok(GivenArgument::Positional(text.clone())),
        Value::Table(table) if table.len() == 1 => {
            let (name, value) = table.iter().next().expect("it has one entry");
            Ok(GivenArgument::Named(name.clone(), string(name, value)?))
        }
        other => Err(wrong("args", expected, other)),
    }
}

fn arguments(value: &Value) -> Result<Vec<Argument>, FormError> {
    let items = value.as_array().ok_or_else(|| wrong("args", "a list", value))?;
    items.iter().map(argument).collect()
}

fn argument(value: &Value) -> Result<Argument, FormError> {
    let expected = "a name, or a table with `arg`";
    match value {
        Value::String(name) => Ok(Argument { name: name.clone(), ..Argument::default() }),
        Value::Table(table) => {
            let name = table.get("arg").ok_or_else(|| wrong("args", expected, value))?;
            let default = table.get("default").map(|value| string("default", value)).transpose()?;
            let choices = table.get("choices").map(|value| strings("choices", value));
            let choices = choices.transpose()?.unwrap_or_default();
            Ok(Argument { name: string("arg", name)?, default, choices })
        }
        other => Err(wrong("args", expected, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, dialect: Dialect) -> Result<TaskDefinition, FormError> {
        let table: Table = toml::from_str(text).expect("the test's TOML is right");
        TaskDefinition::from_toml(&table["a"], dialect)
    }

    fn pixi(text: &str) -> TaskDefinition {
        read(text, Dialect::Pixi).expect(text)
    }

    fn needs(names: &[&str]) -> Vec<Dependency> {
        let dependency =
            |name: &&str| Dependency { task: (*name).to_owned(), ..Dependency::default() };
        names.iter().map(dependency).collect()
    }

    #[test]
    fn a_list_of_strings_means_what_its_dialect_says() {
        assert_eq!(pixi("a = ['b', 'c']").depends_on, needs(&["b", "c"]));
        let own = read("a = ['b', 'c']", Dialect::Rewarm).expect("a command");
        assert_eq!(own.command, Some(CommandText::Argv(vec!["b".into(), "c".into()])));
        let own = read("a = [{ task = 'b' }]", Dialect::Rewarm).expect("dependencies");
        assert_eq!((own.command, own.depends_on), (None, needs(&["b"])));
    }

    #[test]
    fn every_key_of_a_table_is_read() {
        let task = pixi(
            r#"
            [a]
            cmd = ["x", "y z"]
            cwd = "sub"
            env = { B = "1", A = "2" }
            description = "d"
            depends-on = ["b", { task = "c", args = ["1", { n = "2" }], environment = "e" }]
            args = ["one", { arg = "two", default = "x", choices = ["x", "y"] }]
            inputs = ["i"]
            outputs = ["o"]
            clean-env = true
            default-environment = "e"
            speed = 3
            "#,
        );
        let c = Dependency {
            task: "c".into(),
            args: vec![
                GivenArgument::Positional("1".into()),
                GivenArgument::Named("n".into(), "2".into()),
            ],
            environment: Some("e".into()),
        };
        let two = Argument {
            name: "two".into(),
            default: Some("x".into()),
            choices: vec!["x".into(), "y".into()],
        };
        let expected = TaskDefinition {
            dialect: Dialect::Pixi,
            command: Some(CommandText::Argv(vec!["x".into(), "y z".into()])),
            cwd: Some("sub".into()),
            env: vec![("B".into(), "1".into()), ("A".into(), "2".into())],
            description: Some("d".into()),
            depends_on: [needs(&["b"]), vec![c]].concat(),
            args: Some(vec![Argument { name: "one".into(), ..Argument::default() }, two]),
            inputs: Some(vec!["i".into()]),
            outputs: Some(vec!["o".into()]),
            clean_env: true,
            default_environment: Some("e".into()),
            unknown: vec!["speed".into()],
        };
        assert_eq!(task, expected);
    }

    #[test]
    fn short_forms_of_dependencies_are_read() {
        for text in
            ["a = { depends-on = 'b' }", "a = { depends_on = ['b'] }", "a = [{ task = 'b' }]"]
        {
            assert_eq!(pixi(text).depends_on, needs(&["b"]), "{text}");
        }
    }

    #[test]
    fn a_wrong_type_is_named_with_what_was_expected() {
        for (text, message) in [
            (
                "a = 1",
                "`the task`: expected a command as a string or a list, or a table with `cmd` or `depends-on`, found an integer `1`",
            ),
            (
                "a = { cmd = { b = 1 } }",
                "`cmd`: expected a string or a list of strings, found a table",
            ),
            (
                "a = [1]",
                "`the task`: expected the name of a task, or a table with `task`, found an integer `1`",
            ),
            (
                "a = { args = [{ default = 'x' }] }",
                "`args`: expected a name, or a table with `arg`, found a table",
            ),
            ("a = { env = { A = 1 } }", "`A`: expected a string, found an integer `1`"),
            (
                "a = { clean-env = 'yes' }",
                "`clean-env`: expected true or false, found the string `yes`",
            ),
            (
                "a = { depends-on = [{ task = 'b', args = [{ x = '1', y = '2' }] }] }",
                "`args`: expected a string, or a table of one name",
            ),
            ("a = { inputs = 'x' }", "`inputs`: expected a list of strings, found the string `x`"),
        ] {
            let error = read(text, Dialect::Pixi).expect_err(text).to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
