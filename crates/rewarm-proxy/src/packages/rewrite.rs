//! The body of a page on its way to the client, with its links replaced.
//!
//! A [`Rewrite`] is fed chunk by chunk and gives what is to be sent on: pure, with bounded memory,
//! and never failing on any bytes but those of a broken compression.

use std::fmt;
use std::io;

use rewarm_http::Url;
use rewarm_store::Digest;

use super::html::HtmlRewriter;
use super::json::{JsonRewriter, Place, Step};
use super::links::Links;
use super::stated::{self, FileEntry};
use super::zst::ZstRewriter;

/// `files[].url` of a simple index page (PEP 691), and the digest beside it, as `FileEntry` reads
/// them.
pub(super) const INDEX_LINKS: &[Place] = &[
    &[Step::Member("files"), Step::Each, Step::Member("url")],
    &[Step::Member("files"), Step::Each, Step::Member("hashes"), Step::Member("sha256")],
];

/// `dist.tarball` of the versions of a packument, and of one version alone.
pub(super) const PACKUMENT_LINKS: &[Place] = &[
    &[Step::Member("versions"), Step::Each, Step::Member("dist"), Step::Member("tarball")],
    &[Step::Member("dist"), Step::Member("tarball")],
];

/// `info.base_url` of a channel's repodata (CEP 15).
pub(super) const REPODATA_LINKS: &[Place] = &[&[Step::Member("info"), Step::Member("base_url")]];

/// A body being rewritten.
#[derive(Debug)]
pub struct Rewrite {
    links: Links,
    /// Where the page is, after redirects.
    page: Url,
    format: Format,
}

enum Format {
    Html(Box<HtmlRewriter>),
    Json(Box<JsonRewriter>),
    /// A page of a simple index, and the file on it that is being read.
    Index(Box<JsonRewriter>, FileEntry),
    Zst(Box<ZstRewriter>),
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Html(_) => "Html",
            Self::Json(_) => "Json",
            Self::Index(..) => "Index",
            Self::Zst(_) => "Zst",
        })
    }
}

impl Rewrite {
    pub(super) fn html(links: Links, page: Url) -> Self {
        Self { links, page, format: Format::Html(Box::new(HtmlRewriter::new())) }
    }

    pub(super) fn json(links: Links, page: Url, places: &'static [Place]) -> Self {
        Self { links, page, format: Format::Json(Box::new(JsonRewriter::new(places))) }
    }

    /// A page of a simple index in JSON.
    pub(super) fn index(links: Links, page: Url) -> Self {
        let json = Box::new(JsonRewriter::new(INDEX_LINKS));
        Self { links, page, format: Format::Index(json, FileEntry::default()) }
    }

    /// Repodata that came packed.
    pub(super) fn zst(links: Links, page: Url, places: &'static [Place]) -> io::Result<Self> {
        Ok(Self { links, page, format: Format::Zst(Box::new(ZstRewriter::new(places)?)) })
    }

    /// The URL of the page.
    pub fn page(&self) -> &Url {
        &self.page
    }

    /// Takes the next bytes of the body and appends what is to be sent. After an error the body can
    /// only be cut.
    pub fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let (links, page) = (&self.links, &self.page);
        match &mut self.format {
            Format::Html(html) => html.feed(input, output, &mut |base, reference, fragment| {
                let digest = stated::in_fragment(fragment);
                // A base that cannot be used is none.
                match base.and_then(|base| page.join(base).ok()) {
                    Some(base) => links.map_file(&base, reference, digest),
                    None => links.map_file(page, reference, digest),
                }
            }),
            Format::Json(json) => {
                json.feed(input, output, &mut |found| map(links, page, found.text, None));
            }
            Format::Index(json, entry) => json.feed(input, output, &mut |found| {
                let is_url = entry.read(found);
                is_url.then(|| map(links, page, found.text, entry.digest())).flatten()
            }),
            Format::Zst(zst) => {
                return zst.feed(input, output, &mut |text| map(links, page, text, None));
            }
        }
        Ok(())
    }

    /// Appends what is left at the end of the body.
    pub fn finish(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.format {
            Format::Html(html) => html.finish(output),
            Format::Json(json) | Format::Index(json, _) => json.finish(output),
            Format::Zst(zst) => return zst.finish(output),
        }
        Ok(())
    }
}

/// A link in JSON, its fragment kept.
fn map(links: &Links, page: &Url, text: &str, digest: Option<Digest>) -> Option<String> {
    let (reference, fragment) = text.split_at(text.find('#').unwrap_or(text.len()));
    Some(links.map_file(page, reference, digest)? + fragment)
}
