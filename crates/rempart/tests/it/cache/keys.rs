//! What tells one answer from another, and what strangers cannot slip in.

use super::*;

#[test]
fn what_a_stranger_says_in_forwarding_fields_reaches_no_answer_that_is_shared() -> Result<()> {
    let origin = counting(|request, answer| {
        let host = request.fields.first("x-forwarded-host").unwrap_or_default().to_owned();
        let url = request.fields.first("x-original-url").unwrap_or("none").to_owned();
        let twins = request.fields.all("x-forwarded-prefix").len();
        answer.field("Cache-Control", "max-age=60").part(format!(" {host} {url} {twins}"))
    })?;
    let node = before(&origin, "")?;
    let evil = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Original-URL", "/evil"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Rewrite-URL", "/evil"),
    ];
    let first = with(&node, "/a", &evil)?;
    assert_eq!(first.text(), format!("answer 0 {HOST} none 0"));
    let second = get(&node, "/a")?;
    assert!(is_hit(&second) && second.text() == first.text());
    node.finish_healthy()
}

#[test]
fn what_connection_names_reaches_neither_the_origin_nor_the_key() -> Result<()> {
    let origin = counting(|request, answer| {
        let of = |name: &str| request.fields.first(name).unwrap_or("none").to_owned();
        let text = format!(" {} {}", of("accept-language"), of("x-tenant"));
        answer.field("Cache-Control", "max-age=60").field("Vary", "Accept-Language").part(text)
    })?;
    let node = before(&origin, "key = { headers = [\"X-Tenant\"] }")?;
    let french = [("Accept-Language", "fr"), ("X-Tenant", "t")];
    let named = [&french[..], &[("Connection", "Accept-Language, X-Tenant")]].concat();
    assert_eq!(with(&node, "/a", &named)?.text(), "answer 0 none none");
    assert_eq!(get(&node, "/a")?.text(), "answer 0 none none");
    assert_eq!(with(&node, "/a", &french)?.text(), "answer 1 fr t");
    assert_eq!(with(&node, "/a", &named)?.text(), "answer 0 none none");
    node.finish_healthy()
}

#[test]
fn what_comes_compressed_reaches_only_who_can_read_it_whether_the_origin_says_so_or_not() -> Result<()> {
    let origin = counting(|request, answer| {
        let takes =
            |coding: &str| request.fields.first("accept-encoding").is_some_and(|it| it.contains(coding));
        let answer = answer.field("Cache-Control", "max-age=60");
        match (takes("br"), takes("gzip")) {
            (true, _) => answer.field("Content-Encoding", "br").part(" in Brotli"),
            (false, true) => answer.field("Content-Encoding", "gzip").part(" in gzip"),
            (false, false) => answer,
        }
    })?;
    let node = before(&origin, "")?;
    let taking = |codings: &str| {
        let answer = with(&node, "/a", &[("Accept-Encoding", codings)])?;
        Ok::<_, anyhow::Error>((answer.text(), answer.fields.first("content-encoding").map(str::to_owned)))
    };
    let is = |text: &str, coding: &str| (text.to_owned(), Some(coding.to_owned()));
    // A stranger who takes what nobody else does comes first.
    assert_eq!(taking("br")?, is("answer 0 in Brotli", "br"));
    assert_eq!(taking("gzip")?, is("answer 1 in gzip", "gzip"));
    assert_eq!(taking("gzip;q=0.1")?, is("answer 1 in gzip", "gzip"));
    assert_eq!(taking("br")?, is("answer 0 in Brotli", "br"));
    assert_eq!(taking("identity")?, ("answer 2".to_owned(), None));
    // What is not compressed everybody can read.
    assert_eq!(
        (get(&node, "/a")?.text(), taking("gzip")?),
        ("answer 2".to_owned(), ("answer 2".to_owned(), None))
    );
    node.finish_healthy()
}

#[test]
fn a_trusted_proxys_scheme_and_host_are_part_of_the_key() -> Result<()> {
    let origin = counting(|request, answer| {
        let proto = request.fields.first("x-forwarded-proto").unwrap_or_default().to_owned();
        let host = request.fields.first("x-forwarded-host").unwrap_or_default().to_owned();
        answer.field("Cache-Control", "max-age=60").part(format!(" {proto} {host}"))
    })?;
    let spec = cleartext()
        .node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .more("[cache]\ndisk_bytes = 0")
        .zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    let asked = |proto: &str, host: &str| {
        Ok::<_, anyhow::Error>(
            with(&node, "/a", &[("X-Forwarded-Proto", proto), ("X-Forwarded-Host", host)])?.text(),
        )
    };
    assert_eq!(asked("http", "one.example")?, "answer 0 http one.example");
    assert_eq!(asked("https", "one.example")?, "answer 1 https one.example");
    assert_eq!(asked("https", "two.example")?, "answer 2 https two.example");
    assert_eq!(asked("http", "one.example")?, "answer 0 http one.example");
    node.finish_healthy()
}

#[test]
fn routes_by_header_to_different_pools_share_no_answer() -> Result<()> {
    let (one, two) = (fresh()?, fresh()?);
    let toml = format!(
        "name = \"a\"\nhostnames = [\"{HOST}\"]\n[cache]\nenabled = true\n\
         [[pool]]\nname = \"one\"\norigins = [{{ url = {:?} }}]\n\
         [[pool]]\nname = \"two\"\norigins = [{{ url = {:?} }}]\n\
         [[route]]\nheader = {{ name = \"x-beta\", equals = \"1\" }}\npool = \"two\"\n\
         [[route]]\npath_prefix = \"/strip\"\nstrip_prefix = true\npool = \"two\"\n",
        one.url(),
        two.url(),
    );
    let node = start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", toml))?;
    get(&node, "/a")?;
    assert!(!is_hit(&with(&node, "/a", &[("X-Beta", "1")])?));
    assert!(is_hit(&get(&node, "/a")?) && is_hit(&with(&node, "/a", &[("X-Beta", "1")])?));
    // What a route takes away before the origin sees it is not taken from the key.
    assert!(!is_hit(&get(&node, "/strip/a")?) && is_hit(&get(&node, "/strip/a")?));
    assert_eq!(two.last_request().context("a request")?.target, "/a");
    assert_eq!((one.counters().requests, two.counters().requests), (1, 2));
    node.finish_healthy()
}

#[test]
fn the_zone_chooses_what_is_in_the_key() -> Result<()> {
    let origin = fresh()?;
    let lines = "bypass_cookies = [\"session*\"]\nkey = { query_except = [\"utm_*\"], sort_query = true, \
                 headers = [\"X-Tenant\"], cookies = [\"plan\"], device = true }";
    let node = before(&origin, lines)?;
    get(&node, "/a?b=1&a=2")?;
    assert!(is_hit(&get(&node, "/a?utm_source=x&a=2&b=1")?));
    assert!(!is_hit(&get(&node, "/a?b=1")?));
    for (name, value) in [
        ("X-Tenant", "t"),
        ("Cookie", "plan=paid"),
        ("User-Agent", "Mozilla/5.0 (iPhone) Mobile"),
        ("User-Agent", "Mozilla/5.0 (iPad)"),
    ] {
        assert!(!is_hit(&with(&node, "/a?b=1", &[(name, value)])?), "{name}");
        assert!(is_hit(&with(&node, "/a?b=1", &[(name, value)])?), "{name}");
    }
    let signed_in = with(&node, "/a?b=1", &[("Cookie", "session_id=1")])?;
    assert_eq!(said(&signed_in), "rempart; fwd=bypass; detail=cookie");
    node.finish_healthy()
}

#[test]
fn a_change_of_what_is_keyed_leaves_nothing_of_the_old_behind() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "key = { query = \"none\" }")?;
    assert_eq!(get(&node, "/a?lang=de")?.text(), "answer 0");
    assert!(is_hit(&get(&node, "/a")?));
    node.write_zone("a", &zone(&origin, ""))?;
    assert!(node.publish()?.status.success());
    assert_eq!(get(&node, "/a")?.text(), "answer 1", "what was stored under `/a` was for another query");
    node.finish_healthy()
}

#[test]
fn the_zone_may_tell_countries_apart() -> Result<()> {
    use testkit::mmdb::{Mmdb, Value};
    let country = |code: &str| Value::map([("country", Value::map([("iso_code", Value::text(code))]))]);
    let file = Mmdb::new().entry("192.0.2.0/25", country("FR")).entry("192.0.2.128/25", country("GB"));
    let origin = fresh()?;
    let spec = cleartext()
        .node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .more("[cache]\ndisk_bytes = 0\n[geo]\ncountry = \"country.mmdb\"")
        .file("country.mmdb", file.to_bytes())
        .zone("a", zone(&origin, "key = { country = true }"));
    let node = start(&spec)?;
    let from =
        |address: &str| Ok::<_, anyhow::Error>(with(&node, "/a", &[("X-Forwarded-For", address)])?.text());
    assert_eq!((from("192.0.2.1")?, from("192.0.2.129")?), ("answer 0".to_owned(), "answer 1".to_owned()));
    assert_eq!((from("192.0.2.2")?, from("192.0.2.200")?), ("answer 0".to_owned(), "answer 1".to_owned()));
    assert_eq!(from("198.51.100.1")?, "answer 2", "from nowhere known");
    node.finish_healthy()
}
