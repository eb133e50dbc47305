//! What becomes of an upstream's answer that holds links.
//!
//! [`Page::answer`] decides by status and content type, and changes the fields so that they are true
//! of what is sent. The body is left to [`Rewrite`].

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, HeaderName,
    LAST_MODIFIED, LINK, LOCATION,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use rewarm_http::Url;

use super::links::{Form, Links};
use super::rewrite::{PACKUMENT_LINKS, REPODATA_LINKS, Rewrite};
use super::validators;

/// What kind of page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Of a simple index.
    Index,
    /// The list of a channel's packages.
    Repodata,
    /// The same, packed with zstd.
    PackedRepodata,
    /// What an npm registry says about one package.
    Packument,
}

/// How an answer is changed.
#[derive(Debug, Clone)]
pub struct Page {
    kind: PageKind,
    links: Links,
    suffix: String,
}

/// An answer whose links cannot be replaced: to be told to the client as 502.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It is compressed although that was not asked for.
    #[error("`{url}` came with `Content-Encoding: {coding}`, which was not asked for")]
    Encoded {
        /// Of what.
        url: Url,
        /// How.
        coding: String,
    },
}

impl Page {
    pub(super) fn new(kind: PageKind, links: Links) -> Self {
        // Another release may write other bytes, and so does another form of links.
        let version = concat!(env!("CARGO_PKG_VERSION"), ", links 2");
        let root = match &links.form {
            Form::Relative { .. } => "",
            Form::Absolute { root } => root,
        };
        let parts = ["page", version, root, links.upstream.name(), links.upstream.base().as_str()];
        let mut suffix = links.secret.tag(&parts);
        suffix.truncate(8);
        Self { kind, links, suffix }
    }

    /// What its tags end with.
    pub(super) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Makes the fields of an answer those of what will be sent, and says how its body is rewritten;
    /// `None` if it is sent as it is. `url` is where it came from, after redirects. A HEAD has the
    /// same fields as the GET.
    pub fn answer(
        &self,
        url: &Url,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Result<Option<Rewrite>, PageError> {
        for name in [LOCATION, CONTENT_LOCATION] {
            self.map_field(url, headers, &name);
        }
        self.map_link_field(url, headers);
        if !matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED) {
            return Ok(None);
        }
        validators::mark(headers, &self.suffix);
        // Upstream's date says nothing about a change of the links.
        headers.remove(LAST_MODIFIED);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        if status == StatusCode::NOT_MODIFIED {
            drop_digests(headers);
            return Ok(None);
        }
        let Some(rewrite) = self.rewrite(url, headers) else { return Ok(None) };
        let coding = headers.get(CONTENT_ENCODING).filter(|value| *value != "identity");
        if let Some(coding) = coding {
            let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
            return Err(PageError::Encoded { url: url.clone(), coding });
        }
        drop_digests(headers);
        Ok(Some(rewrite))
    }

    fn rewrite(&self, url: &Url, headers: &HeaderMap) -> Option<Rewrite> {
        let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        let is_json = kind == "application/json" || kind.ends_with("+json");
        let is_html = kind == "text/html" || kind == "application/vnd.pypi.simple.v1+html";
        let (links, page) = (self.links.clone(), url.clone());
        match self.kind {
            PageKind::Index if is_html => Some(Rewrite::html(links, page)),
            PageKind::Index if is_json => Some(Rewrite::index(links, page)),
            PageKind::Packument if is_json => Some(Rewrite::json(links, page, PACKUMENT_LINKS)),
            // File servers know all sorts of types for it.
            PageKind::Repodata => Some(Rewrite::json(links, page, REPODATA_LINKS)),
            // Without memory for it the page is passed as it came.
            PageKind::PackedRepodata => Rewrite::zst(links, page, REPODATA_LINKS).ok(),
            PageKind::Index | PageKind::Packument => None,
        }
    }

    fn map_field(&self, url: &Url, headers: &mut HeaderMap, name: &HeaderName) {
        let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return };
        let (reference, fragment) = value.split_at(value.find('#').unwrap_or(value.len()));
        let mapped = self.links.map(url, reference).map(|link| link + fragment);
        if let Some(value) = mapped.and_then(|mapped| HeaderValue::from_str(&mapped).ok()) {
            headers.insert(name, value);
        }
    }

    /// The targets of `Link` (RFC 8288 section 3).
    fn map_link_field(&self, url: &Url, headers: &mut HeaderMap) {
        let values: Vec<HeaderValue> = headers.get_all(LINK).iter().cloned().collect();
        headers.remove(LINK);
        for value in values {
            let Ok(text) = value.to_str() else { continue };
            let mut mapped = String::new();
            let mut rest = text;
            while let Some((before, target, after)) = cut_target(rest) {
                mapped += before;
                mapped += &self.links.map(url, target).unwrap_or_else(|| target.to_owned());
                rest = after;
            }
            mapped += rest;
            headers.extend(HeaderValue::from_str(&mapped).ok().map(|value| (LINK, value)));
        }
    }
}

/// Drops what is said of the bytes that came.
fn drop_digests(headers: &mut HeaderMap) {
    const OF_THE_BYTES: [HeaderName; 5] = [
        CONTENT_LENGTH,
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("digest"),
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
    ];
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
}

/// Cuts a text around what stands between its first angle brackets.
fn cut_target(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find('<')? + 1;
    let end = start + text[start..].find('>')?;
    Some((&text[..start], &text[start..end], &text[end..]))
}
