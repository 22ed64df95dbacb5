//! A turnstile between a test and a script: the script waits, the test lets it take one more step.
//!
//! It carries no values and keeps no time. Scripts of [`crate::origin`] and the sites use it, so that
//! "slowly" in a test means "one step for each `open`" and never a sleep. Read next:
//! [`crate::origin::answer`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::Notify;

/// The longest any wait of this crate lasts. It only bounds a failure: nothing waits this long in a run that
/// passes, and it is far above what a loaded two-core machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A counted permit to go on. Clones share the count.
#[derive(Clone, Default)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    permits: Mutex<u64>,
    opened: Condvar,
    notify: Notify,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets one more step pass, now or when it comes.
    pub fn open(&self) {
        self.open_times(1);
    }

    /// Lets `count` more steps pass.
    pub fn open_times(&self, count: u64) {
        let mut permits = self.inner.permits.lock().unwrap_or_else(PoisonError::into_inner);
        *permits = permits.saturating_add(count);
        drop(permits);
        self.inner.opened.notify_all();
        self.inner.notify.notify_waiters();
    }

    /// Lets everything pass from now on.
    pub fn open_for_good(&self) {
        self.open_times(u64::MAX / 2);
    }

    /// Waits for one permit and takes it, blocking the thread.
    ///
    /// # Errors
    /// After [`PATIENCE`] without a permit.
    pub fn pass(&self) -> Result<()> {
        let permits = self.inner.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut permits, late) = self
            .inner
            .opened
            .wait_timeout_while(permits, PATIENCE, |permits| *permits == 0)
            .unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            bail!("nobody opened the gate");
        }
        *permits -= 1;
        Ok(())
    }

    /// Waits for one permit and takes it, without blocking the thread. Dropping the future takes nothing.
    ///
    /// # Errors
    /// After [`PATIENCE`] without a permit.
    pub async fn passed(&self) -> Result<()> {
        let wait = async {
            loop {
                let notified = self.inner.notify.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if self.take() {
                    return;
                }
                notified.await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(()) => Ok(()),
            Err(_) => bail!("nobody opened the gate"),
        }
    }

    fn take(&self) -> bool {
        let mut permits = self.inner.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let may_pass = *permits > 0;
        if may_pass {
            *permits -= 1;
        }
        may_pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_once_for_each_opening() {
        let gate = Gate::new();
        gate.open_times(2);
        gate.pass().unwrap();
        gate.pass().unwrap();
        assert!(!gate.take());
    }

    #[test]
    fn wakes_a_waiting_thread_and_a_waiting_task() {
        let gate = Gate::new();
        let waiting = std::thread::spawn({
            let gate = gate.clone();
            move || gate.pass()
        });
        gate.open();
        waiting.join().unwrap().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let opener = gate.clone();
        runtime.block_on(async {
            let (passed, ()) = tokio::join!(gate.passed(), async { opener.open() });
            passed.unwrap();
        });
    }
}
