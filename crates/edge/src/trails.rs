//! The ring of trails that `rempart trace` reads: bounded, by request id.
//!
//! Each thread has two rings: one for refusals and faults, which stay long, and one for all the rest.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange::{Fault, Phase, RequestId, Trail, TrailLine};
use telemetry::time::TimeText;
use zone::{Pool, Zone};

/// Trails kept a thread and ring: some 400 KiB when full.
const KEPT: usize = 1024;

/// A route was taken: its place in the zone, from 1.
pub(crate) const ROUTE: &str = "route";

/// A pool was chosen, by a route, a rule, or for want of both: its place in the zone, from 1.
pub(crate) const POOL: &str = "pool";

/// An origin was chosen: its place in that pool, from 0.
pub(crate) const CHOSEN: &str = "chosen";

/// Instead of the zone in force, the one before it decided.
pub(crate) const BEFORE: &str = "decided_by_the_zone_before";

/// What is kept of one exchange.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) id: RequestId,
    pub(crate) unix_us: u64,
    pub(crate) duration_us: u64,
    pub(crate) zone: Option<Arc<Zone>>,
    pub(crate) snapshot: u64,
    pub(crate) status: u16,
    pub(crate) outcome: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) trail: Trail,
    /// Ids of the rules that matched, in order.
    pub(crate) rules: Vec<Arc<str>>,
    /// What the firewall found, and what would allow it.
    pub(crate) waf: Option<Box<str>>,
}

#[derive(Default)]
struct Ring {
    kept: Vec<Kept>,
    next: usize,
}

impl Ring {
    fn put(&mut self, kept: Kept) {
        match self.kept.get_mut(self.next) {
            Some(slot) => *slot = kept,
            None => self.kept.push(kept),
        }
        self.next = (self.next + 1) % KEPT;
    }
}

/// The rings of one thread.
#[derive(Default)]
pub(crate) struct Trails {
    rings: Mutex<[Ring; 2]>,
}

impl Trails {
    fn rings(&self) -> MutexGuard<'_, [Ring; 2]> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, kept: Kept, is_trouble: bool) {
        self.rings()[usize::from(is_trouble)].put(kept);
    }

    pub(crate) fn find(&self, id: RequestId) -> Option<Kept> {
        self.rings().iter().flat_map(|ring| &ring.kept).find(|kept| kept.id == id).cloned()
    }
}

impl Kept {
    /// The trail as `rempart trace` prints it.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let zone = self.zone.as_ref().map_or("none", |zone| zone.name.as_str());
        let _infallible = writeln!(
            out,
            "request {}\nzone {zone}, snapshot {}, status {}, {} µs, began {}\noutcome {}{}{}",
            self.id,
            self.snapshot,
            self.status,
            self.duration_us,
            String::from_utf8_lossy(TimeText::new().text(self.unix_us)),
            self.outcome,
            if self.reason.is_empty() { "" } else { ": " },
            self.reason,
        );
        // Names are those of the zone in force.
        let is_of_before =
            self.trail.lines().any(|line| (line.phase, line.decision) == (Phase::Route, BEFORE));
        let zone = self.zone.as_deref().filter(|_| !is_of_before);
        let mut pool = None;
        for line in self.trail.lines() {
            if (line.phase, line.decision) == (Phase::Route, POOL) {
                let at = (line.detail as usize).checked_sub(1);
                pool = at.and_then(|at| zone?.pools.get(at)).map(|pool| &**pool);
            }
            let _infallible = writeln!(
                out,
                "{:>10} µs  {:<9}  {}  {}",
                line.at_us,
                line.phase.as_str(),
                line.decision,
                detail(line, zone, pool),
            );
        }
        if !self.rules.is_empty() {
            let _infallible = writeln!(out, "rules {}", self.rules.join(" "));
        }
        if let Some(waf) = &self.waf {
            out.push_str(waf);
        }
        if self.trail.lost() > 0 {
            let _infallible = writeln!(out, "and {} lines that found no room", self.trail.lost());
        }
        out
    }
}

/// What goes with a decision: the name of a route, pool or origin, where the zone is known, or its place,
/// from 1; otherwise the number as noted.
fn detail(line: &TrailLine, zone: Option<&Zone>, pool: Option<&Pool>) -> String {
    let number = line.detail;
    match (line.phase, line.decision) {
        (Phase::Route, ROUTE) => {
            let at = (number as usize).checked_sub(1);
            let name = at.and_then(|at| zone?.routes.get(at)).map_or("", |route| route.name.as_str());
            // One without a name is called by its place.
            if name.is_empty() || name.starts_with('#') {
                number.to_string()
            } else {
                format!("{number} ({name})")
            }
        }
        (Phase::Route, POOL) => pool.map_or_else(|| number.to_string(), |pool| pool.name.clone()),
        (Phase::Origin, word) if word == CHOSEN || Fault::WORDS.contains(&word) => {
            let origin = pool.and_then(|pool| pool.origins.get(number as usize));
            origin.map_or_else(|| (number + 1).to_string(), |origin| origin.url.clone())
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ZONE: &str = "name = 'z'\nhostnames = ['a.example']\n\
                        [[pool]]\nname = 'app'\norigins = [{ url = 'http://10.0.0.1:80' }]\n\
                        [[pool]]\nname = 'files'\n\
                        origins = [{ url = 'http://10.0.0.2:81' }, { url = 'http://10.0.0.3:82' }]\n\
                        [[route]]\npath = '/a'\npool = 'app'\n\
                        [[route]]\nname = 'static files'\npath = '/b'\npool = 'files'\n";

    fn text(lines: &[(Phase, &'static str, u32)]) -> String {
        let source = zone::Source { name: "z.toml".to_owned(), bytes: ZONE.as_bytes().to_vec() };
        let bundle = zone::Bundle::new(vec![source], None, BTreeMap::new());
        let snapshot = zone::compile(&bundle, 1, &|_| None).unwrap();
        let mut trail = Trail::default();
        lines.iter().for_each(|(phase, decision, detail)| trail.add(*phase, decision, *detail, 0));
        let kept = Kept {
            id: RequestId::from_bytes([7; 16]),
            unix_us: 0,
            duration_us: 0,
            zone: snapshot.zones().first().cloned(),
            snapshot: 1,
            status: 200,
            outcome: "served",
            reason: "",
            trail,
            rules: Vec::new(),
            waf: None,
        };
        kept.text()
    }

    #[test]
    fn a_route_a_pool_and_an_origin_are_called_as_the_zone_s_file_calls_them() {
        let told = text(&[
            (Phase::Route, ROUTE, 2),
            (Phase::Route, POOL, 2),
            (Phase::Origin, CHOSEN, 0),
            (Phase::Origin, Fault::ConnectionRefused.as_str(), 0),
            (Phase::Origin, CHOSEN, 1),
            (Phase::Origin, "answered", 200),
        ]);
        for line in [
            "route      route  2 (static files)\n",
            "route      pool  files\n",
            "origin     chosen  http://10.0.0.2:81\n",
            "origin     connection_refused  http://10.0.0.2:81\n",
            "origin     chosen  http://10.0.0.3:82\n",
            "origin     answered  200\n",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
        assert!(text(&[(Phase::Route, ROUTE, 1)]).contains("route      route  1\n"));
    }

    #[test]
    fn what_the_zone_before_decided_is_told_by_numbers() {
        let lines = [(Phase::Route, BEFORE, 0), (Phase::Route, POOL, 2), (Phase::Origin, CHOSEN, 1)];
        let told = text(&lines);
        assert!(told.contains("route      pool  2\n") && told.contains("origin     chosen  2\n"), "{told}");
    }
}
