//! An RFC 9111 cache, private or shared, and the client that fills it.
//!
//! [`Client::fetch`] brings a body into the store, verified, and says what was reused;
//! [`Client::open`] streams it to the caller while it is being stored. What may be reused is decided
//! in [`policy`], purely. Processes that share a store share downloads: one asks the origin, the
//! others read along, and whoever is left goes on when one dies.
//!
//! This is the only async library of the workspace. It reads no clock, no environment and no file of
//! the user: [`ClientConfig`] and [`Clock`] carry all of that. URLs are shown through [`Url`] only,
//! which hides secrets.

mod alone;
mod answering;
mod asking;
mod body;
mod broadcast;
mod cache_status;
mod call;
mod client;
mod config;
mod connect;
mod driving;
mod error;
mod exchange;
mod flight;
mod following;
mod formats;
mod framing;
pub mod import;
pub mod inspect;
mod leading;
mod ledger;
pub mod policy;
mod pool;
pub mod record;
mod request;
pub mod resume;
mod spill;
mod stored;
pub mod streams;
#[cfg(test)]
mod testing;
mod tls;
mod transport;
mod upload;
mod url;
mod verify;
mod wire;

pub use body::{Body, Response};
pub use cache_status::{CacheStatus, Forwarded};
pub use client::Client;
pub use config::{ClientConfig, Clock, NetrcFile, Proxies};
pub use error::{Cause, ErrorKind, FetchError};
pub use formats::{describe, formats};
pub use request::{Content, Event, Events, Fetched, Interim, NO_EVENTS, Request, Reuse};
pub use upload::{BodyStream, RequestBody};
pub use url::{ParseUrlError, Url};
