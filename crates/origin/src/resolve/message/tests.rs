//! Tests of DNS messages, written here byte by byte.

use proptest::prelude::*;

use super::*;

const A: u16 = 1;
const AAAA: u16 = 28;
const CNAME: u16 = 5;
/// Where the name of the question begins: what compressed names point at.
const OF_QUESTION: &[u8] = &[0xc0, 12];

fn name(text: &str) -> DnsName {
    DnsName::of(text).expect("a name")
}

fn record(owner: &[u8], kind: u16, ttl_s: u32, content: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ttl_s.to_be_bytes());
    out.extend_from_slice(&(content.len() as u16).to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// An answer with id 7 to the question for `shop.example`.
fn answer(family: Family, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = write_question(7, &name("shop.example"), family);
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    out.extend(records.concat());
    out
}

fn read(message: &[u8], family: Family) -> Result<Answer, NoAnswer> {
    read_answer(message, 7, &name("shop.example"), family)
}

fn addresses(list: &[[u8; 4]]) -> Vec<IpAddr> {
    list.iter().map(|ip| IpAddr::from(*ip)).collect()
}

#[test]
fn a_question_is_written_as_rfc_1035_has_it() {
    let written = write_question(0x1234, &name("Shop.Example."), Family::V6);
    assert_eq!(written, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04shop\x07example\0\0\x1c\0\x01");
}

#[test]
fn names_that_cannot_exist_are_none() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert!(DnsName::of(&longest).is_some());
    for text in ["", ".", "a..b", ".a", "a..", &"a".repeat(64), &format!("{longest}a")] {
        assert_eq!(DnsName::of(text), None, "{text}");
    }
}

#[test]
fn addresses_come_with_the_lowest_ttl_and_in_order() {
    let records =
        [record(OF_QUESTION, A, 300, &[192, 0, 2, 2]), record(b"\x04SHOP\xc0\x11", A, 60, &[192, 0, 2, 1])];
    let read = read(&answer(Family::V4, 0x8180, &records), Family::V4).expect("an answer");
    assert_eq!(read.addresses, addresses(&[[192, 0, 2, 2], [192, 0, 2, 1]]));
    assert_eq!((read.ttl_s, read.outcome), (60, Outcome::Complete));
}

#[test]
fn addresses_of_ipv6_are_read() {
    let ip: Ipv6Addr = "2001:db8::7".parse().expect("an address");
    let message = answer(Family::V6, 0x8180, &[record(OF_QUESTION, AAAA, 5, &ip.octets())]);
    assert_eq!(read(&message, Family::V6).expect("an answer").addresses, [IpAddr::from(ip)]);
}

#[test]
fn aliases_are_followed_in_any_order_and_their_ttl_counts() {
    let records = [
        record(b"\x04edge\x03net\0", A, 300, &[192, 0, 2, 9]),
        record(b"\x03www\xc0\x0c", CNAME, 20, b"\x04EDGE\x03net\0"),
        record(OF_QUESTION, CNAME, 100, b"\x03www\xc0\x0c"),
    ];
    let read = read(&answer(Family::V4, 0x8180, &records), Family::V4).expect("an answer");
    assert_eq!((read.addresses, read.ttl_s), (addresses(&[[192, 0, 2, 9]]), 20));
}

#[test]
fn records_of_other_names_kinds_and_classes_are_not_taken() {
    let mut chaos = record(OF_QUESTION, A, 9, &[192, 0, 2, 3]);
    chaos[5] = 3;
    let records = [
        record(b"\x04evil\0", A, 9, &[192, 0, 2, 1]),
        record(OF_QUESTION, 16, 9, b"\x02hi"),
        record(OF_QUESTION, AAAA, 9, &[0; 16]),
        chaos,
    ];
    let read = read(&answer(Family::V4, 0x8180, &records), Family::V4).expect("an answer");
    assert_eq!(read, Answer { addresses: Vec::new(), ttl_s: 0, outcome: Outcome::Complete });
}

#[test]
fn a_ttl_with_the_top_bit_set_is_zero() {
    let message = answer(Family::V4, 0x8180, &[record(OF_QUESTION, A, 0x8000_0001, &[192, 0, 2, 1])]);
    assert_eq!(read(&message, Family::V4).expect("an answer").ttl_s, 0);
}

#[test]
fn codes_say_what_an_answer_is_worth() {
    for (flags, outcome) in [
        (0x8180, Outcome::Complete),
        (0x8183, Outcome::Complete),
        (0x8380, Outcome::Truncated),
        (0x8181, Outcome::Failed),
        (0x8182, Outcome::Failed),
        (0x8385, Outcome::Failed),
    ] {
        let read = read(&answer(Family::V4, flags, &[]), Family::V4).expect("an answer");
        assert_eq!(read.outcome, outcome, "{flags:x}");
    }
}

#[test]
fn a_truncated_answer_is_read_as_far_as_it_goes() {
    let records =
        [record(OF_QUESTION, A, 300, &[192, 0, 2, 2]), record(OF_QUESTION, A, 300, &[192, 0, 2, 3])];
    let mut message = answer(Family::V4, 0x8380, &records);
    message.truncate(message.len() - 3);
    let cut = read(&message, Family::V4).expect("an answer");
    assert_eq!((cut.addresses, cut.outcome), (addresses(&[[192, 0, 2, 2]]), Outcome::Truncated));
    message[2] = 0x81;
    assert_eq!(read(&message, Family::V4), Err(NoAnswer::Broken), "it claims to be whole");
}

#[test]
fn what_answers_something_else_is_told_apart() {
    let good = answer(Family::V4, 0x8180, &[record(OF_QUESTION, A, 300, &[192, 0, 2, 2])]);
    for (at, byte, why) in [
        (1, 8, "another id"),
        (2, 0x01, "a question"),
        (2, 0xa9, "another kind of message"),
        (5, 2, "two questions"),
        (13, b'x', "another name"),
        (27, 28, "another family"),
        (29, 3, "another class"),
    ] {
        let mut message = good.clone();
        assert_ne!(message[at], byte);
        message[at] = byte;
        assert_eq!(read(&message, Family::V4), Err(NoAnswer::NotToThis), "{why}");
    }
    assert_eq!(read(b"", Family::V4), Err(NoAnswer::NotToThis));
}

#[test]
fn broken_records_and_circles_are_refused() {
    let circle = [
        record(OF_QUESTION, CNAME, 9, b"\x01b\xc0\x0c"),
        record(b"\x01b\xc0\x0c", CNAME, 9, OF_QUESTION),
        record(OF_QUESTION, A, 9, &[192, 0, 2, 2]),
    ];
    let here = [0xc0, 30]; // a record's own begin
    let cases: [(&str, Vec<Vec<u8>>); 6] = [
        ("aliases in a circle", circle.to_vec()),
        ("a name that points at itself", vec![record(&here, A, 9, &[192, 0, 2, 2])]),
        ("an address of three bytes", vec![record(OF_QUESTION, A, 9, &[192, 0, 2])]),
        ("an alias with bytes behind it", vec![record(OF_QUESTION, CNAME, 9, b"\x01b\0!")]),
        ("a label of a reserved kind", vec![record(b"\x41a\0", A, 9, &[192, 0, 2, 2])]),
        ("nothing where a record is claimed", vec![Vec::new()]),
    ];
    for (why, records) in cases {
        let message = answer(Family::V4, 0x8180, &records);
        assert_eq!(read(&message, Family::V4), Err(NoAnswer::Broken), "{why}");
    }
}

proptest! {
    #[test]
    fn whatever_follows_the_question_is_answered(
        tail in prop::collection::vec(prop_oneof![Just(0xc0), Just(12), Just(0), any::<u8>()], 0..200),
        records in 0..600u16,
        flags in 0x8000..0x8800u16,
    ) {
        let mut message = answer(Family::V4, flags, &[]);
        message[6..8].copy_from_slice(&records.to_be_bytes());
        message.extend(tail);
        if let Ok(answer) = read(&message, Family::V4) {
            prop_assert!(answer.addresses.len() <= RECORDS_MAX);
            prop_assert!(answer.addresses.iter().all(IpAddr::is_ipv4));
        }
    }
}
