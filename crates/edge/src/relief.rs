//! Relief: while a serving thread is stuck, another one accepts from its listeners.
//!
//! The kernel spreads connections over the threads' sockets without knowing that one of them is stuck. A
//! duplicate of each TCP listener is kept here, registered nowhere; the thread that stands in registers it
//! for as long as relief lasts. A registered duplicate would wake a second thread for every connection, hence
//! not always. Connections that the stuck thread has accepted wait with it; QUIC's packets are steered to its
//! socket by connection id and wait too.
//!
//! Callers: the watchdog ([`crate::watch`]) begins and ends relief; `serving.rs` stands in.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::{Thread, accept_tcp};

use crate::node::Node;
use crate::pipeline::Edge;
use crate::serving::{serve_admin, tcp_settings};

/// Nobody stands in.
const NOBODY: usize = usize::MAX;

/// A duplicate of one thread's listener.
pub(crate) struct Spare {
    pub(crate) settings: zone::Listener,
    pub(crate) local: SocketAddr,
    pub(crate) has_quic: bool,
    pub(crate) socket: TcpListener,
}

/// Who stands in for whom.
pub(crate) struct Relief {
    stuck: Vec<AtomicBool>,
    /// By thread: who accepts for it.
    stand_ins: Vec<AtomicUsize>,
    wakes: Vec<Notify>,
    spares: Mutex<Vec<Vec<Spare>>>,
    /// A duplicate of the admin listener, which is the first thread's.
    admin: Mutex<Option<TcpListener>>,
}

impl Relief {
    /// Relief among threads with these listeners, one list a thread, and the first thread's admin listener.
    pub(crate) fn new(spares: Vec<Vec<Spare>>, admin: Option<TcpListener>) -> Self {
        Self {
            stuck: spares.iter().map(|_| AtomicBool::new(false)).collect(),
            stand_ins: spares.iter().map(|_| AtomicUsize::new(NOBODY)).collect(),
            wakes: spares.iter().map(|_| Notify::new()).collect(),
            spares: Mutex::new(spares),
            admin: Mutex::new(admin),
        }
    }

    /// Closes the duplicates: a listener refuses newcomers only when its last one is gone.
    pub(crate) fn close(&self) {
        self.lock().clear();
        self.lock_admin().take();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Spare>>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_admin(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread got stuck: for it and all others that are, the next one that is not stands in. When all are
    /// stuck nobody can.
    pub(crate) fn begin(&self, stuck: usize) {
        self.turn(stuck, true);
    }

    /// A thread came back.
    pub(crate) fn end(&self, recovered: usize) {
        self.turn(recovered, false);
    }

    fn turn(&self, thread: usize, is_stuck: bool) {
        if let Some(flag) = self.stuck.get(thread) {
            flag.store(is_stuck, Ordering::Release);
        }
        let count = self.stuck.len();
        let is_well = |thread: &usize| !self.is_stuck(*thread);
        for (thread, slot) in self.stand_ins.iter().enumerate() {
            let next = match self.is_stuck(thread) {
                true => (1..count).map(|step| (thread + step) % count).find(is_well).unwrap_or(NOBODY),
                false => NOBODY,
            };
            let before = slot.swap(next, Ordering::AcqRel);
            if before != next {
                [before, next]
                    .iter()
                    .filter_map(|thread| self.wakes.get(*thread))
                    .for_each(Notify::notify_one);
            }
        }
    }

    fn is_stuck(&self, thread: usize) -> bool {
        self.stuck.get(thread).is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    fn stand_in(&self, thread: usize) -> usize {
        self.stand_ins.get(thread).map_or(NOBODY, |slot| slot.load(Ordering::Acquire))
    }

    /// Stands in whenever this thread is asked to, for as long as its runtime lives.
    pub(crate) async fn stand_by(self: Arc<Self>, me: usize, node: Arc<Node>, thread: Rc<Thread<Edge>>) {
        let mut accepting: BTreeMap<usize, Vec<JoinHandle<()>>> = BTreeMap::new();
        loop {
            for (other, spares) in self.lock().iter().enumerate() {
                let is_asked = other != me && self.stand_in(other) == me;
                if is_asked && !accepting.contains_key(&other) {
                    let mut tasks = accept_from(spares, &thread);
                    let admin = self.lock_admin();
                    // Without a descriptor left it waits, as it would have without relief.
                    if let Some(Ok(socket)) =
                        admin.as_ref().filter(|_| other == 0).map(TcpListener::try_clone)
                        && let Ok((_, task)) = serve_admin(&node, &thread.deadlines, socket)
                    {
                        tasks.push(task);
                    }
                    accepting.insert(other, tasks);
                } else if !is_asked && let Some(tasks) = accepting.remove(&other) {
                    tasks.iter().for_each(JoinHandle::abort);
                }
            }
            match self.wakes.get(me) {
                Some(wake) => wake.notified().await,
                None => return,
            }
        }
    }
}

fn accept_from(spares: &[Spare], thread: &Rc<Thread<Edge>>) -> Vec<JoinHandle<()>> {
    let accept = |spare: &Spare| {
        // Without a descriptor left its visitors wait, as they would have without relief.
        let socket = tokio::net::TcpListener::from_std(spare.socket.try_clone().ok()?).ok()?;
        let settings = tcp_settings(&spare.settings, spare.local, spare.has_quic);
        Some(tokio::task::spawn_local(accept_tcp(Rc::clone(thread), socket, settings)))
    };
    spares.iter().filter_map(accept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relief(threads: usize) -> Relief {
        Relief::new((0..threads).map(|_| Vec::new()).collect(), None)
    }

    fn stand_ins(relief: &Relief) -> Vec<Option<usize>> {
        relief
            .stand_ins
            .iter()
            .map(|slot| slot.load(Ordering::Acquire))
            .map(|t| (t != NOBODY).then_some(t))
            .collect()
    }

    #[test]
    fn the_next_thread_stands_in_until_the_stuck_one_is_back() {
        let relief = relief(3);
        relief.begin(2);
        assert_eq!(stand_ins(&relief), [None, None, Some(0)]);
        relief.end(2);
        assert_eq!(stand_ins(&relief), [None; 3]);
    }

    #[test]
    fn when_the_stand_in_gets_stuck_another_takes_both() {
        let relief = relief(4);
        relief.begin(0);
        relief.begin(1);
        assert_eq!(stand_ins(&relief), [Some(2), Some(2), None, None]);
        relief.end(1);
        relief.begin(2);
        assert_eq!(stand_ins(&relief), [Some(1), None, Some(3), None]);
    }

    #[test]
    fn when_all_are_stuck_nobody_can_until_one_is_back() {
        let relief = relief(3);
        (0..3).for_each(|thread| relief.begin(thread));
        assert_eq!(stand_ins(&relief), [None; 3]);
        relief.end(1);
        assert_eq!(stand_ins(&relief), [Some(1), None, Some(1)]);
    }

    #[test]
    fn a_lone_thread_has_nobody() {
        let relief = relief(1);
        relief.begin(0);
        assert_eq!(stand_ins(&relief), [None]);
    }
}
