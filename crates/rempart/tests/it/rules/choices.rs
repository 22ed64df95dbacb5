//! Rules that choose: where a request goes, settings, pages in place of errors, fields of the log, rulesets.

use super::*;

/// The lines of a rule of another phase than the firewall's.
fn of(phase: &str, action: &str, parameters: &str) -> String {
    format!("phase = \"{phase}\"\naction = \"{action}\"\n{parameters}")
}

#[test]
fn a_route_chooses_the_pool_the_port_and_the_host() -> Result<()> {
    let (app, api) = (saying("app")?, saying("api")?);
    let route = |letter, path: &str, parameters: &str| {
        let condition = format!("starts_with(http.request.uri.path, \"{path}\")");
        rule(letter, &condition, &of("http_request_origin", "route", &format!("route = {{ {parameters} }}")))
    };
    let port = api.address().port();
    let lines = [
        format!("\n[[pool]]\nname = \"api\"\norigins = [{{ url = \"{}\" }}]\n", api.url()),
        route('a', "/api", "pool = \"api\""),
        route('b', "/port", &format!("port = {port}")),
        route('c', "/host", &format!("origin_host = \"localhost\", port = {port}, host = \"other.example\"")),
        route('d', "/computed", "host_expression = 'concat(\"v2.\", http.host)'"),
        route('e', "/api/v2", "host = \"v2.example\""),
        route('f', "/port/back", "pool = \"app\""),
    ]
    .concat();
    let node = with_zone(&zone(&app, &lines))?;
    for (target, body, host) in [
        ("/", "app", HOST),
        ("/api", "api", HOST),
        ("/api/v2", "api", "v2.example"),
        ("/port", "api", HOST),
        ("/host", "api", "other.example"),
        ("/computed", "app", "v2.a.example"),
        // The later of two as a whole: neither the port of the first stays.
        ("/port/back", "app", HOST),
    ] {
        for response in both(&node, "GET", target, &[])? {
            assert_eq!(response.text(), body, "{target}");
            let seen = if body == "app" { &app } else { &api };
            let request = seen.last_request().context("a request")?;
            assert_eq!((request.target.as_str(), request.fields.first("host")), (target, Some(host)));
        }
    }
    node.finish_healthy()
}

#[test]
fn a_host_that_a_rule_computes_never_mixes_what_is_stored() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        let host = request.fields.first("host").unwrap_or_default().to_owned();
        Answer::ok(host).field("Cache-Control", "max-age=60")
    })?;
    let lines = [
        "\n[cache]\nenabled = true\n".to_owned(),
        rule(
            'a',
            "len(http.request.headers[\"x-tenant\"][0]) > 0",
            &of(
                "http_request_origin",
                "route",
                "route = { host_expression = 'http.request.headers[\"x-tenant\"][0]' }",
            ),
        ),
    ]
    .concat();
    let node = with_zone(&zone(&origin, &lines))?;
    for _ in 0..2 {
        for tenant in ["one", "two"] {
            let response = visitor(&node)?.ask("GET", "/", HOST, &fields(&[("X-Tenant", tenant)]), b"")?;
            assert_eq!(response.text(), tenant);
        }
        assert_eq!(visitor(&node)?.fetch(HOST, "/")?.text(), HOST);
    }
    assert_eq!(origin.requests().len(), 3, "each once");
    node.finish_healthy()
}

#[test]
fn settings_are_others_for_the_requests_a_rule_fits() -> Result<()> {
    let origin = saying("answer")?;
    let config = |letter, path: &str, parameters: &str| {
        let condition = format!("http.request.uri.path eq \"{path}\"");
        let parameters = format!("config = {{ {parameters} }}");
        rule(letter, &condition, &of("http_config_settings", "set_config", &parameters))
    };
    let lines = [
        "\n[waf]\nmode = \"block\"\nrules = [\"../waf/own.conf\"]\n".to_owned(),
        config('a', "/off", "waf = \"off\""),
        config('b', "/log", "waf = \"log\""),
        config('c', "/timed", "server_timing = true"),
        config('d', "/secret", "access_log = false"),
        config('e', "/tls", "redirect_https = true"),
        config('f', "/off", "server_timing = true"),
    ]
    .concat();
    let own = include_str!("../waf/own.conf");
    let node = start(&cleartext().file("waf/own.conf", own).zone("a", zone(&origin, &lines)))?;
    let attack = "id=1%27%20OR%20%271%27=%271";
    for (path, status, waf) in
        [("/", 403, "refused"), ("/off", 200, "skipped"), ("/log", 200, "would_refuse")]
    {
        let target = format!("{path}?{attack}");
        for response in both(&node, "GET", &target, &[])? {
            assert_eq!(response.status, status, "{path}");
            assert_eq!(response.fields.has("server-timing"), path == "/off", "of two rules both count");
        }
        assert_eq!(log_of(&node, &target)?["waf"], waf);
    }
    assert!(visitor(&node)?.fetch(HOST, "/timed")?.fields.has("server-timing"));
    assert_eq!(visitor(&node)?.fetch(HOST, "/secret")?.text(), "answer");
    let sent = visitor(&node)?.fetch(HOST, "/tls?a=1")?;
    let location = format!("https://{HOST}/tls?a=1");
    assert_eq!((sent.status, sent.fields.first("location")), (308, Some(location.as_str())));
    // Lines are written in order: what came before is in the log by then.
    log_of(&node, "/tls?a=1")?;
    assert!(node.log_lines()?.iter().all(|line| line["path"] != "/secret"));
    node.finish_healthy()
}

#[test]
fn the_threshold_of_the_firewall_and_the_patience_with_origins_are_a_rules_to_choose() -> Result<()> {
    const SCORES: &str = "SecAction \"id:1,phase:1,pass,nolog,setvar:tx.score=7\"\n\
        SecRule TX:score \"@ge %{tx.inbound_anomaly_score_threshold}\" \\\n\
        \"id:3,phase:2,deny,status:418,log\"\n";
    // The origin answers nothing at `/slow`.
    let (origin, gate) = (OriginSpec::new(), testkit::gate::Gate::new());
    let held = gate.clone();
    let origin = origin.answering(move |request| match request.target.as_str() {
        "/slow" => Answer::ok("late").wait_before_head(&held),
        _ => Answer::ok("answer"),
    })?;
    let config = |letter, path: &str, parameters: &str| {
        let condition = format!("http.request.uri.path eq \"{path}\"");
        let parameters = format!("config = {{ {parameters} }}");
        rule(letter, &condition, &of("http_config_settings", "set_config", &parameters))
    };
    let lines = [
        "\n[waf]\nmode = \"block\"\ninbound_threshold = 10\nrules = [\"../waf/own.conf\"]\n".to_owned(),
        config('a', "/strict", "inbound_threshold = 5"),
        config('b', "/slow", "first_byte_ms = 50"),
    ]
    .concat();
    let node = start(&cleartext().file("waf/own.conf", SCORES).zone("a", zone(&origin, &lines)))?;
    for (path, status) in [("/", 200), ("/strict", 418), ("/slow", 504)] {
        assert_eq!(visitor(&node)?.fetch(HOST, path)?.status, status, "{path}");
    }
    gate.open_for_good();
    node.finish_healthy()
}

#[test]
fn a_page_takes_the_place_of_errors_of_origins_and_of_our_own() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.target.as_str() {
        "/gone" => Answer::new(410).part("the origin's own"),
        "/busy" => Answer::new(503).field("Retry-After", "7").field("X-Inner", "1").part("stack trace"),
        "/who" => Answer::new(401).field("WWW-Authenticate", "Basic realm=\"x\"").part("no"),
        _ => Answer::ok("fine"),
    })?;
    let page = |letter, condition: &str, parameters: &str| {
        rule(
            letter,
            condition,
            &of("http_custom_errors", "serve_error", &format!("page = {{ {parameters} }}")),
        )
    };
    let lines = [
        page('a', "http.response.code in {500..599}", "file = \"sorry.html\", status = 500"),
        page(
            'b',
            "cf.response.error_type eq \"waf\"",
            "content_type = \"text/plain\", body = \"no: {{fault}}\"",
        ),
        page('c', "http.response.code eq 401", "body = \"\""),
        rule('d', "http.request.uri.path eq \"/shut\"", "action = \"block\""),
        rule('e', "http.request.uri.path eq \"/own\"", "action = \"block\"\nblock = { body = \"mine\" }"),
    ]
    .concat();
    let sorry = "<p>{{status}} {{request_id}}";
    let spec = cleartext().file("zones/sorry.html", sorry).zone("a", zone(&origin, &lines));
    let node = start(&spec)?;
    for target in ["/fine", "/gone"] {
        for response in both(&node, "GET", target, &[])? {
            let untouched = if target == "/fine" { (200, "fine") } else { (410, "the origin's own") };
            assert_eq!((response.status, response.text().as_str()), untouched);
        }
    }
    for response in both(&node, "GET", "/busy", &[])? {
        let id = response.fields.first("x-request-id").context("an id")?;
        assert_eq!((response.status, response.text()), (500, format!("<p>500 {id}")));
        assert_eq!(response.fields.first("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(response.fields.first("retry-after"), Some("7"), "what to do stays");
        assert!(!response.fields.has("x-inner"), "what the origin said of itself goes");
    }
    for response in both(&node, "GET", "/who", &[])? {
        assert_eq!((response.status, response.body.len()), (401, 0));
        assert!(response.fields.has("www-authenticate"));
    }
    for response in both(&node, "GET", "/shut", &[])? {
        assert_eq!((response.status, response.text().as_str()), (403, "no: rule_blocked"));
        assert_eq!(response.fields.first("content-type"), Some("text/plain"));
    }
    for response in both(&node, "GET", "/own", &[])? {
        assert_eq!((response.status, response.text().as_str()), (403, "mine"), "a rule's own words stay");
    }
    let head = visitor(&node)?.ask("HEAD", "/busy", HOST, &fields(&[]), b"")?;
    assert_eq!((head.status, head.body.len()), (500, 0));
    assert_eq!(matched(&log_of(&node, "/busy")?), [id('a')]);
    assert_eq!(matched(&log_of(&node, "/shut")?), [id('d'), id('b')]);
    // Of an origin that does not answer, the same page.
    origin.go_down();
    let failed = visitor(&node)?.fetch(HOST, "/fine")?;
    assert_eq!((failed.status, failed.text().starts_with("<p>500 ")), (500, true));
    assert!(failed.fields.has("proxy-status"), "the word for it stays");
    finish_warned(node, &["origin_unwell", "origin_ejected", "origin_circuit_opened"])
}

#[test]
fn a_rule_of_answers_keeps_them_back() -> Result<()> {
    let origin = OriginSpec::new()
        .answering(|request| Answer::ok("debug output").field("X-Debug", request.target.as_str()))?;
    let lines = rule(
        'a',
        "any(http.response.headers[\"x-debug\"][*] contains \"/leak\")",
        &of("http_response_firewall_managed", "block", ""),
    );
    let node = with_zone(&zone(&origin, &lines))?;
    for response in both(&node, "GET", "/leak", &[])? {
        assert_eq!((response.status, word(&response).as_str()), (403, "waf_withheld"));
        assert!(!response.fields.has("x-debug"));
    }
    for response in both(&node, "GET", "/fine", &[])? {
        assert_eq!(response.text(), "debug output");
    }
    assert_eq!(log_of(&node, "/leak")?["verdict"], "waf_withheld");
    node.finish_healthy()
}

#[test]
fn fields_that_rules_name_are_in_the_log() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::ok("x").field("X-Backend", "b7"))?;
    let fields_of = "fields = { request_headers = [\"X-Trace\"], cookies = [\"theme\"], \
                     response_headers = [\"x-backend\", \"x-none\"], values = [\
                     { name = \"left\", expression = 'len(http.request.uri.path)' }, \
                     { name = \"tls\", expression = 'ssl' }, \
                     { name = \"code\", expression = 'http.response.code' }] }";
    let lines = [
        rule('a', "true", &of("http_log_custom_fields", "log_custom_field", fields_of)),
        rule('b', "http.request.uri.path eq \"/shut\"", "action = \"block\""),
    ]
    .concat();
    let node = with_zone(&zone(&origin, &lines))?;
    let sent = [("X-Trace", "abc\"d"), ("Cookie", "a=1; theme=dark")];
    both(&node, "GET", "/seen", &sent)?;
    visitor(&node)?.ask("GET", "/shut", HOST, &fields(&sent), b"")?;
    let expected = serde_json::json!({
        "header:x-trace": "abc\"d", "response_header:x-backend": "b7", "cookie:theme": "dark",
        "left": 5, "tls": false, "code": 200,
    });
    assert_eq!(log_of(&node, "/seen")?["fields"], expected);
    let refused = log_of(&node, "/shut")?;
    assert_eq!(
        (&refused["fields"]["code"], &refused["fields"]["cookie:theme"]),
        (&403.into(), &"dark".into())
    );
    node.finish_healthy()
}

#[test]
fn a_ruleset_is_asked_where_a_rule_executes_it() -> Result<()> {
    let origin = saying("answer")?;
    let member = |letter, ruleset: &str, path: &str| {
        let lines = format!("ruleset = \"{ruleset}\"\naction = \"block\"");
        rule(letter, &format!("http.request.uri.path eq \"{path}\""), &lines)
    };
    let execute = |letter, condition: &str, ruleset: &str| {
        rule(letter, condition, &format!("action = \"execute\"\nexecute = {{ ruleset = \"{ruleset}\" }}"))
    };
    let lines = [
        member('1', "shop", "/buy"),
        member('2', "all", "/never"),
        rule('c', "http.cookie contains \"staff\"", "action = \"skip\"\nskip = { rulesets = [\"shop\"] }"),
        execute('d', "http.request.method eq \"POST\"", "shop"),
        execute('e', "true", "all"),
    ]
    .concat();
    let node = with_zone(&zone(&origin, &lines))?;
    for (method, target, cookie, status) in [
        ("GET", "/buy", "", 200),
        ("POST", "/buy", "", 403),
        ("POST", "/buy", "staff=1", 200),
        ("POST", "/other", "", 200),
        ("GET", "/never", "staff=1", 403),
    ] {
        for response in both(&node, method, target, &[("Cookie", cookie)])? {
            assert_eq!(response.status, status, "{method} {target} {cookie}");
        }
    }
    let line = node.wait_for_log(|line| line["path"] == "/buy" && line["status"] == 403)?;
    assert_eq!(matched(&line), [id('d'), id('1')]);
    node.finish_healthy()
}

#[test]
fn each_phase_of_the_firewall_refuses_and_can_be_left_out() -> Result<()> {
    let origin = saying("answer")?;
    let phases =
        ["ddos_l7", "http_request_firewall_custom", "http_request_firewall_managed", "http_request_sbfm"];
    let lines: String = phases
        .iter()
        .zip('1'..)
        .map(|(phase, letter)| {
            let path = format!("http.request.uri.path eq \"/{phase}\"");
            let skip = format!("{path} and http.cookie contains \"friend\"");
            let skips = of("http_config_settings", "skip", &format!("skip = {{ phases = [\"{phase}\"] }}"));
            let skipper = char::from(letter as u8 - b'1' + b'a');
            rule(letter, &path, &of(phase, "block", "")) + &rule(skipper, &skip, &skips)
        })
        .collect();
    let node = with_zone(&zone(&origin, &lines))?;
    for phase in phases {
        let target = format!("/{phase}");
        for response in both(&node, "GET", &target, &[])? {
            assert_eq!((response.status, word(&response).as_str()), (403, "rule_blocked"), "{phase}");
        }
        for response in both(&node, "GET", &target, &[("Cookie", "friend")])? {
            assert_eq!(response.status, 200, "{phase}");
        }
    }
    node.finish_healthy()
}

#[test]
fn paths_are_cleaned_first_and_listed_redirects_come_last() -> Result<()> {
    let origin = saying("answer")?;
    let lines = [
        rule(
            'a',
            "http.request.uri.path contains \"//\"",
            &of(
                "http_request_sanitize",
                "rewrite",
                "rewrite = { path_expression = 'regex_replace(http.request.uri.path, \"//+\", \"/\")' }",
            ),
        ),
        rule(
            'b',
            "http.request.uri.path eq \"/old\"",
            &of("http_request_redirect", "redirect", "redirect = { target = \"/new\", status = 302 }"),
        ),
        rule('c', "http.request.uri.path eq \"/old\" and http.cookie contains \"bad\"", "action = \"block\""),
    ]
    .concat();
    let node = with_zone(&zone(&origin, &lines))?;
    for response in both(&node, "GET", "//old", &[])? {
        assert_eq!((response.status, response.fields.first("location")), (302, Some("/new")));
    }
    for response in both(&node, "GET", "//old", &[("Cookie", "bad")])? {
        assert_eq!(response.status, 403, "whom the firewall refuses is sent nowhere");
    }
    node.finish_healthy()
}

#[test]
fn a_connection_ends_where_a_rule_says_so() -> Result<()> {
    let origin = saying("answer")?;
    let lines = rule('a', "http.request.uri.path eq \"/last\"", &of("ddos_l7", "force_connection_close", ""));
    let node = with_zone(&zone(&origin, &lines))?;
    let mut visitor = visitor(&node)?;
    assert_eq!(visitor.fetch(HOST, "/first")?.fields.first("connection"), None);
    let last = visitor.fetch(HOST, "/last")?;
    assert_eq!((last.text().as_str(), last.fields.first("connection")), ("answer", Some("close")));
    assert_eq!(visitor.rest()?, b"");
    node.finish_healthy()
}
