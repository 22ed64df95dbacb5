//! OWASP CRS as it comes: its regression cases over the socket, and everyday traffic that it must not refuse.
//!
//! Finds CRS by `REMPART_CRS` and says so when it is not set. The cases in process are `seclang`'s; here each
//! goes as bytes through HTTP, the firewall in log mode and an origin, and is judged by the access log.

mod everyday;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use serde_json::Value;
use testkit::crs::{self, Case, Stage};
use testkit::node::Node;
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::visitor::Visitor;

use super::{ATTACK, both, ids, logged, multipart, post, trace};
use crate::rig::{HOST, cleartext, fields, http2_visitor, start, visitor};

/// What CRS's own suite sets beside its setup file: readers of bodies, and limits.
const SUITE: &str = include_str!("suite.conf");

/// Threads that send the cases.
const THREADS: usize = 4;

/// Cases whose rules do not see the request because the reader of HTTP refuses it by name, outside of the
/// group 920, where that is what the cases want: with the reason.
const REFUSED_BEFORE: &[(&str, &str)] = &[
    ("934120-23", BYTES),
    ("934120-24", BYTES),
    ("934120-25", BYTES),
    ("934120-26", BYTES),
    ("934120-39", BYTES),
];

const BYTES: &str = "its target has bytes from 0x80 on, which RFC 3986 §2 has no place for: 400";

/// Cases that differ otherwise, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("920100-16", "its target is `http://localhost`: rules see the origin form that the origin gets, `/`"),
    ("920620-1", "wants two Content-Type fields joined into one; it fails in process too"),
    (
        "934210-13",
        "wants the name of an array in JSON to end the names of its elements; it fails in process too",
    ),
];

/// Answers as the suite's origin does: `/reflect` is told what.
fn reflecting() -> Result<ScriptedOrigin> {
    OriginSpec::new().unrecorded().answering(|request| {
        let asked = crs::Request {
            target: request.target.as_bytes().to_vec(),
            body: request.body.clone(),
            ..crs::Request::default()
        };
        let reply = crs::reply(&asked);
        let mut answer = Answer::new(reply.status).part(reply.body);
        for (name, value) in reply.headers {
            if !name.eq_ignore_ascii_case("content-length") {
                answer = answer.field(&name, value);
            }
        }
        answer
    })
}

fn zone_of(crs: &Path, origin: &ScriptedOrigin, hostname: &str, waf: &str, more: &str) -> String {
    format!(
        "name = \"a\"\nhostnames = [{hostname:?}]\n\n\
         [waf]\nrules = [\"../waf/before.conf\", {crs:?}]\n{waf}\n\n\
         [[pool]]\nname = \"app\"\norigins = [{{ url = {:?} }}]\n\n{more}",
        origin.url()
    )
}

/// Which case and stage, the status, the id in the log, the trace.
type Sent = (usize, usize, Option<u16>, Option<String>, String);

/// What one stage came to.
struct Seen {
    status: Option<u16>,
    line: Option<Value>,
    text: String,
}

/// Sends a request as bytes; the id under which the log has it, and the status.
fn send(node: &Node, stage: &Stage) -> Result<(Option<u16>, Option<String>)> {
    let mut visitor = Visitor::tcp(node.address("http")?)?;
    // A refusal may close the connection before all is sent.
    let _all_or_not = visitor.send(&stage.bytes);
    let method = String::from_utf8_lossy(&stage.request.method).into_owned();
    let head = match visitor.read_head(&method) {
        Ok(Some(head)) => head,
        _ => return Ok((None, None)),
    };
    Ok((Some(head.status), head.fields.first("x-request-id").map(str::to_owned)))
}

/// Whether the log shows what a pattern of the suite asks for. They are few, and plain but for their escapes.
fn shows(pattern: &str, ids: &[&str], text: &str) -> bool {
    if pattern.contains("922130") {
        return ids.contains(&"922130");
    }
    if pattern.starts_with(r#"\[id "\d+"#) {
        return !ids.is_empty();
    }
    let plain = pattern.replace('\\', "");
    plain.trim().split(".*").all(|part| text.contains(part.trim_end_matches(':')))
}

fn judge(stage: &Stage, seen: &Seen) -> Vec<String> {
    let ids = seen.line.as_ref().map(ids).unwrap_or_default();
    let mut wrong = Vec::new();
    for id in &stage.expect_ids {
        if !ids.contains(&id.to_string().as_str()) {
            wrong.push(format!("{id} is not in the log"));
        }
    }
    for id in &stage.no_expect_ids {
        if ids.contains(&id.to_string().as_str()) {
            wrong.push(format!("{id} is in the log"));
        }
    }
    if let Some(pattern) = stage.match_regex.as_ref().filter(|pattern| !shows(pattern, &ids, &seen.text)) {
        wrong.push(format!("`{pattern}` is not in the log"));
    }
    if let Some(pattern) = stage.no_match_regex.as_ref().filter(|pattern| shows(pattern, &ids, &seen.text)) {
        wrong.push(format!("`{pattern}` is in the log"));
    }
    if let Some(status) = stage.status.filter(|status| seen.status != Some(*status)) {
        wrong.push(format!("the status is {:?} and not {status}", seen.status));
    }
    if stage.expect_error && seen.status.is_some_and(|status| status < 400) {
        wrong.push("it is answered".to_owned());
    }
    wrong
}

/// The name of the refusal, where the request did not come to the rules.
fn refusal(seen: &Seen) -> Option<String> {
    match &seen.line {
        None => Some("no answer".to_owned()),
        Some(line) => {
            let verdict = line["verdict"].as_str().unwrap_or_default();
            (line["waf"].is_null() && verdict != "pass").then(|| verdict.to_owned())
        }
    }
}

#[test]
fn the_regression_cases_come_to_the_same_over_the_socket() -> Result<()> {
    let Some(folder) = crs::folder() else { return Ok(()) };
    let cases = crs::read(&folder)?;
    assert!(cases.len() >= 5_003, "{} cases", cases.len());
    let origin = reflecting()?;
    let waf = "mode = \"log\"\ninspect_responses = true\n";
    let times = "[http]\nbody_idle_ms = 500\nheader_ms = 2000\n";
    let toml = zone_of(&folder, &origin, "*", waf, times);
    let node = start(&cleartext().file("waf/before.conf", SUITE).zone("a", toml))?;
    let next = AtomicUsize::new(0);
    let sent: Mutex<Vec<Sent>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    for (number, stage) in case.stages.iter().enumerate() {
                        let (status, id) = send(&node, stage).expect("a connection");
                        let asks = stage.match_regex.is_some() || stage.no_match_regex.is_some();
                        let text = match (&id, asks) {
                            (Some(id), true) => {
                                let told = node.command(&["trace", id]).expect("a trace");
                                String::from_utf8_lossy(&told.stdout).into_owned()
                            }
                            _ => String::new(),
                        };
                        sent.lock().expect("no panic").push((at, number, status, id, text));
                    }
                }
            });
        }
    });
    let sent = sent.into_inner().expect("no panic");
    let answered = sent.iter().filter(|(_, _, _, id, _)| id.is_some()).count();
    node.wait_until("the log is whole", || {
        node.log_lines()
            .is_ok_and(|lines| lines.iter().filter(|line| !line["request_id"].is_null()).count() >= answered)
    })?;
    let lines: BTreeMap<String, Value> = node
        .log_lines()?
        .into_iter()
        .filter_map(|line| Some((line["request_id"].as_str()?.to_owned(), line)))
        .collect();
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    for (at, number, status, id, text) in sent {
        let case: &Case = &cases[at];
        let line = id.and_then(|id| lines.get(&id).cloned());
        let seen = Seen { status, line, text };
        let judged = judge(&case.stages[number], &seen);
        if judged.is_empty() {
            continue;
        }
        match refusal(&seen) {
            Some(name) => {
                refused.insert(&case.id, name);
            }
            None => wrong.entry(&case.id).or_default().extend(judged),
        }
    }
    let in_920 = refused.iter().filter(|(id, _)| id.starts_with("920")).count();
    let others: Vec<(&&str, &String)> = refused.iter().filter(|(id, _)| !id.starts_with("920")).collect();
    eprintln!(
        "{} of {} cases as expected; refused by name before the rules: {in_920} of the group 920 and {} \
         others; \
         {} differ",
        cases.len() - refused.len() - wrong.len(),
        cases.len(),
        others.len(),
        wrong.len()
    );
    eprintln!(
        "refused in 920: {:?}",
        refused.iter().filter(|(id, _)| id.starts_with("920")).collect::<Vec<_>>()
    );
    let is_known = |list: &[(&str, &str)], id: &str| list.iter().any(|(known, _)| *known == id);
    let new: Vec<_> = others.iter().filter(|(id, _)| !is_known(REFUSED_BEFORE, id)).collect();
    let differ: Vec<_> = wrong.iter().filter(|(id, _)| !is_known(EXCEPTIONS, id)).collect();
    assert!(new.is_empty() && differ.is_empty(), "refused: {new:#?}\ndiffer: {differ:#?}");
    let healed: Vec<&str> = REFUSED_BEFORE
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| !refused.contains_key(id))
        .chain(EXCEPTIONS.iter().map(|(id, _)| *id).filter(|id| !wrong.contains_key(id)))
        .collect();
    assert_eq!(healed, Vec::<&str>::new(), "listed, and as expected");
    node.finish_healthy()
}

/// A node before CRS in block mode at a paranoia level.
fn blocking(crs: &Path, origin: &ScriptedOrigin, more: &str) -> Result<Node> {
    let waf = format!("mode = \"block\"\ninspect_responses = true\n{more}");
    start(&cleartext().file("waf/before.conf", "").zone("a", zone_of(crs, origin, HOST, &waf, "")))
}

fn browser(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let usual = [
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"),
        ("Referer", "https://a.example/catalogue/lamps?page=2"),
    ];
    usual.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn everyday_traffic_is_not_refused_at_level_one_and_attacks_are() -> Result<()> {
    let Some(folder) = crs::folder() else { return Ok(()) };
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/leak" => Answer::ok(
            "You have an error in your SQL syntax; check the manual that corresponds to your MySQL",
        )
        .field("Content-Type", "text/html"),
        _ => Answer::ok("<p>answer</p>").field("Content-Type", "text/html"),
    })?;
    let node = blocking(&folder, &origin, "")?;
    let (upload, large) = multipart("a holiday", "beach.jpg", &vec![0xe7; 3_000_000]);
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    for (method, target, kind, body) in [
        ("GET", "/", "", &b""[..]),
        ("GET", "/catalogue/lamps?page=3&sort=price&q=desk+lamp", "", b""),
        ("GET", "/search?q=select+a+lamp+from+the+catalogue", "", b""),
        ("HEAD", "/style.css?v=1.2.3", "", b""),
        ("OPTIONS", "/api/items", "", b""),
        (
            "POST",
            "/checkout",
            form,
            b"name=Ada+Lovelace&street=12+St+James%27s+Square&zip=SW1Y+4JH&note=Please+ring",
        ),
        (
            "POST",
            "/wp-admin/post.php",
            form,
            b"post_ID=7&post_title=Autumn&content=A+walk+in+the+woods&action=editpost",
        ),
        (
            "POST",
            "/api/items",
            json,
            br#"{"name":"Lamp","tags":["desk","warm light"],"price":49.9,"note":"Fits E27."}"#,
        ),
        (
            "POST",
            "/graphql",
            json,
            br#"{"query":"query Item($id: ID!) { item(id: $id) { name price } }","variables":{"id":"7"}}"#,
        ),
        ("POST", "/upload", upload.as_str(), &large),
    ] {
        let mut pairs = browser(&[]);
        if !kind.is_empty() {
            pairs.push(("Content-Type".to_owned(), kind.to_owned()));
        }
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for response in both(&node, method, target, &pairs, body)? {
            assert_eq!(response.status, 200, "{method} {target} {}", response.text());
        }
    }
    let pairs = browser(&[]);
    let pairs: Vec<(&str, &str)> =
        pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for target in [
        format!("/sqli?{ATTACK}"),
        "/attack?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/attack?file=../../../../etc/passwd".to_owned(),
        "/attack?cmd=;cat%20/etc/passwd".to_owned(),
        "/leak".to_owned(),
    ] {
        for response in both(&node, "GET", &target, &pairs, b"")? {
            assert_eq!(response.status, 403, "{target}");
        }
    }
    let line = logged(&node, "/sqli")?;
    assert!(ids(&line).contains(&"942100") && ids(&line).contains(&"949110"), "{line}");
    assert!(line["score"].as_u64() >= Some(5), "{line}");
    let told = trace(&node, &line)?;
    assert!(told.contains("REQUEST-942-APPLICATION-ATTACK-SQLI.conf") && told.contains("ARGS:id"), "{told}");
    assert!(told.contains("[[waf.exception]]\npath = \"/sqli\"\nrules = [942100"), "{told}");
    assert_eq!(post(&node, "/", json, br#"{"id":"1' OR '1'='1"}"#)?.status, 403);
    assert_eq!(http2_visitor(&node)?.ask("GET", "/", HOST, &fields(&lower(&pairs)), b"")?.status, 200);
    node.finish_healthy()
}

fn lower<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let names = ["user-agent", "accept", "accept-language", "accept-encoding", "cookie", "referer"];
    names.into_iter().zip(pairs).map(|(name, (_, value))| (name, *value)).collect()
}

#[test]
fn the_zone_chooses_level_and_threshold() -> Result<()> {
    let Some(folder) = crs::folder() else { return Ok(()) };
    let origin = crate::rig::saying("answer")?;
    // A rule of level 3: a request without an Accept field.
    let asked = |node: &Node, query: &str| -> Result<u16> {
        let pairs = fields(&[("User-Agent", "Mozilla/5.0"), ("Accept", "*/*")]);
        Ok(visitor(node)?.ask("GET", &format!("/?q={query}"), HOST, &pairs, b"")?.status)
    };
    let odd = "a%3Bb%7Cc%26d"; // characters that only the higher levels mind
    let node = blocking(&folder, &origin, "")?;
    assert_eq!(asked(&node, odd)?, 200);
    node.finish_healthy()?;
    let node = blocking(&folder, &origin, "paranoia = 4\n")?;
    assert_eq!(asked(&node, odd)?, 403);
    node.finish_healthy()?;
    let node = blocking(&folder, &origin, "inbound_threshold = 1000\n")?;
    assert_eq!(asked(&node, "%3Cscript%3Ealert(1)%3C/script%3E")?, 200);
    assert!(ids(&node.wait_for_log(|line| line["path"] == "/")?).contains(&"941100"));
    node.finish_healthy()
}
