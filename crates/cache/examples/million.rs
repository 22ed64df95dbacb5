//! A store with very many objects on its disk: how long it takes to open, what each takes in memory, what a
//! purge takes, and how long hits take while the disk stalls.
//!
//! `write` fills a folder through the store's own interface; `open` opens it anew and measures. Both take the
//! seed that the folder's hashes are keyed with (32 hex digits), so that a node with that seed can open it
//! too (`bench/million.py` does both). What is printed is one line of JSON.
//!
//! ```text
//! cargo build --release -p cache --example million
//! target/release/examples/million write 00000000000000000000000000000000 FOLDER 1000000
//! target/release/examples/million open 00000000000000000000000000000000 FOLDER 1000000
//! ```

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::store::disk::{Files, Folder, Running, StoredFile, Turn, Workers, attach};
use cache::store::{
    Answer, DiskSettings, DiskState, Head, KeyRef, Lookup, MemorySettings, Purge, Seed, Store, Strength,
    Waited,
};

/// Objects that are asked for again and again, and so lie in memory.
const HOT: u32 = 1_000;
/// Hits that are timed each time.
const HITS: u32 = 300_000;
/// Bytes of a body: with key and head a record has some 600.
const BODY_BYTES: usize = 100;

/// Files that answer nothing for as long as they are shut.
struct Stalling {
    folder: Folder,
    gate: Arc<Gate>,
}

struct StallingFile {
    file: Arc<dyn StoredFile>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let is_shut = self.is_shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_shut, |is_shut| *is_shut).unwrap_or_else(PoisonError::into_inner));
    }

    fn set_shut(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap_or_else(PoisonError::into_inner) = is_shut;
        self.changed.notify_all();
    }
}

impl Files for Stalling {
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>> {
        self.folder.claim()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        self.gate.pass();
        let file = self.folder.open(name, create)?;
        Ok(Arc::new(StallingFile { file, gate: Arc::clone(&self.gate) }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }
}

impl StoredFile for StallingFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.file.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.file.write_at(from, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

/// This process's share of memory, in bytes (PSS, proc(5)).
fn pss_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn target(number: u32) -> String {
    format!("/articles/2026/11/{number:08}.html?page=1")
}

fn key(target: &str) -> KeyRef<'_> {
    KeyRef { zone: 1, host: b"www.example.org", target: target.as_bytes(), rest: b"https" }
}

/// A store over a folder, and what runs its disk. 1 KiB of disk for each object and 64 MiB beside it: room
/// for all.
fn over(files: Arc<dyn Files>, seed: Seed, objects: u32) -> (Store, Workers) {
    let store = Store::new(MemorySettings::of(64 << 20), seed);
    let settings = DiskSettings::of((u64::from(objects) << 10) + (64 << 20));
    let Some(workers) = attach(&store, files, settings) else { panic!("a second disk") };
    (store, workers)
}

fn write(folder: &Path, seed: Seed, objects: u32) {
    let (store, mut workers) = over(Arc::new(Folder(folder.to_owned())), seed, objects);
    let begun = now();
    while workers.writer.turn(Duration::ZERO) == Turn::Worked {}
    for number in 0..objects {
        let target = target(number);
        let Lookup::Lease(lease) = store.lookup(&key(&target), 0) else { continue };
        let head = Head { bytes: Bytes::from_static(&[0; 200]), numbers: [0; 8], snapshot: 1 };
        // One in a hundred has a tag to be purged by.
        let tags: &[&[u8]] = if number.is_multiple_of(100) { &[b"news", b"rare"] } else { &[b"news"] };
        if let Ok(mut fill) = lease.begin(Answer { head, tags, body_bytes: Some(BODY_BYTES as u64) }) {
            fill.push(&[0; BODY_BYTES]);
            fill.finish();
        }
        // The second request is what sends it to disk.
        drop(store.lookup(&key(&target), 0));
        if number % 500 == 0 || number + 1 == objects {
            while workers.writer.turn(Duration::ZERO) == Turn::Worked {}
        }
    }
    let disk = Arc::clone(workers.writer.disk());
    println!(
        "{{\"written\": {}, \"mib\": {}, \"seconds\": {:.1}}}",
        disk.objects(),
        disk.bytes() >> 20,
        begun.elapsed().as_secs_f64()
    );
}

/// Asks for an object, and waits for the disk as long as a visitor would; whether it is there.
fn asked(store: &Store, number: u32, begun: Instant) -> bool {
    let now_ms = || begun.elapsed().as_millis() as u64;
    let target = target(number);
    match store.lookup(&key(&target), now_ms()) {
        Lookup::Hit(_) => true,
        Lookup::Wait(mut ticket) => loop {
            match ticket.poll(Waker::noop(), now_ms()) {
                Poll::Ready(Waited::Hit(_)) => return true,
                Poll::Ready(_) => return false,
                Poll::Pending => std::thread::sleep(Duration::from_micros(100)),
            }
        },
        Lookup::Lease(_) | Lookup::Pass | Lookup::Bypass(_) => false,
    }
}

/// Times of hits, in nanoseconds: the median, and those that one in a hundred and one in a thousand exceed.
fn hits(store: &Store, begun: Instant) -> [u128; 3] {
    let mut times = Vec::with_capacity(HITS as usize);
    for number in 0..HITS {
        let target = target(number.wrapping_mul(2_654_435_761) % HOT);
        let now_ms = begun.elapsed().as_millis() as u64;
        let start = now();
        let lookup = store.lookup(&key(&target), now_ms);
        times.push(start.elapsed().as_nanos());
        assert!(matches!(lookup, Lookup::Hit(_)), "what is hot is in memory");
    }
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() - 1) * part / 1_000).copied().unwrap_or(0);
    [at(500), at(990), at(999)]
}

/// Hits while another thread asks for what is on disk alone, from a number on; and the longest that this one
/// was kept waiting.
fn hits_beside(store: &Store, objects: u32, from: u32, begun: Instant) -> ([u128; 3], u128) {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let misses = scope.spawn(|| {
            let (mut number, mut longest) = (from, Duration::ZERO);
            while !ends.load(SeqCst) {
                number = HOT + (number.wrapping_mul(48_271)) % objects.saturating_sub(HOT).max(1);
                let start = now();
                asked(store, number, begun);
                longest = longest.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            longest.as_millis()
        });
        let times = hits(store, begun);
        // Longer than the bound after which a stalled disk is not asked any more.
        std::thread::sleep(Duration::from_millis(600));
        ends.store(true, SeqCst);
        (times, misses.join().unwrap_or_default())
    })
}

/// Purges one tag; gives how long until it holds and until the disk has it, in microseconds, and whether it
/// held.
fn purge(store: &Store, begun: Instant) -> (u128, u128, bool) {
    assert!(asked(store, 0, begun), "the first object is there");
    let (done, is_done) = sync_channel(1);
    let start = now();
    let purge = Purge::Tag { zone: 1, tag: b"rare" };
    store.purge(&purge, Strength::Hard, 1, move |_recorded| done.try_send(()).unwrap_or_default());
    let holds = start.elapsed();
    let gone = !matches!(store.lookup(&key(&target(0)), begun.elapsed().as_millis() as u64), Lookup::Hit(_));
    // A disk that does not answer is what the figure says.
    let _late = is_done.recv_timeout(Duration::from_secs(10));
    (holds.as_micros(), start.elapsed().as_micros(), gone)
}

fn open(folder: &Path, seed: Seed, objects: u32) {
    let empty = folder.with_extension("empty");
    let bare = {
        let (store, workers) = over(Arc::new(Folder(empty)), seed, objects);
        let running = started(workers);
        while store.disk().is_some_and(|disk| disk.state() != DiskState::Ready) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let bare = pss_bytes();
        running.release();
        running.join();
        bare
    };
    let gate = Arc::new(Gate::default());
    let files = Arc::new(Stalling { folder: Folder(folder.to_owned()), gate: Arc::clone(&gate) });
    let begun = now();
    let (store, workers) = over(files, seed, objects);
    let disk = Arc::clone(workers.writer.disk());
    let running = started(workers);
    while disk.state() != DiskState::Ready {
        std::thread::sleep(Duration::from_micros(200));
    }
    let ready_ms = begun.elapsed().as_millis();
    let stored = disk.objects() as u64;
    let pss = pss_bytes().saturating_sub(bare) / stored.max(1);
    for number in 0..HOT {
        // A disk that is late once is asked again.
        assert!((0..100).any(|_| asked(&store, number, begun)), "object {number} is on disk");
    }
    let alone = hits(&store, begun);
    let (quiet, quiet_wait) = hits_beside(&store, objects, 7, begun);
    gate.set_shut(true);
    let (stalled, stalled_wait) = hits_beside(&store, objects, 11, begun);
    gate.set_shut(false);
    let (holds_us, kept_us, gone) = purge(&store, begun);
    assert!(gone, "what was purged is found");
    println!(
        "{{\"objects\": {stored}, \"ready_ms\": {ready_ms}, \"index_bytes_each\": {}, \
         \"pss_bytes_each\": {pss}, \"hit_ns\": {alone:?}, \"hit_ns_beside_reads\": {quiet:?}, \
         \"longest_read_ms\": {quiet_wait}, \"hit_ns_beside_a_stalled_disk\": {stalled:?}, \
         \"longest_wait_for_a_stalled_disk_ms\": {stalled_wait}, \
         \"purge_by_tag_us\": {holds_us}, \"purge_on_disk_us\": {kept_us}}}",
        disk.index_bytes() as u64 / stored.max(1),
    );
    running.release();
    running.join();
}

fn started(workers: Workers) -> Running {
    match workers.start() {
        Ok(running) => running,
        Err(cause) => panic!("no threads: {cause}"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (Some(word), Some(seed), Some(folder)) = (words.first(), words.get(1), words.get(2)) else {
        println!("usage: million write|open SEED FOLDER [OBJECTS]");
        return;
    };
    let Ok(seed) = u128::from_str_radix(seed, 16) else {
        println!("the seed is 32 hex digits");
        return;
    };
    let seed = Seed(seed.to_be_bytes());
    let objects = words.get(3).and_then(|number| number.parse().ok()).unwrap_or(1_000_000);
    match word.as_str() {
        "write" => write(Path::new(folder), seed, objects),
        _ => open(Path::new(folder), seed, objects),
    }
}
