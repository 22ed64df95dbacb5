//! Exchanges over HTTP/2 with an origin: a connection with its driving task, and one stream of it.
//!
//! On the h2 crate. A thread's exchanges with one origin share a connection; each stream is driven by its
//! exchange's own task and woken by the connection's. What one turn of the connection writes leaves in one
//! call at its end. Back-pressure is the protocol's: bytes are released when the caller comes for more.
//! Whether the origin is still there is asked by PING before a silent connection is trusted with a request
//! (`http2_probe.rs`).
//! What it does not do: it opens nothing and chooses nothing. Called by `connect.rs` and `link.rs`.
//! Read next: `http2_head.rs`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use exchange::{Chunk, Deadline, Fault, Fields, Incoming, Request, Response, Upgrade};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::fleet::Permit;
use crate::http2_head;
use crate::http2_probe::Probe;
use crate::request_head::websocket_accept;
use crate::stream::Stream;

/// Window of a stream: at 100 ms to the origin it allows 80 Mbit/s for one transfer.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// Window of a connection: a few streams at full speed. It is also the most that a thread holds for one
/// connection whose visitors do not read.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Bytes of an answer's head, as for HTTP/1.
const HEAD_MAX: u32 = 64 * 1024;

/// Bytes gathered before they leave although the connection's turn is not over.
const GATHERED_MAX: usize = 64 * 1024;

/// Interim responses before the final one; see `http1_link.rs`.
const INTERIM_MAX: u32 = 32;

/// Gathers what one turn of the connection writes; the driving task sends it at the turn's end.
#[derive(Debug)]
struct Gathered {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
    probe: Rc<Probe>,
}

impl Gathered {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.buffer.get(self.at..).filter(|left| !left.is_empty()) {
            let count = ready!(self.stream.poll_write_parts(cx, &[IoSlice::new(left)]))?;
            self.probe.sent(count);
            self.at += count;
        }
        self.buffer.clear();
        self.buffer.shrink_to(4 * 1024);
        self.at = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

#[derive(Debug)]
struct SharedStream(Rc<RefCell<Gathered>>);

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gathered = &mut *self.0.borrow_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut gathered.stream).poll_read(cx, into))?;
        gathered.probe.heard(into.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.borrow_mut();
        if gathered.buffer.len() - gathered.at >= GATHERED_MAX {
            ready!(gathered.poll_send(cx))?;
        }
        gathered.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // at the end of the turn
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.stream).poll_shutdown(cx)
    }
}

/// A connection that speaks HTTP/2.
pub(crate) struct Http2Connection {
    sender: RefCell<SendRequest<Bytes>>,
    /// The settings it was made under.
    pub(crate) target: u64,
    label: Arc<str>,
    is_tls: bool,
    active: Cell<usize>,
    has_served: Cell<bool>,
    idle_since_ms: Cell<u64>,
    is_closed: Rc<Cell<bool>>,
    probe: Rc<Probe>,
    waiting: RefCell<Vec<Waker>>,
}

impl std::fmt::Debug for Http2Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Connection").field("label", &self.label).field("active", &self.active).finish()
    }
}

impl Http2Connection {
    /// Sends the preface and starts the task that drives the connection. With `awaits_settings` it waits
    /// until the origin's settings are known, for they say whether there is extended CONNECT. `probe_slot`
    /// and `probe_ms` are [`Probe::new`]'s.
    pub(crate) async fn start(
        stream: Stream,
        made: Made,
        awaits_settings: bool,
        probe_slot: Deadline,
        probe_ms: u64,
    ) -> Result<Rc<Self>, Fault> {
        let Made { permit, target, label, is_tls } = made;
        let probe = Rc::new(Probe::new(probe_slot, probe_ms));
        let (buffer, at) = (Vec::new(), 0);
        let gathered = Rc::new(RefCell::new(Gathered { stream, buffer, at, probe: Rc::clone(&probe) }));
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_MAX)
            .enable_push(false);
        let handshake = builder.handshake::<_, Bytes>(SharedStream(Rc::clone(&gathered)));
        let (sender, mut connection) = handshake.await.map_err(|error| fault_of(&error))?;
        let ping = connection.ping_pong();
        let is_closed = Rc::new(Cell::new(false));
        let (closed, probed) = (Rc::clone(&is_closed), Rc::clone(&probe));
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            poll_fn(|cx| {
                let turn = connection.as_mut().poll(cx);
                match gathered.borrow_mut().poll_send(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
                // Whatever still waits on a dead connection fails with it.
                if probed.is_dead(cx) { Poll::Ready(()) } else { turn.map(|_| ()) }
            })
            .await;
            closed.set(true);
            drop(permit);
        });
        if let Some(mut ping) = ping {
            if awaits_settings {
                // The answer to a ping comes after the settings, which are the first thing a server sends.
                ping.ping(h2::Ping::opaque()).await.map_err(|error| fault_of(&error))?;
            }
            probe.may_use(ping);
        }
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            target,
            label,
            is_tls,
            active: Cell::new(0),
            has_served: Cell::new(false),
            idle_since_ms: Cell::new(0),
            is_closed,
            probe,
            waiting: RefCell::default(),
        }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether it is worth keeping: open, and in use or idle for less than the keep-alive.
    pub(crate) fn is_wanted(&self, keepalive_ms: u64, now_ms: u64) -> bool {
        if self.active.get() > 0 {
            self.idle_since_ms.set(now_ms);
        }
        if self.idle_since_ms.get() == 0 {
            self.idle_since_ms.set(now_ms);
        }
        !self.is_closed() && now_ms.saturating_sub(self.idle_since_ms.get()) <= keepalive_ms
    }

    /// Wakes the task when a stream of this connection ends.
    pub(crate) fn wake_when_free(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }
}

/// For whom and as what a connection was made.
pub(crate) struct Made {
    pub(crate) permit: Permit,
    pub(crate) target: u64,
    pub(crate) label: Arc<str>,
    pub(crate) is_tls: bool,
}

/// What is left of a request to send.
#[derive(Debug, Default)]
struct Unsent {
    bytes: Bytes,
    is_last: bool,
}

/// One stream.
pub(crate) struct Http2Stream {
    connection: Rc<Http2Connection>,
    answer: Option<ResponseFuture>,
    request: Option<SendStream<Bytes>>,
    body: Option<RecvStream>,
    unsent: Unsent,
    unreleased: usize,
    interim: u32,
    /// The `Sec-WebSocket-Accept` to answer an HTTP/1.1 visitor with.
    accept: Option<Vec<u8>>,
    is_to_head: bool,
    is_refused: bool,
    /// The origin said that it did not work on the request.
    was_not_worked_on: bool,
    /// That, of this stream alone, on a connection that goes on; or it cannot do what is asked.
    was_declined: bool,
    is_lost: bool,
    is_reused: bool,
    /// What the connection had heard when the request began.
    heard_before: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl std::fmt::Debug for Http2Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Stream").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.release();
        self.connection.active.set(self.connection.active.get().saturating_sub(1));
        for waker in self.connection.waiting.take() {
            waker.wake();
        }
    }
}

fn fault_of(error: &h2::Error) -> Fault {
    match error.reason() {
        _ if error.is_io() || error.is_go_away() => Fault::ConnectionTerminated,
        Some(Reason::NO_ERROR | Reason::CANCEL | Reason::REFUSED_STREAM | Reason::INTERNAL_ERROR)
            if error.is_remote() =>
        {
            Fault::ConnectionTerminated
        }
        _ => Fault::HttpProtocolError,
    }
}

impl Http2Stream {
    /// Takes a place for a stream; none if the connection is closed, closing or full.
    pub(crate) fn reserve(connection: &Rc<Http2Connection>) -> Option<Self> {
        let mut sender = connection.sender.borrow_mut();
        if connection.is_closed() || connection.active.get() >= sender.current_max_send_streams() {
            return None;
        }
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                connection.is_closed.set(true);
                return None;
            }
            Poll::Pending => return None,
        }
        connection.active.set(connection.active.get() + 1);
        connection.probe.ask();
        Some(Self {
            heard_before: connection.probe.heard_bytes(),
            connection: Rc::clone(connection),
            answer: None,
            request: None,
            body: None,
            unsent: Unsent::default(),
            unreleased: 0,
            interim: 0,
            accept: None,
            is_to_head: false,
            is_refused: false,
            was_not_worked_on: false,
            was_declined: false,
            is_lost: false,
            is_reused: connection.has_served.replace(true),
            bytes_sent: 0,
            bytes_received: 0,
        })
    }

    pub(crate) fn label(&self) -> &str {
        &self.connection.label
    }

    /// The answer did not come in time. If nothing at all came on the connection meanwhile, it takes no
    /// further request: the next one is on a fresh connection.
    pub(crate) fn suspect(&self) {
        if self.connection.probe.heard_bytes() == self.heard_before {
            self.connection.is_closed.set(true);
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    pub(crate) fn was_not_worked_on(&self) -> bool {
        self.was_not_worked_on
    }

    /// Whether a connection that served before turned out to take no more: whoever was sent there is the
    /// first that the origin hears of.
    pub(crate) fn was_stale(&self) -> bool {
        self.is_reused && self.may_retry() && !self.was_declined
    }

    pub(crate) fn may_retry(&self) -> bool {
        let is_silent = self.bytes_received == 0 && self.interim == 0;
        is_silent && (self.was_not_worked_on || (self.is_lost && self.is_reused))
    }

    pub(crate) fn begin(&mut self, request: &Request, host: &[u8]) -> Result<(), Fault> {
        let mut sender = self.connection.sender.borrow_mut();
        let is_tunnel = request.upgrade == Upgrade::Extended || request.is_websocket();
        if is_tunnel && !sender.is_extended_connect_protocol_enabled() {
            (self.was_not_worked_on, self.was_declined) = (true, true);
            return Err(Fault::HttpUpgradeFailed);
        }
        if is_tunnel && request.upgrade == Upgrade::Http1 {
            let key = request.fields.value(b"sec-websocket-key").ok_or(Fault::HttpUpgradeFailed)?;
            self.accept = Some(websocket_accept(key));
        }
        let head = http2_head::request(request, host, self.connection.is_tls, is_tunnel)?;
        let has_body = is_tunnel || request.body != exchange::BodySize::None;
        let (answer, stream) = sender.send_request(head, !has_body).map_err(|error| {
            // It never got onto the connection.
            self.was_not_worked_on = true;
            self.connection.is_closed.set(true);
            fault_of(&error)
        })?;
        self.is_to_head = request.method == exchange::Method::Head;
        self.answer = Some(answer);
        self.request = has_body.then_some(stream);
        Ok(())
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Some(stream) = &mut self.request
            && stream.poll_reset(cx).is_ready()
        {
            self.refuse();
        }
        self.poll_unsent(cx).map(Ok)
    }

    /// The origin takes no more of the request.
    fn refuse(&mut self) {
        self.is_refused = true;
        self.request = None;
        self.unsent = Unsent::default();
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(stream) = &mut self.request
            && !self.unsent.bytes.is_empty()
        {
            let room = stream.capacity();
            if room == 0 {
                stream.reserve_capacity(self.unsent.bytes.len());
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => {
                        self.refuse();
                        break;
                    }
                }
            }
            let piece = self.unsent.bytes.split_to(room.min(self.unsent.bytes.len()));
            self.bytes_sent += piece.len() as u64;
            let is_end = self.unsent.is_last && self.unsent.bytes.is_empty();
            let sent = stream.send_data(piece, is_end);
            match sent {
                Err(_) => self.refuse(),
                Ok(()) if is_end => self.request = None,
                Ok(()) => {}
            }
        }
        Poll::Ready(())
    }

    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: Chunk<'_>,
        is_last: bool,
    ) -> Result<(), Fault> {
        if self.is_refused {
            return Ok(());
        }
        let Some(stream) = &mut self.request else {
            return if chunk.is_empty() { Ok(()) } else { Err(Fault::ProxyInternalError) };
        };
        if !self.unsent.bytes.is_empty() {
            return Err(Fault::ProxyInternalError); // not ready: the caller broke the contract
        }
        if chunk.is_empty() {
            if is_last && stream.send_data(Bytes::new(), true).is_err() {
                self.is_refused = true;
            }
            if is_last {
                self.request = None;
            }
            return Ok(());
        }
        self.unsent = Unsent { bytes: chunk.into_shared(), is_last };
        let _ = self.poll_unsent(cx);
        Ok(())
    }

    pub(crate) fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &Fields) -> Result<(), Fault> {
        let _ = self.poll_unsent(cx);
        if let Some(mut stream) = self.request.take() {
            // h2 sends what it holds of the body first.
            if stream.send_trailers(http2_head::trailers(trailers)).is_err() {
                self.is_refused = true;
            }
        }
        Ok(())
    }

    fn note(&mut self, error: &h2::Error) -> Fault {
        let is_refusal =
            error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        // h2 fails a stream by GOAWAY only if it lies beyond the last one that the origin works on.
        self.was_not_worked_on |= is_refusal || (error.is_go_away() && error.is_remote());
        self.was_declined |= is_refusal;
        self.is_lost |= error.is_io();
        fault_of(error)
    }

    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
    ) -> Poll<Result<(), Fault>> {
        let _ = self.poll_unsent(cx);
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(Fault::ProxyInternalError)) };
        match answer.poll_informational(cx) {
            Poll::Ready(Some(Ok(head))) => {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Poll::Ready(Err(Fault::HttpProtocolError));
                }
                if head.status() == http::StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Err(Fault::HttpProtocolError)); // RFC 9113 §8.6: not in HTTP/2
                }
                http2_head::fill(response, head.status().as_u16(), head.headers());
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.note(&error))),
            Poll::Ready(None) | Poll::Pending => {}
        }
        let head = match ready!(Pin::new(answer).poll(cx)) {
            Ok(head) => head,
            Err(error) => return Poll::Ready(Err(self.note(&error))),
        };
        let (head, body) = head.into_parts();
        http2_head::fill(response, head.status.as_u16(), &head.headers);
        if body.is_end_stream() || self.is_to_head || matches!(response.status, 204 | 304) {
            response.body = exchange::BodySize::None;
        }
        if let Some(accept) = self.accept.take()
            && (200..300).contains(&response.status)
        {
            http2_head::translate_upgrade(response, &accept);
        }
        self.answer = None;
        self.body = Some(body);
        Poll::Ready(Ok(()))
    }

    /// Lets the origin send as many bytes more as the caller has dealt with.
    fn release(&mut self) {
        if let Some(body) = &mut self.body
            && self.unreleased > 0
        {
            // Fails only on a stream that has ended, where there is nothing to release.
            let _ = body.flow_control().release_capacity(std::mem::take(&mut self.unreleased));
        }
    }

    pub(crate) fn poll_body<'s>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming<'s>, Fault>> {
        let _ = self.poll_unsent(cx);
        self.release();
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(Incoming::End)) };
        loop {
            match ready!(body.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let is_end = body.is_end_stream();
                    if bytes.is_empty() && !is_end {
                        continue;
                    }
                    self.unreleased = bytes.len();
                    self.bytes_received += bytes.len() as u64;
                    let chunk = Chunk::Shared(bytes);
                    return Poll::Ready(Ok(if is_end {
                        Incoming::Last(chunk)
                    } else {
                        Incoming::Data(chunk)
                    }));
                }
                Some(Err(_)) => return Poll::Ready(Err(Fault::HttpResponseIncomplete)),
                None => break,
            }
        }
        let trailers = ready!(body.poll_trailers(cx));
        self.body = None;
        match trailers {
            Ok(Some(trailers)) => Poll::Ready(Ok(Incoming::Trailers(http2_head::trailers_of(&trailers)))),
            Ok(None) => Poll::Ready(Ok(Incoming::End)),
            Err(_) => Poll::Ready(Err(Fault::HttpResponseIncomplete)),
        }
    }
}
