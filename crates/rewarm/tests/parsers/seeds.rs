//! The inputs that fuzzing starts from: made by the code that they are for, or a line of each form that
//! a parser knows. They are tried here, and written below the directory `REWARM_FUZZ_SEEDS`, a directory
//! for each target, if that is set.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode};
use rewarm_http::Url;
use rewarm_http::record::{Record, Variant};
use rewarm_store::{Digest, Store};

use crate::claims;

/// Inputs that are text, by target.
const TEXTS: [(&str, &[&str]); 6] = [
    (
        "cache_control",
        &[
            "max-age=60, must-revalidate",
            "private=\"set-cookie, x\", s-maxage=\"10\"\nno-cache",
            "stale-while-revalidate=5, stale-if-error=6, immutable, max-stale, min-fresh=1",
        ],
    ),
    (
        "dates",
        &[
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ],
    ),
    (
        "ranges",
        &[
            "\0\x05bytes=5-9",
            "\0\x05bytes 5-9/10",
            "\0\0range: bytes=-5\nif-range: \"a\"\nif-none-match: W/\"b\", *",
        ],
    ),
    (
        "url",
        &["https://user:pw@example.org:8443/a/../b?token=1#c", "//h/x", "example.org/t/tk-1/a"],
    ),
    (
        "guard",
        &[
            "\0\0GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "\0\x07POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
            "\0\x03POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        ],
    ),
    (
        "pages",
        &[
            "\0\0<a href=\"../../packages/a-1.whl#sha256=1\" data-x='<'>a</a><!-- <a href=x> -->",
            "\0\x01{\"files\":[{\"url\":\"https://files.pythonhosted.org/a.whl\",\"hashes\":{}}]}",
            "\0\x02{\"versions\":{\"1\":{\"dist\":{\"tarball\":\"https://npm.example/a/-/a-1.tgz\"}}}}",
            "\0\x03{\"info\":{\"base_url\":\"https://conda.anaconda.org/x\"},\"packages\":{}}",
        ],
    ),
];

/// Feeds a claim.
fn check(target: &str, bytes: &[u8]) {
    match target {
        "record" => claims::record(bytes),
        "cache_control" => claims::cache_control(bytes),
        "dates" => claims::dates(bytes),
        "ranges" => claims::ranges(bytes),
        "url" => claims::url(bytes),
        "guard" => claims::guard(bytes),
        "pages" => claims::pages(bytes),
        other => panic!("no target `{other}`"),
    }
}

#[test]
fn what_fuzzing_starts_from_holds() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the task that fuzzes says where it wants them"
    )]
    let dir = std::env::var_os("REWARM_FUZZ_SEEDS").map(PathBuf::from);
    let texts = TEXTS
        .iter()
        .flat_map(|(target, texts)| texts.iter().map(|it| (*target, it.as_bytes().to_vec())));
    let all = texts.chain(records().into_iter().map(|record| ("record", record)));
    for (number, (target, bytes)) in all.enumerate() {
        check(target, &bytes);
        if let Some(dir) = &dir {
            fs::create_dir_all(dir.join(target)).expect("writable");
            fs::write(dir.join(target).join(number.to_string()), &bytes).expect("writable");
        }
    }
}

/// Files of records, each as it is and as a payload that is to be sealed.
fn records() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("cache")).expect("a store");
    let (key, url) = (Digest::of("key"), Url::parse("https://example.org/a").expect("a URL"));
    let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_static("max-age=60, stale-if-error=5"));
    headers.insert("etag", HeaderValue::from_static("W/\"a\""));
    let mut record = Record::new(&url);
    let mut found = Vec::new();
    for status in [200, 404] {
        let status = StatusCode::from_u16(status).expect("a status");
        let variant = Variant::bare(status, &headers, time, time);
        headers.insert("vary", HeaderValue::from_static("accept"));
        record.variants.push(variant);
        store.write(&key, &record).expect("writable");
        let file = fs::read(store.record_path::<Record>(&key)).expect("readable");
        // Magic, envelope, version, name, key, number of references and these; a checksum at the end.
        let references = u32::from_le_bytes(file[44..48].try_into().expect("four bytes"));
        let start = 48 + 32 * usize::try_from(references).expect("few");
        found.push([&[1][..], &file[start..file.len() - 32]].concat());
        found.push([&[0][..], &file].concat());
    }
    found
}
