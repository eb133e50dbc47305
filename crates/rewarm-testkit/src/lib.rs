//! What the tests of every crate share, and what ends up in no binary.
//!
//! `server` is an HTTP origin that misbehaves on request (`raw` where not even HTTP comes), with the
//! bodies from `content`; `packages` makes small wheels, `conda` small conda packages and channels;
//! `sandbox` runs the binary in a hermetic environment. Nothing here knows a rewarm crate.

#![expect(
    clippy::disallowed_methods,
    reason = "a test harness hands a little of its own environment on"
)]

pub mod conda;
mod content;
pub mod packages;
pub mod raw;
pub mod sandbox;
pub mod server;
pub mod tools;
