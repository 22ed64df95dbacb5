//! A certificate authority for one drill: a root, and certificates with their keys.
//!
//! Nothing outside trusts it; it ends with the drill. Called by the drills that speak TLS.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{ClientConfig, ServerConfig};

/// A root.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub(super) pem: String,
}

/// A certificate and its key, PEM.
pub(super) struct Leaf {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When no key can be made.
    pub(super) fn make() -> Result<Self> {
        let key = KeyPair::generate().context("no key can be made")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let pem = params.self_signed(&key).context("no authority can be made")?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Makes a certificate for these names.
    ///
    /// # Errors
    /// When no key can be made or a name is none.
    pub(super) fn leaf(&self, names: &[&str]) -> Result<Leaf> {
        let key = KeyPair::generate().context("no key can be made")?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).context("no certificate can be made")?;
        Ok(Leaf { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// What a visitor uses that trusts this root alone.
    ///
    /// # Errors
    /// Never in practice: the root was made here.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>> {
        let roots =
            zone::tls::authorities(self.pem.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

impl Leaf {
    /// What an origin uses that shows this certificate.
    ///
    /// # Errors
    /// Never in practice: both were made here.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>> {
        use rustls::pki_types::PrivateKeyDer;
        use rustls::pki_types::pem::PemObject as _;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = zone::tls::certificates(self.certificate.as_bytes())
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}
