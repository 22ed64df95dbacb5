//! Operators and settings that need more than a rule: known files, patterns out of macros, code pages,
//! elements of XML, and lists in the DNS once an answer is there. Each refusal by its rule, and what is
//! harmless passes.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::Value;
use testkit::names::NameServer;
use testkit::node::Node;
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};

use super::{ids, post};
use crate::rig::{HOST, cleartext, fields, saying, start, visitor, word, zone};

const FORM: &str = "application/x-www-form-urlencoded";

const RULES: &str = r#"
SecParseXmlIntoArgs On
SecUnicodeMapFile pages.map 20127
SecAction "id:10,phase:1,pass,nolog,setvar:'tx.allowed=GET|POST',setvar:'tx.word=evil[0-9]+'"
SecRule REQUEST_METHOD "!@rx ^(?:%{tx.allowed})$" "id:100,phase:1,deny,log"
SecRule ARGS:q "@rx ^%{tx.word}$" "id:101,phase:2,deny,log"
SecRule ARGS:v "@rx ^%{args.p}$" "id:102,phase:2,deny,log"
SecRule ARGS:file "@fuzzyHash known.txt 60" "id:103,phase:2,deny,log"
SecRule ARGS:name "@streq '" "id:104,phase:2,deny,log,t:urlDecodeUni"
SecRule ARGS:xml.order.item "@streq bad" "id:105,phase:2,deny,log"
"#;

/// What other implementations make of [`known`].
const KNOWN: &str = "ssdeep,1.1--blocksize:hash:hash,filename\n\
    384:tvhswbGI0THuJduiAuqq6Nbg8MqKCe/h7fAtE9gnmOy51ShIeJS:xxGIIOJwvbqMmLatE9/bQqF,\"known\"\n";

/// A text of letters and blanks that looks like nothing else.
fn known() -> String {
    let mut state = 9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b"abcdefghijklmnopqrstuvwxyz012345"[(state >> 27) as usize])
    };
    (0..20_000).map(|_| next()).collect()
}

fn node(origin: &ScriptedOrigin) -> Result<Node> {
    let waf = "\n[waf]\nmode = \"block\"\nrules = [\"../waf/outside.conf\"]\nbody_window_bytes = \"64KiB\"\n";
    let spec = cleartext()
        .file("waf/outside.conf", RULES)
        .file("waf/known.txt", KNOWN)
        .file("waf/pages.map", "20127 (US-ASCII)\n2032:27 ff1c:3c\n")
        .zone("a", zone(origin, waf));
    start(&spec)
}

/// Asserts that the log names the rule of a refusal.
fn refused_by(node: &Node, rule: &str) -> Result<()> {
    let is_it = |line: &Value| line["verdict"] == "waf_blocked" && ids(line) == [rule];
    assert!(is_it(&node.wait_for_log(is_it)?), "{rule}");
    Ok(())
}

#[test]
fn patterns_out_of_macros_refuse_what_they_mean_and_nothing_else() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&origin)?;
    let long = format!("q=evil77&pad={}", "x".repeat(20_000));
    for (method, target, body, rule) in [
        ("DELETE", "/", "", Some("100")),
        ("GET", "/", "", None),
        ("GET", "/?q=evil12", "", Some("101")),
        ("GET", "/?q=evil", "", None),
        ("POST", "/", long.as_str(), Some("101")),
        ("POST", "/", "q=good", None),
        ("GET", "/?v=aaa&p=a%7B3%7D", "", Some("102")),
        ("GET", "/?v=aaaa&p=a%7B3%7D", "", None),
        // Neither a broken pattern nor one that takes long to compile refuses anybody.
        ("GET", "/?v=(&p=(", "", None),
        ("GET", &format!("/?v=aaa&p={}", "a?".repeat(4_000)), "", None),
    ] {
        let kind = if body.is_empty() { fields(&[]) } else { fields(&[("Content-Type", FORM)]) };
        let response = visitor(&node)?.ask(method, target, HOST, &kind, body.as_bytes())?;
        let begin: String = target.chars().take(40).collect();
        assert_eq!(response.status, if rule.is_some() { 403 } else { 200 }, "{method} {begin}");
        if let Some(rule) = rule {
            assert_eq!(word(&response), "waf_blocked");
            refused_by(&node, rule)?;
        }
    }
    node.finish_healthy()
}

#[test]
fn a_value_like_a_known_file_is_refused() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&origin)?;
    let known = known();
    let near = known.replacen("a", "something+else", 3);
    let other: String = known.chars().rev().collect();
    for (text, is_refused) in [(&known, true), (&near, true), (&other, false)] {
        // In a head on the serving thread, as far as one holds it, and in a body elsewhere.
        let body = format!("file={text}");
        let response = post(&node, "/", FORM, body.as_bytes())?;
        assert_eq!(response.status, if is_refused { 403 } else { 200 });
        let query = visitor(&node)?.fetch(HOST, &format!("/?file={text}"))?;
        assert_eq!(query.status, if is_refused { 403 } else { 200 });
    }
    refused_by(&node, "103")?;
    assert_eq!(
        node.metric("rempart_refusals_total{refusal=\"waf_blocked\"}")?.map(|all| all >= 3.0),
        Some(true)
    );
    node.finish_healthy()
}

#[test]
fn code_pages_and_elements_of_xml_reach_the_rules() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&origin)?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/?name=%25u2032")?.status, 403);
    refused_by(&node, "104")?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/?name=%25u2033")?.status, 200);
    assert_eq!(post(&node, "/", "text/xml", b"<order><item>bad</item></order>")?.status, 403);
    refused_by(&node, "105")?;
    assert_eq!(post(&node, "/", "text/xml", b"<order><item>good</item></order>")?.status, 200);
    assert_eq!(post(&node, "/", "text/xml", b"<order><item><b>bad</b></item></order>")?.status, 200);
    node.finish_healthy()
}

const ANSWERS: &str = r#"
SecRule RESPONSE_HEADERS:X-Partner "@rbl heads.example" "id:30,phase:3,deny,status:451,log"
SecRule RESPONSE_BODY "@rx partner=([a-z.]+)" "id:31,phase:4,deny,status:452,log,capture,chain"
  SecRule TX:1 "@rbl bodies.example"
"#;

fn says(name: &str) -> Option<Vec<Ipv4Addr>> {
    let is_listed = matches!(name, "evil.test.heads.example" | "evil.test.bodies.example");
    Some(if is_listed { vec![Ipv4Addr::new(127, 0, 0, 2)] } else { Vec::new() })
}

#[test]
fn lists_are_asked_about_answers_too() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/head/evil" => Answer::ok("answer").field("X-Partner", "evil.test"),
        "/head/good" => Answer::ok("answer").field("X-Partner", "good.test"),
        "/body/evil" => Answer::ok("see partner=evil.test").field("Content-Type", "text/plain"),
        "/body/good" => Answer::ok("see partner=good.test").field("Content-Type", "text/plain"),
        // Larger than what is inspected on the serving thread.
        "/long/evil" => {
            Answer::ok("x".repeat(20_000) + " partner=evil.test").field("Content-Type", "text/plain")
        }
        "/long/good" => {
            Answer::ok("x".repeat(20_000) + " partner=good.test").field("Content-Type", "text/plain")
        }
        _ => Answer::ok("answer").field("Content-Type", "text/plain"),
    })?;
    let names = NameServer::start(says)?;
    let waf = "\n[waf]\nmode = \"block\"\nrules = [\"../waf/lists.conf\"]\ninspect_responses = true\n";
    let section = format!("threads = 1\nlist_servers = [\"{}\"]", names.address());
    let spec =
        cleartext().node_section(&section).file("waf/lists.conf", ANSWERS).zone("a", zone(&origin, waf));
    let node = start(&spec)?;
    for (path, expected, rule) in [
        ("/head/evil", 451, Some("30")),
        ("/head/good", 200, None),
        ("/body/evil", 452, Some("31")),
        ("/body/good", 200, None),
        ("/long/evil", 452, Some("31")),
        ("/long/good", 200, None),
    ] {
        let response = visitor(&node)?.fetch(HOST, path)?;
        assert_eq!(response.status, expected, "{path}");
        if let Some(rule) = rule {
            assert_eq!(word(&response), "waf_withheld", "{path}");
            assert!(!response.text().contains("partner"), "{path}");
            let line = node.wait_for_log(|line| line["path"] == path)?;
            assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("waf_withheld"), vec![rule]), "{path}");
        }
    }
    let asked = names.asked();
    for name in ["good.test.heads.example", "good.test.bodies.example"] {
        assert!(asked.iter().any(|one| one == name), "{asked:?}");
    }
    node.wait_for_metric("rempart_waf_unanswered_total{operator=\"rbl\"}", 0.0)?;
    node.finish_healthy()
}
