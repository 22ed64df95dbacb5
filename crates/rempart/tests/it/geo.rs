//! Countries and networks of visitors, from MMDB files of the node.
//!
//! What a file may hold is tested in `zone`; here is what rules, limits, the log and origins make of it.
//! Visitors are told apart by `X-Forwarded-For` from a trusted proxy, which is this test.

use anyhow::Result;
use testkit::mmdb::{Mmdb, Value};
use testkit::node::{Node, NodeSpec};

use super::rig::{HOST, cleartext, fields, saying, start, visitor, with_zone, zone};

const LINES: &str = "\n[[rule]]\nexpression = 'ip.src.country in {\"FR\"} or ip.src.asnum eq 64501'\n\
    action = \"block\"\n[[rate_limit]]\nname = \"country\"\ncharacteristics = [\"country\"]\n\
    requests = 2\nperiod_s = 86400\n";

fn country(code: &str) -> Value {
    Value::map([("country", Value::map([("iso_code", Value::text(code))]))])
}

fn countries(of_second: &str) -> Vec<u8> {
    let file = Mmdb::new().entry("192.0.2.0/25", country("FR")).entry("192.0.2.128/25", country(of_second));
    file.entry("2001:db8::/32", country("JP")).to_bytes()
}

fn networks() -> Vec<u8> {
    let number = Value::map([("autonomous_system_number", Value::Number(64_501))]);
    Mmdb::new().entry("198.51.100.0/24", number).to_bytes()
}

fn spec(zone: &str, geo: &str) -> NodeSpec {
    cleartext()
        .node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .more(geo)
        .file("country.mmdb", countries("GB"))
        .file("asn.mmdb", networks())
        .zone("a", zone)
}

const BOTH: &str = "[geo]\ncountry = \"country.mmdb\"\nasn = \"asn.mmdb\"\n";

fn status(node: &Node, address: &str) -> Result<u16> {
    Ok(visitor(node)?.ask("GET", "/", HOST, &fields(&[("X-Forwarded-For", address)]), b"")?.status)
}

#[test]
fn rules_limits_log_and_origins_know_where_visitors_are() -> Result<()> {
    let origin = saying("answer")?;
    let file = zone(&origin, LINES).replacen("hostnames", "compat = \"cloudflare\"\nhostnames", 1);
    let node = start(&spec(&file, BOTH))?;
    assert_eq!(status(&node, "192.0.2.1")?, 403, "a country");
    assert_eq!(status(&node, "198.51.100.1")?, 403, "a network");
    // Two of one country count together, whatever their addresses.
    let asked = ["192.0.2.129", "192.0.2.130", "192.0.2.131", "2001:db8::1", "203.0.113.1"];
    let statuses: Vec<u16> = asked.iter().map(|address| status(&node, address)).collect::<Result<_>>()?;
    assert_eq!(statuses, [200, 200, 429, 200, 200]);
    let seen: Vec<Option<String>> = origin
        .requests()
        .iter()
        .map(|request| request.fields.first("cf-ipcountry").map(str::to_owned))
        .collect();
    let seen: Vec<&str> = seen.iter().map(|one| one.as_deref().unwrap_or_default()).collect();
    assert_eq!(seen, ["GB", "GB", "JP", "XX"]);
    for (address, country) in [("192.0.2.1", Some("FR")), ("2001:db8::1", Some("JP")), ("203.0.113.1", None)]
    {
        let line = node.wait_for_log(|line| line["visitor_ip"] == address)?;
        assert_eq!(line["country"].as_str(), country, "{line}");
    }
    node.finish_healthy()
}

/// A firewall's rule refuses visitors of one country, and one tells where they are.
const LOOKED_UP: &str = "SecRule REMOTE_ADDR \"@geoLookup\" \"id:10,phase:1,deny,status:451,log,chain,\\\n\
    msg:'From %{GEO.COUNTRY_CODE}'\"\n  SecRule GEO:COUNTRY_CODE \"@streq FR\"\n";

#[test]
fn rules_of_the_firewall_look_up_addresses_in_the_nodes_file() -> Result<()> {
    let origin = saying("answer")?;
    let lines = "\n[waf]\nmode = \"block\"\nrules = [\"../waf/own.conf\"]\n";
    let spec = spec(&zone(&origin, lines), BOTH).file("waf/own.conf", LOOKED_UP);
    let node = start(&spec)?;
    let asked = ["192.0.2.1", "192.0.2.200", "2001:db8::1", "203.0.113.1"];
    let statuses: Vec<u16> = asked.iter().map(|address| status(&node, address)).collect::<Result<_>>()?;
    assert_eq!(statuses, [451, 200, 200, 200]);
    let line = node.wait_for_log(|line| line["visitor_ip"] == "192.0.2.1")?;
    assert_eq!((&line["waf"], &line["rules"][0]), (&"refused".into(), &"10".into()), "{line}");
    // A newer file is asked at once, though the zone is the one it was.
    node.folder().write("country.mmdb", countries("FR"))?;
    assert!(node.publish()?.status.success());
    assert_eq!(status(&node, "192.0.2.200")?, 451);
    // Without a file the rule matches nothing, and whoever publishes is told.
    let path = node.folder().path().join("rempart.toml");
    let text = std::fs::read_to_string(&path)?.replace("[geo]\ncountry = \"country.mmdb\"\n", "[geo]\n");
    std::fs::write(&path, text)?;
    let checked = node.command(&["check"])?;
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("ask where addresses are (@geoLookup), and the node does not know"), "{told}");
    node.finish_healthy()
}

#[test]
fn a_publish_takes_a_newer_file_and_a_damaged_one_changes_nothing() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec(&zone(&origin, LINES), BOTH))?;
    assert_eq!(status(&node, "192.0.2.200")?, 200);
    node.folder().write("country.mmdb", countries("FR"))?;
    assert!(node.publish()?.status.success());
    assert_eq!(status(&node, "192.0.2.200")?, 403, "it moved to where the rule looks");
    node.folder().write("country.mmdb", &countries("GB")[..100])?;
    let refused = node.publish()?;
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("rempart.toml:") && told.contains("it is no MMDB file, or a damaged one"),
        "{told}"
    );
    assert_eq!(status(&node, "192.0.2.200")?, 403, "what served serves on");
    Ok(())
}

#[test]
fn check_tells_what_is_wrong_with_the_table_and_its_files() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_zone(&zone(&origin, ""))?;
    let text = std::fs::read_to_string(node.folder().path().join("rempart.toml"))?;
    node.folder().write("rempart.toml", format!("{text}\n[geo]\ncountry = \"none.mmdb\"\nans = \"x\"\n"))?;
    let checked = node.command(&["check"])?;
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("unknown setting `ans` in [geo] (did you mean `asn`?)"), "{told}");
    // And of the zones in the same look, whose folder is found all the same.
    node.folder().write("zones/b.toml", "name = \"b\"\nhostnames = [\"b.example\"]\nhost = 1\n")?;
    let checked = node.command(&["check"])?;
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("unknown setting `ans`") && told.contains("unknown setting `host`"), "{told}");
    std::fs::remove_file(node.folder().path().join("zones/b.toml"))?;
    node.folder().write("rempart.toml", format!("{text}\n[geo]\ncountry = \"none.mmdb\"\n"))?;
    let checked = node.command(&["check"])?;
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("none.mmdb cannot be read"), "{told}");
    node.finish_healthy()
}
