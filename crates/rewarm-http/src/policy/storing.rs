//! What to do with a response: whether to store it, what of it, how a 304 changes what is stored,
//! and what an unsafe request makes worthless (RFC 9111 sections 3, 4.3.4 and 4.4).

use std::time::SystemTime;

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, ETAG, EXPIRES,
    HeaderName, LAST_MODIFIED, LOCATION, WARNING,
};
use http::{HeaderMap, Method, StatusCode};

use super::Role;
use super::control::CacheControl;
use super::decide::RequestHead;
use super::freshness::is_heuristically_cacheable;
use crate::record::{Variant, has_credentials, to_fields, vary_names};
use crate::url::Url;

/// Fields that are about one connection (RFC 9110 section 7.6.1, RFC 9111 section 3.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// Only responses to GET are.
    #[error("the request is not a GET")]
    Method,
    /// Section 5.2.1.5.
    #[error("the request says no-store")]
    RequestNoStore,
    /// Section 5.2.2.5.
    #[error("the response says no-store")]
    NoStore,
    /// Section 3: a part, a 304, an interim response, or not understood although it must be.
    #[error("responses of status {0} are not stored")]
    Status(u16),
    /// Section 3: nothing says that it may be reused.
    #[error("status {0} needs an expiration to be stored")]
    NotExplicit(u16),
    /// Section 4.1: it could never be selected.
    #[error("the response varies by more than the request")]
    VaryStar,
    /// It would write a credential down.
    #[error("the response redirects to a URL that holds a secret")]
    Secret,
    /// Section 5.2.2.7: a shared cache must not.
    #[error("the response is for one user only")]
    Private,
    /// Section 3.5: nothing says that others may have it.
    #[error("the response is to credentials, and does not say that others may have it")]
    Credentials,
}

/// The statuses whose caching rules are known here (section 5.2.2.3).
fn is_understood(status: StatusCode) -> bool {
    is_heuristically_cacheable(status) || matches!(status.as_u16(), 302 | 303 | 307)
}

/// Whether a response may be stored (section 3).
pub fn storable(
    request: RequestHead<'_>,
    status: StatusCode,
    response: &HeaderMap,
) -> Result<(), Unstorable> {
    let control = CacheControl::of_response(request.role, response);
    let code = status.as_u16();
    if request.method != Method::GET {
        return Err(Unstorable::Method);
    }
    if status.is_informational() || matches!(code, 206 | 304) {
        return Err(Unstorable::Status(code));
    }
    if control.must_understand && !is_understood(status) {
        return Err(Unstorable::Status(code));
    }
    if CacheControl::of_request(request.headers).no_store {
        return Err(Unstorable::RequestNoStore);
    }
    // Section 5.2.2.3: who understands the status ignores the no-store beside must-understand.
    if control.no_store && !control.must_understand {
        return Err(Unstorable::NoStore);
    }
    if request.role == Role::Shared {
        if control.private {
            return Err(Unstorable::Private);
        }
        if has_credentials(request.headers) && !control.shareable {
            return Err(Unstorable::Credentials);
        }
    }
    if vary_names(response).is_none() {
        return Err(Unstorable::VaryStar);
    }
    let explicit = control.public
        || control.private
        || !control.private_fields.is_empty()
        || control.max_age.is_some()
        || response.contains_key(EXPIRES) && !control.targeted;
    if !explicit && !is_heuristically_cacheable(status) {
        return Err(Unstorable::NotExplicit(code));
    }
    if shows_secret(response) {
        return Err(Unstorable::Secret);
    }
    Ok(())
}

/// Whether the response names a URL that holds a secret.
fn shows_secret(response: &HeaderMap) -> bool {
    let secret = |name: HeaderName| {
        let text = response.get(name).and_then(|value| value.to_str().ok());
        let absolute = text.filter(|text| text.contains(['?', '@']) || text.contains("/t/"));
        absolute.is_some_and(|text| match Url::parse(text) {
            Ok(url) => url.has_secret(),
            Err(_) => base().join(text).is_ok_and(|url| url.has_secret()),
        })
    };
    secret(LOCATION) || secret(CONTENT_LOCATION)
}

/// Against which relative references are looked at; only their path and query matter.
fn base() -> Url {
    Url::parse("http://localhost/").expect("a constant URL")
}

/// The fields of a response that may be stored or passed on (section 3.1).
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let listed: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let text = name.as_str();
        if !HOP_BY_HOP.contains(&text) && !listed.iter().any(|listed| listed == text) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// The fields of a stored response to answer with: without those that `no-cache="…"` names, which
/// must not be reused without validation (section 5.2.2.4).
pub fn reusable_fields(role: Role, variant: &Variant) -> HeaderMap {
    let mut headers = variant.headers();
    let control = CacheControl::of_response(role, &headers);
    remove(&mut headers, control.no_cache_fields);
    headers
}

/// The fields of a response that are stored: end to end, and for a shared cache without those that
/// `private="…"` names (section 5.2.2.7).
pub fn storable_fields(role: Role, response: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(response);
    // It is obsolete (section 5.5), and was about the answer that brought it.
    headers.remove(WARNING);
    if role == Role::Shared {
        let control = CacheControl::of_response(role, response);
        remove(&mut headers, control.private_fields);
    }
    headers
}

fn remove(headers: &mut HeaderMap, names: Vec<String>) {
    for name in names.into_iter().filter_map(|name| HeaderName::try_from(name).ok()) {
        headers.remove(name);
    }
}

/// Renews a stored response with a 304 (sections 3.2 and 4.3.4): each field that the 304 has takes
/// the place of the stored one, except those that describe the stored bytes.
pub fn merge_not_modified(
    variant: &mut Variant,
    not_modified: &HeaderMap,
    request_time: SystemTime,
    response_time: SystemTime,
) {
    let mut headers = variant.headers();
    // Age and date that the 304 does not repeat are those of the response it renews.
    headers.remove(http::header::AGE);
    headers.remove(http::header::DATE);
    let update = end_to_end(not_modified);
    for name in update.keys() {
        if [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE].contains(name) {
            continue;
        }
        headers.remove(name);
        for value in update.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    variant.fields = to_fields(&headers);
    variant.request_time = request_time;
    variant.response_time = response_time;
}

/// Whether the answer to a POST is what a GET of its target would be answered with (RFC 9110 section
/// 9.3.3): it says so by its `Content-Location`, and says for how long.
pub fn answers_a_get(
    request: RequestHead<'_>,
    target: &Url,
    status: StatusCode,
    response: &HeaderMap,
) -> bool {
    let control = CacheControl::of_response(request.role, response);
    let explicit = control.max_age.is_some() || response.contains_key(EXPIRES) && !control.targeted;
    let location = response.get(CONTENT_LOCATION).and_then(|value| value.to_str().ok());
    let same = location.and_then(|text| target.join(text).ok()).is_some_and(|url| url == *target);
    request.method == Method::POST && status == StatusCode::OK && explicit && same
}

/// What the answer to a HEAD says of a stored response to GET (section 4.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is still right: a validator is the same, and nothing differs.
    Same,
    /// It is not what a GET would bring now.
    Changed,
    /// Nothing.
    Nothing,
}

/// Compares the answer to a HEAD with a stored response that the same request selects.
///
/// Without any validator nothing shows that the body is still the same: then the stored response is
/// neither renewed nor dropped, unless the length differs.
pub fn heard(stored: &Variant, status: StatusCode, head: &HeaderMap) -> Heard {
    if status != StatusCode::OK || stored.status() != StatusCode::OK {
        return Heard::Nothing;
    }
    let fields = stored.headers();
    let compared = |name: HeaderName| head.get(&name).map(|value| fields.get(&name) == Some(value));
    let length = head.get(CONTENT_LENGTH).map(|value| {
        value.to_str().ok().and_then(|text| text.parse().ok()) == Some(stored.body.size)
    });
    let validators = [compared(ETAG), compared(LAST_MODIFIED)];
    if validators.contains(&Some(false)) || length == Some(false) {
        return Heard::Changed;
    }
    if validators.contains(&Some(true)) { Heard::Same } else { Heard::Nothing }
}

/// The URLs whose stored responses are worthless after this exchange (section 4.4): of an unsafe
/// method that did not fail, the target and what the response points to on the same origin.
pub fn invalidated(
    method: &Method,
    target: &Url,
    status: StatusCode,
    response: &HeaderMap,
) -> Vec<Url> {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method);
    if safe || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let pointed = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| {
        let url = target.join(response.get(name)?.to_str().ok()?).ok()?;
        url.same_origin(target).then_some(url)
    });
    std::iter::once(target.clone()).chain(pointed).collect()
}
