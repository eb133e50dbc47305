//! Tasks: named commands of a workspace, and the steps it takes to run one.
//!
//! A [`TaskTable`] can only be made from definitions that were checked, so every dependency in it
//! exists and no task waits for itself. A command without shell syntax becomes an argument list
//! and is executed as it is; any other goes to `/bin/sh -c`. Pure: nothing is run here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use rewarm_activation::template::{self, Escapes};
use rewarm_activation::{Variables, in_order};

/// A task as it is written: a string, a list of arguments, or a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskDefinition {
    /// What it runs; a task may consist of its dependencies only.
    pub command: Option<CommandText>,
    /// The working directory, relative to the workspace; the workspace itself if it is not given.
    pub cwd: Option<PathBuf>,
    /// Variables on top of the activation, in order. Values may use `$NAME`.
    pub env: Vec<(String, String)>,
    /// What it is for, in one line.
    pub description: Option<String>,
    /// Tasks to run before it, in order.
    pub depends_on: Vec<String>,
}

/// A command as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandText {
    /// One string, with or without shell syntax.
    Line(String),
    /// The program and its arguments, each as it is.
    Argv(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    cmd: Option<CommandText>,
    #[serde(default)]
    cwd: Option<PathBuf>,
    #[serde(default, deserialize_with = "in_order")]
    env: Vec<(String, String)>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    depends_on: Vec<String>,
}

impl<'de> Deserialize<'de> for CommandText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let definition = from.deserialize_any(DefinitionVisitor { table: false })?;
        Ok(definition.command.expect("a string or a list gives a command"))
    }
}

impl<'de> Deserialize<'de> for TaskDefinition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DefinitionVisitor { table: true })
    }
}

struct DefinitionVisitor {
    table: bool,
}

impl<'de> Visitor<'de> for DefinitionVisitor {
    type Value = TaskDefinition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command as a string or as a list of strings")?;
        if self.table { f.write_str(", or a table with `cmd` or `depends-on`") } else { Ok(()) }
    }

    fn visit_str<E>(self, line: &str) -> Result<TaskDefinition, E> {
        let command = Some(CommandText::Line(line.to_owned()));
        Ok(TaskDefinition { command, ..TaskDefinition::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TaskDefinition, A::Error> {
        let mut argv = Vec::new();
        while let Some(argument) = seq.next_element()? {
            argv.push(argument);
        }
        let command = Some(CommandText::Argv(argv));
        Ok(TaskDefinition { command, ..TaskDefinition::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TaskDefinition, A::Error> {
        if !self.table {
            return Err(serde::de::Error::invalid_type(serde::de::Unexpected::Map, &self));
        }
        let Settings { cmd, cwd, env, description, depends_on } =
            Settings::deserialize(MapAccessDeserializer::new(map))?;
        Ok(TaskDefinition { command: cmd, cwd, env, description, depends_on })
    }
}

/// What is executed for a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing but the dependencies.
    None,
    /// A program and its arguments.
    Argv(Vec<String>),
    /// A text for the shell.
    Shell(String),
}

/// A checked task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it runs.
    pub command: Command,
    /// The working directory, relative to the workspace, as UTF-8.
    pub cwd: String,
    /// Variables on top of the activation, in order.
    pub env: Vec<(String, String)>,
    /// What it is for.
    pub description: Option<String>,
    /// Tasks to run before it, in order.
    pub depends_on: Vec<String>,
}

/// The tasks of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTable {
    tasks: BTreeMap<String, Task>,
}

/// A task that cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The name could not be given on a command line.
    #[error(
        "`{name}` cannot name a task: blanks, control characters, `=`, `/` and a leading `-` are not allowed"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is nothing to run.
    #[error("task `{name}` has neither a command nor dependencies")]
    Empty {
        /// The task.
        name: String,
    },
    /// A value cannot be used.
    #[error("task `{name}`: {what}: {message}")]
    Value {
        /// The task.
        name: String,
        /// Which part of it.
        what: String,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A dependency does not exist.
    #[error("task `{name}` depends on `{dependency}`, which does not exist")]
    UnknownDependency {
        /// The task.
        name: String,
        /// What it names.
        dependency: String,
    },
    /// Tasks wait for each other.
    #[error("tasks depend on each other: {}", cycle.join(" -> "))]
    Cycle {
        /// The tasks, the first one again at the end.
        cycle: Vec<String>,
    },
    /// Arguments were given to a task that runs nothing itself.
    #[error("task `{name}` has no command that could take arguments")]
    NoCommand {
        /// The task.
        name: String,
    },
}

/// One process to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// The task it belongs to.
    pub task: &'a str,
    /// The program, to be looked for in the activated `PATH`, and its arguments.
    pub argv: Vec<OsString>,
    /// The working directory.
    pub cwd: PathBuf,
    env: &'a [(String, String)],
}

impl Step<'_> {
    /// The environment of the process: the activated one with the task's variables.
    pub fn environment(&self, mut activated: Variables) -> Variables {
        for (name, value) in self.env {
            let parts = template::parse(value.as_bytes(), Escapes::Dollar)
                .expect("values were checked when the table was made");
            let value = template::expand(&parts, &mut |name| activated.get(name).cloned());
            activated.insert(name.into(), value);
        }
        activated
    }
}

impl TaskTable {
    /// Checks definitions and resolves them.
    pub fn new(definitions: BTreeMap<String, TaskDefinition>) -> Result<Self, TaskError> {
        let mut tasks = BTreeMap::new();
        for (name, definition) in definitions {
            let task = resolve(&name, definition)?;
            tasks.insert(name, task);
        }
        let table = Self { tasks };
        table.check_dependencies()?;
        Ok(table)
    }

    /// A task by its name.
    pub fn get(&self, name: &str) -> Option<&Task> {
        self.tasks.get(name)
    }

    /// All tasks by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.tasks.iter().map(|(name, task)| (name.as_str(), task))
    }

    /// The processes that running a task takes, one after the other: first its dependencies, each
    /// once, then itself with `arguments` appended. `None` if there is no such task.
    pub fn steps(
        &self,
        name: &str,
        arguments: &[OsString],
        workspace_root: &Path,
    ) -> Option<Result<Vec<Step<'_>>, TaskError>> {
        let (name, task) = self.tasks.get_key_value(name)?;
        if task.command == Command::None && !arguments.is_empty() {
            return Some(Err(TaskError::NoCommand { name: name.clone() }));
        }
        let mut order = Vec::new();
        self.visit(name, &mut order);
        let steps = order.into_iter().filter_map(|step| {
            let arguments = if step == name { arguments } else { &[] };
            self.step(step, arguments, workspace_root)
        });
        Some(Ok(steps.collect()))
    }

    fn step<'a>(&'a self, name: &'a str, arguments: &[OsString], root: &Path) -> Option<Step<'a>> {
        let task = &self.tasks[name];
        let mut argv: Vec<OsString> = match &task.command {
            Command::None => return None,
            Command::Argv(argv) => argv.iter().map(OsString::from).collect(),
            Command::Shell(text) if arguments.is_empty() => {
                vec!["/bin/sh".into(), "-c".into(), text.into(), name.into()]
            }
            Command::Shell(text) => {
                let text = format!("{text} \"$@\"");
                vec!["/bin/sh".into(), "-c".into(), text.into(), name.into()]
            }
        };
        argv.extend(arguments.iter().cloned());
        let cwd = if task.cwd.is_empty() { root.to_owned() } else { root.join(&task.cwd) };
        Some(Step { task: name, argv, cwd, env: &task.env })
    }

    /// Dependencies before dependents, each once.
    fn visit<'a>(&'a self, name: &'a str, order: &mut Vec<&'a str>) {
        for dependency in &self.tasks[name].depends_on {
            if !order.contains(&dependency.as_str()) {
                self.visit(dependency, order);
            }
        }
        if !order.contains(&name) {
            order.push(name);
        }
    }

    fn check_dependencies(&self) -> Result<(), TaskError> {
        for (name, task) in &self.tasks {
            let unknown = task.depends_on.iter().find(|other| !self.tasks.contains_key(*other));
            if let Some(dependency) = unknown {
                let (name, dependency) = (name.clone(), dependency.clone());
                return Err(TaskError::UnknownDependency { name, dependency });
            }
        }
        let mut done = BTreeSet::new();
        self.tasks.keys().try_for_each(|name| self.walk(name, &mut Vec::new(), &mut done))
    }

    /// Follows dependencies depth first; `path` leads to here.
    fn walk<'a>(
        &'a self,
        name: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Result<(), TaskError> {
        if done.contains(name) {
            return Ok(());
        }
        if let Some(start) = path.iter().position(|other| *other == name) {
            let cycle = path[start..].iter().chain([&name]).map(|name| (*name).to_owned());
            return Err(TaskError::Cycle { cycle: cycle.collect() });
        }
        path.push(name);
        for dependency in &self.tasks[name].depends_on {
            self.walk(dependency, path, done)?;
        }
        path.pop();
        done.insert(name);
        Ok(())
    }
}

fn resolve(name: &str, definition: TaskDefinition) -> Result<Task, TaskError> {
    let TaskDefinition { command, cwd, env, description, depends_on } = definition;
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '=' || c == '/';
    if name.is_empty() || name.starts_with('-') || name.contains(forbidden) {
        return Err(TaskError::Name { name: name.to_owned() });
    }
    let value_error = |what: &str, message| TaskError::Value {
        name: name.to_owned(),
        what: what.to_owned(),
        message,
    };
    for (variable, value) in &env {
        let what = format!("variable `{variable}`");
        if !template::is_name(variable.as_ref()) {
            return Err(value_error(&what, "a name consists of letters, digits and `_`"));
        }
        if value.contains('\0') {
            return Err(value_error(&what, "a value cannot hold a NUL byte"));
        }
        template::parse(value.as_bytes(), Escapes::Dollar).map_err(|m| value_error(&what, m))?;
    }
    let command = match command {
        None => Command::None,
        Some(CommandText::Argv(argv)) => Command::Argv(argv),
        Some(CommandText::Line(line)) => match split_words(&line) {
            Some(argv) => Command::Argv(argv),
            None => Command::Shell(line),
        },
    };
    let texts: &[String] = match &command {
        Command::None if depends_on.is_empty() => {
            return Err(TaskError::Empty { name: name.to_owned() });
        }
        Command::None => &[],
        Command::Argv(argv) if argv.first().is_none_or(String::is_empty) => {
            return Err(TaskError::Empty { name: name.to_owned() });
        }
        Command::Shell(text) if text.trim().is_empty() => {
            return Err(TaskError::Empty { name: name.to_owned() });
        }
        Command::Argv(argv) => argv,
        Command::Shell(text) => std::slice::from_ref(text),
    };
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(value_error("command", "an argument cannot hold a NUL byte"));
    }
    let cwd = cwd.unwrap_or_default().into_os_string();
    let cwd = cwd.into_string().map_err(|_| value_error("`cwd`", "is not UTF-8"))?;
    Ok(Task { command, cwd, env, description, depends_on })
}

/// Words that only a shell can run.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "eval", "exec", "exit",
    "export", "fc", "fg", "for", "getopts", "hash", "if", "jobs", "read", "readonly", "return",
    "set", "shift", "source", "time", "times", "trap", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// The arguments of a command line that needs no shell; `None` if it does.
///
/// Single and double quotes group as they do for a shell; whatever else a shell would interpret
/// (expansion, redirection, lists, assignments, its own commands) needs one.
pub(crate) fn split_words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.trim().chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '$' | '`' | '\\') => return None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '=') if words.is_empty() => return None,
            (None, c) if "\n\r|&;<>()$`\\*?[]#~{}!%".contains(c) => return None,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let first = words.first()?;
    (quote.is_none() && !SHELL_WORDS.contains(&first.as_str())).then_some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(text: &str) -> Result<TaskTable, TaskError> {
        TaskTable::new(toml::from_str(text).expect("the test's TOML is a table of tasks"))
    }

    fn argvs(table: &TaskTable, name: &str, arguments: &[&str]) -> Vec<Vec<OsString>> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let steps = table.steps(name, &arguments, Path::new("/w")).expect("the task exists");
        steps.expect("it can be run").into_iter().map(|step| step.argv).collect()
    }

    #[test]
    fn plain_commands_are_argument_lists_and_others_go_to_the_shell() {
        let plain = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
        for (line, words) in [
            ("pytest -k 'a b'  \"c d\"", plain(&["pytest", "-k", "a b", "c d"])),
            ("a ''", plain(&["a", ""])),
            ("env A=1 b", plain(&["env", "A=1", "b"])),
            (" a\tb ", plain(&["a", "b"])),
            ("a && b", None),
            ("A=1 b", None),
            ("echo $HOME", None),
            ("echo \"$HOME\"", None),
            ("echo '$HOME'", plain(&["echo", "$HOME"])),
            ("ls *.py", None),
            ("cd src", None),
            ("echo 'open", None),
            ("", None),
        ] {
            assert_eq!(split_words(line), words, "{line}");
        }
    }

    #[test]
    fn every_form_of_a_task_is_read() -> Result<(), TaskError> {
        let table = table(
            r#"
            text = "mypy src"
            list = ["echo", "a b", "$HOME"]
            both = { depends-on = ["text", "list"], description = "all" }
            [full]
            cmd = "echo $A && true"
            cwd = "sub"
            env = { C = "1", A = "x$B$C" }
            "#,
        )?;
        assert_eq!(argvs(&table, "text", &["-v"]), [["mypy", "src", "-v"]]);
        assert_eq!(argvs(&table, "list", &[]), [["echo", "a b", "$HOME"]]);
        assert_eq!(argvs(&table, "both", &[]).len(), 2);
        let shell = ["/bin/sh", "-c", "echo $A && true \"$@\"", "full", "x y"];
        assert_eq!(argvs(&table, "full", &["x y"]), [shell]);
        let steps = table.steps("full", &[], Path::new("/w")).expect("the task exists")?;
        assert_eq!(steps[0].cwd, Path::new("/w/sub"));
        let activated = Variables::from([("B".into(), "y".into())]);
        assert_eq!(steps[0].environment(activated)[&OsString::from("A")], "xy1");
        Ok(())
    }

    #[test]
    fn dependencies_run_once_and_before_what_needs_them() -> Result<(), TaskError> {
        let table = table(
            r#"
            a = "a"
            b = { cmd = "b", depends-on = ["a"] }
            c = { cmd = "c", depends-on = ["a", "b"] }
            "#,
        )?;
        assert_eq!(argvs(&table, "c", &["x"]), [vec!["a"], vec!["b"], vec!["c", "x"]]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        for (text, message) in [
            ("'a b' = 'x'", "`a b` cannot name a task"),
            ("a = ''", "task `a` has neither"),
            ("a = []", "task `a` has neither"),
            ("a = {}", "task `a` has neither"),
            ("a = { depends-on = ['b'] }", "task `a` depends on `b`, which does not exist"),
            ("a = { depends-on = ['a'] }", "tasks depend on each other: a -> a"),
            (
                "a = { depends-on = ['b'] }\nb = { depends-on = ['c'] }\nc = { depends-on = ['b'] }",
                "tasks depend on each other: b -> c -> b",
            ),
            ("a = { cmd = 'x', env = { 'B C' = '' } }", "task `a`: variable `B C`"),
            ("a = { cmd = 'x', env = { B = '$(x)' } }", "task `a`: variable `B`: command sub"),
        ] {
            let error = table(text).expect_err(text).to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn wrong_types_are_explained() {
        for text in ["a = 1", "a = { cmd = { b = 1 } }", "a = { cmdd = 'x' }", "a = [1]"] {
            let read = toml::from_str::<BTreeMap<String, TaskDefinition>>(text);
            let error = read.expect_err(text).to_string();
            assert!(!error.contains("untagged"), "{error}");
        }
    }

    #[test]
    fn arguments_for_a_task_without_command_are_refused() -> Result<(), TaskError> {
        let table = table("a = 'a'\nb = { depends-on = ['a'] }")?;
        let steps = table.steps("b", &["x".into()], Path::new("/w"));
        assert_eq!(steps, Some(Err(TaskError::NoCommand { name: "b".into() })));
        Ok(())
    }

    proptest! {
        #[test]
        fn quoted_words_are_split_as_a_shell_does(
            words in prop::collection::vec("[^'\0]{0,6}", 0..4),
        ) {
            let line = words.iter().fold("cmd".to_owned(), |line, word| format!("{line} '{word}'"));
            let mut expected = vec!["cmd".to_owned()];
            expected.extend(words);
            prop_assert_eq!(split_words(&line), Some(expected));
        }
    }
}
