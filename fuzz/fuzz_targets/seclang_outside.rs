//! Fuzzes operators that make something of what a visitor sends before they ask: patterns out of macros,
//! fuzzy hashes, names below a list. No panic, every question answered once, and an end. Read next:
//! `crates/seclang/src/engine/lists.rs`.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use fuel::Fuel;
use libfuzzer_sys::fuzz_target;
use seclang::{Connection, Loader, MemoryFiles, Options, Phase, Progress, RuleSet, Transaction, Workspace};

const RULES: &str = r#"
SecRule ARGS "@rx ^%{args.p}$" "id:1,phase:2,pass,capture,chain"
  SecRule TX:0 "@rbl list.example" "t:lowercase"
SecRule ARGS_NAMES "!@rbl other.example" "id:2,phase:2,pass,multiMatch,t:urlDecode"
SecRule REQUEST_BODY "@fuzzyHash known.txt 10" "id:3,phase:2,pass"
SecRule ARGS "@rxGlobal %{args.p}" "id:4,phase:2,pass,capture"
"#;

static SET: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let mut files = MemoryFiles::default();
    files.insert("known.txt", "3:AXGBicFlIHBGcL6wCrFQEv:AXGH6xLsr2C\n192:znnnb:n\n");
    let mut loader = Loader::new(&files);
    loader.text("rules.conf", RULES);
    Arc::new(loader.finish().expect("they load"))
});

fuzz_target!(|parts: (&[u8], bool)| {
    let (body, is_listed) = parts;
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client_port: 1,
        server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 80,
        unique_id: "f",
        now_s: 0,
    };
    let mut transaction = Transaction::new(Arc::clone(&SET), &connection, &Options::default());
    let (mut fuel, mut work) = (Fuel::new(u64::MAX), Workspace::default());
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    transaction.request_body(body, &mut fuel).expect("fuel");
    let mut asked = 0;
    loop {
        match transaction.inspect(Phase::RequestBody, &mut work, &mut fuel).expect("fuel") {
            Progress::Done => break,
            Progress::More => fuel.start_slice(),
            Progress::Asks => {
                let names: Vec<String> = transaction.questions().map(|one| one.name.to_owned()).collect();
                asked += names.len();
                assert!(!names.is_empty() && asked <= seclang::limits::LOOKUPS_MAX);
                let listed = [Ipv4Addr::new(127, 0, 0, 2)];
                for name in &names {
                    transaction.answer(name, is_listed.then_some(listed.as_slice()));
                }
            }
        }
    }
    assert_eq!(transaction.questions().count(), 0);
});
