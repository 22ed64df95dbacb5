//! How many exchanges may wait for one origin at once: found from how long its answers take to begin.
//!
//! An origin that has more to do than it can answers everybody later; one that is merely slow does so however
//! little it is asked. So the limit is an experiment. *Free*: nothing is limited, and two things are learnt:
//! how long the quickest answers take, and how many waited while they were in time ([`Limiter`]'s `proven`).
//! Once even the quickest answer of some windows in a row is late, and more wait than ever did in time, the
//! limit is *cut* to a part of what waits. If answers come sooner then, there was a line at the origin, and
//! it is *held*: a little more while it is in time and full, less when it is late. If they do not, the origin
//! is slow by itself: nothing is limited, and that is what its answers take from now on.
//!
//! The least time of a window counts, as in CoDel (RFC 8289): of some answers one is cheap, whatever the mix,
//! and only a line makes that one late. Never is the limit below what the origin is known to answer in time,
//! so that one that keeps up is not limited, whatever comes at once. What this gets wrong: a site whose cheap
//! requests all end at once, while it grows busier than ever, is limited for a window, until the experiment
//! says that it is of no use.
//!
//! Used by `fleet.rs` and `choose.rs`. Read next: [`Limiter::settle`], `line.rs`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, TryLockError};

/// Length of a window at the least, in microseconds: a fifth of a second tells a line from a burst.
pub const WINDOW_US: u64 = 200_000;

/// Answers in a window at the least. Of eight one is cheap, unless cheap ones are seldom.
pub const SAMPLES_MIN: u32 = 8;

/// After this time a window without enough answers is given up, in microseconds: too few to judge by. While
/// the origin is limited it lasts until there are enough: whoever answers in ten seconds must be told apart
/// from whoever has a line, and the limit itself lets few through.
pub const WINDOW_MAX_US: u64 = 5_000_000;

/// How late the quickest answer may be beyond twice what it takes as a rule, in microseconds. Below that
/// nobody minds; a line of that length keeps an origin as busy as it can be.
pub const SLACK_US: u64 = 400_000;

/// Windows in a row that must be late before anything is limited: a pause of half a second is a burst.
pub const LATE_WINDOWS: u32 = 5;

/// The limit is never below this many: fewer would leave a small origin with nothing to do meanwhile.
pub const LIMIT_MIN: u32 = 8;

/// Windows in a row, in time and not full, after which nothing is limited any more: 5 s.
const CALM_WINDOWS: u32 = 25;

/// Late windows at the lowest limit after which what was proven counts for less: 3 s.
const STUCK_WINDOWS: u32 = 15;

/// What is left of the limit, or of what is proven, after a cut.
const CUT: f64 = 0.7;

/// Cuts in a row, of no use, by which one that was limited turns out to be slow by itself. The first cut of
/// all decides alone: there the line is long, and the difference plain.
const FUTILE_MAX: u32 = 2;

/// Windows of a span: what waited in one is proven when the next is over too, and no line has come of it.
const SPAN_WINDOWS: u32 = 10;

/// What is left of what is proven after a span: half after 10 minutes or more.
const FORGETS: f64 = 0.998;

/// By what part of the difference answers in time that take longer become the rule with each window.
const DRIFT: u64 = 64;

const NONE: u32 = u32::MAX;

/// What one window showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its length, in microseconds.
    pub length_us: u64,
    /// Answers that began in it.
    pub answers: u32,
    /// The shortest time from a request to the beginning of its answer, in microseconds.
    pub least_us: u64,
    /// Exchanges that waited for an answer, at most.
    pub most: u32,
    /// Whether somebody found the origin at its limit.
    pub was_full: bool,
}

impl Window {
    /// How many are answered in a time, at the rate of this window.
    fn answers_in(&self, us: u64) -> f64 {
        f64::from(self.answers) * us as f64 / self.length_us.max(1) as f64
    }
}

/// What became of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is limited from now on.
    Began,
    /// It is limited no more.
    Ended,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Free,
    /// The limit was cut; if that is of use the quickest answer takes less than this.
    Cut {
        useful_us: f64,
    },
    Held {
        calm: u32,
        stuck: u32,
    },
}

/// The experiment: pure, told windows only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limiter {
    /// What the quickest answers take as a rule, in microseconds.
    usual_us: Option<u64>,
    /// The most exchanges that waited while answers were in time.
    proven: f64,
    /// The same in the running and the last span of windows: proven once no line has come of it.
    spans: [f64; 2],
    span_windows: u32,
    limit: u32,
    late: u32,
    /// Cuts in a row that were of no use.
    futile: u32,
    stage: Stage,
}

impl Limiter {
    /// The limit; none while nothing is limited.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        (self.stage != Stage::Free).then_some(self.limit)
    }

    fn floor(&self) -> u32 {
        (self.proven as u32).max(LIMIT_MIN)
    }

    /// Takes a window in. After a cut, that must be one of exchanges begun when no more waited than the limit
    /// allows.
    pub fn settle(&mut self, window: &Window) -> Option<Turn> {
        let usual_us = *self.usual_us.get_or_insert(window.least_us);
        let late_us = usual_us.saturating_mul(2).saturating_add(SLACK_US);
        let is_late = window.least_us > late_us;
        match self.stage {
            Stage::Free => {
                self.learn(window, usual_us);
                self.late = if is_late { self.late + 1 } else { 0 };
                if self.late < LATE_WINDOWS {
                    return None;
                }
                if window.most <= self.floor() {
                    // So many were answered in time before: it has become slower.
                    self.usual_us = Some(usual_us + (window.least_us - usual_us) / 8);
                    return None;
                }
                // By Little's law: so many wait for no longer than they may.
                let limit = window.answers_in(late_us).min(f64::from(window.most) * CUT);
                self.cut(limit, window.most, window);
                self.futile = FUTILE_MAX;
                Some(Turn::Began)
            }
            Stage::Cut { useful_us } => {
                self.futile = if window.least_us as f64 > useful_us { self.futile + 1 } else { 0 };
                if self.futile > FUTILE_MAX {
                    self.usual_us = Some(window.least_us);
                    return Some(self.free());
                }
                self.stage = Stage::Held { calm: 0, stuck: 0 };
                None
            }
            Stage::Held { stuck, .. } if is_late => {
                if self.limit > self.floor() {
                    self.cut(f64::from(self.limit) * CUT, self.limit, window);
                    return None;
                }
                let is_stuck = stuck >= STUCK_WINDOWS;
                self.proven *= if is_stuck { CUT } else { 1.0 };
                self.stage = Stage::Held { calm: 0, stuck: if is_stuck { 0 } else { stuck + 1 } };
                None
            }
            Stage::Held { calm, .. } => {
                let calm = if window.was_full { 0 } else { calm + 1 };
                if window.was_full {
                    self.limit = self.limit.saturating_add((self.limit / 16).max(1));
                }
                self.stage = Stage::Held { calm, stuck: 0 };
                (calm >= CALM_WINDOWS).then(|| self.free())
            }
        }
    }

    /// Learns from a window in time, and nothing from one in which a line begins.
    fn learn(&mut self, window: &Window, usual_us: u64) {
        if window.least_us > usual_us.saturating_mul(2).saturating_add(SLACK_US / 4) {
            (self.spans, self.span_windows) = ([0.0; 2], 0);
            return;
        }
        let [up_us, down_us] =
            [window.least_us.saturating_sub(usual_us) / DRIFT, usual_us.saturating_sub(window.least_us) / 8];
        self.usual_us = Some(usual_us + up_us - down_us);
        let [running, last] = self.spans;
        self.spans = [running.max(f64::from(window.most)), last];
        self.span_windows += 1;
        if self.span_windows >= SPAN_WINDOWS {
            self.proven = (self.proven * FORGETS).max(last);
            self.spans = [0.0, running];
            self.span_windows = 0;
        }
    }

    /// Cuts the limit from what waits down to `limit`; of use is what gives half of what it should.
    fn cut(&mut self, limit: f64, from: u32, window: &Window) {
        self.limit = (limit as u32).max(self.floor());
        let left = f64::from(self.limit) / f64::from(from.max(1));
        // By Little's law: what comes in now will have waited for so long.
        let delay_us = f64::from(window.most) / window.answers_in(1).max(f64::MIN_POSITIVE);
        self.stage = Stage::Cut { useful_us: delay_us.max(window.least_us as f64) * (1.0 + left) / 2.0 };
    }

    fn free(&mut self) -> Turn {
        self.stage = Stage::Free;
        self.late = 0;
        (self.spans, self.span_windows) = ([0.0; 2], 0);
        Turn::Ended
    }
}

/// The exchanges that wait for one origin, counted over all threads, and the windows they make.
#[derive(Debug)]
pub(crate) struct Pressure {
    waiting: AtomicU32,
    limit: AtomicU32,
    least_us: AtomicU64,
    samples: AtomicU32,
    most: AtomicU32,
    was_full: AtomicBool,
    began_us: AtomicU64,
    /// Exchanges begun before this time say nothing about the limit; at its greatest while more wait than
    /// that allows.
    counts_from_us: AtomicU64,
    limiter: Mutex<Limiter>,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            waiting: AtomicU32::new(0),
            limit: AtomicU32::new(NONE),
            least_us: AtomicU64::new(u64::MAX),
            samples: AtomicU32::new(0),
            most: AtomicU32::new(0),
            was_full: AtomicBool::new(false),
            began_us: AtomicU64::new(0),
            counts_from_us: AtomicU64::new(0),
            limiter: Mutex::default(),
        }
    }
}

impl Pressure {
    /// How many wait, and how many may.
    pub(crate) fn now(&self) -> (u32, Option<u32>) {
        (self.waiting.load(Relaxed), Some(self.limit.load(Relaxed)).filter(|limit| *limit != NONE))
    }

    /// Whether no more may wait; noted as wanted if so.
    pub(crate) fn is_full(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        let is_full = limit != NONE && self.waiting.load(Relaxed) >= limit;
        if is_full {
            self.was_full.store(true, Relaxed);
        }
        is_full
    }

    /// One more waits, if there is a place or `is_limited` is not set.
    pub(crate) fn may_begin(&self, is_limited: bool) -> bool {
        let limit = if is_limited { self.limit.load(Relaxed) } else { NONE };
        let begun = self.waiting.fetch_update(Relaxed, Relaxed, |count| (count < limit).then_some(count + 1));
        match begun {
            Ok(before) => {
                if before + 1 > self.most.load(Relaxed) {
                    self.most.fetch_max(before + 1, Relaxed);
                }
                true
            }
            Err(_) => {
                self.was_full.store(true, Relaxed);
                false
            }
        }
    }

    /// One waits no longer, answered or not.
    pub(crate) fn ended(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Takes in that an answer began at `now_us` to a request that was whole at `sent_us`.
    pub(crate) fn answered(&self, sent_us: u64, now_us: u64) -> Option<Turn> {
        let counts_from_us = self.counts_from_us.load(Relaxed);
        if counts_from_us == u64::MAX {
            if self.waiting.load(Relaxed) <= self.limit.load(Relaxed) {
                self.counts_from_us.store(now_us, Relaxed);
                self.begin(now_us);
            }
            return None;
        }
        if sent_us < counts_from_us {
            return None;
        }
        self.least_us.fetch_min(now_us.saturating_sub(sent_us), Relaxed);
        let samples = self.samples.fetch_add(1, Relaxed) + 1;
        let length_us = now_us.saturating_sub(self.began_us.load(Relaxed));
        let may_give_up = length_us >= WINDOW_MAX_US && self.limit.load(Relaxed) == NONE;
        if length_us < WINDOW_US || samples < SAMPLES_MIN && !may_give_up {
            return None;
        }
        // Another thread that settles at the moment does it for both.
        match self.limiter.try_lock() {
            Ok(mut limiter) => {
                let window = Window {
                    length_us,
                    answers: samples,
                    least_us: self.least_us.load(Relaxed),
                    most: self.most.load(Relaxed),
                    was_full: self.was_full.load(Relaxed),
                };
                self.begin(now_us);
                let turn = if samples < SAMPLES_MIN { None } else { limiter.settle(&window) };
                self.limit.store(limiter.limit().unwrap_or(NONE), Relaxed);
                if matches!(limiter.stage, Stage::Cut { .. }) {
                    self.counts_from_us.store(u64::MAX, Relaxed);
                }
                turn
            }
            Err(TryLockError::WouldBlock) => None,
            // It broke: everything is let in.
            Err(TryLockError::Poisoned(_)) => {
                self.limit.store(NONE, Relaxed);
                None
            }
        }
    }

    fn begin(&self, now_us: u64) {
        self.began_us.store(now_us, Relaxed);
        self.least_us.store(u64::MAX, Relaxed);
        self.samples.store(0, Relaxed);
        self.most.store(self.waiting.load(Relaxed), Relaxed);
        self.was_full.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests;
