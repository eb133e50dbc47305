//! Package mode as pure functions: what is asked for a client, and what its pages look like.

mod answers;
mod routes;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rewarm_http::Url;
use rewarm_proxy::packages::{
    Asked, Kind, Packages, Page, Refusal, Route, Secret, Upstream, Upstreams,
};

/// The proxy as clients know it.
const ROOT: &str = "http://127.0.0.1:8181/t0k3n";

/// The public upstreams and some of a company's.
fn packages() -> Packages {
    let mut upstreams = Upstreams::public();
    for (name, kind, url) in [
        ("corp", Kind::Index, "https://bob:s3cr3t@corp/api/simple"),
        ("channels", Kind::Conda, "https://corp/conda/"),
        ("mirror", Kind::Npm, "https://corp/npm/"),
    ] {
        upstreams.set(Upstream::new(name, kind, url).expect("a sound upstream"));
    }
    Packages::new(upstreams, Secret::new([7; 32]))
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    fields.iter().map(field).collect()
}

fn route_with(
    method: &Method,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Result<Route, Refusal> {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let headers = headers(fields);
    packages().route(&Asked { method, path, query, headers: &headers, root: ROOT })
}

fn route(target: &str) -> Result<Route, Refusal> {
    route_with(&Method::GET, target, &[])
}

/// The page at a path, which has to be one.
fn page(path: &str) -> Page {
    route(path).expect("a route").page.expect("a page")
}

/// What is sent for a body of this type from this URL.
fn rewritten(page: &Page, url: &str, content_type: &str, body: &str) -> String {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).expect("a value"));
    let url = Url::parse(url).expect("a URL");
    let rewrite = page.answer(&url, StatusCode::OK, &mut headers).expect("it can be rewritten");
    let Some(mut rewrite) = rewrite else { return body.to_owned() };
    let mut output = Vec::new();
    for chunk in body.as_bytes().chunks(7) {
        rewrite.feed(chunk, &mut output).expect("nothing is packed");
    }
    rewrite.finish(&mut output).expect("nothing is packed");
    String::from_utf8(output).expect("text")
}
