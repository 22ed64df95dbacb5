//! The visitor against exact bytes.

use super::*;
use crate::origin::{OriginSpec, ScriptedOrigin};

fn sending(bytes: &'static [u8]) -> ScriptedOrigin {
    OriginSpec::new()
        .scripted(move |exchange| {
            exchange.close_after();
            exchange.send(bytes)
        })
        .unwrap()
}

fn reading(bytes: &'static [u8], method: &str) -> Result<Response> {
    let origin = sending(bytes);
    let mut visitor = Visitor::tcp(origin.address())?;
    visitor.ask(method, "/", "a", &Fields::new(), b"")
}

#[test]
fn reads_informational_answers_order_case_and_trailers() {
    let response = reading(
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 Fine By Me\r\nB: 1\r\na:2\r\nB: 3\r\n\
          Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nT: u\r\n\r\n",
        "GET",
    )
    .unwrap();
    assert_eq!(response.informational.len(), 1);
    assert_eq!(response.reason, "Fine By Me");
    let names: Vec<_> = response.fields.iter().collect();
    assert_eq!(names, [("B", "1"), ("a", "2"), ("B", "3"), ("Transfer-Encoding", "chunked")]);
    assert_eq!(response.body, b"abc");
    assert_eq!(response.trailers, Fields::of(&[("T", "u")]));
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    for bytes in [
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n".as_slice(),
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    ] {
        assert!(reading(bytes, "GET").is_err(), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn tells_a_cut_body_from_a_whole_one() {
    assert!(reading(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "GET").is_err());
    assert!(reading(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "GET").is_err());
    assert_eq!(reading(b"HTTP/1.1 200 OK\r\n\r\nab", "GET").unwrap().body, b"ab");
    assert_eq!(reading(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD").unwrap().body, b"");
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let origin =
        OriginSpec::new().answering(|request| crate::origin::Answer::ok(request.target.clone())).unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    let bodies: Vec<_> =
        visitor.pipeline("a", &["/1", "/2", "/3"]).unwrap().iter().map(Response::text).collect();
    assert_eq!(bodies, ["/1", "/2", "/3"]);
}

#[test]
fn sends_http2_trailers() {
    let origin = OriginSpec::new().answering(|_| crate::origin::Answer::ok("")).unwrap();
    let visitor = Http2Visitor::cleartext(origin.address()).unwrap();
    let mut stream = visitor.open("POST", "/", "a", &Fields::new(), false).unwrap();
    stream.send("body").unwrap();
    stream.finish_with(&Fields::of(&[("x-sum", "1")])).unwrap();
    assert_eq!(stream.read_response().unwrap().status, 200);
    let request = &origin.requests()[0];
    assert_eq!((request.body.as_slice(), request.trailers.first("x-sum")), (b"body".as_slice(), Some("1")));
    assert_eq!((request.method.as_str(), request.authority.as_str()), ("POST", "a"));
}
