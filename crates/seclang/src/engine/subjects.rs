//! From a rule's targets to the values it looks at.
//!
//! Stored values are named by their place, made ones (`TX`, `MATCHED_VARS`, counts) are copied to the
//! workspace, since rules change them while they are looked at. Exclusions of the rule and those that a `ctl`
//! made at run time are left out here. Called by [`super::Run::one`].

use std::sync::Arc;

use crate::engine::Run;
use crate::exclusion::Exclusion;
use crate::model::{Ctl, Effect, Rule, Selector, Target, Which};
use crate::template::TxNames;
use crate::transaction::values::{Span, Values};
use crate::variable::{Kind, Variable};

/// A value that a rule looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// The variable as the rule names it.
    pub(crate) variable: Variable,
    /// The stored value's number; none for made ones.
    pub(crate) item: Option<u32>,
    name: Span,
    value: Span,
    is_count: bool,
}

impl Subject {
    pub(crate) fn name<'a>(&self, values: &'a Values, made: &'a [u8]) -> &'a [u8] {
        self.name.of(if self.item.is_some() { values.buffer() } else { made })
    }

    pub(crate) fn value<'a>(&self, values: &'a Values, made: &'a [u8]) -> &'a [u8] {
        self.value.of(if self.item.is_some() { values.buffer() } else { made })
    }

    /// Writes `ARGS:user`, `&ARGS`, `REQUEST_URI`; tells where that stands, and where the name after the
    /// colon does.
    pub(crate) fn write_name(&self, values: &Values, made: &[u8], full: &mut Vec<u8>) -> (Span, Span) {
        let name = self.name(values, made);
        let start = full.len();
        if self.is_count {
            full.push(b'&');
        }
        full.extend_from_slice(match self.variable {
            Variable::XmlText | Variable::XmlAttributes | Variable::XmlDocument | Variable::XmlPath => b"XML",
            variable => variable.name().as_bytes(),
        });
        let mut own = Span::default();
        if self.variable.is_collection() && !name.is_empty() {
            full.push(b':');
            own = Span::push(full, name);
        }
        (Span::since(full, start), own)
    }
}

impl Run<'_> {
    /// Lists the values that a rule looks at, in the order of its targets; tells how many it looked through.
    pub(super) fn resolve(
        &mut self,
        rule: &Rule,
        head: &Rule,
        head_at: u32,
        subjects: &mut Vec<Subject>,
    ) -> u64 {
        let mut visited = 0_u64;
        let rules = &self.set.rules;
        let excluded = self.state.excluded.clone(); // hardly ever one, and each a pointer
        let removed: Vec<&Target> = self
            .state
            .removed_targets
            .iter()
            .filter_map(|(rule, effect)| removed_target(rules, *rule, *effect, head_at as usize))
            .chain(excluded_targets(&excluded, head_at as usize))
            .collect();
        let excludes_any = !removed.is_empty() || rule.targets.iter().any(|target| target.is_excluded);
        let values = self.values;
        for target in rule.targets.iter().filter(|target| !target.is_excluded) {
            let before = subjects.len();
            let made_before = self.work.made.len();
            if target.variable.is_stored() {
                for source in target.variable.sources() {
                    for (number, item) in values.of(*source) {
                        let name = item.name.of(values.buffer());
                        visited += 1;
                        if !target.selects(name) {
                            continue;
                        }
                        if excludes_any && is_excluded(*source, name, &self.set.names, rule, &removed) {
                            continue;
                        }
                        subjects.push(Subject {
                            variable: target.variable,
                            item: Some(number),
                            name: item.name,
                            value: item.value,
                            is_count: false,
                        });
                    }
                }
            } else {
                self.make(target, head, subjects);
                if excludes_any {
                    let (made, names) = (&self.work.made, &self.set.names);
                    let mut at = 0;
                    subjects.retain(|subject| {
                        at += 1;
                        at <= before
                            || !is_excluded(subject.variable, subject.name.of(made), names, rule, &removed)
                    });
                }
            }
            if target.is_count {
                let count = subjects.len() - before;
                subjects.truncate(before);
                self.work.made.truncate(made_before);
                let name = match &target.selector {
                    Selector::Name(name) => Span::push(&mut self.work.made, name),
                    Selector::Tx(id) => Span::push(&mut self.work.made, self.set.names.name(*id)),
                    _ => Span::default(),
                };
                let value = Span::push(&mut self.work.made, count.to_string().as_bytes());
                subjects.push(Subject { variable: target.variable, item: None, name, value, is_count: true });
            }
        }
        visited + subjects.len() as u64
    }

    /// Makes the values of a variable that is not stored.
    fn make(&mut self, target: &Target, head: &Rule, subjects: &mut Vec<Subject>) {
        let variable = target.variable;
        let set = self.set;
        let made = &mut self.work.made;
        let mut push = |made: &mut Vec<u8>, name: &[u8], write: &mut dyn FnMut(&mut Vec<u8>)| {
            let name = if name.is_empty() { Span::default() } else { Span::push(made, name) };
            let start = made.len();
            write(made);
            let value = Span::since(made, start);
            subjects.push(Subject { variable, item: None, name, value, is_count: false });
        };
        match (variable, &target.selector) {
            (Variable::Tx, Selector::Tx(id)) => {
                if let Some(text) = self.state.tx(*id) {
                    push(made, set.names.name(*id), &mut |out| text.write(out));
                }
            }
            (Variable::Tx, _) => {
                for (name, text) in self.state.all_tx(set) {
                    if target.selects(name) {
                        push(made, name, &mut |out| text.write(out));
                    }
                }
            }
            (Variable::Env, _) => {
                for (name, text) in &self.state.env {
                    if target.selects(name) {
                        push(made, name, &mut |out| text.write(out));
                    }
                }
            }
            (Variable::Geo, _) => {
                for (name, text) in self.state.location.iter().flat_map(|location| location.parts()) {
                    if target.selects(name.as_bytes()) {
                        push(made, name.as_bytes(), &mut |out| out.extend_from_slice(text.as_bytes()));
                    }
                }
            }
            (Variable::MatchedVar, _) => {
                if let Some((_, value)) = self.state.last_matched() {
                    push(made, b"", &mut |out| out.extend_from_slice(value));
                }
            }
            (Variable::MatchedVarName, _) => {
                if let Some((name, _)) = self.state.last_matched() {
                    push(made, b"", &mut |out| out.extend_from_slice(name));
                }
            }
            (Variable::MatchedVars | Variable::MatchedVarsNames, _) => {
                let is_name = variable == Variable::MatchedVarsNames;
                let all = &self.state.matched_bytes;
                for one in &self.state.matched {
                    let name = one.full_name.of(all);
                    if target.selects(name) {
                        let bytes = if is_name { name } else { one.value.of(all) };
                        push(made, name, &mut |out| out.extend_from_slice(bytes));
                    }
                }
            }
            (Variable::Rule, selector) => {
                for (name, value) in self.rule_parts(head) {
                    let is_meant = match selector {
                        Selector::All => true,
                        _ => target.selects(name.as_bytes()),
                    };
                    if is_meant && !value.is_empty() {
                        let out = &mut self.work.made;
                        let name = Span::push(out, name.as_bytes());
                        let value = Span::push(out, &value);
                        subjects.push(Subject { variable, item: None, name, value, is_count: false });
                    }
                }
            }
            _ => {
                debug_assert!(variable.kind() == Kind::MadeScalar, "{variable:?}");
                let mut value = Vec::new();
                self.write_made(variable, head, &mut value);
                let value = Span::push(&mut self.work.made, &value);
                subjects.push(Subject {
                    variable,
                    item: None,
                    name: Span::default(),
                    value,
                    is_count: false,
                });
            }
        }
    }
}

/// Says whether a value is left out.
fn is_excluded(source: Variable, name: &[u8], names: &TxNames, rule: &Rule, removed: &[&Target]) -> bool {
    let own = rule.targets.iter().filter(|target| target.is_excluded);
    own.chain(removed.iter().copied()).any(|target| {
        let is_meant = target.variable == source || target.variable.sources().contains(&source);
        is_meant
            && match &target.selector {
                Selector::Tx(id) => names.name(*id) == name,
                _ => target.selects(name),
            }
    })
}

/// Names what a `ctl` at `(rule, effect)` removes, when it means the rule at `head`.
fn removed_target(rules: &[Rule], rule: usize, effect: usize, head: usize) -> Option<&Target> {
    match rules.get(rule)?.effects.get(effect)? {
        Effect::Ctl(Ctl::RemoveTarget(Which::Resolved(bits), target)) if bits.has(head) => Some(target),
        _ => None,
    }
}

/// What a caller's exclusions leave out of the rule at `head`.
fn excluded_targets(excluded: &[Arc<Exclusion>], head: usize) -> impl Iterator<Item = &Target> {
    excluded.iter().filter(move |one| one.rules.has(head)).flat_map(|one| &one.targets)
}
