//! Purges: by each kind, soft and hard, at once, and against what is still being fetched.

use testkit::gate::Gate;
use testkit::message::BodyReader;

use super::*;

fn purge(node: &Node, arguments: &[&str]) -> Result<String> {
    let output = node.command(&[&["purge"], arguments].concat())?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{told}");
    assert_eq!(told, "");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A node with answers at these targets, each stored.
fn filled(origin: &ScriptedOrigin, targets: &[&str]) -> Result<Node> {
    let node = before(origin, "")?;
    for target in targets {
        get(&node, target)?;
        assert!(is_hit(&get(&node, target)?), "{target}");
    }
    Ok(node)
}

#[test]
fn each_kind_of_purge_takes_what_it_names_and_nothing_else() -> Result<()> {
    let origin = counting(|request, answer| {
        let tag = if request.path().starts_with("/img/") { "pictures, all" } else { "all" };
        answer.field("Cache-Control", "max-age=60").field("Cache-Tag", tag)
    })?;
    let targets = ["/a", "/a?b=1", "/img/1", "/img/2", "/other"];
    let node = filled(&origin, &targets)?;
    let url = |target: &str| format!("https://{HOST}{target}");
    for (arguments, gone) in [
        (vec!["--url".to_owned(), url("/a")], vec!["/a"]),
        (vec!["--prefix".to_owned(), url("/img/")], vec!["/img/1", "/img/2"]),
        (vec!["--tag".to_owned(), "pictures".to_owned()], vec!["/img/1", "/img/2"]),
        (vec!["--tag".to_owned(), "all".to_owned(), "--zone".to_owned(), "a".to_owned()], targets.to_vec()),
        (vec!["--host".to_owned(), HOST.to_uppercase()], targets.to_vec()),
        (vec!["--zone".to_owned(), "a".to_owned()], targets.to_vec()),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert!(purge(&node, &arguments)?.contains("is purged"));
        for target in targets {
            let answer = get(&node, target)?;
            assert_eq!(is_hit(&answer), !gone.contains(&target), "{arguments:?} {target}");
            assert!(!answer.fields.has("cache-tag"), "that is for the cache alone");
        }
    }
    node.wait_for_events("purged", 6)?;
    node.finish_healthy()
}

#[test]
fn a_purge_takes_all_variants_of_a_url() -> Result<()> {
    let origin =
        counting(|_, answer| answer.field("Cache-Control", "max-age=60").field("Vary", "Accept-Language"))?;
    let node = before(&origin, "")?;
    let ask = |language: &str| with(&node, "/a", &[("Accept-Language", language)]);
    for language in ["de", "fr"] {
        ask(language)?;
        assert!(is_hit(&ask(language)?));
    }
    purge(&node, &["--url", &format!("{HOST}/a")])?;
    assert!(!is_hit(&ask("de")?) && !is_hit(&ask("fr")?));
    node.finish_healthy()
}

#[test]
fn a_soft_purge_leaves_what_bridges_a_failure() -> Result<()> {
    let origin = fresh()?;
    let node = filled(&origin, &["/a", "/b"])?;
    purge(&node, &["--soft", "--zone", "a"])?;
    assert_eq!(get(&node, "/a")?.text(), "answer 2");
    origin.go_down();
    assert_eq!(get(&node, "/b")?.text(), "answer 1");
    purge(&node, &["--zone", "a"])?;
    assert_eq!(get(&node, "/b")?.status, 502);
    node.finish_healthy()
}

#[test]
fn a_purge_holds_against_a_fetch_that_is_under_way() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin =
        counting(move |_, answer| answer.field("Cache-Control", "max-age=60").wait(&held).part("!"))?;
    let node = before(&origin, "")?;
    let mut visitor = ask(&node, "/a")?;
    let head = visitor.read_head("GET")?.context("a head")?;
    purge(&node, &["--url", &format!("http://{HOST}/a")])?;
    gate.open_for_good();
    // Whoever has it under way has it to its end; it answers nobody else.
    let (mut body, mut whole) = (BodyReader::new(head.framing), Vec::new());
    while let Some(part) = visitor.body_part(&mut body)? {
        whole.extend(part);
    }
    assert_eq!(whole, b"answer 0!");
    drop(visitor);
    assert_eq!(get(&node, "/a")?.text(), "answer 1!");
    node.finish_healthy()
}

#[test]
fn what_names_nothing_is_refused_with_the_reason() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "")?;
    for (arguments, reason) in [
        (["--url", "https://nobody.example/"], "no zone serves"),
        (["--zone", "b"], "there is no zone"),
        (["--url", "/a"], "names no host"),
        (["--host", "a.example/x"], "a host has no path"),
    ] {
        let output = node.command(&[&["purge"][..], &arguments[..]].concat())?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(reason), "{arguments:?}: {told}");
    }
    assert!(!node.command(&["purge"])?.status.success(), "what to purge must be said");
    node.finish_healthy()
}

#[test]
fn what_was_stored_under_a_withdrawn_change_is_not_used_again() -> Result<()> {
    let origin = fresh()?;
    let spec = cleartext()
        .more("[cache]\ndisk_bytes = 0\n[publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = 600000")
        .zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    get(&node, "/before")?;
    node.write_zone("a", &format!("{}\n[http]\nwebsocket = false\n", zone(&origin, "")))?;
    assert!(node.publish()?.status.success());
    get(&node, "/during")?;
    assert!(is_hit(&get(&node, "/during")?) && is_hit(&get(&node, "/before")?));
    assert!(node.command(&["withdraw"])?.status.success());
    assert!(!is_hit(&get(&node, "/during")?), "it was stored under what was withdrawn");
    assert!(is_hit(&get(&node, "/before")?));
    let mut node = node;
    node.terminate()?;
    node.wait()?;
    Ok(())
}

#[test]
fn nothing_purged_is_seen_again_however_many_ask_and_purge() -> Result<()> {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    // What was true at the origin before a purge must not be answered after it.
    let truth = std::sync::Arc::new(AtomicU64::new(0));
    let now = std::sync::Arc::clone(&truth);
    let origin = OriginSpec::new().answering(move |_| {
        Answer::ok(now.load(Ordering::SeqCst).to_string()).field("Cache-Control", "max-age=60")
    })?;
    let node = before(&origin, "")?;
    let ends = AtomicBool::new(false);
    let known = AtomicU64::new(0);
    std::thread::scope(|scope| -> Result<()> {
        let visitors: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut visitor = visitor(&node)?;
                    while !ends.load(Ordering::SeqCst) {
                        let least = known.load(Ordering::SeqCst);
                        let said: u64 = visitor.fetch(HOST, "/a")?.text().parse()?;
                        assert!(said >= least, "{said} was purged: at least {least} is true");
                    }
                    Ok(())
                })
            })
            .collect();
        for number in 1..=20 {
            truth.store(number, Ordering::SeqCst);
            purge(&node, &["--url", &format!("{HOST}/a")])?;
            known.store(number, Ordering::SeqCst);
        }
        ends.store(true, Ordering::SeqCst);
        for visitor in visitors {
            visitor.join().map_err(|_| anyhow::anyhow!("a visitor saw what was purged"))??;
        }
        Ok(())
    })?;
    node.finish_healthy()
}
