//! A seeded history of many visitors over one store, beside a model that is too simple to be wrong.
//!
//! Visitors look up, wait, fetch, fail, revalidate, purge and withdraw in any order. The invariants: never a
//! byte of another key, never anything purged or withdrawn, at most one fetch per key that nobody purged
//! since it began, no waiter left behind, and bytes that add up.

use std::collections::BTreeMap;

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What a visitor is at.
enum Doing {
    Waiting { ticket: Ticket, joined: u64 },
    Fetching { lease: Lease, began: u64 },
    Filling { fill: Fill, reader: Reader, read: Vec<u8>, left: u64, began: u64 },
}

struct Visitor {
    key: u64,
    doing: Doing,
}

/// Moments (steps) of purges by key, and of all; withdrawn snapshots.
#[derive(Default)]
struct Model {
    purged: BTreeMap<u64, u64>,
    purged_all: u64,
    withdrawn: Vec<u64>,
}

impl Model {
    /// The moment of the last purge against a key.
    fn purged_at(&self, key: u64) -> u64 {
        self.purged.get(&key).copied().unwrap_or(0).max(self.purged_all)
    }

    /// Objects say in their head which key they are of, when their fetch began, and under which snapshot. Who
    /// waited may get what was purged since it joined.
    fn check(&self, key: u64, object: &Arc<Object>, joined: u64) {
        let [of, began, snapshot, ..] = object.head().numbers;
        assert_eq!(of, key, "an object of another key");
        let purged = self.purged_at(key);
        assert!(began >= purged || purged > joined, "an object that was purged");
        if joined == u64::MAX {
            assert!(!self.withdrawn.contains(&snapshot), "an object that was withdrawn");
        }
        if let Some(chunks) = object.chunks() {
            let bytes = chunks.concat();
            assert!(bytes.iter().all(|byte| *byte == key as u8), "a body of another key");
        }
    }
}

/// Plays one history; gives what was counted.
fn play(seed: u64) -> Counts {
    let settings = MemorySettings { memory_object_bytes_max: 12_000, ..small_settings(100_000) };
    let store = Store::new(settings, SEED);
    let mut random = Random(seed | 1);
    let mut model = Model::default();
    let mut visitors: Vec<Visitor> = Vec::new();
    let mut snapshot = 1;
    let target = |key: u64| format!("/{key}");
    for step in 1..12_000_u64 {
        match random.below(100) {
            0..35 => {
                let number = random.below(40);
                let target = target(number);
                let lookup = match store.lookup(&key(&target), step) {
                    Lookup::Hit(object) if random.below(4) == 0 => {
                        model.check(number, &object, u64::MAX);
                        store.lookup_beyond(&object, step)
                    }
                    other => other,
                };
                let doing = match lookup {
                    Lookup::Hit(object) => {
                        model.check(number, &object, u64::MAX);
                        continue;
                    }
                    Lookup::Wait(ticket) => Doing::Waiting { ticket, joined: step },
                    Lookup::Lease(lease) => {
                        let others = visitors.iter().filter(|visitor| {
                            visitor.key == number
                                && matches!(&visitor.doing, Doing::Fetching { began, .. }
                                    if *began > model.purged_at(number))
                        });
                        assert_eq!(others.count(), 0, "two fetches of key {number} at step {step}");
                        Doing::Fetching { lease, began: step }
                    }
                    Lookup::Pass => continue,
                    Lookup::Bypass(why) => panic!("{why:?}"),
                };
                visitors.push(Visitor { key: number, doing });
            }
            35..37 => {
                let number = random.below(40);
                let target = target(number);
                let url = Purge::Url { zone: 1, host: b"a.example", target: target.as_bytes() };
                store.purge(&url, Strength::Hard, step, |_| ());
                model.purged.insert(number, step);
            }
            37 => {
                if random.below(10) == 0 {
                    store.purge(&Purge::Zone { zone: 1 }, Strength::Hard, step, |_| ());
                    model.purged_all = step;
                } else if random.below(8) == 0 {
                    store.withdraw(snapshot, step, |_| ());
                    model.withdrawn.push(snapshot);
                    snapshot += 1;
                }
            }
            _ if visitors.is_empty() => {}
            _ => {
                let at = random.below(visitors.len() as u64) as usize;
                let visitor = visitors.swap_remove(at);
                if let Some(doing) =
                    advance(&mut random, &mut model, visitor.key, visitor.doing, step, snapshot)
                {
                    visitors.push(Visitor { key: visitor.key, doing });
                }
            }
        }
        if step % 200 == 0 {
            store.check_invariants();
        }
    }
    // Everybody comes to an end once those who fetch do.
    let mut step = 12_000;
    while let Some(visitor) = visitors.pop() {
        step += 1;
        if let Some(doing) = advance(&mut random, &mut model, visitor.key, visitor.doing, step, snapshot) {
            visitors.insert(0, Visitor { key: visitor.key, doing });
        }
        assert!(step < 200_000, "somebody waits for nobody");
    }
    assert_eq!(store.usage().fetches, 0);
    store.check_invariants();
    store.counts()
}

/// One step of a visitor; `None` when it is done.
fn advance(
    random: &mut Random,
    model: &mut Model,
    key: u64,
    doing: Doing,
    step: u64,
    snapshot: u64,
) -> Option<Doing> {
    match doing {
        Doing::Waiting { mut ticket, joined } => {
            if random.below(20) == 0 {
                return None;
            }
            match polled(&mut ticket, step) {
                None => Some(Doing::Waiting { ticket, joined }),
                Some(Waited::Hit(object)) => {
                    // It may have been purged since this one joined, not before.
                    model.check(key, &object, joined);
                    None
                }
                Some(Waited::Lease(lease)) => Some(Doing::Fetching { lease, began: step }),
                Some(Waited::Pass | Waited::Again) => None,
            }
        }
        Doing::Fetching { lease, began } => match random.below(10) {
            0 => None,
            1 => {
                lease.pass(step + 10);
                None
            }
            _ => {
                let head =
                    Head { bytes: Bytes::new(), numbers: [key, began, snapshot, 0, 0, 0, 0, 0], snapshot };
                let fill = lease.begin(Answer { head, tags: &[], body_bytes: None }).ok()?;
                let reader = fill.reader()?;
                let left = random.below(6);
                Some(Doing::Filling { fill, reader, read: Vec::new(), left, began })
            }
        },
        Doing::Filling { mut fill, mut reader, mut read, left, began } => {
            if random.below(15) == 0 {
                return None;
            }
            if left == 0 {
                let pushed = fill.object().body_bytes();
                assert_eq!(pushed, None);
                fill.finish();
                let (rest, end) = drain(&mut reader, Waker::noop());
                read.extend(rest);
                assert_eq!(end, Some(Piece::End));
                assert!(read.iter().all(|byte| *byte == key as u8));
                return None;
            }
            fill.push(&vec![key as u8; 1 + random.below(5_000) as usize]);
            if random.below(2) == 0 {
                read.extend(drain(&mut reader, Waker::noop()).0);
            }
            Some(Doing::Filling { fill, reader, read, left: left - 1, began })
        }
    }
}

#[test]
fn no_history_gives_a_wrong_byte_a_purged_object_or_a_second_fetch() {
    let (mut evictions, mut aborted, mut purged) = (0, 0, 0);
    for seed in 1..=20 {
        let counts = play(seed * 1_000_003);
        (evictions, aborted) = (evictions + counts.evictions, aborted + counts.fills_aborted);
        purged += counts.fills_purged;
    }
    let tried = (evictions, aborted, purged);
    assert!(evictions > 200 && aborted > 200 && purged > 200, "{tried:?}: all of it must have been tried");
}
