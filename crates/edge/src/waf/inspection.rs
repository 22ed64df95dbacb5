//! One exchange under the firewall's rules, without I/O: what is fed to them, and what they came to.
//!
//! The rules' own engine is crate `seclang`; when each step runs, and what follows from it, is
//! [`super`]'s. Read next: [`Inspection::begin`].

use std::net::SocketAddr;
use std::sync::Arc;

use exchange::{Known, Request, RequestId, Response, Upgrade, Version};
use fuel::{Fuel, Spent};
use seclang::{
    Connection, EngineMode, Interruption, Locator, Match, Options, Phase, Progress, Transaction, Workspace,
};
use telemetry::metrics::WafOutcome;
use zone::{Geo, Waf, WafRules};

/// What is known of an exchange beside its heads.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) visitor: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) id: RequestId,
    /// Seconds since 1970.
    pub(crate) now_s: u64,
    /// The score from which the rules refuse, where a rule of the zone chose it.
    pub(crate) inbound_threshold: Option<u64>,
    /// What is known of addresses, where the rules may ask.
    pub(crate) geo: Option<Arc<Geo>>,
}

/// One rule set asked about one exchange.
pub(crate) struct Asking {
    pub(crate) transaction: Transaction,
    pub(crate) fuel: Fuel,
    /// How long it has waited for lists.
    pub(crate) waited_ms: u64,
}

impl Asking {
    fn new(waf: &Waf, rules: &WafRules, mode: EngineMode, facts: &Facts) -> Self {
        let id = facts.id.hex();
        let connection = Connection {
            client: facts.visitor.ip(),
            client_port: facts.visitor.port(),
            server: facts.local.ip(),
            server_port: facts.local.port(),
            unique_id: std::str::from_utf8(&id).unwrap_or_default(),
            now_s: facts.now_s,
        };
        let options = Options {
            mode: Some(mode),
            request_body_bytes: Some(waf.body_window_bytes),
            response_body_bytes: waf.response_window_bytes,
            is_plain: false,
        };
        let mut transaction = Transaction::new(Arc::clone(&rules.set), &connection, &options);
        for (name, value) in &rules.presets {
            transaction.preset(name, value.to_string().as_bytes());
        }
        if let Some(score) = facts.inbound_threshold {
            transaction.preset(zone::INBOUND_THRESHOLD_PRESET, score.to_string().as_bytes());
        }
        if let Some(geo) = &facts.geo {
            let locator: Arc<dyn Locator> = Arc::<Geo>::clone(geo);
            transaction.set_locator(&locator);
        }
        Self { transaction, fuel: Fuel::new(seclang::limits::FUEL_STEPS), waited_ms: 0 }
    }

    /// Evaluates a phase until its slice is over.
    pub(crate) fn step(&mut self, phase: Phase, space: &mut Workspace) -> Result<Progress, Spent> {
        let progress = self.transaction.inspect(phase, space, &mut self.fuel)?;
        if progress == Progress::More {
            self.fuel.start_slice();
        }
        Ok(progress)
    }

    /// Takes a body, or its front.
    pub(crate) fn feed(&mut self, body: &Inspected<'_>) -> Result<(), Spent> {
        match body.phase {
            Phase::RequestBody => {
                self.transaction.request_body(body.bytes, &mut self.fuel)?;
                if body.left > 0 {
                    self.transaction.request_body_left(body.left);
                }
                Ok(())
            }
            _ => self.transaction.response_body(body.bytes, &mut self.fuel),
        }
    }
}

/// A body, or its front, for the phase that looks at it.
#[derive(Clone, Copy)]
pub(crate) struct Inspected<'a> {
    pub(crate) phase: Phase,
    pub(crate) bytes: &'a [u8],
    /// Bytes that follow and are not inspected; 1 where they are not known.
    pub(crate) left: u64,
}

/// The rules of a zone asked about one exchange.
pub(crate) struct Inspection {
    pub(crate) waf: Arc<Waf>,
    pub(crate) main: Asking,
    pub(crate) shadow: Option<Asking>,
    /// Bytes of the request's body that were fed.
    pub(crate) fed_bytes: u64,
    /// The path that exceptions go by.
    path: Vec<u8>,
    /// Nothing more is asked: the rules broke, or the request spent its budget where nothing is refused.
    pub(crate) is_over: bool,
}

impl Inspection {
    /// Begins with a request's head; none where an exception leaves the whole request out.
    pub(crate) fn begin(waf: &Arc<Waf>, request: &Request, facts: &Facts) -> Option<Self> {
        let path = request.path();
        if waf.exceptions_at(path).any(|one| one.effect.is_none()) {
            return None;
        }
        let mode = if waf.is_blocking { EngineMode::On } else { EngineMode::DetectionOnly };
        let mut main = Asking::new(waf, &waf.rules, mode, facts);
        let mut shadow =
            waf.shadow.as_ref().map(|rules| Asking::new(waf, rules, EngineMode::DetectionOnly, facts));
        for exception in waf.exceptions_at(path) {
            if let Some(exclusion) = &exception.effect {
                main.transaction.exclude(exclusion);
            }
            if let (Some(exclusion), Some(shadow)) = (&exception.shadow, &mut shadow) {
                shadow.transaction.exclude(exclusion);
            }
        }
        for asking in std::iter::once(&mut main).chain(&mut shadow) {
            read_head(&mut asking.transaction, request);
        }
        let waf = Arc::clone(waf);
        Some(Self { waf, main, shadow, fed_bytes: 0, path: path.to_vec(), is_over: false })
    }

    /// Takes the head of the answer.
    pub(crate) fn read_answer(&mut self, response: &Response) {
        for asking in std::iter::once(&mut self.main).chain(&mut self.shadow) {
            let transaction = &mut asking.transaction;
            transaction.response_line(response.status, response.version.as_str().as_bytes());
            for field in response.fields.iter() {
                transaction.response_header(field.name, field.value);
            }
        }
    }

    /// Steps of work so far, its shadow's among them.
    pub(crate) fn steps(&self) -> u64 {
        let asked = std::iter::once(&self.main).chain(&self.shadow);
        asked.map(|asking| asking.fuel.used()).sum()
    }

    /// The most memory that trees of a body take, its shadow's among them.
    pub(crate) fn document_bytes(&self, body: &[u8]) -> u64 {
        let asked = std::iter::once(&self.main).chain(&self.shadow);
        asked.map(|asking| asking.transaction.document_bytes_max(body) as u64).sum()
    }

    /// Says whether a tree of the body is kept for rules still to come.
    pub(crate) fn holds_documents(&self) -> bool {
        let mut asked = std::iter::once(&self.main).chain(&self.shadow);
        asked.any(|asking| asking.transaction.holds_document())
    }

    /// How the rules want the exchange to end, where they may say so.
    pub(crate) fn interruption(&self) -> Option<&Interruption> {
        self.main.transaction.interruption()
    }

    /// What it came to so far.
    pub(crate) fn outcome(&self) -> WafOutcome {
        let transaction = &self.main.transaction;
        match (transaction.interruption(), transaction.would_interrupt()) {
            (Some(_), _) => WafOutcome::Refused,
            (None, Some(_)) => WafOutcome::WouldRefuse,
            (None, None) if logged(transaction).next().is_some() => WafOutcome::Matched,
            (None, None) => WafOutcome::Clean,
        }
    }

    /// What the shadow came to, if there is one.
    pub(crate) fn shadow_outcome(&self) -> Option<WafOutcome> {
        let transaction = &self.shadow.as_ref()?.transaction;
        Some(match transaction.would_interrupt() {
            Some(_) => WafOutcome::WouldRefuse,
            None if logged(transaction).next().is_some() => WafOutcome::Matched,
            None => WafOutcome::Clean,
        })
    }

    /// The path that exceptions go by, as a person writes it.
    pub(crate) fn path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// The matches that want to be logged.
pub(crate) fn logged(transaction: &Transaction) -> impl Iterator<Item = &Match> {
    transaction.matches().iter().filter(|found| found.is_logged)
}

fn read_head(transaction: &mut Transaction, request: &Request) {
    // What the origin gets where a rule of the zone rewrote it, and else every byte as it was sent.
    let method = match request.upgrade {
        // A WebSocket over HTTP/2 or 3 (RFC 8441 §5) is a GET over HTTP/1.1, for the origin and for the
        // rules, which mean another CONNECT.
        Upgrade::Extended => b"GET",
        Upgrade::No | Upgrade::Http1 => request.method_token(),
    };
    transaction.request_line(method, request.target(), request.version.as_str().as_bytes());
    if request.fields.known(Known::Host).is_none()
        && matches!(request.version, Version::Http2 | Version::Http3)
    {
        transaction.request_header(b"Host", request.authority());
    }
    for field in request.fields.iter() {
        transaction.request_header(field.name, field.value);
    }
}
