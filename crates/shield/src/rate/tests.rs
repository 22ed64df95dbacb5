//! Counts against exact ones, over seeded histories; nothing here measures time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;

fn key(number: u64) -> Key {
    Key::of(42, [Some(&number.to_le_bytes()[..])])
}

/// A generator of numbers, so that a history is its seed (Steele, Lea and Flood, 2014: SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % bound
    }
}

fn is_within(decision: Decision) -> bool {
    matches!(decision, Decision::Within { .. })
}

#[test]
fn the_threshold_passes_and_one_more_does_not() {
    let (counter, limit) = (Counter::new(), Limit::new(3, 10_000, 0).unwrap());
    let remaining: Vec<Decision> = (0..4).map(|_| counter.count(&limit, key(1), 1_000_000)).collect();
    assert_eq!(
        remaining,
        [
            Decision::Within { remaining: 2, reset_ms: 10_000 },
            Decision::Within { remaining: 1, reset_ms: 10_000 },
            Decision::Within { remaining: 0, reset_ms: 10_000 },
            // In the next period, when the first of the three has slid out.
            Decision::Over { retry_ms: 10_001 },
        ]
    );
    assert!(is_within(counter.count(&limit, key(2), 1_000_000)), "another key has its own");
}

#[test]
fn retry_is_the_first_moment_that_passes() {
    let mut random = Random(3);
    for _ in 0..2000 {
        let limit = Limit::new(1 + random.below(20) as u32, 1000 + random.below(9000), 0).unwrap();
        let counter = Counter::new();
        let mut now = 1_000_000 + random.below(100_000);
        let retry_ms = loop {
            match counter.count(&limit, key(1), now) {
                Decision::Within { .. } => now += random.below(limit.period_ms() / 4),
                Decision::Over { retry_ms } => break retry_ms,
            }
            if now > 2_000_000 {
                break 0;
            }
        };
        if retry_ms > 0 {
            assert!(is_within(counter.look(&limit, key(1), now + retry_ms)), "{limit:?}");
            assert!(!is_within(counter.look(&limit, key(1), now + retry_ms - 1)), "{limit:?}");
        }
    }
}

#[test]
fn mitigation_refuses_for_its_time() {
    let (counter, limit) = (Counter::new(), Limit::new(2, 10_000, 60_000).unwrap());
    let now = 5_000_000;
    let decisions: Vec<bool> = (0..3).map(|_| is_within(counter.count(&limit, key(1), now))).collect();
    assert_eq!(decisions, [true, true, false]);
    assert_eq!(counter.count(&limit, key(1), now + 59_999), Decision::Over { retry_ms: 1 });
    assert!(is_within(counter.count(&limit, key(1), now + 60_000)), "and then begins anew");
    assert!(is_within(counter.count(&limit, key(2), now)));
}

#[test]
fn responses_are_counted_and_requests_looked_at() {
    let (counter, limit) = (Counter::new(), Limit::new(2, 10_000, 30_000).unwrap());
    for _ in 0..100 {
        assert!(is_within(counter.look(&limit, key(1), 0)), "looking counts nothing");
    }
    counter.count_response(&limit, key(1), 0);
    assert!(is_within(counter.look(&limit, key(1), 0)));
    counter.count_response(&limit, key(1), 0);
    assert_eq!(counter.look(&limit, key(1), 1), Decision::Over { retry_ms: 29_999 });
    assert!(is_within(counter.look(&limit, key(1), 30_000)));
}

#[test]
fn ten_thousand_keys_are_counted_exactly() {
    // Each key's estimate against two buckets in a map, over three periods and several seeds.
    let limit = Limit::new(1_000_000, 60_000, 0).unwrap();
    for seed in 0..5 {
        let counter = Counter::new();
        let mut random = Random(seed);
        let mut exact: HashMap<u64, [u64; 3]> = HashMap::new();
        for period in 0..3_u64 {
            for _ in 0..50_000 {
                let number = random.below(10_000) * 7919 + seed;
                let now = period * 60_000 + random.below(60_000);
                assert!(is_within(counter.count(&limit, key(number), now)));
                exact.entry(number).or_default()[period as usize] += 1;
            }
        }
        assert_eq!(counter.evictions(), 0, "seed {seed}");
        for (number, counts) in exact {
            let now = 2 * 60_000 + 30_000;
            let expected = counts[2] + counts[1] / 2;
            let Decision::Within { remaining, .. } = counter.look(&limit, key(number), now) else { panic!() };
            assert_eq!(1_000_000 - u64::from(remaining), expected, "{number}: {counts:?}");
        }
    }
}

#[test]
fn heavy_keys_stay_exact_among_a_hundred_thousand() {
    let limit = Limit::new(1_000_000, 60_000, 0).unwrap();
    for seed in 0..3 {
        let counter = Counter::new();
        let mut random = Random(seed);
        let mut exact = [0_u64; 100];
        for round in 0..400_000_u64 {
            let number = if round % 4 == 0 { random.below(100) } else { 1000 + random.below(100_000) };
            let _ = counter.count(&limit, key(number), 1);
            if let Some(count) = exact.get_mut(number as usize) {
                *count += 1;
            }
        }
        assert!(counter.evictions() > 10_000, "{}", counter.evictions());
        for (number, expected) in exact.iter().enumerate() {
            let Decision::Within { remaining, .. } = counter.look(&limit, key(number as u64), 1) else {
                panic!()
            };
            let counted = 1_000_000 - u64::from(remaining);
            // A heavy key may have been light once, and have lost the little it had then.
            assert!(counted <= *expected && counted + 8 >= *expected, "{number}: {counted} of {expected}");
        }
    }
}

#[test]
fn threads_together_let_the_threshold_pass() {
    let limit = Limit::new(1000, 60_000, 0).unwrap();
    for _ in 0..20 {
        let counter = Counter::new();
        let passed = [const { AtomicU32::new(0) }; 4];
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let (counter, passed) = (&counter, &passed);
                scope.spawn(move || {
                    for round in 0..4000_usize {
                        let which = (round + thread) % 4;
                        if is_within(counter.count(&limit, key(which as u64), 1_000)) {
                            passed[which].fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.map(|count| count.load(Relaxed)), [1000; 4]);
    }
}

#[test]
fn a_clock_that_goes_back_forgives_and_refuses_nobody_anew() {
    let (counter, limit) = (Counter::new(), Limit::new(2, 10_000, 0).unwrap());
    assert!(is_within(counter.count(&limit, key(1), 1_000_000)));
    assert!(is_within(counter.count(&limit, key(1), 999_000)));
    assert!(!is_within(counter.count(&limit, key(1), 989_000)));
    assert!(!is_within(counter.count(&limit, key(1), 1_000_000)));
    assert!(is_within(counter.count(&limit, key(1), 1_030_000)));
}

#[test]
fn limits_have_bounds() {
    assert_eq!(Limit::new(0, 1000, 0), Err(LimitProblem::Threshold));
    assert_eq!(Limit::new(1_000_001, 1000, 0), Err(LimitProblem::Threshold));
    assert_eq!(Limit::new(1, 999, 0), Err(LimitProblem::Period));
    assert_eq!(Limit::new(1, 86_400_001, 0), Err(LimitProblem::Period));
    assert_eq!(Limit::new(1, 1000, 86_400_001), Err(LimitProblem::Mitigation));
    assert!(Limit::new(1_000_000, 86_400_000, 86_400_000).is_ok());
}

#[test]
fn a_publish_keeps_counters_of_the_same_id_and_period() {
    let (minute, hour) = (Limit::new(2, 60_000, 0).unwrap(), Limit::new(2, 3_600_000, 0).unwrap());
    let first = Counters::default().carry([("a", &minute), ("b", &minute)]);
    let _ = first.of("a", &minute).unwrap().count(&minute, key(1), 0);
    let stricter = Limit::new(1, 60_000, 0).unwrap();
    let second = first.carry([("a", &stricter), ("b", &hour), ("c", &minute), ("a", &minute)]);
    assert!(
        !is_within(second.of("a", &stricter).unwrap().look(&stricter, key(1), 0)),
        "what was counted counts"
    );
    assert!(Arc::ptr_eq(first.of("a", &minute).unwrap(), second.of("a", &stricter).unwrap()));
    assert!(first.of("b", &hour).is_none() && second.of("b", &minute).is_none());
    assert!(second.of("c", &minute).is_some());
}

proptest! {
    /// The bound of the sliding window: never more than twice the threshold in any period, and for even
    /// traffic the threshold, one more or less.
    #[test]
    fn any_window_sees_at_most_twice_the_threshold(
        threshold in 1..50_u32,
        gaps in prop::collection::vec(0..400_u64, 1..600),
    ) {
        let limit = Limit::new(threshold, 10_000, 0).unwrap();
        let counter = Counter::new();
        let mut now = 0;
        let mut passed: Vec<u64> = Vec::new();
        for gap in gaps {
            now += gap;
            if is_within(counter.count(&limit, key(1), now)) {
                passed.push(now);
            }
        }
        for (place, start) in passed.iter().enumerate() {
            let in_window = passed[place..].iter().take_while(|at| **at < start + 10_000).count();
            prop_assert!(in_window <= 2 * threshold as usize, "{in_window} in a window from {start}");
        }
    }

    #[test]
    fn even_traffic_passes_at_the_threshold(threshold in 5..100_u32, spread in 2..8_u64) {
        let limit = Limit::new(threshold, 10_000, 0).unwrap();
        let counter = Counter::new();
        let step = 10_000 / (u64::from(threshold) * spread).min(5000);
        let passes = |round: &u64| is_within(counter.count(&limit, key(1), round * step));
        let passed = (0..200_000 / step).filter(passes).count();
        // Twenty periods, the first of which may pass its threshold at once.
        let most = 21 * u64::from(threshold) + 20;
        prop_assert!(passed as u64 <= most, "{passed} of {most}");
        prop_assert!(passed as u64 >= 18 * u64::from(threshold), "{passed}");
    }
}
