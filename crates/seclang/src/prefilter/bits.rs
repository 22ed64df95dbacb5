//! Sets of slots: some words of 64 bits, all of one length within a rule set.

/// A set of slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set over so many slots.
    pub(crate) fn none(slots: usize) -> Self {
        Self(vec![0; slots.div_ceil(64)])
    }

    pub(crate) fn set(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(usize::from(slot / 64)) {
            *word |= 1 << (slot % 64);
        }
    }

    #[inline]
    pub(crate) fn has(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot / 64)).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    #[inline]
    pub(crate) fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, other: &Self) {
        for (word, less) in self.0.iter_mut().zip(&other.0) {
            *word &= !less;
        }
    }

    #[inline]
    pub(crate) fn keep(&mut self, other: &Self) {
        for (word, kept) in self.0.iter_mut().zip(&other.0) {
            *word &= kept;
        }
    }

    #[inline]
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(word, others)| word & others != 0)
    }

    /// Adds what `first` and `second` share.
    #[inline]
    pub(crate) fn add_shared(&mut self, first: &Self, second: &Self) {
        for (word, (one, two)) in self.0.iter_mut().zip(first.0.iter().zip(&second.0)) {
            *word |= one & two;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Takes over another set, without a new buffer where this one suffices.
    pub(crate) fn copy(&mut self, other: &Self) {
        self.0.clone_from(&other.0);
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    /// Shows the slots that both sets have, in order, until told to stop.
    #[inline]
    pub(crate) fn each_shared(&self, other: &Self, mut show: impl FnMut(u16) -> bool) {
        for (at, (word, others)) in self.0.iter().zip(&other.0).enumerate() {
            let mut rest = word & others;
            while rest != 0 {
                let slot = at as u32 * 64 + rest.trailing_zeros();
                rest &= rest - 1;
                if !show(u16::try_from(slot).unwrap_or(u16::MAX)) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_was_set() {
        let mut bits = Bits::none(130);
        for slot in [0, 63, 64, 129] {
            bits.set(slot);
        }
        let mut listed = Vec::new();
        bits.each_shared(&bits, |slot| {
            listed.push(slot);
            slot != 64
        });
        assert_eq!(listed, [0, 63, 64]);
        assert!(bits.has(129) && !bits.has(128));
    }
}
