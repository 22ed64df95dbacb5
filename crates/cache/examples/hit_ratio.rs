//! Hit ratios of the memory tier on seeded traces, beside LRU and the offline optimum (Belady, 1966).
//!
//! The product's own store answers the requests: a miss takes the lease and stores an object. Prints the
//! table of docs/decisions/0012-storage-of-the-cache.md:
//!
//! ```text
//! cargo run --release -p cache --example hit_ratio
//! ```
//!
//! With the word `shares` that of docs/decisions/0020-fair-shares-of-memory.md: a zone's hit ratio beside
//! another that floods, without promises and with them.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use cache::store::{Answer, Head, KeyRef, Lookup, MemorySettings, Seed, Store};

/// Different objects of a trace.
const OBJECTS: u32 = 100_000;
/// Requests of a trace.
const REQUESTS: usize = 1_000_000;
/// Bytes of a body where all are alike.
const BODY_BYTES: u32 = 1_000;

/// Xorshift: seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks by Zipf's law, by inverting its sums.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=OBJECTS).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self(weights.collect())
    }

    fn rank(&self, random: &mut Random) -> u32 {
        let total = self.0.last().copied().unwrap_or(1.0);
        let wanted = random.unit() * total;
        self.0.partition_point(|sum| *sum < wanted) as u32
    }
}

fn zipf(exponent: f64) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(exponent), Random(42));
    (0..REQUESTS).map(|_| zipf.rank(&mut random)).collect()
}

/// A crawler walks through the whole site, once in a while, among visitors.
fn scans() -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(0.9), Random(43));
    let mut trace = Vec::new();
    while trace.len() < REQUESTS {
        trace.extend((0..150_000).map(|_| zipf.rank(&mut random)));
        trace.extend(0..OBJECTS / 2);
    }
    trace.truncate(REQUESTS);
    trace
}

/// Half the requests are for objects nobody asks for again; what is popular changes four times.
fn mixed() -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(1.0), Random(44));
    let mut once = OBJECTS;
    let one = |at: usize| {
        if random.next().is_multiple_of(2) {
            once += 1;
            return once;
        }
        let shift = (at / (REQUESTS / 5)) as u32 * 9_973;
        (zipf.rank(&mut random) + shift) % OBJECTS
    };
    (0..REQUESTS).map(one).collect()
}

/// Round and round, over twice what fits into the larger cache.
fn rounds() -> Vec<u32> {
    (0..REQUESTS as u32).map(|at| at % 20_000).collect()
}

/// Sizes as of pages and pictures: many small, few large.
fn sized(trace: &[u32]) -> Vec<u32> {
    let size = |id: &u32| {
        let mut random = Random(u64::from(*id) * 0x9e37_79b9_7f4a_7c15 + 1);
        random.next();
        let magnitude = 8.0 + 9.0 * random.unit().powi(2);
        magnitude.exp2() as u32
    };
    trace.iter().map(size).collect()
}

/// Gives hits.
fn product(trace: &[u32], sizes: Option<&[u32]>, capacity: u64, shards: usize) -> usize {
    let settings = MemorySettings {
        shards,
        memory_object_bytes_max: capacity,
        object_bytes_max: capacity,
        ..MemorySettings::of(capacity)
    };
    let store = Store::new(settings, Seed([1; 16]));
    let body = vec![0; 1 << 18];
    let mut hits = 0;
    for (at, id) in trace.iter().enumerate() {
        let target = format!("/{id:08}");
        let key = KeyRef { zone: 1, host: b"a.example", target: target.as_bytes(), rest: b"" };
        match store.lookup(&key, 0) {
            Lookup::Hit(_) => hits += 1,
            Lookup::Lease(lease) => {
                let size = sizes.and_then(|sizes| sizes.get(at)).copied().unwrap_or(BODY_BYTES);
                let head = Head { bytes: Bytes::new(), numbers: [0; 8], snapshot: 1 };
                let answer = Answer { head, tags: &[], body_bytes: Some(u64::from(size)) };
                if let Ok(mut fill) = lease.begin(answer) {
                    fill.push(body.get(..size as usize).unwrap_or_default());
                    fill.finish();
                }
            }
            Lookup::Wait(_) | Lookup::Pass | Lookup::Bypass(_) => {}
        }
    }
    hits
}

/// What an object of that body is charged.
fn charge(size: u32) -> u64 {
    let store = Store::new(MemorySettings::of(1 << 30), Seed([1; 16]));
    let key = KeyRef { zone: 1, host: b"a.example", target: b"/00000000", rest: b"" };
    if let Lookup::Lease(lease) = store.lookup(&key, 0) {
        let head = Head { bytes: Bytes::new(), numbers: [0; 8], snapshot: 1 };
        if let Ok(mut fill) = lease.begin(Answer { head, tags: &[], body_bytes: None }) {
            fill.push(&vec![0; size as usize]);
            fill.finish();
        }
    }
    store.usage().bytes
}

/// Evicts what an order names first: by last use (LRU), or by next use (the optimum where all are alike).
fn by_order(trace: &[u32], charges: &[u64], capacity: u64, order: impl Fn(usize) -> u64) -> usize {
    let mut cached: HashMap<u32, (u64, u64)> = HashMap::new();
    let mut queue: BTreeSet<(u64, u32)> = BTreeSet::new();
    let (mut used, mut hits) = (0, 0);
    for (at, (id, charge)) in trace.iter().zip(charges).enumerate() {
        let place = order(at);
        if let Some((old, _)) = cached.insert(*id, (place, *charge)) {
            hits += 1;
            queue.remove(&(old, *id));
        } else {
            used += charge;
        }
        queue.insert((place, *id));
        while used > capacity {
            let Some((_, id)) = queue.pop_first() else { break };
            used -= cached.remove(&id).map_or(0, |(_, charge)| charge);
        }
    }
    hits
}

/// The next request of each request's object; `REQUESTS` when there is none.
fn next_uses(trace: &[u32]) -> Vec<u64> {
    let mut next = vec![REQUESTS as u64; trace.len()];
    let mut last: HashMap<u32, u64> = HashMap::new();
    for (at, id) in trace.iter().enumerate().rev() {
        if let (Some(next), Some(later)) = (next.get_mut(at), last.insert(*id, at as u64)) {
            *next = later;
        }
    }
    next
}

fn row(name: &str, trace: &[u32], sizes: Option<&[u32]>, capacity: u64, label: &str) {
    let base = charge(0);
    let of =
        |at: usize| base + u64::from(sizes.and_then(|sizes| sizes.get(at)).copied().unwrap_or(BODY_BYTES));
    let charges: Vec<u64> = (0..trace.len()).map(of).collect();
    let next = next_uses(trace);
    let lru = by_order(trace, &charges, capacity, |at| at as u64);
    let best = by_order(trace, &charges, capacity, |at| u64::MAX - next.get(at).copied().unwrap_or(0));
    let own = product(trace, sizes, capacity, 1);
    let sharded = product(trace, sizes, capacity, 64);
    let percent = |hits: usize| 100.0 * hits as f64 / trace.len() as f64;
    println!(
        "| {name} | {label} | {:.1} | {:.1} | {:.1} | {:.1} |",
        percent(lru),
        percent(own),
        percent(sharded),
        percent(best)
    );
}

/// Asks for an object of a zone, and stores it if it is not there; whether it was.
fn asked(store: &Store, zone: u128, id: u64) -> bool {
    let target = format!("/{id:08}");
    let key = KeyRef { zone, host: b"a.example", target: target.as_bytes(), rest: b"" };
    match store.lookup(&key, 0) {
        Lookup::Hit(_) => true,
        Lookup::Lease(lease) => {
            let head = Head { bytes: Bytes::new(), numbers: [0; 8], snapshot: 1 };
            let body_bytes = Some(u64::from(BODY_BYTES));
            if let Ok(mut fill) = lease.begin(Answer { head, tags: &[], body_bytes }) {
                fill.push(&[0; BODY_BYTES as usize]);
                fill.finish();
            }
            false
        }
        Lookup::Wait(_) | Lookup::Pass | Lookup::Bypass(_) => false,
    }
}

/// What the other zone's visitors ask for.
#[derive(Clone, Copy)]
enum Other {
    /// Nothing.
    Silent,
    /// Ever new objects, each so often in a row, so many requests for each of the first zone's.
    Flood { times: u64, rate: u64 },
    /// Pages by Zipf's law as the first zone's, so many requests for each of those.
    Honest { rate: u64 },
    /// It filled all memory, and nobody asks for anything of it any more.
    Left,
}

/// Hit ratios in percent of a zone whose visitors ask by Zipf's law, and of the other.
fn shared(other: Other, promised_percent: u8, capacity: u64) -> (f64, f64) {
    const VISITS: u64 = 100_000;
    let settings = MemorySettings { promised_percent, ..MemorySettings::of(capacity) };
    let store = Store::new(settings, Seed([1; 16]));
    let (zipf, mut random, mut others) = (Zipf::new(0.9), Random(45), Random(46));
    let (mut hits, mut visits, mut other_hits, mut other_visits) = (0_u64, 0_u64, 0_u64, 0_u64);
    if let Other::Left = other {
        let hits = (0..20_000).filter(|number| asked(&store, 2, number / 2)).count();
        assert!(hits > 0, "each was asked for twice");
    }
    for visit in 0..VISITS {
        // The first quarter warms it up.
        let counts = visit >= VISITS / 4;
        let is_hit = asked(&store, 1, zipf.rank(&mut random).into());
        hits += u64::from(is_hit && counts);
        visits += u64::from(counts);
        let rate = match other {
            Other::Silent | Other::Left => 0,
            Other::Flood { rate, .. } | Other::Honest { rate } => rate,
        };
        for number in visit * rate..(visit + 1) * rate {
            let id = match other {
                Other::Flood { times, .. } => number / times,
                _ => zipf.rank(&mut others).into(),
            };
            let is_hit = asked(&store, 2, id);
            other_hits += u64::from(is_hit && counts);
            other_visits += u64::from(counts);
        }
    }
    let percent = |hits: u64, of: u64| 100.0 * hits as f64 / of.max(1) as f64;
    (percent(hits, visits), percent(other_hits, other_visits))
}

fn shares() {
    let capacity = 2_500 * charge(BODY_BYTES);
    println!("| the other zone | promised 0 | 50 | 100 |\n| --- | --- | --- | --- |");
    for (name, other) in [
        ("nothing is asked of it", Other::Silent),
        ("filled all memory, then nobody asks", Other::Left),
        ("new objects, each once, 1 to 1", Other::Flood { times: 1, rate: 1 }),
        ("new objects, each once, 10 to 1", Other::Flood { times: 1, rate: 10 }),
        ("new objects, each twice, 1 to 1", Other::Flood { times: 2, rate: 1 }),
        ("new objects, each twice, 10 to 1", Other::Flood { times: 2, rate: 10 }),
        ("new objects, each four times, 10 to 1", Other::Flood { times: 4, rate: 10 }),
        ("pages of its own by the same law, 1 to 1", Other::Honest { rate: 1 }),
        ("pages of its own by the same law, 10 to 1", Other::Honest { rate: 10 }),
    ] {
        let cells = [0, 50, 100].map(|promised| {
            let (own, others) = shared(other, promised, capacity);
            match other {
                Other::Honest { .. } => format!("{own:.1} and {others:.1}"),
                _ => format!("{own:.1}"),
            }
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word == "shares") {
        return shares();
    }
    let unit = charge(BODY_BYTES);
    println!("| trace | room for | LRU | one shard | 64 shards | optimum |\n|---|---|---|---|---|---|");
    let traces = [
        ("Zipf 0.7", zipf(0.7)),
        ("Zipf 0.9", zipf(0.9)),
        ("Zipf 1.1", zipf(1.1)),
        ("scans", scans()),
        ("mixed", mixed()),
        ("rounds", rounds()),
    ];
    for (name, trace) in &traces {
        for objects in [1_000, 10_000] {
            row(name, trace, None, objects * unit, &format!("{objects} objects"));
        }
    }
    for (name, trace) in traces.iter().filter(|(name, _)| ["Zipf 0.9", "mixed"].contains(name)) {
        let sizes = sized(trace);
        row(&format!("{name}, sizes"), trace, Some(&sizes), 64 << 20, "64 MiB");
    }
}
