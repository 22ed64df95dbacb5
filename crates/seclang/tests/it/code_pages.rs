//! `SecUnicodeMapFile`: what `%uHHHH` is by the code page of a site, read from a file of pages.

use std::sync::Arc;

use fuel::Fuel;
use seclang::{Loader, MemoryFiles, Options, Phase, RuleSet, Workspace};

use crate::language::{ON, begin};

const PAGES: &str = "20127 (US-ASCII)\n2032:27 ff1c:5b 0141:4C\n\n1250 (Central Europe)\n2032:60 0141:a3\n";

const RULES: &str = r#"
SecRule ARGS:v "@streq '" "id:1,phase:2,pass,t:urlDecodeUni"
SecRule ARGS:v "@streq `" "id:2,phase:2,pass,t:urlDecodeUni"
SecRule ARGS:v "@streq 2" "id:3,phase:2,pass,t:urlDecodeUni"
SecRule ARGS:v "@rx ^<$" "id:4,phase:2,pass,t:urlDecodeUni,t:lowercase"
SecRule ARGS:v "@rx ^\[$" "id:5,phase:2,pass,t:urlDecodeUni,t:lowercase"
SecRule ARGS:v "@rx ^l$" "id:6,phase:2,pass,t:urlDecodeUni,t:lowercase"
SecRule ARGS:v "@streq ." "id:7,phase:2,pass,t:urlDecodeUni"
SecRule ARGS:v "@rx ^\xa3$" "id:8,phase:2,pass,multiMatch,t:none,t:urlDecodeUni"
SecRule REQUEST_HEADERS:X-V "@streq '" "id:9,phase:1,pass,t:urlDecodeUni"
"#;

fn load(directive: &str, pages: &str) -> Result<Arc<RuleSet>, String> {
    let mut files = MemoryFiles::default();
    files.insert("waf/pages/all.map", pages);
    files.insert("waf/rules.conf", format!("{directive}\n{RULES}"));
    let mut loader = Loader::new(&files);
    loader.file("waf/rules.conf");
    loader.finish().map(Arc::new).map_err(|error| error.to_string())
}

/// The rules that a value matches as an argument and as a field, by plain evaluation and by the prefilter
/// with a thread's memory, which must agree.
fn found(set: &Arc<RuleSet>, value: &str, work: &mut Workspace) -> Vec<u64> {
    let [fast, plain] = [false, true].map(|is_plain| {
        let mut transaction = begin(set, &Options { is_plain, ..ON });
        let mut fuel = Fuel::new(1_000_000_000);
        let target = format!("/?v={}", value.replace('%', "%25"));
        transaction.request_line(b"GET", target.as_bytes(), b"HTTP/1.1");
        transaction.request_header(b"X-V", value.as_bytes());
        for phase in [Phase::RequestHead, Phase::RequestBody] {
            transaction.inspect_whole(phase, work, &mut fuel).expect("fuel");
        }
        transaction.matches().iter().map(|found| found.id).collect::<Vec<_>>()
    });
    assert_eq!(fast, plain, "{value}");
    fast
}

#[test]
fn a_mapped_character_is_its_byte_and_another_its_low_byte() {
    let set = load("SecUnicodeMapFile pages/all.map 20127", PAGES).expect("it loads");
    let without = load("", PAGES).expect("it loads");
    let mut work = Workspace::default();
    for (value, with_map, without_map) in [
        ("%u2032", &[9, 1][..], &[3][..]),
        ("%U2032", &[9, 1], &[3]),
        ("%u0032", &[3], &[3]),
        ("%u0027", &[9, 1], &[9, 1]),
        ("%27", &[9, 1], &[9, 1]),
        ("%uff1c", &[5], &[4]),
        ("%u0141", &[6], &[]),
        ("%u3002", &[7], &[]),
        ("%uff0e", &[7], &[7]),
        ("%u203", &[], &[]),
        ("%u203g", &[], &[]),
    ] {
        assert_eq!(found(&set, value, &mut work), with_map, "{value}");
        assert_eq!(found(&without, value, &mut work), without_map, "{value} without a map");
    }
}

#[test]
fn rule_sets_with_other_pages_share_no_result_on_one_thread() {
    let sets = [20_127, 1_250]
        .map(|page| load(&format!("SecUnicodeMapFile pages/all.map {page}"), PAGES).expect("it loads"));
    let mut work = Workspace::default();
    for _ in 0..3 {
        assert_eq!(found(&sets[0], "%u2032", &mut work), [9, 1]);
        assert_eq!(found(&sets[1], "%u2032", &mut work), [2]);
        assert_eq!(found(&sets[1], "%u0141", &mut work), [8]);
    }
}

#[test]
fn the_page_may_be_named_alone_and_the_last_file_counts() {
    let mut work = Workspace::default();
    for (directives, expected) in [
        ("SecUnicodeMapFile pages/all.map\nSecUnicodeCodePage 1250", 2),
        ("SecUnicodeCodePage 1250\nsecunicodemapfile \"pages/all.map\"", 2),
        ("SecUnicodeMapFile pages/all.map 20127\nSecUnicodeMapFile pages/all.map 1250", 2),
        ("SecUnicodeCodePage 1250", 3),
    ] {
        let set = load(directives, PAGES).expect("it loads");
        assert_eq!(found(&set, "%u2032", &mut work), [expected], "{directives}");
    }
}

#[test]
fn what_is_wrong_with_a_map_is_said_with_its_place() {
    let large = format!("{PAGES}{}", "0041:41 ".repeat(140_000));
    for (directive, pages, expected) in [
        ("SecUnicodeMapFile none.map 20127", PAGES, "waf/rules.conf:1: `waf/none.map` cannot be read"),
        (
            "SecUnicodeMapFile pages/all.map 1252",
            PAGES,
            "waf/rules.conf:1: `waf/pages/all.map` has no code page",
        ),
        (
            "SecUnicodeMapFile pages/all.map",
            PAGES,
            "waf/rules.conf:1: `SecUnicodeMapFile` names no code page",
        ),
        (
            "SecUnicodeMapFile pages/all.map ascii",
            PAGES,
            "waf/rules.conf:1: `ascii` is no number of a code page",
        ),
        ("SecUnicodeMapFile", PAGES, "waf/rules.conf:1: `SecUnicodeMapFile` lacks its value"),
        ("SecUnicodeCodePage 0", PAGES, "waf/rules.conf:1: `0` is no number of a code page"),
        ("SecUnicodeCodePage 1 2", PAGES, "waf/rules.conf:1: `SecUnicodeCodePage` takes one number"),
        ("SecUnicodeMapFile pages/all.map 1", "1\n0041:4", "waf/pages/all.map:2: `0041:4` is no pair"),
        (
            "SecUnicodeMapFile pages/all.map 20127",
            &large,
            "waf/rules.conf:1: `waf/pages/all.map` is longer than",
        ),
    ] {
        let told = load(directive, pages).expect_err(directive);
        assert!(told.starts_with(expected), "{told}");
    }
}
