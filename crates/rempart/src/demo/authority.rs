//! The demo's own certificate authority, and its certificate for this machine.
//!
//! The authority is made once per folder, so that a browser that was told to trust it keeps doing so; it is
//! constrained to loopback names and addresses (RFC 5280 §4.2.1.10), so that its stolen key harms no other
//! site. The certificate is made anew after a month. Nothing but the demo uses this. Called by [`super`].

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::files::write_whole;

const DAY_S: u64 = 24 * 60 * 60;

/// How long the authority is good for.
const AUTHORITY_DAYS: u64 = 10 * 365;

/// How long the certificate is good for; browsers refuse much longer ones.
const CERTIFICATE_DAYS: u64 = 300;

/// After how long the certificate is made anew: long before it expires, seldom enough to be seen as stable.
const RENEW_AFTER_DAYS: u64 = 30;

/// Makes what is missing or old: `ca.pem`, `ca.key`, `localhost.pem`, `localhost.key`, the keys with mode
/// 0600.
///
/// # Errors
/// When the folder cannot be written, or when a key that is there cannot be read.
pub(super) fn prepare(folder: &Path, now_s: u64) -> Result<()> {
    let (authority, authority_key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let is_there = authority.is_file() && authority_key.is_file();
    let key = if is_there {
        let text = fs::read_to_string(&authority_key)
            .with_context(|| format!("{} cannot be read", authority_key.display()))?;
        KeyPair::from_pem(&text).with_context(|| {
            format!(
                "{} is no private key: remove it and ca.pem, and new ones are made",
                authority_key.display()
            )
        })?
    } else {
        let key = KeyPair::generate().context("no key can be made")?;
        let certificate = authority_params(now_s).self_signed(&key).context("no authority can be made")?;
        put(&authority_key, &key.serialize_pem(), 0o600)?;
        put(&authority, &certificate.pem(), 0o644)?;
        key
    };
    let (certificate, certificate_key) = (folder.join("localhost.pem"), folder.join("localhost.key"));
    let made_s = fs::metadata(&certificate).map_or(0, |found| u64::try_from(found.mtime()).unwrap_or(0));
    let is_young = now_s.saturating_sub(made_s) < RENEW_AFTER_DAYS * DAY_S;
    if is_there && is_young && certificate_key.is_file() {
        return Ok(());
    }
    let own_key = KeyPair::generate().context("no key can be made")?;
    // The authority's name is always the same, so its certificate need not be read back to sign.
    let issuer = Issuer::new(authority_params(now_s), key);
    let own = certificate_params(now_s).signed_by(&own_key, &issuer).context("no certificate can be made")?;
    put(&certificate_key, &own_key.serialize_pem(), 0o600)?;
    put(&certificate, &own.pem(), 0o644)
}

fn authority_params(now_s: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Rempart demo authority (this machine only)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Without name constraints for addresses: BoringSSL, and so Chrome, rejects a chain that has them.
    last(&mut params, now_s, AUTHORITY_DAYS);
    params
}

fn certificate_params(now_s: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("localhost");
    params.subject_alt_names = vec![
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    if let Ok(name) = "localhost".try_into() {
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    last(&mut params, now_s, CERTIFICATE_DAYS);
    params
}

/// Good from a day ago, for a machine whose clock is a little behind, for so many days.
fn last(params: &mut CertificateParams, now_s: u64, days: u64) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(DAY_S));
    params.not_after = epoch + Duration::from_secs(now_s + days * DAY_S);
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    write_whole(path, text.as_bytes(), mode).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::UnixTime;
    use testkit::folder::Folder;

    use super::*;

    fn now_s() -> u64 {
        crate::clock::unix_us() / 1_000_000
    }

    fn read(folder: &Folder, name: &str) -> Vec<u8> {
        fs::read(folder.path().join(name)).unwrap()
    }

    #[test]
    fn the_certificate_is_trusted_by_whoever_trusts_the_authority_for_every_loopback_name() {
        let folder = Folder::new().unwrap();
        prepare(folder.path(), now_s()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        zone::tls::certified_key(&read(&folder, "localhost.pem"), &read(&folder, "localhost.key"), &provider)
            .unwrap();
        let roots = zone::tls::authorities(&read(&folder, "ca.pem")).unwrap();
        let chain = zone::tls::certificates(&read(&folder, "localhost.pem")).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s()));
        for name in ["localhost", "127.0.0.1", "::1"] {
            let name = name.try_into().unwrap();
            verifier.verify_server_cert(&chain[0], &[], &name, &[], now).unwrap();
        }
    }

    #[test]
    fn the_authority_stays_and_the_certificate_is_renewed_after_a_month() {
        let folder = Folder::new().unwrap();
        prepare(folder.path(), now_s()).unwrap();
        let (authority, certificate) = (read(&folder, "ca.pem"), read(&folder, "localhost.pem"));
        prepare(folder.path(), now_s()).unwrap();
        assert_eq!(
            (read(&folder, "ca.pem"), read(&folder, "localhost.pem")),
            (authority.clone(), certificate.clone())
        );
        prepare(folder.path(), now_s() + 31 * DAY_S).unwrap();
        assert_eq!(read(&folder, "ca.pem"), authority);
        assert_ne!(read(&folder, "localhost.pem"), certificate);
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let folder = Folder::new().unwrap();
        prepare(folder.path(), now_s()).unwrap();
        for name in ["ca.key", "localhost.key"] {
            assert_eq!(fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_broken_authority_key_is_told_with_what_to_do() {
        let folder = Folder::new().unwrap();
        folder.write("ca.pem", "x").unwrap();
        folder.write("ca.key", "x").unwrap();
        let error = prepare(folder.path(), now_s()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }
}
