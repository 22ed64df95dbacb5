//! Fuzzes `/etc/resolv.conf` and `/etc/hosts`: no panic, and settings stay within their bounds. Read next:
//! `crates/origin/src/resolve/system.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origin::resolve::message::DnsName;
use origin::resolve::system::{hosts_of, read_settings};

fuzz_target!(|input: (&str, &str)| {
    let (name, text) = input;
    let settings = read_settings(text);
    assert!((1..=3).contains(&settings.servers.len()) && settings.search.len() <= 6);
    assert!(settings.dots <= 15 && (1..=5).contains(&settings.rounds));
    assert!((1000..=30_000).contains(&settings.timeout_ms));
    let addresses = hosts_of(text, name);
    assert!(addresses.len() <= 16);
    assert!(addresses.iter().all(|ip| addresses.iter().filter(|other| *other == ip).count() == 1));
    let _ = DnsName::of(name);
});
