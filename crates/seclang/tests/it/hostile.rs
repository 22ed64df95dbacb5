//! Bodies and heads made to cost: every one ends, in fuel that grows with its bytes and not faster, and none
//! panics.

use std::sync::Arc;

use fuel::Fuel;
use proptest::prelude::*;
use seclang::{Loader, MemoryFiles, Options, Phase, RuleSet, Workspace};

use crate::language::begin;
use crate::rig::{base_rules, crs_folder};

/// Steps per byte of body that no input may pass: all rules of level 1, each with its dearest price.
const STEPS_PER_BYTE_MAX: u64 = 4_000;

/// What every request costs before its first byte.
const STEPS_AT_LEAST: u64 = 2_000_000;

fn cost(set: &Arc<RuleSet>, kind: &str, body: &[u8]) -> u64 {
    let mut transaction = begin(set, &Options::default());
    let (mut fuel, mut work) = (Fuel::new(u64::MAX), Workspace::default());
    transaction.request_line(b"POST", b"/a/b.php?q=1", b"HTTP/1.1");
    transaction.request_header(b"Host", b"example.org");
    transaction.request_header(b"Content-Type", kind.as_bytes());
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    for chunk in body.chunks(4_000) {
        transaction.request_body(chunk, &mut fuel).expect("fuel");
    }
    transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
    fuel.used()
}

const SETUP: &str = r#"
SecAction "id:1,phase:1,pass,nolog,ctl:forceRequestBodyVariable=On"
SecRule REQUEST_HEADERS:Content-Type "json" "id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "xml" "id:3,phase:1,pass,nolog,ctl:requestBodyProcessor=XML"
"#;

#[test]
fn no_body_costs_more_than_its_bytes_may() {
    let Some(folder) = crs_folder() else { return };
    let set = Arc::new(crate::rig::load_crs(&folder, &[SETUP]));
    let bytes = 8_192;
    let nested = |open: &str, close: &str, depth: usize| [open.repeat(depth), close.repeat(depth)].concat();
    let many =
        |pair: &str| (0..bytes / 8).map(|number| format!("{pair}{number}=x")).collect::<Vec<_>>().join("&");
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("application/json", nested("[", "]", bytes / 2).into_bytes()),
        ("application/json", nested("{\"a\":", "}", bytes / 6).into_bytes()),
        ("application/json", format!("[{}]", vec!["1"; bytes / 2].join(",")).into_bytes()),
        ("application/json", format!("{{\"{}\":1}}", "k".repeat(bytes)).into_bytes()),
        ("text/xml", nested("<a>", "</a>", bytes / 7).into_bytes()),
        (
            "text/xml",
            format!("<a {}/>", (0..bytes / 10).map(|n| format!("b{n}=\"1\"")).collect::<Vec<_>>().join(" "))
                .into_bytes(),
        ),
        ("text/xml", b"<!DOCTYPE a [<!ENTITY b \"cc\"><!ENTITY d \"&b;&b;&b;\">]><a>&d;&d;</a>".to_vec()),
        ("application/x-www-form-urlencoded", many("a").into_bytes()),
        ("application/x-www-form-urlencoded", format!("a={}", "'\"`".repeat(bytes / 3)).into_bytes()),
        ("application/x-www-form-urlencoded", format!("a={}", "(".repeat(bytes)).into_bytes()),
        (
            "application/x-www-form-urlencoded",
            format!("a={}", "<a href=x on".repeat(bytes / 12)).into_bytes(),
        ),
        ("application/x-www-form-urlencoded", format!("a={}", "../".repeat(bytes / 3)).into_bytes()),
        ("application/x-www-form-urlencoded", format!("a={}", " or 1=1 ".repeat(bytes / 8)).into_bytes()),
        ("application/x-www-form-urlencoded", format!("a={}", "/*".repeat(bytes / 2)).into_bytes()),
        ("application/x-www-form-urlencoded", format!("a={}", "%25".repeat(bytes / 3)).into_bytes()),
        ("application/x-www-form-urlencoded", format!("a={}", "&amp;".repeat(bytes / 5)).into_bytes()),
        ("application/octet-stream", (0..bytes).map(|n| (n * 167 % 251) as u8).collect()),
        ("multipart/form-data; boundary=x", "--x\r\n".repeat(bytes / 5).into_bytes()),
        ("multipart/form-data; boundary=x", format!("--x\r\n{}", "a: b\r\n".repeat(bytes / 6)).into_bytes()),
    ];
    for (kind, body) in bodies {
        let used = cost(&set, kind, &body);
        let bound = STEPS_AT_LEAST + body.len() as u64 * STEPS_PER_BYTE_MAX;
        let begin = String::from_utf8_lossy(&body[..body.len().min(24)]).into_owned();
        assert!(used <= bound, "{kind} {begin}: {used} steps for {} bytes, {bound} allowed", body.len());
    }
}

#[test]
fn a_transaction_holds_no_more_than_its_limits() {
    let text = "SecArgumentsLimit 100000\nSecRule &ARGS \"@gt 5\" \"id:1,phase:2,pass\"";
    let set = crate::language::rules(text);
    let mut transaction =
        begin(&set, &Options { request_body_bytes: Some(10_000_000), ..Options::default() });
    let (mut fuel, mut work) = (Fuel::new(u64::MAX), Workspace::default());
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    for _ in 0..100 {
        transaction.request_body("a=b&".repeat(1_000).as_bytes(), &mut fuel).expect("fuel");
    }
    transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
    assert!(transaction.values("ARGS").count() <= seclang::limits::ITEMS_MAX);
    assert!(transaction.uninspected().values);
    assert_eq!(transaction.matches().len(), 1);
}

#[test]
fn rules_that_append_to_a_variable_meet_its_end() {
    let doubling = "setvar:'tx.a=%{tx.a}%{tx.a}'";
    let text =
        format!("SecAction \"id:1,phase:1,pass,nolog,setvar:tx.a=0123456789,{}\"", [doubling; 30].join(","));
    let set = crate::language::rules(&text);
    let mut transaction = begin(&set, &Options::default());
    transaction.request_line(b"GET", b"/", b"HTTP/1.1");
    transaction
        .inspect_whole(Phase::RequestHead, &mut Workspace::default(), &mut Fuel::new(u64::MAX))
        .expect("fuel");
    assert_eq!(transaction.variable("a").map(|text| text.len()), Some(seclang::limits::TEXT_BYTES_MAX));
}

#[test]
fn a_spent_tank_takes_nothing_from_the_transactions_after_it() {
    let set = crate::language::rules("SecRule ARGS \"@rx evil\" \"id:1,phase:1,deny,log\"");
    let ask = |work: &mut Workspace, steps: u64| {
        let mut transaction = begin(&set, &crate::language::ON);
        let mut fuel = Fuel::new(steps);
        transaction.request_line(b"GET", b"/?q=evil&r=Evil%20too", b"HTTP/1.1");
        let ended = transaction.inspect_whole(Phase::RequestHead, work, &mut fuel);
        (ended.is_ok(), transaction.interruption().is_some(), fuel.used())
    };
    let (is_done, is_refused, whole) = ask(&mut Workspace::default(), u64::MAX);
    assert!(is_done && is_refused);
    let mut lost = Vec::new();
    for steps in 0..whole {
        let mut work = Workspace::default();
        let (is_done, ..) = ask(&mut work, steps);
        assert!(!is_done, "{steps}");
        let (is_done, is_refused, used) = ask(&mut work, whole);
        if !(is_done && is_refused && used <= whole) {
            lost.push(steps);
        }
    }
    assert_eq!(lost, [0; 0], "of {whole} tanks that end too early");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_the_loader_panic(
        text in "((SecRule|SecAction|SecMarker|Include|SecRuleUpdateTargetById|SecDefaultAction|SecX) \
                 [A-Z_&!|:/a-z*@\"'\\\\,;=%{}. 0-9\\[\\]()^$+?-]{0,60}\\\\?\n){0,6}",
    ) {
        let files = MemoryFiles::default();
        let mut loader = Loader::new(&files);
        loader.text("t.conf", &text);
        let _ = loader.finish();
    }

    #[test]
    fn no_request_makes_the_engine_panic(
        target in prop::collection::vec(any::<u8>(), 0..60),
        name in prop::collection::vec(any::<u8>(), 0..12),
        value in prop::collection::vec(any::<u8>(), 0..60),
        body in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0_usize..5,
    ) {
        let Some(folder) = crs_folder() else { return Ok(()) };
        static RULES: std::sync::OnceLock<Arc<RuleSet>> = std::sync::OnceLock::new();
        let set = RULES.get_or_init(|| Arc::new(base_rules(&folder)));
        let mut transaction = begin(set, &Options::default());
        transaction.preset("blocking_paranoia_level", b"4");
        let (mut fuel, mut work) = (Fuel::new(u64::MAX), Workspace::default());
        let kinds = ["application/json", "text/xml", "multipart/form-data; boundary=x", "text/plain",
            "application/x-www-form-urlencoded"];
        transaction.request_line(b"POST", &target, b"HTTP/1.1");
        transaction.request_header(&name, &value);
        transaction.request_header(b"Cookie", &value);
        transaction.request_header(b"Content-Type", kinds[kind].as_bytes());
        for phase in [Phase::RequestHead, Phase::RequestBody, Phase::Logging] {
            transaction.inspect_whole(phase, &mut work, &mut fuel).expect("fuel");
            transaction.request_body(&body, &mut fuel).expect("fuel");
        }
    }
}
