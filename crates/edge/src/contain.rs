//! What becomes of a request when a phase breaks: the one place where fail modes are applied.
//!
//! A phase *breaks* when it panics, when what was published does not say what it must, or when the request
//! spent its own budget ([`Trouble`]). Then, in this order:
//!
//! 1. It is contained: nothing but this exchange notices. It is counted by phase and kind, and written as an
//!    event that names zone, phase and rule, at most once in [`TELL_MS`](crate::teller::TELL_MS) a zone and
//!    phase.
//! 2. A budget that the request spent, on the zone in force or on the one before, is the request's own doing:
//!    it is refused (`too_costly`), whatever the mode, since otherwise spending it would be a way around the
//!    phase.
//! 3. Anything else may be the doing of what was published last: a phase that decides by the zone is run
//!    again on the zone as it was before, if that is kept.
//! 4. Where that breaks too, the phase's mode decides: open, the request goes on without the phase; closed,
//!    it gets a fault. Modes that make sense both ways are the zone's (`[fail_modes]`), the others are
//!    declared in [`declared`].
//!
//! *Quarantine.* A phase that breaks for everybody costs each request a panic, and a second run where the
//! zone before decides. So after it broke for [`QUARANTINE_PREFIXES`] visitors of as many networks within
//! [`QUARANTINE_WINDOW_MS`] it is told, and for [`QUARANTINE_MS`] it is left out where visitors are served
//! without it: the zone before is asked first, and an open mode goes on at once. A closed mode serves nobody
//! that way, so there the phase is still run for each request, and only those that break it are refused.
//! What the quarantine approximates is "the phase is broken for everybody". It is wrong for an attacker with
//! eight networks and a request that breaks the phase, who gets others decided by the zone before or by the
//! open mode, which the owner chose; and for a zone with fewer visitors than that, which pays for each break
//! and loses nothing else.
//!
//! Callers: `pipeline.rs`. Read next: [`Edge::decide`].

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use exchange::{Fault, Phase, Refusal};
use telemetry::metrics::Trouble;
use wire::Exchange;
use zone::{FailMode, Zone};

use crate::course::Course;
use crate::live::Site;
use crate::pipeline::Edge;
use crate::refuse::{fail, refuse};
use crate::teller::Teller;
use crate::trails;

/// Visitors of different networks (/24, /48) for whom a phase must break before it is left out: more than a
/// person with a phone, a home and an office has, few enough that a broken phase is noticed in seconds.
pub(crate) const QUARANTINE_PREFIXES: usize = 8;

/// Milliseconds in which they must come.
pub(crate) const QUARANTINE_WINDOW_MS: u64 = 60_000;

/// Milliseconds for which a phase is then left out; after it, it is tried again.
pub(crate) const QUARANTINE_MS: u64 = 60_000;
const PHASES: usize = Phase::ALL.len();

/// Who chooses a phase's mode.
enum Declared {
    /// Nobody: only one makes sense.
    Always(FailMode),
    /// The zone.
    ByZone(fn(&Zone) -> FailMode),
}

/// Every phase's mode.
const fn declared(phase: Phase) -> Declared {
    match phase {
        // It knows the zone and checks certificates: nobody comes in unseen.
        Phase::Admission => Declared::Always(FailMode::Closed),
        Phase::Shield => Declared::ByZone(|zone| zone.fail_modes.shield),
        Phase::Waf => Declared::ByZone(|zone| zone.fail_modes.waf),
        Phase::Route => Declared::ByZone(|zone| zone.fail_modes.route),
        Phase::Cache => Declared::ByZone(|zone| zone.fail_modes.cache),
        // Without it there is no answer.
        Phase::Origin => Declared::Always(FailMode::Closed),
        Phase::Response => Declared::ByZone(|zone| zone.fail_modes.response),
        // Half an answer is told as such.
        Phase::Delivery => Declared::Always(FailMode::Closed),
        // The visitor has been answered; a line of the log is missing.
        Phase::Record => Declared::Always(FailMode::Open),
    }
}

pub(crate) fn mode(phase: Phase, zone: Option<&Zone>) -> FailMode {
    match (declared(phase), zone) {
        (Declared::Always(mode), _) => mode,
        (Declared::ByZone(chosen), Some(zone)) => chosen(zone),
        (Declared::ByZone(_), None) => FailMode::Closed,
    }
}

/// Whether a phase in quarantine is left out: where somebody is served without it. Elsewhere that would
/// refuse everybody for what few sent.
pub(crate) fn may_be_left_out(phase: Phase, site: &Site) -> bool {
    // Answers are changed once, by one zone.
    let can_stale_answer = phase != Phase::Response && site.stale.is_some();
    can_stale_answer || mode(phase, Some(&site.zone)) == FailMode::Open
}

/// Whether the request brought it upon itself.
pub(crate) fn is_requests_own(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Fuel | Trouble::Memory)
}

/// Runs a piece of a phase; a panic in it becomes a value.
pub(crate) fn guard<T>(piece: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    // What the piece left half done belongs to its exchange alone: the thread's own state is cells that are
    // whole between borrows.
    catch_unwind(AssertUnwindSafe(piece)).unwrap_or(Err(Trouble::Panic))
}

/// What a phase that decides by the zone came to.
pub(crate) enum Decided<'a, T> {
    /// The decision, and the zone it was made by: the one in force, or the one before.
    By(&'a Zone, T),
    /// None; the request goes on without.
    Open,
    /// None; the request does not go on.
    Closed(Trouble),
}

/// What is kept of a zone's breaks, beside its site: it begins anew with each change of the zone.
#[derive(Debug, Default)]
pub(crate) struct Ward {
    /// Until when each phase is in quarantine, by the thread's clock; 0 for not.
    until_ms: [AtomicU64; PHASES],
    ledgers: Mutex<[Ledger; PHASES]>,
    tellers: [Teller; PHASES],
}

/// Visitors' networks for which a phase broke within the window.
#[derive(Debug, Default)]
struct Ledger {
    began_ms: u64,
    prefixes: Vec<u64>,
}

impl Ward {
    /// Whether a phase is in quarantine at the moment.
    #[inline]
    pub(crate) fn is_quarantined(&self, phase: Phase, now_ms: impl FnOnce() -> u64) -> bool {
        let until_ms = self.until_ms[phase as usize].load(Relaxed);
        until_ms != 0 && now_ms() < until_ms
    }

    /// Whether an event of a phase may be written now, and how many were not since the last.
    pub(crate) fn may_tell(&self, phase: Phase, now_ms: u64) -> Option<u64> {
        self.tellers[phase as usize].may_tell(now_ms)
    }

    /// Notes a break for a visitor; whether it is the one that begins a quarantine.
    fn broke(&self, phase: Phase, visitor: IpAddr, now_ms: u64) -> bool {
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_quarantined(phase, || now_ms) {
            return false; // told already
        }
        let ledger = &mut ledgers[phase as usize];
        if now_ms.saturating_sub(ledger.began_ms) > QUARANTINE_WINDOW_MS {
            *ledger = Ledger { began_ms: now_ms, prefixes: Vec::new() };
        }
        let prefix = prefix(visitor);
        if !ledger.prefixes.contains(&prefix) {
            ledger.prefixes.push(prefix);
        }
        if ledger.prefixes.len() < QUARANTINE_PREFIXES {
            return false;
        }
        ledger.prefixes.clear();
        ledger.began_ms = now_ms;
        self.until_ms[phase as usize].store(now_ms + QUARANTINE_MS, Relaxed);
        true
    }
}

/// The network a visitor comes from: /24 or /48.
fn prefix(visitor: IpAddr) -> u64 {
    match visitor {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => (v6.to_bits() >> 80) as u64 | 1 << 63,
    }
}

impl Edge {
    /// Runs a phase that decides by the zone: on the zone in force, else on the one before, else its mode.
    ///
    /// `decide` may be run twice and must change nothing.
    pub(crate) fn decide<'a, T>(
        &self,
        phase: Phase,
        course: &mut Course,
        site: &'a Site,
        decide: impl Fn(&'a Zone) -> Result<T, Trouble>,
    ) -> Decided<'a, T> {
        let zone: &Zone = &site.zone;
        let is_open = || mode(phase, Some(zone)) == FailMode::Open;
        let mut trouble = None;
        let is_quarantined = site.ward.is_quarantined(phase, || self.clock.now_ms());
        if !is_quarantined || !may_be_left_out(phase, site) {
            match guard(|| decide(zone)) {
                Ok(decided) => return Decided::By(zone, decided),
                Err(first) => {
                    self.broke(phase, course, first);
                    if is_requests_own(first) {
                        return Decided::Closed(first);
                    }
                    trouble = Some(first);
                }
            }
        }
        if let Some(stale) = &site.stale {
            match guard(|| decide(stale)) {
                Ok(decided) => {
                    course.note(phase, trails::BEFORE, 0, self.clock.now_us());
                    return Decided::By(stale, decided);
                }
                // A budget spent there is spent: an open mode is for what was published.
                Err(own) if is_requests_own(own) => return Decided::Closed(own),
                Err(_) => {}
            }
        }
        if is_open() {
            course.note(phase, "failed_open", 0, self.clock.now_us());
            return Decided::Open;
        }
        if let Some(trouble) = trouble {
            return Decided::Closed(trouble);
        }
        // Left out for the zone before, which cannot answer: the zone in force may.
        match guard(|| decide(zone)) {
            Ok(decided) => Decided::By(zone, decided),
            Err(trouble) => {
                self.broke(phase, course, trouble);
                Decided::Closed(trouble)
            }
        }
    }

    /// Runs a phase that changes what it is given, once; whether the request goes on.
    ///
    /// # Errors
    /// What broke, where the mode is closed; what was changed by then stays.
    pub(crate) fn change(
        &self,
        phase: Phase,
        course: &mut Course,
        change: impl FnOnce(&mut Course) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let site = course.site.clone();
        let is_left_out = site.as_ref().is_some_and(|site| {
            site.ward.is_quarantined(phase, || self.clock.now_ms()) && may_be_left_out(phase, site)
        });
        let trouble = match is_left_out {
            true => Trouble::Data,
            false => match guard(|| change(course)) {
                Ok(()) => return Ok(()),
                Err(trouble) => {
                    self.broke(phase, course, trouble);
                    trouble
                }
            },
        };
        let mode = mode(phase, site.as_ref().map(|site| &*site.zone));
        if is_requests_own(trouble) && phase != Phase::Record || mode == FailMode::Closed {
            return Err(trouble);
        }
        course.note(phase, "failed_open", 0, self.clock.now_us());
        Ok(())
    }

    /// Counts a break, tells of it, and leaves the phase out if it breaks for everybody.
    pub(crate) fn broke(&self, phase: Phase, course: &Course, trouble: Trouble) {
        let rule = self.slot.view().rule;
        self.node.registry().contained(phase as usize, trouble);
        if trouble == Trouble::Panic {
            self.node.registry().panicked();
        }
        let site = course.site.as_deref();
        let now_ms = self.clock.now_ms();
        let suppressed = match site {
            Some(site) => site.ward.may_tell(phase, now_ms),
            None => Some(0), // the limit for all events holds
        };
        let zone = site.map_or("", |site| site.zone.name.as_str());
        let events = &self.node.setup().events;
        if let Some(untold) = suppressed {
            let id = course.id.to_string();
            let fields = [
                ("zone", zone.into()),
                ("phase", phase.as_str().into()),
                ("rule", rule.into()),
                ("kind", trouble.label().into()),
                ("request_id", id.as_str().into()),
                ("untold", untold.into()),
            ];
            events.warn("phase_broke", &fields);
        }
        let Some(site) = site else { return };
        let has_choice = matches!(declared(phase), Declared::ByZone(_));
        if has_choice && !is_requests_own(trouble) && site.ward.broke(phase, course.visitor.ip(), now_ms) {
            self.node.registry().quarantined(phase as usize);
            let fields = [
                ("zone", zone.into()),
                ("phase", phase.as_str().into()),
                ("mode", mode(phase, Some(&site.zone)).word().into()),
                ("left_out", may_be_left_out(phase, site).into()),
                ("for_ms", QUARANTINE_MS.into()),
                ("remedy", "see the events phase_broke; publish the zone as it was".into()),
            ];
            events.error("phase_quarantined", &fields);
        }
    }

    /// Answers a request that does not go on: for its own doing with a refusal, else with a fault.
    pub(crate) async fn close(&self, exchange: &mut Exchange, course: &mut Course, trouble: Trouble) {
        if is_requests_own(trouble) && exchange.state() == wire::ResponseState::Waiting {
            let reason = match trouble {
                Trouble::Memory => "the request asked for more memory than it may hold",
                _ => "the request spent its budget of work",
            };
            return refuse(exchange, course, Refusal::TooCostly, reason).await;
        }
        course.reason = match trouble {
            Trouble::Panic => "a phase panicked; an event of the same request id says which",
            _ => "a phase could not do with what was published",
        };
        fail(exchange, course, Fault::ProxyInternalError, self.node.name()).await;
    }
}

#[cfg(test)]
mod tests;
