//! Simulations of a thread under load, in virtual time: what holds at whatever load, and a table beside
//! simpler ways. `thread.rs` is the simulated thread.

mod invariants;
mod table;
mod thread;
