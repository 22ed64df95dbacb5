//! Rate limits: how often something came in a sliding period, for many keys, on all threads.
//!
//! **The window.** Two buckets, the running and the last period; the estimate is the running count plus that
//! part of the last one that still lies within a period from now, as if its requests had been spread evenly.
//! For even traffic it is exact. At its worst, when the last period's requests all came at its end, a window
//! placed most unluckily sees up to twice the threshold; when they all came at its beginning, a visitor is
//! refused up to one period too long. GCRA has the first error too, and cannot count by responses, which is
//! why it was not taken.
//!
//! **The keys.** A rule has a fixed number of counters ([`crate::limits::RATE_KEYS`]), found by hash: two
//! sets of 16, any place in them. Up to 10,000 keys at a time each has its own, so counts are exact (but for
//! two keys with one 64-bit hash). With more, the counter of a set that counted least makes room, and its key
//! is forgiven what it had: so many keys can hide the light ones, never the heavy ones, of which a set keeps
//! the 16 heaviest of its own.
//!
//! **Threads.** Each counter is one word changed by compare-and-swap; nobody waits for anybody. A counter
//! tells by 8 bits of the key's hash whose it is, so that a thread late by one change of owner finds out.
//!
//! Counters live as long as their rule has its id: a publish keeps them ([`Counters::carry`]), and a
//! hand-over to a new process forgives at most one period. Read next: [`Counter::count`], then
//! `rate/table.rs`.

use std::sync::Arc;

use crate::limits::{MITIGATION_MS_MAX, PERIOD_MS_MAX, PERIOD_MS_MIN, THRESHOLD_MAX};

mod header;
mod key;
mod rule;
mod table;

pub use header::{policy_field, rate_limit_field, retry_after};
pub use key::Key;
pub use rule::{At, Measured, Met, Pending, Rated, after, counters, measure};

use table::Table;

/// What is allowed: so many in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    threshold: u32,
    period_ms: u64,
    mitigation_ms: u64,
}

/// Why a limit cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitProblem {
    /// The threshold is not between 1 and [`THRESHOLD_MAX`].
    Threshold,
    /// The period is not between [`PERIOD_MS_MIN`] and [`PERIOD_MS_MAX`].
    Period,
    /// The mitigation is longer than [`MITIGATION_MS_MAX`].
    Mitigation,
}

impl std::fmt::Display for LimitProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Threshold => write!(f, "the threshold must be between 1 and {THRESHOLD_MAX}"),
            Self::Period => write!(f, "the period must be between 1 second and 1 day"),
            Self::Mitigation => write!(f, "the mitigation time must be at most 1 day"),
        }
    }
}

impl std::error::Error for LimitProblem {}

impl Limit {
    /// Allows `threshold` in each `period_ms`; past it, a key is refused for `mitigation_ms`, or with 0 until
    /// its rate has fallen.
    ///
    /// # Errors
    ///
    /// The first value out of bounds.
    pub const fn new(threshold: u32, period_ms: u64, mitigation_ms: u64) -> Result<Self, LimitProblem> {
        if threshold == 0 || threshold > THRESHOLD_MAX {
            return Err(LimitProblem::Threshold);
        }
        if period_ms < PERIOD_MS_MIN || period_ms > PERIOD_MS_MAX {
            return Err(LimitProblem::Period);
        }
        if mitigation_ms > MITIGATION_MS_MAX {
            return Err(LimitProblem::Mitigation);
        }
        Ok(Self { threshold, period_ms, mitigation_ms })
    }

    /// How many are allowed.
    #[must_use]
    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    /// In how long a time, in milliseconds.
    #[must_use]
    pub const fn period_ms(&self) -> u64 {
        self.period_ms
    }
}

/// Whether a request is within its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Within {
        /// How many more would be, right now.
        remaining: u32,
        /// When the running period ends, in milliseconds from now.
        reset_ms: u64,
    },
    /// It is not.
    Over {
        /// When it is worth trying again, in milliseconds from now.
        retry_ms: u64,
    },
}

/// The counters of one rule, shared by all threads.
#[derive(Debug)]
pub struct Counter {
    table: Table,
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Counter {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Table::new() }
    }

    /// Counts a request unless it is over its limit, and tells which.
    ///
    /// Requests that are over are not counted: with no mitigation time, a visitor who keeps knocking gets the
    /// threshold in each period. `now_ms` is a clock that does not go back; if it does, time stands still.
    #[must_use]
    pub fn count(&self, limit: &Limit, key: Key, now_ms: u64) -> Decision {
        if let Some(retry_ms) = self.mitigated_ms(key, now_ms) {
            return Decision::Over { retry_ms };
        }
        let decision = self.table.add(limit, key, now_ms, true);
        if matches!(decision, Decision::Over { .. }) && limit.mitigation_ms > 0 {
            self.table.mitigate(limit, key, now_ms, now_ms.saturating_add(limit.mitigation_ms));
            return Decision::Over { retry_ms: limit.mitigation_ms };
        }
        decision
    }

    /// Tells how a request stands without counting it, for rules that count by the response.
    #[must_use]
    pub fn look(&self, limit: &Limit, key: Key, now_ms: u64) -> Decision {
        if let Some(retry_ms) = self.mitigated_ms(key, now_ms) {
            return Decision::Over { retry_ms };
        }
        self.table.look(limit, key, now_ms)
    }

    /// Counts a request whose response was one that counts. The mitigation begins when the threshold is
    /// reached, and holds for the requests after it.
    pub fn count_response(&self, limit: &Limit, key: Key, now_ms: u64) {
        let decision = self.table.add(limit, key, now_ms, false);
        let is_reached = match decision {
            Decision::Within { remaining, .. } => remaining == 0,
            Decision::Over { .. } => true,
        };
        if is_reached && limit.mitigation_ms > 0 && self.mitigated_ms(key, now_ms).is_none() {
            self.table.mitigate(limit, key, now_ms, now_ms.saturating_add(limit.mitigation_ms));
        }
    }

    /// Keys that lost their counter to another one while it still counted, so far. It grows only with more
    /// than 10,000 keys at a time.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    fn mitigated_ms(&self, key: Key, now_ms: u64) -> Option<u64> {
        self.table.mitigated_until(key)?.checked_sub(now_ms).filter(|left| *left > 0)
    }
}

/// The counters of all rules, by stable id.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    by_id: Vec<(Arc<str>, u64, Arc<Counter>)>,
}

impl Counters {
    /// The counters of a new set of rules, ids with periods: those that were there before go on counting.
    ///
    /// A rule whose period changed starts anew, since its buckets mean something else; that forgives at most
    /// one period. Of two rules with one id and period both use one counter.
    #[must_use]
    pub fn carry<'a>(&self, rules: impl IntoIterator<Item = (&'a str, &'a Limit)>) -> Self {
        let mut by_id: Vec<(Arc<str>, u64, Arc<Counter>)> = rules
            .into_iter()
            .map(|(id, limit)| match self.entry(id, limit.period_ms) {
                Some(known) => known.clone(),
                None => (Arc::from(id), limit.period_ms, Arc::new(Counter::new())),
            })
            .collect();
        by_id.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        by_id.dedup_by(|one, other| one.0 == other.0 && one.1 == other.1);
        Self { by_id }
    }

    /// The counter of a rule.
    #[must_use]
    pub fn of(&self, id: &str, limit: &Limit) -> Option<&Arc<Counter>> {
        self.entry(id, limit.period_ms).map(|(_, _, counter)| counter)
    }

    /// Keys that lost their counter to another one while it still counted, so far, over all rules.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.by_id.iter().map(|(_, _, counter)| counter.evictions()).sum()
    }

    fn entry(&self, id: &str, period_ms: u64) -> Option<&(Arc<str>, u64, Arc<Counter>)> {
        let found =
            self.by_id.binary_search_by(|(known, period, _)| (&**known, *period).cmp(&(id, period_ms)));
        found.ok().and_then(|place| self.by_id.get(place))
    }
}

#[cfg(test)]
mod tests;
