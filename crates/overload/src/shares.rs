//! Divides what can be done between those who want it: between zones by weight, within a zone by worth.
//!
//! Pure. Used by `controller.rs`.

use crate::worth::RANKS;

/// What one zone wants of a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Parts of the thread's time; 1.0 is all of it.
    pub wanted: f64,
    /// Its weight among the others; 0 counts as 1.
    pub weight: u32,
}

/// What each zone gets, as parts of what it wants, from 0 to 1.
///
/// The fair share with nothing left unused (max-min, weighted): who wants no more than its share gets all it
/// wants, and what it leaves goes to the others by weight. So a zone that wants much is cut down before any
/// that wants little is touched.
#[must_use]
pub fn divide(wishes: &[Wish], budget: f64) -> Vec<f64> {
    let weight = |wish: &Wish| f64::from(wish.weight.max(1));
    let by_weight = |wish: &Wish| wish.wanted / weight(wish);
    let mut order: Vec<(usize, &Wish)> = wishes.iter().enumerate().collect();
    order.sort_by(|one, other| by_weight(one.1).total_cmp(&by_weight(other.1)));
    let mut left = budget.max(0.0);
    let mut weights: f64 = wishes.iter().map(weight).sum();
    let mut parts = vec![1.0; wishes.len()];
    for (index, wish) in order {
        let share = left * weight(wish) / weights;
        let given = wish.wanted.min(share);
        if let Some(part) = parts.get_mut(index) {
            *part = if wish.wanted > 0.0 { (given / wish.wanted).clamp(0.0, 1.0) } else { 1.0 };
        }
        left -= given;
        weights -= weight(wish);
    }
    parts
}

/// Where a zone's requests are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Ranks below it come in, ranks above it do not.
    pub rank: u8,
    /// Of this rank itself those come in whose place within it is below this.
    pub within: u16,
}

impl Cut {
    /// Everybody comes in.
    pub const NONE: Self = Self { rank: RANKS as u8, within: 0 };

    /// Known visitors alone come in.
    pub const KNOWN: Self = Self { rank: 3, within: 0 };

    /// The one of two that lets fewer in.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        if (other.rank, other.within) < (self.rank, self.within) { other } else { self }
    }

    /// Where to cut so that this part of what came, counted by rank, comes in.
    #[must_use]
    pub fn at(came: &[f64; RANKS], part: f64) -> Self {
        let all: f64 = came.iter().sum();
        let mut left = all * part;
        // A hair below everything is everything: sums of fractions are not exact.
        if part >= 0.999 || all <= 0.0 {
            return Self::NONE;
        }
        for (rank, count) in came.iter().enumerate() {
            if *count > left {
                let within = (left / count * 65_536.0).clamp(0.0, 65_535.0) as u16;
                return Self { rank: rank as u8, within };
            }
            left -= count;
        }
        Self::NONE
    }

    /// Whether a request of this rank and this place within it comes in.
    #[must_use]
    pub fn lets_in(self, rank: u8, within: u16) -> bool {
        rank < self.rank || rank == self.rank && within < self.within
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(wishes: &[(f64, u32)], budget: f64) -> Vec<f64> {
        let wishes: Vec<Wish> =
            wishes.iter().map(|(wanted, weight)| Wish { wanted: *wanted, weight: *weight }).collect();
        let parts = divide(&wishes, budget);
        wishes
            .iter()
            .zip(parts)
            .map(|(wish, part)| (wish.wanted * part * 1_000.0).round() / 1_000.0)
            .collect()
    }

    #[test]
    fn who_wants_little_gets_it_and_the_rest_is_divided_by_weight() {
        assert_eq!(given(&[(50.0, 1), (0.1, 1), (0.2, 1)], 1.0), [0.7, 0.1, 0.2]);
        assert_eq!(given(&[(50.0, 1), (50.0, 1)], 1.0), [0.5, 0.5]);
        assert_eq!(given(&[(50.0, 3), (50.0, 1)], 1.0), [0.75, 0.25]);
        assert_eq!(given(&[(0.3, 1), (0.3, 1)], 1.0), [0.3, 0.3]);
        assert_eq!(given(&[], 1.0), [0.0; 0]);
        assert_eq!(given(&[(0.0, 0), (2.0, 0)], 1.0), [0.0, 1.0]);
    }

    #[test]
    fn a_zone_is_cut_from_its_last_rank_up() {
        let mut came = [0.0; RANKS];
        (came[0], came[3], came[4], came[19]) = (10.0, 40.0, 40.0, 10.0);
        assert_eq!(Cut::at(&came, 1.0), Cut::NONE);
        assert_eq!(Cut::at(&came, 0.95), Cut { rank: 19, within: 32_768 });
        assert_eq!(Cut::at(&came, 0.30), Cut { rank: 3, within: 32_768 });
        assert_eq!(Cut::at(&came, 0.0).rank, 0);
        let cut = Cut::at(&came, 0.30);
        assert!(
            cut.lets_in(0, u16::MAX) && cut.lets_in(3, 0) && !cut.lets_in(3, 40_000) && !cut.lets_in(4, 0)
        );
    }

    proptest! {
        #[test]
        fn nothing_is_left_unused_and_nobody_who_wants_less_gets_a_smaller_part(
            wishes in prop::collection::vec((0.0_f64..20.0, 1_u32..10), 1..40),
            budget in 0.01_f64..2.0,
        ) {
            let wishes: Vec<Wish> =
                wishes.into_iter().map(|(wanted, weight)| Wish { wanted, weight }).collect();
            let parts = divide(&wishes, budget);
            let wanted: f64 = wishes.iter().map(|wish| wish.wanted).sum();
            let given: f64 = wishes.iter().zip(&parts).map(|(wish, part)| wish.wanted * part).sum();
            prop_assert!((given - wanted.min(budget)).abs() < 1e-6, "{given} of {wanted} within {budget}");
            for (one, part) in wishes.iter().zip(&parts) {
                for (other, others) in wishes.iter().zip(&parts) {
                    let by_weight = |wish: &Wish| wish.wanted / f64::from(wish.weight);
                    let (less, more) = (by_weight(one), by_weight(other));
                    prop_assert!(less > more || *part >= *others - 1e-9);
                }
            }
        }

        #[test]
        fn the_part_let_in_is_the_part_asked_for(
            came in prop::array::uniform20(0.0_f64..1_000.0),
            part in 0.0_f64..1.0,
        ) {
            let cut = Cut::at(&came, part);
            let let_in: f64 = came
                .iter()
                .zip(0..)
                .map(|(count, rank)| match rank {
                    rank if rank < cut.rank => *count,
                    rank if rank == cut.rank => count * f64::from(cut.within) / 65_536.0,
                    _ => 0.0,
                })
                .sum();
            let all: f64 = came.iter().sum();
            prop_assert!((let_in - all * part).abs() <= all * 0.002 + 0.05, "{let_in} of {all} for {part}");
        }
    }
}
