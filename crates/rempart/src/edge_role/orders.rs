//! Commands of people and scripts, carried out by the edge that serves.
//!
//! Purges and blocks go into the command log first, publishing has a thread of its own, and while a successor
//! proves itself the orders are that one's. Called by [`super`] for each request at the command socket; the
//! words are those of [`crate::messages`].

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use exchange::RequestId;
use telemetry::events::{Events, Value};

use super::status;
use crate::clock;
use crate::command_log::{CommandLog, Purging};
use crate::control::{Begin, Beside, Channel, FromEdge, Holds, Process, Setup};
use crate::generations::Generations;
use crate::messages::{Answer, HandOver, Purge, Request};
use crate::processes::{LastTold, Processes};
use crate::publishing::{Options, Publishing};
use crate::purging;
use crate::supervisor::VERSION;

/// A purge that waits to be written down.
pub(super) struct WaitingPurge {
    order: Purging,
    /// Its number, or why it is refused.
    taken: SyncSender<Result<u64, String>>,
    done: SyncSender<edge::Purged>,
}

/// What commands act on.
pub(super) struct Commands {
    pub(super) node: Arc<edge::Node>,
    pub(super) publishing: Publishing,
    pub(super) log: Mutex<CommandLog>,
    /// At most one for each connection to the command socket.
    pub(super) purges: Mutex<Vec<WaitingPurge>>,
    pub(super) events: Events,
    pub(super) channel: Arc<Channel>,
    pub(super) setup: Setup,
    /// Every socket, for a supervisor that takes over after this one's death.
    pub(super) handed: Mutex<Vec<OwnedFd>>,
    pub(super) kept: bool,
    pub(super) data_dir: PathBuf,
    /// Whether a successor takes the orders.
    pub(super) yields: AtomicBool,
    /// Who beside this edge has UDP sockets, as the supervisor said last.
    pub(super) beside: Mutex<Option<Vec<Beside>>>,
    /// Every process of the node, as the supervisor said last.
    pub(super) processes: LastTold,
}

impl Commands {
    /// A successor takes the orders from now on; what it is ordered holds here too, for as long as both
    /// serve.
    pub(super) fn yield_orders(self: &Arc<Self>) {
        self.yields.store(true, Ordering::Release);
        let commands = Arc::downgrade(self);
        let goes_on = move || commands.upgrade().is_some_and(|it| it.yields.load(Ordering::Acquire));
        purging::follow(&self.node, &self.data_dir, goes_on);
    }

    /// The successor is no more. What it was ordered is in the log.
    pub(super) fn take_orders_again(&self) {
        if self.yields.swap(false, Ordering::AcqRel) {
            let now = clock::Moment::now();
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let last = log.purges().newest();
            *log = CommandLog::open(&self.data_dir, now).telling(&self.events);
            self.node.block(&log.ranges(now));
            purging::carry_out_after(&self.node, log.purges(), last);
        }
    }

    pub(super) fn carry(&self, request: Request, progress: &dyn Fn(&Answer)) -> Answer {
        let is_order = !matches!(
            request,
            Request::Blocks {} | Request::Status {} | Request::Trace { .. } | Request::HandOver {}
        );
        if is_order && self.yields.load(Ordering::Acquire) {
            return Answer::refused("an upgrade is under way: try again in a second");
        }
        match request {
            Request::Publish { wait, dry_run, again, allow_removals, confirm_within_s } => {
                let options = Options { wait, dry_run, again, allow_removals, confirm_within_s };
                self.publishing.publish(options, progress)
            }
            Request::Block { range, for_s, reason } => {
                self.order(|log, now| log.block(&range, for_s, &reason, now), "blocked", &range)
            }
            Request::Unblock { range } => {
                self.order(|log, now| log.unblock(&range, now), "unblocked", &range)
            }
            Request::Blocks {} => {
                let now = clock::Moment::now();
                let blocks = self.log.lock().unwrap_or_else(PoisonError::into_inner).blocks(now);
                Answer { ok: true, blocks, ..Answer::default() }
            }
            Request::Purge { what, is_soft } => self.purge(&what, is_soft),
            Request::Confirm {} => self.publishing.confirm(),
            Request::Withdraw {} => self.publishing.withdraw(),
            Request::Status {} => {
                let progress = self.publishing.progress();
                let mut status = status::describe(&self.node.status(), &self.setup, self.kept, &progress);
                let own = Some((std::process::id(), Holds::of(&self.node)));
                status["processes"] = self.processes.describe(own);
                Answer { ok: true, status: Some(status), ..Answer::default() }
            }
            Request::HandOver {} => self.hand_over(),
            Request::Upgrade {} => match self.channel.send(&FromEdge::Upgrade, &[], false) {
                Ok(()) => Answer { ok: true, ..Answer::default() },
                Err(_) => Answer::refused("the supervisor is gone: start `rempart serve` again"),
            },
            Request::Trace { request_id } => {
                let Some(id) = RequestId::parse(&request_id) else {
                    return Answer::refused("a request id is 32 hex digits, as in `X-Request-Id`");
                };
                match self.node.trace(id) {
                    Some(trail) => Answer { ok: true, trail: Some(trail), ..Answer::default() },
                    None => Answer::refused(
                        "this node keeps no trail of that request: those of refusals, faults and a sample \
                         of the rest are kept in memory until newer ones take their place",
                    ),
                }
            }
        }
    }
}

impl Commands {
    /// Writes an order into the command log and carries it out.
    fn order(
        &self,
        order: impl FnOnce(&mut CommandLog, clock::Moment) -> Result<u64>,
        event: &'static str,
        range: &str,
    ) -> Answer {
        let now = clock::Moment::now();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match order(&mut log, now) {
            Ok(number) => {
                self.node.block(&log.ranges(now));
                self.events.info(event, &[("range", range.into()), ("number", number.into())]);
                Answer { ok: true, number: Some(number), ..Answer::default() }
            }
            Err(error) => Answer::refused(format!("{error:#}")),
        }
    }

    /// Writes a purge into the command log, carries it out, and waits until it would outlive a crash.
    fn purge(&self, what: &Purge, is_soft: bool) -> Answer {
        let order = match purging::resolve(&self.node, what, is_soft) {
            Ok(order) => order,
            Err(error) => return Answer::refused(format!("{error:#}")),
        };
        let text = order.to_string();
        let zone = purging::zone_of(&self.node, &order);
        let (done, is_kept) = std::sync::mpsc::sync_channel(1);
        let number = match self.order_purge(order, done) {
            Ok(number) => number,
            Err(refused) => return Answer::refused(refused),
        };
        let mut fields: Vec<(&'static str, Value<'_>)> =
            vec![("what", text.as_str().into()), ("number", number.into())];
        fields.extend(zone.as_ref().map(|(name, _)| ("zone", name.as_str().into())));
        self.events.info("purged", &fields);
        let warning = match is_kept.recv_timeout(purging::KEEP_WAIT) {
            Ok(edge::Purged::Kept) => None,
            Ok(edge::Purged::NotKept) => Some("the disk could not take it: it holds until the node restarts"),
            Err(_) => Some("the disk has not taken it yet: it holds, and is made again after a crash"),
        };
        let has_none = zone.filter(|(_, has_cache)| !has_cache);
        let has_none = has_none.map(|(name, _)| {
            format!("the zone {name:?} has no cache: what it stored when it had one will not be used")
        });
        let warning = warning.map(str::to_owned).or(has_none);
        Answer { ok: true, number: Some(number), warning, ..Answer::default() }
    }

    /// Writes a purge down and carries it out; gives its number. Those that come while another is written go
    /// together by the next write, since each write waits for the disk.
    fn order_purge(&self, order: Purging, done: SyncSender<edge::Purged>) -> Result<u64, String> {
        let (taken, is_taken) = std::sync::mpsc::sync_channel(1);
        let lock = || self.purges.lock().unwrap_or_else(PoisonError::into_inner);
        lock().push(WaitingPurge { order, taken, done });
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *lock());
        if !all.is_empty() {
            let now = clock::Moment::now();
            let written = log.purge(all.iter().map(|waiting| waiting.order.clone()).collect(), now);
            for (place, WaitingPurge { order, taken, done }) in (0..).zip(all) {
                let told = match &written {
                    Ok(first) => {
                        // Under the lock: the disk remembers the highest number it has, so they come in
                        // order.
                        purging::carry_out(&self.node, &order, first + place, move |purged| {
                            let _nobody_waits_any_more = done.try_send(purged);
                        });
                        Ok(first + place)
                    }
                    Err(error) => Err(format!("{error:#}")),
                };
                let _nobody_asks_any_more = taken.try_send(told);
            }
        }
        drop(log);
        // Told already: by this one, or by who had the log before it and took this order along.
        is_taken.try_recv().unwrap_or_else(|_| Err("the order was lost: try again".to_owned()))
    }

    pub(super) fn note_beside(&self, others: Vec<Beside>) {
        *self.beside.lock().unwrap_or_else(PoisonError::into_inner) = Some(others);
    }

    pub(super) fn note_processes(&self, processes: Vec<Process>) {
        self.processes.note(Processes::told(processes, clock::unix_us()));
    }

    /// The supervisor is gone: of the other processes nobody says any more what becomes of them, and this one
    /// serves on.
    pub(super) fn note_alone(&self) {
        self.note_processes(vec![Process {
            pid: std::process::id(),
            does: "serving".to_owned(),
            version: VERSION.to_owned(),
            snapshot: self.node.live().snapshot.number,
            for_ms: None,
            why: "its supervisor died".to_owned(),
            left_ms: None,
            holds: None,
        }]);
    }

    /// How another edge begins with what this one does, if that was walked back to and serves yet.
    fn walked_back(&self) -> Option<Begin> {
        let serves = self.node.live().snapshot.number;
        let generations =
            Generations::open(&self.data_dir).ok().filter(|_| self.setup.begin.is_walked_back())?;
        let skip = generations.to_try().iter().position(|generation| generation.number == serves)?;
        Some(Begin::Kept { skip }).filter(|begin| begin.is_walked_back())
    }

    fn hand_over(&self) -> Answer {
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        let copies: std::io::Result<Vec<OwnedFd>> = handed.iter().map(OwnedFd::try_clone).collect();
        match copies {
            Ok(descriptors) => Answer {
                ok: true,
                hand_over: Some(HandOver {
                    pid: std::process::id(),
                    threads: self.setup.threads,
                    listeners: self.setup.listeners.clone(),
                    admin: self.setup.admin,
                    udp_generation: self.setup.udp_generation,
                    restarts: self.setup.restarts,
                    beside: self.beside.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                    walked_back: self.walked_back(),
                }),
                descriptors,
                ..Answer::default()
            },
            Err(error) => Answer::refused(format!("the sockets cannot be handed over: {error}")),
        }
    }
}
