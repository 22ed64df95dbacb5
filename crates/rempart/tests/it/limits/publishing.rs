//! Changes: what counters survive, what a person is told, and what happens when the phase breaks.

use anyhow::{Context as _, Result};

use super::super::rig::{saying, zone};
use super::{a_day, from, node, statuses};

#[test]
fn a_publish_keeps_what_was_counted_under_the_new_threshold() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 4, "")))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/", 3)?, [200; 3]);
    // Stands elsewhere in the file, and is otherwise the same.
    let moved = [a_day("other", 99, ""), a_day("pages", 4, "description = \"moved\"")].concat();
    node.write_zone("a", &zone(&origin, &moved))?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses(&node, "192.0.2.1", "/", 2)?, [200, 429]);
    node.write_zone("a", &zone(&origin, &a_day("pages", 6, "")))?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses(&node, "192.0.2.1", "/", 3)?, [200, 200, 429]);
    node.write_zone("a", &zone(&origin, &a_day("pages", 2, "")))?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses(&node, "192.0.2.1", "/", 1)?, [429]);
    node.write_zone("a", &zone(&origin, &a_day("pages", 2, "enabled = false")))?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses(&node, "192.0.2.1", "/", 3)?, [200; 3]);
    node.finish_healthy()
}

#[test]
fn a_zone_that_did_not_change_keeps_its_counters_while_another_does() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 1, "")))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/", 1)?, [200]);
    let other = testkit::node::zone_toml("b", &["b.example"], &[&origin.url()]);
    node.write_zone("b", &other)?;
    assert!(node.publish()?.status.success());
    assert_eq!(statuses(&node, "192.0.2.1", "/", 1)?, [429]);
    node.finish_healthy()
}

#[test]
fn every_mistake_is_told_with_its_place_and_changes_nothing() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 1, "")))?;
    let bad = "\n[[rate_limit]]\nname = \"a\"\nexpression = 'http.request.uri.pth eq \"/x\"'\n\
               requests = 0\nperiod_s = 86401\nkarakteristics = []\naction = \"blok\"\n";
    node.write_zone("a", &zone(&origin, bad))?;
    let checked = node.command(&["check"])?;
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    for (line, what) in [
        (10, "did you mean `http.request.uri.path`?"),
        (11, "an integer from 1 to 1000000"),
        (12, "an integer from 1 to 86400"),
        (13, "did you mean `characteristics`?"),
        (14, "`blok` is not an action of limits (did you mean \"block\"?)"),
    ] {
        let found =
            told.lines().find(|told| told.contains(what)).with_context(|| format!("{what}\n{told}"))?;
        assert!(found.contains(&format!("a.toml:{line}:")), "{line}: {found}");
    }
    assert!(!node.publish()?.status.success());
    assert_eq!(statuses(&node, "192.0.2.1", "/", 2)?, [200, 429], "what served serves on");
    Ok(())
}

#[test]
fn a_dry_run_tells_which_limits_come_and_go() -> Result<()> {
    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 1, "")))?;
    let gate = "\n[[concurrency_limit]]\nname = \"tabs\"\nrequests = 9\n";
    node.write_zone("a", &zone(&origin, &format!("{}{gate}", a_day("pages", 2, "action = \"log\""))))?;
    let tried = node.command(&["publish", "--dry-run"])?;
    let told = String::from_utf8_lossy(&[tried.stdout, tried.stderr].concat()).into_owned();
    for what in [
        "rate limit a: pages (1 in 86400 s, block)",
        "rate limit a: pages (2 in 86400 s, log)",
        "concurrency limit a: tabs (9 at once, block)",
    ] {
        assert!(told.contains(what), "{what}\n{told}");
    }
    assert_eq!(statuses(&node, "192.0.2.1", "/", 2)?, [200, 429], "a dry run changes nothing");
    node.finish_healthy()
}

#[cfg(feature = "fault-injection")]
#[test]
fn limits_of_the_zone_before_hold_while_the_change_breaks() -> Result<()> {
    use super::super::rig::HOST;

    let origin = saying("answer")?;
    let node = node(&zone(&origin, &a_day("pages", 2, "")))?;
    assert_eq!(statuses(&node, "192.0.2.1", "/", 1)?, [200]);
    let broken = testkit::node::zone_toml("a", &[HOST, "shield-panic.fault.invalid"], &[&origin.url()]);
    node.write_zone("a", &format!("{broken}{}", a_day("pages", 2, "")))?;
    assert!(node.publish()?.status.success());
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 200);
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 429, "counted once each, though measured twice");
    super::finish_warned(node, &["phase_broke", "panic"])
}
