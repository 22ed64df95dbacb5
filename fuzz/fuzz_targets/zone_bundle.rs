//! Fuzzes bundles as they come from disk or another node: no panic, one form for one content, no private key
//! kept, and compiling whatever is in it ends. Read next: `crates/zone/src/bundle.rs`.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use zone::Bundle;

const MAGIC: &[u8] = b"REMPARTB";

/// A header with the right length and hash, so that the layout behind it is reached.
fn sealed(schema: u32, body: &[u8]) -> Vec<u8> {
    let mut before = MAGIC.to_vec();
    before.extend_from_slice(&schema.to_be_bytes());
    before.extend_from_slice(&(body.len() as u64).to_be_bytes());
    let hash = Sha256::new().chain_update(&before).chain_update(body).finalize();
    [&before, &hash[..], body].concat()
}

/// Whether a private key begins in there, by lines, as those who read PEM do.
fn has_key(file: &[u8]) -> bool {
    let mut lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.any(|line| line.starts_with(b"-----BEGIN ") && line.ends_with(b"PRIVATE KEY-----"))
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Bundle::from_bytes(bytes);
    let mut kept = Bundle::new(Vec::new(), None, BTreeMap::new());
    kept.replace_file("chain.pem", bytes.to_vec());
    assert!(!kept.files().values().any(|file| has_key(file)), "a key is kept");
    assert_eq!(Bundle::from_bytes(&kept.to_bytes()), Ok(kept));

    for schema in [zone::bundle::SCHEMA, zone::bundle::SCHEMA_DATED] {
        let sealed = sealed(schema, bytes);
        let Ok(bundle) = Bundle::from_bytes(&sealed) else { continue };
        assert_eq!(bundle.to_bytes(), sealed);
        assert_eq!(bundle.hash()[..], sealed[20..52]);
        if let Err(problems) = zone::compile(&bundle, 1, &|_| None) {
            assert!(problems.iter().any(zone::Problem::is_error));
        }
    }
});
