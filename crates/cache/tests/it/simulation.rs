//! Seeded histories of the engine: visitors, an origin that changes and fails, purges, publishes and
//! restarts.
//!
//! After every answer the invariants are checked: the bytes are those of the key and variant asked for,
//! nothing that was purged or withdrawn before the request began, nothing staler than its allowance, at
//! most one fetch for each lease; and at the end everybody was answered. Read next: [`World::run`], then
//! [`World::check`].

mod herd;
mod origin;
mod visitor;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Poll, Waker};

use cache::engine::{Engine, Fetch, Filling, Now, Outcome, Place, Serving, Step, Visited};
use cache::policy::{FetchTimes, NotStored, OriginTrouble, Sending, Settings, VisitorFacts};
use cache::store::{MemorySettings, Piece, Purge, Pushed, Seed, Store, Strength};
use exchange::Response;

use origin::Origin;
use visitor::{State, Visitor};

const ZONE: u128 = 7;
const URLS: usize = 12;
/// Milliseconds that a visitor waits for another's fetch before it would rather go by itself.
const PATIENCE_MS: u64 = 3_000;

/// A generator of numbers: SplitMix64 (Steele, Lea, Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in `percent` of cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What happened in a run: so that a run in which nothing happens fails.
#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    hits: u64,
    overtaken: u64,
    collapsed: u64,
    stale: u64,
    renewed: u64,
    filled: u64,
    passed: u64,
    faults: u64,
    waits: u64,
    alone: u64,
    purges: u64,
    restarts: u64,
    cut: u64,
}

struct World {
    random: Random,
    engine: Engine,
    settings: Arc<Settings>,
    origin: Origin,
    mono_ms: u64,
    unix_ms: u64,
    /// Counts everything that has an order: requests, fetches, purges.
    sequence: u64,
    /// When each URL was last purged hard.
    purged: [u64; URLS],
    snapshot: u64,
    withdrawn: Vec<(u64, u64)>,
    /// When the origin failed for a URL, by the clock that steps.
    trouble_ms: Vec<(usize, u64)>,
    /// What was stored by who had no lease: of which URL, under which key (empty for any), and when.
    overtaken: Vec<(usize, Vec<u8>, u64)>,
    visitors: Vec<Visitor>,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let settings = Settings {
            stale_if_error_s: 20,
            variants_max: 8,
            guards_extensions: false,
            ..Settings::default()
        };
        let origin = Origin::new(&mut random, URLS);
        Self {
            engine: engine(),
            settings: Arc::new(settings),
            origin,
            mono_ms: 1_000,
            unix_ms: 1_764_000_000_000,
            sequence: 1,
            purged: [0; URLS],
            snapshot: 1,
            withdrawn: Vec::new(),
            trouble_ms: Vec::new(),
            overtaken: Vec::new(),
            visitors: Vec::new(),
            counts: Counts::default(),
            random,
        }
    }

    fn now(&mut self) -> Now {
        let seed = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        Now { unix_ms: self.unix_ms, mono_ms: self.mono_ms, seed }
    }

    fn tick(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A history of `steps`, then calm until everybody is answered.
    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            let passed_ms = self.random.below(400);
            self.mono_ms += passed_ms;
            self.unix_ms += passed_ms;
            match self.random.below(200) {
                0 => self.unix_ms += 5_000,
                1 => self.unix_ms -= 5_000,
                2..=4 => self.purge(),
                5 => self.publish(),
                6 if self.random.chance(20) => self.restart(),
                7..=9 => self.origin.change(&mut self.random),
                10 => self.origin.is_down = !self.origin.is_down,
                _ => {}
            }
            if self.visitors.len() < 40 && self.random.chance(60) {
                self.arrive();
            }
            self.advance();
        }
        self.origin.is_down = false;
        for _ in 0..5_000 {
            if self.visitors.is_empty() {
                return;
            }
            self.mono_ms += 100;
            self.unix_ms += 100;
            self.advance();
        }
        panic!("{} visitors were never answered", self.visitors.len());
    }

    fn purge(&mut self) {
        self.counts.purges += 1;
        let url = self.random.below(URLS as u64) as usize;
        let target = format!("/{url}").into_bytes();
        let tag = format!("tag{}", url % 3).into_bytes();
        let (host, zone) = (&b"example.org"[..], ZONE);
        let (purge, hit): (Purge<'_>, Vec<usize>) = match self.random.below(5) {
            0 => (Purge::Zone { zone }, (0..URLS).collect()),
            1 => (Purge::Host { zone, host }, (0..URLS).collect()),
            2 => {
                let tagged = (0..URLS).filter(|other| other % 3 == url % 3).collect();
                (Purge::Tag { zone, tag: &tag }, tagged)
            }
            3 => (Purge::Prefix { zone, host, target: &target }, vec![url]),
            _ => (Purge::Url { zone, host, target: &target }, vec![url]),
        };
        let strength = if self.random.chance(30) { Strength::Soft } else { Strength::Hard };
        self.engine.store().purge(&purge, strength, 0, |_| {});
        if strength == Strength::Hard {
            let at = self.tick();
            for url in hit {
                self.purged[url] = at;
            }
        }
    }

    /// A new snapshot; sometimes the last one is taken back, with all that was stored under it.
    fn publish(&mut self) {
        if self.random.chance(50) {
            let at = self.tick();
            self.engine.store().withdraw(self.snapshot, 0, |_| {});
            self.withdrawn.push((self.snapshot, at));
        }
        self.snapshot += 1;
    }

    fn restart(&mut self) {
        self.counts.restarts += 1;
        self.visitors.clear();
        self.engine = engine();
    }

    fn arrive(&mut self) {
        let at = self.tick();
        let mut visitor = Visitor::new(&mut self.random, URLS, at);
        let (engine, settings) = (self.engine.clone(), Arc::clone(&self.settings));
        let place = place(&settings, self.snapshot);
        match engine.visit(&mut visitor.request, &place) {
            Visited::Bypass(bypass) => panic!("{bypass:?}"),
            Visited::Visit(visit) => visitor.visit = Some(*visit),
        }
        let now = self.now();
        let mut visit = visitor.visit.take().expect("it was just made");
        let step = visit.look(&visitor.request, now);
        visitor.visit = Some(visit);
        self.take(visitor, step);
    }

    /// What a visitor does next.
    fn take(&mut self, mut visitor: Visitor, step: Step) {
        visitor.state = match step {
            Step::Serve(serving) => self.serve(&visitor, *serving, true),
            Step::ServeAndRevalidate(serving, fetch) => {
                let state = self.serve(&visitor, *serving, true);
                let background = visitor.in_background(&self.engine, &place(&self.settings, self.snapshot));
                self.begin_fetch(background, *fetch);
                state
            }
            Step::Wait(ticket) => {
                self.counts.waits += 1;
                State::Waits { ticket, since_ms: self.mono_ms }
            }
            Step::Fetch(fetch) => return self.begin_fetch(visitor, *fetch),
            Step::OnlyIfCached | Step::Bypass(_) => panic!("nobody asked for that"),
        };
        self.visitors.push(visitor);
    }

    fn begin_fetch(&mut self, mut visitor: Visitor, mut fetch: Fetch) {
        let at = self.tick();
        if let Some(key) = fetch.lease_key() {
            let key = key.rest.to_vec();
            // A purge lets another fetch begin beside one that is under way.
            let since = self.purged[visitor.url].max(self.withdrawn.last().map_or(0, |(_, at)| *at));
            let others = self.visitors.iter().filter(|other| other.url == visitor.url);
            let holds = others.filter(|other| other.leases(&key) && other.asked_at > since);
            let (lost, same): (Vec<_>, Vec<_>) =
                holds.partition(|other| self.is_overtaken(visitor.url, &key, other.asked_at));
            self.counts.overtaken += lost.len() as u64;
            let same = same.len();
            assert_eq!(same, 0, "two fetches for one lease");
            visitor.lease_key = Some(key);
        }
        visitor.asked_at = at;
        let mut fields = visitor.request.fields.clone();
        fetch.prepare(&mut fields);
        let answer = self.origin.asked(&mut self.random, visitor.url, &fields, visitor.is_head(), at);
        let due_ms = self.mono_ms + 50 + self.random.below(2_500);
        visitor.state = State::Fetches {
            fetch: Box::new(fetch),
            answer: answer.map(Box::new),
            due_ms,
            asked_ms: self.unix_ms,
        };
        self.visitors.push(visitor);
    }

    /// Lets everybody do what can be done now.
    fn advance(&mut self) {
        for mut visitor in std::mem::take(&mut self.visitors) {
            let state = std::mem::replace(&mut visitor.state, State::Done);
            match state {
                State::Waits { ticket, since_ms } => self.wait(visitor, ticket, since_ms),
                State::Fetches { fetch, answer, due_ms, asked_ms } if self.mono_ms >= due_ms => {
                    self.answered(visitor, *fetch, answer.map(|boxed| *boxed), asked_ms);
                }
                State::Fills { filling, body, sent, reader } => {
                    self.fill(visitor, *filling, body, sent, reader)
                }
                State::Reads(mut reading) => {
                    if self.read(&visitor, &mut reading) {
                        self.counts.answered += 1;
                    } else {
                        visitor.state = State::Reads(reading);
                        self.visitors.push(visitor);
                    }
                }
                State::Done => self.counts.answered += 1,
                waiting @ State::Fetches { .. } => {
                    visitor.state = waiting;
                    self.visitors.push(visitor);
                }
            }
        }
    }

    fn wait(&mut self, mut visitor: Visitor, mut ticket: cache::store::Ticket, since_ms: u64) {
        let now = self.now();
        let mut visit = visitor.visit.take().expect("it is on its way");
        let step = match ticket.poll(Waker::noop(), self.mono_ms) {
            Poll::Ready(waited) => Some(visit.waited(&visitor.request, waited, now)),
            Poll::Pending if self.mono_ms - since_ms > PATIENCE_MS => {
                let step = visit.impatient(&visitor.request, &ticket, now);
                self.counts.alone += u64::from(step.is_some());
                step
            }
            Poll::Pending => None,
        };
        visitor.visit = Some(visit);
        match step {
            Some(step) => self.take(visitor, step),
            None => {
                visitor.state = State::Waits { ticket, since_ms };
                self.visitors.push(visitor);
            }
        }
    }

    fn answered(&mut self, mut visitor: Visitor, fetch: Fetch, answer: Option<Response>, asked_ms: u64) {
        let now = self.now();
        let visit = visitor.visit.as_ref().expect("it is on its way");
        let lease_key = visitor.lease_key.take();
        let Some(answer) = answer else {
            self.counts.faults += 1;
            self.trouble_ms.push((visitor.url, self.unix_ms));
            let bridged = visit.failed(fetch, OriginTrouble::Unreachable, now);
            visitor.state = match bridged {
                Some(serving) => self.serve(&visitor, *serving, false),
                None => State::Done,
            };
            return self.visitors.push(visitor);
        };
        if answer.status >= 500 {
            self.trouble_ms.push((visitor.url, self.unix_ms));
        }
        let times = FetchTimes { asked_ms, answered_ms: self.unix_ms, received_ms: self.unix_ms };
        let was_alone = lease_key.is_none();
        let outcome = visit.answered(fetch, &answer, &times, now);
        if was_alone {
            self.overtake(visitor.url, &outcome);
        }
        match outcome {
            Outcome::Serve(serving) => {
                self.counts.renewed += u64::from(answer.status == 304);
                visitor.state = self.serve(&visitor, *serving, false);
                self.visitors.push(visitor);
            }
            Outcome::Fill(filling) => {
                self.counts.filled += 1;
                let body = self.origin.body(&answer);
                let reader = filling.fill.reader();
                visitor.lease_key = None;
                // Others may have the lease on a branch of it while this one still fills; it is spent.
                drop(lease_key);
                visitor.state = State::Fills { filling, body, sent: 0, reader };
                self.visitors.push(visitor);
            }
            Outcome::Pass(_) => {
                self.counts.passed += 1;
                visitor.state = State::Done;
                self.visitors.push(visitor);
            }
            Outcome::Again(fetch) => {
                self.begin_fetch(visitor, *fetch);
            }
        }
    }

    /// What was fetched without a lease and stored ends the leases of those who are slower: others may have
    /// them from now on.
    fn overtake(&mut self, url: usize, outcome: &Outcome) {
        let object = match outcome {
            Outcome::Fill(filling) => Some(filling.fill.object()),
            Outcome::Serve(serving) => Some(&serving.object),
            // It had the lease, and found no room.
            Outcome::Pass(passing) if matches!(passing.reason, NotStored::Busy | NotStored::Variants) => None,
            Outcome::Pass(_) | Outcome::Again(_) => return,
        };
        let rest = object.map_or_else(Vec::new, |object| object.key().rest.to_vec());
        let at = self.tick();
        self.overtaken.push((url, rest, at));
    }

    /// Whether a lease that was taken then has been lost since to one who was quicker: that of the variant,
    /// or that under which it was not known yet to be one.
    fn is_overtaken(&self, url: usize, key: &[u8], since: u64) -> bool {
        let is_it = |rest: &[u8]| rest.is_empty() || rest.starts_with(key);
        self.overtaken.iter().any(|(other, rest, at)| *other == url && *at > since && is_it(rest))
    }

    fn fill(
        &mut self,
        mut visitor: Visitor,
        mut filling: Filling,
        body: Vec<u8>,
        sent: usize,
        reader: Option<cache::store::Reader>,
    ) {
        if self.random.chance(3) {
            // The origin breaks off: the fill is dropped, and so has failed.
            self.counts.cut += 1;
            visitor.state = State::Done;
            return self.visitors.push(visitor);
        }
        let end = (sent + 1 + self.random.below(200) as usize).min(body.len());
        let piece = body.get(sent..end).unwrap_or_default();
        assert_eq!(filling.fill.push(piece), Pushed::Kept);
        if end < body.len() {
            visitor.state = State::Fills { filling: Box::new(filling), body, sent: end, reader };
            return self.visitors.push(visitor);
        }
        filling.fill.finish();
        visitor.state = self.serve(&visitor, filling.serving, false);
        self.visitors.push(visitor);
    }

    fn serve(&mut self, visitor: &Visitor, serving: Serving, is_without_origin: bool) -> State {
        if visitor.is_background {
            return State::Done;
        }
        self.check(visitor, &serving, is_without_origin);
        self.counts.hits += u64::from(serving.status.is_hit);
        self.counts.collapsed += u64::from(serving.status.is_collapsed == Some(true));
        self.counts.stale += u64::from(serving.status.ttl_s.is_some_and(|ttl| ttl <= 0));
        match &serving.sending {
            Sending::Nothing => State::Done,
            Sending::Whole => State::Reads(visitor::Reading::new(&serving, 0, None)),
            Sending::Range(range) => {
                State::Reads(visitor::Reading::new(&serving, range.first, Some(range.bytes_len())))
            }
            Sending::Parts(_) => panic!("nobody asked for several ranges"),
        }
    }

    /// The invariants that can be seen on a head.
    fn check(&self, visitor: &Visitor, serving: &Serving, is_without_origin: bool) {
        let value = |name: &str| {
            let value = serving.answer.fields.value(name.as_bytes()).unwrap_or_default();
            std::str::from_utf8(value).expect("the origin writes text").to_owned()
        };
        let number = |name: &str| value(name).parse::<u64>().expect("the origin writes a number");
        assert_eq!(number("X-Url"), visitor.url as u64, "another key's answer");
        if !value("Vary").is_empty() {
            assert_eq!(value("X-Foo"), visitor.foo(), "another variant's answer");
        }
        let purged = self.purged[visitor.url];
        let asked = number("X-Asked");
        assert!(
            purged > visitor.arrived_at || asked >= purged,
            "what was purged: asked {asked}, purged {purged}"
        );
        let snapshot = serving.object.head().snapshot;
        let withdrawn = self.withdrawn.iter().find(|(number, _)| *number == snapshot);
        if is_without_origin {
            assert!(withdrawn.is_none_or(|(_, at)| *at > visitor.arrived_at), "a withdrawn snapshot's");
        }
        let ttl_s = serving.status.ttl_s.expect("it is said of every stored answer");
        if !is_without_origin {
            return;
        }
        let is_stale = ttl_s <= 0 || serving.object.is_purged_softly();
        let stale_s = (-ttl_s).max(0) as u64;
        let (while_revalidate_s, if_error_s) = self.origin.allowances(visitor.url);
        // A clock that stepped back passes the second after a failure once more.
        let is_after = |ms: u64| (0..1_000).contains(&self.unix_ms.wrapping_sub(ms));
        let had_trouble = self.trouble_ms.iter().any(|(url, ms)| *url == visitor.url && is_after(*ms));
        let allowed_s = if had_trouble { while_revalidate_s.max(if_error_s) } else { while_revalidate_s };
        assert!(!is_stale || stale_s < allowed_s, "stale by {stale_s} s, {allowed_s} s allowed");
    }

    /// Reads on; true when the answer has ended. A fill that failed cuts its readers off, as it must.
    fn read(&mut self, visitor: &Visitor, reading: &mut visitor::Reading) -> bool {
        loop {
            if reading.is_complete() {
                let whole = origin::body_of(visitor.url, &reading.foo, reading.version);
                assert!(reading.is_of(&whole), "bytes of another answer");
                return true;
            }
            match reading.reader.poll_piece(Waker::noop()) {
                Poll::Ready(Piece::Bytes(bytes)) => reading.bytes.extend_from_slice(&bytes),
                Poll::Ready(Piece::End) => {
                    assert!(reading.length.is_none(), "shorter than said");
                    reading.length = Some(reading.bytes.len() as u64);
                }
                Poll::Ready(_) => {
                    self.counts.cut += 1;
                    return true;
                }
                Poll::Pending => return false,
            }
        }
    }
}

fn engine() -> Engine {
    let settings = MemorySettings { shards: 4, purge_slots: 1 << 12, ..MemorySettings::of(64 * 1024 * 1024) };
    Engine::new(Store::new(settings, Seed([9; 16])))
}

fn place(settings: &Arc<Settings>, snapshot: u64) -> Place<'_> {
    Place { zone: ZONE, snapshot, settings, facts: VisitorFacts::default(), is_peer_trusted: false }
}

#[test]
fn no_history_breaks_an_invariant() {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for seed in 0..120 {
        let mut world = World::new(seed);
        world.run(1_500);
        let Counts {
            answered, hits, collapsed, stale, renewed, filled, passed, faults, waits, alone, ..
        } = world.counts;
        let Counts { purges, restarts, cut, overtaken, .. } = world.counts;
        for (name, count) in [
            ("answered", answered),
            ("hits", hits),
            ("collapsed", collapsed),
            ("stale", stale),
            ("renewed", renewed),
            ("filled", filled),
            ("passed", passed),
            ("faults", faults),
            ("waits", waits),
            ("alone", alone),
            ("purges", purges),
            ("restarts", restarts),
            ("cut", cut),
            ("overtaken", overtaken),
        ] {
            *sums.entry(name).or_default() += count;
        }
    }
    for (name, sum) in &sums {
        assert!(*sum > 30, "hardly any {name} in all histories: {sums:?}");
    }
}
