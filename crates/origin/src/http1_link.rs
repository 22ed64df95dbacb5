//! One exchange over HTTP/1.1 with an origin: what `Link` does where the connection speaks HTTP/1.
//!
//! Driven by the exchange's own task. In the plain case a request is one write and an answer one read: the
//! head leaves together with the first piece of the body, and small bodies come with the head. Only what the
//! socket refuses is owned, and nothing more is taken until it has left.
//! What it does not do: it chooses nothing, keeps no time, and retries nothing. Called by `link.rs`.
//! Read next: `request_head.rs`, `stream.rs`.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use exchange::{
    BodySize, Chunk, Fault, Fields, Incoming, Known, Method, Request, Response, Upgrade, Version,
};
use http1::{BodyDecoder, Expected, Framing, Limits, Malformed, ResponseHead};
use tokio::io::{AsyncReadExt as _, AsyncWrite};

use crate::fleet::Permit;
use crate::parking::ParkedConnection;
use crate::request_head::{Framed, websocket_accept, write_request_head};
use crate::stream::{Stream, tls_fault};

/// Room for one read of a head: with it most small answers come whole.
const HEAD_READ: usize = 16 * 1024;

/// Memory that a resting connection keeps of each buffer. It rests with its thread for a moment only: parked,
/// it has no buffers at all.
const IDLE_BUFFER: usize = 64 * 1024;

/// Interim responses before the final one. Real origins send one or two; a stream of them without end would
/// hold an exchange for ever.
const INTERIM_MAX: u32 = 32;

/// Limits of answers: origins are asked by their owner, so they get the most that offsets allow.
fn limits() -> Limits {
    Limits {
        head_bytes_max: http1::HEAD_BYTES_CEILING,
        fields_max: http1::FIELDS_CEILING,
        are_sizes_padded: true,
        ..Limits::default()
    }
}

/// How the rest of the request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    /// Nothing more may come.
    Done,
    Length(u64),
    Chunked,
    /// A tunnel.
    Raw,
    /// A tunnel whose write half is to be closed once everything has left.
    Closing,
}

/// What is being read.
#[derive(Debug)]
enum Reading {
    Head,
    Body(BodyDecoder),
    /// Everything but these trailers was given out.
    Trailers(Vec<u8>),
    Done,
    Raw,
}

/// What the request asked for, as far as the answer depends on it.
#[derive(Clone, Debug, Default)]
struct Asked {
    expected: Expected,
    upgrade: Upgrade,
    /// The `Sec-WebSocket-Accept` that must come back for an extended CONNECT.
    accept: Vec<u8>,
}

/// A connection that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: Stream,
    permit: Permit,
    /// The settings it was made under.
    pub(crate) target: u64,
    pub(crate) label: Arc<str>,
    pub(crate) idle_since_ms: u64,
    /// How long the origin said it keeps the connection, less a margin; no limit if it did not say.
    pub(crate) kept_ms: u64,
    pub(crate) is_reused: bool,
    /// Bytes that must leave, from `out_at` on.
    out: Vec<u8>,
    out_at: usize,
    /// The head lies in `out` and waits for the first piece of the body.
    is_head_held: bool,
    outgoing: Outgoing,
    is_write_dead: bool,
    /// Bytes read and not yet taken, from `in_at` on.
    held: Vec<u8>,
    in_at: usize,
    /// Bytes of `held` that were looked at without finding a whole head.
    looked_at: usize,
    head: ResponseHead,
    reading: Reading,
    is_persistent: bool,
    interim: u32,
    asked: Asked,
    bytes_sent: u64,
    bytes_received: u64,
    is_closed: bool,
}

fn fault_of(malformed: Malformed) -> Fault {
    match malformed {
        Malformed::HeadTooLarge | Malformed::TooManyFields | Malformed::TrailersTooLarge => {
            Fault::HttpResponseHeaderSectionSize
        }
        Malformed::TransferEncodingInvalid
        | Malformed::TransferEncodingUnknown
        | Malformed::TransferEncodingMisplaced => Fault::HttpResponseTransferCoding,
        Malformed::Incomplete => Fault::HttpResponseIncomplete,
        _ => Fault::HttpProtocolError,
    }
}

fn read_fault(error: &io::Error) -> Fault {
    if error.get_ref().is_some() { tls_fault(error) } else { Fault::ConnectionTerminated }
}

impl Http1 {
    /// A connection ready for its first request, or its next. `preamble` leaves before anything else.
    pub(crate) fn new(
        stream: Stream,
        permit: Permit,
        target: u64,
        label: Arc<str>,
        preamble: Vec<u8>,
    ) -> Self {
        Self {
            stream,
            permit,
            target,
            label,
            idle_since_ms: 0,
            kept_ms: u64::MAX,
            is_reused: false,
            out: preamble,
            out_at: 0,
            is_head_held: false,
            outgoing: Outgoing::Done,
            is_write_dead: false,
            held: Vec::new(),
            in_at: 0,
            looked_at: 0,
            head: ResponseHead::default(),
            reading: Reading::Done,
            is_persistent: false,
            interim: 0,
            asked: Asked::default(),
            bytes_sent: 0,
            bytes_received: 0,
            is_closed: false,
        }
    }

    /// Whether it has been idle for less than the pool's time and the origin's own.
    pub(crate) fn is_young(&self, keepalive_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.idle_since_ms) < keepalive_ms.min(self.kept_ms)
    }

    /// Whether an idle connection may be used, by the kernel's word; see [`Stream::is_quiet`].
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    /// Whether an idle connection may be used; see [`Stream::is_fresh`].
    pub(crate) fn is_fresh(&mut self) -> bool {
        self.stream.is_fresh()
    }

    pub(crate) fn into_parked(self: Box<Self>) -> Option<ParkedConnection> {
        let this = *self;
        let parked = this.stream.park()?;
        Some(ParkedConnection {
            parked,
            permit: this.permit,
            target: this.target,
            idle_since_ms: this.idle_since_ms,
            kept_ms: this.kept_ms,
            label: this.label,
        })
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    pub(crate) fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Whether the origin stopped reading before the request was whole.
    pub(crate) fn is_write_dead(&self) -> bool {
        self.is_write_dead
    }

    /// Whether the origin cannot have worked on the request, as far as the connection tells.
    pub(crate) fn may_retry(&self) -> bool {
        self.bytes_received == 0 && (self.bytes_sent == 0 || (self.is_reused && self.is_closed))
    }

    pub(crate) fn begin(&mut self, request: &Request, host: &[u8], key: &[u8]) -> Result<(), Fault> {
        let framed =
            write_request_head(&mut self.out, request, host, key).ok_or(Fault::ProxyInternalError)?;
        self.asked.expected = Expected { to_head: request.method == Method::Head, to_connect: false };
        self.asked.upgrade = request.upgrade;
        self.asked.accept.clear();
        if request.upgrade == Upgrade::Extended {
            self.asked.accept = websocket_accept(key);
        }
        self.outgoing = match framed {
            Framed::None => Outgoing::Done,
            Framed::Length(length) => Outgoing::Length(length),
            Framed::Chunked => Outgoing::Chunked,
        };
        self.is_head_held = framed != Framed::None;
        self.reading = Reading::Head;
        (self.interim, self.looked_at) = (0, 0);
        (self.bytes_sent, self.bytes_received) = (0, 0);
        Ok(())
    }

    /// Writes what is owed. A write that fails is no fault by itself: an origin that answers early closes its
    /// side, and the answer is still there to be read.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.is_head_held = false;
        while self.out_at < self.out.len() && !self.is_write_dead {
            let part = IoSlice::new(self.out.get(self.out_at..).unwrap_or_default());
            match ready!(self.stream.poll_write_parts(cx, &[part])) {
                Ok(count) => {
                    self.out_at += count;
                    self.bytes_sent += count as u64;
                }
                Err(_) => self.is_write_dead = true,
            }
        }
        self.out.clear();
        self.out_at = 0;
        if !self.is_write_dead && ready!(pin!(&mut self.stream).poll_flush(cx)).is_err() {
            self.is_write_dead = true;
        }
        if self.outgoing == Outgoing::Closing && !self.is_write_dead {
            let _ = ready!(pin!(&mut self.stream).poll_shutdown(cx));
            self.outgoing = Outgoing::Done;
        }
        Poll::Ready(())
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_head_held {
            return Poll::Ready(());
        }
        self.poll_flush(cx)
    }

    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &Chunk<'_>,
        is_last: bool,
    ) -> Result<(), Fault> {
        let bytes = chunk.as_slice();
        let mut line = [0; 18];
        let (before, after): (&[u8], &[u8]) = match &mut self.outgoing {
            Outgoing::Done | Outgoing::Closing if bytes.is_empty() => return Ok(()),
            // More than was announced would be read as another request: request smuggling.
            Outgoing::Done | Outgoing::Closing => return Err(Fault::ProxyInternalError),
            Outgoing::Length(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(Fault::ProxyInternalError)?;
                match (*left, is_last) {
                    (0, _) => self.outgoing = Outgoing::Done,
                    (_, true) => return Err(Fault::ProxyInternalError), // less than was announced
                    (_, false) => {}
                }
                (b"", b"")
            }
            Outgoing::Chunked => {
                if is_last {
                    self.outgoing = Outgoing::Done;
                }
                match (bytes.is_empty(), is_last) {
                    (true, false) => return Ok(()),
                    (true, true) => (b"", b"0\r\n\r\n"),
                    (false, _) => {
                        let tail: &[u8] = if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                        (http1::chunk_size_line(bytes.len(), &mut line), tail)
                    }
                }
            }
            Outgoing::Raw => {
                if is_last {
                    self.outgoing = Outgoing::Closing;
                }
                (b"", b"")
            }
        };
        self.write(cx, [before, bytes, after]);
        if self.outgoing == Outgoing::Closing {
            let _ = self.poll_flush(cx);
        }
        Ok(())
    }

    /// Writes what is owed and these parts in one call, and owns what does not leave.
    fn write(&mut self, cx: &mut Context<'_>, parts: [&[u8]; 3]) {
        self.is_head_held = false;
        if self.is_write_dead {
            return;
        }
        let owed = self.out.get(self.out_at..).unwrap_or_default();
        let [before, bytes, after] = parts;
        let all = [owed, before, bytes, after];
        let slices = all.map(IoSlice::new);
        let slices: &[IoSlice<'_>] = match (owed.is_empty(), before.is_empty() && after.is_empty()) {
            (true, true) => slices.get(2..3).unwrap_or_default(),
            _ => &slices,
        };
        if all.iter().all(|part| part.is_empty()) {
            return;
        }
        let mut gone = match self.stream.poll_write_parts(cx, slices) {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(_)) => {
                self.is_write_dead = true;
                return;
            }
            Poll::Pending => 0,
        };
        self.bytes_sent += gone as u64;
        let of_owed = gone.min(owed.len());
        self.out_at += of_owed;
        gone -= of_owed;
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
        }
        for part in parts {
            let of_part = gone.min(part.len());
            gone -= of_part;
            self.out.extend_from_slice(part.get(of_part..).unwrap_or_default());
        }
    }

    pub(crate) fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &Fields) -> Result<(), Fault> {
        match self.outgoing {
            Outgoing::Chunked => {
                let mut end = b"0\r\n".to_vec();
                for field in trailers.end_to_end() {
                    http1::write_field(&mut end, field.name, field.value);
                }
                end.extend_from_slice(b"\r\n");
                self.outgoing = Outgoing::Done;
                self.write(cx, [b"", &end, b""]);
                Ok(())
            }
            // A body framed by its length has no place for trailers (RFC 9112 §7.1.2): they are left out.
            Outgoing::Done => Ok(()),
            Outgoing::Length(_) | Outgoing::Raw | Outgoing::Closing => Err(Fault::ProxyInternalError),
        }
    }

    /// Reads once, to the end of what is held.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.held.reserve(HEAD_READ);
        let read = ready!(Future::poll(pin!(self.stream.read_buf(&mut self.held)), cx));
        if let Ok(count) = &read {
            self.bytes_received += *count as u64;
        }
        Poll::Ready(read)
    }

    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
    ) -> Poll<Result<(), Fault>> {
        if !matches!(self.reading, Reading::Head) {
            return Poll::Ready(Err(Fault::ProxyInternalError));
        }
        let _ = self.poll_flush(cx);
        loop {
            if self.has_new_line() && self.take_head(response)? {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_more(cx)) {
                Ok(0) => {
                    self.is_closed = true;
                    let is_begun = self.held.len() > self.in_at || self.interim > 0;
                    let fault =
                        if is_begun { Fault::HttpResponseIncomplete } else { Fault::ConnectionTerminated };
                    return Poll::Ready(Err(fault));
                }
                Ok(_) => {}
                Err(error) => {
                    self.is_closed = true;
                    return Poll::Ready(Err(read_fault(&error)));
                }
            }
        }
    }

    /// Whether what came since the last look can have ended a head or broken it. A head that trickles in is
    /// parsed once a line and not once a byte.
    fn has_new_line(&mut self) -> bool {
        let unseen = self.held.get(self.in_at + self.looked_at..).unwrap_or_default();
        let is_worth_it = memchr::memchr(b'\n', unseen).is_some()
            || (self.looked_at == 0 && !unseen.is_empty())
            || self.held.len() - self.in_at >= http1::HEAD_BYTES_CEILING;
        if is_worth_it {
            self.looked_at = self.held.len() - self.in_at;
        }
        is_worth_it
    }

    fn take_head(&mut self, response: &mut Response) -> Result<bool, Fault> {
        let bytes = self.held.get(self.in_at..).unwrap_or_default();
        if !self.head.parse(bytes, self.asked.expected, &limits()).map_err(fault_of)? {
            return Ok(false);
        }
        let head = &self.head;
        response.clear();
        response.status = head.status;
        response.version = if head.minor == 0 { Version::Http10 } else { Version::Http11 };
        response.reason.extend_from_slice(head.reason.of(bytes));
        response.fields.load(bytes.get(..head.len).unwrap_or_default(), &head.fields);
        response.declared_length = head.declared_length;
        response.body = match head.framing {
            Framing::None => BodySize::None,
            Framing::Length(length) => BodySize::of_length(length),
            Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
        };
        let (status, framing, is_upgrade) = (head.status, head.framing, head.is_upgrade);
        self.is_persistent = head.is_persistent;
        self.in_at += head.len;
        self.looked_at = 0;
        match status {
            101 => {
                // WebSocket is the one protocol that requests are passed on for.
                let is_named = response
                    .fields
                    .known(Known::Upgrade)
                    .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
                let is_asked = self.asked.upgrade != Upgrade::No && is_upgrade && is_named;
                if !is_asked {
                    return Err(Fault::HttpProtocolError);
                }
                if self.asked.upgrade == Upgrade::Extended {
                    self.translate_upgrade(response)?;
                }
                self.reading = Reading::Done; // until the caller turns it into a tunnel
            }
            100..200 => {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(Fault::HttpProtocolError);
                }
            }
            // A GET that was answered in the ordinary way: its visitor would take the 2xx for a tunnel.
            200..300 if self.asked.upgrade == Upgrade::Extended => return Err(Fault::HttpUpgradeFailed),
            _ => {
                self.kept_ms = response.fields.known(Known::KeepAlive).and_then(kept_ms).unwrap_or(u64::MAX);
                let decoder = BodyDecoder::new(framing, &limits());
                self.reading = if decoder.is_done() { Reading::Done } else { Reading::Body(decoder) };
            }
        }
        Ok(true)
    }

    /// 101 to a request that was an extended CONNECT: 200 is what its visitor understands (RFC 8441 §5.1).
    fn translate_upgrade(&mut self, response: &mut Response) -> Result<(), Fault> {
        if response.fields.value(b"sec-websocket-accept") != Some(&self.asked.accept) {
            return Err(Fault::HttpUpgradeFailed);
        }
        response.fields.remove(b"sec-websocket-accept");
        response.fields.remove_known(Known::Upgrade);
        response.fields.remove_known(Known::Connection);
        response.status = 200;
        response.reason.clear();
        response.body = BodySize::Unknown;
        Ok(())
    }

    /// Moves held bytes into the scratch; none if nothing is held.
    fn take_held(&mut self, scratch: &mut [u8]) -> Option<usize> {
        let held = self.held.get(self.in_at..).filter(|held| !held.is_empty())?;
        let count = held.len().min(scratch.len());
        scratch.get_mut(..count)?.copy_from_slice(held.get(..count)?);
        self.in_at += count;
        if self.in_at == self.held.len() {
            self.held.clear();
            self.in_at = 0;
        }
        Some(count)
    }

    pub(crate) fn poll_body<'s>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'s mut [u8],
    ) -> Poll<Result<Incoming<'s>, Fault>> {
        if !self.out.is_empty() {
            let _ = self.poll_flush(cx);
        }
        if scratch.is_empty() {
            return Poll::Ready(Err(Fault::ProxyInternalError));
        }
        let payload = loop {
            match &self.reading {
                Reading::Done | Reading::Head => return Poll::Ready(Ok(Incoming::End)),
                Reading::Trailers(raw) => {
                    let trailers = trailers_of(raw);
                    self.reading = Reading::Done;
                    return Poll::Ready(trailers.map(Incoming::Trailers));
                }
                Reading::Body(_) | Reading::Raw => {}
            }
            let (count, is_held) = match self.take_held(scratch) {
                Some(count) => (count, true),
                None => match ready!(self.stream.poll_read_slice(cx, scratch)) {
                    Ok(count) => (count, false),
                    Err(error) => {
                        self.is_closed = true;
                        // A tunnel has no end that could come too early.
                        let is_raw = matches!(self.reading, Reading::Raw);
                        let fault = if is_raw { read_fault(&error) } else { Fault::HttpResponseIncomplete };
                        return Poll::Ready(Err(fault));
                    }
                },
            };
            if !is_held {
                self.bytes_received += count as u64;
            }
            let decoder = match &mut self.reading {
                Reading::Body(decoder) => decoder,
                _ if count == 0 => {
                    self.reading = Reading::Done;
                    return Poll::Ready(Ok(Incoming::End));
                }
                _ => break count,
            };
            if count == 0 {
                self.is_closed = true;
                decoder.at_eof().map_err(fault_of)?;
                self.reading = Reading::Done;
                return Poll::Ready(Ok(Incoming::End));
            }
            let data = scratch.get_mut(..count).unwrap_or_default();
            let decoded = decoder.decode(data).map_err(fault_of)?;
            if decoded.consumed < count {
                // Bytes after the end: nobody asked for them, so nothing on this connection can be trusted.
                self.is_persistent = false;
            }
            if !decoder.is_done() {
                if decoded.payload == 0 {
                    continue; // a chunk's head alone
                }
                break decoded.payload;
            }
            match decoder.take_trailers() {
                None => {
                    self.reading = Reading::Done;
                    let data = scratch.get(..decoded.payload).unwrap_or_default();
                    return Poll::Ready(Ok(match data {
                        [] => Incoming::End,
                        data => Incoming::Last(Chunk::Borrowed(data)),
                    }));
                }
                Some(raw) => {
                    self.reading = Reading::Trailers(raw);
                    if decoded.payload > 0 {
                        break decoded.payload;
                    }
                }
            }
        };
        let data = scratch.get(..payload).unwrap_or_default();
        Poll::Ready(Ok(Incoming::Data(Chunk::Borrowed(data))))
    }

    pub(crate) fn become_tunnel(&mut self) {
        self.reading = Reading::Raw;
        self.outgoing = Outgoing::Raw;
        self.is_persistent = false;
    }

    /// Whether both messages are whole and another may follow.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.reading, Reading::Done)
            && self.outgoing == Outgoing::Done
            && self.is_persistent
            && !self.is_write_dead
            && !self.is_closed
            && self.out.is_empty()
            && self.held.len() == self.in_at
    }

    /// Makes it ready to lie idle.
    pub(crate) fn rest(&mut self, now_ms: u64) {
        for buffer in [&mut self.out, &mut self.held] {
            buffer.clear();
            buffer.shrink_to(IDLE_BUFFER);
        }
        (self.out_at, self.in_at) = (0, 0);
        self.idle_since_ms = now_ms;
        self.is_reused = true;
        self.is_persistent = false;
    }
}

/// The milliseconds of `Keep-Alive: timeout=5`, less a second: a request sent in the last moment would cross
/// the origin's close. The field is what servers send in practice; RFC 9112 has no such hint.
fn kept_ms(value: &[u8]) -> Option<u64> {
    let seconds =
        value.split(|byte| *byte == b',').find_map(|part| part.trim_ascii().strip_prefix(b"timeout="))?;
    let seconds: u64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    Some(seconds.saturating_mul(1000).saturating_sub(1000))
}

fn trailers_of(raw: &[u8]) -> Result<Box<Fields>, Fault> {
    let mut fields = Box::<Fields>::default();
    for (name, value) in http1::parse_trailers(raw).map_err(fault_of)? {
        fields.push(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::kept_ms;

    #[test]
    fn the_hint_of_a_keep_alive_is_read_with_a_margin() {
        assert_eq!(kept_ms(b"timeout=5"), Some(4000));
        assert_eq!(kept_ms(b"max=100, timeout=60"), Some(59_000));
        assert_eq!(kept_ms(b"timeout=0"), Some(0));
        assert_eq!(kept_ms(b"timeout=99999999999999999999"), None);
        assert_eq!(kept_ms(b"max=5"), None);
        assert_eq!(kept_ms(b"timeout=x"), None);
    }
}
