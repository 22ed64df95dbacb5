//! Shares, bounds and order, without threads.

use std::collections::BTreeMap;

use super::*;

fn owner(key: u64, weight: u32) -> Owner {
    Owner { key, weight }
}

/// Works for `turns` turns of one thread, each of at most a slice; pieces are the steps they have left. Gives
/// what was done for each.
fn work(turns: &mut Turns<u64>, count: usize) -> BTreeMap<u64, u64> {
    let mut done = BTreeMap::new();
    for _ in 0..count {
        let Some((key, left)) = turns.pop() else { break };
        let steps = left.min(SLICE_STEPS);
        *done.entry(key).or_default() += steps;
        turns.ran(key, steps, (left > steps).then_some(left - steps));
    }
    done
}

#[test]
fn who_floods_gets_no_more_than_its_share_while_others_have_work() {
    let mut turns = Turns::new(1_000);
    for _ in 0..500 {
        turns.push(owner(1, 1), 20 * SLICE_STEPS).unwrap();
    }
    for _ in 0..5 {
        turns.push(owner(2, 1), 20 * SLICE_STEPS).unwrap();
    }
    let done = work(&mut turns, 200);
    assert_eq!((done[&1], done[&2]), (100 * SLICE_STEPS, 100 * SLICE_STEPS));
}

#[test]
fn time_is_shared_by_weight_whatever_pieces_cost() {
    let mut turns = Turns::new(10_000);
    for _ in 0..4_000 {
        turns.push(owner(1, 3), SLICE_STEPS / 10).unwrap();
    }
    for _ in 0..100 {
        turns.push(owner(2, 1), 50 * SLICE_STEPS).unwrap();
    }
    let done = work(&mut turns, 3_100);
    let ratio = done[&1] as f64 / done[&2] as f64;
    assert!((2.9..3.1).contains(&ratio), "{ratio} of 3");
}

#[test]
fn who_is_alone_gets_everything() {
    let mut turns = Turns::new(10);
    turns.push(owner(1, 1), 5 * SLICE_STEPS).unwrap();
    turns.push(owner(1, 1), SLICE_STEPS).unwrap();
    assert_eq!(work(&mut turns, 6)[&1], 6 * SLICE_STEPS);
    assert!(turns.pop().is_none());
    assert_eq!((turns.lanes.len(), turns.waiting()), (0, 0), "nothing is left behind");
}

#[test]
fn a_newcomer_is_next_and_owes_nothing_for_the_time_before() {
    let mut turns = Turns::new(100);
    turns.push(owner(1, 1), 1_000 * SLICE_STEPS).unwrap();
    work(&mut turns, 100);
    turns.push(owner(2, 1), 10 * SLICE_STEPS).unwrap();
    let done = work(&mut turns, 20);
    assert_eq!((done[&1], done[&2]), (10 * SLICE_STEPS, 10 * SLICE_STEPS), "from now on alike");
}

#[test]
fn a_short_piece_waits_for_no_long_one_of_another() {
    let mut turns = Turns::new(100);
    turns.push(owner(1, 1), 5_000 * SLICE_STEPS).unwrap();
    work(&mut turns, 3);
    turns.push(owner(2, 1), 7).unwrap();
    assert_eq!(work(&mut turns, 2)[&2], 7);
}

#[test]
fn when_there_is_no_room_the_one_with_the_most_gives_up_its_youngest() {
    let mut turns = Turns::new(4);
    for number in [10, 11, 12, 13] {
        turns.push(owner(1, 1), number).unwrap();
    }
    assert_eq!(turns.push(owner(1, 1), 14).unwrap_err(), 14, "its own flood is refused");
    assert!(matches!(turns.push(owner(2, 1), 20), Ok(Pushed::InsteadOf(13))));
    assert!(matches!(turns.push(owner(2, 1), 21), Ok(Pushed::InsteadOf(12))));
    assert_eq!(turns.push(owner(2, 1), 22).unwrap_err(), 22, "both have as much");
    assert!(matches!(turns.push(owner(3, 1), 30), Ok(Pushed::InsteadOf(_))));
    assert_eq!(turns.waiting(), 4);
}

#[test]
fn room_is_shared_by_weight() {
    let mut turns = Turns::new(8);
    for number in 0..8 {
        turns.push(owner(1, 1), number).unwrap();
    }
    let taken = (0..8).filter(|number| turns.push(owner(2, 3), 100 + number).is_ok()).count();
    assert_eq!(taken, 6, "three quarters of the room");
}

#[test]
fn what_was_begun_is_not_given_up() {
    let mut turns = Turns::new(1);
    turns.push(owner(1, 1), 10 * SLICE_STEPS).unwrap();
    work(&mut turns, 1);
    turns.push(owner(2, 1), 5).unwrap();
    assert_eq!(turns.push(owner(3, 1), 6).unwrap_err(), 6, "nobody has more than one");
    assert_eq!(work(&mut turns, 100)[&1], 9 * SLICE_STEPS);
}

#[test]
fn several_threads_do_not_take_a_lane_at_work_for_one_that_nothing_is_done_for() {
    let mut turns = Turns::new(100);
    for _ in 0..10 {
        turns.push(owner(1, 1), 10 * SLICE_STEPS).unwrap();
        turns.push(owner(2, 1), 10 * SLICE_STEPS).unwrap();
    }
    let taken: Vec<u64> = (0..4).map(|_| turns.pop().unwrap().0).collect();
    let of_first = taken.iter().filter(|key| **key == 1).count();
    assert_eq!(of_first, 2, "{taken:?}");
}

#[test]
fn an_end_leaves_nothing_waiting() {
    let mut turns = Turns::new(10);
    turns.push(owner(1, 1), 10 * SLICE_STEPS).unwrap();
    work(&mut turns, 1);
    turns.push(owner(2, 1), 5).unwrap();
    let mut left = turns.clear();
    left.sort_unstable();
    assert_eq!(left, [5, 9 * SLICE_STEPS]);
    assert!(turns.pop().is_none());
    assert_eq!(turns.waiting(), 0);
}
