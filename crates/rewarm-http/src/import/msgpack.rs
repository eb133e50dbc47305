//! The part of msgpack that Python's tools write, read from a file without loading what is large.
//!
//! Reading is total: whatever the bytes are, it ends with a value or with nothing, in memory bounded
//! by what small values there are. Long byte strings, such as the body that old pips keep inside,
//! become a place in the file.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// Deeper nesting is not read.
const MAX_DEPTH: usize = 16;

/// Longer strings are not read.
const MAX_INLINE: u64 = 64 * 1024;

/// More values than this in one file are not read.
const MAX_VALUES: usize = 1 << 20;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number whose value nobody here needs, or a value of an extension type.
    Other,
    /// Text or bytes, and where they stand in the file; long ones are not read.
    Bytes(Range<u64>, Option<Vec<u8>>),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values in order.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The value under a text key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs
            .iter()
            .find(|(found, _)| found.bytes() == Some(key.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The bytes, if they are short.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        let Self::Bytes(_, bytes) = self else { return None };
        bytes.as_deref()
    }

    /// The text, if it is short and UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// Reads the one value that the input holds from where it stands to its end. `None` if it holds
/// anything else; fails only if it cannot be read.
pub(crate) fn read(input: &mut (impl Read + Seek)) -> io::Result<Option<Value>> {
    let (value, rest) = start(input)?;
    Ok(value.filter(|_| rest == 0))
}

/// Reads the value that the input begins with; whatever follows is left.
pub(crate) fn read_first(input: &mut (impl Read + Seek)) -> io::Result<Option<Value>> {
    Ok(start(input)?.0)
}

/// The first value, and how many bytes follow it.
fn start(input: &mut (impl Read + Seek)) -> io::Result<(Option<Value>, u64)> {
    let position = input.stream_position()?;
    let end = input.seek(SeekFrom::End(0))?;
    input.seek(SeekFrom::Start(position))?;
    let mut reader = Reader { input: io::BufReader::new(input), position, end, values: 0 };
    match reader.value(0) {
        Ok(value) => Ok((value, end - reader.position)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok((None, 0)),
        Err(error) => Err(error),
    }
}

struct Reader<R> {
    input: io::BufReader<R>,
    position: u64,
    end: u64,
    values: usize,
}

impl<R: Read + Seek> Reader<R> {
    fn value(&mut self, depth: usize) -> io::Result<Option<Value>> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Ok(None);
        }
        let [tag] = self.take()?;
        Ok(match tag {
            0x00..=0x7f => Some(Value::Int(tag.into())),
            0x80..=0x8f => self.map(u64::from(tag & 0x0f), depth)?,
            0x90..=0x9f => self.array(u64::from(tag & 0x0f), depth)?,
            0xa0..=0xbf => self.bytes(u64::from(tag & 0x1f))?,
            0xc0 => Some(Value::Nil),
            0xc1 => None,
            0xc2 => Some(Value::Bool(false)),
            0xc3 => Some(Value::Bool(true)),
            0xc4 | 0xd9 => self.sized(1, 0, Self::bytes)?,
            0xc5 | 0xda => self.sized(2, 0, Self::bytes)?,
            0xc6 | 0xdb => self.sized(4, 0, Self::bytes)?,
            0xc7 => self.sized(1, 1, Self::skip)?,
            0xc8 => self.sized(2, 1, Self::skip)?,
            0xc9 => self.sized(4, 1, Self::skip)?,
            0xca => self.skip(4)?,
            0xcb => self.skip(8)?,
            0xcc => Some(Value::Int(self.number(1)?.into())),
            0xcd => Some(Value::Int(self.number(2)?.into())),
            0xce => Some(Value::Int(self.number(4)?.into())),
            0xcf => Some(Value::Int(self.number(8)?.into())),
            0xd0 => Some(Value::Int(i8::from_be_bytes(self.take()?).into())),
            0xd1 => Some(Value::Int(i16::from_be_bytes(self.take()?).into())),
            0xd2 => Some(Value::Int(i32::from_be_bytes(self.take()?).into())),
            0xd3 => Some(Value::Int(i64::from_be_bytes(self.take()?).into())),
            0xd4..=0xd8 => self.skip(1 + (1 << (tag - 0xd4)))?,
            0xdc => self.sized(2, 0, |reader, count| reader.array(count, depth))?,
            0xdd => self.sized(4, 0, |reader, count| reader.array(count, depth))?,
            0xde => self.sized(2, 0, |reader, count| reader.map(count, depth))?,
            0xdf => self.sized(4, 0, |reader, count| reader.map(count, depth))?,
            0xe0..=0xff => Some(Value::Int(i8::from_be_bytes([tag]).into())),
        })
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// An unsigned big-endian number.
    fn number(&mut self, width: usize) -> io::Result<u64> {
        let mut number = 0;
        for _ in 0..width {
            let [byte] = self.take()?;
            number = number << 8 | u64::from(byte);
        }
        Ok(number)
    }

    /// Reads a length and then what is that long, `extra` bytes more.
    fn sized(
        &mut self,
        width: usize,
        extra: u64,
        read: impl FnOnce(&mut Self, u64) -> io::Result<Option<Value>>,
    ) -> io::Result<Option<Value>> {
        let length = self.number(width)?;
        read(self, length + extra)
    }

    /// Whether so many bytes are left; a count of values needs at least as many.
    fn has(&self, count: u64) -> bool {
        count <= self.end.saturating_sub(self.position)
    }

    fn skip(&mut self, length: u64) -> io::Result<Option<Value>> {
        if !self.has(length) {
            return Ok(None);
        }
        self.input.seek_relative(i64::try_from(length).map_err(io::Error::other)?)?;
        self.position += length;
        Ok(Some(Value::Other))
    }

    fn bytes(&mut self, length: u64) -> io::Result<Option<Value>> {
        if !self.has(length) {
            return Ok(None);
        }
        let place = self.position..self.position + length;
        if length > MAX_INLINE {
            self.skip(length)?;
            return Ok(Some(Value::Bytes(place, None)));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.input.read_exact(&mut bytes)?;
        self.position += length;
        Ok(Some(Value::Bytes(place, Some(bytes))))
    }

    fn array(&mut self, count: u64, depth: usize) -> io::Result<Option<Value>> {
        if !self.has(count) {
            return Ok(None);
        }
        let mut items = Vec::new();
        for _ in 0..count {
            let Some(item) = self.value(depth + 1)? else { return Ok(None) };
            items.push(item);
        }
        Ok(Some(Value::Array(items)))
    }

    fn map(&mut self, count: u64, depth: usize) -> io::Result<Option<Value>> {
        if !self.has(count.saturating_mul(2)) {
            return Ok(None);
        }
        let mut pairs = Vec::new();
        for _ in 0..count {
            let (Some(key), Some(value)) = (self.value(depth + 1)?, self.value(depth + 1)?) else {
                return Ok(None);
            };
            pairs.push((key, value));
        }
        Ok(Some(Value::Map(pairs)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8]) -> Option<Value> {
        read(&mut Cursor::new(bytes)).expect("memory can be read")
    }

    #[test]
    fn values_of_every_kind_are_read() {
        assert_eq!(of(b"\xc0"), Some(Value::Nil));
        assert_eq!(of(b"\x07"), Some(Value::Int(7)));
        assert_eq!(of(b"\xff"), Some(Value::Int(-1)));
        assert_eq!(of(b"\xcd\x01\x00"), Some(Value::Int(256)));
        assert_eq!(of(b"\xd1\xff\x00"), Some(Value::Int(-256)));
        assert_eq!(of(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), Some(Value::Int(u64::MAX.into())));
        assert_eq!(of(b"\xa2ab").as_ref().and_then(Value::text), Some("ab"));
        assert_eq!(of(b"\xc4\x01\xff"), Some(Value::Bytes(2..3, Some(vec![255]))));
        assert_eq!(of(b"\xca\0\0\0\0"), Some(Value::Other));
        assert_eq!(of(b"\xd6\x01\0\0\0\0"), Some(Value::Other), "an extension");
        let map = of(b"\x82\xa1a\x93\xc2\xc3\x01\xa1b\xc0").expect("a map");
        let list = vec![Value::Bool(false), Value::Bool(true), Value::Int(1)];
        assert_eq!(map.get("a"), Some(&Value::Array(list)));
        assert_eq!((map.get("b"), map.get("c")), (Some(&Value::Nil), None));
    }

    #[test]
    fn long_bytes_become_a_place() {
        let mut bytes = b"\x81\xa1a\xc6\0\x02\0\0".to_vec();
        bytes.extend(vec![7; 0x2_0000]);
        assert_eq!(of(&bytes).expect("a map").get("a"), Some(&Value::Bytes(8..0x2_0008, None)));
        bytes.pop();
        assert_eq!(of(&bytes), None);
    }

    #[test]
    fn what_is_cut_or_goes_on_or_claims_too_much_is_no_value() {
        for bad in [
            &b""[..],
            b"\xc1",
            b"\xa2a",
            b"\x01\x01",
            b"\x81\xa1a",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            &[0x91; 40],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = of(&bytes);
        }
    }
}
