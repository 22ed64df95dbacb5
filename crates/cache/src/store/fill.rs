//! Leases and fills: how an answer gets into the store.
//!
//! A [`Lease`] is the right to fetch for a key. Its holder begins a [`Fill`] with the answer's head, which
//! everybody who waits can read from at once; or refreshes a stored object after a 304; or says that the
//! answer cannot be kept; or drops the lease, and the next in line has it. Decides nothing of HTTP. Read
//! next: [`Lease::begin`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::Store;
use super::body::{Body, Reader};
use super::fetch::{Outcome, Pending};
use super::key::KeyRef;
use super::limits::{HEAD_BYTES_MAX, NUMBERS, OVERHEAD_BYTES, TAGS_MAX};
use super::object::{DISK_NONE, DISK_THERE, Head, Object};

/// An answer's head as the policy wants it kept.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// What the policy keeps.
    pub head: Head,
    /// Tags to purge by; at most [`TAGS_MAX`].
    pub tags: &'a [&'a [u8]],
    /// Length of the body where it is declared. An answer that ends with another is not kept.
    pub body_bytes: Option<u64>,
}

/// Why an answer is not kept. The caller passes it on without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// The body is larger than `object_bytes_max`.
    TooLarge,
    /// The head is larger than [`HEAD_BYTES_MAX`].
    HeadTooLarge,
    /// More tags than [`TAGS_MAX`]: one left out would be a purge missed.
    TooManyTags,
    /// Slow readers hold so many evicted bodies that no more memory may be taken.
    Memory,
    /// The object to refresh is not whole.
    NotWhole,
}

/// What became of a finished fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Whole and found by lookups.
    Kept,
    /// Whole for those who read it, found by nobody else: purged meanwhile, superseded or too large.
    NotKept,
    /// Shorter or longer than declared: its readers are told that it failed.
    WrongLength,
}

/// The right to fetch for a key. Dropped without an answer, it goes to the next who waits.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    pending: Arc<Pending>,
    generation: u32,
    born: u64,
    is_spent: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_spent && self.pending.hand_on(self.generation) {
            self.store.forget_fetch(&self.pending);
        }
    }
}

impl Lease {
    pub(crate) fn new(store: Store, pending: Arc<Pending>, generation: u32) -> Self {
        let born = pending.born();
        Self { store, pending, generation, born, is_spent: false }
    }

    pub(crate) fn pending(&self) -> &Arc<Pending> {
        &self.pending
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The key to fetch for.
    #[must_use]
    pub fn key(&self) -> KeyRef<'_> {
        self.pending.key.parts()
    }

    /// Whether somebody has taken over since (the disk's deadline passed, say).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.pending.is_held(self.generation)
    }

    /// Visitors who wait for the answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pending.tickets()
    }

    /// A lease on another key for the same fetch: the variant an answer turned out to be, or its next slice.
    /// Purges since this fetch began are against what is stored with it. `None` when somebody fetches for
    /// that key already.
    #[must_use]
    pub fn branch(&self, key: &KeyRef<'_>) -> Option<Self> {
        let mut lease = self.store.take_lease(key)?;
        lease.born = lease.born.min(self.born);
        Some(lease)
    }

    /// The same for a fetch that began at an earlier epoch of purges.
    #[must_use]
    pub(crate) fn since(mut self, epoch: u64) -> Self {
        self.born = self.born.min(epoch);
        self
    }

    /// The answer was for its asker alone, and says nothing of what others get: the lease goes to the next
    /// who waits, and says so ([`Lease::was_personal`]).
    pub fn leave_to_others(self) {
        // Dropped, it is handed on.
        self.pending.note_personal();
    }

    /// Whether an earlier fetch that the same visitors wait for brought an answer for its asker alone: who
    /// asks as that one did had better not make others wait.
    #[must_use]
    pub fn was_personal(&self) -> bool {
        self.pending.is_personal()
    }

    /// The answer cannot be kept: all who wait go to the origin, and so does everybody until `until_ms`, so
    /// that such answers do not wait for one another.
    pub fn pass(mut self, until_ms: u64) {
        self.is_spent = true;
        self.store.store_pass(&self.pending, self.generation, until_ms);
        // One that was taken over says nothing any more, and leaves the fetch to whoever has it.
        if self.pending.resolve(self.generation, Outcome::Pass) {
            self.store.forget_fetch(&self.pending);
        }
    }

    /// Begins to store an answer; from now on it is found, and read while it fills.
    ///
    /// A purge against it since the fetch began, or a withdrawn snapshot, makes it one that only this caller
    /// reads; those who wait get the lease.
    ///
    /// # Errors
    ///
    /// The lease, unspent, and why the answer cannot be kept.
    pub fn begin(self, answer: Answer<'_>) -> Result<Fill, (Self, NotKept)> {
        self.begin_with(answer, |_object| ())
    }

    /// Begins to store another form of a stored object's body, under the lease's own key: gone with every
    /// purge that is against the object, and with the snapshot that it was fetched under.
    ///
    /// # Errors
    ///
    /// As [`Lease::begin`].
    pub fn begin_form(self, of: &Object, numbers: [u64; NUMBERS]) -> Result<Fill, (Self, NotKept)> {
        let head = Head { bytes: Bytes::new(), numbers, snapshot: of.head.snapshot };
        self.begin_with(Answer { head, tags: &[], body_bytes: None }, |object| {
            object.born = object.born.min(of.born);
            object.tags.clone_from(&of.tags);
        })
    }

    fn begin_with(
        mut self,
        answer: Answer<'_>,
        change: impl FnOnce(&mut Object),
    ) -> Result<Fill, (Self, NotKept)> {
        if let Some(why) = self.refusal(&answer) {
            return Err((self, why));
        }
        let body = Body::open(self.store.held(), OVERHEAD_BYTES + self.overhead(&answer.head));
        let mut object = self.object(answer, body, DISK_NONE);
        change(&mut object);
        let object = Arc::new(object);
        let (is_kept, previous) = self.publish(&object);
        // Those who waited made more than one request of it.
        let is_known = self.pending.is_known || self.pending.tickets() > 0;
        let store = self.store.clone();
        Ok(Fill { store, object, previous, is_kept, is_known, is_done: false, is_passing: false })
    }

    /// Stores the head of a 304 with the body of the object it is about.
    ///
    /// # Errors
    ///
    /// The lease, unspent, and why the answer cannot be kept.
    pub fn refresh(self, old: &Arc<Object>, answer: Answer<'_>) -> Result<Arc<Object>, (Self, NotKept)> {
        self.put_again(old, Answer { body_bytes: None, ..answer }, |_object| ())
    }

    /// Stores an object again with other numbers of the policy's. The origin has said nothing new of it: what
    /// was purged softly stays so, and it stays one of the snapshot it was fetched under.
    ///
    /// # Errors
    ///
    /// The lease, unspent, and why the answer cannot be kept.
    pub fn keep(self, old: &Arc<Object>, numbers: [u64; NUMBERS]) -> Result<Arc<Object>, (Self, NotKept)> {
        let head = Head { numbers, ..old.head.clone() };
        self.put_again(old, Answer { head, tags: &[], body_bytes: None }, |object| {
            object.born = old.born;
            object.tags.clone_from(&old.tags);
        })
    }

    fn put_again(
        mut self,
        old: &Arc<Object>,
        answer: Answer<'_>,
        change: impl FnOnce(&mut Object),
    ) -> Result<Arc<Object>, (Self, NotKept)> {
        if let Some(why) = self.refusal(&answer) {
            return Err((self, why));
        }
        let Some(body) = old.body.shared(OVERHEAD_BYTES + self.overhead(&answer.head)) else {
            return Err((self, NotKept::NotWhole));
        };
        let mut object = self.object(answer, body, DISK_NONE);
        change(&mut object);
        let object = Arc::new(object);
        object.frequency.store(old.frequency.load(Relaxed), Relaxed);
        if self.publish(&object).0 {
            self.store.forget_on_disk(object.key.hash);
        }
        Ok(object)
    }

    /// What the disk read: stored if it is small enough for memory, given to those who wait in any case.
    /// False when somebody took over, or a purge is against it.
    pub(crate) fn deliver(mut self, record: Delivered, is_for_memory: bool) -> bool {
        if !self.is_held() {
            self.is_spent = true;
            return false;
        }
        let overhead = OVERHEAD_BYTES + self.overhead(&record.head);
        let body = Body::whole(self.store.held(), overhead, record.chunks);
        self.born = record.born;
        let answer = Answer { head: record.head, tags: &[], body_bytes: None };
        let mut object = self.object(answer, body, DISK_THERE);
        object.tags = record.tags;
        let object = Arc::new(object);
        if !self.store.is_usable(&object) {
            return false;
        }
        if is_for_memory {
            self.publish_judged(&object);
        } else {
            self.pending.resolve(self.generation, Outcome::Object(object));
            self.store.forget_fetch(&self.pending);
        }
        self.is_spent = true;
        true
    }

    fn overhead(&self, head: &Head) -> u64 {
        (self.pending.key.as_bytes().len() + head.bytes.len()) as u64
    }

    fn refusal(&self, answer: &Answer<'_>) -> Option<NotKept> {
        if answer.head.bytes.len() > HEAD_BYTES_MAX {
            Some(NotKept::HeadTooLarge)
        } else if answer.tags.len() > TAGS_MAX {
            Some(NotKept::TooManyTags)
        } else if answer.body_bytes.is_some_and(|bytes| bytes > self.store.settings().object_bytes_max) {
            Some(NotKept::TooLarge)
        } else if self.store.is_out_of_memory() {
            self.store.counters().fills_without_memory.add(1);
            Some(NotKept::Memory)
        } else {
            None
        }
    }

    fn object(&self, answer: Answer<'_>, body: Body, disk: u8) -> Object {
        let key = self.pending.key.clone();
        let zone = key.parts().zone;
        Object {
            tags: answer.tags.iter().map(|tag| self.store.seed().tag(zone, tag)).collect(),
            key,
            head: Head { bytes: Bytes::copy_from_slice(&answer.head.bytes), ..answer.head },
            url: self.pending.url,
            host: self.pending.host,
            born: self.born,
            body,
            checked: AtomicU64::new(0),
            is_soft: AtomicBool::new(false),
            frequency: AtomicU8::new(0),
            disk: AtomicU8::new(disk),
            bytes_declared: answer.body_bytes,
            is_from_disk: disk == DISK_THERE,
        }
    }

    /// Stores an object unless a purge is against it; gives whether it is found, and what was there before.
    fn publish(&mut self, object: &Arc<Object>) -> (bool, Option<Arc<Object>>) {
        if !self.store.is_usable(object) {
            // Those who wait may have come after the purge.
            self.store.counters().fills_purged.add(1);
            return (false, None);
        }
        self.publish_judged(object)
    }

    fn publish_judged(&mut self, object: &Arc<Object>) -> (bool, Option<Arc<Object>>) {
        let (is_kept, previous) = self.store.store_object(&self.pending, self.generation, object);
        self.is_spent = self.pending.resolve(self.generation, Outcome::Object(Arc::clone(object)));
        (is_kept, previous)
    }
}

/// An object as the disk had it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) head: Head,
    pub(crate) tags: Box<[u64]>,
    pub(crate) born: u64,
    pub(crate) chunks: Vec<Bytes>,
}

/// An answer on its way into the store. Dropped before it is finished, it has failed.
#[derive(Debug)]
pub struct Fill {
    store: Store,
    object: Arc<Object>,
    /// What it took the place of, put back if it fails.
    previous: Option<Arc<Object>>,
    is_kept: bool,
    is_known: bool,
    is_done: bool,
    is_passing: bool,
}

/// Where a pushed piece went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is held.
    Kept,
    /// The body has become too large to be kept, or memory too scarce; the piece is held until its readers
    /// have it. Ask [`Fill::poll_room`] before the next.
    Passing,
    /// The same, and nobody reads it: the fetch may as well end.
    Unread,
}

impl Fill {
    /// The object that fills.
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// A reader of its own for whoever fetches: made before the first piece is pushed, it misses none.
    #[must_use]
    pub fn reader(&self) -> Option<Reader> {
        self.object.reader(0)
    }

    /// How many read it while it fills.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.object.body.readers()
    }

    /// Whether lookups find it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_kept && !self.is_passing
    }

    /// Appends a piece of the body and wakes its readers. Copies it, once.
    pub fn push(&mut self, piece: &[u8]) -> Pushed {
        if piece.is_empty() {
            return self.pushed();
        }
        let held = self.object.body.push(piece);
        if !self.is_passing && held > self.store.settings().object_bytes_max {
            self.store.counters().fills_too_large.add(1);
            // What was kept so far is no answer any more.
            self.store.forget_on_disk(self.object.key.hash);
            self.pass(None);
        } else if !self.is_passing && self.store.is_out_of_memory() {
            // Many that began while there was room.
            self.store.counters().fills_without_memory.add(1);
            let previous = self.previous.take();
            self.pass(previous);
        }
        if self.is_kept() {
            self.store.grow(&self.object, piece.len() as u64);
        }
        self.pushed()
    }

    /// From now on only its readers have the body, and no more of it is held than they need.
    fn pass(&mut self, previous: Option<Arc<Object>>) {
        self.is_passing = true;
        self.store.retire(&self.object, previous);
        self.object.body.pass();
    }

    fn pushed(&self) -> Pushed {
        if !self.is_passing {
            Pushed::Kept
        } else if self.object.body.readers() == 0 {
            Pushed::Unread
        } else {
            Pushed::Passing
        }
    }

    /// Ready when another piece may be pushed. Always, but for a body that is passed and whose slowest reader
    /// is a window behind; the waker is called when it has moved on or gone.
    pub fn poll_room(&self, waker: &Waker) -> Poll<()> {
        self.object.body.poll_room(waker)
    }

    /// Ends the reading of those furthest behind in a body that is passed ([`super::Piece::Behind`]); gives
    /// how many. For when they have kept the others waiting for too long.
    pub fn cut_slowest(&self) -> usize {
        self.object.body.cut_slowest()
    }

    /// The body is whole.
    pub fn finish(mut self) -> Finished {
        let bytes = self.object.body.bytes();
        if self.object.bytes_declared.is_some_and(|declared| declared != bytes) {
            self.store.counters().fills_of_wrong_length.add(1);
            return Finished::WrongLength; // dropped, and so aborted
        }
        self.is_done = true;
        self.object.body.finish();
        if !self.is_kept() {
            return Finished::NotKept;
        }
        self.store.forget_on_disk(self.object.key.hash);
        let is_large = bytes > self.store.settings().memory_object_bytes_max;
        let is_on_disk = (is_large || self.is_known) && self.store.offer_to_disk(&self.object);
        if is_large && !is_on_disk {
            self.store.retire(&self.object, None);
            return Finished::NotKept;
        }
        Finished::Kept
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.is_done {
            if self.is_kept() {
                self.store.counters().fills_aborted.add(1);
                self.store.retire(&self.object, self.previous.take());
            }
            self.object.body.abort();
        }
    }
}
