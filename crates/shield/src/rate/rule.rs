//! The limits of a zone over one request: what is to be counted, the counting, and what came of it.
//!
//! Three steps, so that the first can be run twice and changes nothing: [`measure`] evaluates conditions and
//! characteristics, [`Measured::count`] counts, and [`after`] counts what counts by its response. Conditions
//! are compiled in crate `zone`; what is done about a request that is over is `edge`'s. Read next:
//! [`measure`].

use fuel::{Fuel, Spent};
use rules::{Run, Scratch, Value, ValueId, View};
use zone::{ConcurrencyLimit, Counting, RateLimit, RateLimits};

use super::{Counters, Decision, Key, Limit};
use crate::concurrency::{Admitted, Gates};

/// What the limits of a zone are to do with a request. Empty, and made without allocating, where it meets
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    rates: Vec<Asked>,
    /// Concurrency limits that are about the request, by place, with what it is told apart by.
    gates: Vec<(u32, Option<Key>)>,
}

/// One rate limit and a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    limit: u32,
    key: Key,
    /// Whether the limit is about the request, and not only counts it.
    is_about: bool,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    No,
    Now,
    ByResponse,
}

/// What counts once the response is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending(Vec<(u32, Key)>);

impl Pending {
    /// Whether nothing is left to count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A rate limit that is about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its index in [`RateLimits::rates`].
    pub limit: usize,
    /// How the request stands.
    pub decision: Decision,
}

impl Met {
    /// Whether the request is over the limit.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.decision, Decision::Over { .. })
    }
}

/// What rate limits came to for a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// The limits that are about the request, in order, up to the one that refuses.
    pub met: Vec<Met>,
    /// Whether the last of them refuses.
    pub is_refused: bool,
    /// What is counted when the response is there; nothing for a request that is refused.
    pub pending: Pending,
}

impl Rated {
    /// The limit with the least left among those that tell visitors, for `RateLimit` fields.
    #[must_use]
    pub fn tightest(&self, limits: &RateLimits) -> Option<&Met> {
        let tells = |met: &&Met| limits.rates.get(met.limit).is_some_and(|limit| limit.has_headers);
        self.met.iter().filter(tells).min_by_key(|met| match met.decision {
            Decision::Over { .. } => 0,
            Decision::Within { remaining, .. } => u64::from(remaining) + 1,
        })
    }
}

impl Limit {
    /// The numbers of a zone's limit; none if they are out of bounds, which a compiled zone's never are.
    #[must_use]
    pub fn of(limit: &RateLimit) -> Option<Self> {
        Self::new(limit.requests, limit.period_ms, limit.mitigation_ms).ok()
    }
}

/// The counters for the limits of a zone, those of `old` carried over.
#[must_use]
pub fn counters(limits: &RateLimits, old: &Counters) -> Counters {
    let each: Vec<(&str, Limit)> =
        limits.rates.iter().filter_map(|limit| Some((&*limit.id, Limit::of(limit)?))).collect();
    old.carry(each.iter().map(|(id, limit)| (*id, limit)))
}

/// Says which limit is worked for: whether it is a rate limit, and its place in the zone.
pub type At<'a> = &'a dyn Fn(bool, u32);

/// Finds out what the limits are to do with a request, and counts nothing.
///
/// `seed` is the node's, for [`Key::of`].
///
/// # Errors
///
/// [`Spent`] when the tank is empty.
pub fn measure(
    limits: &RateLimits,
    view: &dyn View,
    scratch: &mut Scratch,
    fuel: &mut Fuel,
    seed: u64,
    at: At<'_>,
) -> Result<Measured, Spent> {
    let mut measured = Measured::default();
    let mut run = limits.program.run(view, scratch, fuel);
    for (number, limit) in (0..).zip(&limits.rates) {
        at(true, limit.place);
        let is_about = match limit.about {
            Some(about) => run.is_true(about)?,
            None => true,
        };
        let counts = match limit.counting {
            Counting::Same if is_about => Counts::Now,
            Counting::Request(counting) if run.is_true(counting)? => Counts::Now,
            Counting::Response(_) => Counts::ByResponse,
            Counting::SameByResponse(_) if is_about => Counts::ByResponse,
            _ => Counts::No,
        };
        if is_about || counts != Counts::No {
            let key = key_of(&mut run, &limit.by, seed)?;
            measured.rates.push(Asked { limit: number, key, is_about, counts });
        }
    }
    for (number, limit) in (0..).zip(&limits.gates) {
        at(false, limit.place);
        let is_about = match limit.about {
            Some(about) => run.is_true(about)?,
            None => true,
        };
        if is_about {
            let is_whole = limit.by.is_empty();
            let key = if is_whole { None } else { Some(key_of(&mut run, &limit.by, seed)?) };
            measured.gates.push((number, key));
        }
    }
    Ok(measured)
}

impl Measured {
    /// Whether no limit has to do with the request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.gates.is_empty()
    }

    /// Counts the request where it counts now, and tells whether it is refused.
    ///
    /// A limit without its counter (made by [`counters`]) is passed over. Limits after one that refuses do
    /// not count the request.
    #[must_use]
    pub fn count(&self, limits: &RateLimits, counters: &Counters, now_ms: u64) -> Rated {
        let mut rated = Rated::default();
        for asked in &self.rates {
            let index = asked.limit as usize;
            let Some(limit) = limits.rates.get(index) else { continue };
            let Some(numbers) = Limit::of(limit) else { continue };
            let Some(counter) = counters.of(&limit.id, &numbers) else { continue };
            let decision = match (asked.counts, asked.is_about) {
                (Counts::Now, true) => counter.count(&numbers, asked.key, now_ms),
                (Counts::Now, false) => {
                    counter.count_response(&numbers, asked.key, now_ms);
                    continue;
                }
                (Counts::ByResponse, is_about) => {
                    rated.pending.0.push((asked.limit, asked.key));
                    if !is_about {
                        continue;
                    }
                    counter.look(&numbers, asked.key, now_ms)
                }
                (Counts::No, _) => counter.look(&numbers, asked.key, now_ms),
            };
            let met = Met { limit: index, decision };
            rated.met.push(met);
            if met.is_over() && !limit.over.is_log() {
                rated.is_refused = true;
                rated.pending = Pending::default();
                break;
            }
        }
        rated
    }

    /// Takes a place at each concurrency limit, in order, up to one that is full and refuses.
    pub fn enter(&self, limits: &RateLimits, gates: &Gates) -> Admitted {
        let asked = self.gates.iter().filter_map(|(number, key)| {
            let limit: &ConcurrencyLimit = limits.gates.get(*number as usize)?;
            Some((*number as usize, limit, *key))
        });
        gates.enter(asked)
    }
}

/// Counts what counts by its response, once that is there.
///
/// # Errors
///
/// [`Spent`] when the tank is empty; what was not counted yet is forgiven.
pub fn after(
    limits: &RateLimits,
    pending: &Pending,
    view: &dyn View,
    scratch: &mut Scratch,
    fuel: &mut Fuel,
    (counters, now_ms): (&Counters, u64),
) -> Result<(), Spent> {
    if pending.is_empty() {
        return Ok(());
    }
    let mut run = limits.program.run(view, scratch, fuel);
    for (number, key) in &pending.0 {
        let Some(limit) = limits.rates.get(*number as usize) else { continue };
        if let Counting::Response(counting) | Counting::SameByResponse(counting) = limit.counting
            && run.is_true(counting)?
            && let Some(numbers) = Limit::of(limit)
            && let Some(counter) = counters.of(&limit.id, &numbers)
        {
            counter.count_response(&numbers, *key, now_ms);
        }
    }
    Ok(())
}

/// The key of a request: each value as text, in order.
fn key_of(run: &mut Run<'_>, by: &[ValueId], seed: u64) -> Result<Key, Spent> {
    let mut values = Vec::with_capacity(by.len());
    for value in by {
        values.push(match run.value(*value)? {
            Some(Value::Bytes(bytes)) => Some(bytes),
            Some(other) => Some(other.to_string().into_bytes()),
            None => None,
        });
    }
    Ok(Key::of(seed, values.iter().map(|value| value.as_deref())))
}

#[cfg(test)]
mod tests;
