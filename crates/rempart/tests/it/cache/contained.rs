//! The phase breaks: its mode is what becomes of the request, and nothing else is touched.

use super::*;

fn fault(node: &Node, target: &str, fault: &str) -> Result<Response> {
    with(node, target, &[("Rempart-Fault", fault)])
}

#[test]
fn a_phase_that_breaks_lets_the_request_past_unless_the_zone_says_closed() -> Result<()> {
    let origin = fresh()?;
    let open = before(&origin, "")?;
    for kind in ["cache=panic", "cache=error"] {
        let past = fault(&open, "/a", kind)?;
        assert_eq!((past.status, said(&past).as_str()), (200, "nothing"), "{kind}");
    }
    for kind in ["cache=fuel", "cache=memory"] {
        assert_eq!(fault(&open, "/a", kind)?.status, 403, "what the request spent is its own doing: {kind}");
    }
    get(&open, "/a")?;
    assert!(is_hit(&get(&open, "/a")?));
    let closed = before(&origin, "[fail_modes]\ncache = \"closed\"")?;
    assert_eq!(fault(&closed, "/a", "cache=panic")?.status, 500);
    assert_eq!(get(&closed, "/a")?.status, 200);
    let metric = "rempart_contained_total{phase=\"cache\",kind=\"panic\"}";
    open.wait_for_metric(metric, 1.0)?;
    closed.wait_for_metric(metric, 1.0)?;
    Ok(())
}

#[test]
fn a_hit_meets_the_phases_behind_it_too() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "")?;
    get(&node, "/a")?;
    assert_eq!(fault(&node, "/a", "delivery=panic")?.status, 500);
    assert!(is_hit(&fault(&node, "/a", "response=panic")?) || said(&get(&node, "/a")?).contains("hit"));
    assert_eq!(origin.counters().requests, 1);
    Ok(())
}

#[test]
fn a_fetch_that_breaks_is_told_to_its_visitor_and_keeps_nobody_waiting() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "")?;
    for (kind, status) in [("origin=panic", 500), ("origin=error", 500), ("origin=fuel", 403)] {
        assert_eq!(fault(&node, "/a", kind)?.status, status, "{kind}");
    }
    assert_eq!(origin.counters().requests, 0);
    assert_eq!(get(&node, "/a")?.text(), "answer 0");
    assert!(is_hit(&get(&node, "/a")?));
    Ok(())
}
