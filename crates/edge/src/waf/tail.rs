//! What of a multipart body lies behind the window: its fields are inspected while it streams, its files pass
//! by.
//!
//! Forms with large files are everyday, and a field behind a file would otherwise be a way around the rules.
//! So the whole body is read once more by a second inspection of the same head, a piece at a time on its way
//! to the origin, at constant memory; the last piece waits for the verdict, without which the origin has no
//! whole request. Begun by [`super`]; fed by `relay.rs`. Read next: [`Tail::poll_next`].

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use blackbox::Slot;
use exchange::{Chunk, Fault, Incoming, Known, Phase, Refusal, Request};
use seclang::{Phase as RulePhase, Progress, Workspace};
use telemetry::metrics::Trouble;
use wire::Exchange;

use super::lists::{Awaited, Lookups};
use super::{BLOCKED, Inspection, TOO_LARGE, naming};
use crate::contain::{guard, is_requests_own};
use crate::fault_points::Planned;
use crate::relay::Failed;

/// The second inspection, between the exchange's course and its upload.
#[derive(Default)]
pub(crate) struct Behind {
    pub(crate) inspection: Option<Box<Inspection>>,
    /// The whole body was read and judged.
    pub(crate) is_judged: bool,
    /// What broke, to be counted.
    pub(crate) trouble: Option<Trouble>,
    /// Whether a break lets the request go on.
    pub(crate) is_open: bool,
    /// What breaks the verdict on purpose.
    pub(crate) fault: Planned,
    /// Whom its rules ask; none where they ask no list.
    pub(crate) lookups: Option<Lookups>,
    /// Where its verdict names the firewall and the rule; the upload's own phase is another.
    pub(crate) slot: Option<Slot>,
}

/// The second inspection on the way of one upload.
pub(crate) struct Tail {
    behind: Rc<RefCell<Behind>>,
    /// The end of the body, until the verdict.
    held: Option<Incoming<'static>>,
    space: Option<Box<Workspace>>,
    /// Answers that the verdict waits for.
    awaited: Option<Awaited>,
}

/// Whether a request's body is a form with parts.
pub(crate) fn is_multipart(request: &Request) -> bool {
    const KIND: &[u8] = b"multipart/form-data";
    let kind = request.fields.known(Known::ContentType).unwrap_or_default();
    kind.get(..KIND.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(KIND))
}

impl Tail {
    pub(crate) fn new(behind: &Rc<RefCell<Behind>>) -> Box<Self> {
        Box::new(Self { behind: Rc::clone(behind), held: None, space: None, awaited: None })
    }

    /// Reads the next piece of the body, and shows it to the rules first.
    ///
    /// # Errors
    /// As reading the body; and what the rules came to, with the last piece.
    pub(crate) fn poll_next<'a>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &'a mut Exchange,
        scratch: &'a mut [u8],
    ) -> Poll<Result<Incoming<'a>, Failed>> {
        if self.held.is_none() {
            match ready!(exchange.poll_body(cx, scratch))? {
                Incoming::Data(chunk) => {
                    self.feed(chunk.as_slice())?;
                    return Poll::Ready(Ok(Incoming::Data(chunk)));
                }
                Incoming::Last(chunk) => {
                    self.feed(chunk.as_slice())?;
                    self.held = Some(Incoming::Last(Chunk::Shared(chunk.into_shared())));
                }
                Incoming::Trailers(trailers) => self.held = Some(Incoming::Trailers(trailers)),
                Incoming::End => self.held = Some(Incoming::End),
            }
        }
        ready!(self.judge(cx))?;
        Poll::Ready(Ok(self.held.take().unwrap_or(Incoming::End)))
    }

    fn feed(&self, bytes: &[u8]) -> Result<(), Failed> {
        let behind = &mut *self.behind.borrow_mut();
        let Some(inspection) = &mut behind.inspection else { return Ok(()) };
        let main = &mut inspection.main;
        let fed = guard(|| main.transaction.request_body(bytes, &mut main.fuel).map_err(|_| Trouble::Fuel));
        match fed {
            Ok(()) => {
                inspection.fed_bytes += bytes.len() as u64;
                // Each piece is a slice of its own.
                inspection.main.fuel.start_slice();
                Ok(())
            }
            Err(trouble) => behind.broke(trouble),
        }
    }

    /// Evaluates the rules about the whole body, a slice a poll.
    fn judge(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let behind = &mut *self.behind.borrow_mut();
        let Some(inspection) = behind.inspection.as_mut().filter(|_| !behind.is_judged) else {
            return Poll::Ready(Ok(()));
        };
        if let (Some(lookups), Some(awaited)) = (&behind.lookups, &mut self.awaited) {
            ready!(lookups.poll(awaited, &mut inspection.main, cx));
            self.awaited = None;
        }
        let slot = behind.slot;
        let space = self.space.get_or_insert_with(|| Box::new(slot.map_or_else(Workspace::default, naming)));
        let before = slot.map(|slot| slot.view().phase);
        slot.inspect(|slot| slot.phase(Phase::Waf as u8));
        let fault = &behind.fault;
        let progress = guard(|| {
            fault.strike()?;
            inspection.main.step(RulePhase::RequestBody, space).map_err(|_| Trouble::Fuel)
        });
        if let (Some(slot), Some(before)) = (slot, before) {
            slot.phase(before);
        }
        match progress {
            Ok(Progress::More) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Progress::Asks) => {
                match &behind.lookups {
                    Some(lookups) => self.awaited = Some(lookups.begin(&inspection.main)),
                    None => inspection.main.transaction.give_up_questions(),
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Progress::Done) => {}
            Err(trouble) => return Poll::Ready(behind.broke(trouble)),
        }
        self.space = None;
        behind.is_judged = true;
        let waf = &inspection.waf;
        if inspection.interruption().is_some() {
            return Poll::Ready(Err(Failed::Refused(Refusal::WafBlocked, BLOCKED)));
        }
        let left = inspection.main.transaction.uninspected().request_body_bytes;
        if left > 0 && waf.refuses_uninspected && waf.is_blocking {
            return Poll::Ready(Err(Failed::Refused(Refusal::Uninspected, TOO_LARGE)));
        }
        Poll::Ready(Ok(()))
    }
}

impl Behind {
    /// What becomes of the request whose inspection broke; nothing more is inspected.
    fn broke(&mut self, trouble: Trouble) -> Result<(), Failed> {
        self.trouble = Some(trouble);
        let is_blocking = self.inspection.take().is_some_and(|inspection| inspection.waf.is_blocking);
        match is_blocking {
            true if is_requests_own(trouble) => {
                Err(Failed::Refused(Refusal::TooCostly, "the request spent its budget of work"))
            }
            true if !self.is_open => Err(Failed::Fault(Fault::ProxyInternalError)),
            _ => Ok(()),
        }
    }
}
