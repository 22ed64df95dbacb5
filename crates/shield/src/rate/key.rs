//! What a rule counts by, as one number.
//!
//! A rule's characteristics (address, header, path, …) are hashed together, each with its length, so that two
//! of them cannot be shifted into one another. The seed is the node's, chosen at random when it starts:
//! without it nobody can make two keys share a counter. Made by whoever evaluates a rule's characteristics.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;

/// The hash of what a request is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// Hashes values in order. A missing value differs from an empty one.
    #[must_use]
    pub fn of<'v>(seed: u64, values: impl IntoIterator<Item = Option<&'v [u8]>>) -> Self {
        let mut hasher = FixedState::with_seed(seed).build_hasher();
        for value in values {
            value.hash(&mut hasher);
        }
        Self::from_hash(hasher.finish())
    }

    /// A key from a hash that was made elsewhere.
    #[must_use]
    pub const fn from_hash(hash: u64) -> Self {
        // 0 marks an empty counter.
        Self(if hash == 0 { 1 } else { hash })
    }

    pub(crate) const fn hash(self) -> u64 {
        self.0
    }

    /// Eight bits by which a counter tells whose it is; none of those that choose the set.
    pub(crate) const fn mark(self) -> u64 {
        self.0 >> 56
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_borders() {
        let of = |values: &[&[u8]]| Key::of(7, values.iter().map(|value| Some(*value)));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b""]), Key::of(7, [None]));
        assert_ne!(of(&[b"a"]), Key::of(8, [Some(&b"a"[..])]));
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
    }
}
