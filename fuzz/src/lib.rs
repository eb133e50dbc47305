//! What the fuzz targets check: the claims that the property tests check too.
//!
//! `cargo xtask fuzz` builds and runs the targets; with `cargo-fuzz`, `cargo fuzz run TARGET` does.

#[path = "../../crates/rewarm/tests/parsers/claims.rs"]
mod claims;
#[path = "../../crates/rewarm-conda/tests/workspace/claims.rs"]
pub mod conda;

pub use claims::*;
