//! Replayed mixes of good visitors and attacks, in virtual time, seeded: what of an attack is stopped, and
//! which good visitors are harmed. `world.rs` is the zone and its good visitors, `attacks.rs` the others,
//! `mixes.rs` what must hold, `table.rs` and `fresh.rs` the figures of decision 28.

mod attacks;
mod fresh;
mod mixes;
mod table;
mod world;
