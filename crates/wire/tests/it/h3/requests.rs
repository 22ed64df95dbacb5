//! What of a request reaches the service, and what is refused before (RFC 9114 §4.1 to §4.4, RFC 9220).

use http3::{Code, FieldEncoder, encode_trailers};

use super::client::{Answer, Reading, Visitor, answer, data, frame, raw_request, raw_trailers, request};
use super::run;
use super::site::{Node, mebibyte};

async fn refused(node: &Node, visitor: &Visitor, head: &[u8]) -> Answer {
    let before = node.thread.service.seen.borrow().notes.len();
    let answer = visitor.ask(head).await;
    assert!(node.thread.service.seen.borrow().notes.len() > before, "refusals go through the service");
    answer
}

/// The code that the stream of a malformed request is reset with, without an answer; the service is told all
/// the same.
async fn reset(node: &Node, visitor: &Visitor, bytes: &[u8]) -> u64 {
    let before = node.thread.service.seen.borrow().notes.len();
    let (_sending, receiving) = visitor.send(bytes).await;
    let code = answer(receiving).await.expect_err("the stream is reset");
    assert!(node.thread.service.seen.borrow().notes.len() > before, "refusals go through the service");
    code
}

#[test]
fn answers_get_and_says_what_it_is() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let answer = visitor.get("/hello").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert_eq!(answer.value("content-length"), Some("5"));
        assert_eq!(answer.value("content-type"), Some("text/plain"));
        assert_eq!(answer.value("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    });
}

#[test]
fn answers_head_with_the_length_and_no_body() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let answer = visitor.ask(&request("HEAD", "/hello", &[])).await;
        assert_eq!((answer.status, answer.value("content-length")), (200, Some("5")));
        assert!(answer.body.is_empty());
    });
}

#[test]
fn hands_over_the_head_in_the_one_form() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let fields = [("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2"), ("content-length", "4")];
        let mut bytes = request("POST", "/request?q=1", &fields);
        bytes.extend(data(b"body"));
        let said = visitor.ask(&bytes).await.text();
        assert!(said.starts_with("Http3 https POST example.org /request?q=1 Length(4) "), "{said}");
        assert!(said.contains(r#"("accept", "*/*")"#), "{said}");
        assert!(said.contains(r#"("cookie", "a=1; b=2")"#), "crumbled cookies are joined: {said}");
    });
}

#[test]
fn a_get_that_ends_with_its_head_has_no_body() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let said = visitor.get("/request").await.text();
        assert!(said.contains(" /request None "), "{said}");
    });
}

#[test]
fn takes_the_authority_from_host_when_it_has_no_other() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut bytes = Vec::new();
        let mut head = FieldEncoder::request(&mut bytes, b"GET", b"https", b"", b"/request", None);
        head.field(b"host", b"other.example");
        head.finish();
        let said = visitor.ask(&bytes).await.text();
        assert!(said.contains(" other.example /request "), "{said}");
    });
}

#[test]
fn knows_the_connection() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let said = visitor.get("/facts").await.text();
        let port = visitor.endpoint.local_addr().unwrap().port();
        assert!(said.contains(&format!("visitor: 127.0.0.1:{port}")), "{said}");
        assert!(said.contains(&format!("local: {}", node.address)), "{said}");
        assert!(said.contains("version: V1_3, sni: Some(\"example.org\"), ja4: Some(\"q13d"), "{said}");
    });
}

#[test]
fn echoes_a_post_with_its_trailers() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut bytes = request("POST", "/echo", &[("content-type", "text/x")]);
        bytes.extend(data(b"one "));
        bytes.extend(frame(0x21, b"a reserved frame means nothing"));
        bytes.extend(data(b"two"));
        encode_trailers(&mut bytes, [(&b"x-sum"[..], &b"7"[..])].into_iter());
        let answer = visitor.ask(&bytes).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "one two"));
        assert_eq!(answer.value("content-type"), Some("text/x"));
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    });
}

#[test]
fn echoes_a_mebibyte_that_is_read_while_it_is_sent() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        let body = mebibyte();
        let send = async {
            let length = body.len().to_string();
            let head = request("POST", "/echo", &[("content-length", &length)]);
            sending.write_all(&head).await.unwrap();
            for piece in body.chunks(10_000) {
                sending.write_all(&data(piece)).await.unwrap();
            }
            sending.finish().unwrap();
        };
        let ((), answer) = tokio::join!(send, answer(receiving));
        assert_eq!(answer.unwrap().body, body);
    });
}

#[test]
fn a_body_nobody_reads_is_held_back_by_the_window() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, _receiving) = visitor.quic.open_bi().await.unwrap();
        sending.write_all(&request("POST", "/gone", &[])).await.unwrap();
        node.until_noted("waits").await;
        let frame = data(&mebibyte());
        let (mut written, mut stalled) = (0, 0);
        while written < frame.len() && stalled < 20 {
            let poll_write = |cx: &mut std::task::Context<'_>| {
                std::task::Poll::Ready(std::pin::Pin::new(&mut sending).poll_write(cx, &frame[written..]))
            };
            match std::future::poll_fn(poll_write).await {
                std::task::Poll::Ready(more) => {
                    written += more.unwrap();
                    stalled = 0;
                }
                std::task::Poll::Pending => {
                    // Another request's answer shows that the node had time to go on.
                    assert_eq!(visitor.get("/hello").await.status, 200);
                    stalled += 1;
                }
            }
        }
        assert!(stalled == 20, "the node took a body that nobody reads");
        assert!(written <= wire::limits::STREAM_WINDOW_BYTES as usize, "{written}");
    });
}

#[test]
fn tunnels_by_extended_connect() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        let mut head = Vec::new();
        let encoder = FieldEncoder::request(
            &mut head,
            b"CONNECT",
            b"https",
            b"example.org",
            b"/chat",
            Some(b"websocket"),
        );
        encoder.finish();
        sending.write_all(&head).await.unwrap();
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        assert_eq!((reading.answer.status, reading.answer.value("x-protocol")), (200, Some("websocket")));
        for word in ["there", "and", "back"] {
            reading.answer.body.clear();
            sending.write_all(&data(word.as_bytes())).await.unwrap();
            while reading.answer.body.len() < word.len() {
                assert_eq!(reading.step().await, Ok(true));
            }
            assert_eq!(reading.answer.text(), word);
        }
        sending.finish().unwrap();
        assert_eq!(reading.step().await, Ok(false), "its end is passed on too");
    });
}

#[test]
fn refuses_connect_without_a_protocol() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut head = Vec::new();
        FieldEncoder::request(&mut head, b"CONNECT", b"", b"example.org:443", b"", None).finish();
        assert_eq!(refused(&node, &visitor, &head).await.status, 405);
    });
}

#[test]
fn refuses_names_and_values_that_http1_could_not_carry() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let cases: [(&[u8], &[u8]); 9] = [
            (b"X-Upper", b"v"),
            (b"x-a", b"a\r\nb: c"),
            (b"x-a", b"a\nb"),
            (b"x-a", b"a\0b"),
            (b"x a", b"v"),
            (b"", b"v"),
            (b"connection", b"close"),
            (b"transfer-encoding", b"chunked"),
            (b"te", b"gzip"),
        ];
        for (name, value) in cases {
            let code = reset(&node, &visitor, &raw_request(&[(name, value)])).await;
            assert_eq!(code, Code::Message.value(), "{:?}", name.escape_ascii().to_string());
        }
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn refuses_a_host_that_differs_from_the_authority() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let head = raw_request(&[(b"host", b"other.example")]);
        assert_eq!(reset(&node, &visitor, &head).await, Code::Message.value());
        let head = raw_request(&[(b"host", b"example.org:443")]);
        assert_eq!(reset(&node, &visitor, &head).await, Code::Message.value(), "not the same value");
        let head = raw_request(&[(b"host", b"example.org")]);
        assert_eq!(visitor.ask(&head).await.status, 200);
    });
}

#[test]
fn refuses_pseudo_fields_that_are_unknown_repeated_or_late() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        for lines in [
            &[(&b":status"[..], &b"200"[..])][..],
            &[(b":path", b"/again")],
            &[(b"accept", b"*/*"), (b":method", b"GET")],
            &[(b":protocol", b"websocket")],
        ] {
            let code = reset(&node, &visitor, &raw_request(lines)).await;
            assert_eq!(code, Code::Message.value(), "{lines:?}");
        }
        let mut without_path = Vec::new();
        FieldEncoder::request(&mut without_path, b"GET", b"https", b"example.org", b"", None).finish();
        assert_eq!(reset(&node, &visitor, &without_path).await, Code::Message.value());
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn a_stream_that_ends_before_its_head_is_reset_as_incomplete() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        assert_eq!(reset(&node, &visitor, b"").await, Code::RequestIncomplete.value());
    });
}

#[test]
fn no_more_is_wanted_of_a_request_whose_head_is_malformed() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        sending.write_all(&raw_request(&[(b":path", b"/again")])).await.unwrap();
        let message = quinn::VarInt::from_u32(Code::Message.value() as u32);
        assert_eq!(sending.stopped().await, Ok(Some(message)));
        assert_eq!(answer(receiving).await.unwrap_err(), Code::Message.value());
    });
}

/// What speaks about one connection only, and is none of those that RFC 9114 §4.2 forbids.
#[test]
fn takes_fields_that_are_for_the_next_proxy_alone() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        for name in ["proxy-authorization", "proxy-authenticate", "http2-settings"] {
            let answer = visitor.ask(&request("GET", "/hello", &[(name, "Basic YTpi")])).await;
            assert_eq!(answer.status, 200, "{name}");
        }
    });
}

#[test]
fn refuses_two_lengths_that_differ() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let head = raw_request(&[(b"content-length", b"1"), (b"content-length", b"2")]);
        assert_eq!(reset(&node, &visitor, &head).await, Code::Message.value());
    });
}

#[test]
fn refuses_an_expectation_it_does_not_know() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let head = request("POST", "/echo", &[("expect", "200-ok")]);
        assert_eq!(refused(&node, &visitor, &head).await.status, 417);
    });
}

#[test]
fn a_body_longer_or_shorter_than_its_length_breaks_the_stream() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        for body in [&b"0123456789"[..], b"012"] {
            let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
            sending.write_all(&request("POST", "/echo", &[("content-length", "5")])).await.unwrap();
            let mut reading = Reading::new(receiving);
            assert_eq!(reading.step().await, Ok(true), "the answer begins");
            sending.write_all(&data(body)).await.unwrap();
            sending.finish().unwrap();
            let ended = loop {
                match reading.step().await {
                    Ok(true) => {}
                    other => break other,
                }
            };
            assert_eq!(ended, Err(Code::Message.value()));
        }
        node.until_noted("Malformed(Malformed)").await;
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn a_length_without_a_body_is_refused_at_once() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let head = request("POST", "/echo", &[("content-length", "5")]);
        assert_eq!(reset(&node, &visitor, &head).await, Code::Message.value());
    });
}

/// RFC 9114 §4.1.2, whoever notices it: a service that reads the body and answers in words, or the reading of
/// what a service did not want.
#[test]
fn a_malformed_body_resets_the_stream_whatever_was_answered() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let length = &[("content-length", "5")][..];
        let pseudo = raw_trailers(&[(b":path", b"/again")]);
        for path in ["/told", "/hello"] {
            for bytes in [
                [request("POST", path, length), data(b"0123456789")].concat(),
                [request("POST", path, length), data(b"012")].concat(),
                [request("POST", path, &[]), data(b"whole"), pseudo.clone()].concat(),
                [request("POST", path, &[]), data(b"whole"), raw_trailers(&[(b"X-Upper", b"v")])].concat(),
                [request("POST", path, &[]), data(b"whole"), raw_trailers(&[(b"connection", b"x")])].concat(),
            ] {
                let (_sending, receiving) = visitor.send(&bytes).await;
                let code = answer(receiving).await.unwrap_err();
                assert_eq!(code, Code::Message.value(), "{path} {bytes:02x?}");
            }
        }
        let notes = node.thread.service.seen.borrow().notes.clone();
        // A body that is too long shows in its frame, which came with the head.
        assert_eq!(notes.iter().filter(|note| *note == "malformed_request").count(), 4, "{notes:?}");
        let whole = [request("POST", "/told", length), data(b"whole")].concat();
        assert_eq!(visitor.ask(&whole).await.text(), "whole", "the connection lives on");
    });
}

/// As with an upload that its zone refuses for its length: who did nothing wrong has its answer.
#[test]
fn an_answer_that_wants_no_body_is_whole() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let trailers = raw_trailers(&[(b"x-sum", b"7")]);
        let bytes =
            [request("POST", "/hello", &[("content-length", "5")]), data(b"whole"), trailers].concat();
        assert_eq!(visitor.ask(&bytes).await.text(), "hello");
    });
}

#[test]
fn a_head_over_the_limit_gets_431() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let large = "x".repeat(wire::limits::FIELD_SECTION_BYTES as usize);
        let head = request("GET", "/hello", &[("x-large", &large)]);
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        let _stopped_or_not = sending.write_all(&head).await;
        let answer = answer(receiving).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (431, "head_too_large"));
        let many: Vec<_> = (0..300).map(|_| ("x-many", "v")).collect();
        assert_eq!(refused(&node, &visitor, &request("GET", "/hello", &many)).await.status, 431);
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}
