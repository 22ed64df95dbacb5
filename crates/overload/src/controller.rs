//! One thread's admission: lets in what its time allows, and decides ten times a second how much that is.
//!
//! It has three states. *Quiet*: every request is let in at the cost of one comparison. *Watching*: the
//! thread begins to be late, and what requests cost is measured. *Shedding*: requests of zones above their
//! share are cut off from the least worth up. It sheds once the thread was late from one end to the other of
//! [`LATE_WINDOWS`] windows, and ends when nothing had to be shed for [`CALM_WINDOWS`]. Where requests cost
//! tens of milliseconds it must be later, and for longer: see [`TARGET_COSTS`].
//!
//! How much is let in is a *budget*, in parts of the thread's time: it falls by a twentieth in each window in
//! which the thread is late and does not catch up, stays while it catches up, and grows by a fiftieth when
//! it was less than half as late as it may be (additive increase, multiplicative decrease). What the budget
//! holds is found from what each zone's requests cost of late. Neither need be exact: what is wrong with
//! them moves the delay, and the delay moves the budget. What is really spent is counted against the budget
//! as well, so that some costly requests in a row are made up for by the next ones at once; and at a moment
//! at which the thread is late nobody comes in of those among whom its zone is cut off. Where requests leave
//! some of it, by chance or since what they cost was taken for too much, and the thread is hardly late, those
//! come in that would be next.
//!
//! How much comes in is seen only as fast as it is dealt with: a thread with fifty times too much to do sees
//! no more than it can serve. So it *drains* first: until it has caught up, zones above their share have only
//! their known visitors let in. Which zones these are is seen at once, since the line has all zones in the
//! proportion in which they come.
//!
//! Callers: `edge`, one for each serving thread. Read next: [`Controller::ask`], [`Controller::probe`].

use std::collections::HashMap;

use crate::delay::{Delay, Window};
use crate::known::{Known, Visitor, mix};
use crate::limits::{
    BUDGET_CUT, BUDGET_MAX, BUDGET_MIN, BUDGET_STEP, CALM_WINDOWS, COST_SAMPLES, CREDIT_MAX_US, DELAY_US,
    DRAIN_WINDOWS, HELD_US, LATE_COSTS, LATE_WINDOWS, LATE_WINDOWS_MAX, LEFT_US, LOOSE, REST_WINDOWS,
    STORED_FIRST_US, STORED_ONE_US, STORED_REST_WINDOWS, STORED_SAMPLES, STORED_US, TARGET_COSTS,
    TARGET_MAX_US, VERY_LATE, WAITING_COSTS, WAITING_PART, WINDOW_US, ZONE_IDLE_WINDOWS, ZONES_MAX,
};
use crate::rates::Rates;
use crate::shares::{Cut, Wish, divide};
use crate::worth::{Place, RANKS, Worth, first_alike};

pub use crate::delay::Probe;

const SECOND_US: u64 = 1_000_000;

/// What may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How late the thread may be for long, in microseconds; 0 switches everything off.
    pub delay_us: u64,
}

impl Default for Settings {
    /// [`DELAY_US`].
    fn default() -> Self {
        Self { delay_us: DELAY_US }
    }
}

/// What a controller does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The thread keeps up: everything is let in and nothing is measured.
    #[default]
    Quiet,
    /// It begins to be late: everything is let in, and what it costs is measured.
    Watching,
    /// Some is shed.
    Shedding,
}

/// A request that asks to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its zone, by a number of its own.
    pub zone: u64,
    /// The zone's weight, from 1.
    pub weight: u32,
    /// Its visitor.
    pub visitor: Visitor,
    /// Whether it is of a kind that is costly as a rule.
    pub is_costly: bool,
    /// Whether it was asked about before, let in, and has waited for its turn since.
    pub is_again: bool,
    /// How much of the thread's time those will take that wait for their turn, in microseconds.
    pub waiting_us: u64,
}

/// The figures of an episode of shedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How late the thread was at most, in microseconds.
    pub delay_us: u64,
    /// Requests let in.
    pub admitted: u64,
    /// Requests that should come back later.
    pub shed: u64,
    /// How long it took, in microseconds.
    pub lasted_us: u64,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The thread sheds from now on.
    Began(Told),
    /// It sheds no more.
    Ended(Told),
}

/// What is told apart in what requests cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Known visitors' requests of either kind: a flood's cost is not theirs.
    Known,
    /// Strangers' requests that are cheap as a rule.
    Cheap,
    /// Strangers' requests that are costly as a rule.
    Costly,
}

/// How many kinds there are.
const KINDS: usize = 3;

/// What requests cost, in microseconds, by kind.
type Costs = [f64; KINDS];

/// What was spent on how many requests, each window counting for a tenth less than the one behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    us: [f64; KINDS],
    requests: [f64; KINDS],
}

/// A mean over fewer requests than this, all of them long ago, is none.
const REQUESTS_LEAST: f64 = 0.01;

fn mean(us: f64, requests: f64) -> f64 {
    if requests >= REQUESTS_LEAST { us / requests } else { 0.0 }
}

impl Spent {
    fn settle(&mut self) {
        self.us.iter_mut().chain(&mut self.requests).for_each(|sum| *sum *= 0.9);
    }

    /// What a request costs, of whichever kind.
    fn mean(&self) -> f64 {
        mean(self.us.iter().sum(), self.requests.iter().sum())
    }

    /// What a request costs; where nothing is known of a kind, as much as others.
    fn means(&self) -> Costs {
        let all = mean(self.us.iter().sum(), self.requests.iter().sum());
        let mut means = [all; KINDS];
        for ((found, us), requests) in means.iter_mut().zip(self.us).zip(self.requests) {
            if requests >= REQUESTS_LEAST {
                *found = mean(us, requests);
            }
        }
        means
    }

    fn add(&mut self, kind: Kind, us: f64, requests: f64) {
        if let (Some(spent), Some(count)) =
            (self.us.get_mut(kind as usize), self.requests.get_mut(kind as usize))
        {
            *spent += us;
            *count += requests;
        }
    }

    /// What a request costs; where there were few, near to what it costs elsewhere.
    fn costs(&self, elsewhere: Costs) -> Costs {
        let mut costs = elsewhere;
        for ((cost, us), requests) in costs.iter_mut().zip(self.us).zip(self.requests) {
            *cost = (us + *cost * COST_SAMPLES) / (requests + COST_SAMPLES);
        }
        costs
    }
}

/// What is known of one zone while the thread is late.
#[derive(Debug)]
struct Zone {
    weight: u32,
    /// Requests of each rank in this window, by kind.
    fresh: [[u32; KINDS]; RANKS],
    /// What requests of each rank would cost in a window, averaged over the last few.
    came: [f64; RANKS],
    /// The sum of it, averaged over a second.
    steady: f64,
    spent: Spent,
    cut: Cut,
    /// Where it is cut at a moment at which the thread has time left.
    loose: Cut,
    /// What answers cost that those get who are not let in, on average of late, in microseconds.
    stored_us: f64,
    /// Windows for which they are not looked for, since that took too much.
    stored_rest: u32,
    idle: u8,
}

impl Zone {
    fn new(weight: u32) -> Self {
        let (fresh, came, spent) = ([[0; KINDS]; RANKS], [0.0; RANKS], Spent::default());
        let (cut, loose, stored_us) = (Cut::NONE, Cut::NONE, STORED_FIRST_US);
        Self { weight, fresh, came, steady: 0.0, spent, cut, loose, stored_us, stored_rest: 0, idle: 0 }
    }

    /// Takes a window in, the `windows`-th since the thread began to be late.
    fn settle(&mut self, length_us: u64, windows: u32, elsewhere: Costs) {
        let costs = self.spent.costs(elsewhere);
        let a_window = WINDOW_US as f64 / length_us.max(1) as f64;
        let mut all = 0.0;
        for (came, fresh) in self.came.iter_mut().zip(&mut self.fresh) {
            let counts = std::mem::take(fresh).map(f64::from);
            let cost = counts.iter().zip(costs).map(|(count, us)| count * us).sum::<f64>() * a_window;
            all += cost;
            *came = if windows == 1 { cost } else { (*came + cost) / 2.0 };
        }
        let weight = (1.0 / f64::from(windows.max(1))).max(0.1);
        self.steady += (all - self.steady) * weight;
        self.idle = if all == 0.0 { self.idle.saturating_add(1) } else { 0 };
        self.spent.settle();
        if self.stored_rest > 0 {
            self.stored_rest -= 1;
            // One is looked for, and tells.
            self.stored_us = STORED_US;
        }
    }

    /// The part of the thread's time that its requests would take.
    fn wanted(&self) -> f64 {
        self.came.iter().sum::<f64>() / WINDOW_US as f64
    }

    /// The same where it is asked whether the zone is above its share: a zone that wants little, and for a
    /// moment more, is not.
    fn claimed(&self) -> f64 {
        self.wanted().min(self.steady / WINDOW_US as f64)
    }
}

/// One thread's admission.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    /// How late the thread may be before it sheds, and for how many windows in a row.
    target_us: u64,
    /// How long those may take that wait for their turn.
    patient_us: u64,
    /// How late it may be while it sheds.
    held_us: u64,
    late_windows: u32,
    state: State,
    delay: Delay,
    /// The delay of the last window.
    delay_us: u64,
    /// When the first of the windows began in which it is late.
    late_since_us: u64,
    budget: f64,
    /// What the budget gave and requests did not take yet, in microseconds; below 0 they took more.
    credit_us: f64,
    credited_us: u64,
    /// Windows since the thread began to be late.
    windows: u32,
    /// What requests of all zones took.
    spent: Spent,
    late: u32,
    /// Windows in a row in which the thread was very late and did not catch up.
    drained: u32,
    is_draining: bool,
    calm: u32,
    zones: HashMap<u64, Zone, foldhash::fast::RandomState>,
    rates: Rates,
    salt: u64,
    number: u64,
    admitted: u32,
    shed: u32,
    told: Told,
    began_us: u64,
}

impl Controller {
    /// A quiet one. `seed` differs between threads and processes.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, (now_us, cpu_us): (u64, u64)) -> Self {
        Self {
            settings,
            target_us: settings.delay_us,
            patient_us: settings.delay_us,
            held_us: settings.delay_us.min(HELD_US),
            late_windows: LATE_WINDOWS,
            state: State::Quiet,
            delay: Delay::new(now_us, cpu_us),
            delay_us: 0,
            late_since_us: now_us,
            budget: 1.0,
            credit_us: 0.0,
            credited_us: now_us,
            windows: 0,
            spent: Spent::default(),
            late: 0,
            drained: 0,
            is_draining: false,
            calm: 0,
            zones: HashMap::default(),
            rates: Rates::new(),
            salt: seed,
            number: 0,
            admitted: 0,
            shed: 0,
            told: Told::default(),
            began_us: 0,
        }
    }

    /// What it does at the moment.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when the thread is late, in seconds of the clock of its probes; none while it keeps up.
    #[must_use]
    pub fn late_since_s(&self) -> Option<u64> {
        let is_late = self.state == State::Shedding || self.late > 0;
        is_late.then_some(self.late_since_us / SECOND_US)
    }

    /// Whether it wants to be told what requests cost.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.state != State::Quiet
    }

    /// How late the thread was in the last window, at least, in microseconds.
    #[must_use]
    pub fn delay_us(&self) -> u64 {
        self.delay_us
    }

    /// Decides about a request: as what its cost counts, or what it was worth if it does not come in.
    ///
    /// A quiet controller lets everything in and counts nothing. `now_us` is the same clock as
    /// [`Probe::now_us`], and in seconds that of `known`.
    ///
    /// # Errors
    /// The request is shed.
    pub fn ask(&mut self, asked: &Asked, known: &Known, now_us: u64) -> Result<Kind, Worth> {
        if self.state == State::Quiet {
            return Ok(Kind::Cheap);
        }
        self.credit(now_us);
        self.number = self.number.wrapping_add(1);
        let [now_s, since_s] = [now_us, self.late_since_us].map(|us| us / SECOND_US);
        let is_known = known.is_known(asked.visitor, now_s, since_s);
        let kind = match (is_known, asked.is_costly) {
            (true, _) => Kind::Known,
            (false, false) => Kind::Cheap,
            (false, true) => Kind::Costly,
        };
        let place = Place::of(
            asked.visitor,
            (is_known, asked.is_costly),
            self.rates.count(asked.visitor, now_us, u16::from(!asked.is_again)),
            (self.salt, self.number),
        );
        let has_room = self.zones.len() < ZONES_MAX || self.zones.contains_key(&asked.zone);
        if !has_room {
            return Ok(kind);
        }
        let zone = self.zones.entry(asked.zone).or_insert_with(|| Zone::new(asked.weight));
        zone.weight = asked.weight;
        let counts = zone.fresh.get_mut(usize::from(place.rank));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(kind as usize)) {
            *count = count.saturating_add(u32::from(!asked.is_again));
        }
        // The cut is by what comes and costs on average; of late it may have been more.
        let late_us = self.delay.last_us().max(asked.waiting_us.saturating_mul(WAITING_PART));
        let has_time = self.credit_us > 0.0 && late_us <= self.held_us;
        let is_spared = has_time || place.rank < first_alike(zone.cut.rank);
        let has_left = self.credit_us > LEFT_US && late_us <= self.held_us / 2;
        let is_in = self.state == State::Watching
            || zone.cut.lets_in(place.rank, place.within) && is_spared
            || zone.loose.lets_in(place.rank, place.within) && has_left
            || self.admitted == 0 && self.credit_us > 0.0;
        if is_in {
            zone.spent.add(kind, 0.0, 1.0);
            self.spent.add(kind, 0.0, 1.0);
            self.admitted += 1;
            return Ok(kind);
        }
        self.shed += 1;
        Err(place.worth())
    }

    /// A request of this zone that was let in waits for its turn: until that has come, what such requests
    /// take is told without it.
    pub fn waits(&mut self, zone: u64, kind: Kind) {
        self.count(zone, kind, -1.0);
    }

    /// Its turn has come.
    pub fn begins(&mut self, zone: u64, kind: Kind) {
        self.count(zone, kind, 1.0);
    }

    fn count(&mut self, zone: u64, kind: Kind, requests: f64) {
        self.spent.add(kind, 0.0, requests);
        if let Some(zone) = self.zones.get_mut(&zone) {
            zone.spent.add(kind, 0.0, requests);
        }
    }

    /// Notes that a request of this zone that was let in took so much of the thread's time. To be told while
    /// [`Controller::is_measuring`], and not of requests that were shed: what those cost is no part of what
    /// serving costs.
    pub fn spent(&mut self, zone: u64, kind: Kind, us: u64) {
        self.credit_us -= us as f64;
        self.spent.add(kind, us as f64, 0.0);
        if let Some(zone) = self.zones.get_mut(&zone) {
            zone.spent.add(kind, us as f64, 0.0);
        }
    }

    /// Notes that it took so much of the thread's time to look for a stored answer for a request of this zone
    /// that was shed, and to give it.
    pub fn spent_on_stored(&mut self, zone: u64, us: u64) {
        if let Some(zone) = self.zones.get_mut(&zone) {
            zone.stored_us += ((us as f64).min(STORED_ONE_US) - zone.stored_us) / STORED_SAMPLES;
            if zone.stored_us > STORED_US {
                zone.stored_rest = STORED_REST_WINDOWS;
            }
        }
    }

    /// Whether a request of this zone that was shed may be looked for among stored answers: where that costs
    /// little, which what a zone does before it looks decides.
    #[must_use]
    pub fn may_look(&self, zone: u64) -> bool {
        self.zones.get(&zone).is_none_or(|zone| zone.stored_rest == 0)
    }

    /// Takes in what the thread measured of itself: some tens of times a second when its timer runs, and,
    /// while that is overdue, some tens of times a second when requests have their turn.
    pub fn probe(&mut self, probe: &Probe) -> Option<Change> {
        let window = self.delay.probe(probe)?;
        if self.settings.delay_us == 0 {
            return None;
        }
        let before_us = std::mem::replace(&mut self.delay_us, window.delay_us);
        if self.is_measuring() {
            self.windows = self.windows.saturating_add(1);
            let elsewhere = self.spent.means();
            self.spent.settle();
            let (length_us, windows) = (window.length_us, self.windows);
            self.zones.retain(|_, zone| {
                zone.settle(length_us, windows, elsewhere);
                zone.idle < ZONE_IDLE_WINDOWS
            });
        }
        self.aim(&window, probe.cost_us);
        if self.state != State::Shedding && self.late == 0 {
            self.late_since_us = probe.now_us.saturating_sub(window.length_us);
        }
        let (admitted, shed) = (std::mem::take(&mut self.admitted), std::mem::take(&mut self.shed));
        match self.state {
            State::Quiet | State::Watching => {
                let late = self.lateness(&window);
                self.late = if late > 0 { self.late + late } else { 0 };
                if self.late >= 2 * self.late_windows && self.state == State::Watching {
                    return Some(self.begin(probe.now_us, &window));
                }
                let is_easy = window.delay_us < self.target_us / 4;
                self.calm = if is_easy { self.calm + 1 } else { 0 };
                if !is_easy {
                    self.state = State::Watching;
                } else if self.calm >= REST_WINDOWS {
                    self.rest();
                }
                None
            }
            State::Shedding => {
                self.told.delay_us = self.told.delay_us.max(window.delay_us);
                self.told.admitted += u64::from(admitted);
                self.told.shed += u64::from(shed);
                self.calm = if shed == 0 && window.delay_us <= self.target_us { self.calm + 1 } else { 0 };
                if self.calm >= CALM_WINDOWS {
                    self.state = State::Watching;
                    (self.late, self.calm) = (0, 0);
                    self.told.lasted_us = probe.now_us.saturating_sub(self.began_us);
                    return Some(Change::Ended(std::mem::take(&mut self.told)));
                }
                self.adjust(before_us);
                self.cut();
                None
            }
        }
    }

    fn credit(&mut self, now_us: u64) {
        let since_us = now_us.saturating_sub(std::mem::replace(&mut self.credited_us, now_us));
        let given_us = since_us as f64 * self.budget;
        self.credit_us = (self.credit_us + given_us).clamp(-5.0 * CREDIT_MAX_US, CREDIT_MAX_US);
    }

    /// Sets how late the thread may be before it sheds, and for how long, by what requests cost of late. One
    /// that sheds already is held to less: that it has too much to do is no question any more, and whoever is
    /// let in should not wait in the line that told so.
    ///
    /// What they cost was measured by the clock; of that the thread worked as much as of the window, in which
    /// it had always something to do if it was late.
    fn aim(&mut self, window: &Window, cost_us: u64) {
        if self.state == State::Shedding {
            self.target_us = self.held_us;
            return;
        }
        let worked = window.worked_us.min(window.length_us) as f64 / window.length_us.max(1) as f64;
        let (set_us, mean_us) = (self.settings.delay_us, ((self.spent.mean() * worked) as u64).max(cost_us));
        let most_us = set_us.max(TARGET_MAX_US);
        self.target_us = mean_us.saturating_mul(TARGET_COSTS).clamp(set_us, most_us);
        self.patient_us = mean_us.saturating_mul(WAITING_COSTS).clamp(set_us, most_us);
        let windows = mean_us.saturating_mul(LATE_COSTS) / WINDOW_US;
        self.late_windows = u32::try_from(windows).unwrap_or(u32::MAX).clamp(LATE_WINDOWS, LATE_WINDOWS_MAX);
    }

    /// How much a window tells of a thread that has too much to do: twice as much where the thread itself is
    /// late as where requests wait for their turn, which keeps nobody of another zone waiting.
    fn lateness(&self, window: &Window) -> u32 {
        let of = |delay_us: u64, most_us: u64| {
            u32::from(delay_us > most_us) + u32::from(delay_us > most_us.saturating_mul(VERY_LATE))
        };
        (2 * of(window.thread_us, self.target_us)).max(of(window.delay_us, self.patient_us))
    }

    fn rest(&mut self) {
        self.state = State::Quiet;
        self.zones = HashMap::default();
        self.windows = 0;
        self.spent = Spent::default();
    }

    fn begin(&mut self, now_us: u64, window: &Window) -> Change {
        self.state = State::Shedding;
        self.began_us = now_us;
        self.calm = 0;
        self.salt = mix(self.salt.wrapping_add(now_us));
        self.told = Told { delay_us: window.delay_us, ..Told::default() };
        // What requests took of the thread while all were let in is what there is to give; the rest of its
        // time went to what comes before: connections, handshakes, heads.
        let wanted: f64 = self.zones.values().map(Zone::wanted).sum();
        self.budget = (wanted.min(1.0) * BUDGET_CUT).clamp(BUDGET_MIN, BUDGET_MAX);
        self.is_draining = true;
        self.drained = 0;
        self.cut();
        Change::Began(self.told)
    }

    fn adjust(&mut self, before_us: u64) {
        let target_us = self.held_us;
        let wanted: f64 = self.zones.values().map(Zone::wanted).sum();
        // While the thread catches up with what waits there is nothing to mend.
        let catches_up = self.delay_us.saturating_mul(10) <= before_us.saturating_mul(9);
        if self.delay_us > target_us {
            let is_very_late = self.delay_us > target_us.saturating_mul(VERY_LATE);
            self.is_draining |= is_very_late && !catches_up;
            self.drained = if self.is_draining { self.drained + 1 } else { 0 };
            if !catches_up && (!self.is_draining || self.drained > DRAIN_WINDOWS) {
                self.budget = (self.budget * BUDGET_CUT).max(BUDGET_MIN);
            }
            return;
        }
        self.is_draining = false;
        self.drained = 0;
        if self.delay_us < target_us / 2 && wanted > self.budget {
            let is_idle = self.delay_us < target_us / 8;
            let step = if is_idle { BUDGET_STEP * 2.0 } else { BUDGET_STEP };
            self.budget = (self.budget + step).min(BUDGET_MAX);
        }
    }

    fn cut(&mut self) {
        let wishes: Vec<Wish> =
            self.zones.values().map(|zone| Wish { wanted: zone.claimed(), weight: zone.weight }).collect();
        let parts = divide(&wishes, self.budget);
        let (mut steady, mut weights) = (0.0, 0.0);
        for zone in self.zones.values() {
            steady += zone.steady;
            weights += f64::from(zone.weight.max(1));
        }
        for (zone, part) in self.zones.values_mut().zip(parts) {
            zone.cut = Cut::at(&zone.came, part);
            zone.loose = Cut::at(&zone.came, (part * LOOSE).min(1.0));
            // While it is very late the thread sees less than comes, but sees it in the right proportions.
            let is_above = zone.steady * weights >= steady * f64::from(zone.weight.max(1));
            if self.is_draining && (part < 1.0 || is_above) {
                zone.cut = zone.cut.at_most(Cut::KNOWN);
                zone.loose = zone.cut;
            }
        }
    }
}

#[cfg(test)]
mod tests;
