//! Activation: being in an environment, at the cost of a few system calls.
//!
//! [`activate`] computes what an environment does to its caller's variables (a [`Delta`]) together
//! with everything that this was computed from (its [inputs](Input)). [`save`] keeps it in the
//! store, [`lookup()`] gets it back if all inputs still hold. The crate's user runs commands; this
//! module starts none, reads no clock and no environment of its own, and parses no configuration.
//!
//! What decides over an activation has to be looked at through [`Observed`] *before* it is used:
//! configuration files before they are parsed, the lock file and the installed packages before the
//! one is compared with the other. What changes in between then shows at the next lookup.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use rewarm_activation::{self as activation, ActivationRequest, Observed, Scope};
//! # let dir = tempfile::tempdir()?;
//! # let root = dir.path().canonicalize()?.join("work");
//! # std::fs::create_dir_all(root.join(".venv/bin"))?;
//! # let store = rewarm_store::Store::open(&dir.path().join("cache"))?;
//! # let caller = activation::variables([("PATH".into(), "/usr/bin".into())]);
//! # let now = SystemTime::now();
//! let scope = Scope { workspace_root: &root, environment: "default", clean_env: false };
//! let found = activation::lookup(&store, &scope, &caller, now);
//! assert_eq!(found.unwrap_err().to_string(), "no activation of this environment is stored");
//!
//! let mut observed = Observed::new(now);
//! for name in ["rewarm.toml", "pyproject.toml", "pylock.toml"] {
//!     observed.path(&root.join(name))?; // present or absent, it is an input
//! }
//! // Only now read the configuration, and make the environment match the lock file.
//! let request = ActivationRequest::new(root.clone(), root.join(".venv"), observed);
//! let computed = activation::activate(request, &caller)?;
//! activation::save(&store, &computed)?;
//!
//! let hit = activation::lookup(&store, &scope, &caller, now).expect("nothing changed");
//! assert_eq!(hit.activation, computed);
//! let path = &hit.activation.environment_for(&caller)[std::ffi::OsStr::new("PATH")];
//! assert_eq!(path, format!("{}/.venv/bin:/usr/bin", root.display()).as_str());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod clean;
mod conda;
mod config;
mod delta;
mod difference;
mod dotenv;
mod error;
mod formats;
mod hook;
mod input;
mod lookup;
pub mod observe;
mod record;
pub mod template;
mod venv;

pub use clean::clean_env;
pub use conda::{Computed, CondaRequest, ScriptShell, activate_conda, bare_metadata};
pub use config::{ActivationConfig, ActivationRequest, in_order};
pub use delta::{Change, Delta, List, Op, Variables, changes, variables};
pub use difference::{Difference, How};
pub use error::ActivateError;
pub use formats::{describe, formats};
pub use hook::{HookError, Shell, UnknownShell, hook, hook_json};
pub use input::{Input, Observed, Seen, Situation, Still, check};
pub use lookup::{Hit, Miss, lookup};
pub use record::{Activation, SaveError, Scope, forget, save};
pub use venv::activate;

pub(crate) use lookup::facts;
