//! Writes the registry as a page of the Prometheus text format 0.0.4.
//!
//! Runs once per scrape, off the requests' way, so it may format and allocate. Called by
//! [`super::Registry::render`]. Read next: [`page`].

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use super::block::{BUCKET_LABELS, Block};
use super::families::{self, Family};
use super::labels::{
    CacheOutcome, CodedSource, Coding, Direction, FeedStage, FloodStage, HandshakeOutcome, LimitAction,
    LimitKind, NotInspected, OriginConnection, OriginOutcome, OriginWait, Outcome, OverLevel, Protocol,
    RuleWork, StatusClass, Tier, TlsVersion, Trouble, Unanswered, WafOutcome, Worth,
};
use super::{Outside, Registry};

/// A page in the making.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn family(&mut self, family: &Family) {
        let Family { name, kind, help, .. } = family;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {}", kind.label()));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string cannot fail");
    }

    /// One sample; the label values are escaped (backslash, quote, newline).
    pub(super) fn sample(&mut self, name: impl Display, labels: &[(&str, &str)], value: impl Display) {
        let mut label_text = String::new();
        for (place, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if place == 0 { '{' } else { ',' };
            write!(label_text, "{open}{label}=\"{value}\"").expect("writing to a string cannot fail");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{name}{label_text}{close} {value}"));
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn single(&mut self, family: &Family, value: impl Display) {
        self.family(family);
        self.sample(family.name, &[], value);
    }

    fn by_label(&mut self, family: &Family, label: &str, values: &[&str], value: impl Fn(usize) -> u64) {
        self.family(family);
        for (place, text) in values.iter().enumerate() {
            self.sample(family.name, &[(label, text)], value(place));
        }
    }
}

/// The whole page of `/metrics`.
pub(super) fn page(registry: &Registry, outside: &Outside) -> String {
    let threads = registry.threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut page = Page::default();
    visitors(&mut page, registry, &threads, outside);
    origins(&mut page, registry, &threads, outside);
    waf(&mut page, &threads, outside.bodies_waiting);
    node(&mut page, registry, outside);
    page.into_text()
}

fn sum(threads: &[Arc<Block>], counter: impl Fn(&Block) -> &AtomicU64) -> u64 {
    threads.iter().fold(0, |sum, block| sum.wrapping_add(counter(block).load(Relaxed)))
}

fn visitors(page: &mut Page, registry: &Registry, threads: &[Arc<Block>], outside: &Outside) {
    page.family(&families::REQUESTS);
    for (row, protocol) in Protocol::LABELS.into_iter().enumerate() {
        for (column, class) in StatusClass::LABELS.into_iter().enumerate() {
            let value = sum(threads, |block| &block.requests[row][column]);
            page.sample(families::REQUESTS.name, &[("protocol", protocol), ("class", class)], value);
        }
    }
    durations(page, threads);
    page.by_label(&families::CONNECTIONS, "protocol", &Protocol::LABELS, |row| {
        sum(threads, |block| &block.connections[row])
    });
    page.by_label(&families::CONNECTIONS_OPEN, "protocol", &Protocol::LABELS, |row| {
        // The end is read first: a connection that opens and closes in between must not make it negative.
        let closed = sum(threads, |block| &block.connections_closed[row]);
        sum(threads, |block| &block.connections[row]).saturating_sub(closed)
    });
    page.family(&families::TLS_HANDSHAKES);
    for (row, version) in TlsVersion::LABELS.into_iter().enumerate() {
        for (column, outcome) in HandshakeOutcome::LABELS.into_iter().enumerate() {
            let value = sum(threads, |block| &block.tls_handshakes[row][column]);
            page.sample(families::TLS_HANDSHAKES.name, &[("version", version), ("result", outcome)], value);
        }
    }
    page.by_label(&families::REFUSALS, "refusal", registry.labels.refusals, |place| {
        sum(threads, |block| &block.refusals[place])
    });
    page.by_label(&families::FAULTS, "fault", registry.labels.faults, |place| {
        sum(threads, |block| &block.faults[place])
    });
    page.by_label(&families::ABUSE, "kind", registry.labels.abuses, |place| {
        sum(threads, |block| &block.abuses[place])
    });
    page.family(&families::OVER_LIMIT);
    for (row, kind) in LimitKind::LABELS.into_iter().enumerate() {
        for (column, action) in LimitAction::LABELS.into_iter().enumerate() {
            let value = sum(threads, |block| &block.over_limit[row][column]);
            page.sample(families::OVER_LIMIT.name, &[("limit", kind), ("action", action)], value);
        }
    }
    page.single(&families::FLOODED_ZONES, outside.flooded_zones);
    page.by_label(&families::FLOOD_LIMITS, "stage", &FloodStage::LABELS, |place| {
        outside.flood_limits.get(place).copied().unwrap_or(0)
    });
    page.by_label(&families::FEEDS, "stage", &FeedStage::LABELS, |place| {
        outside.feeds.get(place).copied().unwrap_or(0)
    });
    page.by_label(&families::SHED, "worth", &Worth::LABELS, |place| sum(threads, |block| &block.shed[place]));
    page.single(&families::SHEDDING, outside.shedding_threads);
    page.single(&families::DELAY, seconds(outside.delay_us));
    page.single(&families::LIMITS_FORGOTTEN, outside.limits_forgotten);
    page.by_label(&families::VISITOR_BYTES, "direction", &Direction::LABELS, |place| {
        sum(threads, |block| &block.visitor_bytes[place])
    });
}

fn durations(page: &mut Page, threads: &[Arc<Block>]) {
    let name = families::REQUEST_DURATION.name;
    page.family(&families::REQUEST_DURATION);
    for (row, protocol) in Protocol::LABELS.into_iter().enumerate() {
        let mut up_to_bound = 0;
        for (column, bound) in BUCKET_LABELS.into_iter().enumerate() {
            up_to_bound += sum(threads, |block| &block.duration_buckets[row][column]);
            let labels = [("protocol", protocol), ("le", bound)];
            page.sample(format_args!("{name}_bucket"), &labels, up_to_bound);
        }
        let total_us = sum(threads, |block| &block.duration_us[row]);
        page.sample(format_args!("{name}_sum"), &[("protocol", protocol)], seconds(total_us));
        page.sample(format_args!("{name}_count"), &[("protocol", protocol)], up_to_bound);
    }
}

fn origins(page: &mut Page, registry: &Registry, threads: &[Arc<Block>], outside: &Outside) {
    page.by_label(&families::ORIGIN_REQUESTS, "result", &OriginOutcome::LABELS, |place| {
        sum(threads, |block| &block.origin_requests[place])
    });
    page.by_label(&families::ORIGIN_CONNECTIONS, "result", &OriginConnection::LABELS, |place| {
        sum(threads, |block| &block.origin_connections[place])
    });
    page.single(&families::CONNECTIONS_DROPPED, sum(threads, |block| &block.connections_dropped));
    page.single(&families::CONNECTIONS_SHED, sum(threads, |block| &block.connections_shed));
    page.by_label(&families::ORIGIN_WAITS, "result", &OriginWait::LABELS, |place| {
        sum(threads, |block| &block.origin_waits[place])
    });
    page.single(&families::ORIGIN_LINE, outside.origins.in_line);
    page.single(&families::ORIGINS_UNHEALTHY, outside.origins.unhealthy);
    page.single(&families::ORIGINS_EJECTED, outside.origins.ejected);
    page.single(&families::ORIGINS_OPEN, outside.origins.open);
    page.single(&families::ORIGINS_LIMITED, outside.origins.limited);
    page.single(&families::ORIGIN_RETRIES, sum(threads, |block| &block.origin_retries));
    page.by_label(&families::CACHE, "result", &CacheOutcome::LABELS, |place| {
        sum(threads, |block| &block.cache[place])
    });
    page.family(&families::CODED_ANSWERS);
    for (row, coding) in Coding::LABELS.into_iter().enumerate() {
        for (column, source) in CodedSource::LABELS.into_iter().enumerate() {
            let value = sum(threads, |block| &block.coded_answers[row][column]);
            page.sample(families::CODED_ANSWERS.name, &[("coding", coding), ("source", source)], value);
        }
    }
    page.family(&families::CODING_BYTES);
    for (row, coding) in Coding::LABELS.into_iter().enumerate() {
        for (column, direction) in Direction::LABELS.into_iter().enumerate() {
            let value = sum(threads, |block| &block.coding_bytes[row][column]);
            page.sample(families::CODING_BYTES.name, &[("coding", coding), ("direction", direction)], value);
        }
    }
    page.single(&families::CODINGS_FAILED, sum(threads, |block| &block.codings_failed));
    page.by_label(&families::HEALTH_CHECKS, "result", &Outcome::LABELS, |place| {
        registry.health_checks[place].load(Relaxed)
    });
}

fn waf(page: &mut Page, threads: &[Arc<Block>], bodies_waiting: u64) {
    page.by_label(&families::WAF, "outcome", &WafOutcome::LABELS, |place| {
        sum(threads, |block| &block.waf[place])
    });
    page.single(&families::WAF_OFF_THREAD, sum(threads, |block| &block.waf_off_thread));
    page.by_label(&families::WAF_NOT_INSPECTED, "why", &NotInspected::LABELS, |place| {
        sum(threads, |block| &block.waf_not_inspected[place])
    });
    page.single(&families::WAF_WAITING, bodies_waiting);
    page.single(&families::WAF_UNINSPECTED, sum(threads, |block| &block.waf_uninspected));
    page.single(&families::WAF_LOOKUPS, sum(threads, |block| &block.waf_lookups));
    page.by_label(&families::WAF_UNANSWERED, "operator", &Unanswered::LABELS, |place| {
        sum(threads, |block| &block.waf_unanswered[place])
    });
    page.single(&families::WAF_SHADOW, sum(threads, |block| &block.waf_shadow));
    page.single(&families::WAF_KEPT_BACK, sum(threads, |block| &block.waf_kept_back));
    page.by_label(&families::RULE_STEPS, "of", &RuleWork::LABELS, |place| {
        sum(threads, |block| &block.rule_steps[place])
    });
}

fn node(page: &mut Page, registry: &Registry, outside: &Outside) {
    page.single(&families::SNAPSHOT_NUMBER, registry.snapshot_number.load(Relaxed));
    page.by_label(&families::RELOADS, "result", &Outcome::LABELS, |place| {
        registry.reloads[place].load(Relaxed)
    });
    page.by_label(&families::CERTIFICATE_RELOADS, "result", &Outcome::LABELS, |place| {
        registry.certificate_reloads[place].load(Relaxed)
    });
    page.single(&families::PANICS, registry.panics.load(Relaxed));
    page.single(&families::HELD, outside.held.bytes);
    page.single(&families::HELD_MAX, outside.held.bytes_max);
    page.by_label(&families::OVER_BUDGET, "level", &OverLevel::LABELS, |level| outside.held.over[level]);
    let stored = &outside.stored;
    page.by_label(&families::CACHE_BYTES, "tier", &Tier::LABELS, |tier| stored.bytes[tier]);
    page.by_label(&families::CACHE_OBJECTS, "tier", &Tier::LABELS, |tier| stored.objects[tier]);
    page.family(&families::CACHE_EVENTS);
    for (event, count) in &stored.events {
        page.sample(families::CACHE_EVENTS.name, &[("event", event)], count);
    }
    page.family(&families::CONTAINED);
    for (phase, row) in registry.labels.phases.iter().zip(&registry.contained) {
        for (kind, counter) in Trouble::LABELS.into_iter().zip(row) {
            let labels = [("phase", *phase), ("kind", kind)];
            page.sample(families::CONTAINED.name, &labels, counter.load(Relaxed));
        }
    }
    page.by_label(&families::QUARANTINES, "phase", registry.labels.phases, |place| {
        registry.quarantines.get(place).map_or(0, |counter| counter.load(Relaxed))
    });
    page.single(&families::STUCK_THREADS, registry.stuck_threads.load(Relaxed));
    page.single(&families::EDGE_RESTARTS, outside.edge_restarts);
    page.single(&families::ACCESS_LOG_LINES, outside.access_log.lines_written);
    page.single(&families::ACCESS_LOG_DROPPED, outside.access_log.lines_dropped);
    page.single(&families::ACCESS_LOG_ABOVE_SHARE, outside.access_log.lines_above_share);
    page.single(&families::ACCESS_LOG_FAILURES, outside.access_log.failures);
    page.single(&families::EVENTS_SUPPRESSED, outside.events_suppressed);
    if let Some(process) = outside.process {
        page.single(&families::PROCESS_CPU, seconds(process.cpu_us));
        page.single(&families::PROCESS_RESIDENT, process.resident_bytes);
        page.single(&families::PROCESS_DESCRIPTORS, process.open_descriptors);
        page.single(&families::PROCESS_THREADS, process.threads);
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
