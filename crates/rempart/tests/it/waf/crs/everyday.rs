//! Everyday traffic before OWASP CRS in block mode at level 1: not one request of it is refused.
//!
//! Four kinds of site, an administration in the manner of WordPress, APIs in JSON and GraphQL, a WebDAV
//! client, large uploads. What CRS leaves to its setup (methods, types of bodies) is set as its own setup
//! file says; where CRS finds fault with what is harmless, as libmodsecurity with the same rules does, there
//! is the exception that `rempart trace` proposes. Attacks among it are refused: the rules are awake. Needs
//! `REMPART_CRS`, and says so.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use testkit::compare::{Way, ensure_same};
use testkit::crs;
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::site::{Site, chat, forum, objects, social};

use super::super::{ids, multipart};
use crate::rig::{HOST, cleartext, fields, http2_visitor, start, visitor};

/// What a site says of itself in CRS's setup: the methods that WebDAV and object stores speak, types of
/// bodies that are files.
const SETUP: &str = include_str!("everyday.conf");

/// Programs like curl send `Expect` with large uploads, which CRS refuses as such.
const AFTER: &str = "SecRuleRemoveById 920450\n";

/// The visitors of the four sites send no type with a body that they have no word for, as few programs do.
const UNTYPED: &str = "[[waf.exception]]\nrules = [920340, 920640]\n";

fn spec(crs: &Path, host: &str, url: &str, waf: &str) -> NodeSpec {
    let rules = format!("rules = [\"../waf/setup.conf\", {crs:?}, \"../waf/after.conf\"]");
    cleartext().file("waf/setup.conf", SETUP).file("waf/after.conf", AFTER).zone(
        "a",
        format!(
            "name = \"a\"\nhostnames = [{host:?}]\n\n[waf]\nmode = \"block\"\n{rules}\n\
             inspect_responses = true\n{waf}\n\n[[pool]]\nname = \"app\"\norigins = [{{ url = {url:?} }}]\n"
        ),
    )
}

/// What was refused, with the rules that refused it.
fn refused(node: &Node) -> Result<Vec<String>> {
    let is_refused = |line: &&Value| line["verdict"].as_str().is_some_and(|verdict| verdict != "pass");
    let told =
        |line: &Value| format!("{} {} {:?} {}", line["method"], line["path"], ids(line), line["verdict"]);
    Ok(node.log_lines()?.iter().filter(is_refused).map(told).collect())
}

fn is_the_same(site: Site, exceptions: &str) -> Result<()> {
    let Some(folder) = crs::folder() else { return Ok(()) };
    let waf = format!("{UNTYPED}{exceptions}");
    let node = start(&spec(&folder, site.hostname, &site.origin.url(), &waf))?;
    let at = node.address("http")?;
    let same = ensure_same(&site, &[Way::Http1(at), Way::Http2(at)]);
    let refused = refused(&node)?;
    assert!(refused.is_empty(), "{refused:#?}");
    same?;
    node.finish_healthy()
}

#[test]
fn nothing_of_a_chat_service_is_refused() -> Result<()> {
    is_the_same(chat::start()?, "")
}

#[test]
fn nothing_of_a_social_timeline_is_refused() -> Result<()> {
    is_the_same(social::start()?, "")
}

#[test]
fn nothing_of_a_forum_is_refused() -> Result<()> {
    is_the_same(forum::start()?, "")
}

#[test]
fn nothing_of_an_object_store_is_refused() -> Result<()> {
    // Names of objects may look like anything.
    let names = "[[waf.exception]]\npath_prefix = \"/bucket\"\nrules = [930100, 930110]\n";
    is_the_same(objects::start()?, names)
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Every request but those of the sites.
const REQUESTS: &str = include_str!("everyday.txt");

/// One request.
struct Sent {
    method: &'static str,
    target: &'static str,
    kind: String,
    body: Vec<u8>,
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The requests of a section.
fn section(name: &str) -> Vec<Sent> {
    let begin = format!("[{name}]");
    let lines = REQUESTS.lines().skip_while(|line| *line != begin).skip(1);
    let mut all: Vec<Sent> = Vec::new();
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if let Some(body) = line.strip_prefix("  ") {
            let sent = all.last_mut().expect("a body follows its request");
            let body = match sent.kind.as_str() {
                "text/calendar" => body.replace("\\r\\n", "\r\n"),
                _ => body.to_owned(),
            };
            sent.body = body.into_bytes();
        } else if let Some((method, rest)) = line.split_once(' ') {
            let (target, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            let (kind, count) = kind.rsplit_once(' ').unwrap_or((kind, ""));
            let (kind, body) = match (kind.strip_suffix(" BYTES"), count.parse()) {
                (Some(kind), Ok(bytes)) => (kind.to_owned(), noise(bytes)),
                (None, Ok(bytes)) if kind == "FORM" => multipart("a holiday", "beach.jpg", &noise(bytes)),
                _ => ([kind, count].join(" ").trim().to_owned(), Vec::new()),
            };
            all.push(Sent { method, target, kind, body });
        }
    }
    assert!(all.len() > 3, "{name} has requests");
    all
}

fn origin() -> Result<ScriptedOrigin> {
    OriginSpec::new().unrecorded().answering(|request| {
        let answer = Answer::ok("<p>answer</p>").field("Content-Type", "text/html; charset=utf-8");
        match request.method.as_str() {
            "PROPFIND" | "REPORT" => Answer::new(207)
                .part("<?xml version=\"1.0\"?><d:multistatus xmlns:d=\"DAV:\"/>")
                .field("Content-Type", "application/xml; charset=utf-8"),
            _ if request.path().starts_with("/api/") => {
                Answer::ok(r#"{"data":{"id":7,"name":"Lamp","tags":["desk"]}}"#).field("Content-Type", JSON)
            }
            _ => answer,
        }
    })
}

/// Sends a section over HTTP/1.1 and HTTP/2 with these fields; everything must be answered, and attacks
/// refused.
fn passes(name: &str, agent: &str, more: &[(&str, &str)], exceptions: &str) -> Result<()> {
    let Some(folder) = crs::folder() else { return Ok(()) };
    let origin = origin()?;
    let node = start(&spec(&folder, HOST, &origin.url(), exceptions))?;
    let mut wrong = Vec::new();
    let over_http2 = http2_visitor(&node)?;
    for Sent { method, target, kind, body } in section(name) {
        let mut pairs = vec![("user-agent", agent)];
        pairs.extend_from_slice(more);
        if !kind.is_empty() {
            pairs.push(("content-type", &kind));
        }
        let statuses = [
            visitor(&node)?.ask(method, target, HOST, &fields(&pairs), &body)?.status,
            over_http2.ask(method, target, HOST, &fields(&pairs), &body)?.status,
        ];
        if statuses.iter().any(|status| *status >= 300) {
            wrong.push(format!("{method} {target}: {statuses:?}"));
        }
    }
    let refused = refused(&node)?;
    assert!(wrong.is_empty() && refused.is_empty(), "{wrong:#?}\n{refused:#?}");
    for (method, target, kind, body) in [
        ("GET", "/?id=1%27%20OR%20%271%27=%271", "", &b""[..]),
        ("POST", "/comment", FORM, b"text=%3Cscript%3Ealert(document.cookie)%3C/script%3E"),
        ("POST", "/api/items", JSON, br#"{"file":"../../../../etc/passwd"}"#),
    ] {
        let mut pairs = vec![("user-agent", agent)];
        if !kind.is_empty() {
            pairs.push(("content-type", kind));
        }
        let response = visitor(&node)?.ask(method, target, HOST, &fields(&pairs), body)?;
        assert_eq!(response.status, 403, "{method} {target}");
    }
    drop(over_http2);
    node.finish_healthy()
}

const BROWSER: &[(&str, &str)] = &[
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://a.example/wp-admin/edit.php?post_status=publish&post_type=post"),
    ("cookie", "wordpress_logged_in_8f14=ada%7C1790000000%7Cq1w2e3; wp-settings-time-1=1790000000"),
];

#[test]
fn nothing_of_an_administration_is_refused() -> Result<()> {
    // Its editor marks paragraphs by comments.
    let exceptions = "[[waf.exception]]\npath_prefix = \"/wp-json\"\nrules = [941180]\n\
                      variables = [\"ARGS:json.content\"]\n";
    passes("administration", FIREFOX, BROWSER, exceptions)
}

#[test]
fn nothing_of_a_json_api_is_refused() -> Result<()> {
    let token = "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl";
    passes("json", "shop-app/4.2 (iOS 18.1; iPhone15,3)", &[("accept", JSON), ("authorization", token)], "")
}

#[test]
fn nothing_of_a_graphql_api_is_refused() -> Result<()> {
    let accept = "application/graphql-response+json, application/json";
    // `{ node` might be a shell that starts a program.
    let exceptions = "[[waf.exception]]\npath = \"/graphql\"\nrules = [932235]\n\
                      variables = [\"ARGS:json.query\"]\n";
    passes("graphql", FIREFOX, &[("accept", accept), ("origin", "https://a.example")], exceptions)
}

#[test]
fn nothing_of_a_webdav_client_is_refused() -> Result<()> {
    let agent = "Mozilla/5.0 (Linux) mirall/3.14.1 (Nextcloud)";
    passes("webdav", agent, &[("accept", "*/*"), ("depth", "1")], "")
}

#[test]
fn no_large_upload_is_refused() -> Result<()> {
    passes("uploads", FIREFOX, &[("accept", "*/*")], "")
}
