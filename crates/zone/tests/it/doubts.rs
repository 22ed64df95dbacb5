//! What is in order by itself and cannot be meant: told as a warning, with what to do.

use crate::{bundle_with_defaults, listed, one, problems_of, snapshot, zone_text};

/// The warnings of a zone with one pool and whatever is given.
fn warned(rest: &str) -> String {
    listed(&one(&zone_text("z", "[\"a.example\"]", rest)).warnings)
}

fn route(conditions: &str) -> String {
    format!("[[route]]\n{conditions}\nanswer = {{ body = \"x\" }}\n")
}

#[test]
fn a_route_behind_one_that_takes_all_its_requests_is_told() {
    for (first, second) in [
        ("path_prefix = \"/\"", "path = \"/a\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/a/b\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/a/\""),
        ("path_prefix = \"/a/\"", "path = \"/a/b\"\nmethod = \"GET\""),
        ("method = [\"GET\", \"HEAD\"]", "path = \"/a\"\nmethod = \"HEAD\""),
        ("header = { name = \"X-A\" }", "header = [{ name = \"x-a\", equals = \"1\" }, { name = \"x-b\" }]"),
        ("path = \"/a\"", "path = \"/a\""),
    ] {
        let told = warned(&(route(first) + &route(second)));
        assert!(
            told.contains(":1: warning: no request comes to this route: the route `#1`"),
            "{second}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    for (first, second) in [
        ("path = \"/a\"", "path_prefix = \"/a\""),
        ("path_prefix = \"/a/\"", "path_prefix = \"/a\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/ab\""),
        ("path_prefix = \"/a\"\nmethod = \"POST\"", "path_prefix = \"/a\""),
        ("path_prefix = \"/a\"\nheader = { name = \"x-a\" }", "path = \"/a/b\""),
        ("header = { name = \"x-a\", equals = \"1\" }", "header = { name = \"x-a\" }"),
    ] {
        assert_eq!(warned(&(route(first) + &route(second))), "", "{second}");
    }
}

#[test]
fn what_would_do_nothing_or_too_much_is_told() {
    for (rest, wanted) in [
        ("[http]\nmax_body_bytes = 0\n", "0 refuses every request with a body"),
        (
            "[[pool]]\nname = \"b\"\norigins = [{ url = \"http://h\" }]\ntls = { sni = \"h.example\" }\n",
            "no origin of the pool is reached over TLS",
        ),
        (
            "[[rule]]\nname = \"r\"\nexpression = 'not ip.src.country in {\"AT\"}'\naction = \"block\"\n",
            "the node does not know `ip.src.country`",
        ),
        (
            "[[rate_limit]]\nname = \"r\"\nrequests = 1\nperiod_s = 10\ncharacteristics = [\"asn\"]\n",
            "the node does not know `ip.src.asnum`",
        ),
        (
            "[[rate_limit]]\nname = \"r\"\nrequests = 1\nperiod_s = 10\n\
             expression = 'ip.src.continent eq \"EU\"'\n",
            "the node does not know `ip.src.continent`",
        ),
    ] {
        let told = warned(rest);
        assert!(told.contains("warning: ") && told.contains(wanted), "{rest}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let over_tls =
        "[[pool]]\nname = \"b\"\norigins = [{ url = \"https://h\" }]\ntls = { sni = \"h.example\" }\n";
    assert_eq!(warned(over_tls), "");
}

#[test]
fn a_table_that_nothing_switches_on_is_told() {
    for (rest, name) in [
        ("[waf]\nrules = [\"crs\"]\n", "[waf]"),
        ("[[waf.exception]]\npath = \"/a\"\n", "[waf]"),
        ("[waf.shadow]\nparanoia = 2\n", "[waf]"),
        ("[cache]\nbrowser_s = 60\n", "[cache]"),
        ("[compression]\nalgorithms = [\"gzip\"]\n", "[compression]"),
    ] {
        let told = warned(rest);
        let wanted = format!(": warning: nothing switches {name} on, so that it does nothing (write ");
        assert!(told.starts_with("zones/a.toml:3:") && told.contains(&wanted), "{rest}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let by_rules = "[cache]\nbrowser_s = 60\n[compression]\nmin_bytes = 1\n\
                    [[rule]]\nphase = 'http_request_cache_settings'\nexpression = 'true'\n\
                    action = 'set_cache_settings'\ncache = { enabled = true }\n\
                    [[rule]]\nphase = 'http_response_compression'\nexpression = 'true'\n\
                    action = 'compress_response'\ncompress = { algorithms = ['auto'] }\n";
    for quiet in ["[waf]\nmode = \"off\"\nrules = [\"crs\"]\n", "[cache]\nenabled = false\n", by_rules] {
        assert_eq!(warned(quiet), "", "{quiet}");
    }
    // For all zones, of which each may switch it on.
    let zone = zone_text("z", "[\"a.example\"]", "");
    let node = "[zone_defaults.cache]\nbrowser_s = 60\n";
    let compiled = snapshot(&bundle_with_defaults(&[("zones/a.toml", zone.as_str())], node));
    assert_eq!(listed(&compiled.warnings), "");
}

#[test]
fn a_field_that_nothing_fills_is_told_wherever_an_expression_stands() {
    let rule = |phase: &str, rest: &str| format!("[[rule]]\nphase = 'http_{phase}'\n{rest}\n");
    let limit = |rest: &str| format!("[[rate_limit]]\nname = 'l'\nrequests = 1\nperiod_s = 1\n{rest}\n");
    let log = "expression = 'true'\naction = 'log_custom_field'\n";
    let rewrite = "expression = 'true'\naction = 'rewrite'\n";
    let city = "ip.src.city ne \"Vienna\"";
    for (rest, place, value) in [
        (
            rule("request_firewall_custom", "expression = 'not cf.client.bot'\naction = 'block'"),
            "5:19",
            "false",
        ),
        (
            rule("request_firewall_custom", &format!("expression = '{city}'\naction = 'block'")),
            "5:15",
            "empty",
        ),
        (
            rule("request_firewall_custom", "expression = 'ssl and cf.threat_score gt 10'\naction = 'log'"),
            "5:23",
            "0",
        ),
        (
            rule("request_firewall_custom", "expression = 'cf.bot_management.score lt 30'\naction = 'log'"),
            "5:15",
            "99",
        ),
        (
            rule("request_transform", &format!("{rewrite}rewrite = {{ query_expression = 'cf.zone.plan' }}")),
            "7:33",
            "empty",
        ),
        (
            rule(
                "log_custom_fields",
                &format!("{log}fields = {{ values = [{{ name = 'a', expression = 'cf.threat_score' }}] }}"),
            ),
            "7:50",
            "0",
        ),
        (limit(&format!("expression = '{city}'")), "7:15", "empty"),
        (limit("counting_expression = 'cf.client.bot'"), "7:24", "false"),
        (limit("characteristics = ['address', 'ip.src.city']"), "7:32", "empty"),
        (
            format!("[[concurrency_limit]]\nname = 'l'\nrequests = 1\nexpression = '{city}'\n"),
            "6:15",
            "empty",
        ),
    ] {
        let told = warned(&rest);
        let wanted = format!("zones/a.toml:{place}: warning: nothing fills `");
        assert!(told.starts_with(&wanted), "{place}: {told}");
        assert!(told.contains(&format!("` yet: it is {value} for every visitor (leave it out")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let in_a_string = "[[rule]]\nexpression = 'http.host eq \"cf.client.bot\"'\naction = 'block'\n";
    assert_eq!(warned(in_a_string), "");
}

/// The reference marks the same ones, out of the same table.
#[test]
fn the_fields_that_are_told_are_those_without_a_source() {
    // Fewer at a time than warnings that are told.
    for fields in ::rules::Field::ALL.chunks(50) {
        let rule = |field: &::rules::Field| format!("[[rule]]\nexpression = '{field}'\naction = 'log'\n");
        let rules: String = fields.iter().map(rule).collect();
        let told = problems_of(&zone_text("z", "[\"a.example\"]", &rules));
        for field in fields {
            let is_told = told.contains(&format!("nothing fills `{field}` yet"));
            assert_eq!(is_told, field.row().source == ::rules::Source::Absent, "{field}");
        }
    }
}

#[test]
fn a_header_named_in_capitals_is_refused_since_no_request_has_it() {
    let told = problems_of(&zone_text(
        "z",
        "[\"a.example\"]",
        "[[rule]]\nname = \"r\"\nexpression = 'http.request.headers[\"X-Key\"][0] eq \"x\"'\n\
         action = \"block\"\n",
    ));
    assert!(told.contains("5:15: names of headers are in lower case here"), "{told}");
    assert!(told.contains("[\"x-key\"]"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
