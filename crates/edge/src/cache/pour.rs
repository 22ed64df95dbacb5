//! The body of an answer on its way into the store.
//!
//! It goes at the origin's pace, whoever reads. Only where the body has become too large to be kept does it
//! wait for its readers, a window behind the slowest; one that stands still meanwhile and keeps others
//! waiting is cut off. A fill that visitors caused and nobody reads any more goes on for
//! [`UNREAD_BYTES_MAX`]: enough to finish what most ask for, too little to make the node fetch for those who
//! only ask. Called by `fetch.rs` and `slices.rs`.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use cache::store::{Fill, Pushed};
use exchange::{BodySize, Deadlines, Fault, Incoming, Response};
use wire::with_scratch;

use crate::pace::{Pace, Turn};
use crate::pipeline::Edge;
use crate::relay::Answered;

/// How long the slowest reader of a body that is not kept may stand still while others wait for it.
pub(super) const STILL_MS: u32 = 5_000;

/// Bytes that a fill goes on for when its last visitor has left.
pub(super) const UNREAD_BYTES_MAX: u64 = 8 << 20;

impl Edge {
    /// Pours an origin's body into a fill, to its end. What fails is told to the readers.
    pub(super) async fn pour(
        &self,
        mut answered: Answered,
        response: &Response,
        mut fill: Fill,
        deadlines: &Rc<Deadlines>,
        is_for_visitors: bool,
    ) {
        if response.body == BodySize::None {
            fill.finish();
            return answered.finish();
        }
        let timeouts = answered.pool().timeouts;
        let deadline = deadlines.slot();
        let mut pace =
            Pace::begin(timeouts.idle_ms, timeouts.min_rate_bytes_per_s, self.clock.now_ms(), &deadline);
        let still = deadlines.slot();
        let (mut poured, mut unread) = (0_u64, 0_u64);
        let ended = poll_fn(|cx| -> Poll<Result<(), Option<Fault>>> {
            deadline.register(cx.waker());
            let mut turn = Turn::default();
            loop {
                if fill.poll_room(cx.waker()).is_pending() {
                    still.register(cx.waker());
                    deadline.disarm();
                    pace.forgive();
                    if still.is_due() && fill.readers() > 1 {
                        fill.cut_slowest();
                        still.disarm();
                        continue;
                    }
                    still.arm(STILL_MS);
                    return Poll::Pending;
                }
                still.disarm();
                let step = with_scratch(|scratch| match answered.poll_body(cx, scratch) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
                    Poll::Ready(Ok(incoming)) => {
                        let (chunk, is_last) = match incoming {
                            Incoming::Data(chunk) => (Some(chunk), false),
                            Incoming::Last(chunk) => (Some(chunk), true),
                            // What comes behind the content is not kept: few send it, fewer read it.
                            Incoming::Trailers(_) | Incoming::End => (None, true),
                        };
                        let mut pushed = Pushed::Kept;
                        if let Some(chunk) = chunk {
                            poured += chunk.len() as u64;
                            let is_unread = is_for_visitors && fill.readers() == 0;
                            unread = if is_unread { unread + chunk.len() as u64 } else { 0 };
                            pushed = fill.push(chunk.as_slice());
                        }
                        Poll::Ready(Ok((is_last, pushed)))
                    }
                });
                match step {
                    Poll::Pending => break,
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(Some(fault))),
                    Poll::Ready(Ok((true, _))) => return Poll::Ready(Ok(())),
                    // Nobody reads it and it is not kept, or it would be kept for too much.
                    Poll::Ready(Ok((false, pushed))) => {
                        if pushed == Pushed::Unread || unread > UNREAD_BYTES_MAX {
                            return Poll::Ready(Err(None));
                        }
                    }
                }
                if !pace.moved(poured, self.clock.now_ms(), &deadline) {
                    return Poll::Ready(Err(Some(Fault::ConnectionReadTimeout)));
                }
                if turn.is_over(cx) {
                    return Poll::Pending;
                }
            }
            if deadline.is_due() && !pace.may_go_on(poured, self.clock.now_ms(), &deadline) {
                return Poll::Ready(Err(Some(Fault::ConnectionReadTimeout)));
            }
            Poll::Pending
        })
        .await;
        match ended {
            Ok(()) => {
                fill.finish();
                answered.finish();
            }
            // Dropped, the fill tells its readers, and the connection is closed.
            Err(Some(fault)) => self.metrics.fault(fault as usize),
            Err(None) => {}
        }
    }
}
