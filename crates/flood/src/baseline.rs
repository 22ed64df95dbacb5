//! What is usual for a zone: how many requests, of what kind, and how they fare.
//!
//! The rate is a mean of about ten minutes with its mean deviation, which follows a day's slopes, and beside
//! it the mean of each hour of the day before, so that what comes every morning is usual the second time. The
//! kinds are an even sample of some calm seconds' requests, which any value or pair of values is estimated
//! from. Nothing is learned from a flood. Says nothing before it has seen a zone for the time of its warm-up.
//! Called by `watch.rs`. Read next: [`Baseline::usual`], [`Baseline::rate_of`].

use crate::Chance;
use crate::explain::Pattern;
use crate::kept::{Reader, Unusable};
use crate::limits::{RATE_MEMORY_S, REFERENCE_MAX, REFERENCE_PER_SECOND, USUAL_DEVIATIONS, USUAL_TIMES};
use crate::note::{DIMENSIONS, Keys, Note};
use crate::sample::{Ends, Second};
use crate::seen::Size;

const HOURS: u64 = 24;

/// How requests of a zone usually fare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fares {
    pub(crate) failed_share: f64,
    pub(crate) origin_us: f64,
}

impl Fares {
    pub(crate) fn of(ends: &Ends) -> Self {
        Self {
            failed_share: ends.failed as f64 / (ends.ended as f64).max(1.0),
            origin_us: ends.origin_us as f64 / (ends.asked_origin as f64).max(1.0),
        }
    }
}

/// The mean of an hour.
#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    sum: f64,
    seconds: f64,
    /// That of the day before.
    before: f64,
}

/// See the module.
#[derive(Debug)]
pub struct Baseline {
    mean: f64,
    deviation: f64,
    /// Calm seconds seen.
    seconds: u64,
    began_s: Option<u64>,
    hours: [Hour; HOURS as usize],
    hour: u64,
    reference: Vec<Note>,
    reference_max: usize,
    fares: Fares,
    chance: Chance,
}

impl Baseline {
    /// One that knows nothing.
    #[must_use]
    pub fn new(size: Size, seed: u64) -> Self {
        Self {
            mean: 0.0,
            deviation: 0.0,
            seconds: 0,
            began_s: None,
            hours: [Hour::default(); HOURS as usize],
            hour: 0,
            reference: Vec::new(),
            reference_max: size.share(REFERENCE_MAX),
            fares: Fares::default(),
            chance: Chance::new(seed),
        }
    }

    /// Whether it has seen the zone for so long, from the first request on.
    #[must_use]
    pub fn is_ready(&self, warm_up_s: u64) -> bool {
        self.seconds >= warm_up_s && !self.reference.is_empty()
    }

    /// Seconds of calm it has seen.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The usual rate, requests a second.
    #[must_use]
    pub fn usual(&self) -> f64 {
        let hour = self.hours.get(self.hour as usize % HOURS as usize).copied().unwrap_or_default();
        self.mean.max(hour.before)
    }

    /// The rate that is not usual any more, requests a second.
    #[must_use]
    pub fn most(&self) -> f64 {
        let usual = self.usual();
        (usual * USUAL_TIMES).max(usual + USUAL_DEVIATIONS * self.deviation)
    }

    pub(crate) fn fares(&self) -> Fares {
        self.fares
    }

    pub(crate) fn reference(&self) -> &[Note] {
        &self.reference
    }

    /// How many of the usual requests a second match: the likely number, and one that is most likely above.
    #[must_use]
    pub fn rate_of(&self, pattern: &Pattern) -> (f64, f64) {
        let found = self.reference.iter().filter(|note| pattern.matches(&note.keys)).count() as f64;
        self.rate_from(found)
    }

    pub(crate) fn rate_from(&self, found: f64) -> (f64, f64) {
        let one = self.usual() / (self.reference.len() as f64).max(1.0);
        (found * one, (found + 2.0 * found.sqrt()) * one)
    }

    /// Learns from a calm second.
    pub(crate) fn learn(&mut self, second: &Second, now_s: u64) {
        if self.began_s.is_none() && second.requests == 0.0 {
            return; // nobody has come yet
        }
        self.began_s.get_or_insert(now_s);
        if let Some(hour) = self.hours.get_mut(self.hour as usize) {
            hour.sum += self.mean;
            hour.seconds += 1.0;
        }
        self.seconds += 1;
        let part = (1.0 / self.seconds as f64).max(1.0 / RATE_MEMORY_S);
        let off = (second.requests - self.mean).abs();
        self.mean += part * (second.requests - self.mean);
        self.deviation += part * (off - self.deviation);
        if second.ends.ended > 0 {
            let fares = Fares::of(&second.ends);
            self.fares.failed_share += part * (fares.failed_share - self.fares.failed_share);
            self.fares.origin_us += part * (fares.origin_us - self.fares.origin_us);
        }
        self.keep_some(second);
    }

    /// To be told the time with each second, calm or not: what is usual is that of the hour it is, also for a
    /// flood that goes on into the next and for load that comes with its first second.
    pub(crate) fn turn(&mut self, now_s: u64) {
        let hour = now_s / 3_600 % HOURS;
        if hour != self.hour {
            if let Some(over) = self.hours.get_mut(self.hour as usize) {
                if over.seconds > 0.0 {
                    over.before = over.sum / over.seconds;
                }
                (over.sum, over.seconds) = (0.0, 0.0);
            }
            self.hour = hour;
        }
    }

    fn keep_some(&mut self, second: &Second) {
        let drawn = REFERENCE_PER_SECOND.min(second.notes.len());
        for _ in 0..drawn {
            let from = self.chance.below(second.notes.len() as u64) as usize;
            let Some(note) = second.notes.get(from) else { continue };
            if self.reference.len() < self.reference_max {
                self.reference.push(*note);
            } else {
                let to = self.chance.below(self.reference.len() as u64) as usize;
                if let Some(place) = self.reference.get_mut(to) {
                    *place = *note;
                }
            }
        }
    }

    /// Writes all of it, after which its seed alone is not known.
    pub(crate) fn keep(&self, out: &mut Vec<u8>) {
        out.extend(self.seconds.to_le_bytes());
        out.extend(self.hour.to_le_bytes());
        let Fares { failed_share, origin_us } = self.fares;
        let hours = self.hours.iter().flat_map(|hour| [hour.sum, hour.seconds, hour.before]);
        for amount in [self.mean, self.deviation, failed_share, origin_us].into_iter().chain(hours) {
            out.extend(amount.to_le_bytes());
        }
        out.extend((self.reference.len() as u32).to_le_bytes());
        for note in &self.reference {
            note.keys.values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            out.extend(note.keys.visitor.to_le_bytes());
            out.extend(note.keys.target.to_le_bytes());
            out.extend(f64::from(note.weight).to_le_bytes());
        }
    }

    /// Reads what another has written, and knows that from now on; nothing of it where it is unusable.
    pub(crate) fn read(&self, from: &mut Reader<'_>, now_s: u64) -> Result<Self, Unusable> {
        let (seconds, hour) = (from.u64()?, from.u64()?);
        let (mean, deviation) = (from.amount()?, from.amount()?);
        let fares = Fares { failed_share: from.amount()?, origin_us: from.amount()? };
        let mut hours = [Hour::default(); HOURS as usize];
        for hour in &mut hours {
            *hour = Hour { sum: from.amount()?, seconds: from.amount()?, before: from.amount()? };
        }
        let count = from.u32()? as usize;
        let mut reference = Vec::with_capacity(count.min(self.reference_max));
        for _ in 0..count {
            let mut values = [0; DIMENSIONS];
            for value in &mut values {
                *value = from.u32()?;
            }
            let (visitor, target) = (from.u64()?, from.u64()?);
            let note = Note { keys: Keys { values, visitor, target }, weight: from.amount()? as f32 };
            if reference.len() < self.reference_max {
                reference.push(note);
            }
        }
        let (began_s, reference_max, chance) = (Some(now_s), self.reference_max, self.chance);
        let hour = hour % HOURS;
        Ok(Self { mean, deviation, seconds, began_s, hours, hour, reference, reference_max, fares, chance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_that_of_the_hour_it_is_also_while_nothing_is_learned() {
        let mut baseline = Baseline::new(Size::Small, 1);
        let calm = |requests: f64| Second { requests, ..Second::default() };
        // Quiet but for the second hour of the day.
        for now_s in 0..24 * 3_600 {
            let is_busy = (3_600..7_200).contains(&now_s);
            baseline.turn(now_s);
            baseline.learn(&calm(if is_busy { 200.0 } else { 10.0 }), now_s);
        }
        baseline.turn(24 * 3_600);
        assert!(baseline.usual() < 20.0, "{}", baseline.usual());
        // A flood goes on into that hour, and nothing is learned from it.
        baseline.turn(25 * 3_600);
        assert!(baseline.usual() > 100.0, "{}", baseline.usual());
        baseline.turn(27 * 3_600);
        assert!(baseline.usual() < 20.0, "{}", baseline.usual());
    }
}
