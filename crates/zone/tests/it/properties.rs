//! Properties: whatever the bytes, nothing panics and every problem has a place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zone::{Bundle, Hostname, Source};

use crate::no_keys;

fn compiles_without_panic(spec: Vec<u8>, node: Vec<u8>) {
    let node = Source { name: "n".to_owned(), bytes: node };
    let spec = Source { name: "z".to_owned(), bytes: spec };
    let defaults = zone::defaults_of(&node);
    let _ = zone::compile_node(&node);
    let _ = zone::files_named(std::slice::from_ref(&spec), defaults.as_ref());
    let lines = spec.bytes.split(|byte| *byte == b'\n').count();
    let bundle = Bundle::new(vec![spec], defaults, BTreeMap::new());
    if let Err(problems) = zone::compile(&bundle, 1, &no_keys) {
        assert!(problems.iter().any(zone::Problem::is_error));
        for problem in problems.iter().filter(|problem| problem.file == "z") {
            assert!(problem.line >= 1 && problem.line <= lines && problem.column >= 1, "{problem}");
        }
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// A bundle's header before any body, as somebody would write it who knows the layout.
fn sealed(body: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let length = (body.len() as u64).to_be_bytes();
    let head = [b"REMPARTB".as_slice(), &zone::bundle::SCHEMA.to_be_bytes(), &length].concat();
    let mut hash = Sha256::new();
    hash.update(&head);
    hash.update(body);
    [head.as_slice(), &hash.finalize(), body].concat()
}

/// Words that make TOML of the right vocabulary likely.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "name",
        "hostnames",
        "[tls]",
        "[[pool]]",
        "[[route]]",
        "[[error_page]]",
        "[http]",
        "[zone_defaults]",
        "[zone_defaults.tls]",
        "zone_defaults",
        "origins",
        "url",
        "health",
        "[[listener]]",
        "address",
        "=",
        "=",
        "=",
        "{",
        "}",
        "[",
        "]",
        "\"*\"",
        "\"http://h\"",
        "\"unix:/\"",
        "5",
        "-1",
        "1.5",
        "true",
        ",",
        ".",
        "\n",
        "\n",
        "\n",
        "\"\"\"",
        "'",
        "é",
        "\u{0}",
        "\r",
        "path",
        "pool",
        "\"$path\"",
        "redirect",
        "location",
        "certificate",
        "\"../x\"",
        "1979-05-27",
        "0xFFFFFFFFFFFFFFFFFF",
        "hash_key",
        "expected",
        "\"2xx\"",
    ]);
    prop::collection::vec(word, 0..80).prop_map(|words| words.join(" ").into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(spec in prop::collection::vec(any::<u8>(), 0..300),
                                   node in prop::collection::vec(any::<u8>(), 0..300)) {
        compiles_without_panic(spec, node);
    }

    #[test]
    fn likely_words_never_panic(spec in words(), node in words()) {
        compiles_without_panic(spec, node);
    }

    #[test]
    fn a_damaged_zone_never_panics(at in 0_usize..400, byte in any::<u8>(), cut in any::<bool>()) {
        let rest = "[http]\nheader_ms = 5\n[[route]]\npool = \"app\"";
        let mut text = crate::zone_text("zoé", "[\"a.example\"]", rest)
            .into_bytes();
        let at = at % text.len();
        if cut { text.truncate(at) } else { text[at] = byte }
        compiles_without_panic(text, Vec::new());
    }

    #[test]
    fn bundles_of_arbitrary_bytes_never_panic(bytes in bytes(300), claim in any::<u32>()) {
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
        let mut bytes = [b"REMPARTB\0\0\0\x01".as_slice(), &bytes].concat();
        if let Some(count) = bytes.get_mut(52..56) { count.copy_from_slice(&claim.to_be_bytes()) }
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }

    #[test]
    fn a_hostile_body_under_a_right_hash_never_panics(body in bytes(80), counts in any::<[u8; 4]>()) {
        let few = [0, 0, 0, counts[0] % 3];
        let starts: [&[u8]; 3] = [&[], &counts, &few];
        for body in starts.map(|start| [start, &body].concat()) {
            let sealed = sealed(&body);
            if let Ok(bundle) = Bundle::from_bytes(&sealed) {
                prop_assert_eq!(bundle.to_bytes(), sealed);
            }
        }
    }

    #[test]
    fn bundles_come_back(specs in prop::collection::vec(("[a-z/]{1,9}", bytes(50)), 0..5),
                         files in prop::collection::btree_map("[a-z/]{1,9}", bytes(50), 0..5)) {
        let specs = specs.into_iter().map(|(name, bytes)| Source { name, bytes }).collect();
        let bundle = Bundle::new(specs, None, files);
        prop_assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Ok(bundle));
    }

    #[test]
    fn hostnames_say_themselves(text in "[*]?[.]?[a-zA-Z0-9._:\\[\\]-]{0,30}") {
        if let Ok(hostname) = Hostname::parse(&text) {
            prop_assert_eq!(Hostname::parse(&hostname.to_string()), Ok(hostname));
        }
    }

    #[test]
    fn any_host_may_be_asked_for(host in prop::collection::vec(any::<u8>(), 0..400)) {
        let snapshot = crate::one(&crate::zone_text("z", "[\"*.a.example\", \"b.example\"]", ""));
        let _ = snapshot.zone_for(&host);
    }

    #[test]
    fn a_redirect_holds_no_byte_that_ends_a_line(path in prop::collection::vec(any::<u8>(), 0..60),
                                                 query in prop::collection::vec(any::<u8>(), 0..60)) {
        let location = zone::Location::parse("https://$host$path$query").expect("it is well formed");
        let filled = location.filled("http", &path, &path, Some(&query));
        prop_assert!(filled.iter().all(u8::is_ascii_graphic));
    }
}
