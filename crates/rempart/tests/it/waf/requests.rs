//! Requests: refused or written down, over both protocols, as rules and modes say.

use anyhow::Result;

use super::{ATTACK, both, firewalled, ids, logged, outcomes, outcomes_of, spec, trace};
use crate::rig::{HOST, fields, http2_visitor, saying, start, visitor, word, zone};

#[test]
fn an_attack_in_the_query_is_refused_and_the_log_names_the_rule() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    for response in both(&node, "GET", &format!("/search?{ATTACK}"), &[], b"")? {
        assert_eq!((response.status, word(&response).as_str()), (403, "waf_blocked"));
    }
    for response in both(&node, "GET", "/found?id=1", &[], b"")? {
        assert_eq!(response.text(), "answer");
    }
    assert_eq!(origin.requests().len(), 2, "what is refused reaches no origin");
    let line = logged(&node, "/search")?;
    assert_eq!(
        (line["verdict"].as_str(), line["waf"].as_str(), ids(&line)),
        (Some("waf_blocked"), Some("refused"), vec!["1010"])
    );
    let told = trace(&node, &line)?;
    assert!(told.contains("waf        refused  1010"), "{told}");
    assert!(told.contains("1010 phase 2 own.conf:"), "{told}");
    assert!(told.contains("ARGS:id = 1' OR '1'='1"), "{told}");
    for outcome in ["refused", "clean"] {
        assert_eq!(outcomes_of(&node, outcome, 2.0)?, Some(2.0), "{outcome}");
    }
    node.wait_for_metric("rempart_refusals_total{refusal=\"waf_blocked\"}", 2.0)?;
    node.finish_healthy()
}

#[test]
fn in_log_mode_the_same_attack_passes_and_is_written_down() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "log", "")?;
    for response in both(&node, "GET", &format!("/search?{ATTACK}"), &[], b"")? {
        assert_eq!(response.text(), "answer");
    }
    for response in both(&node, "GET", "/seen?low=seen", &[], b"")? {
        assert_eq!(response.text(), "answer");
    }
    assert_eq!(origin.requests().len(), 4);
    let line = logged(&node, "/search")?;
    assert_eq!(
        (line["verdict"].as_str(), line["waf"].as_str(), ids(&line)),
        (Some("pass"), Some("would_refuse"), vec!["1010"])
    );
    let line = logged(&node, "/seen")?;
    assert_eq!((line["waf"].as_str(), ids(&line)), (Some("matched"), vec!["1012"]));
    for outcome in ["would_refuse", "matched"] {
        assert_eq!(outcomes_of(&node, outcome, 2.0)?, Some(2.0), "{outcome}");
    }
    node.finish_healthy()
}

#[test]
fn a_rule_chooses_the_status_a_redirect_or_silence() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    for response in both(&node, "GET", "/bot", &[("User-Agent", "bad-bot")], b"")? {
        assert_eq!((response.status, word(&response).as_str()), (406, "waf_blocked"));
    }
    for response in both(&node, "GET", "/moved", &[], b"")? {
        assert_eq!(
            (response.status, response.fields.first("location")),
            (302, Some("https://elsewhere.example/"))
        );
    }
    let mut silent = visitor(&node)?;
    silent.send_head("GET", "/dropped", HOST, &fields(&[]))?;
    assert_eq!(silent.rest()?, b"", "the connection ends without an answer");
    assert!(http2_visitor(&node)?.fetch(HOST, "/dropped").is_err(), "the stream is reset");
    for (path, id) in [("/bot", "1001"), ("/moved", "1002"), ("/dropped", "1003")] {
        let line = logged(&node, path)?;
        assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("waf_blocked"), vec![id]), "{line}");
    }
    assert_eq!(origin.requests().len(), 0);
    node.finish_healthy()
}

#[test]
fn rules_of_the_last_phase_are_asked_when_all_is_over() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/after")?.text(), "answer");
    assert_eq!(ids(&logged(&node, "/after")?), ["1030"]);
    node.finish_healthy()
}

#[test]
fn a_rule_of_the_zone_that_skips_the_firewall_skips_it() -> Result<()> {
    let origin = saying("answer")?;
    let rule = |path: &str, skip: &str| {
        format!(
            "\n[[rule]]\nexpression = 'http.request.uri.path eq \"{path}\"'\naction = \"skip\"\n\
             skip = {{ {skip} }}\n"
        )
    };
    let more = [
        rule("/phase", "phases = [\"http_request_firewall_managed\"]"),
        rule("/product", "products = [\"waf\"]"),
        rule("/other", "products = [\"rateLimit\"]"),
    ]
    .concat();
    let node = firewalled(&origin, "block", &more)?;
    let mut visitor = visitor(&node)?;
    for (path, status, outcome) in
        [("/phase", 200, "skipped"), ("/product", 200, "skipped"), ("/other", 403, "refused")]
    {
        let response = visitor.ask("GET", &format!("{path}?{ATTACK}"), HOST, &fields(&[]), b"")?;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(logged(&node, path)?["waf"], outcome, "{path}");
    }
    assert_eq!(outcomes_of(&node, "skipped", 2.0)?, Some(2.0));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn what_a_rule_of_the_zone_rewrote_is_what_the_firewall_sees() -> Result<()> {
    let origin = saying("answer")?;
    let rewrite = "\n[[rule]]\nphase = \"http_request_transform\"\n\
                   expression = 'http.host eq \"a.example\"'\n\
                   action = \"rewrite\"\nrewrite = { query = \"q=evil\" }\n";
    let node = firewalled(&origin, "block", rewrite)?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/x?q=good")?.status, 403);
    node.finish_healthy()
}

#[test]
fn a_zone_without_a_firewall_is_not_asked_and_one_in_mode_off_reads_no_rules() -> Result<()> {
    let origin = saying("answer")?;
    let off = zone(&origin, "\n[waf]\nmode = \"off\"\nrules = [\"../waf/none.conf\"]\n");
    let node = start(&crate::rig::cleartext().zone("a", off))?;
    for response in both(&node, "GET", &format!("/x?{ATTACK}"), &[], b"")? {
        assert_eq!(response.text(), "answer");
    }
    assert!(logged(&node, "/x")?["waf"].is_null());
    assert_eq!(outcomes(&node, "clean")?, Some(0.0));
    node.finish_healthy()
}

#[test]
fn the_zone_s_own_page_is_shown_to_whom_the_firewall_refuses() -> Result<()> {
    let origin = saying("answer")?;
    let page = "\n[[error_page]]\nstatus = 403\nfile = \"403.html\"\n";
    let spec = spec(&origin, "block", page).file("zones/403.html", "own {{fault}}");
    let node = start(&spec)?;
    for response in both(&node, "GET", &format!("/x?{ATTACK}"), &[], b"")? {
        assert_eq!((response.status, response.text().as_str()), (403, "own waf_blocked"));
    }
    node.finish_healthy()
}

#[test]
fn a_shadow_never_refuses_and_the_log_says_where_it_differs() -> Result<()> {
    let origin = saying("answer")?;
    let stricter = "SecRule ARGS \"@contains odd\" \"id:2001,phase:2,deny,log,msg:'Odd'\"\n";
    let shadow = "[waf.shadow]\nrules = [\"../waf/own.conf\", \"../waf/stricter.conf\"]\n";
    let node = start(&spec(&origin, "block", shadow).file("waf/stricter.conf", stricter))?;
    let mut visitor = visitor(&node)?;
    for (path, query, status, waf, shadow) in [
        ("/same", "q=good", 200, "clean", "clean"),
        ("/differs", "q=odd", 200, "clean", "would_refuse"),
        ("/agrees", "q=evil", 403, "refused", "would_refuse"),
    ] {
        let response = visitor.fetch(HOST, &format!("{path}?{query}"))?;
        assert_eq!(response.status, status, "{path}");
        let line = logged(&node, path)?;
        assert_eq!((line["waf"].as_str(), line["waf_shadow"].as_str()), (Some(waf), Some(shadow)), "{path}");
    }
    drop(visitor);
    node.wait_for_metric("rempart_waf_shadow_differences_total", 1.0)?;
    let told = trace(&node, &logged(&node, "/differs")?)?;
    assert!(told.contains("its shadow would_refuse") && told.contains("2001 phase 2"), "{told}");
    node.finish_healthy()
}

#[test]
fn a_websocket_is_inspected_by_its_head() -> Result<()> {
    let origin = testkit::origin::OriginSpec::new().answering(|_| testkit::origin::Answer::websocket())?;
    let node = firewalled(&origin, "block", "inspect_responses = true\n")?;
    let upgrade = fields(&[
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]);
    let mut one = visitor(&node)?;
    one.send_head("GET", "/chat", HOST, &upgrade)?;
    assert_eq!(one.read_head("GET")?.map(|head| head.status), Some(101));
    assert_eq!(visitor(&node)?.ask("GET", &format!("/chat?{ATTACK}"), HOST, &upgrade, b"")?.status, 403);
    drop(one);
    node.finish_healthy()
}
