//! The record of the activations of one environment, and the only place that knows its format.
//!
//! One file per workspace, environment and clean-env or not holds the activations of up to 16
//! callers (they differ in what variables they came with), the most recently useful ones first.
//! Writers merge under a lock, so none loses another's entry; readers need no lock. A store that
//! cannot be written costs speed only.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rewarm_store::{Digest, Hasher, Kind, RecordError, Store};
use serde::{Deserialize, Serialize};

use crate::clean::clean_env;
use crate::delta::{Delta, Variables};
use crate::input::{Input, os_path};

/// Which activation is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The canonical path of the workspace.
    pub workspace_root: &'a Path,
    /// The name of the environment.
    pub environment: &'a str,
    /// Whether a clean environment is meant.
    pub clean_env: bool,
}

impl Scope<'_> {
    /// Under which key the record is. Users of a shared store have records of their own.
    pub(crate) fn key(&self) -> Digest {
        let mut hasher = Hasher::new("activation");
        hasher
            .field(self.workspace_root.as_os_str().as_bytes())
            .field(self.environment)
            .field([u8::from(self.clean_env)])
            .field(rewarm_store::effective_user().to_le_bytes());
        hasher.finish()
    }
}

/// What it takes to be in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The canonical path of the workspace.
    #[serde(with = "os_path")]
    pub workspace_root: PathBuf,
    /// The name of the environment.
    pub environment: String,
    /// Where it is.
    #[serde(with = "os_path")]
    pub prefix: PathBuf,
    /// Whether only a few variables of the caller are kept.
    pub clean_env: bool,
    /// What becomes of those.
    pub delta: Delta,
    /// Scripts that a shell would have to source to get the same; none in a virtual environment.
    pub scripts: Vec<OsString>,
    /// What is kept beside it for its user: the tasks of the workspace.
    pub tasks: Vec<u8>,
    /// Whether it must be computed each time, because the configuration says so.
    pub volatile: bool,
    /// Why it must be computed each time: what scripts did whose result cannot be proven to be the
    /// same the next time. Nothing, if all of it can.
    pub unproven: Vec<String>,
    /// What it was made from, the cheap ones first.
    pub(crate) inputs: Vec<Input>,
}

impl Activation {
    /// Which activation this is.
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            workspace_root: &self.workspace_root,
            environment: &self.environment,
            clean_env: self.clean_env,
        }
    }

    /// The environment of a command that this caller runs.
    pub fn environment_for(&self, caller: &Variables) -> Variables {
        if self.clean_env {
            self.delta.apply(clean_env(caller))
        } else {
            self.delta.apply(caller.clone())
        }
    }

    /// Whether a file was there when this was computed, and is an input.
    pub fn saw(&self, path: &Path) -> bool {
        self.inputs.iter().any(|input| input.is_present(path))
    }

    /// What it was made from.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Whether both answer the same callers.
    fn answers_same(&self, other: &Self) -> bool {
        self.inputs.len() == other.inputs.len()
            && self.inputs.iter().zip(&other.inputs).all(|(a, b)| a.proves_same(b))
    }
}

/// The file's payload.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ActivationRecord {
    pub(crate) activations: Vec<Activation>,
}

impl Kind for ActivationRecord {
    const NAME: &'static str = "activation";
    const VERSION: u16 = 3;
}

/// How many callers share a record.
pub(crate) const MAX_ENTRIES: usize = 16;

/// An activation that could not be kept. Costs speed, never the command.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Other writers cannot be kept away.
    #[error("cannot lock the activation of `{}`", workspace_root.display())]
    Lock {
        /// The workspace.
        workspace_root: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The record cannot be written.
    #[error(transparent)]
    Write(#[from] RecordError),
}

/// Keeps an activation for later lookups, in front of those of other callers.
///
/// One that must be computed each time is not kept. It replaces an earlier one that answers the same callers.
pub fn save(store: &Store, activation: &Activation) -> Result<(), SaveError> {
    if activation.volatile || !activation.unproven.is_empty() {
        return Ok(());
    }
    let key = activation.scope().key();
    let _lock = store.lock(ActivationRecord::NAME, &key).map_err(|source| SaveError::Lock {
        workspace_root: activation.workspace_root.clone(),
        source,
    })?;
    let mut record: ActivationRecord = store.read(&key).unwrap_or_default();
    record.activations.retain(|kept| !kept.answers_same(activation));
    record.activations.insert(0, activation.clone());
    record.activations.truncate(MAX_ENTRIES);
    Ok(store.write(&key, &record)?)
}

/// Drops what is kept for all callers of an environment.
pub fn forget(store: &Store, scope: &Scope) -> io::Result<()> {
    store.remove::<ActivationRecord>(&scope.key())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::delta::{List, Op};
    use crate::input::Observed;

    /// One of everything that a record can hold.
    fn everything() -> ActivationRecord {
        let mut delta = Delta::default();
        let list = || List::path_like("PATH", ["/v/bin".into(), "/w".into()]);
        delta.push(Op::Set { name: "A".into(), value: "1".into() });
        delta.push(Op::Unset { name: "B".into() });
        delta.push(Op::Prepend(list()));
        delta.push(Op::Append(list()));
        delta.push(Op::Remove(list()));
        delta.push(Op::Around { name: "L".into(), before: "b:".into(), after: ":a".into() });
        delta.push(Op::Copy { name: "C".into(), from: "A".into() });
        let mut observed = Observed::new(SystemTime::UNIX_EPOCH);
        observed.fact("fact", "value");
        observed.variable("SET".as_ref(), Some("x".as_ref()));
        observed.variable("UNSET".as_ref(), None);
        observed.present("PRESENT".as_ref());
        observed.program("program".as_ref(), Path::new("/no"), &Variables::new());
        observed.all_variables(&Variables::new());
        // Below a device there is nothing on any machine.
        observed.path(Path::new("/dev/null/no")).expect("nothing is there");
        let mut inputs = observed.into_inputs();
        let Some(Input::File { seen, .. }) = inputs.last().cloned() else {
            panic!("what is missing comes last");
        };
        inputs.push(Input::Kind { path: "/k".into(), mode: 0o100_644 });
        inputs.push(Input::Anchor { path: "/a".into(), seen });
        let activation = Activation {
            workspace_root: "/w".into(),
            environment: "default".to_owned(),
            prefix: "/w/.venv".into(),
            clean_env: true,
            delta,
            scripts: vec!["s".into()],
            tasks: b"tasks".to_vec(),
            volatile: false,
            unproven: vec!["u".to_owned()],
            inputs,
        };
        ActivationRecord { activations: vec![activation] }
    }

    #[test]
    fn format_is_what_this_version_number_stands_for() {
        let bytes = postcard::to_allocvec(&everything()).expect("everything serialises");
        let format = (ActivationRecord::VERSION, bytes.len(), Digest::of(&bytes).to_string());
        // If this fails, readers of the version cannot read what is written now: raise `VERSION`
        // and describe the new format in `docs/store-format.md`.
        let expected = "439c0ad645b4117bc0fc8644346af9ef9764c9cdc40fc53613a07dc306b622f5";
        assert_eq!(format, (3, 255, expected.to_owned()));
    }
}
