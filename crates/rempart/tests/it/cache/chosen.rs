//! Rules of `http_request_cache_settings`: whether something is kept, for how long, and under which key.

use super::*;

/// A rule that chooses.
fn rule(name: &str, expression: &str, cache: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nphase = \"http_request_cache_settings\"\nexpression = '{expression}'\n\
         action = \"set_cache_settings\"\ncache = {{ {cache} }}\n"
    )
}

fn path(is: &str) -> String {
    format!("http.request.uri.path eq \"{is}\"")
}

#[test]
fn a_rule_sends_requests_past_the_cache() -> Result<()> {
    let origin = fresh()?;
    let cookie = "http.cookie contains \"signed_in\"";
    let node = before(&origin, &rule("signed-in", cookie, "enabled = false"))?;
    assert_eq!(get(&node, "/a")?.text(), "answer 0");
    let past = with(&node, "/a", &[("Cookie", "signed_in=1")])?;
    assert_eq!((past.text().as_str(), said(&past).as_str()), ("answer 1", "rempart; fwd=bypass; detail=off"));
    let hit = get(&node, "/a")?;
    assert_eq!((hit.text().as_str(), is_hit(&hit)), ("answer 0", true));
    let line = node.wait_for_log(|line| line["cache"] == "bypass")?;
    assert_eq!(line["rules"].as_array().map(Vec::len), Some(1), "{line}");
    let id = line["request_id"].as_str().context("an id")?.to_owned();
    let trace = String::from_utf8(node.command(&["trace", &id])?.stdout)?;
    assert!(trace.contains("set_cache_settings"), "{trace}");
    node.finish_healthy()
}

#[test]
fn a_rule_switches_the_cache_on_for_what_it_fits() -> Result<()> {
    let origin = fresh()?;
    let lines = rule("static", "http.request.uri.path.extension eq \"txt\"", "enabled = true");
    let toml = zone_with(&lines, &[&origin.url()], "");
    let node = start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", toml))?;
    assert_eq!(get(&node, "/a.txt")?.text(), "answer 0");
    assert!(is_hit(&get(&node, "/a.txt")?));
    let (first, second) = (get(&node, "/a")?, get(&node, "/a")?);
    assert_eq!((first.text().as_str(), second.text().as_str()), ("answer 1", "answer 2"));
    assert_eq!(said(&second), "rempart; fwd=bypass; detail=off");
    node.finish_healthy()
}

#[test]
fn a_rule_says_how_long_answers_are_kept_here_and_in_browsers() -> Result<()> {
    let origin = counting(|request, answer| match request.path() {
        "/error" => answer.status(404),
        "/no-store" => answer.field("Cache-Control", "no-store"),
        _ => answer.field("Cache-Control", "max-age=10"),
    })?;
    let lines = [
        rule("all", "true", "edge_s = 600, browser_s = 30, lifetime = [{ status = 404, seconds = 60 }]"),
        rule("never", &path("/never"), "edge_s = 0"),
    ];
    let node = before(&origin, &lines.concat())?;
    get(&node, "/a")?;
    let kept = get(&node, "/a")?;
    let ttl = said(&kept).strip_prefix("rempart; hit; ttl=").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(ttl.is_some_and(|ttl| (100..=600).contains(&ttl)), "{}", said(&kept));
    let age: u64 = kept.fields.first("age").context("an age")?.parse()?;
    let told = format!("max-age={}", 30 + age);
    assert_eq!(kept.fields.first("cache-control"), Some(told.as_str()));
    get(&node, "/error")?;
    assert!(is_hit(&get(&node, "/error")?));
    for target in ["/never", "/no-store"] {
        let (first, second) = (get(&node, target)?, get(&node, target)?);
        assert_ne!(first.text(), second.text(), "{target}");
    }
    node.finish_healthy()
}

#[test]
fn a_rule_says_whose_word_counts_how_much_is_kept_and_what_browsers_are_told_by_status() -> Result<()> {
    let origin = counting(|request, answer| {
        let answer = answer.field("Cache-Control", "max-age=60").part("x".repeat(2_000));
        if request.path() == "/told/missing" { answer.status(404) } else { answer }
    })?;
    let starts = |path: &str| format!("starts_with(http.request.uri.path, \"{path}\")");
    let lines = [
        rule("asks", &starts("/asks"), "respect_request = true"),
        rule("small", &starts("/small"), "max_object_bytes = 1000"),
        rule("told", &starts("/told"), "browser_s = 5, lifetime = [{ status = 404, browser_s = 1 }]"),
    ];
    let node = before(&origin, &lines.concat())?;
    let anew = [("Cache-Control", "no-cache")];
    for (target, is_respected) in [("/asks", true), ("/other", false)] {
        get(&node, target)?;
        assert_eq!(is_hit(&with(&node, target, &anew)?), !is_respected, "{target}");
    }
    assert_eq!(said(&get(&node, "/small")?), "rempart; fwd=uri-miss; detail=too_large");
    for (target, told) in [("/told", 5), ("/told/missing", 1)] {
        let answer = get(&node, target)?;
        let age: u64 = answer.fields.first("age").map_or(Ok(0), str::parse)?;
        let expected = format!("max-age={}", told + age);
        assert_eq!(answer.fields.first("cache-control"), Some(expected.as_str()), "{target}");
    }
    assert_eq!(get(&node, "/other")?.fields.first("cache-control"), Some("max-age=60"));
    node.finish_healthy()
}

#[test]
fn a_rule_says_what_tells_answers_apart() -> Result<()> {
    let origin = fresh()?;
    let lines = [
        rule("query", &path("/query"), "key = { query = \"none\" }"),
        rule("only", &path("/only"), "key = { query_only = [\"page\"], sort_query = true }"),
        rule("header", &path("/header"), "key = { headers = [\"X-Tenant\"] }"),
        rule("cookie", &path("/cookie"), "key = { cookies = [\"plan\"] }"),
        rule("device", &path("/device"), "key = { device = true, country = true }"),
    ];
    let node = before(&origin, &lines.concat())?;
    let is_same = |a: Response, b: Response| a.text() == b.text();
    assert!(is_same(get(&node, "/query?a=1")?, get(&node, "/query?b=2")?));
    assert!(is_same(get(&node, "/only?page=1&a=1")?, get(&node, "/only?a=2&page=1")?));
    assert!(!is_same(get(&node, "/only?page=1")?, get(&node, "/only?page=2")?));
    assert!(!is_same(get(&node, "/other?a=1")?, get(&node, "/other?b=2")?));
    for (target, name, one, other) in [
        ("/header", "X-Tenant", "a", "b"),
        ("/cookie", "Cookie", "plan=a", "plan=b"),
        ("/device", "User-Agent", "Mozilla/5.0 (iPhone) Mobile", "Mozilla/5.0 (X11)"),
    ] {
        let ask = |value| with(&node, target, &[(name, value)]);
        assert!(!is_same(ask(one)?, ask(other)?), "{target}");
        assert!(is_same(ask(one)?, ask(one)?) && is_hit(&ask(other)?), "{target}");
    }
    node.finish_healthy()
}

#[test]
fn a_changed_rule_begins_with_an_empty_cache_for_what_it_fits() -> Result<()> {
    let origin = fresh()?;
    let of = |seconds: u32| zone(&origin, &rule("all", &path("/a"), &format!("edge_s = {seconds}")));
    let node = start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", of(600)))?;
    assert_eq!((get(&node, "/a")?.text(), get(&node, "/b")?.text()), ("answer 0".into(), "answer 1".into()));
    assert!(is_hit(&get(&node, "/a")?));
    node.write_zone("a", &of(60))?;
    let published = node.publish()?;
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert_eq!(get(&node, "/a")?.text(), "answer 2");
    assert_eq!(get(&node, "/b")?.text(), "answer 1", "it is none of the rule's");
    node.finish_healthy()
}
