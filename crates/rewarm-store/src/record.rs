//! Records: small typed entries, one file each, found by a key.
//!
//! The envelope around every record carries its kind, its version, its own key, the blobs and
//! trees it refers to, and a checksum. So a torn, flipped or misplaced file is a miss, and a
//! collector can follow references without knowing any kind. The payload is postcard; a change of
//! its shape is a new [`Kind::VERSION`], which lives in another directory: old readers never see
//! it, old writers never touch it.

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;

/// What a record is about, and in which format version.
pub trait Kind: Serialize + DeserializeOwned {
    /// The name, as it appears in the store and in `rewarm cache`, for example `http`.
    const NAME: &'static str;
    /// The format version of the payload.
    const VERSION: u16;

    /// The blobs and trees that must live as long as this record does.
    fn references(&self) -> Vec<Digest> {
        Vec::new()
    }
}

/// A record that could not be written. Costs speed, never the command.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
pub struct RecordError {
    /// The file that should have been written.
    pub path: PathBuf,
    /// Why it was not.
    pub source: io::Error,
}

const MAGIC: &[u8; 4] = b"RWRM";
const ENVELOPE: u8 = 1;
/// Magic, envelope version, kind version, key, number of references.
const HEAD: usize = 4 + 1 + 2 + 32 + 4;
const CHECKSUM: usize = 32;

/// Lays out one record file.
pub(crate) fn encode<K: Kind>(key: &Digest, value: &K) -> io::Result<Vec<u8>> {
    let references = value.references();
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(MAGIC);
    bytes.push(ENVELOPE);
    bytes.extend_from_slice(&K::VERSION.to_le_bytes());
    bytes.extend_from_slice(key.as_bytes());
    let count = u32::try_from(references.len()).map_err(io::Error::other)?;
    bytes.extend_from_slice(&count.to_le_bytes());
    for reference in &references {
        bytes.extend_from_slice(reference.as_bytes());
    }
    let mut bytes = postcard::to_extend(value, bytes).map_err(io::Error::other)?;
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    Ok(bytes)
}

/// What the envelope of a record says, without its payload being understood.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) version: u16,
    pub(crate) key: Digest,
    #[expect(dead_code, reason = "for whoever follows references without knowing the kind")]
    pub(crate) references: Vec<Digest>,
    pub(crate) payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// `None` if the bytes are not exactly one undamaged record.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        let (head, rest) = body.split_at_checked(HEAD)?;
        if &head[..4] != MAGIC || head[4] != ENVELOPE || Digest::of(body).as_bytes() != checksum {
            return None;
        }
        let version = u16::from_le_bytes(head[5..7].try_into().ok()?);
        let key = Digest::from_bytes(head[7..39].try_into().ok()?);
        let count = u32::from_le_bytes(head[39..43].try_into().ok()?);
        let length = usize::try_from(count).ok()?.checked_mul(32)?;
        let (references, payload) = rest.split_at_checked(length)?;
        let references = references
            .chunks_exact(32)
            .map(|bytes| Digest::from_bytes(bytes.try_into().expect("chunks of 32")))
            .collect();
        Some(Self { version, key, references, payload })
    }
}

/// Reads one record file back; `None` if it is damaged or not the one that belongs there.
pub(crate) fn decode<K: Kind>(key: &Digest, bytes: &[u8]) -> Option<K> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.version != K::VERSION || envelope.key != *key {
        return None;
    }
    match postcard::take_from_bytes(envelope.payload) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
