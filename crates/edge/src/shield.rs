//! Phase 2: the zone's rules of requests, in the order of the language; and, for phase 7, those of responses.
//!
//! Asking changes nothing but a scratch: what rules came to is a value ([`Ruled`]), which the pipeline
//! applies. So the phase can be run again on the zone before, and by a candidate on facts alone. What the
//! zone's limits are to do is found out in the same go, and done in `limits.rs`. A zone without rules and
//! limits costs one comparison. Called by `pipeline.rs` through `contain.rs`, and by `facts.rs`.

mod chosen;

use std::sync::Arc;

use exchange::{Fields, Phase, Refusal, Request, Response};
use fuel::Fuel;
use rules::{Effect, Matched, Outcome, Product, Scratch, Skipped, SpentAt, Verdict};
use shield::rate::{Measured, measure};
use telemetry::metrics::Trouble;
use wire::Exchange;
use zone::{PhaseRules, RateLimits, Rules, Zone};

pub(crate) use chosen::{CacheChoices, Choices, Config, steered};

use crate::course::Course;
use crate::limits::refuse_over;
use crate::pipeline::Edge;
use crate::refuse::{answer_as, redirect, refuse};
use crate::view::{Asked, RequestView};

/// Steps that the rules of all phases may cost one request: some 2 ms, which a thousand rules do not use in
/// a hundred requests.
pub const RULE_STEPS: u64 = 2_000_000;

/// Ids of rules kept of one request: more than the log has room for.
const MATCHED_MAX: usize = 64;

/// What stands before the place of a limit where the place of a rule is wanted: no zone has so many rules.
const RATE_LIMITS_AT: u32 = 1_000_000;

/// The same for concurrency limits.
const CONCURRENCY_LIMITS_AT: u32 = 2_000_000;

/// Trail lines about rules: the first say enough, and other phases need theirs.
const TOLD_MAX: usize = 4;

/// What rules have done to a request so far, over all phases.
#[derive(Debug)]
pub(crate) struct RuleState {
    /// Ids of the rules that matched, in order.
    pub(crate) matched: Vec<Arc<str>>,
    /// Header changes for the request as it goes to the origin.
    pub(crate) towards_origin: Vec<Effect>,
    /// What they choose; none for most.
    pub(crate) choices: Option<Arc<Choices>>,
    skipped: Skipped,
    fuel: Fuel,
}

impl Default for RuleState {
    fn default() -> Self {
        Self {
            matched: Vec::new(),
            towards_origin: Vec::new(),
            choices: None,
            skipped: Skipped::default(),
            fuel: Fuel::new(RULE_STEPS),
        }
    }
}

impl RuleState {
    /// Whether a rule leaves the firewall out, for the request and so for its answer.
    pub(crate) fn skips_firewall(&self) -> bool {
        skips_firewall(&self.skipped)
    }

    /// Whether a rule leaves the firewall out for the answer.
    pub(crate) fn skips_answers_firewall(&self) -> bool {
        self.skipped.has_phase(rules::Phase::ResponseFirewallManaged)
    }
}

/// What the rules of a request's phases came to.
#[derive(Debug)]
pub(crate) struct Ruled {
    pub(crate) matched: Vec<Matched>,
    /// Another path and query.
    pub(crate) target: Option<Vec<u8>>,
    /// Header changes for the request as it goes to the origin.
    pub(crate) headers: Vec<Effect>,
    pub(crate) verdict: Verdict,
    /// What rules choose. Boxed, as what follows is: few requests meet such a rule, and each would be larger.
    pub(crate) chosen: Option<Box<Choices>>,
    /// What limits are to do, and whose they are.
    pub(crate) limited: Option<Box<(Arc<RateLimits>, Measured)>>,
    skipped: Skipped,
    fuel: Fuel,
}

impl RuleState {
    /// Keeps the id of what matched, for the log.
    pub(crate) fn matched(&mut self, id: &Arc<str>) {
        if self.matched.len() < MATCHED_MAX {
            self.matched.push(Arc::clone(id));
        }
    }

    /// What is left of the request's budget.
    pub(crate) fn fuel(&mut self) -> &mut Fuel {
        &mut self.fuel
    }

    /// The same, and what rules leave out.
    pub(crate) fn budget(&mut self) -> (&mut Fuel, &mut Skipped) {
        (&mut self.fuel, &mut self.skipped)
    }

    /// Settings of the zone that rules have changed.
    pub(crate) fn config(&self) -> Config {
        self.choices.as_ref().map_or_else(Config::default, |choices| choices.config)
    }
}

/// Says which rule is worked for, by its place in the zone.
pub(crate) type At<'a> = &'a dyn Fn(u32);

fn asked_of(
    rules: &Rules,
    phase: &PhaseRules,
    view: &RequestView<'_>,
    scratch: &mut Scratch,
    (fuel, skipped): (&mut Fuel, &mut Skipped),
    at: At<'_>,
) -> Result<Outcome, Trouble> {
    // All rules of a phase are asked together: the first stands for them.
    at(phase.first);
    phase.rulesets.evaluate(view, scratch, fuel, skipped).map_err(|SpentAt { rule, .. }| {
        at(rules.place(&rule));
        Trouble::Fuel
    })
}

/// Why rules came to nothing, and how many steps they took to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped {
    pub(crate) trouble: Trouble,
    pub(crate) steps: u64,
}

/// Asks the rules of requests, and what limits are to do; `seed` is the node's, for what they count by.
///
/// # Errors
/// The request spent its budget.
pub(crate) fn ask(
    zone: &Zone,
    request: &Request,
    asked: &Asked<'_>,
    scratch: &mut Scratch,
    at: At<'_>,
    seed: u64,
) -> Result<Ruled, Stopped> {
    let mut ruled = Ruled {
        matched: Vec::new(),
        target: None,
        headers: Vec::new(),
        verdict: Verdict::Continue,
        chosen: None,
        limited: None,
        skipped: Skipped::default(),
        fuel: Fuel::new(RULE_STEPS),
    };
    scratch.begin();
    match ruled.ask_all(zone, (request, asked), scratch, at, seed) {
        Ok(()) => Ok(ruled),
        Err(trouble) => Err(Stopped { trouble, steps: ruled.fuel.used() }),
    }
}

fn skips_firewall(skipped: &Skipped) -> bool {
    skipped.has_phase(rules::Phase::FirewallManaged) || skipped.has_product(Product::Waf)
}

impl Ruled {
    /// Asks the rules of all phases of requests, and the limits in their place.
    fn ask_all(
        &mut self,
        zone: &Zone,
        (request, asked): (&Request, &Asked<'_>),
        scratch: &mut Scratch,
        at: At<'_>,
        seed: u64,
    ) -> Result<(), Trouble> {
        let rules = zone.rules.as_deref();
        let phases = rules.map_or(&[][..], |rules| &rules.request);
        let is_before = |phase: &PhaseRules| phase.rulesets.phase() < rules::Phase::RateLimit;
        let (before, behind) = phases.split_at(phases.partition_point(is_before));
        self.ask_in((rules, before), request, asked, scratch, at)?;
        if let (Verdict::Continue, Some(limits)) = (&self.verdict, &zone.rate_limits) {
            self.measure(limits, (request, asked), scratch, at, seed)?;
        }
        self.ask_in((rules, behind), request, asked, scratch, at)
    }

    /// Whether a rule leaves the firewall out.
    pub(crate) fn skips_firewall(&self) -> bool {
        skips_firewall(&self.skipped)
            || self.chosen.as_ref().is_some_and(|chosen| chosen.config.waf_off == Some(true))
    }

    /// Asks the rules of some phases, in order, up to one that ends the request.
    fn ask_in(
        &mut self,
        (rules, phases): (Option<&Rules>, &[PhaseRules]),
        request: &Request,
        asked: &Asked<'_>,
        scratch: &mut Scratch,
        at: At<'_>,
    ) -> Result<(), Trouble> {
        let Some(rules) = rules else { return Ok(()) };
        for phase in phases {
            if self.verdict != Verdict::Continue {
                break;
            }
            let view = RequestView::of(asked, request, self.target.as_deref());
            let budget = (&mut self.fuel, &mut self.skipped);
            let outcome = asked_of(rules, phase, &view, scratch, budget, at)?;
            self.matched.extend(outcome.matched);
            if !outcome.effects.is_empty() {
                self.take(request, outcome.effects);
                scratch.uri_changed();
            }
            self.verdict = outcome.verdict;
        }
        Ok(())
    }

    /// Finds out what limits are to do, unless rules leave them out.
    fn measure(
        &mut self,
        limits: &Arc<RateLimits>,
        (request, asked): (&Request, &Asked<'_>),
        scratch: &mut Scratch,
        at: At<'_>,
        seed: u64,
    ) -> Result<(), Trouble> {
        let is_skipped = self.skipped.has_phase(rules::Phase::RateLimit);
        if is_skipped || self.skipped.has_product(Product::RateLimit) {
            return Ok(());
        }
        let view = RequestView::of(asked, request, self.target.as_deref());
        let at = |is_rate: bool, place: u32| {
            at(place + if is_rate { RATE_LIMITS_AT } else { CONCURRENCY_LIMITS_AT });
        };
        let measured = measure(limits, &view, scratch, &mut self.fuel, seed, &at)
            .map_err(|fuel::Spent| Trouble::Fuel)?;
        if !measured.is_empty() {
            self.limited = Some(Box::new((Arc::clone(limits), measured)));
        }
        Ok(())
    }

    fn take(&mut self, request: &Request, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Path(path) => {
                    let query = query_of(self.target(request)).map(<[u8]>::to_vec);
                    self.target = Some(joined(path, query.as_deref()));
                }
                Effect::Query(query) => {
                    let target = self.target(request);
                    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
                    let path = target.get(..end).unwrap_or_default().to_vec();
                    self.target =
                        Some(joined(path, Some(&query).filter(|q| !q.is_empty()).map(Vec::as_slice)));
                }
                Effect::SetHeader(..) | Effect::AddHeader(..) | Effect::RemoveHeader(_) => {
                    self.headers.push(effect);
                }
                Effect::Cache(_) | Effect::Route(_) | Effect::Config(_) | Effect::CloseConnection => {
                    self.chosen.get_or_insert_default().take(effect);
                }
                // None in a request's phases.
                Effect::Compress(_) | Effect::LogNames(_) | Effect::LogValue(..) => {}
            }
        }
    }

    fn target<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        self.target.as_deref().unwrap_or_else(|| request.target())
    }
}

fn query_of(target: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'?', target).and_then(|at| target.get(at + 1..))
}

fn joined(mut path: Vec<u8>, query: Option<&[u8]>) -> Vec<u8> {
    if let Some(query) = query {
        path.push(b'?');
        path.extend_from_slice(query);
    }
    path
}

/// Changes header fields as rules say.
pub(crate) fn apply(fields: &mut Fields, changes: &[Effect]) {
    for change in changes {
        match change {
            Effect::SetHeader(name, value) => fields.set(name.as_bytes(), value),
            Effect::AddHeader(name, value) => fields.push(name.as_bytes(), value),
            Effect::RemoveHeader(name) => fields.remove(name.as_bytes()),
            _ => {}
        }
    }
}

/// The word of a verdict, for comparing decisions.
pub(crate) fn verdict_word(ruled: &Ruled) -> Option<String> {
    match &ruled.verdict {
        Verdict::Block(own) => {
            let status = own.as_ref().map_or(Refusal::RuleBlocked.status(), |own| own.status);
            Some(format!("refused by a rule, {status}"))
        }
        Verdict::Challenge(_) => Some("refused for want of a challenge".to_owned()),
        Verdict::Redirect { status, location } => {
            Some(format!("redirected by a rule, {status} to {}", String::from_utf8_lossy(location)))
        }
        Verdict::Continue | Verdict::ServeError(_) => None,
    }
}

impl Edge {
    /// Runs a piece with the thread's scratch. One that a panic left half done is not used again.
    pub(crate) fn with_scratch<T>(&self, piece: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.rule_scratch.take();
        let result = piece(&mut scratch);
        self.rule_scratch.replace(scratch);
        result
    }

    /// Does what the rules of a request came to; whether it goes on.
    pub(crate) async fn obey(&self, exchange: &mut Exchange, course: &mut Course, ruled: Ruled) -> bool {
        if let Some(target) = &ruled.target {
            exchange.request.rewrite_target(target);
        }
        course.rules.towards_origin = ruled.headers;
        course.rules.skipped = ruled.skipped;
        course.rules.fuel = ruled.fuel;
        if let Some(chosen) = ruled.chosen {
            self.take_choices(exchange, course, chosen);
        }
        self.tell(Phase::Shield, course, &ruled.matched);
        match ruled.verdict {
            Verdict::Continue | Verdict::ServeError(_) => {
                let Some(limited) = ruled.limited else { return true };
                // Boxed: a request that is refused may cost an allocation, and the others are no larger.
                match self.limit(course, *limited) {
                    Ok(None) => return true,
                    Ok(Some(refused)) => Box::pin(refuse_over(exchange, course, refused)).await,
                    Err(trouble) => Box::pin(self.close(exchange, course, trouble)).await,
                }
            }
            Verdict::Block(None) => {
                refuse(exchange, course, Refusal::RuleBlocked, "a rule of the zone").await;
            }
            Verdict::Block(Some(own)) => {
                let why = (Refusal::RuleBlocked, "a rule of the zone, with an answer of its own");
                Box::pin(answer_as(exchange, course, &own, why)).await;
            }
            Verdict::Challenge(_) => {
                let reason = "a rule of the zone asks for a challenge, and there are none yet";
                refuse(exchange, course, Refusal::ChallengeRequired, reason).await;
            }
            Verdict::Redirect { status, location } => {
                redirect(exchange, course, status, &location).await;
            }
        }
        false
    }

    /// Notes what rules have chosen.
    fn take_choices(&self, exchange: &mut Exchange, course: &mut Course, mut chosen: Box<Choices>) {
        let cache = std::mem::take(&mut chosen.cache);
        if !cache.is_empty()
            && let Some(chosen) = self.chosen_cache(course, cache)
        {
            course.cache.choose(chosen);
        }
        if chosen.closes {
            exchange.close_after();
        }
        if chosen.config.waf_off == Some(true) {
            course.rules.skipped.skip_product(Product::Waf);
        }
        course.rules.choices = Some(chosen.into());
    }

    /// Asks the rules of one phase of responses.
    ///
    /// # Errors
    /// The request spent its budget.
    pub(crate) fn ask_about_answer(
        &self,
        (rules, phase): (&Rules, &PhaseRules),
        request: &Request,
        response: &Response,
        asked: &Asked<'_>,
        course: &mut Course,
    ) -> Result<Outcome, Trouble> {
        let view = RequestView { asked, request, rewritten: None, response: Some(response), error_type: "" };
        let RuleState { fuel, skipped, .. } = &mut course.rules;
        let outcome = self.with_scratch(|scratch| {
            scratch.begin();
            asked_of(rules, phase, &view, scratch, (fuel, skipped), &|rule| self.slot.rule(rule))
        })?;
        self.tell(Phase::Response, course, &outcome.matched);
        Ok(outcome)
    }

    /// Notes which rules matched, for log and trail.
    fn tell(&self, phase: Phase, course: &mut Course, matched: &[Matched]) {
        let Some(rules) = course.site.as_ref().and_then(|site| site.zone.rules.clone()) else { return };
        for (count, one) in matched.iter().enumerate() {
            course.rules.matched(&one.rule);
            if count < TOLD_MAX {
                course.note(phase, one.action.row().name, rules.place(&one.rule), self.clock.now_us());
            }
        }
    }
}
