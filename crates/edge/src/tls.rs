//! TLS settings towards visitors, made from compiled zones.
//!
//! One `ServerConfig` a zone, so that versions and client certificates are the zone's; all share the
//! provider, the ticket keys and nothing else. The choice by server name is `wire`'s and [`crate::Live`]'s.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use wire::Hello;
use zone::{TlsVersion, Zone};

use crate::node::Node;

/// One zone's TLS settings towards visitors over TCP.
pub(crate) struct VisitorTls {
    /// The suite is the first of [`suites`] that the visitor knows.
    ours_first: Arc<rustls::ServerConfig>,
    /// The suite is the first of the visitor's that we know; all else is the same.
    theirs_first: Arc<rustls::ServerConfig>,
}

impl VisitorTls {
    fn new(mut config: rustls::ServerConfig) -> Self {
        config.ignore_client_order = false;
        let theirs_first = Arc::new(config.clone());
        config.ignore_client_order = true;
        Self { ours_first: Arc::new(config), theirs_first }
    }

    /// Who wants ChaCha20 most has no instructions for AES, and AES would cost it time and battery: it
    /// chooses. Everybody else gets our order.
    pub(crate) fn config_for(&self, hello: &Hello) -> Arc<rustls::ServerConfig> {
        Arc::clone(if hello.prefers_chacha20 { &self.theirs_first } else { &self.ours_first })
    }
}

/// Cipher suites, the most wanted first. Browsers ask for AES-128 with SHA-256 first as well; libraries built
/// on OpenSSL ask for AES-256 with SHA-384, which is as safe for a visit and costs more on both sides: four
/// rounds more for each block, and a key schedule in a hash that common processors have no instructions for.
fn suites() -> Vec<rustls::SupportedCipherSuite> {
    vec![
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}

/// What all zones' TLS settings share.
pub(crate) struct TlsShared {
    provider: Arc<CryptoProvider>,
    tickets: Option<Arc<dyn ProducesTickets>>,
}

impl TlsShared {
    /// Ticket keys are random, rotate every six hours inside rustls, and are shared by all threads.
    pub(crate) fn new() -> Self {
        let provider = Arc::new(CryptoProvider { cipher_suites: suites(), ..aws_lc_rs::default_provider() });
        // Without tickets every handshake is a full one; nothing else is lost.
        let tickets = aws_lc_rs::Ticketer::new().ok();
        Self { provider, tickets }
    }

    /// The settings of one zone; none if it has no certificate.
    pub(crate) fn config_for(
        &self,
        zone: &Zone,
        certificate: Option<&Arc<CertifiedKey>>,
    ) -> Result<Option<Arc<VisitorTls>>, rustls::Error> {
        let Some(certificate) = certificate else { return Ok(None) };
        let versions: &[&rustls::SupportedProtocolVersion] = match zone.tls.minimum {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?;
        let builder = match &zone.tls.client {
            Some(client) => builder.with_client_cert_verifier(Arc::clone(&client.verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(One(Arc::clone(certificate))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // A ticket carries the certificate its handshake proved, and resuming verifies nothing again: zones
        // that ask for certificates get none, so that a changed authority holds from the next connection on.
        match &self.tickets {
            Some(tickets) if zone.tls.client.is_none() => {
                config.ticketer = Arc::clone(tickets);
                config.send_tls13_tickets = 1;
            }
            _ => config.send_tls13_tickets = 0,
        }
        Ok(Some(Arc::new(VisitorTls::new(config))))
    }

    /// The settings of QUIC, one for all zones: certificates follow the snapshot in force. Zones that want a
    /// client certificate answer 421 over HTTP/3, since QUIC settings are chosen before the name is known.
    pub(crate) fn quic_config(&self, node: &Arc<Node>) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
        let resolver = Following(Arc::downgrade(node));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
            config.send_tls13_tickets = 1;
        } else {
            config.send_tls13_tickets = 0;
        }
        config.max_early_data_size = 0; // 0-RTT is replayable (RFC 8446 §8)
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

struct Following(std::sync::Weak<Node>);

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Following")
    }
}

impl ResolvesServerCert for Following {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let live = self.0.upgrade()?.live();
        live.site_for_handshake(hello.server_name())?.certificate.load_full()
    }
}
