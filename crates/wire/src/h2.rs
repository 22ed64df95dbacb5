//! HTTP/2 towards a visitor, on the h2 crate.
//!
//! One task drives the connection and one each stream. The h2 crate flushes after every large frame; what it
//! writes within one poll of the connection is gathered and leaves with one TLS record and one system call at
//! the poll's end, which halves the cost of small answers. Read next: `h2/gather.rs`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use exchange::{
    BodySize, Chunk, Connection, Deadline, Fields, Holder, Incoming, Known, Refusal, Request, Response,
    Scheme, Upgrade, Version,
};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::conn::Conn;
use crate::exchange::{
    HTTP_PORT, HTTPS_PORT, Side, expects_continue, host_agrees, is_continue, is_target, join_cookies,
};
use crate::limits::{
    CONNECTION_WINDOW_BYTES, FIELD_SECTION_BYTES, FIELDS, FLUSH_MS, HANDSHAKE_MS, RESET_REMEMBERED_S,
    RESET_STREAMS_LOCAL, RESET_STREAMS_PENDING, SMALL_PIECES, STREAM_UNSENT_BYTES, STREAM_WINDOW_BYTES,
    STREAMS, STREAMS_LOST,
};
use crate::thread::{Service, Thread, VisitorTimes, WireEvent, serve_contained};
use crate::{Abuse, Exchange, Gone, ResponseState};
use gather::{Gather, Shared};
use part::{Part, Unsent};
use work::Work;

mod frame_check;
mod gather;
mod part;
mod work;

/// Serves one HTTP/2 connection to its end. `preread` are bytes already taken from the connection, `times`
/// hold until a zone has answered.
pub(crate) async fn serve<S: Service>(
    thread: Rc<Thread<S>>,
    conn: Conn,
    facts: Rc<Connection>,
    deadline: Deadline,
    preread: Vec<u8>,
    times: VisitorTimes,
) {
    let gather = Rc::new(RefCell::new(Gather::new(conn, preread)));
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(FIELD_SECTION_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(STREAM_UNSENT_BYTES)
        .max_pending_accept_reset_streams(RESET_STREAMS_PENDING)
        .max_local_error_reset_streams(Some(RESET_STREAMS_LOCAL))
        .max_concurrent_reset_streams(STREAMS as usize)
        .reset_stream_duration(Duration::from_secs(RESET_REMEMBERED_S))
        .data_frame_budget(SMALL_PIECES)
        .enable_connect_protocol();
    let mut handshake = Box::pin(builder.handshake::<_, Part>(Shared::of(&gather)));
    deadline.arm_unproven(HANDSHAKE_MS);
    let connection = poll_fn(|cx| {
        deadline.register(cx.waker());
        let polled = Future::poll(handshake.as_mut(), cx);
        let flushed = gather.borrow_mut().poll_out(cx);
        match (polled, flushed) {
            (Poll::Ready(result), _) => Poll::Ready(result.ok()),
            (_, Poll::Ready(Err(_))) => Poll::Ready(None),
            _ if deadline.is_due() || gather.borrow().check.flood().is_some() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await;
    drop(handshake);
    let Some(mut connection) = connection else {
        let _closed = poll_fn(|cx| gather.borrow_mut().poll_out(cx)).await;
        let slow = deadline.is_due().then_some(Abuse::SlowHandshake);
        if let Some(abuse) = gather.borrow().check.flood().or(slow) {
            thread.service.count(WireEvent::Abuse(abuse, facts.visitor.ip()));
        }
        return;
    };
    let work = Work::new(times, thread.deadlines.now());
    let times = &work.times;
    deadline.arm_idle(times.get().keepalive_ms);
    let mut is_draining = false;
    let mut had_streams = false;
    // A visitor that reads nothing more is given up, whatever streams still wait behind what it does not
    // take, and whatever it makes us say meanwhile.
    let unsent = thread.deadlines.slot();
    let mut taken_before = None;
    // So is one that does not end a head it began.
    let head = thread.deadlines.slot();
    let mut is_in_head = false;
    let (mut accepted, mut forgiven) = (0, 0);
    let mut ended_for: Option<Abuse> = None;
    poll_fn(|cx| {
        deadline.register(cx.waker());
        unsent.register(cx.waker());
        head.register(cx.waker());
        {
            let mut gather = gather.borrow_mut();
            gather.now_tick = thread.deadlines.now();
            if let Some(holder) = work.holder.take() {
                deadline.hold_for(holder);
            }
            gather.check.gave(work.given.take());
            // One that came to nothing is forgiven for each that was answered since.
            let lost = gather.check.begun().saturating_sub(accepted);
            forgiven = (forgiven + work.answered.take()).min(lost);
            let why = match () {
                () if head.is_due() => Some(Abuse::SlowHead),
                () if work.credit.get() == 0 => Some(Abuse::Resets),
                () if lost - forgiven > u64::from(STREAMS_LOST) => Some(Abuse::Heads),
                () => gather.check.flood(),
            };
            if ended_for.is_none() && why.is_some() {
                ended_for = why;
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
        }
        if !is_draining {
            if thread.is_draining() || deadline.is_due() {
                // GOAWAY first; what is in flight is answered (RFC 9113 §6.8).
                is_draining = true;
                connection.graceful_shutdown();
                // Who does not close it then is let go for good, sooner if room stays short.
                match connection.has_streams() {
                    true => deadline.arm(times.get().keepalive_ms),
                    false => deadline.arm_idle(times.get().keepalive_ms),
                }
            }
        } else if deadline.is_due() && !connection.has_streams() {
            return Poll::Ready(());
        }
        let is_over = loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, answer)))) => {
                    accepted += 1;
                    let exchange = begin(&thread, Rc::clone(&facts), request, answer, &work);
                    // Boxed here, it is not moved again: tokio moves what it spawns three times.
                    tokio::task::spawn_local(Box::pin(stream(Rc::clone(&thread), exchange)));
                }
                Poll::Ready(Some(Err(error))) => {
                    ended_for = ended_for.or_else(|| abuse_in(&error, &gather.borrow().last_words));
                    break true;
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        let has_streams = connection.has_streams();
        if has_streams {
            // Each has a deadline of its own, until its last byte has left h2.
            deadline.disarm();
        } else if had_streams {
            deadline.arm_idle(times.get().keepalive_ms);
        }
        had_streams = has_streams;
        let mut gather = gather.borrow_mut();
        match (std::mem::replace(&mut is_in_head, gather.check.is_in_head()), is_in_head) {
            (false, true) => head.arm(times.get().head_ms),
            (true, false) => head.disarm(),
            _ => {}
        }
        match gather.poll_out(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) => {
                taken_before = None;
                unsent.disarm();
            }
            Poll::Pending => {
                work.blocked_at.set(gather.now_tick);
                if taken_before.replace(gather.taken) != Some(gather.taken) {
                    unsent.arm(FLUSH_MS);
                } else if unsent.is_due() {
                    ended_for.get_or_insert(Abuse::SlowRead);
                    return Poll::Ready(());
                }
            }
        }
        if gather.check.flood().is_some() && ended_for.is_none() {
            cx.waker().wake_by_ref(); // nothing else would
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    if let Some(abuse) = ended_for {
        thread.service.count(WireEvent::Abuse(abuse, facts.visitor.ip()));
    }
    // The last frames (GOAWAY) leave if the socket takes them within a moment.
    deadline.arm(crate::limits::LINGER_MS);
    poll_fn(|cx| {
        deadline.register(cx.waker());
        let mut gather = gather.borrow_mut();
        match ready_or_due(gather.poll_out(cx), &deadline) {
            Some(Ok(())) => ready_or_due(gather.conn.poll_shutdown(cx), &deadline)
                .map_or(Poll::Pending, |_| Poll::Ready(())),
            Some(Err(_)) => Poll::Ready(()),
            None => Poll::Pending,
        }
    })
    .await;
}

/// What h2 ended the connection for by itself; none if it was an error that costs nobody anything.
fn abuse_in(error: &h2::Error, last_words: &[u8]) -> Option<Abuse> {
    if !error.is_library() || error.reason() != Some(Reason::ENHANCE_YOUR_CALM) {
        return None;
    }
    // Which of its bounds was passed it tells the visitor alone, in the data of its GOAWAY.
    let text = String::from_utf8_lossy(last_words);
    let known = [
        ("too_many_continuations", Abuse::Continuation),
        ("too_many_internal_resets", Abuse::ProvokedResets),
        ("too_many_resets", Abuse::Resets),
        ("too_many_data_frames", Abuse::EmptyData),
        ("header_list_way_too_large", Abuse::Heads),
    ];
    known.into_iter().find(|(data, _)| text.contains(data)).map(|(_, abuse)| abuse)
}

fn ready_or_due(polled: Poll<io::Result<()>>, deadline: &Deadline) -> Option<io::Result<()>> {
    match polled {
        Poll::Ready(result) => Some(result),
        Poll::Pending if deadline.is_due() => Some(Err(io::ErrorKind::TimedOut.into())),
        Poll::Pending => None,
    }
}

/// The HTTP/2 side of an exchange.
pub(crate) struct Http2 {
    body: RecvStream,
    is_body_done: bool,
    is_data_done: bool,
    unreleased: usize,
    answer: h2::server::SendResponse<Part>,
    stream: Option<SendStream<Part>>,
    held: Bytes,
    is_last_held: bool,
    /// What h2 was given and has not put out.
    unsent: Rc<Unsent>,
    /// Whoever serves is done; what is left has to leave.
    is_leaving: bool,
    date: [u8; 29],
    /// Bytes given to h2, which takes no more than the visitor's window lets through.
    pub(crate) sent: u64,
    work: Rc<Work>,
}

/// The exchange of a new stream. What h2 read of the head is let go of here.
fn begin<S: Service>(
    thread: &Rc<Thread<S>>,
    facts: Rc<Connection>,
    request: http::Request<RecvStream>,
    answer: h2::server::SendResponse<Part>,
    work: &Rc<Work>,
) -> Exchange {
    let (parts, body) = request.into_parts();
    let mut head = thread.take_request();
    let refusal = fill(&mut head, &parts, &body, facts.tls.is_some());
    let deadline = thread.deadlines.slot();
    let side = Side::Http2(Http2 {
        is_body_done: body.is_end_stream(),
        is_data_done: body.is_end_stream(),
        body,
        unreleased: 0,
        answer,
        stream: None,
        held: Bytes::new(),
        is_last_held: false,
        unsent: Rc::default(),
        is_leaving: false,
        date: thread.date(),
        sent: 0,
        work: Rc::clone(work),
    });
    let mut exchange = Exchange::begin(head, facts, deadline, refusal, side);
    exchange.times = work.times.get();
    exchange
}

async fn stream<S: Service>(thread: Rc<Thread<S>>, mut exchange: Exchange) {
    serve_contained(&thread, &mut exchange).await;
    thread.put_request(std::mem::take(&mut exchange.request));
    if exchange.state() == ResponseState::Waiting {
        exchange.abort();
    }
    let is_sent = leave(&thread, &mut exchange).await;
    let is_complete = is_sent && exchange.state == ResponseState::Complete;
    let Side::Http2(Http2 { work, .. }) = &exchange.side else { return };
    work.times.set(exchange.times);
    // What the node could not hold is none of the visitor's doing.
    if !exchange.is_shed {
        work.ended(is_complete, thread.deadlines.now());
    }
    if !is_sent {
        return exchange.abort();
    }
    // The rest of a body that nobody wanted is read for a moment: a stream stopped between its last byte and
    // its end looks like a failure to some visitors.
    let Side::Http2(side) = &mut exchange.side else { return };
    if exchange.state != ResponseState::Complete || side.is_body_done {
        return;
    }
    exchange.deadline.arm(crate::limits::LINGER_MS);
    let (deadline, mut discarded) = (&exchange.deadline, 0);
    poll_fn(|cx| {
        deadline.register(cx.waker());
        while !deadline.is_due() && discarded <= crate::limits::READ_AHEAD_BYTES {
            match ready!(side.poll_body(cx)) {
                Ok(Incoming::Data(chunk)) => discarded += chunk.len(),
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Waits until all of the answer has left h2; whether it has. It waits for the visitor's windows: a visitor
/// that opens them no further is given up. It is charged meanwhile.
async fn leave<S: Service>(thread: &Thread<S>, exchange: &mut Exchange) -> bool {
    if let Side::Http2(side) = &mut exchange.side {
        side.is_leaving = true;
    }
    let (mut put_out_before, mut is_first) = (None, true);
    poll_fn(|cx| {
        exchange.deadline.register(cx.waker());
        if std::mem::take(&mut is_first)
            && !exchange.is_shed
            && let Side::Http2(side) = &mut exchange.side
        {
            // The connection, which puts it out, has not had a turn since h2 was given the last piece. What
            // leaves in that turn waits for nobody, and is not charged.
            if let Poll::Ready(ready) = side.poll_ready(cx) {
                return Poll::Ready(ready.is_ok());
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(ready) = exchange.poll_ready(cx) {
            return Poll::Ready(ready.is_ok());
        }
        let Side::Http2(side) = &exchange.side else { return Poll::Ready(false) };
        if exchange.is_shed {
            return Poll::Ready(false);
        }
        let put_out = side.put_out();
        if put_out_before.replace(put_out) != Some(put_out) {
            exchange.deadline.arm(FLUSH_MS);
        } else if exchange.deadline.is_due() {
            // As long as the socket is what they wait for, streams of a slow line wait for each other. One
            // of which h2 has nothing waits for its own window.
            let opened_ms = side.work.unblocked_ms(thread.deadlines.now());
            if opened_ms < FLUSH_MS && side.unsent.bytes() > 0 {
                exchange.deadline.arm(FLUSH_MS - opened_ms);
                return Poll::Pending;
            }
            let visitor = exchange.connection.visitor.ip();
            thread.service.count(WireEvent::Abuse(Abuse::SlowRead, visitor));
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}

/// Fills the one form of head from h2's; returns why the request is refused, if it is.
fn fill(
    head: &mut Request,
    parts: &http::request::Parts,
    body: &RecvStream,
    is_secured: bool,
) -> Option<(Refusal, &'static str)> {
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Some((Refusal::Malformed, "a scheme other than http and https"));
    }
    head.version = Version::Http2;
    head.scheme = if is_secured { Scheme::Https } else { Scheme::Http };
    head.accepts_trailers = true;
    head.set_method(parts.method.as_str().as_bytes());
    if parts.headers.len() > FIELDS {
        return Some((Refusal::HeadTooLarge, "the head has too many fields"));
    }
    let bytes = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    head.reserve(parts.headers.len(), bytes);
    for (name, value) in &parts.headers {
        head.fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    join_cookies(&mut head.fields);
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = authority.or(head.fields.known(Known::Host)).unwrap_or_default().to_vec();
    head.set_authority(&authority);
    head.set_target(parts.uri.path_and_query().map_or(&b""[..], |target| target.as_str().as_bytes()));
    if let Some(protocol) = parts.extensions.get::<h2::ext::Protocol>() {
        head.upgrade = Upgrade::Extended;
        head.set_protocol(protocol.as_str().as_bytes());
    }
    let length = head.fields.known(Known::ContentLength).map(<[u8]>::to_vec);
    let mut lengths = head.fields.all_known(Known::ContentLength);
    let is_length_odd = lengths.next().is_some() && lengths.next().is_some();
    drop(lengths);
    head.body = match length.as_deref().map(parse_length) {
        _ if body.is_end_stream() => BodySize::None,
        Some(Some(length)) if head.upgrade == Upgrade::No => BodySize::of_length(length),
        Some(None) => return Some((Refusal::Malformed, "a content-length that is not a number")),
        _ => BodySize::Unknown,
    };
    if is_length_odd {
        return Some((Refusal::Malformed, "more than one content-length"));
    }
    head.expects_continue = expects_continue(head);
    check(head, if parts.uri.scheme_str() == Some("https") { HTTPS_PORT } else { HTTP_PORT })
}

/// What both multiplexed protocols must not let through to HTTP/1. `default_port` is that of the scheme which
/// the request names.
pub(crate) fn check(head: &Request, default_port: u16) -> Option<(Refusal, &'static str)> {
    let is_connect = head.method == exchange::Method::Connect;
    if is_connect && head.upgrade == Upgrade::No {
        return Some((Refusal::Method, "CONNECT without a protocol"));
    }
    if head.authority().is_empty() || !http1::is_authority(head.authority()) {
        return Some((Refusal::Malformed, "an authority that is missing or invalid"));
    }
    if !host_agrees(head, default_port) {
        return Some((Refusal::Malformed, "a host field that differs from the authority"));
    }
    if !is_target(head.target(), head.method == exchange::Method::Options) {
        return Some((Refusal::Malformed, "a path that is not in origin form"));
    }
    if head.fields.known(Known::Expect).is_some_and(|expectation| !is_continue(expectation)) {
        return Some((Refusal::Expectation, "an expectation other than 100-continue"));
    }
    for field in head.fields.iter() {
        // Those of RFC 9113 §8.2.2 and RFC 9114 §4.2; what else is for one hop alone stays behind in silence.
        let is_of_http1 = matches!(
            field.known,
            Known::Connection
                | Known::ProxyConnection
                | Known::KeepAlive
                | Known::TransferEncoding
                | Known::Upgrade
        );
        if is_of_http1 {
            return Some((Refusal::Malformed, "a connection-specific field"));
        }
        // RFC 9113 §8.2.1: HTTP/1 would take whitespace at the ends away, and mean another value.
        let is_bare = field.value.trim_ascii().len() == field.value.len();
        let is_carried = is_bare && http1::is_field_name(field.name) && http1::is_field_value(field.value);
        if !is_carried || (field.known == Known::Other && http1::is_lookalike(field.name)) {
            return Some((Refusal::Malformed, "a field that HTTP/1 could not carry"));
        }
    }
    None
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The fields of an answer as h2 wants them; what HTTP/2 forbids is left out.
fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 2);
    for (field, value) in fields.end_to_end_shared() {
        // An origin's field that cannot be carried was refused by its parser already.
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_maybe_shared(value))
        {
            // It is another one in each answer: indexed, it would push out of the visitor's table what the
            // next answers repeat (RFC 7541 §7.1.3 lets any value be kept out).
            value.set_sensitive(field.known == Known::XRequestId);
            map.append(name, value);
        }
    }
    map
}

fn response_head(response: &Response, date: Option<&[u8; 29]>) -> Option<http::Response<()>> {
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(response.status).ok()?;
    let mut map = header_map(&response.fields);
    let length = match response.body {
        BodySize::Length(length) => Some(length),
        BodySize::None => response.declared_length,
        BodySize::Unknown => None,
    };
    let may_have_length = response.status >= 200 && response.status != 204;
    match length.filter(|_| may_have_length) {
        Some(length) => drop(map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length))),
        None => drop(map.remove(http::header::CONTENT_LENGTH)),
    }
    if let Some(date) = date.filter(|_| !map.contains_key(http::header::DATE))
        && let Ok(date) = HeaderValue::from_bytes(date)
    {
        map.insert(http::header::DATE, date);
    }
    *head.headers_mut() = map;
    Some(head)
}

impl Http2 {
    /// Bytes that wait here: for the visitor's window, or for whoever reads the body. What h2 has is counted
    /// with what waits behind it, or once the rest has to leave: then somebody looks again when it is less.
    pub(crate) fn held(&self) -> usize {
        let is_waited_for = self.is_leaving || !self.held.is_empty();
        let inside = if is_waited_for { self.unsent.bytes() } else { 0 };
        self.held.len() + inside + self.unreleased
    }

    /// Bytes that h2 has put out, or dropped.
    fn put_out(&self) -> u64 {
        self.sent - self.unsent.bytes() as u64
    }

    /// The connection looks at the end of the stream at the latest.
    pub(crate) fn hold_for(&self, holder: Holder) {
        self.work.holder.set(Some(holder));
    }

    pub(crate) fn is_body_read(&self) -> bool {
        self.is_body_done
    }

    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming<'_>, Gone>> {
        if self.unreleased > 0 {
            // Asked for more: what was given before has moved on, so the window may open again.
            let released = self.body.flow_control().release_capacity(self.unreleased);
            debug_assert!(released.is_ok(), "only what was received is released");
            self.unreleased = 0;
        }
        if self.is_body_done {
            return Poll::Ready(Ok(Incoming::End));
        }
        while !self.is_data_done {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() && !self.body.is_end_stream() => {}
                Some(Ok(bytes)) => {
                    self.unreleased = bytes.len();
                    if self.body.is_end_stream() {
                        // Nobody asks again after the last piece: its window would stay shut for the answer's
                        // whole life.
                        let _only_what_was_received = self.body.flow_control().release_capacity(bytes.len());
                        self.unreleased = 0;
                        self.is_data_done = true;
                        self.is_body_done = true;
                        return Poll::Ready(Ok(Incoming::Last(Chunk::Shared(bytes))));
                    }
                    return Poll::Ready(Ok(Incoming::Data(Chunk::Shared(bytes))));
                }
                Some(Err(_)) => return Poll::Ready(Err(Gone::Left)),
                None => self.is_data_done = true,
            }
        }
        let trailers = ready!(self.body.poll_trailers(cx));
        self.is_body_done = true;
        Poll::Ready(match trailers {
            Ok(Some(map)) if map.len() > FIELDS => Err(Gone::Malformed(Refusal::HeadTooLarge)),
            Ok(Some(map)) => {
                let mut fields = Fields::new();
                for (name, value) in &map {
                    fields.push(name.as_str().as_bytes(), value.as_bytes());
                }
                Ok(Incoming::Trailers(Box::new(fields)))
            }
            Ok(None) => Ok(Incoming::End),
            Err(_) => Err(Gone::Left),
        })
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        let reset = match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.answer.poll_reset(cx),
        };
        reset.map(|_| Gone::Left)
    }

    pub(crate) fn inform(&mut self, response: &Response) {
        if let Some(head) = response_head(response, None) {
            let _ignored_when_the_visitor_left = self.answer.send_informational(head);
        }
    }

    pub(crate) fn respond(&mut self, response: &Response, is_complete: bool) {
        let head = response_head(response, Some(&self.date));
        if let Some(Ok(stream)) = head.map(|head| self.answer.send_response(head, is_complete)) {
            self.stream = Some(stream);
            self.work.gave(0, false);
        }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(if self.held.is_empty() { Ok(()) } else { Err(Gone::Left) });
        };
        while !self.held.is_empty() {
            stream.reserve_capacity(self.held.len());
            let room = match stream.capacity() {
                0 => match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    _ => return Poll::Ready(Err(Gone::Left)),
                },
                room => room,
            };
            let part = self.held.split_to(room.min(self.held.len()));
            self.sent += part.len() as u64;
            let is_last = self.is_last_held && self.held.is_empty();
            self.work.gave(part.len(), !self.held.is_empty());
            stream.send_data(Part::new(part, &self.unsent), is_last).map_err(|_| Gone::Left)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let held = self.poll_held(cx);
        if !self.is_leaving || matches!(held, Poll::Ready(Err(_))) {
            return held;
        }
        let unsent = self.unsent.poll_none(cx);
        ready!(held)?;
        unsent.map(Ok)
    }

    pub(crate) fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>, is_last: bool) -> bool {
        if chunk.is_empty() {
            match (&mut self.stream, is_last) {
                (Some(stream), true) if self.held.is_empty() => {
                    let _ignored_when_the_visitor_left =
                        stream.send_data(Part::new(Bytes::new(), &self.unsent), true);
                }
                (_, true) => self.is_last_held = true,
                _ => {}
            }
            return true;
        }
        debug_assert!(self.held.is_empty(), "send without poll_ready");
        self.held = chunk.into_shared();
        self.is_last_held = is_last;
        let _left_for_later = self.poll_held(cx);
        true
    }

    pub(crate) fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &Fields) {
        let _held_is_empty = self.poll_held(cx);
        if let Some(stream) = &mut self.stream {
            let _ignored_when_the_visitor_left = stream.send_trailers(header_map(trailers));
        }
    }

    pub(crate) fn abort(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            None => self.answer.send_reset(Reason::INTERNAL_ERROR),
        }
        self.held = Bytes::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::silent::Silent;

    fn future_bytes<F>(_begin: impl FnOnce(Rc<Thread<Silent>>, Exchange) -> F) -> usize {
        size_of::<F>()
    }

    /// What stands around the service's own future, which `edge` bounds: it is made for each stream.
    #[test]
    fn a_stream_adds_little_to_the_future_of_its_service() {
        let bytes = future_bytes(stream::<Silent>);
        assert!(bytes <= 1_408, "{bytes} bytes; `edge` counts on it for the bound of its own");
    }
}
