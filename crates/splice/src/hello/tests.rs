//! Hellos of rustls and hand-made ones, whole, cut in every way, and broken.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

const RECORD: [u8; 3] = [CONTENT_HANDSHAKE, 3, 1];

/// What rustls sends first, in records of at most `fragment` bytes.
fn rustls_hello(name: &str, fragment: Option<usize>) -> Vec<u8> {
    let mut config =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.max_fragment_size = fragment;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut visitor = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while visitor.wants_write() {
        visitor.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// The handshake message in records of one whole hello.
fn message(hello: &[u8]) -> Vec<u8> {
    gather_message(hello).unwrap().unwrap()
}

/// Puts a message into records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&RECORD[..], &(piece.len() as u16).to_be_bytes(), piece].concat();
    message.chunks(size).flat_map(record).collect()
}

fn sized16(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], content].concat()
}

/// A hello with these extensions and nothing of interest otherwise.
fn hello_with(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let one = |(kind, content): &(u16, &[u8])| [&kind.to_be_bytes()[..], &sized16(content)].concat();
    let list: Vec<u8> = extensions.iter().flat_map(one).collect();
    let body = [&[3, 3][..], &[9; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &sized16(&list)].concat();
    let length = (body.len() as u32).to_be_bytes();
    records(&[&[MESSAGE_CLIENT_HELLO], &length[1..], &body].concat(), 1 << 14)
}

fn server_name(names: &[(u8, &[u8])]) -> Vec<u8> {
    let one = |(kind, name): &(u8, &[u8])| [&[*kind][..], &sized16(name)].concat();
    sized16(&names.iter().flat_map(one).collect::<Vec<u8>>())
}

fn name_of(hello: &[u8]) -> Result<Option<Box<str>>, NotHello> {
    read_hello(hello).map(|hello| hello.expect("it is whole").name)
}

/// Every shorter part asks for more, or already knows the answer; the whole has it.
fn holds_at_every_split(bytes: &[u8], answer: &Result<Option<Hello>, NotHello>) {
    for end in 0..bytes.len() {
        let early = read_hello(&bytes[..end]);
        assert!(early == Ok(None) || early == *answer, "{early:?} after {end} bytes, then {answer:?}");
    }
    assert_eq!(read_hello(bytes), *answer);
}

#[test]
fn a_hello_of_rustls_is_read_at_every_split() {
    for (asked, name) in [("www.Example.org", Some("www.example.org")), ("192.0.2.1", None)] {
        let answer = Ok(Some(Hello { name: name.map(Box::from) }));
        holds_at_every_split(&rustls_hello(asked, None), &answer);
        holds_at_every_split(&rustls_hello(asked, Some(64)), &answer);
    }
}

#[test]
fn a_hello_is_read_in_records_of_every_size() {
    let message = message(&rustls_hello("example.org", None));
    let answer = Ok(Some(Hello { name: Some("example.org".into()) }));
    for size in 1..=message.len() {
        let bytes = records(&message, size);
        if message.len().div_ceil(size) <= RECORDS_MAX {
            assert_eq!(read_hello(&bytes), answer, "in records of {size}");
        } else {
            assert_eq!(read_hello(&bytes), Err(NotHello::TooLarge), "in records of {size}");
        }
    }
}

#[test]
fn what_follows_the_hello_is_not_looked_at() {
    let hello = rustls_hello("example.org", None);
    assert_eq!(read_hello(&[&hello[..], &[0xFF; 400]].concat()), read_hello(&hello));
    let mut message = message(&hello);
    message.extend([0xFF; 100]);
    assert_eq!(read_hello(&records(&message, 1 << 14)), read_hello(&hello));
}

#[test]
fn what_is_not_tls_is_known_by_its_first_byte() {
    for bytes in [&b"G"[..], b"\x00", b"\x80", b"\x15\x03", b"\x16\x02"] {
        assert_eq!(read_hello(bytes), Err(NotHello::NotTls), "{bytes:?}");
    }
    assert_eq!(read_hello(b""), Ok(None));
    assert_eq!(read_hello(b"\x16"), Ok(None));
}

#[test]
fn a_broken_hello_is_malformed_at_every_split() {
    let name = server_name(&[(0, b"example.org")]);
    let host = |name: &[u8]| hello_with(&[(0, &server_name(&[(0, name)]))]);
    let mut trailing = name.clone();
    trailing.push(0);
    let long = [&b"a"[..]; 300].concat();
    for (what, bytes) in [
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("an overlong record", vec![22, 3, 1, 0x40, 1]),
        ("another message", vec![22, 3, 1, 0, 4, 2, 0, 0, 0]),
        ("another record inside", vec![22, 3, 1, 0, 1, 1, 23]),
        ("two extensions of names", hello_with(&[(0, &name), (0, &name)])),
        ("two names", hello_with(&[(0, &server_name(&[(0, b"a"), (0, b"b")]))])),
        ("an empty list", hello_with(&[(0, &[0, 0])])),
        ("no list", hello_with(&[(0, &[])])),
        ("bytes behind the list", hello_with(&[(0, &trailing)])),
        ("an empty name", host(b"")),
        ("a dot", host(b".")),
        ("an empty label", host(b"a..b")),
        ("a zero byte", host(b"a\0b")),
        ("a port", host(b"a:443")),
        ("a long label", host(&long[..64])),
        ("a long name", host(&long)),
        ("no UTF-8", host(b"\xff.org")),
    ] {
        assert_eq!(read_hello(&bytes), Err(NotHello::Malformed), "{what}");
        holds_at_every_split(&bytes, &Err(NotHello::Malformed));
    }
}

#[test]
fn hellos_that_name_no_host_are_read() {
    assert_eq!(name_of(&hello_with(&[])), Ok(None));
    assert_eq!(name_of(&hello_with(&[(16, b"\0\x03\x02h2")])), Ok(None));
    assert_eq!(name_of(&hello_with(&[(0, &server_name(&[(0, b"192.0.2.1")]))])), Ok(None));
    assert_eq!(name_of(&hello_with(&[(0, &server_name(&[(0, b"2001:db8::1")]))])), Ok(None));
    assert_eq!(name_of(&hello_with(&[(0, &server_name(&[(7, b"a")]))])), Ok(None));
    // Without a list of extensions at all (RFC 5246 §7.4.1.2).
    let body = [&[3, 3][..], &[9; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    let old = [&[MESSAGE_CLIENT_HELLO, 0, 0, body.len() as u8][..], &body].concat();
    assert_eq!(name_of(&records(&old, 1 << 14)), Ok(None));
}

#[test]
fn names_are_lower_case_and_without_the_last_dot() {
    let named = |name: &[u8]| name_of(&hello_with(&[(0, &server_name(&[(0, name)]))]));
    assert_eq!(named(b"WWW.Example_1.ORG."), Ok(Some("www.example_1.org".into())));
    assert_eq!(named(b"a"), Ok(Some("a".into())));
}

#[test]
fn the_limit_is_kept_whatever_was_announced() {
    assert_eq!(read_hello(&[22, 3, 1, 0x40, 0, 1, 0, 0x40, 0]), Err(NotHello::TooLarge));
    let fits = hello_with(&[(21, &[0; 16_000])]);
    assert!(fits.len() < HELLO_BYTES_MAX);
    assert_eq!(name_of(&fits), Ok(None));
    // One that fits by its own length, and not with its record headers.
    let message = message(&fits);
    let grown = hello_with(&[(21, &vec![0; 16_000 + HELLO_BYTES_MAX - message.len()])]);
    assert_eq!(read_hello(&grown), Err(NotHello::TooLarge));
    assert_eq!(read_hello(&grown[..HELLO_BYTES_MAX - 1]), Ok(None));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = read_hello(&bytes);
    }

    #[test]
    fn random_messages_never_panic_and_do_not_change_their_answer(
        message in prop::collection::vec(any::<u8>(), 0..200),
        size in 1_usize..64,
    ) {
        let length = (message.len() as u32).to_be_bytes();
        let bytes = records(&[&[MESSAGE_CLIENT_HELLO], &length[1..], &message].concat(), size);
        holds_at_every_split(&bytes, &read_hello(&bytes));
    }

    #[test]
    fn a_changed_hello_names_clean_hosts_only(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        size in 16_usize..2000,
    ) {
        let mut bytes = records(&message(&rustls_hello("example.org", None)), size);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let answer = read_hello(&bytes);
        if let Ok(Some(Hello { name: Some(name) })) = &answer {
            prop_assert!(is_name(name.as_bytes()) && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
        for end in 0..bytes.len() {
            let early = read_hello(&bytes[..end]);
            prop_assert!(early == Ok(None) || early == answer);
        }
    }
}
