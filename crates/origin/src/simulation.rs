//! A seeded simulation of choosing, health, ejection and retries over hours of virtual time.
//!
//! Origins fail and recover by themselves; three threads send requests to them; after every step the
//! invariants must hold. No sockets, no clock: a failing seed fails again. For tests only.

use std::rc::Rc;
use std::sync::Arc;

use exchange::{Deadlines, Fault};
use zone::{Balance, Pool};

use crate::balance::Cursor;
use crate::choose::{Chosen, Wanted};
use crate::fleet::{Check, Fleet, FleetSettings};
use crate::origins::Origins;
use crate::retry::FLOOR;

const STEP_MS: u64 = 50;
const BUDGET_PERCENT: u32 = 20;
const EJECTED_PERCENT: u8 = 50;

fn id(number: u64) -> zone::Id {
    zone::Id::derived("test", "simulation", &number.to_string())
}

/// A pool with every setting that the crate reads.
pub(crate) fn pool(name: u64, origins: usize, balance: Balance) -> Pool {
    let origin = |index: usize| zone::Origin {
        id: id(1000 * name + index as u64),
        url: format!("http://10.0.0.{index}:80"),
        scheme: zone::OriginScheme::Http,
        host: format!("10.0.0.{index}"),
        port: 80,
        authority: format!("10.0.0.{index}"),
        weight: 1,
        is_draining: false,
        is_backup: false,
        protocol: zone::OriginProtocol::Http1,
    };
    Pool {
        id: id(name),
        name: format!("pool-{name}"),
        origins: (0..origins).map(origin).collect(),
        balance,
        health: None,
        ejection: zone::Ejection {
            consecutive_failures: 5,
            base_ms: 10_000,
            max_percent: EJECTED_PERCENT,
            circuit_percent: 0,
        },
        slow_start_ms: 0,
        sticky: None,
        backup: None,
        timeouts: zone::Timeouts {
            connect_ms: 5000,
            tls_ms: 5000,
            first_byte_ms: 60_000,
            idle_ms: 60_000,
            min_rate_bytes_per_s: 0,
        },
        retries: zone::Retries { max: 2, budget_percent: BUDGET_PERCENT },
        max_connections: None,
        max_requests: None,
        is_adaptive: true,
        queue: zone::Queue { places: 4, wait_ms: 1_000 },
        keepalive_ms: 60_000,
        protocol: zone::OriginProtocol::Http1,
        proxy_protocol: None,
        host: zone::HostHeader::Keep,
        tls: zone::OriginTls { verify: true, ca: None, certificate: None, sni: None },
    }
}

fn with_checks(mut pool: Pool) -> Pool {
    pool.health = Some(zone::Health {
        probe: zone::Probe::Tcp,
        interval_ms: 2000,
        timeout_ms: 1000,
        healthy_after: 2,
        unhealthy_after: 3,
    });
    pool.slow_start_ms = 10_000;
    pool
}

fn fleet_of(pool: &Arc<Pool>, threads: u64) -> (Arc<Fleet>, Vec<Rc<Origins>>) {
    let fleet = Fleet::new(FleetSettings::default());
    fleet.apply_pools([pool].into_iter(), 0);
    let threads = (0..threads).map(|seed| Origins::new(Arc::clone(&fleet), Deadlines::new(), seed)).collect();
    (fleet, threads)
}

fn wanted<'a>(pool: &'a Arc<Pool>, tried: &'a [usize]) -> Wanted<'a> {
    Wanted { pool, hash_key: 7, sticky: None, tried, needs_http1: false }
}

struct World {
    fleet: Arc<Fleet>,
    threads: Vec<Rc<Origins>>,
    pool: Arc<Pool>,
    random: Cursor,
    now_ms: u64,
    works: Vec<bool>,
    in_flight: Vec<(u64, Chosen)>,
    checks: Vec<(u64, Check)>,
    retried: u64,
    panics: u64,
}

impl World {
    fn new(seed: u64, balance: Balance) -> Self {
        let mut pool = with_checks(pool(1, 8, balance));
        pool.origins[7].is_backup = true;
        let pool = Arc::new(pool);
        let (fleet, threads) = fleet_of(&pool, 3);
        Self {
            fleet,
            threads,
            works: vec![true; pool.origins.len()],
            pool,
            random: Cursor::new(seed),
            now_ms: 0,
            in_flight: Vec::new(),
            checks: Vec::new(),
            retried: 0,
            panics: 0,
        }
    }

    fn step(&mut self, may_break: bool) {
        self.now_ms += STEP_MS;
        let now_ms = self.now_ms;
        if may_break && self.random.below(200) == 0 {
            let index = self.random.below(self.works.len() as u64) as usize;
            self.works[index] = !self.works[index];
        }
        for check in self.fleet.due_checks(4, now_ms) {
            self.checks.push((now_ms + self.random.below(400), check));
        }
        for (_, mut check) in self.checks.extract_if(.., |(end, _)| *end <= now_ms) {
            let is_well = self.works[check.index];
            // One check in fifty is lost, as when a thread dies with it.
            if self.random.below(50) > 0 {
                check.report(is_well, None, now_ms);
            }
        }
        for _ in 0..self.random.below(6) {
            self.request();
        }
        let ended: Vec<_> = self.in_flight.extract_if(.., |(end, _)| *end <= now_ms).collect();
        drop(ended);
        self.check_invariants();
    }

    fn request(&mut self) {
        let thread = Rc::clone(&self.threads[self.random.below(3) as usize]);
        let mut tried = Vec::new();
        loop {
            let is_any_well = thread.is_well(&self.pool, self.now_ms);
            let chosen = thread.choose(&wanted(&self.pool, &tried), self.now_ms).expect("never refuses");
            let is_well = self.is_well(chosen.index);
            assert!(
                is_well || !is_any_well || !tried.is_empty(),
                "chose {} while others are well",
                chosen.index
            );
            self.panics += u64::from(!is_well);
            if self.works[chosen.index] {
                chosen.succeeded();
                let end = self.now_ms + self.random.below(500);
                self.in_flight.push((end, chosen));
                return;
            }
            chosen.failed(Fault::ConnectionRefused);
            tried.push(chosen.index);
            if tried.len() > 2 || !thread.take_retry(&self.pool, self.now_ms) {
                return;
            }
            self.retried += 1;
        }
    }

    fn is_well(&self, index: usize) -> bool {
        let states = self.fleet.pool_states(self.now_ms);
        states[0].origins[index].is_up && !states[0].origins[index].is_ejected
    }

    fn check_invariants(&self) {
        let states = self.fleet.pool_states(self.now_ms);
        let report = &states[0];
        for (index, origin) in report.origins.iter().enumerate() {
            let counted = self.in_flight.iter().filter(|(_, chosen)| chosen.index == index).count();
            assert_eq!(origin.in_flight as usize, counted, "every exchange in flight is counted once");
            assert_eq!(origin.connections, 0, "nothing here connects");
        }
        let ejected = report.origins.iter().filter(|origin| origin.is_ejected).count();
        assert!(ejected * 100 <= usize::from(EJECTED_PERCENT) * report.origins.len(), "{ejected} ejected");
        let (requests, retries) = report.window;
        // Granted against the window of then; old requests leave it before the retries they allowed do.
        assert!(retries <= u64::from(FLOOR) || retries <= (requests + 300) * 20 / 100, "{report:?}");
        let mut held: Vec<_> = self.checks.iter().map(|(_, check)| check.index).collect();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), self.checks.len(), "no origin is checked twice at a time");
    }
}

#[test]
fn invariants_hold_through_failures_ejections_and_recoveries() {
    let ways = [Balance::RoundRobin, Balance::LeastConnections, Balance::Random];
    for seed in 0..12 {
        let balance = ways[seed as usize % ways.len()].clone();
        let mut world = World::new(seed, balance);
        for step in 0..20_000 {
            match step {
                12_000 => world.works.fill(false), // an outage of everything, for 25 seconds
                12_500 => world.works.fill(true),
                _ => {}
            }
            world.step(!(12_000..12_500).contains(&step));
        }
        assert!(world.retried > 0 && world.panics > 0, "the simulation reaches its corners");
        world.works.fill(true);
        for _ in 0..10_000 {
            world.step(false);
        }
        assert!((0..8).all(|index| world.is_well(index)), "seed {seed}: all are found well again");
        world.in_flight.clear();
        world.check_invariants();
    }
}

#[test]
fn a_recovered_origin_is_not_flooded() {
    let pool = Arc::new(with_checks(pool(2, 2, Balance::RoundRobin)));
    let (fleet, threads) = fleet_of(&pool, 1);
    let mut now_ms = 0;
    let mut check_all = |works: [bool; 2], until_ms: u64| {
        while now_ms < until_ms {
            now_ms += 100;
            for mut check in fleet.due_checks(8, now_ms) {
                let is_well = works[check.index];
                check.report(is_well, None, now_ms);
            }
        }
    };
    check_all([true, false], 20_000);
    let share = |now_ms: u64| {
        let count = |_: u32| threads[0].choose(&wanted(&pool, &[]), now_ms).expect("some").index;
        (0..100).map(count).filter(|index| *index == 1).count()
    };
    assert_eq!(share(20_000), 0);
    check_all([true, true], 26_000);
    let soon = share(26_000);
    assert!((5..40).contains(&soon), "{soon} of 100 so soon");
    let later = share(60_000);
    assert!((48..=52).contains(&later), "{later} of 100 once it is warm");
}

#[test]
fn when_all_are_unwell_it_still_tries() {
    let pool = Arc::new(with_checks(pool(3, 3, Balance::RoundRobin)));
    let (fleet, threads) = fleet_of(&pool, 1);
    for now_ms in (0..20_000).step_by(100) {
        for mut check in fleet.due_checks(8, now_ms) {
            check.report(false, None, now_ms);
        }
    }
    assert!(!threads[0].is_well(&pool, 20_000));
    let chosen: std::collections::HashSet<_> =
        (0..9).map(|_| threads[0].choose(&wanted(&pool, &[]), 20_000).expect("some").index).collect();
    assert_eq!(chosen.len(), 3);
}

#[test]
fn draining_takes_no_new_visitor_but_keeps_its_own() {
    let mut draining = pool(4, 2, Balance::RoundRobin);
    draining.sticky = Some(zone::Sticky { cookie: "c".to_owned(), ttl_s: None });
    let before = Arc::new(draining.clone());
    let (fleet, threads) = fleet_of(&before, 1);
    let cookies: Vec<_> = (0..2)
        .map(|_| threads[0].choose(&wanted(&before, &[]), 1).expect("some"))
        .map(|chosen| (chosen.index, chosen.sticky_to_set.clone().expect("a first visit sets the cookie")))
        .collect();
    draining.origins[0].is_draining = true;
    let after = Arc::new(draining);
    fleet.apply_pools([&after].into_iter(), 2);
    for (index, cookie) in &cookies {
        let again = Wanted { sticky: Some(cookie), ..wanted(&after, &[]) };
        let chosen = threads[0].choose(&again, 3).expect("some");
        assert_eq!((chosen.index, &chosen.sticky_to_set), (*index, &None));
    }
    let new: Vec<_> =
        (0..10).map(|_| threads[0].choose(&wanted(&after, &[]), 3).expect("some").index).collect();
    assert!(new.iter().all(|index| *index == 1));
    let forged = Wanted { sticky: Some(b"0000000000000000"), ..wanted(&after, &[]) };
    let chosen = threads[0].choose(&forged, 3).expect("some");
    assert!(chosen.index == 1 && chosen.sticky_to_set.is_some());
}

#[test]
fn a_retry_goes_elsewhere_and_backups_serve_only_then() {
    let mut with_backup = pool(5, 3, Balance::RoundRobin);
    with_backup.origins[2].is_backup = true;
    let pool = Arc::new(with_backup);
    let (_fleet, threads) = fleet_of(&pool, 1);
    let choose = |tried: &[usize]| threads[0].choose(&wanted(&pool, tried), 1).expect("some").index;
    assert!((0..20).all(|_| choose(&[]) < 2));
    assert!((0..20).all(|_| choose(&[0]) == 1));
    assert_eq!(choose(&[0, 1]), 2, "the backup, before any that was tried");
    assert!(choose(&[0, 1, 2]) < 3, "all were tried: any");
}

#[test]
fn a_publish_keeps_what_is_known_and_forgets_what_went() {
    let first = Arc::new(pool(6, 3, Balance::RoundRobin));
    let (fleet, threads) = fleet_of(&first, 1);
    let held = threads[0].choose(&wanted(&first, &[]), 1).expect("some");
    let mut changed = (*first).clone();
    changed.origins.reverse();
    changed.keepalive_ms = 1;
    let second = Arc::new(changed);
    fleet.apply_pools([&second].into_iter(), 2);
    let report = &fleet.pool_states(2)[0];
    let busy: Vec<_> = report.origins.iter().map(|origin| origin.in_flight).collect();
    let mut expected = vec![0; 3];
    expected[2 - held.index] = 1;
    assert_eq!(busy, expected, "the count follows the id and not the place");
    // A request that still runs on the snapshot before is served, and counted with the same origin.
    let late = threads[0].choose(&wanted(&first, &[]), 3).expect("some");
    let report = &fleet.pool_states(3)[0];
    assert_eq!(report.origins.iter().map(|origin| origin.in_flight).sum::<u32>(), 2);
    drop((held, late));
    fleet.apply_pools([].into_iter(), 4);
    assert!(fleet.pool_states(4).is_empty());
}

#[test]
fn an_origin_whose_visitors_leave_unanswered_is_limited() {
    let pool = Arc::new(pool(8, 1, Balance::RoundRobin));
    let (fleet, threads) = fleet_of(&pool, 1);
    let mut now_ms = 1_000;
    for _ in 0..100 {
        now_ms += STEP_MS;
        let chosen = threads[0].choose(&wanted(&pool, &[]), now_ms).expect("some");
        chosen.began(now_ms * 1_000, now_ms * 1_000 + 5_000);
        chosen.succeeded();
    }
    assert_eq!(fleet.pool_states(now_ms)[0].origins[0].waiting_max, None);
    let mut held: std::collections::VecDeque<(u64, Chosen)> = std::collections::VecDeque::new();
    for _ in 0..200 {
        now_ms += STEP_MS;
        for _ in 0..4 {
            held.extend(threads[0].choose(&wanted(&pool, &[]), now_ms).ok().map(|chosen| (now_ms, chosen)));
        }
        while held.front().is_some_and(|(since_ms, _)| since_ms + 2_000 <= now_ms) {
            held.pop_front();
        }
    }
    // As it answers nobody, however few wait, the limit is of no use and ends by itself.
    let changes: Vec<_> = fleet.take_events().into_iter().map(|event| event.change).collect();
    assert_eq!(changes.first(), Some(&crate::health::Change::Limited), "{changes:?}");
    drop(held);
    assert_eq!(fleet.pool_states(now_ms)[0].origins[0].waiting, 0);
}
