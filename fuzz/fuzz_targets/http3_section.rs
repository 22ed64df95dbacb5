//! Fuzzes QPACK sections and the checks on messages: no panic, limits kept, and what is accepted is clean and
//! survives being written and read again. Read next: `crates/http3/src/message.rs`.
#![no_main]

use http3::{Limits, RequestSink};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Request {
    pseudo: [Vec<u8>; 5],
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl RequestSink for Request {
    fn method(&mut self, value: &[u8]) {
        self.pseudo[0] = value.to_vec();
    }
    fn scheme(&mut self, value: &[u8]) {
        self.pseudo[1] = value.to_vec();
    }
    fn authority(&mut self, value: &[u8]) {
        self.pseudo[2] = value.to_vec();
    }
    fn path(&mut self, value: &[u8]) {
        self.pseudo[3] = value.to_vec();
    }
    fn protocol(&mut self, value: &[u8]) {
        self.pseudo[4] = value.to_vec();
    }
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.fields.push((name.to_vec(), value.to_vec()));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { field_section_bytes_max: 4096, fields_max: 32, ..Limits::default() };
    let (mut size, mut count) = (0, 0);
    let _ = http3::decode_fields(bytes, &limits, &mut |name, value| {
        size += name.len() + value.len() + 32;
        count += 1;
    });
    assert!(size <= 4096 && count <= 32);
    let _ = http3::decode_trailers(bytes, &limits, &mut |name, _| assert_ne!(name.first(), Some(&b':')));
    let _ = http3::decode_response(bytes, &limits, &mut |name, _| assert_ne!(name.first(), Some(&b':')));

    let mut request = Request::default();
    let Ok(shape) = http3::decode_request(bytes, &limits, &mut request) else { return };
    let is_clean = |value: &[u8]| !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    assert!(request.pseudo.iter().all(|value| is_clean(value)));
    for (name, value) in &request.fields {
        assert!(is_clean(name) && is_clean(value) && !name.is_empty());
        assert!(!name.iter().any(u8::is_ascii_uppercase));
        assert_ne!(name, b"transfer-encoding");
    }

    let [method, scheme, authority, path, protocol] = &request.pseudo;
    let mut out = Vec::new();
    let protocol = shape.is_extended_connect.then_some(&protocol[..]);
    let mut encoder = http3::FieldEncoder::request(&mut out, method, scheme, authority, path, protocol);
    for (name, value) in &request.fields {
        encoder.field(name, value);
    }
    encoder.finish();
    let mut section = &out[1..];
    let length = http3::varint::read(&mut section);
    assert_eq!(length, Some(section.len() as u64));
    let mut again = Request::default();
    assert_eq!(http3::decode_request(section, &limits, &mut again), Ok(shape));
    assert_eq!((again.pseudo, again.fields), (request.pseudo, request.fields));
});
