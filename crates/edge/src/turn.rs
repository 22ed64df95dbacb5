//! Turns: costly requests are done one by one, and between two of them the thread does whatever has come in.
//!
//! Whose turn it is is `overload`'s to decide ([`overload::Turns`]); here is how one waits for it and who
//! gives it. An order is kept on a thread that was late a moment ago; on others a request pays a look into a
//! cell. A request that is let in while one is kept, and whose zone's are costly, waits before anything of
//! its zone is done for it. A task of the thread gives a turn, lets the runtime go round often enough for a
//! connection that comes in meanwhile to be accepted, read and answered, and gives the next. Where others
//! take long meanwhile, with transfers say, it gives as many as take as long, so that neither starves the
//! other.
//!
//! Whatever becomes of the order, nobody waits in vain: a place that is dropped is a turn that has come. An
//! order that broke is given up with the thread's admission (`load.rs`). Called by `pipeline.rs`, `load.rs`
//! and `serving.rs`. Read next: [`Edge::wait_for_turn`], [`Edge::give_turns`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use exchange::Phase;
use overload::limits::WINDOW_US;
use overload::{Kind, Probe, Turn, Turns, Waits, Worth};
use wire::Exchange;

use crate::contain::guard;
use crate::course::Course;
use crate::live::Site;
use crate::load::{GLANCE_US, LetIn, zone_number};
use crate::pipeline::Edge;

/// For how long an order is kept after the thread was late, in microseconds.
const KEPT_US: u64 = 1_000_000;

/// How often the runtime goes round between two turns: once for the one that was given, once for the
/// listener, once for what it accepted.
const ROUNDS: usize = 3;

/// It goes round no more once others had as much of the thread, in microseconds: whoever came in has been
/// read.
const OTHERS_US: u64 = 2_000;

/// Turns that are given at a time at most: what others take is told by the clock, and the machine may have
/// stood still.
const TURNS_MAX: usize = 16;

/// How it stands with one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    InLine,
    Come,
    TooLate,
}

/// What begins in a poll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Begins {
    #[default]
    Nothing,
    /// A request that was let in.
    AtOnce,
    /// One whose turn has come.
    InTurn,
}

#[derive(Debug)]
struct Ticket {
    stands: Cell<Stands>,
    waker: RefCell<Option<Waker>>,
}

impl Ticket {
    fn poll(&self, cx: &Context<'_>) -> Poll<Stands> {
        let stands = self.stands.get();
        if stands != Stands::InLine {
            return Poll::Ready(stands);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A place in the line: dropped, the turn has come.
#[derive(Debug)]
struct Place(Rc<Ticket>);

impl Place {
    fn too_late(self) {
        self.0.stands.set(Stands::TooLate);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.stands.get() == Stands::InLine {
            self.0.stands.set(Stands::Come);
        }
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// One thread's order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    turns: RefCell<Turns<Place>>,
    is_kept: Cell<bool>,
    is_given_up: Cell<bool>,
    kept_until_us: Cell<u64>,
    settled_us: Cell<u64>,
    /// Whether a request begins in the poll that is under way.
    begins: Cell<Begins>,
    /// What those took whose turn has come since turns were given last, in microseconds.
    took_us: Cell<u64>,
    /// Wakes whoever gives turns, when it waits for somebody to give one to.
    giver: RefCell<Option<Waker>>,
}

impl Order {
    /// Whether one is kept at the moment.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.get()
    }

    /// How much of the thread's time those will take that wait, in microseconds.
    pub(crate) fn waiting_us(&self) -> u64 {
        self.turns.borrow().waiting_us()
    }

    /// What requests took of late, in microseconds; 0 while no order is kept.
    pub(crate) fn mean_us(&self) -> u64 {
        self.turns.borrow().mean_us()
    }

    /// Takes in how late the thread is.
    pub(crate) fn look(&self, probe: &Probe, is_measuring: bool) {
        if self.is_given_up.get() {
            return;
        }
        let mut turns = self.turns.borrow_mut();
        let (now_us, is_waited) = (probe.now_us, turns.waiting() > 0);
        if probe.late_us >= GLANCE_US || is_measuring || is_waited {
            self.kept_until_us.set(now_us + KEPT_US);
        }
        let is_kept = now_us < self.kept_until_us.get();
        if self.is_kept.replace(is_kept) && !is_kept {
            *turns = Turns::default();
        }
        if now_us.saturating_sub(self.settled_us.get()) >= WINDOW_US {
            self.settled_us.set(now_us);
            turns.settle();
        }
    }

    /// Keeps none from now on; whoever waits has its turn.
    pub(crate) fn give_up(&self) {
        self.is_given_up.set(true);
        self.is_kept.set(false);
        let waiting = self.turns.take();
        drop(waiting);
    }

    /// Counts a request that was let in; whether it is to wait for its turn.
    pub(crate) fn waits(&self, zone: u64, weight: u32) -> bool {
        let waits = self.is_kept.get() && self.turns.borrow_mut().ask(zone, weight);
        self.begins.set(if waits { Begins::Nothing } else { Begins::AtOnce });
        waits
    }

    /// A poll of an exchange begins.
    pub(crate) fn poll_begins(&self) {
        self.begins.set(Begins::Nothing);
    }

    /// It is over.
    pub(crate) fn poll_took(&self, zone: u64, us: u64) {
        let began = self.begins.take();
        if began == Begins::InTurn {
            self.took_us.set(self.took_us.get() + us);
        }
        if began != Begins::Nothing && self.is_kept.get() {
            self.turns.borrow_mut().spent(zone, us);
        }
    }

    fn wait(&self, zone: u64, is_known: bool, now_us: u64) -> InLine<'_> {
        let ticket = Rc::new(Ticket { stands: Cell::new(Stands::InLine), waker: RefCell::default() });
        let place = Place(Rc::clone(&ticket));
        let waits = self.turns.borrow_mut().wait(zone, is_known, now_us, place);
        if let Some(giver) = self.giver.take() {
            giver.wake();
        }
        InLine { order: self, waits, ticket }
    }

    /// Waits until somebody waits.
    async fn somebody_waits(&self) {
        poll_fn(|cx| {
            if self.turns.borrow().waiting() > 0 {
                return Poll::Ready(());
            }
            self.giver.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Gives turns: one, and more while they take less than others took since.
    fn give(&self, now_us: u64, others_us: u64) {
        let mut gave_us = 0;
        for _ in 0..TURNS_MAX {
            let next = self.turns.borrow_mut().next(now_us);
            let Some(Turn { of, cost_us, is_late }) = next else { return };
            if is_late {
                of.too_late();
                continue;
            }
            drop(of);
            gave_us += cost_us;
            if gave_us >= others_us {
                return;
            }
        }
    }
}

/// One who waits; it leaves the line when this is dropped.
struct InLine<'a> {
    order: &'a Order,
    waits: Waits,
    ticket: Rc<Ticket>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if self.ticket.stands.get() == Stands::InLine {
            let place = self.order.turns.borrow_mut().leave(self.waits);
            drop(place);
        }
    }
}

impl Edge {
    /// Waits for the turn of a costly request that was let in as this kind; whether it comes in still. One
    /// that was let in before the thread began to shed, and had no turn by then, is asked about again, as
    /// those who come behind it are.
    pub(crate) async fn wait_for_turn(
        &self,
        exchange: &Exchange,
        course: &mut Course,
        site: &Site,
        kind: Kind,
    ) -> LetIn {
        let began_us = self.clock.now_us();
        let zone = zone_number(site);
        let is_known = kind == Kind::Known || self.is_known(course);
        let line = self.load.order.wait(zone, is_known, began_us);
        let (is_counted, did_shed) = (self.load.waits(zone, kind), self.load.sheds());
        let stands = poll_fn(|cx| line.ticket.poll(cx)).await;
        drop(line);
        let now_us = self.clock.now_us();
        let waited_ms = u32::try_from(now_us.saturating_sub(began_us) / 1_000).unwrap_or(u32::MAX);
        course.note(Phase::Admission, "waited", waited_ms, now_us);
        if stands == Stands::TooLate {
            return LetIn::Nothing(match kind {
                Kind::Known => Worth::Known,
                Kind::Cheap => Worth::Stranger,
                Kind::Costly => Worth::Costly,
            });
        }
        if !did_shed && self.load.sheds() {
            let again = self.let_in(exchange, course, site);
            if matches!(again, LetIn::All | LetIn::InTurn(_)) {
                self.load.order.begins.set(Begins::InTurn);
            }
            return again;
        }
        self.load.order.begins.set(Begins::InTurn);
        if is_counted {
            self.load.begins(zone, kind);
        }
        LetIn::All
    }

    /// Gives turns for as long as the thread serves. To be run in a task of its own on the thread.
    pub(crate) async fn give_turns(self: Rc<Self>) {
        loop {
            let order = &self.load.order;
            order.somebody_waits().await;
            order.took_us.set(0);
            let began_us = self.clock.now_us();
            let mut now_us = began_us;
            let mut others_us = 0;
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
                now_us = self.clock.now_us();
                others_us = now_us.saturating_sub(began_us).saturating_sub(order.took_us.get());
                if others_us >= OTHERS_US {
                    break;
                }
            }
            let given = guard(|| {
                order.give(now_us, others_us);
                Ok(())
            });
            if let Err(trouble) = given {
                self.load_broke(trouble, now_us);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::pin::pin;

    fn probe(now_us: u64, late_us: u64) -> Probe {
        Probe { now_us, late_us, ..Probe::default() }
    }

    /// An order of a thread that was late, with a zone whose requests are costly.
    fn order() -> Order {
        let order = Order::default();
        order.look(&probe(1_000, GLANCE_US), false);
        assert!(!order.waits(1, 1), "nothing is known of it");
        order.poll_took(1, 4_000);
        order.poll_begins();
        order.poll_took(1, 4_000_000);
        assert!(order.waits(1, 1));
        order
    }

    fn stands(line: &InLine<'_>) -> Poll<Stands> {
        line.ticket.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_order_is_kept_for_a_second_after_the_thread_was_late() {
        let order = Order::default();
        order.look(&probe(1_000, GLANCE_US - 1), false);
        assert!(!order.is_kept() && !order.waits(1, 1));
        order.look(&probe(2_000, GLANCE_US), false);
        assert!(order.is_kept());
        order.look(&probe(1_001_000, 0), false);
        assert!(order.is_kept());
        order.look(&probe(1_002_000, 0), false);
        assert!(!order.is_kept());
        order.look(&probe(1_003_000, 0), true);
        assert!(order.is_kept(), "and while its admission is measuring");
    }

    #[test]
    fn turns_are_given_one_by_one_in_order() {
        let order = order();
        let lines: Vec<InLine<'_>> = (0..3).map(|_| order.wait(1, false, 0)).collect();
        for given in 0..3 {
            let come = lines.iter().filter(|line| stands(line) == Poll::Ready(Stands::Come)).count();
            assert_eq!(come, given);
            order.give(0, 0);
        }
        assert!(lines.iter().all(|line| stands(line) == Poll::Ready(Stands::Come)));
    }

    /// Each takes 4 ms: what was taken in later polls counts for nothing.
    #[test]
    fn as_much_is_given_as_others_took_meanwhile() {
        for (others_us, given) in [(0, 1), (4_000, 1), (4_001, 2), (12_001, 4), (1_000_000, TURNS_MAX)] {
            let order = order();
            let lines: Vec<InLine<'_>> = (0..2 * TURNS_MAX).map(|_| order.wait(1, false, 0)).collect();
            order.give(0, others_us);
            let come = lines.iter().filter(|line| stands(line) == Poll::Ready(Stands::Come)).count();
            assert_eq!(come, given, "{others_us}");
        }
    }

    #[test]
    fn who_leaves_takes_no_turn_and_who_waited_too_long_neither() {
        let order = order();
        let (first, second, third) =
            (order.wait(1, false, 0), order.wait(1, false, 0), order.wait(1, false, 9));
        drop(first);
        order.give(overload::limits::TURN_WAIT_US + 1, 0);
        assert_eq!(stands(&second), Poll::Ready(Stands::TooLate));
        assert_eq!(stands(&third), Poll::Ready(Stands::Come));
    }

    #[test]
    fn nobody_waits_in_vain_for_an_order_that_is_given_up() {
        let order = order();
        let line = order.wait(1, false, 0);
        order.give_up();
        assert_eq!(stands(&line), Poll::Ready(Stands::Come));
        drop(line);
        order.look(&probe(3_000, 1_000_000), true);
        assert!(!order.is_kept(), "for good");
    }

    #[test]
    fn whoever_gives_turns_is_woken_for_the_first_that_waits() {
        let order = order();
        let mut cx = Context::from_waker(Waker::noop());
        let mut somebody = pin!(order.somebody_waits());
        assert_eq!(somebody.as_mut().poll(&mut cx), Poll::Pending);
        assert!(order.giver.borrow().is_some());
        let _line = order.wait(1, false, 0);
        assert!(order.giver.borrow().is_none(), "it was woken");
        assert_eq!(somebody.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
