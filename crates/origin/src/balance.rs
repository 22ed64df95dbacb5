//! Choosing one of several origins: pure functions over a list of candidates.
//!
//! What it does not do: it knows no health, no cookies and no sockets; the caller lists only what may be
//! chosen. Draws come from the [`Cursor`], which is seeded, so that a test gives the same answer each time.
//! Called by `choose.rs`. Read next: `health.rs`.

/// One origin that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the pool.
    pub index: usize,
    /// Its share, at least 1, in any unit that all candidates have in common (slow start scales it down).
    pub weight: u32,
    /// Exchanges it is working on, over the whole node.
    pub in_flight: u32,
    /// A number that stays the same as long as the origin's id does.
    pub key: u64,
}

/// What a thread remembers of a pool between two choices.
///
/// One per thread: threads do not coordinate, so the order is exact per thread and even over all of them.
/// The seed staggers them, so that the first request of each does not go to the same origin.
#[derive(Clone, Debug)]
pub struct Cursor {
    current: Vec<i64>,
    random: u64,
}

/// SplitMix64's finaliser: spreads every input bit over the output.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Cursor {
    /// A cursor at the start of its sequence.
    pub fn new(seed: u64) -> Self {
        Self { current: Vec::new(), random: seed }
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// A number below `bound`; 0 for a bound of 0. Its bias is under 2⁻³², far below what traffic shows.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }
}

/// Smooth weighted round robin: each candidate gains its weight, the richest is taken and pays the total.
///
/// Weights 5, 1, 1 give a b a c a a a and not a a a a a b c. Linear in the number of candidates.
pub fn round_robin(candidates: &[Candidate], cursor: &mut Cursor) -> Option<usize> {
    if let [only] = candidates {
        return Some(only.index);
    }
    let len = candidates.iter().map(|candidate| candidate.index + 1).max()?;
    while cursor.current.len() < len {
        // A first credit below one weight: enough to stagger the threads, paid back within a round.
        let credit = cursor.below(1 << 8) as i64;
        cursor.current.push(credit);
    }
    let mut total = 0_i64;
    let mut best: Option<(i64, usize)> = None;
    for candidate in candidates {
        let Some(current) = cursor.current.get_mut(candidate.index) else { continue };
        let weight = i64::from(candidate.weight.max(1)) << 8;
        total += weight;
        *current += weight;
        if best.is_none_or(|(credit, _)| *current > credit) {
            best = Some((*current, candidate.index));
        }
    }
    let (_, index) = best?;
    if let Some(current) = cursor.current.get_mut(index) {
        // One that was long away must not come back with years of debt or credit.
        *current = (*current - total).clamp(-total, total);
    }
    Some(index)
}

/// One at random, by weight.
pub fn random(candidates: &[Candidate], cursor: &mut Cursor) -> Option<usize> {
    let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight.max(1))).sum();
    let mut at = cursor.below(total);
    for candidate in candidates {
        let weight = u64::from(candidate.weight.max(1));
        if at < weight {
            return Some(candidate.index);
        }
        at -= weight;
    }
    None
}

/// Of two drawn by weight, the one with fewer exchanges in flight for its weight.
///
/// Looking at two only costs little and avoids the herd that follows when every thread sees the same
/// emptiest origin (Mitzenmacher, "The Power of Two Choices", 2001).
pub fn least_connections(candidates: &[Candidate], cursor: &mut Cursor) -> Option<usize> {
    let first = random(candidates, cursor)?;
    if candidates.len() == 1 {
        return Some(first);
    }
    let total: u64 = candidates.iter().filter(|c| c.index != first).map(|c| u64::from(c.weight.max(1))).sum();
    let mut at = cursor.below(total);
    let mut second = first;
    for candidate in candidates.iter().filter(|candidate| candidate.index != first) {
        let weight = u64::from(candidate.weight.max(1));
        if at < weight {
            second = candidate.index;
            break;
        }
        at -= weight;
    }
    let find = |index| candidates.iter().find(|candidate| candidate.index == index);
    let (a, b) = (find(first)?, find(second)?);
    // (in flight + 1) / weight, compared without a division: the one more is the request at hand.
    let load =
        |one: &Candidate, other: &Candidate| (u64::from(one.in_flight) + 1) * u64::from(other.weight.max(1));
    Some(if load(b, a) < load(a, b) { second } else { first })
}

/// How far above the mean a candidate may be loaded before a key moves on, in percent.
const BOUND_PERCENT: u64 = 125;

/// Requests in flight that never move a key on, however little the others have to do: at light load a key's
/// requests may well overlap, and they belong together (a session, a cache).
const BOUND_LEAST: u128 = 16;

/// Consistent hashing with bounded load: highest random weight (Thaler and Ravishankar, 1998), with the
/// bound of Mirrokni, Thorup and Zadimoghaddam (2016).
///
/// Each key ranks all candidates; adding or taking away one of n moves 1/n of the keys. A candidate that
/// works on more than 125 % of its share of what is in flight (and on at least 16) is passed over, so that
/// one hot key cannot drown one origin. Linear in the number of candidates, about 10 ns each; no table to
/// rebuild.
pub fn hash(candidates: &[Candidate], key: u64) -> Option<usize> {
    let in_flight: u64 = candidates.iter().map(|c| u64::from(c.in_flight)).sum::<u64>() + 1;
    let total: u64 = candidates.iter().map(|c| u64::from(c.weight.max(1))).sum();
    let mut best: Option<(f64, usize)> = None;
    let mut best_within: Option<(f64, usize)> = None;
    for candidate in candidates {
        let weight = u64::from(candidate.weight.max(1));
        // A number in (0, 1], from the upper 53 bits; -weight / ln gives shares exactly by weight.
        let drawn = ((mix(key ^ mix(candidate.key)) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let rank = weight as f64 / -drawn.ln().min(-f64::MIN_POSITIVE);
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, candidate.index));
        }
        // in_flight + 1 <= ceil(1.25 * all * weight / total)
        let share = u128::from(in_flight * BOUND_PERCENT) * u128::from(weight);
        let bound = share.div_ceil(100 * u128::from(total)).max(BOUND_LEAST);
        if u128::from(candidate.in_flight) < bound && best_within.is_none_or(|(known, _)| rank > known) {
            best_within = Some((rank, candidate.index));
        }
    }
    best_within.or(best).map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let make = |(index, &weight): (usize, &u32)| Candidate {
            index,
            weight,
            in_flight: 0,
            key: mix(index as u64 + 77),
        };
        weights.iter().enumerate().map(make).collect()
    }

    fn shares(list: &[Candidate], rounds: usize, mut pick: impl FnMut(usize) -> Option<usize>) -> Vec<usize> {
        let mut counts = vec![0; list.iter().map(|c| c.index + 1).max().unwrap_or(0)];
        for round in 0..rounds {
            counts[pick(round).expect("there are candidates")] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact_by_weight_and_smooth() {
        let list = candidates(&[5, 1, 1]);
        let mut cursor = Cursor::new(1);
        let order: Vec<_> = (0..7000).map(|_| round_robin(&list, &mut cursor).expect("some")).collect();
        let counts = shares(&list, 7000, |round| order.get(round).copied());
        assert!(
            counts.iter().zip([5000, 1000, 1000]).all(|(&got, want)| got.abs_diff(want) <= 2),
            "{counts:?}"
        );
        let longest = order.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest <= Some(5), "smooth: {longest:?} in a row");
        for window in order[7..].windows(7) {
            assert!(window.iter().filter(|&&index| index == 0).count() >= 4, "{window:?}");
        }
    }

    #[test]
    fn round_robin_forgives_an_absence() {
        let list = candidates(&[1, 1]);
        let mut cursor = Cursor::new(3);
        for _ in 0..10_000 {
            round_robin(&list[..1], &mut cursor);
        }
        let counts = shares(&list, 100, |_| round_robin(&list, &mut cursor));
        assert!(counts[0].abs_diff(50) <= 2, "{counts:?}");
    }

    #[test]
    fn threads_do_not_all_begin_with_the_same_origin() {
        let list = candidates(&[1; 8]);
        let firsts: std::collections::HashSet<_> =
            (0..64).map(|seed| round_robin(&list, &mut Cursor::new(mix(seed)))).collect();
        assert!(firsts.len() >= 4, "{firsts:?}");
    }

    #[test]
    fn random_follows_weights() {
        let list = candidates(&[3, 1]);
        let mut cursor = Cursor::new(9);
        let counts = shares(&list, 40_000, |_| random(&list, &mut cursor));
        assert!(counts[0].abs_diff(30_000) < 600, "{counts:?}");
    }

    #[test]
    fn least_connections_avoids_the_loaded_one() {
        let mut list = candidates(&[1, 1, 1]);
        list[1].in_flight = 50;
        let mut cursor = Cursor::new(5);
        let counts = shares(&list, 9_000, |_| least_connections(&list, &mut cursor));
        assert_eq!(counts[1], 0, "any other wins against it");
        let mut two = candidates(&[10, 1]);
        two[0].in_flight = 5; // 6/10 against 1/1
        assert_eq!(least_connections(&two, &mut cursor), Some(0), "load counts per weight");
    }

    #[test]
    fn hashing_moves_only_the_keys_of_the_origin_that_left() {
        let list = candidates(&[1; 10]);
        let less: Vec<_> = list.iter().copied().filter(|candidate| candidate.index != 4).collect();
        let mut moved = 0;
        for key in 0..10_000 {
            let (before, after) = (hash(&list, mix(key)), hash(&less, mix(key)));
            if before == Some(4) {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!((800..1200).contains(&moved), "{moved}");
    }

    #[test]
    fn hashing_follows_weights() {
        let list = candidates(&[3, 1]);
        let counts = shares(&list, 20_000, |round| hash(&list, mix(round as u64)));
        assert!(counts[0].abs_diff(15_000) < 500, "{counts:?}");
    }

    #[test]
    fn a_hot_key_spills_over_when_its_origin_is_loaded() {
        let mut list = candidates(&[1; 4]);
        let home = hash(&list, 42).expect("some");
        let mut load = [0_u32; 4];
        for _ in 0..400 {
            let index = hash(&list, 42).expect("some");
            load[index] += 1;
            list[index].in_flight += 1;
        }
        assert!(load[home] >= 100 && load[home] <= 130, "{load:?}");
        assert_eq!(load.iter().sum::<u32>(), 400);
    }

    #[test]
    fn nothing_to_choose_from_is_none() {
        let mut cursor = Cursor::new(0);
        assert_eq!(round_robin(&[], &mut cursor), None);
        assert_eq!(random(&[], &mut cursor), None);
        assert_eq!(least_connections(&[], &mut cursor), None);
        assert_eq!(hash(&[], 1), None);
    }

    proptest::proptest! {
        #[test]
        fn whoever_is_chosen_was_a_candidate(
            parts in proptest::collection::vec((0_usize..64, 0_u32.., 0_u32..), 1..20),
            seed in 0_u64..,
        ) {
            let list: Vec<_> = parts
                .iter()
                .map(|&(index, weight, in_flight)| {
                    let key = mix(index as u64);
                    Candidate { index, weight, in_flight, key }
                })
                .collect();
            let mut cursor = Cursor::new(seed);
            let chosen = [
                round_robin(&list, &mut cursor),
                random(&list, &mut cursor),
                least_connections(&list, &mut cursor),
                hash(&list, seed),
            ];
            for index in chosen {
                proptest::prop_assert!(list.iter().any(|candidate| Some(candidate.index) == index));
            }
        }
    }
}
