//! `[waf]`: which files its rules are made of, that they are loaded once, and what is told of mistakes.

use std::collections::BTreeMap;
use std::sync::Arc;

use zone::{Bundle, FileKind, Snapshot, WafPath};

use crate::{listed, no_keys, one, problems_of, snapshot, source, zone_text};

const RULE: &str = "SecRule ARGS \"@contains evil\" \"id:10,phase:2,deny,tag:'attack',msg:'Evil'\"\n";

fn bundle(specs: &[(&str, &str)], files: &[(&str, &str)]) -> Bundle {
    let specs = specs.iter().map(|(name, text)| source(name, text)).collect();
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Bundle::new(specs, None, files)
}

fn zone_of(name: &str, waf: &str) -> String {
    zone_text(name, &format!("[\"{name}.example\"]"), &format!("[waf]\nmode = \"block\"\n{waf}"))
}

fn after(bundle: &Bundle, before: &Snapshot) -> Snapshot {
    zone::compile_after(bundle, 2, &no_keys, Some(before)).unwrap_or_else(|told| panic!("{}", listed(&told)))
}

fn rules(snapshot: &Snapshot, zone: usize) -> &Arc<seclang::RuleSet> {
    &snapshot.zones()[zone].waf.as_ref().expect("a firewall").rules.set
}

#[test]
fn zones_with_the_same_files_share_one_rule_set_whatever_else_they_say() {
    let (a, b) = (
        zone_of("a", "rules = [\"/crs\"]\n"),
        zone_of("b", "rules = [\"/crs/\"]\nparanoia = 3\n[[waf.exception]]\npath = \"/x\"\n"),
    );
    let specs = [("zones/a.toml", a.as_str()), ("zones/b.toml", &b)];
    let first = snapshot(&bundle(&specs, &[("/crs/rules/a.conf", RULE)]));
    assert!(Arc::ptr_eq(rules(&first, 0), rules(&first, 1)));
    let levels: Vec<_> =
        first.zones().iter().map(|zone| zone.waf.as_ref().unwrap().rules.presets.len()).collect();
    assert_eq!(levels, [0, 2]);
    // A change of a zone loads nothing again, and a change of the rules does.
    let b = b.replace("paranoia = 3", "paranoia = 2");
    let specs = [("zones/a.toml", a.as_str()), ("zones/b.toml", &b)];
    let second = after(&bundle(&specs, &[("/crs/rules/a.conf", RULE)]), &first);
    assert!(Arc::ptr_eq(&first.zones()[0], &second.zones()[0]));
    assert!(!Arc::ptr_eq(&first.zones()[1], &second.zones()[1]));
    assert!(Arc::ptr_eq(rules(&first, 1), rules(&second, 1)));
    let third = after(&bundle(&specs, &[("/crs/rules/a.conf", &RULE.replace("evil", "odd"))]), &second);
    assert!(!Arc::ptr_eq(&second.zones()[0], &third.zones()[0]), "the fingerprint covers the rules");
    assert!(!Arc::ptr_eq(rules(&second, 0), rules(&third, 0)));
}

#[test]
fn names_the_rules_of_zones_that_want_them() {
    let sources = [
        source(
            "zones/a.toml",
            &zone_of("a", "rules = [\"../crs/\", \"own.conf\"]\n[waf.shadow]\nrules = [\"/s\"]\n"),
        ),
        source("zones/b.toml", &zone_of("b", "rules = [\"/b\"]\n").replace("block", "off")),
    ];
    let named = zone::files_named(&sources, None);
    let paths: Vec<&str> = named.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["crs", "zones/own.conf", "/s"]);
    assert!(named.iter().all(|file| file.kind == FileKind::Rules));
}

#[test]
fn rules_with_mistakes_are_told_once_with_their_own_places() {
    let (a, b) = (zone_of("a", "rules = [\"/r.conf\"]\n"), zone_of("b", "rules = [\"/r.conf\"]\n"));
    let specs = [("zones/a.toml", a.as_str()), ("zones/b.toml", &b)];
    let broken = "SecRule ARGZ \"@contains x\" \"id:1,phase:2,deny\"\n\nSecRul ARGS x \"id:2\"\n";
    let told = zone::compile(&bundle(&specs, &[("/r.conf", broken)]), 1, &no_keys).expect_err("mistakes");
    assert_eq!(
        listed(&told),
        "/r.conf:1:1: unknown variable `ARGZ` (did you mean `ARGS`?)\n\
         /r.conf:3:1: unknown directive `SecRul` (did you mean `SecRule`?)\n"
    );
}

#[test]
fn a_firewall_has_rules_and_sizes_within_their_bounds() {
    let told = problems_of(&zone_of("a", ""));
    assert!(
        told.contains("zones/a.toml:4:8: the web application firewall has no rules (write rules = "),
        "{told}"
    );
    let told =
        problems_of(&zone_of("a", "rules = [\"/none\"]\nbody_window_bytes = \"2MiB\"\nparanoia = 5\n"));
    assert!(told.contains("the rules `/none` could not be read"), "{told}");
    assert!(told.contains("this must be from 8KiB to 1MiB"), "{told}");
    assert_eq!(told.lines().count(), 3, "{told}");
    // Off, it asks for nothing.
    let off = zone_of("a", "rules = [\"/none\"]\n").replace("block", "off");
    assert!(one(&off).zones()[0].waf.is_none());
}

#[test]
fn exceptions_mean_rules_by_id_and_tag_and_say_when_they_mean_none() {
    let waf = "rules = [\"/r.conf\"]\n[[waf.exception]]\npath = \"/a\"\nrules = [10]\n\
               [[waf.exception]]\ntags = [\"attack\"]\nvariables = [\"ARGS:q\"]\n\
               [[waf.exception]]\nrules = [\"11-12\"]\n[[waf.exception]]\npath_prefix = \"/b\"\n";
    let compiled = snapshot(&bundle(&[("zones/a.toml", &zone_of("a", waf))], &[("/r.conf", RULE)]));
    let firewall = compiled.zones()[0].waf.as_ref().expect("a firewall");
    let counts: Vec<Option<usize>> = firewall
        .exceptions
        .iter()
        .map(|one| one.effect.as_ref().map(|effect| effect.rules_count()))
        .collect();
    assert_eq!(counts, [Some(1), Some(1), Some(0), None]);
    assert_eq!(firewall.exceptions[3].path, WafPath::Prefix("/b".to_owned()));
    assert_eq!(compiled.warnings.len(), 1, "{}", listed(&compiled.warnings));
    assert!(compiled.warnings[0].message.contains("the exception does nothing"));
    assert_eq!(firewall.exceptions_at(b"/b/c").count(), 3);
}

#[test]
fn core_rules_without_their_setup_are_refused_since_they_would_refuse_every_request() {
    // As in CRS: nothing but the version of the setup is looked at, and the rule's number is what it is.
    let initial = "SecRule &TX:crs_setup_version \"@eq 0\" \"id:901001,phase:1,deny,status:500\"\n";
    let setup = "SecAction \"id:900990,phase:1,pass,nolog,setvar:tx.crs_setup_version=400\"\n";
    let text = zone_of("a", "rules = [\"/crs/rules\"]\n");
    let specs = [("zones/a.toml", text.as_str())];
    let files = [("/crs/rules/R.conf", initial), ("/crs/crs-setup.conf.example", setup)];
    let told = zone::compile(&bundle(&specs, &files), 1, &no_keys).expect_err("no setup is read");
    let told = listed(&told);
    assert!(told.contains("zones/a.toml:5:9: CRS without its setup refuses every request"), "{told}");
    let text = zone_of("a", "rules = [\"/crs\"]\n");
    let whole = snapshot(&bundle(&[("zones/a.toml", text.as_str())], &files));
    assert!(whole.warnings.is_empty(), "{}", listed(&whole.warnings));
}

#[test]
fn files_without_a_rule_are_told() {
    let text = zone_of("a", "rules = [\"/none.conf\"]\n");
    let none = snapshot(&bundle(&[("zones/a.toml", text.as_str())], &[("/none.conf", "# nothing\n")]));
    assert!(listed(&none.warnings).contains("there is no rule in these files"), "{}", listed(&none.warnings));
}
