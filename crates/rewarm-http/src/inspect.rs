//! What is stored about URLs, described as data for people who ask.
//!
//! Nothing here changes the store or asks an origin. Which response a request would be given, and
//! why, is asked of the policy itself, with the fields that the request would be sent with. What
//! could be a credential is never part of a description: request fields are stored as digests only,
//! and of the response only fields about caching and the kind of content are told.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use rewarm_store::{Digest, Format, Inventory, RecordInfo, Store};

use crate::call::{Call, Purpose};
use crate::client::Client;
use crate::error::FetchError;
use crate::policy::Role;
use crate::policy::control::CacheControl;
use crate::policy::decide::{Decision, Ground, decide, select_offline};
use crate::policy::freshness::{current_age, lifetime};
use crate::record::{Record, Variant, key, shared_key};
use crate::request::{NO_EVENTS, Request};
use crate::url::Url;

/// Fields of a response that are told.
const TOLD: [&str; 10] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "vary",
];

/// A record about a URL, with what the inventory says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key, size, last use.
    pub info: RecordInfo,
    /// The URL as it may be shown, and the responses.
    pub record: Record,
}

/// One stored response as it stands at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The status code.
    pub status: u16,
    /// The body.
    pub digest: Digest,
    /// Bytes of the body.
    pub size: u64,
    /// Whether the body is still in the store.
    pub has_body: bool,
    /// The request fields that it varies by; whether the request had each.
    pub vary: Vec<(String, bool)>,
    /// When the request was sent.
    pub request_time: SystemTime,
    /// When the response came, or the last 304 that renewed it.
    pub response_time: SystemTime,
    /// RFC 9111 section 4.2.3.
    pub age: Duration,
    /// RFC 9111 section 4.2.1.
    pub lifetime: Duration,
    /// The field that the lifetime comes from, in words.
    pub lifetime_source: &'static str,
    /// Fields about caching and content, in order.
    pub fields: Vec<(String, String)>,
}

impl Standing {
    /// RFC 9111 section 4.2.
    pub fn is_fresh(&self) -> bool {
        self.age < self.lifetime
    }
}

/// What the cache would do with a request now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The key under which it would look.
    pub key: Digest,
    /// What it would do.
    pub action: Action,
    /// The response it would use or ask about: its index in the record.
    pub response: Option<usize>,
    /// For people.
    pub why: String,
}

/// What the cache would do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answer from the store without asking.
    Serve,
    /// Answer from the store, and renew it in the background.
    ServeAndRenew,
    /// Ask the origin whether it is still right.
    Validate,
    /// Ask the origin for it.
    Fetch,
    /// Fail, because asking is forbidden.
    Refuse,
}

impl Action {
    /// One word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::ServeAndRenew => "serve-and-renew",
            Self::Validate => "validate",
            Self::Fetch => "fetch",
            Self::Refuse => "refuse",
        }
    }
}

/// All records about URLs that an inventory lists and that can be read, by URL.
pub fn entries(store: &Store, inventory: &Inventory) -> Vec<Entry> {
    let format = Format::of::<Record>();
    let is_ours = |info: &&RecordInfo| (info.kind == format.name) && info.version == format.version;
    let read = |info: &RecordInfo| {
        Some(Entry { info: info.clone(), record: store.read::<Record>(&info.key)? })
    };
    let mut found: Vec<_> = inventory.records.iter().filter(is_ours).filter_map(read).collect();
    found.sort_by(|a, b| (&a.record.url, a.info.key).cmp(&(&b.record.url, b.info.key)));
    found
}

/// Scheme, host and port of a record's URL.
pub fn origin(record: &Record) -> String {
    Url::parse(&record.url).map_or_else(|_| String::new(), |url| url.origin())
}

/// Whose requests a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Those without credentials.
    Anonymous,
    /// Everybody's: a shared cache keeps it.
    Everybody,
    /// Those with some credentials, or with another secret in the URL.
    Other,
}

impl Audience {
    /// Of a record for `url`, which is whole where the record keeps a part secret.
    pub fn of(url: &Url, record_key: &Digest) -> Self {
        match record_key {
            found if *found == key(url, &HeaderMap::new()) => Self::Anonymous,
            found if *found == shared_key(url) => Self::Everybody,
            _ => Self::Other,
        }
    }

    /// One word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Everybody => "everybody",
            Self::Other => "credentials",
        }
    }
}

impl Entry {
    /// The responses, in the order of the record, as they stand now.
    pub fn standings(&self, store: &Store, now: SystemTime) -> Vec<Standing> {
        let url = Url::parse(&self.record.url).ok();
        let audience = url.map(|url| Audience::of(&url, &self.info.key));
        let role = match audience {
            Some(Audience::Everybody) => Role::Shared,
            _ => Role::Private,
        };
        self.record.variants.iter().map(|variant| standing(store, variant, role, now)).collect()
    }
}

fn standing(store: &Store, variant: &Variant, role: Role, now: SystemTime) -> Standing {
    let headers = variant.headers();
    let control = CacheControl::of_response(role, &headers);
    let life = lifetime(variant.status(), &headers, &control, variant.response_time);
    let told = variant.fields.iter().filter(|(name, _)| TOLD.contains(&name.as_str()));
    Standing {
        status: variant.status,
        digest: variant.body.digest,
        size: variant.body.size,
        has_body: store.blob_path(&variant.body.digest).is_some(),
        vary: variant.vary.iter().map(|(name, value)| (name.clone(), value.is_some())).collect(),
        request_time: variant.request_time,
        response_time: variant.response_time,
        age: current_age(variant, &headers, now),
        lifetime: life.duration,
        lifetime_source: life.source.name(),
        fields: told
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect(),
    }
}

/// A time as HTTP writes it (RFC 9110 section 5.6.7).
pub fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time.max(SystemTime::UNIX_EPOCH))
}

/// The known URLs that are most like `wanted`, best first, at most `count`: those that begin and end
/// as it does for longest.
pub fn nearest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let common = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
        a.zip(b).take_while(|(a, b)| a == b).count()
    };
    let likeness = |known: &str| {
        let start = common(&mut wanted.bytes(), &mut known.bytes());
        let rest = wanted.len().min(known.len()) - start;
        start + common(&mut wanted.bytes().rev(), &mut known.bytes().rev()).min(rest)
    };
    let known: HashSet<&str> = known.into_iter().collect();
    let mut ranked: Vec<_> = known.into_iter().map(|url| (likeness(url), url)).collect();
    // What has only the scheme in common is not near.
    let least = wanted.find("://").map_or(0, |at| at + 3) + 4;
    ranked.retain(|(likeness, _)| *likeness >= least);
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    ranked.into_iter().take(count).map(|(_, url)| url).collect()
}

impl Client {
    /// What the cache would do with a request now. Asks nobody.
    pub fn judge(&self, request: &Request) -> Result<Judgement, FetchError> {
        let call = Call::new(self, request, Purpose::Read, NO_EVENTS)?;
        let record = self.store().read::<Record>(&call.key);
        let (action, response, why) = match &record {
            record if self.config().offline => {
                let chosen = record.as_ref().and_then(|r| select_offline(r, &call.headers));
                match chosen {
                    Some(_) => (Action::Serve, chosen, "the network may not be used".to_owned()),
                    None => (
                        Action::Refuse,
                        None,
                        "not in the cache, and the network may not be used".to_owned(),
                    ),
                }
            }
            record => match decide(call.head(), record.as_ref(), self.now()) {
                Decision::Serve { variant, ground, why } => match ground {
                    Ground::WhileRevalidate => (Action::ServeAndRenew, Some(variant), why),
                    Ground::Fresh | Ground::MaxStale => (Action::Serve, Some(variant), why),
                },
                Decision::Validate { variants, why, .. } => {
                    (Action::Validate, variants.first().copied(), why)
                }
                Decision::Fetch { why, .. } => (Action::Fetch, None, why),
                Decision::Refuse { why } => (Action::Refuse, None, why),
            },
        };
        let chosen = record.as_ref().zip(response).and_then(|(r, index)| r.variants.get(index));
        let is_lost = chosen.is_some_and(|v| self.store().blob_path(&v.body.digest).is_none());
        let (key, lost) = (call.key, "its body is no longer in the cache".to_owned());
        Ok(match is_lost {
            true if self.config().offline => {
                Judgement { key, action: Action::Refuse, response, why: lost }
            }
            true => Judgement { key, action: Action::Fetch, response, why: lost },
            false => Judgement { key, action, response, why },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_urls_share_beginning_and_end() {
        let known = [
            "https://pypi.org/simple/numpy/",
            "https://pypi.org/simple/numba/",
            "https://files.org/numpy-1.0-py3-none-any.whl",
            "https://other.net/x",
        ];
        let near = |wanted| nearest(wanted, known, 2);
        assert_eq!(near("https://pypi.org/simple/nunpy/"), [known[0], known[1]]);
        assert_eq!(near("https://files.org/numpy-2.0-py3-none-any.whl")[0], known[2]);
        assert!(near("https://example.com/y").is_empty());
        assert!(near("").is_empty() && near("é").is_empty());
    }
}
