//! In which order a thread does costly requests that were let in: by zone, each zone's known visitors first.
//!
//! A thread does what it has read at once, in the order in which it read it, and what it does is not to be
//! interrupted. So a visitor of one zone waits for all that another zone's visitors have asked for just
//! before, even though most of that may be sent away later on. Here costly requests are read, let in, and
//! wait; the thread does one of them, looks what has come in meanwhile, does what of that is cheap, and then
//! does the next. Whoever asks for something cheap waits for one costly request at most, and whose turn it is
//! among the costly ones is decided by zone.
//!
//! A zone's requests are costly where a microsecond that they take is on average one of a request that takes
//! [`COSTLY_US`]: however many cheap ones come beside them. Zones have their turns
//! by weighted start-time fair queueing (Goyal, Vin and Cheng, 1996) over measured time: the next turn is of
//! the zone that has had least for its weight; one that had nothing to do for a while begins where the others
//! are. Within a zone known visitors come before all others, and else whoever has waited for longest; one
//! that has waited for too long is sent away before either.
//!
//! Pure. Called by `edge` on a thread that was late a moment ago, and not at all on others. Read next:
//! [`crate::controller`], which decides who is let in.

use std::collections::{HashMap, VecDeque};

use crate::limits::{COSTLY_US, TURN_WAIT_US, TURNS_WAITING_MAX, ZONES_MAX};

/// A request whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<T> {
    /// What it was put in its line with.
    pub of: T,
    /// What it will take, as those of its zone did when it came, in microseconds.
    pub cost_us: u64,
    /// It waited for longer than anybody should, and is to be sent away.
    pub is_late: bool,
}

/// Where a request waits: its zone, whether its visitor is known, and a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    zone: u64,
    is_known: bool,
    number: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    number: u64,
    since_us: u64,
    /// What it will take, as those of its zone did when it came.
    cost_us: f64,
    of: T,
}

/// One zone: what its requests take, and those that wait.
#[derive(Debug)]
struct Line<T> {
    weight: f64,
    /// What was spent on how many requests of late.
    us: f64,
    requests: f64,
    /// The sum of squares of what each took.
    squares: f64,
    /// The time that it has had for its weight, in microseconds since the first turn.
    had_us: f64,
    known: VecDeque<Waiting<T>>,
    others: VecDeque<Waiting<T>>,
}

impl<T> Line<T> {
    fn new() -> Self {
        let (known, others) = (VecDeque::new(), VecDeque::new());
        Self { weight: 1.0, us: 0.0, requests: 0.0, squares: 0.0, had_us: 0.0, known, others }
    }

    fn mean_us(&self) -> f64 {
        if self.requests > 0.0 { self.us / self.requests } else { 0.0 }
    }

    fn is_costly(&self) -> bool {
        self.us > 0.0 && self.squares / self.us >= COSTLY_US
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.others.is_empty()
    }

    fn of(&mut self, is_known: bool) -> &mut VecDeque<Waiting<T>> {
        if is_known { &mut self.known } else { &mut self.others }
    }
}

/// Those that wait for their turn on one thread. `T` is whatever the caller knows one by; it is dropped when
/// its turn has come, when it leaves, and with this.
#[derive(Debug)]
pub struct Turns<T> {
    lines: HashMap<u64, Line<T>, foldhash::fast::RandomState>,
    /// What the zone of the last turn had had by then.
    had_us: f64,
    number: u64,
    waiting: usize,
    waiting_us: f64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lines: HashMap::default(), had_us: 0.0, number: 0, waiting: 0, waiting_us: 0.0 }
    }
}

impl<T> Turns<T> {
    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How much of the thread's time those will take that wait, in microseconds.
    #[must_use]
    pub fn waiting_us(&self) -> u64 {
        self.waiting_us.max(0.0) as u64
    }

    /// What requests took of the thread on average of late, in microseconds; 0 while that is not known.
    #[must_use]
    pub fn mean_us(&self) -> u64 {
        let sums = self
            .lines
            .values()
            .fold([0.0, 0.0], |[us, requests], line| [us + line.us, requests + line.requests]);
        let [us, requests] = sums;
        if requests > 0.0 { (us / requests) as u64 } else { 0 }
    }

    /// Whether a request of a zone that was let in is to wait for its turn.
    pub fn ask(&mut self, zone: u64, weight: u32) -> bool {
        if self.lines.len() >= ZONES_MAX && !self.lines.contains_key(&zone) {
            return false;
        }
        let line = self.lines.entry(zone).or_insert_with(Line::new);
        line.weight = f64::from(weight.max(1));
        line.is_costly() && self.waiting < TURNS_WAITING_MAX
    }

    /// Puts a request in its line, after [`Turns::ask`] said that it is to wait.
    pub fn wait(&mut self, zone: u64, is_known: bool, now_us: u64, of: T) -> Waits {
        self.number += 1;
        let number = self.number;
        let line = self.lines.entry(zone).or_insert_with(Line::new);
        if line.is_empty() {
            line.had_us = line.had_us.max(self.had_us);
        }
        let cost_us = line.mean_us();
        line.of(is_known).push_back(Waiting { number, since_us: now_us, cost_us, of });
        self.waiting += 1;
        self.waiting_us += cost_us;
        Waits { zone, is_known, number }
    }

    fn took_out(&mut self, cost_us: f64) {
        self.waiting -= 1;
        // So that sums of fractions do not add up to something.
        self.waiting_us = if self.waiting == 0 { 0.0 } else { self.waiting_us - cost_us };
    }

    /// Takes a request out that does not wait any more; none if its turn has come already.
    pub fn leave(&mut self, waits: Waits) -> Option<T> {
        let line = self.lines.get_mut(&waits.zone)?.of(waits.is_known);
        let place = line.binary_search_by_key(&waits.number, |waiting| waiting.number).ok()?;
        let waiting = line.remove(place)?;
        self.took_out(waiting.cost_us);
        Some(waiting.of)
    }

    /// Whose turn it is. What it will take is counted as had at once, so that of many turns at a time each
    /// zone has its part; what it took in truth is told by [`Turns::charge`].
    pub fn next(&mut self, now_us: u64) -> Option<Turn<T>> {
        let waiting = self.lines.values_mut().filter(|line| !line.is_empty());
        let line = waiting.min_by(|one, other| one.had_us.total_cmp(&other.had_us))?;
        let is_late = |waiting: &Waiting<T>| now_us.saturating_sub(waiting.since_us) > TURN_WAIT_US;
        // However many known ones come, nobody waits for longer.
        let late = line.others.front().is_some_and(is_late).then(|| line.others.pop_front()).flatten();
        let first = late.or_else(|| line.known.pop_front()).or_else(|| line.others.pop_front())?;
        let is_late = is_late(&first);
        self.had_us = line.had_us;
        if !is_late {
            line.had_us += first.cost_us.trunc() / line.weight;
        }
        self.took_out(first.cost_us);
        Some(Turn { of: first.of, cost_us: first.cost_us as u64, is_late })
    }

    /// Notes that a request of this zone took so much of the thread's time, in microseconds; before, it took
    /// what is given, if this is not the beginning of it.
    pub fn spent(&mut self, zone: u64, us: u64, before_us: Option<u64>) {
        if let Some(line) = self.lines.get_mut(&zone) {
            let (us, before) = (us as f64, before_us.unwrap_or(0) as f64);
            line.us += us;
            line.squares += us * (us + 2.0 * before);
            line.requests += f64::from(u8::from(before_us.is_none()));
        }
    }

    /// Notes for whose turn is next that a zone had so much of the thread's time in turns beside what was
    /// expected, in microseconds; less than that if it is below 0. What needed no turn counts for nothing
    /// here, or a zone whose requests become costly would have to wait until others have had as much.
    pub fn charge(&mut self, zone: u64, us: i64) {
        if let Some(line) = self.lines.get_mut(&zone) {
            line.had_us += us as f64 / line.weight;
        }
    }

    /// Another window is over: what was spent before it counts for a tenth less. Zones without a request of
    /// late are forgotten.
    pub fn settle(&mut self) {
        self.lines.retain(|_, line| {
            line.us *= 0.9;
            line.squares *= 0.9;
            line.requests *= 0.9;
            line.requests >= 0.01 || !line.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Zones whose requests take so much.
    fn turns(costs: &[(u64, u32, u64)]) -> Turns<(u64, usize)> {
        let mut turns = Turns::default();
        for (zone, weight, us) in costs {
            assert!(!turns.ask(*zone, *weight), "nothing is known of it yet");
            turns.spent(*zone, *us, None);
        }
        turns
    }

    fn wait(turns: &mut Turns<(u64, usize)>, zone: u64, count: usize) {
        for number in 0..count {
            assert!(turns.ask(zone, 1));
            turns.wait(zone, false, 0, (zone, number));
        }
    }

    #[test]
    fn what_is_cheap_waits_for_nobody() {
        let mut turns = turns(&[(1, 1, 4_000), (2, 1, 40)]);
        assert!(turns.ask(1, 1));
        assert!(!turns.ask(2, 1));
    }

    /// A zone cannot hide what is costly behind what is not, nor by doing it in pieces.
    #[test]
    fn a_zone_is_costly_by_where_its_time_goes() {
        let mut turns = turns(&[(1, 1, 25), (2, 1, 100)]);
        for _ in 0..100 {
            (0..8).for_each(|_| turns.spent(1, 25, None));
            turns.spent(1, 3_300, None);
            turns.spent(2, 100, None);
            (1..=9).for_each(|piece| turns.spent(2, 100, Some(piece * 100)));
        }
        assert!(turns.ask(1, 1) && turns.ask(2, 1));
        (0..10_000).for_each(|_| turns.spent(2, 100, None));
        assert!(!turns.ask(2, 1), "a tenth of its time");
    }

    #[test]
    fn turns_that_are_given_at_a_time_are_of_all_zones() {
        let mut turns = turns(&[(1, 1, 1_000), (2, 1, 1_000)]);
        (1..=2).for_each(|zone| wait(&mut turns, zone, 10));
        let zones: Vec<u64> = (0..10).map(|_| turns.next(0).unwrap().of.0).collect();
        assert_eq!(zones.iter().filter(|zone| **zone == 1).count(), 5, "{zones:?}");
        turns.charge(1, -5_000);
        let zones: Vec<u64> = (0..5).map(|_| turns.next(0).unwrap().of.0).collect();
        assert_eq!(zones, [1; 5], "those of it were sent away");
    }

    #[test]
    fn zones_have_turns_by_the_time_that_they_take_for_their_weight() {
        let mut turns = turns(&[(1, 1, 4_000), (2, 1, 1_000), (3, 2, 1_000)]);
        (1..=3).for_each(|zone| wait(&mut turns, zone, 1_000));
        turns.lines.values_mut().for_each(|line| line.had_us = 0.0);
        turns.lines.get_mut(&3).unwrap().weight = 2.0;
        let mut took = [0; 4];
        for _ in 0..1_000 {
            let Turn { of: (zone, _), is_late, .. } = turns.next(1_000).unwrap();
            assert!(!is_late);
            let us = if zone == 1 { 4_000 } else { 1_000 };
            took[zone as usize] += us;
            turns.spent(zone, us, None);
        }
        let near = |zone: usize, part: i64| (took[zone] as i64 - took[2] as i64 * part).abs() <= 8_000;
        assert!(near(1, 1) && near(3, 2), "{took:?}");
    }

    #[test]
    fn one_that_had_nothing_to_do_has_no_claim_for_that_time() {
        let mut turns = turns(&[(1, 1, 1_000), (2, 1, 1_000)]);
        wait(&mut turns, 1, 500);
        for _ in 0..100 {
            let (zone, _) = turns.next(0).unwrap().of;
            turns.spent(zone, 1_000, None);
        }
        wait(&mut turns, 2, 100);
        let zones: Vec<u64> = (0..100)
            .map(|_| {
                let (zone, _) = turns.next(0).unwrap().of;
                turns.spent(zone, 1_000, None);
                zone
            })
            .collect();
        let second = zones.iter().filter(|zone| **zone == 2).count();
        assert!((49..=51).contains(&second), "{second} of 100");
        assert_eq!(zones[0], 2, "it had less");
    }

    /// It had a second of the thread by what is cheap, and none of the turns.
    #[test]
    fn what_needed_no_turn_counts_for_nobodys() {
        let mut turns = turns(&[(1, 1, 1_000), (2, 1, 100)]);
        for _ in 0..10_000 {
            assert!(!turns.ask(2, 1));
            turns.spent(2, 100, None);
        }
        turns.spent(2, 100_000_000, None);
        wait(&mut turns, 1, 4);
        wait(&mut turns, 2, 4);
        let zones: Vec<u64> = (0..2).map(|_| turns.next(0).unwrap().of.0).collect();
        assert!(zones.contains(&2), "{zones:?}");
    }

    #[test]
    fn known_visitors_come_first_and_else_whoever_waited_for_longest() {
        let mut turns = turns(&[(1, 1, 1_000)]);
        for (number, is_known) in [(0, false), (1, true), (2, false), (3, true)] {
            assert!(turns.ask(1, 1));
            turns.wait(1, is_known, number as u64, (1, number));
        }
        let order: Vec<usize> = (0..4).map(|_| turns.next(10).unwrap().of.1).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert!(turns.next(10).is_none());
    }

    #[test]
    fn who_waited_for_too_long_is_told_apart() {
        let mut turns = turns(&[(1, 1, 1_000)]);
        wait(&mut turns, 1, 2);
        let next = |turns: &mut Turns<_>, now_us| turns.next(now_us).map(|turn| (turn.of, turn.is_late));
        assert_eq!(next(&mut turns, TURN_WAIT_US), Some(((1, 0), false)));
        assert_eq!(next(&mut turns, TURN_WAIT_US + 1), Some(((1, 1), true)));
    }

    #[test]
    fn nobody_waits_for_longer_however_many_known_ones_come() {
        let mut turns = turns(&[(1, 1, 1_000)]);
        wait(&mut turns, 1, 1);
        let mut next = |number: u64, now_us| {
            turns.wait(1, true, now_us, (1, number as usize));
            turns.next(now_us).map(|turn| (turn.of.1, turn.is_late))
        };
        assert_eq!(next(10, TURN_WAIT_US), Some((10, false)));
        assert_eq!(next(11, TURN_WAIT_US + 1), Some((0, true)));
        assert_eq!(next(12, TURN_WAIT_US + 1), Some((11, false)));
    }

    #[test]
    fn there_is_an_end_to_those_who_wait_and_to_zones() {
        let mut turns = turns(&[(1, 1, 1_000_000_000)]);
        wait(&mut turns, 1, TURNS_WAITING_MAX);
        assert!(!turns.ask(1, 1), "it goes at once");
        let mut turns: Turns<()> = Turns::default();
        for zone in 0..2 * ZONES_MAX as u64 {
            turns.ask(zone, 1);
        }
        assert_eq!(turns.lines.len(), ZONES_MAX);
        (0..50).for_each(|_| turns.settle());
        assert!(turns.lines.is_empty());
    }

    proptest! {
        #[test]
        fn what_waits_is_what_came_and_neither_left_nor_had_its_turn(
            steps in prop::collection::vec((0_u8..4, 0_u64..5, any::<bool>()), 1..400),
        ) {
            let mut turns = Turns::default();
            for zone in 0..5 {
                turns.ask(zone, 1);
                turns.spent(zone, 1_000 * (zone + 1), None);
            }
            let mut places: Vec<(u64, Waits)> = Vec::new();
            for (number, (step, zone, is_known)) in (0..).zip(steps) {
                match step {
                    0 | 1 => places.push((number, turns.wait(zone, is_known, 0, number))),
                    2 => {
                        let served = turns.next(0).map(|turn| turn.of);
                        prop_assert_eq!(served.is_some(), !places.is_empty());
                        let place = places.iter().position(|(number, _)| Some(*number) == served);
                        if let Some((_, waits)) = place.map(|place| places.swap_remove(place)) {
                            turns.spent(waits.zone, 1_000 * (waits.zone + 1), None);
                        }
                    }
                    _ if places.is_empty() => {}
                    _ => {
                        let (number, waits) = places.swap_remove(number as usize % places.len());
                        prop_assert_eq!(turns.leave(waits), Some(number));
                        prop_assert_eq!(turns.leave(waits), None);
                    }
                }
                prop_assert_eq!(turns.waiting(), places.len());
                let us: u64 = places.iter().map(|(_, waits)| 1_000 * (waits.zone + 1)).sum();
                prop_assert_eq!(turns.waiting_us(), us);
            }
        }
    }
}
