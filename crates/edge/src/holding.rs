//! What the serving threads have open, for whoever asks from another thread: a few ticks old at most.
//!
//! It counts nothing by itself. Caller: `serving.rs` notes, `node.rs` sums.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a node has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Visitors' connections.
    pub connections: usize,
    /// Exchanges under way on these.
    pub exchanges: usize,
}

/// What each thread had open at its last tick.
#[derive(Debug)]
pub(crate) struct Holding(Box<[[AtomicUsize; 2]]>);

impl Holding {
    /// For so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Default::default()).collect())
    }

    /// Notes what a thread has open.
    pub(crate) fn note(&self, thread: usize, open: Open) {
        let Some([connections, exchanges]) = self.0.get(thread) else { return };
        connections.store(open.connections, Ordering::Relaxed);
        exchanges.store(open.exchanges, Ordering::Relaxed);
    }

    /// Sums over all threads.
    pub(crate) fn sum(&self) -> Open {
        self.0.iter().fold(Open::default(), |sum, [connections, exchanges]| Open {
            connections: sum.connections + connections.load(Ordering::Relaxed),
            exchanges: sum.exchanges + exchanges.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_summed_and_a_thread_that_is_not_there_counts_nothing() {
        let holding = Holding::new(2);
        holding.note(0, Open { connections: 3, exchanges: 1 });
        holding.note(1, Open { connections: 4, exchanges: 2 });
        holding.note(2, Open { connections: 100, exchanges: 100 });
        assert_eq!(holding.sum(), Open { connections: 7, exchanges: 3 });
        holding.note(0, Open::default());
        assert_eq!(holding.sum(), Open { connections: 4, exchanges: 2 });
    }
}
