//! A download that goes on by itself: a task of the client brings the body into the store as fast as
//! the origin sends it, and whoever asked for it reads along.
//!
//! So a slow reader holds back neither the origin nor other readers. The task ends when nobody in
//! this process reads any more, and keeps what came for resuming, unless little is missing. A store
//! that cannot be written ends the task, not the body: the reader goes on with the connection.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;

use crate::body::{State, Step};
use crate::broadcast::{Progress, Retry};
use crate::call::{Call, Purpose};
use crate::error::FetchError;
use crate::following::Following;
use crate::leading::Leading;
use crate::record::StoredBody;
use crate::request::{Event, Events, NO_EVENTS};

/// So few missing bytes are taken although nobody reads them: asking again would cost more.
const NEARLY_DONE: u64 = 1 << 20;

/// What became of a download.
pub(crate) enum Ended {
    /// It is in the store.
    Stored(StoredBody, Option<HeaderMap>),
    /// It could not be stored to its end; the rest comes from the origin, for one reader.
    Unstored(Box<Leading>),
    /// It failed.
    Failed(FetchError),
}

/// Where a download leaves what became of it for the reader it was started for.
#[derive(Clone, Default)]
pub(crate) struct Outcome(Arc<Mutex<Option<Ended>>>);

impl Outcome {
    fn put(&self, ended: Ended) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    pub(crate) fn take(&self) -> Option<Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Has a download go on by itself, if it goes into the store and its bytes are wanted; the state of
/// the one who wants them.
pub(crate) fn drive(call: &Call<'_>, mut leading: Box<Leading>) -> State {
    let listener = leading.announce(&call.client);
    let Some(listener) = listener.filter(|_| call.purpose == Purpose::Read) else {
        return State::Leading(leading);
    };
    let outcome = Outcome::default();
    let following = Following::led(listener, outcome.clone());
    call.client.spawn(run(detached(call, NO_EVENTS), leading, outcome));
    State::Following(Box::new(following))
}

/// The same exchange for one who only stores the body.
fn detached<'e>(call: &Call<'_>, events: Events<'e>) -> Call<'e> {
    let mut request = call.request.clone();
    // The final answer was handed on already.
    request.interim = None;
    Call {
        client: call.client.clone(),
        request,
        headers: call.headers.clone(),
        terms: call.terms.clone(),
        key: call.key,
        flight_key: call.flight_key,
        asked: call.asked,
        events,
        attempts: call.attempts,
        purpose: Purpose::Keep,
    }
}

async fn run(call: Call<'static>, mut leading: Box<Leading>, outcome: Outcome) {
    let Some(sender) = leading.sender() else { return };
    let told = |event: Event<'_>| {
        if let Event::Retrying { attempt, delay, reason, .. } = event {
            let retry = Retry { attempt, delay, reason };
            sender.send_modify(|progress: &mut Progress| progress.retry = Some(retry));
        }
    };
    let mut call = detached(&call, &told);
    let ended = loop {
        let step = tokio::select! {
            step = leading.step(&mut call) => step,
            () = sender.closed() => {
                if leading.missing().is_none_or(|missing| missing > NEARLY_DONE) {
                    return;
                }
                let patience = call.client.config().patience;
                drop(tokio::time::timeout(patience, finish(&mut call, &mut leading)).await);
                return;
            }
        };
        match step {
            Ok(Step::End(Some(body))) => break Ended::Stored(body, leading.trailers()),
            Ok(step) if !leading.is_stored() => {
                leading.hand_over(step);
                break Ended::Unstored(leading);
            }
            Ok(_) => {}
            Err(error) => break Ended::Failed(error),
        }
    };
    // Whoever listens hears of the end when `sender` is gone, and finds this then.
    outcome.put(ended);
}

async fn finish(call: &mut Call<'_>, leading: &mut Leading) {
    while let Ok(Step::Bytes(_) | Step::Again) = leading.step(call).await {
        if !leading.is_stored() {
            return;
        }
    }
}
