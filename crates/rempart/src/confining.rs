//! What a child may do: limits of the kernel's on it, rights, dumps of its memory, and who dies first.
//!
//! A child does this to itself, first of all and for good: hard limits are lowered, and nobody without a
//! right to it raises them again. So whoever takes one over has no more than it. A system that refuses one
//! of these (a service manager's filter may) gets a child without it, since visitors go before it. Which role
//! has what, and which limits are left alone on purpose, is written down in `docs/processes.md`. Called by
//! [`crate::edge_role`] and [`crate::splice_role`].

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

use crate::control::Role;
use crate::sockets::raise_descriptor_limit;

/// Bytes of the first thread's stack, which waits for messages. It is what systems give, bounded also where
/// the starting shell has no limit (`ulimit -s unlimited`). Other threads have stacks of their own sizes.
const STACK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The most that a child may ever have of these, soft and hard. What is lower already stays.
///
/// Not among them, since a limit that is reached would end what serves, or tells a lie: RLIMIT_FSIZE (a log
/// as large as that kills its writer), RLIMIT_NPROC (counts every process of the user's, also those that are
/// not the node's), RLIMIT_AS and RLIMIT_DATA (count what the allocator merely reserves), RLIMIT_CPU
/// (an edge serves for years; a candidate's is bounded while it compiles).
const LIMITS: [(Resource, u64); 6] = [
    // Private keys are in this memory.
    (Resource::Core, 0),
    // Nothing here locks memory, asks for a turn before others, or has message queues (mq_overview(7)).
    (Resource::Memlock, 0),
    (Resource::Rtprio, 0),
    (Resource::Nice, 0),
    (Resource::Msgqueue, 0),
    (Resource::Stack, STACK_BYTES_MAX),
];

/// What a child keeps where root was kept: to read and write files whoever owns them, as root started the
/// node to do. No other right of root's.
const KEPT_BY_ROOT: CapabilitySet =
    CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH).union(CapabilitySet::FOWNER);

/// How much sooner than others a candidate is killed when the machine's memory is used up (0 to 1000,
/// proc(5)): half of the machine's memory is added to its own. What serves should not die of a change that
/// is tried out.
const OOM_SCORE_OF_CANDIDATE: i32 = 500;

/// Confines this process to what its role needs. It must have one thread.
pub(crate) fn confine(role: Role) {
    if role == Role::Candidate {
        die_first();
    }
    // As many as the system allows: each visitor takes one or two.
    let _ = raise_descriptor_limit();
    for (resource, most) in LIMITS {
        lower(resource, most);
    }
    // Nothing that runs here may gain rights by starting another program.
    let _refused_by_a_filter = set_no_new_privs(true);
    keep_rights();
    // No core dump whatever pattern the system has for one, and no other process of this user may look into
    // this memory.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Gives up every right (capabilities(7)) but for [`KEPT_BY_ROOT`] where it is root and has them.
fn keep_rights() {
    let kept = if rustix::process::geteuid().is_root() { KEPT_BY_ROOT } else { CapabilitySet::empty() };
    let Ok(own) = capabilities(None) else { return };
    let kept = own.permitted.intersection(kept);
    let kept = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    let _refused_by_a_filter = set_capabilities(None, kept);
}

/// Lowers a limit, for good.
fn lower(resource: Resource, most: u64) {
    let limit = getrlimit(resource);
    let lowered = |value: Option<u64>| Some(value.map_or(most, |value| value.min(most)));
    let limit = Rlimit { current: lowered(limit.current), maximum: lowered(limit.maximum) };
    let _refused_by_a_filter = setrlimit(resource, limit);
}

/// Lets the kernel choose this process before others when memory is used up.
fn die_first() {
    let path = "/proc/self/oom_score_adj";
    let present = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if present.is_some_and(|present| present < OOM_SCORE_OF_CANDIDATE) {
        let _another_may_be_chosen = std::fs::write(path, OOM_SCORE_OF_CANDIDATE.to_string());
    }
}
