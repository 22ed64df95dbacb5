//! `@fuzzyHash` in pieces: values are hashed and compared before their rule is evaluated, a slice at a time.
//!
//! A long value, and ten thousand known hashes, take many times a slice. So a rule that asks for likeness
//! first has its values judged here, and gives the thread back between pieces; then it is evaluated as any
//! other, over the verdicts. Called by [`super::Run::one`]. Read next: [`Run::is_judged`].

use fuel::Spent;

use super::{Run, Subject};
use crate::check::fuzzy::{COMPARE_STEPS, FuzzyHash, HASH_STEPS, Hashing, LOOK_STEPS};
use crate::model::Rule;

/// Bytes hashed in one piece: some 35 µs.
const PIECE_BYTES: usize = 4 * 1024;

/// The values of one rule, and what is known of them.
#[derive(Debug)]
pub(crate) struct Likeness {
    /// The rule, as its place among all.
    pub(crate) rule: u32,
    values: Vec<Vec<u8>>,
    /// Of as many of the values as are judged.
    verdicts: Vec<bool>,
    /// The next value: under the hash, or its hash with how many known ones it was compared with.
    hashing: Option<Hashing>,
    hashed: Option<(FuzzyHash, usize)>,
}

impl Run<'_> {
    /// Judges the values of a rule until all are judged, or the slice is over.
    pub(super) fn is_judged(
        &mut self,
        rule: &Rule,
        (hashes, threshold): (&[FuzzyHash], u32),
        at: u32,
        subjects: &[Subject],
    ) -> Result<bool, Spent> {
        let begun = self.state.likeness.take().filter(|begun| begun.rule == at);
        let mut likeness = match begun {
            Some(begun) => begun,
            None => {
                let mut values = Vec::new();
                for subject in subjects {
                    self.values_of(rule, subject, &mut values)?;
                }
                let (verdicts, hashing, hashed) = (Vec::new(), None, None);
                Box::new(Likeness { rule: at, values, verdicts, hashing, hashed })
            }
        };
        while likeness.verdicts.len() < likeness.values.len() {
            if self.fuel.is_slice_over() {
                self.state.likeness = Some(likeness);
                return Ok(false);
            }
            self.judge(&mut likeness, hashes, threshold)?;
        }
        self.state.likeness = Some(likeness);
        Ok(true)
    }

    /// One piece: some bytes of the next value, or its look at the known hashes up to one comparison.
    fn judge(&mut self, likeness: &mut Likeness, hashes: &[FuzzyHash], threshold: u32) -> Result<(), Spent> {
        let Likeness { values, verdicts, hashing, hashed, .. } = likeness;
        let Some(value) = values.get(verdicts.len()) else { return Ok(()) };
        let Some((own, next)) = hashed else {
            let mut under_way = hashing.take().unwrap_or_else(|| Hashing::new(value.len()));
            let rest = value.get(under_way.taken()..).unwrap_or_default();
            let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
            self.fuel.spend(20 + piece.len() as u64 * HASH_STEPS)?;
            under_way.take(piece);
            if under_way.taken() < value.len() {
                *hashing = Some(under_way);
            } else {
                *hashed = Some((FuzzyHash::after(under_way), 0));
            }
            return Ok(());
        };
        let rest = hashes.get(*next..).unwrap_or_default();
        let found = rest.iter().position(|known| known.is_comparable(own));
        let looked = found.map_or(rest.len(), |at| at + 1);
        self.fuel.spend(LOOK_STEPS * looked as u64)?;
        *next += looked;
        let is_alike = match found.and_then(|at| rest.get(at)) {
            Some(known) => {
                self.fuel.spend(COMPARE_STEPS)?;
                known.likeness(own) >= threshold
            }
            None => false,
        };
        if is_alike || found.is_none() {
            verdicts.push(is_alike);
            *hashed = None;
        }
        Ok(())
    }

    /// Says whether a value that was judged is like a known one.
    pub(super) fn resembles(&self, value: &[u8]) -> bool {
        let Some(likeness) = &self.state.likeness else { return false };
        let verdicts = likeness.values.iter().zip(&likeness.verdicts);
        verdicts.into_iter().any(|(known, is_alike)| *is_alike && known == value)
    }
}
