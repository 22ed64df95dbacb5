//! Bounds, breaks and ends of a pool, with pieces that wait for the test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::Wake;

use super::*;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as a runtime would.
fn wait<T>(mut pending: Pending<T>) -> Result<T, Broken> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A pool of one thread that is busy until the sender sends.
fn busy(waiting_max: usize) -> (Pool, SyncSender<()>, Pending<()>) {
    let pool = Pool::start("test", 1, waiting_max.max(1)).unwrap();
    let (go, gone): (SyncSender<()>, Receiver<()>) = sync_channel(1);
    let (tell, told) = sync_channel(1);
    let first = pool
        .submit(move || {
            tell.send(()).unwrap();
            gone.recv().unwrap();
        })
        .unwrap();
    told.recv().unwrap();
    (pool, go, first)
}

#[test]
fn results_come_back_by_waker() {
    let pool = Pool::start("test", 2, 100).unwrap();
    let pieces: Vec<_> = (0..50).map(|number| pool.submit(move || number * 2).unwrap()).collect();
    let results: Vec<i32> = pieces.into_iter().map(|piece| wait(piece).unwrap()).collect();
    assert_eq!(results, (0..50).map(|number| number * 2).collect::<Vec<_>>());
}

#[test]
fn what_finds_no_room_is_refused_at_once() {
    let (pool, go, first) = busy(2);
    let waiting = [pool.submit(|| 1).unwrap(), pool.submit(|| 2).unwrap()];
    assert_eq!(pool.submit(|| 3).unwrap_err(), Full);
    assert_eq!(pool.waiting(), 2);
    go.send(()).unwrap();
    wait(first).unwrap();
    assert_eq!(waiting.map(|piece| wait(piece).unwrap()), [1, 2]);
}

#[test]
fn a_panic_is_a_value_and_its_thread_goes_on() {
    let pool = Pool::start("test", 1, 10).unwrap();
    let broken: Pending<()> = pool.submit(|| panic!("a fault point of the pool")).unwrap();
    let next = pool.submit(|| 7).unwrap();
    assert_eq!(wait(broken), Err(Broken::Panicked));
    assert_eq!(wait(next), Ok(7));
}

#[test]
fn a_piece_knows_the_thread_that_does_it() {
    let pool = Pool::start("test", 3, 100).unwrap();
    let pieces: Vec<_> = (0..50)
        .map(|_| {
            let name = |number| (number, std::thread::current().name().map(str::to_owned));
            pool.submit_on(name).unwrap()
        })
        .collect();
    for piece in pieces {
        let (number, name) = wait(piece).unwrap();
        assert!(number < 3);
        assert_eq!(name, Some(format!("test-{number}")));
    }
}

#[test]
fn a_piece_that_nobody_wants_is_not_begun() {
    let (pool, go, first) = busy(2);
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    drop(pool.submit(move || counted.fetch_add(1, Ordering::Relaxed)).unwrap());
    let last = pool.submit(|| ()).unwrap();
    go.send(()).unwrap();
    wait(first).unwrap();
    wait(last).unwrap();
    assert_eq!(begun.load(Ordering::Relaxed), 0);
}

#[test]
fn a_pool_that_ends_leaves_nobody_waiting() {
    let (pool, go, first) = busy(1);
    let waiting = pool.submit(|| 1).unwrap();
    let (tell, told) = sync_channel(1);
    let ending = std::thread::spawn(move || {
        let waits = wait(waiting);
        tell.send(()).unwrap();
        waits
    });
    let dropped = std::thread::spawn(move || drop(pool));
    // The piece that has begun still holds the pool's thread.
    told.recv().unwrap();
    go.send(()).unwrap();
    assert_eq!(wait(first), Ok(()));
    dropped.join().unwrap();
    assert_eq!(ending.join().unwrap(), Err(Broken::Ended));
}
