//! Compiles a zone's `[[rate_limit]]` and `[[concurrency_limit]]` entries: all their expressions together.
//!
//! Every mistake of every limit is told at its place. What a limit counts and what is done past it is
//! `shield`'s and `edge`'s. Called by [`super::compile`]; read next: [`crate::rate`].

use std::collections::HashMap;
use std::sync::Arc;

use rules::{
    ActionKind, Builder, ConditionId, Expression, Field, Limits, Lists, Problem, Refusing, Scope, When,
};

use super::Compiler;
use crate::id::Id;
use crate::limits::{
    CHARACTERISTICS_MAX, CONCURRENCY_LIMITS_MAX, LIMIT_ANSWER_BYTES_MAX, LIMIT_KEYED_AT_ONCE_MAX,
    RATE_LIMITS_MAX,
};
use crate::problem::Place;
use crate::rate::{
    ConcurrencyLimit, ConcurrencyLimitSpec, Counting, LimitBlockSpec, Over, RateLimit, RateLimitSpec,
    RateLimits,
};
use crate::read::Placed;
use crate::read::values::{Body, List, Name, OneOrMany, Statuses, Text, is_token, quoted};
use crate::spec::ZoneSpec;
use crate::zone::Zone;

/// The actions that a limit may have, as a person writes them.
const ACTIONS: [ActionKind; 5] = [
    ActionKind::Block,
    ActionKind::Log,
    ActionKind::Challenge,
    ActionKind::JsChallenge,
    ActionKind::ManagedChallenge,
];

/// Words for what requests are told apart by, each with its expression; those that end in `:` want a name.
/// Addresses are cut to their prefixes first, so they have none here.
const WORDS: [(&str, &str); 9] = [
    ("address", ""),
    ("asn", "ip.src.asnum"),
    ("country", "ip.src.country"),
    ("host", "lower(http.host)"),
    ("ja4", "cf.bot_management.ja4"),
    ("path", "http.request.uri.path"),
    ("argument:", "http.request.uri.args"),
    ("cookie:", "http.request.cookies"),
    ("header:", "http.request.headers"),
];

/// The parts of a limit that both kinds have.
struct Shared<'a> {
    expression: Option<&'a Placed<Body>>,
    characteristics: &'a Placed<List<Text>>,
    prefixes: (u64, u64),
    action: &'a Placed<Text>,
    block: Option<&'a Placed<LimitBlockSpec>>,
}

/// The same, checked.
struct Checked {
    about: Option<Expression>,
    by: Vec<Expression>,
    over: Over,
}

impl Compiler<'_> {
    /// The limits that are switched on, or none.
    pub(super) fn rate_limits(
        &mut self,
        spec: &ZoneSpec,
        zone: &str,
        lists: &Lists,
        same: Option<&Zone>,
    ) -> Option<Arc<RateLimits>> {
        if let Some(same) = same {
            return same.rate_limits.clone();
        }
        if spec.rate_limit.0.len() > RATE_LIMITS_MAX {
            let message = format!("more than {RATE_LIMITS_MAX} rate limits in one zone");
            self.report.error(spec.rate_limit.place, message);
        }
        if spec.concurrency_limit.0.len() > CONCURRENCY_LIMITS_MAX {
            let message = format!("more than {CONCURRENCY_LIMITS_MAX} concurrency limits in one zone");
            self.report.error(spec.concurrency_limit.place, message);
        }
        let (mut builder, mut known) = (Builder::new(), HashMap::new());
        let mut limits = RateLimits { program: Builder::new().build(), rates: vec![], gates: vec![] };
        for (place, limit) in (1..).zip(spec.rate_limit.0.iter().take(RATE_LIMITS_MAX)) {
            let id = self.limit_id("rate_limit", zone, (&limit.name, &limit.id), &mut known);
            limits.rates.extend(self.rate(limit, (id, place), lists, &mut builder));
        }
        for (place, limit) in (1..).zip(spec.concurrency_limit.0.iter().take(CONCURRENCY_LIMITS_MAX)) {
            let id = self.limit_id("concurrency_limit", zone, (&limit.name, &limit.id), &mut known);
            limits.gates.extend(self.gate(limit, (id, place), lists, &mut builder));
        }
        limits.program = builder.build();
        (!limits.rates.is_empty() || !limits.gates.is_empty()).then(|| Arc::new(limits))
    }

    /// The id of a limit; none for one that another limit has, or that cannot be told.
    fn limit_id(
        &mut self,
        kind: &str,
        zone: &str,
        (name, id): (&Option<Placed<Name>>, &Option<Placed<Id>>),
        known: &mut HashMap<Id, ()>,
    ) -> Option<Id> {
        let name = name.as_ref()?;
        let derived = id.as_ref().map_or_else(|| Id::derived(kind, zone, &name.0), |id| id.value);
        if known.insert(derived, ()).is_some() {
            match id {
                Some(id) => self.report.error(id.place, "another limit has this id too"),
                None => {
                    let message = format!("another limit is named {} too", quoted(&name.0));
                    self.report.error(name.place, message);
                }
            }
            return None;
        }
        Some(derived)
    }

    fn rate(
        &mut self,
        spec: &Placed<RateLimitSpec>,
        (id, place): (Option<Id>, u32),
        lists: &Lists,
        builder: &mut Builder,
    ) -> Option<RateLimit> {
        let checked = self.shared(
            &Shared {
                expression: spec.expression.as_ref(),
                characteristics: &spec.characteristics,
                prefixes: (spec.ipv4_prefix.0, spec.ipv6_prefix.0),
                action: &spec.action,
                block: spec.block.as_ref(),
            },
            lists,
        );
        let counting = self.counting(spec, lists);
        let (checked, counting, id) = (checked?, counting?, id?);
        let (name, requests, period) =
            (spec.name.as_ref()?, spec.requests.as_ref()?, spec.period_s.as_ref()?);
        if !spec.enabled.value {
            return None;
        }
        let mut condition = |expression: &Expression| builder.condition(expression);
        let about = checked.about.as_ref().map(&mut condition);
        let counting = counting.map_or(Counting::Same, |(expression, is_same)| {
            let asks = expression.fields().iter().any(|field: &Field| field.row().when == When::Response);
            let by: ConditionId = condition(&expression);
            match (asks, is_same) {
                (true, true) => Counting::SameByResponse(by),
                (true, false) => Counting::Response(by),
                (false, _) => Counting::Request(by),
            }
        });
        Some(RateLimit {
            id: id.to_string().into(),
            name: name.0.as_str().into(),
            place,
            about,
            counting,
            by: checked.by.iter().map(|expression| builder.value(expression)).collect(),
            requests: u32::try_from(requests.0).unwrap_or(u32::MAX),
            period_ms: period.0 * 1000,
            mitigation_ms: spec.mitigation_s.0 * 1000,
            over: checked.over,
            has_headers: spec.headers.value && spec.action.0 != ActionKind::Log.row().name,
        })
    }

    fn gate(
        &mut self,
        spec: &Placed<ConcurrencyLimitSpec>,
        (id, place): (Option<Id>, u32),
        lists: &Lists,
        builder: &mut Builder,
    ) -> Option<ConcurrencyLimit> {
        let checked = self.shared(
            &Shared {
                expression: spec.expression.as_ref(),
                characteristics: &spec.characteristics,
                prefixes: (spec.ipv4_prefix.0, spec.ipv6_prefix.0),
                action: &spec.action,
                block: spec.block.as_ref(),
            },
            lists,
        );
        if let Some(requests) = &spec.requests
            && requests.0 > LIMIT_KEYED_AT_ONCE_MAX
            && !spec.characteristics.0.is_empty()
        {
            let message = format!("at most {LIMIT_KEYED_AT_ONCE_MAX} where requests are told apart");
            self.report.error_with(requests.place, message, "characteristics = [] limits the whole zone");
        }
        let (checked, id, requests) = (checked?, id?, spec.requests.as_ref()?);
        let name = spec.name.as_ref()?;
        spec.enabled.value.then(|| ConcurrencyLimit {
            id: id.to_string().into(),
            name: name.0.as_str().into(),
            place,
            about: checked.about.as_ref().map(|expression| builder.condition(expression)),
            by: checked.by.iter().map(|expression| builder.value(expression)).collect(),
            requests: u32::try_from(requests.0).unwrap_or(u32::MAX),
            over: checked.over,
        })
    }

    /// Checks what both kinds of limits have; none after a problem, of which each is told.
    fn shared(&mut self, spec: &Shared<'_>, lists: &Lists) -> Option<Checked> {
        let limits = Limits::default();
        let scope = Scope { lists, limits: &limits, has_response: false };
        if let Some(text) = spec.expression {
            self.warn_unfilled(&text.0, text.place);
        }
        let about = spec.expression.map(|text| self.told(text.place, Expression::condition(&text.0, &scope)));
        if spec.characteristics.0.len() > CHARACTERISTICS_MAX {
            let message = format!("more than {CHARACTERISTICS_MAX} characteristics");
            self.report.error(spec.characteristics.place, message);
        }
        let each = spec.characteristics.0.iter().take(CHARACTERISTICS_MAX);
        let by: Vec<Option<Expression>> =
            each.map(|one| self.characteristic(one, spec.prefixes, &scope)).collect();
        let over = self.over(spec.action, spec.block);
        let about = match about {
            Some(about) => Some(about?),
            None => None,
        };
        Some(Checked { about, by: by.into_iter().collect::<Option<_>>()?, over: over? })
    }

    fn over(&mut self, action: &Placed<Text>, block: Option<&Placed<LimitBlockSpec>>) -> Option<Over> {
        let Some(kind) = ACTIONS.into_iter().find(|kind| kind.row().name == action.0) else {
            let message = format!("{} is not an action of limits", quoted(&action.0));
            let names: Vec<&str> = ACTIONS.iter().map(|kind| kind.row().name).collect();
            let suggestion = match crate::read::nearest(&action.0, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are {}", names.join(", ")),
            };
            self.report.error_with(action.place, message, suggestion);
            return None;
        };
        if !matches!(kind, ActionKind::Block | ActionKind::Log) {
            self.report.warning(
                action.place,
                "challenges are not there yet: whoever passes the limit is refused (challenge_required)",
                "write action = \"block\" if that is what you want",
            );
        }
        if let Some(block) = block.filter(|_| kind != ActionKind::Block) {
            let message = format!("`block` has no meaning for the action {}", quoted(&action.0));
            self.report.error_with(block.place, message, "write action = \"block\" or leave it out");
        }
        Some(Over { action: kind, answer: self.limit_answer(block) })
    }

    fn limit_answer(&mut self, block: Option<&Placed<LimitBlockSpec>>) -> Option<Arc<Refusing>> {
        let block = block?;
        self.header_value(&block.content_type);
        let body = block.body.as_ref()?;
        if body.0.len() > LIMIT_ANSWER_BYTES_MAX {
            let message = format!("the body is larger than {LIMIT_ANSWER_BYTES_MAX} bytes");
            self.report.error(body.place, message);
        }
        Some(Arc::new(Refusing {
            status: u16::try_from(block.status.0).unwrap_or(429),
            content_type: block.content_type.0.clone(),
            content: body.0.clone(),
        }))
    }

    /// Reads one word or expression that tells requests apart.
    fn characteristic(
        &mut self,
        text: &Placed<Text>,
        (v4_bits, v6_bits): (u64, u64),
        scope: &Scope<'_>,
    ) -> Option<Expression> {
        // An address as other rule languages name it is cut to its prefix too.
        if matches!(text.0.as_str(), "address" | "ip.src") {
            return self.made(text, &format!("cidr(ip.src, {v4_bits}, {v6_bits})"), scope);
        }
        for (word, expression) in WORDS {
            if !word.ends_with(':') {
                if word == text.0 {
                    for (field, _) in Field::named_in(expression) {
                        self.warn_if_unfilled(field, text.place);
                    }
                    return self.made(text, expression, scope);
                }
                continue;
            }
            let Some(name) = text.0.strip_prefix(word).map(str::trim) else { continue };
            if name.is_empty() || name.len() > 256 {
                let message = format!("{} names nothing", quoted(&text.0));
                self.report.error_with(text.place, message, format!("write {word}NAME"));
                return None;
            }
            if word == "header:" && !name.bytes().all(is_token) {
                let message = format!("{} is no header name (RFC 9110 §5.1)", quoted(name));
                self.report.error_with(text.place, message, "write it as in header:X-Api-Key");
                return None;
            }
            // Names of header fields are in lower case in that map.
            let name = if word == "header:" { name.to_ascii_lowercase() } else { name.to_owned() };
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            return self.made(text, &format!("{expression}[\"{name}\"]"), scope);
        }
        let is_word = text.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte));
        let found = Expression::of_any_type(&text.0, scope);
        if is_word && found.is_err() {
            let names: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            let message = format!("{} tells no requests apart", quoted(&text.0));
            let head = text.0.split_once(':').map_or(text.0.as_str(), |(head, _)| head);
            let suggestion = match crate::read::nearest(head, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are {}, or an expression", names.join(", ")),
            };
            self.report.error_with(text.place, message, suggestion);
            return None;
        }
        self.warn_unfilled(&text.0, text.place);
        self.told(text.place, found)
    }

    fn made(&mut self, text: &Placed<Text>, expression: &str, scope: &Scope<'_>) -> Option<Expression> {
        self.told(text.place, Expression::of_any_type(expression, scope))
    }

    /// What counts beside, or instead of, what the limit is about: the expression, and whether it is about
    /// the same requests. None after a problem.
    #[expect(clippy::option_option, reason = "nothing written is not a problem")]
    fn counting(
        &mut self,
        spec: &Placed<RateLimitSpec>,
        lists: &Lists,
    ) -> Option<Option<(Expression, bool)>> {
        let limits = Limits::default();
        let scope = Scope { lists, limits: &limits, has_response: true };
        let written = match &spec.counting_expression {
            Some(text) => {
                self.warn_unfilled(&text.0, text.place);
                let found = Expression::condition(&text.0, &scope);
                Some((self.told(text.place, found)?, text))
            }
            None => None,
        };
        let Some(statuses) = &spec.count_statuses else {
            return Some(written.map(|(expression, _)| (expression, false)));
        };
        let by_status = self.by_status(statuses)?;
        // What was right by itself is right together, with room for what is added.
        let limits = Limits {
            expression_bytes_max: limits.expression_bytes_max * 2,
            nodes_max: limits.nodes_max * 2,
            ..limits
        };
        let scope = Scope { limits: &limits, ..scope };
        let (text, is_same) = match written {
            Some((_, text)) => (format!("({}) and ({by_status})", text.0), false),
            None => (by_status, true),
        };
        let whole = Expression::condition(&text, &scope);
        self.told(statuses.place, whole).map(|expression| Some((expression, is_same)))
    }

    fn by_status(&mut self, statuses: &Placed<OneOrMany<Statuses>>) -> Option<String> {
        const STATUSES_MAX: usize = 64;
        if statuses.0.is_empty() || statuses.0.len() > STATUSES_MAX {
            let message = format!("this must name 1 to {STATUSES_MAX} statuses or ranges");
            self.report.error(statuses.place, message);
            return None;
        }
        let ranges: Vec<String> =
            statuses.0.iter().map(|range| format!("{}..{}", range.first, range.last)).collect();
        Some(format!("http.response.code in {{{}}}", ranges.join(" ")))
    }

    /// Tells every mistake of an expression at its place in the file.
    fn told(&mut self, string: Place, found: Result<Expression, Vec<Problem>>) -> Option<Expression> {
        match found {
            Ok(expression) => Some(expression),
            Err(problems) => {
                for problem in &problems {
                    self.tell_inside(string, problem);
                }
                None
            }
        }
    }
}
