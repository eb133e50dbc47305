//! Answers that need no bytes from the origin: what is stored, what another call downloads, and the
//! refusal to ask.
//!
//! The client's own conditions and ranges are answered here, from the response that was found usable.

use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use crate::body::{Body, Response, State};
use crate::cache_status::CacheStatus;
use crate::call::{Call, Purpose};
use crate::error::{ErrorKind, FetchError};
use crate::following::Following;
use crate::policy::decide::{Cut, select_offline, time_to_live};
use crate::policy::freshness::current_age;
use crate::policy::preconditions::{Outcome, evaluate};
use crate::policy::shape::{Shape, shape};
use crate::policy::storing::{end_to_end, reusable_fields};
use crate::record::{Record, StoredBody, Variant};
use crate::request::Reuse;
use crate::stored::sound;
use crate::transport::Answer;

/// What is told about an answer beside the answer.
pub(crate) struct Told {
    pub(crate) reuse: Reuse,
    pub(crate) why: String,
    pub(crate) status: CacheStatus,
}

/// An answer with a response from the store, as the client's terms ask for it. Its `Age` is set
/// (RFC 9111 section 5.1).
pub(crate) fn stored(call: Call<'_>, variant: Variant, told: Told) -> Response<'_> {
    let headers = from_store(&call, &variant, &told.reuse);
    let (status, body) = (variant.status(), variant.body);
    let shape = shape(&call.request.method, &call.terms, (status, &headers), body.size);
    let (status, headers) = shape.head(status, headers, body.size);
    let part = match shape {
        Shape::Whole => 0..body.size,
        Shape::Part(part) => part,
        Shape::NotModified | Shape::Unsatisfiable => 0..0,
    };
    call.progress(body.size, Some(body.size));
    let whole = part == (0..body.size);
    let state = match call.purpose {
        _ if call.request.method == Method::HEAD => State::Done(None),
        Purpose::Keep if whole => State::Done(Some(body)),
        _ if part.is_empty() && !whole => State::Done(None),
        _ => State::Stored { body, file: None, position: part.start, end: part.end },
    };
    response(call, (status, headers), state, told)
}

/// The fields of a stored response to answer with, with its `Age` (RFC 9111 section 5.1) and, where
/// the origin gave none, the `Date` at which it came (RFC 9110 section 6.6.1).
fn from_store(call: &Call<'_>, variant: &Variant, reuse: &Reuse) -> HeaderMap {
    // Section 5.2.2.4: once validated, all fields may be used.
    let mut headers = match reuse {
        Reuse::Revalidated => variant.headers(),
        _ => reusable_fields(call.role(), variant),
    };
    if variant.fields.is_empty() {
        return headers;
    }
    let age = current_age(variant, &headers, call.client.now());
    headers.insert(AGE, HeaderValue::from(age.as_secs()));
    let came = httpdate::fmt_http_date(variant.response_time);
    if let (Ok(came), false) = (HeaderValue::try_from(came), headers.contains_key(DATE)) {
        headers.insert(DATE, came);
    }
    headers
}

fn response(
    call: Call<'_>,
    (status, headers): (StatusCode, HeaderMap),
    state: State,
    told: Told,
) -> Response<'_> {
    let url = call.request.url.clone();
    let Told { reuse, why: explanation, status: cache_status } = told;
    let body = Body::new(call, state, reuse);
    Response { url, status, headers, body, explanation, cache_status }
}

/// A hit.
pub(crate) fn hit(call: Call<'_>, variant: Variant, reuse: Reuse, why: String) -> Response<'_> {
    let status = CacheStatus::hit(time_to_live(call.role(), &variant, call.client.now()));
    stored(call, variant, Told { reuse, why, status })
}

/// A hit on a stored part.
pub(crate) fn hit_part(call: Call<'_>, part: Variant, cut: Cut) -> Response<'_> {
    let status = CacheStatus::hit(time_to_live(call.role(), &part, call.client.now()));
    let mut headers = from_store(&call, &part, &Reuse::Fresh);
    if let Some(range) = cut.range.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(CONTENT_RANGE, range);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(cut.bytes.end - cut.bytes.start));
    }
    let (position, end) = (cut.bytes.start, cut.bytes.end);
    let state = State::Stored { body: part.body, file: None, position, end };
    let why = "these bytes are stored".to_owned();
    let head = (StatusCode::PARTIAL_CONTENT, headers);
    response(call, head, state, Told { reuse: Reuse::Fresh, why, status })
}

/// A hit by digest, whatever the policy would say of the response it came with.
pub(crate) fn as_expected(call: Call<'_>, body: StoredBody) -> Response<'_> {
    let why = "a file of the expected digest is in the cache".to_owned();
    let now = call.client.now();
    let variant = Variant { body, ..Variant::bare(StatusCode::OK, &HeaderMap::new(), now, now) };
    let status = CacheStatus { hit: true, ..CacheStatus::default() };
    stored(call, variant, Told { reuse: Reuse::Fresh, why, status })
}

/// An answer with what another call downloads.
pub(crate) fn follow(call: Call<'_>, following: Box<Following>) -> Response<'_> {
    let variant = &following.head().variant;
    let (mut status, mut headers) = (variant.status(), reusable_fields(call.role(), variant));
    let mut state = State::Following(following);
    if status.is_success() && evaluate(&call.terms, &headers) == Outcome::NotModified {
        (status, headers) = Shape::NotModified.head(status, headers, 0);
        state = State::Done(None);
    }
    let why = "the same is being downloaded by somebody else".to_owned();
    let cache_status = CacheStatus { collapsed: true, ..CacheStatus::default() };
    let told = Told { reuse: Reuse::Followed, why, status: cache_status };
    response(call, (status, headers), state, told)
}

/// The origin's word that the client, not the cache, has the response already.
pub(crate) fn not_modified<'e>(call: Call<'e>, answer: &Answer, told: Told) -> Response<'e> {
    let head = (answer.status, end_to_end(&answer.headers));
    response(call, head, State::Done(None), told)
}

/// A response from nowhere: the request forbade asking (RFC 9111 section 5.2.1.7).
pub(crate) fn gateway_timeout(call: Call<'_>, why: String) -> Response<'_> {
    let reuse = Reuse::NotStored("nothing was sent".into());
    let head = (StatusCode::GATEWAY_TIMEOUT, HeaderMap::new());
    response(call, head, State::Done(None), Told { reuse, why, status: CacheStatus::default() })
}

/// Answers without the network: with what is stored, however stale.
pub(crate) async fn offline(call: Call<'_>) -> Result<Response<'_>, FetchError> {
    let record = call.client.store().read::<Record>(&call.key);
    let readable = [Method::GET, Method::HEAD].contains(&call.request.method);
    let wanted = |variant: &Variant| {
        let expected = call.expected(variant.status());
        readable && expected.is_none_or(|digest| digest == variant.body.digest)
    };
    let chosen = record.and_then(|mut record| {
        let index = select_offline(&record, &call.headers)?;
        Some(record.variants.swap_remove(index)).filter(wanted)
    });
    match sound(&call, chosen).await {
        Some(variant) => {
            let why = "the network may not be used, and this is in the cache".to_owned();
            Ok(hit(call, variant, Reuse::Stale, why))
        }
        None => Err(call.error(ErrorKind::Offline)),
    }
}
