//! A serving thread in virtual time: requests come by a plan, wait in one line, and cost CPU time.
//!
//! It is told nothing of the load: all it has is the line, and those that wait for their turn. A request that
//! is shed costs time too, and one that its visitor has given up is served like any other, since nobody can
//! tell. What `edge` does around controller and turns is done here in short. Used by `invariants.rs` and
//! `table.rs`.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use overload::limits::WINDOW_US;
use overload::{Asked, Change, Controller, Kind, Known, Probe, Settings, State, Turns, Visitor};

/// How often the thread looks how late it is.
const PROBE_US: u64 = 20_000;

/// How often a request that has its turn looks whether the timer is overdue.
const GLANCE_US: u64 = 10_000;

/// For how long an order of turns is kept after the thread was late.
const KEPT_US: u64 = 1_000_000;

/// What it takes to read a request that is to wait for its turn.
const READ_US: u64 = 10;

/// What a visitor waits before it gives up.
pub(crate) const PATIENCE_US: u64 = 1_000_000;

/// What the thread's clock says when a simulation begins: known visitors were served at its zero.
const BEGAN_US: u64 = 60 * SECOND_US;

pub(crate) const SECOND_US: u64 = 1_000_000;

/// A small random number generator (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Who comes: requests of some visitors to one zone.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) zone: u64,
    pub(crate) weight: u32,
    pub(crate) visitors: std::ops::Range<u32>,
    /// Whether they were served before the simulation.
    pub(crate) are_known: bool,
    /// Requests a second from each of these seconds on.
    pub(crate) rates: Vec<(f64, f64)>,
    /// What a request costs on average, in microseconds; costs are exponential.
    pub(crate) cost_us: f64,
    /// Which part of them is ten times as costly, and of a kind that shows it.
    pub(crate) costly: f64,
}

impl Source {
    pub(crate) fn new(visitors: std::ops::Range<u32>, rate: f64, cost_us: f64) -> Self {
        let rates = vec![(0.0, rate)];
        Self { zone: 1, weight: 1, visitors, are_known: false, rates, cost_us, costly: 0.0 }
    }

    pub(crate) fn known(mut self) -> Self {
        self.are_known = true;
        self
    }

    pub(crate) fn at(mut self, second: f64, rate: f64) -> Self {
        self.rates.push((second, rate));
        self
    }

    pub(crate) fn zone(mut self, zone: u64, weight: u32) -> Self {
        (self.zone, self.weight) = (zone, weight);
        self
    }

    pub(crate) fn costly(mut self, part: f64) -> Self {
        self.costly = part;
        self
    }

    fn rate(&self, now_us: u64) -> f64 {
        let now_s = now_us as f64 / SECOND_US as f64;
        self.rates.iter().rev().find(|(since, _)| *since <= now_s).map_or(0.0, |(_, rate)| *rate)
    }
}

/// How it is decided what to do with a request whose turn it is.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// It is served.
    NoControl,
    /// It is shed when more than so many wait behind it.
    FixedLimit(usize),
    /// It is shed when it waited for longer than this.
    FifoQueue(u64),
    /// As this crate says.
    Controlled(Settings),
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Served,
    Shed,
}

/// One request that ended.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) source: usize,
    pub(crate) came_us: u64,
    pub(crate) took_us: u64,
    pub(crate) end: End,
}

impl Ended {
    /// Whether its visitor was still there.
    pub(crate) fn is_good(&self) -> bool {
        self.end == End::Served && self.took_us <= PATIENCE_US
    }
}

/// What came of a simulation.
pub(crate) struct Outcome {
    pub(crate) ended: Vec<Ended>,
    pub(crate) changes: Vec<(u64, Change)>,
}

impl Outcome {
    /// Requests of some sources that came between two seconds.
    pub(crate) fn of(&self, sources: std::ops::Range<usize>, from: f64, to: f64) -> Vec<Ended> {
        let (from, to) = ((from * SECOND_US as f64) as u64, (to * SECOND_US as f64) as u64);
        let within = |one: &&Ended| sources.contains(&one.source) && (from..to).contains(&one.came_us);
        self.ended.iter().filter(within).copied().collect()
    }

    /// Requests served in time for each second, of those that came between two seconds.
    pub(crate) fn goodput(&self, from: f64, to: f64) -> f64 {
        self.of(0..usize::MAX, from, to).iter().filter(|one| one.is_good()).count() as f64 / (to - from)
    }
}

/// The part of requests that were not served in time.
pub(crate) fn harmed(ended: &[Ended]) -> f64 {
    let harmed = ended.iter().filter(|one| !one.is_good()).count();
    harmed as f64 / ended.len().max(1) as f64
}

/// A percentile of the time that served requests took, in milliseconds.
pub(crate) fn percentile_ms(ended: &[Ended], percent: usize) -> f64 {
    let mut took: Vec<u64> =
        ended.iter().filter(|one| one.end == End::Served).map(|one| one.took_us).collect();
    took.sort_unstable();
    let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    took.get(place).copied().unwrap_or(0) as f64 / 1_000.0
}

/// A request whose turn has not come.
#[derive(Clone, Copy)]
struct Request {
    source: usize,
    came_us: u64,
    visitor: u32,
    cost_us: u64,
    is_costly: bool,
    /// If it waits for its turn: what it was let in as, and what the thread did then.
    waits: Option<(Kind, State)>,
    /// And what it was expected to take, in microseconds, once its turn has come.
    expected_us: Option<u64>,
}

enum Waiting {
    Probe { due_us: u64 },
    Request(Request),
}

/// What a thread has of its core.
#[derive(Clone, Copy)]
pub(crate) struct Core {
    /// The part of it, from 0 to 1; others have the rest.
    pub(crate) share: f64,
    /// For how long others have it at a time, in microseconds.
    pub(crate) away_us: f64,
}

impl Core {
    pub(crate) const WHOLE: Self = Self { share: 1.0, away_us: 1.0 };

    /// How long others have the core while the thread works for so long.
    fn away(self, worked_us: u64, dice: &mut Dice) -> u64 {
        let wanted_us = worked_us as f64 * (1.0 / self.share - 1.0);
        if dice.unit() < wanted_us / self.away_us { self.away_us.max(wanted_us) as u64 } else { 0 }
    }
}

/// A thread's admission, as `edge` has it: its controller, and the order of turns that is kept on a thread
/// that was late a moment ago.
struct Admission {
    controller: Controller,
    known: Known,
    seed: u64,
    turns: Turns<Request>,
    is_kept: bool,
    kept_until_us: u64,
    settled_us: u64,
    changes: Vec<(u64, Change)>,
}

/// What becomes of a request at the moment.
enum LetIn {
    Serve(Kind),
    Wait,
    Shed,
}

impl Admission {
    fn new(settings: Settings, seed: u64) -> Self {
        Self {
            controller: Controller::new(settings, seed, (BEGAN_US, 0)),
            known: Known::new(),
            seed,
            turns: Turns::default(),
            is_kept: false,
            kept_until_us: 0,
            settled_us: 0,
            changes: Vec::new(),
        }
    }

    fn visitor(&self, number: u32) -> Visitor {
        Visitor::of(IpAddr::V4(Ipv4Addr::from(number)), self.seed)
    }

    fn probe(&mut self, now_us: u64, late_us: u64, has_run: bool, cpu_us: u64) {
        let (waiting_us, cost_us) = (self.turns.waiting_us(), self.turns.mean_us());
        let now = now_us + BEGAN_US;
        let probe = Probe { now_us: now, late_us, has_run, cpu_us, has_taken_all: true, waiting_us, cost_us };
        if late_us >= GLANCE_US || self.controller.is_measuring() || self.turns.waiting() > 0 {
            self.kept_until_us = now_us + KEPT_US;
        }
        let is_kept = now_us < self.kept_until_us;
        if std::mem::replace(&mut self.is_kept, is_kept) && !is_kept {
            self.turns = Turns::default();
        }
        if now_us - self.settled_us >= WINDOW_US {
            self.settled_us = now_us;
            self.turns.settle();
        }
        self.changes.extend(self.controller.probe(&probe).map(|change| (now_us, change)));
    }

    fn let_in(&mut self, request: Request, from: &Source, now_us: u64) -> LetIn {
        let now_us = now_us + BEGAN_US;
        match request.waits {
            Some((kind, did)) if did == State::Shedding || self.controller.state() != State::Shedding => {
                if self.controller.is_measuring() {
                    self.controller.begins(from.zone, kind);
                }
                return LetIn::Serve(kind);
            }
            _ => {}
        }
        let (visitor, waiting_us) = (self.visitor(request.visitor), self.turns.waiting_us());
        let (zone, weight, is_costly) = (from.zone, from.weight, request.is_costly);
        let is_again = request.waits.is_some();
        let asked = Asked { zone, weight, visitor, is_costly, is_again, waiting_us };
        let Ok(kind) = self.controller.ask(&asked, &self.known, now_us) else {
            if let Some(expected_us) = request.expected_us {
                self.turns.charge(zone, -(expected_us as i64));
            }
            return LetIn::Shed;
        };
        if request.waits.is_some() || !self.is_kept || !self.turns.ask(zone, weight) {
            return LetIn::Serve(kind);
        }
        let since_s = self.controller.late_since_s().unwrap_or(now_us / SECOND_US);
        let is_known = self.known.is_known(visitor, now_us / SECOND_US, since_s);
        let does = self.controller.state();
        self.turns.wait(zone, is_known, now_us, Request { waits: Some((kind, does)), ..request });
        if does != State::Quiet {
            self.controller.waits(zone, kind);
        }
        LetIn::Wait
    }

    fn served(&mut self, request: Request, (zone, kind): (u64, Kind), now_us: u64, took_us: u64) {
        if self.controller.is_measuring() {
            self.controller.spent(zone, kind, took_us);
        }
        self.turns.spent(zone, took_us, None);
        if let Some(expected_us) = request.expected_us {
            self.turns.charge(zone, took_us as i64 - expected_us as i64);
        }
        let now_s = (now_us + BEGAN_US) / SECOND_US;
        self.known.served(self.visitor(request.visitor), now_s, self.controller.late_since_s());
    }
}

/// Runs a thread on a core of its own for some seconds; a request that is shed costs `shed_us`.
pub(crate) fn simulate(sources: &[Source], way: Way, shed_us: u64, seconds: f64, seed: u64) -> Outcome {
    simulate_on(Core::WHOLE, sources, way, shed_us, seconds, seed)
}

/// The same on a core that others have as well.
pub(crate) fn simulate_on(
    core: Core,
    sources: &[Source],
    way: Way,
    shed_us: u64,
    seconds: f64,
    seed: u64,
) -> Outcome {
    let mut dice = Dice(seed);
    let settings = if let Way::Controlled(settings) = way { settings } else { Settings { delay_us: 0 } };
    let mut admission = Admission::new(settings, seed);
    for source in sources.iter().filter(|source| source.are_known) {
        source.visitors.clone().for_each(|number| admission.known.served(admission.visitor(number), 0, None));
    }
    let end_us = (seconds * SECOND_US as f64) as u64;
    let mut next = |source: &Source, from_us: u64| loop_until(source, from_us, &mut dice, end_us);
    let mut arrivals: Vec<u64> = sources.iter().map(|source| next(source, 0)).collect();
    let (mut costs, mut others) = (Dice(seed ^ 0x5eed), Dice(seed ^ 0x07e5));
    let mut line: VecDeque<Waiting> = VecDeque::new();
    let mut probe_due_us = Some(PROBE_US);
    let (mut due_us, mut glanced_us) = (PROBE_US, 0);
    let (mut now_us, mut cpu_us) = (0_u64, 0_u64);
    let mut ended = Vec::new();
    loop {
        // Everything that is due by now stands in the line, in order.
        loop {
            let soonest = arrivals.iter().copied().enumerate().min_by_key(|(_, at)| *at);
            let Some((source, at_us)) = soonest else { break };
            let probe_first = probe_due_us.filter(|due_us| *due_us <= at_us.min(now_us));
            if let Some(due_us) = probe_first {
                line.push_back(Waiting::Probe { due_us });
                probe_due_us = None;
            } else if at_us <= now_us && at_us < end_us {
                let from = &sources[source];
                let span = u64::from(from.visitors.end - from.visitors.start);
                let visitor = from.visitors.start + (costs.roll() % span) as u32;
                let is_costly = costs.unit() < from.costly;
                let mean = if is_costly { from.cost_us * 10.0 } else { from.cost_us };
                let cost_us = costs.exponential(mean).max(1.0) as u64;
                let came_us = at_us;
                line.push_back(Waiting::Request(Request {
                    source,
                    came_us,
                    visitor,
                    cost_us,
                    is_costly,
                    waits: None,
                    expected_us: None,
                }));
                arrivals[source] = next(from, at_us);
            } else {
                break;
            }
        }
        // Whoever has come is read before the next turn.
        let turn = if line.is_empty() { admission.turns.next(now_us + BEGAN_US) } else { None };
        let turn = turn.map(|turn| Waiting::Request(Request { expected_us: Some(turn.cost_us), ..turn.of }));
        let Some(first) = line.pop_front().or(turn) else {
            let soonest = arrivals.iter().copied().min().unwrap_or(u64::MAX);
            if soonest >= end_us {
                break;
            }
            now_us = soonest.min(probe_due_us.unwrap_or(u64::MAX)).max(now_us);
            continue;
        };
        match first {
            Waiting::Probe { due_us: was_due_us } => {
                let late_us = now_us - was_due_us;
                admission.probe(now_us, late_us, true, cpu_us);
                due_us = now_us + PROBE_US;
                probe_due_us = Some(due_us);
            }
            Waiting::Request(request) => {
                if now_us > due_us + GLANCE_US && now_us > glanced_us + GLANCE_US {
                    glanced_us = now_us;
                    admission.probe(now_us, now_us - due_us, false, cpu_us);
                }
                let Request { source, came_us, cost_us, .. } = request;
                let from = &sources[source];
                let is_in = |is_in: bool| if is_in { LetIn::Serve(Kind::Cheap) } else { LetIn::Shed };
                let let_in = match way {
                    Way::NoControl => is_in(true),
                    Way::FixedLimit(most) => is_in(line.len() <= most),
                    Way::FifoQueue(most_us) => is_in(now_us - came_us <= most_us),
                    Way::Controlled(_) => admission.let_in(request, from, now_us),
                };
                let spent_us = match let_in {
                    LetIn::Serve(_) => cost_us,
                    LetIn::Shed => shed_us,
                    LetIn::Wait => READ_US,
                };
                // What a request takes is told by the clock.
                let took_us = spent_us + core.away(spent_us, &mut others);
                now_us += took_us;
                cpu_us += spent_us;
                let end = match let_in {
                    LetIn::Wait => continue,
                    LetIn::Shed => End::Shed,
                    LetIn::Serve(kind) => {
                        admission.served(request, (from.zone, kind), now_us, took_us);
                        End::Served
                    }
                };
                ended.push(Ended { source, came_us, took_us: now_us - came_us, end });
            }
        }
    }
    Outcome { ended, changes: admission.changes }
}

/// When the next request of a source comes.
fn loop_until(source: &Source, from_us: u64, dice: &mut Dice, end_us: u64) -> u64 {
    let mut at_us = from_us;
    while at_us < end_us {
        let rate = source.rate(at_us);
        if rate <= 0.0 {
            at_us += 10_000;
            continue;
        }
        return at_us + dice.exponential(SECOND_US as f64 / rate).max(1.0) as u64;
    }
    u64::MAX
}
