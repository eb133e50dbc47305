//! Finding a stored activation that still holds for this caller.
//!
//! Of the activations in the record, the first one whose inputs all hold is taken. Looking up
//! never writes; the caller decides when a renewed activation is saved.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use rewarm_store::Store;

use crate::clean::clean_env;
use crate::delta::Variables;
use crate::difference::Difference;
use crate::input::{Situation, check};
use crate::record::{Activation, ActivationRecord, MAX_ENTRIES, Scope};

/// An activation that holds.
#[derive(Debug)]
pub struct Hit {
    /// The activation.
    pub activation: Activation,
    /// Whether it should be saved again, because its files were touched or because it has come
    /// close to being displaced. Not saving costs speed only.
    pub renewed: bool,
}

/// Why nothing stored can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// Nothing readable is stored for this environment.
    NotStored,
    /// What is stored was made from something else.
    Differs {
        /// The workspace, to which paths are shown relative.
        workspace_root: PathBuf,
        /// The first difference to the entry that came closest.
        difference: Difference,
    },
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStored => f.write_str("no activation of this environment is stored"),
            Self::Differs { workspace_root, difference: Difference::Path { path, how } } => {
                let path = path.strip_prefix(workspace_root).unwrap_or(path);
                write!(f, "`{}` {how}", path.display())
            }
            Self::Differs { difference, .. } => difference.fmt(f),
        }
    }
}

/// Facts on which every activation depends.
///
/// The version is among them because another one may compute another activation from the same
/// inputs.
pub(crate) fn facts() -> [(&'static str, String); 2] {
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    [("platform", platform), ("rewarm version", env!("CARGO_PKG_VERSION").to_owned())]
}

/// Looks for an activation that holds for this caller at this time.
pub fn lookup(
    store: &Store,
    scope: &Scope,
    caller: &Variables,
    now: SystemTime,
) -> Result<Hit, Miss> {
    let key = scope.key();
    let record: ActivationRecord = store.read_used(&key, now).ok_or(Miss::NotStored)?;
    let cleaned = scope.clean_env.then(|| clean_env(caller));
    let caller = cleaned.as_ref().unwrap_or(caller);
    let situation = Situation { caller, facts: &facts(), now };
    let mut closest: Option<Difference> = None;
    for (index, mut activation) in record.activations.into_iter().enumerate() {
        match check(&activation.inputs, &situation) {
            Ok(still) => {
                let renewed = still.renewed.is_some() || index >= MAX_ENTRIES / 2;
                if let Some(inputs) = still.renewed {
                    activation.inputs = inputs;
                }
                return Ok(Hit { activation, renewed });
            }
            Err(difference) => {
                if closest.as_ref().is_none_or(|best| best.progress() < difference.progress()) {
                    closest = Some(difference);
                }
            }
        }
    }
    let workspace_root = scope.workspace_root.to_owned();
    let differs = |difference| Miss::Differs { workspace_root, difference };
    Err(closest.map_or(Miss::NotStored, differs))
}
