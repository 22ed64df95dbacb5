//! The scripted origin against the visitors of this crate and raw sockets.

use super::*;
use crate::authority::{Authority, ClientCertificates, Greeting};
use crate::fields::Fields;
use crate::folder::Folder;
use crate::gate::Gate;
use crate::message::Framing;
use crate::stream::{Ending, Stream};
use crate::visitor::{Http2Visitor, Visitor, WebSocket};
use crate::websocket::{Frame, Opcode};

#[test]
fn records_head_body_order_and_connection() {
    let origin = OriginSpec::new().answering(|request| Answer::ok(request.body.clone())).unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    let raw = b"POST /a?x=1 HTTP/1.1\r\nHost: a\r\nX-Odd:  1\r\nTransfer-Encoding: chunked\r\n\r\n";
    visitor.send([raw.as_slice(), b"3\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n"].concat()).unwrap();
    assert_eq!(visitor.expect_response("POST").unwrap().body, b"abcde");
    visitor.fetch("a", "/b").unwrap();
    Visitor::tcp(origin.address()).unwrap().fetch("a", "/c").unwrap();

    let requests = origin.requests();
    let places: Vec<_> = requests.iter().map(|request| (request.connection, request.place)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0)]);
    let first = &requests[0];
    assert_eq!((first.chunks.as_slice(), first.trailers.first("t")), ([3, 2].as_slice(), Some("v")));
    assert_eq!(first.body_sha256, crate::digest::sha256_hex(b"abcde"));
    assert_eq!(first.parameter("x"), Some("1"));
    let counters = origin.wait_until(|counters| counters.answered == 3).unwrap();
    assert_eq!((counters.connections, counters.requests, counters.aborted), (2, 3, 0));
}

#[test]
fn keeps_the_exact_bytes_of_a_head() {
    let origin = OriginSpec::new().answering(|_| Answer::ok("")).unwrap();
    let raw = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Odd:  \t1 \r\nx-odd: \xff\r\n\r\n";
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    visitor.send(raw).unwrap();
    visitor.expect_response("GET").unwrap();
    assert_eq!(origin.requests()[0].raw, raw);
}

#[test]
fn sends_informational_answers_and_the_body_in_steps() {
    let (head, body) = (Gate::new(), Gate::new());
    let answer = Answer::new(200)
        .informational(103, &[("Link", "</a.css>; rel=preload")])
        .wait_before_head(&head)
        .part("one")
        .wait(&body)
        .part("two")
        .trailer("X-End", "yes");
    let origin = OriginSpec::new().answering(move |_| answer.clone()).unwrap();

    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    visitor.send_head("GET", "/", "a", &Fields::new()).unwrap();
    assert_eq!(visitor.next_head("GET").unwrap().unwrap().status, 103);
    head.open();
    let final_head = visitor.read_head("GET").unwrap().unwrap();
    let mut reader = crate::message::BodyReader::new(final_head.framing);
    assert_eq!(visitor.body_part(&mut reader).unwrap().unwrap(), b"one");
    body.open();
    assert_eq!(visitor.body_part(&mut reader).unwrap().unwrap(), b"two");
    assert_eq!(visitor.body_part(&mut reader).unwrap(), None);
    assert_eq!(reader.trailers.first("x-end"), Some("yes"));

    let visitor = Http2Visitor::cleartext(origin.address()).unwrap();
    let mut stream = visitor.open("GET", "/", "a", &Fields::new(), true).unwrap();
    assert_eq!(stream.next_informational().unwrap().unwrap().status, 103);
    head.open();
    assert_eq!(stream.read_head().unwrap().status, 200);
    assert_eq!(stream.body_part().unwrap().unwrap(), b"one");
    body.open();
    assert_eq!(stream.body_part().unwrap().unwrap(), b"two");
    assert_eq!(stream.body_part().unwrap(), None);
    assert_eq!(stream.trailers().first("x-end"), Some("yes"));
}

#[test]
fn frames_bodies_by_length_chunks_and_close() {
    let origin = OriginSpec::new()
        .answering(|request| match request.path() {
            "/chunked" => Answer::ok("x").chunked(),
            "/close" => Answer::ok("x").until_close(),
            _ => Answer::ok("x"),
        })
        .unwrap();
    let framing = |target| Visitor::tcp(origin.address()).unwrap().fetch("a", target).unwrap().framing;
    assert_eq!(framing("/"), Framing::Length(1));
    assert_eq!(framing("/chunked"), Framing::Chunked);
    assert_eq!(framing("/close"), Framing::UntilClose);
}

#[test]
fn answers_expect_with_100_and_head_without_a_body() {
    let origin = OriginSpec::new().answering(|_| Answer::ok("12345")).unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    let fields = Fields::of(&[("Expect", "100-continue"), ("Content-Length", "2")]);
    visitor.send_head("PUT", "/", "a", &fields).unwrap();
    assert_eq!(visitor.next_head("PUT").unwrap().unwrap().status, 100);
    visitor.send("ok").unwrap();
    assert_eq!(visitor.expect_response("PUT").unwrap().status, 200);
    let head = visitor.ask("HEAD", "/", "a", &Fields::new(), b"").unwrap();
    assert_eq!((head.fields.first("content-length"), head.body.len()), (Some("5"), 0));
}

#[test]
fn closes_after_so_many_requests() {
    let origin = OriginSpec::new().closes_after(2).answering(|_| Answer::ok("x")).unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    visitor.fetch("a", "/").unwrap();
    assert!(!visitor.fetch("a", "/").unwrap().fields.has("connection"));
    assert!(visitor.read_response("GET").unwrap().is_none());
    assert_eq!(visitor.ending(), Ending::Closed);
}

#[test]
fn closes_idle_connections_when_told() {
    let origin = OriginSpec::new().answering(|_| Answer::ok("x")).unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    visitor.fetch("a", "/").unwrap();
    origin.wait_until(|counters| counters.idle == 1 && counters.requests == 1).unwrap();
    assert_eq!(origin.close_idle_connections(), 1);
    assert!(visitor.read_response("GET").unwrap().is_none());
    origin.wait_until(|counters| counters.open == 0).unwrap();
}

#[test]
fn breaks_and_resets_in_the_middle() {
    let origin = OriginSpec::new()
        .answering(|request| match request.path() {
            "/reset" => Answer::ok("abc").chunked().reset_here(),
            _ => Answer::ok("abc").chunked().broken_here(),
        })
        .unwrap();
    for (target, ending) in [("/break", Ending::Closed), ("/reset", Ending::Reset)] {
        let mut visitor = Visitor::tcp(origin.address()).unwrap();
        assert!(visitor.fetch("a", target).is_err());
        assert_eq!(visitor.ending(), ending, "{target}");
        let visitor = Http2Visitor::cleartext(origin.address()).unwrap();
        assert!(visitor.fetch("a", target).is_err());
    }
}

#[test]
fn a_script_sends_any_bytes_and_sees_the_visitor_leave() {
    let origin = OriginSpec::new()
        .scripted(|exchange| {
            if exchange.request().path() == "/hang" {
                exchange.wait_until_gone()?;
                return Ok(());
            }
            exchange.close_after();
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx")
        })
        .unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    assert!(visitor.fetch("a", "/").unwrap_err().to_string().contains("ambiguous framing"));
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    visitor.send_head("GET", "/hang", "a", &Fields::new()).unwrap();
    origin.wait_until(|counters| counters.requests == 2).unwrap();
    visitor.reset();
    origin.wait_until(|counters| counters.aborted == 1 && counters.open == 0).unwrap();
    assert_eq!(origin.faults(), Vec::<String>::new());
}

#[test]
fn records_a_malformed_request_as_a_fault() {
    let origin = OriginSpec::new().answering(|_| Answer::ok("x")).unwrap();
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let before = origin.faults().len();
        let mut visitor = Visitor::tcp(origin.address()).unwrap();
        visitor.send(bytes).unwrap();
        visitor.half_close().unwrap();
        assert!(visitor.rest().unwrap().starts_with(b"HTTP/1.1 400"), "{bytes:?}");
        assert_eq!(origin.faults().len(), before + 1, "{bytes:?}");
    }
}

#[test]
fn receives_connections_as_told() {
    let origin = OriginSpec::new().answering(|_| Answer::ok("x")).unwrap();
    origin.receive(Reception::Close);
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    assert!(visitor.rest().unwrap().is_empty());
    assert_eq!(visitor.ending(), Ending::Closed);
    origin.receive(Reception::Reset);
    let visitor = Visitor::tcp(origin.address());
    if let Ok(mut visitor) = visitor {
        visitor.rest().unwrap();
        assert_eq!(visitor.ending(), Ending::Reset);
    }
    origin.receive(Reception::Hang);
    let _hung = Visitor::tcp(origin.address()).unwrap();
    origin.wait_until(|counters| counters.connections == 3 && counters.open == 1).unwrap();
}

#[test]
fn never_accepts_when_told_so() {
    let origin = OriginSpec::new().reception(Reception::Never).answering(|_| Answer::ok("x")).unwrap();
    let short = std::time::Duration::from_millis(50);
    let refused = TcpStream::connect_timeout(&origin.address(), short).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn goes_down_and_comes_back_at_the_same_address() {
    let origin = OriginSpec::new().answering(|_| Answer::ok("x")).unwrap();
    let mut visitor = Visitor::tcp(origin.address()).unwrap();
    visitor.fetch("a", "/").unwrap();
    origin.go_down();
    assert!(visitor.read_response("GET").unwrap().is_none());
    let refused = TcpStream::connect(origin.address()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    origin.come_back().unwrap();
    Visitor::tcp(origin.address()).unwrap().fetch("a", "/").unwrap();
    let port = RefusingPort::new().unwrap();
    assert!(TcpStream::connect(port.address()).is_err());
}

#[test]
fn listens_on_ipv6_and_unix_sockets() {
    let origin = OriginSpec::new().ipv6().answering(|_| Answer::ok("six")).unwrap();
    assert!(origin.address().is_ipv6());
    assert_eq!(Visitor::tcp(origin.address()).unwrap().fetch("a", "/").unwrap().body, b"six");
    let folder = Folder::new().unwrap();
    let origin = OriginSpec::new().unix(folder.path().join("s")).answering(|_| Answer::ok("unix")).unwrap();
    assert_eq!(Visitor::unix(origin.path().unwrap()).unwrap().fetch("a", "/").unwrap().body, b"unix");
    origin.go_down();
    assert!(Visitor::unix(origin.path().unwrap()).is_err());
}

#[test]
fn reads_a_proxy_header_before_tls() {
    let authority = Authority::new().unwrap();
    let leaf = authority.leaf(&["a.example"]).unwrap();
    let tls = authority.server_config(&leaf, &["h2", "http/1.1"], ClientCertificates::Unasked).unwrap();
    let origin = OriginSpec::new().tls(tls).proxy_header().answering(|_| Answer::ok("x")).unwrap();
    let mut stream = Stream::tcp(origin.address()).unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 443\r\n").unwrap();
    let config = authority.client_config(Greeting::default()).unwrap();
    Visitor::on(stream.into_tls("a.example", &config).unwrap()).fetch("a.example", "/").unwrap();
    let seen = origin.requests()[0].proxy.clone().unwrap();
    assert_eq!(seen.source, Some("192.0.2.7:5000".parse().unwrap()));
}

#[test]
fn speaks_http2_over_tls_by_alpn() {
    let authority = Authority::new().unwrap();
    let leaf = authority.leaf(&["a.example"]).unwrap();
    let tls = authority.server_config(&leaf, &["h2", "http/1.1"], ClientCertificates::Unasked).unwrap();
    let origin = OriginSpec::new().tls(tls).answering(|request| Answer::ok(request.version.clone())).unwrap();
    let config = |alpn: &[&str]| authority.client_config(Greeting { alpn, ..Greeting::default() }).unwrap();
    let visitor = Http2Visitor::tls(origin.address(), "a.example", &config(&["h2"])).unwrap();
    assert_eq!(visitor.fetch("a.example", "/").unwrap().body, b"HTTP/2");
    let mut visitor = Visitor::tls(origin.address(), "a.example", &config(&["http/1.1"])).unwrap();
    assert_eq!(visitor.fetch("a.example", "/").unwrap().body, b"HTTP/1.1");
    assert_eq!(visitor.stream().alpn().as_deref(), Some("http/1.1"));
}

#[test]
fn echoes_websockets_over_both_protocols() {
    let push = Frame::new(Opcode::Text, "hello").to_bytes(None);
    let origin = OriginSpec::new().answering(move |_| Answer::websocket().part(push.clone())).unwrap();
    let visitor = Visitor::tcp(origin.address()).unwrap();
    let http2 = Http2Visitor::cleartext(origin.address()).unwrap();
    for mut socket in [
        WebSocket::open(visitor, "a", "/ws", &Fields::new()).unwrap(),
        WebSocket::open_http2(&http2, "a", "/ws", &Fields::new()).unwrap(),
    ] {
        assert_eq!(socket.read().unwrap().unwrap().text(), "hello");
        assert_eq!(socket.exchange("abc").unwrap(), Frame::new(Opcode::Text, "abc"));
        socket.send(&Frame::new(Opcode::Ping, "p")).unwrap();
        assert_eq!(socket.read().unwrap().unwrap(), Frame::new(Opcode::Pong, "p"));
        assert_eq!(socket.close(1000, "bye").unwrap(), [Frame::close(1000, "bye")]);
    }
    origin.wait_until(|counters| counters.answered == 2).unwrap();
    assert_eq!(origin.faults(), Vec::<String>::new());
}

#[test]
fn streams_grpc_in_all_four_forms() {
    let origin = grpc::start(OriginSpec::new()).unwrap();
    let visitor = Http2Visitor::cleartext(origin.address()).unwrap();
    let fields = Fields::of(&[("content-type", "application/grpc"), ("te", "trailers")]);
    let call = |form: &str, messages: &[&str]| {
        let body: Vec<u8> = messages.iter().flat_map(|text| grpc::message(text.as_bytes())).collect();
        let response = visitor.ask("POST", &format!("/testkit.Echo/{form}"), "a", &fields, &body).unwrap();
        let mut reader = grpc::MessageReader::default();
        reader.add(&response.body);
        let answers: Vec<_> = std::iter::from_fn(|| reader.next_message()).collect();
        (answers, response)
    };
    assert_eq!(call("Unary", &["a"]).0, [b"a"]);
    assert_eq!(call("Collect", &["a", "b"]).0, [b"ab"]);
    let (answers, response) = call("Count", &["3"]);
    assert_eq!(answers, [b"0", b"1", b"2"]);
    assert_eq!(response.trailers.first("grpc-status"), Some("0"));
    let (_, failed) = call("Fail", &["x"]);
    assert_eq!(failed.fields.first("grpc-status"), Some("13"));

    let mut talk = visitor.open("POST", "/testkit.Echo/Talk", "a", &fields, false).unwrap();
    talk.read_head().unwrap();
    for word in ["one", "two"] {
        talk.send(grpc::message(word.as_bytes())).unwrap();
        assert_eq!(talk.body_part().unwrap().unwrap(), grpc::message(word.as_bytes()));
    }
    talk.finish().unwrap();
    assert_eq!(talk.body_part().unwrap(), None);
    assert_eq!(talk.trailers().first("grpc-status"), Some("0"));
}

#[test]
fn counts_a_stream_that_the_visitor_resets() {
    let gate = Gate::new();
    let answer = Answer::ok("x").wait(&gate).part("y");
    let origin = OriginSpec::new().answering(move |_| answer.clone()).unwrap();
    let visitor = Http2Visitor::cleartext(origin.address()).unwrap();
    let mut stream = visitor.open("GET", "/", "a", &Fields::new(), true).unwrap();
    stream.read_head().unwrap();
    stream.reset(h2::Reason::CANCEL);
    origin.wait_until(|counters| counters.aborted == 1).unwrap();
}
