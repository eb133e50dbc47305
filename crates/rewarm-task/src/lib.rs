//! Tasks: named commands of a workspace.
//!
//! A [`TaskTable`] is made from checked definitions; it says which processes running a task takes.
//! The crate starts none of them.

mod task;

pub use task::{Command, CommandText, Step, Task, TaskDefinition, TaskError, TaskTable};
