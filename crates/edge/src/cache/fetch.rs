//! Fetches for the store: each a task of its own on the thread, so that no visitor's pace is another's.
//!
//! An errand asks the origin and ends in one of three ways: the answer goes into the store, and the task
//! pours its body; or it is not to be stored, and the visitor who waits takes it over as it comes, with the
//! connection; or it failed. When its visitor leaves and nobody else waits, a fetch ends as long as no head
//! has come; an answer that is on its way into the store goes on for a while (`pour.rs`).
//! Called by `cache.rs`. Read next: [`Edge::await_errand`], `pour.rs`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use blackbox::Work;
use cache::engine::{Fetch, Outcome, Serving, Visit};
use cache::policy::{CacheStatus, FetchTimes, Forward, OriginTrouble, rewrite_browser, strip_own};
use cache::store::Reader;
use exchange::{BodySize, Connection, Deadline, Deadlines, Fault, Phase, Request, Response};
use telemetry::metrics::{Trouble, WafOutcome};
use wire::Exchange;
use zone::{Pool, Waf};

use super::give::Stored;
use super::{Aim, Came};
use crate::course::Course;
use crate::fault_points;
use crate::forward::{self, Names};
use crate::live::Site;
use crate::pipeline::Edge;
use crate::relay::{Answered, Failed};
use crate::shield;
use crate::trails;
use crate::waf::{Judged, Judging, Lent, Standing, Stop, Told};

/// What a task that works for the store is counted for.
pub(super) fn work_of(course: &Course) -> Work {
    let site = course.site.as_ref();
    Work {
        fingerprint: course.fingerprint,
        phase: Phase::Cache as u8,
        zone: site.map_or([0; 8], |site| *site.zone.id.0.first_chunk().unwrap_or(&[0; 8])),
        snapshot: course.snapshot,
        ..Work::default()
    }
}

/// A fetch with all that it takes to make it.
pub(crate) struct Errand {
    visit: Box<Visit>,
    fetch: Box<Fetch>,
    /// As the phase left it: what was the visitor's alone is out, what is the origin's not yet in.
    request: Request,
    connection: Rc<Connection>,
    deadlines: Rc<Deadlines>,
    course: Course,
    aim: Aim,
    /// The firewall's rules that judge the answer.
    judge: Option<Arc<Waf>>,
}

impl Errand {
    pub(super) fn new(
        exchange: &Exchange,
        course: &Course,
        aim: &Aim,
        visit: Box<Visit>,
        fetch: Box<Fetch>,
    ) -> Self {
        Self {
            visit,
            fetch,
            request: exchange.request.clone(),
            connection: Rc::clone(&exchange.connection),
            deadlines: Rc::clone(exchange.deadline.owner()),
            course: course.for_errand(),
            aim: aim.clone(),
            judge: course.judge().cloned(),
        }
    }
}

/// How an errand ended, for the visitor who waits.
pub(super) enum Landed {
    /// An answer out of the store, which may still fill.
    Stored(Box<Serving>, Option<Reader>),
    /// An answer that passes.
    Passed(CacheStatus<'static>, Box<(Answered, Response)>),
    /// None, and why the origin was asked.
    Failed(Fault, Forward),
    /// One that the firewall keeps back, or has no verdict about.
    KeptBack(CacheStatus<'static>, Option<Stop>),
    /// The errand broke.
    Broke(Trouble),
}

/// What is known of the origin when it has ended.
pub(super) struct Ways {
    origin: Option<Arc<Pool>>,
    origin_index: usize,
    origin_us: Option<u64>,
    retries: u32,
    /// What the origin answered; 0 for nothing.
    status: u16,
}

impl Ways {
    fn of(course: &Course) -> Self {
        Self {
            origin: course.origin.clone(),
            origin_index: course.origin_index,
            origin_us: course.origin_us,
            retries: course.retries,
            status: course.status.unwrap_or(0),
        }
    }
}

/// An errand's end, with what is known of the origin.
type Ending = (Landed, Ways);

/// Where an errand and its visitor meet.
pub(super) struct Landing<T> {
    landed: RefCell<Option<T>>,
    /// Interim answers on their way to the visitor.
    informed: RefCell<Vec<Response>>,
    visitor: RefCell<Option<Waker>>,
    task: RefCell<Option<Waker>>,
    is_left: Cell<bool>,
    /// The visitor's inspection, for the errand to judge the answer with.
    pub(super) lent: Lent,
}

impl<T> Default for Landing<T> {
    fn default() -> Self {
        Self {
            landed: RefCell::default(),
            informed: RefCell::default(),
            visitor: RefCell::default(),
            task: RefCell::default(),
            is_left: Cell::new(false),
            lent: Lent::default(),
        }
    }
}

impl<T> Landing<T> {
    fn wake_visitor(&self) {
        if let Some(waker) = self.visitor.take() {
            waker.wake();
        }
    }

    /// The errand's end.
    pub(super) fn land(&self, landed: T) {
        self.landed.replace(Some(landed));
        self.wake_visitor();
    }

    /// What landed, for the visitor; it is woken when something does.
    pub(super) fn take(&self, cx: &Context<'_>) -> Option<T> {
        let landed = self.landed.take();
        if landed.is_none() {
            self.visitor.replace(Some(cx.waker().clone()));
        }
        landed
    }

    fn inform(&self, response: &Response) {
        self.informed.borrow_mut().push(response.clone());
        self.wake_visitor();
    }
}

/// The visitor's hold on a landing: dropped, the errand knows that nobody waits here.
pub(super) struct Waits<T>(pub(super) Rc<Landing<T>>);

impl<T> Drop for Waits<T> {
    fn drop(&mut self) {
        self.0.is_left.set(true);
        if let Some(waker) = self.0.task.take() {
            waker.wake();
        }
    }
}

/// Why an errand came to nothing.
enum Ended {
    Fault(Fault),
    /// Its visitor left, and nobody else can have anything of it.
    Left,
    /// It takes longer than visitors wait who could have something stale.
    Slow,
}

impl Edge {
    /// Makes the request what the origin is asked with.
    pub(crate) fn prepare(&self, request: &mut Request, course: &Course, connection: &Connection, aim: &Aim) {
        if let Some(len) = aim.strip {
            request.strip_path_prefix(len);
        }
        let names = Names { node: self.node.name(), loop_token: self.node.loop_token() };
        let scratch = &mut *self.scratch.borrow_mut();
        forward::towards_origin(request, course, connection, &names, aim.is_cloudflare, scratch);
        shield::apply(&mut request.fields, &course.rules.towards_origin);
    }

    /// Sends an errand out, and waits for its end.
    pub(super) async fn await_errand(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        errand: Errand,
        aim: &Aim,
    ) -> Came {
        let landing = Rc::<Landing<Ending>>::default();
        let is_judged = errand.judge.is_some();
        if is_judged {
            course.lend(&landing.lent);
        }
        self.send_errand(errand, Some(Rc::clone(&landing)));
        let waits = Waits(landing);
        let landed = poll_fn(|cx| {
            let informed = std::mem::take(&mut *waits.0.informed.borrow_mut());
            for response in &informed {
                exchange.inform(cx, response);
            }
            if let Some(landed) = waits.0.take(cx) {
                return Poll::Ready(Some(landed));
            }
            exchange.poll_gone(cx).map(|_| None)
        })
        .await;
        if is_judged {
            course.take_back(&waits.0.lent);
        }
        drop(waits);
        let Some((landed, ways)) = landed else { return self.gone(exchange, course) };
        if is_judged && matches!(course.waf, Standing::Unasked) {
            // A panic took the inspection with it.
            course.waf = Standing::Over(Told::boxed(WafOutcome::Broken));
        }
        course.origin = ways.origin;
        course.origin_index = ways.origin_index;
        course.origin_us = ways.origin_us;
        course.retries = ways.retries;
        if course.origin.is_some() {
            course.note(Phase::Origin, trails::CHOSEN, ways.origin_index as u32, self.clock.now_us());
        }
        if ways.status > 0 {
            course.note(Phase::Origin, "answered", u32::from(ways.status), self.clock.now_us());
        }
        match landed {
            Landed::Stored(serving, reader) => {
                self.serves(exchange, course, Stored { serving, reader, first: None }, aim).await
            }
            Landed::Passed(status, passed) => {
                course.cache.say(status, None);
                let word = status.detail.unwrap_or("passed");
                course.note(Phase::Cache, word, u32::from(passed.1.status), self.clock.now_us());
                Came::Passed(passed)
            }
            Landed::Failed(fault, forward) => {
                if course.origin.is_some() {
                    let at = ways.origin_index as u32;
                    course.note(Phase::Origin, fault.as_str(), at, self.clock.now_us());
                }
                self.fails(exchange, course, fault, Some(forward)).await
            }
            Landed::KeptBack(status, stop) => {
                course.cache.say(status, None);
                match stop {
                    Some(stop) => self.end(exchange, course, stop).await,
                    None => drop(self.keep_back(exchange, course).await),
                }
                Came::Ended
            }
            Landed::Broke(trouble) => {
                self.close(exchange, course, trouble).await;
                Came::Ended
            }
        }
    }

    /// Sends an errand out: with a landing for the visitor who waits, or without one for the store alone.
    pub(super) fn send_errand(self: &Rc<Self>, errand: Errand, landing: Option<Rc<Landing<Ending>>>) {
        let edge = Rc::clone(self);
        // On this thread, beside the visitors: its connections and counters are the thread's.
        tokio::task::spawn_local(async move {
            let course = errand.course.for_errand();
            let mut work = work_of(&course);
            let done = edge.named(&mut work, pin!(edge.run_errand(errand, landing.clone()))).await;
            if done.is_none() {
                // An errand goes through the phases behind the cache as well.
                let phase = Phase::ALL.get(usize::from(work.phase)).copied().unwrap_or(Phase::Cache);
                edge.broke(phase, &course, Trouble::Panic);
                if let Some(landing) = landing {
                    landing.land((Landed::Broke(Trouble::Panic), Ways::of(&course)));
                }
            }
        });
    }

    async fn run_errand(&self, errand: Errand, landing: Option<Rc<Landing<Ending>>>) {
        let Errand { visit, mut fetch, request, connection, deadlines, mut course, aim, judge } = errand;
        let own = Lent::default();
        let lent = landing.as_ref().map_or(&own, |landing| &landing.lent);
        let land = |landed: Landed, course: &Course| {
            if let Some(landing) = &landing {
                landing.land((landed, Ways::of(course)));
            }
        };
        loop {
            let mut asked = request.clone();
            self.slot.phase(Phase::Origin as u8);
            if let Err(trouble) = fault_points::at(Phase::Origin, &asked) {
                self.broke(Phase::Origin, &course, trouble);
                return land(Landed::Broke(trouble), &course);
            }
            fetch.prepare(&mut asked.fields);
            self.prepare(&mut asked, &course, &connection, &aim);
            let informing = landing.clone();
            let mut exchange = Exchange::of_nobody(
                asked,
                Rc::clone(&connection),
                deadlines.slot(),
                Box::new(move |response| {
                    if let Some(landing) = &informing {
                        landing.inform(response);
                    }
                }),
            );
            let mut response = Response::default();
            let asked_ms = self.cache_now().unix_ms;
            let patience = deadlines.slot();
            course.is_bridged = visit.may_bridge(&fetch, OriginTrouble::Unreachable, self.cache_now());
            let bounds = Bounds { visit: &visit, fetch: &fetch, landing: landing.as_deref(), patience };
            let site = course.site.clone();
            let judging = judge.as_ref().map(|waf| Judging {
                waf,
                request: &request,
                lent,
                is_told: landing.is_some(),
            });
            let asking = async {
                let mut answered = self.fetch(&mut exchange, &mut course, &aim.pool, &mut response).await?;
                course.origin_us = Some(self.clock.now_us().saturating_sub(course.origin_began_us));
                course.status = Some(response.status);
                let trouble = OriginTrouble::Status(response.status);
                let judged = match judging {
                    None => Judged::Good,
                    // Nobody gets it: something stale stands in for it.
                    Some(_) if visit.may_bridge(&fetch, trouble, self.cache_now()) => Judged::Bridged,
                    Some(judging) => {
                        let given = (&mut answered, &response);
                        Box::pin(self.judge_fetched(&mut exchange, &course, judging, given)).await?
                    }
                };
                Ok((answered, judged))
            };
            let (answered, judged) = match self.bounded(bounds, site.as_deref(), asking).await {
                Ok(judged) => judged,
                Err(ended) => {
                    let (trouble, fault) = match ended {
                        Ended::Fault(fault) => (OriginTrouble::Unreachable, fault),
                        Ended::Slow => (OriginTrouble::Slow, Fault::HttpResponseTimeout),
                        Ended::Left => return,
                    };
                    let forward = fetch.forward();
                    let stale = visit.failed(*fetch, trouble, self.cache_now());
                    return land(
                        match stale {
                            Some(serving) => Landed::Stored(serving, None),
                            None => Landed::Failed(fault, forward),
                        },
                        &course,
                    );
                }
            };
            let now = self.cache_now();
            // Dates are compared with the calendar; how long it took, and what the answer's age is counted
            // from, are nobody else's business.
            let calendar_ms = (self.unix_offset_us.get() + self.clock.now_us()) / 1000;
            let asked_ms = calendar_ms.saturating_sub(now.unix_ms.saturating_sub(asked_ms));
            let times = FetchTimes { asked_ms, answered_ms: calendar_ms, received_ms: now.unix_ms };
            let outcome = match judged {
                Judged::Good => visit.answered(*fetch, &response, &times, now),
                Judged::Bridged => {
                    let (forward, trouble) = (fetch.forward(), OriginTrouble::Status(response.status));
                    let stale = visit.failed(*fetch, trouble, now).map(|mut serving| {
                        serving.status.forward_status = Some(response.status);
                        Landed::Stored(serving, None)
                    });
                    answered.end(&response);
                    return land(stale.unwrap_or(Landed::Failed(Fault::HttpProtocolError, forward)), &course);
                }
                Judged::Unjudged => Outcome::Pass(visit.not_for_store(*fetch, response.status, now)),
                kept_back => {
                    let passing = visit.not_for_store(*fetch, response.status, now);
                    let stop = if let Judged::Stopped(stop) = kept_back { Some(stop) } else { None };
                    if landing.is_none() {
                        self.kept_back_unseen(&course, lent);
                    }
                    return land(Landed::KeptBack(passing.status, stop), &course);
                }
            };
            match outcome {
                Outcome::Serve(serving) => {
                    answered.end(&response);
                    return land(Landed::Stored(serving, None), &course);
                }
                Outcome::Fill(filling) => {
                    // Before the first piece is there: it misses none, whatever becomes of the fill.
                    let reader = filling.serving.object.reader(0);
                    land(Landed::Stored(Box::new(filling.serving), reader), &course);
                    drop(exchange);
                    return self.pour(answered, &response, filling.fill, &deadlines, landing.is_some()).await;
                }
                Outcome::Pass(passing) => {
                    let chosen = course.cache.chosen();
                    if let Some(cache) =
                        chosen.as_deref().or(course.site.as_ref().and_then(|site| site.cache.as_ref()))
                    {
                        strip_own(&mut response.fields);
                        // A 304 speaks of the page that its visitor has.
                        let status = if response.status == 304 { 200 } else { response.status };
                        let browser = cache.settings.browser_lifetime(status);
                        rewrite_browser(&mut response.fields, browser, 0);
                    }
                    let passed = Box::new((answered, response));
                    return land(Landed::Passed(passing.status, passed), &course);
                }
                Outcome::Again(again) => {
                    answered.end(&response);
                    lent.take(); // it has seen an answer; the next gets one of its own
                    fetch = again;
                }
            }
        }
    }

    /// Bounds an attempt by who waits for it.
    async fn bounded(
        &self,
        bounds: Bounds<'_>,
        site: Option<&Site>,
        asking: impl Future<Output = Result<(Answered, Judged), Failed>>,
    ) -> Result<(Answered, Judged), Ended> {
        let Bounds { visit, fetch, landing, patience } = bounds;
        let wait_ms = site.and_then(|site| site.cache.as_ref()).map_or(0, |cache| cache.wait_ms);
        if fetch.stored_head().is_some() {
            patience.arm(wait_ms);
        }
        let mut asking = pin!(asking);
        poll_fn(|cx| {
            if let Some(landing) = landing {
                if landing.is_left.get() && fetch.waiting() == 0 {
                    return Poll::Ready(Err(Ended::Left));
                }
                landing.task.replace(Some(cx.waker().clone()));
            }
            if let Poll::Ready(asked) = asking.as_mut().poll(cx) {
                return Poll::Ready(asked.map_err(|failed| match failed {
                    Failed::Fault(fault) => Ended::Fault(fault),
                    // Neither is said of an exchange without a visitor.
                    Failed::Refused(..) | Failed::Gone => Ended::Fault(Fault::ProxyInternalError),
                }));
            }
            patience.register(cx.waker());
            if patience.is_due() {
                patience.disarm();
                if visit.may_bridge(fetch, OriginTrouble::Slow, self.cache_now()) {
                    return Poll::Ready(Err(Ended::Slow));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Who waits for an attempt, and for how long.
struct Bounds<'a> {
    visit: &'a Visit,
    fetch: &'a Fetch,
    landing: Option<&'a Landing<Ending>>,
    patience: Deadline,
}

impl Answered {
    /// The head is all that was wanted: the connection may serve again if no body follows.
    pub(super) fn end(self, response: &Response) {
        if response.body == BodySize::None {
            self.finish();
        }
    }
}
