//! Files whose digest a page, or a lock file, states: what is in the cache is not downloaded again.
//!
//! The origins here say nothing of caching, so that nothing else would spare a download.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rewarm_http::Url;
use rewarm_proxy::packages::{Kind, KnownFiles, Packages, Secret, Upstream, Upstreams};
use rewarm_proxy::{Limits, Mode};
use rewarm_store::Digest;
use rewarm_testkit::server::{Reply, Seen, Server};

use crate::common::{Message, Running, start};
use crate::forward::{Proxied, proxied_knowing};

const WHEEL: &[u8] = b"not really a wheel";
const METADATA: &[u8] = b"Metadata-Version: 2.1\n";
const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// Pages that state the digest of the same file in several ways, and one that lies.
fn origin() -> Server {
    Server::start(answer)
}

fn answer(seen: &Seen) -> Reply {
    let (right, wrong) = (Digest::of(WHEEL), Digest::of("another file"));
    let html = |link: String| Reply::ok(link).header("content-type", "text/html");
    let json = |file: String| {
        Reply::ok(format!("{{\"files\":[{{}},{file}]}}")).header("content-type", JSON)
    };
    match &*seen.path {
        "/simple/html/" => html(format!("<a href=\"../../f/foo-1.whl#sha256={right}\">foo</a>")),
        "/simple/near/" => html(format!("<a href=\"foo-1.whl#sha256={right}\">foo</a>")),
        "/simple/lie/" => html(format!("<a href=\"/f/foo-1.whl#sha256={wrong}\">foo</a>")),
        "/simple/json/" => {
            json(format!(r#"{{"hashes":{{"sha256":"{right}"}},"url":"/f/foo-1.whl"}}"#))
        }
        "/simple/late/" => {
            json(format!(r#"{{"url":"/f/foo-1.whl","hashes":{{"sha256":"{right}"}}}}"#))
        }
        "/simple/packed/" => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            write!(packed, "<a href=\"/f/foo-1.whl#sha256={right}\">foo</a>").expect("memory");
            let packed = packed.finish().expect("memory");
            Reply::ok(packed).header("content-type", "text/html").header("content-encoding", "gzip")
        }
        "/f/foo-1.whl" | "/simple/near/foo-1.whl" => Reply::ok(WHEEL),
        "/f/foo-1.whl.metadata" => Reply::ok(METADATA),
        _ => Reply::status(404, "no such file"),
    }
}

/// Asks a forward proxy.
fn through(proxied: &Proxied, url: &str, fields: &str) -> Message {
    let authority = url.split('/').nth(2).expect("an authority");
    let request = format!("GET {url} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n");
    proxied.proxy.ask(&proxied.authorized(&request))
}

/// Asks for a page as installers do.
fn page(proxied: &Proxied, url: &str, fields: &str) -> Message {
    through(proxied, url, &format!("Accept: {JSON}, text/html;q=0.1\r\n{fields}"))
}

fn got(message: &Message) -> (u16, &[u8], bool) {
    (message.status, &message.body, message.whole)
}

/// Whether nobody could take it for the file.
fn is_failure(message: &Message) -> bool {
    message.status == 502 || !message.whole
}

#[test]
fn a_file_on_a_page_that_passed_by_is_downloaded_once() {
    for name in ["html", "json", "late", "packed"] {
        let origin = origin();
        let proxied = proxied_knowing("", KnownFiles::default());
        for _ in 0..3 {
            let page = page(&proxied, &origin.url(&format!("/simple/{name}/")), "");
            assert_eq!((page.status, page.whole), (200, true));
            let file = through(&proxied, &origin.url("/f/foo-1.whl"), "");
            assert_eq!(got(&file), (200, WHEEL, true));
        }
        assert_eq!(origin.count("/f/foo-1.whl"), 1, "{name}");
    }
}

#[test]
fn a_file_of_a_lock_is_downloaded_once() {
    let origin = origin();
    let (known, file) = (KnownFiles::default(), origin.url("/f/foo-1.whl"));
    known.note(&Url::parse(&file).expect("a URL"), Digest::of(WHEEL));
    let proxied = proxied_knowing("", known);
    for _ in 0..2 {
        assert_eq!(got(&through(&proxied, &file, "")), (200, WHEEL, true));
    }
    assert_eq!(origin.count("/f/foo-1.whl"), 1);
}

#[test]
fn a_file_that_no_page_named_is_asked_for_each_time() {
    let origin = origin();
    let proxied = proxied_knowing("", KnownFiles::default());
    for _ in 0..2 {
        let file = through(&proxied, &origin.url("/f/foo-1.whl"), "");
        assert_eq!(got(&file), (200, WHEEL, true));
    }
    assert_eq!(origin.count("/f/foo-1.whl"), 2);
}

#[test]
fn a_page_passes_as_it_came() {
    let origin = origin();
    let proxied = proxied_knowing("", KnownFiles::default());
    let page = page(&proxied, &origin.url("/simple/html/"), "");
    let right = Digest::of(WHEEL);
    assert_eq!(page.text(), format!("<a href=\"../../f/foo-1.whl#sha256={right}\">foo</a>"));
    assert_eq!(page.header("content-length"), Some(&*page.body.len().to_string()));
}

#[test]
fn an_index_page_comes_in_a_coding_that_can_be_read() {
    let origin = origin();
    let proxied = proxied_knowing("", KnownFiles::default());
    let asked = |accept: &str, coding: &str| {
        let fields = format!("Accept: {accept}\r\nAccept-Encoding: {coding}\r\n");
        through(&proxied, &origin.url("/simple/html/"), &fields);
        let seen = origin.seen();
        let last = seen.last().expect("it was asked");
        last.header("accept-encoding").expect("always there").to_owned()
    };
    assert_eq!(asked(JSON, "br, zstd, gzip;q=0.5"), "gzip");
    assert_eq!(asked(JSON, "br, gzip;q=0"), "identity");
    assert_eq!(asked(JSON, "br, identity;q=0"), "br, identity;q=0");
    assert_eq!(asked("text/html", "br"), "br");
}

#[test]
fn a_page_that_lies_brings_no_wrong_file_and_stores_none() {
    let origin = origin();
    let proxied = proxied_knowing("", KnownFiles::default());
    page(&proxied, &origin.url("/simple/lie/"), "");
    for count in 1..3 {
        let file = through(&proxied, &origin.url("/f/foo-1.whl"), "");
        assert!(is_failure(&file), "{file:?}");
        assert_eq!(origin.count("/f/foo-1.whl"), count);
    }
    // Another page says otherwise, and neither is believed.
    page(&proxied, &origin.url("/simple/html/"), "");
    let file = through(&proxied, &origin.url("/f/foo-1.whl"), "");
    assert_eq!(got(&file), (200, WHEEL, true));
}

#[test]
fn a_page_that_nobody_asked_for_as_an_index_says_nothing_of_files() {
    let (index, other) = (origin(), b"another file");
    let link = format!("<a href=\"{}#sha256={}\">", index.url("/f/foo-1.whl"), Digest::of(other));
    let page = Server::start(move |seen| match &*seen.path {
        "/file" => Reply::ok(&other[..]),
        _ => Reply::ok(&*link).header("content-type", "text/html"),
    });
    let known = KnownFiles::default();
    // It is in the cache, and would be the answer.
    known.note(&Url::parse(&page.url("/file")).expect("a URL"), Digest::of(other));
    let proxied = proxied_knowing("", known);
    assert_eq!(got(&through(&proxied, &page.url("/file"), "")), (200, &other[..], true));
    for fields in ["", "Accept: */*\r\n", "Accept: text/html\r\n"] {
        assert_eq!(through(&proxied, &page.url("/"), fields).status, 200);
        let file = through(&proxied, &index.url("/f/foo-1.whl"), "");
        assert_eq!(got(&file), (200, WHEEL, true));
    }
}

#[test]
fn parts_and_metadata_are_what_they_are() {
    let origin = origin();
    let proxied = proxied_knowing("", KnownFiles::default());
    page(&proxied, &origin.url("/simple/html/"), "");
    let part = || through(&proxied, &origin.url("/f/foo-1.whl"), "Range: bytes=4-9\r\n");
    assert!([&WHEEL[4..10], WHEEL].contains(&&*part().body));
    through(&proxied, &origin.url("/f/foo-1.whl"), "");
    assert!([&WHEEL[4..10], WHEEL].contains(&&*part().body));
    let metadata = through(&proxied, &origin.url("/f/foo-1.whl.metadata"), "");
    assert_eq!(got(&metadata), (200, METADATA, true));
}

#[test]
fn a_page_shown_to_one_identity_answers_no_other() {
    let origin = Server::start(|seen| match seen.header("authorization") {
        Some("Basic YTpi") => answer(seen),
        _ => Reply::status(401, "who are you?"),
    });
    let proxied = proxied_knowing("", KnownFiles::default());
    let (own, other) = ("Authorization: Basic YTpi\r\n", "Authorization: Basic Yzpk\r\n");
    for _ in 0..2 {
        page(&proxied, &origin.url("/simple/html/"), own);
        let file = through(&proxied, &origin.url("/f/foo-1.whl"), own);
        assert_eq!(got(&file), (200, WHEEL, true));
    }
    assert_eq!(origin.count("/f/foo-1.whl"), 1);
    for fields in ["", other, "Cookie: a=b\r\n"] {
        assert_eq!(through(&proxied, &origin.url("/f/foo-1.whl"), fields).status, 401);
    }
}

#[test]
fn a_page_shown_to_one_identity_says_nothing_of_other_hosts() {
    let (files, wrong) = (origin(), Digest::of("another file"));
    let link = format!("<a href=\"{}#sha256={wrong}\">", files.url("/f/foo-1.whl"));
    let index = Server::start(move |_| Reply::ok(&*link).header("content-type", "text/html"));
    let proxied = proxied_knowing("", KnownFiles::default());
    let own = "Authorization: Basic YTpi\r\n";
    assert_eq!(page(&proxied, &index.url("/"), own).status, 200);
    for fields in [own, ""] {
        let file = through(&proxied, &files.url("/f/foo-1.whl"), fields);
        assert_eq!(got(&file), (200, WHEEL, true));
    }
}

/// Package mode before an origin.
fn packages(origin: &Server) -> Running {
    let mut upstreams = Upstreams::none();
    let upstream = Upstream::new("pypi", Kind::Index, &origin.url("/simple/"));
    upstreams.set(upstream.expect("a sound upstream"));
    start(Mode::Packages(Packages::new(upstreams, Secret::new([1; 32]))), Limits::default())
}

fn ask(proxy: &Running, path: &str, fields: &str) -> Message {
    proxy.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", proxy.address))
}

/// The path of the file on a page of package mode.
fn link(proxy: &Running, page: &str) -> String {
    let page = ask(proxy, &format!("/pypi/simple/{page}/"), "");
    let text = page.text();
    let link = text.split(['"', '#']).find(|part| part.ends_with(".whl"));
    link.unwrap_or_else(|| panic!("no link: {text}")).replace("../../", "/pypi/")
}

#[test]
fn a_file_behind_a_rewritten_page_is_downloaded_once() {
    for (page, file) in
        [("html", "/f/foo-1.whl"), ("json", "/f/foo-1.whl"), ("near", "/simple/near/foo-1.whl")]
    {
        let origin = origin();
        let proxy = packages(&origin);
        for _ in 0..3 {
            let link = link(&proxy, page);
            assert!(link.contains(&Digest::of(WHEEL).to_string()), "{link}");
            assert_eq!(got(&ask(&proxy, &link, "")), (200, WHEEL, true));
        }
        assert_eq!(origin.count(file), 1, "{page}");
    }
}

#[test]
fn a_digest_that_stands_behind_the_url_comes_too_late_for_a_rewritten_page() {
    let origin = origin();
    let proxy = packages(&origin);
    let link = link(&proxy, "late");
    assert!(!link.contains(&Digest::of(WHEEL).to_string()), "{link}");
    assert_eq!(got(&ask(&proxy, &link, "")), (200, WHEEL, true));
}

#[test]
fn a_rewritten_page_that_lies_brings_no_wrong_file_and_stores_none() {
    let origin = origin();
    let proxy = packages(&origin);
    let lie = link(&proxy, "lie");
    for count in 1..3 {
        let file = ask(&proxy, &lie, "");
        assert!(is_failure(&file), "{file:?}");
        assert_eq!(origin.count("/f/foo-1.whl"), count);
    }
    let file = ask(&proxy, &link(&proxy, "html"), "");
    assert_eq!(got(&file), (200, WHEEL, true));
}

#[test]
fn parts_and_metadata_behind_a_rewritten_page_are_what_they_are() {
    let origin = origin();
    let proxy = packages(&origin);
    let link = link(&proxy, "html");
    let metadata = ask(&proxy, &format!("{link}.metadata"), "");
    assert_eq!(got(&metadata), (200, METADATA, true));
    let part = ask(&proxy, &link, "Range: bytes=4-9\r\n");
    assert!([&WHEEL[4..10], WHEEL].contains(&&*part.body), "{part:?}");
}
