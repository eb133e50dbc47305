//! From a client's request to the one that is made for it.

use http::Method;
use proptest::prelude::*;
use rewarm_proxy::packages::Refusal;

use crate::{ROOT, packages, page, rewritten, route, route_with};

fn asked(target: &str) -> String {
    route(target).expect("a route").request.url.as_wire().to_owned()
}

fn field(target: &str, fields: &[(&'static str, &str)], name: &str) -> Option<String> {
    let route = route_with(&Method::GET, target, fields).expect("a route");
    let value = route.request.headers.get(name)?;
    Some(value.to_str().expect("text").to_owned())
}

#[test]
fn names_lead_to_their_upstreams() {
    for (target, url) in [
        ("/pypi/simple/", "https://pypi.org/simple/"),
        ("/pypi/simple/foo/", "https://pypi.org/simple/foo/"),
        ("/pypi/simple/foo/?a=b", "https://pypi.org/simple/foo/?a=b"),
        ("/corp/simple/foo/", "https://corp/api/simple/foo/"),
        (
            "/conda/conda-forge/noarch/x-1.conda",
            "https://conda.anaconda.org/conda-forge/noarch/x-1.conda",
        ),
        ("/npm/left-pad", "https://registry.npmjs.org/left-pad"),
        ("/npm/@s%2fn", "https://registry.npmjs.org/@s%2fn"),
        ("/npm/@s/n", "https://registry.npmjs.org/@s%2fn"),
        ("/npm/@s/n/-/n-1.tgz", "https://registry.npmjs.org/@s/n/-/n-1.tgz"),
        (
            "/conda/c/noarch/repodata-tools-1-0.conda",
            "https://conda.anaconda.org/c/noarch/repodata-tools-1-0.conda",
        ),
        ("/npm/-/npm-1.tgz", "https://registry.npmjs.org/npm/-/npm-1.tgz"),
        ("/conda/-/conda-1.tgz", "https://registry.npmjs.org/conda/-/conda-1.tgz"),
        ("/npm/npm/-/npm-1.tgz", "https://registry.npmjs.org/npm/-/npm-1.tgz"),
        ("/@s/n/-/n-1.tgz", "https://registry.npmjs.org/@s/n/-/n-1.tgz"),
        ("/left-pad/-/left-pad-1.tgz", "https://registry.npmjs.org/left-pad/-/left-pad-1.tgz"),
    ] {
        assert_eq!(asked(target), url);
    }
}

#[test]
fn what_no_upstream_has_is_not_found() {
    for target in [
        "/",
        "/pypi",
        "/pypi/",
        "/pypi/foo/",
        "/nobody/simple/",
        "/pypi/-files/",
        "/pypi/-files/0/https/h/x",
        "/pypi/-files/00000000000000000000/https/files.pythonhosted.org/x.whl",
        "/conda/c/noarch/repodata.json.bz2",
        "/conda/c/noarch/repodata.jlap",
        "/conda/c/noarch/repodata_shards.msgpack.zst",
        "/favicon.ico",
        "/x/-/x.txt",
    ] {
        assert_eq!(route(target).err(), Some(Refusal::NotFound), "{target}");
    }
}

#[test]
fn paths_that_climb_reach_no_upstream() {
    for target in [
        "/pypi/simple/../../secret",
        "/pypi/simple/%2e%2e/x",
        "/pypi/simple/..%2fx",
        "/pypi/simple/a\\b",
        "/pypi/simple/%00",
        "/pypi/simple/%5c..",
        "pypi/simple/",
        "/corp/simple/../x",
        "/npm/@s%2f..",
        "/pypi/simple/foo/?a b",
    ] {
        assert_eq!(route(target).err(), Some(Refusal::Path), "{target}");
    }
}

#[test]
fn packages_are_only_read_but_npm_may_ask_for_advice() {
    let with = |method: Method, target| route_with(&method, target, &[]).map(|_| ());
    for target in ["/pypi/simple/foo/", "/npm/foo", "/conda/c/noarch/repodata.json"] {
        assert_eq!(with(Method::HEAD, target), Ok(()));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(with(method, target), Err(Refusal::Method), "{target}");
        }
    }
    assert_eq!(with(Method::POST, "/npm/-/npm/v1/security/advisories/bulk"), Ok(()));
    assert_eq!(with(Method::PUT, "/npm/-/npm/v1/security/advisories/bulk"), Err(Refusal::Method));
}

#[test]
fn a_clients_credentials_stay_here() {
    let fields = [("authorization", "Basic x"), ("cookie", "a=b"), ("x-other", "1")];
    let route = route_with(&Method::GET, "/corp/simple/foo/", &fields).expect("a route");
    let names: Vec<&str> = route.request.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["accept", "accept-encoding"]);
    assert_eq!(route.request.url.user(), Some(("bob", "s3cr3t")));
}

#[test]
fn pip_and_uv_share_what_they_accept() {
    let pip = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";
    let uv = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";
    let of = |accept: &str| field("/pypi/simple/foo/", &[("accept", accept)], "accept").unwrap();
    assert_eq!(of(pip), of(uv));
    assert!(of(pip).starts_with("application/vnd.pypi.simple.v1+json, "));
    assert!(of("text/html").starts_with("text/html, "));
    assert!(of("*/*").starts_with("text/html, "));
    assert!(of("text/html, application/vnd.pypi.simple.v1+json;q=0.5").starts_with("text/html, "));
    assert!(!of("application/vnd.pypi.simple.v1+html").contains("json"));
    assert!(of("Application/vnd.pypi.simple.latest+JSON").contains("v1+json"));
    let npm = |accept: &str| field("/npm/foo", &[("accept", accept)], "accept").unwrap();
    assert!(npm("application/vnd.npm.install-v1+json; q=1.0, */*").contains("install-v1"));
    assert!(!npm("application/json").contains("install-v1"));
}

#[test]
fn a_part_is_asked_for_of_a_file_and_never_of_a_page() {
    let fields = [("range", "bytes=1-2"), ("if-range", "\"a\""), ("if-modified-since", "x")];
    for name in ["range", "if-range", "if-modified-since"] {
        assert!(field("/pypi/simple/foo/foo-1.whl", &fields, name).is_some());
        assert_eq!(field("/pypi/simple/foo/", &fields, name), None);
    }
    let fields = [("cache-control", "no-cache"), ("pragma", "no-cache")];
    assert_eq!(field("/pypi/simple/foo/", &fields, "cache-control").as_deref(), Some("no-cache"));
}

#[test]
fn files_below_the_base_and_public_packuments_are_no_pages() {
    for target in ["/pypi/simple/foo/foo-1.whl", "/pypi/simple/foo/foo-1.whl.metadata", "/npm/foo"]
    {
        assert!(route(target).expect("a route").page.is_none(), "{target}");
    }
    for target in [
        "/pypi/simple/foo/",
        "/mirror/foo",
        "/channels/c/noarch/current_repodata.json",
        "/channels/c/noarch/repodata.json.zst",
    ] {
        assert!(route(target).expect("a route").page.is_some(), "{target}");
    }
}

#[test]
fn a_link_that_was_handed_out_is_routed_to_its_file() {
    let page = page("/pypi/simple/foo/");
    let file = "https://files.pythonhosted.org/packages/ab/foo-1.0-py3-none-any.whl?x=y";
    let json = format!(r#"{{"files":[{{"url":"{file}"}}]}}"#);
    let output = rewritten(&page, "https://pypi.org/simple/foo/", "application/json", &json);
    let link = output.split('"').nth(5).expect("a link").replace("../../", "/pypi/");
    assert_eq!(asked(&link), file);
    assert_eq!(
        asked(&link.replace(".whl?", ".whl.metadata?")),
        file.replace(".whl?", ".whl.metadata?")
    );
    assert!(route(&link).expect("a route").page.is_none());
}

proptest! {
    #[test]
    fn no_target_panics_or_leaves_the_upstreams(
        target in "/(pypi|corp|npm|conda|x)?(/|simple|-files|\\.\\.|%2e|%2F|[a-z@.:-]|\\PC){0,12}",
        root in Just(ROOT),
    ) {
        if let Ok(route) = route(&target) {
            let url = route.request.url;
            let bases = packages();
            let is_below = bases.upstreams().iter().any(|upstream| {
                url.as_wire().starts_with(upstream.url().as_wire())
            });
            prop_assert!(is_below, "{target} at {root} is {url}");
        }
    }
}
