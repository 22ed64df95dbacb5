//! Compiles a zone's `[[list]]` and `[[rule]]` entries: the rules of each phase together, by crate `rules`.
//!
//! Every problem that crate finds becomes one of the file, at its place inside the expression. What a phase
//! does on a request's way is `edge`'s. Called by [`super::compile`]; read next: [`crate::rule`].

use std::collections::HashMap;
use std::sync::Arc;

use rules::{
    Action, ActionKind, BlockSpec, Expression, HeaderChange, HeaderSpec, Limits, List, Lists, Phase, Product,
    RedirectSpec, RewriteSpec, RuleProblem, RulesetSpec, Rulesets, Scope, SkipSpec, ValueSpec,
};

use super::Compiler;
use super::inside::inside;
use crate::feed::{AfterHorizon, Feed, Used, made_by_its_word};
use crate::id::Id;
use crate::limits::{LISTS_MAX, RULES_MAX};
use crate::problem::Place;
use crate::read::Placed;
use crate::read::values::{Body, Text, quoted};
use crate::rule::{ChangedPool, PhaseRules, REQUEST_PHASES, RESPONSE_PHASES, Rules};
use crate::spec::{HeaderChangeSpec, ListSpec, RuleBlockSpec, RuleSpec, ZoneSpec};
use crate::zone::Zone;

/// A header that ends loops, whatever rules say.
const LOOP_HEADER: &str = "cdn-loop";

/// An optional value, written out or as an expression.
pub(super) struct Written<'a> {
    pub(super) text: Option<&'a Placed<Body>>,
    pub(super) expression: Option<&'a Placed<Body>>,
    pub(super) key: &'static str,
}

/// The rules of one phase, as crate `rules` takes them.
struct OfPhase {
    phase: Phase,
    entry: RulesetSpec,
    /// To be executed.
    others: Vec<RulesetSpec>,
    /// The place of the first in the zone, from 1.
    first: u32,
}

impl OfPhase {
    fn new(phase: Phase, index: usize) -> Self {
        let entry = RulesetSpec { id: phase.row().name.to_owned(), enabled: true, rules: Vec::new() };
        Self { phase, entry, others: Vec::new(), first: place_of(index) }
    }

    /// The ruleset of this name, which is the phase's own without one.
    fn ruleset(&mut self, name: Option<&str>) -> &mut RulesetSpec {
        let Some(name) = name else { return &mut self.entry };
        let id = format!("{}/{name}", self.entry.id);
        let at = self.others.iter().position(|known| known.id == id).unwrap_or_else(|| {
            self.others.push(RulesetSpec { id, enabled: true, rules: Vec::new() });
            self.others.len() - 1
        });
        match self.others.get_mut(at) {
            Some(ruleset) => ruleset,
            None => &mut self.entry, // it was found or pushed right above
        }
    }
}

/// The place of a rule, from 1.
fn place_of(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

impl Compiler<'_> {
    pub(super) fn rules(
        &mut self,
        spec: &ZoneSpec,
        zone: &str,
        lists: &Lists,
        changed_pools: Vec<ChangedPool>,
        same: Option<&Zone>,
    ) -> Option<Arc<Rules>> {
        if let Some(same) = same {
            return same.rules.clone();
        }
        if spec.rule.0.is_empty() {
            return None;
        }
        if spec.rule.0.len() > RULES_MAX {
            self.report.error(spec.rule.place, format!("more than {RULES_MAX} rules in one zone"));
        }
        let mut of_phase: Vec<OfPhase> = Vec::new();
        let mut by_id: HashMap<String, usize> = HashMap::new();
        for (index, rule) in spec.rule.0.iter().enumerate().take(RULES_MAX) {
            let name = rule.name.as_ref().map_or_else(|| format!("#{}", index + 1), |name| name.0.clone());
            let id = rule.id.as_ref().map_or_else(|| Id::derived("rule", zone, &name), |id| id.value);
            let id = id.to_string();
            if by_id.contains_key(&id) {
                let (place, what) = match (&rule.id, &rule.name) {
                    (Some(id), _) => (id.place, "another rule has this id too".to_owned()),
                    (None, Some(name)) => {
                        (name.place, format!("another rule is named {} too", quoted(&name.0)))
                    }
                    (None, None) => (rule.place, "another rule has this rule's id".to_owned()),
                };
                self.report.error(place, what);
                continue;
            }
            by_id.insert(id.clone(), index);
            let phase = self.phase(&rule.phase);
            let action = self.rule_action(spec, rule);
            let (Some(phase), Some(expression)) = (phase, &rule.expression) else { continue };
            self.warn_unfilled(&expression.0, expression.place);
            // With a mistake in its action the expression is read all the same, for its own mistakes.
            let (action, is_right) = action.map_or((Action::Log, false), |action| (action, true));
            let compiled = rules::RuleSpec {
                id,
                description: rule.description.as_ref().map_or_else(String::new, |text| text.0.clone()),
                enabled: rule.enabled.value && is_right,
                expression: expression.0.clone(),
                action,
            };
            let at = of_phase.iter().position(|known| known.phase == phase).unwrap_or_else(|| {
                of_phase.push(OfPhase::new(phase, index));
                of_phase.len() - 1
            });
            if let Some(known) = of_phase.get_mut(at) {
                known.ruleset(rule.ruleset.as_ref().map(|name| name.0.as_str())).rules.push(compiled);
            }
        }
        let mut rules = Rules { changed_pools, ..Rules::default() };
        let is_on = |index: usize| spec.rule.0.get(index).is_some_and(|rule| rule.enabled.value);
        let on = by_id.iter().filter(|(_, index)| is_on(**index));
        rules.places = on.map(|(id, index)| (id.clone(), place_of(*index))).collect();
        of_phase.sort_by_key(|known| known.phase);
        for known in of_phase {
            let (phase, first) = (known.phase, known.first);
            let rulesets = self.rulesets(spec, &known, lists, &by_id);
            if rulesets.rules() > 0 {
                let compiled = PhaseRules { rulesets, first };
                match phase {
                    Phase::CustomErrors => rules.errors = Some(compiled),
                    Phase::ResponseHeadersTransform => rules.response = Some(compiled),
                    Phase::ResponseCompression => rules.compression = Some(compiled),
                    Phase::ResponseFirewallManaged => rules.withholding = Some(compiled),
                    Phase::LogCustomFields => rules.logging = Some(compiled),
                    _ => rules.request.push(compiled),
                }
            }
        }
        (!rules.is_empty()).then(|| Arc::new(rules))
    }

    /// Compiles the rules of one phase together, and tells what is wrong with them.
    fn rulesets(
        &mut self,
        spec: &ZoneSpec,
        known: &OfPhase,
        lists: &Lists,
        by_id: &HashMap<String, usize>,
    ) -> Rulesets {
        let (phase, limits) = (known.phase, Limits::default());
        let scope = Scope { lists, limits: &limits, has_response: phase.row().has_response };
        let (rulesets, mut problems) = Rulesets::compile(phase, &known.entry, &known.others, lists, &limits);
        for other in &known.others {
            let executes = |rule: &Placed<RuleSpec>| {
                rule.phase.0 == phase.row().name
                    && rule.execute.as_ref().and_then(|execute| execute.ruleset.as_ref()).is_some_and(
                        |name| {
                            other.id.strip_prefix(&known.entry.id).and_then(|id| id.strip_prefix('/'))
                                == Some(&name.0)
                        },
                    )
            };
            let executing = || spec.rule.0.iter().filter(|rule| executes(rule));
            if executing().any(|rule| rule.enabled.value) {
                continue;
            }
            // Nothing reaches it, so it was not compiled; its mistakes are told all the same.
            let others: Vec<RulesetSpec> =
                known.others.iter().filter(|one| one.id != other.id).cloned().collect();
            problems.extend(Rulesets::compile(phase, other, &others, lists, &limits).1);
            let first = other.rules.first().and_then(|rule| by_id.get(&rule.id));
            let name = first.and_then(|at| spec.rule.0.get(*at)?.ruleset.as_ref());
            if let (Some(name), None) = (name, executing().next()) {
                let message = format!("no rule executes the ruleset {}", quoted(&name.0));
                let remedy = "write a rule of the same phase with action = \"execute\"";
                self.report.warning(name.place, message, remedy);
            }
        }
        for problem in &problems {
            match by_id.get(&problem.rule).and_then(|index| spec.rule.0.get(*index)) {
                Some(rule) => self.rule_problem(rule, problem, &scope),
                // Of a ruleset as a whole: rulesets that execute one another too deep.
                None => self.ruleset_problem(spec, phase, problem),
            }
        }
        rulesets
    }

    /// Tells what is wrong with a ruleset, at the first rule that executes it.
    fn ruleset_problem(&mut self, spec: &ZoneSpec, phase: Phase, problem: &RuleProblem) {
        let name = problem.ruleset.strip_prefix(phase.row().name).and_then(|id| id.strip_prefix('/'));
        let executes = spec.rule.0.iter().filter(|rule| rule.phase.0 == phase.row().name);
        let mut named = executes.filter_map(|rule| rule.execute.as_ref()?.ruleset.as_ref());
        let place = named.find(|known| Some(known.0.as_str()) == name).map_or(spec.rule.place, |it| it.place);
        self.report.error(place, problem.what.clone());
    }

    /// The zone's lists, and what is to be known of those that have a horizon.
    pub(super) fn lists(&mut self, spec: &ZoneSpec) -> (Lists, Vec<Feed>) {
        let (mut lists, mut feeds) = (Lists::new(), Vec::new());
        if spec.list.0.len() > LISTS_MAX {
            self.report.error(spec.list.place, format!("more than {LISTS_MAX} lists in one zone"));
        }
        for list in spec.list.0.iter().take(LISTS_MAX) {
            let Some(name) = &list.name else { continue };
            let letter =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
            if !name.0.bytes().all(letter) {
                let message = format!("{} is no name of a list", quoted(&name.0));
                self.report.error_with(name.place, message, "write small letters, digits, `_` and `.`");
                continue;
            }
            if lists.named(&name.0).is_some() {
                self.report.error(name.place, format!("another list is named {} too", quoted(&name.0)));
                continue;
            }
            let made = self.list(list).map(Arc::new);
            feeds.extend(self.feed(list, &name.0, made.as_ref()));
            // One with a problem of its own is there all the same, so that no rule is told that it is not.
            let kind = list.kind.as_ref().map(|kind| kind.value.kind());
            let empty = || List::parse(kind?, "", &Limits::default()).ok().map(Arc::new);
            if let Some(made) = made.or_else(empty) {
                lists.insert(name.0.clone(), made);
            }
        }
        (lists, feeds)
    }

    /// What is to be known of a list with a horizon.
    fn feed(&mut self, list: &Placed<ListSpec>, name: &str, made: Option<&Arc<List>>) -> Option<Feed> {
        let Some(horizon_s) = &list.horizon_s else {
            if list.after_horizon.value == AfterHorizon::Empty {
                let message = "`after_horizon` has no meaning without a horizon";
                self.report.error_with(list.after_horizon.place, message, "write horizon_s, or leave it out");
            }
            return None;
        };
        let Some(path) = &list.file else {
            let message = "only a file grows old: `horizon_s` has no meaning for entries written here";
            self.report.error_with(horizon_s.place, message, "leave it out, or write file = \"list.txt\"");
            return None;
        };
        let shown = self.path(path);
        let changed = self.bundle.changed().get(&shown).copied();
        let made_unix_s = match made_by_its_word(self.bundle.files().get(&shown)?) {
            Ok(word) => word.or(changed),
            Err(no_date) => {
                let message =
                    format!("{shown}, line {}: {} is no time", no_date.line, quoted(&no_date.written));
                let suggestion = "write as in `# made: 2026-11-26T12:00:00Z`";
                self.report.error_with(path.place, message, suggestion);
                return None;
            }
        };
        let Some(made_unix_s) = made_unix_s else {
            let message = format!("it is not known when {} was made", quoted(&shown));
            self.report.error_with(path.place, message, "write `# made: 2026-11-26T12:00:00Z` at its top");
            return None;
        };
        Some(Feed {
            name: name.to_owned(),
            path: shown,
            made_unix_s,
            horizon_s: horizon_s.0,
            after: list.after_horizon.value,
            used: Used::List(Arc::clone(made?)),
        })
    }

    fn list(&mut self, list: &Placed<ListSpec>) -> Option<List> {
        let kind = list.kind.as_ref()?.value.kind();
        let limits = Limits::default();
        match (&list.entries, &list.file) {
            (Some(entries), None) => {
                let lines: Vec<&str> = entries.0.iter().map(|entry| entry.0.as_str()).collect();
                match List::parse(kind, &lines.join("\n"), &limits) {
                    Ok(made) => Some(made),
                    Err(problems) => {
                        for problem in problems {
                            let entry = problem.line.checked_sub(1).and_then(|at| entries.0.get(at));
                            let place = entry.map_or(entries.place, |entry| entry.place);
                            self.report.error(place, problem.what);
                        }
                        None
                    }
                }
            }
            (None, Some(path)) => {
                let shown = self.path(path);
                let parsed =
                    std::str::from_utf8(self.file(path)?).map(|text| List::parse(kind, text, &limits));
                let Ok(parsed) = parsed else {
                    self.report.error(path.place, format!("the list {} is not UTF-8", quoted(&shown)));
                    return None;
                };
                match parsed {
                    Ok(made) => Some(made),
                    Err(problems) => {
                        for problem in problems {
                            let message = format!("{}, line {}: {}", shown, problem.line, problem.what);
                            self.report.error(path.place, message);
                        }
                        None
                    }
                }
            }
            (Some(_), Some(path)) => {
                let message = "a list has either entries or a file";
                self.report.error_with(path.place, message, "leave one out");
                None
            }
            (None, None) => {
                let suggestion = "write entries = [\"192.0.2.0/24\"] or file = \"list.txt\"".to_owned();
                self.report.missing(list.place, "the list has neither entries nor a file", suggestion);
                None
            }
        }
    }

    /// The phase by its name, if it has a place on a request's way.
    fn phase(&mut self, written: &Placed<Text>) -> Option<Phase> {
        let here = || REQUEST_PHASES.into_iter().chain(RESPONSE_PHASES).map(|phase| phase.row().name);
        match Phase::named(&written.0) {
            Some(phase) if here().any(|name| name == phase.row().name) => Some(phase),
            Some(Phase::RateLimit) => {
                let message = "rules of this phase are limits";
                self.report.error_with(written.place, message, "write a [[rate_limit]]");
                None
            }
            Some(_) => {
                let message = format!("the phase {} has no place on a request's way", quoted(&written.0));
                let names: Vec<&str> = here().collect();
                self.report.error_with(written.place, message, format!("there are {}", names.join(", ")));
                None
            }
            None => {
                let names: Vec<&str> = here().collect();
                self.no_such(written, "phase", &names);
                None
            }
        }
    }

    fn no_such(&mut self, written: &Placed<Text>, what: &str, names: &[&str]) {
        let message = format!("there is no {what} {}", quoted(&written.0));
        let suggestion = match crate::read::nearest(&written.0, names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are {}", names.join(", ")),
        };
        self.report.error_with(written.place, message, suggestion);
    }

    fn rule_action(&mut self, spec: &ZoneSpec, rule: &Placed<RuleSpec>) -> Option<Action> {
        let written = rule.action.as_ref()?;
        let Some(kind) = ActionKind::named(&written.0) else {
            let names: Vec<&str> = ActionKind::ALL.iter().map(|row| row.name).collect();
            self.no_such(written, "action", &names);
            return None;
        };
        let tables = [
            ("block", rule.block.as_ref().map(|table| table.place)),
            ("redirect", rule.redirect.as_ref().map(|table| table.place)),
            ("rewrite", rule.rewrite.as_ref().map(|table| table.place)),
            ("skip", rule.skip.as_ref().map(|table| table.place)),
            ("cache", rule.cache.as_ref().map(|table| table.place)),
            ("compress", rule.compress.as_ref().map(|table| table.place)),
            ("execute", rule.execute.as_ref().map(|table| table.place)),
            ("route", rule.route.as_ref().map(|table| table.place)),
            ("config", rule.config.as_ref().map(|table| table.place)),
            ("page", rule.page.as_ref().map(|table| table.place)),
            ("fields", rule.fields.as_ref().map(|table| table.place)),
        ];
        let own = table_of(kind);
        for (name, place) in tables {
            if let Some(place) = place.filter(|_| name != own) {
                let message = format!("`{name}` has no meaning for the action {}", quoted(&written.0));
                let action = match name {
                    "cache" => "set_cache_settings",
                    "compress" => "compress_response",
                    "config" => "set_config",
                    "page" => "serve_error",
                    "fields" => "log_custom_field",
                    name => name,
                };
                self.report.error_with(
                    place,
                    message,
                    format!("write action = \"{action}\" or leave it out"),
                );
            }
        }
        let action = match kind {
            ActionKind::Block => Action::Block(rule.block.as_ref().and_then(|spec| block(spec))),
            ActionKind::Log => Action::Log,
            ActionKind::Challenge | ActionKind::JsChallenge | ActionKind::ManagedChallenge => {
                self.report.warning(
                    written.place,
                    "challenges are not there yet: whom the rule matches is refused (challenge_required)",
                    "write action = \"block\" if that is what you want",
                );
                match kind {
                    ActionKind::Challenge => Action::Challenge,
                    ActionKind::JsChallenge => Action::JsChallenge,
                    _ => Action::ManagedChallenge,
                }
            }
            ActionKind::Skip => Action::Skip(self.skip(spec, rule)),
            ActionKind::Redirect => Action::Redirect(self.redirect(rule)),
            ActionKind::Rewrite => Action::Rewrite(self.rewrite(rule)),
            ActionKind::SetCacheSettings => Action::SetCacheSettings(self.cache_choice(rule)),
            ActionKind::CompressResponse => Action::CompressResponse(self.compress_choice(rule)),
            ActionKind::Execute => {
                let ruleset = self.executed(spec, rule);
                Action::Execute(ruleset.map(|name| format!("{}/{name}", rule.phase.0)))
            }
            ActionKind::Route => Action::Route(self.route_choice(spec, rule)),
            ActionKind::SetConfig => Action::SetConfig(self.config_choice(spec, rule)),
            ActionKind::ServeError => Action::ServeError(self.page_choice(rule)),
            ActionKind::LogCustomField => Action::LogCustomField(self.fields_choice(rule)),
            ActionKind::ForceConnectionClose => Action::ForceConnectionClose,
        };
        let is_without = matches!(
            action,
            Action::Skip(None)
                | Action::Redirect(None)
                | Action::Rewrite(None)
                | Action::SetCacheSettings(None)
                | Action::CompressResponse(None)
                | Action::Execute(None)
                | Action::Route(None)
                | Action::SetConfig(None)
                | Action::ServeError(None)
                | Action::LogCustomField(None)
        );
        if is_without {
            let has_table = tables.iter().any(|(table, place)| *table == own && place.is_some());
            if !has_table {
                let message = format!("the action `{}` needs the table `{own}`", kind.row().name);
                self.report.missing(rule.place, &message, format!("write {own} = {{ … }}"));
            }
            return None;
        }
        Some(action)
    }

    fn skip(&mut self, spec: &ZoneSpec, rule: &RuleSpec) -> Option<SkipSpec> {
        let written = rule.skip.as_ref()?;
        let mut skip = SkipSpec { current_ruleset: written.rest.value, ..SkipSpec::default() };
        let mut is_right = true;
        for name in &written.phases.0 {
            match Phase::named(&name.0) {
                Some(phase) => skip.phases.push(phase),
                None => {
                    let names: Vec<&str> = Phase::ALL.iter().map(|row| row.name).collect();
                    self.no_such(name, "phase", &names);
                    is_right = false;
                }
            }
        }
        for name in &written.products.0 {
            match Product::ALL.iter().find(|(_, word)| *word == name.0) {
                Some((product, _)) => skip.products.push(*product),
                None => {
                    let names: Vec<&str> = Product::ALL.iter().map(|(_, word)| *word).collect();
                    self.no_such(name, "product", &names);
                    is_right = false;
                }
            }
        }
        for name in &written.rulesets.0 {
            match self.is_ruleset(spec, rule, name) {
                true => skip.rulesets.push(format!("{}/{}", rule.phase.0, name.0)),
                false => is_right = false,
            }
        }
        is_right.then_some(skip)
    }

    fn redirect(&mut self, rule: &RuleSpec) -> Option<RedirectSpec> {
        let written = rule.redirect.as_ref()?;
        let target = Written {
            text: written.target.as_ref(),
            expression: written.target_expression.as_ref(),
            key: "target",
        };
        let Some(target) = self.value(target)? else {
            let suggestion = "write target = \"https://…\" or target_expression".to_owned();
            self.report.missing(written.place, "the redirect has no target", suggestion);
            return None;
        };
        let status = u16::try_from(written.status.0).unwrap_or(0);
        Some(RedirectSpec { target, status, preserve_query: written.preserve_query.value })
    }

    fn rewrite(&mut self, rule: &RuleSpec) -> Option<RewriteSpec> {
        let written = rule.rewrite.as_ref()?;
        let path = Written {
            text: written.path.as_ref(),
            expression: written.path_expression.as_ref(),
            key: "path",
        };
        let query = Written {
            text: written.query.as_ref(),
            expression: written.query_expression.as_ref(),
            key: "query",
        };
        let (path, query) = (self.value(path), self.value(query));
        let headers: Vec<Option<HeaderSpec>> =
            written.headers.0.iter().map(|header| self.header_change(header)).collect();
        Some(RewriteSpec { path: path?, query: query?, headers: headers.into_iter().collect::<Option<_>>()? })
    }

    fn header_change(&mut self, written: &Placed<HeaderChangeSpec>) -> Option<HeaderSpec> {
        let name = written.name.as_ref()?;
        if name.0 == LOOP_HEADER {
            let message = "`cdn-loop` is what ends loops between proxies, and cannot be changed by rules";
            self.report.error(name.place, message);
            return None;
        }
        let (set, add) = (
            Written { text: written.set.as_ref(), expression: written.set_expression.as_ref(), key: "set" },
            Written { text: written.add.as_ref(), expression: written.add_expression.as_ref(), key: "add" },
        );
        let change = match (self.value(set)?, self.value(add)?, written.remove.value) {
            (Some(value), None, false) => HeaderChange::Set(value),
            (None, Some(value), false) => HeaderChange::Add(value),
            (None, None, true) => HeaderChange::Remove,
            _ => {
                let message = "a header is either set, added or removed";
                self.report.error_with(written.place, message, "write one of set, add, remove = true");
                return None;
            }
        };
        Some(HeaderSpec { name: name.0.clone(), change })
    }

    /// The value, none where nothing is written; nothing at all after a problem.
    pub(super) fn value(&mut self, written: Written<'_>) -> Option<Option<ValueSpec>> {
        match (written.text, written.expression) {
            (Some(_), Some(expression)) => {
                let message = format!("there is `{}` already", written.key);
                self.report.error_with(expression.place, message, "leave one out");
                None
            }
            (Some(text), None) if text.0.chars().any(char::is_control) => {
                self.report.error(text.place, "control characters and line breaks are not allowed here");
                None
            }
            (Some(text), None) => Some(Some(ValueSpec::Static(text.0.clone()))),
            (None, Some(expression)) => {
                self.warn_unfilled(&expression.0, expression.place);
                Some(Some(ValueSpec::Expression(expression.0.clone())))
            }
            (None, None) => Some(None),
        }
    }

    /// Tells what crate `rules` found, at its place in the file.
    fn rule_problem(&mut self, rule: &Placed<RuleSpec>, problem: &RuleProblem, scope: &Scope<'_>) {
        let redirect = rule.redirect.as_ref();
        let rewrite = rule.rewrite.as_ref();
        let (block, page) = (rule.block.as_ref(), rule.page.as_ref());
        let is_mistaken = |written: &&Placed<Body>| {
            let found = Expression::value(&written.0, scope).err().unwrap_or_default();
            problem.place.as_ref().is_some_and(|place| found.contains(place))
        };
        let whole = match problem.part {
            "expression" => rule.expression.as_ref().map(|text| text.place),
            "status" if block.is_some() => block.map(|block| block.status.place),
            "status" if page.is_some() => page.map(|page| page.place),
            "status" => redirect.map(|redirect| redirect.status.place),
            "content_type" => {
                let kind = block.map(|block| block.content_type.place);
                kind.or(page.map(|page| page.content_type.place))
            }
            "content" => block.map(|block| block.place).or(page.map(|page| page.place)),
            "host_header" => {
                rule.route.as_ref().and_then(|route| route.host_expression.as_ref()).map(|t| t.place)
            }
            "expressions" => rule.fields.as_ref().map(|fields| {
                let mut values = fields.values.0.iter().filter_map(|field| field.expression.as_ref());
                let is_mistaken = |written: &&Placed<Body>| {
                    let found = Expression::of_any_type(&written.0, scope).err().unwrap_or_default();
                    problem.place.as_ref().is_some_and(|place| found.contains(place))
                };
                values.find(is_mistaken).map_or(fields.place, |text| text.place)
            }),
            "target" => redirect.map(|redirect| {
                let (text, expression) = (&redirect.target, &redirect.target_expression);
                text.as_ref().or(expression.as_ref()).map_or(redirect.place, |text| text.place)
            }),
            "path" => rewrite.and_then(|r| r.path_expression.as_ref().or(r.path.as_ref())).map(|t| t.place),
            "query" => {
                rewrite.and_then(|r| r.query_expression.as_ref().or(r.query.as_ref())).map(|t| t.place)
            }
            "headers" => rewrite.map(|rewrite| {
                let headers = &rewrite.headers;
                let mut values =
                    headers.0.iter().flat_map(|header| [&header.set_expression, &header.add_expression]);
                let found = values.by_ref().flatten().find(is_mistaken);
                found.map_or(headers.place, |text| text.place)
            }),
            "uri" => rewrite.map(|rewrite| rewrite.place),
            "edge_ttl_by_status" => rule.cache.as_ref().map(|cache| cache.place),
            _ => rule.action.as_ref().map(|action| action.place),
        };
        let whole = whole.unwrap_or(rule.place);
        let Some(inner) = &problem.place else {
            return self.report.error(whole, problem.what.clone());
        };
        self.tell_inside(whole, inner);
    }

    /// Tells what is wrong inside an expression, at its place in the file; `whole` is the string's.
    pub(super) fn tell_inside(&mut self, whole: Place, inner: &rules::Problem) {
        let place = self.inner_place(whole, inner.start);
        match (&inner.suggestion, &inner.expected) {
            (Some(near), _) => {
                self.report.error_with(place, inner.what.clone(), format!("did you mean `{near}`?"));
            }
            (None, Some(expected)) => self.report.error_with(place, inner.what.clone(), expected.clone()),
            (None, None) => self.report.error(place, inner.what.clone()),
        }
    }

    /// The place of a byte of a string's value, by that of the string.
    pub(super) fn inner_place(&self, string: Place, at: usize) -> Place {
        let file = string.file as usize;
        let source = self.bundle.specs().get(file).or(self.bundle.defaults());
        let raw = source.and_then(|source| source.bytes.get(string.offset as usize..)).unwrap_or_default();
        Place::new(file, string.offset as usize + inside(raw, at))
    }
}

/// The table that an action has its parameters in.
fn table_of(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::SetCacheSettings => "cache",
        ActionKind::CompressResponse => "compress",
        ActionKind::SetConfig => "config",
        ActionKind::ServeError => "page",
        ActionKind::LogCustomField => "fields",
        kind => kind.row().name,
    }
}

fn block(written: &RuleBlockSpec) -> Option<BlockSpec> {
    Some(BlockSpec {
        status: u16::try_from(written.status.0).unwrap_or(0),
        content_type: written.content_type.0.clone(),
        content: written.body.as_ref()?.0.clone(),
    })
}
