//! TLS towards visitors: which certificate, which version, whose certificate, and what follows from it.
//!
//! Read next: [`super::zones`].

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::ClientConfig;
use testkit::authority::{Authority, Greeting};
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec};
use testkit::visitor::{Http2Visitor, Visitor, WebSocket};

use super::rig::{Certificates, fields, saying, start, tls_zone, with_leaf};

fn https() -> NodeSpec {
    NodeSpec::new().listener("https").listener("http")
}

fn open(node: &Node, name: &str, config: &Arc<ClientConfig>) -> Result<Visitor> {
    Visitor::tls(node.address("https")?, name, config)
}

/// A session ends or an answer comes: with TLS 1.3 a refused certificate shows only at the first read.
fn status_of(node: &Node, name: &str, config: &Arc<ClientConfig>) -> Result<u16> {
    Ok(open(node, name, config)?.fetch(name, "/")?.status)
}

#[test]
fn each_name_gets_its_own_certificate_and_zone() -> Result<()> {
    let (first, second) = (saying("first")?, saying("second")?);
    let certificates = Certificates::new()?;
    let wild = certificates.authority.leaf(&["*.c.example"])?;
    let spec = certificates.zone(https(), "a", "a.example", "", &first)?;
    let spec = certificates.zone(spec, "b", "b.example", "", &second)?;
    let spec = with_leaf(spec, "c", &wild).zone("c", tls_zone("c", "*.c.example", "", &second.url()));
    let node = start(&spec)?;
    let config = certificates.trusting(&["http/1.1"])?;
    for (name, body) in [("a.example", "first"), ("b.example", "second"), ("x.c.example", "second")] {
        let mut visitor = open(&node, name, &config)?;
        assert_eq!(visitor.fetch(name, "/")?.text(), body);
        assert_eq!(visitor.stream().tls_version().as_deref(), Some("TLSv1_3"));
    }
    assert_eq!(second.requests()[0].fields.first("x-forwarded-proto"), Some("https"));
    let line = node.wait_for_log(|line| line["sni"] == "a.example")?;
    assert_eq!(line["tls"], "TLSv1.3");
    assert!(line["ja4"].as_str().is_some_and(|ja4| ja4.starts_with("t13d")), "{line}");
    node.finish_healthy()
}

#[test]
fn a_websocket_passes_over_tls_1_3_at_once() -> Result<()> {
    let origin = OriginSpec::new().unrecorded().answering(|_| Answer::websocket())?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let config = certificates.trusting(&["http/1.1"])?;
    let text = "long ".repeat(20_000);
    // The request leaves with the end of the handshake, while the node's session tickets are on their way.
    let converse = || -> Result<()> {
        for _ in 0..5 {
            let visitor = open(&node, "a.example", &config)?;
            assert_eq!(visitor.stream().tls_version().as_deref(), Some("TLSv1_3"));
            let mut socket = WebSocket::open(visitor, "a.example", "/", &fields(&[]))?;
            for text in ["a", &text] {
                assert_eq!(socket.exchange(text)?.text(), text);
            }
            socket.close(1000, "done")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..20).map(|_| scope.spawn(converse)).collect();
        visitors.into_iter().try_for_each(|one| one.join().expect("a visitor does not panic"))
    })?;
    assert_eq!(origin.counters().requests, 100);
    node.finish_healthy()
}

#[test]
fn a_name_without_a_zone_is_refused_in_the_handshake() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let config = certificates.trusting(&[])?;
    let refused = open(&node, "b.example", &config).err().context("the handshake went through")?;
    assert!(format!("{refused:#}").to_lowercase().contains("unrecognised"), "{refused:#}");
    assert_eq!(
        node.metric("rempart_tls_handshakes_total{version=\"unknown\",result=\"failed\"}")?,
        Some(1.0)
    );
    node.finish_healthy()
}

#[test]
fn alpn_chooses_http_2_or_http_1() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let visitor = Http2Visitor::tls(node.address("https")?, "a.example", &certificates.trusting(&["h2"])?)?;
    assert_eq!(visitor.fetch("a.example", "/")?.version, "HTTP/2");
    let mut plain = open(&node, "a.example", &certificates.trusting(&["http/1.1"])?)?;
    assert_eq!(plain.stream().alpn().as_deref(), Some("http/1.1"));
    assert_eq!(plain.fetch("a.example", "/")?.version, "HTTP/1.1");
    let mut silent = open(&node, "a.example", &certificates.trusting(&[])?)?;
    assert_eq!((silent.stream().alpn(), silent.fetch("a.example", "/")?.status), (None, 200));
    drop((visitor, plain, silent));
    node.finish_healthy()
}

#[test]
fn http_3_is_offered_to_those_who_came_over_tls() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let mut visitor = open(&node, "a.example", &certificates.trusting(&[])?)?;
    let offer = visitor.fetch("a.example", "/")?.fields.first("alt-svc").map(str::to_owned);
    let port = node.address("https")?.port();
    assert!(offer.as_ref().is_some_and(|offer| offer.contains(&format!("h3=\":{port}\""))), "{offer:?}");
    assert!(!visitor.fetch("a.example", "/q")?.fields.has("strict-transport-security"), "a rule's choice");
    let plain = Visitor::tcp(node.address("http")?)?.fetch("a.example", "/")?;
    assert!(!plain.fields.has("alt-svc"));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn each_zone_has_its_own_floor_of_versions() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let spec = certificates.zone(https(), "new", "new.example", "minimum = \"1.3\"", &origin)?;
    let spec = certificates.zone(spec, "old", "old.example", "", &origin)?;
    let node = start(&spec)?;
    let old = certificates.authority.client_config(Greeting { tls12_only: true, ..Greeting::default() })?;
    let mut visitor = open(&node, "old.example", &old)?;
    assert_eq!(visitor.stream().tls_version().as_deref(), Some("TLSv1_2"));
    assert_eq!(visitor.fetch("old.example", "/")?.status, 200);
    assert!(open(&node, "new.example", &old).is_err());
    // The same connection may not be used for the stricter zone either.
    assert_eq!(visitor.fetch("new.example", "/")?.status, 421);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_zone_may_ask_visitors_for_a_certificate_and_others_do_not_open_its_door() -> Result<()> {
    let origin = saying("inside")?;
    let certificates = Certificates::new()?;
    let (own, foreign) = (Authority::new()?, Authority::new()?);
    let spec = https().file("certs/clients.pem", own.pem().as_bytes());
    let asks = "client_ca = \"../certs/clients.pem\"";
    let spec = certificates.zone(spec, "mine", "mine.example", asks, &origin)?;
    let spec = certificates.zone(spec, "open", "open.example", "", &origin)?;
    let node = start(&spec)?;
    let (mine, theirs) = (own.client_leaf("me")?, foreign.client_leaf("them")?);
    let with =
        |certificate| certificates.authority.client_config(Greeting { certificate, ..Greeting::default() });
    assert_eq!(status_of(&node, "mine.example", &with(Some(&mine))?)?, 200);
    assert!(status_of(&node, "mine.example", &with(None)?).is_err());
    assert!(status_of(&node, "mine.example", &with(Some(&theirs))?).is_err());
    // A connection made for the open zone must not carry requests to the other.
    let mut visitor = open(&node, "open.example", &with(Some(&mine))?)?;
    assert_eq!(visitor.fetch("open.example", "/")?.status, 200);
    let refused = visitor.fetch("mine.example", "/")?;
    assert_eq!((refused.status, super::rig::word(&refused)), (421, "stricter_tls".to_owned()));
    // Nor does cleartext.
    assert_eq!(Visitor::tcp(node.address("http")?)?.fetch("mine.example", "/")?.status, 421);
    assert_eq!(origin.counters().requests, 2);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn an_optional_certificate_is_optional() -> Result<()> {
    let origin = saying("inside")?;
    let certificates = Certificates::new()?;
    let own = Authority::new()?;
    let spec = https().file("certs/clients.pem", own.pem().as_bytes());
    let asks = "client_ca = \"../certs/clients.pem\"\nclient_certificate = \"optional\"";
    let node = start(&certificates.zone(spec, "a", "a.example", asks, &origin)?)?;
    let mine = own.client_leaf("me")?;
    for certificate in [None, Some(&mine)] {
        let config = certificates.authority.client_config(Greeting { certificate, ..Greeting::default() })?;
        assert_eq!(status_of(&node, "a.example", &config)?, 200);
    }
    node.finish_healthy()
}

#[test]
fn a_session_of_one_zone_does_not_resume_into_another() -> Result<()> {
    // A client that keeps one store of tickets must not carry the open zone's session over.
    let origin = saying("inside")?;
    let certificates = Certificates::new()?;
    let own = Authority::new()?;
    let spec = https().file("certs/clients.pem", own.pem().as_bytes());
    let asks = "client_ca = \"../certs/clients.pem\"";
    let spec = certificates.zone(spec, "mine", "mine.example", asks, &origin)?;
    let node = start(&certificates.zone(spec, "open", "open.example", "", &origin)?)?;
    let config = certificates.trusting(&[])?;
    for _ in 0..3 {
        assert_eq!(status_of(&node, "open.example", &config)?, 200);
        assert!(status_of(&node, "mine.example", &config).is_err());
    }
    node.finish_healthy()
}

#[test]
fn sessions_are_resumed_whichever_thread_takes_the_connection() -> Result<()> {
    for tls12_only in [false, true] {
        let origin = saying("a")?;
        let certificates = Certificates::new()?;
        let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
        let config = certificates.authority.client_config(Greeting { tls12_only, ..Greeting::default() })?;
        assert_eq!(status_of(&node, "a.example", &config)?, 200);
        for _ in 0..8 {
            let mut visitor = open(&node, "a.example", &config)?;
            assert_eq!(visitor.fetch("a.example", "/")?.status, 200);
            let testkit::stream::Stream::TlsClient(tls) = visitor.stream() else {
                anyhow::bail!("not TLS");
            };
            assert_eq!(tls.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        }
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn key_exchange_is_post_quantum_where_the_visitor_offers_it() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let visitor = open(&node, "a.example", &certificates.trusting(&[])?)?;
    let testkit::stream::Stream::TlsClient(tls) = visitor.stream() else { anyhow::bail!("not TLS") };
    let group = tls.conn.negotiated_key_exchange_group().context("a group")?.name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn the_suite_is_aes_128_unless_the_visitor_wants_chacha20_most() -> Result<()> {
    use rustls::CipherSuite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    };
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    for (tls12_only, wanted, agreed) in [
        (false, TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256),
        (false, TLS13_CHACHA20_POLY1305_SHA256, TLS13_CHACHA20_POLY1305_SHA256),
        (true, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (true, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ] {
        let greeting = Greeting { tls12_only, first_suite: Some(wanted), ..Greeting::default() };
        let mut visitor = open(&node, "a.example", &certificates.authority.client_config(greeting)?)?;
        assert_eq!(visitor.fetch("a.example", "/")?.text(), "a");
        let testkit::stream::Stream::TlsClient(tls) = visitor.stream() else { anyhow::bail!("not TLS") };
        assert_eq!(tls.conn.negotiated_cipher_suite().context("a suite")?.suite(), agreed, "{wanted:?}");
    }
    node.finish_healthy()
}

#[test]
fn hsts_is_said_over_tls_and_only_there() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let quiet = "\n[[rule]]\nphase = \"http_config_settings\"\n\
                 expression = 'http.request.uri.path eq \"/q\"'\n\
                 action = \"set_config\"\nconfig = { hsts = false }\n";
    let hsts = format!("hsts = {{ max_age_s = 600, include_subdomains = true }}\n{quiet}");
    let node = start(&certificates.zone(https(), "a", "a.example", &hsts, &origin)?)?;
    let mut visitor = open(&node, "a.example", &certificates.trusting(&[])?)?;
    let said = visitor.fetch("a.example", "/")?.fields.first("strict-transport-security").map(str::to_owned);
    assert_eq!(said.as_deref(), Some("max-age=600; includeSubDomains"));
    let plain = Visitor::tcp(node.address("http")?)?.fetch("a.example", "/")?;
    assert!(!plain.fields.has("strict-transport-security"));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn the_zone_of_the_handshake_says_how_long_a_head_may_take() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let spec = certificates.zone(https(), "a", "a.example", "\n[http]\nheader_ms = 300", &origin)?;
    let node = start(&certificates.zone(spec, "b", "b.example", "", &origin)?)?;
    let config = certificates.trusting(&["http/1.1"])?;
    let mut patient = open(&node, "b.example", &config)?;
    patient.send("GET / HTTP/1.1\r\n")?;
    let mut brief = open(&node, "a.example", &config)?;
    brief.send("GET / HTTP/1.1\r\n")?;
    assert_eq!(brief.expect_response("GET")?.status, 408);
    patient.send("Host: b.example\r\n\r\n")?;
    assert_eq!(patient.expect_response("GET")?.status, 200, "it began earlier");
    drop(patient);
    node.finish_healthy()
}

#[test]
fn cleartext_is_sent_to_https_where_the_zone_wants_it() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "redirect_https = true", &origin)?)?;
    let mut plain = Visitor::tcp(node.address("http")?)?;
    let response = plain.ask("POST", "/p%20q?x=1", "a.example", &fields(&[]), b"form")?;
    assert_eq!(response.status, 308);
    assert_eq!(response.fields.first("location"), Some("https://a.example/p%20q?x=1"));
    // A body that is still on its way when the answer is there ends the connection with it.
    let mut plain = Visitor::tcp(node.address("http")?)?;
    let response = plain.fetch("a.example:8080", "/");
    assert_eq!(response?.fields.first("location"), Some("https://a.example/"));
    // What asks about the server as a whole has a URL without a path (RFC 9112 §3.3).
    let response = plain.ask("OPTIONS", "*", "a.example", &fields(&[]), b"")?;
    assert_eq!((response.status, response.fields.first("location")), (308, Some("https://a.example")));
    assert_eq!(origin.counters().requests, 0);
    node.write_zone(
        "a",
        &tls_zone("a", "a.example", "redirect_https = true\nredirect_port = 8443", &origin.url()),
    )?;
    let published = node.publish()?;
    assert!(published.status.success(), "{published:?}");
    let response = plain.fetch("a.example:8080", "/x")?;
    assert_eq!(response.fields.first("location"), Some("https://a.example:8443/x"));
    drop(plain);
    assert_eq!(status_of(&node, "a.example", &certificates.trusting(&[])?)?, 200);
    node.finish_healthy()
}

#[test]
fn a_certificate_whose_file_changed_is_shown_without_a_command() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let config = certificates.trusting(&[])?;
    let mut before = open(&node, "a.example", &config)?;
    assert_eq!(before.fetch("a.example", "/")?.status, 200);
    let next = certificates.authority.leaf(&["a.example"])?;
    let (folder, der) = (node.folder(), next.certificate_der()?);
    folder.write("certs/a.key", &next.key_pem)?;
    folder.write("certs/a.pem", &next.certificate_pem)?;
    node.wait_for_event(|event| event["event"] == "certificate_renewed")?;
    // A visitor without a session to resume: a resumed one shows what was shown before.
    let fresh = certificates.trusting(&[])?;
    assert_eq!(open(&node, "a.example", &fresh)?.stream().peer_certificates().first(), Some(&der));
    // The open connection goes on.
    assert_eq!(before.fetch("a.example", "/")?.status, 200);
    drop(before);
    assert!(node.metric("rempart_certificate_reloads_total{result=\"ok\"}")? >= Some(1.0));
    node.finish_healthy()
}

#[test]
fn a_broken_new_certificate_keeps_the_old_one_and_says_so() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let config = certificates.trusting(&[])?;
    node.folder().write("certs/a.pem", "-----BEGIN CERTIFICATE-----\nbroken\n")?;
    let event = node.wait_for_event(|event| event["event"] == "certificate_unusable")?;
    assert_eq!(event["level"], "error");
    assert!(event.to_string().contains("a.pem"), "{event}");
    assert_eq!(status_of(&node, "a.example", &config)?, 200);
    assert!(node.metric("rempart_certificate_reloads_total{result=\"failed\"}")? >= Some(1.0));
    // A good one later is taken.
    let next = certificates.authority.leaf(&["a.example"])?;
    let der = next.certificate_der()?;
    node.folder().write("certs/a.key", &next.key_pem)?;
    node.folder().write("certs/a.pem", &next.certificate_pem)?;
    node.wait_for_event(|event| event["event"] == "certificate_renewed")?;
    assert_eq!(
        open(&node, "a.example", &certificates.trusting(&[])?)?.stream().peer_certificates().first(),
        Some(&der)
    );
    Ok(())
}

#[test]
fn an_http_2_connection_is_not_reused_for_a_zone_that_asks_more() -> Result<()> {
    let origin = saying("inside")?;
    let certificates = Certificates::new()?;
    let own = Authority::new()?;
    let spec = https().file("certs/clients.pem", own.pem().as_bytes());
    let spec =
        certificates.zone(spec, "mine", "mine.example", "client_ca = \"../certs/clients.pem\"", &origin)?;
    let node = start(&certificates.zone(spec, "open", "open.example", "", &origin)?)?;
    let visitor =
        Http2Visitor::tls(node.address("https")?, "open.example", &certificates.trusting(&["h2"])?)?;
    assert_eq!(visitor.fetch("open.example", "/")?.status, 200);
    assert_eq!(visitor.fetch("mine.example", "/")?.status, 421);
    assert_eq!(visitor.fetch("open.example", "/")?.status, 200);
    drop(visitor);
    node.finish_healthy()
}
