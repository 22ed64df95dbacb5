//! Hit ratios of a zone beside one that floods memory and disk, with and without promises of the disk.
//!
//! The product's own store and disk tier, turned by hand over a real folder: a miss takes the lease and
//! stores an object, a read from the disk is waited for. Prints the table of
//! docs/decisions/0024-keys-shares-copies.md:
//!
//! ```text
//! cargo run --release -p cache --example disk_shares FOLDER
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use cache::store::disk::{Folder, Turn, Workers, attach};
use cache::store::{Answer, DiskSettings, Head, KeyRef, Lease, Lookup, MemorySettings, Seed, Store, Waited};

/// Bytes of a body.
const BODY_BYTES: usize = 1_000;
/// Pages of the first zone, asked for by Zipf's law.
const PAGES: u32 = 5_000;
/// Requests of the first zone; the first quarter warms it up.
const VISITS: u64 = 20_000;
/// Bytes of memory: room for some 150 objects.
const MEMORY_BYTES: u64 = 256 << 10;
/// Bytes of disk: room for some 3,200 objects.
const DISK_BYTES: u64 = 4 << 20;

/// Xorshift: seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks by Zipf's law, by inverting its sums.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=PAGES).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self(weights.collect())
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let wanted = random.unit() * self.0.last().copied().unwrap_or(1.0);
        self.0.partition_point(|sum| *sum < wanted) as u64
    }
}

struct Rig {
    store: Store,
    workers: Workers,
}

impl Rig {
    fn new(folder: PathBuf, promised_percent: u8) -> Self {
        let memory = MemorySettings { shards: 4, purge_slots: 1 << 10, ..MemorySettings::of(MEMORY_BYTES) };
        let store = Store::new(memory, Seed([1; 16]));
        let settings =
            DiskSettings { promised_percent, segment_bytes: 128 << 10, ..DiskSettings::of(DISK_BYTES) };
        let Some(workers) = attach(&store, Arc::new(Folder(folder)), settings) else {
            unreachable!("the store is new")
        };
        let mut rig = Self { store, workers };
        rig.turn();
        rig
    }

    fn turn(&mut self) {
        while self.workers.writer.turn(Duration::ZERO) == Turn::Worked {}
        for reader in &mut self.workers.readers {
            while reader.turn(Duration::ZERO) == Turn::Worked {}
        }
    }

    fn fetch(lease: Lease) {
        let head = Head { bytes: Bytes::new(), numbers: [0; 8], snapshot: 1 };
        let body_bytes = Some(BODY_BYTES as u64);
        if let Ok(mut fill) = lease.begin(Answer { head, tags: &[], body_bytes }) {
            fill.push(&[0; BODY_BYTES]);
            fill.finish();
        }
    }

    /// Asks for an object, and stores it if it is neither in memory nor on disk; whether it was.
    fn ask(&mut self, zone: u128, id: u64) -> bool {
        let target = format!("/{id:08}");
        let key = KeyRef { zone, host: b"a.example", target: target.as_bytes(), rest: b"" };
        let is_hit = match self.store.lookup(&key, 0) {
            Lookup::Hit(_) => true,
            Lookup::Wait(mut ticket) => {
                self.turn();
                match ticket.poll(Waker::noop(), 0) {
                    Poll::Ready(Waited::Hit(_)) => true,
                    Poll::Ready(Waited::Lease(lease)) => {
                        Self::fetch(lease);
                        false
                    }
                    _ => false,
                }
            }
            Lookup::Lease(lease) => {
                Self::fetch(lease);
                false
            }
            Lookup::Pass | Lookup::Bypass(_) => false,
        };
        self.turn();
        is_hit
    }
}

/// What the other zone's visitors ask for.
#[derive(Clone, Copy)]
enum Other {
    /// Nothing.
    Silent,
    /// Ever new objects, each twice in a row, so many requests for each of the first zone's.
    Flood(u64),
    /// Pages by the same law, so many requests for each.
    Honest(u64),
}

/// Hit ratios in percent of the first zone and of the other.
fn shared(folder: &Path, other: Other, promised_percent: u8) -> (f64, f64) {
    // Of the run before, if there is any: the folder is this program's own.
    std::fs::remove_dir_all(folder).unwrap_or_default();
    let mut rig = Rig::new(folder.to_owned(), promised_percent);
    let (zipf, mut random, mut others) = (Zipf::new(0.9), Random(45), Random(46));
    let (mut own, mut foreign) = ((0_u64, 0_u64), (0_u64, 0_u64));
    for visit in 0..VISITS {
        let counts = u64::from(visit >= VISITS / 4);
        let is_hit = rig.ask(1, zipf.rank(&mut random));
        own = (own.0 + u64::from(is_hit) * counts, own.1 + counts);
        let rate = match other {
            Other::Silent => 0,
            Other::Flood(rate) | Other::Honest(rate) => rate,
        };
        for number in visit * rate..(visit + 1) * rate {
            let id = if matches!(other, Other::Flood(_)) { number / 2 } else { zipf.rank(&mut others) };
            let is_hit = rig.ask(2, id);
            foreign = (foreign.0 + u64::from(is_hit) * counts, foreign.1 + counts);
        }
    }
    let percent = |(hits, of): (u64, u64)| 100.0 * hits as f64 / of.max(1) as f64;
    (percent(own), percent(foreign))
}

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        println!("name a folder that this program may empty");
        return;
    };
    println!("| the other zone | promised 0 | 50 |\n| --- | --- | --- |");
    for (name, other) in [
        ("nothing is asked of it", Other::Silent),
        ("new objects, each twice, 1 to 1", Other::Flood(1)),
        ("new objects, each twice, 10 to 1", Other::Flood(10)),
        ("pages of its own by the same law, 1 to 1", Other::Honest(1)),
        ("pages of its own by the same law, 10 to 1", Other::Honest(10)),
    ] {
        let cells = [0, 50].map(|promised| {
            let (own, foreign) = shared(Path::new(&folder), other, promised);
            match other {
                Other::Honest(_) => format!("{own:.1} and {foreign:.1}"),
                Other::Silent | Other::Flood(_) => format!("{own:.1}"),
            }
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}
