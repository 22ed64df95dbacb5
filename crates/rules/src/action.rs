//! What rules do, as written and with its limits: parameters that a compiler of zones fills.
//!
//! Plain types without meaning beyond this crate: a pool is a name, a setting a name with a value. Static and
//! expression-built values look the same here; `ruleset.rs` compiles them. Read next: [`Action`].

use crate::phase::{ActionKind, Phase, Product};

/// A value that is written out, or computed for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSpec {
    /// As it stands.
    Static(String),
    /// An expression of type Bytes.
    Expression(String),
}

/// An action with its parameters. A missing parameter set is a problem for those that need one, and makes the
/// rule inert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refuses; without a response of its own by the node's page.
    Block(Option<BlockSpec>),
    /// Asks for a proof of being a person.
    Challenge,
    /// Asks the browser to run a script.
    JsChallenge,
    /// Asks for whichever proof fits.
    ManagedChallenge,
    /// Records the match.
    Log,
    /// Leaves other rules out.
    Skip(Option<SkipSpec>),
    /// Runs another ruleset, by its id.
    Execute(Option<String>),
    /// Rewrites path and query, or headers.
    Rewrite(Option<RewriteSpec>),
    /// Sends the visitor elsewhere.
    Redirect(Option<RedirectSpec>),
    /// Overrides where the request goes.
    Route(Option<RouteSpec>),
    /// Changes settings.
    SetConfig(Option<ConfigSpec>),
    /// Chooses compression.
    CompressResponse(Option<CompressSpec>),
    /// Chooses caching.
    SetCacheSettings(Option<CacheSpec>),
    /// Replaces the response.
    ServeError(Option<PageSpec>),
    /// Adds to the log.
    LogCustomField(Option<LogSpec>),
    /// Closes the connection.
    ForceConnectionClose,
}

impl Action {
    /// Which action it is.
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Action::Block(_) => ActionKind::Block,
            Action::Challenge => ActionKind::Challenge,
            Action::JsChallenge => ActionKind::JsChallenge,
            Action::ManagedChallenge => ActionKind::ManagedChallenge,
            Action::Log => ActionKind::Log,
            Action::Skip(_) => ActionKind::Skip,
            Action::Execute(_) => ActionKind::Execute,
            Action::Rewrite(_) => ActionKind::Rewrite,
            Action::Redirect(_) => ActionKind::Redirect,
            Action::Route(_) => ActionKind::Route,
            Action::SetConfig(_) => ActionKind::SetConfig,
            Action::CompressResponse(_) => ActionKind::CompressResponse,
            Action::SetCacheSettings(_) => ActionKind::SetCacheSettings,
            Action::ServeError(_) => ActionKind::ServeError,
            Action::LogCustomField(_) => ActionKind::LogCustomField,
            Action::ForceConnectionClose => ActionKind::ForceConnectionClose,
        }
    }
}

/// A refusal's own response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// 400 to 499. Default 403.
    pub status: u16,
    /// Media type of the content. Default `text/plain`.
    pub content_type: String,
    /// At most 64 KiB.
    pub content: String,
}

/// A page in place of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSpec {
    /// 400 to 599; without one the response's own.
    pub status: Option<u16>,
    /// Media type of the content.
    pub content_type: String,
    /// At most 64 KiB.
    pub content: String,
}

/// What is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkipSpec {
    /// The rest of the ruleset the rule stands in.
    pub current_ruleset: bool,
    /// Phases, the current one's rest included.
    pub phases: Vec<Phase>,
    /// Products.
    pub products: Vec<Product>,
    /// Rulesets by id: rules of this phase that execute them do nothing from here on.
    pub rulesets: Vec<String>,
}

/// Changes to the request's address or to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteSpec {
    /// The new path; it begins with `/`.
    pub path: Option<ValueSpec>,
    /// The new query string, without `?`; empty removes it.
    pub query: Option<ValueSpec>,
    /// Changes to headers, in order.
    pub headers: Vec<HeaderSpec>,
}

/// A change to a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderSpec {
    /// Its name, in any case.
    pub name: String,
    /// What happens to it.
    pub change: HeaderChange,
}

/// What happens to a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// All of that name are replaced by one; an empty value removes them.
    Set(ValueSpec),
    /// One is added; an empty value adds none.
    Add(ValueSpec),
    /// All of that name are removed.
    Remove,
}

/// Where the visitor is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectSpec {
    /// An absolute URL or a path.
    pub target: ValueSpec,
    /// 301, 302, 303, 307 or 308. Default 301.
    pub status: u16,
    /// Whether the request's query string is carried over.
    pub preserve_query: bool,
}

/// Where the request goes. What is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSpec {
    /// The pool, by name.
    pub pool: Option<String>,
    /// The Host the origin sees.
    pub host_header: Option<ValueSpec>,
    /// The server name of the TLS handshake with the origin.
    pub sni: Option<String>,
    /// Another hostname to connect to.
    pub origin_host: Option<String>,
    /// Another port.
    pub port: Option<u16>,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// On or off.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A word.
    Text(String),
}

/// Settings by name; the compiler of zones knows which there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSpec {
    /// Names and values.
    pub settings: Vec<(String, Setting)>,
}

/// A way of compressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip
    Gzip,
    /// Brotli
    Brotli,
    /// Zstandard
    Zstd,
    /// Whichever the visitor takes and the node prefers.
    Auto,
    /// As if there were no rule.
    Default,
    /// None.
    None,
}

/// Ways of compressing, the preferred one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompressSpec {
    /// At least one.
    pub algorithms: Vec<Compression>,
}

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// As the origin says.
    RespectOrigin,
    /// As the origin says, and not at all without a word from it.
    BypassByDefault,
    /// So many seconds, whatever the origin says.
    Override(u32),
}

/// Which query arguments, headers or cookies count in the key of a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// All.
    All,
    /// None.
    None,
    /// These.
    Include(Vec<String>),
    /// All but these.
    Exclude(Vec<String>),
}

/// What is cached, and how. What is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheSpec {
    /// Whether it may be cached at all.
    pub cache: Option<bool>,
    /// How long the node keeps it.
    pub edge_ttl: Option<Ttl>,
    /// How long it keeps responses of some statuses, first and last: seconds; 0 means not at all.
    pub edge_ttl_by_status: Vec<(u16, u16, u32)>,
    /// How long browsers are told to keep it.
    pub browser_ttl: Option<Ttl>,
    /// How long they are told to keep responses of some statuses, first and last: seconds.
    pub browser_ttl_by_status: Vec<(u16, u16, u32)>,
    /// Whether directives of the request are respected.
    pub respects_request: Option<bool>,
    /// Bytes of the largest body that is kept.
    pub object_bytes_max: Option<u64>,
    /// Whether a stale response is served while a fresh one is fetched.
    pub serve_stale_while_updating: Option<bool>,
    /// Whether strong validators are kept.
    pub respect_strong_etags: Option<bool>,
    /// Query arguments in the key.
    pub key_query: Option<KeyPart>,
    /// Headers in the key.
    pub key_headers: Option<KeyPart>,
    /// Cookies in the key.
    pub key_cookies: Option<KeyPart>,
    /// Whether arguments in another order are the same.
    pub key_ignores_query_order: Option<bool>,
    /// Whether the class of device is in the key.
    pub key_device: Option<bool>,
    /// Whether the visitor's country is in the key.
    pub key_country: Option<bool>,
}

/// What a log line gets in addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSpec {
    /// Names of request headers.
    pub request_headers: Vec<String>,
    /// Names of response headers.
    pub response_headers: Vec<String>,
    /// Names of cookies.
    pub cookies: Vec<String>,
    /// Names and expressions of any type.
    pub expressions: Vec<(String, String)>,
}
