//! What each operator asks of a value, and what it costs.
//!
//! The questions themselves are in [`crate::check`] and [`crate::injection`]; here they get their arguments,
//! their price in fuel and, where the rule captures, what they found. Prices are steps per byte as measured
//! on long values: a pattern costs about 1 to 4 ns a byte on common text and up to 300 on the worst, so 8
//! stands for all.

use std::net::IpAddr;

use fuel::{Fuel, Spent};
use regex::bytes::Regex;

use crate::check;
use crate::engine::Run;
use crate::injection;
use crate::model::{Operator, Rule, TextTest};
use crate::template::Template;

/// Steps per byte of a pattern.
const PATTERN_STEPS: u64 = 8;
/// Steps per byte of lists of words and of the two detectors.
const WORDS_STEPS: u64 = 4;
/// Steps of a look at a database of addresses: a walk over at most 128 nodes, and some texts copied.
const LOCATE_STEPS: u64 = 5_000;
/// Steps of compiling a pattern that macros made, whatever it is, and for each of its bytes: the dearest text
/// fills [`crate::limits::MADE_PROGRAM_BYTES_MAX`] with a few repetitions. The dearest of all takes some
/// 0.7 ms, measured over thirty kinds of patterns of every length.
const COMPILE_STEPS: u64 = 400_000;
const COMPILE_STEPS_EACH: u64 = 250;
/// Captures that a rule can read: `TX:0` to `TX:9`.
const CAPTURES: usize = 10;

impl Run<'_> {
    /// Asks a rule's operator about a value; what it captured is left in the workspace.
    pub(super) fn asks(&mut self, rule: &Rule, head: &Rule, value: &[u8]) -> Result<bool, Spent> {
        self.fuel.spend(price(&rule.operator, value.len()))?;
        let captures = &mut self.work.captures;
        if rule.capture {
            captures.clear();
        }
        Ok(match &rule.operator {
            Operator::Pattern { regex, all, .. } => {
                let found = regex.is_match(value);
                if found && rule.capture && !rule.is_negated {
                    capture(regex, *all, value, captures);
                }
                found
            }
            Operator::MadePattern { template, all } => {
                return self.asks_made(template, *all, rule, head, value);
            }
            Operator::Words(words) => match words.automaton.find(value) {
                Some(found) => {
                    if rule.capture {
                        captures.push(value.get(found.range()).map(<[u8]>::to_vec));
                    }
                    true
                }
                None => false,
            },
            Operator::Number(comparison, with) => {
                let with = match with.as_text() {
                    Some(text) => check::number::integer(text),
                    None => check::number::integer(&self.expanded(with, head)?),
                };
                comparison.holds(check::number::integer(value), with)
            }
            Operator::Text(test, with) => match with.as_text() {
                Some(text) => compare(*test, value, text),
                None => compare(*test, value, &self.expanded(with, head)?),
            },
            Operator::Bytes(allowed) => check::violates_byte_range(value, allowed),
            Operator::Utf8 => check::violates_utf8(value),
            Operator::UrlEncoding => check::violates_url_encoding(value),
            Operator::Addresses(set) => set.has_text(value),
            Operator::Sqli => match injection::sqli::detect(value) {
                Some(fingerprint) => {
                    if rule.capture {
                        captures.push(Some(fingerprint.as_bytes().to_vec()));
                    }
                    true
                }
                None => false,
            },
            Operator::Xss => injection::xss::detect(value),
            Operator::Checked { regex, check } => {
                let found = regex.find_iter(value).map(|found| found.as_bytes()).find(|found| check(found));
                if let Some(found) = found
                    && rule.capture
                {
                    captures.push(Some(found.to_vec()));
                }
                found.is_some()
            }
            Operator::Fuzzy { .. } => self.resembles(value),
            Operator::Listed(list) => {
                let found = self.is_listed(rule, list, value);
                if found && rule.capture {
                    self.work.captures.push(Some(value.to_vec()));
                }
                found
            }
            Operator::Located => self.locates(value),
            Operator::Document(grammar) => match &mut self.state.document {
                Some(document) => !document.is_valid(grammar, self.fuel)?,
                None => false,
            },
            Operator::Always => true,
            Operator::Never => false,
        })
    }

    /// Asks a pattern that macros make. A text that is none finds nothing, and the transaction says so.
    fn asks_made(
        &mut self,
        template: &Template,
        all: bool,
        rule: &Rule,
        head: &Rule,
        value: &[u8],
    ) -> Result<bool, Spent> {
        let text = self.expanded(template, head)?;
        if !self.work.patterns.has(&text) {
            self.fuel.spend(compiling(text.len()))?;
        }
        let Some(regex) = self.work.patterns.of(&text) else {
            self.state.patterns_broken = self.state.patterns_broken.saturating_add(1);
            return Ok(false);
        };
        let found = regex.is_match(value);
        if found && rule.capture && !rule.is_negated {
            let captures = &mut self.work.captures;
            for found in regex.captures_iter(value).take(if all { CAPTURES } else { 1 }) {
                let room = CAPTURES.saturating_sub(captures.len()).min(found.group_len());
                let group = |at| found.get_group(at).and_then(|group| value.get(group.range()));
                captures.extend((0..room).map(|at| group(at).map(<[u8]>::to_vec)));
            }
        }
        Ok(found)
    }

    /// Looks up where an address is, and keeps it; what is no address, or in no record, changes nothing.
    fn locates(&mut self, value: &[u8]) -> bool {
        let Some(locator) = &self.state.locator else { return false };
        let address = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
        let Some(location) = address.and_then(|address| locator.locate(address.to_canonical())) else {
            return false;
        };
        self.state.location = Some(Box::new(location));
        true
    }
}

/// Asks an operator that needs neither macros nor captures.
pub(crate) fn matches(operator: &Operator, value: &[u8], fuel: &mut Fuel) -> Result<bool, Spent> {
    fuel.spend(price(operator, value.len()))?;
    Ok(match operator {
        Operator::Pattern { regex, .. } => regex.is_match(value),
        Operator::Words(words) => words.automaton.is_match(value),
        Operator::Text(test, with) => compare(*test, value, with.as_text().unwrap_or_default()),
        Operator::Bytes(allowed) => check::violates_byte_range(value, allowed),
        Operator::Utf8 => check::violates_utf8(value),
        Operator::UrlEncoding => check::violates_url_encoding(value),
        Operator::Addresses(set) => set.has_text(value),
        Operator::Sqli => injection::sqli::detect(value).is_some(),
        Operator::Xss => injection::xss::detect(value),
        Operator::Checked { regex, check } => regex.find_iter(value).any(|found| check(found.as_bytes())),
        // Macros may be in it: the evaluation itself decides.
        Operator::MadePattern { .. }
        | Operator::Number(..)
        | Operator::Fuzzy { .. }
        | Operator::Listed(_)
        | Operator::Located
        | Operator::Document(_)
        | Operator::Always => true,
        Operator::Never => false,
    })
}

/// What compiling a pattern of so many bytes costs.
const fn compiling(bytes: usize) -> u64 {
    COMPILE_STEPS + COMPILE_STEPS_EACH * bytes as u64
}

/// What asking an operator costs.
fn price(operator: &Operator, bytes: usize) -> u64 {
    let each = match operator {
        Operator::Located => return LOCATE_STEPS,
        Operator::Pattern { .. } | Operator::MadePattern { .. } | Operator::Checked { .. } => PATTERN_STEPS,
        Operator::Words(_) | Operator::Sqli | Operator::Xss => WORDS_STEPS,
        _ => 1,
    };
    (bytes as u64).saturating_mul(each).saturating_add(20)
}

/// Keeps the groups of the first match, or of all matches one after another.
fn capture(regex: &Regex, all: bool, value: &[u8], captures: &mut Vec<Option<Vec<u8>>>) {
    for found in regex.captures_iter(value).take(if all { CAPTURES } else { 1 }) {
        let room = CAPTURES.saturating_sub(captures.len());
        captures.extend(found.iter().take(room).map(|group| group.map(|group| group.as_bytes().to_vec())));
    }
}

fn compare(test: TextTest, value: &[u8], with: &[u8]) -> bool {
    match test {
        TextTest::BeginsWith => check::begins_with(value, with),
        TextTest::Contains => check::contains(value, with),
        TextTest::ContainsWord => check::contains_word(value, with),
        TextTest::EndsWith => check::ends_with(value, with),
        TextTest::Equals => check::is_equal(value, with),
        TextTest::Within => check::is_within(value, with),
    }
}
