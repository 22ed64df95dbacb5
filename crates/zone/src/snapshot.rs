//! The snapshot: all compiled zones of one publish, found by host.
//!
//! Immutable and numbered; the edge swaps one pointer, so a request sees either all of the old or all of the
//! new. Built by [`mod@crate::compile`]. It knows neither the previous snapshot nor any state of traffic.

use std::sync::Arc;

use crate::feed::Feed;
use crate::geo::Geo;
use crate::hosts::HostIndex;
use crate::id::Id;
use crate::problem::Problem;
use crate::zone::{HttpSettings, Zone};

/// All compiled zones.
#[derive(Debug)]
pub struct Snapshot {
    /// Its place in order, given by whoever publishes.
    pub number: u64,
    /// The hash of the bundle it was compiled from.
    pub hash: [u8; 32],
    /// What holds for a visitor whose zone is not known yet: `[http]` of `[zone_defaults]`.
    pub http: HttpSettings,
    /// What is known of addresses: `[geo]` of the node file.
    pub geo: Option<Arc<Geo>>,
    /// What the person should know although it could be compiled; all warnings.
    pub warnings: Vec<Problem>,
    zones: Vec<Arc<Zone>>,
    hosts: HostIndex,
}

impl Snapshot {
    pub(crate) fn new(
        number: u64,
        hash: [u8; 32],
        (http, geo): (HttpSettings, Option<Arc<Geo>>),
        zones: Vec<Arc<Zone>>,
        hosts: HostIndex,
        warnings: Vec<Problem>,
    ) -> Self {
        Self { number, hash, http, geo, warnings, zones, hosts }
    }

    /// As [`Snapshot::zone_for`], but gives the zone's place in [`Snapshot::zones`], for callers that keep
    /// something beside each zone.
    #[must_use]
    pub fn index_for(&self, host: &[u8]) -> Option<usize> {
        self.hosts.find(host).map(|index| index as usize)
    }

    /// Finds the zone of a host: exact, then the longest wildcard, then the catch-all.
    ///
    /// The host comes without port, in any case, with or without a trailing dot; IPv6 in brackets. `*.a.b`
    /// takes names below `a.b` at any depth, but not `a.b`. An empty host (no `Host`, no SNI) finds the
    /// catch-all only. One to a few hash lookups, no allocation.
    #[must_use]
    pub fn zone_for(&self, host: &[u8]) -> Option<&Arc<Zone>> {
        self.hosts.find(host).and_then(|index| self.zones.get(index as usize))
    }

    /// All zones, in the order of their files' names.
    #[must_use]
    pub fn zones(&self) -> &[Arc<Zone>] {
        &self.zones
    }

    /// Every file that has a horizon, with the name of its zone; those of `[geo]` first, with none.
    pub fn feeds(&self) -> impl Iterator<Item = (&str, &Feed)> {
        let of_node = self.geo.iter().flat_map(|geo| &geo.feeds).map(|feed| ("", feed));
        let of_zone = |zone| {
            let zone: &Zone = zone;
            zone.feeds.iter().map(|feed| (zone.name.as_str(), feed))
        };
        of_node.chain(self.zones.iter().map(Arc::as_ref).flat_map(of_zone))
    }

    /// Finds a zone by id. Walks over all zones: for publishing and reports, not for requests.
    #[must_use]
    pub fn zone_by_id(&self, id: Id) -> Option<&Arc<Zone>> {
        self.zones.iter().find(|zone| zone.id == id)
    }

    /// Finds a zone by name. Walks over all zones: for publishing and reports, not for requests.
    #[must_use]
    pub fn zone_named(&self, name: &str) -> Option<&Arc<Zone>> {
        self.zones.iter().find(|zone| zone.name == name)
    }
}
