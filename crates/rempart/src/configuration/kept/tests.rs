//! Tests of certificates and keys that have become others since a bundle was kept.

use testkit::folder::Folder;

use super::*;
use crate::configuration::{gather, read_node_file};

struct Pems {
    chain: String,
    key: String,
}

fn pems() -> Pems {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    Pems { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

fn put(folder: &Folder, chain: &Pems, key: &Pems) {
    folder.write("zones/a.pem", &chain.chain).unwrap();
    folder.write("zones/a.key", &key.key).unwrap();
}

/// A bundle of a zone with a pair and one without.
fn kept(folder: &Folder, pair: &Pems) -> Bundle {
    let node = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n";
    let node = folder.write("rempart.toml", node).unwrap();
    let zone = |name: &str, tls: &str| {
        let route = "[[route]]\nanswer = { body = \"x\" }\n";
        format!("name = \"{name}\"\nhostnames = [\"{name}.example\"]\n{tls}{route}")
    };
    let tls = "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n";
    folder.write("zones/a.toml", zone("a", tls)).unwrap();
    folder.write("zones/b.toml", zone("b", "")).unwrap();
    put(folder, pair, pair);
    gather(&read_node_file(&node).unwrap()).bundle
}

/// The chain that its zone `a` answers with.
fn chain_of(snapshot: &Snapshot) -> Option<Vec<Vec<u8>>> {
    let pair = snapshot.zone_named("a").unwrap().tls.certificate.as_ref()?;
    Some(pair.cert.iter().map(|one| one.to_vec()).collect())
}

/// Whether that is this one.
fn is_of(snapshot: &Snapshot, pair: &Pems) -> bool {
    let folder = Folder::new().unwrap();
    let bundle = kept(&folder, pair);
    let fresh = compile_kept(&bundle, 1, None, &Keyring::default(), Lost::Told).unwrap();
    chain_of(snapshot) == chain_of(&fresh)
}

#[test]
fn a_pair_that_was_renewed_is_taken_as_it_is_now_and_the_hash_stays_that_of_the_bundle() {
    let folder = Folder::new().unwrap();
    let (first, second) = (pems(), pems());
    let bundle = kept(&folder, &first);
    put(&folder, &second, &second);
    let snapshot = compile_kept(&bundle, 2, None, &Keyring::default(), Lost::Told).unwrap();
    assert!(is_of(&snapshot, &second));
    assert_eq!(snapshot.hash, bundle.hash());
}

#[test]
fn a_pair_that_was_broken_is_taken_as_it_was_here_last_and_its_zone_is_the_same() {
    let folder = Folder::new().unwrap();
    let (first, second) = (pems(), pems());
    let bundle = kept(&folder, &first);
    let keyring = Keyring::default();
    let before = compile_kept(&bundle, 1, None, &keyring, Lost::Told).unwrap();
    put(&folder, &first, &second);
    let again = compile_kept(&bundle, 2, Some(&before), &keyring, Lost::Told).unwrap();
    assert!(Arc::ptr_eq(before.zone_named("a").unwrap(), again.zone_named("a").unwrap()));
    std::fs::remove_file(folder.path().join("zones/a.key")).unwrap();
    let again = compile_kept(&bundle, 3, Some(&again), &keyring, Lost::Told).unwrap();
    assert!(Arc::ptr_eq(before.zone_named("a").unwrap(), again.zone_named("a").unwrap()));
}

#[test]
fn a_pair_that_was_renewed_and_broken_afterwards_is_the_renewed_one_where_that_was_seen() {
    let folder = Folder::new().unwrap();
    let (first, second, third) = (pems(), pems(), pems());
    let bundle = kept(&folder, &first);
    let keyring = Keyring::default();
    put(&folder, &second, &second);
    compile_kept(&bundle, 1, None, &keyring, Lost::Told).unwrap();
    put(&folder, &second, &third);
    let again = compile_kept(&bundle, 2, None, &keyring, Lost::Told).unwrap();
    assert!(is_of(&again, &second));
}

#[test]
fn a_pair_that_is_nowhere_costs_its_zone_the_certificate_and_the_others_nothing() {
    let folder = Folder::new().unwrap();
    let (first, second) = (pems(), pems());
    let bundle = kept(&folder, &first);
    put(&folder, &first, &second);
    let keyring = Keyring::default();
    let told = compile_kept(&bundle, 1, None, &keyring, Lost::Told).unwrap_err();
    assert!(told.lines().contains("belongs to another certificate"), "{}", told.lines());
    let snapshot = compile_kept(&bundle, 1, None, &keyring, Lost::LeftOut).unwrap();
    assert_eq!((snapshot.zones().len(), chain_of(&snapshot)), (2, None));
    assert!(snapshot.zone_named("a").unwrap().tls.certificate_path.is_some(), "it is watched");
    // What did not fit is not remembered for something that does.
    std::fs::remove_file(folder.path().join("zones/a.key")).unwrap();
    assert!(compile_kept(&bundle, 2, None, &keyring, Lost::Told).is_err());
}
