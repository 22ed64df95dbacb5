//! Fuzz target: any bytes as the first flight of a visitor of the last resort (`splice::hello::read_hello`).
//! It must answer without panicking, answer the same when a part of the bytes came first, always answer at
//! its limit, and name clean hosts only.

#![no_main]

use libfuzzer_sys::fuzz_target;
use splice::hello::read_hello;
use splice::limits::HELLO_BYTES_MAX;

fuzz_target!(|bytes: &[u8]| {
    let answer = read_hello(bytes);
    assert!(bytes.len() < HELLO_BYTES_MAX || answer != Ok(None), "a full buffer has no answer");
    for part in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let early = read_hello(bytes.get(..part).unwrap_or_default());
        assert!(early == Ok(None) || early == answer, "more bytes changed {early:?} into {answer:?}");
    }
    if let Ok(Some(hello)) = answer
        && let Some(host) = hello.name
    {
        let is_clean = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        assert!((1..=253).contains(&host.len()) && host.bytes().all(is_clean), "{host:?}");
    }
});
