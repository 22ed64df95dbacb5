//! Bodies of stored objects: shared chunks, readable while they fill.
//!
//! One writer appends, any number of readers follow at their own pace, each with an offset of its own; a
//! reader that has read all there is leaves a waker. A whole body is read without a lock. Knows nothing of
//! keys, tables or the disk. Written by `fill.rs`, read by whoever answers a visitor. Read next: [`Reader`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::limits::{CHUNK_BYTES, CHUNK_BYTES_MEAN_MIN, WAITERS_MAX, WINDOW_BYTES};
use super::object::Object;

#[cfg(test)]
mod tests;

/// Bytes of all objects that live, those that left the tables and are still read included.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicU64);

impl Held {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A body and how far it has come.
#[derive(Debug)]
pub(crate) struct Body {
    whole: OnceLock<Box<[Bytes]>>,
    filling: Mutex<Filling>,
    held: Arc<Held>,
    /// Bytes counted in `held`, given back when the body goes.
    charged: AtomicU64,
}

#[derive(Debug, Default)]
struct Filling {
    /// From `first` on. Empty once the body is whole.
    chunks: Vec<Bytes>,
    /// Offset of the first chunk: over zero only while passing.
    first: u64,
    bytes: u64,
    end: End,
    /// Chunks at the end, and their bytes, that were not looked at yet for being many and small.
    loose: usize,
    loose_bytes: usize,
    /// How often chunks were joined: what a reader remembers of them no longer holds then.
    joined: usize,
    /// Too large to be kept: chunks go once every reader has had them.
    is_passing: bool,
    readers: Vec<Option<Place>>,
    free: Vec<usize>,
    writer: Option<Waker>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Whole,
    Aborted,
}

/// Where a reader is.
#[derive(Debug)]
struct Place {
    offset: u64,
    is_cut: bool,
    waker: Option<Waker>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.held.0.fetch_sub(*self.charged.get_mut(), Relaxed);
    }
}

impl Body {
    /// An empty body that will be filled; `overhead_bytes` are counted for what belongs to it.
    pub(crate) fn open(held: &Arc<Held>, overhead_bytes: u64) -> Self {
        held.0.fetch_add(overhead_bytes, Relaxed);
        Self {
            whole: OnceLock::new(),
            filling: Mutex::default(),
            held: Arc::clone(held),
            charged: AtomicU64::new(overhead_bytes),
        }
    }

    /// A whole body out of chunks that nobody else holds.
    pub(crate) fn whole(held: &Arc<Held>, overhead_bytes: u64, chunks: Vec<Bytes>) -> Self {
        let body = Self::open(held, overhead_bytes);
        {
            let mut filling = body.lock();
            filling.bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            filling.end = End::Whole;
            body.charge(filling.bytes);
            body.whole.get_or_init(|| chunks.into());
        }
        body
    }

    /// A whole body that shares the chunks of another (a 304 keeps the body and changes the head). What is
    /// shared is counted twice while both live.
    pub(crate) fn shared(&self, overhead_bytes: u64) -> Option<Self> {
        Some(Self::whole(&self.held, overhead_bytes, self.whole.get()?.to_vec()))
    }

    fn charge(&self, bytes: u64) {
        self.held.0.fetch_add(bytes, Relaxed);
        self.charged.fetch_add(bytes, Relaxed);
    }

    fn discharge(&self, bytes: u64) {
        self.held.0.fetch_sub(bytes, Relaxed);
        self.charged.fetch_sub(bytes, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole.get().is_some()
    }

    pub(crate) fn chunks(&self) -> Option<&[Bytes]> {
        self.whole.get().map(|chunks| &**chunks)
    }

    /// Bytes there are by now.
    pub(crate) fn bytes(&self) -> u64 {
        match self.whole.get() {
            Some(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            None => self.lock().bytes,
        }
    }

    /// Appends a copy of `piece`, which ends what its buffer would otherwise keep alive; gives the bytes
    /// held.
    pub(crate) fn push(&self, piece: &[u8]) -> u64 {
        let mut filling = self.lock();
        for part in piece.chunks(CHUNK_BYTES) {
            filling.chunks.push(Bytes::copy_from_slice(part));
            filling.loose += 1;
            filling.loose_bytes += part.len();
            if filling.loose_bytes >= CHUNK_BYTES {
                filling.join_loose();
            }
        }
        filling.bytes += piece.len() as u64;
        self.charge(piece.len() as u64);
        // The writer is the one who calls.
        self.drop_read(&mut filling);
        let held = filling.bytes - filling.first;
        let wakers = filling.take_wakers();
        drop(filling);
        wake(wakers);
        held
    }

    /// From now on chunks go once every reader has had them.
    pub(crate) fn pass(&self) {
        let mut filling = self.lock();
        filling.is_passing = true;
        self.drop_read(&mut filling);
    }

    /// Ready when a passing body has room for more; at once while it is kept.
    pub(crate) fn poll_room(&self, waker: &Waker) -> Poll<()> {
        let mut filling = self.lock();
        if !filling.is_passing || filling.bytes - filling.first < WINDOW_BYTES {
            return Poll::Ready(());
        }
        filling.writer = Some(waker.clone());
        Poll::Pending
    }

    /// Ends the reading of those who are furthest behind in a passing body; gives how many there were.
    pub(crate) fn cut_slowest(&self) -> usize {
        let mut filling = self.lock();
        if !filling.is_passing {
            return 0;
        }
        let Some(slowest) = filling.places().map(|place| place.offset).min() else { return 0 };
        let mut cut = 0;
        for place in filling.readers.iter_mut().flatten().filter(|place| place.offset == slowest) {
            place.is_cut = true;
            cut += 1;
        }
        let writer = self.drop_read(&mut filling);
        let wakers = filling.take_wakers();
        drop(filling);
        wake(wakers.into_iter().chain(writer));
        cut
    }

    pub(crate) fn readers(&self) -> usize {
        self.lock().places().count()
    }

    /// Ends the body: from now on it is read without a lock. A passing one ends for its readers alone.
    pub(crate) fn finish(&self) {
        let mut filling = self.lock();
        filling.end = End::Whole;
        if !filling.is_passing {
            filling.join_loose();
            let chunks = std::mem::take(&mut filling.chunks);
            self.whole.get_or_init(|| chunks.into());
        }
        let wakers = filling.take_wakers();
        drop(filling);
        wake(wakers);
    }

    pub(crate) fn abort(&self) {
        let mut filling = self.lock();
        if filling.end == End::Open {
            filling.end = End::Aborted;
        }
        let wakers = filling.take_wakers();
        drop(filling);
        wake(wakers);
    }

    /// Drops chunks of a passing body that nobody will read any more; gives a writer that waited for it.
    fn drop_read(&self, filling: &mut Filling) -> Option<Waker> {
        if !filling.is_passing {
            return None;
        }
        let needed = filling.places().map(|place| place.offset).min().unwrap_or(filling.bytes);
        let mut count = 0;
        let mut first = filling.first;
        for chunk in &filling.chunks {
            if first + chunk.len() as u64 > needed {
                break;
            }
            first += chunk.len() as u64;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        filling.chunks.drain(..count);
        self.discharge(first - filling.first);
        filling.first = first;
        filling.writer.take()
    }
}

impl Filling {
    /// Readers that are still owed something.
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.readers.iter().flatten().filter(|place| !place.is_cut)
    }

    /// Copies the chunks at the end into one, if they are many and small. Done as they come, so that no
    /// serving thread copies a large body at once.
    fn join_loose(&mut self) {
        let (count, bytes) = (std::mem::take(&mut self.loose), std::mem::take(&mut self.loose_bytes));
        if count < 2 || bytes / count >= CHUNK_BYTES_MEAN_MIN || self.is_passing {
            return;
        }
        let from = self.chunks.len().saturating_sub(count);
        let joined = self.chunks.drain(from..).fold(Vec::with_capacity(bytes), |mut joined, chunk| {
            joined.extend_from_slice(&chunk);
            joined
        });
        self.chunks.push(joined.into());
        self.joined += 1;
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().flatten().filter_map(|place| place.waker.take()).collect()
    }
}

/// With no lock held: a waker may run what it likes.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

/// What a reader got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes, shared with everybody else who reads them; never empty.
    Bytes(Bytes),
    /// The body is whole and was read to its end.
    End,
    /// The fill failed: the answer must be cut short, never ended as if it were whole.
    Aborted,
    /// The bytes wanted are no longer held: the body was too large to be kept, and this reader too slow or
    /// too late. The rest may be asked of the origin by range.
    Behind,
}

/// A cursor in a body; holds its object.
#[derive(Debug)]
pub struct Reader {
    object: Arc<Object>,
    offset: u64,
    /// Place of the chunk the offset lies in, and where that begins; a hint that is checked.
    hint: (usize, u64),
    /// Joinings of chunks that the hint knows of.
    joined: usize,
    /// Registered with a body that fills.
    place: Option<usize>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Reader {
    /// A reader from an offset on, as ranges ask for; `None` when [`WAITERS_MAX`] read the body as it fills.
    pub(crate) fn new(object: Arc<Object>, offset: u64) -> Option<Self> {
        let mut place = None;
        if !object.body.is_whole() {
            let mut filling = object.body.lock();
            if filling.end == End::Open || filling.is_passing {
                let new = Some(Place { offset, is_cut: false, waker: None });
                place = Some(match filling.free.pop() {
                    Some(free) => {
                        if let Some(slot) = filling.readers.get_mut(free) {
                            *slot = new;
                        }
                        free
                    }
                    None if filling.readers.len() >= WAITERS_MAX => return None,
                    None => {
                        filling.readers.push(new);
                        filling.readers.len() - 1
                    }
                });
            }
        }
        Some(Self { object, offset, hint: (0, 0), joined: 0, place })
    }

    /// Gives up the place with a body that fills, if there is one.
    fn leave(&mut self) {
        let Some(place) = self.place.take() else { return };
        let body = &self.object.body;
        let mut filling = body.lock();
        if let Some(slot) = filling.readers.get_mut(place) {
            *slot = None;
        }
        filling.free.push(place);
        let writer = body.drop_read(&mut filling);
        drop(filling);
        wake(writer);
        // A whole body may have other chunks than it had while it filled.
        self.hint = (0, 0);
    }

    /// The object read.
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece: all that lies in one chunk. Pending when there is none yet; the waker is called when
    /// there is, or when the fill ends or fails. Past the end of a whole body: [`Piece::End`].
    pub fn poll_piece(&mut self, waker: &Waker) -> Poll<Piece> {
        if self.object.body.is_whole() {
            return self.poll_piece_of_whole();
        }
        let object = Arc::clone(&self.object);
        let mut filling = object.body.lock();
        if object.body.is_whole() {
            // Between the two looks.
            drop(filling);
            return self.poll_piece_of_whole();
        }
        if filling.is_passing || filling.joined != self.joined {
            (self.hint, self.joined) = ((0, 0), filling.joined);
        }
        let is_cut = |place: &Place| place.is_cut;
        let mine = self.place.and_then(|place| filling.readers.get(place)).and_then(Option::as_ref);
        if self.offset < filling.first || mine.is_some_and(is_cut) {
            return Poll::Ready(Piece::Behind);
        }
        if let Some(bytes) = self.next_of(&filling.chunks, filling.first) {
            let mine = self.place.and_then(|place| filling.readers.get_mut(place)).and_then(Option::as_mut);
            if let Some(mine) = mine {
                mine.offset = self.offset;
            }
            let writer = object.body.drop_read(&mut filling);
            drop(filling);
            wake(writer);
            return Poll::Ready(Piece::Bytes(bytes));
        }
        match filling.end {
            End::Whole => Poll::Ready(Piece::End),
            End::Aborted => Poll::Ready(Piece::Aborted),
            End::Open => {
                let mine =
                    self.place.and_then(|place| filling.readers.get_mut(place)).and_then(Option::as_mut);
                // Registered when made, so it has a place.
                if let Some(mine) = mine
                    && !mine.waker.as_ref().is_some_and(|known| known.will_wake(waker))
                {
                    mine.waker = Some(waker.clone());
                }
                Poll::Pending
            }
        }
    }

    fn poll_piece_of_whole(&mut self) -> Poll<Piece> {
        self.leave();
        let object = Arc::clone(&self.object);
        let chunks = object.body.chunks().unwrap_or_default();
        Poll::Ready(self.next_of(chunks, 0).map_or(Piece::End, Piece::Bytes))
    }

    /// Gathers pieces for one vectored write: at most `pieces_max`, and no more once `bytes_max` are there.
    /// Gives the end when it came with nothing before it; ready with pieces otherwise.
    pub fn poll_pieces(
        &mut self,
        waker: &Waker,
        into: &mut Vec<Bytes>,
        pieces_max: usize,
        bytes_max: usize,
    ) -> Poll<Option<Piece>> {
        let (before, mut bytes) = (into.len(), 0);
        while into.len() - before < pieces_max && bytes < bytes_max {
            match self.poll_piece(waker) {
                Poll::Ready(Piece::Bytes(piece)) => {
                    bytes += piece.len();
                    into.push(piece);
                }
                Poll::Ready(other) if into.len() == before => return Poll::Ready(Some(other)),
                Poll::Pending if into.len() == before => return Poll::Pending,
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    }

    /// What is left of the chunk that the offset lies in, of chunks from `first` on.
    fn next_of(&mut self, chunks: &[Bytes], first: u64) -> Option<Bytes> {
        let (mut place, mut start) = self.hint;
        // A body may have been gathered into other chunks, or moved on, since the last look.
        if start > self.offset || start < first || place == 0 {
            (place, start) = (0, first);
        }
        while let Some(chunk) = chunks.get(place) {
            let end = start + chunk.len() as u64;
            if self.offset < end {
                self.hint = (place, start);
                let from = usize::try_from(self.offset.checked_sub(start)?).ok()?;
                self.offset = end;
                return Some(chunk.slice(from..));
            }
            (place, start) = (place + 1, end);
        }
        None
    }
}
