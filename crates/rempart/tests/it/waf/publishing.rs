//! Publishing rules: broken ones are refused with file and line, and what serves serves on.

use anyhow::Result;

use super::{ATTACK, RULES, firewalled, lines, spec};
use crate::rig::{HOST, saying, start, visitor, zone};

#[test]
fn broken_rules_are_refused_with_every_place_and_the_old_ones_serve_on() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let broken = "SecRule ARGS \"@rx (\" \"id:1,phase:2,deny\"\n\
                  SecRule ARGZ \"@contains x\" \"id:2,phase:2,deny\"\n\
                  SecRule ARGS \"@pmFromFile missing.data\" \"id:3,phase:2,deny\"\n";
    node.folder().write("waf/own.conf", broken)?;
    let published = node.publish()?;
    let told = String::from_utf8_lossy(&published.stderr).into_owned();
    assert!(!published.status.success(), "{told}");
    for line in 1..=3 {
        assert!(told.contains(&format!("waf/own.conf:{line}:1: ")), "{told}");
    }
    assert!(told.contains("did you mean `ARGS`?"), "{told}");
    let checked = node.command(&["check"])?;
    assert!(!checked.status.success());
    assert_eq!(String::from_utf8_lossy(&checked.stderr).matches("waf/own.conf:").count(), 3);
    assert_eq!(visitor(&node)?.fetch(HOST, &format!("/?{ATTACK}"))?.status, 403, "the old rules serve");
    assert_eq!(visitor(&node)?.fetch(HOST, "/")?.status, 200);
    Ok(())
}

#[test]
fn a_change_of_the_rules_alone_is_a_change_of_the_zone() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/?q=odd")?.status, 200);
    let more = "SecRule ARGS \"@contains odd\" \"id:2001,phase:2,deny,log,msg:'Odd'\"\n";
    node.folder().write("waf/own.conf", format!("{RULES}{more}"))?;
    assert!(node.publish()?.status.success());
    assert_eq!(visitor(&node)?.fetch(HOST, "/?q=odd")?.status, 403);
    node.finish_healthy()
}

#[test]
fn rules_that_are_not_there_are_a_problem_of_the_zone() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    for (rules, told) in [
        ("[\"../waf/none.conf\"]", "waf/none.conf cannot be read"),
        ("[\"../zones\"]", "the rules"),
        ("[]", "the web application firewall has no rules"),
    ] {
        let waf = format!("\n[waf]\nmode = \"block\"\nrules = {rules}\n");
        node.write_zone("a", &zone(&origin, &waf))?;
        let checked = node.command(&["check"])?;
        let problems = String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && problems.contains(told), "{rules}: {problems}");
        assert_eq!(problems.matches("zones/a.toml:").count(), 1, "told once: {problems}");
    }
    Ok(())
}

#[test]
fn a_folder_is_read_as_crs_is_laid_out_with_what_it_includes() -> Result<()> {
    let origin = saying("answer")?;
    let setup = "SecAction \"id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level=1\"\n";
    let rules = "SecRule TX:BLOCKING_PARANOIA_LEVEL \"@ge 2\" \
                 \"id:1,phase:1,pass,nolog,setvar:tx.strict=1\"\n\
                 SecRule TX:STRICT \"@eq 1\" \"id:2,phase:2,deny,log,msg:'Strict',chain\"\n\
                 SecRule ARGS \"@pmFromFile words.data\" \"\"\nInclude ../../more/*.conf\n";
    let waf = |paranoia: &str| {
        zone(&origin, &format!("\n[waf]\nmode = \"block\"\nrules = [\"../crs/\"]\n{paranoia}\n"))
    };
    let spec = spec(&origin, "off", "")
        .zone("a", waf(""))
        .file("crs/crs-setup.conf", setup)
        .file("crs/crs-setup.conf.example", "not rules at all")
        .file("crs/rules/REQUEST-901-INITIALIZATION.conf", rules)
        .file("crs/rules/words.data", "peculiar\n")
        .file("crs/rules/REQUEST-900-X.conf.example", "not rules at all")
        .file("more/own.conf", "SecRule ARGS \"@contains evil\" \"id:3,phase:2,deny,log,msg:'Evil'\"\n");
    let node = start(&spec)?;
    let asked = |query: &str| Ok::<_, anyhow::Error>(visitor(&node)?.fetch(HOST, query)?.status);
    assert_eq!([asked("/?q=peculiar")?, asked("/?q=evil")?], [200, 403]);
    node.write_zone("a", &waf("paranoia = 2"))?;
    assert!(node.publish()?.status.success());
    assert_eq!(asked("/?q=peculiar")?, 403, "the zone's level goes before that of the setup file");
    node.finish_healthy()
}

#[test]
fn the_report_of_a_change_names_the_firewall() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let exception = "[[waf.exception]]\npath = \"/x\"\nrules = [1010]\n";
    node.write_zone("a", &zone(&origin, &lines("log", exception)))?;
    let published = node.command(&["publish", "--dry-run"])?;
    let told = String::from_utf8_lossy(&[published.stdout, published.stderr].concat()).into_owned();
    assert!(published.status.success(), "{told}");
    for line in ["+ firewall a: log, ", "+ firewall a: exception /x, rules 1010", "- firewall a: block, "] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    node.finish_healthy()
}

#[test]
fn poisoned_rules_are_refused_or_harmless_and_nobody_gets_an_error() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let mut flipped = RULES.as_bytes().to_vec();
    if let Some(byte) = flipped.iter_mut().rev().find(|byte| **byte == b'S') {
        *byte ^= 1;
    }
    let deep = format!("SecRule ARGS \"@rx {}a{}\" \"id:1,phase:2\"\n", "(".repeat(5_000), ")".repeat(5_000));
    let wide = "SecRule ARGS \"@rx (?:(?:(?:a{200}){200}){200})\" \"id:1,phase:2\"\n";
    let circle = "Include own.conf\n";
    let many: String = (1..25_000).map(|id| format!("SecAction \"id:{id},phase:1,pass,nolog\"\n")).collect();
    for (name, rules, is_refused) in [
        ("twice", format!("{RULES}{RULES}").into_bytes(), true),
        ("one bit", flipped, true),
        ("truncated", RULES.as_bytes()[..RULES.len() / 2].to_vec(), true),
        ("no text", vec![0xff; 10_000], true),
        ("deep", deep.into_bytes(), true),
        ("wide", wide.as_bytes().to_vec(), true),
        ("circle", circle.as_bytes().to_vec(), true),
        ("too many", many.into_bytes(), true),
        ("unknown", b"SecTomorrow On\n".to_vec(), true),
        ("empty", Vec::new(), false),
    ] {
        node.folder().write("waf/own.conf", rules)?;
        let published = node.publish()?;
        let told = String::from_utf8_lossy(&published.stderr).into_owned();
        assert_eq!(published.status.success(), !is_refused, "{name}: {told}");
        assert!(!is_refused || told.contains("waf/own.conf"), "{name}: {told}");
        assert_eq!(visitor(&node)?.fetch(HOST, "/")?.text(), "answer", "{name}");
        assert_eq!(
            visitor(&node)?.fetch(HOST, "/?q=evil")?.status,
            if is_refused { 403 } else { 200 },
            "{name}"
        );
    }
    assert_eq!(node.metric("rempart_panics_total")?, Some(0.0));
    Ok(())
}
