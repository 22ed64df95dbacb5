//! Rules over XML documents: document types, and paths with the namespaces of the rule.

use std::sync::Arc;

use fuel::Fuel;
use seclang::{LoadError, Loader, MemoryFiles, Options, Phase, RuleSet, Transaction, Workspace, named_by};

use crate::language::{ON, begin, rules};

/// Rules that read XML, and others behind them; files stand beside.
fn load(rules: &str, files: &[(&str, &str)]) -> Result<Arc<RuleSet>, LoadError> {
    let mut memory = MemoryFiles::default();
    for (name, text) in files {
        memory.insert(*name, *text);
    }
    let mut loader = Loader::new(&memory);
    loader.text("waf/setup.conf", "SecAction \"id:900,phase:1,pass,nolog,ctl:requestBodyProcessor=XML\"");
    loader.text("waf/rules.conf", rules);
    loader.finish().map(Arc::new)
}

fn loaded(rules: &str, files: &[(&str, &str)]) -> Arc<RuleSet> {
    load(rules, files).unwrap_or_else(|error| panic!("{error}"))
}

/// The rules that a body matches, with and without the prefilter, fed in pieces of seven bytes.
fn ids(set: &Arc<RuleSet>, body: &str) -> Vec<u64> {
    asked(set, body, None).0.matches().iter().map(|found| found.id).collect()
}

fn asked(set: &Arc<RuleSet>, body: &str, window: Option<usize>) -> (Transaction, u64) {
    let [plain, fast] = [true, false].map(|is_plain| {
        let options = Options { is_plain, request_body_bytes: window, ..ON };
        let mut transaction = begin(set, &options);
        let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
        transaction.request_line(b"POST", b"/", b"HTTP/1.1");
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        for piece in body.as_bytes().chunks(7) {
            transaction.request_body(piece, &mut fuel).expect("fuel");
        }
        transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        (transaction, fuel.used())
    });
    assert_eq!(plain.0.matches(), fast.0.matches());
    fast
}

fn values(set: &Arc<RuleSet>, body: &str) -> Vec<(String, String)> {
    let (transaction, _) = asked(set, body, None);
    let found = transaction.matches().iter().flat_map(|found| found.variables.clone());
    found.map(|variable| (variable.name, variable.value)).collect()
}

const ORDER: &str = "<!ELEMENT order (item+)><!ELEMENT item (#PCDATA)><!ATTLIST item id ID #REQUIRED>";
const JUDGED: &str = "SecRule XML \"@validateDTD order.dtd\" \"id:1,phase:2,pass,log\"\n\
                      SecRule XML \"!@validateDTD order.dtd\" \"id:2,phase:2,pass,log\"\n\
                      SecRule &XML \"@eq 1\" \"id:3,phase:2,pass,log,chain\"\n\
                      SecRule REQBODY_ERROR \"@eq 1\"";

#[test]
fn validate_dtd_matches_what_is_not_valid_and_what_is_no_document() {
    let rules = JUDGED.replace("SecRule &XML \"@eq 1\" \"id:3,phase:2,pass,log,chain\"\n", "").replace(
        "SecRule REQBODY_ERROR \"@eq 1\"",
        "SecRule REQBODY_ERROR \"@eq 1\" \"id:3,phase:2,pass,log\"",
    );
    let set = loaded(&rules, &[("waf/order.dtd", ORDER)]);
    for (body, expected) in [
        ("<order><item id='a'>x</item></order>", &[2_u64][..]),
        ("<order/>", &[1]),
        ("<order><item>x</item></order>", &[1]),
        ("<order><item id='a'/><item id='a'/></order>", &[1]),
        ("<!DOCTYPE order [<!ELEMENT order EMPTY>]><order/>", &[1]),
        ("<order><item id='a'>x</order>", &[1, 3]),
        ("<order><item id='a'>x</item>", &[1, 3]),
        // No document at all is no valid one.
        ("", &[1]),
        ("order", &[1, 3]),
        ("<!-- -->", &[1, 3]),
    ] {
        assert_eq!(ids(&set, body), expected, "{body}");
    }
}

#[test]
fn a_document_cut_at_the_window_is_judged_as_far_as_it_was_read() {
    let set = loaded(
        "SecRule XML \"@validateDTD order.dtd\" \"id:1,phase:2,pass,log\"",
        &[("waf/order.dtd", ORDER)],
    );
    let padded = format!("<order><item id='a'>{}</item></order>", "x".repeat(500));
    let (transaction, _) = asked(&set, &padded, Some(100));
    assert_eq!(transaction.matches().len(), 0, "what was read is valid so far");
    assert_eq!(transaction.uninspected().request_body_bytes, (padded.len() - 100) as u64);
    let wrong = format!("<order><note/>{}", "<item id='b'>x</item>".repeat(30));
    assert_eq!(asked(&set, &wrong, Some(100)).0.matches().len(), 1, "a mistake before the cut is one");
    let broken = format!("<order><item id='a'>x</order>{}", "y".repeat(500));
    assert_eq!(asked(&set, &broken, Some(100)).0.matches().len(), 1, "so is what is not well-formed");
}

#[test]
fn a_store_that_is_full_turns_no_judgement_off() {
    let set = loaded(
        "SecRule XML \"@validateDTD order.dtd\" \"id:1,phase:2,pass,log\"",
        &[("waf/order.dtd", ORDER)],
    );
    let mut transaction = begin(&set, &ON);
    let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
    transaction.request_line(b"POST", b"/", b"HTTP/1.1");
    transaction.request_header(b"Cookie", "a=b;".repeat(15_000).as_bytes());
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    transaction.request_body(b"<order/>", &mut fuel).expect("fuel");
    transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
    assert!(transaction.uninspected().values, "it is full");
    assert_eq!(transaction.matches().len(), 1);
}

#[test]
fn a_ceiling_that_a_document_reaches_is_no_pass() {
    let set = loaded(
        "SecRule XML \"@validateDTD deep.dtd\" \"id:1,phase:2,pass,log\"",
        &[("waf/deep.dtd", "<!ELEMENT a (a?)>")],
    );
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(ids(&set, &nested(500)), [0; 0]);
    assert_eq!(ids(&set, &nested(600)), [1]);
    let many: String = (0..200).map(|number| format!(" xmlns:n{number}='u{number}'")).collect();
    assert_eq!(ids(&set, &format!("<a{many}/>")), [1]);
}

#[test]
fn what_is_wrong_with_a_document_type_is_told_at_the_rule() {
    let told = |rules: &str, files: &[(&str, &str)]| load(rules, files).expect_err("a problem").to_string();
    let rule = "\n\nSecRule XML \"@validateDTD a.dtd\" \"id:1,phase:2,pass\"";
    for (text, expected) in [
        (
            "<!ELEMENT a (b?,b)>",
            "waf/rules.conf:3: `a.dtd` line 1: the content model of `a` is not deterministic",
        ),
        (
            "<!ELEMENT a ANY>\n%x;",
            "waf/rules.conf:3: `a.dtd` line 2: the parameter entity `%x;` is not declared",
        ),
    ] {
        let error = told(rule, &[("waf/a.dtd", text)]);
        assert!(error.starts_with(expected), "{error}");
    }
    let error = told(rule, &[]);
    assert!(error.contains("`waf/a.dtd` cannot be read"), "{error}");
    for rules in [
        "SecRule XML \"@rx x\" \"id:1,phase:2,pass\"",
        "SecRule ARGS \"@validateDTD a.dtd\" \"id:1,phase:2,pass\"",
    ] {
        assert!(told(rules, &[("waf/a.dtd", "<!ELEMENT a ANY>")]).contains("document"), "{rules}");
    }
}

#[test]
fn validate_schema_matches_what_is_not_valid_by_a_schema_in_several_files() {
    let main = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:include \
        schemaLocation='more/t.xsd'/>\
                <xs:element name='a' type='t'/></xs:schema>";
    let types = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:simpleType \
        name='t'><xs:restriction \
                 base='xs:int'><xs:maxInclusive value='9'/></xs:restriction></xs:simpleType></xs:schema>";
    let files = [("waf/x/a.xsd", main), ("waf/x/more/t.xsd", types)];
    let rules = "SecRule XML \"@validateSchema x/a.xsd\" \"id:1,phase:2,pass,log\"";
    let set = loaded(rules, &files);
    for (body, expected) in [("<a>9</a>", &[][..]), ("<a>10</a>", &[1]), ("<b/>", &[1]), ("<a>9", &[1])] {
        assert_eq!(ids(&set, body), expected, "{body}");
    }
    let error = load(rules, files.get(..1).unwrap_or_default()).expect_err("a problem").to_string();
    assert!(error.starts_with("waf/rules.conf:1: `waf/x/more/t.xsd` cannot be read"), "{error}");
    let broken = load(rules, &[("waf/x/a.xsd", &main.replace("<xs:el", "\n<xs:el").replace("'t'", "'u'"))]);
    let error = broken.expect_err("a problem").to_string();
    assert!(error.contains("cannot be read"), "{error}");
    let named: Vec<String> =
        named_by("waf/x/a.xsd", main.as_bytes()).into_iter().map(|one| one.path).collect();
    assert_eq!(named, ["waf/x/more/t.xsd"]);
}

#[test]
fn paths_are_values_with_their_path_as_name() {
    let rules = "SecRule XML:/s:Envelope/s:Body/*/id|XML://@mode \"@rx evil\" \
                 \"id:1,phase:2,pass,log,xmlns:s=http://schemas.xmlsoap.org/soap/envelope/\"";
    let set = loaded(rules, &[]);
    let soap = |inside: &str| {
        format!(
            "<e:Envelope \
                xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Body>{inside}</e:Body></e:Envelope>"
        )
    };
    let path = "XML:/s:Envelope/s:Body/*/id".to_owned();
    assert_eq!(values(&set, &soap("<get><id>an evil id</id></get>")), [(path, "an evil id".to_owned())]);
    assert_eq!(
        values(&set, &soap("<get mode='evil'><name>evil</name></get>")),
        [("XML://@mode".to_owned(), "evil".to_owned())]
    );
    assert_eq!(ids(&set, "<Envelope><Body><get><id>evil</id></get></Body></Envelope>"), [0; 0]);
}

#[test]
fn paths_of_several_rules_are_told_apart_excluded_and_counted() {
    let rules = "SecRule XML:/n:a \"@streq one\" \"id:1,phase:2,pass,log,xmlns:n=u\"\n\
                 SecRule XML:/n:a \"@streq one\" \"id:2,phase:2,pass,log,xmlns:n=v\"\n\
                 SecRule XML:/A \"@streq one\" \"id:3,phase:2,pass,log\"\n\
                 SecRule XML:/a \"@streq one\" \"id:4,phase:2,pass,log\"\n\
                 SecRule &XML:/a/b \"@eq 2\" \"id:5,phase:2,pass,log\"\n\
                 SecRule XML://b|!XML:/a/b|XML:/a/b \"@rx .\" \"id:6,phase:2,pass,log\"\n\
                 SecRule XML:/*|XML://@* \"@rx .\" \"id:7,phase:2,pass,log\"";
    let set = loaded(rules, &[]);
    assert_eq!(ids(&set, "<a xmlns='u'>one</a>"), [1, 7]);
    assert_eq!(ids(&set, "<a xmlns='v'>one</a>"), [2, 7]);
    assert_eq!(ids(&set, "<A>one</A>"), [3, 7]);
    assert_eq!(ids(&set, "<a>one</a>"), [4, 7]);
    assert_eq!(ids(&set, "<a><b/><b></b></a>"), [5]);
    assert_eq!(
        values(&set, "<a><b>x</b></a>"),
        [("XML://b".to_owned(), "x".to_owned()), ("XML:/*".to_owned(), "x".to_owned())]
    );
    let removed = loaded(
        "SecAction \"id:10,phase:1,pass,nolog,ctl:ruleRemoveTargetById=1;XML\"\n\
         SecRule XML:/a|XML:/* \"@rx x\" \"id:1,phase:2,pass,log\"",
        &[],
    );
    assert_eq!(ids(&removed, "<a>x</a>"), [0; 0]);
}

#[test]
fn paths_of_what_broke_off_are_looked_at_too() {
    let set = loaded("SecRule XML:/a/b \"@rx evil\" \"id:1,phase:2,pass,log\"", &[]);
    assert_eq!(ids(&set, "<a><b>evil</b><c>"), [1]);
    assert_eq!(ids(&set, "<a><b>evil"), [1]);
}

#[test]
fn an_xpath_that_is_not_read_is_a_load_error() {
    for (rule, expected) in [
        (
            "SecRule XML:/a[b[1]] \"@rx x\" \"id:1,phase:2,pass\"",
            "waf/rules.conf:1: the XPath `/a[b[1]]`: a predicate",
        ),
        ("SecRule XML:/n:a \"@rx x\" \"id:1,phase:2,pass\"", "add the action xmlns:n=NAME"),
        ("SecRule XML:a \"@rx x\" \"id:1,phase:2,pass\"", "begin it with /"),
        ("SecRule XML:/a \"@rx x\" \"id:1,phase:2,pass,xmlns:n\"", "binds no prefix"),
        ("SecDefaultAction \"phase:2,pass,xmlns:n=u\"", "takes no id, chain, skip or xmlns"),
    ] {
        let error = load(rule, &[]).expect_err("a problem").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn rules_without_documents_keep_no_tree() {
    let body = format!("<a>{}</a>", "<b c='1'>x</b>".repeat(900));
    let (_, without) = asked(&loaded("SecRule XML:/* \"@rx y\" \"id:1,phase:2,pass\"", &[]), &body, None);
    let (_, with) =
        asked(&loaded("SecRule XML:/*|XML:/a/c \"@rx y\" \"id:1,phase:2,pass\"", &[]), &body, None);
    assert!(with >= without + 6 * body.len() as u64, "{without} and {with}");
}

#[test]
fn files_of_documents_are_named_with_the_rules() {
    let text = "SecRule XML \"@validateDTD ../a.dtd\" \"id:1\"";
    let named: Vec<String> =
        named_by("waf/r.conf", text.as_bytes()).into_iter().map(|one| one.path).collect();
    assert_eq!(named, ["a.dtd"]);
}

const LEAVES: &str = r#"
SecAction "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:X-Args "@streq on" "id:2,phase:1,pass,nolog,ctl:parseXmlIntoArgs=On"
SecRule REQUEST_HEADERS:X-Args "@streq off" "id:3,phase:1,pass,nolog,ctl:parseXmlIntoArgs=Off"
SecRule REQUEST_HEADERS:X-Args "@streq only" "id:4,phase:1,pass,nolog,ctl:parseXmlIntoArgs=OnlyArgs"
SecRule ARGS:xml.order.item "@streq x" "id:10,phase:2,pass"
SecRule ARGS_NAMES "@streq xml.order.item" "id:11,phase:2,pass"
SecRule ARGS_POST|ARGS_GET "@rx ." "id:12,phase:2,pass"
SecRule XML:/* "@contains x" "id:13,phase:2,pass"
SecRule XML://@* "@streq a" "id:14,phase:2,pass"
SecRule XML://item "@streq x" "id:15,phase:2,pass"
SecRule ARGS_COMBINED_SIZE "@eq 15" "id:16,phase:2,pass"
"#;

#[test]
fn elements_are_arguments_where_rules_want_that() {
    let body = b"<order><item id='a'>x</item></order>";
    let found = |directive: &str, header: &str| {
        let set = rules(&format!("{directive}\n{LEAVES}"));
        let [fast, plain] = [false, true].map(|is_plain| {
            let mut transaction = begin(&set, &Options { is_plain, ..ON });
            let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
            transaction.request_line(b"POST", b"/", b"HTTP/1.1");
            transaction.request_header(b"X-Args", header.as_bytes());
            transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
            transaction.request_body(body, &mut fuel).expect("fuel");
            transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
            transaction.matches().iter().map(|found| found.id).collect::<Vec<_>>()
        });
        assert_eq!(fast, plain, "{directive} {header}");
        fast
    };
    let (off, on, only) = (&[13, 14, 15][..], &[10, 11, 13, 14, 15, 16][..], &[10, 11, 16][..]);
    for (directive, header, expected) in [
        ("", "", off),
        ("SecParseXmlIntoArgs On", "", on),
        ("SecParseXmlIntoArgs onlyargs", "", only),
        ("SecParseXmlIntoArgs Off", "", off),
        ("", "on", on),
        ("", "only", only),
        ("SecParseXmlIntoArgs OnlyArgs", "off", off),
        ("SecParseXmlIntoArgs Off", "only", only),
    ] {
        assert_eq!(found(directive, header), expected, "{directive} {header}");
    }
    for wrong in ["SecParseXmlIntoArgs maybe", "SecAction \"id:1,phase:1,pass,ctl:parseXmlIntoArgs=maybe\""] {
        let files = MemoryFiles::default();
        let mut loader = Loader::new(&files);
        loader.text("r.conf", wrong);
        let told = loader.finish().expect_err(wrong).to_string();
        assert!(told.contains("unknown word for XML as arguments `maybe`"), "{told}");
    }
}

#[test]
fn a_document_is_kept_as_long_as_a_rule_judges_it() {
    let held = |phase: u8, operator: &str| {
        let rule = format!("SecRule XML \"{operator}\" \"id:1,phase:{phase},pass\"");
        let set = loaded(&rule, &[("waf/a.dtd", "<!ELEMENT a EMPTY>")]);
        let mut transaction = begin(&set, &ON);
        let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
        transaction.request_line(b"POST", b"/", b"HTTP/1.1");
        let mut phases = vec![transaction.document_bytes_max(b"<a/>") > 0];
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        phases.push(transaction.document_bytes_max(b"<a/>") > 0);
        transaction.request_body(b"<a/>", &mut fuel).expect("fuel");
        for phase in [Phase::RequestBody, Phase::ResponseHead, Phase::ResponseBody, Phase::Logging] {
            transaction.inspect_whole(phase, &mut work, &mut fuel).expect("fuel");
            phases.push(transaction.holds_document());
        }
        phases
    };
    assert_eq!(held(2, "@validateDTD a.dtd"), [false, true, false, false, false, false]);
    assert_eq!(held(3, "@validateDTD a.dtd"), [false, true, true, false, false, false]);
    assert_eq!(held(5, "@validateDTD a.dtd"), [false, true, true, true, true, false]);
    let set = loaded("SecRule XML:/* \"@rx a\" \"id:1,phase:2,pass\"", &[]);
    let mut transaction = begin(&set, &ON);
    let (mut fuel, mut work) = (Fuel::new(1_000_000_000), Workspace::default());
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    assert_eq!(transaction.document_bytes_max(b"<a/>"), 0, "text alone needs no tree");
}
