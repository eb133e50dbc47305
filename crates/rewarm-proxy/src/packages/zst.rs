//! Replaces links in compressed repodata (`repodata.json.zst`).
//!
//! Nearly all channels keep their packages beside their repodata and say nothing of a base. So the
//! beginning is looked at first, and where no link was replaced the bytes are passed as they came;
//! only otherwise the rest is unpacked and packed again. What is unpacked is never held.

use std::io;

use zstd::stream::raw::{Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::json::{Found, JsonRewriter, Place};

/// The base stands at the very beginning; nobody looks for it behind so many bytes.
const BEGINNING: usize = 64 * 1024;

/// Bytes unpacked or packed at once.
const PIECE: usize = 64 * 1024;

/// The fastest level: the way is short.
const LEVEL: i32 = 1;

/// The rewriter; feed it chunk by chunk.
pub(super) struct ZstRewriter {
    decoder: Decoder<'static>,
    json: JsonRewriter,
    state: State,
    /// Whether what came ends where it may end.
    is_whole: bool,
}

enum State {
    /// Nothing was replaced so far: what came, and how much it was unpacked.
    Looking { came: Vec<u8>, length: usize, plain: Vec<u8> },
    /// Nothing is to be replaced.
    Same,
    /// Everything is packed anew.
    Changed(Box<Encoder<'static>>),
}

impl ZstRewriter {
    /// A rewriter of the strings at these places.
    pub(super) fn new(places: &'static [Place]) -> io::Result<Self> {
        let state = State::Looking { came: Vec::new(), length: 0, plain: Vec::new() };
        let (decoder, json) = (Decoder::new()?, JsonRewriter::new(places));
        Ok(Self { decoder, json, state, is_whole: true })
    }

    /// Takes the next bytes and appends what becomes of them.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        replace: &mut dyn FnMut(&str) -> Option<String>,
    ) -> io::Result<()> {
        match &mut self.state {
            State::Same => {
                output.extend_from_slice(input);
                return Ok(());
            }
            State::Looking { came, .. } => came.extend_from_slice(input),
            State::Changed(_) => {}
        }
        let mut source = InBuffer::around(input);
        let mut piece = vec![0; PIECE];
        loop {
            let mut target = OutBuffer::around(&mut piece[..]);
            let unpacked = self.decoder.run(&mut source, &mut target);
            let (count, has_room) = (target.pos(), target.pos() < PIECE);
            match unpacked {
                Ok(hint) => {
                    self.is_whole = hint == 0;
                    self.plain(&piece[..count], output, replace)?;
                }
                Err(error) => return self.broken(error, output),
            }
            match self.state {
                State::Same => return Ok(()),
                _ if has_room && source.pos() == input.len() => return Ok(()),
                _ => {}
            }
        }
    }

    /// Appends what is left at the end.
    pub(super) fn finish(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Same) {
            State::Same => Ok(()),
            State::Looking { came, .. } => {
                output.extend_from_slice(&came);
                Ok(())
            }
            State::Changed(_) if !self.is_whole => Err(io::ErrorKind::UnexpectedEof.into()),
            State::Changed(mut encoder) => {
                let mut rest = Vec::new();
                self.json.finish(&mut rest);
                pack(&mut encoder, &rest, output)?;
                let mut piece = vec![0; PIECE];
                loop {
                    let mut target = OutBuffer::around(&mut piece[..]);
                    let left = encoder.finish(&mut target, true)?;
                    output.extend_from_slice(target.as_slice());
                    if left == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes bytes that were unpacked.
    fn plain(
        &mut self,
        bytes: &[u8],
        output: &mut Vec<u8>,
        replace: &mut dyn FnMut(&str) -> Option<String>,
    ) -> io::Result<()> {
        let mut changed = false;
        let mut noting = |found: Found<'_>| {
            let link = replace(found.text);
            changed |= link.as_deref().is_some_and(|link| link != found.text);
            link
        };
        match &mut self.state {
            State::Same => {}
            State::Changed(encoder) => {
                let mut rewritten = Vec::with_capacity(bytes.len());
                self.json.feed(bytes, &mut rewritten, &mut noting);
                pack(encoder, &rewritten, output)?;
            }
            State::Looking { came, length, plain } => {
                self.json.feed(bytes, plain, &mut noting);
                *length += bytes.len();
                if changed {
                    let mut encoder = Box::new(Encoder::new(LEVEL)?);
                    pack(&mut encoder, plain, output)?;
                    self.state = State::Changed(encoder);
                } else if *length > BEGINNING {
                    output.append(came);
                    self.state = State::Same;
                }
            }
        }
        Ok(())
    }

    /// What cannot be unpacked is passed as it came, unless something else was sent already.
    fn broken(&mut self, error: io::Error, output: &mut Vec<u8>) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Same) {
            State::Changed(_) => Err(error),
            State::Looking { came, .. } => {
                output.extend_from_slice(&came);
                Ok(())
            }
            State::Same => Ok(()),
        }
    }
}

fn pack(encoder: &mut Encoder<'static>, bytes: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let mut source = InBuffer::around(bytes);
    let mut piece = vec![0; PIECE];
    while source.pos() < bytes.len() {
        let mut target = OutBuffer::around(&mut piece[..]);
        encoder.run(&mut source, &mut target)?;
        output.extend_from_slice(target.as_slice());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::rewrite::REPODATA_LINKS;

    fn rewritten(packed: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut zst = ZstRewriter::new(REPODATA_LINKS)?;
        let mut output = Vec::new();
        for chunk in packed.chunks(piece) {
            zst.feed(chunk, &mut output, &mut |text| Some(text.replace("https://a", "https://b")))?;
        }
        zst.finish(&mut output)?;
        Ok(output)
    }

    fn pack_whole(plain: &str) -> Vec<u8> {
        zstd::encode_all(plain.as_bytes(), 3).unwrap()
    }

    /// Repodata whose packages are hard to pack.
    fn repodata(info: &str) -> String {
        let package =
            |n: u64| format!(r#""x-{n}":{{"md5":"{:x}"}}"#, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let packages: Vec<String> = (0..20_000).map(package).collect();
        format!(r#"{{"info":{{{info}}},"packages":{{{}}}}}"#, packages.join(","))
    }

    #[test]
    fn without_a_base_the_bytes_are_those_that_came() {
        for plain in
            [repodata(r#""subdir":"noarch""#), repodata(r#""base_url":"./""#), String::new()]
        {
            let packed = pack_whole(&plain);
            for piece in [1000, usize::MAX] {
                assert!(rewritten(&packed, piece).unwrap() == packed);
            }
        }
    }

    #[test]
    fn with_a_base_the_whole_is_packed_anew() {
        let plain = repodata(r#""base_url":"https://a/x""#);
        let packed = pack_whole(&plain);
        for piece in [61, 1000, usize::MAX] {
            let output = rewritten(&packed, piece).unwrap();
            let unpacked = zstd::decode_all(&output[..]).unwrap();
            assert!(unpacked == plain.replace("https://a", "https://b").as_bytes());
        }
    }

    #[test]
    fn what_is_not_packed_at_all_is_passed() {
        assert_eq!(rewritten(b"not zstd at all", 4).unwrap(), b"not zstd at all");
        assert_eq!(rewritten(b"", 4).unwrap(), b"");
    }

    #[test]
    fn what_breaks_after_something_was_changed_is_an_error() {
        let mut packed = pack_whole(&repodata(r#""base_url":"https://a/x""#));
        let end = packed.len() - packed.len() / 4;
        assert!(rewritten(&packed[..end], 1000).is_err());
        packed[end..].fill(0xff);
        assert!(rewritten(&packed, 1000).is_err());
    }

    #[test]
    fn small_input_that_unpacks_to_much_is_never_held() {
        let bomb =
            format!(r#"{{"info":{{"base_url":"https://a"}},"x":"{}"}}"#, "y".repeat(20 << 20));
        let output = rewritten(&pack_whole(&bomb), usize::MAX).unwrap();
        assert!(output.len() < 1 << 20);
    }
}
