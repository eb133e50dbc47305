//! Changes to HTTP records: each reads, changes and writes one record under its lock.
//!
//! None of them fails: a record that cannot be written costs speed later, not this answer.

use std::time::SystemTime;

use http::{HeaderMap, Method};
use rewarm_store::{Digest, Store};

use crate::policy::decide::{RequestHead, select_for_update};
use crate::policy::storing::{Heard, heard, merge_not_modified, storable, storable_fields};
use crate::record::{Record, StoredBody, Variant, vary_names, vary_of};
use crate::url::Url;

/// The lock under which records are changed.
const PURPOSE: &str = "http";

/// Reads and changes the record; writes it if `change` says so.
fn update<T>(
    store: &Store,
    key: &Digest,
    change: impl FnOnce(Option<Record>) -> (Option<Record>, T),
) -> T {
    // Without the lock another writer's change may be lost: a later miss, never a wrong hit.
    let _lock = store.lock(PURPOSE, key);
    let (record, result) = change(store.read::<Record>(key));
    match record {
        Some(record) if record.variants.is_empty() => drop(store.remove::<Record>(key)),
        Some(record) => drop(store.write(key, &record)),
        None => {}
    }
    result
}

/// Adds a response to a request with these fields.
pub(crate) fn insert(
    store: &Store,
    key: &Digest,
    url: &Url,
    variant: Variant,
    request: &HeaderMap,
) {
    insert_unless(store, key, url, (variant, request), |_| false);
}

/// Adds a response that another cache kept, unless one that is as new is there already.
pub(crate) fn insert_unless_newer(
    store: &Store,
    key: &Digest,
    url: &Url,
    variant: Variant,
    request: &HeaderMap,
) {
    let came = variant.response_time;
    let is_as_new = |present: &Variant| present.matches(request) && present.response_time >= came;
    insert_unless(store, key, url, (variant, request), is_as_new);
}

/// Adds a response unless one of those that are there forbids it.
fn insert_unless(
    store: &Store,
    key: &Digest,
    url: &Url,
    (variant, request): (Variant, &HeaderMap),
    forbids: impl Fn(&Variant) -> bool,
) {
    update(store, key, |record| {
        let mut record = record.unwrap_or_else(|| Record::new(url));
        if record.variants.iter().any(forbids) {
            return (None, ());
        }
        record.insert(variant, request);
        (Some(record), ())
    });
}

/// What a 304 says.
pub(crate) struct NotModified<'a> {
    /// The stored responses that were asked about, by their times.
    pub(crate) asked: &'a [(SystemTime, SystemTime)],
    pub(crate) headers: &'a HeaderMap,
    pub(crate) request_time: SystemTime,
    pub(crate) response_time: SystemTime,
}

/// Renews the response that a 304 is about, and makes it one for a request with these fields.
/// `None` if the 304 fits none.
pub(crate) fn renew(
    store: &Store,
    key: &Digest,
    answer: &NotModified<'_>,
    request: RequestHead<'_>,
) -> Option<Variant> {
    let update_with = storable_fields(request.role, answer.headers);
    update(store, key, |record| {
        let Some(mut record) = record else { return (None, None) };
        let is_asked =
            |v: &Variant| !v.is_part() && answer.asked.iter().any(|&(a, b)| v.came_at(a, b));
        let candidates: Vec<usize> =
            (0..record.variants.len()).filter(|&index| is_asked(&record.variants[index])).collect();
        let Some(index) = select_for_update(&record, &candidates, answer.headers) else {
            return (None, None);
        };
        let variant = &mut record.variants[index];
        merge_not_modified(variant, &update_with, answer.request_time, answer.response_time);
        let renewed = variant.clone();
        // What the 304 says may forbid to keep what it renews.
        if storable(request, renewed.status(), &renewed.headers()).is_err() {
            record.variants.remove(index);
            return (Some(record), Some(renewed));
        }
        if renewed.matches(request.headers) {
            return (Some(record), Some(renewed));
        }
        let Some(names) = vary_names(&renewed.headers()) else { return (Some(record), None) };
        let own = Variant { vary: vary_of(names, request.headers), ..renewed };
        record.insert(own.clone(), request.headers);
        (Some(record), Some(own))
    })
}

/// Renews or drops the responses that the answer to a HEAD is about.
pub(crate) fn hear(store: &Store, key: &Digest, head: &Variant, request: RequestHead<'_>) {
    let fields = head.headers();
    update(store, key, |record| {
        let Some(mut record) = record else { return (None, ()) };
        let before = record.clone();
        record.variants.retain_mut(|stored| {
            if !stored.matches(request.headers) {
                return true;
            }
            match heard(stored, head.status(), &fields) {
                Heard::Same => {
                    merge_not_modified(stored, &fields, head.request_time, head.response_time);
                    storable(
                        RequestHead { method: &Method::GET, ..request },
                        stored.status(),
                        &stored.headers(),
                    )
                    .is_ok()
                }
                Heard::Changed => false,
                Heard::Nothing => true,
            }
        });
        ((record != before).then_some(record), ())
    });
}

/// Drops a response whose body is lost.
pub(crate) fn forget(store: &Store, key: &Digest, body: &Digest) {
    update(store, key, |record| {
        let record = record.map(|mut record| {
            record.variants.retain(|variant| variant.body.digest != *body);
            record
        });
        (record, ())
    });
}

/// Notes the new witness of a body that was read and found right.
pub(crate) fn note_witness(store: &Store, key: &Digest, body: StoredBody) {
    update(store, key, |record| {
        let record = record.map(|mut record| {
            let same = |variant: &&mut Variant| variant.body.digest == body.digest;
            record.variants.iter_mut().filter(same).for_each(|variant| variant.body = body);
            record
        });
        (record, ())
    });
}

/// Drops all responses under a key.
pub(crate) fn invalidate(store: &Store, key: &Digest) {
    let _lock = store.lock(PURPOSE, key);
    let _ = store.remove::<Record>(key);
}
