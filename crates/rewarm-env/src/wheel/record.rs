//! `RECORD`: the list of a distribution's files with their digests.
//!
//! The binary distribution format asks an installer to fail when a file of the archive is not
//! listed or not correctly hashed. A row for a file that the archive lacks is refused as well:
//! uninstalling must never touch a file that this wheel did not bring.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;

use super::{UnpackError, Unpacked, Unpacking, name};
use crate::lock::{AnyHasher, HashAlgorithm};

/// One row of a `RECORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Relative to the directory that holds the `.dist-info` directory.
    pub(crate) path: String,
    /// `ALGORITHM=BASE64`, if given.
    pub(crate) hash: Option<String>,
    /// Bytes, if given.
    pub(crate) size: Option<u64>,
}

/// Reads the rows of a `RECORD`.
pub(crate) fn rows(bytes: impl Read) -> Result<Vec<Row>, String> {
    uv_install_wheel::read_record_into_iter(bytes)
        .map(|entry| match entry {
            Ok(entry) => Ok(Row { path: entry.path, hash: entry.hash, size: entry.size }),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                Err(cause.unwrap_or_else(|| error.to_string()))
            }
        })
        .collect()
}

/// Checks the unpacked files against the `RECORD` among them.
pub(super) fn verify(wheel: &Unpacking<'_>, files: &[Unpacked]) -> Result<(), UnpackError> {
    let info = dist_info(wheel, files)?;
    let record_name = format!("{info}/RECORD");
    if !files.iter().any(|file| file.name == record_name) {
        return Err(wheel.record_error(format!("`{record_name}` is missing")));
    }
    let path = wheel.dir.join(&record_name);
    let file = File::open(&path).map_err(|source| wheel.io_error(&path, source))?;
    let rows = rows(file)
        .map_err(|reason| wheel.record_error(format!("`{record_name}` is malformed: {reason}")))?;
    let mut listed = BTreeMap::new();
    for row in &rows {
        let path = row.path.strip_prefix("./").unwrap_or(&row.path);
        name::is_relative(path).map_err(|reason| {
            wheel.entry_error(&row.path, format!("of `{record_name}` {reason}"))
        })?;
        listed.insert(path, row);
    }
    let exempt = ["RECORD", "RECORD.jws", "RECORD.p7s"].map(|name| format!("{info}/{name}"));
    for file in files.iter().filter(|file| !exempt.contains(&file.name)) {
        let row = listed.get(file.name.as_str()).ok_or_else(|| {
            wheel.entry_error(&file.name, format!("is not listed in `{record_name}`"))
        })?;
        verify_file(wheel, file, row)?;
    }
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    if listed.keys().all(|path| names.contains(path)) {
        return Ok(());
    }
    Err(wheel.record_error(format!(
        "`{record_name}` lists `{}`, which the wheel does not contain",
        listed.keys().find(|path| !names.contains(*path)).unwrap_or(&"")
    )))
}

fn verify_file(wheel: &Unpacking<'_>, file: &Unpacked, row: &Row) -> Result<(), UnpackError> {
    let error = |reason: &str| wheel.entry_error(&file.name, reason);
    let Some(hash) = &row.hash else { return Err(error("has no digest in `RECORD`")) };
    let (algorithm, text) = hash.split_once('=').ok_or_else(|| error("has a malformed digest"))?;
    let algorithm = HashAlgorithm::from_name(algorithm)
        .ok_or_else(|| error("has a digest weaker than sha256 in `RECORD`"))?;
    let expected = base64url(text).ok_or_else(|| error("has a malformed digest"))?;
    let actual = match algorithm {
        HashAlgorithm::Sha256 => file.digest.as_bytes().to_vec(),
        _ => rehash(wheel, file, algorithm)?,
    };
    if actual != expected {
        return Err(error("does not have the digest that `RECORD` gives"));
    }
    if row.size.is_some_and(|size| size != file.size) {
        return Err(error("does not have the size that `RECORD` gives"));
    }
    Ok(())
}

fn rehash(
    wheel: &Unpacking<'_>,
    file: &Unpacked,
    algorithm: HashAlgorithm,
) -> Result<Vec<u8>, UnpackError> {
    let path = wheel.dir.join(&file.name);
    let bytes = fs::read(&path).map_err(|source| wheel.io_error(&path, source))?;
    let mut hasher = AnyHasher::new(algorithm);
    hasher.update(&bytes);
    Ok(hasher.finish())
}

/// The one `.dist-info` directory at the top.
fn dist_info<'a>(wheel: &Unpacking<'_>, files: &'a [Unpacked]) -> Result<&'a str, UnpackError> {
    let found: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.name.split_once('/'))
        .map(|(top, _)| top)
        .filter(|top| top.ends_with(".dist-info"))
        .collect();
    match found.len() {
        1 => Ok(found.first().expect("one element")),
        0 => Err(wheel.record_error("there is no `.dist-info` directory")),
        _ => Err(wheel.record_error("there is more than one `.dist-info` directory")),
    }
}

/// Decodes base64 in the URL-safe alphabet, with or without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    Some(bytes)
}
