//! Patterns that macros made, kept by a thread for the next time.
//!
//! What a pattern means depends on its bytes alone, so that all rule sets share them. When all places are
//! taken, the one that was filled first is given away: whoever sends others' rules ever new patterns makes
//! them compile again, which each pays for itself. Used by [`super::operators`]. Read next:
//! [`MadePatterns::of`].

use regex_automata::meta::Regex;

use crate::limits::MADE_PATTERNS_MAX;
use crate::pattern;

/// The patterns a thread keeps; empty, and without memory, until a rule makes one.
#[derive(Debug, Default)]
pub(crate) struct MadePatterns {
    kept: Vec<(Box<[u8]>, Option<Regex>)>,
    next: usize,
}

impl MadePatterns {
    /// Says whether a pattern is kept, and so costs no compiling.
    pub(crate) fn has(&self, text: &[u8]) -> bool {
        self.kept.iter().any(|(known, _)| **known == *text)
    }

    /// The pattern of a text, compiled if it is not kept; nothing where the text is no pattern.
    pub(crate) fn of(&mut self, text: &[u8]) -> Option<&Regex> {
        let known = self.kept.iter().position(|(known, _)| **known == *text);
        let place = known.unwrap_or_else(|| {
            let made = (text.into(), pattern::compile_made(text));
            let place = self.next;
            match self.kept.get_mut(place) {
                Some(taken) => *taken = made,
                None => self.kept.push(made),
            }
            self.next = (place + 1) % MADE_PATTERNS_MAX;
            place
        });
        self.kept.get(place).and_then(|(_, regex)| regex.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_given_away_when_all_places_are_taken() {
        let mut patterns = MadePatterns::default();
        for number in 0..MADE_PATTERNS_MAX {
            let text = format!("^a{number}$");
            assert!(
                patterns
                    .of(text.as_bytes())
                    .is_some_and(|regex| regex.is_match(&text.as_bytes()[1..3]) || number > 9)
            );
        }
        assert!(patterns.has(b"^a0$") && patterns.of(b"(").is_none());
        assert!(!patterns.has(b"^a0$") && patterns.has(b"^a1$") && patterns.has(b"("));
        assert_eq!(patterns.kept.len(), MADE_PATTERNS_MAX);
        assert!(patterns.of(b"(").is_none(), "what is no pattern is remembered as such");
        assert_eq!(patterns.kept.len(), MADE_PATTERNS_MAX);
    }
}
