//! TLS towards origins: what is accepted, what is refused, and under which name.

use std::sync::Arc;

use exchange::Fault;
use origin::{Fleet, FleetSettings};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zone::{OriginProtocol, OriginScheme, Pool};

use crate::rig::{Node, Peer, at, listen, pool, request, run, settle};

/// An authority and what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        Arc::new(roots)
    }

    fn signed(&self, name: &str, is_expired: bool) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if is_expired {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("it is signed"), key)
    }

    pub(crate) fn server(&self, name: &str, alpn: &[&[u8]]) -> ServerConfig {
        self.server_with(name, alpn, false, false)
    }

    fn server_with(&self, name: &str, alpn: &[&[u8]], is_expired: bool, asks_visitor: bool) -> ServerConfig {
        let (certificate, key) = self.signed(name, is_expired);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = if asks_visitor {
            let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("they match");
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    fn certified(&self, name: &str) -> Arc<rustls::sign::CertifiedKey> {
        let (certificate, key) = self.signed(name, false);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = rustls::sign::CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider);
        Arc::new(certified.expect("they match"))
    }
}

/// Serves HTTP/1.1 over TLS, and tells in `X-Sni` which name was asked for.
async fn serving(config: ServerConfig) -> u16 {
    serving_with(config, |stream| async move {
        let sni = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
        let mut peer = Peer::new(stream);
        while !peer.head().await.is_empty() {
            peer.write(format!("HTTP/1.1 200 OK\r\nX-Sni: {sni}\r\nContent-Length: 2\r\n\r\nok")).await;
        }
    })
    .await
}

pub(crate) async fn serving_with<F>(
    config: ServerConfig,
    serve: impl Fn(TlsStream<TcpStream>) -> F + 'static,
) -> u16
where
    F: Future<Output = ()> + 'static,
{
    let (listener, address) = listen().await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let serve = std::rc::Rc::new(serve);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, serve) = (acceptor.clone(), std::rc::Rc::clone(&serve));
            tokio::task::spawn_local(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    address.port()
}

fn secure(port: u16, ca: Option<Arc<RootCertStore>>) -> Pool {
    let mut secure = pool(vec![at(OriginScheme::Https, "localhost", port, OriginProtocol::Http1)]);
    secure.tls.ca = ca;
    secure
}

#[test]
fn a_verified_origin_serves_and_its_connection_changes_threads() {
    run(async {
        let authority = Authority::new();
        let port = serving(authority.server("localhost", &[])).await;
        let node = Node::new(secure(port, Some(authority.roots())));
        let other = Node::thread(Arc::clone(&node.fleet), Arc::clone(&node.pool), 2);
        for round in 0..6 {
            let answer =
                [&node, &other][round % 2].fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(answer.body, b"ok");
            assert_eq!(answer.head.fields.value(b"x-sni"), Some(&b"localhost"[..]));
            settle().await;
            for node in [&node, &other] {
                node.tick(600);
            }
        }
        let report = node.report();
        assert_eq!((report.opened, report.reused), (1, 5));
    });
}

#[test]
fn certificates_that_are_not_accepted_have_their_fault() {
    run(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let roots = Some(authority.roots());
        let port = serving(authority.server("localhost", &[])).await;
        let fetch = async |pool: Pool| {
            let node = Node::new(pool);
            let result = node.fetch(&request("GET", "/"), b"").await;
            assert!(result.is_ok() || node.report().connections == 0);
            result.map(|answer| answer.body).map_err(|fault| fault.as_str())
        };
        let refused = Err(Fault::TlsCertificateError.as_str());
        assert_eq!(fetch(secure(port, Some(stranger.roots()))).await, refused, "another authority");
        let other = serving(authority.server("other.test", &[])).await;
        assert_eq!(fetch(secure(other, roots.clone())).await, refused, "another name");
        let expired = serving(authority.server_with("localhost", &[], true, false)).await;
        assert_eq!(fetch(secure(expired, roots.clone())).await, refused, "expired");
        let mut blind = secure(expired, None);
        blind.tls.verify = false;
        assert_eq!(fetch(blind).await, Ok(b"ok".to_vec()), "only where it is switched off");
        let mut named = secure(other, roots.clone());
        named.tls.sni = Some("other.test".to_owned());
        assert_eq!(fetch(named).await, Ok(b"ok".to_vec()), "the name it is told to ask for");
        // Without authorities of its own a pool uses the node's.
        let fleet = Fleet::new(FleetSettings { roots: roots.clone(), ..FleetSettings::default() });
        let node = Node::with_fleet(fleet, secure(port, None));
        assert_eq!(node.fetch(&request("GET", "/"), b"").await.expect("an answer").body, b"ok");
    });
}

#[test]
fn a_client_certificate_is_shown_where_there_is_one() {
    run(async {
        let authority = Authority::new();
        let port = serving(authority.server_with("localhost", &[], false, true)).await;
        let mut shown = secure(port, Some(authority.roots()));
        let without = Node::new(shown.clone());
        let fault = without.fetch(&request("GET", "/"), b"").await.err();
        assert_eq!(fault, Some(Fault::TlsAlertReceived));
        shown.tls.certificate = Some(authority.certified("rempart.test"));
        let node = Node::new(shown);
        assert_eq!(node.fetch(&request("GET", "/"), b"").await.expect("an answer").body, b"ok");
    });
}

#[test]
fn what_is_no_tls_is_a_protocol_error() {
    run(async {
        let address = crate::rig::answering(|_, _| Vec::new()).await;
        // By address, so that no resolver takes part in the flight of time below.
        let mut silent = secure(address.port(), Some(Authority::new().roots()));
        silent.origins[0].host = "127.0.0.1".to_owned();
        let node = Node::new(silent);
        let plain = crate::rig::origin(|mut peer, _| async move {
            peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        })
        .await;
        let spoken = Node::new(secure(plain.port(), Some(Authority::new().roots())));
        assert_eq!(spoken.fetch(&request("GET", "/"), b"").await.err(), Some(Fault::TlsProtocolError));
        // Silence is a matter of time.
        let chosen = node.choose();
        let late = crate::rig::while_time_flies(&node.deadlines, node.open(&chosen)).await;
        assert_eq!(late.err(), Some(Fault::ConnectionTimeout));
    });
}

#[test]
fn a_cut_over_tls_is_not_taken_for_an_end() {
    run(async {
        let authority = Authority::new();
        let config = authority.server("localhost", &[]);
        let port = serving_with(config, |stream| async move {
            let mut peer = Peer::new(stream);
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\n\r\nuntil close").await;
            drop(peer.stream.into_inner().0); // no close_notify
        })
        .await;
        let node = Node::new(secure(port, Some(authority.roots())));
        let result = node.fetch(&request("GET", "/"), b"").await;
        assert_eq!(result.err(), Some(Fault::HttpResponseIncomplete));
    });
}

#[test]
fn bytes_that_hide_behind_an_answer_are_found_before_the_next() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n";
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let whole = [HEAD.as_bytes(), &[b'x'; 20_000], forged.as_bytes()].concat();
    // A reader that stops exactly at the end of the answer: 16 KiB come with the head, the rest in one read.
    let scratch_bytes = 20_000 - (16 * 1024 - HEAD.len());
    run(async move {
        let authority = Authority::new();
        let bytes = whole.clone();
        let port = serving_with(authority.server("localhost", &[]), move |stream| {
            let bytes = bytes.clone();
            async move {
                let mut peer = Peer::new(stream);
                while !peer.head().await.is_empty() {
                    peer.write(&bytes).await;
                }
            }
        })
        .await;
        let clear = crate::rig::origin(move |mut peer, _| {
            let whole = whole.clone();
            async move {
                while !peer.head().await.is_empty() {
                    peer.write(&whole).await;
                }
            }
        })
        .await;
        for pool in [secure(port, Some(authority.roots())), crate::rig::plain(clear)] {
            let node = Node::new(pool);
            for _ in 0..3 {
                let mut link = node.open(&node.choose()).await.expect("a connection");
                settle().await;
                let asked = request("GET", "/");
                let answer = crate::rig::exchange(&mut link, &asked, b"", scratch_bytes).await;
                assert_eq!(answer.expect("an answer").body.len(), 20_000, "and never the forged one");
                link.finish();
                settle().await;
            }
            assert_eq!(node.report().opened, 3);
        }
    });
}
