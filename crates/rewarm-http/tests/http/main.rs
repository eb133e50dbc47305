//! The client against an origin on loopback: one binary, one module per theme.

mod basics;
mod certificates;
mod common;
mod faults;
mod flights;
mod frames;
mod modern;
mod oracle;
mod policy;
mod proxies;
mod raw;
mod rfc9110_terms;
mod rfc9111_freshening;
mod rfc9111_reusing;
mod rfc9111_shared;
mod rfc9111_storing;
mod safety;
mod secure;
mod streams;
mod wire;
