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
    let pool = Pool::start("test", 1, waiting_max.max(1), |_| ()).unwrap();
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
    let pool = Pool::start("test", 2, 100, |_| ()).unwrap();
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
    let pool = Pool::start("test", 1, 10, |_| ()).unwrap();
    let broken: Pending<()> = pool.submit(|| panic!("a fault point of the pool")).unwrap();
    let next = pool.submit(|| 7).unwrap();
    assert_eq!(wait(broken), Err(Broken::Panicked));
    assert_eq!(wait(next), Ok(7));
}

#[test]
fn a_piece_knows_the_thread_that_does_it() {
    let pool = Pool::start("test", 3, 100, |_| ()).unwrap();
    let pieces: Vec<_> = (0..50)
        .map(|_| {
            let name = |number| Step::Done(1, (number, std::thread::current().name().map(str::to_owned)));
            pool.submit_steps(Owner::ALONE, name).unwrap()
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

/// A piece that is over after so many slices and writes down which one each slice was.
fn sliced(
    name: &'static str,
    slices: usize,
    done: &Arc<Mutex<Vec<&'static str>>>,
) -> impl FnMut(usize) -> Step<()> + Send + use<> {
    let (mut left, done) = (slices, Arc::clone(done));
    move |_| {
        lock(&done).push(name);
        left -= 1;
        if left == 0 {
            Step::Done(crate::SLICE_STEPS, ())
        } else {
            Step::More(crate::SLICE_STEPS, Yield::Core)
        }
    }
}

#[test]
fn slices_of_two_owners_take_turns_and_those_of_one_do_not() {
    let (pool, go, first) = busy(10);
    let done = Arc::default();
    let (one, other) = (Owner { key: 1, weight: 1 }, Owner { key: 2, weight: 1 });
    let pieces = [
        pool.submit_steps(one, sliced("a", 3, &done)).unwrap(),
        pool.submit_steps(one, sliced("b", 2, &done)).unwrap(),
        pool.submit_steps(other, sliced("z", 3, &done)).unwrap(),
    ];
    go.send(()).unwrap();
    wait(first).unwrap();
    for piece in pieces {
        wait(piece).unwrap();
    }
    assert_eq!(*lock(&done), ["a", "z", "a", "z", "a", "z", "b", "b"]);
}

#[test]
fn a_piece_that_gives_its_place_up_says_so() {
    let (pool, go, first) = busy(2);
    let flood = Owner { key: 1, weight: 1 };
    let oldest = pool.submit_steps(flood, |_| Step::Done(1, "oldest")).unwrap();
    let youngest = pool.submit_steps(flood, |_| Step::Done(1, "youngest")).unwrap();
    let other = pool.submit_steps(Owner { key: 2, weight: 1 }, |_| Step::Done(1, "other")).unwrap();
    assert_eq!(wait(youngest), Err(Broken::GaveUp));
    go.send(()).unwrap();
    wait(first).unwrap();
    assert_eq!([wait(oldest), wait(other)], [Ok("oldest"), Ok("other")]);
}

#[test]
fn a_piece_that_nobody_wants_any_more_is_given_up_at_its_next_slice() {
    let pool = Pool::start("test", 1, 10, |_| ()).unwrap();
    let (tell, told) = sync_channel(0);
    let endless = move |_| {
        // Gone once nobody listens, which is after the piece was dropped.
        let _nobody_listens = tell.send(());
        Step::More(1, Yield::Core)
    };
    let pending: Pending<()> = pool.submit_steps(Owner::ALONE, endless).unwrap();
    told.recv().unwrap();
    drop(pending);
    while told.recv().is_ok() {}
    assert_eq!(wait(pool.submit(|| 7).unwrap()), Ok(7));
}

#[test]
fn another_stands_in_for_a_thread_that_does_not_come_back_until_it_does() {
    let (pool, go, first) = busy(10);
    pool.stand_in(0).unwrap();
    let name = |number| Step::Done(1, number);
    assert_eq!(wait(pool.submit_steps(Owner::ALONE, name).unwrap()), Ok(1), "numbered behind all");
    pool.stand_in(0).unwrap();
    assert_eq!(lock(&pool.crew).handles.len(), 2, "once is enough");
    go.send(()).unwrap();
    wait(first).unwrap();
    pool.is_back(0);
    while !lock(&pool.shared.queue).standing_in.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(wait(pool.submit_steps(Owner::ALONE, name).unwrap()), Ok(0));
}

#[test]
fn a_pool_with_a_thread_that_does_not_come_back_ends_without_it() {
    let (pool, go, _first) = busy(10);
    pool.stand_in(0).unwrap();
    assert_eq!(wait(pool.submit(|| 7).unwrap()), Ok(7));
    drop(pool);
    go.send(()).unwrap();
}

#[test]
fn every_thread_begins_with_what_the_owner_wants_done() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let pool = Pool::start("test", 3, 10, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    drop(pool);
    assert_eq!(begun.load(Ordering::Relaxed), 3);
}
