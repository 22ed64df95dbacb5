//! JA4: the fingerprint of a TLS ClientHello sent over TCP or QUIC.
//!
//! It turns the parts of a hello that tell one TLS library from another into a short, comparable string, such
//! as `t13d1516h2_8daaf6152771_e5627efa2ab1`. Only this member of the family is here: it has a BSD licence,
//! its sisters (JA4H, JA4S and others) do not. The module reads no bytes from the wire and judges nobody: a
//! fingerprint is a hint that any visitor can forge.
//!
//! Called by [`crate::hello`], which takes the hello apart; read that next.

use std::fmt::Write;

use aws_lc_rs::digest::{Context, SHA256};

/// Extension type of the server name (RFC 6066 §3).
pub(crate) const SERVER_NAME: u16 = 0x0000;
/// Extension type of the application protocols (RFC 7301 §3.1).
pub(crate) const APPLICATION_PROTOCOLS: u16 = 0x0010;

/// Written in place of a hash when there was nothing to hash, so that an empty list is visible as such.
const NOTHING: &str = "000000000000";

/// What carried a hello: the fingerprint's first letter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Carrier {
    #[default]
    Tcp,
    Quic,
}

/// What of a ClientHello counts for the fingerprint, as found on the wire: GREASE included, in the order
/// sent.
#[derive(Debug, Default)]
pub(crate) struct Traits<'a> {
    pub(crate) carrier: Carrier,
    /// Highest value of `supported_versions` without GREASE; the `legacy_version` when that is absent.
    pub(crate) version: u16,
    /// Cipher suites, duplicates and signalling values included.
    pub(crate) ciphers: Vec<u16>,
    /// Extension types.
    pub(crate) extensions: Vec<u16>,
    /// `signature_algorithms`; empty when that extension is absent.
    pub(crate) signature_algorithms: Vec<u16>,
    /// The first application protocol; `None` when ALPN is absent.
    pub(crate) first_protocol: Option<&'a [u8]>,
}

/// Whether `value` is one of the sixteen that RFC 8701 §2 reserves to keep servers tolerant: `0x0A0A`,
/// `0x1A1A` … `0xFAFA`. They are random, so that they say nothing about who sent them.
pub(crate) fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// Writes the fingerprint: 36 characters of ASCII. The work grows as n log n with the number of values.
pub(crate) fn fingerprint(traits: Traits<'_>) -> Box<str> {
    let Traits { carrier, version, mut ciphers, mut extensions, mut signature_algorithms, first_protocol } =
        traits;
    ciphers.retain(|&value| !is_grease(value));
    extensions.retain(|&value| !is_grease(value));
    signature_algorithms.retain(|&value| !is_grease(value));
    ciphers.sort_unstable();
    extensions.sort_unstable();

    let mut out = String::with_capacity(36);
    out.push(match carrier {
        Carrier::Tcp => 't',
        Carrier::Quic => 'q',
    });
    out.push_str(version_name(version));
    out.push(if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' });
    push_count(&mut out, ciphers.len());
    push_count(&mut out, extensions.len());
    out.extend(protocol_ends(first_protocol));

    out.push('_');
    let mut hash = ListHash::new();
    ciphers.iter().for_each(|&value| hash.add(value));
    hash.finish(&mut out);

    // The server name and the protocols are left out of the hash: the same program keeps its hash whether it
    // goes to a name or an address, and whatever protocols it asks for.
    out.push('_');
    let mut hash = ListHash::new();
    let hashed = |value: &&u16| **value != SERVER_NAME && **value != APPLICATION_PROTOCOLS;
    extensions.iter().filter(hashed).for_each(|&value| hash.add(value));
    hash.begin_second_list();
    signature_algorithms.iter().for_each(|&value| hash.add(value));
    hash.finish(&mut out);
    out.into_boxed_str()
}

/// Two characters for a protocol version; `00` for one that the scheme does not know.
fn version_name(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    }
}

/// Two decimal digits; 99 stands for all above.
fn push_count(out: &mut String, count: usize) {
    write!(out, "{:02}", count.min(99)).expect("writing to a String cannot fail");
}

/// First and last character of the first protocol (`h2` for `h2`, `h1` for `http/1.1`), or of its hexadecimal
/// form when either end is not a letter or digit, or `00` without one. A GREASE protocol is not skipped: the
/// scheme speaks of the first value, and so do its other implementations.
fn protocol_ends(first_protocol: Option<&[u8]>) -> [char; 2] {
    let Some((&first, &last)) = first_protocol.and_then(|name| name.first().zip(name.last())) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [char::from(first), char::from(last)]
    } else {
        [char::from(hex_digit(first >> 4)), char::from(hex_digit(last & 0x0f))]
    }
}

/// The lower-case hexadecimal digit for the low four bits of `value`.
fn hex_digit(value: u8) -> u8 {
    match value & 0x0f {
        digit @ 0..=9 => b'0' + digit,
        letter => b'a' + letter - 10,
    }
}

/// SHA-256 over `aaaa,bbbb` or `aaaa,bbbb_cccc,dddd`, cut to 12 hexadecimal digits, without building the
/// text: a hostile hello can list 32 thousand values.
struct ListHash {
    context: Context,
    separator: &'static [u8],
    is_empty: bool,
}

impl ListHash {
    fn new() -> Self {
        Self { context: Context::new(&SHA256), separator: b"", is_empty: true }
    }

    fn add(&mut self, value: u16) {
        let [high, low] = value.to_be_bytes();
        self.context.update(self.separator);
        self.context.update(&[hex_digit(high >> 4), hex_digit(high), hex_digit(low >> 4), hex_digit(low)]);
        self.separator = b",";
        self.is_empty = false;
    }

    /// What is added from here on belongs to a second list, set apart by `_`; if nothing is, there is no `_`.
    fn begin_second_list(&mut self) {
        self.separator = b"_";
    }

    fn finish(self, out: &mut String) {
        if self.is_empty {
            out.push_str(NOTHING);
            return;
        }
        for &byte in self.context.finish().as_ref().iter().take(6) {
            out.extend([char::from(hex_digit(byte >> 4)), char::from(hex_digit(byte))]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lists of the published example for Chrome, in the order sent, with GREASE as Chrome adds it.
    fn chrome() -> Traits<'static> {
        Traits {
            carrier: Carrier::Tcp,
            version: 0x0304,
            ciphers: vec![
                0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
                0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0xbaba, 0x0015,
            ],
            signature_algorithms: vec![
                0x5a5a, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
            ],
            first_protocol: Some(b"h2"),
        }
    }

    #[test]
    fn agrees_with_the_published_example_for_chrome() {
        assert_eq!(&*fingerprint(chrome()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn agrees_with_the_published_example_without_signature_algorithms() {
        let traits = Traits { signature_algorithms: Vec::new(), ..chrome() };
        assert_eq!(&*fingerprint(traits), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn agrees_with_a_fingerprint_published_by_another_implementation() {
        let traits = Traits {
            carrier: Carrier::Tcp,
            version: 0x0304,
            ciphers: vec![0x1302, 0x1301, 0x1303, 0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f, 0xcca8, 0x00ff],
            extensions: vec![
                0x0000, 0x0005, 0x000a, 0x000b, 0x000d, 0x0010, 0x0017, 0x0023, 0x002b, 0x002d, 0x0033,
            ],
            signature_algorithms: vec![
                0x0503, 0x0403, 0x0807, 0x0806, 0x0805, 0x0804, 0x0601, 0x0501, 0x0401,
            ],
            first_protocol: Some(b"h2"),
        };
        assert_eq!(&*fingerprint(traits), "t13d1011h2_61a7ad8aa9b6_3fcd1a44f3e3");
    }

    #[test]
    fn keeps_its_hashes_when_ciphers_and_extensions_are_shuffled() {
        let mut traits = chrome();
        traits.ciphers.reverse();
        traits.extensions.rotate_left(5);
        assert_eq!(fingerprint(traits), fingerprint(chrome()));
    }

    #[test]
    fn tells_apart_two_orders_of_signature_algorithms() {
        let mut traits = chrome();
        traits.signature_algorithms.reverse();
        assert_ne!(fingerprint(traits), fingerprint(chrome()));
    }

    #[test]
    fn writes_zeros_for_lists_that_are_empty() {
        let empty = Traits { version: 0x0303, ..Traits::default() };
        assert_eq!(&*fingerprint(empty), "t12i000000_000000000000_000000000000");
    }

    #[test]
    fn writes_zeros_for_extensions_that_are_all_left_out_of_the_hash() {
        let traits = Traits { version: 0x0301, extensions: vec![0x0010, 0x0000], ..Traits::default() };
        assert_eq!(&*fingerprint(traits), "t10d000200_000000000000_000000000000");
    }

    #[test]
    fn counts_no_further_than_99() {
        let ciphers = (0x2000..0x2000 + 150).filter(|&value| !is_grease(value)).collect();
        let traits = Traits { version: 0x0304, ciphers, ..Traits::default() };
        assert_eq!(&fingerprint(traits)[..10], "t13i990000");
    }

    #[test]
    fn names_the_ends_of_the_first_protocol() {
        let examples: [(Option<&[u8]>, &str); 11] = [
            (None, "00"),
            (Some(b""), "00"),
            (Some(b"h2"), "h2"),
            (Some(b"http/1.1"), "h1"),
            (Some(b"x"), "xx"),
            (Some(&[0xab]), "ab"),
            (Some(&[0xab, 0xcd]), "ad"),
            (Some(&[0x30, 0xab]), "3b"),
            (Some(&[0x30, 0x31, 0xab, 0xcd]), "3d"),
            (Some(&[0x30, 0xab, 0xcd, 0x31]), "01"),
            (Some(&[0x0a, 0x0a]), "0a"),
        ];
        for (protocol, ends) in examples {
            assert_eq!(protocol_ends(protocol).iter().collect::<String>(), ends, "{protocol:x?}");
        }
    }

    #[test]
    fn knows_exactly_the_sixteen_grease_values() {
        let found: Vec<u16> = (0..=u16::MAX).filter(|&value| is_grease(value)).collect();
        let expected: Vec<u16> = (0..16).map(|high| high * 0x1010 + 0x0a0a).collect();
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn always_has_the_same_shape(
            version: u16,
            ciphers: Vec<u16>,
            extensions: Vec<u16>,
            signature_algorithms: Vec<u16>,
            first_protocol: Option<Vec<u8>>,
        ) {
            let first_protocol = first_protocol.as_deref();
            let text =
                fingerprint(Traits {
                    carrier: Carrier::Tcp,
                    version,
                    ciphers,
                    extensions,
                    signature_algorithms,
                    first_protocol,
                });
            prop_assert_eq!(text.len(), 36);
            let is_expected = |c: char| c.is_ascii_alphanumeric() || c == '_';
            prop_assert!(text.chars().all(is_expected), "{}", text);
            prop_assert_eq!(text.match_indices('_').map(|(at, _)| at).collect::<Vec<_>>(), vec![10, 23]);
        }
    }
}
