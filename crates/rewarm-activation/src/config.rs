//! What somebody asked an activation to be, as plain values.
//!
//! The binary reads configuration files; this module only gives the parsed tables their types.
//! Tables whose order counts are read in the order in which the deserialiser hands them out.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::input::Observed;

/// `[tool.rewarm.activation]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ActivationConfig {
    /// `.env` files in the order in which they are read, relative to the workspace. One that does
    /// not exist is passed over.
    pub env_files: Vec<PathBuf>,
    /// Variables to set after those of the `.env` files, in order. Values may use `$NAME`.
    #[serde(deserialize_with = "in_order")]
    pub env: Vec<(String, String)>,
    /// Further files and directories on which the activation depends, relative to the workspace.
    pub watch: Vec<PathBuf>,
    /// Further variables of the caller on which it depends.
    pub watch_env: Vec<String>,
    /// Whether it depends on more than can be named, so that it must not be kept.
    pub volatile: bool,
    /// Whether what is named here and what rewarm sees of scripts is all that they depend on, so
    /// that the activation may be kept although this cannot be proven.
    pub pure: bool,
}

/// Reads a table as a list of pairs.
pub fn in_order<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }

    from.deserialize_map(Pairs)
}

/// Everything that decides what an activation is, besides the caller's variables.
#[derive(Debug, Clone)]
pub struct ActivationRequest {
    /// The canonical path of the workspace.
    pub workspace_root: PathBuf,
    /// The name of the environment, `default` if it has none.
    pub environment: String,
    /// Where the environment is: the directory that holds `bin/python`.
    pub prefix: PathBuf,
    /// Whether only a few variables of the caller are kept.
    pub clean_env: bool,
    /// What the configuration says.
    pub config: ActivationConfig,
    /// What is kept beside the activation for its user: the tasks of the workspace.
    pub tasks: Vec<u8>,
    /// What was looked at so far, before it was used: every configuration file that was or could
    /// have been read, variables that decide where those are looked for, the lock file, and the
    /// state of the environment (`pyvenv.cfg`, the marker of the last install, `site-packages`).
    pub observed: Observed,
}

impl ActivationRequest {
    /// A request without configuration and tasks.
    pub fn new(workspace_root: PathBuf, prefix: PathBuf, observed: Observed) -> Self {
        Self {
            workspace_root,
            environment: "default".to_owned(),
            prefix,
            clean_env: false,
            config: ActivationConfig::default(),
            tasks: Vec::new(),
            observed,
        }
    }

    pub(crate) fn bin(&self) -> OsString {
        self.prefix.join("bin").into_os_string()
    }
}
