//! Fuzzes bodies of the format Xml: no panic, ceilings hold, the same values however it is cut.
//! Read next: `body/reading.rs`, then `crates/seclang/src/body/xml.rs`.
#![no_main]

#[path = "body/reading.rs"]
mod reading;

use libfuzzer_sys::fuzz_target;
use seclang::body::Kind;

fuzz_target!(|bytes: &[u8]| reading::check(Kind::Xml, b"", bytes));
