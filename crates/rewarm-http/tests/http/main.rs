//! The client against an origin on loopback: one binary, one module per theme.

mod basics;
mod common;
mod oracle;
mod policy;
