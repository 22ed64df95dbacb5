//! The watch over a change that is live: what it is compared with, until when, and what is left of it on
//! disk.
//!
//! `<data_dir>/soaking` names the change that is being watched, so that an edge which takes over after a
//! crash knows what to withdraw. Pure but for that file; who acts on a judgement is [`super::publisher`].

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use telemetry::events::{Events, Value};

use super::health::{Figures, Judgement, judge};
use super::is_last_good;
use super::rejected::{Rejected, Rejection};
use crate::clock::{self, Moment};
use crate::files::{read_bounded, write_whole};
use crate::generations::Generations;

/// How far back the comparison looks: long enough for a slow site to have some requests, short enough that
/// what begins to fail late is not hidden by what went well before.
const WINDOW: Duration = Duration::from_secs(60);

/// The change that is watched, as kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Its number.
    pub(crate) number: u64,
    /// SHA-256 of its bundle, hex.
    pub(crate) hash: String,
    /// The number of what served before.
    pub(crate) previous: u64,
    /// When the watch began.
    pub(crate) began: Moment,
    /// For how long it is watched from then, in milliseconds.
    pub(crate) for_ms: u64,
    /// Within how many it has to be confirmed.
    #[serde(default)]
    pub(crate) confirm_within_ms: Option<u64>,
}

impl Mark {
    /// Until when it waits to be confirmed, in microseconds after 1970 by the calendar at its beginning.
    pub(crate) fn confirm_until_unix_us(&self) -> Option<u64> {
        self.confirm_within_ms.map(|within| self.began.unix_us_after(Duration::from_millis(within)))
    }

    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("soaking")
    }

    /// Reads it; none when nothing is watched, or the file is damaged.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&read_bounded(&Self::path(data_dir), 4096).ok()?).ok()
    }

    /// Writes it. Without it a crash would not withdraw the change; the change is live all the same.
    pub(crate) fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        Ok(write_whole(&Self::path(data_dir), &serde_json::to_vec(self)?, 0o600)?)
    }

    /// Removes it: nothing is watched any more.
    pub(crate) fn remove(data_dir: &Path) {
        // One that stays names a generation that is the last good one or gone, and then does nothing.
        let _ = fs::remove_file(Self::path(data_dir));
    }
}

/// Withdraws the change that an edge died with while it was watched, and gives its number. Called by an edge
/// that takes over after a crash, with the number of what it serves instead.
pub(crate) fn settle_after_death(
    data_dir: &Path,
    serves: u64,
    generations: &Generations,
    events: &Events,
) -> Option<u64> {
    let mark = Mark::read(data_dir).filter(|mark| mark.number != serves)?;
    Mark::remove(data_dir);
    let why = "the edge died while it was watched";
    let rejection =
        Rejection { hash: mark.hash, number: mark.number, unix_us: clock::unix_us(), why: why.to_owned() };
    let kept = if is_last_good(generations, &rejection.hash) {
        Ok(())
    } else {
        Rejected::open(data_dir).add(rejection)
    };
    let gone =
        generations.numbered(mark.number).map_or(Ok(()), |generation| generations.discard(&generation));
    for error in [kept, gone].into_iter().filter_map(Result::err) {
        events.error("rejection_not_kept", &[("cause", (&format!("{error:#}")).into())]);
    }
    let remedy = "mend the files and publish again; `rempart publish --again` takes them as they are";
    let fields: [(&'static str, Value<'_>); 4] = [
        ("snapshot", mark.number.into()),
        ("serves", serves.into()),
        ("cause", why.into()),
        ("remedy", remedy.into()),
    ];
    events.error("withdrawn", &fields);
    Some(mark.number)
}

/// Figures of the last minute, one a second or so.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Instant, Figures)>);

impl Recent {
    /// Notes figures of now.
    pub(super) fn note(&mut self, now: Instant, figures: Figures) {
        self.0.push_back((now, figures));
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            self.0.pop_front();
        }
    }

    /// What happened over the window.
    pub(super) fn stretch(&self) -> Figures {
        match (self.0.front(), self.0.back()) {
            (Some((_, first)), Some((_, last))) => last.since(first),
            _ => Figures::default(),
        }
    }

    /// Begins anew with figures of now.
    pub(super) fn restart(&mut self, now: Instant, figures: Figures) {
        self.0.clear();
        self.note(now, figures);
    }
}

/// A change being watched.
#[derive(Debug)]
pub(super) struct Soak {
    pub(super) mark: Mark,
    pub(super) until: Instant,
    pub(super) confirm_until: Option<Instant>,
    /// What the stretch before it was like.
    pub(super) before: Figures,
}

impl Soak {
    /// Compares the last minute with the stretch before the change.
    pub(super) fn judge(&self, recent: &Recent, requests_min: u64) -> Judgement {
        judge(&self.before, &recent.stretch(), requests_min)
    }
}

#[cfg(test)]
mod tests {
    use telemetry::sink::Target;
    use testkit::folder::Folder;

    use super::*;

    fn mark(number: u64) -> Mark {
        let hash = format!("{number:064x}");
        let began = Moment::of(1_764_000_000, 7, 1);
        Mark { number, hash, previous: number - 1, began, for_ms: 9_000, confirm_within_ms: Some(8_000) }
    }

    fn generations(folder: &Folder) -> Generations {
        let generations = Generations::open(folder.path()).unwrap();
        for number in 1..=2 {
            generations.keep(number, &format!("{number:064x}"), b"x").unwrap();
        }
        generations
    }

    #[test]
    fn a_change_that_the_edge_died_with_is_withdrawn_and_remembered() {
        let folder = Folder::new().unwrap();
        let generations = generations(&folder);
        let events = Events::start(Target::Stderr, || 0).unwrap();
        mark(2).write(folder.path()).unwrap();
        assert_eq!(Mark::read(folder.path()), Some(mark(2)));
        settle_after_death(folder.path(), 1, &generations, &events);
        assert_eq!(Mark::read(folder.path()), None);
        assert!(Rejected::open(folder.path()).find(&mark(2).hash).is_some());
        assert_eq!(generations.numbered(2), None);
    }

    #[test]
    fn what_is_last_good_is_not_remembered_as_bad_when_it_was_published_again() {
        let folder = Folder::new().unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        let good = generations.keep(1, &mark(3).hash, b"x").unwrap();
        generations.set_last_good(&good).unwrap();
        let events = Events::start(Target::Stderr, || 0).unwrap();
        mark(3).write(folder.path()).unwrap();
        settle_after_death(folder.path(), 1, &generations, &events);
        assert_eq!((Mark::read(folder.path()), Rejected::open(folder.path()).all()), (None, &[][..]));
    }

    #[test]
    fn what_serves_on_is_not_withdrawn() {
        let folder = Folder::new().unwrap();
        let generations = generations(&folder);
        let events = Events::start(Target::Stderr, || 0).unwrap();
        settle_after_death(folder.path(), 1, &generations, &events);
        mark(2).write(folder.path()).unwrap();
        settle_after_death(folder.path(), 2, &generations, &events);
        assert_eq!(Mark::read(folder.path()), Some(mark(2)));
        assert_eq!(Rejected::open(folder.path()).all(), []);
    }

    #[test]
    fn the_window_forgets_what_is_older_than_a_minute() {
        let now = clock::now();
        let figures = |requests| Figures { requests, ..Figures::default() };
        let mut recent = Recent::default();
        for second in 0..=120 {
            recent.note(now + Duration::from_secs(second), figures(second * 10));
        }
        assert_eq!(recent.stretch().requests, 600);
        recent.restart(now + Duration::from_secs(121), figures(5000));
        assert_eq!(recent.stretch().requests, 0);
    }
}
