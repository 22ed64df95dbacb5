//! Prints what writing one typical record of the access log costs, and what one request costs in metrics.
//! Run it with `cargo run --release -p telemetry --example access_cost`. Not a test: it measures time.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use telemetry::access::{Privacy, Record};
use telemetry::metrics::{LabelLists, Protocol, Registry};
use telemetry::time::TimeText;

const ROUNDS: u32 = 1_000_000;

fn main() {
    let mut record = Record {
        time_us: 1_795_355_154_120_003,
        node: "edge-1",
        request_id: "0123456789abcdef0123456789abcdef",
        connection_id: 0xabc,
        snapshot: 7,
        account: Some("default"),
        zone: Some("example.org"),
        visitor_ip: std::net::Ipv4Addr::new(203, 0, 113, 77).into(),
        visitor_port: 50_123,
        country: None,
        protocol: "HTTP/2",
        tls: Some("TLSv1.3"),
        sni: Some("www.example.org"),
        ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6"),
        method: b"GET",
        host: b"www.example.org",
        path: b"/articles/2026/11/a-title-of-usual-length",
        query: Some(b"page=2&sort=newest"),
        status: Some(200),
        bytes_in: 0,
        bytes_out: 14_231,
        duration_us: 1_523,
        ttfb_us: Some(1_204),
        origin: Some("10.0.0.1:8080"),
        origin_us: Some(1_001),
        retries: 0,
        cache: None,
        cache_age: None,
        fault: None,
        verdict: "pass",
        rules: &[],
        score: None,
        user_agent: Some(
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
              Chrome/126.0.0.0 Safari/537.36",
        ),
        referer: Some(b"https://www.example.org/articles/"),
        waf: None,
        waf_uninspected: None,
        waf_shadow: None,
        coding: None,
        fields: &[],
    };
    let mut out = Vec::new();
    let mut time = TimeText::new();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        out.clear();
        record.time_us += 37;
        black_box(&record).write_json(&mut out, Privacy::default(), &mut time);
        black_box(&out);
    }
    println!("access record: {} ns, {} bytes", per_round(started), out.len());

    let registry = Registry::new(LabelLists { refusals: &[], faults: &[], phases: &[], abuses: &[] });
    let metrics = registry.thread();
    let started = Instant::now();
    for round in 0..ROUNDS {
        black_box(&metrics).request(Protocol::Http2, Some(200), u64::from(round));
    }
    println!("request in metrics: {} ns", per_round(started));
}

fn per_round(started: Instant) -> u128 {
    started.elapsed().as_nanos() / u128::from(ROUNDS)
}
