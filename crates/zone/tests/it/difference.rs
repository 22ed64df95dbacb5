//! The effective difference between two snapshots, and the guard against removals that nobody meant.

use std::collections::BTreeMap;

use zone::{Bundle, Snapshot, Source, compile, difference};

/// A snapshot of zones: name, hostnames, origins.
fn snapshot(zones: &[(&str, &[&str], &[&str])]) -> Snapshot {
    let specs = zones.iter().map(|(name, hostnames, origins)| {
        let origins: Vec<String> = origins.iter().map(|url| format!("{{ url = {url:?} }}")).collect();
        let text = format!(
            "name = {name:?}\nhostnames = {hostnames:?}\n[[pool]]\nname = \"app\"\norigins = [{}]\n",
            origins.join(", ")
        );
        Source { name: format!("{name}.toml"), bytes: text.into_bytes() }
    });
    compile(&Bundle::new(specs.collect(), None, BTreeMap::new()), 1, &|_| None).expect("these zones compile")
}

fn texts(things: &[zone::Thing]) -> Vec<String> {
    things.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_gained_lost_and_changed_is_named_with_its_zone() {
    let before = snapshot(&[
        ("a", &["a.example", "b.example"], &["http://127.0.0.1:1", "http://127.0.0.1:2"]),
        ("gone", &["gone.example"], &["http://127.0.0.1:3"]),
        ("same", &["same.example"], &["http://127.0.0.1:4"]),
    ]);
    let after = snapshot(&[
        ("a", &["a.example", "c.example"], &["http://127.0.0.1:1"]),
        ("same", &["same.example"], &["http://127.0.0.1:4"]),
    ]);
    let found = difference(&before, &after);
    assert_eq!(texts(&found.gained), ["hostname a: c.example"]);
    assert_eq!(
        texts(&found.lost),
        [
            "zone gone",
            "hostname a: b.example",
            "hostname gone: gone.example",
            "pool gone: app",
            "origin a: app http://127.0.0.1:2",
            "origin gone: app http://127.0.0.1:3",
        ]
    );
    assert_eq!(found.changed, ["a"]);
    assert_eq!(found.counts(zone::Kind::Zone), (3, 2));
}

#[test]
fn the_same_zones_in_other_words_differ_in_nothing_but_are_told_as_changed() {
    let before = snapshot(&[("a", &["a.example", "b.example"], &["http://127.0.0.1:1"])]);
    let after = snapshot(&[("a", &["b.example", "a.example"], &["http://127.0.0.1:1"])]);
    let found = difference(&before, &after);
    assert!(found.gained.is_empty() && found.lost.is_empty());
    assert_eq!(found.changed, ["a"]);
    assert!(difference(&before, &before).is_empty());
}

/// Zones `z0` to `z<count>`, numbered from `first` on.
fn numbered(first: usize, count: usize) -> Snapshot {
    let names: Vec<(String, String)> =
        (first..first + count).map(|n| (format!("z{n}"), format!("z{n}.example"))).collect();
    let hosts: Vec<[&str; 1]> = names.iter().map(|(_, host)| [host.as_str()]).collect();
    let zones: Vec<(&str, &[&str], &[&str])> = names
        .iter()
        .zip(&hosts)
        .map(|((name, _), host)| (name.as_str(), &host[..], &["http://127.0.0.1:1"][..]))
        .collect();
    snapshot(&zones)
}

#[test]
fn removals_over_the_share_are_told() {
    assert!(difference(&numbered(0, 4), &numbered(0, 2)).removals_over(50).is_empty());
    let most = difference(&numbered(0, 4), &numbered(0, 1)).removals_over(50);
    assert_eq!(most.first().map(String::as_str), Some("3 of 4 zones would go, over 50 %"));
    let none = difference(&numbered(0, 4), &numbered(0, 0)).removals_over(100);
    assert_eq!(none.first().map(String::as_str), Some("no zone is left of 4"));
}

#[test]
fn other_zones_in_the_place_of_many_are_a_removal_and_in_the_place_of_a_few_are_not() {
    let many = difference(&numbered(0, 20), &numbered(100, 20)).removals_over(50);
    assert!(many.iter().any(|text| text.starts_with("20 of 20 zones")), "{many:?}");
    assert!(difference(&numbered(0, 2), &numbered(100, 2)).removals_over(50).is_empty());
}

#[test]
fn a_site_that_moves_to_another_server_loses_nothing() {
    let at = |url| snapshot(&[("a", &["a.example"], &[url])]);
    let moved = difference(&at("http://127.0.0.1:1"), &at("http://127.0.0.1:2"));
    assert_eq!(moved.lost.len(), 1);
    assert!(moved.removals_over(0).is_empty());
}

#[test]
fn a_cache_switched_on_or_off_is_named() {
    let zone = |cache: &str| {
        let text = format!(
            "name = \"a\"\nhostnames = [\"a.example\"]\n{cache}\n[[pool]]\nname = \"app\"\n\
             origins = [{{ url = \"http://127.0.0.1:1\" }}]\n"
        );
        let source = Source { name: "a.toml".to_owned(), bytes: text.into_bytes() };
        compile(&Bundle::new(vec![source], None, BTreeMap::new()), 1, &|_| None).expect("it compiles")
    };
    let (off, on) = (zone(""), zone("[cache]\nenabled = true"));
    assert_eq!(texts(&difference(&off, &on).gained), ["cache a"]);
    let lost = difference(&on, &off);
    assert_eq!((texts(&lost.lost), lost.removals_over(0)), (vec!["cache a".to_owned()], Vec::new()));
    let other = difference(&on, &zone("[cache]\nenabled = true\nalways_online = true"));
    assert_eq!((other.changed, other.gained.len(), other.lost.len()), (vec!["a".to_owned()], 0, 0));
}

#[test]
fn a_list_that_loses_all_its_entries_needs_a_word() {
    let zone = |lists: &str| {
        let text = format!(
            "name = \"a\"\nhostnames = [\"a.example\"]\n{lists}\n[[pool]]\nname = \"app\"\n\
             origins = [{{ url = \"http://127.0.0.1:1\" }}]\n"
        );
        let source = Source { name: "a.toml".to_owned(), bytes: text.into_bytes() };
        compile(&Bundle::new(vec![source], None, BTreeMap::new()), 1, &|_| None).expect("it compiles")
    };
    let list =
        |entries: &str| zone(&format!("[[list]]\nname = \"blocked\"\nkind = \"ip\"\nentries = [{entries}]"));
    let (full, one, empty) = (list("\"192.0.2.1\", \"192.0.2.2\""), list("\"192.0.2.1\""), list(""));
    let refused = |before: &Snapshot, after: &Snapshot| difference(before, after).removals_over(100);
    assert_eq!(refused(&full, &empty), ["no entry of the list a: blocked is left of 2"]);
    assert_eq!(refused(&full, &one), [""; 0]);
    assert_eq!(refused(&empty, &full), [""; 0]);
    assert_eq!(refused(&empty, &empty), [""; 0]);
    assert_eq!(refused(&full, &zone("")), [""; 0], "a list that is taken out is seen in the zone's file");
}
