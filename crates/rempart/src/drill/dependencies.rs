//! The drill of what a node depends on (D23): origins over HTTP/1, HTTP/2 and TLS, names, lists in the DNS,
//! the files of addresses, the log. Each refuses, hangs, is slow or sends garbage, with the declared outcome
//! and unharmed neighbours.
//!
//! The cache's disk has drills of its own ([`super::disk`]), a log that stalls too ([`super::stalled`]).
//! Read next: `docs/reference/outcomes.md` for the words.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use super::authority::Authority;
use super::load::{Load, in_words, wait_until};
use super::names::{Manner, Names};
use super::node::{ACCESS, AT_ONCE, Node, NodeFolder, NodeText, PATIENCE, answering, passing};
use super::origin::Origin;
use super::raw::{Raw, hold};
use super::report::Outcome;

/// Requests a second for the neighbours.
const RATE: u64 = 100;

/// How long a slow one takes, of [`LIMITS`]: less than what an origin may.
const SLOW: Duration = Duration::from_millis(400);

/// What each zone's file says of time.
const LIMITS: &str = "timeouts = { connect_ms = 2000, tls_ms = 2000, first_byte_ms = 2000, idle_ms = 2000 }\n\
                      retries = { max = 0 }\n";

/// The one dependency that is as it should be, so that the others over TLS fail for what they do.
const CONTROL: &str = "tls-right";

/// What must become of a request.
struct Declared {
    zone: &'static str,
    url: String,
    /// More lines of the pool.
    more: &'static str,
    /// The status a visitor gets; none where its answer breaks off.
    status: Option<u16>,
    /// The word in the log and in `Proxy-Status`, or how it begins; empty for none.
    fault: &'static str,
}

/// The least of a server of HTTP/2 (RFC 9113): settings, and to the first request an answer without fields.
fn http2_slowly(mut connection: TcpStream) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    // HEADERS of stream 1, that end it, with `:status: 200` of the static table (RFC 7541, appendix A).
    const ANSWER: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
    let mut room = [0; 4096];
    let said = connection.write_all(&SETTINGS).and_then(|()| connection.read(&mut room));
    if said.is_ok_and(|count| count > 0) {
        thread::sleep(SLOW);
        let _ = connection.write_all(&ACKNOWLEDGED).and_then(|()| connection.write_all(&ANSWER));
        hold(connection);
    }
}

/// Says something that is no protocol's, once it has been spoken to.
fn garbage(mut connection: TcpStream) {
    let mut room = [0; 4096];
    if connection.read(&mut room).is_ok_and(|count| count > 0) {
        let noise: Vec<u8> = (0..600_u32).map(|at| (at * 73 % 251) as u8).collect();
        let _ = connection.write_all(&noise);
        hold(connection);
    }
}

/// Everything that listens, for as long as the drill lasts.
struct Others {
    _raw: Vec<Raw>,
    _origins: Vec<Origin>,
    all: Vec<Declared>,
}

fn others(authority: &Authority) -> Result<Others> {
    let gone = Raw::start(hold)?.address();
    let (hangs, noise, two) = (Raw::start(hold)?, Raw::start(garbage)?, Raw::start(http2_slowly)?);
    let slow = |_: &str, to: &mut dyn std::io::Write| {
        thread::sleep(SLOW);
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
    };
    let half = |_: &str, to: &mut dyn std::io::Write| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nhalf")?;
        Err(std::io::ErrorKind::Other.into())
    };
    let (slow, half) = (Origin::replying(slow)?, Origin::replying(half)?);
    let trusted = Origin::start("over TLS", Some(authority.leaf(&["t.example"])?.server()?))?;
    let stranger = Authority::make()?.leaf(&["t.example"])?;
    let stranger = Origin::start("of a stranger", Some(stranger.server()?))?;
    let declared = |zone, url: String, status, fault| {
        let more =
            if url.starts_with("https") { "tls = { ca = \"../ca.pem\", sni = \"t.example\" }\n" } else { "" };
        Declared { zone, url, more, status, fault }
    };
    let all = vec![
        declared("one-refuses", format!("http://{gone}"), Some(502), "connection_refused"),
        declared("one-hangs", format!("http://{}", hangs.address()), Some(504), "http_response_timeout"),
        declared("one-slow", format!("http://{}", slow.address()), Some(200), ""),
        declared("one-garbage", format!("http://{}", noise.address()), Some(502), "http_protocol_error"),
        declared("one-half", format!("http://{}", half.address()), None, "http_response_incomplete"),
        declared("two-refuses", format!("h2c://{gone}"), Some(502), "connection_refused"),
        declared("two-hangs", format!("h2c://{}", hangs.address()), Some(504), "http_response_timeout"),
        declared("two-slow", format!("h2c://{}", two.address()), Some(200), ""),
        // Noise is no frame: the connection is given up, before any answer has begun.
        declared("two-garbage", format!("h2c://{}", noise.address()), Some(502), "connection_terminated"),
        declared("tls-refuses", format!("https://{gone}"), Some(502), "connection_refused"),
        declared("tls-hangs", format!("https://{}", hangs.address()), Some(504), "connection_timeout"),
        declared(CONTROL, format!("https://{}", trusted.address()), Some(200), ""),
        declared("tls-garbage", format!("https://{}", noise.address()), Some(502), "tls_protocol_error"),
        declared(
            "tls-stranger",
            format!("https://{}", stranger.address()),
            Some(502),
            "tls_certificate_error",
        ),
        // Answered by the machine's own servers of names: that it is none (dns_error), or not at all.
        declared("name-gone", "http://nowhere.invalid".to_owned(), Some(502), "dns_"),
    ];
    Ok(Others { _raw: vec![hangs, noise, two], _origins: vec![slow, half, trusted, stranger], all })
}

/// D23.
pub(super) fn each_fails(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let authority = Authority::make()?;
    let others = others(&authority)?;
    let neighbour = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.write("ca.pem", authority.pem.as_bytes())?;
    folder.zone("a", &passing("a", &["a.example"], neighbour.address()))?;
    for Declared { zone, url, more, .. } in &others.all {
        let text = format!(
            "name = \"{zone}\"\nhostnames = [\"{zone}.example\"]\n[[pool]]\nname = \"app\"\norigins = \
             [{{ url = \"{url}\" }}]\n{LIMITS}{more}"
        );
        folder.zone(zone, &text)?;
    }
    let names = Names::start()?;
    ask_lists_at(&folder, &names)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let edge = node.edge()?;
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(RATE / 2);
    for declared in &others.all {
        fails_as_declared(&node, declared, outcome)?;
    }
    let lists = lists_in_the_dns(&node, outcome)?;
    let broken = others.all.iter().filter(|declared| declared.zone != CONTROL).count();
    outcome.figure("dependencies_broken", broken + lists);
    files_of_addresses(&node, outcome)?;
    outcome.add_unharmed("the neighbour: no request fails", load.end());
    let same = node.edge()? == edge && node.told(0, "panic").is_empty();
    outcome.check("no process ended, nothing panicked", same, edge);
    drop(node);
    full_log(run, outcome).context("a log that cannot be written")?;
    outcome.note(
        "servers of origins' names that hang or send garbage: the machine's, so by the tests of `origin`",
    );
    outcome.note("the cache's disk: C1 to C3; a log that stalls: D32");
    Ok(())
}

fn fails_as_declared(node: &Node, declared: &Declared, outcome: &mut Outcome) -> Result<()> {
    let Declared { zone, status, fault, .. } = declared;
    let host = format!("{zone}.example");
    let came = node.target(&host)?.fetch(0, "/");
    let is_status = match status {
        Some(504 | 502) if fault.starts_with("dns_") => {
            came.as_ref().is_ok_and(|came| matches!(came.status, 502 | 504))
        }
        Some(status) => came.as_ref().is_ok_and(|came| came.status == *status),
        None => came.is_err(),
    };
    let named = came.as_ref().ok().and_then(|came| came.field("proxy-status").map(str::to_owned));
    let is_named =
        fault.is_empty() || status.is_none() || named.as_ref().is_some_and(|text| text.contains(fault));
    let found = match &came {
        Ok(came) => format!("{} {}", came.status, named.unwrap_or_default()),
        Err(error) => format!("{error:#}"),
    };
    outcome.check(&format!("{zone}: ends as declared"), is_status && is_named, found);
    let mut line = Value::Null;
    let is_logged = wait_until(PATIENCE, || {
        let text = fs::read_to_string(node.folder().at(ACCESS)).unwrap_or_default();
        let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        line = lines.into_iter().find(|line| line["host"] == *host).unwrap_or_default();
        !line.is_null()
    });
    let word = line["fault"].as_str().unwrap_or_default();
    let is_it = is_logged && word.starts_with(fault) && word.is_empty() == fault.is_empty();
    outcome.check(&format!("{zone}: the log names it"), is_it, &line["fault"]);
    Ok(())
}

/// A zone whose firewall asks a list for each way in which a server of names may answer, and these servers.
fn ask_lists_at(folder: &NodeFolder, names: &Names) -> Result<()> {
    let origin = "[[route]]\npath_prefix = \"/\"\nanswer = { status = 200, body = \"not listed\" }\n";
    let zone = format!(
        "name = \"lists\"\nhostnames = [\"lists.example\"]\n{origin}\n[waf]\nmode = \"block\"\n\
         rules = [\"../lists.conf\"]\n"
    );
    folder.zone("lists", &zone)?;
    let rules: String = (1..)
        .zip(Manner::ALL)
        .map(|(id, (_, list))| {
            format!("SecRule ARGS:{list} \"@rbl {list}.example\" \"id:{id},phase:1,deny,status:451,log\"\n")
        })
        .collect();
    folder.write("lists.conf", rules.as_bytes())?;
    let text = fs::read_to_string(folder.at("rempart.toml"))?;
    let servers = format!("[node]\nlist_servers = [\"{}\"]\n", names.address());
    folder.write("rempart.toml", text.replacen("[node]\n", &servers, 1).as_bytes())
}

/// Each such list is asked: who is on one that answers is refused, and what nobody says matches nothing, and
/// is counted. Gives how many are broken.
fn lists_in_the_dns(node: &Node, outcome: &mut Outcome) -> Result<usize> {
    const UNANSWERED: &str = "rempart_waf_unanswered_total{operator=\"rbl\"}";
    let target = node.target("lists.example")?;
    let mut unanswered = 0;
    for (manner, list) in Manner::ALL {
        let is_right = manner == Manner::Right;
        unanswered += u64::from(!is_right);
        let came = target.ask(&format!("/?{list}=visitor.test"), "");
        let status = came.as_ref().map_or(0, |(status, _)| *status);
        let is_it = status == if is_right { 451 } else { 200 };
        outcome.check(&format!("list that {}: ends as declared", in_the_dns(manner)), is_it, in_words(&came));
        let is_counted =
            wait_until(PATIENCE, || node.metric(UNANSWERED).is_ok_and(|count| count == unanswered));
        let found = format!("{:?} of {unanswered}", node.metric(UNANSWERED).ok());
        let what = format!("list that {}: what has no answer is counted", in_the_dns(manner));
        outcome.check(&what, is_counted, found);
    }
    let after = target.ask("/?right=visitor.test", "");
    let is_refused = after.as_ref().is_ok_and(|(status, _)| *status == 451);
    outcome.check("lists: the one that answers is asked as before", is_refused, in_words(&after));
    Ok(Manner::ALL.len() - 1)
}

fn in_the_dns(manner: Manner) -> &'static str {
    match manner {
        Manner::Right => "answers",
        Manner::Hangs => "hangs",
        Manner::Refuses => "refuses to say",
        Manner::Fails => "fails",
        Manner::Garbage => "sends garbage",
        Manner::Cut => "sends less than it announces",
        Manner::Circle => "sends a name that points to itself",
        Manner::Another => "answers another question",
    }
}

/// Files of addresses that are not there, are no database, and never come to an end.
fn files_of_addresses(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let folder = node.folder();
    let before = fs::read(folder.at("rempart.toml"))?;
    let snapshot = node.status()?["snapshot"].clone();
    folder.write("garbage.mmdb", &[0x5a; 4096])?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.at("pipe.mmdb"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )?;
    for (name, how) in [("none", "refuses"), ("garbage", "is garbage"), ("pipe", "hangs")] {
        let more = format!("\n[geo]\ncountry = \"{name}.mmdb\"\n");
        folder.write("rempart.toml", &[&before, more.as_bytes()].concat())?;
        let (is_taken, said) = node.publish(&[])?;
        let stays =
            !is_taken && node.status()?["snapshot"] == snapshot && said.contains(&format!("{name}.mmdb"));
        let first = said.lines().next().unwrap_or_default();
        outcome.check(&format!("file of addresses {how}: refused by name, and all stays"), stays, first);
    }
    folder.write("rempart.toml", &before)
}

/// The access log is on a disk that is full for good.
fn full_log(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let text = NodeText { access: "/dev/full", more: AT_ONCE.to_owned(), ..NodeText::default() };
    let folder = run.folder("full-log", &text)?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    let told = node.wait_for(0, "access_log_write_failed")?.event;
    let is_told = told["cause"].as_str().is_some_and(|cause| cause.contains("space"));
    outcome.check("log refuses: an event says why", is_told, &told["cause"]);
    load.wait_for(RATE);
    let failures = node.metric("rempart_access_log_failures_total")?;
    outcome.check("log refuses: it is counted", failures > 0, failures);
    outcome.add_unharmed("log refuses: no request fails", load.end());
    let answer = node.target("a.example")?.ask("/", "");
    ensure!(answer.is_ok(), "after it: {}", in_words(&answer));
    outcome.check("log refuses: the node ends cleanly", node.stop()?, "");
    Ok(())
}
