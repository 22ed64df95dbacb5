//! What counts by the answer, and what answers tell.

use anyhow::{Context as _, Result};
use testkit::origin::{Answer, OriginSpec};

use super::super::rig::{saying, start, zone};
use super::{a_day, from, node, sent, spec, statuses};

/// An origin that knows one password, in the query.
fn keeper() -> Result<testkit::origin::ScriptedOrigin> {
    OriginSpec::new().answering(|request| match request.query() {
        "password=right" => Answer::ok("welcome"),
        _ => Answer::new(401),
    })
}

#[test]
fn only_failed_logins_count_and_then_the_right_password_waits_too() -> Result<()> {
    let origin = keeper()?;
    let login = "expression = 'http.request.uri.path eq \"/login\"'\ncount_statuses = [401, 403]\n\
                 mitigation_s = 86400";
    let node = node(&zone(&origin, &a_day("login", 3, login)))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/login?password=right", 5)?, [200; 5], "successes are free");
    assert_eq!(statuses(&node, "192.0.2.1", "/login?password=a", 3)?, [401; 3]);
    assert_eq!(statuses(&node, "192.0.2.1", "/login?password=right", 2)?, [429; 2]);
    let refused = from(&node, "192.0.2.1", "/login")?;
    let seconds: u64 = refused.fields.first("retry-after").context("Retry-After")?.parse()?;
    assert!((86_400 - 600..=86_400).contains(&seconds), "the mitigation lasts: {seconds}");
    assert_eq!(statuses(&node, "192.0.2.1", "/other", 1)?, [401], "the limit is about logins alone");
    assert_eq!(statuses(&node, "192.0.2.2", "/login?password=right", 1)?, [200], "others are not touched");
    node.finish_healthy()
}

#[test]
fn what_one_part_answers_may_shut_the_whole_site() -> Result<()> {
    let origin = keeper()?;
    let counting =
        "counting_expression = 'http.request.uri.path eq \"/login\" and http.response.code eq 401'";
    let node = node(&zone(&origin, &a_day("login", 2, counting)))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/other", 5)?, [401; 5], "these do not count");
    assert_eq!(statuses(&node, "192.0.2.1", "/login", 2)?, [401; 2]);
    assert_eq!(statuses(&node, "192.0.2.1", "/other", 1)?, [429]);
    node.finish_healthy()
}

#[test]
fn answers_of_the_node_s_own_count_too() -> Result<()> {
    let origin = saying("answer")?;
    let lines = [
        a_day("misses", 2, "count_statuses = \"4xx\""),
        "\n[[route]]\npath = \"/gone\"\nanswer = { status = 410 }\n".to_owned(),
        "\n[[rule]]\nexpression = 'http.request.uri.path eq \"/shut\"'\naction = \"block\"\n".to_owned(),
    ]
    .concat();
    let node = node(&zone(&origin, &lines))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/shut", 3)?, [403; 3], "refused before limits are asked");
    assert_eq!(statuses(&node, "192.0.2.1", "/gone", 3)?, [410, 410, 429]);
    assert_eq!(statuses(&node, "192.0.2.1", "/", 1)?, [429]);
    node.finish_healthy()
}

#[test]
fn answers_tell_how_much_is_left_unless_the_limit_is_silent() -> Result<()> {
    let origin = saying("answer")?;
    let silent = a_day("silent", 2, "headers = false");
    let node = node(&zone(&origin, &[a_day("wide", 9, ""), a_day("pages", 5, ""), silent].concat()))?;
    for left in [4, 3] {
        let response = from(&node, "192.0.2.1", "/")?;
        assert_eq!(response.status, 200);
        assert_eq!(response.fields.all("ratelimit-policy"), ["\"pages\";q=5;w=86400"], "the tightest");
        let state = response.fields.first("ratelimit").context("RateLimit")?.to_owned();
        assert!(state.starts_with(&format!("\"pages\";r={left};t=")), "{state}");
        assert!(!response.fields.has("retry-after"));
    }
    let refused = from(&node, "192.0.2.1", "/")?;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.fields.all("ratelimit-policy"), ["\"silent\";q=2;w=86400"], "refusals tell always");
    assert!(refused.fields.has("retry-after"));
    node.finish_healthy()
}

#[test]
fn a_limit_answers_in_its_own_words_or_by_the_zone_s_page() -> Result<()> {
    let origin = saying("answer")?;
    let own = "expression = 'http.request.uri.path eq \"/own\"'\n\
               block = { status = 503, content_type = \"application/json\", body = '{\"slow\":true}' }";
    let lines = [
        a_day("own", 1, own),
        a_day("pages", 1, "expression = 'http.request.uri.path eq \"/page\"'"),
        "\n[[error_page]]\nstatus = 429\nfile = \"429.html\"\n".to_owned(),
    ]
    .concat();
    let node = start(&spec(&zone(&origin, &lines)).file("zones/429.html", "page of {{fault}}"))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/own", 1)?, [200]);
    let refused = from(&node, "192.0.2.1", "/own")?;
    assert_eq!((refused.status, refused.text().as_str()), (503, "{\"slow\":true}"));
    assert_eq!(refused.fields.first("content-type"), Some("application/json"));
    assert!(refused.fields.has("retry-after") && refused.fields.has("ratelimit"));
    assert_eq!(statuses(&node, "192.0.2.1", "/page", 1)?, [200]);
    let refused = from(&node, "192.0.2.1", "/page")?;
    assert_eq!((refused.status, refused.text().as_str()), (429, "page of rate_limited"));
    assert!(refused.fields.has("retry-after"));
    let line = node.wait_for_log(|line| line["path"] == "/own" && line["status"] == 503)?;
    assert_eq!(line["verdict"], "rate_limited");
    node.finish_healthy()
}

#[test]
fn a_counting_expression_that_costs_too_much_is_no_way_around_it() -> Result<()> {
    let origin = saying("answer")?;
    let costly: String = (0..60)
        .map(|number| {
            let text = format!("lower(concat(http.request.uri.query, \"{number}\")) eq \"x\"");
            a_day(
                &format!("l{number}"),
                9,
                &format!("counting_expression = 'http.response.code eq 200 and {text}'"),
            )
        })
        .collect();
    let node = node(&zone(&origin, &format!("{costly}\n[fail_modes]\nshield = \"open\"\n")))?;
    let query = "Xyz%41".repeat(2_000);
    let mut refused = 0;
    for _ in 0..2 {
        let response = sent(&node, "192.0.2.1", &format!("/?{query}{query}{query}"), &[])?;
        refused += u32::from(response.status == 403);
    }
    assert_eq!(refused, 2, "whatever the mode");
    assert_eq!(from(&node, "192.0.2.1", "/?x")?.status, 200, "others are not touched");
    let told = node.wait_for_event(|event| event["event"] == "phase_broke")?;
    assert_eq!((told["phase"].as_str(), told["kind"].as_str()), (Some("shield"), Some("fuel")));
    super::finish_warned(node, &["phase_broke"])
}
