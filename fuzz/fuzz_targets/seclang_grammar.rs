//! Fuzzes document types and schemas, and documents judged by them: no panic, problems at the rule's place,
//! the same verdict however the document is cut. Read next: `crates/seclang/src/xml.rs`.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fuel::Fuel;
use libfuzzer_sys::fuzz_target;
use seclang::{Connection, EngineMode, Loader, MemoryFiles, Options, Phase, Transaction, Workspace};

const RULES: [&str; 2] = [
    "SecAction \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=XML\"\n\
     SecRule XML \"@validateDTD g\" \"id:2,phase:2,pass,log\"",
    "SecAction \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=XML\"\n\
     SecRule XML \"@validateSchema g\" \"id:2,phase:2,pass,log\"",
];

fuzz_target!(|parts: (bool, &[u8], &[u8])| {
    let (is_schema, grammar, document) = parts;
    let mut files = MemoryFiles::default();
    files.insert("g", grammar);
    let mut loader = Loader::new(&files);
    loader.text("rules.conf", RULES[usize::from(is_schema)]);
    let set = match loader.finish() {
        Ok(set) => Arc::new(set),
        Err(error) => {
            assert!(error.problems.iter().all(|problem| problem.place.line == 2));
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
    let found = [1, 7, usize::MAX].map(|piece| {
        let options = Options { mode: Some(EngineMode::On), ..Options::default() };
        let mut transaction = Transaction::new(Arc::clone(&set), &connection, &options);
        let (mut fuel, mut work) = (Fuel::new(u64::MAX), Workspace::default());
        transaction.request_line(b"POST", b"/", b"HTTP/1.1");
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        for piece in document.chunks(piece) {
            transaction.request_body(piece, &mut fuel).expect("fuel");
        }
        transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        transaction.matches().len()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
});
