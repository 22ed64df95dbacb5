//! HTTP/1 towards a visitor: the connection's life, and its side of an exchange.
//!
//! An idle connection is a small future without buffers; at the first byte it takes a work area from the
//! thread and boxes the slow path, and gives both back when it is idle again. That is what makes half a KiB
//! per idle connection. Parsing and framing are `http1`'s.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::{
    BodySize, Chunk, Connection, Deadline, Fields, Incoming, Method, Protocol, Refusal, Request, Response,
    Scheme, Upgrade, Version,
};
use http1::{BodyDecoder, Framing, Known};

use crate::conn::Conn;
use crate::exchange::Side;
use crate::limits::{GATHERED_BYTES, HTTP1, READ_AHEAD_BYTES};
use crate::thread::{OpenCount, Service, Thread, VisitorTimes, WireEvent, serve_contained};
use crate::{Abuse, Exchange, Gone, ResponseState, with_scratch};
use end::{linger, poll_end};
use head::{Head, load, read_head};
pub(crate) use work::Work;

mod end;
mod head;
mod work;

/// Bytes from which on a shared piece is kept instead of copied when the socket does not take it.
const SHARED_BYTES_MIN: usize = 4 * 1024;

/// Bytes of an answer that are gathered before they are written: most pages of the node's own, and what a
/// packet or two carry.
const COPIED_BYTES_MAX: usize = 2 * 1024;

/// How the answer's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    None,
    Length(u64),
    Chunked,
    Close,
    Tunnel,
}

/// The HTTP/1 side of an exchange.
pub(crate) struct Http1 {
    conn: Conn,
    work: Box<Work>,
    body: BodyDecoder,
    trailers: Option<Vec<u8>>,
    delimiter: Delimiter,
    is_persistent: bool,
    is_draining: Rc<Cell<bool>>,
    /// Shared pieces wait for the next one, which is to leave with them.
    is_gathering: bool,
    is_broken: bool,
    is_send_closed: bool,
    is_tunnel: bool,
    date: [u8; 29],
    /// Bytes the socket has taken, framing included.
    pub(crate) sent: u64,
}

impl Http1 {
    /// Bytes that wait here: to be read by whoever serves, and to be taken by the socket.
    pub(crate) fn held(&self) -> usize {
        self.work.unread().len() + self.work.unsent()
    }

    pub(crate) fn is_body_read(&self) -> bool {
        self.body.is_done()
    }

    pub(crate) fn poll_body<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<Result<Incoming<'a>, Gone>> {
        loop {
            if self.body.is_done() {
                return Poll::Ready(Ok(match self.trailers.take() {
                    Some(raw) => Incoming::Trailers(Box::new(trailers_of(&raw)?)),
                    None => Incoming::End,
                }));
            }
            let from = self.work.at;
            let (payload, consumed, is_buffered) = if self.work.unread().is_empty() {
                match ready!(self.conn.poll_read(cx, scratch)) {
                    Ok(0) => match self.body.at_eof() {
                        Ok(()) => continue,
                        Err(_) => return Poll::Ready(Err(self.leave())),
                    },
                    Ok(read) => {
                        let bytes = scratch.get_mut(..read).unwrap_or_default();
                        let decoded = self.decode(bytes)?;
                        if decoded.consumed < read {
                            let rest = bytes.get(decoded.consumed..).unwrap_or_default();
                            self.work.inbound.extend_from_slice(rest);
                        }
                        (decoded.payload, 0, false)
                    }
                    Err(_) => return Poll::Ready(Err(self.leave())),
                }
            } else {
                let mut inbound = std::mem::take(&mut self.work.inbound);
                let decoded = self.decode(inbound.get_mut(from..).unwrap_or_default());
                self.work.inbound = inbound;
                let decoded = decoded?;
                (decoded.payload, decoded.consumed, true)
            };
            if self.body.is_done() {
                self.trailers = self.body.take_trailers();
            }
            let is_last = self.body.is_done() && self.trailers.is_none();
            if payload == 0 {
                self.work.consume(consumed);
                continue;
            }
            let bytes: &'a [u8] = if is_buffered {
                // The buffer is kept as it is until the next read, so that the slice may be lent.
                self.work.at += consumed;
                self.work.inbound.get(from..from + payload).unwrap_or_default()
            } else {
                scratch.get(..payload).unwrap_or_default()
            };
            let chunk = Chunk::Borrowed(bytes);
            return Poll::Ready(Ok(if is_last { Incoming::Last(chunk) } else { Incoming::Data(chunk) }));
        }
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<http1::Decoded, Gone> {
        self.body.decode(bytes).map_err(|malformed| {
            self.is_persistent = false;
            Gone::Malformed(Refusal::from(malformed))
        })
    }

    fn leave(&mut self) -> Gone {
        self.is_broken = true;
        Gone::Left
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        if !self.body.is_done() {
            return Poll::Pending; // whoever reads the body will see it
        }
        loop {
            if self.work.unread().len() >= READ_AHEAD_BYTES {
                return Poll::Pending;
            }
            let (conn, work) = (&mut self.conn, &mut self.work);
            let read = with_scratch(|scratch| -> Poll<Option<usize>> {
                match ready!(conn.poll_read(cx, scratch)) {
                    Ok(read) if read > 0 => {
                        // What was served is dropped first: a backlog that never runs dry must not grow.
                        if work.at > 0 {
                            work.inbound.drain(..work.at);
                            work.at = 0;
                        }
                        work.inbound.extend_from_slice(scratch.get(..read).unwrap_or_default());
                        Poll::Ready(Some(read))
                    }
                    _ => Poll::Ready(None),
                }
            });
            if ready!(read).is_none() {
                return Poll::Ready(self.leave());
            }
        }
    }

    pub(crate) fn inform(&mut self, cx: &mut Context<'_>, request: &Request, response: &Response) {
        if request.version == Version::Http10 {
            return;
        }
        let out = &mut self.work.out;
        http1::write_status_line(out, response.status, &response.reason);
        // RFC 9110 §8.6: no length where no content can be.
        for field in response.fields.end_to_end().filter(|field| field.known != Known::ContentLength) {
            http1::write_field(out, field.name, field.value);
        }
        out.extend_from_slice(b"\r\n");
        let _left_for_later = self.poll_out(cx);
    }

    pub(crate) fn respond(&mut self, cx: &mut Context<'_>, request: &Request, response: &Response) {
        let is_http11 = request.version == Version::Http11;
        let is_head = request.method == Method::Head;
        let is_tunnel = response.status == 101 && request.upgrade == Upgrade::Http1;
        self.delimiter = match response.body {
            _ if is_tunnel => Delimiter::Tunnel,
            BodySize::None => Delimiter::None,
            BodySize::Length(length) => Delimiter::Length(length),
            BodySize::Unknown if is_http11 => Delimiter::Chunked,
            BodySize::Unknown => Delimiter::Close,
        };
        if !self.body.is_done() && !is_tunnel {
            self.discard_buffered();
        }
        // A body that is still on its way, or an answer that only the connection's end completes.
        if !self.body.is_done() || self.delimiter == Delimiter::Close || self.is_draining.get() {
            self.is_persistent = false;
        }
        let out = &mut self.work.out;
        // An answer of our own, or one that came over HTTP/2, has no reason phrase yet.
        let known = http::StatusCode::from_u16(response.status).ok().and_then(|s| s.canonical_reason());
        let reason = match &*response.reason {
            [] => known.unwrap_or_default().as_bytes(),
            reason => reason,
        };
        http1::write_status_line(out, response.status, reason);
        let may_have_length = response.status != 204 && response.status >= 200;
        let is_without_content = is_head || response.status == 304;
        let mut length = match (self.delimiter, response.declared_length) {
            (Delimiter::Length(length), _) => Some(length),
            (Delimiter::None, declared) if may_have_length && is_without_content => declared,
            (Delimiter::None, _) if may_have_length => Some(0),
            _ => None,
        };
        let mut has_date = false;
        for field in response.fields.end_to_end() {
            match field.known {
                // Where the origin had it, so that its fields keep their order.
                Known::ContentLength => {
                    if let Some(length) = length.take() {
                        write_length(out, field.name, length);
                    }
                }
                known => {
                    has_date |= known == Known::Date;
                    http1::write_field(out, field.name, field.value);
                }
            }
        }
        if !has_date {
            http1::write_field(out, b"Date", &self.date); // RFC 9110 §6.6.1
        }
        if let Some(length) = length {
            write_length(out, b"Content-Length", length);
        }
        if self.delimiter == Delimiter::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if is_tunnel {
            http1::write_field(out, b"Connection", b"upgrade");
            let protocol = response.fields.known(Known::Upgrade).unwrap_or(request.protocol());
            http1::write_field(out, b"Upgrade", protocol);
        } else if let Some(protocols) =
            response.fields.known(Known::Upgrade).filter(|_| response.status == 426)
        {
            // RFC 9110 §15.5.22: it says which. A connection that is to end says so by ending.
            http1::write_field(
                out,
                b"Connection",
                if self.is_persistent { b"upgrade" } else { b"close, upgrade" },
            );
            http1::write_field(out, b"Upgrade", protocols);
        } else if !self.is_persistent {
            http1::write_field(out, b"Connection", b"close");
        } else if !is_http11 {
            http1::write_field(out, b"Connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        if self.delimiter == Delimiter::None {
            let _left_for_later = self.poll_out(cx);
        }
    }

    /// Takes what already came of a body that nobody will read.
    fn discard_buffered(&mut self) {
        let from = self.work.at;
        let mut inbound = std::mem::take(&mut self.work.inbound);
        if let Some(bytes) = inbound.get_mut(from..) {
            match self.body.decode(bytes) {
                Ok(decoded) => self.work.at += decoded.consumed,
                Err(_) => self.is_persistent = false,
            }
        }
        self.work.inbound = inbound;
    }

    pub(crate) fn become_tunnel(&mut self) {
        self.is_tunnel = true;
        self.is_persistent = false;
        self.delimiter = Delimiter::Tunnel;
        self.body = BodyDecoder::new(Framing::UntilClose, &HTTP1);
    }

    /// Writes what is held; ready when nothing is left.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.is_gathering = false;
        let (conn, work) = (&mut self.conn, &mut *self.work);
        while work.unsent() > 0 {
            let (parts, used) = work.parts();
            match conn.poll_write(cx, parts.get(..used).unwrap_or(&parts)) {
                Poll::Ready(Ok(written)) => {
                    work.sent(written);
                    self.sent += written as u64;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(self.leave())),
                Poll::Pending => return Poll::Pending,
            }
        }
        match ready!(conn.poll_flush(cx)) {
            Ok(()) if self.is_send_closed => {
                ready!(self.conn.poll_shutdown(cx)).map_err(|_| self.leave())?;
                Poll::Ready(Ok(()))
            }
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(self.leave())),
        }
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.is_broken {
            return Poll::Ready(Err(Gone::Left));
        }
        if self.work.has_room() || self.is_gathering {
            return Poll::Ready(Ok(()));
        }
        self.poll_out(cx)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.is_broken {
            return Poll::Ready(Err(Gone::Left));
        }
        self.poll_out(cx)
    }

    /// Returns whether the body is whole, which only matters at its end.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>, is_last: bool) -> bool {
        let payload = chunk.as_slice();
        let mut size_line = [0; 18];
        let (mut before, mut after): (&[u8], &'static [u8]) = (b"", b"");
        let mut is_whole = true;
        match &mut self.delimiter {
            Delimiter::Chunked => {
                if !payload.is_empty() {
                    before = http1::chunk_size_line(payload.len(), &mut size_line);
                }
                after = match (payload.is_empty(), is_last) {
                    (false, false) => b"\r\n",
                    (false, true) => b"\r\n0\r\n\r\n",
                    (true, true) => b"0\r\n\r\n",
                    (true, false) => b"",
                };
            }
            Delimiter::Length(left) => match left.checked_sub(payload.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    is_whole = rest == 0;
                }
                None => {
                    // More than was announced would be read as the next answer.
                    self.abort();
                    return false;
                }
            },
            Delimiter::None => return payload.is_empty(),
            Delimiter::Close => {}
            Delimiter::Tunnel => self.is_send_closed |= is_last,
        }
        let is_behind = self.work.has_pieces();
        match &chunk {
            Chunk::Shared(bytes) if is_behind || bytes.len() >= SHARED_BYTES_MIN => {
                let bytes = bytes.clone();
                self.write_shared(cx, before, bytes, after, is_last);
            }
            _ if is_behind => {
                self.write_shared(cx, before, Bytes::copy_from_slice(payload), after, is_last);
            }
            _ => self.write_parts(cx, [before, payload, after]),
        }
        is_whole
    }

    /// As [`Self::write_parts`], for a piece that may be kept as it is: it waits for the next ones, so that
    /// what is at hand of an answer leaves in one system call.
    fn write_shared(
        &mut self,
        cx: &mut Context<'_>,
        before: &[u8],
        piece: Bytes,
        after: &'static [u8],
        is_last: bool,
    ) {
        if !before.is_empty() && self.work.has_pieces() {
            self.work.copy_pieces(); // what frames this one belongs behind them
        }
        self.work.out.extend_from_slice(before);
        if let Err(piece) = self.work.gather(piece, after) {
            self.work.copy_pieces(); // given without `poll_ready`
            let _there_is_room_now = self.work.gather(piece, after);
        }
        let is_framed = self.delimiter == Delimiter::Chunked;
        self.is_gathering =
            !is_last && !is_framed && self.work.may_gather() && self.work.unsent() < GATHERED_BYTES;
        if !self.is_gathering {
            let _left_for_later = self.poll_out(cx);
        }
    }

    /// Writes what is held and `parts` behind it at once; keeps what the socket refuses.
    fn write_parts(&mut self, cx: &mut Context<'_>, parts: [&[u8]; 3]) {
        let (conn, work) = (&mut self.conn, &mut *self.work);
        if work.has_pieces() {
            work.copy_pieces(); // they go first, in order
        }
        self.is_gathering = false;
        let total = work.out.len() - work.out_at + parts.iter().map(|part| part.len()).sum::<usize>();
        // One piece goes by a cheaper call than several, and a small one is copied in no time.
        let parts = match total <= COPIED_BYTES_MAX {
            true => {
                parts.iter().for_each(|part| work.out.extend_from_slice(part));
                [&[][..]; 3]
            }
            false => parts,
        };
        let held = work.out.get(work.out_at..).unwrap_or_default();
        let held_len = held.len();
        if total == 0 {
            if self.is_send_closed {
                let _left_for_later = self.poll_out(cx);
            }
            return;
        }
        let slices =
            [IoSlice::new(held), IoSlice::new(parts[0]), IoSlice::new(parts[1]), IoSlice::new(parts[2])];
        let mut written = match conn.poll_write(cx, within(&slices)) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => {
                self.is_broken = true;
                return;
            }
            Poll::Pending => 0,
        };
        self.sent += written as u64;
        let of_held = written.min(held_len);
        work.out_at += of_held;
        written -= of_held;
        if work.out_at >= work.out.len() {
            work.out.clear();
            work.out_at = 0;
        }
        for part in parts {
            let of_part = written.min(part.len());
            written -= of_part;
            work.out.extend_from_slice(part.get(of_part..).unwrap_or_default());
        }
        if self.is_send_closed {
            let _left_for_later = self.poll_out(cx);
        }
    }

    pub(crate) fn send_trailers(&mut self, cx: &mut Context<'_>, _request: &Request, trailers: &Fields) {
        if self.delimiter == Delimiter::Chunked {
            let mut tail = Vec::with_capacity(64 + trailers.bytes_len());
            tail.extend_from_slice(b"0\r\n");
            for field in trailers.end_to_end() {
                http1::write_field(&mut tail, field.name, field.value);
            }
            tail.extend_from_slice(b"\r\n");
            self.write_parts(cx, [&tail, b"", b""]);
        } else {
            self.send(cx, Chunk::Borrowed(b""), true);
        }
    }

    pub(crate) fn abort(&mut self) {
        self.is_broken = true;
        self.is_persistent = false;
        // Where the connection's end is the body's or the tunnel's, a plain end would say that it is whole.
        if matches!(self.delimiter, Delimiter::Close | Delimiter::Tunnel) {
            self.conn.reset_at_close();
        }
    }

    pub(crate) fn close_after(&mut self) {
        self.is_persistent = false;
    }
}

/// The slices without empty ones at both ends.
fn within<'a, 'b>(slices: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
    let last = slices.iter().rposition(|slice| !slice.is_empty()).unwrap_or(0);
    slices.get(first..=last).unwrap_or(slices)
}

fn write_length(out: &mut Vec<u8>, name: &[u8], length: u64) {
    http1::write_field(out, name, itoa::Buffer::new().format(length).as_bytes());
}

fn trailers_of(raw: &[u8]) -> Result<Fields, Gone> {
    let mut fields = Fields::new();
    let pairs = http1::parse_trailers(raw).map_err(|m| Gone::Malformed(Refusal::from(m)))?;
    for (name, value) in pairs {
        fields.push(name, value);
    }
    Ok(fields)
}

/// A connection between requests.
pub(crate) struct Idle {
    pub(crate) conn: Conn,
    pub(crate) facts: Rc<Connection>,
    pub(crate) deadline: Deadline,
    /// Those of the zone served last, or that the handshake named.
    pub(crate) times: VisitorTimes,
}

pub(crate) type Busy = Pin<Box<dyn Future<Output = Option<Idle>>>>;

/// The life of one HTTP/1 connection: small while idle.
pub(crate) struct Visitor<S: Service> {
    count: OpenCount<S>,
    idle: Option<Idle>,
    busy: Option<Busy>,
}

impl<S: Service> Visitor<S> {
    /// A connection that has sent nothing yet.
    pub(crate) fn idle(mut count: OpenCount<S>, idle: Idle) -> Self {
        idle.deadline.arm_unproven(idle.times.head_ms);
        count.speaks(Protocol::Http1);
        Self { count, idle: Some(idle), busy: None }
    }

    /// A connection that begins with something slow: a handshake, a PROXY header, a choice of protocol.
    pub(crate) fn begin(count: OpenCount<S>, busy: Busy) -> Self {
        Self { count, idle: None, busy: Some(busy) }
    }
}

impl<S: Service> Future for Visitor<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.count.thread.service.beat();
        loop {
            if let Some(busy) = &mut this.busy {
                this.idle = ready!(busy.as_mut().poll(cx));
                this.busy = None;
                match &this.idle {
                    Some(idle) => {
                        this.count.speaks(Protocol::Http1);
                        idle.deadline.arm_idle(idle.times.keepalive_ms);
                    }
                    None => return Poll::Ready(()),
                }
            }
            let Some(idle) = &mut this.idle else { return Poll::Ready(()) };
            let thread = &this.count.thread;
            let work = with_scratch(|scratch| match idle.conn.poll_read(cx, scratch) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(read)) if read > 0 => {
                    let mut work = thread.take_work();
                    work.inbound.extend_from_slice(scratch.get(..read).unwrap_or_default());
                    Poll::Ready(Some(work))
                }
                Poll::Ready(_) => Poll::Ready(None),
            });
            match work {
                Poll::Pending if idle.deadline.is_due() => return Poll::Ready(()),
                Poll::Pending => {
                    idle.deadline.register(cx.waker());
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(work)) => {
                    if let Some(idle) = this.idle.take() {
                        this.busy = Some(Box::pin(serve(Rc::clone(thread), idle, work)));
                    }
                }
            }
        }
    }
}

/// Serves requests until the connection is idle again (returned) or ends.
async fn serve<S: Service>(thread: Rc<Thread<S>>, idle: Idle, work: Box<Work>) -> Option<Idle> {
    let Idle { conn, facts, deadline, times } = idle;
    let mut work = work;
    let request = std::mem::take(&mut work.request);
    let scheme = if facts.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let side = Side::Http1(Http1 {
        conn,
        work,
        body: BodyDecoder::new(Framing::None, &HTTP1),
        trailers: None,
        delimiter: Delimiter::None,
        is_persistent: true,
        is_draining: thread.draining(),
        is_broken: false,
        is_send_closed: false,
        is_gathering: false,
        is_tunnel: false,
        date: thread.date(),
        sent: 0,
    });
    let mut exchange = Exchange::begin(request, facts, deadline, None, side);
    exchange.times = times;
    exchange.deadline.arm_unproven(exchange.times.head_ms);
    loop {
        let refusal = loop {
            let Side::Http1(side) = &mut exchange.side else { return None };
            match read_head(&mut side.work) {
                Head::Whole => break None,
                Head::Malformed(malformed) => break Some((Refusal::from(malformed), malformed.reason())),
                Head::Partial if side.work.unread().is_empty() => {
                    return Some(into_idle(&thread, exchange));
                }
                Head::Partial => {}
            }
            match poll_fn(|cx| poll_more(side, &exchange.deadline, cx)).await {
                More::Some => {}
                // Between requests a silent close is fine; in the middle of a head nobody is left to answer.
                More::Ended => return None,
                More::TimedOut if thread.is_nearly_full() => {
                    // Telling it would keep its place for as long as it takes to listen.
                    let visitor = exchange.connection.visitor.ip();
                    thread.service.count(WireEvent::Abuse(Abuse::SlowHead, visitor));
                    return None;
                }
                More::TimedOut => break Some((Refusal::HeadTimeout, "the head did not arrive in time")),
            }
        };
        exchange.deadline.disarm();
        let Side::Http1(side) = &mut exchange.side else { return None };
        side.date = thread.date();
        side.delimiter = Delimiter::None;
        side.trailers = None;
        match refusal {
            None => {
                let len = side.work.head.len;
                side.is_persistent = side.work.head.is_persistent;
                side.body = BodyDecoder::new(side.work.head.framing, &HTTP1);
                load(&mut side.work, &mut exchange.request, scheme);
                side.work.consume(len);
            }
            Some((refusal, reason)) => {
                exchange.refusal = Some(refusal);
                exchange.refusal_reason = reason;
                side.is_persistent = false;
                side.body = BodyDecoder::new(Framing::None, &HTTP1);
            }
        }
        serve_contained(&thread, &mut exchange).await;
        exchange.deadline.disarm();
        if !poll_fn(|cx| poll_end(&mut exchange, cx)).await {
            if let Some(abuse) = exchange.take_abuse() {
                thread.service.count(WireEvent::Abuse(abuse, exchange.connection.visitor.ip()));
            }
            linger(&mut exchange).await;
            return None;
        }
        exchange.request.clear();
        exchange.state = ResponseState::Waiting;
        exchange.kept = None;
        exchange.also_held = 0;
        exchange.bytes_in = 0;
        exchange.bytes_out = 0;
        exchange.gives_its_own();
        exchange.deadline.arm_unproven(exchange.times.head_ms);
    }
}

enum More {
    Some,
    Ended,
    TimedOut,
}

fn poll_more(side: &mut Http1, deadline: &Deadline, cx: &mut Context<'_>) -> Poll<More> {
    let (conn, work) = (&mut side.conn, &mut side.work);
    let read = with_scratch(|scratch| -> Poll<bool> {
        match ready!(conn.poll_read(cx, scratch)) {
            Ok(read) if read > 0 => {
                if work.at > 0 {
                    work.inbound.drain(..work.at);
                    work.at = 0;
                }
                work.inbound.extend_from_slice(scratch.get(..read).unwrap_or_default());
                Poll::Ready(true)
            }
            _ => Poll::Ready(false),
        }
    });
    match read {
        Poll::Ready(true) => Poll::Ready(More::Some),
        Poll::Ready(false) => Poll::Ready(More::Ended),
        Poll::Pending if deadline.is_due() => Poll::Ready(More::TimedOut),
        Poll::Pending => {
            deadline.register(cx.waker());
            Poll::Pending
        }
    }
}

fn into_idle<S: Service>(thread: &Thread<S>, exchange: Exchange) -> Idle {
    let Exchange { request, connection, deadline, side, times, .. } = exchange;
    let Side::Http1(Http1 { conn, mut work, .. }) = side else {
        unreachable!("an HTTP/1 connection has an HTTP/1 side");
    };
    work.request = request;
    thread.put_work(work);
    Idle { conn, facts: connection, deadline, times }
}

/// Goes on with a connection whose first bytes were already read.
pub(crate) async fn resume<S: Service>(thread: Rc<Thread<S>>, idle: Idle, bytes: Vec<u8>) -> Option<Idle> {
    if bytes.is_empty() {
        return Some(idle);
    }
    let mut work = thread.take_work();
    work.inbound = bytes;
    serve(thread, idle, work).await
}

#[cfg(test)]
mod tests;
