//! Servers that say exactly the bytes a test wants: origins, and proxies in front of them.
//!
//! One thread per connection, plain or secure. Dropping a server shuts its connections down.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A listener whose connections are served by one function.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    heard: Mutex<Vec<Heard>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// On which connection, counted from 0.
    pub(crate) connection: usize,
    /// Request line and fields.
    pub(crate) head: String,
    /// Without the framing of chunks; trailers follow as lines.
    pub(crate) body: String,
}

/// What a server says to a request.
pub(crate) struct Said {
    bytes: Vec<u8>,
    close: bool,
}

impl Said {
    pub(crate) fn then_close(mut self) -> Self {
        self.close = true;
        self
    }
}

/// These bytes.
pub(crate) fn say(bytes: impl Into<Vec<u8>>) -> Said {
    Said { bytes: bytes.into(), close: false }
}

/// 200 with a body and a lifetime, so that it is storable.
pub(crate) fn ok(body: &str) -> Said {
    let length = body.len();
    say(format!(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

impl Heard {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

impl Listening {
    /// Serves each connection by `serve`, which is told its number.
    fn start(
        serve: impl Fn(TcpStream, usize, &dyn Fn(Heard)) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (ours, serve) = (Arc::clone(&shared), Arc::new(serve));
        let acceptor = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { continue };
                if ours.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let clone = stream.try_clone().expect("a second handle");
                ours.streams.lock().expect("not poisoned").push(clone);
                let (ours, serve) = (Arc::clone(&ours), Arc::clone(&serve));
                std::thread::spawn(move || {
                    let hear = |heard| ours.heard.lock().expect("not poisoned").push(heard);
                    // A connection that breaks is the client's business.
                    let _ = serve(stream, number, &hear);
                });
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// An HTTP/1.1 server.
    pub(crate) fn http(answer: impl Fn(&Heard) -> Said + Send + Sync + 'static) -> Self {
        Self::start(move |stream, number, hear| {
            let shut = stream.try_clone()?;
            converse(stream, number, hear, &answer)?;
            shut.shutdown(Shutdown::Both)
        })
    }

    /// A server that says the same again and again, until its client leaves.
    pub(crate) fn repeating(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream, connection, hear| {
            let head = read_head(&mut stream)?;
            hear(Heard { connection, head, body: String::new() });
            loop {
                stream.write_all(bytes)?;
            }
        })
    }

    /// An HTTP/1.1 server behind TLS.
    pub(crate) fn https(
        settings: Arc<rustls::ServerConfig>,
        answer: impl Fn(&Heard) -> Said + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |stream, number, hear| {
            let shut = stream.try_clone()?;
            let session = rustls::ServerConnection::new(Arc::clone(&settings));
            let session = session.map_err(io::Error::other)?;
            converse(rustls::StreamOwned::new(session, stream), number, hear, &answer)?;
            shut.shutdown(Shutdown::Both)
        })
    }

    /// A proxy for `CONNECT`; says `refusal` instead where there is one.
    pub(crate) fn tunnel(refusal: Option<&'static str>) -> Self {
        Self::start(move |mut stream, connection, hear| {
            let head = read_head(&mut stream)?;
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            hear(Heard { connection, head, body: String::new() });
            if let Some(refusal) = refusal {
                stream.write_all(refusal.as_bytes())?;
                return stream.shutdown(Shutdown::Write);
            }
            let onward = TcpStream::connect(target)?;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            pump(stream, onward)
        })
    }

    /// A SOCKS5 proxy (RFC 1928) that wants this user (RFC 1929), if any. What it hears is the
    /// target as it was named, an address in digits.
    pub(crate) fn socks5(user: Option<(&'static str, &'static str)>) -> Self {
        Self::start(move |stream, connection, hear| {
            let mut input = stream.try_clone()?;
            let mut take = |count: usize| {
                let mut bytes = vec![0; count];
                input.read_exact(&mut bytes).map(|()| bytes)
            };
            let methods = take(2)?[1];
            take(methods.into())?;
            let mut reply = stream.try_clone()?;
            reply.write_all(&[5, if user.is_some() { 2 } else { 0 }])?;
            if let Some((name, password)) = user {
                let length = take(2)?[1];
                let given_name = take(length.into())?;
                let length = take(1)?[0];
                let given_password = take(length.into())?;
                let right = (given_name, given_password) == (name.into(), password.into());
                reply.write_all(&[1, u8::from(!right)])?;
            }
            let host = match take(4)?[3] {
                1 => take(4)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
                _ => {
                    let length = take(1)?[0];
                    String::from_utf8(take(length.into())?).map_err(io::Error::other)?
                }
            };
            let port = take(2)?;
            let port = u16::from_be_bytes([port[0], port[1]]);
            let head = format!("{host}:{port}");
            let onward = TcpStream::connect(("127.0.0.1", port))?;
            hear(Heard { connection, head, body: String::new() });
            reply.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])?;
            pump(stream, onward)
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was heard so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().expect("not poisoned").clone()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.streams.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn converse(
    stream: impl Read + Write,
    connection: usize,
    hear: &dyn Fn(Heard),
    answer: &(impl Fn(&Heard) -> Said + ?Sized),
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let head = read_head(&mut stream)?;
        if head.is_empty() {
            return Ok(());
        }
        let mut heard = Heard { connection, head, body: String::new() };
        heard.body = read_body(&mut stream, &heard)?;
        hear(heard.clone());
        let said = answer(&heard);
        stream.get_mut().write_all(&said.bytes)?;
        stream.get_mut().flush()?;
        if said.close {
            return Ok(());
        }
    }
}

/// Byte by byte, so that nothing is read that is another's.
fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            break;
        }
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn read_body(stream: &mut impl BufRead, heard: &Heard) -> io::Result<String> {
    let mut body = String::new();
    if heard.field("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            body.push_str(&String::from_utf8_lossy(&chunk[..size]));
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            if line.trim().is_empty() {
                return Ok(body);
            }
            body.push_str(&line);
        }
    }
    let length = heard.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_string(&mut body)?;
    Ok(body)
}

/// Copies in both directions until either end closes.
fn pump(left: TcpStream, right: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (left.try_clone()?, right.try_clone()?);
    let there = std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    let (mut from, mut to) = (right, left);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    drop(there.join());
    Ok(())
}
