//! The binary: flags, files, runtime, signals, supervision, wiring.
fn main() {}
