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

/// A rule under which answers of a path are keyed so.
fn keyed(path: &str, key: &str) -> String {
    format!(
        "[[rule]]\nphase = \"http_request_cache_settings\"\n\
         expression = 'http.request.uri.path eq \"{path}\"'\n\
         action = \"set_cache_settings\"\ncache = {{ key = {{ {key} }} }}\n"
    )
}

/// Rules that leave parameters out, order them, take them in again, and key more than the URL.
fn rules_that_key() -> String {
    let rules = [
        keyed("/none", "query = \"none\""),
        keyed("/only", "query_only = [\"page\"], sort_query = true"),
        keyed("/all", "query = \"all\""),
        keyed("/tenant", "query = \"none\", headers = [\"X-Tenant\"]"),
    ];
    format!("key = {{ query_except = [\"utm_*\"] }}\n{}", rules.concat())
}

#[test]
fn a_purge_of_a_url_reaches_it_under_whatever_key_a_rule_gave_it() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, &rules_that_key())?;
    let tenant = |tenant: &str| with(&node, "/tenant?a=1", &[("X-Tenant", tenant)]);
    for (stored, named, is_same) in [
        ("/none?a=1", "/none?b=2", true),
        ("/only?b=1&page=2", "/only?page=2&b=3", true),
        ("/only?b=1&page=2", "/only?page=3", false),
        ("/all?a=1&utm_x=2", "/all?a=1&utm_x=2", true),
        ("/all?a=1&utm_x=2", "/all?a=2&utm_x=2", false),
        ("/zone?a=1&utm_x=2", "/zone?a=1", true),
        ("/zone?a=1&utm_x=2", "/zone?a=2", false),
    ] {
        until(&node, stored, is_hit)?;
        purge(&node, &["--url", &format!("https://{HOST}{named}")])?;
        assert_eq!(is_hit(&get(&node, stored)?), !is_same, "{stored} by {named}");
    }
    for name in ["a", "b"] {
        tenant(name)?;
        assert!(is_hit(&tenant(name)?));
    }
    purge(&node, &["--url", &format!("https://{HOST}/tenant?c=3")])?;
    assert!(!is_hit(&tenant("a")?) && !is_hit(&tenant("b")?));
    node.finish_healthy()
}

#[test]
fn what_is_posted_takes_what_is_stored_under_a_rules_key() -> Result<()> {
    let origin = fresh()?;
    // Of requests of the signed-in nothing is kept, and what they change is seen by all.
    let signed_in = "[[rule]]\nphase = \"http_request_cache_settings\"\n\
                     expression = 'http.cookie contains \"signed_in\"'\n\
                     action = \"set_cache_settings\"\ncache = { enabled = false }\n";
    let node = before(&origin, &format!("{}{signed_in}", rules_that_key()))?;
    for target in ["/none?a=1", "/only?b=1&page=2", "/zone?a=1&utm_x=2"] {
        for sent in [&[][..], &[("Cookie", "signed_in=1")]] {
            until(&node, target, is_hit)?;
            let posted = visitor(&node)?.ask("POST", target, HOST, &fields(sent), b"")?;
            assert_eq!((posted.status, said(&posted).as_str()), (200, "rempart; fwd=method; detail=method"));
            assert!(!is_hit(&get(&node, target)?), "{target} {sent:?}");
        }
    }
    node.finish_healthy()
}

#[test]
fn what_was_purged_under_another_key_is_not_found_when_the_key_is_changed_back() -> Result<()> {
    let origin = fresh()?;
    let with_rule = zone(&origin, &keyed("/a", "query = \"none\""));
    let node = start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", with_rule.clone()))?;
    let publish = |text: &str| -> Result<()> {
        node.write_zone("a", text)?;
        let published = node.publish()?;
        anyhow::ensure!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
        Ok(())
    };
    until(&node, "/a?b=1", is_hit)?;
    until(&node, "/b", is_hit)?;
    publish(&zone(&origin, ""))?;
    assert!(!is_hit(&get(&node, "/a?b=1")?), "it is keyed in another way");
    purge(&node, &["--url", &format!("https://{HOST}/a?b=1")])?;
    publish(&with_rule)?;
    assert!(!is_hit(&get(&node, "/a?b=1")?), "it was purged meanwhile");
    assert!(is_hit(&get(&node, "/b")?), "nobody purged that");
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

/// One request from a network of its own.
fn ask_from(node: &Node, network: u8, method: &str, target: &str) -> Result<Response> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, network, 1], 0)).into())?;
    socket.connect(&node.address("http")?.into())?;
    let stream = testkit::stream::Stream::from_tcp(socket.into())?;
    Visitor::on(stream).ask(method, target, HOST, &fields(&[]), b"")
}

fn get_from(node: &Node, network: u8, target: &str) -> Result<Response> {
    ask_from(node, network, "GET", target)
}

/// A node that tries a change with half of its visitors, without end; and a network of visitors of each
/// process, the one that serves and the one that tries.
fn trying(origin: &ScriptedOrigin) -> Result<(Node, u8, u8)> {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 600000\nsoak_ms = 0";
    let spec = cleartext().more(&format!("[cache]\ndisk_bytes = 0\n{publish}")).zone("a", zone(origin, ""));
    let node = start(&spec)?;
    node.write_zone("a", &format!("server_timing = true\n{}", zone(origin, "")))?;
    node.reload()?;
    // The change is told by a field that it adds.
    let of_candidate =
        |network| get_from(&node, network, "/").is_ok_and(|answer| answer.fields.has("server-timing"));
    node.wait_until("visitors of the candidate", || (0..60).any(of_candidate))?;
    let serves = (0..60).find(|network| !of_candidate(*network)).context("a network of the edge's")?;
    let tries = (0..60).find(|network| of_candidate(*network)).context("a network of the candidate's")?;
    Ok((node, serves, tries))
}

/// Ends a node in the middle of a change.
fn end(mut node: Node) -> Result<()> {
    node.terminate()?;
    node.wait()?;
    Ok(())
}

#[test]
fn a_purge_reaches_the_process_that_tries_a_change() -> Result<()> {
    let origin = fresh()?;
    let (node, _, tries) = trying(&origin)?;
    get_from(&node, tries, "/a")?;
    let stored = get_from(&node, tries, "/a")?;
    assert!(is_hit(&stored) && stored.fields.has("server-timing"), "{}", said(&stored));
    purge(&node, &["--zone", "a"])?;
    // It hears of it by the log, a moment later.
    node.wait_until("the purge at the candidate", || {
        get_from(&node, tries, "/a")
            .is_ok_and(|answer| answer.fields.has("server-timing") && answer.text() != stored.text())
    })?;
    end(node)
}

#[test]
fn what_visitors_change_at_one_process_is_gone_at_the_one_beside_it() -> Result<()> {
    let origin = fresh()?;
    let (node, serves, tries) = trying(&origin)?;
    for (writer, reader) in [(serves, tries), (tries, serves)] {
        for target in ["/a", "/b"] {
            get_from(&node, reader, target)?;
            assert!(is_hit(&get_from(&node, reader, target)?));
        }
        let stored = get_from(&node, reader, "/a")?.text();
        assert_eq!(ask_from(&node, writer, "POST", "/a")?.status, 200);
        // The supervisor passes it on, a moment later.
        node.wait_until("the change at the other process", || {
            get_from(&node, reader, "/a").is_ok_and(|answer| answer.text() != stored)
        })?;
        assert!(is_hit(&get_from(&node, reader, "/b")?), "nobody changed that");
    }
    end(node)
}

#[test]
fn what_visitors_change_at_an_edge_that_drains_is_gone_at_its_successor() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = counting(move |request, answer| match request.method.as_str() {
        "POST" => answer.wait_before_head(&held),
        _ => answer.field("Cache-Control", "max-age=60"),
    })?;
    let node = before(&origin, "")?;
    let edge = || -> Result<serde_json::Value> {
        let status: serde_json::Value = serde_json::from_slice(&node.command(&["status", "--json"])?.stdout)?;
        Ok(status["edge_pid"].clone())
    };
    let older = edge()?;
    let mut writer = visitor(&node)?;
    writer.send_head("POST", "/a", HOST, &fields(&[("Content-Length", "0")]))?;
    origin.wait_until(|counters| counters.requests == 1)?;
    assert!(node.command(&["upgrade"])?.status.success());
    node.wait_for_events("resumed", 1)?;
    assert_ne!(edge()?, older);
    // The older edge may still have a newcomer or two, and answers none of them from what it has stored.
    let again = |target: &str| -> Result<String> {
        let stored = until(&node, target, is_hit)?.text();
        until(&node, target, |answer| is_hit(answer) && answer.text() == stored)?;
        Ok(stored)
    };
    let (changed, left) = (again("/a")?, again("/b")?);
    gate.open_for_good();
    assert_eq!(writer.expect_response("POST")?.status, 200, "by the edge that drains");
    until(&node, "/a", |answer| is_hit(answer) && answer.text() != changed)?;
    until(&node, "/b", |answer| is_hit(answer) && answer.text() == left)?;
    drop(writer);
    node.finish_healthy()
}
