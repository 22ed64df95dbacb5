//! The snapshot in force, with what this process keeps beside each zone.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use cache::compress::CodingSettings;
use exchange::Account;
use telemetry::metrics::zones::ZoneCounters;
use zone::{Snapshot, Zone};

use crate::cache::SiteCache;
use crate::contain::Ward;
use crate::flood_watch::Guarded;
use crate::limits::Counts;
use crate::tls::VisitorTls;

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
    /// The site that answers TLS handshakes without a server name: the first that has a certificate.
    pub without_name: Option<usize>,
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
            None => self.without_name.and_then(|index| self.sites.get(index)),
        }
    }
}
