//! The state file of an environment: what it was made from, so that "up to date" costs a few
//! `stat` calls.
//!
//! It lies inside the environment, so it goes when that goes, and it names the directory it was
//! written for, so a copy is recognised. While packages are being changed it lists them as
//! pending: whoever finds such a list knows that the change was cut short. A file that is damaged
//! or of another format is as good as none. Format: `RWENV`, a version byte, postcard, sha256 of
//! all that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_store::{Digest, Witness, publish_sealed, read_sealed};
use serde::{Deserialize, Serialize};

use crate::evidence::{Comparison, Evidence};

/// The name of the file below the environment's directory.
pub const STATE_FILE: &str = "rewarm-state";
const MAGIC: &[u8; 6] = b"RWENV\x02";

/// What is known of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The directory it was written for.
    pub(crate) root: PathBuf,
    /// What was asked for: lock file, selection, options.
    pub(crate) request: Digest,
    /// The part of it that later commands go by.
    pub(crate) asked: Asked,
    /// The files that say what belongs in it.
    pub(crate) inputs: Vec<(PathBuf, Evidence)>,
    /// Its configuration and package directories.
    pub(crate) outputs: Vec<(PathBuf, Evidence)>,
    /// The binary behind its interpreter, if the stat data can prove it unchanged.
    pub(crate) interpreter: Option<Witness>,
    /// The packages that rewarm installed.
    pub(crate) packages: BTreeMap<String, PackageState>,
    /// The packages whose change was begun, with the trees whose files may be half there.
    pub(crate) pending: BTreeMap<String, BTreeSet<Digest>>,
}

/// What the last installation was asked for beyond what files say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Extras; `None` for all.
    pub(crate) extras: Option<Vec<String>>,
    /// Dependency groups; `None` for all.
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) exact: bool,
    pub(crate) python: Option<PathBuf>,
}

/// A package that rewarm installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageState {
    /// Its version.
    pub version: String,
    /// The [identity](crate::source_identity) of what it was installed from.
    pub source: Digest,
    /// The sha256 of the wheel or source distribution, if it was one.
    pub file: Option<Digest>,
}

/// Why an environment is not known to be up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outdated {
    /// There is no state file, or none of this format.
    Unknown,
    /// It was copied or moved.
    Moved,
    /// An installation was cut short.
    Unfinished,
    /// Something else was asked for last time: another lock file, extra or group.
    Request,
    /// The caller wants it compared whatever the state file says.
    Asked,
    /// A file that says what belongs in it has changed, or its content.
    Changed(PathBuf),
}

impl std::fmt::Display for Outdated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("it was not installed by this version of rewarm"),
            Self::Moved => f.write_str("it was copied or moved"),
            Self::Unfinished => f.write_str("its installation was cut short"),
            Self::Request => f.write_str("other packages are asked for"),
            Self::Asked => f.write_str("it was to be compared with the lock file"),
            Self::Changed(path) => write!(f, "`{}` changed", path.display()),
        }
    }
}

impl State {
    /// Reads the state of the environment at `root`.
    pub(crate) fn read(root: &Path) -> Option<Self> {
        read_sealed(&root.join(STATE_FILE), MAGIC)
    }

    /// Writes the state of the environment at `root`.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        // Whoever may use the environment may know that it is up to date.
        publish_sealed(&root.join(STATE_FILE), MAGIC, self)
    }

    /// Compares with what is there now; writes back what was only touched.
    pub(crate) fn check(
        mut self,
        root: &Path,
        request: &Digest,
        now: SystemTime,
    ) -> Result<(), Outdated> {
        if self.root != root {
            return Err(Outdated::Moved);
        }
        if !self.pending.is_empty() {
            return Err(Outdated::Unfinished);
        }
        if self.request != *request {
            return Err(Outdated::Request);
        }
        let python = crate::venv::python(root);
        let interpreter = Witness::of(&python).ok().flatten();
        if interpreter.is_none() || interpreter != self.interpreter {
            return Err(Outdated::Changed(python));
        }
        let mut refreshed = false;
        for (path, evidence) in self.inputs.iter_mut().chain(&mut self.outputs) {
            match evidence.compare(path, now) {
                Comparison::Same => {}
                Comparison::Changed => return Err(Outdated::Changed(path.clone())),
                Comparison::Refreshed(fresh) => {
                    *evidence = fresh;
                    refreshed = true;
                }
            }
        }
        if refreshed {
            // An environment that cannot be written is checked by content again next time.
            let _ = self.write(root);
        }
        Ok(())
    }
}
