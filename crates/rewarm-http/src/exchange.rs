//! One request answered: from the store, from another's download, or from the origin.
//!
//! The loop here is the whole order of things. Every turn looks at the record anew, because others
//! change it; whoever holds the flight decides once more before asking, because the last holder may
//! just have brought the answer.

use http::Method;
use rewarm_store::Flight;

use crate::answering::{
    Told, as_expected, follow, gateway_timeout, hit, hit_part, offline, stored,
};
use crate::asking::{Validated, ask, client_has_it, pass, respond};
use crate::body::Response;
use crate::cache_status::{CacheStatus, Forwarded};
use crate::call::Call;
use crate::error::FetchError;
use crate::flight::{Nap, look};
use crate::following::Following;
use crate::policy::control::CacheControl;
use crate::policy::decide::{
    Cut, Decision, Ground, decide, decide_part, may_share, select, time_to_live,
};
use crate::policy::{preconditions, range};
use crate::record::{Record, Variant};
use crate::request::{Event, Reuse};
use crate::stored::{Lost, expected_body, sound, sound_under};

/// Answers a request.
pub(crate) async fn run(mut call: Call<'_>) -> Result<Response<'_>, FetchError> {
    if let Some(body) = expected_body(&call).await {
        return Ok(as_expected(call, body));
    }
    if call.client.config().offline {
        return offline(call).await;
    }
    if let Some((reason, why)) = not_ours(&call) {
        if CacheControl::of_request(&call.headers).only_if_cached {
            return Ok(gateway_timeout(call, why));
        }
        return pass(call, reason, why).await;
    }
    if let Some((variant, why)) = common(&call).await {
        return Ok(hit(call, variant, Reuse::Fresh, why));
    }
    // Set once it is this call's turn to ask; with a flight unless the store cannot be written.
    let mut turn: Option<Option<Flight>> = None;
    let mut nap = Nap::new();
    let mut lost = Lost::default();
    loop {
        let record = call.client.store().read::<Record>(&call.key).map(|it| lost.without(it));
        let decision = demand(&call, record.as_ref());
        if !matches!(decision, Decision::Serve { .. })
            && let Some((part, cut)) = stored_part(&call, record.as_ref()).await
        {
            return Ok(hit_part(call, part, cut));
        }
        let question = match decision {
            Decision::Serve { variant, ground, why } => {
                let chosen = record.map(|mut record| record.variants.swap_remove(variant));
                let body = chosen.as_ref().map(|variant| variant.body.digest);
                match sound(&call, chosen).await {
                    Some(variant) => return Ok(serve(call, variant, ground, why)),
                    None => lost.note(body, call.client.now()),
                }
                continue;
            }
            Decision::Refuse { why } => return Ok(gateway_timeout(call, why)),
            Decision::Validate { variants, reason, why } => Question { variants, reason, why },
            Decision::Fetch { reason, why } => Question { variants: Vec::new(), reason, why },
        };
        let record = record.unwrap_or_else(|| Record::new(&call.request.url));
        if !question.is_for_all(&call, &record) {
            let has_part = record.variants.iter().any(|part| part.is_part_for(&call.headers));
            let reason = if has_part { Forwarded::Partial } else { question.reason };
            return pass(call, reason, question.why).await;
        }
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
        let Question { variants, reason, why } = question;
        let (variant, reuse) = match ask(&mut call, flight, &record, &variants).await? {
            Validated::Answer(asked) => return respond(call, asked, reason, why),
            Validated::ClientHasIt(answer) => {
                return Ok(client_has_it(call, &answer, reason, why));
            }
            Validated::Same(variant) => (variant, Reuse::Revalidated),
            Validated::Stale(variant) => (variant, Reuse::Stale),
        };
        let body = Some(variant.body.digest);
        match sound(&call, Some(variant)).await {
            Some(variant) => return Ok(asked_about(call, variant, reuse, (reason, why))),
            None => lost.note(body, call.client.now()),
        }
    }
}

/// What is to be asked of the origin.
struct Question {
    variants: Vec<usize>,
    reason: Forwarded,
    why: String,
}

impl Question {
    /// Whether the answer can be kept for others: not that to a HEAD, and a part is asked for alone
    /// unless the whole is stored and may still be right.
    fn is_for_all(&self, call: &Call<'_>, record: &Record) -> bool {
        let first = self.variants.first().and_then(|&index| record.variants.get(index));
        let selected = first.is_some_and(|variant| variant.matches(&call.headers));
        call.request.method == Method::GET && (range::wanted(&call.terms).is_none() || selected)
    }
}

/// Why the cache has no part in a request, if so.
fn not_ours(call: &Call<'_>) -> Option<(Forwarded, String)> {
    if ![Method::GET, Method::HEAD].contains(&call.request.method) {
        let why = "requests like this are not answered from the cache".to_owned();
        return Some((Forwarded::Method, why));
    }
    if !call.request.body.is_empty() {
        let why = "a request with a body is not answered from the cache".to_owned();
        return Some((Forwarded::Bypass, why));
    }
    if preconditions::are_for_the_origin(&call.terms) {
        let why = "the request has a condition that only the origin may evaluate".to_owned();
        return Some((Forwarded::Bypass, why));
    }
    None
}

/// A fresh response that was given to a request without cookies, for one that has some.
async fn common(call: &Call<'_>) -> Option<(Variant, String)> {
    let key = call.common_key().filter(|_| call.request.expected.is_none())?;
    let store = call.client.store();
    let own = store.read::<Record>(&call.key);
    if own.is_some_and(|record| select(&record, &call.headers).is_some()) {
        return None;
    }
    let mut record = store.read::<Record>(&key)?;
    match decide(call.head(), Some(&record), call.client.now()) {
        Decision::Serve { variant, ground: Ground::Fresh, why } => {
            let variant = record.variants.swap_remove(variant);
            Some((sound_under(call, &key, variant).await?, why))
        }
        _ => None,
    }
}

/// A stored part that holds what a request for a part asks for.
async fn stored_part(call: &Call<'_>, record: Option<&Record>) -> Option<(Variant, Cut)> {
    if call.request.method != Method::GET || call.request.expected.is_some() {
        return None;
    }
    let record = record?;
    let (index, cut) = decide_part(call.head(), &call.terms, record, call.client.now())?;
    let part = record.variants.get(index).cloned();
    Some((sound(call, part).await?, cut))
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
    if useless { Decision::Fetch { reason: Forwarded::Miss, why } } else { decision }
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
    if call.client.alone().is_alone(&call.flight_key, call.client.now()) {
        return Takeoff::Ask(call.client.flight_of_its_own(&call.flight_key));
    }
    match store.try_flight(&call.flight_key) {
        Ok(Some(flight)) => return Takeoff::Ask(Some(flight)),
        Err(_) => return Takeoff::Ask(None),
        Ok(None) => {}
    }
    if let Some(sight) = look(&call.client, &call.flight_key) {
        let variant = &sight.head().variant;
        let expected = call.expected(variant.status()).is_some();
        let fits = variant.matches(&call.headers);
        if fits && (expected || may_share(call.head(), variant, call.asked)) {
            (call.events)(Event::Following { url: &call.request.url });
            return Takeoff::Follow(Box::new(Following::new(sight)));
        }
        return Takeoff::Ask(call.client.flight_of_its_own(&call.flight_key));
    }
    if nap.wait().await > call.client.config().patience {
        return Takeoff::Ask(call.client.flight_of_its_own(&call.flight_key));
    }
    Takeoff::Wait
}

fn serve(call: Call<'_>, variant: Variant, ground: Ground, why: String) -> Response<'_> {
    let reuse = if ground == Ground::Fresh { Reuse::Fresh } else { Reuse::Stale };
    if ground == Ground::WhileRevalidate {
        call.client.renew_later(&call.request);
    }
    hit(call, variant, reuse, why)
}

/// An answer from the store after the origin was asked.
fn asked_about(
    call: Call<'_>,
    variant: Variant,
    reuse: Reuse,
    (reason, why): (Forwarded, String),
) -> Response<'_> {
    let ttl = time_to_live(call.role(), &variant, call.client.now());
    let forwarded = (reuse == Reuse::Revalidated).then_some(http::StatusCode::NOT_MODIFIED);
    let status = CacheStatus {
        forwarded: Some(reason),
        forwarded_status: forwarded,
        ttl: Some(ttl),
        ..CacheStatus::default()
    };
    stored(call, variant, Told { reuse, why, status })
}
