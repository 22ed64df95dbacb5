//! From zones that agreed to the entries of the table: which addresses each host name gets, and which host
//! names get none.
//!
//! It asks for names by a function it is given, and writes nothing. Called by [`super`], whose one thread
//! keeps a [`Memory`] from one table to the next.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use splice::limits::{ENTRIES_MAX, ORIGINS_MAX};
use splice::{Entry, Table};

use super::{Asked, Origin, Wanted};

/// How long a table waits for names that give nothing one after the other: then the name servers are down.
/// Each name costs seconds, and thousands of them would keep the table from being written for hours.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The same for all names of a table together, those between good ones included.
const SILENCES_MAX: Duration = Duration::from_secs(120);

/// Why a host name is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// None of its origins has an address, nor had one before.
    NoAddress,
    /// No table can hold it, or another zone has it.
    DoesNotFit,
    /// The table is full.
    TooMany,
}

impl LeftOut {
    /// All of them, each with the cause and the remedy in words.
    pub(super) const CAUSES: [(&str, &str, LeftOut); 3] = [
        (
            "no origin can be resolved, and none could before",
            "check the names of the origins; they are looked up again in 5 minutes",
            LeftOut::NoAddress,
        ),
        (
            "no server name in a TLS hello can be this, or it is there twice",
            "none is needed: visitors of these get a TLS alert or a 503 when nothing else serves",
            LeftOut::DoesNotFit,
        ),
        ("the table is full", "set `pass_through = false` for zones that need it least", LeftOut::TooMany),
    ];
}

/// What comes of zones.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) entries: Vec<Entry>,
    /// Host names that are not in the table, if others than at the last time.
    pub(super) left_out: Option<Vec<(String, LeftOut)>>,
    /// Origins that gave no address, if others than at the last time.
    pub(super) unresolved: Option<Vec<String>>,
}

/// What was found out for earlier tables. It holds what the last wish named, and nothing older.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What each origin's name gave when it last gave something.
    known: HashMap<Origin, Vec<SocketAddr>>,
    /// Names that gave nothing when they were last asked for. They are asked for last, so that a few that
    /// never answer do not use up the time of the others every time.
    silent: HashSet<Origin>,
    /// The zones before these; none for the first table of a process.
    before: Option<Vec<Wanted>>,
    left_out: Vec<(String, LeftOut)>,
    unresolved: Vec<String>,
}

impl Memory {
    /// Makes entries. `former` reads the table that is there; it is asked only if it is needed.
    pub(super) fn entries(
        &mut self,
        wanted: Vec<Wanted>,
        ask: &dyn Fn(&str, u16) -> Asked,
        former: impl FnOnce() -> Table,
    ) -> Made {
        let unresolved = self.resolve(&wanted, ask);
        let has_unknown = |zone: &Wanted| zone.origins.iter().any(|origin| !self.known.contains_key(origin));
        let former = match wanted.iter().any(has_unknown) {
            true => Former::new(&former(), self.before.as_deref()),
            false => Former::default(),
        };
        let mut made = Made::default();
        let mut left_out = Vec::new();
        let mut taken = HashSet::new();
        for zone in &wanted {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for origin in &zone.origins {
                add(&mut addresses, self.known.get(origin).into_iter().flatten());
            }
            for hostname in &zone.hostnames {
                let mut origins = addresses.clone();
                if has_unknown(zone) {
                    let stand_in = former.of(hostname, zone, origins.is_empty());
                    add(&mut origins, stand_in);
                }
                origins.truncate(ORIGINS_MAX);
                let entry = Entry { hostname: hostname.clone(), origins, proxy: zone.proxy };
                let why = if entry.origins.is_empty() {
                    LeftOut::NoAddress
                } else if entry.check().is_err() || !taken.insert(hostname) {
                    LeftOut::DoesNotFit
                } else if made.entries.len() >= ENTRIES_MAX {
                    LeftOut::TooMany
                } else {
                    made.entries.push(entry);
                    continue;
                };
                left_out.push((hostname.clone(), why));
            }
        }
        // Every five minutes the same is no news.
        if left_out != self.left_out {
            self.left_out.clone_from(&left_out);
            made.left_out = Some(left_out);
        }
        if unresolved != self.unresolved {
            self.unresolved.clone_from(&unresolved);
            made.unresolved = Some(unresolved).filter(|origins| !origins.is_empty());
        }
        self.before = Some(wanted);
        made
    }

    /// Looks every name up once, however many zones have it. Gives those that have no new address.
    fn resolve(&mut self, wanted: &[Wanted], ask: &dyn Fn(&str, u16) -> Asked) -> Vec<String> {
        let mut seen = HashSet::new();
        let origins = wanted.iter().flat_map(|zone| &zone.origins);
        let mut origins: Vec<&Origin> = origins.filter(|origin| seen.insert(*origin)).collect();
        origins.sort_by_key(|origin| self.silent.contains(*origin));
        let (mut known, mut silent, mut unresolved) = (HashMap::new(), HashSet::new(), Vec::new());
        let (mut silence, mut silences) = (Duration::ZERO, Duration::ZERO);
        for origin in origins {
            let (host, port) = (origin.0.as_str(), origin.1);
            let mut addresses = match host.parse::<IpAddr>() {
                Ok(address) => vec![SocketAddr::new(address, port)],
                Err(_) if silence >= SILENCE_MAX || silences >= SILENCES_MAX => {
                    if self.silent.contains(origin) {
                        silent.insert(origin.clone());
                    }
                    Vec::new()
                }
                Err(_) => {
                    let asked = ask(host, port);
                    if asked.addresses.is_empty() {
                        silence += asked.took;
                        silences += asked.took;
                        silent.insert(origin.clone());
                    } else {
                        silence = Duration::ZERO;
                    }
                    asked.addresses
                }
            };
            addresses.retain(fits);
            if addresses.is_empty() {
                unresolved.push(format!("{host}:{port}"));
                addresses = self.known.remove(origin).unwrap_or_default();
            }
            if !addresses.is_empty() {
                known.insert(origin.clone(), addresses);
            }
        }
        (self.known, self.silent) = (known, silent);
        unresolved.sort_unstable();
        unresolved
    }
}

/// Whether a table can hold an address. One of a link only has a scope, and means nothing to another process.
fn fits(address: &SocketAddr) -> bool {
    let is_plain = |address: &std::net::SocketAddrV6| address.scope_id() == 0 && address.flowinfo() == 0;
    let is_plain = match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => is_plain(address),
    };
    is_plain && address.port() != 0
}

fn add<'a>(to: &mut Vec<SocketAddr>, addresses: impl IntoIterator<Item = &'a SocketAddr>) {
    for address in addresses {
        if !to.contains(address) {
            to.push(*address);
        }
    }
}

/// What the table before says of host names, for zones with a name that nothing is known of.
#[derive(Default)]
struct Former<'a> {
    addresses: HashMap<String, Vec<SocketAddr>>,
    /// By host name; none for the first table of a process.
    before: Option<HashMap<&'a str, &'a Wanted>>,
}

impl<'a> Former<'a> {
    fn new(table: &Table, before: Option<&'a [Wanted]>) -> Self {
        let addresses = table.entries().map(|entry| (entry.hostname, entry.origins)).collect();
        let by_name = |zone: &'a Wanted| zone.hostnames.iter().map(move |name| (name.as_str(), zone));
        let before = before.map(|before| before.iter().flat_map(by_name).collect());
        Self { addresses, before }
    }

    /// Addresses that may stand in for a name of a zone. If the zone has other origins than before, theirs do
    /// only when there is nothing else: the owner left them. A host name that was another zone's gets none of
    /// that zone's. What an earlier process wrote is taken to be of the same zone with the same origins: the
    /// next one begins with what that one published.
    fn of(&self, hostname: &str, zone: &Wanted, has_nothing_else: bool) -> &[SocketAddr] {
        let may = match &self.before {
            None => true,
            Some(before) => before.get(hostname).is_some_and(|before| {
                before.zone == zone.zone && (has_nothing_else || before.origins == zone.origins)
            }),
        };
        self.addresses.get(hostname).filter(|_| may).map_or(&[], Vec::as_slice)
    }
}
