//! The zone file as written: every setting that a site's owner may change, with its default and meaning.
//!
//! These types hold what a person asked, each value with its place; whether it makes sense is
//! [`mod@crate::compile`]'s question, and what runs is [`crate::zone::Zone`]. The doc line of each field is
//! its text in the reference too. Key names are fixed: add, never rename.

use crate::cache::{CacheSpec, RuleCacheSpec};
use crate::compression::{CompressionSpec, RuleCompressSpec};
use crate::feed::AfterHorizon;
use crate::flood::FloodSpec;
use crate::id::Id;
use crate::limits::{AGE_S_MAX, HEALTH_TIMEOUT_MS, WEIGHT_MAX};
use crate::node::NodeFileSpec;
use crate::pool::ProxyVersion;
use crate::rate::{ConcurrencyLimitSpec, RateLimitSpec};
use crate::read::settings;
use crate::read::values::{
    Body, Count, FieldName, FilePath, List, Milliseconds, Name, OneOrMany, Size, Statuses, Text, words,
};
use crate::rule::{RuleConfigSpec, RuleExecuteSpec, RuleFieldsSpec, RulePageSpec, RuleRouteSpec};
use crate::tls::{ClientCertificate, TlsVersion};
pub use crate::waf::{UninspectedWord, WafExceptionSpec, WafShadowSpec, WafSpec, WafWord};
use crate::zone::FailMode;

words! {
    /// How a pool chooses among its origins.
    pub enum BalanceWord {
        /// In turn, by weight.
        RoundRobin = "round_robin",
        /// The one with fewer open exchanges, of two drawn by weight.
        LeastConnections = "least_connections",
        /// Always the same one for the same key, with bounded load.
        Hash = "hash",
        /// Drawn by weight.
        Random = "random",
    }

    /// Which HTTP version to speak to origins.
    pub enum ProtocolWord {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2, by prior knowledge on cleartext and by ALPN on TLS.
        Http2 = "http2",
        /// HTTP/1.1 on cleartext; on TLS whatever the origin chooses by ALPN.
        Auto = "auto",
    }

    /// Headers of another product that origins also get.
    pub enum CompatWord {
        /// `CF-Connecting-IP`, `CF-Ray`, `CF-IPCountry`, `CF-Visitor`.
        Cloudflare = "cloudflare",
    }
}

settings! {
    /// One zone file.
    pub struct ZoneSpec in "the zone" beside NodeFileSpec in "the node file, rempart.toml" {
        /// The zone's name: it appears in logs and metrics, and ids are derived from it.
        required name: Name,
        /// Names served by this zone: exact (`example.org`), wildcard (`*.example.org`, any depth, not the
        /// name itself), or `*` for every name that no other zone has. ASCII; international names in
        /// punycode.
        required hostnames: List<Text>,
        /// The zone's id; without it derived from the name. Write it to rename a zone and keep its state.
        optional id: Id,
        /// The id of the account that owns the zone.
        optional account: Id,
        /// Also sends origins the headers of another product.
        optional compat: CompatWord,
        /// Tells visitors by `Server-Timing` what each phase took.
        plain server_timing: bool = false,
        /// When no edge can start at all, connections to this zone's hostnames are passed through to its
        /// origins that speak TLS, whole and unseen: no rule, no log, no client certificate.
        plain pass_through: bool = false,
        /// Certificate and TLS settings towards visitors.
        section tls: TlsSpec,
        /// HTTP settings towards visitors.
        section http: HttpSpec,
        /// Groups of origins that serve the same thing.
        plain pool: List<PoolSpec> = List(Vec::new()),
        /// What to do with which requests; the first match wins. What no route matches goes to the first
        /// pool.
        plain route: List<RouteSpec> = List(Vec::new()),
        /// The zone's own pages for refusals and faults.
        plain error_page: List<ErrorPageSpec> = List(Vec::new()),
        /// What becomes of a request when a phase breaks: when it panics, or when what was published does not
        /// say what it must. The phase as it was before the last change is tried first.
        section fail_modes: FailModesSpec,
        /// The cache of this zone: answers that may be shared are kept, and served without asking the origin.
        section cache: CacheSpec,
        /// Compression of answers on their way to visitors.
        section compression: CompressionSpec,
        /// The watch over the zone's load, and what is done when it leaves what is usual.
        section flood: FloodSpec,
        /// The web application firewall of this zone.
        section waf: WafSpec,
        /// Lists that rules call `$name`.
        plain list: List<ListSpec> = List(Vec::new()),
        /// What to refuse, redirect or change, by conditions in the rule language.
        plain rule: List<RuleSpec> = List(Vec::new()),
        /// How many requests are let through in a time.
        plain rate_limit: List<RateLimitSpec> = List(Vec::new()),
        /// How many requests may be under way at once.
        plain concurrency_limit: List<ConcurrencyLimitSpec> = List(Vec::new()),
    }
}

settings! {
    /// `[tls]` of a zone.
    pub struct TlsSpec in "[tls]" {
        /// Gets certificates by ACME. Not there yet: an error for now.
        plain automatic: bool = false,
        /// File with the certificate chain, PEM, the server's own certificate first.
        optional certificate: FilePath,
        /// File with the certificate's private key, PEM.
        optional private_key: FilePath,
        /// The oldest TLS version that visitors may use.
        plain minimum: TlsVersion = TlsVersion::V1_2,
        /// File with the authorities, PEM, whose client certificates are accepted.
        optional client_ca: FilePath,
        /// Whether visitors must show a certificate from `client_ca`, or may. Default with `client_ca`:
        /// `"require"`.
        optional client_certificate: ClientCertificate,
        /// Sends visitors of `http://` to `https://`.
        plain redirect_https: bool = false,
        /// Status of that redirect: 301, 302, 307 or 308.
        plain redirect_status: Count<301, 308> = Count(308),
        /// Port of that redirect, where visitors do not reach HTTPS at 443.
        plain redirect_port: Count<1, 65_535> = Count(443),
        /// Tells browsers to come over HTTPS only (RFC 6797).
        optional hsts: HstsSpec,
    }
}

settings! {
    /// `hsts` of `[tls]`.
    pub struct HstsSpec in "hsts" {
        /// For how many seconds browsers remember it.
        plain max_age_s: Count<0, AGE_S_MAX> = Count(31_536_000),
        /// Whether it holds for all names below.
        plain include_subdomains: bool = false,
        /// Whether browsers may build it in; needs `include_subdomains` and a year of `max_age_s`.
        plain preload: bool = false,
    }
}

settings! {
    /// `[http]` of a zone. Before a connection's zone is known, those of `[zone_defaults]` hold.
    pub struct HttpSpec in "[http]" {
        /// Passes upgrades to WebSocket on; who asks for another protocol is answered as if it had not asked.
        plain websocket: bool = true,
        /// The largest request body; without it there is no limit, and bodies are never buffered.
        optional max_body_bytes: Size,
        /// How long a visitor may take to send a request's head. The zone is known by the TLS server name,
        /// or by the request before on the same connection; before that `[zone_defaults]` holds.
        plain header_ms: Milliseconds<1> = Count(10_000),
        /// How long a body may stand still because of the visitor, in either direction; for the origin it is
        /// the pool's `idle_ms`. A transfer that moves is never cut.
        plain body_idle_ms: Milliseconds<1> = Count(60_000),
        /// How long an idle connection stays open, in the zone it last had an answer of or that its TLS
        /// server name is of. Over HTTP/3 a visitor that has gone silent is forgotten after 30 s in any
        /// case.
        plain keepalive_ms: Milliseconds<1> = Count(75_000),
        /// How long an upgraded connection (WebSocket) may be silent in both directions.
        plain upgrade_idle_ms: Milliseconds<1> = Count(3_600_000),
        /// The slowest rate at which a visitor may send a body, on average since it began; 0 for any.
        plain min_rate_bytes_per_s: Count<0, 1_000_000_000> = Count(0),
        /// The largest request head, all fields together; more than 64 KiB are never read.
        plain max_header_bytes: Size = Size(64 * 1024),
        /// The most header fields in a request.
        plain max_headers: Count<8, 256> = Count(128),
    }
}

settings! {
    /// `[fail_modes]` of a zone: `"open"`, the request goes on without the phase, or `"closed"`, it is
    /// answered with an error. A request that spent its own budget is always refused.
    pub struct FailModesSpec in "[fail_modes]" {
        /// Rules of requests. Open: the request goes on as if there were none.
        plain shield: FailMode = FailMode::Closed,
        /// The web application firewall. Open: the request, or the answer, goes on without it.
        plain waf: FailMode = FailMode::Closed,
        /// Routes. Open: to the first pool, with the path as it came.
        plain route: FailMode = FailMode::Closed,
        /// The cache. Open: the request goes past it, to the origin.
        plain cache: FailMode = FailMode::Open,
        /// What is done to answers, rules of responses among it. Open: the answer leaves as the origin gave
        /// it.
        plain response: FailMode = FailMode::Open,
    }
}

settings! {
    /// `[[pool]]` of a zone.
    pub struct PoolSpec in "[[pool]]" {
        /// The pool's name, by which routes and other pools call it.
        required name: Name,
        /// The pool's id; without it derived from zone and name.
        optional id: Id,
        /// The origins.
        required origins: List<OriginSpec>,
        /// How to choose among them.
        plain balance: BalanceWord = BalanceWord::RoundRobin,
        /// What `balance = "hash"` hashes: `address` (the default then), `path`, `uri`, `header:NAME` or
        /// `cookie:NAME`.
        optional hash_key: Text,
        /// Active health checks, once per node.
        optional health: HealthSpec,
        /// Leaves out origins for a while after failures seen in traffic.
        section ejection: EjectionSpec,
        /// Over how long a recovered or new origin's share grows to its full weight; 0 for at once.
        plain slow_start_ms: Milliseconds<0> = Count(0),
        /// Keeps a visitor at the same origin by a cookie.
        optional sticky: StickySpec,
        /// The pool that takes over when none of these origins is healthy.
        optional backup: Name,
        /// How long to wait for an origin.
        section timeouts: TimeoutsSpec,
        /// When to try another origin. Only requests that are safe to repeat are.
        section retries: RetriesSpec,
        /// The most connections to one origin from this node; 0 for no limit.
        plain max_connections: Count<0, 1_000_000> = Count(0),
        /// The most requests under way at one origin from this node, whatever the connections; 0 for no
        /// limit. Another origin is taken where one is full; where all are, requests wait in `queue`.
        plain max_requests: Count<0, 1_000_000> = Count(0),
        /// Whether no more requests wait for one origin than it answers in time, found from how long its
        /// answers take; below what it can do nothing is limited.
        plain adaptive: bool = true,
        /// How many requests may wait for a place where all origins are full, on this node; beyond them, and
        /// after `queue_ms`, visitors get 503. Known visitors come first.
        plain queue: Count<0, 10_000> = Count(128),
        /// How long one waits for a place.
        plain queue_ms: Milliseconds<1> = Count(1_000),
        /// How long an idle connection to an origin is kept; shorter than the origin's own time.
        plain keepalive_ms: Milliseconds<0> = Count(30_000),
        /// Which HTTP version to speak.
        plain protocol: ProtocolWord = ProtocolWord::Http1,
        /// Tells origins the visitor's address by the PROXY protocol.
        optional proxy_protocol: ProxyVersion,
        /// The `Host` that origins see: `keep` (the visitor's), `origin` (the origin's own), or a name.
        plain host: Text = Text("keep".to_owned()),
        /// TLS towards `https://` origins.
        section tls: OriginTlsSpec,
    }
}

settings! {
    /// One of `origins`.
    pub struct OriginSpec in "the origin" {
        /// Where it is: `http://HOST:PORT`, `https://HOST:PORT`, `h2c://HOST:PORT` (HTTP/2 on cleartext) or
        /// `unix:/PATH`.
        required url: Text,
        /// The origin's id; without it derived from zone, pool and url.
        optional id: Id,
        /// Its share, relative to the others; 0 for none.
        plain weight: Count<0, WEIGHT_MAX> = Count(1),
        /// Takes no new visitors; those already with it (sticky) stay.
        plain drain: bool = false,
        /// Used only while no other origin of the pool is healthy.
        plain backup: bool = false,
    }
}

settings! {
    /// `health` of a pool.
    pub struct HealthSpec in "health" {
        /// Asks for this path over HTTP.
        optional path: Text,
        /// Only opens a TCP connection (with TLS for `https://`).
        plain tcp: bool = false,
        /// The method of the question.
        plain method: Text = Text("GET".to_owned()),
        /// Statuses that count as healthy.
        plain expected: OneOrMany<Statuses> = OneOrMany(vec![healthy_statuses()]),
        /// The `Host` of the question; without it the origin's own.
        optional host: Text,
        /// Time between two questions.
        plain interval_ms: Milliseconds<100> = Count(5_000),
        /// How long to wait for the answer; by default no longer than the interval.
        plain timeout_ms: Milliseconds<1> = Count(HEALTH_TIMEOUT_MS),
        /// Good answers in a row until an unhealthy origin counts as healthy.
        plain healthy_after: Count<1, 100> = Count(2),
        /// Bad answers in a row until a healthy origin counts as unhealthy.
        plain unhealthy_after: Count<1, 100> = Count(3),
    }
}

fn healthy_statuses() -> crate::read::Placed<Statuses> {
    crate::read::Placed { value: Statuses { first: 200, last: 399 }, place: crate::problem::Place::default() }
}

settings! {
    /// `ejection` of a pool.
    pub struct EjectionSpec in "ejection" {
        /// Failures in a row (no connection, no answer or none in time, a broken one) until an origin is left
        /// out; 0 for never. It comes back with one request at a time until one is answered.
        plain consecutive_failures: Count<0, 1_000> = Count(5),
        /// For how long at first; each further time soon after the last twice as long, up to sixteen times.
        plain base_ms: Milliseconds<1> = Count(10_000),
        /// The greatest part of the pool that may be left out at once.
        plain max_percent: Count<0, 100> = Count(50),
        /// The part of an origin's requests in ten seconds, of 20 or more, that must fail for its circuit to
        /// open; 0 for never. Then nobody is sent there, not even for want of others: what is stored is
        /// served stale, other visitors get 503, and one request a second tries.
        plain circuit_percent: Count<0, 100> = Count(90),
    }
}

settings! {
    /// `sticky` of a pool.
    pub struct StickySpec in "sticky" {
        /// The cookie's name.
        required cookie: Text,
        /// Its lifetime in seconds; 0 for as long as the browser is open.
        plain ttl_s: Count<0, AGE_S_MAX> = Count(0),
    }
}

settings! {
    /// `timeouts` of a pool. None of them limits a transfer that moves.
    pub struct TimeoutsSpec in "timeouts" {
        /// To open a connection; over HTTP/2 also for a sign of life on a silent one.
        plain connect_ms: Milliseconds<1> = Count(5_000),
        /// For the TLS handshake.
        plain tls_ms: Milliseconds<1> = Count(5_000),
        /// From the end of the request to the first byte of the answer.
        plain first_byte_ms: Milliseconds<1> = Count(60_000),
        /// How long a body may stand still.
        plain idle_ms: Milliseconds<1> = Count(60_000),
        /// The slowest rate at which an origin may send; 0 for any.
        plain min_rate_bytes_per_s: Count<0, 1_000_000_000> = Count(0),
    }
}

settings! {
    /// `retries` of a pool.
    pub struct RetriesSpec in "retries" {
        /// The most further tries for one request.
        plain max: Count<0, 10> = Count(1),
        /// The most retries, as a part of the pool's requests, so that a failing pool is not flooded.
        plain budget_percent: Count<0, 100> = Count(20),
    }
}

settings! {
    /// `tls` of a pool.
    pub struct OriginTlsSpec in "tls" {
        /// Whether the origin's certificate is checked. Without it anybody on the way can read and change.
        plain verify: bool = true,
        /// File with the authorities, PEM, to trust instead of the system's.
        optional ca: FilePath,
        /// File with a certificate chain, PEM, to show to origins.
        optional certificate: FilePath,
        /// File with that certificate's private key, PEM.
        optional private_key: FilePath,
        /// The name to ask for and to check, instead of the url's host.
        optional sni: Text,
    }
}

settings! {
    /// `[[route]]` of a zone. All conditions must hold; a route without any matches every request.
    pub struct RouteSpec in "[[route]]" {
        /// A name for logs and the trail; without it the route's position.
        optional name: Name,
        /// The route's id; without it derived from zone and name.
        optional id: Id,
        /// Matches this path exactly (without the query, percent-encoding compared as sent).
        optional path: Text,
        /// Matches this path and everything below it: `/api` takes `/api` and `/api/x`, not `/apix`; `/api/`
        /// takes `/api/` and `/api/x`.
        optional path_prefix: Text,
        /// Matches these methods.
        optional method: OneOrMany<Text>,
        /// Matches requests with these header fields.
        optional header: OneOrMany<HeaderSpec>,
        /// Removes the prefix before the request goes to the pool; `/api/x` becomes `/x`.
        plain strip_prefix: bool = false,
        /// Sends the request to this pool.
        optional pool: Name,
        /// Answers with a redirect.
        optional redirect: RedirectSpec,
        /// Answers with a fixed text.
        optional answer: AnswerSpec,
    }
}

settings! {
    /// One of `header`.
    pub struct HeaderSpec in "the header condition" {
        /// The field's name, in any case.
        required name: FieldName,
        /// The value it must have; without it the field must only be there.
        optional equals: Text,
    }
}

settings! {
    /// `redirect` of a route.
    pub struct RedirectSpec in "redirect" {
        /// Where to. `$scheme`, `$host`, `$path` and `$query` (with its `?`, if there is one) are replaced;
        /// `$$` is a dollar.
        required location: Text,
        /// 301, 302, 303, 307 or 308.
        plain status: Count<301, 308> = Count(308),
    }
}

settings! {
    /// `answer` of a route.
    pub struct AnswerSpec in "answer" {
        /// The status.
        plain status: Count<200, 599> = Count(200),
        /// The `Content-Type`.
        plain content_type: Text = Text("text/plain; charset=utf-8".to_owned()),
        /// The body.
        plain body: Body = Body(String::new()),
    }
}

settings! {
    /// `[[error_page]]` of a zone.
    pub struct ErrorPageSpec in "[[error_page]]" {
        /// For which statuses, when the answer is Rempart's own.
        required status: OneOrMany<Statuses>,
        /// File with the page. `{{request_id}}`, `{{status}}` and `{{fault}}` are replaced.
        required file: FilePath,
        /// The page's `Content-Type`.
        plain content_type: Text = Text("text/html; charset=utf-8".to_owned()),
    }
}

words! {
    /// What a list holds.
    pub enum ListKindWord {
        /// Addresses, prefixes and ranges: `192.0.2.1`, `10.0.0.0/8`, `10.0.0.5..10.0.0.9`.
        Ip = "ip",
        /// Numbers of networks: `64500`, `AS64500`.
        Asn = "asn",
        /// Hostnames; `*.example.org` for every name below.
        Hostname = "hostname",
        /// Any strings.
        String = "string",
        /// Integers and ranges: `7`, `1..9`.
        Integer = "integer",
    }
}

impl ListKindWord {
    /// The kind in the rule language.
    pub(crate) fn kind(self) -> rules::ListKind {
        match self {
            Self::Ip => rules::ListKind::Addresses,
            Self::Asn => rules::ListKind::Asns,
            Self::Hostname => rules::ListKind::Hostnames,
            Self::String => rules::ListKind::Strings,
            Self::Integer => rules::ListKind::Integers,
        }
    }
}

settings! {
    /// `[[list]]` of a zone: what rules call `$name`.
    pub struct ListSpec in "[[list]]" {
        /// The list's name: small letters, digits, `_` and `.`.
        required name: Name,
        /// What it holds.
        required kind: ListKindWord,
        /// Its entries.
        optional entries: List<Text>,
        /// File with its entries, one a line; `#` begins a comment. Read at each publish.
        optional file: FilePath,
        /// How old the file may become, in seconds, before it counts as forgotten by whoever makes it anew;
        /// without it, as old as it likes. It was made when its first comments say, `# made:
        /// 2026-11-26T12:00:00Z`, else when it was changed.
        optional horizon_s: Count<1, AGE_S_MAX>,
        /// What becomes of a list that is older: it is used as it is, or it matches nothing.
        plain after_horizon: AfterHorizon = AfterHorizon::Keep,
    }
}

settings! {
    /// `[[rule]]` of a zone.
    pub struct RuleSpec in "[[rule]]" {
        /// When it is asked, in this order. Of requests, before routes: `http_request_sanitize`,
        /// `http_request_dynamic_redirect`, `http_request_transform`, `http_config_settings`,
        /// `http_request_origin`, `ddos_l7`, `http_request_firewall_custom`, then limits, then
        /// `http_request_firewall_managed`, `http_request_sbfm`, `http_request_redirect`,
        /// `http_request_late_transform`, `http_request_cache_settings`. Of responses:
        /// `http_response_firewall_managed`, `http_custom_errors`, `http_response_headers_transform`,
        /// `http_response_compression`, `http_log_custom_fields`.
        plain phase: Text = Text("http_request_firewall_custom".to_owned()),
        /// The condition, in the rule language.
        required expression: Body,
        /// What it does: `block`, `log`, `skip`, `execute`, `redirect`, `rewrite`, `route`, `set_config`,
        /// `set_cache_settings`, `compress_response`, `serve_error`, `log_custom_field` or
        /// `force_connection_close`; `challenge` and its kin refuse for now.
        required action: Text,
        /// A name; the id is derived from it.
        optional name: Name,
        /// The rule's id, as in the access log; without it derived from zone and name, or position without
        /// a name.
        optional id: Id,
        /// What it is for.
        optional description: Body,
        /// Whether it is asked at all.
        plain enabled: bool = true,
        /// The ruleset it belongs to: it is asked where a rule of its phase executes that.
        optional ruleset: Name,
        /// The answer of `block`; without it the zone's page for 403.
        optional block: RuleBlockSpec,
        /// Where `redirect` leads.
        optional redirect: RuleRedirectSpec,
        /// What `rewrite` changes.
        optional rewrite: RuleRewriteSpec,
        /// What `skip` leaves out.
        optional skip: RuleSkipSpec,
        /// What `set_cache_settings` chooses.
        optional cache: RuleCacheSpec,
        /// What `compress_response` chooses.
        optional compress: RuleCompressSpec,
        /// What `execute` runs.
        optional execute: RuleExecuteSpec,
        /// Where `route` leads.
        optional route: RuleRouteSpec,
        /// What `set_config` changes.
        optional config: RuleConfigSpec,
        /// What `serve_error` shows.
        optional page: RulePageSpec,
        /// What `log_custom_field` adds.
        optional fields: RuleFieldsSpec,
    }
}

settings! {
    /// `block` of a rule.
    pub struct RuleBlockSpec in "block" {
        /// The status.
        plain status: Count<400, 499> = Count(403),
        /// The `Content-Type`.
        plain content_type: Text = Text("text/plain; charset=utf-8".to_owned()),
        /// The body, at most 64 KiB.
        required body: Body,
    }
}

settings! {
    /// `redirect` of a rule.
    pub struct RuleRedirectSpec in "redirect" {
        /// Where to: a path, or an address with `https://` or `http://`.
        optional target: Body,
        /// Where to, as an expression; nowhere, and the request goes on, where its value is empty.
        optional target_expression: Body,
        /// 301, 302, 303, 307 or 308.
        plain status: Count<301, 308> = Count(301),
        /// Whether the request's query is added.
        plain preserve_query: bool = false,
    }
}

settings! {
    /// `rewrite` of a rule: path and query in `http_request_transform`, headers in
    /// `http_request_late_transform` (what the origin sees) and `http_response_headers_transform`.
    pub struct RuleRewriteSpec in "rewrite" {
        /// The new path.
        optional path: Body,
        /// The new path, as an expression.
        optional path_expression: Body,
        /// The new query without `?`; empty removes it.
        optional query: Body,
        /// The new query, as an expression.
        optional query_expression: Body,
        /// Changes to header fields, in order.
        plain headers: List<HeaderChangeSpec> = List(Vec::new()),
    }
}

settings! {
    /// One of `headers` of a rewrite. Fields that belong to a connection cannot be changed.
    pub struct HeaderChangeSpec in "the header change" {
        /// The field's name, in any case.
        required name: FieldName,
        /// Its only value from now on; empty removes it.
        optional set: Body,
        /// The same, as an expression.
        optional set_expression: Body,
        /// One more value.
        optional add: Body,
        /// The same, as an expression.
        optional add_expression: Body,
        /// Takes it out.
        plain remove: bool = false,
    }
}

settings! {
    /// `skip` of a rule.
    pub struct RuleSkipSpec in "skip" {
        /// Leaves out the rules behind it in the same phase.
        plain rest: bool = false,
        /// Leaves out these phases, or what is left of them.
        plain phases: List<Text> = List(Vec::new()),
        /// Leaves out these products, as other rule languages name them: such as `rateLimit` or `waf`.
        plain products: List<Text> = List(Vec::new()),
        /// Rules of this phase execute none of these rulesets from here on.
        plain rulesets: List<Name> = List(Vec::new()),
    }
}
