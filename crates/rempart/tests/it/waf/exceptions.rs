//! Exceptions: what they leave out, and that the one that `rempart trace` proposes allows exactly its
//! request.

use anyhow::{Context as _, Result};

use super::{ATTACK, firewalled, lines, logged, post, trace};
use crate::rig::{HOST, fields, saying, visitor, zone};

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn an_exception_leaves_out_what_it_names_and_no_more() -> Result<()> {
    let origin = saying("answer")?;
    let more = r#"
[[waf.exception]]
path = "/variable"
rules = [1010]
variables = ["ARGS:id"]

[[waf.exception]]
path_prefix = "/tag"
tags = ["attack-evil"]

[[waf.exception]]
path = "/range"
rules = ["1010-1019"]

[[waf.exception]]
path = "/all"

[[waf.exception]]
variables = ["ARGS:/^free_/"]
"#;
    let node = firewalled(&origin, "block", more)?;
    let mut visitor = visitor(&node)?;
    for (target, status) in [
        ("/variable?id=1%27+OR+%271%27=%271", 200),
        ("/variable?other=1%27+OR+%271%27=%271", 403),
        ("/variable?id=evil", 403),
        ("/variable/below?id=1%27+OR+%271%27=%271", 403),
        ("/tag?a=evil", 200),
        ("/tag/below?a=evil", 200),
        ("/tagged?a=evil", 403),
        ("/tag?a=1%27+OR+%271%27=%271", 403),
        ("/range?a=evil", 200),
        ("/range?a=1%27+OR+%271%27=%271", 200),
        ("/all?a=evil", 200),
        ("/?free_text=evil", 200),
        ("/?text=evil", 403),
    ] {
        let response = visitor.fetch(HOST, target)?;
        assert_eq!(response.status, status, "{target}");
    }
    drop(visitor);
    assert_eq!(logged(&node, "/all")?["waf"], "skipped");
    node.finish_healthy()
}

#[test]
fn the_exception_that_trace_proposes_allows_exactly_its_request() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let asked = |target: &str| Ok::<_, anyhow::Error>(visitor(&node)?.fetch(HOST, target)?.status);
    let target = format!("/search?{ATTACK}&q=evil");
    assert_eq!(asked(&target)?, 403);
    let told = trace(&node, &logged(&node, "/search")?)?;
    let (_, proposed) = told.split_once("add to the zone's file:\n").context("an exception")?;
    node.write_zone("a", &zone(&origin, &lines("block", proposed)))?;
    let published = node.publish()?;
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    // The first rule that refuses ends it: each of them asks for its own exception.
    let second = asked(&target)?;
    assert_eq!(second, 403, "the other rule still finds its own");
    let line = node.wait_for_log(|line| line["snapshot"] == 2)?;
    let told = trace(&node, &line)?;
    let (_, also) = told.split_once("add to the zone's file:\n").context("an exception")?;
    node.write_zone("a", &zone(&origin, &lines("block", &format!("{proposed}{also}"))))?;
    assert!(node.publish()?.status.success());
    assert_eq!(asked(&target)?, 200);
    assert_eq!(asked(&format!("/elsewhere?{ATTACK}"))?, 403, "another path");
    assert_eq!(asked("/search?other=1%27%20OR%20%271%27=%271")?, 403, "another argument");
    assert_eq!(asked("/search?id=evil")?, 403, "another rule");
    node.finish_healthy()
}

#[test]
fn a_trace_shows_no_secrets() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    assert_eq!(post(&node, "/login", FORM, b"user=evil-user&password=evil-hunter2")?.status, 403);
    let told = trace(&node, &logged(&node, "/login")?)?;
    assert!(told.contains("ARGS:user = evil-user"), "{told}");
    assert!(told.contains("ARGS:password = *"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    node.finish_healthy()
}

#[test]
fn an_exception_is_judged_as_written() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    for (exception, told) in [
        ("[[waf.exception]]\n", "an exception of everything everywhere"),
        ("[[waf.exception]]\nrules = [7]\nvariables = [\"ARG:q\"]\n", "did you mean `ARGS`?"),
        ("[[waf.exception]]\npath = \"x\"\n", "a path begins with a slash"),
        ("[[waf.exception]]\nrules = [\"9-1\"]\n", "is not the id of a rule"),
        ("[[waf.exception]]\npath = \"/\"\npath_prefix = \"/\"\n", "either path or path_prefix"),
        ("[[waf.exception]]\npath = \"/\"\nrule = [1]\n", "did you mean `rules`?"),
    ] {
        node.write_zone("a", &zone(&origin, &lines("block", exception)))?;
        let checked = node.command(&["check"])?;
        let problems = String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && problems.contains(told), "{exception}: {problems}");
    }
    node.write_zone("a", &zone(&origin, &lines("block", "[[waf.exception]]\nrules = [7]\n")))?;
    let checked = node.command(&["check"])?;
    let warned = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&warned).contains("the exception does nothing"));
    assert_eq!(visitor(&node)?.ask("GET", "/", HOST, &fields(&[]), b"")?.status, 200);
    node.finish_healthy()
}
