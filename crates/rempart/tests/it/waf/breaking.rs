//! A firewall that breaks costs its own request what the zone's mode says, and nothing else.

use anyhow::{Context as _, Result};
use testkit::node::{Node, NodeSpec, alarms};
use testkit::origin::{Answer, OriginSpec};

use super::{RULES, firewalled, lines, logged, multipart, outcomes_of, post};
use crate::rig::{HOST, fields, saying, start, visitor, word, zone};

/// Ends a node that broke on purpose.
fn finish(mut node: Node) -> Result<()> {
    node.terminate()?;
    assert!(node.wait()?.success());
    for line in alarms(&node.stderr_lines()) {
        let is_expected = ["panic", "phase_broke"].iter().any(|event| line.contains(&format!("\"{event}\"")));
        assert!(is_expected, "{line}");
    }
    Ok(())
}

#[test]
fn a_fault_takes_the_zone_s_mode_and_a_spent_budget_is_refused_in_any() -> Result<()> {
    let origin = saying("answer")?;
    for (mode, fail, error, fuel) in [
        ("block", "", (500, "proxy_internal_error"), (403, "too_costly")),
        ("block", "[fail_modes]\nwaf = \"open\"\n", (200, "answer"), (403, "too_costly")),
        // A firewall on trial changes nothing, whatever breaks.
        ("log", "", (200, "answer"), (200, "answer")),
    ] {
        let node = firewalled(&origin, mode, fail)?;
        let mut visitor = visitor(&node)?;
        for (kind, expected) in [("error", error), ("panic", error), ("fuel", fuel), ("memory", fuel)] {
            let fault = format!("waf={kind}");
            let response = visitor.ask("GET", "/broken", HOST, &fields(&[("Rempart-Fault", &fault)]), b"")?;
            let shown = if response.status == 200 { response.text() } else { word(&response) };
            assert_eq!((response.status, shown.as_str()), expected, "{mode} {fail} {kind}");
            assert_eq!(visitor.fetch(HOST, "/")?.text(), "answer", "the next on the same connection");
            let counted = if kind == "error" { "data" } else { kind };
            let series = format!("rempart_contained_total{{phase=\"waf\",kind=\"{counted}\"}}");
            node.wait_for_metric(&series, 1.0)?;
        }
        assert_eq!(logged(&node, "/broken")?["waf"], "broken");
        assert!(outcomes_of(&node, "broken", 2.0)? >= Some(2.0));
        drop(visitor);
        finish(node)?;
    }
    Ok(())
}

/// A form whose end lies behind the window.
fn long_form() -> (String, Vec<u8>) {
    multipart("good", "large.bin", &vec![b'x'; 300_000])
}

#[test]
fn each_later_step_breaks_as_the_zone_s_mode_says() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::ok("answer").field("Content-Type", "text/plain"))?;
    let (form_kind, form) = long_form();
    let plain = ("application/x-www-form-urlencoded".to_owned(), b"a=good".to_vec());
    let large =
        ("application/x-www-form-urlencoded".to_owned(), [b"a=".as_slice(), &[b'x'; 20_000]].concat());
    let steps = [
        ("waf_answer", &plain),
        ("waf_answer_body", &plain),
        ("waf_behind", &(form_kind, form)),
        ("waf_pool", &large),
    ];
    for (mode, fail, error, fuel) in [
        ("block", "", (500, "proxy_internal_error"), (403, "too_costly")),
        ("block", "[fail_modes]\nwaf = \"open\"\n", (200, "answer"), (403, "too_costly")),
        ("log", "", (200, "answer"), (200, "answer")),
    ] {
        let node = firewalled(&origin, mode, &format!("inspect_responses = true\n{fail}"))?;
        for (step, (kind_of, body)) in steps {
            for (kind, expected) in [("error", error), ("panic", error), ("fuel", fuel)] {
                let fault = format!("{step}={kind}");
                let sent = fields(&[("Content-Type", kind_of), ("Rempart-Fault", &fault)]);
                let response = visitor(&node)?.ask("POST", "/broken", HOST, &sent, body)?;
                let shown = if response.status == 200 { response.text() } else { word(&response) };
                assert_eq!((response.status, shown.as_str()), expected, "{mode} {fail} {fault}");
                assert_eq!(post(&node, "/", kind_of, body)?.text(), "answer", "the next of the same");
            }
        }
        for (kind, count) in [("data", 4.0), ("panic", 4.0), ("fuel", 4.0)] {
            let series = format!("rempart_contained_total{{phase=\"waf\",kind=\"{kind}\"}}");
            node.wait_for_metric(&series, count)?;
        }
        finish(node)?;
    }
    Ok(())
}

#[test]
fn a_body_that_kills_a_thread_which_inspects_is_named_and_refused_after_the_second_time() -> Result<()> {
    let origin = saying("answer")?;
    let spec = NodeSpec::new().node_section("threads = 2\nspare = true").listener("http");
    let node = start(&spec.file("waf/own.conf", RULES).zone("a", zone(&origin, &lines("block", ""))))?;
    node.wait_for_event(|event| event["event"] == "spare_ready")?;
    let body = [b"a=".as_slice(), &[b'x'; 20_000]].concat();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let killing = |fault: &str| {
        let sent = fields(&[kind, ("Rempart-Fault", fault)]);
        visitor(&node)?.ask("POST", "/killer", HOST, &sent, &body)
    };
    for (kills, fault) in [(1, "waf_pool=abort"), (2, "waf_pool=overflow")] {
        assert!(killing(fault).is_err(), "its connection goes with the process");
        let died = |event: &serde_json::Value| event["event"] == "edge_died_of" && event["kills"] == kills;
        let told = node.wait_for_event(died)?;
        let named = (&told["zone"], &told["phase"], &told["certain"]);
        assert_eq!(named, (&"a".into(), &"waf".into(), &true.into()), "{told}");
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == kills)?;
        node.wait_for_events("spare_ready", usize::try_from(kills)? + 1)?;
    }
    let refused = killing("waf_pool=abort")?;
    assert_eq!(refused.status, 503, "it is refused at the door");
    let after_s: u64 = refused.fields.first("retry-after").context("Retry-After")?.parse()?;
    assert!((3_000..=3_600).contains(&after_s), "{after_s}");
    assert_eq!(post(&node, "/other", kind.1, &body)?.text(), "answer", "nobody else is refused");
    node.wait_for_metric("rempart_refusals_total{refusal=\"deadly_request\"}", 1.0)?;
    Ok(())
}
