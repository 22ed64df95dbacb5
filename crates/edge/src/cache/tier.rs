//! The store of one process: memory, and the disk's folder while this process has it.
//!
//! Made when the first zone with a cache comes into force, so that a node without caches holds nothing for
//! them. The disk has one writer, by a lock on its folder: a process that drains gives it up first, the next
//! one waits for it and serves from memory and origins meanwhile. Called by `node.rs`; decides nothing of
//! HTTP.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cache::engine::Engine;
use cache::policy::{KeySettings, Spelling, VisitorFacts};
use cache::store::disk::{self, Running};
use cache::store::{DiskSettings, DiskState, MemorySettings, Recorded, Seed, Store, Strength};
use exchange::Request;
use telemetry::events::Events;
use zone::Id;

use super::disk_watch::{DiskWatch, Said, Seen};
use super::sites::spellings_of;
use super::spellings::Spellings;
use crate::fault_points;

/// What a node may hold for the caches of all zones.
#[derive(Clone, Debug)]
pub struct CacheSetup {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Secret; the same for as long as the disk's folder is.
    pub seed: [u8; 16],
    /// The disk; none for memory alone.
    pub disk: Option<DiskSetup>,
}

/// Where answers outlive the process.
#[derive(Clone, Debug)]
pub struct DiskSetup {
    /// The folder, made if it is missing.
    pub folder: PathBuf,
    /// Bytes of all files.
    pub bytes: u64,
}

/// What is to be made unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// One URL of a zone, with all its variants.
    Url {
        /// The zone's id.
        zone: Id,
        /// Its host.
        host: Vec<u8>,
        /// Path and query, as visitors send them: it goes under each of the zone's spellings.
        target: Vec<u8>,
    },
    /// Everything of a host whose path begins so.
    Prefix {
        /// The zone's id.
        zone: Id,
        /// Its host.
        host: Vec<u8>,
        /// How path and query begin.
        target: Vec<u8>,
    },
    /// Everything of a host.
    Host {
        /// The zone's id.
        zone: Id,
        /// The host.
        host: Vec<u8>,
    },
    /// Everything with a tag.
    Tag {
        /// The zone's id.
        zone: Id,
        /// The tag.
        tag: Vec<u8>,
    },
    /// Everything of a zone.
    Zone {
        /// The zone's id.
        zone: Id,
    },
    /// Everything.
    Everything,
}

/// Whether a purge outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// It does, or there is no disk that could bring anything back.
    Kept,
    /// It holds now, and may not after a crash: the disk has not taken it in time, or cannot.
    NotKept,
}

/// How far the disk is with the purges of the numbered log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskPurges {
    /// No zone has a cache yet, so that the disk was not looked at.
    NoStoreYet,
    /// Its own log is not read yet.
    NotYet,
    /// It has all up to this number.
    KeptTo(u64),
    /// There is no disk, or it will not be used by this process.
    Never,
}

/// How the store stands, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStanding {
    /// Answers in memory.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Most bytes there may be.
    pub bytes_max: u64,
    /// The disk; none for memory alone.
    pub disk: Option<DiskStanding>,
}

/// How the disk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStanding {
    /// `ready`, `waiting`, `loading`, `released`, or what is wrong.
    pub state: String,
    /// Answers on it.
    pub objects: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Most bytes there may be.
    pub bytes_max: u64,
    /// What ails it, in the word of the event `cache_disk_trouble`.
    pub trouble: Option<&'static str>,
}

/// See the module.
pub(crate) struct Tier {
    engine: Engine,
    setup: CacheSetup,
    running: Mutex<Option<Running>>,
    watch: Mutex<DiskWatch>,
    spellings: Spellings,
    hints: cache::hints::Hints,
}

impl Tier {
    /// The store of a setup, with its disk's threads running.
    pub(crate) fn start(setup: CacheSetup, events: &Events) -> Self {
        let store = Store::new(MemorySettings::of(setup.memory_bytes), Seed(setup.seed));
        let mut running = None;
        if let Some(disk) = &setup.disk {
            let files = fault_points::cache_files(disk::Folder(disk.folder.clone()));
            let workers = disk::attach(&store, files, DiskSettings::of(disk.bytes));
            match workers.map(disk::Workers::start) {
                Some(Ok(threads)) => running = Some(threads),
                Some(Err(error)) => {
                    let (cause, remedy) = (error.to_string(), "answers are kept in memory alone");
                    let fields = [("cause", cause.as_str().into()), ("remedy", remedy.into())];
                    events.warn("cache_disk_off", &fields);
                }
                None => {}
            }
        }
        let (engine, running) = (Engine::new(store), Mutex::new(running));
        Self {
            engine,
            setup,
            running,
            watch: Mutex::default(),
            spellings: Spellings::default(),
            hints: cache::hints::Hints::default(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What pages that are not stored told browsers to fetch.
    pub(crate) fn hints(&self) -> &cache::hints::Hints {
        &self.hints
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Gives the disk's folder up for the next process. What is in memory is served on.
    pub(crate) fn release(&self) {
        if let Some(running) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            running.release();
        }
    }

    /// Learns how the zones that come into force spell their URLs in keys; before anything is served under
    /// them. What is stored under a spelling that comes late goes.
    pub(crate) fn learn(&self, zones: &[Arc<zone::Zone>]) {
        for zone in zones.iter().filter(|zone| zone.cache.is_some()) {
            for late in self.spellings.learn(zone.id, spellings_of(zone)) {
                if let Some(tag) = late.tag() {
                    let purge = cache::store::Purge::Tag { zone: u128::from_be_bytes(zone.id.0), tag: &tag };
                    self.store().purge(&purge, Strength::Hard, 0, |_recorded| {});
                }
            }
        }
    }

    /// How a zone's URLs may be spelt in keys.
    pub(crate) fn spellings(&self, zone: Id) -> Arc<[Spelling]> {
        self.spellings.of(zone)
    }

    /// Gives zones their shares of memory.
    pub(crate) fn weigh(&self, zones: &[Arc<zone::Zone>]) {
        let weight = |zone: &Arc<zone::Zone>| {
            let cache = zone.cache.as_ref()?;
            Some((u128::from_be_bytes(zone.id.0), cache.weight))
        };
        self.store().weigh(&zones.iter().filter_map(weight).collect());
    }

    /// Looks how the disk is, and tells what has changed. To be called every tenth of a second.
    pub(crate) fn look(&self, events: &Events) {
        let Some(disk) = self.store().disk() else { return };
        let counts = self.store().counts();
        let seen = Seen {
            state: disk.state(),
            activity: disk.activity(),
            damaged: counts.disk_records_damaged + counts.disk_entries_damaged,
        };
        let said = self.watch.lock().unwrap_or_else(PoisonError::into_inner).see(&seen);
        said.iter().for_each(|said| self.tell(said, events));
    }

    fn tell(&self, said: &Said, events: &Events) {
        let folder =
            self.setup.disk.as_ref().map(|disk| disk.folder.display().to_string()).unwrap_or_default();
        let folder = ("folder", folder.as_str().into());
        match said {
            Said::Begins { trouble, cause } => {
                let fields = [
                    folder,
                    ("trouble", trouble.word().into()),
                    ("cause", cause.as_str().into()),
                    ("remedy", trouble.remedy().into()),
                ];
                events.warn("cache_disk_trouble", &fields);
            }
            Said::Ends { trouble } => {
                events.info("cache_disk_recovered", &[folder, ("trouble", trouble.word().into())]);
            }
            Said::Damaged { count } => {
                let remedy = "what was damaged is fetched anew and no wrong byte was sent; a disk that does \
                              this again wants replacing";
                let fields = [folder, ("count", (*count).into()), ("remedy", remedy.into())];
                events.warn("cache_disk_damaged", &fields);
            }
        }
    }

    /// Makes answers unusable, now and for every fetch under way. `done` is told once it would hold after a
    /// crash too.
    pub(crate) fn purge(
        &self,
        purge: &Purge,
        is_soft: bool,
        number: u64,
        done: impl FnOnce(Purged) + Send + 'static,
    ) {
        use cache::store::Purge as Of;
        self.hints.forget();
        let id = |zone: &Id| u128::from_be_bytes(zone.0);
        let strength = if is_soft { Strength::Soft } else { Strength::Hard };
        let done = |recorded| {
            done(match recorded {
                Recorded::OnDisk | Recorded::InMemory => Purged::Kept,
                Recorded::NotRecorded => Purged::NotKept,
            });
        };
        let of = match purge {
            Purge::Url { zone, host, target } => {
                let (spellings, url) = (self.spellings.of(*zone), (id(zone), &host[..], &target[..]));
                return self.engine.purge_url(url, &spellings, (strength, number), done);
            }
            Purge::Prefix { zone, host, target } => Of::Prefix { zone: id(zone), host, target },
            Purge::Host { zone, host } => Of::Host { zone: id(zone), host },
            Purge::Tag { zone, tag } => Of::Tag { zone: id(zone), tag },
            Purge::Zone { zone } => Of::Zone { zone: id(zone) },
            Purge::Everything => Of::Everything,
        };
        self.store().purge(&of, strength, number, done);
    }

    /// Makes what is stored under URLs unusable that another process was asked to change; `None`: all of a
    /// zone.
    pub(crate) fn changed_elsewhere(&self, zone: Id, urls: Option<&[u64]>) {
        let zone = u128::from_be_bytes(zone.0);
        match urls {
            Some(urls) => urls.iter().for_each(|url| self.store().invalidate_told(zone, *url)),
            None => self.store().invalidate_zone(zone),
        }
    }

    /// Makes everything unusable that was stored under a snapshot.
    pub(crate) fn withdraw(&self, snapshot: u64) {
        // No entry of the numbered log: a withdrawal is each node's own.
        self.store().withdraw(snapshot, 0, |_recorded| {});
    }

    /// How far the disk is with the purges of the numbered log.
    pub(crate) fn disk_purges(&self) -> DiskPurges {
        let Some(disk) = self.store().disk() else { return DiskPurges::Never };
        match disk.state() {
            DiskState::Ready => DiskPurges::KeptTo(disk.purges_applied_to()),
            DiskState::Refused(_) | DiskState::Failed(_) | DiskState::Released => DiskPurges::Never,
            DiskState::WaitingForFolder | DiskState::Loading | DiskState::Unreachable(_) => {
                DiskPurges::NotYet
            }
        }
    }

    /// What metrics say of it.
    pub(crate) fn metrics(&self) -> telemetry::metrics::Stored {
        let usage = self.store().usage();
        let (disk_bytes, disk_objects) =
            self.store().disk().map_or((0, 0), |disk| (disk.bytes(), disk.objects() as u64));
        telemetry::metrics::Stored {
            bytes: [usage.bytes, disk_bytes],
            objects: [usage.objects, disk_objects],
            events: self.store().counts().named(),
        }
    }

    /// What metrics say where there is none.
    pub(crate) fn no_metrics() -> telemetry::metrics::Stored {
        let events = cache::store::Counts::default().named();
        telemetry::metrics::Stored { events, ..telemetry::metrics::Stored::default() }
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> CacheStanding {
        let usage = self.store().usage();
        let disk = self.store().disk().zip(self.setup.disk.as_ref()).map(|(disk, setup)| DiskStanding {
            state: match disk.state() {
                DiskState::WaitingForFolder => "waiting for the folder: another process has it".to_owned(),
                DiskState::Loading => "loading".to_owned(),
                DiskState::Ready => "ready".to_owned(),
                DiskState::Refused(why) => format!("refused: {why}"),
                DiskState::Unreachable(why) => format!("unreachable: {why}"),
                DiskState::Failed(why) => format!("failed: {why}"),
                DiskState::Released => "released".to_owned(),
            },
            objects: disk.objects() as u64,
            bytes: disk.bytes(),
            bytes_max: setup.bytes,
            trouble: self.watch.lock().unwrap_or_else(PoisonError::into_inner).trouble(),
        });
        CacheStanding { objects: usage.objects, bytes: usage.bytes, bytes_max: self.setup.memory_bytes, disk }
    }
}

/// Host and target of a URL as keys and purges name them: the host in lower case and without a port. None if
/// they are too long to be stored.
pub(crate) fn named(host: &[u8], target: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut request = Request::default();
    request.set_method(b"GET");
    request.set_authority(host);
    request.set_target(target);
    let key = cache::policy::Key::of(&request, 0, &KeySettings::default(), &VisitorFacts::default())?;
    Some((key.host().to_vec(), key.target().to_vec()))
}
