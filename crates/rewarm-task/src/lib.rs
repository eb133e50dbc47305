//! Tasks: named commands of a workspace, and what it takes to run one.
//!
//! [`Tasks`] holds them as they are written, by environment. A [`Graph`] is made of them for one
//! request: every command with its arguments put in, after those that it depends on. A [`Schedule`]
//! says which of these may run now. A [`TaskTable`] is the little of this that is kept beside an
//! activation, so that a plain task can be executed without reading any manifest. An
//! [`Action`] is a command whose outputs and messages are kept in the store. The crate starts
//! no process, prints nothing, and reads neither clock nor environment.

mod action;
mod definition;
mod error;
mod graph;
mod node;
mod schedule;
mod table;
mod tasks;
mod template;
mod words;

pub use action::{
    Action, ActionError, Entry, Lookup, Place, Stream, describe, formats, without_paths,
};
pub use definition::{
    Argument, CommandText, Dependency, Dialect, FormError, GivenArgument, TaskDefinition,
};
pub use error::{At, TaskError};
pub use graph::{Graph, Request};
pub use node::{Arguments, Command, Node, Step};
pub use schedule::Schedule;
pub use table::{Found, TaskTable};
pub use tasks::{DEFAULT_ENVIRONMENT, Origin, Task, Tasks};
pub use template::Facts;
