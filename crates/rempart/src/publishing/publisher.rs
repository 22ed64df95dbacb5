//! The publishing thread: takes wishes one after the other, and leads each change through its stages.
//!
//! A candidate that dies, does worse or says no ends the change where it is; what serves is not touched
//! before the swap, and taken back after it. Nothing here is waited for by a request. Read next:
//! [`Publisher::publish`], then [`super::asking`] and [`super::trial`] for the candidate's part.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use telemetry::events::{Events, Value};
use zone::{Bundle, Node, Problem, Snapshot};

use super::asking::{ANSWER_WAIT, Candidate, SaidNo, TookTooMuch};
use super::health::{Figures, Judgement, judge};
use super::rejected::Rejected;
use super::soak::{Mark, Recent, Soak};
use super::splice_table::{self, SpliceTable};
use super::trial::{self, FromCandidate, ToCandidate, Trial};
use super::walked_back::WalkedBack;
use super::{
    CHECK, Event, Options, Progress, WATCH_EVERY, hex, keep, tell_lost, tell_refusal, tell_warnings,
};
use crate::certificates::Watch;
use crate::clock;
use crate::commands::counted;
use crate::configuration::{Keyring, Lost, Problems, compile_kept};
use crate::control::{Begin, Channel, FromEdge, beside_with_bytes};
use crate::files::remedy_for;
use crate::generations::Generations;
use crate::messages::{Answer, Decisions, ProblemText};
use crate::splice_role::table_path;

/// How much longer than its processor time a candidate may take to compile, by the clock: it reads files, and
/// shares the machine. One that spins is ended by its processor time; this is for one that waits.
const COMPILE_FACTOR: u32 = 3;

/// The same on top, so that a small limit is not one on how busy the machine is: one of a second is reached
/// with a sixtieth of a core too.
const COMPILE_GRACE: Duration = Duration::from_secs(60);

/// How often figures are compared.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Copies of facts that wait to be sent to the candidate: some 100 ms of a busy node. Further ones are left
/// out.
const FACTS_WAITING: usize = 1024;

/// Facts in one message to the candidate.
const FACTS_PER_MESSAGE: usize = 256;

/// Differing decisions shown.
const EXAMPLES_MAX: usize = 8;

/// Zones whose first page a candidate asks for when too few visitors came: each may take a request to an
/// origin.
const PROBES_MAX: usize = 32;

/// What the publishing thread is made from.
pub(crate) struct PublisherSetup {
    /// The running edge.
    pub(crate) node: Arc<edge::Node>,
    /// The node file.
    pub(crate) config: PathBuf,
    /// The data folder.
    pub(crate) data_dir: PathBuf,
    /// The node's settings since its start.
    pub(crate) running: Node,
    /// Where bundles are kept.
    pub(crate) generations: Generations,
    /// The keys of what runs.
    pub(crate) keyring: Keyring,
    /// Where to tell.
    pub(crate) events: Events,
    /// The certificate files of what runs.
    pub(crate) watch: Watch,
    /// The way to the supervisor.
    pub(crate) supervisor: Arc<Channel>,
    /// What the edge began with.
    pub(crate) begin: Begin,
}

/// Publishes into one running edge.
pub(super) struct Publisher {
    pub(super) setup: PublisherSetup,
    inbox: Receiver<Event>,
    /// What came while a change was under way.
    waiting: VecDeque<Event>,
    progress: Arc<Mutex<Progress>>,
    pub(super) rejected: Rejected,
    pub(super) recent: Recent,
    pub(super) soak: Option<Soak>,
    /// What edges before this one died of, until it is withdrawn for that.
    pub(super) walked_back: Option<WalkedBack>,
    /// Who waits for the end of the soak.
    pub(super) watchers: Vec<SyncSender<Answer>>,
    table: SpliceTable,
    /// Whether another edge publishes from now on.
    is_over: Arc<AtomicBool>,
}

/// Why a change does not go on.
enum Stopped {
    /// The files have problems, or a guard says no: nothing to remember. It is told.
    Refused(Box<Answer>),
    /// It could not be tried, or was not to be: nothing to remember either, and yet to be told.
    Hindered(String),
    /// It was tried and is bad: its hash is remembered.
    Withdrawn(String),
}

impl From<anyhow::Error> for Stopped {
    fn from(error: anyhow::Error) -> Self {
        Self::Hindered(format!("{error:#}"))
    }
}

/// Says how far a change is.
type Say<'a> = &'a dyn Fn(String);

impl Publisher {
    pub(super) fn new(
        setup: PublisherSetup,
        inbox: Receiver<Event>,
        progress: Arc<Mutex<Progress>>,
        is_over: Arc<AtomicBool>,
    ) -> Self {
        let rejected = Rejected::open(&setup.data_dir);
        let table = SpliceTable::new(table_path(&setup.data_dir), setup.events.clone());
        let mut publisher = Self {
            setup,
            inbox,
            waiting: VecDeque::new(),
            progress,
            rejected,
            recent: Recent::default(),
            soak: None,
            walked_back: None,
            watchers: Vec::new(),
            table,
            is_over,
        };
        publisher.begin();
        publisher
    }

    /// Goes on with what an earlier process watched, or begins to watch what was started with.
    fn begin(&mut self) {
        let live = self.setup.node.live();
        self.table.write(&live.snapshot);
        let number = live.snapshot.number;
        let now = clock::now();
        self.recent.restart(now, self.figures());
        let last_good = self.setup.generations.last_good().map(|generation| generation.number);
        match Mark::read(&self.setup.data_dir) {
            Some(mark) if mark.number == number => {
                // Whoever sets the clock neither ends a watch nor makes a deadline pass.
                let watched = clock::Moment::now().since(&mark.began);
                let left = |ms: u64| now + Duration::from_millis(ms).saturating_sub(watched);
                let until = left(mark.for_ms);
                let confirm_until = mark.confirm_within_ms.map(left);
                self.soak = Some(Soak { mark, until, confirm_until, before: Figures::default() });
            }
            // The first ever: there is nothing to go back to.
            _ if last_good.is_none() => self.make_good(number),
            // Good already. That is no news: what an earlier edge died of still speaks against it.
            _ if last_good == Some(number) => {
                Mark::remove(&self.setup.data_dir);
                self.have_spare_refreshed(number);
            }
            _ if last_good > Some(number) => {
                // An older generation serves after a crash loop: good when it lives.
                self.walked_back = self.walk_back_from(number);
            }
            _ => {
                let hash = hex(&self.setup.node.live().snapshot.hash);
                self.watch_change(number, hash, last_good.unwrap_or(0), None, Figures::default());
            }
        }
        self.show_idle();
    }

    pub(super) fn run(&mut self) {
        let mut certificates_at = clock::now() + WATCH_EVERY;
        let mut table_at = clock::now() + splice_table::EVERY;
        loop {
            if self.is_over.load(Ordering::Acquire) {
                return self.hand_watchers_on();
            }
            let now = clock::now();
            if certificates_at <= now {
                self.look_at_certificates();
                certificates_at = now + WATCH_EVERY;
            }
            if table_at <= now {
                self.table.write(&self.setup.node.live().snapshot);
                table_at = now + splice_table::EVERY;
            }
            self.look_at_soak(now);
            self.look_at_walk_back(now);
            let event = match self.waiting.pop_front() {
                Some(event) => Ok(event),
                None => {
                    let is_watching = self.soak.is_some() || self.walked_back.is_some();
                    let look_at = if is_watching { now + LOOK_EVERY } else { certificates_at };
                    let wait = look_at.min(certificates_at).saturating_duration_since(now);
                    self.inbox.recv_timeout(wait.max(Duration::from_millis(1)))
                }
            };
            match event {
                Ok(Event::Publish { options, to }) => self.take_wish(options, to),
                Ok(Event::Confirm(to)) => {
                    let _ = to.try_send(self.confirm());
                }
                Ok(Event::Withdraw(to)) => {
                    let _ = to.try_send(self.withdraw_by_hand());
                }
                Ok(Event::Killed(killed)) => self.take_killed(&killed),
                // A candidate that nobody waits for any more.
                Ok(Event::Candidate(_)) => self.end_candidate(),
                Ok(Event::CandidateEnded(_) | Event::End) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Tells those who wait for the end of a soak that another edge watches it.
    fn hand_watchers_on(&mut self) {
        let answer =
            Answer::refused("another edge took over and watches on: `rempart status` says how it goes");
        for watcher in self.watchers.drain(..) {
            let _ = watcher.try_send(answer.copy());
        }
    }

    /// Publishes for somebody, and for everybody who waits with the same wish.
    fn take_wish(&mut self, options: Options, to: Option<SyncSender<Answer>>) {
        let mut askers: Vec<SyncSender<Answer>> = to.into_iter().collect();
        // Files are read from now on: wishes that came meanwhile are granted with this one.
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                Event::Publish { options: other, to } if other == options => askers.extend(to),
                other => self.waiting.push_back(other),
            }
        }
        let answer = {
            let say = |text: String| {
                let line = Answer { ok: true, progress: Some(text), ..Answer::default() };
                for asker in &askers {
                    let _ = asker.try_send(line.copy());
                }
            };
            self.publish(options, &say)
        };
        let is_watched = answer.ok && options.wait && self.soak.is_some() && answer.changed == Some(true);
        for asker in askers {
            // Whoever asked may be gone; the event tells the outcome all the same.
            if is_watched {
                let text = format!("snapshot {} is live and watched", answer.number.unwrap_or(0));
                let _ = asker.try_send(Answer { ok: true, progress: Some(text), ..Answer::default() });
                self.watchers.push(asker);
            } else {
                let _ = asker.try_send(answer.copy());
            }
        }
        self.show_idle();
    }

    /// Leads a change through its stages.
    fn publish(&mut self, options: Options, say: Say<'_>) -> Answer {
        let mut hash = String::new();
        let outcome = self.stages(options, &mut hash, say);
        self.setup.node.copy_facts(None);
        match outcome {
            Ok(answer) => answer,
            Err(Stopped::Refused(answer)) => {
                self.end_candidate();
                *answer
            }
            Err(Stopped::Hindered(why)) => {
                self.end_candidate();
                self.setup.node.swap_refused();
                // Whoever published by a signal has no other answer.
                let remedy = "what runs is served on; do what the cause says, and run `rempart publish`";
                let fields: [(&'static str, Value<'_>); 2] =
                    [("cause", (&why).into()), ("remedy", remedy.into())];
                self.setup.events.error("publish_refused", &fields);
                Answer::refused(why)
            }
            Err(Stopped::Withdrawn(why)) => {
                self.end_candidate();
                self.setup.node.swap_refused();
                let serves = self.setup.node.live().snapshot.number;
                let number = self.next_number(serves);
                self.reject(hash, number, &why);
                self.tell_withdrawn(number, serves, &why);
                let remedy = "mend the files and publish again; `--again` takes them as they are";
                Answer::refused(format!("withdrawn: {why}; {remedy}"))
            }
        }
    }

    fn stages(&mut self, options: Options, hash: &mut String, say: Say<'_>) -> Result<Answer, Stopped> {
        self.show("compiling", "a candidate reads the files");
        let live = self.setup.node.live().snapshot.number;
        let stages = self.setup.running.stages;
        if let Err(error) = self.setup.generations.keep_late(live) {
            let remedy = remedy_for(&error);
            let what =
                format!("snapshot {live} serves and is not kept on disk yet: {remedy}, and publish again");
            return Err(error.context(what).into());
        }
        // Before the memory of what was withdrawn may forget one.
        let number = self.next_number(live);
        let candidate = self.start_candidate()?;
        let (trial, bundle) = self.try_out(&candidate, live, options, hash)?;
        if !trial.compiles {
            let problems = trial::problems(&trial.problems);
            self.setup.node.swap_refused();
            tell_refusal("publish_refused", &problems, CHECK, None, &self.setup.events);
            return Err(refused_for(&trial));
        }
        say(format!(
            "compiled: {}, {} gained, {} lost, {} changed",
            counted(trial.zones, "zone"),
            trial.difference.gained.len(),
            trial.difference.lost.len(),
            trial.difference.changed.len()
        ));
        if !trial.removals.is_empty() && !options.allow_removals && !options.dry_run {
            return Err(self.refuse_removals(&trial));
        }
        let decisions = if trial.is_changed {
            self.compare(&candidate, stages.compare_ms, say)
                .map_err(|error| self.candidate_failed(&error, "it decided on copies of requests"))?
        } else {
            Decisions::default()
        };
        if options.dry_run {
            self.end_candidate();
            return Ok(Answer {
                ok: true,
                zones: Some(trial.zones),
                changed: Some(trial.is_changed),
                decisions: Some(decisions),
                problems: trial.problems,
                put_back: trial.put_back,
                error: (!trial.removals.is_empty()).then(|| removals_text(&trial.removals)),
                difference: Some(trial.difference),
                ..Answer::default()
            });
        }
        if trial.is_changed && stages.canary_percent > 0 && stages.canary_ms > 0 {
            if trial.lacks_pairs {
                // Visitors would meet no certificate there.
                let files = trial.put_back.join(", ");
                say(format!("no canary: a candidate has not got the certificates that serve for {files}"));
            } else {
                self.canary(&candidate, say)?;
            }
        }
        self.end_candidate();
        drop(candidate);
        self.go_live(trial, bundle, number, options, decisions, say)
    }

    /// The number of the next change: no number is given twice, those of withdrawn changes included.
    pub(super) fn next_number(&self, live: u64) -> u64 {
        let rejected = self.rejected.all().iter().map(|rejection| rejection.number).max().unwrap_or(0);
        self.setup.generations.next_number().max(live + 1).max(rejected + 1)
    }

    /// Asks the supervisor for a candidate.
    fn start_candidate(&mut self) -> Result<Candidate> {
        let until = clock::now() + ANSWER_WAIT;
        self.setup
            .supervisor
            .send(&FromEdge::StartCandidate, &[], false)
            .context("the supervisor is gone: start `rempart serve` again, then publish")?;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(clock::now())) {
                Ok(Event::Candidate(channel)) => {
                    self.setup.node.set_has_candidate(true);
                    return Ok(Candidate { channel });
                }
                Ok(Event::CandidateEnded(how)) => bail!("no candidate could be started: {how}"),
                Ok(other) => self.waiting.push_back(other),
                Err(_) => bail!("the supervisor starts no candidate"),
            }
        }
    }

    fn try_out(
        &mut self,
        candidate: &Candidate,
        live: u64,
        options: Options,
        hash: &mut String,
    ) -> Result<(Trial, Vec<u8>), Stopped> {
        let stages = self.setup.running.stages;
        let wait = Duration::from_secs(stages.compile_cpu_s).saturating_mul(COMPILE_FACTOR) + COMPILE_GRACE;
        let question = ToCandidate::Try { live, removals_percent_max: stages.removals_percent_max };
        let mut answer = candidate.ask(&question, wait);
        if let Ok((FromCandidate::Gathered { hash: gathered }, _)) = &answer {
            hash.clone_from(gathered);
            let before = self.rejected.find(gathered).cloned();
            if let Some(rejection) = before {
                if !options.again {
                    let text = format!(
                        "these files were withdrawn before: {}; change them, or say so with --again",
                        rejection.why
                    );
                    return Err(Stopped::Hindered(text));
                }
                if let Err(error) = self.rejected.forget(gathered) {
                    self.not_kept(&error);
                }
            }
            answer = candidate.answer(wait);
        }
        match answer {
            Ok((FromCandidate::Tried, descriptors)) => {
                let (trial, bundle): (Trial, _) = beside_with_bytes(descriptors)?;
                if trial.compiles && !trial.put_back.is_empty() {
                    hash.clone_from(&trial.hash);
                }
                Ok((trial, bundle))
            }
            Ok((other, _)) => Err(anyhow::anyhow!("the candidate answers {other:?}").into()),
            Err(error) => Err(self.candidate_failed(&error, "it read and compiled the files")),
        }
    }

    /// What a candidate's failure means for the change: it is bad if the candidate died of it.
    fn candidate_failed(&mut self, error: &anyhow::Error, doing: &str) -> Stopped {
        if let Some(SaidNo(why)) = error.downcast_ref() {
            return Stopped::Hindered(why.clone());
        }
        // The supervisor tells how it ended; a moment later than the channel does.
        let until = clock::now() + Duration::from_secs(2);
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(clock::now())) {
                Ok(Event::CandidateEnded(_)) if error.is::<TookTooMuch>() => {
                    return Stopped::Withdrawn(format!("while {doing}, {error}"));
                }
                Ok(Event::CandidateEnded(how)) => {
                    return Stopped::Withdrawn(format!("the candidate died while {doing}: {how}"));
                }
                Ok(other) => self.waiting.push_back(other),
                Err(_) => return Stopped::Withdrawn(format!("while {doing}: {error:#}")),
            }
        }
    }

    fn refuse_removals(&self, trial: &Trial) -> Stopped {
        let text = removals_text(&trial.removals);
        self.setup.node.swap_refused();
        let lost = trial.difference.lost.join(", ");
        let fields: [(&'static str, Value<'_>); 2] = [("cause", (&text).into()), ("lost", (&lost).into())];
        self.setup.events.error("removals_refused", &fields);
        Stopped::Refused(Box::new(Answer {
            difference: Some(trial.difference.clone()),
            error: Some(text),
            ..Answer::default()
        }))
    }

    /// Lets the candidate decide on copies of live requests, beside what serves.
    fn compare(&mut self, candidate: &Candidate, compare_ms: u64, say: Say<'_>) -> Result<Decisions> {
        self.show("comparing", "the candidate decides on copies of requests");
        let until = clock::now() + Duration::from_millis(compare_ms);
        let mut decisions = Decisions::default();
        if compare_ms == 0 {
            return Ok(decisions);
        }
        let (sender, facts) = sync_channel(FACTS_WAITING);
        self.setup.node.copy_facts(Some(sender));
        loop {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            let Ok(first) = facts.recv_timeout(left) else { break };
            let mut some = vec![first];
            while some.len() < FACTS_PER_MESSAGE
                && let Ok(more) = facts.try_recv()
            {
                some.push(more);
            }
            let theirs = candidate.decide(&some)?;
            for (facts, theirs) in some.iter().zip(&theirs) {
                decisions.compared += 1;
                let ours = self.setup.node.decide(facts);
                if ours == *theirs {
                    continue;
                }
                decisions.differing += 1;
                if decisions.examples.len() < EXAMPLES_MAX {
                    decisions.examples.push(format!("{}: {ours} → {theirs}", facts.name()));
                }
            }
        }
        self.setup.node.copy_facts(None);
        say(format!("compared: {} decisions, {} differ", decisions.compared, decisions.differing));
        Ok(decisions)
    }

    /// Lets the candidate serve a share of the visitors, and compares how they fare.
    fn canary(&mut self, candidate: &Candidate, say: Say<'_>) -> Result<(), Stopped> {
        let stages = self.setup.running.stages;
        let percent = stages.canary_percent;
        self.show("canary", &format!("the candidate serves {percent} % of the visitors"));
        let doing = "it served a share of the visitors";
        let serving = candidate.ask(&ToCandidate::Serve, ANSWER_WAIT);
        match serving {
            Ok((FromCandidate::Serving, _)) => {}
            Ok((other, _)) => return Err(anyhow::anyhow!("the candidate answers {other:?}").into()),
            Err(error) => return Err(self.candidate_failed(&error, doing)),
        }
        let theirs_before = candidate.figures().map_err(|error| self.candidate_failed(&error, doing))?;
        let ours_before = self.figures();
        self.setup
            .supervisor
            .send(&FromEdge::Steer { percent }, &[], false)
            .context("the supervisor is gone")?;
        let until = clock::now() + Duration::from_millis(stages.canary_ms);
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        while clock::now() < until {
            std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(clock::now())));
            theirs = candidate
                .figures()
                .map_err(|error| self.candidate_failed(&error, doing))?
                .since(&theirs_before);
            ours = self.figures().since(&ours_before);
            if let Judgement::Worse(why) = judge(&ours, &theirs, stages.requests_min) {
                return Err(Stopped::Withdrawn(format!("{percent} % of the visitors fared worse: {why}")));
            }
        }
        say(format!("canary: {}; beside it: {}", theirs.text(), ours.text()));
        if judge(&ours, &theirs, stages.requests_min) == Judgement::TooFew {
            let asked =
                candidate.ask(&ToCandidate::Probe { zones_max: PROBES_MAX }, Duration::from_secs(120));
            let requests = match asked {
                Ok((FromCandidate::Probed { requests }, _)) => requests,
                Ok((other, _)) => return Err(anyhow::anyhow!("the candidate answers {other:?}").into()),
                Err(error) => return Err(self.candidate_failed(&error, "it was probed")),
            };
            let all = candidate
                .figures()
                .map_err(|error| self.candidate_failed(&error, "it was probed"))?
                .since(&theirs_before);
            if all.edge_faults + all.panics > theirs.edge_faults + theirs.panics {
                let why = format!("probes met faults of the node's own: {}", all.text());
                return Err(Stopped::Withdrawn(why));
            }
            let note = format!(
                "{} are too few to compare ({} are needed): {} and time decide",
                counted(usize::try_from(theirs.requests).unwrap_or(usize::MAX), "request"),
                stages.requests_min,
                counted(requests, "probe"),
            );
            self.setup.events.info("too_few_requests", &[("note", (&note).into())]);
            say(note);
        }
        Ok(())
    }

    /// Lets the supervisor end the candidate; visitors come here alone from now on.
    fn end_candidate(&self) {
        self.setup.node.set_has_candidate(false);
        // With no supervisor there is no candidate either.
        let _ = self.setup.supervisor.send(&FromEdge::EndCandidate, &[], false);
    }

    /// Swaps to what the candidate proved: the same bytes, compiled here.
    fn go_live(
        &mut self,
        trial: Trial,
        bytes: Vec<u8>,
        number: u64,
        options: Options,
        decisions: Decisions,
        say: Say<'_>,
    ) -> Result<Answer, Stopped> {
        let bundle = Bundle::from_bytes(&bytes).context("the candidate's bundle is damaged")?;
        let hash = hex(&bundle.hash());
        if hash != trial.hash {
            return Err(anyhow::anyhow!("the candidate's bundle is not the one that it tried").into());
        }
        if self.is_over.load(Ordering::Acquire) {
            return Err(anyhow::anyhow!("this edge was replaced meanwhile: publish again").into());
        }
        let live = self.setup.node.live();
        let number = if trial.is_changed { number } else { live.snapshot.number };
        // What has none here either is put back to what serves without.
        let lost = if trial.lacks_pairs { Lost::LeftOut } else { Lost::Told };
        let compiled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            compile_kept(&bundle, number, Some(&live.snapshot), &self.setup.keyring, lost)
        }));
        let kept = match compiled {
            Ok(Ok(kept)) => kept,
            Ok(Err(problems)) => return Err(self.refuse_files(&problems)),
            Err(_) => return Err(Stopped::Withdrawn("compiling it panicked in the serving edge".to_owned())),
        };
        tell_lost(&kept.snapshot, kept.lacks_pairs, &self.setup.events);
        let snapshot = kept.snapshot;
        let mut told = trial::problems(&trial.problems).0;
        told.extend(self.waiting_settings(&trial.waiting));
        let problems: Vec<ProblemText> = told.iter().map(ProblemText::from).collect();
        let (errors, warnings): (Vec<Problem>, Vec<Problem>) = told.into_iter().partition(Problem::is_error);
        let zones = snapshot.zones().len();
        let previous = live.snapshot.number;
        let before = self.recent_stretch();
        keep(&self.setup.generations, number, &hash, &bytes, &self.setup.events);
        self.take(snapshot, &trial.stamps);
        tell_warnings(&warnings, &self.setup.events);
        let put_back = trial.put_back.join(", ");
        let reasons = Problems(errors).lines();
        let mut fields: Vec<(&'static str, Value<'_>)> =
            vec![("snapshot", number.into()), ("zones", zones.into()), ("changed", trial.is_changed.into())];
        if !put_back.is_empty() {
            fields.push(("put_back", (&put_back).into()));
            fields.push(("problems", reasons.trim_end().into()));
        }
        self.setup.events.info("published", &fields);
        if trial.is_changed {
            say(format!("live: snapshot {number}"));
            self.watch_change(number, hash, previous, options.confirm_within_s, before);
        }
        Ok(Answer {
            ok: true,
            number: Some(number),
            zones: Some(zones),
            changed: Some(trial.is_changed),
            problems,
            put_back: trial.put_back,
            difference: Some(trial.difference),
            decisions: Some(decisions),
            ..Answer::default()
        })
    }

    fn refuse_files(&self, problems: &Problems) -> Stopped {
        self.setup.node.swap_refused();
        tell_refusal("publish_refused", problems, CHECK, None, &self.setup.events);
        let problems = problems.0.iter().map(ProblemText::from).collect();
        Stopped::Refused(Box::new(Answer { problems, ..Answer::default() }))
    }

    /// Puts a snapshot in force. Unchanged files may still have new keys, which no bundle holds: the swap
    /// takes them too.
    pub(super) fn take(
        &mut self,
        snapshot: Snapshot,
        stamps: &std::collections::BTreeMap<String, crate::configuration::Stamp>,
    ) {
        let number = snapshot.number;
        self.setup.watch = Watch::new(&snapshot, stamps);
        self.table.write(&snapshot);
        self.setup.node.swap(snapshot);
        self.have_spare_refreshed(number);
    }

    /// What a spare is to stand ready with has changed. With no supervisor there is no spare.
    pub(super) fn have_spare_refreshed(&self, serves: u64) {
        let message = FromEdge::Published { number: serves, is_good: false };
        let _ = self.setup.supervisor.send(&message, &[], false);
    }

    pub(super) fn not_kept(&self, error: &anyhow::Error) {
        let remedy = format!("{}: a restart would not know of it", remedy_for(error));
        let cause = format!("{error:#}");
        let fields: [(&'static str, Value<'_>); 2] =
            [("cause", (&cause).into()), ("remedy", (&remedy).into())];
        self.setup.events.error("state_not_kept", &fields);
    }

    pub(super) fn figures(&self) -> Figures {
        let figures = self.setup.node.figures();
        Figures {
            requests: figures.requests,
            server_errors: figures.server_errors,
            edge_faults: figures.edge_faults,
            origin_faults: figures.origin_faults,
            refusals: figures.refusals,
            panics: figures.panics,
            durations: figures.durations,
        }
    }

    fn recent_stretch(&mut self) -> Figures {
        let figures = self.figures();
        self.recent.note(clock::now(), figures);
        self.recent.stretch()
    }

    fn show(&self, stage: &'static str, note: &str) {
        let last_good = self.setup.generations.last_good().map_or(0, |generation| generation.number);
        let progress = Progress {
            stage,
            since_unix_us: clock::unix_us(),
            note: note.to_owned(),
            last_good,
            confirm_until_unix_us: self.soak.as_ref().and_then(|soak| soak.mark.confirm_until_unix_us()),
            rejected: self.rejected.all().to_vec(),
            upgrades_failed: 0,
        };
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    pub(super) fn show_idle(&self) {
        match &self.soak {
            Some(soak) => {
                self.show("soaking", &format!("snapshot {}: {}", soak.mark.number, soak.before.text()));
            }
            None => self.show("idle", ""),
        }
    }

    /// Warns of settings that only a new start takes.
    fn waiting_settings(&self, waiting: &[String]) -> Option<Problem> {
        (!waiting.is_empty()).then(|| Problem {
            file: self.setup.config.to_string_lossy().into_owned(),
            line: 1,
            column: 1,
            message: format!("changed since the start, and not in force: {}", waiting.join(", ")),
            suggestion: Some("restart the node to take them".to_owned()),
            severity: zone::Severity::Warning,
        })
    }
}

fn refused_for(trial: &Trial) -> Stopped {
    Stopped::Refused(Box::new(Answer { problems: trial.problems.clone(), ..Answer::default() }))
}

fn removals_text(removals: &[String]) -> String {
    format!(
        "more would be removed than [publish] removals_percent_max allows: {}; if it is meant, say so with \
         --allow-removals",
        removals.join("; ")
    )
}
