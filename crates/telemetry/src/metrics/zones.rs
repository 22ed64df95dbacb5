//! Counters per zone, on a page of their own: zones come from tenants, so their number has a cap.
//!
//! Keyed by the zone's id, which survives reloads; shown under its name. Does not know what a zone is.
//! Called by the edge (counting; [`ZoneTable::retain`] after a reload) and by the binary (the page).
//! Read next: [`ZoneTable`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::families::{self, Family};
use super::render::Page;

#[cfg(test)]
mod tests;

/// Most zones counted one by one: twice the 10,000 a node is built for, some 5 MiB. Zones beyond it are
/// counted together under [`OTHER_ZONES`].
pub const ZONES_MAX: usize = 20_000;

/// Name under which zones beyond [`ZONES_MAX`] are counted together; no hostname looks like it.
pub const OTHER_ZONES: &str = "(other)";

/// Copies of each zone's counters, so that threads that serve the same busy zone rarely meet on a cache line.
/// Four hold the cost of an addition near that of an uncontended one up to some 16 threads, at 256 bytes a
/// zone.
const STRIPES: usize = 4;

/// Counters of one zone. Threads share them; the edge keeps the reference with its compiled zone.
#[derive(Debug, Default)]
pub struct ZoneCounters {
    stripes: [Stripe; STRIPES],
}

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    requests: AtomicU64,
    visitor_errors: AtomicU64,
    server_errors: AtomicU64,
    shed: AtomicU64,
    connections_shed: AtomicU64,
    not_inspected: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl ZoneCounters {
    /// Counts a finished request. `thread` is the serving thread's number and only spreads the load; `status`
    /// is `None` when the visitor left before a head was sent; bytes are those of the bodies.
    pub fn request(&self, thread: usize, status: Option<u16>, bytes_in: u64, bytes_out: u64) {
        let stripe = &self.stripes[thread % STRIPES];
        stripe.requests.fetch_add(1, Relaxed);
        match status {
            Some(400..500) => drop(stripe.visitor_errors.fetch_add(1, Relaxed)),
            Some(500..) => drop(stripe.server_errors.fetch_add(1, Relaxed)),
            _ => {}
        }
        if bytes_in > 0 {
            stripe.bytes_in.fetch_add(bytes_in, Relaxed);
        }
        stripe.bytes_out.fetch_add(bytes_out, Relaxed);
    }

    /// Counts a request that was shed; `thread` as above.
    pub fn shed(&self, thread: usize) {
        self.stripes[thread % STRIPES].shed.fetch_add(1, Relaxed);
    }

    /// Counts a body that was not inspected because too many were, or because that took too long; `thread` as
    /// above.
    pub fn not_inspected(&self, thread: usize) {
        self.stripes[thread % STRIPES].not_inspected.fetch_add(1, Relaxed);
    }

    /// Counts idle connections of the zone's visitors that were closed to make room; `thread` as above.
    pub fn connections_shed(&self, thread: usize, count: usize) {
        self.stripes[thread % STRIPES].connections_shed.fetch_add(count as u64, Relaxed);
    }

    fn sum(&self, counter: fn(&Stripe) -> &AtomicU64) -> u64 {
        self.stripes.iter().fold(0, |sum, stripe| sum.wrapping_add(counter(stripe).load(Relaxed)))
    }
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    counters: Arc<ZoneCounters>,
}

/// All zones' counters by id. The lock is taken when a snapshot is compiled and when the page is asked for,
/// never for a request.
#[derive(Debug, Default)]
pub struct ZoneTable {
    zones: Mutex<HashMap<Box<str>, Entry>>,
    other: Arc<ZoneCounters>,
}

impl ZoneTable {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the counters of a zone, the same ones for the same id; a new name replaces the one shown. When
    /// the table is full, a new zone gets the counters shared under [`OTHER_ZONES`].
    pub fn zone(&self, id: &str, name: &str) -> Arc<ZoneCounters> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = zones.get_mut(id) {
            if *entry.name != *name {
                entry.name = name.into();
            }
            return Arc::clone(&entry.counters);
        }
        if zones.len() >= ZONES_MAX {
            return Arc::clone(&self.other);
        }
        let counters = Arc::<ZoneCounters>::default();
        zones.insert(id.into(), Entry { name: name.into(), counters: Arc::clone(&counters) });
        counters
    }

    /// Forgets the zones whose id does not pass, to be called with the ids of a snapshot just published.
    pub fn retain(&self, is_served: impl Fn(&str) -> bool) {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| is_served(id));
    }

    /// Gives the page in the Prometheus text format, zones by name, and the ages of files.
    pub fn render(&self, feeds: &[FeedAge]) -> String {
        let mut rows: Vec<(Box<str>, Arc<ZoneCounters>)> = {
            let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
            zones.values().map(|entry| (entry.name.clone(), Arc::clone(&entry.counters))).collect()
        };
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        rows.push((OTHER_ZONES.into(), Arc::clone(&self.other)));
        let mut page = Page::default();
        for (family, counter) in COLUMNS {
            page.family(family);
            for (name, counters) in &rows {
                page.sample(family.name, &[("zone", name)], counters.sum(*counter));
            }
        }
        type Figure = fn(&FeedAge) -> u64;
        let of_feeds: [(&Family, Figure); 2] =
            [(&families::FEED_AGE, |feed| feed.age_s), (&families::FEED_HORIZON, |feed| feed.horizon_s)];
        for (family, figure) in of_feeds {
            page.family(family);
            for feed in feeds {
                let labels = [("zone", feed.zone.as_str()), ("list", feed.list.as_str())];
                page.sample(family.name, &labels, figure(feed));
            }
        }
        page.into_text()
    }
}

/// How old a file is that somebody makes anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedAge {
    /// The zone's name; empty for a file of the node's.
    pub zone: String,
    /// The list's name.
    pub list: String,
    /// Seconds since it was made.
    pub age_s: u64,
    /// How old it may become, in seconds.
    pub horizon_s: u64,
}

type Column = (&'static Family, fn(&Stripe) -> &AtomicU64);

const COLUMNS: &[Column] = &[
    (&families::ZONE_REQUESTS, |stripe| &stripe.requests),
    (&families::ZONE_VISITOR_ERRORS, |stripe| &stripe.visitor_errors),
    (&families::ZONE_SERVER_ERRORS, |stripe| &stripe.server_errors),
    (&families::ZONE_SHED, |stripe| &stripe.shed),
    (&families::ZONE_CONNECTIONS_SHED, |stripe| &stripe.connections_shed),
    (&families::ZONE_NOT_INSPECTED, |stripe| &stripe.not_inspected),
    (&families::ZONE_BYTES_IN, |stripe| &stripe.bytes_in),
    (&families::ZONE_BYTES_OUT, |stripe| &stripe.bytes_out),
];
