//! The drill of nodes behind nodes (D31): one tier and two, over HTTP/1.1 and HTTP/2 between them, give
//! visitors the same bytes over HTTP/1.1, HTTP/2 and HTTP/3; a tier that is killed is stood in for, and
//! replaced; stores in both say how old an answer is.
//!
//! Nodes of two versions are not drilled: there is one version. Read next: [`super::pages`].

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;

use super::Run;
use super::authority::{Authority, Leaf};
use super::dying::{Death, Watched, settle};
use super::load::{End, Fetched, Load, Target, in_words, wait_until};
use super::multiplexed::Speaks;
use super::node::{Node, NodeFolder, NodeText, PATIENCE, end_all_in, passing};
use super::pages::Pages;
use super::raw::Raw;
use super::report::Outcome;

/// Requests a second while a tier is killed.
const RATE: u64 = 100;

/// Pages compared by each way.
const PAGES: usize = 40;

/// Bytes of a request's head; a node's have some hundred.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How old an answer is already when it leaves the origin, in seconds.
const AGE_S: u64 = 100;

/// A zone's cache: whatever the origin says of lifetimes.
const CACHE: &str = "[cache]\nenabled = true\n";

/// A zone's certificate at the outer tier.
const TLS: &str = "\n[tls]\ncertificate = \"../certs/tiers.pem\"\nprivate_key = \"../certs/tiers.key\"\n";

/// The tier before the origin. It knows visitors by what the tier before it says.
const INNER: &str = "spare = true\nname = \"inner\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// The tier before that.
const OUTER: &str = "spare = true\nname = \"outer\"\n";

/// An origin whose one answer has an age and a version, and that keeps what it was asked.
struct Dated {
    raw: Raw,
    version: Arc<AtomicU64>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Dated {
    fn start() -> Result<Self> {
        let (version, heads) = (Arc::new(AtomicU64::new(1)), Arc::new(Mutex::new(Vec::new())));
        let (says, keeps) = (Arc::clone(&version), Arc::clone(&heads));
        let raw = Raw::start(move |connection| answer(connection, &says, &keeps))?;
        Ok(Self { raw, version, heads })
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut connection: TcpStream, version: &AtomicU64, heads: &Mutex<Vec<String>>) {
    let (mut bytes, mut room) = (Vec::new(), [0; 4096]);
    while bytes.len() < HEAD_BYTES_MAX {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
            let body = format!("version {}", version.load(Ordering::SeqCst));
            let said = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nAge: {AGE_S}\r\nContent-Length: \
                 {}\r\n\r\n{body}",
                body.len()
            );
            if connection.write_all(said.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        match connection.read(&mut room) {
            Ok(count) if count > 0 => bytes.extend_from_slice(room.get(..count).unwrap_or_default()),
            _ => return,
        }
    }
}

fn inner(run: &Run, name: &str, zones: &[(&str, String)]) -> Result<Node> {
    let text = NodeText { node: INNER, listener: "h2c = true\n", ..NodeText::default() };
    start(&run.folder(name, &text)?, zones)
}

fn start(folder: &NodeFolder, zones: &[(&str, String)]) -> Result<Node> {
    zones.iter().try_for_each(|(name, text)| folder.zone(name, text))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    Ok(node)
}

/// A zone that passes everything to nodes.
fn to_nodes(name: &str, scheme: &str, nodes: &[SocketAddr]) -> String {
    let origins: Vec<String> =
        nodes.iter().map(|address| format!("{{ url = \"{scheme}://{address}\" }}")).collect();
    format!(
        "name = \"{name}\"\nhostnames = [\"{name}.example\"]\n[[pool]]\nname = \"inner\"\norigins = [{}]\n",
        origins.join(", ")
    )
}

/// D31.
pub(super) fn one_and_two(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let (pages, dated) = (Pages::new(PAGES), Dated::start()?);
    let origin = pages.origin()?;
    let of_pages = |name: &str| passing(name, &[&format!("{name}.example")], origin.address());
    let cached = passing("cached", &["cached.example"], dated.raw.address()) + CACHE;
    let zones = [("plain", of_pages("plain")), ("two", of_pages("two")), ("cached", cached)];
    let visitors = Visitors::make()?;
    let (first, second) = (inner(run, "inner-1", &zones)?, inner(run, "inner-2", &zones)?);
    let inside = [first.address("http")?, second.address("http")?];
    let outside = [
        ("plain", to_nodes("plain", "http", &inside) + TLS),
        ("two", to_nodes("two", "h2c", &inside) + TLS),
        ("cached", to_nodes("cached", "http", &inside[1..]) + CACHE),
    ];
    let text = NodeText { node: OUTER, has_tls: true, ..NodeText::default() };
    let folder = run.folder("outer", &text)?;
    visitors.write_certificate(&folder)?;
    let outer = start(&folder, &outside)?;
    for (what, node, host) in [
        ("one tier", &first, "plain.example"),
        ("two tiers, HTTP/1.1 between them", &outer, "plain.example"),
        ("two tiers, HTTP/2 between them", &outer, "two.example"),
    ] {
        let looked = pages.look(&node.target(host)?, pages.all(), 1)?;
        let found = format!("{} of {PAGES}", looked.right);
        outcome.check(&format!("{what}: every byte is the origin's"), looked.right == PAGES, found);
    }
    visitors.by_every_protocol(&pages, &outer, &second, outcome)?;
    stored_twice(&outer, &second, &dated, outcome)?;
    in_a_circle(&outer, &second, outcome)?;
    killed(run, (&outer, first, &second), (&zones, &visitors, &pages), outcome)?;
    outcome.note("mixed versions: there is one version so far");
    Ok(())
}

/// Visitors of the outer tier, over every protocol.
struct Visitors {
    leaf: Leaf,
    trusting: Arc<ClientConfig>,
}

impl Visitors {
    fn make() -> Result<Self> {
        let authority = Authority::make()?;
        let leaf = authority.leaf(&["plain.example", "two.example"])?;
        Ok(Self { leaf, trusting: authority.client()? })
    }

    fn write_certificate(&self, folder: &NodeFolder) -> Result<()> {
        folder.write("certs/tiers.pem", self.leaf.certificate.as_bytes())?;
        folder.write("certs/tiers.key", self.leaf.key.as_bytes())
    }

    fn target(&self, outer: &Node, host: &str, speaks: Speaks) -> Result<Target> {
        Ok(Target::secured(outer.address("https")?, host, &self.trusting).speaking(speaks))
    }

    /// Every page over TLS, by every protocol there is, through one tier and two.
    fn by_every_protocol(
        &self,
        pages: &Pages,
        outer: &Node,
        inner: &Node,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut ways = Vec::new();
        for speaks in Speaks::ALL {
            for (what, host) in
                [("HTTP/1.1 between them", "plain.example"), ("HTTP/2 between them", "two.example")]
            {
                let what = format!("two tiers, {what}, visitors over {} and TLS", speaks.name());
                ways.push((what, self.target(outer, host, speaks)?));
            }
        }
        let in_the_clear = inner.target("plain.example")?.speaking(Speaks::Http2);
        ways.push(("one tier, visitors over HTTP/2 in the clear".to_owned(), in_the_clear));
        for (what, target) in ways {
            let visits = pages.all().map(|number| pages.visit(&target, number as u64, number));
            let wrong: Vec<End> = visits.filter(|end| *end != End::Answered(200)).collect();
            let found = wrong.first().map(|end| format!("{} of {PAGES} are not: {end:?}", wrong.len()));
            let what = format!("{what}: every byte is the origin's");
            outcome.check(&what, wrong.is_empty(), found.unwrap_or_else(|| format!("{PAGES} of {PAGES}")));
        }
        Ok(())
    }

    /// They begin to come, in turn over each protocol; from 64 networks each. Each compares its page.
    fn come(&self, outer: &Node, pages: &Pages) -> Result<Load> {
        let plain = outer.target("plain.example")?;
        let mut ways = vec![plain];
        for speaks in Speaks::ALL {
            ways.push(self.target(outer, "plain.example", speaks)?);
        }
        let pages = pages.clone();
        Load::asking(RATE, move |number| match ways.get(number as usize % ways.len()) {
            Some(target) => pages.visit(target, number / ways.len() as u64, number as usize % pages.count()),
            None => End::Wrong("no way".to_owned()),
        })
    }
}

fn age(fetched: &Fetched) -> u64 {
    fetched.field("age").and_then(|age| age.parse().ok()).unwrap_or(0)
}

/// Both tiers store: how old an answer is, who answered, and in which order purges go.
fn stored_twice(outer: &Node, inner: &Node, dated: &Dated, outcome: &mut Outcome) -> Result<()> {
    let target = outer.target("cached.example")?;
    let came = target.fetch(1, "/")?;
    let is_old = came.status == 200 && (AGE_S..AGE_S + 60).contains(&age(&came));
    outcome.check("stored in both: the age is counted from the origin on", is_old, age(&came));
    let mut hit = came;
    let is_hit = wait_until(PATIENCE, || {
        hit = target.fetch(1, "/").unwrap_or_else(|_| hit.clone());
        hit.fields("cache-status").iter().any(|said| said.contains("outer; hit"))
    });
    let said = hit.fields("cache-status").join(", ");
    outcome.check("stored in both: the outer one says that it hit", is_hit && age(&hit) >= AGE_S, &said);
    let both =
        said.find("inner;").is_some_and(|inner| said.find("outer;").is_some_and(|outer| inner < outer));
    outcome.check("stored in both: the tier near the origin speaks first", both, &said);
    let asked = dated.heads();
    let loops: Vec<&str> = asked.first().map_or(Vec::new(), |head| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(name, _)| name.eq_ignore_ascii_case("cdn-loop")).map(|(_, value)| value).collect()
    });
    let named = loops.join(",");
    let is_named = asked.len() == 1 && named.contains("outer-") && named.contains("inner-");
    outcome.check("stored in both: the origin is asked once, and told of both", is_named, named);
    dated.version.store(2, Ordering::SeqCst);
    // The inner one first: the outer one would fetch from it again what is to go.
    for (name, node) in [("inner", inner), ("outer", outer)] {
        let purged = node.command(&["purge", "--zone", "cached"])?;
        ensure!(purged.status.success(), "{name}: {}", String::from_utf8_lossy(&purged.stderr));
    }
    let new = target.ask("/", "");
    let is_new = new.as_ref().is_ok_and(|(_, body)| body == "version 2");
    outcome.check("stored in both: purged from the inside out, the new one comes", is_new, in_words(&new));
    Ok(())
}

/// Two nodes that point at each other.
fn in_a_circle(outer: &Node, inner: &Node, outcome: &mut Outcome) -> Result<()> {
    for (node, other) in [(outer, inner), (inner, outer)] {
        node.folder().zone("circle", &to_nodes("circle", "http", &[other.address("http")?]))?;
        let (is_taken, said) = node.publish(&[])?;
        ensure!(is_taken, "the circle should be taken: {said}");
    }
    let ended = outer.target("circle.example")?.ask("/", "");
    let is_ended = ended.as_ref().is_ok_and(|(status, _)| *status == 508);
    outcome.check("a circle of tiers ends at the first that is asked again", is_ended, in_words(&ended));
    Ok(())
}

/// One node of the inner tier is killed whole, and another comes in its place.
fn killed(
    run: &Run,
    (outer, first, second): (&Node, Node, &Node),
    (zones, visitors, pages): (&[(&str, String)], &Visitors, &Pages),
    outcome: &mut Outcome,
) -> Result<()> {
    let load = visitors.come(outer, pages)?;
    load.wait_for(RATE / 2);
    let mut pids = first.others()?;
    pids.extend([first.edge()?, first.pid()]);
    let watched = pids.into_iter().map(Watched::open).collect::<Result<Vec<_>>>()?;
    let from = crate::clock::now();
    end_all_in(&run.path("inner-1"));
    let mut to = from;
    for process in watched {
        to = to.max(process.gone()?);
    }
    load.wait_for(2 * RATE);
    settle(outcome, "a node of the inner tier is killed", load, &[Death { from, to }]);
    drop(first);
    let third = inner(run, "inner-3", zones).context("a node in its place")?;
    let load = visitors.come(outer, pages)?;
    let inside = [third.address("http")?, second.address("http")?];
    outer.folder().zone("plain", &(to_nodes("plain", "http", &inside) + TLS))?;
    let (is_taken, said) = outer.publish(&["--allow-removals"])?;
    outcome.check("another in its place is published", is_taken, said);
    let serves = wait_until(PATIENCE, || has_served(&third));
    outcome.check("and takes its part", serves, serves);
    outcome.add_unharmed("while it comes: no request fails", load.end());
    Ok(())
}

/// Whether a node has answered visitors.
fn has_served(node: &Node) -> bool {
    let page = node.metrics().unwrap_or_default();
    let lines = page.lines().filter(|line| line.starts_with("rempart_requests_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() > 0.0
}
