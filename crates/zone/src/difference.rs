//! The effective difference between two snapshots: what a change adds and takes away, and whether that is too
//! much.
//!
//! Compared is what runs, not what was written: a file that was reformatted differs in nothing. Pure. Called
//! by whoever publishes, before anybody is served by the new one. Its guard is there for the change that
//! nobody meant: a folder that was not mounted, a query that returned nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::geo::Database;
use crate::snapshot::Snapshot;
use crate::zone::Zone;

/// Below so many zones or hostnames, gains make up for losses.
pub const FEW: usize = 10;

/// What can be gained or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A zone, by name.
    Zone,
    /// A hostname, with its zone.
    Hostname,
    /// A pool.
    Pool,
    /// An origin.
    Origin,
    /// A route.
    Route,
    /// A rule that is switched on, by its id.
    Rule,
    /// A zone's web application firewall, with its mode and number of rules; its exceptions.
    Firewall,
    /// A rate limit that is switched on, with what it allows: a changed one is lost and gained.
    RateLimit,
    /// A concurrency limit that is switched on, with what it allows.
    ConcurrencyLimit,
    /// A zone's certificate, by the file it is in.
    Certificate,
    /// What is known of addresses: a file of `[geo]`, by its type and age.
    Geo,
    /// A zone's cache, switched on.
    Cache,
    /// A zone's compression, switched on.
    Compression,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::Zone,
        Self::Hostname,
        Self::Pool,
        Self::Origin,
        Self::Route,
        Self::Rule,
        Self::Firewall,
        Self::RateLimit,
        Self::ConcurrencyLimit,
        Self::Certificate,
        Self::Cache,
        Self::Compression,
        Self::Geo,
    ];

    /// As written in reports, in the singular.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Hostname => "hostname",
            Self::Pool => "pool",
            Self::Origin => "origin",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Firewall => "firewall",
            Self::RateLimit => "rate limit",
            Self::ConcurrencyLimit => "concurrency limit",
            Self::Certificate => "certificate",
            Self::Geo => "address data",
            Self::Cache => "cache",
            Self::Compression => "compression",
        }
    }
}

/// One thing gained or lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// What it is.
    pub kind: Kind,
    /// Its name, after that of its zone: `example.org: app http://10.0.0.1:8080`.
    pub name: String,
}

impl fmt::Display for Thing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind.as_str(), self.name)
    }
}

/// What differs between two snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is there now and was not before, in order.
    pub gained: Vec<Thing>,
    /// What was there and is not any more, in order.
    pub lost: Vec<Thing>,
    /// Names of zones that were there before and are different now in any way, certificates included.
    pub changed: Vec<String>,
    /// Lists that have no entry any more, with their zone and how many they had.
    emptied: Vec<(String, usize)>,
    before: BTreeMap<Kind, usize>,
    after: BTreeMap<Kind, usize>,
}

/// Compares two snapshots. Takes time in proportion to what is not shared between them.
#[must_use]
pub fn difference(before: &Snapshot, after: &Snapshot) -> Difference {
    let mut found = Difference::default();
    let old: BTreeMap<_, &Arc<Zone>> = before.zones().iter().map(|zone| (zone.id, zone)).collect();
    let new: BTreeMap<_, &Arc<Zone>> = after.zones().iter().map(|zone| (zone.id, zone)).collect();
    let ids: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    for id in ids {
        let (was, is) = (old.get(&id), new.get(&id));
        let is_same = matches!((was, is), (Some(was), Some(is)) if was.fingerprint == is.fingerprint);
        if is_same {
            count(&mut found.before, was.copied());
            count(&mut found.after, is.copied());
            continue;
        }
        let (things_before, things_after) = (things(was.copied()), things(is.copied()));
        for thing in &things_before {
            *found.before.entry(thing.kind).or_default() += 1;
        }
        for thing in &things_after {
            *found.after.entry(thing.kind).or_default() += 1;
        }
        if let (Some(was), Some(is)) = (was, is) {
            found.changed.push(is.name.clone());
            let emptied = was.lists.iter().filter(|(name, had)| **had > 0 && is.lists.get(*name) == Some(&0));
            found.emptied.extend(emptied.map(|(name, had)| (format!("{}: {name}", is.name), *had)));
        }
        found.lost.extend(things_before.difference(&things_after).cloned());
        found.gained.extend(things_after.difference(&things_before).cloned());
    }
    let (geo_before, geo_after) = (geo(before), geo(after));
    found.before.insert(Kind::Geo, geo_before.len());
    found.after.insert(Kind::Geo, geo_after.len());
    found.lost.extend(geo_before.difference(&geo_after).cloned());
    found.gained.extend(geo_after.difference(&geo_before).cloned());
    found.lost.sort();
    found.gained.sort();
    found.changed.sort();
    found
}

fn geo(snapshot: &Snapshot) -> BTreeSet<Thing> {
    let Some(geo) = &snapshot.geo else { return BTreeSet::new() };
    let files = [("country", &geo.country), ("asn", &geo.asn)];
    let thing = |what: &str, file: &Database| Thing { kind: Kind::Geo, name: format!("{what}: {file}") };
    files.into_iter().filter_map(|(what, file)| Some(thing(what, file.as_deref()?))).collect()
}

fn count(counts: &mut BTreeMap<Kind, usize>, zone: Option<&Arc<Zone>>) {
    for thing in things(zone) {
        *counts.entry(thing.kind).or_default() += 1;
    }
}

fn things(zone: Option<&Arc<Zone>>) -> BTreeSet<Thing> {
    let mut things = BTreeSet::new();
    let Some(zone) = zone else { return things };
    let name = &zone.name;
    let mut add = |kind, name: String| things.insert(Thing { kind, name });
    add(Kind::Zone, name.clone());
    for hostname in &zone.hostnames {
        add(Kind::Hostname, format!("{name}: {hostname}"));
    }
    for pool in &zone.pools {
        add(Kind::Pool, format!("{name}: {}", pool.name));
        for origin in &pool.origins {
            add(Kind::Origin, format!("{name}: {} {}", pool.name, origin.url));
        }
    }
    for route in &zone.routes {
        add(Kind::Route, format!("{name}: {}", route.name));
    }
    for id in zone.rules.iter().flat_map(|rules| rules.ids()) {
        add(Kind::Rule, format!("{name}: {id}"));
    }
    if let Some(waf) = &zone.waf {
        add(Kind::Firewall, format!("{name}: {}", waf.shown()));
        for exception in &waf.exceptions {
            add(Kind::Firewall, format!("{name}: exception {}", exception.shown));
        }
    }
    for (is_rate, words) in zone.rate_limits.iter().flat_map(|limits| limits.words()) {
        add(if is_rate { Kind::RateLimit } else { Kind::ConcurrencyLimit }, format!("{name}: {words}"));
    }
    if zone.cache.is_some() {
        add(Kind::Cache, name.clone());
    }
    if zone.compression.is_some() {
        add(Kind::Compression, name.clone());
    }
    if let Some(path) = &zone.tls.certificate_path {
        add(Kind::Certificate, format!("{name}: {path}"));
    }
    things
}

impl Difference {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty() && self.changed.is_empty()
    }

    /// How many of a kind there were, and are.
    #[must_use]
    pub fn counts(&self, kind: Kind) -> (usize, usize) {
        let of = |counts: &BTreeMap<Kind, usize>| counts.get(&kind).copied().unwrap_or(0);
        (of(&self.before), of(&self.after))
    }

    /// Says which removals pass a share, in percent of what there was; and which leave none of a kind. One
    /// sentence each; none for a change that may pass without an explicit word.
    ///
    /// From [`FEW`] zones or hostnames on, gains do not make up for losses: a folder of other zones in the
    /// place of the right one is a removal of all. With fewer they do, since a site that is renamed or moves
    /// to another server is everyday. A list is emptied by whoever writes it, never on purpose all at once;
    /// one that is taken out is seen in the zone's file. Routes, rules, caches, compression and certificates
    /// are not judged alone, since a zone may well do without.
    #[must_use]
    pub fn removals_over(&self, percent_max: u8) -> Vec<String> {
        let mut found = Vec::new();
        for kind in [Kind::Zone, Kind::Hostname, Kind::Pool, Kind::Origin] {
            let (before, after) = self.counts(kind);
            let is_net = before < FEW || matches!(kind, Kind::Pool | Kind::Origin);
            let lost = match is_net {
                true => before.saturating_sub(after),
                false => self.lost.iter().filter(|thing| thing.kind == kind).count(),
            };
            if lost == 0 || before == 0 {
                continue;
            }
            let word = kind.as_str();
            if after == 0 {
                found.push(format!("no {word} is left of {before}"));
            } else if lost * 100 > before * usize::from(percent_max) {
                found.push(format!("{lost} of {before} {word}s would go, over {percent_max} %"));
            }
        }
        for (list, had) in &self.emptied {
            found.push(format!("no entry of the list {list} is left of {had}"));
        }
        found
    }
}
