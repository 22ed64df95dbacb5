//! Names of origins to addresses, per thread: what is known, for how long, and who waits for what is not.
//!
//! A stub resolver of our own, because the system's (`getaddrinfo`) does not tell how long an answer holds.
//! A name is looked up once however many ask for it; an exchange waits only for a name that is not known yet.
//! Once an answer has expired, the next exchange to need it still gets it, and a new one is fetched beside
//! it. While no new answer can be had, the old one serves on, a day at most. What it does not do: it reads no
//! clock, remembers nothing over a restart, and asks for no name that no exchange needs.
//! Called by `connect.rs`. Read next: `resolve/lookup.rs` for how a name is asked for.

pub mod lists;
mod lookup;
pub mod message;
pub mod system;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use exchange::{Deadlines, Fault};
use tokio::sync::Notify;

use crate::map::Map;
use lookup::{Asker, Found};
use system::System;

/// Shortest time an answer is believed, in milliseconds, however short its TTL: a TTL of 0 would have every
/// connection ask again, and name servers limit who asks more often than this.
pub(crate) const FRESH_MS_MIN: u64 = 1000;

/// Longest time an answer is believed, in milliseconds, however long its TTL: an origin that moved is found
/// again within the hour even if somebody left a TTL of days.
pub(crate) const FRESH_MS_MAX: u64 = 3_600_000;

/// After a failure, when to ask again for a name whose old addresses serve, in milliseconds. The servers
/// asked remember failures themselves (RFC 2308 §7: up to five minutes), so asking them is cheap.
const RETRY_MS: u64 = 5000;

/// After a failure, how long everybody hears of it at once, for a name without addresses, in milliseconds:
/// exchanges for a name that does not exist cause one look-up a second.
const FAILED_MS: u64 = 1000;

/// How long addresses serve after their answer was got, in milliseconds, when nothing newer can be had. RFC
/// 8767 §5 advises one to three days: long enough for an outage of names, short enough that an address that
/// was given to somebody else meanwhile is not used for ever.
const STALE_MS_MAX: u64 = 24 * 3_600_000;

/// Addresses kept of one name: beyond them nobody would wait for the attempts.
const ADDRESSES_MAX: usize = 16;

/// Names kept per thread; when it is full, all are asked for again. Pools bound the number in practice.
const NAMES_MAX: usize = 16_384;

type Addresses = Rc<[IpAddr]>;

/// What is known of a name.
struct Known {
    addresses: Option<Addresses>,
    /// The last failure; said where there are no addresses.
    fault: Fault,
    ask_again_ms: u64,
    stale_until_ms: u64,
    /// Tells when the look-up under way has ended; none while none is.
    asked: Option<Rc<Notify>>,
}

/// The names a thread knows.
pub(crate) struct Resolver {
    asker: Asker,
    known: RefCell<Map<Box<str>, Known>>,
    now_ms: Cell<u64>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("names", &self.known.borrow().len()).finish_non_exhaustive()
    }
}

/// A look-up under way. However its task ends, the name is not left as one that is being asked for.
struct Lookup {
    resolver: Rc<Resolver>,
    host: Box<str>,
    asked: Rc<Notify>,
    result: Result<Found, Fault>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Err(Fault::DnsError));
        self.resolver.settle(&self.host, result);
        self.asked.notify_waiters();
    }
}

/// The answer for hosts that nobody is asked about: addresses, this machine, and what by definition does not
/// exist (RFC 6761 §6.3 and §6.4).
fn without_asking(host: &str) -> Option<Result<Addresses, Fault>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Ok([ip].into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit('.').next().unwrap_or(name);
    if top.eq_ignore_ascii_case("localhost") {
        return Some(Ok([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into()));
    }
    top.eq_ignore_ascii_case("invalid").then_some(Err(Fault::DnsError))
}

fn with_port(addresses: &[IpAddr], port: u16) -> Rc<[SocketAddr]> {
    addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}

impl Resolver {
    /// Asks as this machine's `/etc/hosts` and `/etc/resolv.conf` say. `deadlines` are the thread's.
    pub(crate) fn new(deadlines: Rc<Deadlines>) -> Rc<Self> {
        Self::asking(deadlines, System::new())
    }

    /// Asks as a system says.
    fn asking(deadlines: Rc<Deadlines>, system: System) -> Rc<Self> {
        let asker = Asker::new(deadlines, system);
        Rc::new(Self { asker, known: RefCell::default(), now_ms: Cell::new(0) })
    }

    /// The addresses of a host, at most 16, in the order to try.
    ///
    /// Waits only for a name without addresses; the caller sets the limit of time. Dropping the future does
    /// not end the look-up, whose answer then serves the next who asks.
    ///
    /// # Errors
    ///
    /// [`Fault::DnsError`] if the name has no address or no server would say, [`Fault::DnsTimeout`] if none
    /// answered in time.
    pub(crate) async fn resolve(
        self: &Rc<Self>,
        host: &str,
        port: u16,
        now_ms: u64,
    ) -> Result<Rc<[SocketAddr]>, Fault> {
        if let Some(answer) = without_asking(host) {
            return answer.map(|addresses| with_port(&addresses, port));
        }
        let now_ms = now_ms.max(self.now_ms.get());
        self.now_ms.set(now_ms);
        let asked = match self.at_once(host, now_ms) {
            Ok(answer) => return answer.map(|addresses| with_port(&addresses, port)),
            Err(asked) => asked,
        };
        // Between the look above and this line nothing else runs, so the end cannot be missed.
        asked.notified().await;
        let known = self.known.borrow();
        match known.get(host) {
            Some(Known { addresses: Some(addresses), .. }) => Ok(with_port(addresses, port)),
            Some(one) => Err(one.fault),
            None => Err(Fault::DnsError),
        }
    }

    /// What can be said now, or whom to wait for. Begins a look-up if one is due.
    fn at_once(self: &Rc<Self>, host: &str, now_ms: u64) -> Result<Result<Addresses, Fault>, Rc<Notify>> {
        let mut known = self.known.borrow_mut();
        if !known.contains_key(host) && known.len() >= NAMES_MAX {
            known.retain(|_, one| one.asked.is_some());
        }
        if !known.contains_key(host) {
            let (fault, asked) = (Fault::DnsError, None);
            let new = Known { addresses: None, fault, ask_again_ms: 0, stale_until_ms: 0, asked };
            known.insert(host.into(), new);
        }
        let Some(one) = known.get_mut(host) else { return Ok(Err(Fault::ProxyInternalError)) };
        if one.asked.is_none() && now_ms >= one.ask_again_ms {
            one.asked = Some(self.ask(host));
        }
        match (&one.addresses, &one.asked) {
            (Some(addresses), _) if now_ms < one.stale_until_ms => Ok(Ok(Rc::clone(addresses))),
            (_, Some(asked)) => Err(Rc::clone(asked)),
            (_, None) => Ok(Err(one.fault)),
        }
    }

    /// Begins a look-up on a task of its own, so that no exchange that gives up takes it away from others.
    fn ask(self: &Rc<Self>, host: &str) -> Rc<Notify> {
        let asked = Rc::<Notify>::default();
        let mut lookup = Lookup {
            resolver: Rc::clone(self),
            host: host.into(),
            asked: Rc::clone(&asked),
            result: Err(Fault::DnsError),
        };
        tokio::task::spawn_local(async move {
            lookup.result = lookup.resolver.asker.find(&lookup.host).await;
            drop(lookup);
        });
        asked
    }

    /// Keeps what a look-up found, or when to try again.
    fn settle(&self, host: &str, result: Result<Found, Fault>) {
        let now_ms = self.now_ms.get();
        let mut known = self.known.borrow_mut();
        let Some(one) = known.get_mut(host) else { return };
        one.asked = None;
        match result {
            Ok(found) => {
                let fresh_ms = (u64::from(found.ttl_s) * 1000).clamp(FRESH_MS_MIN, FRESH_MS_MAX);
                one.addresses = Some(found.addresses.into_iter().take(ADDRESSES_MAX).collect());
                (one.ask_again_ms, one.stale_until_ms) = (now_ms + fresh_ms, now_ms + STALE_MS_MAX);
            }
            Err(fault) => {
                if now_ms >= one.stale_until_ms {
                    one.addresses = None;
                }
                let pause_ms = if one.addresses.is_some() { RETRY_MS } else { FAILED_MS };
                (one.fault, one.ask_again_ms) = (fault, now_ms + pause_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests;
