//! What comes of asking the origin: a stored response proven right, one that may be used although
//! nobody can tell, or another response.

use std::pin::Pin;
use std::time::SystemTime;

use http::header::ETAG;
use http::{HeaderMap, Method, StatusCode};
use rewarm_store::Flight;

use crate::answering::{Told, not_modified};
use crate::body::{Body, Response, State};
use crate::cache_status::{CacheStatus, Forwarded};
use crate::call::{Asked, Call, Purpose};
use crate::client::Client;
use crate::error::{ErrorKind, FetchError};
use crate::ledger::{self, NotModified};
use crate::policy::decide::{Failure, combined, conditions, may_serve_on_error, select};
use crate::policy::preconditions::names_tag;
use crate::policy::storing::{answers_a_get, end_to_end, invalidated};
use crate::record::{Record, Variant};
use crate::request::{NO_EVENTS, Request, Reuse};
use crate::transport::Answer;

/// What came of asking the origin.
pub(crate) enum Validated {
    /// The stored response is still right.
    Same(Variant),
    /// Nobody can tell, and the stored response may be used all the same.
    Stale(Variant),
    /// The client has the response; the cache does not.
    ClientHasIt(Box<Answer>),
    /// There is another response.
    Answer(Asked),
}

/// Asks the origin whether stored responses are still right (RFC 9111 section 4.3), or, where there
/// is nothing to ask about, for a whole one.
pub(crate) async fn ask(
    call: &mut Call<'_>,
    flight: Option<Flight>,
    record: &Record,
    variants: &[usize],
) -> Result<Validated, FetchError> {
    let own = conditions(record, variants, &call.headers);
    let sent = combined(&own, &call.terms);
    let (answer, flight) = match call.ask(flight, &sent).await {
        Ok(Asked::Whole(answer, flight)) => (answer, flight),
        Ok(rest @ Asked::Rest(_)) => return Ok(Validated::Answer(rest)),
        Err(error) => {
            let variant = fallback(call, record, Failure::Disconnected);
            return variant.map(Validated::Stale).ok_or(error);
        }
    };
    if matches!(answer.status.as_u16(), 500 | 502 | 503 | 504)
        && let Some(variant) = fallback(call, record, Failure::ServerError)
    {
        return Ok(Validated::Stale(variant));
    }
    if answer.status != StatusCode::NOT_MODIFIED || sent.is_empty() {
        return Ok(Validated::Answer(Asked::Whole(answer, flight)));
    }
    let tag = answer.headers.get(ETAG);
    // Beside the client's own tags, a 304 without a tag may be about anything.
    let is_clear = sent == own || tag.is_some();
    if is_clear && let Some(variant) = renewed(call, record, variants, &answer) {
        return Ok(Validated::Same(variant));
    }
    if own.is_empty() || names_tag(&call.terms, tag) {
        return Ok(Validated::ClientHasIt(answer));
    }
    // Section 4.3.4: a 304 that fits nothing stored is of no use.
    Ok(Validated::Answer(call.ask(flight, &HeaderMap::new()).await?))
}

/// The stored response to use although asking failed.
fn fallback(call: &Call<'_>, record: &Record, failure: Failure) -> Option<Variant> {
    let selected = select(record, &call.headers).map(|index| &record.variants[index])?;
    let expected = call.expected(selected.status());
    let is_wanted = expected.is_none_or(|digest| digest == selected.body.digest);
    let may = is_wanted && may_serve_on_error(call.head(), selected, failure, call.client.now());
    may.then(|| selected.clone())
}

/// The stored response that a 304 is about, renewed by it.
fn renewed(
    call: &Call<'_>,
    record: &Record,
    variants: &[usize],
    answer: &Answer,
) -> Option<Variant> {
    let time = |&index: &usize| {
        let variant = &record.variants[index];
        (variant.request_time, variant.response_time)
    };
    let asked: Vec<(SystemTime, SystemTime)> = variants.iter().map(time).collect();
    let said = NotModified {
        asked: &asked,
        headers: &answer.headers,
        request_time: answer.request_time,
        response_time: answer.response_time,
    };
    ledger::renew(call.client.store(), &call.key, &said, call.head())
}

/// An answer from the origin.
pub(crate) fn respond(
    call: Call<'_>,
    asked: Asked,
    reason: Forwarded,
    why: String,
) -> Result<Response<'_>, FetchError> {
    // What is stored may be less than what is handed on.
    let (leading, headers) = match asked {
        Asked::Rest(leading) => {
            let headers = leading.variant().headers();
            (*leading, headers)
        }
        Asked::Whole(answer, _) if answer.status == StatusCode::NOT_MODIFIED => {
            // Without a condition there is nothing that could be unmodified.
            return Err(call.error(ErrorKind::Broken));
        }
        Asked::Whole(answer, flight) => {
            let headers = end_to_end(&answer.headers);
            (call.begin(*answer, flight), headers)
        }
    };
    let status = leading.variant().status();
    // An error may be gone the next time.
    if leading.is_stored() || !status.is_client_error() && !status.is_server_error() {
        let now = call.client.now();
        call.client.alone().note(&call.flight_key, leading.is_stored(), now);
    }
    let cache_status =
        CacheStatus { stored: leading.is_stored(), ..CacheStatus::forwarded(reason, status) };
    let (url, reuse) = (call.request.url.clone(), leading.reuse());
    let body = Body::new(call, State::Leading(Box::new(leading)), reuse);
    Ok(Response { url, status, headers, body, explanation: why, cache_status })
}

/// The origin's 304 handed on to a client that has what it is about.
pub(crate) fn client_has_it<'e>(
    call: Call<'e>,
    answer: &Answer,
    reason: Forwarded,
    why: String,
) -> Response<'e> {
    let reuse = Reuse::NotStored("the client has it already".into());
    let status = CacheStatus::forwarded(reason, answer.status);
    not_modified(call, answer, Told { reuse, why, status })
}

/// Passes a request on that the cache has no answer for and will not have one, but for what it
/// invalidates.
pub(crate) async fn pass(
    mut call: Call<'_>,
    reason: Forwarded,
    why: String,
) -> Result<Response<'_>, FetchError> {
    let terms = call.terms.clone();
    let answer: Answer = call.send(&terms).await?;
    for url in invalidated(&call.request.method, &call.request.url, answer.status, &answer.headers)
    {
        for key in call.keys_of(&url) {
            ledger::invalidate(call.client.store(), &key);
        }
    }
    if call.request.method == Method::HEAD {
        ledger::hear(call.client.store(), &call.key, &call.variant(&answer), call.head());
    }
    let (status, headers) = (answer.status, end_to_end(&answer.headers));
    let (target, answered) = (&call.request.url, &answer.headers);
    let is_kept =
        call.asked_part(&answer).is_some() || answers_a_get(call.head(), target, status, answered);
    let leading = match is_kept {
        true => {
            let flight = call.client.flight_of_its_own(&call.flight_key);
            call.begin_as(&Method::GET, answer, flight).once()
        }
        false => call.begin(answer, None).once(),
    };
    let stored = leading.is_stored();
    let (url, reuse) = (call.request.url.clone(), leading.reuse());
    let body = Body::new(call, State::Leading(Box::new(leading)), reuse);
    let cache_status = CacheStatus { stored, ..CacheStatus::forwarded(reason, status) };
    Ok(Response { url, status, headers, body, explanation: why, cache_status })
}

/// Renews what is stored for a request, unless somebody does already. Failing leaves it stale.
pub(crate) fn renew(client: Client, request: Request) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let request = Request { method: Method::GET, interim: None, ..request };
        let Ok(mut call) = Call::new(&client, &request, Purpose::Keep, NO_EVENTS) else { return };
        call.terms.clear();
        let Ok(Some(flight)) = client.store().try_flight(&call.flight_key) else { return };
        let Some(record) = client.store().read::<Record>(&call.key) else { return };
        let selected = select(&record, &call.headers);
        let variants: Vec<usize> = selected.into_iter().collect();
        let Ok(Validated::Answer(asked)) = ask(&mut call, Some(flight), &record, &variants).await
        else {
            return;
        };
        if let Ok(mut response) = respond(call, asked, Forwarded::Stale, String::new()) {
            response.body.drain(u64::MAX).await;
        }
    })
}
