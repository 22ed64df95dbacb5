//! `[[rule]]` and `[[list]]`: what compiles, and where every mistake is said to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::rules::Phase;
use zone::{Bundle, FileKind, Snapshot, files_named};

use super::{no_keys, one, problems_of, snapshot, source, zone_text};

fn with(rest: &str) -> String {
    zone_text("z", "[\"a.example\"]", rest)
}

fn phases(snapshot: &Snapshot) -> Vec<(Phase, usize, u32)> {
    let Some(rules) = &snapshot.zones()[0].rules else { return Vec::new() };
    let of = rules.request.iter().chain(&rules.response).chain(&rules.compression).chain(&rules.errors);
    of.map(|phase| (phase.rulesets.phase(), phase.rulesets.rules(), phase.first)).collect()
}

#[test]
fn rules_of_a_phase_are_compiled_together_in_the_order_of_the_language() {
    let compiled = one(&with(
        "[[rule]]\nexpression = 'ssl'\naction = 'block'\n\
         [[rule]]\nphase = 'http_response_headers_transform'\nexpression = 'true'\naction = 'rewrite'\n\
         rewrite = { headers = [{ name = 'X-Frame-Options', set = 'DENY' }] }\n\
         [[rule]]\nphase = 'http_request_dynamic_redirect'\nexpression = 'http.host eq \"b\"'\n\
         action = 'redirect'\nredirect = { target = '/x' }\n\
         [[rule]]\nexpression = 'ip.src in {10.0.0.0/8}'\naction = 'log'\n\
         [[rule]]\nexpression = 'ssl'\naction = 'log'\nenabled = false\n",
    ));
    assert_eq!(
        phases(&compiled),
        [
            (Phase::DynamicRedirect, 1, 3),
            (Phase::FirewallCustom, 2, 1),
            (Phase::ResponseHeadersTransform, 1, 2)
        ]
    );
}

#[test]
fn a_zone_whose_rules_are_all_off_has_none() {
    assert_eq!(phases(&one(&with(""))), []);
    let off = "[[rule]]\nexpression = 'ssl'\naction = 'block'\nenabled = false\n";
    assert!(one(&with(off)).zones()[0].rules.is_none());
}

#[test]
fn ids_are_as_written_or_follow_the_name_and_never_the_place() {
    let written = "0123456789abcdef0123456789abcdef";
    let rule = |lines: &str| format!("[[rule]]\nexpression = 'ssl'\naction = 'log'\n{lines}\n");
    let ids = |text: &str| {
        let compiled = one(&with(text));
        let rules = compiled.zones()[0].rules.clone().expect("rules");
        let mut ids: Vec<(u32, String)> = rules.ids().map(|id| (rules.place(id), id.to_owned())).collect();
        ids.sort();
        ids.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    let named = rule("name = 'n'");
    let before = ids(&format!("{}{named}", rule(&format!("id = '{written}'"))));
    let after = ids(&named);
    assert_eq!(before, [written, &after[0]]);
    assert_eq!(after[0].len(), 32);
    let twice = problems_of(&with(&format!("{named}{named}")));
    assert!(twice.contains("another rule is named `n` too"), "{twice}");
}

#[test]
fn every_mistake_of_every_rule_has_its_place_in_the_file() {
    let told = problems_of(&with(
        "[[rule]]\nexpression = 'http.request.uri.pth contains \"/admin\" and ip.scr in {10.0.0.0/8}'\n\
         action = 'block'\n\
         [[rule]]\nexpression = '''\nssl and\n  http.host eq 1'''\naction = 'blok'\n\
         [[rule]]\nphase = 'http_request_firewal_custom'\nexpression = 'ssl'\naction = 'log'\n\
         [[rule]]\nexpression = \"http.host eq \\\"a\\\" and htp.host eq \\\"b\\\"\"\naction = 'log'\n\
         [[rule]]\nphase = 'http_ratelimit'\nexpression = 'ssl'\naction = 'log'\n\
         [[rule]]\nexpression = 'ssl'\naction = 'redirect'\nredirect = { target = '/x' }\n\
         [[rule]]\nexpression = 'ssl'\naction = 'set_config'\n\
         [[rule]]\nexpression = 'ssl'\naction = 'skip'\n\
         [[rule]]\nexpression = 'ip.src in $offce'\naction = 'log'\n",
    ));
    for line in [
        "zones/a.toml:4:15: ",
        "did you mean `http.request.uri.path`?",
        "zones/a.toml:4:58: ",
        "did you mean `ip.src`?",
        "zones/a.toml:9:16: ",
        "zones/a.toml:10:10: there is no action `blok` (did you mean \"block\"?)",
        "zones/a.toml:12:9: there is no phase `http_request_firewal_custom` \
         (did you mean \"http_request_firewall_custom\"?)",
        "zones/a.toml:16:38: ",
        "did you mean `http.host`?",
        "rules of this phase are limits",
        "`redirect` may not stand in `http_request_firewall_custom`",
        "the action `set_config` needs the table `config`",
        "the action `skip` needs the table `skip`",
        "$offce",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn mistakes_in_parameters_are_told_at_the_parameter() {
    let told = problems_of(&with(
        "[[rule]]\nphase = 'http_request_transform'\nexpression = 'ssl'\naction = 'rewrite'\n\
         rewrite = { path_expression = 'concat(\"/x\", http.hots)' }\n\
         [[rule]]\nphase = 'http_request_late_transform'\nexpression = 'ssl'\naction = 'rewrite'\n\
         rewrite = { headers = [{ name = 'x-a', set = '1' }, { name = 'x-b', set_expression = 'nope' }] }\n\
         [[rule]]\nphase = 'http_request_late_transform'\nexpression = 'ssl'\naction = 'rewrite'\n\
         rewrite = { headers = [{ name = 'cdn-loop', remove = true }] }\n\
         [[rule]]\nphase = 'http_request_dynamic_redirect'\nexpression = 'ssl'\naction = 'redirect'\n\
         redirect = { target = 'nowhere' }\n\
         [[rule]]\nexpression = 'ssl'\naction = 'block'\nblock = { status = 500, body = 'no' }\n",
    ));
    for line in [
        "zones/a.toml:7:45: ",
        "zones/a.toml:12:87: ",
        "zones/a.toml:17:33: `cdn-loop` is what ends loops",
        "zones/a.toml:22:23: `nowhere` is neither a path nor an http or https URL",
        "this must be an integer from 400 to 499, not `500`",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn mistakes_of_what_rules_choose_have_their_place_and_a_remedy() {
    let told = problems_of(&with(
        "[[rule]]\nphase = 'http_request_origin'\nexpression = 'ssl'\naction = 'route'\n\
         route = { pool = 'ap', sni = 'a b' }\n\
         [[rule]]\nphase = 'http_request_origin'\nexpression = 'ssl'\naction = 'route'\n\
         route = { host_expression = 'http.hots' }\n\
         [[rule]]\nphase = 'http_request_origin'\nexpression = 'ssl'\naction = 'route'\nroute = {}\n\
         [[rule]]\nphase = 'http_config_settings'\nexpression = 'ssl'\naction = 'set_config'\n\
         config = { waff = 'off' }\n\
         [[rule]]\nphase = 'http_custom_errors'\nexpression = 'true'\naction = 'serve_error'\n\
         page = { body = 'x', file = 'y' }\n\
         [[rule]]\nphase = 'http_custom_errors'\nexpression = 'true'\naction = 'serve_error'\n\
         page = { status = 200, body = 'x' }\n\
         [[rule]]\nphase = 'http_log_custom_fields'\nexpression = 'true'\naction = 'log_custom_field'\n\
         fields = { values = [{ name = 'a', expression = 'ssl' }, { name = 'b', expression = 'sll' }] }\n\
         [[rule]]\nexpression = 'ssl'\naction = 'execute'\nexecute = { ruleset = 'shp' }\n\
         [[rule]]\nruleset = 'shop'\nexpression = 'sssl'\naction = 'log'\n\
         [[rule]]\nexpression = 'ssl'\naction = 'block'\nroute = { port = 1 }\n",
    ));
    for line in [
        "zones/a.toml:7:18: there is no pool `ap` in this zone (did you mean \"app\"?)",
        "zones/a.toml:7:30: `a b` is no hostname",
        "zones/a.toml:12:30: ",
        "did you mean `http.host`?",
        "zones/a.toml:17:9: this changes nothing (write pool, host, origin_host, port or sni)",
        "zones/a.toml:22:12: ",
        "unknown setting `waff` in config (did you mean `waf`?)",
        "a page has either body or file",
        "this must be an integer from 400 to 599, not `200`",
        "zones/a.toml:37:86: ",
        "no rule of `http_request_firewall_custom` belongs to a ruleset `shp` (did you mean \"shop\"?)",
        "did you mean `ssl`?",
        "`route` has no meaning for the action `block`",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn a_ruleset_that_nothing_executes_is_warned_of_and_one_that_executes_itself_is_refused() {
    let member = "[[rule]]\nruleset = 'shop'\nexpression = 'ssl'\naction = 'log'\n";
    let compiled = one(&with(member));
    let told = compiled.warnings[0].to_string();
    assert!(told.contains("zones/a.toml:4:11: warning: no rule executes the ruleset `shop`"), "{told}");
    let executes = "expression = 'ssl'\naction = 'execute'\nexecute = { ruleset = 'shop' }\n";
    let told = problems_of(&with(&format!(
        "[[rule]]\n{executes}[[rule]]\nname = 'inner'\nruleset = 'shop'\n{executes}"
    )));
    assert!(told.contains("zones/a.toml:6:23: "), "{told}");
    assert!(told.contains("executes itself"), "{told}");
}

#[test]
fn origins_that_rules_change_are_pools_behind_those_as_written() {
    let route = |parameters: &str| {
        format!(
            "[[rule]]\nphase = 'http_request_origin'\nexpression = 'ssl'\naction = 'route'\n\
             route = {{ {parameters} }}\n"
        )
    };
    let text = [
        route("port = 81"),
        route("port = 81, host = 'x.example'"),
        route("pool = 'app'"),
        route("origin_host = 'Other.Example', sni = 'other.example'"),
    ];
    let compiled = one(&with(&text.concat()));
    let zone = &compiled.zones()[0];
    let pools: Vec<(&str, &str)> =
        zone.pools.iter().map(|pool| (pool.name.as_str(), pool.origins[0].url.as_str())).collect();
    assert_eq!(
        pools,
        [
            ("app", "http://10.0.0.1:8080"),
            ("app (port 81)", "http://10.0.0.1:81"),
            ("app (host other.example, name other.example)", "http://other.example:8080"),
        ]
    );
    assert_eq!(zone.pools[2].tls.sni.as_deref(), Some("other.example"));
    let to = |port| ::rules::RouteTo { port, ..::rules::RouteTo::default() };
    assert_eq!([zone.routed_pool(0, &to(Some(81))), zone.routed_pool(0, &to(Some(82)))], [1, 0]);
    let many: String = (1..=65).map(|port| route(&format!("port = {port}"))).collect();
    assert!(problems_of(&with(&many)).contains("in more than 64 ways"));
}

#[test]
fn challenges_are_warned_of() {
    let compiled = one(&with("[[rule]]\nexpression = 'ssl'\naction = 'managed_challenge'\n"));
    let told = compiled.warnings[0].to_string();
    assert!(told.contains("warning: challenges are not there yet"), "{told}");
}

#[test]
fn lists_come_from_entries_and_from_files() {
    let text = with(
        "[[list]]\nname = 'office'\nkind = 'ip'\nfile = 'office.txt'\n\
         [[list]]\nname = 'bad_bots'\nkind = 'string'\nentries = ['a', 'b']\n\
         [[rule]]\nexpression = 'ip.src in $office and http.user_agent in $bad_bots'\naction = 'block'\n",
    );
    let specs = vec![source("zones/a.toml", &text)];
    let named = files_named(&specs, None);
    assert_eq!((named[0].kind, named[0].path.as_str()), (FileKind::List, "zones/office.txt"));
    let bundle = |list: &str| {
        let files = BTreeMap::from([("zones/office.txt".to_owned(), list.as_bytes().to_vec())]);
        Bundle::new(specs.clone(), None, files)
    };
    let first = snapshot(&bundle("192.0.2.0/24\n"));
    let same = zone::compile_after(&bundle("192.0.2.0/24\n"), 2, &no_keys, Some(&first)).expect("compiles");
    assert!(Arc::ptr_eq(&first.zones()[0], &same.zones()[0]), "an unchanged zone is shared");
    let other = zone::compile_after(&bundle("10.0.0.0/8\n"), 2, &no_keys, Some(&first)).expect("compiles");
    assert_ne!(first.zones()[0].fingerprint, other.zones()[0].fingerprint, "the list's bytes count");
    let problems = zone::compile(&bundle("192.0.2.0/24\n\n10.0.0/8\n"), 1, &no_keys).expect_err("a mistake");
    let told = problems[0].to_string();
    assert!(told.starts_with("zones/a.toml:6:8: zones/office.txt, line 3: "), "{told}");
}

/// A zone with a list in a file, and what this says of it.
fn with_feed(more: &str, content: &str, changed: Option<u64>) -> Bundle {
    let text = with(&format!(
        "[[list]]\nname = 'office'\nkind = 'ip'\nfile = 'office.txt'\n{more}\n\
         [[rule]]\nexpression = 'ip.src in $office'\naction = 'block'\n"
    ));
    let path = "zones/office.txt".to_owned();
    let files = BTreeMap::from([(path.clone(), content.as_bytes().to_vec())]);
    let changed = changed.map(|unix_s| (path, unix_s)).into_iter().collect();
    Bundle::new(vec![source("zones/a.toml", &text)], None, files).with_changed(changed)
}

#[test]
fn a_list_with_a_horizon_was_made_when_it_says_or_when_it_was_changed() {
    let feed = |bundle: &Bundle| {
        let compiled = snapshot(bundle);
        let feeds: Vec<_> = compiled.feeds().collect();
        let (zone, feed) = feeds.first().expect("it has a horizon");
        assert_eq!((*zone, feed.name.as_str(), feed.path.as_str()), ("z", "office", "zones/office.txt"));
        (feed.made_unix_s, feed.horizon_s, feed.after)
    };
    let horizon = "horizon_s = 60\nafter_horizon = 'empty'";
    let said = "# made: 2026-11-26T12:00:00Z\n192.0.2.1\n";
    let by_word = with_feed(horizon, said, Some(7));
    assert_eq!(feed(&by_word), (1_795_694_400, 60, zone::AfterHorizon::Empty));
    let by_file = with_feed("horizon_s = 60", "192.0.2.1\n", Some(7));
    assert_eq!(feed(&by_file), (7, 60, zone::AfterHorizon::Keep));
    assert_eq!(files_named(by_file.specs(), None)[0].kind, FileKind::Feed);
    let first = snapshot(&by_file);
    let later = with_feed("horizon_s = 60", "192.0.2.1\n", Some(8));
    let later = zone::compile_after(&later, 2, &no_keys, Some(&first)).expect("compiles");
    assert_ne!(first.zones()[0].fingerprint, later.zones()[0].fingerprint, "its time counts");
    let same = zone::compile_after(&by_file, 2, &no_keys, Some(&first)).expect("compiles");
    assert_eq!((same.feeds().count(), Arc::ptr_eq(&first.zones()[0], &same.zones()[0])), (1, true));
    let without = snapshot(&with_feed("", "# made: nonsense\n192.0.2.1\n", None));
    assert_eq!(without.feeds().count(), 0, "without a horizon a comment is a comment");
}

#[test]
fn mistakes_about_horizons_have_their_place() {
    let told = |bundle: &Bundle| super::listed(&super::problems(bundle));
    let wrong = told(&with_feed("horizon_s = 60", "#\n# made: today\n192.0.2.1\n", Some(7)));
    assert!(wrong.contains("zones/a.toml:6:8: zones/office.txt, line 2: `today` is no time"), "{wrong}");
    let unknown = told(&with_feed("horizon_s = 60", "192.0.2.1\n", None));
    assert!(unknown.contains("it is not known when `zones/office.txt` was made"), "{unknown}");
    let idle = told(&with_feed("after_horizon = 'empty'", "192.0.2.1\n", None));
    assert!(idle.contains("zones/a.toml:7:17: `after_horizon` has no meaning without a horizon"), "{idle}");
    let written =
        problems_of(&with("[[list]]\nname = 'a'\nkind = 'ip'\nentries = ['192.0.2.1']\nhorizon_s = 60\n"));
    assert!(written.contains("zones/a.toml:7:13: only a file grows old"), "{written}");
}

#[test]
fn mistakes_in_lists_have_their_place() {
    let told = problems_of(&with(
        "[[list]]\nname = 'Office'\nkind = 'ip'\nentries = []\n\
         [[list]]\nname = 'a'\nkind = 'ips'\nentries = []\n\
         [[list]]\nname = 'b'\nkind = 'ip'\nentries = ['192.0.2.1', 'x']\n\
         [[list]]\nname = 'c'\nkind = 'ip'\n\
         [[list]]\nname = 'd'\nkind = 'ip'\nfile = 'none.txt'\n",
    ));
    for line in [
        "zones/a.toml:4:8: `Office` is no name of a list",
        "zones/a.toml:9:8: `ips` is not one of ip, asn",
        "zones/a.toml:14:25: `x` is not an address",
        "the list has neither entries nor a file",
        "the file `zones/none.txt` could not be read",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}
