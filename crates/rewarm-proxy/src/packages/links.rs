//! Links: what stands at the proxy for a URL of an upstream, and back.
//!
//! What is below an upstream's base has a path of its own; what is elsewhere, as PyPI's files are, is
//! named in full behind a tag that only this proxy can make, so that it fetches from no host that
//! none of its upstreams has pointed to. Where a page states the digest of a file, the file is named in
//! full and with it, wherever it is, and the tag covers it. The secret behind the tags has to outlive the process:
//! clients keep pages, and with them links.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use rewarm_http::Url;
use rewarm_store::Digest;
use sha2::Sha256;

use super::path::{file_name, is_archive, is_sound};
use super::stated;
use super::upstreams::{Kind, Upstream};

/// Announces a file that is named in full. Of letters that no client encodes anew.
const IN_FULL: &str = "-files/";

/// Bytes of a tag; 80 bits are not to be guessed over a network.
const TAG: usize = 10;

/// What links are signed with.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A secret of these bytes, which should be random.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    /// A short text that only the owner of the secret can make for these parts.
    pub(super) fn tag(&self, parts: &[&str]) -> String {
        hex(&self.mac(parts).finalize().into_bytes()[..TAG])
    }

    /// Whether a tag was made for these parts. Takes the same time wherever it differs.
    fn is_tag(&self, tag: &str, parts: &[&str]) -> bool {
        unhex(tag).is_some_and(|tag| self.mac(parts).verify_truncated_left(&tag).is_ok())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; TAG]> {
    let mut bytes = [0; TAG];
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 2 * TAG || !text.bytes().all(lower) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// How a link is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Relative to the page, so that it holds under whatever name the proxy was reached.
    Relative {
        /// Slashes in the page's path behind the upstream's name.
        depth: usize,
    },
    /// In full, for clients that resolve nothing. The root has no final slash.
    Absolute {
        /// The proxy as the client knows it.
        root: String,
    },
}

/// The links of one answer.
#[derive(Debug, Clone)]
pub(super) struct Links {
    pub(super) upstream: Upstream,
    pub(super) secret: Secret,
    pub(super) form: Form,
}

impl Links {
    /// What a reference on a page is to be replaced by; `None` where it should stay as it is. A
    /// fragment is dropped.
    pub(super) fn map(&self, page: &Url, reference: &str) -> Option<String> {
        self.map_file(page, reference, None)
    }

    /// The same for a link beside which a digest may be stated.
    pub(super) fn map_file(
        &self,
        page: &Url,
        reference: &str,
        digest: Option<Digest>,
    ) -> Option<String> {
        let trimmed = reference.trim_matches(|c: char| c <= ' ');
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return None;
        }
        let page = url::Url::parse(page.as_wire()).ok()?;
        let mut target = page.join(trimmed).ok()?;
        if !matches!(target.scheme(), "http" | "https") {
            return None;
        }
        target.set_fragment(None);
        if let Some(place) = place(&self.upstream, &self.secret, &target, digest) {
            return Some(self.write(&place));
        }
        // It goes around the proxy, and must not be looked for on it.
        let is_relative = url::Url::parse(trimmed).is_err();
        is_relative.then(|| target.into())
    }

    fn write(&self, place: &str) -> String {
        match &self.form {
            Form::Relative { depth: 0 } => format!("./{place}"),
            Form::Relative { depth } => "../".repeat(*depth) + place,
            Form::Absolute { root } => format!("{root}/{}/{place}", self.upstream.name()),
        }
    }
}

/// The segments behind an upstream's name under which the base is.
fn base_segment(upstream: &Upstream) -> &'static str {
    match upstream.kind() {
        Kind::Index => "simple/",
        Kind::Conda | Kind::Npm => "",
    }
}

/// Path and query, behind the upstream's name, that stand for a URL. `None` for what the proxy would
/// not fetch: with credentials of its own, with a path that it refuses, or without encryption although
/// the upstream has it.
fn place(
    upstream: &Upstream,
    secret: &Secret,
    target: &url::Url,
    digest: Option<Digest>,
) -> Option<String> {
    let base = upstream.base();
    let exposes = !target.username().is_empty() || target.password().is_some();
    let downgrades = base.scheme() == "https" && target.scheme() != "https";
    if exposes || downgrades || !is_sound(target.path()) {
        return None;
    }
    let digest = digest.filter(|_| is_archive(file_name(target.path())));
    let is_at_home = target.origin() == base.origin() && digest.is_none();
    let mut place = match target.path().strip_prefix(base.path()).filter(|_| is_at_home) {
        Some(rest) => base_segment(upstream).to_owned() + rest,
        None => {
            let (scheme, authority) = (target.scheme(), target.authority());
            let digest = digest.map(|digest| digest.to_string());
            let tag = secret.tag(&parts(upstream, (scheme, authority), digest.as_deref()));
            let digest = digest.map(|digest| digest + "/").unwrap_or_default();
            let authority = authority.replace('[', "%5B").replace(']', "%5D");
            format!("{IN_FULL}{tag}/{digest}{scheme}/{authority}{}", target.path())
        }
    };
    if let Some(query) = target.query() {
        place.push('?');
        place.push_str(query);
    }
    Some(place)
}

/// What a tag is made for. What clients append to a path, as for `.metadata`, is not known here.
fn parts<'p>(
    upstream: &'p Upstream,
    (scheme, authority): (&'p str, &'p str),
    digest: Option<&'p str>,
) -> Vec<&'p str> {
    let parts = ["file", upstream.name(), scheme, authority];
    parts.into_iter().chain(digest).collect()
}

/// What a path behind an upstream's name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'p> {
    /// What is below the base, by its path from there.
    Below(&'p str),
    /// A file named in full, and its digest, if the page stated that and it is the file itself that
    /// is asked for.
    InFull(url::Url, Option<Digest>),
}

/// Reads a sound path behind an upstream's name; `None` if nothing is there.
pub(super) fn find<'p>(upstream: &Upstream, secret: &Secret, path: &'p str) -> Option<Place<'p>> {
    let Some(rest) = path.strip_prefix(IN_FULL) else {
        return path.strip_prefix(base_segment(upstream)).map(Place::Below);
    };
    let (tag, rest) = rest.split_once('/')?;
    let stated = rest.split_once('/').filter(|(first, _)| stated::hex(first).is_some());
    let (digest, rest) = stated.map_or((None, rest), |(digest, rest)| (Some(digest), rest));
    let mut segments = rest.splitn(3, '/');
    let (scheme, authority, path) = (segments.next()?, segments.next()?, segments.next()?);
    let authority = percent_decode_str(authority).decode_utf8().ok()?;
    if !secret.is_tag(tag, &parts(upstream, (scheme, &authority), digest)) {
        return None;
    }
    let digest = digest.and_then(stated::hex).filter(|_| is_archive(file_name(path)));
    let mut url = url::Url::parse(&format!("{scheme}://{authority}/{path}")).ok()?;
    if url.origin() == upstream.base().origin() {
        // The credentials of the index are those of its host. They are sound: they were in a URL.
        let base = upstream.base();
        let _ = url.set_username(base.username());
        let _ = url.set_password(base.password());
    }
    Some(Place::InFull(url, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(base: &str, form: Form) -> Links {
        let upstream = Upstream::new("pypi", Kind::Index, base).unwrap();
        Links { upstream, secret: Secret::new([7; 32]), form }
    }

    fn page() -> Links {
        links("https://pypi.org/simple/", Form::Relative { depth: 2 })
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_file_elsewhere_is_named_in_full_and_found_again() {
        let links = page();
        let at = url("https://pypi.org/simple/foo/");
        for file in [
            "https://files.pythonhosted.org/packages/a/foo-1.0.whl",
            "https://h:8443/x%20y/foo.whl?token=a&b",
            "https://[::1]:1/foo.whl",
            "https://pypi.org/files/foo.whl",
        ] {
            let link = links.map(&at, file).unwrap();
            let place = link.strip_prefix("../../").unwrap();
            let (path, query) = place.split_once('?').map_or((place, None), |(p, q)| (p, Some(q)));
            let Some(Place::InFull(mut found, None)) = find(&links.upstream, &links.secret, path)
            else {
                panic!("{link}");
            };
            found.set_query(query);
            assert_eq!(found.as_str(), file);
            assert!(path.ends_with(super::super::path::file_name(url(file).file_name())));
        }
    }

    #[test]
    fn what_is_below_the_base_keeps_its_path() {
        let links = page();
        let at = url("https://pypi.org/simple/");
        assert_eq!(links.map(&at, "/simple/foo/").as_deref(), Some("../../simple/foo/"));
        assert_eq!(links.map(&at, "foo/?q#f").as_deref(), Some("../../simple/foo/?q"));
        let found = find(&links.upstream, &links.secret, "simple/foo/");
        assert_eq!(found, Some(Place::Below("foo/")));
    }

    #[test]
    fn links_in_full_name_the_proxy() {
        let form = Form::Absolute { root: "http://127.0.0.1:1/t".into() };
        let links = links("https://pypi.org/simple/", form);
        let link = links.map(&url("https://pypi.org/simple/"), "foo/");
        assert_eq!(link.as_deref(), Some("http://127.0.0.1:1/t/pypi/simple/foo/"));
    }

    #[test]
    fn a_tag_holds_for_one_host_one_scheme_and_one_upstream() {
        let links = page();
        let link = links.map(&url("https://pypi.org/simple/foo/"), "https://h/foo.whl").unwrap();
        let place = link.strip_prefix("../../").unwrap();
        let other = Upstream::new("other", Kind::Index, "https://pypi.org/simple/").unwrap();
        let find_in = |upstream, path: &str| find(upstream, &links.secret, path).is_some();
        assert!(find_in(&links.upstream, place));
        assert!(!find_in(&other, place));
        assert!(find(&links.upstream, &Secret::new([8; 32]), place).is_none());
        for (from, to) in
            [("/h/", "/i/"), ("/h/", "/h:1/"), ("/https/", "/http/"), ("-files/", "-files/0")]
        {
            let forged = place.replace(from, to);
            assert!(!find_in(&links.upstream, &forged), "{forged}");
        }
        for forged in [
            "-files/",
            "-files//https/h/x",
            "-files/zz/https/h/x",
            "-files/00000000000000000000/https/h/x",
        ] {
            assert!(!find_in(&links.upstream, forged), "{forged}");
        }
    }

    #[test]
    fn a_client_may_encode_the_port_anew() {
        let links = page();
        let link = links.map(&url("https://pypi.org/simple/foo/"), "https://h:1/foo.whl").unwrap();
        let place = link.strip_prefix("../../").unwrap().replace("h:1", "h%3A1");
        let found = find(&links.upstream, &links.secret, &place);
        assert_eq!(found, Some(Place::InFull("https://h:1/foo.whl".parse().unwrap(), None)));
    }

    #[test]
    fn a_stated_digest_is_part_of_the_link_and_of_its_tag() {
        let links = page();
        let (at, digest) = (url("https://pypi.org/simple/foo/"), Digest::of("a"));
        for file in ["https://h/foo.whl", "https://pypi.org/simple/foo/foo.whl"] {
            let link = links.map_file(&at, file, Some(digest)).unwrap();
            let place = link.strip_prefix("../../").unwrap();
            let found = |path: &str| find(&links.upstream, &links.secret, path).is_some();
            let expected = Place::InFull(file.parse().unwrap(), Some(digest));
            assert_eq!(find(&links.upstream, &links.secret, place), Some(expected));
            let beside = format!("{place}.metadata");
            let expected = Place::InFull(format!("{file}.metadata").parse().unwrap(), None);
            assert_eq!(find(&links.upstream, &links.secret, &beside), Some(expected));
            let (own, other) = (digest.to_string(), Digest::of("b").to_string());
            assert!(!found(&place.replace(&own, &other)));
            assert!(!found(&place.replace(&own, &own.to_uppercase())));
            assert!(!found(&place.replace(&format!("{own}/"), "")));
        }
        let plain = links.map(&at, "https://h/foo.whl").unwrap();
        let forged = plain.replace("/https/", &format!("/{digest}/https/"));
        assert_eq!(find(&links.upstream, &links.secret, &forged[6..]), None);
        let page_link = links.map_file(&at, "https://pypi.org/simple/bar/", Some(digest));
        assert_eq!(page_link.as_deref(), Some("../../simple/bar/"));
    }

    #[test]
    fn credentials_go_to_the_origin_of_the_index_only() {
        let links = links("https://bob:s3cr3t@h/a/simple/", Form::Relative { depth: 2 });
        let at = url("https://h/a/simple/foo/");
        for (file, has_user) in [
            ("https://h/b/foo.whl", true),
            ("https://h:1/b/foo.whl", false),
            ("https://i/b/foo.whl", false),
        ] {
            let link = links.map(&at, file).unwrap();
            assert!(!link.contains("s3cr3t"));
            let place = link.strip_prefix("../../").unwrap();
            let Some(Place::InFull(found, None)) = find(&links.upstream, &links.secret, place)
            else {
                panic!("{link}");
            };
            assert_eq!(found.password().is_some(), has_user, "{file}");
        }
    }

    #[test]
    fn what_the_proxy_would_not_fetch_goes_around_it() {
        let links = page();
        let at = url("https://pypi.org/simple/foo/");
        for stays in [
            "",
            " ",
            "#x",
            "mailto:a@b",
            "data:,x",
            "file:///x",
            "https://u:p@h/x",
            "http://h/x.whl",
            "https://h/a%5cb",
        ] {
            assert_eq!(links.map(&at, stays), None, "{stays}");
        }
        let odd = links.map(&at, "/x%00").unwrap();
        assert_eq!(odd, "https://pypi.org/x%00");
    }
}
