//! One exchange with an origin, whatever HTTP version the connection speaks.
//!
//! The caller's task drives it by poll functions: begin, send the body as it comes while asking for a head,
//! read the body, finish. Nothing runs beside it but the HTTP/2 connection below. What it does not do: it
//! keeps no time (first byte, idle and rate are the caller's) and retries nothing.
//! Called by `edge`. Read next: `http1_link.rs`, `http2_link.rs`.

use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use exchange::{Chunk, Fault, Fields, Incoming, Request, Response, Upgrade};

use crate::http1_link::Http1;
use crate::http2_link::Http2Stream;
use crate::origins::{Local, Origins};
use crate::request_head::base64;

/// A connection or stream, from [`Origins::open`] to [`Link::finish`]. Dropping it closes the HTTP/1
/// connection or resets the HTTP/2 stream.
#[derive(Debug)]
pub struct Link {
    origins: Weak<Origins>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// With the place that the connection goes back to, if it may serve again.
    Http1(Box<Http1>, Option<Rc<Local>>),
    Http2(Box<Http2Stream>, bool),
}

impl Link {
    pub(crate) fn http1(origins: Weak<Origins>, home: Option<Rc<Local>>, connection: Box<Http1>) -> Self {
        Self { origins, kind: Kind::Http1(connection, home) }
    }

    pub(crate) fn http2(origins: Weak<Origins>, stream: Http2Stream, is_reused: bool) -> Self {
        Self { origins, kind: Kind::Http2(Box::new(stream), is_reused) }
    }

    /// Whether the connection served an exchange before.
    pub fn is_reused(&self) -> bool {
        match &self.kind {
            Kind::Http1(connection, _) => connection.is_reused,
            Kind::Http2(_, is_reused) => *is_reused,
        }
    }

    /// Whether it is a stream of HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::Http2(..))
    }

    /// Writes the request's head. Over HTTP/1.1 it leaves with the first call of [`Link::send`] or
    /// [`Link::poll_head`], over HTTP/2 once the caller's task waits.
    ///
    /// The end-to-end fields go as they are, `host` in the place of Host (or as `:authority`); the framing
    /// follows [`Request::body`]. Upgrade and Connection are added for an upgrade by HTTP/1.1. A WebSocket
    /// is translated where the origin speaks another version than the visitor: an extended CONNECT becomes
    /// GET with Upgrade and a fresh key (RFC 8441 §5), and back.
    ///
    /// # Errors
    ///
    /// [`Fault::HttpUpgradeFailed`] if the origin's HTTP/2 has no extended CONNECT;
    /// [`Fault::ProxyInternalError`] for a head that cannot be written.
    pub fn begin(&mut self, request: &Request, host: &[u8]) -> Result<(), Fault> {
        match &mut self.kind {
            Kind::Http1(connection, _) => {
                let mut key = Vec::new();
                if request.upgrade == Upgrade::Extended {
                    let origins = self.origins.upgrade().ok_or(Fault::ProxyInternalError)?;
                    let mut random = origins.random.borrow_mut();
                    let draws = [random.below(u64::MAX), random.below(u64::MAX)];
                    key = base64(draws.map(u64::to_le_bytes).as_flattened());
                }
                connection.begin(request, host, &key)
            }
            Kind::Http2(stream, _) => stream.begin(request, host),
        }
    }

    /// Writes what is owed. Ready when another piece of the body may be given; at once for the first, which
    /// leaves together with the head. Ready too when the origin no longer reads, see
    /// [`Link::request_is_refused`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match &mut self.kind {
            Kind::Http1(connection, _) => connection.poll_ready(cx).map(Ok),
            Kind::Http2(stream, _) => stream.poll_ready(cx),
        }
    }

    /// Sends a piece of the body, only after [`Link::poll_ready`] was ready. What cannot leave now is owned,
    /// and then nothing more is taken until it has left. `is_last` ends the body, or this direction of a
    /// tunnel; an empty last piece is fine.
    ///
    /// # Errors
    ///
    /// [`Fault::ProxyInternalError`] if the body is longer or shorter than its head said.
    pub fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>, is_last: bool) -> Result<(), Fault> {
        match &mut self.kind {
            Kind::Http1(connection, _) => connection.send(cx, &chunk, is_last),
            Kind::Http2(stream, _) => stream.send(cx, chunk, is_last),
        }
    }

    /// Ends the body with trailers. Over HTTP/1.1 a body with a length has no place for them; they are left
    /// out there.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &Fields) -> Result<(), Fault> {
        match &mut self.kind {
            Kind::Http1(connection, _) => connection.send_trailers(cx, trailers),
            Kind::Http2(stream, _) => stream.send_trailers(cx, trailers),
        }
    }

    /// The next head, interim (1xx, any number up to 32) or final; also writes what is owed.
    ///
    /// # Errors
    ///
    /// The fault of an answer that breaks the protocol, is cut, or never came.
    pub fn poll_head(&mut self, cx: &mut Context<'_>, response: &mut Response) -> Poll<Result<(), Fault>> {
        match &mut self.kind {
            Kind::Http1(connection, _) => connection.poll_head(cx, response),
            Kind::Http2(stream, _) => stream.poll_head(cx, response),
        }
    }

    /// The next piece of the answer's body, after the final head. Borrowed pieces lie at the front of
    /// `scratch`, which must not be empty; 16 KiB or more save system calls.
    ///
    /// # Errors
    ///
    /// [`Fault::HttpResponseIncomplete`] if the body is cut, and the faults of broken framing.
    pub fn poll_body<'s>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'s mut [u8],
    ) -> Poll<Result<Incoming<'s>, Fault>> {
        match &mut self.kind {
            Kind::Http1(connection, _) => connection.poll_body(cx, scratch),
            Kind::Http2(stream, _) => stream.poll_body(cx),
        }
    }

    /// Whether the origin stopped reading before the request was whole. The rest of the body need not be
    /// read for its sake; an answer may still come.
    pub fn request_is_refused(&self) -> bool {
        match &self.kind {
            Kind::Http1(connection, _) => connection.is_write_dead(),
            Kind::Http2(stream, _) => stream.is_refused(),
        }
    }

    /// Whether the exchange that failed can be sent again as far as the connection tells: nothing of an
    /// answer came, and nothing was sent, or an idle connection turned out to be closed, or HTTP/2 said that
    /// the request was not worked on (REFUSED_STREAM, or GOAWAY with an earlier last stream).
    ///
    /// The caller must hold the whole request still. For a request that is not idempotent, a closed idle
    /// connection leaves the small chance that the origin has worked on it (RFC 9112 §9.3.1): whoever must
    /// exclude it also asks [`Link::was_not_worked_on`].
    pub fn may_retry(&self) -> bool {
        match &self.kind {
            Kind::Http1(connection, _) => connection.may_retry(),
            Kind::Http2(stream, _) => stream.may_retry(),
        }
    }

    /// Whether the exchange failed because a connection from before took no more: closed while it was idle,
    /// or closing (GOAWAY). That is no failure of the origin, and the next attempt no load that it has seen.
    /// A stream that was refused on a connection which goes on (REFUSED_STREAM) is both.
    pub fn was_stale(&self) -> bool {
        match &self.kind {
            Kind::Http1(connection, _) => connection.is_reused && connection.may_retry(),
            Kind::Http2(stream, _) => stream.was_stale(),
        }
    }

    /// Whether it is certain that the origin has not worked on the request: then any method can be sent
    /// again.
    pub fn was_not_worked_on(&self) -> bool {
        match &self.kind {
            Kind::Http1(connection, _) => connection.bytes_sent() == 0 && connection.bytes_received() == 0,
            Kind::Http2(stream, _) => stream.was_not_worked_on(),
        }
    }

    /// The answer did not come in time. An HTTP/2 connection that was silent all the while takes no further
    /// request; HTTP/1's is closed with the link.
    pub fn suspect(&self) {
        if let Kind::Http2(stream, _) = &self.kind {
            stream.suspect();
        }
    }

    /// After 101, or 200 to an extended CONNECT: from now on [`Link::poll_body`] and [`Link::send`] pass
    /// bytes as they are, and a last piece closes that direction only.
    pub fn into_tunnel(&mut self) {
        if let Kind::Http1(connection, _) = &mut self.kind {
            connection.become_tunnel();
        }
    }

    /// Gives the connection back if both messages are whole, nothing else came, and another request may
    /// follow; closes it otherwise.
    pub fn finish(self) {
        if let Kind::Http1(mut connection, Some(home)) = self.kind
            && connection.is_clean()
            && home.keepalive_ms.get() > 0
            && let Some(origins) = self.origins.upgrade()
        {
            connection.rest(origins.now_ms());
            home.keep(connection);
        }
    }

    /// Bytes sent to the origin for this exchange; over HTTP/2 those of the body alone.
    pub fn bytes_sent(&self) -> u64 {
        match &self.kind {
            Kind::Http1(connection, _) => connection.bytes_sent(),
            Kind::Http2(stream, _) => stream.bytes_sent,
        }
    }

    /// Bytes received for this exchange; over HTTP/2 those of the body alone.
    pub fn bytes_received(&self) -> u64 {
        match &self.kind {
            Kind::Http1(connection, _) => connection.bytes_received(),
            Kind::Http2(stream, _) => stream.bytes_received,
        }
    }

    /// The address that the connection was made to, as in the access log's `origin`: `10.0.0.1:8080`,
    /// `unix:/run/app.sock`.
    pub fn address_label(&self) -> &str {
        match &self.kind {
            Kind::Http1(connection, _) => &connection.label,
            Kind::Http2(stream, _) => stream.label(),
        }
    }
}
