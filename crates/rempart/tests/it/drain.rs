//! How a node ends: what is under way finishes, who is idle is told, and then it is gone.
//!
//! Read next: [`super::rig`].

use anyhow::{Context as _, Result};
use testkit::gate::Gate;
use testkit::message::BodyReader;
use testkit::node::Node;
use testkit::origin::{Answer, OriginSpec};
use testkit::stream::Ending;
use testkit::visitor::{Visitor, WebSocket};

use super::rig::{HOST, before, cleartext, fields, http2_visitor, saying, start, visitor, zone};

/// Tells the node to end and waits until it says that it drains.
fn begin(node: &Node) -> Result<()> {
    node.terminate()?;
    node.wait_for_event(|event| event["event"] == "draining")?;
    Ok(())
}

/// Waits for the end: success, and nothing on standard error that does not belong there.
fn end(mut node: Node) -> Result<()> {
    assert!(node.wait()?.success());
    assert_eq!(testkit::node::alarms(&node.stderr_lines()), Vec::<String>::new());
    Ok(())
}

#[test]
fn answers_under_way_are_finished() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.path() {
        "/head" => Answer::ok("late head").wait_before_head(&script),
        _ => Answer::new(200).chunked().part("first ").wait(&script).part("second"),
    })?;
    let node = before(&origin)?;
    let mut one = visitor(&node)?;
    one.send_head("GET", "/", HOST, &fields(&[]))?;
    let head = one.read_head("GET")?.context("a head")?;
    let mut waiting = visitor(&node)?;
    waiting.send_head("GET", "/head", HOST, &fields(&[]))?;
    let other = http2_visitor(&node)?;
    let mut stream = other.open("GET", "/", HOST, &fields(&[]), true)?;
    assert_eq!(stream.read_head()?.status, 200);
    origin.wait_until(|counters| counters.requests == 3)?;
    begin(&node)?;
    gate.open_for_good();
    let mut body = BodyReader::new(head.framing);
    let mut text = Vec::new();
    while let Some(part) = one.body_part(&mut body)? {
        text.extend(part);
    }
    assert_eq!(text, b"first second");
    let late = waiting.expect_response("GET")?;
    assert_eq!(late.text(), "late head");
    assert!(late.fields.has_token("connection", "close"), "{:?}", late.fields);
    let mut text = Vec::new();
    while let Some(part) = stream.body_part()? {
        text.extend(part);
    }
    assert_eq!(text, b"first second");
    end(node)
}

#[test]
fn an_idle_http_1_connection_gets_one_last_answer_that_says_close() -> Result<()> {
    let origin = saying("answer")?;
    let node = before(&origin)?;
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut visitor = visitor(&node)?;
        assert_eq!(visitor.fetch(HOST, "/")?.status, 200);
        idle.push(visitor);
    }
    begin(&node)?;
    for mut visitor in idle {
        let last = visitor.fetch(HOST, "/last")?;
        assert_eq!((last.status, last.text().as_str()), (200, "answer"));
        assert!(last.fields.has_token("connection", "close"), "{:?}", last.fields);
        assert_eq!(visitor.rest()?, b"");
        assert_eq!(visitor.ending(), Ending::Closed);
    }
    end(node)
}

#[test]
fn no_new_connection_is_served_once_it_drains() -> Result<()> {
    let origin = saying("answer")?;
    let node = before(&origin)?;
    let mut idle = visitor(&node)?;
    assert_eq!(idle.fetch(HOST, "/")?.status, 200);
    let address = node.address("http")?;
    begin(&node)?;
    // Refused at once, or never answered: the last visitor keeps the node alive meanwhile.
    if let Ok(mut late) = Visitor::tcp(address) {
        let _ = late.send_head("GET", "/late", HOST, &fields(&[]));
        drop(idle);
        assert!(!matches!(late.read_response("GET"), Ok(Some(response)) if response.status == 200));
    }
    end(node)
}

#[test]
fn http_2_visitors_are_told_by_goaway() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.path() {
        "/slow" => Answer::ok("slow").wait_before_head(&script),
        _ => Answer::ok("quick"),
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut slow = visitor.open("GET", "/slow", HOST, &fields(&[]), true)?;
    origin.wait_until(|counters| counters.requests == 1)?;
    begin(&node)?;
    // Requests are taken until GOAWAY arrives, and refused by the visitor's own side from then on.
    let mut taken = 0;
    while let Ok(response) = visitor.fetch(HOST, "/") {
        assert_eq!(response.text(), "quick");
        taken += 1;
        anyhow::ensure!(taken < 100_000, "no GOAWAY came");
    }
    gate.open();
    assert_eq!(slow.read_response()?.text(), "slow");
    end(node)?;
    assert_eq!(visitor.ended(), Some(Ok(())));
    Ok(())
}

#[test]
fn an_idle_node_ends_at_once_though_visitors_stay_connected() -> Result<()> {
    let origin = saying("answer")?;
    let node = before(&origin)?;
    let over_http2 = http2_visitor(&node)?;
    assert_eq!(over_http2.fetch(HOST, "/")?.status, 200);
    begin(&node)?;
    end(node)
}

#[test]
fn what_does_not_end_in_time_is_ended() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::websocket())?;
    let spec = cleartext().node_section("threads = 2\ndrain_ms = 300").zone("a", zone(&origin, ""));
    let mut node = start(&spec)?;
    let mut socket = WebSocket::open(visitor(&node)?, HOST, "/ws", &fields(&[]))?;
    assert_eq!(socket.exchange("a")?.text(), "a");
    begin(&node)?;
    assert!(node.wait()?.success());
    assert!(!matches!(socket.read(), Ok(Some(_))));
    Ok(())
}
