//! Admission under overload: measures how late this thread is, and sends away what its controller sheds.
//!
//! What is shed and why is the crate `overload`'s to decide; here is what it is told and what is done about
//! it. A thread that keeps up pays a comparison and a look into a cell for each request. A request that is
//! shed gets 503 with `Retry-After`, on a connection that stays open. One that a zone's cache may answer is
//! looked up first where that costs no more than sending it away: what is stored is served, stale answers
//! too.
//!
//! A controller that breaks lets everything in from then on, and an event says so. Called by `serving.rs` for
//! its task, and by `pipeline.rs`. Read next: [`Edge::let_in`], [`Edge::watch_load`].

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use blackbox::Work;
use exchange::{BodySize, Phase, Refusal, Upgrade};
use nix::time::{ClockId, clock_gettime};
use overload::{Asked, Change, Controller, Kind, Known, Probe, Settings, State, Told, Visitor, Worth};
use telemetry::events::Events;
use telemetry::metrics::{Trouble, Worth as WorthLabel};
use wire::Exchange;

use crate::abuse::Shakes;
use crate::contain::guard;
use crate::course::Course;
use crate::live::Site;
use crate::node::Node;
use crate::pipeline::Edge;
use crate::refuse::refuse;
use crate::turn::{Order, Took};

/// How often a busy thread's timer runs, in milliseconds: five times in each of the controller's windows.
const PROBE_MS: u64 = 20;

/// How often it runs on a thread that serves nothing: as often as the thread's tick.
const IDLE_PROBE_MS: u64 = 100;

/// How long the timer must be overdue before requests look how late it is, and how long between two looks, in
/// microseconds. Each costs a system call.
pub(crate) const GLANCE_US: u64 = 10_000;

const SHED: &str = "the node has more to do than it can, and others come first";

/// What an exchange's polls are charged as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: nothing is known of it, or it was sent away.
    #[default]
    Nobody,
    /// A request that was let in.
    In(Kind),
    /// One that was not, and gets what is stored.
    Stored,
}

/// What becomes of a request.
pub(crate) enum LetIn {
    /// It is served.
    All,
    /// It is served when its turn has come.
    InTurn(Kind),
    /// It gets what is stored, and is sent away if nothing is.
    Stored(Worth),
    /// It is sent away.
    Nothing(Worth),
    /// Its visitor has left while it waited for its turn.
    Gone,
}

/// One thread's load.
pub(crate) struct Load {
    controller: RefCell<Controller>,
    /// What the controller says of itself, for the quick look.
    is_measuring: Cell<bool>,
    late_since_s: Cell<Option<u64>>,
    mark: Cell<Mark>,
    /// When the timer is due.
    due_us: Cell<u64>,
    glanced_us: Cell<u64>,
    has_served: Cell<bool>,
    /// Wakes the timer of a thread that served nothing, for the first request that comes.
    sleeper: RefCell<Option<Waker>>,
    /// Lines of connections that were seen to their end since the timer ran, and those whose last batch left
    /// some waiting, a bit for each: whoever takes the next batch stands in the thread's own line, and until
    /// its turn comes they wait.
    saw_end: Cell<u64>,
    saw_more: Cell<u64>,
    shakes: Shakes,
    /// Costly requests that were let in and wait for their turn.
    pub(crate) order: Order,
    /// The seed under which visitors are known.
    seed: u64,
}

/// The number under which a zone is known to a thread's admission.
pub(crate) fn zone_number(site: &Site) -> u64 {
    u64::from_be_bytes(*site.zone.id.0.first_chunk().unwrap_or(&[0; 8]))
}

/// CPU time of this thread in microseconds; 0 where the system does not tell, and then nothing is late.
pub(crate) fn cpu_us() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) else { return 0 };
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec()), u64::try_from(time.tv_nsec()));
    seconds.unwrap_or(0) * 1_000_000 + nanoseconds.unwrap_or(0) / 1_000
}

impl Load {
    /// That of a thread whose number moves the seed.
    pub(crate) fn of(node: &Node, number: usize, now_us: u64) -> Self {
        let settings = Settings { delay_us: node.settings().overload.delay_ms * 1_000 };
        let [first, second] = node.seed_for(number);
        Self::new(settings, first ^ second, node.setup().seed[1], now_us)
    }

    fn new(settings: Settings, own_seed: u64, seed: u64, now_us: u64) -> Self {
        Self {
            controller: RefCell::new(Controller::new(settings, own_seed, (now_us, cpu_us()))),
            is_measuring: Cell::new(false),
            late_since_s: Cell::new(None),
            mark: Cell::default(),
            due_us: Cell::new(u64::MAX - GLANCE_US),
            glanced_us: Cell::new(0),
            has_served: Cell::new(false),
            sleeper: RefCell::default(),
            saw_end: Cell::new(0),
            saw_more: Cell::new(0),
            shakes: Shakes::default(),
            order: Order::default(),
            seed,
        }
    }

    /// Notes how a batch of connections ended: see [`wire::Service::took`].
    pub(crate) fn took(&self, line: u32, has_taken_all: bool) {
        let seen = if has_taken_all { &self.saw_end } else { &self.saw_more };
        seen.set(seen.get() | 1 << (line % u64::BITS));
    }

    /// Whether anybody wants to know what requests cost.
    fn is_told_costs(&self) -> bool {
        self.is_measuring.get() || self.order.is_kept()
    }

    /// A poll of an exchange begins, under the mark that the one before left; when, if that is of interest.
    pub(crate) fn begin(&self, mark: Mark, zone: [u8; 8], now_us: impl FnOnce() -> u64) -> Option<u64> {
        self.is_told_costs().then(|| {
            // What is a zone's and was not asked about goes on from before, or is the node's own errand.
            let is_of_a_zone = mark == Mark::Nobody && zone != [0; 8];
            self.mark.set(if is_of_a_zone { Mark::In(Kind::Cheap) } else { mark });
            self.order.poll_begins();
            now_us()
        })
    }

    /// The poll is over, in this phase of its work; the mark for the next one.
    pub(crate) fn end(&self, work: &Work, (began_us, now_us): (u64, u64), took: &mut Took) -> Mark {
        let mark = self.mark.get();
        let (zone, us) = (u64::from_be_bytes(work.zone), now_us.saturating_sub(began_us));
        match mark {
            Mark::Nobody => {}
            Mark::In(kind) => {
                let asks = work.phase == Phase::Shield as u8 || work.phase == Phase::Waf as u8;
                self.order.poll_took(zone, us, asks, took);
                if self.is_measuring.get() {
                    self.controller.borrow_mut().spent(zone, kind, us);
                }
            }
            Mark::Stored => self.controller.borrow_mut().spent_on_stored(zone, us),
        }
        mark
    }

    /// A request that was let in waits for its turn.
    pub(crate) fn waits(&self, zone: u64, kind: Kind) {
        if self.is_measuring.get() {
            self.controller.borrow_mut().waits(zone, kind);
        }
    }

    /// Its turn has come: what it takes is told from now on, whether it was when it came or not.
    pub(crate) fn begins(&self, zone: u64, kind: Kind) {
        if self.is_measuring.get() {
            self.controller.borrow_mut().begins(zone, kind);
        }
    }

    /// One that waited is sent away all the same: what that takes is not what serving takes.
    pub(crate) fn is_sent_away(&self) {
        self.mark.set(Mark::Nobody);
    }

    /// Whether it sheds at the moment.
    pub(crate) fn sheds(&self) -> bool {
        self.controller.borrow().state() == State::Shedding
    }

    /// Takes a measurement in.
    fn probe(&self, now_us: u64, has_run: bool) -> Result<Option<Change>, Trouble> {
        let probe = Probe {
            now_us,
            late_us: now_us.saturating_sub(self.due_us.get()),
            has_run,
            cpu_us: cpu_us(),
            has_taken_all: self.saw_more.get() & !self.saw_end.get() == 0,
            waiting_us: self.order.waiting_us(),
            cost_us: self.order.mean_us(),
        };
        self.order.look(&probe, self.is_measuring.get());
        if has_run {
            self.saw_more.set(self.saw_more.get() & !self.saw_end.replace(0));
        }
        guard(|| {
            let mut controller = self.controller.borrow_mut();
            let change = controller.probe(&probe);
            self.is_measuring.set(controller.is_measuring());
            self.late_since_s.set(controller.late_since_s());
            Ok(change)
        })
    }

    /// Decides about a request.
    fn ask(&self, asked: &Asked, known: &Known, now_us: u64) -> Result<Result<Kind, Worth>, Trouble> {
        guard(|| Ok(self.controller.borrow_mut().ask(asked, known, now_us)))
    }

    /// Lets everything in from now on.
    fn switch_off(&self, now_us: u64) {
        self.controller.replace(Controller::new(Settings { delay_us: 0 }, 0, (now_us, 0)));
        self.order.give_up();
        self.is_measuring.set(false);
        self.late_since_s.set(None);
    }
}

/// What all threads of a node share about their load.
#[derive(Debug)]
pub(crate) struct Loads {
    known: Known,
    delays_us: Box<[AtomicU64]>,
    shedding: Box<[AtomicBool]>,
    /// Of the episode under way: threads that shed, when the first began, and what came of those that ended.
    episode: Mutex<(usize, Told)>,
}

impl Loads {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            known: Known::new(),
            delays_us: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            shedding: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            episode: Mutex::default(),
        }
    }

    /// How many threads shed, and how late the latest of all is in microseconds.
    pub(crate) fn now(&self) -> (usize, u64) {
        let shedding = self.shedding.iter().filter(|sheds| sheds.load(Relaxed)).count();
        let delay_us = self.delays_us.iter().map(|delay_us| delay_us.load(Relaxed)).max();
        (shedding, delay_us.unwrap_or(0))
    }

    /// Notes that a thread begins or ends to shed; an event for the first that begins and the last that ends.
    fn changed(&self, thread: usize, change: &Change, events: &Events) {
        if let Some(sheds) = self.shedding.get(thread) {
            sheds.store(matches!(change, Change::Began(_)), Relaxed);
        }
        let mut episode = self.episode.lock().unwrap_or_else(PoisonError::into_inner);
        let (threads, sums) = &mut *episode;
        match change {
            Change::Began(told) => {
                *threads += 1;
                if *threads == 1 {
                    let fields =
                        [("thread", (thread as u64).into()), ("delay_ms", (told.delay_us / 1_000).into())];
                    events.info("overload_began", &fields);
                }
            }
            Change::Ended(told) => {
                *threads = threads.saturating_sub(1);
                sums.admitted += told.admitted;
                sums.shed += told.shed;
                sums.delay_us = sums.delay_us.max(told.delay_us);
                sums.lasted_us = sums.lasted_us.max(told.lasted_us);
                if *threads == 0 {
                    let fields = [
                        ("admitted", sums.admitted.into()),
                        ("shed", sums.shed.into()),
                        ("delay_ms_max", (sums.delay_us / 1_000).into()),
                        ("lasted_ms", (sums.lasted_us / 1_000).into()),
                    ];
                    events.info("overload_ended", &fields);
                    *sums = Told::default();
                }
            }
        }
    }
}

fn label(worth: Worth) -> WorthLabel {
    match worth {
        Worth::Known => WorthLabel::Known,
        Worth::Stranger => WorthLabel::Stranger,
        Worth::Costly => WorthLabel::Costly,
        Worth::Heavy => WorthLabel::Heavy,
    }
}

impl Edge {
    /// Looks how late this thread is for as long as it serves. To be run in a task of its own on the thread:
    /// what is measured is when that has its turn.
    pub(crate) async fn watch_load(self: Rc<Self>) {
        if self.node.settings().overload.delay_ms == 0 {
            return;
        }
        loop {
            let is_idle = !self.load.has_served.replace(false) && self.in_flight() == 0;
            let wait_ms = if is_idle { IDLE_PROBE_MS } else { PROBE_MS };
            self.load.due_us.set(self.clock.now_us() + wait_ms * 1_000);
            let mut timer = pin!(tokio::time::sleep(Duration::from_millis(wait_ms)));
            poll_fn(|cx| {
                if is_idle && self.load.has_served.get() {
                    return Poll::Ready(());
                }
                self.load.sleeper.replace(is_idle.then(|| cx.waker().clone()));
                timer.as_mut().poll(cx)
            })
            .await;
            self.load.sleeper.take();
            self.probe(self.clock.now_us(), true);
        }
    }

    /// A request has its turn: looks how late the thread is if its timer should have run already.
    pub(crate) fn glance(&self, now_us: u64) {
        let load = &self.load;
        if !load.has_served.replace(true)
            && let Some(sleeper) = load.sleeper.take()
        {
            // From here on it is due; otherwise many that come at once to a thread that rests would be done
            // before it is known that others wait.
            load.due_us.set(load.due_us.get().min(now_us));
            sleeper.wake();
        }
        if now_us > load.due_us.get() + GLANCE_US && now_us > load.glanced_us.get() + GLANCE_US {
            load.glanced_us.set(now_us);
            self.probe(now_us, false);
        }
    }

    fn probe(&self, now_us: u64, has_run: bool) {
        let loads = self.node.loads();
        match self.load.probe(now_us, has_run) {
            Ok(change) => {
                if let Some(change) = change {
                    loads.changed(self.number, &change, &self.node.setup().events);
                }
            }
            Err(trouble) => self.load_broke(trouble, now_us),
        }
        if let Some(delay_us) = loads.delays_us.get(self.number) {
            delay_us.store(self.load.controller.borrow().delay_us(), Relaxed);
        }
    }

    /// The controller broke: from now on everything is let in on this thread.
    pub(crate) fn load_broke(&self, trouble: Trouble, now_us: u64) {
        self.load.switch_off(now_us);
        self.node.registry().contained(Phase::Admission as usize, trouble);
        self.node.registry().panicked();
        let loads = self.node.loads();
        let (thread, events) = (self.number, &self.node.setup().events);
        if loads.shedding.get(thread).is_some_and(|sheds| sheds.load(Relaxed)) {
            loads.changed(thread, &Change::Ended(Told::default()), events);
        }
        events.error("overload_control_broke", &[("thread", (thread as u64).into())]);
    }

    /// Whether a request comes in.
    pub(crate) fn let_in(&self, exchange: &Exchange, course: &Course, site: &Site) -> LetIn {
        self.decide_on(exchange, course, site, false)
    }

    /// The same for one that has waited for its turn since it was asked about.
    pub(crate) fn let_in_again(&self, exchange: &Exchange, course: &Course, site: &Site) -> LetIn {
        let decided = self.decide_on(exchange, course, site, true);
        if matches!(decided, LetIn::Nothing(_)) {
            self.load.is_sent_away();
        }
        decided
    }

    fn decide_on(&self, exchange: &Exchange, course: &Course, site: &Site, is_again: bool) -> LetIn {
        let load = &self.load;
        if !load.is_told_costs() {
            return LetIn::All;
        }
        let request = &exchange.request;
        let is_costly =
            !request.method.is_safe() || request.body != BodySize::None || request.upgrade != Upgrade::No;
        let asked = Asked {
            zone: zone_number(site),
            weight: site.weight,
            visitor: Visitor::of(course.visitor.ip(), load.seed),
            is_costly,
            is_again,
            waiting_us: load.order.waiting_us(),
        };
        let (known, now_us) = (&self.node.loads().known, self.clock.now_us());
        match load.ask(&asked, known, now_us) {
            Ok(Ok(kind)) => {
                load.mark.set(Mark::In(kind));
                match guard(|| Ok(load.order.waits(asked.zone, asked.weight))) {
                    Ok(true) => LetIn::InTurn(kind),
                    Ok(false) => LetIn::All,
                    Err(trouble) => {
                        self.load_broke(trouble, now_us);
                        LetIn::All
                    }
                }
            }
            // Behind a firewall looking it up would cost many times what sending it away does, and behind
            // some rules as well.
            Ok(Err(worth))
                if !is_costly
                    && site.cache.is_some()
                    && site.zone.waf.is_none()
                    && load.controller.borrow().may_look(asked.zone) =>
            {
                load.mark.set(Mark::Stored);
                LetIn::Stored(worth)
            }
            Ok(Err(worth)) => LetIn::Nothing(worth),
            Err(trouble) => {
                self.load_broke(trouble, now_us);
                LetIn::All
            }
        }
    }

    /// Whether the visitor was served before, as [`overload`] means it.
    pub(crate) fn is_known(&self, course: &Course) -> bool {
        let now_s = self.clock.now_us() / 1_000_000;
        let since_s = self.load.late_since_s.get().unwrap_or(now_s);
        let visitor = Visitor::of(course.visitor.ip(), self.load.seed);
        self.node.loads().known.is_known(visitor, now_s, since_s)
    }

    /// Whether there is time for a handshake with this visitor: a thread that is late keeps some for others.
    pub(crate) fn has_time_to_shake(&self, visitor: IpAddr) -> bool {
        let Some(since_s) = self.load.late_since_s.get() else { return true };
        let now_us = self.clock.now_us();
        let known = || {
            let visitor = Visitor::of(visitor, self.load.seed);
            self.node.loads().known.is_known(visitor, now_us / 1_000_000, since_s)
        };
        self.load.shakes.has_time(now_us) || known()
    }

    /// Does a part of a handshake; measured on a thread that may be late.
    pub(crate) fn shake_measured<T>(&self, part: impl FnOnce() -> T) -> T {
        if !self.load.is_measuring.get() {
            return part();
        }
        let began_us = self.clock.now_us();
        let done = part();
        self.load.shakes.took(self.clock.now_us().saturating_sub(began_us));
        done
    }

    /// Sends a request away.
    pub(crate) async fn shed(&self, exchange: &mut Exchange, course: &mut Course, worth: Worth) {
        self.metrics.shed(label(worth));
        if let Some(site) = &course.site {
            site.counters.shed(self.number);
        }
        course.note(Phase::Admission, "shed", worth as u32, self.clock.now_us());
        refuse(exchange, course, Refusal::Overload, SHED).await;
    }

    /// Notes a visitor who was served, and will be known if it comes in worse times.
    pub(crate) fn note_served(&self, course: &Course, now_us: u64) {
        let is_served = course.refusal.is_none()
            && course.fault.is_none()
            && course.status.is_some_and(|status| status < 400);
        if is_served {
            let visitor = Visitor::of(course.visitor.ip(), self.load.seed);
            let now_s = now_us / 1_000_000;
            self.node.loads().known.served(visitor, now_s, self.load.late_since_s.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load that sheds: of 1,000 strangers in a window not all come in.
    fn shedding(load: &Load, known: &Known) -> usize {
        let mut shed = 0;
        for window in 1..=20_u64 {
            for number in 0..1_000_u32 {
                let visitor = Visitor::of(std::net::Ipv4Addr::from(number).into(), 7);
                let asked =
                    Asked { zone: 1, weight: 1, visitor, is_costly: false, is_again: false, waiting_us: 0 };
                let now_us = window * 100_000 + u64::from(number);
                match load.ask(&asked, known, now_us) {
                    Ok(Ok(kind)) => load.controller.borrow_mut().spent(1, kind, 1_000),
                    Ok(Err(_)) => shed += 1,
                    Err(_) => {}
                }
            }
            let now_us = (window + 1) * 100_000;
            let probe = Probe {
                now_us,
                late_us: 90_000,
                has_run: true,
                cpu_us: now_us,
                has_taken_all: true,
                waiting_us: 0,
                cost_us: 0,
            };
            let _changed = load.controller.borrow_mut().probe(&probe);
        }
        shed
    }

    fn load() -> Load {
        let load = Load::new(Settings { delay_us: 50_000 }, 1, 2, 0);
        load.controller.replace(Controller::new(Settings { delay_us: 50_000 }, 1, (100_000, 100_000)));
        load
    }

    #[test]
    fn a_controller_that_breaks_lets_everything_in() {
        let (load, known) = (load(), Known::new());
        assert!(shedding(&load, &known) > 1_000);
        let visitor = Visitor::of(std::net::Ipv4Addr::LOCALHOST.into(), 7);
        let asked = Asked { zone: 1, weight: 1, visitor, is_costly: false, is_again: false, waiting_us: 0 };
        let held = load.controller.borrow_mut();
        assert_eq!(load.ask(&asked, &known, 9_000_000), Err(Trouble::Panic));
        assert_eq!(load.probe(9_000_000, true), Err(Trouble::Panic));
        drop(held);
        load.switch_off(9_000_000);
        assert_eq!(shedding(&load, &known), 0);
    }

    /// Its line was left with some waiting, and whoever takes them has had no turn since.
    #[test]
    fn connections_that_were_left_waiting_wait_until_their_line_is_seen_to_its_end() {
        let load = load();
        load.due_us.set(0);
        load.took(0, false);
        let delays = |load: &Load, at_ms: u64| {
            load.due_us.set(at_ms * 1_000);
            let until_us = cpu_us() + 2_000;
            while cpu_us() < until_us {}
            let _changed = load.probe(at_ms * 1_000, true);
            load.controller.borrow().delay_us()
        };
        let waiting: Vec<u64> = (2..6).map(|at| delays(&load, at * 100)).collect();
        assert!(waiting.windows(2).all(|pair| pair[0] < pair[1]), "{waiting:?}");
        // That of another listener is no end of it.
        load.took(1, true);
        assert!(delays(&load, 600) > waiting[3]);
        load.took(0, true);
        assert_eq!(delays(&load, 700), 0);
        assert_eq!(delays(&load, 700), 0);
    }

    #[test]
    fn an_episode_is_told_once_however_many_threads_shed() {
        let folder = testkit::folder::Folder::new().unwrap();
        let path = folder.path().join("events");
        let log = std::fs::File::create(&path).unwrap();
        let events = Events::start(telemetry::sink::Target::Descriptor(log.into()), || 0).unwrap();
        let loads = Loads::new(3);
        let sums = |shed| Told { shed, ..Told::default() };
        for thread in 0..3 {
            loads.changed(thread, &Change::Began(Told::default()), &events);
        }
        assert_eq!(loads.now().0, 3);
        for thread in 0..3 {
            loads.changed(thread, &Change::Ended(sums(thread as u64)), &events);
        }
        assert_eq!(loads.now().0, 0);
        assert!(events.close(Duration::from_secs(30)));
        let text = std::fs::read_to_string(&path).unwrap();
        let of = |name: &str| text.lines().filter(|line| line.contains(name)).count();
        assert_eq!((of("overload_began"), of("overload_ended")), (1, 1), "{text}");
        assert!(text.contains("\"shed\":3"), "{text}");
    }
}
