//! Rules of `http_response_compression`: with what an answer is compressed, and whether at all.

use super::*;
use crate::rig::zone_with;

/// A rule that chooses these algorithms.
fn rule(name: &str, expression: &str, algorithms: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nphase = \"http_response_compression\"\nexpression = '{expression}'\n\
         action = \"compress_response\"\ncompress = {{ algorithms = [{algorithms}] }}\n"
    )
}

fn choosing() -> String {
    [
        rule("json", "http.response.content_type.media_type eq \"application/json\"", "\"gzip\", \"auto\""),
        rule("none", "http.request.uri.path eq \"/none\"", "\"none\""),
        rule("default", "http.request.uri.path eq \"/default\"", "\"default\""),
        rule("brotli", "http.request.uri.path eq \"/brotli\"", "\"brotli\""),
    ]
    .concat()
}

fn origin(lines: &'static str) -> Result<ScriptedOrigin> {
    OriginSpec::new().answering(move |request| {
        let kind = if request.path() == "/json" { "application/json" } else { "text/html" };
        Answer::ok(text(5_000)).field("Content-Type", kind).field("Cache-Control", lines)
    })
}

#[test]
fn rules_choose_among_what_a_visitor_takes() -> Result<()> {
    for (lines, control) in [("", "no-store"), ("[cache]\nenabled = true", "max-age=60")] {
        let origin = origin(control)?;
        let node = before(&origin, &format!("{lines}\n{}", choosing()))?;
        for (target, accepted, expected) in [
            ("/json", "gzip, br, zstd", Some("gzip")),
            ("/json", "br, zstd", Some("zstd")),
            ("/none", "gzip, br, zstd", None),
            ("/default", "gzip, br, zstd", Some("zstd")),
            ("/brotli", "gzip, br, zstd", Some("br")),
            ("/brotli", "gzip", None),
            ("/other", "gzip", Some("gzip")),
        ] {
            for _ in 0..2 {
                let answer = accepting(&node, target, accepted)?;
                assert_eq!(coding(&answer), expected, "{target} {accepted} {lines}");
                assert_eq!(plain(&answer)?, text(5_000));
                let vary = answer.fields.first("vary");
                assert_eq!(vary.is_some(), target != "/none", "{target}");
            }
        }
        let line = node.wait_for_log(|line| line["path"] == "/none")?;
        assert_eq!(line["rules"].as_array().map(Vec::len), Some(1), "{line}");
        let id = line["request_id"].as_str().context("an id")?.to_owned();
        let trace = String::from_utf8(node.command(&["trace", &id])?.stdout)?;
        assert!(trace.contains("compress_response") && trace.contains("uncoded_off"), "{trace}");
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn a_rule_compresses_in_a_zone_that_does_not() -> Result<()> {
    let origin = origin("no-store")?;
    let rules = rule("brotli", "http.request.uri.path eq \"/brotli\"", "\"auto\"");
    let node = start(&cleartext().zone("a", zone_with(&rules, &[&origin.url()], "")))?;
    assert_eq!(coding(&accepting(&node, "/brotli", "br")?), Some("br"));
    let other = accepting(&node, "/other", "br")?;
    assert_eq!((coding(&other), other.fields.first("vary")), (None, None));
    node.finish_healthy()
}
