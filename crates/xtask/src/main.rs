//! Tidy checks and generated references.
fn main() {}
