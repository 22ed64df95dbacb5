//! A certificate authority of the test's own: a root, leaves for names, certificates for visitors.
//!
//! Keys are ECDSA P-256 and live in memory unless a test writes them out. It does no revocation. Called by
//! tests, [`crate::origin`] and [`crate::visitor`]. Read next: [`crate::stream`].

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::folder::Folder;

/// A root that signs leaves directly.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A signed certificate with its key.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate alone, in PEM (the root is not part of it).
    pub certificate_pem: String,
    /// Its private key, PKCS#8 in PEM.
    pub key_pem: String,
}

/// How a visitor or a proxy under test greets a TLS server. The default offers TLS 1.2 and 1.3 and no ALPN.
#[derive(Clone, Copy, Default)]
pub struct Greeting<'a> {
    /// ALPN names in order of preference, as `h2` or `http/1.1`.
    pub alpn: &'a [&'a str],
    /// A certificate to show when asked.
    pub certificate: Option<&'a Leaf>,
    /// Offers TLS 1.2 alone.
    pub tls12_only: bool,
    /// The cipher suite wanted most; the library's own order without.
    pub first_suite: Option<CipherSuite>,
}

/// What a TLS server asks of those who come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None asked for.
    #[default]
    Unasked,
    /// The handshake fails without one from this authority.
    Required,
}

impl Authority {
    /// Makes a root named "testkit root", valid from 2000 to 2100.
    ///
    /// # Errors
    /// When the crypto provider fails.
    pub fn new() -> Result<Authority> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "testkit root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let certificate = params.self_signed(&key)?;
        Ok(Authority {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The root in PEM: what a proxy is told to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate for names, wildcards or IP addresses, valid from 2000 to 2100.
    ///
    /// # Errors
    /// When a name is not allowed in a certificate.
    pub fn leaf(&self, names: &[&str]) -> Result<Leaf> {
        self.leaf_for_years(names, 2000, 2100)
    }

    /// As [`Authority::leaf`], valid from the first day of one year to that of another: for expired and
    /// future certificates.
    ///
    /// # Errors
    /// When a name is not allowed in a certificate.
    pub fn leaf_for_years(&self, names: &[&str], from: i32, until: i32) -> Result<Leaf> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        self.signed(params)
    }

    /// A certificate for a visitor (or for a proxy towards its origin) with this common name.
    ///
    /// # Errors
    /// When the crypto provider fails.
    pub fn client_leaf(&self, name: &str) -> Result<Leaf> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        self.signed(params)
    }

    /// As [`Authority::leaf`], with a key of RSA of 3,072 bits: each handshake costs its server a millisecond
    /// or more, for tests of many.
    ///
    /// # Errors
    /// When a name is not allowed in a certificate.
    pub fn costly_leaf(&self, names: &[&str]) -> Result<Leaf> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072)?;
        self.signed_for(params, &key)
    }

    fn signed(&self, params: CertificateParams) -> Result<Leaf> {
        self.signed_for(params, &KeyPair::generate()?)
    }

    fn signed_for(&self, mut params: CertificateParams, key: &KeyPair) -> Result<Leaf> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// The root as a trust store.
    ///
    /// # Errors
    /// Never in practice: the root was made here.
    pub fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(roots)
    }

    /// A client configuration that trusts this root alone.
    ///
    /// # Errors
    /// When the greeting's certificate does not parse.
    pub fn client_config(&self, greeting: Greeting<'_>) -> Result<Arc<ClientConfig>> {
        let versions: &[&SupportedProtocolVersion] =
            if greeting.tls12_only { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
        let mut provider = CryptoProvider::clone(&provider());
        if let Some(first) = greeting.first_suite {
            provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)?
            .with_root_certificates(self.roots()?);
        let mut config = match greeting.certificate {
            Some(leaf) => builder.with_client_auth_cert(leaf.chain()?, leaf.key()?)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = greeting.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// A server configuration showing `leaf`.
    ///
    /// # Errors
    /// When the leaf does not parse.
    pub fn server_config(
        &self,
        leaf: &Leaf,
        alpn: &[&str],
        clients: ClientCertificates,
    ) -> Result<Arc<ServerConfig>> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match clients {
            ClientCertificates::Unasked => builder.with_no_client_auth(),
            ClientCertificates::Required => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(leaf.chain()?, leaf.key()?)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl Leaf {
    /// Writes `NAME.pem` and `NAME.key` below `folder` and returns both paths, certificate first.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Folder, name: &str) -> Result<(PathBuf, PathBuf)> {
        let certificate = folder.write(format!("{name}.pem"), &self.certificate_pem)?;
        Ok((certificate, folder.write(format!("{name}.key"), &self.key_pem)?))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        Ok(vec![CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).context("the leaf's PEM")?])
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).context("the key's PEM")
    }

    /// The certificate's DER bytes, as a peer sees them.
    ///
    /// # Errors
    /// When the PEM was changed by hand and no longer parses.
    pub fn certificate_der(&self) -> Result<Vec<u8>> {
        Ok(CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())?.to_vec())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Answer, OriginSpec};
    use crate::visitor::Visitor;

    #[test]
    fn a_leaf_is_trusted_for_its_names_and_no_other() {
        let authority = Authority::new().unwrap();
        let leaf = authority.leaf(&["good.example", "*.wild.example"]).unwrap();
        let tls = authority.server_config(&leaf, &[], ClientCertificates::Unasked).unwrap();
        let origin = OriginSpec::new().tls(tls).answering(|_| Answer::ok("x")).unwrap();
        let config = authority.client_config(Greeting::default()).unwrap();
        for name in ["good.example", "a.wild.example"] {
            let mut visitor = Visitor::tls(origin.address(), name, &config).unwrap();
            assert_eq!(visitor.fetch(name, "/").unwrap().body, b"x");
        }
        assert!(Visitor::tls(origin.address(), "bad.example", &config).is_err());
    }

    #[test]
    fn a_required_visitor_certificate_is_seen_by_the_server() {
        let authority = Authority::new().unwrap();
        let leaf = authority.leaf(&["good.example"]).unwrap();
        let alice = authority.client_leaf("alice").unwrap();
        let tls = authority.server_config(&leaf, &["http/1.1"], ClientCertificates::Required).unwrap();
        let origin = OriginSpec::new().tls(tls).answering(|_| Answer::ok("x")).unwrap();
        let greeting =
            Greeting { certificate: Some(&alice), alpn: &["http/1.1"], tls12_only: true, first_suite: None };
        let config = authority.client_config(greeting).unwrap();
        let mut visitor = Visitor::tls(origin.address(), "good.example", &config).unwrap();
        visitor.fetch("good.example", "/").unwrap();
        let facts = origin.requests()[0].tls.clone().unwrap();
        assert_eq!(facts.client_certificate, Some(alice.certificate_der().unwrap()));
        assert_eq!(facts.server_name.as_deref(), Some("good.example"));
        assert_eq!(facts.alpn.as_deref(), Some("http/1.1"));

        let config = authority.client_config(Greeting { tls12_only: true, ..Greeting::default() }).unwrap();
        assert!(Visitor::tls(origin.address(), "good.example", &config).is_err());
    }

    #[test]
    fn writes_files_that_hold_the_pem() {
        let folder = Folder::new().unwrap();
        let leaf = Authority::new().unwrap().leaf(&["a.example"]).unwrap();
        let (certificate, key) = leaf.write(&folder, "certs/a").unwrap();
        assert_eq!(std::fs::read_to_string(certificate).unwrap(), leaf.certificate_pem);
        assert_eq!(std::fs::read_to_string(key).unwrap(), leaf.key_pem);
    }
}
