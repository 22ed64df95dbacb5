//! What a zone may choose about its cache: plain values, made by whoever compiles zones.
//!
//! The defaults are what RFC 9111 does without being told, and where it leaves a choice, the one by which
//! nobody sees what is another's. Read next: [`Settings`].

use std::ops::RangeInclusive;

use super::key::KeySettings;
use super::targeted::Targeted;
use crate::limits::ALONE_INTERVAL_MS;

/// A zone's cache settings, or those that rules chose for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Off: every request bypasses. Default on.
    pub is_on: bool,
    /// Fields heeded before `Cache-Control`, in this order (RFC 9213). Default: `CDN-Cache-Control`, then
    /// `Surrogate-Control`.
    pub targeted: Vec<Targeted>,
    /// What goes into the key.
    pub key: KeySettings,
    /// Whether visitors' `Cache-Control` and `Pragma` are respected (RFC 9111 §5.2.1 leaves it to the cache).
    /// Default off: otherwise any stranger sends every request to the origin.
    pub respects_request: bool,
    /// A lifetime for answers that name none, from `Last-Modified` (RFC 9111 §4.2.2). Default none.
    pub heuristic: Option<Heuristic>,
    /// Lifetimes here, by status; the first that fits counts. Default none.
    pub edge: Vec<EdgeLifetime>,
    /// The lifetime that browsers are told. Default as the origin says.
    pub browser: BrowserLifetime,
    /// What browsers are told of some statuses, in seconds, before that; the first that fits counts. Default
    /// none.
    pub browser_by_status: Vec<(RangeInclusive<u16>, u32)>,
    /// Seconds that a stale answer may be served while it is revalidated, where the answer does not say.
    /// Default 0.
    pub stale_while_revalidate_s: u32,
    /// Seconds that a stale answer may be served when the origin fails, where the answer does not say.
    /// Default a day.
    pub stale_if_error_s: u32,
    /// When the origin fails, stale answers are served for as long as they are kept, except where the answer
    /// says `must-revalidate` or `no-cache`. Default off.
    pub always_online: bool,
    /// What becomes of answers that set cookies.
    pub set_cookie: SetCookie,
    /// Which error answers may be stored.
    pub errors: ErrorAnswers,
    /// A request with a cookie of one of these names bypasses; a name that ends in `*` stands for a
    /// beginning. Default none.
    pub bypass_cookies: Vec<Box<[u8]>>,
    /// Bytes of a stored body; a longer one passes and is not stored. Default 1 GiB.
    pub object_bytes_max: u64,
    /// Large objects are fetched and stored in slices of this many bytes when a range is asked for. None: a
    /// range fetches the whole. Default 1 MiB.
    pub slice_bytes: Option<u64>,
    /// Whether an answer whose type does not fit the path's extension is refused (deception). Default on.
    pub guards_extensions: bool,
    /// Whether `Link` fields are learned and told early (RFC 8297). Default off.
    pub early_hints: bool,
    /// Variants of one key; a further one is passed and not stored. Default 32.
    pub variants_max: u16,
    /// Between two of those who have waited for another's fetch of one key for as long as they may, and ask
    /// the origin by themselves: milliseconds. Default 1,000.
    pub alone_interval_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_on: true,
            targeted: vec![Targeted::CdnCacheControl, Targeted::SurrogateControl],
            key: KeySettings::default(),
            respects_request: false,
            heuristic: None,
            edge: Vec::new(),
            browser: BrowserLifetime::AsOrigin,
            browser_by_status: Vec::new(),
            stale_while_revalidate_s: 0,
            stale_if_error_s: 86_400,
            always_online: false,
            set_cookie: SetCookie::NotStored,
            errors: ErrorAnswers::WhereTold,
            bypass_cookies: Vec::new(),
            object_bytes_max: 1 << 30,
            slice_bytes: Some(1 << 20),
            guards_extensions: true,
            early_hints: false,
            variants_max: 32,
            alone_interval_ms: ALONE_INTERVAL_MS,
        }
    }
}

/// A lifetime guessed from the time since the last change (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// Percent of that time; the RFC names 10 as usual.
    pub percent: u8,
    /// Seconds at most.
    pub seconds_max: u32,
}

impl Default for Heuristic {
    fn default() -> Self {
        Self { percent: 10, seconds_max: 86_400 }
    }
}

/// A lifetime here for some statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLifetime {
    /// The statuses it is for.
    pub statuses: RangeInclusive<u16>,
    /// What it is.
    pub lifetime: Lifetime,
}

/// What a zone says of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// So many seconds where the answer names no lifetime.
    Default(u32),
    /// So many seconds whatever lifetime the answer names, `no-cache` included. `no-store`, `private`,
    /// cookies and `Authorization` keep their rules: they are about whose the answer is, not about how long
    /// it holds.
    Always(u32),
    /// Not stored.
    NotStored,
}

/// The lifetime that browsers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrowserLifetime {
    /// As the origin says.
    #[default]
    AsOrigin,
    /// So many seconds from now, instead of `max-age` and `Expires`; 0 makes browsers ask each time.
    Seconds(u32),
}

/// What becomes of an answer with `Set-Cookie`.
///
/// RFC 9111 §7.3 lets a cache keep it. A cookie is nearly always one visitor's, though, and storing it
/// signs the next visitor in as the first; so the default does not store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// The answer is not stored.
    #[default]
    NotStored,
    /// The answer is stored without the field; the visitor who caused the fetch gets it.
    Stripped,
    /// The answer is stored as it is (RFC 9111 §7.3): for cookies that are the same for everybody.
    Stored,
}

/// Which answers with a status of 400 and above may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorAnswers {
    /// None.
    Never,
    /// Those that the zone's [`EdgeLifetime`] names, and those for which the origin names a lifetime; among
    /// the latter none that a stranger can provoke with a field that is not part of the key
    /// (`storing::may_be_provoked`).
    #[default]
    WhereTold,
    /// All for which a lifetime is named.
    AsOriginSays,
}

impl Settings {
    /// What browsers are told of an answer with this status.
    pub fn browser_lifetime(&self, status: u16) -> BrowserLifetime {
        let told = self.browser_by_status.iter().find(|(statuses, _)| statuses.contains(&status));
        told.map_or(self.browser, |(_, seconds)| BrowserLifetime::Seconds(*seconds))
    }

    /// The zone's word on the lifetime of answers with this status.
    pub fn edge_lifetime(&self, status: u16) -> Option<Lifetime> {
        self.edge.iter().find(|edge| edge.statuses.contains(&status)).map(|edge| edge.lifetime)
    }
}
