//! Fuzzes `detectSQLi` and `detectXSS`: no panic, and fingerprints of one to five letters.
//! Read next: `crates/seclang/src/injection.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seclang::injection::{sqli, xss};

fuzz_target!(|bytes: &[u8]| {
    if let Some(found) = sqli::detect(bytes) {
        assert!((1..=5).contains(&found.as_bytes().len()) && found.as_bytes().is_ascii());
    }
    let _ = xss::detect(bytes);
});
