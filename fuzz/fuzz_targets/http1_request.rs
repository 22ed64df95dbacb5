//! Fuzzes heads of requests: no panic, every span inside the head, only CRLF, the same head again when it
//! is cut off behind its end. Read next: `crates/http1/src/request.rs`.
#![no_main]

use http1::{Framing, Limits, RequestHead, is_authority, is_field_name, is_field_value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let mut head = RequestHead::default();
    if head.parse(bytes, &limits) != Ok(true) {
        return;
    }
    let inside = &bytes[..head.len];
    assert!(inside.ends_with(b"\r\n\r\n") && head.fields.len() <= limits.fields_max);
    assert!(is_field_name(head.method.of(inside)) && !head.target.of(inside).is_empty());
    for (at, byte) in inside.iter().enumerate() {
        assert!(*byte != b'\n' || inside[at - 1] == b'\r');
        assert!(*byte != b'\r' || inside[at + 1] == b'\n');
    }
    for field in &head.fields {
        assert!(is_field_name(field.name.of(inside)) && is_field_value(field.value.of(inside)));
    }
    assert_ne!(head.framing, Framing::UntilClose);
    assert!(head.authority(bytes).is_none_or(|authority| authority.is_empty() || is_authority(authority)));
    let _ = head.path_and_query(bytes);

    let mut again = RequestHead::default();
    assert_eq!(again.parse(inside, &limits), Ok(true));
    assert_eq!((again.framing, &again.fields), (head.framing, &head.fields));
    assert_eq!(again.parse(&inside[..inside.len() - 1], &limits), Ok(false));
});
