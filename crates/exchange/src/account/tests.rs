//! Bounds of each level, and that everything is given back.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;

fn connection() -> Rc<Connection> {
    let address = "192.0.2.1:1".parse().expect("an address");
    Rc::new(Connection {
        id: 1,
        visitor: address,
        local: address,
        tls: None,
        http3_port: None,
        held: Tally::default(),
        waiting: Waiting::default(),
    })
}

const STEP: u64 = STEP_BYTES;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_charge_counts_on_every_level_and_is_given_back() {
    let (node, zone, connection) = (Account::new(1 << 20), Account::new(1 << 20), connection());
    let mut charge = Charge::begin(&node, &connection, 500).expect("room");
    charge.join(&zone).expect("room");
    charge.hold(3 * STEP + 1).expect("room");
    let held = |bytes| assert_eq!([node.held(), zone.held(), connection.held.held()], [bytes; 3]);
    held(500 + 3 * STEP);
    charge.hold(STEP).expect("less is always room");
    held(500 + STEP);
    drop(charge);
    held(0);
}

#[test]
fn work_is_charged_to_node_and_zone_within_what_pieces_may_fill() {
    let (node, zone) = (Account::new(80 * STEP), Account::new(40 * STEP));
    let work = Charge::of_work(&node, &zone, 30 * STEP).expect("room");
    assert_eq!((node.held(), zone.held()), (30 * STEP, 30 * STEP));
    assert_eq!(Charge::of_work(&node, &zone, 6 * STEP).err(), Some(Over::Zone));
    let other = Account::new(1 << 30);
    assert_eq!(Charge::of_work(&node, &other, 41 * STEP).err(), Some(Over::Node));
    drop(work);
    assert_eq!((node.held(), zone.held(), other.held()), (0, 0, 0));
}

#[test]
fn heads_are_refused_at_the_bound_and_pieces_before_it() {
    let node = Account::new(80 * STEP);
    let connection = connection();
    let mut first = Charge::begin(&node, &connection, 0).expect("room");
    assert_eq!(first.hold(71 * STEP), Err(Over::Node));
    assert_eq!(node.held(), 0, "what was refused is not held");
    first.hold(70 * STEP).expect("seven eighths");
    let second = Charge::begin(&node, &connection, 10 * STEP).expect("the rest is for heads");
    assert_eq!(Charge::begin(&node, &connection, 1).err(), Some(Over::Node));
    drop((first, second));
    assert_eq!((node.held(), node.times_over()), (0, [0, 0, 2]));
}

#[test]
fn a_full_zone_leaves_the_node_as_it_was() {
    let (node, zone, connection) = (Account::new(1 << 30), Account::new(8 * STEP), connection());
    let mut charge = Charge::begin(&node, &connection, STEP).expect("room");
    charge.join(&zone).expect("room");
    assert_eq!(charge.hold(7 * STEP), Err(Over::Zone));
    assert_eq!([node.held(), zone.held()], [STEP; 2]);
    let mut second = Charge::begin(&node, &connection, 8 * STEP).expect("the node has room");
    assert_eq!(second.join(&zone), Err(Over::Zone));
    drop(second);
    assert_eq!(([node.held(), zone.held()], node.times_over()), ([STEP; 2], [0, 2, 0]));
}

#[test]
fn a_full_connection_waits_until_something_has_left() {
    let (node, connection) = (Account::new(1 << 30), connection());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let cx = Context::from_waker(&waker);
    let mut large = Charge::begin(&node, &connection, 0).expect("room");
    let mut other = Charge::begin(&node, &connection, 10).expect("room");
    large.hold(CONNECTION_BYTES_MAX).expect("room");
    assert!(other.must_wait(&cx) && other.must_wait(&cx));
    assert_eq!(node.times_over(), [1, 0, 0], "one task waits once");
    large.hold(0).expect("room");
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(!other.must_wait(&cx));
}

/// A task that waits: what it was woken with, and its charge.
fn waiting(node: &Arc<Account>, connection: &Rc<Connection>) -> (Arc<Woken>, Charge) {
    let woken = Arc::new(Woken::default());
    let mut charge = Charge::begin(node, connection, 1).expect("room");
    assert!(charge.must_wait(&Context::from_waker(&Waker::from(Arc::clone(&woken)))));
    (woken, charge)
}

#[test]
fn exchanges_that_end_while_they_wait_leave_no_task_behind() {
    let (node, connection) = (Account::new(1 << 30), connection());
    let mut large = Charge::begin(&node, &connection, 0).expect("room");
    large.hold(CONNECTION_BYTES_MAX).expect("room");
    let (stays, still) = waiting(&node, &connection);
    for _ in 0..1_000 {
        let (woken, charge) = waiting(&node, &connection);
        drop(charge);
        assert_eq!(Arc::strong_count(&woken), 1, "a task that has ended is not kept");
    }
    assert_eq!(connection.waiting.places(), 2, "as many as ever waited at once");
    large.hold(0).expect("less is always room");
    assert_eq!(stays.0.load(Relaxed), 1);
    drop(still);
    assert_eq!(connection.waiting.places(), 0, "nobody waits and nothing is kept");
}

#[test]
fn an_exchange_that_ends_takes_nobody_elses_turn() {
    let (node, connection) = (Account::new(1 << 30), connection());
    let mut large = Charge::begin(&node, &connection, 0).expect("room");
    large.hold(CONNECTION_BYTES_MAX).expect("room");
    let (first, first_charge) = waiting(&node, &connection);
    large.hold(0).expect("less is always room");
    assert_eq!(first.0.load(Relaxed), 1);
    large.hold(CONNECTION_BYTES_MAX).expect("room");
    let (second, _second_charge) = waiting(&node, &connection);
    drop(first_charge);
    large.hold(0).expect("less is always room");
    assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 1));
}

#[test]
fn an_exchange_that_waits_in_another_task_is_woken_there() {
    let (node, connection) = (Account::new(1 << 30), connection());
    let mut large = Charge::begin(&node, &connection, 0).expect("room");
    large.hold(CONNECTION_BYTES_MAX).expect("room");
    let (before, mut charge) = waiting(&node, &connection);
    let after = Arc::new(Woken::default());
    assert!(charge.must_wait(&Context::from_waker(&Waker::from(Arc::clone(&after)))));
    assert_eq!(node.times_over(), [1, 0, 0], "it is one wait");
    large.hold(0).expect("less is always room");
    assert_eq!((before.0.load(Relaxed), after.0.load(Relaxed)), (0, 1));
}

#[test]
fn without_accounts_nothing_is_bounded() {
    let mut charge = Charge::default();
    charge.hold(u64::MAX).expect("no bound");
    assert!(!charge.must_wait(&Context::from_waker(Waker::noop())));
}

#[test]
fn a_moved_connection_begins_at_nothing() {
    let (node, connection) = (Account::new(1 << 20), connection());
    let _charge = Charge::begin(&node, &connection, 7).expect("room");
    assert_eq!((connection.held.held(), Connection::clone(&connection).held.held()), (7, 0));
}
