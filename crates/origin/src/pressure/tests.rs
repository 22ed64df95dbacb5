//! An origin in virtual time, with so many workers and a line before them, and what the limit makes of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;
use crate::balance::Cursor;

const SECOND_US: u64 = 1_000_000;
const SEEDS: std::ops::Range<u64> = 0..8;

/// How an origin answers from some second on.
#[derive(Clone, Copy)]
struct Phase {
    from_s: u64,
    /// Requests a second that come.
    rate: f64,
    /// Requests worked on at once; the others wait in a line of its own.
    workers: usize,
    /// What one takes a worker, on average (exponential), in microseconds.
    work_us: f64,
    /// What each takes besides, however many there are.
    delay_us: u64,
    /// Which part of requests is held for so long without any work, as long polls are.
    held: (f64, u64),
}

impl Phase {
    const fn new(from_s: u64, rate: f64) -> Self {
        Self { from_s, rate, workers: 16, work_us: 16_000.0, delay_us: 4_000, held: (0.0, 0) }
    }

    fn capacity(&self) -> f64 {
        self.workers as f64 * SECOND_US as f64 / self.work_us
    }
}

#[derive(Default)]
struct Outcome {
    /// When it came, what it took (none if it was sent away), of those that were no long polls.
    ended: Vec<(u64, Option<u64>)>,
    turns: Vec<(u64, Turn)>,
}

impl Outcome {
    fn between(&self, from_s: u64, to_s: u64) -> Vec<Option<u64>> {
        let within = |at_us: u64| (from_s * SECOND_US..to_s * SECOND_US).contains(&at_us);
        self.ended.iter().filter(|(at_us, _)| within(*at_us)).map(|(_, took_us)| *took_us).collect()
    }

    /// Answers within a second, for each second.
    fn goodput(&self, from_s: u64, to_s: u64) -> f64 {
        let good = |took: &&Option<u64>| took.is_some_and(|took_us| took_us <= SECOND_US);
        self.between(from_s, to_s).iter().filter(good).count() as f64 / (to_s - from_s) as f64
    }

    fn p99_ms(&self, from_s: u64, to_s: u64) -> u64 {
        let mut took: Vec<u64> = self.between(from_s, to_s).into_iter().flatten().collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or(0) / 1_000
    }
}

fn unit(dice: &mut Cursor) -> f64 {
    (dice.below(1 << 53) + 1) as f64 / (1_u64 << 53) as f64
}

fn exponential(dice: &mut Cursor, mean: f64) -> u64 {
    (-mean * unit(dice).ln()).max(1.0) as u64
}

fn simulate(phases: &[Phase], is_limited: bool, end_s: u64, seed: u64) -> Outcome {
    let (mut dice, pressure) = (Cursor::new(seed), Pressure::default());
    let mut outcome = Outcome::default();
    let mut busy = 0_usize;
    let mut line: VecDeque<(u64, u64)> = VecDeque::new();
    // What ends when: when it came, and whether it held a worker; a long poll holds none.
    let mut ends: BinaryHeap<Reverse<(u64, u64, u8)>> = BinaryHeap::new();
    let mut next_us = 1;
    const POLL: u8 = 0;
    const WORKED: u8 = 1;
    const LEFT: u8 = 2;
    loop {
        let end_us = ends.peek().map_or(u64::MAX, |Reverse((at_us, ..))| *at_us);
        let now_us = end_us.min(next_us);
        if now_us >= end_s * SECOND_US {
            return outcome;
        }
        let phase =
            phases.iter().rev().find(|phase| phase.from_s * SECOND_US <= now_us).unwrap_or(&phases[0]);
        if end_us <= next_us {
            let Some(Reverse((_, came_us, kind))) = ends.pop() else { continue };
            if kind == WORKED {
                busy -= 1;
                ends.push(Reverse((now_us + phase.delay_us, came_us, LEFT)));
            } else {
                pressure.ended();
                let turn = pressure.answered(came_us, now_us);
                outcome.turns.extend(turn.map(|turn| (now_us, turn)));
                if kind == LEFT {
                    outcome.ended.push((came_us, Some(now_us - came_us)));
                }
            }
        } else {
            next_us = now_us + exponential(&mut dice, SECOND_US as f64 / phase.rate);
            if !pressure.may_begin(is_limited) {
                outcome.ended.push((now_us, None));
            } else if unit(&mut dice) < phase.held.0 {
                ends.push(Reverse((now_us + phase.held.1, now_us, POLL)));
            } else {
                line.push_back((now_us, exponential(&mut dice, phase.work_us)));
            }
        }
        while busy < phase.workers
            && let Some((came_us, work_us)) = line.pop_front()
        {
            busy += 1;
            ends.push(Reverse((now_us + work_us, came_us, WORKED)));
        }
    }
}

fn never_limits(name: &str, phases: &[Phase]) {
    for seed in SEEDS {
        let outcome = simulate(phases, true, 60, seed);
        assert_eq!(outcome.turns, [], "{name}, seed {seed}");
        assert!(outcome.ended.len() > 100, "{name}, seed {seed}");
    }
}

#[test]
fn an_origin_under_its_capacity_is_never_limited() {
    for load in [0.05, 0.3, 0.6, 0.8, 0.9] {
        never_limits("steady", &[Phase::new(0, 1_000.0 * load)]);
    }
    let bursts: Vec<Phase> =
        (0..30).map(|at| Phase::new(at * 2, if at % 2 == 0 { 40.0 } else { 900.0 })).collect();
    never_limits("bursts", &bursts);
    never_limits("one worker", &[Phase { workers: 1, work_us: 20_000.0, ..Phase::new(0, 40.0) }]);
    never_limits("far away", &[Phase { delay_us: 800_000, ..Phase::new(0, 800.0) }]);
    never_limits("seconds of work", &[Phase { workers: 200, work_us: 3e6, ..Phase::new(0, 50.0) }]);
    never_limits("long polls", &[Phase { held: (0.5, 20_000_000), ..Phase::new(0, 800.0) }]);
    let grows = [Phase::new(0, 50.0), Phase { held: (0.8, 25_000_000), ..Phase::new(20, 900.0) }];
    never_limits("more and more long polls", &grows);
}

#[test]
fn an_origin_that_becomes_slow_by_itself_is_let_be_within_two_seconds() {
    for seed in SEEDS {
        let slow = Phase { delay_us: 1_500_000, workers: 64, ..Phase::new(10, 800.0) };
        let outcome = simulate(&[Phase::new(0, 800.0), slow], true, 60, seed);
        let limited_us: u64 = outcome
            .turns
            .chunks(2)
            .map(|pair| match pair {
                [(began, Turn::Began), (ended, Turn::Ended)] => ended - began,
                _ => panic!("seed {seed}: {pair:?}"),
            })
            .sum();
        assert!(limited_us < 6 * SECOND_US, "seed {seed}: {limited_us} us, {:?}", outcome.turns);
        let sent_away = outcome.between(22, 60).iter().filter(|took| took.is_none()).count();
        assert_eq!(sent_away, 0, "seed {seed}: {:?}", outcome.turns);
    }
}

/// Few answers come then, and the limit lets fewer come: they must not be too few to judge it by.
#[test]
fn an_origin_asked_little_that_takes_ages_by_itself_is_let_be_too() {
    for seed in SEEDS {
        let slow = Phase { delay_us: 15_000_000, workers: 64, ..Phase::new(20, 3.0) };
        let outcome = simulate(&[Phase::new(0, 3.0), slow], true, 300, seed);
        assert!(!outcome.turns.is_empty(), "seed {seed}: a line is suspected");
        for pair in outcome.turns.chunks(2) {
            let [(began, Turn::Began), (ended, Turn::Ended)] = pair else { panic!("seed {seed}: {pair:?}") };
            assert!(ended - began < 60 * SECOND_US, "seed {seed}: {} us", ended - began);
        }
        let sent_away = outcome.between(200, 280).iter().filter(|took| took.is_none()).count();
        assert_eq!(sent_away, 0, "seed {seed}: {:?}", outcome.turns);
    }
}

#[test]
fn at_three_times_its_capacity_it_answers_as_many_as_it_can_and_in_time() {
    for seed in SEEDS {
        let phases = [Phase::new(0, 500.0), Phase::new(10, 3_000.0), Phase::new(40, 500.0)];
        let ours = simulate(&phases, true, 60, seed);
        let none = simulate(&phases, false, 60, seed);
        let (goodput, unlimited) = (ours.goodput(15, 39), none.goodput(15, 39));
        assert!(goodput > 0.9 * phases[0].capacity(), "seed {seed}: {goodput}");
        assert!(unlimited < 0.1 * phases[0].capacity(), "seed {seed}: without a limit {unlimited}");
        let p99_ms = ours.p99_ms(15, 39);
        assert!(p99_ms < 1_000, "seed {seed}: {p99_ms} ms");
        let after = ours.between(45, 60);
        assert!(after.iter().all(|took| took.is_some_and(|took_us| took_us < SECOND_US)), "seed {seed}");
        assert!(matches!(ours.turns.last(), Some((_, Turn::Ended))), "seed {seed}: {:?}", ours.turns);
    }
}

#[test]
fn an_origin_that_loses_nine_tenths_of_its_workers_keeps_the_rest_busy_and_in_time() {
    for seed in SEEDS {
        let broken = Phase { workers: 2, ..Phase::new(10, 800.0) };
        let phases = [Phase::new(0, 800.0), broken, Phase::new(50, 800.0)];
        let ours = simulate(&phases, true, 70, seed);
        let goodput = ours.goodput(20, 49);
        assert!(goodput > 0.9 * broken.capacity(), "seed {seed}: {goodput}");
        let p99_ms = ours.p99_ms(20, 49);
        assert!(p99_ms < 1_500, "seed {seed}: {p99_ms} ms");
        let sent_away = ours.between(60, 70).iter().filter(|took| took.is_none()).count();
        assert_eq!(sent_away, 0, "seed {seed}: {:?}", ours.turns);
    }
}

#[test]
fn a_limiter_that_broke_lets_everything_in() {
    let pressure = Pressure::default();
    pressure.limit.store(1, Relaxed);
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = pressure.limiter.lock();
        panic!("while it is held");
    }));
    assert!(broken.is_err() && pressure.may_begin(true) && !pressure.may_begin(true));
    for at in 0..20 {
        pressure.answered(at * WINDOW_US, at * WINDOW_US + 5);
    }
    assert!(pressure.may_begin(true));
    assert_eq!(pressure.now(), (2, None));
}
