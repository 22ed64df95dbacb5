//! A set of byte values in 256 bits: what can trigger a transformation, what a value holds, what a rule
//! allows.
//!
//! Used by the transformations, by `validateByteRange` and by the engine's gates. Read next: [`ByteSet`].

/// A set of byte values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// No byte.
    pub const EMPTY: Self = Self([0; 4]);
    /// Every byte.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// The set of the bytes listed.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        let (mut set, mut at) = (Self::EMPTY, 0);
        while at < bytes.len() {
            set = set.with(bytes[at]);
            at += 1;
        }
        set
    }

    /// This set and `byte`.
    #[must_use]
    pub const fn with(mut self, byte: u8) -> Self {
        self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
        self
    }

    /// This set and the bytes from `first` to `last`, both included; nothing when they are in the wrong
    /// order.
    #[must_use]
    pub const fn with_range(mut self, first: u8, last: u8) -> Self {
        let mut byte = first as u16;
        while byte <= last as u16 {
            self = self.with(byte as u8);
            byte += 1;
        }
        self
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]])
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]])
    }

    /// What is not in it.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self([!self.0[0], !self.0[1], !self.0[2], !self.0[3]])
    }

    /// Tells whether `byte` is in it.
    #[must_use]
    #[inline]
    pub const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    /// Tells whether it is empty.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0[0] | self.0[1] | self.0[2] | self.0[3] == 0
    }

    /// Tells whether every byte is in it.
    #[must_use]
    #[inline]
    pub const fn is_all(&self) -> bool {
        self.0[0] & self.0[1] & self.0[2] & self.0[3] == u64::MAX
    }

    /// How many bytes are in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.0[0].count_ones() + self.0[1].count_ones() + self.0[2].count_ones() + self.0[3].count_ones())
            as usize
    }

    /// Tells whether a value whose bytes are `present` can be touched by what this set triggers: they share a
    /// byte, or this set is everything (which triggers on the empty value too).
    #[must_use]
    #[inline]
    pub const fn meets(&self, present: &Self) -> bool {
        self.is_all() || !self.intersection(*present).is_empty()
    }

    /// The bytes that `value` holds.
    #[must_use]
    pub fn present(value: &[u8]) -> Self {
        // Two sets take turns, so that a store need not wait for the one before it.
        let (mut even, mut odd) = ([0_u64; 4], [0_u64; 4]);
        let mut pairs = value.chunks_exact(2);
        for pair in &mut pairs {
            even[usize::from(pair[0] >> 6)] |= 1 << (pair[0] & 63);
            odd[usize::from(pair[1] >> 6)] |= 1 << (pair[1] & 63);
        }
        let set = Self(even).union(Self(odd));
        pairs.remainder().iter().fold(set, |set, &byte| set.with(byte))
    }

    /// The words of the set; byte `b` is bit `b % 64` of word `b / 64`.
    #[must_use]
    pub const fn words(&self) -> [u64; 4] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_bytes_of_a_value_are_exactly_those_in_it(value in vec(any::<u8>(), 0..200)) {
            let set = ByteSet::present(&value);
            for byte in 0..=255 {
                prop_assert_eq!(set.has(byte), value.contains(&byte));
            }
            prop_assert_eq!(set, ByteSet::of(&value));
            prop_assert_eq!(set.complement().len() + set.len(), 256);
        }
    }

    #[test]
    fn everything_meets_the_empty_value_and_a_part_does_not() {
        assert!(ByteSet::ALL.meets(&ByteSet::EMPTY));
        assert!(!ByteSet::of(b"a").complement().meets(&ByteSet::EMPTY));
        assert!(ByteSet::of(b"ab").meets(&ByteSet::of(b"bc")));
        assert!(!ByteSet::of(b"ab").meets(&ByteSet::of(b"c")));
    }

    #[test]
    fn a_range_in_the_wrong_order_is_empty() {
        assert!(ByteSet::EMPTY.with_range(9, 8).is_empty());
        assert!(ByteSet::EMPTY.with_range(0, 255).is_all());
    }
}
