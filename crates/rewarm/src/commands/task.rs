//! `rewarm task`: looks at the tasks without running any.

use std::collections::BTreeMap;
use std::ffi::OsString;

use rewarm_task::{
    Command, CommandText, DEFAULT_ENVIRONMENT, Graph, Request, Task, TaskDefinition, Tasks,
};
use serde_json::{Value, json};

use crate::args;
use crate::commands::{print, print_json, run};
use crate::context::Context;
use crate::environment::{self, Wish, Workspace};
use crate::error::{Failure, Outcome};
use crate::tasks;

pub(crate) fn run(context: &Context<'_>, args: &args::Task) -> Outcome {
    match args {
        args::Task::List => list(context),
        args::Task::Why { task } => why(context, task),
        args::Task::Graph(args) => graph(context, args),
    }
}

/// The tasks with what they are for; those with a leading underscore are nobody's business.
pub(crate) fn list(context: &Context<'_>) -> Outcome {
    let workspace = Workspace::find(context)?;
    let tasks = tasks::of_workspace(&workspace)?;
    tasks::warn_of_unknown_keys(context, &tasks);
    if context.settings.json {
        return print_json(&json_of(&tasks));
    }
    let groups = groups(&tasks);
    if groups.is_empty() {
        context.ui.note("there are no tasks; add some under `[tool.rewarm.tasks]`");
        return Ok(0);
    }
    let names = groups.iter().flat_map(|(_, tasks)| tasks.keys());
    let width = names.map(|name| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (index, (environment, tasks)) in groups.iter().enumerate() {
        let is_default = *environment == DEFAULT_ENVIRONMENT;
        if groups.len() > 1 || !is_default {
            let gap = if index > 0 { "\n" } else { "" };
            text += &format!("{gap}{environment}:\n");
        }
        for (name, task) in tasks {
            text += format!("{name:<width$}  {}", about(task)).trim_end();
            text.push('\n');
        }
    }
    print(text.as_bytes())
}

type Group<'a> = (&'a str, BTreeMap<&'a str, &'a Task>);

/// The tasks of the default environment, then what each other has besides or differently.
fn groups(tasks: &Tasks) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    for (environment, own) in tasks.environments() {
        let is_shown = |name: &&String, task: &&Task| {
            let is_new = environment == DEFAULT_ENVIRONMENT
                || tasks.get(DEFAULT_ENVIRONMENT, name) != Some(*task);
            is_new && !name.starts_with('_')
        };
        let shown: BTreeMap<&str, &Task> = own
            .iter()
            .filter(|(name, task)| is_shown(name, task))
            .map(|(name, task)| (name.as_str(), task))
            .collect();
        if !shown.is_empty() {
            groups.push((environment, shown));
        }
    }
    groups
}

/// The description, else the command, else what it depends on.
fn about(task: &Task) -> String {
    match &task.definition {
        Err(error) => format!("cannot be used: {error}"),
        Ok(definition) => {
            definition.description.clone().unwrap_or_else(|| command_text(definition))
        }
    }
}

fn command_text(definition: &TaskDefinition) -> String {
    match &definition.command {
        Some(CommandText::Line(line)) => line.lines().next().unwrap_or_default().to_owned(),
        Some(CommandText::Argv(argv)) => argv.join(" "),
        None => {
            let names: Vec<&str> = definition.depends_on.iter().map(|d| d.task.as_str()).collect();
            format!("depends on {}", names.join(", "))
        }
    }
}

fn json_of(tasks: &Tasks) -> Value {
    let environments = tasks.environments().map(|(environment, tasks)| {
        let tasks = tasks.iter().map(|(name, task)| (name.clone(), json_of_task(task)));
        (environment.to_owned(), Value::Object(tasks.collect()))
    });
    Value::Object(environments.collect())
}

fn json_of_task(task: &Task) -> Value {
    let definition = match &task.definition {
        Ok(definition) => definition,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let command = match &definition.command {
        None => Value::Null,
        Some(CommandText::Line(line)) => json!(line),
        Some(CommandText::Argv(argv)) => json!(argv),
    };
    let arguments = definition.args.iter().flatten().map(|argument| {
        json!({
            "name": argument.name,
            "default": argument.default,
            "choices": argument.choices,
        })
    });
    let dependencies = definition.depends_on.iter().map(
        |dependency| json!({ "task": dependency.task, "environment": dependency.environment }),
    );
    json!({
        "command": command,
        "description": definition.description,
        "depends_on": dependencies.collect::<Vec<_>>(),
        "args": arguments.collect::<Vec<_>>(),
        "env": definition.env.iter().cloned().collect::<BTreeMap<_, _>>(),
        "cwd": definition.cwd.as_ref().map(|cwd| cwd.to_string_lossy()),
        "inputs": definition.inputs,
        "outputs": definition.outputs,
        "clean_env": definition.clean_env,
        "default_environment": definition.default_environment,
    })
}

/// The graph of a task that was named on the command line.
pub(crate) fn graph_of(
    context: &Context<'_>,
    words: &[OsString],
) -> Result<(Workspace, Graph), Failure> {
    let workspace = Workspace::find(context)?;
    let tasks = tasks::of_workspace(&workspace)?;
    let (name, arguments) = words.split_first().expect("the command line requires a task");
    let task = name.to_string_lossy();
    let request = Request { task: &task, arguments, environment: None, alone: false };
    let graph = Graph::new(&tasks, &request, &tasks::facts(context, &workspace));
    let unknown = || {
        Failure::usage(format!("there is no task `{task}`"))
            .hint("`rewarm task list` names those that there are")
    };
    let graph = graph.ok_or_else(unknown)?.map_err(Failure::usage)?;
    Ok((workspace, graph))
}

fn why(context: &Context<'_>, words: &[OsString]) -> Outcome {
    let (workspace, graph) = graph_of(context, words)?;
    let node = graph.root();
    let environment = workspace.pixi_manifest().map(|_| node.environment.as_str());
    let wish = Wish { environment, clean_env: node.clean_env, force: false };
    let workspace = workspace.in_environment(context, environment)?;
    let environment::Entered { workspace, activated, .. } =
        environment::enter_found(context, workspace, wish, false)?;
    let entered = run::entered(context, &activated);
    let answer = tasks::why(context, &workspace.root, node, entered)?;
    print(format!("task `{}` {answer}\n", tasks::label(node, &graph)).as_bytes())
}

fn graph(context: &Context<'_>, args: &args::TaskGraph) -> Outcome {
    let (_, graph) = graph_of(context, &args.task)?;
    if context.settings.json {
        return print_json(&json_of_graph(&graph));
    }
    if args.dot {
        return print(dot(&graph).as_bytes());
    }
    let mut text = String::new();
    let mut shown = vec![false; graph.nodes().len()];
    tree(&graph, graph.nodes().len() - 1, "", "", &mut shown, &mut text);
    print(text.as_bytes())
}

/// A line for the command, then its dependencies below it. What was shown with its dependencies
/// before is marked, and not followed again.
fn tree(
    graph: &Graph,
    index: usize,
    first: &str,
    rest: &str,
    shown: &mut [bool],
    text: &mut String,
) {
    let node = &graph.nodes()[index];
    let again = std::mem::replace(&mut shown[index], true) && !node.dependencies.is_empty();
    let command = match node.command {
        Command::None => String::new(),
        _ => format!(": {}", node.command_line().lines().next().unwrap_or_default()),
    };
    let mark = if again { " (see above)" } else { "" };
    *text += &format!("{first}{}{command}{mark}\n", tasks::label(node, graph));
    if again {
        return;
    }
    for (position, &dependency) in node.dependencies.iter().enumerate() {
        let is_last = position + 1 == node.dependencies.len();
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (first, rest) = (format!("{rest}{branch}"), format!("{rest}{below}"));
        tree(graph, dependency, &first, &rest, shown, text);
    }
}

fn dot(graph: &Graph) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = "digraph tasks {\n".to_owned();
    for (index, node) in graph.nodes().iter().enumerate() {
        text += &format!("  {index} [label={}];\n", quoted(&tasks::label(node, graph)));
        for dependency in &node.dependencies {
            text += &format!("  {index} -> {dependency};\n");
        }
    }
    text + "}\n"
}

fn json_of_graph(graph: &Graph) -> Value {
    let nodes = graph.nodes().iter().map(|node| {
        let named: BTreeMap<_, _> = node.arguments.named.iter().flatten().cloned().collect();
        let extra: Vec<_> =
            node.arguments.extra.iter().map(|word| word.to_string_lossy()).collect();
        json!({
            "task": node.task,
            "environment": node.environment,
            "command": node.command_line(),
            "args": named,
            "extra_args": extra,
            "depends_on": node.dependencies,
        })
    });
    json!(nodes.collect::<Vec<_>>())
}
