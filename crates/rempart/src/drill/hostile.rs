//! The drill of requests that are made to cost (D10): large forms, deep documents, odd Unicode, very many
//! parts, against a firewall that inspects a mebibyte of each at the highest level, and against a zone's
//! rules.
//!
//! Each goes alone, so that what the node counts as the work of rules is that request's. Visitors of another
//! zone go on meanwhile on the same threads. Read next: [`super::contained`].

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{Load, Target, in_words};
use super::node::{Node, NodeText, PATIENCE, answering};
use super::report::Outcome;
use crate::clock;

/// Requests a second for the other zone.
const RATE: u64 = 50;

/// Bytes of a body.
const BODY_BYTES: usize = 1 << 20;

/// Bytes of a query: half of what a head may have.
const QUERY_BYTES: usize = 16 << 10;

/// Steps of a firewall's rules for one request.
const FIREWALL_STEPS_MAX: u64 = seclang::limits::FUEL_STEPS;

/// Steps of a zone's own rules for one request.
const RULE_STEPS_MAX: u64 = edge::RULE_STEPS;

/// The longest that a request may take whose rules spend their budget: a step is a nanosecond or two, and
/// rules share the machine.
const TAKES_MAX: Duration = Duration::from_secs(5);

/// Rules where no OWASP CRS was named: of each kind that costs by what it reads.
const OWN_RULES: &str = include_str!("hostile.conf");

/// Rules of the zone itself: each reads the query or fields with a function or an expression that costs.
const ZONE_RULES: &str = r#"
[[rule]]
name = "pattern"
expression = 'http.request.uri.query matches "(x=)+[^y]*y$"'
action = "log"
[[rule]]
name = "decoded"
expression = 'lower(url_decode(http.request.uri.query, "r")) contains "evil"'
action = "log"
[[rule]]
name = "each argument"
expression = 'any(lower(http.request.uri.args.values[*])[*] matches "e.*v.*i.*l")'
action = "log"
[[rule]]
name = "each field"
expression = 'any(http.request.headers.values[*] matches "(a|b|ab)*c")'
action = "log"
"#;

/// A request that is made to cost.
struct Hostile {
    name: &'static str,
    query: String,
    /// Further lines, each ending in CRLF.
    fields: String,
    kind: &'static str,
    body: Vec<u8>,
}

impl Hostile {
    fn of_query(name: &'static str, query: String) -> Self {
        Self { name, query, fields: String::new(), kind: "", body: Vec::new() }
    }

    fn of_body(name: &'static str, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { name, query: String::new(), fields: String::new(), kind, body: body.into() }
    }

    fn bytes(&self) -> Vec<u8> {
        let method = if self.kind.is_empty() { "GET" } else { "POST" };
        let mut head = format!(
            "{method} /hostile?{} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: drill\r\nAccept: */*\r\n\
             Connection: close\r\n{}",
            self.query, self.fields
        );
        if !self.kind.is_empty() {
            head.push_str(&format!("Content-Type: {}\r\nContent-Length: {}\r\n", self.kind, self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

fn filled(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len())
}

fn nested(open: &str, close: &str, bytes: usize) -> String {
    let depth = bytes / (open.len() + close.len());
    [open.repeat(depth), close.repeat(depth)].concat()
}

/// Names and values that all differ.
fn many(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    let mut number = 0;
    while text.len() + 20 < bytes {
        text.push_str(&format!("a{number}=x{number}&"));
        number += 1;
    }
    text
}

fn parts(bytes: usize) -> String {
    let part = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
    filled(part, bytes) + "--x--\r\n"
}

/// Every request, in the order in which they go.
fn corpus() -> Vec<Hostile> {
    const FORM: &str = "application/x-www-form-urlencoded";
    const MULTIPART: &str = "multipart/form-data; boundary=x";
    // Beyond the last code point, half of a pair, too long by a byte, a mark on nothing, from right to left.
    const ODD: &str = "\u{10ffff}\u{202e}\u{0301}\u{feff}\u{1f468}\u{200d}\u{1f469}";
    let broken: Vec<u8> = [&b"a="[..], &[0xf4, 0x90, 0x80, 0x80, 0xed, 0xa0, 0x80, 0xc0, 0xaf]].concat();
    vec![
        Hostile::of_query("query x=x=", filled("x=", QUERY_BYTES)),
        Hostile::of_query("query of many", many(QUERY_BYTES)),
        Hostile::of_query("query encoded again", format!("a={}", filled("%25", QUERY_BYTES))),
        Hostile::of_query("query of odd Unicode", format!("a={}", filled("%u202e%F4%90%80%80", QUERY_BYTES))),
        Hostile {
            fields: format!("X-Long: {}\r\nCookie: {}\r\n", filled("ab", 12 << 10), filled("a=b;", 8 << 10)),
            ..Hostile::of_query("fields", "a=1".to_owned())
        },
        Hostile::of_body("form x=x=", FORM, filled("x=", BODY_BYTES)),
        Hostile::of_body("form of many", FORM, many(BODY_BYTES)),
        Hostile::of_body(
            "form of one value",
            FORM,
            format!("a={}", filled("' or 1=1 -- <a href=x ", BODY_BYTES)),
        ),
        Hostile::of_body("form of odd Unicode", FORM, format!("a={}", filled(ODD, BODY_BYTES))),
        Hostile::of_body("form of broken UTF-8", FORM, broken.repeat(BODY_BYTES / broken.len())),
        Hostile::of_body("JSON, deep arrays", "application/json", nested("[", "]", BODY_BYTES)),
        Hostile::of_body("JSON, deep objects", "application/json", nested("{\"a\":", "}", BODY_BYTES)),
        Hostile::of_body("JSON, wide", "application/json", format!("[{}1]", filled("\"x=x\",", BODY_BYTES))),
        Hostile::of_body("XML, deep", "text/xml", nested("<a>", "</a>", BODY_BYTES)),
        Hostile::of_body(
            "XML, wide",
            "text/xml",
            format!("<a>{}</a>", filled("<b c=\"x=x\">x</b>", BODY_BYTES)),
        ),
        Hostile::of_body("multipart, many parts", MULTIPART, parts(BODY_BYTES)),
        Hostile::of_body("multipart, many fields of a part", MULTIPART, {
            format!("--x\r\n{}", filled("a: b\r\n", BODY_BYTES))
        }),
        Hostile::of_body("bytes", "application/octet-stream", {
            (0..BODY_BYTES).map(|number| (number * 167 % 251) as u8).collect::<Vec<u8>>()
        }),
    ]
}

/// D10: each of them, and what it costs.
pub(super) fn corpora(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText::default())?;
    folder.write("own.conf", OWN_RULES.as_bytes())?;
    let rules = match &run.rules {
        Some(rules) => rules.display().to_string(),
        None => {
            outcome.note("with a few rules of the drill's own: name the folder of OWASP CRS by --rules");
            "../own.conf".to_owned()
        }
    };
    let waf = format!(
        "[waf]\nmode = \"block\"\nrules = [{rules:?}]\nparanoia = 4\nbody_window_bytes = \"1MiB\"\n\
         {ZONE_RULES}"
    );
    folder.zone("a", &format!("{}{waf}", answering("a", "from the zone")))?;
    folder.zone("b", &answering("b", "from the other"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let mark = node.mark();
    let load = Load::begin(&node.target("b.example")?, RATE)?;
    load.wait_for(RATE / 2);
    let (mut most, mut longest, mut answered) = ([0, 0], Duration::ZERO, 0_u64);
    let corpus = corpus();
    for hostile in &corpus {
        let before = steps(&node)?;
        let begun = clock::now();
        let status = send(&target, hostile);
        longest = longest.max(clock::now().saturating_duration_since(begun));
        let is_answered = status.as_ref().is_ok_and(|status| matches!(status, 200 | 400..500));
        answered += u64::from(is_answered);
        if !is_answered {
            let found = status.map_or_else(|error| format!("{error:#}"), |status| status.to_string());
            outcome.check(&format!("{} is answered or refused", hostile.name), false, found);
        }
        // Counted a moment after the answer.
        let spent = settled(&node, before)?;
        for (most, spent) in most.iter_mut().zip(spent) {
            *most = (*most).max(spent);
        }
    }
    load.wait_for(RATE / 2);
    let all = corpus.len() as u64;
    outcome.figure("requests_made_to_cost", all);
    outcome.figure("firewall_steps_most", most[1]);
    outcome.figure("zone_rule_steps_most", most[0]);
    outcome.figure("longest_ms", u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
    outcome.check("each is answered or refused", answered == all, format!("{answered} of {all}"));
    let within = |spent: u64, max: u64| spent > 0 && spent <= max + max / 100;
    let of_firewall = format!("{} of {FIREWALL_STEPS_MAX} steps", most[1]);
    outcome.check(
        "the dearest keeps to a firewall's budget",
        within(most[1], FIREWALL_STEPS_MAX),
        of_firewall,
    );
    let of_rules = format!("{} of {RULE_STEPS_MAX} steps", most[0]);
    outcome.check(
        "the dearest keeps to the budget of a zone's rules",
        within(most[0], RULE_STEPS_MAX),
        of_rules,
    );
    outcome.check_time("the dearest is over soon", longest, TAKES_MAX);
    outcome.add_unharmed("the other zone on the same threads: no request fails", load.end());
    for event in ["thread_stuck", "panic", "edge_died"] {
        let told = node.told(mark, event).len();
        outcome.check(&format!("no {event}"), told == 0, told);
    }
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    let plain = target.ask("/", "User-Agent: drill\r\nAccept: */*\r\n");
    let serves = plain.as_ref().is_ok_and(|(status, body)| *status == 200 && body == "from the zone");
    outcome.check("the zone serves on", serves, in_words(&plain));
    Ok(())
}

/// What the node has counted as work of zones' rules and of firewalls' rules.
fn steps(node: &Node) -> Result<[u64; 2]> {
    let page = node.metrics()?;
    let of = |word: &str| {
        let series = format!("rempart_rule_steps_total{{of=\"{word}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&series));
        value.and_then(|value| value.parse().ok()).with_context(|| format!("no figure of {word}"))
    };
    Ok([of("zone_rules")?, of("firewall")?])
}

/// What was counted since, once it has come.
fn settled(node: &Node, before: [u64; 2]) -> Result<[u64; 2]> {
    let until = clock::now() + PATIENCE;
    loop {
        let now = steps(node)?;
        let spent = [now[0] - before[0], now[1] - before[1]];
        if spent[1] > 0 || clock::now() >= until {
            return Ok(spent);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a request whole, reading meanwhile, since a refusal may come before its end; the answer's status.
fn send(target: &Target, hostile: &Hostile) -> Result<u16> {
    let mut connection = TcpStream::connect(target.address).context("no connection")?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut writes = connection.try_clone()?;
    let bytes = hostile.bytes();
    let writer = thread::Builder::new().name("hostile".to_owned()).spawn(move || {
        // Whoever refuses reads no further.
        let _ = writes.write_all(&bytes);
    })?;
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    let read = loop {
        if answer.windows(2).any(|two| two == b"\r\n") {
            break Ok(());
        }
        match connection.read(&mut room) {
            Ok(0) => break Ok(()),
            Ok(count) => answer.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    let _ = connection.shutdown(Shutdown::Both);
    let _ = writer.join();
    read.context("no answer came")?;
    let line = String::from_utf8_lossy(&answer).into_owned();
    ensure!(line.starts_with("HTTP/1.1 "), "the connection ended after {} bytes", answer.len());
    line.get(9..12).and_then(|status| status.parse().ok()).context("no status")
}
