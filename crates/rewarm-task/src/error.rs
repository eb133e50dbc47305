//! Why a task cannot be run as it is written or asked for.

use std::fmt;

use crate::definition::FormError;
use crate::tasks::Origin;

/// A task, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The task.
    pub task: String,
    /// Its place, where that is known.
    pub origin: Option<Origin>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}`", self.task)?;
        match &self.origin {
            Some(origin) => write!(f, " (`{}`, line {})", origin.path.display(), origin.line),
            None => Ok(()),
        }
    }
}

/// A task that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The name could not be given on a command line.
    #[error(
        "{0}: blanks, control characters, `=` and a leading `-` cannot be in the name of a task"
    )]
    Name(At),
    /// There is nothing to run.
    #[error("{0} has neither a command nor dependencies")]
    Empty(At),
    /// A part of it has the wrong type.
    #[error("{at}: {source}")]
    Form {
        /// The task.
        at: At,
        /// Which part, and what it may be.
        source: FormError,
    },
    /// A value cannot be used.
    #[error("{at}: {what}: {message}")]
    Value {
        /// The task.
        at: At,
        /// Which part of it.
        what: String,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A dependency does not exist.
    #[error("{at} depends on `{dependency}`, which does not exist{}", in_environment(.environment.as_deref()))]
    UnknownDependency {
        /// The task.
        at: At,
        /// What it names.
        dependency: String,
        /// Where it was looked for, unless everywhere.
        environment: Option<String>,
    },
    /// A task names an environment that does not exist.
    #[error("{at} names the environment `{environment}`, which does not exist")]
    UnknownEnvironment {
        /// The task.
        at: At,
        /// What it names.
        environment: String,
    },
    /// Several environments have different tasks of that name.
    #[error("task `{task}` is another one in each of the environments {}; name one with `-e`", list(.environments))]
    Ambiguous {
        /// The task.
        task: String,
        /// Where it is to be found.
        environments: Vec<String>,
    },
    /// Tasks wait for each other.
    #[error("tasks depend on each other: {}", cycle.join(" -> "))]
    Cycle {
        /// The tasks, the first one again at the end.
        cycle: Vec<String>,
    },
    /// Arguments were given to a task that runs nothing itself.
    #[error("{0} has no command that could take arguments")]
    NoCommand(At),
    /// What a task was given is not what it takes.
    #[error("{at}: {message}")]
    Arguments {
        /// The task.
        at: At,
        /// What is wrong.
        message: String,
    },
    /// A template cannot be filled in.
    #[error("{at}: {what}: cannot fill in `{template}`")]
    Template {
        /// The task.
        at: At,
        /// Which part of it.
        what: String,
        /// The text.
        template: String,
        /// Why not.
        source: Box<minijinja::Error>,
    },
    /// Dependencies with ever other arguments.
    #[error("task `{task}` takes more than {limit} commands to run")]
    TooMany {
        /// The task that was asked for.
        task: String,
        /// How many are allowed.
        limit: usize,
    },
}

fn in_environment(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" in the environment `{name}`"))
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
