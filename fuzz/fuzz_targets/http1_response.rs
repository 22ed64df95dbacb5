//! Fuzzes heads of responses: no panic, every span inside the head, no content where none can be. Read
//! next: `crates/http1/src/response.rs`.
#![no_main]

use http1::{Expected, Framing, Limits, ResponseHead, is_field_name, is_field_value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let expected = Expected { to_head: first & 1 != 0, to_connect: first & 2 != 0 };
    let limits = Limits::default();
    let mut head = ResponseHead::default();
    if head.parse(bytes, expected, &limits) != Ok(true) {
        return;
    }
    let inside = &bytes[..head.len];
    assert!(inside.ends_with(b"\r\n\r\n") && (100..=599).contains(&head.status));
    assert!(is_field_value(head.reason.of(inside)));
    for field in &head.fields {
        assert!(is_field_name(field.name.of(inside)) && is_field_value(field.value.of(inside)));
    }
    if expected.to_head || matches!(head.status, 100..=199 | 204 | 304) {
        assert_eq!(head.framing, Framing::None);
    }
    assert!(!(head.is_persistent && head.framing == Framing::UntilClose));
});
