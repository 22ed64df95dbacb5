//! Fuzz target: any bytes as the first flight of a TLS visitor (`wire::read_hello`). It must answer without
//! panicking, answer the same when the bytes came in two parts, and hand on clean host names only. It does
//! not judge whether a hello ought to be accepted: the tests beside the parser do.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::read_hello;

fuzz_target!(|bytes: &[u8]| {
    let answer = read_hello(bytes);
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    let early = read_hello(half);
    assert!(early == Ok(None) || early == answer, "more bytes changed {early:?} into {answer:?}");
    if let Ok(Some(hello)) = answer {
        assert_eq!(hello.ja4.len(), 36);
        assert!(hello.has_alpn || !(hello.offers_http1 || hello.offers_http2));
        if let Some(host) = hello.sni {
            let is_clean = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
            assert!((1..=253).contains(&host.len()) && host.bytes().all(is_clean), "{host:?}");
        }
    }
});
