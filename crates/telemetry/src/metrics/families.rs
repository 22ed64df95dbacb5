//! The names of all metrics: the one table that page and reference are made from.
//!
//! Holds no values. Used by the page's writer and by the reference's ([`super::reference()`]). Read next:
//! [`Family`].

/// Kind of a family, as in the text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric: its name, its label names (for the reference) and its one line of help.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static str,
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($list:ident: $($constant:ident = $kind:ident $name:literal [$labels:literal] $help:literal;)*) => {
        $(pub(crate) const $constant: Family =
            Family { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*
        pub(crate) const $list: &[&Family] = &[$(&$constant,)*];
    };
}

families! { NODE:
    REQUESTS = Counter "rempart_requests_total" ["protocol, class"]
        "Requests finished, by visitor protocol and class of the final status.";
    REQUEST_DURATION = Histogram "rempart_request_duration_seconds" ["protocol, le"]
        "Time from a request's head to the end of its exchange.";
    CONNECTIONS = Counter "rempart_connections_total" ["protocol"]
        "Visitor connections accepted.";
    CONNECTIONS_OPEN = Gauge "rempart_connections_open" ["protocol"]
        "Visitor connections open now.";
    TLS_HANDSHAKES = Counter "rempart_tls_handshakes_total" ["version, result"]
        "TLS handshakes with visitors, QUIC's included.";
    REFUSALS = Counter "rempart_refusals_total" ["refusal"]
        "Requests refused on purpose.";
    FAULTS = Counter "rempart_faults_total" ["fault"]
        "Requests on whose way something broke, by RFC 9209 token.";
    ABUSE = Counter "rempart_abuse_total" ["kind"]
        "Visitors ended, refused or asked for a proof because of what they did to the protocol.";
    OVER_LIMIT = Counter "rempart_over_limit_total" ["limit, action"]
        "Requests over a rate, concurrency or flood limit of their zone, by what was done.";
    FLOODED_ZONES = Gauge "rempart_flooded_zones" [""]
        "Zones whose load is above what is usual for them now.";
    FLOOD_LIMITS = Gauge "rempart_flood_limits" ["stage"]
        "Generated limits of all zones now, by how far they are.";
    FEEDS = Gauge "rempart_feeds" ["stage"]
        "Lists and files of [geo] that have a horizon, by how old they are against it.";
    SHED = Counter "rempart_shed_total" ["worth"]
        "Requests told to come back since a serving thread had more to do than it could.";
    SHEDDING = Gauge "rempart_shedding_threads" [""]
        "Serving threads that shed requests now.";
    DELAY = Gauge "rempart_thread_delay_seconds" [""]
        "How late the latest thread was, or how much waited for its turn, at the least, over 100 ms.";
    LIMITS_FORGOTTEN = Counter "rempart_limits_forgotten_total" [""]
        "Times a limit of a zone in force gave up a visitor's count, since more came than it has room for.";
    VISITOR_BYTES = Counter "rempart_visitor_bytes_total" ["direction"]
        "Bytes of bodies from and to visitors.";
    ORIGIN_REQUESTS = Counter "rempart_origin_requests_total" ["result"]
        "Attempts at origins.";
    ORIGIN_CONNECTIONS = Counter "rempart_origin_connections_total" ["result"]
        "Connections used for attempts at origins: opened anew or reused.";
    CONNECTIONS_DROPPED = Counter "rempart_connections_dropped_total" [""]
        "Visitors' connections closed unserved: no descriptor or no room for them, or a bad PROXY header.";
    CONNECTIONS_SHED = Counter "rempart_connections_shed_total" [""]
        "Idle visitors' connections closed before their time, to make room for others.";
    ORIGIN_WAITS = Counter "rempart_origin_waits_total" ["result"]
        "Requests that found every origin of their pool full and waited, by how that ended.";
    ORIGIN_LINE = Gauge "rempart_origin_line" [""]
        "Requests that wait for a place at an origin now.";
    ORIGINS_UNHEALTHY = Gauge "rempart_origins_unhealthy" [""]
        "Origins that health checks find unwell; `origin_failed` names each.";
    ORIGINS_EJECTED = Gauge "rempart_origins_ejected" [""]
        "Origins left out for a while after failures in traffic; `origin_ejected` names each, or \
         `origin_circuit_opened`.";
    ORIGINS_OPEN = Gauge "rempart_origin_circuits_open" [""]
        "Origins whose circuit is open: most of what they were asked failed.";
    ORIGINS_LIMITED = Gauge "rempart_origins_limited" [""]
        "Origins of which it is limited how many requests wait for them, since they answer late.";
    ORIGIN_RETRIES = Counter "rempart_origin_retries_total" [""]
        "Attempts at origins after the first of a request.";
    CACHE = Counter "rempart_cache_requests_total" ["result"]
        "Requests of zones with a cache, by what it did.";
    CACHE_BYTES = Gauge "rempart_cache_bytes" ["tier"]
        "Bytes of stored answers.";
    CACHE_OBJECTS = Gauge "rempart_cache_objects" ["tier"]
        "Stored answers.";
    CACHE_EVENTS = Counter "rempart_cache_events_total" ["event"]
        "What happened to stored answers and to the disk they are on.";
    CODED_ANSWERS = Counter "rempart_coded_answers_total" ["coding, source"]
        "Answers compressed here, by coding: for one visitor, or once for all in the cache.";
    CODING_BYTES = Counter "rempart_coding_bytes_total" ["coding, direction"]
        "Bytes that encoders were fed, and that they gave.";
    CODINGS_FAILED = Counter "rempart_codings_failed_total" [""]
        "Encoders that broke, or that there was no memory for.";
    HEALTH_CHECKS = Counter "rempart_health_checks_total" ["result"]
        "Active health checks of origins.";
    WAF = Counter "rempart_waf_requests_total" ["outcome"]
        "Requests that a web application firewall was asked about, by what it came to.";
    WAF_OFF_THREAD = Counter "rempart_waf_off_thread_total" [""]
        "Bodies that were inspected off the serving threads.";
    WAF_NOT_INSPECTED = Counter "rempart_waf_not_inspected_total" ["why"]
        "Bodies that were to be inspected off the serving threads and were not.";
    WAF_WAITING = Gauge "rempart_waf_waiting_bodies" [""]
        "Bodies that wait for a thread to inspect them.";
    WAF_UNINSPECTED = Counter "rempart_waf_uninspected_bytes_total" [""]
        "Bytes of bodies beyond what is inspected.";
    WAF_LOOKUPS = Counter "rempart_waf_lookups_total" [""]
        "Names that a firewall's rules asked lists of addresses for, kept answers among them.";
    WAF_UNANSWERED = Counter "rempart_waf_unanswered_total" ["operator"]
        "Values that an operator of a firewall could not ask about, so that it found nothing.";
    WAF_SHADOW = Counter "rempart_waf_shadow_differences_total" [""]
        "Requests that a firewall's shadow judged otherwise.";
    WAF_KEPT_BACK = Counter "rempart_waf_kept_back_fetches_total" [""]
        "Answers that were fetched for the store alone and that a firewall kept back.";
    RULE_STEPS = Counter "rempart_rule_steps_total" ["of"]
        "Work of rules, in steps of about a nanosecond.";
    SNAPSHOT_NUMBER = Gauge "rempart_snapshot_number" [""]
        "Number of the snapshot that new requests see.";
    RELOADS = Counter "rempart_reloads_total" ["result"]
        "Attempts to publish a new snapshot.";
    CERTIFICATE_RELOADS = Counter "rempart_certificate_reloads_total" ["result"]
        "Attempts to load certificates whose files changed.";
    PANICS = Counter "rempart_panics_total" [""]
        "Panics caught; each is a bug.";
    HELD = Gauge "rempart_held_bytes" [""]
        "Bytes held for visitors now: heads, and pieces of bodies that wait.";
    HELD_MAX = Gauge "rempart_held_bytes_max" [""]
        "Most bytes that may be held for visitors.";
    OVER_BUDGET = Counter "rempart_over_budget_total" ["level"]
        "Times a bound on held bytes was reached.";
    CONTAINED = Counter "rempart_contained_total" ["phase, kind"]
        "Phases that broke for one request and took nothing else along.";
    QUARANTINES = Counter "rempart_quarantines_total" ["phase"]
        "Times a zone's phase broke for many visitors; it is left out for a while where that serves them.";
    STUCK_THREADS = Counter "rempart_stuck_threads_total" [""]
        "Times a serving thread was stuck in one poll; each is a bug.";
    EDGE_RESTARTS = Counter "rempart_edge_restarts_total" [""]
        "Edges started in the place of one that died or hung, since the supervisor was started.";
    ACCESS_LOG_LINES = Counter "rempart_access_log_lines_total" [""]
        "Lines of the access log written.";
    ACCESS_LOG_DROPPED = Counter "rempart_access_log_dropped_total" [""]
        "Lines of the access log dropped because its target did not keep up.";
    ACCESS_LOG_ABOVE_SHARE = Counter "rempart_access_log_above_share_total" [""]
        "Of these, lines of zones that had more of the queue than their share.";
    ACCESS_LOG_FAILURES = Counter "rempart_access_log_failures_total" [""]
        "Writes to the access log that failed and were tried again.";
    EVENTS_SUPPRESSED = Counter "rempart_events_suppressed_total" [""]
        "Operational log lines held back by the limit per event name.";
    PROCESS_CPU = Counter "rempart_process_cpu_seconds_total" [""]
        "CPU time of the process, user and system.";
    PROCESS_RESIDENT = Gauge "rempart_process_resident_memory_bytes" [""]
        "Resident memory of the process.";
    PROCESS_DESCRIPTORS = Gauge "rempart_process_open_descriptors" [""]
        "Open descriptors of the process.";
    PROCESS_THREADS = Gauge "rempart_process_threads" [""]
        "Threads of the process.";
}

families! { ZONES:
    ZONE_REQUESTS = Counter "rempart_zone_requests_total" ["zone"]
        "Requests finished, by zone.";
    ZONE_VISITOR_ERRORS = Counter "rempart_zone_visitor_errors_total" ["zone"]
        "Requests that ended with 4xx, by zone.";
    ZONE_SERVER_ERRORS = Counter "rempart_zone_server_errors_total" ["zone"]
        "Requests that ended with 5xx, by zone.";
    ZONE_SHED = Counter "rempart_zone_shed_total" ["zone"]
        "Requests told to come back since the zone was above its share of a serving thread's time, by zone.";
    ZONE_CONNECTIONS_SHED = Counter "rempart_zone_connections_shed_total" ["zone"]
        "Idle visitors' connections closed before their time, since places were short and the zone held more \
         than its share, by zone.";
    ZONE_NOT_INSPECTED = Counter "rempart_zone_bodies_not_inspected_total" ["zone"]
        "Bodies that were to be inspected off the serving threads and were not, by zone.";
    ZONE_BYTES_IN = Counter "rempart_zone_received_bytes_total" ["zone"]
        "Bytes of request bodies, by zone.";
    ZONE_BYTES_OUT = Counter "rempart_zone_sent_bytes_total" ["zone"]
        "Bytes of response bodies, by zone.";
    FEED_AGE = Gauge "rempart_feed_age_seconds" ["zone, list"]
        "How long ago a list or file of [geo] was made, of those that have a horizon.";
    FEED_HORIZON = Gauge "rempart_feed_horizon_seconds" ["zone, list"]
        "How old it may become.";
}
