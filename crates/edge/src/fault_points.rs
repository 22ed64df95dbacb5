//! Fault points: places where a test breaks the product on purpose. Only built with `fault-injection`, which
//! no release build can have (`lib.rs`).
//!
//! A request names its fault by the field `Rempart-Fault: PHASE=KIND[:AMOUNT]`; published data name theirs by
//! host names under `fault.invalid` (RFC 2606 §2), which nobody can own. Without the feature each point is a
//! constant. The calendar is broken by a file, `REMPART_FAULT_CLOCK` in the environment of the process.
//! Callers: `pipeline.rs` at each phase, `node.rs` where it builds sites, `clock.rs`. Those of the cache's
//! disk are in `fault_points/disk.rs`.

use exchange::{Phase, Request};
use telemetry::metrics::Trouble;
use zone::Zone;

#[cfg(feature = "fault-injection")]
mod disk;

#[cfg(feature = "fault-injection")]
pub(crate) use disk::cache_files;

/// The files of the cache's folder.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn cache_files(
    folder: cache::store::disk::Folder,
) -> std::sync::Arc<dyn cache::store::disk::Files> {
    std::sync::Arc::new(folder)
}

/// Breaks here if the request asks for it.
///
/// # Errors
/// The trouble asked for, for the kinds `error`, `fuel` and `memory`; the others do not come back.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn at(_phase: Phase, _request: &Request) -> Result<(), Trouble> {
    Ok(())
}

/// Breaks here if the zone asks for it: what was published is at fault, whoever asks.
///
/// # Errors
/// The trouble asked for.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn deciding(_phase: Phase, _zone: &Zone) -> Result<(), Trouble> {
    Ok(())
}

/// As [`at`], for a step within a phase.
///
/// # Errors
/// As [`at`].
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn step(_step: &str, _request: &Request) -> Result<(), Trouble> {
    Ok(())
}

/// A fault that a request asks for in a step that does not see the request.
#[cfg(not(feature = "fault-injection"))]
#[derive(Default)]
pub(crate) struct Planned;

/// The fault that a request asks for in this step.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn planned(_step: &'static str, _request: &Request) -> Planned {
    Planned
}

#[cfg(not(feature = "fault-injection"))]
impl Planned {
    /// Breaks here if the request asked for it.
    ///
    /// # Errors
    /// As [`at`].
    #[inline(always)]
    pub(crate) const fn strike(&self) -> Result<(), Trouble> {
        Ok(())
    }
}

/// How an encoder of an answer breaks: `Rempart-Fault: encoder=KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncoderFault {
    /// It cannot be made (`making`).
    Making,
    /// It breaks at its second piece (`coding`).
    Coding,
    /// It panics (`panic`).
    Panic,
}

/// How the encoder of the answer to this request is to break.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn encoder(_request: &Request) -> Option<EncoderFault> {
    None
}

#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn loading(_zone: &Zone) {}

#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) const fn looking_at_feeds(_zone: &Zone) {}

#[cfg(feature = "fault-injection")]
pub(crate) use armed::{
    Planned, SiteFaults, applying, at, calendar, deciding, encoder, loaded, loading, looking_at_feeds,
    planned, serving, step,
};

#[cfg(feature = "fault-injection")]
mod armed {
    use std::ffi::OsString;
    use std::hint::black_box;
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::{EncoderFault, Phase, Request, Trouble, Zone};

    /// Steps of `slow` where no amount is given: some milliseconds, ten times what a request takes.
    const SLOW_STEPS: u64 = 2_000_000;

    pub(crate) fn at(phase: Phase, request: &Request) -> Result<(), Trouble> {
        step(phase.as_str(), request)
    }

    pub(crate) fn step(step: &str, request: &Request) -> Result<(), Trouble> {
        asked(step, request).map_or(Ok(()), |fault| strike(step, fault))
    }

    /// The fault that a request asks for in this step: `KIND[:AMOUNT]`.
    fn asked<'a>(step: &str, request: &'a Request) -> Option<&'a str> {
        let value = request.fields.value(b"rempart-fault")?;
        let (named, fault) = std::str::from_utf8(value).ok()?.split_once('=')?;
        (named == step).then_some(fault)
    }

    /// A fault that a request asks for in a step that does not see the request.
    #[derive(Default)]
    pub(crate) struct Planned(Option<(&'static str, String)>);

    pub(crate) fn planned(step: &'static str, request: &Request) -> Planned {
        Planned(asked(step, request).map(|fault| (step, fault.to_owned())))
    }

    impl Planned {
        pub(crate) fn strike(&self) -> Result<(), Trouble> {
            self.0.as_ref().map_or(Ok(()), |(step, fault)| strike(step, fault))
        }
    }

    fn strike(named: &str, fault: &str) -> Result<(), Trouble> {
        let (kind, amount) = fault.split_once(':').unwrap_or((fault, ""));
        let amount: Option<u64> = amount.parse().ok();
        match kind {
            "error" => Err(Trouble::Data),
            "panic" => panic!("the fault point of the phase {named}"),
            "fuel" => {
                let mut fuel = fuel::Fuel::new(amount.unwrap_or(10));
                loop {
                    fuel.spend(1).map_err(|fuel::Spent| Trouble::Fuel)?;
                }
            }
            "memory" => Err(Trouble::Memory),
            "slow" => {
                burn(amount.unwrap_or(SLOW_STEPS));
                Ok(())
            }
            // Holds its thread and burns nothing, so that no watchdog minds.
            "sleep" => {
                std::thread::sleep(Duration::from_millis(amount.unwrap_or(1_000)));
                Ok(())
            }
            "hang" => loop {
                burn(SLOW_STEPS);
            },
            "abort" => std::process::abort(),
            "overflow" => {
                black_box(deep(0));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn encoder(request: &Request) -> Option<EncoderFault> {
        match request.fields.value(b"rempart-fault")?.strip_prefix(b"encoder=")? {
            b"making" => Some(EncoderFault::Making),
            b"coding" => Some(EncoderFault::Coding),
            b"panic" => Some(EncoderFault::Panic),
            _ => None,
        }
    }

    /// The calendar as the file that `REMPART_FAULT_CLOCK` names wants it: `+US` or `-US` for a step, `=US`
    /// for a clock that stands still. Without the file, or while it is empty, it is as the machine has it.
    pub(crate) fn calendar(unix_us: u64) -> u64 {
        static PATH: OnceLock<Option<OsString>> = OnceLock::new();
        let Some(path) = PATH.get_or_init(|| std::env::var_os("REMPART_FAULT_CLOCK")) else { return unix_us };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let (sign, amount) = text.trim().split_at_checked(1).unwrap_or_default();
        match (sign, amount.parse::<u64>()) {
            ("+", Ok(us)) => unix_us.saturating_add(us),
            ("-", Ok(us)) => unix_us.saturating_sub(us),
            ("=", Ok(us)) => us,
            _ => unix_us,
        }
    }

    fn burn(steps: u64) {
        for step in 0..steps {
            black_box(step);
        }
    }

    /// Goes on until the stack ends.
    fn deep(depth: u64) -> u64 {
        let next: fn(u64) -> u64 = black_box(deep);
        let room = black_box([depth; 64]);
        next(depth + 1) + room[3]
    }

    /// The first label of each host name under `fault.invalid`.
    fn named(zone: &Zone) -> impl Iterator<Item = String> {
        let names = zone.hostnames.iter().map(ToString::to_string);
        names.filter_map(|name| name.strip_suffix(".fault.invalid").map(str::to_owned))
    }

    /// `PHASE-panic`, `PHASE-error`, `PHASE-fuel`.
    pub(crate) fn deciding(phase: Phase, zone: &Zone) -> Result<(), Trouble> {
        for fault in named(zone) {
            match fault.strip_prefix(phase.as_str()) {
                Some("-panic") => panic!("the fault point of a zone's {}", phase.as_str()),
                Some("-error") => return Err(Trouble::Data),
                Some("-fuel") => return Err(Trouble::Fuel),
                _ => {}
            }
        }
        Ok(())
    }

    /// Breaks while a zone's site is built, if the zone asks for it: `load-panic`, `load-abort`.
    pub(crate) fn loading(zone: &Zone) {
        breaking("load", zone);
    }

    /// Breaks when the files of a zone are looked at whether they grow old: `feeds-panic`.
    pub(crate) fn looking_at_feeds(zone: &Zone) {
        breaking("feeds", zone);
    }

    /// Breaks while origins take up a snapshot's pools: `apply-panic`, `apply-abort`.
    pub(crate) fn applying<'a>(zones: impl Iterator<Item = &'a Zone>) {
        zones.for_each(|zone| breaking("apply", zone));
    }

    fn breaking(step: &str, zone: &Zone) {
        for fault in named(zone) {
            match fault.strip_prefix(step) {
                Some("-panic") => panic!("the fault point of the step {step}"),
                Some("-abort") => std::process::abort(),
                _ => {}
            }
        }
    }

    /// Once a snapshot is in force: `crash-after-500ms` ends the process that much later.
    pub(crate) fn loaded<'a>(zones: impl Iterator<Item = &'a Zone>) {
        for zone in zones {
            for fault in named(zone) {
                let Some(ms) = fault.strip_prefix("crash-after-").and_then(|rest| rest.strip_suffix("ms"))
                else {
                    continue;
                };
                let Ok(ms) = ms.parse() else { continue };
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(ms));
                    std::process::abort();
                });
            }
        }
    }

    /// What each request of a zone suffers: `serve-500`, `serve-slow-100ms`.
    #[derive(Debug, Default)]
    pub(crate) struct SiteFaults {
        pub(crate) is_500: bool,
        pub(crate) slow_ms: u64,
    }

    /// Suffers it.
    pub(crate) async fn serving(faults: &SiteFaults) -> Result<(), Trouble> {
        if faults.slow_ms > 0 {
            tokio::time::sleep(Duration::from_millis(faults.slow_ms)).await;
        }
        if faults.is_500 { Err(Trouble::Data) } else { Ok(()) }
    }

    impl SiteFaults {
        pub(crate) fn of(zone: &Zone) -> Self {
            let mut faults = Self::default();
            for fault in named(zone) {
                let slow = fault.strip_prefix("serve-slow-").and_then(|rest| rest.strip_suffix("ms"));
                match (fault.as_str(), slow.map(str::parse)) {
                    ("serve-500", _) => faults.is_500 = true,
                    ("serve-slow", _) => faults.slow_ms = 100,
                    (_, Some(Ok(ms))) => faults.slow_ms = ms,
                    _ => {}
                }
            }
            faults
        }
    }
}
