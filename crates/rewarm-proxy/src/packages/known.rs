//! Files whose digest is known before they are asked for.
//!
//! An index page, or a lock file, says what a URL holds; a file of that digest in the cache is then
//! the answer, whatever the origin says of its freshness. What was read with credentials counts for
//! requests with the same ones only. Memory is bounded: what was said longest ago is forgotten.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use rewarm_http::{Request, Url};
use rewarm_store::{Digest, Hasher};

/// Files in each half of the table. It holds two: 50 bytes each in a table of 32 768 places.
const HALF: usize = 28 * 1024;

/// The beginning of a digest of URL and credentials.
type Key = [u8; 16];

/// Digests by URL and credentials; `None` where two were stated.
type Half = HashMap<Key, Option<Digest>>;

/// Digests of files that somebody may ask for. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct KnownFiles(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    recent: Half,
    older: Half,
}

impl Table {
    fn get(&self, key: &Key) -> Option<Option<Digest>> {
        self.recent.get(key).or_else(|| self.older.get(key)).copied()
    }

    fn put(&mut self, key: Key, digest: Option<Digest>) {
        if self.recent.len() == HALF && !self.recent.contains_key(&key) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, digest);
    }
}

impl fmt::Debug for KnownFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownFiles")
    }
}

impl KnownFiles {
    /// Takes note of a file that anybody may know of. When two digests are stated for one URL,
    /// neither is believed.
    pub fn note(&self, file: &Url, digest: Digest) {
        self.note_for(file, &HeaderMap::new(), digest);
    }

    /// The same, for requests with the credentials of these fields.
    pub(super) fn note_for(&self, file: &Url, fields: &HeaderMap, digest: Digest) {
        let key = key(file, fields);
        let mut table = self.table();
        let is_disputed = table.get(&key).is_some_and(|known| known != Some(digest));
        table.put(key, Some(digest).filter(|_| !is_disputed));
    }

    /// Has a request for a whole file expect what is known of it.
    pub(crate) fn expect(&self, request: &mut Request) {
        if request.method != Method::GET || request.headers.contains_key(RANGE) {
            return;
        }
        let known = self.table().get(&key(&request.url, &request.headers)).flatten();
        if known.is_some() {
            request.expected = known;
            // The digest is that of the file, not of another coding of it.
            let identity = HeaderValue::from_static("identity");
            request.headers.insert(ACCEPT_ENCODING, identity);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request proves its identity with.
fn credentials(fields: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    [AUTHORIZATION, COOKIE].into_iter().flat_map(|name| fields.get_all(name))
}

/// Whether a request for this URL with these fields is one of somebody in particular.
pub(super) fn is_personal(url: &Url, fields: &HeaderMap) -> bool {
    url.user().is_some() || credentials(fields).next().is_some()
}

fn key(file: &Url, fields: &HeaderMap) -> Key {
    let (user, password) = file.user().unzip();
    let mut hasher = Hasher::new("known file, 1");
    hasher.field(file.as_wire()).optional(user).optional(password).list(credentials(fields));
    let digest = hasher.finish();
    *digest.as_bytes().first_chunk().expect("a digest is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn expected(known: &KnownFiles, request: Request) -> Option<Digest> {
        let mut request = request;
        known.expect(&mut request);
        request.expected
    }

    #[test]
    fn only_a_request_for_the_whole_file_expects_its_digest() {
        let (known, digest) = (KnownFiles::default(), Digest::of("a"));
        known.note(&url("https://h/a.whl#sha256=x"), digest);
        let get = |text| Request::get(url(text));
        assert_eq!(expected(&known, get("https://h/a.whl")), Some(digest));
        let part = get("https://h/a.whl").header(RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(expected(&known, part), None);
        let head = Request { method: Method::HEAD, ..get("https://h/a.whl") };
        assert_eq!(expected(&known, head), None);
        for other in ["https://h/a.whl.metadata", "http://h/a.whl", "https://h/a.whl?b"] {
            assert_eq!(expected(&known, get(other)), None, "{other}");
        }
    }

    #[test]
    fn what_one_identity_was_told_counts_for_no_other() {
        let (known, digest) = (KnownFiles::default(), Digest::of("a"));
        let own = HeaderValue::from_static("Basic YTpi");
        let fields = HeaderMap::from_iter([(AUTHORIZATION, own.clone())]);
        known.note_for(&url("https://h/a.whl"), &fields, digest);
        let get = || Request::get(url("https://h/a.whl"));
        assert_eq!(expected(&known, get().header(AUTHORIZATION, own)), Some(digest));
        assert_eq!(expected(&known, get()), None);
        let other = HeaderValue::from_static("Basic Yzpk");
        assert_eq!(expected(&known, get().header(AUTHORIZATION, other.clone())), None);
        known.note(&url("https://h/b.whl"), digest);
        let public = Request::get(url("https://h/b.whl"));
        assert_eq!(expected(&known, public.clone()), Some(digest));
        assert_eq!(expected(&known, public.header(COOKIE, other)), None);
    }

    #[test]
    fn when_two_digests_are_stated_neither_is_believed() {
        let (known, file) = (KnownFiles::default(), url("https://h/a.whl"));
        known.note(&file, Digest::of("a"));
        known.note(&file, Digest::of("a"));
        assert_eq!(expected(&known, Request::get(file.clone())), Some(Digest::of("a")));
        known.note(&file, Digest::of("b"));
        known.note(&file, Digest::of("b"));
        assert_eq!(expected(&known, Request::get(file)), None);
    }

    #[test]
    fn what_was_stated_longest_ago_is_forgotten() {
        let (known, digest) = (KnownFiles::default(), Digest::of("a"));
        let file = |n: usize| url(&format!("https://h/{n}"));
        for n in 0..=2 * HALF {
            known.note(&file(n), digest);
        }
        let sizes = |table: &Table| (table.recent.len(), table.older.len());
        assert_eq!(sizes(&known.table()), (1, HALF));
        assert_eq!(expected(&known, Request::get(file(0))), None);
        assert_eq!(expected(&known, Request::get(file(HALF))), Some(digest));
    }
}
