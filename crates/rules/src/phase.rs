//! The phases of a request's life in which rules run, and which actions may stand in each.
//!
//! Closed lists in order, as data: the reference is written from them, and a test tries every action in every
//! phase. Read next: `action.rs`.

/// A phase with rules, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by its row, which the reference shows")]
pub enum Phase {
    RequestSanitize,
    DynamicRedirect,
    RequestTransform,
    ConfigSettings,
    RequestOrigin,
    Ddos,
    FirewallCustom,
    RateLimit,
    FirewallManaged,
    BotManagement,
    RequestRedirect,
    LateTransform,
    CacheSettings,
    CustomErrors,
    ResponseHeadersTransform,
    ResponseCompression,
    ResponseFirewallManaged,
    LogCustomFields,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by its row, which the reference shows")]
pub enum ActionKind {
    Block,
    Challenge,
    JsChallenge,
    ManagedChallenge,
    Log,
    Skip,
    Execute,
    Rewrite,
    Redirect,
    Route,
    SetConfig,
    CompressResponse,
    SetCacheSettings,
    ServeError,
    LogCustomField,
    ForceConnectionClose,
}

use ActionKind as A;

/// One line of the table of phases.
#[derive(Clone, Copy, Debug)]
pub struct PhaseRow {
    /// Which phase.
    pub phase: Phase,
    /// Its name in configuration.
    pub name: &'static str,
    /// Whether there is a response by then.
    pub has_response: bool,
    /// What it takes besides `log`, `skip` and `execute`, which every phase takes.
    pub actions: &'static [ActionKind],
    /// What it is for.
    pub meaning: &'static str,
}

const FIREWALL: &[ActionKind] = &[A::Block, A::Challenge, A::JsChallenge, A::ManagedChallenge];
const FLOODS: &[ActionKind] =
    &[A::Block, A::Challenge, A::JsChallenge, A::ManagedChallenge, A::ForceConnectionClose];

const fn row(
    phase: Phase,
    name: &'static str,
    has_response: bool,
    actions: &'static [ActionKind],
    meaning: &'static str,
) -> PhaseRow {
    PhaseRow { phase, name, has_response, actions, meaning }
}

impl Phase {
    /// All phases in order.
    pub const ALL: &'static [PhaseRow] = &[
        row(
            Phase::RequestSanitize,
            "http_request_sanitize",
            false,
            &[A::Rewrite],
            "Brings the address into one form.",
        ),
        row(
            Phase::DynamicRedirect,
            "http_request_dynamic_redirect",
            false,
            &[A::Redirect],
            "Redirects by expressions.",
        ),
        row(
            Phase::RequestTransform,
            "http_request_transform",
            false,
            &[A::Rewrite],
            "Rewrites path and query.",
        ),
        row(
            Phase::ConfigSettings,
            "http_config_settings",
            false,
            &[A::SetConfig],
            "Changes settings for a request.",
        ),
        row(Phase::RequestOrigin, "http_request_origin", false, &[A::Route], "Chooses pool, host and port."),
        row(Phase::Ddos, "ddos_l7", false, FLOODS, "Rules against floods."),
        row(
            Phase::FirewallCustom,
            "http_request_firewall_custom",
            false,
            FIREWALL,
            "The owner's own firewall rules.",
        ),
        row(
            Phase::RateLimit,
            "http_ratelimit",
            false,
            FIREWALL,
            "Rate limits; they may count by the response.",
        ),
        row(
            Phase::FirewallManaged,
            "http_request_firewall_managed",
            false,
            FIREWALL,
            "Managed rules and the WAF.",
        ),
        row(Phase::BotManagement, "http_request_sbfm", false, FIREWALL, "Rules about bots."),
        row(Phase::RequestRedirect, "http_request_redirect", false, &[A::Redirect], "Redirects from lists."),
        row(
            Phase::LateTransform,
            "http_request_late_transform",
            false,
            &[A::Rewrite],
            "Changes request headers.",
        ),
        row(
            Phase::CacheSettings,
            "http_request_cache_settings",
            false,
            &[A::SetCacheSettings],
            "What is cached, and how.",
        ),
        row(Phase::CustomErrors, "http_custom_errors", true, &[A::ServeError], "Replaces error responses."),
        row(
            Phase::ResponseHeadersTransform,
            "http_response_headers_transform",
            true,
            &[A::Rewrite],
            "Changes response headers.",
        ),
        row(
            Phase::ResponseCompression,
            "http_response_compression",
            true,
            &[A::CompressResponse],
            "How responses are compressed.",
        ),
        row(
            Phase::ResponseFirewallManaged,
            "http_response_firewall_managed",
            true,
            &[A::Block],
            "Rules about what leaves.",
        ),
        row(
            Phase::LogCustomFields,
            "http_log_custom_fields",
            true,
            &[A::LogCustomField],
            "Adds fields to the log.",
        ),
    ];

    /// Its line of the table.
    #[must_use]
    pub fn row(self) -> &'static PhaseRow {
        let row = Self::ALL.get(self as usize);
        row.expect("the table has one row for each phase, in the same order")
    }

    /// Finds a phase by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.name == name).map(|row| row.phase)
    }

    /// Whether an action may stand in it.
    #[must_use]
    pub fn allows(self, action: ActionKind) -> bool {
        matches!(action, A::Log | A::Skip | A::Execute) || self.row().actions.contains(&action)
    }
}

/// One line of the table of actions.
#[derive(Clone, Copy, Debug)]
pub struct ActionRow {
    /// Which action.
    pub action: ActionKind,
    /// Its name in configuration.
    pub name: &'static str,
    /// Whether rules after it are not asked any more.
    pub is_terminating: bool,
    /// Whether it does nothing without parameters.
    pub needs_parameters: bool,
    /// What it does.
    pub meaning: &'static str,
}

const fn action(
    action: ActionKind,
    name: &'static str,
    is_terminating: bool,
    needs_parameters: bool,
    meaning: &'static str,
) -> ActionRow {
    ActionRow { action, name, is_terminating, needs_parameters, meaning }
}

impl ActionKind {
    /// All actions.
    pub const ALL: &'static [ActionRow] = &[
        action(
            A::Block,
            "block",
            true,
            false,
            "Refuses the request, with a response of its own if one is given.",
        ),
        action(A::Challenge, "challenge", true, false, "Asks the visitor for a proof of being a person."),
        action(A::JsChallenge, "js_challenge", true, false, "Asks the visitor's browser to run a script."),
        action(A::ManagedChallenge, "managed_challenge", true, false, "Asks for whichever proof fits."),
        action(A::Log, "log", false, false, "Records the match, without any effect."),
        action(
            A::Skip,
            "skip",
            false,
            true,
            "Leaves out the rest of the ruleset, or phases, products and rulesets.",
        ),
        action(A::Execute, "execute", false, true, "Runs the rules of another ruleset."),
        action(A::Rewrite, "rewrite", false, true, "Rewrites path and query, or headers."),
        action(A::Redirect, "redirect", true, true, "Sends the visitor elsewhere."),
        action(A::Route, "route", false, true, "Chooses pool, host, server name and port."),
        action(A::SetConfig, "set_config", false, true, "Changes settings for this request."),
        action(
            A::CompressResponse,
            "compress_response",
            false,
            true,
            "Chooses how the response is compressed.",
        ),
        action(A::SetCacheSettings, "set_cache_settings", false, true, "Chooses what is cached, and how."),
        action(A::ServeError, "serve_error", true, true, "Replaces the response by a page."),
        action(A::LogCustomField, "log_custom_field", false, true, "Adds fields to this request's log line."),
        action(
            A::ForceConnectionClose,
            "force_connection_close",
            false,
            false,
            "Closes the connection after the response.",
        ),
    ];

    /// Its line of the table.
    #[must_use]
    pub fn row(self) -> &'static ActionRow {
        let row = Self::ALL.get(self as usize);
        row.expect("the table has one row for each action, in the same order")
    }

    /// Finds an action by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.name == name).map(|row| row.action)
    }
}

/// A product that `skip` can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// Zone lockdown.
    ZoneLockdown,
    /// Blocking by user agent.
    UaBlock,
    /// The check of what browsers send.
    BrowserIntegrityCheck,
    /// Protection from hotlinks.
    HotlinkProtection,
    /// The security level.
    SecurityLevel,
    /// Rate limits of the older kind.
    RateLimit,
    /// The WAF of the older kind.
    Waf,
}

impl Product {
    /// All products with their names in configuration.
    pub const ALL: &'static [(Product, &'static str)] = &[
        (Product::ZoneLockdown, "zoneLockdown"),
        (Product::UaBlock, "uaBlock"),
        (Product::BrowserIntegrityCheck, "bic"),
        (Product::HotlinkProtection, "hot"),
        (Product::SecurityLevel, "securityLevel"),
        (Product::RateLimit, "rateLimit"),
        (Product::Waf, "waf"),
    ];
}

/// What rules of this request's phases have switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    phases: u32,
    products: u16,
}

impl Skipped {
    /// Leaves a phase out.
    pub fn skip_phase(&mut self, phase: Phase) {
        self.phases |= 1 << phase as u32;
    }

    /// Leaves a product out.
    pub fn skip_product(&mut self, product: Product) {
        self.products |= 1 << product as u16;
    }

    /// Whether a phase is left out.
    #[must_use]
    pub fn has_phase(&self, phase: Phase) -> bool {
        self.phases & 1 << phase as u32 != 0
    }

    /// Whether a product is left out.
    #[must_use]
    pub fn has_product(&self, product: Product) -> bool {
        self.products & 1 << product as u16 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_enums() {
        for row in Phase::ALL {
            assert_eq!(row.phase.row().name, row.name);
            assert_eq!(Phase::named(row.name), Some(row.phase));
        }
        for row in ActionKind::ALL {
            assert_eq!(row.action.row().name, row.name);
            assert_eq!(ActionKind::named(row.name), Some(row.action));
        }
    }

    #[test]
    fn responses_come_after_requests() {
        let first = Phase::ALL.iter().position(|row| row.has_response).unwrap();
        assert!(Phase::ALL.iter().skip(first).all(|row| row.has_response));
    }

    #[test]
    fn skips_are_told_apart() {
        let mut skipped = Skipped::default();
        skipped.skip_phase(Phase::LogCustomFields);
        skipped.skip_product(Product::Waf);
        assert!(skipped.has_phase(Phase::LogCustomFields) && !skipped.has_phase(Phase::RequestSanitize));
        assert!(skipped.has_product(Product::Waf) && !skipped.has_product(Product::ZoneLockdown));
    }
}
