//! The proxy as its clients see it: bytes in over a socket, bytes out.

mod basics;
mod bodies;
mod common;
mod forward;
mod framing;
mod http2;
mod known;
mod limits;
mod packages;
mod streams;
