//! An HTTP server that answers through the fetch cache.
//!
//! What may be reused, how origins are reached and what is stored is left to `rewarm-http`.

pub mod packages;
