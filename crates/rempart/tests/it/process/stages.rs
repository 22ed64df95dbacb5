//! A change's stages: what is put back, refused, shown, tried on a share, watched, confirmed, withdrawn.

use anyhow::Result;
use rustix::process::Signal;
use testkit::node::{Node, NodeSpec};

use super::{answers, body, start, status};

/// A node that watches changes for ten minutes.
fn watching() -> Result<Node> {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 0\n";
    start(&NodeSpec::new().listener("http").more(publish).zone("a", answers("a", "one")))
}

/// A zone of its own name and host that answers with a text.
fn named(name: &str, text: &str) -> String {
    answers(name, text).replace('*', &format!("{name}.example"))
}

fn run(node: &Node, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = node.command(arguments).expect("it can be told");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_zone_with_problems_is_put_back_and_named_and_the_rest_goes_ahead() {
    let node = start(
        &NodeSpec::new().zone("a", answers("a", "one")).zone("b", named("b", "x")).zone("c", named("c", "x")),
    )
    .unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    node.write_zone("b", &(named("b", "y") + "colour = 1\n")).unwrap();
    node.write_zone("d", "name = 3\n").unwrap();
    let (code, out, problems) = run(&node, &["publish"]);
    assert_eq!((code, out.as_str()), (Some(1), "snapshot 2 is live: 3 zones\n"), "{problems}");
    assert!(problems.contains("zones/b.toml:5:1") && problems.contains("zones/d.toml:1:"), "{problems}");
    assert!(problems.contains("b.toml has problems: its zone is served as before"), "{problems}");
    assert_eq!(body(&node).unwrap(), "two");
    let published = node.wait_for_event(|event| event["event"] == "published").unwrap();
    assert!(published["put_back"].as_str().unwrap().contains("b.toml"), "{published}");
}

#[test]
fn a_zone_is_put_back_with_what_it_is_made_from_and_the_rest_goes_ahead() {
    let list = "[[list]]\nname = \"l\"\nkind = \"ip\"\nfile = \"../lists/l.txt\"\n\
                [[rule]]\nexpression = 'ip.src in $l'\naction = \"block\"\n";
    let firewall = "[waf]\nmode = \"block\"\nrules = [\"../waf\"]\n";
    let rule = |variable: &str| format!("SecRule {variable} \"@contains evil\" \"id:1,phase:1,deny\"\n");
    for (file, whole, broken, lines) in [
        ("lists/l.txt", "127.0.0.0/8\n".to_owned(), "no address\n".to_owned(), list),
        ("waf/own.conf", rule("ARGS"), rule("ARGZ"), firewall),
    ] {
        let zone = named("b", "x") + lines;
        let spec = NodeSpec::new().zone("a", answers("a", "one")).zone("b", &*zone);
        let node = start(&spec.file(file, whole.clone())).unwrap();
        let refuses = || {
            let close = testkit::fields::Fields::of(&[("Connection", "close")]);
            let mut visitor = testkit::visitor::Visitor::tcp(node.address("http").unwrap()).unwrap();
            visitor.ask("GET", "/?q=evil", "b.example", &close, b"").unwrap().status == 403
        };
        assert!(refuses(), "{file}");

        node.folder().write(file, broken).unwrap();
        node.write_zone("a", &answers("a", "two")).unwrap();
        let (code, out, problems) = run(&node, &["publish"]);
        assert_eq!((code, out.as_str()), (Some(1), "snapshot 2 is live: 2 zones\n"), "{problems}");
        assert!(problems.contains("b.toml has problems: its zone is served as before"), "{problems}");
        assert!(problems.contains(file), "{problems}");
        assert!(body(&node).unwrap() == "two" && refuses(), "{file}");

        // Broken itself, it keeps its files too.
        node.folder().write(file, whole).unwrap();
        node.write_zone("b", &(zone.clone() + "colour = 1\n")).unwrap();
        node.write_zone("a", &answers("a", "three")).unwrap();
        let (code, out, problems) = run(&node, &["publish"]);
        assert_eq!((code, out.as_str()), (Some(1), "snapshot 3 is live: 2 zones\n"), "{problems}");
        assert!(body(&node).unwrap() == "three" && refuses(), "{file}");

        node.write_zone("b", &zone).unwrap();
        let (code, _, problems) = run(&node, &["publish"]);
        assert_eq!(code, Some(0), "{problems}");
    }
}

#[test]
fn a_change_that_removes_too_much_is_refused_without_a_word() {
    let node = start(
        &NodeSpec::new().zone("a", answers("a", "one")).zone("b", named("b", "x")).zone("c", named("c", "x")),
    )
    .unwrap();
    for name in ["b", "c"] {
        std::fs::remove_file(node.folder().path().join(format!("zones/{name}.toml"))).unwrap();
    }
    let (code, _, why) = run(&node, &["publish"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("2 of 3 zones would go, over 50 %"), "{why}");
    assert_eq!(status(&node).unwrap()["zones"].as_array().unwrap().len(), 3);
    let (code, out, _) = run(&node, &["publish", "--allow-removals"]);
    assert_eq!((code, out.as_str()), (Some(0), "snapshot 2 is live: 1 zone\n"));
}

#[test]
fn a_dry_run_shows_what_would_change_and_changes_nothing() {
    let node = start(&NodeSpec::new().listener("http").zone("a", answers("a", "one"))).unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    node.write_zone("b", &named("b", "x")).unwrap();
    let (code, out, _) = run(&node, &["publish", "--dry-run"]);
    assert_eq!(code, Some(0));
    assert_eq!(out, "+ zone b\n+ hostname b: b.example\n+ route b: #1\n~ zone a\n");
    assert_eq!((body(&node).unwrap().as_str(), &status(&node).unwrap()["snapshot"]), ("one", &1.into()));
    let (_, out, _) = run(&node, &["publish"]);
    assert_eq!(out, "snapshot 2 is live: 2 zones\n");
    let (_, out, _) = run(&node, &["publish", "--dry-run"]);
    assert_eq!(out, "nothing would change\n");
    let file = node.folder().path().join("rempart.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "\n[[listener]]\naddress = \"127.0.0.2:0\"\nprotocol = \"http\"\n").unwrap();
    let (_, out, _) = run(&node, &["publish", "--dry-run"]);
    assert_eq!(out, "+ listener 127.0.0.2:0 (http): at the next start\n");
}

#[test]
fn a_change_that_is_not_confirmed_is_taken_back() {
    let node = watching().unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    let (code, out, _) = run(&node, &["publish", "--confirm-within", "1"]);
    assert_eq!(code, Some(0), "{out}");
    let told = node.wait_for_event(|event| event["event"] == "withdrawn").unwrap();
    assert_eq!((&told["snapshot"], &told["serves"]), (&2.into(), &1.into()));
    assert_eq!(body(&node).unwrap(), "one");
    // It does not come again by itself: neither by a publish without a deadline nor at the next start.
    let (code, _, why) = run(&node, &["publish"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("withdrawn before: it was not confirmed in time"), "{why}");
    assert_eq!(status(&node).unwrap()["rejected"][0]["number"], 2);
    assert_eq!(body(&node).unwrap(), "one");
    let (code, out, _) = run(&node, &["publish", "--again", "--confirm-within", "600"]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(run(&node, &["confirm"]).0, Some(0));
    assert_eq!(run(&node, &["confirm"]).0, Some(1), "nothing waits any more");
    assert_eq!(body(&node).unwrap(), "two");
}

#[test]
fn a_change_can_be_withdrawn_by_hand_and_is_remembered() {
    let node = watching().unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert_eq!(run(&node, &["publish"]).0, Some(0));
    assert_eq!(status(&node).unwrap()["publishing"]["stage"], "soaking");
    assert_eq!(status(&node).unwrap()["last_good"], 1);
    assert_eq!(run(&node, &["withdraw"]).1, "withdrawn; snapshot 1 is live\n");
    assert_eq!(body(&node).unwrap(), "one");
    let (code, _, why) = run(&node, &["publish"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("withdrawn before: by hand") && why.contains("--again"), "{why}");
    let (code, out, _) = run(&node, &["publish", "--again"]);
    assert_eq!((code, out.as_str()), (Some(0), "snapshot 3 is live: 1 zone\n"));
    assert_eq!(body(&node).unwrap(), "two");
    node.wait_for_event(|event| {
        event["event"] == "publish_refused" && event["cause"].to_string().contains("withdrawn before")
    })
    .unwrap();
    // The candidate that read them, and was not asked any further, is no alarm.
    node.finish_healthy_but_for(&["withdrawn", "publish_refused"]).unwrap();
}

#[test]
fn what_is_last_good_may_be_published_again_after_a_withdrawal_of_the_same_files() {
    let node = watching().unwrap();
    for text in ["two", "one"] {
        node.write_zone("a", &answers("a", text)).unwrap();
        assert_eq!(run(&node, &["publish"]).0, Some(0));
    }
    assert_eq!(run(&node, &["withdraw"]).1, "withdrawn; snapshot 2 is live\n");
    assert_eq!(status(&node).unwrap()["last_good"], 1);
    let (code, _, why) = run(&node, &["publish"]);
    assert_eq!((code, body(&node).unwrap().as_str()), (Some(0), "one"), "{why}");
}

#[test]
fn the_spare_stands_ready_with_what_serves_after_a_withdrawal() {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 0\n";
    let spec = NodeSpec::new().node_section("threads = 1\nspare = true").listener("http").more(publish);
    let node = start(&spec.zone("a", answers("a", "one"))).unwrap();
    node.wait_for_events("spare_ready", 1).unwrap();
    // The first is watched itself when the second comes, and again when that is withdrawn.
    for (snapshot, text) in [(2, "two"), (3, "three")] {
        node.write_zone("a", &answers("a", text)).unwrap();
        assert_eq!(run(&node, &["publish"]).0, Some(0));
        node.wait_for_event(|event| event["event"] == "spare_ready" && event["snapshot"] == snapshot)
            .unwrap();
    }
    assert_eq!(run(&node, &["withdraw"]).0, Some(0));
    node.wait_until("the spare stands ready with what serves", || {
        let status = status(&node).expect("it can be told");
        let processes = status["processes"].as_array().expect("it can be told");
        let spare = processes.iter().find(|process| process["does"] == "spare").expect("there is one");
        (&status["snapshot"], &spare["snapshot"]) == (&2.into(), &2.into())
    })
    .unwrap();
}

#[test]
fn a_change_that_the_edge_crashes_with_while_it_is_watched_is_withdrawn() {
    let node = watching().unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert_eq!(run(&node, &["publish"]).0, Some(0));
    let edge = status(&node).unwrap()["edge_pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(edge).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::ABORT).unwrap();
    let told = node.wait_for_event(|event| event["event"] == "withdrawn").unwrap();
    assert_eq!((&told["snapshot"], &told["serves"]), (&2.into(), &1.into()));
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    assert_eq!(body(&node).unwrap(), "one");
    assert_eq!(status(&node).unwrap()["rejected"][0]["number"], 2);
    assert_eq!(run(&node, &["publish"]).0, Some(1));
}

#[test]
fn a_kill_from_outside_does_not_withdraw_what_is_watched() {
    let node = watching().unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert_eq!(run(&node, &["publish"]).0, Some(0));
    super::kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    assert_eq!(body(&node).unwrap(), "two");
    assert_eq!(status(&node).unwrap()["publishing"]["stage"], "soaking");
}

#[test]
fn a_candidate_serves_a_share_before_the_change_is_live() {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 300\nsoak_ms = 0\n";
    let node = start(&NodeSpec::new().listener("http").more(publish).zone("a", answers("a", "one"))).unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    let (code, out, problems) = run(&node, &["publish", "--wait"]);
    assert_eq!(code, Some(0), "{problems}");
    assert!(out.contains("canary: ") && out.contains("1 probe and time decide"), "{out}");
    assert!(out.contains("snapshot 2 is live: 1 zone"), "{out}");
    assert_eq!(body(&node).unwrap(), "two");
    node.wait_for_event(|event| event["event"] == "too_few_requests").unwrap();
    node.finish_healthy().unwrap();
}

/// Publishes a zone that does something to whoever compiles or loads it; gives why it was refused.
fn publish_fault(node: &Node, hostname: &str) -> String {
    node.write_zone("b", &answers("b", "x").replace('*', &format!("{hostname}.fault.invalid")))
        .expect("it can be told");
    let (code, _, why) = run(node, &["publish"]);
    assert_eq!(code, Some(1), "{hostname}: {why}");
    assert_eq!(body(node).expect("it can be told"), "one", "{hostname}");
    why
}

#[test]
fn a_change_that_kills_its_compiler_kills_the_candidate_alone_and_is_remembered() {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = 0\n\
                   compile_cpu_s = 1\ncompile_memory_bytes = \
         \"300MiB\"\n";
    let node = start(&NodeSpec::new().listener("http").more(publish).zone("a", answers("a", "one"))).unwrap();
    let edge = status(&node).unwrap()["edge_pid"].clone();
    for fault in
        ["compile-panic", "compile-overflow", "compile-memory", "compile-hang", "load-panic", "load-abort"]
    {
        let why = publish_fault(&node, fault);
        assert!(why.contains("withdrawn: ") || why.contains("panicked"), "{fault}: {why}");
        if fault == "compile-hang" {
            // Ended by its processor time, not by the clock that waits for it.
            assert!(why.contains("more processor time than [publish] compile_cpu_s"), "{why}");
        }
        let again = publish_fault(&node, fault);
        assert!(again.contains("withdrawn before"), "{fault}: {again}");
    }
    assert_eq!(status(&node).unwrap()["edge_pid"], edge);
}

#[test]
fn a_change_that_fails_its_share_of_visitors_is_withdrawn_before_the_others_see_it() {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 300\nsoak_ms = 0\n";
    let node = start(&NodeSpec::new().listener("http").more(publish).zone("a", answers("a", "one"))).unwrap();
    let why = publish_fault(&node, "serve-500");
    assert!(why.contains("withdrawn"), "{why}");
}

#[test]
fn an_emergency_block_refuses_at_once_survives_a_restart_and_can_be_taken_back() {
    let node = start(&NodeSpec::new().listener("http").zone("a", answers("a", "one"))).unwrap();
    assert_eq!(run(&node, &["block", "127.0.0.0/8", "--for", "600", "--reason", "scraper"]).0, Some(0));
    assert!(body(&node).unwrap().contains("blocked"));
    assert!(run(&node, &["blocks"]).1.starts_with("127.0.0.0/8  "), "it is listed");
    super::kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    assert!(body(&node).unwrap().contains("blocked"), "the next edge knows it");
    assert_eq!(run(&node, &["unblock", "127.0.0.0/8"]).0, Some(0));
    assert_eq!(body(&node).unwrap(), "one");
    let (code, _, why) = run(&node, &["block", "0.0.0.0/0"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("too many visitors"), "{why}");
}

/// A kept connection from an address, and what it is answered.
struct From(std::net::TcpStream);

impl From {
    fn connect(from: [u8; 4], to: std::net::SocketAddr) -> Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&std::net::SocketAddr::from((from, 0)).into())?;
        socket.connect(&to.into())?;
        Ok(Self(socket.into()))
    }

    fn ask(&mut self) -> Result<String> {
        use std::io::{Read as _, Write as _};
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")?;
        let mut answer = Vec::new();
        // The bodies have three bytes.
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") || !answer.ends_with(b"!") {
            let mut some = [0; 1024];
            let read = self.0.read(&mut some)?;
            anyhow::ensure!(read > 0, "the connection ended after {} bytes", answer.len());
            answer.extend_from_slice(&some[..read]);
        }
        Ok(String::from_utf8_lossy(&answer[answer.len() - 3..]).into_owned())
    }
}

/// Looks for a visitor of the candidate while a change is published: one that is answered with the new text
/// while the change is still on trial, so that nobody else can have said it.
fn visitor_of_candidate(node: &Node, address: std::net::SocketAddr, text: &str) -> Option<From> {
    node.write_zone("a", &answers("a", text)).expect("it can be told");
    std::thread::scope(|scope| {
        let published = scope.spawn(|| run(node, &["publish"]));
        let mut kept = None;
        for net in (0..=255).cycle().take_while(|_| !published.is_finished()) {
            let mut visitor = From::connect([127, 3, net, 1], address).expect("it can be told");
            let answer = visitor.ask().expect("it can be told");
            let is_on_trial = || status(node).expect("it can be told")["publishing"]["stage"] == "canary";
            if answer == text && is_on_trial() {
                kept = Some(visitor);
                break;
            }
        }
        assert_eq!(published.join().expect("it can be told").0, Some(0));
        kept
    })
}

#[test]
fn visitors_of_the_candidate_see_the_change_first_and_are_not_cut_when_it_goes() {
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 500\nsoak_ms = 0\n";
    let node = start(&NodeSpec::new().listener("http").more(publish).zone("a", answers("a", "ol!"))).unwrap();
    let address = node.address("http").unwrap();
    // A busy machine may let a trial pass without a visitor: then there is another. The bound is for a hang.
    let mut texts = (0..100).map(|round| format!("{round:02}!"));
    let (mut kept, text) = texts
        .find_map(|text| Some((visitor_of_candidate(&node, address, &text)?, text)))
        .expect("a visitor of the candidate");
    assert_eq!(body(&node).unwrap(), text);
    assert_eq!(kept.ask().unwrap(), text, "the candidate serves its visitors to their end");
    node.finish_healthy().unwrap();
}
