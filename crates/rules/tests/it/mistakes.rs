//! What a person is told about a wrong expression.

use rules::{Expression, Limits, Lists, Scope};

use crate::{condition, problems};

#[test]
fn a_misspelt_name_gets_a_suggestion() {
    for (text, expected) in [
        (r#"http.hots == "a""#, "1:1: there is no field `http.hots`; did you mean `http.host`?"),
        (
            r#"ssl and http.request.uri.pth contains "a""#,
            "1:9: there is no field `http.request.uri.pth`; did you mean `http.request.uri.path`?",
        ),
        (
            r#"http.request.path == "/a""#,
            "1:1: there is no field `http.request.path`; did you mean `http.request.uri.path`?",
        ),
        (r#"ip.country == "AT""#, "1:1: there is no field `ip.country`; did you mean `ip.src.country`?"),
        ("lowr(http.host) == \"a\"", "1:1: there is no function `lowr`; did you mean `lower`?"),
        ("ip.src in $offfice", "1:11: there is no list `$offfice`; did you mean `$office`?"),
        ("ip.src in $nothing_like_it", "1:11: there is no list `$nothing_like_it`; define it first"),
        (
            r#"http.host equals "a""#,
            "1:11: `equals` cannot stand here; expected a comparison, `and`, `or`, `xor` or the end; \
             did you mean `eq`?",
        ),
        (
            r#"http.host contain "a""#,
            "1:11: `contain` cannot stand here; expected a comparison, `and`, `or`, `xor` or the end; \
             did you mean `contains`?",
        ),
        (r#"http.host = "a""#, "1:11: `=` is not an operator; did you mean `==`?"),
        (
            r#"http.request.uri.path ends_with ".html""#,
            "1:23: `ends_with` cannot stand here; expected a comparison, `and`, `or`, `xor` or the end; \
             did you mean `ends_with(field, \"…\")`?",
        ),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn every_mistake_of_an_expression_is_told_at_once() {
    let found = problems(
        "(http.hots eq \"a\" or ip.src in {10.0.0.0/40}) and\n  \
         cf.threat_score gt \"5\" or lwer(http.host) == \"b\"",
    );
    assert_eq!(
        found,
        [
            "1:2: there is no field `http.hots`; did you mean `http.host`?",
            "1:33: `10.0.0.0/40` is not an address; \
             the length of a prefix is at most 32 for IPv4 and 128 for IPv6",
            "2:22: this is not of the type Int of the left side; expected an integer such as 12",
            "2:29: there is no function `lwer`; did you mean `lower`?",
        ]
    );
}

#[test]
fn columns_count_characters() {
    let found = problems("http.host == \"äöü\" and http.hots == \"x\"");
    assert!(found[0].starts_with("1:24: "), "{found:?}");
}

#[test]
fn syntax_is_explained() {
    for (text, part) in [
        ("", "the end stands where a condition should"),
        ("   ", "the end stands where a condition should"),
        ("(ssl", "1:1: this parenthesis is not closed"),
        ("ssl)", "1:4: there is no parenthesis to close here"),
        ("ssl and", "1:8: the end stands where a condition should"),
        ("and ssl", "1:1: `and` stands where a condition should"),
        ("ssl ssl", "1:5: `ssl` cannot stand here"),
        ("()", "1:2: `)` stands where a condition should"),
        ("lower(http.host", "the call of `lower` is not closed"),
        ("http.host ==", "the end stands where a value should"),
        ("http.host == http.cookie", "the right side is a literal"),
        ("http.host in \"a\"", "expected a set"),
        ("http.host in {}", "the set is empty"),
        ("http.host in {\"a\", \"b\"}", "separated by blanks"),
        ("http.host in {\"a\"", "the set does not end"),
        ("http.host == \"a", "the string does not end"),
        ("http.host == 'a'", "single quotes"),
        (r#"http.host == "a\n""#, "this is not an escape"),
        (r#"http.host == "\x4""#, "this is not an escape"),
        (r#"http.host == "\400""#, "this is not an escape"),
        ("http.host == r#\"a\"", "the string does not end"),
        ("http.host strict \"a\"", "expected `strict wildcard`"),
        ("http.host wildcard \"a**b\"", "two stars"),
        ("http.host matches \"a(b\"", "1:19: the regular expression is wrong: unclosed group"),
        ("http.request.headers[\"a\" == \"b\"", "expected `]`"),
        ("http.request.headers[-1] == \"b\"", "is not an index"),
        ("cf.threat_score in {9..1}", "ends before it begins"),
        ("ip.src in {10.0.0.1..::1}", "mixes IPv4 and IPv6"),
        ("cf.threat_score == 99999999999999999999", "within 64 bits"),
        ("cf.threat_score == 08", "with a leading zero, octal"),
        ("ssl AND ssl", "did you mean `and`?"),
        ("NOT ssl", "operators are written in lower case"),
        ("ssl & ssl", "did you mean `&&`?"),
        ("ssl § ssl", "`§` has no meaning here"),
        ("ip.src in $", "the name of a list is missing"),
        ("any(http.host == \"a\",)", "`)` stands where a condition should"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}: {found:?}");
    }
}

#[test]
fn one_mistake_is_told_once() {
    for text in [
        "(ssl",
        "http.hots == \"a\"",
        "lower(http.hots) == \"a\"",
        "not http.hots",
        "any(http.hots[*] == \"a\")",
    ] {
        assert_eq!(problems(text).len(), 1, "{text}: {:?}", problems(text));
    }
}

#[test]
fn fields_of_the_response_wait_for_one() {
    let scope = Scope { lists: &Lists::new(), limits: &Limits::default(), has_response: false };
    let found = Expression::condition("http.response.code == 200", &scope).unwrap_err();
    assert!(found[0].to_string().contains("not there yet"), "{found:?}");
}

#[test]
fn limits_hold() {
    let deep = |depth: usize| format!("{}ssl{}", "(".repeat(depth), ")".repeat(depth));
    assert!(condition(&deep(60)).is_ok());
    assert!(problems(&deep(65))[0].contains("nested deeper than 64"));
    assert!(problems(&deep(2000))[0].contains("nested deeper than 64"));
    assert!(problems(&format!("{}ssl", "not ".repeat(1000)))[0].contains("nested deeper"));
    assert!(problems(&format!("{}http.host", "lower(".repeat(600)))[0].contains("nested deeper"));
    let long = format!("http.host == \"{}\"", "a".repeat(4096));
    assert!(problems(&long)[0].contains("at most 4096"));
    let limits =
        Limits { expression_bytes_max: 1 << 20, nodes_max: 100, set_items_max: 10, ..Limits::default() };
    let scope = Scope { lists: &Lists::new(), limits: &limits, has_response: false };
    let refused = |text: &str| Expression::condition(text, &scope).unwrap_err()[0].to_string();
    assert!(refused(&format!("ssl{}", " or ssl".repeat(100))).contains("more than 100 parts"));
    assert!(refused(&format!("cf.threat_score in {{{}}}", "1 ".repeat(11))).contains("more than 10 values"));
    assert!(refused(r#"http.host matches ".{4079,65535}""#).contains("too large"));
    let many = format!("http.host ~ \"a\"{}", " or http.host ~ \"b\"".repeat(64));
    let plain = Limits::default();
    let scope = Scope { limits: &plain, ..scope };
    assert!(
        Expression::condition(&many, &scope).unwrap_err()[0].to_string().contains("more than 64 regular")
    );
}

#[test]
fn long_chains_need_no_stack() {
    let limits = Limits { expression_bytes_max: 1 << 20, nodes_max: 1 << 20, ..Limits::default() };
    let scope = Scope { lists: &Lists::new(), limits: &limits, has_response: false };
    for operator in ["and", "or", "xor"] {
        let chain = format!("ssl{}", format!(" {operator} ssl").repeat(20_000));
        assert!(Expression::condition(&chain, &scope).is_ok());
    }
}
