//! Answers byte by byte: what an origin sends that does not keep to HTTP, or stops in the middle.
//!
//! The server writes the bytes as they are and then does what [`After`] says; the connection is not
//! used again.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Bytes, and what comes after them.
#[derive(Debug, Clone)]
pub struct Raw {
    bytes: Arc<[u8]>,
    after: After,
}

/// What the server does once the bytes are sent.
#[derive(Debug, Clone)]
pub enum After {
    /// Ends the connection.
    Close,
    /// Sends nothing more until the client goes.
    Stall,
    /// Sends these bytes again and again until the client goes.
    Repeat(Vec<u8>),
}

impl Raw {
    /// Sends `bytes` and then does as `after` says.
    pub fn new(bytes: impl Into<Vec<u8>>, after: After) -> Self {
        Self { bytes: bytes.into().into(), after }
    }

    /// Ends with an error when the client went.
    pub(crate) fn send(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.bytes)?;
        match &self.after {
            After::Close => Ok(()),
            After::Stall => {
                // The client says nothing more, so this ends when it goes.
                io::copy(&mut stream.take(u64::MAX), &mut io::sink()).map(drop)
            }
            After::Repeat(bytes) => loop {
                stream.write_all(bytes)?;
            },
        }
    }
}
