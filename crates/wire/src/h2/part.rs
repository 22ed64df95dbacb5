//! Pieces of answers inside the h2 crate, counted until they have left it.
//!
//! h2 takes a piece once a window lets it through, and puts it out later, or never: a visitor may take the
//! window back in between (RFC 9113 §6.9.2), and h2 says neither. So pieces say it themselves, as their bytes
//! are read or they are dropped. Caller: `h2.rs`.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

/// Bytes of one stream's answer that h2 has taken and not put out.
#[derive(Default)]
pub(super) struct Unsent {
    bytes: Cell<usize>,
    waiting: Cell<Option<Waker>>,
}

impl Unsent {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Ready when nothing is left; wakes whoever waits at each step, so that it sees whether something moves.
    pub(super) fn poll_none(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes.get() == 0 {
            return Poll::Ready(());
        }
        self.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn left(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.set(self.bytes.get().saturating_sub(bytes));
            // Within a call of h2, which must not be called again: a task that is woken runs later.
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
        }
    }
}

/// A piece of an answer, as h2 is given it.
pub(crate) struct Part {
    bytes: Bytes,
    unsent: Rc<Unsent>,
}

impl Part {
    pub(super) fn new(bytes: Bytes, unsent: &Rc<Unsent>) -> Self {
        unsent.bytes.set(unsent.bytes.get() + bytes.len());
        Self { bytes, unsent: Rc::clone(unsent) }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.unsent.left(count);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.unsent.left(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_counted_until_they_are_read_or_dropped() {
        let unsent = Rc::default();
        let mut first = Part::new(Bytes::from_static(b"first"), &unsent);
        let second = Part::new(Bytes::from_static(b"second"), &unsent);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!((unsent.bytes(), unsent.poll_none(&mut cx)), (11, Poll::Pending));
        let mut read = [0; 3];
        first.copy_to_slice(&mut read);
        assert_eq!((&read, unsent.bytes()), (b"fir", 8));
        drop(second);
        assert_eq!(unsent.bytes(), 2);
        drop(first);
        assert_eq!((unsent.bytes(), unsent.poll_none(&mut cx)), (0, Poll::Ready(())));
    }
}
