//! What a serving edge and its candidate say to each other, and the trial itself: gather, compile, compare
//! with what serves, say what would be lost.
//!
//! All reading of files and all compiling of something new happens in the candidate, under limits, since it
//! is the moment in which a bad file does what it does. The serving edge takes the bundle's bytes only after
//! that. Called by [`super::publisher`] (asks) and [`crate::edge_role`]'s candidate (answers).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use zone::{Bundle, Problem, Snapshot, Source};

use super::health::Figures;
use crate::addresses::protocol_name;
use crate::configuration::{
    Gathered, Keyring, Lost, Problems, Stamp, compile_kept, files_of, gather, outdated, read_node_file,
};
use crate::generations::Generations;
use crate::messages::{DifferenceText, ProblemText};

/// Rounds of putting zones back: a zone put back may bring back a hostname that another new one takes.
const ROUNDS_MAX: usize = 4;

/// What the serving edge asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum ToCandidate {
    /// Gather and compile; the first answer is [`FromCandidate::Gathered`], the second
    /// [`FromCandidate::Tried`].
    Try {
        /// The generation that serves.
        live: u64,
        /// The share that may be removed without a word.
        removals_percent_max: u8,
    },
    /// Decide on these facts, which are in the file beside ([`Copied`] each); answered in their order.
    Decide,
    /// Serve the candidate's sockets.
    Serve,
    /// Ask yourself for the first page of at most so many zones.
    Probe {
        /// At most so many.
        zones_max: usize,
    },
    /// Say what happened so far.
    Figures,
}

/// What the candidate answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum FromCandidate {
    /// The files are read.
    Gathered {
        /// SHA-256 of their bundle, hex.
        hash: String,
    },
    /// It has compiled, or not; the [`Trial`] is in the file beside, and in a second one the bundle to serve.
    Tried,
    /// The decisions are in the file beside.
    Decided,
    /// It serves.
    Serving,
    /// What the probes met.
    Probed {
        /// Requests made.
        requests: usize,
    },
    /// What happened so far.
    Figures(Figures),
    /// It takes more than it may, and ends itself.
    TookTooMuch {
        /// Of what.
        what: String,
    },
    /// It cannot do what was asked.
    Failed {
        /// Why.
        why: String,
    },
}

/// What came of a trial.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Whether there is something that can serve.
    pub(crate) compiles: bool,
    /// Whether it differs from what serves.
    pub(crate) is_changed: bool,
    /// SHA-256 of the bundle to serve, hex: that of the files but for zones that were put back.
    pub(crate) hash: String,
    /// Zones of it.
    pub(crate) zones: usize,
    /// Everything wrong, and warnings.
    pub(crate) problems: Vec<ProblemText>,
    /// Files of zones that have problems and stay as they serve.
    pub(crate) put_back: Vec<String>,
    /// What is gained, lost, changed.
    pub(crate) difference: DifferenceText,
    /// Removals that need an explicit word.
    pub(crate) removals: Vec<String>,
    /// Whether what is put back lacks certificates here, since their keys as they are now do not fit: those
    /// that the serving edge has in memory, it hands to nobody.
    #[serde(default)]
    pub(crate) lacks_pairs: bool,
    /// Settings of the node file that wait for a start.
    pub(crate) waiting: Vec<String>,
    /// Stamps of the files, taken before they were read.
    pub(crate) stamps: BTreeMap<String, Stamp>,
}

/// What a candidate has compiled: to serve, and as bytes for the asking edge.
pub(crate) type Tried = (Snapshot, Vec<u8>);

/// Facts of one request in a form that travels: bytes as characters below 256.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Copied {
    visitor: std::net::SocketAddr,
    is_https: bool,
    local: std::net::SocketAddr,
    is_secure: bool,
    is_tls13: bool,
    verified_for: Option<[u8; 16]>,
    method: String,
    authority: String,
    target: String,
    body_bytes: Option<u64>,
    protocol: String,
    is_extended: bool,
    fields: Vec<(String, String)>,
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}

impl From<&edge::Facts> for Copied {
    fn from(facts: &edge::Facts) -> Self {
        Self {
            visitor: facts.visitor,
            is_https: facts.scheme == exchange::Scheme::Https,
            local: facts.local,
            is_secure: facts.is_secure,
            is_tls13: facts.is_tls13,
            verified_for: facts.verified_for,
            method: text(&facts.method),
            authority: text(&facts.authority),
            target: text(&facts.target),
            body_bytes: facts.body_bytes,
            protocol: text(&facts.protocol),
            is_extended: facts.is_extended,
            fields: facts.fields.iter().map(|(name, value)| (text(name), text(value))).collect(),
        }
    }
}

impl From<&Copied> for edge::Facts {
    fn from(copied: &Copied) -> Self {
        Self {
            visitor: copied.visitor,
            scheme: if copied.is_https { exchange::Scheme::Https } else { exchange::Scheme::Http },
            local: copied.local,
            is_secure: copied.is_secure,
            is_tls13: copied.is_tls13,
            verified_for: copied.verified_for,
            method: bytes(&copied.method),
            authority: bytes(&copied.authority),
            target: bytes(&copied.target),
            body_bytes: copied.body_bytes,
            protocol: bytes(&copied.protocol),
            is_extended: copied.is_extended,
            fields: copied.fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        }
    }
}

/// Reads the files and compiles them beside what serves. The snapshot comes back for the candidate to serve,
/// with the bundle's bytes for the asking edge.
///
/// # Errors
/// When what serves cannot be read. Problems of the files are in the trial.
pub(crate) fn try_out(
    config: &Path,
    running: &zone::Node,
    generations: &Generations,
    live: u64,
    removals_percent_max: u8,
    now_unix_s: u64,
    gathered_hash: &mut dyn FnMut(String) -> Result<()>,
) -> Result<(Trial, Option<Tried>)> {
    let file = match read_node_file(config) {
        Ok(file) => file,
        Err(problems) => return Ok((refused(&problems), None)),
    };
    let gathered = gather(&file);
    gathered_hash(super::hex(&gathered.bundle.hash()))?;
    let before = serving(generations, live)?;
    let Compiled { bundle, snapshot, problems, put_back, lacks_pairs } =
        compile_or_put_back(&gathered, &before);
    let mut texts: Vec<ProblemText> = file.node.warnings.iter().map(ProblemText::from).collect();
    texts.extend(problems.0.iter().map(ProblemText::from));
    let Some(snapshot) = snapshot else {
        return Ok((Trial { problems: texts, ..Trial::default() }, None));
    };
    texts.extend(outdated(&snapshot, &bundle, now_unix_s).iter().map(ProblemText::from));
    let difference = zone::difference(&before.snapshot, &snapshot);
    let mut shown = DifferenceText::from(&difference);
    add_listeners(&mut shown, running, &file.node);
    let stamps = stamps_of(gathered.stamps, &bundle, &put_back);
    let trial = Trial {
        compiles: true,
        is_changed: bundle.hash() != before.bundle.hash(),
        hash: super::hex(&bundle.hash()),
        zones: snapshot.zones().len(),
        problems: texts,
        put_back,
        removals: difference.removals_over(removals_percent_max),
        difference: shown,
        lacks_pairs,
        waiting: crate::configuration::waits_for_start(running, &file.node)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        stamps,
    };
    Ok((trial, Some((snapshot, bundle.to_bytes()))))
}

/// Of the pairs of zones that are put back it is not said that they were seen: whoever watches them looks.
fn stamps_of(
    mut stamps: BTreeMap<String, Stamp>,
    bundle: &Bundle,
    put_back: &[String],
) -> BTreeMap<String, Stamp> {
    let back: Vec<Source> =
        bundle.specs().iter().filter(|spec| put_back.contains(&spec.name)).cloned().collect();
    for named in zone::files_named(&back, bundle.defaults()) {
        stamps.remove(&named.path);
    }
    stamps
}

/// Listeners that come and go with the next start: sockets are made there alone.
fn add_listeners(difference: &mut DifferenceText, running: &zone::Node, read: &zone::Node) {
    let named = |node: &zone::Node| -> BTreeSet<String> {
        let name = |it: &zone::Listener| {
            let more = if it.http3 { ", HTTP/3" } else { "" };
            format!("listener {} ({}{more}): at the next start", it.address, protocol_name(it.protocol))
        };
        node.listeners.iter().map(name).collect()
    };
    let (was, is) = (named(running), named(read));
    difference.gained.extend(is.difference(&was).cloned());
    difference.lost.extend(was.difference(&is).cloned());
}

fn refused(problems: &Problems) -> Trial {
    Trial { problems: problems.0.iter().map(ProblemText::from).collect(), ..Trial::default() }
}

/// What serves, as it is kept.
struct Serving {
    bundle: Bundle,
    snapshot: Snapshot,
}

fn serving(generations: &Generations, live: u64) -> Result<Serving> {
    let kept = generations.kept()?.into_iter().find(|kept| kept.number == live);
    let kept = kept.context("the generation that serves is not on disk any more: is the disk full?")?;
    let bundle = Bundle::from_bytes(&generations.read(&kept)?)
        .with_context(|| format!("{} is damaged", generations.path(&kept).display()))?;
    // A pair that was broken since is in the memory of the edge that serves, and not here.
    let kept = compile_kept(&bundle, live, None, &Keyring::default(), Lost::LeftOut)
        .map_err(|problems| anyhow::anyhow!("what serves does not compile again: {}", problems.lines()))?;
    Ok(Serving { bundle, snapshot: kept.snapshot })
}

/// What there is to serve, if anything; and what is wrong.
struct Compiled {
    bundle: Bundle,
    snapshot: Option<Snapshot>,
    problems: Problems,
    put_back: Vec<String>,
    lacks_pairs: bool,
}

/// Compiles what was gathered. Zones with problems are put back to what serves, or left out if they are new,
/// and the rest goes ahead; none of it if the problems are not those of zones, or nothing else is left that
/// changed.
fn compile_or_put_back(gathered: &Gathered, before: &Serving) -> Compiled {
    let number = before.snapshot.number + 1;
    let first = gathered.compile(number, Some(&before.snapshot));
    let problems = match first {
        Ok(snapshot) => {
            let (bundle, problems) = (gathered.bundle.clone(), Problems(snapshot.warnings.clone()));
            let snapshot = Some(snapshot);
            return Compiled { bundle, snapshot, problems, put_back: Vec::new(), lacks_pairs: false };
        }
        Err(problems) => problems,
    };
    let mut put_back: BTreeSet<String> = BTreeSet::new();
    let mut found = problems.clone();
    for _ in 0..ROUNDS_MAX {
        let failing: BTreeSet<&str> = found
            .0
            .iter()
            .filter(|problem| problem.is_error())
            .map(|problem| problem.file.as_str())
            .collect();
        let zones: Vec<BTreeSet<String>> =
            failing.iter().map(|file| zones_with(file, &gathered.bundle)).collect();
        if zones.is_empty() || zones.iter().any(BTreeSet::is_empty) {
            // Something that is no zone's.
            break;
        }
        let known = put_back.len();
        put_back.extend(zones.into_iter().flatten());
        if put_back.len() == known {
            break;
        }
        let bundle = with_put_back(&gathered.bundle, &before.bundle, &put_back, Files::AsTheyServe);
        if bundle.hash() == before.bundle.hash() || bundle.specs().is_empty() {
            // Nothing that is in order has changed.
            break;
        }
        // A certificate as it serves does not fit a key that was renewed with it; one whose key was broken
        // fits none.
        let back = |files| with_put_back(&gathered.bundle, &before.bundle, &put_back, files);
        for (files, lost) in [
            (Files::AsTheyServe, Lost::Told),
            (Files::AsTheyAre, Lost::Told),
            (Files::AsTheyServe, Lost::LeftOut),
        ] {
            let bundle = back(files);
            match gathered.compile_other(&bundle, number, Some(&before.snapshot), lost) {
                Ok(snapshot) => {
                    return Compiled {
                        bundle,
                        snapshot: Some(snapshot),
                        problems,
                        put_back: put_back.into_iter().collect(),
                        lacks_pairs: lost == Lost::LeftOut,
                    };
                }
                Err(again) => found = again,
            }
        }
    }
    let bundle = gathered.bundle.clone();
    Compiled { bundle, snapshot: None, problems, put_back: Vec::new(), lacks_pairs: false }
}

/// The files of the zones that a problem in a file concerns: that zone, or those which are made from it.
fn zones_with(file: &str, bundle: &Bundle) -> BTreeSet<String> {
    if bundle.specs().iter().any(|spec| spec.name == file) {
        return BTreeSet::from([file.to_owned()]);
    }
    let is_of = |spec: &&Source| {
        files_of(std::slice::from_ref(*spec), bundle.defaults(), bundle.files()).contains(file)
    };
    bundle.specs().iter().filter(is_of).map(|spec| spec.name.clone()).collect()
}

/// Which bytes of what it names a zone that is put back gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Those that it serves with.
    AsTheyServe,
    /// The new ones, where there are some.
    AsTheyAre,
}

/// The new bundle with these zones as they serve.
pub(crate) fn with_put_back(
    new: &Bundle,
    old: &Bundle,
    put_back: &BTreeSet<String>,
    files_back: Files,
) -> Bundle {
    let is_back = |source: &&Source| put_back.contains(&source.name);
    let mut specs: Vec<Source> = new.specs().iter().filter(|source| !is_back(source)).cloned().collect();
    let back: Vec<Source> = old.specs().iter().filter(is_back).cloned().collect();
    // What the zones that are put back are made from is as it serves, unless a new one is made from it too.
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut changed: BTreeMap<String, u64> = BTreeMap::new();
    for (specs, all) in [(&specs, new), (&back, old)] {
        for path in files_of(specs, new.defaults(), all.files()) {
            let is_renewed = files_back == Files::AsTheyAre && new.files().contains_key(&path);
            let from = if is_renewed { new } else { all };
            let Some(bytes) = from.files().get(&path) else { continue };
            files.entry(path.clone()).or_insert_with(|| bytes.clone());
            if let Some(unix_s) = from.changed().get(&path) {
                changed.entry(path).or_insert(*unix_s);
            }
        }
    }
    specs.extend(back);
    Bundle::new(specs, new.defaults().cloned(), files).with_changed(changed)
}

/// Turns problems in a form that travels into problems.
pub(crate) fn problems(texts: &[ProblemText]) -> Problems {
    Problems(texts.iter().cloned().map(Problem::from).collect())
}
