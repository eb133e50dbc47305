//! Downloads go on at the origin's speed, whoever reads them and however slowly.

use std::sync::Mutex;

use futures_util::future::join_all;
use rewarm_http::{Body, Client, Event, NO_EVENTS, Reuse};
use rewarm_store::{Digest, Hasher};
use rewarm_testkit::server::{Content, Gate, Reply, Server};

use crate::common::{Cache, get, run};
use crate::flights::{SIZE, Worker, body, holding, holding_first, right};

/// The digest of what is left of a body, after what was read before.
async fn rest(body: &mut Body<'_>, mut hasher: Hasher) -> Digest {
    while let Some(bytes) = body.next().await.expect("no error") {
        hasher.update(&bytes);
    }
    hasher.finish()
}

async fn first(body: &mut Body<'_>) -> Hasher {
    let bytes = body.next().await.expect("no error").expect("bytes");
    let mut hasher = Hasher::raw();
    hasher.update(&bytes);
    hasher
}

#[test]
fn slow_reader_holds_back_no_other() {
    let server = Server::start(|_| body());
    let cache = Cache::new();
    let elsewhere = cache.again(|_| {});
    run(async {
        let request = get(&server.url("/a"));
        let mut slow = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        let begun = first(&mut slow.body).await;
        // While the first reader does nothing, one of its client and one of another finish.
        for client in [&cache.client, &elsewhere] {
            let mut quick = client.open(&request, NO_EVENTS).await.expect("a response");
            assert_eq!(rest(&mut quick.body, Hasher::raw()).await, right());
        }
        assert_eq!(rest(&mut slow.body, begun).await, right());
        assert_eq!(*slow.body.reuse(), Reuse::Downloaded);
    });
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn four_cold_readers_have_first_bytes_while_the_origin_waits() {
    let gate = Gate::closed();
    let server = holding(&gate, 64 * 1024);
    let cache = Cache::new();
    run(async {
        let request = get(&server.url("/a"));
        let mut responses: Vec<_> =
            join_all((0..4).map(|_| cache.client.open(&request, NO_EVENTS))).await;
        let begun = join_all(responses.iter_mut().map(|response| async {
            let response = response.as_mut().expect("a response");
            first(&mut response.body).await
        }));
        let begun = begun.await;
        gate.open();
        let ends = responses.iter_mut().zip(begun).map(|(response, hasher)| async {
            rest(&mut response.as_mut().expect("a response").body, hasher).await
        });
        assert_eq!(join_all(ends).await, vec![right(); 4]);
    });
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn four_cold_processes_have_first_bytes_while_the_origin_waits() {
    let gate = Gate::closed();
    let server = holding(&gate, 64 * 1024);
    let cache = Cache::new();
    let start = |_| Worker::start(cache.dir.path(), &server.url("/a"), "read");
    let mut workers: Vec<_> = (0..4).map(start).collect();
    workers.iter_mut().for_each(Worker::wait_first);
    gate.open();
    for worker in workers {
        assert_eq!(worker.digest(), right());
    }
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn download_that_nobody_reads_ends_and_is_resumed() {
    let gate = Gate::closed();
    let server = holding_first(&gate, 10_000_000);
    let cache = Cache::new();
    run(async {
        let mut response =
            cache.client.open(&get(&server.url("/a")), NO_EVENTS).await.expect("a response");
        let mut count = 0;
        while count < 10_000_000 {
            count += response.body.next().await.expect("no error").expect("bytes").len();
        }
        drop(response);
        cache.client.finish().await;
    });
    let (bytes, reuse) = cache.get(&server.url("/a")).expect("the whole");
    assert_eq!((Digest::of(bytes), reuse), (right(), Reuse::Resumed { from: 10_000_000 }));
}

#[test]
fn download_that_lacks_little_is_finished_for_nobody() {
    let gate = Gate::closed();
    let server = holding(&gate, SIZE - 100_000);
    let cache = Cache::with(|config| config.patience = std::time::Duration::from_secs(600));
    run(async {
        let mut response =
            cache.client.open(&get(&server.url("/a")), NO_EVENTS).await.expect("a response");
        let mut count = 0;
        while count < SIZE - 100_000 {
            count += response.body.next().await.expect("no error").expect("bytes").len() as u64;
        }
        drop(response);
        gate.open();
        cache.client.finish().await;
    });
    assert_eq!(cache.get(&server.url("/a")).expect("the whole").1, Reuse::Fresh);
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn readers_of_a_download_that_starts_over_get_one_version_or_an_error() {
    for (again, expected) in [("same", Some(right())), ("other", None)] {
        let gate = Gate::closed();
        let held = gate.clone();
        // Without a validator only the whole can be asked for once more.
        let server = Server::start(move |seen| match seen.nth {
            0 => Reply::generated(SIZE).gate_after(1_000_000, &held).cut_after(5_000_000),
            _ if again == "same" => Reply::generated(SIZE),
            _ => Reply::ok(vec![b'x'; 1000]),
        });
        let cache = Cache::new();
        run(async {
            let request = get(&server.url("/a"));
            let mut one = cache.client.open(&request, NO_EVENTS).await.expect("a response");
            let mut hasher = first(&mut one.body).await;
            let mut two = cache.client.open(&request, NO_EVENTS).await.expect("a response");
            let begun = first(&mut two.body).await;
            gate.open();
            let ended = async {
                while let Some(bytes) = one.body.next().await? {
                    hasher.update(&bytes);
                }
                Ok::<_, rewarm_http::FetchError>(hasher.finish())
            };
            assert_eq!(ended.await.ok(), expected, "{again}");
            if expected.is_some() {
                assert_eq!(rest(&mut two.body, begun).await, right());
            }
        });
        assert_eq!(server.count("/a"), 2, "{again}");
    }
}

#[test]
fn retries_are_told_to_the_reader() {
    let server = Server::start(|seen| match seen.nth {
        0 => body().cut_after(5_000_000),
        _ => body(),
    });
    let cache = Cache::new();
    let told = Mutex::new(0);
    let events = |event: Event<'_>| {
        if matches!(event, Event::Retrying { .. }) {
            *told.lock().expect("not poisoned") += 1;
        }
    };
    run(async {
        let request = get(&server.url("/a"));
        let mut response = cache.client.open(&request, &events).await.expect("a response");
        assert_eq!(rest(&mut response.body, Hasher::raw()).await, right());
    });
    assert_eq!(*told.lock().expect("not poisoned"), 1);
}

#[test]
fn reader_goes_on_with_the_connection_when_storing_fails_on_the_way() {
    let server = Server::start(|_| body());
    let cache = Cache::new();
    let worker = Worker::start_cramped(cache.dir.path(), &server.url("/a"), "read");
    assert_eq!(worker.digest(), right());
    assert_eq!(cache.files("partial-v1").len() + cache.files("blobs-v1").len(), 0);
    assert_eq!(server.count("/a"), 1);
}

#[test]
fn reader_gets_a_body_whose_blob_cannot_be_published() {
    let server = Server::start(|_| body());
    let cache = Cache::new();
    std::fs::write(cache.root().join("blobs-v1"), "in the way").expect("writable");
    run(async {
        let request = get(&server.url("/a"));
        let mut response = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        assert_eq!(rest(&mut response.body, Hasher::raw()).await, right());
        let reuse = response.body.reuse();
        assert!(matches!(reuse, Reuse::NotStored(why) if why.contains("cannot be written")));
    });
    assert_eq!(cache.files("partial-v1").len(), 0);
}

#[test]
fn body_that_is_not_stored_waits_for_its_reader() {
    // More than sockets hold: the origin cannot have sent it all before somebody reads.
    let size = 64_000_000;
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |_| {
        let reply = Reply::generated(size).header("cache-control", "no-store");
        reply.gate_after(size - 1000, &held)
    });
    let cache = Cache::new();
    run(async {
        let request = get(&server.url("/a"));
        let mut response = cache.client.open(&request, NO_EVENTS).await.expect("a response");
        let begun = first(&mut response.body).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!gate.is_reached());
        gate.open();
        let expected: Digest = Content::Generated(size).sha256().parse().expect("a digest");
        assert_eq!(rest(&mut response.body, begun).await, expected);
    });
}

/// Reads a body of so many bytes by so many readers at once, cold and then warm; the origin is asked
/// once.
fn many_readers(readers: usize, size: u64) {
    let server = Server::start(move |_| {
        Reply::generated(size).header("etag", "\"1\"").header("cache-control", "max-age=600")
    });
    let cache = Cache::new();
    let whole = Content::Generated(size).to_vec();
    for _ in ["cold", "warm"] {
        run(async {
            let url = server.url("/a");
            let all = (0..readers).map(|_| read_and_compare(&cache.client, &url, &whole));
            join_all(all).await;
            cache.client.finish().await;
        });
    }
    assert_eq!(server.count("/a"), 1);
    assert_eq!(cache.files("partial-v1").len(), 0);
}

async fn read_and_compare(client: &Client, url: &str, whole: &[u8]) {
    let mut response = client.open(&get(url), NO_EVENTS).await.expect("a response");
    let mut position = 0;
    while let Some(bytes) = response.body.next().await.expect("no error") {
        assert!(whole[position..position + bytes.len()] == bytes, "other bytes at {position}");
        position += bytes.len();
    }
    assert_eq!(position, whole.len());
}

#[test]
fn many_readers_share_one_download() {
    many_readers(30, 4_000_000);
}

/// Takes a while; prints how much memory the process took at most, of which the expected body and
/// the origin's pattern are 65 MB.
#[test]
#[ignore = "long; run by name to see the memory"]
fn three_hundred_readers_of_64_megabytes() {
    many_readers(300, 64_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}
