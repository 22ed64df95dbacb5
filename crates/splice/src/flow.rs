//! One direction of a connection: what was read there and not yet written here.
//!
//! Nothing is read while something waits to be written, so a slow reader slows the writer down and one
//! direction never holds more than it read at once. The end of what one side sends is handed on as the end
//! towards the other (half-close), each direction on its own. An idle direction holds no memory. Called by
//! the loop for forwarding and for its own answers.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::limits::TURN_BYTES;

/// The bytes and the state of one direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pending: Vec<u8>,
    /// How many of `pending` are written.
    written: usize,
    /// The sender sends no more.
    pub(crate) has_ended: bool,
    /// All is written and the receiver was told the end.
    pub(crate) is_shut: bool,
}

impl Flow {
    /// A direction with these bytes and then its end.
    pub(crate) fn last(pending: Vec<u8>) -> Self {
        Self { pending, has_ended: true, ..Self::default() }
    }

    /// Adds bytes behind those that wait, without growing past what is needed.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.reserve_exact(bytes.len());
        self.pending.extend_from_slice(bytes);
    }

    /// Puts bytes before those that wait, of which none is written yet.
    pub(crate) fn push_front(&mut self, bytes: &[u8]) {
        self.pending.reserve_exact(bytes.len());
        self.pending.splice(..0, bytes.iter().copied());
    }

    /// Drops the first bytes of those that wait.
    pub(crate) fn skip(&mut self, count: usize) {
        self.pending.drain(..count.min(self.pending.len()));
    }

    /// What waits to be written.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.pending.get(self.written..).unwrap_or_default()
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.waiting().is_empty() && !self.has_ended
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// Moves bytes until one of the two would block, the sender ends, or the turn is over; gives their
    /// number.
    ///
    /// # Errors
    /// When either is broken.
    pub(crate) fn pump(
        &mut self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        scratch: &mut [u8],
    ) -> io::Result<u64> {
        let mut moved = 0;
        loop {
            if self.wants_write() {
                let count = may_block(to.write(self.waiting()))?.unwrap_or(0);
                self.written += count;
                moved += count;
                if self.wants_write() {
                    break;
                }
                // Given back: an idle connection holds nothing.
                self.pending = Vec::new();
                self.written = 0;
            }
            if self.has_ended {
                if !self.is_shut {
                    to.shutdown(Shutdown::Write)?;
                    self.is_shut = true;
                }
                break;
            }
            if moved >= TURN_BYTES {
                break;
            }
            let Some(count) = may_block(from.read(scratch))? else { break };
            let read = scratch.get(..count).unwrap_or_default();
            if read.is_empty() {
                self.has_ended = true;
                continue;
            }
            let count = may_block(to.write(read))?.unwrap_or(0);
            moved += count;
            if let Some(rest) = read.get(count..).filter(|rest| !rest.is_empty()) {
                self.pending = rest.to_vec();
                break;
            }
        }
        Ok(moved as u64)
    }
}

/// `None` when the call would block or was interrupted: the loop comes back.
pub(crate) fn may_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
