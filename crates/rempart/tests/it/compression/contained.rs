//! Encoders that break: before the head is out the answer goes out as it is, later it is cut off.

use super::*;

fn breaking(node: &Node, target: &str, fault: &str) -> Result<Response> {
    with(node, target, &[("Accept-Encoding", "gzip"), ("Rempart-Fault", fault)])
}

#[test]
fn an_encoder_that_cannot_be_made_leaves_the_answer_as_it_is() -> Result<()> {
    let body = text(100_000);
    let origin = saying("text/html", &body, |_, answer| answer.field("Cache-Control", "max-age=60"))?;
    for lines in ["", "[cache]\nenabled = true"] {
        let node = before(&origin, lines)?;
        let answer = breaking(&node, "/a", "encoder=making")?;
        assert_eq!((answer.status, coding(&answer), answer.text() == body), (200, None, true));
        assert_eq!(answer.fields.first("vary"), Some("Accept-Encoding"));
        node.wait_for_metric("rempart_codings_failed_total", 1.0)?;
        let next = accepting(&node, "/a", "gzip")?;
        assert_eq!((coding(&next), plain(&next)? == body), (Some("gzip"), true), "{lines}");
        node.wait_for_metric("rempart_held_bytes", 0.0)?;
    }
    Ok(())
}

#[test]
fn an_encoder_that_breaks_behind_the_head_cuts_the_answer_off() -> Result<()> {
    let body = text(1_000_000);
    let origin = saying("text/html", &body, |_, answer| answer)?;
    let node = before(&origin, "")?;
    for (kind, fault) in [("encoder=coding", true), ("encoder=panic", false)] {
        assert!(breaking(&node, "/a", kind).is_err(), "{kind}");
        if fault {
            node.wait_for_log(|line| line["fault"] == "proxy_internal_error")?;
        }
    }
    node.wait_for_metric("rempart_codings_failed_total", 1.0)?;
    let next = accepting(&node, "/a", "gzip")?;
    assert_eq!((coding(&next), plain(&next)? == body), (Some("gzip"), true));
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    Ok(())
}

#[test]
fn a_stored_body_that_breaks_its_encoder_goes_out_as_it_is() -> Result<()> {
    let body = text(100_000);
    let origin = saying("text/html", &body, |_, answer| answer.field("Cache-Control", "max-age=60"))?;
    let node = before(&origin, "[cache]\nenabled = true")?;
    accepting(&node, "/a", "identity")?;
    // It panics on a thread of the coders, before a byte of the coded form is there.
    let answer = breaking(&node, "/a", "encoder=panic")?;
    assert_eq!((answer.status, coding(&answer), answer.text() == body), (200, None, true));
    node.wait_for_metric("rempart_codings_failed_total", 1.0)?;
    // For a while it is not tried again; other codings are.
    let next = accepting(&node, "/a", "gzip")?;
    assert_eq!((coding(&next), next.text() == body), (None, true));
    let other = accepting(&node, "/a", "br")?;
    assert_eq!((coding(&other), plain(&other)? == body), (Some("br"), true));
    assert_eq!(origin.counters().requests, 1);
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    Ok(())
}
