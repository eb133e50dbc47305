//! An HTTP server that answers through the fetch cache.
//!
//! [`Proxy`] takes requests of any HTTP client, turns them into requests of `rewarm-http`, and its
//! responses into HTTP again; a [`Mode`] says what stands for what. What may be reused, how origins
//! are reached and what is stored is left to `rewarm-http`.
//!
//! Nothing here reads a clock for a decision, an environment or a file of the user: [`ProxyConfig`]
//! carries all of that. Bodies are streamed in both directions and never collected.

mod access;
mod authority;
mod config;
mod connection;
mod fields;
mod forward;
pub mod guard;
pub mod head;
mod http2;
mod inbound;
mod link;
mod outgoing;
pub mod packages;
mod refusal;
mod reverse;
mod server;
mod service;
mod wire;

pub use access::{Token, TokenError};
pub use authority::{Authority, AuthorityError};
pub use config::{Limits, Mode, ProxyConfig, Served, Watch};
pub use forward::Forward;
pub use server::{Proxy, ProxyError};
