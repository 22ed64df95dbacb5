//! Delivery of a stored answer: shared pieces, read at the visitor's own pace, never copied.
//!
//! The object may still fill, by whoever's fetch: the visitor follows it. Large objects lie in slices, each
//! found, waited for or fetched when its turn comes (`slices.rs`). Called by `pipeline.rs` once the head is
//! dressed. Read next: [`Edge::give_stored`].

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use cache::engine::{Serving, Slices};
use cache::policy::{ByteRange, Sending};
use cache::store::{Object, Piece, Reader};
use exchange::{BodySize, Chunk, Fault, Refusal, Response};
use wire::Exchange;

use super::Aim;
use super::slices::Slice;
use crate::course::Course;
use crate::pace::Turn;
use crate::pipeline::Edge;
use crate::relay::{Answered, Failed};
use crate::waf::WITHHELD;

/// An answer out of the store on its way to one visitor.
pub(crate) struct Stored {
    pub(super) serving: Box<Serving>,
    /// Made when the fetch's head came, for the whole.
    pub(super) reader: Option<Reader>,
    /// The first slice, in hand before the head is given: with its number.
    pub(super) first: Option<(u64, Slice)>,
}

impl Stored {
    /// The head to dress and give.
    pub(crate) fn take_head(&mut self) -> Response {
        std::mem::take(&mut self.serving.answer)
    }
}

/// A part of the body.
enum Part {
    Text(Bytes),
    Range(ByteRange),
    /// From the beginning to wherever it ends.
    Whole,
}

fn parts_of(sending: Sending) -> Vec<Part> {
    match sending {
        Sending::Nothing => Vec::new(),
        Sending::Whole => vec![Part::Whole],
        Sending::Range(range) => vec![Part::Range(range)],
        Sending::Parts(multipart) => {
            let mut parts = Vec::with_capacity(2 * multipart.parts.len() + 1);
            for (text, range) in multipart.parts {
                parts.extend([Part::Text(text.into()), Part::Range(range)]);
            }
            parts.push(Part::Text(multipart.end.into()));
            parts
        }
    }
}

/// The first bytes that are asked for, of a body of this length.
pub(super) fn first_range(sending: &Sending, whole: u64) -> Option<ByteRange> {
    match sending {
        Sending::Nothing => None,
        Sending::Whole => Some(ByteRange { first: 0, last: whole.checked_sub(1)? }),
        Sending::Range(range) => Some(*range),
        Sending::Parts(multipart) => multipart.parts.first().map(|(_, range)| *range),
    }
}

impl Edge {
    /// Gives an answer's head and the bytes of the store that belong to it.
    pub(crate) async fn give_stored(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        stored: Stored,
        response: &Response,
        aim: &Aim,
    ) {
        let Stored { serving, reader, first } = stored;
        exchange.gives_stored();
        poll_fn(|cx| {
            exchange.respond(cx, response);
            Poll::Ready(())
        })
        .await;
        if response.body == BodySize::None {
            return;
        }
        let Serving { sending, object, slices, .. } = *serving;
        let given = match slices {
            Some(slices) => {
                let slices = Rc::new(*slices);
                self.give_slices(exchange, course, &slices, parts_of(sending), first, aim).await
            }
            None => self.give_parts(exchange, course, &object, parts_of(sending), reader).await,
        };
        exchange.deadline.disarm();
        match given {
            Ok(()) if exchange.state() == wire::ResponseState::Complete => {}
            Ok(()) => {
                course.fault = Some(Fault::HttpResponseIncomplete);
                exchange.abort();
            }
            Err(Failed::Gone) => {
                course.is_visitor_gone = true;
                exchange.abort();
            }
            Err(Failed::Fault(fault)) => {
                course.fault = Some(fault);
                exchange.abort();
            }
            Err(Failed::Refused(refusal, reason)) => {
                (course.refusal, course.reason) = (Some(refusal), reason);
                exchange.abort();
            }
        }
    }

    async fn give_parts(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        object: &std::sync::Arc<Object>,
        parts: Vec<Part>,
        reader: Option<Reader>,
    ) -> Result<(), Failed> {
        let mut reader = reader;
        let count = parts.len();
        for (place, part) in parts.into_iter().enumerate() {
            let is_last = place + 1 == count;
            match part {
                Part::Text(text) => self.give_text(exchange, course, text, is_last).await?,
                Part::Whole => {
                    let reader = reader.take().or_else(|| object.reader(0));
                    self.give_read(exchange, course, reader, None, is_last).await?;
                }
                Part::Range(range) => {
                    let reader = object.reader(range.first);
                    self.give_read(exchange, course, reader, Some(range.bytes_len()), is_last).await?;
                }
            }
        }
        Ok(())
    }

    async fn give_slices(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        slices: &Rc<Slices>,
        parts: Vec<Part>,
        first: Option<(u64, Slice)>,
        aim: &Aim,
    ) -> Result<(), Failed> {
        let mut first = first;
        let count = parts.len();
        for (place, part) in parts.into_iter().enumerate() {
            let is_last = place + 1 == count;
            let range = match part {
                Part::Text(text) => {
                    self.give_text(exchange, course, text, is_last).await?;
                    continue;
                }
                Part::Whole => ByteRange { first: 0, last: slices.whole().saturating_sub(1) },
                Part::Range(range) => range,
            };
            for (number, inner) in slices.needed(range) {
                let is_end = is_last && Some((number, inner)) == slices.needed(range).last();
                let slice = match first.take_if(|(first, _)| *first == number) {
                    Some((_, slice)) => slice,
                    None => self.slice(exchange, course, slices, (number, true), aim).await?,
                };
                match slice {
                    Slice::Stored(object, reader) => {
                        let reader = match inner.first {
                            0 => reader.or_else(|| object.reader(0)),
                            first => object.reader(first),
                        };
                        let bytes = Some(inner.bytes_len());
                        self.give_read(exchange, course, reader, bytes, is_end).await?;
                    }
                    Slice::Passed(answered) => {
                        self.give_passed(exchange, course, *answered, inner, is_end).await?;
                    }
                    Slice::KeptBack => return Err(Failed::Refused(Refusal::WafWithheld, WITHHELD)),
                    // Half of one version and half of another is neither: the answer is cut off.
                    Slice::OtherVersion | Slice::Unasked | Slice::Failed(_) => {
                        return Err(Failed::Fault(Fault::HttpResponseIncomplete));
                    }
                }
            }
        }
        Ok(())
    }

    async fn give_text(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        text: Bytes,
        is_last: bool,
    ) -> Result<(), Failed> {
        let mut text = Some(text);
        self.give_pieces(exchange, course, |_, _| Poll::Ready(Ok(text.take().map(|text| (text, is_last)))))
            .await
    }

    /// Gives so many bytes of what a reader reads, or all to its end.
    async fn give_read(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        reader: Option<Reader>,
        bytes: Option<u64>,
        is_last: bool,
    ) -> Result<(), Failed> {
        // None when too many read it as it fills.
        let Some(mut reader) = reader else { return Err(Failed::Fault(Fault::ConnectionLimitReached)) };
        let mut left = bytes;
        // A declared length is known before the last piece is; without one, the end is a piece of its own.
        let whole = reader.object().body_bytes();
        let mut is_ended = false;
        self.give_pieces(exchange, course, |cx, _| {
            if is_ended || left == Some(0) {
                return Poll::Ready(Ok(None));
            }
            match ready!(reader.poll_piece(cx.waker())) {
                Piece::Bytes(mut piece) => {
                    if let Some(left) = &mut left {
                        piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= piece.len() as u64;
                    }
                    let at_end = left == Some(0)
                        || left.is_none() && whole == Some(reader.offset()) && reader.object().is_whole();
                    is_ended = at_end;
                    Poll::Ready(Ok(Some((piece, is_last && at_end))))
                }
                Piece::End if left.is_none_or(|left| left == 0) => {
                    is_ended = true;
                    Poll::Ready(Ok(Some((Bytes::new(), is_last))))
                }
                // Shorter than it said it would be; or its fetch failed; or this visitor was too slow.
                Piece::End | Piece::Aborted | Piece::Behind => {
                    Poll::Ready(Err(Failed::Fault(Fault::HttpResponseIncomplete)))
                }
            }
        })
        .await
    }

    /// Gives the wanted bytes of an answer that is not stored.
    async fn give_passed(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        answered: Answered,
        wanted: ByteRange,
        is_last: bool,
    ) -> Result<(), Failed> {
        let (mut answered, mut at, mut is_ended) = (answered, 0_u64, false);
        let given = self
            .give_pieces(exchange, course, |cx, scratch| {
                loop {
                    if is_ended || at > wanted.last {
                        return Poll::Ready(Ok(None));
                    }
                    let (piece, is_end) =
                        match ready!(answered.poll_body(cx, scratch)).map_err(Failed::Fault)? {
                            exchange::Incoming::Data(chunk) => (chunk.into_shared(), false),
                            exchange::Incoming::Last(chunk) => (chunk.into_shared(), true),
                            exchange::Incoming::Trailers(_) | exchange::Incoming::End => (Bytes::new(), true),
                        };
                    let end = at + piece.len() as u64;
                    let from = wanted.first.max(at).min(end) - at;
                    let to = wanted.last.saturating_add(1).min(end).max(at + from) - at;
                    let part = piece.slice(from as usize..to as usize);
                    at = end;
                    is_ended = is_end;
                    if is_end && at <= wanted.last {
                        return Poll::Ready(Err(Failed::Fault(Fault::HttpResponseIncomplete)));
                    }
                    if !part.is_empty() {
                        return Poll::Ready(Ok(Some((part, is_last && at > wanted.last))));
                    }
                }
            })
            .await;
        if given.is_ok() && is_ended {
            answered.finish();
        }
        given
    }

    /// Gives pieces until there is none, each when the visitor has room. `next` gives the next piece and
    /// whether it is the answer's last.
    async fn give_pieces(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        mut next: impl FnMut(
            &mut std::task::Context<'_>,
            &mut [u8],
        ) -> Poll<Result<Option<(Bytes, bool)>, Failed>>,
    ) -> Result<(), Failed> {
        let idle_ms = course.site.as_ref().map_or(60_000, |site| site.zone.http.body_idle_ms);
        let idle_ms = u32::try_from(idle_ms).unwrap_or(u32::MAX);
        let mut moved_bytes = exchange.bytes_moved();
        let mut is_waiting_for_visitor = false;
        poll_fn(|cx| {
            exchange.deadline.register(cx.waker());
            let mut turn = Turn::default();
            loop {
                match exchange.poll_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => {
                        let moved = exchange.bytes_moved();
                        // A visitor that reads slowly takes a piece in many steps, and each is progress.
                        let has_moved = std::mem::replace(&mut moved_bytes, moved) != moved;
                        if has_moved || !std::mem::replace(&mut is_waiting_for_visitor, true) {
                            exchange.deadline.arm(idle_ms);
                        } else if exchange.deadline.is_due() {
                            exchange.blame(wire::Abuse::SlowRead);
                            return Poll::Ready(Err(Failed::Gone));
                        }
                        return Poll::Pending;
                    }
                }
                if std::mem::take(&mut is_waiting_for_visitor) {
                    exchange.deadline.disarm();
                }
                let piece = wire::with_scratch(|scratch| next(cx, scratch));
                match piece {
                    Poll::Ready(Ok(Some((piece, is_last)))) => {
                        exchange.send(cx, Chunk::Shared(piece), is_last);
                        if is_last {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                    // Its fetch has bounds of its own.
                    Poll::Pending => {
                        if let Poll::Ready(Err(gone)) = exchange.poll_flush(cx) {
                            return Poll::Ready(Err(gone.into()));
                        }
                        return exchange.poll_gone(cx).map(|gone| Err(gone.into()));
                    }
                }
                if exchange.state() != wire::ResponseState::Streaming {
                    return Poll::Ready(Ok(()));
                }
                if turn.is_over(cx) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}
