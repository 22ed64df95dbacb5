//! The bytes of a request stream, cut into events (RFC 9114 §4.1, §7.1, §7.2).
//!
//! A push parser: bytes go in with [`RequestStream::push`], events come out of [`RequestStream::next`].
//! Bodies pass through as slices of what was pushed, never copied; only a field section that spans pushes
//! is gathered, after its length was held against the limit. It does not decode field sections
//! ([`crate::decode_request`] does), keep time, or touch a stream. The visitors' wire calls it for
//! requests; a client calls it for responses through [`RequestStream::for_response`].

use crate::frame::{self, HeadReader};
use crate::{Broken, Code, Limits};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// What a request stream said, in order: `Head`, any number of `Data`, at most one `Trailers`, `End`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The encoded field section of the head, complete, no longer than the limit.
    Head(Bytes),
    /// A piece of the body, never empty; it shares memory with the bytes that were pushed.
    Data(Bytes),
    /// The encoded field section of the trailers, complete, no longer than the limit.
    Trailers(Bytes),
    /// The peer ended the stream where it may end; given once.
    End,
}

/// Where the parser stands between two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In or before the head of a frame.
    FrameHead,
    /// In a HEADERS payload of `length` bytes, gathered in `part`.
    Section { length: usize },
    /// In a DATA payload with this many bytes to come.
    Data { left: u64 },
    /// In the payload of an unknown frame with this many bytes to come.
    Skip { left: u64 },
    /// After `End`.
    Ended,
}

/// Which part of the message the next HEADERS frame would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Head,
    BodyOrTrailers,
    BodyOnly,
    NothingMore,
}

/// Push parser for one request stream. Between calls, when [`RequestStream::next`] has said `None`, it holds
/// at most [`Limits::encoded_section_bytes_max`] and 16 bytes.
#[derive(Debug)]
pub struct RequestStream {
    limits: Limits,
    at: At,
    expects: Expects,
    frame_head: HeadReader,
    /// The piece being read, and those pushed after it.
    piece: Bytes,
    later: VecDeque<Bytes>,
    ended: bool,
    /// Field section gathered so far.
    part: Vec<u8>,
    idle_frames: u32,
    /// Body bytes that a declared length still asks for.
    body_left: Option<u64>,
    broken: Option<Broken>,
}

impl RequestStream {
    /// A parser at the start of a stream.
    pub fn new(limits: &Limits) -> Self {
        RequestStream {
            limits: *limits,
            at: At::FrameHead,
            expects: Expects::Head,
            frame_head: HeadReader::default(),
            piece: Bytes::new(),
            later: VecDeque::new(),
            ended: false,
            part: Vec::new(),
            idle_frames: 0,
            body_left: None,
            broken: None,
        }
    }

    /// The same for a client that reads a response: it may have interim heads, see
    /// [`RequestStream::expect_another_head`].
    pub fn for_response(limits: &Limits) -> Self {
        RequestStream::new(limits)
    }

    /// Tells that the head just given was interim (1xx), so that another head follows (RFC 9114 §4.1).
    pub fn expect_another_head(&mut self) {
        if self.expects == Expects::BodyOrTrailers {
            self.expects = Expects::Head;
        }
    }

    /// Holds the body to a declared length (RFC 9114 §4.1.2): a body longer or shorter breaks the stream with
    /// [`Code::Message`]. Call it between `Head` and the next call of [`RequestStream::next`]. Not for
    /// answers to HEAD, nor for 304, whose content-length speaks of another body.
    pub fn expect_body(&mut self, bytes: u64) {
        self.body_left = Some(bytes);
    }

    /// Tells that the request was a CONNECT, extended or not: from now on only DATA frames and unknown frames
    /// may come (RFC 9114 §4.4).
    pub fn become_tunnel(&mut self) {
        if self.expects == Expects::BodyOrTrailers {
            self.expects = Expects::BodyOnly;
        }
    }

    /// Takes bytes as they came from the stream. Call [`RequestStream::next`] until it says `None` before the
    /// next push; what is pushed sooner is queued whole.
    pub fn push(&mut self, data: Bytes) {
        debug_assert!(!self.ended || data.is_empty(), "no bytes come after the end");
        if data.is_empty() || self.broken.is_some() {
            return;
        }
        if self.piece.is_empty() && self.later.is_empty() {
            self.piece = data;
        } else {
            self.later.push_back(data);
        }
    }

    /// Tells that the peer ended the stream cleanly. A reset is not an end: then drop the parser.
    pub fn push_end(&mut self) {
        self.ended = true;
    }

    /// Bytes held: queued, gathered, or of an incomplete frame head.
    pub fn buffered(&self) -> usize {
        let queued: usize = self.later.iter().map(Bytes::len).sum();
        self.piece.len() + queued + self.part.len() + self.frame_head.buffered()
    }

    /// The next event, or `None` when more bytes are needed, and ever after [`Event::End`].
    ///
    /// # Errors
    /// What the peer broke (RFC 9114 §4.1, §7.1, §7.2); the same again at each further call, while the
    /// bytes held so far are dropped. [`Broken::TooLarge`] comes on the length of the HEADERS frame,
    /// before its payload.
    #[allow(clippy::should_implement_trait, reason = "it is no iterator: None is not its end")]
    pub fn next(&mut self) -> Result<Option<Event>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let step = self.step();
        if let Err(broken) = step {
            self.broken = Some(broken);
            self.piece = Bytes::new();
            self.later = VecDeque::new();
            self.part = Vec::new();
        }
        step
    }

    fn step(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            if self.piece.is_empty()
                && let Some(piece) = self.later.pop_front()
            {
                self.piece = piece;
            }
            match self.at {
                At::Ended => return Ok(None),
                At::FrameHead => {
                    let mut input = &self.piece[..];
                    let head = self.frame_head.read(&mut input);
                    let used = self.piece.len() - input.len();
                    self.piece.advance(used);
                    if let Some((frame_type, length)) = head {
                        self.enter(frame_type, length)?;
                        continue;
                    }
                }
                At::Section { length } => {
                    if let Some(section) = self.gather(length) {
                        self.at = At::FrameHead;
                        if self.expects == Expects::Head {
                            self.expects = Expects::BodyOrTrailers;
                            return Ok(Some(Event::Head(section)));
                        }
                        self.expects = Expects::NothingMore;
                        return Ok(Some(Event::Trailers(section)));
                    }
                }
                At::Data { left: 0 } | At::Skip { left: 0 } => {
                    self.at = At::FrameHead;
                    continue;
                }
                At::Data { left } => {
                    let take = within(left, self.piece.len());
                    if take > 0 {
                        self.at = At::Data { left: left - take as u64 };
                        return Ok(Some(Event::Data(self.piece.split_to(take))));
                    }
                }
                At::Skip { left } => {
                    let take = within(left, self.piece.len());
                    if take > 0 {
                        self.at = At::Skip { left: left - take as u64 };
                        self.piece.advance(take);
                        continue;
                    }
                }
            }
            if !self.piece.is_empty() || !self.later.is_empty() {
                continue;
            }
            // Let go of the memory that the used-up piece came from.
            self.piece = Bytes::new();
            return if self.ended { self.end() } else { Ok(None) };
        }
    }

    /// Judges the head of a frame and moves into its payload.
    fn enter(&mut self, frame_type: u64, length: u64) -> Result<(), Broken> {
        const UNEXPECTED: Code = Code::FrameUnexpected;
        match frame_type {
            frame::DATA => {
                match self.expects {
                    Expects::Head => return Err(Broken::Connection(UNEXPECTED, "DATA before HEADERS")),
                    Expects::NothingMore => {
                        return Err(Broken::Connection(UNEXPECTED, "DATA after the trailers"));
                    }
                    Expects::BodyOrTrailers | Expects::BodyOnly => {}
                }
                if let Some(body_left) = self.body_left {
                    let Some(body_left) = body_left.checked_sub(length) else {
                        return Err(Broken::Stream(Code::Message, "body longer than its content-length"));
                    };
                    self.body_left = Some(body_left);
                }
                if length == 0 {
                    self.count_idle_frame()?;
                } else {
                    self.idle_frames = 0;
                }
                self.at = At::Data { left: length };
            }
            frame::HEADERS => {
                match self.expects {
                    Expects::NothingMore => {
                        return Err(Broken::Connection(UNEXPECTED, "HEADERS after the trailers"));
                    }
                    Expects::BodyOnly => return Err(Broken::Connection(UNEXPECTED, "HEADERS in a tunnel")),
                    Expects::BodyOrTrailers => self.check_body_complete()?,
                    Expects::Head => {}
                }
                let length = usize::try_from(length).map_err(|_| Broken::TooLarge)?;
                if length > self.limits.encoded_section_bytes_max {
                    return Err(Broken::TooLarge);
                }
                self.at = At::Section { length };
            }
            frame::PUSH_PROMISE => {
                return Err(Broken::Connection(UNEXPECTED, "PUSH_PROMISE, push is not enabled"));
            }
            frame::CANCEL_PUSH | frame::SETTINGS | frame::GOAWAY | frame::MAX_PUSH_ID => {
                return Err(Broken::Connection(UNEXPECTED, "control frame on a request stream"));
            }
            http2 if frame::is_http2_only(http2) => {
                return Err(Broken::Connection(UNEXPECTED, "frame type of HTTP/2"));
            }
            _ => {
                self.count_idle_frame()?;
                self.at = At::Skip { left: length };
            }
        }
        Ok(())
    }

    /// The field section of `length` bytes, once all of it is there: a slice of the piece where it lies
    /// whole in one, else gathered.
    fn gather(&mut self, length: usize) -> Option<Bytes> {
        if self.part.is_empty() && self.piece.len() >= length {
            return Some(self.piece.split_to(length));
        }
        let take = self.piece.len().min(length - self.part.len());
        // Grows with what arrived, not with what was claimed.
        self.part.extend_from_slice(&self.piece.split_to(take));
        (self.part.len() == length).then(|| Bytes::from(std::mem::take(&mut self.part)))
    }

    fn count_idle_frame(&mut self) -> Result<(), Broken> {
        self.idle_frames += 1;
        if self.idle_frames > self.limits.idle_frames_max {
            return Err(Broken::Connection(Code::ExcessiveLoad, "too many frames that carry nothing"));
        }
        Ok(())
    }

    fn check_body_complete(&self) -> Result<(), Broken> {
        match self.body_left {
            None | Some(0) => Ok(()),
            Some(_) => Err(Broken::Stream(Code::Message, "body shorter than its content-length")),
        }
    }

    /// The stream ended here: may it?
    fn end(&mut self) -> Result<Option<Event>, Broken> {
        if self.at != At::FrameHead || self.frame_head.buffered() > 0 {
            // RFC 9114 §7.1: a truncated last frame is an error of the connection.
            return Err(Broken::Connection(Code::Frame, "the stream ended within a frame"));
        }
        if self.expects == Expects::Head {
            return Err(Broken::Stream(Code::RequestIncomplete, "the stream ended before the head"));
        }
        self.check_body_complete()?;
        self.at = At::Ended;
        Ok(Some(Event::End))
    }
}

/// The smaller of a count that may not fit a `usize` and one that does.
fn within(left: u64, there: usize) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}
