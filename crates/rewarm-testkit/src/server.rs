//! An HTTP/1.1 origin that misbehaves on request.
//!
//! One thread per connection, no dependency but the standard library. A handler turns each request
//! into a [`Reply`]; the server adds what an origin does by itself (304, ranges, framing) unless the
//! reply says otherwise. Delays are [`Gate`]s that a test opens, never sleeps. Dropping the server
//! opens all gates and stops it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use crate::content::Content;

use crate::raw::Raw;

/// What is done about `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// As RFC 9110 section 14 says, `If-Range` included.
    Honest,
    /// Always the whole body.
    Ignored,
    /// 206 that starts one byte later than asked.
    WrongStart,
    /// 206 with another total length.
    WrongTotal,
    /// 206 without looking at `If-Range`.
    Unconditional,
    /// 416, whatever was asked.
    Refused,
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    content: Content,
    chunked: bool,
    until_close: bool,
    declared: Option<u64>,
    cut_after: Option<u64>,
    ranges: Ranges,
    not_modified: bool,
    head_gate: Option<Gate>,
    body_gate: Option<(u64, Gate)>,
    hang_up: bool,
    raw: Option<Raw>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// In upper case.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many requests came for this path before.
    pub nth: usize,
}

/// Something that a test opens once. Cheap to clone; all clones are one gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Lets through all who wait and will come.
    pub fn open(&self) {
        lock(&self.0.0).open = true;
        self.0.1.notify_all();
    }

    /// Waits until somebody waits at the gate, or it is open.
    pub fn wait_reached(&self) {
        let mut state = lock(&self.0.0);
        while state.waiting == 0 && !state.open {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether somebody waits at the gate or went through.
    pub fn is_reached(&self) -> bool {
        lock(&self.0.0).waiting > 0
    }

    fn pass(&self) {
        let mut state = lock(&self.0.0);
        state.waiting += 1;
        self.0.1.notify_all();
        while !state.open {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Seen {
    /// The first value of a field; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Reply {
    /// An answer of this status.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::content(status, Content::Bytes(body.into().into()))
    }

    /// 200 with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    /// 200 with a body that other answers have as well.
    pub fn shared(body: Arc<[u8]>) -> Self {
        Self::content(200, Content::Bytes(body))
    }

    /// 200 with a generated body.
    pub fn generated(length: u64) -> Self {
        Self::content(200, Content::Generated(length))
    }

    fn content(status: u16, content: Content) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content,
            chunked: false,
            until_close: false,
            declared: None,
            cut_after: None,
            ranges: Ranges::Honest,
            not_modified: true,
            head_gate: None,
            body_gate: None,
            hang_up: false,
            raw: None,
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends the body in chunks, without a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Sends the body without a length or chunks: the end of the connection ends it.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.until_close = true;
        self
    }

    /// Announces another length than the body has.
    #[must_use]
    pub fn declare_length(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    /// Closes the connection after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Closes the connection instead of answering.
    #[must_use]
    pub fn hang_up(mut self) -> Self {
        self.hang_up = true;
        self
    }

    /// These bytes instead of a well-formed answer.
    pub fn raw(raw: Raw) -> Self {
        Self { raw: Some(raw), ..Self::ok("") }
    }

    /// Sets what is done about `Range`.
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = ranges;
        self
    }

    /// Never answers 304 by itself.
    #[must_use]
    pub fn never_304(mut self) -> Self {
        self.not_modified = false;
        self
    }

    /// Holds the whole answer back.
    #[must_use]
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.head_gate = Some(gate.clone());
        self
    }

    /// Holds the body back after so many bytes.
    #[must_use]
    pub fn gate_after(mut self, bytes: u64, gate: &Gate) -> Self {
        self.body_gate = Some((bytes, gate.clone()));
        self
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// RFC 9110 section 13.2.2, as far as a GET needs it.
    fn is_not_modified(&self, request: &Seen) -> bool {
        if !self.not_modified || self.status != 200 {
            return false;
        }
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        match (request.header("if-none-match"), request.header("if-modified-since")) {
            (Some(tags), _) => self.field("etag").is_some_and(|etag| {
                tags.split(',').any(|tag| tag.trim() == "*" || weak(tag) == weak(etag))
            }),
            (None, Some(since)) => self.field("last-modified") == Some(since),
            (None, None) => false,
        }
    }

    /// The part to send, if a part was asked for: its bytes and the total to announce.
    fn range(&self, request: &Seen) -> Option<(Range<u64>, u64)> {
        let total = self.content.len();
        if self.status != 200 || self.ranges == Ranges::Ignored {
            return None;
        }
        let (start, end) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let start: u64 = start.parse().ok()?;
        let end = end.parse::<u64>().map_or(total, |last| last + 1).min(total);
        let current = request.header("if-range").is_none_or(|condition| {
            Some(condition) == self.field("etag") || Some(condition) == self.field("last-modified")
        });
        match self.ranges {
            Ranges::WrongStart => Some((start + 1..end, total)),
            Ranges::WrongTotal => Some((start..end, total + 1)),
            Ranges::Unconditional => Some((start..end, total)),
            _ => current.then_some((start..end, total)),
        }
    }
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    stopped: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    counts: Mutex<HashMap<String, usize>>,
    sent: AtomicU64,
    gates: Mutex<Vec<Gate>>,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running origin on a loopback port of its own.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to listen; `handler` answers each request.
    pub fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::bind("127.0.0.1:0", handler).expect("a free loopback port")
    }

    /// Starts to listen on a given address.
    pub fn bind(
        address: &str,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            stopped: AtomicBool::new(false),
            seen: Mutex::default(),
            counts: Mutex::default(),
            sent: AtomicU64::new(0),
            gates: Mutex::default(),
            streams: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_thread));
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// The URL of a path, which starts with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came for a path.
    pub fn count(&self, path: &str) -> usize {
        lock(&self.shared.counts).get(path).copied().unwrap_or_default()
    }

    /// How many bytes of bodies were sent, with their chunk framing.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// All requests in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for gate in lock(&self.shared.gates).drain(..) {
            gate.open();
        }
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(clone) = stream.try_clone() {
            lock(&shared.streams).push(clone);
        }
        let shared = Arc::clone(shared);
        // A connection that breaks is the client's business.
        std::thread::spawn(move || drop(converse(stream, &shared)));
    }
}

fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut input)? {
        {
            let mut counts = lock(&shared.counts);
            let count = counts.entry(request.path.clone()).or_default();
            request.nth = *count;
            *count += 1;
        }
        lock(&shared.seen).push(request.clone());
        let reply = (shared.handler)(&request);
        for gate in reply.head_gate.iter().chain(reply.body_gate.iter().map(|(_, gate)| gate)) {
            lock(&shared.gates).push(gate.clone());
            if shared.stopped.load(Ordering::SeqCst) {
                gate.open();
            }
        }
        if !answer(&mut output, &request, &reply, &shared.sent)? {
            return output.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

/// `None` at a clean end of the connection.
fn read_request(input: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a request line");
    let mut words = line.split_whitespace();
    let (method, path) = words.next().zip(words.next()).ok_or_else(bad)?;
    let mut seen =
        Seen { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), nth: 0 };
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        seen.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = seen.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    io::copy(&mut io::Read::take(input, length), &mut io::sink())?;
    Ok(Some(seen))
}

/// Says whether the connection can be used again.
fn answer(
    output: &mut TcpStream,
    request: &Seen,
    reply: &Reply,
    sent: &AtomicU64,
) -> io::Result<bool> {
    if let Some(gate) = &reply.head_gate {
        gate.pass();
    }
    if reply.hang_up {
        return Ok(false);
    }
    if let Some(raw) = &reply.raw {
        return raw.send(output).map(|()| false);
    }
    let not_modified = reply.is_not_modified(request);
    let refused = reply.ranges == Ranges::Refused && request.header("range").is_some();
    let part = reply.range(request).filter(|_| !not_modified);
    let total = reply.content.len();
    let status = match &part {
        _ if not_modified => 304,
        _ if refused => 416,
        Some((range, _)) if range.start >= range.end => 416,
        Some(_) => 206,
        None => reply.status,
    };
    let range = match (&part, status) {
        (Some((range, _)), 206) => range.clone(),
        (_, 304 | 416) => 0..0,
        _ => 0..total,
    };
    let mut head = format!("HTTP/1.1 {status} Some Reason\r\n");
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match (&part, status) {
        (Some((range, total)), 206) => {
            let last = range.end - 1;
            head.push_str(&format!("content-range: bytes {}-{last}/{total}\r\n", range.start));
        }
        (_, 416) => head.push_str(&format!("content-range: bytes */{total}\r\n")),
        _ => {}
    }
    let has_body = request.method != "HEAD" && !matches!(status, 204 | 304);
    if reply.chunked && status == reply.status {
        head.push_str("transfer-encoding: chunked\r\n");
    } else if status != 304 && !reply.until_close {
        let length = reply.declared.unwrap_or(range.end - range.start);
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head.push_str("\r\n");
    output.write_all(head.as_bytes())?;
    if !has_body {
        return Ok(true);
    }
    let mut output = Counting { inner: output, sent };
    let whole = send_body(&mut output, reply, range, reply.chunked && status == reply.status)?;
    Ok(whole && reply.declared.is_none() && !reply.until_close)
}

/// A connection that counts the bytes of a body.
struct Counting<'a> {
    inner: &'a mut TcpStream,
    sent: &'a AtomicU64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sent.fetch_add(count as u64, Ordering::SeqCst);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Says whether all of it was sent.
fn send_body(
    output: &mut Counting<'_>,
    reply: &Reply,
    range: Range<u64>,
    chunked: bool,
) -> io::Result<bool> {
    let cut = reply.cut_after.map(|bytes| range.start + bytes).filter(|&cut| cut < range.end);
    let end = cut.unwrap_or(range.end);
    let mut send = |range: Range<u64>| {
        reply.content.each_piece(range, |piece| {
            if chunked && !piece.is_empty() {
                write!(output, "{:x}\r\n", piece.len())?;
                output.write_all(piece)?;
                output.write_all(b"\r\n")
            } else {
                output.write_all(piece)
            }
        })
    };
    let gate = reply.body_gate.as_ref().map(|(bytes, gate)| (range.start + bytes, gate));
    match gate {
        Some((at, gate)) if at < end => {
            send(range.start..at)?;
            gate.pass();
            send(at..end)?;
        }
        _ => send(range.start..end)?,
    }
    if chunked && cut.is_none() {
        output.write_all(b"0\r\n\r\n")?;
    }
    Ok(cut.is_none())
}
