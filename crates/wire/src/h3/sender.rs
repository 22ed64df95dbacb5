//! The sending half of a request's stream.
//!
//! Small things are gathered in one buffer, large pieces are kept as they came and never copied. Only what
//! quinn refuses, because a window is full, is held; nothing more is taken until it has left. Caller:
//! `h3.rs`, and `h3/request.rs` at the end of each poll.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::Chunk;
use http3::{Code, data_frame_head};
use quinn::{SendStream, StoppedError, VarInt};

use crate::Gone;
use crate::limits::QUIC_GATHER_BYTES;

type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>;

/// Writes frames to one request stream. Dropped before its end it resets the stream: quinn's own drop would
/// send FIN and make a broken answer look whole.
pub(super) struct Sender {
    stream: SendStream,
    /// What quinn has not taken yet, in order; then what was gathered since.
    queue: Vec<Bytes>,
    gathered: Vec<u8>,
    /// FIN follows the last byte.
    is_ending: bool,
    /// FIN or a reset was given to quinn.
    is_over: bool,
    is_reset: bool,
    is_gone: bool,
    /// What a reset says.
    code: Code,
    /// Bytes that a declared length still asks for.
    body_left: Option<u64>,
    is_body_longer: bool,
    sent_bytes: u64,
    stopped: Option<Stopped>,
}

/// A number of HTTP/3 as quinn takes it.
pub(super) fn number(code: Code) -> VarInt {
    // All codes are below 2^10.
    VarInt::from_u32(code.value() as u32)
}

impl Sender {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            queue: Vec::new(),
            gathered: Vec::new(),
            is_ending: false,
            is_over: false,
            is_reset: false,
            is_gone: false,
            code: Code::Internal,
            body_left: None,
            is_body_longer: false,
            sent_bytes: 0,
            stopped: None,
        }
    }

    /// The buffer that heads are written into.
    pub(super) fn gathered(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// Holds the body to the length its head declared.
    pub(super) fn expect_body(&mut self, length: u64) {
        self.body_left = Some(length);
    }

    /// Whether what was given is what was declared; of what goes nowhere that is not asked.
    pub(super) fn is_body_whole(&self) -> bool {
        self.is_over || (!self.is_body_longer && self.body_left.unwrap_or(0) == 0)
    }

    /// Takes a piece of the body, as one DATA frame.
    pub(super) fn give(&mut self, chunk: Chunk<'_>) {
        if chunk.is_empty() || self.is_over || self.is_gone {
            return;
        }
        let len = chunk.len() as u64;
        if let Some(left) = &mut self.body_left {
            self.is_body_longer |= len > *left;
            *left = left.saturating_sub(len);
        }
        data_frame_head(&mut self.gathered, len);
        if chunk.len() <= QUIC_GATHER_BYTES / 4 {
            self.gathered.extend_from_slice(chunk.as_slice());
        } else {
            self.queue_gathered();
            self.queue.push(chunk.into_shared());
        }
    }

    /// Bytes that wait for quinn to take them.
    pub(super) fn held(&self) -> usize {
        self.gathered.len() + self.queue.iter().map(Bytes::len).sum::<usize>()
    }

    /// Bytes that quinn has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent_bytes
    }

    /// FIN follows what was given.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Resets speak of a malformed request from now on.
    pub(super) fn blame_visitor(&mut self) {
        self.code = Code::Message;
    }

    /// Whether so much is gathered that waiting for the end of the poll gains nothing.
    pub(super) fn is_worth_sending(&self) -> bool {
        !self.queue.is_empty() || self.gathered.len() >= QUIC_GATHER_BYTES
    }

    fn queue_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.queue.push(Bytes::from(std::mem::take(&mut self.gathered)));
        }
    }

    /// Ready when the next piece may be given: nothing was refused, and little is gathered.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match self.is_worth_sending() || self.is_ending || self.is_gone {
            true => self.poll_flush(cx),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Ready when quinn has taken everything, the end included.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.is_gone {
            return Poll::Ready(Err(Gone::Left));
        }
        if self.is_over {
            return Poll::Ready(Ok(()));
        }
        self.queue_gathered();
        while !self.queue.is_empty() {
            let written = ready!(pin!(self.stream.write_chunks(&mut self.queue)).poll(cx));
            match written {
                Ok(written) => {
                    self.sent_bytes += written.bytes as u64;
                    self.queue.drain(..written.chunks.min(self.queue.len()));
                }
                Err(_) => {
                    self.is_gone = true;
                    self.queue = Vec::new();
                    return Poll::Ready(Err(Gone::Left));
                }
            }
        }
        if self.is_ending {
            self.is_over = true;
            let _ignored_when_the_visitor_left = self.stream.finish();
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the visitor wants no answer any more, or the connection is gone.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_gone {
            return Poll::Ready(());
        }
        let stream = &self.stream;
        let stopped = self.stopped.get_or_insert_with(|| Box::pin(stream.stopped()));
        let _why = ready!(stopped.as_mut().poll(cx));
        self.stopped = None;
        self.is_gone = true;
        Poll::Ready(())
    }

    /// Resets the stream.
    pub(super) fn abort(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.is_reset = true;
            let _ignored_when_the_visitor_left = self.stream.reset(number(self.code));
        }
        self.queue = Vec::new();
        self.gathered = Vec::new();
    }

    /// Resets the stream although its end was given: what the visitor has not taken is forgotten.
    pub(super) fn give_up(&mut self) {
        self.is_over = false;
        self.abort();
    }

    /// Resets the stream with this code, whatever was given; what is given after it goes nowhere.
    pub(super) fn reject(&mut self, code: Code) {
        self.code = code;
        self.give_up();
    }

    /// Ready when the visitor has acknowledged the whole answer or stopped it, if the answer was long enough
    /// that closing the connection could cut it off.
    pub(super) fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A reset is not told of when it has arrived.
        match self.is_over && !self.is_reset && !self.is_gone && self.sent_bytes > QUIC_GATHER_BYTES as u64 {
            true => self.poll_stopped(cx),
            false => Poll::Ready(()),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.abort();
    }
}
