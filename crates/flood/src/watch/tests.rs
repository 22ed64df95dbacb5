//! The watch, second by second. Whole mixes of traffic are in `tests/it/`.

use super::*;
use crate::note::{Asked, Keys, Secret};
use crate::sample::Sample;

const SETTINGS: Settings = Settings { from_per_s: 20, limits_max: 8, expires_s: 60, warm_up_s: 60 };

/// A zone with one thread, played second by second.
struct Played {
    watch: Watch,
    secret: Secret,
    limits: Arc<Limits>,
    sample: Sample,
    now_s: u64,
    changes: Vec<Change>,
}

impl Played {
    fn new(settings: Settings) -> Self {
        Self {
            watch: Watch::new(settings, Size::Large, 1),
            secret: Secret::new(2),
            limits: Arc::default(),
            sample: Sample::new(3),
            now_s: 10_000,
            changes: Vec::new(),
        }
    }

    /// One request; whether it was let in.
    fn ask(&mut self, visitor: u32, path: &str, agent: &str, at_ms: u64) -> bool {
        let asked = Asked {
            address: std::net::Ipv4Addr::from(visitor).into(),
            network: None,
            country: None,
            ja4: None,
            path: path.as_bytes(),
            query: None,
            agent: agent.as_bytes(),
            is_safe: true,
        };
        let keys = Keys::of(&asked, &self.secret);
        self.sample.note(&keys, self.watch.wants_texts().then_some(&asked));
        let answer = self.limits.ask(&keys, self.watch.memory(), self.now_s * 1_000 + at_ms);
        if answer.is_none() {
            self.watch.memory().served(keys.visitor(), self.now_s);
        }
        self.sample.ended(false, Some(1_000));
        answer.is_none()
    }

    fn turn(&mut self) {
        let mut second = Second::default();
        second.merge(&mut self.sample);
        self.now_s += 1;
        let outcome = self.watch.second(second, self.now_s);
        if let Some(limits) = outcome.limits {
            self.limits = limits;
        }
        self.changes.extend(outcome.changes);
    }

    /// Seconds of usual traffic: 30 requests by as many visitors.
    fn usual(&mut self, seconds: u32) {
        for second in 0..seconds {
            for visitor in 0..30 {
                let path = ["/", "/a", "/b", "/style.css"][(visitor % 4) as usize];
                self.ask(0x0a00_0000 + visitor * 300 + second % 7, path, "browser", 10 * u64::from(visitor));
            }
            self.turn();
        }
    }

    /// A second of usual traffic and a flood by a program; how much of the flood was let in.
    fn flooded(&mut self, count: u32) -> u32 {
        let let_in = (0..count).filter(|n| self.ask(0xc000_0200 + n % 200, "/", "tool", 2)).count();
        self.usual(1);
        let_in as u32
    }

    fn stages(&self) -> Vec<Stage> {
        let of = |change: &Change| match change {
            Change::Limit(limit) => Some(limit.stage),
            _ => None,
        };
        self.changes.iter().filter_map(of).collect()
    }
}

#[test]
fn before_it_knows_a_zone_nothing_is_a_flood() {
    let mut played = Played::new(SETTINGS);
    played.usual(20);
    assert!((0..20).all(|_| played.flooded(500) == 500));
    let standing = played.watch.standing(played.now_s);
    assert!(!standing.has_baseline);
    assert_eq!((standing.seen_s, played.changes.len()), (40, 0));
}

#[test]
fn a_flood_is_told_limited_explained_and_its_limit_ends_by_itself() {
    let mut played = Played::new(SETTINGS);
    played.usual(120);
    assert_eq!(played.changes, []);
    (0..4).for_each(|_| {
        let _let_in = played.flooded(400);
    });
    assert!(played.flooded(400) <= 4);
    assert!(matches!(played.changes.first(), Some(Change::Began { .. })), "{:?}", played.changes);
    assert_eq!(played.stages(), [Stage::Observe, Stage::Limit]);
    let standing = played.watch.standing(played.now_s);
    let limit = standing.limits.first().expect("one");
    assert_eq!(standing.limits.len(), 1, "{standing:?}");
    assert_eq!(limit.what, "prefix 192.0.2.0/24");
    assert!(limit.why.contains("requests a second where"), "{}", limit.why);
    assert!(limit.done.refused > 390, "{:?}", limit.done);
    played.usual(40);
    assert!(matches!(played.changes.last(), Some(Change::Ended { .. })), "{:?}", played.changes.last());
    assert!(!played.limits.is_empty(), "it stays for its time");
    played.usual(40);
    assert!(matches!(played.changes.last(), Some(Change::Removed { .. })), "{:?}", played.changes.last());
    assert!(played.limits.is_empty());
}

#[test]
fn a_flood_is_never_usual() {
    let mut played = Played::new(SETTINGS);
    played.usual(120);
    let usual = played.watch.standing(played.now_s).usual;
    (0..100).for_each(|_| {
        let _let_in = played.flooded(400);
    });
    assert!((played.watch.standing(played.now_s).usual - usual).abs() < 1.0);
}

#[test]
fn there_are_never_more_limits_than_the_zone_allows() {
    let mut played = Played::new(Settings { limits_max: 2, ..SETTINGS });
    played.usual(120);
    for _ in 0..20 {
        for (source, path) in (0..).zip(["/a", "/b", "/style.css"]) {
            let (address, agent) = (0xc600_0000 + (source << 16), format!("tool {source}"));
            (0..200).for_each(|_| {
                let _let_in = played.ask(address, path, &agent, 3);
            });
        }
        played.usual(1);
        assert!(played.watch.standing(played.now_s).limits.len() <= 2);
    }
    assert_eq!(played.watch.standing(played.now_s).limits.len(), 2);
}

#[test]
fn a_quiet_zone_is_left_alone() {
    let mut played = Played::new(SETTINGS);
    for _ in 0..120 {
        played.ask(1, "/", "browser", 0);
        played.turn();
    }
    for _ in 0..30 {
        (0..19).for_each(|_| {
            let _let_in = played.ask(2, "/x", "tool", 0);
        });
        played.turn();
    }
    assert_eq!(played.changes, [], "below `from_per_s`");
}

#[test]
fn a_limit_that_refuses_known_visitors_is_withdrawn_and_not_tried_at_once_again() {
    let mut played = Played::new(SETTINGS);
    played.usual(120);
    // The zone's own visitors begin to poll a new path, faster than any person.
    let polls = |played: &mut Played| {
        for visitor in 0..30_u32 {
            (0..20).for_each(|n| {
                let _let_in = played.ask(0x0a00_0000 + visitor * 300, "/poll", "browser", 40 * n);
            });
        }
        played.usual(1);
    };
    (0..40).for_each(|_| polls(&mut played));
    let why = played.changes.iter().find_map(|change| match change {
        Change::Removed { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(why, Some("it refused visitors who were served before"), "{:?}", played.changes);
    assert!(played.limits.is_empty());
}
