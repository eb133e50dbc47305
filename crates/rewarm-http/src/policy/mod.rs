//! What RFC 9111 says about a private cache, as pure functions.
//!
//! `control` parses directives, `freshness` computes ages and lifetimes, `decide` answers what to do
//! with a request, `storing` what to do with a response. Nothing here reads a clock, a file or the
//! network: time comes in as `now`, stored responses as a [`Record`](crate::record::Record).
//! `docs/http-semantics.md` lists every decision with its section.

pub mod control;
pub mod decide;
pub mod freshness;
pub mod storing;
