//! Operators that need more than the rule and the value: where addresses are, and patterns that macros make.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fuel::Fuel;
use seclang::{Loader, Location, Locator, MemoryFiles, Options, Phase, Progress, Transaction, Workspace};

use crate::language::{ON, begin, rules};

/// Knows one network.
#[derive(Debug)]
struct Atlas;

impl Locator for Atlas {
    fn locate(&self, address: IpAddr) -> Option<Location> {
        let is_known = matches!(address, IpAddr::V4(v4) if v4.octets()[..3] == [192, 0, 2]);
        is_known.then(|| Location {
            country_code: "GB".to_owned(),
            country_continent: "EU".to_owned(),
            city: "London".to_owned(),
            ..Location::default()
        })
    }
}

/// Evaluates the request's phases over a database or none; with and without the prefilter.
fn asked(text: &str, target: &str, locator: Option<&Arc<dyn Locator>>) -> Transaction {
    let set = rules(text);
    let [fast, plain] = [false, true].map(|is_plain| {
        let mut transaction = begin(&set, &Options { is_plain, ..ON });
        let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
        if let Some(locator) = locator {
            transaction.set_locator(locator);
        }
        transaction.request_line(b"GET", target.as_bytes(), b"HTTP/1.1");
        transaction.request_header(b"Host", b"example.org");
        for phase in [Phase::RequestHead, Phase::RequestBody, Phase::Logging] {
            transaction.inspect_whole(phase, &mut work, &mut fuel).expect("fuel");
        }
        transaction
    });
    assert_eq!(fast.matches(), plain.matches());
    fast
}

fn ids(transaction: &Transaction) -> Vec<u64> {
    transaction.matches().iter().map(|found| found.id).collect()
}

const PLACES: &str = r#"
SecGeoLookupDb /usr/share/GeoLite2-City.mmdb
SecRule &GEO "@eq 0" "id:1,phase:1,pass"
SecRule REMOTE_ADDR "@geoLookup" "id:2,phase:1,pass,chain"
  SecRule GEO:COUNTRY_CODE "@streq GB"
SecRule GEO:city "@streq london" "id:3,phase:1,pass,t:lowercase,msg:'%{GEO.CITY} in %{geo.country_continent}'"
SecRule &GEO "@eq 3" "id:4,phase:1,pass"
SecRule &GEO:POSTAL_CODE "@eq 0" "id:5,phase:1,pass"
SecRule ARGS:who "@geoLookup" "id:6,phase:2,pass"
SecRule ARGS:who "!@geoLookup" "id:7,phase:2,pass"
"#;

#[test]
fn places_are_looked_up_and_what_is_not_known_is_no_value() {
    let atlas: Arc<dyn Locator> = Arc::new(Atlas);
    let found = asked(PLACES, "/?who=192.0.2.99", Some(&atlas));
    assert_eq!(ids(&found), [1, 2, 3, 4, 5, 6]);
    assert_eq!(found.matches()[2].msg, "London in EU");
    assert_eq!(found.matches()[2].variables[0].name, "GEO:CITY");
    for who in ["198.51.100.1", "example.org", "", "192.0.2.1%20x", "::1"] {
        assert_eq!(ids(&asked(PLACES, &format!("/?who={who}"), Some(&atlas))), [1, 2, 3, 4, 5, 7], "{who}");
    }
    assert_eq!(ids(&asked(PLACES, "/?who=192.0.2.99", None)), [1, 5, 7], "without a database");
    assert!(rules(PLACES).asks_locations() && !rules(PATTERNS).asks_locations());
}

#[test]
fn values_like_known_files_are_found() {
    const KNOWN: &str = "ssdeep,1.1--blocksize:hash:hash,filename\n# ours\n\
                         3:AXGBicFlIHBGcL6wCrFQEv:AXGH6xLsr2C,\"/known\"\n96:cxL1mY8:cdEV3f,\"x\"\n";
    let load = |list: &str, threshold: &str| {
        let mut files = MemoryFiles::default();
        files.insert("waf/known.txt", list);
        let rule =
            format!("SecRule ARGS \"@fuzzyHash known.txt {threshold}\" \"id:1,phase:2,pass,t:urlDecode\"\n");
        files.insert("waf/r.conf", rule);
        let mut loader = Loader::new(&files);
        loader.file("waf/r.conf");
        loader.finish().map_err(|error| error.to_string())
    };
    let found = |threshold: &str, text: &str| {
        let set = Arc::new(load(KNOWN, threshold).expect("it loads"));
        let mut transaction = begin(&set, &ON);
        let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
        transaction.request_line(b"GET", format!("/?v={text}").replace(' ', "%20").as_bytes(), b"HTTP/1.1");
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        ids(&transaction)
    };
    let text = "Also called fuzzy hashes, CTPH can match inputs that have homologies.";
    assert_eq!(found("100", text), [1]);
    let near = text.replace("CTPH", "Ctph");
    assert_eq!((found("22", &near), found("23", &near)), (vec![1], vec![]));
    assert_eq!(found("1", "something else"), Vec::<u64>::new());
    for (list, threshold, expected) in [
        ("nothing", "5", "waf/r.conf:1: line 1 of `known.txt` is no fuzzy hash"),
        (KNOWN, "0", "takes a file of hashes and a threshold from 1 to 100"),
        (KNOWN, "101", "takes a file of hashes and a threshold from 1 to 100"),
        (KNOWN, "", "takes a file of hashes and a threshold from 1 to 100"),
        (&"3:a:b\n".repeat(10_001), "5", "has more than 10000 hashes"),
    ] {
        let told = load(list, threshold).expect_err("a problem");
        assert!(told.contains(expected), "{told}");
    }
}

const PATTERNS: &str = r#"
SecAction "id:1,phase:1,pass,nolog,setvar:'tx.methods=GET|HEAD',setvar:'tx.open=(',setvar:'tx.dot=a.c'"
SecRule REQUEST_METHOD "!@rx ^(?:%{tx.methods})$" "id:2,phase:1,pass"
SecRule ARGS:a "@rx ^%{tx.dot}$" "id:3,phase:2,pass"
SecRule ARGS:b "@rx %{tx.open}" "id:4,phase:2,pass"
SecRule ARGS:b "!@rx %{tx.open}" "id:5,phase:2,pass"
SecRule ARGS:c "@rx ^(%{args.a})-(\w+)$" "id:6,phase:2,pass,capture,msg:'%{TX.1} and %{TX.2}'"
SecRule ARGS:d "@rx ^%{2}x$" "id:7,phase:2,pass"
SecRule ARGS:e "@rx ^\%{tx.dot}$" "id:8,phase:2,pass"
SecRule ARGS:f "@rxGlobal %{tx.dot}" "id:9,phase:2,pass,capture,msg:'%{TX.0} %{TX.1}'"
"#;

#[test]
fn macros_in_patterns_are_text_of_the_pattern() {
    let answer = asked(PATTERNS, "/?a=axc&b=(&c=axc-y&d=%25%25x&e=%25{tx.dot}&f=abc-adc", None);
    assert_eq!(ids(&answer), [3, 5, 6, 7, 8, 9]);
    let told: Vec<&str> = answer.matches().iter().map(|found| found.msg.as_str()).collect();
    assert_eq!((told[2], told[5]), ("axc and y", "abc adc"));
    assert_eq!(answer.patterns_broken(), 2, "asked once as it is and once turned round");
    assert_eq!(ids(&asked(PATTERNS, "/?a=ac&c=q-y", None)), Vec::<u64>::new());
}

#[test]
fn a_visitors_pattern_pays_for_itself_and_breaks_nothing() {
    const OPEN: &str = "SecRule ARGS:v \"@rx %{args.p}\" \"id:1,phase:2,pass\"\n\
                        SecRule ARGS:v \"@rx %{args.p}\" \"id:2,phase:2,pass\"\n";
    let set = rules(OPEN);
    let mut work = Workspace::default();
    let mut spent = |pattern: &str| {
        let mut transaction = begin(&set, &ON);
        let mut fuel = Fuel::new(1_000_000_000);
        transaction.request_line(b"GET", format!("/?v=aaa&p={pattern}").as_bytes(), b"HTTP/1.1");
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        (fuel.used(), transaction.patterns_broken())
    };
    let (first, _) = spent("^a{3}$");
    let (second, broken) = spent("^a{3}$");
    assert!(first > 400_000 && second < 10_000, "{first} then {second} steps");
    assert_eq!(broken, 0);
    for hostile in
        ["((((a{99}){99}){99}){99})", "(?=a)", "[", "\\", "%ff%fe", &"(a".repeat(300), &"a|".repeat(5_000)]
    {
        let (steps, broken) = spent(hostile);
        assert!(steps > 400_000 && broken <= 2, "{hostile}: {steps} steps, {broken}");
    }
}

/// What lists say: of a name its addresses, or nothing.
type Says = fn(&str) -> Option<&'static [Ipv4Addr]>;

const LISTED: &[Ipv4Addr] = &[Ipv4Addr::new(127, 0, 0, 2)];
const ELSEWHERE: &[Ipv4Addr] = &[Ipv4Addr::new(192, 0, 2, 1)];
const SUSPICIOUS: &[Ipv4Addr] = &[Ipv4Addr::new(127, 3, 5, 1)];

/// Evaluates all phases of a request, answering what is asked; with the questions in order.
fn answered(text: &str, target: &str, says: Says) -> (Transaction, Vec<String>) {
    let set = rules(text);
    let mut transaction = begin(&set, &ON);
    let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
    let mut asked = Vec::new();
    transaction.request_line(b"GET", target.as_bytes(), b"HTTP/1.1");
    let phases =
        [Phase::RequestHead, Phase::RequestBody, Phase::ResponseHead, Phase::ResponseBody, Phase::Logging];
    for phase in phases {
        loop {
            match transaction.inspect(phase, &mut work, &mut fuel).expect("fuel") {
                Progress::Done => break,
                Progress::More => fuel.start_slice(),
                Progress::Asks => {
                    let names: Vec<String> = transaction.questions().map(|one| one.name.to_owned()).collect();
                    assert!(!names.is_empty());
                    for name in names {
                        transaction.answer(&name, says(&name));
                        asked.push(name);
                    }
                }
            }
        }
    }
    (transaction, asked)
}

#[test]
fn a_rule_waits_for_lists_and_goes_on_where_it_was() {
    const CHAIN: &str = r#"
SecRule REMOTE_ADDR "@rbl zen.example.org" "id:1,phase:1,pass,capture,msg:'%{TX.0}',setvar:tx.seen=+1"
SecRule ARGS:/^h/ "@rx ." "id:2,phase:2,deny,status:418,chain,setvar:tx.before=+1"
  SecRule ARGS:/^h/ "@rbl list.example" "chain,setvar:tx.within=+1,t:lowercase"
    SecRule MATCHED_VARS "@rx ^b" "setvar:tx.whole=+1"
SecRule REMOTE_ADDR "@rbl zen.example.org" "id:3,phase:5,pass"
"#;
    let (found, asked) =
        answered(CHAIN, "/?h1=A.example&h2=b.example&h3=b.example&other=c", |name| match name {
            "b.example.list.example" | "7.2.0.192.zen.example.org" => Some(LISTED),
            _ => Some(&[]),
        });
    let expected = ["7.2.0.192.zen.example.org", "a.example.list.example", "b.example.list.example"];
    assert_eq!(asked, expected, "each name is asked for once, those of one rule together");
    assert_eq!(ids(&found), [1, 2, 3]);
    assert_eq!(found.matches()[0].msg, "192.0.2.7");
    assert_eq!(found.interruption().map(|ended| ended.status), Some(418));
    let count = |name: &str| String::from_utf8(found.variable(name).unwrap_or_default()).expect("text");
    assert_eq!([count("seen"), count("before"), count("within")], ["1", "3", "2"], "nothing was done twice");
    assert_eq!(found.unanswered(), 0);
    let (none, _) = answered(CHAIN, "/?h1=a.example", |_| Some(&[]));
    assert_eq!(ids(&none), Vec::<u64>::new());
}

#[test]
fn what_has_no_answer_matches_neither_way() {
    const BOTH: &str = "SecRule REMOTE_ADDR \"@rbl a.example\" \"id:1,phase:1,pass\"\n\
                        SecRule REMOTE_ADDR \"!@rbl a.example\" \"id:2,phase:1,pass\"\n\
                        SecRule ARGS \"!@rbl a.example\" \"id:3,phase:1,pass\"\n";
    let of = |says: Says| {
        let (found, asked) = answered(BOTH, "/?x=%20", says);
        (ids(&found), found.unanswered(), asked.len())
    };
    assert_eq!(of(|_| Some(LISTED)), (vec![1, 3], 0, 1), "what is no name is on no list");
    assert_eq!(of(|_| Some(&[])), (vec![2, 3], 0, 1));
    assert_eq!(of(|_| None), (vec![3], 2, 1));
    assert_eq!(of(|_| Some(ELSEWHERE)), (vec![3], 2, 1), "not what a list answers");
    // Nobody asks: as when nothing answers.
    let found = asked(BOTH, "/?x=%20", None);
    assert_eq!((ids(&found), found.unanswered()), (vec![3], 2));
}

#[test]
fn a_transaction_asks_for_sixteen_names() {
    let query: Vec<String> = (0..40).map(|number| format!("a{number}=h{number}.example")).collect();
    let rule = "SecRule ARGS \"@rbl a.example\" \"id:1,phase:2,pass,setvar:tx.n=+1\"\n";
    let (found, asked) = answered(rule, &format!("/?{}", query.join("&")), |_| Some(LISTED));
    assert_eq!((asked.len(), found.unanswered()), (16, 24));
    assert_eq!(found.variable("n").as_deref(), Some(&b"16"[..]));
    assert!(rules(rule).asks_lists() && !rules(PATTERNS).asks_lists());
}

#[test]
fn a_list_that_wants_a_key_is_asked_with_it() {
    let load = |text: &str| {
        let files = MemoryFiles::default();
        let mut loader = Loader::new(&files);
        loader.text("r.conf", text);
        loader.finish().map(|_| ()).map_err(|error| error.to_string())
    };
    const RULE: &str = "SecRule REMOTE_ADDR \"@rbl dnsbl.httpbl.org\" \"id:1,phase:1,pass\"\n";
    let (found, asked) = answered(&format!("SecHttpBlKey AbcdefGhijkl\n{RULE}"), "/", |_| Some(SUSPICIOUS));
    assert_eq!((asked, ids(&found)), (vec!["abcdefghijkl.7.2.0.192.dnsbl.httpbl.org".to_owned()], vec![1]));
    assert!(
        load(RULE).is_err_and(|told| told.contains("r.conf:1: this list answers only those who have a key"))
    );
    assert!(load("SecHttpBlKey a.b\n").is_err_and(|told| told.contains("1 to 63 letters and digits")));
    assert!(load("SecRule ARGS \"@rbl x\" \"id:1\"\n").is_err_and(|told| told.contains("names no list")));
}

#[test]
fn what_modsecurity_reads_as_off_or_by_another_name_is_read() {
    const TEXT: &str =
        "SecConnEngine Off\nSecHashEngine Off\nSecRule STATUS \"@eq 503\" \"id:1,phase:3,pass\"\n";
    let set = rules(TEXT);
    let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
    let mut transaction = begin(&set, &ON);
    transaction.response_line(503, b"HTTP/1.1");
    transaction.inspect_whole(Phase::ResponseHead, &mut work, &mut fuel).expect("fuel");
    assert_eq!(ids(&transaction), [1]);
    let files = MemoryFiles::default();
    let mut loader = Loader::new(&files);
    loader.text("r.conf", "SecConnEngine On\n");
    assert!(
        loader
            .finish()
            .is_err_and(|told| told.to_string().contains("r.conf:1: `SecConnEngine` is a directive"))
    );
}

/// A text whose hash is none of a small block size.
fn long_text() -> String {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    (0..60_000).map(|_| next()).collect()
}

#[test]
fn likeness_is_judged_in_slices_and_changes_nothing_else() {
    const RULES: &str = r#"
SecRule REQUEST_HEADERS:X-A "@rx ^(.)" "id:1,phase:1,pass,capture,chain"
  SecRule REQUEST_HEADERS:X-B|REQUEST_HEADERS:X-C "@fuzzyHash known.txt 80" "chain"
    SecRule TX:1 "@streq a" "setvar:tx.seen=+1"
SecRule REQUEST_HEADERS:X-B "!@fuzzyHash known.txt 80" "id:2,phase:1,pass"
SecRule TX:seen "@eq 1" "id:3,phase:1,pass"
SecRule MATCHED_VAR_NAME "@rx ." "id:4,phase:1,pass"
"#;
    let known: String = (0..10_000).map(|number| format!("768:{number:07}AbCdEfGh{number:05}:x\n")).collect();
    let mut files = MemoryFiles::default();
    files.insert("waf/known.txt", known);
    files.insert("waf/r.conf", RULES);
    let mut loader = Loader::new(&files);
    loader.file("waf/r.conf");
    let set = Arc::new(loader.finish().expect("it loads"));
    let mut transaction = begin(&set, &ON);
    let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
    transaction.request_line(b"GET", b"/", b"HTTP/1.1");
    transaction.request_header(b"X-A", b"abc");
    transaction.request_header(b"X-B", long_text().as_bytes());
    transaction.request_header(b"X-C", b"short");
    let (mut slices, mut longest) = (0, 0);
    loop {
        let before = fuel.used();
        let progress = transaction.inspect(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        longest = longest.max(fuel.used() - before);
        slices += 1;
        match progress {
            Progress::Done => break,
            Progress::More => fuel.start_slice(),
            Progress::Asks => panic!("nothing is asked"),
        }
    }
    assert_eq!(ids(&transaction), [2], "it is like none");
    let all = fuel.used();
    assert!(all > 200_000_000, "{all} steps: ten thousand comparisons for each of two rules");
    assert!(longest < 400_000 && slices > 500, "{longest} steps in the longest of {slices} slices");
}

#[test]
fn a_long_value_like_a_known_one_is_found_in_a_chain() {
    let own = "384:5mTSkC9VtMtjEkYt8jxfu0DGiXBFEmSfX9bqAbVaRmCbbb:5mTS";
    let load = |known: &str| {
        let mut files = MemoryFiles::default();
        files.insert("known.txt", format!("3:a:b\n{known}\n"));
        let rule = "SecRule ARGS:v \"@rx ^.\" \"id:1,phase:1,pass,chain\"\n\
                    SecRule ARGS:v \"@fuzzyHash known.txt 100\" \"id:2,setvar:tx.found=1\"\n\
                    SecRule TX:found \"@eq 1\" \"id:3,phase:1,pass\"\n";
        files.insert("r.conf", rule);
        let mut loader = Loader::new(&files);
        loader.file("r.conf");
        Arc::new(loader.finish().expect("it loads"))
    };
    let found = |known: &str| {
        let set = load(known);
        let mut transaction = begin(&set, &ON);
        let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
        transaction.request_line(b"GET", format!("/?v={}", long_text()).as_bytes(), b"HTTP/1.1");
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        ids(&transaction)
    };
    assert_eq!(found(own), Vec::<u64>::new());
    assert_eq!(found(LONG_HASH), [1, 3]);
}

/// What `ssdeep` makes of [`long_text`].
const LONG_HASH: &str = "1536:vfOkf9ZXrTA0K+nvVgNhkNvWfhLTod2gCjZjIu9:H7TAp6VNvWHVj5Iu9";
