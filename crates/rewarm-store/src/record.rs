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

/// One format of one kind of record, by name. Which of them a program knows is for it to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Format {
    /// [`Kind::NAME`].
    pub name: &'static str,
    /// [`Kind::VERSION`].
    pub version: u16,
}

impl Format {
    /// The format of `K`.
    pub fn of<K: Kind>() -> Self {
        Self { name: K::NAME, version: K::VERSION }
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
const CHECKSUM: usize = 32;

/// Lays out one record file: magic, envelope version, kind version, length of the kind's name and
/// the name, key, number of references and the references, payload, checksum of all before it.
/// Numbers are little-endian.
pub(crate) fn encode<K: Kind>(key: &Digest, value: &K) -> io::Result<Vec<u8>> {
    let references = value.references();
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(MAGIC);
    bytes.push(ENVELOPE);
    bytes.extend_from_slice(&K::VERSION.to_le_bytes());
    bytes.push(u8::try_from(K::NAME.len()).map_err(io::Error::other)?);
    bytes.extend_from_slice(K::NAME.as_bytes());
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
    pub(crate) kind: &'a str,
    pub(crate) version: u16,
    pub(crate) key: Digest,
    pub(crate) references: Vec<Digest>,
    pub(crate) payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Whether a file that starts so may be a record at all.
    pub(crate) fn may_start_with(head: &[u8]) -> bool {
        head.starts_with(MAGIC)
    }

    /// `None` if the bytes are not exactly one undamaged record.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        let mut rest = body;
        if take(&mut rest, 4)? != MAGIC || take(&mut rest, 1)? != [ENVELOPE] {
            return None;
        }
        if Digest::of(body).as_bytes() != checksum {
            return None;
        }
        let version = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let length = usize::from(take(&mut rest, 1)?[0]);
        let kind = std::str::from_utf8(take(&mut rest, length)?).ok()?;
        let key = Digest::from_bytes(take(&mut rest, 32)?.try_into().ok()?);
        let count = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let references = take(&mut rest, usize::try_from(count).ok()?.checked_mul(32)?)?
            .chunks_exact(32)
            .map(|bytes| Digest::from_bytes(bytes.try_into().expect("chunks of 32")))
            .collect();
        Some(Self { kind, version, key, references, payload: rest })
    }

    /// The value, if this is a record of that kind.
    pub(crate) fn decode<K: Kind>(&self) -> Option<K> {
        if (self.kind, self.version) != (K::NAME, K::VERSION) {
            return None;
        }
        match postcard::take_from_bytes(self.payload) {
            Ok((value, [])) => Some(value),
            _ => None,
        }
    }
}

/// The first `count` bytes, which are taken off.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

/// Reads one record file back; `None` if it is damaged or not the one that belongs there.
pub(crate) fn decode<K: Kind>(key: &Digest, bytes: &[u8]) -> Option<K> {
    Envelope::parse(bytes).filter(|envelope| envelope.key == *key)?.decode()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        parts: Vec<Vec<u8>>,
    }

    impl Kind for Note {
        const NAME: &'static str = "note";
        const VERSION: u16 = 1;

        fn references(&self) -> Vec<Digest> {
            vec![Digest::of("blob")]
        }
    }

    /// The same shape under another name.
    #[derive(Debug, Serialize, Deserialize)]
    struct Memo(Note);

    impl Kind for Memo {
        const NAME: &'static str = "memo";
        const VERSION: u16 = 1;
    }

    fn note() -> (Digest, Note, Vec<u8>) {
        let note = Note { text: "hello".into(), parts: vec![vec![1, 2], vec![]] };
        let key = Digest::of("key");
        let bytes = encode(&key, &note).expect("a small record");
        (key, note, bytes)
    }

    #[test]
    fn record_round_trips() {
        let (key, note, bytes) = note();
        assert_eq!(decode::<Note>(&key, &bytes), Some(note));
    }

    #[test]
    fn record_with_any_byte_flipped_is_a_miss() {
        let (key, _, bytes) = note();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert_eq!(decode::<Note>(&key, &bytes), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn record_cut_or_extended_is_a_miss() {
        let (key, _, bytes) = note();
        for length in 0..bytes.len() {
            assert_eq!(decode::<Note>(&key, &bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(decode::<Note>(&key, &[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn record_of_another_key_or_kind_is_a_miss() {
        let (key, _, bytes) = note();
        assert_eq!(decode::<Note>(&Digest::of("other"), &bytes), None);
        assert!(decode::<Memo>(&key, &bytes).is_none(), "same payload, another kind");
    }

    /// A record that is sound but for `middle`, which stands where name, key, references and
    /// payload should be.
    fn sealed(middle: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[ENVELOPE], middle].concat();
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(decode::<Note>(&Digest::of("key"), &bytes).is_none());
        }

        #[test]
        fn arbitrary_bytes_with_a_right_checksum_do_not_panic(
            middle in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            prop_assert!(decode::<Note>(&Digest::of("key"), &sealed(&middle)).is_none());
        }

        #[test]
        fn arbitrary_payloads_do_not_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..256),
            count in any::<u32>(),
        ) {
            let key = Digest::of("key");
            let head = [&1_u16.to_le_bytes()[..], &[4], b"note", key.as_bytes()].concat();
            let middle = [&head[..], &count.to_le_bytes(), &payload].concat();
            // May decode: what must hold is that nothing panics and nothing is left over.
            if let Some(note) = decode::<Note>(&key, &sealed(&middle)) {
                let used = postcard::to_allocvec(&note).expect("it was decoded").len();
                prop_assert!(used <= payload.len());
            }
        }
    }
}
