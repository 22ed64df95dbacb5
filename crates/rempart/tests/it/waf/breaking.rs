//! A firewall that breaks costs its own request what the zone's mode says, and nothing else.

use anyhow::Result;
use testkit::node::{Node, alarms};

use super::{firewalled, logged, outcomes_of};
use crate::rig::{HOST, fields, saying, visitor, word};

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
