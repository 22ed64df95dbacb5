//! Whether a change does worse than what was there before. Pure: figures in, a judgement out.
//!
//! What is approximated: that two groups of visitors, or the same ones before and after, ask for about the
//! same. A rate must be worse by a factor and by an amount, and in enough cases, since with few requests
//! chance makes any factor. What it costs: a change that makes one small zone fail among much other traffic
//! is not seen by the rates; its owner sees it in the zone's own counters. When it is wrong: a site that
//! breaks at the same moment by itself withdraws a change that was innocent, which can be published again
//! with one word.

use serde::{Deserialize, Serialize};
use telemetry::metrics::BUCKETS_US;

/// Cases below which a worse rate is taken for chance.
const CASES_MIN: u64 = 5;
/// Share of requests by which a rate of failures must be worse.
const FAILURES_BY: f64 = 0.01;
/// Share of requests by which a rate of refusals must be worse: a stricter zone refuses more on purpose.
const REFUSALS_BY: f64 = 0.10;
/// Factor by which a rate must be worse.
const FACTOR: f64 = 2.0;
/// Factor, and microseconds, by which answers must be slower.
const SLOWER_FACTOR: u64 = 3;
const SLOWER_US: u64 = 50_000;

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
    /// How many took at most as long as each of [`BUCKETS_US`], and last the others.
    pub(crate) durations: [u64; BUCKETS_US.len() + 1],
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
            durations: std::array::from_fn(|bucket| {
                let of = |figures: &Self| figures.durations.get(bucket).copied().unwrap_or(0);
                of(self).saturating_sub(of(earlier))
            }),
        }
    }

    /// As a person reads them.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} requests, {} answers of 5xx, {} faults here, {} at origins, {} refused, half within {} ms",
            self.requests,
            self.server_errors,
            self.edge_faults,
            self.origin_faults,
            self.refusals,
            self.median_us() as f64 / 1000.0,
        )
    }

    /// The bound below which half of the requests stayed, as fine as the buckets are. Not the mean: one
    /// WebSocket that ends after an hour would outweigh a hundred thousand pages.
    fn median_us(&self) -> u64 {
        let all: u64 = self.durations.iter().sum();
        let mut below = 0;
        for (count, bound) in self.durations.iter().zip(BUCKETS_US.iter().chain([&u64::MAX])) {
            below += count;
            if below * 2 >= all {
                return if all == 0 { 0 } else { *bound };
            }
        }
        0
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
        ("faults of this node", before.edge_faults, change.edge_faults, FAILURES_BY, true),
        ("answers of 5xx", before.server_errors, change.server_errors, FAILURES_BY, true),
        ("faults at origins", before.origin_faults, change.origin_faults, FAILURES_BY, true),
        ("refusals", before.refusals, change.refusals, REFUSALS_BY, false),
    ];
    let has_enough = change.requests >= requests_min && before.requests >= requests_min / 2;
    for (what, cases_before, cases, by, is_failure) in own {
        let (rate_before, rate) = (before.rate(cases_before), change.rate(cases));
        // Half of all failing needs no comparison: it cannot be what was wanted, unless it was so before.
        let is_plain = is_failure && cases >= CASES_MIN && rate > 0.5 && rate_before < 0.25;
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
    let (before_us, now_us) = (before.median_us(), change.median_us());
    if now_us > before_us.saturating_mul(SLOWER_FACTOR) && now_us > before_us.saturating_add(SLOWER_US) {
        return Judgement::Worse(format!(
            "half of the answers take over {} ms, before {} ms",
            before_us.saturating_mul(SLOWER_FACTOR) / 1000,
            before_us / 1000
        ));
    }
    Judgement::Well
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64, server_errors: u64) -> Figures {
        let mut durations = [0; BUCKETS_US.len() + 1];
        durations[1] = requests;
        Figures { requests, server_errors, durations, ..Figures::default() }
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
        let taking = |us: u64| {
            let mut durations = [0; BUCKETS_US.len() + 1];
            durations[BUCKETS_US.partition_point(|bound| *bound < us)] = 1000;
            Figures { durations, ..figures(1000, 0) }
        };
        assert!(!is_worse(&taking(1_000), &taking(25_000)), "not felt");
        assert!(is_worse(&taking(25_000), &taking(100_000)));
        assert!(!is_worse(&taking(100_000), &taking(250_000)));
        let mut sockets = taking(1_000);
        sockets.durations[BUCKETS_US.len()] = 900;
        assert!(!is_worse(&taking(1_000), &sockets), "WebSockets that end are no slow pages");
    }

    #[test]
    fn one_panic_is_enough_where_there_was_none() {
        let change = Figures { panics: 1, ..figures(3, 0) };
        assert!(is_worse(&figures(1000, 0), &change));
        let before = Figures { panics: 10, ..figures(100, 0) };
        assert!(!is_worse(&before, &Figures { panics: 10, ..figures(100, 0) }));
    }
}
