//! What operators mean, value by value.

use rules::Field;

use crate::request::Request;
use crate::{holds, problems};

fn request() -> Request {
    Request::get("www.example.org", "/articles/2008/?a=1&filter=waf&filter=botm&filter=cdn")
        .header("User-Agent", "Mozilla/5.0")
        .header("X-Empty", "")
        .header("Accept", "application/json")
        .int(Field::Asnum, 64500)
        .int(Field::ServerPort, 8443)
        .bytes(Field::Country, "GB")
}

#[track_caller]
fn all(expected: bool, expressions: &[&str]) {
    for text in expressions {
        assert_eq!(holds(text, &request()), expected, "{text}");
    }
}

#[test]
fn both_spellings_of_comparisons_mean_the_same() {
    all(
        true,
        &[
            r#"http.request.uri.path eq "/articles/2008/""#,
            r#"http.request.uri.path == "/articles/2008/""#,
            "cf.edge.server_port ne 80",
            "cf.edge.server_port != 80",
            "cf.edge.server_port gt 8442",
            "cf.edge.server_port > 8442",
            "cf.edge.server_port ge 8443 and cf.edge.server_port >= 8443",
            "cf.edge.server_port lt 8444 and cf.edge.server_port < 8444",
            "cf.edge.server_port le 8443 and cf.edge.server_port <= 8443",
            r#"http.user_agent matches "^Mozilla/[0-9]" and http.user_agent ~ "5\.0$""#,
            r#"http.request.uri.path contains "/2008""#,
        ],
    );
    all(
        false,
        &[
            "cf.edge.server_port gt 8443",
            "cf.edge.server_port lt 8443",
            r#"http.request.uri.path eq "/ARTICLES/2008/""#,
            r#"http.user_agent matches "^ozilla""#,
            r#"http.request.uri.path contains "/2009""#,
        ],
    );
}

#[test]
fn strings_are_ordered_byte_by_byte() {
    all(
        true,
        &[r#"http.host gt "www.example.o""#, r#"http.host < "www.f""#, r#"http.host le "www.example.org""#],
    );
}

#[test]
fn sets_hold_values_and_ranges() {
    all(
        true,
        &[
            r#"http.host in {"example.org" "www.example.org"}"#,
            "cf.edge.server_port in {80 8000..8009 8440..8449}",
            "ip.src in {198.51.100.1 192.0.2.0/24 2001:db8::/32}",
            "ip.src in {192.0.2.0..192.0.2.1}",
            "ip.src.asnum in {64500}",
        ],
    );
    all(
        false,
        &[
            r#"http.host in {"example.org" "WWW.example.org"}"#,
            "cf.edge.server_port in {80 8000..8009}",
            "ip.src in {198.51.100.0/24 2001:db8::/32 ::/0}",
            "not ip.src in {192.0.2.1}",
        ],
    );
}

#[test]
fn lists_are_looked_up_by_type() {
    all(
        true,
        &[
            "ip.src in $office",
            "ip.src.asnum in $networks",
            r#"http.request.uri.args["filter"][0] in $words or http.host in $names or ip.src in $office"#,
        ],
    );
    all(false, &["http.host in $names", "http.host in $words"]);
    assert!(holds("http.host in $names", &Request::get("a.EXAMPLE.com", "/")));
}

#[test]
fn wildcards_match_whole_values() {
    all(
        true,
        &[
            r#"http.request.full_uri wildcard "https://*.EXAMPLE.org/articles/*""#,
            r#"http.request.uri.path strict wildcard "/articles/*/""#,
            r#"http.host wildcard r"*.example.*""#,
        ],
    );
    all(
        false,
        &[
            r#"http.request.uri.path strict wildcard "/ARTICLES/*""#,
            r#"http.request.uri.path wildcard "/articles/""#,
            r#"http.request.uri.path wildcard "articles/*""#,
        ],
    );
}

#[test]
fn logic_binds_not_and_xor_or() {
    // true or false and false: and first.
    all(
        true,
        &[
            "ssl or not ssl and not ssl",
            "not not ssl",
            "! ! ssl && ssl || ! ssl",
            // true xor true or true: (true xor true) or true.
            "ssl xor ssl or ssl",
            // true xor false and false: true xor (false and false).
            "ssl xor not ssl and not ssl",
            "ssl ^^ not ssl",
            // not binds to the comparison right of it.
            r#"not http.host eq "x" and ssl"#,
            "true",
            "true and not false",
        ],
    );
    all(
        false,
        &[
            "(ssl or not ssl) and not ssl",
            "ssl xor ssl",
            "ssl xor (ssl or ssl)",
            "not (ssl or ssl)",
            "ssl xor ssl xor not ssl",
            "false",
        ],
    );
}

#[test]
fn a_missing_value_makes_every_comparison_false() {
    for comparison in [
        r#"== "x""#,
        r#"!= "x""#,
        r#"< "x""#,
        r#"> """#,
        r#"<= "x""#,
        r#">= """#,
        r#"contains """#,
        r#"matches ".*""#,
        r#"in {"" "x"}"#,
        r#"wildcard "*""#,
        r#"strict wildcard "*""#,
        "in $words",
    ] {
        for missing in [
            r#"http.request.headers["x-none"][0]"#,
            r#"http.request.headers["accept"][1]"#,
            r#"lower(http.request.headers["x-none"][0])"#,
            r#"http.request.uri.args["order"][0]"#,
            r#"http.request.cookies["c"][0]"#,
            r#"lookup_json_string(http.request.body.raw, "a")"#,
        ] {
            let text = format!("{missing} {comparison}");
            assert!(!holds(&text, &request()), "{text}");
            assert!(holds(&format!("not {text}"), &request()), "not {text}");
        }
    }
    all(
        false,
        &["ip.src.asnum != 64500", "cf.edge.server_ip != 192.0.2.9", "cf.edge.server_ip == 192.0.2.9"],
    );
}

#[test]
fn the_length_of_something_missing_is_0() {
    all(
        true,
        &[
            r#"len(http.request.headers["x-none"]) == 0"#,
            r#"len(http.request.headers["x-none"][0]) == 0"#,
            r#"len(http.request.headers["x-empty"][0]) == 0"#,
            r#"len(http.request.uri.args["filter"]) == 3 and len(http.request.uri.args["filter"][1]) == 4"#,
        ],
    );
}

#[test]
fn fields_that_nobody_sent_are_empty_not_missing() {
    all(
        true,
        &[r#"http.referer eq """#, r#"http.cookie eq """#, r#"http.referer ne "x""#, "cf.threat_score eq 0"],
    );
    // Scores there are none of refuse nobody.
    all(true, &["cf.waf.score eq 100", "cf.bot_management.score gt 30", "not cf.client.bot"]);
}

#[test]
fn any_and_all_look_at_every_item() {
    all(
        true,
        &[
            r#"any(http.request.headers["accept"][*] == "application/json")"#,
            r#"any(http.request.uri.args["filter"][*] in {"botm" "x"})"#,
            r#"all(len(http.request.uri.args["filter"][*])[*] in {3 4})"#,
            r#"any(lower(http.request.headers.names[*])[*] == "user-agent")"#,
            r#"any(http.request.headers.names[*] == "User-Agent")"#,
            r#"all(not http.request.uri.args["filter"][*] == "none")"#,
            r#"any(http.request.headers[*][0] == "Mozilla/5.0")"#,
            r#"any(http.request.headers[*][*] == "application/json")"#,
            r#"any(len(http.request.headers.values[*])[*] gt 10)"#,
            r#"any(starts_with(http.request.uri.args["filter"][*], "bo"))"#,
            r#"any(http.request.uri.args["filter"][*] == "waf"
                and http.request.uri.args["filter"][*] contains "a")"#,
        ],
    );
    all(
        false,
        &[
            r#"any(http.request.headers["accept"][*] == "text/plain")"#,
            r#"all(not len(http.request.uri.args["filter"][*])[*] in {3 4})"#,
            r#"all(http.request.uri.args["filter"][*] == "waf")"#,
            r#"any(http.request.uri.args["filter"][*] == "waf"
                and http.request.uri.args["filter"][*] contains "b")"#,
            // Of nothing, nothing holds.
            r#"any(http.request.headers["x-none"][*] == "")"#,
            r#"any(not http.request.headers["x-none"][*] == "")"#,
        ],
    );
    // Of nothing, everything holds, as in the language this one is compatible with.
    all(true, &[r#"all(http.request.headers["x-none"][*] == "x")"#]);
}

#[test]
fn answers_side_by_side_end_with_the_shorter() {
    let text = r#"all(http.request.uri.args["filter"][*] == "waf" or http.request.uri.args["a"][*] == "2")"#;
    assert!(holds(text, &request()), "one answer each is combined, and the first filter is waf");
}

#[test]
fn strings_know_escapes_and_raw_forms() {
    let quoted = Request::get("h", "/").header("x", b"a\"b\\c\x7f\xff".as_slice());
    for literal in [r#""a\"b\\c\x7F\377""#, r#""a\x22b\134c\x7f\xFF""#] {
        assert!(holds(&format!(r#"http.request.headers["x"][0] == {literal}"#), &quoted), "{literal}");
    }
    let raw = Request::get("h", "/").header("x", r##"a"#b\n"##);
    assert!(holds(r####"http.request.headers["x"][0] == r##"a"#b\n"##"####, &raw));
    assert!(holds(r####"http.request.headers["x"][0] matches r##"^a"#b\\n$"##"####, &raw));
}

#[test]
fn patterns_in_quotes_keep_their_backslashes() {
    let request = Request::get("h", "/a\"b.c");
    assert!(holds(r#"http.request.uri.path matches "a\"b\.c$""#, &request));
    assert!(holds(r#"http.request.uri.path matches "^/a["x]b[.]c$""#, &request));
    assert!(!holds(r#"http.request.uri.path matches "b\.d""#, &request));
}

#[test]
fn numbers_are_decimal_hexadecimal_or_octal() {
    all(true, &["cf.edge.server_port == 0x20fb", "cf.edge.server_port == 020373", "cf.threat_score > -1"]);
}

#[test]
fn addresses_of_two_families_are_unequal_and_have_no_order() {
    all(true, &["ip.src != ::1", "ip.src > 192.0.2.0", "ip.src lt 192.0.2.2"]);
    all(false, &["ip.src > ::1", "ip.src < ::1", "ip.src == ::ffff:192.0.2.1"]);
}

#[test]
fn whole_rules_as_site_owners_write_them() {
    all(
        true,
        &[
            r#"(http.host eq "www.example.org" and http.request.uri.path contains "/articles")
            or ip.src in {10.0.0.0/8}"#,
            r#"(
            (http.host eq "api.example.com" and http.request.uri.path eq "/api/v2/auth") or
            (http.host matches "^(www|store|blog)\.example\.org" and http.request.uri.path contains "2008") or
            ip.geoip.country in {"CN" "TH" "US" "ID" "KR" "MY" "IT" "SG"}
            or ip.geoip.asnum in {12345 54321 11111}
        ) and not ip.src in {11.22.33.0/24}"#,
            "(not cf.client.bot and cf.threat_score le 5)",
            r#"not (ip.src.country in {"US" "CA"}) and ssl"#,
        ],
    );
}

#[test]
fn comparisons_are_checked_by_type() {
    for (text, part) in [
        (r#"http.host == 12"#, "not of the type Bytes"),
        (r#"ip.src == "192.0.2.1""#, "not of the type Ip"),
        (r#"cf.threat_score contains "1""#, "does not take `cf.threat_score` of type Int"),
        (r#"ip.src matches "1""#, "does not take"),
        (r#"ssl == true"#, "is a condition already"),
        (r#"http.request.headers == "x""#, "cannot be compared as a whole"),
        (r#"http.request.headers["a"] == "x""#, "compare one item"),
        (r#"http.request.headers.names[*] == "x""#, "any(…)"),
        (r#"http.host in {"a" 1}"#, "not of the type Bytes"),
        (r#"http.host in $office"#, "holds Ip"),
        (r#"ip.src == 10.0.0.0/8"#, "in {…}"),
        (r#"http.host"#, "gives Bytes"),
        (r#"http.host[0] == "x""#, "nothing to index"),
        (r#"http.request.headers[0][0] == "x""#, "indexed by a number"),
        (r#"http.request.headers.names["a"] == "x""#, "indexed by a key"),
        (r#"not http.host"#, "`not` stands before"),
        (r#"http.host and ssl"#, "stands where a condition should"),
        (r#""a" == "a""#, "a literal stands left"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}: {found:?}");
    }
}
