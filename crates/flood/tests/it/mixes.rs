//! What must hold of each mix: what of an attack is stopped within ten seconds and after, and how many good
//! requests are refused. Also where nothing is stopped, so that nobody promises it.

use flood::{Change, Settings};

use crate::attacks::{ATTACKS, CROWDS, Mix};
use crate::table::{Row, attacked, crowded};
use crate::world::{SETTINGS, World};

fn attack(name: &str) -> &'static Mix {
    ATTACKS.iter().find(|mix| mix.name.starts_with(name)).expect("a mix of that name")
}

fn crowd(name: &str) -> Row {
    let found = CROWDS.iter().find(|(known, ..)| known.starts_with(name));
    crowded(found.expect("a crowd of that name"), true).0
}

/// At least so much is stopped in the first ten seconds and then, with hardly a good request refused.
fn is_stopped(name: &str, first: f64, then: f64) {
    let (row, world) = attacked(attack(name), true);
    assert!(row.stopped_first >= first && row.stopped_then >= then, "{row:?}");
    assert!(row.good_refused <= 0.001 && row.visitors_harmed <= 0.005, "{row:?}");
    assert!(row.good_failed <= 0.01, "{row:?}");
    assert!(row.limits <= SETTINGS.limits_max);
    assert!(matches!(world.changes.first(), Some(Change::Began { .. })));
}

/// No good request is refused.
fn harms_nobody(row: Row) {
    assert!(row.good_refused == 0.0 && row.visitors_harmed == 0.0 && row.limits == 0, "{row:?}");
}

#[test]
fn random_paths_by_a_program_are_stopped() {
    is_stopped("random paths, 2,000 machines, a program's TLS", 0.75, 0.99);
}

#[test]
fn random_paths_by_seeming_browsers_are_stopped() {
    is_stopped("random paths, 1,000 machines, browsers", 0.55, 0.99);
}

#[test]
fn one_page_asked_for_from_a_thousand_prefixes_is_stopped() {
    is_stopped("one page, 1,000 prefixes", 0.65, 0.99);
}

#[test]
fn random_queries_are_stopped() {
    is_stopped("random queries on one page", 0.55, 0.99);
}

#[test]
fn a_few_large_sources_are_stopped() {
    is_stopped("five large sources", 0.75, 0.99);
}

#[test]
fn logins_tried_out_by_a_program_are_stopped() {
    is_stopped("logins tried out, 1,500 machines, twice a minute each, a program's TLS", 0.6, 0.95);
}

#[test]
fn hired_machines_are_stopped() {
    is_stopped("known pages, 3,000 hired machines", 0.75, 0.99);
}

#[test]
fn a_page_asked_for_by_many_who_ask_little_is_cut_to_what_the_origin_can_bear() {
    let (row, _) = attacked(attack("one page, 5,000 machines"), true);
    assert!(row.stopped_then >= 0.6, "{row:?}");
    assert!(row.good_refused <= 0.03 && row.good_failed <= 0.01, "{row:?}");
}

#[test]
fn what_looks_like_visitors_in_every_way_is_left_and_nobody_is_harmed() {
    for name in
        ["known pages, 3,000 machines at home", "logins tried out, 1,500 machines, twice a minute each, b"]
    {
        let (row, _) = attacked(attack(name), true);
        assert!(row.stopped_then == 0.0, "{row:?}");
        harms_nobody(row);
    }
}

#[test]
fn machines_that_were_served_before_are_stopped_at_first_and_then_left() {
    let (row, _) = attacked(attack("one page, 1,000 machines that were served"), true);
    assert!(row.stopped_first >= 0.35 && row.good_refused <= 0.005, "{row:?}");
}

#[test]
fn a_newsletter_harms_nobody() {
    harms_nobody(crowd("a newsletter: ten times the visitors"));
    harms_nobody(crowd("the same, a link of their own"));
}

#[test]
fn readers_in_an_app_are_not_taken_for_programs() {
    harms_nobody(crowd("the same, half in an app's own browser"));
    harms_nobody(crowd("the same, half in an app's own browser, and more"));
}

#[test]
fn a_crowd_on_one_page_is_left_for_as_long_as_the_origin_bears_it() {
    harms_nobody(crowd("a newsletter to one new page"));
    let row = crowd("the same, and more than the origin can bear");
    assert!(row.good_refused <= 0.5 && row.good_failed <= 0.03, "{row:?}");
}

#[test]
fn a_day_with_its_slopes_is_no_flood() {
    // In two hours: twelve times as steep as a day is.
    let mut world = World::settled(7);
    for second in 0..7_200 {
        let slope = (f64::from(second) / 7_200.0 * std::f64::consts::TAU).sin();
        world.views = 10.0 * (1.0 + 0.7 * slope);
        world.second(Vec::new());
    }
    assert_eq!(world.changes, []);
    assert_eq!((world.good.refused, world.good.failed), (0, 0));
}

#[test]
fn nothing_is_limited_before_there_is_a_baseline() {
    let mut world = World::new(7);
    let mix = attack("five large sources");
    for _ in 0..60 {
        let others = (0..mix.per_s).map(|_| (mix.make)(&mut world.draw)).collect();
        world.second(others);
    }
    assert_eq!((world.bad.refused, world.good.refused), (0, 0));
    assert!(!world.watch.standing(world.now_s).has_baseline);
}

#[test]
fn limits_end_by_themselves_when_the_attack_is_over() {
    let mut world = World::settled(7);
    world.watch.set(Settings { expires_s: 60, ..SETTINGS });
    let mix = attack("random paths, 2,000 machines, a program's TLS");
    for _ in 0..20 {
        let others = (0..mix.per_s).map(|_| (mix.make)(&mut world.draw)).collect();
        world.second(others);
    }
    assert_eq!(world.watch.standing(world.now_s).limits.len(), 1);
    (0..70).for_each(|_| world.second(Vec::new()));
    let standing = world.watch.standing(world.now_s);
    assert_eq!((standing.limits.len(), standing.flooded_for_s), (0, None));
    assert!(world.changes.iter().any(|change| matches!(change, Change::Ended { .. })));
    assert_eq!(world.good.refused, 0);
}

#[test]
fn equal_seeds_end_alike() {
    let played = || {
        let (_, world) = attacked(attack("random paths, 1,000 machines, browsers"), true);
        (world.bad.refused, world.good.refused, world.changes)
    };
    assert_eq!(played(), played());
}
