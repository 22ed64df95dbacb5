//! A change's way into the running edge, in stages: a candidate process compiles it under limits, decides on
//! copies of real requests, and serves a share of the visitors; then the edge swaps; then the change is
//! watched until it is the last good one. It is withdrawn by itself at any stage.
//!
//! One thread does all of it, one change after the other: publishes by command or SIGHUP, and renewed
//! certificates. At the start it is decided here what to begin with: the files, else the last good
//! generation, else older ones. It serves nobody and is never waited for by a request. Called by
//! [`crate::edge_role`]; read next: [`start`], then [`publisher`], [`trial`], [`soak`], [`health`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use telemetry::events::{Events, Value};
use zone::{Bundle, Problem, Snapshot};

use crate::clock;
use crate::configuration::{Keyring, Lost, Problems, Stamp, compile_kept, gather, outdated, read_node_file};
use crate::control::{Begin, Channel, Killed};
use crate::files::remedy_for;
use crate::generations::{Generation, Generations};
use crate::messages::Answer;

mod asking;
mod health;
mod publisher;
mod rejected;
mod renewing;
mod soak;
mod splice_table;
pub(crate) mod trial;
mod walked_back;
mod watching;

pub(crate) use health::Figures;
pub(crate) use publisher::PublisherSetup;
pub(crate) use rejected::{Rejected, Rejection};
pub(crate) use soak::settle_after_death;

use publisher::Publisher;

/// How often certificate files are looked at: soon enough that nobody waits for it, seldom enough that
/// 10,000 pairs (some 20 ms of `stat`) cost half a percent of one core.
pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Publishes that may wait for the one under way. Further ones are refused: they would only read the same
/// files.
const WAITING_MAX: usize = 8;

/// Of these, dry runs: what is to change something finds room beside any number of those who only ask.
const DRY_WAITING_MAX: usize = WAITING_MAX / 2;

/// Lines of progress that may wait for whoever asked; further ones are left out.
const ANSWERS_WAITING: usize = 256;

/// Stack of a thread that compiles: that of a main thread.
pub(crate) const COMPILE_STACK_BYTES: usize = 8 * 1024 * 1024;

/// What the edge begins with.
#[derive(Debug)]
pub(crate) struct Start {
    /// What to serve.
    pub(crate) snapshot: Snapshot,
    /// Stamps of the files it was compiled from; none when it comes from a generation.
    pub(crate) stamps: BTreeMap<String, Stamp>,
    /// The generation it comes from, when it does not come from the files.
    pub(crate) kept: Option<Generation>,
    /// Whether a certificate was left out, for visitors or for origins.
    pub(crate) lacks_pairs: bool,
}

impl Start {
    /// Tells which certificates were left out, when it is this that is served.
    pub(crate) fn tell_lost(&self, events: &Events) {
        tell_lost(&self.snapshot, self.lacks_pairs, events);
    }
}

/// Decides what to begin with, and keeps it as a generation when it comes from the files.
///
/// Files that were withdrawn once are not begun with, nor a folder that has no zone any more, as none is
/// published either: what is kept is. Whoever starts a node is there to mend it: no node is started from its
/// files that would refuse everybody over HTTPS.
///
/// # Errors
/// When nothing can be used: the problems of the files, or that nothing is kept.
pub(crate) fn start(
    config: &Path,
    begin: Begin,
    generations: &Generations,
    rejected: &Rejected,
    keyring: &Keyring,
    events: &Events,
) -> Result<Start, Problems> {
    if begin != Begin::Files {
        let start = start_kept(begin, generations, None, keyring, events)?;
        start.tell_lost(events);
        return Ok(start);
    }
    let mut remedy = CHECK;
    let refused = match read_node_file(config) {
        Ok(file) => {
            let gathered = gather(&file);
            let hash = hex(&gathered.bundle.hash());
            let newest = generations.newest_with_hash(&hash);
            let number = newest.as_ref().map_or_else(|| generations.next_number(), |newest| newest.number);
            match gathered.compile(number, None) {
                Ok(_) if rejected.find(&hash).is_some() => {
                    remedy = AGAIN;
                    withdrawn_before(config, rejected.find(&hash))
                }
                Ok(snapshot) if newest.is_none() && snapshot.zones().is_empty() && has_kept(generations) => {
                    emptied(config)
                }
                Ok(snapshot) => {
                    gathered.note_keys(keyring);
                    keyring.remember_chains(&gathered.bundle);
                    keep(generations, number, &hash, &gathered.bundle.to_bytes(), events);
                    let now_unix_s = clock::unix_us() / 1_000_000;
                    let old = outdated(&snapshot, &gathered.bundle, now_unix_s);
                    tell_warnings(&[snapshot.warnings.as_slice(), &old].concat(), events);
                    let stamps = gathered.stamps;
                    return Ok(Start { snapshot, stamps, kept: None, lacks_pairs: false });
                }
                Err(problems) => problems,
            }
        }
        Err(problems) => problems,
    };
    match start_kept(Begin::Kept { skip: 0 }, generations, None, keyring, events) {
        Ok(start) if lacks_every_certificate(&start.snapshot) => {
            Err(with_others(refused, start.snapshot.warnings))
        }
        Ok(start) => {
            let generation = Some(start.snapshot.number);
            tell_refusal("started_from_kept_generation", &refused, remedy, generation, events);
            start.tell_lost(events);
            Ok(start)
        }
        Err(_) => Err(refused),
    }
}

/// Whether no zone that names a certificate has one, and at least one names one.
fn lacks_every_certificate(snapshot: &Snapshot) -> bool {
    let mut naming = snapshot.zones().iter().filter(|zone| zone.tls.certificate_path.is_some()).peekable();
    naming.peek().is_some() && naming.all(|zone| zone.tls.certificate.is_none())
}

/// Problems with those of other places.
fn with_others(mut problems: Problems, others: Vec<Problem>) -> Problems {
    let place = |problem: &Problem| (problem.file.clone(), problem.line);
    let known: BTreeSet<_> = problems.0.iter().map(place).collect();
    problems.0.extend(others.into_iter().filter(|other| !known.contains(&place(other))));
    problems
}

fn withdrawn_before(config: &Path, rejection: Option<&Rejection>) -> Problems {
    let why = rejection.map_or("", |rejection| rejection.why.as_str());
    Problems(vec![Problem {
        file: config.to_string_lossy().into_owned(),
        line: 1,
        column: 1,
        message: format!("these zones were withdrawn before: {why}"),
        suggestion: Some("change them, or run `rempart publish --again`".to_owned()),
        severity: zone::Severity::Error,
    }])
}

fn has_kept(generations: &Generations) -> bool {
    generations.kept().is_ok_and(|kept| !kept.is_empty())
}

fn emptied(config: &Path) -> Problems {
    let suggestion = "put the zone files back, or have them made by `rempart recover`; a node that is to \
                      serve nothing is stopped";
    Problems(vec![Problem {
        file: config.to_string_lossy().into_owned(),
        line: 1,
        column: 1,
        message: "there is no zone file, and there was one".to_owned(),
        suggestion: Some(suggestion.to_owned()),
        severity: zone::Severity::Error,
    }])
}

/// Names the generation that a beginning means, if something is kept.
pub(crate) fn generation_for(begin: Begin, generations: &Generations) -> Option<Generation> {
    to_try(begin, generations).into_iter().next()
}

fn to_try(begin: Begin, generations: &Generations) -> Vec<Generation> {
    match begin {
        Begin::Kept { skip } => generations.to_try().into_iter().skip(skip).collect(),
        Begin::Newest | Begin::Files => {
            let newest = generations.kept().unwrap_or_default().into_iter().next();
            let others = generations.to_try().into_iter().filter(|kept| Some(kept) != newest.as_ref());
            newest.iter().cloned().chain(others).collect()
        }
    }
}

/// Begins with the first of the kept generations to try that can be used, whatever certificates it lacks: a
/// pair that is broken is no reason to serve everybody what was before. Unchanged zones are shared with
/// `previous`.
///
/// # Errors
/// When none can be used.
pub(crate) fn start_kept(
    begin: Begin,
    generations: &Generations,
    previous: Option<&Snapshot>,
    keyring: &Keyring,
    events: &Events,
) -> Result<Start, Problems> {
    let mut to_try = to_try(begin, generations).into_iter();
    to_try
        .find_map(|generation| usable(generations, generation, previous, keyring, events))
        .ok_or_else(none_left)
}

/// Begins with a kept generation, if it can be used, whatever certificates it lacks.
fn usable(
    generations: &Generations,
    generation: Generation,
    previous: Option<&Snapshot>,
    keyring: &Keyring,
    events: &Events,
) -> Option<Start> {
    let number = generation.number;
    restore(generations, generation, previous, keyring)
        .inspect_err(|error| tell_unusable(generations, number, &format!("{error:#}"), WRITE_ANEW, events))
        .ok()
}

/// What to do about a generation that cannot be used.
const WRITE_ANEW: &str = "do what the cause says, and run `rempart publish`: that writes a new one";

/// What to do about a generation that lacks a certificate.
pub(crate) const MEND_PAIR: &str = "mend the pair, or have its zone name another, and run `rempart publish`";

/// Tells why a kept generation is passed over, once for each.
fn tell_unusable(generations: &Generations, number: u64, cause: &str, remedy: &str, events: &Events) {
    if generations.is_news(number) {
        let fields: [(&'static str, Value<'_>); 3] =
            [("generation", number.into()), ("cause", cause.into()), ("remedy", remedy.into())];
        events.error("kept_generation_unusable", &fields);
    }
}

fn none_left() -> Problems {
    Problems(vec![Problem {
        file: "generations".to_owned(),
        line: 1,
        column: 1,
        message: "no kept generation is left to try".to_owned(),
        suggestion: Some("mend the files and start the node".to_owned()),
        severity: zone::Severity::Error,
    }])
}

/// Reads and compiles a kept generation.
fn restore(
    generations: &Generations,
    generation: Generation,
    previous: Option<&Snapshot>,
    keyring: &Keyring,
) -> Result<Start> {
    let bytes = generations.read(&generation)?;
    let path = generations.path(&generation);
    let bundle = Bundle::from_bytes(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    let kept = compile_kept(&bundle, generation.number, previous, keyring, Lost::LeftOut);
    let kept = kept.map_err(|problems| {
        anyhow::anyhow!("{} no longer compiles: {}", path.display(), problems.lines().trim_end())
    })?;
    Ok(Start {
        snapshot: kept.snapshot,
        stamps: BTreeMap::new(),
        kept: Some(generation),
        lacks_pairs: kept.lacks_pairs,
    })
}

/// Keeps what was compiled. A full disk must not keep a change from visitors: it is told, and the node
/// serves on.
fn keep(generations: &Generations, number: u64, hash: &str, bundle: &[u8], events: &Events) {
    if generations.newest_with_hash(hash).is_some() {
        return;
    }
    if let Err(error) = generations.keep(number, hash, bundle) {
        let cause = format!("{error:#}");
        let what = remedy_for(&error);
        let remedy =
            format!("the node serves it, but would start from an older one: {what}, and publish again");
        let fields: [(&'static str, Value<'_>); 3] =
            [("snapshot", number.into()), ("cause", (&cause).into()), ("remedy", (&remedy).into())];
        events.error("generation_not_kept", &fields);
    }
}

/// Tells which certificates were left out of what goes live, if any were.
fn tell_lost(snapshot: &Snapshot, lacks_pairs: bool, events: &Events) {
    if lacks_pairs {
        tell_warnings(&snapshot.warnings, events);
    }
}

/// Whether these are the files of the last good generation, under whatever number.
fn is_last_good(generations: &Generations, hash: &str) -> bool {
    generations.last_good().is_some_and(|good| hash.starts_with(&good.hash))
}

/// Tells warnings in one line that may be cut: a thousand zones with the same slip are one event.
pub(crate) fn tell_warnings(warnings: &[Problem], events: &Events) {
    if warnings.is_empty() {
        return;
    }
    let lines = Problems(warnings.to_vec()).lines();
    let remedy = "`rempart check` prints every one";
    let fields: [(&'static str, Value<'_>); 3] = [
        ("warnings", warnings.len().into()),
        ("problems", lines.trim_end().into()),
        ("remedy", remedy.into()),
    ];
    events.warn("configuration_warnings", &fields);
}

/// What to do about files that were withdrawn: nothing is wrong with them that `rempart check` would tell.
const AGAIN: &str =
    "change the files and run `rempart publish`; `rempart publish --again` takes them as they are";

/// What to do about files that have problems.
const CHECK: &str = "`rempart check` prints every problem; mend them and run `rempart publish`";

/// Tells why files were refused, in one line that may be cut; `rempart check` prints all of it.
fn tell_refusal(
    event: &'static str,
    refused: &Problems,
    remedy: &str,
    generation: Option<u64>,
    events: &Events,
) {
    let (lines, errors) = (refused.lines(), refused.errors());
    let mut fields: Vec<(&'static str, Value<'_>)> =
        vec![("errors", errors.into()), ("problems", lines.trim_end().into()), ("remedy", remedy.into())];
    if let Some(number) = generation {
        fields.push(("generation", number.into()));
    }
    events.error(event, &fields);
}

/// What somebody wants of the publishing thread, or tells it.
pub(crate) enum Event {
    /// Take the files as they are now.
    Publish {
        /// How.
        options: Options,
        /// Where to say how far it is and how it ended; none for a signal.
        to: Option<SyncSender<Answer>>,
    },
    /// Keep the change that waits for this word.
    Confirm(SyncSender<Answer>),
    /// Go back to what served before.
    Withdraw(SyncSender<Answer>),
    /// The supervisor started a candidate.
    Candidate(Channel),
    /// The candidate ended, or could not be started.
    CandidateEnded(String),
    /// What the edge before this one died of.
    Killed(Vec<Killed>),
    /// Another edge publishes from now on: look at [`Publisher`]'s flag.
    End,
}

/// How a publish is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Answer when it is the last good one or withdrawn.
    pub(crate) wait: bool,
    /// Only say what would change.
    pub(crate) dry_run: bool,
    /// Publish what was withdrawn before.
    pub(crate) again: bool,
    /// Let more be removed than the guard allows.
    pub(crate) allow_removals: bool,
    /// Take it back after so many seconds unless it is confirmed.
    pub(crate) confirm_within_s: Option<u64>,
}

/// How far a change is, for `rempart status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Progress {
    /// `idle`, `compiling`, `comparing`, `canary`, `soaking`.
    pub(crate) stage: &'static str,
    /// Since when, in microseconds after 1970.
    pub(crate) since_unix_us: u64,
    /// Why, and with which figures.
    pub(crate) note: String,
    /// The number of the last good generation; 0 while there is none.
    pub(crate) last_good: u64,
    /// Until when a change waits to be confirmed, in microseconds after 1970.
    pub(crate) confirm_until_unix_us: Option<u64>,
    /// Changes that were withdrawn, newest last.
    pub(crate) rejected: Vec<Rejection>,
    /// Upgrades that failed since this process began.
    pub(crate) upgrades_failed: u64,
}

/// The way to the publishing thread. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Publishing {
    inbox: SyncSender<Event>,
    progress: Arc<Mutex<Progress>>,
    upgrades_failed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    dry_runs: Arc<AtomicUsize>,
}

/// One of [`DRY_WAITING_MAX`] dry runs, given back on drop.
struct DryRun<'a>(&'a AtomicUsize);

impl Drop for DryRun<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Publishing {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(setup: PublisherSetup) -> Result<Self> {
        let (inbox, events) = sync_channel(WAITING_MAX);
        let progress = Arc::new(Mutex::new(Progress { stage: "idle", ..Progress::default() }));
        let is_over = Arc::new(AtomicBool::new(false));
        let mut publisher = Publisher::new(setup, events, Arc::clone(&progress), Arc::clone(&is_over));
        thread::Builder::new()
            .name("publishing".into())
            .stack_size(COMPILE_STACK_BYTES)
            .spawn(move || publisher.run())
            .context("no thread for publishing")?;
        Ok(Self { inbox, progress, upgrades_failed: Arc::default(), is_over, dry_runs: Arc::default() })
    }

    /// Ends the thread: this edge drains, and what is published, watched, confirmed and withdrawn is another
    /// edge's matter from now on. What is under way does not go live any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        // If much waits, it sees the flag soon.
        let _ = self.inbox.try_send(Event::End);
    }

    /// Publishes and waits for the answer. `progress` is told how far it is.
    pub(crate) fn publish(&self, options: Options, progress: &dyn Fn(&Answer)) -> Answer {
        let (sender, answers) = sync_channel(ANSWERS_WAITING);
        let dry_run = options.dry_run.then(|| DryRun(&self.dry_runs));
        let has_room = dry_run.is_none() || self.dry_runs.fetch_add(1, Ordering::Relaxed) < DRY_WAITING_MAX;
        if !has_room || self.inbox.try_send(Event::Publish { options, to: Some(sender) }).is_err() {
            let why = "several publishes wait already: they take the files as they are then";
            return Answer { is_busy: true, ..Answer::refused(why) };
        }
        while let Ok(answer) = answers.recv() {
            if answer.progress.is_none() {
                return answer;
            }
            progress(&answer);
        }
        Answer::refused("the publish broke off: see the node's log")
    }

    /// Publishes without waiting. When several wait already, those read the same files: nothing is lost.
    pub(crate) fn publish_later(&self) {
        let _ = self.inbox.try_send(Event::Publish { options: Options::default(), to: None });
    }

    /// Keeps the change that waits for this word.
    pub(crate) fn confirm(&self) -> Answer {
        self.ask(Event::Confirm)
    }

    /// Goes back to what served before the newest change.
    pub(crate) fn withdraw(&self) -> Answer {
        self.ask(Event::Withdraw)
    }

    fn ask(&self, event: impl FnOnce(SyncSender<Answer>) -> Event) -> Answer {
        let (sender, answer) = sync_channel(1);
        if self.inbox.try_send(event(sender)).is_err() {
            let why = "too much waits to be published: try again shortly";
            return Answer { is_busy: true, ..Answer::refused(why) };
        }
        answer.recv().unwrap_or_else(|_| Answer::refused("the node is ending"))
    }

    /// The supervisor has started a candidate.
    pub(crate) fn candidate_started(&self, channel: Option<Channel>) {
        let event = match channel {
            Some(channel) => Event::Candidate(channel),
            None => Event::CandidateEnded("its channel did not arrive".to_owned()),
        };
        let _ = self.inbox.try_send(event);
    }

    /// The candidate ended, or could not be started.
    pub(crate) fn candidate_ended(&self, how: String, culprit: Option<String>) {
        let how =
            culprit.map_or_else(|| how.clone(), |culprit| format!("{how}, while it worked on {culprit}"));
        let _ = self.inbox.try_send(Event::CandidateEnded(how));
    }

    /// What the edge before this one died of.
    pub(crate) fn killed(&self, killed: Vec<Killed>) {
        let _ = self.inbox.try_send(Event::Killed(killed));
    }

    /// Counts an upgrade that failed, so that whoever asked for it sees it.
    pub(crate) fn upgrade_failed(&self) {
        self.upgrades_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How far a change is.
    pub(crate) fn progress(&self) -> Progress {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        progress.upgrades_failed = self.upgrades_failed.load(Ordering::Relaxed);
        progress
    }
}

/// Writes a hash in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
