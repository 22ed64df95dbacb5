//! Which single values and pairs of values explain that a zone's load is above what is usual.
//!
//! A candidate must have grown several times over, and more than the zone as a whole: in a crowd of people
//! everything grows alike, and nothing is found. The best one explains most of the excess and is least of
//! what is usual; a pair is taken where it spares usual requests that a single value would meet. Found once,
//! its requests are left out, and the rest is looked at again: a greedy cover, which is at worst some times
//! larger than the smallest (Chvátal 1979), of at most a handful.
//!
//! Bounded: values with less than a twentieth of the excess are no candidates, so there are at most 20 a
//! dimension. Called by `watch.rs` for each second of an episode. Read next: the function of that name.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::baseline::Baseline;
use crate::limits::{
    CALM_PER_S, CALM_SHARE, CROWD_SHARE, FOREIGN_TIMES, HARM_WEIGHT, KEY_TIMES, SHARE_TIMES, VISITOR_ALL,
    VISITOR_PATH, VISITOR_TIMES, WORTH_SHARE,
};
use crate::note::{Dimension, Keys, NEW_TARGET, Note};

/// One value of one dimension.
pub(crate) type Value = (Dimension, u32);

fn is_what(dimension: Dimension) -> bool {
    matches!(dimension, Dimension::Path | Dimension::Target)
}

/// Up to two values that a request has; none is every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    pub(crate) first: Option<Value>,
    pub(crate) second: Option<Value>,
}

impl Pattern {
    fn of(first: Value, second: Option<Value>) -> Self {
        Self { first: Some(first), second }
    }

    /// Its values, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        self.first.into_iter().chain(self.second)
    }

    /// Whether another would meet much the same visitors, so that it is not tried where this one was
    /// withdrawn: one with a value in common, and every request; but what was wrong for every request may be
    /// right for some.
    pub(crate) fn bars(&self, other: &Self) -> bool {
        other.first.is_none() || self.values().any(|value| other.values().any(|o| o == value))
    }

    /// Whether a request matches whose target is judged already.
    pub(crate) fn matches(&self, keys: &Keys) -> bool {
        self.values().all(|(dimension, value)| keys.value(dimension) == value)
    }

    /// Whether it matches but for what it says of the target, which `is_new` is asked for.
    pub(crate) fn matches_asking(&self, keys: &Keys, is_new: impl Fn() -> bool) -> bool {
        self.values().all(|(dimension, value)| match dimension {
            Dimension::Target => value == NEW_TARGET && is_new(),
            _ => keys.value(dimension) == value,
        })
    }

    /// Whether it says what is asked for, and so how often one visitor may ask.
    pub(crate) fn names_what(&self) -> bool {
        self.values().any(|(dimension, _)| is_what(dimension))
    }

    /// What it says of who asks, without what is asked for.
    fn who(&self) -> Self {
        let mut who = self.values().filter(|(dimension, _)| !is_what(*dimension));
        Self { first: who.next(), second: who.next() }
    }

    /// How many requests one visitor may make that match, and in how many seconds.
    pub(crate) fn visitor_max(&self) -> (u32, u32) {
        if self.names_what() { VISITOR_PATH } else { VISITOR_ALL }
    }
}

/// What explains a part of an excess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// What its requests have in common.
    pub pattern: Pattern,
    /// How many there are a second.
    pub rate: f64,
    /// How many there are usually, at most.
    pub usual: f64,
    /// How many a second one of its visitors makes, as its requests meet them.
    pub visitor_rate: f64,
    /// Whether it looks like a crowd of people: who asks asks for what is usually asked for, or, where
    /// nothing says who asks, most of the excess is something else.
    pub is_crowd: bool,
    /// Whether it says who asks by what is hard to change (network, prefix, JA4), and few visitors are so.
    pub is_foreign: bool,
    /// Whether its visitors ask for one thing, change nothing, and seldom come back, as those of an
    /// application or an installer do.
    pub is_calm: bool,
    /// The part of all that is unexplained.
    share: f64,
    score: f64,
}

impl Found {
    /// Whether its visitors ask so much each that a limit by visitor will do.
    pub(crate) fn has_busy_visitors(&self) -> bool {
        let (most, seconds) = self.pattern.visitor_max();
        self.visitor_rate >= VISITOR_TIMES * f64::from(most) / f64::from(seconds)
    }
}

/// What is looked at: the requests of some seconds that nothing explains yet.
pub(crate) struct Unexplained<'a> {
    pub(crate) notes: Vec<&'a Note>,
    pub(crate) seconds: f64,
    /// The rate of all requests, explained ones too.
    pub(crate) rate: f64,
    /// By how much it is above the usual rate.
    pub(crate) excess: f64,
    /// The least rate that is worth a limit.
    pub(crate) least: f64,
}

type Counts = HashMap<Pattern, f64, FixedState>;

/// Candidates, the best first: at most eight.
pub(crate) fn explain(what: &Unexplained<'_>, baseline: &Baseline) -> Vec<Found> {
    let least = (WORTH_SHARE * what.excess).max(what.least);
    let single = |note: &Note, counts: &mut Counts| {
        for dimension in Dimension::ALL {
            let value = note.value(dimension);
            if value != 0 {
                *counts.entry(Pattern::of((dimension, value), None)).or_default() += f64::from(note.weight);
            }
        }
    };
    let mut singles = Counts::default();
    what.notes.iter().for_each(|note| single(note, &mut singles));
    singles.retain(|_, weight| *weight / what.seconds >= least);
    let mut counts = singles.clone();
    what.notes.iter().for_each(|note| pairs(note, &singles, f64::from(note.weight), &mut counts, true));
    counts.retain(|_, weight| *weight / what.seconds >= least);
    let mut usual = Counts::default();
    usual.extend(counts.keys().map(|pattern| (*pattern, 0.0)));
    baseline.reference().iter().for_each(|note| pairs(note, &singles, 1.0, &mut usual, false));
    let seen = Seen { counts: &counts, usual: &usual };
    let mut found: Vec<Found> =
        counts.keys().filter_map(|pattern| judge(*pattern, &seen, what, baseline)).collect();
    // Single values before pairs that are hardly better; the rest only so that equal inputs end alike.
    let rank = |found: &Found| found.score * if found.pattern.second.is_some() { 0.97 } else { 1.0 };
    found.sort_by(|one, other| rank(other).total_cmp(&rank(one)).then(one.pattern.cmp(&other.pattern)));
    found.truncate(8);
    let usual = paths(baseline.reference().iter(), |_| 1.0);
    found.iter_mut().for_each(|found| look_closer(found, &what.notes, &usual));
    found
}

/// Whether every request is made by visitors that ask too much each, without anything else in common.
pub(crate) fn everybody(what: &Unexplained<'_>, baseline: &Baseline) -> Found {
    let rate = what.notes.iter().map(|note| f64::from(note.weight)).sum::<f64>() / what.seconds;
    let (pattern, usual) = (Pattern::default(), baseline.usual());
    let mut found = Found {
        pattern,
        rate,
        usual,
        visitor_rate: 0.0,
        is_crowd: true,
        is_foreign: false,
        is_calm: false,
        share: 1.0,
        score: 0.0,
    };
    found.visitor_rate = rate * sameness(&pattern, &what.notes);
    found
}

/// Counts a note under those of its values that are candidates (unless they are counted already), and under
/// their pairs; `is_open` says whether a pair may be counted that was not before.
fn pairs(note: &Note, singles: &Counts, weight: f64, counts: &mut Counts, is_open: bool) {
    let mut has = [None; crate::note::DIMENSIONS];
    for (place, dimension) in has.iter_mut().zip(Dimension::ALL) {
        let value = (dimension, note.value(dimension));
        let pattern = Pattern::of(value, None);
        if singles.contains_key(&pattern) {
            *place = Some(value);
            if let Some(count) = counts.get_mut(&pattern).filter(|_| !is_open) {
                *count += weight;
            }
        }
    }
    for (at, first) in has.iter().enumerate() {
        for second in has.iter().skip(at + 1) {
            let (Some(first), Some(second)) = (first, second) else { continue };
            let pattern = Pattern::of(*first, Some(*second));
            if is_open {
                *counts.entry(pattern).or_default() += weight;
            } else if let Some(count) = counts.get_mut(&pattern) {
                *count += weight;
            }
        }
    }
}

/// How much there is of each candidate, and how many of what is usual are such.
struct Seen<'a> {
    counts: &'a Counts,
    usual: &'a Counts,
}

fn judge(pattern: Pattern, seen: &Seen<'_>, what: &Unexplained<'_>, baseline: &Baseline) -> Option<Found> {
    let rate_of = |pattern: &Pattern| seen.counts.get(pattern).copied().unwrap_or(0.0) / what.seconds;
    let usual_of = |pattern: &Pattern| seen.usual.get(pattern).copied().unwrap_or(0.0);
    let rate = rate_of(&pattern);
    let (likely, usual) = baseline.rate_from(usual_of(&pattern));
    let share_before = likely / baseline.usual().max(0.001);
    let share_now = rate / what.rate.max(0.001);
    let has_grown = rate >= KEY_TIMES * usual && share_now >= SHARE_TIMES * share_before;
    let score = rate - likely - HARM_WEIGHT * usual;
    if !has_grown || score <= 0.0 {
        return None;
    }
    // Of those who ask for this, or of all where it does not say what for: is that how visitors usually are?
    let of = pattern.values().find(|(dimension, _)| is_what(*dimension));
    let among = of.map_or(what.rate, |of| rate_of(&Pattern::of(of, None)));
    let is_foreign = pattern.values().any(|value| {
        let (_, usual) = baseline.rate_from(usual_of(&Pattern::of(value, None)));
        let is_firm = matches!(value.0, Dimension::Prefix | Dimension::Network | Dimension::Ja4);
        is_firm && rate / among.max(0.001) >= FOREIGN_TIMES * usual / baseline.usual().max(0.001)
    });
    let share = (rate - likely) / what.excess.max(0.001);
    let (is_crowd, is_calm) = (false, false);
    Some(Found { pattern, rate, usual, visitor_rate: 0.0, is_crowd, is_foreign, is_calm, share, score })
}

type Paths = HashMap<u32, f64, FixedState>;

/// Shares of paths.
fn paths<'a>(notes: impl Iterator<Item = &'a Note>, weight: impl Fn(&Note) -> f64) -> Paths {
    let (mut shares, mut sum) = (Paths::default(), 0.0);
    for note in notes {
        *shares.entry(note.value(Dimension::Path)).or_default() += weight(note);
        sum += weight(note);
    }
    shares.values_mut().for_each(|share| *share /= f64::max(sum, 0.001));
    shares
}

/// How likely two of the requests that match are one visitor's. That tells how many visitors share them,
/// however small the sample is (Simpson 1949).
fn sameness(pattern: &Pattern, notes: &[&Note]) -> f64 {
    let mut visitors: HashMap<u64, u32, FixedState> = HashMap::default();
    let mut count = 0_u32;
    for note in notes.iter().filter(|note| pattern.matches(&note.keys)) {
        count += 1;
        *visitors.entry(note.keys.visitor).or_default() += 1;
    }
    let pairs = |count: u32| f64::from(count) * (f64::from(count) - 1.0);
    visitors.values().map(|count| pairs(*count)).sum::<f64>() / pairs(count).max(1.0)
}

/// Whether most of what matches is for one thing, and changes nothing.
fn is_one_thing(pattern: &Pattern, notes: &[&Note]) -> bool {
    let matching = || notes.iter().filter(|note| pattern.matches(&note.keys)).copied();
    let weight = |note: &Note| f64::from(note.weight);
    let safe: f64 = matching().filter(|note| note.keys.is_safe()).map(weight).sum();
    let most = paths(matching(), weight).into_values().fold(0.0, f64::max);
    most >= CALM_SHARE && safe >= CALM_SHARE * matching().map(weight).sum::<f64>()
}

/// Finds out how much one visitor asks, and whether it looks like a crowd.
fn look_closer(found: &mut Found, notes: &[&Note], usual: &Paths) {
    found.visitor_rate = found.rate * sameness(&found.pattern, notes);
    found.is_calm = found.visitor_rate < CALM_PER_S && is_one_thing(&found.pattern, notes);
    let who = found.pattern.who();
    if !found.is_foreign && found.share < CROWD_SHARE {
        found.is_crowd = true;
    }
    if who.first.is_none() {
        return;
    }
    let theirs = notes.iter().filter(|note| who.matches(&note.keys)).copied();
    let theirs = paths(theirs, |note| f64::from(note.weight));
    let common = |(path, share): (&u32, &f64)| share.min(usual.get(path).copied().unwrap_or(0.0));
    found.is_crowd |= theirs.iter().map(common).sum::<f64>() >= CROWD_SHARE;
}
