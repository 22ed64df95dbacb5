//! `[cache]` of a zone: as written, and as run.
//!
//! Words and numbers only: what they mean for an answer is the policy's of the crate `cache`, which the edge
//! makes out of [`Cache`]. Compiled by `compile/cache.rs`. Read next: [`CacheSpec`].

use crate::limits::{AGE_S_MAX, CACHE_VARIANTS_MAX, CACHE_WEIGHT_MAX};
use crate::read::settings;
use crate::read::values::{Count, FieldName, List, Milliseconds, OneOrMany, Size, Statuses, Text, words};

words! {
    /// A field that is heeded before `Cache-Control`.
    pub enum ControlField {
        /// `CDN-Cache-Control` (RFC 9213).
        CdnCacheControl = "cdn_cache_control",
        /// `Surrogate-Control`, for Rempart alone: it is not passed on.
        SurrogateControl = "surrogate_control",
    }

    /// Whether the query is part of the key.
    pub enum QueryWord {
        /// As sent.
        All = "all",
        /// Not at all: with and without are one.
        Nothing = "none",
    }

    /// How a lifetime of the zone goes with what the answer says.
    pub enum LifetimeWord {
        /// Where the answer names none.
        Default = "default",
        /// Whatever lifetime the answer names.
        Always = "always",
        /// Such answers are not stored.
        Never = "never",
    }

    /// What becomes of an answer that sets cookies.
    pub enum SetCookieWord {
        /// It is not stored.
        NotStored = "not_stored",
        /// It is stored without the field; the visitor who caused the fetch gets it.
        Stripped = "stripped",
        /// It is stored as it is: for cookies that are the same for everybody.
        Stored = "stored",
    }

    /// Which answers of 400 and above may be stored.
    pub enum ErrorsWord {
        /// None.
        Never = "never",
        /// Those that a lifetime of the zone names, and those for which the origin names one, unless any
        /// visitor can provoke them for all others.
        WhereTold = "where_told",
        /// All for which a lifetime is named.
        AsOriginSays = "as_origin_says",
    }
}

settings! {
    /// `[cache]` of a zone.
    pub struct CacheSpec in "[cache]" {
        /// Whether answers that may be shared are kept and served again (RFC 9111).
        plain enabled: bool = false,
        /// Fields heeded before `Cache-Control`, in this order (RFC 9213).
        plain control: List<ControlField> = List(vec![
            crate::read::unplaced(ControlField::CdnCacheControl),
            crate::read::unplaced(ControlField::SurrogateControl),
        ]),
        /// What tells one answer from another beside host, scheme and path.
        section key: CacheKeySpec,
        /// Whether `Cache-Control` and `Pragma` of requests are respected. Off by default: otherwise any
        /// stranger can send every request to the origin.
        plain respect_request: bool = false,
        /// Lifetimes here, by status; the first that fits counts.
        plain lifetime: List<CacheLifetimeSpec> = List(Vec::new()),
        /// Seconds that browsers are told, counted from now, in place of the origin's `max-age` and
        /// `Expires`, where `lifetime` says nothing for the status; 0 makes browsers ask each time. Without
        /// it they are told what the origin says.
        optional browser_s: Count<0, AGE_S_MAX>,
        /// Guesses a lifetime for answers that name none, from `Last-Modified` (RFC 9111 §4.2.2).
        optional heuristic: CacheHeuristicSpec,
        /// Seconds that a stale answer may be served while it is fetched anew, where the answer does not say
        /// (RFC 5861 §3).
        plain stale_while_revalidate_s: Count<0, AGE_S_MAX> = Count(0),
        /// Seconds that a stale answer may be served when the origin fails, where the answer does not say
        /// (RFC 5861 §4).
        plain stale_if_error_s: Count<0, AGE_S_MAX> = Count(86_400),
        /// When the origin fails, stale answers are served for as long as they are kept, unless the answer
        /// says `must-revalidate` or `no-cache`.
        plain always_online: bool = false,
        /// What becomes of answers that set cookies.
        plain set_cookie: SetCookieWord = SetCookieWord::NotStored,
        /// Which answers of 400 and above may be stored.
        plain errors: ErrorsWord = ErrorsWord::WhereTold,
        /// Requests with a cookie of one of these names go past the cache; a name that ends in `*` stands for
        /// a beginning.
        plain bypass_cookies: List<Text> = List(Vec::new()),
        /// The largest body that is stored; a larger one is passed on. No more than an eighth of the node's
        /// `memory_bytes`, and than 64 MiB, are stored in any case.
        plain max_object_bytes: Size = Size(1 << 30),
        /// Where a range of something is asked for that is not stored, it is fetched and stored in slices of
        /// this size, so that a range of a large file fetches little of the rest; 0 for no slices.
        plain slice_bytes: Size = Size(1 << 20),
        /// Refuses to store an answer whose type does not fit the path's extension, such as a page under
        /// `/account/x.css`.
        plain guard_extensions: bool = true,
        /// Learns `Link` fields and tells them early (103) while the origin is asked (RFC 8297): of stored
        /// pages; and of others the links to the site itself that two visitors in a row were given.
        plain early_hints: bool = false,
        /// The most variants of one URL that are stored, by `Vary`.
        plain max_variants: Count<1, CACHE_VARIANTS_MAX> = Count(32),
        /// How long a visitor waits for another's fetch of the same before it asks the origin by itself, in
        /// its turn.
        plain wait_ms: Milliseconds<100> = Count(5_000),
        /// Between two turns, for each URL: one a second by default. Whose answer comes first is everybody's.
        plain wait_interval_ms: Milliseconds<10> = Count(1_000),
        /// Its share of the halves of the node's memory and disk for stored answers that are promised to
        /// zones, relative to the others': what it keeps whatever others store, as long as it is asked for.
        plain weight: Count<1, CACHE_WEIGHT_MAX> = Count(1),
    }
}

settings! {
    /// `key` of `[cache]`.
    pub struct CacheKeySpec in "key" {
        /// Whether the query is part of the key.
        plain query: QueryWord = QueryWord::All,
        /// Only these parameters of the query are; a name that ends in `*` stands for a beginning.
        plain query_only: List<Text> = List(Vec::new()),
        /// All parameters but these are, such as `utm_*`.
        plain query_except: List<Text> = List(Vec::new()),
        /// Whether the order of parameters is of no account.
        plain sort_query: bool = false,
        /// Header fields whose values are part of the key.
        plain headers: List<FieldName> = List(Vec::new()),
        /// Cookies whose values are part of the key.
        plain cookies: List<Text> = List(Vec::new()),
        /// Whether desktops, tablets and phones, told by `User-Agent`, have answers of their own.
        plain device: bool = false,
        /// Whether visitors of each country have answers of their own; who comes from nowhere known, or from
        /// anywhere without `[geo]`, shares one.
        plain country: bool = false,
    }
}

settings! {
    /// `[[cache.lifetime]]` of a zone.
    pub struct CacheLifetimeSpec in "[[cache.lifetime]]" {
        /// For which statuses.
        required status: OneOrMany<Statuses>,
        /// How long such an answer is fresh here, in seconds.
        optional seconds: Count<0, AGE_S_MAX>,
        /// How that goes with what the answer says. `no-store`, `private` and cookies keep their rules.
        plain mode: LifetimeWord = LifetimeWord::Default,
        /// Seconds that browsers are told of such an answer, as with the zone's.
        optional browser_s: Count<0, AGE_S_MAX>,
    }
}

settings! {
    /// `heuristic` of `[cache]`.
    pub struct CacheHeuristicSpec in "heuristic" {
        /// Percent of the time since the last change.
        plain percent: Count<1, 100> = Count(10),
        /// Seconds at most.
        plain max_s: Count<1, AGE_S_MAX> = Count(86_400),
    }
}

settings! {
    /// `cache` of a rule: what it chooses instead of the zone's `[cache]`. What is not written stays so.
    pub struct RuleCacheSpec in "cache" {
        /// Whether the answer may be kept, and given again; `false` sends the request past the cache.
        optional enabled: bool,
        /// How long answers of 200 to 399 are fresh here, in seconds, whatever they say; 0 for not stored.
        optional edge_s: Count<0, AGE_S_MAX>,
        /// How long answers of some statuses are fresh here; the first that fits counts, before `edge_s`.
        plain lifetime: List<RuleLifetimeSpec> = List(Vec::new()),
        /// Seconds that browsers are told, counted from now, whatever the zone says of the status.
        optional browser_s: Count<0, AGE_S_MAX>,
        /// Whether `Cache-Control` and `Pragma` of the request are respected.
        optional respect_request: bool,
        /// The largest body that is stored.
        optional max_object_bytes: Size,
        /// What tells one answer from another.
        optional key: RuleCacheKeySpec,
    }
}

settings! {
    /// `lifetime` of a rule's `cache`.
    pub struct RuleLifetimeSpec in "lifetime" {
        /// For which statuses.
        required status: OneOrMany<Statuses>,
        /// How long such an answer is fresh here, in seconds, whatever it says; 0 for not stored.
        optional seconds: Count<0, AGE_S_MAX>,
        /// Seconds that browsers are told of such an answer.
        optional browser_s: Count<0, AGE_S_MAX>,
    }
}

settings! {
    /// `key` of a rule's `cache`.
    pub struct RuleCacheKeySpec in "key" {
        /// Whether the query is part of the key.
        optional query: QueryWord,
        /// Only these parameters of the query are.
        optional query_only: List<Text>,
        /// All parameters but these are.
        optional query_except: List<Text>,
        /// Whether the order of parameters is of no account.
        optional sort_query: bool,
        /// Header fields whose values are part of the key.
        optional headers: List<FieldName>,
        /// Cookies whose values are part of the key.
        optional cookies: List<Text>,
        /// Whether desktops, tablets and phones have answers of their own.
        optional device: bool,
        /// Whether visitors of each country have answers of their own.
        optional country: bool,
    }
}

/// The cache of a zone, as run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Whether it is used where no rule says otherwise.
    pub is_on: bool,
    /// Fields heeded before `Cache-Control`, in this order.
    pub control: Vec<ControlField>,
    /// What is in the key.
    pub key: CacheKey,
    /// Whether directives of requests are respected.
    pub respects_request: bool,
    /// Lifetimes by status.
    pub lifetimes: Vec<CacheLifetime>,
    /// Seconds that browsers are told; none for the origin's word.
    pub browser_s: Option<u32>,
    /// What they are told of some statuses, before that.
    pub browser: Vec<BrowserLifetime>,
    /// Percent and most seconds of a guessed lifetime.
    pub heuristic: Option<(u8, u32)>,
    /// Seconds that stale answers are served while they are revalidated.
    pub stale_while_revalidate_s: u32,
    /// Seconds that stale answers are served when the origin fails.
    pub stale_if_error_s: u32,
    /// Whether they are served for as long as they are kept then.
    pub always_online: bool,
    /// What becomes of answers that set cookies.
    pub set_cookie: SetCookieWord,
    /// Which errors may be stored.
    pub errors: ErrorsWord,
    /// Cookies of requests that bypass.
    pub bypass_cookies: Vec<String>,
    /// Bytes of the largest body stored.
    pub object_bytes_max: u64,
    /// Bytes of a slice; none for no slices.
    pub slice_bytes: Option<u64>,
    /// Whether types must fit extensions.
    pub guards_extensions: bool,
    /// Whether links are told early.
    pub early_hints: bool,
    /// Most variants of one URL.
    pub variants_max: u16,
    /// How long a visitor waits for another's fetch, in milliseconds.
    pub wait_ms: u32,
    /// Between two who lose patience, in milliseconds.
    pub wait_interval_ms: u32,
    /// Its share of the promised halves of memory and disk, relative to other zones'.
    pub weight: u32,
}

/// What is in the key beside host, scheme and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey {
    /// Which parameters of the query.
    pub query: CacheQuery,
    /// Whether parameters are sorted by name.
    pub sorts_query: bool,
    /// Header fields, in lower case.
    pub headers: Vec<String>,
    /// Cookies.
    pub cookies: Vec<String>,
    /// Whether the class of device is in it.
    pub device: bool,
    /// Whether the visitor's country is in it.
    pub country: bool,
}

/// Which parameters of a query are in the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheQuery {
    /// The query as sent.
    All,
    /// None.
    Nothing,
    /// These.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

/// What browsers are told of some statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserLifetime {
    /// The first status it is for.
    pub first: u16,
    /// The last status it is for.
    pub last: u16,
    /// Seconds.
    pub seconds: u32,
}

/// A lifetime for some statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLifetime {
    /// The first status it is for.
    pub first: u16,
    /// The last status it is for.
    pub last: u16,
    /// Seconds.
    pub seconds: u32,
    /// How it goes with what the answer says.
    pub mode: LifetimeWord,
}
