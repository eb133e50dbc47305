//! What is stored about a URL: up to 32 responses, told apart by the request fields that their
//! `Vary` names.
//!
//! One record is one file. Bodies are blobs of the store and are named by digest; each comes with a
//! witness of the file as it was when its content was last known to be right. Request fields enter
//! the key and the record only as digests, so no credential is ever written, and two users of one
//! URL never meet in one record.

use std::time::SystemTime;

use http::header::{AUTHORIZATION, COOKIE, ETAG, HeaderName, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use rewarm_store::{Blob, Digest, Hasher, Kind, Witness};
use serde::{Deserialize, Serialize};

use crate::policy::vary::normalised;
use crate::url::Url;

/// More variants than this are not kept; the oldest goes. Parts are counted for themselves.
const MAX_VARIANTS: usize = 32;

/// More parts than this are not kept; the oldest goes.
const MAX_PARTS: usize = 16;

/// The request field by which parts vary, beside those that `Vary` names.
const RANGE_FIELD: &str = "range";

/// All responses stored for one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The URL as it may be shown.
    pub url: String,
    /// The responses, in no particular order; parts (206) among them.
    pub variants: Vec<Variant>,
}

/// One stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The request fields that `Vary` named, lower case, with the digest of their normalised value.
    pub vary: Vec<(String, Option<Digest>)>,
    /// The status code.
    pub status: u16,
    /// Fields of the response in order, duplicates included, without hop-by-hop ones.
    pub fields: Vec<(String, Vec<u8>)>,
    /// When the request was sent (RFC 9111 section 4.2.3).
    pub request_time: SystemTime,
    /// When the head of the response came, or of the last 304 that renewed it.
    pub response_time: SystemTime,
    /// The body.
    pub body: StoredBody,
}

/// A body in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBody {
    /// Its name there.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Of the file, when its content was known to be right.
    pub witness: Option<Witness>,
}

impl StoredBody {
    /// The blob it is.
    pub fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }
}

impl Kind for Record {
    const NAME: &'static str = "http";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        let mut digests: Vec<_> = self.variants.iter().map(|v| v.body.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}

/// The key of the record for GET of `url` by whoever `headers` are credentials of.
pub fn key(url: &Url, headers: &HeaderMap) -> Digest {
    let mut hasher = Hasher::new("http, 1");
    hasher.field("GET").field(url.as_wire());
    hasher.optional(identity(headers).map(|digest| *digest.as_bytes()));
    hasher.finish()
}

/// The key of the record that a shared cache keeps for GET of `url`, whoever asks.
pub fn shared_key(url: &Url) -> Digest {
    let mut hasher = Hasher::new("http shared, 1");
    hasher.field("GET").field(url.as_wire());
    hasher.finish()
}

/// The key of the download that a request would start. Requests that differ in what they accept do
/// not share one; whether those that differ in other fields may is seen from the response's `Vary`.
pub fn flight_key(record: &Digest, headers: &HeaderMap) -> Digest {
    let mut fields: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("accept")).collect();
    fields.sort_unstable_by_key(|name| name.as_str());
    let mut hasher = Hasher::new("http flight, 2");
    hasher.field(record.as_bytes());
    for name in fields {
        hasher.field(name.as_str());
        hasher.optional(normalised(headers, name));
    }
    hasher.finish()
}

/// Whether a request says who asks: `Authorization` or cookies.
pub fn has_credentials(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE)
}

/// A digest of the credentials in a request.
fn identity(headers: &HeaderMap) -> Option<Digest> {
    let mut hasher = Hasher::new("http identity, 1");
    let mut any = false;
    for name in [AUTHORIZATION, COOKIE] {
        for value in headers.get_all(&name) {
            hasher.field(name.as_str()).field(value.as_bytes());
            any = true;
        }
    }
    any.then(|| hasher.finish())
}

/// The field names in `Vary`, lower case; `None` if one is `*`, which matches nothing (RFC 9110
/// section 12.5.5), or if the field cannot be read.
pub fn vary_names(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in headers.get_all(VARY) {
        for name in line.to_str().ok()?.split(',') {
            match name.trim() {
                "*" => return None,
                "" => {}
                name => names.push(name.to_ascii_lowercase()),
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// The request fields that a response varies by, as they are stored.
pub fn vary_of(names: Vec<String>, request: &HeaderMap) -> Vec<(String, Option<Digest>)> {
    names
        .into_iter()
        .map(|name| {
            let value = HeaderName::try_from(&name).ok().and_then(|n| normalised(request, &n));
            let digest = value.map(|value| {
                let mut hasher = Hasher::new("http vary, 2");
                hasher.field(&name).field(value);
                hasher.finish()
            });
            (name, digest)
        })
        .collect()
}

impl Variant {
    /// A response without a body and without variation.
    pub fn bare(
        status: StatusCode,
        headers: &HeaderMap,
        request_time: SystemTime,
        response_time: SystemTime,
    ) -> Self {
        let body = StoredBody { digest: Digest::of([]), size: 0, witness: None };
        let (vary, fields) = (Vec::new(), to_fields(headers));
        Self { vary, status: status.as_u16(), fields, request_time, response_time, body }
    }

    /// The fields as a map.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            let name = HeaderName::try_from(name.as_str());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// The status as a type.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether the stored response is for a request with these fields (RFC 9111 section 4.1).
    pub fn matches(&self, request: &HeaderMap) -> bool {
        vary_of(self.vary.iter().map(|(name, _)| name.clone()).collect(), request) == self.vary
    }

    /// The entity tag, if there is a readable one.
    pub fn etag(&self) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(name, _)| name == ETAG.as_str())?;
        std::str::from_utf8(value).ok().filter(|tag| is_entity_tag(tag))
    }

    /// Makes a 206 one for requests with this `Range` only: it never answers a request for the whole,
    /// which has none.
    pub fn make_part(&mut self, range: &HeaderValue) {
        self.vary.retain(|(name, _)| name != RANGE_FIELD);
        self.vary.push((RANGE_FIELD.to_owned(), Some(range_digest(range))));
    }

    /// Whether this is a part, not a whole response.
    pub fn is_part(&self) -> bool {
        self.status == StatusCode::PARTIAL_CONTENT.as_u16()
    }

    /// Whether a part was the answer to this very `Range`.
    pub fn answers_range(&self, range: &HeaderValue) -> bool {
        let wanted = Some(range_digest(range));
        self.vary.iter().any(|(name, digest)| name == RANGE_FIELD && *digest == wanted)
    }

    /// Whether a part is of what a request with these fields selects, whatever its `Range`.
    pub fn is_part_for(&self, request: &HeaderMap) -> bool {
        let others = self.vary.iter().filter(|(name, _)| name != RANGE_FIELD);
        let stored: Vec<_> = others.cloned().collect();
        let names = stored.iter().map(|(name, _)| name.clone()).collect();
        self.is_part() && vary_of(names, request) == stored
    }

    /// Whether this is the response that came at these times.
    pub fn came_at(&self, request_time: SystemTime, response_time: SystemTime) -> bool {
        (self.request_time, self.response_time) == (request_time, response_time)
    }
}

fn range_digest(range: &HeaderValue) -> Digest {
    let mut hasher = Hasher::new("http range, 1");
    hasher.field(range.as_bytes().trim_ascii());
    hasher.finish()
}

/// RFC 9110 section 8.8.3.
fn is_entity_tag(tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    opaque.len() >= 2
        && opaque.starts_with('"')
        && opaque.ends_with('"')
        && !opaque[1..opaque.len() - 1].contains('"')
}

/// Fields as they are stored.
pub fn to_fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec())).collect()
}

impl Record {
    /// A record without variants.
    pub fn new(url: &Url) -> Self {
        Self { url: url.to_string(), variants: Vec::new() }
    }

    /// Adds a response to a request with these fields; it takes the place of those that the request
    /// would have been answered with. A whole one makes the parts of it needless.
    pub fn insert(&mut self, variant: Variant, request: &HeaderMap) {
        let is_part = variant.is_part();
        self.variants.retain(|present| match is_part {
            true => present.vary != variant.vary,
            false => !present.matches(request) && !present.is_part_for(request),
        });
        self.variants.push(variant);
        let limit = if is_part { MAX_PARTS } else { MAX_VARIANTS };
        let alike = || self.variants.iter().enumerate().filter(|(_, v)| v.is_part() == is_part);
        if alike().count() > limit {
            let oldest = alike().min_by_key(|(_, variant)| variant.response_time);
            if let Some(index) = oldest.map(|(index, _)| index) {
                self.variants.swap_remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::header_map;

    fn variant(vary: &'static str, request: &HeaderMap, second: u64) -> Variant {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        let response = header_map(&[("vary", vary)]);
        let names = vary_names(&response).expect("no star");
        Variant {
            vary: vary_of(names, request),
            ..Variant::bare(StatusCode::OK, &response, time, time)
        }
    }

    #[test]
    fn rfc9111_4_1_vary_compares_normalised_fields() {
        let stored = variant("Accept, X-A", &header_map(&[("accept", "a , b"), ("x-a", "1")]), 0);
        assert!(stored.matches(&header_map(&[("accept", "a"), ("accept", "b"), ("x-a", "1")])));
        assert!(!stored.matches(&header_map(&[("accept", "a,b")])));
        assert!(stored.matches(&header_map(&[("accept", "b,a"), ("x-a", "1")])));
        assert!(!stored.matches(&header_map(&[("accept", "b"), ("x-a", "1")])));
        let absent = variant("Accept", &HeaderMap::new(), 0);
        assert!(absent.matches(&header_map(&[("x-a", "1")])));
        assert!(!absent.matches(&header_map(&[("accept", "")])));
    }

    #[test]
    fn rfc9110_12_5_5_a_star_anywhere_in_vary_matches_nothing() {
        assert_eq!(vary_names(&header_map(&[("vary", "accept, *")])), None);
        assert_eq!(vary_names(&header_map(&[("vary", "accept"), ("vary", "*")])), None);
    }

    #[test]
    fn a_new_response_replaces_the_one_it_supersedes_and_the_oldest_beyond_the_limit() {
        let mut record = Record { url: String::new(), variants: Vec::new() };
        for second in 0..40 {
            let request = {
                let mut headers = HeaderMap::new();
                headers.insert("accept", HeaderValue::from(second));
                headers
            };
            record.insert(variant("accept", &request, second), &request);
            record.insert(variant("accept", &request, second), &request);
        }
        assert_eq!(record.variants.len(), MAX_VARIANTS);
        let oldest = record.variants.iter().map(|v| v.response_time).min();
        assert_eq!(oldest, Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(8)));
    }

    #[test]
    fn credentials_part_records_and_flights() {
        let url = Url::parse("http://h/").expect("a URL");
        let (none, a, b) = (
            HeaderMap::new(),
            header_map(&[("authorization", "a")]),
            header_map(&[("cookie", "a")]),
        );
        assert_ne!(key(&url, &none), key(&url, &a));
        assert_ne!(key(&url, &a), key(&url, &b));
        let key = key(&url, &none);
        let accept = header_map(&[("accept", "a")]);
        assert_ne!(flight_key(&key, &accept), flight_key(&key, &none));
        let range = header_map(&[("accept", "a"), ("range", "bytes=0-"), ("if-range", "\"x\"")]);
        assert_eq!(flight_key(&key, &accept), flight_key(&key, &range));
    }

    #[test]
    fn malformed_entity_tags_are_not_used() {
        for (tag, good) in [("\"a\"", true), ("W/\"a\"", true), ("a", false), ("\"", false)] {
            assert_eq!(is_entity_tag(tag), good, "{tag}");
        }
    }
}
