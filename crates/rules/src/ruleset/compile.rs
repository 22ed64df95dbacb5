//! From rulesets as written to rulesets that run, with every problem.
//!
//! Rulesets are compiled when an enabled rule executes them, each once however often it is executed. A rule
//! with a problem is left out of the program. Called by whoever compiles zones, through
//! [`Rulesets::compile`].

use std::sync::Arc;

use super::{Act, Compiled, Fill, HeaderAct, Rule, RuleProblem, RuleSpec, RulesetSpec, Rulesets};
use crate::action::{
    Action, BlockSpec, CompressSpec, ConfigSpec, HeaderChange, LogSpec, PageSpec, RedirectSpec, RewriteSpec,
    RouteSpec, SkipSpec, ValueSpec,
};
use crate::check::{Expression, Scope};
use crate::limits::{CONTENT_BYTES_MAX, EXECUTE_DEPTH, HEADER_CHANGES_MAX, LOG_NAMES_MAX, Limits};
use crate::list::Lists;
use crate::outcome::{LogNames, Refusing, RouteTo};
use crate::phase::Phase;
use crate::problem::Problem;
use crate::program::{Builder, ValueId};

/// Headers that belong to a connection or to framing, and to nobody's rules.
const FIXED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A reason why a rule does nothing, already reported.
struct Inert;

struct Compiler<'c> {
    phase: Phase,
    scope: Scope<'c>,
    specs: Vec<&'c RulesetSpec>,
    /// Numbers of rulesets by their place in `specs`, in the order they are compiled.
    reached: Vec<usize>,
    builder: Builder,
    problems: Vec<RuleProblem>,
    /// The rule that is compiled.
    at: (String, String),
}

impl Rulesets {
    /// Compiles the rulesets of a phase: `entry` runs, `others` are there to be executed.
    ///
    /// Gives what can run, and every problem; rules with problems do nothing.
    pub fn compile(
        phase: Phase,
        entry: &RulesetSpec,
        others: &[RulesetSpec],
        lists: &Lists,
        limits: &Limits,
    ) -> (Rulesets, Vec<RuleProblem>) {
        let scope = Scope { lists, limits, has_response: phase.row().has_response };
        let specs: Vec<&RulesetSpec> = std::iter::once(entry).chain(others).collect();
        let mut compiler = Compiler {
            phase,
            scope,
            specs,
            reached: vec![0],
            builder: Builder::new(),
            problems: Vec::new(),
            at: (String::new(), String::new()),
        };
        compiler.check_ids();
        let mut rulesets = Vec::new();
        let mut rules: Vec<Rule> = Vec::new();
        let mut executed: Vec<Vec<u32>> = Vec::new();
        // Executed rulesets are reached while others are compiled.
        while let Some(spec) =
            compiler.reached.get(rulesets.len()).and_then(|place| compiler.specs.get(*place))
        {
            let spec: &RulesetSpec = spec;
            let number = rulesets.len() as u32;
            let first = rules.len() as u32;
            for rule in &spec.rules {
                let is_full = rules.len() >= limits.rules_max;
                rules.extend(compiler.rule(spec, number, rule, is_full));
            }
            let of_ruleset = rules.get(first as usize..).unwrap_or_default();
            executed.push(
                of_ruleset
                    .iter()
                    .filter_map(|rule| if let Act::Execute(other) = rule.act { Some(other) } else { None })
                    .collect(),
            );
            rulesets.push(Compiled {
                id: spec.id.as_str().into(),
                is_on: spec.enabled,
                rules: first..rules.len() as u32,
                groups: Box::default(),
            });
        }
        compiler.check_depth(&executed, limits);
        let program = std::mem::take(&mut compiler.builder).build();
        for ruleset in &mut rulesets {
            ruleset.groups = program.groups_of(ruleset.rules.clone());
        }
        (Rulesets { phase, program, rulesets, rules }, compiler.problems)
    }
}

impl<'c> Compiler<'c> {
    fn report(&mut self, part: &'static str, what: impl Into<String>) -> Inert {
        let (ruleset, rule) = self.at.clone();
        self.problems.push(RuleProblem { ruleset, rule, part, what: what.into(), place: None });
        Inert
    }

    fn report_places(&mut self, part: &'static str, places: Vec<Problem>) -> Inert {
        for place in places {
            let (ruleset, rule) = self.at.clone();
            self.problems.push(RuleProblem {
                ruleset,
                rule,
                part,
                what: place.to_string(),
                place: Some(place),
            });
        }
        Inert
    }

    fn check_ids(&mut self) {
        let mut ids: Vec<&str> = self.specs.iter().map(|spec| spec.id.as_str()).collect();
        ids.sort_unstable();
        for twins in ids.windows(2).filter(|pair| pair.first() == pair.last()) {
            self.at = (twins.first().copied().unwrap_or_default().to_owned(), String::new());
            self.report("id", "two rulesets have this id; the first one counts");
        }
        for spec in self.specs.clone() {
            let mut ids: Vec<&str> = spec.rules.iter().map(|rule| rule.id.as_str()).collect();
            ids.sort_unstable();
            for twins in ids.windows(2).filter(|pair| pair.first() == pair.last()) {
                self.at = (spec.id.clone(), twins.first().copied().unwrap_or_default().to_owned());
                self.report("id", "two rules of the ruleset have this id");
            }
        }
    }

    /// Looks for rulesets that are executed inside one another too deep, themselves among them.
    fn check_depth(&mut self, executed: &[Vec<u32>], limits: &Limits) {
        let max = limits.execute_depth_max.min(EXECUTE_DEPTH);
        let mut level: Vec<u32> = vec![0];
        for _ in 0..max {
            let mut next: Vec<u32> =
                level.iter().filter_map(|number| executed.get(*number as usize)).flatten().copied().collect();
            next.sort_unstable();
            next.dedup();
            level = next;
        }
        for number in level {
            let spec = self.reached.get(number as usize).and_then(|place| self.specs.get(*place));
            self.at = (spec.map(|spec| spec.id.clone()).unwrap_or_default(), String::new());
            let what =
                format!("it is executed more than {max} deep, or executes itself; there it does nothing");
            self.report("execute", what);
        }
    }

    fn rule(
        &mut self,
        ruleset: &RulesetSpec,
        number: u32,
        rule: &'c RuleSpec,
        is_full: bool,
    ) -> Option<Rule> {
        self.at = (ruleset.id.clone(), rule.id.clone());
        if is_full {
            let what = format!("the phase has more than {} rules", self.scope.limits.rules_max);
            self.report("rule", what);
            return None;
        }
        let kind = rule.action.kind();
        // Problems of rules that are switched off are told too: they will be switched on again.
        let condition = Expression::condition(&rule.expression, &self.scope);
        let act = if self.phase.allows(kind) {
            self.act(&rule.action, rule.enabled)
        } else {
            let names: Vec<&str> = self.phase.row().actions.iter().map(|action| action.row().name).collect();
            let what = format!(
                "`{}` may not stand in `{}`, which takes log, skip, execute, {}",
                kind.row().name,
                self.phase.row().name,
                names.join(", ")
            );
            Err(self.report("action", what))
        };
        let condition = match condition {
            Ok(condition) => condition,
            Err(places) => {
                self.report_places("expression", places);
                return None;
            }
        };
        let act = act.ok()?;
        if !rule.enabled {
            return None;
        }
        self.builder.condition(&condition);
        Some(Rule { id: rule.id.as_str().into(), ruleset: number, is_on: true, kind, act })
    }

    fn act(&mut self, action: &'c Action, enabled: bool) -> Result<Act, Inert> {
        let missing = |compiler: &mut Self| {
            let name = action.kind().row().name;
            compiler.report("action", format!("`{name}` has no parameters, and does nothing without"))
        };
        match action {
            Action::Log => Ok(Act::Nothing),
            Action::Challenge | Action::JsChallenge | Action::ManagedChallenge => Ok(Act::Challenge),
            Action::ForceConnectionClose => Ok(Act::Close),
            Action::Block(None) => Ok(Act::Block(None)),
            Action::Block(Some(spec)) => self.block(spec),
            Action::Skip(spec) => match spec {
                Some(spec) => self.skip(spec),
                None => Err(missing(self)),
            },
            Action::Execute(ruleset) => match ruleset {
                Some(ruleset) => self.execute(ruleset, enabled),
                None => Err(missing(self)),
            },
            Action::Rewrite(spec) => match spec {
                Some(spec) => self.rewrite(spec),
                None => Err(missing(self)),
            },
            Action::Redirect(spec) => match spec {
                Some(spec) => self.redirect(spec),
                None => Err(missing(self)),
            },
            Action::Route(spec) => match spec {
                Some(spec) => self.route(spec),
                None => Err(missing(self)),
            },
            Action::SetConfig(Some(ConfigSpec { settings })) if settings.is_empty() => Err(missing(self)),
            Action::SetConfig(Some(spec)) => Ok(Act::Config(Arc::new(spec.clone()))),
            Action::CompressResponse(Some(CompressSpec { algorithms })) if !algorithms.is_empty() => {
                Ok(Act::Compress(algorithms.as_slice().into()))
            }
            Action::SetCacheSettings(Some(spec)) => {
                if spec.edge_ttl_by_status.iter().any(|(first, last, _)| first > last) {
                    return Err(
                        self.report("edge_ttl_by_status", "a range of statuses ends before it begins")
                    );
                }
                Ok(Act::Cache(Arc::new(spec.clone())))
            }
            Action::ServeError(Some(spec)) => self.page(spec),
            Action::LogCustomField(Some(spec)) => self.log(spec),
            Action::SetConfig(None)
            | Action::CompressResponse(_)
            | Action::SetCacheSettings(None)
            | Action::ServeError(None)
            | Action::LogCustomField(None) => Err(missing(self)),
        }
    }

    fn content(&mut self, content: &str, content_type: &str) -> Result<(), Inert> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(self.report("content", format!("it is longer than {CONTENT_BYTES_MAX} bytes")));
        }
        let is_type =
            content_type.split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty());
        if !is_type || content_type.bytes().any(|byte| byte.is_ascii_control()) {
            let what = format!("`{content_type}` is not a media type such as text/html");
            return Err(self.report("content_type", what));
        }
        Ok(())
    }

    fn block(&mut self, spec: &BlockSpec) -> Result<Act, Inert> {
        self.content(&spec.content, &spec.content_type)?;
        if !(400..=499).contains(&spec.status) {
            return Err(self.report("status", format!("{} is not between 400 and 499", spec.status)));
        }
        Ok(Act::Block(Some(Arc::new(Refusing {
            status: spec.status,
            content_type: spec.content_type.clone(),
            content: spec.content.clone(),
        }))))
    }

    fn page(&mut self, spec: &PageSpec) -> Result<Act, Inert> {
        self.content(&spec.content, &spec.content_type)?;
        if let Some(status) = spec.status
            && !(400..=599).contains(&status)
        {
            return Err(self.report("status", format!("{status} is not between 400 and 599")));
        }
        Ok(Act::ServeError(Arc::new(spec.clone())))
    }

    /// The number of a ruleset by its id, counted from the entry in the order they are reached.
    fn number_of(&mut self, id: &str) -> Option<u32> {
        let place = self.specs.iter().position(|spec| spec.id == id)?;
        let number = self.reached.iter().position(|known| *known == place).unwrap_or_else(|| {
            self.reached.push(place);
            self.reached.len() - 1
        });
        Some(number as u32)
    }

    fn skip(&mut self, spec: &SkipSpec) -> Result<Act, Inert> {
        let is_nothing = !spec.current_ruleset
            && spec.phases.is_empty()
            && spec.products.is_empty()
            && spec.rulesets.is_empty();
        if is_nothing {
            return Err(self.report("action", "`skip` names nothing to skip"));
        }
        let mut rulesets = Vec::new();
        for id in &spec.rulesets {
            match self.number_of(id) {
                Some(number) => rulesets.push(number),
                None => {
                    self.report("rulesets", format!("there is no ruleset `{id}`"));
                }
            }
        }
        Ok(Act::Skip {
            current: spec.current_ruleset,
            phases: spec.phases.clone(),
            products: spec.products.clone(),
            rulesets,
        })
    }

    fn execute(&mut self, id: &str, enabled: bool) -> Result<Act, Inert> {
        if !enabled {
            return Err(Inert);
        }
        match self.number_of(id) {
            Some(number) => Ok(Act::Execute(number)),
            None => Err(self.report("ruleset", format!("there is no ruleset `{id}`"))),
        }
    }

    fn fill(&mut self, part: &'static str, spec: &ValueSpec) -> Result<Fill, Inert> {
        match spec {
            ValueSpec::Static(value) if value.len() > self.scope.limits.expression_bytes_max => {
                let max = self.scope.limits.expression_bytes_max;
                Err(self.report(part, format!("the value is longer than {max} bytes")))
            }
            ValueSpec::Static(value) => Ok(Fill::Static(value.clone().into_bytes())),
            ValueSpec::Expression(text) => match Expression::value(text, &self.scope) {
                Ok(expression) => Ok(Fill::Computed(self.builder.value(&expression))),
                Err(places) => Err(self.report_places(part, places)),
            },
        }
    }

    fn rewrite(&mut self, spec: &RewriteSpec) -> Result<Act, Inert> {
        let takes_headers = matches!(self.phase, Phase::LateTransform | Phase::ResponseHeadersTransform);
        if takes_headers && (spec.path.is_some() || spec.query.is_some()) {
            return Err(self.report("uri", "path and query are rewritten in `http_request_transform`"));
        }
        if !takes_headers && !spec.headers.is_empty() {
            let expected = "`http_request_late_transform` or `http_response_headers_transform`";
            return Err(self.report("headers", format!("headers are changed in {expected}")));
        }
        if spec.path.is_none() && spec.query.is_none() && spec.headers.is_empty() {
            return Err(self.report("action", "`rewrite` changes nothing"));
        }
        if spec.headers.len() > HEADER_CHANGES_MAX {
            return Err(self.report("headers", format!("more than {HEADER_CHANGES_MAX} headers are changed")));
        }
        let path = spec.path.as_ref().map(|value| self.fill("path", value)).transpose();
        let query = spec.query.as_ref().map(|value| self.fill("query", value)).transpose();
        let headers: Vec<Result<_, Inert>> = spec
            .headers
            .iter()
            .map(|header| {
                let name = self.header_name(&header.name);
                let change = match &header.change {
                    HeaderChange::Set(value) => self.fill("headers", value).map(HeaderAct::Set),
                    HeaderChange::Add(value) => self.fill("headers", value).map(HeaderAct::Add),
                    HeaderChange::Remove => Ok(HeaderAct::Remove),
                };
                Ok((name?, change?))
            })
            .collect();
        Ok(Act::Rewrite {
            path: path?,
            query: query?,
            headers: headers.into_iter().collect::<Result<_, _>>()?,
        })
    }

    fn header_name(&mut self, name: &str) -> Result<Arc<str>, Inert> {
        let lower = name.to_ascii_lowercase();
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if lower.is_empty() || lower.len() > 256 || !lower.bytes().all(token) {
            return Err(self.report("headers", format!("`{name}` is not the name of a header")));
        }
        if FIXED_HEADERS.contains(&lower.as_str()) {
            let what = format!("`{lower}` belongs to the connection and cannot be changed by rules");
            return Err(self.report("headers", what));
        }
        Ok(lower.into())
    }

    fn redirect(&mut self, spec: &RedirectSpec) -> Result<Act, Inert> {
        if !matches!(spec.status, 301 | 302 | 303 | 307 | 308) {
            let what = format!("{} is not 301, 302, 303, 307 or 308", spec.status);
            return Err(self.report("status", what));
        }
        if let ValueSpec::Static(target) = &spec.target {
            let is_url =
                target.starts_with('/') || target.starts_with("https://") || target.starts_with("http://");
            if !is_url {
                let what = format!("`{target}` is neither a path nor an http or https URL");
                return Err(self.report("target", what));
            }
        }
        let target = self.fill("target", &spec.target)?;
        let preserve_query = if spec.preserve_query { Some(self.query_value()?) } else { None };
        Ok(Act::Redirect { target, status: spec.status, preserve_query })
    }

    fn query_value(&mut self) -> Result<ValueId, Inert> {
        match Expression::value("http.request.uri.query", &self.scope) {
            Ok(query) => Ok(self.builder.value(&query)),
            Err(places) => Err(self.report_places("preserve_query", places)),
        }
    }

    fn route(&mut self, spec: &RouteSpec) -> Result<Act, Inert> {
        if *spec == RouteSpec::default() {
            return Err(self.report("action", "`route` changes nothing"));
        }
        if spec.port == Some(0) {
            return Err(self.report("port", "0 is not a port"));
        }
        let host_header =
            spec.host_header.as_ref().map(|value| self.fill("host_header", value)).transpose()?;
        let shared = |name: &Option<String>| name.as_deref().map(Arc::from);
        let to = RouteTo {
            pool: shared(&spec.pool),
            host_header: None,
            sni: shared(&spec.sni),
            origin_host: shared(&spec.origin_host),
            port: spec.port,
        };
        Ok(Act::Route { to, host_header })
    }

    fn log(&mut self, spec: &LogSpec) -> Result<Act, Inert> {
        let longest = [&spec.request_headers, &spec.response_headers, &spec.cookies].map(Vec::len);
        if longest.into_iter().max().unwrap_or(0).max(spec.expressions.len()) > LOG_NAMES_MAX {
            return Err(
                self.report("action", format!("more than {LOG_NAMES_MAX} names of a kind are logged"))
            );
        }
        let mut values = Vec::new();
        let mut is_right = true;
        for (name, text) in &spec.expressions {
            match Expression::of_any_type(text, &self.scope) {
                Ok(expression) => values.push((name.as_str().into(), self.builder.value(&expression))),
                Err(places) => {
                    self.report_places("expressions", places);
                    is_right = false;
                }
            }
        }
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let names = LogNames {
            request_headers: lower(&spec.request_headers),
            response_headers: lower(&spec.response_headers),
            cookies: spec.cookies.clone(),
        };
        let names = (names != LogNames::default()).then(|| Arc::new(names));
        if names.is_none() && values.is_empty() && is_right {
            return Err(self.report("action", "`log_custom_field` names nothing"));
        }
        if is_right { Ok(Act::Log { names, values }) } else { Err(Inert) }
    }
}
