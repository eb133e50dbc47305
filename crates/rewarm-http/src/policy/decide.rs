//! What to do with a request, given what is stored (RFC 9111 section 4).
//!
//! The answers are data: which stored response to use, which to ask the origin about, and why. The
//! texts are for people (`--explain`); nothing depends on them.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue, Method};

use super::Role;
use super::control::{CacheControl, MaxStale};
use super::freshness::{Lifetime, current_age, lifetime};
use super::preconditions::{Outcome, evaluate, range_applies, tags};
use super::range::{self, Selected};
use crate::cache_status::Forwarded;
use crate::record::{Record, Variant};
use crate::resume::content_range;

/// The part of a request that decisions depend on; the URL is in the key already.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// GET, or HEAD, which a stored GET may answer (section 4.3.5).
    pub method: &'a Method,
    /// All fields that will be sent.
    pub headers: &'a HeaderMap,
    /// Whom the cache serves.
    pub role: Role,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Answer with this stored response.
    Serve {
        /// Its index in the record.
        variant: usize,
        /// On what ground.
        ground: Ground,
        /// Text for people.
        why: String,
    },
    /// Ask the origin whether one of these is still right.
    Validate {
        /// Indexes in the record; the first is the one that the request selects, if any does.
        variants: Vec<usize>,
        /// Why nothing stored will do as it is.
        reason: Forwarded,
        /// Text for people.
        why: String,
    },
    /// Ask the origin for a whole response.
    Fetch {
        /// Why nothing stored will do.
        reason: Forwarded,
        /// Text for people.
        why: String,
    },
    /// The request forbids asking and nothing stored will do: 504 (section 5.2.1.7).
    Refuse {
        /// Text for people.
        why: String,
    },
}

/// Why a stored response may be used without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// It is fresh (section 4.2).
    Fresh,
    /// The request accepts a stale one: `max-stale` (section 5.2.1.2).
    MaxStale,
    /// The origin lets it be used while it is being renewed (RFC 5861 section 3): renew it.
    WhileRevalidate,
}

/// How asking the origin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no answer.
    Disconnected,
    /// The answer was 500, 502, 503 or 504 (RFC 5861 section 4).
    ServerError,
}

/// A stored response with all that freshness depends on.
struct Assessed {
    control: CacheControl,
    age: Duration,
    lifetime: Lifetime,
}

impl Assessed {
    fn new(role: Role, variant: &Variant, now: SystemTime) -> Self {
        let headers = variant.headers();
        let control = CacheControl::of_response(role, &headers);
        let lifetime = lifetime(variant.status(), &headers, &control, variant.response_time);
        Self { age: current_age(variant, &headers, now), lifetime, control }
    }

    /// Section 4.2: fresh while the age is less than the lifetime.
    fn is_fresh(&self) -> bool {
        self.age < self.lifetime.duration
    }

    fn staleness(&self) -> Duration {
        self.age.saturating_sub(self.lifetime.duration)
    }

    /// Section 4.2.4: `must-revalidate` and `no-cache` forbid any stale use.
    fn may_be_stale(&self) -> bool {
        !self.control.must_revalidate && !self.control.no_cache
    }

    fn text(&self) -> String {
        let (age, lifetime) = (self.age.as_secs(), self.lifetime.duration.as_secs());
        match self.lifetime.source.is_explicit() || lifetime > 0 {
            true => format!("{age} s old of {lifetime} s ({})", self.lifetime.source.name()),
            false => format!("{age} s old, {}", self.lifetime.source.name()),
        }
    }
}

/// Decides about a request.
pub fn decide(request: RequestHead<'_>, record: Option<&Record>, now: SystemTime) -> Decision {
    let control = CacheControl::of_request(request.headers);
    let refuse_or = |decision: Decision| match decision {
        Decision::Fetch { why, .. } | Decision::Validate { why, .. } if control.only_if_cached => {
            Decision::Refuse { why }
        }
        decision => decision,
    };
    let Some(record) = record.filter(|record| record.variants.iter().any(|v| !v.is_part())) else {
        let why = "not in the cache".into();
        return refuse_or(Decision::Fetch { reason: Forwarded::UriMiss, why });
    };
    let Some(index) = select(record, request.headers) else {
        let names = differing(record, request.headers);
        let why = format!("the stored responses are for other values of {names}");
        let variants = with_validator(record, wholes(record).map(|(index, _)| index).collect());
        let reason = Forwarded::VaryMiss;
        let ask = if variants.is_empty() || request.method != Method::GET {
            Decision::Fetch { reason, why }
        } else {
            Decision::Validate { variants, reason, why }
        };
        return refuse_or(ask);
    };
    refuse_or(decide_selected(request, &control, record, index, now))
}

/// Decides about the response that the request selects.
fn decide_selected(
    request: RequestHead<'_>,
    control: &CacheControl,
    record: &Record,
    index: usize,
    now: SystemTime,
) -> Decision {
    let stored = Assessed::new(request.role, &record.variants[index], now);
    let validate = |reason: Forwarded, why: String| {
        let rest = wholes(record).map(|(other, _)| other).filter(|&other| other != index);
        let variants = std::iter::once(index).chain(rest).collect();
        let variants = with_validator(record, variants);
        match variants.first() {
            Some(&first) if first == index && request.method == Method::GET => {
                Decision::Validate { variants, reason, why }
            }
            _ => Decision::Fetch { reason, why },
        }
    };
    let serve = |ground, why: String| Decision::Serve { variant: index, ground, why };
    // Section 5.2.1.4.
    if control.no_cache {
        return validate(Forwarded::Request, "the request says no-cache".into());
    }
    // Section 5.2.2.4.
    if stored.control.no_cache {
        return validate(Forwarded::Stale, "the stored response says no-cache".into());
    }
    if stored.is_fresh() {
        // RFC 8246: an immutable response need not be asked about while it is fresh.
        if stored.control.immutable {
            return serve(Ground::Fresh, format!("immutable, {}", stored.text()));
        }
        // Section 5.2.1.1; `max-stale` extends what the request accepts (section 5.2.1.2).
        let too_old = control.max_age.is_some_and(|limit| match control.max_stale {
            Some(MaxStale::Any) => false,
            Some(MaxStale::Limit(extra)) => stored.age > limit.saturating_add(extra),
            None => stored.age > limit || limit.is_zero(),
        });
        if too_old {
            let why = format!("older than the request's max-age: {}", stored.text());
            return validate(Forwarded::Request, why);
        }
        // Section 5.2.1.3.
        let left = stored.lifetime.duration - stored.age;
        if control.min_fresh.is_some_and(|wanted| left < wanted) {
            let why = format!("not fresh for long enough: {}", stored.text());
            return validate(Forwarded::Request, why);
        }
        return serve(Ground::Fresh, format!("fresh: {}", stored.text()));
    }
    decide_stale(control, &stored).map_or_else(
        || validate(Forwarded::Stale, format!("stale: {}", stored.text())),
        |ground| serve(ground, format!("stale, but allowed: {}", stored.text())),
    )
}

/// Whether a stale response may be used without waiting for the origin (section 4.2.4).
fn decide_stale(control: &CacheControl, stored: &Assessed) -> Option<Ground> {
    if !stored.may_be_stale() || control.min_fresh.is_some() {
        return None;
    }
    let young_enough = control.max_age.is_none_or(|limit| stored.age <= limit);
    match control.max_stale {
        Some(MaxStale::Any) => return Some(Ground::MaxStale),
        Some(MaxStale::Limit(limit)) if stored.staleness() <= limit && young_enough => {
            return Some(Ground::MaxStale);
        }
        _ => {}
    }
    let window = stored.control.stale_while_revalidate.unwrap_or_default();
    let within = !window.is_zero() && stored.staleness() <= window && young_enough;
    within.then_some(Ground::WhileRevalidate)
}

/// Seconds for which a stored response is still fresh; negative by how much it is stale.
pub fn time_to_live(role: Role, variant: &Variant, now: SystemTime) -> i64 {
    let stored = Assessed::new(role, variant, now);
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    seconds(stored.lifetime.duration) - seconds(stored.age)
}

/// The stored response for these request fields; of several the most recent (section 4.1).
pub fn select(record: &Record, request: &HeaderMap) -> Option<usize> {
    let matching = wholes(record).filter(|(_, variant)| variant.matches(request));
    matching.max_by_key(|(_, variant)| variant.response_time).map(|(index, _)| index)
}

/// The stored responses that are no parts.
fn wholes(record: &Record) -> impl Iterator<Item = (usize, &Variant)> {
    record.variants.iter().enumerate().filter(|(_, variant)| !variant.is_part())
}

/// A stored part that answers a request for a part (RFC 9111 section 3.4), while it is fresh: its
/// index, and which of its bytes. `terms` are the client's own conditions and its `Range`.
///
/// The answer to the very same `Range` is used as it came. Of another part only bytes that it says to
/// hold are used, and only if it has as many as it says.
pub fn decide_part(
    request: RequestHead<'_>,
    terms: &HeaderMap,
    record: &Record,
    now: SystemTime,
) -> Option<(usize, Cut)> {
    let (spec, range) = (range::wanted(terms)?, terms.get(RANGE)?);
    let control = CacheControl::of_request(request.headers);
    let usable = record.variants.iter().enumerate().filter(|(index, part)| {
        let decision = || decide_selected(request, &control, record, *index, now);
        let is_fresh = |d| matches!(d, Decision::Serve { ground: Ground::Fresh, .. });
        part.is_part_for(request.headers)
            && range_applies(terms, &part.headers())
            && evaluate(terms, &part.headers()) == Outcome::Proceed
            && is_fresh(decision())
    });
    let cut = |part: &Variant| match part.answers_range(range) {
        true => Some(Cut { bytes: 0..part.body.size, range: None }),
        false => cut_out(part, spec),
    };
    let newest = usable.filter_map(|(index, part)| Some((index, part, cut(part)?)));
    let chosen = newest.max_by_key(|(_, part, _)| part.response_time);
    chosen.map(|(index, _, cut)| (index, cut))
}

/// Bytes of a stored part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Which, counted from its first.
    pub bytes: Range<u64>,
    /// The `Content-Range` to send, where it is not the stored one.
    pub range: Option<String>,
}

/// The bytes of a part that a range asks for, if it has them all.
fn cut_out(part: &Variant, spec: range::Spec) -> Option<Cut> {
    let (first, last, total) = content_range(&part.headers())?;
    let total = total.filter(|&total| last < total && part.body.size == last - first + 1)?;
    let Selected::Part(wanted) = spec.select(total) else { return None };
    let has = first <= wanted.start && wanted.end <= last + 1;
    has.then(|| Cut {
        bytes: wanted.start - first..wanted.end - first,
        range: Some(format!("bytes {}-{}/{total}", wanted.start, wanted.end - 1)),
    })
}

/// The stored response to use when the origin cannot be asked at all, however stale it is. The
/// user said so, which section 4.2.4 counts as being disconnected.
pub fn select_offline(record: &Record, request: &HeaderMap) -> Option<usize> {
    select(record, request)
}

/// Whether the response that was being asked about may be used although asking failed (section
/// 4.2.4, RFC 5861 section 4).
pub fn may_serve_on_error(
    request: RequestHead<'_>,
    variant: &Variant,
    failure: Failure,
    now: SystemTime,
) -> bool {
    let control = CacheControl::of_request(request.headers);
    let stored = Assessed::new(request.role, variant, now);
    if !stored.may_be_stale() || control.no_cache || control.min_fresh.is_some() {
        return false;
    }
    let allowed = |window: Option<Duration>| window.is_some_and(|w| stored.staleness() <= w);
    match failure {
        _ if allowed(stored.control.stale_if_error) || allowed(control.stale_if_error) => true,
        // Being disconnected is a ground of its own, unless the request set its own limit.
        Failure::Disconnected => control.max_age.is_none(),
        Failure::ServerError => false,
    }
}

/// Whether a request that came at `asked` may share the response of a request under way.
///
/// A response that says nothing about its expiration is given, as a heuristic (section 4.2.2), the
/// time that the transfer takes.
pub fn may_share(request: RequestHead<'_>, variant: &Variant, asked: SystemTime) -> bool {
    let control = CacheControl::of_request(request.headers);
    let at = asked.max(variant.response_time);
    let stored = Assessed::new(request.role, variant, at);
    let heuristic = !stored.lifetime.source.is_explicit();
    !control.no_cache
        && !stored.control.no_cache
        && control.max_age.is_none_or(|limit| stored.age <= limit && !limit.is_zero())
        && (stored.is_fresh() || heuristic)
}

/// The condition to send with a validation request (section 4.3.1): the entity tags of all
/// candidates, and the date of the one that the request selects.
pub fn conditions(record: &Record, candidates: &[usize], request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let variants = candidates.iter().filter_map(|&index| record.variants.get(index));
    let mut tags: Vec<&str> = variants.filter_map(Variant::etag).collect();
    tags.dedup();
    if let Ok(value) = HeaderValue::from_str(&tags.join(", "))
        && !tags.is_empty()
    {
        headers.insert(IF_NONE_MATCH, value);
    }
    let selected = candidates.first().and_then(|&index| record.variants.get(index));
    let modified = selected
        .filter(|variant| variant.matches(request))
        .and_then(|variant| variant.headers().get(LAST_MODIFIED).cloned());
    if let Some(modified) = modified {
        headers.insert(IF_MODIFIED_SINCE, modified);
    }
    headers
}

/// The conditions to send: the cache's own, and with them the entity tags of the client, so that one
/// answer serves both (section 4.3.2). Without any of its own, the cache sends those of the client.
pub fn combined(own: &HeaderMap, client: &HeaderMap) -> HeaderMap {
    let mut sent = own.clone();
    if own.is_empty() {
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            for value in client.get_all(&name) {
                sent.append(name.clone(), value.clone());
            }
        }
        return sent;
    }
    let Some(ours) = own.get(IF_NONE_MATCH) else { return sent };
    let known: Vec<&[u8]> = tags(ours.as_bytes()).collect();
    let theirs = client.get_all(IF_NONE_MATCH).iter().flat_map(|line| tags(line.as_bytes()));
    let theirs = theirs.filter(|tag| *tag != b"*" && !known.contains(tag));
    let all: Vec<&[u8]> = known.iter().copied().chain(theirs).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(b", ".as_slice())) {
        sent.insert(IF_NONE_MATCH, value);
    }
    sent
}

/// The stored response that a 304 is about (section 4.3.4); `None` if it fits none of those asked
/// about.
pub fn select_for_update(
    record: &Record,
    candidates: &[usize],
    not_modified: &HeaderMap,
) -> Option<usize> {
    let weak = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let tag = not_modified.get(http::header::ETAG).and_then(|value| value.to_str().ok());
    let modified = not_modified.get(LAST_MODIFIED);
    let newest = |matching: &dyn Fn(&Variant) -> bool| {
        candidates
            .iter()
            .copied()
            .filter(|&index| record.variants.get(index).is_some_and(matching))
            .max_by_key(|&index| record.variants[index].response_time)
    };
    match (tag, modified) {
        (Some(tag), _) if !tag.starts_with("W/") => {
            // A strong tag must be the stored one; a stored weak one is equal only weakly.
            newest(&|v| v.etag() == Some(tag))
                .or_else(|| {
                    newest(&|v| {
                        v.etag().is_some_and(|t| t.starts_with("W/") && weak(t) == weak(tag))
                    })
                })
                .or_else(|| newest(&|v| v.etag().is_none() && same_modified(v, modified)))
        }
        (Some(tag), _) => newest(&|v| v.etag().is_some_and(|stored| weak(stored) == weak(tag))),
        (None, Some(_)) => newest(&|v| same_modified(v, modified)).or_else(|| only(candidates)),
        // Without any validator the answer can only be about what was asked.
        (None, None) => only(candidates),
    }
}

fn same_modified(variant: &Variant, modified: Option<&HeaderValue>) -> bool {
    modified.is_some() && variant.headers().get(LAST_MODIFIED) == modified
}

fn only(candidates: &[usize]) -> Option<usize> {
    match candidates {
        [one] => Some(*one),
        _ => None,
    }
}

/// Those that an origin can be asked about: by entity tag, or the first by its date.
fn with_validator(record: &Record, candidates: Vec<usize>) -> Vec<usize> {
    candidates
        .into_iter()
        .enumerate()
        .filter(|&(place, index)| {
            let variant = &record.variants[index];
            variant.etag().is_some() || place == 0 && variant.headers().contains_key(LAST_MODIFIED)
        })
        .map(|(_, index)| index)
        .collect()
}

/// Names of the request fields in which the request differs from all stored responses.
fn differing(record: &Record, request: &HeaderMap) -> String {
    let mut names: Vec<String> = Vec::new();
    for (_, variant) in wholes(record) {
        let all: Vec<_> = variant.vary.iter().map(|(name, _)| name.clone()).collect();
        let here = crate::record::vary_of(all, request);
        names.extend(
            variant.vary.iter().zip(here).filter(|(a, b)| *a != b).map(|(a, _)| a.0.clone()),
        );
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
