//! One request with the place to answer it, whatever the protocol.
//!
//! An exchange is driven by one task. Reading and writing are poll functions, so that this task can drive the
//! visitor and an origin at once. Nothing is buffered beyond one chunk: [`Exchange::poll_ready`] says when
//! the next may be given, which is how back-pressure travels.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::{
    BodySize, Charge, Chunk, Connection, Deadline, Fields, Holder, Incoming, Protocol, Refusal, Request,
    Response,
};

use crate::Abuse;
use crate::h1::Http1;
use crate::h2::Http2;
use crate::h3::Http3;
use crate::kept::Kept;
use crate::nobody::{Informed, Nobody};
use crate::thread::VisitorTimes;
use crate::web_socket::WebSocketCheck;

/// Why nothing more comes from, or goes to, a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The connection or stream ended.
    Left,
    /// The body broke the protocol's framing.
    Malformed(Refusal),
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseState {
    /// No final head was given yet.
    Waiting,
    /// The head was given, the body is not complete.
    Streaming,
    /// The last byte was given.
    Complete,
    /// Given up: the visitor is told that the answer is broken.
    Aborted,
}

/// The protocol's side of an exchange.
pub(crate) enum Side {
    Http1(Http1),
    Http2(Http2),
    Http3(Http3),
    Nobody(Nobody),
}

/// One exchange.
pub struct Exchange {
    /// The request's head, as sent; whoever serves may change it before passing it on.
    pub request: Request,
    /// Facts of the connection.
    pub connection: Rc<Connection>,
    /// A deadline of this exchange, for whoever serves; armed and disarmed freely.
    pub deadline: Deadline,
    /// Set when the request was refused before it could be served: answer it with this and nothing else.
    pub refusal: Option<Refusal>,
    /// How long the visitor may take after this exchange, on the same connection; whoever serves sets those
    /// of the zone.
    pub times: VisitorTimes,
    /// Which rule of the protocol the request broke, for the log.
    pub refusal_reason: &'static str,
    /// What it makes us hold; whoever serves begins it, and without that nothing is bounded.
    pub charge: Charge,
    pub(crate) is_shed: bool,
    abuse: Option<Abuse>,
    /// Looks at what the visitor sends once the exchange is a WebSocket.
    web_socket: Option<Box<WebSocketCheck>>,
    /// What waits of the answer belongs to a store that counts it.
    is_stored: bool,
    pub(crate) side: Side,
    pub(crate) state: ResponseState,
    /// The front of the request's body, read ahead.
    pub(crate) kept: Option<Box<Kept>>,
    /// What whoever serves holds beside.
    pub(crate) also_held: usize,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Exchange {
    /// An exchange that begins, refused already where its head broke a rule.
    pub(crate) fn begin(
        request: Request,
        connection: Rc<Connection>,
        deadline: Deadline,
        refused: Option<(Refusal, &'static str)>,
        side: Side,
    ) -> Self {
        Self {
            request,
            connection,
            deadline,
            refusal: refused.map(|(refusal, _)| refusal),
            refusal_reason: refused.map_or("", |(_, reason)| reason),
            charge: Charge::default(),
            is_shed: false,
            abuse: None,
            web_socket: None,
            is_stored: false,
            side,
            state: ResponseState::Waiting,
            kept: None,
            also_held: 0,
            bytes_in: 0,
            bytes_out: 0,
            times: VisitorTimes::default(),
        }
    }

    /// An exchange without a visitor: a request of the node's own, which has no body. `informed` is told of
    /// interim answers; every other answer goes nowhere.
    pub fn of_nobody(
        request: Request,
        connection: Rc<Connection>,
        deadline: Deadline,
        informed: Informed,
    ) -> Self {
        Self::begin(request, connection, deadline, None, Side::Nobody(Nobody::new(informed)))
    }

    /// From now on the answer's body is pieces of a store that counts what it holds: those that wait here are
    /// not charged a second time. For the answer at hand.
    pub fn gives_stored(&mut self) {
        self.is_stored = true;
    }

    /// What waits is charged again: another answer begins.
    pub(crate) fn gives_its_own(&mut self) {
        self.is_stored = false;
    }

    /// Says for whom the place of the visitor's connection is held from now on: whose idle connections are
    /// let go first when places are short is told by it.
    pub fn hold_for(&self, holder: Holder) {
        match &self.side {
            Side::Http1(_) => self.deadline.hold_for(holder),
            Side::Http2(side) => side.hold_for(holder),
            Side::Http3(side) => side.hold_for(holder),
            Side::Nobody(_) => {}
        }
    }

    /// The protocol the visitor speaks.
    pub fn protocol(&self) -> Protocol {
        match self.side {
            Side::Nobody(_) | Side::Http1(_) => Protocol::Http1,
            Side::Http2(_) => Protocol::Http2,
            Side::Http3(_) => Protocol::Http3,
        }
    }

    /// How far the answer is.
    pub fn state(&self) -> ResponseState {
        self.state
    }

    /// Whether it was aborted because its zone or the node may hold no more.
    pub fn is_shed(&self) -> bool {
        self.is_shed
    }

    /// Notes what the visitor is ended or refused for; the first of several counts.
    pub fn blame(&mut self, abuse: Abuse) {
        self.abuse.get_or_insert(abuse);
    }

    /// What the visitor was ended or refused for within this exchange; whoever serves counts it, once.
    pub fn take_abuse(&mut self) -> Option<Abuse> {
        self.abuse.take()
    }

    /// Tells the charge what waits now; ends the exchange where that is more than may be held.
    fn settle(&mut self) {
        let held = match &self.side {
            Side::Http1(side) => side.held(),
            Side::Http2(side) => side.held(),
            Side::Http3(side) => side.held(),
            Side::Nobody(_) => 0,
        };
        let held = if self.is_stored { 0 } else { held } + self.kept_bytes() + self.also_held;
        if self.charge.hold(held as u64).is_err() {
            self.is_shed = true;
            self.abort();
        }
    }

    /// Bytes of request body read so far.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Says what whoever serves holds of the answer beside what was given here.
    pub fn hold_also(&mut self, bytes: usize) {
        if self.also_held != bytes {
            self.also_held = bytes;
            self.settle();
        }
    }

    fn kept_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.len())
    }

    /// Whether nothing of the request's body has left yet: what was read of it is all there still.
    pub fn is_body_whole(&self) -> bool {
        self.bytes_in == self.kept_bytes() as u64
    }

    /// Bytes of answer body given so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Bytes that the transport has taken so far; it rises while a slow visitor reads, also within one piece.
    pub fn bytes_moved(&self) -> u64 {
        match &self.side {
            Side::Http1(side) => side.sent,
            Side::Http2(side) => side.sent,
            Side::Http3(side) => side.sent(),
            Side::Nobody(_) => 0,
        }
    }

    /// Whether the request's body has been read to its end.
    pub fn is_body_read(&self) -> bool {
        match &self.side {
            Side::Http1(side) => side.is_body_read(),
            Side::Http2(side) => side.is_body_read(),
            Side::Http3(side) => side.is_body_read(),
            Side::Nobody(_) => true,
        }
    }

    /// Reads the next piece of the request's body, or after [`Exchange::become_tunnel`] of whatever the
    /// visitor sends. At most one read is made; `scratch` is [`crate::with_scratch`]'s.
    ///
    /// # Errors
    /// [`Gone`]; nothing can be read after it, and after `Left` nothing can be sent.
    pub fn poll_body<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<Result<Incoming<'a>, Gone>> {
        self.settle();
        if self.is_shed {
            return Poll::Ready(Err(Gone::Left));
        }
        if let Some(kept) = &mut self.kept {
            match kept.give() {
                Some(incoming) => return Poll::Ready(Ok(incoming)),
                None => self.kept = None,
            }
        }
        if self.charge.must_wait(cx) {
            return Poll::Pending;
        }
        let polled = match &mut self.side {
            Side::Http1(side) => side.poll_body(cx, scratch),
            Side::Http2(side) => side.poll_body(cx),
            Side::Http3(side) => side.poll_body(cx, scratch),
            Side::Nobody(_) => Poll::Ready(Ok(Incoming::End)),
        };
        if let Poll::Ready(Ok(Incoming::Data(chunk) | Incoming::Last(chunk))) = &polled {
            self.bytes_in += chunk.len() as u64;
            let now_tick = self.deadline.owner().now();
            if let Some(check) = &mut self.web_socket
                && !check.judge(chunk.as_slice(), now_tick)
            {
                self.abuse.get_or_insert(Abuse::WebSocket);
                return Poll::Ready(Err(Gone::Left));
            }
        }
        polled
    }

    /// Reads the next piece of the request's body ahead and keeps it, charged, for [`Exchange::poll_body`] to
    /// give again; whether more may come. How much is read ahead is the caller's to bound: what is kept is at
    /// most one read more. Not after [`Exchange::poll_body`].
    ///
    /// # Errors
    /// As [`Exchange::poll_body`].
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Result<bool, Gone>> {
        self.settle();
        if self.is_shed {
            return Poll::Ready(Err(Gone::Left));
        }
        let kept = self.kept.get_or_insert_with(|| Box::new(Kept::default()));
        if kept.has_end() {
            return Poll::Ready(Ok(false));
        }
        // The connection's bound does not hold it back: streams that all wait for the rest of their own would
        // wait for each other. What bounds them is how many a connection has, and the zone's and the node's
        // accounts.
        let polled = match &mut self.side {
            Side::Http1(side) => side.poll_body(cx, scratch),
            Side::Http2(side) => side.poll_body(cx),
            Side::Http3(side) => side.poll_body(cx, scratch),
            Side::Nobody(_) => Poll::Ready(Ok(Incoming::End)),
        };
        let before = kept.len();
        let goes_on = kept.push(ready!(polled)?);
        self.bytes_in += (kept.len() - before) as u64;
        self.settle();
        Poll::Ready(Ok(goes_on))
    }

    /// What was read ahead, and whether the body ends with it.
    pub fn read_ahead(&mut self) -> (Bytes, bool) {
        self.kept.as_mut().map_or_else(Default::default, |kept| (kept.share(), kept.has_end()))
    }

    /// Ready when the visitor has left, to be asked while the origin thinks. Only sensible once the body has
    /// been read to its end; what comes of the next request over HTTP/1 is kept, charged, and a visitor for
    /// whose there is no room counts as having left.
    ///
    /// Over HTTP/1 an end of the visitor's sending side counts as leaving, as with nginx: TCP does not tell
    /// a half-close from a closed browser.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        match &mut self.side {
            Side::Http1(side) => {
                let held = side.held();
                let polled = side.poll_gone(cx);
                if side.held() != held {
                    self.settle();
                }
                if self.is_shed { Poll::Ready(Gone::Left) } else { polled }
            }
            Side::Http2(side) => side.poll_gone(cx),
            Side::Http3(side) => side.poll_gone(cx),
            Side::Nobody(_) => Poll::Pending,
        }
    }

    /// Passes on an informational answer (1xx but 101). HTTP/1.0 visitors are spared it.
    pub fn inform(&mut self, cx: &mut Context<'_>, response: &Response) {
        if self.state != ResponseState::Waiting {
            return;
        }
        match &mut self.side {
            Side::Http1(side) => side.inform(cx, &self.request, response),
            Side::Http2(side) => side.inform(response),
            Side::Http3(side) => side.inform(cx, response),
            Side::Nobody(side) => side.inform(response),
        }
    }

    /// Gives the final head. Framing and `Connection` are made here; hop-by-hop fields are skipped.
    ///
    /// `response.body` says what follows. With [`BodySize::None`] the answer is complete at once, except
    /// after 101 and a 2xx to extended CONNECT, which call [`Exchange::become_tunnel`] next.
    pub fn respond(&mut self, cx: &mut Context<'_>, response: &Response) {
        if self.state != ResponseState::Waiting {
            return;
        }
        let is_switch = self.is_switch(response);
        self.state = match (response.body, is_switch) {
            (BodySize::None, false) => ResponseState::Complete,
            _ => ResponseState::Streaming,
        };
        match &mut self.side {
            Side::Http1(side) => side.respond(cx, &self.request, response),
            Side::Http2(side) => side.respond(response, self.state == ResponseState::Complete),
            Side::Http3(side) => side.respond(cx, response, self.state == ResponseState::Complete),
            Side::Nobody(_) => {}
        }
    }

    /// Whether this answer turns the exchange into a tunnel.
    fn is_switch(&self, response: &Response) -> bool {
        match self.request.upgrade {
            exchange::Upgrade::No => false,
            exchange::Upgrade::Http1 => response.status == 101,
            exchange::Upgrade::Extended => (200..300).contains(&response.status),
        }
    }

    /// After a head that agreed to a change of protocol: bytes pass both ways as they are.
    pub fn become_tunnel(&mut self) {
        if self.request.is_websocket() {
            self.web_socket = Some(Box::new(WebSocketCheck::new()));
        }
        if let Side::Http1(side) = &mut self.side {
            side.become_tunnel();
        }
    }

    /// Ready when the next piece may be given: what is held is little, or has left. A head is held until its
    /// body's first piece comes, so that both leave together; [`Exchange::poll_flush`] sends it alone.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.is_shed {
            return Poll::Ready(Err(Gone::Left));
        }
        let polled = match &mut self.side {
            Side::Http1(side) => side.poll_ready(cx),
            Side::Http2(side) => side.poll_ready(cx),
            Side::Http3(side) => side.poll_ready(cx),
            Side::Nobody(_) => Poll::Ready(Ok(())),
        };
        self.settle();
        polled
    }

    /// Sends what is held as far as the transport takes it: to be called when nothing more is at hand.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.is_shed {
            return Poll::Ready(Err(Gone::Left));
        }
        let polled = match &mut self.side {
            Side::Http1(side) => side.poll_flush(cx),
            Side::Http2(side) => side.poll_ready(cx),
            Side::Http3(side) => side.poll_flush(cx),
            Side::Nobody(_) => Poll::Ready(Ok(())),
        };
        self.settle();
        polled
    }

    /// Gives a piece of the answer's body, only after [`Exchange::poll_ready`] was ready. What the transport
    /// takes leaves at once; the rest is kept and copied if it was borrowed. With `is_last` the body ends.
    ///
    /// In a tunnel `is_last` ends the sending side alone.
    pub fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>, is_last: bool) {
        if self.state != ResponseState::Streaming {
            return;
        }
        self.bytes_out += chunk.len() as u64;
        let is_whole = match &mut self.side {
            Side::Http1(side) => side.send(cx, chunk, is_last),
            Side::Http2(side) => side.send(cx, chunk, is_last),
            Side::Http3(side) => side.send(cx, chunk, is_last),
            Side::Nobody(_) => true,
        };
        if is_last {
            if is_whole {
                self.state = ResponseState::Complete;
            } else {
                self.abort();
            }
        }
        self.settle();
    }

    /// Ends the body with trailers. Over HTTP/1 they are sent only in a chunked answer.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &Fields) {
        if self.state != ResponseState::Streaming {
            return;
        }
        self.state = ResponseState::Complete;
        match &mut self.side {
            Side::Http1(side) => side.send_trailers(cx, &self.request, trailers),
            Side::Http2(side) => side.send_trailers(cx, trailers),
            Side::Http3(side) => side.send_trailers(cx, trailers),
            Side::Nobody(_) => {}
        }
    }

    /// Tells the visitor that the answer will not be completed: the stream is reset, or the HTTP/1
    /// connection closed without the body's end.
    pub fn abort(&mut self) {
        if self.state == ResponseState::Aborted {
            return;
        }
        self.state = ResponseState::Aborted;
        match &mut self.side {
            Side::Http1(side) => side.abort(),
            Side::Http2(side) => side.abort(),
            Side::Http3(side) => side.abort(),
            Side::Nobody(_) => {}
        }
    }

    /// After this exchange the HTTP/1 connection is closed.
    pub fn close_after(&mut self) {
        if let Side::Http1(side) = &mut self.side {
            side.close_after();
        }
    }
}

/// Turns the pieces of a message that came as an `http` head into fields; cookies crumbled over several
/// fields are joined again (RFC 9113 §8.2.3, RFC 9114 §4.2.1).
pub(crate) fn join_cookies(fields: &mut Fields) {
    let count = fields.all_known(exchange::Known::Cookie).count();
    if count > 1 {
        let joined = fields.all_known(exchange::Known::Cookie).collect::<Vec<_>>().join(&b"; "[..]);
        fields.remove_known(exchange::Known::Cookie);
        fields.push_known(b"cookie", &joined, exchange::Known::Cookie, false);
    }
}

/// The port that an authority without one has, by the scheme (RFC 9110 §4.2).
pub(crate) const HTTP_PORT: u16 = 80;

/// The same of `https`.
pub(crate) const HTTPS_PORT: u16 = 443;

/// Whether a `Host` field, if there is one, names what `:authority` names, whether or not one of them leaves
/// `default_port` out (RFC 9113 §8.3.1).
pub(crate) fn host_agrees(request: &Request, default_port: u16) -> bool {
    let mut hosts = request.fields.all_known(exchange::Known::Host);
    match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => {
            let authority = request.authority();
            authority.is_empty() || http1::is_same_authority(host, authority, default_port)
        }
        (Some(_), Some(_)) => false,
    }
}

/// Whether the visitor of a multiplexed protocol waits for 100 before it sends content, once it is known
/// whether there is any: without it an expectation means nothing (RFC 9110 §10.1.1).
pub(crate) fn expects_continue(request: &Request) -> bool {
    let has_content = request.body != BodySize::None && request.upgrade == exchange::Upgrade::No;
    has_content && request.fields.known(exchange::Known::Expect).is_some_and(is_continue)
}

/// Whether it is the one expectation there is (RFC 9110 §10.1.1).
pub(crate) fn is_continue(expectation: &[u8]) -> bool {
    expectation.eq_ignore_ascii_case(b"100-continue")
}

/// Whether a target is origin-form or `*` without anything that HTTP/1 would refuse.
pub(crate) fn is_target(target: &[u8], is_options: bool) -> bool {
    match target.first() {
        Some(b'/') => http1::has_target_bytes(target),
        _ => target == b"*" && is_options,
    }
}
