//! Tests of the transformations: known values, and what holds for every value.

use proptest::prelude::*;

use super::*;

fn apply(one: Transformation, input: &[u8]) -> Vec<u8> {
    let mut out = b"left over".to_vec();
    let differs = one.apply(input, &mut out);
    assert_eq!(differs, out != input, "{one:?}");
    out
}

fn check(one: Transformation, cases: &[(&[u8], &[u8])]) {
    for (input, expected) in cases {
        let out = apply(one, input);
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "{one:?} of {}",
            input.escape_ascii()
        );
    }
}

#[test]
fn names_are_found_in_any_case_and_nothing_else_is() {
    assert_eq!(T::from_name(b"URLDECODEUNI"), Some(T::UrlDecodeUni));
    assert_eq!(T::from_name(b"normalisepathwin"), Some(T::NormalizePathWin));
    assert_eq!(T::from_name(b"normalizePath"), Some(T::NormalizePath));
    assert_eq!(T::from_name(b"urlDecodeUni "), None);
    assert_eq!(T::from_name(b""), None);
    assert_eq!(T::all().count(), 36);
    for one in T::all() {
        assert_eq!(T::from_name(one.name().as_bytes()), Some(one));
    }
}

/// Bytes that mean something to one transformation or another, thick enough to meet.
fn spicy() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => proptest::sample::select(b"%uU+\\xX0123fF&#;/.*-<>! \"'^(,=".to_vec()),
        1 => proptest::sample::select(b"\0\t\n\x0b\x0c\r".to_vec()),
        1 => proptest::sample::select(b"\xa0\xc2\x80\xbf\xe0\xed\xf0\xf4\xf5\xf7\xf8\xff".to_vec()),
        2 => proptest::sample::select(b"aAbBzZ789ltgtampquotnbsp".to_vec()),
        1 => any::<u8>(),
    ];
    proptest::collection::vec(byte, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_value_without_a_trigger_stays_and_no_result_is_too_long(input in spicy()) {
        let present = ByteSet::present(&input);
        for one in T::all() {
            let out = apply(one, &input);
            let max = one.output_bytes_max(input.len());
            prop_assert!(out.len() <= max, "{one:?}: {} bytes", out.len());
            prop_assert!(out == input || one.triggers().meets(&present), "{one:?} has another trigger");
        }
    }

    #[test]
    fn encoding_and_decoding_meet(input in proptest::collection::vec(1_u8.., 0..60)) {
        prop_assert_eq!(&apply(T::Base64Decode, &apply(T::Base64Encode, &input)), &input);
        prop_assert_eq!(&apply(T::Base64DecodeExt, &apply(T::Base64Encode, &input)), &input);
        prop_assert_eq!(&apply(T::HexDecode, &apply(T::HexEncode, &input)), &input);
        prop_assert_eq!(&apply(T::UrlDecode, &apply(T::UrlEncode, &input)), &input);
    }

    #[test]
    fn a_path_of_plain_segments_stays(path in "(/[a-z]{1,3}){1,4}/?") {
        prop_assert_eq!(apply(T::NormalizePath, path.as_bytes()), path.as_bytes());
    }
}

#[test]
fn urls_are_decoded_and_broken_escapes_stay() {
    check(
        T::UrlDecode,
        &[
            (b"a+b%20c%2b%2B", b"a b c++"),
            (b"%", b"%"),
            (b"%4", b"%4"),
            (b"%4g%41", b"%4gA"),
            (b"%%41", b"%A"),
            (b"%u0041", b"%u0041"),
            (b"%00%ff", b"\0\xff"),
        ],
    );
    check(
        T::UrlDecodeUni,
        &[
            (b"%u0041+%U0142", b"A B"),
            (b"%uff1c%uFF1e%uFf5e%uff5f", b"<>~\x5f"),
            (b"%uff00%ufe41", b"\0A"),
            (b"%u004", b"%u004"),
            (b"%u004g%41", b"%u004gA"),
            (b"%u%41", b"%uA"),
            (b"%", b"%"),
        ],
    );
}

#[test]
fn escapes_of_scripts_and_styles_are_decoded() {
    check(
        T::JsDecode,
        &[
            (b"\\u0061\\x62\\143\\n\\q\\'", b"abc\nq'"),
            (b"\\uff1cx\\uFF5e", b"<x~"),
            (b"\\u006\\x6g\\8", b"u006x6g8"),
            (b"\\400\\377\\18", b"\x200\xff\x018"),
            (b"\\7\\77\\777x", b"\x07\x3f\x3f7x"),
            (b"end\\", b"end\\"),
        ],
    );
    check(
        T::EscapeSeqDecode,
        &[
            (b"\\a\\b\\f\\n\\r\\t\\v\\\\\\?\\'\\\"", b"\x07\x08\x0c\n\r\t\x0b\\?'\""),
            (b"\\x41\\X42\\x4g", b"ABx4g"),
            (b"\\101\\777\\8\\u0041", b"A\xff8u0041"),
            (b"end\\", b"end\\"),
        ],
    );
    check(
        T::CssDecode,
        &[
            (b"a\\a\\ zz", b"a\n zz"),
            (b"\\41 b\\000041 c\\0041\tc", b"AbAcAc"),
            (b"\\41  b", b"A b"),
            (b"\\ff1c\\00ff1c\\0ff1c\\1ff1c", b"<<<\x1c"),
            (b"j\\av\\\nascript", b"j\x0avascript"),
            (b"end\\", b"end"),
            (b"\\110041", b"A"),
        ],
    );
}

#[test]
fn entities_are_decoded_to_one_byte() {
    check(
        T::HtmlEntityDecode,
        &[
            (b"&lt;b&gt;&quot;&amp;&nbsp;", b"<b>\"&\xa0"),
            (b"&LTx;y&quotient", b"<y\""),
            (b"&foo;&amp", b"&foo;&"),
            (b"&#65;&#65&#x41;&#X41g", b"AAAAg"),
            (b"&#;&#x;&#xg&", b"&#;&#x;&#xg&"),
            (b"&", b"&"),
        ],
    );
}

#[test]
fn paths_are_folded_as_rules_expect() {
    check(
        T::NormalizePath,
        &[
            (b"", b""),
            (b"/foo/bar/baz", b"/foo/bar/baz"),
            (b"//foo//bar/", b"/foo/bar/"),
            (b"/foo/./bar/../baz", b"/foo/baz"),
            (b"/../../etc/passwd", b"/etc/passwd"),
            (b"../../etc/passwd", b"../../etc/passwd"),
            (b"dir/../../foo", b"../foo"),
            (b"./x", b"x"),
            (b".", b""),
            (b"..", b".."),
            (b"/..", b""),
            (b"/a/..", b""),
            (b"/a/b/..", b"/a"),
            (b"/a/.", b"/a"),
        ],
    );
    check(
        T::NormalizePathWin,
        &[(b"\\a\\..\\b\\\\c", b"/b/c"), (b"/a/\\\\b", b"/a\\b"), (b"a\\.\\b", b"a/b")],
    );
}

#[test]
fn comments_and_spaces_go() {
    check(
        T::ReplaceComments,
        &[(b"a/**/b/* x", b"a b "), (b"/*/x", b" "), (b"/*/*/x", b" x"), (b"a*/b", b"a*/b"), (b"/", b"/")],
    );
    check(
        T::RemoveComments,
        &[
            (b"a/*x*/b", b"ab"),
            (b"a<!--x-->b", b"ab"),
            (b"a/*x-->b", b"ab"),
            (b"a/**/", b"a\0"),
            (b"a/**//**/b", b"a/**/b"),
            (b"a/*x", b"a "),
            (b"a -- b", b"a "),
            (b"a#b", b"a"),
        ],
    );
    check(T::RemoveCommentsChar, &[(b"a/*b*/c<!--d-->e--f#g", b"abcdefg"), (b"-", b"-"), (b"<!-", b"<!-")]);
    check(T::CompressWhitespace, &[(b" a\t\n b\x0b\xa0 ", b" a b \xa0 ")]);
    check(T::RemoveWhitespace, &[(b" a\xc2\xa0\tb\r\n", b"ab")]);
    check(T::CmdLine, &[(b"C^OMMAND /c \"a,;b\" (x", b"command/c a b(x"), (b"\\", b"")]);
    check(T::Trim, &[(b" \ta b\n\0", b"a b\n\0"), (b"  ", b"")]);
    check(T::TrimLeft, &[(b" a ", b"a ")]);
    check(T::TrimRight, &[(b" a ", b" a")]);
    check(T::RemoveNulls, &[(b"a\0b\0", b"ab")]);
    check(T::ReplaceNulls, &[(b"a\0b\0", b"a b ")]);
}

#[test]
fn digits_are_made_and_read() {
    check(T::HexEncode, &[(b"\0\xff\x7fa", b"00ff7f61")]);
    check(T::HexDecode, &[(b"616", b"a"), (b"zz", b"\x53"), (b"6", b""), (b"Aa", b"\xaa")]);
    check(T::SqlHexDecode, &[(b"x=0x414243g 0X4", b"x=ABCg 0X4"), (b"00x41", b"0A"), (b"0x414", b"A4")]);
    check(T::UrlEncode, &[(b"a b*\xff-", b"a+b*%ff%2d")]);
    check(T::Base64Encode, &[(b"", b""), (b"a", b"YQ=="), (b"ab", b"YWI="), (b"abc\0", b"YWJjAA==")]);
    check(
        T::Base64Decode,
        &[
            (b"YWJj", b"abc"),
            (b"YWI=", b"ab"),
            (b"YQ==", b"a"),
            (b"YW\r\nJj  \n", b"abc"),
            (b"YWJjZ", b"YWJjZ"),
            (b"YW Jj", b"YW Jj"),
            (b"YW=j", b"YW=j"),
            (b"YWJjYQ==YWJj", b"YWJjYQ==YWJj"),
            (b"YWJj!", b"YWJj!"),
            (b"YWJj\0!", b"abc"),
            (b"Y\0WJj", b"Y\0WJj"),
            (b"====", b"===="),
            (b" \n", b""),
        ],
    );
    check(
        T::Base64DecodeExt,
        &[
            (b"Y.W-J_j", b"abc"),
            (b"YWI", b"ab"),
            (b"Y=", b""),
            (b"YWJj9", b""),
            (b"YWJjY", b"abc"),
            (b"YQ", b"a"),
        ],
    );
    check(T::Length, &[(b"", b"0"), (b"abcdefghijk", b"11")]);
    check(T::Md5, &[(b"", b"\xd4\x1d\x8c\xd9\x8f\0\xb2\x04\xe9\x80\t\x98\xec\xf8B~")]);
    check(T::Sha1, &[(b"", b"\xda9\xa3\xee^kK\r2U\xbf\xef\x95`\x18\x90\xaf\xd8\x07\t")]);
}

#[test]
fn parity_counts_all_eight_bits() {
    check(T::ParityEven7bit, &[(b"\x01\x03\x81\x80", b"\x81\x03\x01\x80")]);
    check(T::ParityOdd7bit, &[(b"\x01\x03\x81\x80", b"\x01\x83\x81\0")]);
    check(T::ParityZero7bit, &[(b"\x01\x81\xff", b"\x01\x01\x7f")]);
}

#[test]
fn sequences_of_utf_8_become_numbers() {
    check(
        T::Utf8ToUnicode,
        &[
            ("aé€😀".as_bytes(), b"a%u00e9%u20ac%u1f600"),
            (b"\xc0\xaf", b"%u002f\xc0"),
            (b"\xe0\x80\xaf", b"%u002f\xe0"),
            (b"\xed\xa0\x80", b"%ud800\xed"),
            (b"\xf5\x80\x80\x80", b"\xf5%u140000"),
            (b"a\xc3", b"a"),
            (b"\xe2\x82a", b"\x82a"),
            (b"\x80\xff", b"\x80\xff"),
            (b"a\0b\0", b"ab\0"),
        ],
    );
}
