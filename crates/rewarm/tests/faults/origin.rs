//! Origins that fail, stall, lie, or do not speak HTTP at all, met by every kind of request.
//!
//! Each fault is tried as one that lasts and as one that a repeated request does not meet again.

use std::sync::Arc;
use std::time::Duration;

use rewarm_testkit::raw::{After, Raw};
use rewarm_testkit::server::{Content, Ranges, Reply, Seen};

use crate::harness::{
    Act, Case, Draw, Handler, SIZE, Tally, Way, block_on, fetched, rounds, run, run_some, sound,
};

/// Ways to ask, without and with the digest.
const WAYS: [(Way, bool); 4] =
    [(Way::Keep, false), (Way::Read, false), (Way::Keep, true), (Way::Proxy, false)];

fn body() -> Vec<u8> {
    Content::Generated(SIZE).to_vec()
}

/// The bytes of a sound answer, with a head that ends the connection.
fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncache-control: max-age=600\r\n\
        connection: close\r\n{fields}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn plain() -> Vec<u8> {
    answer(&format!("content-length: {SIZE}\r\n"), &body())
}

/// The body in pieces of 10 000 bytes; also where each piece begins and ends in the answer.
fn chunked() -> (Vec<u8>, Vec<usize>) {
    let mut bytes = answer("transfer-encoding: chunked\r\n", &[]);
    let mut edges = vec![bytes.len()];
    for piece in body().chunks(10_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        edges.push(bytes.len());
        bytes.extend_from_slice(piece);
        edges.push(bytes.len());
        bytes.extend_from_slice(b"\r\n");
        edges.push(bytes.len());
    }
    bytes.extend_from_slice(b"0\r\n");
    edges.push(bytes.len());
    bytes.extend_from_slice(b"\r\n");
    (bytes, edges)
}

fn good() -> Handler {
    Arc::new(|_| sound())
}

/// Always these bytes.
fn always(bytes: Vec<u8>, after: After) -> Handler {
    let raw = Raw::new(bytes, after);
    Arc::new(move |_| Reply::raw(raw.clone()))
}

/// The fault in every way of asking: lasting, and passing after one request; with and without an
/// expected digest. `as_right` are bodies that nothing but a digest can tell from the right one.
fn every_way(name: &str, faulty: &Handler, as_right: &[Vec<u8>], tally: &mut Tally) {
    for (way, hashed) in WAYS {
        for lasts in [true, false] {
            let once = Arc::clone(faulty);
            let faulty: Handler = match lasts {
                true => once,
                false => {
                    Arc::new(move |seen: &Seen| if seen.nth == 0 { once(seen) } else { sound() })
                }
            };
            let name = format!("{name} {way:?} hashed {hashed} lasts {lasts}");
            let as_right = as_right.to_vec();
            let new = Case::new(name, way, good());
            run_some(3, &Case { hashed, faulty, as_right, retries: 1, ..new }, tally);
        }
    }
}

#[test]
fn connection_cut_at_any_byte_of_the_head_is_no_answer() {
    let mut tally = Tally::default();
    let whole = plain();
    let head = whole.len() - usize::try_from(SIZE).expect("small");
    let step = if rounds(0) > 0 { 1 } else { 9 };
    for cut in (0..=head).step_by(step) {
        let faulty = always(whole[..cut].to_vec(), After::Close);
        every_way(&format!("cut in the head at {cut}"), &faulty, &[], &mut tally);
    }
    tally.report("connections cut in the head");
    assert!(tally.errors() > 0 && tally.right() > 0);
}

#[test]
fn connection_cut_at_any_edge_of_a_chunk_is_no_end() {
    let mut tally = Tally::default();
    let (whole, edges) = chunked();
    let step = if rounds(0) > 0 { 1 } else { 7 };
    let mut cuts: Vec<usize> =
        edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]).collect();
    cuts.dedup();
    let last = whole.len() - 5..whole.len();
    let cuts = cuts.into_iter().step_by(step).chain(last);
    for cut in cuts.filter(|&cut| cut < whole.len()) {
        let faulty = always(whole[..cut].to_vec(), After::Close);
        every_way(&format!("cut at {cut} of chunks"), &faulty, &[], &mut tally);
    }
    tally.report("connections cut at the edge of a chunk");
    assert!(tally.errors() > 0 && tally.right() > 0);
}

#[test]
fn connection_cut_in_a_body_of_known_length_is_no_end() {
    let mut tally = Tally::default();
    let mut cuts = vec![0, 1, 65_535, 65_536, 65_537, SIZE - 1];
    let mut draw = Draw::new(7);
    cuts.extend((0..rounds(4)).map(|_| draw.below(SIZE)));
    for cut in cuts {
        let faulty: Handler = Arc::new(move |_| sound().cut_after(cut));
        every_way(&format!("cut at {cut}"), &faulty, &[], &mut tally);
    }
    tally.report("connections cut in the body");
    assert!(tally.right() > 0);
}

#[test]
fn what_is_not_http_is_an_error() {
    let mut tally = Tally::default();
    let size = usize::try_from(SIZE).expect("small");
    // What comes is a beginning of the body, so that the rest may be asked for.
    let chunk = |before: &str, count: usize, after: &str| {
        let pieces = [before.as_bytes(), &body()[..count], after.as_bytes()].concat();
        answer("transfer-encoding: chunked\r\n", &pieces)
    };
    let end = "\r\n0\r\n\r\n";
    let length = |text: &str| answer(&format!("content-length: {text}\r\n"), &body());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no word of HTTP", b"220 mail.example.org ESMTP\r\n".to_vec()),
        ("a line without end", vec![b'x'; 200_000]),
        ("nothing but blank lines", b"\r\n".repeat(1000)),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("an unknown version", b"HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("a field without a colon", answer("no colon\r\ncontent-length: 5\r\n", b"hello")),
        ("a field with a zero byte", answer("x: a\0b\r\ncontent-length: 5\r\n", b"hello")),
        ("a chunk size that is none", chunk("zz\r\n", 5, end)),
        ("a negative chunk size", chunk("-5\r\n", 5, end)),
        ("a chunk size beyond all bounds", chunk("fffffffffffffffff\r\n", 5, end)),
        ("the greatest chunk size", chunk("ffffffffffffffff\r\n", 5, "")),
        ("a chunk longer than it says", chunk("2\r\n", 5, end)),
        ("a chunk without its line end", chunk("5\r\n", 5, "0\r\n\r\n")),
        ("a chunk without an end", chunk("5\r\n", 5, "\r\n")),
        ("a length that is no number", length("many")),
        ("a negative length", length("-1")),
        ("a length beyond all bounds", length("99999999999999999999999")),
        ("the greatest length", length("18446744073709551615")),
        ("two lengths that differ", length("5\r\ncontent-length: 6")),
        ("a length too great by one", length(&(size + 1).to_string())),
        ("a length and chunks that are none", length("5\r\ntransfer-encoding: chunked")),
    ];
    for (name, bytes) in cases {
        every_way(name, &always(bytes, After::Close), &[], &mut tally);
    }
    tally.report("answers that are not HTTP");
    assert!(tally.errors() > 0 && tally.right() > 0);
}

#[test]
fn heads_that_never_end_are_cut_short() {
    let mut tally = Tally::default();
    let head = b"HTTP/1.1 200 OK\r\n";
    let field = After::Repeat(b"x-more: and more\r\n".repeat(100));
    every_way("an endless head", &always(head.to_vec(), field), &[], &mut tally);
    tally.report("endless heads");
    assert!(tally.errors() > 0 && tally.right() > 0);
}

#[test]
fn stalled_origins_are_given_up() {
    let mut tally = Tally::default();
    let whole = plain();
    let head = whole.len() - usize::try_from(SIZE).expect("small");
    for at in [0, 10, head - 1, head, head + 1, whole.len() - 1] {
        let raw = Raw::new(&whole[..at], After::Stall);
        for (way, hashed) in WAYS {
            let raw = raw.clone();
            let faulty: Handler = Arc::new(move |_| Reply::raw(raw.clone()));
            let new = Case::new(format!("stalls at {at} {way:?}"), way, good());
            let patience = Duration::from_millis(150);
            run(&Case { hashed, faulty, patience, ..new }, &mut tally);
        }
    }
    tally.report("stalled origins");
    assert!(tally.errors() > 0);
}

#[test]
fn answers_nobody_asked_for_are_no_bodies() {
    let mut tally = Tally::default();
    let part = |range: &str| {
        let bytes = body()[..1000].to_vec();
        let range = range.to_owned();
        let reply = move |_: &Seen| {
            Reply::status(206, bytes.clone())
                .header("content-range", &range)
                .header("etag", "\"1\"")
        };
        Arc::new(reply) as Handler
    };
    let status = |status: u16| {
        let reply = move |_: &Seen| Reply::status(status, "").header("etag", "\"1\"");
        Arc::new(reply) as Handler
    };
    let cases = [
        ("a part", part("bytes 0-999/150000")),
        ("a part that says it is all", part("bytes 0-999/1000")),
        ("a part without a place", Arc::new(|_: &Seen| Reply::status(206, "x")) as Handler),
        ("not modified", status(304)),
        ("not modified, without a tag", Arc::new(|_: &Seen| Reply::status(304, "")) as Handler),
        ("not satisfiable", status(416)),
        ("precondition failed", status(412)),
        ("a redirect to nowhere", status(302)),
        ("a status without a meaning", status(299 + 500)),
    ];
    for (name, faulty) in cases {
        every_way(name, &faulty, &[], &mut tally);
    }
    tally.report("answers nobody asked for");
    assert!(tally.errors() > 0);
}

#[test]
fn bodies_of_another_length_or_digest_are_not_kept_under_the_expected_one() {
    let mut tally = Tally::default();
    let lie = |bytes: Vec<u8>| -> Handler {
        Arc::new(move |_: &Seen| {
            // Of no use for later: only the digest tells it from the right one.
            Reply::ok(bytes.clone()).header("etag", "\"2\"").header("cache-control", "no-cache")
        })
    };
    let mut flipped = body();
    flipped[75_000] ^= 1;
    let bodies = [
        ("a flipped bit", flipped),
        ("a byte less", body()[1..].to_vec()),
        ("a byte more", [&body()[..], b"x"].concat()),
        ("another body", b"<html>log in first</html>".to_vec()),
        ("nothing", Vec::new()),
        ("the body twice", body().repeat(2)),
    ];
    for (name, bytes) in bodies {
        every_way(name, &lie(bytes.clone()), &[bytes], &mut tally);
    }
    tally.report("bodies that are not the promised ones");
    assert!(tally.errors() > 0 && tally.right() > 0);
}

/// What is on disk after a download that broke off at `cut`; the origin has changed since.
fn broken_off(
    cut: u64,
    (way, hashed): (Way, bool),
    (name, then): (&str, Handler),
    as_right: Vec<Vec<u8>>,
    tally: &mut Tally,
) {
    let prepare: Act = Box::new(move |scene| {
        scene.set_faulty(true);
        let request = scene.request(hashed);
        let client = scene.client(|_| {});
        block_on(fetched(&client, &request, Way::Keep)).expect_err("cut");
    });
    let faulty: Handler = Arc::new(move |seen: &Seen| match seen.nth {
        0 => sound().cut_after(cut),
        _ => then(seen),
    });
    let name = format!("{name}, broken off at {cut}, {way:?} hashed {hashed}");
    let new = Case::new(name, way, good());
    run_some(3, &Case { hashed, prepare, faulty, as_right, retries: 1, ..new }, tally);
}

#[test]
fn ranges_that_lie_never_mix_two_bodies() {
    let mut tally = Tally::default();
    let other = || vec![b'o'; usize::try_from(SIZE).expect("small")];
    let new = move |tag: &'static str, ranges: Ranges| -> Handler {
        Arc::new(move |_: &Seen| {
            let reply = Reply::ok(other()).header("etag", tag).header("cache-control", "no-cache");
            reply.ranges(ranges)
        })
    };
    let same = |ranges: Ranges| -> Handler { Arc::new(move |_: &Seen| sound().ranges(ranges)) };
    for cut in [1, 65_536, SIZE - 1] {
        for asked in WAYS {
            let lies = [
                Ranges::WrongStart,
                Ranges::WrongTotal,
                Ranges::Refused,
                Ranges::Ignored,
                Ranges::Unconditional,
            ];
            for ranges in lies {
                let name = format!("same file, {ranges:?}");
                broken_off(cut, asked, (&name, same(ranges)), Vec::new(), &mut tally);
                let name = format!("changed file, {ranges:?}");
                let then = new("\"2\"", ranges);
                broken_off(cut, asked, (&name, then), vec![other()], &mut tally);
            }
            let then = new("\"2\"", Ranges::Honest);
            broken_off(cut, asked, ("changed file", then), vec![other()], &mut tally);
        }
        // A changed file under the old tag: only the digest can tell.
        let then = new("\"1\"", Ranges::Unconditional);
        broken_off(cut, (Way::Keep, true), ("changed in secret", then), Vec::new(), &mut tally);
        let cut_again: Handler = Arc::new(move |_: &Seen| sound().cut_after(1));
        for asked in WAYS {
            broken_off(cut, asked, ("cut again", Arc::clone(&cut_again)), Vec::new(), &mut tally);
        }
    }
    tally.report("ranges that lie");
    assert!(tally.right() > 0 && tally.errors() > 0);
}

#[test]
fn the_command_says_what_the_origin_did() {
    let whole = plain();
    let cases: Vec<(&str, Handler)> = vec![
        ("cut in the body", always(whole[..whole.len() - 1].to_vec(), After::Close)),
        ("chunk size", always(answer("transfer-encoding: chunked\r\n", b"zz\r\n"), After::Close)),
        (
            "a part",
            Arc::new(|_: &Seen| Reply::status(206, "x").header("content-range", "bytes 0-0/9")),
        ),
        ("another body", Arc::new(|_: &Seen| Reply::ok("no").header("cache-control", "no-cache"))),
    ];
    // Each waits for its retries, so all at once.
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let started: Vec<_> = cases
            .into_iter()
            .map(|(name, faulty)| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    let new = Case::new(format!("command: {name}"), Way::Command, good());
                    run(&Case { hashed: true, faulty, ..new }, &mut tally);
                    tally
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for tally in tallies {
        tally.report("origins that fail a command");
        assert_eq!(tally.errors(), 1);
    }
}
