//! Responses: this crate and hyper's client.

use http1::{BodyDecoder, Expected, Limits, ResponseHead};

use crate::compare;
use crate::memory::{Memory, run, whole};

/// Responses to GET, and where hyper reads them differently.
const CASES: &[(&str, Option<&str>)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", None),
    ("HTTP/1.1 200 OK\r\n\r\nhello", None),
    ("HTTP/1.0 200 OK\r\n\r\nhello", None),
    ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", None),
    ("HTTP/1.1 204 No Content\r\n\r\n", None),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", None),
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", None),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Some("equal lengths are taken as one"),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", Some("equal lengths are taken as one")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", None),
    ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", None),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Some("the length is dropped, where we refuse"),
    ),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        Some("the content lasts until the connection ends and passes on encoded"),
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Some("only the last coding is looked at"),
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", None),
    ("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", Some("a bare LF ends the line")),
    ("HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 099 A\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/1.1 600 A\r\nContent-Length: 5\r\n\r\nhello", None),
    ("HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", None),
    ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Some("empty lines are skipped")),
];

/// Status and content of the final response, or `None` when it is refused or cut.
type Seen = Option<(u16, Vec<u8>)>;

fn ours(mut bytes: &[u8]) -> Seen {
    let (limits, mut head) = (Limits::default(), ResponseHead::default());
    loop {
        if !head.parse(bytes, Expected::default(), &limits).ok()? {
            return None;
        }
        bytes = &bytes[head.len..];
        if head.status >= 200 {
            break;
        }
    }
    let mut content = bytes.to_vec();
    let mut decoder = BodyDecoder::new(head.framing, &limits);
    let decoded = decoder.decode(&mut content).ok()?;
    decoder.at_eof().ok()?;
    content.truncate(decoded.payload);
    Some((head.status, content))
}

fn hyper(bytes: &[u8]) -> Seen {
    run(async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, String>(Memory::of_origin(bytes)).await.ok()?;
        let request = hyper::Request::get("/").header("host", "a").body(String::new()).ok()?;
        let exchange = async {
            let response = sender.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            Some((status, whole(response.into_body()).await?))
        };
        let (mut exchange, mut connection) = (Box::pin(exchange), Box::pin(connection));
        let mut is_open = true;
        std::future::poll_fn(|context| {
            is_open = is_open && connection.as_mut().poll(context).is_pending();
            exchange.as_mut().poll(context)
        })
        .await
    })
    .flatten()
}

#[test]
fn reads_responses_as_hyper_does_but_for_listed_differences() {
    let mut surprises = Vec::new();
    for (message, explained) in CASES {
        compare(&mut surprises, message, &ours(message.as_bytes()), &hyper(message.as_bytes()), *explained);
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
