//! A thread that does not come back: who is told, who is named, and who is served meanwhile (drills D11,
//! D35).

use blackbox::SlotState;
use exchange::Phase;
use testkit::gate::PATIENCE;
use testkit::visitor::Visitor;

use super::rig::{HOST, Rig, THREADS, asking};

/// Connections enough that the kernel gives some to either of two threads, but once in 10^19.
const MANY: usize = 64;

#[test]
fn while_a_thread_hangs_its_visitors_are_served_by_its_neighbour() {
    let rig = Rig::start();
    let mut stuck = rig.visitor();
    stuck.send_head("GET", "/deadly", HOST, &asking("route=hang")).unwrap();
    let told = rig.event("thread_stuck");
    assert!(told.contains("\"zone\":\"a\"") && told.contains("\"phase\":\"route\""), "{told}");
    for _ in 0..MANY {
        assert_eq!(rig.get("/").text(), "answer");
    }
    rig.wait_for_metric("rempart_stuck_threads_total", 1);

    let report = rig.stuck.recv_timeout(PATIENCE).unwrap();
    assert_eq!((report.zone_name.as_deref(), report.phase, report.rule), (Some("a"), Phase::Route, 0));
    let slots = blackbox::read(&rig.black_box).unwrap();
    let busy: Vec<_> = slots.iter().filter(|slot| slot.state == SlotState::Busy).collect();
    assert_eq!(busy.len(), 1, "only what is being polled is named");
    assert_eq!((busy[0].zone, Some(busy[0].fingerprint)), (report.zone, report.fingerprint));

    // What the supervisor does with it: the second such request is refused at the door.
    rig.node.refuse_fingerprints(vec![(report.fingerprint.unwrap(), u64::MAX)]);
    for _ in 0..MANY / 4 {
        let refused = rig.visitor().ask("GET", "/deadly", HOST, &asking("route=hang"), b"").unwrap();
        assert_eq!(refused.status, 503);
        assert_eq!(rig.get("/another").status, 200);
    }
    rig.wait_for_metric("rempart_refusals_total{refusal=\"deadly_request\"}", MANY as u64 / 4);
    assert!(rig.stuck.try_recv().is_err(), "told once");
}

#[test]
fn a_thread_that_comes_back_takes_its_own_visitors_again() {
    let rig = Rig::start();
    let mut slow = rig.visitor();
    // A second or so of one core: far over 100 ms on any machine.
    slow.send_head("GET", "/", HOST, &asking("route=slow:1000000000")).unwrap();
    rig.event("thread_stuck");
    for _ in 0..MANY {
        assert_eq!(rig.get("/").status, 200);
    }
    assert_eq!(slow.expect_response("GET").unwrap().text(), "answer", "it was slow, and served");
    rig.event("thread_recovered");
    for _ in 0..MANY {
        assert_eq!(rig.get("/").status, 200);
    }
    drop(slow);
    rig.finish();
}

#[test]
fn health_and_metrics_are_told_while_the_thread_that_tells_them_hangs() {
    let rig = Rig::start();
    let is_on_first = |target: &str, visitor: &mut Visitor| {
        let before = blackbox::read(&rig.black_box).unwrap()[0].fingerprint;
        visitor.fetch(HOST, target).unwrap();
        blackbox::read(&rig.black_box).unwrap()[0].fingerprint != before
    };
    let mut visitors = (0..MANY).map(|number| (format!("/{number}"), rig.visitor()));
    let (_, mut stuck) = visitors.find_map(|(t, mut v)| is_on_first(&t, &mut v).then_some((t, v))).unwrap();
    stuck.send_head("GET", "/", HOST, &asking("admission=hang")).unwrap();
    rig.event("thread_stuck");
    for _ in 0..3 {
        let health = Visitor::tcp(rig.admin).unwrap().fetch("localhost", "/healthz").unwrap();
        assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    }
}

#[test]
fn every_thread_has_a_slot_that_names_nothing_between_requests() {
    let rig = Rig::start();
    let mut visitors: Vec<_> = (0..MANY).map(|_| rig.visitor()).collect();
    for visitor in &mut visitors {
        assert_eq!(visitor.fetch(HOST, "/").unwrap().status, 200);
    }
    drop(visitors);
    rig.node.drain();
    let black_box = rig.black_box.try_clone().unwrap();
    rig.finish();
    let slots = blackbox::read(&black_box).unwrap();
    assert_eq!(slots.len(), THREADS);
    for slot in slots {
        assert_eq!((slot.state, slot.death), (SlotState::Idle, None));
        assert!(slot.beat > 0 && slot.thread > 0);
        assert_ne!(slot.fingerprint, 0, "each thread served some of {MANY} visitors");
    }
}

#[test]
fn the_door_lets_a_refused_request_in_again_after_its_time() {
    let rig = Rig::start();
    assert_eq!(rig.get("/deadly").status, 200);
    let slots = blackbox::read(&rig.black_box).unwrap();
    let seen: Vec<u64> = slots.iter().map(|slot| slot.fingerprint).filter(|print| *print != 0).collect();
    assert_eq!(seen.len(), 1, "one request, one thread");
    rig.node.refuse_fingerprints(vec![(seen[0], u64::MAX)]);
    assert_eq!([rig.get("/deadly").status, rig.get("/").status], [503, 200]);
    rig.node.refuse_fingerprints(vec![(seen[0], 0)]);
    assert_eq!(rig.get("/deadly").status, 200, "its time is over");
    rig.node.refuse_fingerprints(Vec::new());
    assert_eq!(rig.get("/deadly").status, 200);
    rig.finish();
}
