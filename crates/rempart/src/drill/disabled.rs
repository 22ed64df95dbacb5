//! The drill of rules that are switched off (D4): every action in every phase it may stand in, disabled in
//! every way there is, under load. Nothing of it may be noticed.
//!
//! The engine alone is asked the same of all its actions and phases by the tests of `rules`. Read next:
//! [`super::poison`] for changes that are wrong.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::Run;
use super::load::{End, Load, in_words};
use super::node::{Node, NodeText, passing};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second all the while.
const RATE: u64 = 100;

/// What the origin says, and every visitor must get.
const ANSWER: &str = "from the origin";

const REQUEST_TRANSFORM: &str = "http_request_transform";
const FIREWALL: &str = "http_request_firewall_custom";
const LATE_TRANSFORM: &str = "http_request_late_transform";
const RESPONSE: &str = "http_response_headers_transform";

const REDIRECT: &str = "http_request_dynamic_redirect";
const LISTED_REDIRECT: &str = "http_request_redirect";
const SANITIZE: &str = "http_request_sanitize";
const CONFIG: &str = "http_config_settings";
const ORIGIN: &str = "http_request_origin";
const FLOODS: &str = "ddos_l7";
const MANAGED: &str = "http_request_firewall_managed";
const BOTS: &str = "http_request_sbfm";
const CACHE: &str = "http_request_cache_settings";
const WITHHOLDING: &str = "http_response_firewall_managed";
const ERRORS: &str = "http_custom_errors";
const COMPRESSION: &str = "http_response_compression";
const LOGGING: &str = "http_log_custom_fields";

const FIREWALLS: [&str; 4] = [FLOODS, FIREWALL, MANAGED, BOTS];

const PHASES: [&str; 17] = [
    SANITIZE,
    REDIRECT,
    REQUEST_TRANSFORM,
    CONFIG,
    ORIGIN,
    FLOODS,
    FIREWALL,
    MANAGED,
    BOTS,
    LISTED_REDIRECT,
    LATE_TRANSFORM,
    CACHE,
    WITHHOLDING,
    ERRORS,
    RESPONSE,
    COMPRESSION,
    LOGGING,
];

/// An action with what it needs, and the phases that take it.
struct Action {
    name: &'static str,
    needs: &'static str,
    phases: &'static [&'static str],
}

const HEADERS: &str = "rewrite = { headers = [{ name = \"X-Rule\", set = \"yes\" }] }";

const ACTIONS: [Action; 18] = [
    Action { name: "block", needs: "", phases: &[FLOODS, FIREWALL, MANAGED, BOTS, WITHHOLDING] },
    Action {
        name: "block",
        needs: "block = { body = \"no\" }",
        phases: &[FLOODS, FIREWALL, MANAGED, BOTS, WITHHOLDING],
    },
    Action { name: "challenge", needs: "", phases: &FIREWALLS },
    Action { name: "js_challenge", needs: "", phases: &FIREWALLS },
    Action { name: "managed_challenge", needs: "", phases: &FIREWALLS },
    Action { name: "log", needs: "", phases: &PHASES },
    Action { name: "skip", needs: "skip = { rest = true }", phases: &PHASES },
    Action {
        name: "redirect",
        needs: "redirect = { target = \"/x\" }",
        phases: &[REDIRECT, LISTED_REDIRECT],
    },
    Action { name: "rewrite", needs: "rewrite = { path = \"/x\" }", phases: &[SANITIZE, REQUEST_TRANSFORM] },
    Action { name: "rewrite", needs: HEADERS, phases: &[LATE_TRANSFORM, RESPONSE] },
    Action { name: "set_cache_settings", needs: "cache = { enabled = false }", phases: &[CACHE] },
    Action {
        name: "compress_response",
        needs: "compress = { algorithms = [\"none\"] }",
        phases: &[COMPRESSION],
    },
    Action { name: "route", needs: "route = { port = 1 }", phases: &[ORIGIN] },
    Action { name: "set_config", needs: "config = { redirect_https = true }", phases: &[CONFIG] },
    Action { name: "serve_error", needs: "page = { body = \"no\" }", phases: &[ERRORS] },
    Action { name: "log_custom_field", needs: "fields = { cookies = [\"a\"] }", phases: &[LOGGING] },
    Action { name: "force_connection_close", needs: "", phases: &[FLOODS] },
    Action { name: "execute", needs: "execute = { ruleset = \"set\" }", phases: &PHASES },
];

/// The ways in which a rule can be kept from doing anything.
const WAYS: [&str; 10] = [
    "switched off",
    "never true",
    "skipped by phase",
    "skipped by the rule before",
    "without its list",
    // Of a ruleset of its own.
    "apart, executed by nobody",
    "apart, executed by a rule that is switched off",
    "apart, executed by a rule that is never true",
    "apart, and left out",
    "gone",
];

fn rule(text: &mut String, number: usize, phase: &str, condition: &str, lines: &str) {
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\n[[rule]]\nname = \"rule-{number}\"\nphase = \"{phase}\"\nexpression = '{condition}'\n{lines}\n"
    );
}

/// Every action in every phase of its own, disabled in one way.
fn rules(way: &str) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    if way == "without its list" {
        text.push_str("\n[[list]]\nname = \"nobody\"\nkind = \"ip\"\nentries = []\n");
    }
    if way.starts_with("skipped") {
        for (number, phase) in PHASES.iter().enumerate() {
            let what =
                if way.ends_with("phase") { format!("phases = [\"{phase}\"]") } else { "rest = true".into() };
            rule(&mut text, 1000 + number, phase, "true", &format!("action = \"skip\"\nskip = {{ {what} }}"));
        }
    }
    // What `execute` runs.
    if way != "gone" {
        for (number, phase) in PHASES.iter().enumerate() {
            rule(&mut text, 2000 + number, phase, "true", "ruleset = \"set\"\naction = \"log\"");
        }
    }
    for (number, phase) in PHASES.iter().enumerate() {
        let execute = "action = \"execute\"\nexecute = { ruleset = \"apart\" }";
        let leave_out = "action = \"skip\"\nskip = { rulesets = [\"apart\"] }";
        match way {
            "apart, executed by a rule that is switched off" => {
                rule(&mut text, 3000 + number, phase, "true", &format!("enabled = false\n{execute}"));
            }
            "apart, executed by a rule that is never true" => {
                rule(&mut text, 3000 + number, phase, "http.host eq \"elsewhere\"", execute);
            }
            "apart, and left out" => {
                rule(&mut text, 3000 + number, phase, "true", leave_out);
                rule(&mut text, 4000 + number, phase, "true", execute);
            }
            _ => {}
        }
    }
    let apart = if way.starts_with("apart") { "ruleset = \"apart\"\n" } else { "" };
    for Action { name, needs, phases } in &ACTIONS {
        for phase in *phases {
            count += 1;
            let condition = match way {
                "never true" => "http.host eq \"elsewhere\"",
                "without its list" => "ip.src in $nobody",
                _ => "true",
            };
            let enabled = if way == "switched off" { "enabled = false\n" } else { "" };
            if way != "gone" {
                let lines = format!("{enabled}{apart}action = \"{name}\"\n{needs}");
                rule(&mut text, count, phase, condition, &lines);
            }
        }
    }
    (text, count)
}

/// D4.
pub(super) fn every_way(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start(ANSWER, None)?;
    let folder = run.folder("node", &NodeText::default())?;
    let zone = passing("a", &["a.example"], origin.address());
    folder.zone("a", &zone)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let edge = node.edge()?;
    let target = node.target("a.example")?;
    let asked = target.clone();
    let load = Load::asking(RATE, move |number| match asked.fetch(number, "/") {
        Ok(came) if came.body == ANSWER && came.field("x-rule").is_none() => End::Answered(came.status),
        Ok(came) => End::Wrong(format!("{} {}", came.status, came.body)),
        Err(error) => End::Broken(format!("{error:#}")),
    })?;
    load.wait_for(RATE / 4);
    let mut tried = 0;
    for way in WAYS {
        let (rules, count) = rules(way);
        tried += count;
        folder.zone("a", &format!("{zone}{rules}"))?;
        let (is_taken, said) = node.publish(&[])?;
        outcome.check(
            &format!("{way}: the change is taken"),
            is_taken,
            said.lines().next().unwrap_or_default(),
        );
        load.wait_for(RATE / 4);
        let answer = target.ask("/", "");
        let is_it = answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == ANSWER);
        outcome.check(&format!("{way}: nothing of it is noticed"), is_it, in_words(&answer));
    }
    // What is apart is there, and does something once a rule executes it.
    let mut control = String::new();
    let execute = "action = \"execute\"\nexecute = { ruleset = \"apart\" }";
    rule(&mut control, 1, FIREWALL, "http.request.uri.path eq \"/control\"", execute);
    rule(&mut control, 2, FIREWALL, "true", "ruleset = \"apart\"\naction = \"block\"");
    folder.zone("a", &format!("{zone}{control}"))?;
    let (is_taken, said) = node.publish(&[])?;
    let answer = target.ask("/control", "");
    let is_refused = is_taken && answer.as_ref().is_ok_and(|(status, _)| *status == 403);
    let found = format!("{}; {}", said.lines().next().unwrap_or_default(), in_words(&answer));
    outcome.check("apart, and executed: it does what it says", is_refused, found);
    tried += never_taken(&node, &zone, outcome).context("rules that are refused")?;
    load.wait_for(RATE / 4);
    outcome.figure("rules_disabled", tried);
    outcome.add_unharmed("all the while: no request fails, and each gets what the origin says", load.end());
    let panics = node.told(0, "panic").len() + node.told(0, "phase_broke").len();
    outcome.check("nothing broke within", panics == 0, panics);
    outcome.check("no process ended", node.edge()? == edge, edge);
    Ok(())
}

/// An action in a phase that does not take it, or without what it needs, is refused: a rule that is not
/// there. Gives how many were tried.
fn never_taken(node: &Node, zone: &str, outcome: &mut Outcome) -> Result<usize> {
    let snapshot = node.status()?["snapshot"].clone();
    let (mut text, mut wrong) = (String::new(), 0);
    for Action { name, needs, phases } in &ACTIONS {
        for phase in PHASES.iter().filter(|phase| !phases.contains(phase)) {
            wrong += 1;
            rule(&mut text, wrong, phase, "true", &format!("action = \"{name}\"\n{needs}"));
        }
    }
    let mut each = vec![("in phases that do not take it", text, wrong)];
    let mut text = String::new();
    let bare = [
        "skip",
        "redirect",
        "rewrite",
        "set_cache_settings",
        "compress_response",
        "route",
        "set_config",
        "serve_error",
        "log_custom_field",
        "execute",
    ];
    for (number, name) in bare.iter().enumerate() {
        let phase =
            ACTIONS.iter().find(|action| action.name == *name).and_then(|action| action.phases.first());
        rule(&mut text, number, phase.copied().unwrap_or(FIREWALL), "true", &format!("action = \"{name}\""));
    }
    each.push(("without what it needs", text, bare.len()));
    let mut tried = 0;
    for (what, rules, count) in each {
        node.folder().zone("a", &format!("{zone}{rules}"))?;
        let (is_taken, said) = node.publish(&[])?;
        let stays = !is_taken && node.status()?["snapshot"] == snapshot;
        let told = said.matches("zones/a.toml:").count();
        let found = format!("{told} problems of {count} rules");
        outcome.check(
            &format!("{what}: each is refused by place, and all stays"),
            stays && told >= count,
            found,
        );
        tried += count;
    }
    Ok(tried)
}
