//! What was read of a body before it may go on: bytes that are inspected first, and given again.
//!
//! The pieces are put together, so that a body in many small ones costs its bytes and no more. How much is
//! kept is the caller's to bound. Called by [`crate::Exchange`] for requests, and by `edge` for answers.

use bytes::{Bytes, BytesMut};
use exchange::{Chunk, Fields, Incoming};

/// Bytes given again at once: as many as a read gives.
const PIECE_BYTES: usize = 64 * 1024;

/// What follows the bytes that are kept.
#[derive(Default)]
enum Behind {
    /// What is still to be read.
    #[default]
    More,
    /// Nothing.
    Nothing,
    Trailers(Box<Fields>),
}

/// The front of a body, read before it may go on; none of it at first.
#[derive(Default)]
pub struct Kept {
    growing: BytesMut,
    whole: Bytes,
    behind: Behind,
}

impl Kept {
    /// Keeps what was read; whether more may follow.
    pub fn push(&mut self, incoming: Incoming<'_>) -> bool {
        match incoming {
            Incoming::Data(chunk) => {
                self.growing.extend_from_slice(chunk.as_slice());
                return true;
            }
            Incoming::Last(chunk) => {
                self.growing.extend_from_slice(chunk.as_slice());
                self.behind = Behind::Nothing;
            }
            Incoming::End => self.behind = Behind::Nothing,
            Incoming::Trailers(trailers) => self.behind = Behind::Trailers(trailers),
        }
        false
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.growing.len() + self.whole.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the body ends within what is kept.
    #[must_use]
    pub fn has_end(&self) -> bool {
        !matches!(self.behind, Behind::More)
    }

    /// All that is kept, shared.
    pub fn share(&mut self) -> Bytes {
        if !self.growing.is_empty() {
            if !self.whole.is_empty() {
                let mut all = BytesMut::from(&self.whole[..]);
                all.unsplit(self.growing.split());
                self.growing = all;
            }
            self.whole = self.growing.split().freeze();
        }
        self.whole.clone()
    }

    /// Gives the next piece again; none when what follows is still to be read.
    pub fn give(&mut self) -> Option<Incoming<'static>> {
        self.share();
        let piece = self.whole.split_to(self.whole.len().min(PIECE_BYTES));
        let is_last = self.whole.is_empty();
        match (&mut self.behind, piece.is_empty(), is_last) {
            (Behind::Nothing, true, _) => Some(Incoming::End),
            (Behind::Nothing, false, true) => Some(Incoming::Last(Chunk::Shared(piece))),
            (Behind::More, true, _) => None,
            (Behind::Trailers(trailers), true, _) => {
                let trailers = std::mem::take(trailers);
                self.behind = Behind::Nothing;
                Some(Incoming::Trailers(trailers))
            }
            _ => Some(Incoming::Data(Chunk::Shared(piece))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: &[u8]) -> Incoming<'_> {
        Incoming::Data(Chunk::Borrowed(bytes))
    }

    /// What is given, a letter a piece, with the bytes of all.
    fn given(kept: &mut Kept) -> (String, Vec<u8>) {
        let (mut kinds, mut bytes) = (String::new(), Vec::new());
        while let Some(incoming) = kept.give() {
            let (kind, is_end) = match incoming {
                Incoming::Data(chunk) => {
                    bytes.extend_from_slice(chunk.as_slice());
                    ('d', false)
                }
                Incoming::Last(chunk) => {
                    bytes.extend_from_slice(chunk.as_slice());
                    ('l', true)
                }
                Incoming::Trailers(_) => ('t', true),
                Incoming::End => ('e', true),
            };
            kinds.push(kind);
            if is_end {
                break;
            }
        }
        (kinds, bytes)
    }

    #[test]
    fn small_pieces_come_back_as_one_and_large_ones_in_parts() {
        let mut kept = Kept::default();
        for byte in b"body" {
            assert!(kept.push(data(&[*byte])));
        }
        assert_eq!((kept.len(), kept.has_end(), &kept.share()[..]), (4, false, &b"body"[..]));
        assert!(kept.push(data(b" goes on")));
        assert_eq!(&kept.share()[..], b"body goes on");
        assert_eq!(given(&mut kept), ("d".to_owned(), b"body goes on".to_vec()));
        assert_eq!(kept.len(), 0);
        let large = vec![7; PIECE_BYTES + 1];
        let mut kept = Kept::default();
        assert!(!kept.push(Incoming::Last(Chunk::Borrowed(&large))));
        assert_eq!(given(&mut kept), ("dl".to_owned(), large));
    }

    #[test]
    fn the_end_comes_back_as_it_came() {
        let mut kept = Kept::default();
        kept.push(data(b"x"));
        assert!(!kept.push(Incoming::End) && kept.has_end());
        assert_eq!(given(&mut kept), ("l".to_owned(), b"x".to_vec()));
        let mut empty = Kept::default();
        empty.push(Incoming::End);
        assert_eq!(given(&mut empty), ("e".to_owned(), Vec::new()));
        let mut trailed = Kept::default();
        trailed.push(data(b"x"));
        trailed.push(Incoming::Trailers(Box::default()));
        assert_eq!(given(&mut trailed), ("dt".to_owned(), b"x".to_vec()));
        assert!(matches!(trailed.give(), Some(Incoming::End)));
    }
}
