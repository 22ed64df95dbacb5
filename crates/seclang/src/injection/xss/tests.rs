//! Tests of the HTML side: cases of our own, libinjection's published ones, and what holds for all values.

use proptest::prelude::*;

use super::super::published;
use super::*;

#[test]
fn scripts_are_found_in_every_context() {
    for value in [
        &b"<script>alert(1)</script>"[..],
        b"<ScRiPt/x>",
        b"<s\0cript>",
        b"<img src=x onerror=alert(1)>",
        b"\" onmouseover=\"x",
        b"' onfocus='x",
        b"` onload=x",
        b"x onclick=y",
        b"<a href=\"javascript:x\">",
        b"<a href=\" jav&#x61;script:x\">",
        b"<a href=&#106&#97;va:x>",
        b"<a href='\x01\xffdata:x'>",
        b"<form action=vbscript:x>",
        b"<svg>",
        b"<xsl:x>",
        b"<x xmlns=y>",
        b"<x style=y>",
        b"<animate attributeName=onload>",
        b"<animate attributeName=href to=javascript:x>",
        b"<!doctype x>",
        b"<!--[if x]>",
        b"<!-- ` -->",
        b"<?import x>",
        b"<!ENTITY x>",
        b"<% ` %>",
        b"><iframe",
        b"</x ><base",
    ] {
        assert!(detect(value), "{}", value.escape_ascii());
    }
}

#[test]
fn harmless_text_is_let_alone() {
    for value in [
        &b""[..],
        b"a < b and c > d",
        b"a=b",
        b"1 <2",
        b"<b>bold</b>",
        b"<a href=\"https://example.org/?a=b\">x</a>",
        b"<p class='x'>it's <br/></p>",
        b"on=1&only=2",
        b"<!-- comment -->",
        b"x = y",
        b"java = coffee",
        b"</",
        b"<",
        b"onerror alert(1)",
    ] {
        assert!(!detect(value), "{}", value.escape_ascii());
    }
}

#[test]
fn published_pieces_are_the_same() {
    let Some(cases) = published::cases("test-html5-") else { return };
    let name = |kind| match kind {
        Kind::Text => "DATA_TEXT",
        Kind::TagName => "TAG_NAME_OPEN",
        Kind::TagEnd => "TAG_NAME_CLOSE",
        Kind::SelfClosing => "TAG_NAME_SELFCLOSE",
        Kind::CloseTag => "TAG_CLOSE",
        Kind::AttributeName => "ATTR_NAME",
        Kind::AttributeValue => "ATTR_VALUE",
        Kind::Comment => "TAG_COMMENT",
        Kind::Doctype => "DOCTYPE",
    };
    let mut wrong = Vec::new();
    for case in &cases {
        let mut html = Html::new(&case.input, Context::Text);
        let lines = std::iter::from_fn(|| html.next()).map(|Piece { kind, text }| {
            format!("{},{},{}", name(kind), text.len(), String::from_utf8_lossy(text))
        });
        let found = lines.collect::<Vec<_>>().join("\n");
        if found.trim_end() != case.expected {
            wrong.push(format!("{}: {found:?}, not {:?}", case.name, case.expected));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn no_bytes_break_it_and_pieces_do_not_overlap(
        value in concat!(
            "(<|>|/|=|\"|'|`|!|--|-|\\?|%|\\[CDATA\\[|\\]\\]>|",
            "a|on|src|script|&#x6a;| |\n|\u{0}|é|doctype){0,20}"
        ),
    ) {
        let value = value.as_bytes();
        let found = detect(value);
        // `[CDATA[` knows case.
        if memchr::memmem::find(value, b"[CDATA[").is_none() {
            prop_assert_eq!(found, detect(&value.to_ascii_lowercase()));
        }
        for context in [Context::Text, Context::Tag, Context::Value(b'\'')] {
            let mut html = Html::new(value, context);
            let pieces: Vec<_> = std::iter::from_fn(|| html.next()).collect();
            let bytes: usize = pieces.iter().map(|piece| piece.text.len()).sum();
            prop_assert!(bytes <= value.len(), "{:?}", pieces);
            prop_assert!(pieces.len() <= value.len() + 1);
        }
    }
}
