//! Slices of large objects: each found, waited for or fetched when a visitor comes to it.
//!
//! Which bytes lie where is the engine's ([`Slices`]); what is here asks the origin for one slice, by a task
//! of its own. Called by `give.rs` and the phase. Read next: [`Edge::slice`].

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use cache::engine::{Serving, SliceFetch, SliceOutcome, SliceStep, Slices};
use cache::store::{Object, Reader, Ticket};
use exchange::{Fault, Phase, Response};
use telemetry::metrics::Trouble;
use wire::Exchange;

use super::Aim;
use super::fetch::{Landing, Waits, work_of};
use super::give::first_range;
use super::wait::InLine;
use crate::course::Course;
use crate::pipeline::Edge;
use crate::relay::{Answered, Failed};
use crate::waf::{Judged, Judging};

/// What came of a slice.
pub(crate) enum Slice {
    /// It is stored, or fills.
    Stored(Arc<Object>, Option<Reader>),
    /// It is not stored: its bytes come from the origin.
    Passed(Box<Answered>),
    /// The firewall keeps it back, as the course's inspection says.
    KeptBack,
    /// The object is another by now.
    OtherVersion,
    /// It is not stored, and the origin is not asked for this visitor: there is more to do than can be done.
    Unasked,
    /// The origin failed.
    Failed(Fault),
}

impl Edge {
    /// The first slice that an answer needs, in hand before its head is given. None where it needs none.
    pub(super) async fn first_slice(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        serving: &mut Serving,
        aim: &Aim,
    ) -> Option<Result<(u64, Slice), Failed>> {
        let slices = Rc::new(*serving.slices.take()?);
        let number = first_range(&serving.sending, slices.whole())
            .and_then(|range| slices.needed(range).next())
            .map(|(number, _)| number);
        let slice = match number {
            Some(number) => {
                let is_asked = course.shed.is_none();
                let slice = self.slice(exchange, course, &slices, (number, is_asked), aim).await;
                Some(slice.map(|slice| (number, slice)))
            }
            None => None,
        };
        // Nobody else holds it unless its fetch still runs.
        serving.slices = Some(Box::new(Rc::unwrap_or_clone(slices)));
        slice
    }

    /// One slice, for which the origin is asked or not. In the middle of an answer it is.
    pub(super) async fn slice(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        slices: &Rc<Slices>,
        (number, is_asked): (u64, bool),
        aim: &Aim,
    ) -> Result<Slice, Failed> {
        let mut step = slices.look(number, self.cache_now());
        loop {
            step = match step {
                SliceStep::Read(object) => return Ok(Slice::Stored(object, None)),
                SliceStep::Wait(ticket) => {
                    let alone =
                        |_: &Exchange, ticket: &Ticket| slices.impatient(number, ticket, self.cache_now());
                    match self.wait_in_line(exchange, course.site.as_deref(), ticket, alone).await? {
                        InLine::Waited(waited) => slices.waited(number, waited, self.cache_now()),
                        InLine::Alone(fetch) => SliceStep::Fetch(fetch),
                    }
                }
                // Whoever waits for it, or comes next, asks.
                SliceStep::Fetch(_) if !is_asked => return Ok(Slice::Unasked),
                SliceStep::Fetch(fetch) => {
                    return self.fetch_slice(exchange, course, slices, fetch, aim).await;
                }
            };
        }
    }

    async fn fetch_slice(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        slices: &Rc<Slices>,
        fetch: SliceFetch,
        aim: &Aim,
    ) -> Result<Slice, Failed> {
        let landing: Rc<Landing<Slice>> = Rc::default();
        let (edge, slices, aim, at) = (Rc::clone(self), Rc::clone(slices), aim.clone(), Rc::clone(&landing));
        let mut request = exchange.request.clone();
        let (connection, deadlines) = (Rc::clone(&exchange.connection), Rc::clone(exchange.deadline.owner()));
        let mut own = course.for_errand();
        let judge = course.judge().cloned();
        let mut work = work_of(&own);
        tokio::task::spawn_local(async move {
            let landed = Rc::clone(&at);
            let course = own.for_errand();
            let inner = async {
                let sent = request.clone();
                slices.prepare(&fetch, &mut request.fields);
                edge.prepare(&mut request, &own, &connection, &aim);
                let mut nobody =
                    Exchange::of_nobody(request, connection, deadlines.slot(), Box::new(|_informed| {}));
                let mut response = Response::default();
                let mut answered = match edge.fetch(&mut nobody, &mut own, &aim.pool, &mut response).await {
                    Ok(answered) => answered,
                    Err(Failed::Fault(fault)) => return at.land(Slice::Failed(fault)),
                    Err(_) => return at.land(Slice::Failed(Fault::ProxyInternalError)),
                };
                // A slice of its own accord: who asks for what lies behind the window gets that inspected
                // too.
                if let Some(waf) = &judge {
                    let judging = Judging { waf, request: &sent, lent: &at.lent, is_told: false };
                    let given = (&mut answered, &response);
                    match Box::pin(edge.judge_fetched(&mut nobody, &own, judging, given)).await {
                        Ok(Judged::Good | Judged::Bridged) => {}
                        Ok(Judged::Unjudged) => {
                            slices.not_for_store(fetch);
                            return at.land(Slice::Passed(Box::new(answered)));
                        }
                        Ok(Judged::KeptBack) => {
                            slices.not_for_store(fetch);
                            return at.land(Slice::KeptBack);
                        }
                        Ok(Judged::Stopped(_)) => {
                            slices.not_for_store(fetch);
                            return at.land(Slice::Failed(Fault::ProxyInternalError));
                        }
                        Err(Failed::Fault(fault)) => return at.land(Slice::Failed(fault)),
                        Err(_) => return at.land(Slice::Failed(Fault::ProxyInternalError)),
                    }
                }
                drop(nobody);
                match slices.answered(fetch, &response, edge.cache_now()) {
                    SliceOutcome::Fill(fill) => {
                        let object = Arc::clone(fill.object());
                        at.land(Slice::Stored(object, fill.reader()));
                        edge.pour(answered, &response, *fill, &deadlines, true).await;
                    }
                    SliceOutcome::Pass => at.land(Slice::Passed(Box::new(answered))),
                    SliceOutcome::OtherVersion => at.land(Slice::OtherVersion),
                    SliceOutcome::Failed(_) => at.land(Slice::Failed(Fault::HttpResponseIncomplete)),
                }
            };
            if edge.named(&mut work, pin!(inner)).await.is_none() {
                edge.broke(Phase::Cache, &course, Trouble::Panic);
                landed.land(Slice::Failed(Fault::ProxyInternalError));
            }
        });
        let waits = Waits(landing);
        poll_fn(|cx| {
            if let Some(slice) = waits.0.take(cx) {
                if matches!(slice, Slice::KeptBack) {
                    course.take_back(&waits.0.lent);
                }
                return Poll::Ready(Ok(slice));
            }
            exchange.poll_gone(cx).map(|gone| Err(gone.into()))
        })
        .await
    }
}
