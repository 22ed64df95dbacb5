//! §4.5 Field line representations, §4.1 their integers and strings, §3.1 the static table.

use crate::wire::{connection_code, fields, frame, integer, pair, request, section};
use http3::{Code, FieldEncoder, Limits};

fn failure(section: &[u8]) -> Option<Code> {
    connection_code(fields(section).err())
}

#[test]
fn decodes_indexed_lines_of_the_static_table() {
    assert_eq!(fields(&[0, 0, 0xd1]), Ok(vec![pair(":method", "GET")]));
    assert_eq!(fields(&[0, 0, 0xff, 98 - 63]), Ok(vec![pair("x-frame-options", "sameorigin")]));
    assert_eq!(fields(&[0, 0]), Ok(vec![]));
}

#[test]
fn refuses_indices_beyond_the_static_table() {
    assert_eq!(failure(&[0, 0, 0xff, 99 - 63]), Some(Code::QpackDecompression));
    assert_eq!(failure(&[0, 0, 0x5f, 99 - 15, 0]), Some(Code::QpackDecompression));
    let mut huge = vec![0, 0];
    integer(&mut huge, 0xc0, 6, 1 << 40);
    assert_eq!(failure(&huge), Some(Code::QpackDecompression));
}

#[test]
fn refuses_every_reference_to_the_dynamic_table() {
    // Indexed, with name reference, indexed post-base, with post-base name reference.
    for line in
        [&[0x80][..], &[0x40, 1, b'a'], &[0x60, 1, b'a'], &[0x10], &[0x1f, 0], &[0x00, 1, b'a'], &[0x08, 0]]
    {
        let section = [&[0, 0][..], line].concat();
        assert_eq!(failure(&section), Some(Code::QpackDecompression), "{line:x?}");
    }
}

#[test]
fn refuses_prefixes_that_wait_for_inserts_or_have_a_negative_base() {
    for prefix in
        [&[][..], &[0], &[1, 0], &[2, 0], &[0xff, 0, 0], &[0, 0x80], &[0, 0x85], &[0, 0x7f], &[0xff]]
    {
        assert_eq!(failure(prefix), Some(Code::QpackDecompression), "{prefix:x?}");
    }
    // A base without references means nothing and does no harm.
    assert_eq!(fields(&[0, 5, 0xd1]), Ok(vec![pair(":method", "GET")]));
}

#[test]
fn refuses_strings_that_are_cut_short() {
    let whole = section(&[("name", "value")]);
    for cut in 3..whole.len() {
        assert_eq!(failure(&whole[..cut]), Some(Code::QpackDecompression), "cut at {cut}");
    }
    let mut huge = vec![0, 0, 0x51];
    integer(&mut huge, 0, 7, usize::MAX >> 2);
    assert_eq!(failure(&huge), Some(Code::QpackDecompression));
}

#[test]
fn decodes_huffman_in_names_and_values() {
    // "custom-key: custom-value", each in the Huffman form of RFC 7541, Appendix C.4.3.
    let mut bytes = vec![0, 0, 0x2f, 8 - 7];
    bytes.extend([0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89]);
    bytes.extend([0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]);
    assert_eq!(fields(&bytes), Ok(vec![pair("custom-key", "custom-value")]));
    // The same bytes with EOS in the value.
    let mut eos = vec![0, 0, 0x51, 0x84];
    eos.extend([0xff; 4]);
    assert_eq!(failure(&eos), Some(Code::QpackDecompression));
}

#[test]
fn takes_the_never_indexed_bit() {
    assert_eq!(fields(b"\x00\x00\x75\x01a"), Ok(vec![pair("cookie", "a")]));
    assert_eq!(fields(b"\x00\x00\x31a\x01b"), Ok(vec![pair("a", "b")]));
}

#[test]
fn writes_indexed_lines_for_entries_of_the_static_table() {
    let mut out = Vec::new();
    let fields: [(&[u8], &[u8]); 3] =
        [(b"Content-Type", b"text/html; charset=utf-8"), (b"vary", b"origin"), (b"x-a", b"b")];
    http3::encode_response_head(&mut out, 200, fields.into_iter());
    assert_eq!(out, frame(1, b"\x00\x00\xd9\xf4\xfc\x23x-a\x01b"));
}

#[test]
fn writes_statuses_in_and_out_of_the_table() {
    for (status, lines) in
        [(200, &b"\xd9"[..]), (421, b"\xff\x06"), (103, b"\xd8"), (418, b"\x5f\x09\x03418")]
    {
        let mut out = Vec::new();
        http3::encode_response_head(&mut out, status, std::iter::empty());
        assert_eq!(out, frame(1, &[b"\x00\x00", lines].concat()), "{status}");
    }
}

#[test]
fn marks_secrets_never_indexed() {
    let mut out = Vec::new();
    http3::encode_trailers(&mut out, [(&b"set-cookie"[..], &b"a"[..]), (b"server", b"r")].into_iter());
    assert_eq!(out, frame(1, b"\x00\x00\x7e\x01a\x5f\x4d\x01r"));
}

#[test]
fn leaves_out_what_http3_must_not_carry() {
    let mut out = Vec::new();
    let fields: [(&[u8], &[u8]); 5] = [
        (b"Connection", b"close"),
        (b"Transfer-Encoding", b"chunked"),
        (b":status", b"500"),
        (b"Keep-Alive", b"timeout=5"),
        (b"date", b"d"),
    ];
    http3::encode_response_head(&mut out, 204, fields.into_iter());
    assert_eq!(out, frame(1, b"\x00\x00\xff\x01\x56\x01d"));
}

#[test]
fn writes_frames_of_any_length_after_what_was_there() {
    for size in
        [0, 1, 50, 58, 59, 60, 61, 62, 63, 64, 65, 16_370, 16_376, 16_377, 16_378, 16_380, 16_384, 100_000]
    {
        let value = vec![b'v'; size];
        let mut out = b"before".to_vec();
        http3::encode_trailers(&mut out, [(&b"a"[..], &value[..])].into_iter());
        let mut payload = vec![0, 0, 0x21, b'a'];
        integer(&mut payload, 0, 7, size);
        payload.extend_from_slice(&value);
        assert_eq!(out, [&b"before"[..], &frame(1, &payload)].concat(), "{size}");
    }
}

#[test]
fn completes_the_frame_when_the_encoder_is_dropped_early() {
    let mut out = Vec::new();
    let mut encoder = FieldEncoder::response(&mut out, 200);
    encoder.field(b"x-a", b"b");
    drop(encoder);
    assert_eq!(out, frame(1, b"\x00\x00\xd9\x23x-a\x01b"));
}

#[test]
fn writes_requests_that_it_reads() {
    let mut out = Vec::new();
    http3::encode_request_head(
        &mut out,
        b"GET",
        b"https",
        b"example.org",
        b"/a?b",
        [(&b"User-Agent"[..], &b"t"[..])].into_iter(),
    );
    let (seen, _) = request(&out[2..]).unwrap();
    let expected = ["method=GET", "scheme=https", "authority=example.org", "path=/a?b", "field user-agent=t"];
    assert_eq!(seen, expected);
    let mut out = Vec::new();
    FieldEncoder::request(&mut out, b"CONNECT", b"https", b"a", b"/", Some(b"websocket")).finish();
    assert!(request(&out[2..]).unwrap().1.is_extended_connect);
}

#[test]
fn lets_a_sink_decode_in_turn() {
    let bytes = section(&[("a", "1"), ("b", "2")]);
    let mut inner = 0;
    http3::decode_fields(&bytes, &Limits::default(), &mut |_, _| inner += fields(&bytes).unwrap().len())
        .unwrap();
    assert_eq!(inner, 4);
}
