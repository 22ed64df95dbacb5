//! Coded forms of stored answers: each made once, by a task of its own, and read by all who take it.
//!
//! The task reads the stored body as any visitor does, while it fills too, has it coded off the serving
//! threads, and pours what comes out into an object of its own beside it, which visitors read as it fills. So
//! the origin is asked once whatever codings are asked for, and a body is coded once for each. Who cannot
//! have a coded form now (no room, a disk that is slow, an encoder that broke) gets the answer as it is.
//! Called by `cache.rs` between what is done to a head and its delivery. Read next: [`Edge::code_stored`].

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use blackbox::Work as Polled;
use cache::compress::{
    Chosen, Coding, CodingSettings, Effort, NotCoded, add_vary, code_head, code_not_modified,
};
use cache::engine::CodedStep;
use cache::policy::{Metadata, Sending, StoredHead};
use cache::store::{Fill, Object, Piece, Pushed, Reader, Ticket};
use exchange::{BodySize, Deadline, Deadlines, Phase, Response};
use telemetry::metrics::{CodedSource, Trouble};
use wire::Exchange;
use zone::Zone;

use super::give::Stored;
use super::pour::{STILL_MS, UNREAD_BYTES_MAX};
use super::wait::InLine;
use crate::coding::{NoCoder, Work, label_of, word_of};
use crate::course::Course;
use crate::fault_points::{self, EncoderFault};
use crate::live::Site;
use crate::pipeline::Edge;
use crate::relay::Failed;

/// Bytes of a body up to which it is coded with the effort for what is stored: a fifth of a second for the
/// slowest coding, in which its first visitor sees it come more slowly than it might. Longer ones are coded
/// as if they streamed; so is none whose length is not known, since those are pages, nearly always.
const STORED_EFFORT_BYTES_MAX: u64 = 1 << 20;

/// How a coded form's making ends before its end.
enum Ended {
    /// The body it is of broke, or went on without the task.
    Body,
    /// Nobody reads it, and it would be made for too much.
    Unread,
    /// The encoder broke.
    Encoder,
}

/// What a form is made of and with.
struct Making {
    fill: Box<Fill>,
    work: Work,
    reader: Reader,
    coding: Coding,
}

impl Edge {
    /// Chooses a coding for an answer out of the store, makes its head that of the coded form, and puts that
    /// in the place of the stored body.
    ///
    /// # Errors
    /// The visitor left; within, the phase broke, and its mode is closed.
    pub(super) async fn code_stored(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        zone: &Zone,
        stored: &mut Stored,
        response: &mut Response,
    ) -> Result<Result<(), Trouble>, Failed> {
        let Some(site) = course.site.clone() else { return Ok(Ok(())) };
        let (Some(settings), Some(asked)) = (&site.coding, course.coding.as_ref().map(|coding| coding.asked))
        else {
            return Ok(Ok(()));
        };
        let is_whole = stored.serving.sending == Sending::Whole;
        let mut chosen = Chosen::Uncoded(NotCoded::Off);
        let changed = self.change(Phase::Response, course, |course| {
            // Of a 304 or a part, what the whole would have been.
            let is_own = is_whole || asked.is_head && response.status != 304;
            let whole = if is_own { None } else { whole_of(&stored.serving.object) };
            let of = whole.as_ref().unwrap_or(response);
            chosen = self.choose_coding(exchange, course, zone, (&asked, of, settings))?;
            Ok(())
        });
        if let Err(trouble) = changed {
            return Ok(Err(trouble));
        }
        if response.status == 304 {
            code_not_modified(response, chosen);
            return Ok(Ok(()));
        }
        if chosen.is_varying() {
            add_vary(response);
        }
        let Chosen::As(coding) = chosen else {
            self.note_coding(course, word_of(chosen));
            return Ok(Ok(()));
        };
        let Some(tier) = self.node.cache() else { return Ok(Ok(())) };
        let object = Arc::clone(&stored.serving.object);
        if stored.serving.slices.is_some() {
            self.note_coding(course, "uncoded_in_slices");
            return Ok(Ok(()));
        }
        let coded_bytes = if is_whole {
            let fault = fault_points::encoder(&exchange.request);
            let form = self.coded_form(exchange, &site, settings, (&object, coding), fault).await?;
            let form = match form {
                Ok(form) => form,
                Err(why) => {
                    self.note_coding(course, why);
                    return Ok(Ok(()));
                }
            };
            // None when too many read it as it fills.
            let Some(reader) = form.reader(0) else {
                self.note_coding(course, "uncoded_busy");
                return Ok(Ok(()));
            };
            if !self.begins(exchange, &form).await? {
                self.note_coding(course, NoCoder::Failed.as_str());
                return Ok(Ok(()));
            }
            let coded_bytes = form.body_bytes();
            stored.reader = Some(reader);
            stored.serving.object = form;
            coded_bytes
        } else {
            tier.engine().coded_bytes(&object, coding)
        };
        code_head(response, coding, coded_bytes);
        if let Some(course) = &mut course.coding {
            course.given = Some((coding, CodedSource::Stored));
        }
        self.note_coding(course, word_of(chosen));
        Ok(Ok(()))
    }

    /// The coded form of an object's body, whose making begins here if nobody has made it; or a word for why
    /// there is none.
    async fn coded_form(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        site: &Arc<Site>,
        settings: &CodingSettings,
        (object, coding): (&Arc<Object>, Coding),
        fault: Option<EncoderFault>,
    ) -> Result<Result<Arc<Object>, &'static str>, Failed> {
        let Some(tier) = self.node.cache() else { return Ok(Err("uncoded_busy")) };
        let mut step = tier.engine().coded(object, coding, self.cache_now());
        loop {
            step = match step {
                CodedStep::Read(form) => return Ok(Ok(form)),
                CodedStep::Wait(ticket) => {
                    // Too long a wait ends without a form, whosever turn it is: the answer goes as it is.
                    let alone = |_: &Exchange, _: &Ticket| Some(());
                    match self.wait_in_line(exchange, Some(site), ticket, alone).await? {
                        InLine::Waited(waited) => tier.engine().coded_waited(object, waited),
                        InLine::Alone(()) => CodedStep::Nothing,
                    }
                }
                CodedStep::Code(fill) => {
                    let length = object.body_bytes();
                    let is_long = length.is_some_and(|bytes| bytes > STORED_EFFORT_BYTES_MAX);
                    let effort = if is_long { Effort::Streaming } else { Effort::Stored };
                    let of = (coding, effort, settings.level(coding, effort));
                    let work = Work::new(of, length, (self.node.memory(), &site.memory), fault);
                    let (work, reader) = match (work, object.reader(0)) {
                        (Ok(work), Some(reader)) => (work, reader),
                        (Ok(_), None) => return Ok(Err("uncoded_busy")),
                        (Err(why), _) => {
                            if why == NoCoder::Failed {
                                self.metrics.coding_failed();
                            }
                            return Ok(Err(why.as_str()));
                        }
                    };
                    let form = Arc::clone(fill.object());
                    let making = Making { fill, work, reader, coding };
                    self.send_making(making, exchange, site);
                    return Ok(Ok(form));
                }
                CodedStep::Nothing => return Ok(Err("uncoded_busy")),
            };
        }
    }

    /// Waits until something of a form is there; false if it broke before.
    async fn begins(&self, exchange: &mut Exchange, form: &Arc<Object>) -> Result<bool, Failed> {
        if form.is_whole() {
            return Ok(true);
        }
        let Some(mut ahead) = form.reader(0) else { return Ok(false) };
        poll_fn(|cx| {
            if let Poll::Ready(piece) = ahead.poll_piece(cx.waker()) {
                return Poll::Ready(Ok(matches!(piece, Piece::Bytes(_) | Piece::End)));
            }
            exchange.poll_gone(cx).map(|gone| Err(gone.into()))
        })
        .await
    }

    /// Sends the making of a form out, as a task of its own on the thread.
    fn send_making(self: &Rc<Self>, making: Making, exchange: &Exchange, site: &Arc<Site>) {
        let (edge, site) = (Rc::clone(self), Arc::clone(site));
        let deadlines = Rc::clone(exchange.deadline.owner());
        tokio::task::spawn_local(async move {
            let zone = *site.zone.id.0.first_chunk().unwrap_or(&[0; 8]);
            let mut polled = Polled { phase: Phase::Response as u8, zone, ..Polled::default() };
            let done = edge.named(&mut polled, pin!(edge.make(making, &deadlines))).await;
            if done.is_none() {
                edge.metrics.coding_failed();
                edge.node.registry().contained(Phase::Response as usize, Trouble::Panic);
                edge.node.registry().panicked();
            }
        });
    }

    async fn make(&self, making: Making, deadlines: &Rc<Deadlines>) {
        let Making { mut fill, mut work, mut reader, coding } = making;
        let (object, form) = (Arc::clone(reader.object()), Arc::clone(fill.object()));
        let still = deadlines.slot();
        let made = self.code_into(&mut fill, &mut work, &mut reader, &still).await;
        let (bytes_in, bytes_out) = work.bytes();
        self.metrics.coded(label_of(coding), bytes_in, bytes_out);
        match made {
            Ok(()) => {
                fill.finish();
                // A body that was not kept is asked for by nobody any more.
                if !object.is_whole()
                    && let Some(tier) = self.node.cache()
                {
                    tier.engine().forget_coded(&form);
                }
            }
            // Dropped, the fill tells its readers.
            Err(Ended::Body | Ended::Unread) => {}
            Err(Ended::Encoder) => {
                self.metrics.coding_failed();
                drop(fill);
                if let Some(tier) = self.node.cache() {
                    tier.engine().coding_failed(&object, coding, self.cache_now());
                }
            }
        }
    }

    async fn code_into(
        &self,
        fill: &mut Fill,
        work: &mut Work,
        reader: &mut Reader,
        still: &Deadline,
    ) -> Result<(), Ended> {
        let mut unread = 0_u64;
        loop {
            wait_for_room(fill, still).await;
            // Nothing more is at hand: what there is can be read now.
            let piece = poll_fn(|cx| match reader.poll_piece(cx.waker()) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                Poll::Pending if work.is_dirty() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await;
            let (coded, fed) = match piece {
                Some(Piece::Bytes(bytes)) => {
                    let fed = bytes.len() as u64;
                    (work.feed(self.node.coders(), bytes).await, fed)
                }
                None => (work.flush(self.node.coders()).await, 0),
                Some(Piece::End) => {
                    let rest = work.finish(self.node.coders()).await.map_err(|_| Ended::Encoder)?;
                    fill.push(&rest);
                    return Ok(());
                }
                Some(Piece::Aborted | Piece::Behind) => return Err(Ended::Body),
            };
            let coded = coded.map_err(|_| Ended::Encoder)?;
            unread = if fill.readers() == 0 { unread + fed } else { 0 };
            let pushed = if coded.is_empty() { Pushed::Kept } else { fill.push(&coded) };
            if pushed == Pushed::Unread || unread > UNREAD_BYTES_MAX {
                return Err(Ended::Unread);
            }
        }
    }
}

/// Waits while a form that is not kept is a window ahead of its slowest reader; one that stands still and
/// keeps others waiting is cut off.
async fn wait_for_room(fill: &Fill, still: &Deadline) {
    poll_fn(|cx| {
        while fill.poll_room(cx.waker()).is_pending() {
            still.register(cx.waker());
            if !(still.is_due() && fill.readers() > 1) {
                still.arm(STILL_MS);
                return Poll::Pending;
            }
            fill.cut_slowest();
            still.disarm();
        }
        still.disarm();
        Poll::Ready(())
    })
    .await;
}

/// The head of the whole that an object is, as it would be chosen a coding for.
fn whole_of(object: &Object) -> Option<Response> {
    let head = StoredHead::from_kept(object.head().bytes.clone())?;
    let meta = Metadata::from_numbers(&object.head().numbers);
    let mut whole = head.unpack();
    whole.body = object.body_bytes().or(meta.body_bytes).map_or(BodySize::Unknown, BodySize::of_length);
    Some(whole)
}
