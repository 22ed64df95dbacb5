//! One body on its way through an encoder: pieces in, what is ready out, little at a time.
//!
//! Holds at most one piece that came and what the encoder gave for a step of it. Whoever drives it gives
//! its thread back after [`STEP_BYTES`](cache::compress::STEP_BYTES) fed ([`Coder::must_rest`]), and flushes
//! when nothing more is at hand, so that what an origin sent is read before it sends more. Driven by
//! `relay.rs` and `cache/coded.rs`. Read next: [`Coder::take`].

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use cache::compress::{Coding, Effort, Encoder, EncoderFailed, STEP_BYTES};
use exchange::{Account, Charge, Chunk, Fields, Incoming};
use wire::Exchange;

use crate::fault_points::EncoderFault;

/// Why there is no coder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCoder {
    /// The zone or the node may hold no more.
    NoRoom,
    /// The encoder could not be made.
    Failed,
}

impl NoCoder {
    /// The word in the trail.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoRoom => "uncoded_no_room",
            Self::Failed => "uncoded_encoder_failed",
        }
    }
}

/// What follows the pieces that came.
enum Behind {
    /// More of them.
    More,
    Nothing,
    Trailers(Box<Fields>),
    /// The end was given.
    Given,
}

/// See the module.
pub(crate) struct Coder {
    /// None once the body's end is coded.
    encoder: Option<Encoder>,
    coding: Coding,
    /// What is left of a large piece.
    left: Bytes,
    behind: Behind,
    out: Vec<u8>,
    /// Something was fed that may not have come out yet.
    is_dirty: bool,
    /// Bytes fed since the thread was given back.
    unrested: usize,
    bytes_in: u64,
    bytes_out: u64,
    fault: Option<EncoderFault>,
    _charge: Charge,
}

impl Coder {
    /// For a body of this length, if it is known; `accounts` are the node's and the zone's.
    pub(crate) fn new(
        (coding, effort, level): (Coding, Effort, u8),
        body_bytes: Option<u64>,
        (node, zone): (&Arc<Account>, &Arc<Account>),
        fault: Option<EncoderFault>,
    ) -> Result<Box<Self>, NoCoder> {
        let held_bytes = Encoder::memory_bytes(coding, effort, level, body_bytes);
        let charge = Charge::of_work(node, zone, held_bytes).map_err(|_| NoCoder::NoRoom)?;
        if fault == Some(EncoderFault::Making) {
            return Err(NoCoder::Failed);
        }
        let encoder = Encoder::new(coding, effort, level, body_bytes).map_err(|_| NoCoder::Failed)?;
        Ok(Box::new(Self {
            encoder: Some(encoder),
            coding,
            left: Bytes::new(),
            behind: Behind::More,
            out: Vec::new(),
            is_dirty: false,
            unrested: 0,
            bytes_in: 0,
            bytes_out: 0,
            fault,
            _charge: charge,
        }))
    }

    /// What it makes.
    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    /// Bytes fed so far, and bytes that came out.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in, self.bytes_out)
    }

    /// Bytes that wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.left.len() + self.out.capacity()
    }

    /// Whether there is something to code, or to give, before the next piece may come.
    pub(crate) fn has_work(&self) -> bool {
        !self.left.is_empty()
            || !self.out.is_empty()
            || matches!(self.behind, Behind::Nothing | Behind::Trailers(_))
    }

    /// Whether as much was fed as one go may cost; asked, it begins another.
    pub(crate) fn must_rest(&mut self) -> bool {
        let is_over = self.unrested >= STEP_BYTES;
        if is_over {
            self.unrested = 0;
        }
        is_over
    }

    /// Takes what came, and codes its first step. Only while it has no work.
    ///
    /// # Errors
    /// The encoder broke.
    pub(crate) fn take(&mut self, incoming: Incoming<'_>) -> Result<(), EncoderFailed> {
        let chunk = match incoming {
            Incoming::Data(chunk) => chunk,
            Incoming::Last(chunk) => {
                self.behind = Behind::Nothing;
                chunk
            }
            Incoming::Trailers(trailers) => {
                self.behind = Behind::Trailers(trailers);
                return self.step();
            }
            Incoming::End => {
                self.behind = Behind::Nothing;
                return self.step();
            }
        };
        if chunk.len() <= STEP_BYTES {
            self.feed(chunk.as_slice())?;
        } else {
            self.left = chunk.into_shared();
        }
        self.step()
    }

    /// Codes the next step of what is left, and the end behind the last.
    ///
    /// # Errors
    /// The encoder broke.
    pub(crate) fn step(&mut self) -> Result<(), EncoderFailed> {
        if !self.left.is_empty() {
            let step = self.left.split_to(self.left.len().min(STEP_BYTES));
            self.feed(&step)?;
        }
        let is_at_end = self.left.is_empty() && !matches!(self.behind, Behind::More);
        if is_at_end && let Some(encoder) = self.encoder.take() {
            let before = self.out.len();
            encoder.finish(&mut self.out)?;
            self.bytes_out += (self.out.len() - before) as u64;
            self.is_dirty = false;
        }
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), EncoderFailed> {
        match self.fault {
            Some(EncoderFault::Coding) if self.bytes_in > 0 => return Err(EncoderFailed),
            Some(EncoderFault::Panic) => panic!("the fault point of an encoder"),
            _ => {}
        }
        let Some(encoder) = &mut self.encoder else { return Err(EncoderFailed) };
        let before = self.out.len();
        encoder.push(bytes, &mut self.out)?;
        self.bytes_in += bytes.len() as u64;
        self.bytes_out += (self.out.len() - before) as u64;
        self.unrested += bytes.len();
        self.is_dirty |= !bytes.is_empty();
        Ok(())
    }

    /// Makes everything that was fed readable, where nothing more is at hand; whether there is something to
    /// give.
    ///
    /// # Errors
    /// The encoder broke.
    pub(crate) fn flush(&mut self) -> Result<bool, EncoderFailed> {
        if std::mem::take(&mut self.is_dirty)
            && let Some(encoder) = &mut self.encoder
        {
            let before = self.out.len();
            encoder.flush(&mut self.out)?;
            self.bytes_out += (self.out.len() - before) as u64;
        }
        Ok(!self.out.is_empty())
    }

    /// Gives a visitor what came out, once it has room.
    pub(crate) fn give(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) {
        let is_over = self.encoder.is_none();
        match std::mem::replace(&mut self.behind, Behind::Given) {
            Behind::Nothing if is_over => exchange.send(cx, Chunk::Borrowed(&self.out), true),
            Behind::Trailers(trailers) if is_over && self.out.is_empty() => {
                exchange.send_trailers(cx, &trailers);
            }
            behind => {
                self.behind = behind;
                if !self.out.is_empty() {
                    exchange.send(cx, Chunk::Borrowed(&self.out), false);
                }
            }
        }
        self.out.clear();
    }
}
