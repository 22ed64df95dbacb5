//! Fuzzes bodies of the format Multipart: no panic, ceilings hold, the same values however it is cut.
//! Read next: `body/reading.rs`, then `crates/seclang/src/body/multipart.rs`.
#![no_main]

#[path = "body/reading.rs"]
mod reading;

use libfuzzer_sys::fuzz_target;
use seclang::body::Kind;

fuzz_target!(|bytes: &[u8]| reading::check(Kind::Multipart, b"multipart/form-data; boundary=xx", bytes));
