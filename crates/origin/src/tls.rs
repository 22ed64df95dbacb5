//! TLS towards origins: one client configuration per set of settings, shared by all threads.
//!
//! Sharing keeps session tickets together, so that a second connection resumes the first one's session
//! whatever thread makes it. Called by `fleet.rs` and `connect.rs`. Read next: `stream.rs`.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use crate::map::{Map, Set};
use exchange::Fault;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use zone::{Origin, OriginProtocol, OriginScheme, Pool};

/// Which protocols ALPN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    Http1,
    Http2,
    Both,
}

impl Offer {
    /// What to offer to an origin; `needs_http1` leaves HTTP/2 out where there is a choice.
    pub(crate) fn of(protocol: OriginProtocol, needs_http1: bool) -> Self {
        match protocol {
            OriginProtocol::Http1 => Self::Http1,
            OriginProtocol::Http2 => Self::Http2,
            OriginProtocol::Auto if needs_http1 => Self::Http1,
            OriginProtocol::Auto => Self::Both,
        }
    }

    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// A number for everything that decides whom a connection of this pool to this origin reaches and as whom:
/// a connection made under other settings has another number and is not used again.
pub(crate) fn target_fingerprint(pool: &Pool, origin: &Origin) -> u64 {
    let mut hash = foldhash::fast::FixedState::default().build_hasher();
    (origin.scheme, &origin.host, origin.port, origin.protocol).hash(&mut hash);
    pool.proxy_protocol.map(|version| version as u8).hash(&mut hash);
    if origin.scheme == OriginScheme::Https {
        tls_fingerprint(pool).hash(&mut hash);
    }
    hash.finish()
}

fn tls_fingerprint(pool: &Pool) -> u64 {
    let mut hash = foldhash::fast::FixedState::default().build_hasher();
    let tls = &pool.tls;
    (tls.verify, &tls.sni).hash(&mut hash);
    if let Some(roots) = &tls.ca {
        for root in &roots.roots {
            (root.subject.as_ref(), root.subject_public_key_info.as_ref()).hash(&mut hash);
        }
    }
    if let Some(certificate) = &tls.certificate {
        for one in &certificate.cert {
            one.as_ref().hash(&mut hash);
        }
    }
    hash.finish()
}

/// Everything that a client configuration depends on. Zones of different owners share the table, so that a
/// number alone will not do: two settings with the same hash must stay two.
#[derive(Clone)]
struct Key {
    fingerprint: u64,
    offer: Offer,
    verify: bool,
    ca: Option<Arc<RootCertStore>>,
    certificate: Option<Arc<CertifiedKey>>,
}

impl Key {
    fn of(pool: &Pool, offer: Offer) -> Self {
        let tls = &pool.tls;
        Self {
            fingerprint: tls_fingerprint(pool),
            offer,
            verify: tls.verify,
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let is_same_ca = match (&self.ca, &other.ca) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others) || own.roots == others.roots,
            _ => false,
        };
        // A chain names its key, and the key beside it was checked to be that one when it was read.
        let is_same_certificate = match (&self.certificate, &other.certificate) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others) || own.cert == others.cert,
            _ => false,
        };
        (self.fingerprint, self.offer, self.verify) == (other.fingerprint, other.offer, other.verify)
            && is_same_ca
            && is_same_certificate
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.fingerprint, self.offer).hash(state);
    }
}

/// The node's client configurations.
pub(crate) struct Contexts {
    provider: Arc<CryptoProvider>,
    roots: OnceLock<Arc<RootCertStore>>,
    known: Mutex<Map<Key, Arc<ClientConfig>>>,
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contexts")
    }
}

impl Contexts {
    /// `roots` replaces the system's trust store.
    pub(crate) fn new(roots: Option<Arc<RootCertStore>>) -> Self {
        let own = OnceLock::new();
        if let Some(roots) = roots {
            let _ = own.set(roots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { provider, roots: own, known: Mutex::default() }
    }

    /// The system's trust store, read when it is first needed. Certificates in it that cannot be read are
    /// left out; with an empty one every verification fails, which is the safe side.
    fn system_roots(&self) -> Arc<RootCertStore> {
        let load = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        Arc::clone(self.roots.get_or_init(load))
    }

    /// The configuration for a pool's origins.
    pub(crate) fn config(&self, pool: &Pool, offer: Offer) -> Result<Arc<ClientConfig>, Fault> {
        let key = Key::of(pool, offer);
        let mut known = self.known.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(config) = known.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build(pool, offer).map_err(|_| Fault::ProxyConfigurationError)?);
        known.insert(key, Arc::clone(&config));
        Ok(config)
    }

    /// Forgets configurations that no pool needs.
    pub(crate) fn keep_only<'a>(&self, pools: impl Iterator<Item = &'a Arc<Pool>>) {
        // One offer for all: which are made does not depend on the settings.
        let needed: Set<Key> = pools.map(|pool| Key::of(pool, Offer::Http1)).collect();
        let mut known = self.known.lock().unwrap_or_else(|poison| poison.into_inner());
        known.retain(|key, _| needed.contains(&Key { offer: Offer::Http1, ..key.clone() }));
    }

    fn build(&self, pool: &Pool, offer: Offer) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let builder = if pool.tls.verify {
            let roots = pool.tls.ca.clone().unwrap_or_else(|| self.system_roots());
            builder.with_root_certificates(roots)
        } else {
            let verifier = Unverified(Arc::clone(&self.provider));
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        let mut config = match &pool.tls.certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(Shown(Arc::clone(certificate)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = offer.alpn();
        Ok(config)
    }

    /// The name to ask for and to check: the pool's, or the origin's own host.
    pub(crate) fn server_name(pool: &Pool, origin: &Origin) -> Result<ServerName<'static>, Fault> {
        let name = pool.tls.sni.as_deref().unwrap_or(&origin.host);
        ServerName::try_from(name.to_owned()).map_err(|_| Fault::ProxyConfigurationError)
    }
}

/// The certificate that a pool shows to its origins.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// For pools with `verify = false`: any certificate will do. Signatures of the handshake are still checked,
/// so that the peer at least has the key it shows.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(name: &str) -> Arc<RootCertStore> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("it is one");
        Arc::new(roots)
    }

    #[test]
    fn settings_with_the_same_hash_stay_apart() {
        let (own, others) = (roots("own"), roots("others"));
        let key = |ca: Option<&Arc<RootCertStore>>, verify, offer| Key {
            fingerprint: 1, // as if everything collided
            offer,
            verify,
            ca: ca.cloned(),
            certificate: None,
        };
        let keys = [
            key(None, true, Offer::Http1),
            key(Some(&own), true, Offer::Http1),
            key(Some(&others), true, Offer::Http1),
            key(None, false, Offer::Http1),
            key(None, true, Offer::Http2),
        ];
        assert_eq!(keys.iter().cloned().collect::<Set<_>>().len(), keys.len());
        let copy = Arc::new(RootCertStore { roots: own.roots.clone() });
        assert!(keys[1] == key(Some(&copy), true, Offer::Http1), "the same authorities from another reading");
    }
}
