//! Drills of those who abuse a protocol (D12): slow ones, floods of what carries nothing, bombs, connections
//! and handshakes by the hundred, over HTTP/1, HTTP/2, HTTP/3 and WebSocket.
//!
//! Attackers that are counted under different words go on at once, those under one word after each other,
//! while honest visitors come at a fixed rate; each attacker must be ended and counted, no honest visitor
//! harmed, and memory stay. The floods are compressed: each lasts until it is ended, and another one would
//! be. Read next: [`tcp`], [`slow`], [`quic`].

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::authority::Authority;
use super::load::{End, Load, Target, Visit, wait_until};
use super::multiplexed::Speaks;
use super::node::{Node, NodeText, PATIENCE, passing};
use super::origin::Origin;
use super::report::Outcome;
use tcp::Fared;

mod quic;
mod slow;
pub(super) mod tcp;

/// Honest requests a second, in turn in the clear, over TLS, over HTTP/2 and over HTTP/3.
const RATE: u64 = 60;

/// Of these before the attack, to know how fast they are served in quiet.
const QUIET: u64 = 120;

/// Bytes by which attacks together may make the process larger: what it is lent for a moment.
const MEMORY_BYTES_MAX: u64 = 128 << 20;

/// First packets of QUIC handshakes: more than may be under way unproven on both threads.
const INITIALS: u32 = 1_200;

/// Handshakes of one attacker, completed and left.
const HANDSHAKES: usize = 200;

/// Descriptors of each process in the flood of connections, of which an edge keeps half for visitors.
const DESCRIPTORS: usize = 600;

/// Connections of that flood: more than there is room for.
const CONNECTIONS: usize = 500;

/// Bytes of an answer that no buffers between node and attacker hold.
const LARGE_BYTES: usize = 64 << 20;

/// The zone's limits, so that slow ones are ended soon.
const LIMITS: &str = "\n[http]\nheader_ms = 1000\nbody_idle_ms = 1000\nmin_rate_bytes_per_s = 1000\n";

/// An origin that answers at once, but for what attacks ask of it.
pub(super) fn origin() -> Result<Origin> {
    Origin::replying(|path, to| match path {
        "/large" => {
            write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n")?;
            let piece = vec![b'x'; 64 * 1024];
            (0..LARGE_BYTES / piece.len()).try_for_each(|_| to.write_all(&piece))
        }
        // It begins to answer, and goes on for as long as it is listened to.
        "/begun" => {
            write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n")?;
            (0..LARGE_BYTES).try_for_each(|_| {
                to.write_all(b"x").and_then(|()| to.flush())?;
                thread::sleep(tcp::DROP);
                Ok(())
            })
        }
        // It would answer when the body is there.
        "/upload" => {
            thread::sleep(2 * PATIENCE);
            to.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        }
        "/socket" => {
            to.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            )?;
            to.flush()?;
            thread::sleep(2 * PATIENCE);
            Ok(())
        }
        _ => to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    })
}

/// D12.
pub(super) fn floods(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = origin()?;
    let authority = Authority::make()?;
    let leaf = authority.leaf(&["a.example"])?;
    let folder = run.folder("node", &NodeText { has_tls: true, ..NodeText::default() })?;
    folder.write("certs/a.pem", leaf.certificate.as_bytes())?;
    folder.write("certs/a.key", leaf.key.as_bytes())?;
    let tls = "\n[tls]\ncertificate = \"../certs/a.pem\"\nprivate_key = \"../certs/a.key\"\n";
    folder.zone("a", &(with_limits(origin.address()) + tls))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (edge, client) = (node.edge()?, authority.client()?);
    let plain = node.target("a.example")?;
    let secured = Target::secured(node.address("https")?, "a.example", &client);
    let quiet = Honest::begin(&plain, &secured)?;
    quiet.load.wait_for(QUIET);
    let quiet = p99(&quiet.load.end());
    let before = resident(&node)?;
    let victim = tcp::Victim { http1: plain.address, http2: secured.address, tls: Some(client.clone()) };
    let over_quic = quic::Victim { address: secured.address, tls: client };
    let ways = Ways { plain: &plain, secured: &secured, quiet };
    ways.beside("floods over TCP", outcome, |outcome| {
        let attacks: Vec<_> = tcp::ATTACKS.iter().chain(tcp::OWN_ATTACKS).collect();
        together(&node, &attacks, &victim, outcome)?;
        handshakes(&secured, outcome);
        first_packets(&node, &over_quic, outcome)
    })?;
    ways.beside("slow ones and HTTP/3", outcome, |outcome| {
        together(&node, &slow::ATTACKS.iter().collect::<Vec<_>>(), &victim, outcome)?;
        together_over_quic(&node, quic::SLOW, &over_quic, outcome)?;
        for flood in quic::FLOODS {
            together_over_quic(&node, std::slice::from_ref(flood), &over_quic, outcome)?;
        }
        Ok(())
    })?;
    let grown = resident(&node)?.saturating_sub(before);
    outcome.figure("memory_grown_mib", grown >> 20);
    outcome.check("memory stays", grown < MEMORY_BYTES_MAX, format!("{} MiB", grown >> 20));
    let (held, most) = (node.metric("rempart_held_bytes")?, node.metric("rempart_held_bytes_max")?);
    outcome.check("what is held is within the budget", held <= most, format!("{held} of {most}"));
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    drop(node);
    connections(run, outcome).context("a flood of connections")
}

/// Where honest visitors go, and how fast they are served in quiet.
struct Ways<'a> {
    plain: &'a Target,
    secured: &'a Target,
    quiet: Duration,
}

impl Ways<'_> {
    /// Does something while honest visitors come; those of this time alone are judged for it.
    fn beside(
        &self,
        what: &str,
        outcome: &mut Outcome,
        attack: impl FnOnce(&mut Outcome) -> Result<()>,
    ) -> Result<()> {
        let honest = Honest::begin(self.plain, self.secured)?;
        attack(outcome)?;
        let visits = honest.end(what, outcome);
        let took = p99(&visits);
        outcome.add_unharmed(&format!("{what}: no honest visitor fails"), visits);
        let most = (2 * self.quiet).max(self.quiet + Duration::from_millis(5));
        outcome.check_time(&format!("{what}: honest visitors' p99 is near that of quiet"), took, most);
        Ok(())
    }
}

/// A zone before the origin whose slow visitors are ended soon.
fn with_limits(origin: std::net::SocketAddr) -> String {
    passing("a", &["a.example"], origin) + LIMITS
}

/// Honest visitors from many networks, in turn by each way that there is.
struct Honest {
    load: Load,
    ways: Arc<Vec<Way>>,
}

/// Those of one way.
struct Way {
    name: &'static str,
    target: Target,
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Honest {
    fn begin(plain: &Target, secured: &Target) -> Result<Self> {
        let way = |name, target| Way { name, target, sent: AtomicU64::new(0), failed: AtomicU64::new(0) };
        let over = |speaks: Speaks| way(speaks.name(), secured.speaking(speaks));
        let ways = Arc::new(vec![
            way("HTTP/1.1 in the clear", plain.clone()),
            over(Speaks::Http1),
            over(Speaks::Http2),
            over(Speaks::Http3),
        ]);
        let each = Arc::clone(&ways);
        let load = Load::asking(RATE, move |number| {
            let Some(way) = each.get(number as usize % each.len()) else {
                return End::Wrong("no way".to_owned());
            };
            way.sent.fetch_add(1, Ordering::Relaxed);
            let end = match way.target.ask_from(number / 4 % 64, "/", "") {
                Ok((200, body)) if body == "ok" => return End::Answered(200),
                Ok((status, body)) => End::Wrong(format!("{}: {status} {body}", way.name)),
                Err(error) => End::Broken(format!("{}: {error:#}", way.name)),
            };
            way.failed.fetch_add(1, Ordering::Relaxed);
            end
        })?;
        Ok(Self { load, ways })
    }

    /// Ends them; each way must have had its part.
    fn end(self, what: &str, outcome: &mut Outcome) -> Vec<Visit> {
        let visits = self.load.end();
        let first = visits.iter().find(|visit| visit.has_failed()).map(|visit| format!("{:?}", visit.end));
        for way in self.ways.iter() {
            let (sent, failed) = (way.sent.load(Ordering::Relaxed), way.failed.load(Ordering::Relaxed));
            let first = first.as_ref().filter(|_| failed > 0).map(String::as_str).unwrap_or_default();
            let found = format!("{failed} of {sent} failed {first}");
            let name = format!("{what}: {}: each is answered", way.name);
            outcome.check(&name, failed == 0 && sent > 0, found);
        }
        visits
    }
}

fn p99(visits: &[Visit]) -> Duration {
    let mut times: Vec<Duration> = visits.iter().map(|visit| visit.took).collect();
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

fn resident(node: &Node) -> Result<u64> {
    node.metric("rempart_process_resident_memory_bytes")
}

/// An attack that goes on.
pub(super) struct Begun {
    name: &'static str,
    attacker: thread::JoinHandle<Result<Fared>>,
}

impl Begun {
    /// Waits for its end.
    pub(super) fn end(self) -> (&'static str, Result<Fared>) {
        let fared = self.attacker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the attacker panicked")));
        (self.name, fared)
    }
}

/// Begins these attacks, each in a thread of its own.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn all_at_once(attacks: &[&'static tcp::Attack], victim: &tcp::Victim) -> Result<Vec<Begun>> {
    let begin = |attack: &&'static tcp::Attack| {
        let (run, victim) = (attack.run, victim.clone());
        let attacker = thread::Builder::new().name("attacker".to_owned()).spawn(move || run(&victim))?;
        Ok(Begun { name: attack.name, attacker })
    };
    attacks.iter().map(begin).collect()
}

/// Attacks that are counted under words of their own, all at once.
fn together(
    node: &Node,
    attacks: &[&'static tcp::Attack],
    victim: &tcp::Victim,
    outcome: &mut Outcome,
) -> Result<()> {
    let series = attacks.iter().map(|attack| (attack.name, abuse(attack.word)));
    let counters = Counters::read(node, series)?;
    for (name, fared) in all_at_once(attacks, victim)?.into_iter().map(Begun::end) {
        let fared = fared.with_context(|| name)?;
        outcome.check(&format!("{name}: the attacker is ended"), fared == Fared::Ended, format!("{fared:?}"));
    }
    counters.have_grown(node, outcome);
    Ok(())
}

/// The same over HTTP/3.
fn together_over_quic(
    node: &Node,
    attacks: &'static [quic::Attack],
    victim: &quic::Victim,
    outcome: &mut Outcome,
) -> Result<()> {
    let series = attacks.iter().filter_map(|attack| Some((attack.name, attack.counted?.to_owned())));
    let counters = Counters::read(node, series)?;
    let ends: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> =
            attacks.iter().map(|attack| scope.spawn(|| quic::attack(victim, attack))).collect();
        begun.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for (attack, end) in attacks.iter().zip(ends) {
        let end = end.map_err(|_| anyhow::anyhow!("the attacker panicked")).flatten();
        let end = end.with_context(|| attack.name)?;
        let found = format!("{end:?} of {:?}", attack.ends);
        outcome.check(&format!("{}: the attacker is ended", attack.name), end == attack.ends, found);
    }
    counters.have_grown(node, outcome);
    Ok(())
}

/// The series of a kind of abuse.
fn abuse(word: &str) -> String {
    format!("rempart_abuse_total{{kind=\"{word}\"}}")
}

/// What attacks are counted in, as it was before them.
struct Counters(Vec<(&'static str, String, u64)>);

impl Counters {
    /// Reads those of some attacks.
    ///
    /// # Errors
    /// When two share one, which would tell of either that it was counted, or there is no such series.
    fn read(node: &Node, attacks: impl Iterator<Item = (&'static str, String)>) -> Result<Self> {
        let mut all: Vec<(&'static str, String, u64)> = Vec::new();
        for (name, series) in attacks {
            ensure!(all.iter().all(|(_, other, _)| *other != series), "{name} shares {series}");
            let before = node.metric(&series)?;
            all.push((name, series, before));
        }
        Ok(Self(all))
    }

    /// Marks that each has grown; it may do so a moment after the visitor was ended.
    fn have_grown(&self, node: &Node, outcome: &mut Outcome) {
        for (name, series, before) in &self.0 {
            let has_grown = wait_until(PATIENCE, || node.metric(series).is_ok_and(|now| now > *before));
            let now = node.metric(series).unwrap_or_default();
            let found = format!("{series} from {before} to {now}");
            outcome.check(&format!("{name}: it is counted"), has_grown, found);
        }
    }
}

/// Handshakes completed and left at once, one after the other: nobody ends them, and nobody is harmed.
fn handshakes(target: &Target, outcome: &mut Outcome) {
    let answered = (0..HANDSHAKES).filter(|_| matches!(target.ask("/", ""), Ok((200, _)))).count();
    outcome.figure("handshakes_of_one_attacker", answered);
    let found = format!("{answered} of {HANDSHAKES}");
    outcome.check("handshakes of one attacker: each is answered", answered == HANDSHAKES, found);
}

/// First packets of QUIC handshakes whose answers go nowhere.
fn first_packets(node: &Node, victim: &quic::Victim, outcome: &mut Outcome) -> Result<()> {
    let counters = Counters::read(node, std::iter::once(("first packets", abuse("unproven_address"))))?;
    let told = quic::initials(victim, INITIALS)?;
    let found = format!("{} bytes back for {} in {} packets", told.back_bytes, told.bytes, told.sent);
    // RFC 9000 §8.1.
    outcome.check("at most three times what came goes back", told.back_bytes <= 3 * told.bytes, found);
    let all = told.sent == u64::from(INITIALS);
    outcome.check("each first packet was sent", all, format!("{} of {INITIALS}", told.sent));
    counters.have_grown(node, outcome);
    let is_served = quic::is_served(victim);
    outcome.check("who proves its address is served", is_served, is_served);
    Ok(())
}

/// One network takes every place that it gets; visitors of others come in all the same.
fn connections(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = origin()?;
    let folder = run.folder("few", &NodeText { node: "spare = false\n", ..NodeText::default() })?;
    folder.zone("a", &with_limits(origin.address()))?;
    let node = folder.start_with_descriptors(DESCRIPTORS)?;
    let target = node.target("a.example")?;
    let load = Load::begin(&target, RATE)?;
    let flood = std::iter::once(("a flood of connections", abuse("connection_flood")));
    let counters = Counters::read(&node, flood)?;
    let held = hold(&target, CONNECTIONS)?;
    outcome.figure("connections_of_one_network", held.len());
    counters.have_grown(&node, outcome);
    load.wait_for(QUIET);
    outcome.add_unharmed("a flood of connections: no honest visitor fails", load.end());
    drop(held);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    outcome.add_unharmed("and none after it", load.end());
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// So many connections of one network, each in the middle of an answer that it does not read.
pub(super) fn hold(target: &Target, count: usize) -> Result<Vec<TcpStream>> {
    use std::io::Write as _;

    let mut held = Vec::new();
    for _ in 0..count {
        let mut tcp = TcpStream::connect(target.address)?;
        // One that found no room is closed already.
        let _closed = write!(tcp, "GET /upload HTTP/1.1\r\nHost: {}\r\n\r\n", target.host);
        held.push(tcp);
    }
    ensure!(!held.is_empty(), "no connection came about");
    Ok(held)
}

/// What a peer's drill asks its attackers with.
pub(super) fn victim(http1: std::net::SocketAddr, http2: std::net::SocketAddr) -> tcp::Victim {
    tcp::Victim { http1, http2, tls: None::<Arc<_>> }
}
