//! The four kinds of site, directly and through a node: all that a visitor or the site can tell is the same.
//!
//! Read next: [`testkit::compare`].

use std::sync::Arc;

use anyhow::Result;
use rustls::ClientConfig;
use testkit::clients::{checkout, python};
use testkit::compare::foreign::ForeignVisitor;
use testkit::compare::{Way, ensure_same};
use testkit::node::{Node, NodeSpec};
use testkit::site::{Site, chat, forum, objects, social};

use super::rig::{Certificates, start, tls_zone, with_leaf};

/// Starts a node before a site, and gives all ways to it.
fn ways(site: &Site, url: &str) -> Result<(Node, Vec<Way>)> {
    let certificates = Certificates::new()?;
    let leaf = certificates.authority.leaf(&[site.hostname])?;
    let spec = NodeSpec::new()
        .listener_at("http", "127.0.0.1:0", "h2c = true")
        .listener("https")
        .file("ca.pem", certificates.authority.pem())
        .zone("site", tls_zone("site", site.hostname, "", url));
    let node = start(&with_leaf(spec, "site", &leaf))?;
    let ca = node.folder().path().join("ca.pem");
    let script = checkout().join("tests/clients/http3_site.py");
    let (http, https) = (node.address("http")?, node.address("https")?);
    let config = |alpn: &'static str| -> Result<Arc<ClientConfig>> { certificates.trusting(&[alpn]) };
    let ways = vec![
        Way::Http1(http),
        Way::Http2(http),
        Way::Http1Tls(https, config("http/1.1")?),
        Way::Http2Tls(https, config("h2")?),
        Way::Http3(Arc::new(ForeignVisitor::start(&python()?, &script, https, site.hostname, &ca)?)),
    ];
    Ok((node, ways))
}

fn is_the_same(site: Site) -> Result<()> {
    let (node, all) = ways(&site, &site.origin.url())?;
    ensure_same(&site, &all)?;
    node.finish_healthy()?;
    // The same site reached by HTTP/2, which knows no upper case: so for visitors by HTTP/2 and HTTP/3.
    let (node, mut all) = ways(&site, &site.origin.url().replace("http://", "h2c://"))?;
    all.retain(|way| matches!(way, Way::Http2(_) | Way::Http2Tls(..) | Way::Http3(_)));
    ensure_same(&site, &all)?;
    assert_eq!(site.origin.faults(), Vec::<String>::new());
    node.finish_healthy()
}

#[test]
fn a_chat_service_is_the_same_through_a_node() -> Result<()> {
    is_the_same(chat::start()?)
}

#[test]
fn a_social_timeline_is_the_same_through_a_node() -> Result<()> {
    is_the_same(social::start()?)
}

#[test]
fn a_forum_is_the_same_through_a_node() -> Result<()> {
    is_the_same(forum::start()?)
}

#[test]
fn an_object_store_is_the_same_through_a_node() -> Result<()> {
    is_the_same(objects::start()?)
}
