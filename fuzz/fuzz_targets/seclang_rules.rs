//! Fuzzes rules and what they do to a request: no panic, problems with their places, and the same matches
//! with the prefilter as without. Read next: `crates/seclang/src/load.rs`.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fuel::Fuel;
use libfuzzer_sys::fuzz_target;
use seclang::{Connection, EngineMode, Loader, MemoryFiles, Options, Phase, Transaction, Workspace};

fuzz_target!(|parts: (&str, &[u8])| {
    let (text, value) = parts;
    let files = MemoryFiles::default();
    let mut loader = Loader::new(&files);
    loader.text("rules.conf", text);
    let set = match loader.finish() {
        Ok(set) => Arc::new(set),
        Err(error) => {
            assert!(!error.problems.is_empty());
            let lines = text.split('\n').count();
            for problem in &error.problems {
                assert!(problem.place.line as usize <= lines, "{problem}");
            }
            return;
        }
    };
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client_port: 1,
        server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 80,
        unique_id: "f",
        now_s: 0,
    };
    let found = [true, false].map(|is_plain| {
        let options = Options { mode: Some(EngineMode::On), is_plain, ..Options::default() };
        let mut transaction = Transaction::new(Arc::clone(&set), &connection, &options);
        let (mut fuel, mut work) = (Fuel::new(u64::MAX), Workspace::default());
        transaction.request_line(b"POST", value, b"HTTP/1.1");
        transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
        transaction.request_header(b"Cookie", value);
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        transaction.request_body(value, &mut fuel).expect("fuel");
        transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        transaction
    });
    assert_eq!(found[0].matches(), found[1].matches());
    assert_eq!(found[0].interruption(), found[1].interruption());
});
