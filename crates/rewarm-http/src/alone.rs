//! Which responses were of no use to others lately.
//!
//! Requests for the same thing wait for the one under way, because its response may serve them all. If
//! the last one could not be stored, the next will hardly be: then nobody waits, and each asks for
//! itself at once. This is memory of one process, bounded, and only ever costs or saves time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rewarm_store::Digest;

/// After so long the next request finds out anew.
const REMEMBERED: Duration = Duration::from_secs(60);

/// With more than this in mind everything is forgotten.
const LIMIT: usize = 4096;

/// Flights whose last response could not be stored, and when that was seen.
#[derive(Debug, Default)]
pub(crate) struct Alone(Mutex<HashMap<Digest, SystemTime>>);

impl Alone {
    /// Notes whether the response of a flight can be stored.
    pub(crate) fn note(&self, flight: &Digest, is_stored: bool, now: SystemTime) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_stored {
            seen.remove(flight);
            return;
        }
        if seen.len() >= LIMIT {
            seen.clear();
        }
        seen.insert(*flight, now);
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_alone(&self, flight: &Digest, now: SystemTime) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = seen.get(flight).and_then(|&seen| now.duration_since(seen).ok());
        since.is_some_and(|since| since < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_of_no_use_is_remembered_for_a_while_and_until_it_is_of_use() {
        let (alone, flight) = (Alone::default(), Digest::of("a"));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!alone.is_alone(&flight, at(100)));
        alone.note(&flight, false, at(100));
        assert!(alone.is_alone(&flight, at(159)));
        assert!(!alone.is_alone(&flight, at(160)));
        assert!(!alone.is_alone(&flight, at(99)));
        alone.note(&flight, true, at(110));
        assert!(!alone.is_alone(&flight, at(110)));
    }

    #[test]
    fn memory_is_bounded() {
        let alone = Alone::default();
        for number in 0..3 * LIMIT {
            alone.note(&Digest::of(number.to_string()), false, SystemTime::UNIX_EPOCH);
        }
        assert!(alone.0.lock().expect("not poisoned").len() <= LIMIT);
    }
}
