//! The health of one origin: a state machine over check results and over how real exchanges went.
//!
//! Two judges, kept apart. Active checks take an origin out after `unhealthy_after` failures in a row and
//! back in after `healthy_after` successes. Real exchanges eject an origin for a while after some failures
//! in a row, in favour of others; each ejection that follows soon after the last is longer. And they open its
//! *circuit* once most of what it is asked fails: then nobody is sent there, not even for want of others, so
//! that visitors need not wait for what fails and the origin gets up again. Whoever was ejected, or has an
//! open circuit, comes back *on trial*: one exchange at a time, until one is answered. Whoever comes back
//! gets its full share only after `slow_start_ms`.
//!
//! What it does not do: it reads no clock, makes no connection, and does not know the other origins of the
//! pool; the caller says whether one more ejection is within the pool's limit. Called by `fleet.rs` and
//! `probe.rs`. Read next: `fleet.rs`.

use crate::balance::mix;

/// What the pool's settings say about health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Successful checks in a row that bring an origin back.
    pub healthy_after: u32,
    /// Failed checks in a row that take an origin out.
    pub unhealthy_after: u32,
    /// Failed exchanges in a row that eject an origin; 0 switches ejection off.
    pub failures_max: u32,
    /// Length of a first ejection, in milliseconds.
    pub ejection_ms: u64,
    /// Time from coming back to the full share, in milliseconds; 0 gives it at once.
    pub slow_start_ms: u64,
}

/// Ejections grow by doubling, up to this factor: 10 s become 160 s at most, so that a repaired origin is
/// not forgotten.
pub const EJECTION_FACTOR_MAX: u64 = 16;

/// An ejection grows only if the last one ended less than this many base lengths ago.
pub const EJECTION_MEMORY: u64 = 10;

/// The share an origin starts with after coming back, in thousandths: enough to be seen to work.
pub const SHARE_START: u32 = 100;

/// How long a circuit is open before an exchange tries, again and again, in milliseconds. Nobody else answers
/// meanwhile: long enough for an origin to take breath. One exchange a second harms nobody, so that it does
/// not grow, and an origin that is back serves within a second.
pub const OPEN_MS: u64 = 1_000;

/// Exchanges in ten seconds at the least for a circuit to open: of fewer that fail each visitor is told what
/// failed, and the origin hardly notices them.
pub const EVIDENCE_MIN: u64 = 20;

/// What changed by an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Checks found it well again.
    Recovered,
    /// Checks found it unwell.
    Failed,
    /// Real exchanges had it ejected.
    Ejected,
    /// Most of what it was asked failed: nobody is sent there.
    Opened,
    /// An exchange on trial was answered: it serves again.
    Closed,
    /// Its answers take longer the more wait for it: how many may is limited.
    Limited,
    /// It is limited no more.
    Unlimited,
}

/// What a choice needs to know: small, copied, comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the checks let it serve. An origin that was never checked is.
    pub is_up: bool,
    /// Ejected before this time, in milliseconds; 0 if never.
    pub ejected_until_ms: u64,
    /// When it last came back, by checks or at the end of an ejection; 0 if it was never away.
    pub back_since_ms: u64,
    /// Once it is no longer ejected, one exchange at a time, until one is answered.
    pub is_on_trial: bool,
    /// Its circuit is open, until the same time: not even for want of others is anybody sent there.
    pub is_open: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self { is_up: true, ejected_until_ms: 0, back_since_ms: 0, is_on_trial: false, is_open: false }
    }
}

impl Standing {
    /// Whether it may be chosen in the ordinary way.
    pub fn may_serve(self, now_ms: u64) -> bool {
        self.is_up && now_ms >= self.ejected_until_ms
    }

    /// Whether it is ejected now.
    pub fn is_ejected(self, now_ms: u64) -> bool {
        now_ms < self.ejected_until_ms
    }

    /// Its share in thousandths of its weight: a straight ramp from a tenth to all of it.
    pub fn share(self, slow_start_ms: u64, now_ms: u64) -> u32 {
        if self.back_since_ms == 0 || slow_start_ms == 0 {
            return 1000;
        }
        let passed = now_ms.saturating_sub(self.back_since_ms).min(slow_start_ms);
        SHARE_START + (u64::from(1000 - SHARE_START) * passed / slow_start_ms) as u32
    }
}

/// The health of one origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    standing: Standing,
    /// Check results in a row that speak against the present state.
    against: u32,
    failures: u32,
    ejections: u32,
    checks: u64,
    /// When it was last left out, by an ejection or by its circuit; 0 if never.
    left_out_ms: u64,
}

impl Health {
    /// That of an origin which is new in a pool: it comes back now, and gets its share slowly.
    pub fn new_at(now_ms: u64) -> Self {
        let standing = Standing { back_since_ms: now_ms.max(1), ..Standing::default() };
        Self { standing, ..Self::default() }
    }

    /// What a choice needs to know.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Failed exchanges in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes in the result of an active check.
    pub fn checked(&mut self, is_well: bool, policy: &Policy, now_ms: u64) -> Option<Change> {
        self.checks += 1;
        if is_well == self.standing.is_up {
            self.against = 0;
            if is_well && self.standing.is_open {
                // A good answer to a check is a reason to try at once.
                self.standing.ejected_until_ms = self.standing.ejected_until_ms.min(now_ms);
            }
            return None;
        }
        self.against += 1;
        let needed = if is_well { policy.healthy_after } else { policy.unhealthy_after };
        if self.against < needed.max(1) {
            return None;
        }
        self.against = 0;
        self.standing.is_up = is_well;
        if is_well {
            // What visitors saw before the recovery says nothing about now.
            self.failures = 0;
            self.standing.ejected_until_ms = self.standing.ejected_until_ms.min(now_ms);
            self.standing.back_since_ms = now_ms.max(1);
            Some(Change::Recovered)
        } else {
            Some(Change::Failed)
        }
    }

    /// Whether an exchange chosen at this time was sent before the origin was last left out: how it ends
    /// says nothing of the origin since. A host that vanished fails such exchanges for as long as their
    /// time-outs are, one after the other, however soon it is back.
    pub fn is_from_before(&self, chosen_ms: u64) -> bool {
        chosen_ms < self.left_out_ms
    }

    /// Takes in an exchange that the origin answered. The one on trial ends the trial; so does any that was
    /// chosen since it may serve again, and none that was chosen before.
    pub fn succeeded(&mut self, chosen_ms: u64, is_trial: bool, now_ms: u64) -> Option<Change> {
        self.failures = 0;
        let counts = is_trial || !self.standing.is_ejected(chosen_ms);
        if !self.standing.is_on_trial || !counts {
            return None;
        }
        self.standing.is_on_trial = false;
        self.standing.back_since_ms = now_ms.max(1);
        std::mem::take(&mut self.standing.is_open).then_some(Change::Closed)
    }

    /// Most of what it was asked has failed: opens its circuit.
    pub fn open(&mut self, now_ms: u64) -> Option<Change> {
        if self.standing.is_open {
            return None;
        }
        self.standing.is_open = true;
        self.left_out_ms = now_ms;
        self.stay_open(now_ms);
        Some(Change::Opened)
    }

    fn stay_open(&mut self, now_ms: u64) {
        self.standing.ejected_until_ms = now_ms.saturating_add(OPEN_MS);
        self.standing.is_on_trial = true;
        self.failures = 0;
    }

    /// Takes in an exchange that the origin failed. `may_eject` says whether one more ejection is within
    /// the pool's limit; failures count on without it, so that it is ejected once there is room.
    pub fn failed(
        &mut self,
        chosen_ms: u64,
        may_eject: bool,
        policy: &Policy,
        now_ms: u64,
    ) -> Option<Change> {
        // Of exchanges begun before it was left out, or made meanwhile for want of others.
        if self.standing.is_ejected(now_ms) || self.standing.is_ejected(chosen_ms) {
            return None;
        }
        if self.standing.is_open {
            self.stay_open(now_ms);
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let is_enough = self.failures >= policy.failures_max || self.standing.is_on_trial;
        if policy.failures_max == 0 || !is_enough || !may_eject {
            return None;
        }
        let memory = policy.ejection_ms.saturating_mul(EJECTION_MEMORY);
        let since = now_ms.saturating_sub(self.standing.ejected_until_ms);
        let is_again = self.standing.ejected_until_ms > 0 && since < memory;
        self.ejections = if is_again { self.ejections + 1 } else { 0 };
        let factor = (1_u64 << self.ejections.min(32)).min(EJECTION_FACTOR_MAX);
        self.standing.ejected_until_ms = now_ms.saturating_add(policy.ejection_ms.saturating_mul(factor));
        self.standing.back_since_ms = self.standing.ejected_until_ms;
        self.standing.is_on_trial = true;
        self.left_out_ms = now_ms;
        self.failures = 0;
        Some(Change::Ejected)
    }

    /// Puts it back to never checked and never failed: its checks were taken out of the settings.
    pub fn forget_checks(&mut self) {
        self.standing.is_up = true;
        self.against = 0;
    }

    /// When the next check is due: one interval on, give or take a tenth, so that the checks of many origins
    /// and many nodes spread by themselves. The first is due within one interval and within a second.
    pub fn next_check_ms(&self, interval_ms: u64, seed: u64, now_ms: u64) -> u64 {
        let interval_ms = interval_ms.max(1);
        let draw = mix(seed ^ mix(self.checks.wrapping_add(1)));
        if self.checks == 0 {
            return now_ms + draw % interval_ms.min(1000);
        }
        let tenth = interval_ms / 10;
        now_ms + interval_ms - tenth + draw % (2 * tenth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        healthy_after: 2,
        unhealthy_after: 3,
        failures_max: 5,
        ejection_ms: 10_000,
        slow_start_ms: 1000,
    };

    /// An exchange that fails at once.
    fn failed(health: &mut Health, may_eject: bool, policy: &Policy, now_ms: u64) -> Option<Change> {
        health.failed(now_ms, may_eject, policy, now_ms)
    }

    /// One that is answered at once, and is not on trial.
    fn succeeded(health: &mut Health, now_ms: u64) -> Option<Change> {
        health.succeeded(now_ms, false, now_ms)
    }

    #[test]
    fn checks_take_it_out_and_bring_it_back() {
        let mut health = Health::default();
        let mut results = Vec::new();
        for (at, is_well) in
            [false, false, true, false, false, false, true, false, true, true].iter().enumerate()
        {
            results.push(health.checked(*is_well, &POLICY, at as u64));
        }
        let mut expected = vec![None; 10];
        expected[5] = Some(Change::Failed);
        expected[9] = Some(Change::Recovered);
        assert_eq!(results, expected);
        assert!(health.standing().may_serve(9));
    }

    #[test]
    fn who_comes_back_is_given_a_growing_share() {
        let mut health = Health::default();
        assert_eq!(health.standing().share(1000, 5), 1000, "never away");
        for _ in 0..3 {
            health.checked(false, &POLICY, 10);
        }
        health.checked(true, &POLICY, 20);
        health.checked(true, &POLICY, 100);
        let share = |now| health.standing().share(1000, now);
        assert_eq!((share(100), share(600), share(1100), share(9999)), (100, 550, 1000, 1000));
        assert_eq!(health.standing().share(0, 100), 1000, "slow start switched off");
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time() {
        let mut health = Health::default();
        let mut now = 1000;
        let mut lengths = Vec::new();
        for _ in 0..7 {
            while failed(&mut health, true, &POLICY, now).is_none() {}
            lengths.push((health.standing().ejected_until_ms - now) / 1000);
            now = health.standing().ejected_until_ms;
            assert!(!health.standing().may_serve(now - 1) && health.standing().may_serve(now));
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 160, 160]);
        now += 200_000;
        while failed(&mut health, true, &POLICY, now).is_none() {}
        assert_eq!(health.standing().ejected_until_ms - now, 10_000, "long ago is forgotten");
    }

    #[test]
    fn a_success_between_failures_and_the_pools_limit_keep_it_in() {
        let mut health = Health::default();
        for _ in 0..100 {
            assert_eq!((0..4).find_map(|_| failed(&mut health, true, &POLICY, 1)), None);
            succeeded(&mut health, 1);
        }
        assert_eq!((0..50).find_map(|_| failed(&mut health, false, &POLICY, 1)), None);
        assert_eq!(failed(&mut health, true, &POLICY, 1), Some(Change::Ejected), "as soon as there is room");
        let never = Policy { failures_max: 0, ..POLICY };
        assert_eq!((0..50).find_map(|_| failed(&mut Health::default(), true, &never, 1)), None);
    }

    #[test]
    fn one_failure_on_trial_ejects_again_and_one_answer_ends_the_trial() {
        let mut health = Health::default();
        while failed(&mut health, true, &POLICY, 1_000).is_none() {}
        assert!(health.standing().is_on_trial);
        assert_eq!(succeeded(&mut health, 5_000), None, "of an exchange begun before");
        assert!(health.standing().is_on_trial);
        assert_eq!(failed(&mut health, true, &POLICY, 11_000), Some(Change::Ejected));
        assert_eq!(health.standing().ejected_until_ms, 31_000);
        assert_eq!(succeeded(&mut health, 31_000), None);
        assert!(!health.standing().is_on_trial && health.standing().may_serve(31_000));
        assert_eq!(health.standing().share(1_000, 31_000), SHARE_START, "it starts slowly");
    }

    /// A host that vanishes fails what it was asked before for as long as their time-outs are.
    #[test]
    fn what_was_asked_before_neither_keeps_it_out_nor_brings_it_back() {
        let mut health = Health::default();
        health.open(1_000);
        let mut now_ms = 2_000;
        for asked_ms in 0..1_000 {
            now_ms += 10;
            assert!(health.is_from_before(asked_ms));
            assert_eq!(health.failed(asked_ms, true, &POLICY, now_ms), None);
            assert_eq!(health.succeeded(asked_ms, false, now_ms), None);
        }
        assert!(health.standing().is_open && health.standing().may_serve(2_000), "it is still to be tried");
        assert_eq!(health.failed(now_ms, true, &POLICY, now_ms), None, "a trial");
        let until_ms = health.standing().ejected_until_ms;
        assert_eq!(until_ms, now_ms + OPEN_MS);
        let closed = health.succeeded(until_ms - 1, true, until_ms - 1);
        assert_eq!(closed, Some(Change::Closed), "a second trial, begun when the first took long");
        let mut ejected = Health::default();
        while failed(&mut ejected, true, &POLICY, 1_000).is_none() {}
        assert_eq!(ejected.failed(900, true, &POLICY, 20_000), None);
        assert!(ejected.standing().may_serve(20_000), "an ejection that is over stays over");
        assert_eq!(
            failed(&mut ejected, true, &POLICY, 20_000),
            Some(Change::Ejected),
            "unless it fails anew"
        );
    }

    #[test]
    fn a_new_one_starts_slowly_whatever_its_first_check_says() {
        let mut health = Health::new_at(5_000);
        assert_eq!(health.checked(true, &POLICY, 5_100), None);
        assert_eq!(health.standing().share(1_000, 5_100), SHARE_START + 90);
    }

    #[test]
    fn an_open_circuit_is_tried_each_second_and_closed_by_an_answer() {
        let mut health = Health::default();
        assert_eq!(health.open(1_000), Some(Change::Opened));
        assert_eq!(health.open(1_000), None, "once an episode");
        let mut lengths = Vec::new();
        let mut now_ms = 1_000;
        for _ in 0..5 {
            let until_ms = health.standing().ejected_until_ms;
            lengths.push(until_ms - now_ms);
            assert!(health.standing().is_open && !health.standing().may_serve(until_ms - 1));
            assert_eq!(failed(&mut health, false, &POLICY, until_ms - 1), None, "begun before");
            now_ms = until_ms;
            assert_eq!(failed(&mut health, false, &POLICY, now_ms), None);
        }
        assert_eq!(lengths, [OPEN_MS; 5]);
        assert_eq!(succeeded(&mut health, now_ms), None, "begun before");
        assert_eq!(health.checked(true, &POLICY, now_ms + 5), None);
        assert!(health.standing().may_serve(now_ms + 5), "a good check is a reason to try at once");
        assert_eq!(succeeded(&mut health, now_ms + 6), Some(Change::Closed));
        assert!(!health.standing().is_open && !health.standing().is_on_trial);
        assert_eq!(succeeded(&mut health, now_ms + 7), None);
    }

    #[test]
    fn checks_spread_around_their_interval() {
        let mut health = Health::default();
        assert!((0..64).all(|seed| health.next_check_ms(2000, seed, 50) < 1050));
        health.checked(true, &POLICY, 0);
        let times: std::collections::HashSet<_> =
            (0..64).map(|seed| health.next_check_ms(2000, mix(seed), 0)).collect();
        assert!(times.len() > 32 && times.iter().all(|at| (1800..=2200).contains(at)), "{times:?}");
    }
}
