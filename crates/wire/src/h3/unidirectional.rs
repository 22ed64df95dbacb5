//! The visitor's unidirectional streams: control, QPACK, and what it made up.
//!
//! All of a connection's are read by one task, which keeps a few bytes of each. Breaking one of them closes
//! the connection, and so does saying much there without asking for anything. The same task looks now and
//! then at what QUIC's own frames did meanwhile. Caller: `h3/connection.rs`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use exchange::Deadline;
use http3::{
    Broken, Code, ControlStream, CriticalStreams, QpackDecoderStream, QpackEncoderStream, UniKind, UniStream,
};
use quinn::RecvStream;

use super::connection::Shared;
use super::sender::number;
use crate::Abuse;
use crate::limits::{
    EMPTY_PER_FRAME, HEAD_MS, HTTP3, QUIC_BESIDE_BYTES, QUIC_BESIDE_BYTES_PER_REQUEST, QUIC_EMPTY_FRAMES,
    READ_BYTES,
};

enum Reader {
    /// Its type is not known yet; whether it was so at the last look.
    Kind(UniStream, bool),
    Control(Box<ControlStream>),
    QpackEncoder(QpackEncoderStream),
    QpackDecoder(QpackDecoderStream),
}

struct Stream {
    receiving: RecvStream,
    reader: Reader,
}

/// Between two looks at what a connection's frames did, in milliseconds. A stream has two of them to say its
/// type. [`QUIC_EMPTY_FRAMES`] is what may come in one.
const LOOK_MS: u32 = HEAD_MS;

/// What became of a stream.
enum Read {
    Waits,
    Over,
}

/// Reads them until the connection ends.
pub(super) async fn watch(shared: Rc<Shared>, deadline: Deadline) {
    let mut accept = pin!(shared.quic().accept_uni());
    let mut streams: Vec<Stream> = Vec::new();
    let mut critical = CriticalStreams::new();
    let (mut said_bytes, mut frames) = (0, shared.frames());
    deadline.arm(LOOK_MS);
    poll_fn(|cx| {
        deadline.register(cx.waker());
        loop {
            match accept.as_mut().poll(cx) {
                Poll::Ready(Ok(receiving)) => {
                    accept.set(shared.quic().accept_uni());
                    streams.push(Stream { receiving, reader: Reader::Kind(UniStream::new(), false) });
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let mut broken = None;
        streams.retain_mut(|stream| match stream.read(cx, &shared, &mut critical, &mut said_bytes) {
            Ok(Read::Waits) => true,
            Ok(Read::Over) => false,
            Err(why) => {
                broken.get_or_insert(why);
                true
            }
        });
        if let Some(broken) = broken {
            match broken {
                Broken::Connection(code, why) => shared.close(code, why),
                // Not said of these streams; were it ever, the connection could not go on either.
                Broken::Stream(code, why) => shared.close(code, why),
                Broken::TooLarge => shared.close(Code::ExcessiveLoad, "a control stream over its limit"),
            }
            return Poll::Ready(());
        }
        if said_bytes > QUIC_BESIDE_BYTES + shared.begun() * QUIC_BESIDE_BYTES_PER_REQUEST {
            shared.close_for(Abuse::OtherFrames, "too much was said beside requests");
            return Poll::Ready(());
        }
        if deadline.is_due() {
            streams.retain_mut(Stream::is_named_in_time);
            deadline.arm(LOOK_MS);
            let (empty, full) = std::mem::replace(&mut frames, shared.frames());
            let paid_for = (frames.1 - full) * u64::from(EMPTY_PER_FRAME);
            if frames.0 - empty > QUIC_EMPTY_FRAMES + paid_for {
                shared.close_for(Abuse::OtherFrames, "too many frames carried nothing");
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

impl Stream {
    /// Reads what is there.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        critical: &mut CriticalStreams,
        said_bytes: &mut u64,
    ) -> Result<Read, Broken> {
        loop {
            let read = pin!(self.receiving.read_chunk(READ_BYTES, true)).poll(cx);
            match read {
                Poll::Pending => return Ok(Read::Waits),
                Poll::Ready(Ok(Some(chunk))) => {
                    *said_bytes += chunk.bytes.len() as u64;
                    if let Read::Over = self.push(chunk.bytes, shared, critical)? {
                        return Ok(Read::Over);
                    }
                }
                Poll::Ready(Ok(None) | Err(quinn::ReadError::Reset(_))) => return self.end(shared, critical),
                // The connection is gone, which accepting streams notices too.
                Poll::Ready(Err(_)) => return Ok(Read::Over),
            }
        }
    }

    fn push(
        &mut self,
        bytes: Bytes,
        shared: &Shared,
        critical: &mut CriticalStreams,
    ) -> Result<Read, Broken> {
        let mut input = &bytes[..];
        if let Reader::Kind(kind, _) = &mut self.reader {
            let Some(kind) = kind.push(&mut input)? else { return Ok(Read::Waits) };
            critical.open(kind)?;
            self.reader = match kind {
                UniKind::Control => Reader::Control(Box::new(ControlStream::new(&HTTP3))),
                UniKind::QpackEncoder => Reader::QpackEncoder(QpackEncoderStream::new()),
                UniKind::QpackDecoder => Reader::QpackDecoder(QpackDecoderStream::new()),
                UniKind::Unknown(_) => {
                    // One or two keep peers honest; a flood of them is paid for as resets are.
                    shared.spend(Abuse::Resets);
                    let _ignored_when_it_ended = self.receiving.stop(number(Code::StreamCreation));
                    return Ok(Read::Over);
                }
            };
        }
        match &mut self.reader {
            Reader::Kind(..) => {}
            // Nothing a visitor can say there changes what we do: we never push, nor insert into its table.
            Reader::Control(control) => while control.push(&mut input)?.is_some() {},
            Reader::QpackEncoder(encoder) => encoder.push(input)?,
            Reader::QpackDecoder(decoder) => decoder.push(input)?,
        }
        Ok(Read::Waits)
    }

    fn end(&mut self, shared: &Shared, critical: &mut CriticalStreams) -> Result<Read, Broken> {
        let kind = match self.reader {
            Reader::Kind(..) => {
                shared.spend(Abuse::Resets);
                return Ok(Read::Over);
            }
            Reader::Control(_) => UniKind::Control,
            Reader::QpackEncoder(_) => UniKind::QpackEncoder,
            Reader::QpackDecoder(_) => UniKind::QpackDecoder,
        };
        critical.close(kind).map(|()| Read::Over)
    }

    /// Whether the stream said its type by the second look after it was opened; else it is stopped.
    fn is_named_in_time(&mut self) -> bool {
        match &mut self.reader {
            Reader::Kind(_, was_unnamed) if *was_unnamed => {
                let _ignored_when_it_ended = self.receiving.stop(number(Code::StreamCreation));
                false
            }
            Reader::Kind(_, was_unnamed) => {
                *was_unnamed = true;
                true
            }
            _ => true,
        }
    }
}
