//! What edges died of, until an edge that serves has acted on it.
//!
//! An edge may die before it has read what the one before it died of, or while it sets a zone back: then the
//! next one is told again. Called by [`super::deaths`] and [`super::hearing`].

use rustix::process::Pid;

use crate::control::Killed;

/// How many are kept: what nobody hears is as much as what is remembered of requests that kill.
const KEPT_MAX: usize = 64;

/// What is to be acted on yet, each with the edge that was told of it last.
#[derive(Debug, Default)]
pub(super) struct Unheard(Vec<(Killed, Option<Pid>)>);

impl Unheard {
    /// Keeps these; beyond [`KEPT_MAX`] the oldest are let go, those first that set no zone back.
    pub(super) fn add(&mut self, killed: Vec<Killed>) {
        self.0.extend(killed.into_iter().map(|killed| (killed, None)));
        while self.0.len() > KEPT_MAX {
            let place = self.0.iter().position(|(killed, _)| !killed.sets_back).unwrap_or(0);
            self.0.remove(place);
        }
    }

    /// Gives what this edge was not told of, and notes that it is.
    pub(super) fn tell(&mut self, edge: Pid) -> Vec<Killed> {
        let untold = self.0.iter_mut().filter(|(_, told)| *told != Some(edge));
        untold
            .map(|(killed, told)| {
                *told = Some(edge);
                killed.clone()
            })
            .collect()
    }

    /// Lets go of what was acted on: requests by fingerprint, each with how often it had killed.
    pub(super) fn heard(&mut self, of: &[(u64, u32)]) {
        self.0.retain(|(killed, _)| !of.contains(&(killed.fingerprint, killed.kills)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(fingerprint: u64, sets_back: bool) -> Killed {
        Killed {
            fingerprint,
            zone: [1; 8],
            phase: "route".into(),
            rule: 0,
            is_certain: true,
            kills: 1,
            is_refused: false,
            sets_back,
        }
    }

    fn told(unheard: &mut Unheard, edge: i32) -> Vec<u64> {
        unheard.tell(Pid::from_raw(edge).unwrap()).iter().map(|killed| killed.fingerprint).collect()
    }

    #[test]
    fn each_edge_is_told_once_until_one_has_acted() {
        let mut unheard = Unheard::default();
        unheard.add(vec![killed(1, false)]);
        assert_eq!(told(&mut unheard, 10), [1]);
        assert_eq!(told(&mut unheard, 10), [0; 0]);
        // It died of the next one before it had acted.
        unheard.add(vec![killed(2, true)]);
        assert_eq!(told(&mut unheard, 11), [1, 2]);
        unheard.heard(&[(1, 1), (2, 9)]);
        assert_eq!(told(&mut unheard, 12), [2], "the same request at another death is another matter");
        unheard.heard(&[(2, 1)]);
        assert_eq!(told(&mut unheard, 13), [0; 0]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_sets_a_zone_back_stays() {
        let mut unheard = Unheard::default();
        unheard.add(vec![killed(0, true)]);
        for fingerprint in 1..1_000 {
            unheard.add(vec![killed(fingerprint, false)]);
        }
        let left = told(&mut unheard, 10);
        assert_eq!((left.len(), left[0], left[KEPT_MAX - 1]), (KEPT_MAX, 0, 999));
    }
}
