//! Signals as a descriptor to poll (signalfd(2)), so that no code runs inside a signal handler.
//!
//! It decides nothing about what a signal means. Called by [`crate::supervisor`],
//! [`crate::edge_role`] and [`crate::demo_site`].

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals of a node.
const SIGNALS: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Signals that wait to be read.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Takes the node's signals away from their defaults for this thread and all threads started later;
    /// children get the defaults back from `Command`. So it is called before any thread is started.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn take() -> Result<Self> {
        let mut set = SigSet::empty();
        SIGNALS.iter().for_each(|signal| set.add(*signal));
        set.thread_block().context("signals cannot be blocked")?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("signals cannot be read: the kernel makes no signalfd")?;
        Ok(Self(descriptor))
    }

    /// Reads the next signal that came; `None` when none is left.
    pub(crate) fn next(&self) -> Option<Signal> {
        let came = self.0.read_signal().ok().flatten()?;
        Signal::try_from(libc::c_int::try_from(came.ssi_signo).ok()?).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
