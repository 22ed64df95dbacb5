//! Places for connections when there are fewer than are wanted: a zone that holds more than its share loses
//! idle ones, and the other zone's visitors notice nothing.
//!
//! The node has 64 places on one thread, as it has under any low limit of descriptors. Visitors come by way
//! of a trusted proxy, so that none is one network's. Read next: `exchange`'s `deadline/holders.rs`.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;
use testkit::node::{Node, NodeSpec, look_until};
use testkit::origin::ScriptedOrigin;
use testkit::stream::Stream;
use testkit::visitor::{Http2Visitor, Visitor};

use super::rig::{Certificates, saying, start};

/// Whose visitors hold more than their share.
const GREEDY: &str = "greedy.example";

/// Whose visitors come and go, or stay.
const MODEST: &str = "modest.example";

/// Visitors of the modest zone that come and go while places are short.
const PASSING: usize = 100;

/// How many threads bring the crowd of the greedy zone.
const CROWDS: usize = 3;

/// How many each brings at once: all together half as many again as there are places.
const WAVE: usize = 32;

/// Visitors of the modest zone that come meanwhile, each behind whoever stands in line then.
const AMONG: usize = 30;

/// Connections that each zone wants: several times the places there are.
const WANTED: usize = 150;

/// Most that whoever is greedy holds on its own side, so that the test keeps descriptors of its own.
const KEPT_MAX: usize = 200;

const PROXIED: &str = "proxy_protocol = true\ntrusted = [\"127.0.0.1\"]";

/// Before the first word of any visitor.
const PROXY_HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n";

fn spec(certificates: &Certificates, more: &str) -> Result<(NodeSpec, ScriptedOrigin)> {
    let origin = saying("here")?;
    let spec = NodeSpec::new()
        .node_section("threads = 1")
        .descriptors(400)
        .listener_at("http", "127.0.0.1:0", PROXIED)
        .listener_at("https", "127.0.0.1:0", PROXIED)
        .more(more);
    let spec = certificates.zone(spec, "greedy", GREEDY, "", &origin)?;
    Ok((certificates.zone(spec, "modest", MODEST, "", &origin)?, origin))
}

fn plain(node: &Node) -> Result<Visitor> {
    let mut visitor = Visitor::tcp(node.address("http")?)?;
    visitor.send(PROXY_HEADER)?;
    Ok(visitor)
}

/// One over TLS that has shaken hands and said nothing else.
fn silent(node: &Node, host: &str, tls: &Arc<ClientConfig>) -> Result<Visitor> {
    let mut stream = Stream::tcp(node.address("https")?)?;
    stream.write_all(PROXY_HEADER)?;
    Ok(Visitor::on(stream.into_tls(host, tls)?))
}

fn is_served(visitor: &mut Visitor, host: &str) -> bool {
    visitor.fetch(host, "/").is_ok_and(|answer| answer.status == 200)
}

/// A counter of `/metrics/zones`.
fn of_zone(node: &Node, zone: &str) -> Result<u64> {
    let page = node.admin("/metrics/zones")?.text();
    let series = format!("rempart_zone_connections_shed_total{{zone=\"{zone}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&series)).context("the zone's counter")?;
    Ok(value.parse()?)
}

#[test]
fn visitors_of_a_zone_within_its_share_are_neither_refused_nor_closed_while_another_takes_all_places()
-> Result<()> {
    let certificates = Certificates::new()?;
    let (spec, _origin) = spec(&certificates, "")?;
    let node = start(&spec)?;
    let tls = certificates.trusting(&["http/1.1"])?;
    let mut residents = [
        (plain(&node)?, "over cleartext"),
        (plain(&node)?, "over cleartext"),
        (silent(&node, MODEST, &tls)?, "over TLS"),
        (silent(&node, MODEST, &tls)?, "over TLS"),
    ];
    for (visitor, how) in &mut residents {
        ensure!(is_served(visitor, MODEST), "a resident {how}");
    }
    // One that has said where it wants to go and nothing else is held for that zone, too.
    let mut silent_one = silent(&node, MODEST, &tls)?;
    let mut kept = Vec::new();
    let take_one = |kept: &mut Vec<Visitor>| {
        if kept.len() >= KEPT_MAX {
            kept.drain(..KEPT_MAX / 2);
        }
        // Whoever is greedy may be turned away.
        if kept.len().is_multiple_of(2) {
            kept.extend(silent(&node, GREEDY, &tls));
        } else if let Ok(mut visitor) = plain(&node)
            && is_served(&mut visitor, GREEDY)
        {
            kept.push(visitor);
        }
    };
    let is_short = look_until(|| {
        take_one(&mut kept);
        Ok((node.metric("rempart_connections_shed_total")? > Some(0.0)).then_some(()))
    })?;
    ensure!(is_short.is_some(), "places are never short");
    let ends = AtomicBool::new(false);
    let passing = std::thread::scope(|scope| {
        // Others of the greedy zone come meanwhile, one after the other.
        let greedy = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                take_one(&mut kept);
            }
        });
        let served = (0..PASSING).filter(|number| {
            let visitor = match number % 2 {
                0 => plain(&node),
                _ => silent(&node, MODEST, &tls),
            };
            visitor.is_ok_and(|mut visitor| is_served(&mut visitor, MODEST))
        });
        let served = served.count();
        ends.store(true, Ordering::Relaxed);
        greedy.join().ok().context("the greedy zone's visitors")?;
        anyhow::Ok(served)
    })?;
    assert_eq!(passing, PASSING, "of those who came and went all were served");
    for (visitor, how) in &mut residents {
        assert!(is_served(visitor, MODEST), "a resident {how} was closed");
    }
    assert!(is_served(&mut silent_one, MODEST), "who had only shaken hands was closed");
    assert_eq!(of_zone(&node, "modest")?, 0);
    assert!(of_zone(&node, "greedy")? > 0);
    node.finish_healthy_but_for(&["few_descriptors"])
}

/// Comes for the greedy zone with many at the same moment, time and again, until told to end.
fn crowd(node: &Node, tls: &Arc<ClientConfig>, ends: &AtomicBool) {
    let mut kept: Vec<Visitor> = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        kept.truncate(KEPT_MAX / CROWDS);
        // All have said what they want before the first of them is looked at.
        let mut wave: Vec<Visitor> = (0..WAVE).filter_map(|_| plain(node).ok()).collect();
        let request = format!("GET / HTTP/1.1\r\nHost: {GREEDY}\r\n\r\n");
        wave.iter_mut().for_each(|visitor| drop(visitor.send(&request)));
        wave.retain_mut(|visitor| visitor.expect_response("GET").is_ok_and(|answer| answer.status == 200));
        let secured = (0..WAVE / 4).filter_map(|_| silent(node, GREEDY, tls).ok());
        wave.extend(secured);
        kept.splice(..0, wave);
    }
}

/// Whether the `number`-th visitor of the modest zone is served; each kind of them in turn.
fn passes(node: &Node, number: usize, [tls, http2]: [&Arc<ClientConfig>; 2]) -> bool {
    let visitor = match number % 3 {
        0 => plain(node),
        1 => silent(node, MODEST, tls),
        _ => {
            let address = node.address("https");
            let visitor =
                address.and_then(|address| Http2Visitor::tls_behind(address, PROXY_HEADER, MODEST, http2));
            return visitor
                .and_then(|visitor| visitor.fetch(MODEST, "/"))
                .is_ok_and(|answer| answer.status == 200);
        }
    };
    visitor.is_ok_and(|mut visitor| is_served(&mut visitor, MODEST))
}

#[test]
fn a_zone_within_its_share_finds_room_beside_another_whose_newcomers_come_all_at_once() -> Result<()> {
    let certificates = Certificates::new()?;
    let (spec, _origin) = spec(&certificates, "")?;
    let node = start(&spec)?;
    let (tls, http2) = (certificates.trusting(&["http/1.1"])?, certificates.trusting(&["h2"])?);
    let ends = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let crowds: Vec<_> = (0..CROWDS).map(|_| scope.spawn(|| crowd(&node, &tls, &ends))).collect();
        let is_short =
            look_until(|| Ok((node.metric("rempart_connections_shed_total")? > Some(0.0)).then_some(())));
        let served = (0..AMONG).filter(|number| passes(&node, *number, [&tls, &http2])).count();
        ends.store(true, Ordering::Relaxed);
        for crowd in crowds {
            crowd.join().ok().context("the greedy zone's visitors")?;
        }
        ensure!(is_short?.is_some(), "places are never short");
        anyhow::Ok(served)
    })?;
    assert_eq!(served, AMONG, "of those who came and went all were served");
    assert_eq!(of_zone(&node, "modest")?, 0);
    // Nor was anybody of the crowd turned away: each took the place of one that was idle.
    assert_eq!(node.metric("rempart_connections_dropped_total")?, Some(0.0));
    node.finish_healthy_but_for(&["few_descriptors"])
}

#[test]
fn zones_that_both_want_more_places_than_there_are_get_them_by_weight() -> Result<()> {
    let certificates = Certificates::new()?;
    let (spec, _origin) = spec(&certificates, "[[overload.zone]]\nname = \"greedy\"\nweight = 3\n")?;
    let node = start(&spec)?;
    let mut came = [Vec::new(), Vec::new()];
    for number in 0..2 * WANTED {
        let host = [GREEDY, MODEST][number % 2];
        let mut visitor = plain(&node)?;
        ensure!(is_served(&mut visitor, host), "visitor {number} of {host}");
        came[number % 2].push(visitor);
    }
    let [heavy, light] = [(0, GREEDY), (1, MODEST)].map(|(number, host): (usize, _)| {
        came[number].iter_mut().map(|visitor| usize::from(is_served(visitor, host))).sum::<usize>()
    });
    // 60 to 64 places: three quarters of them and one, give or take those that go at once.
    assert!((40..=50).contains(&heavy) && (12..=18).contains(&light), "{heavy} and {light}");
    assert!(of_zone(&node, "greedy")? > 0 && of_zone(&node, "modest")? > 0);
    node.finish_healthy_but_for(&["few_descriptors"])
}
