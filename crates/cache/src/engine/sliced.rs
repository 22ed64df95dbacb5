//! Large objects in slices: the head that describes them, and each slice found, waited for or fetched by
//! itself.
//!
//! A sliced object is stored as a head without a body; whether it is fresh is asked of the head alone. A
//! slice is found by key, version and number, so that whatever is found is the right bytes, or nothing.
//! Read next: [`Slices::look`].

use std::sync::Arc;

use exchange::{Fields, Response};

use super::fetch::{reason_of, tags_of};
use super::step::{Fetch, Filling, Now, Outcome};
use super::{Visit, key_ref, store_head};
use crate::limits::SLICES_LOOKED_MAX;
use crate::policy::{
    ByteRange, CacheStatus, FetchTimes, FirstAnswer, Key, Metadata, NotStored, Sending, SliceAnswer, Sliced,
    StoredHead, Storing, ToStore, Traits, Version, judge, read_first, whole_head,
};
use crate::store::{self, Answer, Fill, Lease, Object, Store, Ticket, Waited};

/// The slices of one version of an object, for one visitor.
#[derive(Clone, Debug)]
pub struct Slices {
    store: Store,
    sliced: Sliced,
    /// The key of the head.
    key: Key,
    head: Arc<Object>,
    tags: Vec<Box<[u8]>>,
    alone_interval_ms: u64,
}

/// What to do for a slice.
#[derive(Debug)]
pub enum SliceStep {
    /// It is stored, or fills: read from it.
    Read(Arc<Object>),
    /// Wait for another's fetch or for the disk, then [`Slices::waited`].
    Wait(Ticket),
    /// Ask the origin for it, then [`Slices::answered`].
    Fetch(SliceFetch),
}

/// A request to the origin for one slice. Dropped, its lease goes to the next who waits.
#[derive(Debug)]
pub struct SliceFetch {
    lease: Option<Lease>,
    number: u64,
    /// Epoch of purges when it began, as of `Fetch`.
    epoch: u64,
}

/// What came of it.
#[derive(Debug)]
pub enum SliceOutcome {
    /// Push the origin's body into the fill, and read from its object.
    Fill(Box<Fill>),
    /// The body is the slice and is not stored: send of it what is needed.
    Pass,
    /// The object is another by now: its head is gone from the store. A visitor who has had no byte yet
    /// looks again; one who has is cut off.
    OtherVersion,
    /// The origin failed with this status.
    Failed(u16),
}

impl Slices {
    /// The slices of a stored head; none for an object that has its body itself.
    pub(super) fn of(
        visit: &Visit,
        object: &Arc<Object>,
        head: &StoredHead,
        meta: &Metadata,
        now: Now,
    ) -> Option<Box<Self>> {
        if !meta.traits.has(Traits::SLICED) {
            return None;
        }
        let version = Version::of(&head.validators(), now.unix_ms)?;
        Some(Box::new(Self {
            store: visit.store.clone(),
            sliced: Sliced { whole: meta.body_bytes?, slice_bytes: meta.slice_bytes.max(1), version },
            key: visit.key.with_rest(object.key().rest),
            head: Arc::clone(object),
            tags: tags_of(head, &visit.settings),
            alone_interval_ms: u64::from(visit.settings.alone_interval_ms),
        }))
    }

    /// The slices that hold a range, in order, and which bytes of each.
    pub fn needed(&self, range: ByteRange) -> impl Iterator<Item = (u64, ByteRange)> {
        self.sliced.needed(range)
    }

    /// Whether the store has every slice that is sent. Of very many, the first and the last are looked for
    /// ([`SLICES_LOOKED_MAX`] each): what lies between them then stands unseen.
    pub(super) fn has_all(&self, sending: &Sending) -> bool {
        let whole = ByteRange { first: 0, last: self.sliced.whole.saturating_sub(1) };
        match sending {
            Sending::Nothing => true,
            Sending::Whole => self.has_range(whole),
            Sending::Range(range) => self.has_range(*range),
            Sending::Parts(multipart) => multipart.parts.iter().all(|(_, range)| self.has_range(*range)),
        }
    }

    fn has_range(&self, range: ByteRange) -> bool {
        let [first, last] = [range.first, range.last].map(|at| at / self.sliced.slice_bytes.max(1));
        let front = first..=last.min(first.saturating_add(SLICES_LOOKED_MAX));
        let back = last.saturating_sub(SLICES_LOOKED_MAX).max(front.end().saturating_add(1))..=last;
        front.chain(back).all(|number| self.store.has(&key_ref(&self.key_of(number))))
    }

    /// Bytes of the whole.
    pub fn whole(&self) -> u64 {
        self.sliced.whole
    }

    fn key_of(&self, number: u64) -> Key {
        self.key.with_slice(self.sliced.version.as_bytes(), number)
    }

    /// Looks for a slice.
    pub fn look(&self, number: u64, now: Now) -> SliceStep {
        match self.store.lookup(&key_ref(&self.key_of(number)), now.mono_ms) {
            store::Lookup::Hit(object) => SliceStep::Read(object),
            store::Lookup::Wait(ticket) => SliceStep::Wait(ticket),
            store::Lookup::Lease(lease) => SliceStep::Fetch(self.fetch(number, Some(lease))),
            store::Lookup::Pass | store::Lookup::Bypass(_) => SliceStep::Fetch(self.fetch(number, None)),
        }
    }

    fn fetch(&self, number: u64, lease: Option<Lease>) -> SliceFetch {
        SliceFetch { lease, number, epoch: self.store.purges().epoch() }
    }

    /// For one who has waited for a slice as long as it may: the fetch to make by itself, if it is its turn;
    /// otherwise it goes on waiting and asks again later, as with [`Visit::impatient`].
    pub fn impatient(&self, number: u64, ticket: &Ticket, now: Now) -> Option<SliceFetch> {
        let is_due = ticket.may_go_alone(now.mono_ms, self.alone_interval_ms);
        is_due.then(|| self.fetch(number, None))
    }

    /// What came of waiting.
    pub fn waited(&self, number: u64, waited: Waited, now: Now) -> SliceStep {
        match waited {
            Waited::Hit(object) => SliceStep::Read(object),
            Waited::Lease(lease) => SliceStep::Fetch(self.fetch(number, Some(lease))),
            Waited::Pass => SliceStep::Fetch(self.fetch(number, None)),
            Waited::Again => self.look(number, now),
        }
    }

    /// Makes a request's fields those that the origin is asked for a slice with: in place of
    /// [`Fetch::prepare`].
    pub fn prepare(&self, fetch: &SliceFetch, fields: &mut Fields) {
        crate::policy::prepare(fields, None);
        self.sliced.prepare(fetch.number, fields);
    }

    /// The answer is not to be stored: it is kept back, or nobody could inspect it. Who waits goes to the
    /// origin by itself.
    pub fn not_for_store(&self, fetch: SliceFetch) {
        if let Some(lease) = fetch.lease {
            lease.pass(0);
        }
    }

    /// The head of an answer for a slice is there.
    pub fn answered(&self, fetch: SliceFetch, answer: &Response, now: Now) -> SliceOutcome {
        match self.sliced.read(fetch.number, answer, now.unix_ms) {
            SliceAnswer::Slice => {}
            SliceAnswer::OtherVersion => {
                self.store.remove(&self.head);
                return SliceOutcome::OtherVersion;
            }
            SliceAnswer::Failed(status) => return SliceOutcome::Failed(status),
        }
        let Some(range) = self.sliced.range_of(fetch.number) else { return SliceOutcome::OtherVersion };
        let (number, epoch) = (fetch.number, fetch.epoch);
        let key = self.key_of(number);
        let brought = || self.store.lease_for_brought(&key_ref(&key), None, epoch, now.mono_ms);
        let lease = fetch.lease.or_else(brought);
        let Some(lease) = lease else { return SliceOutcome::Pass };
        match begin_slice(lease, range, &self.tags, self.head.head().snapshot) {
            Some(fill) => SliceOutcome::Fill(Box::new(fill)),
            None => SliceOutcome::Pass,
        }
    }
}

/// Begins to store a slice. None if it cannot be.
fn begin_slice(lease: Lease, range: ByteRange, tags: &[Box<[u8]>], snapshot: u64) -> Option<Fill> {
    let bytes = range.bytes_len();
    let meta = Metadata { status: 206, body_bytes: Some(bytes), ..Metadata::default() };
    let tags: Vec<&[u8]> = tags.iter().map(|tag| &**tag).collect();
    let head = store_head(bytes::Bytes::new(), &meta, snapshot);
    match lease.begin(Answer { head, tags: &tags, body_bytes: Some(bytes) }) {
        Ok(fill) => Some(fill),
        Err((lease, _)) => {
            lease.pass(0);
            None
        }
    }
}

impl Visit {
    /// A 206 to the request for a slice of something that was not known, or is known no more.
    pub(super) fn part_answered(
        &self,
        mut fetch: Fetch,
        (number, range): (u64, ByteRange),
        answer: &Response,
        times: &FetchTimes,
        said: CacheStatus<'static>,
        now: Now,
    ) -> Outcome {
        let slice_bytes = range.bytes_len();
        let sliced = match read_first(range, slice_bytes, answer, now.unix_ms) {
            FirstAnswer::Sliced(sliced) => sliced,
            // The one slice is the whole, and is stored as such.
            FirstAnswer::Whole(bytes) => {
                return self.whole_answered(fetch, &whole_head(answer, bytes), times, said, now);
            }
            FirstAnswer::NotSliced | FirstAnswer::Other => {
                return self.ask_own_range(fetch, NotStored::Partial, now);
            }
        };
        let mut head = whole_head(answer, sliced.whole);
        // Its length is no bound: no more than slices of it are stored.
        head.body = exchange::BodySize::Unknown;
        let mut stored = match judge(&self.asked, &fetch.path, &head, &self.settings, times) {
            Storing::Store(stored) => *stored,
            Storing::Pass(reason) => return self.ask_own_range(fetch, reason, now),
        };
        stored.meta.body_bytes = Some(sliced.whole);
        stored.meta.body_id = now.seed as u64;
        stored.meta.slice_bytes = slice_bytes;
        stored.meta.traits = stored.meta.traits.with(Traits::SLICED);
        match self.store_sliced(&mut fetch, &stored, (number, range), &sliced, now) {
            Ok((object, fill)) => {
                let mut serving = self.serving_fetched(&object, &stored, now);
                serving.status =
                    CacheStatus { is_stored: fill.is_some(), ttl_s: serving.status.ttl_s, ..said };
                match fill {
                    Some(fill) => Outcome::Fill(Box::new(Filling { fill, serving: *serving })),
                    None => Outcome::Serve(serving),
                }
            }
            Err(reason) => self.ask_own_range(fetch, reason, now),
        }
    }

    /// Stores the head of a sliced object, and begins its slice unless another is at it.
    fn store_sliced(
        &self,
        fetch: &mut Fetch,
        stored: &ToStore,
        (number, range): (u64, ByteRange),
        sliced: &Sliced,
        now: Now,
    ) -> Result<(Arc<Object>, Option<Fill>), NotStored> {
        let lease = self.lease_for(fetch, stored, now)?;
        let waited_for = fetch.lease.take();
        let key = self.key.with_rest(lease.key().rest).with_slice(sliced.version.as_bytes(), number);
        let slice_lease = lease.branch(&key_ref(&key));
        let tags: Vec<&[u8]> = stored.tags.iter().map(|tag| &**tag).collect();
        let head = store_head(stored.head.as_bytes().clone(), &stored.meta, self.snapshot);
        let object = match lease.begin(Answer { head, tags: &tags, body_bytes: Some(0) }) {
            Ok(fill) => {
                let object = Arc::clone(fill.object());
                fill.finish();
                object
            }
            Err((lease, why)) => {
                fetch.lease = Some(lease);
                return Err(reason_of(why));
            }
        };
        if let Some(lease) = waited_for {
            self.show_index(lease, &stored.vary, now);
        }
        let sent = ByteRange { last: range.last.min(sliced.whole - 1), ..range };
        let fill = slice_lease.and_then(|lease| begin_slice(lease, sent, &stored.tags, self.snapshot));
        Ok((object, fill))
    }

    /// What came cannot be stored as slices: the visitor's own range is fetched and passed.
    fn ask_own_range(&self, mut fetch: Fetch, reason: NotStored, now: Now) -> Outcome {
        // Known for a while: the next range is asked for as it is, without trying a slice first.
        let kept = fetch.stored.take().map(|(object, _)| object);
        self.give_up(fetch.lease.take(), reason, kept, now);
        fetch.has_own_conditions = true;
        if self.asked.ranges.is_none() {
            // The whole was wanted, and a slice only to ask about it.
            fetch.slice = None;
            return Outcome::Again(Box::new(fetch));
        }
        (fetch.slice, fetch.has_own_range, fetch.was_asked) = (None, true, false);
        Outcome::Again(Box::new(fetch))
    }
}
