//! Where modules of one namespace lie in the store.
//!
//! A first check leaves hundreds of modules, and to make a file for each costs more than to write what
//! is in it. So they lie in batches; what later runs add to a module has a record of its own, which
//! counts before its batch. The record of the builds says which modules and batches there are: a batch
//! that it does not name is lost, as is one that is damaged or swept. What is lost is checked again.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Kind, Store};
use serde::{Deserialize, Serialize};

use super::index::Index;
use super::{Variant, Variants};
use crate::places::Place;

/// Modules and what is known of each, by their keys, which ascend.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Batch {
    modules: Vec<(Digest, Variants)>,
}

impl Kind for Batch {
    const NAME: &'static str = "mypy-batch";
    const VERSION: u16 = 1;
}

/// What runs in one namespace came across.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Build {
    /// Name in the cache directory, and source.
    modules: Vec<(Vec<u8>, Place)>,
    /// The batches, the latest first, with the keys of their modules.
    batches: Vec<(Digest, Vec<Digest>)>,
}

impl Kind for Build {
    const NAME: &'static str = "mypy-build";
    const VERSION: u16 = 2;
}

/// How many variants one source of a module may have.
const VARIANTS: usize = 4;
/// So many modules that nothing is known of make a batch.
const FEW: usize = 8;
/// A batch has at most so many modules: one of them may be all that is wanted.
const MANY: usize = 64;
/// A build is remembered with as many modules of earlier builds as it has itself, and this many.
const SLACK: usize = 1000;

/// The modules of one namespace.
pub(super) struct Shelf<'a> {
    store: &'a Store,
    namespace: Digest,
    /// `None` if nothing can be found in the store.
    build: Option<Build>,
    /// The batch of each module, by its key.
    batches: HashMap<Digest, Digest>,
    /// What was read of them.
    read: RefCell<HashMap<Digest, HashMap<Digest, Variants>>>,
    /// Batches that the store has and no build names yet.
    added: Vec<(Digest, Vec<Digest>)>,
}

impl<'a> Shelf<'a> {
    pub(super) fn open(store: &'a Store, namespace: Digest) -> Self {
        let build: Option<Build> = store.read(&namespace);
        let mut batches = HashMap::new();
        // Of two batches with the same module the latest counts.
        for (batch, modules) in build.iter().flat_map(|build| &build.batches).rev() {
            batches.extend(modules.iter().map(|module| (*module, *batch)));
        }
        Self { store, namespace, build, batches, read: RefCell::default(), added: Vec::new() }
    }

    /// The modules of earlier builds: name in the cache directory, and source.
    pub(super) fn modules(&self) -> &[(Vec<u8>, Place)] {
        self.build.as_ref().map_or(&[], |build| &build.modules)
    }

    /// What is known of a module with one source.
    pub(super) fn variants(&self, key: &Digest) -> Option<Variants> {
        self.build.as_ref()?;
        self.store.read(key).or_else(|| {
            let batch = self.batches.get(key)?;
            let mut read = self.read.borrow_mut();
            let modules = read.entry(*batch).or_insert_with(|| {
                let batch: Batch = self.store.read(batch).unwrap_or_default();
                batch.modules.into_iter().collect()
            });
            modules.get(key).cloned()
        })
    }

    /// Notes that modules were of use.
    pub(super) fn touch(&self, keys: &[Digest], now: SystemTime) {
        let batches: BTreeSet<_> = keys.iter().filter_map(|key| self.batches.get(key)).collect();
        batches.into_iter().for_each(|batch| self.store.touch::<Batch>(batch, now));
        let alone = keys.iter().filter(|key| !self.batches.contains_key(key));
        alone.for_each(|key| self.store.touch::<Variants>(key, now));
    }

    /// Puts each variant in front of the others of its source.
    pub(super) fn add(&mut self, found: Vec<(Digest, Variant)>) -> io::Result<()> {
        let mut fresh = Vec::new();
        for (key, variant) in found {
            match self.variants(&key) {
                Some(known) => self.merge(&key, known, variant)?,
                None => fresh.push((key, Variants { variants: vec![variant] })),
            }
        }
        if fresh.len() < FEW {
            return fresh.iter().try_for_each(|(key, variants)| self.write(key, variants));
        }
        fresh.sort_unstable_by_key(|(key, _)| *key);
        let mut rest = fresh.into_iter().peekable();
        while rest.peek().is_some() {
            self.add_batch(rest.by_ref().take(MANY).collect())?;
        }
        Ok(())
    }

    fn merge(&self, key: &Digest, mut known: Variants, variant: Variant) -> io::Result<()> {
        if known.variants.first() == Some(&variant) {
            return Ok(());
        }
        let same = |other: &Variant| {
            (&other.interface, &other.needs, &other.circumstances)
                == (&variant.interface, &variant.needs, &variant.circumstances)
        };
        known.variants.retain(|other| !same(other));
        known.variants.insert(0, variant);
        known.variants.truncate(VARIANTS);
        // Without a lock a variant of another process may be lost, not damaged.
        self.write(key, &known)
    }

    fn add_batch(&mut self, modules: Vec<(Digest, Variants)>) -> io::Result<()> {
        let keys: Vec<_> = modules.iter().map(|(key, _)| *key).collect();
        let mut hasher = Hasher::new("mypy batch 1");
        for key in &keys {
            hasher.field(key.as_bytes());
        }
        let batch = hasher.finish();
        self.write(&batch, &Batch { modules })?;
        self.added.push((batch, keys));
        Ok(())
    }

    /// Writes down the modules of a build. What it does not have is known from earlier ones.
    pub(super) fn remember(self, index: &Index, now: SystemTime) -> io::Result<()> {
        let own = index.modules.iter().map(|(name, known)| (name.clone(), known.place.clone()));
        let own: BTreeSet<_> = own.collect();
        let limit = 2 * own.len() + SLACK;
        let known: BTreeSet<_> = self.modules().iter().collect();
        let is_same = known.len() <= limit && own.iter().all(|module| known.contains(module));
        if is_same && self.added.is_empty() {
            self.store.touch::<Build>(&self.namespace, now);
            return Ok(());
        }
        let _lock = self.store.lock(Build::NAME, &self.namespace)?;
        // Others may have added theirs meanwhile.
        let old: Build = self.store.read(&self.namespace).unwrap_or_default();
        let others = old.modules.into_iter().filter(|module| !own.contains(module));
        let others: Vec<_> = others.take(limit - own.len()).collect();
        let modules = own.iter().cloned().chain(others).collect();
        let is_other = |(batch, _): &(Digest, _)| self.added.iter().all(|(own, _)| own != batch);
        let others = old.batches.into_iter().filter(is_other);
        let mut left = 2 * limit;
        let fits = |(_, keys): &(Digest, Vec<Digest>)| {
            let fits = keys.len() <= left;
            left = left.saturating_sub(keys.len());
            fits
        };
        let batches = self.added.iter().cloned().chain(others).take_while(fits).collect();
        self.write(&self.namespace, &Build { modules, batches })
    }

    fn write<K: Kind>(&self, key: &Digest, value: &K) -> io::Result<()> {
        self.store.write(key, value).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Known;
    use super::*;

    fn found(names: &[String]) -> (Vec<(Digest, Variant)>, Index) {
        let variant = |name: &String| Variant {
            module: name.clone(),
            interface: vec![1],
            needs: Vec::new(),
            circumstances: Vec::new(),
            length: 0,
            packed: name.as_bytes().to_vec(),
        };
        let known = |name: &String| Known {
            place: Place::below("project", name.as_bytes()),
            source: Digest::of(name),
            module: name.clone(),
            interface: vec![1],
            needs: Vec::new(),
        };
        let mut index = Index::default();
        for name in names {
            index.modules.insert(name.as_bytes().to_vec(), known(name));
        }
        (names.iter().map(|name| (Digest::of(name), variant(name))).collect(), index)
    }

    fn names(letter: char, count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{letter}{number}")).collect()
    }

    #[test]
    fn runs_at_once_lose_nothing_of_each_other() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        let (namespace, now) = (Digest::of("namespace"), SystemTime::UNIX_EPOCH);
        let mut shelves = ['a', 'b', 'c'].map(|_| Shelf::open(&store, namespace));
        let all = [names('a', 150), names('b', 9), names('c', 3)];
        for (shelf, names) in shelves.iter_mut().zip(&all) {
            shelf.add(found(names).0).expect("written");
        }
        for (shelf, names) in shelves.into_iter().zip(&all) {
            shelf.remember(&found(names).1, now).expect("written");
        }
        let shelf = Shelf::open(&store, namespace);
        assert_eq!(shelf.modules().len(), 162);
        assert_eq!(shelf.build.as_ref().map(|build| build.batches.len()), Some(4));
        for name in all.iter().flatten() {
            let known = shelf.variants(&Digest::of(name)).expect("known");
            assert_eq!(known.variants[0].module, *name);
        }
    }

    #[test]
    fn later_variant_of_a_module_comes_first_and_few_are_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        let (namespace, now) = (Digest::of("namespace"), SystemTime::UNIX_EPOCH);
        let names = names('a', 20);
        for number in 0..10 {
            let (mut found, index) = found(&names);
            for (_, variant) in &mut found {
                variant.interface = vec![number];
            }
            let mut shelf = Shelf::open(&store, namespace);
            shelf.add(found).expect("written");
            shelf.remember(&index, now).expect("written");
            let known = Shelf::open(&store, namespace).variants(&Digest::of("a7")).expect("known");
            assert_eq!(known.variants[0].interface, [number]);
            assert_eq!(known.variants.len(), VARIANTS.min(usize::from(number) + 1));
        }
    }

    #[test]
    fn builds_are_remembered_within_bounds() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        let (namespace, now) = (Digest::of("namespace"), SystemTime::UNIX_EPOCH);
        for number in 0..40 {
            let names: Vec<_> = (0..100).map(|name| format!("{number}.{name}")).collect();
            let (found, index) = found(&names);
            let mut shelf = Shelf::open(&store, namespace);
            shelf.add(found).expect("written");
            shelf.remember(&index, now).expect("written");
        }
        let shelf = Shelf::open(&store, namespace);
        let batches = shelf.build.as_ref().map_or(0, |build| build.batches.len());
        assert_eq!(shelf.modules().len(), 2 * 100 + SLACK);
        assert!((40..=48).contains(&batches), "{batches} batches");
        assert!(shelf.variants(&Digest::of("39.0")).is_some(), "the last one is there");
        assert!(shelf.variants(&Digest::of("0.0")).is_none(), "the first one is not");
    }
}
