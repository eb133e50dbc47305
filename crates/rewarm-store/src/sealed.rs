//! Small files outside the store that say what was done there: a magic, a value, a checksum.
//!
//! The magic names the format and its version. A file that is torn, foreign or of another version
//! reads as none at all; it is written so that readers see the old content or the new.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::handout::publish_file;

/// Reads the value in the sealed file at `path`, if that is one with this magic.
pub fn read_sealed<T: DeserializeOwned>(path: &Path, magic: &[u8]) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let payload = body.strip_prefix(magic)?;
    if Digest::of(body).as_bytes() != checksum {
        return None;
    }
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// Writes a sealed file at `path`, which anybody may read who may read what is beside it.
///
/// # Errors
///
/// If the value cannot be encoded or the file not be written; the old one then stays.
pub fn publish_sealed<T: Serialize>(path: &Path, magic: &[u8], value: &T) -> io::Result<()> {
    let bytes = postcard::to_extend(value, magic.to_vec()).map_err(io::Error::other)?;
    let checksum = Digest::of(&bytes);
    let bytes = [bytes.as_slice(), checksum.as_bytes()].concat();
    publish_file(path, &bytes, 0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_whole_and_of_this_format_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = dir.path().join("state");
        let value = (7_u32, "text".to_owned());
        let read = |magic: &[u8]| read_sealed::<(u32, String)>(&path, magic);
        assert_eq!(read(b"ONE1"), None);
        publish_sealed(&path, b"ONE1", &value).expect("it can be written");
        assert_eq!(read(b"ONE1"), Some(value));
        assert_eq!(read(b"ONE2"), None);
        let whole = fs::read(&path).expect("it is there");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("it can be written");
            assert_eq!(read(b"ONE1"), None, "cut off after {length} bytes");
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(&path, damaged).expect("it can be written");
            assert_eq!(read(b"ONE1"), None, "another byte {place}");
        }
    }
}
