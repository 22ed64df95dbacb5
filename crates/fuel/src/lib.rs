//! A bound on work: how much of it one request may cost in all, and how much at a stretch.
//!
//! Synchronous code cannot be interrupted, so whatever evaluates rules or inspects bodies counts its own work
//! in *steps* and asks here whether it may go on. Two bounds: the *tank*, everything this request may cost,
//! after which the evaluation ends with [`Spent`]; and the *slice*, after which a long evaluation gives its
//! thread back and is called again. Counting is exact and the same on every machine, so a test of a bound
//! never measures time.
//!
//! A step stands for about a nanosecond of one core of 2020: one byte looked at by a scan, one comparison,
//! one node of a tree. What is dearer charges more; each evaluator documents its prices.
//!
//! Used by `rules`, `seclang` and `cache`; it knows nothing of what is evaluated, and reads no clock. Read
//! next: [`Fuel`], then [`pool`] for work that cannot be cut into slices.

pub mod pool;

use std::fmt;

/// Steps of one slice: about 200 µs, so that a thread which answers 5,000 requests a second is late by at
/// most one of them.
pub const SLICE_STEPS: u64 = 200_000;

/// What is left of a request's budget of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fuel {
    left: u64,
    /// What was in the tank at first.
    full: u64,
    /// What was left when the slice began.
    slice_from: u64,
}

/// The tank is empty: this evaluation cost more than one request may.
///
/// It comes from the request's own bytes, so the request is refused for itself (`closed`), whatever the fail
/// mode of the phase: otherwise spending the budget would be a way around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request cost more work than one request may")
    }
}

impl std::error::Error for Spent {}

impl Fuel {
    /// Fills a tank with `steps`; its first slice is a full one.
    #[must_use]
    pub const fn new(steps: u64) -> Self {
        Self { left: steps, full: steps, slice_from: steps }
    }

    /// Charges `steps` before the work is done.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the tank holds less; it is then empty, and every later charge fails too. The work must
    /// not be done.
    #[inline]
    pub const fn spend(&mut self, steps: u64) -> Result<(), Spent> {
        // One number alone changes: it is asked for each comparison of each rule.
        if steps > self.left {
            self.left = 0;
            return Err(Spent);
        }
        self.left -= steps;
        Ok(())
    }

    /// Tells whether the thread should be given back before more work is done.
    ///
    /// An evaluator asks between pieces of work; one piece may overrun the slice by its own price, so pieces
    /// are kept below a tenth of [`SLICE_STEPS`].
    #[must_use]
    #[inline]
    pub const fn is_slice_over(&self) -> bool {
        self.slice_from - self.left >= SLICE_STEPS
    }

    /// Starts the next slice, after the thread was given back.
    pub const fn start_slice(&mut self) {
        self.slice_from = self.left;
    }

    /// Steps charged so far.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.full - self.left
    }

    /// Steps left in the tank.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_beyond_the_tank_empties_it() {
        let mut fuel = Fuel::new(10);
        assert_eq!(fuel.spend(4), Ok(()));
        assert_eq!(fuel.spend(7), Err(Spent));
        assert_eq!(fuel.spend(1), Err(Spent));
        assert_eq!((fuel.used(), fuel.left()), (10, 0));
    }

    #[test]
    fn a_slice_ends_without_ending_the_tank() {
        let mut fuel = Fuel::new(3 * SLICE_STEPS);
        assert_eq!(fuel.spend(SLICE_STEPS - 1), Ok(()));
        assert!(!fuel.is_slice_over());
        assert_eq!(fuel.spend(2), Ok(()));
        assert!(fuel.is_slice_over());
        fuel.start_slice();
        assert!(!fuel.is_slice_over());
        assert_eq!(fuel.used(), SLICE_STEPS + 1);
    }
}
