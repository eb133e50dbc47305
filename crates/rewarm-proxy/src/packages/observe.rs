//! Reads the digests on index pages that pass by unchanged.
//!
//! The parsers are those that rewrite pages, with nothing to replace. Memory is bounded whatever the
//! page holds, and a page that cannot be read says nothing: the client gets its bytes in any case. Only
//! a page that the client asked for as one of an index speaks of files: whoever makes some other page
//! has no say in what they hold.

use std::fmt;
use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rewarm_http::{Request, Url};
use rewarm_store::Digest;

use super::html::HtmlRewriter;
use super::json::JsonRewriter;
use super::known::{KnownFiles, is_personal};
use super::rewrite::INDEX_LINKS;
use super::stated::{self, FileEntry};

/// What a request for a page of a simple index accepts, in any version of the format.
const SIMPLE: &str = "application/vnd.pypi.simple.";

/// Bytes unpacked or read at once.
const PIECE: usize = 16 * 1024;

/// Takes note of the files that a page links to.
pub(crate) struct Observer(Coding);

enum Coding {
    Identity(Box<Reader>),
    Gzip(Box<MultiGzDecoder<Reader>>),
    /// It was broken.
    Lost,
}

/// A page without content coding.
struct Reader {
    source: Source,
    format: Format,
    /// What the parsers copy, of no use here.
    copied: Vec<u8>,
}

enum Format {
    Html(Box<HtmlRewriter>),
    Json(Box<JsonRewriter>, FileEntry),
}

/// Whose page it is, and who is told.
struct Source {
    known: KnownFiles,
    page: Url,
    /// Of the request.
    fields: HeaderMap,
}

/// Has a request for an index page ask for a coding that can be read here, if the client takes it.
/// Clients that would differ in nothing else then share what is stored.
pub(crate) fn settle_coding(request: &mut Request) {
    if !wants_page(request) || !request.headers.contains_key(ACCEPT_ENCODING) {
        return;
    }
    let refuses = |parameters: &str| {
        let quality = parameters.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=');
        quality.trim().parse() == Ok(0.0_f32)
    };
    let takes = |coding: &str| {
        let mut lists = texts(&request.headers, &ACCEPT_ENCODING).flat_map(|text| text.split(','));
        lists.find_map(|member| {
            let (name, rest) = member.split_once(';').unwrap_or((member, ""));
            name.trim().eq_ignore_ascii_case(coding).then(|| !refuses(rest))
        })
    };
    let settled = match (takes("gzip"), takes("identity")) {
        (Some(true), _) => "gzip",
        (_, Some(false)) => return,
        _ => "identity",
    };
    request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(settled));
}

/// Whether a page of a simple index is asked for, as installers do.
fn wants_page(request: &Request) -> bool {
    let accepts = texts(&request.headers, &ACCEPT).any(|text| text.contains(SIMPLE));
    accepts && request.method == Method::GET
}

fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

impl Observer {
    /// An observer of the answer to a request, if that may be a page of an index.
    pub(crate) fn of(
        known: &KnownFiles,
        request: &Request,
        (status, headers): (StatusCode, &HeaderMap),
    ) -> Option<Self> {
        if !wants_page(request) || status != StatusCode::OK {
            return None;
        }
        let kind = texts(headers, &CONTENT_TYPE).next()?.split(';').next()?.trim();
        let format = match &*kind.to_ascii_lowercase() {
            "text/html" | "application/vnd.pypi.simple.v1+html" => {
                Format::Html(Box::new(HtmlRewriter::new()))
            }
            "application/vnd.pypi.simple.v1+json" => {
                Format::Json(Box::new(JsonRewriter::new(INDEX_LINKS)), FileEntry::default())
            }
            _ => return None,
        };
        let (page, fields) = (request.url.clone(), request.headers.clone());
        let source = Source { known: known.clone(), page, fields };
        let reader = Reader { source, format, copied: Vec::new() };
        match texts(headers, &CONTENT_ENCODING).collect::<Vec<_>>()[..] {
            [] | ["identity"] => Some(Self(Coding::Identity(Box::new(reader)))),
            ["gzip" | "x-gzip"] => Some(Self(Coding::Gzip(Box::new(MultiGzDecoder::new(reader))))),
            _ => None,
        }
    }

    /// Reads the next bytes of the page as they came.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let read = match &mut self.0 {
            Coding::Identity(reader) => reader.write_all(bytes),
            Coding::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Coding::Lost => Ok(()),
        };
        if read.is_err() {
            self.0 = Coding::Lost;
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Write for Reader {
    /// Never fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { source, format, copied } = self;
        for piece in bytes.chunks(PIECE) {
            match format {
                Format::Html(html) => html.feed(piece, copied, &mut |base, link, fragment| {
                    let digest = stated::in_fragment(fragment)?;
                    source.note(base, link, digest);
                    None
                }),
                Format::Json(json, entry) => json.feed(piece, copied, &mut |found| {
                    entry.read(found);
                    let (url, digest) = entry.whole()?;
                    source.note(None, url, digest);
                    None
                }),
            }
            copied.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source {
    /// Takes note of a link. A page that was asked for with credentials speaks of its own origin only,
    /// and one that came without encryption of no file that comes with it.
    fn note(&self, base: Option<&str>, link: &str, digest: Digest) {
        let page = &self.page;
        let base = base.and_then(|base| page.join(base).ok());
        let Ok(file) = base.as_ref().unwrap_or(page).join(link.trim()) else { return };
        let is_foreign = is_personal(page, &self.fields) && !file.same_origin(page);
        let is_above = file.is_secure() && !page.is_secure();
        if !is_foreign && !is_above {
            self.known.note_for(&file, &self.fields, digest);
        }
    }
}
