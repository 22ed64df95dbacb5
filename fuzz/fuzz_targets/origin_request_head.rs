//! Fuzzes the way of a request from a visitor's bytes to an origin's: whatever head is accepted, what is
//! written for the origin is one head by the same grammar, with the same end of its content, one Host, and no
//! field that the visitor did not send end to end. Read next: `crates/origin/src/request_head.rs`.
#![no_main]

use exchange::{BodySize, Known, Request, Upgrade};
use http1::{Framing, Limits, RequestHead};
use libfuzzer_sys::fuzz_target;
use origin::request_head::{Framed, write_request_head};

/// As `wire` fills it from HTTP/1.
fn request_of(bytes: &[u8], head: &RequestHead) -> Request {
    let mut request = Request::default();
    request.set_method(head.method.of(bytes));
    request.fields.load(bytes, &head.fields);
    request.accepts_trailers = head.accepts_trailers;
    request.expects_continue = head.expects_continue;
    request.body = match head.framing {
        Framing::None | Framing::UntilClose => BodySize::None,
        Framing::Length(length) => BodySize::of_length(length),
        Framing::Chunked => BodySize::Unknown,
    };
    if head.is_upgrade {
        request.upgrade = Upgrade::Http1;
        request.set_protocol(head.known(bytes, Known::Upgrade).unwrap_or_default());
    }
    match head.path_and_query(bytes) {
        query if query.first() == Some(&b'?') => request.set_target(&[b"/", query].concat()),
        target => request.set_target(target),
    }
    request
}

fn is_ours(known: Known) -> bool {
    matches!(
        known,
        Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::Upgrade
            | Known::Te
            | Known::Expect
    )
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { fields_max: 100, ..Limits::default() };
    let mut head = RequestHead::default();
    if head.parse(bytes, &limits) != Ok(true) || head.method.of(bytes) == b"CONNECT" {
        return;
    }
    let request = request_of(bytes, &head);
    let mut out = Vec::new();
    let framed =
        write_request_head(&mut out, &request, b"origin.example", b"").expect("a parser let it through");

    let roomy = Limits { fields_max: 128, head_bytes_max: 65_535, ..Limits::default() };
    let mut written = RequestHead::default();
    assert_eq!(written.parse(&out, &roomy), Ok(true), "{}", out.escape_ascii());
    assert_eq!(written.len, out.len(), "bytes behind the head");
    assert_eq!(written.method.of(&out), head.method.of(bytes));
    assert_eq!(written.target.of(&out), request.target());
    match framed {
        Framed::None => assert!(matches!(written.framing, Framing::None | Framing::Length(0))),
        Framed::Length(length) => assert_eq!(written.framing, Framing::Length(length)),
        Framed::Chunked => assert_eq!(written.framing, Framing::Chunked),
    }
    let hosts = written.fields.iter().filter(|field| field.known == Known::Host);
    let hosts: Vec<_> = hosts.map(|field| field.value.of(&out)).collect();
    assert_eq!(hosts, [b"origin.example"]);

    assert_eq!(written.expects_continue, head.expects_continue);
    let sent = request.fields.end_to_end().filter(|field| !is_ours(field.known));
    let sent: Vec<_> = sent.map(|field| (field.name, field.value)).collect();
    let passed = written.fields.iter().filter(|field| !is_ours(field.known));
    let passed: Vec<_> = passed.map(|field| (field.name.of(&out), field.value.of(&out))).collect();
    assert_eq!(passed, sent);
});
