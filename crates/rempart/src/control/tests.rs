//! Tests of the messages between the processes of a node, and of the channel that carries them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use telemetry::sink::Target;

use super::*;

fn ends() -> (Channel, Channel) {
    let (ours, theirs) = Channel::pair().unwrap();
    (ours, Channel(theirs))
}

fn events_in(folder: &testkit::folder::Folder) -> Events {
    Events::start(Target::File(folder.path().join("events")), || 0).unwrap()
}

fn setup(tcp: usize) -> Setup {
    let (address, is_https, is_proxied) = (([127, 0, 0, 1], 80).into(), false, false);
    let plan = |index| ListenerPlan { index, address, is_https, is_proxied, tcp, udp: 1 };
    Setup {
        config: "/etc/rempart/rempart.toml".into(),
        role: Role::Serving,
        begin: Begin::Files,
        udp_generation: 0,
        deadly: Vec::new(),
        serves_on: true,
        splice_table: None,
        unusable: Vec::new(),
        has_udp: true,
        is_quic_taken: false,
        threads: tcp,
        listeners: vec![plan(0), plan(1)],
        admin: Some(([127, 0, 0, 1], 9901).into()),
        supervisor: 7,
        restarts: 0,
    }
}

#[test]
fn a_setup_arrives_with_more_descriptors_than_one_packet_takes_and_in_their_order() {
    let (supervisor, edge) = ends();
    let setup = setup(40);
    let count = setup.descriptors();
    assert!(count > DESCRIPTORS_PER_PACKET);
    let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
    let theirs: Vec<_> = pairs.iter().map(|pair| pair.1.as_fd()).collect();
    supervisor.send_setup(setup.clone(), &theirs).unwrap();
    let (received, descriptors) = edge.receive_setup().unwrap();
    assert_eq!((received, descriptors.len()), (setup, count));
    for (index, (descriptor, pair)) in descriptors.into_iter().zip(&pairs).enumerate() {
        (&pair.0).write_all(&[index as u8]).unwrap();
        let mut byte = [0];
        UnixStream::from(descriptor).read_exact(&mut byte).unwrap();
        assert_eq!(byte, [index as u8]);
    }
}

fn told_ready() -> FromEdge {
    FromEdge::Ready { number: 3, zones: 1, unusable: Vec::new(), version: "1".into() }
}

#[test]
fn a_vanished_other_end_is_told_apart_from_a_message() {
    let (supervisor, edge) = ends();
    edge.send(&told_ready(), &[], false).unwrap();
    drop(edge);
    let (message, _) = supervisor.receive::<FromEdge>().unwrap().unwrap();
    assert_eq!(message, told_ready());
    assert!(supervisor.receive::<FromEdge>().unwrap().is_none());
    assert!(supervisor.send(&ToEdge::Drain { within_ms: None }, &[], false).is_err());
}

#[test]
fn a_full_queue_does_not_hold_up_the_supervisor() {
    let (supervisor, _edge) = ends();
    let refused = (0..100_000).find(|_| supervisor.send(&ToEdge::Reload, &[], false).is_err());
    assert!(refused.is_some());
}

#[test]
fn a_packet_that_is_no_message_is_an_error() {
    let (supervisor, edge) = ends();
    let folder = testkit::folder::Folder::new().unwrap();
    let events = events_in(&folder);
    for nonsense in [serde_json::json!("nonsense"), serde_json::json!({"msg": "x"}), serde_json::json!([1])] {
        supervisor.send(&nonsense, &[], false).unwrap();
        let error = edge.receive::<ToEdge>().unwrap_err();
        assert!(PassedOver::default().pass_over(error, &events).is_err());
    }
}

#[test]
fn a_message_of_another_version_is_passed_over_and_told_once() {
    let (supervisor, edge) = ends();
    let folder = testkit::folder::Folder::new().unwrap();
    let events = events_in(&folder);
    let mut passed_over = PassedOver::default();
    let of_tomorrow = [
        serde_json::json!({"message": "fold", "corners": 4}),
        serde_json::json!({"message": "fold", "corners": 3}),
        serde_json::json!({"message": "setup", "role": "juggler"}),
    ];
    for message in of_tomorrow {
        let descriptor = memory_file(b"beside it").unwrap();
        supervisor.send(&message, &[descriptor.as_fd()], false).unwrap();
        supervisor.send(&ToEdge::Reload, &[], false).unwrap();
        let error = edge.receive::<ToEdge>().unwrap_err();
        passed_over.pass_over(error, &events).unwrap();
        assert!(matches!(edge.receive().unwrap().unwrap(), (ToEdge::Reload, _)));
    }
    assert!(events.close(Duration::from_secs(60)));
    let told = std::fs::read_to_string(folder.path().join("events")).unwrap();
    assert_eq!(told.matches("message_unknown").count(), 2, "{told}");
    assert_eq!(told.matches("fold").count(), 1, "{told}");
}

#[test]
fn a_known_message_may_say_more_than_is_known() {
    let (supervisor, edge) = ends();
    let more = serde_json::json!({"message": "drain", "within_ms": 7, "softly": true});
    supervisor.send(&more, &[], false).unwrap();
    let (message, _) = edge.receive::<ToEdge>().unwrap().unwrap();
    assert_eq!(message, ToEdge::Drain { within_ms: Some(7) });
}
