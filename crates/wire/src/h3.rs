//! HTTP/3 towards a visitor, on quinn and the sans-I/O crate `http3`.
//!
//! One task drives a connection (`h3/connection.rs`), one its unidirectional streams (`h3/unidirectional.rs`)
//! and one each request (`h3/request.rs`); `h3/endpoint.rs` accepts, `h3/receiver.rs` and `h3/sender.rs` are
//! the two halves of a request's stream. This file is the side of an [`crate::Exchange`] that they make up.
//!
//! What an exchange writes within one poll of its task is gathered and given to quinn once, so that head,
//! small body and end of an answer share a packet. Bodies pass through as the bytes quinn holds.
//!
//! Deliberately absent: push, datagrams, 0-RTT, a dynamic QPACK table. Caller: `exchange.rs`.
//! Read next: `h3/connection.rs`.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use exchange::{BodySize, Chunk, Fields, Holder, Incoming, Known, Refusal, Response};
use http3::{Code, FieldEncoder, encode_trailers};

use crate::Gone;
use receiver::Receiver;
use sender::Sender;

mod connection;
mod endpoint;
mod overheard;
mod receiver;
mod request;
mod sender;
mod socket;
mod unidirectional;

pub use endpoint::{CONNECTION_ID_BYTES, QuicListenerSettings, Strays, accept_quic, answer_strays};

/// The HTTP/3 side of an exchange.
pub(crate) struct Http3 {
    receiver: Receiver,
    /// Shared with the stream's task, which sends at the end of each poll what was gathered in it.
    sender: Rc<RefCell<Sender>>,
    date: [u8; 29],
}

impl Http3 {
    pub(crate) fn hold_for(&self, holder: Holder) {
        self.receiver.shared().hold_for(holder);
    }

    pub(crate) fn is_body_read(&self) -> bool {
        self.receiver.is_body_done()
    }

    pub(crate) fn poll_body<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<Result<Incoming<'a>, Gone>> {
        let polled = self.receiver.poll_body(cx, scratch);
        match &polled {
            // RFC 9114 §4.1.2: an error of the stream. Whoever serves may answer as over HTTP/1, to nobody.
            Poll::Ready(Err(Gone::Malformed(Refusal::Malformed))) => {
                self.sender.borrow_mut().reject(Code::Message);
            }
            Poll::Ready(Err(Gone::Malformed(_))) => self.sender.borrow_mut().blame_visitor(),
            _ => {}
        }
        polled
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        self.sender.borrow_mut().poll_stopped(cx).map(|()| Gone::Left)
    }

    pub(crate) fn inform(&mut self, _cx: &mut Context<'_>, response: &Response) {
        if response.status == 101 {
            return; // RFC 9114 §4.5: there is no such thing here
        }
        let sender = &mut *self.sender.borrow_mut();
        let mut head = FieldEncoder::response(sender.gathered(), response.status);
        for field in response.fields.end_to_end() {
            if field.known != Known::ContentLength {
                head.field(field.name, field.value);
            }
        }
    }

    pub(crate) fn respond(&mut self, cx: &mut Context<'_>, response: &Response, is_complete: bool) {
        let sender = &mut *self.sender.borrow_mut();
        let mut has_date = false;
        let mut head = FieldEncoder::response(sender.gathered(), response.status);
        for field in response.fields.end_to_end() {
            has_date |= field.known == Known::Date;
            if field.known != Known::ContentLength {
                head.field(field.name, field.value);
            }
        }
        if !has_date {
            head.field(b"date", &self.date);
        }
        let length = match response.body {
            BodySize::Length(length) => Some(length),
            BodySize::None => response.declared_length,
            BodySize::Unknown => None,
        };
        // RFC 9110 §8.6: not in 1xx and 204, nor in a 2xx to CONNECT, which gives no length here.
        if let Some(length) = length.filter(|_| response.status >= 200 && response.status != 204) {
            head.field(b"content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        head.finish();
        if let BodySize::Length(length) = response.body {
            sender.expect_body(length);
        }
        if is_complete {
            sender.end();
            let _left_for_later = sender.poll_flush(cx);
        }
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.sender.borrow_mut().poll_ready(cx)
    }

    /// Bytes that wait for quinn to take them.
    pub(crate) fn held(&self) -> usize {
        self.sender.borrow().held()
    }

    /// Bytes that quinn has taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sender.borrow().sent()
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.sender.borrow_mut().poll_flush(cx)
    }

    pub(crate) fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>, is_last: bool) -> bool {
        let sender = &mut *self.sender.borrow_mut();
        sender.give(chunk);
        if is_last {
            if !sender.is_body_whole() {
                return false;
            }
            sender.end();
        }
        if is_last || sender.is_worth_sending() {
            let _left_for_later = sender.poll_flush(cx);
        }
        true
    }

    pub(crate) fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &Fields) {
        let sender = &mut *self.sender.borrow_mut();
        let fields = trailers.end_to_end().map(|field| (field.name, field.value));
        encode_trailers(sender.gathered(), fields);
        sender.end();
        let _left_for_later = sender.poll_flush(cx);
    }

    pub(crate) fn abort(&mut self) {
        self.sender.borrow_mut().abort();
        self.receiver.abort();
    }
}
