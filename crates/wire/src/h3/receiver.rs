//! The receiving half of a request's stream.
//!
//! Reads from quinn what is there, cuts it into events with `http3`, and hands bodies on. Nothing is read
//! ahead of what is asked for, so that the stream's flow control holds the visitor back. Caller: `h3.rs` for
//! bodies, `h3/request.rs` for heads and for the rest that nobody read.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::{Chunk, Fields, Incoming, Refusal};
use http3::{Broken, Code, Event, RequestStream, decode_trailers};
use quinn::RecvStream;

use super::connection::Shared;
use super::sender::number;
use crate::limits::HTTP3;
use crate::{Abuse, Gone};

/// Pieces taken from quinn with one lock: a window of datagrams, some 40 KiB.
const PIECES: usize = 32;

/// Reads frames from one request stream. Dropped before its end it stops the stream without an error: quinn's
/// own drop would send code 0, which is none of HTTP/3's.
pub(super) struct Receiver {
    stream: RecvStream,
    parser: RequestStream,
    shared: Rc<Shared>,
    /// An event that was read while a piece was gathered, and what is wrong for good.
    next: Option<Event>,
    failed: Option<Gone>,
    /// The body has ended; the stream has.
    is_body_done: bool,
    is_over: bool,
}

/// Why no head came of a stream.
pub(super) enum NoHead {
    /// The visitor reset the stream or left, or the connection was closed for its errors.
    Gone,
    /// It is malformed, for this reason.
    Malformed(Code, &'static str),
    /// It is larger than its limit.
    TooLarge,
}

impl Receiver {
    pub(super) fn new(stream: RecvStream, shared: Rc<Shared>) -> Self {
        Self {
            stream,
            parser: RequestStream::new(&HTTP3),
            shared,
            next: None,
            failed: None,
            is_body_done: false,
            is_over: false,
        }
    }

    /// Whether no more of a body comes.
    pub(super) fn is_body_done(&self) -> bool {
        self.is_body_done
    }

    /// What the head declared.
    pub(super) fn parser(&mut self) -> &mut RequestStream {
        &mut self.parser
    }

    /// The connection this is a stream of.
    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// The next event, as the parser has it.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, NoHead>> {
        if let Some(event) = self.next.take() {
            return Poll::Ready(Ok(event));
        }
        if self.failed.is_some() {
            return Poll::Ready(Err(NoHead::Gone));
        }
        loop {
            match self.parser.next() {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) if self.is_over => return Poll::Ready(Ok(Event::End)),
                Ok(None) => {}
                Err(Broken::Connection(code, why)) => {
                    self.shared.close(code, why);
                    self.failed = Some(Gone::Left);
                    return Poll::Ready(Err(NoHead::Gone));
                }
                Err(Broken::Stream(code, why)) => return Poll::Ready(Err(NoHead::Malformed(code, why))),
                Err(Broken::TooLarge) => return Poll::Ready(Err(NoHead::TooLarge)),
            }
            let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
            let read = ready!(pin!(self.stream.read_chunks(&mut pieces)).poll(cx));
            match read {
                Ok(Some(count)) => pieces.into_iter().take(count).for_each(|piece| self.parser.push(piece)),
                Ok(None) => {
                    self.is_over = true;
                    self.parser.push_end();
                }
                Err(_) => {
                    // Kept, because quinn would call it a clean end when asked again.
                    self.is_over = true;
                    self.failed = Some(Gone::Left);
                    return Poll::Ready(Err(NoHead::Gone));
                }
            }
        }
    }

    /// The head's field section.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, NoHead>> {
        match ready!(self.poll_event(cx))? {
            Event::Head(section) => Poll::Ready(Ok(section)),
            // The parser gives nothing before the head, and an end without one is malformed.
            _ => Poll::Ready(Err(NoHead::Gone)),
        }
    }

    /// Looks whether the stream ends with its head, as far as can be told without waiting.
    pub(super) fn look_for_end(&mut self, cx: &mut Context<'_>) -> Result<(), NoHead> {
        match self.poll_event(cx) {
            Poll::Ready(Ok(Event::End)) => self.is_body_done = true,
            Poll::Ready(Ok(event)) => self.next = Some(event),
            Poll::Ready(Err(why)) => return Err(why),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// A visitor's error that ends this stream alone.
    fn fail(&mut self, refusal: Refusal, code: Code) -> Gone {
        let gone = Gone::Malformed(refusal);
        self.failed = Some(gone);
        self.stop(code);
        self.shared.spend(match refusal {
            Refusal::HeadTooLarge => Abuse::Heads,
            _ => Abuse::Resets,
        });
        gone
    }

    /// What it was ended for, if that is a visitor's error.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.failed {
            Some(Gone::Malformed(refusal)) => Some(refusal),
            _ => None,
        }
    }

    fn gone(&mut self, why: NoHead) -> Gone {
        match (why, self.failed) {
            (_, Some(gone)) => gone,
            (NoHead::Gone, None) => Gone::Left,
            (NoHead::Malformed(code, _), None) => self.fail(Refusal::Malformed, code),
            (NoHead::TooLarge, None) => self.fail(Refusal::HeadTooLarge, Code::ExcessiveLoad),
        }
    }

    /// The next piece of the body. One piece alone passes as quinn holds it; several are put together in
    /// `scratch`, because whoever takes them pays for each piece.
    pub(super) fn poll_body<'a>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<Result<Incoming<'a>, Gone>> {
        if let Some(gone) = self.failed {
            return Poll::Ready(Err(gone));
        }
        if self.is_body_done {
            return Poll::Ready(Ok(Incoming::End));
        }
        let first = match ready!(self.poll_event(cx)) {
            Ok(Event::Data(first)) => first,
            Ok(Event::Trailers(section)) => return Poll::Ready(self.trailers(&section)),
            Ok(Event::End | Event::Head(_)) => {
                self.is_body_done = true;
                return Poll::Ready(Ok(Incoming::End));
            }
            Err(why) => return Poll::Ready(Err(self.gone(why))),
        };
        let mut filled = 0;
        loop {
            match self.poll_event(cx) {
                Poll::Ready(Ok(Event::Data(more))) => {
                    let fits = put(scratch, &mut filled, &first, &more);
                    if !fits {
                        self.next = Some(Event::Data(more));
                        break;
                    }
                }
                Poll::Ready(Ok(Event::End)) => {
                    self.is_body_done = true;
                    break;
                }
                Poll::Ready(Ok(event)) => {
                    self.next = Some(event);
                    break;
                }
                // The parser and `failed` say it again at the next call.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        let chunk = match filled {
            0 => Chunk::Shared(first),
            _ => Chunk::Borrowed(scratch.get(..filled).unwrap_or_default()),
        };
        Poll::Ready(Ok(match self.is_body_done {
            true => Incoming::Last(chunk),
            false => Incoming::Data(chunk),
        }))
    }

    fn trailers<'a>(&mut self, section: &[u8]) -> Result<Incoming<'a>, Gone> {
        let mut fields = Box::new(Fields::new());
        match decode_trailers(section, &HTTP3, &mut |name, value| fields.push(name, value)) {
            Ok(()) => {
                self.is_body_done = true;
                Ok(Incoming::Trailers(fields))
            }
            Err(Broken::Connection(code, why)) => {
                self.shared.close(code, why);
                self.failed = Some(Gone::Left);
                Err(Gone::Left)
            }
            Err(Broken::Stream(code, _)) => Err(self.fail(Refusal::Malformed, code)),
            Err(Broken::TooLarge) => Err(self.fail(Refusal::HeadTooLarge, Code::ExcessiveLoad)),
        }
    }

    /// Reads and throws away what comes, up to `left` bytes. Ready when the stream has ended, broke, or said
    /// more than that; [`Receiver::refusal`] says whether it broke for a visitor's error.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        loop {
            if self.is_over && self.next.is_none() {
                return Poll::Ready(());
            }
            match ready!(self.poll_event(cx)) {
                Ok(Event::Data(piece)) if piece.len() < *left => *left -= piece.len(),
                Ok(Event::Trailers(section)) if self.trailers(&section).is_ok() => {}
                Ok(Event::Head(_)) => {}
                Ok(Event::Data(_) | Event::Trailers(_) | Event::End) => return Poll::Ready(()),
                Err(why) => {
                    let _kept_as_the_refusal = self.gone(why);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Tells the visitor to send no more, with this code.
    pub(super) fn stop(&mut self, code: Code) {
        if !std::mem::replace(&mut self.is_over, true) {
            let _ignored_when_the_visitor_left = self.stream.stop(number(code));
        }
    }

    /// Ends an exchange that is given up.
    pub(super) fn abort(&mut self) {
        self.stop(Code::RequestCancelled);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop(Code::NoError);
    }
}

/// Appends `more` in `scratch`, behind `first`, which is put there with it; false, and nothing done, if it
/// does not fit.
fn put(scratch: &mut [u8], filled: &mut usize, first: &Bytes, more: &Bytes) -> bool {
    let before = if *filled == 0 { first.as_ref() } else { &[] };
    let start = *filled + before.len();
    let Some(end) = start.checked_add(more.len()).filter(|end| *end <= scratch.len()) else { return false };
    if let Some(place) = scratch.get_mut(*filled..start) {
        place.copy_from_slice(before);
    }
    if let Some(place) = scratch.get_mut(start..end) {
        place.copy_from_slice(more);
    }
    *filled = end;
    true
}
