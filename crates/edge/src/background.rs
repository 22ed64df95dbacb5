//! Threads that give way to those that serve: a lower priority for what visitors wait for less.
//!
//! The scheduler then gives a core to a serving thread as soon as one wants it, and what remains to the
//! others: by [`NICE`] a tenth of a core that serving threads keep busy all the time. A thread may always
//! lower its own priority, without any privilege; only a filter of system calls can refuse it. Called by the
//! pools as their threads begin.

use telemetry::events::Events;

/// How much a thread gives way: at 10 its weight is 110 beside 1,024 (`sched_prio_to_weight` in the kernel's
/// `kernel/sched/core.c`), a share of 9.7 %. At the most, 19, it would be 1.4 %, and a body of 5 ms would
/// take a third of a second.
const NICE: i32 = 10;

/// The lowest priority there is (setpriority(2)); the kernel takes a larger number for it.
const NICE_MAX: i32 = 19;

/// Who hears that a priority could not be lowered.
pub(crate) type Told = Events;

/// Lowers the calling thread's priority.
pub(crate) fn give_way(told: &Told) {
    // On Linux the priority is a thread's, and no number is the caller's. It begins as that of the node,
    // which may have been started with less than others.
    let own = rustix::process::getpriority_process(None).unwrap_or_default();
    if let Err(error) = rustix::process::setpriority_process(None, (own + NICE).min(NICE_MAX)) {
        let cause = error.to_string();
        let fields = [
            ("cause", cause.as_str().into()),
            ("remedy", "allow the call setpriority, or visitors wait for bodies under inspection".into()),
        ];
        told.warn("priority_kept", &fields);
    }
}
