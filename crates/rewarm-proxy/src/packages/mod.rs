//! Package mode: indexes, channels and registries as clients of them need them, at this proxy.
//!
//! [`Packages::route`] says what to ask an upstream for a client; [`Page::answer`] and [`Rewrite`]
//! turn links in the answer into links to this proxy, so that files come through it too. Nearly
//! all of it is pure: sockets and the cache are left to the server.
//!
//! Digests that stand beside links are left in place, for clients to check. They are also a reason
//! not to download a file that is in the cache under any URL: rewritten links carry them, and for
//! pages that pass unchanged a [`KnownFiles`] remembers them.

mod clients;
mod html;
mod json;
mod known;
mod links;
mod observe;
mod page;
mod path;
mod rewrite;
mod route;
mod stated;
mod upstreams;
mod validators;
mod zst;

pub use clients::{ClientSettings, Configured, client_settings};
pub use known::KnownFiles;
pub use links::Secret;
pub(crate) use observe::{Observer, settle_coding};
pub use page::{Page, PageError};
pub use rewrite::Rewrite;
pub use route::{Asked, Packages, Refusal, Route};
pub use upstreams::{Kind, Upstream, UpstreamError, Upstreams};
