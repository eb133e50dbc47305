//! Pages as clients get them, byte by byte, and the fields that go with them.

use http::{HeaderMap, Method, StatusCode};
use rewarm_http::Url;
use rewarm_proxy::packages::{PageError, Rewrite};

use crate::{headers, page, rewritten, route_with};

const JSON: &str = "application/vnd.pypi.simple.v1+json";

fn answered(
    path: &str,
    status: u16,
    fields: &[(&'static str, &str)],
) -> (HeaderMap, Result<Option<Rewrite>, PageError>) {
    let mut fields = headers(fields);
    let url = Url::parse("https://pypi.org/simple/foo/").expect("a URL");
    let status = StatusCode::from_u16(status).expect("a status");
    let rewrite = page(path).answer(&url, status, &mut fields);
    (fields, rewrite)
}

/// Replaces the tags of links, which depend on the secret.
fn untagged(text: &str) -> String {
    let mut parts = text.split("-files/");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "-files/TAG" + &part[20..])
}

#[test]
fn pep503_a_project_page_keeps_everything_but_its_links() {
    let before = "<!DOCTYPE html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.3\">\n\
        <title>Links for foo</title></head><body><h1>Links</h1>\n\
        <a href=\"https://files.pythonhosted.org/packages/ab/foo-1.0.tar.gz#sha256=00ff\" \
        data-requires-python=\"&gt;=3.8\" data-dist-info-metadata=\"sha256=aa\">foo-1.0.tar.gz</a><br />\n\
        <a href='foo-1.1.whl#egg=a&amp;b'   rel=\"internal\">foo-1.1.whl</a>\n\
        <a href=/other/foo-1.2.whl>x</a><!-- <a href=\"x\"> --><!--SERIAL 1-->\n</body></html>\n";
    let after = "<!DOCTYPE html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.3\">\n\
        <title>Links for foo</title></head><body><h1>Links</h1>\n\
        <a href=\"../../-files/TAG/https/files.pythonhosted.org/packages/ab/foo-1.0.tar.gz#sha256=00ff\" \
        data-requires-python=\"&gt;=3.8\" data-dist-info-metadata=\"sha256=aa\">foo-1.0.tar.gz</a><br />\n\
        <a href='../../simple/foo/foo-1.1.whl#egg=a&amp;b'   rel=\"internal\">foo-1.1.whl</a>\n\
        <a href=../../-files/TAG/https/pypi.org/other/foo-1.2.whl>x</a><!-- <a href=\"x\"> --><!--SERIAL 1-->\n\
        </body></html>\n";
    let page = page("/pypi/simple/foo/");
    for kind in ["text/html", "Text/HTML; charset=UTF-8", "application/vnd.pypi.simple.v1+html"] {
        let output = rewritten(&page, "https://pypi.org/simple/foo/", kind, before);
        assert_eq!(untagged(&output), after);
    }
}

#[test]
fn pep503_a_list_of_projects_leads_through_the_proxy() {
    let output = rewritten(
        &page("/pypi/simple/"),
        "https://pypi.org/simple/",
        "text/html",
        "<a href=\"/simple/a/\">a</a><a href=\"b/\">b</a><a href=\"https://pypi.org/simple/c/\">c</a>",
    );
    assert_eq!(
        output,
        "<a href=\"../simple/a/\">a</a><a href=\"../simple/b/\">b</a><a href=\"../simple/c/\">c</a>"
    );
}

#[test]
fn a_page_is_resolved_against_its_base_and_where_redirects_led() {
    let page = page("/pypi/simple/foo/");
    let text = "<base href=\"../../packages/\"><a href=\"foo-1.whl\">";
    let output = rewritten(&page, "https://pypi.org/simple/foo/", "text/html", text);
    assert_eq!(untagged(&output), {
        "<base data-href=\"../../packages/\"><a href=\"../../-files/TAG/https/pypi.org/packages/foo-1.whl\">"
    });
    let text = "<a href=\"foo-1.whl\">";
    let output = rewritten(&page, "https://elsewhere/x/", "text/html", text);
    assert_eq!(untagged(&output), "<a href=\"../../-files/TAG/https/elsewhere/x/foo-1.whl\">");
}

#[test]
fn pep691_only_the_urls_of_files_change() {
    let before = r#"{"alternate-locations": ["https://pypi.org/simple/foo/"], "files": [
        {"core-metadata": {"sha256": "aa"}, "filename": "foo-1.0.whl", "hashes": {"sha256": "00"},
         "provenance": "https://pypi.org/integrity/x", "url": "https:\/\/files.pythonhosted.org\/foo-1.0.whl"},
        {"url" : "../../files/foo-1.1.whl#frag", "yanked": "caf\u00e9 \"x\""}],
        "meta": {"api-version": "1.3", "tracks": ["https://files.pythonhosted.org/url"]}, "url": "https://h/x"}"#;
    let after = r#"{"alternate-locations": ["https://pypi.org/simple/foo/"], "files": [
        {"core-metadata": {"sha256": "aa"}, "filename": "foo-1.0.whl", "hashes": {"sha256": "00"},
         "provenance": "https://pypi.org/integrity/x", "url": "../../-files/TAG/https/files.pythonhosted.org/foo-1.0.whl"},
        {"url" : "../../-files/TAG/https/pypi.org/files/foo-1.1.whl#frag", "yanked": "caf\u00e9 \"x\""}],
        "meta": {"api-version": "1.3", "tracks": ["https://files.pythonhosted.org/url"]}, "url": "https://h/x"}"#;
    let output =
        rewritten(&page("/pypi/simple/foo/"), "https://pypi.org/simple/foo/", JSON, before);
    assert_eq!(untagged(&output), after);
}

#[test]
fn cep15_a_channels_base_leads_through_the_proxy() {
    let before = r#"{"info":{"base_url":"https://files/c/noarch","subdir":"noarch"},"packages":{"x":{"info":{"base_url":"y"}}}}"#;
    let page = page("/channels/c/noarch/repodata.json");
    let output = rewritten(&page, "https://corp/conda/c/noarch/repodata.json", "x/y", before);
    assert_eq!(untagged(&output), {
        r#"{"info":{"base_url":"http://127.0.0.1:8181/t0k3n/channels/-files/TAG/https/files/c/noarch","subdir":"noarch"},"packages":{"x":{"info":{"base_url":"y"}}}}"#
    });
}

#[test]
fn the_tarballs_of_another_registry_lead_through_the_proxy() {
    let before = r#"{"name":"x","versions":{"1.0.0":{"dist":{"integrity":"sha512-a","tarball":"https://corp/npm/x/-/x-1.0.0.tgz"},"repository":{"tarball":"https://corp/npm/x"}}}}"#;
    let after =
        before.replace("\"https://corp/npm/x/-/", "\"http://127.0.0.1:8181/t0k3n/mirror/x/-/");
    let page = page("/mirror/x");
    let kind = "application/vnd.npm.install-v1+json";
    assert_eq!(rewritten(&page, "https://corp/npm/x", kind, before), after);
}

#[test]
fn what_is_no_page_after_all_is_passed_as_it_is() {
    for (status, kind) in
        [(200, "application/octet-stream"), (404, "text/html"), (206, "text/html")]
    {
        let fields = [("content-type", kind), ("content-length", "3"), ("repr-digest", "x")];
        let (fields, rewrite) = answered("/pypi/simple/foo/", status, &fields);
        assert!(rewrite.expect("an answer").is_none(), "{status}");
        assert!(fields.contains_key("content-length") && fields.contains_key("repr-digest"));
    }
}

#[test]
fn fields_that_are_about_other_bytes_go() {
    let (fields, rewrite) = answered(
        "/pypi/simple/foo/",
        200,
        &[
            ("content-type", JSON),
            ("content-length", "3"),
            ("content-md5", "x"),
            ("digest", "x"),
            ("repr-digest", "x"),
            ("content-digest", "x"),
            ("accept-ranges", "bytes"),
            ("last-modified", "x"),
            ("vary", "Accept"),
            ("cache-control", "max-age=600"),
            ("etag", "\"a\""),
            ("x-pypi-last-serial", "1"),
        ],
    );
    assert!(rewrite.expect("an answer").is_some());
    let mut names: Vec<&str> = fields.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["accept-ranges", "cache-control", "content-type", "etag", "vary", "x-pypi-last-serial"]
    );
    assert_eq!(fields["accept-ranges"], "none");
    assert_ne!(fields["etag"], "\"a\"");
}

#[test]
fn rfc9110_15_4_5_a_tag_that_was_handed_out_comes_back_as_upstreams() {
    let (fields, _) =
        answered("/pypi/simple/foo/", 200, &[("content-type", JSON), ("etag", "W/\"a\"")]);
    let tag = fields["etag"].to_str().expect("text").to_owned();
    let asked = |tag: &str, path| {
        let route = route_with(&Method::GET, path, &[("if-none-match", tag)]).expect("a route");
        let value = route.request.headers.get("if-none-match").cloned();
        value.map(|value| value.to_str().expect("text").to_owned())
    };
    assert_eq!(asked(&tag, "/pypi/simple/foo/").as_deref(), Some("W/\"a\""));
    assert_eq!(asked("W/\"a\"", "/pypi/simple/foo/"), None);
    // Links of another upstream are others.
    assert_eq!(asked(&tag, "/corp/simple/foo/"), None);
    let (fields, rewrite) = answered("/pypi/simple/foo/", 304, &[("etag", "W/\"a\"")]);
    assert!(rewrite.expect("an answer").is_none());
    assert_eq!(fields["etag"], tag.as_str());
}

#[test]
fn fields_that_hold_links_are_mapped() {
    let (fields, _) = answered(
        "/pypi/simple/Foo/",
        301,
        &[
            ("location", "/simple/foo/#x"),
            ("link", "<https://pypi.org/simple/?page=2>; rel=\"next\", </x>; rel=up"),
        ],
    );
    assert_eq!(fields["location"], "../../simple/foo/#x");
    let link = fields["link"].to_str().expect("text");
    assert_eq!(untagged(link), {
        "<../../simple/?page=2>; rel=\"next\", <../../-files/TAG/https/pypi.org/x>; rel=up"
    });
}

#[test]
fn a_page_that_came_compressed_is_refused() {
    let fields = [("content-type", JSON), ("content-encoding", "gzip")];
    let (_, rewrite) = answered("/pypi/simple/foo/", 200, &fields);
    let error = rewrite.expect_err("an error").to_string();
    assert!(error.contains("`https://pypi.org/simple/foo/`") && error.contains("gzip"), "{error}");
}
