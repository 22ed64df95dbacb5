//! Fuzz target: any bytes as a PROXY protocol header (`wire::read_proxy_header`). It must answer without
//! panicking, answer the same when the bytes came in two parts, and never claim more bytes than it was given.
//! It does not judge whether a header ought to be accepted: the tests beside the parser do.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::read_proxy_header;

fuzz_target!(|bytes: &[u8]| {
    let answer = read_proxy_header(bytes);
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    let early = read_proxy_header(half);
    assert!(early == Ok(None) || early == answer, "more bytes changed {early:?} into {answer:?}");
    match answer {
        Ok(None) => assert!(bytes.len() < 4112, "no answer to {} bytes", bytes.len()),
        Ok(Some((_, header_bytes))) => assert!((15..=bytes.len().min(4112)).contains(&header_bytes)),
        Err(_) => {}
    }
});
