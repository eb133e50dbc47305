//! The commands that running a task takes, each after those that it depends on.
//!
//! A task that several others need with the same arguments in the same environment is in the graph
//! once. Dependencies are followed with a stack of our own, so that no chain is too long, and what
//! would never end is refused: a task that comes to need itself, and dependencies without number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;

use crate::definition::{Argument, Dependency, Dialect, GivenArgument, TaskDefinition};
use crate::error::{At, TaskError};
use crate::node::{self, Arguments, Node};
use crate::tasks::{Task, Tasks};
use crate::template::{Facts, Filler};

/// A task that is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its name.
    pub task: &'a str,
    /// What stands after the name.
    pub arguments: &'a [OsString],
    /// The environment, if one is asked for.
    pub environment: Option<&'a str>,
    /// Whether it is to be run without its dependencies.
    pub alone: bool,
}

/// The commands, dependencies before dependents, the requested one last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
}

/// Far above what anybody writes by hand.
const LIMIT: usize = 10_000;

/// A task on the way from the requested one to here.
struct Frame<'a> {
    key: Key,
    at: At,
    definition: &'a TaskDefinition,
    node: Node,
    /// How many of its dependencies were looked at.
    seen: usize,
}

type Key = (String, String, Arguments);

impl Graph {
    /// What it takes to run a task; `None` if there is no task of that name.
    pub fn new(
        tasks: &Tasks,
        request: &Request<'_>,
        facts: &Facts,
    ) -> Option<Result<Self, TaskError>> {
        let (environment, task) = match tasks.find(request.task, request.environment, None) {
            Ok(found) => found?,
            Err(error) => return Some(Err(error)),
        };
        let builder = Builder { tasks, request, facts, nodes: Vec::new(), done: HashMap::new() };
        Some(builder.build(environment, task))
    }

    /// The commands, dependencies before dependents, the requested one last.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The requested command.
    pub fn root(&self) -> &Node {
        self.nodes.last().expect("a graph is made from a task")
    }
}

struct Builder<'a> {
    tasks: &'a Tasks,
    request: &'a Request<'a>,
    facts: &'a Facts,
    nodes: Vec<Node>,
    done: HashMap<Key, usize>,
}

impl<'a> Builder<'a> {
    fn build(mut self, environment: &str, task: &'a Task) -> Result<Graph, TaskError> {
        let at = task.at(self.request.task);
        let definition = definition_of(&at, task)?;
        let arguments = of_command_line(&at, definition, self.request.arguments)?;
        let mut stack = vec![self.frame(at, definition, environment, arguments)?];
        let mut open: HashSet<(String, String)> = HashSet::new();
        open.insert(place(&stack[0].key));
        while let Some(frame) = stack.last_mut() {
            let dependency = match self.request.alone {
                true => None,
                false => frame.definition.depends_on.get(frame.seen),
            };
            let Some(dependency) = dependency else {
                let frame = stack.pop().expect("there is a last one");
                open.remove(&place(&frame.key));
                self.done.insert(frame.key, self.nodes.len());
                self.nodes.push(frame.node);
                if self.nodes.len() > LIMIT {
                    let task = self.request.task.to_owned();
                    return Err(TaskError::TooMany { task, limit: LIMIT });
                }
                // What comes after it is the one that needs it, which looks again.
                continue;
            };
            let (environment, next) = self.dependency(frame, dependency)?;
            let at = next.at(&dependency.task);
            let definition = definition_of(&at, next)?;
            let arguments = self.given(frame, dependency, &at, definition)?;
            let key = (dependency.task.clone(), environment.to_owned(), arguments);
            if let Some(&index) = self.done.get(&key) {
                frame.seen += 1;
                if !frame.node.dependencies.contains(&index) {
                    frame.node.dependencies.push(index);
                }
                continue;
            }
            let next = self.frame(at, definition, environment, key.2)?;
            if !open.insert(place(&next.key)) {
                return Err(cycle(&stack, &next.key));
            }
            stack.push(next);
        }
        Ok(Graph { nodes: self.nodes })
    }

    fn frame(
        &self,
        at: At,
        definition: &'a TaskDefinition,
        environment: &str,
        arguments: Arguments,
    ) -> Result<Frame<'a>, TaskError> {
        let key = (at.task.clone(), environment.to_owned(), arguments.clone());
        let node = node::make(&at, definition, environment, arguments, self.facts)?;
        Ok(Frame { key, at, definition, node, seen: 0 })
    }

    fn dependency(
        &self,
        frame: &Frame<'_>,
        dependency: &Dependency,
    ) -> Result<(&'a str, &'a Task), TaskError> {
        let named = dependency.environment.as_deref();
        if let Some(environment) = named.filter(|name| !self.tasks.has_environment(name)) {
            let (at, environment) = (frame.at.clone(), environment.to_owned());
            return Err(TaskError::UnknownEnvironment { at, environment });
        }
        let asked = named.or(self.request.environment);
        let near = Some(frame.node.environment.as_str());
        let found = self.tasks.find(&dependency.task, asked, near)?;
        found.ok_or_else(|| TaskError::UnknownDependency {
            at: frame.at.clone(),
            dependency: dependency.task.clone(),
            environment: asked.map(str::to_owned),
        })
    }

    /// The arguments that a dependency gives, with those of its dependent put in.
    fn given(
        &self,
        frame: &Frame<'_>,
        dependency: &Dependency,
        at: &At,
        definition: &TaskDefinition,
    ) -> Result<Arguments, TaskError> {
        let named = frame.node.arguments.named.as_deref();
        let filler = Filler::new(&frame.at, named, &frame.node.environment, self.facts);
        let what = format!("arguments of `{}`", dependency.task);
        let mut given = Vec::with_capacity(dependency.args.len());
        for argument in &dependency.args {
            given.push(match argument {
                GivenArgument::Positional(text) => {
                    GivenArgument::Positional(filler.fill(&what, text)?)
                }
                GivenArgument::Named(name, text) => {
                    GivenArgument::Named(name.clone(), filler.fill(&what, text)?)
                }
            });
        }
        match &definition.args {
            Some(declared) if !declared.is_empty() => {
                Ok(Arguments { named: Some(bind(at, declared, given)?), extra: Vec::new() })
            }
            declared => {
                let extra = given.into_iter().map(|argument| match argument {
                    GivenArgument::Positional(text) => text.into(),
                    GivenArgument::Named(name, text) => format!("{name}={text}").into(),
                });
                let named = declared.as_ref().map(|_| Vec::new());
                Ok(Arguments { named, extra: extra.collect() })
            }
        }
    }
}

fn definition_of<'a>(at: &At, task: &'a Task) -> Result<&'a TaskDefinition, TaskError> {
    let form_error =
        |source: &crate::FormError| TaskError::Form { at: at.clone(), source: source.clone() };
    task.definition.as_ref().map_err(form_error)
}

fn place((task, environment, _): &Key) -> (String, String) {
    (task.clone(), environment.clone())
}

fn cycle(stack: &[Frame<'_>], again: &Key) -> TaskError {
    let start = stack.iter().position(|frame| place(&frame.key) == place(again));
    let tasks = stack[start.unwrap_or_default()..].iter().map(|frame| frame.key.0.clone());
    TaskError::Cycle { cycle: tasks.chain([again.0.clone()]).collect() }
}

/// What stands after the name of a task on the command line.
fn of_command_line(
    at: &At,
    definition: &TaskDefinition,
    arguments: &[OsString],
) -> Result<Arguments, TaskError> {
    let Some(declared) = &definition.args else {
        let extra = match arguments {
            [dashes, rest @ ..] if dashes == "--" && definition.dialect == Dialect::Pixi => rest,
            all => all,
        };
        return Ok(Arguments { named: None, extra: extra.to_vec() });
    };
    let dashes = arguments.iter().position(|argument| argument == "--");
    let (own, extra) = match dashes {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, [].as_slice()),
    };
    let mut given = Vec::with_capacity(own.len());
    for argument in own {
        let Some(text) = argument.to_str() else {
            return Err(bad(at, "an argument is not UTF-8".to_owned()));
        };
        let named = text.strip_prefix("--").and_then(|text| text.split_once('='));
        given.push(match named {
            Some((name, value)) if declared.iter().any(|argument| argument.name == name) => {
                GivenArgument::Named(name.to_owned(), value.to_owned())
            }
            _ => GivenArgument::Positional(text.to_owned()),
        });
    }
    Ok(Arguments { named: Some(bind(at, declared, given)?), extra: extra.to_vec() })
}

fn bad(at: &At, message: String) -> TaskError {
    TaskError::Arguments { at: at.clone(), message }
}

/// Gives every declared argument its value.
fn bind(
    at: &At,
    declared: &[Argument],
    given: Vec<GivenArgument>,
) -> Result<Vec<(String, String)>, TaskError> {
    check_declared(at, declared)?;
    let mut by_name = BTreeMap::new();
    let mut by_position = Vec::new();
    for argument in given {
        match argument {
            GivenArgument::Named(name, value) => {
                if !declared.iter().any(|argument| argument.name == name) {
                    return Err(bad(at, format!("it takes no argument `{name}`")));
                }
                by_name.insert(name, value);
            }
            GivenArgument::Positional(value) if !by_name.is_empty() => {
                let message = format!("the argument `{value}` stands after one with a name");
                return Err(bad(at, message));
            }
            GivenArgument::Positional(value) => by_position.push(value),
        }
    }
    if by_position.len() > declared.len() {
        let (count, most) = (by_position.len(), declared.len());
        let message = format!(
            "{count} arguments were given and {most} are taken; what is meant for its command stands after `--`"
        );
        return Err(bad(at, message));
    }
    let mut by_position = by_position.into_iter();
    let mut bound = Vec::with_capacity(declared.len());
    for argument in declared {
        let positional = by_position.next();
        let named = by_name.remove(&argument.name);
        if positional.is_some() && named.is_some() {
            return Err(bad(at, format!("the argument `{}` was given twice", argument.name)));
        }
        let Some(value) = named.or(positional).or_else(|| argument.default.clone()) else {
            let message =
                format!("the argument `{}` is missing{}", argument.name, choices(argument));
            return Err(bad(at, message));
        };
        if !argument.choices.is_empty() && !argument.choices.contains(&value) {
            let name = &argument.name;
            let message = format!("the argument `{name}` cannot be `{value}`{}", choices(argument));
            return Err(bad(at, message));
        }
        bound.push((argument.name.clone(), value));
    }
    Ok(bound)
}

fn check_declared(at: &At, declared: &[Argument]) -> Result<(), TaskError> {
    let mut has_default = false;
    for (index, argument) in declared.iter().enumerate() {
        let name = &argument.name;
        let is_name = rewarm_activation::template::is_name(name.as_ref());
        let problem = match argument.default {
            _ if !is_name => {
                Some("cannot be used in a template: a name consists of letters, digits and `_`")
            }
            _ if declared[..index].iter().any(|other| other.name == *name) => {
                Some("is declared twice")
            }
            None if has_default => Some("needs a default, because one before it has one"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(bad(at, format!("the argument `{name}` {problem}")));
        }
        has_default |= argument.default.is_some();
    }
    Ok(())
}

fn choices(argument: &Argument) -> String {
    if argument.choices.is_empty() {
        return String::new();
    }
    let choices: Vec<String> = argument.choices.iter().map(|c| format!("`{c}`")).collect();
    format!("; it may be {}", choices.join(", "))
}
