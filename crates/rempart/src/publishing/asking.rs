//! The serving edge's side of a candidate: asks, waits, and tells what an answer that does not come means.
//!
//! What follows for the change is decided by [`super::publisher`], which calls this; the words are those of
//! [`super::trial`], the other side is [`crate::edge_role`]'s candidate.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::health::Figures;
use super::trial::{Copied, FromCandidate, ToCandidate};
use crate::control::{Channel, Unknown, beside};

/// How long the supervisor may take to start a candidate, and a candidate to answer what needs no work.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A candidate lives and cannot do what was asked, as when the disk is full: that says nothing about the
/// change.
#[derive(Debug)]
pub(super) struct SaidNo(pub(super) String);

impl fmt::Display for SaidNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SaidNo {}

/// A candidate took more than it may, of this: that speaks against the change.
#[derive(Debug)]
pub(super) struct TookTooMuch(pub(super) String);

impl fmt::Display for TookTooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the candidate took {}", self.0)
    }
}

impl std::error::Error for TookTooMuch {}

/// A candidate process.
pub(super) struct Candidate {
    pub(super) channel: Channel,
}

impl Candidate {
    /// Waits for the next answer.
    pub(super) fn answer(&self, wait: Duration) -> Result<(FromCandidate, Vec<OwnedFd>)> {
        if !self.channel.wait(wait) {
            bail!("the candidate does not answer");
        }
        match self.channel.receive::<FromCandidate>() {
            Ok(Some((FromCandidate::Failed { why }, _))) => Err(SaidNo(why).into()),
            Ok(Some((FromCandidate::TookTooMuch { what }, _))) => Err(TookTooMuch(what).into()),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => bail!("the candidate died"),
            // It lives, and is of another version: that says nothing about the change.
            Err(error) if error.is::<Unknown>() => Err(SaidNo(format!(
                "the candidate's answer is not understood: {error:#}: restart the node, whose processes are \
                 of two versions"
            ))
            .into()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn ask(
        &self,
        question: &ToCandidate,
        wait: Duration,
    ) -> Result<(FromCandidate, Vec<OwnedFd>)> {
        self.channel.send(question, &[], true).context("the candidate died")?;
        self.answer(wait)
    }

    pub(super) fn figures(&self) -> Result<Figures> {
        match self.ask(&ToCandidate::Figures, ANSWER_WAIT)? {
            (FromCandidate::Figures(figures), _) => Ok(figures),
            (other, _) => bail!("the candidate answers {other:?}"),
        }
    }

    /// What it decides on these facts.
    pub(super) fn decide(&self, facts: &[edge::Facts]) -> Result<Vec<String>> {
        let copied: Vec<Copied> = facts.iter().map(Copied::from).collect();
        self.channel.send_with(&ToCandidate::Decide, &copied).context("the candidate died")?;
        match self.answer(ANSWER_WAIT)? {
            (FromCandidate::Decided, descriptors) => beside(descriptors),
            (other, _) => bail!("the candidate answers {other:?}"),
        }
    }
}
