//! The snapshot in force, with what this process keeps beside each zone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use cache::compress::CodingSettings;
use exchange::{Account, Holder};
use telemetry::events::Events;
use telemetry::metrics::zones::{ZoneCounters, ZoneTable};
use zone::{Id, Snapshot, Zone};

use crate::cache::SiteCache;
use crate::coding::coding_of;
use crate::contain::Ward;
use crate::flood_watch::Guarded;
use crate::limits::Counts;
use crate::tls::{TlsShared, VisitorTls};

/// One zone may hold this part of what the node may: no zone leaves the others nothing.
const ZONE_SHARE: u64 = 2;

/// One zone and what goes with it in this process.
pub struct Site {
    /// The compiled zone.
    pub zone: Arc<Zone>,
    /// TLS settings towards visitors; swapped alone when certificate files change. None without a
    /// certificate.
    pub(crate) tls: ArcSwapOption<VisitorTls>,
    /// The certificate, for QUIC, whose TLS settings are one for all zones.
    pub certificate: ArcSwapOption<rustls::sign::CertifiedKey>,
    /// The zone's counters.
    pub counters: Arc<ZoneCounters>,
    /// The zone as it was before its last change, if it ran here: for phases that break by what was
    /// published.
    pub(crate) stale: Option<Arc<Zone>>,
    /// Its share of a thread's time when there is too little, relative to the others.
    pub(crate) weight: u32,
    /// For whom its visitors' places are held, with the same weight.
    pub(crate) holder: Holder,
    /// What its visitors make the node hold.
    pub(crate) memory: Arc<Account>,
    /// What its limits have counted.
    pub(crate) counts: Counts,
    /// What the zone says of its cache; none if it is off.
    pub(crate) cache: Option<SiteCache>,
    /// What the zone says of content codings; none if it gives answers none.
    pub(crate) coding: Option<Arc<CodingSettings>>,
    /// The watch over its load; none if the zone wants none.
    pub(crate) flood: Option<Arc<Guarded>>,
    /// What broke for this zone of late.
    pub(crate) ward: Ward,
    #[cfg(feature = "fault-injection")]
    pub(crate) faults: crate::fault_points::SiteFaults,
    /// The account's id as text, for the log.
    pub account: Option<String>,
}

/// A snapshot and its sites, swapped as one.
pub struct Live {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// One site a zone, in the snapshot's order.
    pub sites: Vec<Arc<Site>>,
    /// The site that answers TLS handshakes without a server name, once one had a certificate.
    without_name: OnceLock<usize>,
}

impl Live {
    /// The site that serves a host (without port, any case).
    pub fn site_for(&self, host: &[u8]) -> Option<&Arc<Site>> {
        self.snapshot.index_for(host).and_then(|index| self.sites.get(index))
    }

    /// The site whose TLS settings a handshake for this server name is made under.
    pub fn site_for_handshake(&self, name: Option<&str>) -> Option<&Arc<Site>> {
        match name {
            Some(name) => self.site_for(name.as_bytes()),
            None => self.site_without_name(),
        }
    }

    /// The first site that has a certificate: looked for until there is one, as a zone may get the one that
    /// it lacked.
    fn site_without_name(&self) -> Option<&Arc<Site>> {
        let has_one = |site: &Arc<Site>| site.certificate.load().is_some();
        let index = match self.without_name.get() {
            Some(index) => *index,
            None => {
                let first = self.sites.iter().position(has_one)?;
                *self.without_name.get_or_init(|| first)
            }
        };
        self.sites.get(index)
    }
}

/// What of a node goes beside its zones.
pub(crate) struct Beside<'a> {
    pub(crate) tls: &'a TlsShared,
    pub(crate) zones: &'a ZoneTable,
    pub(crate) memory: &'a Account,
    pub(crate) events: &'a Events,
    pub(crate) overload: &'a zone::Overload,
    /// Serving threads, and the seed of the hashes of floods.
    pub(crate) threads: usize,
    pub(crate) seed: u64,
}

/// Zones are told apart by half of their id, which is a hash.
fn holder_of(zone: &Zone, overload: &zone::Overload) -> Holder {
    let key = u64::from_be_bytes(*zone.id.0.first_chunk().unwrap_or(&[0; 8]));
    Holder { key, weight: overload.weight_of(&zone.name) }
}

/// The zones that have a watch: as many of those that want one as the node has room for. Who has one keeps it
/// whatever zones come and go, since it knows what is usual and may be limiting at the moment; then those of
/// the first names. Beyond it a zone has what the node does for all of them.
fn watched(snapshot: &Snapshot, known: &HashMap<Id, &Arc<Site>>) -> HashSet<Id> {
    let has_one = |zone: &&Arc<Zone>| known.get(&zone.id).is_some_and(|site| site.flood.is_some());
    let wanting = || snapshot.zones().iter().filter(|zone| zone.flood.is_some());
    let others = wanting().filter(|zone| !has_one(zone));
    wanting().filter(has_one).chain(others).take(flood::limits::WATCHED_MAX).map(|zone| zone.id).collect()
}

/// Tells how many zones want a watch and have none, if it is another number than before.
fn tell_unwatched(sites: &[Arc<Site>], before: Option<&Live>, events: &Events) {
    let is_unwatched = |site: &&Arc<Site>| site.zone.flood.is_some() && site.flood.is_none();
    let count = |sites: &[Arc<Site>]| sites.iter().filter(is_unwatched).count() as u64;
    let (now, most) = (count(sites), flood::limits::WATCHED_MAX as u64);
    if now == before.map_or(0, |live| count(&live.sites)) {
        return;
    }
    let first = sites.iter().find(is_unwatched).map_or("", |site| &*site.zone.name);
    let fields = [("zones", now.into()), ("most_watched", most.into()), ("first", first.into())];
    events.info("floods_not_watched", &fields);
}

/// Puts sites beside the zones of a snapshot; sites of unchanged zones are shared with the one before, so
/// that certificates reloaded since then stay.
pub(crate) fn build(snapshot: Snapshot, before: Option<&Live>, beside: &Beside<'_>) -> Live {
    let Beside { tls, zones: zone_table, memory, events, overload, threads, seed } = beside;
    let known: HashMap<Id, &Arc<Site>> =
        before.map(|live| live.sites.iter().map(|site| (site.zone.id, site)).collect()).unwrap_or_default();
    let watched = watched(&snapshot, &known);
    let is_same = |site: &Site, zone: &Zone| {
        // One that gets a watch is made anew.
        site.zone.fingerprint == zone.fingerprint && site.flood.is_some() == watched.contains(&zone.id)
    };
    let site = |zone: &Arc<Zone>| match known.get(&zone.id) {
        Some(site) if is_same(site, zone) => Arc::clone(site),
        _ => {
            crate::fault_points::loading(zone);
            let unchanged = known.get(&zone.id).filter(|site| site.zone.fingerprint == zone.fingerprint);
            let config = || {
                tls.config_for(zone, zone.tls.certificate.as_ref()).unwrap_or_else(|error| {
                    let (zone, error) = (zone.name.as_str(), error.to_string());
                    events.error(
                        "tls_settings_refused",
                        &[("zone", zone.into()), ("error", error.as_str().into())],
                    );
                    None
                })
            };
            let (config, certificate) = match unchanged {
                Some(site) => (site.tls.load_full(), site.certificate.load_full()),
                None => (config(), zone.tls.certificate.clone()),
            };
            let stale = match unchanged {
                Some(site) => site.stale.clone(),
                None => known.get(&zone.id).map(|site| Arc::clone(&site.zone)),
            };
            Arc::new(Site {
                tls: ArcSwapOption::new(config),
                certificate: ArcSwapOption::new(certificate),
                counters: zone_table.zone(&zone.id.to_string(), &zone.name),
                account: zone.account.map(|account| account.to_string()),
                stale,
                counts: Counts::carry(
                    zone.rate_limits.as_deref(),
                    known.get(&zone.id).map(|site| &site.counts),
                ),
                ward: Ward::default(),
                weight: overload.weight_of(&zone.name),
                holder: holder_of(zone, overload),
                flood: zone.flood.filter(|_| watched.contains(&zone.id)).map(|settings| {
                    let before = known.get(&zone.id).and_then(|site| site.flood.as_ref());
                    Guarded::carry(settings, before, (zone.id, watched.len()), (*threads, *seed))
                }),
                cache: zone.cache.as_deref().map(|cache| SiteCache::of(cache, zone.waf.as_deref())),
                coding: zone.compression.as_deref().map(|compression| Arc::new(coding_of(compression))),
                // What is under way goes on being charged to it.
                memory: known
                    .get(&zone.id)
                    .map_or_else(|| Account::new(memory.max() / ZONE_SHARE), |site| Arc::clone(&site.memory)),
                #[cfg(feature = "fault-injection")]
                faults: crate::fault_points::SiteFaults::of(zone),
                zone: Arc::clone(zone),
            })
        }
    };
    let sites: Vec<Arc<Site>> = snapshot.zones().iter().map(site).collect();
    tell_unwatched(&sites, before, events);
    let served: HashSet<String> = snapshot.zones().iter().map(|zone| zone.id.to_string()).collect();
    zone_table.retain(|id| served.contains(id));
    Live { snapshot, sites, without_name: OnceLock::new() }
}

#[cfg(test)]
mod tests;
