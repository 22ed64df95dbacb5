//! Files that somebody makes anew, lists and those of `[geo]`, judged by their age, and told of.
//!
//! What is past its horizon matches nothing from then on, if its owner wants that; every lookup asks a flag
//! of the list, so nothing is compiled or swapped. Judged before a snapshot comes into force, and once a
//! second after. The age is counted by the steady time: a calendar that is set an hour ahead makes no list
//! old at once. Told by the process alone that was asked to ([`Node::tell_of_feeds`]), once for each stage.
//! Called by `flood_watch.rs`, whose thread it shares, and `node.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use telemetry::events::Events;
use telemetry::metrics::zones::FeedAge;
use zone::{AfterHorizon, Feed, FeedStage, Snapshot};

use crate::node::Node;

/// Files shown one by one, the oldest against their horizon first: a page or a status of more is nobody's to
/// read, and the alarm counts all of them.
const SHOWN_MAX: usize = 1_000;

/// One file in a [`crate::Status`].
#[derive(Clone, Debug)]
pub struct FeedStanding {
    /// The zone's name; empty for a file of `[geo]`.
    pub zone: String,
    /// The file with its horizon.
    pub feed: Feed,
    /// How old it is, in seconds.
    pub age_s: u64,
    /// What that is against its horizon.
    pub stage: FeedStage,
}

/// Which stage was told of each file that is not fresh, by zone and list.
#[derive(Default)]
pub(crate) struct FeedTeller {
    tells: AtomicBool,
    told: Mutex<BTreeMap<(String, String), FeedStage>>,
}

/// Switches every file of a snapshot by its age.
pub(crate) fn judge(snapshot: &Snapshot, now_unix_s: u64) {
    for (_, feed) in snapshot.feeds() {
        feed.judge(now_unix_s);
    }
}

impl FeedTeller {
    /// Looks at every file, and tells what has changed since the last look.
    fn look(&self, snapshot: &Snapshot, now_unix_s: u64, events: &Events) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *told);
        for (zone, feed) in snapshot.feeds() {
            let stage = feed.stage(now_unix_s);
            let key = (zone.to_owned(), feed.name.clone());
            let was = before.remove(&key).unwrap_or(FeedStage::Fresh);
            if stage != was {
                tell(events, (zone, feed), stage, now_unix_s);
            }
            if stage != FeedStage::Fresh {
                told.insert(key, stage);
            }
        }
    }
}

/// Writes an event of a stage that has begun.
fn tell(events: &Events, (zone, feed): (&str, &Feed), stage: FeedStage, now_unix_s: u64) {
    let fields = [
        ("zone", zone.into()),
        ("list", feed.name.as_str().into()),
        ("file", feed.path.as_str().into()),
        ("age_s", feed.age_s(now_unix_s).into()),
        ("horizon_s", feed.horizon_s.into()),
        ("after_horizon", feed.after.word().into()),
    ];
    let with = |remedy: &'static str| [&fields[..], &[("remedy", remedy.into())]].concat();
    match (stage, feed.after) {
        (FeedStage::Fresh, _) => events.info("list_fresh_again", &fields),
        (FeedStage::GettingOld, _) => {
            let remedy = "see why it is not made anew, and run `rempart publish` when it is";
            events.warn("list_getting_old", &with(remedy));
        }
        (FeedStage::PastHorizon, AfterHorizon::Keep) => {
            let remedy = "it is used as it is: have it made anew, and run `rempart publish`";
            events.error("list_past_horizon", &with(remedy));
        }
        (FeedStage::PastHorizon, AfterHorizon::Empty) => {
            let remedy =
                "it matches nothing until it is made anew: see why it is not, and run `rempart publish`";
            events.error("list_past_horizon", &with(remedy));
        }
    }
}

impl Node {
    /// Has this process tell of files that grow old, as one that serves alone does.
    pub fn tell_of_feeds(&self) {
        self.feed_teller().tells.store(true, Ordering::Release);
    }

    /// Judges the files in force, and tells of them. For one thread, once a second.
    pub(crate) fn look_at_feeds(&self) {
        let (live, now_unix_s, teller) = (self.live(), self.steady_unix_s(), self.feed_teller());
        judge(&live.snapshot, now_unix_s);
        // Of a process that drains another has taken over what it serves.
        if teller.tells.load(Ordering::Acquire) && !self.is_draining() {
            teller.look(&live.snapshot, now_unix_s, &self.setup().events);
        }
    }

    /// Counts files that have a horizon by stage.
    pub(crate) fn feed_stages(&self) -> [u64; 3] {
        let (live, now_unix_s) = (self.live(), self.steady_unix_s());
        let mut counts = [0; 3];
        for (_, feed) in live.snapshot.feeds() {
            counts[feed.stage(now_unix_s) as usize] += 1;
        }
        counts
    }

    /// Every file with a horizon, the oldest against it first, at most 1,000.
    pub(crate) fn feeds_standing(&self) -> Vec<FeedStanding> {
        let (live, now_unix_s) = (self.live(), self.steady_unix_s());
        let standing = |(zone, feed): (&str, &Feed)| FeedStanding {
            zone: zone.to_owned(),
            feed: feed.clone(),
            age_s: feed.age_s(now_unix_s),
            stage: feed.stage(now_unix_s),
        };
        let mut all: Vec<FeedStanding> = live.snapshot.feeds().map(standing).collect();
        all.sort_by_key(|standing| {
            let age = u128::from(standing.age_s) * 1_000_000 / u128::from(standing.feed.horizon_s.max(1));
            std::cmp::Reverse(age)
        });
        all.truncate(SHOWN_MAX);
        all
    }

    /// The same for the page of zones.
    pub(crate) fn feed_ages(&self) -> Vec<FeedAge> {
        let age = |standing: FeedStanding| FeedAge {
            zone: standing.zone,
            list: standing.feed.name,
            age_s: standing.age_s,
            horizon_s: standing.feed.horizon_s,
        };
        self.feeds_standing().into_iter().map(age).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use telemetry::sink::Target;
    use testkit::folder::Folder;
    use zone::{Bundle, Source};

    use super::*;

    /// A zone with a list that was made at a second and may be a hundred old.
    fn snapshot(made_unix_s: u64) -> Snapshot {
        let text = "name = \"a\"\nhostnames = [\"a.example\"]\n[[route]]\nanswer = { status = 200 }\n\
                    [[list]]\nname = \"l\"\nkind = \"ip\"\nfile = \"l.txt\"\nhorizon_s = 100\n";
        let specs = vec![Source { name: "/z/a.toml".into(), bytes: text.into() }];
        let files = [("/z/l.txt".to_owned(), b"192.0.2.1\n".to_vec())].into_iter().collect();
        let changed = [("/z/l.txt".to_owned(), made_unix_s)].into_iter().collect();
        let bundle = Bundle::new(specs, None, files).with_changed(changed);
        zone::compile(&bundle, 1, &|_| None).expect("it compiles")
    }

    #[test]
    fn each_stage_is_told_once_and_so_is_its_end() {
        let folder = Folder::new().expect("a folder");
        let log = fs::File::create(folder.path().join("events")).expect("a file");
        let events = Events::start(Target::Descriptor(OwnedFd::from(log)), || 0).expect("events");
        let teller = FeedTeller::default();
        let old = snapshot(1_000);
        for now in [1_000, 1_074, 1_075, 1_076, 1_100, 1_200] {
            teller.look(&old, now, &events);
        }
        teller.look(&snapshot(1_190), 1_201, &events);
        teller.look(&snapshot(1_190), 1_202, &events);
        assert!(events.close(Duration::from_secs(60)));
        let text = fs::read_to_string(folder.path().join("events")).expect("lines");
        let wanted = [("list_getting_old", 75), ("list_past_horizon", 100), ("list_fresh_again", 11)];
        assert_eq!(text.lines().count(), wanted.len(), "{text}");
        for (line, (event, age_s)) in text.lines().zip(wanted) {
            let is_it = line.contains(&format!("\"event\":\"{event}\""));
            assert!(is_it && line.contains(&format!("\"age_s\":{age_s},")), "{line}");
        }
    }
}
