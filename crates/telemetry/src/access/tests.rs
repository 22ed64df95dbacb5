//! Tests of the access log's record. Read next: [`super::Record`].

use serde_json::{Value, json};

use super::*;

fn typical() -> Record<'static> {
    Record {
        time_us: 1_795_355_154_120_003,
        node: "edge-1",
        request_id: "0123456789abcdef0123456789abcdef",
        connection_id: 0xabc,
        snapshot: 7,
        account: Some("acme"),
        zone: Some("example.org"),
        visitor_ip: "203.0.113.77".parse().unwrap(),
        visitor_port: 50_123,
        country: None,
        protocol: "HTTP/2",
        tls: Some("TLSv1.3"),
        sni: Some("www.example.org"),
        ja4: None,
        method: b"GET",
        host: b"www.example.org",
        path: b"/a/b",
        query: Some(b"q=1&token=secret"),
        status: Some(200),
        bytes_in: 0,
        bytes_out: 1024,
        duration_us: 1500,
        ttfb_us: Some(1200),
        origin: Some("http://10.0.0.1:8080"),
        origin_us: Some(1000),
        retries: 0,
        cache: None,
        cache_age: None,
        fault: None,
        verdict: "pass",
        rules: &["r1", "r2"],
        score: None,
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64)"),
        referer: Some(b"https://example.org/?q=private#part"),
        waf: Some("would_refuse"),
        waf_uninspected: Some(12),
        waf_shadow: None,
        coding: Some("br"),
        fields: &[],
    }
}

fn line(record: &Record<'_>, privacy: Privacy) -> String {
    let mut out = Vec::new();
    record.write_json(&mut out, privacy, &mut TimeText::new());
    String::from_utf8(out).unwrap()
}

fn read(record: &Record<'_>, privacy: Privacy) -> Value {
    serde_json::from_str(&line(record, privacy)).unwrap()
}

#[test]
fn writes_every_value() {
    let expected = json!({
        "schema": 1, "time": "2026-11-22T13:45:54.120003Z", "node": "edge-1",
        "request_id": "0123456789abcdef0123456789abcdef", "connection_id": "0000000000000abc",
        "snapshot": 7, "account": "acme", "zone": "example.org", "visitor_ip": "203.0.113.77",
        "visitor_port": 50123, "country": null, "protocol": "HTTP/2", "tls": "TLSv1.3",
        "sni": "www.example.org", "ja4": null, "method": "GET", "host": "www.example.org", "path": "/a/b",
        "query": "q=1&token=secret", "status": 200, "bytes_in": 0, "bytes_out": 1024, "duration_us": 1500,
        "ttfb_us": 1200, "origin": "http://10.0.0.1:8080", "origin_us": 1000, "retries": 0, "cache": null,
        "cache_age": null, "fault": null, "verdict": "pass", "rules": ["r1", "r2"], "score": null,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64)", "referer": "https://example.org/?q=private#part",
        "waf": "would_refuse", "waf_uninspected": 12, "waf_shadow": null, "coding": "br",
        "fields": null,
    });
    assert_eq!(read(&typical(), Privacy::default()), expected);
}

#[test]
fn the_reference_names_the_fields_of_a_line_in_order() {
    let line = line(&typical(), Privacy::default());
    let mut rest = line.as_str();
    for field in FIELDS {
        let name = format!("\"{}\":", field.name);
        let at = rest.find(&name).unwrap_or_else(|| panic!("{name} is missing or out of order"));
        rest = &rest[at + name.len()..];
    }
    assert_eq!(FIELDS.len(), read(&typical(), Privacy::default()).as_object().unwrap().len());
    assert!(reference().contains("| `visitor_ip` |"));
}

#[test]
fn writes_what_rules_add_as_an_object_of_values() {
    let fields = [
        ("header:x-id".to_owned(), Logged::Text(b"a\"b\n\xff".to_vec())),
        ("left".to_owned(), Logged::Int(-3)),
        ("is \"new\"".to_owned(), Logged::Bool(true)),
    ];
    let record = Record { fields: &fields, ..typical() };
    let expected = json!({ "header:x-id": "a\"b\n\u{fffd}", "left": -3, "is \"new\"": true });
    assert_eq!(read(&record, Privacy::default())["fields"], expected);
}

#[test]
fn the_schema_field_says_the_constant() {
    assert_eq!(read(&typical(), Privacy::default())["schema"], json!(SCHEMA));
}

#[test]
fn redacts_queries_in_both_places() {
    let private = Privacy { redact_query: true, ..Privacy::default() };
    let value = read(&typical(), private);
    assert_eq!(value["query"], "redacted");
    assert_eq!(value["referer"], "https://example.org/");
    let without = Record { query: None, referer: None, ..typical() };
    assert_eq!(read(&without, private)["query"], Value::Null);
    assert_eq!(read(&without, private)["referer"], Value::Null);
}

#[test]
fn truncates_addresses_of_both_families() {
    let private = Privacy { truncate_addresses: true, ..Privacy::default() };
    let shown = |address: &str| {
        let record = Record { visitor_ip: address.parse().unwrap(), ..typical() };
        read(&record, private)["visitor_ip"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown("203.0.113.77"), "203.0.113.0");
    assert_eq!(shown("::ffff:203.0.113.77"), "203.0.113.0");
    assert_eq!(shown("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
}

#[test]
fn hostile_bytes_stay_on_one_line_of_valid_json() {
    for byte in 0..=255_u8 {
        let hostile = [byte, b'\n', b'"', byte, b'\\'];
        let record = Record {
            method: &hostile,
            host: &hostile,
            path: &hostile,
            query: Some(&hostile),
            user_agent: Some(&hostile),
            referer: Some(&hostile),
            ..typical()
        };
        let line = line(&record, Privacy::default());
        assert_eq!(line.matches('\n').count(), 1);
        serde_json::from_str::<Value>(&line).unwrap();
    }
}

#[test]
fn long_values_are_cut() {
    let long = vec![0x01; 60_000];
    let record = Record { path: &long, query: Some(&long), user_agent: Some(&long), ..typical() };
    let line = line(&record, Privacy::default());
    assert!(line.len() < 3 * (6 * TEXT_BYTES_MAX + 8) + 2048, "{}", line.len());
    let value: Value = serde_json::from_str(&line).unwrap();
    assert!(value["path"].as_str().unwrap().ends_with('…'));
}

#[test]
fn only_the_first_rules_are_named() {
    let many = vec!["rule"; RULES_MAX + 5];
    let value = read(&Record { rules: &many, ..typical() }, Privacy::default());
    assert_eq!(value["rules"].as_array().unwrap().len(), RULES_MAX);
}

#[test]
fn the_reference_names_what_a_firewall_may_come_to() {
    let page = reference();
    let row = page.lines().find(|line| line.starts_with("| `waf` |")).unwrap_or_default();
    for outcome in crate::metrics::WafOutcome::ALL {
        assert!(row.contains(&format!("`{}`", outcome.label())), "{row}");
    }
}
