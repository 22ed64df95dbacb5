//! Requests: this crate, hyper's server and nginx.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http1::{BodyDecoder, Limits, RequestHead};
use hyper::body::Incoming;

use crate::memory::{Memory, run, whole};
use crate::{Case, Served, alike, both_differ, compare, hyper_differs, nginx, nginx_differs};

/// Follows each case on its connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// GET with Host and these fields, each ended by CRLF.
macro_rules! get {
    ($fields:literal) => {
        concat!("GET /a HTTP/1.1\r\nHost: a\r\n", $fields, "\r\n")
    };
}

/// POST with Host, these fields, and what follows the empty line.
macro_rules! post {
    ($fields:literal, $content:literal) => {
        concat!("POST /a HTTP/1.1\r\nHost: a\r\n", $fields, "\r\n", $content)
    };
}

/// POST with content in chunks, as they are on the wire.
macro_rules! chunks {
    ($content:literal) => {
        post!("Transfer-Encoding: chunked\r\n", $content)
    };
}

const CASES: &[Case] = &[
    // Framing that nobody disputes.
    alike(get!("")),
    alike(post!("Content-Length: 5\r\n", "hello")),
    alike(post!("Content-Length: 0\r\n", "")),
    alike(post!("Content-Length: 005\r\n", "hello")),
    alike(chunks!("5\r\nhello\r\n0\r\n\r\n")),
    alike(post!("Transfer-Encoding: Chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n")),
    alike(chunks!("5\r\nhello\r\n0\r\nX: y\r\n\r\n")),
    alike("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    alike(get!("Connection: close\r\n")),
    alike("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"),
    alike("GET /a HTTP/1.0\r\n\r\n"),
    alike("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    alike("POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    alike("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    alike("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Lengths.
    alike(post!("Content-Length: +5\r\n", "hello")),
    alike(post!("Content-Length: -5\r\n", "hello")),
    alike(post!("Content-Length: 5, 5\r\n", "hello")),
    alike(post!("Content-Length: 0x5\r\n", "hello")),
    alike(post!("Content-Length:\r\n", "")),
    alike(post!("Content-Length: 18446744073709551621\r\n", "hello")),
    alike(post!("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")),
    hyper_differs(
        post!("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        "equal lengths are taken as one; RFC 9112 §6.3 lets a recipient choose",
    ),
    alike(post!("Content-Length : 5\r\n", "hello")),
    both_differ(
        post!("Content_Length: 5\r\n", ""),
        "an underscore is just another name to them; behind CGI it is Content-Length",
    ),
    // Codings.
    hyper_differs(
        post!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        "the length is dropped and the connection closed, where we refuse (RFC 9112 §6.1)",
    ),
    hyper_differs(
        post!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        "the length is dropped and the connection closed, where we refuse (RFC 9112 §6.1)",
    ),
    alike("POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    hyper_differs(
        post!("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        "only the last coding is looked at, so the content passes on still encoded",
    ),
    alike(post!("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
    hyper_differs(
        post!("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        "only the last coding is looked at, so the content passes on still encoded",
    ),
    alike(post!("Transfer-Encoding: identity\r\n", "")),
    alike(post!("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
    alike(post!("Transfer-Encoding:\r\n", "")),
    alike(post!("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n")),
    hyper_differs(
        post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        "only the last coding is looked at, so the content passes on still encoded",
    ),
    hyper_differs(
        post!("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        "only the last coding is looked at, so the content passes on still encoded",
    ),
    alike(post!("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
    alike(post!("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n")),
    alike(post!("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")),
    // Chunks.
    alike(chunks!("0x5\r\nhello\r\n0\r\n\r\n")),
    alike(chunks!("+5\r\nhello\r\n0\r\n\r\n")),
    alike(chunks!(" 5\r\nhello\r\n0\r\n\r\n")),
    both_differ(
        chunks!("5 \r\nhello\r\n0\r\n\r\n"),
        "spaces after a size are tolerated for old servers, against the grammar",
    ),
    nginx_differs(chunks!("5\nhello\r\n0\r\n\r\n"), "a bare LF ends the line"),
    nginx_differs(chunks!("5\r\nhello\n0\r\n\r\n"), "a bare LF ends the chunk"),
    alike(chunks!("5\r\nhelloo\r\n0\r\n\r\n")),
    alike(chunks!("5\r\nhello0\r\n\r\n")),
    alike(chunks!("\r\n5\r\nhello\r\n0\r\n\r\n")),
    alike(chunks!("5;a\nb\r\nhello\r\n0\r\n\r\n")),
    alike(chunks!("5;a\rb\r\nhello\r\n0\r\n\r\n")),
    both_differ(
        chunks!("5;\r\nhello\r\n0\r\n\r\n"),
        "extensions are skipped unread, so one without a name passes",
    ),
    alike(chunks!("10000000000000005\r\nhello\r\n0\r\n\r\n")),
    nginx_differs(chunks!("0\n\r\n"), "a bare LF ends the line"),
    both_differ(
        chunks!("0\r\n\n"),
        "a bare LF ends the message; hyper closes afterwards, since its next request lost a byte",
    ),
    both_differ(
        chunks!("0\r\nX: y\n\r\n"),
        "a bare LF ends a trailer; hyper closes afterwards, since its next request lost a byte",
    ),
    alike(chunks!("0\r\nContent-Length: 5\r\n\r\n")),
    // Lines and fields.
    both_differ(
        "GET /a HTTP/1.1\nHost: a\n\n",
        "a bare LF ends the line (RFC 9112 §2.2 lets a recipient choose)",
    ),
    both_differ(
        "GET /a HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "a bare LF ends the line (RFC 9112 §2.2 lets a recipient choose)",
    ),
    both_differ(
        "GET /a HTTP/1.1\r\nHost: a\r\n\n",
        "a bare LF ends the line (RFC 9112 §2.2 lets a recipient choose)",
    ),
    alike(get!("X: y\rz\r\n")),
    alike(get!("X: y\r\n z\r\n")),
    alike("GET /a HTTP/1.1\r\n Host: a\r\n\r\n"),
    alike(get!("X: y\0z\r\n")),
    alike(get!(": y\r\n")),
    nginx_differs(get!("X\r\n"), "a line without colon is dropped as an invalid field"),
    alike(get!("X Y: z\r\n")),
    both_differ(
        "\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "any number of empty lines is skipped; RFC 9112 §2.2 asks for at least one",
    ),
    both_differ(
        "\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "any number of empty lines is skipped, bare LF among them",
    ),
    // The request line and Host.
    nginx_differs(
        "GET  /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "runs of spaces are taken as one (RFC 9112 §3 lets a recipient choose)",
    ),
    nginx_differs(
        "GET /a  HTTP/1.1\r\nHost: a\r\n\r\n",
        "runs of spaces are taken as one (RFC 9112 §3 lets a recipient choose)",
    ),
    nginx_differs("GET /a HTTP/1.1 \r\nHost: a\r\n\r\n", "spaces at the end of the request line are dropped"),
    alike("GET /a http/1.1\r\nHost: a\r\n\r\n"),
    hyper_differs("GET /a HTTP/1.2\r\nHost: a\r\n\r\n", "it knows 1.0 and 1.1 only"),
    alike("GET /a HTTP/2.0\r\nHost: a\r\n\r\n"),
    hyper_differs("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "the target is taken for an authority"),
    both_differ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "the fragment is cut off or passed on"),
    both_differ(
        "GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "the target wins over Host, as RFC 9112 §3.2.2 has it for origin servers",
    ),
    hyper_differs("GET /a HTTP/1.1\r\n\r\n", "Host is left to the application"),
    hyper_differs(get!("Host: b\r\n"), "Host is left to the application"),
    hyper_differs("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "Host is left to the application"),
    both_differ("GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n", "user information in Host is not looked for"),
    hyper_differs("GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", "Host is left to the application"),
    both_differ("GET /a HTTP/1.1\r\nHost: a:b\r\n\r\n", "the port is not read"),
    // Connections.
    alike(get!("Connection: close, keep-alive\r\n")),
    alike(get!("Connection: keep-alive, close\r\n")),
    both_differ(
        post!("Expect: x\r\nContent-Length: 5\r\n", "hello"),
        "unknown expectations are ignored (RFC 9110 §10.1.1 lets a server choose)",
    ),
    alike(post!("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello")),
];

/// What this crate makes of a connection.
fn ours(mut bytes: &[u8]) -> Served {
    let limits = Limits::default();
    let (mut served, mut head) = (Served::new(), RequestHead::default());
    while head.parse(bytes, &limits) == Ok(true) {
        let mut content = bytes[head.len..].to_vec();
        let mut decoder = BodyDecoder::new(head.framing, &limits);
        let Some(decoded) = decoder.decode(&mut content).ok().filter(|_| decoder.is_done()) else { break };
        let target = String::from_utf8_lossy(head.path_and_query(bytes)).into_owned();
        served.push((target, decoded.payload));
        bytes = &bytes[head.len + decoded.consumed..];
        if !head.is_persistent {
            break;
        }
    }
    served
}

/// What hyper's server makes of a connection.
fn hyper(bytes: &[u8]) -> Served {
    let served = Rc::new(RefCell::new(Served::new()));
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        let served = Rc::clone(&served);
        async move {
            let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            if let Some(payload) = whole(request.into_body()).await {
                served.borrow_mut().push((target, payload.len()));
            }
            Ok::<_, Infallible>(hyper::Response::new(String::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.half_close(true);
    // An error of the connection is a refusal, which shows in what was served.
    let _ = run(server.serve_connection(Memory::of_visitor(bytes), service)).expect("nothing to wait for");
    served.take()
}

#[test]
fn reads_requests_as_hyper_does_but_for_listed_differences() {
    let mut surprises = Vec::new();
    for case in CASES {
        let connection = [case.message, NEXT].concat();
        let (ours, theirs) = (ours(connection.as_bytes()), hyper(connection.as_bytes()));
        // A higher minor version is the one thing that it refuses and we serve (RFC 9110 §2.5).
        let is_as_strict = theirs.starts_with(&ours) || case.message.contains(" HTTP/1.2\r\n");
        assert!(is_as_strict, "served by us alone: {:?}", case.message);
        compare(&mut surprises, case.message, &ours, &theirs, case.hyper);
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn reads_requests_as_nginx_does_but_for_listed_differences() {
    let Some(nginx) = nginx::Nginx::start() else { return };
    let mut surprises = Vec::new();
    for case in CASES {
        let connection = [case.message, NEXT].concat();
        let (ours, theirs) = (ours(connection.as_bytes()), nginx.serve(connection.as_bytes()));
        assert!(theirs.starts_with(&ours), "served by us alone: {:?}", case.message);
        compare(&mut surprises, case.message, &ours, &theirs, case.nginx);
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
