//! The splice's table: who is passed through to where, if no edge can start. Written at each publish, and now
//! and then, since addresses change.
//!
//! The table holds addresses, because the splice resolves no names. They are resolved here, on a thread of
//! its own that may take its time. Called by [`super::publisher`].

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use splice::limits::{ENTRIES_MAX, ORIGINS_MAX};
use splice::{Entry, Proxy, Table};
use telemetry::events::Events;
use zone::{OriginScheme, Pool, ProxyVersion, Snapshot, Zone};

/// How often the table is written anew without a publish: origins that move keep their old address as long.
pub(super) const EVERY: Duration = Duration::from_secs(300);

/// Writes tables, the newest wish last.
#[derive(Debug)]
pub(super) struct SpliceTable {
    path: PathBuf,
    events: Events,
    wishes: Arc<AtomicU64>,
}

/// One zone that agreed, before its origins are resolved.
struct Wanted {
    hostnames: Vec<String>,
    origins: Vec<(String, u16)>,
    proxy: Proxy,
}

impl SpliceTable {
    pub(super) fn new(path: PathBuf, events: Events) -> Self {
        Self { path, events, wishes: Arc::default() }
    }

    /// Writes the table of a snapshot, in its own time. A later call overtakes this one.
    pub(super) fn write(&self, snapshot: &Snapshot) {
        let wanted: Vec<Wanted> = snapshot.zones().iter().filter_map(|zone| wanted(zone)).collect();
        let (path, events) = (self.path.clone(), self.events.clone());
        let wish = self.wishes.fetch_add(1, Ordering::AcqRel) + 1;
        let wishes = Arc::clone(&self.wishes);
        let write = move || {
            let entries = entries(&wanted);
            if wishes.load(Ordering::Acquire) != wish {
                return;
            }
            if let Err(error) = Table::write(&path, &entries) {
                let cause = error.to_string();
                let remedy = "the table before stays: zones are passed through to where they were before";
                events.error(
                    "splice_table_not_written",
                    &[("cause", (&cause).into()), ("remedy", remedy.into())],
                );
            }
        };
        // Without a thread the table before stays, as when the disk is full.
        let _ = thread::Builder::new().name("splice-table".into()).spawn(write);
    }
}

fn wanted(zone: &Zone) -> Option<Wanted> {
    let pool = zone.pools.first().filter(|_| zone.pass_through)?;
    let origins = tls_origins(pool);
    let proxy = match pool.proxy_protocol {
        None => Proxy::None,
        Some(ProxyVersion::V1) => Proxy::V1,
        Some(ProxyVersion::V2) => Proxy::V2,
    };
    let hostnames = zone.hostnames.iter().map(ToString::to_string).collect();
    (!origins.is_empty()).then_some(Wanted { hostnames, origins, proxy })
}

/// Origins that speak TLS themselves, those in use first.
fn tls_origins(pool: &Pool) -> Vec<(String, u16)> {
    let mut origins: Vec<_> =
        pool.origins.iter().filter(|origin| origin.scheme == OriginScheme::Https).collect();
    origins.sort_by_key(|origin| (origin.is_draining, origin.is_backup));
    origins.into_iter().map(|origin| (origin.host.clone(), origin.port)).collect()
}

fn entries(wanted: &[Wanted]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for zone in wanted {
        let mut origins: Vec<SocketAddr> = Vec::new();
        for (host, port) in &zone.origins {
            // One that does not resolve is left out; the others are tried.
            let found = (host.as_str(), *port).to_socket_addrs().into_iter().flatten();
            origins.extend(found.filter(|address| !origins.contains(address)).collect::<Vec<_>>());
        }
        origins.truncate(ORIGINS_MAX);
        if origins.is_empty() {
            continue;
        }
        for hostname in zone.hostnames.iter().take(ENTRIES_MAX.saturating_sub(entries.len())) {
            let (hostname, origins) = (hostname.clone(), origins.clone());
            entries.push(Entry { hostname, origins, proxy: zone.proxy, answers_http: true });
        }
    }
    entries
}
