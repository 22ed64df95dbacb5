//! Whether what is stored may be used for a request (RFC 9111 §4, RFC 5861).
//!
//! Pure: stored numbers, request, settings, now. Which stored answer matches (key and variant) was found
//! before; what is sent is `answer.rs`. Read next: [`lookup`].

use super::control::MaxStale;
use super::request::Asked;
use super::settings::Settings;
use super::stored::{Metadata, Traits};

/// What storage found for a request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing under this key.
    Nothing,
    /// Answers under this key, none of them for this variant.
    OtherVariants,
    /// The answer of this key and variant.
    Stored {
        /// Its numbers.
        meta: &'a Metadata,
        /// A soft purge made it stale.
        is_purged_softly: bool,
    },
}

/// Why the origin is asked: the words of RFC 9211 §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Nothing under this key.
    UriMiss,
    /// Nothing for this variant.
    VaryMiss,
    /// What is stored is stale, or must be validated each time.
    Stale,
    /// The request's directives ask for it.
    Request,
    /// Only a part is stored.
    Partial,
}

impl Forward {
    /// As in `Cache-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Partial => "partial",
        }
    }
}

/// What a request gets, before the origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// What is stored, as it is.
    Fresh,
    /// What is stored, stale, at once; one fetch revalidates it meanwhile.
    Stale,
    /// What is stored, stale: the origin failed a moment ago and is left alone for another.
    StaleOnError,
    /// The origin is asked about what is stored; if it fails, `may_serve_on_error` is asked.
    Revalidate(Forward),
    /// The origin is asked as if nothing were stored, under a lease.
    Miss(Forward),
    /// 504: the request wants nothing but what is stored, and that may not be used (RFC 9111 §5.2.1.7).
    OnlyIfCached,
}

impl Lookup {
    /// Whether concurrent requests may share the fetch. Not where each must have a validation of its own: one
    /// that began before a request says nothing about the time after (`no-cache`, what is never fresh, and a
    /// request's own wish). Who waited for such a fetch would only have to go itself then.
    pub fn may_collapse(self, meta: Option<&Metadata>) -> bool {
        match self {
            Self::Revalidate(Forward::Request) => false,
            Self::Revalidate(_) => meta.is_none_or(|meta| {
                !meta.traits.has(Traits::NO_CACHE) && meta.lifetime_s > meta.initial_age_s
            }),
            Self::Miss(_) => true,
            Self::Fresh | Self::Stale | Self::StaleOnError | Self::OnlyIfCached => false,
        }
    }
}

/// Decides what a request gets.
pub fn lookup(asked: &Asked, found: Found<'_>, settings: &Settings, now_ms: u64) -> Lookup {
    let decided = match found {
        Found::Nothing => Lookup::Miss(Forward::UriMiss),
        Found::OtherVariants => Lookup::Miss(Forward::VaryMiss),
        Found::Stored { meta, is_purged_softly } => consider(asked, meta, is_purged_softly, settings, now_ms),
    };
    let wants_stored_only = asked.control.only_if_cached;
    match decided {
        Lookup::Revalidate(_) | Lookup::Miss(_) if wants_stored_only => Lookup::OnlyIfCached,
        decided => decided,
    }
}

fn consider(
    asked: &Asked,
    meta: &Metadata,
    is_purged_softly: bool,
    settings: &Settings,
    now_ms: u64,
) -> Lookup {
    let control = &asked.control;
    if control.no_cache {
        return Lookup::Revalidate(Forward::Request);
    }
    if meta.traits.has(Traits::NO_CACHE) {
        return Lookup::Revalidate(Forward::Stale);
    }
    let age_s = meta.age_s(now_ms);
    let is_fresh = age_s < meta.lifetime_s && !is_purged_softly;
    // `max-age` of a request without `max-stale` rules out what is older, fresh or not (§5.2.1.1).
    let is_too_old = control.max_age.is_some_and(|max_age_s| age_s > max_age_s);
    let is_too_short = control
        .min_fresh
        .is_some_and(|min_fresh_s| u64::from(age_s) + u64::from(min_fresh_s) > u64::from(meta.lifetime_s));
    if is_fresh {
        let wants_fresher = is_too_old || is_too_short;
        return if wants_fresher { Lookup::Revalidate(Forward::Request) } else { Lookup::Fresh };
    }
    let stale_s = staleness_s(meta, now_ms);
    if !is_too_old && !is_too_short {
        let while_revalidate_s =
            allowed_s(meta, meta.stale_while_revalidate_s, settings.stale_while_revalidate_s);
        if stale_s < while_revalidate_s {
            return Lookup::Stale;
        }
        let takes_stale = match control.max_stale {
            MaxStale::No => false,
            MaxStale::Any => true,
            MaxStale::Seconds(seconds) => stale_s <= seconds,
        };
        let is_strict =
            meta.traits.has(Traits::MUST_REVALIDATE) || meta.traits.has(Traits::SHARED_REVALIDATE);
        if takes_stale && !is_strict && !is_purged_softly {
            return Lookup::Stale;
        }
    }
    let trouble = OriginTrouble::Unreachable;
    if meta.is_troubled(now_ms)
        && may_serve_on_error(asked, meta, is_purged_softly, trouble, settings, now_ms)
    {
        return Lookup::StaleOnError;
    }
    Lookup::Revalidate(Forward::Stale)
}

/// Seconds since it turned stale; 0 for what a soft purge made stale before its time.
fn staleness_s(meta: &Metadata, now_ms: u64) -> u32 {
    meta.age_s(now_ms).saturating_sub(meta.lifetime_s)
}

/// How long a stale answer may be served: the answer's own word, else the zone's.
///
/// `must-revalidate` forbids it whatever else is said (RFC 9111 §5.2.2.2). `s-maxage` and
/// `proxy-revalidate` forbid it too (§4.2.4), but an answer that says one of them beside a time of RFC 5861
/// means that time, or it would not say it; only the zone's default gives way.
fn allowed_s(meta: &Metadata, said_s: Option<u32>, zone_s: u32) -> u32 {
    if meta.traits.has(Traits::MUST_REVALIDATE) || meta.traits.has(Traits::NO_CACHE) {
        return 0;
    }
    match said_s {
        Some(said_s) => said_s,
        None if meta.traits.has(Traits::SHARED_REVALIDATE) => 0,
        None => zone_s,
    }
}

/// What became of asking the origin, as far as staleness goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginTrouble {
    /// No connection, no answer, or a broken one.
    Unreachable,
    /// It answers later than the zone waits for with a stale answer in hand.
    Slow,
    /// It answered with this status.
    Status(u16),
}

impl OriginTrouble {
    /// Whether it is one that a stale answer may bridge: no answer, or 500, 502, 503, 504 (RFC 5861 §4).
    pub fn is_bridged(self) -> bool {
        match self {
            Self::Unreachable | Self::Slow => true,
            Self::Status(status) => matches!(status, 500 | 502..=504),
        }
    }
}

/// Whether what is stored may be served though it is stale, since the origin failed (RFC 5861 §4, RFC 9111
/// §4.2.4).
///
/// With `always_online` it may for as long as it is kept, unless the answer says `must-revalidate` or
/// `no-cache`. What a soft purge made stale is, whatever its age.
pub fn may_serve_on_error(
    asked: &Asked,
    meta: &Metadata,
    is_purged_softly: bool,
    trouble: OriginTrouble,
    settings: &Settings,
    now_ms: u64,
) -> bool {
    if !trouble.is_bridged() {
        return false;
    }
    if meta.traits.has(Traits::MUST_REVALIDATE) || meta.traits.has(Traits::NO_CACHE) {
        return false;
    }
    // What is fresh, and only asked about because the request wished it, bridges anything.
    let stale_s = staleness_s(meta, now_ms);
    if settings.always_online || meta.is_fresh(now_ms) && !is_purged_softly {
        return true;
    }
    let said_s = meta.stale_if_error_s.max(asked_stale_s(asked, meta));
    stale_s < allowed_s(meta, said_s, settings.stale_if_error_s)
}

/// A request may ask for stale answers on errors too (RFC 5861 §4), but not against the origin's word.
fn asked_stale_s(asked: &Asked, meta: &Metadata) -> Option<u32> {
    asked.control.stale_if_error.filter(|_| !meta.traits.has(Traits::SHARED_REVALIDATE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::control::RequestControl;

    const FRESH_MS: u64 = 1_000_000;

    /// Stored at 1,000 s, fresh for 10 s.
    fn meta(traits: Traits) -> Metadata {
        Metadata { status: 200, received_ms: FRESH_MS, lifetime_s: 10, traits, ..Metadata::default() }
    }

    fn at(meta: &Metadata, control: RequestControl, settings: &Settings, seconds: u64) -> Lookup {
        let asked = Asked { control, may_store: true, ..Asked::default() };
        let found = Found::Stored { meta, is_purged_softly: false };
        lookup(&asked, found, settings, FRESH_MS + seconds * 1000)
    }

    fn plain(meta: &Metadata, seconds: u64) -> Lookup {
        at(meta, RequestControl::default(), &Settings::default(), seconds)
    }

    const STALE: Lookup = Lookup::Revalidate(Forward::Stale);
    const REQUEST: Lookup = Lookup::Revalidate(Forward::Request);

    #[test]
    fn fresh_until_the_second_its_lifetime_ends() {
        let meta = meta(Traits::default());
        assert_eq!(plain(&meta, 0), Lookup::Fresh);
        assert_eq!(plain(&meta, 9), Lookup::Fresh);
        assert_eq!(plain(&meta, 10), STALE);
    }

    #[test]
    fn nothing_found_is_a_miss() {
        let asked = Asked::default();
        let settings = Settings::default();
        assert_eq!(lookup(&asked, Found::Nothing, &settings, 0), Lookup::Miss(Forward::UriMiss));
        assert_eq!(lookup(&asked, Found::OtherVariants, &settings, 0), Lookup::Miss(Forward::VaryMiss));
    }

    #[test]
    fn a_soft_purge_makes_stale_at_once() {
        let meta = Metadata { stale_while_revalidate_s: Some(5), ..meta(Traits::default()) };
        let found = Found::Stored { meta: &meta, is_purged_softly: true };
        let asked = Asked::default();
        assert_eq!(lookup(&asked, found, &Settings::default(), FRESH_MS), Lookup::Stale);
        let strict = Metadata { stale_while_revalidate_s: None, ..meta };
        let found = Found::Stored { meta: &strict, is_purged_softly: true };
        assert_eq!(lookup(&asked, found, &Settings::default(), FRESH_MS), STALE);
    }

    #[test]
    fn requests_may_want_fresher_or_take_staler() {
        let meta = meta(Traits::default());
        let (settings, none) = (Settings::default(), RequestControl::default());
        let max_age = |max_age| RequestControl { max_age: Some(max_age), ..none };
        assert_eq!(at(&meta, max_age(5), &settings, 5), Lookup::Fresh);
        assert_eq!(at(&meta, max_age(5), &settings, 6), REQUEST);
        let min_fresh = RequestControl { min_fresh: Some(4), ..none };
        assert_eq!(at(&meta, min_fresh, &settings, 6), Lookup::Fresh);
        assert_eq!(at(&meta, min_fresh, &settings, 7), REQUEST);
        let max_stale = |max_stale| RequestControl { max_stale, ..none };
        assert_eq!(at(&meta, max_stale(MaxStale::Seconds(3)), &settings, 13), Lookup::Stale);
        assert_eq!(at(&meta, max_stale(MaxStale::Seconds(3)), &settings, 14), STALE);
        assert_eq!(at(&meta, max_stale(MaxStale::Any), &settings, 99), Lookup::Stale);
        let no_cache = RequestControl { no_cache: true, ..none };
        assert_eq!(at(&meta, no_cache, &settings, 0), REQUEST);
    }

    #[test]
    fn only_if_cached_never_goes_to_the_origin() {
        let meta = meta(Traits::default());
        let only = RequestControl { only_if_cached: true, ..RequestControl::default() };
        assert_eq!(at(&meta, only, &Settings::default(), 0), Lookup::Fresh);
        assert_eq!(at(&meta, only, &Settings::default(), 10), Lookup::OnlyIfCached);
        let asked = Asked { control: only, ..Asked::default() };
        assert_eq!(lookup(&asked, Found::Nothing, &Settings::default(), 0), Lookup::OnlyIfCached);
    }

    #[test]
    fn max_stale_does_not_beat_the_origins_word() {
        let any = RequestControl { max_stale: MaxStale::Any, ..RequestControl::default() };
        for traits in [Traits::MUST_REVALIDATE, Traits::SHARED_REVALIDATE, Traits::NO_CACHE] {
            assert_eq!(at(&meta(traits), any, &Settings::default(), 11), STALE);
        }
    }

    #[test]
    fn the_zones_default_gives_way_to_the_origins_word() {
        let zone = Settings { stale_while_revalidate_s: 60, ..Settings::default() };
        let none = RequestControl::default();
        assert_eq!(at(&meta(Traits::default()), none, &zone, 69), Lookup::Stale);
        assert_eq!(at(&meta(Traits::default()), none, &zone, 70), STALE);
        assert_eq!(at(&meta(Traits::MUST_REVALIDATE), none, &zone, 11), STALE);
        assert_eq!(at(&meta(Traits::SHARED_REVALIDATE), none, &zone, 11), STALE);
        let zero = Metadata { stale_while_revalidate_s: Some(0), ..meta(Traits::default()) };
        assert_eq!(at(&zero, none, &zone, 11), STALE);
        let said = Metadata { stale_while_revalidate_s: Some(5), ..meta(Traits::SHARED_REVALIDATE) };
        assert_eq!(at(&said, none, &Settings::default(), 14), Lookup::Stale);
        assert_eq!(at(&said, none, &Settings::default(), 15), STALE);
    }

    #[test]
    fn errors_are_bridged_within_the_allowance() {
        let may = |meta: &Metadata, trouble, settings: &Settings, seconds: u64| {
            may_serve_on_error(&Asked::default(), meta, false, trouble, settings, FRESH_MS + seconds * 1000)
        };
        let strict = Settings { stale_if_error_s: 0, ..Settings::default() };
        let said = Metadata { stale_if_error_s: Some(5), ..meta(Traits::default()) };
        for trouble in [OriginTrouble::Unreachable, OriginTrouble::Slow, OriginTrouble::Status(503)] {
            assert!(may(&said, trouble, &strict, 14));
            assert!(!may(&said, trouble, &strict, 15));
        }
        for status in [404, 501, 505, 200, 429] {
            assert!(!may(&said, OriginTrouble::Status(status), &strict, 11));
        }
        let day = Settings::default();
        assert!(may(&meta(Traits::default()), OriginTrouble::Unreachable, &day, 86_409));
        assert!(!may(&meta(Traits::default()), OriginTrouble::Unreachable, &day, 86_410));
        assert!(!may(&meta(Traits::SHARED_REVALIDATE), OriginTrouble::Unreachable, &day, 11));
    }

    #[test]
    fn what_is_fresh_bridges_errors_unless_a_soft_purge_made_it_stale() {
        let may = |traits, is_purged_softly| {
            let strict = Settings { stale_if_error_s: 0, ..Settings::default() };
            let (asked, trouble) = (Asked::default(), OriginTrouble::Status(503));
            may_serve_on_error(&asked, &meta(traits), is_purged_softly, trouble, &strict, FRESH_MS)
        };
        assert!(may(Traits::default(), false) && may(Traits::SHARED_REVALIDATE, false));
        assert!(!may(Traits::default(), true) && !may(Traits::SHARED_REVALIDATE, true));
    }

    #[test]
    fn always_online_serves_what_is_kept_but_not_against_must_revalidate() {
        let online = Settings { always_online: true, ..Settings::default() };
        let may = |traits| {
            let now_ms = FRESH_MS + 1_000_000_000;
            let trouble = OriginTrouble::Unreachable;
            may_serve_on_error(&Asked::default(), &meta(traits), false, trouble, &online, now_ms)
        };
        assert!(may(Traits::default()) && may(Traits::SHARED_REVALIDATE));
        assert!(!may(Traits::MUST_REVALIDATE) && !may(Traits::NO_CACHE));
    }

    #[test]
    fn an_origin_that_just_failed_is_left_alone() {
        let troubled = Metadata { troubled_until_ms: FRESH_MS + 13_000, ..meta(Traits::default()) };
        assert_eq!(plain(&troubled, 11), STALE, "so far ahead it is of another clock");
        assert_eq!(plain(&troubled, 5), Lookup::Fresh);
        assert_eq!(plain(&troubled, 12), Lookup::StaleOnError);
        assert_eq!(plain(&troubled, 13), STALE);
        let strict = Metadata { traits: Traits::MUST_REVALIDATE, ..troubled };
        assert_eq!(plain(&strict, 12), STALE);
    }

    #[test]
    fn validations_that_each_request_needs_are_not_shared() {
        let no_cache = meta(Traits::NO_CACHE);
        assert!(!STALE.may_collapse(Some(&no_cache)));
        assert!(STALE.may_collapse(Some(&meta(Traits::default()))));
        assert!(!REQUEST.may_collapse(Some(&meta(Traits::default()))));
        assert!(Lookup::Miss(Forward::UriMiss).may_collapse(None));
    }
}
