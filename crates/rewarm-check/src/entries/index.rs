//! What a private cache directory holds, written down beside it.
//!
//! The index is part of the directory and covered by its seal. It spares the next run from reading
//! every module: it says of each which source it was made from and which dependencies it needs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use rewarm_store::Digest;
use serde::{Deserialize, Serialize};

use crate::places::Place;

const NAME: &str = "index.rewarm";

/// A dependency and the interface it was checked with, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Need {
    pub(super) module: String,
    pub(super) interface: String,
}

/// One module in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) place: Place,
    pub(super) source: Digest,
    pub(super) module: String,
    pub(super) interface: Vec<u8>,
    pub(super) needs: Vec<Need>,
}

/// Modules by their names in the directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) modules: BTreeMap<Vec<u8>, Known>,
}

/// The index as it is stored: the same dependency is needed by many.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    needs: Vec<Need>,
    modules: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    name: Vec<u8>,
    place: Place,
    source: Digest,
    module: String,
    interface: Vec<u8>,
    needs: Vec<u32>,
}

impl Index {
    /// The index of a directory; empty if it has none.
    pub(super) fn read(directory: &Path) -> Self {
        let bytes = fs::read(directory.join(NAME)).unwrap_or_default();
        let stored: Stored = postcard::from_bytes(&bytes).unwrap_or_default();
        let need = |index: &u32| stored.needs.get(*index as usize).cloned();
        let module = |row: &Row| {
            let known = Known {
                place: row.place.clone(),
                source: row.source,
                module: row.module.clone(),
                interface: row.interface.clone(),
                needs: row.needs.iter().filter_map(need).collect(),
            };
            (row.name.clone(), known)
        };
        Self { modules: stored.modules.iter().map(module).collect() }
    }

    /// Writes the index of a directory.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut stored = Stored::default();
        let mut numbers: HashMap<&Need, u32> = HashMap::new();
        for (name, known) in &self.modules {
            let mut needs = Vec::with_capacity(known.needs.len());
            for need in &known.needs {
                let next = u32::try_from(numbers.len()).map_err(io::Error::other)?;
                let number = *numbers.entry(need).or_insert(next);
                if number == next {
                    stored.needs.push(need.clone());
                }
                needs.push(number);
            }
            stored.modules.push(Row {
                name: name.clone(),
                place: known.place.clone(),
                source: known.source,
                module: known.module.clone(),
                interface: known.interface.clone(),
                needs,
            });
        }
        let bytes = postcard::to_stdvec(&stored).map_err(io::Error::other)?;
        let path = directory.join(NAME);
        // The old one may be shared with the directory it was copied from.
        let _ = fs::remove_file(&path);
        fs::write(path, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("directory");
        let need = |module: &str| Need { module: module.into(), interface: "00ff".into() };
        let known = |module: &str, needs: &[&str]| Known {
            place: Place::below("project", module.as_bytes()),
            source: Digest::of(module),
            module: module.into(),
            interface: vec![1, 2],
            needs: needs.iter().map(|module| need(module)).collect(),
        };
        let mut index = Index::default();
        index.modules.insert(b"3.11/a".to_vec(), known("a", &["b", "c"]));
        index.modules.insert(b"3.11/b".to_vec(), known("b", &["c"]));
        index.write(directory.path()).expect("written");
        assert_eq!(Index::read(directory.path()), index);
        fs::write(directory.path().join(NAME), "x").expect("spoilt");
        assert_eq!(Index::read(directory.path()), Index::default());
    }
}
