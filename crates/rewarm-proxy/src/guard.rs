//! What a client sends on an HTTP/1 connection, let through only as far as it has one meaning.
//!
//! A push parser between the socket and the HTTP library, which silently repairs some shapes. It
//! follows the framing itself: heads, chunk sizes and trailers are held back until they are whole
//! and were found right; bytes of bodies go through at once. What comes out is always a beginning
//! of what came in, but for empty lines before a head, however it was cut into pieces. Pure.

use crate::head::{self, Framing, Refused, bad};
use http::StatusCode;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of a chunk and its extensions fit this.
const CHUNK_LINE: usize = 256;

/// All chunk extensions of a message together fit this.
const EXTENSIONS: usize = 16 * 1024;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The preface of HTTP/2, or a head.
    Begin,
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Http2,
    Tunnel,
    Refused {
        refused: Refused,
        in_body: bool,
    },
}

/// The part of a connection that the time may be limited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// A part of a head has come.
    Head,
    /// A body is under way.
    Body,
    /// HTTP/2, which has no order.
    Http2,
    /// Another protocol.
    Tunnel,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Guard {
    max_head: usize,
    max_fields: usize,
    state: State,
    /// A head, chunk size or trailer section that is not whole yet.
    held: Vec<u8>,
    /// Bytes of chunk extensions in this message.
    extensions: usize,
    /// Heads that went through.
    heads: u64,
}

impl Guard {
    /// The beginning of a connection, with bounds for the head of each request.
    pub fn new(max_head: usize, max_fields: usize) -> Self {
        let state = State::Begin;
        Self { max_head, max_fields, state, held: Vec::new(), extensions: 0, heads: 0 }
    }

    /// Takes bytes that came, and appends what may be passed on to `out`. After an error, which is
    /// the same ever after, nothing more comes out.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Refused { refused, .. } => return Err(refused),
                State::Length(_) | State::ChunkData(_) | State::Http2 | State::Tunnel => {
                    let count = self.data_ahead().min(bytes.len() as u64);
                    let count = usize::try_from(count).expect("it is no more than the bytes");
                    out.extend_from_slice(&bytes[..count]);
                    self.pass(count as u64);
                    count
                }
                _ => {
                    let next = self.hold(bytes[0]);
                    if let Err(refused) = next {
                        let in_body = self.phase() == Phase::Body;
                        self.state = State::Refused { refused, in_body };
                        self.held = Vec::new();
                        return Err(refused);
                    }
                    if next == Ok(true) {
                        out.append(&mut self.held);
                    }
                    1
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// So many of the next bytes are a body's or none of HTTP/1, and may be passed on unseen.
    pub fn data_ahead(&self) -> u64 {
        match self.state {
            State::Length(left) | State::ChunkData(left) => left,
            State::Http2 | State::Tunnel => u64::MAX,
            _ => 0,
        }
    }

    /// Notes that so many bytes, at most [`data_ahead`](Self::data_ahead), were passed on unseen.
    pub fn pass(&mut self, count: u64) {
        self.state = match self.state {
            State::Length(left) if left > count => State::Length(left - count),
            State::Length(_) => State::Head,
            State::ChunkData(left) if left > count => State::ChunkData(left - count),
            State::ChunkData(_) => State::ChunkEnd,
            other => other,
        };
    }

    /// What the connection is at.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Begin | State::Head if self.held.is_empty() => Phase::Idle,
            State::Begin | State::Head => Phase::Head,
            State::Http2 => Phase::Http2,
            State::Tunnel => Phase::Tunnel,
            State::Refused { in_body: false, .. } => Phase::Idle,
            _ => Phase::Body,
        }
    }

    /// Heads that went through.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Takes one byte of something that is held back until it is whole; says whether it is now.
    fn hold(&mut self, byte: u8) -> Result<bool, Refused> {
        let is_first = self.held.is_empty();
        // RFC 9112 section 2.2: a recipient may end lines at a bare LF, this one does not.
        let after_cr = self.held.last() == Some(&b'\r');
        if after_cr != (byte == b'\n') && (after_cr || byte == b'\n') {
            return Err(bad("a CR or LF stands alone"));
        }
        self.held.push(byte);
        match self.state {
            State::Begin if PREFACE.starts_with(&self.held) => {
                let is_whole = self.held.len() == PREFACE.len();
                if is_whole {
                    self.state = State::Http2;
                }
                Ok(is_whole)
            }
            State::Begin | State::Head => {
                self.state = State::Head;
                self.hold_head()
            }
            State::ChunkSize => self.hold_chunk_size(is_first),
            State::ChunkEnd => match &*self.held {
                b"\r" => Ok(false),
                b"\r\n" => {
                    self.state = State::ChunkSize;
                    Ok(true)
                }
                _ => Err(bad("a chunk is longer than it says")),
            },
            State::Trailers => self.hold_trailers(),
            _ => Ok(true),
        }
    }

    fn hold_head(&mut self) -> Result<bool, Refused> {
        // RFC 9112 section 2.2: empty lines before a request are ignored; here they go no further.
        if self.held == b"\r\n" {
            self.held.clear();
            return Ok(false);
        }
        if self.held.len() > self.max_head {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refused { status, reason: "the head of the request is too large" });
        }
        let Some(head) = self.held.strip_suffix(b"\r\n").filter(|head| head.ends_with(b"\r\n"))
        else {
            return Ok(false);
        };
        self.state = match head::read(head, self.max_fields)? {
            Framing::Length(0) => State::Head,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Tunnel => State::Tunnel,
        };
        self.extensions = 0;
        self.heads += 1;
        Ok(true)
    }

    /// RFC 9112 section 7.1: hexadecimal digits, then extensions, which say nothing to anybody.
    fn hold_chunk_size(&mut self, is_first: bool) -> Result<bool, Refused> {
        let malformed = || bad("the size of a chunk is malformed");
        if is_first && !self.held[0].is_ascii_hexdigit() {
            return Err(malformed());
        }
        if self.held.len() > CHUNK_LINE {
            return Err(bad("the extensions of a chunk are too long"));
        }
        let Some(line) = self.held.strip_suffix(b"\r\n") else { return Ok(false) };
        let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (digits, rest) = line.split_at(end);
        let is_extension = rest.trim_ascii_start().first().is_none_or(|&byte| byte == b';');
        let is_blank = !rest.is_empty() && rest.trim_ascii().is_empty();
        let has_control = rest.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control());
        if !is_extension || is_blank || has_control {
            return Err(malformed());
        }
        self.extensions += rest.len();
        if self.extensions > EXTENSIONS {
            return Err(bad("the extensions of a chunk are too long"));
        }
        let digits = std::str::from_utf8(digits).map_err(|_| malformed())?;
        let size = match digits.len() {
            1..=16 => u64::from_str_radix(digits, 16).map_err(|_| malformed())?,
            _ => return Err(malformed()),
        };
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(true)
    }

    fn hold_trailers(&mut self) -> Result<bool, Refused> {
        if self.held.len() > self.max_head {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refused { status, reason: "the fields after the body are too large" });
        }
        let block = match self.held.strip_suffix(b"\r\n") {
            Some(block) if block.is_empty() || block.ends_with(b"\r\n") => block,
            _ => return Ok(false),
        };
        head::read_trailers(block, self.max_fields)?;
        self.state = State::Head;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of `bytes` in pieces of `size`, and how it ends.
    fn through(bytes: &[u8], size: usize) -> (Vec<u8>, Result<(), Refused>) {
        let (mut guard, mut out) = (Guard::new(1024, 16), Vec::new());
        for piece in bytes.chunks(size.max(1)) {
            if let Err(refused) = guard.push(piece, &mut out) {
                return (out, Err(refused));
            }
        }
        (out, Ok(()))
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn sound_requests_go_through_however_they_are_cut() {
        let bodies = [
            GET.to_owned(),
            format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde{GET}"),
            format!("{CHUNKED}5\r\nabcde\r\n1a;x=y\r\n{}\r\n0\r\n\r\n{GET}", "z".repeat(26)),
            format!("{CHUNKED}0\r\nX-Sum: 1\r\n\r\n{GET}"),
            format!("{}any\r\nthing\n", String::from_utf8_lossy(PREFACE)),
            "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\nany\nthing".to_owned(),
        ];
        for text in bodies {
            for size in [1, 2, 3, 7, 1000] {
                let (out, end) = through(text.as_bytes(), size);
                assert_eq!((String::from_utf8_lossy(&out).as_ref(), end), (&*text, Ok(())));
            }
        }
    }

    #[test]
    fn rfc9112_2_2_empty_lines_before_a_request_are_dropped() {
        assert_eq!(through(format!("\r\n\r\n{GET}").as_bytes(), 5).0, GET.as_bytes());
    }

    #[test]
    fn nothing_of_what_is_refused_goes_through() {
        for wrong in [
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\nY: b\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nXX",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            let (out, end) = through(format!("{GET}{wrong}").as_bytes(), 4);
            assert_eq!((&*out, end.is_err()), (GET.as_bytes(), true), "{wrong}");
        }
    }

    #[test]
    fn rfc9112_7_1_chunks_are_read_strictly() {
        for wrong in [
            "5\nabcde",
            "0x5\r\nabcde",
            "-1\r\n",
            " 5\r\nabcde",
            "5 \r\nabcde",
            "\r\n",
            "g\r\n",
            ";x\r\n",
            "5 5\r\nabcde",
            "5\r\nabcdef\r\n",
            "5\r\nabcde\n0",
            "10000000000000000\r\n",
            "00000000000000005\r\nabcde",
            "5;a\x01\r\nabcde",
            "5;a\rb\r\nabcde",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nX : 1\r\n\r\n",
            "0\r\n X: 1\r\n\r\n",
        ] {
            let text = format!("{CHUNKED}{wrong}");
            let (out, end) = through(text.as_bytes(), 3);
            assert!(end.is_err() && out.len() < text.len(), "{wrong}");
        }
        let long = format!("{CHUNKED}5;{}\r\n", "x".repeat(CHUNK_LINE));
        assert!(through(long.as_bytes(), 100).1.is_err());
        let line = format!("1;{}\r\na\r\n", "x".repeat(200));
        assert!(through(format!("{CHUNKED}{}", line.repeat(100)).as_bytes(), 100).1.is_err());
    }

    #[test]
    fn heads_are_bounded_before_they_end() {
        let long = format!("GET /{}", "x".repeat(2000));
        let (out, end) = through(long.as_bytes(), 100);
        assert!(out.is_empty());
        let status = end.map_err(|refused| refused.status);
        assert_eq!(status, Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }

    proptest! {
        #[test]
        fn what_comes_out_does_not_depend_on_the_pieces(
            text in "((GET|POST) /( |x) ?HTTP/1.[01]\r\n(Host: h\r\n)?(Content-Length: [0-9]\r\n|\
                Transfer-Encoding: chunked\r\n|X: \\PC{0,4}\r?\n)?\r\n([0-9a-f]{1,2}\r\n)?\\PC{0,8}(0\r\n\r\n)?){0,4}",
            size in 1_usize..20,
        ) {
            let whole = through(text.as_bytes(), text.len());
            prop_assert_eq!(&whole, &through(text.as_bytes(), size));
            prop_assert!(text.starts_with("\r\n") || text.as_bytes().starts_with(&whole.0));
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (out, _) = through(&bytes, 7);
            prop_assert!(out.len() <= bytes.len());
        }
    }
}
