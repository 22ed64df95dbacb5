//! The data plane as a whole, in this process: what its watchdog, its black box and its door do.
//!
//! Built with the feature `fault-injection` alone, since a stuck thread is what most of it is about. What a
//! user would describe is tested with the real binary, in the crate `rempart`. Read next: `rig.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod decisions;
mod rig;
mod stuck;
