//! The content-addressed store under every rewarm cache.
//!
//! A [`Store`] is a directory that any number of processes share. It holds *blobs* (bytes named by
//! their sha256), *trees* (directories unpacked from one blob), *records* (small typed entries
//! that say what is known under a key) and *slots* (directories that are replaced as a whole). It is
//! kept within bounds by [`Store::sweep`], which spares what a [`Lease`] names. It is synchronous,
//! never touches the network and has no clock of its own: whoever needs the time passes `now`.
//!
//! Two rules hold everywhere. A reader sees an entry whole or not at all, because entries are
//! written aside and published by one rename. And nothing is handed out unverified: what does not
//! match its name or its checksum is a miss and is dropped in passing.
//!
//! ```
//! use std::io::{Read, Write};
//! # let dir = tempfile::tempdir()?;
//! let store = rewarm_store::Store::open(dir.path())?;
//! let mut writer = store.blob_writer()?;
//! writer.write_all(b"hello")?;
//! let blob = writer.commit(None)?;
//!
//! let mut text = String::new();
//! store.open_blob(&blob.digest)?.expect("just written").read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adopt;
mod blob;
mod digest;
mod dirs;
mod formats;
mod fs;
mod gc;
mod handout;
mod inventory;
mod layout;
mod lease;
mod lock;
mod partial;
mod record;
mod sealed;
mod slot;
mod store;
mod tree;
mod verify;

pub use adopt::{Adopted, digest_of_part};
pub use blob::{Blob, BlobWriter, CommitError, VerifyingReader};
pub use digest::{Digest, Hasher, ParseDigestError};
pub use dirs::ScratchDir;
pub use formats::{describe, formats};
pub use fs::{Witness, effective_user};
pub use gc::{Count, GcPlan, Limits, Reason, Removal, SweepReport, Target};
pub use handout::{LinkKind, LinkMode, link_or_copy, publish_copy, publish_file};
pub use inventory::{
    AreaInfo, BlobInfo, Inventory, KindTotal, RecordInfo, SlotInfo, Stray, StrayKind, TreeInfo,
};
pub use lease::Lease;
pub use lock::Lock;
pub use partial::{Flight, Landed, Leftover, PartialView, PartialWriter, Uncommitted};
pub use record::{Format, Kind, RecordError};
pub use sealed::{publish_sealed, read_sealed};
pub use slot::{PrivateDir, Slot};
pub use store::{OpenError, Store};
pub use tree::{Tree, TreeError, TreeFile, TreeWriter};
pub use verify::{Verdict, VerifyItem, VerifyReport};
