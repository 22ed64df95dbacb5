//! `@rbl`: a rule that needs an answer from outside waits for it, and goes on where it was.
//!
//! Before such a rule looks at its first value, the names of all its values are known; those without an
//! answer become questions, and evaluation stops there, nothing of the rule done yet. When it goes on, the
//! chain's rules before it are not evaluated again. What has no answer matches nothing, turned round or not.
//! Called by [`super::Run::one`]. Read next: [`Lists`].

use std::net::Ipv4Addr;

use fuel::Spent;

use crate::check::blocklist::Blocklist;
use crate::engine::{Run, Subject};
use crate::limits::{BUFFER_BYTES_MAX, LOOKUPS_MAX};
use crate::model::Rule;

/// Something to ask name servers for: the A records of `name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The list that is asked, by the name of its zone in the DNS.
    pub service: &'a str,
    /// The name to ask for, whole and in lower case.
    pub name: &'a str,
}

/// What a transaction has asked so far.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    asked: Vec<Asked>,
    /// The rule that waits, by its place among all rules.
    pub(crate) waits_at: Option<u32>,
    /// Questions that had no answer, and values that were not asked about.
    pub(crate) unanswered: u32,
}

#[derive(Debug)]
struct Asked {
    service: Box<str>,
    name: Box<str>,
    /// Whether an answer, or its absence, was told, and which.
    answer: Option<Option<Box<[Ipv4Addr]>>>,
}

impl Lists {
    /// What nobody has answered yet.
    pub(crate) fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        let open = self.asked.iter().filter(|asked| asked.answer.is_none());
        open.map(|asked| Question { service: &asked.service, name: &asked.name })
    }

    /// How many names were asked for.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.asked.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn answer(&mut self, name: &str, addresses: Option<&[Ipv4Addr]>) {
        for asked in self.asked.iter_mut().filter(|asked| asked.answer.is_none() && *asked.name == *name) {
            asked.answer = Some(addresses.map(Into::into));
        }
    }

    /// Answers all that is open with nothing.
    pub(crate) fn give_up(&mut self) {
        for asked in self.asked.iter_mut().filter(|asked| asked.answer.is_none()) {
            asked.answer = Some(None);
        }
    }

    fn verdict(&self, list: &Blocklist, name: &str) -> Option<bool> {
        let asked = self.asked.iter().find(|asked| *asked.name == *name)?;
        list.verdict(asked.answer.as_ref()?.as_deref()?)
    }
}

impl Run<'_> {
    /// Makes questions of a rule's values; says whether some have no answer yet.
    pub(super) fn awaits(
        &mut self,
        rule: &Rule,
        list: &Blocklist,
        at: u32,
        subjects: &[Subject],
    ) -> Result<bool, Spent> {
        let mut values = Vec::new();
        for subject in subjects {
            self.values_of(rule, subject, &mut values)?;
        }
        let key = self.set.settings.http_bl_key.as_deref();
        let lists = self.state.lists.get_or_insert_default();
        for name in values.iter().filter_map(|value| list.question(value, key)) {
            let is_known = lists.asked.iter().any(|asked| *asked.name == *name);
            if !is_known && lists.asked.len() < LOOKUPS_MAX {
                lists.asked.push(Asked { service: list.service.clone(), name: name.into(), answer: None });
            }
        }
        let waits = lists.questions().next().is_some();
        lists.waits_at = waits.then_some(at);
        Ok(waits)
    }

    /// The values that a rule's operator will be asked about for one subject.
    pub(super) fn values_of(
        &mut self,
        rule: &Rule,
        subject: &Subject,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Spent> {
        let mut current = subject.value(self.values, &self.work.made).to_vec();
        let mut other = Vec::new();
        if rule.multi_match {
            out.push(current.clone());
        }
        for transformation in &rule.pipeline {
            self.fuel.spend(2 + current.len() as u64)?;
            if transformation.apply_by(self.set.code_page.as_ref(), &current, &mut other) {
                other.truncate(BUFFER_BYTES_MAX);
                std::mem::swap(&mut current, &mut other);
                if rule.multi_match {
                    out.push(current.clone());
                }
            }
        }
        out.push(current);
        Ok(())
    }

    /// Says whether a value is on a list; what has no answer is what the rule does not look for.
    pub(super) fn is_listed(&mut self, rule: &Rule, list: &Blocklist, value: &[u8]) -> bool {
        let Some(name) = list.question(value, self.set.settings.http_bl_key.as_deref()) else { return false };
        let Some(lists) = &mut self.state.lists else { return rule.is_negated };
        lists.verdict(list, &name).unwrap_or_else(|| {
            lists.unanswered = lists.unanswered.saturating_add(1);
            rule.is_negated
        })
    }
}
