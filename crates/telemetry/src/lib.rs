//! Telemetry: what Rempart writes down about itself. Names, units and writers, and nothing that decides.
//!
//! Holds the access log's record and its JSON ([`access`]), the bounded queue to a writer thread that no
//! request ever waits for ([`sink`]), metrics in the Prometheus text format ([`metrics`]) and operational
//! log lines ([`events`]).
//!
//! Deliberately absent: tokio and any other runtime, reading the clock (callers pass the time or a function
//! that gives it), any decision about a request, and any setting's default that a zone may change.
//!
//! Called by `edge` (records, counters), by the binary (wiring, scrape, signals) and by `xtask` (references).
//! Read next: [`access::Record`], then [`sink::AccessLog`].

pub mod access;
pub mod events;
mod json;
pub mod metrics;
pub mod sink;
pub mod time;
