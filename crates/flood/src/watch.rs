//! The watch over one zone: once a second it learns, or looks for what a flood is made of.
//!
//! *Calm.* The second is learned as usual. Two seconds above what is usual begin an episode: of the whole
//! zone, of one path that alone is far above its own usual rate (a login page that is tried out, in a zone
//! whose load hardly changes), or of a zone that suffers while its load is raised.
//!
//! *Episode.* Nothing is learned. Each second, what no limit meets yet is explained and limited, at most two
//! limits a second and so many in all. What kind of limit takes least from visitors who are no part of it:
//!
//! - By visitor, where the visitors that make the excess ask much each: whoever asks like a person notices
//!   nothing.
//! - In total, at twice what is usual for the pattern, where they ask little each, are of a network, prefix
//!   or TLS fingerprint that few visitors have, and ask for other things than people do; but not, while the
//!   zone does not suffer, where they all ask for one thing and seldom come back: an application, a release.
//! - In total also where nobody can say so, as soon as the zone suffers: at a part of what it can serve of
//!   it. While it does not suffer it is left: it may be a crowd, and the node's admission answers what the
//!   machine cannot serve.
//!
//! A limit first observes, then limits, is tightened once if it leaves too much, is withdrawn if it refuses
//! visitors who were known before, or next to nothing, and expires when nothing has matched for a while.
//!
//! *Growth.* What no limit refuses for a while becomes usual: in a zone that only logs, all of it. Where
//! limits refuse, each lasts so long at most ([`LIFE_S`]); what it was for is then let through for as long as
//! the zone does not suffer, and becomes usual too. Read next: [`Watch::second`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::Chance;
use crate::baseline::{Baseline, Fares};
use crate::explain::{Found, Pattern, Unexplained, everybody, explain};
use crate::kept::{self, Reader, Unusable};
use crate::limit::{Done, Kind, Limit, Limits, Stage};
use crate::limits::{
    ABOVE_S, ADOPT_S, AGAIN_S, CALM_S, FAILED_SHARE, HARM_SHARE, HELPS_SHARE, HELPS_WITHIN_S, KNOWN_MIN,
    KNOWN_SHARE, LIFE_S, MET_S, NOTES_MAX, OBSERVE_S, OUTLIVED_S, PATH_SHARE, PATH_TIMES, SLOW_US_MIN,
    SLOWER_TIMES, TEXTS_MAX, TIGHTEN_S, TOTAL_MIN_PER_S, TOTAL_TIMES, UNEXPLAINED_SHARE, UNSURE_SHARE,
    VERY_TIMES, WINDOW_S,
};
use crate::note::{Dimension, NEW_TARGET, Note, Secret};
use crate::sample::{Ends, Second, Texts};
use crate::seen::{Memory, Size};

mod words;

/// What a zone says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether serving threads refuse what limits say is over; else it is only told.
    pub refuses: bool,
    /// Requests a second below which nothing is a flood.
    pub from_per_s: u32,
    /// Most limits at a time.
    pub limits_max: usize,
    /// Seconds that a limit stays after the last second in which much matched it.
    pub expires_s: u64,
    /// Seconds that a zone is seen before anything is said of it.
    pub warm_up_s: u64,
}

/// Something that a person wants to know of.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An episode began.
    Began {
        /// Why, in words.
        why: &'static str,
        /// Requests a second now.
        rate: f64,
        /// Usual requests a second.
        usual: f64,
        /// The most that is usual.
        most: f64,
    },
    /// A limit was made, or has reached another stage.
    Limit(Box<LimitStanding>),
    /// A limit is no more.
    Removed {
        /// As it was at its end.
        limit: Box<LimitStanding>,
        /// Why, in words.
        why: &'static str,
    },
    /// The episode ended. Limits may stay for a while.
    Ended {
        /// How long it lasted, in seconds.
        lasted_s: u64,
        /// The highest rate of a second in it.
        highest: f64,
        /// Requests refused in it so far, or that would have been.
        refused: u64,
    },
}

/// One limit, for a person to read.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitStanding {
    /// Its number in its zone.
    pub number: u32,
    /// What its requests have in common.
    pub what: String,
    /// What it lets through, in words.
    pub most: String,
    /// Why it is there, with its figures.
    pub why: String,
    /// How far it is.
    pub stage: Stage,
    /// What it has done.
    pub done: Done,
    /// In how many seconds it ends, if nothing matches any more.
    pub expires_in_s: u64,
}

/// How a zone stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Whether what is usual is known.
    pub has_baseline: bool,
    /// Calm seconds it has been learned from.
    pub seen_s: u64,
    /// Whether an episode is under way, and for how many seconds.
    pub flooded_for_s: Option<u64>,
    /// Requests a second, over the last seconds.
    pub rate: f64,
    /// Usual requests a second.
    pub usual: f64,
    /// The most that is usual.
    pub most: f64,
    /// Whether its visitors fare worse than usual.
    pub suffers: bool,
    /// Its limits, the oldest first.
    pub limits: Vec<LimitStanding>,
}

/// What a second led to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is to be told.
    pub changes: Vec<Change>,
    /// The limits from now on, if they are others.
    pub limits: Option<Arc<Limits>>,
}

/// A limit with what only the watch needs.
#[derive(Debug)]
struct Entry {
    limit: Arc<Limit>,
    found: Found,
    /// Since when it is there.
    began_s: u64,
    /// Since when it counts whom it meets.
    met_since_s: u64,
    /// Since when it is in its stage, and what it had done by then.
    since_s: u64,
    before: Done,
    /// What it had done a second ago.
    last: Done,
    until_s: u64,
    what: String,
    why: String,
}

/// Why a limit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing much has matched it for as long as it stays then.
    Over,
    /// It refused many visitors who were known.
    Harms,
    /// It refused next to nothing.
    Idle,
    /// It was there for as long as one may be.
    Outlived,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Over => "nothing much has matched it for a while",
            Self::Harms => "it refused visitors who were served before",
            Self::Idle => "it refused next to nothing",
            Self::Outlived => "it lasted for as long as one may: if it is to stay, write a rule or a limit",
        }
    }
}

#[derive(Debug)]
struct Episode {
    began_s: u64,
    calm_s: u32,
    highest: f64,
    refused: u64,
    /// Since when no limit has refused anything.
    unlimited_since_s: u64,
}

/// See the module. At most 400 KiB: 2,048 requests that are usual (112 KiB), three seconds of 1,024 requests
/// (168 KiB), and who was served and what was asked for (154 KiB); while it limits, 512 KiB a limit. Of
/// a small one an eighth of these.
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    size: Size,
    memory: Arc<Memory>,
    baseline: Baseline,
    window: VecDeque<Second>,
    notes_max: usize,
    above_s: u32,
    episode: Option<Episode>,
    /// No episode begins before: those whom the process before had lost come back.
    quiet_until_s: u64,
    entries: Vec<Entry>,
    /// What was withdrawn, and until when it is not tried again.
    tried: Vec<(Pattern, u64)>,
    /// What was limited for as long as may be, and until when it is left while the zone does not suffer.
    outlived: Vec<(Pattern, u64)>,
    texts: Texts,
    numbers: u32,
    chance: Chance,
}

impl Watch {
    /// One that knows nothing yet. `seed` decides what is kept of what there is too much of.
    #[must_use]
    pub fn new(settings: Settings, size: Size, seed: u64) -> Self {
        Self {
            settings,
            size,
            memory: Arc::new(Memory::new(size)),
            baseline: Baseline::new(size, seed),
            window: VecDeque::with_capacity(WINDOW_S + 1),
            notes_max: match size {
                Size::Large => NOTES_MAX,
                Size::Small => NOTES_MAX / 2,
            },
            above_s: 0,
            episode: None,
            quiet_until_s: 0,
            entries: Vec::new(),
            tried: Vec::new(),
            outlived: Vec::new(),
            texts: Texts::default(),
            numbers: 0,
            chance: Chance::new(seed ^ 1),
        }
    }

    /// What the zone says now; what is known and what is limited stays.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Writes what is usual, who was served and what was asked for, for a watch of a later process. Nothing
    /// while it knows too little to say what is usual.
    pub fn keep(&self, secret: &Secret, now_s: u64, out: &mut Vec<u8>) {
        if !self.baseline.is_ready(self.settings.warm_up_s) {
            return;
        }
        out.push(kept::VERSION);
        out.extend(kept::probe(secret).to_le_bytes());
        let (visitors, targets) = self.memory.bits();
        [now_s, visitors, targets].into_iter().for_each(|number| out.extend(number.to_le_bytes()));
        self.baseline.keep(out);
        self.memory.keep(now_s, out);
    }

    /// Takes over what an earlier watch has written: who was served and what was asked for, and what is usual
    /// where this one knows too little yet to say it; whether that was so. `secret` is what its zone's hashes
    /// are keyed with. In the seconds after it no episode begins.
    ///
    /// # Errors
    /// [`Unusable`]; it knows no more than before then.
    pub fn adopt(&mut self, kept: &[u8], secret: &Secret, now_s: u64) -> Result<bool, Unusable> {
        let mut from = Reader(kept);
        if from.u8()? != kept::VERSION {
            return Err(Unusable::Version);
        }
        if from.u64()? != kept::probe(secret) {
            return Err(Unusable::Hashes);
        }
        let kept_s = from.u64()?;
        if kept_s > now_s + kept::AHEAD_S_MAX || now_s.saturating_sub(kept_s) > kept::KEPT_S_MAX {
            return Err(Unusable::Age);
        }
        if (from.u64()?, from.u64()?) != self.memory.bits() {
            return Err(Unusable::Size);
        }
        let baseline = self.baseline.read(&mut from, now_s)?;
        let remembered = self.memory.read(&mut from)?;
        if !from.0.is_empty() {
            return Err(Unusable::Malformed);
        }
        // Who was served and what was asked for adds up.
        self.memory.adopt(remembered, now_s);
        if self.baseline.is_ready(self.settings.warm_up_s) {
            return Ok(false);
        }
        self.baseline = baseline;
        self.quiet_until_s = now_s + kept::RETURN_S;
        Ok(true)
    }

    /// What serving threads ask and tell.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Whether an episode is under way, or just about to be: then texts are wanted.
    #[must_use]
    pub fn wants_texts(&self) -> bool {
        self.episode.is_some() || self.above_s > 0
    }

    /// Takes in what happened in the second that is over.
    ///
    /// To be called once a second, with empty ones too. `now_s` is of a clock that does not go back.
    pub fn second(&mut self, mut second: Second, now_s: u64) -> Outcome {
        self.memory.turn(now_s);
        self.baseline.turn(now_s);
        second.thin(&mut self.chance, self.notes_max);
        for note in &mut second.notes {
            if let Some(target) = note.keys.values.get_mut(Dimension::Target as usize) {
                *target = if self.memory.is_new(note.keys.target, now_s) { NEW_TARGET } else { 0 };
            }
        }
        for (key, text) in second.texts.drain() {
            if self.texts.len() < 8 * TEXTS_MAX {
                self.texts.entry(key).or_insert(text);
            }
        }
        self.window.push_back(second);
        if self.window.len() > WINDOW_S {
            self.window.pop_front();
        }
        let mut outcome = Outcome::default();
        let count = self.entries.len();
        if self.episode.is_none() {
            self.calm(now_s, &mut outcome);
        }
        if self.episode.is_some() {
            self.episode(now_s, &mut outcome);
        }
        self.tend(now_s, &mut outcome);
        if self.episode.is_none() && self.entries.is_empty() {
            self.memory.go_on(now_s);
        }
        if self.entries.len() != count || outcome.changes.iter().any(is_of_list) {
            let list = self.entries.iter().map(|entry| Arc::clone(&entry.limit)).collect();
            outcome.limits = Some(Arc::new(Limits::new(list)));
        }
        outcome
    }

    /// How the zone stands.
    #[must_use]
    pub fn standing(&self, now_s: u64) -> Standing {
        Standing {
            has_baseline: self.baseline.is_ready(self.settings.warm_up_s),
            seen_s: self.baseline.seconds(),
            flooded_for_s: self.episode.as_ref().map(|episode| now_s.saturating_sub(episode.began_s)),
            rate: self.rate(),
            usual: self.baseline.usual(),
            most: self.most(),
            suffers: self.suffers(),
            limits: self.entries.iter().map(|entry| entry.standing(now_s)).collect(),
        }
    }

    fn most(&self) -> f64 {
        self.baseline.most().max(self.settings.from_per_s.into())
    }

    /// Requests a second over the window.
    fn rate(&self) -> f64 {
        let sum: f64 = self.window.iter().map(|second| second.requests).sum();
        sum / (self.window.len() as f64).max(1.0)
    }

    fn fares(&self) -> Fares {
        let mut ends = Ends::default();
        self.window.iter().for_each(|second| ends.add(&second.ends));
        Fares::of(&ends)
    }

    /// Whether visitors fare worse than usual, over the window.
    fn suffers(&self) -> bool {
        let ended: u64 = self.window.iter().map(|second| second.ends.ended).sum();
        let (now, usual) = (self.fares(), self.baseline.fares());
        let fails = now.failed_share > 2.0 * usual.failed_share + FAILED_SHARE;
        let is_slow = now.origin_us > (SLOWER_TIMES * usual.origin_us).max(SLOW_US_MIN);
        ended >= 10 && (fails || is_slow)
    }

    /// Whether the last second is above what is usual, and in what way.
    fn is_above(&self) -> Option<&'static str> {
        let last = self.window.back()?;
        if last.requests < f64::from(self.settings.from_per_s) {
            return None;
        }
        if last.requests > self.most() {
            return Some("more requests than usual");
        }
        if last.requests > 1.5 * self.baseline.usual() && self.suffers() {
            return Some("more requests than usual, and more of them fail or are slow");
        }
        self.is_path_above(last).then_some("many more requests of one path than usual")
    }

    /// Whether one path alone is far above its usual rate.
    fn is_path_above(&self, second: &Second) -> bool {
        let mut paths: HashMap<u32, f64, FixedState> = HashMap::default();
        for note in &second.notes {
            *paths.entry(note.value(Dimension::Path)).or_default() += f64::from(note.weight);
        }
        let least = (PATH_SHARE * self.baseline.usual()).max(self.settings.from_per_s.into());
        paths.iter().filter(|(_, rate)| **rate >= least).any(|(path, rate)| {
            let pattern = Pattern { first: Some((Dimension::Path, *path)), second: None };
            let (likely, usual) = self.baseline.rate_of(&pattern);
            *rate >= PATH_TIMES * usual && rate - likely >= least
        })
    }

    fn calm(&mut self, now_s: u64, outcome: &mut Outcome) {
        let is_ready = self.baseline.is_ready(self.settings.warm_up_s);
        let Some(why) = self.is_above().filter(|_| is_ready) else {
            self.above_s = 0;
            self.learn(now_s);
            return;
        };
        if now_s < self.quiet_until_s {
            return; // neither a flood, nor usual
        }
        self.above_s += 1;
        let is_very = self.window.back().is_some_and(|last| last.requests > VERY_TIMES * self.most());
        if self.above_s < ABOVE_S && !is_very {
            return;
        }
        let began_s = now_s.saturating_sub(u64::from(self.above_s));
        // What went before is no part of it.
        while self.window.len() > self.above_s as usize {
            self.window.pop_front();
        }
        self.memory.stand(began_s);
        let (rate, usual, most) = (self.rate(), self.baseline.usual(), self.most());
        self.episode =
            Some(Episode { began_s, calm_s: 0, highest: rate, refused: 0, unlimited_since_s: now_s });
        outcome.changes.push(Change::Began { why, rate, usual, most });
    }

    fn learn(&mut self, now_s: u64) {
        let Some(second) = self.window.back() else { return };
        self.baseline.learn(second, now_s);
        second.notes.iter().for_each(|note| self.memory.asked_for(note.keys.target, now_s));
        if self.entries.is_empty() {
            self.texts.clear();
        }
    }

    fn episode(&mut self, now_s: u64, outcome: &mut Outcome) {
        let is_above = self.is_above().is_some();
        let last = self.window.back().map_or(0.0, |second| second.requests);
        let Some(episode) = &mut self.episode else { return };
        episode.highest = episode.highest.max(last);
        episode.calm_s = if is_above { 0 } else { episode.calm_s + 1 };
        if episode.calm_s >= CALM_S {
            let lasted_s = now_s.saturating_sub(episode.began_s + u64::from(CALM_S));
            let (highest, refused) = (episode.highest, episode.refused);
            outcome.changes.push(Change::Ended { lasted_s, highest, refused });
            self.episode = None;
            self.above_s = 0;
            return;
        }
        let refuses = |entry: &Entry| {
            entry.limit.stage() != Stage::Observe && entry.limit.done().refused > entry.last.refused
        };
        if self.settings.refuses && self.entries.iter().any(refuses) {
            episode.unlimited_since_s = now_s;
        }
        if now_s.saturating_sub(episode.unlimited_since_s) > ADOPT_S {
            self.learn(now_s);
        }
        if is_above {
            self.limit_more(now_s, outcome);
        }
    }

    /// Looks for what no limit meets yet, and limits it.
    fn limit_more(&mut self, now_s: u64, outcome: &mut Outcome) {
        let stays = |(_, until_s): &(Pattern, u64)| *until_s > now_s;
        self.tried.retain(stays);
        self.outlived.retain(stays);
        for _ in 0..2 {
            if self.entries.len() >= self.settings.limits_max {
                return;
            }
            let Some((found, kind)) = self.look() else { return };
            self.numbers = self.numbers.wrapping_add(1);
            let busy = self.busy_prefixes();
            let limit = Arc::new(Limit::new(self.numbers, found.pattern, kind, &busy, self.size));
            let entry = Entry {
                what: String::new(),
                why: String::new(),
                began_s: now_s,
                met_since_s: now_s,
                since_s: now_s,
                before: Done::default(),
                last: Done::default(),
                until_s: now_s + self.settings.expires_s,
                limit,
                found,
            };
            self.entries.push(entry);
            if let Some(entry) = self.entries.last_mut() {
                entry.name(&self.texts);
                outcome.changes.push(Change::Limit(Box::new(entry.standing(now_s))));
            }
        }
    }

    /// The best explanation that may be limited, with the kind that takes least from others.
    fn look(&self) -> Option<(Found, Kind)> {
        let suffers = self.suffers();
        // What was limited for as long as may be is spared, unless the zone suffers. Where that was every
        // request the rest is still looked at, and only that pattern is not tried again.
        let is_spared = |pattern: &&Pattern| !suffers && **pattern != Pattern::default();
        let outlived = self.outlived.iter().map(|(pattern, _)| pattern);
        let spared: Vec<&Pattern> = outlived.filter(is_spared).collect();
        let limited = || self.entries.iter().map(|entry| &entry.limit.pattern);
        let is_met =
            |note: &&Note| limited().chain(spared.iter().copied()).any(|pattern| pattern.matches(&note.keys));
        let notes: Vec<&Note> =
            self.window.iter().flat_map(|second| &second.notes).filter(|note| !is_met(note)).collect();
        let seconds = (self.window.len() as f64).max(1.0);
        let left = notes.iter().map(|note| f64::from(note.weight)).sum::<f64>() / seconds;
        let (rate, from) = (self.rate(), f64::from(self.settings.from_per_s));
        let excess = left - self.baseline.usual();
        if excess < (from / 2.0).max(UNEXPLAINED_SHARE * (rate - self.baseline.usual())) {
            return None;
        }
        let what = Unexplained { notes, seconds, rate, excess, least: from / 4.0 };
        let failed = suffers.then(|| self.fares().failed_share);
        // Nor what has a value in common with it: that would meet much the same visitors.
        let is_tried = |pattern: &Pattern| self.tried.iter().any(|(tried, _)| tried.bars(pattern));
        let candidates = explain(&what, &self.baseline);
        let known = candidates.into_iter().filter(|found| !is_tried(&found.pattern));
        let chosen = known.filter_map(|found| Some((found, kind_for(&found, failed)?))).next();
        chosen.or_else(|| {
            let found = everybody(&what, &self.baseline);
            let is_new =
                limited().all(|pattern| *pattern != found.pattern) && (suffers || self.outlived.is_empty());
            let may = is_new && !is_tried(&found.pattern) && found.has_busy_visitors();
            may.then(|| (found, by_visitor(&found.pattern)))
        })
    }

    /// Prefixes that usually make more than a hundredth of the load, with twice what each usually asks: at
    /// most a hundred.
    fn busy_prefixes(&self) -> Box<[(u32, f32)]> {
        let reference = self.baseline.reference();
        let mut counts: HashMap<u32, f64, FixedState> = HashMap::default();
        for note in reference {
            *counts.entry(note.value(Dimension::Prefix)).or_default() += 1.0;
        }
        let least = (reference.len() as f64 / 100.0).max(3.0);
        let twice = |count: f64| 2.0 * self.baseline.rate_from(count).1;
        let busy = counts.into_iter().filter(|(_, count)| *count >= least);
        let mut busy: Vec<(u32, f32)> = busy.map(|(prefix, count)| (prefix, twice(count) as f32)).collect();
        busy.sort_unstable_by_key(|(prefix, _)| *prefix);
        busy.into()
    }

    /// Moves limits from stage to stage, and ends them.
    fn tend(&mut self, now_s: u64, outcome: &mut Outcome) {
        let (texts, expires_s) = (&self.texts, self.settings.expires_s);
        let (from, suffers) = (f64::from(self.settings.from_per_s), self.suffers());
        let (tried, outlived, episode) = (&mut self.tried, &mut self.outlived, &mut self.episode);
        let baseline = &self.baseline;
        self.entries.retain_mut(|entry| {
            let done = entry.limit.done();
            let second = done.since(&entry.last);
            entry.last = done;
            if let Some(episode) = episode
                && entry.limit.stage() != Stage::Observe
            {
                episode.refused += second.refused;
            }
            // What has become usual since is no reason to stay.
            let usual = baseline.rate_of(&entry.limit.pattern).1.max(entry.found.usual);
            if second.matched as f64 > (TOTAL_TIMES * usual).max(from / 10.0) {
                entry.until_s = now_s + expires_s;
            }
            if let Some(end) = entry.end(now_s, &done) {
                match end {
                    End::Over => {}
                    End::Harms | End::Idle => tried.push((entry.limit.pattern, now_s + AGAIN_S)),
                    End::Outlived => outlived.push((entry.limit.pattern, now_s + OUTLIVED_S)),
                }
                let why = end.as_str();
                outcome.changes.push(Change::Removed { limit: Box::new(entry.standing(now_s)), why });
                return false;
            }
            if now_s.saturating_sub(entry.met_since_s) >= MET_S {
                entry.meet_anew(now_s);
            }
            if entry.goes_on(now_s, &second, from, suffers) {
                entry.name(texts);
                outcome.changes.push(Change::Limit(Box::new(entry.standing(now_s))));
            }
            true
        });
    }
}

/// Whether a change is one of which limits there are.
fn is_of_list(change: &Change) -> bool {
    match change {
        Change::Removed { .. } => true,
        Change::Limit(limit) => limit.stage == Stage::Observe,
        Change::Began { .. } | Change::Ended { .. } => false,
    }
}

fn by_visitor(pattern: &Pattern) -> Kind {
    let (most, seconds) = pattern.visitor_max();
    Kind::Visitor(most, seconds)
}

/// The kind of limit for what was found; none where it may be a crowd that the zone can bear. `failed` is the
/// share of requests that fail, of a zone that suffers.
fn kind_for(found: &Found, failed: Option<f64>) -> Option<Kind> {
    if found.has_busy_visitors() {
        return Some(by_visitor(&found.pattern));
    }
    let usual = (TOTAL_TIMES * found.usual).max(TOTAL_MIN_PER_S);
    match failed {
        _ if found.is_crowd => None,
        None if found.is_calm => None,
        _ if found.is_foreign => Some(Kind::Total(usual)),
        Some(failed) => Some(Kind::Total(usual.max(UNSURE_SHARE * (1.0 - failed) * found.rate))),
        None => None,
    }
}

impl Entry {
    /// Why it ends now, if it does.
    ///
    /// Harm is told by visitors: requests are any machine's to make. Known visitors are never part of what
    /// strangers share, so whoever of them is refused asks much; that few do is no reason to let all others
    /// in, that many do says that the limit is not for a flood.
    fn end(&self, now_s: u64, done: &Done) -> Option<End> {
        if now_s >= self.until_s {
            return Some(End::Over);
        }
        let (since, for_s) = (done.since(&self.before), now_s.saturating_sub(self.since_s));
        if since.known_refused as f64 > HARM_SHARE * since.known as f64 {
            let met = self.limit.met();
            let are_many = met.known >= KNOWN_MIN.max(KNOWN_SHARE * met.visitors);
            if are_many && met.known_refused > HARM_SHARE * met.known {
                return Some(End::Harms);
            }
        }
        let helps = since.refused as f64 >= HELPS_SHARE * since.matched as f64;
        let is_in_force = self.limit.stage() != Stage::Observe;
        if is_in_force && for_s >= HELPS_WITHIN_S && !helps {
            return Some(End::Idle);
        }
        (now_s.saturating_sub(self.began_s) >= LIFE_S).then_some(End::Outlived)
    }

    /// Goes to the next stage if it is time; whether it did.
    fn goes_on(&mut self, now_s: u64, second: &Done, from: f64, suffers: bool) -> bool {
        let for_s = now_s.saturating_sub(self.since_s);
        let passed = second.matched.saturating_sub(second.refused) as f64;
        let is_sure = !matches!(self.limit.kind, Kind::Total(_)) || self.found.is_foreign;
        let leaves_much = passed > (TOTAL_TIMES * self.found.usual).max(from / 2.0) && (is_sure || suffers);
        let next = match self.limit.stage() {
            Stage::Observe if for_s >= OBSERVE_S => Stage::Limit,
            Stage::Limit if for_s >= TIGHTEN_S && leaves_much => Stage::Tight,
            _ => return false,
        };
        self.limit.set_stage(next);
        self.since_s = now_s;
        self.before = self.limit.done();
        self.meet_anew(now_s);
        true
    }

    /// Forgets whom it has met: so that what is judged is what it does now.
    fn meet_anew(&mut self, now_s: u64) {
        self.limit.clear_met();
        self.met_since_s = now_s;
    }

    fn standing(&self, now_s: u64) -> LimitStanding {
        LimitStanding {
            number: self.limit.number,
            what: self.what.clone(),
            most: words::most(self.limit.most()),
            why: self.why.clone(),
            stage: self.limit.stage(),
            done: self.limit.done(),
            expires_in_s: self.until_s.saturating_sub(now_s),
        }
    }

    fn name(&mut self, texts: &Texts) {
        self.what = words::pattern(&self.found.pattern, texts);
        self.why = words::why(&self.found);
    }
}

#[cfg(test)]
mod tests;
