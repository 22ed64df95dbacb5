//! What of an answer reaches the visitor, and how a broken one looks.

use http3::Code;
use quinn::VarInt;

use super::client::{Reading, Visitor, answer, data, request};
use super::run;
use super::site::{Node, mebibyte};

#[test]
fn sends_a_mebibyte_whole() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let answer = visitor.get("/mebibyte").await;
        assert_eq!(answer.value("content-length"), Some("1048576"));
        assert_eq!(answer.body, mebibyte());
    });
}

#[test]
fn a_visitor_that_does_not_read_holds_the_answer_back() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        visitor.quic.set_receive_window(VarInt::from_u32(64 * 1024));
        let (_sending, receiving) = visitor.send(&request("GET", "/parts", &[])).await;
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        // Another request's answer shows that the node had time to go on.
        assert_eq!(visitor.get("/hello").await.status, 200);
        let given = node.thread.service.seen.borrow().notes.len();
        assert!(given <= 5, "{given} MiB were taken for a visitor that reads none");
        while reading.step().await == Ok(true) {}
        assert_eq!(reading.answer.body.len(), 8 << 20);
        assert!(reading.answer.body.chunks(1 << 20).all(|part| part == mebibyte()));
    });
}

#[test]
fn the_rest_of_an_answer_may_take_long_if_it_moves() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect_narrowly(&node).await;
        let (_sending, receiving) = visitor.send(&request("GET", "/parts", &[])).await;
        let mut reading = Reading::new(receiving);
        // By then the service has given all eight, and a part of the last waits until quinn holds less.
        for read_bytes in (0..4).map(|pause| (5 << 20) + pause * 200 * 1024) {
            while reading.answer.body.len() < read_bytes {
                assert_eq!(reading.step().await, Ok(true));
            }
            node.settle().await;
            node.pass_ms(40_000);
        }
        while reading.step().await == Ok(true) {}
        assert_eq!(reading.answer.body.len(), 8 << 20);
    });
}

#[test]
fn a_visitor_that_never_takes_the_end_of_an_answer_is_given_up() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect_narrowly(&node).await;
        let (_sending, receiving) = visitor.send(&request("GET", "/mebibyte", &[])).await;
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        for _ in 0..2 {
            node.settle().await;
            node.pass_ms(61_000);
        }
        node.settle().await;
        let end = loop {
            match reading.step().await {
                Ok(true) => {}
                end => break end,
            }
        };
        assert_eq!(end, Err(Code::Internal.value()), "reset, and what quinn held is forgotten");
        assert!(reading.answer.body.len() < 1 << 20);
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection goes on");
    });
}

#[test]
fn head_body_and_end_of_a_small_answer_share_a_frame() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        visitor.get("/hello").await;
        let before = visitor.quic.stats().frame_rx.stream;
        visitor.get("/hello").await;
        assert_eq!(visitor.quic.stats().frame_rx.stream - before, 1);
    });
}

#[test]
fn a_head_leaves_before_its_body_is_known() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (_sending, receiving) = visitor.send(&request("GET", "/slow-head", &[])).await;
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        assert_eq!(reading.answer.status, 200);
    });
}

#[test]
fn sends_trailers() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let answer = visitor.get("/trailers").await;
        assert_eq!(answer.text(), "body");
        assert_eq!(answer.trailers, [("x-checksum".to_owned(), "42".to_owned())]);
        assert_eq!(answer.value("content-length"), None);
    });
}

#[test]
fn sends_informational_answers() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let answer = visitor.get("/hints").await;
        assert_eq!((answer.interim.as_slice(), answer.status), (&[103][..], 200));
        assert_eq!(answer.text(), "hinted");
    });
}

#[test]
fn leaves_out_what_http3_forbids_and_writes_names_in_lower_case() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let answer = visitor.get("/hop").await;
        assert_eq!((answer.value("connection"), answer.value("transfer-encoding")), (None, None));
        assert_eq!(answer.value("x-upper"), Some("kept"));
        let dates: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "date").collect();
        assert_eq!(dates.len(), 1, "an origin's date is kept: {dates:?}");
        assert_eq!(dates[0].1, "Thu, 01 Jan 2026 00:00:00 GMT");
    });
}

#[test]
fn an_aborted_answer_is_reset() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        for path in ["/abort", "/short", "/silent"] {
            let (_sending, receiving) = visitor.send(&request("GET", path, &[])).await;
            assert_eq!(answer(receiving).await.unwrap_err(), Code::Internal.value(), "{path}");
        }
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn a_panic_ends_its_exchange_alone() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (_sending, receiving) = visitor.send(&request("GET", "/panic", &[])).await;
        assert_eq!(answer(receiving).await.unwrap_err(), Code::Internal.value());
        assert_eq!(node.count(wire::WireEvent::Panicked), 1);
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn notices_a_visitor_that_stops_reading() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (_sending, mut receiving) = visitor.send(&request("GET", "/gone", &[])).await;
        node.until_noted("waits").await;
        receiving.stop(VarInt::from_u32(Code::RequestCancelled.value() as u32)).unwrap();
        node.until_noted("Left").await;
    });
}

#[test]
fn notices_a_visitor_that_resets_its_body() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        sending.write_all(&request("POST", "/echo", &[])).await.unwrap();
        sending.write_all(&data(b"part")).await.unwrap();
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        sending.reset(VarInt::from_u32(Code::RequestCancelled.value() as u32)).unwrap();
        node.until_noted("Left").await;
        let ended = loop {
            match reading.step().await {
                Ok(true) => {}
                other => break other,
            }
        };
        assert!(ended.is_err(), "an answer that was cut short must not look whole");
    });
}

#[test]
fn notices_a_visitor_that_closes_its_connection() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (_sending, _receiving) = visitor.send(&request("GET", "/gone", &[])).await;
        node.until_noted("waits").await;
        visitor.quic.close(VarInt::from_u32(Code::NoError.value() as u32), b"");
        node.until_noted("Left").await;
    });
}

#[test]
fn a_small_body_that_nobody_read_is_taken_to_its_end() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        sending.write_all(&request("POST", "/hello", &[])).await.unwrap();
        assert_eq!(answer(receiving).await.unwrap().text(), "hello");
        sending.write_all(&data(&[b'x'; 100_000])).await.unwrap();
        sending.finish().unwrap();
        assert_eq!(sending.stopped().await, Ok(None), "acknowledged to its end, not stopped");
    });
}

#[test]
fn a_large_body_that_nobody_read_is_stopped_without_an_error() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        sending.write_all(&request("POST", "/hello", &[])).await.unwrap();
        assert_eq!(answer(receiving).await.unwrap().text(), "hello");
        let piece = data(&[b'x'; 100_000]);
        let stopped = loop {
            if let Err(error) = sending.write_all(&piece).await {
                break error;
            }
        };
        let no_error = VarInt::from_u32(Code::NoError.value() as u32);
        assert_eq!(stopped, quinn::WriteError::Stopped(no_error));
    });
}
