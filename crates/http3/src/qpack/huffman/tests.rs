//! Tests of the Huffman decoder, with an encoder to feed it.

use super::*;
use proptest::prelude::*;

/// Encodes by the table of the RFC, bit by bit.
fn encode(plain: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for &byte in plain {
        push_code(&mut bits, usize::from(byte));
    }
    pack(&bits)
}

fn push_code(bits: &mut Vec<bool>, symbol: usize) {
    let (code, length) = CODE[symbol];
    bits.extend((0..length).rev().map(|place| code >> place & 1 == 1));
}

/// Packs bits into bytes, the last one filled up with ones.
fn pack(bits: &[bool]) -> Vec<u8> {
    let byte =
        |eight: &[bool]| (0..8).fold(0, |byte, i| byte << 1 | u8::from(*eight.get(i).unwrap_or(&true)));
    bits.chunks(8).map(byte).collect()
}

fn decoded(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decode(encoded, &mut out).map(|written| out[..written].to_vec())
}

/// One bit at a time, by the table alone: slow and plainly right.
fn decoded_slowly(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut code, mut length) = (0u64, 0u8);
    for place in 0..encoded.len() * 8 {
        code = code << 1 | u64::from(encoded[place / 8] >> (7 - place % 8) & 1);
        length += 1;
        if let Some(symbol) = CODE.iter().position(|&(c, l)| l == length && u64::from(c) == code) {
            out.push(u8::try_from(symbol).ok()?);
            (code, length) = (0, 0);
        }
        if length > 30 {
            return None;
        }
    }
    (length < 8 && code == (1 << length) - 1).then_some(out)
}

/// The strings of RFC 7541, Appendix C.4 and C.6.
#[test]
fn decodes_the_examples_of_the_rfc() {
    let examples = [
        ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
        ("a8eb10649cbf", "no-cache"),
        ("25a849e95ba97d7f", "custom-key"),
        ("25a849e95bb8e8b4bf", "custom-value"),
        ("6402", "302"),
        ("aec3771a4b", "private"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ("640eff", "307"),
        ("9bd9ab", "gzip"),
        (
            "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ];
    for (hex, plain) in examples {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(decoded(&bytes).as_deref(), Some(plain.as_bytes()), "{plain}");
        assert_eq!(encode(plain.as_bytes()), bytes, "{plain}");
    }
}

#[test]
fn decodes_every_symbol_alone_and_between_others() {
    for symbol in 0..=255u8 {
        for plain in [vec![symbol], vec![b'a', symbol, b'z'], vec![symbol; 9]] {
            assert_eq!(decoded(&encode(&plain)), Some(plain));
        }
    }
}

#[test]
fn decodes_long_strings_of_the_shortest_and_longest_codes() {
    for symbol in [b'0', b'a', b't', 22, 0xf9] {
        for length in [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007] {
            let plain = vec![symbol; length];
            assert_eq!(decoded(&encode(&plain)), Some(plain));
        }
    }
}

#[test]
fn refuses_the_end_of_string_symbol() {
    let mut bits = Vec::new();
    push_code(&mut bits, usize::from(b'a'));
    push_code(&mut bits, EOS);
    push_code(&mut bits, usize::from(b'a'));
    assert_eq!(decoded(&pack(&bits)), None);
    assert_eq!(decoded(&[0xff; 4]), None);
}

#[test]
fn refuses_padding_of_eight_bits_and_more() {
    assert_eq!(decoded(&[]), Some(vec![]));
    for length in 1..=6 {
        assert_eq!(decoded(&vec![0xff; length]), None, "{length} bytes of padding alone");
    }
    // "www.example.com" ends on a full byte: what follows is padding of eight bits.
    let mut padded = encode(b"no-cache");
    padded.push(0xff);
    assert_eq!(decoded(&padded), None);
}

#[test]
fn refuses_padding_with_a_zero_bit() {
    // 'a' is 00011: three bits are left in its byte.
    assert_eq!(decoded(&[0b0001_1111]), Some(b"a".to_vec()));
    for wrong in [0b0001_1110, 0b0001_1101, 0b0001_1011, 0b0001_1000] {
        assert_eq!(decoded(&[wrong]), None);
    }
}

proptest! {
    #[test]
    fn decodes_what_was_encoded(plain: Vec<u8>) {
        prop_assert_eq!(decoded(&encode(&plain)), Some(plain));
    }

    #[test]
    fn decodes_text_that_was_encoded(plain in "[ -~]{0,200}") {
        prop_assert_eq!(decoded(&encode(plain.as_bytes())), Some(plain.into_bytes()));
    }

    #[test]
    fn agrees_with_the_slow_decoder_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(decoded(&bytes), decoded_slowly(&bytes));
    }

    #[test]
    fn agrees_with_the_slow_one_after_a_flipped_bit(plain in "[ -~]{1,30}", place: proptest::sample::Index) {
        let mut bytes = encode(plain.as_bytes());
        let place = place.index(bytes.len() * 8);
        bytes[place / 8] ^= 1 << (place % 8);
        prop_assert_eq!(decoded(&bytes), decoded_slowly(&bytes));
    }
}
