//! HTTP/2 frame by frame: interim answers, resets, connections that go away or fall silent, and room.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use rewarm_http::{ErrorKind, NO_EVENTS, Request, RequestBody, Reuse};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::common::{Cache, get, run};
use crate::modern::Modern;

/// An origin that speaks HTTP/2 only.
struct Origin {
    modern: Modern,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// One request to the origin, and what it can do.
struct Asked {
    /// Counted from 0.
    nth: usize,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    /// Lets the connection end when the streams under way are over, or at once.
    leave: UnboundedSender<bool>,
}

impl Origin {
    /// Answers each request by `answer`; `silent` connections at the beginning are never read.
    fn start<F: Future<Output = ()> + Send + 'static>(
        silent: usize,
        answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let ours = Arc::clone(&counts);
        let modern = Modern::run(false, async move |listener| {
            let mut held = Vec::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                if ours.connections.fetch_add(1, Ordering::SeqCst) < silent {
                    held.push(stream);
                    continue;
                }
                tokio::spawn(serve(stream, Arc::clone(&ours), answer.clone()));
            }
        });
        Self { modern, counts }
    }

    fn url(&self, path: &str) -> String {
        self.modern.url(path)
    }

    fn counts(&self) -> (usize, usize) {
        let Counts { connections, requests } = &*self.counts;
        (connections.load(Ordering::SeqCst), requests.load(Ordering::SeqCst))
    }
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    stream: tokio::net::TcpStream,
    counts: Arc<Counts>,
    answer: impl Fn(Asked) -> F,
) {
    // A connection that breaks is the client's business.
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let (leave, mut leaving) = unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let nth = counts.requests.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(Asked { nth, request, respond, leave: leave.clone() }));
            }
            Some(at_once) = leaving.recv() => {
                if at_once {
                    return;
                }
                connection.graceful_shutdown();
            }
        }
    }
}

impl Asked {
    fn interim(&mut self, status: u16, link: Option<&'static str>) {
        let mut response = Response::builder().status(status);
        if let Some(link) = link {
            response = response.header("link", link);
        }
        // The stream may be over.
        let _ = self.respond.send_informational(response.body(()).expect("a response"));
    }

    /// The head of a 200 that may be stored; its body follows.
    fn head(&mut self, length: Option<usize>) -> h2::SendStream<Bytes> {
        let mut response = Response::builder().header("cache-control", "max-age=60");
        if let Some(length) = length {
            response = response.header("content-length", length);
        }
        let response = response.body(()).expect("a response");
        self.respond.send_response(response, false).expect("the stream is open")
    }

    fn ok(mut self, body: &'static str) {
        let mut stream = self.head(Some(body.len()));
        stream.send_data(Bytes::from_static(body.as_bytes()), true).expect("the stream is open");
    }
}

fn cache(change: impl FnOnce(&mut rewarm_http::ClientConfig)) -> Cache {
    Cache::with(|config| {
        config.http2_prior_knowledge = true;
        config.retries = 0;
        change(config);
    })
}

/// What was told of interim answers.
type Told = Arc<Mutex<Vec<(u16, Option<HeaderValue>)>>>;

/// A request whose interim answers are written down.
fn listening(url: &str) -> (Request, Told) {
    let told = Told::default();
    let ours = Arc::clone(&told);
    let interim = move |status: StatusCode, headers: &HeaderMap| {
        let link = headers.get("link").cloned();
        ours.lock().expect("not poisoned").push((status.as_u16(), link));
    };
    (Request { interim: Some(Arc::new(interim)), ..get(url) }, told)
}

fn post(url: &str) -> Request {
    Request { method: Method::POST, body: "x".into(), ..get(url) }
}

#[test]
fn rfc9113_8_1_interim_answers_are_told_in_order() {
    let origin = Origin::start(0, async |mut asked: Asked| {
        asked.interim(103, Some("</a.css>"));
        asked.interim(102, None);
        asked.ok("hi");
    });
    let (request, told) = listening(&origin.url("/a"));
    assert_eq!(cache(|_| {}).send(&request).expect("a body").0, b"hi");
    let link = HeaderValue::from_static("</a.css>");
    assert_eq!(*told.lock().expect("not poisoned"), [(103, Some(link)), (102, None)]);
}

#[test]
fn endless_interim_answers_hold_a_call_no_longer_than_silence() {
    let origin = Origin::start(0, async |mut asked: Asked| {
        while !poll_fn(|context| {
            std::task::Poll::Ready(asked.respond.poll_reset(context).is_ready())
        })
        .await
        {
            asked.interim(102, None);
            tokio::task::yield_now().await;
        }
    });
    let cache = cache(|config| config.read_timeout = Duration::from_millis(100));
    let (request, told) = listening(&origin.url("/a"));
    assert_eq!(cache.send(&request).expect_err("no answer").kind, ErrorKind::Timeout);
    assert!(told.lock().expect("not poisoned").len() <= 64);
    assert_eq!(cache.get(&origin.url("/b")).expect_err("no answer").kind, ErrorKind::Timeout);
}

#[test]
fn more_interim_answers_than_anybody_needs_are_passed_over() {
    let origin = Origin::start(0, async |mut asked: Asked| {
        for _ in 0..1000 {
            asked.interim(102, None);
        }
        asked.ok("hi");
    });
    let (request, told) = listening(&origin.url("/a"));
    assert_eq!(cache(|_| {}).send(&request).expect("a body").0, b"hi");
    assert_eq!(told.lock().expect("not poisoned").len(), 64);
}

#[test]
fn rfc9113_8_6_change_of_protocol_is_refused() {
    let origin = Origin::start(0, async |mut asked: Asked| {
        asked.interim(101, None);
        asked.ok("hi");
    });
    let error = cache(|_| {}).get(&origin.url("/a")).expect_err("101");
    assert_eq!(error.kind, ErrorKind::Broken);
}

#[test]
fn rfc9113_8_7_refused_request_is_sent_again_once_whatever_its_method() {
    let origin = Origin::start(0, async |mut asked: Asked| match asked.nth {
        0 => asked.respond.send_reset(Reason::REFUSED_STREAM),
        _ => asked.ok("hi"),
    });
    assert_eq!(cache(|_| {}).send(&post(&origin.url("/a"))).expect("a body").0, b"hi");
    assert_eq!(origin.counts(), (1, 2));
    let never = Origin::start(0, async |mut asked: Asked| {
        asked.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let error = cache(|_| {}).send(&post(&never.url("/a"))).expect_err("refused");
    assert_eq!((error.kind, never.counts()), (ErrorKind::Broken, (1, 2)));
}

#[test]
fn another_reset_is_not_taken_for_a_refusal() {
    let origin = Origin::start(0, async |mut asked: Asked| {
        asked.respond.send_reset(Reason::INTERNAL_ERROR);
    });
    let error = cache(|_| {}).send(&post(&origin.url("/a"))).expect_err("a reset");
    assert_eq!((error.kind, origin.counts()), (ErrorKind::Broken, (1, 1)));
    assert_eq!(cache(|_| {}).get(&origin.url("/a")).expect_err("a reset").kind, ErrorKind::Broken);
    assert_eq!(origin.counts(), (2, 2));
}

#[test]
fn rfc9113_6_8_connection_that_goes_away_is_replaced() {
    let origin = Origin::start(0, async |asked: Asked| {
        let leave = asked.leave.clone();
        asked.ok("hi");
        leave.send(false).expect("the connection is there");
    });
    let cache = cache(|_| {});
    run(async {
        for nth in 0..5 {
            let request = post(&origin.url("/a"));
            let response = cache.client.open(&request, NO_EVENTS).await.expect("an answer");
            assert_eq!(response.status, 200, "{nth}");
        }
    });
    assert_eq!(origin.counts().1, 5);
}

#[test]
fn rfc9110_9_2_2_request_on_a_connection_that_breaks_is_repeated_if_that_is_safe() {
    let start = || {
        Origin::start(0, async |asked: Asked| match asked.nth {
            1 => {
                asked.leave.send(true).expect("the connection is there");
                // The stream must not end before its connection.
                std::future::pending().await
            }
            _ => asked.ok("hi"),
        })
    };
    let second = |origin: &Origin, request: Request| {
        let cache = cache(|_| {});
        run(async {
            cache.client.fetch(&get(&origin.url("/first")), NO_EVENTS).await.expect("an answer");
            cache.client.fetch(&request, NO_EVENTS).await.map(drop).map_err(|error| error.kind)
        })
    };
    let origin = start();
    assert_eq!(second(&origin, get(&origin.url("/second"))), Ok(()));
    assert_eq!(origin.counts(), (2, 3));
    let origin = start();
    assert_eq!(second(&origin, post(&origin.url("/second"))), Err(ErrorKind::Broken));
    assert_eq!(origin.counts(), (1, 2));
}

#[test]
fn rfc9113_9_1_cold_requests_share_a_connection() {
    let origin = Origin::start(0, async |asked: Asked| asked.ok("hi"));
    let cache = cache(|_| {});
    run(async {
        let mut all = tokio::task::JoinSet::new();
        for nth in 0..20 {
            let (client, request) = (cache.client.clone(), get(&origin.url(&format!("/{nth}"))));
            all.spawn(async move { client.fetch(&request, NO_EVENTS).await.map(drop) });
        }
        for result in all.join_all().await {
            result.expect("an answer");
        }
    });
    assert_eq!(origin.counts(), (1, 20));
}

#[test]
fn who_waits_for_a_connection_that_is_not_made_hears_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let cache = cache(|_| {});
    run(async {
        let mut all = tokio::task::JoinSet::new();
        for nth in 0..5 {
            let request = get(&format!("http://{address}/{nth}"));
            let client = cache.client.clone();
            all.spawn(async move { client.fetch(&request, NO_EVENTS).await.map(drop) });
        }
        for result in all.join_all().await {
            assert_eq!(result.map_err(|error| error.kind), Err(ErrorKind::Connect));
        }
    });
}

#[test]
fn rfc9113_5_4_2_stream_that_is_reset_leaves_the_others_alone() {
    let origin = Origin::start(0, async |mut asked: Asked| match asked.request.uri().path() {
        "/cut" => {
            let mut stream = asked.head(Some(10));
            stream.send_data(Bytes::from_static(b"hello"), false).expect("the stream is open");
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        _ => asked.ok("hi"),
    });
    let cache = cache(|_| {});
    run(async {
        let cut = cache.client.fetch(&get(&origin.url("/cut")), NO_EVENTS).await;
        assert_eq!(cut.map(drop).map_err(|error| error.kind), Err(ErrorKind::Broken));
        cache.client.fetch(&get(&origin.url("/whole")), NO_EVENTS).await.expect("an answer");
    });
    assert_eq!(origin.counts(), (1, 2));
    assert_eq!(cache.files("http-v1").len(), 1);
}

#[test]
fn body_that_is_cut_in_peace_is_cut_all_the_same() {
    let origin = Origin::start(0, async |mut asked: Asked| {
        let mut stream = asked.head(None);
        stream.send_data(Bytes::from_static(b"hello"), false).expect("the stream is open");
        stream.send_reset(Reason::NO_ERROR);
    });
    let cache = cache(|_| {});
    assert_eq!(cache.get(&origin.url("/a")).expect_err("cut").kind, ErrorKind::Broken);
    assert_eq!(cache.files("blobs-v1").len() + cache.files("http-v1").len(), 0);
}

#[test]
fn rfc9113_8_1_answer_counts_although_the_request_is_stopped() {
    for length in [None, Some(5)] {
        let origin = Origin::start(0, move |mut asked: Asked| async move {
            let mut stream = asked.head(length);
            stream.send_data(Bytes::from_static(b"early"), true).expect("the stream is open");
            // What was not read of the request is reset with NO_ERROR when this is dropped.
        });
        let (sender, body) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        sender.send(Bytes::from_static(b"x")).expect("it is read");
        let body = RequestBody::stream(Unending(body));
        let request = Request { method: Method::PUT, body, ..get(&origin.url("/a")) };
        let cache = cache(|_| {});
        assert_eq!(cache.send(&request).expect("a body").0, b"early", "{length:?}");
        drop(sender);
    }
}

/// A body that ends when its sender is dropped.
struct Unending(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Unending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

#[test]
fn rfc9113_5_2_body_that_nobody_reads_comes_no_further_than_the_window() {
    const WINDOW: usize = 4 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&sent);
    let origin = Origin::start(0, move |mut asked: Asked| {
        let sent = Arc::clone(&ours);
        async move {
            let response = Response::builder().header("cache-control", "no-store").body(());
            let response = response.expect("a response");
            let mut stream = asked.respond.send_response(response, false).expect("it is open");
            loop {
                stream.reserve_capacity(1 << 16);
                let room = poll_fn(|context| stream.poll_capacity(context)).await;
                let Some(Ok(room)) = room else { return };
                if stream.send_data(Bytes::from(vec![0; room]), false).is_err() {
                    return;
                }
                sent.fetch_add(room, Ordering::SeqCst);
            }
        }
    });
    let cache = cache(|_| {});
    run(async {
        let request = get(&origin.url("/a"));
        let mut response = cache.client.open(&request, NO_EVENTS).await.expect("an answer");
        while sent.load(Ordering::SeqCst) < WINDOW {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sent.load(Ordering::SeqCst), WINDOW);
        // What is read makes room for as much, and for no more.
        let mut read = 0;
        while read < 1 << 20 {
            read += response.body.next().await.expect("bytes").expect("more").len();
        }
        assert!(matches!(response.body.reuse(), Reuse::NotStored(_)));
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(sent.load(Ordering::SeqCst) <= WINDOW + read);
    });
}

#[test]
fn connection_that_fell_silent_is_not_used_again() {
    let origin = Origin::start(1, async |asked: Asked| asked.ok("hi"));
    let cache = cache(|config| {
        // More than enough, where the machine is slow.
        config.retries = 9;
        config.read_timeout = Duration::from_millis(300);
    });
    assert_eq!(cache.get(&origin.url("/a")).expect("a body").0, b"hi");
    assert!(origin.counts().0 >= 2);
}
