//! Who was evicted lately without a second request: what S3-FIFO calls the ghost queue.
//!
//! Keeps 32 bits of a hash and when it came, in sets of four; an entry counts while no more than as many came
//! after it as there are objects in the main queue. It may take one key in some billions for another: that
//! one is kept longer than it should be, nothing else. Used by `shard.rs`.

/// Entries of one set.
const WAYS: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ghost {
    /// A hash's part and the moment it came, both never zero when in use.
    sets: Vec<[(u32, u32); WAYS]>,
    now: u32,
}

fn part(hash: u128) -> u32 {
    ((hash >> 32) as u32).max(1)
}

impl Ghost {
    /// Notes an eviction; `lifetime`: how many later ones it is remembered for.
    pub(crate) fn insert(&mut self, hash: u128, lifetime: usize) {
        if self.sets.len() * WAYS < lifetime * 2 {
            self.grow(lifetime);
        }
        self.now = self.now.wrapping_add(1).max(1);
        let entry = (part(hash), self.now);
        self.put(entry);
    }

    fn put(&mut self, entry: (u32, u32)) {
        let (mask, now) = (self.sets.len().wrapping_sub(1), self.now);
        let Some(set) = self.sets.get_mut(entry.0 as usize & mask) else { return };
        let age = |way: &&mut (u32, u32)| if way.0 == 0 { u32::MAX } else { now.wrapping_sub(way.1) };
        if let Some(oldest) = set.iter_mut().max_by_key(age) {
            *oldest = entry;
        }
    }

    /// Sets double; what is in them stays.
    fn grow(&mut self, lifetime: usize) {
        let sets = (lifetime * 2).div_ceil(WAYS).next_power_of_two().max(16);
        let old = std::mem::replace(&mut self.sets, vec![[(0, 0); WAYS]; sets]);
        for entry in old.into_iter().flatten().filter(|entry| entry.0 != 0) {
            self.put(entry);
        }
    }

    /// Whether the hash was evicted lately.
    pub(crate) fn has(&self, hash: u128, lifetime: usize) -> bool {
        let (part, now) = (part(hash), self.now);
        let mask = self.sets.len().wrapping_sub(1);
        let Some(set) = self.sets.get(part as usize & mask) else { return false };
        set.iter().any(|way| way.0 == part && (now.wrapping_sub(way.1) as usize) < lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> u128 {
        u128::from(number.wrapping_mul(0x9e37_79b1)) << 32
    }

    #[test]
    fn remembers_as_many_as_its_lifetime() {
        let mut ghost = Ghost::default();
        assert!(!ghost.has(hash(1), 100), "an empty one knows nobody");
        for number in 1..=1_000 {
            ghost.insert(hash(number), 100);
        }
        let known = (1..=1_000).filter(|number| ghost.has(hash(*number), 100)).count();
        // Two of sixty sets or so overflow, which loses a few.
        assert!((90..=100).contains(&known), "{known}");
    }

    #[test]
    fn what_it_knows_survives_growing() {
        let mut ghost = Ghost::default();
        ghost.insert(hash(1), 10);
        ghost.insert(hash(2), 10_000);
        assert!(ghost.has(hash(1), 10_000) && ghost.has(hash(2), 10_000));
    }
}
