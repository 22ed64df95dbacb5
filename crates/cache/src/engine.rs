//! The cache as one thing: policy and storage tied together, for the edge to drive.
//!
//! Sans-I/O: a [`Visit`] is one request on its way; each step says what to do next (serve, wait, fetch,
//! pass) and takes what came of it. It asks no origin, reads no clock and sends nothing. In the order of a
//! request: [`Engine::visit`], [`Visit::look`], [`Visit::waited`], [`Visit::answered`] or
//! [`Visit::failed`]. Read next: `engine/step.rs` for what a step is, `engine/fetch.rs` for answers.

mod coded;
mod fetch;
mod sliced;
mod step;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use exchange::{Request, Response};

pub use coded::CodedStep;
pub use sliced::{SliceFetch, SliceOutcome, SliceStep, Slices};
pub use step::{Fetch, Filling, Now, Outcome, Passing, Serving, Step, Visited};

use crate::limits::LOOKS_MAX;
use crate::policy::{
    Asked, AskedRange, Bypass, ByteRange, Eligibility, Forward, Found, Key, Metadata, Settings, Spelling,
    StoredHead, ToStore, Traits, VaryIndex, VisitorFacts, ask, first_request, give_unkept, invalidated,
    lookup, strip_unkeyed,
};
use crate::store::{self, KeyRef, Lease, Object, Purge, Recorded, Store, Strength, Ticket, Waited};

/// The engine over a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    store: Store,
}

/// What a request belongs to.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The zone's id.
    pub zone: u128,
    /// Number of the snapshot the request is served under.
    pub snapshot: u64,
    /// The zone's settings, or those rules chose.
    pub settings: &'a Arc<Settings>,
    /// What is known of the visitor.
    pub facts: VisitorFacts,
    /// The peer is a trusted proxy.
    pub is_peer_trusted: bool,
}

/// One request on its way through the cache.
#[derive(Debug)]
pub struct Visit {
    store: Store,
    settings: Arc<Settings>,
    snapshot: u64,
    asked: Asked,
    key: Key,
    /// What was found stale when it began to wait, for the validators and to bridge a failure.
    beyond: Option<Arc<Object>>,
    /// It waited for an answer and was given one; it waits for no other of the same key.
    has_waited: bool,
    /// It stood in line for another's fetch, whatever came of that.
    has_joined: bool,
    looks: u8,
}

/// What a lookup of key and variant came to.
enum Located {
    Stored(Arc<Object>),
    Missing(Lease, Forward),
    Wait(Ticket),
    Pass(Forward),
    Bypass(Bypass),
}

pub(crate) fn key_ref(key: &Key) -> KeyRef<'_> {
    KeyRef { zone: key.zone(), host: key.host(), target: key.target(), rest: key.rest() }
}

/// The numbers of a stored object, with the length its body has or will have.
fn meta_of(object: &Object) -> Metadata {
    let meta = Metadata::from_numbers(&object.head().numbers);
    if meta.traits.has(Traits::SLICED) {
        return meta; // its own body is empty
    }
    Metadata { body_bytes: object.body_bytes().or(meta.body_bytes), ..meta }
}

fn head_of(object: &Object) -> Option<StoredHead> {
    StoredHead::from_kept(object.head().bytes.clone())
}

impl Engine {
    /// The engine over this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store, for purges and metrics.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Begins a request's way. Takes out of it what strangers may not say on a request that may be stored.
    pub fn visit(&self, request: &mut Request, place: &Place<'_>) -> Visited {
        self.visit_within(request, place, &[])
    }

    /// As [`Engine::visit`], for an answer that depends on `scope` too: on which server is asked, say, or on
    /// the settings it is stored under. Purges by URL, host, tag and zone reach every scope.
    pub fn visit_within(&self, request: &mut Request, place: &Place<'_>, scope: &[u8]) -> Visited {
        let asked = match ask(request, place.settings) {
            Eligibility::Eligible(asked) => asked,
            Eligibility::Bypass(bypass) => return Visited::Bypass(bypass),
        };
        strip_unkeyed(&mut request.fields, place.settings, place.is_peer_trusted);
        let key = Key::of(request, place.zone, &place.settings.key, &place.facts);
        let key = if scope.is_empty() { key } else { key.and_then(|key| key.scoped(scope)) };
        let Some(key) = key else { return Visited::Bypass(Bypass::KeyTooLong) };
        Visited::Visit(Box::new(Visit {
            store: self.store.clone(),
            settings: Arc::clone(place.settings),
            snapshot: place.snapshot,
            asked,
            key,
            beyond: None,
            has_waited: false,
            has_joined: false,
            looks: 0,
        }))
    }

    /// Makes unusable what an unsafe request's answer says has changed (RFC 9111 §4.4), under each of the
    /// zone's spellings. For every request that bypassed by its method, with the answer that the visitor
    /// gets. Gives what tells each of them to other processes of the node ([`Store::invalidate_told`]).
    pub fn invalidate(
        &self,
        request: &Request,
        answer: &Response,
        zone: u128,
        spellings: &[Spelling],
    ) -> Vec<u64> {
        let targets = invalidated(request, answer);
        let host = request.host().to_ascii_lowercase();
        let spelt = |target: &Vec<u8>| spellings.iter().map(|spelling| spelling.target(target)).collect();
        let gone: BTreeSet<Vec<u8>> = targets.iter().flat_map(|target| -> Vec<_> { spelt(target) }).collect();
        gone.iter().map(|target| self.store.invalidate(zone, &host, target)).collect()
    }

    /// Makes one URL unusable, or stale, under each of a zone's spellings; `number` and `done` as of
    /// [`Store::purge`], `done` told once, of all of them.
    pub fn purge_url(
        &self,
        (zone, host, target): (u128, &[u8], &[u8]),
        spellings: &[Spelling],
        (strength, number): (Strength, u64),
        done: impl FnOnce(Recorded) + Send + 'static,
    ) {
        let gone: BTreeSet<Vec<u8>> = spellings.iter().map(|spelling| spelling.target(target)).collect();
        let mut rest = gone.iter();
        let last = rest.next_back().map_or(target, |last| &**last);
        let is_kept = Arc::new(AtomicBool::new(true));
        for target in rest {
            let is_kept = Arc::clone(&is_kept);
            // Without the number: the disk takes them in order, and has it once it has the last of them.
            self.store.purge(&Purge::Url { zone, host, target }, strength, 0, move |recorded| {
                is_kept.fetch_and(recorded != Recorded::NotRecorded, Relaxed);
            });
        }
        self.store.purge(&Purge::Url { zone, host, target: last }, strength, number, move |recorded| {
            done(if is_kept.load(Relaxed) { recorded } else { Recorded::NotRecorded });
        });
    }
}

impl Visit {
    /// What the request asks for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The key, without the variant.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Looks up what is stored. `request` is as [`Engine::visit`] left it. To be called first, and again
    /// when told.
    pub fn look(&mut self, request: &Request, now: Now) -> Step {
        self.looks += 1;
        if self.looks > LOOKS_MAX {
            return self.go_alone(request, None, Forward::UriMiss);
        }
        let located = match self.store.lookup(&key_ref(&self.key), now.mono_ms) {
            store::Lookup::Hit(object) => self.locate(request, object, now),
            store::Lookup::Lease(lease) => Located::Missing(lease, Forward::UriMiss),
            store::Lookup::Wait(ticket) => Located::Wait(ticket),
            store::Lookup::Pass => Located::Pass(Forward::UriMiss),
            store::Lookup::Bypass(why) => Located::Bypass(bypass_of(why)),
        };
        self.step(request, located, now)
    }

    /// From what lies under the key itself to what lies under the variant.
    fn locate(&self, request: &Request, object: Arc<Object>, now: Now) -> Located {
        if !meta_of(&object).traits.has(Traits::INDEX) {
            return Located::Stored(object);
        }
        let index = VaryIndex::from_kept(&object.head().bytes);
        let mut first = None;
        for rule in index.rules() {
            let Some(variant) = rule.variant(&request.fields) else {
                return Located::Bypass(Bypass::VariantTooLong);
            };
            let key = self.key.with_variant(&variant);
            let located = match self.store.lookup(&key_ref(&key), now.mono_ms) {
                store::Lookup::Hit(object) => return Located::Stored(object),
                store::Lookup::Lease(lease) => Located::Missing(lease, Forward::VaryMiss),
                store::Lookup::Wait(ticket) => Located::Wait(ticket),
                store::Lookup::Pass => Located::Pass(Forward::VaryMiss),
                store::Lookup::Bypass(why) => Located::Bypass(bypass_of(why)),
            };
            // The latest rule's is the one an answer will most likely be stored under.
            first.get_or_insert(located);
        }
        first.unwrap_or(Located::Pass(Forward::VaryMiss))
    }

    fn step(&mut self, request: &Request, located: Located, now: Now) -> Step {
        let found = match &located {
            Located::Stored(object) => return self.consider(request, Arc::clone(object), now),
            Located::Missing(_, Forward::VaryMiss) | Located::Pass(Forward::VaryMiss) => Found::OtherVariants,
            Located::Missing(..) | Located::Pass(_) | Located::Wait(_) | Located::Bypass(_) => Found::Nothing,
        };
        let decided = lookup(&self.asked, found, &self.settings, now.unix_ms);
        if decided == crate::policy::Lookup::OnlyIfCached && !matches!(located, Located::Wait(_)) {
            return Step::OnlyIfCached;
        }
        match located {
            Located::Missing(lease, forward) => self.lead(request, lease, None, forward),
            Located::Wait(ticket) => self.wait(ticket),
            Located::Pass(forward) => self.go_alone(request, None, forward),
            Located::Bypass(bypass) => Step::Bypass(bypass),
            Located::Stored(object) => self.consider(request, object, now),
        }
    }

    /// Something is stored: may it be used, and if not, who asks the origin.
    fn consider(&mut self, request: &Request, object: Arc<Object>, now: Now) -> Step {
        let mut object = object;
        loop {
            let meta = meta_of(&object);
            let found = Found::Stored { meta: &meta, is_purged_softly: object.is_purged_softly() };
            let decided = lookup(&self.asked, found, &self.settings, now.unix_ms);
            let forward = match decided {
                crate::policy::Lookup::Fresh | crate::policy::Lookup::StaleOnError => {
                    return match self.hit(&object, &meta, now) {
                        Some(serving) => Step::Serve(serving),
                        None => self.go_alone(request, None, Forward::UriMiss),
                    };
                }
                crate::policy::Lookup::Stale => return self.serve_stale(request, &object, &meta, now),
                crate::policy::Lookup::OnlyIfCached => return Step::OnlyIfCached,
                crate::policy::Lookup::Revalidate(forward) | crate::policy::Lookup::Miss(forward) => forward,
            };
            self.looks += 1;
            let may_share = decided.may_collapse(Some(&meta)) && !self.has_waited && self.may_serve_others();
            if self.looks > LOOKS_MAX || !may_share {
                return self.go_alone(request, Some(object), forward);
            }
            match self.store.lookup_beyond(&object, now.mono_ms) {
                store::Lookup::Lease(lease) => {
                    return self.lead(request, lease, Some(object), forward);
                }
                store::Lookup::Wait(ticket) => {
                    self.beyond = Some(object);
                    return self.wait(ticket);
                }
                store::Lookup::Hit(newer) => object = newer,
                store::Lookup::Pass | store::Lookup::Bypass(_) => {
                    return self.go_alone(request, Some(object), forward);
                }
            }
        }
    }

    /// In line for what another fetches, or for the disk.
    fn wait(&mut self, ticket: Ticket) -> Step {
        self.has_joined |= ticket.deadline_ms().is_none();
        Step::Wait(ticket)
    }

    /// Stale while it is revalidated (RFC 5861 §3): the visitor has it at once; one of many fetches.
    fn serve_stale(&mut self, request: &Request, object: &Arc<Object>, meta: &Metadata, now: Now) -> Step {
        let Some(serving) = self.hit(object, meta, now) else {
            return self.go_alone(request, None, Forward::UriMiss);
        };
        if !self.may_serve_others() || meta.is_troubled(now.unix_ms) {
            return Step::Serve(serving);
        }
        match self.store.lookup_beyond(object, now.mono_ms) {
            store::Lookup::Lease(lease) => {
                let fetch = self.new_fetch(request, Some(lease), Some(Arc::clone(object)), Forward::Stale);
                Step::ServeAndRevalidate(serving, fetch)
            }
            _ => Step::Serve(serving),
        }
    }

    /// What came of waiting. `request` is as [`Engine::visit`] left it.
    pub fn waited(&mut self, request: &Request, waited: Waited, now: Now) -> Step {
        let beyond = self.beyond.take();
        match waited {
            Waited::Hit(object) => self.given(request, object, beyond.is_some(), now),
            Waited::Lease(lease) if self.is_overtaken(request, &lease, beyond.as_ref()) => {
                drop(lease);
                self.look(request, now)
            }
            Waited::Lease(lease) => {
                let forward = match &beyond {
                    Some(_) => Forward::Stale,
                    None if lease.key() == key_ref(&self.key) => Forward::UriMiss,
                    None => Forward::VaryMiss,
                };
                self.lead(request, lease, beyond, forward)
            }
            Waited::Pass => self.go_alone(request, beyond, Forward::UriMiss),
            Waited::Again => self.look(request, now),
        }
    }

    /// What it waited for is there.
    fn given(&mut self, request: &Request, object: Arc<Object>, was_beyond: bool, now: Now) -> Step {
        let forward = match (was_beyond, object.key() == key_ref(&self.key)) {
            (true, _) => Forward::Stale,
            (false, true) => Forward::UriMiss,
            (false, false) => Forward::VaryMiss,
        };
        let object = match self.locate(request, object, now) {
            Located::Stored(object) => object,
            located => {
                self.looks += 1;
                if self.looks > LOOKS_MAX {
                    return self.go_alone(request, None, Forward::VaryMiss);
                }
                return self.step(request, located, now);
            }
        };
        self.has_waited = true;
        let is_of_a_fetch = self.has_joined && !object.is_from_disk();
        match self.consider(request, object, now) {
            // It went forward together with another (RFC 9211 §2.6): that is no hit.
            Step::Serve(mut serving) if is_of_a_fetch => {
                let status = &mut serving.status;
                (status.is_hit, status.forward) = (false, Some(forward.as_str()));
                status.is_collapsed = Some(true);
                Step::Serve(serving)
            }
            other => other,
        }
    }

    /// For a request that has waited as long as it may: the fetch to make by itself, if it is its turn;
    /// otherwise it goes on waiting and asks again later. One for each key in
    /// [`Settings::alone_interval_ms`].
    pub fn impatient(&mut self, request: &Request, ticket: &Ticket, now: Now) -> Option<Step> {
        if !ticket.may_go_alone(now.mono_ms, u64::from(self.settings.alone_interval_ms)) {
            return None;
        }
        let beyond = self.beyond.take();
        let forward = if beyond.is_some() { Forward::Stale } else { Forward::UriMiss };
        let mut step = self.go_alone(request, beyond, forward);
        if let Step::Fetch(fetch) = &mut step {
            // What it brings may serve all who still wait, which a 304 to this visitor cannot.
            fetch.has_own_conditions = false;
        }
        Some(step)
    }

    /// Whether memory has something for this request that was not there, or not under the key it waited for,
    /// when it began to wait: the answer turned out to have no variants, say.
    fn is_overtaken(&self, request: &Request, lease: &Lease, beyond: Option<&Arc<Object>>) -> bool {
        let is_new = |object: &Arc<Object>| beyond.is_none_or(|beyond| !Arc::ptr_eq(beyond, object));
        let Some(object) = self.store.peek(&key_ref(&self.key)) else { return false };
        if !meta_of(&object).traits.has(Traits::INDEX) {
            return is_new(&object);
        }
        let index = VaryIndex::from_kept(&object.head().bytes);
        let mut variants = index.rules().iter().filter_map(|rule| rule.variant(&request.fields));
        lease.key() == key_ref(&self.key)
            || variants.any(|variant| {
                let key = self.key.with_variant(&variant);
                self.store.peek(&key_ref(&key)).is_some_and(|object| is_new(&object))
            })
    }

    /// Whether what this request brings may serve those who wait: an answer to HEAD, or one that may not be
    /// stored, serves nobody else.
    fn may_serve_others(&self) -> bool {
        !self.asked.is_head && self.asked.may_store
    }

    /// To the origin for all who wait; alone, with the lease left to the next of them, if the answer would
    /// not be theirs. Whether one to an authorised request is, nobody knows before it is there (RFC 9111
    /// §3.5): the first tries, and after one that was not, those who are authorised go side by side.
    fn lead(&self, request: &Request, lease: Lease, stored: Option<Arc<Object>>, forward: Forward) -> Step {
        let is_alone = !self.may_serve_others() || self.asked.has_authorization && lease.was_personal();
        self.fetch(request, Some(lease).filter(|_| !is_alone), stored, forward)
    }

    /// To the origin without a lease: nobody waits for it.
    fn go_alone(&self, request: &Request, stored: Option<Arc<Object>>, forward: Forward) -> Step {
        self.fetch(request, None, stored, forward)
    }

    fn fetch(
        &self,
        request: &Request,
        lease: Option<Lease>,
        stored: Option<Arc<Object>>,
        forward: Forward,
    ) -> Step {
        if self.asked.control.only_if_cached {
            return Step::OnlyIfCached;
        }
        Step::Fetch(self.new_fetch(request, lease, stored, forward))
    }

    fn new_fetch(
        &self,
        request: &Request,
        lease: Option<Lease>,
        stored: Option<Arc<Object>>,
        forward: Forward,
    ) -> Box<Fetch> {
        // First: a purge from here on is against what the fetch brings, one before it against what was found,
        // which a 304 must not bring back.
        let epoch = self.store.purges().epoch();
        let stored = stored.filter(|object| self.store.is_usable(object));
        let head = stored.as_deref().and_then(head_of);
        let has_own_conditions = lease.is_none() && stored.is_none();
        let (slice, has_own_range) = self.slice_of(lease.is_some(), stored.as_deref());
        Box::new(Fetch {
            is_led: lease.is_some(),
            lease,
            slice,
            has_own_range,
            has_own_conditions,
            stored: stored.zip(head),
            forward,
            // Variants are of what the visitor sent; the request itself is made the origin's meanwhile.
            fields: request.fields.clone(),
            path: request.path().to_vec(),
            was_asked: false,
            has_waited: self.has_joined,
            epoch,
        })
    }

    /// Whether a fetch asks for a slice, or for the visitor's own range: with a lease for the slice that a
    /// range begins in, since others may want its bytes; without, for what this visitor wants, which is not
    /// stored.
    fn slice_of(&self, has_lease: bool, stored: Option<&Object>) -> (Option<(u64, ByteRange)>, bool) {
        let Some(slice_bytes) = self.settings.slice_bytes.filter(|_| !self.asked.is_head) else {
            return (None, false);
        };
        let is_sliced = stored.is_some_and(|object| meta_of(object).traits.has(Traits::SLICED));
        match &self.asked.ranges {
            Some(ranges) if has_lease => (first_request(ranges, slice_bytes), false),
            Some(_) => (None, true),
            // The first slice tells whether the version is still the same, and is of use if it is not.
            None if has_lease && is_sliced => {
                (first_request(&[AskedRange::From(0, None)], slice_bytes), false)
            }
            None => (None, false),
        }
    }

    /// An answer out of a stored object. None if its head cannot be read: then it is as good as not stored.
    fn hit(&self, object: &Arc<Object>, meta: &Metadata, now: Now) -> Option<Box<Serving>> {
        let Some(head) = head_of(object) else {
            self.store.remove(object);
            return None;
        };
        let mut serving = self.serving(object, &head, meta, now);
        let Serving { slices, sending, status, .. } = &mut *serving;
        status.ttl_s = ttl_s(object, meta, now);
        // Slices that are not there are asked for: that is no hit either (RFC 9211 §2.1).
        status.is_hit = slices.as_ref().is_none_or(|slices| slices.has_all(sending));
        if !status.is_hit {
            (status.forward, status.forward_status) = (Some(Forward::Partial.as_str()), Some(206));
        }
        Some(serving)
    }

    fn serving(&self, object: &Arc<Object>, head: &StoredHead, meta: &Metadata, now: Now) -> Box<Serving> {
        let mut answer = Response::default();
        let sending = crate::policy::answer_from(
            &self.asked,
            head,
            meta,
            &self.settings,
            now.unix_ms,
            now.seed,
            &mut answer,
        );
        let ttl_s = Some(meta.ttl_s(now.unix_ms));
        let status = crate::policy::CacheStatus { ttl_s, ..crate::policy::CacheStatus::default() };
        let slices = Slices::of(self, object, head, meta, now);
        Box::new(Serving { answer, sending, object: Arc::clone(object), slices, status })
    }

    /// As [`Visit::serving`], of what this visitor's own fetch brought.
    fn serving_fetched(&self, object: &Arc<Object>, fetched: &ToStore, now: Now) -> Box<Serving> {
        let mut serving = self.serving(object, &fetched.head, &fetched.meta, now);
        give_unkept(fetched, now.unix_ms, &mut serving.answer);
        serving
    }
}

/// Seconds of freshness left; none for what a soft purge made stale before its time.
fn ttl_s(object: &Object, meta: &Metadata, now: Now) -> Option<i64> {
    let ttl_s = meta.ttl_s(now.unix_ms);
    Some(if object.is_purged_softly() { ttl_s.min(0) } else { ttl_s })
}

/// A head for storage.
fn store_head(bytes: Bytes, meta: &Metadata, snapshot: u64) -> store::Head {
    store::Head { bytes, numbers: meta.to_numbers(), snapshot }
}

fn bypass_of(why: store::Bypass) -> Bypass {
    match why {
        store::Bypass::KeyTooLong => Bypass::KeyTooLong,
        store::Bypass::Fetches | store::Bypass::Waiters => Bypass::Busy,
    }
}
