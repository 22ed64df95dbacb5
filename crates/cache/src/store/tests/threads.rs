//! Many threads at one store: what they get is right, and nobody waits for ever.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

/// Parks the thread until it is woken.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(mut ticket: Ticket) -> Waited {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match ticket.poll(&waker, 0) {
            Poll::Ready(waited) => return waited,
            Poll::Pending => thread::park(),
        }
    }
}

fn read(object: &Arc<Object>) -> Option<Vec<u8>> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut reader = object.reader(0).expect("a reader");
    let mut bytes = Vec::new();
    loop {
        match reader.poll_piece(&waker) {
            Poll::Ready(Piece::Bytes(piece)) => bytes.extend_from_slice(&piece),
            Poll::Ready(Piece::End) => return Some(bytes),
            Poll::Ready(Piece::Aborted | Piece::Behind) => return None,
            Poll::Pending => thread::park(),
        }
    }
}

/// One visitor's request; false when its fetch was made to fail.
fn visit(store: &Store, number: u64, fails: bool) -> bool {
    let target = format!("/{number}");
    let mut lookup = store.lookup(&key(&target), 0);
    loop {
        let object = match lookup {
            Lookup::Hit(object) => object,
            Lookup::Wait(ticket) => match wait(ticket) {
                Waited::Hit(object) => object,
                Waited::Lease(lease) => {
                    lookup = Lookup::Lease(lease);
                    continue;
                }
                Waited::Pass => return true,
                Waited::Again => {
                    lookup = store.lookup(&key(&target), 0);
                    continue;
                }
            },
            Lookup::Lease(lease) if fails => {
                drop(lease);
                return false;
            }
            Lookup::Lease(lease) => {
                let Ok(mut fill) = lease.begin(answer(1)) else { return true };
                for _ in 0..1 + number % 5 {
                    fill.push(&vec![number as u8; 700]);
                    thread::yield_now();
                }
                fill.finish();
                return true;
            }
            Lookup::Pass | Lookup::Bypass(_) => return true,
        };
        let bytes = read(&object).expect("nobody aborts once begun");
        assert_eq!(bytes.len() as u64, 700 * (1 + number % 5));
        assert!(bytes.iter().all(|byte| *byte == number as u8), "a byte of another key");
        return true;
    }
}

#[test]
fn threads_that_store_read_purge_and_fail_at_once_get_right_bytes_and_an_end() {
    let store = store_of(200_000);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let visitors: Vec<_> = (0..4_u64)
            .map(|own| {
                let store = &store;
                scope.spawn(move || {
                    let mut state = own + 1;
                    for _ in 0..15_000 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let number = (state >> 33) % 97;
                        visit(store, number, (state >> 50).is_multiple_of(10));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut number = 0_u64;
            while !is_over.load(SeqCst) {
                number += 1;
                let target = format!("/{}", number % 97);
                let url = Purge::Url { zone: 1, host: b"a.example", target: target.as_bytes() };
                store.purge(&url, Strength::Hard, number, |_| ());
                thread::yield_now();
            }
        });
        for visitor in visitors {
            visitor.join().expect("no visitor panics");
        }
        is_over.store(true, SeqCst);
    });
    assert_eq!(store.usage().fetches, 0);
    store.check_invariants();
    drop(store.objects(Cursor::default(), usize::MAX));
    assert_eq!(store.usage().held_bytes, store.usage().bytes, "nothing is held that is not stored");
}
