//! Certificates and keys that change while the node runs: renewed, broken, mended. No other zone notices, and
//! no publish waits for it.

use std::fs;
use std::sync::Arc;

use anyhow::{Result, ensure};
use rustls::ClientConfig;
use testkit::authority::{Authority, Greeting, Leaf};
use testkit::node::{Node, NodeSpec};
use testkit::visitor::Visitor;

use super::{answers, kill_edge, start};

/// A pair, and what a visitor has to trust who is to meet it.
struct Pair {
    leaf: Leaf,
    trusting: Arc<ClientConfig>,
}

impl Pair {
    fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let greeting = Greeting { alpn: &["http/1.1"], ..Greeting::default() };
        Ok(Self { leaf: authority.leaf(&["a.example"])?, trusting: authority.client_config(greeting)? })
    }

    /// Whether the zone with a certificate answers with this one.
    fn is_served(&self, node: &Node) -> bool {
        let address = node.address("https").expect("it can be told");
        let visited = Visitor::tls(address, "a.example", &self.trusting)
            .and_then(|mut visitor| visitor.fetch("a.example", "/"));
        visited.is_ok_and(|answer| answer.text() == "one")
    }
}

/// A node with a zone that has this pair, and `shop.example` without one.
fn node(pair: &Pair, node_section: &str, publish: &str) -> Result<Node> {
    let tls = "[tls]\ncertificate = \"../certs/a.pem\"\nprivate_key = \"../certs/a.key\"\n[[route]]";
    let a = answers("a", "one").replace('*', "a.example").replace("[[route]]", tls);
    let spec = NodeSpec::new().node_section(node_section).listener("http").listener("https").more(publish);
    start(
        &spec
            .file("certs/a.pem", pair.leaf.certificate_pem.as_bytes())
            .file("certs/a.key", pair.leaf.key_pem.as_bytes())
            .zone("a", a)
            .zone("shop", shop("one")),
    )
}

fn shop(text: &str) -> String {
    answers("shop", text).replace('*', "shop.example")
}

fn shop_says(node: &Node) -> String {
    let visited = Visitor::tcp(node.address("http").expect("it can be told"))
        .and_then(|mut visitor| visitor.fetch("shop.example", "/"));
    visited.map_or_else(|error| format!("{error:#}"), |answer| answer.text())
}

/// Replaces files as tools that renew do.
fn put(node: &Node, files: &[(&str, &str)]) -> Result<()> {
    for (name, text) in files {
        let path = node.folder().path().join("certs").join(name);
        fs::write(path.with_extension("new"), text)?;
        fs::rename(path.with_extension("new"), path)?;
    }
    Ok(())
}

fn publish(node: &Node, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = node.command(&[&["publish"], arguments].concat())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn a_broken_key_pair_keeps_no_other_zone_from_being_published() -> Result<()> {
    let (first, second) = (Pair::new()?, Pair::new()?);
    let stages = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 1\nsoak_ms = 0\n";
    let node = node(&first, "threads = 1\nspare = false", stages)?;
    put(&node, &[("a.key", &second.leaf.key_pem)])?;

    // By a signal nobody has an answer: the event is all there is.
    node.reload()?;
    let refused = node.wait_for_event(|event| event["event"] == "publish_refused")?;
    ensure!(refused["problems"].to_string().contains("belongs to another certificate"), "{refused}");

    for (number, text) in [(2, "two"), (3, "three")] {
        node.write_zone("shop", &shop(text))?;
        let (code, out, told) = publish(&node, &["--dry-run"])?;
        ensure!(code == Some(1) && out.contains("~ zone shop") && !out.contains("zone a"), "{out}{told}");
        let (code, out, told) = publish(&node, &["--wait"])?;
        ensure!(code == Some(1) && out.contains("no canary: "), "{out}");
        ensure!(told.contains("a.toml has problems: its zone is served as before"), "{told}");
        let published =
            node.wait_for_event(|event| event["event"] == "published" && event["snapshot"] == number)?;
        ensure!(published["put_back"].to_string().contains("a.toml"), "{published}");
        ensure!(shop_says(&node) == text && first.is_served(&node), "{text}");
        // Then it is gone altogether.
        let _gone_already = fs::remove_file(node.folder().path().join("certs/a.key"));
    }

    fs::remove_file(node.folder().path().join("zones/a.toml"))?;
    let (code, out, told) = publish(&node, &[])?;
    ensure!((code, out.as_str()) == (Some(0), "snapshot 4 is live: 1 zone\n"), "{out}{told}");
    Ok(())
}

#[test]
fn a_renewed_key_pair_keeps_nobody_from_publishing_and_outlives_every_death() -> Result<()> {
    let (first, second) = (Pair::new()?, Pair::new()?);
    let node = node(&first, "threads = 1\nspare = true", "[publish]\ncompare_ms = 0\ncanary_percent = 0\n")?;
    node.wait_for_events("spare_ready", 1)?;
    put(&node, &[("a.pem", &second.leaf.certificate_pem), ("a.key", &second.leaf.key_pem)])?;
    node.wait_for_event(|event| event["event"] == "certificate_renewed")?;
    // The spare is to have it at once, too.
    node.wait_for_events("spare_ready", 2)?;
    // What is kept names the certificate of before, and is begun with all the same.
    for restarts in 1..=2 {
        kill_edge(&node)?;
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == restarts)?;
        ensure!(second.is_served(&node) && shop_says(&node) == "one", "after death {restarts}");
        node.wait_for_events("spare_ready", 2 + restarts)?;
    }
    node.write_zone("shop", &shop("two"))?;
    let (code, out, told) = publish(&node, &[])?;
    ensure!((code, out.as_str()) == (Some(0), "snapshot 2 is live: 2 zones\n"), "{out}{told}");
    ensure!(second.is_served(&node) && shop_says(&node) == "two", "after the publish");
    Ok(())
}

#[test]
fn an_upgrade_that_would_lose_a_certificate_leaves_what_serves() -> Result<()> {
    let (first, second) = (Pair::new()?, Pair::new()?);
    let node = node(&first, "threads = 1\nspare = false", "")?;
    put(&node, &[("a.key", &second.leaf.key_pem)])?;
    ensure!(!node.command(&["upgrade"])?.status.success(), "the newer edge has no key for it");
    node.wait_for_event(|event| event["event"] == "upgrade_failed")?;
    let told = node.wait_for_event(|event| event["event"] == "kept_generation_unusable")?;
    ensure!(told["cause"].to_string().contains("belongs to another certificate"), "{told}");
    ensure!(first.is_served(&node) && shop_says(&node) == "one", "the older edge serves on");
    put(&node, &[("a.key", &first.leaf.key_pem)])?;
    ensure!(node.command(&["upgrade"])?.status.success(), "nothing is in its way any more");
    ensure!(first.is_served(&node), "the newer edge has it");
    Ok(())
}

#[test]
fn an_edge_that_begins_with_a_broken_key_pair_serves_all_others_until_it_is_mended() -> Result<()> {
    let (first, second) = (Pair::new()?, Pair::new()?);
    let node = node(&first, "threads = 1\nspare = false", "")?;
    put(&node, &[("a.key", &second.leaf.key_pem)])?;
    kill_edge(&node)?;
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1)?;
    ensure!(shop_says(&node) == "one" && !first.is_served(&node), "the others are served");
    let told = node.wait_for_event(|event| event["event"] == "certificate_unusable")?;
    ensure!(told["remedy"].to_string().contains("its zone has none meanwhile"), "{told}");
    put(&node, &[("a.key", &first.leaf.key_pem)])?;
    node.wait_for_event(|event| event["event"] == "certificate_renewed")?;
    ensure!(first.is_served(&node), "it is read by itself");
    Ok(())
}

#[test]
fn a_pools_pair_is_not_lost_silently_by_an_upgrade_nor_by_a_death() -> Result<()> {
    let (first, second) = (Pair::new()?, Pair::new()?);
    let pool = "[[pool]]\nname = \"app\"\norigins = [{ url = \"https://127.0.0.1:9\" }]\n\
                tls = { certificate = \"../certs/a.pem\", private_key = \"../certs/a.key\" }\n";
    let spec = NodeSpec::new().node_section("threads = 1\nspare = false").listener("http");
    let node = start(
        &spec
            .file("certs/a.pem", first.leaf.certificate_pem.as_bytes())
            .file("certs/a.key", first.leaf.key_pem.as_bytes())
            .zone("shop", shop("one") + pool),
    )?;
    put(&node, &[("a.key", &second.leaf.key_pem)])?;
    ensure!(!node.command(&["upgrade"])?.status.success(), "the newer edge has no key for it");
    node.wait_for_event(|event| event["event"] == "kept_generation_unusable")?;
    kill_edge(&node)?;
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1)?;
    ensure!(shop_says(&node) == "one", "all else is served");
    let told = node.wait_for_event(|event| event["event"] == "configuration_warnings")?;
    ensure!(told["problems"].to_string().contains("publish when it is mended"), "{told}");
    Ok(())
}
