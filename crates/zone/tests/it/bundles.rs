//! Bundles: the same bytes back, and any damage noticed.

use std::collections::BTreeMap;

use zone::{Bundle, BundleFault};

use crate::source;

fn sample() -> Bundle {
    let files = BTreeMap::from([("b.pem".to_owned(), vec![1, 2, 3]), ("a.pem".to_owned(), Vec::new())]);
    let specs = vec![source("z/2.toml", "name = \"two\""), source("z/1.toml", "")];
    Bundle::new(specs, Some(source("rempart.toml", "[zone_defaults]")), files)
}

#[test]
fn comes_back_as_it_was_written() {
    let bundle = sample();
    let back = Bundle::from_bytes(&bundle.to_bytes()).expect("its own bytes are right");
    assert_eq!(back, bundle);
    assert_eq!(back.hash(), bundle.hash());
    assert_eq!(back.specs()[0].name, "z/1.toml");
    let empty = Bundle::new(Vec::new(), None, BTreeMap::new());
    assert_eq!(Bundle::from_bytes(&empty.to_bytes()), Ok(empty));
}

#[test]
fn refuses_every_changed_byte_and_every_length() {
    let bytes = sample().to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(Bundle::from_bytes(&damaged).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Bundle::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(Bundle::from_bytes(&longer), Err(BundleFault::Length));
}

#[test]
fn holds_when_a_file_was_changed_and_is_as_it_was_without() {
    let times = |unix_s| BTreeMap::from([("a.pem".to_owned(), unix_s), ("gone.pem".to_owned(), 7)]);
    let dated = sample().with_changed(times(1_795_694_400));
    assert_eq!(dated.changed().len(), 1, "a file that is not there has no time");
    let bytes = dated.to_bytes();
    assert_eq!(Bundle::from_bytes(&bytes), Ok(dated.clone()));
    for at in 0..bytes.len() {
        assert!(Bundle::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Bundle::from_bytes(&damaged).is_err(), "byte {at}");
    }
    assert_ne!(dated.hash(), sample().hash());
    assert_ne!(dated.hash(), sample().with_changed(times(1_795_694_401)).hash());
    let without = dated.with_changed(BTreeMap::new());
    assert_eq!((without.hash(), without.to_bytes()), (sample().hash(), sample().to_bytes()));
}

#[test]
fn says_what_is_wrong_with_it() {
    let bytes = sample().to_bytes();
    assert_eq!(Bundle::from_bytes(b"GIF89a"), Err(BundleFault::Magic));
    let mut newer = bytes.clone();
    newer[11] = 9;
    assert_eq!(Bundle::from_bytes(&newer), Err(BundleFault::Schema(9)));
    let mut damaged = bytes;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(Bundle::from_bytes(&damaged), Err(BundleFault::Hash));
}

#[test]
fn never_holds_a_private_key() {
    let block = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    let kept = |text: String| {
        let mut bundle =
            Bundle::new(Vec::new(), None, BTreeMap::from([("a".to_owned(), text.clone().into())]));
        let made = bundle.files()["a"].clone();
        bundle.replace_file("a", text.into());
        assert_eq!(bundle.files()["a"], made);
        assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Ok(bundle));
        String::from_utf8(made).expect("it is text")
    };
    let certificate = block("CERTIFICATE");
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        assert_eq!(kept(format!("{}{certificate}", block(kind))), certificate);
        assert_eq!(kept(format!("{certificate}{}{certificate}", block(kind))), certificate.repeat(2));
    }
    assert_eq!(kept(certificate.clone()), certificate);
    assert_eq!(kept(format!("{certificate}-----BEGIN PRIVATE KEY-----\r\nAAAA\n")), certificate);
    assert_eq!(
        kept(format!("{certificate}-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----")),
        certificate
    );
}

#[test]
fn has_a_hash_that_knows_all_of_it_and_no_order() {
    let hash = sample().hash();
    let mut other = sample();
    other.replace_file("b.pem", vec![1, 2, 4]);
    assert_ne!(other.hash(), hash);
    let specs = vec![source("z/1.toml", ""), source("z/2.toml", "name = \"two\"")];
    let reordered = Bundle::new(specs, sample().defaults().cloned(), sample().files().clone());
    assert_eq!(reordered.hash(), hash);
    let without = Bundle::new(sample().specs().to_vec(), None, sample().files().clone());
    assert_ne!(without.hash(), hash);
}
