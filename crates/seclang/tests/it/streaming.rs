//! A transaction as a proxy runs it: bodies in pieces, slices of fuel, ceilings.

use fuel::{Fuel, Spent};
use proptest::prelude::*;
use seclang::{EngineMode, Options, Phase, Progress, Transaction, Workspace};

use crate::language::{ON, begin, rules};

const RULES: &str = r#"
SecRule REQUEST_HEADERS:Content-Type "json" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "xml" "id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule ARGS|ARGS_NAMES|XML:/*|XML://@*|FILES|FILES_NAMES|REQUEST_BODY "@rx (?i)e\s*v\s*i\s*l" \
    "id:10,phase:2,pass,t:none,t:urlDecodeUni,t:htmlEntityDecode"
SecRule MULTIPART_STRICT_ERROR|REQBODY_ERROR "@eq 1" "id:11,phase:2,pass"
SecRule RESPONSE_BODY "@contains leak" "id:12,phase:4,pass"
"#;

fn outcome(kind: &str, body: &[u8], chunks: &[usize]) -> Vec<String> {
    let set = rules(RULES);
    let mut transaction = begin(&set, &ON);
    let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", kind.as_bytes());
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    let mut rest = body;
    for size in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
        transaction.request_body(chunk, &mut fuel).expect("fuel");
        rest = after;
    }
    transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
    let found = transaction.matches().iter();
    found.map(|found| format!("{} {:?}", found.id, found.variables)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_split_of_a_body_changes_nothing(
        kind in 0_usize..4,
        text in "[a-z<>&;%\\\\\"'=\\[\\]{}:, \r\n0-9-]{0,40}(evil)?[a-z<>&;%\"=\\]}\r\n-]{0,40}",
        chunks in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let (kind, body) = [
            ("application/x-www-form-urlencoded", format!("a={text}&b=2")),
            ("multipart/form-data; boundary=xx", format!(
                "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{text}\r\n--xx--\r\n"
            )),
            ("application/json", format!("{{\"a\":\"{text}\"}}")),
            ("text/xml", format!("<a b=\"1\">{text}</a>")),
        ][kind].clone();
        let whole = outcome(kind, body.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(outcome(kind, body.as_bytes(), &chunks), whole);
    }
}

#[test]
fn a_long_evaluation_gives_its_thread_back_and_goes_on() {
    let set = rules(RULES);
    let run = |whole: bool| {
        let mut transaction = begin(&set, &ON);
        let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
        transaction.request_line(b"POST", b"/", b"HTTP/1.1");
        transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        let body: Vec<String> = (0..900).map(|number| format!("n{number}=ev%69l+{number}")).collect();
        transaction.request_body(body.join("&").as_bytes(), &mut fuel).expect("fuel");
        let mut slices = 0;
        if whole {
            transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        } else {
            // Another transaction uses the thread's workspace in between.
            let mut other = begin(&set, &ON);
            other.request_line(b"GET", b"/?x=1", b"HTTP/1.1");
            fuel.start_slice();
            while transaction.inspect(Phase::RequestBody, &mut work, &mut fuel).expect("fuel")
                == Progress::More
            {
                slices += 1;
                let mut own = Fuel::new(1_000_000);
                other.inspect_whole(Phase::RequestHead, &mut work, &mut own).expect("fuel");
                fuel.start_slice();
            }
        }
        (transaction.matches().to_vec(), slices)
    };
    let (in_slices, slices) = run(false);
    assert!(slices > 1, "{slices} slices");
    assert_eq!(in_slices, run(true).0);
    assert_eq!(in_slices.len(), 1);
}

#[test]
fn spent_fuel_ends_the_evaluation_at_once() {
    let set = rules(RULES);
    let mut transaction = begin(&set, &ON);
    transaction.request_line(b"GET", format!("/?a={}", "b".repeat(5_000)).as_bytes(), b"HTTP/1.1");
    let mut work = Workspace::default();
    assert_eq!(transaction.inspect(Phase::RequestHead, &mut work, &mut Fuel::new(10)), Err(Spent));
    let mut fuel = Fuel::new(2_000);
    let head = transaction.inspect(Phase::RequestHead, &mut work, &mut fuel);
    assert_eq!(head.and_then(|_| transaction.inspect(Phase::RequestBody, &mut work, &mut fuel)), Err(Spent));
}

fn upload(options: &Options, body: &[&[u8]], kind: &str) -> Transaction {
    let set = rules(RULES);
    let mut transaction = begin(&set, options);
    let (mut fuel, mut work) = (Fuel::new(10_000_000_000), Workspace::default());
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Content-Type", kind.as_bytes());
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    for chunk in body {
        transaction.request_body(chunk, &mut fuel).expect("fuel");
    }
    transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
    transaction
}

#[test]
fn a_body_beyond_the_ceiling_is_not_inspected_and_not_held_against_it() {
    let options = Options { request_body_bytes: Some(100), ..ON };
    let long = format!("{{\"a\":\"{}\",\"b\":\"evil\"}}", "x".repeat(200));
    let transaction = upload(&options, &[long.as_bytes()], "application/json");
    assert_eq!(transaction.uninspected().request_body_bytes, long.len() as u64 - 100);
    assert!(transaction.matches().is_empty(), "{:?}", transaction.matches());
    assert!(upload(&options, &[b"{\"b\":\"evil\"}"], "application/json").uninspected().is_nothing());
}

#[test]
fn a_larger_window_is_inspected_to_its_end() {
    const MIB: usize = 1024 * 1024;
    for (window, values) in [(MIB + MIB / 2, 1), (3 * MIB, 2), (6 * MIB, 4)] {
        let long = "x".repeat((window - 100) / values);
        let pairs: Vec<String> = (0..values).map(|number| format!("{number}={long}")).collect();
        let body = format!("{}&last=evil", pairs.join("&"));
        assert!(body.len() <= window && body.len() > window - 100);
        let options = Options { request_body_bytes: Some(window), ..ON };
        let chunks: Vec<&[u8]> = body.as_bytes().chunks(65_536).collect();
        let transaction = upload(&options, &chunks, "application/x-www-form-urlencoded");
        assert_eq!(transaction.values("ARGS").count(), values + 1, "{window}");
        assert_eq!(transaction.values("REQUEST_BODY").map(|(_, body)| body.len()).sum::<usize>(), body.len());
        assert_eq!(transaction.values("REQBODY_ERROR").next().map(|(_, flag)| flag), Some(&b"0"[..]));
        assert!(transaction.uninspected().is_nothing(), "{window}");
        let names: Vec<&str> =
            transaction.matches().iter().map(|found| found.variables[0].name.as_str()).collect();
        assert_eq!(names, ["ARGS:last"], "{window}");
    }
}

#[test]
fn the_content_of_files_passes_by_and_does_not_count() {
    let options = Options { request_body_bytes: Some(1_000), ..ON };
    let head = b"--xx\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\r\n";
    let piece = [b'z'; 65_536];
    let tail = b"\r\n--xx\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\nevil\r\n--xx--\r\n";
    let mut body: Vec<&[u8]> = vec![head];
    body.extend(std::iter::repeat_n(&piece[..], 200));
    body.push(tail);
    let transaction = upload(&options, &body, "multipart/form-data; boundary=xx");
    assert!(transaction.uninspected().is_nothing());
    let names: Vec<&str> =
        transaction.matches().iter().map(|found| found.variables[0].name.as_str()).collect();
    assert_eq!(names, ["ARGS:c"]);
}

#[test]
fn a_response_is_inspected_by_its_type_up_to_the_ceiling() {
    let set = rules(&format!("SecResponseBodyAccess On\n{RULES}"));
    let answer = |kind: &[u8], body: &[u8]| {
        let options = Options { response_body_bytes: Some(20), ..ON };
        let mut transaction = begin(&set, &options);
        let (mut fuel, mut work) = (Fuel::new(1_000_000), Workspace::default());
        transaction.request_line(b"GET", b"/", b"HTTP/1.1");
        for phase in [Phase::RequestHead, Phase::RequestBody] {
            transaction.inspect_whole(phase, &mut work, &mut fuel).expect("fuel");
        }
        transaction.response_line(200, b"HTTP/1.1");
        transaction.response_header(b"Content-Type", kind);
        transaction.inspect_whole(Phase::ResponseHead, &mut work, &mut fuel).expect("fuel");
        let wants = transaction.wants_response_body();
        transaction.response_body(body, &mut fuel).expect("fuel");
        transaction.inspect_whole(Phase::ResponseBody, &mut work, &mut fuel).expect("fuel");
        (wants, transaction.matches().len(), transaction.uninspected().response_body_bytes)
    };
    assert_eq!(answer(b"text/html; charset=utf-8", b"a leak"), (true, 1, 0));
    assert_eq!(answer(b"text/html", b"twenty bytes and then the leak"), (true, 0, 10));
    assert_eq!(answer(b"image/png", b"a leak"), (false, 0, 6));
}

#[test]
fn an_engine_that_is_off_evaluates_nothing() {
    let options = Options { mode: Some(EngineMode::Off), ..Options::default() };
    let transaction = upload(&options, &[b"a=evil"], "application/x-www-form-urlencoded");
    assert!(transaction.matches().is_empty());
}

#[test]
fn whoever_asks_is_told_of_each_rule_before_it_is_evaluated() {
    let set = rules(RULES);
    let mut transaction = begin(&set, &ON);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tells = std::sync::Arc::clone(&told);
    let mut work = Workspace::default().telling(move |rule| tells.lock().expect("no panic").push(rule));
    let mut fuel = Fuel::new(1_000_000_000);
    transaction.request_line(b"GET", b"/?a=evil", b"HTTP/1.1");
    for phase in [Phase::RequestHead, Phase::RequestBody] {
        transaction.inspect_whole(phase, &mut work, &mut fuel).expect("fuel");
    }
    let told = std::mem::take(&mut *told.lock().expect("no panic"));
    let evaluated: Vec<u64> = told.iter().copied().filter(|rule| *rule != 0).collect();
    assert!(
        evaluated.contains(&10) && evaluated.iter().all(|rule| [1, 2, 10, 11].contains(rule)),
        "{told:?}"
    );
    assert!(told.contains(&0), "the look for all rules at once is no rule's: {told:?}");
}

#[test]
fn a_value_that_a_transformation_makes_too_long_is_looked_at_in_part_and_says_so() {
    // Once by the scan for all rules, once by a rule on its own, which a comparison of lengths is.
    for rule in [
        r#"SecRule ARGS "@rx 414141evil" "id:1,phase:2,pass,t:none,t:hexEncode""#,
        r#"SecRule ARGS "@gt 1" "id:1,phase:2,pass,t:none,t:hexEncode,t:length""#,
    ] {
        let set = rules(rule);
        for (length, is_cut) in [(1_000_000, false), (1_100_000, true)] {
            let mut transaction = begin(&set, &Options { request_body_bytes: Some(2_000_000), ..ON });
            let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
            transaction.request_line(b"POST", b"/", b"HTTP/1.1");
            transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
            transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
            let body = [b"a=".as_slice(), &vec![b'A'; length]].concat();
            transaction.request_body(&body, &mut fuel).expect("fuel");
            transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
            assert_eq!(transaction.uninspected().values, is_cut, "{rule} {length}");
        }
    }
}
