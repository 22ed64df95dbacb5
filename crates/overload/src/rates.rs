//! How much each visitor asks of one thread in a second up to now, in fixed memory.
//!
//! Two rows of counters, each found by other bits of the visitor's hash; the smaller of its two is an upper
//! bound of what it asked (a count-min sketch, Cormode and Muthukrishnan 2005). It errs by making a visitor
//! look busier than it is, by about the number of requests over [`CELLS`]: one in some 4,000 a second.
//!
//! A second that is over counts for the part of it that the last second still covers. If each began at
//! nothing, whoever floods would be a stranger like others for its first sixty requests, and these would come
//! in at once, once a second. Used by `controller.rs`, only on a thread that is late.

use crate::known::Visitor;

/// Counters of a row: 16 KiB in all, and as much for the second before.
const CELLS: usize = 4_096;

/// Length of what is counted, in microseconds.
const SECOND_US: u64 = 1_000_000;

/// The counts of one thread.
#[derive(Debug)]
pub(crate) struct Rates {
    rows: [Row; 2],
    second: u64,
}

/// The counters of the running second, and of the one before.
#[derive(Debug)]
struct Row {
    running: Vec<u16>,
    before: Vec<u16>,
}

impl Row {
    fn new() -> Self {
        Self { running: vec![0; CELLS], before: vec![0; CELLS] }
    }
}

impl Rates {
    pub(crate) fn new() -> Self {
        Self { rows: [Row::new(), Row::new()], second: 0 }
    }

    /// Begins anew when a second is over.
    fn turn(&mut self, now_us: u64) {
        let second = now_us / SECOND_US;
        if second == self.second {
            return;
        }
        let follows = second == self.second.wrapping_add(1);
        self.second = second;
        for row in &mut self.rows {
            std::mem::swap(&mut row.running, &mut row.before);
            row.running.fill(0);
            if !follows {
                row.before.fill(0);
            }
        }
    }

    /// Counts so many requests; how many there were of this visitor in the last second, these included, as if
    /// those of the second before had come evenly.
    pub(crate) fn count(&mut self, visitor: Visitor, now_us: u64, requests: u16) -> u32 {
        self.turn(now_us);
        let left_us = SECOND_US - now_us % SECOND_US;
        let places = [visitor.hash as usize % CELLS, (visitor.hash >> 20) as usize % CELLS];
        let mut least = u64::from(u32::MAX);
        for (row, place) in self.rows.iter_mut().zip(places) {
            if let (Some(cell), Some(before)) = (row.running.get_mut(place), row.before.get(place)) {
                *cell = cell.saturating_add(requests);
                least = least.min(u64::from(*cell) + u64::from(*before) * left_us / SECOND_US);
            }
        }
        u32::try_from(least).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn a_visitor_is_counted_for_a_second_and_others_hardly_with_it() {
        let mut rates = Rates::new();
        let visitor = |number: u32| Visitor::of(IpAddr::V4(Ipv4Addr::from(number)), 3);
        let now_us = 5_000_000;
        assert_eq!(
            (1..=100).map(|_| rates.count(visitor(1), now_us, 1)).collect::<Vec<_>>(),
            (1..=100).collect::<Vec<_>>()
        );
        let most = (1_000..5_000).map(|number| rates.count(visitor(number), now_us, 1)).max();
        assert!(most < Some(16), "{most:?}");
        assert!(rates.count(visitor(1), 5_999_999, 1) > 100, "the second is not over");
    }

    #[test]
    fn a_second_that_is_over_fades_and_does_not_end_at_once() {
        let mut rates = Rates::new();
        let visitor = Visitor::of(IpAddr::V4(Ipv4Addr::LOCALHOST), 3);
        (0..1_000).for_each(|_| _ = rates.count(visitor, 5_999_999, 1));
        assert_eq!(rates.count(visitor, 6_000_000, 1), 1_001);
        assert_eq!(rates.count(visitor, 6_500_000, 1), 502);
        assert_eq!(rates.count(visitor, 6_999_999, 1), 3);
        assert_eq!(rates.count(visitor, 7_000_000, 1), 4);
        assert_eq!(rates.count(visitor, 9_000_000, 1), 1, "it was away for a second and more");
    }
}
