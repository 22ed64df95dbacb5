//! What a busy connection needs and an idle one gives back: its buffers, and what of an answer is on its way.

use std::io::IoSlice;

use bytes::{Buf as _, Bytes};
use exchange::Request;

use crate::limits::{GATHERED_PIECES, HELD_BYTES};

/// Bytes of a buffer that a work area keeps between uses: heads and small bodies fit, and a burst of large
/// ones does not pin its memory.
const KEPT_BYTES: usize = 16 * 1024;

/// Parts that one write may have: what is held, and each piece with what frames it.
pub(super) const PARTS_MAX: usize = 1 + 2 * GATHERED_PIECES;

/// The buffers of a busy connection.
#[derive(Default)]
pub(crate) struct Work {
    pub(super) inbound: Vec<u8>,
    pub(super) at: usize,
    pub(super) out: Vec<u8>,
    pub(super) out_at: usize,
    pub(super) head: http1::RequestHead,
    /// Bytes of an unfinished head that were looked at already.
    pub(super) seen: usize,
    pub(super) request: Request,
    /// Shared pieces of a body behind `out`, each with what frames it: kept as they are, since whoever gave
    /// them holds them anyway. The first `pieces_len` are on their way.
    pieces: [(Bytes, &'static [u8]); GATHERED_PIECES],
    pieces_len: usize,
}

impl Work {
    pub(crate) fn clear(&mut self) {
        for buffer in [&mut self.inbound, &mut self.out] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        self.at = 0;
        self.out_at = 0;
        self.seen = 0;
        for (piece, end) in &mut self.pieces {
            *piece = Bytes::new();
            *end = b"";
        }
        self.pieces_len = 0;
        self.request.clear();
    }

    /// Whether shared pieces wait.
    pub(super) fn has_pieces(&self) -> bool {
        self.pieces_len > 0
    }

    /// Whether a further piece, shared or not, may be given before what waits has left.
    pub(super) fn has_room(&self) -> bool {
        !self.has_pieces() && self.out.len() - self.out_at < HELD_BYTES
    }

    /// Whether a further shared piece would find a place.
    pub(super) fn may_gather(&self) -> bool {
        self.pieces_len < GATHERED_PIECES
    }

    /// Keeps a piece behind all that waits; gives it back where there is no place.
    pub(super) fn gather(&mut self, piece: Bytes, end: &'static [u8]) -> Result<(), Bytes> {
        match self.pieces.get_mut(self.pieces_len) {
            Some(place) => {
                *place = (piece, end);
                self.pieces_len += 1;
                Ok(())
            }
            None => Err(piece),
        }
    }

    /// Copies the pieces that wait behind the rest of what waits, in order.
    pub(super) fn copy_pieces(&mut self) {
        for (piece, end) in self.pieces.iter_mut().take(self.pieces_len) {
            self.out.extend_from_slice(&std::mem::take(piece));
            self.out.extend_from_slice(std::mem::take(end));
        }
        self.pieces_len = 0;
    }

    /// All that waits, in order, and how many of the parts are used.
    pub(super) fn parts(&self) -> ([IoSlice<'_>; PARTS_MAX], usize) {
        let mut parts = [IoSlice::new(b""); PARTS_MAX];
        let mut used = 0;
        let held = self.out.get(self.out_at..).unwrap_or_default();
        let pieces = self.pieces.iter().take(self.pieces_len);
        let all = std::iter::once(held).chain(pieces.flat_map(|(piece, end)| [&piece[..], *end]));
        for (part, place) in all.filter(|part| !part.is_empty()).zip(&mut parts) {
            *place = IoSlice::new(part);
            used += 1;
        }
        (parts, used)
    }

    /// Bytes that the socket has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        let pieces = self.pieces.iter().take(self.pieces_len);
        self.out.len() - self.out_at + pieces.map(|(piece, end)| piece.len() + end.len()).sum::<usize>()
    }

    /// Notes what the socket has taken, of `out` and what is behind it.
    pub(super) fn sent(&mut self, bytes: usize) {
        let of_out = bytes.min(self.out.len() - self.out_at);
        self.out_at += of_out;
        if self.out_at >= self.out.len() {
            self.out.clear();
            self.out_at = 0;
        }
        let mut left = bytes - of_out;
        let mut gone = 0;
        for (piece, end) in self.pieces.iter_mut().take(self.pieces_len) {
            let of_piece = left.min(piece.len());
            piece.advance(of_piece);
            let of_end = (left - of_piece).min(end.len());
            *end = end.get(of_end..).unwrap_or_default();
            left -= of_piece + of_end;
            if !piece.is_empty() || !end.is_empty() {
                break;
            }
            *piece = Bytes::new();
            gone += 1;
        }
        self.pieces.rotate_left(gone);
        self.pieces_len -= gone;
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.inbound.get(self.at..).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.at += bytes;
        if self.at >= self.inbound.len() {
            self.inbound.clear();
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(work: &Work) -> Vec<u8> {
        let (parts, used) = work.parts();
        parts[..used].iter().flat_map(|part| part.to_vec()).collect()
    }

    #[test]
    fn what_waits_leaves_in_order_however_the_socket_cuts_it() {
        for step in 1..=24 {
            let mut work = Work::default();
            work.out.extend_from_slice(b"head ");
            for (piece, end) in [("one", &b"\r\n"[..]), ("", b"-"), ("three", b"")] {
                assert!(work.gather(Bytes::from_static(piece.as_bytes()), end).is_ok());
            }
            let mut taken = Vec::new();
            while work.unsent() > 0 {
                let left = written(&work);
                assert_eq!(left.len(), work.unsent());
                let bytes = step.min(left.len());
                taken.extend_from_slice(&left[..bytes]);
                work.sent(bytes);
            }
            assert_eq!(taken, b"head one\r\n-three", "in steps of {step}");
            assert!(work.has_room() && !work.has_pieces());
        }
    }

    #[test]
    fn a_piece_without_a_place_comes_back() {
        let mut work = Work::default();
        for number in 0..GATHERED_PIECES {
            assert!(work.may_gather());
            assert!(work.gather(Bytes::from(vec![b'a' + number as u8; 3]), b"").is_ok());
        }
        assert!(!work.may_gather());
        assert_eq!(work.gather(Bytes::from_static(b"late"), b""), Err(Bytes::from_static(b"late")));
        work.sent(3);
        assert!(work.may_gather());
        assert!(work.gather(Bytes::from_static(b"now"), b"").is_ok());
        work.copy_pieces();
        assert!(work.out.ends_with(b"now") && !work.has_pieces());
    }

    #[test]
    fn a_cleared_work_area_holds_nothing() {
        let mut work = Work::default();
        work.out.extend_from_slice(&[b'x'; 3 * KEPT_BYTES]);
        assert!(work.gather(Bytes::from_static(b"piece"), b"").is_ok());
        work.clear();
        assert_eq!(work.unsent(), 0);
        assert!(work.out.capacity() <= 2 * KEPT_BYTES);
    }
}
