//! HTTP/2 written by hand, frame by frame: what no honest library would send must not reach an origin.
//!
//! Fields go out as HPACK literals without indexing and without Huffman (RFC 7541 section 6.2.2). The same
//! for HTTP/1 stands in [`super::http1`]. Read next: [`super::http2`].

use anyhow::{Result, ensure};
use testkit::origin::ScriptedOrigin;
use testkit::visitor::Visitor;

use super::rig::{HOST, before, saying, visitor};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        // A length below 127 is its own prefix (RFC 7541 section 5.1); the cases here are short.
        bytes.push(u8::try_from(text.len()).unwrap_or(0).min(126));
        bytes.extend(text);
    }
    bytes
}

type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];

/// Opens a connection, sends a request of these fields on stream 1, and reads until that stream or the
/// connection ends: the status line as HPACK began it, if a head came.
fn status_of(visitor: &mut Visitor, pairs: Pairs<'_>, body: Option<&[u8]>) -> Result<Option<u16>> {
    let block: Vec<u8> = pairs.iter().flat_map(|(name, value)| literal(name, value)).collect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    let end = if body.is_none() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &block));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body));
    }
    visitor.send(bytes)?;
    let mut read = Vec::new();
    loop {
        while let Some((kind, stream, payload)) = cut(&mut read) {
            match kind {
                HEADERS if stream == 1 => return Ok(Some(status_in(&payload))),
                RST_STREAM | GOAWAY => return Ok(None),
                _ => {}
            }
        }
        let some = visitor.some(16 << 10)?;
        if some.is_empty() {
            return Ok(None);
        }
        read.extend(some);
    }
}

fn cut(read: &mut Vec<u8>) -> Option<(u8, u32, Vec<u8>)> {
    let head: [u8; 9] = read.get(..9)?.try_into().ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let payload = read.get(9..9 + length)?.to_vec();
    read.drain(..9 + length);
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// The status at the start of a field block: one of the static table's, or anything else as 400.
fn status_in(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        _ => 400,
    }
}

fn nothing_was_seen(origin: &ScriptedOrigin) -> Result<()> {
    let seen = origin.requests();
    ensure!(seen.is_empty(), "the origin saw {:?}", seen.iter().map(|one| &one.fields).collect::<Vec<_>>());
    ensure!(origin.faults().is_empty(), "{:?}", origin.faults());
    Ok(())
}

#[test]
fn the_hand_written_request_is_answered_when_it_is_in_order() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let get: Pairs<'_> =
        &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", HOST.as_bytes()), (b":path", b"/")];
    assert_eq!(status_of(&mut visitor, get, None)?, Some(200));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn fields_that_would_break_out_of_http_1_are_refused() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let fields: &[(&[u8], &[u8])] = &[
        (b"x", b"a\r\nX-Evil: 1"),
        (b"x", b"a\nX-Evil: 1"),
        (b"x", b"a\rX-Evil: 1"),
        (b"x", b"a\0b"),
        (b"x", b" a"),
        (b"x", b"a\t"),
        (b"x\r\nx-evil: 1\r\ny", b"a"),
        (b"x: y", b"a"),
        (b"x y", b"a"),
        (b"X-Upper", b"a"),
        (b"", b"a"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"x-evil"),
        (b"keep-alive", b"5"),
        (b"upgrade", b"websocket"),
        (b"proxy-connection", b"keep-alive"),
        (b"te", b"gzip"),
        (b"host", b"b.example"),
        (b"content-length", b"5"),
        (b"content-length", b"+0"),
        (b":path", b"/second"),
        (b":unknown", b"x"),
        (b":status", b"200"),
        (b":protocol", b"websocket"),
    ];
    for (name, value) in fields {
        let mut visitor = visitor(&node)?;
        let pairs: Pairs<'_> = &[
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", HOST.as_bytes()),
            (b":path", b"/"),
            (name, value),
        ];
        let status = status_of(&mut visitor, pairs, None)?;
        let what = String::from_utf8_lossy(name).into_owned();
        ensure!(status != Some(200), "{what:?} was answered 200");
        nothing_was_seen(&origin).map_err(|error| error.context(what))?;
    }
    node.finish_healthy()
}

#[test]
fn request_lines_that_would_break_out_of_http_1_are_refused() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let lines: &[[&[u8]; 4]] = &[
        [b"GET / HTTP/1.1\r\nX: ", b"http", b"a.example", b"/"],
        [b"GE T", b"http", b"a.example", b"/"],
        [b"", b"http", b"a.example", b"/"],
        [b"GET", b"http", b"a.example", b"/ HTTP/1.1\r\nX-Evil: 1\r\n\r\n"],
        [b"GET", b"http", b"a.example", b"/a b"],
        [b"GET", b"http", b"a.example", b"a"],
        [b"GET", b"http", b"a.example", b""],
        [b"GET", b"http", b"a.example", b"http://b.example/"],
        [b"GET", b"http", b"a.example", b"*"],
        [b"GET", b"http", b"a.example\r\nX-Evil: 1", b"/"],
        [b"GET", b"http", b"a.example/evil", b"/"],
        [b"GET", b"http", b"x@a.example", b"/"],
        [b"GET", b"http", b"a.example b.example", b"/"],
        [b"GET", b"http", b"", b"/"],
        [b"CONNECT", b"http", b"a.example", b"/"],
        [b"TRACE", b"http", b"a.example", b"/"],
    ];
    for [method, scheme, authority, path] in lines {
        let mut visitor = visitor(&node)?;
        let pairs: Pairs<'_> =
            &[(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)];
        let status = status_of(&mut visitor, pairs, None)?;
        let what = format!("{:?} {:?}", String::from_utf8_lossy(method), String::from_utf8_lossy(path));
        ensure!(status != Some(200), "{what} was answered 200");
        nothing_was_seen(&origin).map_err(|error| error.context(what))?;
    }
    node.finish_healthy()
}

#[test]
fn a_body_that_differs_from_its_length_never_looks_whole() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    for length in [&b"3"[..], b"9"] {
        let mut visitor = visitor(&node)?;
        let pairs: Pairs<'_> = &[
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", HOST.as_bytes()),
            (b":path", b"/"),
            (b"content-length", length),
        ];
        ensure!(status_of(&mut visitor, pairs, Some(b"five5"))? != Some(200), "it was answered 200");
    }
    let whole = origin.requests().iter().filter(|request| request.is_complete).count();
    assert_eq!(whole, 0);
    node.finish_healthy()
}
