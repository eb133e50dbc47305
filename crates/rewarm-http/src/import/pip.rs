//! pip's HTTP cache: `http-v2` since pip 23.3, where a body lies beside its head, and `http` before,
//! where it lies within.
//!
//! Entries go by the sha224 of their URL, which they do not tell. URLs are found by trying: those that
//! are given, the pages of known indexes for the projects that come up, and the links on all pages
//! that are in the cache. pip writes a head before its body and either may fail, so a page is only
//! believed if its body is no older than its head; a file with a known digest needs no such belief.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rewarm_store::Digest;
use sha2::{Digest as _, Sha224};

use super::links::{self, Page};
use super::msgpack::{self, Value};
use super::{Candidate, Hints, Skip, Skipped, Stored, is_file};
use crate::policy::Role;
use crate::policy::date::date;
use crate::policy::decide::RequestHead;
use crate::policy::storing::{storable, storable_fields};
use crate::record::{Variant, vary_names, vary_of};
use crate::url::Url;

/// The layouts, by directory.
const AREAS: [&str; 2] = ["http-v2", "http"];

/// What every entry begins with: the version of the library that wrote it.
const MAGIC: &[u8] = b"cc=4,";

/// Origins that answer everybody alike.
const PYPI: [&str; 2] = ["https://pypi.org/simple/", "https://files.pythonhosted.org/"];

/// What is in a cache.
#[derive(Debug, Default)]
pub struct Scan {
    /// What can be taken if its body is right.
    pub candidates: Vec<Candidate>,
    /// What cannot.
    pub skipped: Vec<Skipped>,
}

/// An entry whose head could be read.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    status: u16,
    headers: HeaderMap,
    vary: HeaderMap,
    body: PathBuf,
    part: std::ops::Range<u64>,
    /// Whether head and body were certainly written together.
    is_one: bool,
}

/// URLs by the name that pip gives them.
struct Known {
    public: Vec<Url>,
    indexes: Vec<Url>,
    urls: HashMap<String, (Url, Stated)>,
}

/// The digest that pages state for a file: if any does, and `None` inside where two say otherwise.
type Stated = Option<Option<Digest>>;

/// Whether a directory is a cache of pip's.
pub fn is_cache(dir: &Path) -> bool {
    AREAS.iter().any(|area| dir.join(area).is_dir())
}

/// Reads the heads of all entries, and the pages among them, in pip's cache directory.
pub fn scan(dir: &Path, hints: &Hints) -> io::Result<Scan> {
    let mut found = Scan::default();
    let mut entries = Vec::new();
    for area in AREAS {
        for (path, name) in files(&dir.join(area))? {
            match Entry::read(&path, area == AREAS[0]) {
                Ok(entry) => entries.push((name, entry)),
                Err(reason) => found.skipped.push(Skipped { path, url: None, reason }),
            }
        }
    }
    let mut known = Known::new(hints);
    let mut pages: Vec<(&String, &Entry)> =
        entries.iter().filter(|(_, entry)| entry.is_page()).map(|(n, e)| (n, e)).collect();
    // A page that another one leads to has links of its own.
    while !pages.is_empty() {
        let before = known.urls.len();
        let mut left = Vec::new();
        for (name, entry) in pages {
            if let Some(page) = entry.page()
                && !known.learn(name, &page)
            {
                left.push((name, entry));
            }
        }
        if known.urls.len() == before {
            break;
        }
        pages = left;
    }
    for (name, entry) in entries {
        let (url, expected) = known.urls.get(&name).cloned().unzip();
        let (path, expected) = (entry.path.clone(), expected.flatten().flatten());
        match entry.candidate(url.clone(), expected, &known.public) {
            Ok(candidate) => found.candidates.push(candidate),
            Err(reason) => found.skipped.push(Skipped { path, url, reason }),
        }
    }
    found.candidates.sort_by(|a, b| a.path.cmp(&b.path));
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The name that pip gives a URL.
fn name_of(url: &str) -> String {
    Sha224::digest(url.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Heads by name: those files that stand where pip puts them.
fn files(area: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut dirs = vec![(area.to_owned(), String::new())];
    while let Some((dir, prefix)) = dirs.pop() {
        let listed = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in listed {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_hex = name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let kind = entry.file_type()?;
            if is_hex && name.len() == 1 && prefix.len() < 5 && kind.is_dir() {
                dirs.push((entry.path(), format!("{prefix}{name}")));
            } else if is_hex && name.len() == 56 && kind.is_file() && prefix.len() == 5 {
                found.push((entry.path(), name));
            }
        }
    }
    Ok(found)
}

impl Known {
    fn new(hints: &Hints) -> Self {
        let parse = |text: &&str| Url::parse(text).expect("a constant URL");
        let public = PYPI.iter().map(parse).chain(hints.public.iter().cloned()).collect();
        let indexes = PYPI[..1].iter().map(parse).chain(hints.indexes.iter().cloned());
        let mut known =
            Self { public, indexes: indexes.map(slashed).collect(), urls: HashMap::new() };
        for url in &hints.urls {
            known.add(url.clone(), None);
        }
        known
    }

    fn add(&mut self, url: Url, sha256: Option<Digest>) {
        let (_, stated) = self.urls.entry(name_of(url.as_wire())).or_insert((url, None));
        if let Some(digest) = sha256 {
            let known = stated.unwrap_or(sha256);
            *stated = Some(known.filter(|known| *known == digest));
        }
    }

    /// Takes over the links of a page. Says whether its own URL is known, so that all were.
    fn learn(&mut self, name: &str, page: &Page) -> bool {
        for project in projects(page) {
            for index in self.indexes.clone() {
                if let Ok(url) = index.join(&format!("{project}/")) {
                    self.add(url, None);
                }
            }
        }
        let own = self.urls.get(name).map(|(url, _)| url.clone());
        let base = match (&own, &page.base) {
            (Some(own), Some(base)) => own.join(base).ok(),
            (own, _) => own.clone(),
        };
        for link in &page.links {
            let url = match &base {
                Some(base) => base.join(&link.reference),
                None => Url::parse(&link.reference),
            };
            let Ok(url) = url else { continue };
            if let Ok(metadata) = Url::parse(&format!("{}.metadata", url.as_wire())) {
                self.add(metadata, None);
            }
            self.add(url, link.sha256);
        }
        own.is_some()
    }
}

/// The projects that a page may be about: what it says, and what its files are named after.
fn projects(page: &Page) -> BTreeSet<String> {
    let normal = |name: &str| {
        let parts: Vec<_> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
        parts.join("-").to_ascii_lowercase()
    };
    let files = page.links.iter().take(20).filter_map(|link| {
        let file = link.reference.rsplit('/').next()?;
        let stem = file.strip_suffix(".tar.gz").or_else(|| file.strip_suffix(".whl"))?;
        let name = if file.ends_with(".whl") {
            stem.split('-').next()
        } else {
            stem.rsplit_once('-').map(|p| p.0)
        };
        name.map(normal)
    });
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    page.project.iter().map(|name| normal(name)).chain(files).filter(is_name).collect()
}

/// With a slash at its end, so that names are below it.
fn slashed(url: Url) -> Url {
    if url.as_wire().ends_with('/') {
        return url;
    }
    let text = format!("{}/", url.as_wire());
    Url::parse(&text).unwrap_or(url)
}

impl Entry {
    /// Reads a head; `has_body_beside` says in which layout.
    fn read(path: &Path, has_body_beside: bool) -> Result<Self, Skip> {
        let mut file = File::open(path)?;
        let mut magic = [0; MAGIC.len()];
        if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
            return Err(Skip::Format);
        }
        let head = msgpack::read(&mut file)?.ok_or(Skip::Format)?;
        let response = head.get("response").ok_or(Skip::Format)?;
        let status = match response.get("status") {
            Some(Value::Int(status)) => u16::try_from(*status).map_err(|_| Skip::Format)?,
            _ => return Err(Skip::Format),
        };
        let headers = fields(response.get("headers")).ok_or(Skip::Format)?;
        let vary = fields(head.get("vary")).ok_or(Skip::Format)?;
        let entry = Self {
            path: path.to_owned(),
            status,
            headers,
            vary,
            body: path.to_owned(),
            part: 0..0,
            is_one: true,
        };
        if has_body_beside {
            return entry.with_body_beside(&file);
        }
        match response.get("body") {
            Some(Value::Bytes(part, _)) => Ok(Self { part: part.clone(), ..entry }),
            _ => Err(Skip::Format),
        }
    }

    fn with_body_beside(self, head: &File) -> Result<Self, Skip> {
        let mut body = self.path.clone().into_os_string();
        body.push(".body");
        let body = PathBuf::from(body);
        let metadata = match fs::metadata(&body) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Skip::NoBody),
            other => other?,
        };
        if !metadata.is_file() {
            return Err(Skip::Format);
        }
        let is_one = metadata.modified()? >= head.metadata()?.modified()?;
        Ok(Self { body, part: 0..metadata.len(), is_one, ..self })
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn kind(&self) -> &str {
        self.text(&CONTENT_TYPE).unwrap_or_default()
    }

    fn is_page(&self) -> bool {
        self.status == 200 && links::is_page(self.kind())
    }

    fn page(&self) -> Option<Page> {
        let mut file = File::open(&self.body).ok()?;
        file.seek(io::SeekFrom::Start(self.part.start)).ok()?;
        let body = file.take(self.part.end - self.part.start);
        links::read(self.kind(), self.text(&CONTENT_ENCODING), body)
    }

    /// What the head announces; `None` if it announces nothing.
    fn announced(&self) -> Option<u64> {
        self.text(&CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// Decides what the entry can be taken for.
    fn candidate(
        self,
        url: Option<Url>,
        expected: Option<Digest>,
        public: &[Url],
    ) -> Result<Candidate, Skip> {
        let actual = self.part.end - self.part.start;
        // What a page says is about the file itself, not about a coding of it.
        let is_plain = self.text(&CONTENT_ENCODING).is_none();
        let expected = expected.filter(|_| is_plain);
        match self.announced() {
            Some(announced) if announced != actual => {
                return Err(Skip::Length { announced, actual });
            }
            None if expected.is_none() => return Err(Skip::NoLength),
            _ => {}
        }
        let response = self.response(url.as_ref(), expected.as_ref(), public);
        let response = match response {
            Ok(stored) => Some(Box::new(stored)),
            // A file is of use without its URL: by its digest.
            Err(Skip::Nameless | Skip::NotPublic | Skip::Torn | Skip::Unstorable(_))
                if is_plain && is_file(self.status, self.kind(), actual) =>
            {
                None
            }
            Err(reason) => return Err(reason),
        };
        let Self { path, body, part, .. } = self;
        Ok(Candidate { path, url, tool: "pip", body, part, expected, response })
    }

    /// The response as it would be stored, if it may be.
    fn response(
        &self,
        url: Option<&Url>,
        expected: Option<&Digest>,
        public: &[Url],
    ) -> Result<Stored, Skip> {
        let url = url.ok_or(Skip::Nameless)?;
        if url.has_secret() || !public.iter().any(|public| public.same_origin(url)) {
            return Err(Skip::NotPublic);
        }
        if !self.is_one && expected.is_none() {
            return Err(Skip::Torn);
        }
        let status = StatusCode::from_u16(self.status).map_err(|_| Skip::Format)?;
        let role = Role::Private;
        let request = RequestHead { method: &Method::GET, headers: &self.vary, role };
        storable(request, status, &self.headers)?;
        let mut headers = storable_fields(role, &self.headers);
        headers.remove(SET_COOKIE);
        // When it came is not written down. It was not before it was made; without a date it is as
        // old as can be.
        let came = date(&headers, &DATE).unwrap_or(SystemTime::UNIX_EPOCH);
        let vary = vary_of(vary_names(&headers).unwrap_or_default(), &self.vary);
        let variant = Variant { vary, ..Variant::bare(status, &headers, came, came) };
        Ok(Stored { variant, request: self.vary.clone() })
    }
}

/// The fields of a map of texts; those that are no fields, or absent, are left out.
fn fields(map: Option<&Value>) -> Option<HeaderMap> {
    let Some(Value::Map(pairs)) = map else { return None };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let (Some(name), Some(value)) = (name.text(), value.bytes()) else { continue };
        let (name, value) = (HeaderName::try_from(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(links: &[&str]) -> Page {
        let link = |text: &&str| links::Link { reference: (*text).to_owned(), sha256: None };
        Page { links: links.iter().map(link).collect(), ..Page::default() }
    }

    #[test]
    fn entries_go_by_the_sha224_of_their_url() {
        let name = "c0400f4849a16bb7ec1db13ba6d964327b0869995ab53c54f6668654";
        assert_eq!(name_of("https://pypi.org/simple/six/"), name);
        let mut known = Known::new(&Hints::default());
        assert!(!known.learn("0", &page(&["../../f/six-1.0.tar.gz"])), "relative to what?");
        assert_eq!(known.urls[name].0.as_wire(), "https://pypi.org/simple/six/");
        assert!(known.learn(name, &page(&["../../f/x-1-py3-none-any.whl"])));
        for file in ["x-1-py3-none-any.whl", "x-1-py3-none-any.whl.metadata"] {
            assert!(known.urls.contains_key(&name_of(&format!("https://pypi.org/f/{file}"))));
        }
    }

    #[test]
    fn when_two_digests_are_stated_neither_is_believed() {
        let url = Url::parse("https://h/a.whl").expect("a URL");
        let mut known = Known::new(&Hints::default());
        let mut state = |sha256: Option<Digest>| {
            known.add(url.clone(), sha256);
            known.urls[&name_of("https://h/a.whl")].1.flatten()
        };
        let (one, other) = (Some(Digest::of("a")), Some(Digest::of("b")));
        assert_eq!([state(None), state(one), state(None), state(one)], [None, one, one, one]);
        assert_eq!([state(other), state(other), state(one)], [None; 3]);
    }

    #[test]
    fn projects_are_named_by_the_title_and_by_files() {
        let links = ["../a_B-1-py3-none-any.whl", "https://h/c.d-e-1.0.tar.gz", "x", "-1.tar.gz"];
        let page = Page { project: Some("T.t".into()), ..page(&links) };
        let expected = ["a-b", "c-d-e", "t-t"].map(str::to_owned);
        assert_eq!(projects(&page), expected.into());
    }

    proptest! {
        #[test]
        fn any_bytes_in_place_of_an_entry_are_read_or_refused(
            head in prop::collection::vec(any::<u8>(), 0..200),
            body in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        ) {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let name = "01234".to_owned() + &"5".repeat(51);
            for area in AREAS {
                let place = dir.path().join(area).join("0/1/2/3/4");
                fs::create_dir_all(&place).expect("directories can be made");
                fs::write(place.join(&name), [MAGIC, &head].concat()).expect("writable");
                if let Some(body) = &body {
                    fs::write(place.join(format!("{name}.body")), body).expect("writable");
                }
            }
            let found = scan(dir.path(), &Hints::default()).expect("a readable cache");
            prop_assert_eq!(found.candidates.len() + found.skipped.len(), 2);
        }
    }
}
