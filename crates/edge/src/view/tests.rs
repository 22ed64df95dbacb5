//! What rules see of a request, field by field, through the language itself.

use std::net::SocketAddr;

use exchange::{IdSource, TlsFacts};
use fuel::Fuel;
use rules::{
    Action, Limits, Lists, Phase, RuleSpec, RulesetSpec, Rulesets, Scalar, Scratch, Shape, Skipped, Source,
};

use super::*;

fn request() -> Request {
    let mut request = Request::default();
    request.version = Version::Http2;
    request.set_method(b"POST");
    request.set_authority(b"Www.example.org:8443");
    request.set_target(b"/old/a%20b.JPG?q=1&q=2");
    request.body = BodySize::Length(12);
    for (name, value) in [
        ("Host", "www.example.org"),
        ("User-Agent", "tester"),
        ("Cookie", "a=1; b=2"),
        ("X-Two", "one"),
        ("x-two", "two"),
    ] {
        request.fields.push(name.as_bytes(), value.as_bytes());
    }
    request
}

fn connection(tls: bool) -> Connection {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let (held, waiting) = Default::default();
    let tls = tls.then(|| {
        Box::new(TlsFacts {
            version: TlsVersion::V1_3,
            sni: None,
            ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6".into()),
            has_client_certificate: true,
            verified_for: None,
        })
    });
    let (visitor, local) = (address("10.0.0.9:5000"), address("192.0.2.80:8443"));
    Connection { id: 1, visitor, local, tls, http3_port: None, held, waiting }
}

/// Whether a condition holds for a view.
fn holds(phase: Phase, expression: &str, view: &RequestView<'_>) -> bool {
    let rule = RuleSpec {
        id: "r".to_owned(),
        description: String::new(),
        enabled: true,
        expression: expression.to_owned(),
        action: Action::Log,
    };
    let entry = RulesetSpec { id: "e".to_owned(), enabled: true, rules: vec![rule] };
    let (rulesets, problems) = Rulesets::compile(phase, &entry, &[], &Lists::new(), &Limits::default());
    assert_eq!(problems, [], "{expression}");
    let (mut scratch, mut fuel, mut skipped) = (Scratch::new(), Fuel::new(100_000), Skipped::default());
    let outcome = rulesets.evaluate(view, &mut scratch, &mut fuel, &mut skipped).expect("fuel");
    !outcome.matched.is_empty()
}

#[test]
fn every_field_with_a_source_has_its_value() {
    let (request, connection) = (request(), connection(true));
    let visitor = "203.0.113.7".parse().expect("an address");
    let id = IdSource::new([1, 2]).next_id();
    let asked = Asked::new(&connection, (visitor, Scheme::Https), id, "a", 1_700_000_000_123_456);
    let view = RequestView::of(&asked, &request, None);
    let ray = format!("cf.ray_id eq \"{id}\"");
    for expression in [
        "http.host eq \"Www.example.org\"",
        "http.request.method eq \"POST\"",
        "http.request.version eq \"HTTP/2\"",
        "http.request.uri eq \"/old/a%20b.JPG?q=1&q=2\"",
        "http.request.uri.path eq \"/old/a%20b.JPG\"",
        "http.request.uri.path.extension eq \"jpg\"",
        "http.request.uri.query eq \"q=1&q=2\"",
        "http.request.uri.args[\"q\"][1] eq \"2\"",
        "http.request.full_uri eq \"https://Www.example.org/old/a%20b.JPG?q=1&q=2\"",
        "http.request.headers[\"x-two\"][1] eq \"two\"",
        "http.request.cookies[\"b\"][0] eq \"2\"",
        "http.user_agent eq \"tester\"",
        "http.request.body.size eq 12",
        "http.request.timestamp.sec eq 1700000000",
        "http.request.timestamp.msec eq 123",
        "ip.src eq 203.0.113.7",
        "cf.edge.server_ip eq 192.0.2.80",
        "cf.edge.server_port eq 8443",
        "cf.edge.client_tcp",
        "ssl",
        "cf.tls_version eq \"TLSv1.3\"",
        "cf.bot_management.ja4 eq \"t13d1516h2_8daaf6152771_b186095e22b6\"",
        "cf.tls_client_auth.cert_verified",
        "cf.zone.name eq \"a\"",
        &ray,
    ] {
        assert!(holds(Phase::FirewallCustom, expression, &view), "{expression}");
    }
}

#[test]
fn fields_without_a_source_have_their_empty_value() {
    let (request, connection) = (Request::default(), connection(false));
    let visitor = "2001:db8::1".parse().expect("an address");
    let id = IdSource::new([1, 2]).next_id();
    let asked = Asked::new(&connection, (visitor, Scheme::Http), id, "a", 0);
    let view = RequestView::of(&asked, &request, None);
    for expression in [
        "ip.src in {2001:db8::/32}",
        "not ssl",
        "cf.tls_version eq \"\"",
        "cf.bot_management.ja4 eq \"\"",
        "not cf.tls_client_auth.cert_presented",
        "ip.src.country eq \"\"",
        "ip.src.asnum eq 0",
        "cf.bot_management.score eq 99",
        "http.host eq \"\"",
        "not has_key(http.request.headers, \"x-two\")",
    ] {
        assert!(holds(Phase::FirewallCustom, expression, &view), "{expression}");
    }
}

/// What the reference says of sources holds for what rules see.
#[test]
fn the_table_of_fields_names_the_sources_that_there_are() {
    let (mut request, connection) = (request(), connection(true));
    request.set_target(b"/");
    let id = IdSource::new([1, 2]).next_id();
    let visitor = "203.0.113.7".parse().expect("an address");
    let mut asked = Asked::new(&connection, (visitor, Scheme::Https), id, "a", 1);
    asked.whereabouts.country = Some(*b"GB");
    asked.whereabouts.continent = Some(*b"EU");
    asked.origin_us = Some(1);
    let response = Response { status: 404, ..Response::default() };
    let view = RequestView { response: Some(&response), ..RequestView::of(&asked, &request, None) };
    // Whole heads are refused rather than cut, so that it is never true.
    let never_given = [Field::HeadersTruncated];
    for field in Field::ALL {
        let row = field.row();
        let has_value = match (row.ty.shape, row.ty.scalar) {
            (Shape::One, Scalar::Bytes) => view.bytes(*field).is_some(),
            (Shape::One, Scalar::Int) => view.int(*field).is_some(),
            (Shape::One, Scalar::Bool) => view.bool(*field).is_some(),
            (Shape::One, Scalar::Ip) => view.ip(*field).is_some(),
            _ => continue,
        };
        let is_given = row.source == Source::Given && !never_given.contains(field);
        assert_eq!(has_value, is_given, "{}", row.name);
    }
}

#[test]
fn a_rewrite_shows_in_the_plain_fields_and_not_in_the_raw_ones() {
    let (request, connection) = (request(), connection(false));
    let id = IdSource::new([1, 2]).next_id();
    let asked = Asked::new(&connection, (connection.visitor.ip(), Scheme::Http), id, "a", 0);
    let rewritten = Some(&b"/new?x=1"[..]);
    let view = RequestView::of(&asked, &request, rewritten);
    for expression in [
        "http.request.uri.path eq \"/new\"",
        "http.request.uri.query eq \"x=1\"",
        "raw.http.request.uri.path eq \"/old/a%20b.JPG\"",
        "raw.http.request.uri eq \"/old/a%20b.JPG?q=1&q=2\"",
    ] {
        assert!(holds(Phase::FirewallCustom, expression, &view), "{expression}");
    }
}

#[test]
fn an_answer_shows_its_status_and_its_fields() {
    let (request, connection) = (request(), connection(false));
    let id = IdSource::new([1, 2]).next_id();
    let mut asked = Asked::new(&connection, (connection.visitor.ip(), Scheme::Http), id, "a", 0);
    (asked.edge_us, asked.origin_us) = (9_999, Some(5_000));
    let mut response = Response { status: 404, ..Response::default() };
    response.fields.push(b"Content-Type", b"text/HTML; charset=utf-8");
    let view = RequestView { response: Some(&response), ..RequestView::of(&asked, &request, None) };
    for expression in [
        "http.response.code eq 404",
        "http.response.headers[\"content-type\"][0] contains \"HTML\"",
        "http.response.content_type.media_type eq \"text/html\"",
        "cf.timings.edge_msec eq 9",
        "cf.timings.origin_ttfb_msec eq 5",
        "http.request.method eq \"POST\"",
    ] {
        assert!(holds(Phase::ResponseHeadersTransform, expression, &view), "{expression}");
    }
}
