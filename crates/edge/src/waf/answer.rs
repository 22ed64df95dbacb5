//! Answers under the firewall's rules: their heads always, the front of their bodies where the zone says so.
//!
//! A body's front is held, charged to the exchange, until the verdict; the visitor has seen nothing of the
//! answer by then, so that it can be kept back whole. Called by `pipeline.rs` between the origin and what is
//! done to answers; the same for what the cache fetches is `fetched.rs`.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Phase, Refusal, Request, Response, Upgrade};
use seclang::Phase as RulePhase;
use telemetry::metrics::Trouble;
use wire::{Exchange, Kept, with_scratch};
use zone::{FailMode, Zone};

use super::{Inspection, Standing, Stop, WITHHELD, interrupt, rule_detail};
use crate::contain::{guard, is_requests_own, mode};
use crate::course::Course;
use crate::fault_points;
use crate::live::Site;
use crate::pace::Pace;
use crate::pipeline::Edge;
use crate::relay::{Answered, Failed};

impl Edge {
    /// Gives an answer to the visitor once the rules have been asked about it.
    pub(crate) async fn give_inspected(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        zone: &Zone,
        mut answered: Answered,
        response: &mut Response,
    ) {
        if self.inspect_answer(exchange, course, &mut answered, response).await {
            self.give_answered(exchange, course, zone, answered, response).await;
        }
    }

    /// Asks the rules about an answer; false if it is kept back, or did not come whole enough to judge: then
    /// the visitor has another.
    async fn inspect_answer(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        answered: &mut Answered,
        response: &Response,
    ) -> bool {
        self.adopt_tail(course);
        let inspection = match std::mem::take(&mut course.waf) {
            Standing::Under(inspection) => inspection,
            other => {
                course.waf = other;
                return true;
            }
        };
        if course.rules.skips_answers_firewall() {
            course.waf = Standing::Under(inspection);
            return true;
        }
        self.slot.phase(Phase::Waf as u8);
        let is_blocking = inspection.waf.is_blocking;
        let mut under = Some(inspection);
        let site = course.site.as_deref();
        let result = self.answer_phases(exchange, &mut under, site, (answered, response)).await;
        course.waf = under.map_or(Standing::Unasked, Standing::Under);
        match result {
            Ok(()) => {}
            Err(Stop::Broke(trouble)) => {
                self.broke(Phase::Waf, course, trouble);
                let mode = mode(Phase::Waf, course.site.as_ref().map(|site| &*site.zone));
                let is_closed = is_requests_own(trouble) || mode == FailMode::Closed;
                if is_blocking && is_closed {
                    self.close(exchange, course, trouble).await;
                    return false;
                }
                self.give_up(course);
            }
            Err(Stop::Busy) if !is_blocking => self.give_up(course),
            Err(stop) => {
                self.end(exchange, course, stop).await;
                return false;
            }
        }
        !self.keep_back(exchange, course).await
    }

    /// Refuses in place of an answer that the rules keep back; whether they do.
    pub(crate) async fn keep_back(&self, exchange: &mut Exchange, course: &mut Course) -> bool {
        let Standing::Under(inspection) = &course.waf else { return false };
        let Some(interruption) = inspection.interruption().cloned() else { return false };
        course.note(Phase::Waf, "withheld", rule_detail(&interruption), self.clock.now_us());
        exchange.hold_also(0);
        interrupt(exchange, course, Refusal::WafWithheld, WITHHELD, &interruption).await;
        true
    }

    fn give_up(&self, course: &mut Course) {
        course.note(Phase::Waf, "not_inspected", 0, self.clock.now_us());
        if let Standing::Under(inspection) = &mut course.waf {
            inspection.is_over = true;
        }
    }

    async fn answer_phases(
        &self,
        exchange: &mut Exchange,
        under: &mut Option<Box<Inspection>>,
        site: Option<&Site>,
        (answered, response): (&mut Answered, &Response),
    ) -> Result<(), Stop> {
        let Some(inspection) = under.as_mut().filter(|inspection| !inspection.is_over) else {
            return Ok(());
        };
        self.answer_head(inspection, &exchange.request, response).await?;
        if inspection.interruption().is_some() || exchange.request.upgrade != Upgrade::No {
            return Ok(());
        }
        let bytes = match inspection.window_of(response) {
            Some(window) => self.hold_answer(exchange, answered, window).await.map_err(Stop::Body)?,
            None => Bytes::new(),
        };
        self.answer_body(under, &exchange.request, &bytes, site).await
    }

    /// Phase 3 of the rules.
    pub(super) async fn answer_head(
        &self,
        inspection: &mut Inspection,
        request: &Request,
        response: &Response,
    ) -> Result<(), Trouble> {
        guard(|| fault_points::step("waf_answer", request))?;
        inspection.read_answer(response);
        self.phase(inspection, RulePhase::ResponseHead).await
    }

    /// Phase 4 of the rules, on the front of a body or on none.
    pub(super) async fn answer_body(
        &self,
        under: &mut Option<Box<Inspection>>,
        request: &Request,
        bytes: &Bytes,
        site: Option<&Site>,
    ) -> Result<(), Stop> {
        guard(|| fault_points::step("waf_answer_body", request))?;
        self.body_phase(under, request, RulePhase::ResponseBody, (bytes, 0), site).await
    }

    /// Reads the front of an answer's body, within the origin's times; the request's body goes on meanwhile.
    /// The answer keeps it, and gives it again.
    pub(super) async fn hold_answer(
        &self,
        exchange: &mut Exchange,
        answered: &mut Answered,
        window: usize,
    ) -> Result<Bytes, Failed> {
        let timeouts = answered.pool().timeouts;
        let (idle_ms, rate) = (timeouts.idle_ms, timeouts.min_rate_bytes_per_s);
        let mut pace = Pace::begin(idle_ms, rate, self.clock.now_ms(), &exchange.deadline);
        let Answered { link, upload, .. } = answered;
        let mut kept = Kept::default();
        poll_fn(|cx| -> Poll<Result<(), Failed>> {
            exchange.deadline.register(cx.waker());
            if !upload.is_done {
                if let Poll::Ready(Err(failed)) = upload.poll(cx, exchange, link) {
                    return Poll::Ready(Err(failed));
                }
                if std::mem::take(&mut upload.moved) {
                    pace.forgive(); // an answer that waits for its request has no rate of its own
                    pace.moved(kept.len() as u64, self.clock.now_ms(), &exchange.deadline);
                }
            }
            while kept.len() < window {
                let step = with_scratch(|scratch| match link.poll_body(cx, scratch) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(fault)) => Poll::Ready(Err(Failed::Fault(fault))),
                    Poll::Ready(Ok(incoming)) => Poll::Ready(Ok(kept.push(incoming))),
                });
                match step {
                    Poll::Pending => {
                        if upload.is_done
                            && let Poll::Ready(gone) = exchange.poll_gone(cx)
                        {
                            return Poll::Ready(Err(gone.into()));
                        }
                        let now_ms = self.clock.now_ms();
                        if exchange.deadline.is_due()
                            && !pace.may_go_on(kept.len() as u64, now_ms, &exchange.deadline)
                        {
                            let fault = exchange::Fault::ConnectionReadTimeout;
                            return Poll::Ready(Err(Failed::Fault(fault)));
                        }
                        return Poll::Pending;
                    }
                    Poll::Ready(goes_on) => {
                        if !goes_on? {
                            break;
                        }
                    }
                }
                exchange.hold_also(kept.len());
                if exchange.is_shed() {
                    return Poll::Ready(Err(Failed::Gone));
                }
                if !pace.moved(kept.len() as u64, self.clock.now_ms(), &exchange.deadline) {
                    let fault = exchange::Fault::ConnectionReadTimeout;
                    return Poll::Ready(Err(Failed::Fault(fault)));
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        exchange.hold_also(kept.len());
        let bytes = kept.share();
        answered.kept = Some(Box::new(kept));
        Ok(bytes)
    }
}

impl Inspection {
    /// How much of an answer's body is inspected; none of what is no text, or compressed.
    pub(super) fn window_of(&self, response: &Response) -> Option<usize> {
        let is_plain = response.fields.value(b"content-encoding").is_none_or(is_identity);
        let is_wanted =
            is_plain && response.body != BodySize::None && self.main.transaction.wants_response_body();
        self.waf.response_window_bytes.filter(|_| is_wanted)
    }
}

fn is_identity(coding: &[u8]) -> bool {
    coding.trim_ascii().eq_ignore_ascii_case(b"identity")
}
