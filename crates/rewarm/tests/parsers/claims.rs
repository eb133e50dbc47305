//! What must hold of every parser of bytes from outside, whatever the bytes: one function for each
//! parser, which panics where a claim fails.
//!
//! Two drivers share them: the property tests beside this file, and the fuzz targets in `fuzz/`.

use std::cell::OnceCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rewarm_http::Url;
use rewarm_http::policy::control::{CacheControl, directives};
use rewarm_http::policy::date::parse_date;
use rewarm_http::policy::decide::{
    Decision, RequestHead, conditions, decide, select, select_for_update, time_to_live,
};
use rewarm_http::policy::freshness::current_age;
use rewarm_http::policy::range::{self, Selected};
use rewarm_http::policy::shape::shape;
use rewarm_http::policy::storing::{end_to_end, invalidated, reusable_fields, storable};
use rewarm_http::policy::{Role, preconditions, targeted};
use rewarm_http::record::{self, Record};
use rewarm_http::resume::{content_range, is_the_rest};
use rewarm_proxy::guard::Guard;
use rewarm_proxy::packages::{self, Asked, Packages, Rewrite, Secret, Upstream, Upstreams};
use rewarm_store::{Digest, Kind, Store};

const ROLES: [Role; 2] = [Role::Private, Role::Shared];

/// The first bytes as a number, and the rest.
fn split_number(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes {
        [first, second, rest @ ..] => (usize::from(*first) << 8 | usize::from(*second), rest),
        _ => (0, bytes),
    }
}

/// Lines of bytes as the values of one field, without those that no field can have.
fn field(name: &HeaderName, lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n').take(20) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name.clone(), value);
        }
    }
    headers
}

/// Lines of the form `name: value` as fields.
fn fields(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n').take(20) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

thread_local! {
    static STORE: OnceCell<(tempfile::TempDir, Store)> = const { OnceCell::new() };
}

/// A record is exactly what was written, or a miss; nothing that policies do with it panics.
pub fn record(bytes: &[u8]) {
    STORE.with(|cell| {
        let (_dir, store) = cell.get_or_init(|| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = Store::open(&dir.path().join("cache")).expect("a store");
            (dir, store)
        });
        record_in(store, bytes);
    });
}

fn record_in(store: &Store, bytes: &[u8]) {
    let key = Digest::of("key");
    let Some((&first, payload)) = bytes.split_first() else { return };
    // Either the bytes as they are, or a payload in a sound envelope.
    let file = if first & 1 == 0 { payload.to_vec() } else { sealed(&key, payload) };
    let path = store.record_path::<Record>(&key);
    std::fs::create_dir_all(path.parent().expect("below the store")).expect("writable");
    std::fs::write(&path, &file).expect("writable");
    let Some(read) = store.read::<Record>(&key) else {
        // An empty one stands for none at all, over a store below.
        assert!(file.is_empty() || !path.exists(), "a damaged record is dropped");
        return;
    };
    policies(&read);
    store.write(&key, &read).expect("writable");
    assert_eq!(store.read::<Record>(&key).as_ref(), Some(&read), "what was written is read");
}

/// The envelope of a record around a payload.
fn sealed(key: &Digest, payload: &[u8]) -> Vec<u8> {
    let name = Record::NAME.as_bytes();
    let mut bytes = [&b"RWRM\x01"[..], &Record::VERSION.to_le_bytes()].concat();
    bytes.push(u8::try_from(name.len()).expect("short"));
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(payload);
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn policies(record: &Record) {
    let request = HeaderMap::new();
    let times = [UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1_700_000_000)];
    for role in ROLES {
        let head = RequestHead { method: &Method::GET, headers: &request, role };
        for now in times {
            decided(head, record, now);
        }
    }
    let all: Vec<usize> = (0..record.variants.len()).collect();
    conditions(record, &all, &request);
    let chosen = select_for_update(record, &all, &request).into_iter();
    assert!(chosen.chain(select(record, &request)).all(|index| all.contains(&index)));
}

fn decided(head: RequestHead<'_>, record: &Record, now: SystemTime) {
    let count = record.variants.len();
    match decide(head, Some(record), now) {
        Decision::Serve { variant, .. } => assert!(variant < count),
        Decision::Validate { variants, .. } => assert!(variants.iter().all(|&it| it < count)),
        Decision::Fetch { .. } | Decision::Refuse { .. } => {}
    }
    for variant in &record.variants {
        let kept = reusable_fields(head.role, variant);
        assert!(kept.len() <= variant.headers().len(), "nothing is added");
        let _ = current_age(variant, &kept, now);
        let _ = time_to_live(head.role, variant, now);
        let _ = (variant.etag(), variant.status(), variant.matches(head.headers));
    }
}

/// Directives mean the same in either case of letters and on one line or several; one more only
/// ever makes less reusable.
pub fn cache_control(bytes: &[u8]) {
    let name = http::header::CACHE_CONTROL;
    let headers = field(&name, bytes);
    directives(bytes);
    targeted::parse(bytes);
    let _ = CacheControl::of_request(&headers);
    let _ = CacheControl::of_response(
        Role::Shared,
        &field(&"cdn-cache-control".parse().expect("a name"), bytes),
    );
    for role in ROLES {
        let read = CacheControl::of_response(role, &headers);
        let upper = CacheControl::of_response(role, &field(&name, &bytes.to_ascii_uppercase()));
        assert_eq!(read, upper, "the case of letters does not count");
        if !bytes.contains(&b'"') {
            let lines: Vec<&[u8]> =
                headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
            let joined = field(&name, &lines.join(&b", "[..]));
            assert_eq!(read, CacheControl::of_response(role, &joined), "lines make one list");
        }
        let mut more = headers.clone();
        more.append(&name, HeaderValue::from_static("no-store, max-age=0, s-maxage=0"));
        let more = CacheControl::of_response(role, &more);
        assert!(more.no_store && more.max_age == Some(Duration::ZERO), "the stricter counts");
        assert!(
            read.max_age.is_none_or(|age| age.as_secs() <= 1 << 31),
            "delta-seconds are bounded"
        );
    }
}

/// A date that can be read is read the same from its own canonical form.
pub fn dates(bytes: &[u8]) {
    let Some(time) = parse_date(bytes) else { return };
    let seconds = time.duration_since(UNIX_EPOCH).expect("no date before the epoch is read");
    // Years of more than four digits have no form.
    if seconds < Duration::from_secs(253_402_300_800) {
        let text = httpdate::fmt_http_date(time);
        assert_eq!(parse_date(text.as_bytes()), Some(time), "{text}");
    }
}

/// A range lies within the body and is not empty; a part is the rest only if it ends with the body.
pub fn ranges(bytes: &[u8]) {
    let (start, bytes) = split_number(bytes);
    let start = start as u64;
    for total in [0, 1, 10, 70_000, u64::MAX] {
        if let Some(Selected::Part(part)) = range::parse(bytes).map(|spec| spec.select(total)) {
            assert!(part.start < part.end && part.end <= total, "{part:?} of {total}");
        }
    }
    let part = field(&http::header::CONTENT_RANGE, bytes);
    if let Some((first, last, total)) = content_range(&part) {
        assert!(
            first <= last && total.is_none_or(|total| last < total),
            "{first}-{last}/{total:?}"
        );
    }
    let stored = HeaderMap::new();
    for total in [None, Some(10), Some(70_000)] {
        if is_the_rest(&part, start, total, &stored) {
            let (first, last, said) = content_range(&part).expect("it was read");
            assert_eq!(first, start);
            assert_eq!(total.or(said), Some(last + 1), "to the end");
        }
    }
    conditions_of(&fields(bytes));
}

/// Conditions and ranges of a client against a response, both of arbitrary fields.
fn conditions_of(terms: &HeaderMap) {
    let mut stored = end_to_end(terms);
    stored.insert(http::header::ETAG, HeaderValue::from_static("\"a\""));
    let _ = preconditions::are_for_the_origin(terms);
    for size in [0, 1, 70_000] {
        let made = shape(&Method::GET, terms, (StatusCode::OK, &stored), size);
        let (status, head) = made.head(StatusCode::OK, stored.clone(), size);
        assert!(matches!(status.as_u16(), 200 | 206 | 304 | 416), "{status}");
        assert!(status != StatusCode::PARTIAL_CONTENT || content_range(&head).is_some());
    }
    for role in ROLES {
        let head = RequestHead { method: &Method::GET, headers: terms, role };
        let _ = storable(head, StatusCode::OK, &stored);
    }
}

const PASSWORD: &str = "hunter2secret";

/// A URL is read the same from its own text, and never shows a password.
pub fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let base = Url::parse("https://user:name@example.org/a/b?c").expect("a URL");
    let found = [Url::parse(text), base.join(text), Url::parse(&format!("https://{text}"))];
    for url in found.into_iter().flatten() {
        let again = Url::parse(url.as_wire()).expect("what was read can be read");
        assert_eq!(again.as_wire(), url.as_wire());
        assert_eq!(record::shared_key(&again), record::shared_key(&url));
        assert!(url.as_wire().starts_with("http"), "{url}");
        assert!(!url.file_name().contains('/'), "{url}");
        assert!(url.same_origin(&again));
        let headers = fields(format!("location: {text}\ncontent-location: {text}").as_bytes());
        for other in invalidated(&Method::POST, &url, StatusCode::OK, &headers) {
            assert!(other.same_origin(&url), "{other} is no business of {url}");
        }
    }
    // Such characters are dropped, and what is left of them may be anything.
    let plain = text.replace(['\t', '\n', '\r'], "");
    if !plain.contains(PASSWORD)
        && let Ok(url) = Url::parse(&format!("http://user:{PASSWORD}@{text}"))
    {
        // The host may be the same word: letters of either case, or of other scripts.
        let secret = format!("{PASSWORD}@");
        assert!(!url.to_string().contains(&secret), "{url}");
        assert!(!url.as_wire().contains(&secret));
    }
}

/// Whether `out` is a beginning of `bytes`, but for empty lines, which may precede a head (RFC 9112
/// section 2.2).
fn is_beginning(mut out: &[u8], mut bytes: &[u8]) -> bool {
    while let (Some(wanted), Some(came)) = (out.first(), bytes.first()) {
        match wanted == came {
            true => (out, bytes) = (&out[1..], &bytes[1..]),
            false => match bytes.strip_prefix(b"\r\n") {
                Some(rest) => bytes = rest,
                None => return false,
            },
        }
    }
    out.is_empty()
}

/// What the guard of the proxy lets through is a beginning of what came, and does not depend on how
/// that was cut into pieces.
pub fn guard(bytes: &[u8]) {
    let (step, bytes) = split_number(bytes);
    let push = |pieces: &[&[u8]]| {
        let (mut guard, mut out) = (Guard::new(2000, 20), Vec::new());
        let refused = pieces.iter().find_map(|piece| guard.push(piece, &mut out).err());
        assert!(is_beginning(&out, bytes), "what comes out is a beginning of what came in");
        if refused.is_some() {
            let length = out.len();
            assert_eq!(guard.push(b"GET / HTTP/1.1\r\n\r\n", &mut out).err(), refused);
            assert_eq!(out.len(), length, "nothing more comes out");
        }
        (out, refused)
    };
    let whole = push(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(push(&single), whole, "byte by byte");
    let pieces: Vec<&[u8]> = bytes.chunks(step % 50 + 2).collect();
    assert_eq!(push(&pieces), whole, "in pieces of {}", step % 50 + 2);
}

/// The pages of package mode: path, and the type of the body.
const PAGES: [(&str, &str); 4] = [
    ("/pypi/simple/a/", "text/html"),
    ("/pypi/simple/a/", "application/vnd.pypi.simple.v1+json"),
    ("/registry/a", "application/json"),
    ("/conda/conda-forge/noarch/repodata.json", "application/json"),
];

fn rewrite(path: &str, content_type: &'static str) -> Option<Rewrite> {
    let mut upstreams = Upstreams::public();
    // Links of the public registry of npm are left as they are.
    let registry = Upstream::new("registry", packages::Kind::Npm, "https://npm.example/");
    upstreams.set(registry.expect("a sound URL"));
    let packages = Packages::new(upstreams, Secret::new([7; 32]));
    let headers = HeaderMap::new();
    let root = "http://127.0.0.1:8080";
    let asked = Asked { method: &Method::GET, path, query: None, headers: &headers, root };
    let route = packages.route(&asked).expect("a page");
    let mut head = HeaderMap::new();
    head.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    route.page?.answer(&route.request.url, StatusCode::OK, &mut head).expect("not encoded")
}

/// A page is rewritten the same however it came; JSON stays JSON, and text without links stays
/// as it is.
pub fn pages(bytes: &[u8]) {
    let (step, bytes) = split_number(bytes);
    let (path, content_type) = PAGES[step % PAGES.len()];
    let feed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut rewrite = rewrite(path, content_type).expect("a page with links");
        let mut out = Vec::new();
        for piece in pieces {
            rewrite.feed(piece, &mut out).expect("nothing is packed");
        }
        rewrite.finish(&mut out).expect("nothing is packed");
        out
    };
    let whole = feed(&mut std::iter::once(bytes));
    assert!(feed(&mut bytes.chunks(1)) == whole, "byte by byte");
    assert!(feed(&mut bytes.chunks(step % 97 + 2)) == whole, "in pieces");
    if content_type.contains("json")
        && let Ok(before) = serde_json::from_slice::<serde_json::Value>(bytes)
    {
        let after = serde_json::from_slice(&whole).expect("JSON stays JSON");
        assert_eq!(shape_of(&before), shape_of(&after), "only strings change");
    }
    let has_links = bytes.iter().any(|byte| b"<\"{".contains(byte));
    assert!(has_links || whole == bytes, "text stays as it is");
}

/// A value without what its strings say.
fn shape_of(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(_) => Value::Null,
        Value::Array(items) => items.iter().map(shape_of).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), shape_of(value))).collect()
        }
        other => other.clone(),
    }
}
