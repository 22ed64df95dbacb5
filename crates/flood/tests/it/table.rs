//! The table of decision 28: `cargo test -p flood --test it table -- --ignored
//! --nocapture`.

use flood::{Change, Stage};

use crate::attacks::{ATTACKS, CROWDS, Crowd, Mix};
use crate::world::{Sums, World};

/// What a mix did, in parts of one, over some seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) stopped_first: f64,
    pub(crate) stopped_then: f64,
    pub(crate) good_refused: f64,
    pub(crate) visitors_harmed: f64,
    pub(crate) good_failed: f64,
    pub(crate) limits: usize,
}

const SEEDS: u64 = 3;

fn part(part: u64, whole: u64) -> f64 {
    part as f64 / (whole as f64).max(1.0)
}

/// Ten seconds and fifty more of an attack, over all seeds.
pub(crate) fn attacked(mix: &Mix, is_on: bool) -> (Row, World) {
    over_seeds(|seed| attacked_by(mix, is_on, seed))
}

/// The same of one seed.
pub(crate) fn attacked_by(mix: &Mix, is_on: bool, seed: u64) -> (Row, World) {
    let mut row = Row::default();
    let mut world = World::settled(seed);
    world.is_on = is_on;
    let second = |world: &mut World| {
        let count = world.draw.arrivals(100.0) * mix.per_s / 100;
        let others = (0..count).map(|_| (mix.make)(&mut world.draw)).collect();
        world.second(others);
    };
    (0..10).for_each(|_| second(&mut world));
    row.stopped_first += part(world.bad.refused, world.bad.asked);
    world.bad = Sums::default();
    (0..50).for_each(|_| second(&mut world));
    row.stopped_then += part(world.bad.refused, world.bad.asked);
    add_good(&mut row, &world);
    (row, world)
}

/// A minute of a crowd, over all seeds.
pub(crate) fn crowded(crowd: &(&str, u64, Crowd), is_on: bool) -> (Row, World) {
    over_seeds(|seed| crowded_by(crowd, is_on, seed))
}

/// The same of one seed.
pub(crate) fn crowded_by((_, views, crowd): &(&str, u64, Crowd), is_on: bool, seed: u64) -> (Row, World) {
    let mut row = Row::default();
    let mut world = World::settled(seed);
    world.is_on = is_on;
    for _ in 0..60 {
        crowd(&mut world, *views);
        world.second(Vec::new());
    }
    add_good(&mut row, &world);
    (row, world)
}

/// The mean over the seeds, and the world of the last one.
fn over_seeds(one: impl Fn(u64) -> (Row, World)) -> (Row, World) {
    let mut sum = Row::default();
    let mut last = None;
    for seed in 0..SEEDS {
        let (row, world) = one(100 + seed);
        sum = Row {
            stopped_first: sum.stopped_first + row.stopped_first,
            stopped_then: sum.stopped_then + row.stopped_then,
            good_refused: sum.good_refused + row.good_refused,
            visitors_harmed: sum.visitors_harmed + row.visitors_harmed,
            good_failed: sum.good_failed + row.good_failed,
            limits: sum.limits.max(row.limits),
        };
        last = Some(world);
    }
    (mean(sum), last.expect("a seed"))
}

fn add_good(row: &mut Row, world: &World) {
    row.good_refused += part(world.good.refused, world.good.asked);
    row.visitors_harmed += part(world.harmed.len() as u64, world.met.len() as u64);
    row.good_failed += part(world.good.failed, world.good.asked);
    row.limits = row.limits.max(world.watch.standing(world.now_s).limits.len());
}

fn mean(row: Row) -> Row {
    let by = SEEDS as f64;
    Row {
        stopped_first: row.stopped_first / by,
        stopped_then: row.stopped_then / by,
        good_refused: row.good_refused / by,
        visitors_harmed: row.visitors_harmed / by,
        good_failed: row.good_failed / by,
        limits: row.limits,
    }
}

fn print(name: &str, (row, world): (Row, World), without: &Row) {
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} |",
        percent(row.stopped_first),
        percent(row.stopped_then),
        percent(row.good_refused),
        percent(row.visitors_harmed),
        percent(row.good_failed),
        percent(without.good_failed),
        row.limits
    );
    for change in &world.changes {
        match change {
            Change::Limit(limit) if limit.stage == Stage::Observe => eprintln!("    {limit:?}"),
            Change::Removed { limit, why } => eprintln!("    {why}: {limit:?}"),
            _ => {}
        }
    }
}

#[test]
#[ignore = "asserts nothing; the figures that must hold are asserted in `mixes.rs`"]
fn is_printed() {
    println!(
        "| mix | stopped in the first 10 s | then | good requests refused | good visitors harmed | \
         good requests failed | without | limits |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for mix in &ATTACKS {
        print(mix.name, attacked(mix, true), &attacked(mix, false).0);
    }
    for crowd in &CROWDS {
        print(crowd.0, crowded(crowd, true), &crowded(crowd, false).0);
    }
}
