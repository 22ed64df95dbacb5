//! What outlives a snapshot: counters, origins' health, trails, the log, ticket keys.
//!
//! One per process, shared by all serving threads. A snapshot is swapped here at once; a request that began
//! under the old one ends under it. What it tells of origins is in [`origins`].

mod origins;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use exchange::{Account, Cause, Fault, Phase, Refusal, RequestId};
use origin::{Fleet, FleetSettings};
use rustls::sign::CertifiedKey;
use telemetry::events::Events;
use telemetry::metrics::zones::ZoneTable;
use telemetry::metrics::{Held, LabelLists, Outcome, Outside, Registry};
use telemetry::sink::AccessLog;
use wire::Abuse;
use zone::{Id, Snapshot};

use crate::blocks::Blocks;
use crate::cache::{CacheSetup, CacheStanding, DiskPurges, Purge, Purged, Tier, named};
use crate::clock::{Clock, Steady, unix_us};
use crate::coding::Coders;
use crate::facts::Sampler;
use crate::feeds::{self, FeedStanding, FeedTeller};
use crate::fingerprint::Door;
use crate::holding::{Holding, Open};
use crate::letting_go::{LettingGo, QuicHold};
use crate::live::{Beside, Live, build};
use crate::load::Loads;
use crate::strays::{Ownerless, Strays};
use crate::teller::Teller;
use crate::tls::TlsShared;
use crate::trails::Trails;
use crate::waf::{Inspectors, slots_for};
use crate::watch::StuckReport;

/// What a node is made from.
pub struct NodeSetup {
    /// Threads that serve, at least 1.
    pub threads: usize,
    /// The node file's settings, checked.
    pub settings: zone::Node,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// Where operational events go.
    pub events: Events,
    /// Random, anew at each start: request ids, balancing.
    pub seed: [u64; 2],
    /// Key of sticky cookies: the same over restarts.
    pub sticky_key: [u8; 16],
    /// Keys of QUIC's stateless resets and address tokens: the same over restarts.
    pub quic_keys: ([u8; 64], [u8; 32]),
    /// Where each thread writes what it works on, a slot each ([`slots_for`]; with fewer, the threads that
    /// inspect bodies write nothing); none for a node whose deaths nobody looks into.
    pub black_box: Option<blackbox::Writer>,
    /// Key of requests' fingerprints: the same over restarts, or no death is recognised again.
    pub fingerprint_key: [u64; 2],
    /// Seed of the hashes by which floods are told apart: the same over restarts, or what is kept of what is
    /// usual is of no use ([`Node::keep_usual`]).
    pub flood_seed: u64,
    /// Called once, on a thread of its own, for each serving thread that is stuck in one poll for more than a
    /// second of its own CPU time: the process should be replaced. It must not block for long.
    pub on_stuck: Option<Box<dyn Fn(StuckReport) + Send + Sync>>,
    /// Most visitors' connections at once over all threads; a connection to an origin may come with each.
    pub connections_max: usize,
    /// Told of each URL that an unsafe request has changed, by its zone and a number that stands for the URL
    /// in all processes of the node: whoever serves beside this one has to hear of it
    /// ([`Node::changed_elsewhere`]). Called by serving threads: it must not wait.
    pub on_changed: Option<Box<dyn Fn(Id, u64) + Send + Sync>>,
    /// What zones' caches may hold; none for a node that keeps no answers.
    pub cache: Option<CacheSetup>,
}

/// One running Rempart.
pub struct Node {
    setup: NodeSetup,
    black_box: blackbox::Writer,
    door: Door,
    blocks: Blocks,
    memory: Arc<Account>,
    loop_token: String,
    live: ArcSwap<Live>,
    version: AtomicU64,
    fleet: Arc<Fleet>,
    registry: Arc<Registry>,
    zone_table: ZoneTable,
    trails: Vec<Trails>,
    tls: TlsShared,
    clock: Clock,
    steady: Arc<Steady>,
    strays: Strays,
    letting_go: LettingGo,
    quic_hold: QuicHold,
    holding: Holding,
    restarts: AtomicU64,
    is_draining: AtomicBool,
    is_last: AtomicBool,
    drain_ms: AtomicU64,
    has_candidate: AtomicBool,
    sampler: Sampler,
    inspectors: OnceLock<Inspectors>,
    coders: OnceLock<Coders>,
    loads: Loads,
    feed_teller: FeedTeller,
    serving: AtomicUsize,
    cut: AtomicUsize,
    /// One for each kind of abuse.
    abuse_tellers: Box<[Teller]>,
    swapped_unix_us: AtomicU64,
    started_unix_us: u64,
    /// Made when the first zone with a cache comes into force.
    cache: OnceLock<Tier>,
}

/// What runs, since when.
#[derive(Clone, Debug)]
pub struct Status {
    /// The node's name.
    pub name: String,
    /// Number of the snapshot in force.
    pub snapshot: u64,
    /// Its hash, hex.
    pub hash: String,
    /// When it came into force, microseconds after 1970.
    pub since_unix_us: u64,
    /// When the process began, microseconds after 1970.
    pub started_unix_us: u64,
    /// Threads that serve at this moment.
    pub threads: usize,
    /// Threads that shed requests at this moment.
    pub shedding_threads: usize,
    /// How late the latest thread is, in microseconds, at least, over its last 100 ms.
    pub delay_us: u64,
    /// What origins stand at.
    pub origins: telemetry::metrics::Origins,
    /// Files that have a horizon, the oldest against it first, at most 1,000.
    pub feeds: Vec<FeedStanding>,
    /// Whether the node drains.
    pub is_draining: bool,
    /// What is stored; none while no zone has a cache.
    pub cache: Option<CacheStanding>,
    /// The zones in force, at most 10,000.
    pub zones: Vec<ZoneStatus>,
}

/// Sums since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, answers of 5xx.
    pub server_errors: u64,
    /// Faults whose cause is this node.
    pub edge_faults: u64,
    /// Faults whose cause is an origin.
    pub origin_faults: u64,
    /// Refusals.
    pub refusals: u64,
    /// Panics caught.
    pub panics: u64,
    /// How many took at most as long as each of [`telemetry::metrics::BUCKETS_US`], and last the others.
    pub durations: [u64; telemetry::metrics::BUCKETS_US.len() + 1],
}

/// One zone in a [`Status`].
#[derive(Clone, Debug)]
pub struct ZoneStatus {
    /// The zone's name.
    pub name: String,
    /// The zone's id, 32 hex digits.
    pub id: String,
    /// How many host names it serves.
    pub hostnames: usize,
    /// How many pools it has.
    pub pools: usize,
    /// How many routes it has.
    pub routes: usize,
    /// Whether it has a certificate.
    pub has_certificate: bool,
    /// How its load stands; none where it is not watched.
    pub flood: Option<flood::Standing>,
}

impl Node {
    /// A node that will serve `snapshot`.
    pub fn new(setup: NodeSetup, snapshot: Snapshot) -> Arc<Self> {
        let clock = Clock::start();
        let fleet = Fleet::new(FleetSettings {
            sticky_key: setup.sticky_key,
            seed: setup.seed[0],
            ..FleetSettings::default()
        });
        let registry = Registry::new(LabelLists {
            refusals: Refusal::WORDS,
            faults: Fault::WORDS,
            phases: Phase::WORDS,
            abuses: Abuse::WORDS,
        });
        let zone_table = ZoneTable::new();
        let tls = TlsShared::new();
        let memory = Account::new(memory_budget(&setup.settings));
        let overload = &setup.settings.overload;
        let (threads, seed) = (setup.threads.max(1), setup.flood_seed);
        let events = &setup.events;
        let beside =
            Beside { tls: &tls, zones: &zone_table, memory: &memory, events, overload, threads, seed };
        let live = Arc::new(build(snapshot, None, &beside));
        let steady = Arc::new(Steady::start(clock));
        feeds::judge(&live.snapshot, steady.unix_us() / 1_000_000);
        #[cfg(feature = "fault-injection")]
        crate::fault_points::applying(live.sites.iter().map(|site| &*site.zone));
        fleet.apply(&live.snapshot, clock.now_ms());
        registry.set_snapshot_number(live.snapshot.number);
        // Unique to this process, so that two nodes of one name in a row are no loop.
        let loop_token =
            format!("{}-{:016x}", setup.settings.name, setup.seed[0] ^ setup.seed[1].rotate_left(29));
        let unix_us = unix_us();
        #[cfg(feature = "fault-injection")]
        crate::fault_points::loaded(live.sites.iter().map(|site| &*site.zone));
        let drain_ms = setup.settings.drain_ms;
        let threads = setup.threads.max(1);
        let black_box = setup.black_box.filter(|black_box| black_box.len() >= threads);
        let cache = OnceLock::new();
        begin_cache(&cache, &setup, &live.snapshot);
        Arc::new(Self {
            cache,
            black_box: black_box.unwrap_or_else(|| blackbox::Writer::private(slots_for(threads))),
            door: Door::default(),
            blocks: Blocks::default(),
            memory,
            trails: (0..setup.threads.max(1)).map(|_| Trails::default()).collect(),
            loop_token,
            live: ArcSwap::new(live),
            version: AtomicU64::new(1),
            fleet,
            registry,
            zone_table,
            tls,
            steady,
            strays: Strays::default(),
            letting_go: LettingGo::default(),
            quic_hold: QuicHold::default(),
            holding: Holding::new(threads),
            restarts: AtomicU64::new(0),
            clock,
            is_draining: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
            drain_ms: AtomicU64::new(drain_ms),
            has_candidate: AtomicBool::new(false),
            sampler: Sampler::default(),
            inspectors: OnceLock::new(),
            coders: OnceLock::new(),
            loads: Loads::new(threads),
            feed_teller: FeedTeller::default(),
            serving: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            abuse_tellers: Abuse::WORDS.iter().map(|_| Teller::default()).collect(),
            swapped_unix_us: AtomicU64::new(unix_us),
            started_unix_us: unix_us,
            setup,
        })
    }

    /// Whether an event may be written of this abuse, and how many were not since the last.
    pub(crate) fn may_tell_abuse(&self, abuse: Abuse, now_ms: u64) -> Option<u64> {
        self.abuse_tellers.get(abuse as usize)?.may_tell(now_ms)
    }

    /// Puts another snapshot in force, at once and whole. Open connections and exchanges are not touched.
    pub fn swap(&self, snapshot: Snapshot) {
        let before = self.live.load_full();
        let (tls, zones, memory) = (&self.tls, &self.zone_table, &self.memory);
        let overload = &self.setup.settings.overload;
        let (threads, seed, events) = (self.setup.threads.max(1), self.setup.flood_seed, &self.setup.events);
        let beside = Beside { tls, zones, memory, events, overload, threads, seed };
        let live = Arc::new(build(snapshot, Some(&before), &beside));
        feeds::judge(&live.snapshot, self.steady_unix_s());
        begin_cache(&self.cache, &self.setup, &live.snapshot);
        #[cfg(feature = "fault-injection")]
        crate::fault_points::applying(live.sites.iter().map(|site| &*site.zone));
        self.fleet.apply(&live.snapshot, self.clock.now_ms());
        self.registry.set_snapshot_number(live.snapshot.number);
        self.registry.reloaded(Outcome::Ok);
        #[cfg(feature = "fault-injection")]
        crate::fault_points::loaded(live.sites.iter().map(|site| &*site.zone));
        self.live.store(live);
        self.version.fetch_add(1, Ordering::Release);
        self.swapped_unix_us.store(unix_us(), Ordering::Relaxed);
    }

    /// Refuses exactly the requests with these fingerprints from now on, each for so many seconds, whatever
    /// is done to the machine's clock meanwhile: they have ended a process and would end this one. At most
    /// [`FINGERPRINTS_MAX`](crate::FINGERPRINTS_MAX); beyond it those refused longest stay. Each refused
    /// request is counted as `deadly_request`.
    pub fn refuse_fingerprints(&self, fingerprints: Vec<(u64, u64)>) {
        let now_s = self.clock.now_s();
        let until = |(fingerprint, left_s): (u64, u64)| (fingerprint, now_s.saturating_add(left_s));
        self.door.refuse(fingerprints.into_iter().map(until).collect());
    }

    /// Refuses exactly visitors of these ranges from now on, each for so many seconds, whatever is done to
    /// the machine's clock meanwhile: the emergency block list. At most [`BLOCKS_MAX`](crate::BLOCKS_MAX).
    pub fn block(&self, ranges: &[(zone::Cidr, u64)]) {
        let now_s = self.clock.now_s();
        let until = |(range, left_s): &(zone::Cidr, u64)| (*range, now_s.saturating_add(*left_s));
        self.blocks.set(&ranges.iter().map(until).collect::<Vec<_>>());
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Counts a change that was refused.
    pub fn swap_refused(&self) {
        self.registry.reloaded(Outcome::Failed);
    }

    /// Gives a zone another certificate: for handshakes from now on.
    ///
    /// # Errors
    /// rustls' reason why the zone's TLS settings cannot be made with it; the old one stays.
    pub fn replace_certificate(
        &self,
        zone: Id,
        certificate: &Arc<CertifiedKey>,
    ) -> Result<(), rustls::Error> {
        let live = self.live();
        let Some(site) = live.sites.iter().find(|site| site.zone.id == zone) else { return Ok(()) };
        let config = self.tls.config_for(&site.zone, Some(certificate));
        self.registry.certificates_reloaded(if config.is_ok() { Outcome::Ok } else { Outcome::Failed });
        site.tls.store(config?);
        site.certificate.store(Some(Arc::clone(certificate)));
        Ok(())
    }

    /// Counts certificate files that were refused.
    pub fn certificate_refused(&self) {
        self.registry.certificates_reloaded(Outcome::Failed);
    }

    /// Begins to drain: see [`wire::Thread::drain`]. Open exchanges may go on for the node's `drain_ms`.
    pub fn drain(&self) {
        self.drain_within(self.setup.settings.drain_ms);
    }

    /// Says, before a drain, that no other process accepts visitors from then on: those who wait at the
    /// listeners by then are served.
    pub fn is_to_be_last(&self) {
        self.is_last.store(true, Ordering::Release);
    }

    pub(crate) fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Acquire)
    }

    /// Begins to drain; open exchanges may go on for so many milliseconds from the drain's beginning. A later
    /// call changes the time.
    pub fn drain_within(&self, ms: u64) {
        self.drain_ms.store(ms, Ordering::Release);
        self.is_draining.store(true, Ordering::Release);
        self.strays.set(&[]);
        // First of all: the next process waits for the folder.
        if let Some(tier) = self.cache() {
            tier.release();
        }
    }

    /// The store, once a zone with a cache is in force.
    pub(crate) fn cache(&self) -> Option<&Tier> {
        self.cache.get()
    }

    /// Makes stored answers unusable, for the next request on and for every fetch under way. `number` is the
    /// entry of the numbered log. `done` is told once it would hold after a crash too; at once where nothing
    /// is stored.
    pub fn purge(
        &self,
        purge: &Purge,
        is_soft: bool,
        number: u64,
        done: impl FnOnce(Purged) + Send + 'static,
    ) {
        match self.cache() {
            Some(tier) => tier.purge(purge, is_soft, number, done),
            None => done(Purged::Kept),
        }
    }

    /// How far the disk is with the purges of the numbered log.
    pub fn disk_purges(&self) -> DiskPurges {
        let has_disk = self.setup.cache.as_ref().is_some_and(|cache| cache.disk.is_some());
        match self.cache() {
            Some(tier) => tier.disk_purges(),
            None if has_disk => DiskPurges::NoStoreYet,
            None => DiskPurges::Never,
        }
    }

    /// Makes all answers that were stored under a snapshot unusable: it was withdrawn.
    pub fn forget_stored_under(&self, snapshot: u64) {
        if let Some(tier) = self.cache() {
            tier.withdraw(snapshot);
        }
    }

    /// Makes what is stored under URLs unusable that unsafe requests to another process of the node have
    /// changed: these of a zone, or with `None` all of it.
    pub fn changed_elsewhere(&self, zone: Id, urls: Option<&[u64]>) {
        if let Some(tier) = self.cache() {
            tier.changed_elsewhere(zone, urls);
        }
    }

    /// Looks how the cache's disk is, and tells what has changed. Called every tenth of a second.
    pub(crate) fn look_at_disk(&self) {
        // A process that drains has given it up.
        if let Some(tier) = self.cache().filter(|_| !self.is_draining()) {
            tier.look(&self.setup.events);
        }
    }

    /// The zone of a host, and host and target of a URL as purges name them. None where no zone serves the
    /// host, or the URL is too long to be stored.
    pub fn named(&self, host: &[u8], target: &[u8]) -> Option<(Id, Vec<u8>, Vec<u8>)> {
        let live = self.live();
        let site = live.site_for(host)?;
        let (host, target) = named(host, target)?;
        Some((site.zone.id, host, target))
    }

    pub(crate) fn drain_ms(&self) -> u64 {
        self.drain_ms.load(Ordering::Acquire)
    }

    /// Whether the node drains.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Says whether a candidate serves its own sockets. While none does, this node takes what waits there.
    pub fn set_has_candidate(&self, has_candidate: bool) {
        self.has_candidate.store(has_candidate, Ordering::Release);
    }

    pub(crate) fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Sums of what happened since the process began, for comparing one stretch of time with another.
    pub fn figures(&self) -> Figures {
        let totals = self.registry.totals();
        let by_cause = |cause| {
            let of = |(fault, count): (&Fault, &u64)| (fault.cause() == cause).then_some(*count);
            Fault::ALL.iter().zip(&totals.faults).filter_map(of).sum()
        };
        Figures {
            requests: totals.requests,
            server_errors: totals.server_errors,
            edge_faults: by_cause(Cause::Edge),
            origin_faults: by_cause(Cause::Origin),
            refusals: totals.refusals.iter().sum(),
            panics: totals.panics,
            durations: totals.durations,
        }
    }

    pub(crate) fn has_candidate(&self) -> bool {
        self.has_candidate.load(Ordering::Acquire)
    }

    /// Whether zones answer: every thread accepts, a snapshot with a zone is in force, and nothing drains.
    pub fn is_ready(&self) -> bool {
        self.serving.load(Ordering::Acquire) == self.setup.threads.max(1)
            && !self.is_draining()
            && !self.live().snapshot.zones().is_empty()
    }

    /// What runs.
    pub fn status(&self) -> Status {
        let (live, now_s) = (self.live(), self.flood_s());
        let zones = live.sites.iter().take(10_000).map(|site| ZoneStatus {
            name: site.zone.name.clone(),
            id: site.zone.id.to_string(),
            hostnames: site.zone.hostnames.len(),
            pools: site.zone.pools.len(),
            routes: site.zone.routes.len(),
            has_certificate: site.tls.load().is_some(),
            flood: site.flood.as_ref().map(|flood| flood.standing(now_s)),
        });
        let (shedding_threads, delay_us) = self.loads.now();
        Status {
            name: self.setup.settings.name.clone(),
            snapshot: live.snapshot.number,
            hash: live.snapshot.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            since_unix_us: self.swapped_unix_us.load(Ordering::Relaxed),
            started_unix_us: self.started_unix_us,
            threads: self.serving.load(Ordering::Acquire),
            shedding_threads,
            delay_us,
            origins: self.origins_standing(),
            feeds: self.feeds_standing(),
            is_draining: self.is_draining(),
            cache: self.cache().map(Tier::standing),
            zones: zones.collect(),
        }
    }

    /// What each phase decided for a request, for a person to read; none if it is no longer kept.
    pub fn trace(&self, id: RequestId) -> Option<String> {
        self.trails.iter().find_map(|trails| trails.find(id)).map(|kept| kept.text())
    }

    /// How many exchanges the end of the drain cut off.
    pub fn exchanges_cut(&self) -> usize {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn count_cut(&self, exchanges: usize) {
        self.cut.fetch_add(exchanges, Ordering::AcqRel);
    }

    /// Metrics in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let (shedding, delay_us) = self.loads.now();
        let (flooded_zones, flood_limits) = self.floods();
        self.registry.render(&Outside {
            access_log: self.setup.access_log.counts(),
            events_suppressed: self.setup.events.suppressed(),
            held: Held {
                bytes: self.memory.held(),
                bytes_max: self.memory.max(),
                over: self.memory.times_over(),
            },
            flooded_zones,
            flood_limits,
            feeds: self.feed_stages(),
            limits_forgotten: self.live().sites.iter().map(|site| site.counts.forgotten()).sum(),
            bodies_waiting: self.inspectors().map_or(0, |inspectors| inspectors.waiting() as u64),
            shedding_threads: shedding as u64,
            delay_us,
            origins: self.origins_standing(),
            stored: self.cache().map_or_else(Tier::no_metrics, Tier::metrics),
            edge_restarts: self.restarts.load(Ordering::Relaxed),
            process: telemetry::metrics::process::Process::read(),
        })
    }

    /// Counters by zone in the Prometheus text format.
    pub fn zone_metrics(&self) -> String {
        self.zone_table.render(&self.feed_ages())
    }

    /// The snapshot in force.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// What visitors make the node hold.
    pub(crate) fn memory(&self) -> &Arc<Account> {
        &self.memory
    }

    /// Starts the threads that inspect bodies, and those that code them, once.
    pub(crate) fn start_pools(&self) -> std::io::Result<()> {
        if self.inspectors.get().is_none() {
            let threads = self.setup.threads.max(1);
            let (told, clock) = (&self.setup.events, self.clock);
            let inspectors = Inspectors::start(threads, self.black_box, clock, told.clone())?;
            let _first = self.inspectors.set(inspectors);
            let _first = self.coders.set(Coders::start(threads, told.clone())?);
        }
        Ok(())
    }

    /// The threads that code what is stored, once the node serves.
    pub(crate) fn coders(&self) -> Option<&Coders> {
        self.coders.get()
    }

    /// The threads that inspect bodies, once the node serves.
    pub(crate) fn inspectors(&self) -> Option<&Inspectors> {
        self.inspectors.get()
    }

    /// What its threads share about their load.
    pub(crate) fn loads(&self) -> &Loads {
        &self.loads
    }

    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// The slots of the serving threads, and behind them of those that inspect for them.
    pub(crate) fn black_box(&self) -> blackbox::Writer {
        self.black_box
    }

    pub(crate) fn live_version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn live_with_version(&self) -> (u64, Arc<Live>) {
        // The version first: at worst the newer snapshot is fetched once more.
        (self.live_version(), self.live.load_full())
    }

    pub(crate) fn name(&self) -> &str {
        &self.setup.settings.name
    }

    pub(crate) fn feed_teller(&self) -> &FeedTeller {
        &self.feed_teller
    }

    /// Seconds since 1970, by the steady time.
    pub(crate) fn steady_unix_s(&self) -> u64 {
        self.steady.unix_us() / 1_000_000
    }

    pub(crate) fn loop_token(&self) -> &str {
        &self.loop_token
    }

    pub(crate) fn settings(&self) -> &zone::Node {
        &self.setup.settings
    }

    pub(crate) fn setup(&self) -> &NodeSetup {
        &self.setup
    }

    pub(crate) fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) fn access_log(&self) -> &AccessLog {
        &self.setup.access_log
    }

    pub(crate) fn trails(&self, thread: usize) -> &Trails {
        &self.trails[thread % self.trails.len()]
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// When the process began, by its calendar.
    pub(crate) fn started_unix_us(&self) -> u64 {
        self.started_unix_us
    }

    /// Says which UDP sockets of other processes are nobody's: exactly these are answered with stateless
    /// resets from now on, until this node drains.
    pub fn answer_strays(&self, ownerless: &[Ownerless]) {
        self.strays.set(if self.is_draining() { &[] } else { ownerless });
    }

    /// Gives up the UDP sockets of a node that drains, since another process is to read them: as soon as no
    /// QUIC connection is open, and by closing those that are after so many milliseconds. Connections over
    /// TCP go on. [`Node::reads_quic`] says when it is done: some 200 ms at the least.
    pub fn let_go_of_quic(&self, within_ms: u64) {
        self.letting_go.order(self.clock.now_ms().saturating_add(within_ms));
    }

    /// Notes how often an edge was started in the place of one that died, for the metrics.
    pub fn note_restarts(&self, restarts: u64) {
        self.restarts.store(restarts, Ordering::Relaxed);
    }

    /// What its threads have open.
    pub fn open(&self) -> Open {
        self.holding.sum()
    }

    pub(crate) fn holding(&self) -> &Holding {
        &self.holding
    }

    /// Says, before the threads are started, that another process has the UDP sockets yet: nothing is read of
    /// them until [`Node::read_quic`]. TCP is served meanwhile.
    pub fn hold_quic(&self) {
        self.quic_hold.set(false);
    }

    /// Reads the UDP sockets from now on, unless this node drains or was told to let go of them.
    pub fn read_quic(&self) {
        self.quic_hold.set(true);
    }

    pub(crate) fn quic_hold(&self) -> &QuicHold {
        &self.quic_hold
    }

    /// Whether a thread reads a UDP socket of its own.
    pub fn reads_quic(&self) -> bool {
        self.letting_go.reads()
    }

    pub(crate) fn letting_go(&self) -> &LettingGo {
        &self.letting_go
    }

    pub(crate) fn strays(&self) -> &Strays {
        &self.strays
    }

    /// The time that stored answers are dated by.
    pub(crate) fn steady(&self) -> &Arc<Steady> {
        &self.steady
    }

    pub(crate) fn tls(&self) -> &TlsShared {
        &self.tls
    }

    pub(crate) fn seed_for(&self, thread: usize) -> [u64; 2] {
        let [first, second] = self.setup.seed;
        [first ^ (thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), second.wrapping_add(thread as u64)]
    }

    /// One thread more, or one less, accepts.
    pub(crate) fn count_serving(&self, begins: bool) {
        if begins {
            self.serving.fetch_add(1, Ordering::AcqRel);
        } else {
            self.serving.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Makes the store if a zone of the snapshot has a cache, and the node may have one.
fn begin_cache(cache: &OnceLock<Tier>, setup: &NodeSetup, snapshot: &Snapshot) {
    if let Some(wanted) = &setup.cache
        && snapshot.zones().iter().any(|zone| zone.cache.is_some())
    {
        cache.get_or_init(|| Tier::start(wanted.clone(), &setup.events));
    }
    if let Some(tier) = cache.get() {
        tier.learn(snapshot.zones());
        tier.weigh(snapshot.zones());
    }
}

/// Most bytes that visitors may make a node hold.
fn memory_budget(settings: &zone::Node) -> u64 {
    match settings.memory_budget_bytes {
        0 => {
            let machine = rustix::system::sysinfo();
            (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit)) / 2
        }
        bytes => bytes,
    }
}
