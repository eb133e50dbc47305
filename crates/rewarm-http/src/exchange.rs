//! One request answered: from the store, from another's download, or from the origin.
//!
//! The loop here is the whole order of things. Every turn looks at the record anew, because others
//! change it; whoever holds the flight decides once more before asking, because the last holder may
//! just have brought the answer.

use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use rewarm_store::Flight;

use crate::body::{Body, Response, State};
use crate::call::{Asked, Call, Purpose};
use crate::client::{Client, gateway_timeout, with_age};
use crate::error::{ErrorKind, FetchError};
use crate::flight::{Nap, view};
use crate::following::Following;
use crate::ledger::{self, NotModified};
use crate::policy::decide::{
    Decision, Failure, Ground, conditions, decide, may_serve_on_error, may_share, select,
    select_offline,
};
use crate::policy::freshness::current_age;
use crate::policy::storing::{end_to_end, invalidated, reusable_fields};
use crate::record::{self, Record, StoredBody, Variant};
use crate::request::{Event, NO_EVENTS, Request, Reuse};
use crate::transport::Answer;
use crate::verify::{self, Soundness};

/// Answers a request.
pub(crate) async fn run(mut call: Call<'_>) -> Result<Response<'_>, FetchError> {
    if let Some(body) = expected_body(&call).await {
        return Ok(as_expected(call, body));
    }
    let conditional = [RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    let own_terms = conditional.iter().any(|name| call.headers.contains_key(name));
    let readable = [Method::GET, Method::HEAD].contains(&call.request.method);
    if call.client.config().offline {
        return offline(call).await;
    }
    if !readable || own_terms || !call.request.body.is_empty() {
        return pass(call).await;
    }
    // Set once it is this call's turn to ask; with a flight unless the store cannot be written.
    let mut turn: Option<Option<Flight>> = None;
    let mut nap = Nap::new();
    loop {
        let record = call.client.store().read::<Record>(&call.key);
        let (why, variants) = match demand(&call, record.as_ref()) {
            Decision::Serve { variant, ground, why } => {
                let chosen = record.map(|mut record| record.variants.swap_remove(variant));
                match sound(&call, chosen).await {
                    Some(variant) => return Ok(serve(call, variant, ground, why)),
                    None => continue,
                }
            }
            Decision::Refuse { why } => return Ok(gateway_timeout(call, why)),
            _ if call.request.method == Method::HEAD => return pass(call).await,
            Decision::Validate { variants, why } => (why, variants),
            Decision::Fetch { why } => (why, Vec::new()),
        };
        let Some(flight) = turn.take() else {
            match take_off(&call, &mut nap).await {
                // The last holder may have landed just what this call expects.
                Takeoff::Ask(flight) => match expected_body(&call).await {
                    Some(body) => return Ok(as_expected(call, body)),
                    None => turn = Some(flight),
                },
                Takeoff::Wait => {}
                Takeoff::Follow(following) => return Ok(follow(call, following)),
            }
            continue;
        };
        let record = record.unwrap_or_else(|| Record::new(&call.request.url));
        let (variant, reuse) = match ask(&mut call, flight, &record, &variants).await? {
            Validated::Answer(asked) => return respond(call, asked, why),
            Validated::Same(variant) => (variant, Reuse::Revalidated),
            Validated::Stale(variant) => (variant, Reuse::Stale),
        };
        if let Some(variant) = sound(&call, Some(variant)).await {
            return Ok(stored(call, variant, reuse, why));
        }
    }
}

/// What the policy demands. When a digest is expected, a stored body of another one is of no use.
fn demand(call: &Call<'_>, record: Option<&Record>) -> Decision {
    let decision = decide(call.head(), record, call.client.now());
    let is_body = |index: usize| record.is_some_and(|r| r.variants[index].status().is_success());
    let useless = call.request.expected.is_some()
        && match &decision {
            Decision::Serve { variant, .. } => is_body(*variant),
            Decision::Validate { variants, .. } => variants.iter().any(|&index| is_body(index)),
            _ => false,
        };
    let why = "the stored response has another digest than the expected".to_owned();
    if useless { Decision::Fetch { why } } else { decision }
}

/// Whose turn it is.
enum Takeoff {
    /// This call's; with its flight, unless the store cannot be written.
    Ask(Option<Flight>),
    /// Somebody else's, who has no body yet.
    Wait,
    /// Somebody else's, whose body will do.
    Follow(Box<Following>),
}

async fn take_off(call: &Call<'_>, nap: &mut Nap) -> Takeoff {
    let store = call.client.store();
    match store.try_flight(&call.flight_key) {
        Ok(Some(flight)) => return Takeoff::Ask(Some(flight)),
        Err(_) => return Takeoff::Ask(None),
        Ok(None) => {}
    }
    if let Some(view) = view(store, &call.flight_key) {
        let variant = &view.head.variant;
        let expected = call.expected(variant.status()).is_some();
        if expected || may_share(call.head(), variant, call.asked) {
            (call.events)(Event::Following { url: &call.request.url });
            return Takeoff::Follow(Box::new(Following::new(view)));
        }
        return Takeoff::Ask(call.client.flight_of_its_own(&call.flight_key));
    }
    if nap.wait().await > call.client.config().patience {
        return Takeoff::Ask(call.client.flight_of_its_own(&call.flight_key));
    }
    Takeoff::Wait
}

fn follow(call: Call<'_>, following: Box<Following>) -> Response<'_> {
    let variant = &following.head().variant;
    let (status, headers) = (variant.status(), variant.headers());
    let state = State::Following(following);
    let explanation = "the same is being downloaded by somebody else".to_owned();
    let url = call.request.url.clone();
    Response { url, status, headers, body: Body::new(call, state, Reuse::Followed), explanation }
}

/// A blob of the expected digest, whatever record knows it.
async fn expected_body(call: &Call<'_>) -> Option<StoredBody> {
    let expected = call.request.expected.filter(|_| call.request.method == Method::GET)?;
    let store = call.client.store();
    store.blob_path(&expected)?;
    let record = store.read::<Record>(&call.key);
    let known = record
        .as_ref()
        .and_then(|record| record.variants.iter().find(|variant| variant.body.digest == expected));
    let witness = known.and_then(|variant| variant.body.witness);
    let body = verify::known(store, &expected, witness).await;
    match body {
        Some(body) if known.is_some() => {
            store.touch::<Record>(&call.key, call.client.now());
            if body.witness != witness {
                remember(call, body);
            }
        }
        None if known.is_some() => ledger::forget(store, &call.key, &expected),
        _ => {}
    }
    body
}

/// A hit by digest, whatever the policy would say of the response it came with.
fn as_expected(call: Call<'_>, body: StoredBody) -> Response<'_> {
    let why = "a file of the expected digest is in the cache".to_owned();
    let variant = Variant { body, ..synthetic(&call) };
    stored(call, variant, Reuse::Fresh, why)
}

/// A success of which nothing but the body is known.
fn synthetic(call: &Call<'_>) -> Variant {
    let now = call.client.now();
    Variant::bare(StatusCode::OK, &HeaderMap::new(), now, now)
}

/// Records a new witness, if it is one that can be relied on.
fn remember(call: &Call<'_>, body: StoredBody) {
    let witness = body.witness.and_then(|witness| call.client.settled(witness));
    if witness.is_some() {
        ledger::note_witness(call.client.store(), &call.key, StoredBody { witness, ..body });
    }
}

/// The response, if its body is in the store and right; otherwise it is dropped from the record.
async fn sound(call: &Call<'_>, chosen: Option<Variant>) -> Option<Variant> {
    let variant = chosen?;
    let store = call.client.store();
    match verify::check(store, &variant.body).await {
        Soundness::Same => {}
        Soundness::Reread(witness) => {
            remember(call, StoredBody { witness: Some(witness), ..variant.body });
        }
        Soundness::Lost => {
            ledger::forget(store, &call.key, &variant.body.digest);
            return None;
        }
    }
    store.touch::<Record>(&call.key, call.client.now());
    Some(variant)
}

fn serve(call: Call<'_>, variant: Variant, ground: Ground, why: String) -> Response<'_> {
    let reuse = if ground == Ground::Fresh { Reuse::Fresh } else { Reuse::Stale };
    if ground == Ground::WhileRevalidate {
        call.client.renew_later(&call.request);
    }
    stored(call, variant, reuse, why)
}

/// An answer from the store.
fn stored(call: Call<'_>, variant: Variant, reuse: Reuse, explanation: String) -> Response<'_> {
    let headers = reusable_fields(&variant);
    let headers = match variant.fields.is_empty() {
        true => headers,
        false => {
            let age = current_age(&variant, &headers, call.client.now());
            with_age(headers, age)
        }
    };
    let (url, body) = (call.request.url.clone(), variant.body);
    call.progress(body.size, Some(body.size));
    let state = match call.purpose {
        _ if call.request.method == Method::HEAD => State::Done(None),
        Purpose::Keep => State::Done(Some(body)),
        Purpose::Read => State::Stored { body, file: None, position: 0 },
    };
    let status = variant.status();
    Response { url, status, headers, body: Body::new(call, state, reuse), explanation }
}

/// What came of asking the origin.
enum Validated {
    /// The stored response is still right.
    Same(Variant),
    /// Nobody can tell, and the stored response may be used all the same.
    Stale(Variant),
    /// There is another response.
    Answer(Asked),
}

/// Asks the origin whether stored responses are still right (RFC 9111 section 4.3), or, where there
/// is nothing to ask about, for a whole one.
async fn ask(
    call: &mut Call<'_>,
    flight: Option<Flight>,
    record: &Record,
    variants: &[usize],
) -> Result<Validated, FetchError> {
    let conditions = conditions(record, variants, &call.headers);
    let selected = select(record, &call.headers).map(|index| &record.variants[index]);
    let selected = selected.filter(|variant| {
        let expected = call.expected(variant.status());
        expected.is_none_or(|digest| digest == variant.body.digest)
    });
    let fallback = |call: &Call<'_>, failure: Failure| {
        let now = call.client.now();
        selected.filter(|v| may_serve_on_error(call.head(), v, failure, now)).cloned()
    };
    let (answer, flight) = match call.ask(flight, &conditions).await {
        Ok(Asked::Whole(answer, flight)) => (answer, flight),
        Ok(rest @ Asked::Rest(_)) => return Ok(Validated::Answer(rest)),
        Err(error) => {
            let variant = fallback(call, Failure::Disconnected);
            return variant.map(Validated::Stale).ok_or(error);
        }
    };
    if matches!(answer.status.as_u16(), 500 | 502 | 503 | 504)
        && let Some(variant) = fallback(call, Failure::ServerError)
    {
        return Ok(Validated::Stale(variant));
    }
    if answer.status != StatusCode::NOT_MODIFIED || variants.is_empty() {
        return Ok(Validated::Answer(Asked::Whole(answer, flight)));
    }
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
    match ledger::renew(call.client.store(), &call.key, &said, &call.headers) {
        Some(variant) => Ok(Validated::Same(variant)),
        // Section 4.3.4: a 304 that fits nothing stored is of no use.
        None => Ok(Validated::Answer(call.ask(flight, &HeaderMap::new()).await?)),
    }
}

/// An answer from the origin.
fn respond(call: Call<'_>, asked: Asked, explanation: String) -> Result<Response<'_>, FetchError> {
    let leading = match asked {
        Asked::Rest(leading) => *leading,
        Asked::Whole(answer, _) if answer.status == StatusCode::NOT_MODIFIED => {
            // Without a condition of ours there is nothing that could be unmodified.
            return Err(call.error(ErrorKind::Broken));
        }
        Asked::Whole(answer, flight) => call.begin(*answer, flight),
    };
    let (status, headers) = (leading.variant().status(), leading.variant().headers());
    let (url, reuse) = (call.request.url.clone(), leading.reuse());
    let body = Body::new(call, State::Leading(Box::new(leading)), reuse);
    Ok(Response { url, status, headers, body, explanation })
}

/// Passes a request on that the cache has no part in, but for what it invalidates.
async fn pass(mut call: Call<'_>) -> Result<Response<'_>, FetchError> {
    let answer: Answer = call.send(&HeaderMap::new()).await?;
    let (method, target) = (&call.request.method, &call.request.url);
    for url in invalidated(method, target, answer.status, &answer.headers) {
        for headers in [&call.headers, &HeaderMap::new()] {
            ledger::invalidate(call.client.store(), &record::key(&url, headers));
        }
    }
    let (status, headers) = (answer.status, end_to_end(&answer.headers));
    let leading = call.begin(answer, None).once();
    let (url, reuse) = (call.request.url.clone(), leading.reuse());
    let body = Body::new(call, State::Leading(Box::new(leading)), reuse);
    let explanation = "requests like this are not answered from the cache".to_owned();
    Ok(Response { url, status, headers, body, explanation })
}

/// Answers without the network: with what is stored, however stale.
async fn offline(call: Call<'_>) -> Result<Response<'_>, FetchError> {
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
            Ok(stored(call, variant, Reuse::Stale, why))
        }
        None => Err(call.error(ErrorKind::Offline)),
    }
}

/// Renews what is stored for a request, unless somebody does already. Failing leaves it stale.
pub(crate) fn renew(client: Client, request: Request) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let Ok(mut call) = Call::new(&client, &request, Purpose::Keep, NO_EVENTS) else { return };
        let Ok(Some(flight)) = client.store().try_flight(&call.flight_key) else { return };
        let Some(record) = client.store().read::<Record>(&call.key) else { return };
        let selected = select(&record, &call.headers);
        let variants: Vec<usize> = selected.into_iter().collect();
        let Ok(Validated::Answer(asked)) = ask(&mut call, Some(flight), &record, &variants).await
        else {
            return;
        };
        if let Ok(mut response) = respond(call, asked, String::new()) {
            response.body.drain(u64::MAX).await;
        }
    })
}
