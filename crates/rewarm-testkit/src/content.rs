//! The bodies that the origin sends: given, or generated so that they need no memory.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// Length of the pattern that generated bodies repeat; not a round number, so that a wrong offset
/// gives wrong bytes.
const PATTERN: usize = (1 << 18) + 7;

/// The bytes of a body.
#[derive(Debug, Clone)]
pub enum Content {
    /// These.
    Bytes(Arc<[u8]>),
    /// So many bytes of a fixed pattern, made while they are sent.
    Generated(u64),
}

impl Content {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Generated(length) => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sha256 of all bytes, in hex.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let all = 0..self.len();
        let done = self.each_piece(all, |piece| {
            hasher.update(piece);
            Ok(())
        });
        done.expect("hashing cannot fail");
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// All bytes at once.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let done = self.each_piece(0..self.len(), |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        done.expect("copying cannot fail");
        bytes
    }

    pub(crate) fn each_piece(
        &self,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let index = |at: u64| usize::try_from(at).expect("bodies fit the address space");
        match self {
            Self::Bytes(bytes) => take(&bytes[index(range.start)..index(range.end)]),
            Self::Generated(_) => {
                let pattern = pattern();
                let mut at = range.start;
                while at < range.end {
                    let offset = index(at % PATTERN as u64);
                    let count = (PATTERN - offset).min(index(range.end - at));
                    take(&pattern[offset..offset + count])?;
                    at += count as u64;
                }
                Ok(())
            }
        }
    }
}

fn pattern() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..PATTERN).map(|_| next()).collect()
    })
}
