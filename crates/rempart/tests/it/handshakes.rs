//! A flood of TLS handshakes: strangers' have half of a late thread's time at most, and whoever is connected
//! or known is served all the while.
//!
//! Attackers send a hello that was recorded once and read the answer's beginning, so that it costs them
//! nothing and the node a signature; with a key of RSA some ten of them keep a thread late. What is late is
//! told by the same time, so that a busy machine makes this slower and nothing else. Read next: `edge`'s
//! `abuse.rs`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};
use testkit::node::{Node, NodeSpec};
use testkit::visitor::Visitor;

use super::rig::{Certificates, HOST, saying, start, tls_zone, with_leaf};

/// Handshakes at a time: what they wait for each other is several times what is late.
const ATTACKERS: u8 = 32;

/// Visitors that stay connected.
const KEPT: usize = 4;

/// Handshakes that are refused before it is believed that they are.
const REFUSED: f64 = 200.0;

/// Requests of each visitor meanwhile, at the least.
const ROUNDS: u32 = 10;

/// And at the most.
const ROUNDS_MAX: u32 = 1_000;

/// Bytes of a TLS record's head and of the type of the message in it (RFC 8446 §5.1).
const RECORD: usize = 6;

/// The first message of a handshake.
fn hello(config: &Arc<ClientConfig>) -> Result<Vec<u8>> {
    let mut tls = ClientConnection::new(Arc::clone(config), ServerName::try_from(HOST)?)?;
    let mut hello = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut hello)?;
    }
    Ok(hello)
}

/// Connects from another address than the tests' other visitors have.
fn connect_as(stranger: u8, address: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 9, stranger, 1), 0)).into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

/// Whether a handshake that is begun and left is answered by a ServerHello (RFC 8446 §4.1.3).
fn is_answered(stranger: u8, address: SocketAddr, hello: &[u8]) -> Result<bool> {
    let mut tcp = connect_as(stranger, address)?;
    let mut answer = [0; RECORD];
    // Whoever finds no time is closed.
    let said = tcp.write_all(hello).and_then(|()| tcp.read_exact(&mut answer));
    Ok(said.is_ok() && (answer[0], answer[5]) == (22, 2))
}

/// Strangers that make handshakes alone, for as long as this lives.
struct Attack {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    attackers: Vec<JoinHandle<Result<()>>>,
}

impl Attack {
    fn begin(address: SocketAddr, hello: &[u8]) -> Self {
        let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let attackers = (0..ATTACKERS).map(|stranger| {
            let (ends, answered, hello) = (Arc::clone(&ends), Arc::clone(&answered), hello.to_vec());
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let is_answered = is_answered(stranger, address, &hello)?;
                    answered.fetch_add(u64::from(is_answered), Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let attackers = attackers.collect();
        Self { ends, answered, attackers }
    }

    fn end(self) -> Result<u64> {
        self.ends.store(true, Ordering::Relaxed);
        for attacker in self.attackers {
            attacker.join().ok().context("an attacker panicked")??;
        }
        Ok(self.answered.load(Ordering::Relaxed))
    }
}

/// Asks, on a connection of its own each time, until the answers tell of three different seconds: from then
/// on the address is known.
fn become_known(connect: impl Fn() -> Result<Visitor>) -> Result<()> {
    let mut dates: Vec<String> = Vec::new();
    while dates.len() < 3 {
        let date = served(&mut connect()?)?;
        if !dates.contains(&date) {
            dates.push(date);
        }
    }
    Ok(())
}

/// Asks on a connection that is kept; the answer's date.
fn served(visitor: &mut Visitor) -> Result<String> {
    let answer = visitor.fetch(HOST, "/")?;
    ensure!((answer.status, answer.text().as_str()) == (200, "here"), "{} {}", answer.status, answer.text());
    Ok(answer.fields.first("date").context("a date")?.to_owned())
}

fn refused(node: &Node) -> Result<f64> {
    Ok(node.metric("rempart_abuse_total{kind=\"handshake_flood\"}")?.unwrap_or(0.0))
}

#[test]
fn a_flood_of_handshakes_costs_strangers_and_nobody_who_is_connected_or_known() -> Result<()> {
    let (origin, certificates) = (saying("here")?, Certificates::new()?);
    let spec = NodeSpec::new()
        .listener("https")
        .node_section("threads = 1\nspare = false")
        .more("[overload]\ndelay_ms = 10\n");
    let spec = with_leaf(spec, "a", &certificates.authority.costly_leaf(&[HOST])?);
    let node = start(&spec.zone("a", tls_zone("a", HOST, "", &origin.url())))?;
    let (address, config) = (node.address("https")?, certificates.trusting(&[])?);
    let connect = || Visitor::tls(address, HOST, &config);
    become_known(connect)?;
    let mut kept = (0..KEPT).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    assert_eq!(refused(&node)?, 0.0, "no handshake is refused while there is time");

    let hello = hello(&config)?;
    let attack = Attack::begin(address, &hello);
    // It is late by then: one that keeps up refuses nobody's. Requests need not be shed for that.
    node.wait_for_event(|event| event["event"] == "abuse" && event["kind"] == "handshake_flood")?;
    let mut rounds = 0;
    while rounds < ROUNDS || refused(&node)? < REFUSED {
        for visitor in &mut kept {
            served(visitor).with_context(|| format!("round {rounds}, connected"))?;
        }
        // A node that refuses nobody is not waited for without end.
        ensure!(rounds < ROUNDS_MAX, "{} refused after {rounds} rounds", refused(&node)?);
        let mut again = connect().with_context(|| format!("round {rounds}, known"))?;
        served(&mut again).with_context(|| format!("round {rounds}, known"))?;
        rounds += 1;
    }
    let answered = attack.end()?;
    assert!(answered > 0, "strangers have a part of the time");
    let completed = node.metric("rempart_tls_handshakes_total{version=\"1.3\",result=\"full\"}")?;
    ensure!(completed >= Some(f64::from(ROUNDS)), "{completed:?}");
    // Once the thread keeps up again, every handshake has its time.
    node.wait_until("a stranger's handshake", || {
        is_answered(200, address, &hello).is_ok_and(|is_answered| is_answered)
    })?;
    drop(kept);
    node.finish_healthy()
}
