//! Stored bodies as a call finds them: by the digest that it expects, or as the body of a response,
//! and in either case found right before they are used.

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
