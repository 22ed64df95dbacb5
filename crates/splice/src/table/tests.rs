//! The table's properties: what is written is read, and nothing else is.

use std::fs;
use std::net::SocketAddr;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::limits::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

fn entry(hostname: &str, port: u16) -> Entry {
    Entry {
        hostname: hostname.to_owned(),
        origins: vec![SocketAddr::from(([192, 0, 2, 1], port))],
        proxy: Proxy::None,
    }
}

fn table(entries: &[Entry]) -> Table {
    Table::read(Table::to_bytes(entries).unwrap()).unwrap()
}

/// Seals a body behind a right header, so that the layout is reached.
fn sealed(count: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &VERSION.to_be_bytes(), &count.to_be_bytes()].concat();
    bytes.extend((body.len() as u64).to_be_bytes());
    let sum = checksum(&[&bytes, body]);
    bytes.extend(sum.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn some_entries() -> impl Strategy<Value = Vec<Entry>> {
    let hostname = prop_oneof![
        "[a-z0-9_-]{1,9}(\\.[a-z0-9-]{1,9}){0,4}",
        "\\*\\.[a-z0-9]{1,3}(\\.[a-z]{1,3}){0,3}",
        "\\*",
    ];
    let origin = (any::<IpAddr>(), 1_u16..).prop_map(SocketAddr::from);
    let proxy = prop_oneof![Just(Proxy::None), Just(Proxy::V1), Just(Proxy::V2)];
    let rest = (vec(origin, 1..=ORIGINS_MAX), proxy);
    btree_map(hostname, rest, 0..12).prop_map(|all| {
        let to_entry = |(hostname, (origins, proxy))| Entry { hostname, origins, proxy };
        all.into_iter().map(to_entry).collect()
    })
}

/// What the lookup means, written down plainly.
fn find_plainly<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let exact = entries.iter().find(|entry| entry.hostname == name);
    let covers = |entry: &&Entry| match entry.hostname.strip_prefix('*') {
        Some(rest) => name.ends_with(rest) && name.len() > rest.len(),
        None => false,
    };
    exact.or_else(|| entries.iter().filter(covers).max_by_key(|entry| entry.hostname.len()))
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in some_entries().prop_shuffle()) {
        let bytes = Table::to_bytes(&entries).unwrap();
        let read = Table::read(bytes.clone()).unwrap();
        prop_assert_eq!(read.len(), entries.len());
        let listed: Vec<Entry> = read.entries().collect();
        prop_assert_eq!(Table::to_bytes(&listed).unwrap(), bytes, "one content has one form");
        let mut entries = entries;
        entries.sort_by_key(|entry| listed.iter().position(|other| other == entry));
        prop_assert_eq!(listed, entries);
    }

    #[test]
    fn the_exact_name_is_found_else_the_longest_wildcard(
        entries in some_entries(),
        names in vec("[a-z0-9]{1,3}(\\.[a-z0-9]{1,3}){0,4}", 8),
    ) {
        let table = table(&entries);
        let own = entries.iter().map(|entry| entry.hostname.replace('*', "a"));
        for name in names.into_iter().chain(own) {
            prop_assert_eq!(table.find(&name), find_plainly(&entries, &name).cloned(), "{}", name);
        }
    }

    #[test]
    fn every_flipped_bit_is_refused(entries in some_entries()) {
        let bytes = Table::to_bytes(&entries).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Table::read(flipped).is_err(), "bit {}", bit);
        }
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused(entries in some_entries(), more: u8) {
        let mut bytes = Table::to_bytes(&entries).unwrap();
        for end in 0..bytes.len() {
            prop_assert!(Table::read(bytes[..end].to_vec()).is_err(), "up to {}", end);
        }
        bytes.push(more);
        prop_assert_eq!(Table::read(bytes), Err(BadTable::Length));
    }

    #[test]
    fn any_sealed_body_is_refused_or_is_as_we_would_write_it(count in 0_u32..4, body: Vec<u8>) {
        let bytes = sealed(count, &body);
        if let Ok(table) = Table::read(bytes.clone()) {
            let entries: Vec<Entry> = table.entries().collect();
            prop_assert_eq!(Table::to_bytes(&entries).unwrap(), bytes);
        }
    }

    /// Near misses: a right body with some bytes changed, sealed again.
    #[test]
    fn a_changed_body_is_refused_or_is_as_we_would_write_it(
        entries in some_entries(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        fewer in 0_u32..2,
    ) {
        let mut body = Table::to_bytes(&entries).unwrap().split_off(HEADER_BYTES);
        for (place, byte) in changes {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        let bytes = sealed((entries.len() as u32).saturating_sub(fewer), &body);
        if let Ok(table) = Table::read(bytes.clone()) {
            let entries: Vec<Entry> = table.entries().collect();
            prop_assert_eq!(Table::to_bytes(&entries).unwrap(), bytes);
        }
    }

    #[test]
    fn any_name_may_be_asked_for(entries in some_entries(), name: String) {
        let _ = table(&entries).find(&name);
    }
}

#[test]
fn the_layout_is_the_one_in_the_docs() {
    let bytes = Table::to_bytes(&[Entry {
        hostname: "*.a.b".to_owned(),
        origins: vec!["192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:8443".parse().unwrap()],
        proxy: Proxy::V2,
    }])
    .unwrap();
    let v6 = [6, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x20, 0xfb];
    let body = [&[11, 3, b'a', b'.', b'b', 2, 4, 192, 0, 2, 1, 1, 0xbb][..], &v6].concat();
    assert_eq!(bytes[..24], *b"RMPSPLIC\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x20");
    assert_eq!(bytes[32..], body);
    assert_eq!(bytes, sealed(1, &body));
}

#[test]
fn a_wildcard_is_for_any_depth_below_but_not_for_itself() {
    let table =
        table(&[entry("*.example.org", 1), entry("*.deep.example.org", 2), entry("a.example.org", 3)]);
    let port = |name: &str| table.find(name).map(|entry| entry.origins[0].port());
    assert_eq!(port("x.example.org"), Some(1));
    assert_eq!(port("y.x.example.org"), Some(1));
    assert_eq!(port("deep.example.org"), Some(1));
    assert_eq!(port("y.deep.example.org"), Some(2));
    assert_eq!(port("a.example.org"), Some(3));
    assert_eq!(port("b.a.example.org"), Some(1));
    for absent in ["example.org", "xexample.org", "example.com", "", ".example.org", "x..example.org"] {
        assert_eq!(port(absent), None, "{absent}");
    }
}

#[test]
fn a_star_alone_is_for_every_other_name() {
    let table = table(&[entry("*", 1), entry("example.org", 2)]);
    let port = |name: &str| table.find(name).map(|entry| entry.origins[0].port());
    assert_eq!((port("example.org"), port("example.com"), port("a.b.c")), (Some(2), Some(1), Some(1)));
    assert_eq!(port("not a name"), None);
}

#[test]
fn entries_that_do_not_fit_are_named() {
    let refused = |entries: &[Entry]| Table::to_bytes(entries).unwrap_err();
    let long = [["a"; LABEL_BYTES_MAX].concat().as_str(); 4].join(".");
    assert_eq!(long.len(), NAME_BYTES_MAX + 2);
    let label = "a".repeat(LABEL_BYTES_MAX + 1);
    for name in ["", "Example.org", "a..b", ".a", "a.", "a b", "ä.org", "*a", "*.", "a.*", &long, &label] {
        assert_eq!(refused(&[entry(name, 1)]), BadEntry::Hostname(name.to_owned()));
        assert_eq!(entry(name, 1).check(), Err(BadEntry::Hostname(name.to_owned())));
    }
    assert_eq!(refused(&[entry("a", 1), entry("b", 1), entry("a", 2)]), BadEntry::Twice("a".to_owned()));
    let with = |origins: &[&str]| Entry {
        origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        ..entry("a", 1)
    };
    for origins in [&[][..], &["1.2.3.4:5"; ORIGINS_MAX + 1], &["1.2.3.4:0"], &["[fe80::1%3]:443"]] {
        assert_eq!(refused(&[with(origins)]), BadEntry::Origins("a".to_owned()));
        assert_eq!(with(origins).check(), Err(BadEntry::Origins("a".to_owned())));
    }
}

#[test]
fn the_largest_table_is_written_and_read_and_one_more_is_not() {
    let label = "a".repeat(LABEL_BYTES_MAX);
    let mut entries: Vec<Entry> = (0..ENTRIES_MAX)
        .map(|number| Entry {
            hostname: format!("{number:0>61}.{label}.{label}.{label}"),
            origins: vec!["[2001:db8::1]:443".parse().unwrap(); ORIGINS_MAX],
            proxy: Proxy::V2,
        })
        .collect();
    let bytes = Table::to_bytes(&entries).unwrap();
    assert_eq!(bytes.len(), TABLE_BYTES_MAX);
    let table = Table::read(bytes.clone()).unwrap();
    assert_eq!(table.find(&entries[77].hostname), Some(entries[77].clone()));
    assert_eq!(Table::read([bytes, vec![0]].concat()), Err(BadTable::TooLarge));
    entries.push(entry("a", 1));
    assert_eq!(Table::to_bytes(&entries), Err(BadEntry::TooMany(ENTRIES_MAX + 1)));
}

#[test]
fn a_count_that_the_body_cannot_hold_is_refused_before_it_is_believed() {
    assert_eq!(Table::read(sealed(u32::MAX, &[])), Err(BadTable::Malformed));
    assert_eq!(Table::read(sealed(ENTRIES_MAX as u32, &[])), Err(BadTable::Malformed));
}

#[test]
fn another_version_and_another_file_are_told_apart() {
    let bytes = Table::to_bytes(&[entry("a", 1)]).unwrap();
    let mut newer = bytes.clone();
    newer[11] = 2;
    assert_eq!(Table::read(newer), Err(BadTable::Version));
    assert_eq!(Table::read(b"#!/bin/sh\n".to_vec()), Err(BadTable::NotTable));
    assert_eq!(Table::read(Vec::new()), Err(BadTable::NotTable));
}

#[test]
fn entries_out_of_order_or_twice_are_refused() {
    let body = |names: &[&str]| {
        let one = |name: &&str| Table::to_bytes(&[entry(name, 1)]).unwrap().split_off(HEADER_BYTES);
        sealed(names.len() as u32, &names.iter().flat_map(one).collect::<Vec<u8>>())
    };
    assert!(Table::read(body(&["a", "*.a", "b"])).is_ok());
    for wrong in [&["b", "a"][..], &["a", "a"], &["*.a", "a"], &["a", "*"]] {
        assert_eq!(Table::read(body(wrong)), Err(BadTable::Malformed), "{wrong:?}");
    }
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let folder = std::env::temp_dir().join(format!("splice-table-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("splice.table");
    assert_eq!(Table::load(&path), Err(BadTable::Unreadable));
    for port in [1, 2] {
        Table::write(&path, &[entry("a", port)]).unwrap();
        assert_eq!(Table::load(&path).unwrap().find("a"), Some(entry("a", port)));
    }
    assert!(matches!(Table::write(&path, &[entry("A", 1)]), Err(NotWritten::Entry(_))));
    assert_eq!(Table::load(&path).unwrap().find("a"), Some(entry("a", 2)), "a bad entry costs the old table");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert!(matches!(Table::write(&folder.join("none/x"), &[]), Err(NotWritten::Io(_))));
    fs::remove_dir_all(&folder).unwrap();
}
