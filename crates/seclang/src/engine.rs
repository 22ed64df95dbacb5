//! Evaluation: the rules of a phase, one after another, over the values of a transaction.
//!
//! This is the language as ModSecurity 3 evaluates it. A rule's targets are resolved to values, each value
//! goes through the rule's transformations, the operator is asked, and each value that matches runs the
//! rule's effects; when the whole chain has matched, the rule ends the transaction, skips, or goes on. Rules
//! with an operator that [`crate::prefilter`] serves are evaluated only on the values it names; the others
//! and all negated ones plainly. All loops, no recursion; every piece of work is charged before it is done.
//! Called by [`crate::transaction`]. Read next: [`Run::phase`], then [`state`].

mod expand;
pub(crate) mod likeness;
pub(crate) mod lists;
pub(crate) mod made;
mod operators;
pub(crate) mod state;
mod subjects;

use fuel::{Fuel, Spent};

use crate::check::number::integer;
use crate::limits::{BUFFER_BYTES_MAX, MATCH_DATA_BYTES_MAX, MATCHED_VARS_MAX, MATCHES_MAX};
use crate::model::{
    Allow, Change, Ctl, Disruptive, Effect, EngineMode, Flow, Operator, Rule, Selector, TxName, Which,
};
use crate::outcome::{Action, Interruption, Match, MatchedVariable, printable};
use crate::prefilter::{Filter, Scan};
use crate::ruleset::RuleSet;
use crate::template::{Part, Template};
use crate::transaction::Workspace;
use crate::transaction::values::{Span, Values};
use crate::variable::Variable;

pub(crate) use operators::matches;
use state::{Matched, State, Text};
pub(crate) use subjects::Subject;

/// Steps of the least piece of work: looking at a rule or a value.
const RULE_STEPS: u64 = 10;

/// Whether a phase is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The phase is over.
    Done,
    /// The slice is over: give the thread back, start the next slice, call again.
    More,
    /// A rule needs answers ([`crate::Transaction::questions`]): give them, call again.
    Asks,
}

/// What became of a chain, or of one of its rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Matched,
    Failed,
    /// A rule waits for answers; nothing of it was done.
    Waits,
    /// The slice is over before a rule's values are judged; nothing of it was done.
    Later,
}

impl Outcome {
    const fn of(has_matched: bool) -> Self {
        if has_matched { Self::Matched } else { Self::Failed }
    }
}

/// One phase's evaluation: what it reads and what it may change.
pub(crate) struct Run<'a> {
    pub(crate) set: &'a RuleSet,
    pub(crate) values: &'a Values,
    pub(crate) state: &'a mut State,
    pub(crate) filter: &'a mut Filter,
    pub(crate) work: &'a mut Workspace,
    pub(crate) fuel: &'a mut Fuel,
}

impl Run<'_> {
    /// Evaluates the rules of a phase from `cursor` on, which is kept up.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the transaction's fuel is used up.
    pub(crate) fn phase(&mut self, phase: u8, cursor: &mut u32) -> Result<Progress, Spent> {
        let set = self.set;
        let Some(steps) = set.phases.get(usize::from(phase.saturating_sub(1))) else {
            return Ok(Progress::Done);
        };
        while let Some(step) = steps.get(*cursor as usize) {
            if self.state.is_over(phase) {
                break;
            }
            if self.fuel.is_slice_over() {
                return Ok(Progress::More);
            }
            self.fuel.spend(1)?;
            let at = step.rule as usize;
            *cursor += 1;
            if self.state.removed.has(at) {
                continue;
            }
            if let Some(gate) = step.gate {
                if self.state.tx_number(gate.tx).is_some_and(|value| gate.comparison.holds(value, gate.with))
                {
                    *cursor = gate.to;
                }
                continue;
            }
            if let Some(slot) = set.prefilter.slot_of(step.rule) {
                if self.filter.wants(self.values) && self.filter.is_ready(&set.prefilter, phase, self.state) {
                    let (scratch, teller) = (&mut self.work.scratch, &self.work.teller);
                    teller.tell(0);
                    let mut scan = Scan { set, phase, values: self.values, scratch, teller, fuel: self.fuel };
                    if !scan.run(self.state, self.filter)? {
                        *cursor -= 1;
                        return Ok(Progress::More);
                    }
                }
                if set.prefilter.rules_out(self.filter, slot) {
                    continue;
                }
            }
            let Some(rule) = set.rules.get(at) else { continue };
            self.fuel.spend(RULE_STEPS)?;
            self.work.teller.tell(rule.id);
            match (self.chain(rule, step.rule)?, rule.flow) {
                (Outcome::Waits, _) => {
                    *cursor -= 1;
                    return Ok(Progress::Asks);
                }
                (Outcome::Later, _) => {
                    *cursor -= 1;
                    return Ok(Progress::More);
                }
                (Outcome::Failed, _) | (Outcome::Matched, Flow::Next) => {}
                (Outcome::Matched, Flow::Skip(rules)) => *cursor = cursor.saturating_add(rules),
                (Outcome::Matched, Flow::SkipTo(place)) => *cursor = place,
            }
        }
        Ok(Progress::Done)
    }

    /// Evaluates a rule and its chain, or goes on where it waited for answers.
    fn chain(&mut self, head: &Rule, head_at: u32) -> Result<Outcome, Spent> {
        let set = self.set;
        let asked_at = self.state.lists.as_mut().and_then(|lists| lists.waits_at.take());
        let waited_at = asked_at.or(self.state.likeness.as_ref().map(|likeness| likeness.rule));
        let waited = waited_at.and_then(|at| Some((set.rules.get(at as usize)?, at)));
        if waited.is_none() {
            self.state.matched.clear();
            self.state.matched_bytes.clear();
        }
        let (mut rule, mut at) = waited.unwrap_or((head, head_at));
        loop {
            match self.one(rule, at, head, head_at)? {
                Outcome::Matched => {}
                other => return Ok(other),
            }
            let Some(next) = rule.chained else { break };
            let Some(chained) = set.rules.get(next as usize) else { break };
            (rule, at) = (chained, next);
        }
        self.matched_whole(head);
        Ok(Outcome::Matched)
    }

    /// Evaluates one rule of a chain on all its values.
    fn one(&mut self, rule: &Rule, at: u32, head: &Rule, head_at: u32) -> Result<Outcome, Spent> {
        if rule.targets.is_empty() {
            self.effects(rule, head)?;
            return Ok(Outcome::Matched);
        }
        if self.cannot_match(rule) {
            return Ok(Outcome::Failed);
        }
        self.work.made.clear();
        let mut subjects = std::mem::take(&mut self.work.subjects);
        subjects.clear();
        let visited = self.resolve(rule, head, head_at, &mut subjects);
        if let Err(spent) = self.fuel.spend(visited) {
            self.work.subjects = subjects;
            return Err(spent);
        }
        if let Operator::Listed(list) = &rule.operator {
            match self.awaits(rule, list, at, &subjects) {
                Ok(false) => {}
                waits => {
                    self.work.subjects = subjects;
                    return waits.map(|_| Outcome::Waits);
                }
            }
        }
        if let Operator::Fuzzy { hashes, threshold } = &rule.operator {
            match self.is_judged(rule, (hashes, *threshold), at, &subjects) {
                Ok(true) => {}
                later => {
                    self.work.subjects = subjects;
                    return later.map(|_| Outcome::Later);
                }
            }
        }
        let slot = if at == head_at { self.set.prefilter.slot_of(at) } else { None };
        let slot = slot.filter(|slot| self.filter.has_scanned(*slot));
        let mut any = false;
        let mut result = Ok(());
        for subject in &subjects {
            if let (Some(slot), Some(item)) = (slot, subject.item)
                && !self.filter.is_candidate(slot, item)
            {
                continue;
            }
            match self.subject(rule, head, subject) {
                Ok(matched) => any |= matched,
                Err(spent) => {
                    result = Err(spent);
                    break;
                }
            }
        }
        self.work.subjects = subjects;
        self.state.likeness = None;
        result.map(|()| Outcome::of(any))
    }

    /// Says whether a comparison of one `TX` variable with a number fails, which is most of what CRS's
    /// counters do.
    fn cannot_match(&self, rule: &Rule) -> bool {
        let [target] = rule.targets.as_slice() else { return false };
        let (Selector::Tx(tx), Operator::Number(comparison, with)) = (&target.selector, &rule.operator)
        else {
            return false;
        };
        if rule.is_negated
            || target.is_excluded
            || !rule.pipeline.is_empty()
            || !self.state.removed_targets.is_empty()
            || !self.state.excluded.is_empty()
        {
            return false;
        }
        let value = match (self.state.tx(*tx), target.is_count) {
            (text, true) => i64::from(text.is_some()),
            (Some(text), false) => text.number(),
            (None, false) => return true,
        };
        let with = match (with.as_text(), with.parts()) {
            (Some(text), _) => integer(text),
            (None, [Part::Tx(tx)]) => self.state.tx_number(*tx).unwrap_or(0),
            _ => return false,
        };
        !comparison.holds(value, with)
    }

    /// Evaluates one rule on one value.
    fn subject(&mut self, rule: &Rule, head: &Rule, subject: &Subject) -> Result<bool, Spent> {
        let mut current = std::mem::take(&mut self.work.current);
        let mut other = std::mem::take(&mut self.work.other);
        let page = self.set.code_page.as_ref();
        current.clear();
        current.extend_from_slice(subject.value(self.values, &self.work.made));
        let mut any = false;
        let mut result = Ok(());
        if rule.multi_match && !rule.pipeline.is_empty() {
            match self.test(rule, head, subject, &current) {
                Ok(matched) => any |= matched,
                Err(spent) => result = Err(spent),
            }
        }
        let mut tested_last = rule.multi_match && !rule.pipeline.is_empty();
        if result.is_ok() {
            for transformation in &rule.pipeline {
                result = self.fuel.spend(2 + current.len() as u64);
                if result.is_err() {
                    break;
                }
                if !transformation.apply_by(page, &current, &mut other) {
                    continue;
                }
                self.state.is_value_cut |= other.len() > BUFFER_BYTES_MAX;
                other.truncate(BUFFER_BYTES_MAX);
                std::mem::swap(&mut current, &mut other);
                tested_last = false;
                if rule.multi_match {
                    match self.test(rule, head, subject, &current) {
                        Ok(matched) => any |= matched,
                        Err(spent) => {
                            result = Err(spent);
                            break;
                        }
                    }
                    tested_last = true;
                }
            }
        }
        if result.is_ok() && !tested_last {
            match self.test(rule, head, subject, &current) {
                Ok(matched) => any |= matched,
                Err(spent) => result = Err(spent),
            }
        }
        self.work.current = current;
        self.work.other = other;
        result.map(|()| any)
    }

    /// Asks the operator about a value, and does what a match does.
    fn test(&mut self, rule: &Rule, head: &Rule, subject: &Subject, value: &[u8]) -> Result<bool, Spent> {
        let found = self.asks(rule, head, value)?;
        if found == rule.is_negated {
            return Ok(false);
        }
        if rule.capture && !rule.is_negated {
            self.state.set_captures(&self.work.captures);
        }
        if self.state.matched.len() < MATCHED_VARS_MAX {
            let bytes = &mut self.state.matched_bytes;
            let (full_name, name) = subject.write_name(self.values, &self.work.made, bytes);
            let value = Span::push(bytes, value);
            let variable = subject.variable;
            self.state.matched.push(Matched { variable, full_name, name, value, is_masked: false });
        }
        self.effects(rule, head)?;
        Ok(true)
    }

    /// Runs a rule's effects.
    fn effects(&mut self, rule: &Rule, head: &Rule) -> Result<(), Spent> {
        let set = self.set;
        for (number, effect) in rule.effects.iter().enumerate() {
            self.fuel.spend(RULE_STEPS)?;
            match effect {
                Effect::Tx(name, change) => {
                    let change = self.change(change, head)?;
                    match name {
                        TxName::Known(id) => self.state.set_tx(*id, change),
                        TxName::Made(template) => {
                            let mut name = self.expanded(template, head)?;
                            name.make_ascii_lowercase();
                            match set.names.find(&name) {
                                Some(id) => self.state.set_tx(id, change),
                                None => self.state.set_tx_made(&name, change),
                            }
                        }
                    }
                }
                Effect::Env(name, change) => {
                    let change = self.change(change, head)?;
                    let name = self.expanded(name, head)?;
                    self.state.set_env(&name, change);
                }
                Effect::Mask(variable, name) => self.state.masks.push((*variable, name.clone())),
                Effect::MaskMatched => self.state.mask_matched(),
                Effect::Ctl(ctl) => self.control(ctl, rule, number),
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Change, head: &Rule) -> Result<state::TextChange, Spent> {
        let mut text = |template: &Template| match template.as_text() {
            Some(text) => Ok(Text::new(text)),
            None => self.expanded(template, head).map(|bytes| Text::new(&bytes)),
        };
        Ok(match change {
            Change::Set(template) => state::TextChange::Set(text(template)?),
            Change::Add(template) => state::TextChange::Add(text(template)?.number()),
            Change::Subtract(template) => state::TextChange::Add(text(template)?.number().saturating_neg()),
            Change::Remove => state::TextChange::Remove,
        })
    }

    fn control(&mut self, ctl: &Ctl, rule: &Rule, effect: usize) {
        let state = &mut *self.state;
        match ctl {
            Ctl::RemoveRules(Which::Resolved(bits)) => state.removed.add(bits),
            Ctl::RemoveTarget(Which::Resolved(_), _) => {
                // Remembered by its place among the rules, so that nothing is copied.
                let at = self.set.rules.iter().position(|one| std::ptr::eq(one, rule));
                if let Some(at) = at
                    && !state.removed_targets.contains(&(at, effect))
                {
                    state.removed_targets.push((at, effect));
                }
            }
            Ctl::RemoveRules(_) | Ctl::RemoveTarget(..) | Ctl::Nothing => {}
            Ctl::Engine(mode) => state.mode = (*mode).min(state.mode_max),
            Ctl::BodyKind(kind) => state.body_kind = Some(*kind),
            Ctl::XmlArguments(wanted) => state.xml_arguments = *wanted,
            Ctl::RequestBodyAccess(access) => state.request_body_access = *access,
            Ctl::ResponseBodyAccess(access) => state.response_body_access = *access,
            Ctl::ForceRequestBodyVariable(force) => state.force_request_body = *force,
        }
    }

    /// Records a whole match, and does what it does to the transaction.
    fn matched_whole(&mut self, head: &Rule) {
        if let Some(severity) = head.severity {
            self.state.highest_severity = self.state.highest_severity.min(severity);
        }
        let is_refusal =
            matches!(head.disruptive, Disruptive::Deny | Disruptive::Drop | Disruptive::Redirect(_));
        if head.is_logged || is_refusal {
            self.record(head, is_refusal);
        }
        let action = match &head.disruptive {
            Disruptive::Pass | Disruptive::Block => return,
            Disruptive::Allow(allow) => {
                if self.state.mode == EngineMode::On {
                    self.state.allow(*allow, head.phase);
                }
                return;
            }
            Disruptive::Deny => Action::Deny,
            Disruptive::Drop => Action::Drop,
            Disruptive::Redirect(location) => {
                let location = self.expanded(location, head).unwrap_or_default();
                // No line ends in a header's value, whatever a macro brought.
                let clean: Vec<u8> = location.into_iter().filter(|byte| !byte.is_ascii_control()).collect();
                Action::Redirect(String::from_utf8_lossy(&clean).into_owned())
            }
        };
        let default = if matches!(action, Action::Redirect(_)) { 302 } else { 403 };
        let status = head.status.unwrap_or(default);
        let wanted = Interruption { rule: head.id, phase: head.phase, status, action };
        self.state.wanted.get_or_insert_with(|| wanted.clone());
        if self.state.mode == EngineMode::On {
            self.state.interruption.get_or_insert(wanted);
        }
    }

    fn record(&mut self, head: &Rule, is_refusal: bool) {
        if self.state.matches.len() >= MATCHES_MAX {
            self.state.matches_left_out += 1;
            return;
        }
        let is_secret = self.state.matched.iter().any(|one| self.state.is_matched_secret(one));
        let text = |run: &mut Self, template: Option<&Template>| {
            let expand = |template| run.expanded_masked(template, head, is_secret);
            let bytes = template.map(expand).unwrap_or_default();
            printable(&bytes, MATCH_DATA_BYTES_MAX)
        };
        let msg = text(self, head.msg.as_ref());
        let data = text(self, head.logdata.as_ref());
        let tags = head.tags.iter().map(|tag| text(self, Some(tag))).collect();
        let variables = self
            .state
            .matched
            .iter()
            .map(|matched| MatchedVariable {
                name: printable(matched.full_name.of(&self.state.matched_bytes), MATCH_DATA_BYTES_MAX),
                value: if self.state.is_matched_secret(matched) {
                    "*".to_owned()
                } else {
                    printable(matched.value.of(&self.state.matched_bytes), MATCH_DATA_BYTES_MAX)
                },
            })
            .collect();
        self.state.matches.push(Match {
            id: head.id,
            phase: head.phase,
            file: head.place.file.clone(),
            line: head.place.line,
            msg,
            data,
            tags,
            severity: head.severity,
            version: head.version.to_string(),
            variables,
            is_logged: head.is_logged,
            is_audited: head.is_audited,
            is_refusal,
        });
    }
}

/// Says whether a variable's values may be shown in a record.
pub(crate) fn is_secret_name(variable: Variable, name: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "pass", "pwd", "secret", "token", "sess", "auth", "apikey", "api_key", "api-key", "card", "cvv",
        "cvc", "csrf",
    ];
    let name = name.to_ascii_lowercase();
    let has_word = WORDS.iter().any(|word| memchr::memmem::find(&name, word.as_bytes()).is_some());
    match variable {
        Variable::RequestHeaders | Variable::ResponseHeaders => {
            has_word
                || matches!(
                    name.as_slice(),
                    b"cookie" | b"set-cookie" | b"authorization" | b"proxy-authorization"
                )
        }
        Variable::Args
        | Variable::ArgsGet
        | Variable::ArgsPost
        | Variable::ArgsPath
        | Variable::RequestCookies
        | Variable::Tx => has_word,
        _ => false,
    }
}

/// How far an `allow` goes, seen from a phase.
pub(crate) const fn allow_covers(allow: Allow, given_in: u8, phase: u8) -> bool {
    match allow {
        Allow::All => phase < 5,
        Allow::Phase => phase == given_in,
        Allow::Request => phase <= 2,
    }
}
