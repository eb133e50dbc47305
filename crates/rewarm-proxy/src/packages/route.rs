//! From a client's request to the request that is made for it, or to a refusal.
//!
//! Pure. A request carries upstream only what is named here: what the client accepts, in one of a few
//! spellings so that all clients share what is stored, its conditions and its wishes about caching.
//! Its `Authorization` and cookies are for this proxy, not for an upstream, and stay here.

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE,
};
use http::header::{ACCEPT_ENCODING, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rewarm_http::{Request, Url};

use super::links::{self, Form, Links, Place, Secret};
use super::page::{Page, PageKind};
use super::path;
use super::upstreams::{Kind, Upstream, Upstreams};
use super::validators;

/// A request that is not made. Each has its status in HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing has this path: 404. Clients then look elsewhere, or for another form of the same.
    #[error("nothing is here")]
    NotFound,
    /// The path could be read in two ways, or climbs: 400.
    #[error("the path is not sound")]
    Path,
    /// Package mode only reads: 405.
    #[error("packages can only be read here")]
    Method,
}

impl Refusal {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Path => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// What is asked of an upstream for a client, and what becomes of the answer.
#[derive(Debug)]
pub struct Route {
    /// Without a body; the client's is to be sent if the method is POST.
    pub request: Request,
    /// If the answer holds links: how it is changed.
    pub page: Option<Page>,
}

/// Package mode: upstreams, and the secret that signs links.
#[derive(Debug, Clone)]
pub struct Packages {
    upstreams: Upstreams,
    secret: Secret,
}

/// A request as the client made it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, percent-encoded, behind a token if there is one.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// The URL of the path `/`, as the client knows it, without the final slash; with a token in its
    /// path if there is one.
    pub root: &'a str,
}

impl Packages {
    /// Package mode in front of these upstreams.
    pub fn new(upstreams: Upstreams, secret: Secret) -> Self {
        Self { upstreams, secret }
    }

    /// The upstreams.
    pub fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// What to ask for a client.
    pub fn route(&self, asked: &Asked<'_>) -> Result<Route, Refusal> {
        if !path::is_sound(asked.path) || !asked.path.starts_with('/') {
            return Err(Refusal::Path);
        }
        let query = asked.query.filter(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
        if query != asked.query {
            return Err(Refusal::Path);
        }
        let path = &asked.path[1..];
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        // npm drops the registry's path when it puts the registry's host into a link, in some of its
        // commands: tarballs are asked for at the root, also those of a package called `npm`.
        let is_at_root = path.contains("/-/") && path.ends_with(".tgz");
        let (upstream, rest) = match self.upstreams.get(name) {
            Some(upstream) if !(is_at_root && rest.starts_with("-/")) => (upstream, rest),
            _ if is_at_root => (self.first_npm()?, path),
            _ => return Err(Refusal::NotFound),
        };
        let place = links::find(upstream, &self.secret, rest).ok_or(Refusal::NotFound)?;
        let (kind, digest) = match place {
            Place::Below(path) => (kind_of(upstream, path)?, None),
            Place::InFull(_, digest) => (None, digest),
        };
        allow(asked.method, upstream, &place)?;
        let url = url_of(upstream, place, query)?;
        let page = kind.map(|kind| self.page(kind, upstream, rest, asked.root));
        let mut request = Request::get(url);
        request.method = asked.method.clone();
        request.headers = headers_for(asked, upstream.kind(), page.as_ref());
        let is_whole = asked.method == Method::GET && !request.headers.contains_key(RANGE);
        request.expected = digest.filter(|_| is_whole);
        Ok(Route { request, page })
    }

    fn first_npm(&self) -> Result<&Upstream, Refusal> {
        let mut npm = self.upstreams.iter().filter(|upstream| upstream.kind() == Kind::Npm);
        npm.next().ok_or(Refusal::NotFound)
    }

    fn page(&self, kind: PageKind, upstream: &Upstream, rest: &str, root: &str) -> Page {
        let form = match kind {
            PageKind::Index => Form::Relative { depth: rest.matches('/').count() },
            PageKind::Repodata | PageKind::PackedRepodata | PageKind::Packument => {
                Form::Absolute { root: root.to_owned() }
            }
        };
        let links = Links { upstream: upstream.clone(), secret: self.secret.clone(), form };
        Page::new(kind, links)
    }
}

/// Whether an answer holds links, going by its path below the base.
fn kind_of(upstream: &Upstream, path: &str) -> Result<Option<PageKind>, Refusal> {
    let name = path::file_name(path);
    if upstream.keeps_links() {
        return Ok(None);
    }
    match upstream.kind() {
        Kind::Index => Ok((!path::is_distribution(name)).then_some(PageKind::Index)),
        Kind::Npm => {
            let is_packument = !path.starts_with("-/") && !path.contains("/-/");
            Ok(is_packument.then_some(PageKind::Packument))
        }
        Kind::Conda => {
            let is_repodata = name.starts_with("repodata") || name.starts_with("current_repodata");
            // Clients go on to plain JSON when another form of it is not there.
            const FORMS: [&str; 3] = [".json.bz2", ".jlap", "_shards.msgpack.zst"];
            match is_repodata {
                true if name.ends_with(".json") => Ok(Some(PageKind::Repodata)),
                true if name.ends_with(".json.zst") => Ok(Some(PageKind::PackedRepodata)),
                true if FORMS.iter().any(|form| name.ends_with(form)) => Err(Refusal::NotFound),
                _ => Ok(None),
            }
        }
    }
}

/// Packages are read; npm asks about advisories with a POST.
fn allow(method: &Method, upstream: &Upstream, place: &Place<'_>) -> Result<(), Refusal> {
    let asks = upstream.kind() == Kind::Npm
        && matches!(place, Place::Below(path) if path.starts_with("-/npm/v1/security/"));
    let is_allowed = match *method {
        Method::GET | Method::HEAD => true,
        Method::POST => asks,
        _ => false,
    };
    is_allowed.then_some(()).ok_or(Refusal::Method)
}

fn url_of(upstream: &Upstream, place: Place<'_>, query: Option<&str>) -> Result<Url, Refusal> {
    let mut url = match place {
        Place::InFull(url, _) => url,
        Place::Below(path) => {
            let path = match upstream.kind() {
                Kind::Npm => path::npm_spelling(path),
                Kind::Index | Kind::Conda => path.to_owned(),
            };
            let base = upstream.base();
            let mut url = base.clone();
            url.set_path(&format!("{}{path}", base.path()));
            if !url.path().starts_with(base.path()) {
                return Err(Refusal::Path);
            }
            url
        }
    };
    url.set_query(query);
    Url::parse(url.as_str()).map_err(|_| Refusal::Path)
}

/// The fields to send.
fn headers_for(asked: &Asked<'_>, kind: Kind, page: Option<&Page>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accept(asked.headers, kind));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut pass = |names: &[HeaderName]| {
        for name in names {
            for value in asked.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
    };
    pass(&[CACHE_CONTROL, PRAGMA]);
    match page {
        // A page is another one than upstream's: only its tag can be asked about, and no part of it.
        Some(page) => {
            if let Some(tags) = validators::upstream_tags(asked.headers, page.suffix()) {
                headers.insert(IF_NONE_MATCH, tags);
            }
        }
        None => {
            pass(&[IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE]);
            pass(&[RANGE, IF_RANGE]);
        }
    }
    if asked.method == Method::POST {
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            if let Some(value) = asked.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
    }
    headers
}

/// What a client accepts, in one of a few spellings.
fn accept(headers: &HeaderMap, kind: Kind) -> HeaderValue {
    const JSON: &str = "application/vnd.pypi.simple.v1+json";
    const HTML: &str = "application/vnd.pypi.simple.v1+html";
    const ABBREVIATED: &str = "application/vnd.npm.install-v1+json";
    let ranges = ranges(headers);
    let quality = |names: &[&str]| {
        let of = ranges.iter().filter(|(range, _)| names.iter().any(|name| range == name));
        of.map(|(_, quality)| *quality).max().unwrap_or_default()
    };
    match kind {
        Kind::Conda => HeaderValue::from_static("*/*"),
        Kind::Npm if quality(&[ABBREVIATED]) > 0 => HeaderValue::from_static(
            "application/vnd.npm.install-v1+json, application/json;q=0.8, */*;q=0.1",
        ),
        Kind::Npm => HeaderValue::from_static("application/json, */*;q=0.1"),
        Kind::Index => {
            let latest = |kind: &str| kind.replace("v1", "latest");
            let json = quality(&[JSON, &latest(JSON)]);
            let html = quality(&[HTML, &latest(HTML)]);
            let plain = quality(&["text/html", "text/*"]);
            HeaderValue::from_static(match (json, html, plain) {
                (0, 0, _) => "text/html, */*;q=0.01",
                (0, _, _) => "application/vnd.pypi.simple.v1+html, text/html;q=0.2, */*;q=0.01",
                (json, html, plain) if json >= html && json >= plain => {
                    "application/vnd.pypi.simple.v1+json, \
                     application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
                }
                _ => {
                    "text/html, application/vnd.pypi.simple.v1+html;q=0.2, \
                     application/vnd.pypi.simple.v1+json;q=0.1"
                }
            })
        }
    }
}

/// The media ranges of `Accept` in lower case, with their quality in thousandths (RFC 9110 section
/// 12.5.1).
fn ranges(headers: &HeaderMap) -> Vec<(String, u32)> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let quality = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        let value: f64 = value.trim().parse().ok()?;
        let is_quality = name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value);
        // In range as was just checked.
        is_quality.then_some((value * 1000.0) as u32)
    };
    let range = |member: &str| {
        let mut parts = member.split(';');
        let range = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        (range, parts.find_map(quality).unwrap_or(1000))
    };
    values.flat_map(|value| value.split(',').map(range)).collect()
}
