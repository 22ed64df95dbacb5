//! One request with its response, inspected: what a proxy feeds and what it gets back.
//!
//! The order is a request's own: [`Transaction::request_line`], [`Transaction::request_header`]s,
//! [`Phase::RequestHead`], chunks of the body, [`Phase::RequestBody`], the response's head and body in the
//! same way, and [`Phase::Logging`] at the end. Each evaluation takes fuel and may answer [`Progress::More`].
//! Bodies stream: a ceiling of bytes is inspected, the content of files is passed by, and what was not
//! inspected is counted ([`Transaction::uninspected`]). No I/O, no clock, no thread. Evaluation itself is
//! [`crate::engine`]'s. Read next: [`Transaction`].

mod intake;
pub(crate) mod values;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fuel::{Fuel, Spent};

use crate::body::{Body, Kind};
use crate::engine::lists::Question;
use crate::engine::made::MadePatterns;
use crate::engine::state::{State, Text, TextChange};
use crate::engine::{Progress, Run, Subject};
use crate::exclusion::Exclusion;
use crate::limits::arena_bytes_max;
use crate::location::Locator;
use crate::model::EngineMode;
use crate::outcome::{Interruption, Match, Scores, Uninspected};
use crate::prefilter::{Filter, Scratch};
use crate::ruleset::RuleSet;
use crate::variable::Variable;
use crate::xml::tree::bytes_max;
use values::Values;

/// A phase of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Phase 1: the request's head is there.
    RequestHead = 1,
    /// Phase 2: the request's body is there, as far as it is inspected.
    RequestBody = 2,
    /// Phase 3: the response's head is there.
    ResponseHead = 3,
    /// Phase 4: the response's body is there, as far as it is inspected.
    ResponseBody = 4,
    /// Phase 5: after the answer; nothing can be refused any more.
    Logging = 5,
}

/// What is known of a transaction before its first byte.
#[derive(Debug, Clone)]
pub struct Connection<'a> {
    /// The visitor's address.
    pub client: IpAddr,
    /// The visitor's port.
    pub client_port: u16,
    /// Our address.
    pub server: IpAddr,
    /// Our port.
    pub server_port: u16,
    /// The request's id in logs: `UNIQUE_ID`.
    pub unique_id: &'a str,
    /// Seconds since 1970, in UTC: `TIME` and its kin.
    pub now_s: u64,
}

/// What a caller decides instead of the rules.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The mode, which a `ctl:ruleEngine` may lower but not raise; `None` leaves it to the rules.
    pub mode: Option<EngineMode>,
    /// Bytes of the request's body to inspect; `None` leaves it to the rules (128 KiB).
    pub request_body_bytes: Option<usize>,
    /// Bytes of the response's body to inspect; `None` leaves it to the rules (512 KiB).
    pub response_body_bytes: Option<usize>,
    /// Evaluates every rule on every value, without the prefilter: many times slower, for proving that the
    /// results are the same.
    pub is_plain: bool,
}

/// Buffers and memory of verdicts that a thread lends to the transactions it evaluates.
///
/// One per thread; about a megabyte. It carries nothing of one request to another but whether a value of a
/// header, cookie or name is harmless to a rule set.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) made: Vec<u8>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) current: Vec<u8>,
    pub(crate) other: Vec<u8>,
    pub(crate) captures: Vec<Option<Vec<u8>>>,
    pub(crate) scratch: Scratch,
    pub(crate) teller: RuleTeller,
    pub(crate) patterns: MadePatterns,
}

impl Workspace {
    /// Has `tell` called with the id of each rule before it is evaluated, and with 0 before values are looked
    /// through for all rules at once: for whoever must say what a thread was doing when it died.
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(u64) + Send + 'static) -> Self {
        self.teller.0 = Some(Box::new(tell));
        self
    }
}

/// Who is told of rules.
#[derive(Default)]
pub(crate) struct RuleTeller(Option<Box<dyn Fn(u64) + Send>>);

impl RuleTeller {
    #[inline]
    pub(crate) fn tell(&self, rule: u64) {
        if let Some(tell) = &self.0 {
            tell(rule);
        }
    }
}

impl fmt::Debug for RuleTeller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RuleTeller({})", self.0.is_some())
    }
}

/// One request with its response under inspection.
#[derive(Debug)]
pub struct Transaction {
    set: Arc<RuleSet>,
    values: Values,
    state: State,
    filter: Filter,
    /// The phase that was prepared last, 0 for none, and how far its rules are evaluated.
    phase: u8,
    cursor: u32,
    body: BodyState,
    /// The raw body, where `REQUEST_BODY` is to hold it.
    raw: Vec<u8>,
    request_body_max: usize,
    request_body_seen: u64,
    response: Vec<u8>,
    response_body_max: usize,
    response_body_seen: u64,
    wants_response_body: bool,
    args_bytes: u64,
    uninspected: Uninspected,
}

/// The reader of the request's body.
#[derive(Debug)]
enum BodyState {
    /// No chunk has come.
    Awaited,
    /// A format is read.
    Read { kind: Kind, body: Box<Body>, is_cut: bool },
    /// Bytes are kept as they are, or not at all.
    Raw { is_kept: bool },
    /// It has ended.
    Ended,
}

impl Transaction {
    /// Begins a transaction over a rule set.
    #[must_use]
    pub fn new(set: Arc<RuleSet>, connection: &Connection<'_>, options: &Options) -> Self {
        let state = State::new(&set, options.mode, connection.now_s);
        let request_body_max = options.request_body_bytes.unwrap_or(set.settings.request_body_bytes);
        let response_body_max = options.response_body_bytes.unwrap_or(set.settings.response_body_bytes);
        let mut transaction = Self {
            values: Values::new(arena_bytes_max(request_body_max, response_body_max)),
            state,
            filter: Filter::new(options.is_plain),
            phase: 0,
            cursor: 0,
            body: BodyState::Awaited,
            raw: Vec::new(),
            request_body_max,
            request_body_seen: 0,
            response: Vec::new(),
            response_body_max,
            response_body_seen: 0,
            wants_response_body: false,
            args_bytes: 0,
            uninspected: Uninspected::default(),
            set,
        };
        transaction.open(connection);
        transaction
    }

    /// Sets a `TX` variable before the rules run: paranoia levels, thresholds, lists of what is allowed.
    pub fn preset(&mut self, name: &str, value: &[u8]) {
        let name = name.to_ascii_lowercase();
        let change = TextChange::Set(Text::new(value));
        match self.set.names.find(name.as_bytes()) {
            Some(id) => self.state.set_tx(id, change),
            None => self.state.set_tx_made(name.as_bytes(), change),
        }
    }

    /// Lends a database of addresses, for `@geoLookup`; without one it matches nothing. Kept only where a
    /// rule asks ([`RuleSet::asks_locations`]).
    pub fn set_locator(&mut self, locator: &Arc<dyn Locator>) {
        if self.set.asks_locations() {
            self.state.locator = Some(Arc::clone(locator));
        }
    }

    /// Leaves out what an exclusion of the same rule set means, from now on.
    pub fn exclude(&mut self, exclusion: &Arc<Exclusion>) {
        if exclusion.targets.is_empty() {
            self.state.removed.add(&exclusion.rules);
        } else {
            self.state.excluded.push(Arc::clone(exclusion));
        }
    }

    /// A `TX` variable as it stands.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<Vec<u8>> {
        let id = self.set.names.find(name.to_ascii_lowercase().as_bytes())?;
        let mut out = Vec::new();
        self.state.tx(id)?.write(&mut out);
        Some(out)
    }

    /// Evaluates a phase, or goes on with it. Phases are evaluated in order; one that is behind is over at
    /// once.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the fuel is used up: the request is refused for itself. The transaction can still be
    /// asked what it found.
    pub fn inspect(
        &mut self,
        phase: Phase,
        work: &mut Workspace,
        fuel: &mut Fuel,
    ) -> Result<Progress, Spent> {
        let phase = phase as u8;
        if phase < self.phase {
            return Ok(Progress::Done);
        }
        if phase > self.phase {
            self.prepare(phase, fuel)?;
            self.phase = phase;
            self.cursor = 0;
            self.state.likeness = None;
            if let Some(lists) = &mut self.state.lists {
                lists.waits_at = None;
            }
        }
        let set = Arc::clone(&self.set);
        work.scratch.enter(&set);
        let mut run = Run {
            set: &set,
            values: &self.values,
            state: &mut self.state,
            filter: &mut self.filter,
            work,
            fuel,
        };
        let progress = run.phase(phase, &mut self.cursor)?;
        if progress == Progress::Done && phase >= 2.max(set.documents_until) {
            self.state.document = None; // no rule judges it any more
        }
        Ok(progress)
    }

    /// Evaluates a phase to its end, starting slice after slice: for tests and for threads that serve nobody.
    /// Questions of `@rbl` have no answer.
    ///
    /// # Errors
    ///
    /// As [`Transaction::inspect`].
    pub fn inspect_whole(
        &mut self,
        phase: Phase,
        work: &mut Workspace,
        fuel: &mut Fuel,
    ) -> Result<(), Spent> {
        loop {
            match self.inspect(phase, work, fuel)? {
                Progress::Done => return Ok(()),
                Progress::More => fuel.start_slice(),
                Progress::Asks => self.give_up_questions(),
            }
        }
    }

    /// What is to be asked so that evaluation goes on, after [`Progress::Asks`]: at most
    /// [`LOOKUPS_MAX`](crate::limits::LOOKUPS_MAX) names in one transaction.
    pub fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        self.state.lists.iter().flat_map(|lists| lists.questions())
    }

    /// Answers a question, by its name: with the addresses that the name has, none if there is no such name,
    /// or with `None` where nobody says. Then the rule does not match for it, turned round (`!@rbl`) or not.
    pub fn answer(&mut self, name: &str, addresses: Option<&[Ipv4Addr]>) {
        if let Some(lists) = &mut self.state.lists {
            lists.answer(name, addresses);
        }
    }

    /// Answers every open question with `None`.
    pub fn give_up_questions(&mut self) {
        if let Some(lists) = &mut self.state.lists {
            lists.give_up();
        }
    }

    /// How many names lists were asked for.
    #[must_use]
    pub fn lookups(&self) -> u32 {
        self.state.lists.as_ref().map_or(0, |lists| lists.count())
    }

    /// How many values an `@rbl` was asked about without an answer.
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.state.lists.as_ref().map_or(0, |lists| lists.unanswered)
    }

    /// The most memory that the tree of this body takes, or this front of it; 0 where none is kept. Known
    /// after [`Phase::RequestHead`].
    #[must_use]
    pub fn document_bytes_max(&self, body: &[u8]) -> usize {
        let is_kept =
            self.set.keeps_xml && self.state.body_kind == Some(Kind::Xml) && self.wants_request_body();
        if is_kept { bytes_max(body.get(..self.request_body_max).unwrap_or(body)) } else { 0 }
    }

    /// Says whether a tree of the body is kept, for rules that still judge it.
    #[must_use]
    pub const fn holds_document(&self) -> bool {
        self.state.document.is_some()
    }

    /// Says whether chunks of the request's body should be fed: a rule may have switched that off.
    #[must_use]
    pub fn wants_request_body(&self) -> bool {
        self.state.mode != EngineMode::Off && self.state.request_body_access && self.interruption().is_none()
    }

    /// Says whether chunks of the response's body should be fed, once its head has been evaluated.
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        self.wants_response_body
            && self.state.mode != EngineMode::Off
            && self.state.response_body_access
            && self.response.len() < self.response_body_max
    }

    /// Tells how long the transaction has lasted: `DURATION`.
    pub fn set_elapsed(&mut self, elapsed_ms: u64) {
        self.state.elapsed_ms = elapsed_ms;
    }

    /// What is to become of the request: always `None` unless the mode is [`EngineMode::On`].
    #[must_use]
    pub fn interruption(&self) -> Option<&Interruption> {
        self.state.interruption.as_ref()
    }

    /// What would become of the request if the mode were [`EngineMode::On`], by the first rule that refuses.
    #[must_use]
    pub fn would_interrupt(&self) -> Option<&Interruption> {
        self.state.wanted.as_ref()
    }

    /// The rules that matched and want to be logged or refuse, in order.
    #[must_use]
    pub fn matches(&self) -> &[Match] {
        &self.state.matches
    }

    /// How many matches were not recorded because there were too many.
    #[must_use]
    pub const fn matches_left_out(&self) -> usize {
        self.state.matches_left_out
    }

    /// The anomaly scores as they stand.
    #[must_use]
    pub fn scores(&self) -> Scores {
        let score = |name: &str| {
            let id = self.set.names.find(name.as_bytes());
            id.and_then(|id| self.state.tx_number(id)).unwrap_or(0)
        };
        Scores {
            inbound: score("blocking_inbound_anomaly_score"),
            inbound_detection: score("detection_inbound_anomaly_score"),
            outbound: score("blocking_outbound_anomaly_score"),
            outbound_detection: score("detection_outbound_anomaly_score"),
        }
    }

    /// What was not inspected so far.
    #[must_use]
    pub fn uninspected(&self) -> Uninspected {
        let is_cut = self.filter.has_cut() || self.state.is_value_cut;
        Uninspected { values: self.values.is_overflowed() || is_cut, ..self.uninspected }
    }

    /// How often macros in an `@rx` made what is no pattern, so that it found nothing.
    #[must_use]
    pub const fn patterns_broken(&self) -> u32 {
        self.state.patterns_broken
    }

    /// The values of a variable, for tests and for explaining a verdict: `(name, value)` in order.
    pub fn values(&self, variable: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        let sources = Variable::from_name(variable).map_or(&[][..], Variable::sources);
        let buffer = self.values.buffer();
        let items = sources.iter().flat_map(|source| self.values.of(*source));
        items.map(|(_, item)| (item.name.of(buffer), item.value.of(buffer)))
    }

    /// Writes the exclusion that allows exactly what a match found: its rule no longer looks at these
    /// variables on this path.
    ///
    /// The text is SecLang for a file that is loaded before CRS; `id` is the exclusion's own. Rules that name
    /// no variable (scores, thresholds) have none, since the rules that raised the score are to be excluded.
    #[must_use]
    pub fn exclusion(&self, found: &Match, id: u64) -> Option<String> {
        let path = self.values.first(Variable::RequestFilename).unwrap_or_default();
        let path = std::str::from_utf8(path).ok().filter(|path| !path.chars().any(char::is_control))?;
        let path = path.replace('\\', "\\\\").replace('"', "\\\"").replace("%{", "%");
        let is_plain = |name: &str| !name.contains(['|', ',', ';', '\'', '"', '\\', '…']);
        let mut names: Vec<&str> = Vec::new();
        for variable in &found.variables {
            let name = variable.name.as_str();
            let stored =
                name.split(':').next().and_then(Variable::from_name).is_some_and(Variable::is_stored);
            if stored && is_plain(name) && !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return None;
        }
        let actions: Vec<String> = names
            .iter()
            .map(|name| {
                let name = if *name == "XML" { "XML:/*" } else { name };
                format!("ctl:ruleRemoveTargetById={};{name}", found.id)
            })
            .collect();
        Some(format!(
            "SecRule REQUEST_FILENAME \"@streq {path}\" \\\n    \
             \"id:{id},phase:1,pass,nolog,t:none,\\\n    {}\"\n",
            actions.join(",\\\n    ")
        ))
    }
}
