//! What the tests of every crate share, and what ends up in no binary.
//!
//! `server` is an HTTP origin that misbehaves on request, `packages` makes small wheels, `sandbox`
//! runs the binary in a hermetic environment. Nothing here knows a rewarm crate.

pub mod server;
