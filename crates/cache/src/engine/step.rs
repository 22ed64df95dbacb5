//! What a visit comes to, step by step: the words between engine and edge.

use std::sync::Arc;

use exchange::{Fields, Response};

use super::Visit;
use super::sliced::Slices;
use crate::policy::{
    Bypass, ByteRange, CacheStatus, Forward, NotStored, Sending, StoredHead, prepare, prepare_first,
};
use crate::store::{Fill, KeyRef, Lease, Object, Ticket};

/// The present, as the edge reads it, and a number nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, of a time that does not step: what is stored ages by it.
    pub unix_ms: u64,
    /// Milliseconds of the node's monotonic clock.
    pub mono_ms: u64,
    /// Random: names bodies and boundaries.
    pub seed: u128,
}

/// How a request's way begins.
#[derive(Debug)]
pub enum Visited {
    /// It may be answered from here.
    Visit(Box<Visit>),
    /// It goes past the cache.
    Bypass(Bypass),
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Answer out of the store.
    Serve(Box<Serving>),
    /// Answer out of the store, and make this fetch in the background: its outcome is for the store alone.
    ServeAndRevalidate(Box<Serving>, Box<Fetch>),
    /// Wait for another's fetch or for the disk, then [`Visit::waited`]; past the zone's patience,
    /// [`Visit::impatient`].
    Wait(Ticket),
    /// Ask the origin ([`Fetch::prepare`]), then [`Visit::answered`] or [`Visit::failed`].
    Fetch(Box<Fetch>),
    /// 504: nothing that may be used is stored, and the request wants nothing else.
    OnlyIfCached,
    /// Past the cache after all.
    Bypass(Bypass),
}

/// An answer out of the store.
#[derive(Debug)]
pub struct Serving {
    /// The head to send, `Cache-Status` not yet in it.
    pub answer: Response,
    /// Which bytes of the object's body follow.
    pub sending: Sending,
    /// Whose body it is. It may still fill.
    pub object: Arc<Object>,
    /// Where the body lies in slices: the bytes come from these and not from the object.
    pub slices: Option<Box<Slices>>,
    /// What to say of it.
    pub status: CacheStatus<'static>,
}

/// A request to the origin. Dropped, its lease goes to the next who waits.
#[derive(Debug)]
pub struct Fetch {
    pub(super) lease: Option<Lease>,
    pub(super) stored: Option<(Arc<Object>, StoredHead)>,
    pub(super) forward: Forward,
    pub(super) fields: Fields,
    pub(super) path: Vec<u8>,
    pub(super) was_asked: bool,
    /// Its visitor stood in line for another's fetch before.
    pub(super) has_waited: bool,
    /// It was begun with a lease.
    pub(super) is_led: bool,
    /// The slice that is asked for in place of the visitor's range, its number first.
    pub(super) slice: Option<(u64, ByteRange)>,
    /// The visitor's own range is asked for, and its answer passed.
    pub(super) has_own_range: bool,
    /// The visitor's own conditions are asked with, since nothing is stored and nobody waits; a 304 passes.
    pub(super) has_own_conditions: bool,
    /// Epoch of purges when it began: for one without a lease, which knows its own.
    pub(super) epoch: u64,
}

impl Fetch {
    /// Makes a request's fields those that the origin is asked with. To be done before the edge adds its own.
    pub fn prepare(&mut self, fields: &mut Fields) {
        let validators = self.stored.as_ref().map(|(_, head)| head.validators());
        let validators = validators.filter(|found| found.is_any());
        self.was_asked = validators.is_some();
        prepare(fields, validators.as_ref());
        if let Some((_, range)) = self.slice {
            prepare_first(range, fields);
        }
        let is_own = |name: &[u8]| {
            let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
            self.has_own_range && (is(b"range") || is(b"if-range"))
                || self.has_own_conditions && (is(b"if-none-match") || is(b"if-modified-since"))
        };
        for field in self.fields.iter().filter(|field| is_own(field.name)) {
            fields.push(field.name, field.value);
        }
    }

    /// What is said of it, whatever it comes to.
    pub(super) fn said(&self) -> CacheStatus<'static> {
        CacheStatus {
            forward: Some(self.forward.as_str()),
            is_collapsed: self.has_waited.then_some(false),
            ..CacheStatus::default()
        }
    }

    /// Whether others may wait for it.
    pub fn has_lease(&self) -> bool {
        self.lease.is_some()
    }

    /// How many others wait for it.
    pub fn waiting(&self) -> usize {
        self.lease.as_ref().map_or(0, Lease::waiting)
    }

    /// Why the origin is asked.
    pub fn forward(&self) -> Forward {
        self.forward
    }

    /// The key whose lease it holds, if it holds one.
    pub fn lease_key(&self) -> Option<KeyRef<'_>> {
        self.lease.as_ref().map(Lease::key)
    }

    /// The stale object in hand, for early hints.
    pub fn stored_head(&self) -> Option<&StoredHead> {
        self.stored.as_ref().map(|(_, head)| head)
    }
}

/// What came of a fetch.
#[derive(Debug)]
pub enum Outcome {
    /// Answer out of the store: the origin's own body, if any, is not needed.
    Serve(Box<Serving>),
    /// Push the origin's body into the fill; answer out of the object while it fills.
    Fill(Box<Filling>),
    /// Send the origin's answer to the visitor as it comes.
    Pass(Passing),
    /// Ask the origin once more: its answer was about nothing we have.
    Again(Box<Fetch>),
}

/// An answer on its way into the store and to the visitor.
#[derive(Debug)]
pub struct Filling {
    /// Takes the body: of the whole, or of the slice that was asked for.
    pub fill: Fill,
    /// The visitor's answer, out of the object that fills.
    pub serving: Serving,
}

/// An answer that passes.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    /// What to say of it.
    pub status: CacheStatus<'static>,
    /// Why it is not stored.
    pub reason: NotStored,
}
