//! Stored bodies as a call finds them: by the digest that it expects, or as the body of a response,
//! and in either case found right before they are used.

use std::time::SystemTime;

use http::Method;
use rewarm_store::Digest;

use crate::call::Call;
use crate::ledger;
use crate::record::{Record, StoredBody, Variant};
use crate::verify::{self, Soundness};

/// A blob of the expected digest, whatever record knows it.
pub(crate) async fn expected_body(call: &Call<'_>) -> Option<StoredBody> {
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
                remember(call, &call.key, body);
            }
        }
        None if known.is_some() => ledger::forget(store, &call.key, &expected),
        _ => {}
    }
    body
}

/// Records a new witness, if it is one that can be relied on.
fn remember(call: &Call<'_>, key: &Digest, body: StoredBody) {
    let witness = body.witness.and_then(|witness| call.client.settled(witness));
    if witness.is_some() {
        ledger::note_witness(call.client.store(), key, StoredBody { witness, ..body });
    }
}

/// The response, if its body is in the store and right; otherwise it is dropped from the record.
pub(crate) async fn sound(call: &Call<'_>, chosen: Option<Variant>) -> Option<Variant> {
    sound_under(call, &call.key, chosen?).await
}

/// The same of a response of the record under another key.
pub(crate) async fn sound_under(
    call: &Call<'_>,
    key: &Digest,
    variant: Variant,
) -> Option<Variant> {
    let store = call.client.store();
    match verify::check(store, &variant.body).await {
        Soundness::Same => {}
        Soundness::Reread(witness) => {
            remember(call, key, StoredBody { witness: Some(witness), ..variant.body });
        }
        Soundness::Lost => {
            ledger::forget(store, key, &variant.body.digest);
            return None;
        }
    }
    store.touch::<Record>(key, call.client.now());
    Some(variant)
}

/// Bodies that were found lost, and when: a record that cannot be written goes on naming them.
#[derive(Default)]
pub(crate) struct Lost(Vec<(Digest, SystemTime)>);

impl Lost {
    pub(crate) fn note(&mut self, body: Option<Digest>, now: SystemTime) {
        self.0.extend(body.map(|body| (body, now)));
    }

    /// A record without the responses whose bodies were lost since.
    pub(crate) fn without(&self, mut record: Record) -> Record {
        let is_lost = |variant: &Variant| {
            let mut lost = self.0.iter();
            lost.any(|&(body, at)| variant.body.digest == body && variant.response_time <= at)
        };
        record.variants.retain(|variant| !is_lost(variant));
        record
    }
}
