//! The bytes of one connection, between the socket and the HTTP library.
//!
//! What comes in goes through the guard; a request that it refuses never reaches the library, which
//! sees a harmless one in its place, so that the refusal is answered in its turn. What goes out may
//! be preceded by interim responses, which the library cannot write: they go where the library has
//! nothing unwritten and has not begun the final response. Every wait has a limit. Memory is that of
//! one head and of one read.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::config::Limits;
use crate::guard::{Guard, Phase};
use crate::head::Refused;
use crate::link::Link;

/// Bytes read at once where they are looked at.
const CHUNK: usize = 8 * 1024;

/// Bytes read at once where they are not.
const UNSEEN: usize = 64 * 1024;

/// What the library sees in the place of a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: rewarm\r\nconnection: close\r\n\r\n";

/// So much of what a client still sends is read after the last response, and for so long, so that
/// the response is not lost with the connection.
const LINGER: (u64, Duration) = (1 << 20, Duration::from_secs(2));

/// What a connection consists of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the end of the stream an error for the other side, where an end could be mistaken.
    fn abort(&self);
}

/// The byte stream that the HTTP library sees.
pub(crate) struct Wire<S: Stream> {
    stream: S,
    link: Arc<Link>,
    limits: Limits,
    guard: Guard,
    /// Bytes that went through the guard, from `taken` on not yet read.
    passed: Vec<u8>,
    taken: usize,
    /// Whether nothing more is taken from the client.
    is_refused: bool,
    /// Bytes of our own, to be written before those of the library.
    own: Vec<u8>,
    /// By phase and the number of requests.
    reading: Alarm<(Phase, u64)>,
    writing: Alarm<()>,
    /// Bytes read after the last response.
    lingered: u64,
    is_shut: bool,
}

/// A wait that ends in an error; of what kind it is decides when it began.
struct Alarm<K> {
    set: Option<(K, Pin<Box<Sleep>>)>,
}

impl<K: PartialEq> Alarm<K> {
    fn clear(&mut self) {
        self.set = None;
    }

    /// Goes on waiting, from now on unless a wait of this kind is under way.
    fn wait(&mut self, kind: K, limit: Duration, context: &mut Context<'_>) -> Poll<io::Error> {
        let sleep = match &mut self.set {
            Some((set, sleep)) if *set == kind => sleep,
            set => {
                let sleep = Box::pin(tokio::time::sleep(limit));
                &mut set.insert((kind, sleep)).1
            }
        };
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S: Stream> Wire<S> {
    pub(crate) fn new(stream: S, link: Arc<Link>, limits: &Limits) -> Self {
        Self {
            stream,
            link,
            limits: limits.clone(),
            guard: Guard::new(limits.head_bytes, limits.fields),
            passed: Vec::new(),
            taken: 0,
            is_refused: false,
            own: Vec::new(),
            reading: Alarm { set: None },
            writing: Alarm { set: None },
            lingered: 0,
            is_shut: false,
        }
    }

    /// Waits for the first bytes, and says whether they are those of HTTP/2.
    pub(crate) async fn speaks_http2(&mut self) -> bool {
        let filled = std::future::poll_fn(|context| self.fill(context)).await;
        // What is wrong shows again when it is read.
        filled.is_ok() && self.guard.phase() == Phase::Http2
    }

    /// Takes bytes from the client until some went through, or there will be none.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.register(context);
        loop {
            if self.taken < self.passed.len() {
                return Poll::Ready(Ok(()));
            }
            if self.is_refused {
                let is_body = self.guard.phase() == Phase::Body;
                let error = Err(io::ErrorKind::InvalidData.into());
                return if is_body { Poll::Ready(error) } else { Poll::Pending };
            }
            let mut scratch = [0; CHUNK];
            let mut part = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut part) {
                Poll::Pending => return self.wait_to_read(context),
                Poll::Ready(Ok(())) if !part.filled().is_empty() => {}
                end_or_error => return end_or_error,
            }
            if let Err(refused) = self.guard.push(part.filled(), &mut self.passed) {
                self.refuse(refused);
            }
        }
    }

    /// Hands out what went through.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.passed[self.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.passed.len() {
            self.passed.clear();
            self.taken = 0;
        }
    }

    /// Nothing has come: waits on, as long as the phase allows.
    fn wait_to_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (phase, heads) = (self.guard.phase(), self.guard.heads());
        let limit = match phase {
            // Who waits for a body limits the wait.
            Phase::Tunnel | Phase::Body => None,
            Phase::Idle | Phase::Http2 if self.link.is_active() => None,
            Phase::Idle | Phase::Http2 => Some(self.limits.idle_timeout),
            Phase::Head => Some(self.limits.head_timeout),
        };
        let Some(limit) = limit else {
            self.reading.clear();
            return Poll::Pending;
        };
        ready!(self.reading.wait((phase, heads), limit, context));
        if phase != Phase::Head {
            // The end of an idle connection is nobody's fault.
            return Poll::Ready(Ok(()));
        }
        let status = StatusCode::REQUEST_TIMEOUT;
        self.refuse(Refused { status, reason: "the request did not come in time" });
        // There is something to be read now.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes no more from the client. The library gets a request that stands for the refused one;
    /// where a body is refused, the answer to its request says so.
    fn refuse(&mut self, refused: Refused) {
        self.is_refused = true;
        self.reading.clear();
        if self.guard.phase() != Phase::Body {
            self.link.refuse(self.guard.heads() + 1, refused);
            self.passed.extend_from_slice(STAND_IN);
        }
    }

    /// Reads bytes that need not be looked at.
    fn read_unseen(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ahead = usize::try_from(self.guard.data_ahead()).unwrap_or(usize::MAX);
        let room = ahead.min(buffer.remaining()).min(UNSEEN);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let count = part.filled().len();
        if read.is_pending() {
            return self.wait_to_read(context);
        }
        buffer.advance(count);
        self.guard.pass(count as u64);
        read
    }

    /// Writes bytes of our own.
    fn write_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.own) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.own.drain(..count);
                    self.writing.clear();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.wait_to_write(context).map(Err),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn wait_to_write(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.writing.wait((), self.limits.write_timeout, context)
    }

    /// Reads on after the last response, so that a client that still sends gets to read it.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; CHUNK];
        loop {
            let mut part = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut part) {
                Poll::Ready(Ok(())) if !part.filled().is_empty() && self.lingered < LINGER.0 => {
                    self.lingered += part.filled().len() as u64;
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    let kind = (Phase::Tunnel, u64::MAX);
                    return self.reading.wait(kind, LINGER.1, context).map(drop);
                }
            }
        }
    }
}

impl<S: Stream> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let is_unseen = this.passed.is_empty() && this.guard.data_ahead() > 0;
        if is_unseen && !this.is_refused {
            this.link.register(context);
            return this.read_unseen(context, buffer);
        }
        ready!(this.fill(context))?;
        this.hand_out(buffer);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.write_own(context))?;
        match Pin::new(&mut this.stream).poll_write_vectored(context, slices) {
            Poll::Pending => this.wait_to_write(context).map(Err),
            written => {
                this.writing.clear();
                written
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The library has nothing unwritten when it comes here.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.link.register(context);
        this.own.append(&mut this.link.take_interims());
        ready!(this.write_own(context))?;
        match Pin::new(&mut this.stream).poll_flush(context) {
            Poll::Pending => this.wait_to_write(context).map(Err),
            flushed => {
                this.writing.clear();
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            ready!(this.write_own(context))?;
            match Pin::new(&mut this.stream).poll_shutdown(context) {
                Poll::Pending => return this.wait_to_write(context).map(Err),
                Poll::Ready(shut) => shut?,
            }
            this.is_shut = true;
        }
        if this.is_refused || this.guard.phase() == Phase::Body {
            ready!(this.linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Drop for Wire<S> {
    fn drop(&mut self) {
        if self.link.is_aborted() && !self.is_shut {
            self.stream.abort();
        }
    }
}

impl Stream for TcpStream {
    fn abort(&self) {
        // Where this fails the connection is gone already.
        let _ = self.set_zero_linger();
    }
}
