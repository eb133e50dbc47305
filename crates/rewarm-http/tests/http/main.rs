//! The client against an origin on loopback: one binary, one module per theme.

mod basics;
mod certificates;
mod common;
mod faults;
mod flights;
mod modern;
mod oracle;
mod policy;
mod proxies;
mod raw;
mod rfc9110_terms;
mod rfc9111_shared;
mod safety;
mod secure;
mod wire;
