//! How often: thresholds, visitors, characteristics, order, and what rules leave out.

use anyhow::{Context as _, Result};
use testkit::node::NodeSpec;
use testkit::visitor::Visitor;

use super::super::rig::{
    Certificates, HOST, fields, http2_visitor, saying, start, tls_zone, with_leaf, word, zone,
};
use super::{a_day, from, ids, node, sent, statuses};

#[test]
fn as_many_as_allowed_pass_and_one_more_is_told_why() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 3, "")))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/x", 5)?, [200, 200, 200, 429, 429]);
    assert_eq!(origin.requests().len(), 3, "what is refused reaches no origin");
    let refused = from(&node, "192.0.2.1", "/x")?;
    assert_eq!((refused.status, word(&refused).as_str()), (429, "rate_limited"));
    assert!(refused.text().contains("too many requests"), "{}", refused.text());
    assert_eq!(refused.fields.all("ratelimit-policy"), ["\"pages\";q=3;w=86400"]);
    let state = refused.fields.first("ratelimit").context("RateLimit")?;
    let seconds: u64 = state.strip_prefix("\"pages\";r=0;t=").context(state.to_owned())?.parse()?;
    // Not before the next period, in which the three slide out one after the other.
    assert!((86_400 - 600..=2 * 86_400).contains(&seconds), "{seconds}");
    assert_eq!(refused.fields.first("retry-after"), Some(&*seconds.to_string()));
    assert_eq!(refused.fields.first("cache-control"), Some("no-store"));
    // A refusal is counted once its answer has left.
    let refusals = || node.metric("rempart_refusals_total{refusal=\"rate_limited\"}");
    node.wait_until("three refusals", || refusals().is_ok_and(|count| count == Some(3.0)))?;
    node.wait_for_metric("rempart_over_limit_total{limit=\"rate\",action=\"block\"}", 3.0)?;
    assert_eq!(node.metric("rempart_limits_forgotten_total")?, Some(0.0));
    node.finish_healthy()
}

#[test]
fn log_trail_and_event_name_the_limit() -> Result<()> {
    let origin = saying("answer")?;
    let id = "0123456789abcdef0123456789abcdef";
    let limit =
        |name, line: &str| a_day(name, 1, &format!("expression = 'http.request.uri.path eq \"/x\"'\n{line}"));
    let lines = [limit("other", "enabled = false"), limit("pages", &format!("id = \"{id}\""))].concat();
    let node = node(&zone(&origin, &lines))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/x", 4)?, [200, 429, 429, 429]);
    let line = node.wait_for_log(|line| line["status"] == 429)?;
    assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("rate_limited"), vec![id.to_owned()]));
    let passed = node.wait_for_log(|line| line["status"] == 200)?;
    assert_eq!((passed["verdict"].as_str(), ids(&passed)), (Some("pass"), vec![]));
    let trace = node.command(&["trace", line["request_id"].as_str().context("an id")?])?;
    let trace = String::from_utf8_lossy(&trace.stdout).into_owned();
    assert!(trace.contains("outcome rate_limited: a rate limit of the zone"), "{trace}");
    assert!(trace.contains("shield     over_rate_limit  2"), "{trace}");
    assert!(trace.contains(&format!("rules {id}")), "{trace}");
    let event = node.wait_for_event(|event| event["event"] == "rate_limited")?;
    assert_eq!((event["limit"].as_str(), event["id"].as_str()), (Some("pages"), Some(id)));
    assert_eq!((event["zone"].as_str(), event["action"].as_str()), (Some("a"), Some("block")));
    let told = node.stderr_lines().iter().filter(|line| line.contains("\"event\":\"rate_limited\"")).count();
    assert_eq!(told, 1, "three refusals within seconds are one event");
    node.finish_healthy()
}

#[test]
fn visitors_do_not_use_up_each_other_s_requests() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 2, "")))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/", 3)?, [200, 200, 429]);
    assert_eq!(statuses(&node, "192.0.2.2", "/", 3)?, [200, 200, 429]);
    // A household has a network of 64 bits.
    assert_eq!(statuses(&node, "2001:db8::1", "/", 1)?, [200]);
    assert_eq!(statuses(&node, "2001:db8::2:3:4:5", "/", 2)?, [200, 429]);
    assert_eq!(statuses(&node, "2001:db8:0:1::1", "/", 1)?, [200]);
    node.finish_healthy()
}

#[test]
fn prefixes_are_as_the_limit_says() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 2, "ipv4_prefix = 24\nipv6_prefix = 56")))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/", 1)?, [200]);
    assert_eq!(statuses(&node, "192.0.2.254", "/", 2)?, [200, 429]);
    assert_eq!(statuses(&node, "192.0.3.1", "/", 1)?, [200]);
    assert_eq!(statuses(&node, "2001:db8:0:10::1", "/", 1)?, [200]);
    assert_eq!(statuses(&node, "2001:db8:0:ff::1", "/", 2)?, [200, 429]);
    assert_eq!(statuses(&node, "2001:db8:0:100::1", "/", 1)?, [200]);
    node.finish_healthy()
}

#[test]
fn requests_are_told_apart_by_what_the_limit_names() -> Result<()> {
    let origin = saying("answer")?;
    for (characteristics, one, other) in [
        ("['header:X-Api-Key']", ("/", ("X-Api-Key", "a")), ("/", ("x-api-key", "b"))),
        ("['cookie:session']", ("/", ("Cookie", "a=1; session=x")), ("/", ("Cookie", "session=y"))),
        ("['argument:user']", ("/?user=a", ("X-A", "1")), ("/?user=b", ("X-A", "1"))),
        ("['path']", ("/a?1", ("X-A", "1")), ("/b", ("X-A", "1"))),
        ("['http.user_agent']", ("/", ("User-Agent", "one")), ("/", ("User-Agent", "two"))),
        ("['address', 'path']", ("/a", ("X-A", "1")), ("/b", ("X-A", "1"))),
    ] {
        let lines = format!("characteristics = {characteristics}");
        let node = node(&zone(&origin, &a_day("keys", 1, &lines)))?;
        let ask = |(target, field): (&str, (&str, &str))| -> Result<u16> {
            Ok(sent(&node, "192.0.2.1", target, &[field])?.status)
        };
        assert_eq!([ask(one)?, ask(one)?, ask(other)?, ask(other)?], [200, 429, 200, 429], "{lines}");
        node.finish_healthy()?;
    }
    let node = node(&zone(&origin, &a_day("all", 2, "characteristics = []")))?;
    let asked: Vec<u16> = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        .iter()
        .map(|address| Ok(from(&node, address, "/")?.status))
        .collect::<Result<_>>()?;
    assert_eq!(asked, [200, 200, 429], "with nothing to tell them apart all count together");
    node.finish_healthy()
}

#[test]
fn limits_hold_for_what_their_expression_says_in_the_order_written() -> Result<()> {
    let origin = saying("answer")?;
    let login = "expression = 'http.request.uri.path eq \"/login\"'";
    let lines = [a_day("login", 1, login), a_day("all", 3, "")].concat();
    let node = node(&zone(&origin, &lines))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/login", 3)?, [200, 429, 429]);
    // Refused logins did not count against the second limit, since the first ended them.
    assert_eq!(statuses(&node, "192.0.2.1", "/", 3)?, [200, 200, 429]);
    node.finish_healthy()
}

#[test]
fn log_lets_everybody_through_and_names_who_would_not_be() -> Result<()> {
    let origin = saying("answer")?;
    let id = "0123456789abcdef0123456789abcdef";
    let node = node(&zone(&origin, &a_day("pages", 1, &format!("action = \"log\"\nid = \"{id}\""))))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/x", 3)?, [200; 3]);
    let refused = from(&node, "192.0.2.1", "/y")?;
    assert!(!refused.fields.has("ratelimit") && !refused.fields.has("retry-after"), "a trial is not told");
    let line = node.wait_for_log(|line| line["path"] == "/y")?;
    assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("pass"), vec![id.to_owned()]));
    node.wait_for_metric("rempart_over_limit_total{limit=\"rate\",action=\"log\"}", 3.0)?;
    assert_eq!(node.metric("rempart_refusals_total{refusal=\"rate_limited\"}")?, Some(0.0));
    node.finish_healthy()
}

#[test]
fn a_rule_that_skips_leaves_limits_out() -> Result<()> {
    let origin = saying("answer")?;
    let skip = |cookie: &str, what: &str| {
        format!(
            "\n[[rule]]\nexpression = 'http.cookie contains \"{cookie}\"'\naction = \"skip\"\n\
             skip = {{ {what} }}\n"
        )
    };
    let lines = [
        a_day("pages", 1, ""),
        skip("staff", "phases = [\"http_ratelimit\"]"),
        skip("friend", "products = [\"rateLimit\"]"),
        skip("stranger", "products = [\"waf\"]"),
    ]
    .concat();
    let node = node(&zone(&origin, &lines))?;
    for (cookie, expected) in [("staff", [200, 200]), ("friend", [200, 200]), ("stranger", [200, 429])] {
        let ask = || -> Result<u16> { Ok(sent(&node, "192.0.2.1", "/", &[("Cookie", cookie)])?.status) };
        assert_eq!([ask()?, ask()?], expected, "{cookie}");
    }
    node.finish_healthy()
}

#[test]
fn whom_a_rule_refuses_is_not_counted() -> Result<()> {
    let origin = saying("answer")?;
    let rule = "\n[[rule]]\nexpression = 'http.request.uri.path eq \"/shut\"'\naction = \"block\"\n";
    let node = node(&zone(&origin, &format!("{}{rule}", a_day("pages", 1, ""))))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/shut", 3)?, [403; 3]);
    assert_eq!(statuses(&node, "192.0.2.1", "/", 2)?, [200, 429]);
    node.finish_healthy()
}

#[test]
fn all_threads_and_protocols_count_together() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 50, "")))?;
    let shared = http2_visitor(&node)?;
    let passed: Vec<Result<usize>> = std::thread::scope(|scope| {
        let asking = || -> Result<usize> {
            let mut passed = 0;
            for _ in 0..20 {
                passed += usize::from(from(&node, "192.0.2.1", "/")?.status == 200);
            }
            Ok(passed)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(asking)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let passed: usize = passed.into_iter().sum::<Result<usize>>()?;
    assert_eq!(passed, 50);
    let over = shared.ask("GET", "/", HOST, &fields(&[("x-forwarded-for", "192.0.2.1")]), b"")?;
    assert_eq!(over.status, 429);
    drop(shared);
    node.finish_healthy()
}

#[test]
fn a_challenge_past_the_limit_refuses_with_a_page_that_says_so() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 1, "action = \"managed_challenge\"")))?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 200);
    let refused = from(&node, "192.0.2.1", "/")?;
    assert_eq!((refused.status, word(&refused).as_str()), (403, "challenge_required"));
    let checked = node.command(&["check"])?;
    assert_eq!(checked.status.code(), Some(0));
    let told = [checked.stdout, checked.stderr].concat();
    assert!(String::from_utf8_lossy(&told).contains("whoever passes the limit is refused"));
    super::finish_warned(node, &["configuration_warnings"])
}

#[test]
fn tls_libraries_are_told_apart_by_their_hello() -> Result<()> {
    let origin = saying("answer")?;
    let certificates = Certificates::new()?;
    let leaf = certificates.authority.leaf(&[HOST])?;
    let limit = a_day("hello", 1, "characteristics = [\"ja4\"]");
    let zone = format!("{}{limit}", tls_zone("a", HOST, "", &origin.url()));
    let spec = NodeSpec::new().listener("https");
    let node = start(&with_leaf(spec, "a", &leaf).zone("a", zone))?;
    let ask = |alpn: &[&'static str]| -> Result<u16> {
        let config = certificates.trusting(alpn)?;
        Ok(Visitor::tls(node.address("https")?, HOST, &config)?.fetch(HOST, "/")?.status)
    };
    // Their offers of protocols tell these apart.
    let (one, other): (&[&str], &[&str]) = (&["http/1.1"], &[]);
    assert_eq!([ask(one)?, ask(one)?, ask(other)?, ask(other)?], [200, 429, 200, 429]);
    node.finish_healthy()
}

/// Drill D4 for limits: every action there is, with every way of disabling it.
#[test]
fn no_action_breaks_by_any_way_of_disabling_it() -> Result<()> {
    let actions = ["block", "log", "challenge", "js_challenge", "managed_challenge"];
    let skip =
        "\n[[rule]]\nexpression = 'true'\naction = \"skip\"\nskip = { phases = [\"http_ratelimit\"] }\n";
    let origin = saying("answer")?;
    let node = node(&zone(&origin, ""))?;
    for way in ["off", "skipped", "never", "gone"] {
        let more = match way {
            "off" => "enabled = false",
            "never" => "expression = 'http.host eq \"elsewhere\"'",
            _ => "",
        };
        let mut lines: String = if way == "skipped" { skip.to_owned() } else { String::new() };
        for action in actions.iter().filter(|_| way != "gone") {
            let all = format!("action = \"{action}\"\ncharacteristics = []\n{more}");
            lines.push_str(&a_day(action, 1, &all));
            lines.push_str(&format!("\n[[concurrency_limit]]\nname = \"{action}\"\nrequests = 1\n{all}\n"));
        }
        node.write_zone("a", &zone(&origin, &lines))?;
        let published = node.publish()?;
        assert!(published.status.success(), "{way}: {}", String::from_utf8_lossy(&published.stderr));
        assert_eq!(statuses(&node, "192.0.2.1", "/", 3)?, [200; 3], "{way}");
    }
    assert_eq!(node.metric("rempart_panics_total")?, Some(0.0));
    super::finish_warned(node, &["configuration_warnings"])
}
