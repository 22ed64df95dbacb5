//! Flood detection of one zone: what its load usually is, what makes it leave that, and which limits bring it
//! back. Pure: no clock, no sockets; the second, the milliseconds and the seed are arguments.
//!
//! Serving threads note each request in a [`Sample`] of their own: a bounded, even sample of the second's
//! requests, each as a handful of hashes ([`Keys`]). Once a second, off the serving threads, the samples are
//! merged into a [`Second`] and given to the zone's [`Watch`], which
//!
//! 1. learns what is usual while all is calm ([`baseline`]): the rate and how it varies, the shares of each
//!    prefix, network, country, JA4, path and user agent, and of each pair of them, who was served and what
//!    was asked for in the last minutes;
//! 2. notices that the load leaves it;
//! 3. finds the fewest single values and pairs that explain the excess and take least of what is usual
//!    ([`explain`]);
//! 4. makes limits for them ([`Limit`]), which go by stages, say in words what they are for, and end by
//!    themselves.
//!
//! Serving threads ask [`Limits::ask`] about each request for as long as there are any.
//!
//! **Sketches.** What is usual is kept as a sample of requests and not as counters by key, since only a
//! sample can be asked about any pair of values afterwards. A share *p* estimated from *n* requests errs by
//! √(*p*/*n*): with 2,048 of them, by 0.2 % of the load for a key that has 1 % of it.
//!
//! Used by `edge`. Read next: [`Watch::second`], then [`explain`]. Why it is built so, and what it does to
//! replayed floods: decision 28.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod baseline;
pub mod explain;
pub mod kept;
pub mod limit;
pub mod limits;
pub mod note;
pub mod sample;
pub mod seen;
pub mod watch;

pub use explain::Pattern;
pub use kept::Unusable;
pub use limit::{Answer, Kind, Limit, Limits, Stage};
pub use note::{Asked, Dimension, Keys, Secret};
pub use sample::{Sample, Second};
pub use seen::{Memory, Size};
pub use watch::{Change, Settings, Standing, Watch};

/// Spreads the bits of a number (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A small generator of even numbers (SplitMix64): for sampling, where nothing depends on being guessed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 where that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * u128::from(bound)) >> 64) as u64
    }
}
