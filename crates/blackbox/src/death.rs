//! The signals that a broken thread dies of: its slot is marked, then whoever stood there before acts.
//!
//! The action does what a signal's action may: it reads a thread-local without a destructor, stores an
//! atomic, and puts the earlier action back. A fault then happens again under the earlier action, which is
//! the standard library's report of a stack overflow, or the end. A signal that was sent is sent again and
//! ends the process: the standard library's action would wait for a fault that does not come.
//! It runs on the thread's alternate stack, which the standard library makes for each thread it starts.

use std::cell::Cell;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::Slot;

/// What a thread dies of when it is broken; SIGKILL cannot be seen.
const SIGNALS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGABRT, Signal::SIGILL, Signal::SIGFPE];

/// The actions that stood there before ours.
static BEFORE: [OnceLock<SigAction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

/// Whether the actions are in place.
static WATCHES: Mutex<bool> = Mutex::new(false);

thread_local! {
    static MINE: Cell<Option<Slot>> = const { Cell::new(None) };
}

/// Makes the calling thread's death be noted in a slot.
pub(crate) fn bind(slot: Slot) {
    MINE.set(Some(slot));
}

/// Puts the actions in place, once a process.
pub(crate) fn watch() -> io::Result<()> {
    let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
    if *watches {
        return Ok(());
    }
    let action = SigAction::new(SigHandler::SigAction(on_death), SaFlags::SA_ONSTACK, SigSet::empty());
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        // SAFETY: `on_death` does only what a signal's action may, as the module's head says.
        #[expect(unsafe_code, reason = "a signal's action cannot be set without")]
        let earlier = unsafe { sigaction(signal, &action) }?;
        let _set_once_under_the_lock = before.set(earlier);
    }
    *watches = true;
    Ok(())
}

extern "C" fn on_death(number: libc::c_int, facts: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives the facts to an action that asked for them (SA_SIGINFO), valid while it runs;
    // a sender is among them where the code says that a process sent the signal, and only then is it read.
    #[expect(unsafe_code, reason = "the kernel's facts come as a pointer")]
    let (code, is_own) = unsafe {
        let code = (*facts).si_code;
        (code, code == libc::SI_TKILL && (*facts).si_pid() == libc::getpid())
    };
    // A fault is this thread's; a signal that it raised itself too (abort). One from another process comes to
    // any thread, and blames none.
    if (code > 0 || is_own)
        && let Some(slot) = MINE.get()
    {
        slot.mark_death(number);
    }
    let place = SIGNALS.iter().position(|signal| *signal as libc::c_int == number);
    let before = place.and_then(|place| BEFORE.get(place)).and_then(OnceLock::get).filter(|_| code > 0);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    if let Some(signal) = place.and_then(|place| SIGNALS.get(place)) {
        // SAFETY: an action that stood there before, or the system's own.
        #[expect(unsafe_code, reason = "a signal's action cannot be set without")]
        let _nothing_left_to_do = unsafe { sigaction(*signal, before.unwrap_or(&default)) };
    }
    if code <= 0 {
        // Blocked until this action returns. After a fault nothing is raised: the instruction runs again.
        // SAFETY: `raise` may be called from a signal's action (POSIX.1-2017 §2.4.3).
        #[expect(unsafe_code, reason = "a call of the system's library")]
        let _cannot_fail_for_a_known_signal = unsafe { libc::raise(number) };
    }
}
