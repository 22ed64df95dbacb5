//! What edges died of after it had become the last good one: withdrawn once the generation that was walked
//! back to has lived as long as a change is watched.
//!
//! Until then nothing is decided, since deaths that come soon may have another cause; the supervisor's walk
//! over the kept generations stands where it is. Called by [`super::publisher`]; whoever begins with an older
//! generation is told so by `supervisor/walk.rs`.

use std::time::{Duration, Instant};

use anyhow::Result;
use zone::Bundle;

use super::hex;
use super::publisher::Publisher;
use crate::clock;
use crate::control::{Begin, LONG_LIFE};
use crate::generations::Generation;

/// Generations that edges before this one died of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalkedBack {
    /// Those that were tried before what serves now.
    from: Vec<Generation>,
    /// What serves.
    to: u64,
    /// When it has lived long enough to be the last good one.
    until: Instant,
}

impl Publisher {
    /// Notes what was walked back from, if this edge was told to begin with an older generation.
    pub(super) fn walk_back_from(&self, serves: u64) -> Option<WalkedBack> {
        let Begin::Kept { skip } = self.setup.begin else { return None };
        let generations = &self.setup.generations;
        // Nobody died of what nobody could use: a newer binary may not read what an older one serves again.
        let unusable = generations.told();
        let killed =
            |generation: &Generation| generation.number > serves && !unusable.contains(&generation.number);
        let from: Vec<Generation> = generations.to_try().into_iter().take(skip).filter(killed).collect();
        let soak = Duration::from_millis(self.setup.running.stages.soak_ms);
        let until = clock::now() + if soak.is_zero() { LONG_LIFE } else { soak };
        (!from.is_empty()).then_some(WalkedBack { from, to: serves, until })
    }

    /// Withdraws what was walked back from, when what serves instead has lived; lets it be when something
    /// else serves meanwhile.
    pub(super) fn look_at_walk_back(&mut self, now: Instant) {
        let Some(walked) = self.walked_back.take() else { return };
        if self.setup.node.live().snapshot.number != walked.to {
            return;
        }
        if now < walked.until {
            self.walked_back = Some(walked);
            return;
        }
        // Whatever dies from here on, what lived is begun with.
        let Some(lived) = self.setup.generations.numbered(walked.to) else { return };
        if let Err(error) = self.setup.generations.set_last_good(&lived) {
            // Without another last good one, what killed may not go.
            return self.not_kept(&error);
        }
        for generation in &walked.from {
            let why = "edges that served it died, and what was before it lives";
            match self.hash_of(generation) {
                Ok(hash) => self.reject(hash, generation.number, why),
                Err(error) => self.not_kept(&error),
            }
            if let Err(error) = self.setup.generations.discard(generation) {
                self.not_kept(&error);
            }
            self.setup.node.forget_stored_under(generation.number);
            self.tell_withdrawn(generation.number, walked.to, why);
        }
        self.make_good(walked.to);
    }

    fn hash_of(&self, generation: &Generation) -> Result<String> {
        Ok(hex(&Bundle::from_bytes(&self.setup.generations.read(generation)?)?.hash()))
    }
}
