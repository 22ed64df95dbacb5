//! Fuzzes the transformations: no panic, the bound on the result, and that a value without a trigger stays.
//! Read next: `crates/seclang/src/transform.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seclang::transform::{ByteSet, Transformation};

fuzz_target!(|bytes: &[u8]| {
    let present = ByteSet::present(bytes);
    let mut out = Vec::new();
    for one in Transformation::all() {
        let differs = one.apply(bytes, &mut out);
        assert_eq!(differs, out != bytes, "{one:?}");
        assert!(out.len() <= one.output_bytes_max(bytes.len()), "{one:?}");
        assert!(!differs || one.triggers().meets(&present), "{one:?}");
    }
});
