//! The splice's table: who is passed through to where, if no edge can start. Written at each publish, and now
//! and then, since addresses change.
//!
//! The table holds addresses, because the splice resolves no names. They are resolved here, on one thread
//! that may take its time: what is to be written waits in a slot, where a newer wish takes the place of an
//! older one. A name that cannot be resolved keeps the addresses it had, since names fail together with much
//! else, and then the last resort is needed. Called by [`super::publisher`]. Read next: [`entries`].

mod entries;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use splice::{Proxy, Table};
use telemetry::events::Events;
use zone::{OriginScheme, Pool, ProxyVersion, Snapshot, Zone};

use crate::clock;
use entries::{LeftOut, Memory};

/// How often the table is written anew without a publish: origins that move keep their old address as long.
pub(super) const EVERY: Duration = Duration::from_secs(300);

/// Names told in one event; their number is told too.
const TOLD_MAX: usize = 20;

/// Writes tables, the newest wish last. When it is dropped nothing more is written: another edge does.
pub(super) struct SpliceTable {
    writer: Writer,
}

/// A host and a port.
type Origin = (String, u16);

/// One zone that agreed, before its origins are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    zone: String,
    hostnames: Vec<String>,
    origins: Vec<Origin>,
    proxy: Proxy,
}

/// What a look-up gave.
struct Asked {
    /// None when the name cannot be resolved.
    addresses: Vec<SocketAddr>,
    took: Duration,
}

/// Looks a name up.
type Ask = dyn Fn(&str, u16) -> Asked + Send + Sync;

#[derive(Clone)]
struct Writer {
    path: PathBuf,
    events: Events,
    ask: Arc<Ask>,
    slot: Arc<(Mutex<Slot>, Condvar)>,
}

#[derive(Debug, Default)]
struct Slot {
    newest: Option<Vec<Wanted>>,
    has_thread: bool,
    is_over: bool,
}

impl SpliceTable {
    pub(super) fn new(path: PathBuf, events: Events) -> Self {
        Self { writer: Writer { path, events, ask: Arc::new(ask), slot: Arc::default() } }
    }

    /// Writes the table of a snapshot, in its own time. A later call overtakes this one.
    pub(super) fn write(&self, snapshot: &Snapshot) {
        self.wish(snapshot.zones().iter().filter_map(|zone| wanted(zone)).collect());
    }

    fn wish(&self, wanted: Vec<Wanted>) {
        let mut slot = self.writer.slot();
        slot.newest = Some(wanted);
        if !slot.has_thread {
            let writer = self.writer.clone();
            let started = thread::Builder::new().name("splice-table".into()).spawn(move || writer.run());
            match started {
                Ok(_) => slot.has_thread = true,
                // The next wish tries again.
                Err(error) => self.writer.tell_not_written(&error.to_string()),
            }
        }
        self.writer.slot.1.notify_all();
    }
}

impl Drop for SpliceTable {
    fn drop(&mut self) {
        self.writer.slot().is_over = true;
        self.writer.slot.1.notify_all();
    }
}

/// Lets the next wish start another thread when this one ends, be it by a panic.
struct Running(Writer);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.slot().has_thread = false;
    }
}

impl Writer {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self) {
        let running = Running(self);
        let mut memory = Memory::default();
        while let Some(wanted) = running.0.next() {
            running.0.write(&mut memory, wanted);
        }
    }

    /// Waits for a wish; `None` when there will be none any more.
    fn next(&self) -> Option<Vec<Wanted>> {
        let is_idle = |slot: &mut Slot| slot.newest.is_none() && !slot.is_over;
        let slot = self.slot.1.wait_while(self.slot(), is_idle);
        let mut slot = slot.unwrap_or_else(PoisonError::into_inner);
        if slot.is_over { None } else { slot.newest.take() }
    }

    fn write(&self, memory: &mut Memory, wanted: Vec<Wanted>) {
        let made = memory.entries(wanted, &*self.ask, || Table::load(&self.path).unwrap_or_default());
        // Another edge may be writing by now.
        if self.slot().is_over {
            return;
        }
        if let Some(origins) = &made.unresolved {
            let (count, names) = (origins.len(), some(origins.iter().map(String::as_str)));
            let remedy = "they keep the addresses they had, and are looked up again in 5 minutes";
            let fields = [("count", count.into()), ("origins", (&names).into()), ("remedy", remedy.into())];
            self.events.warn("splice_table_unresolved", &fields);
        }
        for (cause, remedy, is_meant) in LeftOut::CAUSES {
            let Some(left_out) = &made.left_out else { break };
            let hostnames: Vec<&str> =
                left_out.iter().filter(|(_, why)| *why == is_meant).map(|(name, _)| name.as_str()).collect();
            if hostnames.is_empty() {
                continue;
            }
            let (count, names) = (hostnames.len(), some(hostnames.into_iter()));
            let fields = [
                ("count", count.into()),
                ("hostnames", (&names).into()),
                ("cause", cause.into()),
                ("remedy", remedy.into()),
            ];
            self.events.warn("splice_table_left_out", &fields);
        }
        if let Err(error) = Table::write(&self.path, &made.entries) {
            self.tell_not_written(&match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            });
        }
    }

    fn tell_not_written(&self, cause: &str) {
        let remedy = "the table before stays: zones are passed through to where they were before";
        self.events.error("splice_table_not_written", &[("cause", cause.into()), ("remedy", remedy.into())]);
    }
}

/// The first of many names, for a person.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(TOLD_MAX).collect::<Vec<_>>().join(", ")
}

/// Asks the system. Not the edge's own resolver, which belongs to a serving thread; how long an answer holds
/// does not matter here.
fn ask(host: &str, port: u16) -> Asked {
    let began = clock::now();
    let addresses = (host, port).to_socket_addrs().into_iter().flatten().collect();
    Asked { addresses, took: clock::now().saturating_duration_since(began) }
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
    let zone = zone.id.to_string();
    (!origins.is_empty()).then_some(Wanted { zone, hostnames, origins, proxy })
}

/// Origins that speak TLS themselves, those in use first.
fn tls_origins(pool: &Pool) -> Vec<Origin> {
    let mut origins: Vec<_> =
        pool.origins.iter().filter(|origin| origin.scheme == OriginScheme::Https).collect();
    origins.sort_by_key(|origin| (origin.is_draining, origin.is_backup));
    origins.into_iter().map(|origin| (origin.host.clone(), origin.port)).collect()
}

#[cfg(test)]
mod tests;
