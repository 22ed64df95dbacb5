//! The language: rules written here, one transaction each, what it comes to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fuel::Fuel;
use seclang::{Action, Connection, EngineMode, Loader, MemoryFiles, Options, Phase, Transaction, Workspace};

/// Loads rules from a text.
pub(crate) fn rules(text: &str) -> Arc<seclang::RuleSet> {
    let files = MemoryFiles::default();
    let mut loader = Loader::new(&files);
    loader.text("rules.conf", text);
    Arc::new(loader.finish().unwrap_or_else(|error| panic!("{error}")))
}

/// Begins a transaction in blocking mode, or another.
pub(crate) fn begin(set: &Arc<seclang::RuleSet>, options: &Options) -> Transaction {
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        client_port: 4_711,
        server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 443,
        unique_id: "abc",
        now_s: 1_795_651_200,
    };
    Transaction::new(Arc::clone(set), &connection, options)
}

pub(crate) const ON: Options = Options {
    mode: Some(EngineMode::On),
    request_body_bytes: None,
    response_body_bytes: None,
    is_plain: false,
};

/// Evaluates the request's two phases; with and without the prefilter, which must agree.
fn ask(text: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Transaction {
    let set = rules(text);
    let mut answers = [false, true].map(|is_plain| {
        let mut transaction = begin(&set, &Options { is_plain, ..ON });
        let mut fuel = Fuel::new(1_000_000_000);
        let mut work = Workspace::default();
        transaction.request_line(b"POST", target.as_bytes(), b"HTTP/1.1");
        for (name, value) in headers {
            transaction.request_header(name.as_bytes(), value.as_bytes());
        }
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        transaction.request_body(body.as_bytes(), &mut fuel).expect("fuel");
        transaction.inspect_whole(Phase::RequestBody, &mut work, &mut fuel).expect("fuel");
        transaction.inspect_whole(Phase::Logging, &mut work, &mut fuel).expect("fuel");
        transaction
    });
    assert_eq!(answers[0].matches(), answers[1].matches());
    assert_eq!(answers[0].interruption(), answers[1].interruption());
    answers.swap(0, 1);
    let [_, fast] = answers;
    fast
}

fn ids(transaction: &Transaction) -> Vec<u64> {
    transaction.matches().iter().map(|found| found.id).collect()
}

const FORM: &[(&str, &str)] =
    &[("Host", "example.org"), ("Content-Type", "application/x-www-form-urlencoded")];

fn tx(transaction: &Transaction, name: &str) -> String {
    String::from_utf8(transaction.variable(name).unwrap_or_default()).expect("text")
}

#[test]
fn selectors_exclusions_and_counts_choose_values() {
    let answer = ask(
        r#"
SecRule ARGS:/^a/|!ARGS:ab "@rx evil" "id:1,phase:2,pass,setvar:tx.seen=+1"
SecRule &ARGS "@eq 4" "id:2,phase:2,pass"
SecRule ARGS_GET_NAMES "@streq ab" "id:3,phase:2,pass"
SecRule ARGS_POST:C "@streq evil" "id:4,phase:2,pass"
SecRule &ARGS:missing "@eq 0" "id:5,phase:2,pass"
SecRule REQUEST_HEADERS:host "@endsWith .org" "id:6,phase:1,pass"
"#,
        "/p?aa=evil&ab=evil&ac=evil",
        FORM,
        "c=evil",
    );
    assert_eq!(ids(&answer), [6, 1, 2, 3, 4, 5]);
    assert_eq!(tx(&answer, "seen"), "2");
    let names: Vec<&str> = answer.matches()[1].variables.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ARGS:aa", "ARGS:ac"]);
}

#[test]
fn a_chain_matches_as_a_whole_and_sees_what_its_rules_matched() {
    let answer = ask(
        r#"
SecRule ARGS "@rx ^(\w+)@(\w+)$" \
    "id:1,phase:2,deny,status:406,capture,chain,msg:'%{TX.2} in %{MATCHED_VAR_NAME}'"
  SecRule TX:1 "@streq root" "chain"
    SecRule MATCHED_VARS "@endsWith host" "setvar:tx.whole=1"
SecRule ARGS "@rx @" "id:2,phase:2,pass,chain"
  SecRule ARGS "@streq nothing" "setvar:tx.part=1"
"#,
        "/?m=root@host",
        FORM,
        "",
    );
    assert_eq!(ids(&answer), [1]);
    let interruption = answer.interruption().expect("denied");
    assert_eq!((interruption.status, interruption.rule, &interruption.action), (406, 1, &Action::Deny));
    assert_eq!(tx(&answer, "whole"), "1");
    assert_eq!(answer.variable("part"), None);
}

#[test]
fn skip_and_markers_leave_rules_out() {
    let answer = ask(
        r#"
SecAction "id:1,phase:2,pass,skip:1"
SecAction "id:2,phase:2,pass"
SecAction "id:3,phase:2,pass,skipAfter:END"
SecAction "id:4,phase:2,pass"
SecMarker END
SecAction "id:5,phase:2,pass"
"#,
        "/",
        FORM,
        "",
    );
    assert_eq!(ids(&answer), [1, 3, 5]);
}

#[test]
fn variables_are_set_added_to_and_removed() {
    let answer = ask(
        r#"
SecAction "id:1,phase:1,pass,nolog,setvar:tx.a=7,setvar:tx.a=+%{tx.a},setvar:tx.b=x%{tx.a}y,\
    setvar:tx.c,setvar:!tx.c"
SecAction "id:2,phase:1,pass,nolog,setvar:'tx.%{tx.b}=made',setvar:tx.a=-4"
SecRule TX:/^x14/ "@streq made" "id:3,phase:1,pass"
SecRule &TX:c "@eq 0" "id:4,phase:1,pass"
SecRule TX:a "@eq 10" "id:5,phase:1,pass"
"#,
        "/",
        FORM,
        "",
    );
    assert_eq!(ids(&answer), [3, 4, 5]);
}

#[test]
fn allow_ends_a_phase_a_request_or_all() {
    let text = |allow: &str| {
        format!(
            "SecAction \"id:1,phase:1,{allow},nolog\"\nSecAction \"id:2,phase:1,pass\"\n\
             SecAction \"id:3,phase:2,pass\"\nSecAction \"id:4,phase:5,pass\""
        )
    };
    assert_eq!(ids(&ask(&text("allow:phase"), "/", FORM, "")), [3, 4]);
    assert_eq!(ids(&ask(&text("allow:request"), "/", FORM, "")), [4]);
    assert_eq!(ids(&ask(&text("allow"), "/", FORM, "")), [4]);
}

#[test]
fn controls_take_rules_and_targets_away() {
    let answer = ask(
        r#"
SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=10-11,ctl:ruleRemoveByTag=^gone$,\
    ctl:ruleRemoveTargetById=13;ARGS:p"
SecAction "id:2,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=part;ARGS:/^q/,ctl:ruleRemoveByMsg=silent"
SecRule ARGS "@contains x" "id:10,phase:2,pass"
SecRule ARGS "@contains x" "id:12,phase:2,pass,tag:gone"
SecRule ARGS "@contains x" "id:13,phase:2,pass"
SecRule ARGS "@contains x" "id:14,phase:2,pass,tag:part"
SecRule ARGS "@contains x" "id:15,phase:2,pass,msg:'a silent one'"
"#,
        "/?p=x&qq=x",
        FORM,
        "",
    );
    let found: Vec<(u64, usize)> =
        answer.matches().iter().map(|found| (found.id, found.variables.len())).collect();
    assert_eq!(found, [(13, 1), (14, 1)]);
}

#[test]
fn updates_change_rules_wherever_they_stand() {
    let answer = ask(
        r#"
SecRuleRemoveById 3
SecRuleUpdateTargetById 1 "!ARGS:q"
SecRuleUpdateActionById 2 "deny,status:410"
SecRule ARGS "@contains x" "id:1,phase:2,pass,tag:a"
SecRule ARGS "@contains x" "id:2,phase:2,pass"
SecRule ARGS "@contains x" "id:3,phase:2,pass"
SecRuleUpdateTargetByTag a "!ARGS:p"
"#,
        "/?p=x&q=x",
        FORM,
        "",
    );
    assert_eq!(ids(&answer), [2]);
    assert_eq!(answer.interruption().map(|end| end.status), Some(410));
}

#[test]
fn block_does_what_the_default_of_the_phase_says() {
    let text = r#"
SecDefaultAction "phase:2,deny,status:418,log,t:lowercase"
SecRule ARGS "@streq evil" "id:1,phase:2,block"
"#;
    let answer = ask(text, "/?p=EVIL", FORM, "");
    assert_eq!(answer.interruption().map(|end| end.status), Some(418));
    let text = "SecRule ARGS \"@streq evil\" \"id:1,phase:2,block,t:none\"";
    assert_eq!(ask(text, "/?p=EVIL", FORM, "").interruption(), None);
}

#[test]
fn detection_only_refuses_nothing_and_says_what_would_be() {
    let set = rules("SecRuleEngine On\nSecRule ARGS \"@streq evil\" \"id:1,phase:1,deny\"");
    let mut transaction =
        begin(&set, &Options { mode: Some(EngineMode::DetectionOnly), ..Options::default() });
    transaction.request_line(b"GET", b"/?a=evil", b"HTTP/1.1");
    let mut fuel = Fuel::new(1_000_000);
    transaction.inspect_whole(Phase::RequestHead, &mut Workspace::default(), &mut fuel).expect("fuel");
    assert_eq!(transaction.interruption(), None);
    assert_eq!(transaction.would_interrupt().map(|end| end.rule), Some(1));
}

#[test]
fn multi_match_asks_before_and_after_each_transformation() {
    let answer = ask(
        r#"
SecRule ARGS "@contains <" \
    "id:1,phase:2,pass,t:none,t:htmlEntityDecode,t:removeWhitespace,multiMatch,setvar:tx.n=+1"
SecRule ARGS "@contains < s" "id:2,phase:2,pass,t:none,t:htmlEntityDecode,t:removeWhitespace,multiMatch"
SecRule ARGS "@contains < s" "id:3,phase:2,pass,t:none,t:htmlEntityDecode,t:removeWhitespace"
"#,
        "/?a=%26lt;+s",
        FORM,
        "",
    );
    assert_eq!(ids(&answer), [1, 2]);
    assert_eq!(tx(&answer, "n"), "2");
}

#[test]
fn secrets_are_masked_in_records() {
    let answer = ask(
        r#"
SecRule ARGS|REQUEST_HEADERS "@contains hunter2" \
    "id:1,phase:2,pass,capture,logdata:'%{MATCHED_VAR} in %{MATCHED_VAR_NAME}'"
SecRule ARGS:note "@contains plain" "id:2,phase:2,pass,logdata:'%{MATCHED_VAR}'"
SecRule ARGS:pin "@rx \d" "id:3,phase:2,pass,sanitiseArg:pin,logdata:'%{MATCHED_VAR}'"
"#,
        "/?password=hunter2&note=plain&pin=1234",
        FORM,
        "",
    );
    let data: Vec<&str> = answer.matches().iter().map(|found| found.data.as_str()).collect();
    assert_eq!(data, ["* in ARGS:password", "plain", "*"]);
    assert_eq!(answer.matches()[0].variables[0].value, "*");
}

#[test]
fn an_exclusion_allows_exactly_what_was_found() {
    let text = "SecRule ARGS|ARGS_NAMES \"@contains union\" \"id:942100,phase:2,deny,msg:'SQL'\"";
    let answer = ask(text, "/wiki/edit?text=union&q=1", FORM, "");
    let exclusion = answer.exclusion(&answer.matches()[0], 100).expect("an exclusion");
    let with = format!("{exclusion}{text}");
    assert_eq!(ids(&ask(&with, "/wiki/edit?text=union&q=1", FORM, "")), Vec::<u64>::new());
    assert_eq!(ids(&ask(&with, "/wiki/edit?q=union", FORM, "")), [942_100]);
    assert_eq!(ids(&ask(&with, "/wiki/view?text=union", FORM, "")), [942_100]);
}

#[test]
fn bodies_are_read_by_the_content_type_or_by_a_rule() {
    let text = r#"
SecRule REQUEST_HEADERS:Content-Type "json" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule ARGS:json.user.name "@streq root" "id:2,phase:2,pass"
SecRule REQBODY_ERROR "!@eq 0" "id:3,phase:2,deny,status:400"
SecRule REQBODY_PROCESSOR "@streq JSON" "id:4,phase:2,pass"
"#;
    let json: &[(&str, &str)] = &[("Content-Type", "application/json")];
    assert_eq!(ids(&ask(text, "/", json, r#"{"user":{"name":"root"}}"#)), [2, 4]);
    let broken = ask(text, "/", json, r#"{"user":"#);
    assert_eq!(ids(&broken), [3]);
    assert_eq!(broken.interruption().map(|end| end.status), Some(400));
}

#[test]
fn redirects_and_drops_say_what_to_do() {
    let answer =
        ask("SecAction \"id:1,phase:1,redirect:'https://a.example/?u=%{REQUEST_URI}'\"", "/x", FORM, "");
    let end = answer.interruption().expect("redirected");
    assert_eq!((end.status, &end.action), (302, &Action::Redirect("https://a.example/?u=/x".into())));
    let answer = ask("SecAction \"id:1,phase:1,drop\"", "/x", FORM, "");
    assert_eq!(answer.interruption().map(|end| &end.action), Some(&Action::Drop));
}

#[test]
fn values_of_operators_reach_the_captures() {
    let answer = ask(
        r#"
SecRule ARGS:a "@pm alpha beta" "id:1,phase:2,pass,capture,setvar:tx.word=%{tx.0}"
SecRule ARGS:b "@detectSQLi" "id:2,phase:2,pass,capture,setvar:tx.print=%{tx.0}"
SecRule ARGS:c "@verifyCC \d{13,16}" "id:3,phase:2,pass,capture,setvar:tx.card=%{tx.0}"
SecRule REMOTE_ADDR "@ipMatch 192.0.2.0/24,2001:db8::/32" "id:4,phase:2,pass"
SecRule ARGS:d "@validateByteRange 32-126" "id:5,phase:2,pass"
SecRule ARGS:e "@within GET,POST" "id:6,phase:2,pass"
SecRule ARGS:a "!@beginsWith the" "id:7,phase:2,pass"
"#,
        "/?a=the+BETA&b=1'+or+'1'='1&c=n+4111111111111111&d=%01&e=POST",
        FORM,
        "",
    );
    assert_eq!(ids(&answer), [1, 2, 3, 4, 5, 6]);
    assert_eq!((tx(&answer, "word"), tx(&answer, "card")), ("BETA".into(), "4111111111111111".into()));
    assert!(!tx(&answer, "print").is_empty());
}

#[test]
fn the_recommended_rules_read_json_and_refuse_what_cannot_be_read() {
    let text = format!("{}\nSecRule ARGS:json.a \"@streq b\" \"id:1,phase:2,pass\"", seclang::RECOMMENDED);
    let json: &[(&str, &str)] = &[("Content-Type", "application/problem+json; charset=utf-8")];
    assert_eq!(ids(&ask(&text, "/", json, r#"{"a":"b"}"#)), [1]);
    let broken = ask(&text, "/", &[("Content-Type", "application/json")], r#"{"a":"b""#);
    assert_eq!(broken.interruption().map(|end| (end.rule, end.status)), Some((200_002, 400)));
}

#[test]
fn a_rule_lowers_the_callers_mode_and_does_not_raise_it() {
    let set =
        rules("SecAction \"id:1,phase:1,pass,nolog,ctl:ruleEngine=On\"\nSecAction \"id:2,phase:1,deny\"");
    let end = |mode: Option<EngineMode>| {
        let mut transaction = begin(&set, &Options { mode, ..Options::default() });
        transaction.request_line(b"GET", b"/", b"HTTP/1.1");
        let (mut fuel, mut work) = (Fuel::new(1_000_000), Workspace::default());
        transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
        transaction.interruption().is_some()
    };
    assert!(!end(Some(EngineMode::DetectionOnly)));
    assert!(end(Some(EngineMode::On)) && end(None));
    let off =
        rules("SecAction \"id:1,phase:1,pass,nolog,ctl:ruleEngine=Off\"\nSecAction \"id:2,phase:1,deny\"");
    let mut transaction = begin(&off, &ON);
    let (mut fuel, mut work) = (Fuel::new(1_000_000), Workspace::default());
    transaction.inspect_whole(Phase::RequestHead, &mut work, &mut fuel).expect("fuel");
    assert_eq!(transaction.interruption(), None);
}

#[test]
fn more_files_than_rules_allow_are_an_error_of_the_body() {
    const RULES: &str = "SecUploadFileLimit 2\n\
                         SecRule MULTIPART_FILE_LIMIT_EXCEEDED \"@eq 1\" \"id:1,phase:2,pass\"\n\
                         SecRule REQBODY_ERROR \"@eq 1\" \"id:2,phase:2,pass\"\n";
    let body = |files: usize| {
        let part = |number: usize| {
            format!("--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{number}\"\r\n\r\nx\r\n")
        };
        format!("{}--b--\r\n", (0..files).map(part).collect::<String>())
    };
    let kind = [("Content-Type", "multipart/form-data; boundary=b")];
    let ids = |files: usize| {
        let answer = ask(RULES, "/", &kind, &body(files));
        answer.matches().iter().map(|found| found.id).collect::<Vec<_>>()
    };
    assert_eq!((ids(2), ids(3)), (vec![], vec![1, 2]));
}
