//! Purges of the cache: from a person's words to what the store takes, and what a disk has missed.
//!
//! A purge is an entry of the command log and is carried out at once. The disk's folder remembers the highest
//! number it has taken; what the log has beyond that, since a process died in between, is made again. Other
//! processes of the node that serve (a candidate) follow the log. Called by [`crate::edge_role`].

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use edge::{DiskPurges, Node, Purged};

use crate::clock;
use crate::command_log::{CommandLog, Purges, Purging};
use crate::messages::Purge;

/// How long a command waits for the disk: it takes a purge within milliseconds, unless it stalls or another
/// process still has the folder.
pub(crate) const KEEP_WAIT: Duration = Duration::from_secs(5);

/// How often is looked whether the disk has been read, and whether the log has grown.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often while no zone has a cache.
const LOOK_SELDOM: Duration = Duration::from_millis(200);

/// Splits a URL into host and target. The scheme may be left out: both are purged.
fn split(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    ensure!(!url.chars().any(char::is_control), "{url:?} is no URL: it has control characters");
    let authority = without_port(authority);
    ensure!(!authority.is_empty(), "{url:?} names no host: write it as https://HOST/PATH");
    ensure!(!target.starts_with('?'), "{url:?} has no path: write it as https://HOST/?QUERY");
    Ok((authority, if target.is_empty() { "/" } else { target }))
}

/// Takes the port from an authority: what is stored is the same at every port.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // Of an IPv6 address in brackets only what stands behind them is a port.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() => host,
        _ => authority,
    }
}

/// Makes an order of a person's words.
///
/// # Errors
/// When no zone serves the host or has the name, or the words are none.
pub(crate) fn resolve(node: &Node, what: &Purge, is_soft: bool) -> Result<Purging> {
    let none = Purging { zone: None, host: None, target: None, is_prefix: false, tag: None, is_soft };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("the URL is not UTF-8");
    let named = |host: &str, target: &str| {
        let named = node.named(host.as_bytes(), target.as_bytes());
        named.with_context(|| format!("no zone serves {host:?}, or the URL is too long to be stored"))
    };
    Ok(match what {
        Purge::Url(url) => {
            let (host, target) = split(url)?;
            let (zone, host, target) = named(host, target)?;
            let (host, target) = (Some(text(host)?), Some(text(target)?));
            Purging { zone: Some(zone.to_string()), host, target, ..none }
        }
        Purge::Prefix(url) => {
            let (host, start) = split(url)?;
            let (zone, host, _) = named(host, "/")?;
            let (host, target) = (Some(text(host)?), Some(start.to_owned()));
            Purging { zone: Some(zone.to_string()), host, target, is_prefix: true, ..none }
        }
        Purge::Host(host) => {
            let (host, target) = split(host)?;
            ensure!(target == "/", "a host has no path: use --prefix for a part of it");
            let (zone, host, _) = named(host, "/")?;
            Purging { zone: Some(zone.to_string()), host: Some(text(host)?), ..none }
        }
        Purge::Zone(name) => Purging { zone: Some(zone_named(node, name)?), ..none },
        Purge::Tag { tag, zone } => {
            let is_tag = !tag.is_empty() && !tag.chars().any(char::is_control);
            ensure!(is_tag, "{tag:?} is no tag");
            let zone = match zone {
                Some(name) => zone_named(node, name)?,
                None => only_zone(node)?,
            };
            Purging { zone: Some(zone), tag: Some(tag.clone()), ..none }
        }
    })
}

fn zone_named(node: &Node, name: &str) -> Result<String> {
    ensure!(!name.is_empty(), "--zone needs a name: the `name` in the zone's file");
    let live = node.live();
    let zone = live.snapshot.zones().iter().find(|zone| zone.name == name);
    zone.map(|zone| zone.id.to_string()).with_context(|| format!("there is no zone {name:?}"))
}

/// The name of the zone that an order is for, and whether that has a cache.
pub(crate) fn zone_of(node: &Node, order: &Purging) -> Option<(String, bool)> {
    let id = order.zone.as_ref()?.parse().ok()?;
    let live = node.live();
    live.snapshot.zone_by_id(id).map(|zone| (zone.name.clone(), zone.cache.is_some()))
}

/// The one zone that has a cache.
fn only_zone(node: &Node) -> Result<String> {
    let live = node.live();
    let mut zones = live.snapshot.zones().iter().filter(|zone| zone.cache.is_some());
    match (zones.next(), zones.next()) {
        (Some(zone), None) => Ok(zone.id.to_string()),
        (None, _) => bail!("no zone has a cache"),
        (Some(_), Some(_)) => bail!("several zones have a cache: name one by --zone"),
    }
}

/// Carries an order out.
pub(crate) fn carry_out(
    node: &Node,
    order: &Purging,
    number: u64,
    done: impl FnOnce(Purged) + Send + 'static,
) {
    let zone = order.zone.as_ref().and_then(|zone| zone.parse().ok());
    let bytes = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    let what = match (zone, bytes(&order.tag), bytes(&order.host), bytes(&order.target)) {
        (Some(zone), Some(tag), ..) => edge::Purge::Tag { zone, tag },
        (Some(zone), None, Some(host), Some(target)) if order.is_prefix => {
            edge::Purge::Prefix { zone, host, target }
        }
        (Some(zone), None, Some(host), Some(target)) => edge::Purge::Url { zone, host, target },
        (Some(zone), None, Some(host), None) => edge::Purge::Host { zone, host },
        (Some(zone), None, None, _) => edge::Purge::Zone { zone },
        (None, ..) => edge::Purge::Everything,
    };
    node.purge(&what, order.is_soft, number, done);
}

/// Makes again what the disk has missed, once it has read what it has. On a thread of its own.
pub(crate) fn keep_up(node: &Arc<Node>, purges: &Purges) {
    if purges.kept.is_empty() && purges.forgotten_to == 0 {
        return;
    }
    let (node, purges) = (Arc::downgrade(node), purges.clone());
    let work = move || {
        loop {
            let Some(running) = node.upgrade() else { return };
            let wait = match running.disk_purges() {
                DiskPurges::Never => return,
                DiskPurges::NoStoreYet => LOOK_SELDOM,
                DiskPurges::NotYet => LOOK_EVERY,
                DiskPurges::KeptTo(number) => return make_again(&running, &purges, number),
            };
            drop(running);
            thread::sleep(wait);
        }
    };
    // Without a thread purged answers may come back, which only a crash in mid-purge has left behind.
    let _no_thread = thread::Builder::new().name("purges".into()).spawn(work);
}

fn make_again(node: &Node, purges: &Purges, kept_to: u64) {
    if purges.forgotten_to > kept_to {
        // More was missed than is known: nothing that is on the disk may be used.
        node.purge(&edge::Purge::Everything, false, purges.forgotten_to, |_purged| {});
    }
    carry_out_after(node, purges, kept_to);
}

/// Carries out the orders beyond a number.
pub(crate) fn carry_out_after(node: &Node, purges: &Purges, number: u64) {
    for (number, order) in purges.kept.iter().filter(|(kept, _)| *kept > number) {
        carry_out(node, order, *number, |_purged| {});
    }
}

/// Follows the log of another process, for as long as that is said: for one that serves beside it, with a
/// store of its own.
pub(crate) fn follow(node: &Arc<Node>, data_dir: &Path, goes_on: impl Fn() -> bool + Send + 'static) {
    let (node, data_dir) = (Arc::downgrade(node), data_dir.to_owned());
    let work = move || {
        let path = data_dir.join("commands");
        let mut seen = state_of(&path);
        let mut last = newest(&data_dir);
        while goes_on() {
            thread::sleep(LOOK_EVERY);
            let Some(node) = node.upgrade().filter(|node| !node.is_draining()) else { return };
            let state = state_of(&path);
            if state == seen {
                continue;
            }
            seen = state;
            let now = clock::Moment::now();
            let mut log = CommandLog::open(&data_dir, now);
            node.block(&log.ranges(now));
            carry_out_after(&node, log.purges(), last);
            last = log.purges().newest();
        }
    };
    let _no_thread = thread::Builder::new().name("follow".into()).spawn(work);
}

fn newest(data_dir: &Path) -> u64 {
    CommandLog::open(data_dir, clock::Moment::now()).purges().newest()
}

fn state_of(path: &Path) -> Option<(u64, std::time::SystemTime)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_with_or_without_a_scheme() {
        for (url, host, target) in [
            ("https://example.org/a?b#c", "example.org", "/a?b"),
            ("http://example.org:8080", "example.org", "/"),
            ("https://example.org:8443/a?b:1", "example.org", "/a?b:1"),
            ("http://[2001:db8::1]:8080/", "[2001:db8::1]", "/"),
            ("http://[2001:db8::1]/", "[2001:db8::1]", "/"),
            ("example.org/img/", "example.org", "/img/"),
        ] {
            assert_eq!(split(url).unwrap(), (host, target));
        }
        for url in ["", "/a", "https:///a", "https://example.org?a", "a/\n"] {
            assert!(split(url).is_err(), "{url}");
        }
    }
}
