//! What is done to a protocol rather than to a site: who does it is ended and counted under its word, and who
//! does what lawful visitors do is not.
//!
//! Floods of HTTP/2 and HTTP/3 frames are `tests/clients/http2_floods.py` and `http3_floods.py`, all of them
//! at once under load is the drill D12; what a thread does that is nearly full is tested in `wire`. Read
//! next: [`super::rig`].

use anyhow::{Context as _, Result};
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::visitor::WebSocket;
use testkit::websocket::{Frame, Opcode};

use super::rig::{HOST, fields, start, visitor, word, zone};

/// More than the kernel's buffers of a connection on loopback.
const LARGE: u64 = 32 * 1024 * 1024;

/// Several times what a connection may send that carries nothing.
const FLOOD: usize = 5_000;

/// What any lawful visitor may send of it.
const LAWFUL: usize = 500;

fn origin() -> Result<ScriptedOrigin> {
    OriginSpec::new().answering(|request| match request.target.as_str() {
        "/ws" => Answer::websocket(),
        "/large" => Answer::new(200).pattern(1, 0, LARGE),
        _ => Answer::ok("small"),
    })
}

/// A node whose visitors may take so long.
fn with_times(lines: &str, origin: &ScriptedOrigin) -> Result<Node> {
    let spec = NodeSpec::new().listener("http").more(&format!("[zone_defaults.http]\n{lines}"));
    start(&spec.zone("a", zone(origin, "")))
}

fn series(kind: &str) -> String {
    format!("rempart_abuse_total{{kind=\"{kind}\"}}")
}

/// How often anything at all was counted.
fn counted(node: &Node) -> Result<f64> {
    let page = node.metrics()?;
    let counts = page.lines().filter(|line| line.starts_with("rempart_abuse_total{"));
    counts.map(|line| Ok(line.rsplit(' ').next().context("a number")?.parse::<f64>()?)).sum()
}

#[test]
fn a_slow_head_a_slow_body_and_a_slow_reader_are_counted_each_by_its_word() -> Result<()> {
    let origin = origin()?;
    let node = with_times("header_ms = 300\nbody_idle_ms = 300", &origin)?;
    let mut silent = visitor(&node)?;
    silent.rest()?;
    assert_eq!(counted(&node)?, 0.0, "who says nothing is closed, and nothing else");
    let mut head = visitor(&node)?;
    head.send("GET / HTTP/1.1\r\nHost: a.exa")?;
    assert_eq!(word(&head.expect_response("GET")?), "head_timeout");
    node.wait_for_metric(&series("slow_head"), 1.0)?;
    let mut body = visitor(&node)?;
    body.send_head("POST", "/", HOST, &fields(&[("Content-Length", "10")]))?;
    body.send("half")?;
    assert_eq!(word(&body.expect_response("POST")?), "body_timeout");
    node.wait_for_metric(&series("slow_body"), 1.0)?;
    let mut reader = visitor(&node)?;
    reader.send_head("GET", "/large", HOST, &fields(&[]))?;
    node.wait_for_metric(&series("slow_read"), 1.0)?;
    assert!(reader.read_digest("GET").is_err(), "its answer is cut");
    let mut honest = visitor(&node)?;
    honest.send_head("GET", "/large", HOST, &fields(&[]))?;
    assert_eq!(honest.read_digest("GET")?.1.length(), LARGE);
    drop(honest);
    assert_eq!(counted(&node)?, 3.0, "once each");
    node.finish_healthy()
}

/// Opens a WebSocket.
fn socket(node: &Node) -> Result<WebSocket> {
    WebSocket::open(visitor(node)?, HOST, "/ws", &fields(&[]))
}

/// So many frames of one kind.
fn frames(opcode: Opcode, payload: &[u8], count: usize) -> Vec<u8> {
    Frame::new(opcode, payload).to_bytes(Some([1, 2, 3, 4])).repeat(count)
}

#[test]
fn a_flood_of_websocket_pings_ends_its_own_connection() -> Result<()> {
    let origin = origin()?;
    let node = with_times("", &origin)?;
    let mut other = socket(&node)?;
    let mut flooding = socket(&node)?;
    let _ended_meanwhile = flooding.send_bytes(&frames(Opcode::Ping, b"", FLOOD));
    while let Ok(Some(_)) = flooding.read() {}
    node.wait_for_metric(&series("websocket_flood"), 1.0)?;
    let told = node.wait_for_event(|event| event["event"] == "abuse")?;
    assert_eq!((&told["kind"], &told["address"]), (&"websocket_flood".into(), &"127.0.0.1".into()));
    assert_eq!(other.exchange("still here")?.text(), "still here");
    drop((other, flooding));
    origin.wait_until(|counters| counters.open == 0)?;
    node.finish_healthy()
}

#[test]
fn hundreds_of_pings_and_thousands_of_messages_end_no_websocket() -> Result<()> {
    let origin = origin()?;
    let node = with_times("", &origin)?;
    let mut socket = socket(&node)?;
    socket.send_bytes(&frames(Opcode::Ping, b"alive", LAWFUL))?;
    let mut pongs = 0;
    while pongs < LAWFUL {
        let frame = socket.read()?.context("a frame")?;
        assert_eq!(frame.opcode, Opcode::Pong);
        pongs += 1;
    }
    for _ in 0..FLOOD / LAWFUL {
        socket.send_bytes(&frames(Opcode::Text, b"a", LAWFUL))?;
        for _ in 0..LAWFUL {
            assert_eq!(socket.read()?.context("a frame")?.text(), "a");
        }
    }
    assert_eq!(counted(&node)?, 0.0);
    drop(socket);
    node.finish_healthy()
}

#[test]
fn a_websocket_whose_visitor_reads_nothing_of_what_waits_is_ended() -> Result<()> {
    let origin = origin()?;
    let node = with_times("body_idle_ms = 300\nupgrade_idle_ms = 3600000", &origin)?;
    let mut socket = socket(&node)?;
    let piece = frames(Opcode::Binary, &[7; 60_000], 10);
    let mut sent = 0;
    // Each comes back, and is not read.
    while socket.send_bytes(&piece).is_ok() {
        sent += piece.len();
        assert!(sent < 10 * LARGE as usize, "it is never ended");
    }
    node.wait_for_metric(&series("slow_read"), 1.0)?;
    origin.wait_until(|counters| counters.open == 0)?;
    node.finish_healthy()
}
