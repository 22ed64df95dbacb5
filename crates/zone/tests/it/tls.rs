//! Certificates, keys and authorities of zones.

use std::collections::BTreeMap;
use std::sync::Arc;

use zone::{Bundle, ClientCertificate, FileKind, Snapshot};

use crate::{listed, source};

/// A self-signed certificate and its key, PEM.
fn pair(names: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("plain names are valid");
    (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
}

fn text(hostnames: &str, tls: &str) -> String {
    format!("name = \"z\"\nhostnames = {hostnames}\n[tls]\n{tls}\n[[route]]\nanswer = {{}}\n")
}

const BOTH: &str = "certificate = \"a.pem\"\nprivate_key = \"/keys/a.key\"";

fn made(text: &str, files: &[(&str, &[u8])]) -> Bundle {
    let files: BTreeMap<_, _> =
        files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
    Bundle::new(vec![source("/z/a.toml", text)], None, files)
}

fn compiled(bundle: &Bundle, key: &[u8]) -> Result<Snapshot, String> {
    let keys = |path: &str| (path == "/keys/a.key").then(|| key.to_vec());
    zone::compile(bundle, 1, &keys).map_err(|problems| listed(&problems))
}

#[test]
fn reads_a_chain_and_its_key() {
    let (chain, key) = pair(&["a.example", "*.a.example"]);
    let text = text(
        r#"["a.example", "*.a.example"]"#,
        &format!(
            "{BOTH}\nminimum = \"1.3\"\nredirect_https = true\nredirect_status = 301\n\
             hsts = {{ max_age_s = 9 }}"
        ),
    );
    let snapshot = compiled(&made(&text, &[("/z/a.pem", &chain)]), &key).expect("a right pair compiles");
    let tls = &snapshot.zones()[0].tls;
    assert_eq!(tls.certificate.as_ref().map(|pair| pair.cert.len()), Some(1));
    assert_eq!(tls.certificate_path.as_deref(), Some("/z/a.pem"));
    assert_eq!(tls.private_key_path.as_deref(), Some("/keys/a.key"));
    assert!(tls.redirect_to_https);
    assert_eq!(tls.redirect_status, 301);
    assert_eq!(tls.hsts.as_ref().map(|hsts| hsts.value.as_str()), Some("max-age=9"));
    assert!(snapshot.warnings.is_empty(), "{}", listed(&snapshot.warnings));
}

#[test]
fn warns_of_names_that_the_certificate_is_not_for() {
    let (chain, key) = pair(&["a.example"]);
    let text = text(r#"["a.example", "b.example", "*.a.example"]"#, BOTH);
    let snapshot = compiled(&made(&text, &[("/z/a.pem", &chain)]), &key).expect("only a warning");
    let told = listed(&snapshot.warnings);
    assert!(
        told.contains("/z/a.toml:4:15: warning: the certificate is not for b.example, *.a.example"),
        "{told}"
    );
}

#[test]
fn refuses_a_pair_that_does_not_belong_together() {
    let (chain, _) = pair(&["a.example"]);
    let (_, other) = pair(&["a.example"]);
    let told = compiled(&made(&text("[\"a.example\"]", BOTH), &[("/z/a.pem", &chain)]), &other).unwrap_err();
    assert_eq!(told, "/z/a.toml:5:15: `/keys/a.key`: the private key belongs to another certificate\n");
}

#[test]
fn refuses_files_that_are_not_what_they_should_be() {
    let (chain, key) = pair(&["a.example"]);
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".as_slice();
    let locked =
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".as_slice();
    let locked_of_old =
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
                          AAAA\n-----END RSA PRIVATE KEY-----\n"
            .as_slice();
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_slice();
    for (chain, key, wanted) in [
        (b"".as_slice(), key.as_slice(), "4:15: `a.pem`: there is no certificate in it"),
        (broken, &key, "4:15: `a.pem`: the PEM is broken"),
        (nonsense, &key, "4:15: `a.pem`: a certificate in it cannot be used"),
        (&chain, b"", "5:15: `/keys/a.key`: there is no private key in it"),
        (&chain, b"words", "5:15: `/keys/a.key`: there is no private key in it"),
        (&chain, &chain, "5:15: `/keys/a.key`: there is a certificate in it, and no private key"),
        (&key, &chain, "4:15: `a.pem`: there is no certificate in it, but in the key's file"),
        (b"\x30\x82\x01", &key, "4:15: `a.pem`: it is no PEM file"),
        (&chain, locked, "5:15: `/keys/a.key`: the private key is locked by a passphrase"),
        (&chain, locked_of_old, "5:15: `/keys/a.key`: the private key is locked by a passphrase"),
    ] {
        let told = compiled(&made(&text("[\"a.example\"]", BOTH), &[("/z/a.pem", chain)]), key).unwrap_err();
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let told = compiled(&made(&text("[\"a.example\"]", BOTH), &[]), &key).unwrap_err();
    assert!(told.contains("the file `/z/a.pem` could not be read"), "{told}");
    let told = zone::compile(&made(&text("[\"a.example\"]", BOTH), &[("/z/a.pem", &chain)]), 1, &|_| None);
    assert!(listed(&told.unwrap_err()).contains("the key file `/keys/a.key` could not be read"));
}

#[test]
fn refuses_settings_that_need_each_other() {
    for (tls, wanted) in [
        ("certificate = \"a.pem\"", "a certificate needs its key"),
        ("private_key = \"a.pem\"", "a key needs its certificate"),
        ("redirect_https = true", "a redirect to HTTPS needs a certificate"),
        ("client_certificate = \"optional\"", "need authorities"),
        ("redirect_status = 303", "this must be 301, 302, 307 or 308"),
        ("hsts = { preload = true }", "preload needs include_subdomains"),
    ] {
        let told = compiled(&made(&text("[\"a.example\"]", tls), &[]), b"").unwrap_err();
        assert!(told.contains(wanted), "{tls}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn asks_visitors_for_certificates() {
    let (chain, key) = pair(&["a.example"]);
    for (mode, wanted) in [
        ("", ClientCertificate::Require),
        ("client_certificate = \"require\"", ClientCertificate::Require),
        ("client_certificate = \"optional\"", ClientCertificate::Optional),
    ] {
        let text = text("[\"a.example\"]", &format!("{BOTH}\nclient_ca = \"ca.pem\"\n{mode}"));
        let bundle = made(&text, &[("/z/a.pem", &chain), ("/z/ca.pem", &chain)]);
        let snapshot = compiled(&bundle, &key).expect("an authority compiles");
        let client = snapshot.zones()[0].tls.client.as_ref().expect("it was asked for");
        assert_eq!((client.mode, client.roots.len()), (wanted, 1));
        assert_eq!(client.verifier.client_auth_mandatory(), wanted == ClientCertificate::Require);
    }
}

#[test]
fn names_every_file_with_its_place() {
    let text = "name = \"z\"\nhostnames = [\"a.example\"]\n[tls]\ncertificate = \"c.pem\"\n\
                private_key = \"k.pem\"\n\
                client_ca = \"/ca.pem\"\n[[pool]]\nname = \"p\"\norigins = [{ url = \"https://h\" }]\n\
                tls = { ca = \"o.pem\" }\n[[error_page]]\nstatus = 500\nfile = \"../e.html\"\n";
    let named = zone::files_named(&[source("/etc/zones/a.toml", text)], None);
    let told: Vec<_> = named.iter().map(|file| (file.kind, file.path.as_str(), file.line)).collect();
    assert_eq!(
        told,
        [
            (FileKind::Certificate, "/etc/zones/c.pem", 4),
            (FileKind::PrivateKey, "/etc/zones/k.pem", 5),
            (FileKind::Authority, "/ca.pem", 6),
            (FileKind::Authority, "/etc/zones/o.pem", 10),
            (FileKind::ErrorPage, "/etc/zones/../e.html", 13),
        ]
    );
    assert_eq!(named[3].column, 14);
}

#[test]
fn shares_a_zone_that_did_not_change() {
    let (chain, key) = pair(&["a.example"]);
    let mut bundle = made(&text("[\"a.example\"]", BOTH), &[("/z/a.pem", &chain)]);
    let keys = |_: &str| Some(key.clone());
    let first = zone::compile(&bundle, 1, &keys).expect("it compiles");
    let second = zone::compile_after(&bundle, 2, &keys, Some(&first)).expect("it compiles");
    assert!(Arc::ptr_eq(&first.zones()[0], &second.zones()[0]));
    assert_eq!((second.number, second.hash), (2, first.hash));
    // The same certificate with a line behind it is another file, though it means the same.
    bundle.replace_file("/z/a.pem", [chain.as_slice(), b"\n"].concat());
    let third = zone::compile_after(&bundle, 3, &keys, Some(&second)).expect("it compiles");
    assert!(!Arc::ptr_eq(&second.zones()[0], &third.zones()[0]));
    // A key of another certificate must not be hidden by the zone before.
    let (_, other) = pair(&["a.example"]);
    assert!(zone::compile_after(&bundle, 4, &|_| Some(other.clone()), Some(&third)).is_err());
}
