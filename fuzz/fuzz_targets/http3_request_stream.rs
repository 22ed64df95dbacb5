//! Fuzzes a request stream of HTTP/3: no panic, never more held than the limit, the same events and the same
//! end whether the bytes come whole or in pieces. Read next: `crates/http3/src/request_stream.rs`.
#![no_main]

use bytes::Bytes;
use http3::{Broken, Event, Limits, RequestStream};
use libfuzzer_sys::fuzz_target;

/// Head, body and trailers as they came out, the pieces of the body joined.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    sections: Vec<Vec<u8>>,
    body: Vec<u8>,
    ends: u32,
    broken: Option<Broken>,
}

fn read(bytes: &[u8], size: usize, limits: &Limits) -> Seen {
    let mut stream = RequestStream::new(limits);
    let mut seen = Seen::default();
    let mut pieces = bytes.chunks(size).map(Some).chain([None]);
    while let Some(piece) = pieces.next() {
        match piece {
            Some(piece) => stream.push(Bytes::copy_from_slice(piece)),
            None => stream.push_end(),
        }
        loop {
            match stream.next() {
                Ok(Some(Event::Head(section) | Event::Trailers(section))) => {
                    assert!(section.len() <= limits.encoded_section_bytes_max);
                    seen.sections.push(section.to_vec());
                }
                Ok(Some(Event::Data(data))) => {
                    assert!(!data.is_empty());
                    seen.body.extend_from_slice(&data);
                }
                Ok(Some(Event::End)) => seen.ends += 1,
                Ok(None) => break,
                Err(broken) => {
                    seen.broken = Some(broken);
                    return seen;
                }
            }
        }
        assert!(stream.buffered() <= limits.encoded_section_bytes_max + 16);
    }
    assert_eq!(seen.ends, 1);
    seen
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let limits = Limits { encoded_section_bytes_max: 64, idle_frames_max: 8, ..Limits::default() };
    let whole = read(bytes, bytes.len().max(1), &limits);
    assert!(whole.sections.len() <= 2);
    assert_eq!(read(bytes, usize::from(size).max(1), &limits), whole);
    assert_eq!(read(bytes, 1, &limits), whole);
});
