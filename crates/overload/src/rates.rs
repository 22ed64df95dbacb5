//! How much each visitor asks of one thread in the running second, in fixed memory.
//!
//! Two rows of counters, each found by other bits of the visitor's hash; the smaller of its two is an upper
//! bound of what it asked (a count-min sketch, Cormode and Muthukrishnan 2005). It errs by making a visitor
//! look busier than it is, by about the number of requests over [`CELLS`]: one in some 4,000 a second. Used
//! by `controller.rs`, only on a thread that is late.

use crate::known::Visitor;

/// Counters of a row: 16 KiB in all.
const CELLS: usize = 4_096;

/// Length of what is counted, in microseconds.
const SECOND_US: u64 = 1_000_000;

/// The counts of one thread.
#[derive(Debug)]
pub(crate) struct Rates {
    rows: [Vec<u16>; 2],
    second: u64,
}

impl Rates {
    pub(crate) fn new() -> Self {
        Self { rows: [vec![0; CELLS], vec![0; CELLS]], second: 0 }
    }

    /// Begins anew when a second is over.
    pub(crate) fn turn(&mut self, now_us: u64) {
        let second = now_us / SECOND_US;
        if second != self.second {
            self.second = second;
            self.rows.iter_mut().for_each(|row| row.fill(0));
        }
    }

    /// Counts a request; how many there were of this visitor in this second, this one included.
    pub(crate) fn count(&mut self, visitor: Visitor) -> u32 {
        let places = [visitor.0 as usize % CELLS, (visitor.0 >> 20) as usize % CELLS];
        let mut least = u16::MAX;
        for (row, place) in self.rows.iter_mut().zip(places) {
            if let Some(cell) = row.get_mut(place) {
                *cell = cell.saturating_add(1);
                least = least.min(*cell);
            }
        }
        u32::from(least)
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
        rates.turn(5_000_000);
        assert_eq!(
            (1..=100).map(|_| rates.count(visitor(1))).collect::<Vec<_>>(),
            (1..=100).collect::<Vec<_>>()
        );
        let most = (1_000..5_000).map(|number| rates.count(visitor(number))).max();
        assert!(most < Some(16), "{most:?}");
        rates.turn(5_999_999);
        assert!(rates.count(visitor(1)) > 100, "the second is not over");
        rates.turn(6_000_000);
        assert_eq!(rates.count(visitor(1)), 1);
    }
}
