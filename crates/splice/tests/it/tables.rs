//! Tables that change, break and mend while visitors are there.

use std::fs;

use splice::{BadTable, ORDER_RELOAD, Refusal, Settings, Table};

use crate::rig::{Node, RawOrigin, entry, hello, receive, receive_all, send, talk, until};

const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[track_caller]
fn reaches(node: &Node, name: &str, origin: &RawOrigin) {
    let hello = hello(name);
    let visitor = send(node.address(), &hello);
    let origin = origin.accept();
    assert!(receive(&origin, hello.len()) == hello);
    talk(&visitor, &origin);
}

#[track_caller]
fn is_refused(node: &Node, name: &str) {
    assert_eq!(receive_all(&send(node.address(), &hello(name))), UNRECOGNIZED_NAME);
}

#[test]
fn a_new_table_holds_for_newcomers_and_leaves_open_connections_alone() {
    let (old, new) = (RawOrigin::new(), RawOrigin::new());
    let node = Node::start(&[entry("example.org", &[old.address()])]);
    let first = hello("example.org");
    let visitor = send(node.address(), &first);
    let accepted = old.accept();
    receive(&accepted, first.len());

    node.replace_table(&[entry("example.org", &[new.address()]), entry("example.net", &[new.address()])]);
    assert_eq!(node.count(&node.counters.entries), 2);
    reaches(&node, "example.org", &new);
    reaches(&node, "example.net", &new);
    talk(&visitor, &accepted);

    node.replace_table(&[]);
    is_refused(&node, "example.org");
    talk(&visitor, &accepted);
}

#[test]
fn a_changed_file_is_noticed_without_being_told() {
    let origin = RawOrigin::new();
    let node = Node::start(&[]);
    is_refused(&node, "example.org");
    Table::write(&node.table, &[entry("example.org", &[origin.address()])]).unwrap();
    node.pass_ms(Settings::default().reload_ms);
    until("it is taken", || node.count(&node.counters.tables_taken) == 2);
    reaches(&node, "example.org", &origin);
    // A file that stays the same is not read again.
    for _ in 0..3 {
        node.pass_ms(Settings::default().reload_ms);
        reaches(&node, "example.org", &origin);
    }
    assert_eq!(node.count(&node.counters.tables_taken), 2);
}

#[test]
fn a_broken_table_leaves_the_one_before_in_use() {
    let origin = RawOrigin::new();
    let entries = [entry("example.org", &[origin.address()])];
    let node = Node::start(&entries);
    let good = Table::to_bytes(&entries).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let breaks = |count: u64, why: BadTable| {
        node.order(ORDER_RELOAD);
        until("it is read", || node.count(&node.counters.tables_broken) == count);
        assert_eq!(node.counters.broken_table(), Some(why));
        reaches(&node, "example.org", &origin);
    };
    fs::write(&node.table, flipped).unwrap();
    breaks(1, BadTable::Checksum);
    fs::write(&node.table, &good[..good.len() - 1]).unwrap();
    breaks(2, BadTable::Length);
    fs::remove_file(&node.table).unwrap();
    breaks(3, BadTable::Unreadable);
    node.replace_table(&entries);
    assert_eq!(node.counters.broken_table(), None);
    reaches(&node, "example.org", &origin);
}

#[test]
fn without_a_good_table_everybody_is_refused_until_there_is_one() {
    let origin = RawOrigin::new();
    let node = Node::start(&[]);
    for bytes in [&b""[..], b"RMPSPLIC", b"garbage"] {
        fs::write(&node.table, bytes).unwrap();
        node.order(ORDER_RELOAD);
        is_refused(&node, "example.org");
    }
    until("each was read", || node.count(&node.counters.tables_broken) == 3);
    assert_eq!(node.counters.refused(Refusal::UnknownName), 3);
    node.replace_table(&[entry("*", &[origin.address()])]);
    reaches(&node, "example.org", &origin);
}
