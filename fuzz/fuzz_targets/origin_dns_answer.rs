//! Fuzzes answers of name servers: no panic, nothing believed that answers something else, addresses of the
//! family asked for only. Read next: `crates/origin/src/resolve/message.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origin::resolve::message::{DnsName, Family, NoAnswer, Outcome, read_answer, write_question};

const ID: u16 = 0x1234;

fuzz_target!(|input: (bool, u16, u16, &[u8])| {
    let (is_v4, flags, records, bytes) = input;
    let family = if is_v4 { Family::V4 } else { Family::V6 };
    let name = DnsName::of("www.shop.example").expect("a name");
    let _ = read_answer(bytes, ID, &name, family);

    // The question as it was asked, so that the records behind it are reached.
    let mut message = write_question(ID, &name, family);
    message[2..4].copy_from_slice(&(flags & !0x7800 | 0x8000).to_be_bytes());
    message[6..8].copy_from_slice(&records.to_be_bytes());
    message.extend_from_slice(bytes);
    let answer = read_answer(&message, ID, &name, family);
    assert_ne!(answer, Err(NoAnswer::NotToThis));
    assert_eq!(read_answer(&message, ID ^ 1, &name, family), Err(NoAnswer::NotToThis));
    let other = if is_v4 { Family::V6 } else { Family::V4 };
    assert_eq!(read_answer(&message, ID, &name, other), Err(NoAnswer::NotToThis));
    let Ok(answer) = answer else { return };
    assert!(answer.addresses.iter().all(|ip| ip.is_ipv4() == is_v4) && answer.addresses.len() <= 128);
    assert!(!answer.addresses.is_empty() || answer.ttl_s == 0);
    assert!(answer.outcome != Outcome::Failed || answer.addresses.is_empty());
    if let (true, Some(first)) = (is_v4, answer.addresses.first()) {
        let std::net::IpAddr::V4(ip) = first else { unreachable!("asserted above") };
        assert!(bytes.windows(4).any(|part| part == ip.octets()), "an address that nobody said");
    }
});
