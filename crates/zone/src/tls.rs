//! Compiled TLS settings of a zone, and the PEM that they come from.
//!
//! Parses certificates, keys and authorities from bytes and checks that a key belongs to its certificate. It
//! does not judge expiry (there is no clock here), does not choose cipher suites and makes no handshake: that
//! is `wire`'s (towards visitors) and `origin`'s. Read next: [`mod@crate::compile`].

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use crate::limits::CERTIFICATES_MAX;
use crate::read::values::words;

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        V1_2 = "1.2",
        /// TLS 1.3 (RFC 8446).
        V1_3 = "1.3",
    }

    /// Whether visitors show a certificate.
    pub enum ClientCertificate {
        /// They must: without one the handshake fails.
        Require = "require",
        /// They may; a wrong one fails.
        Optional = "optional",
    }
}

/// TLS settings of one zone towards visitors.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate chain and key; a zone without them is served on cleartext only.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// Path of the chain, for watching it.
    pub certificate_path: Option<String>,
    /// Path of the key, for watching it.
    pub private_key_path: Option<String>,
    /// The oldest version allowed.
    pub minimum: TlsVersion,
    /// How client certificates are checked, if they are asked for.
    pub client: Option<ClientAuthority>,
    /// Whether requests on cleartext are answered with a redirect to HTTPS.
    pub redirect_to_https: bool,
    /// The status of that redirect: 301, 302, 307 or 308.
    pub redirect_status: u16,
    /// The port of that redirect.
    pub redirect_port: u16,
    /// The `Strict-Transport-Security` to send on HTTPS, if any.
    pub hsts: Option<Hsts>,
}

/// Who signs the client certificates that a zone accepts.
#[derive(Clone)]
pub struct ClientAuthority {
    /// Whether a certificate must be shown.
    pub mode: ClientCertificate,
    /// The authorities.
    pub roots: Arc<RootCertStore>,
    /// The check, ready for a handshake; it allows none to be shown if the mode does.
    pub verifier: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientAuthority")
            .field("mode", &self.mode)
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// HTTP Strict Transport Security (RFC 6797).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsts {
    /// For how many seconds browsers remember it.
    pub max_age_s: u64,
    /// Whether it holds for names below.
    pub include_subdomains: bool,
    /// Whether browsers may build it in.
    pub preload: bool,
    /// The field's value, ready to send.
    pub value: String,
}

impl Hsts {
    /// Builds the field's value (RFC 6797 §6.1).
    #[must_use]
    pub fn new(max_age_s: u64, include_subdomains: bool, preload: bool) -> Self {
        let mut value = format!("max-age={max_age_s}");
        if include_subdomains {
            value.push_str("; includeSubDomains");
        }
        if preload {
            value.push_str("; preload");
        }
        Self { max_age_s, include_subdomains, preload, value }
    }
}

/// Why bytes are no usable certificate, key or authority.
#[derive(Debug)]
pub enum PemFault {
    /// The PEM itself is broken.
    Broken(pem::Error),
    /// There is no certificate in the file.
    NoCertificate,
    /// It is not PEM at all, as a certificate in DER is not.
    NotPem,
    /// There is none in the file, but one where the private key should be.
    Exchanged,
    /// There is no private key in the file.
    NoKey,
    /// There is a certificate in the file, where a private key should be.
    CertificateForKey,
    /// The private key can be read with a passphrase alone.
    LockedKey,
    /// The PEM of the private key is broken.
    BrokenKey(pem::Error),
    /// More certificates than [`CERTIFICATES_MAX`].
    TooMany,
    /// A certificate is not one that can be used, as rustls says.
    BadCertificate(rustls::Error),
    /// The key is of a kind that is not supported, or broken.
    BadKey(rustls::Error),
    /// The key belongs to another certificate.
    Mismatch,
    /// The authorities cannot be used to check client certificates.
    BadAuthority(String),
}

impl fmt::Display for PemFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::BrokenKey(why) => write!(out, "the PEM is broken: {why}"),
            Self::NoCertificate => out.write_str("there is no certificate in it"),
            Self::NotPem => out.write_str(
                "it is no PEM file; `openssl x509 -inform der -in FILE -out NEW.pem` makes one of DER",
            ),
            Self::Exchanged => {
                out.write_str("there is no certificate in it, but in the key's file: are the two exchanged?")
            }
            Self::NoKey => out.write_str("there is no private key in it"),
            Self::CertificateForKey => {
                out.write_str("there is a certificate in it, and no private key: are the two exchanged?")
            }
            Self::LockedKey => out.write_str(
                "the private key is locked by a passphrase, which nobody could type at a start; \
                 `openssl pkey -in FILE -out NEW.key` writes it without",
            ),
            Self::TooMany => write!(out, "more than {CERTIFICATES_MAX} certificates are in it"),
            Self::BadCertificate(why) => write!(out, "a certificate in it cannot be used: {why}"),
            Self::BadKey(why) => write!(out, "the private key cannot be used: {why}"),
            Self::Mismatch => out.write_str("the private key belongs to another certificate"),
            Self::BadAuthority(why) => write!(out, "client certificates cannot be checked by it: {why}"),
        }
    }
}

impl std::error::Error for PemFault {}

impl PemFault {
    /// Says whether the key is at fault rather than the certificate.
    #[must_use]
    pub fn is_about_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey
                | Self::CertificateForKey
                | Self::LockedKey
                | Self::BrokenKey(_)
                | Self::BadKey(_)
                | Self::Mismatch
        )
    }
}

/// Reads all certificates of a PEM file, in their order.
///
/// # Errors
/// If the PEM is broken, holds none, or more than [`CERTIFICATES_MAX`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if chain.len() == CERTIFICATES_MAX {
            return Err(PemFault::TooMany);
        }
        chain.push(certificate.map_err(PemFault::Broken)?);
    }
    if !chain.is_empty() {
        return Ok(chain);
    }
    Err(if !pem.trim_ascii().is_empty() && !holds(pem, b"-----BEGIN ") {
        PemFault::NotPem
    } else {
        PemFault::NoCertificate
    })
}

/// Says whether some words stand in a file.
fn holds(pem: &[u8], words: &[u8]) -> bool {
    memchr::memmem::find(pem, words).is_some()
}

/// Reads a chain and its private key (PKCS#8, PKCS#1 or SEC1), and checks that they belong together.
///
/// The wiring calls it too, to try a changed certificate before it replaces the old one.
///
/// # Errors
/// If either is broken, missing or of an unsupported kind, or if they do not match.
pub fn certified_key(
    certificate_pem: &[u8],
    key_pem: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PemFault> {
    let chain = certificates(certificate_pem).map_err(|why| match why {
        PemFault::NoCertificate
            if holds(key_pem, b"-----BEGIN CERTIFICATE-----") && !holds(key_pem, b"PRIVATE KEY-----") =>
        {
            PemFault::Exchanged
        }
        why => why,
    })?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|why| match why {
        _ if holds(key_pem, b"-----BEGIN ENCRYPTED ") || holds(key_pem, b"4,ENCRYPTED") => {
            PemFault::LockedKey
        }
        pem::Error::NoItemsFound if holds(key_pem, b"-----BEGIN CERTIFICATE-----") => {
            PemFault::CertificateForKey
        }
        pem::Error::NoItemsFound => PemFault::NoKey,
        why => PemFault::BrokenKey(why),
    })?;
    if let Some(own) = chain.first() {
        rustls::server::ParsedCertificate::try_from(own).map_err(PemFault::BadCertificate)?;
    }
    CertifiedKey::from_der(chain, key, provider).map_err(|why| match why {
        rustls::Error::InconsistentKeys(_) => PemFault::Mismatch,
        why => PemFault::BadKey(why),
    })
}

/// Reads authorities into a root store.
///
/// # Errors
/// If the PEM is broken or holds none, or if one of them is not a usable authority.
pub fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, PemFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(PemFault::BadCertificate)?;
    }
    Ok(Arc::new(roots))
}

/// Builds the check of client certificates.
///
/// # Errors
/// As [`authorities`], or if rustls cannot build a check from them.
pub fn client_authority(
    pem: &[u8],
    mode: ClientCertificate,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientAuthority, PemFault> {
    let roots = authorities(pem)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    let builder = match mode {
        ClientCertificate::Require => builder,
        ClientCertificate::Optional => builder.allow_unauthenticated(),
    };
    let verifier = builder.build().map_err(|why| PemFault::BadAuthority(why.to_string()))?;
    Ok(ClientAuthority { mode, roots, verifier })
}
