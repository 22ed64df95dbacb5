//! The second half of loading: updates applied, ids and chains and markers resolved, rules put in their
//! phases.
//!
//! Called by [`super::Loader::finish`] only.

use std::sync::Arc;

use std::collections::HashMap;

use super::{Entry, Loader, Raw, Update};
use crate::limits::CHAIN_MAX;
use crate::model::{Ctl, Disruptive, Effect, Flow, Operator, Rule, RuleBits, Selector, Which};
use crate::parse::actions::Actions;
use crate::problem::{LoadError, Place, Wrong};
use crate::ruleset::{Gate, RuleSet, Step};
use crate::template::{Template, TxId};
use crate::variable::Variable;

/// The number of phases.
const PHASES: usize = 5;

impl Loader<'_> {
    pub(super) fn build(mut self) -> Result<RuleSet, LoadError> {
        self.check_ids();
        self.apply_updates();
        let mut rules: Vec<Rule> = Vec::with_capacity(self.rules.len());
        let mut lists: [Vec<u32>; PHASES] = Default::default();
        // Where the rules of each phase that follow a marker begin.
        let mut markers: HashMap<String, [usize; PHASES]> = HashMap::new();
        let mut jumps: Vec<(u32, String, Place)> = Vec::new();
        let mut raws: Vec<Option<Raw>> = std::mem::take(&mut self.rules).into_iter().map(Some).collect();
        for entry in std::mem::take(&mut self.entries) {
            let first = match entry {
                Entry::Marker(name) => {
                    // The first of several markers of one name counts, seen from a rule before it.
                    markers.insert(name, std::array::from_fn(|phase| lists.get(phase).map_or(0, Vec::len)));
                    continue;
                }
                Entry::Rule(first) => first,
            };
            let mut chain = Vec::new();
            let mut at = first;
            while let Some(raw) =
                raws.get_mut(at).filter(|raw| at == first || raw.as_ref().is_some_and(|raw| raw.is_chained))
            {
                chain.extend(raw.take());
                at += 1;
            }
            let Some(head) = chain.first() else { continue };
            if head.is_removed {
                continue;
            }
            if chain.len() > CHAIN_MAX {
                self.report
                    .add(&head.place, Wrong::new(format!("the chain has more than {CHAIN_MAX} rules")));
                continue;
            }
            let phase = head.actions.phase.unwrap_or(2).clamp(1, 5);
            let start = rules.len();
            // A rule's id serves as a marker too.
            if let Some(id) = head.actions.id {
                let places = std::array::from_fn(|at| {
                    lists.get(at).map_or(0, |list| list.len() + usize::from(at + 1 == usize::from(phase)))
                });
                markers.entry(id.to_string()).or_insert(places);
            }
            if let Some(marker) = head.actions.skip_after.clone() {
                jumps.push((u32::try_from(start).unwrap_or(u32::MAX), marker, head.place.clone()));
            }
            let count = chain.len();
            for (offset, raw) in chain.into_iter().enumerate() {
                self.check_chained(&raw, offset, phase);
                let chained =
                    (offset + 1 < count).then(|| u32::try_from(start + offset + 1).unwrap_or(u32::MAX));
                rules.push(finished(raw, phase, chained));
            }
            if let Some(list) = lists.get_mut(usize::from(phase - 1)) {
                list.push(u32::try_from(start).unwrap_or(u32::MAX));
            }
        }
        self.resolve_jumps(&mut rules, &lists, &markers, jumps);
        if self.names.len() >= usize::from(TxId::MAX) {
            let place = Place { file: Arc::from(""), line: 0 };
            self.report.add(&place, Wrong::new("rules name more than 65,534 variables of TX"));
        }
        self.check_keys(&rules);
        resolve_controls(&mut rules);
        let code_page = self.code_page();
        let notes = self.take_notes();
        let Self { report, settings, names, paths, .. } = self;
        report.finish()?;
        let phases = lists.map(|list| list.into_iter().map(|rule| step(&rules, rule)).collect());
        Ok(RuleSet::new(rules, phases, settings, names, notes).with_paths(paths).with_code_page(code_page))
    }

    /// A list that wants a key is asked nothing without one.
    fn check_keys(&mut self, rules: &[Rule]) {
        if self.settings.http_bl_key.is_some() {
            return;
        }
        for rule in rules {
            if matches!(&rule.operator, Operator::Listed(list) if list.wants_key) {
                let what = "this list answers only those who have a key";
                self.report.add(&rule.place, Wrong::with(what, "write SecHttpBlKey with yours"));
            }
        }
    }

    fn check_ids(&mut self) {
        let mut seen: HashMap<u64, Place> = HashMap::new();
        for raw in &self.rules {
            match raw.actions.id {
                Some(id) => {
                    if let Some(first) = seen.get(&id) {
                        let what = format!("the id {id} is taken by the rule at {first}");
                        self.report.add(&raw.place, Wrong::with(what, "give it another"));
                    } else {
                        seen.insert(id, raw.place.clone());
                    }
                }
                None if raw.is_chained => {}
                None => self.report.add(&raw.place, Wrong::with("the rule has no id", "add id:NUMBER")),
            }
        }
    }

    fn check_chained(&mut self, raw: &Raw, offset: usize, phase: u8) {
        if offset == 0 {
            if raw.targets.iter().all(|target| target.is_excluded) && !raw.targets.is_empty() {
                self.report.add(&raw.place, Wrong::new("the rule's targets are all excluded"));
            }
            return;
        }
        let actions = &raw.actions;
        if actions.phase.is_some_and(|own| own != phase) {
            self.report.add(
                &raw.place,
                Wrong::with("a chained rule is in the phase of its first", "leave out phase"),
            );
        }
        if !matches!(&actions.disruptive, None | Some(Disruptive::Pass | Disruptive::Block)) {
            self.report.add(
                &raw.place,
                Wrong::with(
                    "only the first rule of a chain may say what becomes of the request",
                    "move the action there",
                ),
            );
        }
        if actions.skip.is_some() || actions.skip_after.is_some() {
            self.report.add(
                &raw.place,
                Wrong::with("only the first rule of a chain may skip", "move the action there"),
            );
        }
    }

    fn apply_updates(&mut self) {
        for (place, which, offset, update) in std::mem::take(&mut self.updates) {
            let heads: Vec<usize> = self
                .rules
                .iter()
                .enumerate()
                .filter(|(_, raw)| {
                    !raw.is_chained
                        && means(&which, raw.actions.id, &raw.actions.tags, raw.actions.msg.as_ref())
                })
                .map(|(at, _)| at)
                .collect();
            if heads.is_empty() {
                self.note(
                    &place,
                    Wrong::with(
                        "no rule is meant by this update",
                        "correct the id, or load the rules it is for",
                    ),
                );
            }
            for head in heads {
                let at = head + offset as usize;
                let Some(raw) = self.rules.get_mut(at).filter(|raw| offset == 0 || raw.is_chained) else {
                    self.report.add(&place, Wrong::new(format!("the chain has no rule {offset}")));
                    continue;
                };
                match &update {
                    Update::Remove => raw.is_removed = true,
                    Update::Targets(targets) => raw.targets.extend(targets.iter().cloned()),
                    Update::Replace(targets, old) => {
                        raw.targets.retain(|target| target.to_string() != **old);
                        raw.targets.extend(targets.iter().cloned());
                    }
                    Update::Actions(actions) => merge(&mut raw.actions, actions),
                }
            }
        }
    }

    fn resolve_jumps(
        &mut self,
        rules: &mut [Rule],
        lists: &[Vec<u32>; PHASES],
        markers: &HashMap<String, [usize; PHASES]>,
        jumps: Vec<(u32, String, Place)>,
    ) {
        for (at, marker, place) in jumps {
            let Some(rule) = rules.get_mut(at as usize) else { continue };
            let phase = usize::from(rule.phase - 1);
            let own = lists.get(phase).and_then(|list| list.iter().position(|one| *one == at)).unwrap_or(0);
            match markers.get(&marker).and_then(|places| places.get(phase)).copied() {
                Some(to) if to > own => rule.flow = Flow::SkipTo(u32::try_from(to).unwrap_or(u32::MAX)),
                Some(_) => {
                    let what = format!("the marker `{marker}` stands before the rule that skips to it");
                    self.report
                        .add(&place, Wrong::with(what, "move the marker behind the rules to leave out"));
                }
                None => {
                    self.report
                        .add(&place, Wrong::unknown("marker", &marker, markers.keys().map(String::as_str)));
                }
            }
        }
    }
}

/// Says whether a rule is meant.
fn means(which: &Which, id: Option<u64>, tags: &[Template], msg: Option<&Template>) -> bool {
    let fits = |regex: &regex::bytes::Regex, template: &Template| {
        template.as_text().is_some_and(|text| regex.is_match(text))
    };
    match which {
        Which::Ids(ranges) => {
            id.is_some_and(|id| ranges.iter().any(|(first, last)| (*first..=*last).contains(&id)))
        }
        Which::Tag(regex) => tags.iter().any(|tag| fits(regex, tag)),
        Which::Msg(regex) => msg.is_some_and(|msg| fits(regex, msg)),
        Which::Resolved(_) => false,
    }
}

/// Lays the actions of an update over a rule's own.
fn merge(own: &mut Actions, over: &Actions) {
    macro_rules! take {
        ($($field:ident)*) => { $(if over.$field.is_some() { own.$field.clone_from(&over.$field); })* };
    }
    take!(msg logdata severity version revision maturity accuracy disruptive status);
    take!(skip skip_after log audit);
    if over.forgets_inherited {
        own.forgets_inherited = true;
        own.pipeline.clear();
    }
    own.pipeline.extend_from_slice(&over.pipeline);
    own.tags.extend_from_slice(&over.tags);
    own.effects.extend_from_slice(&over.effects);
    own.capture |= over.capture;
    own.multi_match |= over.multi_match;
}

fn finished(raw: Raw, phase: u8, chained: Option<u32>) -> Rule {
    let Raw { place, targets, operator, is_negated, actions, defaults, .. } = raw;
    let pipeline = if actions.forgets_inherited {
        actions.pipeline
    } else {
        defaults.pipeline.iter().chain(&actions.pipeline).copied().collect()
    };
    let inherited =
        || defaults.disruptive.clone().filter(|one| *one != Disruptive::Block).unwrap_or(Disruptive::Pass);
    let disruptive = match actions.disruptive {
        None | Some(Disruptive::Block) => inherited(),
        Some(own) => own,
    };
    Rule {
        id: actions.id.unwrap_or(0),
        place,
        phase,
        targets,
        operator,
        is_negated,
        pipeline,
        multi_match: actions.multi_match,
        capture: actions.capture,
        is_logged: actions.log.or(defaults.log).unwrap_or(true),
        is_audited: actions.audit.or(defaults.audit).unwrap_or(true),
        msg: actions.msg,
        logdata: actions.logdata,
        tags: actions.tags,
        severity: actions.severity,
        version: actions.version.unwrap_or_default(),
        revision: actions.revision.unwrap_or_default(),
        disruptive,
        status: actions.status.or(defaults.status),
        effects: actions.effects,
        flow: actions.skip.map_or(Flow::Next, Flow::Skip),
        chained,
    }
}

/// Resolves which rules each `ctl` means, once, so that a match costs the union of two sets.
fn resolve_controls(rules: &mut [Rule]) {
    let heads: Vec<(u64, Vec<Template>, Option<Template>)> =
        rules.iter().map(|rule| (rule.id, rule.tags.clone(), rule.msg.clone())).collect();
    let mut is_head = vec![true; rules.len()];
    for rule in rules.iter() {
        if let Some(place) = rule.chained.and_then(|next| is_head.get_mut(next as usize)) {
            *place = false;
        }
    }
    let resolve = |which: &Which| {
        let mut bits = RuleBits::with_room(heads.len());
        for (at, (id, tags, msg)) in heads.iter().enumerate() {
            if is_head.get(at).copied().unwrap_or(false) && means(which, Some(*id), tags, msg.as_ref()) {
                bits.set(at);
            }
        }
        Which::Resolved(bits)
    };
    for rule in rules.iter_mut() {
        for effect in &mut rule.effects {
            if let Effect::Ctl(Ctl::RemoveRules(which) | Ctl::RemoveTarget(which, _)) = effect {
                *which = resolve(which);
            }
        }
    }
}

/// Makes the step of a rule: a bare comparison of a `TX` variable that only skips needs no evaluation.
fn step(rules: &[Rule], at: u32) -> Step {
    let gate = || {
        let rule = rules.get(at as usize)?;
        let Flow::SkipTo(to) = rule.flow else { return None };
        let Operator::Number(comparison, with) = &rule.operator else { return None };
        let [target] = rule.targets.as_slice() else { return None };
        let Selector::Tx(tx) = target.selector else { return None };
        let is_plain = target.variable == Variable::Tx
            && !target.is_count
            && !target.is_excluded
            && !rule.is_negated
            && rule.pipeline.is_empty()
            && rule.effects.is_empty()
            && !rule.is_logged
            && rule.chained.is_none()
            && rule.disruptive == Disruptive::Pass;
        let with = std::str::from_utf8(with.as_text()?).ok()?.parse::<i64>().ok()?;
        is_plain.then_some(Gate { tx, comparison: *comparison, with, to })
    };
    Step { rule: at, gate: gate() }
}
