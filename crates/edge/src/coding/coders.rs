//! The threads that code what the store keeps: harder work than a serving thread may do between two others.
//!
//! A bounded number of pieces wait; when all is full, a serving thread codes by itself, in steps between
//! which others are served. Started with the serving threads. Called by `cache/coded.rs`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cache::compress::{Coding, Effort, Encoder, EncoderFailed, STEP_BYTES};
use exchange::{Account, Charge};
use fuel::pool::{Full, Pool};

use super::NoCoder;
use crate::background;
use crate::fault_points::EncoderFault;

/// Pieces that wait for each thread: each is of another body, and takes some 8 ms at 64 KiB.
const WAITING_PER_THREAD: usize = 64;

/// The threads.
pub(crate) struct Coders {
    pool: Pool,
}

impl Coders {
    /// Starts one thread for every two that serve.
    pub(crate) fn start(serving: usize, told: background::Told) -> io::Result<Self> {
        let threads = serving.div_ceil(2);
        let begin = move |_| background::give_way(&told);
        Ok(Self { pool: Pool::start("code", threads, threads * WAITING_PER_THREAD, begin)? })
    }
}

/// One body under way.
pub(crate) struct Work {
    /// None after its end, or when it broke.
    encoder: Option<Encoder>,
    /// Something was fed since the last flush.
    is_dirty: bool,
    fault: Option<EncoderFault>,
    bytes_in: u64,
    bytes_out: u64,
    _charge: Charge,
}

/// What is to be done with an encoder.
enum Piece {
    Feed(Bytes),
    Flush,
    Finish,
}

impl Work {
    /// For a body of this length, if it is known; `accounts` are the node's and the zone's.
    pub(crate) fn new(
        (coding, effort, level): (Coding, Effort, u8),
        body_bytes: Option<u64>,
        (node, zone): (&Arc<Account>, &Arc<Account>),
        fault: Option<EncoderFault>,
    ) -> Result<Self, NoCoder> {
        let held_bytes = Encoder::memory_bytes(coding, effort, level, body_bytes);
        let charge = Charge::of_work(node, zone, held_bytes).map_err(|_| NoCoder::NoRoom)?;
        if fault == Some(EncoderFault::Making) {
            return Err(NoCoder::Failed);
        }
        let encoder = Encoder::new(coding, effort, level, body_bytes).map_err(|_| NoCoder::Failed)?;
        Ok(Self {
            encoder: Some(encoder),
            is_dirty: false,
            fault,
            bytes_in: 0,
            bytes_out: 0,
            _charge: charge,
        })
    }

    /// Bytes fed so far, and bytes that came out.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in, self.bytes_out)
    }

    /// Whether a flush would make something readable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Codes a piece; gives what is ready.
    ///
    /// # Errors
    /// The encoder broke, or panicked.
    pub(crate) async fn feed(
        &mut self,
        coders: Option<&Coders>,
        piece: Bytes,
    ) -> Result<Vec<u8>, EncoderFailed> {
        if self.fault == Some(EncoderFault::Coding) && self.bytes_in > 0 {
            return Err(EncoderFailed);
        }
        self.bytes_in += piece.len() as u64;
        self.is_dirty = true;
        self.work(coders, Piece::Feed(piece)).await
    }

    /// Gives everything that was fed so far in a form that can be read.
    ///
    /// # Errors
    /// As [`Work::feed`].
    pub(crate) async fn flush(&mut self, coders: Option<&Coders>) -> Result<Vec<u8>, EncoderFailed> {
        self.is_dirty = false;
        self.work(coders, Piece::Flush).await
    }

    /// Gives the rest; the body is whole.
    ///
    /// # Errors
    /// As [`Work::feed`].
    pub(crate) async fn finish(&mut self, coders: Option<&Coders>) -> Result<Vec<u8>, EncoderFailed> {
        self.work(coders, Piece::Finish).await
    }

    async fn work(&mut self, coders: Option<&Coders>, piece: Piece) -> Result<Vec<u8>, EncoderFailed> {
        let encoder = self.encoder.take().ok_or(EncoderFailed)?;
        let job = Job { encoder, piece, panics: self.fault == Some(EncoderFault::Panic) };
        let (encoder, out) = match coders {
            Some(coders) => coders.code(job).await?,
            None => job.in_steps().await?,
        };
        self.encoder = encoder;
        self.bytes_out += out.len() as u64;
        Ok(out)
    }
}

/// What a piece of work gives: the encoder, unless that was its end, and what is ready.
type Coded = (Option<Encoder>, Vec<u8>);

/// A piece of work, with the encoder that does it.
struct Job {
    encoder: Encoder,
    piece: Piece,
    panics: bool,
}

impl Job {
    /// Does it at once.
    fn whole(mut self) -> Result<Coded, EncoderFailed> {
        assert!(!self.panics, "the fault point of an encoder");
        let mut out = Vec::new();
        match self.piece {
            Piece::Feed(bytes) => self.encoder.push(&bytes, &mut out)?,
            Piece::Flush => self.encoder.flush(&mut out)?,
            Piece::Finish => {
                self.encoder.finish(&mut out)?;
                return Ok((None, out));
            }
        }
        Ok((Some(self.encoder), out))
    }

    /// Does it on a serving thread: others are served between its steps.
    async fn in_steps(mut self) -> Result<Coded, EncoderFailed> {
        let mut before = Vec::new();
        if let Piece::Feed(bytes) = &mut self.piece {
            while bytes.len() > STEP_BYTES {
                self.encoder.push(&bytes.split_to(STEP_BYTES), &mut before)?;
                tokio::task::yield_now().await;
            }
        }
        let (encoder, mut out) = self.whole()?;
        before.append(&mut out);
        Ok((encoder, before))
    }
}

impl Coders {
    /// Does a piece of work on one of the threads, or here where all are busy.
    async fn code(&self, job: Job) -> Result<Coded, EncoderFailed> {
        // The pool drops what it has no room for; the encoder must outlive that.
        let place = Arc::new(Mutex::new(Some(job)));
        let take = |place: &Mutex<Option<Job>>| place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let theirs = Arc::clone(&place);
        match self.pool.submit(move || take(&theirs).map(Job::whole)) {
            Ok(pending) => pending.await.ok().flatten().unwrap_or(Err(EncoderFailed)),
            Err(Full) => match take(&place) {
                Some(job) => job.in_steps().await,
                None => Err(EncoderFailed),
            },
        }
    }
}
