//! Tests of the operational log lines. Read next: [`super::Events`].

use std::io::Read;

use serde_json::{Value as Json, json};

use super::*;

/// Runs `act` with events into a pipe, and gives the lines read back.
fn lines(clock: fn() -> u64, act: impl FnOnce(&Events)) -> Vec<Json> {
    let (mut reader, writer) = io::pipe().unwrap();
    let events = Events::start(Target::Descriptor(writer.into()), clock).unwrap();
    act(&events);
    assert!(events.close(Duration::from_secs(60)));
    drop(events);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_has_time_level_name_and_fields() {
    let written = lines(
        || 1_000_001,
        |events| {
            events.warn(
                "certificate_reload_failed",
                &[
                    ("zone", "example.org".into()),
                    ("raw", b"\xff\n"[..].into()),
                    ("number", 7_u64.into()),
                    ("kept", true.into()),
                ],
            );
        },
    );
    let expected = json!({
        "time": "1970-01-01T00:00:01.000001Z", "level": "warn", "event": "certificate_reload_failed",
        "zone": "example.org", "raw": "\u{fffd}\n", "number": 7, "kept": true,
    });
    assert_eq!(written, [expected]);
}

#[test]
fn one_name_is_limited_and_others_are_not() {
    let written = lines(
        || 5_000_000,
        |events| {
            for _ in 0..LINES_PER_SECOND_MAX + 3 {
                events.error("loop", &[]);
            }
            events.info("other", &[]);
            assert_eq!(events.suppressed(), 3);
        },
    );
    assert_eq!(written.iter().filter(|line| line["event"] == "loop").count(), LINES_PER_SECOND_MAX as usize);
    assert_eq!(written.iter().filter(|line| line["event"] == "other").count(), 1);
}

#[test]
fn the_next_second_tells_what_was_held_back() {
    static NOW_US: AtomicU64 = AtomicU64::new(0);
    let written = lines(
        || NOW_US.load(Relaxed),
        |events| {
            for _ in 0..LINES_PER_SECOND_MAX + 3 {
                events.error("loop", &[]);
            }
            NOW_US.store(1_000_000, Relaxed);
            events.error("loop", &[]);
            events.error("loop", &[]);
        },
    );
    let last: Vec<_> = written.iter().rev().take(2).map(|line| line["suppressed"].clone()).collect();
    assert_eq!(last, [Json::Null, json!(3)]);
}

#[test]
fn a_stalled_reader_stops_nobody() {
    static NOW_US: AtomicU64 = AtomicU64::new(0);
    let (reader, writer) = io::pipe().unwrap();
    let clock = || NOW_US.fetch_add(1_000_000, Relaxed);
    let events = Events::start(Target::Descriptor(writer.into()), clock).unwrap();
    let long = "x".repeat(VALUE_BYTES_MAX);
    let mut sent = 0;
    while events.counts().lines_dropped == 0 {
        events.info("noise", &[("text", (&long).into())]);
        sent += 1;
        assert!(sent < 100_000, "nothing was dropped although nobody reads");
    }
    drop(reader);
}
