//! Tests of the ClientHello reader: hellos made by hand, hellos of a real TLS library, every split, damage.

use std::sync::Arc;

use super::*;
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// A hello as the wire has it, field by field, so that a test can break one.
#[derive(Clone)]
struct Sketch {
    legacy_version: u16,
    session_id: Vec<u8>,
    ciphers: Vec<u16>,
    compressions: Vec<u8>,
    /// `None`: no list of extensions at all.
    extensions: Option<Vec<(u16, Vec<u8>)>>,
}

/// A vector of two-byte numbers, without its length.
fn numbers(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn after_length8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn after_length16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn host_name(name: &[u8]) -> Vec<u8> {
    [vec![NAME_HOST], after_length16(name)].concat()
}

fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    (ja4::SERVER_NAME, after_length16(&host_name(name)))
}

fn protocols(names: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = names.iter().flat_map(|name| after_length8(name)).collect();
    (ja4::APPLICATION_PROTOCOLS, after_length16(&list))
}

fn versions(values: &[u16]) -> (u16, Vec<u8>) {
    (SUPPORTED_VERSIONS, after_length8(&numbers(values)))
}

fn signature_algorithms(values: &[u16]) -> (u16, Vec<u8>) {
    (SIGNATURE_ALGORITHMS, after_length16(&numbers(values)))
}

impl Sketch {
    /// Chrome's hello of the published JA4 example; extensions that we do not read carry a few bytes of
    /// nonsense.
    fn chrome() -> Self {
        let other = |kind| (kind, vec![1, 2, 3]);
        Self {
            legacy_version: 0x0303,
            session_id: vec![7; 32],
            ciphers: vec![
                0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            compressions: vec![0],
            extensions: Some(vec![
                (0x2a2a, vec![]),
                other(0x001b),
                server_name(b"example.org"),
                other(0x0033),
                protocols(&[b"h2", b"http/1.1"]),
                other(0x4469),
                other(0x0017),
                other(0x002d),
                signature_algorithms(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]),
                other(0x0005),
                other(0x0023),
                other(0x0012),
                versions(&[0xdada, 0x0304, 0x0303]),
                other(0xff01),
                other(0x000b),
                other(0x000a),
                (0xbaba, vec![0]),
                other(0x0015),
            ]),
        }
    }

    fn with(extensions: &[(u16, Vec<u8>)]) -> Self {
        Self { extensions: Some(extensions.to_vec()), ..Self::chrome() }
    }

    fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([9; 32]);
        body.extend(after_length8(&self.session_id));
        body.extend(after_length16(&numbers(&self.ciphers)));
        body.extend(after_length8(&self.compressions));
        if let Some(extensions) = &self.extensions {
            let list: Vec<u8> = extensions
                .iter()
                .flat_map(|(kind, content)| [kind.to_be_bytes().to_vec(), after_length16(content)].concat())
                .collect();
            body.extend(after_length16(&list));
        }
        message(MESSAGE_CLIENT_HELLO, &body)
    }

    fn record(&self) -> Vec<u8> {
        record(&self.message())
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = kind;
    message.extend(body);
    message
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[CONTENT_HANDSHAKE, 3, 1], after_length16(content).as_slice()].concat()
}

/// Cuts `message` into records of `size` bytes each.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(record).collect()
}

fn read(sketch: &Sketch) -> Result<Hello, NotHello> {
    read_hello(&sketch.record()).map(|hello| hello.expect("the record is whole"))
}

fn read_sni(name: &[u8]) -> Result<Option<String>, NotHello> {
    read(&Sketch::with(&[server_name(name)])).map(|hello| hello.sni.map(String::from))
}

const MALFORMED: Result<Hello, NotHello> = Err(NotHello::Malformed);

/// The first flight of a real client.
fn first_flight(
    host: &'static str,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(host).unwrap()).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    flight
}

#[test]
fn reads_the_hello_of_a_real_client() {
    let flight = first_flight(
        "Shop.Example.ORG",
        &[b"h2", b"http/1.1"],
        &[&rustls::version::TLS13, &rustls::version::TLS12],
    );
    let hello = read_hello(&flight).unwrap().unwrap();
    assert_eq!(hello.sni.as_deref(), Some("shop.example.org"));
    assert!(hello.has_alpn && hello.offers_http2 && hello.offers_http1 && hello.offers_tls13);
    assert!(hello.ja4.starts_with("t13d"), "{}", hello.ja4);
    assert_eq!(&hello.ja4[8..11], "h2_");
}

#[test]
fn reads_the_hello_of_a_real_client_without_tls13_alpn_or_name() {
    let flight = first_flight("192.0.2.1", &[], &[&rustls::version::TLS12]);
    let hello = read_hello(&flight).unwrap().unwrap();
    assert_eq!(hello.sni, None);
    assert!(!hello.has_alpn && !hello.offers_http2 && !hello.offers_http1 && !hello.offers_tls13);
    assert!(hello.ja4.starts_with("t12i"), "{}", hello.ja4);
    assert_eq!(&hello.ja4[8..11], "00_");
}

#[test]
fn gives_two_connections_of_one_client_one_fingerprint() {
    let flight = || first_flight("example.org", &[b"http/1.1"], &[&rustls::version::TLS13]);
    let (one, other) = (flight(), flight());
    assert_ne!(one, other, "keys and random differ");
    let [one, other] = [one, other].map(|flight| read_hello(&flight).unwrap().unwrap());
    assert_eq!(one, other);
    assert!(one.offers_http1 && !one.offers_http2);
}

#[test]
fn asks_for_more_at_every_split_of_a_real_hello() {
    let flight = first_flight("example.org", &[b"h2"], &[&rustls::version::TLS13]);
    for split in 0..flight.len() {
        assert_eq!(read_hello(&flight[..split]), Ok(None), "{split}");
    }
}

#[test]
fn fingerprints_chrome_as_published() {
    let hello = read(&Sketch::chrome()).unwrap();
    assert_eq!(&*hello.ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert_eq!(hello.sni.as_deref(), Some("example.org"));
    assert!(hello.has_alpn && hello.offers_http2 && hello.offers_http1 && hello.offers_tls13);
}

#[test]
fn reads_a_hello_without_any_extensions() {
    let hello = read(&Sketch { extensions: None, ..Sketch::chrome() }).unwrap();
    assert_eq!(&*hello.ja4, "t12i150000_8daaf6152771_000000000000");
    assert!(!hello.has_alpn && !hello.offers_tls13);
    assert_eq!(hello.sni, None);
    assert_eq!(read(&Sketch::with(&[])), Ok(hello));
}

#[test]
fn joins_a_hello_cut_at_every_place_into_two_records() {
    let message = Sketch::chrome().message();
    let whole = read_hello(&record(&message));
    for cut in 1..message.len() {
        let (head, tail) = message.split_at(cut);
        let bytes = [record(head), record(tail)].concat();
        assert_eq!(read_hello(&bytes), whole, "{cut}");
        assert_eq!(read_hello(&bytes[..bytes.len() - 1]), Ok(None), "{cut}");
    }
}

#[test]
fn joins_a_message_header_sent_one_byte_a_record() {
    let message = Sketch::chrome().message();
    let bytes = [records(&message[..6], 1), record(&message[6..])].concat();
    assert_eq!(read_hello(&bytes), read_hello(&record(&message)));
    for split in 0..bytes.len() {
        assert_eq!(read_hello(&bytes[..split]), Ok(None), "{split}");
    }
}

#[test]
fn accepts_twenty_records_and_refuses_twenty_one() {
    let mut sketch = Sketch::chrome();
    sketch.extensions.as_mut().unwrap().push((0x5555, vec![0; 100]));
    while !sketch.message().len().is_multiple_of(20) {
        sketch.extensions.as_mut().unwrap().last_mut().unwrap().1.push(0);
    }
    let message = sketch.message();
    let size = message.len() / 20;
    assert!(read_hello(&records(&message, size)).unwrap().is_some());
    let (head, tail) = message.split_at(1);
    let more = [record(head), records(tail, size)].concat();
    assert_eq!(read_hello(&more), Err(NotHello::TooLarge));
}

#[test]
fn accepts_a_hello_of_64_kib_and_refuses_one_byte_more_at_its_header() {
    let sized = |bytes: usize| {
        let mut sketch = Sketch::chrome();
        let rest = sketch.message().len() + 4;
        sketch.extensions.as_mut().unwrap().push((0x5555, vec![0; bytes - rest]));
        sketch.message()
    };
    let message = sized(HELLO_BYTES_MAX);
    assert_eq!(message.len(), HELLO_BYTES_MAX);
    let bytes = records(&message, RECORD_BYTES_MAX);
    assert!(read_hello(&bytes).unwrap().is_some());

    let one_more = u32::try_from(HELLO_BYTES_MAX - MESSAGE_HEADER_BYTES + 1).unwrap();
    let mut header = one_more.to_be_bytes();
    header[0] = MESSAGE_CLIENT_HELLO;
    assert_eq!(read_hello(&record(&header)), Err(NotHello::TooLarge));
}

#[test]
fn refuses_what_is_not_tls_at_its_first_byte() {
    for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x03\x01", b"\x15\x03\x01\0\x02", b"\0"]
    {
        assert_eq!(read_hello(bytes), Err(NotHello::NotTls), "{}", bytes.escape_ascii());
    }
    assert_eq!(read_hello(b"\x16\x02"), Err(NotHello::NotTls));
    assert_eq!(read_hello(b""), Ok(None));
    assert_eq!(read_hello(b"\x16\x03\x09"), Ok(None));
}

#[test]
fn refuses_records_that_break_the_rules() {
    let message = Sketch::chrome().message();
    let refuses = |bytes: &[u8], why| assert_eq!(read_hello(bytes), Err(NotHello::Malformed), "{why}");
    refuses(&[22, 3, 1, 0, 0], "an empty record");
    refuses(&[22, 3, 1, 0x40, 0x01], "a record longer than 2^14");
    refuses(&record(&message_of_server_hello()), "another message");
    refuses(&record(&[&*message, &[0]].concat()), "a record that goes on after the hello");
    refuses(&[record(&message[..9]), vec![21]].concat(), "an alert in between");
    refuses(&[record(&message[..9]), vec![22, 4]].concat(), "another version in between");
    refuses(&[record(&message[..9]), vec![22, 3, 3, 0, 0]].concat(), "an empty record in between");
}

fn message_of_server_hello() -> Vec<u8> {
    message(2, &[0; 40])
}

#[test]
fn ignores_what_follows_the_hello() {
    let bytes = Sketch::chrome().record();
    let followed = [bytes.as_slice(), b"\x14\x03\x03\0\x01\x01 and more"].concat();
    assert_eq!(read_hello(&followed), read_hello(&bytes));
}

#[test]
fn lowers_and_checks_the_host_name_as_the_tls_library_does() {
    let reads = |name: &[u8], host: &str| assert_eq!(read_sni(name), Ok(Some(host.into())));
    reads(b"example.org", "example.org");
    reads(b"EXAMPLE.Org", "example.org");
    reads(b"xn--bcher-kva.example", "xn--bcher-kva.example");
    reads(b"_dmarc.a-b.example", "_dmarc.a-b.example");
    reads(b"localhost", "localhost");
    reads(b"1.2.3.4.example", "1.2.3.4.example");
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    reads(longest.as_bytes(), &longest);
}

#[test]
fn drops_one_trailing_dot() {
    assert_eq!(read_sni(b"Example.org."), Ok(Some("example.org".into())));
    assert_eq!(read_sni(b"example.org.."), Err(NotHello::Malformed));
}

#[test]
fn takes_an_address_for_no_name_but_marks_it_in_the_fingerprint() {
    for address in [&b"192.0.2.1"[..], b"::1", b"2001:db8::1", b"::ffff:192.0.2.1"] {
        assert_eq!(read_sni(address), Ok(None), "{}", address.escape_ascii());
    }
    let hello = read(&Sketch::with(&[server_name(b"192.0.2.1")])).unwrap();
    assert_eq!(&hello.ja4[3..8], "d1501");
}

#[test]
fn refuses_host_names_that_are_none() {
    let long_label = [b"a".repeat(64).as_slice(), b".example"].concat();
    let long_name = b"a.".repeat(127);
    for name in [
        &b""[..],
        b".",
        b".example.org",
        b"example..org",
        b"example.org\0",
        b"example.org\0.evil.example",
        b"example.org:443",
        b"[::1]",
        b"192.0.2.1:443",
        b"192.0.2",
        b"999.999.999.999",
        b"*.example.org",
        b"-example.org",
        b"example-.org",
        b"exa mple.org",
        b"example.org/",
        b"b\xc3\xbccher.example",
        b"\xff.example",
        &long_label,
        &long_name,
    ] {
        assert_eq!(read_sni(name), Err(NotHello::Malformed), "{}", name.escape_ascii());
    }
}

#[test]
fn refuses_lists_of_server_names_that_break_the_rules() {
    let list = |content: Vec<u8>| read(&Sketch::with(&[(ja4::SERVER_NAME, content)]));
    let one = host_name(b"example.org");
    assert_eq!(list(vec![]), MALFORMED, "no list");
    assert_eq!(list(vec![0, 0]), MALFORMED, "an empty list");
    assert_eq!(list(after_length16(&[one.clone(), one.clone()].concat())), MALFORMED, "two host names");
    assert_eq!(list([after_length16(&one), vec![0]].concat()), MALFORMED, "bytes after the list");
    assert_eq!(list(after_length16(&one[..5])), MALFORMED, "a name that is cut");
}

#[test]
fn stops_at_a_name_of_unknown_type() {
    let names = |names: &[&[u8]]| {
        let list = after_length16(&names.concat());
        read(&Sketch::with(&[(ja4::SERVER_NAME, list)])).map(|hello| hello.sni.map(String::from))
    };
    let host = host_name(b"example.org");
    assert_eq!(names(&[&host, &[9, 0, 1, 7]]), Ok(Some("example.org".into())));
    assert_eq!(names(&[&[9, 0, 1, 7], &host]), Ok(None));
}

#[test]
fn tells_which_protocols_are_offered() {
    let offers = |names: &[&[u8]]| {
        let hello = read(&Sketch::with(&[protocols(names)])).unwrap();
        (hello.has_alpn, hello.offers_http2, hello.offers_http1)
    };
    assert_eq!(offers(&[b"h2"]), (true, true, false));
    assert_eq!(offers(&[b"http/1.1"]), (true, false, true));
    assert_eq!(offers(&[b"http/1.1", b"h2"]), (true, true, true));
    assert_eq!(offers(&[&[0x6a, 0x6a], b"h2"]), (true, true, false));
    assert_eq!(offers(&[b"h3", b"H2", b"http/1.0", b"h"]), (true, false, false));
}

#[test]
fn refuses_lists_that_break_the_rules() {
    for (kind, content, why) in [
        (ja4::APPLICATION_PROTOCOLS, vec![0, 0], "no protocols"),
        (ja4::APPLICATION_PROTOCOLS, vec![0, 1, 0], "an empty protocol"),
        (ja4::APPLICATION_PROTOCOLS, vec![0, 3, 2, b'h'], "a protocol that is cut"),
        (ja4::APPLICATION_PROTOCOLS, vec![0, 3, 2, b'h', b'2', 0], "bytes after the protocols"),
        (ja4::APPLICATION_PROTOCOLS, vec![0, 2, 2, b'h', b'2'], "a list shorter than its protocol"),
        (SUPPORTED_VERSIONS, vec![], "no list of versions"),
        (SUPPORTED_VERSIONS, vec![0], "no versions"),
        (SUPPORTED_VERSIONS, vec![3, 3, 4, 3], "half a version"),
        (SUPPORTED_VERSIONS, vec![2, 3, 4, 3], "bytes after the versions"),
        (SIGNATURE_ALGORITHMS, vec![0, 0], "no signature algorithms"),
        (SIGNATURE_ALGORITHMS, vec![0, 3, 4, 3, 4], "half a signature algorithm"),
    ] {
        assert_eq!(read(&Sketch::with(&[(kind, content)])), MALFORMED, "{why}");
    }
    let chrome = Sketch::chrome();
    assert_eq!(read(&Sketch { session_id: vec![0; 33], ..chrome.clone() }), MALFORMED, "a long session id");
    assert_eq!(read(&Sketch { ciphers: vec![], ..chrome.clone() }), MALFORMED, "no ciphers");
    assert_eq!(read(&Sketch { compressions: vec![], ..chrome }), MALFORMED, "no compression method");
}

#[test]
fn tells_who_wants_chacha20_most() {
    let wants = |ciphers: &[u16]| {
        read(&Sketch { ciphers: ciphers.to_vec(), ..Sketch::chrome() }).unwrap().prefers_chacha20
    };
    assert!(wants(&[0x1303, 0x1301]));
    assert!(wants(&[0x8a8a, 0xcca9, 0xc02b]), "GREASE says nothing");
    assert!(!wants(&[0x1301, 0x1303]));
    assert!(!wants(&[0x8a8a]));
}

#[test]
fn refuses_two_extensions_of_one_type() {
    for kind in [0x0017, 0x2a2a] {
        assert_eq!(read(&Sketch::with(&[(kind, vec![]), (0x0005, vec![]), (kind, vec![1])])), MALFORMED);
    }
    let twice = [server_name(b"a.example"), server_name(b"b.example")];
    assert_eq!(read(&Sketch::with(&twice)), MALFORMED);
}

#[test]
fn refuses_a_body_cut_anywhere_and_bytes_after_its_end() {
    let chrome = Sketch::chrome().message();
    let body = &chrome[MESSAGE_HEADER_BYTES..];
    let without_extensions =
        Sketch { extensions: None, ..Sketch::chrome() }.message().len() - MESSAGE_HEADER_BYTES;
    for cut in (0..body.len()).filter(|&cut| cut != without_extensions) {
        let bytes = record(&message(MESSAGE_CLIENT_HELLO, &body[..cut]));
        assert_eq!(read_hello(&bytes), Err(NotHello::Malformed), "{cut}");
    }
    let longer = message(MESSAGE_CLIENT_HELLO, &[body, &[0]].concat());
    assert_eq!(read_hello(&record(&longer)), Err(NotHello::Malformed));
}

#[test]
fn takes_the_highest_version_that_is_not_grease() {
    let version = |values: &[u16]| read(&Sketch::with(&[versions(values)])).unwrap().ja4[1..3].to_owned();
    assert_eq!(version(&[0xfafa, 0x0302, 0x0303]), "12");
    assert_eq!(version(&[0x0303, 0x0304]), "13");
    assert_eq!(version(&[0x7f1c, 0x0304]), "00");
    assert_eq!(version(&[0xfafa]), "00");
    assert!(!read(&Sketch::with(&[versions(&[0x0303])])).unwrap().offers_tls13);
    let old = Sketch { legacy_version: 0x0301, extensions: None, ..Sketch::chrome() };
    assert_eq!(&read(&old).unwrap().ja4[1..3], "10");
}

/// Hellos with a few bytes changed, cut into records of odd sizes; and bytes of any kind.
fn near_hellos() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    let damaged = (changes, 20..600_usize, any::<bool>()).prop_map(|(changes, size, is_cut_first)| {
        let mut bytes = Sketch::chrome().message();
        if is_cut_first {
            bytes = records(&bytes, size);
        }
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut_first { bytes } else { records(&bytes, size) }
    });
    let anything = any::<Vec<u8>>();
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    let with_body = body.prop_map(|body| record(&message(MESSAGE_CLIENT_HELLO, &body)));
    prop_oneof![4 => damaged, 1 => anything, 1 => with_body]
}

proptest! {
    #[test]
    fn never_changes_an_answer_when_bytes_are_added(bytes in near_hellos(), more: Vec<u8>) {
        let bytes = [bytes, more].concat();
        let mut settled = None;
        for length in 0..=bytes.len() {
            let answer = read_hello(&bytes[..length]);
            match &settled {
                Some(before) => prop_assert_eq!(&answer, before),
                None if answer == Ok(None) => {}
                None => settled = Some(answer),
            }
        }
        if let Some(Ok(Some(Hello { sni: Some(host), .. }))) = settled {
            let is_expected = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
            prop_assert!(host.len() <= 253 && host.bytes().all(is_expected), "{}", host);
        }
    }

    #[test]
    fn has_answered_by_the_time_the_buffer_is_full(
        sizes in proptest::collection::vec(1..=RECORD_BYTES_MAX, 21),
    ) {
        let mut content = message(MESSAGE_CLIENT_HELLO, &[]);
        content[1..4].copy_from_slice(&[0, 0xff, 0xfc]);
        content.resize(21 * RECORD_BYTES_MAX, 0);
        let mut rest = content.as_slice();
        let mut bytes = Vec::new();
        for size in sizes {
            let (piece, after) = rest.split_at(size);
            bytes.extend(record(piece));
            rest = after;
        }
        bytes.resize(bytes.len().max(HELLO_BUFFER_BYTES_MAX), CONTENT_HANDSHAKE);
        prop_assert!(read_hello(&bytes[..HELLO_BUFFER_BYTES_MAX]).is_err());
    }

    /// The library that reads the bytes after us must not see another name than we did.
    #[test]
    fn sees_the_name_that_the_tls_library_sees(
        name in "[aA0x9.:_\\-\\[]{1,12}|[0-9]{1,3}(\\.[0-9]{1,3}){2,4}\\.?",
    ) {
        let mut acceptor = rustls::server::Acceptor::default();
        let sketch = Sketch::with(&[
            server_name(name.as_bytes()),
            versions(&[0x0304]),
            signature_algorithms(&[0x0403]),
            (0x000a, vec![0, 2, 0, 0x1d]),
            (0x0033, [vec![0, 36, 0, 0x1d], after_length16(&[9; 32])].concat()),
        ]);
        acceptor.read_tls(&mut sketch.record().as_slice()).unwrap();
        let theirs = match acceptor.accept() {
            Ok(accepted) => {
                let accepted = accepted.expect("the record is whole");
                let host = accepted.client_hello().server_name().map(str::to_owned);
                Ok(host.map(|host| host.strip_suffix('.').map_or(host.clone(), str::to_owned)))
            }
            Err(_) => Err(NotHello::Malformed),
        };
        prop_assert_eq!(read_sni(name.as_bytes()), theirs);
    }
}

#[test]
fn over_quic_a_hello_is_gathered_at_every_split_and_has_its_own_letter() {
    let message = Sketch::chrome().message();
    for split in 0..message.len() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.add(&message[..split]), Ok(None), "{split}");
        let body = gathering.add(&message[split..]).unwrap().unwrap();
        assert_eq!(quic_fingerprint(&body).as_deref(), Some("q13d1516h2_8daaf6152771_e5627efa2ab1"));
    }
    let followed = [message.as_slice(), b"and more"].concat();
    assert_eq!(Gathering::default().add(&followed).unwrap().unwrap(), message[MESSAGE_HEADER_BYTES..]);
}

#[test]
fn over_quic_no_more_than_a_hello_is_kept() {
    let mut other = Sketch::chrome().message();
    other[0] = 2;
    assert_eq!(Gathering::default().add(&other), Err(NotHello::Malformed));
    assert_eq!(Gathering::default().add(&[1, 0xff, 0xff, 0xff]), Err(NotHello::TooLarge));
    let mut gathering = Gathering::default();
    assert_eq!(gathering.add(&[1, 0, 0xff, 0]), Ok(None));
    assert_eq!(gathering.add(&vec![0; 10 * HELLO_BYTES_MAX]).unwrap().unwrap().len(), 0xff00);
    assert!(gathering.0.len() <= HELLO_BYTES_MAX);
    assert_eq!(quic_fingerprint(&[0; 0xff00]), None, "nonsense of the right length");
}
