//! Which variant of each module to start from.
//!
//! A variant holds where its dependencies have the interfaces it was checked with, and those depend
//! on which variants are chosen for them. The choice begins with what is at hand, drops what nothing
//! else can fit, then goes over the modules until none can be exchanged for one that fits better. It
//! need not be the best: mypy checks again what does not fit.

use std::collections::{BTreeMap, HashMap, HashSet};

use rewarm_store::Digest;

use super::Variant;
use super::index::{Known, Need};
use crate::places::Place;

/// How often the modules are gone over at most.
const ROUNDS: usize = 16;

/// One module to be chosen for.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) key: Digest,
    pub(super) place: Place,
    pub(super) source: Digest,
    /// Never empty; what comes first is preferred.
    pub(super) candidates: Vec<Candidate>,
}

/// Where a candidate comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// It is in the private directory.
    Local,
    Stored(Variant),
}

/// What could be taken for one module.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    module: String,
    interface: String,
    needs: Vec<Need>,
    pub(super) origin: Origin,
}

impl Candidate {
    pub(super) fn local(known: &Known) -> Self {
        Self {
            module: known.module.clone(),
            interface: hexadecimal(&known.interface),
            needs: known.needs.clone(),
            origin: Origin::Local,
        }
    }

    pub(super) fn stored(variant: &Variant) -> Self {
        Self {
            module: variant.module.clone(),
            interface: hexadecimal(&variant.interface),
            needs: variant.needs.clone(),
            origin: Origin::Stored(variant.clone()),
        }
    }

    /// What an index says of it.
    pub(super) fn known(&self, place: &Place, source: &Digest) -> Known {
        let bytes = self.interface.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).ok();
        Known {
            place: place.clone(),
            source: *source,
            module: self.module.clone(),
            interface: bytes.filter_map(byte).collect(),
            needs: self.needs.clone(),
        }
    }

    /// How many dependencies have another interface in the present choice.
    fn misfits(&self, chosen: &HashMap<String, String>) -> usize {
        let differs = |need: &&Need| {
            chosen.get(&need.module).is_some_and(|interface| *interface != need.interface)
        };
        self.needs.iter().filter(differs).count()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Chooses one candidate for each module. `more` reads those that are stored under a key; it is
/// asked where the one at hand does not fit.
pub(super) fn choose(
    modules: &mut BTreeMap<Vec<u8>, Module>,
    more: impl Fn(&Digest) -> Vec<Candidate>,
) -> Vec<(Vec<u8>, Candidate)> {
    drop_unsupported(modules, more);
    let first = modules.values().map(|m| &m.candidates[0]);
    let mut chosen: HashMap<_, _> =
        first.map(|c| (c.module.clone(), c.interface.clone())).collect();
    for _ in 0..ROUNDS {
        let mut moved = false;
        for module in modules.values_mut() {
            let misfits = |index: &usize| module.candidates[*index].misfits(&chosen);
            let best = (0..module.candidates.len()).min_by_key(misfits).unwrap_or_default();
            if best != 0 {
                // Of equally good ones the first is taken, so this one is better than that.
                module.candidates.swap(0, best);
                let candidate = &module.candidates[0];
                chosen.insert(candidate.module.clone(), candidate.interface.clone());
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    modules.iter().map(|(name, module)| (name.clone(), module.candidates[0].clone())).collect()
}

/// Drops candidates that need an interface which no candidate of the dependency has, until there
/// are none. A module that would be left without any keeps all: mypy will check it.
fn drop_unsupported(
    modules: &mut BTreeMap<Vec<u8>, Module>,
    more: impl Fn(&Digest) -> Vec<Candidate>,
) {
    let mut read = HashSet::new();
    for _ in 0..ROUNDS {
        let mut offers: HashMap<String, HashSet<String>> = HashMap::new();
        for candidate in modules.values().flat_map(|module| &module.candidates) {
            let offered = offers.entry(candidate.module.clone()).or_default();
            offered.insert(candidate.interface.clone());
        }
        let is_supported = |candidate: &Candidate| {
            let offered = |need: &Need| {
                offers.get(&need.module).is_none_or(|all| all.contains(&need.interface))
            };
            candidate.needs.iter().all(offered)
        };
        let mut moved = false;
        for module in modules.values_mut() {
            if module.candidates.iter().all(is_supported) {
                continue;
            }
            let is_local = matches!(module.candidates[0].origin, Origin::Local);
            if is_local && read.insert(module.key) {
                module.candidates.extend(more(&module.key));
                moved = true;
            }
            if module.candidates.iter().any(is_supported) {
                module.candidates.retain(is_supported);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(module: &str, interface: &str, needs: &[(&str, &str)], local: bool) -> Candidate {
        let need = |(module, interface): &(&str, &str)| Need {
            module: (*module).to_owned(),
            interface: (*interface).to_owned(),
        };
        let needs: Vec<_> = needs.iter().map(need).collect();
        let origin = if local {
            Origin::Local
        } else {
            let (module, interface) = (module.to_owned(), interface.as_bytes().to_vec());
            let needs = needs.clone();
            let (circumstances, packed) = <_>::default();
            Origin::Stored(Variant { module, interface, needs, circumstances, length: 0, packed })
        };
        Candidate { module: module.to_owned(), interface: interface.to_owned(), needs, origin }
    }

    fn module(name: &str, candidates: Vec<Candidate>) -> (Vec<u8>, Module) {
        let place = Place::below("project", name.as_bytes());
        let (key, source) = (Digest::of(name), Digest::of("source"));
        (name.as_bytes().to_vec(), Module { key, place, source, candidates })
    }

    #[test]
    fn variant_that_fits_the_dependency_is_preferred_to_a_later_one() {
        let mut modules = BTreeMap::from([
            module(
                "a",
                vec![
                    candidate("a", "1", &[("b", "x")], false),
                    candidate("a", "2", &[("b", "y")], false),
                ],
            ),
            module("b", vec![candidate("b", "y", &[], true)]),
        ]);
        let chosen = choose(&mut modules, |_| Vec::new());
        assert_eq!(chosen[0].1.interface, "2");
    }

    #[test]
    fn local_module_gives_way_to_a_stored_one_that_fits() {
        let mut modules = BTreeMap::from([
            module("a", vec![candidate("a", "1", &[("b", "x")], true)]),
            module("b", vec![candidate("b", "y", &[], false)]),
            module("c", vec![candidate("c", "1", &[("b", "y")], true)]),
        ]);
        let more = |key: &Digest| {
            assert_eq!(*key, Digest::of("a"), "what fits is not looked up");
            vec![candidate("a", "2", &[("b", "y")], false)]
        };
        let chosen = choose(&mut modules, more);
        assert_eq!(chosen[0].1.interface, "2");
        assert!(matches!(chosen[2].1.origin, Origin::Local));
    }

    #[test]
    fn modules_of_a_cycle_are_exchanged_together() {
        let both = |other: &str, local: &str, module: &str| {
            vec![
                candidate(module, "old", &[(other, "old"), ("base", local)], false),
                candidate(module, "new", &[(other, "new"), ("base", "new")], false),
            ]
        };
        let mut modules = BTreeMap::from([
            module("a", both("b", "old", "a")),
            module("b", both("a", "old", "b")),
            module("base", vec![candidate("base", "new", &[], true)]),
        ]);
        let chosen = choose(&mut modules, |_| Vec::new());
        let interfaces: Vec<_> = chosen.iter().map(|(_, c)| c.interface.as_str()).collect();
        assert_eq!(interfaces, ["new", "new", "new"]);
    }
}
