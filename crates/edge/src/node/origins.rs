//! What the node tells of its origins: events of what changed in their health, and how many fare how.
//!
//! Health itself is crate `origin`'s. Called by the thread that keeps the node's time, and by
//! [`Node::status`] and [`Node::metrics`].

use std::collections::{HashMap, HashSet};

use origin::health::Change;
use telemetry::events::Value;
use telemetry::metrics::{Origins, Outcome};
use zone::Id;

use super::Node;

impl Node {
    /// Writes events of what changed in the origins' health since the last call, and counts their checks.
    pub(crate) fn tell_origin_events(&self) {
        let (well, unwell) = self.fleet.take_checks();
        (0..well).for_each(|_| self.registry.health_checked(Outcome::Ok));
        (0..unwell).for_each(|_| self.registry.health_checked(Outcome::Failed));
        let told = self.fleet.take_events();
        if told.is_empty() {
            return;
        }
        let zones = self.zones_of_pools(told.iter().map(|event| event.pool_id).collect());
        for event in told {
            let name = match event.change {
                Change::Recovered => "origin_recovered",
                Change::Failed => "origin_failed",
                Change::Ejected => "origin_ejected",
                Change::Opened => "origin_circuit_opened",
                Change::Closed => "origin_circuit_closed",
                Change::Limited => "origin_limited",
                Change::Unlimited => "origin_unlimited",
            };
            // Not a warning: that an origin comes and goes is the owner's everyday, and what a visitor saw of
            // it stands in the access log.
            let mut fields: Vec<(&'static str, Value<'_>)> = Vec::with_capacity(4);
            fields.extend(zones.get(&event.pool_id).map(|zone| ("zone", zone.as_str().into())));
            fields.push(("pool", event.pool.as_str().into()));
            fields.push(("origin", event.url.as_str().into()));
            fields.extend(event.cause.as_deref().map(|cause| ("cause", cause.into())));
            self.setup.events.info(name, &fields);
        }
    }

    /// The names of the zones that these pools belong to. Pools that rules make are in none.
    fn zones_of_pools(&self, pools: HashSet<Id>) -> HashMap<Id, String> {
        let live = self.live();
        let all =
            live.snapshot.zones().iter().flat_map(|zone| zone.pools.iter().map(move |pool| (zone, pool)));
        all.filter(|(_, pool)| pools.contains(&pool.id))
            .map(|(zone, pool)| (pool.id, zone.name.clone()))
            .collect()
    }

    pub(super) fn origins_standing(&self) -> Origins {
        let mut sums = Origins::default();
        for pool in self.fleet.pool_states(self.clock().now_ms()) {
            sums.in_line += pool.in_line as u64;
            sums.open += pool.origins.iter().filter(|origin| origin.is_open).count() as u64;
            sums.unhealthy += pool.origins.iter().filter(|origin| !origin.is_up).count() as u64;
            sums.ejected += pool.origins.iter().filter(|origin| origin.is_ejected).count() as u64;
            sums.limited += pool.origins.iter().filter(|origin| origin.waiting_max.is_some()).count() as u64;
        }
        sums
    }
}
