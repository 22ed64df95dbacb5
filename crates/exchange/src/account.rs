//! What strangers make us hold, in bytes, by connection, zone and node.
//!
//! Each exchange has one [`Charge`]: its head, for as long as it lives, and what waits in our memory of its
//! bodies at the moment. The charge is added up on three levels, and each has a bound and an answer:
//!
//! | level | at its bound |
//! | --- | --- |
//! | connection | nothing more is read from it until something has left: flow control holds the visitor back
//! |
//! | zone, node: a new head | the request is refused (503 `overload`) |
//! | zone, node: a piece of a body | the transfer is ended: its visitor is the one that does not keep up |
//!
//! Pieces may fill seven eighths of a zone's or the node's bound and heads all of it, so that slow readers
//! cannot keep everybody else out. What the bound approximates is memory: buffers' spare room, TLS, QUIC's
//! and HTTP/2's own windows and the kernel's buffers are not in it, which is why a default leaves half of a
//! machine alone.
//!
//! Callers: `edge` begins charges and has the node's and the zones' accounts; `wire` tells what waits.
//! Read next: [`Charge`].

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Waker};

use crate::Connection;

/// Most bytes that the exchanges of one connection hold before nothing more is read from it: 64 pieces. One
/// HTTP/1 exchange never reaches it; 128 streams that all upload and download at once would hold 16 MiB.
pub const CONNECTION_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Pieces are counted in whole steps of this: what leaves with the next packet is not worth counting.
const STEP_BYTES: u64 = 4 * 1024;

/// The level whose bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Over {
    /// The connection's.
    Connection,
    /// The zone's.
    Zone,
    /// The node's.
    Node,
}

impl Over {
    /// The words of all levels, in order: the labels of metrics.
    pub const WORDS: [&'static str; 3] = ["connection", "zone", "node"];
}

/// What one zone, or the node, holds. Shared by all threads.
#[derive(Debug)]
pub struct Account {
    max: u64,
    held: AtomicU64,
    over: [AtomicU64; Over::WORDS.len()],
}

impl Account {
    /// An account that may hold `max` bytes.
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { max, held: AtomicU64::new(0), over: Default::default() })
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Most bytes it may hold.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// On the node's account: how often each level's bound was reached, in the order of [`Over::WORDS`].
    pub fn times_over(&self) -> [u64; Over::WORDS.len()] {
        [0, 1, 2].map(|level: usize| self.over[level].load(Relaxed))
    }

    fn count(&self, over: Over) -> Over {
        self.over[over as usize].fetch_add(1, Relaxed);
        over
    }

    fn take(&self, bytes: u64, most: u64) -> bool {
        let is_room = self.held.fetch_add(bytes, Relaxed).saturating_add(bytes) <= most;
        if !is_room {
            self.held.fetch_sub(bytes, Relaxed);
        }
        is_room
    }

    fn give(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    fn pieces_max(&self) -> u64 {
        self.max / 8 * 7
    }
}

/// What one connection's exchanges hold, in bytes. A copy begins at nothing: it is another connection's.
///
/// It and [`Waiting`] are two so that an idle connection is not a word larger.
#[derive(Debug, Default)]
pub struct Tally(Cell<u32>);

/// Tasks of one connection that read no more until something has left: one place for each exchange that has
/// waited and still lives, so at most one a stream. A copy begins with none.
#[derive(Default)]
pub struct Waiting(Cell<Option<Box<Places>>>);

/// One place for each exchange that has waited, empty while it does not wait.
#[derive(Default)]
struct Places {
    tasks: Vec<Option<Waker>>,
    /// Places that nobody has.
    free: Vec<u32>,
    /// Places that are not empty.
    waiting: usize,
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Clone for Waiting {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Tally {
    /// Bytes held now.
    pub fn held(&self) -> u64 {
        u64::from(self.0.get())
    }

    fn set(&self, bytes: u64) {
        self.0.set(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn take(&self, bytes: u64) {
        self.set(self.held().saturating_add(bytes));
    }
}

impl Waiting {
    /// Does something with the places; afterwards none are kept if nobody has one.
    fn with<T>(&self, work: impl FnOnce(&mut Places) -> T) -> T {
        let mut places = self.0.take().unwrap_or_default();
        let result = work(&mut places);
        if places.tasks.len() > places.free.len() {
            self.0.set(Some(places));
        }
        result
    }

    /// Puts a task in the exchange's place, which it gets with the first; whether it did not wait yet.
    fn add(&self, place: &mut Option<NonZeroU32>, waker: &Waker) -> bool {
        // A task it waited in before may end with this last reference: outside, when the places are whole.
        let before = self.with(|places| {
            let number = *place.get_or_insert_with(|| places.take());
            let before = places.tasks.get_mut(index(number)).and_then(|task| task.replace(waker.clone()));
            places.waiting += usize::from(before.is_none());
            before
        });
        before.is_none()
    }

    /// Takes the place of an exchange that ends, and the task in it.
    fn leave(&self, place: NonZeroU32) {
        let _dropped_outside = self.with(|places| {
            let task = places.tasks.get_mut(index(place)).and_then(Option::take);
            places.waiting -= usize::from(task.is_some());
            places.free.push(place.get() - 1);
            task
        });
    }

    fn wake(&self) {
        let Some(places) = self.0.take() else { return };
        let (waiting, end) = (places.waiting, places.tasks.len());
        self.0.set(Some(places));
        if waiting == 0 {
            return;
        }
        for place in 0..end {
            // One at a time, since whoever is woken may do anything, waiting again included.
            let task = self.with(|places| {
                let task = places.tasks.get_mut(place).and_then(Option::take);
                places.waiting -= usize::from(task.is_some());
                task
            });
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    /// Places there are.
    #[cfg(test)]
    fn places(&self) -> usize {
        self.with(|places| places.tasks.len())
    }
}

impl Places {
    /// A place for an exchange, counted from 1.
    fn take(&mut self) -> NonZeroU32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            // As many as streams are open.
            (self.tasks.len() - 1) as u32
        });
        NonZeroU32::MIN.saturating_add(place)
    }
}

fn index(place: NonZeroU32) -> usize {
    place.get() as usize - 1
}

/// What one exchange holds. It is given back when dropped; the default holds nothing and has no bounds.
#[derive(Debug, Default)]
pub struct Charge {
    node: Option<Arc<Account>>,
    zone: Option<Arc<Account>>,
    connection: Option<Rc<Connection>>,
    head: u64,
    pieces: u64,
    /// Its place among those of the connection that wait, from its first wait on.
    place: Option<NonZeroU32>,
}

impl Charge {
    /// Begins the charge of an exchange with a head of this many bytes, before its zone is known.
    ///
    /// # Errors
    /// The node has no room for it.
    pub fn begin(node: &Arc<Account>, connection: &Rc<Connection>, head: u64) -> Result<Self, Over> {
        if !node.take(head, node.max) {
            return Err(node.count(Over::Node));
        }
        connection.held.take(head);
        let (node, connection) = (Some(Arc::clone(node)), Some(Rc::clone(connection)));
        Ok(Self { node, zone: None, connection, head, pieces: 0, place: None })
    }

    /// The charge of work done for visitors, such as an encoder's memory: on the node and the zone, within
    /// what pieces may fill. Not on a connection, which would read nothing more for what none of its bodies
    /// holds.
    ///
    /// # Errors
    /// The zone or the node has no room for it.
    pub fn of_work(node: &Arc<Account>, zone: &Arc<Account>, bytes: u64) -> Result<Self, Over> {
        if !node.take(bytes, node.pieces_max()) {
            return Err(node.count(Over::Node));
        }
        if !zone.take(bytes, zone.pieces_max()) {
            node.give(bytes);
            return Err(node.count(Over::Zone));
        }
        let (node, zone) = (Some(Arc::clone(node)), Some(Arc::clone(zone)));
        Ok(Self { node, zone, connection: None, head: bytes, pieces: 0, place: None })
    }

    /// Charges it to its zone too, once that is known.
    ///
    /// # Errors
    /// The zone has no room for it.
    pub fn join(&mut self, zone: &Arc<Account>) -> Result<(), Over> {
        if !zone.take(self.head + self.pieces, zone.max) {
            return Err(self.count(Over::Zone));
        }
        if let Some(before) = self.zone.replace(Arc::clone(zone)) {
            before.give(self.head + self.pieces);
        }
        Ok(())
    }

    fn count(&self, over: Over) -> Over {
        self.node.as_ref().map_or(over, |node| node.count(over))
    }

    /// Sets what waits of its bodies now; counted in whole steps of 4 KiB.
    ///
    /// # Errors
    /// The zone or the node has no room for more; nothing has changed.
    #[inline]
    pub fn hold(&mut self, bytes: u64) -> Result<(), Over> {
        let pieces = bytes / STEP_BYTES * STEP_BYTES;
        if pieces == self.pieces {
            return Ok(());
        }
        self.change(pieces)
    }

    fn change(&mut self, pieces: u64) -> Result<(), Over> {
        let (Some(node), Some(connection)) = (&self.node, &self.connection) else { return Ok(()) };
        if let Some(more) = pieces.checked_sub(self.pieces) {
            if !node.take(more, node.pieces_max()) {
                return Err(node.count(Over::Node));
            }
            if let Some(zone) = &self.zone
                && !zone.take(more, zone.pieces_max())
            {
                node.give(more);
                return Err(node.count(Over::Zone));
            }
            connection.held.take(more);
        } else {
            self.give(self.pieces - pieces);
        }
        self.pieces = pieces;
        Ok(())
    }

    fn give(&self, bytes: u64) {
        for account in [&self.node, &self.zone].into_iter().flatten() {
            account.give(bytes);
        }
        if let Some(connection) = &self.connection {
            connection.held.set(connection.held.held().saturating_sub(bytes));
            if connection.held.held() < CONNECTION_BYTES_MAX {
                connection.waiting.wake();
            }
        }
    }

    /// Whether nothing more may be read from its connection for now; the task is woken when it may.
    #[inline]
    pub fn must_wait(&mut self, cx: &Context<'_>) -> bool {
        match &self.connection {
            Some(connection) if connection.held.held() >= CONNECTION_BYTES_MAX => {
                if connection.waiting.add(&mut self.place, cx.waker()) {
                    self.count(Over::Connection);
                }
                true
            }
            _ => false,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let (Some(connection), Some(place)) = (&self.connection, self.place) {
            connection.waiting.leave(place);
        }
        if self.node.is_some() {
            self.give(self.head + self.pieces);
        }
    }
}

#[cfg(test)]
mod tests;
