//! `[zone_defaults]`: merging table by table, where the zone wins.

use std::sync::Arc;

use testkit::mmdb::{Mmdb, Value};

use crate::{bundle_with_defaults, snapshot, source, zone_text};

const NODE: &str = r#"
zone_defaults = { server_timing = true }
[node]
data_dir = "/srv/secret"
[[listener]]
address = "0.0.0.0:80" # [not a header]
protocol = "http"
trusted = [
  "10.0.0.0/8",
]
"#;

#[test]
fn merges_tables_and_lets_the_zone_win() {
    let node = "[zone_defaults]\nserver_timing = true\ncompat = \"cloudflare\"\n\
                [zone_defaults.http]\nheader_ms = 1111\nbody_idle_ms = 2222\n\
                [zone_defaults.tls]\nminimum = \"1.3\"\nhsts = { max_age_s = 5, include_subdomains = true }\n\
                [[zone_defaults.error_page]]\nstatus = \"5xx\"\nfile = \"e.html\"\n";
    let text = zone_text(
        "z",
        "[\"a.example\"]",
        "server_timing = false\nerror_page = []\n[http]\nheader_ms = 3333\n[tls]\nhsts = { max_age_s = 7 }\n",
    );
    let snapshot = snapshot(&bundle_with_defaults(&[("z.toml", &text)], node));
    let zone = &snapshot.zones()[0];
    assert!(!zone.server_timing);
    assert!(zone.compat_cloudflare);
    assert_eq!((zone.http.header_ms, zone.http.body_idle_ms), (3333, 2222));
    assert_eq!(zone.http.keepalive_ms, 75_000);
    assert_eq!(zone.tls.minimum, zone::TlsVersion::V1_3);
    assert_eq!(zone.tls.hsts.as_ref().map(|hsts| hsts.value.as_str()), Some("max-age=7; includeSubDomains"));
    assert!(zone.error_pages.is_empty());
    assert_eq!((snapshot.http.header_ms, snapshot.http.body_idle_ms), (1111, 2222));
}

#[test]
fn takes_a_pool_from_the_defaults_and_paths_from_the_node_file() {
    let node = "[[zone_defaults.pool]]\nname = \"app\"\norigins = [{ url = \"http://h:1\" }]\n\
                [[zone_defaults.error_page]]\nstatus = 502\nfile = \"pages/e.html\"\n";
    let zone = source("/etc/r/zones/z.toml", "name = \"z\"\nhostnames = [\"a.example\"]\n");
    let node = source("/etc/r/rempart.toml", node);
    let named = zone::files_named(std::slice::from_ref(&zone), zone::defaults_of(&node).as_ref());
    assert_eq!(named.len(), 1);
    assert_eq!(
        (named[0].path.as_str(), named[0].file.as_str(), named[0].line, named[0].column),
        ("/etc/r/pages/e.html", "/etc/r/rempart.toml", 6, 8)
    );
    let files = [("/etc/r/pages/e.html".to_owned(), b"x".to_vec())].into();
    let bundle = zone::Bundle::new(vec![zone], zone::defaults_of(&node), files);
    let snapshot = snapshot(&bundle);
    assert_eq!(snapshot.zones()[0].pools[0].name, "app");
    assert_eq!(snapshot.zones()[0].error_page(502).map(|page| page.body.to_vec()), Some(b"x".to_vec()));
}

#[test]
fn cuts_everything_but_the_defaults_out_of_the_node_file() {
    let node = format!(
        "{}\n[zone_defaults.http]\nheader_ms = 5 # é\n[ log ]\naccess = \"off\"\n\
         [\"zone_defaults\".tls]\nminimum = \"1.3\"\n",
        NODE.replace("zone_defaults = { server_timing = true }", "")
    );
    let cut = zone::defaults_of(&source("n", &node)).expect("there are defaults");
    let text = String::from_utf8(cut.bytes).expect("blanks are text");
    assert_eq!(text.lines().count(), node.lines().count());
    assert!(!text.contains("secret") && !text.contains("access") && !text.contains("10.0.0.0"), "{text}");
    let kept: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(
        kept,
        ["[zone_defaults.http]", "header_ms = 5 # é", "[\"zone_defaults\".tls]", "minimum = \"1.3\""]
    );
}

#[test]
fn keeps_defaults_written_inline() {
    let cut = zone::defaults_of(&source("n", NODE)).expect("there are defaults");
    let text = String::from_utf8(cut.bytes).expect("blanks are text");
    assert_eq!(text.trim(), "zone_defaults = { server_timing = true }");
    let snapshot = snapshot(&bundle_with_defaults(&[("z", &zone_text("z", "[\"a.example\"]", ""))], NODE));
    assert!(snapshot.zones()[0].server_timing);
}

#[test]
fn has_no_defaults_where_none_are_written() {
    assert_eq!(zone::defaults_of(&source("n", "[node]\nthreads = 1\n")), None);
}

fn countries(code: &str) -> Vec<u8> {
    let value = Value::map([("country_code", Value::text(code))]);
    Mmdb::new().entry("192.0.2.0/24", value).to_bytes()
}

/// A bundle of one zone and a node file with these files of address data.
fn located(node: &str, files: &[(&str, Vec<u8>)]) -> zone::Bundle {
    let zone = source("/etc/r/zones/z.toml", &zone_text("z", "[\"a.example\"]", ""));
    let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
    zone::Bundle::new(vec![zone], zone::defaults_of(&source("/etc/r/rempart.toml", node)), files)
}

#[test]
fn address_data_travel_with_the_zones_and_are_shared_between_snapshots() {
    let node = "[node]\nuser = \"secret\"\n[geo]\ncountry = \"c.mmdb\"\n[log]\naccess = \"off\"\n";
    let cut = zone::defaults_of(&source("/etc/r/rempart.toml", node)).expect("there is [geo]");
    assert!(!String::from_utf8_lossy(&cut.bytes).contains("secret"));
    let named = zone::files_named(&[], Some(&cut));
    assert_eq!((named.len(), named[0].kind), (1, zone::FileKind::Geo));
    assert_eq!((named[0].path.as_str(), named[0].line, named[0].column), ("/etc/r/c.mmdb", 4, 11));
    let first = snapshot(&located(node, &[("/etc/r/c.mmdb", countries("GB"))]));
    let find = |snapshot: &zone::Snapshot| {
        let geo = snapshot.geo.clone().expect("address data");
        geo.find("192.0.2.1".parse().expect("an address")).country().map(str::to_owned)
    };
    assert_eq!(find(&first).as_deref(), Some("GB"));
    let again = |bytes: Vec<u8>| {
        let bundle = located(node, &[("/etc/r/c.mmdb", bytes)]);
        zone::compile_after(&bundle, 2, &|_| None, Some(&first)).expect("it compiles")
    };
    let file = |snapshot: &zone::Snapshot| snapshot.geo.clone().and_then(|geo| geo.country.clone());
    let (same, other) = (again(countries("GB")), again(countries("FR")));
    assert!(Arc::ptr_eq(&file(&same).expect("a file"), &file(&first).expect("a file")));
    assert_eq!(find(&other).as_deref(), Some("FR"));
    assert!(zone::difference(&first, &same).is_empty());
    let without = snapshot(&located("[node]\nthreads = 1\n", &[]));
    assert!(without.geo.is_none());
    let lost = zone::difference(&first, &without).lost;
    assert_eq!(
        lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["address data country: Test of 1700000000"]
    );
}

#[test]
fn address_data_past_their_horizon_know_no_address_where_that_is_wanted() {
    let node =
        |after: &str| format!("[geo]\ncountry = \"c.mmdb\"\nhorizon_s = 60\nafter_horizon = \"{after}\"\n");
    for (after, known) in [("keep", true), ("empty", false)] {
        let first = snapshot(&located(&node(after), &[("/etc/r/c.mmdb", countries("GB"))]));
        let again = located(&node(after), &[("/etc/r/c.mmdb", countries("GB"))]);
        let again = zone::compile_after(&again, 2, &|_| None, Some(&first)).expect("it compiles");
        let find = |snapshot: &zone::Snapshot| {
            let geo = snapshot.geo.clone().expect("address data");
            geo.find("192.0.2.1".parse().expect("an address")).country().is_some()
        };
        let feeds: Vec<_> = first.feeds().collect();
        let [("", feed)] = feeds[..] else { panic!("{feeds:?}") };
        assert_eq!((feed.name.as_str(), feed.made_unix_s), ("[geo] country", 1_700_000_000));
        assert!(find(&first));
        assert_eq!(feed.judge(1_700_000_060), zone::FeedStage::PastHorizon);
        assert_eq!((find(&first), find(&again)), (known, true), "{after}: each snapshot is judged by itself");
        feed.judge(1_700_000_059);
        assert!(find(&first));
    }
}

#[test]
fn address_data_that_cannot_be_used_are_told_at_their_place() {
    let node = "[geo]\ncountry = \"c.mmdb\"\nasn = \"n.mmdb\"\n";
    let told = super::listed(&super::problems(&located(node, &[("/etc/r/n.mmdb", countries("GB"))])));
    for line in [
        "/etc/r/rempart.toml:2:11: the file `/etc/r/c.mmdb` could not be read",
        "/etc/r/rempart.toml:3:7: `/etc/r/n.mmdb` cannot be used: it has no numbers of networks",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}
