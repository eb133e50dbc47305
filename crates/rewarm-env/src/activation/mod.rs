//! Activation: being in an environment, at the cost of a few system calls.
//!
//! [`activate`] computes what an environment does to its caller's variables (a [`Delta`]) together
//! with everything that this was computed from (its [inputs](Input)). [`save`] keeps it in the
//! store, [`lookup`] gets it back if all inputs still hold. The crate's user runs commands; this
//! module starts none, reads no clock and no environment of its own, and parses no configuration.

mod clean;
mod config;
mod delta;
mod dotenv;
mod hook;
mod input;
mod lookup;
mod record;
mod task;
mod template;
mod venv;

pub use clean::clean_env;
pub use config::{ActivationConfig, ActivationRequest};
pub use delta::{Change, Delta, List, Op, Variables, changes, variables};
pub use hook::{HookError, Shell, UnknownShell, hook, hook_json};
pub use input::{Difference, How, Input, Observed, Seen, Situation, Still, check};
pub use lookup::{Hit, Miss, lookup};
pub use record::{Activation, SaveError, Scope, forget, save};
pub use task::{Command, CommandText, Step, Task, TaskDefinition, TaskError, TaskTable};
pub use venv::{ActivateError, activate};

pub(crate) use lookup::facts;
pub(crate) use record::ActivationRecord;
