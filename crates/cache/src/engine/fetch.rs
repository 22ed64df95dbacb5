//! What an origin's answer, or its failure, comes to: for the store, for those who wait, and for the visitor.
//!
//! The lease is spent on every way out: with what is stored, with a mark that nothing can be, or by handing
//! it on. Called by the edge when the head of an answer is there. Read next: [`Visit::answered`].

use std::sync::Arc;

use exchange::Response;

use super::step::{Fetch, Filling, Now, Outcome, Passing, Serving};
use super::{Visit, key_ref, meta_of, store_head, ttl_s};
use crate::limits::{PASS_ERROR_MS, PASS_MS, TROUBLE_MS, VARIANTS_COUNTED_MS};
use crate::policy::{
    Answered, CacheStatus, FetchTimes, HeadUpdate, Key, Metadata, NotStored, OriginTrouble, Revalidated,
    Settings, StoredHead, ToStore, Traits, Vary, VaryIndex, VaryRule, answered, head_answered,
    may_serve_on_error,
};
use crate::store::{self, Answer, Lease, NotKept, Object};

impl Visit {
    /// The head of an answer is there: decides what becomes of it.
    pub fn answered(&self, fetch: Fetch, answer: &Response, times: &FetchTimes, now: Now) -> Outcome {
        let said = CacheStatus { forward_status: Some(answer.status), ..fetch.said() };
        if let (206, Some((number, range))) = (answer.status, fetch.slice) {
            return self.part_answered(fetch, (number, range), answer, times, said, now);
        }
        self.whole_answered(fetch, answer, times, said, now)
    }

    /// An answer that is no part of something, or that is the only part.
    pub(super) fn whole_answered(
        &self,
        mut fetch: Fetch,
        answer: &Response,
        times: &FetchTimes,
        said: CacheStatus<'static>,
        now: Now,
    ) -> Outcome {
        let meta = fetch.stored.as_ref().map(|(object, _)| meta_of(object));
        if self.asked.is_head && answer.status == 200 {
            self.head_answered(&fetch, meta.as_ref(), answer, times, now);
            return pass(said, NotStored::Method);
        }
        let stored = fetch.stored.as_ref().zip(meta.as_ref());
        let revalidated = stored.map(|((object, head), meta)| Revalidated {
            meta,
            head,
            was_asked: fetch.was_asked,
            is_purged_softly: object.is_purged_softly(),
        });
        match answered(&self.asked, &fetch.path, revalidated, answer, &self.settings, times) {
            Answered::Store(stored) => self.store_answer(fetch, *stored, said, now),
            Answered::Renewed(renewed) => self.renewed(fetch, *renewed, said, now),
            Answered::RenewedOnce(once, reason) => {
                let Some((object, _)) = &fetch.stored else { return pass(said, reason) };
                let mut serving = self.serving_fetched(object, &once, now);
                serving.status = CacheStatus { ttl_s: serving.status.ttl_s, ..said };
                if reason.is_lasting() {
                    self.store.remove(object);
                }
                self.give_up(fetch.lease.take(), reason, None, now);
                Outcome::Serve(serving)
            }
            Answered::Pass { reason, drops_stored } => {
                let stored = fetch.stored.take().map(|(object, _)| object);
                if drops_stored && let Some(object) = &stored {
                    self.store.remove(object);
                }
                self.give_up(fetch.lease.take(), reason, stored.filter(|_| !drops_stored), now);
                pass(said, reason)
            }
            Answered::ServeStale => match self.bridge(&mut fetch, now) {
                Some(mut serving) => {
                    serving.status = CacheStatus { ttl_s: serving.status.ttl_s, ..said };
                    Outcome::Serve(serving)
                }
                None => pass(said, NotStored::Error),
            },
            // It is the answer to the visitor's own conditions; or to none, and asking again would be asking
            // the same again.
            Answered::AskAgain if !fetch.was_asked => {
                let stored = fetch.stored.take().map(|(object, _)| object);
                self.give_up(fetch.lease.take(), NotStored::Partial, stored, now);
                pass(said, NotStored::Partial)
            }
            Answered::AskAgain => {
                fetch.stored = None;
                fetch.was_asked = false;
                Outcome::Again(Box::new(fetch))
            }
        }
    }

    /// The answer is not to be stored, whatever it says: it is kept back, or nobody could inspect it. Who
    /// waits goes to the origin by itself, since what is said to another request may be said to none of
    /// theirs; what is stored stays.
    pub fn not_for_store(&self, mut fetch: Fetch, status: u16, now: Now) -> Passing {
        let reason = NotStored::Firewall;
        let kept = fetch.stored.take().map(|(object, _)| object);
        self.give_up(fetch.lease.take(), reason, kept, now);
        let (forward_status, detail) = (Some(status), Some(reason.as_str()));
        Passing { status: CacheStatus { forward_status, detail, ..fetch.said() }, reason }
    }

    /// Whether [`Visit::failed`] would give something for this trouble now; changes nothing.
    pub fn may_bridge(&self, fetch: &Fetch, trouble: OriginTrouble, now: Now) -> bool {
        fetch.stored.as_ref().is_some_and(|(object, _)| {
            let (meta, is_soft) = (meta_of(object), object.is_purged_softly());
            may_serve_on_error(&self.asked, &meta, is_soft, trouble, &self.settings, now.unix_ms)
        })
    }

    /// The origin gave no answer, or not in time: the visitor gets what is stored, if that may be. None: it
    /// gets a fault, and the lease goes to the next who waits.
    pub fn failed(&self, mut fetch: Fetch, trouble: OriginTrouble, now: Now) -> Option<Box<Serving>> {
        if !self.may_bridge(&fetch, trouble, now) {
            return None;
        }
        let mut serving = self.bridge(&mut fetch, now)?;
        serving.status = CacheStatus { ttl_s: serving.status.ttl_s, ..fetch.said() };
        Some(serving)
    }

    /// The origin is not asked for this visitor, though it has no trouble: it gets what it would get if the
    /// origin failed. Of that nothing is noted, so that whoever waits, or comes next, asks. None as for
    /// [`Visit::failed`].
    pub fn unasked(&self, mut fetch: Fetch, now: Now) -> Option<Box<Serving>> {
        if !self.may_bridge(&fetch, OriginTrouble::Unreachable, now) {
            return None;
        }
        drop(fetch.lease.take());
        let (object, head) = fetch.stored.as_ref()?;
        let meta = meta_of(object);
        let mut serving = self.serving(object, head, &meta, now);
        serving.status = CacheStatus { ttl_s: ttl_s(object, &meta, now), ..fetch.said() };
        Some(serving)
    }

    /// Serves what is stored, and notes on it that the origin failed, so that those who wait and those who
    /// come within a second are served the same and leave the origin alone. It is no word of the origin's: a
    /// purge, soft ones included, stays against it.
    fn bridge(&self, fetch: &mut Fetch, now: Now) -> Option<Box<Serving>> {
        let (object, head) = fetch.stored.as_ref()?;
        let mut meta = meta_of(object);
        meta.troubled_until_ms = now.unix_ms.saturating_add(TROUBLE_MS);
        if let Some(lease) = fetch.lease.take().filter(|lease| lease.key() == object.key())
            && let Err((lease, _why)) = lease.keep(object, meta.to_numbers())
        {
            lease.pass(0);
        }
        let mut serving = self.serving(object, head, &meta, now);
        serving.status.ttl_s = ttl_s(object, &meta, now);
        Some(serving)
    }

    /// Gives the lease up for an answer that is not stored.
    pub(super) fn give_up(
        &self,
        lease: Option<Lease>,
        reason: NotStored,
        kept: Option<Arc<Object>>,
        now: Now,
    ) {
        let Some(lease) = lease else { return };
        // What came of this request alone says nothing of what those who wait get.
        match reason {
            NotStored::Authorization => return lease.leave_to_others(),
            NotStored::Method | NotStored::RequestNoStore => return drop(lease),
            _ => {}
        }
        let pass_ms = match reason {
            // What is stored stays, and who waits goes by itself.
            _ if kept.is_some() || !reason.is_lasting() => 0,
            NotStored::Error | NotStored::Firewall => PASS_ERROR_MS,
            _ => PASS_MS,
        };
        lease.pass(if pass_ms == 0 { 0 } else { now.mono_ms.saturating_add(pass_ms) });
    }

    fn store_answer(
        &self,
        mut fetch: Fetch,
        mut stored: ToStore,
        said: CacheStatus<'static>,
        now: Now,
    ) -> Outcome {
        stored.meta.body_id = now.seed as u64;
        let lease = match self.lease_for(&mut fetch, &stored, now) {
            Ok(lease) => lease,
            Err(reason) => {
                self.give_up(fetch.lease.take(), reason, None, now);
                return pass(said, reason);
            }
        };
        // The lease under which others wait, if another one was needed to store.
        let waited_for = fetch.lease.take();
        let was_led = fetch.is_led;
        let tags: Vec<&[u8]> = stored.tags.iter().map(|tag| &**tag).collect();
        let answer = Answer {
            head: store_head(stored.head.as_bytes().clone(), &stored.meta, self.snapshot),
            tags: &tags,
            body_bytes: stored.meta.body_bytes,
        };
        match lease.begin(answer) {
            Ok(fill) => {
                if let Some(lease) = waited_for {
                    self.show_index(lease, &stored.vary, now);
                }
                let mut serving = self.serving_fetched(fill.object(), &stored, now);
                serving.status =
                    CacheStatus { is_stored: fill.is_kept(), ttl_s: serving.status.ttl_s, ..said };
                Outcome::Fill(Box::new(Filling { fill, serving: *serving }))
            }
            Err((lease, why)) => {
                let reason = reason_of(why);
                // Taken from somebody for nothing: it goes to the next who waits.
                let lease = Some(lease).filter(|_| was_led || reason.is_lasting());
                self.give_up(lease, reason, None, now);
                self.give_up(waited_for, reason, None, now);
                pass(said, reason)
            }
        }
    }

    /// The lease on the key that the answer turned out to belong to: the key itself, or a variant of it.
    /// Leaves in the fetch the lease that others wait under, if that is another.
    pub(super) fn lease_for(
        &self,
        fetch: &mut Fetch,
        stored: &ToStore,
        now: Now,
    ) -> Result<Lease, NotStored> {
        let key = match &stored.vary {
            Vary::Rule(rule) => {
                let variant = rule.variant(&fetch.fields).ok_or(NotStored::Vary)?;
                self.key.with_variant(&variant)
            }
            Vary::Nothing | Vary::Anything => self.key.clone(),
        };
        if fetch.lease.as_ref().is_some_and(|lease| !lease.is_held()) {
            // One who lost patience was quicker: what that one brought stays.
            return Err(NotStored::Busy);
        }
        let is_for = |lease: &Lease, key: &Key| lease.key() == key_ref(key);
        let is_new = fetch.stored.as_ref().is_none_or(|(object, _)| object.key() != key_ref(&key));
        if let Some(lease) = fetch.lease.take_if(|lease| is_for(lease, &key)) {
            // The variant's own lease: the index knows its rule, or must be told.
            if let Vary::Rule(rule) = &stored.vary {
                self.note_variant(&lease, (rule, is_new), None, now)?;
            }
            return Ok(lease);
        }
        let held = fetch.lease.as_ref();
        let alone_since = held.is_none().then_some(fetch.epoch);
        let lease = match held {
            Some(held) => held.branch(&key_ref(&key)),
            None => self.lease_alone(&key, fetch.stored.as_ref().map(|(object, _)| object), fetch.epoch, now),
        };
        // Somebody else fetches the same: theirs is stored.
        let lease = lease.ok_or(NotStored::Busy)?;
        let is_key_held = held.is_some_and(|held| is_for(held, &self.key));
        match &stored.vary {
            // The key's own lease will show the index once the fill has begun.
            Vary::Rule(_) if is_key_held => {}
            Vary::Rule(rule) => self.note_variant(&lease, (rule, is_new), alone_since, now)?,
            Vary::Nothing | Vary::Anything => {}
        }
        Ok(lease)
    }

    /// A lease for a fetch that was made without one, began at `epoch`, and brought what may be stored:
    /// purges since then are against what is stored with it.
    fn lease_alone(&self, key: &Key, stored: Option<&Arc<Object>>, epoch: u64, now: Now) -> Option<Lease> {
        let stored = stored.filter(|object| object.key() == key_ref(key));
        self.store.lease_for_brought(&key_ref(key), stored, epoch, now.mono_ms)
    }

    /// Writes a variant's rule into the index under the key, if it is not there, and counts a new variant.
    ///
    /// The count knows nothing of evictions: what was evicted and stored again within
    /// [`VARIANTS_COUNTED_MS`] counts twice, and a key near its limit stores less than it might. The limit
    /// is against keys whose variants never repeat. `alone_since`: the epoch of a fetch that had no lease.
    fn note_variant(
        &self,
        by: &Lease,
        (rule, is_new): (&VaryRule, bool),
        alone_since: Option<u64>,
        now: Now,
    ) -> Result<(), NotStored> {
        let mut lease = None;
        let (mut index, mut meta) = match self.store.lookup(&key_ref(&self.key), now.mono_ms) {
            store::Lookup::Hit(object) if meta_of(&object).traits.has(Traits::INDEX) => {
                (VaryIndex::from_kept(&object.head().bytes), meta_of(&object))
            }
            store::Lookup::Hit(_) | store::Lookup::Lease(_) => (VaryIndex::default(), index_meta(now)),
            // As in `lease_alone`: it could not be stored, or somebody slower is at it.
            store::Lookup::Pass if alone_since.is_some() => (VaryIndex::default(), index_meta(now)),
            store::Lookup::Wait(ticket) if alone_since.is_some() && ticket.deadline_ms().is_none() => {
                lease = alone_since.and_then(|epoch| ticket.take_over(epoch));
                (VaryIndex::default(), index_meta(now))
            }
            // Another writes the index, or the disk reads it: this variant would not be found.
            _ => return Err(NotStored::Busy),
        };
        if now.unix_ms.saturating_sub(meta.received_ms) > VARIANTS_COUNTED_MS {
            meta = index_meta(now);
        }
        if is_new && meta.body_id >= u64::from(self.settings.variants_max) {
            return Err(NotStored::Variants);
        }
        let is_changed = index.add(rule);
        if !is_changed && !is_new {
            return Ok(());
        }
        meta.body_id += u64::from(is_new);
        let lease = lease.or_else(|| by.branch(&key_ref(&self.key))).ok_or(NotStored::Busy)?;
        if self.put_index(lease, &index, &meta) { Ok(()) } else { Err(NotStored::Busy) }
    }

    /// Those who wait under the key itself learn that there are variants, and which they are.
    pub(super) fn show_index(&self, lease: Lease, vary: &Vary, now: Now) {
        let Vary::Rule(rule) = vary else {
            // They waited for a variant that turned out to be none: they look again when it is their turn
            // (`Visit::waited`).
            return drop(lease);
        };
        if lease.key() != key_ref(&self.key) {
            return drop(lease);
        }
        let mut index = VaryIndex::default();
        index.add(rule);
        self.put_index(lease, &index, &Metadata { body_id: 1, ..index_meta(now) });
    }

    fn put_index(&self, lease: Lease, index: &VaryIndex, meta: &Metadata) -> bool {
        let head = store_head(index.to_bytes().into(), meta, self.snapshot);
        match lease.begin(Answer { head, tags: &[], body_bytes: Some(0) }) {
            Ok(fill) => {
                let is_kept = fill.is_kept();
                fill.finish();
                is_kept
            }
            Err((lease, _)) => {
                lease.pass(0);
                false
            }
        }
    }

    /// A 304 renewed what is stored.
    fn renewed(&self, mut fetch: Fetch, renewed: ToStore, said: CacheStatus<'static>, now: Now) -> Outcome {
        let Some((object, _)) = fetch.stored.take() else { return pass(said, NotStored::Partial) };
        let lease = fetch
            .lease
            .take()
            .or_else(|| self.lease_alone(&self.key_of(&object), Some(&object), fetch.epoch, now));
        let tags = tags_of(&renewed.head, &self.settings);
        let kept = lease.and_then(|lease| {
            let renewed = (&renewed.head, &renewed.meta, &tags[..]);
            self.refresh(lease, fetch.is_led, &object, renewed)
        });
        let mut serving = self.serving_fetched(kept.as_ref().unwrap_or(&object), &renewed, now);
        serving.status = CacheStatus { is_stored: kept.is_some(), ttl_s: serving.status.ttl_s, ..said };
        Outcome::Serve(serving)
    }

    /// The key an object of this visit is stored under.
    fn key_of(&self, object: &Object) -> Key {
        self.key.with_rest(object.key().rest)
    }

    /// Stores a head with the body of an object. None if it is not kept: the body still fills, or another
    /// took over.
    fn refresh(
        &self,
        lease: Lease,
        is_led: bool,
        object: &Arc<Object>,
        (head, meta, tags): (&StoredHead, &Metadata, &[Box<[u8]>]),
    ) -> Option<Arc<Object>> {
        if lease.key() != object.key() {
            return None;
        }
        let tags: Vec<&[u8]> = tags.iter().map(|tag| &**tag).collect();
        let head = store_head(head.as_bytes().clone(), meta, self.snapshot);
        match lease.refresh(object, Answer { head, tags: &tags, body_bytes: None }) {
            Ok(object) => Some(object),
            Err((lease, _)) => {
                // Dropped, it goes to the next who waits.
                if is_led {
                    lease.pass(0);
                }
                None
            }
        }
    }

    /// An answer to HEAD: what is stored under the same key is renewed by it, or is of the past.
    fn head_answered(
        &self,
        fetch: &Fetch,
        meta: Option<&Metadata>,
        answer: &Response,
        times: &FetchTimes,
        now: Now,
    ) {
        let (Some((object, head)), Some(meta)) = (&fetch.stored, meta) else { return };
        let is_purged_softly = object.is_purged_softly();
        let stored = Revalidated { meta, head, was_asked: false, is_purged_softly };
        match head_answered(&self.asked, &fetch.path, &stored, answer, &self.settings, times) {
            HeadUpdate::Renewed(renewed) => {
                // Who fetches it at this moment will bring more than this.
                if let store::Lookup::Lease(lease) = self.store.lookup_beyond(object, now.mono_ms) {
                    let tags = tags_of(&renewed.head, &self.settings);
                    let renewed = (&renewed.head, &renewed.meta, &tags[..]);
                    let _kept = self.refresh(lease.since(fetch.epoch), false, object, renewed);
                }
            }
            HeadUpdate::MakesStale => self.store.remove(object),
            HeadUpdate::Nothing => {}
        }
    }
}

pub(super) fn pass(said: CacheStatus<'static>, reason: NotStored) -> Outcome {
    let status = CacheStatus { detail: Some(reason.as_str()), forward_status: None, ..said };
    Outcome::Pass(Passing { status, reason })
}

/// The numbers of a new index.
fn index_meta(now: Now) -> Metadata {
    Metadata { received_ms: now.unix_ms, traits: Traits::INDEX, ..Metadata::default() }
}

/// The tags a stored head says; there were not too many when it was stored.
pub(super) fn tags_of(head: &StoredHead, settings: &Settings) -> Vec<Box<[u8]>> {
    crate::policy::tags_of(&head.unpack().fields, settings).unwrap_or_default()
}

pub(super) fn reason_of(why: NotKept) -> NotStored {
    match why {
        NotKept::TooLarge => NotStored::TooLarge,
        NotKept::HeadTooLarge => NotStored::Head,
        NotKept::TooManyTags => NotStored::Tags,
        NotKept::Memory | NotKept::NotWhole => NotStored::Busy,
    }
}
