//! How a node ends: what is under way finishes, who is idle is told, and then it is gone.
//!
//! Read next: [`super::rig`].

use anyhow::{Context as _, Result};
use testkit::gate::Gate;
use testkit::message::BodyReader;
use testkit::node::Node;
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::stream::Ending;
use testkit::visitor::{Response, Visitor, WebSocket};

use super::rig::{HOST, before, cleartext, fields, http2_visitor, saying, start, visitor, zone};

/// Tells the node to end and waits until the edge drains: until it is no longer ready, or its admin listener
/// is closed.
fn begin(node: &Node) -> Result<()> {
    node.terminate()?;
    node.wait_for_event(|event| event["event"] == "draining")?;
    for _ in 0..100_000 {
        match node.admin("/readyz") {
            Ok(response) if response.status == 200 => {}
            _ => return Ok(()),
        }
    }
    anyhow::bail!("the edge stays ready")
}

/// Asks on a connection until an answer says that it is the last, as soon as the connection's thread drains.
fn last_answer(visitor: &mut Visitor) -> Result<Response> {
    for _ in 0..100_000 {
        let response = visitor.fetch(HOST, "/")?;
        if response.fields.has_token("connection", "close") {
            return Ok(response);
        }
    }
    anyhow::bail!("no answer says `Connection: close`")
}

/// A node of one thread before an origin.
fn narrow(origin: &ScriptedOrigin) -> Result<Node> {
    start(&cleartext().node_section("threads = 1").zone("a", zone(origin, "")))
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
    assert_eq!(waiting.expect_response("GET")?.text(), "late head");
    let mut text = Vec::new();
    while let Some(part) = stream.body_part()? {
        text.extend(part);
    }
    assert_eq!(text, b"first second");
    drop((one, waiting));
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
        let last = last_answer(&mut visitor)?;
        assert_eq!((last.status, last.text().as_str()), (200, "answer"));
        assert_eq!(visitor.rest()?, b"");
        assert_eq!(visitor.ending(), Ending::Closed);
    }
    end(node)
}

/// A node that drains, with one exchange under way that keeps it alive until the gate opens.
fn held(gate: &Gate) -> Result<(ScriptedOrigin, Node, Visitor)> {
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.path() {
        "/slow" => Answer::ok("slow").wait_before_head(&script),
        _ => Answer::ok("quick"),
    })?;
    let node = narrow(&origin)?;
    let mut idle = visitor(&node)?;
    assert_eq!(idle.fetch(HOST, "/")?.status, 200);
    let mut slow = visitor(&node)?;
    slow.send_head("GET", "/slow", HOST, &fields(&[]))?;
    origin.wait_until(|counters| counters.requests == 2)?;
    begin(&node)?;
    last_answer(&mut idle)?;
    Ok((origin, node, slow))
}

#[test]
fn no_new_connection_is_served_once_it_drains() -> Result<()> {
    let gate = Gate::new();
    let (_origin, node, mut slow) = held(&gate)?;
    let address = node.address("http")?;
    // Who came before the listener closed is served yet; then newcomers are refused, not left waiting.
    let is_refused = (0..100_000).any(|_| Visitor::tcp(address).is_err());
    assert!(is_refused && Visitor::tcp(address).is_err());
    gate.open();
    assert_eq!(slow.expect_response("GET")?.text(), "slow");
    drop(slow);
    end(node)
}

#[test]
fn an_answer_that_begins_while_it_drains_says_close() -> Result<()> {
    let gate = Gate::new();
    let (_origin, node, mut slow) = held(&gate)?;
    gate.open();
    let last = slow.expect_response("GET")?;
    assert!(last.fields.has_token("connection", "close"), "{:?}", last.fields);
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

#[test]
fn an_idle_visitor_who_asks_nothing_more_is_no_cause_for_a_warning() -> Result<()> {
    let origin = saying("answer")?;
    let spec = cleartext().node_section("threads = 1\ndrain_ms = 500").zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    let mut idle = visitor(&node)?;
    assert_eq!(idle.fetch(HOST, "/")?.status, 200);
    node.terminate()?;
    end(node)
}
