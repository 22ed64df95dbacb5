//! Whether a change does worse than what was there before. Pure: figures in, a judgement out.
//!
//! What is approximated: that two groups of visitors, or the same ones before and after, ask for about the
//! same. A rate must be worse by a factor and by an amount, and in enough cases, since with few requests
//! chance makes any factor. What it costs: a change that makes one small zone fail among much other traffic
//! is not seen by the rates; its owner sees it in the zone's own counters. When it is wrong: a site that
//! breaks at the same moment by itself withdraws a change that was innocent, which can be published again
//! with one word.

use serde::{Deserialize, Serialize};

/// Cases below which a worse rate is taken for chance.
const CASES_MIN: u64 = 5;
/// Share of requests by which a rate of failures must be worse.
const FAILURES_BY: f64 = 0.01;
/// Share of requests by which a rate of refusals must be worse: a stricter zone refuses more on purpose.
const REFUSALS_BY: f64 = 0.10;
/// Factor by which a rate must be worse.
const FACTOR: f64 = 2.0;
/// Factor, and microseconds, by which answers must be slower.
const SLOWER_FACTOR: f64 = 3.0;
const SLOWER_US: f64 = 50_000.0;

/// Counts of a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Of these, answers of 5xx.
    pub(crate) server_errors: u64,
    /// Faults whose cause is this node.
    pub(crate) edge_faults: u64,
    /// Faults whose cause is an origin.
    pub(crate) origin_faults: u64,
    /// Requests refused on purpose.
    pub(crate) refusals: u64,
    /// Panics caught.
    pub(crate) panics: u64,
    /// Sum of all durations, in microseconds.
    pub(crate) duration_us: u64,
}

impl Figures {
    /// What came since earlier figures of the same process.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            server_errors: self.server_errors.saturating_sub(earlier.server_errors),
            edge_faults: self.edge_faults.saturating_sub(earlier.edge_faults),
            origin_faults: self.origin_faults.saturating_sub(earlier.origin_faults),
            refusals: self.refusals.saturating_sub(earlier.refusals),
            panics: self.panics.saturating_sub(earlier.panics),
            duration_us: self.duration_us.saturating_sub(earlier.duration_us),
        }
    }

    /// As a person reads them.
    pub(crate) fn text(&self) -> String {
        let mean_us = self.duration_us.checked_div(self.requests).unwrap_or(0);
        format!(
            "{} requests, {} answers of 5xx, {} faults here, {} at origins, {} refused, mean {}.{} ms",
            self.requests,
            self.server_errors,
            self.edge_faults,
            self.origin_faults,
            self.refusals,
            mean_us / 1000,
            mean_us % 1000 / 100,
        )
    }

    fn rate(&self, cases: u64) -> f64 {
        if self.requests == 0 { 0.0 } else { cases as f64 / self.requests as f64 }
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing speaks against the change.
    Well,
    /// There were too few requests to tell.
    TooFew,
    /// It does worse, and in what.
    Worse(String),
}

/// Compares a change with what was before. `requests_min` is needed of the change; of what was before, half
/// of that.
///
/// A panic or a fault of this node's own counts at once: no amount of traffic makes it right, if before there
/// was none.
pub(crate) fn judge(before: &Figures, change: &Figures, requests_min: u64) -> Judgement {
    if change.panics > before.panics.saturating_mul(2)
        && before.rate(before.panics) < change.rate(change.panics)
    {
        return Judgement::Worse(format!("{} panics in {} requests", change.panics, change.requests));
    }
    let own = [
        ("faults of this node", before.edge_faults, change.edge_faults, FAILURES_BY),
        ("answers of 5xx", before.server_errors, change.server_errors, FAILURES_BY),
        ("faults at origins", before.origin_faults, change.origin_faults, FAILURES_BY),
        ("refusals", before.refusals, change.refusals, REFUSALS_BY),
    ];
    let has_enough = change.requests >= requests_min && before.requests >= requests_min / 2;
    for (what, cases_before, cases, by) in own {
        let (rate_before, rate) = (before.rate(cases_before), change.rate(cases));
        // Half of all failing needs no comparison: it cannot be what was wanted, unless it was so before.
        let is_plain = cases >= CASES_MIN && rate > 0.5 && rate_before < 0.25 && by < REFUSALS_BY;
        let is_worse =
            has_enough && cases >= CASES_MIN && rate > rate_before * FACTOR && rate > rate_before + by;
        if is_plain || is_worse {
            return Judgement::Worse(format!(
                "{what}: {cases} of {} requests, before {cases_before} of {}",
                change.requests, before.requests
            ));
        }
    }
    if !has_enough {
        return Judgement::TooFew;
    }
    let mean = |figures: &Figures| figures.duration_us as f64 / figures.requests.max(1) as f64;
    let (mean_before, mean_now) = (mean(before), mean(change));
    if mean_now > mean_before * SLOWER_FACTOR && mean_now > mean_before + SLOWER_US {
        return Judgement::Worse(format!(
            "answers take {:.0} ms, before {:.0} ms",
            mean_now / 1000.0,
            mean_before / 1000.0
        ));
    }
    Judgement::Well
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64, server_errors: u64) -> Figures {
        Figures { requests, server_errors, duration_us: requests * 1000, ..Figures::default() }
    }

    fn is_worse(before: &Figures, change: &Figures) -> bool {
        matches!(judge(before, change, 100), Judgement::Worse(_))
    }

    #[test]
    fn a_rate_must_be_worse_by_a_factor_and_an_amount_and_in_enough_cases() {
        assert_eq!(judge(&figures(1000, 10), &figures(1000, 10), 100), Judgement::Well);
        assert_eq!(
            judge(&figures(1000, 10), &figures(1000, 21), 100),
            Judgement::Worse("answers of 5xx: 21 of 1000 requests, before 10 of 1000".to_owned())
        );
        assert!(!is_worse(&figures(1000, 300), &figures(1000, 500)), "a site that fails anyway");
        assert!(!is_worse(&figures(1000, 0), &figures(100, 4)), "four cases may be chance");
        assert!(is_worse(&figures(1000, 0), &figures(100, 5)));
    }

    #[test]
    fn with_few_requests_only_what_is_plain_speaks() {
        assert_eq!(judge(&figures(0, 0), &figures(3, 3), 100), Judgement::TooFew);
        assert_eq!(judge(&figures(10, 0), &figures(20, 2), 100), Judgement::TooFew);
        assert!(is_worse(&figures(10, 0), &figures(20, 20)));
        assert!(!is_worse(&figures(10, 10), &figures(20, 20)), "it was so before");
    }

    #[test]
    fn more_refusals_are_allowed_to_a_stricter_zone_up_to_a_tenth() {
        let with = |refusals| Figures { refusals, ..figures(1000, 0) };
        assert!(!is_worse(&with(0), &with(90)));
        assert!(is_worse(&with(0), &with(150)));
        assert!(!is_worse(&with(400), &with(600)));
    }

    #[test]
    fn answers_that_take_three_times_as_long_and_are_felt_are_worse() {
        let taking = |us: u64| Figures { duration_us: us * 1000, ..figures(1000, 0) };
        assert!(!is_worse(&taking(1_000), &taking(20_000)), "not felt");
        assert!(is_worse(&taking(20_000), &taking(90_000)));
        assert!(!is_worse(&taking(60_000), &taking(120_000)));
    }

    #[test]
    fn one_panic_is_enough_where_there_was_none() {
        let change = Figures { panics: 1, ..figures(3, 0) };
        assert!(is_worse(&figures(1000, 0), &change));
        let before = Figures { panics: 10, ..figures(100, 0) };
        assert!(!is_worse(&before, &Figures { panics: 10, ..figures(100, 0) }));
    }
}
