//! A change's way into the running edge: files, compile, generation on disk, swap; or every problem, and no
//! change.
//!
//! One thread does all of it, one change after the other: publishes by command or SIGHUP, and renewed
//! certificates. At the start it also decides what to begin with: the files, else the last good generation,
//! else older ones. It serves nobody and is never waited for by a request. Called by [`crate::edge_role`];
//! read next: [`start`], then [`Publisher::publish`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use telemetry::events::{Events, Value};
use zone::{Bundle, Node, Problem, Snapshot};

use crate::certificates::{Finding, Watch};
use crate::clock;
use crate::configuration::{
    Gathered, Problems, Stamp, compile_kept, gather, read_node_file, waits_for_start,
};
use crate::generations::{Generation, Generations};
use crate::messages::{Answer, ProblemText};

/// How often certificate files are looked at: soon enough that nobody waits for it, seldom enough that
/// 10,000 pairs (some 20 ms of `stat`) cost half a percent of one core.
pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Publishes that may wait for the one under way. Further ones are refused: they would only read the same
/// files.
const WAITING_MAX: usize = 4;

/// What the edge begins with.
#[derive(Debug)]
pub(crate) struct Start {
    /// What to serve.
    pub(crate) snapshot: Snapshot,
    /// Stamps of the files it was compiled from; none when it comes from a generation.
    pub(crate) stamps: BTreeMap<String, Stamp>,
    /// The generation it comes from, when the files cannot be used.
    pub(crate) kept: Option<Generation>,
}

/// Decides what to begin with, and keeps it as a generation when it comes from the files.
///
/// # Errors
/// When neither the files nor any kept generation can be used: the problems of the files.
pub(crate) fn start(config: &Path, generations: &Generations, events: &Events) -> Result<Start, Problems> {
    let refused = match read_node_file(config) {
        Ok(file) => {
            let gathered = gather(&file);
            let hash = hex(&gathered.bundle.hash());
            let newest = generations.newest_with_hash(&hash);
            let number = newest.as_ref().map_or_else(|| generations.next_number(), |newest| newest.number);
            match gathered.compile(number, None) {
                Ok(snapshot) => {
                    keep(generations, &gathered, number, &hash, events);
                    tell_warnings(&snapshot.warnings, events);
                    return Ok(Start { snapshot, stamps: gathered.stamps, kept: None });
                }
                Err(problems) => problems,
            }
        }
        Err(problems) => problems,
    };
    for generation in generations.to_try() {
        match restore(generations, &generation) {
            Ok(snapshot) => {
                tell_refusal("started_from_kept_generation", &refused, Some(generation.number), events);
                return Ok(Start { snapshot, stamps: BTreeMap::new(), kept: Some(generation) });
            }
            Err(error) => {
                let cause = format!("{error:#}");
                let fields: [(&'static str, Value<'_>); 2] =
                    [("generation", generation.number.into()), ("cause", (&cause).into())];
                events.error("kept_generation_unusable", &fields);
            }
        }
    }
    Err(refused)
}

/// Reads and compiles a kept generation.
fn restore(generations: &Generations, generation: &Generation) -> Result<Snapshot> {
    let bytes = generations.read(generation)?;
    let path = generations.path(generation);
    let bundle = Bundle::from_bytes(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    compile_kept(&bundle, generation.number).map_err(|problems| {
        anyhow::anyhow!("{} no longer compiles: {}", path.display(), problems.lines().trim_end())
    })
}

/// Keeps what was compiled. A full disk must not keep a change from visitors: it is told, and the node
/// serves on.
fn keep(generations: &Generations, gathered: &Gathered, number: u64, hash: &str, events: &Events) {
    let kept = match generations.newest_with_hash(hash) {
        Some(newest) if generations.last_good().as_ref() == Some(&newest) => Ok(()),
        Some(newest) => generations.set_last_good(&newest),
        None => generations.keep(number, hash, &gathered.bundle.to_bytes()).map(drop),
    };
    if let Err(error) = kept {
        let cause = format!("{error:#}");
        let remedy = "the node serves it, but would start from an older one: make room and publish again";
        let fields: [(&'static str, Value<'_>); 3] =
            [("snapshot", number.into()), ("cause", (&cause).into()), ("remedy", remedy.into())];
        events.error("generation_not_kept", &fields);
    }
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

/// Tells why files were refused, in one line that may be cut; `rempart check` prints all of it.
fn tell_refusal(event: &'static str, refused: &Problems, generation: Option<u64>, events: &Events) {
    let (lines, errors) = (refused.lines(), refused.errors());
    let remedy = "`rempart check` prints every problem; mend them and run `rempart publish`";
    let mut fields: Vec<(&'static str, Value<'_>)> =
        vec![("errors", errors.into()), ("problems", lines.trim_end().into()), ("remedy", remedy.into())];
    if let Some(number) = generation {
        fields.push(("generation", number.into()));
    }
    events.error(event, &fields);
}

/// A wish to publish, with the place for the answer; none for a signal.
type Wish = Option<SyncSender<Answer>>;

/// The way to the publishing thread. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Publishing(SyncSender<Wish>);

impl Publishing {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(mut publisher: Publisher) -> Result<Self> {
        let (sender, wishes) = sync_channel(WAITING_MAX);
        let run = move || publisher.run(&wishes);
        thread::Builder::new().name("publishing".into()).spawn(run).context("no thread for publishing")?;
        Ok(Self(sender))
    }

    /// Publishes and waits for the answer, which takes as long as reading and compiling all files.
    pub(crate) fn publish(&self) -> Answer {
        let (sender, answer) = sync_channel(1);
        if self.0.try_send(Some(sender)).is_err() {
            return Answer::refused("several publishes wait already: they take the files as they are then");
        }
        answer.recv().unwrap_or_else(|_| Answer::refused("the publish broke off: see the node's log"))
    }

    /// Publishes without waiting. When several wait already, those read the same files: nothing is lost.
    pub(crate) fn publish_later(&self) {
        let _ = self.0.try_send(None);
    }
}

/// Publishes into one running edge.
pub(crate) struct Publisher {
    /// The running edge.
    pub(crate) node: Arc<edge::Node>,
    /// The node file.
    pub(crate) config: PathBuf,
    /// The node's settings since its start.
    pub(crate) running: Node,
    /// Where bundles are kept.
    pub(crate) generations: Generations,
    /// Where to tell.
    pub(crate) events: Events,
    /// The certificate files of what runs.
    pub(crate) watch: Watch,
}

impl Publisher {
    fn run(&mut self, wishes: &Receiver<Wish>) {
        let mut look_at = clock::now() + WATCH_EVERY;
        loop {
            match wishes.recv_timeout(look_at.saturating_duration_since(clock::now())) {
                Ok(wish) => {
                    let answer = self.publish();
                    if let Some(place) = wish {
                        // Whoever asked may be gone; the event tells the outcome all the same.
                        let _ = place.try_send(answer);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look_at_certificates();
                    look_at = clock::now() + WATCH_EVERY;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes the files as they are now: all of them, or nothing.
    fn publish(&mut self) -> Answer {
        let file = match read_node_file(&self.config) {
            Ok(file) => file,
            Err(problems) => return self.refuse(&problems),
        };
        let gathered = gather(&file);
        let hash = gathered.bundle.hash();
        let live = self.node.live();
        let before = &live.snapshot;
        let changed = hash != before.hash;
        let number =
            if changed { self.generations.next_number().max(before.number + 1) } else { before.number };
        let snapshot = match gathered.compile(number, Some(before)) {
            Ok(snapshot) => snapshot,
            Err(problems) => return self.refuse(&problems),
        };
        let zones = snapshot.zones().len();
        if zones == 0 && !before.zones().is_empty() {
            // A folder that failed to mount looks like this; who wants to serve nothing stops the node.
            return self.refuse(&Problems(vec![Problem {
                file: file.node.zones.clone(),
                line: 1,
                column: 1,
                message: "no zone is left, which would take every site down".to_owned(),
                suggestion: Some(
                    "see that the folder is mounted and readable; stop the node to serve nothing".to_owned(),
                ),
                severity: zone::Severity::Error,
            }]));
        }
        let mut warnings = file.node.warnings.clone();
        warnings.extend(snapshot.warnings.iter().cloned());
        warnings.extend(self.waiting_settings(&file.node));
        let watch = Watch::new(&snapshot, &gathered.stamps);
        keep(&self.generations, &gathered, number, &hex(&hash), &self.events);
        // Unchanged files may still have new keys, which no bundle holds: the swap takes them too.
        self.node.swap(snapshot);
        self.watch = watch;
        tell_warnings(&warnings, &self.events);
        let fields: [(&'static str, Value<'_>); 3] =
            [("snapshot", number.into()), ("zones", zones.into()), ("changed", changed.into())];
        self.events.info("published", &fields);
        Answer {
            ok: true,
            number: Some(number),
            zones: Some(zones),
            changed: Some(changed),
            problems: warnings.iter().map(ProblemText::from).collect(),
            ..Answer::default()
        }
    }

    fn refuse(&self, problems: &Problems) -> Answer {
        self.node.swap_refused();
        tell_refusal("publish_refused", problems, None, &self.events);
        Answer { problems: problems.0.iter().map(ProblemText::from).collect(), ..Answer::default() }
    }

    /// Warns of settings that only a new start takes.
    fn waiting_settings(&self, read: &Node) -> Option<Problem> {
        let waiting = waits_for_start(&self.running, read);
        (!waiting.is_empty()).then(|| Problem {
            file: self.config.to_string_lossy().into_owned(),
            line: 1,
            column: 1,
            message: format!("changed since the start, and not in force: {}", waiting.join(", ")),
            suggestion: Some("restart the node to take them".to_owned()),
            severity: zone::Severity::Warning,
        })
    }

    fn look_at_certificates(&mut self) {
        for finding in self.watch.look() {
            match finding {
                Finding::Renewed { path, zones, key } => {
                    let refused =
                        zones.iter().find_map(|zone| self.node.replace_certificate(*zone, &key).err());
                    match refused {
                        Some(error) => self.certificate_unusable(&path, &error.to_string()),
                        None => {
                            let fields: [(&'static str, Value<'_>); 2] =
                                [("file", (&path).into()), ("zones", zones.len().into())];
                            self.events.info("certificate_renewed", &fields);
                        }
                    }
                }
                Finding::Broken { path, cause } => {
                    self.node.certificate_refused();
                    self.certificate_unusable(&path, &cause);
                }
            }
        }
    }

    fn certificate_unusable(&self, path: &str, cause: &str) {
        let remedy = "the certificate before stays in use: mend the files, they are read by themselves";
        let fields: [(&'static str, Value<'_>); 3] =
            [("file", path.into()), ("cause", cause.into()), ("remedy", remedy.into())];
        self.events.error("certificate_unusable", &fields);
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
