//! What nobody honest sends: it is refused, held to a bound, or ends the connection with the code that fits.

use std::net::{IpAddr, Ipv4Addr};

use http3::Code;
use quinn::VarInt;
use wire::limits::{HEAD_MS, QUIC_BESIDE_BYTES, RESET_CREDIT, STREAM_WINDOW_BYTES};
use wire::{Abuse, WireEvent};

use super::client::{Visitor, answer, connect_silently, data, frame, request};
use super::run;
use super::site::Node;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn code(code: Code) -> VarInt {
    VarInt::from_u32(code.value() as u32)
}

#[test]
fn a_headers_frame_of_200_mib_is_refused_by_its_length() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        let mut head = Vec::new();
        http3::varint::write(&mut head, 1);
        http3::varint::write(&mut head, 200 << 20);
        sending.write_all(&head).await.unwrap();
        let filling = vec![0; 1 << 16];
        let mut taken = 0;
        while taken < 200 << 20 {
            match sending.write(&filling).await {
                Ok(written) => taken += written,
                Err(_) => break,
            }
        }
        assert!(taken <= 8 << 20, "{taken} bytes were taken");
        assert_eq!(answer(receiving).await.unwrap().status, 431);
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn an_unknown_frame_passes_by_without_being_kept() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        let length = 16 << 20;
        let mut head = Vec::new();
        http3::varint::write(&mut head, 0x1f * 7 + 0x21);
        http3::varint::write(&mut head, length);
        sending.write_all(&head).await.unwrap();
        let filling = vec![0; 1 << 16];
        for _ in 0..length >> 16 {
            sending.write_all(&filling).await.unwrap();
        }
        sending.write_all(&request("GET", "/hello", &[])).await.unwrap();
        sending.finish().unwrap();
        // 64 times the window went through one stream: it is read as it comes, and there is no place to keep
        // it.
        assert!(length > 16 * u64::from(STREAM_WINDOW_BYTES));
        assert_eq!(answer(receiving).await.unwrap().text(), "hello");
    });
}

#[test]
fn frames_that_carry_nothing_end_the_connection() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, _receiving) = visitor.quic.open_bi().await.unwrap();
        let empty = frame(0x21, b"").repeat(2000);
        let _cut_short = sending.write_all(&empty).await;
        assert_eq!(visitor.closed().await, Code::ExcessiveLoad.value());
        node.until(|seen| seen.events.contains(&WireEvent::Abuse(Abuse::EmptyData, LOCALHOST))).await;
    });
}

#[test]
fn a_storm_of_resets_ends_the_connection() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let head = request("GET", "/gone", &[]);
        let mut opened = 0;
        while visitor.quic.close_reason().is_none() && opened < 10 * RESET_CREDIT {
            let Ok((mut sending, mut receiving)) = visitor.quic.open_bi().await else { break };
            let _closed_meanwhile = sending.write_all(&head).await;
            let _closed_meanwhile = sending.reset(code(Code::RequestCancelled));
            let _closed_meanwhile = receiving.stop(code(Code::RequestCancelled));
            opened += 1;
        }
        assert!(opened >= RESET_CREDIT, "closed after {opened}");
        assert!(opened < 2 * RESET_CREDIT, "{opened} were let through");
        assert_eq!(visitor.closed().await, Code::ExcessiveLoad.value());
        node.until(|seen| seen.events.contains(&WireEvent::Abuse(Abuse::Resets, LOCALHOST))).await;
    });
}

#[test]
fn what_is_refused_for_the_visitors_errors_again_and_again_ends_the_connection() {
    run(async {
        let node = Node::start();
        let overfull =
            [request("POST", "/count", &[("content-length", "4")]), data(b"more"), data(b"of it")].concat();
        let without_method = {
            let mut head = Vec::new();
            http3::encode_trailers(&mut head, [(&b"x-a"[..], &b"b"[..])].into_iter());
            head
        };
        for (bytes, abuse) in [(overfull, Abuse::Resets), (without_method, Abuse::Heads)] {
            let visitor = Visitor::connect(&node).await;
            let mut opened = 0;
            while visitor.quic.close_reason().is_none() && opened < 10 * RESET_CREDIT {
                let Ok((mut sending, mut receiving)) = visitor.quic.open_bi().await else { break };
                let _closed_meanwhile = sending.write_all(&bytes).await;
                let _closed_meanwhile = sending.finish();
                let _refused = receiving.read_to_end(1 << 16).await;
                opened += 1;
            }
            assert!(opened >= RESET_CREDIT, "{abuse:?}: closed after {opened}");
            assert!(opened < 2 * RESET_CREDIT, "{abuse:?}: {opened} were let through");
            assert_eq!(visitor.closed().await, Code::ExcessiveLoad.value());
            node.until(|seen| seen.events.contains(&WireEvent::Abuse(abuse, LOCALHOST))).await;
        }
    });
}

#[test]
fn giving_up_as_many_requests_as_are_answered_is_no_storm() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        for _ in 0..2 * RESET_CREDIT {
            let (mut sending, mut receiving) = visitor.quic.open_bi().await.unwrap();
            sending.write_all(&request("GET", "/gone", &[])).await.unwrap();
            sending.reset(code(Code::RequestCancelled)).unwrap();
            receiving.stop(code(Code::RequestCancelled)).unwrap();
            assert_eq!(visitor.get("/hello").await.status, 200);
        }
    });
}

#[test]
fn frames_out_of_place_end_the_connection() {
    run(async {
        let node = Node::start();
        let mut after_trailers = request("POST", "/echo", &[]);
        http3::encode_trailers(&mut after_trailers, [(&b"x-a"[..], &b"b"[..])].into_iter());
        let trailers_then_data = [after_trailers, data(b"late")].concat();
        let truncated = [request("POST", "/count", &[]), data(b"whole")[..3].to_vec()].concat();
        for (bytes, expected) in [
            (data(b"before the head"), Code::FrameUnexpected),
            (frame(6, b"12345678"), Code::FrameUnexpected),
            (frame(4, b""), Code::FrameUnexpected),
            (frame(5, b"\x00"), Code::FrameUnexpected),
            (trailers_then_data, Code::FrameUnexpected),
            (truncated, Code::Frame),
            (frame(1, &[2, 0, 0x80]), Code::QpackDecompression),
        ] {
            let visitor = Visitor::connect(&node).await;
            let _unanswered = visitor.send(&bytes).await;
            assert_eq!(visitor.closed().await, expected.value(), "{bytes:02x?}");
        }
        assert_eq!(Visitor::connect(&node).await.get("/hello").await.status, 200);
    });
}

/// The code that a connection is closed with after these unidirectional streams.
async fn closed_after(node: &Node, streams: &[&[u8]], ends: bool) -> u64 {
    let (_endpoint, quic) = connect_silently(node).await;
    let mut open = Vec::new();
    for bytes in streams {
        let mut stream = quic.open_uni().await.unwrap();
        let _closed_meanwhile = stream.write_all(bytes).await;
        if ends {
            let _closed_meanwhile = stream.finish();
        }
        open.push(stream);
    }
    match quic.closed().await {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("closed otherwise: {other}"),
    }
}

#[test]
fn streams_that_break_the_rules_end_the_connection() {
    run(async {
        let node = Node::start();
        let control = &[0, 4, 0][..];
        let cases: [(&[&[u8]], bool, Code); 10] = [
            // A control stream that does not begin with SETTINGS (RFC 9114 §6.2.1).
            (&[&[0, 0x07, 1, 0]], false, Code::MissingSettings),
            (&[&[0, 4, 0, 4, 0]], false, Code::FrameUnexpected),
            // Settings of HTTP/2, twice the same, and a switch that is none (RFC 9114 §7.2.4).
            (&[&[0, 4, 2, 2, 0]], false, Code::Settings),
            (&[&[0, 4, 4, 6, 1, 6, 1]], false, Code::Settings),
            (&[&[0, 4, 2, 8, 2]], false, Code::Settings),
            (&[control, control], false, Code::StreamCreation),
            (&[control], true, Code::ClosedCriticalStream),
            // A push stream, which only servers open.
            (&[control, &[1, 0]], false, Code::StreamCreation),
            // An insert into a table of capacity 0, and an acknowledgment of nothing (RFC 9204 §4).
            (&[control, &[2, 0xc0, 0]], false, Code::QpackEncoderStream),
            (&[control, &[3, 0x80]], false, Code::QpackDecoderStream),
        ];
        for (streams, ends, expected) in cases {
            assert_eq!(closed_after(&node, streams, ends).await, expected.value(), "{streams:02x?}");
        }
    });
}

#[test]
fn unknown_streams_are_stopped_and_forgotten() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        for _ in 0..20 {
            let mut stream = visitor.quic.open_uni().await.unwrap();
            stream.write_all(&[0x21, 1, 2, 3]).await.unwrap();
            assert_eq!(stream.stopped().await, Ok(Some(code(Code::StreamCreation))));
        }
        assert_eq!(visitor.get("/hello").await.status, 200);
    });
}

#[test]
fn a_stream_that_does_not_say_its_type_is_stopped() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut stream = visitor.quic.open_uni().await.unwrap();
        stream.write_all(&[0x40]).await.unwrap();
        assert_eq!(visitor.get("/hello").await.status, 200);
        let stopped = tokio::task::spawn_local(stream.stopped());
        while !stopped.is_finished() {
            node.pass_ms(HEAD_MS);
            tokio::task::yield_now().await;
        }
        assert_eq!(stopped.await.unwrap(), Ok(Some(code(Code::StreamCreation))));
        assert_eq!(visitor.get("/hello").await.status, 200);
    });
}

#[test]
fn a_visitor_cannot_open_more_requests_than_announced() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut open = Vec::new();
        for _ in 0..wire::limits::QUIC_STREAMS {
            let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
            sending.write_all(&[1]).await.unwrap();
            open.push((sending, receiving));
        }
        let mut next = std::pin::pin!(visitor.quic.open_bi());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "one more was allowed");
        while node.thread.deadlines.len() < open.len() {
            tokio::task::yield_now().await;
        }
        node.pass_ms(HEAD_MS);
        // Each is answered with 408, and its place is free once the visitor has given up its half too. Ending
        // it within a frame would be an error of the connection.
        for (mut sending, receiving) in open {
            assert_eq!(answer(receiving).await.unwrap().status, 408);
            sending.reset(code(Code::RequestCancelled)).unwrap();
        }
        assert!(next.await.is_ok());
    });
}

#[test]
fn much_said_beside_requests_ends_the_connection() {
    run(async {
        let node = Node::start();
        let (_endpoint, quic) = connect_silently(&node).await;
        let mut control = quic.open_uni().await.unwrap();
        control.write_all(&http3::client_preface(&http3::Limits::default())).await.unwrap();
        // Reserved frames without payload (RFC 9114 section 7.2.8).
        let frames = frame(0x21, &[]).repeat(512);
        let mut said = 0;
        while said <= 2 * QUIC_BESIDE_BYTES && control.write_all(&frames).await.is_ok() {
            said += frames.len() as u64;
        }
        assert!(said > QUIC_BESIDE_BYTES / 2, "a good deal may be said");
        let quinn::ConnectionError::ApplicationClosed(close) = quic.closed().await else {
            panic!("it is closed");
        };
        assert_eq!(close.error_code.into_inner(), Code::ExcessiveLoad.value());
        node.until(|seen| seen.events.contains(&WireEvent::Abuse(Abuse::OtherFrames, LOCALHOST))).await;
    });
}

#[test]
fn priorities_for_each_request_are_not_much() {
    run(async {
        let node = Node::start();
        let (_endpoint, quic) = connect_silently(&node).await;
        let mut control = quic.open_uni().await.unwrap();
        control.write_all(&http3::client_preface(&http3::Limits::default())).await.unwrap();
        let update = frame(0xf0700, &[0x40, 0x40, b'u', b'=', b'3', b',', b'i']);
        let each = 8;
        for _ in 0..2 * QUIC_BESIDE_BYTES / (each * update.len() as u64) {
            control.write_all(&update.repeat(each as usize)).await.unwrap();
            let (mut sending, receiving) = quic.open_bi().await.unwrap();
            sending.write_all(&request("GET", "/hello", &[])).await.unwrap();
            sending.finish().unwrap();
            assert_eq!(answer(receiving).await.unwrap().status, 200);
        }
        assert_eq!(node.blamed(Abuse::OtherFrames), 0);
    });
}
