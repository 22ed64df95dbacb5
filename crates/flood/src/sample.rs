//! One thread's even sample of the requests of a second, and what the samples of all threads make together.
//!
//! A request costs its thread a place in a bounded list, whatever the load (reservoir sampling, Vitter 1985,
//! algorithm R). What became of requests is summed beside it. Read next: [`Second::merge`].

use std::collections::HashMap;

use crate::Chance;
use crate::limits::{NOTES_MAX, TEXTS_MAX};
use crate::note::{Asked, Dimension, Keys, Note};

/// What became of the requests that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ends {
    /// Requests that ended.
    pub ended: u64,
    /// Of these, with 5xx, or sent away since there was too much to do.
    pub failed: u64,
    /// Of these, answered by an origin.
    pub asked_origin: u64,
    /// How long the origins took for these, in microseconds.
    pub origin_us: u64,
}

impl Ends {
    pub(crate) fn add(&mut self, other: &Self) {
        self.ended += other.ended;
        self.failed += other.failed;
        self.asked_origin += other.asked_origin;
        self.origin_us += other.origin_us;
    }
}

/// Texts of values, for a person to read.
pub(crate) type Texts = HashMap<(Dimension, u32), Box<str>, foldhash::fast::RandomState>;

/// One thread's requests to one zone since they were last looked at.
#[derive(Debug, Default)]
pub struct Sample {
    requests: u64,
    notes: Vec<Keys>,
    texts: Texts,
    ends: Ends,
    chance: Chance,
}

impl Sample {
    /// An empty one; `seed` decides what is kept when there is too much.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed), ..Self::default() }
    }

    /// Notes a request. With `asked`, what it is told by is kept as text too, as far as there is room.
    #[inline]
    pub fn note(&mut self, keys: &Keys, asked: Option<&Asked<'_>>) {
        self.requests += 1;
        if self.notes.len() < NOTES_MAX {
            self.notes.push(*keys);
        } else if let place = self.chance.below(self.requests) as usize
            && let Some(note) = self.notes.get_mut(place)
        {
            *note = *keys;
        }
        if let Some(asked) = asked {
            self.name(keys, asked);
        }
    }

    #[cold]
    fn name(&mut self, keys: &Keys, asked: &Asked<'_>) {
        // Every request while there are few, else now and then: what matters comes often.
        if self.requests > 256 && !self.requests.is_multiple_of(16) {
            return;
        }
        for dimension in Dimension::ALL {
            let key = (dimension, keys.value(dimension));
            if key.1 != 0
                && self.texts.len() < TEXTS_MAX
                && !self.texts.contains_key(&key)
                && let Some(text) = asked.text(dimension)
            {
                self.texts.insert(key, text.into());
            }
        }
    }

    /// Notes how a request ended: `origin_us` is how long an origin took, if one was asked.
    #[inline]
    pub fn ended(&mut self, is_failed: bool, origin_us: Option<u64>) {
        let (asked_origin, origin_us) = (origin_us.is_some(), origin_us.unwrap_or(0));
        let (failed, asked_origin) = (is_failed.into(), asked_origin.into());
        self.ends.add(&Ends { ended: 1, failed, asked_origin, origin_us });
    }
}

/// The requests of all threads in one second.
#[derive(Debug, Default)]
pub struct Second {
    /// How many there were.
    pub(crate) requests: f64,
    /// An even sample of them; the weights make up `requests`.
    pub(crate) notes: Vec<Note>,
    pub(crate) texts: Texts,
    pub(crate) ends: Ends,
}

impl Second {
    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0.0 && self.ends.ended == 0
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests as u64
    }

    /// Takes over what a thread has noted, and leaves it an empty sample with room for as much.
    pub fn merge(&mut self, sample: &mut Sample) {
        if !sample.notes.is_empty() {
            let weight = sample.requests as f32 / sample.notes.len() as f32;
            self.notes.extend(sample.notes.drain(..).map(|keys| Note { keys, weight }));
        }
        self.requests += sample.requests as f64;
        sample.requests = 0;
        self.ends.add(&std::mem::take(&mut sample.ends));
        for (key, text) in sample.texts.drain() {
            if self.texts.len() < TEXTS_MAX {
                self.texts.insert(key, text);
            }
        }
    }

    /// Says how long it really was, where the watch came late: what is counted is brought to one second.
    pub fn lasted(&mut self, ms: u64) {
        let scale = 1_000.0 / ms.max(1) as f64;
        self.requests *= scale;
        self.notes.iter_mut().for_each(|note| note.weight *= scale as f32);
    }

    /// Keeps an even part of what the threads kept, where it is too much together.
    pub(crate) fn thin(&mut self, chance: &mut Chance, most: usize) {
        let had = self.notes.len();
        if had <= most || most == 0 {
            return;
        }
        for place in 0..most {
            let other = place + chance.below((had - place) as u64) as usize;
            self.notes.swap(place, other);
        }
        self.notes.truncate(most);
        let kept: f64 = self.notes.iter().map(|note| f64::from(note.weight)).sum();
        let scale = (self.requests / kept.max(1.0)) as f32;
        self.notes.iter_mut().for_each(|note| note.weight *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(visitor: u64) -> Keys {
        Keys { visitor, ..Keys::default() }
    }

    #[test]
    fn a_flood_is_sampled_evenly_in_bounded_memory() {
        let mut sample = Sample::new(1);
        (0..100_000).for_each(|visitor| sample.note(&keys(visitor), None));
        let mut second = Second::default();
        second.merge(&mut sample);
        assert_eq!((second.requests(), second.notes.len()), (100_000, NOTES_MAX));
        let early = second.notes.iter().filter(|note| note.keys.visitor < 50_000).count();
        assert!((450..575).contains(&early), "{early} of the first half");
        let weight: f32 = second.notes.iter().map(|note| note.weight).sum();
        assert!((weight - 100_000.0).abs() < 10.0, "{weight}");
        assert_eq!(sample.requests, 0);
    }

    #[test]
    fn threads_count_by_what_they_had() {
        let (mut busy, mut idle, mut second) = (Sample::new(1), Sample::new(2), Second::default());
        (0..9_000).for_each(|_| busy.note(&keys(1), None));
        (0..1_000).for_each(|_| idle.note(&keys(2), None));
        second.merge(&mut busy);
        second.merge(&mut idle);
        second.thin(&mut Chance::new(3), NOTES_MAX);
        assert_eq!(second.notes.len(), NOTES_MAX);
        let of_idle = second.notes.iter().filter(|note| note.keys.visitor == 2);
        let of_idle: f32 = of_idle.map(|note| note.weight).sum();
        assert!((800.0..1_200.0).contains(&of_idle), "{of_idle}");
    }
}
