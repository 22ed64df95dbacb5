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
    kept_with(folder, pair, "")
}

/// The same; the zone with a pair has this in its file too.
fn kept_with(folder: &Folder, pair: &Pems, more: &str) -> Bundle {
    let node = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n";
    let node = folder.write("rempart.toml", node).unwrap();
    let zone = |name: &str, tls: &str| {
        let route = "[[route]]\nanswer = { body = \"x\" }\n";
        format!("name = \"{name}\"\nhostnames = [\"{name}.example\"]\n{tls}{route}")
    };
    let tls = "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n";
    folder.write("zones/a.toml", zone("a", &format!("{tls}{more}"))).unwrap();
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
    let fresh = compile_kept(&bundle, 1, None, &Keyring::default(), Lost::Told).unwrap().snapshot;
    chain_of(snapshot) == chain_of(&fresh)
}

#[test]
fn a_pair_that_was_renewed_is_taken_as_it_is_now_and_the_hash_stays_that_of_the_bundle() {
    let folder = Folder::new().unwrap();
    let (first, second) = (pems(), pems());
    let bundle = kept(&folder, &first);
    put(&folder, &second, &second);
    let snapshot = compile_kept(&bundle, 2, None, &Keyring::default(), Lost::Told).unwrap().snapshot;
    assert!(is_of(&snapshot, &second));
    assert_eq!(snapshot.hash, bundle.hash());
}

#[test]
fn a_pair_that_was_broken_is_taken_as_it_was_here_last_and_its_zone_is_the_same() {
    let folder = Folder::new().unwrap();
    let (first, second) = (pems(), pems());
    let bundle = kept(&folder, &first);
    let keyring = Keyring::default();
    let before = compile_kept(&bundle, 1, None, &keyring, Lost::Told).unwrap().snapshot;
    put(&folder, &first, &second);
    let again = compile_kept(&bundle, 2, Some(&before), &keyring, Lost::Told).unwrap().snapshot;
    assert!(Arc::ptr_eq(before.zone_named("a").unwrap(), again.zone_named("a").unwrap()));
    std::fs::remove_file(folder.path().join("zones/a.key")).unwrap();
    let again = compile_kept(&bundle, 3, Some(&again), &keyring, Lost::Told).unwrap().snapshot;
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
    let again = compile_kept(&bundle, 2, None, &keyring, Lost::Told).unwrap().snapshot;
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
    let snapshot = compile_kept(&bundle, 1, None, &keyring, Lost::LeftOut).unwrap().snapshot;
    assert_eq!((snapshot.zones().len(), chain_of(&snapshot)), (2, None));
    assert!(snapshot.zone_named("a").unwrap().tls.certificate_path.is_some(), "it is watched");
    // What did not fit is not remembered for something that does.
    std::fs::remove_file(folder.path().join("zones/a.key")).unwrap();
    assert!(compile_kept(&bundle, 2, None, &keyring, Lost::Told).is_err());
}

/// What names a pair of its own for a pool.
const POOL: &str = "[[pool]]\nname = \"app\"\norigins = [{ url = \"https://127.0.0.1:1\" }]\n\
                    tls = { certificate = \"p.pem\", private_key = \"p.key\" }\n";

#[test]
fn a_pair_that_fits_on_disk_is_taken_beside_one_that_is_nowhere_and_a_pools_is_not_lost_silently() {
    let folder = Folder::new().unwrap();
    let (first, second, pool) = (pems(), pems(), pems());
    folder.write("zones/p.pem", &pool.chain).unwrap();
    folder.write("zones/p.key", &pool.key).unwrap();
    let bundle = kept_with(&folder, &first, POOL);
    let whole = compile_kept(&bundle, 1, None, &Keyring::default(), Lost::LeftOut).unwrap();
    assert!(!whole.lacks_pairs);
    put(&folder, &second, &second);
    folder.write("zones/p.key", &second.key).unwrap();
    let kept = compile_kept(&bundle, 1, None, &Keyring::default(), Lost::LeftOut).unwrap();
    assert!(is_of(&kept.snapshot, &second));
    assert!(kept.lacks_pairs && kept.snapshot.zone_named("a").unwrap().pools[0].tls.certificate.is_none());
    let told = Problems(kept.snapshot.warnings).lines();
    assert!(told.contains("publish when it is mended"), "{told}");
}

#[test]
fn a_pair_of_a_newer_bundle_is_known_to_an_older_one_when_its_files_are_broken() {
    let folder = Folder::new().unwrap();
    let (first, second, third) = (pems(), pems(), pems());
    let keyring = Keyring::default();
    let older = kept(&folder, &first);
    compile_kept(&older, 1, None, &keyring, Lost::Told).unwrap();
    let newer = kept_with(&folder, &second, "redirect_https = true\n");
    compile_kept(&newer, 2, None, &keyring, Lost::Told).unwrap();
    put(&folder, &third, &second);
    let again = compile_kept(&older, 1, None, &keyring, Lost::Told).unwrap().snapshot;
    assert!(is_of(&again, &second));
}

#[test]
fn a_pair_that_was_renewed_while_it_served_is_known_when_its_files_are_broken() {
    let folder = Folder::new().unwrap();
    let (first, second, third) = (pems(), pems(), pems());
    let bundle = kept(&folder, &first);
    let keyring = Keyring::default();
    put(&folder, &second, &second);
    let renewed = compile_kept(&bundle, 1, None, &Keyring::default(), Lost::Told).unwrap().snapshot;
    let served = renewed.zone_named("a").unwrap().tls.certificate.clone().unwrap();
    let paths = ["a.pem", "a.key"].map(|name| folder.path().join("zones").join(name).display().to_string());
    // It is another again before it is noted: of that one nobody knows that it serves.
    put(&folder, &third, &third);
    keyring.remember_renewed(&paths[0], &paths[1], &served);
    put(&folder, &second, &second);
    keyring.remember_renewed(&paths[0], &paths[1], &served);
    put(&folder, &third, &second);
    let again = compile_kept(&bundle, 2, None, &keyring, Lost::Told).unwrap().snapshot;
    assert!(is_of(&again, &second));
}
