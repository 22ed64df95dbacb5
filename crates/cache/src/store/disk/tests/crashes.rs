//! A seeded history of stores, reads, purges and restarts, killed at every single change to the folder.
//!
//! The invariants, after each kill and after each loss of power: never a byte of another key or version,
//! never anything purged (once the purge was confirmed, or its number counted), never anything withdrawn; and
//! after a kill, every object whose index entry was written and that nothing superseded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::*;

/// Xorshift: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const TARGETS: u64 = 12;
const STEPS: u64 = 60;

/// What must and must not be on disk.
#[derive(Debug, Default, Clone)]
struct Known {
    /// Versions stored since the last confirmed purge against the target.
    allowed: BTreeMap<String, BTreeSet<u32>>,
    /// The version whose index entry is written and not superseded.
    committed: BTreeMap<String, u32>,
    purges_confirmed: u64,
}

type IsAgainst = Box<dyn Fn(&str) -> bool>;

fn target(number: u64) -> String {
    // Two prefixes.
    format!("/{}/{number}", number % 2)
}

/// Room for all of it: what is reclaimed is no loss.
fn roomy() -> DiskSettings {
    DiskSettings { segment_bytes: 24 << 10, readers: 1, ..DiskSettings::of(4 << 20) }
}

/// Room for a few segments: space is given back all the time.
fn tight() -> DiskSettings {
    DiskSettings { bytes_max: 100 << 10, ..roomy() }
}

fn rig(files: &FaultyFiles, settings: DiskSettings) -> Rig {
    Rig::sized(files, settings, 256 << 10)
}

/// One history over a folder; ends early, without a panic, when the folder dies under it.
fn history(files: &FaultyFiles, settings: DiskSettings, seed: u64, known: &mut Known) {
    let mut random = Random(seed | 1);
    let mut rig = rig(files, settings);
    rig.turn();
    let mut number = rig.disk().purges_applied_to();
    for step in 0..STEPS {
        let target = target(random.below(TARGETS));
        match random.below(10) {
            0..6 => {
                let version = (seed as u32) << 8 | step as u32;
                let length = 100 + random.below(6_000) as usize;
                let key = key(&target);
                known.allowed.entry(target.clone()).or_default().insert(version);
                let lease = match rig.store.lookup(&key, 0) {
                    Lookup::Lease(lease) => lease,
                    Lookup::Hit(object) => match rig.store.lookup_beyond(&object, 0) {
                        Lookup::Lease(lease) => lease,
                        other => panic!("nobody else fetches: {other:?}"),
                    },
                    Lookup::Wait(mut ticket) => {
                        rig.turn();
                        let Some(waited) = polled(&mut ticket, 1 << 40) else { panic!("late at the latest") };
                        match waited {
                            Waited::Lease(lease) => lease,
                            Waited::Hit(object) => match rig.store.lookup_beyond(&object, 0) {
                                Lookup::Lease(lease) => lease,
                                other => panic!("nobody else fetches: {other:?}"),
                            },
                            other => panic!("neither passed nor purged: {other:?}"),
                        }
                    }
                    other => panic!("expected to fetch: {other:?}"),
                };
                known.committed.remove(&target);
                let mut fill = lease.begin(answer(1)).expect("kept");
                fill.push(&body(&target, version, length));
                fill.finish();
                hit(&rig.store, &key);
                let before = rig.store.counts().disk_writes;
                rig.turn();
                if rig.store.counts().disk_writes > before {
                    known.committed.insert(target, version);
                }
            }
            6 => {
                // Old objects leave memory, so that the disk is read.
                for filler in 0..60 {
                    put(&rig.store, &key(&format!("/filler/{seed}/{step}/{filler}")), &[0; 8_000]);
                }
            }
            7 | 8 => {
                number += 1;
                let confirmed = Arc::new(Mutex::new(None));
                let told = Arc::clone(&confirmed);
                let done = move |recorded| *told.lock().expect("free") = Some(recorded);
                let host = b"a.example";
                let (purge, is_against): (Purge<'_>, IsAgainst) = match random.below(3) {
                    0 => {
                        let own = target.clone();
                        let purge = Purge::Url { zone: 1, host, target: target.as_bytes() };
                        (purge, Box::new(move |other| other == own))
                    }
                    1 => {
                        let purge = Purge::Prefix { zone: 1, host, target: b"/0/" };
                        (purge, Box::new(|other| other.starts_with("/0/")))
                    }
                    _ => (Purge::Zone { zone: 1 }, Box::new(|_| true)),
                };
                known.committed.retain(|target, _| !is_against(target));
                rig.store.purge(&purge, Strength::Hard, number, done);
                rig.turn();
                if *confirmed.lock().expect("free") == Some(Recorded::OnDisk) {
                    known.purges_confirmed = number;
                    known.allowed.retain(|target, _| !is_against(target));
                }
            }
            _ => {
                let read = rig.read(&key(&target));
                assert_allowed(known, &target, read.as_deref());
            }
        }
    }
    rig.store.check_invariants();
}

fn assert_allowed(known: &Known, target: &str, read: Option<&[u8]>) {
    let Some(read) = read else { return };
    let versions = known.allowed.get(target);
    let is_one = |version: &&u32| *read == *body(target, **version, read.len());
    let found = versions.and_then(|versions| versions.iter().find(is_one));
    let start = String::from_utf8_lossy(&read[..read.len().min(30)]).into_owned();
    assert!(found.is_some(), "{target} gave `{start}…`, allowed are {versions:?}");
}

/// Opens the folder as the next process would and compares it with what is known.
fn check(files: &FaultyFiles, settings: DiskSettings, known: &Known, is_killed: bool, what: &str) {
    let mut rig = rig(files, settings);
    rig.turn();
    assert_eq!(rig.disk().state(), DiskState::Ready, "{what}");
    assert!(rig.disk().purges_applied_to() >= known.purges_confirmed, "{what}: a purge is lost");
    for number in 0..TARGETS {
        let target = target(number);
        let read = rig.read(&key(&target));
        assert_allowed(known, &target, read.as_deref());
        if is_killed && let Some(version) = known.committed.get(&target) {
            let read = read.unwrap_or_else(|| panic!("{what}: {target} was committed and is gone"));
            assert_eq!(read, body(&target, *version, read.len()), "{what}: {target}");
        }
    }
    // And it goes on.
    rig.write("/after", b"after");
    assert!(rig.store.counts().disk_writes > 0, "{what}");
    let mut next = self::rig(&files.after_kill(), settings);
    next.turn();
    assert_eq!(next.read(&key("/after")), Some(b"after".to_vec()), "{what}: what was written since");
}

/// Kills a second life at each of its changes, and compares what is left.
fn kill_everywhere(settings: DiskSettings, seeds: u64, has_all: bool) {
    for seed in 1..=seeds {
        // A first life that ends well, so that epochs and segments of two processes meet.
        let first = FaultyFiles::default();
        let mut known = Known::default();
        history(&first, settings, seed, &mut known);
        let whole = first.after_kill();
        history(&whole, settings, seed + 100, &mut known.clone());
        let changes = whole.changes();
        assert!(changes > 60, "a history of {changes} changes tries nothing");
        for life in 0..changes {
            let files = first.after_kill();
            files.die_after(life);
            let mut known = known.clone();
            history(&files, settings, seed + 100, &mut known);
            check(&files.after_kill(), settings, &known, has_all, &format!("seed {seed}, killed at {life}"));
        }
    }
}

#[test]
fn killed_at_any_write_a_folder_has_all_that_was_committed_and_nothing_that_was_purged() {
    kill_everywhere(roomy(), 4, true);
}

#[test]
fn killed_while_space_is_given_back_a_folder_has_nothing_that_was_purged() {
    kill_everywhere(tight(), 3, false);
}

#[test]
fn what_was_stored_after_a_purge_is_never_committed_before_it() {
    let first = FaultyFiles::default();
    rig(&first, roomy()).turn();
    let mut committed = 0;
    for life in 0..20 {
        let files = first.after_kill();
        let mut rig = rig(&files, roomy());
        rig.turn();
        files.die_after(life);
        let store = |target: &str| {
            put(&rig.store, &key(target), target.as_bytes());
            hit(&rig.store, &key(target));
        };
        // All of it waits for the writer at once.
        store("/before");
        rig.store.purge(&Purge::Zone { zone: 2 }, Strength::Hard, 1, |_| ());
        store("/after");
        rig.turn();
        let writes = rig.store.counts().disk_writes;
        let mut next = self::rig(&files.after_kill(), roomy());
        next.turn();
        if writes == 2 {
            committed += 1;
            assert_eq!(next.read(&key("/after")), Some(b"/after".to_vec()), "killed at {life}");
            assert_eq!(next.disk().purges_applied_to(), 1, "killed at {life}");
        }
    }
    assert!((1..20).contains(&committed), "killed before and after");
}

#[test]
fn a_loss_of_power_leaves_misses_and_never_a_wrong_byte() {
    let settings = roomy();
    let (mut present, mut missing) = (0, 0);
    for seed in 1..=60 {
        let mut random = Random(seed * 7_919);
        let files = FaultyFiles::default();
        let mut known = Known::default();
        history(&files, settings, seed, &mut known);
        let files = files.after_power_loss(&mut |bound| random.below(bound));
        for target in known.committed.keys() {
            let mut rig = rig(&files.after_kill(), settings);
            rig.turn();
            if rig.read(&key(target)).is_some() { present += 1 } else { missing += 1 }
        }
        check(&files, settings, &known, false, &format!("seed {seed}"));
    }
    assert!(present > 20 && missing > 20, "{present} and {missing}: both must have been tried");
}
