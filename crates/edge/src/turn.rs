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

use exchange::{BodySize, Phase};
use overload::limits::WINDOW_US;
use overload::{Kind, Probe, Turn, Turns, Waits, Worth};
use wire::Exchange;

use crate::contain::guard;
use crate::course::Course;
use crate::live::Site;
use crate::load::{GLANCE_US, LetIn, cpu_us, zone_number};
use crate::pipeline::Edge;

/// For how long an order is kept after the thread was late, in microseconds.
const KEPT_US: u64 = 1_000_000;

/// How often the runtime goes round between two turns: once for the one that was given, once for the
/// listener, once for what it accepted.
const ROUNDS: usize = 3;

/// It goes round no more once others had as much of the thread, in microseconds: whoever came in has been
/// read.
const OTHERS_US: u64 = 2_000;

/// The most work of which turns are given at a time, in microseconds, and the most turns: whoever comes in
/// meanwhile waits for them, as it waits for others.
const GIVEN_US: u64 = 50_000;
const TURNS_MAX: usize = 256;

/// Those who waited for too long that are told so at a time, beside: it takes some milliseconds.
const LATE_MAX: usize = 4 * TURNS_MAX;

/// How many of those that were let in before the thread shed have a turn in one: most are sent away now.
const FLUSHED_MAX: usize = 16;

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
    /// One whose turn has come, and was expected to take so much.
    InTurn(u64),
}

/// What one request took so far of what counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    us: Option<u64>,
    in_turn: bool,
}

#[derive(Debug)]
struct Ticket {
    stands: Cell<Stands>,
    /// What it was expected to take when its turn came, in microseconds.
    expected_us: Cell<u64>,
    /// It was let in while the thread did not shed, and is of a stranger.
    may_be_flushed: bool,
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
        let is_kept = self.is_kept.get();
        let waits = is_kept && self.turns.borrow_mut().ask(zone, weight);
        self.begins.set(if waits || !is_kept { Begins::Nothing } else { Begins::AtOnce });
        waits
    }

    /// A poll of an exchange begins.
    pub(crate) fn poll_begins(&self) {
        self.begins.set(Begins::Nothing);
    }

    /// It is over, and took so much. What counts is the poll in which a request begins, and those after it in
    /// which rules are asked (`asks`): a transfer is none of it.
    pub(crate) fn poll_took(&self, zone: u64, us: u64, asks: bool, took: &mut Took) {
        let began = self.begins.take();
        let mut charged_us = us as i64;
        match (began, took.us) {
            (Begins::AtOnce, _) => *took = Took { us: None, in_turn: false },
            (Begins::InTurn(expected_us), _) => {
                *took = Took { us: None, in_turn: true };
                charged_us -= expected_us as i64;
            }
            (Begins::Nothing, Some(_)) if asks => {}
            _ => return,
        }
        let mut turns = self.turns.borrow_mut();
        turns.spent(zone, us, took.us);
        took.us = Some(took.us.unwrap_or(0) + us);
        if took.in_turn {
            self.took_us.set(self.took_us.get() + us);
            turns.charge(zone, charged_us);
        }
    }

    /// One whose turn had come was sent away.
    fn took_none(&self, zone: u64, expected_us: u64) {
        self.turns.borrow_mut().charge(zone, -(expected_us as i64));
    }

    fn wait(&self, zone: u64, is_known: bool, sheds: bool, now_us: u64) -> InLine<'_> {
        let ticket = Rc::new(Ticket {
            stands: Cell::new(Stands::InLine),
            expected_us: Cell::new(0),
            may_be_flushed: !is_known && !sheds,
            waker: RefCell::default(),
        });
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

    /// Gives turns: one, and more while they take less than others took since. On a thread that sheds those
    /// that were let in before it did are given some beside.
    fn give(&self, now_us: u64, others_us: u64, sheds: bool) {
        let (mut gave_us, mut flushed, mut turns, mut late) = (0, 0, 0, 0);
        while turns < TURNS_MAX && late < LATE_MAX {
            let next = self.turns.borrow_mut().next(now_us);
            let Some(Turn { of, cost_us, is_late }) = next else { return };
            if is_late {
                of.too_late();
                late += 1;
                continue;
            }
            turns += 1;
            of.0.expected_us.set(cost_us);
            let is_flushed = sheds && of.0.may_be_flushed;
            drop(of);
            if is_flushed {
                flushed += 1;
            } else {
                gave_us += cost_us;
            }
            if flushed >= FLUSHED_MAX || !is_flushed && gave_us >= others_us.min(GIVEN_US) {
                return;
            }
        }
    }
}

/// Whoever gives turns: an order without one is given up, however it ended, since nobody else would.
struct Giver<'a>(&'a Order);

impl Drop for Giver<'_> {
    fn drop(&mut self) {
        self.0.give_up();
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
        exchange: &mut Exchange,
        course: &mut Course,
        site: &Site,
        kind: Kind,
    ) -> LetIn {
        let began_us = self.clock.now_us();
        let zone = zone_number(site);
        let is_known = kind == Kind::Known || self.is_known(course);
        let did_shed = self.load.sheds();
        let line = self.load.order.wait(zone, is_known, did_shed, began_us);
        self.load.waits(zone, kind);
        // While a body is to come, that its visitor has left is seen when it is read.
        let may_leave = exchange.request.body == BodySize::None;
        let stands = poll_fn(|cx| match line.ticket.poll(cx) {
            Poll::Ready(stands) => Poll::Ready(Some(stands)),
            Poll::Pending if may_leave => exchange.poll_gone(cx).map(|_| None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        let expected_us = line.ticket.expected_us.get();
        drop(line);
        let now_us = self.clock.now_us();
        let waited_ms = u32::try_from(now_us.saturating_sub(began_us) / 1_000).unwrap_or(u32::MAX);
        course.note(Phase::Admission, "waited", waited_ms, now_us);
        let Some(stands) = stands else { return LetIn::Gone };
        if stands == Stands::TooLate {
            self.load.is_sent_away();
            return LetIn::Nothing(match kind {
                Kind::Known => Worth::Known,
                Kind::Cheap => Worth::Stranger,
                Kind::Costly => Worth::Costly,
            });
        }
        if !did_shed && self.load.sheds() {
            let again = self.let_in_again(exchange, course, site);
            if matches!(again, LetIn::All | LetIn::InTurn(_)) {
                self.load.order.begins.set(Begins::InTurn(expected_us));
            } else {
                self.load.order.took_none(zone, expected_us);
            }
            return again;
        }
        self.load.order.begins.set(Begins::InTurn(expected_us));
        self.load.begins(zone, kind);
        LetIn::All
    }

    /// Gives turns for as long as the thread serves. To be run in a task of its own on the thread.
    pub(crate) async fn give_turns(self: Rc<Self>) {
        let order = &self.load.order;
        let _giver = Giver(order);
        loop {
            order.somebody_waits().await;
            order.took_us.set(0);
            // By its own time: what other programs had of the core nobody here is owed.
            let began_us = cpu_us();
            let mut others_us = 0;
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
                others_us = cpu_us().saturating_sub(began_us).saturating_sub(order.took_us.get());
                if others_us >= OTHERS_US {
                    break;
                }
            }
            let now_us = self.clock.now_us();
            let given = guard(|| {
                order.give(now_us, others_us, self.load.sheds());
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
        let mut took = Took::default();
        order.poll_took(1, 4_000, false, &mut took);
        order.poll_begins();
        order.poll_took(1, 4_000_000, false, &mut took);
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
        let lines: Vec<InLine<'_>> = (0..3).map(|_| order.wait(1, false, false, 0)).collect();
        for given in 0..3 {
            let come = lines.iter().filter(|line| stands(line) == Poll::Ready(Stands::Come)).count();
            assert_eq!(come, given);
            order.give(0, 0, false);
        }
        assert!(lines.iter().all(|line| stands(line) == Poll::Ready(Stands::Come)));
    }

    /// Each takes 4 ms, and 50 are the most: what was taken in later polls counts for nothing.
    #[test]
    fn as_much_is_given_as_others_took_meanwhile() {
        for (others_us, given) in [(0, 1), (4_000, 1), (4_001, 2), (12_001, 4), (1_000_000, 13)] {
            let order = order();
            let lines: Vec<InLine<'_>> = (0..40).map(|_| order.wait(1, false, false, 0)).collect();
            order.give(0, others_us, false);
            let come = lines.iter().filter(|line| stands(line) == Poll::Ready(Stands::Come)).count();
            assert_eq!(come, given, "{others_us}");
        }
    }

    #[test]
    fn those_let_in_before_the_thread_shed_are_given_turns_beside() {
        let order = order();
        let before: Vec<InLine<'_>> = (0..20).map(|_| order.wait(1, false, false, 0)).collect();
        let since: Vec<InLine<'_>> = (0..5).map(|_| order.wait(1, false, true, 0)).collect();
        let come = |lines: &[InLine<'_>]| lines.iter().filter(|line| stands(line).is_ready()).count();
        order.give(0, 0, true);
        assert_eq!((come(&before), come(&since)), (FLUSHED_MAX, 0));
        order.give(0, 0, true);
        assert_eq!((come(&before), come(&since)), (20, 1));
    }

    #[test]
    fn pieces_in_which_rules_are_asked_count_as_one_and_transfers_as_none() {
        let order = Order::default();
        order.look(&probe(1_000, GLANCE_US), false);
        let mut took = Took::default();
        for (us, asks) in [(100, false), (200, true), (9_000, false), (200, true)] {
            if us == 100 {
                assert!(!order.waits(1, 1));
            }
            order.poll_took(1, us, asks, &mut took);
        }
        assert_eq!((took.us, order.mean_us()), (Some(500), 500));
        assert!(order.waits(1, 1));
    }

    #[test]
    fn who_leaves_takes_no_turn_and_who_waited_too_long_neither() {
        let order = order();
        let (first, second, third) =
            (order.wait(1, false, false, 0), order.wait(1, false, false, 0), order.wait(1, false, false, 9));
        drop(first);
        order.give(overload::limits::TURN_WAIT_US + 1, 0, false);
        assert_eq!(stands(&second), Poll::Ready(Stands::TooLate));
        assert_eq!(stands(&third), Poll::Ready(Stands::Come));
    }

    #[test]
    fn nobody_waits_in_vain_for_an_order_that_is_given_up() {
        let order = order();
        let line = order.wait(1, false, false, 0);
        order.give_up();
        assert_eq!(stands(&line), Poll::Ready(Stands::Come));
        drop(line);
        order.look(&probe(3_000, 1_000_000), true);
        assert!(!order.is_kept(), "for good");
    }

    #[test]
    fn nobody_waits_in_vain_for_a_giver_that_is_gone() {
        let order = order();
        let giver = Giver(&order);
        let line = order.wait(1, false, false, 0);
        assert!(stands(&line).is_pending());
        drop(giver);
        assert_eq!(stands(&line), Poll::Ready(Stands::Come));
        assert!(!order.waits(1, 1), "nor does anybody who comes later");
    }

    #[test]
    fn whoever_gives_turns_is_woken_for_the_first_that_waits() {
        let order = order();
        let mut cx = Context::from_waker(Waker::noop());
        let mut somebody = pin!(order.somebody_waits());
        assert_eq!(somebody.as_mut().poll(&mut cx), Poll::Pending);
        assert!(order.giver.borrow().is_some());
        let _line = order.wait(1, false, false, 0);
        assert!(order.giver.borrow().is_none(), "it was woken");
        assert_eq!(somebody.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
