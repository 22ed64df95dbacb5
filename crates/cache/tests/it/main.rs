//! The crate from outside: RFC 9111, 5861, 9211 and 9213 section by section, histories, and the store.
//!
//! Modules are named by the section they hold us to. `desk.rs` is a cache of one thread on top of the
//! policy: it keeps what the policy says, and counts what reaches the origin. `simulation.rs` drives the
//! engine over the real store through seeded histories, `visits.rs` request by request.

mod desk;
mod rfc5861;
mod rfc9111;
mod rfc9211;
mod rfc9213;
mod simulation;
mod slices;
mod store;
mod visits;
