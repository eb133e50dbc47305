//! The tasks of a workspace by environment, as they are written, and which one a name means.
//!
//! Nothing is checked here, so that one bad task is in nobody's way but its own. A name means the
//! task of the environment that was asked for; else that of the default environment; else that of
//! the only environment that has one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::definition::{FormError, TaskDefinition};
use crate::error::{At, TaskError};

/// The environment that is meant when none is named.
pub const DEFAULT_ENVIRONMENT: &str = "default";

/// Where a task is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The manifest.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// A task as it is written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What it says, unless it cannot be understood.
    pub definition: Result<TaskDefinition, FormError>,
    /// Where it is written, if that is known.
    pub origin: Option<Origin>,
}

impl From<TaskDefinition> for Task {
    fn from(definition: TaskDefinition) -> Self {
        Self { definition: Ok(definition), origin: None }
    }
}

impl Task {
    /// What it is for.
    pub fn description(&self) -> Option<&str> {
        self.definition.as_ref().ok()?.description.as_deref()
    }

    /// The environment it prefers.
    fn default_environment(&self) -> Option<&str> {
        self.definition.as_ref().ok()?.default_environment.as_deref()
    }

    pub(crate) fn at(&self, name: &str) -> At {
        At { task: name.to_owned(), origin: self.origin.clone() }
    }
}

/// The tasks of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tasks {
    environments: BTreeMap<String, BTreeMap<String, Task>>,
}

impl Tasks {
    /// The tasks of each environment by name. An environment without tasks is to be named too.
    pub fn new(environments: BTreeMap<String, BTreeMap<String, Task>>) -> Self {
        Self { environments }
    }

    /// The environments, the default one first, each with its tasks by name.
    pub fn environments(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, Task>)> {
        let default = self.environments.get_key_value(DEFAULT_ENVIRONMENT);
        let others = self.environments.iter().filter(|(name, _)| *name != DEFAULT_ENVIRONMENT);
        default.into_iter().chain(others).map(|(name, tasks)| (name.as_str(), tasks))
    }

    /// A task of one environment.
    pub fn get(&self, environment: &str, name: &str) -> Option<&Task> {
        self.environments.get(environment)?.get(name)
    }

    pub(crate) fn has_environment(&self, name: &str) -> bool {
        self.environments.contains_key(name)
    }

    /// Which task a name means, and in which environment it runs: in the `asked` one if one is
    /// named. Of several candidates that of the `near` environment counts.
    pub(crate) fn find(
        &self,
        name: &str,
        asked: Option<&str>,
        near: Option<&str>,
    ) -> Result<Option<(&str, &Task)>, TaskError> {
        if let Some(asked) = asked {
            let found = self.environments.get_key_value(asked);
            return Ok(found
                .and_then(|(environment, tasks)| Some((environment.as_str(), tasks.get(name)?))));
        }
        let candidates: Vec<(&str, &Task)> = self
            .environments()
            .filter_map(|(environment, tasks)| Some((environment, tasks.get(name)?)))
            .collect();
        let Some(&(environment, first)) = candidates.first() else { return Ok(None) };
        if environment == DEFAULT_ENVIRONMENT {
            let preferred = first.default_environment();
            let preferred = candidates.iter().find(|(other, _)| Some(*other) == preferred);
            if let Some(&found) = preferred {
                return Ok(Some(found));
            }
            if candidates.iter().all(|(_, task)| *task == first) {
                return Ok(Some((environment, first)));
            }
        }
        match candidates.as_slice() {
            [only] => Ok(Some(*only)),
            several => match several.iter().find(|(other, _)| Some(*other) == near) {
                Some(&found) => Ok(Some(found)),
                None => Err(TaskError::Ambiguous {
                    task: name.to_owned(),
                    environments: several.iter().map(|(other, _)| (*other).to_owned()).collect(),
                }),
            },
        }
    }
}
