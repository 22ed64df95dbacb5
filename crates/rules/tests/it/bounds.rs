//! Drill D10: hostile requests against an assortment of rules cost a bounded and linear number of steps.

use fuel::Fuel;
use rules::{Action, Field, Limits, Phase, RewriteSpec, RuleSpec, Rulesets, Scratch, Skipped, ValueSpec};

use crate::lists;
use crate::request::Request;
use crate::rulesets::{rule, ruleset};

/// What a request may cost in the tests: about 50 ms of the core a step is measured by.
const TANK: u64 = 50_000_000;

/// Rules that use every operator and function on everything a visitor sends.
fn assortment() -> Vec<RuleSpec> {
    let mut texts: Vec<String> = Vec::new();
    let values = [
        "http.request.uri.query",
        "http.request.body.raw",
        "http.cookie",
        "lower(http.request.body.raw)",
        "upper(http.request.uri.query)",
        "url_decode(http.request.body.raw)",
        "url_decode(http.request.uri.query, \"ru\")",
        "remove_bytes(http.request.uri.query, \"x\")",
        "decode_base64(http.request.uri.query)",
        "encode_base64(sha256(http.request.body.raw))",
        "substring(http.request.body.raw, -100)",
        "lookup_json_string(http.request.body.raw, \"a\", 0, \"x\")",
        "concat(http.request.uri.query, http.cookie)",
        "join(http.request.uri.args.names, \"/\")",
        "http.request.uri.args[\"x\"][0]",
        "http.request.cookies[\"x\"][7]",
        "split(http.request.body.raw, \"=\", 128)[127]",
    ];
    let rights = [
        "eq \"none\"",
        "contains \"never-there\"",
        "matches \"(x+x+)+y\"",
        "matches \"^(([a-z])+.)+[A-Z]([a-z])+$\"",
        "matches \".*.*=.*never\"",
        "wildcard \"*x*=*y*never*\"",
        "in {\"a\" \"b\"}",
        "in $words",
        "in $names",
        "> \"\\xff\\xff\"",
    ];
    for value in values {
        texts.extend(rights.iter().map(|right| format!("{value} {right}")));
    }
    for spread in [
        "http.request.uri.args.values[*]",
        "http.request.uri.args[*][*]",
        "http.request.headers.names[*]",
        "http.request.body.form.values[*]",
        "lower(http.request.uri.args.names[*])[*]",
        "url_decode(http.request.body.form.values[*], \"r\")[*]",
    ] {
        texts.push(format!("any({spread} contains \"never\")"));
        texts.push(format!("any({spread} matches \"(a|b|ab)*c\")"));
        texts.push(format!("any({spread} in {{\"p\" \"q\"}} and not {spread} == \"z\")"));
    }
    texts.extend(
        [
            "has_key(http.request.uri.args, \"never\")",
            "has_value(http.request.uri.args.values, \"never\")",
            "len(http.request.uri.args.names) > 100000000",
            "is_timed_hmac_valid_v0(\"k\", http.request.uri, 1, http.request.timestamp.sec, 8)",
            "lookup_json_integer(http.request.body.raw, 0, 0, 0, 0) == 1",
            "any(http.request.accepted_languages[*] == \"never\")",
        ]
        .map(str::to_owned),
    );
    let rules = texts.iter().enumerate().map(|(number, text)| rule(&format!("r{number}"), text, Action::Log));
    rules.collect()
}

fn hostile() -> Vec<(&'static str, Request)> {
    let form = |body: Vec<u8>| {
        Request::get("h", "/")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Cookie", &body[..body.len().min(32_000)])
            .header("Accept-Language", &body[..body.len().min(8_000)])
            .bytes(Field::BodyRaw, &body)
            .bytes(Field::Uri, [b"/?", &body[..body.len().min(64_000)]].concat())
    };
    const MB: usize = 1_000_000;
    let repeat = |text: &str| text.repeat(MB / text.len()).into_bytes();
    vec![
        ("x=x=x=", form(repeat("x=x=x="))),
        ("many pairs", form(repeat("x=x&"))),
        ("many names", form((0..150_000).flat_map(|number| format!("{number}=&").into_bytes()).collect())),
        ("one letter", form(repeat("x"))),
        ("deep arrays", form(repeat("["))),
        ("deep objects", form(repeat("{\"a\":"))),
        ("quotes", form(repeat("\"\\"))),
        ("percent signs", form(repeat("%25"))),
        ("wide escapes", form(repeat("%u2601"))),
        ("nested escapes", form([b"%".to_vec(), repeat("25")].concat())),
        ("odd characters", form(repeat("\u{202e}\u{0}\u{feff}ﬀ\u{1f468}\u{200d}\u{1f469}"))),
        ("broken UTF-8", form([0xc3, 0x28, 0xf0, 0x9f, 0xff].repeat(MB / 5))),
        ("empty", form(Vec::new())),
        ("digits and dashes", form(repeat("1234567890-"))),
    ]
}

fn evaluate(rulesets: &Rulesets, request: &Request, tank: u64) -> (bool, u64) {
    let mut fuel = Fuel::new(tank);
    let ended = rulesets.evaluate(request, &mut Scratch::new(), &mut fuel, &mut Skipped::default());
    (ended.is_ok(), fuel.used())
}

#[test]
fn hostile_requests_end_within_their_tank() {
    let entry = ruleset("entry", assortment());
    let (rulesets, problems) =
        Rulesets::compile(Phase::FirewallCustom, &entry, &[], &lists(), &Limits::default());
    assert_eq!(problems, []);
    assert_eq!(rulesets.rules(), entry.rules.len());
    for (name, request) in hostile() {
        let (_, used) = evaluate(&rulesets, &request, TANK);
        assert!(used <= TANK, "{name}: {used}");
        // An ever smaller tank ends it ever earlier, at any spot, without a fault.
        for tank in [0, 1, 100, 10_000, 1_000_000] {
            let (is_done, used) = evaluate(&rulesets, &request, tank);
            assert!(used <= tank && (is_done || used == tank), "{name}: {used} of {tank}");
        }
    }
}

#[test]
fn steps_are_linear_in_the_length_of_a_value() {
    let texts = assortment();
    for rule in &texts {
        let entry = ruleset("entry", vec![rule.clone()]);
        let (rulesets, _) =
            Rulesets::compile(Phase::FirewallCustom, &entry, &[], &lists(), &Limits::default());
        let used = |length: usize| {
            let body = "x=x=x&".repeat(length / 6);
            let request = Request::get("h", &format!("/?{body}"))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .header("Cookie", &body)
                .bytes(Field::BodyRaw, &body);
            evaluate(&rulesets, &request, u64::MAX).1
        };
        let (short, long) = (used(6_000), used(60_000));
        assert!(long <= 11 * short + 10_000, "{}: {short}, then {long}", rule.expression);
    }
}

#[test]
fn an_honest_request_costs_little() {
    let entry = ruleset("entry", assortment());
    let (rulesets, _) = Rulesets::compile(Phase::FirewallCustom, &entry, &[], &lists(), &Limits::default());
    let request = Request::get("www.example.org", "/products?color=red&size=42")
        .header("User-Agent", "Mozilla/5.0")
        .header("Cookie", "session=0a1b2c; theme=dark");
    let (is_done, used) = evaluate(&rulesets, &request, TANK);
    assert!(is_done && used < 40_000, "{used}");
}

#[test]
fn memory_made_for_values_has_a_ceiling() {
    let doubling =
        format!("{}http.request.body.raw{}", "concat(".repeat(8), ", http.request.body.raw)".repeat(8));
    let grown = RewriteSpec { path: Some(ValueSpec::Expression(doubling)), ..RewriteSpec::default() };
    let entry = ruleset("entry", vec![rule("grow", "true", Action::Rewrite(Some(grown)))]);
    let (rulesets, problems) =
        Rulesets::compile(Phase::RequestTransform, &entry, &[], &lists(), &Limits::default());
    assert_eq!(problems, []);
    let request = Request::get("h", "/").bytes(Field::BodyRaw, "x".repeat(200_000));
    let (is_done, _) = evaluate(&rulesets, &request, u64::MAX);
    assert!(!is_done, "the ceiling is 1 MiB, whatever the tank holds");
}

#[test]
fn many_entries_have_a_ceiling() {
    let entry =
        ruleset("entry", vec![rule("r", "any(http.request.body.form.values[*] == \"never\")", Action::Log)]);
    let (rulesets, _) = Rulesets::compile(Phase::FirewallCustom, &entry, &[], &lists(), &Limits::default());
    let request = Request::get("h", "/")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .bytes(Field::BodyRaw, "a&".repeat(70_000));
    assert!(!evaluate(&rulesets, &request, u64::MAX).0);
}
