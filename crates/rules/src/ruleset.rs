//! Rulesets of one phase: compiled together, evaluated in order to an [`Outcome`].
//!
//! The entry ruleset may execute others, which are compiled into the same program. What is wrong with a rule
//! is a [`RuleProblem`], and the rule does nothing: compiling always gives something that can run, and
//! whoever publishes decides whether problems stop the change. A rule that is switched off, by its spec or at
//! run time, is as if it were not there; so is an `execute` whose ruleset is absent or switched off. Read
//! next: [`Rulesets::evaluate`], then `ruleset/compile.rs`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fuel::{Fuel, Spent};

use crate::action::{Action, CacheSpec, Compression, ConfigSpec, PageSpec};
use crate::eval::Run;
use crate::limits::EXECUTE_DEPTH;
use crate::outcome::{
    Effect, LogNames, Matched, Outcome, Refusing, RouteTo, SpentAt, Verdict, as_header, as_location, as_path,
    as_query,
};
use crate::phase::{ActionKind, Phase, Product, Skipped};
use crate::problem::Problem;
use crate::program::{Program, ValueId};
use crate::scratch::Scratch;
use crate::view::View;

mod compile;

/// Steps of a rule that matches: its entry in the outcome, its ids counted.
const MATCH_STEPS: u64 = 40;

/// Steps of one thing that a rule does, made and kept in the outcome, beside one for each byte of its value.
/// Rulesets that execute others multiply, so that what an evaluation finds is no less than what it asks.
const EFFECT_STEPS: u64 = 40;

/// A ruleset as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesetSpec {
    /// Its id; rulesets of a zone have different ones.
    pub id: String,
    /// Whether its rules run.
    pub enabled: bool,
    /// Its rules in order.
    pub rules: Vec<RuleSpec>,
}

/// A rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its id; rules of a ruleset have different ones.
    pub id: String,
    /// What its owner says it is for.
    pub description: String,
    /// Whether it runs.
    pub enabled: bool,
    /// Its condition.
    pub expression: String,
    /// What it does.
    pub action: Action,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The id of its ruleset.
    pub ruleset: String,
    /// Its id; empty for the ruleset as a whole.
    pub rule: String,
    /// Which part of it: `expression`, `action`, or a parameter.
    pub part: &'static str,
    /// What is wrong, and what to do.
    pub what: String,
    /// The place, when the part is an expression.
    pub place: Option<Problem>,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ruleset `{}`", self.ruleset)?;
        if !self.rule.is_empty() {
            write!(f, ", rule `{}`, {}", self.rule, self.part)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The compiled rulesets of a phase.
#[derive(Debug)]
pub struct Rulesets {
    phase: Phase,
    program: Program,
    rulesets: Vec<Compiled>,
    /// One for each condition of the program, in the same order.
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Compiled {
    id: Arc<str>,
    is_on: bool,
    rules: Range<u32>,
    /// What to look at before its rules are asked.
    groups: Box<[u32]>,
}

#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    ruleset: u32,
    is_on: bool,
    kind: ActionKind,
    act: Act,
}

#[derive(Debug)]
enum Fill {
    Static(Vec<u8>),
    Computed(ValueId),
}

#[derive(Debug)]
enum HeaderAct {
    Set(Fill),
    Add(Fill),
    Remove,
}

/// An action with its parameters compiled.
#[derive(Debug)]
enum Act {
    Nothing,
    Block(Option<Arc<Refusing>>),
    Challenge,
    Skip { current: bool, phases: Vec<Phase>, products: Vec<Product>, rulesets: Vec<u32> },
    Execute(u32),
    Rewrite { path: Option<Fill>, query: Option<Fill>, headers: Vec<(Arc<str>, HeaderAct)> },
    Redirect { target: Fill, status: u16, preserve_query: Option<ValueId> },
    Route { to: RouteTo, host_header: Option<Fill> },
    Config(Arc<ConfigSpec>),
    Compress(Arc<[Compression]>),
    Cache(Arc<CacheSpec>),
    ServeError(Arc<PageSpec>),
    Log { names: Option<Arc<LogNames>>, values: Vec<(Arc<str>, ValueId)> },
    Close,
}

/// A ruleset under way.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    next: u32,
    end: u32,
}

/// What a matched rule means for those after it.
enum After {
    Next,
    Enter(u32),
    LeaveRuleset,
    LeavePhase,
}

impl Rulesets {
    /// The phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Number of rules that can run.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// The program, for a report.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What its rules choose of the cache, in order, those that are switched off included.
    pub fn cache_choices(&self) -> impl Iterator<Item = &Arc<CacheSpec>> {
        self.rules.iter().filter_map(|rule| match &rule.act {
            Act::Cache(settings) => Some(settings),
            _ => None,
        })
    }

    /// Switches a rule on or off at once, without compiling; false when there is none of these ids that can
    /// run.
    pub fn switch_rule(&mut self, ruleset: &str, rule: &str, is_on: bool) -> bool {
        let rulesets = &self.rulesets;
        let named = |number: u32| rulesets.get(number as usize).is_some_and(|found| &*found.id == ruleset);
        let found = self.rules.iter_mut().find(|found| &*found.id == rule && named(found.ruleset));
        found.map(|found| found.is_on = is_on).is_some()
    }

    /// Switches a ruleset on or off at once, without compiling; false when there is none of this id.
    pub fn switch_ruleset(&mut self, ruleset: &str, is_on: bool) -> bool {
        let found = self.rulesets.iter_mut().find(|found| &*found.id == ruleset);
        found.map(|found| found.is_on = is_on).is_some()
    }

    /// Evaluates the phase for a request, unless `skipped` names it. Skips of this phase's rules are added to
    /// it.
    ///
    /// Fields keep the values they had when the phase began: effects are for the phases after it.
    ///
    /// # Errors
    ///
    /// [`SpentAt`] when the tank is empty, with the rule that was worked for; effects found until then are
    /// lost, since the request is refused.
    pub fn evaluate(
        &self,
        view: &dyn View,
        scratch: &mut Scratch,
        fuel: &mut Fuel,
        skipped: &mut Skipped,
    ) -> Result<Outcome, SpentAt> {
        let mut outcome = Outcome::default();
        if skipped.has_phase(self.phase) || self.rules.is_empty() {
            return Ok(outcome);
        }
        let mut run = self.program.run(view, scratch, fuel);
        match self.walk(&mut run, skipped, &mut outcome) {
            Ok(()) => Ok(outcome),
            Err(Spent) => Err(self.spent_at(&run)),
        }
    }

    #[cold]
    fn spent_at(&self, run: &Run<'_>) -> SpentAt {
        let rule = self.rules.get(run.at().0 as usize);
        let ruleset = rule.and_then(|rule| self.rulesets.get(rule.ruleset as usize));
        SpentAt {
            ruleset: ruleset.map_or_else(|| "".into(), |ruleset| Arc::clone(&ruleset.id)),
            rule: rule.map_or_else(|| "".into(), |rule| Arc::clone(&rule.id)),
        }
    }

    fn walk(&self, run: &mut Run<'_>, skipped: &mut Skipped, outcome: &mut Outcome) -> Result<(), Spent> {
        let mut frames = [Frame::default(); EXECUTE_DEPTH];
        let mut depth = 0;
        let mut left_out: Vec<bool> = Vec::new();
        self.enter(run, 0, &mut frames, &mut depth)?;
        while let Some(frame) = depth.checked_sub(1).and_then(|top| frames.get_mut(top)) {
            let Some(condition) = run.next(frame.next..frame.end)? else {
                depth -= 1;
                continue;
            };
            frame.next = condition.0 + 1;
            let Some(rule) = self.rules.get(condition.0 as usize).filter(|rule| rule.is_on) else { continue };
            match self.act(run, rule, skipped, &mut left_out, outcome)? {
                After::Next => {}
                After::Enter(ruleset) => self.enter(run, ruleset, &mut frames, &mut depth)?,
                After::LeaveRuleset => depth -= 1,
                After::LeavePhase => return Ok(()),
            }
        }
        Ok(())
    }

    /// Begins a ruleset; one that is switched off, or too deep, is passed over.
    fn enter(
        &self,
        run: &mut Run<'_>,
        ruleset: u32,
        frames: &mut [Frame; EXECUTE_DEPTH],
        depth: &mut usize,
    ) -> Result<(), Spent> {
        let Some(compiled) = self.rulesets.get(ruleset as usize).filter(|compiled| compiled.is_on) else {
            return Ok(());
        };
        if let Some(frame) = frames.get_mut(*depth) {
            run.look(&compiled.groups, compiled.rules.start)?;
            *frame = Frame { next: compiled.rules.start, end: compiled.rules.end };
            *depth += 1;
        }
        Ok(())
    }

    fn act(
        &self,
        run: &mut Run<'_>,
        rule: &Rule,
        skipped: &mut Skipped,
        left_out: &mut Vec<bool>,
        outcome: &mut Outcome,
    ) -> Result<After, Spent> {
        if let Act::Execute(ruleset) = &rule.act
            && left_out.get(*ruleset as usize) == Some(&true)
        {
            return Ok(After::Next);
        }
        run.fuel.spend(MATCH_STEPS)?;
        let ruleset = self.rulesets.get(rule.ruleset as usize).map(|ruleset| Arc::clone(&ruleset.id));
        outcome.matched.push(Matched {
            ruleset: ruleset.unwrap_or_else(|| "".into()),
            rule: Arc::clone(&rule.id),
            action: rule.kind,
        });
        let effects = &mut outcome.effects;
        match &rule.act {
            Act::Nothing => {}
            Act::Block(response) => {
                outcome.verdict = Verdict::Block(response.clone());
                return Ok(After::LeavePhase);
            }
            Act::Challenge => {
                outcome.verdict = Verdict::Challenge(rule.kind);
                return Ok(After::LeavePhase);
            }
            Act::Skip { current, phases, products, rulesets } => {
                phases.iter().for_each(|phase| skipped.skip_phase(*phase));
                products.iter().for_each(|product| skipped.skip_product(*product));
                run.fuel.spend(rulesets.len() as u64)?;
                if !rulesets.is_empty() {
                    left_out.resize(self.rulesets.len(), false);
                }
                for ruleset in rulesets {
                    if let Some(place) = left_out.get_mut(*ruleset as usize) {
                        *place = true;
                    }
                }
                if phases.contains(&self.phase) {
                    return Ok(After::LeavePhase);
                }
                if *current {
                    return Ok(After::LeaveRuleset);
                }
            }
            Act::Execute(ruleset) => return Ok(After::Enter(*ruleset)),
            Act::Rewrite { path, query, headers } => {
                if let Some(path) = path {
                    effects.push(Effect::Path(as_path(&filled(run, path)?)));
                }
                if let Some(query) = query {
                    effects.push(Effect::Query(as_query(&filled(run, query)?)));
                }
                for (name, change) in headers {
                    let name = Arc::clone(name);
                    match change {
                        HeaderAct::Remove => {
                            run.fuel.spend(EFFECT_STEPS)?;
                            effects.push(Effect::RemoveHeader(name));
                        }
                        HeaderAct::Set(value) => {
                            let value = as_header(&filled(run, value)?);
                            effects.push(if value.is_empty() {
                                Effect::RemoveHeader(name)
                            } else {
                                Effect::SetHeader(name, value)
                            });
                        }
                        HeaderAct::Add(value) => {
                            let value = as_header(&filled(run, value)?);
                            if !value.is_empty() {
                                effects.push(Effect::AddHeader(name, value));
                            }
                        }
                    }
                }
            }
            Act::Redirect { target, status, preserve_query } => {
                let target = filled(run, target)?;
                // Nowhere to go: the computed target is missing or empty, and the request goes on.
                if target.is_empty() {
                    return Ok(After::Next);
                }
                let query = preserve_query.map(|query| run.bytes_of(query)).transpose()?.unwrap_or_default();
                let location = as_location(&target, &query);
                outcome.verdict = Verdict::Redirect { status: *status, location };
                return Ok(After::LeavePhase);
            }
            Act::Route { to, host_header } => {
                run.fuel.spend(EFFECT_STEPS)?;
                let mut to = to.clone();
                to.host_header = host_header.as_ref().map(|value| filled(run, value)).transpose()?;
                to.host_header = to.host_header.map(|host| as_header(&host)).filter(|host| !host.is_empty());
                effects.push(Effect::Route(to));
            }
            Act::Config(settings) => {
                run.fuel.spend(EFFECT_STEPS)?;
                effects.push(Effect::Config(Arc::clone(settings)));
            }
            Act::Compress(algorithms) => {
                run.fuel.spend(EFFECT_STEPS)?;
                effects.push(Effect::Compress(Arc::clone(algorithms)));
            }
            Act::Cache(settings) => {
                run.fuel.spend(EFFECT_STEPS)?;
                effects.push(Effect::Cache(Arc::clone(settings)));
            }
            Act::ServeError(page) => {
                outcome.verdict = Verdict::ServeError(Arc::clone(page));
                return Ok(After::LeavePhase);
            }
            Act::Log { names, values } => {
                if let Some(names) = names {
                    run.fuel.spend(EFFECT_STEPS)?;
                    effects.push(Effect::LogNames(Arc::clone(names)));
                }
                for (name, value) in values {
                    run.fuel.spend(EFFECT_STEPS)?;
                    effects.push(Effect::LogValue(Arc::clone(name), run.value(*value)?));
                }
            }
            Act::Close => {
                run.fuel.spend(EFFECT_STEPS)?;
                effects.push(Effect::CloseConnection);
            }
        }
        Ok(After::Next)
    }
}

/// The value of one effect, paid for: made, made safe and kept.
fn filled(run: &mut Run<'_>, fill: &Fill) -> Result<Vec<u8>, Spent> {
    match fill {
        Fill::Static(value) => {
            run.fuel.spend(EFFECT_STEPS + value.len() as u64)?;
            Ok(value.clone())
        }
        Fill::Computed(value) => {
            let value = run.bytes_of(*value)?;
            run.fuel.spend(EFFECT_STEPS + value.len() as u64)?;
            Ok(value)
        }
    }
}
