//! What both ends of an HTTP/2 stream need: fields that do not belong there, and bodies on their way
//! out.
//!
//! Of a body at most one chunk and one buffer are in memory. Who takes nothing for the time that is
//! allowed gets no more: such a stream is reset, as is one whose body breaks off.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http_body::Body;
use http_body_util::BodyExt;

/// Bytes that one stream may hold for the connection to send.
pub const BUFFER: usize = 64 * 1024;

/// Fields about an HTTP/1 connection, malformed here (RFC 9113 section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes out the fields that are malformed in HTTP/2.
pub fn strip(headers: &mut HeaderMap) {
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
}

/// Sends a body at the pace of the other side, which is waited for up to `limit` at a time. Says
/// whether all was sent; the other side may have stopped it.
pub async fn send<B: Body<Data = Bytes>>(
    body: B,
    mut stream: SendStream<Bytes>,
    limit: Duration,
) -> Result<bool, h2::Error> {
    let mut body = pin!(body);
    loop {
        let frame = tokio::select! {
            biased;
            reset = poll_fn(|context| stream.poll_reset(context)) => {
                return reset.map(|_| false);
            }
            frame = body.frame() => frame,
        };
        match frame {
            None => return stream.send_data(Bytes::new(), true).map(|()| true),
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Err(Reason::INTERNAL_ERROR.into());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => {
                    let is_last = body.is_end_stream();
                    send_data(&mut stream, bytes, is_last, limit).await?;
                    if is_last {
                        return Ok(true);
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return stream.send_trailers(trailers).map(|()| true);
                }
            },
        }
    }
}

/// Sends some bytes, as many at once as there is room for.
async fn send_data(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    is_last: bool,
    limit: Duration,
) -> Result<(), h2::Error> {
    if bytes.is_empty() && is_last {
        return stream.send_data(bytes, true);
    }
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len().min(BUFFER));
        let room = poll_fn(|context| poll_room(stream, context));
        let Ok(room) = tokio::time::timeout(limit, room).await else {
            stream.send_reset(Reason::CANCEL);
            return Err(Reason::CANCEL.into());
        };
        let part = bytes.split_to(room?.min(bytes.len()));
        stream.send_data(part, is_last && bytes.is_empty())?;
    }
    Ok(())
}

/// Bytes that may be sent now.
fn poll_room(
    stream: &mut SendStream<Bytes>,
    context: &mut Context<'_>,
) -> Poll<Result<usize, h2::Error>> {
    if let Poll::Ready(reset) = stream.poll_reset(context) {
        return Poll::Ready(reset.and_then(|reason| Err(reason.into())));
    }
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(context)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
    Poll::Ready(Ok(stream.capacity()))
}
