//! QUIC's TLS, overheard: the visitor's hello is read for its fingerprint on its way into the TLS library.
//!
//! A hello over QUIC lies in encrypted packets and may come in several. quinn decrypts them and puts them in
//! order, and gives the bytes to a TLS session that a server's settings begin. The session here passes
//! everything on to rustls, and keeps a copy of the first message until it is whole. rustls has the first and
//! the last word: what it refuses ends the handshake, and what only [`crate::hello`] refuses is a visitor
//! without a fingerprint. Called by `h3/endpoint.rs`; read by `h3/connection.rs`.

use std::any::Any;
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn::{ConnectionId, Side};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;

use crate::hello::{Gathering, quic_fingerprint};

/// rustls for QUIC, whose sessions are overheard.
pub(super) struct Overhearing(pub(super) Arc<QuicServerConfig>);

/// What a handshake came to, in place of quinn's own words for it.
pub(super) struct Shaken {
    pub(super) server_name: Option<String>,
    /// JA4 of the hello; none if it could not be read.
    pub(super) ja4: Option<Box<str>>,
}

impl ServerConfig for Overhearing {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let inner = Arc::clone(&self.0).start_session(version, params);
        Box::new(Overheard { inner, heard: Heard::Part(Gathering::default()) })
    }
}

/// One session.
struct Overheard {
    inner: Box<dyn Session>,
    heard: Heard,
}

/// What was heard of the hello.
enum Heard {
    Part(Gathering),
    Whole(Option<Box<str>>),
}

impl Heard {
    fn hear(&mut self, bytes: &[u8]) {
        let Self::Part(gathering) = self else { return };
        match gathering.add(bytes) {
            Ok(None) => {}
            Ok(Some(message)) => *self = Self::Whole(quic_fingerprint(&message)),
            Err(_) => *self = Self::Whole(None),
        }
    }
}

impl Session for Overheard {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.heard.hear(buf);
        self.inner.read_handshake(buf)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let data = self.inner.handshake_data()?.downcast::<HandshakeData>().ok();
        let ja4 = match &self.heard {
            Heard::Whole(ja4) => ja4.clone(),
            Heard::Part(_) => None,
        };
        Some(Box::new(Shaken { server_name: data.and_then(|data| data.server_name), ja4 }))
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
