//! The web application firewall on a request's way: a zone's rules asked about the request before it goes on,
//! about the answer before it leaves, and once more when all is over.
//!
//! The request's head is inspected on the serving thread, in slices of fuel between which others are served.
//! Of a body, as much as the zone's window is read and held (charged to the exchange), inspected (on the
//! thread up to 8 KiB, by [`inspectors`] beyond), and streams on with what follows: memory is constant
//! whatever the upload, and nothing behind the window waits. What breaks is contained as `contain.rs` says;
//! where the zone only logs, nothing is refused whatever breaks. Answers are [`answer`]'s. Called by
//! `pipeline.rs`; read next: [`Edge::inspect_request`].

mod answer;
mod fetched;
mod inspection;
mod inspectors;
mod lists;
mod tail;
mod told;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use blackbox::Work;
use bytes::Bytes;
use exchange::{BodySize, Charge, Known, Phase, Refusal, Request, Response, Upgrade};
use fuel::pool::Owner;
use seclang::{Action, Interruption, Phase as RulePhase, Progress, Workspace};
use telemetry::metrics::{NotInspected, RuleWork, Trouble, Unanswered, WafOutcome};
use wire::{Exchange, with_scratch};
use zone::{FailMode, HttpSettings, Waf, Zone};

use crate::contain::{guard, is_requests_own, may_be_left_out, mode};
use crate::course::Course;
use crate::fault_points;
use crate::live::Site;
use crate::pace::Pace;
use crate::pipeline::Edge;
use crate::refuse::{fail, redirect, refuse, refuse_as};
use crate::relay::{Failed, too_slow};
use crate::trails;
pub(crate) use fetched::{Judged, Judging, Lent};
use inspection::{Asking, Inspected};
pub(crate) use inspection::{Facts, Inspection};
pub use inspectors::slots_for;
use inspectors::{HERE_MAX, Job, ON_THREAD_BYTES_MAX};
pub(crate) use inspectors::{Inspectors, naming};
use tail::is_multipart;
pub(crate) use tail::{Behind, Tail};
pub(crate) use told::Told;

const BLOCKED: &str = "a rule of the zone's firewall";
pub(crate) const WITHHELD: &str = "a rule of the zone's firewall, by the origin's answer";
const TOO_LARGE: &str = "the body is larger than body_window_bytes, and uninspected is \"refuse\"";
const TOO_MANY: &str = "more or longer values than are inspected, and uninspected is \"refuse\"";
const BUSY: &str = "too many bodies wait for inspection";

/// Where an exchange stands with the firewall.
#[derive(Default)]
pub(crate) enum Standing {
    /// Its zone has none, or it was not asked yet.
    #[default]
    Unasked,
    /// It is under inspection.
    Under(Box<Inspection>),
    /// It is no more.
    Over(Box<Told>),
}

/// What goes beside the streams of an exchange under inspection.
#[derive(Default)]
pub(crate) struct Beside {
    /// Inspects what of a form lies behind the window, while it streams.
    pub(crate) tail: Option<Rc<RefCell<Behind>>>,
    /// Memory of documents of XML that rules about the answer judge.
    documents: Option<Box<Charge>>,
}

/// Why an inspection has no verdict.
pub(crate) enum Stop {
    /// The rules broke, or the request spent its budget.
    Broke(Trouble),
    /// The body did not come, or its visitor left.
    Body(Failed),
    /// There is more than what is inspected, and the zone refuses that; says what.
    Uninspected(&'static str),
    /// No thread has inspected it.
    Busy,
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Broke(trouble)
    }
}

/// The firewall of a zone, as rules have it for an exchange.
fn firewall_of<'a>(zone: &'a Zone, course: &Course) -> Option<&'a Arc<Waf>> {
    let logs = course.rules.config().waf_log == Some(true);
    zone.waf_log.as_ref().filter(|_| logs).or(zone.waf.as_ref())
}

/// One of the bodies that are inspected on this thread.
struct Here<'a>(&'a Cell<usize>);

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Edge {
    /// Asks the rules about a request, its body included; whether it goes on.
    pub(crate) async fn inspect_request(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        site: &Site,
    ) -> bool {
        let Some(waf) = firewall_of(&site.zone, course) else { return true };
        if course.rules.skips_firewall() {
            course.note(Phase::Waf, "skipped_by_a_rule", 0, self.clock.now_us());
            course.waf = Standing::Over(Told::boxed(WafOutcome::Skipped));
            return true;
        }
        let mut trouble = None;
        let is_quarantined = site.ward.is_quarantined(Phase::Waf, || self.clock.now_ms());
        if !is_quarantined || !may_be_left_out(Phase::Waf, site) {
            match self.run(exchange, course, &site.zone).await {
                Ok(()) => return self.obey_firewall(exchange, course).await,
                Err(Stop::Broke(broke)) => {
                    self.broke(Phase::Waf, course, broke);
                    trouble = Some(broke);
                }
                Err(stop) => return self.stop(exchange, course, waf, stop).await,
            }
        }
        if !waf.is_blocking {
            // It changes nothing, whatever breaks.
            return self.pass_broken(course);
        }
        if let Some(own) = trouble.filter(|trouble| is_requests_own(*trouble)) {
            self.end_inspection(exchange, course);
            self.close(exchange, course, own).await;
            return false;
        }
        if let Some(stale) = &site.stale {
            match self.run(exchange, course, stale).await {
                Ok(()) => {
                    course.note(Phase::Waf, trails::BEFORE, 0, self.clock.now_us());
                    return self.obey_firewall(exchange, course).await;
                }
                // A budget spent there is spent: an open mode is for what was published.
                Err(Stop::Broke(own)) if is_requests_own(own) => {
                    self.end_inspection(exchange, course);
                    self.close(exchange, course, own).await;
                    return false;
                }
                Err(Stop::Broke(_)) => {}
                Err(stop) => return self.stop(exchange, course, waf, stop).await,
            }
        }
        match mode(Phase::Waf, Some(&site.zone)) {
            FailMode::Open => {
                course.note(Phase::Waf, "failed_open", 0, self.clock.now_us());
                self.pass_broken(course)
            }
            FailMode::Closed => {
                course.waf = Standing::Over(Told::boxed(WafOutcome::Broken));
                self.close(exchange, course, trouble.unwrap_or(Trouble::Data)).await;
                false
            }
        }
    }

    fn pass_broken(&self, course: &mut Course) -> bool {
        course.note(Phase::Waf, "not_inspected", 0, self.clock.now_us());
        course.waf = Standing::Over(Told::boxed(WafOutcome::Broken));
        true
    }

    /// Phases 1 and 2 of one zone's rules; what they came to stands in the course.
    async fn run(&self, exchange: &mut Exchange, course: &mut Course, zone: &Zone) -> Result<(), Stop> {
        course.waf = Standing::Unasked;
        course.beside = None;
        let request = &exchange.request;
        let now_s = (self.unix_offset_us.get() + course.began_us) / 1_000_000;
        let local = exchange.connection.local;
        let geo = course.geo.clone();
        let inbound_threshold = course.rules.config().inbound_threshold;
        let facts = Facts { visitor: course.visitor, local, id: course.id, now_s, inbound_threshold, geo };
        let waf = firewall_of(zone, course);
        let begun = guard(|| {
            fault_points::at(Phase::Waf, request)?;
            fault_points::deciding(Phase::Waf, zone)?;
            let Some(waf) = waf else { return Ok(None) };
            Ok(Some(Inspection::begin(waf, request, &facts).map(Box::new)))
        })?;
        let inspection = match begun {
            Some(Some(inspection)) => inspection,
            skipped => {
                if skipped.is_some() {
                    course.note(Phase::Waf, "skipped_by_an_exception", 0, self.clock.now_us());
                    course.waf = Standing::Over(Told::boxed(WafOutcome::Skipped));
                }
                return Ok(());
            }
        };
        let mut under = Some(inspection);
        let site = course.site.clone();
        let mut documents = None;
        let result = self.phases(exchange, (&mut under, &mut documents), site.as_deref(), &zone.http).await;
        if let (Ok(true), Some(inspection)) = (&result, &under)
            && inspection.interruption().is_none()
        {
            let again = Inspection::begin(&inspection.waf, &exchange.request, &facts);
            let tail = self.behind(again, &exchange.request, zone).await?;
            course.beside = Some(Box::new(Beside { tail, documents: None }));
        }
        if documents.is_some() && under.as_ref().is_some_and(|inspection| inspection.holds_documents()) {
            course.beside.get_or_insert_default().documents = documents;
        }
        course.waf = under.map_or(Standing::Unasked, Standing::Under);
        result.map(|_| ())
    }

    /// The second inspection of a form whose end lies behind the window, its head inspected.
    ///
    /// # Errors
    /// The rules broke: what lies behind the window must not pass for inspected.
    async fn behind(
        &self,
        again: Option<Inspection>,
        request: &Request,
        zone: &Zone,
    ) -> Result<Option<Rc<RefCell<Behind>>>, Trouble> {
        let Some(again) = again else { return Ok(None) };
        let mut again = Box::new(again);
        again.shadow = None; // it has seen the window
        self.phase(&mut again, RulePhase::RequestHead).await?;
        let is_open = zone.fail_modes.waf == FailMode::Open;
        let fault = fault_points::planned("waf_behind", request);
        let slot = Some(self.slot);
        let lookups = again.waf.rules.set.asks_lists().then(|| self.lookups());
        let behind = Behind { inspection: Some(again), is_open, fault, slot, lookups, ..Behind::default() };
        Ok(Some(Rc::new(RefCell::new(behind))))
    }

    /// Whether a form goes on behind the window. An inspection that a panic took with it is none any more.
    async fn phases(
        &self,
        exchange: &mut Exchange,
        (under, documents): (&mut Option<Box<Inspection>>, &mut Option<Box<Charge>>),
        site: Option<&Site>,
        http: &HttpSettings,
    ) -> Result<bool, Stop> {
        let Some(inspection) = under else { return Ok(false) };
        self.phase(inspection, RulePhase::RequestHead).await?;
        if inspection.interruption().is_some() {
            return Ok(false);
        }
        let wants = |asking: &Asking| asking.transaction.wants_request_body();
        let has_body = exchange.request.body != BodySize::None
            && exchange.request.upgrade == Upgrade::No
            && (wants(&inspection.main) || inspection.shadow.as_ref().is_some_and(wants));
        let (bytes, left) = match has_body {
            true => self.body(exchange, &inspection.waf, http).await?,
            false => (Bytes::new(), 0),
        };
        if bytes.is_empty() {
            self.phase(inspection, RulePhase::RequestBody).await?;
        } else {
            inspection.fed_bytes = bytes.len() as u64;
            *documents = self.charge_documents(inspection, &bytes, site)?;
            let body = (&bytes, left);
            self.body_phase(under, &exchange.request, RulePhase::RequestBody, body, site).await?;
        }
        let is_refused = |inspection: &Inspection| {
            let Inspection { waf, main, .. } = inspection;
            let is_marked = main.transaction.uninspected().values && inspection.interruption().is_none();
            waf.refuses_uninspected && waf.is_blocking && is_marked
        };
        if under.as_deref().is_some_and(is_refused) {
            return Err(Stop::Uninspected(TOO_MANY));
        }
        Ok(left > 0 && is_multipart(&exchange.request))
    }

    /// Charges the zone for the trees that a body of XML becomes, as large as they can be.
    ///
    /// # Errors
    /// There is no room for them.
    fn charge_documents(
        &self,
        inspection: &Inspection,
        body: &[u8],
        site: Option<&Site>,
    ) -> Result<Option<Box<Charge>>, Stop> {
        let bytes = inspection.document_bytes(body);
        let Some(site) = site.filter(|_| bytes > 0) else { return Ok(None) };
        match Charge::of_work(self.node.memory(), &site.memory, bytes) {
            Ok(charge) => Ok(Some(Box::new(charge))),
            Err(_over) => {
                self.metrics.waf_not_inspected(NotInspected::Full);
                site.counters.not_inspected(self.number);
                Err(Stop::Busy)
            }
        }
    }

    /// Evaluates a phase on this thread, in slices.
    async fn phase(&self, inspection: &mut Inspection, phase: RulePhase) -> Result<(), Trouble> {
        self.slices(&mut inspection.main, phase).await?;
        if let Some(shadow) = &mut inspection.shadow
            && self.slices(shadow, phase).await.is_err()
        {
            inspection.shadow = None; // it never decides
        }
        Ok(())
    }

    async fn slices(&self, asking: &mut Asking, phase: RulePhase) -> Result<(), Trouble> {
        loop {
            match self.with_space(|space| asking.step(phase, space))? {
                Progress::Done => return Ok(()),
                Progress::More => tokio::task::yield_now().await,
                // Boxed, as few rules ask.
                Progress::Asks => Box::pin(self.ask_lists(asking)).await,
            }
        }
    }

    /// Whether a body is inspected here: it is small, and not too many are at the moment. Each of these has a
    /// slice of every round, whichever zone it is of; off the thread zones have shares. Whoever keeps
    /// thousands of bodies a byte short of their end would else have a thread for seconds, with what was let
    /// in long ago.
    fn begin_here(&self, bytes: &Bytes) -> Option<Here<'_>> {
        let has_room = self.waf_here.get() < HERE_MAX || self.node.inspectors().is_none();
        (bytes.len() <= ON_THREAD_BYTES_MAX && has_room).then(|| {
            self.waf_here.set(self.waf_here.get() + 1);
            Here(&self.waf_here)
        })
    }

    /// Feeds a body, or its front, and evaluates its phase: here if it is small, else off the thread.
    async fn body_phase(
        &self,
        under: &mut Option<Box<Inspection>>,
        request: &Request,
        phase: RulePhase,
        (bytes, left): (&Bytes, u64),
        site: Option<&Site>,
    ) -> Result<(), Stop> {
        if let Some(_here) = self.begin_here(bytes) {
            let Some(inspection) = under else { return Ok(()) };
            let body = Inspected { phase, bytes, left };
            self.with_space(|_| inspection.main.feed(&body))?;
            if let Some(shadow) = &mut inspection.shadow
                && self.with_space(|_| shadow.feed(&body)).is_err()
            {
                inspection.shadow = None;
            }
            self.phase(inspection, phase).await?;
            return Ok(());
        }
        let (Some(inspectors), Some(inspection)) = (self.node.inspectors(), under.take()) else {
            return Err(Stop::Busy);
        };
        self.metrics.waf_off_thread();
        let fault = fault_points::planned("waf_pool", request);
        let here = self.slot.view();
        let work = Work {
            fingerprint: here.fingerprint,
            zone: here.zone,
            snapshot: here.snapshot,
            phase: here.phase,
            rule: 0,
        };
        let owner = Owner { key: u64::from_ne_bytes(here.zone), weight: site.map_or(1, |site| site.weight) };
        let mut job = Job { inspection, bytes: bytes.clone(), left, phase, fault, work, owner };
        loop {
            // Boxed, as few requests have such a body.
            let (mut inspection, result) = match Box::pin(inspectors.inspect(job)).await {
                Ok(inspected) => inspected?,
                Err(why) => {
                    self.metrics.waf_not_inspected(why);
                    site.inspect(|site| site.counters.not_inspected(self.number));
                    return Err(Stop::Busy);
                }
            };
            if result != Ok(Progress::Asks) {
                *under = Some(inspection);
                return result.map(|_| ()).map_err(Stop::Broke);
            }
            Box::pin(self.ask_lists_for(&mut inspection)).await;
            // It has read its body, and goes on behind it.
            let (bytes, left, fault) = (Bytes::new(), 0, Default::default());
            job = Job { inspection, bytes, left, phase, fault, work, owner };
        }
    }

    /// Runs a piece with the thread's workspace. One that a panic left half done is not used again.
    fn with_space<T>(
        &self,
        piece: impl FnOnce(&mut Workspace) -> Result<T, fuel::Spent>,
    ) -> Result<T, Trouble> {
        let mut space = self.waf_space.take().unwrap_or_else(|| naming(self.slot));
        let result = guard(|| piece(&mut space).map_err(|_| Trouble::Fuel));
        if !matches!(result, Err(Trouble::Panic)) {
            self.waf_space.replace(Some(space));
        }
        result
    }

    /// Reads as much of the request's body as the zone inspects; with how many bytes follow, 1 where that is
    /// not known.
    async fn body(
        &self,
        exchange: &mut Exchange,
        waf: &Waf,
        http: &HttpSettings,
    ) -> Result<(Bytes, u64), Stop> {
        let window = waf.body_window_bytes;
        // Of a form the rest is inspected while it streams.
        let refuses = waf.refuses_uninspected && waf.is_blocking && !is_multipart(&exchange.request);
        let length = match exchange.request.body {
            BodySize::Length(length) => Some(length),
            _ => None,
        };
        if refuses && length.is_some_and(|length| length > window as u64) {
            return Err(Stop::Uninspected(TOO_LARGE));
        }
        if exchange.request.expects_continue {
            // Nobody but us asks for the body now, and the origin is not asked before it was inspected.
            let response = Response { status: 100, ..Response::default() };
            poll_fn(|cx| {
                exchange.inform(cx, &response);
                Poll::Ready(())
            })
            .await;
            exchange.request.expects_continue = false;
        }
        // What fills the window exactly may be all there is: one more read tells.
        let enough = if length.is_some_and(|length| length > window as u64) { window } else { window + 1 };
        self.read_ahead(exchange, enough, http).await.map_err(Stop::Body)?;
        let (bytes, has_end) = exchange.read_ahead();
        if has_end && bytes.len() <= window {
            return Ok((bytes, 0));
        }
        if refuses {
            return Err(Stop::Uninspected(TOO_LARGE));
        }
        let left = match length {
            _ if has_end => 0, // what passes the window lies in the bytes
            Some(length) => length.saturating_sub(bytes.len() as u64),
            None => 1,
        };
        Ok((bytes, left))
    }

    /// Reads the front of the request's body, within the zone's times.
    async fn read_ahead(
        &self,
        exchange: &mut Exchange,
        enough: usize,
        http: &HttpSettings,
    ) -> Result<(), Failed> {
        let bytes_max = http.max_body_bytes.unwrap_or(u64::MAX);
        let (idle_ms, rate) = (http.body_idle_ms, http.min_rate_bytes_per_s);
        let mut pace = Pace::begin(idle_ms, rate, self.clock.now_ms(), &exchange.deadline);
        let mut read = 0_u64;
        poll_fn(|cx| {
            exchange.deadline.register(cx.waker());
            loop {
                if read > bytes_max {
                    let reason = "the body passes max_body_bytes";
                    return Poll::Ready(Err(Failed::Refused(Refusal::BodyTooLarge, reason)));
                }
                if read >= enough as u64 {
                    return Poll::Ready(Ok(()));
                }
                match with_scratch(|scratch| exchange.poll_ahead(cx, scratch)) {
                    Poll::Ready(Ok(goes_on)) => {
                        read = exchange.bytes_in();
                        if !goes_on {
                            return Poll::Ready(Ok(()));
                        }
                        if !pace.moved(read, self.clock.now_ms(), &exchange.deadline) {
                            return Poll::Ready(Err(too_slow()));
                        }
                    }
                    Poll::Ready(Err(gone)) => return Poll::Ready(Err(gone.into())),
                    Poll::Pending => break,
                }
            }
            if exchange.deadline.is_due() && !pace.may_go_on(read, self.clock.now_ms(), &exchange.deadline) {
                return Poll::Ready(Err(too_slow()));
            }
            Poll::Pending
        })
        .await
    }

    /// Does what the rules of a request came to; whether it goes on.
    async fn obey_firewall(&self, exchange: &mut Exchange, course: &mut Course) -> bool {
        let Standing::Under(inspection) = &course.waf else { return true };
        let Some(interruption) = inspection.interruption().cloned() else {
            if !exchange.request.expects_continue {
                exchange.request.fields.remove_known(Known::Expect); // said already
            }
            if inspection.waf.response_window_bytes.is_some() {
                // What is compressed cannot be inspected.
                exchange.request.fields.remove(b"accept-encoding");
            }
            let outcome = inspection.outcome();
            course.note(Phase::Waf, outcome.label(), score(inspection), self.clock.now_us());
            return true;
        };
        course.note(Phase::Waf, "refused", rule_detail(&interruption), self.clock.now_us());
        interrupt(exchange, course, Refusal::WafBlocked, BLOCKED, &interruption).await;
        false
    }

    /// Ends an exchange whose inspection has no verdict, or lets it go on where the zone only logs.
    async fn stop(&self, exchange: &mut Exchange, course: &mut Course, waf: &Waf, stop: Stop) -> bool {
        if matches!(stop, Stop::Busy) && !waf.is_blocking {
            return self.pass_broken(course);
        }
        self.end(exchange, course, stop).await;
        false
    }

    /// Ends an exchange whose inspection has no verdict.
    pub(crate) async fn end(&self, exchange: &mut Exchange, course: &mut Course, stop: Stop) {
        match stop {
            Stop::Body(Failed::Refused(refusal, reason)) => refuse(exchange, course, refusal, reason).await,
            Stop::Body(Failed::Fault(fault)) => fail(exchange, course, fault, self.node.name()).await,
            Stop::Body(Failed::Gone) => {
                course.is_visitor_gone = true;
                exchange.abort();
            }
            Stop::Uninspected(what) => {
                course.note(Phase::Waf, "uninspected", 0, self.clock.now_us());
                refuse(exchange, course, Refusal::Uninspected, what).await;
            }
            Stop::Busy => {
                course.waf = Standing::Over(Told::boxed(WafOutcome::Broken));
                refuse(exchange, course, Refusal::Overload, BUSY).await;
            }
            Stop::Broke(trouble) => self.close(exchange, course, trouble).await,
        }
    }

    /// Ends an inspection that will not go on, and keeps what it found.
    fn end_inspection(&self, exchange: &Exchange, course: &mut Course) {
        let told = match &course.waf {
            Standing::Under(inspection) => {
                self.metrics.rule_steps(RuleWork::Firewall, inspection.steps());
                Told::of(inspection, exchange.bytes_in())
            }
            _ => return,
        };
        course.waf = Standing::Over(Box::new(told));
    }

    /// Lets what was found behind the window stand for what was found within it, once all is judged.
    fn adopt_tail(&self, course: &mut Course) {
        let tail = course.beside.as_ref().and_then(|beside| beside.tail.as_ref());
        let Some(mut behind) = tail.and_then(|behind| behind.try_borrow_mut().ok()) else { return };
        if let (true, Standing::Under(inspection)) = (behind.is_judged, &mut course.waf)
            && let Some(again) = behind.inspection.take()
        {
            inspection.main = again.main;
            inspection.fed_bytes = again.fed_bytes;
        }
    }

    /// When all is over: the rules' last phase, and what is told of the inspection.
    pub(crate) async fn conclude(&self, exchange: &Exchange, course: &mut Course) {
        if let Some(behind) = course.beside.as_ref().and_then(|beside| beside.tail.as_ref()) {
            let trouble = behind.try_borrow_mut().ok().and_then(|mut behind| behind.trouble.take());
            if course.refusal.is_some() {
                self.adopt_tail(course);
            }
            if let Some(trouble) = trouble {
                self.broke(Phase::Waf, course, trouble);
            }
        }
        match std::mem::take(&mut course.waf) {
            Standing::Under(mut inspection) => {
                if !inspection.is_over {
                    let elapsed_ms = self.clock.now_us().saturating_sub(course.began_us) / 1_000;
                    inspection.main.transaction.set_elapsed(elapsed_ms);
                    if let Err(trouble) = self.phase(&mut inspection, RulePhase::Logging).await {
                        self.broke(Phase::Waf, course, trouble);
                    }
                }
                self.metrics.rule_steps(RuleWork::Firewall, inspection.steps());
                course.waf = Standing::Over(Box::new(Told::of(&inspection, exchange.bytes_in())));
            }
            other => course.waf = other,
        }
        let Standing::Over(told) = &course.waf else { return };
        if let Some(outcome) = told.outcome {
            self.metrics.waf(outcome);
        }
        self.metrics.waf_uninspected(told.uninspected_bytes);
        if let Some(asked) = told.asked {
            self.metrics.waf_lookups(u64::from(asked.lookups));
            self.metrics.waf_unanswered(Unanswered::List, u64::from(asked.unanswered));
            self.metrics.waf_unanswered(Unanswered::Pattern, u64::from(asked.patterns_broken));
        }
        if told.has_differed {
            self.metrics.waf_shadow_differed();
        }
    }
}

/// Refuses as a rule says.
async fn interrupt(
    exchange: &mut Exchange,
    course: &mut Course,
    refusal: Refusal,
    reason: &'static str,
    interruption: &Interruption,
) {
    match &interruption.action {
        Action::Redirect(location) => {
            course.refusal = Some(refusal);
            course.reason = reason;
            redirect(exchange, course, interruption.status, location.as_bytes()).await;
        }
        Action::Drop => {
            course.refusal = Some(refusal);
            course.reason = reason;
            exchange.abort();
        }
        Action::Deny => {
            let status = match interruption.status {
                status @ 400..600 => status,
                _ => refusal.status(),
            };
            refuse_as(exchange, course, refusal, status, reason).await;
        }
    }
}

fn score(inspection: &Inspection) -> u32 {
    u32::try_from(inspection.main.transaction.scores().inbound).unwrap_or(0)
}

fn rule_detail(interruption: &Interruption) -> u32 {
    u32::try_from(interruption.rule).unwrap_or(u32::MAX)
}

/// What the rules would do to a request by its head alone, for comparing decisions; none if it goes on.
pub(crate) fn verdict_of(waf: &Arc<Waf>, request: &Request, facts: &Facts) -> Option<String> {
    let mut inspection = Inspection::begin(waf, request, facts)?;
    let mut space = Workspace::default();
    for phase in [RulePhase::RequestHead, RulePhase::RequestBody] {
        let asking = &mut inspection.main;
        if asking.transaction.inspect_whole(phase, &mut space, &mut asking.fuel).is_err() {
            return Some("too costly for its firewall".to_owned());
        }
    }
    let ended = inspection.interruption()?;
    Some(format!("refused by the firewall, {}", ended.status))
}
