//! What is not as it was: the answer of a check, in words for the user.
//!
//! Pure values. Which difference comes first is decided by the order of the inputs; here is only
//! how it is called and how far the check had come.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use rewarm_store::Digest;

/// In which way something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is there, as it was, but not the same.
    Changed,
    /// It was not there.
    Appeared,
    /// It is not there any more.
    Vanished,
    /// It cannot be compared.
    Unreadable,
}

impl How {
    pub(crate) fn between(before: Option<&Digest>, now: Option<&Digest>) -> Option<Self> {
        match (before, now) {
            (Some(before), Some(now)) => (before != now).then_some(Self::Changed),
            (None, Some(_)) => Some(Self::Appeared),
            (Some(_), None) => Some(Self::Vanished),
            (None, None) => None,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Appeared => "appeared",
            Self::Vanished => "vanished",
            Self::Unreadable => "cannot be read",
        })
    }
}

/// The first input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A fact.
    Fact {
        /// Which one.
        name: String,
        /// What it was.
        before: String,
        /// What it is, if that is known.
        now: Option<String>,
    },
    /// A variable of the caller.
    Variable {
        /// Its name.
        name: OsString,
        /// In which way.
        how: How,
    },
    /// A variable that has to have some value has none.
    Empty {
        /// Its name.
        name: OsString,
    },
    /// A program that scripts look for is found at another place.
    Program {
        /// Its name.
        name: OsString,
        /// Where it was found.
        before: Option<PathBuf>,
        /// Where it is found.
        now: Option<PathBuf>,
    },
    /// A file or a directory.
    Path {
        /// Where.
        path: PathBuf,
        /// In which way.
        how: How,
    },
}

impl Difference {
    /// How far a check came before it met this difference.
    pub(crate) fn progress(&self) -> u8 {
        match self {
            Self::Fact { .. } => 0,
            Self::Variable { .. } | Self::Empty { .. } => 1,
            Self::Program { .. } => 2,
            Self::Path { .. } => 3,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fact { name, before, now: Some(now) } => {
                write!(f, "{name} changed from `{before}` to `{now}`")
            }
            Self::Fact { name, .. } => write!(f, "{name} is not known"),
            Self::Variable { name, how } => {
                write!(f, "variable `{}` {how}", Path::new(name).display())
            }
            Self::Empty { name } => write!(f, "variable `{}` is not set", name.display()),
            Self::Program { name, before, now } => {
                let place = |path: &Option<PathBuf>| match path {
                    Some(path) => format!("at `{}`", path.display()),
                    None => "nowhere".to_owned(),
                };
                let (name, before, now) = (name.display(), place(before), place(now));
                write!(f, "program `{name}` was found {before} and is now found {now}")
            }
            Self::Path { path, how } => write!(f, "`{}` {how}", path.display()),
        }
    }
}
