//! What RFC 9111 says about a cache, private or shared, as pure functions.
//!
//! `control` parses directives, `date` dates; `freshness` computes ages and lifetimes, `decide` answers what to do
//! with a request, `storing` what to do with a response; `targeted` reads
//! `CDN-Cache-Control`, `vary` compares request fields; `preconditions`,
//! `range` and `shape` answer a client's own conditions and ranges from a response that may be used. Nothing here reads a clock, a
//! file or the network: time comes in as `now`, stored responses as a
//! [`Record`](crate::record::Record). `docs/http-semantics.md` lists every decision with its section.

pub mod control;
pub mod date;
pub mod decide;
pub mod freshness;
pub mod preconditions;
pub mod range;
pub mod shape;
pub mod storing;
pub mod targeted;
pub mod vary;

/// Whom a cache serves (RFC 9111 section 1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// One user.
    #[default]
    Private,
    /// Several users.
    Shared,
}
