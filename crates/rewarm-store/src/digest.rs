//! Sha256 digests: the name of a blob, and the key of a record.
//!
//! A [`Digest`] can only be made by hashing or by parsing 64 lower-case hex digits, so holding one
//! means that it names something that could exist.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A sha256 digest (FIPS 180-4), the address that PyPI, conda and REAPI use as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes` in one go.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes all that `reader` gives, a part at a time.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::raw();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest read back from 32 raw bytes, as stored inside a record.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// Text that is no sha256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sha256 digest: 64 hex digits are expected")]
pub struct ParseDigestError(String);

impl FromStr for Digest {
    type Err = ParseDigestError;

    /// Accepts 64 hex digits of either case, with or without a leading `sha256:`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseDigestError(text.to_owned());
        let hex = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if hex.len() != 64 {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or_else(bad)?;
            let low = char::from(pair[1]).to_digit(16).ok_or_else(bad)?;
            *byte = u8::try_from(high << 4 | low).expect("two hex digits make one byte");
        }
        Ok(Self(bytes))
    }
}

/// Makes one digest out of several fields, so that no two field lists can meet in one digest.
///
/// Every field is preceded by its length; a key is `Hasher::new("what it keys, version")` followed
/// by its fields in a fixed order. Raw content is hashed with [`Hasher::raw`] instead.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a key; `domain` keeps keys of different meaning apart.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.field(domain);
        hasher
    }

    /// Starts a plain sha256 of content, to be fed with [`Hasher::update`].
    pub fn raw() -> Self {
        Self(Sha256::new())
    }

    /// Adds one length-prefixed field.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a field that may be absent; absence differs from every value.
    pub fn optional(&mut self, bytes: Option<impl AsRef<[u8]>>) -> &mut Self {
        match bytes {
            Some(bytes) => self.field([1]).field(bytes),
            None => self.field([0]),
        }
    }

    /// Adds a list: its length, then each item as a field.
    pub fn list<T: AsRef<[u8]>>(&mut self, items: impl IntoIterator<Item = T>) -> &mut Self {
        let mut count = 0_u64;
        let mut inner = Self::new("list");
        for item in items {
            inner.field(item);
            count += 1;
        }
        self.field(count.to_le_bytes()).field(inner.finish().as_bytes())
    }

    /// Adds raw bytes without a length.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let digest = Digest::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(format!("sha256:{}", text.to_uppercase()).parse(), Ok(digest));
    }

    #[test]
    fn malformed_text_is_refused() {
        for bad in ["", "sha256:", "xyz", &"g".repeat(64), &"a".repeat(63), "é"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn field_boundaries_are_part_of_the_key() {
        let key = |fields: &[&str]| {
            let mut hasher = Hasher::new("test");
            for field in fields {
                hasher.field(field);
            }
            hasher.finish()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a", ""]), key(&["a"]));
        let mut absent = Hasher::new("test");
        absent.optional(None::<&str>);
        let mut empty = Hasher::new("test");
        empty.optional(Some(""));
        assert_ne!(absent.finish(), empty.finish());
    }
}
