//! Waiting for the ports of an earlier run.
//!
//! When a supervisor is killed, its edge drains: it closes its listeners within a moment, but holds UDP
//! sockets while QUIC connections end. A new supervisor that comes at once finds the ports taken. It knows
//! that this is the case by `addresses.json`, which only an unclean end leaves behind, and by the data
//! folder's lock, which says that no other supervisor lives; then it waits as long as a drain may take.
//! Otherwise a port that is taken is an error at once. Called by [`super`].

use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::addresses::Addresses;
use crate::clock;
use crate::commands::tell;
use crate::signals::Signals;

/// How much longer than a drain to wait.
const GRACE: Duration = Duration::from_secs(6);

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for ports, if at all.
pub(super) struct Patience<'a> {
    until: Option<Instant>,
    signals: &'a Signals,
}

impl<'a> Patience<'a> {
    /// Looks for what an earlier run left behind. The caller has the data folder's lock.
    pub(super) fn new(data_dir: &Path, drain_ms: u64, signals: &'a Signals) -> Self {
        let is_unclean = Addresses::path(data_dir).exists();
        let wait = Duration::from_millis(drain_ms) + GRACE;
        Self { until: is_unclean.then(|| clock::now() + wait), signals }
    }

    /// Binds; while the address is taken and there is patience left, again.
    ///
    /// # Errors
    /// Those of `bind`, or that a signal asked to stop meanwhile.
    pub(super) fn bind<Bound>(&self, bind: impl Fn() -> Result<Bound>) -> Result<Bound> {
        let mut is_told = false;
        loop {
            let error = match bind() {
                Err(error) if is_in_use(&error) && self.until.is_some_and(|until| clock::now() < until) => {
                    error
                }
                outcome => return outcome,
            };
            if !is_told {
                is_told = true;
                tell(&format!("an earlier run did not end cleanly; waiting for it to let go: {error:#}"));
            }
            while let Some(signal) = self.signals.next() {
                if matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) {
                    bail!("told to stop while waiting for ports");
                }
            }
            thread::sleep(PAUSE);
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;

    use testkit::folder::Folder;

    use super::*;
    use crate::sockets::{Given, bind_listener};

    #[test]
    fn a_taken_port_is_an_error_at_once_after_a_clean_end() {
        let folder = Folder::new().unwrap();
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let signals = Signals::take().unwrap();
        let tries = Cell::new(0);
        let outcome = Patience::new(folder.path(), 60_000, &signals).bind(|| {
            tries.set(tries.get() + 1);
            bind_listener(address, 1, false, &mut Given::default())
        });
        assert!(outcome.is_err());
        assert_eq!(tries.get(), 1);
    }

    #[test]
    fn after_an_unclean_end_the_port_is_tried_until_it_is_free() {
        let folder = Folder::new().unwrap();
        folder.write("addresses.json", "{}").unwrap();
        let holder = Cell::new(Some(TcpListener::bind("127.0.0.1:0").unwrap()));
        let listener = holder.take().unwrap();
        let address = listener.local_addr().unwrap();
        holder.set(Some(listener));
        let signals = Signals::take().unwrap();
        let tries = Cell::new(0);
        let bound = Patience::new(folder.path(), 60_000, &signals).bind(|| {
            tries.set(tries.get() + 1);
            if tries.get() == 3 {
                drop(holder.take());
            }
            bind_listener(address, 1, false, &mut Given::default())
        });
        assert_eq!((bound.unwrap().address, tries.get()), (address, 3));
    }

    #[test]
    fn other_failures_are_not_waited_for() {
        let folder = Folder::new().unwrap();
        folder.write("addresses.json", "{}").unwrap();
        let signals = Signals::take().unwrap();
        let patience = Patience::new(folder.path(), 60_000, &signals);
        assert!(
            patience
                .bind(|| bind_listener(([192, 0, 2, 1], 0).into(), 1, false, &mut Given::default()))
                .is_err()
        );
    }
}
