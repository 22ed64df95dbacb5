//! Fault points: host names that break the compiler on purpose. Only built with `fault-injection`, which no
//! release build can have (`lib.rs`).
//!
//! The names lie under `fault.invalid` (RFC 2606 §2), which nobody can own. Caller: `compile.rs`, once a
//! zone.

use std::hint::black_box;

use crate::hosts::Hostname;

/// Breaks here if one of the names asks for it: `compile-panic`, `compile-hang`, `compile-overflow`,
/// `compile-memory`.
pub(super) fn strike(hostnames: &[Hostname]) {
    for name in hostnames.iter().map(ToString::to_string) {
        match name.strip_suffix(".fault.invalid") {
            Some("compile-panic") => panic!("the fault point of compiling"),
            Some("compile-hang") => loop {
                black_box(());
            },
            Some("compile-overflow") => drop(black_box(deep(0))),
            Some("compile-memory") => ask_without_end(),
            _ => {}
        }
    }
}

/// Goes on until the stack ends.
fn deep(depth: u64) -> u64 {
    let next: fn(u64) -> u64 = black_box(deep);
    let room = black_box([depth; 64]);
    next(depth + 1) + room[3]
}

/// Asks for memory, without touching it, until none is given and the process aborts.
fn ask_without_end() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(Vec::with_capacity(1 << 30));
        black_box(&held);
    }
}
