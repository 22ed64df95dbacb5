//! Tests of the controller: windows are told, and requests asked, as a test says.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn asked(zone: u64, visitor: u32) -> Asked {
    let visitor = Visitor::of(IpAddr::V4(Ipv4Addr::from(visitor)), 3);
    Asked { zone, weight: 1, visitor, is_costly: false, is_again: false, waiting_us: 0 }
}

/// A node comes with more; these numbers are for 50 ms.
const SETTINGS: Settings = Settings { delay_us: 50_000 };

/// A controller, and the time and CPU time that it was told last.
struct Rig {
    controller: Controller,
    known: Known,
    now_us: u64,
    cpu_us: u64,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let controller = Controller::new(settings, 7, (10_000_000, 0));
        Self { controller, known: Known::new(), now_us: 10_000_000, cpu_us: 0 }
    }

    /// A window in which the thread burnt all of its time and was late by so much.
    fn window(&mut self, late_us: u64) -> Option<Change> {
        let over_us = self.now_us % WINDOW_US;
        self.now_us += WINDOW_US - over_us;
        self.cpu_us += WINDOW_US;
        let (now_us, cpu_us) = (self.now_us, self.cpu_us);
        self.controller.probe(&Probe {
            now_us,
            late_us,
            has_run: true,
            cpu_us,
            has_taken_all: true,
            waiting_us: 0,
            cost_us: 0,
        })
    }

    /// Requests of one zone by as many visitors, each of whom costs so much; how many came in.
    fn ask(&mut self, zone: u64, visitors: std::ops::Range<u32>, cost_us: u64) -> usize {
        let is_in = |rig: &mut Self, visitor| {
            rig.now_us += 45;
            let decided = rig.controller.ask(&asked(zone, visitor), &rig.known, rig.now_us);
            if let Ok(kind) = decided {
                rig.controller.spent(zone, kind, cost_us);
            }
            decided.is_ok()
        };
        visitors.filter(|visitor| is_in(self, *visitor)).count()
    }

    /// Becomes one that sheds and has caught up, where zone 1 wants ten times what there is, zone 2 little.
    fn shedding(&mut self) {
        let mut began = None;
        for late in 1..=LATE_WINDOWS {
            assert_eq!(began, None, "after {late} windows");
            self.ask(1, 0..1_000, 1_000);
            self.ask(2, 0..5, 1_000);
            began = self.window(90_000);
        }
        assert!(matches!(began, Some(Change::Began(told)) if told.delay_us == 90_000));
        self.ask(1, 0..1_000, 1_000);
        self.ask(2, 0..5, 1_000);
        self.window(30_000);
    }
}

#[test]
fn a_thread_that_keeps_up_measures_and_sheds_nothing() {
    let mut rig = Rig::new(SETTINGS);
    for _ in 0..100 {
        assert_eq!(rig.ask(1, 0..1_000, 90), 1_000);
        assert_eq!(rig.window(SETTINGS.delay_us / 8), None);
        assert!(!rig.controller.is_measuring() && rig.controller.zones.is_empty());
    }
}

#[test]
fn one_late_window_or_two_apart_shed_nothing() {
    let mut rig = Rig::new(SETTINGS);
    for late_us in [90_000, 0, 90_000, 20_000, 90_000, 0, 0] {
        assert_eq!(rig.ask(1, 0..1_000, 90), 1_000);
        assert_eq!(rig.window(late_us), None);
    }
    assert_eq!(rig.controller.state(), State::Watching);
    assert_eq!((0..REST_WINDOWS).filter_map(|_| rig.window(0)).count(), 0);
    assert_eq!(rig.controller.state(), State::Quiet);
}

#[test]
fn a_thread_that_stays_late_sheds_down_to_what_it_can_do() {
    let mut rig = Rig::new(SETTINGS);
    rig.shedding();
    // 90 % of the window is 90 requests of a millisecond.
    let let_in = rig.ask(1, 0..1_000, 1_000);
    assert!((50..130).contains(&let_in), "{let_in}");
    rig.window(95_000);
    let less = (0..10).map(|_| (rig.ask(1, 0..1_000, 1_000), rig.window(95_000)).0).last();
    assert!(less < Some(60), "it gets less while the thread does not catch up: {less:?}");
    let more = (0..80).map(|_| (rig.ask(1, 0..1_000, 1_000), rig.window(0)).0).last();
    assert!(more > less.map(|less| less + 10), "and more while it is not late: {more:?}, {less:?}");
}

#[test]
fn known_visitors_come_in_before_all_strangers() {
    let mut rig = Rig::new(SETTINGS);
    (0..50).for_each(|visitor| rig.known.served(asked(1, visitor).visitor, 0, None));
    rig.shedding();
    for _ in 0..20 {
        assert_eq!(rig.ask(1, 0..50, 1_000), 50, "known");
        let strangers = rig.ask(1, 100..2_000, 1_000);
        assert!(strangers < 100, "{strangers}");
        rig.window(30_000);
    }
}

#[test]
fn known_visitors_are_not_charged_for_what_a_flood_costs() {
    let mut rig = Rig::new(SETTINGS);
    (0..50).for_each(|visitor| rig.known.served(asked(1, visitor).visitor, 0, None));
    rig.shedding();
    // With what a stranger costs they would want half a window, and what is let in shrinks to a fiftieth.
    for _ in 0..100 {
        assert_eq!(rig.ask(1, 0..50, 10), 50);
        rig.ask(1, 100..1_000, 1_000);
        rig.window(95_000);
    }
}

#[test]
fn the_zone_that_causes_it_is_the_one_that_is_cut() {
    let mut rig = Rig::new(SETTINGS);
    rig.shedding();
    for _ in 0..20 {
        assert_eq!(rig.ask(2, 0..5, 1_000), 5);
        assert!(rig.ask(1, 0..1_000, 1_000) < 130);
        rig.window(30_000);
    }
}

#[test]
fn some_come_in_whatever_was_measured() {
    let mut rig = Rig::new(SETTINGS);
    rig.shedding();
    rig.ask(1, 0..1_000, 10_000_000);
    rig.window(30_000);
    let mut come_in = Vec::new();
    for _ in 0..200 {
        come_in.push(rig.ask(1, 0..1_000, 1));
        rig.window(30_000);
    }
    assert!(come_in.first() < Some(&100), "what was measured says that few can be served: {come_in:?}");
    assert!(come_in.iter().all(|count| *count > 0), "but some are, and it is forgotten: {come_in:?}");
    assert!(come_in.last() > Some(&500), "{come_in:?}");
}

#[test]
fn an_episode_ends_once_all_were_let_in_for_a_while_and_is_told_with_its_figures() {
    let mut rig = Rig::new(SETTINGS);
    rig.shedding();
    let before = rig.controller.told;
    let let_in = rig.ask(1, 0..1_000, 1_000) as u64;
    let mut ended = None;
    let mut windows = 0;
    while ended.is_none() && windows < 200 {
        ended = rig.window(0);
        windows += 1;
        rig.ask(1, 0..1, 1_000);
    }
    let Some(Change::Ended(told)) = ended else { panic!("it does not end") };
    assert_eq!(told.shed, before.shed + 1_000 - let_in);
    assert!(
        told.admitted >= before.admitted + let_in && told.lasted_us > u64::from(CALM_WINDOWS) * WINDOW_US
    );
    assert_eq!(rig.controller.state(), State::Watching);
}

#[test]
fn switched_off_it_lets_everything_in() {
    let mut rig = Rig::new(Settings { delay_us: 0 });
    for _ in 0..20 {
        assert_eq!(rig.window(500_000), None);
        assert_eq!(rig.ask(1, 0..1_000, 1_000), 1_000);
    }
}

#[test]
fn zones_without_number_take_bounded_room_and_are_forgotten() {
    let mut rig = Rig::new(SETTINGS);
    rig.shedding();
    (0..20_000).for_each(|zone| {
        let _decided = rig.controller.ask(&asked(zone, 1), &rig.known, rig.now_us);
    });
    assert!(rig.controller.zones.len() <= ZONES_MAX);
    (0..60).for_each(|_| {
        let _changed = rig.window(30_000);
    });
    assert!(rig.controller.zones.is_empty());
}

#[test]
fn stored_answers_are_looked_for_where_that_costs_little() {
    let mut rig = Rig::new(SETTINGS);
    rig.shedding();
    assert!(rig.controller.may_look(1) && rig.controller.may_look(2) && rig.controller.may_look(99));
    for _ in 0..100 {
        rig.controller.spent_on_stored(1, 20);
    }
    for _ in 0..4 {
        rig.controller.spent_on_stored(1, 20_000);
    }
    assert!(rig.controller.may_look(1), "some that the machine kept waiting are no reason");
    for _ in 0..20 {
        rig.controller.spent_on_stored(1, 4_000);
    }
    assert!(!rig.controller.may_look(1) && rig.controller.may_look(2));
    let mut again = || {
        (1..=2 * STORED_REST_WINDOWS).find(|_| {
            rig.ask(1, 0..100, 1_000);
            rig.window(0);
            rig.controller.may_look(1)
        })
    };
    assert_eq!(again(), Some(STORED_REST_WINDOWS));
    rig.controller.spent_on_stored(1, 4_000);
    assert!(!rig.controller.may_look(1), "one that is as dear as before tells enough");
}
