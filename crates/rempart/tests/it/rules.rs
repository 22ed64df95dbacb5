//! Rules of zones over the real binary: refuse, redirect, rewrite, and what they cost when they break.
//!
//! What expressions mean is tested in `rules`, places of mistakes in `zone`; here is what a visitor, an
//! origin and a log see. Read next: [`super::rig`].

mod choices;

use anyhow::{Context as _, Result};
use testkit::node::{Node, alarms};
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::visitor::Response;

use super::rig::{
    HOST, cleartext, fields, http2_visitor, only_request, saying, start, visitor, with_zone, word, zone,
};

/// A rule whose expression is in the language and whose other lines are in TOML.
fn rule(id: char, expression: &str, lines: &str) -> String {
    let id: String = std::iter::repeat_n(id, 32).collect();
    format!("\n[[rule]]\nid = \"{id}\"\nexpression = '''{expression}'''\n{lines}\n")
}

fn id(letter: char) -> String {
    std::iter::repeat_n(letter, 32).collect()
}

/// One request over each protocol: HTTP/1.1, then HTTP/2.
fn both(node: &Node, method: &str, target: &str, pairs: &[(&str, &str)]) -> Result<[Response; 2]> {
    let lower: Vec<(String, &str)> =
        pairs.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
    let lower: Vec<(&str, &str)> = lower.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Ok([
        visitor(node)?.ask(method, target, HOST, &fields(pairs), b"")?,
        http2_visitor(node)?.ask(method, target, HOST, &fields(&lower), b"")?,
    ])
}

fn matched(line: &serde_json::Value) -> Vec<&str> {
    line["rules"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).collect()
}

/// Ends a node that had something to say: of these events and no other.
fn finish_warned(mut node: Node, expected: &[&str]) -> Result<()> {
    node.terminate()?;
    assert!(node.wait()?.success());
    for line in alarms(&node.stderr_lines()) {
        assert!(expected.iter().any(|event| line.contains(&format!("\"event\":\"{event}\""))), "{line}");
    }
    Ok(())
}

fn log_of(node: &Node, target: &str) -> Result<serde_json::Value> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    node.wait_for_log(|line| line["path"] == path && query.is_none_or(|query| line["query"] == query))
}

#[test]
fn a_rule_refuses_and_the_log_names_it() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_zone(&zone(
        &origin,
        &[
            rule(
                'a',
                "http.request.uri.path contains \"/admin\" and not ip.src in {10.0.0.0/8}",
                "action = \"block\"",
            ),
            rule(
                'b',
                "http.request.method eq \"PUT\"",
                "action = \"block\"\nblock = { status = 418, content_type = \"text/x\", body = \"short\" }",
            ),
            rule('c', "http.request.uri.path eq \"/seen\"", "action = \"log\""),
        ]
        .concat(),
    ))?;
    for response in both(&node, "GET", "/x/admin", &[])? {
        assert_eq!((response.status, word(&response).as_str()), (403, "rule_blocked"));
    }
    for response in both(&node, "PUT", "/put", &[])? {
        assert_eq!((response.status, response.text().as_str()), (418, "short"));
        assert_eq!(response.fields.first("content-type"), Some("text/x"));
    }
    for response in both(&node, "GET", "/seen", &[])? {
        assert_eq!(response.text(), "answer");
    }
    assert_eq!(origin.requests().len(), 2, "what is refused reaches no origin");
    for (target, verdict, id) in
        [("/x/admin", "rule_blocked", id('a')), ("/put", "rule_blocked", id('b')), ("/seen", "pass", id('c'))]
    {
        let line = log_of(&node, target)?;
        assert_eq!((line["verdict"].as_str(), matched(&line)), (Some(verdict), vec![id.as_str()]), "{line}");
    }
    let refused = log_of(&node, "/x/admin")?;
    let trace = node.command(&["trace", refused["request_id"].as_str().context("an id")?])?;
    let trace = String::from_utf8_lossy(&trace.stdout).into_owned();
    assert!(trace.contains(&format!("rules {}", id('a'))), "{trace}");
    assert!(trace.contains("shield     block  1"), "{trace}");
    node.wait_for_metric("rempart_refusals_total{refusal=\"rule_blocked\"}", 4.0)?;
    node.finish_healthy()
}

#[test]
fn a_zone_s_own_page_is_shown_to_whom_a_rule_refuses() -> Result<()> {
    let origin = saying("answer")?;
    let lines = format!(
        "\n[[error_page]]\nstatus = 403\nfile = \"403.html\"\n{}",
        rule('a', "http.host eq \"a.example\"", "action = \"block\"")
    );
    let spec = cleartext().file("zones/403.html", "own {{fault}}").zone("a", zone(&origin, &lines));
    let node = start(&spec)?;
    for response in both(&node, "GET", "/", &[])? {
        assert_eq!((response.status, response.text().as_str()), (403, "own rule_blocked"));
    }
    node.finish_healthy()
}

#[test]
fn skip_leaves_out_what_it_names_and_no_more() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_zone(&zone(
        &origin,
        &[
            rule('a', "http.cookie contains \"staff=1\"", "action = \"skip\"\nskip = { rest = true }"),
            rule(
                'b',
                "http.cookie contains \"friend=1\"",
                "action = \"skip\"\nskip = { phases = [\"http_response_headers_transform\"] }",
            ),
            rule('c', "http.request.uri.path eq \"/staff\"", "action = \"block\""),
            rule(
                'd',
                "true",
                "phase = \"http_response_headers_transform\"\naction = \"rewrite\"\n\
                 rewrite = { headers = [{ name = \"X-Rule\", set = \"yes\" }] }",
            ),
        ]
        .concat(),
    ))?;
    for (cookie, status, header) in [
        ("none=1", 403, None),
        ("staff=1", 200, Some("yes")),
        ("friend=1", 403, None),
        ("staff=1; friend=1", 200, Some("yes")),
    ] {
        for response in both(&node, "GET", "/staff", &[("Cookie", cookie)])? {
            assert_eq!((response.status, response.fields.first("x-rule")), (status, header), "{cookie}");
        }
    }
    for response in both(&node, "GET", "/", &[("Cookie", "friend=1")])? {
        assert_eq!((response.status, response.fields.first("x-rule")), (200, None));
    }
    node.finish_healthy()
}

#[test]
fn a_list_from_a_file_is_read_at_each_publish() -> Result<()> {
    let origin = saying("answer")?;
    let lines = format!(
        "\n[[list]]\nname = \"shut\"\nkind = \"ip\"\nfile = \"shut.txt\"\n{}",
        rule('a', "ip.src in $shut", "action = \"block\"")
    );
    let spec =
        cleartext().file("zones/shut.txt", "# nobody\n192.0.2.0/24\n").zone("a", zone(&origin, &lines));
    let node = start(&spec)?;
    let visitor = http2_visitor(&node)?;
    assert_eq!(visitor.fetch(HOST, "/")?.status, 200);
    node.folder().write("zones/shut.txt", "127.0.0.0/8\n")?;
    assert!(node.publish()?.status.success());
    assert_eq!(visitor.fetch(HOST, "/")?.status, 403, "on the same connection");
    node.folder().write("zones/shut.txt", "127.0.0.0/8\nnonsense\n")?;
    let refused = node.publish()?;
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("shut.txt, line 2: `nonsense` is not an address"), "{told}");
    assert_eq!(visitor.fetch(HOST, "/")?.status, 403, "what served serves on");
    drop(visitor);
    Ok(())
}

#[test]
fn redirects_lead_where_their_expression_says() -> Result<()> {
    let origin = saying("answer")?;
    let phase = "phase = \"http_request_dynamic_redirect\"\naction = \"redirect\"\n";
    let node = with_zone(&zone(
        &origin,
        &[
            rule(
                'a',
                "http.request.uri.path eq \"/old\"",
                &format!("{phase}redirect = {{ target = \"/new\", status = 308, preserve_query = true }}"),
            ),
            rule(
                'b',
                "starts_with(http.request.uri.path, \"/blog/\")",
                &format!(
                    "{phase}redirect = {{ target_expression = 'concat(\"https://blog.example\", \
                     http.request.uri.path)' }}"
                ),
            ),
        ]
        .concat(),
    ))?;
    for (target, status, location) in
        [("/old?a=1", 308, "/new?a=1"), ("/blog/x?y", 301, "https://blog.example/blog/x")]
    {
        for response in both(&node, "GET", target, &[])? {
            assert_eq!((response.status, response.fields.first("location")), (status, Some(location)));
        }
    }
    assert_eq!(log_of(&node, "/old?a=1")?["verdict"], "pass");
    node.finish_healthy()
}

#[test]
fn origins_see_rewrites_and_logs_see_what_was_sent() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_zone(&zone(
        &origin,
        &[
            rule(
                'a',
                "starts_with(http.request.uri.path, \"/v1/\")",
                "phase = \"http_request_transform\"\naction = \"rewrite\"\n\
                 rewrite = { path_expression = 'regex_replace(http.request.uri.path, \"^/v1\", \"/api\")', \
                 query = \"from=rule\" }",
            ),
            rule('b', "http.request.uri.path eq \"/api/shut\"", "action = \"block\""),
            rule(
                'c',
                "true",
                "phase = \"http_request_late_transform\"\naction = \"rewrite\"\nrewrite = { headers = [\
                 { name = \"X-Real-IP\", set_expression = \"to_string(ip.src)\" }, \
                 { name = \"X-Added\", add = \"1\" }, { name = \"Accept-Language\", remove = true }] }",
            ),
        ]
        .concat(),
    ))?;
    let sent = [("X-Real-IP", "203.0.113.1"), ("Accept-Language", "en"), ("X-Added", "0")];
    let response = visitor(&node)?.ask("GET", "/v1/x?secret=1", HOST, &fields(&sent), b"")?;
    assert_eq!(response.status, 200);
    let seen = only_request(&origin)?;
    assert_eq!(seen.target, "/api/x?from=rule");
    assert_eq!(seen.fields.all("x-real-ip"), ["127.0.0.1"], "the owner's word, not the visitor's");
    assert_eq!(seen.fields.all("x-added"), ["0", "1"]);
    assert!(!seen.fields.has("accept-language"));
    assert_eq!(http2_visitor(&node)?.fetch(HOST, "/v1/y")?.status, 200);
    assert_eq!(origin.last_request().context("a request")?.target, "/api/y?from=rule");
    for response in both(&node, "GET", "/v1/shut", &[])? {
        assert_eq!(response.status, 403, "later phases see the rewritten path");
    }
    let line = log_of(&node, "/v1/x")?;
    assert_eq!((line["query"].as_str(), matched(&line)), (Some("secret=1"), vec![&*id('a'), &*id('c')]));
    node.finish_healthy()
}

#[test]
fn answers_get_and_lose_fields_by_rules() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.target.as_str() {
        "/gone" => Answer::new(404),
        _ => Answer::ok("answer").field("X-Powered-By", "old"),
    })?;
    let phase = "phase = \"http_response_headers_transform\"\naction = \"rewrite\"\n";
    let node = with_zone(&zone(
        &origin,
        &[
            rule(
                'a',
                "true",
                &format!(
                    "{phase}rewrite = {{ headers = [{{ name = \"X-Frame-Options\", set = \"DENY\" }}, \
                     {{ name = \"X-Powered-By\", remove = true }}] }}"
                ),
            ),
            rule(
                'b',
                "http.response.code eq 404",
                &format!(
                    "{phase}rewrite = {{ headers = [{{ name = \"Cache-Control\", set = \"no-store\" }}] }}"
                ),
            ),
        ]
        .concat(),
    ))?;
    for response in both(&node, "GET", "/", &[])? {
        assert_eq!(response.fields.all("x-frame-options"), ["DENY"]);
        assert!(!response.fields.has("x-powered-by") && !response.fields.has("cache-control"));
        assert_eq!(response.text(), "answer");
    }
    for response in both(&node, "GET", "/gone", &[])? {
        assert_eq!((response.status, response.fields.first("cache-control")), (404, Some("no-store")));
    }
    assert_eq!(matched(&log_of(&node, "/gone")?), [&*id('a'), &*id('b')]);
    node.finish_healthy()
}

#[test]
fn a_bad_expression_is_told_with_its_place_and_changes_nothing() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_zone(&zone(&origin, ""))?;
    let bad = "\n[[rule]]\nexpression = 'http.request.uri.pth eq \"/x\" and ip.scr eq 192.0.2.1'\n\
               action = \"blok\"\n";
    node.write_zone("a", &zone(&origin, bad))?;
    let checked = node.command(&["check"])?;
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    for what in [
        "did you mean `http.request.uri.path`?",
        "did you mean `ip.src`?",
        "there is no action `blok` (did you mean \"block\"?)",
    ] {
        let line =
            told.lines().find(|line| line.contains(what)).with_context(|| format!("{what}\n{told}"))?;
        assert!(line.contains("a.toml:"), "{line}");
    }
    assert!(!node.publish()?.status.success());
    assert_eq!(http2_visitor(&node)?.fetch(HOST, "/x")?.status, 200);
    Ok(())
}

#[test]
fn a_publish_changes_rules_for_open_connections_at_once() -> Result<()> {
    let origin = saying("answer")?;
    let blocking = |path: &str| {
        zone(&origin, &rule('a', &format!("http.request.uri.path eq \"{path}\""), "action = \"block\""))
    };
    let node = with_zone(&blocking("/one"))?;
    let shared = http2_visitor(&node)?;
    let mut alone = visitor(&node)?;
    let mut statuses = || -> Result<[u16; 4]> {
        Ok([
            shared.fetch(HOST, "/one")?.status,
            shared.fetch(HOST, "/two")?.status,
            alone.fetch(HOST, "/one")?.status,
            alone.fetch(HOST, "/two")?.status,
        ])
    };
    assert_eq!(statuses()?, [403, 200, 403, 200]);
    node.write_zone("a", &blocking("/two"))?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses()?, [200, 403, 200, 403]);
    node.write_zone("a", &zone(&origin, ""))?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses()?, [200; 4]);
    drop((shared, alone));
    node.finish_healthy()
}

#[test]
fn a_challenge_refuses_with_a_page_that_says_so() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_zone(&zone(
        &origin,
        &rule('a', "http.request.uri.path eq \"/shop\"", "action = \"managed_challenge\""),
    ))?;
    for response in both(&node, "GET", "/shop", &[])? {
        assert_eq!((response.status, word(&response).as_str()), (403, "challenge_required"));
        assert!(response.text().contains("a proof that you are a person"), "{}", response.text());
    }
    let checked = node.command(&["check"])?;
    assert_eq!(checked.status.code(), Some(0));
    let told = [checked.stdout, checked.stderr].concat();
    assert!(String::from_utf8_lossy(&told).contains("challenges are not there yet"));
    finish_warned(node, &["configuration_warnings"])
}

/// Drill D4 over the whole way: every action there is, with every way of disabling it, in its phase. The
/// outage behind it (December 2025) was a switch that met one action for the first time.
#[test]
fn no_action_breaks_by_any_way_of_disabling_it() -> Result<()> {
    let headers = "rewrite = { headers = [{ name = \"X-Rule\", set = \"yes\" }] }";
    let actions = [
        ("http_request_firewall_custom", "block", ""),
        ("http_request_firewall_custom", "block", "block = { body = \"no\" }"),
        ("http_request_firewall_custom", "challenge", ""),
        ("http_request_firewall_custom", "js_challenge", ""),
        ("http_request_firewall_custom", "managed_challenge", ""),
        ("http_request_firewall_custom", "log", ""),
        ("http_request_firewall_custom", "skip", "skip = { rest = true }"),
        ("http_request_dynamic_redirect", "redirect", "redirect = { target = \"/x\" }"),
        ("http_request_dynamic_redirect", "redirect", "redirect = { target_expression = 'http.referer' }"),
        ("http_request_transform", "rewrite", "rewrite = { path = \"/x\" }"),
        ("http_request_late_transform", "rewrite", headers),
        ("http_response_headers_transform", "rewrite", headers),
        ("ddos_l7", "force_connection_close", ""),
        ("http_request_firewall_custom", "execute", "execute = { ruleset = \"set\" }"),
        ("http_config_settings", "set_config", "config = { redirect_https = true, access_log = false }"),
        ("http_request_origin", "route", "route = { port = 1, host = \"elsewhere.example\" }"),
        ("http_response_firewall_managed", "block", ""),
        ("http_custom_errors", "serve_error", "page = { body = \"no\" }"),
        ("http_log_custom_fields", "log_custom_field", "fields = { cookies = [\"a\"] }"),
    ];
    let origin = saying("answer")?;
    let node = with_zone(&zone(&origin, ""))?;
    let shared = http2_visitor(&node)?;
    for way in ["off", "skipped", "never", "gone"] {
        let mut lines = String::new();
        if way != "gone" {
            let member = "ruleset = \"set\"\naction = \"block\"";
            lines.push_str(&rule('e', "true", member));
        }
        for (number, (phase, action, parameters)) in actions.iter().enumerate() {
            // Ids are hexadecimal: two letters for each.
            let number_id = format!("{number:02x}").repeat(16);
            let (enabled, condition) = match way {
                "off" => ("enabled = false\n", "true"),
                "never" => ("", "http.host eq \"elsewhere\""),
                "gone" => break,
                _ => ("", "true"),
            };
            if way == "skipped" {
                let skip =
                    format!("phase = \"{phase}\"\naction = \"skip\"\nskip = {{ phases = [\"{phase}\"] }}");
                let name = format!("name = \"skip {number}\"\n");
                lines.push_str(&format!("\n[[rule]]\n{name}expression = 'true'\n{skip}\n"));
            }
            let more = format!("{enabled}phase = \"{phase}\"\naction = \"{action}\"\n{parameters}");
            lines.push_str(&rule('f', condition, &more).replace(&id('f'), &number_id));
        }
        node.write_zone("a", &zone(&origin, &lines))?;
        let published = node.publish()?;
        assert!(published.status.success(), "{way}: {}", String::from_utf8_lossy(&published.stderr));
        let response = shared.fetch(HOST, "/").with_context(|| way.to_owned())?;
        assert_eq!((response.status, response.text().as_str()), (200, "answer"), "{way}");
        assert!(!response.fields.has("x-rule"), "{way}");
        let seen = origin.last_request().context("a request")?;
        assert_eq!((seen.target.as_str(), seen.fields.has("x-rule")), ("/", false), "{way}");
    }
    assert_eq!(node.metric("rempart_panics_total")?, Some(0.0));
    drop(shared);
    finish_warned(node, &["configuration_warnings"])
}

#[cfg(feature = "fault-injection")]
mod breaking {
    //! The phase breaks: what its mode says, the zone before, and a budget that was spent.

    use testkit::node::zone_toml;

    use super::*;

    const BLOCKING: &str = "http.request.uri.path eq \"/shut\"";

    fn asked(node: &Node, target: &str, fault: &str) -> Result<u16> {
        Ok(visitor(node)?.ask("GET", target, HOST, &fields(&[("Rempart-Fault", fault)]), b"")?.status)
    }

    #[test]
    fn rules_that_break_refuse_by_default_and_are_left_out_where_the_zone_says_open() -> Result<()> {
        let origin = saying("answer")?;
        let blocking = rule('a', BLOCKING, "action = \"block\"");
        let node = with_zone(&zone(&origin, &blocking))?;
        for kind in ["error", "panic"] {
            assert_eq!(asked(&node, "/", &format!("shield={kind}"))?, 500, "closed: {kind}");
        }
        let open = format!("{blocking}\n[fail_modes]\nshield = \"open\"\n");
        node.write_zone("a", &zone(&origin, &open))?;
        assert!(node.publish()?.status.success());
        for (target, kind, status) in
            [("/", "error", 200), ("/shut", "panic", 200), ("/shut", "fuel", 403), ("/", "memory", 403)]
        {
            assert_eq!(asked(&node, target, &format!("shield={kind}"))?, status, "open: {target} {kind}");
        }
        assert_eq!(asked(&node, "/shut", "")?, 403);
        let told = node.wait_for_event(|event| event["event"] == "phase_broke")?;
        assert_eq!(told["phase"], "shield");
        finish_warned(node, &["phase_broke", "panic"])
    }

    #[test]
    fn a_change_that_breaks_rules_is_answered_by_the_rules_before() -> Result<()> {
        let origin = saying("answer")?;
        let blocking = rule('a', BLOCKING, "action = \"block\"");
        let node = with_zone(&zone(&origin, &blocking))?;
        let broken = zone_toml("a", &[HOST, "shield-panic.fault.invalid"], &[&origin.url()]);
        node.write_zone("a", &broken)?;
        assert!(node.publish()?.status.success());
        assert_eq!([asked(&node, "/shut", "")?, asked(&node, "/", "")?], [403, 200]);
        finish_warned(node, &["phase_broke", "panic"])
    }
}

#[test]
fn a_request_that_costs_its_rules_too_much_is_refused_for_itself() -> Result<()> {
    let origin: ScriptedOrigin = saying("answer")?;
    // Each makes a text of its own of a long query.
    let costly: String = (0..400)
        .map(|number| {
            let condition = format!("lower(concat(http.request.uri.query, \"{number}\")) eq \"x\"");
            format!("\n[[rule]]\nexpression = '''{condition}'''\naction = \"block\"\n")
        })
        .collect();
    let open = "\n[fail_modes]\nshield = \"open\"\n";
    let node = with_zone(&zone(&origin, &format!("{costly}{open}")))?;
    let query = "Xyz%41".repeat(2_000);
    let response = visitor(&node)?.fetch(HOST, &format!("/?{query}"))?;
    assert_eq!((response.status, word(&response).as_str()), (403, "too_costly"), "whatever the mode");
    // All of its budget, and counted although nothing came of it.
    node.wait_for_metric("rempart_rule_steps_total{of=\"zone_rules\"}", 2_000_000.0)?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/?x")?.status, 200, "others are not touched");
    let told = node.wait_for_event(|event| event["event"] == "phase_broke")?;
    assert_eq!(told["kind"], "fuel");
    assert!(told["rule"].as_u64().is_some_and(|rule| (1..=400).contains(&rule)), "{told}");
    Ok(())
}
