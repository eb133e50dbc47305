//! Pixi workspaces, where the libraries meet.

mod activate;

pub(crate) use activate::{Target, activate};

/// The environment that is meant where none is named.
pub(crate) const DEFAULT: &str = rewarm_conda::manifest::DEFAULT;
