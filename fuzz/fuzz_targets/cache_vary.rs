//! Fuzzes Vary and keys: no panic, two requests share a variant only if the fields that are named say the
//! same, and two targets never share a key. Read next: `crates/cache/src/policy/vary.rs`.
#![no_main]

use cache::policy::{Key, KeySettings, Settings, Vary, VaryIndex, VisitorFacts, ask};
use exchange::{Fields, Request};
use libfuzzer_sys::fuzz_target;

fn fields(bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    for line in bytes.split(|byte| *byte == b'\n').take(8) {
        let Some((name, value)) = line.split_first() else { continue };
        fields.push(if name % 2 == 0 { b"Foo" } else { b"Bar" }, value);
    }
    fields
}

/// What a field says, but for white space and commas.
fn said(fields: &Fields, name: &[u8]) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> =
        fields.iter().filter(|field| field.name == name).map(|field| field.value).collect();
    let bare = |byte: &u8| !matches!(byte, b' ' | b'\t' | b',');
    (!values.is_empty()).then(|| values.concat().into_iter().filter(bare).collect())
}

fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let (vary, left, right) = input;
    let mut answer = Fields::new();
    answer.push(b"Vary", vary);
    if let Vary::Rule(rule) = Vary::read(&answer) {
        let mut index = VaryIndex::default();
        index.add(&rule);
        assert_eq!(VaryIndex::from_kept(&index.to_bytes()), index);
    }
    let mut both = Fields::new();
    both.push(b"Vary", b"foo, bar");
    let Vary::Rule(rule) = Vary::read(&both) else { panic!("it is a rule") };
    let (a, b) = (fields(left), fields(right));
    if rule.variant(&a) == rule.variant(&b) && rule.variant(&a).is_some() {
        assert_eq!((said(&a, b"Foo"), said(&a, b"Bar")), (said(&b, b"Foo"), said(&b, b"Bar")));
    }

    let request = |target: &[u8]| {
        let mut request = Request::default();
        request.set_method(b"GET");
        request.set_authority(b"example.org");
        request.set_target(target);
        request.fields.push(b"Cookie", left);
        request.fields.push(b"Range", right);
        let _ = ask(&request, &Settings::default());
        request
    };
    let key = |target| Key::of(&request(target), 1, &KeySettings::default(), &VisitorFacts::default());
    let (a, b) = (key(left), key(right));
    if a.is_some() && a == b {
        let path = |target: &[u8]| {
            if target.first().is_none_or(|byte| *byte == b'?') {
                [b"/", target].concat()
            } else {
                target.to_vec()
            }
        };
        assert_eq!(path(left), path(right));
    }
});
