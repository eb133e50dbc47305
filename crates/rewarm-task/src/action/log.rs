//! What a command wrote to its two streams, in the order in which it came.
//!
//! Laid out as pieces: one byte for the stream (1 standard output, 2 standard error), the length
//! as eight bytes, little-endian, and the bytes.

/// One of the two streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Lays pieces out; neighbours of one stream become one piece.
pub(crate) fn encode(pieces: &[(Stream, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces.chunk_by(|a, b| a.0 == b.0) {
        let length: usize = piece.iter().map(|(_, bytes)| bytes.len()).sum();
        bytes.push(if piece[0].0 == Stream::Stdout { 1 } else { 2 });
        bytes.extend_from_slice(&(length as u64).to_le_bytes());
        piece.iter().for_each(|(_, own)| bytes.extend_from_slice(own));
    }
    bytes
}

/// Reads what [`encode`] has laid out; `None` if it is nothing of that kind.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<(Stream, Vec<u8>)>> {
    let mut pieces = Vec::new();
    while let Some((&stream, rest)) = bytes.split_first() {
        let stream = match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (own, rest) = rest.split_at_checked(length)?;
        pieces.push((stream, own.to_vec()));
        bytes = rest;
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_come_back_in_order(pieces in prop::collection::vec((any::<bool>(), "[a-z]{1,4}"), 0..6)) {
            let stream = |is_stdout| if is_stdout { Stream::Stdout } else { Stream::Stderr };
            let pieces: Vec<_> =
                pieces.into_iter().map(|(kind, text)| (stream(kind), text.into_bytes())).collect();
            let back = decode(&encode(&pieces)).expect("it was just laid out");
            let flat = |pieces: &[(Stream, Vec<u8>)]| -> Vec<(bool, u8)> {
                let bytes = |(stream, bytes): &(Stream, Vec<u8>)| {
                    bytes.iter().map(|byte| (*stream == Stream::Stdout, *byte)).collect::<Vec<_>>()
                };
                pieces.iter().flat_map(bytes).collect()
            };
            prop_assert_eq!(flat(&back), flat(&pieces));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            decode(&bytes);
        }
    }
}
