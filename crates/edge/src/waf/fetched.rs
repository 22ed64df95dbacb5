//! Answers that are fetched for the store, under the firewall's rules: judged once, before anybody has them.
//!
//! What is stored serves many, so the front of the body is held until the verdict, and an answer that is kept
//! back is neither stored nor given. The rules see the request of the visitor who caused the fetch: that
//! visitor's own inspection is lent to the fetch, so that the log has what was found. Where there is none (a
//! fetch in the background, a slice, a visitor who has left while others wait), the request's head is
//! inspected once more. What was stored is not judged again: a key holds answers of one state of the rules
//! (`cache/sites.rs`). Called by `cache/fetch.rs` and `cache/slices.rs`. Read next: [`Edge::judge_fetched`].

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use exchange::{Charge, Phase, Request, Response};
use seclang::Phase as RulePhase;
use telemetry::metrics::{RuleWork, Trouble};
use wire::Exchange;
use zone::{FailMode, Waf};

use super::{Facts, Inspection, Standing, Stop};
use crate::contain::{guard, is_requests_own, mode};
use crate::course::Course;
use crate::pipeline::Edge;
use crate::relay::{Answered, Failed};

/// The inspection that a visitor lends to a fetch. It lies here whenever the fetch waits for the origin, so
/// that a visitor who leaves meanwhile takes what was found along.
pub(crate) type Lent = RefCell<Option<Box<Inspection>>>;

/// What a fetch is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Judging<'a> {
    pub(crate) waf: &'a Arc<Waf>,
    /// The request that caused it, as its visitor's inspection saw it.
    pub(crate) request: &'a Request,
    pub(crate) lent: &'a Lent,
    /// Whether the visitor's log has what is found and what it cost: then the shadow is asked too.
    pub(crate) is_told: bool,
}

/// What the rules came to about an answer.
pub(crate) enum Judged {
    /// It may be stored and given.
    Good,
    /// Something stored stands in for it, and nobody gets it: it was not looked at.
    Bridged,
    /// It may be given and not stored: the rules broke, and the zone is open.
    Unjudged,
    /// The rules keep it back, as the inspection that was lent says.
    KeptBack,
    /// There is no verdict, and so no answer.
    Stopped(Stop),
}

impl Course {
    /// The rules that judge what this request has fetched for the store; none where it is left out.
    pub(crate) fn judge(&self) -> Option<&Arc<Waf>> {
        match &self.waf {
            Standing::Under(inspection) if !inspection.is_over => Some(&inspection.waf),
            _ => None,
        }
        .filter(|_| !self.rules.skips_answers_firewall())
    }

    /// Lends the inspection to a fetch.
    pub(crate) fn lend(&mut self, lent: &Lent) {
        match std::mem::take(&mut self.waf) {
            Standing::Under(inspection) => drop(lent.replace(Some(inspection))),
            other => self.waf = other,
        }
    }

    /// Takes it back, or the one that stands for it; nothing while the fetch is at work with it.
    pub(crate) fn take_back(&mut self, lent: &Lent) {
        if let Some(inspection) = lent.take() {
            self.waf = Standing::Under(inspection);
        }
    }
}

impl Edge {
    /// Asks the rules about an answer on its way into the store. `exchange` is the fetch's own, and is
    /// charged with what is held.
    ///
    /// # Errors
    /// The answer broke before it could be judged.
    pub(crate) async fn judge_fetched(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        judging: Judging<'_>,
        (answered, response): (&mut Answered, &Response),
    ) -> Result<Judged, Failed> {
        self.slot.phase(Phase::Waf as u8);
        let Ok(charge) = Charge::begin(self.node.memory(), &exchange.connection, 0) else {
            return Ok(Judged::Stopped(Stop::Busy));
        };
        exchange.charge = charge;
        if let Some(site) = &course.site
            && exchange.charge.join(&site.memory).is_err()
        {
            return Ok(Judged::Stopped(Stop::Busy));
        }
        let result = self.fetched_phases(exchange, course, judging, answered, response).await;
        self.slot.phase(Phase::Cache as u8);
        if !judging.is_told
            && let Some(inspection) = &*judging.lent.borrow()
        {
            self.metrics.rule_steps(RuleWork::Firewall, inspection.steps());
        }
        let is_blocking = judging.waf.is_blocking;
        match result {
            Ok(true) => Ok(Judged::Good),
            Ok(false) => Ok(Judged::KeptBack),
            Err(Stop::Body(_)) if exchange.is_shed() => Ok(Judged::Stopped(Stop::Busy)),
            Err(Stop::Body(failed)) => Err(failed),
            // It changes nothing, whatever breaks.
            Err(Stop::Busy) if !is_blocking => Ok(Judged::Good),
            Err(Stop::Broke(trouble)) => {
                self.broke(Phase::Waf, course, trouble);
                if let Some(inspection) = &mut *judging.lent.borrow_mut() {
                    inspection.is_over = true;
                }
                let mode = mode(Phase::Waf, course.site.as_ref().map(|site| &*site.zone));
                match is_requests_own(trouble) || mode == FailMode::Closed {
                    _ if !is_blocking => Ok(Judged::Good),
                    true => Ok(Judged::Stopped(Stop::Broke(trouble))),
                    false => Ok(Judged::Unjudged),
                }
            }
            Err(stop) => Ok(Judged::Stopped(stop)),
        }
    }

    /// Phases 3 and 4 of the rules; whether the answer may go on.
    async fn fetched_phases(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        judging: Judging<'_>,
        answered: &mut Answered,
        response: &Response,
    ) -> Result<bool, Stop> {
        let lent = judging.lent;
        let goes_on = |lent: &Lent| {
            lent.borrow().as_ref().is_some_and(|inspection| inspection.interruption().is_none())
        };
        if !self.fetched_head(exchange, course, judging, response).await? {
            return Ok(true); // an exception leaves it out
        }
        if !goes_on(lent) {
            return Ok(false);
        }
        let window = lent.borrow().as_ref().and_then(|inspection| inspection.window_of(response));
        let bytes = match window {
            Some(window) => self.hold_answer(exchange, answered, window).await.map_err(Stop::Body)?,
            None => Bytes::new(),
        };
        let has_left = lent.borrow().is_none();
        if has_left && (!self.fetched_head(exchange, course, judging, response).await? || !goes_on(lent)) {
            return Ok(goes_on(lent));
        }
        let mut under = lent.take();
        let result = self.answer_body(&mut under, judging.request, &bytes, course.site.as_deref()).await;
        let is_kept_back = under.as_ref().is_some_and(|inspection| inspection.interruption().is_some());
        lent.replace(under);
        result.map(|()| !is_kept_back)
    }

    /// Shows the answer's head to the inspection that was lent, or to a new one; false if an exception leaves
    /// the request out.
    async fn fetched_head(
        &self,
        exchange: &Exchange,
        course: &Course,
        judging: Judging<'_>,
        response: &Response,
    ) -> Result<bool, Trouble> {
        let lent = judging.lent.take();
        let (mut inspection, mut result) = match lent {
            Some(inspection) => (inspection, Ok(())),
            None => match self.begin_anew(exchange, course, judging)? {
                Some(mut inspection) => {
                    let result = self.fetched_request(&mut inspection).await;
                    (inspection, result)
                }
                None => return Ok(false),
            },
        };
        if result.is_ok() && inspection.interruption().is_none() {
            result = self.answer_head(&mut inspection, judging.request, response).await;
        }
        judging.lent.replace(Some(inspection));
        result.map(|()| true)
    }

    fn begin_anew(
        &self,
        exchange: &Exchange,
        course: &Course,
        judging: Judging<'_>,
    ) -> Result<Option<Box<Inspection>>, Trouble> {
        let now_s = (self.unix_offset_us.get() + course.began_us) / 1_000_000;
        let local = exchange.connection.local;
        let geo = course.geo.clone();
        let inbound_threshold = course.rules.config().inbound_threshold;
        let facts = Facts { visitor: course.visitor, local, id: course.id, now_s, inbound_threshold, geo };
        let mut begun = guard(|| Ok(Inspection::begin(judging.waf, judging.request, &facts).map(Box::new)))?;
        if let Some(inspection) = begun.as_mut().filter(|_| !judging.is_told) {
            inspection.shadow = None; // nobody would read of it
        }
        Ok(begun)
    }

    /// Phases 1 and 2 of the rules once more: what they set is asked about by those of answers.
    async fn fetched_request(&self, inspection: &mut Inspection) -> Result<(), Trouble> {
        self.phase(inspection, RulePhase::RequestHead).await?;
        if inspection.interruption().is_none() {
            self.phase(inspection, RulePhase::RequestBody).await?;
        }
        Ok(())
    }

    /// Tells of an answer that was fetched for the store alone and is kept back: no visitor's log has it.
    pub(crate) fn kept_back_unseen(&self, course: &Course, lent: &Lent) {
        self.metrics.waf_kept_back();
        let rule = lent.borrow().as_ref().and_then(|one| one.interruption().map(|found| found.rule));
        let now_ms = self.clock.now_ms();
        let Some(site) = &course.site else { return };
        let Some(untold) = site.ward.may_tell(Phase::Waf, now_ms) else { return };
        let id = course.id.to_string();
        let fields = [
            ("zone", site.zone.name.as_str().into()),
            ("rule", rule.unwrap_or_default().into()),
            ("request_id", id.as_str().into()),
            ("untold", untold.into()),
            ("remedy", "what is stored is served while it may be; look at what the origin answers".into()),
        ];
        self.node.setup().events.warn("fetch_kept_back", &fields);
    }
}
