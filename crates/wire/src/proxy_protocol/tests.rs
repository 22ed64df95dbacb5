//! Tests of the PROXY protocol receiver: lines and binary headers made by hand, every split, arbitrary bytes.

use super::*;
use proptest::prelude::*;

const NEVER_LATER_THAN: usize = FIXED_BYTES + BLOCK_BYTES_MAX;

fn from(visitor: &str, local: &str) -> Proxied {
    Proxied::From { visitor: visitor.parse().unwrap(), local: local.parse().unwrap() }
}

/// A version 2 header as a sender would write it.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend(block);
    header
}

const IPV4_ENDS: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 9, 0xdc, 0x04, 0x01, 0xbb];

fn ipv6_ends() -> Vec<u8> {
    let mut block = Vec::new();
    block.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    block.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
    block.extend([0xdc, 0x04, 0x01, 0xbb]);
    block
}

/// TCP over IPv4 with a TLV before the checksum and one after it.
fn binary_with_checksum() -> Vec<u8> {
    let mut block = IPV4_ENDS.to_vec();
    block.extend([0x01, 0, 2, b'h', b'2']);
    let at = FIXED_BYTES + block.len() + 3;
    block.extend([TLV_CRC32C, 0, 4, 0, 0, 0, 0]);
    block.extend([0x04, 0, 3, 1, 2, 3]);
    let mut header = binary(COMMAND_PROXY, TCP_OVER_IPV4, &block);
    let sum = crc32c(header.iter().copied());
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

/// Every header in here is whole and right.
fn good_headers() -> Vec<(Vec<u8>, Proxied)> {
    let mut with_tlvs = ipv6_ends();
    with_tlvs.extend([0xea, 0, 0, 0x02, 0, 3, b'a', b'.', b'b']);
    vec![
        (
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            from("192.168.0.1:56324", "192.168.0.11:443"),
        ),
        (
            b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n".to_vec(),
            from("255.255.255.255:65535", "0.0.0.0:0"),
        ),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), from("[2001:db8::1]:1", "[::1]:2")),
        (
            b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff FFFF:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
              65535 65535\r\n"
                .to_vec(),
            from(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n".to_vec(), from("192.0.2.1:1", "192.0.2.2:2")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::Local),
        (b"PROXY UNKNOWN \xff anything  at all\r\n".to_vec(), Proxied::Local),
        (binary(COMMAND_LOCAL, 0, &[]), Proxied::Local),
        (binary(COMMAND_LOCAL, 0xff, b"what a health check adds"), Proxied::Local),
        (binary(COMMAND_PROXY, 0, &[]), Proxied::Local),
        (binary(COMMAND_PROXY, 0x12, &IPV4_ENDS), Proxied::Local),
        (binary(COMMAND_PROXY, 0x31, &[0; 216]), Proxied::Local),
        (binary(COMMAND_PROXY, TCP_OVER_IPV4, &IPV4_ENDS), from("192.0.2.7:56324", "198.51.100.9:443")),
        (
            binary(COMMAND_PROXY, TCP_OVER_IPV6, &ipv6_ends()),
            from("[2001:db8::7]:56324", "[2001:db8::9]:443"),
        ),
        (binary(COMMAND_PROXY, TCP_OVER_IPV6, &with_tlvs), from("[2001:db8::7]:56324", "[2001:db8::9]:443")),
        (binary_with_checksum(), from("192.0.2.7:56324", "198.51.100.9:443")),
    ]
}

#[test]
fn reads_every_good_header_and_leaves_what_follows() {
    for (header, proxied) in good_headers() {
        let answer = Ok(Some((proxied, header.len())));
        assert_eq!(read_header(&header), answer, "{}", header.escape_ascii());
        let followed = [header.as_slice(), b"\r\nGET / HTTP/1.1\r\n"].concat();
        assert_eq!(read_header(&followed), answer, "{}", header.escape_ascii());
    }
}

#[test]
fn asks_for_more_at_every_split_of_a_good_header() {
    for (header, _) in good_headers() {
        for split in 0..header.len() {
            assert_eq!(read_header(&header[..split]), Ok(None), "{split} of {}", header.escape_ascii());
        }
    }
}

#[test]
fn refuses_what_belongs_to_neither_version_at_its_first_wrong_byte() {
    for wrong in [
        &b"G"[..],
        b"\x16",
        b"proxy ",
        b"PROXY\t",
        b"PROXY\r",
        b"\n",
        b"\r\r",
        b"\r\n\r\n\0\r\nQUIT\r",
        b" PROXY",
    ] {
        let before = &wrong[..wrong.len() - 1];
        assert_eq!(read_header(wrong), Err(Malformed::NoHeader), "{}", wrong.escape_ascii());
        if wrong != b"proxy " && wrong != b" PROXY" {
            assert_eq!(read_header(before), Ok(None), "{}", before.escape_ascii());
        }
    }
}

#[test]
fn refuses_lines_that_are_not_exactly_as_written_in_the_text() {
    for (line, reason) in [
        ("PROXY  TCP4 1.2.3.4 1.2.3.5 1 2\r\n", Malformed::Line),
        ("PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 1 2 \r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n", Malformed::Line),
        ("PROXY TCP4\r\n", Malformed::Line),
        ("PROXY \r\n", Malformed::Line),
        ("PROXY TCP5 1.2.3.4 1.2.3.5 1 2\r\n", Malformed::Line),
        ("PROXY tcp4 1.2.3.4 1.2.3.5 1 2\r\n", Malformed::Line),
        ("PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n", Malformed::Line),
        ("PROXY UNKNOWNS\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4\t1.2.3.5 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 01.2.3.4 1.2.3.5 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3 1.2.3.5 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.256 1.2.3.5 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 ::1 ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 [::1] ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 ::1%eth0 ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 1::2::3 ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 1 00\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 -1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 65536 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5  2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n", Malformed::LineEnding),
        ("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r ", Malformed::LineEnding),
        ("PROXY UNKNOWN \n\r\n", Malformed::LineEnding),
        ("PROXY UNKNOWN \r\r\n", Malformed::LineEnding),
    ] {
        assert_eq!(read_header(line.as_bytes()), Err(reason), "{line:?}");
    }
}

#[test]
fn accepts_a_line_of_107_bytes_and_none_longer() {
    let line = |bytes: usize| {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(bytes - 2, b'x');
        line.extend(b"\r\n");
        line
    };
    assert_eq!(read_header(&line(107)), Ok(Some((Proxied::Local, 107))));
    assert_eq!(read_header(&line(107)[..106]), Ok(None));
    assert_eq!(read_header(&line(108)[..106]), Ok(None));
    assert_eq!(read_header(&line(108)[..107]), Err(Malformed::LineTooLong));
    assert_eq!(read_header(&line(109)[..107]), Err(Malformed::LineTooLong));
    assert_eq!(read_header(&line(108)), Err(Malformed::LineTooLong));
}

#[test]
fn refuses_versions_commands_and_families_that_are_not_assigned() {
    for command in (0..=255).filter(|byte| ![0x20, 0x21].contains(byte)) {
        assert_eq!(read_header(&binary(command, 0x11, &IPV4_ENDS)), Err(Malformed::Command), "{command:#x}");
    }
    for family in 0..=255_u8 {
        let answer = read_header(&binary(COMMAND_PROXY, family, &[0; 216]));
        let is_assigned = family >> 4 <= 3 && family & 15 <= 2;
        assert_eq!(answer == Err(Malformed::Family), !is_assigned, "{family:#x}: {answer:?}");
    }
}

#[test]
fn refuses_addresses_that_do_not_fit_their_block() {
    for length in 0..12 {
        let header = binary(COMMAND_PROXY, TCP_OVER_IPV4, &IPV4_ENDS[..length]);
        assert_eq!(read_header(&header), Err(Malformed::Address), "{length}");
    }
    for length in 0..36 {
        let header = binary(COMMAND_PROXY, TCP_OVER_IPV6, &ipv6_ends()[..length]);
        assert_eq!(read_header(&header), Err(Malformed::Address), "{length}");
    }
}

#[test]
fn gives_a_mapped_visitor_its_ipv4_address() {
    let mut block = Vec::new();
    block.extend("::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap().octets());
    block.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
    block.extend([0, 1, 0, 2]);
    let header = binary(COMMAND_PROXY, TCP_OVER_IPV6, &block);
    assert_eq!(read_header(&header), Ok(Some((from("192.0.2.7:1", "[2001:db8::9]:2"), header.len()))));
}

#[test]
fn accepts_a_block_of_4096_bytes_and_refuses_more_before_it_arrives() {
    let block = |bytes: usize| {
        let mut block = IPV4_ENDS.to_vec();
        block.push(0x04);
        block.extend(u16::try_from(bytes - 15).unwrap().to_be_bytes());
        block.resize(bytes, 0);
        block
    };
    let header = binary(COMMAND_PROXY, TCP_OVER_IPV4, &block(4096));
    assert_eq!(read_header(&header).unwrap().unwrap().1, 4112);
    let header = binary(COMMAND_PROXY, TCP_OVER_IPV4, &block(4097));
    assert_eq!(read_header(&header[..FIXED_BYTES]), Err(Malformed::TooLong));
    let header = binary(COMMAND_LOCAL, 0, &[0; 4097]);
    assert_eq!(read_header(&header), Err(Malformed::TooLong));
}

#[test]
fn refuses_tlvs_that_do_not_add_up() {
    for tlvs in [
        &[4][..],
        &[4, 0],
        &[4, 0, 1],
        &[4, 0, 0, 4],
        &[4, 0, 2, 0],
        &[4, 0xff, 0xff, 0],
        &[TLV_CRC32C, 0, 0],
        &[TLV_CRC32C, 0, 3, 0, 0, 0],
        &[TLV_CRC32C, 0, 5, 0, 0, 0, 0, 0],
        &[TLV_CRC32C, 0, 4, 0, 0, 0, 0, TLV_CRC32C, 0, 4, 0, 0, 0, 0],
    ] {
        let header = binary(COMMAND_PROXY, TCP_OVER_IPV4, &[&IPV4_ENDS, tlvs].concat());
        assert_eq!(read_header(&header), Err(Malformed::Tlv), "{tlvs:x?}");
    }
}

#[test]
fn notices_any_changed_bit_under_a_checksum() {
    let header = binary_with_checksum();
    for bit in FIXED_BYTES * 8..header.len() * 8 {
        let mut changed = header.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let answer = read_header(&changed);
        // A changed type or length of a TLV can hide the checksum or leave the TLVs in disorder.
        let is_tlv_header = [28, 29, 30, 33, 34, 35, 40, 41, 42].contains(&(bit / 8));
        let is_noticed = answer == Err(Malformed::Checksum);
        assert!(is_noticed || is_tlv_header, "bit {bit}: {answer:?}");
    }
}

#[test]
fn computes_the_published_checksums() {
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    // RFC 3720, Appendix B.4: 32 bytes of zeros, of ones, and counting up.
    assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
    assert_eq!(crc32c([0xff; 32].into_iter()), 0x62a8_ab43);
    assert_eq!(crc32c(0..32), 0x46dd_794e);
}

/// Bytes that get past the first checks now and then.
fn near_headers() -> impl Strategy<Value = Vec<u8>> {
    let tail = proptest::collection::vec(any::<u8>(), 0..300);
    let text = proptest::collection::vec(
        proptest::sample::select(b"TCP46UNKNOWN 0123456789.:af\r\n".to_vec()),
        0..120,
    );
    let fixed = (0x1f..0x23_u8, 0..0x34_u8, 0..400_u16);
    prop_oneof![
        tail.clone(),
        text.prop_map(|text| [LINE_START, &text].concat()),
        (fixed, tail).prop_map(|((command, family, length), tail)| {
            [SIGNATURE, &[command, family], &length.to_be_bytes(), &tail].concat()
        }),
        (proptest::sample::select(good_headers()), any::<proptest::sample::Index>(), any::<u8>()).prop_map(
            |((mut header, _), at, byte)| {
                let at = at.index(header.len());
                header[at] = byte;
                header
            }
        ),
    ]
}

/// Two ends of one connection: both IPv4 or both IPv6.
fn both_ends() -> impl Strategy<Value = [SocketAddr; 2]> {
    let ends = |addresses: [IpAddr; 2], ports: [u16; 2]| {
        [SocketAddr::new(addresses[0], ports[0]), SocketAddr::new(addresses[1], ports[1])]
    };
    prop_oneof![
        any::<([Ipv4Addr; 2], [u16; 2])>().prop_map(move |(both, ports)| ends(both.map(IpAddr::V4), ports)),
        any::<([Ipv6Addr; 2], [u16; 2])>().prop_map(move |(both, ports)| ends(both.map(IpAddr::V6), ports)),
    ]
}

proptest! {
    #[test]
    fn never_changes_an_answer_when_bytes_are_added(bytes in near_headers(), more in any::<Vec<u8>>()) {
        let mut settled = None;
        let bytes = [bytes, more].concat();
        for length in 0..=bytes.len() {
            let answer = read_header(&bytes[..length]);
            match &settled {
                Some(before) => prop_assert_eq!(&answer, before),
                None if answer == Ok(None) => prop_assert!(length < NEVER_LATER_THAN),
                None => settled = Some(answer),
            }
        }
        if let Some(Ok(Some((_, length)))) = settled {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn reads_back_what_a_sender_wrote(ends in both_ends()) {
        let [visitor, local] = ends;
        let (family, name, block) = match (visitor.ip(), local.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (TCP_OVER_IPV4, "TCP4", [a.octets(), b.octets()].concat()),
            (IpAddr::V6(a), IpAddr::V6(b)) => (TCP_OVER_IPV6, "TCP6", [a.octets(), b.octets()].concat()),
            _ => return Err(TestCaseError::fail("both ends are of one family")),
        };
        let ports = [visitor.port().to_be_bytes(), local.port().to_be_bytes()].concat();
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let expected = Proxied::From { visitor: canonical(visitor), local: canonical(local) };

        let header = binary(COMMAND_PROXY, family, &[block, ports].concat());
        prop_assert_eq!(read_header(&header), Ok(Some((expected, header.len()))));

        let line = format!(
            "PROXY {name} {} {} {} {}\r\n",
            visitor.ip(), local.ip(), visitor.port(), local.port(),
        );
        prop_assert_eq!(read_header(line.as_bytes()), Ok(Some((expected, line.len()))));
    }
}
