//! Which zones have a watch over their load, over several snapshots.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use telemetry::sink::{AccessLog, Target};
use zone::{Bundle, Source};

use super::*;
use crate::node::{Node, NodeSetup};

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), bytes: text.into() }
}

/// Zones of these names, which answer by themselves with these words.
fn snapshot(number: u64, zones: &[(String, &str)]) -> Snapshot {
    let zone = |(name, answer): &(String, &str)| {
        let text = format!(
            "name = \"{name}\"\nhostnames = [\"{name}.example\"]\n\n[[route]]\npath_prefix = \"/\"\n\
             answer = {{ status = 200, body = \"{answer}\" }}\n"
        );
        source(&format!("zones/{name}.toml"), &text)
    };
    let bundle = Bundle::new(zones.iter().map(zone).collect(), None, BTreeMap::new());
    zone::compile(&bundle, number, &|_| None).expect("zones")
}

fn node(snapshot: Snapshot, events: Events) -> Arc<Node> {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n";
    let setup = NodeSetup {
        threads: 1,
        settings: zone::compile_node(&source("rempart.toml", listener)).expect("a node file"),
        access_log: AccessLog::off(),
        events,
        seed: [1, 2],
        sticky_key: [0; 16],
        quic_keys: ([0; 64], [0; 32]),
        black_box: None,
        fingerprint_key: [1, 2],
        flood_seed: 5,
        on_stuck: None,
        on_changed: None,
        connections_max: 100,
        cache: None,
    };
    Node::new(setup, snapshot)
}

/// The watches there are, by zones' names.
fn watches(node: &Node) -> BTreeMap<String, Arc<Guarded>> {
    let of = |site: &Arc<Site>| Some((site.zone.name.clone(), Arc::clone(site.flood.as_ref()?)));
    node.live().sites.iter().filter_map(of).collect()
}

#[test]
fn zones_keep_their_watches_and_places_that_become_free_are_given_to_those_without() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let events = Events::start(Target::Descriptor(writer.into()), || 0).expect("events");
    let most = flood::limits::WATCHED_MAX;
    let mut zones: Vec<(String, &str)> = (0..=most).map(|n| (format!("m{n:03}"), "one")).collect();
    let last = zones[most].0.clone();
    let node = node(snapshot(1, &zones), events);
    let first = watches(&node);
    assert!(first.len() == most && !first.contains_key(&last));

    // Zones of earlier names come, and one that would be behind them is changed.
    zones.extend((0..10).map(|n| (format!("a{n}"), "one")));
    zones[most - 1].1 = "two";
    node.swap(snapshot(2, &zones));
    let second = watches(&node);
    assert!(second.keys().eq(first.keys()), "nobody loses its watch, nor are there more");
    assert!(second.iter().all(|(name, watch)| Arc::ptr_eq(watch, &first[name])));

    // As many go as wait; these are not changed.
    let before = node.live();
    zones.drain(..11);
    node.swap(snapshot(3, &zones));
    let third = watches(&node);
    assert_eq!(third.len(), most);
    assert!(third.contains_key(&last) && third.contains_key("a0") && third.contains_key("a9"));
    assert!(third.iter().all(|(name, watch)| first.get(name).is_none_or(|had| Arc::ptr_eq(watch, had))));
    let site = |live: &Live| Arc::clone(live.site_for(b"a0.example").expect("a zone"));
    let (had, has) = (site(&before), site(&node.live()));
    assert!(has.stale.is_none() && Arc::ptr_eq(&has.memory, &had.memory), "the zone is the one it was");

    assert!(node.setup().events.close(Duration::from_secs(10)));
    drop((node, before));
    let mut told = String::new();
    reader.read_to_string(&mut told).expect("events");
    let told: Vec<&str> = told.lines().filter(|line| line.contains("floods_not_watched")).collect();
    let counts = ["\"zones\":1,", "\"zones\":11,", "\"zones\":0,"];
    assert!(told.len() == 3 && told.iter().zip(counts).all(|(line, has)| line.contains(has)), "{told:?}");
}

#[test]
fn a_certificate_that_comes_after_the_swap_answers_handshakes_without_a_name() {
    let zone = "name = \"z\"\nhostnames = [\"z.example\"]\n[tls]\ncertificate = \"/z.pem\"\n\
                private_key = \"/z.key\"\n[[route]]\nanswer = {}\n";
    let leaf = testkit::authority::Authority::new().expect("a root").leaf(&["z.example"]).expect("a leaf");
    let files = BTreeMap::from([("/z.pem".to_owned(), leaf.certificate_pem.clone().into_bytes())]);
    let bundle = Bundle::new(vec![source("/z.toml", zone)], None, files);
    let snapshot = zone::compile_again(&bundle, 1, &|_| None, None).expect("a zone without its key");
    let node = node(snapshot, Events::start(Target::Stderr, || 0).expect("events"));
    assert!(node.live().site_for_handshake(None).is_none());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (chain, key) = (leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes());
    let pair = Arc::new(zone::tls::certified_key(chain, key, &provider).expect("a pair"));
    let id = node.live().sites[0].zone.id;
    node.replace_certificate(id, &pair).expect("it is taken");
    assert!(node.live().site_for_handshake(None).is_some_and(|site| site.zone.id == id));
}
