//! Names of origins to addresses, per thread.
//!
//! The system's resolver does the work (`getaddrinfo` on a helper thread), so `/etc/hosts`, search domains
//! and local caches count as everywhere on the machine. It does not tell how long an answer holds; each is
//! therefore asked again after [`REFRESH_MS`]. While a new answer is awaited, and when it cannot be had, the
//! old one serves. A resolver of our own that honours TTLs is a later step.
//! Called by `connect.rs`.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use crate::map::Map;
use exchange::Fault;

/// Age at which an answer is asked for again, in milliseconds: common TTLs of origins that move are 30 to 60
/// seconds.
pub(crate) const REFRESH_MS: u64 = 30_000;

/// Addresses kept of one name: beyond them nobody would wait for the attempts.
const ADDRESSES_MAX: usize = 16;

/// Names kept per thread; when it is full, all are asked again. Pools bound the number in practice.
const NAMES_MAX: usize = 16_384;

type Addresses = Rc<[SocketAddr]>;

struct Answer {
    addresses: Addresses,
    at_ms: u64,
    is_asking: bool,
}

/// The answers a thread knows.
#[derive(Default)]
pub(crate) struct Resolver {
    known: RefCell<Map<(Box<str>, u16), Answer>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("names", &self.known.borrow().len()).finish()
    }
}

async fn ask(host: &str, port: u16) -> Result<Addresses, Fault> {
    let found =
        tokio::net::lookup_host((host, port)).await.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::DnsTimeout,
            _ => Fault::DnsError,
        })?;
    let addresses: Addresses = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Err(Fault::DnsError) } else { Ok(addresses) }
}

impl Resolver {
    fn keep(&self, host: &str, port: u16, addresses: Addresses, now_ms: u64) {
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert((host.into(), port), Answer { addresses, at_ms: now_ms, is_asking: false });
    }

    /// The addresses of a host, literal addresses included, in the order to try.
    ///
    /// Waits only for a name that was never resolved; the caller sets the limit of time.
    pub(crate) async fn resolve(
        self: &Rc<Self>,
        host: &str,
        port: u16,
        now_ms: u64,
    ) -> Result<Addresses, Fault> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, port)].into());
        }
        let key = (host.into(), port);
        if let Some(answer) = self.known.borrow_mut().get_mut(&key) {
            if now_ms.saturating_sub(answer.at_ms) >= REFRESH_MS && !answer.is_asking {
                answer.is_asking = true;
                self.refresh(host, port, now_ms);
            }
            return Ok(Rc::clone(&answer.addresses));
        }
        let addresses = ask(host, port).await?;
        self.keep(host, port, Rc::clone(&addresses), now_ms);
        Ok(addresses)
    }

    /// Asks again beside the exchange that noticed; one task per name at a time.
    fn refresh(self: &Rc<Self>, host: &str, port: u16, now_ms: u64) {
        let (resolver, host) = (Rc::clone(self), host.to_owned());
        tokio::task::spawn_local(async move {
            match ask(&host, port).await {
                Ok(addresses) => resolver.keep(&host, port, addresses, now_ms),
                Err(_) => {
                    if let Some(answer) = resolver.known.borrow_mut().get_mut(&(host.into(), port)) {
                        // The old addresses serve on; asked again after another interval.
                        (answer.is_asking, answer.at_ms) = (false, now_ms);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_addresses_serve_while_and_after_a_new_answer_cannot_be_had() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (resolver, host) = (Rc::<Resolver>::default(), "gone.invalid");
        let old: Addresses = [SocketAddr::from(([192, 0, 2, 1], 80))].into();
        resolver.keep(host, 80, Rc::clone(&old), 0);
        let state = |resolver: &Resolver| {
            let known = resolver.known.borrow();
            let answer = known.get(&(host.into(), 80)).expect("it is kept");
            (answer.at_ms, answer.is_asking)
        };
        tokio::task::LocalSet::new().block_on(&runtime, async {
            for now_ms in [0, REFRESH_MS - 1] {
                assert_eq!(resolver.resolve(host, 80, now_ms).await, Ok(Rc::clone(&old)));
                assert_eq!(state(&resolver), (0, false), "still fresh");
            }
            for _ in 0..3 {
                assert_eq!(resolver.resolve(host, 80, REFRESH_MS).await, Ok(Rc::clone(&old)));
                assert_eq!(state(&resolver), (0, true), "asked once, and not waited for");
            }
            while state(&resolver).1 {
                tokio::task::yield_now().await;
            }
            assert_eq!(state(&resolver), (REFRESH_MS, false));
            assert_eq!(resolver.resolve(host, 80, REFRESH_MS + 1).await, Ok(old));
        });
    }
}
