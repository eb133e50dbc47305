//! Makes tasks out of TOML, one table of tasks for each environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use rewarm_task::{Dialect, Facts, Graph, Request, Task, TaskDefinition, TaskError, Tasks};

/// The tasks of several environments, each named in brackets.
pub(crate) fn tasks(text: &str, dialect: Dialect) -> Tasks {
    let table: toml::Table = toml::from_str(text).expect("the test's TOML is right");
    let environments = table.into_iter().map(|(environment, tasks)| {
        let tasks = tasks.as_table().expect("an environment holds tasks").iter();
        let tasks = tasks.map(|(name, value)| {
            let definition = TaskDefinition::from_toml(value, dialect);
            (name.clone(), Task { definition, origin: None })
        });
        (environment, tasks.collect())
    });
    Tasks::new(environments.collect::<BTreeMap<_, _>>())
}

pub(crate) fn pixi(text: &str) -> Tasks {
    tasks(text, Dialect::Pixi)
}

pub(crate) fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

pub(crate) fn facts() -> Facts {
    Facts {
        platform: "linux-64".into(),
        manifest: "/w/pixi.toml".into(),
        init_cwd: "/w/sub".into(),
    }
}

/// The graph of a task, in the environment that its name leads to.
pub(crate) fn graph(tasks: &Tasks, task: &str, arguments: &[&str]) -> Result<Graph, TaskError> {
    graph_in(tasks, task, arguments, None)
}

pub(crate) fn graph_in(
    tasks: &Tasks,
    task: &str,
    arguments: &[&str],
    environment: Option<&str>,
) -> Result<Graph, TaskError> {
    let arguments = words(arguments);
    let request = Request { task, arguments: &arguments, environment, alone: false };
    Graph::new(tasks, &request, &facts()).expect("the task exists")
}

/// Every command of a graph as `task@environment: command`.
pub(crate) fn shown(graph: &Graph) -> Vec<String> {
    let line = |node: &rewarm_task::Node| {
        format!("{}@{}: {}", node.task, node.environment, node.command_line())
    };
    graph.nodes().iter().map(line).collect()
}

/// The commands that a task takes, as text.
pub(crate) fn commands(text: &str, task: &str, arguments: &[&str]) -> Vec<String> {
    let graph = graph(&pixi(text), task, arguments).expect("the task can be run");
    graph.nodes().iter().map(rewarm_task::Node::command_line).collect()
}

/// Why a task cannot be run.
pub(crate) fn failure(text: &str, dialect: Dialect, task: &str, arguments: &[&str]) -> String {
    let error = graph(&tasks(text, dialect), task, arguments).expect_err(text);
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
