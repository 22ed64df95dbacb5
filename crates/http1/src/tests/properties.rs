//! Properties over made and random input: nothing panics, nothing depends on where input is cut, what is
//! written is read back.

use proptest::prelude::*;

use super::decode;
use crate::{
    BodyDecoder, Expected, Framing, Known, Limits, Malformed, RequestHead, ResponseHead, chunk_size_line,
    is_field_value, parse_trailers, write_field, write_request_line, write_status_line,
};

/// Bytes that look like HTTP often enough to get deep into the parsers.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\"",
        b"0",
        b"5",
        b"ffffffff",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST http://a:80/ HTTP/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, X\r\n",
        b"X: y\r\n",
        b"Expect",
        b"\0",
        b"\xff",
        b"[::1]",
    ];
    let word = prop::sample::select(WORDS);
    prop_oneof![
        prop::collection::vec(word, 0..24).prop_map(|words| words.concat()),
        prop::collection::vec(any::<u8>(), 0..400),
    ]
}

/// Chunked bodies, most of them right.
fn chunked_body() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 1..40);
    let extension = prop_oneof![4 => Just(""), 1 => Just(";a=b"), 1 => Just(";a=\"b;c\""), 1 => Just(";a\n")];
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("x\r\n")];
    let chunk = (payload, extension, end).prop_map(|(payload, extension, end)| {
        [format!("{:x}{extension}\r\n", payload.len()).as_bytes(), &payload, end.as_bytes()].concat()
    });
    let trailers = prop_oneof![Just(""), Just("X: a\r\n"), Just("X: a\r\nY:b\r\n"), Just("Host: a\r\n")];
    (prop::collection::vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        [chunks.concat().as_slice(), b"0\r\n", trailers.as_bytes(), b"\r\nGET / HTTP/1.1\r\n"].concat()
    })
}

/// Where to cut an input, as fractions of what is left.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..50, 0..30)
}

fn pieces<'b>(mut bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at((*cut).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}"
}

/// Fields that say nothing about the message itself.
fn plain_fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = token().prop_map(|name| format!("x-{name}"));
    let value = prop::collection::vec(any::<u8>(), 0..40).prop_map(|mut value| {
        value.retain(|byte| is_field_value(&[*byte]));
        value.trim_ascii().to_vec()
    });
    prop::collection::vec((name, value), 0..20)
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn heads_of_any_bytes_do_not_panic_and_keep_to_the_buffer(bytes in hostile(), fields_max in 0usize..300) {
        let limits = Limits { head_bytes_max: 200, fields_max, ..Limits::default() };
        let mut head = RequestHead::default();
        if head.parse(&bytes, &limits) == Ok(true) {
            prop_assert!(head.len <= bytes.len().min(200) && head.fields.len() <= fields_max);
            let inside = &bytes[..head.len];
            prop_assert!(inside.ends_with(b"\r\n\r\n"));
            prop_assert!(!head.method.of(inside).is_empty() && !head.target.of(inside).is_empty());
            let _ = (head.authority(&bytes), head.path_and_query(&bytes));
            for field in &head.fields {
                prop_assert!(crate::is_field_name(field.name.of(inside)));
                prop_assert!(is_field_value(field.value.of(inside)));
                prop_assert_eq!(field.known, Known::of(field.name.of(inside)));
            }
            prop_assert_ne!(head.framing, Framing::UntilClose);
        }
        for expected in [Expected::default(), Expected { to_head: true, to_connect: true }] {
            let mut head = ResponseHead::default();
            if head.parse(&bytes, expected, &limits) == Ok(true) {
                prop_assert!(head.len <= bytes.len().min(200) && head.fields.len() <= fields_max);
            }
        }
        let _ = parse_trailers(&bytes);
    }

    #[test]
    fn no_line_of_an_accepted_head_ends_in_a_bare_line_feed(bytes in hostile()) {
        let mut head = RequestHead::default();
        if head.parse(&bytes, &Limits::default()) == Ok(true) {
            for (at, byte) in bytes[..head.len].iter().enumerate() {
                prop_assert!(*byte != b'\n' || bytes[at - 1] == b'\r');
                prop_assert!(*byte != b'\r' || bytes[at + 1] == b'\n');
            }
        }
    }

    #[test]
    fn a_head_means_the_same_whatever_follows(bytes in hostile(), more in hostile()) {
        let limits = Limits::default();
        let (mut head, mut longer) = (RequestHead::default(), RequestHead::default());
        match head.parse(&bytes, &limits) {
            Ok(true) => {
                prop_assert_eq!(longer.parse(&[&bytes[..], &more].concat(), &limits), Ok(true));
                prop_assert_eq!((head.len, head.framing), (longer.len, longer.framing));
                prop_assert_eq!(&head.fields, &longer.fields);
                for end in 0..head.len {
                    prop_assert_eq!(longer.parse(&bytes[..end], &limits), Ok(false));
                }
            }
            Ok(false) => {}
            // What is refused stays refused.
            Err(_) => prop_assert!(longer.parse(&[&bytes[..], &more].concat(), &limits).is_err()),
        }
    }

    #[test]
    fn a_head_in_pieces_ends_like_a_whole_one(bytes in hostile(), cuts in cuts()) {
        let limits = Limits { head_bytes_max: 300, ..Limits::default() };
        let (mut whole, mut pieced) = (RequestHead::default(), RequestHead::default());
        let (mut seen, mut found) = (0, Ok(false));
        for piece in pieces(&bytes, &cuts) {
            let end = seen + piece.len();
            found = pieced.parse_more(&bytes[..end], seen, &limits);
            seen = end;
            if found != Ok(false) {
                break;
            }
        }
        match whole.parse(&bytes, &limits) {
            Ok(true) => {
                prop_assert_eq!(found, Ok(true));
                prop_assert_eq!((whole.len, &whole.fields), (pieced.len, &pieced.fields));
            }
            Ok(false) => prop_assert_eq!(found, Ok(false)),
            // An unfinished line may still be waited for.
            Err(_) => prop_assert_ne!(found, Ok(true)),
        }
        let mut response = ResponseHead::default();
        let whole = response.parse(&bytes, Expected::default(), &limits);
        let pieced = response.parse_more(&bytes, bytes.len(), Expected::default(), &limits);
        prop_assert!(pieced == whole || pieced == Ok(false));
    }

    #[test]
    fn bodies_of_any_bytes_do_not_panic(bytes in hostile(), cuts in cuts(), length in any::<u64>()) {
        for framing in [Framing::None, Framing::Length(length), Framing::Chunked, Framing::UntilClose] {
            let limits = Limits { trailer_bytes_max: 60, chunk_extension_bytes_max: 5, ..Limits::default() };
            let mut decoder = BodyDecoder::new(framing, &limits);
            for piece in pieces(&bytes, &cuts) {
                let mut piece = piece.to_vec();
                let Ok(decoded) = decoder.decode(&mut piece) else { break };
                prop_assert!(decoded.payload <= decoded.consumed && decoded.consumed <= piece.len());
                prop_assert!(decoded.consumed == piece.len() || decoder.is_done());
            }
            let _ = decoder.at_eof();
            prop_assert!(decoder.take_trailers().is_none_or(|trailers| trailers.len() <= 60));
        }
    }

    #[test]
    fn a_body_decodes_the_same_however_it_is_cut(
        bytes in prop_oneof![chunked_body(), hostile()],
        cuts in cuts(),
    ) {
        let (_, whole_end, mut whole) = decode(Framing::Chunked, [&bytes[..]]);
        let (payload, cut_end, mut cut) = decode(Framing::Chunked, pieces(&bytes, &cuts));
        prop_assert_eq!(whole_end, cut_end);
        prop_assert_eq!(whole.is_done(), cut.is_done());
        prop_assert_eq!(whole.take_trailers(), cut.take_trailers());
        // Byte by byte nothing is lost to an error, so it has the most payload.
        let (all, bytewise_end, _) = decode(Framing::Chunked, bytes.chunks(1));
        prop_assert_eq!(bytewise_end, cut_end);
        prop_assert!(all.starts_with(&payload));
        if cut_end.is_ok() {
            prop_assert_eq!(all, payload);
        }
    }

    #[test]
    fn chunks_written_are_read_back(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(chunk_size_line(chunk.len(), &mut [0; 18]));
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(chunk_size_line(0, &mut [0; 18]));
        bytes.extend_from_slice(b"\r\n");
        let (payload, end, decoder) = decode(Framing::Chunked, [&bytes[..]]);
        prop_assert_eq!((payload, end, decoder.is_done()), (chunks.concat(), Ok(bytes.len()), true));
    }

    #[test]
    fn requests_written_are_read_back(
        method in token().prop_filter("no content", |method| method != "CONNECT"),
        path in "/[!-\"$-\\[\\]-~]{0,30}",
        fields in plain_fields(),
        length in prop::option::of(0u64..1_000_000_000_000),
    ) {
        let mut bytes = Vec::new();
        prop_assert!(write_request_line(&mut bytes, method.as_bytes(), path.as_bytes()));
        write_field(&mut bytes, b"Host", b"a");
        if let Some(length) = length {
            write_field(&mut bytes, b"Content-Length", length.to_string().as_bytes());
        }
        for (name, value) in &fields {
            write_field(&mut bytes, name.as_bytes(), value);
        }
        bytes.extend_from_slice(b"\r\n");
        let mut head = RequestHead::default();
        prop_assert_eq!(head.parse(&bytes, &Limits::default()), Ok(true));
        prop_assert_eq!(head.method.of(&bytes), method.as_bytes());
        prop_assert_eq!(head.target.of(&bytes), path.as_bytes());
        prop_assert_eq!(head.framing, length.map_or(Framing::None, Framing::Length));
        let read = head.fields.iter().filter(|field| field.name.of(&bytes).starts_with(b"x-"));
        let read: Vec<_> = read.map(|field| (field.name.of(&bytes), field.value.of(&bytes))).collect();
        let written: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), &value[..])).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn responses_written_are_read_back(
        status in 200u16..600,
        reason in "[ -~]{0,20}",
        fields in plain_fields(),
    ) {
        let mut bytes = Vec::new();
        write_status_line(&mut bytes, status, reason.as_bytes());
        for (name, value) in &fields {
            write_field(&mut bytes, name.as_bytes(), value);
        }
        bytes.extend_from_slice(b"\r\n");
        let mut head = ResponseHead::default();
        prop_assert_eq!(head.parse(&bytes, Expected::default(), &Limits::default()), Ok(true));
        prop_assert_eq!((head.status, head.reason.of(&bytes)), (status, reason.as_bytes()));
        prop_assert_eq!(head.fields.len(), fields.len());
    }

    #[test]
    fn writing_never_ends_a_head_early(name in hostile(), value in hostile(), reason in hostile()) {
        let mut bytes = Vec::new();
        write_status_line(&mut bytes, 200, &reason);
        let line_end = bytes.len();
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        write_field(&mut bytes, &name, &value);
        let field = &bytes[line_end..];
        prop_assert!(field.is_empty() || field.iter().filter(|byte| **byte == b'\n').count() == 1);
    }
}

#[test]
fn writes_sizes_of_all_lengths() {
    for (len, line) in [(0, "0\r\n"), (500, "1f4\r\n"), (usize::MAX, "ffffffffffffffff\r\n")] {
        assert_eq!(chunk_size_line(len, &mut [0; 18]), line.as_bytes());
    }
}

#[test]
fn writes_no_request_line_that_would_split() {
    for (method, target) in [("GET", "/a b"), ("GET", "/\r\nX: y"), ("G T", "/"), ("", "/"), ("GET", "")] {
        let mut bytes = Vec::new();
        assert!(!write_request_line(&mut bytes, method.as_bytes(), target.as_bytes()));
        assert!(bytes.is_empty());
    }
}

#[test]
fn a_span_outside_its_buffer_is_empty() {
    for (start, len) in [(5, 1), (0, 6), (u16::MAX, u16::MAX), (6, 0)] {
        assert_eq!(crate::Span { start, len }.of(b"hello"), b"");
    }
}

#[test]
fn a_refusal_has_a_status_and_a_reason() {
    for reason in
        [Malformed::EmptyLines, Malformed::Incomplete, Malformed::StatusLine, Malformed::Http2Preface]
    {
        assert!((400..=505).contains(&reason.status()) && !reason.reason().is_empty());
        assert_eq!(reason.to_string(), reason.reason());
    }
}
