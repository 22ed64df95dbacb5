//! What a lookup that hits costs with one object stored and with many, and what an object takes in memory.
//!
//! Times are of one run on one machine and only their ratio means anything; instructions are counted with
//!
//! ```text
//! cargo build --release -p cache --example lookups
//! valgrind --tool=callgrind --toggle-collect='lookups::one_pass' target/release/examples/lookups 200000 once
//! ```
//!
//! and with `posted` in the place of `once`, after a change of another URL by a visitor.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::store::{Answer, Head, KeyRef, Lookup, MemorySettings, Purge, Seed, Store, Strength};

/// Lookups of one pass.
const LOOKUPS: u32 = 20_000;

fn key(target: &[u8]) -> KeyRef<'_> {
    KeyRef { zone: 1, host: b"www.example.org", target, rest: b"https" }
}

fn target(number: u32) -> String {
    format!("/articles/2026/11/{number:08}.html?page=1")
}

/// Resident bytes of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn filled(objects: u32) -> Store {
    let store = Store::new(MemorySettings::of(16 << 30), Seed([3; 16]));
    for number in 0..objects {
        if let Lookup::Lease(lease) = store.lookup(&key(target(number).as_bytes()), 0) {
            let head = Head { bytes: Bytes::from_static(&[0; 200]), numbers: [0; 8], snapshot: 1 };
            if let Ok(mut fill) = lease.begin(Answer { head, tags: &[b"news"], body_bytes: Some(100) }) {
                fill.push(&[0; 100]);
                fill.finish();
            }
        }
    }
    store
}

#[inline(never)]
fn one_pass(store: &Store, targets: &[String]) -> usize {
    let lookups = targets.iter().map(|target| black_box(store.lookup(&key(target.as_bytes()), 0)));
    lookups.filter(|lookup| matches!(lookup, Lookup::Hit(_))).count()
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn timed(store: &Store, targets: &[String]) -> Duration {
    let start = Instant::now();
    assert_eq!(one_pass(store, targets), targets.len());
    start.elapsed()
}

fn main() {
    let objects: u32 = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(1_000_000);
    let single = filled(1);
    let before = resident_bytes();
    let store = filled(objects);
    let (resident, usage) = (resident_bytes() - before, store.usage());
    println!(
        "{objects} objects: {} bytes each, charged {}",
        resident / usage.objects,
        usage.bytes / usage.objects
    );

    let everywhere: Vec<String> =
        (0..LOOKUPS).map(|number| target(number.wrapping_mul(2_654_435_761) % objects)).collect();
    let first = vec![target(0); LOOKUPS as usize];
    let word = std::env::args().nth(2);
    if word.as_deref() == Some("posted") {
        store.invalidate(1, b"www.example.org", b"/form");
    }
    if word.is_some() {
        println!("{} hits of {LOOKUPS}", one_pass(&store, &everywhere));
        return;
    }
    let (mut of_one, mut of_many, mut same_of_many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..15 {
        of_one.push(timed(&single, &first));
        of_many.push(timed(&store, &everywhere));
        same_of_many.push(timed(&store, &first));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).map_or(0, |time| time.as_nanos() / u128::from(LOOKUPS))
    };
    println!("one object: {} ns a lookup", median(of_one));
    println!(
        "{objects} objects: {} ns, all over them; {} ns, always the same",
        median(of_many),
        median(same_of_many)
    );

    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let start = Instant::now();
    store.purge(&Purge::Tag { zone: 1, tag: b"other" }, Strength::Hard, 1, |_| ());
    println!("a purge by tag: {} us", start.elapsed().as_micros());
    println!("the next lookup of each: {} ns", timed(&store, &everywhere).as_nanos() / u128::from(LOOKUPS));
    store.invalidate(1, b"www.example.org", b"/form");
    println!(
        "the next lookup of each after a POST to another URL: {} ns",
        timed(&store, &everywhere).as_nanos() / u128::from(LOOKUPS)
    );
    store.purge(&Purge::Tag { zone: 1, tag: b"news" }, Strength::Hard, 2, |_| ());
    println!("hits after a purge of all by tag: {}", one_pass(&store, &everywhere));
}
