//! The end of an exchange over HTTP/1: the rest of the answer leaves, and the connection goes on or is closed
//! in a way that destroys nothing.
//!
//! It decides nothing about framing. Caller: `h1.rs`.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use crate::exchange::Side;
use crate::limits::{FLUSH_MS, LINGER_BYTES, LINGER_MS};
use crate::{Abuse, Exchange, ResponseState, with_scratch};

/// Lets the rest of the answer leave; ready with whether the connection may carry another request.
pub(super) fn poll_end(exchange: &mut Exchange, cx: &mut Context<'_>) -> Poll<bool> {
    let Side::Http1(side) = &mut exchange.side else { return Poll::Ready(false) };
    if side.is_broken || exchange.state != ResponseState::Complete {
        return Poll::Ready(false);
    }
    if side.work.unsent() > 0 || side.conn.poll_flush(cx).is_pending() {
        match side.poll_out(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(false),
            Poll::Pending if exchange.deadline.is_due() => {
                side.is_broken = true;
                exchange.blame(Abuse::SlowRead);
                return Poll::Ready(false);
            }
            Poll::Pending => {
                // The task is woken by progress of the socket or by the deadline: armed anew at each
                // progress.
                exchange.deadline.register(cx.waker());
                exchange.deadline.arm(FLUSH_MS);
                return Poll::Pending;
            }
        }
    }
    if !side.is_persistent || side.is_tunnel {
        return Poll::Ready(false);
    }
    Poll::Ready(side.body.is_done())
}

/// Ends the sending side and reads for a while, so that a final answer is not lost to a reset because bytes
/// of the visitor were still unread (RFC 9112 §9.6).
pub(super) async fn linger(exchange: &mut Exchange) {
    let is_answered = exchange.state == ResponseState::Complete;
    let Side::Http1(side) = &mut exchange.side else { return };
    if side.is_broken || !is_answered {
        return; // closing at once is the message
    }
    if side.is_tunnel {
        return;
    }
    // Only where more may be on its way: a visitor that has sent all it wanted is not destroyed by a close.
    let may_send_more = !side.body.is_done() || !side.work.unread().is_empty() || exchange.refusal.is_some();
    exchange.deadline.arm(LINGER_MS);
    let deadline = &exchange.deadline;
    let mut read_bytes = 0;
    poll_fn(|cx| {
        deadline.register(cx.waker());
        if deadline.is_due() {
            return Poll::Ready(());
        }
        match side.conn.poll_shutdown(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
        if !may_send_more {
            return Poll::Ready(());
        }
        loop {
            let read = with_scratch(|scratch| side.conn.poll_read(cx, scratch));
            match ready!(read) {
                Ok(read) if read > 0 => {
                    read_bytes += read;
                    if read_bytes > LINGER_BYTES {
                        return Poll::Ready(());
                    }
                }
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}
