//! Phases 5 to 8 for an exchange that goes to an origin: send the request, await the answer, stream it back.
//!
//! One task drives both sides with poll functions; at most one chunk is held in each direction. Time-outs
//! float: they begin anew with each progress, and no total time cuts a transfer that moves.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cache::compress::STEP_BYTES;
use exchange::{BodySize, Chunk, Fault, Incoming, Phase, Refusal, Response, Upgrade};
use origin::request_head::is_websocket_handshake;
use origin::{Chosen, Link, Wanted};
use telemetry::metrics::{OriginConnection, OriginOutcome};
use wire::{Abuse, Exchange, Gone, Kept, ResponseState, with_scratch};
use zone::Pool;

use crate::coding::{Coder, label_of};
use crate::course::Course;
use crate::pace::{Pace, Turn};
use crate::pipeline::Edge;
use crate::trails;
use crate::waf::Tail;

/// How an exchange with an origin ended before its answer's body.
pub(crate) enum Failed {
    /// Something broke.
    Fault(Fault),
    /// The request's body was refused.
    Refused(Refusal, &'static str),
    /// The visitor left.
    Gone,
}

impl From<Gone> for Failed {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Left => Self::Gone,
            Gone::Malformed(refusal) => Self::Refused(refusal, "the body's framing is broken"),
        }
    }
}

/// The request's body on its way to the origin.
pub(crate) struct Upload {
    pub(crate) is_done: bool,
    /// The origin reads no more; its answer may still come.
    is_refused: bool,
    bytes: u64,
    bytes_max: u64,
    pub(crate) moved: bool,
    /// The origin takes nothing more for now: it is what the upload waits for.
    is_held: bool,
    /// Inspects it on its way.
    tail: Option<Box<Tail>>,
}

impl Upload {
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        link: &mut Link,
    ) -> Poll<Result<(), Failed>> {
        let mut turn = Turn::default();
        while !self.is_done && !self.is_refused {
            self.is_held = true;
            if ready!(link.poll_ready(cx)).is_err() {
                self.is_refused = true;
                break;
            }
            self.is_held = false;
            let step = with_scratch(|scratch| -> Poll<Result<(), Failed>> {
                let incoming = match &mut self.tail {
                    Some(tail) => ready!(tail.poll_next(cx, exchange, scratch))?,
                    None => ready!(exchange.poll_body(cx, scratch))?,
                };
                let sent = match incoming {
                    Incoming::Data(chunk) => {
                        self.bytes += chunk.len() as u64;
                        link.send(cx, chunk, false)
                    }
                    Incoming::Last(chunk) => {
                        self.bytes += chunk.len() as u64;
                        self.is_done = true;
                        link.send(cx, chunk, true)
                    }
                    Incoming::Trailers(mut trailers) => {
                        self.is_done = true;
                        trailers.keep_trailers();
                        link.send_trailers(cx, &trailers)
                    }
                    Incoming::End => {
                        self.is_done = true;
                        link.send(cx, Chunk::Borrowed(b""), true)
                    }
                };
                self.is_refused |= sent.is_err();
                Poll::Ready(Ok(()))
            });
            ready!(step)?;
            self.moved = true;
            if self.bytes > self.bytes_max {
                return Poll::Ready(Err(Failed::Refused(
                    Refusal::BodyTooLarge,
                    "the body passes max_body_bytes",
                )));
            }
            if !self.is_done && turn.is_over(cx) {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// An origin's answer, its head given to the visitor or about to be.
pub(crate) struct Answered {
    pub(crate) link: Link,
    chosen: Chosen,
    pub(crate) upload: Upload,
    /// The front of its body, where that was read before it may leave.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Answered {
    /// The value of the cookie that keeps the visitor at this origin, if it must be set.
    pub(crate) fn sticky_to_set(&self) -> Option<&[u8]> {
        self.chosen.sticky_to_set.as_deref()
    }

    /// The pool that answered.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.chosen.pool()
    }

    /// The next piece of the answer's body.
    ///
    /// # Errors
    /// The answer broke.
    pub(crate) fn poll_body<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<Result<Incoming<'a>, Fault>> {
        if let Some(again) = self.kept.as_mut().and_then(|kept| kept.give()) {
            return Poll::Ready(Ok(again));
        }
        self.kept = None;
        self.link.poll_body(cx, scratch)
    }

    /// The body was read to its end, or there is none: the connection may serve again.
    pub(crate) fn finish(self) {
        self.link.finish();
    }
}

pub(crate) fn too_slow() -> Failed {
    Failed::Refused(Refusal::BodyTimeout, "the body stood still or came too slowly")
}

/// The scratch to read with: no more is read at once than is coded at once.
fn front(scratch: &mut [u8], is_coded: bool) -> &mut [u8] {
    let end = if is_coded { STEP_BYTES.min(scratch.len()) } else { scratch.len() };
    scratch.get_mut(..end).unwrap_or_default()
}

/// Gives what came of an answer as it is.
fn pass(cx: &mut Context<'_>, exchange: &mut Exchange, incoming: Incoming<'_>) {
    match incoming {
        Incoming::Data(chunk) => exchange.send(cx, chunk, false),
        Incoming::Last(chunk) => exchange.send(cx, chunk, true),
        Incoming::Trailers(trailers) => exchange.send_trailers(cx, &trailers),
        Incoming::End => exchange.send(cx, Chunk::Borrowed(b""), true),
    }
}

/// Bytes of an answer's body that are through, as the origin sent them: by these its pace is judged.
fn given(exchange: &Exchange, coder: &Option<Box<Coder>>) -> u64 {
    coder.as_ref().map_or(exchange.bytes_out(), |coder| coder.bytes().0)
}

fn held_beside(kept: &Option<Box<Kept>>, coder: &Option<Box<Coder>>) -> usize {
    let kept = kept.as_ref().map_or(0, |kept| kept.len());
    kept + coder.as_ref().map_or(0, |coder| coder.waiting())
}

/// Informational answers passed on for one request: a few hints and a 100 are usual, and each is held until
/// the visitor takes it.
const INFORMATIONAL_MAX: u32 = 32;

/// Attempts after the first, stale connections included: a bound on what a pool of closing servers can cost.
const RETRIES_MAX: u32 = 8;

fn ready(incoming: Incoming<'_>) -> Poll<Result<Incoming<'_>, Fault>> {
    Poll::Ready(Ok(incoming))
}

fn ms(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Edge {
    /// Sends the request to an origin of the pool and awaits the head of its final answer, with retries.
    pub(crate) async fn fetch(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        pool: &Arc<Pool>,
        response: &mut Response,
    ) -> Result<Answered, Failed> {
        let hash_key = self.hash_key(exchange, course, pool);
        let sticky = pool.sticky.as_ref().and_then(|sticky| cookie(exchange, sticky.cookie.as_bytes()));
        let is_idempotent =
            exchange.request.method.is_idempotent() && exchange.request.upgrade == Upgrade::No;
        let mut tried: Vec<usize> = Vec::new();
        let mut may_reuse = true;
        loop {
            let wanted = Wanted {
                pool,
                hash_key,
                sticky: sticky.as_deref(),
                tried: &tried,
                needs_http1: exchange.request.upgrade != Upgrade::No,
            };
            let chosen = match self.choose(exchange, course, &wanted).await {
                Ok(chosen) => chosen,
                Err(Failed::Fault(fault)) => return Err(Failed::Fault(course.fault.take().unwrap_or(fault))),
                Err(other) => return Err(other),
            };
            course.origin = Some(Arc::clone(pool));
            course.origin_index = chosen.index;
            course.origin_began_us = self.clock.now_us();
            course.note(Phase::Origin, trails::CHOSEN, chosen.index as u32, course.origin_began_us);
            let failure = match self.attempt(exchange, course, &chosen, pool, may_reuse, response).await {
                Ok((link, upload)) => {
                    chosen.succeeded();
                    self.metrics.origin_request(OriginOutcome::Ok);
                    return Ok(Answered { link, chosen, upload, kept: None });
                }
                Err(failure) => failure,
            };
            let fault = match failure.failed {
                Failed::Fault(fault) => fault,
                other => return Err(other),
            };
            self.metrics.origin_request(OriginOutcome::Fault);
            course.note(Phase::Origin, fault.as_str(), chosen.index as u32, self.clock.now_us());
            // A connection that the origin closed while idle is not the origin's failure and costs no budget;
            // a stream that it refuses is both.
            let is_stale = failure.was_stale;
            if !is_stale {
                chosen.failed(fault);
            }
            // Without a byte of an answer an idempotent request may be sent again (RFC 9110 §9.2.2); not
            // after a time-out, since whoever waits that long would wait as long again.
            let is_own = matches!(fault, Fault::ProxyInternalError | Fault::ProxyConfigurationError);
            let is_timeout = fault == Fault::HttpResponseTimeout || is_own;
            let is_safe = failure.is_unworked
                || is_idempotent && !is_timeout && (failure.may_retry || failure.is_unanswered);
            let is_body_whole = exchange.is_body_whole();
            let is_in_budget = || {
                (tried.len() as u64) < u64::from(pool.retries.max)
                    && self.origins.take_retry(pool, self.clock.now_ms())
            };
            if !is_safe || !is_body_whole || course.retries >= RETRIES_MAX || !(is_stale || is_in_budget()) {
                return Err(Failed::Fault(fault));
            }
            if is_stale {
                may_reuse = false;
            } else {
                tried.push(chosen.index);
                course.fault = Some(fault);
            }
            course.retries += 1;
            self.metrics.origin_retry();
            response.clear();
        }
    }

    async fn attempt(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        chosen: &Chosen,
        pool: &Arc<Pool>,
        may_reuse: bool,
        response: &mut Response,
    ) -> Result<(Link, Upload), Attempt> {
        // Connecting is the rare path: boxed, so that its state does not make every exchange larger.
        // A connection from the pool may be closed by the origin at this very moment. A request that must not
        // be sent twice takes one only if that cannot be, and a fresh one otherwise.
        // A body that is on its way cannot be sent twice either: nothing of it is kept.
        let may_repeat = exchange.request.method.is_idempotent()
            && exchange.request.upgrade == Upgrade::No
            && matches!(exchange.request.body, BodySize::None | BodySize::Length(0));
        let reused = if may_reuse { self.origins.reuse(chosen, may_repeat) } else { None };
        let mut link = match reused {
            Some(link) => link,
            None => {
                let local = exchange.connection.local;
                let unmade = |failed| Attempt {
                    failed,
                    may_retry: true,
                    is_unanswered: true,
                    is_unworked: true,
                    was_stale: false,
                };
                let mut opening =
                    Box::pin(self.origins.open(chosen, may_reuse && may_repeat, course.visitor, local));
                // Who leaves meanwhile takes the connection along: else streams that are opened and given up
                // at once (rapid reset) would each have one made for as long as an origin may take for it.
                poll_fn(|cx| {
                    if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                        return Poll::Ready(opened.map_err(|fault| unmade(Failed::Fault(fault))));
                    }
                    exchange.poll_gone(cx).map(|gone| Err(unmade(gone.into())))
                })
                .await?
            }
        };
        let was_reused = link.is_reused();
        self.metrics.origin_connection(match was_reused {
            true => OriginConnection::Reused,
            false => OriginConnection::New,
        });
        let site = course.site.clone();
        let http = site.as_ref().map(|site| &site.zone.http);
        let mut upload = Upload {
            is_done: exchange.request.body == BodySize::None && exchange.request.upgrade != Upgrade::Extended,
            is_refused: false,
            bytes: 0,
            bytes_max: http.and_then(|http| http.max_body_bytes).unwrap_or(u64::MAX),
            moved: false,
            is_held: false,
            tail: course.beside.as_ref().and_then(|beside| beside.tail.as_ref()).map(Tail::new),
        };
        // An extended CONNECT's stream carries the tunnel, not a body.
        if exchange.request.upgrade == Upgrade::Extended {
            upload.is_done = true;
        }
        let fail = |failed, link: &Link| Attempt {
            failed,
            may_retry: link.may_retry(),
            is_unanswered: link.bytes_received() == 0,
            is_unworked: link.was_not_worked_on(),
            was_stale: link.was_stale(),
        };
        let own = || chosen.origin().map_or(&b""[..], |origin| origin.authority.as_bytes());
        let choices = course.rules.choices.clone();
        let steered = choices.as_ref().and_then(|choices| choices.host.as_deref());
        let host = match &pool.host {
            _ if steered.is_some() => steered.unwrap_or_default(),
            // HTTP/1.0 needs none, and what goes out is HTTP/1.1, where an empty one is refused by many.
            zone::HostHeader::Keep if exchange.request.authority().is_empty() => own(),
            zone::HostHeader::Keep => exchange.request.authority(),
            zone::HostHeader::Set(host) => host.as_bytes(),
            zone::HostHeader::Origin => own(),
        };
        // Over HTTP/2 the origin sees neither the key nor the method: nobody behind this could judge them.
        let is_translated = exchange.request.upgrade == Upgrade::Http1 && link.is_http2();
        if is_translated && !is_websocket_handshake(&exchange.request) {
            let refused = Failed::Refused(Refusal::Malformed, "a WebSocket's handshake that is not whole");
            return Err(fail(refused, &link));
        }
        if let Err(fault) = link.begin(&exchange.request, host) {
            return Err(fail(Failed::Fault(fault), &link));
        }
        let (idle_ms, rate) = http.map_or((60_000, 0), |http| (http.body_idle_ms, http.min_rate_bytes_per_s));
        let chosen_ms = course.rules.config().first_byte_ms;
        let first_byte_ms = ms(chosen_ms.unwrap_or(pool.timeouts.first_byte_ms));
        let mut is_awaiting = upload.is_done;
        let mut informed = 0;
        let mut pace = Pace::begin(idle_ms, rate, self.clock.now_ms(), &exchange.deadline);
        // When the request was whole.
        let mut sent_us = if was_reused { course.origin_began_us } else { self.clock.now_us() };
        if is_awaiting {
            exchange.deadline.arm(first_byte_ms);
        }
        loop {
            let got = poll_fn(|cx| -> Poll<Result<(), Failed>> {
                exchange.deadline.register(cx.waker());
                if !is_awaiting {
                    match upload.poll(cx, exchange, &mut link) {
                        Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                        Poll::Ready(Ok(())) => {
                            is_awaiting = true;
                            sent_us = self.clock.now_us();
                            exchange.deadline.arm(first_byte_ms);
                        }
                        Poll::Pending => {
                            let now_ms = self.clock.now_ms();
                            pace.held(upload.is_held, now_ms);
                            if std::mem::take(&mut upload.moved)
                                && !pace.moved(upload.bytes, now_ms, &exchange.deadline)
                            {
                                return Poll::Ready(Err(too_slow()));
                            }
                        }
                    }
                }
                if let Poll::Ready(result) = link.poll_head(cx, response) {
                    return Poll::Ready(result.map_err(Failed::Fault));
                }
                if upload.is_done
                    && let Poll::Ready(gone) = exchange.poll_gone(cx)
                {
                    return Poll::Ready(Err(gone.into()));
                }
                if exchange.deadline.is_due() {
                    if !is_awaiting && pace.may_go_on(upload.bytes, self.clock.now_ms(), &exchange.deadline) {
                        return Poll::Pending;
                    }
                    let is_origins = is_awaiting || link.poll_ready(cx).is_pending();
                    if !is_origins {
                        return Poll::Ready(Err(too_slow()));
                    }
                    link.suspect();
                    return Poll::Ready(Err(Failed::Fault(match is_awaiting {
                        true => Fault::HttpResponseTimeout,
                        false => Fault::ConnectionWriteTimeout,
                    })));
                }
                Poll::Pending
            })
            .await;
            match got {
                Err(failed) => return Err(fail(failed, &link)),
                Ok(()) if response.is_informational() && response.status != 101 => {
                    informed += 1;
                    if informed > INFORMATIONAL_MAX {
                        return Err(fail(Failed::Fault(Fault::HttpProtocolError), &link));
                    }
                    poll_fn(|cx| {
                        exchange.inform(cx, response);
                        Poll::Ready(())
                    })
                    .await;
                    response.clear();
                }
                Ok(()) => break,
            }
        }
        if response.status == 101 && exchange.request.upgrade != Upgrade::Http1 {
            return Err(fail(Failed::Fault(Fault::HttpUpgradeFailed), &link));
        }
        chosen.began(sent_us, self.clock.now_us());
        Ok((link, upload))
    }

    /// Gives the answer's head and streams its body, and the rest of the request's body meanwhile.
    pub(crate) async fn deliver(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        answered: Answered,
        response: &Response,
    ) {
        let Answered { mut link, chosen, mut upload, mut kept } = answered;
        let mut coder = course.coding.as_mut().and_then(|coding| coding.take_coder());
        let timeouts = chosen.pool().timeouts;
        let (idle_ms, rate) = (timeouts.idle_ms, timeouts.min_rate_bytes_per_s);
        let visitor_idle_ms = course.site.as_ref().map_or(60_000, |site| site.zone.http.body_idle_ms);
        let mut pace = Pace::begin(idle_ms, rate, self.clock.now_ms(), &exchange.deadline);
        let is_tunnel = match exchange.request.upgrade {
            Upgrade::No => false,
            Upgrade::Http1 => response.status == 101,
            Upgrade::Extended => (200..300).contains(&response.status),
        };
        poll_fn(|cx| {
            exchange.respond(cx, response);
            Poll::Ready(())
        })
        .await;
        if is_tunnel {
            let silent_ms = course.site.as_ref().map_or(3_600_000, |site| site.zone.http.upgrade_idle_ms);
            return Box::pin(tunnel(exchange, &mut link, ms(silent_ms), ms(visitor_idle_ms))).await;
        }
        if response.body == BodySize::None {
            // Reads whatever ends the message, so that the connection can be used again.
            link.finish();
            return;
        }
        let mut is_visitor_slow = false;
        let mut moved_bytes = 0;
        let ended = poll_fn(|cx| -> Poll<Result<(), Failed>> {
            exchange.deadline.register(cx.waker());
            if !upload.is_done {
                match upload.poll(cx, exchange, &mut link) {
                    Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                    _ if upload.moved => {
                        upload.moved = false;
                        pace.forgive(); // an answer that waits for its request has no rate of its own
                        pace.moved(given(exchange, &coder), self.clock.now_ms(), &exchange.deadline);
                    }
                    _ => {}
                }
            }
            let mut turn = Turn::default();
            loop {
                is_visitor_slow = true;
                match exchange.poll_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => {
                        pace.forgive();
                        // A visitor that reads slowly takes a piece in many steps, and each is progress.
                        if std::mem::replace(&mut moved_bytes, exchange.bytes_moved())
                            != exchange.bytes_moved()
                        {
                            pace.moved(given(exchange, &coder), self.clock.now_ms(), &exchange.deadline);
                        }
                        break;
                    }
                }
                is_visitor_slow = false;
                let step = if let Some(coder) = coder.as_mut().filter(|coder| coder.has_work()) {
                    Poll::Ready(coder.step().map_err(|_| self.coding_broke()))
                } else {
                    let again = kept.as_mut().and_then(|kept| kept.give());
                    if again.is_none() {
                        kept = None;
                    }
                    with_scratch(|scratch| {
                        let scratch = front(scratch, coder.is_some());
                        match again.map_or_else(|| link.poll_body(cx, scratch), ready) {
                            Poll::Pending => Poll::Pending,
                            Poll::Ready(Err(fault)) => Poll::Ready(Err(Failed::Fault(fault))),
                            Poll::Ready(Ok(incoming)) => Poll::Ready(match &mut coder {
                                Some(coder) => coder.take(incoming).map_err(|_| self.coding_broke()),
                                None => {
                                    pass(cx, exchange, incoming);
                                    Ok(())
                                }
                            }),
                        }
                    })
                };
                match step {
                    Poll::Pending => {
                        // Nothing more is at hand: what there is leaves now (events, a head before a pause).
                        if let Some(coder) = &mut coder
                            && coder.flush().map_err(|_| self.coding_broke())?
                        {
                            coder.give(cx, exchange);
                        }
                        match exchange.poll_flush(cx) {
                            Poll::Ready(flushed) => flushed?,
                            Poll::Pending => is_visitor_slow = true,
                        }
                        if upload.is_done
                            && let Poll::Ready(gone) = exchange.poll_gone(cx)
                        {
                            return Poll::Ready(Err(gone.into()));
                        }
                        break;
                    }
                    Poll::Ready(result) => result?,
                }
                if let Some(coder) = &mut coder {
                    coder.give(cx, exchange);
                }
                exchange.hold_also(held_beside(&kept, &coder));
                if exchange.state() != ResponseState::Streaming {
                    return Poll::Ready(Ok(()));
                }
                if !pace.moved(given(exchange, &coder), self.clock.now_ms(), &exchange.deadline) {
                    return Poll::Ready(Err(Failed::Fault(Fault::ConnectionReadTimeout)));
                }
                if coder.as_mut().is_some_and(|coder| coder.must_rest()) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if turn.is_over(cx) {
                    return Poll::Pending;
                }
            }
            pace.wait_for(if is_visitor_slow { visitor_idle_ms } else { idle_ms }, &exchange.deadline);
            if exchange.deadline.is_due()
                && !pace.may_go_on(given(exchange, &coder), self.clock.now_ms(), &exchange.deadline)
            {
                if is_visitor_slow {
                    exchange.blame(Abuse::SlowRead);
                    return Poll::Ready(Err(Failed::Gone));
                }
                return Poll::Ready(Err(Failed::Fault(Fault::ConnectionReadTimeout)));
            }
            Poll::Pending
        })
        .await;
        if let Some(coder) = &coder {
            let (bytes_in, bytes_out) = coder.bytes();
            self.metrics.coded(label_of(coder.coding()), bytes_in, bytes_out);
        }
        match ended {
            Ok(()) if exchange.state() == ResponseState::Complete => link.finish(),
            Ok(()) => course.fault = Some(Fault::HttpResponseIncomplete),
            Err(Failed::Fault(fault)) => {
                course.fault = Some(fault);
                exchange.abort();
            }
            Err(Failed::Refused(refusal, reason)) => {
                course.refusal = Some(refusal);
                course.reason = reason;
                exchange.abort();
            }
            Err(Failed::Gone) => {
                course.is_visitor_gone = true;
                exchange.abort();
            }
        }
    }

    /// How an answer ends whose encoder broke after its head was out.
    fn coding_broke(&self) -> Failed {
        self.metrics.coding_failed();
        Failed::Fault(Fault::ProxyInternalError)
    }

    /// The key of consistent hashing, as the pool asks for it.
    fn hash_key(&self, exchange: &Exchange, course: &Course, pool: &Pool) -> u64 {
        let zone::Balance::Hash { key, .. } = &pool.balance else { return 0 };
        let request = &exchange.request;
        match key {
            zone::HashKey::Address => match course.visitor.ip() {
                std::net::IpAddr::V4(v4) => fnv(&v4.octets()),
                std::net::IpAddr::V6(v6) => fnv(&v6.octets()),
            },
            zone::HashKey::Path => fnv(request.path()),
            zone::HashKey::Uri => fnv(request.target()),
            zone::HashKey::Header(name) => fnv(request.fields.value(name.as_bytes()).unwrap_or_default()),
            zone::HashKey::Cookie(name) => fnv(&cookie(exchange, name.as_bytes()).unwrap_or_default()),
        }
    }
}

/// FNV-1a with a final mix: the same on every node, so that nodes send a key to the same origin.
fn fnv(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The value of a cookie the visitor sent.
fn cookie(exchange: &Exchange, name: &[u8]) -> Option<Vec<u8>> {
    exchange
        .request
        .fields
        .all_known(exchange::Known::Cookie)
        .flat_map(|value| value.split(|byte| *byte == b';'))
        .find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=").map(<[u8]>::to_vec))
}

/// Why one attempt failed, and whether another may follow.
struct Attempt {
    failed: Failed,
    may_retry: bool,
    /// No byte of an answer came.
    is_unanswered: bool,
    /// It is certain that the origin has not worked on the request.
    is_unworked: bool,
    /// A connection from before took no more.
    was_stale: bool,
}

/// Bytes both ways until both sides have ended, one breaks, or silence lasts too long. Of a visitor for whom
/// something waits it lasts too long after `unread_ms`, whatever it sends meanwhile.
async fn tunnel(exchange: &mut Exchange, link: &mut Link, silent_ms: u32, unread_ms: u32) {
    exchange.become_tunnel();
    link.into_tunnel();
    exchange.deadline.arm(silent_ms);
    let (mut is_up_done, mut is_down_done) = (false, false);
    // What the visitor had taken when something of it began to wait.
    let mut waits_since: Option<u64> = None;
    poll_fn(|cx| -> Poll<()> {
        exchange.deadline.register(cx.waker());
        let mut moved = false;
        while !is_up_done {
            match link.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
            let step = with_scratch(|scratch| match exchange.poll_body(cx, scratch) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Incoming::Data(chunk))) => Poll::Ready(link.send(cx, chunk, false).is_ok()),
                Poll::Ready(Ok(Incoming::Last(chunk))) => {
                    is_up_done = true;
                    Poll::Ready(link.send(cx, chunk, true).is_ok())
                }
                Poll::Ready(Ok(Incoming::Trailers(_) | Incoming::End)) => {
                    is_up_done = true;
                    Poll::Ready(link.send(cx, Chunk::Borrowed(b""), true).is_ok())
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
            });
            match step {
                Poll::Pending => break,
                Poll::Ready(true) => moved = true,
                Poll::Ready(false) => return Poll::Ready(()),
            }
        }
        if is_up_done && matches!(link.poll_ready(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        let mut is_unread = false;
        while !is_down_done {
            match exchange.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    is_unread = true;
                    break;
                }
            }
            let step = with_scratch(|scratch| match link.poll_body(cx, scratch) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Incoming::Data(chunk))) => {
                    exchange.send(cx, chunk, false);
                    Poll::Ready(true)
                }
                Poll::Ready(Ok(Incoming::Last(chunk))) => {
                    is_down_done = true;
                    exchange.send(cx, chunk, true);
                    Poll::Ready(true)
                }
                Poll::Ready(Ok(Incoming::Trailers(_) | Incoming::End)) => {
                    is_down_done = true;
                    exchange.send(cx, Chunk::Borrowed(b""), true);
                    Poll::Ready(true)
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
            });
            match step {
                Poll::Pending => {
                    match exchange.poll_flush(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => is_unread = true,
                    }
                    break;
                }
                Poll::Ready(true) => moved = true,
                Poll::Ready(false) => return Poll::Ready(()),
            }
        }
        let taken = exchange.bytes_moved();
        match waits_since {
            Some(before) if is_unread && before == taken => {
                if exchange.deadline.is_due() {
                    exchange.blame(Abuse::SlowRead);
                    return Poll::Ready(());
                }
            }
            _ if is_unread => {
                waits_since = Some(taken);
                exchange.deadline.arm(unread_ms.min(silent_ms));
            }
            _ => {
                let waited = waits_since.take().is_some();
                if moved || waited {
                    exchange.deadline.arm(silent_ms);
                }
            }
        }
        // After the end of its stream only a reset tells that the visitor left; over HTTP/1 the FIN was read.
        let is_multiplexed = exchange.protocol() != exchange::Protocol::Http1;
        if is_up_done && is_multiplexed && exchange.poll_gone(cx).is_ready() {
            return Poll::Ready(());
        }
        let is_whole = is_up_done && is_down_done && link.poll_ready(cx).is_ready();
        if is_whole || exchange.deadline.is_due() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    if exchange.state() == ResponseState::Streaming {
        exchange.abort();
    }
}

#[cfg(test)]
mod tests;
