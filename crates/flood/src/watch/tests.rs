//! The watch, second by second. Whole mixes of traffic are in `tests/it/`.

use super::*;
use crate::note::{Asked, Keys};
use crate::sample::Sample;

const SETTINGS: Settings =
    Settings { refuses: true, from_per_s: 20, limits_max: 8, expires_s: 60, warm_up_s: 60 };

fn asked<'a>(visitor: u32, path: &'a str, agent: &'a str) -> Asked<'a> {
    Asked {
        address: std::net::Ipv4Addr::from(visitor).into(),
        network: None,
        country: None,
        ja4: None,
        path: path.as_bytes(),
        query: None,
        agent: agent.as_bytes(),
        is_safe: true,
    }
}

/// A zone with one thread, played second by second.
struct Played {
    watch: Watch,
    secret: Secret,
    limits: Arc<Limits>,
    sample: Sample,
    now_s: u64,
    changes: Vec<Change>,
    refuses: bool,
    /// Whether the zone fails whoever is let in.
    fails: bool,
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
            refuses: settings.refuses,
            fails: false,
        }
    }

    /// One request; whether it was let in.
    fn ask(&mut self, visitor: u32, path: &str, agent: &str, at_ms: u64) -> bool {
        let asked = asked(visitor, path, agent);
        let keys = Keys::of(&asked, &self.secret);
        self.sample.note(&keys, self.watch.wants_texts().then_some(&asked));
        let answer = self.limits.ask(&keys, self.watch.memory(), self.now_s * 1_000 + at_ms);
        let is_let_in = answer.is_none() || !self.refuses;
        if is_let_in {
            self.watch.memory().served(keys.visitor(), self.now_s);
            self.sample.ended(self.fails, Some(1_000));
        }
        is_let_in
    }

    fn is_known(&self, visitor: u32) -> bool {
        let visitor = Keys::visitor_of(std::net::Ipv4Addr::from(visitor).into(), &self.secret);
        self.watch.memory().is_known(visitor, self.now_s)
    }

    /// Why limits have ended.
    fn ends(&self) -> Vec<&'static str> {
        let why = |change: &Change| match change {
            Change::Removed { why, .. } => Some(*why),
            _ => None,
        };
        self.changes.iter().filter_map(why).collect()
    }

    /// The hash of a path without a query.
    fn target(&self, path: &str) -> u64 {
        Keys::of(&asked(0, path, ""), &self.secret).target
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

    /// A flood of so many requests a second until its limit has ended.
    fn limited_for_as_long_as_may_be(&mut self, count: u32) {
        let began_s = self.now_s;
        while self.ends().is_empty() && self.now_s - began_s < LIFE_S + 60 {
            let _let_in = self.flooded(count);
        }
        assert!(self.now_s - began_s >= LIFE_S);
        assert_eq!(self.ends(), [End::Outlived.as_str()]);
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
    assert_eq!(played.ends().first(), Some(&End::Harms.as_str()), "{:?}", played.changes);
    assert!(played.limits.is_empty());
}

/// A machine of the flood's own that has fetched a page before.
const SERVED: u32 = 0xc000_0207;

/// A zone that has seen it, too.
fn served_before(settings: Settings) -> Played {
    let mut played = Played::new(settings);
    played.usual(100);
    played.ask(SERVED, "/", "browser", 0);
    played.usual(80);
    assert!(played.is_known(SERVED));
    played
}

#[test]
fn one_known_machine_frees_no_flood() {
    let mut played = served_before(SETTINGS);
    for _ in 0..60 {
        (0..30).for_each(|n| {
            let _let_in = played.ask(SERVED, "/", "tool", 30 * n);
        });
        let _let_in = played.flooded(400);
    }
    let standing = played.watch.standing(played.now_s);
    let done = standing.limits.first().expect("it is still limited").done;
    assert!(done.known_refused * 2 > done.known && done.known * 100 > done.matched, "{done:?}");
    assert_eq!(played.ends(), [] as [&str; 0]);
}

#[test]
fn what_was_wrong_for_every_request_may_be_right_for_some() {
    let path = Pattern { first: Some((Dimension::Path, 2)), second: None };
    let both = Pattern { second: Some((Dimension::Agent, 3)), ..path };
    let agent = Pattern { first: both.second, second: None };
    assert!(!Pattern::default().bars(&path) && Pattern::default().bars(&Pattern::default()));
    assert!(path.bars(&Pattern::default()) && path.bars(&both) && both.bars(&agent) && !path.bars(&agent));
}

#[test]
fn however_long_a_flood_lasts_those_served_before_are_known_and_nobody_else() {
    let mut played = served_before(SETTINGS);
    let late = 0x0b00_0000;
    let mut refused = 0;
    for second in 0..2_700 {
        refused += u32::from(second % 5 == 0 && !played.ask(SERVED, "/", "browser", 1));
        let _let_in = (played.ask(late, "/a", "browser", 1), played.flooded(100));
    }
    assert_eq!(refused, 0, "a regular among those limited in total");
    assert!((0..30).all(|visitor| played.is_known(0x0a00_0000 + visitor * 300)));
    assert!(!played.is_known(late) && !(0..200).any(|n| n != 7 && played.is_known(0xc000_0200 + n)));
    let new = played.watch.memory().is_new(played.target("/a"), played.now_s);
    assert!(!new, "what was asked for before is not forgotten");
    // The next process knows the same.
    let mut kept = Vec::new();
    played.watch.keep(&played.secret, played.now_s, &mut kept);
    let mut next = Played::new(SETTINGS);
    next.now_s = played.now_s + 1;
    assert_eq!(next.watch.adopt(&kept, &next.secret, next.now_s), Ok(true));
    assert!(next.is_known(SERVED) && !next.is_known(late) && !next.is_known(0xc000_0208));
    // Once it is over visitors become known as before.
    played.usual(100);
    assert!(played.limits.is_empty() && played.is_known(SERVED));
    played.ask(late, "/a", "browser", 1);
    played.usual(60);
    assert!(played.is_known(late) && !played.is_known(0xc000_0208));
}

#[test]
fn a_limit_that_lasts_from_wave_to_wave_knows_who_was_served_before_the_first() {
    let mut played = served_before(Settings { expires_s: 1_000, ..SETTINGS });
    for wave in 0..20 {
        for _ in 0..5 {
            let _let_in = played.flooded(400);
            assert!(played.ask(SERVED, "/", "browser", 1), "wave {wave}");
        }
        assert!(!played.is_known(0xc000_0208), "wave {wave}");
        played.usual(40);
        assert!(!played.limits.is_empty());
    }
    let began = played.changes.iter().filter(|change| matches!(change, Change::Began { .. }));
    assert_eq!(began.count(), 20, "each is an episode");
    played.usual(700);
    assert!(!played.limits.is_empty() && played.is_known(SERVED), "for as long as it is limited");
}

#[test]
fn growth_becomes_usual_where_nothing_is_refused() {
    let mut played = Played::new(Settings { refuses: false, ..SETTINGS });
    played.usual(600);
    for _ in 0..ADOPT_S - 60 {
        assert_eq!(played.flooded(100), 100);
    }
    assert!(played.watch.standing(played.now_s).usual < 35.0, "not at once");
    for _ in 0..1_200 {
        assert_eq!(played.flooded(100), 100);
    }
    let standing = played.watch.standing(played.now_s);
    assert_eq!((standing.flooded_for_s, &standing.limits[..]), (None, &[][..]), "{:?}", played.changes);
    assert!(standing.usual > 80.0, "{standing:?}");
}

#[test]
fn growth_becomes_usual_beside_a_limit_that_refuses_nothing_any_more() {
    let mut played = Played::new(Settings { expires_s: 3_000, ..SETTINGS });
    played.usual(600);
    (0..20).for_each(|_| {
        let _let_in = played.flooded(400);
    });
    // Four times the visitors, on the usual pages.
    for second in 0..ADOPT_S + 1_000 {
        for visitor in 0..90 {
            let path = ["/", "/a", "/b", "/style.css"][(visitor % 4) as usize];
            let address = 0x0a10_0000 + visitor * 300 + second as u32 % 7;
            assert!(played.ask(address, path, "browser", 10 * u64::from(visitor)));
        }
        played.usual(1);
    }
    let standing = played.watch.standing(played.now_s);
    assert!(standing.flooded_for_s.is_none() && standing.usual > 80.0, "{standing:?}");
    assert_eq!(standing.limits.len(), 1, "{:?}", played.changes);
}

#[test]
fn a_new_client_that_stays_is_not_refused_for_ever() {
    let mut played = Played::new(SETTINGS);
    played.usual(600);
    played.limited_for_as_long_as_may_be(80);
    assert!(played.watch.standing(played.now_s).usual < 35.0, "nothing was learned of it");
    for _ in 0..2 * OUTLIVED_S {
        assert_eq!(played.flooded(80), 80);
    }
    let standing = played.watch.standing(played.now_s);
    assert!(standing.flooded_for_s.is_none() && standing.usual > 80.0, "{standing:?}");
}

#[test]
fn what_was_limited_for_long_is_limited_again_once_the_zone_suffers() {
    let mut played = Played::new(SETTINGS);
    played.usual(600);
    played.limited_for_as_long_as_may_be(80);
    assert!((0..30).all(|_| played.flooded(80) == 80));
    played.fails = true;
    (0..5).for_each(|_| {
        let _let_in = played.flooded(80);
    });
    assert!(played.flooded(80) < 10);
    assert_eq!(played.watch.standing(played.now_s).limits.len(), 1);
}

/// What a watch that has seen a zone for two minutes keeps, and when.
fn kept() -> (Vec<u8>, Played) {
    let mut played = Played::new(SETTINGS);
    played.usual(120);
    let mut kept = Vec::new();
    played.watch.keep(&played.secret, played.now_s, &mut kept);
    (kept, played)
}

#[test]
fn the_next_watch_knows_what_was_usual_and_who_was_served() {
    let (kept, before) = kept();
    let mut next = Played::new(SETTINGS);
    next.now_s = before.now_s + 30;
    assert!(!next.watch.standing(next.now_s).has_baseline);
    assert_eq!(next.watch.adopt(&kept, &next.secret, next.now_s), Ok(true));
    let (was, is) = (before.watch.standing(before.now_s), next.watch.standing(next.now_s));
    assert!(is.has_baseline && is.usual == was.usual && is.seen_s == was.seen_s);
    let visitor = Keys::visitor_of(std::net::Ipv4Addr::from(0x0a00_0000).into(), &next.secret);
    let is_known = |watch: &Watch| watch.memory().is_known(visitor, next.now_s + 40);
    assert!(is_known(&before.watch) && is_known(&next.watch));
    // Those who come back all at once are no flood; what goes on is.
    for _ in 0..kept::RETURN_S - 1 {
        let _let_in = next.flooded(400);
    }
    assert_eq!(next.changes, []);
    assert_eq!(next.watch.standing(next.now_s).usual, was.usual, "nor is it learned");
    (0..10).for_each(|_| {
        let _let_in = next.flooded(400);
    });
    assert!(matches!(next.changes.first(), Some(Change::Began { .. })), "{:?}", next.changes);
    assert!(next.changes.iter().any(|change| matches!(change, Change::Limit(_))));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_of_it_is_known() {
    let (kept, before) = kept();
    let adopt = |bytes: &[u8], secret: &Secret, size: Size, now_s: u64| {
        let mut next = Watch::new(SETTINGS, size, 1);
        let adopted = next.adopt(bytes, secret, now_s);
        assert_eq!(next.standing(now_s).has_baseline, adopted == Ok(true));
        adopted
    };
    let (secret, now_s) = (&before.secret, before.now_s);
    let whole = |bytes: &[u8]| adopt(bytes, secret, Size::Large, now_s);
    assert_eq!(whole(&kept), Ok(true));
    // The second in which the next process began is cut to a whole one: its clock may be behind.
    assert_eq!(adopt(&kept, secret, Size::Large, now_s - 1), Ok(true));
    assert_eq!(adopt(&kept, &Secret::new(9), Size::Large, now_s), Err(Unusable::Hashes));
    assert_eq!(adopt(&kept, secret, Size::Small, now_s), Err(Unusable::Size));
    assert_eq!(adopt(&kept, secret, Size::Large, now_s - kept::AHEAD_S_MAX - 1), Err(Unusable::Age));
    assert_eq!(adopt(&kept, secret, Size::Large, now_s + kept::KEPT_S_MAX + 1), Err(Unusable::Age));
    let mut newer = kept.clone();
    newer[0] += 1;
    assert_eq!(whole(&newer), Err(Unusable::Version));
    assert_eq!(whole(&[kept.clone(), vec![0]].concat()), Err(Unusable::Malformed));
    for length in (0..kept.len()).step_by(997) {
        assert_eq!(whole(&kept[..length]), Err(Unusable::Malformed), "{length} bytes of {}", kept.len());
    }
    for at in (0..kept.len()).step_by(331) {
        let mut damaged = kept.clone();
        damaged[at] ^= 0xff;
        let _whatever_it_is_no_panic = whole(&damaged);
    }
    assert!(kept.len() < 262 * 1024, "{} bytes", kept.len());
}

#[test]
fn a_watch_that_knows_already_keeps_what_it_knows() {
    let (kept, mut before) = kept();
    before.usual(60);
    let usual = before.watch.standing(before.now_s).usual;
    assert_eq!(before.watch.adopt(&kept, &before.secret, before.now_s), Ok(false));
    assert_eq!(before.watch.standing(before.now_s).usual, usual);
    let mut nothing = Vec::new();
    Watch::new(SETTINGS, Size::Large, 1).keep(&before.secret, before.now_s, &mut nothing);
    assert!(nothing.is_empty(), "who knows nothing keeps nothing");
}
