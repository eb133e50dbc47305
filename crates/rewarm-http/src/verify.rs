//! Whether a stored body is still what it was.
//!
//! The file's stat data is compared with what was recorded when its content was known; only if that
//! moved is the file read. A damaged file is dropped. The only caller of `spawn_blocking`.

use std::fs::File;
use std::io;

use rewarm_store::{Digest, Hasher, Leftover, Store, Witness};

use crate::record::StoredBody;

/// What became of a stored body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Soundness {
    /// The file did not change.
    Same,
    /// The file was read and is right; this is its witness now.
    Reread(Witness),
    /// It is gone, or was damaged and is gone now.
    Lost,
}

/// Checks a body.
pub(crate) async fn check(store: &Store, body: &StoredBody) -> Soundness {
    let Some(path) = store.blob_path(&body.digest) else { return Soundness::Lost };
    // A file that cannot be opened is of no use, however it looks.
    let Ok(metadata) = File::open(&path).and_then(|file| file.metadata()) else {
        return Soundness::Lost;
    };
    let before = Witness::of_metadata(&metadata);
    if body.witness.is_some_and(|witness| witness.same_content(&before)) {
        return Soundness::Same;
    }
    let (store, digest) = (store.clone(), body.digest);
    match tokio::task::spawn_blocking(move || store.verify_blob(&digest)).await {
        Ok(Ok(true)) => Soundness::Reread(before),
        _ => Soundness::Lost,
    }
}

/// The size of the blob of this digest, if it is there and right, with a witness.
pub(crate) async fn known(
    store: &Store,
    digest: &Digest,
    witness: Option<Witness>,
) -> Option<StoredBody> {
    let path = store.blob_path(digest)?;
    let size = Witness::of(&path).ok()??.size;
    let body = StoredBody { digest: *digest, size, witness };
    match check(store, &body).await {
        Soundness::Same => Some(body),
        Soundness::Reread(witness) => {
            Some(StoredBody { size: witness.size, witness: Some(witness), ..body })
        }
        Soundness::Lost => None,
    }
}

/// Hashes what a broken-off download left; `None` if it is damaged.
pub(crate) async fn prefix<K: Send + 'static>(
    leftover: Leftover<K>,
) -> io::Result<Option<(Leftover<K>, Hasher)>> {
    let verify = move || Ok(leftover.verify()?.map(|hasher| (leftover, hasher)));
    tokio::task::spawn_blocking(verify).await.map_err(io::Error::other)?
}
