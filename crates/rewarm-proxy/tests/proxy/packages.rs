//! Package mode over sockets: what clients get, and how often an origin is asked.

use rewarm_proxy::packages::{Kind, Packages, Secret, Upstream, Upstreams};
use rewarm_proxy::{Limits, Mode};
use rewarm_testkit::server::{Reply, Server};

use crate::common::{Message, Running, start};

const PAGE: &str = "<a href=\"../../files/foo-1.whl#sha256=00\">foo-1.whl</a>";

/// An index, a channel and a registry, whose files do not change.
fn origin() -> Server {
    Server::start(|seen| {
        let page = |kind, text: &str| {
            let reply = Reply::ok(text).header("content-type", kind).header("etag", "\"v1\"");
            reply.header("cache-control", "no-cache")
        };
        match &*seen.path {
            "/root/simple/foo/" => page("text/html; charset=utf-8", PAGE),
            "/root/simple/Foo/" => Reply::status(301, "").header("location", "/root/simple/foo/"),
            "/root/simple/packed/" => page("text/html", PAGE).header("content-encoding", "gzip"),
            "/root/simple/cut/" => {
                Reply::ok(PAGE).header("content-type", "text/html").declare_length(1000)
            }
            "/root/simple/cookie/" => {
                page("text/html", PAGE).header("set-cookie", "session=s3cr3t")
            }
            "/files/foo-1.whl" | "/root/files/foo-1.whl" | "/npm/x/-/x-1.tgz" => {
                Reply::generated(100_000).header("cache-control", "max-age=31536000, immutable")
            }
            "/npm/x" => page(
                "application/json",
                r#"{"versions":{"1":{"dist":{"tarball":"https://elsewhere/npm/x/-/x-1.tgz"}}}}"#,
            ),
            _ => Reply::status(404, "no such file"),
        }
    })
}

fn proxy(origin: &Server) -> Running {
    let mut upstreams = Upstreams::none();
    for (name, kind, path) in [
        ("pypi", Kind::Index, "/root/simple"),
        ("npm", Kind::Npm, "/npm/"),
        ("conda", Kind::Conda, "/conda/"),
    ] {
        let url = origin.url(path);
        upstreams.set(Upstream::new(name, kind, &url).expect("a sound upstream"));
    }
    let packages = Packages::new(upstreams, Secret::new([1; 32]));
    start(Mode::Packages(packages), Limits::default())
}

fn request(proxy: &Running, method: &str, path: &str, fields: &str) -> Message {
    proxy.ask(&format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", proxy.address))
}

/// The path of the first link on a page at `/pypi/simple/foo/`.
fn link(page: &Message) -> String {
    let text = page.text();
    let link = text.split(['"', '#']).nth(1).expect("a link");
    link.replace("../../", "/pypi/")
}

#[test]
fn a_file_behind_a_page_is_downloaded_once() {
    let origin = origin();
    let proxy = proxy(&origin);
    for turn in 0..3 {
        let page = request(&proxy, "GET", "/pypi/simple/foo/", "");
        assert_eq!((page.status, page.whole), (200, true));
        assert_eq!(page.header("content-length"), None);
        assert!(page.text().ends_with("foo-1.whl#sha256=00\">foo-1.whl</a>"), "{}", page.text());
        let file = request(&proxy, "GET", &link(&page), "");
        assert_eq!((file.status, file.body.len(), file.whole), (200, 100_000, true));
        assert_eq!(origin.count("/root/files/foo-1.whl"), 1, "in turn {turn}");
    }
    let page = request(&proxy, "GET", "/pypi/simple/foo/", "");
    let part = request(&proxy, "GET", &link(&page), "Range: bytes=10-19\r\n");
    assert_eq!((part.status, part.body.len()), (206, 10));
    assert_eq!(origin.count("/root/files/foo-1.whl"), 1);
}

#[test]
fn rfc9110_13_1_2_a_page_that_a_client_has_is_not_sent_again() {
    let origin = origin();
    let proxy = proxy(&origin);
    let page = request(&proxy, "GET", "/pypi/simple/foo/", "");
    let tag = page.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("\"v1+") && tag.ends_with('"'), "{tag}");
    let again = request(&proxy, "GET", "/pypi/simple/foo/", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.header("etag")), (304, Some(&*tag)));
    // This one is of upstream's page, whose links are others.
    let other = request(&proxy, "GET", "/pypi/simple/foo/", "If-None-Match: \"v1\"\r\n");
    assert_eq!((other.status, other.body), (200, page.body));
}

#[test]
fn rfc9110_9_3_2_a_head_has_the_fields_of_the_get() {
    let origin = origin();
    let proxy = proxy(&origin);
    let shown = |message: &Message| {
        let mut fields = message.headers.clone();
        fields.retain(|(name, _)| {
            !["date", "age", "cache-status", "transfer-encoding"].contains(&&**name)
        });
        fields.sort();
        fields
    };
    let get = request(&proxy, "GET", "/pypi/simple/foo/", "");
    let head = request(&proxy, "HEAD", "/pypi/simple/foo/", "");
    assert_eq!(shown(&head), shown(&get));
    assert_eq!(head.header("content-length"), None);
}

#[test]
fn a_page_is_whole_although_a_part_was_asked_for() {
    let origin = origin();
    let proxy = proxy(&origin);
    let page = request(&proxy, "GET", "/pypi/simple/foo/", "Range: bytes=0-3\r\n");
    assert_eq!((page.status, page.header("accept-ranges")), (200, Some("none")));
    assert!(page.text().ends_with("</a>"));
}

#[test]
fn redirects_are_followed_here() {
    let origin = origin();
    let proxy = proxy(&origin);
    let page = request(&proxy, "GET", "/pypi/simple/Foo/", "");
    assert_eq!(page.status, 200);
    assert_eq!(link(&page), link(&request(&proxy, "GET", "/pypi/simple/foo/", "")));
}

#[test]
fn a_page_that_breaks_off_is_cut_here_as_well() {
    let origin = origin();
    let proxy = proxy(&origin);
    let page = request(&proxy, "GET", "/pypi/simple/cut/", "");
    assert!(!page.whole || page.status == 502, "{page:?}");
}

#[test]
fn what_cannot_be_rewritten_is_an_error_that_names_it() {
    let origin = origin();
    let proxy = proxy(&origin);
    let page = request(&proxy, "GET", "/pypi/simple/packed/", "");
    assert_eq!(page.status, 502);
    assert!(page.text().contains("/root/simple/packed/"), "{}", page.text());
}

#[test]
fn tarballs_of_a_registry_come_through_the_proxy_in_full() {
    let origin = origin();
    let proxy = proxy(&origin);
    let packument = request(&proxy, "GET", "/npm/x", "");
    let start = format!("\"tarball\":\"http://{}/npm/-files/", proxy.address);
    // Its link names another host, where nobody is.
    assert!(packument.text().contains(&start), "{}", packument.text());
    let tarball = request(&proxy, "GET", "/x/-/x-1.tgz", "");
    assert_eq!((tarball.status, origin.count("/npm/x/-/x-1.tgz")), (200, 1));
}

#[test]
fn what_is_refused_reaches_no_origin() {
    let origin = origin();
    let proxy = proxy(&origin);
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/nobody/simple/foo/", 404),
        ("GET", "/pypi/simple/%2e%2e/files/foo-1.whl", 400),
        ("GET", "/pypi/-files/00000000000000000000/http/127.0.0.1/x", 404),
        ("GET", "/conda/c/noarch/repodata.json.bz2", 404),
        ("PUT", "/npm/x", 405),
        ("DELETE", "/pypi/simple/foo/", 405),
    ] {
        assert_eq!(request(&proxy, method, path, "").status, status, "{method} {path}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn only_what_packages_need_goes_to_the_origin() {
    let origin = origin();
    let proxy = proxy(&origin);
    let fields = "Authorization: Basic eA==\r\nCookie: a=b\r\nX-Other: 1\r\n";
    request(&proxy, "GET", "/pypi/simple/foo/", fields);
    let seen = origin.seen();
    let mut names: Vec<&str> = seen[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent", "via"]);
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn what_an_upstream_gives_to_its_user_is_not_for_clients() {
    let origin = origin();
    let proxy = proxy(&origin);
    for _ in 0..2 {
        let page = request(&proxy, "GET", "/pypi/simple/cookie/", "");
        assert_eq!((page.status, page.header("set-cookie")), (200, None));
    }
}

#[test]
fn credentials_stay_with_the_origin_of_the_index() {
    let files = origin();
    let elsewhere = files.url("/files/foo-1.whl");
    let index = Server::start(move |seen| match &*seen.path {
        "/simple/Foo/" => Reply::status(302, "").header("location", "/simple/foo/"),
        "/simple/foo/" => {
            Reply::ok(format!("<a href=\"{elsewhere}\"></a>")).header("content-type", "text/html")
        }
        _ => Reply::status(404, "no such file"),
    });
    let url = index.url("/simple/").replace("http://", "http://bob:s3cr3t@");
    let mut upstreams = Upstreams::none();
    upstreams.set(Upstream::new("pypi", Kind::Index, &url).expect("a sound upstream"));
    let packages = Packages::new(upstreams, Secret::new([1; 32]));
    let proxy = start(Mode::Packages(packages), Limits::default());
    let page = request(&proxy, "GET", "/pypi/simple/Foo/", "");
    assert!(!page.text().contains("s3cr3t"), "{}", page.text());
    assert_eq!(request(&proxy, "GET", &link(&page), "").status, 200);
    let seen = index.seen();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(request.header("authorization"), Some("Basic Ym9iOnMzY3IzdA=="), "{request:?}");
    }
    assert_eq!(files.seen()[0].header("authorization"), None);
}
