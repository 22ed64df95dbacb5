//! Which zone a host finds.

use crate::{bundle, snapshot, zone_text};

fn found<'s>(snapshot: &'s zone::Snapshot, host: &str) -> Option<&'s str> {
    snapshot.zone_for(host.as_bytes()).map(|zone| zone.name.as_str())
}

#[test]
fn prefers_the_exact_name_then_the_longest_wildcard_then_the_catch_all() {
    let exact = zone_text("exact", r#"["www.a.example", "a.example"]"#, "");
    let near = zone_text("near", r#"["*.b.a.example"]"#, "");
    let far = zone_text("far", r#"["*.a.example"]"#, "");
    let any = zone_text("any", r#"["*"]"#, "");
    let specs = [("1", &*exact), ("2", &*near), ("3", &*far), ("4", &*any)];
    let snapshot = snapshot(&bundle(&specs));
    for (host, zone) in [
        ("www.a.example", "exact"),
        ("WWW.A.Example", "exact"),
        ("www.a.example.", "exact"),
        ("a.example", "exact"),
        ("x.b.a.example", "near"),
        ("y.x.b.a.example", "near"),
        ("b.a.example", "far"),
        ("x.y.a.example", "far"),
        (".a.example", "any"),
        ("example", "any"),
        ("", "any"),
        (".", "any"),
        ("192.0.2.1", "any"),
    ] {
        assert_eq!(found(&snapshot, host), Some(zone), "{host}");
    }
    assert_eq!(found(&snapshot, &"a.".repeat(200)), Some("any"));
    assert_eq!(found(&snapshot, &format!("{}a.example", "x.".repeat(120))), Some("far"));
}

#[test]
fn finds_nothing_without_a_catch_all() {
    let snapshot = snapshot(&bundle(&[("1", &zone_text("z", r#"["*.a.example"]"#, ""))]));
    assert_eq!(found(&snapshot, "a.example"), None);
    assert_eq!(found(&snapshot, "b.example"), None);
    assert_eq!(found(&snapshot, ""), None);
    assert_eq!(found(&snapshot, ".a.example"), None);
    assert_eq!(found(&snapshot, "x.a.example"), Some("z"));
}

#[test]
fn takes_addresses_as_hostnames() {
    let snapshot =
        snapshot(&bundle(&[("1", &zone_text("z", r#"["127.0.0.1", "[::1]", "2001:DB8::1"]"#, ""))]));
    for host in ["127.0.0.1", "[::1]", "[2001:db8::1]", "[2001:DB8::1]"] {
        assert_eq!(found(&snapshot, host), Some("z"), "{host}");
    }
}

#[test]
fn tells_ten_thousand_zones_apart() {
    let texts: Vec<(String, String)> = (0..10_000)
        .map(|n| {
            let hostnames = format!("[\"site{n}.example\", \"*.site{n}.example\"]");
            (format!("{n:05}.toml"), zone_text(&format!("site{n}"), &hostnames, ""))
        })
        .collect();
    let specs: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let snapshot = snapshot(&bundle(&specs));
    assert_eq!(snapshot.zones().len(), 10_000);
    for n in 0..10_000 {
        assert_eq!(found(&snapshot, &format!("site{n}.example")), Some(format!("site{n}").as_str()));
        assert_eq!(found(&snapshot, &format!("a.b.SITE{n}.example")), Some(format!("site{n}").as_str()));
    }
    assert_eq!(found(&snapshot, "site10000.example"), None);
    let ids: std::collections::HashSet<_> = snapshot.zones().iter().map(|zone| zone.id).collect();
    assert_eq!(ids.len(), 10_000);
}

#[test]
fn refuses_a_zone_too_many() {
    let texts: Vec<(String, String)> = (0..=10_000)
        .map(|n| (format!("{n:05}.toml"), zone_text(&format!("s{n}"), &format!("[\"s{n}.example\"]"), "")))
        .collect();
    let specs: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let told = crate::listed(&crate::problems(&bundle(&specs)));
    assert_eq!(told, "10000.toml:1:1: more than 10000 zones\n");
}
