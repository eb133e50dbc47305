//! Why a manifest cannot be used, and what in it is odd but does no harm.
//!
//! Every error that concerns a value names the file, the line and the column, and says what would
//! be right there. A key that is not known is a [`Warning`], never an error: a newer pixi may know
//! it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Something in a manifest that is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The manifest.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What it is, without the place.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.text)
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong there.
        message: String,
        /// The whole of it.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is not what it has to be.
    #[error("{place}: {message}")]
    Value {
        /// Where.
        place: Place,
        /// What is wrong there, and what would be right.
        message: String,
    },
    /// The file is a pyproject.toml of another tool.
    #[error(
        "{path} has no table `[tool.pixi]`; add `[tool.pixi.workspace]` to make it a pixi workspace"
    )]
    NoPixiTable {
        /// The file.
        path: PathBuf,
    },
    /// There is no such environment.
    #[error("{path} defines no environment `{name}`; it has {known}")]
    NoEnvironment {
        /// The manifest.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
}
