//! How each zone's URLs may be spelt in keys: now, and by what was in force before in this process.
//!
//! A purge by URL, and an unsafe request, go through all of them, so that neither misses what is stored under
//! a key that a rule chose, nor what a change of keys left behind and a change back would find again. Where a
//! spelling comes into force that this process did not know, nobody can say which of its URLs were purged
//! meanwhile: then all that was ever stored under it is purged, by a tag that everything has that is not
//! keyed as sent. Why so: docs/decisions/0024-keys-shares-copies.md. Called by `tier.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use cache::policy::Spelling;
use zone::Id;

/// Spellings of one zone that are remembered beside those in force. A purge by URL goes through each.
const REMEMBERED_MAX: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Spellings(RwLock<BTreeMap<Id, Arc<[Spelling]>>>);

impl Spellings {
    /// Takes what comes into force for a zone; gives what of it a zone that was known before did not have.
    pub(crate) fn learn(&self, zone: Id, now: Vec<Spelling>) -> Vec<Spelling> {
        let mut zones = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = zones.get(&zone) else {
            zones.insert(zone, now.into());
            return Vec::new();
        };
        let late: Vec<Spelling> = now.iter().filter(|spelling| !known.contains(spelling)).cloned().collect();
        let past = known.iter().filter(|spelling| !now.contains(spelling)).take(REMEMBERED_MAX).cloned();
        // The latest first: what is forgotten is late when it comes again.
        let all: Vec<Spelling> = now.iter().cloned().chain(past).collect();
        zones.insert(zone, all.into());
        late
    }

    /// All of a zone.
    pub(crate) fn of(&self, zone: Id) -> Arc<[Spelling]> {
        let zones = self.0.read().unwrap_or_else(PoisonError::into_inner);
        zones.get(&zone).map_or_else(|| Arc::from([Spelling::default()]), Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use cache::policy::QueryKey;

    use super::*;

    const ZONE: Id = Id([1; 16]);

    fn only(name: usize) -> Spelling {
        Spelling { query: QueryKey::Only(vec![name.to_string().into_bytes().into()]), sorts_query: false }
    }

    fn with(name: usize) -> Vec<Spelling> {
        vec![Spelling::default(), only(name)]
    }

    #[test]
    fn what_was_in_force_is_remembered_and_not_late_when_it_comes_back() {
        let spellings = Spellings::default();
        assert_eq!(spellings.learn(ZONE, with(1)), [], "nothing was stored by this process before");
        assert_eq!(spellings.learn(ZONE, with(2)), [only(2)]);
        assert_eq!(spellings.learn(ZONE, with(1)), []);
        assert_eq!(*spellings.of(ZONE), [Spelling::default(), only(1), only(2)]);
        assert_eq!(spellings.learn(Id([2; 16]), with(2)), []);
    }

    #[test]
    fn what_is_forgotten_is_late_when_it_comes_back() {
        let spellings = Spellings::default();
        for name in 0..=REMEMBERED_MAX + 1 {
            spellings.learn(ZONE, with(name));
            assert!(spellings.of(ZONE).len() <= 2 + REMEMBERED_MAX);
        }
        assert_eq!(spellings.learn(ZONE, with(1)), []);
        assert_eq!(spellings.learn(ZONE, with(0)), [only(0)]);
    }
}
