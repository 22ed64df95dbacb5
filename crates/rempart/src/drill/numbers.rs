//! Numbers that look random and are the same in each run. Called by the drills.

/// A generator: splitmix64 (Steele, Lea, Flood 2014).
pub(super) struct Numbers(u64);

impl Numbers {
    /// One that begins with a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, from 0 to below `bound`; 0 where that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
