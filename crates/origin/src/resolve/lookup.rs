//! Looks a name up: hosts file first, then the servers of `resolv.conf`, over UDP and where need be TCP.
//!
//! Both families are asked for at once. What it does not do: it keeps no answers (`resolve.rs` does), checks
//! no signatures (the server asked does that or does not), and follows no referrals: it is a stub resolver
//! (RFC 1034 §5.3.1). Time is that of the thread's deadlines. Read next: `message.rs`, `system.rs`.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;

use exchange::{Deadlines, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::message::{Answer, DnsName, Family, NoAnswer, Outcome, read_answer, write_question};
use super::system::{Settings, System};
use crate::connect::within;

/// Look-ups under way at once per thread, each with two sockets at most at a time; more wait for their turn.
/// Enough for 300 names a second at 200 ms each.
const LOOKUPS_MAX: usize = 64;

/// One look-up may take this long over all servers, rounds and domains searched, in milliseconds. Nobody
/// waits that long: exchanges wait for a connection's time, and stale addresses serve meanwhile.
const LOOKUP_MS_MAX: u64 = 30_000;

/// How long the slower family is waited for once the other has addresses, in milliseconds. RFC 8305 §3 has
/// 50 ms; a deadline's grain is coarser, and what comes too late is missing until the answer expires.
const SLOWER_FAMILY_MS: u64 = 500;

/// Datagrams that answer something else, borne for each question. More is somebody guessing ids.
const STRAYS_MAX: usize = 16;

/// Answers over UDP are 512 bytes at most without EDNS (RFC 1035 §4.2.1); some servers send more.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// What the hosts file says is believed this long, in seconds: looking again costs two system calls.
const HOSTS_TTL_S: u32 = 5;

/// Addresses of a name, in the order to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// At least one.
    pub(super) addresses: Vec<IpAddr>,
    /// As the records say, unbounded.
    pub(super) ttl_s: u32,
}

/// A thread's way to ask.
pub(super) struct Asker {
    deadlines: Rc<Deadlines>,
    system: RefCell<System>,
    turns: Semaphore,
    /// The server that answered last: where the first of the list is down, not every look-up waits for it.
    answered: Cell<usize>,
}

/// The names to ask for, in turn: with the dots of a whole name first as it is, else behind the search list.
fn candidates(host: &str, settings: &Settings) -> Vec<DnsName> {
    let itself = DnsName::of(host);
    if host.ends_with('.') {
        return itself.into_iter().collect();
    }
    let searched = settings.search.iter().filter_map(|domain| DnsName::of(&format!("{host}.{domain}")));
    let is_whole = host.bytes().filter(|byte| *byte == b'.').count() >= settings.dots;
    let (before, after) = if is_whole { (itself, None) } else { (None, itself) };
    before.into_iter().chain(searched).chain(after).collect()
}

/// Puts the two families' addresses in turn, IPv6 first, so that a family that does not work costs one
/// attempt (RFC 8305 §4); those without a route go last, as the first rule of RFC 6724 §6 has it. The other
/// rules of that order weigh kinds of addresses that origins seldom have, and are left out.
fn in_turn(v6: Vec<IpAddr>, v4: Vec<IpAddr>, has_route: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    let has_both = !v6.is_empty() && !v4.is_empty();
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(v6.next());
        all.extend(v4.next());
        if all.len() == before {
            break;
        }
    }
    if has_both {
        all.sort_by_cached_key(|ip| !has_route(ip));
    }
    all
}

/// Whether the kernel knows a way to an address. Connecting a datagram socket sends nothing.
fn has_route(ip: &IpAddr) -> bool {
    let own = unspecified(ip);
    std::net::UdpSocket::bind(own).and_then(|socket| socket.connect((*ip, 9))).is_ok()
}

fn unspecified(like: &IpAddr) -> SocketAddr {
    match like {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn io_fault(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::TimedOut { Fault::DnsTimeout } else { Fault::DnsError }
}

/// An id that nobody can guess (RFC 5452 §9.2); the port is the kernel's choice, another for each question.
fn unguessable() -> Result<u16, Fault> {
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| Fault::ProxyInternalError)?;
    Ok(u16::from_be_bytes(id))
}

async fn over_udp(server: SocketAddr, name: &DnsName, family: Family) -> Result<Answer, Fault> {
    let id = unguessable()?;
    let question = write_question(id, name, family);
    let work = async {
        let socket = UdpSocket::bind(unspecified(&server.ip())).await?;
        // Connected: the kernel drops what others send, and tells when nobody listens there.
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..STRAYS_MAX {
            let length = socket.recv(&mut datagram).await?;
            match read_answer(datagram.get(..length).unwrap_or_default(), id, name, family) {
                Ok(answer) => return Ok(Some(answer)),
                Err(NoAnswer::NotToThis) => {}
                Err(NoAnswer::Broken) => return Ok(None),
            }
        }
        Ok(None)
    };
    work.await.map_err(|error| io_fault(&error))?.ok_or(Fault::DnsError)
}

/// As [`over_udp`], each message with its length before it (RFC 1035 §4.2.2).
async fn over_tcp(server: SocketAddr, name: &DnsName, family: Family) -> Result<Answer, Fault> {
    let id = unguessable()?;
    let question = write_question(id, name, family);
    let work = async {
        let mut stream = TcpStream::connect(server).await?;
        let mut framed = (question.len() as u16).to_be_bytes().to_vec(); // 271 at most
        framed.extend_from_slice(&question);
        stream.write_all(&framed).await?;
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        Ok(message)
    };
    let message = work.await.map_err(|error: io::Error| io_fault(&error))?;
    read_answer(&message, id, name, family).map_err(|_| Fault::DnsError)
}

impl Asker {
    pub(super) fn new(deadlines: Rc<Deadlines>, system: System) -> Self {
        let turns = Semaphore::new(LOOKUPS_MAX);
        Self { deadlines, system: RefCell::new(system), turns, answered: Cell::new(0) }
    }

    /// Finds the addresses of a name that is neither an address nor one of those that mean this machine.
    ///
    /// # Errors
    ///
    /// [`Fault::DnsError`] if there is no such name, it has no address, or no server would say;
    /// [`Fault::DnsTimeout`] if the last server asked did not answer in time.
    pub(super) async fn find(&self, host: &str) -> Result<Found, Fault> {
        let _turn = self.turns.acquire().await.map_err(|_| Fault::ProxyInternalError)?;
        let settings = {
            let mut system = self.system.borrow_mut();
            system.look();
            let addresses = system.hosts_of(host);
            if !addresses.is_empty() {
                return Ok(Found { addresses, ttl_s: HOSTS_TTL_S });
            }
            system.settings().clone()
        };
        let work = async {
            let mut fault = Fault::DnsError;
            for name in candidates(host, &settings) {
                match self.both_families(&name, &settings).await {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    // A domain that is searched may be out of order, and the name is not in it anyway.
                    Err(Fault::DnsError) => fault = Fault::DnsError,
                    Err(other) => return Err(other),
                }
            }
            Err(fault)
        };
        within(&self.deadlines.slot(), LOOKUP_MS_MAX, Fault::DnsTimeout, work).await
    }

    /// The IPv4 addresses of exactly this name, as name servers say; no hosts file is looked at.
    ///
    /// # Errors
    ///
    /// As [`Asker::find`], but that a name which is not there has no addresses.
    pub(super) async fn records(&self, name: &DnsName) -> Result<Answer, Fault> {
        let _turn = self.turns.acquire().await.map_err(|_| Fault::ProxyInternalError)?;
        let settings = {
            let mut system = self.system.borrow_mut();
            system.look();
            system.settings().clone()
        };
        let work = self.ask(name, Family::V4, &settings);
        within(&self.deadlines.slot(), LOOKUP_MS_MAX, Fault::DnsTimeout, work).await
    }

    /// The addresses of exactly this name; none if there are none.
    async fn both_families(&self, name: &DnsName, settings: &Settings) -> Result<Option<Found>, Fault> {
        let has_some = |answer: &Result<Answer, Fault>| matches!(answer, Ok(it) if !it.addresses.is_empty());
        let mut v6 = pin!(self.ask(name, Family::V6, settings));
        let mut v4 = pin!(self.ask(name, Family::V4, settings));
        let deadline = self.deadlines.slot();
        let limit_ms = |is_enough: bool| if is_enough { SLOWER_FAMILY_MS } else { 0 };
        let (v6, v4) = tokio::select! {
            biased;
            v6 = &mut v6 => {
                let v4 = within(&deadline, limit_ms(has_some(&v6)), Fault::DnsTimeout, v4).await;
                (v6, v4)
            }
            v4 = &mut v4 => {
                let v6 = within(&deadline, limit_ms(has_some(&v4)), Fault::DnsTimeout, v6).await;
                (v6, v4)
            }
        };
        if !has_some(&v6) && !has_some(&v4) {
            return v6.and(v4).map(|_| None);
        }
        let own = |answer: Result<Answer, Fault>| match answer {
            Ok(answer) if !answer.addresses.is_empty() => (answer.addresses, answer.ttl_s),
            _ => (Vec::new(), u32::MAX),
        };
        let ((v6, v6_ttl_s), (v4, v4_ttl_s)) = (own(v6), own(v4));
        Ok(Some(Found { addresses: in_turn(v6, v4, has_route), ttl_s: v6_ttl_s.min(v4_ttl_s) }))
    }

    /// Asks the servers in turn until one answers.
    async fn ask(&self, name: &DnsName, family: Family, settings: &Settings) -> Result<Answer, Fault> {
        let mut fault = Fault::DnsError;
        let (first, count) = (self.answered.get(), settings.servers.len());
        for turn in 0..count * settings.rounds {
            let place = (first + turn) % count;
            let Some(server) = settings.servers.get(place) else { continue };
            match self.ask_one(*server, name, family, settings.timeout_ms).await {
                Ok(answer) if answer.outcome != Outcome::Failed => {
                    self.answered.set(place);
                    return Ok(answer);
                }
                Ok(_) => fault = Fault::DnsError,
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    async fn ask_one(
        &self,
        server: SocketAddr,
        name: &DnsName,
        family: Family,
        timeout_ms: u64,
    ) -> Result<Answer, Fault> {
        let (deadline, late) = (self.deadlines.slot(), Fault::DnsTimeout);
        let answer = within(&deadline, timeout_ms, late, over_udp(server, name, family)).await?;
        if answer.outcome != Outcome::Truncated {
            return Ok(answer);
        }
        match within(&deadline, timeout_ms, late, over_tcp(server, name, family)).await {
            // Where TCP is blocked, some of the addresses are better than none.
            Err(_) if !answer.addresses.is_empty() => Ok(answer),
            whole => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<DnsName> {
        names.iter().map(|name| DnsName::of(name).expect("a name")).collect()
    }

    #[test]
    fn short_names_are_searched_first_and_whole_ones_last() {
        let search = vec!["a.example".to_owned(), "b.example.".to_owned()];
        let settings = Settings { search, ..Settings::default() };
        assert_eq!(candidates("shop", &settings), named(&["shop.a.example", "shop.b.example", "shop"]));
        let whole = ["shop.test", "shop.test.a.example", "shop.test.b.example"];
        assert_eq!(candidates("shop.test", &settings), named(&whole));
        assert_eq!(candidates("shop.", &settings), named(&["shop"]));
        assert_eq!(candidates("shop..test", &settings), []);
    }

    #[test]
    fn families_take_turns_and_what_has_no_route_goes_last() {
        let ips = |list: &[&str]| -> Vec<IpAddr> {
            list.iter().map(|ip| ip.parse().expect("an address")).collect()
        };
        let (v6, v4) = (ips(&["2001:db8::1", "2001:db8::2"]), ips(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]));
        let all = in_turn(v6.clone(), v4.clone(), |_| true);
        assert_eq!(all, ips(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]));
        let last = in_turn(v6, v4.clone(), IpAddr::is_ipv4);
        assert_eq!(last, ips(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]));
        assert_eq!(in_turn(Vec::new(), v4.clone(), |_| false), v4);
    }
}
