//! A phase that breaks, for whatever reason, costs one exchange (drill D3): its own answer is what the fail
//! mode says, and other streams of its connection and other zones have no error.
//!
//! The faults are asked for by the field `Rempart-Fault`, which only builds with `fault-injection` know;
//! faults of published data by host names under `fault.invalid`. Read next: [`super::rig`].

use anyhow::{Context as _, Result};
use testkit::gate::Gate;
use testkit::node::{Node, NodeSpec, alarms, zone_toml};
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::visitor::{Http2Visitor, Response};

use super::rig::{HOST, cleartext, fields, http2_visitor, saying, start, visitor, word, zone, zone_with};

const OTHER: &str = "b.example";

const PHASES: [&str; 7] = ["admission", "shield", "route", "origin", "response", "delivery", "record"];

/// Ends a node that broke on purpose: its alarms are of these events and no other.
fn finish(mut node: Node, expected: &[&str]) -> Result<()> {
    node.terminate()?;
    assert!(node.wait()?.success());
    let told = alarms(&node.stderr_lines());
    let is_expected =
        |line: &String| expected.iter().any(|event| line.contains(&format!("\"event\":\"{event}\"")));
    let others: Vec<&String> = told.iter().filter(|line| !is_expected(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
    Ok(())
}

/// What a visitor gets: the status, and the node's own word where it is the node's answer.
fn outcome(response: &Response) -> (u16, String) {
    (response.status, if response.status == 200 { String::new() } else { word(response) })
}

/// What the declared fail modes and a zone's defaults make of a fault in a phase.
fn declared(phase: &str, kind: &str) -> (u16, String) {
    let (status, word) = match (phase, kind) {
        (_, "slow") | ("record", _) => (200, ""),
        (_, "fuel" | "memory") => (403, "too_costly"),
        ("response", _) => (200, ""),
        _ => (500, "proxy_internal_error"),
    };
    (status, word.to_owned())
}

fn with_two_zones(first: &str) -> Result<(Node, ScriptedOrigin, Gate)> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.target.as_str() {
        "/held" => Answer::ok("held").wait_before_head(&script),
        _ => Answer::ok("answer"),
    })?;
    let spec =
        cleartext().zone("a", zone_with(first, &[&origin.url()], "")).site("b", &[OTHER], &[&origin.url()]);
    Ok((start(&spec)?, origin, gate))
}

fn broken(visitor: &Http2Visitor, host: &str, fault: &str) -> Result<Response> {
    visitor.ask("GET", "/", host, &fields(&[("rempart-fault", fault)]), b"")
}

#[test]
fn every_fault_in_every_phase_ends_as_its_mode_says_and_takes_nothing_along() -> Result<()> {
    let (node, _origin, gate) = with_two_zones("")?;
    let shared = http2_visitor(&node)?;
    let mut held = shared.open("GET", "/held", HOST, &fields(&[]), true)?;
    let mut other_held = shared.open("GET", "/held", OTHER, &fields(&[]), true)?;
    let mut alone = visitor(&node)?;
    for phase in PHASES {
        for kind in ["error", "panic", "fuel", "memory", "slow"] {
            let fault = format!("{phase}={kind}");
            let expected = declared(phase, kind);
            let response = broken(&shared, HOST, &fault).with_context(|| fault.clone())?;
            assert_eq!(outcome(&response), expected, "{fault} over HTTP/2");
            let response = alone.ask("GET", "/", HOST, &fields(&[("Rempart-Fault", &fault)]), b"")?;
            assert_eq!(outcome(&response), expected, "{fault} over HTTP/1.1, on a connection that goes on");
            assert_eq!(
                shared.fetch(OTHER, "/").with_context(|| fault.clone())?.status,
                200,
                "another zone after {fault}"
            );
            assert_eq!(
                shared.fetch(HOST, "/").with_context(|| format!("same {fault}"))?.status,
                200,
                "the same zone after {fault}"
            );
            let counted = match kind {
                "slow" => continue,
                "error" => "data",
                kind => kind,
            };
            let series = format!("rempart_contained_total{{phase=\"{phase}\",kind=\"{counted}\"}}");
            node.wait_for_metric(&series, 2.0)?;
        }
    }
    gate.open_for_good();
    assert_eq!(held.read_response().context("held")?.text(), "held");
    assert_eq!(other_held.read_response()?.text(), "held");
    node.wait_for_metric("rempart_panics_total", 14.0)?;
    let broke = node.wait_for_event(|event| event["event"] == "phase_broke")?;
    assert_eq!((broke["zone"].as_str(), broke["phase"].as_str()), (Some("a"), Some("admission")));
    drop((held, other_held, shared, alone));
    finish(node, &["panic", "phase_broke"])
}

#[test]
fn a_zone_chooses_open_or_closed_where_both_make_sense() -> Result<()> {
    let first = "[fail_modes]\nroute = \"open\"\nresponse = \"closed\"\n[[route]]\n\
                 path_prefix = \"/\"\nanswer = { status = 404, body = \"none\" }";
    let (node, _origin, _gate) = with_two_zones(first)?;
    let visitor = http2_visitor(&node)?;
    assert_eq!(visitor.fetch(HOST, "/")?.status, 404);
    for kind in ["error", "panic"] {
        let response = broken(&visitor, HOST, &format!("route={kind}"))?;
        assert_eq!(response.text(), "answer", "open: to the first pool");
    }
    assert_eq!(broken(&visitor, HOST, "route=fuel")?.status, 403, "a spent budget opens nothing");
    for kind in ["error", "panic"] {
        // Only what goes to an origin has an answer to change.
        let fault = format!("response={kind}");
        assert_eq!(broken(&visitor, OTHER, &fault)?.status, 200, "the other zone has the default");
    }
    drop(visitor);
    finish(node, &["panic", "phase_broke"])
}

#[test]
fn a_zone_that_closes_its_answers_gives_none_that_it_could_not_change() -> Result<()> {
    let (node, _origin, _gate) = with_two_zones("[fail_modes]\nresponse = \"closed\"")?;
    let visitor = http2_visitor(&node)?;
    for kind in ["error", "panic"] {
        let response = broken(&visitor, HOST, &format!("response={kind}"))?;
        assert_eq!(outcome(&response), (500, "proxy_internal_error".to_owned()));
    }
    drop(visitor);
    finish(node, &["panic", "phase_broke"])
}

#[test]
fn a_change_that_breaks_a_phase_is_served_by_the_zone_before() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&cleartext().zone("a", zone(&origin, "")).site("b", &[OTHER], &[&origin.url()]))?;
    let visitor = http2_visitor(&node)?;
    let names = [HOST, "route-panic.fault.invalid"];
    node.write_zone("a", &zone_toml("a", &names, &[&origin.url()]))?;
    assert!(node.publish()?.status.success());
    for _ in 0..3 {
        assert_eq!(visitor.fetch(HOST, "/")?.text(), "answer");
        assert_eq!(visitor.fetch(OTHER, "/")?.text(), "answer");
    }
    node.wait_for_metric("rempart_contained_total{phase=\"route\",kind=\"panic\"}", 3.0)?;
    drop(visitor);
    finish(node, &["panic", "phase_broke"])
}

fn ask_from(node: &Node, host: &str, address: &str) -> Result<u16> {
    let forwarded = fields(&[("X-Forwarded-For", address)]);
    Ok(visitor(node)?.ask("GET", "/", host, &forwarded, b"")?.status)
}

fn with_broken_routes(zone_lines: &str) -> Result<(Node, ScriptedOrigin)> {
    let origin = saying("answer")?;
    let names = [HOST, "route-panic.fault.invalid"];
    let spec = NodeSpec::new()
        .listener("http")
        .node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .zone("a", format!("{}\n{zone_lines}", zone_toml("a", &names, &[&origin.url()])))
        .site("b", &[OTHER], &[&origin.url()]);
    Ok((start(&spec)?, origin))
}

const ROUTE_PANICS: &str = "rempart_contained_total{phase=\"route\",kind=\"panic\"}";
const ROUTE_QUARANTINES: &str = "rempart_quarantines_total{phase=\"route\"}";

#[test]
fn a_phase_that_breaks_for_visitors_of_many_networks_is_left_out_for_a_while() -> Result<()> {
    let (node, _origin) = with_broken_routes("[fail_modes]\nroute = \"open\"")?;
    for network in 1..=8 {
        assert_eq!(ask_from(&node, HOST, &format!("192.0.{network}.1"))?, 200, "open: to the first pool");
    }
    node.wait_for_metric(ROUTE_PANICS, 8.0)?;
    let told = node.wait_for_event(|event| event["event"] == "phase_quarantined")?;
    assert_eq!((told["zone"].as_str(), told["phase"].as_str()), (Some("a"), Some("route")));
    assert_eq!((told["mode"].as_str(), told["left_out"].as_bool()), (Some("open"), Some(true)));
    node.wait_for_metric(ROUTE_QUARANTINES, 1.0)?;
    assert_eq!(ask_from(&node, HOST, "192.0.2.9")?, 200);
    assert_eq!(node.metric(ROUTE_PANICS)?, Some(8.0), "the phase was not run again");
    assert_eq!(ask_from(&node, OTHER, "192.0.2.9")?, 200);
    finish(node, &["panic", "phase_broke", "phase_quarantined"])
}

#[test]
fn one_network_cannot_have_a_phase_left_out() -> Result<()> {
    let (node, _origin) = with_broken_routes("")?;
    for host in 1..=20 {
        assert_eq!(ask_from(&node, HOST, &format!("192.0.2.{host}"))?, 500);
    }
    node.wait_for_metric(ROUTE_PANICS, 20.0)?;
    assert_eq!(node.metric(ROUTE_QUARANTINES)?, Some(0.0));
    finish(node, &["panic", "phase_broke"])
}

#[test]
fn a_request_that_never_yields_costs_its_thread_and_no_other_visitor() -> Result<()> {
    let (node, _origin, _gate) = with_two_zones("")?;
    let stuck = http2_visitor(&node)?;
    let mut hanging = stuck.open("GET", "/", HOST, &fields(&[("rempart-fault", "origin=hang")]), true)?;
    let told = node.wait_for_event(|event| event["event"] == "thread_stuck")?;
    assert_eq!((told["zone"].as_str(), told["phase"].as_str()), (Some("a"), Some("origin")));
    assert_eq!(told["fingerprint"].as_str().map(str::len), Some(16));
    for host in [HOST, OTHER].repeat(32) {
        assert_eq!(visitor(&node)?.fetch(host, "/")?.status, 200);
    }
    hanging.reset(8.into());
    // The node is killed with its test: a thread that hangs does not drain.
    Ok(())
}

#[test]
fn a_zone_named_after_a_fault_suffers_it_alone() -> Result<()> {
    let origin = saying("answer")?;
    let names = [HOST, "serve-500.fault.invalid"];
    let spec = cleartext()
        .zone("a", zone_toml("a", &names, &[&origin.url()]))
        .site("b", &[OTHER], &[&origin.url()])
        .site("c", &["c.example", "serve-slow-1ms.fault.invalid"], &[&origin.url()]);
    let node = start(&spec)?;
    let visitor = http2_visitor(&node)?;
    let statuses: Vec<u16> = [HOST, OTHER, "c.example"]
        .iter()
        .map(|host| Ok(visitor.fetch(host, "/")?.status))
        .collect::<Result<_>>()?;
    assert_eq!(statuses, [500, 200, 200]);
    drop(visitor);
    node.finish_healthy()
}
