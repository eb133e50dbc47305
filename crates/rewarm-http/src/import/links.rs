//! The links of an index page: a simple index in HTML or JSON (PEP 503, PEP 691).
//!
//! Other tools' caches know responses by a digest of their URL only. The pages among them name URLs,
//! with the digests of what they lead to. What cannot be read has no links; nothing here fails.

use std::io::Read;

use rewarm_store::Digest;
use serde::Deserialize;

/// Longer pages are not looked at.
const MAX_PAGE: u64 = 256 << 20;

/// What a page says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The project it is about, if it says so.
    pub(crate) project: Option<String>,
    /// What its links are relative to, instead of its own URL.
    pub(crate) base: Option<String>,
    /// Its links.
    pub(crate) links: Vec<Link>,
}

/// A link, and the digest of what is there if the page gives one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) reference: String,
    pub(crate) sha256: Option<Digest>,
}

#[derive(Deserialize)]
struct Json {
    name: Option<String>,
    #[serde(default)]
    files: Vec<JsonFile>,
}

#[derive(Deserialize)]
struct JsonFile {
    url: String,
    #[serde(default)]
    hashes: serde_json::Map<String, serde_json::Value>,
}

/// Reads a page of that `Content-Type` and `Content-Encoding`; `None` if it is none.
pub(crate) fn read(kind: &str, coding: Option<&str>, body: impl Read) -> Option<Page> {
    let mut bytes = Vec::new();
    let count = match coding.map(str::trim) {
        None | Some("" | "identity") => body.take(MAX_PAGE + 1).read_to_end(&mut bytes),
        Some("gzip") => {
            flate2::read::GzDecoder::new(body).take(MAX_PAGE + 1).read_to_end(&mut bytes)
        }
        Some(_) => return None,
    };
    count.ok().filter(|&count| count as u64 <= MAX_PAGE)?;
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/vnd.pypi.simple.v1+json" => json(&bytes),
        "application/vnd.pypi.simple.v1+html" | "text/html" => {
            Some(html(&String::from_utf8_lossy(&bytes)))
        }
        _ => None,
    }
}

/// Whether a body of this type may be an index page, and not a file to install.
pub(crate) fn is_page(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["text/", "application/vnd.pypi", "application/json"]
        .iter()
        .any(|start| kind.starts_with(start))
}

fn json(bytes: &[u8]) -> Option<Page> {
    let page: Json = serde_json::from_slice(bytes).ok()?;
    let link = |file: JsonFile| {
        let sha256 = file.hashes.get("sha256").and_then(|value| value.as_str()?.parse().ok());
        Link { reference: file.url, sha256 }
    };
    Some(Page { project: page.name, base: None, links: page.files.into_iter().map(link).collect() })
}

fn html(text: &str) -> Page {
    let mut page = Page::default();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        match name.to_ascii_lowercase().as_str() {
            "a" => page.links.extend(attribute(rest, "href").map(|href| link(&href))),
            "base" => page.base = page.base.or_else(|| attribute(rest, "href")),
            "title" => {
                let title = rest.split(['>', '<']).nth(1).unwrap_or_default();
                let project = title.trim().strip_prefix("Links for ");
                page.project = project.map(|name| unescape(name.trim()));
            }
            _ => {}
        }
    }
    page
}

fn link(href: &str) -> Link {
    let (reference, fragment) = href.split_once('#').unwrap_or((href, ""));
    let mut parts = fragment.split('&');
    let sha256 = parts.find_map(|part| part.strip_prefix("sha256=")?.parse().ok());
    Link { reference: reference.to_owned(), sha256 }
}

/// The value of an attribute of the tag that `text` begins with, up to its `>`.
fn attribute(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'))?;
        let name = &rest[..end];
        rest = rest[end..].trim_start();
        let Some(after) = rest.strip_prefix('=') else {
            if name.is_empty() || rest.starts_with('>') {
                return None;
            }
            continue;
        };
        let after = after.trim_start();
        let (value, remaining) = match after.chars().next()? {
            quote @ ('"' | '\'') => after[1..].split_once(quote)?,
            _ => after.split_at(after.find(|c: char| c.is_whitespace() || c == '>')?),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescape(value));
        }
        rest = remaining;
    }
}

/// The character references that index pages use.
fn unescape(text: &str) -> String {
    let mut text = text.to_owned();
    for (reference, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(reference, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HTML: &str = "text/html; charset=utf-8";
    const JSON: &str = "application/vnd.pypi.simple.v1+json";

    #[test]
    fn links_of_both_forms_are_found_with_their_digests() {
        let digest = Digest::of("x");
        let text = format!(
            "<!DOCTYPE html><html><head><title>Links for a-b</title></head><body>\
             <a href=\"../../f/a.whl#sha256={digest}\" data-x='>'>a</a>\n\
             <A class=x HREF='https://h/b.whl?a=1&amp;b=2'>b</A><a name=c>c</a><a></a></body>"
        );
        let page = read(HTML, None, text.as_bytes()).expect("a page");
        assert_eq!(page.project.as_deref(), Some("a-b"));
        let first = Link { reference: "../../f/a.whl".into(), sha256: Some(digest) };
        let second = Link { reference: "https://h/b.whl?a=1&b=2".into(), sha256: None };
        assert_eq!(page.links, [first.clone(), second]);
        let text = format!(
            "{{\"name\":\"a-b\",\"files\":[{{\"url\":\"../../f/a.whl\",\"hashes\":{{\"sha256\":\"{digest}\"}}}}]}}"
        );
        let page = read(JSON, Some("identity"), text.as_bytes()).expect("a page");
        assert_eq!((page.project.as_deref(), page.links), (Some("a-b"), vec![first]));
        let based = read(HTML, None, &b"<base href='/x/'><a href=y>"[..]).expect("a page");
        assert_eq!((based.base.as_deref(), based.links.len()), (Some("/x/"), 1));
    }

    #[test]
    fn other_types_codings_and_broken_pages_have_no_links() {
        assert_eq!(read("application/octet-stream", None, &b"<a href=x>"[..]), None);
        assert_eq!(read(HTML, Some("br"), &b"<a href=x>"[..]), None);
        assert_eq!(read(HTML, Some("gzip"), &b"<a href=x>"[..]), None);
        assert_eq!(read(JSON, None, &b"{\"files\":"[..]), None);
        assert_eq!(read(HTML, None, &b"<a href"[..]), Some(Page::default()));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[<>a= \"'/hrefbstil#&é]{0,60}") {
            let _ = read(HTML, None, text.as_bytes());
            let _ = read(JSON, None, text.as_bytes());
            let _ = read(HTML, Some("gzip"), text.as_bytes());
        }
    }
}
