//! How old an answer is when it comes, and how long it is fresh (RFC 9111 §4.2).
//!
//! Called by `storing.rs`. Age while it is stored is [`super::Metadata::age_s`].

use exchange::{Fields, Known};

use super::control::{ResponseControl, Seconds, parse_age};
use super::date::parse_date;
use super::settings::{ErrorAnswers, Lifetime, Settings};
use super::targeted::Targeted;
use super::validator::Validators;
use super::words::{SECONDS_MAX, lines};

/// When a request left and when the head of its answer had come: milliseconds since 1970, by the calendar,
/// since they are compared with the origin's `Date`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchTimes {
    /// `request_time` of RFC 9111 §4.2.3.
    pub asked_ms: u64,
    /// `response_time` of RFC 9111 §4.2.3.
    pub answered_ms: u64,
    /// The same moment as [`Now::unix_ms`](crate::engine::Now::unix_ms) has it: from here on the answer ages.
    pub received_ms: u64,
}

/// `corrected_initial_age` of RFC 9111 §4.2.3: the larger of what `Date` and what `Age` with the time on
/// the way say.
pub fn initial_age_s(answer: &Fields, times: &FetchTimes) -> u32 {
    let date = answer.known(Known::Date).and_then(|date| parse_date(date, times.answered_ms));
    let apparent = date.map_or(0, |date| (times.answered_ms / 1000).saturating_sub(date));
    let delay_s = times.answered_ms.saturating_sub(times.asked_ms) / 1000;
    let corrected = u64::from(parse_age(answer)).saturating_add(delay_s);
    apparent.max(corrected).min(u64::from(SECONDS_MAX)) as u32
}

/// Where a lifetime came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The answer names it: `s-maxage`, `max-age` or `Expires`.
    Answer,
    /// The zone's setting for the status.
    Zone,
    /// Guessed from `Last-Modified`.
    Heuristic,
    /// Nobody names one.
    Nobody,
}

/// For how long an answer is fresh here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds of age; 0 for stale from the start.
    pub lifetime_s: u32,
    /// Who says so.
    pub source: Source,
}

/// The lifetime of an answer, in the order: the zone's word that overrides, the answer's own (RFC 9111
/// §4.2.1), the zone's default, a guess where the zone wants one (§4.2.2).
///
/// With directives of a targeted field, `Expires` says nothing (RFC 9213 §2.2).
pub fn freshness(
    status: u16,
    answer: &Fields,
    control: &ResponseControl,
    targeted: Option<Targeted>,
    settings: &Settings,
    times: &FetchTimes,
) -> Freshness {
    let edge = settings.edge_lifetime(status);
    if let Some(Lifetime::Always(lifetime_s)) = edge {
        return Freshness { lifetime_s, source: Source::Zone };
    }
    if let Some(lifetime_s) = control.lifetime_s() {
        return Freshness { lifetime_s, source: Source::Answer };
    }
    if targeted.is_none()
        && let Some(lifetime_s) = expires_s(answer, times)
    {
        return Freshness { lifetime_s, source: Source::Answer };
    }
    if let Some(Lifetime::Default(lifetime_s)) = edge {
        return Freshness { lifetime_s, source: Source::Zone };
    }
    match heuristic_s(status, answer, control, settings, times) {
        Some(lifetime_s) => Freshness { lifetime_s, source: Source::Heuristic },
        None => Freshness { lifetime_s: 0, source: Source::Nobody },
    }
}

/// `Expires` less `Date` (RFC 9111 §5.3). What is no date is in the past; the first of several lines
/// counts. `Pragma` of an answer says nothing (§5.4).
fn expires_s(answer: &Fields, times: &FetchTimes) -> Option<u32> {
    let line = lines(answer, b"expires").next()?;
    let Some(expires) = parse_date(line, times.answered_ms) else { return Some(0) };
    let date = answer.known(Known::Date).and_then(|date| parse_date(date, times.answered_ms));
    let date = date.unwrap_or(times.answered_ms / 1000);
    Some(expires.saturating_sub(date).min(u64::from(SECONDS_MAX)) as u32)
}

/// Statuses that may be fresh by a guess (RFC 9110 §15.1).
pub fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

fn heuristic_s(
    status: u16,
    answer: &Fields,
    control: &ResponseControl,
    settings: &Settings,
    times: &FetchTimes,
) -> Option<u32> {
    let heuristic = settings.heuristic?;
    // Errors are kept only where somebody told, and a guess is nobody's word.
    let may_guess = (status < 400 || settings.errors == ErrorAnswers::AsOriginSays)
        && (is_heuristically_cacheable(status) || control.public);
    if !may_guess || control.no_cache.is_whole() {
        return None;
    }
    let validators = Validators::of(answer);
    let modified = parse_date(validators.last_modified?, times.answered_ms)?;
    let date = validators.date.and_then(|date| parse_date(date, times.answered_ms));
    let date = date.unwrap_or(times.answered_ms / 1000);
    let since = date.saturating_sub(modified);
    let guess = since.saturating_mul(u64::from(heuristic.percent)) / 100;
    Some(guess.min(u64::from(heuristic.seconds_max)).min(u64::from(SECONDS_MAX)) as u32)
}

/// How long the answer itself lets it be served stale, if it says so readably.
pub(crate) fn stale_s(said: Seconds) -> Option<u32> {
    said.known()
}
