//! Modules that were checked once, kept for every checkout.
//!
//! What mypy keeps of a module is stored in a neutral form (see `driver/entries.py`), for each namespace,
//! module and source, with the few variants that came of different dependencies. The namespace
//! stands for everything global. Before a run the variants that fit the sources of now,
//! and each other, are put into the private cache directory; after it the modules that were checked
//! anew are taken in. mypy itself compares sources and dependencies once more, so a variant that
//! was chosen badly costs a check, never an answer.

mod choice;
mod index;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Kind, Store, Witness};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use crate::key::Subject;
use crate::listing::Listing;
use crate::observed::Observed;
use crate::places::Place;
use crate::witness::Table;

use choice::{Candidate, Origin};
use index::{Index, Known, Need};
use shelf::Shelf;

pub(crate) use shelf::{Batch, Build};

/// What is known of one module with one source: the variants, the latest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Variants {
    variants: Vec<Variant>,
}

/// One result for a module. It holds where each dependency has the interface named here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Variant {
    module: String,
    interface: Vec<u8>,
    needs: Vec<Need>,
    /// What else it was found under, in the driver's words (see `driver/circumstances.py`).
    circumstances: Vec<u8>,
    /// Length of the three files together, as they are laid out in `restore`.
    length: u64,
    /// The three files, compressed (RFC 8878).
    packed: Vec<u8>,
}

impl Kind for Variants {
    const NAME: &'static str = "mypy-module";
    const VERSION: u16 = 2;
}

/// How hard modules are compressed: the quickest that zstd calls a level.
const LEVEL: i32 = 1;
/// Packed modules that claim to be longer are not unpacked.
const LONGEST: u64 = 1 << 30;

/// The modules of one private directory, and where more of them are.
pub(crate) struct Entries<'a> {
    pub(crate) store: &'a Store,
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) listing: &'a Listing,
    pub(crate) namespace: Digest,
    pub(crate) now: SystemTime,
}

/// A private directory as it was when the run began.
#[derive(Debug, Default)]
pub(crate) struct Supplied {
    index: Index,
    /// Modules that were handed to the driver, by name.
    wanted: BTreeMap<Vec<u8>, Known>,
}

impl Entries<'_> {
    /// Hands the driver the modules that `private` lacks, by way of `scratch`.
    pub(crate) fn supply(
        &self,
        private: &Path,
        scratch: &Path,
        table: &mut Table,
    ) -> io::Result<Supplied> {
        fs::write(scratch.join("anchors"), self.anchors())?;
        let mut names = Vec::new();
        self.listing.names().into_iter().for_each(|name| field(&mut names, name));
        fs::write(scratch.join("names"), names)?;
        let index = Index::read(private);
        let shelf = Shelf::open(self.store, self.namespace);
        let candidates = |key: &Digest| -> Vec<_> {
            let known = shelf.variants(key).unwrap_or_default();
            known.variants.iter().map(Candidate::stored).collect()
        };
        let mut modules = BTreeMap::new();
        let mut edited = Vec::new();
        for (name, place) in self.known(&index, &shelf) {
            let Some(source) = self.source(&place, table) else { continue };
            let own = index.modules.get(&name).filter(|k| k.place == place && k.source == source);
            let key = self.key(&name, &place, &source);
            let candidates = match own {
                Some(known) => vec![Candidate::local(known)],
                None => candidates(&key),
            };
            if !candidates.is_empty() {
                modules.insert(name, choice::Module { key, place, source, candidates });
            } else if let Some(path) = self.subject.places.path(&place)
                && index.modules.contains_key(&name)
            {
                field(&mut edited, &name);
                field(&mut edited, path.as_os_str().as_bytes());
            }
        }
        if !edited.is_empty() {
            fs::write(scratch.join("edited"), edited)?;
        }
        let chosen = choice::choose(&mut modules, candidates);
        let keys: Vec<_> = chosen.iter().map(|(name, _)| modules[name].key).collect();
        shelf.touch(&keys, self.now);
        let mut supplied = Supplied { index, ..Supplied::default() };
        let mut fields = Vec::new();
        for (name, candidate) in chosen {
            let module = &modules[&name];
            let Origin::Stored(variant) = &candidate.origin else { continue };
            let Some(files) = unpack(variant) else { continue };
            let Some(path) = self.subject.places.path(&module.place) else { continue };
            field(&mut fields, &name);
            field(&mut fields, path.as_os_str().as_bytes());
            field(&mut fields, &variant.circumstances);
            fields.extend_from_slice(&files);
            let known = candidate.known(&module.place, &module.source);
            supplied.wanted.insert(name, known);
        }
        if !fields.is_empty() {
            fs::write(scratch.join("restore"), fields)?;
        }
        Ok(supplied)
    }

    /// Takes in what a run checked, and writes down what `private` holds now.
    pub(crate) fn take_in(
        &self,
        private: &Path,
        scratch: &Path,
        (mut supplied, observed): (Supplied, &Observed),
        table: &mut Table,
    ) -> io::Result<()> {
        if observed.emptied {
            supplied = Supplied::default();
        }
        for (name, known) in supplied.wanted {
            supplied.index.modules.remove(&name);
            if observed.restored.contains(&name) {
                supplied.index.modules.insert(name, known);
            }
        }
        for name in &observed.written {
            supplied.index.modules.remove(name);
        }
        let export = fs::read(scratch.join("export")).unwrap_or_default();
        let all = split(&export).ok_or(io::ErrorKind::InvalidData)?;
        let mut compressor = Compressor::new(LEVEL)?;
        let mut found = Vec::new();
        for fields in all.as_chunks::<9>().0 {
            let [name, path, module, interface, needs, circumstances, ..] = *fields;
            let place = self.subject.places.name(Path::new(OsStr::from_bytes(path)));
            let Some(source) = self.source(&place, table).filter(|_| !place.is_absolute()) else {
                continue;
            };
            let needs = parse_needs(needs).ok_or(io::ErrorKind::InvalidData)?;
            let module = String::from_utf8_lossy(module).into_owned();
            let (packed, length) = pack(&mut compressor, &fields[6..])?;
            let (interface, circumstances) = (interface.to_vec(), circumstances.to_vec());
            let variant = Variant { module, interface, needs, circumstances, length, packed };
            let known = Candidate::stored(&variant).known(&place, &source);
            found.push((self.key(name, &place, &source), variant));
            supplied.index.modules.insert(name.to_vec(), known);
        }
        let mut shelf = Shelf::open(self.store, self.namespace);
        shelf.add(found)?;
        shelf.remember(&supplied.index, self.now)?;
        supplied.index.write(private)
    }

    /// Every module that may be of use: those of `index`, then those of earlier builds.
    fn known(&self, index: &Index, shelf: &Shelf<'_>) -> Vec<(Vec<u8>, Place)> {
        let own = index.modules.iter().map(|(name, known)| (name.clone(), known.place.clone()));
        let mut seen = BTreeSet::new();
        let all = own.chain(shelf.modules().iter().cloned());
        all.filter(|(name, place)| {
            // Of a stub and a module of the same name the stub is what mypy finds.
            let shadow = place.with_suffix(b".py", b".pyi");
            let exists =
                |place: &Place| self.subject.places.path(place).is_some_and(|p| p.exists());
            exists(place) && !shadow.is_some_and(|stub| exists(&stub)) && seen.insert(name.clone())
        })
        .collect()
    }

    /// The digest of a module's source; that of a namespace package is its name.
    fn source(&self, place: &Place, table: &mut Table) -> Option<Digest> {
        let path = self.subject.places.path(place)?;
        let found = fs::metadata(&path).ok()?;
        if found.is_dir() {
            return Some(Digest::of("directory"));
        }
        table.file(place.clone(), Witness::of_metadata(&found), &path).ok()
    }

    fn key(&self, name: &[u8], place: &Place, source: &Digest) -> Digest {
        let mut hasher = Hasher::new("mypy module 2");
        hasher.field(self.namespace.as_bytes()).field(name);
        hasher.field(place.as_bytes()).field(source.as_bytes());
        hasher.finish()
    }

    fn anchors(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        for (name, directory) in self.subject.places.anchors() {
            field(&mut fields, name.as_bytes());
            field(&mut fields, directory.as_os_str().as_bytes());
        }
        fields
    }
}

/// Appends a field after its length.
fn field(fields: &mut Vec<u8>, bytes: &[u8]) {
    fields.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    fields.extend_from_slice(bytes);
}

/// The fields of a file; `None` if it is cut.
fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (field, rest) =
            rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        fields.push(field);
        bytes = rest;
    }
    Some(fields)
}

fn parse_needs(bytes: &[u8]) -> Option<Vec<Need>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let parts: Vec<_> = text.split_terminator('\0').collect();
    let need = |[module, interface]: &[&str; 2]| Need {
        module: (*module).to_owned(),
        interface: (*interface).to_owned(),
    };
    let (pairs, rest) = parts.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(need).collect())
}

fn pack(compressor: &mut Compressor<'_>, files: &[&[u8]]) -> io::Result<(Vec<u8>, u64)> {
    let mut fields = Vec::new();
    for file in files {
        field(&mut fields, file);
    }
    Ok((compressor.compress(&fields)?, fields.len() as u64))
}

fn unpack(variant: &Variant) -> Option<Vec<u8>> {
    let length = usize::try_from(variant.length.min(LONGEST)).ok()?;
    let files = zstd::bulk::decompress(&variant.packed, length).ok()?;
    (files.len() == length && split(&files)?.len() == 3).then_some(files)
}
