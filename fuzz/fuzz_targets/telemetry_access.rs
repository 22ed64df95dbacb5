//! Fuzzes the access log's record: whatever a visitor sends, the line is one line of valid JSON, and text
//! that is UTF-8 reads back as it was. Read next: `crates/telemetry/src/access.rs`.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use telemetry::access::{Privacy, Record, TEXT_BYTES_MAX};
use telemetry::time::TimeText;

type Numbers = (u64, u64, u128, u16, u32);

fuzz_target!(|input: (Numbers, bool, bool, Vec<&str>, [&[u8]; 4], Option<&[u8]>, Option<&[u8]>)| {
    let (numbers, redact_query, truncate_addresses, words, texts, query, referer) = input;
    let (time_us, number, ip, small, retries) = numbers;
    let word = |at: usize| words.get(at).copied();
    let [method, host, path, agent] = texts;
    let record = Record {
        coding: None,
        fields: &[],
        time_us,
        node: word(0).unwrap_or_default(),
        request_id: word(1).unwrap_or_default(),
        connection_id: number,
        snapshot: number,
        account: word(2),
        zone: word(3),
        visitor_ip: if ip >> 32 == 0 { IpAddr::V4((ip as u32).into()) } else { IpAddr::V6(ip.into()) },
        visitor_port: small,
        country: word(4),
        protocol: word(5).unwrap_or_default(),
        tls: word(6),
        sni: word(7),
        ja4: word(8),
        method,
        host,
        path,
        query,
        status: (small > 0).then_some(small),
        bytes_in: number,
        bytes_out: time_us,
        duration_us: number,
        ttfb_us: Some(number),
        origin: word(9),
        origin_us: None,
        retries,
        cache: word(10),
        cache_age: Some(time_us),
        fault: word(11),
        verdict: word(12).unwrap_or_default(),
        rules: &words,
        score: Some(retries),
        user_agent: Some(agent),
        referer,
        waf: None,
        waf_uninspected: Some(u64::from(retries)),
        waf_shadow: None,
    };
    let privacy = Privacy { redact_query, truncate_addresses };
    let mut line = b"before\n".to_vec();
    record.write_json(&mut line, privacy, &mut TimeText::default());
    let line = line.strip_prefix(b"before\n").expect("what was there stays");
    let text = std::str::from_utf8(line).expect("UTF-8").strip_suffix('\n').expect("a line");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let value: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(35));
    assert_eq!(value["schema"], 1);
    assert_eq!(value["bytes_in"], number);
    for (name, sent) in [("method", method), ("host", host), ("path", path), ("user_agent", agent)] {
        if let (Ok(sent), true) = (std::str::from_utf8(sent), sent.len() <= TEXT_BYTES_MAX) {
            assert_eq!(value[name], sent);
        }
    }
    if redact_query {
        assert!(value["query"].is_null() || value["query"] == "redacted");
        assert!(value["referer"].as_str().is_none_or(|referer| !referer.contains('?')));
    }
});
