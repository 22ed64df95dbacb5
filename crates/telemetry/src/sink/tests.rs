//! Tests of the access log's way out, with real files and pipes. Read next: [`super::AccessLog`].

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A path of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rempart-sink-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap_or_default();
    }
}

fn record(path: &[u8]) -> Record<'_> {
    Record {
        time_us: 0,
        node: "n",
        request_id: "r",
        connection_id: 1,
        snapshot: 1,
        account: None,
        zone: None,
        visitor_ip: "192.0.2.1".parse().unwrap(),
        visitor_port: 1,
        country: None,
        protocol: "HTTP/1.1",
        tls: None,
        sni: None,
        ja4: None,
        method: b"GET",
        host: b"h",
        path,
        query: None,
        status: Some(200),
        bytes_in: 0,
        bytes_out: 0,
        duration_us: 1,
        ttfb_us: None,
        origin: None,
        origin_us: None,
        retries: 0,
        cache: None,
        cache_age: None,
        fault: None,
        verdict: "pass",
        rules: &[],
        score: None,
        user_agent: None,
        referer: None,
        waf: None,
        waf_uninspected: None,
        waf_shadow: None,
        coding: None,
        fields: &[],
    }
}

fn open(target: Target) -> AccessLog {
    AccessLog::open(target, Limits::default(), None).unwrap()
}

#[test]
fn every_line_of_every_thread_arrives_whole() {
    let scratch = Scratch::new();
    let log = open(Target::File(scratch.0.clone()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut batch = log.batch();
            scope.spawn(move || {
                for number in 0..1000 {
                    batch.record(&record(format!("/{number}").as_bytes()), Privacy::default());
                }
            });
        }
    });
    assert!(log.close(PATIENCE));
    let text = scratch.text();
    assert_eq!(text.lines().count(), 4000);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert_eq!(log.counts(), Counts { lines_written: 4000, ..Counts::default() });
}

#[test]
fn a_stalled_reader_costs_lines_and_never_a_wait() {
    let (mut reader, writer) = io::pipe().unwrap();
    let limits = Limits { queue_bytes_max: 256 * 1024, queue_batches_max: 64 };
    let log = AccessLog::open(Target::Descriptor(writer.into()), limits, None).unwrap();
    let mut batch = log.batch();
    let mut sent = 0;
    while log.counts().lines_dropped == 0 {
        batch.record(&record(b"/"), Privacy::default());
        sent += 1;
        assert!(sent < 100_000, "nothing was dropped although nobody reads");
    }
    batch.flush();
    // The reader wakes up: all that was not dropped arrives.
    let text = std::thread::scope(|scope| {
        let read = scope.spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert!(log.close(PATIENCE));
        read.join().unwrap()
    });
    let counts = log.counts();
    assert_eq!(counts.lines_written + counts.lines_dropped, sent);
    assert_eq!(text.lines().count() as u64, counts.lines_written);
}

fn of_zone(zone: &'static str) -> Record<'static> {
    Record { zone: Some(zone), ..record(b"/") }
}

#[test]
fn a_zone_that_floods_the_queue_loses_its_own_lines_and_no_others() {
    let (mut reader, writer) = io::pipe().unwrap();
    let limits = Limits { queue_bytes_max: 1024 * 1024, queue_batches_max: 1024 };
    let log = AccessLog::open(Target::Descriptor(writer.into()), limits, None).unwrap();
    // Shares are told apart by a hash with a key of the log's own: names that fall together say nothing here.
    let owner = |zone: &str| log.queue.as_ref().map(|queue| queue.shares().owner(Some(zone)));
    let apart = |taken: &[&str]| {
        let names = ["a1", "b2", "c3", "d4", "e5", "f6"].into_iter();
        names.into_iter().find(|name| taken.iter().all(|one| owner(one) != owner(name))).unwrap()
    };
    let noisy = "noisy";
    let mixed = apart(&[noisy]);
    let quiet_one = apart(&[noisy, mixed]);
    let (mut flood, mut quiet) = (log.batch(), log.batch());
    let mut flooded = 0;
    // The same thread has lines of both: they are told apart one by one.
    for round in 0..40_u64 {
        for _ in 0..500 {
            flood.record(&of_zone(noisy), Privacy::default());
            flooded += 1;
        }
        flood.record(&of_zone(mixed), Privacy::default());
        quiet.record(&of_zone(quiet_one), Privacy::default());
        flood.flush();
        quiet.flush();
        assert!(round < 10 || log.counts().lines_dropped > 0, "nothing was dropped although nobody reads");
    }
    let text = std::thread::scope(|scope| {
        let read = scope.spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert!(log.close(PATIENCE));
        read.join().unwrap()
    });
    let lines_of = |zone: &str| text.matches(&format!("\"zone\":\"{zone}\"")).count() as u64;
    assert_eq!((lines_of(quiet_one), lines_of(mixed)), (40, 40));
    let counts = log.counts();
    assert!(lines_of(noisy) > 0 && counts.lines_dropped == flooded - lines_of(noisy), "{counts:?}");
    assert_eq!(counts.lines_above_share, counts.lines_dropped);
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_neither_opening_nor_reopening_nor_closing() {
    let (scratch, moved) = (Scratch::new(), Scratch::new());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &scratch.0,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let log = open(Target::File(scratch.0.clone()));
    let mut batch = log.batch();
    // More than the pipe takes, so that the writer is in the middle of a batch.
    for _ in 0..2000 {
        batch.record(&record(b"/"), Privacy::default());
    }
    batch.flush();
    std::fs::rename(&scratch.0, &moved.0).unwrap();
    log.reopen();
    batch.record(&record(b"/after"), Privacy::default());
    batch.flush();
    assert!(log.close(PATIENCE));
    assert!(scratch.text().contains("/after"));
    assert_eq!(log.counts().lines_written, 2001);
}

#[test]
fn the_deadline_holds_when_nobody_reads() {
    let (reader, writer) = io::pipe().unwrap();
    let log = open(Target::Descriptor(writer.into()));
    let mut batch = log.batch();
    for _ in 0..2000 {
        batch.record(&record(b"/"), Privacy::default());
    }
    batch.flush();
    assert!(!log.close(Duration::from_millis(20)));
    let counts = log.counts();
    assert_eq!(counts.lines_written + counts.lines_dropped, 2000);
    drop(reader);
}

#[test]
fn lines_after_closing_count_as_dropped() {
    let scratch = Scratch::new();
    let log = open(Target::File(scratch.0.clone()));
    let mut batch = log.batch();
    batch.record(&record(b"/"), Privacy::default());
    assert!(log.close(PATIENCE));
    batch.flush();
    assert_eq!(log.counts().lines_dropped, 1);
    assert_eq!(scratch.text(), "");
}

#[test]
fn reopening_follows_the_path() {
    let (scratch, moved) = (Scratch::new(), Scratch::new());
    let log = open(Target::File(scratch.0.clone()));
    let mut batch = log.batch();
    batch.record(&record(b"/before"), Privacy::default());
    batch.flush();
    while log.counts().lines_written == 0 {
        std::thread::yield_now();
    }
    std::fs::rename(&scratch.0, &moved.0).unwrap();
    log.reopen();
    batch.record(&record(b"/after"), Privacy::default());
    batch.flush();
    assert!(log.close(PATIENCE));
    assert!(moved.text().contains("/before") && !moved.text().contains("/after"));
    assert!(scratch.text().contains("/after"));
}

#[test]
fn a_path_that_cannot_be_reopened_keeps_the_old_file() {
    let scratch = Scratch::new();
    std::fs::create_dir(&scratch.0).unwrap();
    let (path, moved) = (scratch.0.join("log"), scratch.0.join("moved"));
    let log = open(Target::File(path.clone()));
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    log.reopen();
    let mut batch = log.batch();
    batch.record(&record(b"/kept"), Privacy::default());
    batch.flush();
    assert!(log.close(PATIENCE));
    assert_eq!(log.counts().failures, 1);
    assert!(std::fs::read_to_string(&moved).unwrap().contains("/kept"));
    std::fs::remove_dir_all(&scratch.0).unwrap();
}

#[test]
fn a_failing_target_is_counted_and_told() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let scratch = Scratch::new();
    let events = Events::start(Target::File(scratch.0.clone()), || 0).unwrap();
    let target = Target::Descriptor(writer.into());
    let log = AccessLog::open(target, Limits::default(), Some(events.clone())).unwrap();
    let mut batch = log.batch();
    batch.record(&record(b"/"), Privacy::default());
    batch.flush();
    while log.counts().failures == 0 {
        std::thread::yield_now();
    }
    log.close(Duration::ZERO);
    assert!(events.close(PATIENCE));
    assert!(scratch.text().contains("access_log_write_failed"), "{}", scratch.text());
    assert_eq!(log.counts().lines_written, 0);
}

#[test]
fn a_log_that_is_off_keeps_nothing() {
    let log = AccessLog::off();
    let mut batch = log.batch();
    batch.record(&record(b"/"), Privacy::default());
    assert!(!batch.has_lines());
    assert!(log.close(Duration::ZERO));
    assert_eq!(log.counts(), Counts::default());
}
