//! Pixi and conda workspaces: what their manifests say, what a lock file wants, and how a prefix
//! is made to match it.
//!
//! The crate knows no network: it says which packages it wants as data, and goes on when they are
//! in the store.

pub mod lock;
pub mod manifest;
pub mod prefix;
pub mod source;
