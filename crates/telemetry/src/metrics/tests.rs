//! Tests of the registry and its page. Read next: [`super::Registry`].

use std::collections::BTreeSet;

use super::*;
use crate::sink::Counts;

const LABELS: LabelLists = LabelLists {
    refusals: &["no_zone", "head_too_large"],
    faults: &["dns_timeout"],
    phases: &["route"],
    abuses: &["slow_head", "ping_flood"],
};

fn full() -> Outside {
    let process = Process { cpu_us: 1_500_000, resident_bytes: 4096, threads: 3, open_descriptors: 9 };
    Outside {
        access_log: Counts { lines_written: 5, lines_dropped: 2, lines_above_share: 1, failures: 1 },
        events_suppressed: 4,
        held: Held { bytes: 10, bytes_max: 20, over: [1, 2, 3] },
        limits_forgotten: 6,
        bodies_waiting: 3,
        flooded_zones: 1,
        flood_limits: [4, 5, 6],
        feeds: [7, 8, 9],
        shedding_threads: 2,
        delay_us: 70_000,
        origins: Origins { unhealthy: 4, ejected: 5, open: 1, limited: 2, in_line: 3 },
        stored: Stored { bytes: [7, 8], objects: [3, 4], events: vec![("evictions", 6)] },
        edge_restarts: 9,
        process: Some(process),
    }
}

#[track_caller]
fn assert_lines(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|found| found == *line), "{line} is not in\n{page}");
    }
}

#[test]
fn sums_over_threads_also_after_their_end() {
    let registry = Registry::new(LABELS);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let metrics = registry.thread();
            scope.spawn(move || {
                for _ in 0..1000 {
                    metrics.request(Protocol::Http2, Some(204), 700);
                }
                metrics.connection_opened(Protocol::Http3);
            });
        }
    });
    assert_lines(
        &registry.render(&Outside::default()),
        &[
            "rempart_requests_total{protocol=\"http2\",class=\"2xx\"} 3000",
            "rempart_requests_total{protocol=\"http1\",class=\"2xx\"} 0",
            "rempart_request_duration_seconds_bucket{protocol=\"http2\",le=\"0.0005\"} 0",
            "rempart_request_duration_seconds_bucket{protocol=\"http2\",le=\"0.001\"} 3000",
            "rempart_request_duration_seconds_bucket{protocol=\"http2\",le=\"+Inf\"} 3000",
            "rempart_request_duration_seconds_sum{protocol=\"http2\"} 2.100000",
            "rempart_request_duration_seconds_count{protocol=\"http2\"} 3000",
            "rempart_connections_open{protocol=\"http3\"} 3",
        ],
    );
}

#[test]
fn each_call_moves_its_own_series() {
    let registry = Registry::new(LABELS);
    let metrics = registry.thread();
    metrics.connection_opened(Protocol::Http1);
    metrics.connection_opened(Protocol::Http1);
    metrics.connection_closed(Protocol::Http1);
    metrics.request(Protocol::Http1, None, 90_000_000);
    metrics.request(Protocol::Http1, Some(101), 1);
    metrics.request(Protocol::Http1, Some(599), 1);
    metrics.tls_handshake(TlsVersion::Tls13, HandshakeOutcome::Failed);
    metrics.refusal(1);
    metrics.fault(0);
    metrics.abuse(1);
    metrics.over_limit(LimitKind::Concurrency, LimitAction::Log);
    metrics.visitor_bytes(Direction::In, 10);
    metrics.visitor_bytes(Direction::Out, 20);
    metrics.origin_request(OriginOutcome::Fault);
    metrics.origin_connection(OriginConnection::Reused);
    metrics.origin_retry();
    metrics.cache(CacheOutcome::Stale);
    metrics.connections_dropped(2);
    metrics.connections_shed(3);
    metrics.shed(Worth::Stranger);
    metrics.origin_wait(OriginWait::Placed);
    registry.set_snapshot_number(42);
    registry.panicked();
    registry.reloaded(Outcome::Failed);
    registry.certificates_reloaded(Outcome::Ok);
    registry.health_checked(Outcome::Failed);
    assert_lines(
        &registry.render(&full()),
        &[
            "rempart_connections_total{protocol=\"http1\"} 2",
            "rempart_connections_open{protocol=\"http1\"} 1",
            "rempart_requests_total{protocol=\"http1\",class=\"none\"} 1",
            "rempart_requests_total{protocol=\"http1\",class=\"1xx\"} 1",
            "rempart_requests_total{protocol=\"http1\",class=\"5xx\"} 1",
            "rempart_request_duration_seconds_bucket{protocol=\"http1\",le=\"60\"} 2",
            "rempart_request_duration_seconds_bucket{protocol=\"http1\",le=\"+Inf\"} 3",
            "rempart_tls_handshakes_total{version=\"1.3\",result=\"failed\"} 1",
            "rempart_refusals_total{refusal=\"no_zone\"} 0",
            "rempart_refusals_total{refusal=\"head_too_large\"} 1",
            "rempart_abuse_total{kind=\"slow_head\"} 0",
            "rempart_abuse_total{kind=\"ping_flood\"} 1",
            "rempart_over_limit_total{limit=\"rate\",action=\"log\"} 0",
            "rempart_over_limit_total{limit=\"concurrency\",action=\"block\"} 0",
            "rempart_over_limit_total{limit=\"concurrency\",action=\"log\"} 1",
            "rempart_shed_total{worth=\"stranger\"} 1",
            "rempart_shed_total{worth=\"known\"} 0",
            "rempart_shedding_threads 2",
            "rempart_flooded_zones 1",
            "rempart_feeds{stage=\"past_horizon\"} 9",
            "rempart_flood_limits{stage=\"tight\"} 6",
            "rempart_thread_delay_seconds 0.070000",
            "rempart_limits_forgotten_total 6",
            "rempart_faults_total{fault=\"dns_timeout\"} 1",
            "rempart_visitor_bytes_total{direction=\"in\"} 10",
            "rempart_visitor_bytes_total{direction=\"out\"} 20",
            "rempart_origin_requests_total{result=\"fault\"} 1",
            "rempart_origin_connections_total{result=\"reused\"} 1",
            "rempart_origin_retries_total 1",
            "rempart_edge_restarts_total 9",
            "rempart_origin_waits_total{result=\"placed\"} 1",
            "rempart_origin_waits_total{result=\"sent_away\"} 0",
            "rempart_origins_unhealthy 4",
            "rempart_origins_ejected 5",
            "rempart_origin_circuits_open 1",
            "rempart_origins_limited 2",
            "rempart_origin_line 3",
            "rempart_cache_requests_total{result=\"stale\"} 1",
            "rempart_cache_requests_total{result=\"hit\"} 0",
            "rempart_cache_bytes{tier=\"disk\"} 8",
            "rempart_cache_objects{tier=\"memory\"} 3",
            "rempart_cache_events_total{event=\"evictions\"} 6",
            "rempart_connections_dropped_total 2",
            "rempart_connections_shed_total 3",
            "rempart_snapshot_number 42",
            "rempart_panics_total 1",
            "rempart_reloads_total{result=\"failed\"} 1",
            "rempart_certificate_reloads_total{result=\"ok\"} 1",
            "rempart_health_checks_total{result=\"failed\"} 1",
            "rempart_access_log_lines_total 5",
            "rempart_access_log_dropped_total 2",
            "rempart_access_log_above_share_total 1",
            "rempart_access_log_failures_total 1",
            "rempart_events_suppressed_total 4",
            "rempart_process_cpu_seconds_total 1.500000",
            "rempart_process_resident_memory_bytes 4096",
            "rempart_process_open_descriptors 9",
            "rempart_process_threads 3",
        ],
    );
}

#[test]
fn the_page_and_the_reference_name_the_same_families_in_the_same_order() {
    let on_page = |page: &str| -> Vec<String> {
        page.lines()
            .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned()))
            .collect()
    };
    let names = |families: &[&families::Family]| -> Vec<String> {
        families.iter().map(|family| family.name.to_owned()).collect()
    };
    let listed: BTreeSet<_> = names(families::NODE).into_iter().collect();
    let page = on_page(&Registry::new(LABELS).render(&full()));
    assert_eq!(page.iter().cloned().collect::<BTreeSet<_>>(), listed);
    assert_eq!(page.len(), listed.len());
    assert_eq!(on_page(&zones::ZoneTable::new().render(&[])), names(families::ZONES));
    for name in page {
        assert!(reference_with("some_word").contains(&format!("| `{name}` |")));
    }
}

#[test]
fn names_follow_the_pattern_and_counters_say_total() {
    for family in families::NODE.iter().chain(families::ZONES) {
        assert!(family.name.starts_with("rempart_"), "{}", family.name);
        let is_counter = family.kind == families::Kind::Counter;
        assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
    }
}

#[test]
fn bucket_labels_say_the_bounds() {
    for (bound_us, label) in BUCKETS_US.into_iter().zip(block::BUCKET_LABELS) {
        let label_us = label.parse::<f64>().unwrap() * 1_000_000.0;
        assert!((label_us - bound_us as f64).abs() < 0.5, "{label}");
    }
    assert!(BUCKETS_US.is_sorted());
}

#[test]
fn a_bound_belongs_to_its_own_bucket() {
    let registry = Registry::new(LABELS);
    registry.thread().request(Protocol::Http1, Some(200), 500);
    let line = "rempart_request_duration_seconds_bucket{protocol=\"http1\",le=\"0.0005\"} 1";
    assert_lines(&registry.render(&Outside::default()), &[line]);
}

/// Values of a label that the page has, of one metric.
fn on_page(page: &str, family: &str, label: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for line in page.lines() {
        let labels = line.strip_prefix(family).and_then(|rest| rest.split_once('{'));
        let Some((_, labels)) = labels.filter(|(suffix, _)| ["", "_bucket"].contains(suffix)) else {
            continue;
        };
        let value = labels.split_once(&format!("{label}=\"")).and_then(|(_, rest)| rest.split('"').next());
        values.extend(value.map(str::to_owned));
    }
    values
}

fn reference_with(word: &str) -> String {
    let told = [(word.to_owned(), "What it means.".to_owned())];
    reference(&Elsewhere { abuses: &told, cache_events: &told, phases: &told })
}

#[test]
fn the_reference_says_what_each_value_of_each_label_means() {
    use super::families::{NODE, ZONES};
    use super::reference::{Values, labels, values};
    let page = Registry::new(LABELS).render(&full());
    let mut seen = 0;
    for family in NODE.iter().chain(ZONES) {
        for label in labels(family) {
            let meant = values(family, label);
            let meant = meant.unwrap_or_else(|| panic!("{}{{{label}}} is not explained", family.name));
            if let Values::Are(known) = meant {
                let known: BTreeSet<String> = known.iter().map(|(value, _)| (*value).to_owned()).collect();
                assert_eq!(on_page(&page, family.name, label), known, "{}", family.name);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
    let text = reference_with("some_word");
    for row in [
        "### `kind` of `rempart_abuse_total`\n\n| value | means |\n| --- | --- |\n\
         | `some_word` | What it means. |\n",
        "### `phase` of `rempart_contained_total`, `rempart_quarantines_total`\n",
        "| `gave_up` | It waited, and its place went to a zone with fewer waiting. |\n",
    ] {
        assert!(text.contains(row), "{row} is not in\n{text}");
    }
}
