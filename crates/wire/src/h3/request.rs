//! One request: its head, whoever answers it, and its stream's orderly end.
//!
//! Caller: `h3/connection.rs`. Read next: `h3.rs`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use exchange::{BodySize, Deadline, Known, Refusal, Request, Scheme, Upgrade, Version};
use http3::{Broken, Code, RequestSink, decode_request};
use quinn::{RecvStream, SendStream};

use super::Http3;
use super::connection::{OpenRequest, Shared};
use super::receiver::{NoHead, Receiver};
use super::sender::Sender;
use crate::exchange::{HTTPS_PORT, Side, expects_continue, join_cookies};
use crate::limits::{FLUSH_MS, HTTP3, LINGER_BYTES, LINGER_MS};
use crate::thread::{Service, Thread, WireEvent};
use crate::{Abuse, Exchange, ResponseState};

/// Why a request is refused, which rule it broke, and where that makes it malformed, with which code its
/// stream ends.
type Refused = (Refusal, &'static str, Option<Code>);

/// Serves one request; `open` counts it for as long as it lives.
pub(super) async fn serve<S: Service>(
    thread: Rc<Thread<S>>,
    shared: Rc<Shared>,
    open: OpenRequest,
    sending: SendStream,
    receiving: RecvStream,
) {
    let sender = Rc::new(RefCell::new(Sender::new(sending)));
    let mut receiver = Receiver::new(receiving, Rc::clone(&shared));
    let deadline = thread.deadlines.slot();
    let mut request = Request::default();
    deadline.arm(shared.times.get().head_ms);
    let Ok(refused) = read_head(&mut receiver, &deadline, &mut request).await else {
        shared.spend(Abuse::Resets);
        sender.borrow_mut().reject(Code::RequestCancelled);
        return;
    };
    deadline.disarm();
    let is_refused = refused.is_some();
    if let Some((_, _, Some(code))) = refused {
        // RFC 9114 §4.1.2. The service is told and may answer, as over HTTP/1: that goes nowhere. An answer
        // that leaves before the reset would be allowed, and could be lost on its way.
        receiver.stop(code);
        sender.borrow_mut().reject(code);
    }
    let refused = refused.map(|(refusal, reason, _)| (refusal, reason));
    let side = Http3 { receiver, sender: Rc::clone(&sender), date: thread.date() };
    let facts = shared.facts();
    let mut exchange = Box::new(Exchange::begin(request, facts, deadline, refused, Side::Http3(side)));
    exchange.times = shared.times.get();
    if answer(&thread, &mut exchange, &sender).await.is_err() {
        thread.service.count(WireEvent::Panicked);
        exchange.abort();
    }
    shared.times.set(exchange.times);
    if exchange.state() != ResponseState::Complete {
        exchange.abort();
    }
    let is_sent = exchange.state() == ResponseState::Complete && flush(&mut exchange, &sender).await;
    if let Some(abuse) = exchange.take_abuse() {
        thread.service.count(WireEvent::Abuse(abuse, exchange.connection.visitor.ip()));
    }
    match is_sent {
        true => drain(&mut exchange).await,
        false => exchange.abort(),
    }
    let found = match &exchange.side {
        Side::Http3(side) => side.receiver.refusal(),
        _ => None,
    };
    if found == Some(Refusal::Malformed) {
        sender.borrow_mut().reject(Code::Message); // also where it showed in what nobody wanted
    }
    match is_sent {
        // Paid for when it was found, and whoever is told of it earns nothing back.
        _ if found.is_some() => {}
        false => shared.spend(Abuse::Resets),
        true if is_refused => shared.spend(Abuse::Heads),
        true => shared.earn(),
    }
    let deadline = std::mem::replace(&mut exchange.deadline, thread.deadlines.slot());
    drop(exchange);
    if !deliver(&shared, &sender, &deadline).await {
        thread.service.count(WireEvent::Abuse(Abuse::SlowRead, shared.facts().visitor.ip()));
    }
    drop(open);
}

/// Reads the head into `request`, until the deadline, which is armed; says why it is refused, if it is.
async fn read_head(
    receiver: &mut Receiver,
    deadline: &Deadline,
    request: &mut Request,
) -> Result<Option<Refused>, NoHead> {
    request.version = Version::Http3;
    request.scheme = Scheme::Https;
    request.accepts_trailers = true;
    let section = poll_fn(|cx| {
        deadline.register(cx.waker());
        match receiver.poll_head(cx) {
            Poll::Pending if deadline.is_due() => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await;
    let section = match section {
        None => return Ok(Some((Refusal::HeadTimeout, "the head did not arrive in time", None))),
        Some(Ok(section)) => section,
        Some(Err(NoHead::TooLarge)) => return Ok(Some(TOO_LARGE)),
        Some(Err(NoHead::Malformed(code, why))) => return Ok(Some(malformed(code, why))),
        Some(Err(gone)) => return Err(gone),
    };
    let shape = match decode_request(&section, &HTTP3, &mut Filling(request)) {
        Ok(shape) => shape,
        Err(Broken::TooLarge) => return Ok(Some(TOO_LARGE)),
        Err(Broken::Stream(code, why)) => return Ok(Some(malformed(code, why))),
        Err(Broken::Connection(code, why)) => {
            receiver.shared().close(code, why);
            return Err(NoHead::Gone);
        }
    };
    if let Some(length) = shape.content_length {
        receiver.parser().expect_body(length);
    }
    if shape.is_connect {
        receiver.parser().become_tunnel();
    }
    match poll_fn(|cx| Poll::Ready(receiver.look_for_end(cx))).await {
        Ok(()) => {}
        Err(NoHead::Malformed(code, why)) => return Ok(Some(malformed(code, why))),
        Err(NoHead::TooLarge) => return Ok(Some(TOO_LARGE)),
        Err(gone) => return Err(gone),
    }
    request.body = match shape.content_length {
        _ if receiver.is_body_done() => BodySize::None,
        Some(length) => BodySize::of_length(length),
        None => BodySize::Unknown,
    };
    Ok(complete(request))
}

const TOO_LARGE: Refused = (Refusal::HeadTooLarge, "the header section is over its limit", None);

fn malformed(code: Code, why: &'static str) -> Refused {
    (Refusal::Malformed, why, Some(code))
}

/// What is left to do once all fields are there.
fn complete(request: &mut Request) -> Option<Refused> {
    join_cookies(&mut request.fields);
    if request.authority().is_empty() {
        let host = request.fields.known(Known::Host).unwrap_or_default().to_vec();
        request.set_authority(&host);
    }
    request.expects_continue = expects_continue(request);
    // Whatever the visitor calls it, over QUIC it is https; `http3` has compared Host more strictly already.
    match crate::h2::check(request, HTTPS_PORT)? {
        (Refusal::Malformed, why) => Some(malformed(Code::Message, why)),
        (refusal, why) => Some((refusal, why, None)),
    }
}

struct Filling<'a>(&'a mut Request);

impl RequestSink for Filling<'_> {
    fn method(&mut self, value: &[u8]) {
        self.0.set_method(value);
    }
    fn scheme(&mut self, _value: &[u8]) {} // over QUIC it is https, whatever the visitor calls it
    fn authority(&mut self, value: &[u8]) {
        self.0.set_authority(value);
    }
    fn path(&mut self, value: &[u8]) {
        self.0.set_target(value);
    }
    fn protocol(&mut self, value: &[u8]) {
        self.0.upgrade = Upgrade::Extended;
        self.0.set_protocol(value);
    }
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.fields.push(name, value);
    }
}

struct Panicked;

/// Lets the service answer; what it gave within one poll leaves at the poll's end.
async fn answer<S: Service>(
    thread: &Rc<Thread<S>>,
    exchange: &mut Exchange,
    sender: &RefCell<Sender>,
) -> Result<(), Panicked> {
    let mut serving = pin!(thread.service.serve(exchange));
    poll_fn(|cx| {
        // A panic ends this exchange alone; what it left half done is dropped with it.
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx)));
        if let Ok(mut sender) = sender.try_borrow_mut() {
            let _left_for_later = sender.poll_flush(cx);
        }
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// Waits until quinn has taken the whole answer; a visitor that takes nothing more is given up.
async fn flush(exchange: &mut Exchange, sender: &RefCell<Sender>) -> bool {
    let mut sent_bytes = sender.borrow().sent();
    exchange.deadline.arm(FLUSH_MS);
    poll_fn(|cx| {
        exchange.deadline.register(cx.waker());
        let mut sender = sender.borrow_mut();
        if let Poll::Ready(sent) = sender.poll_flush(cx) {
            return Poll::Ready(sent.is_ok());
        }
        if std::mem::replace(&mut sent_bytes, sender.sent()) != sender.sent() {
            exchange.deadline.arm(FLUSH_MS);
        } else if exchange.deadline.is_due() {
            exchange.blame(Abuse::SlowRead);
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}

/// Waits until the visitor has the whole answer, so that the connection is not closed upon it. A visitor that
/// acknowledges packets and takes nothing is given up; whether it takes something is told by the connection's
/// frames, of which another stream's may be taken for this one's. Gives whether it was not given up.
async fn deliver(shared: &Shared, sender: &RefCell<Sender>, deadline: &Deadline) -> bool {
    let mut frames = shared.stream_frames_sent();
    deadline.arm(FLUSH_MS);
    poll_fn(|cx| {
        deadline.register(cx.waker());
        let mut sender = sender.borrow_mut();
        if sender.poll_delivered(cx).is_ready() {
            return Poll::Ready(true);
        }
        if deadline.is_due() {
            let before = std::mem::replace(&mut frames, shared.stream_frames_sent());
            if before == frames {
                sender.give_up();
                return Poll::Ready(false);
            }
            deadline.arm(FLUSH_MS);
        }
        Poll::Pending
    })
    .await
}

/// After a complete answer reads for a moment what of the request nobody wanted, because some visitors take
/// an early stop for a failure; then the receiver's drop stops the rest without an error (RFC 9114 §4.1).
async fn drain(exchange: &mut Exchange) {
    let mut left = LINGER_BYTES;
    exchange.deadline.arm(LINGER_MS);
    poll_fn(|cx| {
        exchange.deadline.register(cx.waker());
        let Side::Http3(side) = &mut exchange.side else { return Poll::Ready(()) };
        match side.receiver.poll_drain(cx, &mut left) {
            Poll::Pending if exchange.deadline.is_due() => Poll::Ready(()),
            polled => polled,
        }
    })
    .await;
}
