//! What the two ends of one connection tell each other past the HTTP library: the wire below it, and
//! the service above.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};

use crate::head::Refused;

/// More interim responses than this for one request are not passed on.
const INTERIMS: usize = 16;

/// State of a connection that both ends look at.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Requests whose responses are not over.
    active: AtomicUsize,
    /// Whether the end of the connection must not look like the end of a response.
    is_aborted: AtomicBool,
    requests: Mutex<Requests>,
    /// The task of the connection.
    waker: AtomicWaker,
}

/// The requests of a connection, which come one after the other where any of this matters.
#[derive(Debug, Default)]
struct Requests {
    /// Requests that have begun.
    count: u64,
    /// The number of the request that stands for a refused one.
    refused: Option<(u64, Refused)>,
    /// Interim responses on their way.
    interims: Vec<u8>,
    /// How many more the request at hand may have.
    interims_left: usize,
}

/// A request under way; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Active(Arc<Link>);

impl Active {
    /// The response stays a torso, and the end of the connection must not look like its end.
    pub(crate) fn abort(&self) {
        self.0.is_aborted.store(true, Ordering::SeqCst);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
        self.0.waker.wake();
    }
}

impl Link {
    /// A request has begun, of a client that knows interim responses or does not.
    pub(crate) fn begin(self: &Arc<Self>, takes_interim: bool) -> Active {
        self.active.fetch_add(1, Ordering::SeqCst);
        let mut requests = self.requests();
        requests.count += 1;
        requests.interims_left = if takes_interim { INTERIMS } else { 0 };
        Active(Arc::clone(self))
    }

    /// The request of this number, counted from 1, stands for one that is refused.
    pub(crate) fn refuse(&self, number: u64, refused: Refused) {
        self.requests().refused = Some((number, refused));
    }

    /// Why the request that began last is refused.
    pub(crate) fn refused(&self) -> Option<Refused> {
        let requests = self.requests();
        requests.refused.filter(|(number, _)| *number == requests.count).map(|(_, refused)| refused)
    }

    /// Whether a request is under way.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst) > 0
    }

    /// Names the task that is woken when there is something new.
    pub(crate) fn register(&self, context: &std::task::Context<'_>) {
        self.waker.register(context.waker());
    }

    /// Whether the end of the connection is to be an error for the client.
    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::SeqCst)
    }

    /// Hands an interim response of the request at hand to the wire (RFC 9110 section 15.2). The
    /// final one must wait until it is [gone](Self::interims_are_gone).
    pub(crate) fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut requests = self.requests();
        if requests.interims_left == 0 {
            return;
        }
        requests.interims_left -= 1;
        let interims = &mut requests.interims;
        let reason = status.canonical_reason().unwrap_or_default();
        let line = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
        interims.extend_from_slice(line.as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                interims.extend_from_slice(part);
            }
        }
        interims.extend_from_slice(b"\r\n");
        drop(requests);
        self.waker.wake();
    }

    /// The bytes of interim responses that wait. The final response may go on.
    pub(crate) fn take_interims(&self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.requests().interims);
        if !bytes.is_empty() {
            self.waker.wake();
        }
        bytes
    }

    /// Waits until the wire has taken all interim responses, which it does in the same task.
    pub(crate) async fn interims_are_gone(&self) {
        std::future::poll_fn(|_| match self.requests().interims.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
