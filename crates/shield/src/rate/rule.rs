//! Rules of the phase `http_ratelimit`: which requests count, by what, and what is done past the limit.
//!
//! Expressions are compiled together, as everywhere; what a rule counts by is a list of values, hashed to one
//! key. A rule whose counting expression asks about the response only looks at its counter when the request
//! comes, and counts in [`RateRules::after`]. Rules with problems do nothing. Called by the phase; read next:
//! [`RateRules::before`].

use std::sync::Arc;

use fuel::{Fuel, Spent};
use rules::{
    ActionKind, Builder, ConditionId, Expression, Limits, Lists, Phase, Problem, Program, Run, Scope,
    Scratch, Value, ValueId, View, When,
};

use super::{Counter, Counters, Decision, Key, Limit};
use crate::limits::CHARACTERISTICS_MAX;

/// What requests are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Characteristic {
    /// The visitor's address, cut to so many bits by its family. Defaults: 32 and 64, since a visitor has a
    /// whole IPv6 network of 64 bits.
    Address {
        /// 1 to 32.
        v4_bits: u8,
        /// 1 to 128.
        v6_bits: u8,
    },
    /// All values of a request header.
    Header(String),
    /// All values of a cookie.
    Cookie(String),
    /// All values of a query argument.
    Argument(String),
    /// The JA4 fingerprint of the TLS hello.
    Ja4,
    /// The number of the visitor's network.
    Asn,
    /// The visitor's country.
    Country,
    /// The path.
    Path,
    /// The host.
    Host,
    /// An expression of any type.
    Expression(String),
}

impl Characteristic {
    /// The expression that gives it.
    fn expression(&self) -> String {
        match self {
            Self::Address { v4_bits, v6_bits } => format!("cidr(ip.src, {v4_bits}, {v6_bits})"),
            Self::Header(name) => format!("http.request.headers[{}]", quoted(&name.to_ascii_lowercase())),
            Self::Cookie(name) => format!("http.request.cookies[{}]", quoted(name)),
            Self::Argument(name) => format!("http.request.uri.args[{}]", quoted(name)),
            Self::Ja4 => "cf.bot_management.ja4".to_owned(),
            Self::Asn => "ip.src.asnum".to_owned(),
            Self::Country => "ip.src.country".to_owned(),
            Self::Path => "http.request.uri.path".to_owned(),
            Self::Host => "lower(http.host)".to_owned(),
            Self::Expression(text) => text.clone(),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A rate limit as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRuleSpec {
    /// Its stable id, by which its counters live.
    pub id: String,
    /// Whether it runs.
    pub enabled: bool,
    /// Which requests it is about.
    pub expression: String,
    /// Which of those count, if not all; it may ask about the response.
    pub counting_expression: Option<String>,
    /// What they are told apart by; of nothing, all count together.
    pub characteristics: Vec<Characteristic>,
    /// How many are allowed.
    pub limit: Limit,
    /// What is done past it: `block`, a challenge, or `log`.
    pub action: ActionKind,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateProblem {
    /// The rule's id.
    pub rule: String,
    /// `expression`, `counting_expression`, `characteristics` or `action`.
    pub part: &'static str,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for RateProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rate limit `{}`, {}: {}", self.rule, self.part, self.what)
    }
}

/// The rate limits of a zone, compiled.
#[derive(Debug)]
pub struct RateRules {
    program: Program,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    applies: ConditionId,
    counts: Counts,
    by: Vec<ValueId>,
    limit: Limit,
    action: ActionKind,
}

#[derive(Clone, Copy, Debug)]
enum Counts {
    Always,
    Request(ConditionId),
    Response(ConditionId),
}

/// A rule that a request met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The rule's id.
    pub rule: Arc<str>,
    /// How the request stands.
    pub decision: Decision,
    /// What is done if it is over.
    pub action: ActionKind,
}

/// What rate limits came to for a request.
#[derive(Debug, Default, PartialEq)]
pub struct Rated {
    /// The rules that apply, in order, up to the one that refuses.
    pub met: Vec<Met>,
    /// Whether the last of them refuses.
    pub is_refused: bool,
    /// What is counted when the response is there.
    pending: Vec<(u32, Key)>,
}

impl Rated {
    /// The rule with the least left, for `RateLimit` fields.
    #[must_use]
    pub fn tightest(&self) -> Option<&Met> {
        self.met.iter().min_by_key(|met| match met.decision {
            Decision::Over { .. } => 0,
            Decision::Within { remaining, .. } => u64::from(remaining) + 1,
        })
    }

    /// Whether [`RateRules::after`] has something to count.
    #[must_use]
    pub fn awaits_response(&self) -> bool {
        !self.pending.is_empty()
    }
}

impl RateRules {
    /// Compiles rate limits; those with problems do nothing.
    #[must_use]
    pub fn compile(specs: &[RateRuleSpec], lists: &Lists, limits: &Limits) -> (Self, Vec<RateProblem>) {
        let mut builder = Builder::new();
        let mut rules = Vec::new();
        let mut problems = Vec::new();
        for spec in specs {
            let before = problems.len();
            let mut tell = |part: &'static str, what: String| {
                problems.push(RateProblem { rule: spec.id.clone(), part, what });
            };
            let scope = Scope { lists, limits, has_response: false };
            let takes =
                spec.action == ActionKind::Log || Phase::RateLimit.row().actions.contains(&spec.action);
            if !takes {
                tell("action", format!("`{}` is not an action of rate limits", spec.action.row().name));
            }
            if spec.characteristics.len() > CHARACTERISTICS_MAX {
                tell("characteristics", format!("there are more than {CHARACTERISTICS_MAX}"));
            }
            let told =
                |list: Vec<Problem>| list.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>();
            let applies = Expression::condition(&spec.expression, &scope)
                .map_err(|list| told(list).into_iter().for_each(|what| tell("expression", what)));
            let counting = spec.counting_expression.as_ref().map(|text| {
                Expression::condition(text, &Scope { has_response: true, ..scope })
                    .map_err(|list| told(list).into_iter().for_each(|what| tell("counting_expression", what)))
            });
            let by: Vec<_> = spec
                .characteristics
                .iter()
                .filter_map(|one| match Expression::of_any_type(&one.expression(), &scope) {
                    Ok(expression) => Some(expression),
                    Err(list) => {
                        told(list).into_iter().for_each(|what| tell("characteristics", what));
                        None
                    }
                })
                .collect();
            let (Ok(applies), true) = (applies, problems.len() == before) else { continue };
            if !spec.enabled {
                continue;
            }
            let counts = match counting {
                Some(Ok(counting)) => {
                    let asks = counting.fields().iter().any(|field| field.row().when == When::Response);
                    let condition = builder.condition(&counting);
                    if asks { Counts::Response(condition) } else { Counts::Request(condition) }
                }
                _ => Counts::Always,
            };
            rules.push(Rule {
                id: spec.id.as_str().into(),
                applies: builder.condition(&applies),
                counts,
                by: by.iter().map(|expression| builder.value(expression)).collect(),
                limit: spec.limit,
                action: spec.action,
            });
        }
        (Self { program: builder.build(), rules }, problems)
    }

    /// The counters for these rules, those of `old` carried over.
    #[must_use]
    pub fn counters(&self, old: &Counters) -> Counters {
        old.carry(self.rules.iter().map(|rule| (&*rule.id, &rule.limit)))
    }

    /// Number of rules that can run.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Rates a request: counts it, and tells whether it is refused.
    ///
    /// `seed` is the node's, for [`Key::of`]. A rule without its counter (made by [`RateRules::counters`]) is
    /// passed over. Rules after one that refuses do not count the request.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the tank is empty.
    pub fn before(
        &self,
        view: &dyn View,
        scratch: &mut Scratch,
        fuel: &mut Fuel,
        counters: &Counters,
        (seed, now_ms): (u64, u64),
    ) -> Result<Rated, Spent> {
        let mut rated = Rated::default();
        if self.rules.is_empty() {
            return Ok(rated);
        }
        let mut run = self.program.run(view, scratch, fuel);
        for (number, rule) in (0..).zip(&self.rules) {
            if !run.is_true(rule.applies)? {
                continue;
            }
            let Some(counter) = counters.of(&rule.id, &rule.limit) else { continue };
            let key = key_of(&mut run, rule, seed)?;
            let counts = match rule.counts {
                Counts::Always => true,
                Counts::Request(counting) => run.is_true(counting)?,
                Counts::Response(_) => {
                    rated.pending.push((number, key));
                    false
                }
            };
            let decision = rate(counter, &rule.limit, key, now_ms, counts);
            let is_over = matches!(decision, Decision::Over { .. });
            rated.met.push(Met { rule: Arc::clone(&rule.id), decision, action: rule.action });
            if is_over && rule.action != ActionKind::Log {
                rated.is_refused = true;
                break;
            }
        }
        Ok(rated)
    }

    /// Counts what counts by its response, once that is there.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the tank is empty; what was not counted yet is forgiven.
    pub fn after(
        &self,
        rated: &Rated,
        view: &dyn View,
        scratch: &mut Scratch,
        fuel: &mut Fuel,
        (counters, now_ms): (&Counters, u64),
    ) -> Result<(), Spent> {
        if rated.pending.is_empty() {
            return Ok(());
        }
        let mut run = self.program.run(view, scratch, fuel);
        for (number, key) in &rated.pending {
            let Some(rule) = self.rules.get(*number as usize) else { continue };
            if let Counts::Response(counting) = rule.counts
                && run.is_true(counting)?
                && let Some(counter) = counters.of(&rule.id, &rule.limit)
            {
                counter.count_response(&rule.limit, *key, now_ms);
            }
        }
        Ok(())
    }
}

fn rate(counter: &Counter, limit: &Limit, key: Key, now_ms: u64, counts: bool) -> Decision {
    if counts { counter.count(limit, key, now_ms) } else { counter.look(limit, key, now_ms) }
}

/// The key of a request for a rule: each value as text, in order.
fn key_of(run: &mut Run<'_>, rule: &Rule, seed: u64) -> Result<Key, Spent> {
    let mut values = Vec::with_capacity(rule.by.len());
    for value in &rule.by {
        values.push(match run.value(*value)? {
            Some(Value::Bytes(bytes)) => Some(bytes),
            Some(other) => Some(other.to_string().into_bytes()),
            None => None,
        });
    }
    Ok(Key::of(seed, values.iter().map(|value| value.as_deref())))
}

#[cfg(test)]
mod tests;
